//! The kernels of an instruction set and a cell as a table.

use crate::backward::{self, Backward, Scratch};
use crate::cells::cell::{Cell, WeightLayout};
use crate::cells::{Dense, Gru, GruResetBefore, Lstm, MinimalGru, ProjectedLstm, Simple};
use crate::forward::{self, Forward};
use crate::gemm::layout::Panels;
use crate::gemm::pack::{pack_columns, pack_rows, unpack_columns};
use crate::simd::math::{Relu, Tanh};
#[cfg(target_arch = "aarch64")]
use crate::simd::neon;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use crate::simd::portable;
use crate::simd::vector::{Element, Vector};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::simd::wasm;
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2, avx512};
use crate::table::{self, TableGrads, TableProducts};
use crate::view::ViewMut;
use crate::Isa;
use crate::SequenceDims;

/// The cell that a pass runs. `config.json` names it, but for those that it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "model", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum CellKind {
    /// `h_t = tanh(..)`.
    Tanh,
    /// `h_t = max(.., 0)`.
    Relu,
    /// For dense layers: one step, with nothing before it.
    #[cfg_attr(feature = "model", serde(skip))]
    Dense,
    /// GRU with the reset gate after the product, as PyTorch has it.
    Gru,
    /// GRU with the reset gate before the product.
    GruResetBefore,
    /// LSTM.
    Lstm,
    /// LSTM whose h is projected.
    #[cfg_attr(feature = "model", serde(skip))]
    ProjectedLstm,
    /// Minimal gated unit.
    MinimalGru,
}

/// A float that has kernels.
pub trait Float: Element {
    /// The kernels of an instruction set.
    fn kernels(isa: Isa, function: CellKind) -> Kernels<Self>;
}

macro_rules! float {
    ($elem:ident, $avx512:ident, $avx2:ident, $neon:ident, $wasm:ident, $portable:ident) => {
        impl Float for $elem {
            // Compiled here, once: inlined, all kernels would be compiled again in every crate that calls this. A module for
            // the web is small enough for that, and so holds no kernels of cells that it does not have.
            #[cfg_attr(target_arch = "wasm32", inline)]
            fn kernels(isa: Isa, function: CellKind) -> Kernels<Self> {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(_) => Kernels::of::<avx512::$avx512>(function),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2Fma(_) => Kernels::of::<avx2::$avx2>(function),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => Kernels::of::<neon::$neon>(function),
                    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                    Isa::Simd128 => Kernels::of::<wasm::$wasm>(function),
                    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
                    Isa::Portable => Kernels::of::<portable::$portable>(function),
                }
            }
        }
    };
}

float!(f32, F32x16, F32x8, F32x4, WasmF32, PortableF32);
float!(f64, F64x8, F64x4, F64x2, WasmF64, PortableF64);

/// The kernels of one instruction set and one cell. Exists only where the CPU has the instruction
/// set, as [`Isa`] proves.
#[derive(Clone, Copy)]
pub struct Kernels<E> {
    layout: fn(&SequenceDims) -> WeightLayout,
    pub(crate) padded: fn(usize) -> usize,
    pub(crate) pack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    pub(crate) unpack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    pub(crate) pack_rows: fn(&[E], usize, usize, usize, &mut [E]),
    pub(crate) forward_rows: unsafe fn(&Forward<E>, usize, usize, ViewMut<E, 0>),
    pub(crate) backward_rows: unsafe fn(&Backward<E>, usize, usize, usize, Scratch<E>),
    pub(crate) table_products: unsafe fn(&TableProducts<E>, usize, usize),
    pub(crate) table_weight_grads: unsafe fn(&TableGrads<E>, usize, usize),
    pub(crate) table_input_grads: unsafe fn(&TableGrads<E>, usize, usize),
    /// Whether the state is a function of one gate.
    pub(crate) is_simple: bool,
    /// Whether there is a second state.
    pub(crate) has_c: bool,
}

impl<E: Element> Kernels<E> {
    #[inline(always)]
    fn of<V: Vector<Elem = E>>(function: CellKind) -> Self {
        match function {
            CellKind::Tanh => Self::with::<V, Simple<Tanh>>(),
            CellKind::Relu => Self::with::<V, Simple<Relu>>(),
            CellKind::Dense => Self::with::<V, Dense>(),
            CellKind::Gru => Self::with::<V, Gru>(),
            CellKind::GruResetBefore => Self::with::<V, GruResetBefore>(),
            CellKind::Lstm => Self::with::<V, Lstm>(),
            CellKind::ProjectedLstm => Self::with::<V, ProjectedLstm>(),
            CellKind::MinimalGru => Self::with::<V, MinimalGru>(),
        }
    }

    fn with<V: Vector<Elem = E>, C: Cell>() -> Self {
        let has_table = cfg!(feature = "table");
        Self {
            layout: WeightLayout::new::<V, C>,
            padded: |len| Panels::<V>::new(len).padded(),
            pack_columns: pack_columns::<V>,
            unpack_columns: unpack_columns::<V>,
            pack_rows: pack_rows::<V>,
            forward_rows: forward::forward_rows::<V, C>,
            backward_rows: backward::backward_rows::<V, C>,
            table_products: if has_table { table::products::<V> } else { |_, _, _| () },
            table_weight_grads: if has_table { table::weight_grads::<V> } else { |_, _, _| () },
            table_input_grads: if has_table { table::input_grads::<V> } else { |_, _, _| () },
            is_simple: C::IS_SIMPLE,
            has_c: C::HAS_C,
        }
    }

    /// Where everything lies.
    pub(crate) fn layout(&self, dims: &SequenceDims) -> WeightLayout {
        (self.layout)(dims)
    }
}
