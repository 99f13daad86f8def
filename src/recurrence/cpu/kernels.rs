//! The kernels of an instruction set and a cell as a table.

use super::activation::{Identity, Relu, Tanh};
use super::backward::{self, Backward, Scratch};
use super::cell::{Cell, Plan};
use super::cells::{Gru, GruResetBefore, Lstm, MinimalGru, ProjectedLstm, Simple};
use super::forward::{self, Forward};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::panels::{pack_columns, pack_rows, unpack_columns, Panels};
use super::portable;
use super::vector::{Element, Vector};
use super::Isa;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::recurrence::SequenceDims;

/// The cell that a pass runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Tanh,
    Relu,
    /// For dense layers: one step, with nothing before it.
    Identity,
    Gru,
    GruResetBefore,
    Lstm,
    ProjectedLstm,
    MinimalGru,
}

/// A float that has kernels.
pub(crate) trait Float: Element {
    /// The kernels of an instruction set.
    fn kernels(isa: Isa, function: Function) -> Kernels<Self>;
}

macro_rules! float {
    ($elem:ident, $avx512:ident, $avx2:ident, $neon:ident, $portable:ident) => {
        impl Float for $elem {
            fn kernels(isa: Isa, function: Function) -> Kernels<Self> {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(_) => Kernels::of::<avx512::$avx512>(function),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2Fma(_) => Kernels::of::<avx2::$avx2>(function),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => Kernels::of::<neon::$neon>(function),
                    Isa::Portable => Kernels::of::<portable::$portable>(function),
                }
            }
        }
    };
}

float!(f32, F32x16, F32x8, F32x4, F32x4);
float!(f64, F64x8, F64x4, F64x2, F64x2);

/// The kernels of one instruction set and one cell. Exists only where the CPU has the instruction
/// set, as [`Isa`] proves.
#[derive(Clone, Copy)]
pub(crate) struct Kernels<E> {
    plan: fn(&SequenceDims) -> Plan,
    pub(super) padded: fn(usize) -> usize,
    pub(super) pack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    pub(super) unpack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    pub(super) pack_rows: fn(&[E], usize, usize, usize, &mut [E]),
    pub(super) forward_rows: unsafe fn(&Forward<E>, usize, usize, *mut E),
    pub(super) backward_rows: unsafe fn(&Backward<E>, usize, usize, usize, Scratch<E>),
    /// Whether the state is a function of one gate.
    pub(super) is_simple: bool,
    /// Whether there is a second state.
    pub(super) has_c: bool,
}

impl<E: Element> Kernels<E> {
    fn of<V: Vector<Elem = E>>(function: Function) -> Self {
        match function {
            Function::Tanh => Self::with::<V, Simple<Tanh>>(),
            Function::Relu => Self::with::<V, Simple<Relu>>(),
            Function::Identity => Self::with::<V, Simple<Identity>>(),
            Function::Gru => Self::with::<V, Gru>(),
            Function::GruResetBefore => Self::with::<V, GruResetBefore>(),
            Function::Lstm => Self::with::<V, Lstm>(),
            Function::ProjectedLstm => Self::with::<V, ProjectedLstm>(),
            Function::MinimalGru => Self::with::<V, MinimalGru>(),
        }
    }

    fn with<V: Vector<Elem = E>, C: Cell>() -> Self {
        Self {
            plan: Plan::new::<V, C>,
            padded: |len| Panels::<V>::new(len).padded(),
            pack_columns: pack_columns::<V>,
            unpack_columns: unpack_columns::<V>,
            pack_rows: pack_rows::<V>,
            forward_rows: forward::forward_rows::<V, C>,
            backward_rows: backward::backward_rows::<V, C>,
            is_simple: C::IS_SIMPLE,
            has_c: C::HAS_C,
        }
    }

    /// Where everything lies.
    pub(super) fn plan(&self, dims: &SequenceDims) -> Plan {
        (self.plan)(dims)
    }
}
