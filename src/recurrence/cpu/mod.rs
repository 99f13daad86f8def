//! The recurrence on the CPU: chunks of batch rows over threads, and a kernel for each
//! instruction set.
//!
//! Entry points are [`pack_weights`], [`forward()`], [`backward()`] and [`unpack_weights`].
//!
//! - `isa`: the instruction set, chosen once
//! - `kernels`: the table of its kernels for a cell
//! - `packing`: weights packed for them
//! - `passes`: whole calls: lengths checked, rows cut into chunks, chunks given to threads
//! - `threads`: who takes which chunk
//! - `vector`: what a kernel needs of a register; `avx512 avx2 neon portable`: the registers
//! - `activation`: tanh, relu and the logistic function over registers
//! - `cell`: what a cell plugs in; `cells`: the cells; `pointwise`: their part of a step, row by row
//! - `tile`: the innermost loops
//! - `panels`: packed weights
//! - `forward`, `backward`: whole sequences for some rows, on one thread
//! - `workspace`: memory that is used again
//!
//! Limits: sums over steps and rows run in the order of their index, in the precision of the
//! tensors.

// The kernels work on pointers and CPU features; every other module denies unsafe code.
#![allow(unsafe_code)]

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod cell;
mod cells;
mod forward;
mod isa;
mod kernels;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packing;
mod panels;
mod passes;
mod pointwise;
mod portable;
mod threads;
mod tile;
mod vector;
mod workspace;

pub(crate) use isa::Isa;
pub(crate) use kernels::{Float, Function};
pub(crate) use packing::{
    pack_for_backward, pack_weights, unpack_weights, FedWeights, WeightSlices,
};
pub(crate) use passes::{
    backward, forward, BackwardInput, Gradients, Input, Output, Save, Saved, Wanted,
};
pub(crate) use workspace::release as release_memory;
