//! The run directory: what a training leaves behind, in the Hugging Face hub's layout, and the session that keeps it.
//!
//! [`Session`] drives a trainer of [`train`](crate::train) and writes a [`RunDir`], for any task that is a [`RunTask`]:
//! its [`TaskConfig`] is what the directory keeps of it, and [`ImageConfig`] that of the image classifier. [`read_config`],
//! [`read_metrics`] and [`read_weights`] read one. `layout` has the names of its files, `config` what it was trained
//! with, `task` what any task must say of itself and `image` what the image classifier does, `metrics` what was measured, `checkpoint` the content of a checkpoint and `checkpoints` which are kept;
//! `follow` is what other processes do that train with the session's; `continuation` says which run may go on with which settings, `weights` fits a file's tensors to a model, `lock`
//! keeps other processes out.
//!
//! ```text
//! RUN/config.json                     settings of model and training, crate version
//! RUN/model.safetensors               the weights after the last step, or their averages; of a
//!                                     finished run with patience those of the best epoch
//! RUN/metrics.jsonl                   a line an epoch
//! RUN/train.toml                      the settings that train it again
//! RUN/events.out.tfevents.*           for TensorBoard
//! RUN/curves.svg, confusion.svg       pictures, and RUN/README.md, the model card, once it is finished
//! RUN/checkpoints/step-00001830/      model.safetensors, training_state.safetensors,
//!                                     trainer_state.json, SHA256SUMS over these three;
//!                                     the last two are kept, or as many as asked for
//! RUN/checkpoints/best/               the same, of the epoch with the best validation accuracy
//! ```

mod checkpoint;
mod checkpoints;
mod config;
mod continuation;
mod differences;
mod directory;
mod follow;
mod image;
pub(crate) mod layout;
mod lock;
mod metrics;
mod read;
mod sequences;
mod session;
mod task;
mod weights;

pub use checkpoint::Checkpoint;
pub use config::RunConfig;
pub use directory::{next_free, IfExists, RunDir};
pub use follow::follow;
pub use image::image_task;
pub use lock::is_being_written;
pub use metrics::{best_of, read_metrics, read_metrics_and_cut};
#[cfg(feature = "settings")]
pub use read::read_settings;
pub use read::{is_finished, read_config, read_task, read_weights, saved_epochs, TaskName};
pub use session::{Outcome, Session, SessionConfig, Start};
pub use task::{RunTask, TaskConfig};
pub use weights::load_weights;

pub use crate::train::{DataConfig, ImageConfig};
