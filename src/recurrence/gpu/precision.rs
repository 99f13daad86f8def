//! What recurrent products are made in on a device.

use serde::{Deserialize, Serialize};

/// What products with recurrent weights are made in on a device. States, gates, sums and gradients are `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecurrentDType {
    /// Single precision.
    #[default]
    F32,
    /// `f32` whose products may round both sides to tf32, 10 bits behind the point: the kernels of several blocks then
    /// use tensor cores where that is faster. One block's kernels, and products of a stepwise sweep, stay exact. For GPUs of compute
    /// capability 8.0 or later.
    Tf32,
    /// The recurrent weights are kept in bf16, 2 bytes each. Kernels of several blocks use tensor cores and round the
    /// other side of a product, too, and so does a stepwise sweep, whose sums are `f32` on NVIDIA GPUs and bf16 on Apple's.
    Bf16,
}

impl RecurrentDType {
    /// Bytes of a recurrent weight.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::Tf32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// What kernels' names end with, but for those of teams.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::F32 | Self::Tf32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// What it is called in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }

    /// What a stepwise sweep's products take a multiprocessor, in multiply-adds of 10 cycles, at 70 per cent of what
    /// it can.
    pub(super) fn products_per_10_cycles(self) -> usize {
        match self {
            Self::F32 | Self::Tf32 => 900,
            Self::Bf16 => 7000,
        }
    }
}
