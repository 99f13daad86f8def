//! Work on a CUDA stream, recorded as a graph.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cublas::{self, CudaBlas};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags as InstantiateFlags, CUstreamCaptureMode as CaptureMode,
};
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, CudaSlice, CudaStream, DevicePtr};
use candle_core::CudaDevice;

use super::cuda_kernels::driver;
use super::record::{Recorder, Recording};
use crate::{Error, Result};

/// Records what is put on a device's stream, and lets cuBLAS work in memory that stays: of its own it would take other memory
/// while a graph is recorded.
pub(super) struct GraphRecorder {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    blas: Arc<CudaBlas>,
    /// Read and written by cuBLAS alone, until the recorder goes.
    _workspace: CudaSlice<u8>,
}

impl GraphRecorder {
    /// # Errors
    /// [`Error::Config`] for a device that tracks events or has no memory pool; [`Error::Device`] when the driver fails.
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let context = stream.context();
        if context.is_event_tracking() {
            return Err(Error::Config(
                "gpu_graph: events of tensors cannot be recorded: open the GPU by recurrence::open_cuda".into(),
            ));
        }
        if !context.has_async_alloc() {
            return Err(Error::Config(
                "gpu_graph: this GPU has no memory pools, which recorded steps take their memory from: set it to false"
                    .into(),
            ));
        }
        let (major, _) = driver("the compute capability", context.compute_capability())?;
        // As much as it takes of its own, so that it chooses the same products.
        let bytes = if major >= 9 { 32 << 20 } else { 4 << 20 };
        // SAFETY: bytes have no invalid bits, and cuBLAS reads what it wrote.
        let workspace = driver("the workspace", unsafe { stream.alloc::<u8>(bytes) })?;
        let blas = device.cublas_handle();
        let (address, recorded) = workspace.device_ptr(&stream);
        // SAFETY: the handle is there, and the memory is until `drop`, which takes it from the handle. It is used on the
        // handle's stream, which it was allocated on, alone.
        let set = unsafe {
            cublas::sys::cublasSetWorkspace_v2(*blas.handle(), address as *mut c_void, bytes)
        };
        drop(recorded);
        driver("cublas", set.result())?;
        Ok(Self { device: device.clone(), stream, blas, _workspace: workspace })
    }
}

impl Drop for GraphRecorder {
    fn drop(&mut self) {
        // SAFETY: handle and stream are there. Setting the stream, which it has already, gives the handle its own workspace.
        let set = unsafe {
            cublas::result::set_stream(*self.blas.handle(), self.stream.cu_stream().cast())
        };
        // Its next product would tell.
        let _ = set;
    }
}

impl Recorder for GraphRecorder {
    fn record(&mut self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        // Errors of earlier work are not this recording's.
        driver("the steps before a recording", self.stream.synchronize())?;
        // A recorded upload would read the host's memory again, when something else is there. With no number kept
        // in it, this cache of Candle's refuses them while a stream is recorded.
        let refuses_uploads = self.device.enable_cuda_graph_htod_cache();
        driver(
            "the beginning of a graph",
            self.stream.begin_capture(CaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
        )?;
        let worked = work();
        let ended = self
            .stream
            .end_capture(InstantiateFlags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
        drop(refuses_uploads);
        worked.map_err(|error| match error {
            Error::Candle(error) => Error::Config(format!(
                "gpu_graph: a step of this training cannot be recorded ({error}): set it to false"
            )),
            error => error,
        })?;
        let Some(graph) = driver("the end of a graph", ended)? else {
            return Err(Error::Device("a graph was recorded of nothing".into()));
        };
        Ok(Box::new(RecordedGraph(graph)))
    }
}

/// A graph, launched on the stream that it was recorded on. Who launches it looks whether teams gave up.
struct RecordedGraph(CudaGraph);

// SAFETY: a graph is bound to no thread, and must not be used by two at once: it is used by way of `&mut` alone.
unsafe impl Send for RecordedGraph {}
// SAFETY: as above: there is nothing to be done with a shared one.
unsafe impl Sync for RecordedGraph {}

impl Recording for RecordedGraph {
    fn launch(&mut self, _work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        Ok(driver("a graph", self.0.launch())?)
    }
}
