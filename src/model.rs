//! The classifier: a recurrent layer and a dense head on its last state.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, VarBuilder, VarMap};
use serde::{Deserialize, Serialize};

use crate::nn::init::{init_linear, init_rnn, VarSink};
use crate::nn::{Init, Rnn, RnnConfig};
use crate::recurrence::{dense, dense_packed, Cell, Outputs, PackedWeights, Unroll};
use crate::rng::Stream;
use crate::{Error, Result};

/// The sizes of a [`SequenceClassifier`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The recurrent cell's activation.
    pub cell: Cell,
    /// I, features of the input at each step.
    pub input_size: usize,
    /// H, recurrent units.
    pub hidden_size: usize,
    /// C, classes.
    pub num_classes: usize,
}

impl ClassifierConfig {
    /// The largest size of any dimension: far beyond any use, and small enough that the number of
    /// weights cannot overflow.
    const MAX_SIZE: usize = 1 << 20;

    /// The recurrent layer's part of this configuration.
    pub fn rnn(&self) -> RnnConfig {
        RnnConfig { input_size: self.input_size, hidden_size: self.hidden_size, cell: self.cell }
    }

    /// Checks that every size is from 1 to 2^20.
    ///
    /// # Errors
    /// [`Error::Config`] naming the size that is not.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("input_size", self.input_size),
            ("hidden_size", self.hidden_size),
            ("num_classes", self.num_classes),
        ];
        for (name, size) in sizes {
            if size == 0 || size > Self::MAX_SIZE {
                let max = Self::MAX_SIZE;
                return Err(Error::Config(format!("{name} must be from 1 to {max}, got {size}")));
            }
        }
        Ok(())
    }

    /// Names and shapes of all weights, sorted by name.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        [
            ("head.bias", vec![self.num_classes]),
            ("head.weight", vec![self.num_classes, units]),
            ("rnn.bias_ih_l0", vec![units]),
            ("rnn.weight_hh_l0", vec![units, units]),
            ("rnn.weight_ih_l0", vec![units, inputs]),
        ]
        .map(|(name, shape)| (name.to_string(), shape))
        .to_vec()
    }
}

/// Reads a sequence and tells its class: `logits = W h_T + b`, where `h_T` is the last state of an
/// [`Rnn`].
#[derive(Clone, Debug)]
pub struct SequenceClassifier {
    rnn: Rnn,
    head: Linear,
    /// Of a head that does not change any more.
    packed_head: Option<PackedWeights>,
}

impl SequenceClassifier {
    /// Takes the weights from `vb`: the recurrent layer's under `rnn`, the head's under `head`
    /// (`weight` `(C, H)`, `bias` `(C,)`).
    ///
    /// # Errors
    /// [`Error::Config`] for sizes out of range, [`Error::Candle`] when a tensor is missing or has
    /// another shape.
    pub fn new(config: &ClassifierConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let (units, classes) = (config.hidden_size, config.num_classes);
        let rnn = Rnn::new(config.rnn(), vb.pp("rnn"))?;
        let head = vb.pp("head");
        let head =
            Linear::new(head.get((classes, units), "weight")?, Some(head.get(classes, "bias")?));
        Ok(Self { rnn, head, packed_head: None })
    }

    /// Puts initial weights into `vars`, replacing any of the same names, and builds on them: an
    /// optimizer that changes the variables changes this model.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes out of range, [`Error::Candle`] when a tensor cannot be made.
    pub fn init(
        config: &ClassifierConfig,
        init: Init,
        rng: &mut Stream,
        vars: &VarMap,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let mut sink = VarSink::new(vars, dtype, device);
        init_rnn(config.rnn(), init, rng, &mut sink, "rnn")?;
        init_linear(config.hidden_size, config.num_classes, init, rng, &mut sink, "head")?;
        Self::new(config, VarBuilder::from_varmap(vars, dtype, device))
    }

    /// Logits after the last step.
    ///
    /// - `x`: `(B, T, I)`
    /// - returns `(B, C)`
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree, [`Error::DType`] when dtypes do.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_unrolled(x, Outputs::Last)
    }

    /// Logits of the states that `unroll` reads, whose gradients flow back as far as it says.
    ///
    /// - `x`: `(B, T, I)`
    /// - returns `(B, C)` for the last state, `(B, T, C)` for all
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_unrolled(&self, x: &Tensor, unroll: impl Into<Unroll>) -> Result<Tensor> {
        self.logits(&self.rnn.forward(x, None, unroll)?)
    }

    /// Logits after every step.
    ///
    /// - `x`: `(B, T, I)`
    /// - returns `(B, T, C)`
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_steps(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_unrolled(x, Outputs::All)
    }

    /// Logits of states.
    ///
    /// - `h`: `(B, H)` or `(B, T, H)`
    /// - returns `(B, C)` or `(B, T, C)`
    ///
    /// # Errors
    /// [`Error::Shape`] when the sizes do not fit, [`Error::DType`] when the dtypes do not.
    pub fn logits(&self, h: &Tensor) -> Result<Tensor> {
        if let Some(packed) = &self.packed_head {
            return dense_packed(h, packed);
        }
        match self.head.bias() {
            Some(bias) if h.device().is_cpu() => dense(h, self.head.weight(), bias),
            _ => Ok(self.head.forward(h)?),
        }
    }

    /// The same model for inference: it shares the weights, and follows them when they change, but
    /// keeps no graph for a backward pass.
    pub fn detach(&self) -> Self {
        let head = Linear::new(self.head.weight().detach(), self.head.bias().map(Tensor::detach));
        Self { rnn: self.rnn.detach(), head, packed_head: None }
    }

    /// The model as it is now, for inference: it has weights of its own, laid out once for the
    /// kernels.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let weight = self.head.weight().detach().copy()?;
        let bias = self.head.bias().map(|bias| bias.detach().copy()).transpose()?;
        let packed_head = match &bias {
            Some(bias) if weight.device().is_cpu() => Some(PackedWeights::dense(&weight, bias)?),
            _ => None,
        };
        Ok(Self { rnn: self.rnn.freeze()?, head: Linear::new(weight, bias), packed_head })
    }

    /// The recurrent layer.
    pub fn rnn(&self) -> &Rnn {
        &self.rnn
    }
}
