//! Training: events out, no printing.
//!
//! [`Trainer`] makes one optimizer step after the other on a [`Task`], a model with its data, and hands out
//! an [`Event`] for each; [`Classification`] is the task of the program, with [`cross_entropy`] as its loss
//! ([`masked_cross_entropy`], [`mse`], [`mae`] and [`huber`] are for other targets) and [`evaluate`] as its measure; [`LossAt`] says at which steps losses are read; [`StreamTrainer`] trains on
//! sequences without end, with a [`CarriedState`]. What is kept on disk is the affair of [`run`](crate::run).

mod carried_state;
mod class_report;
mod classification;
mod config;
mod config_file;
mod context;
mod data_parallel;
mod engine;
mod epoch;
mod evaluate;
mod event;
mod extension;
mod finite;
mod image_config;
mod image_validation;
mod loss;
mod loss_at;
mod metrics;
mod micro_batches;
mod numbers_report;
mod recorded;
mod restore;
mod scores;
mod state;
mod step_cut;
mod step_graphs;
mod step_gradients;
mod stream;
mod task;
pub mod tasks;
mod text;
mod trainer;
mod trainer_config;
mod piecewise_validation;

pub use carried_state::CarriedState;
pub use class_report::{ClassCounter, ClassReport, ClassScore};
pub use classification::Classification;
pub use config::{ObjectiveConfig, Precision, TrainConfig};
pub(crate) use config_file::{fields, without};
pub use context::StepContext;
pub(crate) use evaluate::most_likely;
pub use evaluate::{confusion, evaluate, evaluate_steps, Confusion, Evaluation};
pub use event::Event;
pub use extension::{Extension, Extensions};
pub use image_config::{DataConfig, ImageConfig};
pub use loss::{
    cross_entropy, huber, mae, masked_cross_entropy, mse, ragged_cross_entropy,
    sequence_cross_entropy, smoothed_cross_entropy, smoothed_sequence_cross_entropy,
    weighted_cross_entropy, CrossEntropyOptions,
};
pub use loss_at::LossAt;
pub use metrics::{EpochMetrics, Score};
pub use numbers_report::{NumberScore, NumbersCounter, NumbersReport};
pub use piecewise_validation::PiecewiseValidation;
pub use state::{Best, Position, TrainerState};
pub use stream::{StreamState, StreamTrainer};
pub use task::Task;
pub use trainer::Trainer;
pub use trainer_config::TrainerConfig;

pub use crate::optim::{Progress, Schedule, PLATEAU_EPOCHS};
