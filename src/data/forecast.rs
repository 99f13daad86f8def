//! Forecasts: the steps behind a window, as differences from a naive forecast.

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, SequenceValues};
use super::naive_forecast::{floats, naive_forecast};
use super::scaler::Scaler;

/// The target of a forecast from a window of a series: its next steps, all features of each.
///
/// A network predicts the differences from a naive forecast, so that it need not learn the level of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastTarget {
    /// K, the number of steps that are forecast.
    pub horizon: usize,
    /// The naive forecast that is started from: the value so many steps earlier, 1 for the last known one and a season
    /// for the seasonal naive forecast. A window has at least as many steps.
    pub season: usize,
}

impl ForecastTarget {
    /// The naive forecast: each step repeats the value of a season earlier, or of as many seasons as it takes to be
    /// within the window. K times I numbers.
    pub fn naive(&self, window: SequenceValues, features: usize) -> Vec<f64> {
        naive_forecast(window, features, self.horizon, self.season)
    }

    /// The scaled differences of the true next steps from the naive forecast: K times I numbers.
    pub fn differences(&self, data: &Dataset, index: usize, scaler: &Scaler) -> Vec<f64> {
        let features = data.features().len();
        let naive = self.naive(data.sequence(index), features);
        let truth = floats(data.following(index, self.horizon));
        let difference = |(at, (truth, naive)): (usize, (&f64, &f64))| {
            (truth - naive) / scaler.scale[at % features]
        };
        truth.iter().zip(&naive).enumerate().map(difference).collect()
    }

    /// The forecast that these differences stand for, in the units of the data.
    pub fn forecast(
        &self,
        window: SequenceValues,
        scaler: &Scaler,
        differences: &[f64],
    ) -> Vec<f64> {
        let features = scaler.width();
        let naive = self.naive(window, features);
        let value = |(at, (naive, difference)): (usize, (&f64, &f64))| {
            naive + difference * scaler.scale[at % features]
        };
        naive.iter().zip(differences).enumerate().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetBuilder, Target};

    fn series() -> Dataset {
        let mut builder = DatasetBuilder::unnamed(2);
        for t in 0..12 {
            builder.push_step(&[t as f32, (10 * t) as f32]).unwrap();
        }
        builder.end_sequence().unwrap();
        builder.build(Target::None).unwrap()
    }

    #[test]
    fn forecasts_are_naive_plus_differences() {
        let data = series().windows(4, 3, |len| 0..len);
        let scaler = Scaler { center: vec![5., 5.], scale: vec![2., 10.] };
        let target = ForecastTarget { horizon: 3, season: 2 };
        assert_eq!(target.naive(data.sequence(0), 2), [2., 20., 3., 30., 2., 20.]);
        let differences = target.differences(&data, 0, &scaler);
        assert_eq!(differences, [1., 2., 1., 2., 2., 4.]);
        let forecast = target.forecast(data.sequence(0), &scaler, &differences);
        assert_eq!(forecast, floats(data.following(0, 3)));
    }
}
