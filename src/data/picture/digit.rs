//! `Digit`: what is found in a decoded picture.

use image::{DynamicImage, GrayImage, Rgba};

use super::doubt::Doubt;
use super::find;
use super::form;
use super::raster::Raster;

/// A picture in MNIST's form whose lightest and darkest pixels differ by less is not a digit as it
/// is.
const MNIST_CONTRAST: u8 = 26;

/// A picture of a digit in MNIST's form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Digit {
    /// `(28, 28)` pixels, row by row, 0 (background) to 255 (ink).
    pub pixels: Vec<u8>,
    /// Why the picture may not hold one digit; `None` where one digit stands out.
    pub doubt: Option<Doubt>,
}

/// The digit in a picture over white, or over black where white leaves nothing to see.
pub(super) fn digit_of(picture: &DynamicImage) -> Option<Digit> {
    let over = |paper| digit_over(picture, paper);
    over(255).or_else(|| if picture.color().has_alpha() { over(0) } else { None })
}

fn digit_over(picture: &DynamicImage, paper: u8) -> Option<Digit> {
    if (picture.width(), picture.height()) == (28, 28) {
        let grey = flatten(picture, paper);
        let lightest = grey.as_raw().iter().max()?;
        let darkest = grey.as_raw().iter().min()?;
        if lightest - darkest >= MNIST_CONTRAST && form::is_mnist(&grey) {
            return Some(Digit { pixels: grey.into_raw(), doubt: None });
        }
    }
    let found = find::find(Raster::new(picture, f32::from(paper) / 255.))?;
    Some(Digit { pixels: form::mnist_form(&found), doubt: found.doubt })
}

/// Grey levels over a background of `paper`.
fn flatten(picture: &DynamicImage, paper: u8) -> GrayImage {
    if !picture.color().has_alpha() {
        return picture.to_luma8();
    }
    let mut colours = picture.to_rgba8();
    for Rgba([r, g, b, alpha]) in colours.pixels_mut() {
        for channel in [r, g, b] {
            let blend = u32::from(*channel) * u32::from(*alpha)
                + u32::from(paper) * (255 - u32::from(*alpha));
            *channel = ((blend + 127) / 255) as u8;
        }
        *alpha = 255;
    }
    DynamicImage::ImageRgba8(colours).to_luma8()
}
