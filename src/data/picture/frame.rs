//! Frames and canvases around a digit.

use super::parts::{Part, Parts};
use super::raster::{Raster, Rect};

/// The part of the outermost pixels that is ink.
pub(super) fn border_share(mask: &[bool], width: usize, height: usize) -> f32 {
    let ink = |x: usize, y: usize| usize::from(mask[y * width + x]);
    let rows: usize = (0..width).map(|x| ink(x, 0) + ink(x, height - 1)).sum();
    let columns: usize = (0..height).map(|y| ink(0, y) + ink(width - 1, y)).sum();
    (rows + columns) as f32 / (2 * (width + height)) as f32
}

/// The inside of a frame, or the canvas that lies on a page; `None` if there is neither.
///
/// Both are parts that fill the sides of their bounding box. A frame is thin and has something
/// inside, or runs along the whole border; a canvas is nearly full.
pub(super) fn inside_frame(found: &Parts, raster: &Raster) -> Option<Rect> {
    let (width, height) = (raster.width, raster.height);
    for index in largest(&found.list, 4) {
        let part = &found.list[index];
        let rect = part.rect;
        if rect.width() < (width * 3 / 10).max(16) || rect.height() < (height * 3 / 10).max(16) {
            continue;
        }
        let mine = |x: usize, y: usize| found.labels[y * width + x] == index as u32 + 1;
        let reach = 1 + rect.longest() / 100;
        let covered = |lines: usize, any: &dyn Fn(usize) -> bool| {
            (0..lines).filter(|line| any(*line)).count() as f32 >= 0.85 * lines as f32
        };
        let left = |y: usize| (0..reach).any(|d| mine(rect.left + d, rect.top + y));
        let right = |y: usize| (1..=reach).any(|d| mine(rect.right - d, rect.top + y));
        let top = |x: usize| (0..reach).any(|d| mine(rect.left + x, rect.top + d));
        let bottom = |x: usize| (1..=reach).any(|d| mine(rect.left + x, rect.bottom - d));
        if !(covered(rect.height(), &left)
            && covered(rect.height(), &right)
            && covered(rect.width(), &top)
            && covered(rect.width(), &bottom))
        {
            continue;
        }
        let column = |x: usize| (rect.top..rect.bottom).filter(|y| mine(x, *y)).count();
        let row = |y: usize| (rect.left..rect.right).filter(|x| mine(*x, y)).count();
        // From each side inwards, up to the last line of the first quarter that is mostly frame.
        let thickness = |side: usize, across: usize, count: &dyn Fn(usize) -> usize| {
            (0..side.div_ceil(4))
                .rev()
                .find(|line| count(*line) as f32 >= 0.6 * across as f32)
                .map_or(0, |line| line + 1)
        };
        let (w, h) = (rect.width(), rect.height());
        let sides = [
            thickness(w, h, &|line| column(rect.left + line)),
            thickness(w, h, &|line| column(rect.right - 1 - line)),
            thickness(h, w, &|line| row(rect.top + line)),
            thickness(h, w, &|line| row(rect.bottom - 1 - line)),
        ];
        let full = Rect { left: 0, top: 0, right: width, bottom: height };
        let solid = part.area as f32 >= 0.6 * (w * h) as f32;
        // Ink on it may be as far from the page's colour as the canvas is, on its other side.
        let margin = reach + rect.longest() / 20;
        let drawn_on = || {
            rect.width().min(rect.height()) > 2 * margin + 2 && {
                let inside = Rect {
                    left: rect.left + margin,
                    top: rect.top + margin,
                    right: rect.right - margin,
                    bottom: rect.bottom - margin,
                };
                raster.crop(inside).contrast() >= 0.25 * raster.contrast()
            }
        };
        if solid && rect != full && (part.area * 200 <= w * h * 199 || drawn_on()) {
            // The paper is this canvas now.
            return Some(rect);
        }
        let deepest = sides.iter().copied().max().unwrap_or(0);
        let margin = 1 + rect.longest() / 200 + deepest / 8;
        let inner = Rect {
            left: rect.left + sides[0] + margin,
            top: rect.top + sides[2] + margin,
            right: rect.right.saturating_sub(sides[1] + margin),
            bottom: rect.bottom.saturating_sub(sides[3] + margin),
        };
        if inner.right < inner.left + 8 || inner.bottom < inner.top + 8 {
            continue;
        }
        let shortest = inner.width().min(inner.height());
        let contents = found.list.iter().enumerate().any(|(other, part)| {
            other != index && rect.contains(&part.rect) && part.rect.longest() * 8 >= shortest
        });
        if !solid && (contents || rect == full) {
            return Some(inner);
        }
    }
    None
}

/// The numbers of the largest parts, at most `count`, the largest first, and of equal ones the first.
fn largest(list: &[Part], count: usize) -> Vec<usize> {
    let mut found = Vec::new();
    while found.len() < count.min(list.len()) {
        let rest = (0..list.len()).rev().filter(|part| !found.contains(part));
        found.extend(rest.max_by_key(|part| list[*part].area));
    }
    found
}
