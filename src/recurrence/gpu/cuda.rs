//! Launches on NVIDIA GPUs.
//!
//! build.rs compiles kernels/gpu/*.cu to PTX, which the driver compiles for the GPU at hand when it is loaded.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute as Attribute, CUfunction_attribute_enum as FunctionAttribute,
};
use candle_core::cuda_backend::cudarc::driver::{
    result, sys, DevicePtr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::{CudaDevice, Storage, Tensor};

use super::launch::{int, Arg, KernelLaunch, Launch, GAVE_UP};
use super::plan::DeviceLimits;
use crate::{Error, Result};

/// What a block gets without asking.
const SHARED_BYTES: usize = 48 << 10;

/// The compiled kernels, by what their names begin with.
const MODULES: [(&str, &str); 7] = [
    ("rnn", include_str!(concat!(env!("OUT_DIR"), "/rnn.ptx"))),
    ("gru", include_str!(concat!(env!("OUT_DIR"), "/gru.ptx"))),
    ("lstm", include_str!(concat!(env!("OUT_DIR"), "/lstm.ptx"))),
    ("step", include_str!(concat!(env!("OUT_DIR"), "/step.ptx"))),
    ("team", include_str!(concat!(env!("OUT_DIR"), "/team.ptx"))),
    ("mma", include_str!(concat!(env!("OUT_DIR"), "/mma.ptx"))),
    ("adam", include_str!(concat!(env!("OUT_DIR"), "/adam.ptx"))),
];

/// A GPU and its limits.
pub(super) struct Cuda {
    device: CudaDevice,
    limits: DeviceLimits,
}

impl Cuda {
    /// # Errors
    /// [`Error::Device`] when the driver does not tell the GPU's limits; [`Error::Config`] for another value of
    /// `CANDLE_RNN_TEAMS` than `on` and `off`.
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let attribute = |attribute: Attribute| -> Result<usize> {
            let value = stream.context().attribute(attribute).map_err(|error| {
                Error::Device(format!("the GPU's driver does not answer: {error}"))
            })?;
            Ok(usize::try_from(value).unwrap_or(0))
        };
        let limits = DeviceLimits {
            shared_bytes: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            max_grid: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)?,
            team_blocks: if may_have_teams()?
                && attribute(Attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? == 1
            {
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?
            } else {
                0
            },
            has_tensor_cores: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
                >= 8,
            streams_weights: false,
        };
        Ok(Self { device: device.clone(), limits })
    }
}

/// Whether layers may run by teams: unless the variable `CANDLE_RNN_TEAMS` is `off`.
fn may_have_teams() -> Result<bool> {
    match std::env::var("CANDLE_RNN_TEAMS") {
        Err(std::env::VarError::NotPresent) => Ok(true),
        Ok(value) if value == "on" => Ok(true),
        Ok(value) if value == "off" => Ok(false),
        other => {
            Err(Error::Config(format!("CANDLE_RNN_TEAMS is {other:?}: set it to `on` or `off`")))
        }
    }
}

/// Words in the host's memory that kernels set, one a GPU, by its number. They live as long as the program.
static ALARMS: Mutex<BTreeMap<usize, u64>> = Mutex::new(BTreeMap::new());

/// The address of a GPU's alarm, for itself and for the host alike.
///
/// # Errors
/// When an earlier kernel has set it, which is said once, or the driver gives no memory.
fn alarm(device: &CudaDevice) -> candle_core::Result<u64> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let Ok(mut alarms) = ALARMS.lock() else { candle_core::bail!("a thread panicked") };
    if let Some(address) = alarms.get(&context.ordinal()) {
        let word = *address as *mut u32;
        // SAFETY: the word is page-locked memory of the host that is never freed; kernels write it whole, and
        // nobody else does while the lock is held.
        let is_set = unsafe { word.read_volatile() } != 0;
        if is_set {
            // SAFETY: as above.
            unsafe { word.write_volatile(0) };
            candle_core::bail!("{GAVE_UP}")
        }
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

/// A driver's error as Candle's, which [`Error`](crate::Error) reads.
fn driver<T, E: std::fmt::Debug>(
    what: &str,
    result: std::result::Result<T, E>,
) -> candle_core::Result<T> {
    result.map_err(|error| candle_core::Error::Msg(format!("{what}: {error:?}")))
}

/// The address of a tensor's first number. The tensors of a call outlive its launch, and the driver puts
/// frees behind launches.
fn address(tensor: Option<&Tensor>, device: &CudaDevice) -> candle_core::Result<u64> {
    let Some(tensor) = tensor else { return Ok(0) };
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        candle_core::bail!("a tensor of the launch is not on the GPU")
    };
    let (stream, offset) = (device.cuda_stream(), layout.start_offset());
    macro_rules! at {
        ($slice:expr) => {{
            let (address, _recorded_at_its_end) = $slice.device_ptr(&stream);
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

impl Launch for Cuda {
    fn limits(&self) -> DeviceLimits {
        self.limits
    }

    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        let kernel = call.kernel.as_str();
        let Some((family, ptx)) = MODULES.iter().find(|(name, _)| kernel.starts_with(name)) else {
            candle_core::bail!("there is no kernel {kernel}")
        };
        let name = format!("candle-rnn-{family}");
        let function = self.device.get_or_load_custom_func(kernel, &name, ptx)?;
        let bytes = call.launch.shared_bytes;
        if bytes > SHARED_BYTES {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            driver(kernel, function.set_attribute(attribute, int("shared_bytes", bytes)?))?;
        }
        let values = call.args.iter().map(|(name, arg)| {
            Ok(match arg {
                Arg::Int(value) => Value::Int(int(name, *value)?),
                Arg::Float(value) => Value::Float(*value as f32),
                Arg::Alarm => Value::Address(alarm(&self.device)?),
                arg => Value::Address(address(arg.tensor(), &self.device)?),
            })
        });
        let values: Vec<Value> = values.collect::<candle_core::Result<_>>()?;
        let mut launch = function.builder();
        for value in &values {
            match value {
                Value::Address(address) => launch.arg(address),
                Value::Int(value) => launch.arg(value),
                Value::Float(value) => launch.arg(value),
            };
        }
        let size = |name, value| Ok::<_, candle_core::Error>(int(name, value)? as u32);
        let config = LaunchConfig {
            grid_dim: (size("grid", call.launch.grid)?, 1, 1),
            block_dim: (size("block", call.launch.block)?, 1, 1),
            shared_mem_bytes: size("shared_bytes", bytes)?,
        };
        // SAFETY: the arguments are those that kernels/gpu/README.md lists for this kernel, in its order: the
        // emulated launches, made by the same code, are compared with the kernel's source. Sizes are
        // those of the tensors, by `Pass` and `Adam`, and the grid covers them, by `plan`.
        // Blocks that wait for each other are launched only if all of them can run at once.
        if call.is_cooperative() {
            driver(kernel, unsafe { launch.launch_cooperative(config) })?;
        } else {
            driver(kernel, unsafe { launch.launch(config) })?;
        }
        Ok(())
    }
}
