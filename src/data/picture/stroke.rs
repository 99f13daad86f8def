//! Stroke widths, and strokes redrawn with another width.

/// How deep inside or far outside a shape each pixel is.
pub(super) struct Distances {
    width: usize,
    /// Pixels to the shape's edge, positive inside, `(height, width)`.
    pub(super) signed: Vec<f32>,
}

impl Distances {
    pub(super) fn new(mask: &[bool], width: usize) -> Self {
        let outside = squares(mask.iter().map(|ink| !ink), width);
        let inside = squares(mask.iter().copied(), width);
        let signed = outside
            .iter()
            .zip(inside)
            .zip(mask)
            .map(|((out, into), ink)| if *ink { out.sqrt() - 0.5 } else { 0.5 - into.sqrt() })
            .collect();
        Self { width, signed }
    }

    /// The mean width of the strokes in pixels: the pixels of a bar are a quarter of its width
    /// from its edge in the mean, and the few of a thin one a little more.
    pub(super) fn stroke(&self) -> f32 {
        let (count, sum) = self
            .signed
            .iter()
            .filter(|depth| **depth > 0.)
            .fold((0usize, 0f64), |(count, sum), depth| (count + 1, sum + f64::from(*depth)));
        if count == 0 {
            return 0.;
        }
        let mean = (sum / count as f64) as f32;
        2. * mean + (4. * mean * mean - 1.).max(0.).sqrt()
    }

    /// The diameter of the largest circle inside.
    pub(super) fn thickest(&self) -> f32 {
        2. * self.signed.iter().copied().fold(0., f32::max)
    }

    /// The depth at a point between pixel centres; far outside where there are no pixels.
    fn at(&self, x: f32, y: f32) -> f32 {
        let height = self.signed.len() / self.width;
        let (left, top) = (x.floor(), y.floor());
        let (right_part, bottom_part) = (x - left, y - top);
        let clamp = |at: f32, side: usize| at.clamp(0., (side - 1) as f32) as usize;
        let pixel =
            |x: f32, y: f32| self.signed[clamp(y, height) * self.width + clamp(x, self.width)];
        let beyond = (-x).max(x - (self.width - 1) as f32).max(-y).max(y - (height - 1) as f32);
        let upper = pixel(left, top) * (1. - right_part) + pixel(left + 1., top) * right_part;
        let lower =
            pixel(left, top + 1.) * (1. - right_part) + pixel(left + 1., top + 1.) * right_part;
        upper * (1. - bottom_part) + lower * bottom_part - beyond.max(0.)
    }
}

/// The squared distance from each pixel to the nearest that is true; very far if there is none.
///
/// # Source
/// Felzenszwalb & Huttenlocher (2012), "Distance Transforms of Sampled Functions".
fn squares(sources: impl Iterator<Item = bool>, width: usize) -> Vec<f32> {
    const FAR: f32 = 1e12;
    let mut plane: Vec<f32> = sources.map(|source| if source { 0. } else { FAR }).collect();
    let height = plane.len() / width;
    let mut scratch = Envelope::default();
    let mut column = vec![0.; height];
    for x in 0..width {
        for y in 0..height {
            column[y] = plane[y * width + x];
        }
        scratch.lower(&mut column);
        for y in 0..height {
            plane[y * width + x] = column[y];
        }
    }
    for row in plane.chunks_exact_mut(width) {
        scratch.lower(row);
    }
    plane
}

/// The lower envelope of parabolas.
#[derive(Default)]
struct Envelope {
    feet: Vec<usize>,
    from: Vec<f64>,
    heights: Vec<f32>,
}

impl Envelope {
    /// Replaces `line[x]` by the smallest `line[i] + (x - i)^2`.
    fn lower(&mut self, line: &mut [f32]) {
        self.heights.clear();
        self.heights.extend_from_slice(line);
        self.feet.clear();
        self.from.clear();
        let raised = |heights: &[f32], at: usize| f64::from(heights[at]) + (at * at) as f64;
        for foot in 0..line.len() {
            let mut start = f64::NEG_INFINITY;
            while let (Some(last), Some(from)) = (self.feet.last(), self.from.last()) {
                let crossing = (raised(&self.heights, foot) - raised(&self.heights, *last))
                    / (2 * (foot - last)) as f64;
                if crossing > *from {
                    start = crossing;
                    break;
                }
                self.feet.pop();
                self.from.pop();
            }
            self.feet.push(foot);
            self.from.push(start);
        }
        let mut piece = 0;
        for (x, value) in line.iter_mut().enumerate() {
            while piece + 1 < self.from.len() && self.from[piece + 1] < x as f64 {
                piece += 1;
            }
            let foot = self.feet[piece];
            let off = x.abs_diff(foot) as f32;
            *value = self.heights[foot] + off * off;
        }
    }
}

/// Draws a shape with strokes `2 * grow` wider in `columns` x `rows` pixels, each `pitch` pixels of
/// the shape wide, the first of them at `(left, top)`; 0 to 1, row by row.
pub(super) fn draw(
    shape: &Distances,
    grow: f32,
    (left, top): (f32, f32),
    pitch: f32,
    (columns, rows): (usize, usize),
) -> Vec<f32> {
    const FINE: usize = 8;
    let part = |at: usize| (at as f32 + 0.5) / FINE as f32;
    let mut drawn = vec![0.; columns * rows];
    for (at, level) in drawn.iter_mut().enumerate() {
        let (column, row) = ((at % columns) as f32, (at / columns) as f32);
        let mut sum = 0.;
        for (i, j) in (0..FINE).flat_map(|i| (0..FINE).map(move |j| (i, j))) {
            let x = left + (column + part(i)) * pitch - 0.5;
            let y = top + (row + part(j)) * pitch - 0.5;
            // A pixel's worth of softness, as far as the pitch is wider than that.
            sum += (0.5 + shape.at(x, y) + grow).clamp(0., 1.);
        }
        *level = sum / (FINE * FINE) as f32;
    }
    drawn
}
