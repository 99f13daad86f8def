//! Preprocessing of a sequence before the network reads it: missing ones are filled in, then features
//! are scaled, as they were in training.

use serde::Deserialize;

use super::error::ModelError;
use crate::network::Number;

/// Numbers that are subtracted from columns, and numbers above 0 that they are divided by.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Columns {
    center: Vec<f64>,
    pub(super) scale: Vec<f64>,
}

impl Columns {
    pub(super) fn width(&self) -> usize {
        self.center.len()
    }

    pub(super) fn is_valid(&self) -> bool {
        self.center.len() == self.scale.len()
            && self.center.iter().all(|center| center.is_finite())
            && self.scale.iter().all(|scale| *scale > 0. && scale.is_finite())
    }

    fn scaled(&self, column: usize, value: f64) -> f64 {
        (value - self.center[column]) / self.scale[column]
    }

    pub(super) fn unscaled(&self, column: usize, value: f64) -> f64 {
        value * self.scale[column] + self.center[column]
    }

    /// Mean and standard deviation of each column of one sequence (Welford, 1962); a column whose numbers are all
    /// equal is centred and not scaled.
    fn of_sequence(values: &[f64], width: usize) -> Self {
        let (mut center, mut squares) = (vec![0.; width], vec![0.; width]);
        for (step, row) in values.chunks_exact(width).enumerate() {
            for ((mean, square), value) in center.iter_mut().zip(&mut squares).zip(row) {
                let difference = value - *mean;
                *mean += difference / (step + 1) as f64;
                *square += difference * (value - *mean);
            }
        }
        let steps = (values.len() / width).max(1) as f64;
        let scale = squares.iter().zip(&center).map(|(square, mean): (&f64, &f64)| {
            let deviation = (square / steps).sqrt();
            // Not where it is the rounding of numbers of this size.
            let is_spread =
                deviation > 1e-12 * mean.abs() && deviation.is_finite() && deviation > 0.;
            if is_spread {
                deviation
            } else {
                1.
            }
        });
        Self { scale: scale.collect(), center }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ScalingName {
    Standard,
    MinMax,
    PerSequence,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MissingName {
    Refuse,
    Zero,
    Mean,
    ForwardFill,
}

/// A preprocessor that was fitted to the training data of a run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SequencePreprocessor {
    pub(super) features: Vec<String>,
    scaling: ScalingName,
    missing: MissingName,
    #[serde(default)]
    missing_mask: bool,
    pub(super) means: Vec<f64>,
    pub(super) scaler: Columns,
}

impl SequencePreprocessor {
    pub(super) fn fits_together(&self) -> bool {
        let features = self.features.len();
        features > 0
            && self.scaler.is_valid()
            && [self.means.len(), self.scaler.width()] == [features; 2]
    }

    /// The number of features that the network reads at each step: I, or 2·I with a mask of missing values.
    pub(super) fn input_size(&self) -> usize {
        self.features.len() * (1 + usize::from(self.missing_mask))
    }

    /// Whether steps can be preprocessed one after the other.
    pub(super) fn is_stepwise(&self) -> bool {
        self.scaling != ScalingName::PerSequence
    }

    /// Adds the inputs of a sequence to `out`.
    ///
    /// - `values`: `(T, I)`, as in the data; NaN is a missing value
    pub(super) fn apply<E: Number>(
        &self,
        values: &[E],
        out: &mut Vec<E>,
    ) -> Result<(), ModelError> {
        let width = self.features.len();
        let mut last = self.means.clone();
        let mut filled = Vec::with_capacity(values.len());
        for step in values.chunks_exact(width) {
            self.check(step)?;
            for (column, value) in step.iter().enumerate() {
                filled.push(self.filled(column, value.to_f64(), &mut last));
            }
        }
        let own = (!self.is_stepwise()).then(|| Columns::of_sequence(&filled, width));
        let scaler = own.as_ref().unwrap_or(&self.scaler);
        for (filled, step) in filled.chunks_exact(width).zip(values.chunks_exact(width)) {
            let scaled = filled.iter().enumerate();
            out.extend(scaled.map(|(column, value)| E::from_f64(scaler.scaled(column, *value))));
            if self.missing_mask {
                out.extend(step.iter().map(|value| is_missing(*value)));
            }
        }
        Ok(())
    }

    /// The inputs of one step; allocates nothing.
    ///
    /// - `step`: `(I,)`; `last`: what the step before was filled to, before the first the means
    /// - `inputs`: [`input_size`](Self::input_size) elements
    pub(super) fn apply_step<E: Number>(
        &self,
        step: &[E],
        last: &mut [f64],
        inputs: &mut [E],
    ) -> Result<(), ModelError> {
        self.check(step)?;
        for (column, value) in step.iter().enumerate() {
            let filled = self.filled(column, value.to_f64(), last);
            inputs[column] = E::from_f64(self.scaler.scaled(column, filled));
            if self.missing_mask {
                inputs[step.len() + column] = is_missing(*value);
            }
        }
        Ok(())
    }

    fn check<E: Number>(&self, step: &[E]) -> Result<(), ModelError> {
        if self.missing != MissingName::Refuse {
            return Ok(());
        }
        match step.iter().position(|value| value.to_f64().is_nan()) {
            None => Ok(()),
            Some(column) => {
                let name = &self.features[column];
                Err(ModelError::new(format!("the value of {name} is missing")))
            }
        }
    }

    fn filled(&self, column: usize, value: f64, last: &mut [f64]) -> f64 {
        let filled = match self.missing {
            _ if !value.is_nan() => value,
            MissingName::Refuse | MissingName::Zero => 0.,
            MissingName::Mean => self.means[column],
            MissingName::ForwardFill => last[column],
        };
        last[column] = filled;
        filled
    }
}

/// 1 where a value is missing, else 0.
fn is_missing<E: Number>(value: E) -> E {
    E::from_f64(f64::from(value.to_f64().is_nan()))
}
