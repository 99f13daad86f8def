//! Connected parts of a mask.

use super::raster::Rect;

/// Pixels of a mask that touch each other.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The number of pixels.
    pub(super) area: usize,
    /// The sum of the pixels' ink.
    pub(super) mass: f64,
    /// The bounding box.
    pub(super) rect: Rect,
    /// The number of pixels with a neighbour outside the part, to the side, above or below.
    pub(super) edge: usize,
}

impl Part {
    /// The mean width of its strokes, nearly.
    pub(super) fn stroke(&self) -> f32 {
        2. * self.area as f32 / self.edge.max(1) as f32
    }
}

/// The parts of a mask.
pub(super) struct Parts {
    pub(super) list: Vec<Part>,
    /// The index of each pixel's part plus one; 0 is outside the mask.
    pub(super) labels: Vec<u32>,
}

/// Finds the parts of `mask`, `(height, width)`; `ink` weighs their pixels; `corners` says whether
/// pixels that touch at a corner belong together.
pub(super) fn label(mask: &[bool], ink: &[f32], width: usize, corners: bool) -> Parts {
    let height = mask.len() / width;
    // Two passes with a forest of equivalent labels.
    let mut labels = vec![0u32; mask.len()];
    let mut parents: Vec<u32> = vec![0];
    fn root(parents: &mut [u32], mut of: u32) -> u32 {
        while parents[of as usize] != of {
            parents[of as usize] = parents[parents[of as usize] as usize];
            of = parents[of as usize];
        }
        of
    }
    for y in 0..height {
        for x in 0..width {
            let at = y * width + x;
            if !mask[at] {
                continue;
            }
            let mut mine = 0;
            let mut meet = |other: u32, parents: &mut Vec<u32>| {
                if other == 0 {
                    return;
                }
                let other = root(parents, other);
                if mine == 0 {
                    mine = other;
                } else if other != mine {
                    let (low, high) = (mine.min(other), mine.max(other));
                    parents[high as usize] = low;
                    mine = low;
                }
            };
            if x > 0 {
                meet(labels[at - 1], &mut parents);
            }
            if y > 0 {
                let above = at - width;
                if corners && x > 0 {
                    meet(labels[above - 1], &mut parents);
                }
                meet(labels[above], &mut parents);
                if corners && x + 1 < width {
                    meet(labels[above + 1], &mut parents);
                }
            }
            if mine == 0 {
                mine = parents.len() as u32;
                parents.push(mine);
            }
            labels[at] = mine;
        }
    }
    let mut index = vec![0u32; parents.len()];
    let mut list: Vec<Part> = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let at = y * width + x;
            if labels[at] == 0 {
                continue;
            }
            let root = root(&mut parents, labels[at]) as usize;
            let here = Rect { left: x, top: y, right: x + 1, bottom: y + 1 };
            if index[root] == 0 {
                list.push(Part { area: 0, mass: 0., rect: here, edge: 0 });
                index[root] = list.len() as u32;
            }
            labels[at] = index[root];
            let part = &mut list[index[root] as usize - 1];
            part.area += 1;
            part.mass += f64::from(ink[at]);
            part.rect = part.rect.union(&here);
            let inside = |inside: bool, at: usize| inside && mask[at];
            let surrounded = inside(x > 0, at.wrapping_sub(1))
                && inside(x + 1 < width, at + 1)
                && inside(y > 0, at.wrapping_sub(width))
                && inside(y + 1 < height, at + width);
            part.edge += usize::from(!surrounded);
        }
    }
    Parts { list, labels }
}
