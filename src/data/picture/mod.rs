//! Pictures of digits in PNG or JPEG files, converted to MNIST's form.
//!
//! MNIST's digits are light on dark, scaled with their proportions kept into a box of 20 x 20
//! pixels, and placed so that their centre of mass is the centre of the 28 x 28 image. A picture
//! that is so already is taken as it is. docs/pictures.md says how well other pictures are read.
//!
//! # Layout
//! - `raster`: levels of each colour channel, large pictures reduced
//! - `paper`: noise, lighting, the colour of the paper, the distance of each pixel from it
//! - `parts`: connected parts
//! - `doubt`: why a picture may not hold one digit
//! - `frame`: frames and canvases around a digit
//! - `find`: frames taken off, the parts of one digit put together, doubts
//! - `stroke`: the width of strokes, strokes drawn with another width
//! - `mnist_form`: the box of 20 x 20 in the middle of 28 x 28
//! - `digit`: what all of these make of a picture
//! - `decoded`: pictures of the crate `image`, which may be in MNIST's form already
//!
//! # Source
//! LeCun, Bottou, Bengio & Haffner (1998), "Gradient-Based Learning Applied to Document
//! Recognition", section III.A; the description of the MNIST database.

mod decoded;
mod digit;
mod doubt;
mod find;
mod mnist_form;
mod frame;
mod paper;
mod parts;
mod raster;
mod stroke;

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use self::decoded::digit_of;
pub use self::digit::Digit;
pub use self::doubt::Doubt;
use crate::{Error, Result};

/// No side of a picture may be longer.
const MAX_SIDE: u32 = 16_384;
/// Bytes that decoding may take.
const MAX_BYTES: u64 = 512 << 20;

/// Reads a PNG or JPEG file of any size as a digit in MNIST's form.
///
/// The digit is the largest mass of ink, in any colour, together with the strokes that belong to
/// it; frames, specks and the paper around it are left out. Paper is the colour of most pixels.
/// Transparency counts as white, or as black where that leaves nothing to see. Strokes narrower or
/// wider than MNIST's get the nearest of MNIST's widths. A picture of 28 x 28 that is in MNIST's
/// form already comes back as it is.
///
/// A picture without one plausible digit is read all the same, with a [`Doubt`].
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::DataFile`] when it is not a PNG or JPEG
/// image, is damaged, too large, or shows nothing.
pub fn read_digit(path: &Path) -> Result<Digit> {
    let content = std::fs::read(path).map_err(Error::io(path, "read the file"))?;
    digit_in(&content).map_err(|reason| Error::data_file(path, reason))
}

/// The digit in the content of a PNG or JPEG file, as [`read_digit`] reads it.
///
/// # Errors
/// What is wrong with the content, to be said of it.
pub(crate) fn digit_in(content: &[u8]) -> std::result::Result<Digit, String> {
    if content.is_empty() {
        return Err("is empty".into());
    }
    let picture = decode(content)
        .map_err(|error| format!("not a PNG or JPEG image that can be read: {error}"))?;
    digit_of(&picture).ok_or_else(|| "shows no digit: all its pixels are nearly equal".into())
}

fn decode(content: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(content)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    // Cameras store pictures as the sensor lay, and how to turn them.
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

#[cfg(test)]
mod tests;
