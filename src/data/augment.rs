//! Images moved a little, so that a model sees each in many places.

use super::mnist::{COLUMNS, PIXELS, ROWS};
use crate::rng::Stream;

/// How far an image is moved, right and down, in pixels.
pub type Shift = [i8; 2];

/// Draws a shift for each of `count` images, of at most `limit` pixels in either direction.
pub(crate) fn shifts(rng: &mut Stream, count: usize, limit: usize) -> Vec<Shift> {
    let places = (2 * limit + 1) as f64;
    let mut draw = || (rng.unit() * places) as i8 - limit as i8;
    (0..count).map(|_| [draw(), draw()]).collect()
}

/// Adds an image to `moved`, moved by `shift`; what enters is 0.
///
/// # Panics
/// When the image has not 784 pixels.
pub(crate) fn add_shifted(moved: &mut Vec<u8>, image: &[u8], [right, down]: Shift) {
    assert_eq!(image.len(), PIXELS, "an image has {PIXELS} pixels");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn an_image_is_moved_and_nothing_comes_round_the_other_side() {
        let image: Vec<u8> = (0..PIXELS).map(|at| (at % 251 + 1) as u8).collect();
        for shift in [[0, 0], [2, 0], [-3, 1], [0, -27], [27, 27], [5, -4]] {
            let mut moved = vec![9];
            add_shifted(&mut moved, &image, shift);
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
        let drawn = shifts(&mut Stream::new(1, Purpose::Augment), 5000, 2);
        for place in -2..=2 {
            for axis in 0..2 {
                let count = drawn.iter().filter(|shift| shift[axis] == place).count();
                assert!((900..1100).contains(&count), "{place}: {count}");
            }
        }
    }
}
