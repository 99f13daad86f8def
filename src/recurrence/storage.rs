//! Candle's tensors as slices.

use candle_core::{CpuStorage, Layout, Storage, WithDType};

use crate::Error;

/// The storage of a tensor on the CPU.
pub(super) fn on_cpu<'a>(
    storage: &'a Storage,
    layout: &'a Layout,
) -> candle_core::Result<(&'a CpuStorage, &'a Layout)> {
    match storage {
        Storage::Cpu(storage) => Ok((storage, layout)),
        _ => candle_core::bail!("the fused recurrence runs on the CPU only"),
    }
}

/// The elements of a contiguous tensor.
pub(super) fn slice<'a, E: WithDType>(
    (storage, layout): (&'a CpuStorage, &'a Layout),
) -> candle_core::Result<&'a [E]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<E>()?[start..end]),
        None => candle_core::bail!("the fused recurrence needs contiguous tensors"),
    }
}

/// The error for a tensor that is elsewhere.
pub(super) fn not_on_cpu() -> Error {
    Error::Config("the fused recurrence runs on the CPU: here is a tensor on another device".into())
}
