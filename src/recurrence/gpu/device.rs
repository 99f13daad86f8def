//! A GPU: memory, the launches of our kernels, and the products of its own library.

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor, WithDType};

use super::alarm::GAVE_UP;
use super::gemm::Gemm;
use super::launch::{DriverCall, KernelLaunch};
use super::plan::DeviceLimits;
use super::queue::{Launch, StepLoop};
use super::record::Recorder;
use crate::{Error, Result};

/// A device that runs our kernels.
#[derive(Clone)]
pub(crate) struct Gpu(Arc<dyn Launch>);

impl Gpu {
    /// The GPU behind a device that has kernels of ours; `None` on others, the CPU first of all.
    ///
    /// # Errors
    /// [`Error::Device`] when the device does not answer.
    pub(crate) fn of(device: &Device) -> Result<Option<Self>> {
        match device {
            #[cfg(test)]
            Device::Cpu => Ok(crate::recurrence::tests::stand_in::current().map(Self)),
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

    /// A product, by the device's own library.
    pub(crate) fn gemm(&self, gemm: &Gemm) -> candle_core::Result<()> {
        self.0.gemm(gemm)
    }

    /// A product and a kernel, step after step, whose arguments are prepared once.
    pub(crate) fn run_steps(&self, steps: StepLoop) -> candle_core::Result<()> {
        self.0.run_steps(steps)
    }

    /// Memory for numbers that are written before anything reads them.
    pub(crate) fn alloc(
        &self,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.0.note(DriverCall::Allocation);
        // SAFETY: floats have no invalid bits, and every number that is read was written before: the kernels'
        // contracts say which they write, and their tests fill such memory with NaN.
        unsafe { Tensor::empty(shape, dtype, device) }
    }

    /// The same numbers in the dtype of the recurrent weights.
    pub(super) fn cast(&self, tensor: &Tensor, dtype: DType) -> candle_core::Result<Tensor> {
        if tensor.dtype() == dtype {
            return Ok(tensor.clone());
        }
        self.0.note(DriverCall::Allocation);
        self.0.note(DriverCall::Launch);
        tensor.to_dtype(dtype)
    }

    /// Numbers of the host, `(count,)`.
    pub(crate) fn upload<T: WithDType>(
        &self,
        numbers: &[T],
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.0.note(DriverCall::Allocation);
        self.0.note(DriverCall::Copy);
        Tensor::from_slice(numbers, numbers.len(), device)
    }

    /// Sees what is asked of the driver by way of Candle.
    pub(super) fn note(&self, call: DriverCall) {
        self.0.note(call);
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({:?})", self.limits())
    }
}

/// Checks that no kernel of a GPU has given up: on NVIDIA GPUs blocks of a kernel may wait for each other, for some two seconds,
/// and what they gave is NaN if that was in vain. To be called once results were read, which waits for the kernels that
/// gave them.
///
/// Training, evaluation and predictions of this library call it. It is the GPU's, for all tensors there, and says so once:
/// of two threads that use a GPU at once, the first to call it has the error.
///
/// # Errors
/// [`Error::Device`] when one has, or the device fails.
pub fn check_teams(device: &Device) -> Result<()> {
    let gave_up = match device {
        #[cfg(test)]
        Device::Cpu => {
            let current = crate::recurrence::tests::stand_in::current();
            current.map_or(Ok(false), |device| device.gave_up())?
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::gave_up(&device.cuda_stream())?,
        _ => false,
    };
    if gave_up {
        return Err(Error::Device(GAVE_UP.into()));
    }
    Ok(())
}

/// The recorder of a device.
///
/// # Errors
/// [`Error::Config`] on other devices than NVIDIA GPUs that [`open_cuda`](crate::recurrence::open_cuda) has opened;
/// [`Error::Device`] when the device fails.
pub(crate) fn recorder(device: &Device) -> Result<Box<dyn Recorder>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => Ok(Box::new(super::cuda_graph::GraphRecorder::new(device)?)),
        _ => Err(Error::Config(
            "gpu_graph: training steps are recorded on NVIDIA GPUs alone: set it to false, or train on one".into(),
        )),
    }
}
