//! Training: events out, no printing.
//!
//! [`Trainer`] makes one optimizer step after the other on a [`Task`], a model with its data, and hands out
//! an [`Event`] for each; [`Classification`] is the task of the program, with [`cross_entropy`] as its loss
//! and [`evaluate`] as its measure; [`Session`] drives its trainer and keeps the run directory, so that a run
//! can be interrupted and resumed; [`StreamTrainer`] trains on sequences without end.

mod average;
mod classification;
mod config;
mod evaluate;
mod extension;
mod finite;
mod loss;
mod metrics;
mod schedule;
mod session;
mod state;
mod stream;
mod task;
mod trainer;

pub use classification::Classification;
pub use config::{Precision, TrainConfig, TrainerConfig};
pub(crate) use evaluate::most_likely;
pub use evaluate::{confusion, evaluate, evaluate_steps, Confusion, Evaluation};
pub use extension::{Extension, Extensions};
pub use loss::{
    cross_entropy, ragged_cross_entropy, sequence_cross_entropy, smoothed_cross_entropy,
    smoothed_sequence_cross_entropy,
};
pub use metrics::{EpochMetrics, Score};
pub use schedule::{Schedule, PLATEAU_EPOCHS};
pub use session::{Outcome, Session, SessionConfig, Start};
pub use state::{Best, Position, TrainerState};
pub use stream::StreamTrainer;
pub use task::Task;
pub use trainer::{Event, Trainer};
