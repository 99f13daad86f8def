//! Drawings as digits in MNIST's form.
//!
//! The code is that of the program, compiled a second time, so that a drawing gives the same bytes.

#[path = "../../../src/data/picture/digit.rs"]
mod digit;
#[path = "../../../src/data/picture/doubt.rs"]
mod doubt;
#[path = "../../../src/data/picture/find.rs"]
mod find;
#[path = "../../../src/data/picture/form.rs"]
mod form;
#[path = "../../../src/data/picture/paper.rs"]
mod paper;
#[path = "../../../src/data/picture/parts.rs"]
mod parts;
#[path = "../../../src/data/picture/raster.rs"]
mod raster;
#[path = "../../../src/data/picture/stroke.rs"]
mod stroke;

use image::{DynamicImage, RgbaImage};

/// The pixels of the digit in a picture, and behind them the text of a doubt if there is one.
///
/// - `content`: `(height, width, 4)`: red, green, blue and opacity
/// - returns `None` if the picture shows nothing
pub(crate) fn digit(content: Vec<u8>, width: u32, height: u32) -> Option<Vec<u8>> {
    let picture = DynamicImage::ImageRgba8(RgbaImage::from_raw(width, height, content)?);
    let digit::Digit { mut pixels, doubt } = digit::digit_of(&picture)?;
    if let Some(doubt) = doubt {
        pixels.extend_from_slice(doubt.to_string().as_bytes());
    }
    Some(pixels)
}
