//! Launches: a kernel's name, its sizes and its arguments, as every device takes them.

use candle_core::Tensor;

use super::plan::LaunchSize;

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

impl<'a> Arg<'a> {
    /// What a kernel writes: the whole tensor, or parts of it, or after reading it; or null.
    pub(super) fn written(tensor: Option<&'a Tensor>, in_parts: bool) -> Self {
        match tensor {
            Some(tensor) if in_parts => Self::InOut(tensor),
            tensor => Self::Out(tensor),
        }
    }

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

/// Those of the arguments that a kernel takes, each of which begins with whether it does.
pub(super) fn taken<'a, const N: usize>(all: [(bool, &'static str, Arg<'a>); N]) -> Args<'a> {
    let taken = all.into_iter().filter(|(is_taken, ..)| *is_taken);
    taken.map(|(_, name, arg)| (name, arg)).collect()
}

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
