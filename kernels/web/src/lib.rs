//! A trained network in a web page: `candle-rnn export RUN --html FILE` puts this crate into the file, compiled for
//! wasm32-unknown-unknown.
//!
//! The page and the network share one buffer: the page reserves so many bytes, writes there what it asks, calls one of
//! the functions, and reads the answer at the same place. All numbers are little-endian.
//!
//! - `network`: the network, as the exporter writes it
//! - `picture`: drawings as digits, by the code that reads pictures for `predict`

mod network;
mod picture;

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_rnn_kernels::{Answer, Tracer};

/// What the page writes and reads.
static BUFFER: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static NETWORK: Mutex<Option<Tracer<f32>>> = Mutex::new(None);

fn locked<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the buffer so many bytes long, and returns where it begins.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(len: usize) -> usize {
    let mut buffer = locked(&BUFFER);
    buffer.resize(len, 0);
    buffer.as_ptr() as usize
}

/// Where the buffer begins.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> usize {
    locked(&BUFFER).as_ptr() as usize
}

/// Reads the network in the buffer. Returns whether it is one.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> bool {
    let network = network::read(&locked(&BUFFER));
    let is_there = network.is_some();
    *locked(&NETWORK) = network;
    is_there
}

/// Reads a sequence, `(T, I)` numbers in the buffer, with the network.
///
/// - `is_class`: whether the answer is the largest output, not the sum of all
/// - returns the bytes of the answer: the outputs after each step `(T, O)`, the hidden states `(T, P)` if there are any,
///   the saliency of each step `(T,)`; 0 if there is no network yet
#[unsafe(no_mangle)]
pub extern "C" fn trace(is_class: bool) -> usize {
    let mut buffer = locked(&BUFFER);
    let network = locked(&NETWORK);
    let Some(network) = &*network else { return 0 };
    let answer = if is_class { Answer::Largest } else { Answer::Sum };
    let trace = network.trace(&network::floats(&buffer), answer);
    let saliency = trace.saliency.iter().map(|value| *value as f32);
    let all = trace.outputs.into_iter().chain(trace.hidden).chain(saliency);
    *buffer = all.flat_map(f32::to_le_bytes).collect();
    buffer.len()
}

/// Finds the digit in a picture, whose red, green, blue and opacity are in the buffer, row by row.
///
/// - returns the bytes of the answer: `(28, 28)` pixels, and a text that says why it may be none; 0 if the picture shows
///   nothing
#[unsafe(no_mangle)]
pub extern "C" fn digit(width: u32, height: u32) -> usize {
    let mut buffer = locked(&BUFFER);
    let content = std::mem::take(&mut *buffer);
    *buffer = picture::digit(content, width, height).unwrap_or_default();
    buffer.len()
}
