//! The digit in a decoded picture.

use image::{DynamicImage, GrayImage, Rgba};

use super::digit::Digit;
use super::mnist_form::{bounding_box, centre_of_mass, BOX, COLUMNS, ROWS};
use super::raster::Raster;

/// A picture in MNIST's form whose lightest and darkest pixels differ by less is not a digit as it
/// is.
const MNIST_CONTRAST: u8 = 26;

/// The digit in a picture over white, or over black where white leaves nothing to see.
pub(super) fn digit_of(picture: &DynamicImage) -> Option<Digit> {
    let has_alpha = picture.color().has_alpha();
    Digit::over_white_or_black(has_alpha, |paper| digit_over(picture, paper))
}

fn digit_over(picture: &DynamicImage, paper: u8) -> Option<Digit> {
    if (picture.width(), picture.height()) == (28, 28) {
        let grey = flatten(picture, paper);
        let lightest = grey.as_raw().iter().max()?;
        let darkest = grey.as_raw().iter().min()?;
        if lightest - darkest >= MNIST_CONTRAST && is_mnist(&grey) {
            return Some(Digit { pixels: grey.into_raw(), doubt: None });
        }
    }
    Digit::find(levels(picture, f32::from(paper) / 255.))
}

/// The levels of a picture over a background of `paper`. 16-bit channels keep all of theirs.
fn levels(picture: &DynamicImage, paper: f32) -> Raster {
    let size = (picture.width() as usize, picture.height() as usize);
    match picture {
        DynamicImage::ImageLuma8(i) => Raster::of_samples::<_, 1, 1>(i.as_raw(), size, 255., paper),
        DynamicImage::ImageLumaA8(i) => {
            Raster::of_samples::<_, 2, 1>(i.as_raw(), size, 255., paper)
        }
        DynamicImage::ImageRgb8(i) => Raster::of_samples::<_, 3, 3>(i.as_raw(), size, 255., paper),
        DynamicImage::ImageRgba8(i) => Raster::of_samples::<_, 4, 3>(i.as_raw(), size, 255., paper),
        DynamicImage::ImageLuma16(i) => {
            Raster::of_samples::<_, 1, 1>(i.as_raw(), size, 65_535., paper)
        }
        DynamicImage::ImageLumaA16(i) => {
            Raster::of_samples::<_, 2, 1>(i.as_raw(), size, 65_535., paper)
        }
        DynamicImage::ImageRgb16(i) => {
            Raster::of_samples::<_, 3, 3>(i.as_raw(), size, 65_535., paper)
        }
        DynamicImage::ImageRgba16(i) => {
            Raster::of_samples::<_, 4, 3>(i.as_raw(), size, 65_535., paper)
        }
        other => Raster::of_samples::<_, 4, 3>(other.to_rgba16().as_raw(), size, 65_535., paper),
    }
}

/// Whether a 28 x 28 picture, light on dark, is in MNIST's form: pure black around a box of at
/// most 20 x 20, with the centre of mass where MNIST has it.
fn is_mnist(picture: &GrayImage) -> bool {
    if picture.dimensions() != (COLUMNS as u32, ROWS as u32) {
        return false;
    }
    let mask: Vec<bool> = picture.as_raw().iter().map(|level| *level > 0).collect();
    let Some(rect) = bounding_box(&mask, COLUMNS) else { return false };
    let (x, y) = centre_of_mass(picture.as_raw(), COLUMNS);
    let near_centre = |at: f32| (at - 14.).abs() <= 1.5;
    rect.longest() <= BOX && near_centre(x) && near_centre(y)
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
