//! Launches: a kernel's name, its sizes and its arguments, as every device takes them.

use candle_core::{DType, Tensor};

use super::gemm::Gemm;
use super::plan::{DeviceLimits, LaunchSize};
use super::rows::copy_launch;

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
    /// The device's own word that a kernel sets when its blocks gave up waiting for each other.
    Alarm,
}

/// What the next call says after a kernel has set the alarm.
#[cfg_attr(not(any(test, feature = "cuda")), allow(dead_code))]
pub(in crate::recurrence) const GAVE_UP: &str =
    "blocks of a kernel waited for each other in vain, so that what it gave is NaN: run again, without \
     other work on the device, or with CANDLE_RNN_TEAMS=off";

impl<'a> Arg<'a> {
    /// The tensor, unless it is null or the argument is a number.
    pub(in crate::recurrence) fn tensor(&self) -> Option<&'a Tensor> {
        match self {
            Self::In(tensor) | Self::Out(tensor) => *tensor,
            Self::InOut(tensor) => Some(tensor),
            Self::Int(_) | Self::Float(_) | Self::Alarm => None,
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

impl KernelLaunch<'_> {
    /// Whether the kernel's blocks wait for each other, so that all have to run at once.
    #[cfg_attr(not(any(test, feature = "cuda")), allow(dead_code))]
    pub(in crate::recurrence) fn is_cooperative(&self) -> bool {
        self.args.iter().any(|(_, arg)| matches!(arg, Arg::Alarm))
    }
}

/// A product and a kernel that reads it, step after step.
pub(crate) struct StepLoop<'a> {
    pub(crate) product: Gemm<'a>,
    /// Its last argument is the step.
    pub(crate) kernel: KernelLaunch<'a>,
    /// The steps, in their order.
    pub(crate) steps: Vec<usize>,
}

/// What the host asks of a device's driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::recurrence) enum DriverCall {
    /// Memory on the device.
    Allocation,
    /// A copy from the host's memory, or within the device's.
    Copy,
    /// Memory filled with zeros.
    Fill,
    /// A product by the device's own library.
    Product,
    /// A launch of a kernel, ours or Candle's.
    Launch,
}

/// What launches kernels on one kind of device.
pub(in crate::recurrence) trait Launch: Send + Sync {
    /// What the device can do.
    fn limits(&self) -> DeviceLimits;

    /// Puts a launch behind those before it. Tensors are written in place, whoever shares their memory.
    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()>;

    /// Puts a product behind the launches before it: by Candle, whose result is copied, where the device's library is
    /// not asked itself.
    fn gemm(&self, gemm: &Gemm) -> candle_core::Result<()> {
        gemm_by_candle(self, gemm)
    }

    /// Puts a loop behind the launches before it: in each step the product, then the kernel.
    fn run_steps(&self, mut steps: StepLoop) -> candle_core::Result<()> {
        for step in steps.steps {
            self.gemm(&steps.product)?;
            if let Some((_, arg)) = steps.kernel.args.last_mut() {
                *arg = Arg::Int(step);
            }
            self.launch(&steps.kernel)?;
        }
        Ok(())
    }

    /// Sees what is asked of the driver by way of Candle.
    fn note(&self, _call: DriverCall) {}
}

/// A product by Candle, copied to where the result belongs.
pub(in crate::recurrence) fn gemm_by_candle<L: Launch + ?Sized>(
    device: &L,
    gemm: &Gemm,
) -> candle_core::Result<()> {
    device.note(DriverCall::Allocation);
    device.note(DriverCall::Product);
    let mut product = gemm.a.matmul(gemm.b)?;
    if product.dtype() != DType::F32 {
        device.note(DriverCall::Allocation);
        device.note(DriverCall::Launch);
        product = product.to_dtype(DType::F32)?;
    }
    device.launch(&copy_launch(&product, gemm.out, None, gemm.adds, &device.limits())?)
}
