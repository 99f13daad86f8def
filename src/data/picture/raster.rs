//! A picture as one plane of levels per colour channel.

/// The largest number of pixels that are searched; a larger image is reduced by averaging.
const MAX_PIXELS: usize = 2_000_000;

/// A rectangle of pixels; `right` and `bottom` are the first column and row outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) right: usize,
    pub(super) bottom: usize,
}

impl Rect {
    pub(super) fn width(&self) -> usize {
        self.right - self.left
    }

    pub(super) fn height(&self) -> usize {
        self.bottom - self.top
    }

    pub(super) fn longest(&self) -> usize {
        self.width().max(self.height())
    }

    /// The smallest rectangle around both.
    pub(super) fn union(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// The rectangle with `margin` more on every side, cut at a raster of `width` x `height`.
    pub(super) fn grown(&self, margin: usize, width: usize, height: usize) -> Self {
        Self {
            left: self.left.saturating_sub(margin),
            top: self.top.saturating_sub(margin),
            right: (self.right + margin).min(width),
            bottom: (self.bottom + margin).min(height),
        }
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }
}

/// Levels from 0 to 1: one plane for grey, three for colours, each `(height, width)`, row by row.
#[derive(Clone, Debug)]
pub(super) struct Raster {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) planes: Vec<Vec<f32>>,
}

impl Raster {
    /// Levels of a picture over a background of `paper` where it is transparent. A picture of more than [`MAX_PIXELS`]
    /// is reduced by averaging squares.
    ///
    /// - `samples`: `N` a pixel, of which the first `C` are colours and the last one is the opacity where `N > C`
    /// - `full`: the largest level of a sample
    pub(super) fn of_samples<S: Copy + Into<f32>, const N: usize, const C: usize>(
        samples: &[S],
        (width, height): (usize, usize),
        full: f32,
        paper: f32,
    ) -> Self {
        let factor = ((width * height) as f64 / MAX_PIXELS as f64).sqrt().ceil().max(1.) as usize;
        let (columns, rows) = (width.div_ceil(factor), height.div_ceil(factor));
        let mut planes = vec![Vec::with_capacity(columns * rows); C];
        let mut sums = vec![[0f32; C]; columns];
        for band in samples.chunks(width * N * factor) {
            sums.fill([0.; C]);
            for row in band.chunks_exact(width * N) {
                for (sum, square) in sums.iter_mut().zip(row.chunks(N * factor)) {
                    for pixel in square.chunks_exact(N) {
                        let opacity = if N > C { pixel[N - 1].into() / full } else { 1. };
                        for (sum, level) in sum.iter_mut().zip(pixel) {
                            let level: f32 = (*level).into() / full;
                            *sum += level * opacity + paper * (1. - opacity);
                        }
                    }
                }
            }
            let band_rows = band.len() / (width * N);
            for (column, sum) in sums.iter().enumerate() {
                let count = band_rows * factor.min(width - column * factor);
                for (plane, sum) in planes.iter_mut().zip(sum) {
                    plane.push(sum / count as f32);
                }
            }
        }
        Self { width: columns, height: rows, planes }
    }

    pub(super) fn crop(&self, area: Rect) -> Self {
        let plane = |plane: &Vec<f32>| {
            (area.top..area.bottom)
                .flat_map(|y| &plane[y * self.width + area.left..y * self.width + area.right])
                .copied()
                .collect()
        };
        Self {
            width: area.width(),
            height: area.height(),
            planes: self.planes.iter().map(plane).collect(),
        }
    }

    /// The largest difference between two pixels in one channel.
    pub(super) fn contrast(&self) -> f32 {
        let span = |plane: &Vec<f32>| {
            let high = plane.iter().copied().fold(f32::MIN, f32::max);
            let low = plane.iter().copied().fold(f32::MAX, f32::min);
            high - low
        };
        self.planes.iter().map(span).fold(0., f32::max)
    }

    /// The contrast without a line of pixels at each border, which a frame may have coloured.
    pub(super) fn contrast_inside(&self) -> f32 {
        if self.width < 5 || self.height < 5 {
            return self.contrast();
        }
        let (right, bottom) = (self.width - 1, self.height - 1);
        self.crop(Rect { left: 1, top: 1, right, bottom }).contrast()
    }
}
