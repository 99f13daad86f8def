//! Weights packed for the kernels, and their gradients unpacked.

use std::ops::Range;

use crate::cells::cell::{ColumnRange, OperandKind, Source, WeightRows};
use crate::kernels::Kernels;
use crate::simd::vector::Element;
use crate::workspace::Buffer;
use crate::SequenceDims;

/// The weights of a layer, or their gradients.
#[derive(Clone, Copy, Debug)]
pub struct WeightSlices<'a, E> {
    /// `W_ih` `(G·H, I)`, `W_hh` `(G·H, P)`, `b_ih` and `b_hh` `(G·H,)`, `W_hr` `(P, H)`; the last two may be empty.
    pub(crate) tensors: [&'a [E]; 5],
}

/// The places of the tensors.
const W_IH: usize = 0;
const W_HH: usize = 1;
const B_IH: usize = 2;
const B_HH: usize = 3;
const W_HR: usize = 4;

impl<'a, E> WeightSlices<'a, E> {
    /// Takes `[b_ih | b_hh | W_hr]` apart, of which the latter two may not be there.
    pub fn new(w_ih: &'a [E], w_hh: &'a [E], biases_and_projection: &'a [E], gates: usize) -> Self {
        let (b_ih, more) = biases_and_projection.split_at(gates.min(biases_and_projection.len()));
        let (b_hh, w_hr) = more.split_at(gates.min(more.len()));
        Self { tensors: [w_ih, w_hh, b_ih, b_hh, w_hr] }
    }
}

/// Packs the weights for a forward pass, in memory that is aligned to a cache line: a register of
/// weights that lies across two costs two loads, which with one batch row is most of the time.
pub fn pack_weights<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    weights: WeightSlices<E>,
) -> Buffer<E> {
    let layout = kernels.layout(dims);
    // Every element is written: the panels of a gate block are its bias, its inputs and its source.
    let mut packed = Buffer::new(layout.packed_len);
    for columns in layout.columns() {
        let depth = columns.depth();
        let packed = &mut packed[columns.packed..][..(kernels.padded)(columns.len) * depth];
        let mut bias = vec![E::ZERO; columns.len];
        for Matrix { tensor, width, .. } in columns.biases() {
            let of_gates = weights.tensors[tensor];
            if !of_gates.is_empty() {
                let of_columns = &of_gates[columns.rows_of(width, dims)];
                bias.iter_mut().zip(of_columns).for_each(|(sum, term)| *sum = *sum + *term);
            }
        }
        (kernels.pack_columns)(&bias, 1, depth, 0, packed);
        for Matrix { tensor, width, first } in columns.matrices() {
            let rows = &weights.tensors[tensor][columns.rows_of(width, dims)];
            (kernels.pack_columns)(rows, width, depth, first, packed);
        }
    }
    packed
}

/// Takes packed gradients apart: those of `W_ih`, of `W_hh`, and of `[b_ih | b_hh | W_hr]`,
/// `biases_and_projection` elements together, as [`WeightSlices::new`] takes them.
pub fn unpack_gradients<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    gates: usize,
    biases_and_projection: usize,
    packed: &[E],
) -> [Vec<E>; 3] {
    let layout = kernels.layout(dims);
    let mut w_ih = vec![E::ZERO; gates * dims.input_size];
    // A dense layer has none.
    let has_state = layout.columns().iter().any(|columns| columns.source != Source::Nothing);
    let mut w_hh = vec![E::ZERO; if has_state { gates * dims.output_size } else { 0 }];
    let mut biases_and_projection = vec![E::ZERO; biases_and_projection];
    let (b_ih, more) = biases_and_projection.split_at_mut(gates);
    let (b_hh, w_hr) = more.split_at_mut(gates.min(more.len()));
    let tensors: [&mut [E]; 5] = [&mut w_ih, &mut w_hh, b_ih, b_hh, w_hr];
    for columns in layout.columns() {
        let depth = columns.depth();
        let packed = &packed[columns.packed..][..(kernels.padded)(columns.len) * depth];
        for Matrix { tensor, width, first } in columns.biases().chain(columns.matrices()) {
            // There may be no second bias.
            if !tensors[tensor].is_empty() {
                let rows = &mut tensors[tensor][columns.rows_of(width, dims)];
                (kernels.unpack_columns)(packed, width, depth, first, rows);
            }
        }
    }
    [w_ih, w_hh, biases_and_projection]
}

/// Weights packed for a backward pass, a buffer for each kind of operand.
pub struct TransposedWeights<E>(pub(crate) [Buffer<E>; 3]);

/// Packs the weights for a backward pass: of each kind of operand the rows of the weights that it feeds, `(K, len)`.
pub fn pack_transposed<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    weights: WeightSlices<E>,
) -> TransposedWeights<E> {
    let layout = kernels.layout(dims);
    TransposedWeights(OperandKind::ALL.map(|kind| {
        let (operand, len) = (layout.operand(kind), kind.len(dims));
        let mut packed = Buffer::new((kernels.padded)(len) * operand.len);
        for columns in layout.columns().iter().filter(|columns| columns.reads(kind)) {
            let tensor = if kind == OperandKind::Input { W_IH } else { columns.source_tensor() };
            let rows = &weights.tensors[tensor][columns.rows_of(len, dims)];
            (kernels.pack_rows)(rows, len, operand.len, columns.at - operand.at, &mut packed);
        }
        packed
    }))
}

/// A matrix in the panels of a gate block.
struct Matrix {
    tensor: usize,
    /// The number of its columns.
    width: usize,
    /// Its first row of registers in a panel.
    first: usize,
}

impl ColumnRange {
    /// Its rows of a matrix with `width` columns.
    fn rows_of(&self, width: usize, dims: &SequenceDims) -> Range<usize> {
        let first = match self.rows {
            WeightRows::Gates { first, .. } => first * dims.hidden_size,
            WeightRows::Projection => 0,
        };
        first * width..(first + self.len) * width
    }

    /// The biases that are added: the input's, and the state's.
    fn biases(&self) -> impl Iterator<Item = Matrix> {
        let of_state = self.rows != WeightRows::Projection && self.source != Source::Nothing;
        let tensors = self.input.then_some(B_IH).into_iter().chain(of_state.then_some(B_HH));
        tensors.map(|tensor| Matrix { tensor, width: 1, first: 0 })
    }

    /// The matrices of its operands, of which the input's comes first.
    fn matrices(&self) -> impl Iterator<Item = Matrix> {
        let of_input = Matrix { tensor: W_IH, width: self.inputs, first: 1 };
        let first = 1 + self.inputs;
        let of_source = Matrix { tensor: self.source_tensor(), width: self.sources, first };
        [of_input, of_source].into_iter().filter(|matrix| matrix.width > 0)
    }

    /// The tensor that its source is multiplied with.
    fn source_tensor(&self) -> usize {
        match self.rows {
            WeightRows::Gates { .. } => W_HH,
            WeightRows::Projection => W_HR,
        }
    }
}
