//! An NVIDIA GPU as a device on which launches cost the host least.
#![allow(unsafe_code)]

use candle_core::Device;

use crate::Result;

/// Opens an NVIDIA GPU for one stream: a [`Device`] of Candle on which kernels are launched without waiting for events,
/// and freed memory is kept for the next tensor.
///
/// - `ordinal`: the GPU's number, from 0 on
///
/// [`Device::new_cuda_with_stream`] makes the same device with two differences, which cost a small training step a third
/// of its time (docs/gpu.md):
///
/// - There, two events are made for each tensor, and each use waits for one and records the other, so that tensors may be
///   used on several streams. Here, nothing is recorded: **tensors of this device are for its own stream**, as all
///   operations of Candle and of this library use them, from any thread. A program that gives them to a stream that it
///   made itself, by way of [`CudaDevice::cuda_stream`](candle_core::CudaDevice), has to order both itself, or opens
///   the GPU by Candle's function.
/// - There, memory that was freed goes back to the system whenever the stream is waited for. Here, the GPU's memory pool
///   keeps it until the process ends; the pool is shared by all devices of the process on this GPU.
///
/// ```no_run
/// # fn main() -> candle_rnn::Result<()> {
/// use candle_core::{DType, Tensor};
///
/// let device = candle_rnn::recurrence::open_cuda(0)?;
/// let x = Tensor::zeros((150, 28, 28), DType::F32, &device)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Candle`](crate::Error::Candle) without the feature `cuda`, without a driver, or without such a GPU.
pub fn open_cuda(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    #[cfg(feature = "cuda")]
    {
        let cuda = device.as_cuda_device()?;
        // SAFETY: the device was made here, it has one stream, and there is no tensor of it yet. Whoever makes another
        // stream for its tensors has to order both: the documentation above says so.
        unsafe { cuda.disable_event_tracking() };
        keep_freed_memory(cuda)?;
    }
    Ok(device)
}

/// Lets the GPU's memory pool keep what is freed, where it has one.
#[cfg(feature = "cuda")]
fn keep_freed_memory(device: &candle_core::CudaDevice) -> Result<()> {
    use candle_core::cuda_backend::cudarc::driver::{result, sys};

    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut most = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the GPU is there, as the context is; the attribute is a number of 64 bits, which is read at once.
    let kept = unsafe {
        result::device::get_default_mem_pool(context.cu_device()).and_then(|pool| {
            result::mem_pool::set_attribute(pool, threshold, (&raw mut most).cast())
        })
    };
    kept.map_err(|error| {
        crate::Error::Device(format!("the GPU's memory pool keeps nothing: {error}"))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(not(feature = "cuda"))]
    fn without_the_feature_no_gpu_is_opened() {
        let error = super::open_cuda(0).unwrap_err().to_string();
        assert!(error.contains("cuda"), "{error}");
    }
}
