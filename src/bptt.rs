//! Where losses are read and where gradients are cut: backpropagation through time in its forms.
//!
//! Steps are counted from 1 to T. A loss that is read at step s contributes gradients to the steps
//! e to s alone; the form, a [`Truncation`], sets e. [`LossAt`] says at which steps losses are
//! read. docs/bptt.md derives both.

use crate::{Error, Result};

/// How far gradients flow back from a loss.
///
/// Where the first of the steps that they reach is step 1, they reach the initial state too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncation(Form);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Full,
    Segments(usize),
    Window {
        k1: usize,
        k2: usize,
    },
}

/// Steps through which gradients flow together, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first step that gradients reach.
    pub(crate) start: usize,
    /// The first step whose loss belongs to this window.
    pub(crate) losses_from: usize,
    /// Behind the last step, and behind the last whose loss belongs to it.
    pub(crate) end: usize,
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
    pub(crate) fn windows(&self, seq_len: usize) -> Vec<Window> {
        let (step, reach) = match self.0 {
            Form::Full => (seq_len, seq_len),
            Form::Segments(k) => (k, k),
            Form::Window { k1, k2 } => (k1, k2),
        };
        (0..seq_len)
            .step_by(step)
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
}
