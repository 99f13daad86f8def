//! `Digit`: what is found in a picture.

use super::doubt::Doubt;
use super::find;
use super::mnist_form;
use super::raster::Raster;

/// A picture of a digit in MNIST's form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Digit {
    /// `(28, 28)` pixels, row by row, 0 (background) to 255 (ink).
    pub pixels: Vec<u8>,
    /// Why the picture may not hold one digit; `None` where one digit stands out.
    pub doubt: Option<Doubt>,
}

impl Digit {
    /// The digit in a picture that is not in MNIST's form yet; `None` if all pixels are nearly alike.
    pub(super) fn find(raster: Raster) -> Option<Self> {
        let found = find::find(raster)?;
        Some(Self { pixels: mnist_form::mnist_form(&found), doubt: found.doubt })
    }

    /// The digit over white, or over black where white leaves nothing to see.
    ///
    /// - `digit_over`: the digit over paper of a level
    pub(super) fn over_white_or_black(
        has_alpha: bool,
        digit_over: impl Fn(u8) -> Option<Self>,
    ) -> Option<Self> {
        digit_over(255).or_else(|| if has_alpha { digit_over(0) } else { None })
    }
}
