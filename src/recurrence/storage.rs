//! Tensors on the CPU: their elements as slices.

use std::ops::Deref;

use candle_core::{Device, Layout, Storage, Tensor, WithDType};

/// A tensor's elements, which nobody writes to meanwhile.
pub(super) struct Elements<'a, S>(S, &'a Layout);

/// The elements of a contiguous tensor on the CPU.
pub(super) fn elements(tensor: &Tensor) -> Elements<'_, impl Deref<Target = Storage> + use<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    Elements(storage, layout)
}

impl<S: Deref<Target = Storage>> Elements<'_, S> {
    /// The elements in row-major order.
    ///
    /// # Errors
    /// When the tensor is on a device, is not contiguous or has another dtype.
    pub(super) fn slice<E: WithDType>(&self) -> candle_core::Result<&[E]> {
        let Storage::Cpu(storage) = &*self.0 else {
            candle_core::bail!("the fused recurrence runs on the CPU only")
        };
        match self.1.contiguous_offsets() {
            Some((start, end)) => Ok(&storage.as_slice::<E>()?[start..end]),
            None => candle_core::bail!("the fused recurrence needs contiguous tensors"),
        }
    }
}

/// Evaluates an expression in which `$element` is the float of a dtype: the only place that takes one for the other.
macro_rules! with_element {
    ($dtype:expr, $element:ident => $value:expr) => {
        match $dtype {
            candle_core::DType::F64 => {
                type $element = f64;
                $value
            }
            _ => {
                type $element = f32;
                $value
            }
        }
    };
}
pub(super) use with_element;

/// Whether the CPU's kernels run layers whose weights are there.
pub(crate) fn runs_on_cpu(device: &Device) -> bool {
    #[cfg(test)]
    if super::tests::stand_in::is_on() {
        return false;
    }
    device.is_cpu()
}
