//! A layer with its arguments, run forward and backward by the crate's public functions.

use candle_rnn_kernels::{
    backward, forward, pack_transposed, pack_weights, unpack_gradients, BackwardCall, CellKind,
    Isa, Number, RawCall, Save, SequenceDims, Wanted, WeightSlices, Window,
};

use crate::values::Values;

pub(crate) const CELLS: [CellKind; 8] = [
    CellKind::Dense,
    CellKind::Tanh,
    CellKind::Relu,
    CellKind::Gru,
    CellKind::GruResetBefore,
    CellKind::Lstm,
    CellKind::ProjectedLstm,
    CellKind::MinimalGru,
];

/// Gates, whether there is a second bias, and whether there is c.
fn shape(cell: CellKind) -> (usize, bool, bool) {
    match cell {
        CellKind::Tanh | CellKind::Relu | CellKind::Dense => (1, false, false),
        CellKind::Gru | CellKind::GruResetBefore => (3, true, false),
        CellKind::Lstm | CellKind::ProjectedLstm => (4, true, true),
        CellKind::MinimalGru => (2, true, false),
    }
}

/// A layer, its arguments, and the gradients that reach it: one vector each.
#[derive(Clone)]
pub(crate) struct Case<E> {
    pub(crate) cell: CellKind,
    pub(crate) dims: SequenceDims,
    pub(crate) directions: usize,
    pub(crate) time_major: bool,
    pub(crate) lengths: Option<Vec<usize>>,
    pub(crate) mask: Option<Vec<E>>,
    /// The rows of x, then a table, that are read.
    pub(crate) ids: Option<Vec<u32>>,
    pub(crate) windows: Vec<Window>,
    /// `[x, initial, (w_ih, w_hh, biases and projection) of every direction]`.
    pub(crate) arguments: Vec<Vec<E>>,
    pub(crate) grad_outputs: Vec<E>,
    pub(crate) grad_last: Vec<E>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome<E> {
    pub(crate) outputs: Vec<E>,
    pub(crate) last: Vec<E>,
    /// By argument.
    pub(crate) grads: Vec<Vec<E>>,
}

impl<E: Number> Case<E> {
    pub(crate) fn new(cell: CellKind, [b, t, i, h]: [usize; 4], directions: usize) -> Self {
        let (gates, has_b_hh, has_c) = shape(cell);
        let p = if cell == CellKind::ProjectedLstm { h.div_ceil(2) } else { h };
        let values = &mut Values(7);
        let states = directions * b * (p + if has_c { h } else { 0 });
        let scale = 1. / (h as f64).sqrt();
        let mut arguments = vec![values.take(b * t * i, 1.), values.take(states, 0.5)];
        for _ in 0..directions {
            let biases = gates * h * if has_b_hh { 2 } else { 1 };
            let w_hr = if cell == CellKind::ProjectedLstm { p * h } else { 0 };
            let w_hh = if cell == CellKind::Dense { 0 } else { gates * h * p };
            for len in [gates * h * i, w_hh, biases + w_hr] {
                arguments.push(values.take(len, scale));
            }
        }
        Self {
            cell,
            dims: SequenceDims {
                batch_size: b,
                seq_len: t,
                input_size: i,
                hidden_size: h,
                output_size: p,
            },
            directions,
            time_major: false,
            lengths: None,
            mask: None,
            ids: None,
            windows: vec![Window { start: 0, losses_from: 0, end: t }],
            grad_outputs: values.take(b * t * directions * p, 1.),
            grad_last: values.take(states, 1.),
            arguments,
        }
    }

    fn gates(&self) -> usize {
        shape(self.cell).0 * self.dims.hidden_size
    }

    fn weights(&self, direction: usize) -> WeightSlices<'_, E> {
        let [w_ih, w_hh, more] = &self.arguments[2 + 3 * direction..][..3] else { unreachable!() };
        WeightSlices::new(w_ih, w_hh, more, self.gates())
    }

    pub(crate) fn run(&self, isa: Isa, save: Save) -> Outcome<E> {
        let kernels = E::kernels(isa, self.cell);
        let directions = 0..self.directions;
        let packed: Vec<_> = directions
            .clone()
            .map(|direction| pack_weights(&kernels, &self.dims, self.weights(direction)))
            .collect();
        let packed: Vec<&[E]> = packed.iter().map(|packed| &packed[..]).collect();
        let input = RawCall {
            time_major: self.time_major,
            initial: Some(&self.arguments[1]),
            lengths: self.lengths.as_deref(),
            mask: self.mask.as_deref(),
            ids: self.ids.as_deref(),
            ..RawCall::new(self.dims, &self.arguments[0], &packed)
        };
        let output = forward(&kernels, input, true, save);
        let outputs = output.outputs.unwrap();
        let transposed: Vec<_> = directions
            .map(|direction| pack_transposed(&kernels, &self.dims, self.weights(direction)))
            .collect();
        let fed: Vec<_> = transposed.iter().collect();
        let call = BackwardCall {
            input,
            outputs: (save == Save::All).then_some(&outputs[..]),
            saved: &output.saved,
            windows: &self.windows,
            fed: &fed,
            grad_outputs: Some(&self.grad_outputs),
            grad_last: Some(&self.grad_last),
        };
        let wanted = Wanted { weights: true, x: true, initial: true };
        let gradients = backward(&kernels, call, wanted);
        let mut grads = vec![gradients.x.unwrap(), gradients.initial.unwrap()];
        for (direction, packed) in gradients.weights.unwrap().iter().enumerate() {
            let more = self.arguments[4 + 3 * direction].len();
            grads.extend(unpack_gradients(&kernels, &self.dims, self.gates(), more, packed));
        }
        Outcome { outputs, last: output.last, grads }
    }

    /// `Σ grad_outputs · outputs + Σ grad_last · last`.
    pub(crate) fn loss(&self, isa: Isa) -> f64 {
        let outcome = self.run(isa, Save::All);
        let dot = |a: &[E], b: &[E]| -> f64 {
            a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
        };
        dot(&self.grad_outputs, &outcome.outputs) + dot(&self.grad_last, &outcome.last)
    }
}

/// The largest difference by the largest magnitude; NaN fails a comparison with it.
pub(crate) fn distance<A: Number, B: Number>(a: &[A], b: &[B]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-30, |largest: f64, b| largest.max(b.to_f64().abs()));
    a.iter().zip(b).fold(0., |sum: f64, (a, b)| {
        let difference = (a.to_f64() - b.to_f64()).abs() / largest;
        if difference > sum || difference.is_nan() {
            difference
        } else {
            sum
        }
    })
}
