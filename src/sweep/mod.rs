//! Sweeps: many runs that differ in their settings, of which the best by validation is wanted.
//!
//! A [`SweepPlan`] is read from a TOML file: its trials, each a set of [`Settings`](crate::settings::Settings), follow
//! from the file alone. `search` makes them, by grid or at random; [`HalvingConfig`] says how many of them go on after
//! how many epochs. A [`SweepFolder`] keeps a run for each trial, also where the file changes later, as `changes` says; [`TrialRecord`] is what is known of one, and
//! [`Standing`] is what follows from all records: which trials are to be trained next, which were stopped, and their
//! order. Nothing here trains: a program takes a [`Claim`] on a trial and trains it as it trains any run.
//!
//! ```
//! use candle_rnn::sweep::SweepPlan;
//!
//! let plan = SweepPlan::from_toml(
//!     "seeds = [1, 2]
//!      [settings]
//!      epochs = 3
//!      [grid]
//!      learning_rate = [0.001, 0.003]
//!      hidden_size = [32, 64]",
//! )?;
//! assert_eq!(plan.trials().len(), 2 * 2 * 2);
//! # Ok::<(), candle_rnn::Error>(())
//! ```

mod changes;
mod data_sums;
mod file;
mod folder;
mod halving;
mod plan;
mod record;
mod search;
mod ranking;

pub use file::TrialData;
pub use folder::{Claim, SweepFolder};
pub use halving::{HalvingConfig, Round};
pub use plan::{SweepPlan, Trial};
pub use ranking::{Standing, TrialState};
pub use record::TrialRecord;
