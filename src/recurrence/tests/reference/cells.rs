//! A step of each cell and its reverse: the equations of [`Cell`].

use super::super::{Cell, SequenceDims};
use super::{add, add_outer, add_transposed, product, Sequence, SequenceGradients};

/// The values that a step leaves for its reverse.
pub(super) struct Step {
    /// The index of the row's step in time.
    pub(super) t: usize,
    /// The state before, and as the products read it.
    pub(super) h: Vec<f64>,
    pub(super) h_in: Vec<f64>,
    pub(super) c: Vec<f64>,
    /// `W_hh h_in + b_hh`, where only that goes through a gate.
    pub(super) from_h: Vec<f64>,
    /// After their functions, in the weights' order.
    pub(super) gates: Vec<f64>,
    /// The operand of a second product.
    pub(super) middle: Vec<f64>,
    /// States after it.
    pub(super) h_t: Vec<f64>,
    pub(super) c_t: Vec<f64>,
}

fn sigmoid(z: f64) -> f64 {
    1. / (1. + (-z).exp())
}

/// The results of the reverse of a step.
pub(super) struct Back {
    /// Gradients of `W_ih x_t + b_ih` and of `W_hh h_in + b_hh`.
    pub(super) of_x: Vec<f64>,
    pub(super) of_h: Vec<f64>,
    /// The gradient of `h_{t-1}`, by other ways than products.
    pub(super) shortcut: Vec<f64>,
    /// The gradient of `h_in`, by way of a second product.
    pub(super) through: Vec<f64>,
    /// The gradient of `c_{t-1}`.
    pub(super) grad_c: Vec<f64>,
}

impl Sequence {
    /// A step: the equations of [`Cell`].
    pub(super) fn step(
        &self,
        t: usize,
        x_t: &[f64],
        h: Vec<f64>,
        h_in: Vec<f64>,
        c: Vec<f64>,
    ) -> Step {
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
                if self.w_hr.is_empty() {
                    middle.clone()
                } else {
                    product(&self.w_hr, &middle)
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

    /// The reverse of a step; adds the gradients of weights that a second product has.
    pub(super) fn step_back(
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
