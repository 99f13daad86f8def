//! A picture of a digit in any image file, brought into MNIST's form.
//!
//! MNIST's digits are light on dark, scaled with their proportions kept into a box of 20 x 20
//! pixels, and placed so that their centre of mass is the centre of the 28 x 28 image. A picture
//! that is so already is taken as it is.
//!
//! # Source
//! LeCun, Bottou, Bengio & Haffner (1998), "Gradient-Based Learning Applied to Document
//! Recognition", section III.A; the description of the MNIST database.

use std::io::Cursor;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, Rgba};

use super::mnist::{COLUMNS, PIXELS, ROWS};
use crate::{Error, Result};

/// Side of the box that holds a digit.
const BOX: u32 = 20;
/// Ink below this part of the darkest is paper: noise, shadows, compression.
const PAPER: f32 = 0.25;
/// A picture whose lightest and darkest pixels differ by less shows nothing.
const CONTRAST: u8 = 26;
/// No side of a picture may be longer.
const MAX_SIDE: u32 = 16_384;
/// Bytes that decoding may take.
const MAX_BYTES: u64 = 512 << 20;

/// Reads a PNG or JPEG file of any size as a digit in MNIST's form.
///
/// Light on dark or dark on light is told apart by the picture's border; transparency counts as
/// white, or as black where that leaves nothing to see.
///
/// Returns `(28, 28)` pixels, row by row, 0 (background) to 255 (ink).
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::DataFile`] when it is not a PNG or JPEG
/// image, is damaged, too large, or shows nothing.
pub fn read_digit(path: &Path) -> Result<Vec<u8>> {
    let content = std::fs::read(path).map_err(Error::io(path, "read the file"))?;
    if content.is_empty() {
        return Err(Error::data_file(path, "is empty"));
    }
    let picture = decode(content).map_err(|error| {
        Error::data_file(path, format!("not a PNG or JPEG image that can be read: {error}"))
    })?;
    let flat = |paper| flatten(&picture, paper);
    centre(&flat(255))
        .or_else(|| if picture.color().has_alpha() { centre(&flat(0)) } else { None })
        .ok_or_else(|| Error::data_file(path, "shows nothing: all its pixels are nearly alike"))
}

fn decode(content: Vec<u8>) -> image::ImageResult<DynamicImage> {
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

/// Brings grey levels into MNIST's form; `None` if there is nothing to see.
fn centre(picture: &GrayImage) -> Option<Vec<u8>> {
    let (width, height) = picture.dimensions();
    let lightest = picture.pixels().map(|p| p.0[0]).max()?;
    let darkest = picture.pixels().map(|p| p.0[0]).min()?;
    if lightest - darkest < CONTRAST {
        return None;
    }
    let background = border_median(picture);
    let dark_on_light = u16::from(background) * 2 > u16::from(lightest) + u16::from(darkest);
    let ink_at = |x, y| {
        let level = picture.get_pixel(x, y).0[0];
        if dark_on_light {
            background.saturating_sub(level)
        } else {
            level.saturating_sub(background)
        }
    };
    if (width, height) == (COLUMNS as u32, ROWS as u32) && !dark_on_light && is_mnist(picture) {
        return Some(picture.as_raw().clone());
    }
    let strongest = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| ink_at(x, y))
        .max()?;
    let floor = PAPER * f32::from(strongest);
    let ink = GrayImage::from_fn(width, height, |x, y| {
        let ink = f32::from(ink_at(x, y));
        image::Luma([if ink < floor {
            0
        } else {
            (ink * 255. / f32::from(strongest)).round() as u8
        }])
    });
    let (left, top, right, bottom) = bounding_box(&ink)?;
    let (box_width, box_height) = (right - left + 1, bottom - top + 1);
    let scale = BOX as f32 / box_width.max(box_height) as f32;
    let scaled = |side: u32| ((side as f32 * scale).round() as u32).clamp(1, BOX);
    let digit = imageops::crop_imm(&ink, left, top, box_width, box_height).to_image();
    let digit =
        imageops::resize(&digit, scaled(box_width), scaled(box_height), FilterType::Triangle);
    Some(place(&digit))
}

/// The median level of the outermost pixels.
fn border_median(picture: &GrayImage) -> u8 {
    let (width, height) = picture.dimensions();
    let level = |x, y| picture.get_pixel(x, y).0[0];
    let mut levels: Vec<u8> = (0..width)
        .flat_map(|x| [level(x, 0), level(x, height - 1)])
        .chain((0..height).flat_map(|y| [level(0, y), level(width - 1, y)]))
        .collect();
    let middle = levels.len() / 2;
    *levels.select_nth_unstable(middle).1
}

/// Whether a 28 x 28 picture, light on dark, is in MNIST's form: pure black around a box of at
/// most 20 x 20, with the centre of mass where MNIST has it.
fn is_mnist(picture: &GrayImage) -> bool {
    let Some((left, top, right, bottom)) = bounding_box(picture) else { return false };
    let (x, y) = centre_of_mass(picture);
    let near_centre = |at: f32| (at - 14.).abs() <= 1.5;
    right - left < BOX && bottom - top < BOX && near_centre(x) && near_centre(y)
}

/// First and last column and row with ink: left, top, right, bottom.
fn bounding_box(ink: &GrayImage) -> Option<(u32, u32, u32, u32)> {
    let mut found: Option<(u32, u32, u32, u32)> = None;
    for (x, y, pixel) in ink.enumerate_pixels() {
        if pixel.0[0] > 0 {
            let (left, top, right, bottom) = found.unwrap_or((x, y, x, y));
            found = Some((left.min(x), top.min(y), right.max(x), bottom.max(y)));
        }
    }
    found
}

/// Mean column and row of the ink, weighted by it; there must be some.
fn centre_of_mass(ink: &GrayImage) -> (f32, f32) {
    let (mut mass, mut x_sum, mut y_sum) = (0., 0., 0.);
    for (x, y, pixel) in ink.enumerate_pixels() {
        let weight = f64::from(pixel.0[0]);
        mass += weight;
        x_sum += weight * f64::from(x);
        y_sum += weight * f64::from(y);
    }
    ((x_sum / mass) as f32, (y_sum / mass) as f32)
}

/// Puts a digit of at most 20 x 20 into 28 x 28 with its centre of mass in the centre, as far as
/// it stays inside.
fn place(digit: &GrayImage) -> Vec<u8> {
    let (x, y) = centre_of_mass(digit);
    let offset = |centre: f32, side: u32, of: usize| {
        (of as f32 / 2. - centre).round().clamp(0., (of as u32 - side) as f32) as usize
    };
    let left = offset(x, digit.width(), COLUMNS);
    let top = offset(y, digit.height(), ROWS);
    let mut pixels = vec![0; PIXELS];
    for (x, y, pixel) in digit.enumerate_pixels() {
        pixels[(top + y as usize) * COLUMNS + left + x as usize] = pixel.0[0];
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::mnist::Mnist;
    use image::{ImageFormat, Luma, LumaA};

    fn save(
        picture: &DynamicImage,
        format: ImageFormat,
    ) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        picture.save_with_format(&path, format).unwrap();
        (folder, path)
    }

    fn read(picture: impl Into<DynamicImage>) -> Result<Vec<u8>> {
        let (_folder, path) = save(&picture.into(), ImageFormat::Png);
        read_digit(&path)
    }

    fn digit(index: usize) -> GrayImage {
        let sample = Mnist::sample().unwrap();
        GrayImage::from_raw(28, 28, sample.test.image(index).to_vec()).unwrap()
    }

    /// Mean difference of pixels, where 255 is black against white.
    fn difference(a: &[u8], b: &[u8]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
    }

    /// The smallest [`difference`] with `a` moved by up to a pixel: MNIST's centres of mass lie up
    /// to half a pixel off, and one that is at the limit may be rounded the other way.
    fn difference_where_it_lies(a: &[u8], b: &[u8]) -> f64 {
        let moved = |right: i32, down: i32| -> Vec<u8> {
            let at = |x: i32, y: i32| match (0..28).contains(&x) && (0..28).contains(&y) {
                true => a[(y * 28 + x) as usize],
                false => 0,
            };
            (0..28).flat_map(|y| (0..28).map(move |x| at(x - right, y - down))).collect()
        };
        (-1..=1)
            .flat_map(|right| (-1..=1).map(move |down| (right, down)))
            .map(|(right, down)| difference(&moved(right, down), b))
            .fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn every_digit_of_the_sample_comes_back_as_it_is() {
        let sample = Mnist::sample().unwrap();
        for index in 0..sample.test.len() {
            let picture = GrayImage::from_raw(28, 28, sample.test.image(index).to_vec()).unwrap();
            assert_eq!(centre(&picture).unwrap(), sample.test.image(index), "{index}");
        }
        assert_eq!(read(digit(3)).unwrap(), digit(3).into_raw());
    }

    #[test]
    fn a_large_off_centre_picture_dark_on_light_becomes_the_digit() {
        for index in 0..40 {
            let original = digit(index);
            let large = imageops::resize(&original, 280, 280, FilterType::CatmullRom);
            let mut page = GrayImage::from_pixel(600, 400, Luma([235]));
            for (x, y, pixel) in large.enumerate_pixels() {
                let level = 235 - (u32::from(pixel.0[0]) * 215 / 255) as u8;
                page.put_pixel(x + 300, y + 15, Luma([level]));
            }
            for format in [ImageFormat::Png, ImageFormat::Jpeg] {
                let (_folder, path) = save(&page.clone().into(), format);
                let found = read_digit(&path).unwrap();
                let off = difference_where_it_lies(&found, original.as_raw());
                assert!(off < 14., "{index}: {off}");
            }
        }
    }

    #[test]
    fn the_polarity_does_not_matter() {
        let mut large = imageops::resize(&digit(0), 100, 140, FilterType::Triangle);
        let light_on_dark = read(large.clone()).unwrap();
        imageops::invert(&mut large);
        assert_eq!(read(large).unwrap(), light_on_dark);
    }

    #[test]
    fn ink_on_a_transparent_page_is_seen_black_or_white() {
        let original = digit(0);
        for ink in [0, 255] {
            let page = image::GrayAlphaImage::from_fn(28, 28, |x, y| {
                LumaA([ink, original.get_pixel(x, y).0[0]])
            });
            let off = difference(&read(page).unwrap(), original.as_raw());
            assert!(off < 14., "{ink}: {off}");
        }
    }

    #[test]
    fn the_result_is_centred_and_fills_the_box() {
        let mut page = GrayImage::new(90, 300);
        for (x, y) in (10..20).flat_map(|x| (5..290).map(move |y| (x, y))) {
            page.put_pixel(x, y, Luma([200]));
        }
        let found = GrayImage::from_raw(28, 28, read(page).unwrap()).unwrap();
        let (left, top, right, bottom) = bounding_box(&found).unwrap();
        assert_eq!((bottom - top + 1, right - left + 1), (20, 1));
        let (x, y) = centre_of_mass(&found);
        assert!((x - 14.).abs() <= 0.5 && (y - 14.).abs() <= 0.5, "{x} {y}");
    }

    #[test]
    fn pictures_with_nothing_to_see_are_refused() {
        for level in [0, 100, 255] {
            let error = read(GrayImage::from_pixel(50, 40, Luma([level]))).unwrap_err();
            assert!(error.to_string().contains("shows nothing"), "{error}");
        }
        assert!(read(image::RgbaImage::new(20, 20)).is_err());
        assert!(read(GrayImage::from_pixel(1, 1, Luma([9]))).is_err());
    }

    #[test]
    fn files_that_are_no_pictures_are_refused() {
        let (_folder, path) = save(&digit(0).into(), ImageFormat::Png);
        let whole = std::fs::read(&path).unwrap();
        for content in [&b""[..], b"no picture at all", &whole[..whole.len() / 2], &whole[..10]] {
            std::fs::write(&path, content).unwrap();
            let error = read_digit(&path).unwrap_err();
            assert!(matches!(error, Error::DataFile { .. }), "{error}");
        }
        assert!(matches!(read_digit(Path::new("/no/such/file")), Err(Error::Io { .. })));
    }
}
