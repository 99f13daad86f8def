//! `NumbersReport`: how far a model's numbers are from the true ones.

use serde::Serialize;

/// How far a model's predictions of K numbers are from the true ones, in the units of the data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumbersReport {
    /// Root mean squared error.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Coefficient of determination, 1 less the part of the variance that is left: 0 for the mean of the true numbers,
    /// 1 at best; the mean over those of the K numbers that have one. `None` where the true numbers are all equal: it
    /// is undefined.
    pub r2: Option<f64>,
    /// The root mean squared error of predicting the training split's mean.
    pub mean_rmse: f64,
    /// Number of examples.
    pub examples: usize,
    /// Each of the K numbers.
    pub numbers: Vec<NumberScore>,
}

/// How far predictions of one number are from the true one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumberScore {
    /// The name of the number.
    pub name: String,
    /// Root mean squared error.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Coefficient of determination; `None` where the true numbers are all equal.
    pub r2: Option<f64>,
    /// The root mean squared error of predicting the training split's mean.
    pub mean_rmse: f64,
}

/// Sums errors, example by example.
#[derive(Clone, Debug)]
pub struct NumbersCounter {
    /// The training split's means: K numbers.
    means: Vec<f64>,
    sums: Vec<Sums>,
    examples: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    squared: f64,
    absolute: f64,
    of_mean: f64,
    mean: f64,
    variance: f64,
}

impl NumbersCounter {
    /// No example yet.
    ///
    /// - `means`: `(K,)`, of the training split
    pub fn new(means: &[f64]) -> Self {
        Self { means: means.to_vec(), sums: vec![Sums::default(); means.len()], examples: 0 }
    }

    /// Adds an example: its numbers and those predicted, `(K,)` both.
    pub fn add(&mut self, truth: &[f64], predicted: &[f64]) {
        self.examples += 1;
        let count = self.examples as f64;
        let pairs = truth.iter().zip(predicted).zip(&self.means);
        for (sums, ((truth, predicted), mean)) in self.sums.iter_mut().zip(pairs) {
            let error = predicted - truth;
            sums.squared += error * error;
            sums.absolute += error.abs();
            sums.of_mean += (mean - truth) * (mean - truth);
            let difference = truth - sums.mean;
            sums.mean += difference / count;
            sums.variance += difference * (truth - sums.mean);
        }
    }

    /// The report, with these names of the numbers.
    pub fn report(self, names: &[String]) -> NumbersReport {
        let count = self.examples.max(1) as f64;
        let score = |(index, sums): (usize, &Sums)| NumberScore {
            name: names.get(index).cloned().unwrap_or_else(|| index.to_string()),
            rmse: (sums.squared / count).sqrt(),
            mae: sums.absolute / count,
            r2: (sums.variance > 0.).then(|| 1. - sums.squared / sums.variance),
            mean_rmse: (sums.of_mean / count).sqrt(),
        };
        let numbers: Vec<NumberScore> = self.sums.iter().enumerate().map(score).collect();
        let mean = |of: fn(&NumberScore) -> f64| {
            numbers.iter().map(of).sum::<f64>() / numbers.len().max(1) as f64
        };
        let r2s: Vec<f64> = numbers.iter().filter_map(|number| number.r2).collect();
        NumbersReport {
            rmse: mean(|number| number.rmse * number.rmse).sqrt(),
            mae: mean(|number| number.mae),
            r2: (!r2s.is_empty()).then(|| r2s.iter().sum::<f64>() / r2s.len() as f64),
            mean_rmse: mean(|number| number.mean_rmse * number.mean_rmse).sqrt(),
            examples: self.examples,
            numbers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_computed_by_hand() {
        let mut counter = NumbersCounter::new(&[2., 0.]);
        counter.add(&[1., 5.], &[2., 5.]);
        counter.add(&[3., 5.], &[3., 9.]);
        let report = counter.report(&["y".into(), "z".into()]);
        let [y, z] = report.numbers.as_slice() else { panic!("two numbers") };
        assert_eq!((y.rmse, y.mae, y.r2, y.mean_rmse), (0.5f64.sqrt(), 0.5, Some(0.5), 1.));
        assert!((z.rmse, z.mae, z.mean_rmse) == (8f64.sqrt(), 2., 5.) && z.r2.is_none());
        assert_eq!(report.r2, Some(0.5));
        assert!((report.rmse - 4.25f64.sqrt()).abs() < 1e-12);
        assert!((report.mean_rmse - 13f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn r2_of_equal_targets_is_undefined_and_not_nan() {
        let mut counter = NumbersCounter::new(&[2.]);
        counter.add(&[5.], &[4.]);
        counter.add(&[5.], &[6.]);
        let report = counter.report(&["y".into()]);
        assert_eq!((report.r2, report.rmse, report.mean_rmse), (None, 1., 3.));
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["r2"].is_null() && json["numbers"][0]["r2"].is_null(), "{json}");
    }
}
