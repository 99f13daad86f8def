//! The recurrence over whole sequences.
//!
//! A step of a [`Cell`] takes an input `x_t` and the state `h_{t-1}` to `h_t`; a sequence begins with
//! `h_0`, and every step has the same weights. The simplest cell is
//! `h_t = tanh(W_ih x_t + b + W_hh h_{t-1})`.
//!
//! | name | shape | meaning |
//! |---|---|---|
//! | `x` | `(B, T, I)` | inputs, batch-first |
//! | `w_ih` | `(G·H, I)` | input weights; rows are the gates of the units written to |
//! | `w_hh` | `(G·H, P)` | recurrent weights |
//! | `b_ih`, `b_hh` | `(G·H,)` | biases |
//! | `w_hr` | `(P, H)` | an LSTM's projection; without one, P is H |
//! | `h_0`, `c_0` | `(D, B, P)`, `(D, B, H)` | states before the first step, of D directions |
//! | outputs | `(B, T, D·P)` | `h_t` of all steps |
//!
//! Buffers that a call needs go back to a pool, of at most 512 MiB, for the next call:
//! [`release_memory`] empties it.
//!
//! The same recurrence stands here in four forms:
//!
//! - `op`: [`run_layer`], [`rnn_sequence`] and [`rnn_step`], on `layer_op`: one differentiable Candle
//!   op for a whole layer, on the kernels of `candle-rnn-kernels`, with weights laid out by `packed`
//! - [`device`]: the same for NVIDIA and Apple GPUs, on the kernels of `kernels/gpu/`
//! - [`unrolled`]: composed step by step from Candle's own tensor ops, on any device
//! - [`mod@reference`]: plain loops, the definition that the others are tested against
//!
//! `pack_cache` keeps packed weights while the weights do not change, `mailbox` holds gradients that nodes of one layer hand each other beside Candle's graph.

mod arguments;
mod cell;
pub mod device;
mod layer_op;
mod mailbox;
mod op;
mod pack_cache;
mod packed;
pub mod reference;
mod storage;
mod truncation;
pub mod unrolled;

#[cfg(test)]
mod tests;

pub use arguments::{Call, Outputs, State, Unroll, WeightSizes, Weights};
pub use candle_rnn_kernels::SequenceDims;
pub use cell::Cell;
pub use device::plan;
pub(crate) use op::dense_packed;
pub use op::{dense, rnn_sequence, rnn_step, run_layer};
pub(crate) use pack_cache::PackCache;
pub use packed::PackedWeights;
pub use truncation::{Truncation, Window};

use candle_core::Device;
use candle_rnn_kernels::Isa;

use crate::{Error, Result};

/// Gives the memory back that calls keep for the calls after them.
pub fn release_memory() {
    candle_rnn_kernels::release_memory();
}

/// What computes on a device: of the CPU, the instruction set of the kernels, such as `avx512`, `avx2`,
/// `neon` or `portable`; of a GPU, `cuda` or `metal`.
///
/// Each sums in an order of its own: of the same training, another one may compute other last bits.
///
/// # Errors
/// [`Error::Config`] when `CANDLE_RNN_ISA` names an instruction set that is not there.
pub fn instruction_set(device: &Device) -> Result<&'static str> {
    match device {
        Device::Cpu => Isa::chosen().map(Isa::name).map_err(|text| Error::Config(text.to_string())),
        Device::Cuda(_) => Ok("cuda"),
        Device::Metal(_) => Ok("metal"),
    }
}

/// What must hold before the fused op can run on this CPU.
///
/// # Errors
/// [`Error::Config`] when `CANDLE_RNN_ISA` names an instruction set that is not there.
pub(crate) fn check_cpu() -> Result<()> {
    instruction_set(&Device::Cpu).map(|_| ())
}
