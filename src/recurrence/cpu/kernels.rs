//! The kernels of an instruction set as a table, and weights packed for them.

use super::activation::{Activation, Identity, Relu, Tanh};
use super::backward::{self, Backward, Scratch};
use super::forward::{self, sections, Forward};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::panels::{pack_columns, pack_rows, unpack_columns, Panels};
use super::portable;
use super::vector::{Element, Vector};
use super::Isa;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::recurrence::{Cell, SequenceDims};

/// What a step ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Tanh,
    Relu,
    /// For dense layers: one step, with nothing before it.
    Identity,
}

impl From<Cell> for Function {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Tanh => Self::Tanh,
            Cell::Relu => Self::Relu,
        }
    }
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

/// The kernels of one instruction set and one activation. Exists only where the CPU has the
/// instruction set, as [`Isa`] proves.
#[derive(Clone, Copy)]
pub(crate) struct Kernels<E> {
    /// Elements of a row with its padding.
    pub(super) padded: fn(usize) -> usize,
    pack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    unpack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    pub(super) pack_rows: fn(&[E], usize, &mut [E]),
    pub(super) forward_rows: unsafe fn(&Forward<E>, usize, usize),
    pub(super) backward_rows: unsafe fn(&Backward<E>, usize, usize, usize, Scratch<E>),
    pub(super) block_steps: fn(&SequenceDims, usize) -> usize,
    pub(super) scratch_len: fn(&Backward<E>, usize, usize) -> usize,
}

impl<E: Element> Kernels<E> {
    fn of<V: Vector<Elem = E>>(function: Function) -> Self {
        match function {
            Function::Tanh => Self::with::<V, Tanh>(),
            Function::Relu => Self::with::<V, Relu>(),
            Function::Identity => Self::with::<V, Identity>(),
        }
    }

    fn with<V: Vector<Elem = E>, A: Activation>() -> Self {
        Self {
            padded: |len| Panels::<V>::new(len).padded(),
            pack_columns: pack_columns::<V>,
            unpack_columns: unpack_columns::<V>,
            pack_rows: pack_rows::<V>,
            forward_rows: forward::forward_rows::<V, A>,
            backward_rows: backward::backward_rows::<V, A>,
            block_steps: backward::block_steps::<V>,
            scratch_len: backward::scratch_len::<V>,
        }
    }

    /// Elements of the packed weights.
    pub(crate) fn packed_len(&self, input_size: usize, hidden_size: usize) -> usize {
        (self.padded)(hidden_size) * (1 + input_size + hidden_size)
    }
}

/// The weights of a layer, or their gradients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightSlices<'a, E> {
    /// `(H, I)`.
    pub(crate) w_ih: &'a [E],
    /// `(H, H)`.
    pub(crate) w_hh: &'a [E],
    /// `(H,)`.
    pub(crate) b: &'a [E],
}

/// Packs the weights for a forward pass: [`Kernels::packed_len`] elements.
pub(crate) fn pack_weights<E: Element>(kernels: &Kernels<E>, weights: WeightSlices<E>) -> Vec<E> {
    let hidden_size = weights.b.len();
    let input_size = weights.w_ih.len() / hidden_size;
    let depth = 1 + input_size + hidden_size;
    let mut packed = vec![E::ZERO; kernels.packed_len(input_size, hidden_size)];
    let matrices = [weights.b, weights.w_ih, weights.w_hh];
    for (matrix, (first, columns)) in matrices.into_iter().zip(sections(input_size, hidden_size)) {
        (kernels.pack_columns)(matrix, columns, depth, first, &mut packed);
    }
    packed
}

/// Takes packed gradients apart: those of `W_ih`, `W_hh` and `b`.
pub(crate) fn unpack_weights<E: Element>(
    kernels: &Kernels<E>,
    packed: &[E],
    input_size: usize,
    hidden_size: usize,
) -> [Vec<E>; 3] {
    let [b, w_ih, w_hh] = sections(input_size, hidden_size).map(|(first, columns)| {
        let mut matrix = vec![E::ZERO; columns * hidden_size];
        let depth = 1 + input_size + hidden_size;
        (kernels.unpack_columns)(packed, columns, depth, first, &mut matrix);
        matrix
    });
    [w_ih, w_hh, b]
}
