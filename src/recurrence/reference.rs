//! The recurrence in plain loops: its definition, and the oracle of every other form.
//!
//! Everything is `f64`, and nothing is fast: this is never a production path.

use super::{Cell, SequenceDims};
use crate::bptt::{Truncation, Window};

/// The arguments of a recurrence in one direction, as [`run_layer`](super::run_layer) names them.
/// Tensors that are not there are empty.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// B, T, I, H and P.
    pub dims: SequenceDims,
    /// The cell.
    pub cell: Cell,
    /// `(B, T, I)`.
    pub x: Vec<f64>,
    /// `(G·H, I)`.
    pub w_ih: Vec<f64>,
    /// `(G·H, P)`.
    pub w_hh: Vec<f64>,
    /// `(G·H,)`.
    pub b_ih: Vec<f64>,
    /// `(G·H,)`, or empty.
    pub b_hh: Vec<f64>,
    /// `(P, H)`, or empty.
    pub w_hr: Vec<f64>,
    /// `(B, P)`.
    pub h_0: Vec<f64>,
    /// `(B, H)`, or empty.
    pub c_0: Vec<f64>,
    /// `(B,)`, or empty: all rows have T steps.
    pub lengths: Vec<usize>,
    /// Whether steps run backwards in time.
    pub reverse: bool,
    /// `(B, P)`: the recurrent dropout's mask; or empty.
    pub mask: Vec<f64>,
}

/// The gradients of a loss by the arguments, each of its argument's shape.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct SequenceGradients {
    pub x: Vec<f64>,
    pub w_ih: Vec<f64>,
    pub w_hh: Vec<f64>,
    pub b_ih: Vec<f64>,
    pub b_hh: Vec<f64>,
    pub w_hr: Vec<f64>,
    pub h_0: Vec<f64>,
    pub c_0: Vec<f64>,
}

/// States of a sequence.
#[derive(Clone, Debug)]
pub struct SequenceStates {
    /// `(B, T, P)`, in the order of time; zero behind a row's end.
    pub outputs: Vec<f64>,
    /// `(B, P)`.
    pub h_n: Vec<f64>,
    /// `(B, H)`, or empty.
    pub c_n: Vec<f64>,
}

/// Gradients of a loss by the states, of the same shapes; [`SequenceGradients`] follow from them.
pub type StateGradients = SequenceStates;

/// What a step leaves behind for its reverse.
struct Step {
    /// The index of the row's step in time.
    t: usize,
    /// The state before, and as the products read it.
    h: Vec<f64>,
    h_in: Vec<f64>,
    c: Vec<f64>,
    /// `W_hh h_in + b_hh`, where only that goes through a gate.
    from_h: Vec<f64>,
    /// After their functions, in the weights' order.
    gates: Vec<f64>,
    /// What a second product reads.
    middle: Vec<f64>,
    /// States after it.
    h_t: Vec<f64>,
    c_t: Vec<f64>,
}

fn sigmoid(z: f64) -> f64 {
    1. / (1. + (-z).exp())
}

/// `W v` for `W` `(rows, v.len())`.
fn product(w: &[f64], v: &[f64]) -> Vec<f64> {
    w.chunks_exact(v.len()).map(|row| row.iter().zip(v).map(|(w, v)| w * v).sum()).collect()
}

/// `out += Wᵀ d`.
fn add_transposed(out: &mut [f64], w: &[f64], d: &[f64]) {
    for (row, d) in w.chunks_exact(out.len()).zip(d) {
        out.iter_mut().zip(row).for_each(|(out, w)| *out += w * d);
    }
}

/// `out += d vᵀ`.
fn add_outer(out: &mut [f64], d: &[f64], v: &[f64]) {
    for (row, d) in out.chunks_exact_mut(v.len()).zip(d) {
        row.iter_mut().zip(v).for_each(|(out, v)| *out += d * v);
    }
}

fn add(out: &mut [f64], terms: &[f64]) {
    out.iter_mut().zip(terms).for_each(|(out, term)| *out += term);
}

impl Sequence {
    /// The states of all steps.
    pub fn forward(&self) -> SequenceStates {
        let SequenceDims { batch_size, seq_len, output_size, .. } = self.dims;
        let mut states = SequenceStates {
            outputs: vec![0.; batch_size * seq_len * output_size],
            h_n: Vec::new(),
            c_n: Vec::new(),
        };
        for row in 0..batch_size {
            let steps = self.steps(row);
            for step in &steps {
                states.outputs[(row * seq_len + step.t) * output_size..][..output_size]
                    .copy_from_slice(&step.h_t);
            }
            let (h, c) = self.initial(row);
            states.h_n.extend(steps.last().map_or(h, |step| step.h_t.clone()));
            states.c_n.extend(steps.last().map_or(c, |step| step.c_t.clone()));
        }
        states
    }

    /// The gradients of a loss with the given gradients by the states, cut as `truncation` says: each
    /// window by itself, one after the other, counted in the order of the recurrence; the loss of a
    /// final state belongs to the window that the row ends in.
    pub fn backward(&self, grad: &StateGradients, truncation: Truncation) -> SequenceGradients {
        let like = |values: &[f64]| vec![0.; values.len()];
        let mut grads = SequenceGradients {
            x: like(&self.x),
            w_ih: like(&self.w_ih),
            w_hh: like(&self.w_hh),
            b_ih: like(&self.b_ih),
            b_hh: like(&self.b_hh),
            w_hr: like(&self.w_hr),
            h_0: like(&self.h_0),
            c_0: like(&self.c_0),
        };
        for window in truncation.windows(self.dims.seq_len) {
            for row in 0..self.dims.batch_size {
                self.add_window(grad, window, row, &mut grads);
            }
        }
        grads
    }

    fn initial(&self, row: usize) -> (Vec<f64>, Vec<f64>) {
        let SequenceDims { hidden_size, output_size, .. } = self.dims;
        let h = self.h_0[row * output_size..][..output_size].to_vec();
        match self.cell.has_c() {
            true => (h, self.c_0[row * hidden_size..][..hidden_size].to_vec()),
            false => (h, Vec::new()),
        }
    }

    /// The row's first step in the order of the recurrence, and its number of steps.
    fn span(&self, row: usize) -> (usize, usize) {
        let seq_len = self.dims.seq_len;
        let len = self.lengths.get(row).copied().unwrap_or(seq_len);
        (if self.reverse { seq_len - len } else { 0 }, len)
    }

    /// The steps of a row, in the order of the recurrence.
    fn steps(&self, row: usize) -> Vec<Step> {
        let SequenceDims { seq_len, input_size, output_size, .. } = self.dims;
        let (mut h, mut c) = self.initial(row);
        let (_, len) = self.span(row);
        (0..len)
            .map(|step| {
                let t = if self.reverse { len - 1 - step } else { step };
                let x_t = &self.x[(row * seq_len + t) * input_size..][..input_size];
                let mut h_in = h.clone();
                if let Some(mask) = self.mask.get(row * output_size..(row + 1) * output_size) {
                    h_in.iter_mut().zip(mask).for_each(|(h, mask)| *h *= mask);
                }
                let step = self.step(t, x_t, h.clone(), h_in, c.clone());
                h.clone_from(&step.h_t);
                c.clone_from(&step.c_t);
                step
            })
            .collect()
    }

    /// A step: the equations of [`Cell`].
    fn step(&self, t: usize, x_t: &[f64], h: Vec<f64>, h_in: Vec<f64>, c: Vec<f64>) -> Step {
        let units = self.dims.hidden_size;
        let mut from_x = product(&self.w_ih, x_t);
        add(&mut from_x, &self.b_ih);
        let mut from_h = product(&self.w_hh, &h_in);
        add(&mut from_h, &self.b_hh);
        let mut gates = from_x;
        let both = |gates: &mut Vec<f64>, gate: usize, f: fn(f64) -> f64| {
            for unit in gate * units..(gate + 1) * units {
                gates[unit] = f(gates[unit] + from_h[unit]);
            }
        };
        let (mut middle, mut c_t) = (Vec::new(), Vec::new());
        let h_t = match self.cell {
            Cell::Tanh | Cell::Relu => {
                // Not `max`, which loses NaN.
                let relu = |z: f64| if z <= 0. { 0. } else { z };
                both(&mut gates, 0, if self.cell == Cell::Tanh { f64::tanh } else { relu });
                gates.clone()
            }
            Cell::Gru => {
                both(&mut gates, 0, sigmoid);
                both(&mut gates, 1, sigmoid);
                for unit in 0..units {
                    let n = gates[2 * units + unit] + gates[unit] * from_h[2 * units + unit];
                    gates[2 * units + unit] = n.tanh();
                }
                self.mix(&gates, 1, 2, &h, true)
            }
            Cell::GruResetBefore => {
                both(&mut gates, 0, sigmoid);
                both(&mut gates, 1, sigmoid);
                middle = (0..units).map(|unit| gates[unit] * h_in[unit]).collect();
                let mut from_middle = product(&self.w_hh[2 * units * units..], &middle);
                add(&mut from_middle, self.b_hh.get(2 * units..).unwrap_or(&[]));
                for unit in 0..units {
                    gates[2 * units + unit] = (gates[2 * units + unit] + from_middle[unit]).tanh();
                }
                self.mix(&gates, 1, 2, &h, true)
            }
            Cell::Lstm => {
                for (gate, f) in [sigmoid, sigmoid, f64::tanh, sigmoid].into_iter().enumerate() {
                    both(&mut gates, gate, f);
                }
                let (i, f) = (&gates[..units], &gates[units..2 * units]);
                let g = &gates[2 * units..3 * units];
                c_t = (0..units).map(|unit| f[unit] * c[unit] + i[unit] * g[unit]).collect();
                middle =
                    (0..units).map(|unit| gates[3 * units + unit] * c_t[unit].tanh()).collect();
                match self.w_hr.is_empty() {
                    true => middle.clone(),
                    false => product(&self.w_hr, &middle),
                }
            }
            Cell::MinimalGru => {
                both(&mut gates, 0, sigmoid);
                for unit in 0..units {
                    let n = gates[units + unit] + gates[unit] * from_h[units + unit];
                    gates[units + unit] = n.tanh();
                }
                self.mix(&gates, 0, 1, &h, false)
            }
        };
        Step { t, h, h_in, c, from_h, gates, middle, h_t, c_t }
    }

    /// `z ⊙ h + (1 - z) ⊙ n`, or with `z` and `1 - z` exchanged.
    fn mix(&self, gates: &[f64], z: usize, n: usize, h: &[f64], keeps: bool) -> Vec<f64> {
        let units = self.dims.hidden_size;
        (0..units)
            .map(|unit| {
                let (z, n) = (gates[z * units + unit], gates[n * units + unit]);
                let z = if keeps { z } else { 1. - z };
                z * h[unit] + (1. - z) * n
            })
            .collect()
    }

    fn add_window(
        &self,
        grad: &StateGradients,
        window: Window,
        row: usize,
        grads: &mut SequenceGradients,
    ) {
        let SequenceDims { seq_len, input_size, hidden_size: units, output_size, .. } = self.dims;
        let (first, len) = self.span(row);
        let steps = self.steps(row);
        let (mut grad_h, mut grad_c) = (vec![0.; output_size], vec![0.; units]);
        let is_within = |step: usize| (window.start..window.end).contains(&step);
        // A row without steps hands its gradient through, once.
        let reaches_initial = if len == 0 { window.end == seq_len } else { is_within(first) };
        if len == 0 && reaches_initial {
            add(&mut grad_h, &grad.h_n[row * output_size..][..output_size]);
            add(&mut grad_c, grad.c_n.get(row * units..(row + 1) * units).unwrap_or(&[]));
        }
        for (index, step) in steps.iter().enumerate().rev() {
            let position = first + index;
            if !is_within(position) {
                continue;
            }
            let at = row * seq_len + step.t;
            if position >= window.losses_from {
                add(&mut grad_h, &grad.outputs[at * output_size..][..output_size]);
                if index + 1 == len {
                    add(&mut grad_h, &grad.h_n[row * output_size..][..output_size]);
                    add(&mut grad_c, grad.c_n.get(row * units..(row + 1) * units).unwrap_or(&[]));
                }
            }
            let Back { of_x, of_h, mut shortcut, through, grad_c: before } =
                self.step_back(step, &grad_h, &grad_c, grads);
            grad_c = before;
            let x_t = &self.x[at * input_size..][..input_size];
            add_outer(&mut grads.w_ih, &of_x, x_t);
            add(&mut grads.b_ih, &of_x);
            add(
                &mut grads.b_hh,
                &of_h
                    .iter()
                    .zip(&of_x)
                    .enumerate()
                    .map(|(unit, (h, x))| {
                        // A second product has its bias outside.
                        let is_middle = self.cell == Cell::GruResetBefore && unit >= 2 * units;
                        if is_middle {
                            *x
                        } else {
                            *h
                        }
                    })
                    .collect::<Vec<f64>>(),
            );
            add_outer(&mut grads.w_hh, &of_h, &step.h_in);
            add_transposed(&mut grads.x[at * input_size..][..input_size], &self.w_ih, &of_x);
            let mut grad_in = through;
            add_transposed(&mut grad_in, &self.w_hh, &of_h);
            if let Some(mask) = self.mask.get(row * output_size..(row + 1) * output_size) {
                grad_in.iter_mut().zip(mask).for_each(|(grad, mask)| *grad *= mask);
            }
            add(&mut shortcut, &grad_in);
            grad_h = shortcut;
        }
        if reaches_initial {
            add(&mut grads.h_0[row * output_size..][..output_size], &grad_h);
            if self.cell.has_c() {
                add(&mut grads.c_0[row * units..][..units], &grad_c);
            }
        }
    }

    /// The reverse of a step; adds the gradients of weights that a second product has.
    fn step_back(
        &self,
        step: &Step,
        grad_h: &[f64],
        grad_c: &[f64],
        grads: &mut SequenceGradients,
    ) -> Back {
        let SequenceDims { hidden_size: units, output_size, .. } = self.dims;
        let Step { h, h_in, c, from_h, gates, middle, h_t, c_t, .. } = step;
        let gate = |gate: usize, unit: usize| gates[gate * units + unit];
        let mut back = Back {
            of_x: vec![0.; gates.len()],
            of_h: vec![0.; gates.len()],
            shortcut: vec![0.; output_size],
            through: vec![0.; output_size],
            grad_c: vec![0.; units],
        };
        let of_sigmoid = |s: f64, grad: f64| grad * s * (1. - s);
        let of_tanh = |t: f64, grad: f64| grad * (1. - t * t);
        match self.cell {
            Cell::Tanh => {
                back.of_x = h_t.iter().zip(grad_h).map(|(h, grad)| of_tanh(*h, *grad)).collect();
                back.of_h.clone_from(&back.of_x);
            }
            Cell::Relu => {
                let relu = |(h, grad): (&f64, &f64)| if *h == 0. { 0. } else { *grad };
                back.of_x = h_t.iter().zip(grad_h).map(relu).collect();
                back.of_h.clone_from(&back.of_x);
            }
            Cell::Gru => {
                for unit in 0..units {
                    let (r, z, n) = (gate(0, unit), gate(1, unit), gate(2, unit));
                    let d_n = of_tanh(n, grad_h[unit] * (1. - z));
                    let d_r = of_sigmoid(r, d_n * from_h[2 * units + unit]);
                    let d_z = of_sigmoid(z, grad_h[unit] * (h[unit] - n));
                    for (gate, x, h) in [(0, d_r, d_r), (1, d_z, d_z), (2, d_n, d_n * r)] {
                        back.of_x[gate * units + unit] = x;
                        back.of_h[gate * units + unit] = h;
                    }
                    back.shortcut[unit] = grad_h[unit] * z;
                }
            }
            Cell::GruResetBefore => {
                let d_n: Vec<f64> = (0..units)
                    .map(|unit| of_tanh(gate(2, unit), grad_h[unit] * (1. - gate(1, unit))))
                    .collect();
                let w_hn = &self.w_hh[2 * units * units..];
                let mut grad_middle = vec![0.; units];
                add_transposed(&mut grad_middle, w_hn, &d_n);
                add_outer(&mut grads.w_hh[2 * units * units..], &d_n, middle);
                for unit in 0..units {
                    let (r, z, n) = (gate(0, unit), gate(1, unit), gate(2, unit));
                    let d_r = of_sigmoid(r, grad_middle[unit] * h_in[unit]);
                    let d_z = of_sigmoid(z, grad_h[unit] * (h[unit] - n));
                    for (gate, x, h) in [(0, d_r, d_r), (1, d_z, d_z), (2, d_n[unit], 0.)] {
                        back.of_x[gate * units + unit] = x;
                        back.of_h[gate * units + unit] = h;
                    }
                    back.shortcut[unit] = grad_h[unit] * z;
                    back.through[unit] = grad_middle[unit] * r;
                }
            }
            Cell::Lstm => {
                let mut grad_middle = grad_h.to_vec();
                if !self.w_hr.is_empty() {
                    grad_middle = vec![0.; units];
                    add_transposed(&mut grad_middle, &self.w_hr, grad_h);
                    add_outer(&mut grads.w_hr, grad_h, middle);
                }
                for unit in 0..units {
                    let [i, f, g, o] = [0, 1, 2, 3].map(|index| gate(index, unit));
                    let tanh_c = c_t[unit].tanh();
                    let d_c = grad_c[unit] + of_tanh(tanh_c, grad_middle[unit] * o);
                    let deltas = [
                        of_sigmoid(i, d_c * g),
                        of_sigmoid(f, d_c * c[unit]),
                        of_tanh(g, d_c * i),
                        of_sigmoid(o, grad_middle[unit] * tanh_c),
                    ];
                    for (gate, delta) in deltas.into_iter().enumerate() {
                        back.of_x[gate * units + unit] = delta;
                        back.of_h[gate * units + unit] = delta;
                    }
                    back.grad_c[unit] = d_c * f;
                }
            }
            Cell::MinimalGru => {
                for unit in 0..units {
                    let (f, n) = (gate(0, unit), gate(1, unit));
                    let d_n = of_tanh(n, grad_h[unit] * f);
                    let grad_f = grad_h[unit] * (n - h[unit]) + d_n * from_h[units + unit];
                    let d_f = of_sigmoid(f, grad_f);
                    for (gate, x, h) in [(0, d_f, d_f), (1, d_n, d_n * f)] {
                        back.of_x[gate * units + unit] = x;
                        back.of_h[gate * units + unit] = h;
                    }
                    back.shortcut[unit] = grad_h[unit] * (1. - f);
                }
            }
        }
        back
    }
}

/// What the reverse of a step gives.
struct Back {
    /// Gradients of `W_ih x_t + b_ih` and of `W_hh h_in + b_hh`.
    of_x: Vec<f64>,
    of_h: Vec<f64>,
    /// Of `h_{t-1}`, by other ways than products.
    shortcut: Vec<f64>,
    /// Of `h_in`, by way of a second product.
    through: Vec<f64>,
    /// Of `c_{t-1}`.
    grad_c: Vec<f64>,
}
