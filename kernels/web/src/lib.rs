//! What a web page computes: `candle-rnn export RUN --html FILE` puts this crate into the file, compiled for
//! wasm32-unknown-unknown, once with the feature of the run's cell, and once with `drawing` if the run is of images.
//!
//! The page and a program share one buffer: the page reserves so many bytes, writes there what it asks, calls one of
//! the functions, and reads the answer at the same place. All numbers are little-endian.
//!
//! - `network`: the network of a cell, as the exporter writes it
//! - `picture`: drawings as digits, by the code that reads pictures for `predict`

#[cfg(feature = "network")]
mod network;
#[cfg(feature = "drawing")]
mod picture;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the page writes and reads.
static BUFFER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

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

/// Finds the digit in a picture, whose red, green, blue and opacity are in the buffer, row by row.
///
/// - returns the bytes of the answer: `(28, 28)` pixels, and a text that says why it may be none; 0 if the picture shows
///   nothing
#[cfg(feature = "drawing")]
#[unsafe(no_mangle)]
pub extern "C" fn digit(width: usize, height: usize) -> usize {
    let mut buffer = locked(&BUFFER);
    *buffer = picture::digit(&buffer, width, height).unwrap_or_default();
    buffer.len()
}
