//! The programs of pages: the crate in kernels/web, compiled once for each cell, and once to read drawings.

use crate::recurrence::Cell;

/// The program that reads drawings.
pub(super) const DRAWING: &[u8] = include_bytes!("programs/drawing.wasm");

/// The program that computes a cell.
pub(super) fn of_cell(cell: Cell) -> &'static [u8] {
    match cell {
        Cell::Tanh => include_bytes!("programs/tanh.wasm"),
        Cell::Relu => include_bytes!("programs/relu.wasm"),
        Cell::Gru => include_bytes!("programs/gru.wasm"),
        Cell::GruResetBefore => include_bytes!("programs/gru-reset-before.wasm"),
        Cell::Lstm => include_bytes!("programs/lstm.wasm"),
        Cell::MinimalGru => include_bytes!("programs/minimal-gru.wasm"),
    }
}
