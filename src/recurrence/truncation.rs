//! Where gradients are cut: backpropagation through time in its forms.
//!
//! Steps are counted from 1 to T. A loss that is read at step s contributes gradients to the steps
//! e to s alone; the form, a [`Truncation`], sets e. docs/bptt.md derives them.

use std::fmt;
use std::str::FromStr;

pub use candle_rnn_kernels::Window;
use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(truncation: Result<Truncation>, seq_len: usize) -> Vec<(usize, usize, usize)> {
        let of = |window: Window| (window.start, window.losses_from, window.end);
        truncation.unwrap().windows(seq_len).into_iter().map(of).collect()
    }

    #[test]
    fn segments_begin_where_their_losses_do_the_last_is_shorter() {
        let expected = [(0, 0, 3), (3, 3, 6), (6, 6, 9), (9, 9, 10)];
        assert_eq!(windows(Truncation::segments(3), 10), expected);
        assert_eq!(windows(Truncation::segments(10), 10), [(0, 0, 10)]);
        assert_eq!(windows(Ok(Truncation::FULL), 10), [(0, 0, 10)]);
        assert_eq!(windows(Ok(Truncation::FULL), 0), []);
    }

    #[test]
    fn windows_reach_back_and_their_losses_follow_each_other() {
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
}
