//! Seeded initial weights.
//!
//! Candle's own initialisers cannot be seeded on the CPU, so the values are drawn here, in `f64`
//! and in a fixed order, and put into the `VarMap`; a layer then finds them there by name. Nothing else
//! makes variables there: the builder of a [`VarSink`] refuses a name that it does not have.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{VarBuilder, VarMap};
use serde::{Deserialize, Serialize};

use super::StackConfig;
use crate::recurrence::Cell;
use crate::rng::SeededRng;
use crate::{Error, Result};

/// How initial weights are drawn.
///
/// "Head" is any [`Dense`](super::Dense) layer; of an [`Embedding`](super::Embedding) see there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
/// [`Error::Config`] when a variable of one of these names exists or the prefix has a dot too many,
/// [`Error::DType`] unless the sink makes `f32` or `f64`, [`Error::Candle`] when a tensor cannot be made.
/// Nothing is inserted or drawn then.
pub fn init_stack(
    config: &StackConfig,
    init: Init,
    rng: &mut SeededRng,
    vars: &VarSink,
    prefix: &str,
) -> Result<()> {
    let (units, gates) = (config.hidden_size, config.cell.gates());
    let (rows, outputs) = (gates * units, config.output_size());
    let parameters = config.parameters();
    let names = vars.new_names(prefix, parameters.iter().map(|(name, _)| name))?;
    let mut tensors = Vec::with_capacity(names.len());
    for ((name, shape), full) in parameters.into_iter().zip(names) {
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
        tensors.push((full, Tensor::from_vec(values, shape, &Device::Cpu)?));
    }
    vars.insert_all(tensors)
}

/// Puts initial weights of a dense layer into `vars`: `weight` `(outputs, inputs)`, then `bias`
/// `(outputs,)`, each behind `prefix` and a dot if it is not empty. [`Dense::init`](super::Dense::init) builds
/// a layer on them too.
///
/// # Errors
/// As [`init_stack`].
pub fn init_linear(
    inputs: usize,
    outputs: usize,
    init: Init,
    rng: &mut SeededRng,
    vars: &VarSink,
    prefix: &str,
) -> Result<()> {
    init_dense([outputs, inputs], true, init, rng, vars, prefix)
}

/// As [`init_linear`], with a bias or without.
pub(super) fn init_dense(
    [outputs, inputs]: [usize; 2],
    has_bias: bool,
    init: Init,
    rng: &mut SeededRng,
    vars: &VarSink,
    prefix: &str,
) -> Result<()> {
    let shapes: [(&str, &[usize]); 2] = [("weight", &[outputs, inputs]), ("bias", &[outputs])];
    let shapes = &shapes[..if has_bias { 2 } else { 1 }];
    let names = vars.new_names(prefix, shapes.iter().map(|(name, _)| name))?;
    let limit = match init {
        Init::Pytorch => 1. / (inputs as f64).sqrt(),
        _ => glorot(inputs, outputs),
    };
    let mut tensors = Vec::new();
    for (full, (name, shape)) in names.into_iter().zip(shapes) {
        let count = shape.iter().product();
        let values = if *name == "weight" || init == Init::Pytorch {
            uniform(rng, count, limit)
        } else {
            vec![0.; count]
        };
        tensors.push((full, Tensor::from_vec(values, *shape, &Device::Cpu)?));
    }
    vars.insert_all(tensors)
}

/// Puts the initial weight `(V, D)` of an embedding into `vars`.
pub(super) fn init_embedding(
    [rows, columns]: [usize; 2],
    init: Init,
    rng: &mut SeededRng,
    vars: &VarSink,
    prefix: &str,
) -> Result<()> {
    let names = vars.new_names(prefix, ["weight"])?;
    let count = rows * columns;
    let values = match init {
        Init::Pytorch => (0..count).map(|_| rng.normal()).collect(),
        Init::Glorot => uniform(rng, count, glorot(rows, columns)),
        Init::Orthogonal | Init::Identity => uniform(rng, count, 0.05),
    };
    let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
    vars.insert_all(names.into_iter().map(|name| (name, tensor.clone())).collect())
}

/// Where initial weights go: a `VarMap`, with the dtype and the device that they take there.
///
/// A name is given once: a second layer under the prefix of a first would take its variables away, and the
/// first would never learn.
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

    /// A builder that finds the variables: layers of candle-nn on it share them.
    ///
    /// It makes none: a layer that asks for a name which is not there gets an error, where Candle's own
    /// builder would draw values without a seed. [`insert`](Self::insert) puts values there first.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Tensor};
    /// # use candle_nn::VarMap;
    /// # use candle_rnn::nn::init::VarSink;
    /// # fn main() -> candle_rnn::Result<()> {
    /// let sink = VarSink::new(&VarMap::new(), DType::F32, &Device::Cpu);
    /// let norm = |sink: &VarSink| candle_nn::rms_norm(8, 1e-5, sink.builder().pp("norm"));
    /// assert!(norm(&sink).is_err());
    /// sink.insert("norm.weight", &Tensor::ones(8, DType::F32, &Device::Cpu)?)?;
    /// assert!(norm(&sink).is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(&self) -> VarBuilder<'static> {
        let found = Box::new(Inserted(self.vars.clone()));
        VarBuilder::from_backend(found, self.dtype, self.device.clone())
    }

    /// The builder of a layer under a prefix, which may be empty.
    pub(super) fn layer_builder(&self, prefix: &str) -> VarBuilder<'static> {
        if prefix.is_empty() {
            self.builder()
        } else {
            self.builder().pp(prefix)
        }
    }

    /// Makes a variable with the values of a tensor, in the sink's dtype and on its device, and returns it.
    ///
    /// # Errors
    /// [`Error::Config`] when there is a variable of this name, [`Error::Candle`] when the tensor cannot be
    /// copied.
    pub fn insert(&self, name: impl Into<String>, tensor: &Tensor) -> Result<Var> {
        let name = name.into();
        self.insert_all(vec![(name.clone(), tensor.clone())])?;
        let vars = self.vars.data().lock().map_err(|_| lost())?;
        vars.get(&name).cloned().ok_or_else(|| Error::Config(missing(&name)))
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

    /// The full names of a layer's variables, which are to be made: none of them is there.
    ///
    /// # Errors
    /// [`Error::Config`] when one is, or when the prefix has a dot too many; [`Error::DType`] unless the
    /// sink makes `f32` or `f64`.
    pub(crate) fn new_names(
        &self,
        prefix: &str,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<String>> {
        if prefix.split('.').any(str::is_empty) && !prefix.is_empty() {
            return Err(Error::Config(format!(
                "the prefix {prefix:?} has a dot too many: the dot before a weight's name is added to it"
            )));
        }
        if !matches!(self.dtype, DType::F32 | DType::F64) {
            return Err(Error::DType {
                op: "init",
                tensor: format!("the variables under {prefix:?}"),
                expected: "f32 or f64, as the layers compute",
                actual: self.dtype.as_str().into(),
            });
        }
        let full = |name: &str| {
            if prefix.is_empty() {
                name.to_string()
            } else {
                format!("{prefix}.{name}")
            }
        };
        let names: Vec<String> = names.into_iter().map(|name| full(name.as_ref())).collect();
        let vars = self.vars.data().lock().map_err(|_| lost())?;
        match names.iter().find(|name| vars.contains_key(*name)) {
            Some(name) => Err(exists(name)),
            None => Ok(names),
        }
    }

    /// Makes variables with the values of tensors: all, or none where a name is taken.
    pub(crate) fn insert_all(&self, tensors: Vec<(String, Tensor)>) -> Result<()> {
        let mut made = BTreeMap::new();
        for (name, tensor) in tensors {
            let tensor = tensor.detach().copy()?;
            let tensor = tensor.to_dtype(self.dtype)?.to_device(&self.device)?;
            if made.contains_key(&name) {
                return Err(exists(&name));
            }
            made.insert(name, Var::from_tensor(&tensor)?);
        }
        let mut vars = self.vars.data().lock().map_err(|_| lost())?;
        if let Some(name) = made.keys().find(|name| vars.contains_key(*name)) {
            return Err(exists(name));
        }
        vars.extend(made);
        Ok(())
    }
}

/// The variables of a `VarMap`, and no others.
struct Inserted(VarMap);

impl SimpleBackend for Inserted {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            let (expected, found) = (shape.dims(), tensor.dims());
            return Err(candle_core::Error::Msg(format!(
                "the variable {name} has shape {found:?}, the layer needs {expected:?}"
            )));
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        // `Msg` itself: what Candle's `msg` makes may have a backtrace in its text.
        let error = |text: String| candle_core::Error::Msg(text);
        let vars = self.0.data().lock().map_err(|_| error(lost().to_string()))?;
        let var = vars.get(name).ok_or_else(|| error(missing(name)))?;
        // As it is: a copy in another dtype would not follow its changes.
        Ok(var.as_tensor().clone())
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.data().lock().is_ok_and(|vars| vars.contains_key(name))
    }
}

fn exists(name: &str) -> Error {
    Error::Config(format!(
        "the variable {name} exists already: give each layer a prefix of its own"
    ))
}

fn missing(name: &str) -> String {
    format!(
        "no variable {name}: insert it with VarSink::insert, or make the layer with an init of its own, \
         such as nn::Embedding::init"
    )
}

fn lost() -> Error {
    Error::Config("the variables are lost: a thread that held them panicked".into())
}

/// Half the width of the uniform distribution of Glorot & Bengio (2010).
fn glorot(fan_in: usize, fan_out: usize) -> f64 {
    (6. / (fan_in + fan_out) as f64).sqrt()
}

fn uniform(rng: &mut SeededRng, count: usize, limit: f64) -> Vec<f64> {
    (0..count).map(|_| rng.symmetric(limit)).collect()
}

fn identity(rows: usize, columns: usize) -> Vec<f64> {
    let is_one = |i: usize| i / columns == i % columns;
    (0..rows * columns).map(|i| f64::from(u8::from(is_one(i)))).collect()
}

/// Columns of a random orthogonal matrix, or rows of one if there are more columns.
fn semi_orthogonal(rng: &mut SeededRng, rows: usize, columns: usize) -> Vec<f64> {
    let size = rows.max(columns);
    let square = orthogonal(rng, size);
    (0..rows).flat_map(|row| square[row * size..][..columns].to_vec()).collect()
}

/// A random orthogonal matrix `(n, n)`, all equally likely: the Q of a normal matrix's QR
/// decomposition with positive diagonal, by modified Gram-Schmidt done twice.
fn orthogonal(rng: &mut SeededRng, n: usize) -> Vec<f64> {
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
        let mut rng = SeededRng::new(seed, Purpose::Init);
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
        let w_hh = orthogonal(&mut SeededRng::new(3, Purpose::Init), 150);
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
