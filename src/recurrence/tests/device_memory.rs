//! The memory of tensors that stand for a device's on the CPU: read and written from the first number to behind the last.

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor};

/// A tensor's memory: from its first number to behind its last, whatever lies between.
pub(super) fn extent(layout: &Layout) -> (usize, usize) {
    let steps = layout.dims().iter().zip(layout.stride());
    let last: usize = steps.map(|(dim, stride)| (dim - 1) * stride).sum();
    (layout.start_offset(), layout.start_offset() + last + 1)
}

/// What the emulator's cases call a dtype.
pub(super) fn dtype_code(tensor: &Tensor) -> u8 {
    match tensor.dtype() {
        DType::F32 => 0,
        DType::BF16 => 1,
        DType::U32 => 2,
        other => panic!("kernels take no {other:?}"),
    }
}

pub(super) fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = extent(layout);
    let Storage::Cpu(storage) = &*storage else { panic!("an emulated tensor is on the CPU") };
    match storage {
        CpuStorage::F32(values) => {
            values[start..end].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        CpuStorage::BF16(values) => {
            values[start..end].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        CpuStorage::U32(values) => {
            values[start..end].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        _ => panic!("kernels take no such numbers"),
    }
}

/// Writes a tensor's memory, as [`bytes_of`] reads it.
pub(super) fn write_bytes(tensor: &Tensor, bytes: Vec<u8>) -> candle_core::Result<()> {
    tensor.inplace_op1(&WriteBytes(bytes))
}

struct WriteBytes(Vec<u8>);

impl InplaceOp1 for WriteBytes {
    fn name(&self) -> &'static str {
        "emulated-write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (start, end) = extent(layout);
        match storage {
            CpuStorage::F32(values) => {
                for (value, bytes) in values[start..end].iter_mut().zip(self.0.chunks_exact(4)) {
                    *value = f32::from_le_bytes(bytes.try_into().unwrap());
                }
            }
            CpuStorage::BF16(values) => {
                for (value, bytes) in values[start..end].iter_mut().zip(self.0.chunks_exact(2)) {
                    let bits = u16::from_le_bytes(bytes.try_into().unwrap());
                    // Of the crate that Candle has its 16-bit floats from.
                    *value = bits_to_bf16(bits);
                }
            }
            _ => panic!("kernels write no such numbers"),
        }
        Ok(())
    }
}

/// A bf16 from its bits, exactly: the upper half of an f32.
fn bits_to_bf16<T: candle_core::WithDType>(bits: u16) -> T {
    T::from_f64(f64::from(f32::from_bits(u32::from(bits) << 16)))
}
