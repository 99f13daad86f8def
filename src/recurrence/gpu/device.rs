//! A GPU: the launches of our kernels, and the products of its own library.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::launch::{KernelLaunch, Launch};
use super::plan::DeviceLimits;
use crate::Result;

/// A device that runs our kernels.
#[derive(Clone)]
pub(crate) struct Gpu(Arc<dyn Launch>);

impl Gpu {
    /// The GPU behind a device that has kernels of ours; `None` on others, the CPU first of all.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device does not answer.
    pub(crate) fn of(device: &Device) -> Result<Option<Self>> {
        match device {
            #[cfg(test)]
            Device::Cpu => {
                let emulator = crate::recurrence::tests::emulator::current();
                Ok(emulator.map(|launcher| Self(Arc::new(launcher))))
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Ok(Some(Self(Arc::new(super::cuda::Cuda::new(device)?)))),
            #[cfg(feature = "metal")]
            Device::Metal(device) => Ok(Some(Self(Arc::new(super::metal::Metal::new(device)?)))),
            _ => Ok(None),
        }
    }

    pub(crate) fn limits(&self) -> DeviceLimits {
        self.0.limits()
    }

    pub(crate) fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        if call.launch.grid == 0 {
            return Ok(());
        }
        self.0.launch(call)
    }

    /// `a b`, by the device's own library.
    pub(super) fn gemm(&self, a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
        self.0.note("gemm");
        a.matmul(b)
    }

    /// `a + b` for every row of `a`.
    pub(super) fn add_to_rows(&self, a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
        self.0.note("add");
        a.broadcast_add(b)
    }

    /// The sum of all rows.
    pub(super) fn sum_of_rows(&self, a: &Tensor) -> candle_core::Result<Tensor> {
        self.0.note("sum");
        a.sum(0)
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({:?})", self.limits())
    }
}
