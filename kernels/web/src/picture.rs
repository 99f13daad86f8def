//! Drawings as digits in MNIST's form.
//!
//! The code is that of the program, compiled a second time, so that a drawing gives the same bytes.

#[path = "../../../src/data/picture/digit.rs"]
mod digit;
#[path = "../../../src/data/picture/doubt.rs"]
mod doubt;
#[path = "../../../src/data/picture/find.rs"]
mod find;
#[path = "../../../src/data/picture/frame.rs"]
mod frame;
#[path = "../../../src/data/picture/mnist_form.rs"]
mod mnist_form;
#[path = "../../../src/data/picture/paper.rs"]
mod paper;
#[path = "../../../src/data/picture/parts.rs"]
mod parts;
#[path = "../../../src/data/picture/raster.rs"]
mod raster;
#[path = "../../../src/data/picture/stroke.rs"]
mod stroke;

use digit::Digit;
use raster::Raster;

/// The pixels of the digit in a picture, and behind them the text of a doubt if there is one.
///
/// - `content`: `(height, width, 4)`: red, green, blue and opacity; not of 28 x 28 pixels, which may be a digit as they
///   are
/// - returns `None` if the picture shows nothing
pub(crate) fn digit(content: &[u8], width: usize, height: usize) -> Option<Vec<u8>> {
    if content.is_empty() || content.len() != 4 * width * height {
        return None;
    }
    let over = |paper: u8| {
        let paper = f32::from(paper) / 255.;
        Digit::find(Raster::of_samples::<_, 4, 3>(content, (width, height), 255., paper))
    };
    let Digit { mut pixels, doubt } = Digit::over_white_or_black(true, over)?;
    if let Some(doubt) = doubt {
        pixels.extend_from_slice(doubt.text().as_bytes());
    }
    Some(pixels)
}
