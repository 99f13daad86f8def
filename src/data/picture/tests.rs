//! Tests of the conversion, on pictures drawn here.

use super::*;

use crate::data::mnist::Mnist;
use image::imageops::{self, FilterType};
use image::{GrayImage, ImageFormat, Luma, LumaA};

fn save(picture: &DynamicImage, format: ImageFormat) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    picture.save_with_format(&path, format).unwrap();
    (folder, path)
}

fn read(picture: impl Into<DynamicImage>) -> Result<Vec<u8>> {
    let (_folder, path) = save(&picture.into(), ImageFormat::Png);
    read_digit(&path).map(|digit| digit.pixels)
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
        let at = |x: i32, y: i32| {
            if (0..28).contains(&x) && (0..28).contains(&y) {
                a[(y * 28 + x) as usize]
            } else {
                0
            }
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
        assert_eq!(digit_of(&picture.into()).unwrap().pixels, sample.test.image(index), "{index}");
    }
    assert_eq!(read(digit(3)).unwrap(), digit(3).into_raw());
}

#[test]
fn a_large_off_centre_picture_dark_on_light_becomes_the_digit() {
    for index in 0..10 {
        let original = digit(index);
        let large = imageops::resize(&original, 280, 280, FilterType::CatmullRom);
        let mut page = GrayImage::from_pixel(600, 400, Luma([235]));
        for (x, y, pixel) in large.enumerate_pixels() {
            let level = 235 - (u32::from(pixel.0[0]) * 215 / 255) as u8;
            page.put_pixel(x + 300, y + 15, Luma([level]));
        }
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let (_folder, path) = save(&page.clone().into(), format);
            let found = read_digit(&path).unwrap().pixels;
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
    let found = read(page).unwrap();
    let mask: Vec<bool> = found.iter().map(|ink| *ink > 0).collect();
    let rect = mnist_form::bounding_box(&mask, 28).unwrap();
    assert_eq!((rect.height(), rect.width()), (20, 2));
    let (x, y) = mnist_form::centre_of_mass(&found, 28);
    assert!((x - 14.).abs() <= 0.5 && (y - 14.).abs() <= 0.5, "{x} {y}");
}

#[test]
fn pictures_with_nothing_to_see_are_refused() {
    for level in [0, 100, 255] {
        let error = read(GrayImage::from_pixel(50, 40, Luma([level]))).unwrap_err();
        assert!(error.to_string().contains("shows no digit"), "{error}");
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

/// A page with lines between points, drawn with a round pen.
fn drawn(
    side: u32,
    strokes: &[&[(f32, f32)]],
    pen: f32,
    paper: [u8; 3],
    ink: [u8; 3],
) -> image::RgbImage {
    let scale = side as f32 / 400.;
    let off = |x: f32, y: f32| {
        let lines = strokes.iter().flat_map(|stroke| stroke.windows(2));
        lines
            .map(|line| {
                let [(ax, ay), (bx, by)] = [line[0], line[1]].map(|(x, y)| (x * scale, y * scale));
                let (dx, dy) = (bx - ax, by - ay);
                let along = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0., 1.);
                (x - ax - along * dx).hypot(y - ay - along * dy)
            })
            .fold(f32::INFINITY, f32::min)
    };
    image::RgbImage::from_fn(side, side, |x, y| {
        let inked = off(x as f32 + 0.5, y as f32 + 0.5) <= (pen / 2.).max(0.71);
        image::Rgb(if inked { ink } else { paper })
    })
}

const FOUR: &[&[(f32, f32)]] =
    &[&[(160., 80.), (128., 208.), (272., 200.)], &[(240., 96.), (229., 320.)]];
/// Its bar does not touch the rest.
const FIVE: &[&[(f32, f32)]] = &[
    &[(150., 110.), (145., 200.), (200., 180.), (245., 220.), (235., 280.), (150., 300.)],
    &[(165., 90.), (240., 85.)],
];
const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [0; 3];

fn told(picture: impl Into<DynamicImage>) -> Digit {
    digit_of(&picture.into()).unwrap()
}

fn mean_ink(pixels: &[u8]) -> f64 {
    pixels.iter().map(|ink| f64::from(*ink)).sum::<f64>() / 784.
}

/// The digit that a clean pen of middle width leaves.
fn clean(strokes: &[&[(f32, f32)]]) -> Vec<u8> {
    told(drawn(400, strokes, 22., WHITE, BLACK)).pixels
}

/// How much of the picture is off, where the stroke's width may differ.
fn assert_like(found: &Digit, expected: &[u8], what: &str) {
    assert_eq!(found.doubt, None, "{what}");
    let off = difference_where_it_lies(&found.pixels, expected);
    assert!(off < 14., "{what}: {off}");
    assert_eq!(found.pixels.iter().max(), Some(&255), "{what}");
    let ink = mean_ink(&found.pixels);
    // MNIST's training images have 33 in the mean, and nine of ten 19 to 53.
    assert!((15. ..=55.).contains(&ink), "{what}: {ink}");
}

#[test]
fn pens_of_1_to_40_pixels_end_near_mnists_strokes() {
    for strokes in [FOUR, FIVE] {
        for pen in [1., 2., 5., 10., 40.] {
            let found = told(drawn(400, strokes, pen, WHITE, BLACK));
            assert_like(&found, &clean(strokes), &format!("{pen} px"));
        }
    }
}

#[test]
fn coloured_and_grey_pens_are_read_as_black_ones() {
    for (paper, ink) in [
        (WHITE, [200, 200, 200]),
        (WHITE, [255, 240, 0]),
        ([60, 140, 60], [200, 80, 60]),
        ([40, 40, 160], [240, 220, 40]),
        (BLACK, WHITE),
    ] {
        let found = told(drawn(400, FOUR, 5., paper, ink));
        assert_like(&found, &clean(FOUR), &format!("{ink:?} on {paper:?}"));
    }
}

fn with_square(mut page: image::RgbImage, left: u32, top: u32, side: u32) -> image::RgbImage {
    for (x, y) in (0..side).flat_map(|y| (0..side).map(move |x| (x, y))) {
        page.put_pixel(left + x, top + y, image::Rgb(BLACK));
    }
    page
}

#[test]
fn a_speck_does_not_move_or_shrink_the_digit() {
    for side in [1, 4, 10] {
        let page = with_square(drawn(400, FIVE, 8., WHITE, BLACK), 10, 380, side);
        assert_like(&told(page), &clean(FIVE), &format!("{side} px"));
    }
    let mut page = image::RgbImage::from_pixel(1600, 1200, image::Rgb(WHITE));
    let small = drawn(120, FIVE, 4., WHITE, BLACK);
    imageops::overlay(&mut page, &small, 1250, 880);
    assert_like(&told(with_square(page, 100, 100, 4)), &clean(FIVE), "small, and far from it");
}

#[test]
fn a_black_speck_or_strip_does_not_hide_a_paler_digit() {
    for (grey, side) in [(240, 20), (245, 10), (200, 30)] {
        let page = with_square(drawn(400, FIVE, 8., WHITE, [grey; 3]), 10, 370, side);
        assert_like(&told(page), &clean(FIVE), &format!("grey {grey}, {side} px"));
    }
    for grey in [200, 235] {
        let mut page = drawn(400, FIVE, 8., WHITE, [grey; 3]);
        page.enumerate_pixels_mut()
            .filter(|(x, ..)| *x < 12)
            .for_each(|(.., pixel)| *pixel = image::Rgb(BLACK));
        assert_like(&told(page), &clean(FIVE), &format!("grey {grey}, a strip"));
    }
}

#[test]
fn stripes_of_the_samples_own_period_are_no_digit() {
    let stripes = GrayImage::from_fn(450, 450, |x, _| Luma([if x % 3 == 0 { 255 } else { 0 }]));
    let (_folder, path) = save(&stripes.into(), ImageFormat::Png);
    let digit = read_digit(&path).unwrap();
    assert!(digit.doubt.is_some() && digit.pixels.len() == 784);
}

#[test]
fn frames_borders_and_canvases_are_taken_off() {
    for (thick, shade) in [(1, 0), (20, 0), (50, 128), (50, 220)] {
        let mut page = drawn(400, FOUR, 8., WHITE, BLACK);
        for (x, y, pixel) in page.enumerate_pixels_mut() {
            if x.min(y).min(399 - x).min(399 - y) < thick {
                *pixel = image::Rgb([shade; 3]);
            }
        }
        assert_like(&told(page), &clean(FOUR), &format!("{thick} px of {shade}"));
    }
    for shade in [0, 128] {
        let mut page = image::RgbImage::from_pixel(800, 700, image::Rgb([shade; 3]));
        imageops::overlay(&mut page, &drawn(400, FOUR, 8., WHITE, BLACK), 90, 200);
        assert_like(&told(page), &clean(FOUR), &format!("a canvas on {shade}"));
    }
}

#[test]
fn low_contrast_of_16_bits_is_ink_and_less_is_nothing() {
    let drawing = DynamicImage::from(drawn(400, FIVE, 8., BLACK, WHITE)).to_luma8();
    let spanning = |span: u16| {
        let level = |x, y| 20_000 + span * u16::from(drawing.get_pixel(x, y).0[0] > 127);
        image::ImageBuffer::<Luma<u16>, _>::from_fn(400, 400, |x, y| Luma([level(x, y)]))
    };
    assert_like(&told(spanning(1000)), &clean(FIVE), "16 bits");
    assert_eq!(digit_of(&spanning(100).into()), None);
}

#[test]
fn uneven_lighting_is_paper() {
    let mut page = drawn(400, FOUR, 12., WHITE, [30; 3]);
    for (x, y, pixel) in page.enumerate_pixels_mut() {
        let light = 1. - 0.4 * (0.7 * x as f32 + 0.3 * y as f32) / 400.;
        pixel.0 = pixel.0.map(|level| (f32::from(level) * light) as u8);
    }
    assert_like(&told(page), &clean(FOUR), "lighting");
}

#[test]
fn pictures_without_one_digit_are_doubted() {
    let digits: Vec<GrayImage> = (3..6).map(digit).collect();
    let side_by_side = |count: u32| {
        GrayImage::from_fn(28 * count, 28, |x, y| *digits[(x / 28) as usize].get_pixel(x % 28, y))
    };
    for count in [2, 3] {
        let large =
            imageops::resize(&side_by_side(count), 280 * count, 280, FilterType::CatmullRom);
        assert_eq!(told(large).doubt, Some(Doubt::Several), "{count}");
    }
    let mut rng = crate::rng::SeededRng::new(1, crate::rng::Purpose::Augment);
    let noise = GrayImage::from_fn(200, 200, |_, _| Luma([rng.bits() as u8]));
    assert!(told(noise).doubt.is_some());
    let cells = GrayImage::from_fn(400, 400, |x, y| Luma([((x / 50 + y / 50) % 2 * 255) as u8]));
    assert!(told(cells).doubt.is_some());
    let gradient = GrayImage::from_fn(256, 256, |x, _| Luma([x as u8]));
    assert!(told(gradient).doubt.is_some());
    let circle = GrayImage::from_fn(200, 200, |x, y| {
        Luma([if (x as f32 - 100.).hypot(y as f32 - 100.) < 60. { 0 } else { 255 }])
    });
    assert_eq!(told(circle).doubt, Some(Doubt::Shape));
}

#[test]
fn pictures_of_any_size_and_shape_are_read_or_refused() {
    for (width, height) in
        [(1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (2, 2), (3, 5), (28, 28), (5000, 3)]
    {
        let mut rng = crate::rng::SeededRng::new(2, crate::rng::Purpose::Augment);
        let noise = GrayImage::from_fn(width, height, |_, _| Luma([rng.bits() as u8]));
        let one =
            GrayImage::from_fn(width, height, |x, y| Luma([if x + y == 0 { 255 } else { 0 }]));
        for picture in [noise, one] {
            if let Some(found) = digit_of(&picture.into()) {
                assert_eq!(found.pixels.len(), 784, "{width} x {height}");
            }
        }
    }
}

/// Pictures that people drew: a small digit with a speck far away, pens of 3 and 1 px, a white
/// canvas with a black border.
#[test]
fn drawn_cases_fill_the_box_with_full_ink_and_no_doubt() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures");
    let names = [
        "2_small_and_speck4px.png",
        "3_pen3of400.png",
        "4_pen1of400.png",
        "5_white_canvas_black_border.png",
    ];
    for name in names {
        let found = read_digit(&folder.join(name)).unwrap();
        assert_eq!(found.doubt, None, "{name}");
        let mask: Vec<bool> = found.pixels.iter().map(|ink| *ink > 0).collect();
        assert_eq!(mnist_form::bounding_box(&mask, 28).unwrap().longest(), 20, "{name}");
        assert_eq!(found.pixels.iter().max(), Some(&255), "{name}");
        let ink = mean_ink(&found.pixels);
        assert!((15. ..=55.).contains(&ink), "{name}: {ink}");
    }
}
