//! Image augmentation: random shift, rotation, zoom and horizontal flip.

use serde::{Deserialize, Serialize};

use super::image_set::{COLUMNS, PIXELS, ROWS};
use crate::rng::SeededRng;
use crate::{Error, Result};

/// How far images may be moved, turned and zoomed before a step reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentConfig {
    /// Pixels in either direction, down and to the right.
    #[serde(default)]
    pub shift: usize,
    /// Degrees in either direction.
    #[serde(default)]
    pub rotate: f64,
    /// The part by which an image may be larger or smaller.
    #[serde(default)]
    pub zoom: f64,
    /// Whether images are flipped horizontally, each with probability 0.5.
    #[serde(default)]
    pub mirror: bool,
}

/// A transform of an image: shift, rotation, zoom and flip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transform {
    /// Pixels to the right and down.
    pub shift: [i8; 2],
    /// Radians, clockwise as images are seen.
    pub angle: f32,
    /// How many times larger it becomes.
    pub scale: f32,
    /// Whether left and right are exchanged, before all else.
    pub mirror: bool,
}

impl AugmentConfig {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    pub fn check(&self) -> Result<()> {
        let Self { shift, rotate, zoom, .. } = self;
        if *shift >= COLUMNS {
            return Err(Error::Config(format!(
                "shift must be less than {COLUMNS} pixels, got {shift}"
            )));
        }
        if !(0. ..1.).contains(zoom) {
            return Err(Error::Config(format!(
                "zoom must be at least 0 and less than 1, got {zoom}"
            )));
        }
        if !(0. ..=180.).contains(rotate) {
            return Err(Error::Config(format!(
                "rotate must be from 0 to 180 degrees, got {rotate}"
            )));
        }
        Ok(())
    }

    /// Draws a transform for each of `count` images.
    pub(crate) fn draw(&self, rng: &mut SeededRng, count: usize) -> Vec<Transform> {
        let places = (2 * self.shift + 1) as f64;
        let is_moved_alone = self.rotate == 0. && self.zoom == 0.;
        let mut draw = || {
            let mut place = || (rng.unit() * places) as i8 - self.shift as i8;
            let shift = [place(), place()];
            // No number is drawn for what is not done: the others stay as they were.
            let (angle, scale) = if is_moved_alone {
                (0., 1.)
            } else {
                let angle = rng.symmetric(self.rotate.to_radians()) as f32;
                (angle, rng.symmetric(self.zoom).exp() as f32)
            };
            Transform { shift, angle, scale, mirror: self.mirror && rng.unit() < 0.5 }
        };
        (0..count).map(|_| draw()).collect()
    }
}

/// Adds an image to `changed`, with `transform` done to it; what enters is 0.
///
/// # Panics
/// When the image has not 784 pixels.
pub(crate) fn add_changed(changed: &mut Vec<u8>, image: &[u8], transform: Transform) {
    assert_eq!(image.len(), PIXELS, "an image has {PIXELS} pixels");
    let mut mirrored = [0; PIXELS];
    if transform.mirror {
        mirrored.copy_from_slice(image);
        mirrored.chunks_exact_mut(COLUMNS).for_each(<[u8]>::reverse);
    }
    let image = if transform.mirror { &mirrored } else { image };
    match (transform.angle, transform.scale) {
        (0., 1.) => add_shifted(changed, image, transform.shift),
        _ => add_warped(changed, image, transform),
    }
}

fn add_shifted(moved: &mut Vec<u8>, image: &[u8], [right, down]: [i8; 2]) {
    let start = moved.len();
    moved.resize(start + PIXELS, 0);
    let (right, down) = (isize::from(right), isize::from(down));
    let columns = COLUMNS.saturating_sub(right.unsigned_abs());
    let (from, to) = (right.min(0).unsigned_abs(), right.max(0) as usize);
    for row in 0..ROWS {
        let Some(source) = row.checked_add_signed(-down).filter(|row| *row < ROWS) else {
            continue;
        };
        let pixels = &image[source * COLUMNS + from..][..columns];
        moved[start + row * COLUMNS + to..][..columns].copy_from_slice(pixels);
    }
}

/// Each pixel is where the transform took it from, between four pixels of the image.
fn add_warped(
    warped: &mut Vec<u8>,
    image: &[u8],
    Transform { shift, angle, scale, .. }: Transform,
) {
    let (sin, cos) = (angle.sin() / scale, angle.cos() / scale);
    let middle = [(COLUMNS - 1) as f32 / 2., (ROWS - 1) as f32 / 2.];
    let [right, down] = shift.map(f32::from);
    // A frame of zeros around the image: what lies beyond it has no weight.
    const WIDTH: usize = COLUMNS + 2;
    let mut framed = [0f32; WIDTH * (ROWS + 2)];
    for (row, pixels) in image.chunks_exact(COLUMNS).enumerate() {
        let to = &mut framed[(row + 1) * WIDTH + 1..][..COLUMNS];
        to.iter_mut().zip(pixels).for_each(|(to, pixel)| *to = f32::from(*pixel));
    }
    for row in 0..ROWS {
        let y = row as f32 - middle[1] - down;
        for column in 0..COLUMNS {
            let x = column as f32 - middle[0] - right;
            let from_x =
                (cos * x + sin * y + middle[0] + 1.).clamp(0., (COLUMNS + 1) as f32 - 1e-3);
            let from_y = (cos * y - sin * x + middle[1] + 1.).clamp(0., (ROWS + 1) as f32 - 1e-3);
            let (left, top) = (from_x as usize, from_y as usize);
            let (part_x, part_y) = (from_x - left as f32, from_y - top as f32);
            let at = top * WIDTH + left;
            let above = framed[at] + part_x * (framed[at + 1] - framed[at]);
            let below = framed[at + WIDTH];
            let below = below + part_x * (framed[at + WIDTH + 1] - below);
            warped.push((above + part_y * (below - above)).round() as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn an_image_is_moved_and_nothing_comes_round_the_other_side() {
        let image: Vec<u8> = (0..PIXELS).map(|at| (at % 251 + 1) as u8).collect();
        for shift in [[0, 0], [2, 0], [-3, 1], [0, -27], [27, 27], [5, -4]] {
            let mut moved = vec![9];
            add_changed(
                &mut moved,
                &image,
                Transform { shift, angle: 0., scale: 1., mirror: false },
            );
            assert_eq!((moved.len(), moved[0]), (PIXELS + 1, 9));
            for row in 0..ROWS as i32 {
                for column in 0..COLUMNS as i32 {
                    let (r, c) = (row - i32::from(shift[1]), column - i32::from(shift[0]));
                    let is_inside = (0..28).contains(&r) && (0..28).contains(&c);
                    let expected = if is_inside { image[(r * 28 + c) as usize] } else { 0 };
                    assert_eq!(moved[1 + (row * 28 + column) as usize], expected, "{shift:?}");
                }
            }
        }
    }

    #[test]
    fn shifts_are_drawn_evenly_up_to_their_limit() {
        let limits = AugmentConfig { shift: 2, ..AugmentConfig::default() };
        let drawn = limits.draw(&mut SeededRng::new(1, Purpose::Augment), 5000);
        for place in -2..=2 {
            for axis in 0..2 {
                let count = drawn.iter().filter(|transform| transform.shift[axis] == place).count();
                assert!((900..1100).contains(&count), "{place}: {count}");
            }
        }
    }

    #[test]
    fn a_quarter_turn_takes_each_pixel_round_the_middle() {
        let image: Vec<u8> = (0..PIXELS).map(|at| (at % 251 + 1) as u8).collect();
        let mut turned = Vec::new();
        let quarter = Transform {
            shift: [0, 0],
            angle: std::f32::consts::FRAC_PI_2,
            scale: 1.,
            mirror: false,
        };
        add_changed(&mut turned, &image, quarter);
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                // Clockwise: the left column becomes the top row.
                let expected = image[(ROWS - 1 - column) * COLUMNS + row];
                assert_eq!(turned[row * COLUMNS + column], expected, "{row} {column}");
            }
        }
    }

    #[test]
    fn a_smooth_image_is_transformed_as_its_formula_is() {
        // A hill, 5 pixels wide and 3 high, as bright as it is at a distance from its middle.
        let hill = |x: f32, y: f32| 255. * (-(x * x / 50. + y * y / 18.)).exp();
        let at = |place: usize| ((place % COLUMNS) as f32 - 13.5, (place / COLUMNS) as f32 - 13.5);
        let image: Vec<u8> =
            (0..PIXELS).map(|place| hill(at(place).0, at(place).1).round() as u8).collect();
        for (shift, angle, scale) in [([0, 0], 0., 1.5), ([2, -1], 0.4, 0.8), ([-3, 1], -0.7, 1.2)]
        {
            let mut changed = Vec::new();
            add_changed(&mut changed, &image, Transform { shift, angle, scale, mirror: false });
            let [right, down] = shift.map(f32::from);
            for (place, found) in changed.into_iter().enumerate() {
                // Turned by an angle clockwise, where down is positive, (1, 0) is (cos, sin).
                let (x, y) = (at(place).0 - right, at(place).1 - down);
                let along = (x * angle.cos() + y * angle.sin()) / scale;
                let across = (y * angle.cos() - x * angle.sin()) / scale;
                // Between pixels, a straight line for a curve: 255 / (8 * 9).
                let expected = hill(along, across);
                let is_near = (f32::from(found) - expected).abs() <= 5.;
                assert!(is_near, "{shift:?} {angle} {scale}: {found} {expected}");
            }
        }
    }

    #[test]
    fn transforms_stay_in_their_limits_and_shifts_draw_as_before() {
        let limits = AugmentConfig { shift: 1, rotate: 10., zoom: 0.1, mirror: false };
        let drawn = limits.draw(&mut SeededRng::new(1, Purpose::Augment), 2000);
        let most =
            |value: fn(&Transform) -> f32| drawn.iter().map(|c| value(c).abs()).fold(0., f32::max);
        let (angle, zoom) = (most(|c| c.angle.to_degrees()), most(|c| c.scale.ln()));
        assert!((9.9..=10.).contains(&angle) && (0.099..=0.1).contains(&zoom), "{angle} {zoom}");
        let mut one = SeededRng::new(1, Purpose::Augment);
        AugmentConfig { shift: 2, ..AugmentConfig::default() }.draw(&mut one, 10);
        assert_eq!(one.position(), 40);
    }

    #[test]
    fn half_of_all_images_are_mirrored_before_they_are_moved() {
        let limits = AugmentConfig { shift: 2, rotate: 5., ..AugmentConfig::default() };
        let draw = |limits: AugmentConfig, count| {
            limits.draw(&mut SeededRng::new(1, Purpose::Augment), count)
        };
        let transforms = draw(AugmentConfig { mirror: true, ..limits }, 1000);
        let count = transforms.iter().filter(|transform| transform.mirror).count();
        assert!((450..550).contains(&count), "{count}");
        assert!(draw(limits, 100).iter().all(|transform| !transform.mirror));
        let mut image = [0; PIXELS];
        image[3 * COLUMNS + 1] = 7;
        image[20 * COLUMNS + 27] = 9;
        let transform = Transform { shift: [1, 0], angle: 0., scale: 1., mirror: true };
        let mut changed = Vec::new();
        add_changed(&mut changed, &image, transform);
        // Mirrored first, moved then.
        assert_eq!((changed[3 * COLUMNS + 27], changed[20 * COLUMNS + 1]), (7, 9));
        assert_eq!(changed.iter().filter(|pixel| **pixel > 0).count(), 2);
    }
}
