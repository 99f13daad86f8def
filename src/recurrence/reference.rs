//! The recurrence in plain loops: its definition, and the oracle of every other form.
//!
//! Everything is `f64`, and nothing is fast: this is never a production path.

use super::{Cell, SequenceDims};
use crate::bptt::{Truncation, Window};

/// The arguments of a recurrence, as [`rnn_sequence`](super::rnn_sequence) names them.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// B, T, I and H.
    pub dims: SequenceDims,
    /// The activation.
    pub cell: Cell,
    /// `(B, T, I)`.
    pub x: Vec<f64>,
    /// `(H, I)`.
    pub w_ih: Vec<f64>,
    /// `(H, H)`.
    pub w_hh: Vec<f64>,
    /// `(H,)`.
    pub b: Vec<f64>,
    /// `(B, H)`.
    pub h_0: Vec<f64>,
}

/// The gradients of a loss by the arguments, each of its argument's shape.
#[derive(Clone, Debug)]
pub struct SequenceGradients {
    /// `(B, T, I)`.
    pub x: Vec<f64>,
    /// `(H, I)`.
    pub w_ih: Vec<f64>,
    /// `(H, H)`.
    pub w_hh: Vec<f64>,
    /// `(H,)`.
    pub b: Vec<f64>,
    /// `(B, H)`.
    pub h_0: Vec<f64>,
}

impl Sequence {
    /// The states of all steps, `(B, T, H)`: `h_t = f(W_ih x_t + b + W_hh h_{t-1})`.
    pub fn forward(&self) -> Vec<f64> {
        let SequenceDims { batch_size, seq_len, input_size, hidden_size } = self.dims;
        let mut h = vec![0.; batch_size * seq_len * hidden_size];
        for row in 0..batch_size {
            let mut before = self.h_0[row * hidden_size..][..hidden_size].to_vec();
            for t in 0..seq_len {
                let x_t = &self.x[(row * seq_len + t) * input_size..][..input_size];
                let h_t = &mut h[(row * seq_len + t) * hidden_size..][..hidden_size];
                for (unit, h) in h_t.iter_mut().enumerate() {
                    let mut z = self.b[unit];
                    for (k, x) in x_t.iter().enumerate() {
                        z += self.w_ih[unit * input_size + k] * x;
                    }
                    for (k, h) in before.iter().enumerate() {
                        z += self.w_hh[unit * hidden_size + k] * h;
                    }
                    *h = self.cell.of(z);
                }
                before.copy_from_slice(h_t);
            }
        }
        h
    }

    /// The gradients of a loss whose gradients by the states are `grad_h` `(B, T, H)`, cut as
    /// `truncation` says: each window by itself, one after the other.
    ///
    /// `δ_t = f'(h_t) · (grad_h_t + W_hhᵀ δ_{t+1})`, and every step adds its part to the gradients
    /// of the shared weights.
    pub fn backward(&self, grad_h: &[f64], truncation: Truncation) -> SequenceGradients {
        let h = self.forward();
        let mut grads = SequenceGradients {
            x: vec![0.; self.x.len()],
            w_ih: vec![0.; self.w_ih.len()],
            w_hh: vec![0.; self.w_hh.len()],
            b: vec![0.; self.b.len()],
            h_0: vec![0.; self.h_0.len()],
        };
        for window in truncation.windows(self.dims.seq_len) {
            for row in 0..self.dims.batch_size {
                self.add_window(&h, grad_h, window, row, &mut grads);
            }
        }
        grads
    }

    fn add_window(
        &self,
        h: &[f64],
        grad_h: &[f64],
        window: Window,
        row: usize,
        grads: &mut SequenceGradients,
    ) {
        let SequenceDims { seq_len, input_size, hidden_size, .. } = self.dims;
        let mut carried = vec![0.; hidden_size];
        for t in (window.start..window.end).rev() {
            let at = row * seq_len + t;
            let x_t = &self.x[at * input_size..][..input_size];
            let before = match t {
                0 => &self.h_0[row * hidden_size..][..hidden_size],
                _ => &h[(at - 1) * hidden_size..][..hidden_size],
            };
            let mut grad_before = vec![0.; hidden_size];
            for unit in 0..hidden_size {
                let mut grad = carried[unit];
                if t >= window.losses_from {
                    grad += grad_h[at * hidden_size + unit];
                }
                let delta = grad * self.cell.derivative(h[at * hidden_size + unit]);
                grads.b[unit] += delta;
                for (k, x) in x_t.iter().enumerate() {
                    grads.w_ih[unit * input_size + k] += delta * x;
                    grads.x[at * input_size + k] += delta * self.w_ih[unit * input_size + k];
                }
                for (k, h) in before.iter().enumerate() {
                    grads.w_hh[unit * hidden_size + k] += delta * h;
                    grad_before[k] += delta * self.w_hh[unit * hidden_size + k];
                }
            }
            carried = grad_before;
        }
        if window.start == 0 {
            let grad_h_0 = &mut grads.h_0[row * hidden_size..][..hidden_size];
            grad_h_0.iter_mut().zip(&carried).for_each(|(grad, carried)| *grad += carried);
        }
    }
}
