//! Tasks for data of one's own: what a trainer has to know of each kind of target.
//!
//! [`SequenceTask`] trains a recurrent network on a [`Dataset`](crate::data::Dataset); its [`SequenceSpec`] says what
//! the network reads and predicts, its [`SequenceTraining`] how it is trained. [`TextTask`] trains a language model.

mod forecast_report;
mod loss_kind;
mod outputs;
mod report;
mod report_counter;
mod sequence_config;
mod sequence_task;
mod sequence_training;
mod sequence_validation;
mod spec;
mod task_kind;
mod text_task;

pub use forecast_report::{FeatureScores, ForecastReport, ForecastScore};
pub use loss_kind::{ClassWeights, NumbersLoss};
pub use outputs::for_each_output;
pub use report::Report;
pub use report_counter::ReportCounter;
pub use sequence_config::{SequenceConfig, SequenceData, SequenceSource};
pub use sequence_task::SequenceTask;
pub use sequence_training::SequenceTraining;
pub use spec::SequenceSpec;
pub use task_kind::TaskKind;
pub use text_task::{evaluate_text, TextConfig, TextData, TextTask, TextTraining};
