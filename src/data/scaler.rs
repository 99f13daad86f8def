//! `Scaler`: numbers brought to a common scale.

use serde::{Deserialize, Serialize};

/// How features are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// To mean 0 and standard deviation 1 over the training split.
    #[default]
    Standard,
    /// To the range from 0 to 1 of the training split.
    MinMax,
    /// To mean 0 and standard deviation 1 within each sequence.
    PerSequence,
    /// Not at all.
    None,
}

/// A scaler of K numbers that was fitted to training data: `(x - center) / scale` for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// The subtracted numbers, K of them.
    pub center: Vec<f64>,
    /// The divisors, K numbers above 0.
    pub scale: Vec<f64>,
}

impl Scaler {
    /// A scaler of `width` numbers that changes nothing.
    pub fn identity(width: usize) -> Self {
        Self { center: vec![0.; width], scale: vec![1.; width] }
    }

    /// Fits a scaler to rows of K numbers; NaN is left out. A column whose numbers are all equal is centred and not
    /// scaled. [`Scaling::PerSequence`] and [`Scaling::None`] give the identity.
    pub fn fit<'a>(scaling: Scaling, width: usize, rows: impl Iterator<Item = &'a [f32]>) -> Self {
        let mut statistics = vec![Statistics::default(); width];
        for row in rows {
            statistics.iter_mut().zip(row).for_each(|(s, value)| s.add(f64::from(*value)));
        }
        Self::of(scaling, &statistics)
    }

    pub(super) fn of(scaling: Scaling, statistics: &[Statistics]) -> Self {
        let of = |s: &Statistics| match scaling {
            Scaling::Standard => s.standard(),
            Scaling::MinMax => s.range(),
            Scaling::PerSequence | Scaling::None => (0., 1.),
        };
        let (center, scale) = statistics.iter().map(of).unzip();
        Self { center, scale }
    }

    /// The scaled number of column `column`.
    pub fn scale(&self, column: usize, value: f64) -> f64 {
        (value - self.center[column]) / self.scale[column]
    }

    /// The number of column `column` that was scaled to `value`.
    pub fn unscale(&self, column: usize, value: f64) -> f64 {
        value * self.scale[column] + self.center[column]
    }

    /// Whether there is a scale above 0 for each centre, and all numbers are finite.
    pub fn is_valid(&self) -> bool {
        let is_scale = |scale: &f64| *scale > 0. && scale.is_finite();
        self.center.len() == self.scale.len()
            && self.center.iter().all(|center| center.is_finite())
            && self.scale.iter().all(is_scale)
    }

    /// How many columns there are, K.
    pub fn width(&self) -> usize {
        self.center.len()
    }
}

/// Mean, spread and range of numbers that come one by one (Welford, 1962).
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    count: f64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self { count: 0., mean: 0., squares: 0., min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Statistics {
    pub(super) fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1.;
        let difference = value - self.mean;
        self.mean += difference / self.count;
        self.squares += difference * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Whether there was no number.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0.
    }

    /// The mean; 0 where there was no number.
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// Mean and standard deviation; 1 for the latter where all numbers are equal.
    pub(super) fn standard(&self) -> (f64, f64) {
        let deviation = (self.squares / self.count.max(1.)).sqrt();
        (self.mean, positive(deviation, self.mean.abs()))
    }

    /// The smallest number, and the distance to the largest; 1 for the latter where all numbers are equal.
    fn range(&self) -> (f64, f64) {
        if self.count == 0. {
            return (0., 1.);
        }
        (self.min, positive(self.max - self.min, self.max.abs()))
    }
}

/// `spread`, or 1 where it is no more than rounding of numbers of this size.
fn positive(spread: f64, size: f64) -> f64 {
    if spread > 1e-12 * size && spread.is_finite() && spread > 0. {
        spread
    } else {
        1.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_columns_have_mean_0_and_deviation_1() {
        let rows: [[f32; 3]; 3] = [[1., 5., f32::NAN], [2., 5., 4.], [6., 5., 8.]];
        let rows = || rows.iter().map(|row| row.as_slice());
        let scaler = Scaler::fit(Scaling::Standard, 3, rows());
        assert_eq!(scaler.center, [3., 5., 6.]);
        assert_eq!((scaler.scale[1], scaler.scale[2]), (1., 2.));
        assert!((scaler.scale[0] - (14f64 / 3.).sqrt()).abs() < 1e-12);
        assert!((scaler.unscale(0, scaler.scale(0, 2.)) - 2.).abs() < 1e-12);
        let scaler = Scaler::fit(Scaling::MinMax, 3, rows());
        assert_eq!((scaler.center, scaler.scale), (vec![1., 5., 4.], vec![5., 1., 4.]));
        assert_eq!(Scaler::fit(Scaling::None, 3, rows()), Scaler::identity(3));
    }
}
