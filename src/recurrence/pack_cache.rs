//! Packed weights, kept for as long as the weights hold the same numbers.

use std::sync::{Arc, Mutex, MutexGuard};

use candle_core::{Tensor, WithDType};
use twox_hash::XxHash3_128;

use super::packed::PackedWeights;
use super::storage::{elements, with_element};
use super::weights::Weights;
use super::Cell;
use crate::{Error, Result};

/// The packed weights of a layer that were made last, and what they were made of.
///
/// Clones share them. Candle's variables have no version, and every way of changing one writes to the memory
/// that is there (`Var::set`, `VarMap::load`, optimizers, in-place ops), so the numbers themselves are the
/// version: a 128-bit hash of their bits, which takes one pass over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackCache(Arc<Mutex<Option<(u128, PackedWeights)>>>);

impl PackCache {
    /// The weights of a layer, packed; anew if they have changed.
    ///
    /// # Errors
    /// As [`PackedWeights::new`].
    pub(crate) fn packed(&self, cell: Cell, directions: &[Weights]) -> Result<PackedWeights> {
        let found = fingerprint(directions)?;
        if let Some(packed) = self.cached(found)? {
            return Ok(packed);
        }
        // Not under the lock: while this thread waits for others to pack, it may be given another task that
        // comes here.
        let packed = PackedWeights::new(cell, directions)?;
        // Another thread may have changed the weights meanwhile.
        if fingerprint(directions)? == found {
            *self.lock()? = Some((found, packed.clone()));
        }
        Ok(packed)
    }

    fn cached(&self, fingerprint: u128) -> Result<Option<PackedWeights>> {
        let cached = self.lock()?;
        Ok(cached.as_ref().filter(|(of, _)| *of == fingerprint).map(|(_, packed)| packed.clone()))
    }

    fn lock(&self) -> Result<MutexGuard<'_, Option<(u128, PackedWeights)>>> {
        self.0.lock().map_err(|_| {
            Error::Config("the packed weights are lost: a thread that held them panicked".into())
        })
    }
}

/// A hash of the bits of all weights, in order.
fn fingerprint(directions: &[Weights]) -> Result<u128> {
    let mut hash = 0;
    for (_, tensor) in directions.iter().flat_map(|weights| weights.tensors()) {
        let tensor = tensor.contiguous()?;
        hash = with_element!(tensor.dtype(), E => hash_of::<E>(&tensor, hash)?);
    }
    Ok(hash)
}

fn hash_of<E: WithDType + bytemuck::NoUninit>(
    tensor: &Tensor,
    before: u128,
) -> candle_core::Result<u128> {
    let of_tensor = elements(tensor);
    let bytes = bytemuck::cast_slice(of_tensor.slice::<E>()?);
    let hash = XxHash3_128::oneshot_with_seed(before as u64, bytes);
    Ok(hash ^ before.rotate_left(1))
}
