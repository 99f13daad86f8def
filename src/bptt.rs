//! Where losses are read and where gradients are cut: backpropagation through time in its forms.
//!
//! Steps are counted from 1 to T. A loss that is read at step s contributes gradients to the steps
//! e to s alone; the form, a [`Truncation`], sets e. [`LossAt`] says at which steps losses are
//! read. docs/bptt.md derives both.

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;
pub use candle_rnn_kernels::Window;
use serde::{Deserialize, Serialize};

use crate::recurrence::State;
use crate::{Error, Result};

/// How far gradients flow back from a loss.
///
/// Where the first of the steps that they reach is step 1, they reach the initial state too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Truncation(Form);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    #[default]
    Full,
    Segments(usize),
    Window {
        k1: usize,
        k2: usize,
    },
}

impl Truncation {
    /// Gradients flow back to the first step.
    pub const FULL: Self = Self(Form::Full);

    /// The steps are cut into segments `1..=k`, `k+1..=2k` and so on, of which the last may be
    /// shorter; gradients flow back to the first step of their segment, which the state enters as
    /// a constant. TensorFlow 1's `num_steps`.
    ///
    /// # Errors
    /// [`Error::Config`] when `k` is 0.
    pub fn segments(k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::Config("segments must have at least 1 step, got k = 0".into()));
        }
        Ok(Self(Form::Segments(k)))
    }

    /// Windows end at the steps `k1`, `2·k1` and so on, and at T. The losses since the end of the
    /// window before flow back through the last `k2` steps of their window: a loss reaches back
    /// between `k2 - k1 + 1` and `k2` steps, and each counts once.
    ///
    /// # Errors
    /// [`Error::Config`] when `k1` is 0 or `k2` less than `k1`.
    ///
    /// # Source
    /// Williams & Peng (1990), "An Efficient Gradient-Based Algorithm for On-Line Training of
    /// Recurrent Network Trajectories", BPTT(h; h') with h = k2 and h' = k1; Sutskever (2013),
    /// section 2.8.6, TBPTT(k1, k2).
    pub fn window(k1: usize, k2: usize) -> Result<Self> {
        if k1 == 0 {
            return Err(Error::Config("windows must move by at least 1 step, got k1 = 0".into()));
        }
        if k2 < k1 {
            return Err(Error::Config(format!(
                "windows must be at least as long as they move, got k1 = {k1} and k2 = {k2}"
            )));
        }
        Ok(Self(Form::Window { k1, k2 }))
    }

    /// The windows of `seq_len` steps, in order: their losses follow each other and leave none out.
    ///
    /// A layer walks through them in its own sweep. In a stack, segments do not mix either: every
    /// layer has the same. Windows that overlap would: what reaches the lower layer from one window
    /// belongs to another one there, which reaches further back. For a stack, run each window by
    /// itself, on the steps `start..end` with the states before `start` as constants, and add the
    /// gradients up.
    pub fn windows(&self, seq_len: usize) -> Vec<Window> {
        let (step, reach) = match self.0 {
            Form::Full => (seq_len, seq_len),
            Form::Segments(k) => (k, k),
            Form::Window { k1, k2 } => (k1, k2),
        };
        (0..seq_len)
            .step_by(step.max(1))
            .map(|losses_from| {
                let end = losses_from.saturating_add(step).min(seq_len);
                // A segment begins where its losses do; a window reaches back from its end.
                let start = match self.0 {
                    Form::Window { .. } => end.saturating_sub(reach),
                    _ => losses_from,
                };
                Window { start, losses_from, end }
            })
            .collect()
    }
}

impl Truncation {
    /// The steps of a segment, 0 where gradients are not cut; `None` for windows.
    pub(crate) fn segment_len(&self) -> Option<usize> {
        match self.0 {
            Form::Full => Some(0),
            Form::Segments(k) => Some(k),
            Form::Window { .. } => None,
        }
    }

    /// Whether windows may share steps.
    pub fn overlaps(&self) -> bool {
        matches!(self.0, Form::Window { k1, k2 } if k2 > k1)
    }
}

impl TryFrom<Form> for Truncation {
    type Error = Error;

    fn try_from(form: Form) -> Result<Self> {
        match form {
            Form::Full => Ok(Self::FULL),
            Form::Segments(k) => Self::segments(k),
            Form::Window { k1, k2 } => Self::window(k1, k2),
        }
    }
}

impl From<Truncation> for Form {
    fn from(truncation: Truncation) -> Self {
        truncation.0
    }
}

/// `full`; `K` for segments of K steps; `K1:K2` for windows.
impl FromStr for Truncation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| {
            text.parse().map_err(|_| {
                Error::Config(format!("a truncation is full, K or K1:K2, got {text:?}"))
            })
        };
        match text.split_once(':') {
            Some((k1, k2)) => Self::window(number(k1)?, number(k2)?),
            None if text == "full" => Ok(Self::FULL),
            None => Self::segments(number(text)?),
        }
    }
}

/// As it is parsed.
impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Form::Full => write!(f, "full"),
            Form::Segments(k) => write!(f, "{k}"),
            Form::Window { k1, k2 } => write!(f, "{k1}:{k2}"),
        }
    }
}

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
            return fail("the loss must be read at one step at least, got none".into());
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
            other => Err(Error::Config(format!("a loss is read at last or every, got {other:?}"))),
        }
    }
}

/// The state that goes from one piece of a long sequence into the next, as a constant: no gradient
/// flows from a piece into the one before.
#[derive(Clone, Debug, Default)]
pub struct CarriedState(Option<State>);

impl CarriedState {
    /// The states before the first step: zeros.
    pub fn new() -> Self {
        Self::default()
    }

    /// The states to begin the next piece with; `None` stands for zeros.
    pub fn get(&self) -> Option<&State> {
        self.0.as_ref()
    }

    /// Takes the final states of a piece, without the graph that made them.
    pub fn carry(&mut self, state: &State) {
        self.0 = Some(state.detach());
    }

    /// Forgets: the next piece begins from zeros.
    pub fn reset(&mut self) {
        self.0 = None;
    }

    /// Forgets in some rows: those where `ended` is true begin from zeros.
    ///
    /// # Errors
    /// [`Error::Shape`] when `ended` has not one value a row.
    pub fn reset_rows(&mut self, ended: &[bool]) -> Result<()> {
        let Some(State { h, c, .. }) = &self.0 else { return Ok(()) };
        if h.dim(1)? != ended.len() {
            return Err(Error::Shape {
                op: "reset_rows",
                tensor: "ended",
                expected: format!("({},)", h.dim(1)?),
                actual: vec![ended.len()],
            });
        }
        // Selected, not multiplied: zero times NaN is NaN.
        let ended: Vec<u8> = ended.iter().map(|ended| u8::from(*ended)).collect();
        let ended = Tensor::new(ended, h.device())?.reshape((1, (), 1))?;
        let reset = |state: &Tensor| {
            ended.broadcast_as(state.shape())?.where_cond(&state.zeros_like()?, state)
        };
        let c = c.as_ref().map(reset).transpose()?;
        self.0 = Some(State::from_parts(reset(h)?, c));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(truncation: Result<Truncation>, seq_len: usize) -> Vec<(usize, usize, usize)> {
        let of = |window: Window| (window.start, window.losses_from, window.end);
        truncation.unwrap().windows(seq_len).into_iter().map(of).collect()
    }

    #[test]
    fn segments_begin_where_their_losses_do_and_the_last_may_be_shorter() {
        let expected = [(0, 0, 3), (3, 3, 6), (6, 6, 9), (9, 9, 10)];
        assert_eq!(windows(Truncation::segments(3), 10), expected);
        assert_eq!(windows(Truncation::segments(10), 10), [(0, 0, 10)]);
        assert_eq!(windows(Ok(Truncation::FULL), 10), [(0, 0, 10)]);
        assert_eq!(windows(Ok(Truncation::FULL), 0), []);
    }

    #[test]
    fn windows_reach_back_from_their_ends_and_their_losses_follow_each_other() {
        let expected = [(0, 0, 3), (1, 3, 6), (4, 6, 9), (5, 9, 10)];
        assert_eq!(windows(Truncation::window(3, 5), 10), expected);
        assert_eq!(windows(Truncation::window(10, 10), 10), [(0, 0, 10)]);
        for (k1, k2) in [(1, 1), (1, 9), (2, 3), (7, 7), (4, 100)] {
            let windows = windows(Truncation::window(k1, k2), 10);
            assert_eq!((windows[0].1, windows[windows.len() - 1].2), (0, 10));
            assert!(windows.windows(2).all(|pair| pair[0].2 == pair[1].1));
            assert!(windows
                .iter()
                .all(|(start, losses, end)| start <= losses && end - start <= k2));
        }
    }

    #[test]
    fn a_form_that_means_nothing_is_an_error_that_names_the_value() {
        let error = |truncation: Result<Truncation>| truncation.unwrap_err().to_string();
        assert!(error(Truncation::segments(0)).contains("k = 0"));
        assert!(error(Truncation::window(0, 3)).contains("k1 = 0"));
        let error = error(Truncation::window(5, 3));
        assert!(error.contains("k1 = 5") && error.contains("k2 = 3"), "{error}");
    }

    #[test]
    fn truncations_are_written_as_they_are_read() {
        for text in ["full", "5", "5:20"] {
            let truncation: Truncation = text.parse().unwrap();
            assert_eq!(truncation.to_string(), text);
            let json = serde_json::to_string(&truncation).unwrap();
            assert_eq!(serde_json::from_str::<Truncation>(&json).unwrap(), truncation, "{json}");
        }
        for wrong in ["", "0", "x", "5:", ":5", "5:3", "-1", "full:3"] {
            assert!(wrong.parse::<Truncation>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Truncation>(r#"{"segments":0}"#).is_err());
    }

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

    #[test]
    fn a_carried_state_is_a_constant_and_can_be_forgotten_row_by_row() {
        use candle_core::{Device, Var};
        let var = Var::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
        let mut state = CarriedState::new();
        assert!(state.get().is_none());
        let doubled = (var.as_tensor() * 2.).unwrap().unsqueeze(0).unwrap();
        state.carry(&State::from_parts(doubled.clone(), Some(doubled)));
        state.reset_rows(&[true, false]).unwrap();
        let State { h, c, .. } = state.get().unwrap();
        for carried in [h, c.as_ref().unwrap()] {
            assert!(!carried.track_op());
            assert_eq!(carried.to_vec3::<f32>().unwrap(), [[[0., 0.], [6., 8.]]]);
        }
        assert!(state.reset_rows(&[true]).is_err());
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let h = Tensor::full(value, (1, 2, 3), &Device::Cpu).unwrap();
            state.carry(&State::new(h));
            state.reset_rows(&[true, false]).unwrap();
            let rows = state.get().unwrap().h.to_vec3::<f32>().unwrap();
            assert_eq!(rows[0][0], [0.; 3]);
            assert!(rows[0][1].iter().all(|h| h.to_bits() == value.to_bits()));
        }
        state.reset();
        assert!(state.get().is_none());
    }
}
