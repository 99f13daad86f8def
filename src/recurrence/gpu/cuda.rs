//! Launches and products on NVIDIA GPUs.
//!
//! build.rs compiles kernels/gpu/*.cu to PTX, which the driver compiles for the GPU at hand when it is loaded.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cublas::{self, CudaBlas};
use candle_core::cuda_backend::cudarc::driver::{
    result, sys, CudaFunction, CudaStream, DevicePtr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{gemm_reduced_precision_f32, CudaStorageSlice};
use candle_core::{CudaDevice, DType, Storage, Tensor};

use super::alarm::{take_alarm, GAVE_UP};
use super::cuda_kernels::{self, driver};
use super::gemm::Gemm;
use super::launch::{int, Arg, KernelLaunch};
use super::plan::DeviceLimits;
use super::queue::{Launch, StepLoop};
use crate::{Error, Result};

/// A GPU and its limits.
pub(super) struct Cuda {
    stream: Arc<CudaStream>,
    blas: Arc<CudaBlas>,
    limits: DeviceLimits,
}

impl Cuda {
    /// # Errors
    /// As [`cuda_kernels::limits`].
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let limits = cuda_kernels::limits(stream.context())?;
        Ok(Self { stream, blas: device.cublas_handle(), limits })
    }
}

/// Words in the host's memory that kernels set, one a GPU, by its number. They live as long as the program.
static ALARMS: Mutex<BTreeMap<usize, u64>> = Mutex::new(BTreeMap::new());

/// Whether blocks of a kernel of a GPU gave up waiting for each other, which is said once.
///
/// # Errors
/// When the driver does not wait for its kernels.
pub(super) fn gave_up(stream: &CudaStream) -> candle_core::Result<bool> {
    let Ok(alarms) = ALARMS.lock() else { candle_core::bail!("a thread panicked") };
    let Some(address) = alarms.get(&stream.context().ordinal()) else { return Ok(false) };
    // SAFETY: the word is page-locked memory of the host that is never freed, aligned to a page; kernels write it whole.
    let word = unsafe { AtomicU32::from_ptr(*address as *mut u32) };
    take_alarm(word, || driver("the alarm", stream.synchronize()))
}

/// The address of a GPU's alarm, for itself and for the host alike.
///
/// # Errors
/// [`Error::Device`] when an earlier kernel has set it, which is said once, or the driver gives no memory.
fn alarm(stream: &CudaStream) -> candle_core::Result<u64> {
    if gave_up(stream)? {
        return Err(Error::Device(GAVE_UP.into()).into());
    }
    let context = stream.context();
    let Ok(mut alarms) = ALARMS.lock() else { candle_core::bail!("a thread panicked") };
    if let Some(address) = alarms.get(&context.ordinal()) {
        return Ok(*address);
    }
    driver("the alarm", context.bind_to_thread())?;
    let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
    // SAFETY: the memory is written before it is read.
    let word = driver("the alarm", unsafe { result::malloc_host(size_of::<u32>(), flags) })?;
    // SAFETY: the word is the whole of the memory, which is aligned to a page.
    unsafe { word.cast::<u32>().write_volatile(0) };
    // With unified addresses, which every 64-bit system has, the GPU's address of it is the same.
    let address = word as u64;
    alarms.insert(context.ordinal(), address);
    Ok(address)
}

/// The address of a tensor's first number. The tensors of a call outlive its launch, and the driver puts
/// frees behind launches.
fn address(tensor: Option<&Tensor>, stream: &CudaStream) -> candle_core::Result<u64> {
    let Some(tensor) = tensor else { return Ok(0) };
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        candle_core::bail!("a tensor of the launch is not on the GPU")
    };
    let offset = layout.start_offset();
    macro_rules! at {
        ($slice:expr) => {{
            let (address, _recorded_at_its_end) = $slice.device_ptr(stream);
            address + (offset * storage.dtype().size_in_bytes()) as u64
        }};
    }
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => at!(slice),
        CudaStorageSlice::BF16(slice) => at!(slice),
        CudaStorageSlice::U32(slice) => at!(slice),
        _ => candle_core::bail!("kernels take no {:?}", storage.dtype()),
    })
}

/// An argument as the driver reads it.
enum Value {
    Address(u64),
    Int(i32),
    Float(f32),
}

/// A launch whose kernel was found and whose arguments were looked up.
struct ReadyLaunch {
    kernel: String,
    function: CudaFunction,
    values: Vec<Value>,
    config: LaunchConfig,
    is_cooperative: bool,
}

/// A product whose arguments were looked up, as cuBLAS takes them.
struct ReadyGemm {
    transposed: [cublas::sys::cublasOperation_t; 2],
    /// Rows, columns and what is summed over.
    sizes: [i32; 3],
    /// Of both factors and the result.
    addresses: [u64; 3],
    leading: [i32; 3],
    factors: cublas::sys::cudaDataType,
    compute: cublas::sys::cublasComputeType_t,
    beta: f32,
}

impl Cuda {
    fn ready(&self, call: &KernelLaunch) -> candle_core::Result<ReadyLaunch> {
        let kernel = call.kernel.as_str();
        let bytes = call.launch.shared_bytes;
        let function = cuda_kernels::function(self.stream.context(), kernel, bytes)?;
        let values = call.args.iter().map(|(name, arg)| {
            Ok(match arg {
                Arg::Int(value) => Value::Int(int(name, *value)?),
                Arg::Float(value) => Value::Float(*value as f32),
                Arg::Alarm => Value::Address(alarm(&self.stream)?),
                arg => Value::Address(address(arg.tensor(), &self.stream)?),
            })
        });
        let values = values.collect::<candle_core::Result<_>>()?;
        let size = |name, value| Ok::<_, candle_core::Error>(int(name, value)? as u32);
        let config = LaunchConfig {
            grid_dim: (size("grid", call.launch.grid)?, 1, 1),
            block_dim: (size("block", call.launch.block)?, 1, 1),
            shared_mem_bytes: size("shared_bytes", bytes)?,
        };
        let is_cooperative = call.is_cooperative();
        Ok(ReadyLaunch { kernel: kernel.into(), function, values, config, is_cooperative })
    }

    fn submit(&self, ready: &ReadyLaunch) -> candle_core::Result<()> {
        let mut launch = self.stream.launch_builder(&ready.function);
        for value in &ready.values {
            match value {
                Value::Address(address) => launch.arg(address),
                Value::Int(value) => launch.arg(value),
                Value::Float(value) => launch.arg(value),
            };
        }
        // SAFETY: the arguments are those that kernels/gpu/README.md lists for this kernel, in its order: the
        // emulated launches, made by the same code, are compared with the kernel's source. Sizes are
        // those of the tensors, by `Pass` and `Adam`, and the grid covers them, by `plan`.
        // Blocks that wait for each other are launched only if all of them can run at once.
        let launched = unsafe {
            if ready.is_cooperative {
                launch.launch_cooperative(ready.config)
            } else {
                launch.launch(ready.config)
            }
        };
        driver(&ready.kernel, launched)?;
        Ok(())
    }

    fn ready_gemm(&self, gemm: &Gemm) -> candle_core::Result<ReadyGemm> {
        use cublas::sys::{cublasComputeType_t as Compute, cublasOperation_t as Operation};

        let told = gemm.column_major()?;
        let operation = |is_transposed| {
            if is_transposed {
                Operation::CUBLAS_OP_T
            } else {
                Operation::CUBLAS_OP_N
            }
        };
        let (first, second) = (&told.first, &told.second);
        let at = |tensor| address(Some(tensor), &self.stream);
        let (factors, compute) = match gemm.a.dtype() {
            DType::BF16 => (cublas::sys::cudaDataType::CUDA_R_16BF, Compute::CUBLAS_COMPUTE_32F),
            // As Candle's own products are asked to.
            _ if gemm_reduced_precision_f32() => {
                (cublas::sys::cudaDataType::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F_FAST_TF32)
            }
            _ => (cublas::sys::cudaDataType::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F),
        };
        driver("cublas", self.stream.context().bind_to_thread())?;
        Ok(ReadyGemm {
            transposed: [operation(first.is_transposed), operation(second.is_transposed)],
            sizes: [told.rows, told.columns, told.inner],
            addresses: [at(first.tensor)?, at(second.tensor)?, at(gemm.out)?],
            leading: [first.leading, second.leading, told.leading],
            factors,
            compute,
            beta: if gemm.adds { 1. } else { 0. },
        })
    }

    fn submit_gemm(&self, ready: &ReadyGemm) -> candle_core::Result<()> {
        let alpha = 1f32;
        let [transposed_first, transposed_second] = ready.transposed;
        let [rows, columns, inner] = ready.sizes;
        let [first, second, out] = ready.addresses.map(|address| address as *mut c_void);
        let [leading_first, leading_second, leading_out] = ready.leading;
        // SAFETY: the addresses are those of tensors of the GPU that are there until the call returns, and the driver
        // puts their frees behind it; sizes and leading dimensions are within them, by `Gemm::column_major`, whose
        // tests compute by nothing else. The factors' numbers and those of the result are of the types that are said,
        // and the handle's scalars are the host's, which is what Candle leaves them at.
        let multiplied = unsafe {
            cublas::result::gemm_ex(
                *self.blas.handle(),
                transposed_first,
                transposed_second,
                rows,
                columns,
                inner,
                (&raw const alpha).cast(),
                first,
                ready.factors,
                leading_first,
                second,
                ready.factors,
                leading_second,
                (&raw const ready.beta).cast(),
                out,
                cublas::sys::cudaDataType::CUDA_R_32F,
                leading_out,
                ready.compute,
                cublas::sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
            )
        };
        driver("cublas", multiplied)
    }
}

impl Launch for Cuda {
    fn limits(&self) -> DeviceLimits {
        self.limits
    }

    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        self.submit(&self.ready(call)?)
    }

    fn gemm(&self, gemm: &Gemm) -> candle_core::Result<()> {
        self.submit_gemm(&self.ready_gemm(gemm)?)
    }

    fn run_steps(&self, steps: StepLoop) -> candle_core::Result<()> {
        let product = self.ready_gemm(&steps.product)?;
        let mut kernel = self.ready(&steps.kernel)?;
        for step in steps.steps {
            self.submit_gemm(&product)?;
            if let Some(last) = kernel.values.last_mut() {
                *last = Value::Int(int("step", step)?);
            }
            self.submit(&kernel)?;
        }
        Ok(())
    }
}
