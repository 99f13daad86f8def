//! What a cell plugs into the recurrence.
//!
//! The passes know products; a [`Cell`] knows what a unit does with them. Its pre-activations
//! ("gates") lie in sections of columns that are fed alike: by the input, by the state before, or by
//! a middle value of this very step. docs/new-cell.md walks through adding one.

use crate::gemm::layout::Panels;
use crate::simd::math::Activation;
use crate::simd::vector::Vector;
use crate::SequenceDims;

/// Gates that a cell may have.
pub(crate) const MAX_GATES: usize = 4;

/// What feeds a section besides the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing.
    Nothing,
    /// The state before the step.
    State,
    /// What [`Cell::forward`] returned as the state: a second product in the same step.
    Middle,
}

/// Which rows of the weights a section has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// `count` gates from gate `first` on, in the order of the weights' rows.
    Gates { first: usize, count: usize },
    /// The rows of the projection `W_hr`.
    Projection,
}

/// Gates that are fed alike and lie side by side. Those that the input feeds come together, as do
/// those that the state feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) rows: Rows,
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
    /// `h_t`, or the middle value if a second product follows.
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
    /// Of the middle value, if there is one.
    pub(crate) middle: V,
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
    /// The middle value again, for the gradient of the weights that it feeds.
    pub(crate) middle: V,
}

/// A recurrent cell: the pointwise part of a step, forward and backward.
///
/// A *simple* cell has one gate, and its state is a function of that: `h_t = f(z)`. Its activation
/// is applied in the registers of the product. Any other cell gets the gates of a row after the
/// products, a register of units at a time, and leaves in their place what the backward pass needs.
///
/// # Safety
/// All methods need what [`Vector`]'s need.
pub(crate) trait Cell: 'static {
    /// Of a simple cell; else [`Identity`](crate::simd::math::Identity).
    type InTile: Activation;
    /// Whether it is a simple cell.
    const IS_SIMPLE: bool = false;
    /// Whether there is a second state, c.
    const HAS_C: bool = false;
    /// Whether `h_{t-1}` takes part in a step by other ways than the products.
    const HAS_SHORTCUT: bool = false;
    /// Its gates.
    const SECTIONS: &'static [Section];
    /// How many they are.
    const GATES: usize = count_gates(Self::SECTIONS);

    /// A step: `gates` holds pre-activations, and then what is kept.
    unsafe fn forward<V: Vector>(gates: &mut [V; MAX_GATES], before: Before<V>) -> After<V> {
        let _ = gates;
        After { h: before.h, c: before.c }
    }

    /// Its gradients, from what `forward` kept and returned; `mask` is the recurrent dropout's.
    unsafe fn backward<V: Vector>(
        gates: &[V; MAX_GATES],
        before: Before<V>,
        c: V,
        mask: V,
        grad: GradAfter<V>,
    ) -> GradBefore<V> {
        let _ = (gates, c, mask);
        GradBefore { delta: [grad.h; MAX_GATES], h: grad.h, c: grad.c, middle: before.h }
    }

    /// `h_t`, after the gates that the middle value feeds have got their product.
    unsafe fn forward_middle<V: Vector>(gates: &mut [V; MAX_GATES], h: V) -> V {
        let _ = gates;
        h
    }

    /// δ of the gate that the middle value feeds.
    unsafe fn middle_delta<V: Vector>(gates: &[V; MAX_GATES], grad_h: V) -> V {
        let _ = gates;
        grad_h
    }
}

const fn count_gates(sections: &[Section]) -> usize {
    let (mut index, mut sum) = (0, 0);
    while index < sections.len() {
        if let Rows::Gates { count, .. } = sections[index].rows {
            sum += count;
        }
        index += 1;
    }
    sum
}

/// A section at its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub(crate) rows: Rows,
    /// Its first column among all gates of a row.
    pub(crate) at: usize,
    pub(crate) len: usize,
    /// Where its panels begin in packed weights.
    pub(crate) packed: usize,
    /// Where its panels begin among the δ of a sample.
    pub(crate) sample: usize,
    pub(crate) input: bool,
    pub(crate) source: Source,
    /// I, or 0 if the input does not feed it.
    pub(crate) inputs: usize,
    /// Columns of the other matrix that feeds it.
    pub(crate) sources: usize,
}

impl Columns {
    /// Numbers that feed a column: the bias, the inputs, the others.
    pub(crate) fn depth(&self) -> usize {
        1 + self.inputs + self.sources
    }
}

/// Columns `at..at + len` of a row of δ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fed {
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// Where everything lies for a cell of certain sizes in registers of a certain width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    columns: [Columns; 3],
    count: usize,
    /// Numbers of a row of gates, A·H.
    pub(crate) gates: usize,
    /// Numbers of a row of δ: gates and the projection's.
    pub(crate) deltas: usize,
    /// Elements of packed weights.
    pub(crate) packed_len: usize,
    /// Elements of a sample's δ in panels.
    pub(crate) sample_len: usize,
    pub(crate) input_fed: Fed,
    pub(crate) state_fed: Fed,
    pub(crate) middle_fed: Fed,
    /// P, or 0: columns of h that a projection makes.
    pub(crate) projection: usize,
    /// Whether the cell is a simple one.
    pub(crate) is_simple: bool,
}

impl Plan {
    pub(crate) fn new<V: Vector, C: Cell>(dims: &SequenceDims) -> Self {
        let SequenceDims { input_size, hidden_size, output_size, .. } = *dims;
        let empty = Columns {
            rows: Rows::Projection,
            at: 0,
            len: 0,
            packed: 0,
            sample: 0,
            input: false,
            source: Source::Nothing,
            inputs: 0,
            sources: 0,
        };
        let none = Fed::default();
        let mut plan = Self {
            columns: [empty; 3],
            count: C::SECTIONS.len(),
            gates: 0,
            deltas: 0,
            packed_len: 0,
            sample_len: 0,
            input_fed: none,
            state_fed: none,
            middle_fed: none,
            projection: 0,
            is_simple: C::IS_SIMPLE,
        };
        for (section, columns) in C::SECTIONS.iter().zip(&mut plan.columns) {
            let len = match section.rows {
                Rows::Gates { count, .. } => count * hidden_size,
                Rows::Projection => output_size,
            };
            *columns = Columns {
                rows: section.rows,
                at: plan.deltas,
                len,
                packed: plan.packed_len,
                sample: plan.sample_len,
                input: section.input,
                source: section.source,
                inputs: if section.input { input_size } else { 0 },
                sources: match section.source {
                    Source::Nothing => 0,
                    Source::State => output_size,
                    Source::Middle => hidden_size,
                },
            };
            let padded = Panels::<V>::new(len).padded();
            match section.rows {
                Rows::Gates { .. } => plan.gates += len,
                Rows::Projection => plan.projection = len,
            }
            plan.deltas += len;
            plan.sample_len += padded;
            plan.packed_len += padded * columns.depth();
            let extend = |fed: &mut Fed| {
                if fed.len == 0 {
                    fed.at = columns.at;
                }
                fed.len += len;
            };
            if section.input {
                extend(&mut plan.input_fed);
            }
            match section.source {
                Source::Nothing => {}
                Source::State => extend(&mut plan.state_fed),
                Source::Middle => extend(&mut plan.middle_fed),
            }
        }
        plan
    }

    /// Its sections.
    #[inline(always)]
    pub(crate) fn columns(&self) -> &[Columns] {
        &self.columns[..self.count]
    }

    /// Whether a second product follows in a step.
    pub(crate) fn has_middle(&self) -> bool {
        self.middle_fed.len > 0
    }
}
