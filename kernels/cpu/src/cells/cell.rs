//! What a cell plugs into the recurrence.
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

/// What feeds a gate block besides the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing.
    Nothing,
    /// The state before the step.
    State,
    /// What [`Cell::forward`] returned as the state: a second product in the same step.
    Inner,
}

/// Which rows of the weights a gate block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightRows {
    /// `count` gates from gate `first` on, in the order of the weights' rows.
    Gates { first: usize, count: usize },
    /// The rows of the projection `W_hr`.
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
    /// Of `h_t`.
    pub(crate) h: V,
    /// Of `c_t`.
    pub(crate) c: V,
    /// Of the inner value, if there is one.
    pub(crate) inner: V,
}

/// Gradients that leave a step.
#[derive(Clone, Copy)]
pub(crate) struct GradBefore<V> {
    /// δ: of the gates' pre-activations.
    pub(crate) delta: [V; MAX_GATES],
    /// Of `h_{t-1}`, by other ways than the products.
    pub(crate) h: V,
    /// Of `c_{t-1}`.
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
    /// Of a simple cell; else [`Identity`](crate::simd::math::Identity).
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

    /// Its gradients, from what `forward` kept and returned; `mask` is the recurrent dropout's.
    fn backward<V: Vector>(
        gates: &[V; MAX_GATES],
        before: Before<V>,
        c: V,
        mask: V,
        grad: GradAfter<V>,
    ) -> GradBefore<V> {
        let _ = (gates, c, mask);
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

/// A gate block at its place.
#[derive(Clone, Copy, Debug)]
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
}

/// ColumnRange `at..at + len` of a row of δ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// Where everything lies for a cell of certain sizes in registers of a certain width.
#[derive(Clone, Copy, Debug)]
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
    pub(crate) input_operand: Operand,
    pub(crate) state_operand: Operand,
    pub(crate) inner_operand: Operand,
    /// P, or 0: columns of h that a projection makes.
    pub(crate) projection: usize,
    /// Whether the cell is a simple one.
    pub(crate) is_simple: bool,
}

impl WeightLayout {
    pub(crate) fn new<V: Vector, C: Cell>(dims: &SequenceDims) -> Self {
        let SequenceDims { input_size, hidden_size, output_size, .. } = *dims;
        let empty = ColumnRange {
            rows: WeightRows::Projection,
            at: 0,
            len: 0,
            packed: 0,
            packed_delta: 0,
            input: false,
            source: Source::Nothing,
            inputs: 0,
            sources: 0,
        };
        let none = Operand::default();
        let mut layout = Self {
            columns: [empty; 3],
            count: C::GATE_BLOCKS.len(),
            gates: 0,
            deltas: 0,
            packed_len: 0,
            packed_delta_len: 0,
            input_operand: none,
            state_operand: none,
            inner_operand: none,
            projection: 0,
            is_simple: C::IS_SIMPLE,
        };
        for (gate_block, columns) in C::GATE_BLOCKS.iter().zip(&mut layout.columns) {
            let len = match gate_block.rows {
                WeightRows::Gates { count, .. } => count * hidden_size,
                WeightRows::Projection => output_size,
            };
            *columns = ColumnRange {
                rows: gate_block.rows,
                at: layout.deltas,
                len,
                packed: layout.packed_len,
                packed_delta: layout.packed_delta_len,
                input: gate_block.input,
                source: gate_block.source,
                inputs: if gate_block.input { input_size } else { 0 },
                sources: match gate_block.source {
                    Source::Nothing => 0,
                    Source::State => output_size,
                    Source::Inner => hidden_size,
                },
            };
            let padded = Panels::<V>::new(len).padded();
            match gate_block.rows {
                WeightRows::Gates { .. } => layout.gates += len,
                WeightRows::Projection => layout.projection = len,
            }
            layout.deltas += len;
            layout.packed_delta_len += padded;
            layout.packed_len += padded * columns.depth();
            let extend = |operand: &mut Operand| {
                if operand.len == 0 {
                    operand.at = columns.at;
                }
                operand.len += len;
            };
            if gate_block.input {
                extend(&mut layout.input_operand);
            }
            match gate_block.source {
                Source::Nothing => {}
                Source::State => extend(&mut layout.state_operand),
                Source::Inner => extend(&mut layout.inner_operand),
            }
        }
        layout
    }

    /// Its gate blocks.
    #[inline(always)]
    pub(crate) fn columns(&self) -> &[ColumnRange] {
        &self.columns[..self.count]
    }

    /// Whether a second product follows in a step.
    pub(crate) fn has_inner(&self) -> bool {
        self.inner_operand.len > 0
    }
}
