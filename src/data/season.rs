//! `season_of`: the length of a season of series.

use super::dataset::Dataset;
use super::naive_forecast::{filled, floats};

/// The longest season.
const LONGEST: usize = 1_000;
/// The autocorrelation from which a season is one.
const LEAST: f64 = 0.3;
/// Products that are added up at most. Of more series an even selection is looked at.
const PRODUCTS: usize = 1 << 28;

/// The length of a season, one for all series and features: the lag at which they are most like themselves, the highest
/// peak of the autocorrelation of their changes from step to step, averaged over all features of all series; 1 where
/// none is above 0.3. A series counts as its steps do, whatever its units; a season is seen three times at least, in
/// series that have half of the steps.
///
/// - `series`: the steps of the training split
pub fn season_of(series: &Dataset) -> usize {
    let features = series.features().len();
    let cost = |len: usize| len * longest_of(len) * features;
    let products: usize = series.lengths().into_iter().map(cost).fold(0, usize::saturating_add);
    let every = products.div_ceil(PRODUCTS).max(1);
    let mut found = MeanCorrelation::default();
    for index in (0..series.len()).step_by(every) {
        let values = filled(floats(series.sequence(index)), features);
        for feature in 0..features {
            let column: Vec<f64> = values.iter().skip(feature).step_by(features).copied().collect();
            found.add(&column);
        }
    }
    found.season()
}

/// The longest season that so many steps can show.
fn longest_of(steps: usize) -> usize {
    (steps.saturating_sub(1) / 3).min(LONGEST)
}

/// Autocorrelations at each lag, averaged over series.
#[derive(Default)]
struct MeanCorrelation {
    /// Sums of autocorrelations, each as often as its series has steps, and how often that is.
    sums: Vec<[f64; 2]>,
    steps: f64,
}

impl MeanCorrelation {
    /// Adds a series of one feature.
    fn add(&mut self, values: &[f64]) {
        let changes: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = changes.iter().sum::<f64>() / changes.len().max(1) as f64;
        let centred: Vec<f64> = changes.iter().map(|change| change - mean).collect();
        let variance: f64 = centred.iter().map(|change| change * change).sum();
        if !(variance.is_finite() && variance > 0.) {
            return;
        }
        let steps = changes.len() as f64;
        let longest = longest_of(values.len());
        self.sums.resize(self.sums.len().max(longest + 2), [0.; 2]);
        for (lag, [sum, weight]) in self.sums.iter_mut().enumerate().take(longest + 2) {
            let later = centred.get(lag..).unwrap_or_default();
            let products: f64 = centred.iter().zip(later).map(|(a, b)| a * b).sum();
            *sum += steps * products / variance;
            *weight += steps;
        }
        self.steps += steps;
    }

    fn season(&self) -> usize {
        let all: Vec<f64> = self
            .sums
            .iter()
            .take_while(|[_, weight]| 2. * weight >= self.steps)
            .map(|[sum, weight]| sum / weight)
            .collect();
        let peaks = (2..all.len().saturating_sub(1))
            .filter(|lag| all[*lag] > all[lag - 1] && all[*lag] >= all[lag + 1]);
        let best = peaks.map(|lag| (lag, all[lag])).max_by(|a, b| a.1.total_cmp(&b.1));
        best.filter(|(_, correlation)| *correlation > LEAST).map_or(1, |(lag, _)| lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetBuilder, Target};

    /// Series of `features` values a step: value(series, feature, t).
    fn series(
        lengths: &[usize],
        features: usize,
        value: impl Fn(usize, usize, usize) -> f64,
    ) -> Dataset {
        let mut builder = DatasetBuilder::unnamed(features);
        for (number, steps) in lengths.iter().enumerate() {
            for t in 0..*steps {
                let step: Vec<f32> =
                    (0..features).map(|feature| value(number, feature, t) as f32).collect();
                builder.push_step(&step).unwrap();
            }
            builder.end_sequence().unwrap();
        }
        builder.build(Target::None).unwrap()
    }

    fn wave(t: usize, season: f64) -> f64 {
        (t as f64 * std::f64::consts::TAU / season).sin() + 0.05 * t as f64
    }

    /// Numbers between 0 and 1 without a season.
    fn noise(seed: usize, t: usize) -> f64 {
        let hash = (t + 1_000 * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64
            / f64::from(1 << 24)
    }

    #[test]
    fn seasons_are_found_where_there_are_some() {
        let of = |steps: usize, value: fn(usize) -> f64| {
            season_of(&series(&[steps], 1, |_, _, t| value(t)))
        };
        assert_eq!(of(120, |t| wave(t, 12.)), 12);
        assert_eq!(of(120, |t| (t * t) as f64), 1);
        assert_eq!(of(120, |t| noise(1, t)), 1);
        assert_eq!(of(2, |t| t as f64), 1);
        assert_eq!(of(60, |_| 3.), 1);
    }

    #[test]
    fn all_series_and_features_have_a_say() {
        // The first of each is constant, or noise.
        let late = |number: usize, feature: usize, t: usize| match (number, feature) {
            (0, _) => 5.,
            (_, 0) => 1e3 * noise(number, t),
            _ => wave(t, 7.),
        };
        assert_eq!(season_of(&series(&[90, 80, 100], 3, late)), 7);
        // What most of them have, whatever their units.
        let most = |number: usize, _: usize, t: usize| {
            if number == 1 {
                1e6 * noise(3, t)
            } else {
                wave(t, 12.)
            }
        };
        assert_eq!(season_of(&series(&[120; 4], 1, most)), 12);
        // A season that most of the series are too short for is none.
        let long = |number: usize, _: usize, t: usize| {
            if number == 0 {
                f64::from(u8::from(t.is_multiple_of(40)))
            } else {
                noise(number, t)
            }
        };
        assert_eq!(season_of(&series(&[130], 1, long)), 40);
        assert_eq!(season_of(&series(&[130, 100, 100, 100], 1, long)), 1);
    }
}
