//! The dense layer.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;

use super::init::{init_dense, Init};
use super::weights::get;
use super::VarSink;
use crate::recurrence::PackedWeights;
use crate::rng::SeededRng;
use crate::{Error, Result};

/// The most outputs that the fused op is for: a head's, not a hidden layer's.
const MAX_FUSED_OUTPUTS: usize = 1024;

/// The sizes of a [`Dense`] layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseConfig {
    /// The number of features of the input, I.
    pub input_size: usize,
    /// The number of features of the output, O.
    pub output_size: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl DenseConfig {
    /// With a bias.
    pub fn new(input_size: usize, output_size: usize) -> Self {
        Self { input_size, output_size, bias: true }
    }

    fn check(&self) -> Result<()> {
        let sizes = [("input_size", self.input_size), ("output_size", self.output_size)];
        match sizes.into_iter().find(|(_, size)| *size == 0) {
            None => Ok(()),
            Some((name, _)) => Err(Error::Config(format!("{name} must be at least 1, got 0"))),
        }
    }
}

/// A dense layer: `y = W x + b`, with the weights of `torch.nn.Linear`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::{Dense, DenseConfig, Init, Purpose, SeededRng, VarSink};
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let head = Dense::init(DenseConfig::new(8, 3), Init::Glorot, rng, &sink.pp("head"))?;
/// let h = Tensor::ones((4, 10, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(head.forward(&h)?.dims(), [4, 10, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "Linear")]
pub struct Dense {
    weight: Tensor,
    bias: Option<Tensor>,
    /// The packed weights, where they do not change any more.
    packed: Option<PackedWeights>,
}

impl Dense {
    /// Takes the weights from `vb` under PyTorch's names: `weight` `(O, I)` and, if there is one, `bias`
    /// `(O,)`.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0, [`Error::Weight`] when a tensor is missing, [`Error::Candle`] when
    /// it has another shape.
    pub fn new(config: DenseConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let DenseConfig { input_size, output_size, bias } = config;
        let weight = get(&vb, &[output_size, input_size], "weight")?;
        let bias = if bias { Some(get(&vb, &[output_size], "bias")?) } else { None };
        Ok(Self { weight, bias, packed: None })
    }

    /// A layer on these weights.
    ///
    /// - `weight`: `(O, I)`; `bias`: `(O,)`, if there is one
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit together.
    pub fn of_weights(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let wrong = |tensor, expected: String, actual: &Tensor| Error::Shape {
            op: "dense",
            tensor,
            expected,
            actual: actual.dims().to_vec(),
        };
        let outputs = match *weight.dims() {
            [outputs, inputs] if outputs > 0 && inputs > 0 => outputs,
            _ => return Err(wrong("weight", "(O, I), both at least 1".into(), &weight)),
        };
        if let Some(bias) = bias.as_ref().filter(|bias| bias.dims() != [outputs]) {
            return Err(wrong("bias", format!("({outputs},)"), bias));
        }
        Ok(Self { weight, bias, packed: None })
    }

    /// Puts initial weights into a sink and builds on them: first the weight is drawn, then the bias.
    ///
    /// # Errors
    /// As [`new`](Self::new), and as [`Stack::init`](super::Stack::init).
    pub fn init(
        config: DenseConfig,
        init: Init,
        rng: &mut SeededRng,
        sink: &VarSink,
    ) -> Result<Self> {
        config.check()?;
        let DenseConfig { input_size, output_size, bias } = config;
        init_dense([output_size, input_size], bias, init, rng, sink)?;
        Self::new(config, sink.builder())
    }

    /// The product of the last dimension with the weight, and the bias.
    ///
    /// - `x`: `(.., I)`
    /// - returns `(.., O)`
    ///
    /// On the CPU one fused op, where there are at least as many rows as outputs, up to 1,024 of these, or the
    /// weights are [frozen](Self::freeze); else, and on devices, Candle's product.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree, [`Error::DType`] when dtypes do, [`Error::Candle`] when Candle
    /// fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        // Packing costs as much as the product of so many rows.
        self.forward_with(x, x.elem_count() / inputs >= outputs)
    }

    /// As [`forward`](Self::forward), by the fused op for any number of rows, if it computes such a layer.
    pub(crate) fn forward_fused(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, true)
    }

    fn forward_with(&self, x: &Tensor, prefers_fused: bool) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        if x.dims().last() != Some(&inputs) {
            return Err(Error::Shape {
                op: "dense",
                tensor: "x",
                expected: format!("(.., {inputs})"),
                actual: x.dims().to_vec(),
            });
        }
        if x.dtype() != self.weight.dtype() {
            return Err(Error::DType {
                op: "dense",
                tensor: "x".into(),
                expected: "of the weight's dtype",
                actual: x.dtype().as_str().into(),
            });
        }
        let shape = [&x.dims()[..x.rank() - 1], &[outputs]].concat();
        if x.elem_count() == 0 {
            return Ok(Tensor::zeros(shape, x.dtype(), x.device())?);
        }
        // Packed anew for each call, unless they are frozen, and kept for its backward pass.
        let packed = match &self.packed {
            None if prefers_fused => pack(&self.weight, self.bias.as_ref())?,
            packed => packed.clone(),
        };
        if let Some(packed) = packed.filter(|_| x.device().is_cpu()) {
            return packed.run_dense(x, outputs);
        }
        let x = x.reshape(((), inputs))?;
        let mut y = x.matmul(&self.weight.t()?)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        Ok(y.reshape(shape)?)
    }

    /// The layer as it is now, for inference: it has weights of its own, which are packed once.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let weight = self.weight.detach().copy()?;
        let bias = self.bias.as_ref().map(|bias| bias.detach().copy()).transpose()?;
        let packed = pack(&weight, bias.as_ref())?;
        Ok(Self { weight, bias, packed })
    }

    /// The same layer for inference: it shares the weights, and follows them when they change, but keeps no graph
    /// for a backward pass.
    pub fn detach(&self) -> Self {
        let bias = self.bias.as_ref().map(Tensor::detach);
        Self { weight: self.weight.detach(), bias, packed: None }
    }

    /// The weight, `(O, I)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `(O,)`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

/// The weights as the kernels of this CPU read them; `None` where Candle's product is to compute the layer: on devices,
/// of other dtypes than `f32` and `f64`, and of more than [`MAX_FUSED_OUTPUTS`] outputs.
///
/// # Errors
/// [`Error::Config`] when `CANDLE_RNN_ISA` names an instruction set that this CPU lacks.
fn pack(weight: &Tensor, bias: Option<&Tensor>) -> Result<Option<PackedWeights>> {
    let outputs = weight.dim(0)?;
    let has_kernels = weight.device().is_cpu() && matches!(weight.dtype(), DType::F32 | DType::F64);
    if !has_kernels || outputs > MAX_FUSED_OUTPUTS {
        return Ok(None);
    }
    let bias = match bias {
        Some(bias) => bias.clone(),
        None => Tensor::zeros(outputs, weight.dtype(), &Device::Cpu)?,
    };
    PackedWeights::dense(weight, &bias).map(Some)
}

impl Module for Dense {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(Dense::forward(self, x)?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rng::Purpose;
    use candle_core::Var;

    /// Holds the gradients of a loss in `f64` to central differences, number by number.
    pub(in super::super) fn check_gradients(sink: &VarSink, loss: impl Fn() -> Tensor) {
        const STEP: f64 = 1e-5;
        let grads = loss().backward().unwrap();
        for (name, var) in sink.named().unwrap() {
            let found = grads.get(&var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let start = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for index in 0..start.len() {
                let at = |change: f64| {
                    let mut values = start.clone();
                    values[index] += change;
                    let values = Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap();
                    var.set(&values).unwrap();
                    loss().to_scalar::<f64>().unwrap()
                };
                let expected = (at(STEP) - at(-STEP)) / (2. * STEP);
                at(0.);
                let tolerance = 1e-6 * expected.abs().max(1.);
                let off = (found[index] - expected).abs();
                assert!(off <= tolerance, "{name}[{index}]: {} {expected}", found[index]);
            }
        }
    }

    fn sink(dtype: DType) -> VarSink {
        VarSink::new(dtype, &Device::Cpu)
    }

    fn layer(config: DenseConfig, sink: &VarSink) -> Dense {
        Dense::init(config, Init::Pytorch, &mut SeededRng::new(3, Purpose::Init), sink).unwrap()
    }

    #[test]
    fn values_are_the_sums_for_any_rank_and_number_of_rows() {
        for bias in [false, true] {
            let sink = sink(DType::F64);
            let dense = layer(DenseConfig { bias, ..DenseConfig::new(3, 4) }, &sink);
            assert_eq!(sink.named().unwrap().len(), if bias { 2 } else { 1 });
            let weight = dense.weight().to_vec2::<f64>().unwrap();
            let b = match dense.bias() {
                Some(bias) => bias.to_vec1::<f64>().unwrap(),
                None => vec![0.; 4],
            };
            // Fewer rows than outputs, as many, and more.
            for shape in [vec![3], vec![2, 3], vec![4, 3], vec![5, 2, 3], vec![2, 3, 2, 3]] {
                let count: usize = shape.iter().product();
                let x: Vec<f64> = (0..count).map(|i| (i as f64).sin()).collect();
                let tensor = Tensor::from_slice(&x, shape.clone(), &Device::Cpu).unwrap();
                let y = dense.forward(&tensor).unwrap();
                assert_eq!(y.dims(), [&shape[..shape.len() - 1], &[4]].concat());
                let y = y.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                for (row, x) in x.chunks(3).enumerate() {
                    for unit in 0..4 {
                        let sum: f64 = (0..3).map(|i| x[i] * weight[unit][i]).sum();
                        let off = (y[row * 4 + unit] - sum - b[unit]).abs();
                        assert!(off <= 1e-14, "{shape:?}: {off:e}");
                    }
                }
            }
            let none = Tensor::zeros((0, 3), DType::F64, &Device::Cpu).unwrap();
            assert_eq!(Module::forward(&dense, &none).unwrap().dims(), [0, 4]);
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for (rows, bias) in [(2, true), (9, true), (2, false), (9, false)] {
            let sink = sink(DType::F64);
            let dense = layer(DenseConfig { bias, ..DenseConfig::new(3, 4) }, &sink.pp("head"));
            let x: Vec<f64> = (0..rows * 3).map(|i| (i as f64).sin()).collect();
            let x = Tensor::from_vec(x, (rows, 1, 3), &Device::Cpu).unwrap();
            let x = sink.insert("x", &x).unwrap();
            check_gradients(&sink, || {
                let y = dense.forward(x.as_tensor()).unwrap();
                y.powf(3.).unwrap().sum_all().unwrap()
            });
        }
    }

    #[test]
    fn a_seed_gives_the_same_bits_again() {
        let (first, second) = (sink(DType::F32), sink(DType::F32));
        for init in [Init::Glorot, Init::Orthogonal, Init::Identity, Init::Pytorch] {
            for sink in [&first, &second] {
                let rng = &mut SeededRng::new(7, Purpose::Init);
                Dense::init(DenseConfig::new(5, 4), init, rng, &sink.pp(init.name())).unwrap();
            }
        }
        let bits = |sink: &VarSink| {
            let bits = |(name, var): (String, Var)| {
                (name, var.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            };
            sink.named().unwrap().into_iter().map(bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(&first), bits(&second));
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_it() {
        let sink = sink(DType::F32);
        let dense = layer(DenseConfig::new(3, 4), &sink.pp("head"));
        let x = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let text = |x: Tensor| dense.forward(&x).unwrap_err().to_string();
        assert!(text(x(&[2, 4], DType::F32)).contains("(.., 3)"));
        assert!(text(x(&[], DType::F32)).contains("(.., 3)"));
        assert!(text(x(&[2, 3], DType::F64)).contains("the weight's dtype"));
        for (config, named) in
            [(DenseConfig::new(0, 4), "input_size"), (DenseConfig::new(4, 0), "output_size")]
        {
            let error = Dense::new(config, sink.builder()).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let missing = Dense::new(DenseConfig::new(3, 4), sink.builder().pp("other"));
        let error = missing.unwrap_err().to_string();
        assert!(error.contains("other.weight") && error.contains("init"), "{error}");
    }
}
