//! A layer with packed weights: whole batches, or one row step by step in memory that is there already.

use crate::cells::cell::WeightLayout;
use crate::forward::{inner_len, Forward, Initial, Inputs, PassInput, Ring, Spans};
use crate::kernels::{CellKind, Float, Kernels};
use crate::schedule::{forward, ForwardOutput, RawCall, Save};
use crate::threads::ALONE;
use crate::view::{View, ViewMut};
use crate::weights::{pack_weights, WeightSlices};
use crate::workspace::Buffer;
use crate::{Isa, SequenceDims};

/// Steps whose inputs are multiplied with their weights together: these weights are then read once for all of them.
const STEPS_AHEAD: usize = 8;

/// The cell and the sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// The cell.
    pub cell: CellKind,
    /// The number of features of an input, I.
    pub input_size: usize,
    /// The number of units, H.
    pub hidden_size: usize,
    /// The number of features of an output in one direction, P: H unless the LSTM is projected.
    pub output_size: usize,
}

impl LayerShape {
    /// A layer without a projection.
    pub fn new(cell: CellKind, input_size: usize, hidden_size: usize) -> Self {
        Self { cell, input_size, hidden_size, output_size: hidden_size }
    }

    /// The sizes of a batch of rows of so many steps.
    fn dims(&self, batch_size: usize, seq_len: usize) -> SequenceDims {
        let Self { input_size, hidden_size, output_size, .. } = *self;
        SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size }
    }
}

impl CellKind {
    /// The number of rows of the weights for each unit, G.
    pub fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu | Self::Dense => 1,
            Self::MinimalGru => 2,
            Self::Gru | Self::GruResetBefore => 3,
            Self::Lstm | Self::ProjectedLstm => 4,
        }
    }
}

/// A layer with packed weights, in one direction or in both.
pub(super) struct Layer<E> {
    pub(super) shape: LayerShape,
    kernels: Kernels<E>,
    /// The layout for one row and one step.
    layout: WeightLayout,
    directions: Vec<Buffer<E>>,
}

/// The inputs of a layer in its next steps.
#[derive(Clone, Copy)]
pub(super) enum StepInputs<'a, E> {
    /// `(T, I)`.
    Given(&'a [E]),
    /// The state of the layer below, of one step: where it begins in both places for states, `(I,)`.
    Below(usize),
}

/// Where the states of a layer lie in those of a stream, and which of the two places for them is read.
#[derive(Clone, Copy)]
pub(super) struct StatePlaces {
    /// The first element of h `(P,)`, and of c `(H,)`.
    pub(super) at: [usize; 2],
    /// The number of elements of the states of all layers.
    pub(super) len: usize,
    /// Whether the states before the step are in the second place.
    pub(super) reads_second: bool,
}

impl<E: Float> Layer<E> {
    /// Packs the weights of each direction.
    ///
    /// # Panics
    /// When a slice's length does not fit.
    pub(super) fn new(isa: Isa, shape: LayerShape, directions: &[WeightSlices<E>]) -> Self {
        let LayerShape { cell, input_size, hidden_size, output_size } = shape;
        assert!(input_size > 0 && hidden_size > 0 && output_size > 0, "a size is 0: {shape:?}");
        let is_projected = cell == CellKind::ProjectedLstm;
        assert!(is_projected || output_size == hidden_size, "only an LSTM is projected: {shape:?}");
        assert!(matches!(directions.len(), 1 | 2), "a layer has 1 or 2 directions");
        let rows = cell.gates() * hidden_size;
        let of_state = if cell == CellKind::Dense { 0 } else { rows * output_size };
        let of_projection = if is_projected { output_size * hidden_size } else { 0 };
        for weights in directions {
            let [w_ih, w_hh, b_ih, b_hh, w_hr] = weights.tensors;
            assert_eq!(w_ih.len(), rows * input_size, "w_ih of {shape:?}");
            assert_eq!(w_hh.len(), of_state, "w_hh of {shape:?}");
            assert_eq!(w_hr.len(), of_projection, "w_hr of {shape:?}");
            assert!([b_ih, b_hh].iter().all(|bias| bias.is_empty() || bias.len() == rows));
        }
        let kernels = E::kernels(isa, cell);
        let dims = shape.dims(1, 1);
        let directions =
            directions.iter().map(|weights| pack_weights(&kernels, &dims, *weights)).collect();
        Self { shape, kernels, layout: kernels.layout(&dims), directions }
    }

    /// The number of features of an output, D·P.
    pub(super) fn output_features(&self) -> usize {
        self.directions.len() * self.shape.output_size
    }

    /// D.
    pub(super) fn directions(&self) -> usize {
        self.directions.len()
    }

    /// The number of elements of the states of a row in one direction: P, and H for c.
    pub(super) fn state_len(&self) -> [usize; 2] {
        let LayerShape { hidden_size, output_size, .. } = self.shape;
        [output_size, if self.kernels.has_c { hidden_size } else { 0 }]
    }

    /// The number of elements of scratch for one row: gates and inner values.
    pub(super) fn scratch_len(&self) -> usize {
        STEPS_AHEAD * self.layout.gates + inner_len(&self.shape.dims(1, 1), &self.layout)
    }

    /// A batch from zero states; see [`forward`].
    ///
    /// - `x`: `(B, T, I)`
    pub(super) fn run(
        &self,
        x: &[E],
        [batch_size, seq_len]: [usize; 2],
        lengths: Option<&[usize]>,
        wants_outputs: bool,
    ) -> ForwardOutput<E> {
        let weights: Vec<&[E]> = self.directions.iter().map(|packed| &packed[..]).collect();
        let dims = self.shape.dims(batch_size, seq_len);
        let call = RawCall { lengths, ..RawCall::new(dims, x, &weights) };
        forward(&self.kernels, call, wants_outputs, Save::None)
    }

    /// One row of so many steps.
    fn pass_input(&self, steps: usize, x: View<E, 2>, initial: Initial<E>) -> PassInput<'_, E> {
        let spans = Spans { lengths: None, seq_len: steps, reverse: false };
        let dims = self.shape.dims(1, steps);
        let inputs = Inputs::Rows(x);
        PassInput { dims, layout: self.layout, inputs, initial, mask: None, spans, crew: &ALONE }
    }

    /// Steps of one row, forward in time; allocates nothing. Each step reads the states that the one before
    /// wrote, from one of the two places to the other.
    ///
    /// - `states`: two times the states of all layers
    /// - `scratch`: [`scratch_len`](Self::scratch_len) elements
    ///
    /// # Panics
    /// When a slice's length does not fit.
    pub(super) fn steps(
        &self,
        inputs: StepInputs<E>,
        states: &mut [E],
        places: StatePlaces,
        scratch: &mut [E],
    ) {
        let LayerShape { input_size, .. } = self.shape;
        let steps = match inputs {
            StepInputs::Given(x) => {
                assert!(!x.is_empty() && x.len().is_multiple_of(input_size), "inputs of the steps");
                x.len() / input_size
            }
            StepInputs::Below(at) => {
                assert!(at + input_size <= states.len(), "inputs of the steps");
                1
            }
        };
        let [h_len, c_len] = self.state_len();
        let StatePlaces { at: [h_at, c_at], len, reads_second } = places;
        assert!(states.len() == 2 * len && h_at + h_len <= len && c_at + c_len <= len);
        assert!(scratch.len() >= self.scratch_len());
        // The first step writes where the states before it are not.
        let (from, to, stride) =
            if reads_second { (len, 0, len as isize) } else { (0, len, -(len as isize)) };
        let (gates, inner) = scratch.split_at_mut(STEPS_AHEAD * self.layout.gates);
        // A simple cell has no gates to add the state's product to.
        let is_ahead = steps > 1 && !self.kernels.is_simple;
        let ahead = if is_ahead { STEPS_AHEAD.min(steps) } else { 0 };
        let states = ViewMut::with_strides(states, (0, []));
        // SAFETY: the states are `2 · len` elements, as was checked, and all these places lie within them.
        let [h, c, h_before, c_before] = unsafe {
            [to + h_at, to + c_at, from + h_at, from + c_at].map(|at| states.offset(at as isize))
        };
        let x = match inputs {
            StepInputs::Given(x) => View::with_strides(x, (0, [0, input_size as isize])),
            // SAFETY: these inputs lie within the states, as was checked.
            StepInputs::Below(at) => unsafe {
                states.offset(at as isize).as_view().reshape([0, input_size as isize])
            },
        };
        let has_c = self.kernels.has_c;
        let initial = Initial {
            h: Some(h_before.as_view().reshape([h_len as isize])),
            c: has_c.then(|| c_before.as_view().reshape([c_len as isize])),
        };
        let args = Forward {
            input: self.pass_input(steps, x, initial),
            steps,
            offset: 0,
            ahead,
            weights: View::new(&self.directions[0]),
            h: Ring::new(h.reshape([0, stride]), 2),
            c: Ring::new(c.reshape([0, stride]), 2),
            gates: Ring::new(
                ViewMut::with_strides(gates, (0, [0, self.layout.gates as isize])),
                ahead.max(1),
            ),
            checkpoints: None,
            last_h: None,
            last_c: None,
        };
        // SAFETY: `kernels` exist only for instruction sets that the CPU has. The lengths were checked: x has
        // `steps` rows of inputs, gates `STEPS_AHEAD` rows, the rest of the scratch an inner value; step t writes
        // the place of the states that step t - 1 did not, and reads the other. All are borrowed for this call.
        unsafe { (self.kernels.forward_rows)(&args, 0, 1, ViewMut::new(inner)) }
    }

    /// A dense layer's outputs for one row; allocates nothing.
    ///
    /// - `x`: `(I,)`, `y`: `(O,)`
    ///
    /// # Panics
    /// When a slice's length does not fit, and when the layer has a state.
    pub(super) fn dense(&self, x: &[E], y: &mut [E]) {
        let LayerShape { cell, input_size, output_size, .. } = self.shape;
        assert!(cell == CellKind::Dense && x.len() == input_size && y.len() == output_size);
        let nothing = ViewMut::with_strides(&mut [], (0, [0, 0]));
        let args = Forward {
            input: self.pass_input(
                1,
                View::with_strides(x, (0, [0, 0])),
                Initial { h: None, c: None },
            ),
            steps: 1,
            offset: 0,
            ahead: 0,
            weights: View::new(&self.directions[0]),
            h: Ring::new(ViewMut::with_strides(y, (0, [0, 0])), 1),
            c: Ring::new(nothing, 1),
            gates: Ring::new(nothing, 1),
            checkpoints: None,
            last_h: None,
            last_c: None,
        };
        // SAFETY: as in `steps`; a dense layer is a simple cell, which has neither gates nor inner values.
        unsafe { (self.kernels.forward_rows)(&args, 0, 1, ViewMut::new(&mut [])) }
    }
}
