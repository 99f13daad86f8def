//! Seeded initial weights.
//!
//! Candle's own initialisers cannot be seeded on the CPU, so the values are drawn here, in `f64`
//! and in a fixed order, and put into the `VarMap`; a layer then finds them there by name.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use serde::{Deserialize, Serialize};

use super::StackConfig;
use crate::recurrence::Cell;
use crate::rng::Stream;
use crate::{Error, Result};

/// How initial weights are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Init {
    /// Glorot uniform over the joined kernel `[W_ih | W_hh]` with fan-in I + P and fan-out G·H, as
    /// TensorFlow 1's `BasicRNNCell` and `BasicLSTMCell` draw it; zero bias, of an LSTM's forget gate
    /// 1. Head: Glorot uniform, zero bias.
    #[default]
    Glorot,
    /// Glorot uniform `W_ih`, `W_hh` random orthogonal gate by gate (Saxe et al., 2014), zero bias, of
    /// an LSTM's forget gate 1, much as Keras's layers. Head: Glorot uniform, zero bias.
    Orthogonal,
    /// `W_ih` normal with standard deviation 0.001, `W_hh` the identity gate by gate, zero bias (Le,
    /// Jaitly & Hinton, 2015). Head: Glorot uniform, zero bias.
    Identity,
    /// All weights and biases uniform in ±1/√H, as `torch.nn.RNN`, `GRU`, `LSTM` and `Linear`.
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

/// Puts initial weights of a stack into `vars`, layer by layer, forward before backward, each behind
/// `prefix` and a dot if it is not empty: `weight_ih`, `weight_hh`, `bias_ih` and, if the cell has
/// them, `bias_hh` and `weight_hr`.
///
/// # Errors
/// [`Error::Candle`] when a tensor cannot be made.
pub fn init_stack(
    config: &StackConfig,
    init: Init,
    rng: &mut Stream,
    vars: &VarSink,
    prefix: &str,
) -> Result<()> {
    let (units, gates) = (config.hidden_size, config.cell.gates());
    let (rows, outputs) = (gates * units, config.output_size());
    for (name, shape) in config.parameters() {
        let count = shape.iter().product();
        let columns = shape.last().copied().unwrap_or(1);
        let (kind, _) = name.rsplit_once("_l").unwrap_or((&name, ""));
        let mut values = match (kind, init) {
            (_, Init::Pytorch) => uniform(rng, count, 1. / (units as f64).sqrt()),
            ("weight_ih", Init::Glorot) => uniform(rng, count, glorot(columns + outputs, rows)),
            ("weight_hh", Init::Glorot) => {
                // Over the joined kernel: the inputs of this layer are those of its `weight_ih`.
                let inputs = match name.starts_with("weight_hh_l0") {
                    true => config.input_size,
                    false => config.directions() * outputs,
                };
                uniform(rng, count, glorot(inputs + outputs, rows))
            }
            ("weight_ih", Init::Orthogonal) => uniform(rng, count, glorot(columns, rows)),
            ("weight_ih", Init::Identity) => (0..count).map(|_| 0.001 * rng.normal()).collect(),
            ("weight_hh", Init::Orthogonal) => {
                (0..gates).flat_map(|_| semi_orthogonal(rng, units, outputs)).collect()
            }
            ("weight_hh", _) => (0..gates).flat_map(|_| identity(units, outputs)).collect(),
            ("weight_hr", _) => uniform(rng, count, glorot(units, outputs)),
            _ => vec![0.; count],
        };
        let own = match init {
            Init::Glorot | Init::Orthogonal => Some(1.),
            Init::Identity | Init::Pytorch => None,
        };
        if config.cell == Cell::Lstm && kind.starts_with("bias") {
            // The forget gate's part: of both biases together.
            let part = &mut values[units..2 * units];
            match (kind, config.forget_bias.or(own)) {
                ("bias_ih", Some(bias)) => part.fill(bias),
                ("bias_hh", Some(_)) => part.fill(0.),
                _ => {}
            }
        }
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        vars.put(name, values, &shape)?;
    }
    Ok(())
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
    vars: &VarSink,
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

    /// A builder that finds the variables.
    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_varmap(&self.vars, self.dtype, &self.device)
    }

    /// All variables, sorted by name: for an optimizer.
    ///
    /// # Errors
    /// [`Error::Config`] when a thread that held them panicked.
    pub fn named(&self) -> Result<BTreeMap<String, Var>> {
        // A hash map has no order: sorted names do.
        match self.vars.data().lock() {
            Ok(vars) => Ok(vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect()),
            Err(_) => Err(lost()),
        }
    }

    fn put(&self, name: String, values: Vec<f64>, shape: &[usize]) -> Result<()> {
        self.put_tensor(name, &Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// Makes a variable with the values of a tensor.
    pub(crate) fn put_tensor(&self, name: String, tensor: &Tensor) -> Result<()> {
        let tensor = tensor.detach().copy()?;
        let tensor = tensor.to_dtype(self.dtype)?.to_device(&self.device)?;
        let var = Var::from_tensor(&tensor)?;
        let mut vars = self.vars.data().lock().map_err(|_| lost())?;
        vars.insert(name, var);
        Ok(())
    }
}

fn lost() -> Error {
    Error::Config("the variables are lost: a thread that held them panicked".into())
}

/// Half the width of the uniform distribution of Glorot & Bengio (2010).
fn glorot(fan_in: usize, fan_out: usize) -> f64 {
    (6. / (fan_in + fan_out) as f64).sqrt()
}

fn uniform(rng: &mut Stream, count: usize, limit: f64) -> Vec<f64> {
    (0..count).map(|_| rng.symmetric(limit)).collect()
}

fn identity(rows: usize, columns: usize) -> Vec<f64> {
    let is_one = |i: usize| i / columns == i % columns;
    (0..rows * columns).map(|i| f64::from(u8::from(is_one(i)))).collect()
}

/// Columns of a random orthogonal matrix, or rows of one if there are more columns.
fn semi_orthogonal(rng: &mut Stream, rows: usize, columns: usize) -> Vec<f64> {
    let size = rows.max(columns);
    let square = orthogonal(rng, size);
    (0..rows).flat_map(|row| square[row * size..][..columns].to_vec()).collect()
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
    use crate::rng::Purpose;

    fn initial(init: Init, seed: u64) -> BTreeMap<String, Vec<f32>> {
        let vars = VarMap::new();
        let sink = VarSink::new(&vars, DType::F32, &Device::Cpu);
        let mut rng = Stream::new(seed, Purpose::Init);
        let config = StackConfig::new(Cell::Tanh, 28, 150);
        init_stack(&config, init, &mut rng, &sink, "rnn").unwrap();
        init_linear(150, 10, init, &mut rng, &sink, "head").unwrap();
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
