//! `Collective`, what carries bytes between the ranks.

use std::time::Duration;

use crate::Result;

/// A means of communication between processes, each of which has a rank.
///
/// All ranks must call the same functions in the same order, with lengths that agree. Nothing is added up here: a sum
/// of floats depends on its order, which [`Team`](super::Team) fixes.
pub trait Collective: Send + Sync {
    /// This process' rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks, at least 1.
    fn size(&self) -> usize;

    /// Sends the same bytes to all ranks, itself among them; returns what each sent, one behind the other in the order
    /// of their ranks.
    ///
    /// - `mine`: what this rank sends, `lengths[rank]` bytes
    /// - `lengths`: how many bytes each rank sends
    /// - `patience`: how long the others are waited for
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the exchange cannot be made. Where the others are waited for in vain,
    /// the implementation ends the process: what the others hold of this rank's buffers cannot be taken back.
    fn all_gather(&self, mine: &[u8], lengths: &[usize], patience: Duration) -> Result<Vec<u8>>;

    /// Sends each rank, itself among them, bytes of its own; returns what each sent to this one, one behind the other in
    /// the order of their ranks.
    ///
    /// - `mine`: what is sent to each rank, one behind the other in the order of the ranks
    /// - `sent`: how many bytes each rank is sent
    /// - `received`: how many bytes each rank sends to this one
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn all_to_all(
        &self,
        mine: &[u8],
        sent: &[usize],
        received: &[usize],
        patience: Duration,
    ) -> Result<Vec<u8>>;
}

/// One process by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_gather(&self, mine: &[u8], _lengths: &[usize], _patience: Duration) -> Result<Vec<u8>> {
        Ok(mine.to_vec())
    }

    fn all_to_all(
        &self,
        mine: &[u8],
        _sent: &[usize],
        _received: &[usize],
        _patience: Duration,
    ) -> Result<Vec<u8>> {
        Ok(mine.to_vec())
    }
}
