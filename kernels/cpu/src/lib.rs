//! Recurrent layers forward and backward on the CPU: slices in, slices out.
//!
//! Entry points are [`pack_weights`] and [`pack_transposed`], [`forward()`], [`backward()`] and
//! [`unpack_gradients`]. README.md states the contract, and its example is tested here.
//!
//! - `dims`: sizes and windows
//! - `simd`: the instruction set, chosen once; vector registers; tanh and the logistic function over them
//! - `gemm`: packed panels and the microkernel
//! - `cells`: what a cell plugs in, and the cells; their pointwise part, row by row
//! - `kernels`: the table of kernels of one instruction set and cell
//! - `weights`: weights packed for the kernels, and gradients unpacked
//! - `forward`, `backward`: whole sequences for some rows
//! - `table`: inputs that are rows of a table, multiplied with the weights once for each of these rows
//! - `schedule`: whole calls: lengths checked, rows cut into blocks, blocks given to threads
//! - `network`: whole networks for inference, in batches or step by step
//! - `model`, with the feature of that name: trained models of candle-rnn's runs, which such networks are made of
//! - `rows`: rows that a thread works on, in tiles
//! - `threads`: which thread takes which block, and who takes over from whom
//! - `workspace`: buffers that are used again
//!
//! - `view`: pointers with strides and, in debug builds, bounds
//!
//! Sums over steps and rows run in the order of their index, in the precision of the elements.

mod backward;
mod cells;
mod dims;
mod forward;
mod gemm;
mod kernels;
#[cfg(feature = "model")]
mod model;
mod network;
mod rows;
mod schedule;
mod simd;
mod table;
mod threads;
mod view;
mod weights;
mod workspace;

pub use dims::{SequenceDims, Window};
pub use kernels::{CellKind, Float, Kernels};
#[cfg(feature = "model")]
pub use model::{ImageView, Model, ModelError, ModelStream, Prediction, TargetKind};
pub use network::{
    Answer, LayerShape, Network, NetworkTrace, NotStreamable, Number, Readout, Stream, Tracer,
};
pub use schedule::{
    backward, forward, BackwardCall, ForwardOutput, Gradients, RawCall, Save, Saved, Wanted,
};
pub use simd::isa::Isa;
pub use weights::{
    pack_transposed, pack_weights, unpack_gradients, TransposedWeights, WeightSlices,
};
pub use workspace::{release as release_memory, Buffer};

/// The example of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
