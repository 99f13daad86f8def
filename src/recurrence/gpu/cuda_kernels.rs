//! The compiled kernels on NVIDIA GPUs, each loaded once a process and GPU, and what the driver says of a GPU.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute as Attribute, CUfunction_attribute_enum as FunctionAttribute,
};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaFunction, CudaModule};

use super::launch::int;
use super::plan::DeviceLimits;
use crate::{Error, Result};

/// What a block gets without asking.
const SHARED_BYTES: usize = 48 << 10;

/// The compiled kernels, by what their names begin with.
const MODULES: [(&str, &str); 9] = [
    ("rnn", include_str!(concat!(env!("OUT_DIR"), "/rnn.ptx"))),
    ("gru", include_str!(concat!(env!("OUT_DIR"), "/gru.ptx"))),
    ("lstm", include_str!(concat!(env!("OUT_DIR"), "/lstm.ptx"))),
    ("step", include_str!(concat!(env!("OUT_DIR"), "/step.ptx"))),
    ("rows", include_str!(concat!(env!("OUT_DIR"), "/rows.ptx"))),
    ("team", include_str!(concat!(env!("OUT_DIR"), "/team.ptx"))),
    ("mma", include_str!(concat!(env!("OUT_DIR"), "/mma.ptx"))),
    ("loss", include_str!(concat!(env!("OUT_DIR"), "/loss.ptx"))),
    ("adam", include_str!(concat!(env!("OUT_DIR"), "/adam.ptx"))),
];

/// What is known of the GPUs, by their numbers.
///
/// All devices of a GPU share its primary context, and so its modules, which live as long as the program.
static GPUS: Mutex<BTreeMap<usize, KnownGpu>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct KnownGpu {
    limits: Option<DeviceLimits>,
    modules: BTreeMap<&'static str, Arc<CudaModule>>,
    functions: BTreeMap<String, LoadedKernel>,
}

/// A kernel, and the shared memory that its blocks may ask for.
#[derive(Clone)]
struct LoadedKernel {
    function: CudaFunction,
    shared_bytes: usize,
}

/// A driver's error as Candle's, which [`Error`] reads.
pub(super) fn driver<T, E: std::fmt::Debug>(
    what: &str,
    result: std::result::Result<T, E>,
) -> candle_core::Result<T> {
    result.map_err(|error| candle_core::Error::Msg(format!("{what}: {error:?}")))
}

/// What a GPU can do: asked once, but for whether layers may run by teams.
///
/// # Errors
/// [`Error::Device`] when the driver does not tell the GPU's limits; [`Error::Config`] for another value of
/// `CANDLE_RNN_TEAMS` than `on` and `off`.
pub(super) fn limits(context: &CudaContext) -> Result<DeviceLimits> {
    let Ok(mut gpus) = GPUS.lock() else { return Err(Error::Device("a thread panicked".into())) };
    let known = gpus.entry(context.ordinal()).or_default();
    let limits = match known.limits {
        Some(limits) => limits,
        None => *known.limits.insert(asked_limits(context)?),
    };
    let team_blocks = if may_have_teams()? { limits.team_blocks } else { 0 };
    Ok(DeviceLimits { team_blocks, ..limits })
}

fn asked_limits(context: &CudaContext) -> Result<DeviceLimits> {
    let attribute = |attribute: Attribute| -> Result<usize> {
        let value = context
            .attribute(attribute)
            .map_err(|error| Error::Device(format!("the GPU's driver does not answer: {error}")))?;
        Ok(usize::try_from(value).unwrap_or(0))
    };
    let multiprocessors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    let is_cooperative = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? == 1;
    Ok(DeviceLimits {
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        multiprocessors,
        max_grid: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)?,
        team_blocks: if is_cooperative { multiprocessors } else { 0 },
        has_tensor_cores: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? >= 8,
        streams_weights: false,
    })
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

/// A kernel whose blocks may have so many bytes of shared memory.
pub(super) fn function(
    context: &Arc<CudaContext>,
    kernel: &str,
    shared_bytes: usize,
) -> candle_core::Result<CudaFunction> {
    let Ok(mut gpus) = GPUS.lock() else { candle_core::bail!("a thread panicked") };
    let known = gpus.entry(context.ordinal()).or_default();
    if let Some(loaded) = known.functions.get(kernel) {
        if shared_bytes <= loaded.shared_bytes {
            return Ok(loaded.function.clone());
        }
    }
    let Some((family, ptx)) = MODULES.iter().find(|(name, _)| kernel.starts_with(name)) else {
        candle_core::bail!("there is no kernel {kernel}")
    };
    let module = match known.modules.get(family) {
        Some(module) => module.clone(),
        None => {
            let module = driver(kernel, context.load_module((*ptx).into()))?;
            known.modules.insert(family, module.clone());
            module
        }
    };
    let function = driver(kernel, module.load_function(kernel))?;
    let shared_bytes = shared_bytes.max(SHARED_BYTES);
    if shared_bytes > SHARED_BYTES {
        let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        driver(kernel, function.set_attribute(attribute, int("shared_bytes", shared_bytes)?))?;
    }
    known
        .functions
        .insert(kernel.into(), LoadedKernel { function: function.clone(), shared_bytes });
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs an NVIDIA GPU: just test-cuda"]
    fn no_kernel_on_a_gpu_spills() {
        let device = crate::recurrence::open_cuda(0).unwrap();
        let stream = device.as_cuda_device().unwrap().cuda_stream();
        // The driver compiles the kernels for the card at hand: not what nvcc made of them elsewhere.
        let names = MODULES.iter().flat_map(|(_, ptx)| {
            let entries = ptx.split(".entry ").skip(1);
            entries.map(|text| text.split('(').next().unwrap().trim())
        });
        let names: Vec<&str> = names.collect();
        assert!(names.len() > 50, "{names:?}");
        for name in names {
            let kernel = function(stream.context(), name, 0).unwrap();
            let bytes = kernel.get_attribute(FunctionAttribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
            assert_eq!(bytes.unwrap(), 0, "bytes of local memory of a thread of {name}");
        }
    }
}
