//! The interface between a cell and the passes.
//!
//! The passes know products; a [`Cell`] knows what a unit does with them. Its pre-activations
//! ("gates") lie in gate blocks of columns that are fed alike: by the input, by the state before, or by
//! an inner value of this very step. docs/new-cell.md walks through adding one.

use crate::gemm::layout::Panels;
use crate::simd::math::Activation;
use crate::simd::vector::Vector;
use crate::SequenceDims;

/// Gates that a cell may have.
pub(crate) const MAX_GATES: usize = 4;

/// The operand of a gate block besides the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing.
    #[default]
    Nothing,
    /// The state before the step.
    State,
    /// The state as [`Cell::forward`] returned it: a second product in the same step.
    Inner,
}

/// The rows of the weights that a gate block has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WeightRows {
    /// `count` gates from gate `first` on, in the order of the weights' rows.
    Gates { first: usize, count: usize },
    /// The rows of the projection `W_hr`.
    #[default]
    Projection,
}

/// Gates that are fed alike and lie side by side. Those that the input feeds come together, as do
/// those that the state feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateBlock {
    pub(crate) rows: WeightRows,
    /// Whether `W_ih x_t` is added.
    pub(crate) input: bool,
    pub(crate) source: Source,
}

/// States before a step, of one register of units.
#[derive(Clone, Copy)]
pub(crate) struct Before<V> {
    pub(crate) h: V,
    /// `h` as the products see it: with the recurrent dropout's mask, if there is one.
    pub(crate) h_in: V,
    /// Zero for a cell that has none.
    pub(crate) c: V,
}

/// States after a step.
#[derive(Clone, Copy)]
pub(crate) struct After<V> {
    /// `h_t`, or the inner value if a second product follows.
    pub(crate) h: V,
    pub(crate) c: V,
}

/// Gradients that reach a step's end.
#[derive(Clone, Copy)]
pub(crate) struct GradAfter<V> {
    /// The gradient of `h_t`.
    pub(crate) h: V,
    /// The gradient of `c_t`.
    pub(crate) c: V,
    /// The gradient of the inner value, if there is one.
    pub(crate) inner: V,
}

/// The arguments of the reverse of a step, of one register of units.
#[derive(Clone, Copy)]
pub(crate) struct ReverseStep<V> {
    /// The values that [`Cell::forward`] left in place of the gates.
    pub(crate) gates: [V; MAX_GATES],
    pub(crate) before: Before<V>,
    /// The state c after the step; zero for a cell that has none.
    pub(crate) c: V,
    /// The recurrent dropout's mask, or one.
    pub(crate) mask: V,
    pub(crate) grad: GradAfter<V>,
}

/// Gradients that leave a step.
#[derive(Clone, Copy)]
pub(crate) struct GradBefore<V> {
    /// δ: of the gates' pre-activations.
    pub(crate) delta: [V; MAX_GATES],
    /// The gradient of `h_{t-1}`, by other ways than the products.
    pub(crate) h: V,
    /// The gradient of `c_{t-1}`.
    pub(crate) c: V,
    /// The inner value again, for the gradient of the weights that it feeds.
    pub(crate) inner: V,
}

/// A recurrent cell: the pointwise part of a step, forward and backward.
///
/// A *simple* cell has one gate, and its state is a function of that: `h_t = f(z)`. Its activation
/// is applied in the registers of the product. Any other cell gets the gates of a row after the
/// products, a register of units at a time, and leaves in their place what the backward pass needs.
pub(crate) trait Cell: 'static {
    /// A simple cell's activation; else [`Identity`](crate::simd::math::Identity).
    type InTile: Activation;
    /// Whether it is a simple cell.
    const IS_SIMPLE: bool = false;
    /// Whether there is a second state, c.
    const HAS_C: bool = false;
    /// Whether `h_{t-1}` takes part in a step by other ways than the products.
    const HAS_DIRECT: bool = false;
    /// Its gates.
    const GATE_BLOCKS: &'static [GateBlock];
    /// How many they are.
    const GATES: usize = count_gates(Self::GATE_BLOCKS);

    /// A step: `gates` holds pre-activations, and then what is kept.
    fn forward<V: Vector>(gates: &mut [V; MAX_GATES], before: Before<V>) -> After<V> {
        let _ = gates;
        After { h: before.h, c: before.c }
    }

    /// Its gradients.
    fn backward<V: Vector>(ReverseStep { before, grad, .. }: ReverseStep<V>) -> GradBefore<V> {
        GradBefore { delta: [grad.h; MAX_GATES], h: grad.h, c: grad.c, inner: before.h }
    }

    /// `h_t`, after the gates that the inner value feeds have got their product.
    fn forward_inner<V: Vector>(gates: &mut [V; MAX_GATES], h: V) -> V {
        let _ = gates;
        h
    }

    /// δ of the gate that the inner value feeds.
    fn inner_delta<V: Vector>(gates: &[V; MAX_GATES], grad_h: V) -> V {
        let _ = gates;
        grad_h
    }
}

const fn count_gates(gate_blocks: &[GateBlock]) -> usize {
    let (mut index, mut sum) = (0, 0);
    while index < gate_blocks.len() {
        if let WeightRows::Gates { count, .. } = gate_blocks[index].rows {
            sum += count;
        }
        index += 1;
    }
    sum
}

/// A kind of vector that weights multiply at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperandKind {
    /// The input, `(I,)`.
    Input,
    /// The state before the step, `(P,)`.
    State,
    /// The inner value of the step, `(H,)`.
    Inner,
}

impl OperandKind {
    pub(crate) const ALL: [Self; 3] = [Self::Input, Self::State, Self::Inner];

    /// The number of elements of such a vector.
    pub(crate) fn len(self, dims: &SequenceDims) -> usize {
        [dims.input_size, dims.output_size, dims.hidden_size][self as usize]
    }
}

/// A gate block at its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ColumnRange {
    pub(crate) rows: WeightRows,
    /// Its first column among all gates of a row.
    pub(crate) at: usize,
    pub(crate) len: usize,
    /// Where its panels begin in packed weights.
    pub(crate) packed: usize,
    /// Where its panels begin among the packed δ of a sample.
    pub(crate) packed_delta: usize,
    pub(crate) input: bool,
    pub(crate) source: Source,
    /// I, or 0 if the input does not feed it.
    pub(crate) inputs: usize,
    /// Columns of the other matrix that feeds it.
    pub(crate) sources: usize,
}

impl ColumnRange {
    /// Elements that feed a column: the bias, the inputs, the others.
    pub(crate) fn depth(&self) -> usize {
        1 + self.inputs + self.sources
    }

    /// Whether such vectors feed it.
    pub(crate) fn reads(&self, kind: OperandKind) -> bool {
        match kind {
            OperandKind::Input => self.input,
            OperandKind::State => self.source == Source::State,
            OperandKind::Inner => self.source == Source::Inner,
        }
    }
}

/// The columns `at..at + len` of a row of δ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// The places of everything for a cell of certain sizes in registers of a certain width.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WeightLayout {
    columns: [ColumnRange; 3],
    count: usize,
    /// Elements of a row of gates, A·H.
    pub(crate) gates: usize,
    /// Elements of a row of δ: gates and the projection's.
    pub(crate) deltas: usize,
    /// Elements of packed weights.
    pub(crate) packed_len: usize,
    /// Elements of a sample's δ in panels.
    pub(crate) packed_delta_len: usize,
    operands: [Operand; 3],
    /// P, or 0: columns of h that a projection makes.
    pub(crate) projection: usize,
    /// Whether the cell is a simple one.
    pub(crate) is_simple: bool,
}

impl WeightLayout {
    pub(crate) fn new<V: Vector, C: Cell>(dims: &SequenceDims) -> Self {
        let count = C::GATE_BLOCKS.len();
        let mut layout = Self { count, is_simple: C::IS_SIMPLE, ..Self::default() };
        for (index, GateBlock { rows, input, source }) in C::GATE_BLOCKS.iter().enumerate() {
            let len = match rows {
                WeightRows::Gates { count, .. } => count * dims.hidden_size,
                WeightRows::Projection => dims.output_size,
            };
            let columns = ColumnRange {
                rows: *rows,
                at: layout.deltas,
                len,
                packed: layout.packed_len,
                packed_delta: layout.packed_delta_len,
                input: *input,
                source: *source,
                inputs: if *input { dims.input_size } else { 0 },
                sources: match source {
                    Source::Nothing => 0,
                    Source::State => dims.output_size,
                    Source::Inner => dims.hidden_size,
                },
            };
            let padded = Panels::<V>::new(len).padded();
            match rows {
                WeightRows::Gates { .. } => layout.gates += len,
                WeightRows::Projection => layout.projection = len,
            }
            layout.deltas += len;
            layout.packed_delta_len += padded;
            layout.packed_len += padded * columns.depth();
            for kind in OperandKind::ALL.into_iter().filter(|kind| columns.reads(*kind)) {
                let operand = &mut layout.operands[kind as usize];
                if operand.len == 0 {
                    operand.at = columns.at;
                }
                operand.len += len;
            }
            layout.columns[index] = columns;
        }
        layout
    }

    /// Its gate blocks.
    #[inline(always)]
    pub(crate) fn columns(&self) -> &[ColumnRange] {
        &self.columns[..self.count]
    }

    /// The columns of δ that such vectors feed.
    #[inline(always)]
    pub(crate) fn operand(&self, kind: OperandKind) -> Operand {
        self.operands[kind as usize]
    }

    /// Whether a second product follows in a step.
    pub(crate) fn has_inner(&self) -> bool {
        self.operand(OperandKind::Inner).len > 0
    }
}
