//! The run directory: what a training leaves behind, in the Hugging Face hub's layout, and the session that keeps it.
//!
//! [`Session`] drives a trainer of [`train`](crate::train) and writes a [`RunDir`]; [`read_config`],
//! [`read_metrics`] and [`read_weights`] read one. `layout` has the names of its files, `config` what it was trained
//! with, `metrics` what was measured, `checkpoint` the content of a checkpoint and `checkpoints` which are kept;
//! `continuation` says which run may go on with which settings, `weights` fits a file's tensors to a model, `lock`
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
mod directory;
pub(crate) mod layout;
mod lock;
mod metrics;
mod read;
mod session;
mod weights;

pub use checkpoint::Checkpoint;
pub use config::{DataConfig, RunConfig};
pub use directory::{IfExists, RunDir};
pub use metrics::{best_of, read_metrics, read_metrics_and_cut};
#[cfg(feature = "settings")]
pub use read::read_settings;
pub use read::{read_config, read_weights};
pub use session::{Outcome, Session, SessionConfig, Start};
pub use weights::load_weights;
