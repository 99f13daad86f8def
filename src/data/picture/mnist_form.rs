//! MNIST's form: strokes of its width in a box of 20 x 20, in the middle of 28 x 28.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma};

use super::find::Found;
use super::raster::Rect;
use super::stroke::{self, Distances};

/// The sizes of an image of MNIST.
pub(super) const ROWS: usize = 28;
pub(super) const COLUMNS: usize = 28;
const PIXELS: usize = ROWS * COLUMNS;
/// Side of the box that holds a digit.
pub(super) const BOX: usize = 20;
/// Ink below this part of the full ink is paper.
const PAPER: f32 = 0.2;
/// The stroke widths of most of MNIST's training images in pixels of the box; narrower and wider
/// strokes are drawn anew with the nearest of these.
const STROKES: (f32, f32) = (2.0, 4.0);

/// Brings a digit into MNIST's form, `(28, 28)`, row by row.
pub(super) fn mnist_form(found: &Found) -> Vec<u8> {
    let mask: Vec<bool> = found.ink.iter().map(|ink| *ink >= 0.4).collect();
    let Some(rect) = bounding_box(&mask, found.width) else { return vec![0; PIXELS] };
    let shape = Distances::new(&mask, found.width);
    let longest = rect.longest() as f32;
    let stroke = shape.stroke();
    let in_box = stroke * BOX as f32 / longest;
    let wanted = in_box.clamp(STROKES.0, STROKES.1);
    let digit = if wanted == in_box { shrink(found) } else { None };
    let (columns, digit) = digit.unwrap_or_else(|| {
        // (stroke + 2 grow) / (longest + 2 grow) = wanted / BOX
        let grow = (wanted * longest - BOX as f32 * stroke) / (2. * (BOX as f32 - wanted));
        redraw(&shape, &rect, grow)
    });
    let full = digit.iter().copied().fold(0., f32::max).max(1e-6);
    let digit: Vec<u8> = digit.iter().map(|ink| (ink / full * 255.).round() as u8).collect();
    place(&digit, columns)
}

/// The ink's bounding box scaled into the box; `None` if nothing is left.
fn shrink(found: &Found) -> Option<(usize, Vec<f32>)> {
    let ink: Vec<f32> = found.ink.iter().map(|ink| if *ink < PAPER { 0. } else { *ink }).collect();
    let mask: Vec<bool> = ink.iter().map(|ink| *ink > 0.).collect();
    let rect = bounding_box(&mask, found.width)?;
    let height = ink.len() / found.width;
    let picture: ImageBuffer<Luma<f32>, _> =
        ImageBuffer::from_raw(found.width as u32, height as u32, ink)?;
    let (w, h) = (rect.width() as u32, rect.height() as u32);
    let digit = imageops::crop_imm(&picture, rect.left as u32, rect.top as u32, w, h).to_image();
    let scale = BOX as f32 / rect.longest() as f32;
    let side = |side: u32| ((side as f32 * scale).round() as u32).clamp(1, BOX as u32);
    let digit = imageops::resize(&digit, side(w), side(h), FilterType::Triangle);
    Some((digit.width() as usize, digit.into_raw().iter().map(|ink| ink.clamp(0., 1.)).collect()))
}

/// The shape drawn with other strokes.
fn redraw(shape: &Distances, rect: &Rect, grow: f32) -> (usize, Vec<f32>) {
    let (w, h) = (rect.width() as f32 + 2. * grow, rect.height() as f32 + 2. * grow);
    let pitch = w.max(h).max(1e-3) / BOX as f32;
    let side = |side: f32| ((side / pitch).round() as usize).clamp(1, BOX);
    let (columns, rows) = (side(w), side(h));
    // In the middle of the pixels, whose number is rounded.
    let left = rect.left as f32 - grow - (columns as f32 * pitch - w) / 2.;
    let top = rect.top as f32 - grow - (rows as f32 * pitch - h) / 2.;
    (columns, stroke::draw(shape, grow, (left, top), pitch, (columns, rows)))
}

/// First and last column and row that are true.
pub(super) fn bounding_box(mask: &[bool], width: usize) -> Option<Rect> {
    let mut found: Option<Rect> = None;
    for (at, _) in mask.iter().enumerate().filter(|(_, ink)| **ink) {
        let (x, y) = (at % width, at / width);
        let here = Rect { left: x, top: y, right: x + 1, bottom: y + 1 };
        found = Some(found.map_or(here, |rect| rect.union(&here)));
    }
    found
}

/// Mean column and row of the ink, weighted by it; there must be some.
pub(super) fn centre_of_mass(ink: &[u8], width: usize) -> (f32, f32) {
    let (mut mass, mut x_sum, mut y_sum) = (0., 0., 0.);
    for (at, ink) in ink.iter().enumerate() {
        let weight = f64::from(*ink);
        mass += weight;
        x_sum += weight * (at % width) as f64;
        y_sum += weight * (at / width) as f64;
    }
    ((x_sum / mass) as f32, (y_sum / mass) as f32)
}

/// Puts a digit of at most 20 x 20 into 28 x 28 with its centre of mass in the centre, as far as
/// it stays inside.
fn place(digit: &[u8], columns: usize) -> Vec<u8> {
    let (x, y) = centre_of_mass(digit, columns);
    let offset = |centre: f32, side: usize, of: usize| {
        (of as f32 / 2. - centre).round().clamp(0., (of - side) as f32) as usize
    };
    let left = offset(x, columns, COLUMNS);
    let top = offset(y, digit.len() / columns, ROWS);
    let mut pixels = vec![0; PIXELS];
    for (at, ink) in digit.iter().enumerate() {
        pixels[(top + at / columns) * COLUMNS + left + at % columns] = *ink;
    }
    pixels
}
