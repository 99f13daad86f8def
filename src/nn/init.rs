//! Seeded initial weights.
//!
//! Candle's own initialisers cannot be seeded on the CPU, so the values are drawn here, in `f64`
//! and in a fixed order, and put into the `VarMap`; a layer then finds them there by name.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use serde::{Deserialize, Serialize};

use super::RnnConfig;
use crate::rng::Stream;
use crate::{Error, Result};

/// How initial weights are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Init {
    /// Glorot uniform over the joined kernel `[W_ih | W_hh]` with fan-in I + H and fan-out H, as
    /// TensorFlow 1's `BasicRNNCell` draws it; zero bias. Head: Glorot uniform, zero bias.
    #[default]
    Glorot,
    /// Glorot uniform `W_ih`, random orthogonal `W_hh` (Saxe et al., 2014), zero bias, as Keras's
    /// `SimpleRNN`. Head: Glorot uniform, zero bias.
    Orthogonal,
    /// `W_ih` normal with standard deviation 0.001, `W_hh` the identity, zero bias (Le, Jaitly &
    /// Hinton, 2015). Head: Glorot uniform, zero bias.
    Identity,
    /// All weights and biases uniform in ±1/√H, as `torch.nn.RNN` and `torch.nn.Linear`.
    Pytorch,
}

impl Init {
    /// The name used on the command line and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glorot => "glorot",
            Self::Orthogonal => "orthogonal",
            Self::Identity => "identity",
            Self::Pytorch => "pytorch",
        }
    }
}

/// Puts initial weights of a recurrent layer into `vars`, in this order: `weight_ih_l0`,
/// `weight_hh_l0`, `bias_ih_l0`, each behind `prefix` and a dot.
///
/// # Errors
/// [`Error::Candle`] when a tensor cannot be made.
pub fn init_rnn(
    config: RnnConfig,
    init: Init,
    rng: &mut Stream,
    vars: &mut VarSink,
    prefix: &str,
) -> Result<()> {
    let (inputs, units) = (config.input_size, config.hidden_size);
    let limit = 1. / (units as f64).sqrt();
    let (w_ih, w_hh, b) = match init {
        Init::Glorot => {
            let limit = glorot(inputs + units, units);
            (uniform(rng, units * inputs, limit), uniform(rng, units * units, limit), None)
        }
        Init::Orthogonal => {
            let w_ih = uniform(rng, units * inputs, glorot(inputs, units));
            (w_ih, orthogonal(rng, units), None)
        }
        Init::Identity => {
            let w_ih = (0..units * inputs).map(|_| 0.001 * rng.normal()).collect();
            (w_ih, identity(units), None)
        }
        Init::Pytorch => (
            uniform(rng, units * inputs, limit),
            uniform(rng, units * units, limit),
            Some(uniform(rng, units, limit)),
        ),
    };
    vars.put(format!("{prefix}.weight_ih_l0"), w_ih, &[units, inputs])?;
    vars.put(format!("{prefix}.weight_hh_l0"), w_hh, &[units, units])?;
    vars.put(format!("{prefix}.bias_ih_l0"), b.unwrap_or_else(|| vec![0.; units]), &[units])
}

/// Puts initial weights of a dense layer into `vars`: `weight` `(outputs, inputs)`, then `bias`
/// `(outputs,)`, each behind `prefix` and a dot.
///
/// # Errors
/// [`Error::Candle`] when a tensor cannot be made.
pub fn init_linear(
    inputs: usize,
    outputs: usize,
    init: Init,
    rng: &mut Stream,
    vars: &mut VarSink,
    prefix: &str,
) -> Result<()> {
    let (weight, bias) = match init {
        Init::Pytorch => {
            let limit = 1. / (inputs as f64).sqrt();
            (uniform(rng, outputs * inputs, limit), uniform(rng, outputs, limit))
        }
        _ => (uniform(rng, outputs * inputs, glorot(inputs, outputs)), vec![0.; outputs]),
    };
    vars.put(format!("{prefix}.weight"), weight, &[outputs, inputs])?;
    vars.put(format!("{prefix}.bias"), bias, &[outputs])
}

/// Where initial weights go: a `VarMap`, with the dtype and the device that they take there.
#[derive(Clone)]
pub struct VarSink {
    vars: VarMap,
    dtype: DType,
    device: Device,
}

impl VarSink {
    /// A sink that makes variables of `dtype` on `device`.
    pub fn new(vars: &VarMap, dtype: DType, device: &Device) -> Self {
        Self { vars: vars.clone(), dtype, device: device.clone() }
    }

    fn put(&mut self, name: String, values: Vec<f64>, shape: &[usize]) -> Result<()> {
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        let tensor = tensor.to_dtype(self.dtype)?.to_device(&self.device)?;
        let var = Var::from_tensor(&tensor)?;
        let mut vars = self.vars.data().lock().map_err(|_| {
            Error::Config("the variables are lost: a thread that held them panicked".into())
        })?;
        vars.insert(name, var);
        Ok(())
    }
}

/// Half the width of the uniform distribution of Glorot & Bengio (2010).
fn glorot(fan_in: usize, fan_out: usize) -> f64 {
    (6. / (fan_in + fan_out) as f64).sqrt()
}

fn uniform(rng: &mut Stream, count: usize, limit: f64) -> Vec<f64> {
    (0..count).map(|_| rng.symmetric(limit)).collect()
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| if i % (n + 1) == 0 { 1. } else { 0. }).collect()
}

/// A random orthogonal matrix `(n, n)`, all equally likely: the Q of a normal matrix's QR
/// decomposition with positive diagonal, by modified Gram-Schmidt done twice.
fn orthogonal(rng: &mut Stream, n: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = (0..n).map(|_| (0..n).map(|_| rng.normal()).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for i in 0..n {
        let (done, rest) = rows.split_at_mut(i);
        let row = &mut rest[0];
        // Twice is enough: the second pass removes what rounding left of the first.
        for earlier in done.iter().chain(done.iter()) {
            let overlap = dot(row, earlier);
            row.iter_mut().zip(earlier).for_each(|(r, e)| *r -= overlap * e);
        }
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|r| *r /= norm);
    }
    rows.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recurrence::Cell;
    use crate::rng::Purpose;
    use std::collections::BTreeMap;

    const CONFIG: RnnConfig = RnnConfig { input_size: 28, hidden_size: 150, cell: Cell::Tanh };

    fn initial(init: Init, seed: u64) -> BTreeMap<String, Vec<f32>> {
        let vars = VarMap::new();
        let mut sink = VarSink::new(&vars, DType::F32, &Device::Cpu);
        let mut rng = Stream::new(seed, Purpose::Init);
        init_rnn(CONFIG, init, &mut rng, &mut sink, "rnn").unwrap();
        init_linear(150, 10, init, &mut rng, &mut sink, "head").unwrap();
        let vars = vars.data().lock().unwrap();
        vars.iter()
            .map(|(name, var)| (name.clone(), var.flatten_all().unwrap().to_vec1().unwrap()))
            .collect()
    }

    fn check_uniform(values: &[f32], limit: f64) {
        let max = values.iter().fold(0f64, |max, x| max.max(f64::from(x.abs())));
        assert!(max <= limit && max > 0.97 * limit, "{max} of {limit}");
        let variance =
            values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64;
        // Uniform in ±limit has variance limit²/3; the smallest tensor here has 150 values.
        assert!((variance / (limit * limit / 3.) - 1.).abs() < 0.25, "{variance}");
    }

    #[test]
    fn glorot_takes_its_limit_from_the_joined_kernel() {
        let vars = initial(Init::Glorot, 42);
        let limit = (6f64 / (28. + 150. + 150.)).sqrt();
        check_uniform(&vars["rnn.weight_ih_l0"], limit);
        check_uniform(&vars["rnn.weight_hh_l0"], limit);
        check_uniform(&vars["head.weight"], (6f64 / 160.).sqrt());
        assert!(vars["rnn.bias_ih_l0"].iter().chain(&vars["head.bias"]).all(|b| *b == 0.));
    }

    #[test]
    fn pytorch_draws_all_from_one_over_the_root_of_the_units() {
        let vars = initial(Init::Pytorch, 42);
        for name in ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "head.weight"] {
            check_uniform(&vars[name], 1. / 150f64.sqrt());
        }
    }

    #[test]
    fn orthogonal_rows_have_length_one_and_right_angles() {
        let w_hh = orthogonal(&mut Stream::new(3, Purpose::Init), 150);
        for i in 0..150 {
            for j in 0..150 {
                let dot: f64 = (0..150).map(|k| w_hh[i * 150 + k] * w_hh[j * 150 + k]).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((dot - expected).abs() < 1e-13, "{i} {j} {dot}");
            }
        }
        let vars = initial(Init::Orthogonal, 42);
        check_uniform(&vars["rnn.weight_ih_l0"], (6f64 / 178.).sqrt());
    }

    #[test]
    fn identity_is_the_identity_with_small_input_weights() {
        let vars = initial(Init::Identity, 42);
        let w_hh = &vars["rnn.weight_hh_l0"];
        assert!((0..150 * 150).all(|i| w_hh[i] == if i % 151 == 0 { 1. } else { 0. }));
        let w_ih = &vars["rnn.weight_ih_l0"];
        let deviation = (w_ih.iter().map(|w| w * w).sum::<f32>() / w_ih.len() as f32).sqrt();
        assert!((deviation - 0.001).abs() < 0.0001, "{deviation}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
        for init in [Init::Glorot, Init::Orthogonal, Init::Identity, Init::Pytorch] {
            assert_eq!(initial(init, 1), initial(init, 1));
            assert_ne!(initial(init, 1)["rnn.weight_ih_l0"], initial(init, 2)["rnn.weight_ih_l0"]);
        }
    }
}
