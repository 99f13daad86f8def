//! What takes launches and products in their order, on every kind of device.

use candle_core::DType;

use super::copy::copy_launch;
use super::gemm::Gemm;
use super::launch::{Arg, DriverCall, KernelLaunch};
use super::plan::DeviceLimits;

/// A product and a kernel that reads it, step after step.
pub(crate) struct StepLoop<'a> {
    pub(crate) product: Gemm<'a>,
    /// Its last argument is the step.
    pub(crate) kernel: KernelLaunch<'a>,
    /// The steps, in their order.
    pub(crate) steps: Vec<usize>,
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

    /// Whether blocks of a kernel that the host has waited for gave up waiting for each other: told once.
    #[cfg(test)]
    fn gave_up(&self) -> candle_core::Result<bool> {
        Ok(false)
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
