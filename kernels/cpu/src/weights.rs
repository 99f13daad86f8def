//! Weights packed for the kernels, and their gradients unpacked.

use crate::cells::cell::{ColumnRange, Source, WeightLayout, WeightRows};
use crate::kernels::Kernels;
use crate::simd::vector::Element;
use crate::workspace::Buffer;
use crate::SequenceDims;

/// The weights of a layer, or their gradients.
#[derive(Clone, Copy, Debug)]
pub struct WeightSlices<'a, E> {
    /// `(G·H, I)`.
    pub(crate) w_ih: &'a [E],
    /// `(G·H, P)`.
    pub(crate) w_hh: &'a [E],
    /// `(G·H,)` once or twice: of the input, and of the state.
    pub(crate) biases: [&'a [E]; 2],
    /// `(P, H)`, or empty.
    pub(crate) w_hr: &'a [E],
}

impl<'a, E> WeightSlices<'a, E> {
    /// The matrix of columns that the inner value feeds.
    fn inner(&self, columns: &ColumnRange) -> &'a [E] {
        match columns.rows {
            WeightRows::Gates { .. } => self.w_hh,
            WeightRows::Projection => self.w_hr,
        }
    }

    /// Takes `[b_ih | b_hh | W_hr]` apart, of which the latter two may not be there.
    pub fn new(w_ih: &'a [E], w_hh: &'a [E], biases_and_projection: &'a [E], gates: usize) -> Self {
        let (b_ih, more) = biases_and_projection.split_at(gates.min(biases_and_projection.len()));
        let (b_hh, w_hr) = more.split_at(gates.min(more.len()));
        Self { w_ih, w_hh, biases: [b_ih, b_hh], w_hr }
    }
}

/// Packs the weights for a forward pass, in memory that is aligned to a cache line: a register of
/// weights that lies across two costs two loads, which with one batch row is most of the time.
pub fn pack_weights<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    weights: WeightSlices<E>,
) -> Buffer<E> {
    let hidden_size = dims.hidden_size;
    let layout = kernels.layout(dims);
    // Every element is written: the panels of a gate block are its bias, its inputs and its source.
    let mut packed = Buffer::new(layout.packed_len);
    for columns in layout.columns() {
        let depth = columns.depth();
        let len = (kernels.padded)(columns.len) * depth;
        let packed = &mut packed[columns.packed..][..len];
        let mut bias = vec![E::ZERO; columns.len];
        for (is_added, of_gates) in columns.biases().into_iter().zip(weights.biases) {
            if is_added && !of_gates.is_empty() {
                let of_columns = columns.rows_of(of_gates, 1, hidden_size);
                bias.iter_mut().zip(of_columns).for_each(|(sum, term)| *sum = *sum + *term);
            }
        }
        (kernels.pack_columns)(&bias, 1, depth, 0, packed);
        if columns.input {
            let rows = columns.rows_of(weights.w_ih, columns.inputs, hidden_size);
            (kernels.pack_columns)(rows, columns.inputs, depth, 1, packed);
        }
        let matrix = match columns.source {
            Source::Nothing => continue,
            Source::State => weights.w_hh,
            Source::Inner => weights.inner(columns),
        };
        let rows = columns.rows_of(matrix, columns.sources, hidden_size);
        (kernels.pack_columns)(rows, columns.sources, depth, 1 + columns.inputs, packed);
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
    let SequenceDims { input_size, hidden_size, output_size, .. } = *dims;
    let layout = kernels.layout(dims);
    let mut w_ih = vec![E::ZERO; gates * input_size];
    // A dense layer has none.
    let has_state = layout.columns().iter().any(|columns| columns.source != Source::Nothing);
    let mut w_hh = vec![E::ZERO; if has_state { gates * output_size } else { 0 }];
    let mut biases_and_projection = vec![E::ZERO; biases_and_projection];
    let (b_ih, more) = biases_and_projection.split_at_mut(gates);
    let (b_hh, w_hr) = more.split_at_mut(gates.min(more.len()));
    for columns in layout.columns() {
        let depth = columns.depth();
        let packed = &packed[columns.packed..][..(kernels.padded)(columns.len) * depth];
        let [of_input, of_state] = columns.biases();
        if of_input {
            let bias = columns.rows_of_mut(b_ih, 1, hidden_size);
            (kernels.unpack_columns)(packed, 1, depth, 0, bias);
        }
        if of_state && !b_hh.is_empty() {
            let bias = columns.rows_of_mut(b_hh, 1, hidden_size);
            (kernels.unpack_columns)(packed, 1, depth, 0, bias);
        }
        if columns.input {
            let rows = columns.rows_of_mut(&mut w_ih, columns.inputs, hidden_size);
            (kernels.unpack_columns)(packed, columns.inputs, depth, 1, rows);
        }
        let matrix: &mut [E] = match (columns.source, columns.rows) {
            (Source::Nothing, _) => continue,
            (Source::Inner, WeightRows::Projection) => w_hr,
            _ => &mut w_hh,
        };
        let rows = columns.rows_of_mut(matrix, columns.sources, hidden_size);
        (kernels.unpack_columns)(packed, columns.sources, depth, 1 + columns.inputs, rows);
    }
    [w_ih, w_hh, biases_and_projection]
}

/// Weights packed for a backward pass, by what feeds them.
pub struct TransposedWeights<E> {
    pub(crate) input: Buffer<E>,
    pub(crate) state: Buffer<E>,
    pub(crate) inner: Buffer<E>,
}

/// Packs the weights for a backward pass.
pub fn pack_transposed<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    weights: WeightSlices<E>,
) -> TransposedWeights<E> {
    let layout = kernels.layout(dims);
    let pack = |kind: OperandKind| kernels.pack_operand(&layout, &weights, kind, dims);
    TransposedWeights {
        input: pack(OperandKind::Input),
        state: pack(OperandKind::State),
        inner: pack(OperandKind::Inner),
    }
}

/// What feeds columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OperandKind {
    Input,
    State,
    Inner,
}

impl<E: Element> Kernels<E> {
    /// Rows of the weights that feed some columns of δ, packed for a backward pass: `(K, len)`.
    fn pack_operand(
        &self,
        layout: &WeightLayout,
        weights: &WeightSlices<E>,
        kind: OperandKind,
        dims: &SequenceDims,
    ) -> Buffer<E> {
        let SequenceDims { input_size, hidden_size, output_size, .. } = *dims;
        let (operand, len) = match kind {
            OperandKind::Input => (layout.input_operand, input_size),
            OperandKind::State => (layout.state_operand, output_size),
            OperandKind::Inner => (layout.inner_operand, hidden_size),
        };
        let mut packed = Buffer::new((self.padded)(len) * operand.len);
        for columns in layout.columns() {
            let matrix = match kind {
                OperandKind::Input if columns.input => weights.w_ih,
                OperandKind::State if columns.source == Source::State => weights.w_hh,
                OperandKind::Inner if columns.source == Source::Inner => weights.inner(columns),
                _ => continue,
            };
            let rows = columns.rows_of(matrix, len, hidden_size);
            (self.pack_rows)(rows, len, operand.len, columns.at - operand.at, &mut packed);
        }
        packed
    }
}

impl ColumnRange {
    /// Its rows of a matrix with `len` columns.
    fn rows_of<'a, E>(&self, matrix: &'a [E], len: usize, hidden_size: usize) -> &'a [E] {
        let first = match self.rows {
            WeightRows::Gates { first, .. } => first * hidden_size,
            WeightRows::Projection => 0,
        };
        &matrix[first * len..][..self.len * len]
    }

    fn rows_of_mut<'a, E>(
        &self,
        matrix: &'a mut [E],
        len: usize,
        hidden_size: usize,
    ) -> &'a mut [E] {
        let first = match self.rows {
            WeightRows::Gates { first, .. } => first * hidden_size,
            WeightRows::Projection => 0,
        };
        &mut matrix[first * len..][..self.len * len]
    }

    /// Whether the biases of the input, and of the state, are added.
    fn biases(&self) -> [bool; 2] {
        let is_gate = self.rows != WeightRows::Projection;
        [self.input, is_gate && self.source != Source::Nothing]
    }
}
