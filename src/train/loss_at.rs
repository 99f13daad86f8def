//! The steps at which the loss is read.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// At which steps of a sequence the loss is read, and how much each counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Steps", into = "Steps")]
pub struct LossAt(Steps);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Steps {
    #[default]
    Last,
    Every,
    /// Steps from 1, with their weights.
    Weighted(Vec<(usize, f64)>),
}

impl LossAt {
    /// At the last step.
    pub const LAST: Self = Self(Steps::Last);

    /// At every step, all alike.
    pub const EVERY: Self = Self(Steps::Every);

    /// At these steps, counted from 1, all alike.
    ///
    /// # Errors
    /// As [`weighted`](Self::weighted).
    pub fn steps(steps: impl IntoIterator<Item = usize>) -> Result<Self> {
        Self::weighted(steps.into_iter().map(|step| (step, 1.)))
    }

    /// At these steps, counted from 1, each with its weight. Only the weights' ratios matter: the
    /// loss is a mean.
    ///
    /// # Errors
    /// [`Error::Config`] for no step, step 0, a step that comes twice, or a weight that is not a
    /// finite number above 0.
    pub fn weighted(steps: impl IntoIterator<Item = (usize, f64)>) -> Result<Self> {
        let mut steps: Vec<(usize, f64)> = steps.into_iter().collect();
        steps.sort_by_key(|(step, _)| *step);
        let fail = |text: String| Err(Error::Config(text));
        if steps.is_empty() {
            return fail("the loss must be read at one or more steps, got none".into());
        }
        if steps[0].0 == 0 {
            return fail("steps are counted from 1, got step 0".into());
        }
        if let Some(pair) = steps.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return fail(format!("a step is read once, got step {} twice", pair[0].0));
        }
        if let Some((step, weight)) = steps.iter().find(|(_, w)| !(*w > 0. && w.is_finite())) {
            return fail(format!("the weight of step {step} must be above 0, got {weight}"));
        }
        Ok(Self(Steps::Weighted(steps)))
    }

    /// At the steps where `mask` is true, all alike; `mask[0]` is that of step 1.
    ///
    /// # Errors
    /// [`Error::Config`] when no step is.
    pub fn mask(mask: &[bool]) -> Result<Self> {
        let steps = mask.iter().enumerate().filter(|(_, read)| **read);
        Self::steps(steps.map(|(index, _)| index + 1))
    }

    /// How much each of `seq_len` steps counts; the sum is 1.
    ///
    /// # Errors
    /// [`Error::Config`] when a step lies beyond the sequence.
    pub fn weights(&self, seq_len: usize) -> Result<Vec<f64>> {
        let mut weights = vec![0.; seq_len];
        match &self.0 {
            Steps::Last => {
                if let Some(last) = weights.last_mut() {
                    *last = 1.;
                }
            }
            Steps::Every => weights.fill(1. / seq_len as f64),
            Steps::Weighted(steps) => {
                // Of weights near the largest float the plain sum would be infinite.
                let largest = steps.iter().map(|(_, weight)| *weight).fold(0., f64::max);
                let total: f64 = steps.iter().map(|(_, weight)| weight / largest).sum();
                for (step, weight) in steps {
                    let Some(slot) = weights.get_mut(step - 1) else {
                        return Err(Error::Config(format!(
                            "the loss is read at step {step}, but the sequence has {seq_len} steps"
                        )));
                    };
                    *slot = weight / largest / total;
                }
            }
        }
        Ok(weights)
    }

    /// Whether the last step alone is read.
    pub fn is_last(&self) -> bool {
        self.0 == Steps::Last
    }
}

impl TryFrom<Steps> for LossAt {
    type Error = Error;

    fn try_from(steps: Steps) -> Result<Self> {
        match steps {
            Steps::Weighted(steps) => Self::weighted(steps),
            other => Ok(Self(other)),
        }
    }
}

impl From<LossAt> for Steps {
    fn from(loss_at: LossAt) -> Self {
        loss_at.0
    }
}

/// `last` or `every`.
impl FromStr for LossAt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "last" => Ok(Self::LAST),
            "every" => Ok(Self::EVERY),
            other => {
                Err(Error::Config(format!("a loss must be read at last or every, got {other:?}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_steps_sum_to_one() {
        assert_eq!(LossAt::LAST.weights(3).unwrap(), [0., 0., 1.]);
        assert_eq!(LossAt::EVERY.weights(4).unwrap(), [0.25; 4]);
        assert_eq!(LossAt::steps([4, 2]).unwrap().weights(4).unwrap(), [0., 0.5, 0., 0.5]);
        let weighted = LossAt::weighted([(1, 3.), (3, 1.)]).unwrap();
        assert_eq!(weighted.weights(3).unwrap(), [0.75, 0., 0.25]);
        let huge = LossAt::weighted([(1, f64::MAX), (2, f64::MAX)]).unwrap();
        assert_eq!(huge.weights(2).unwrap(), [0.5, 0.5]);
        assert_eq!(LossAt::mask(&[false, true]).unwrap().weights(2).unwrap(), [0., 1.]);
        let json = serde_json::to_string(&weighted).unwrap();
        assert_eq!(serde_json::from_str::<LossAt>(&json).unwrap(), weighted);
    }

    #[test]
    fn steps_that_mean_nothing_are_errors_that_name_the_value() {
        let error = |loss_at: Result<LossAt>| loss_at.unwrap_err().to_string();
        assert!(error(LossAt::steps([])).contains("got none"));
        assert!(error(LossAt::mask(&[false; 3])).contains("got none"));
        assert!(error(LossAt::steps([0, 1])).contains("step 0"));
        assert!(error(LossAt::steps([2, 2])).contains("step 2 twice"));
        assert!(error(LossAt::weighted([(2, 0.)])).contains("step 2 must be above 0, got 0"));
        assert!(error(LossAt::weighted([(2, f64::NAN)])).contains("got NaN"));
        let beyond = LossAt::steps([2, 29]).unwrap().weights(28).unwrap_err().to_string();
        assert!(beyond.contains("step 29") && beyond.contains("28 steps"), "{beyond}");
    }
}
