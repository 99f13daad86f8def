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
//! [`run_layer`] is the way in (`layer`): it checks the arguments (`call`, `checked_call`) and chooses what runs the
//! layer:
//!
//! - `fused`: one differentiable Candle op for a whole layer, on the kernels of `candle-rnn-kernels`, with weights
//!   laid out by `packed`, which `pack_cache` keeps while the weights do not change
//! - `gpu`: the same for NVIDIA and Apple GPUs, on the kernels of `kernels/gpu/`
//! - `dense`: a dense layer by the same op, as a layer of one step
//! - `ids`: inputs looked up in a table
//! - `composed`: composed step by step from Candle's own tensor ops, on any device
//!
//! `graph` has the nodes that the first two put into Candle's graph; `grad_mailbox` holds the gradients that these
//! nodes hand each other beside it; `var_grads` takes gradients of variables beside it. `tests/reference` is the
//! definition that all three are tested against: plain loops.

mod call;
mod cell;
mod checked_call;
mod checks;
mod composed;
mod dense;
mod fused;
pub(crate) mod gpu;
mod grad_mailbox;
mod graph;
mod ids;
mod layer;
mod layer_weights;
mod pack_cache;
mod packed;
mod state;
mod storage;
mod truncation;
mod unroll;
mod var_grads;
mod weights;

#[cfg(test)]
pub(crate) mod tests;

pub use call::Call;
pub use candle_rnn_kernels::SequenceDims;
pub use cell::Cell;
pub use gpu::device::check_teams;
pub use gpu::open::open_cuda;
pub use gpu::plan::RecurrentDType;
pub(crate) use ids::{look_up, read_ids};
pub use layer::run_layer;
pub(crate) use layer::{check_recurrent_dtype, has_gpu_kernels, last, step};
pub use layer_weights::LayerWeights;
pub(crate) use packed::PackedWeights;
pub use state::State;
pub(crate) use storage::runs_on_cpu;
pub use truncation::{Truncation, Window};
pub use unroll::{Outputs, Unroll};
pub(crate) use var_grads::{backward, deliver};
pub use weights::{WeightSizes, Weights};

use candle_core::Device;
use candle_rnn_kernels::Isa;

use crate::{Error, Result};

/// Gives the memory back that calls keep for the calls after them.
pub fn release_memory() {
    candle_rnn_kernels::release_memory();
}

/// The name of what computes on a device: of the CPU, the instruction set of the kernels, such as `avx512`, `avx2`,
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

/// Checks that the fused op can run on this CPU.
///
/// # Errors
/// [`Error::Config`] when `CANDLE_RNN_ISA` names an instruction set that is not there.
pub(crate) fn check_cpu() -> Result<()> {
    instruction_set(&Device::Cpu).map(|_| ())
}

/// The instruction set of this CPU, or the one that `CANDLE_RNN_ISA` names.
///
/// # Errors
/// [`Error::Config`] when `CANDLE_RNN_ISA` names an instruction set that is not there.
pub(crate) fn instruction_set_of_cpu() -> Result<Isa> {
    Isa::chosen().map_err(|text| Error::Config(text.to_string()))
}
