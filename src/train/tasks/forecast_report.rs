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
    /// The same of each feature, whose units may differ; empty if there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<FeatureScores>,
}

/// How far forecasts of one feature are from what came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureScores {
    /// The feature.
    pub name: String,
    /// The model first, then what it is compared with.
    pub forecasts: Vec<ForecastScore>,
}

impl FeatureScores {
    /// The model's root mean squared error, in the units of the feature.
    pub fn rmse(&self) -> f64 {
        self.forecasts.first().map_or(f64::NAN, |model| model.rmse)
    }
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
    /// The errors of each feature, by forecaster.
    sums: Vec<(&'static str, Vec<Errors>)>,
    features: Vec<String>,
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

impl Errors {
    fn and(self, other: &Self) -> Self {
        Self {
            squared: self.squared + other.squared,
            absolute: self.absolute + other.absolute,
            relative: self.relative + other.relative,
            count: self.count + other.count,
            relative_count: self.relative_count + other.relative_count,
        }
    }

    fn score(&self, name: &str) -> ForecastScore {
        let count = self.count.max(1) as f64;
        ForecastScore {
            name: name.to_string(),
            rmse: (self.squared / count).sqrt(),
            mae: self.absolute / count,
            mape: (self.relative_count > 0).then(|| self.relative / self.relative_count as f64),
        }
    }
}

impl ForecastCounter {
    /// - `features`: their names
    pub(super) fn new(of: ForecastTarget, features: &[String]) -> Self {
        let mut names = vec!["model", "naive"];
        if of.season > 1 {
            names.push("seasonal naive");
        }
        let sums =
            names.into_iter().map(|name| (name, vec![Errors::default(); features.len()])).collect();
        Self { of, sums, features: features.to_vec(), examples: 0 }
    }

    pub(super) fn add(&mut self, data: &Dataset, index: usize, forecast: &[f64]) {
        let (window, features) = (data.sequence(index), data.features().len());
        let truth = floats(data.following(index, self.of.horizon));
        let naive = |season| ForecastTarget { season, ..self.of }.naive(window, features);
        let forecasts = [forecast.to_vec(), naive(1), naive(self.of.season)];
        self.examples += 1;
        for ((_, errors), forecast) in self.sums.iter_mut().zip(forecasts) {
            let columns = (0..features).cycle();
            for ((truth, value), column) in truth.iter().zip(forecast).zip(columns) {
                let errors = &mut errors[column];
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
        let all = |(name, errors): &(&str, Vec<Errors>)| {
            errors.iter().fold(Errors::default(), Errors::and).score(name)
        };
        let of_feature = |(column, name): (usize, &String)| FeatureScores {
            name: name.clone(),
            forecasts: self.sums.iter().map(|(who, errors)| errors[column].score(who)).collect(),
        };
        let several = if self.features.len() > 1 { &self.features[..] } else { &[] };
        ForecastReport {
            examples: self.examples,
            forecasts: self.sums.iter().map(all).collect(),
            features: several.iter().enumerate().map(of_feature).collect(),
        }
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
            let mut counter = ForecastCounter::new(of, series.features());
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

    #[test]
    fn each_feature_has_errors_in_its_own_units() {
        let mut series = DatasetBuilder::new(["small", "large"]);
        [0f32, 1., 2., 3.].iter().for_each(|t| series.push_step(&[*t, 100. * t]).unwrap());
        series.end_sequence().unwrap();
        let series = series.build(Target::None).unwrap();
        let windows = series.windows(2, 1, |len| 0..len);
        let of = ForecastTarget { horizon: 1, season: 1 };
        let mut counter = ForecastCounter::new(of, series.features());
        (0..windows.len()).for_each(|index| counter.add(&windows, index, &[2., 300.]));
        let report = counter.report();
        let of = |feature: usize| {
            let score = &report.features[feature].forecasts;
            (&report.features[feature].name[..], score[0].mae, score[1].mae)
        };
        assert_eq!((of(0), of(1)), (("small", 0.5, 1.), ("large", 50., 100.)));
        assert_eq!(report.forecasts[1].mae, 50.5);
        let one = ForecastCounter::new(ForecastTarget { horizon: 1, season: 1 }, &["x".into()]);
        assert!(one.report().features.is_empty());
    }
}
