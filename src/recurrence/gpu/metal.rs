//! Launches on Apple GPUs.
//!
//! The system's compiler compiles kernels/gpu/*.metal when they are first used.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{MetalDevice, Storage, Tensor};
use candle_metal_kernels::metal::{ComputeCommandEncoder, ComputePipeline};
use objc2_metal::{MTLCompileOptions, MTLDevice, MTLSize};

use super::launch::{int, Arg, KernelLaunch};
use super::plan::DeviceLimits;
use super::queue::Launch;
use super::source;
use crate::Result;

/// Metal does not tell how many cores a GPU has, which is 8 to 80. A tile's rows share each read of the
/// recurrent weights, so few large tiles are worth more than a tile for every core.
const MULTIPROCESSORS: usize = 32;
/// Threadgroup memory is given in multiples of it.
const ALIGNMENT: usize = 16;

/// Compiled kernels, by device and name.
static PIPELINES: Mutex<BTreeMap<(u64, String), ComputePipeline>> = Mutex::new(BTreeMap::new());

/// A GPU and its limits.
pub(super) struct Metal {
    device: MetalDevice,
}

impl Metal {
    pub(super) fn new(device: &MetalDevice) -> Result<Self> {
        Ok(Self { device: device.clone() })
    }

    fn pipeline(&self, kernel: &str) -> candle_core::Result<ComputePipeline> {
        let device = self.device.metal_device();
        let key = (device.registry_id(), kernel.to_string());
        let Ok(mut pipelines) = PIPELINES.lock() else { candle_core::bail!("a thread panicked") };
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let Some(source) = source::of_kernel(kernel) else {
            candle_core::bail!("there is no kernel {kernel}")
        };
        let error = |error| candle_core::Error::Msg(format!("{kernel}: {error}"));
        // NaN has to stay NaN, which fast mathematics does not promise.
        let options = MTLCompileOptions::new();
        #[allow(deprecated)] // Its successor is there from macOS 15 on.
        options.setFastMathEnabled(false);
        let library = device.new_library_with_source(&source, Some(&options)).map_err(error)?;
        let function = library.get_function(kernel, None).map_err(error)?;
        let pipeline = device.new_compute_pipeline_state_with_function(&function).map_err(error)?;
        pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

/// Binds a tensor, or what stands for one that is not there.
fn bind(
    encoder: &ComputeCommandEncoder,
    index: usize,
    tensor: &Tensor,
    is_written: bool,
) -> candle_core::Result<()> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Metal(storage) = &*storage else {
        candle_core::bail!("a tensor of the launch is not on the GPU")
    };
    let offset = layout.start_offset() * storage.dtype().size_in_bytes();
    if is_written {
        encoder.set_output_buffer(index, Some(storage.buffer()), offset)
    } else {
        encoder.set_input_buffer(index, Some(storage.buffer()), offset)
    }
    Ok(())
}

impl Launch for Metal {
    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            shared_bytes: self.device.metal_device().as_ref().maxThreadgroupMemoryLength(),
            multiprocessors: MULTIPROCESSORS,
            max_grid: i32::MAX as usize,
            team_blocks: 0,
            has_tensor_cores: false,
            streams_weights: true,
        }
    }

    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        let pipeline = self.pipeline(&call.kernel)?;
        let Some(any) = call.args.iter().find_map(|(_, arg)| arg.tensor()) else {
            candle_core::bail!("{} has no tensor", call.kernel)
        };
        let most = pipeline.max_total_threads_per_threadgroup();
        let (is_tiled, mut block) = (call.launch.shared_bytes > 0, call.launch.block);
        if block > most {
            // Tiles take any number of threads; elsewhere the grid was made for this one.
            if !is_tiled {
                candle_core::bail!("{} needs {block} threads, the GPU has {most}", call.kernel);
            }
            block = most;
        }
        let guard = self.device.command_encoder()?;
        let encoder: &ComputeCommandEncoder = guard.as_ref();
        encoder.set_compute_pipeline_state(&pipeline);
        let mut given = 0u32;
        for (index, (name, arg)) in call.args.iter().enumerate() {
            match arg {
                Arg::Int(value) => encoder.set_bytes(index, &int(name, *value)?),
                Arg::Float(value) => encoder.set_bytes(index, &(*value as f32)),
                Arg::Alarm => candle_core::bail!("{} is for CUDA alone", call.kernel),
                arg => {
                    let is_written = !matches!(arg, Arg::In(_)) && arg.tensor().is_some();
                    given |= u32::from(arg.tensor().is_some()) << index;
                    // Metal has no null: the kernel asks `given` before it reads or writes.
                    bind(encoder, index, arg.tensor().unwrap_or(any), is_written)?;
                }
            }
        }
        // The optimizer's has no binding left for it, and takes counts of 0 instead.
        if source::family(&call.kernel) != Some("adam") {
            encoder.set_bytes(call.args.len(), &given);
        }
        if is_tiled {
            let bytes = call.launch.shared_bytes.next_multiple_of(ALIGNMENT);
            encoder.set_threadgroup_memory_length(0, bytes);
        }
        let size = |width| MTLSize { width, height: 1, depth: 1 };
        encoder.dispatch_thread_groups(size(call.launch.grid), size(block));
        Ok(())
    }
}
