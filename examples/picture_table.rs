//! How well pictures of digits are read: digits of MNIST's test set drawn with many pens, sizes,
//! colours, frames and faults, as the Markdown table of docs/pictures.md.
//!
//! ```sh
//! cargo run --release --example picture_table runs/tanh ~/.cache/candle-rnn/mnist 200
//! ```
//!
//! Each row draws the same digits. A picture that is refused counts as wrong. Given a fourth
//! argument, only rows whose name begins with it are drawn.

use std::path::Path;

use candle_rnn::data::mnist::Mnist;
use candle_rnn::data::picture;
use candle_rnn::predict::Predictor;
use candle_rnn::rng::{Purpose, SeededRng};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use rayon::prelude::*;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The pixels of a picture and whether there is a warning; `None` if it is refused.
fn told(path: &Path) -> Option<(Vec<u8>, bool)> {
    let digit = picture::read_digit(path).ok()?;
    Some((digit.pixels, digit.doubt.is_some()))
}

/// Ink from 0 to 1 on a page.
type Ink = ImageBuffer<Luma<f32>, Vec<f32>>;

struct Page {
    width: u32,
    height: u32,
    /// Side of the whole 28 x 28 image on the page.
    side: u32,
    left: i64,
    top: i64,
}

impl Page {
    /// A page of 400 x 400 with the digit in its middle.
    fn usual() -> Self {
        Self::of(400, 400, 320)
    }

    fn of(width: u32, height: u32, side: u32) -> Self {
        let middle = |page: u32| (i64::from(page) - i64::from(side)) / 2;
        Self { width, height, side, left: middle(width), top: middle(height) }
    }

    fn at(self, left: i64, top: i64) -> Self {
        Self { left, top, ..self }
    }

    /// The digit as MNIST has it, enlarged.
    fn enlarge(&self, digit: &[u8]) -> Ink {
        let small =
            Ink::from_fn(28, 28, |x, y| Luma([f32::from(digit[(y * 28 + x) as usize]) / 255.]));
        let large =
            imageops::resize(&small, self.side, self.side, imageops::FilterType::CatmullRom);
        let mut page = Ink::new(self.width, self.height);
        for (x, y, ink) in large.enumerate_pixels() {
            let (x, y) = (i64::from(x) + self.left, i64::from(y) + self.top);
            if (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y) {
                page.put_pixel(x as u32, y as u32, Luma([ink.0[0].clamp(0., 1.)]));
            }
        }
        page
    }

    /// The middle line of the digit's strokes, drawn with a round pen.
    fn draw(&self, digit: &[u8], pen: f32) -> Ink {
        let mut page = Ink::new(self.width, self.height);
        let scale = self.side as f32 / FINE as f32;
        for (a, b) in middle_line(digit) {
            let place = |(x, y): (i32, i32)| {
                (
                    (x as f32 + 0.5) * scale + self.left as f32,
                    (y as f32 + 0.5) * scale + self.top as f32,
                )
            };
            line(&mut page, place(a), place(b), pen);
        }
        page
    }
}

/// A line from `a` to `b` with round ends.
fn line(page: &mut Ink, a: (f32, f32), b: (f32, f32), pen: f32) {
    let reach = pen / 2. + 1.;
    let range = |low: f32, high: f32, side: u32| {
        (low - reach).floor().max(0.) as u32..((high + reach).ceil().max(0.) as u32).min(side)
    };
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let square = (dx * dx + dy * dy).max(1e-9);
    for y in range(a.1.min(b.1), a.1.max(b.1), page.height()) {
        for x in range(a.0.min(b.0), a.0.max(b.0), page.width()) {
            let (px, py) = (x as f32 + 0.5 - a.0, y as f32 + 0.5 - a.1);
            let along = ((px * dx + py * dy) / square).clamp(0., 1.);
            let off = (px - along * dx).hypot(py - along * dy);
            let ink = (pen / 2. + 0.5 - off).clamp(0., 1.);
            let pixel = page.get_pixel_mut(x, y);
            pixel.0[0] = pixel.0[0].max(ink);
        }
    }
}

/// Side of the raster in which strokes are thinned.
const FINE: usize = 224;

/// Segments of the one-pixel line that thinning leaves (Zhang & Suen, 1984).
fn middle_line(digit: &[u8]) -> Vec<((i32, i32), (i32, i32))> {
    let page = Page::of(FINE as u32, FINE as u32, FINE as u32).enlarge(digit);
    let mut ink: Vec<bool> = page.as_raw().iter().map(|ink| *ink >= 0.5).collect();
    let around = |ink: &[bool], at: usize| -> [bool; 8] {
        let w = FINE;
        [at - w, at - w + 1, at + 1, at + w + 1, at + w, at + w - 1, at - 1, at - w - 1]
            .map(|at| ink[at])
    };
    loop {
        let mut changed = false;
        for pass in 0..2 {
            let mut gone = Vec::new();
            for y in 1..FINE - 1 {
                for x in 1..FINE - 1 {
                    let at = y * FINE + x;
                    if !ink[at] {
                        continue;
                    }
                    let p = around(&ink, at);
                    let count = p.iter().filter(|p| **p).count();
                    let rises = (0..8).filter(|i| !p[*i] && p[(i + 1) % 8]).count();
                    let (a, b) = if pass == 0 {
                        (p[0] && p[2] && p[4], p[2] && p[4] && p[6])
                    } else {
                        (p[0] && p[2] && p[6], p[0] && p[4] && p[6])
                    };
                    if (2..=6).contains(&count) && rises == 1 && !a && !b {
                        gone.push(at);
                    }
                }
            }
            changed |= !gone.is_empty();
            for at in gone {
                ink[at] = false;
            }
        }
        if !changed {
            break;
        }
    }
    let mut segments = Vec::new();
    let on = |x: i32, y: i32| {
        (0..FINE as i32).contains(&x)
            && (0..FINE as i32).contains(&y)
            && ink[y as usize * FINE + x as usize]
    };
    for (x, y) in (0..FINE as i32).flat_map(|y| (0..FINE as i32).map(move |x| (x, y))) {
        if on(x, y) {
            segments.push(((x, y), (x, y)));
            for (dx, dy) in [(1, 0), (0, 1), (1, 1), (-1, 1)] {
                if on(x + dx, y + dy) {
                    segments.push(((x, y), (x + dx, y + dy)));
                }
            }
        }
    }
    segments
}

fn grey(ink: &Ink, paper: f32, full: f32) -> GrayImage {
    GrayImage::from_fn(ink.width(), ink.height(), |x, y| {
        Luma([(paper + (full - paper) * ink.get_pixel(x, y).0[0]).round() as u8])
    })
}

fn colours(ink: &Ink, paper: [u8; 3], full: [u8; 3]) -> DynamicImage {
    RgbImage::from_fn(ink.width(), ink.height(), |x, y| {
        let part = ink.get_pixel(x, y).0[0];
        Rgb(std::array::from_fn(|i| {
            (f32::from(paper[i]) + (f32::from(full[i]) - f32::from(paper[i])) * part).round() as u8
        }))
    })
    .into()
}

fn black_on_white(digit: &[u8]) -> GrayImage {
    grey(&Page::usual().enlarge(digit), 255., 0.)
}

fn change(mut picture: GrayImage, by: impl Fn(u32, u32, f32) -> f32) -> DynamicImage {
    for (x, y, level) in picture.enumerate_pixels_mut() {
        level.0[0] = by(x, y, f32::from(level.0[0])).round().clamp(0., 255.) as u8;
    }
    picture.into()
}

fn square(picture: &mut GrayImage, left: u32, top: u32, side: u32, level: u8) {
    for (x, y) in (0..side).flat_map(|y| (0..side).map(move |x| (left + x, top + y))) {
        if x < picture.width() && y < picture.height() {
            picture.put_pixel(x, y, Luma([level]));
        }
    }
}

/// A frame `thick` wide whose outer side is `inset` from the picture's.
fn framed(mut picture: GrayImage, inset: u32, thick: u32, level: u8) -> DynamicImage {
    let (w, h) = picture.dimensions();
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let off = x.min(y).min(w - 1 - x).min(h - 1 - y);
        if off >= inset && off < inset + thick {
            pixel.0[0] = level;
        }
    }
    picture.into()
}

fn noisy(picture: GrayImage, sigma: f32, rng: &mut SeededRng) -> DynamicImage {
    let mut out = picture;
    for level in out.pixels_mut() {
        level.0[0] =
            (f32::from(level.0[0]) + sigma * rng.normal() as f32).round().clamp(0., 255.) as u8;
    }
    out.into()
}

fn peppered(picture: GrayImage, part: f64, rng: &mut SeededRng) -> DynamicImage {
    let mut out = picture;
    for level in out.pixels_mut() {
        if rng.unit() < part {
            level.0[0] = if rng.unit() < 0.5 { 0 } else { 255 };
        }
    }
    out.into()
}

type Drawing = Box<dyn Fn(&[u8], &mut SeededRng) -> DynamicImage + Sync>;

struct Row {
    name: String,
    /// The quality of the JPEG file; a PNG file without one.
    jpeg: Option<u8>,
    draw: Drawing,
}

fn row(
    name: impl Into<String>,
    draw: impl Fn(&[u8], &mut SeededRng) -> DynamicImage + Sync + 'static,
) -> Row {
    Row { name: name.into(), jpeg: None, draw: Box::new(draw) }
}

fn readable() -> Vec<Row> {
    let mut rows = vec![row("as MNIST has it, 28 x 28", |digit, _| {
        grey(&Page::of(28, 28, 28).enlarge(digit), 0., 255.).into()
    })];
    for pen in [1., 2., 3., 5., 10., 20., 40.] {
        rows.push(row(format!("pen of {pen} px on 400 x 400"), move |digit, _| {
            grey(&Page::usual().draw(digit, pen), 255., 0.).into()
        }));
    }
    rows.push(row("pen of 2 px, light grey on white", |digit, _| {
        grey(&Page::usual().draw(digit, 2.), 255., 190.).into()
    }));
    for (pen, side) in [(5., 2000), (20., 6000), (40., 6000)] {
        rows.push(row(format!("pen of {pen} px on {side} x {side}"), move |digit, _| {
            grey(&Page::of(side, side, side * 4 / 5).draw(digit, pen), 255., 0.).into()
        }));
    }
    for side in [28, 40, 80, 160, 640, 1600] {
        rows.push(row(format!("digit of {side} px, dark on light"), move |digit, _| {
            grey(&Page::of(side, side, side).enlarge(digit), 255., 0.).into()
        }));
    }
    rows.push(row("digit of 80 px on 1600 x 1200", |digit, rng| {
        let page = Page::of(1600, 1200, 80);
        let (left, top) = ((rng.unit() * 1500.) as i64, (rng.unit() * 1100.) as i64);
        grey(&page.at(left, top).enlarge(digit), 255., 0.).into()
    }));
    rows.push(row("digit of 600 px on 16384 x 1000", |digit, _| {
        grey(&Page::of(16_384, 1000, 600).enlarge(digit), 255., 0.).into()
    }));
    for (x, y) in [(-40, -40), (120, -40), (-40, 120), (120, 120)] {
        rows.push(row(format!("moved to {x}, {y}, at the border"), move |digit, _| {
            grey(&Page::usual().at(x, y).enlarge(digit), 255., 0.).into()
        }));
    }
    let white = [255; 3];
    for (name, paper, ink) in [
        ("white on black", [0; 3], white),
        ("grey 200 on white", white, [200; 3]),
        ("red on white", white, [220, 30, 30]),
        ("blue on white", white, [30, 60, 200]),
        ("yellow on white", white, [255, 235, 0]),
        ("cyan on white", white, [0, 230, 255]),
        ("red on green", [60, 140, 60], [200, 80, 60]),
        ("yellow on blue", [40, 60, 160], [250, 230, 60]),
        ("pink on light blue", [190, 220, 250], [250, 200, 210]),
    ] {
        rows.push(row(name, move |digit, _| colours(&Page::usual().enlarge(digit), paper, ink)));
    }
    for thick in [1, 3, 10, 30] {
        rows.push(row(format!("black frame of {thick} px"), move |digit, _| {
            framed(black_on_white(digit), 0, thick, 0)
        }));
    }
    rows.push(row("white frame of 5 px, white on black", |digit, _| {
        framed(grey(&Page::usual().enlarge(digit), 0., 255.), 0, 5, 255)
    }));
    rows.push(row("frame of 2 px, 20 px from the border", |digit, _| {
        framed(black_on_white(digit), 20, 2, 0)
    }));
    for level in [0, 128, 220] {
        rows.push(row(format!("border of 60 px, grey {level}"), move |digit, _| {
            framed(grey(&Page::of(400, 400, 260).enlarge(digit), 255., 0.), 0, 60, level)
        }));
    }
    for level in [0, 128] {
        rows.push(row(
            format!("canvas of 400 x 400 on a page of 900 x 700, grey {level}"),
            move |digit, _| {
                let mut page = GrayImage::from_pixel(900, 700, Luma([level]));
                imageops::overlay(&mut page, &black_on_white(digit), 120, 200);
                page.into()
            },
        ));
    }
    rows.push(row("dark strip of 12 px at the left", |digit, _| {
        change(black_on_white(digit), |x, _, level| if x < 12 { 40. } else { level })
    }));
    for side in [1, 4, 10, 20] {
        rows.push(row(format!("speck of {side} px"), move |digit, rng| {
            let mut page = grey(&Page::of(800, 600, 280).enlarge(digit), 255., 0.);
            let at = |side: f64, rng: &mut SeededRng| (side * rng.unit()) as u32;
            let (x, y) = (at(180., rng), at(560., rng));
            square(&mut page, x, y, side, 0);
            page.into()
        }));
    }
    rows.push(row("30 specks of 3 px", |digit, rng| {
        let mut page = black_on_white(digit);
        for _ in 0..30 {
            let (x, y) = ((397. * rng.unit()) as u32, (397. * rng.unit()) as u32);
            square(&mut page, x, y, 3, 0);
        }
        page.into()
    }));
    for sigma in [5., 15., 30., 60.] {
        rows.push(row(format!("Gaussian noise of {sigma} of 255"), move |digit, rng| {
            noisy(black_on_white(digit), sigma, rng)
        }));
    }
    rows.push(row("Gaussian noise of 15 of 255, pen of 3 px", |digit, rng| {
        noisy(grey(&Page::usual().draw(digit, 3.), 230., 20.), 15., rng)
    }));
    for percent in [1, 5, 15] {
        rows.push(row(format!("salt and pepper, {percent} % of the pixels"), move |digit, rng| {
            peppered(black_on_white(digit), f64::from(percent) / 100., rng)
        }));
    }
    for quality in [90, 50, 20, 8] {
        let mut row = row(format!("JPEG, quality {quality}"), |digit, _| {
            colours(&Page::usual().enlarge(digit), [250, 248, 240], [40, 50, 120])
        });
        row.jpeg = Some(quality);
        rows.push(row);
    }
    let mut thin = row("JPEG, quality 50, pen of 2 px", |digit, _| {
        grey(&Page::usual().draw(digit, 2.), 255., 0.).into()
    });
    thin.jpeg = Some(50);
    rows.push(thin);
    for sigma in [2., 5., 10.] {
        rows.push(row(format!("blur of {sigma} px"), move |digit, _| {
            imageops::blur(&black_on_white(digit), sigma).into()
        }));
    }
    for span in [64., 24., 8., 4.] {
        rows.push(row(format!("ink spans {span} of 255 levels"), move |digit, _| {
            grey(&Page::usual().enlarge(digit), 140., 140. - span).into()
        }));
    }
    for span in [10_000., 1000.] {
        rows.push(row(format!("ink spans {span} of 65,535 levels, 16 bits"), move |digit, _| {
            let ink = Page::usual().enlarge(digit);
            let level = |x, y| 30_000. + span * ink.get_pixel(x, y).0[0];
            let picture: ImageBuffer<Luma<u16>, _> =
                ImageBuffer::from_fn(400, 400, |x, y| Luma([level(x, y) as u16]));
            picture.into()
        }));
    }
    for span in [40., 80., 140.] {
        rows.push(row(format!("lighting falls by {span} of 255"), move |digit, _| {
            let ink = Page::usual().enlarge(digit);
            change(GrayImage::new(400, 400), |x, y, _| {
                let light = 250. - span * (0.7 * x as f32 + 0.3 * y as f32) / 400.;
                light * (1. - 0.85 * ink.get_pixel(x, y).0[0])
            })
        }));
    }
    rows.push(row("photo: noise 8, lighting 60, blur 2, blue ink", |digit, rng| {
        let ink = Page::of(500, 600, 300).enlarge(digit);
        let light = |x: u32, y: u32| 1. - 0.25 * (x as f32 / 500. + y as f32 / 600.) / 2.;
        let mut picture = RgbImage::from_fn(500, 600, |x, y| {
            let ink = 0.9 * ink.get_pixel(x, y).0[0];
            let full = [30., 50., 130.];
            Rgb(std::array::from_fn(|i| (light(x, y) * (235. + ink * (full[i] - 235.))) as u8))
        });
        picture = imageops::blur(&picture, 2.);
        for level in picture.pixels_mut().flat_map(|pixel| &mut pixel.0) {
            *level = (f32::from(*level) + 8. * rng.normal() as f32).clamp(0., 255.) as u8;
        }
        picture.into()
    }));
    rows
}

/// Pictures without one plausible digit. Each gets a random digit besides the one given.
fn unreadable(digits: Vec<Vec<u8>>) -> Vec<Row> {
    let digits = std::sync::Arc::new(digits);
    let mut rows = Vec::new();
    for (name, count, gap) in [
        ("two digits, 28 x 28 images side by side", 2, 280),
        ("three digits, 28 x 28 images side by side", 3, 280),
        ("two digits, close", 2, 225),
    ] {
        let digits = digits.clone();
        rows.push(row(name, move |digit, rng| {
            let width = 280 + gap * (count - 1);
            let mut page = GrayImage::from_pixel(width as u32, 280, Luma([255]));
            for place in 0..count {
                let other = &digits[(rng.bits() % digits.len() as u64) as usize];
                let digit = if place == 0 { digit } else { other };
                let ink = Page::of(280, 280, 280).enlarge(digit);
                for (x, y, ink) in ink.enumerate_pixels() {
                    let pixel = page.get_pixel_mut(x + place as u32 * gap as u32, y);
                    pixel.0[0] = pixel.0[0].min((255. * (1. - ink.0[0])) as u8);
                }
            }
            page.into()
        }));
    }
    {
        let digits = digits.clone();
        rows.push(row("two digits, one above the other", move |digit, rng| {
            let mut page = GrayImage::from_pixel(280, 560, Luma([255]));
            let other = &digits[(rng.bits() % digits.len() as u64) as usize];
            for (place, digit) in [digit, other].into_iter().enumerate() {
                let ink = grey(&Page::of(280, 280, 280).enlarge(digit), 255., 0.);
                imageops::overlay(&mut page, &ink, 0, 280 * place as i64);
            }
            page.into()
        }));
    }
    rows.push(row("page of 60 digits", move |_, rng| {
        let mut page = GrayImage::from_pixel(500, 300, Luma([255]));
        for at in 0..60 {
            let other = &digits[(rng.bits() % digits.len() as u64) as usize];
            let ink = grey(&Page::of(50, 50, 50).enlarge(other), 255., 0.);
            imageops::overlay(&mut page, &ink, at % 10 * 50, at / 10 * 50);
        }
        page.into()
    }));
    rows.push(row("noise, equally likely levels", |_, rng| {
        GrayImage::from_fn(300, 300, |_, _| Luma([rng.bits() as u8])).into()
    }));
    rows.push(row("Gaussian noise of 20 of 255", |_, rng| {
        noisy(GrayImage::from_pixel(300, 300, Luma([128])), 20., rng)
    }));
    rows.push(row("noise, 28 x 28", |_, rng| {
        GrayImage::from_fn(28, 28, |_, _| Luma([rng.bits() as u8])).into()
    }));
    for radius in [6., 15., 40.] {
        rows.push(row(format!("smooth random field, {radius} px"), move |_, rng| {
            field(400, 300, radius, rng)
        }));
    }
    rows.push(row("photograph-like: three smooth colours and texture", |_, rng| {
        let parts: Vec<GrayImage> =
            [50., 30., 20.].iter().map(|radius| field(400, 300, *radius, rng).to_luma8()).collect();
        RgbImage::from_fn(400, 300, |x, y| {
            let noise = (rng.bits() % 24) as u8;
            Rgb(std::array::from_fn(|i| parts[i].get_pixel(x, y).0[0].saturating_add(noise)))
        })
        .into()
    }));
    for cell in [8, 25, 50] {
        rows.push(row(format!("checkerboard, cells of {cell} px"), move |_, _| {
            GrayImage::from_fn(400, 400, |x, y| {
                Luma([if (x / cell + y / cell) % 2 == 0 { 0 } else { 255 }])
            })
            .into()
        }));
    }
    rows.push(row("stripes", |_, _| {
        GrayImage::from_fn(400, 400, |x, _| Luma([if x / 20 % 2 == 0 { 0 } else { 255 }])).into()
    }));
    rows.push(row("gradient", |_, rng| {
        let tilt = rng.unit() as f32;
        GrayImage::from_fn(400, 400, |x, y| {
            Luma([((tilt * x as f32 + (1. - tilt) * y as f32) * 255. / 400.) as u8])
        })
        .into()
    }));
    rows.push(row("filled circle", |_, rng| {
        let radius = 40. + 100. * rng.unit() as f32;
        GrayImage::from_fn(400, 400, |x, y| {
            let off = (x as f32 - 200.).hypot(y as f32 - 200.);
            Luma([if off < radius { 0 } else { 255 }])
        })
        .into()
    }));
    rows
}

/// Smoothed noise, stretched to all levels.
fn field(width: u32, height: u32, radius: f32, rng: &mut SeededRng) -> DynamicImage {
    let noise = Ink::from_fn(width, height, |_, _| Luma([rng.normal() as f32]));
    let smooth = imageops::fast_blur(&noise, radius);
    let low = smooth.as_raw().iter().copied().fold(f32::MAX, f32::min);
    let high = smooth.as_raw().iter().copied().fold(f32::MIN, f32::max);
    GrayImage::from_fn(width, height, |x, y| {
        Luma([(255. * (smooth.get_pixel(x, y).0[0] - low) / (high - low)) as u8])
    })
    .into()
}

fn save(picture: &DynamicImage, jpeg: Option<u8>, path: &Path) -> Result<(), Failure> {
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    match jpeg {
        Some(quality) => {
            picture.write_with_encoder(JpegEncoder::new_with_quality(file, quality))?
        }
        None => picture.write_with_encoder(PngEncoder::new_with_quality(
            file,
            CompressionType::Fast,
            FilterType::Up,
        ))?,
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [run, data, count, rest @ ..] = args.as_slice() else {
        return Err("usage: picture_table RUN MNIST-FOLDER DIGITS [ROW]".into());
    };
    let (count, only) = (count.parse::<usize>()?, rest.first().map_or("", String::as_str));
    let model = Predictor::load(run)?;
    let test = Mnist::from_folder(Path::new(data))?.test;
    let digits: Vec<usize> = (0..count).map(|at| at * test.len() / count).collect();
    let plain: Vec<&[u8]> = digits.iter().map(|at| test.image(*at)).collect();
    let right = |told: &[(usize, Vec<u8>)]| -> Result<usize, Failure> {
        let pixels: Vec<&[u8]> = told.iter().map(|(_, pixels)| pixels.as_slice()).collect();
        let predictions = model.predict(&pixels)?;
        Ok(predictions
            .iter()
            .zip(told)
            .filter(|(prediction, (at, _))| prediction.label == usize::from(test.labels()[*at]))
            .count())
    };
    let known: Vec<(usize, Vec<u8>)> =
        digits.iter().map(|at| (*at, test.image(*at).to_vec())).collect();
    let percent = |part: usize| 100. * part as f64 / count as f64;
    println!("| picture | accuracy, % | warnings, % | mean ink |\n|---|---|---|---|");
    println!("| the test images themselves | {:.1} | | |", percent(right(&known)?));
    let folder = tempfile::tempdir()?;
    let others: Vec<Vec<u8>> = plain.iter().map(|image| image.to_vec()).collect();
    let lists = [(readable(), true), (unreadable(others), false)];
    for (row, readable) in
        lists.iter().flat_map(|(rows, readable)| rows.iter().map(move |row| (row, readable)))
    {
        if !row.name.starts_with(only) {
            continue;
        }
        let results: Vec<Option<(usize, Vec<u8>, bool)>> = digits
            .par_iter()
            .map(|at| -> Result<_, Failure> {
                let mut rng = SeededRng::new(*at as u64, Purpose::Augment);
                let path = folder.path().join(at.to_string());
                save(&(row.draw)(test.image(*at), &mut rng), row.jpeg, &path)?;
                let found = told(&path).map(|(pixels, doubt)| (*at, pixels, doubt));
                if let (Ok(to), Some((_, pixels, _))) = (std::env::var("PICTURES"), &found) {
                    let _ = std::fs::copy(&path, format!("{to}/{at}.png"));
                    GrayImage::from_raw(28, 28, pixels.clone())
                        .ok_or("28 x 28")?
                        .save(format!("{to}/{at}-28.png"))?;
                }
                std::fs::remove_file(&path)?;
                Ok(found)
            })
            .collect::<Result<_, _>>()?;
        let found: Vec<_> = results.into_iter().flatten().collect();
        let refused = count - found.len();
        let doubts = found.iter().filter(|(_, _, doubt)| *doubt).count();
        let pixels: Vec<(usize, Vec<u8>)> =
            found.into_iter().map(|(at, pixels, _)| (at, pixels)).collect();
        if *readable {
            let ink: f64 =
                pixels.iter().flat_map(|(_, pixels)| pixels).map(|p| f64::from(*p)).sum();
            println!(
                "| {} | {:.1} | {:.1} | {:.1} |",
                row.name,
                percent(right(&pixels)?),
                percent(doubts),
                ink / (784 * pixels.len().max(1)) as f64
            );
        } else {
            println!("| {} | | {:.1} | |", row.name, percent(doubts + refused));
        }
    }
    Ok(())
}
