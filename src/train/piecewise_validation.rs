//! `PiecewiseValidation`, a validation that several processes share out.

use super::Score;
use crate::Result;

/// A validation in pieces, such as batches, each of which any process may measure.
///
/// Whoever measures a piece finds the same numbers; the score counts those of all pieces in their order. Shared out over
/// any number of processes it has the bits of one process.
pub trait PiecewiseValidation {
    /// The number of pieces.
    fn pieces(&self) -> usize;

    /// The contribution of a piece below [`pieces`](Self::pieces) to the score, in numbers of the task's own meaning, such
    /// as the loss of each example.
    ///
    /// # Errors
    /// Whatever keeps it from being computed.
    fn measure_piece(&self, piece: usize) -> Result<Vec<f64>>;

    /// The score, from what [`measure_piece`](Self::measure_piece) has found of each piece, in their order.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the numbers are not those of all pieces.
    fn score_pieces(&self, found: &[Vec<f64>]) -> Result<Score>;
}
