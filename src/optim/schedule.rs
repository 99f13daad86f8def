//! Learning-rate schedules.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate changes over a run of N optimizer steps; `learning_rate` is its largest value.
///
/// | | |
/// |---|---|
/// | `Constant` | the same at every step |
/// | `OneCycle` | from 1/25 up to the largest, then down to 1/250,000, both along half a cosine |
/// | `Cosine` | up in a straight line, then down to 0 along half a cosine |
/// | `Step` | a tenth from each third of the epochs to the next |
/// | `Plateau` | half, whenever the validation loss has not fallen for two epochs |
///
/// # Source
/// Smith & Topin (2018), "Super-Convergence", in the form of PyTorch's `OneCycleLR`; Loshchilov & Hutter
/// (2017), "SGDR", with one cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Constant learning rate.
    #[default]
    Constant,
    /// One-cycle: up to the peak rate, then down to almost 0.
    OneCycle,
    /// Cosine decay to 0, after a linear warm-up.
    Cosine,
    /// Step decay: a tenth after each third of the epochs.
    Step,
    /// Reduce on plateau: half, whenever the validation loss stops falling.
    Plateau,
}

/// How many epochs without a better validation loss [`Schedule::Plateau`] waits for.
pub const PLATEAU_EPOCHS: usize = 2;

/// The position of a run, which [`Schedule::factor`] depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Epochs done.
    pub epoch: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// How often the validation loss has stayed where it was for [`PLATEAU_EPOCHS`].
    pub plateaus: u32,
}

impl Schedule {
    /// Whether the learning rate rises at first, so that a warm-up means something.
    pub fn rises(self) -> bool {
        matches!(self, Self::OneCycle | Self::Cosine)
    }

    /// Whether the learning rate at a step depends on how many epochs the run has: such a run cannot be trained on
    /// as if it had been longer from the start.
    pub fn depends_on_length(self) -> bool {
        matches!(self, Self::OneCycle | Self::Cosine | Self::Step)
    }

    /// The part of a run that warms up unless it is said: none but `OneCycle` and `Cosine` do.
    pub fn default_warmup(self) -> f64 {
        match self {
            Self::OneCycle => 0.3,
            Self::Cosine => 0.05,
            Self::Constant | Self::Step | Self::Plateau => 0.,
        }
    }

    /// The factor of the peak learning rate at the step behind `progress`, from 0 to 1: for a training loop of
    /// one's own.
    ///
    /// `OneCycle` and `Cosine` depend on the steps alone, `Step` on the epochs, `Plateau` on the plateaus. A step
    /// behind the last has the factor of the last.
    ///
    /// - `warmup`: the part of the run in which the learning rate rises, at least 0 and less than 1, see
    ///   [`default_warmup`](Self::default_warmup); only [schedules that rise](Self::rises) read it
    ///
    /// ```
    /// use candle_rnn::train::{Progress, Schedule};
    /// let at = |step| Progress { step, steps: 100, ..Progress::default() };
    /// assert_eq!(Schedule::Cosine.factor(0., at(0)), 1.);
    /// assert!(Schedule::Cosine.factor(0., at(50)) < 0.5);
    /// assert_eq!(Schedule::Cosine.factor(0., at(99)), 0.);
    /// ```
    pub fn factor(self, warmup: f64, progress: Progress) -> f64 {
        const LOWEST: f64 = 1. / 25.;
        const LAST: f64 = LOWEST / 1e4;
        let Progress { step, steps, epoch, epochs, plateaus } = progress;
        // Where the largest learning rate is; one-cycle counts from 1 there, as PyTorch does: in a short run it
        // lies before the first step, and the fall has begun there.
        let (top, last) = match self {
            Self::OneCycle => (warmup * steps as f64 - 1., steps as f64 - 1.),
            _ => {
                let last = steps.saturating_sub(1).max(1) as f64;
                (warmup * last, last)
            }
        };
        let step = step as f64;
        // From 1 at 0 to 0 at 1.
        let fall = |part: f64| (1. + (PI * part.clamp(0., 1.)).cos()) / 2.;
        let behind = (step - top) / (last - top);
        match self {
            Self::Constant => 1.,
            Self::OneCycle if step < top => 1. + (LOWEST - 1.) * fall(step / top),
            Self::OneCycle => LAST + (1. - LAST) * fall(behind),
            Self::Cosine if step < top => (step + 1.) / (top + 1.),
            Self::Cosine => fall(behind),
            Self::Step => 0.1f64.powi((3 * epoch / epochs.max(1)).min(2) as i32),
            Self::Plateau => 0.5f64.powi(plateaus as i32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(schedule: Schedule, step: u64) -> f64 {
        let progress = Progress { step, steps: 101, epoch: 0, epochs: 3, plateaus: 0 };
        schedule.factor(schedule.default_warmup(), progress)
    }

    #[test]
    fn one_cycle_is_that_of_pytorch() {
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=101), at these steps.
        for (step, expected) in [
            (0, 0.04),
            (15, 0.5380089997421007),
            (30, 0.9997581421134295),
            (65, 0.4922261251434484),
            (100, 4e-6),
        ] {
            let found = at(Schedule::OneCycle, step);
            assert!((found - expected).abs() < 1e-12, "step {step}: {found}");
        }
    }

    #[test]
    fn a_short_one_cycle_is_that_of_pytorch() {
        // The formula of torch.optim.lr_scheduler.OneCycleLR with max_lr 1 and the default factors 25 and
        // 1e4, evaluated in double precision: phases end at pct_start * total_steps - 1 and at
        // total_steps - 1, and a step within one is cos-annealed from the end of the phase before, even
        // where that lies before step 0.
        let cases: [(f64, &[f64]); 7] = [
            (0.3, &[4e-6]),
            (0.3, &[0.811745653949763, 4e-6]),
            (0.3, &[0.9944154354509117, 0.46263710266697505, 4e-6]),
            (0.3, &[0.04, 0.811745653949763, 0.28306099820869923, 4e-6]),
            (0., &[0.750001, 0.250003, 4e-6]),
            (0.1, &[0.9330129698414118, 0.5868257415371099, 0.17860948073194968, 4e-6]),
            // PyTorch divides 0 by 0 here: the first phase ends where it begins, at the top.
            (0.5, &[1., 4e-6]),
        ];
        for (warmup, expected) in cases {
            let steps = expected.len() as u64;
            for (step, expected) in (0..).zip(expected) {
                let progress = Progress { step, steps, epoch: 0, epochs: 1, plateaus: 0 };
                let found = Schedule::OneCycle.factor(warmup, progress);
                assert!((found - expected).abs() <= 1e-12, "{warmup}, {step} of {steps}: {found}");
            }
        }
    }

    #[test]
    fn a_cosine_warms_up_and_falls_to_zero() {
        let of = |step| at(Schedule::Cosine, step);
        assert!((of(0) - 1. / 6.).abs() < 1e-12 && of(1) > of(0) && of(4) < 1.);
        assert!((of(5) - 1.).abs() < 1e-12, "{}", of(5));
        assert!((5..100).all(|step| of(step + 1) < of(step)) && of(100).abs() < 1e-12);
    }

    #[test]
    fn steps_and_plateaus_are_counted_in_epochs() {
        let of = |schedule: Schedule, epoch, plateaus| {
            schedule.factor(0., Progress { step: 0, steps: 9, epoch, epochs: 9, plateaus })
        };
        let steps: Vec<f64> = [0, 2, 3, 5, 6, 8].map(|epoch| of(Schedule::Step, epoch, 0)).into();
        for (found, expected) in steps.iter().zip([1., 1., 0.1, 0.1, 0.01, 0.01]) {
            assert!((found - expected).abs() < 1e-15, "{steps:?}");
        }
        assert_eq!(of(Schedule::Plateau, 5, 3), 0.125);
        assert_eq!(of(Schedule::Constant, 5, 3), 1.);
    }

    #[test]
    fn a_run_of_one_step_has_a_step_size() {
        for schedule in [Schedule::OneCycle, Schedule::Cosine, Schedule::Constant] {
            let progress = Progress { step: 0, steps: 1, epoch: 0, epochs: 1, plateaus: 0 };
            let factor = schedule.factor(schedule.default_warmup(), progress);
            assert!(factor.is_finite() && factor > 0., "{schedule:?}: {factor}");
        }
    }
}
