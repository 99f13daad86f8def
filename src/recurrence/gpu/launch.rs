//! Launches: a kernel's name, its sizes and its arguments, as every device takes them.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::plan::{DeviceLimits, LaunchSize};
use crate::Result;

/// An argument of a kernel, at its place.
pub(crate) enum Arg<'a> {
    /// Read; or null.
    In(Option<&'a Tensor>),
    /// Written without being read; or null.
    Out(Option<&'a Tensor>),
    /// Read and written.
    InOut(&'a Tensor),
    /// A size or a flag.
    Int(usize),
    /// A coefficient.
    Float(f64),
}

impl<'a> Arg<'a> {
    /// The tensor, unless it is null or the argument is a number.
    pub(in crate::recurrence) fn tensor(&self) -> Option<&'a Tensor> {
        match self {
            Self::In(tensor) | Self::Out(tensor) => *tensor,
            Self::InOut(tensor) => Some(tensor),
            Self::Int(_) | Self::Float(_) => None,
        }
    }
}

/// An `int` of a kernel.
pub(in crate::recurrence) fn int(name: &str, value: usize) -> candle_core::Result<i32> {
    match i32::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => candle_core::bail!("{name} is {value}: kernels count to {}", i32::MAX),
    }
}

/// The arguments of a kernel in its order, with its names for them.
pub(crate) type Args<'a> = Vec<(&'static str, Arg<'a>)>;

/// A launch of one of the kernels of `kernels/gpu/`.
pub(crate) struct KernelLaunch<'a> {
    /// The kernel's name.
    pub(crate) kernel: String,
    /// Its sizes; a grid of nothing launches nothing.
    pub(crate) launch: LaunchSize,
    /// Its arguments.
    pub(crate) args: Args<'a>,
}

/// What launches kernels on one kind of device.
pub(in crate::recurrence) trait Launch: Send + Sync {
    /// What the device can do.
    fn limits(&self) -> DeviceLimits;

    /// Puts a launch behind those before it. Tensors are written in place, whoever shares their memory.
    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()>;

    /// Sees what is launched by way of Candle.
    fn note(&self, _name: &str) {}
}

/// A device that runs our kernels.
#[derive(Clone)]
pub(crate) struct Gpu(Arc<dyn Launch>);

impl Gpu {
    /// The gpu of a device that has kernels of ours; `None` on others, the CPU first of all.
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
