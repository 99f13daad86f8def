//! Weights, training state and run directories on disk.
//!
//! `durable` puts whole files in place; `sums` tells a damaged one; [`weights`] reads and writes safetensors
//! files; [`run`] is the layout of a run directory, `config` its settings; [`state`] the content of one of its
//! checkpoints.
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

mod config;
pub(crate) mod durable;
pub mod run;
pub mod state;
mod sums;
pub mod weights;
