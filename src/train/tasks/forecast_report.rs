//! `ForecastReport`: how far forecasts are from what came, beside naive ones.

use serde::Serialize;

use crate::data::{floats, Dataset, ForecastTarget};

/// How far forecasts are from what came, in the units of the data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForecastReport {
    /// Number of forecasts.
    pub examples: usize,
    /// The model first, then what it is compared with: `naive`, which repeats the last value, and `seasonal naive`,
    /// which repeats the last season, where there is one.
    pub forecasts: Vec<ForecastScore>,
}

/// How far forecasts of one kind are from what came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForecastScore {
    /// Who forecasts.
    pub name: String,
    /// Root mean squared error.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Mean absolute percentage error, of values that are not 0; `None` if all are.
    pub mape: Option<f64>,
}

/// Sums errors of the model's forecasts and of naive ones.
pub(super) struct ForecastCounter {
    of: ForecastTarget,
    sums: Vec<(&'static str, Errors)>,
    examples: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    squared: f64,
    absolute: f64,
    relative: f64,
    count: usize,
    relative_count: usize,
}

impl ForecastCounter {
    pub(super) fn new(of: ForecastTarget) -> Self {
        let mut names = vec!["model", "naive"];
        if of.season > 1 {
            names.push("seasonal naive");
        }
        let sums = names.into_iter().map(|name| (name, Errors::default())).collect();
        Self { of, sums, examples: 0 }
    }

    pub(super) fn add(&mut self, data: &Dataset, index: usize, forecast: &[f64]) {
        let (window, features) = (data.sequence(index), data.features().len());
        let truth = floats(data.following(index, self.of.horizon));
        let naive = |season| ForecastTarget { season, ..self.of }.naive(window, features);
        let forecasts = [forecast.to_vec(), naive(1), naive(self.of.season)];
        self.examples += 1;
        for ((_, errors), forecast) in self.sums.iter_mut().zip(forecasts) {
            for (truth, value) in truth.iter().zip(forecast) {
                let error = value - truth;
                errors.squared += error * error;
                errors.absolute += error.abs();
                errors.count += 1;
                if *truth != 0. {
                    errors.relative += (error / truth).abs();
                    errors.relative_count += 1;
                }
            }
        }
    }

    pub(super) fn report(self) -> ForecastReport {
        let score = |(name, errors): &(&str, Errors)| {
            let count = errors.count.max(1) as f64;
            ForecastScore {
                name: (*name).to_string(),
                rmse: (errors.squared / count).sqrt(),
                mae: errors.absolute / count,
                mape: (errors.relative_count > 0)
                    .then(|| errors.relative / errors.relative_count as f64),
            }
        };
        let forecasts = self.sums.iter().map(score).collect();
        ForecastReport { examples: self.examples, forecasts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetBuilder, Target};

    #[test]
    fn the_percentage_of_zero_is_undefined_and_not_zero() {
        let mut series = DatasetBuilder::unnamed(1);
        [0., 0., 0., 0., 2.].iter().for_each(|value| series.push_step(&[*value]).unwrap());
        series.end_sequence().unwrap();
        let series = series.build(Target::None).unwrap();
        let of = ForecastTarget { horizon: 1, season: 1 };
        let report = |range: std::ops::Range<usize>| {
            let mut counter = ForecastCounter::new(of);
            let windows = series.windows(2, 1, |_| range.clone());
            (0..windows.len()).for_each(|index| counter.add(&windows, index, &[1.]));
            counter.report()
        };
        let zeros = report(0..4);
        assert_eq!(
            (zeros.examples, zeros.forecasts[0].mape, zeros.forecasts[0].mae),
            (2, None, 1.)
        );
        assert!(serde_json::to_value(&zeros).unwrap()["forecasts"][0]["mape"].is_null());
        assert_eq!(report(0..5).forecasts[0].mape, Some(0.5));
    }
}
