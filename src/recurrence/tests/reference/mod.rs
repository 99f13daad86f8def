//! The recurrence in plain loops: its definition, and the oracle of every other form.
//!
//! Everything is `f64`, and nothing is fast: this is never a production path.
//!
//! Here are the sequences; `cells` has the steps.

mod cells;

use super::{Cell, SequenceDims};
use crate::recurrence::{Truncation, Window};
use cells::{Back, Step};

/// The arguments of a recurrence in one direction, as [`run_layer`](super::run_layer) names them.
/// Tensors that are not there are empty.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
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
pub(crate) struct SequenceGradients {
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
pub(crate) struct SequenceStates {
    /// `(B, T, P)`, in the order of time; zero behind a row's end.
    pub outputs: Vec<f64>,
    /// `(B, P)`.
    pub h_n: Vec<f64>,
    /// `(B, H)`, or empty.
    pub c_n: Vec<f64>,
}

/// Gradients of a loss by the states, of the same shapes; [`SequenceGradients`] follow from them.
pub(crate) type StateGradients = SequenceStates;

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
    pub(crate) fn forward(&self) -> SequenceStates {
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
    pub(crate) fn backward(
        &self,
        grad: &StateGradients,
        truncation: Truncation,
    ) -> SequenceGradients {
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
        if self.cell.has_c() {
            (h, self.c_0[row * hidden_size..][..hidden_size].to_vec())
        } else {
            (h, Vec::new())
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
}
