//! Stacked recurrent layers, unidirectional or bidirectional.
//!
//! - `config`: the sizes of a stack, and the names of its weights
//! - `sequences`: what a stack reads, and what it makes of it
//! - `layer`: how it runs one of its layers

mod config;
mod layer;
mod sequences;

use std::borrow::Cow;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;

use super::cell::RecurrentCell;
use super::init::{init_stack, Init};
use super::VarSink;
use crate::recurrence::{self, run_layer, LayerWeights, Outputs, State, Unroll, Weights};
use crate::rng::SeededRng;
use crate::{Error, Result};
pub use config::StackConfig;
pub(crate) use config::{named_weights, weight_name};
pub use sequences::{Output, Sequences};

/// Recurrent layers on top of each other: the outputs of one are the inputs of the next.
///
/// On the CPU every layer is one fused op of [`recurrence`](crate::recurrence), whatever the number of
/// steps. NVIDIA and Apple GPUs have kernels of their own, in `f32`, for tanh, relu, GRU and LSTM without a
/// projection. Elsewhere a layer is composed from Candle's own ops, step by step.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::{Gru, GruConfig, Init, Purpose, SeededRng, Sequences, VarSink};
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let config = GruConfig { num_layers: 2, bidirectional: true, ..GruConfig::new(3, 8) };
/// let gru = Gru::init(config, Init::Orthogonal, rng, &sink.pp("gru"))?;
/// let x = Tensor::ones((4, 10, 3), DType::F32, &Device::Cpu)?;
/// let output = gru.forward(Sequences::new(&x).lengths(&[10, 3, 7, 10]))?;
/// assert_eq!(output.outputs.dims(), [4, 10, 16]);
/// assert_eq!(output.state.h.dims(), [4, 4, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "MultiRNNCell")]
#[doc(alias = "StackedRNNCells")]
#[doc(alias = "Bidirectional")]
pub struct Stack {
    config: StackConfig,
    layers: Vec<LayerWeights>,
}

impl Stack {
    /// Takes the weights from `vb` under PyTorch's names, see [`StackConfig::parameters`]. Tanh and
    /// relu have a `bias_hh` too if it is there. Where `vb` has all weights and no bias at all, as of
    /// layers with `bias=False`, the biases are zeros.
    ///
    /// All must be there: a builder that makes what it lacks, as Candle's of a fresh `VarMap` does, would
    /// draw it from a generator that has no seed on the CPU. [`init`](Self::init) makes weights.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not hold, [`Error::Weight`] for a tensor that is missing or
    /// has another shape, [`Error::DType`] unless all are `f32` or all `f64`.
    pub fn new(config: impl Into<StackConfig>, vb: VarBuilder) -> Result<Self> {
        let config = config.into();
        config.check()?;
        let shapes = config.parameters();
        let is_bias = |name: &str| name.starts_with("bias_");
        // Tanh and relu may have a second bias.
        let has = |name: &str| {
            vb.contains_tensor(name) || vb.contains_tensor(&name.replace("bias_ih", "bias_hh"))
        };
        let has_no_bias = shapes.iter().all(|(name, _)| has(name) != is_bias(name));
        let layers = (0..config.num_layers).map(|layer| {
            let directions = (0..config.directions()).map(|direction| {
                let find = |name: &str| {
                    let name = weight_name(name, layer, direction);
                    shapes.iter().find(|(found, _)| *found == name)
                };
                let get = |name: &str| match find(name) {
                    Some((name, shape)) if has_no_bias && is_bias(name) => {
                        Ok(Some(Tensor::zeros(shape.as_slice(), vb.dtype(), vb.device())?))
                    }
                    Some((name, shape)) => super::weights::get(&vb, shape, name).map(Some),
                    None => Ok(None),
                };
                let need = |name: &str| match get(name)? {
                    Some(tensor) => Ok(tensor),
                    None => Err(Error::Config(format!("a layer has no {name}"))),
                };
                let (w_ih, w_hh) = (need("weight_ih")?, need("weight_hh")?);
                let (b_ih, mut b_hh) = (need("bias_ih")?, get("bias_hh")?);
                let second = weight_name("bias_hh", layer, direction);
                if !config.cell.has_two_biases() && vb.contains_tensor(&second) {
                    let rows = config.cell.gates() * config.hidden_size;
                    b_hh = Some(super::weights::get(&vb, &[rows], &second)?);
                }
                Ok(Weights { w_ih, w_hh, b_ih, b_hh, w_hr: get("weight_hr")? })
            });
            directions.collect::<Result<Vec<_>>>()
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        check_dtypes(&layers, &vb)?;
        let layers =
            layers.into_iter().map(|layer| LayerWeights::of_directions(config.cell, layer));
        Ok(Self { config, layers: layers.collect::<Result<_>>()? })
    }

    /// Puts initial weights into a sink and builds on them: an optimizer that changes the variables changes
    /// this stack. `sink.pp("encoder")` gives the names a prefix.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not hold, when a variable of one of these names exists, or when
    /// the prefix has a dot too many; [`Error::DType`] unless the sink makes `f32` or `f64`;
    /// [`Error::Candle`] when a tensor cannot be made. Nothing is inserted or drawn then.
    pub fn init(
        config: impl Into<StackConfig>,
        init: Init,
        rng: &mut SeededRng,
        sink: &VarSink,
    ) -> Result<Self> {
        let config = config.into();
        config.check()?;
        init_stack(&config, init, rng, sink)?;
        Self::new(config, sink.builder())
    }

    /// The same weights as variables of their own in a sink, and a stack on them: to train on with weights
    /// from elsewhere.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn to_vars(&self, sink: &VarSink) -> Result<Self> {
        let mut tensors = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for (direction, weights) in layer.directions().iter().enumerate() {
                tensors.extend(named_weights(weights, index, direction));
            }
        }
        let names = sink.new_names(tensors.iter().map(|(name, _)| name))?;
        let tensors = tensors.into_iter().map(|(_, tensor)| tensor.clone());
        sink.insert_all(names.into_iter().zip(tensors).collect())?;
        Self::new(self.config, sink.builder())
    }

    /// Runs the stack over a batch of sequences.
    ///
    /// - `sequences`: `x`, `(B, T, I)`, or [`Sequences`] with lengths, initial states, truncation, dropout and
    ///   so on
    /// - returns the outputs, `(B, T, D·P)`, and the final states
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree, [`Error::DType`] when dtypes do, [`Error::Config`] for
    /// lengths that do not fit, states that are computed again ([`Sequences::recomputing`]) though
    /// all are read, truncation in a bidirectional stack or, in overlapping windows, in one of
    /// several layers (see [`Truncation::windows`]); on a device, for windows of truncation and states that
    /// are computed again, which its kernels do not have; [`Error::Device`] when it fails.
    ///
    /// [`Truncation::windows`]: crate::recurrence::Truncation::windows
    #[doc(alias = "static_rnn")]
    #[doc(alias = "dynamic_rnn")]
    pub fn forward<'a>(&self, sequences: impl Into<Sequences<'a>>) -> Result<Output> {
        let mut sequences = sequences.into();
        if sequences.recompute {
            // It says so.
            Unroll::new(Outputs::All).recomputing()?;
        }
        let (mut h, mut c) = (Vec::new(), Vec::new());
        let mut x = Cow::Borrowed(sequences.x);
        for layer in 0..self.layers.len() {
            let all = Unroll::new(Outputs::All);
            let (outputs, state) = self.layer(layer, &x, &mut sequences, all, run_layer)?;
            let outputs = outputs.ok_or_else(|| Error::Config("a layer gave no outputs".into()))?;
            h.push(state.h);
            c.extend(state.c);
            x = Cow::Owned(outputs);
        }
        let join = |states: &[Tensor]| match states {
            [state] => Ok(state.clone()),
            states => Tensor::cat(states, 0),
        };
        let c = if c.is_empty() { None } else { Some(join(&c)?) };
        let state = State::from_parts(join(&h)?, c).after(sequences.initial);
        Ok(Output { outputs: x.into_owned(), state })
    }

    /// Runs the stack over a batch of sequences and returns the last layer's final h alone, forward
    /// beside backward: `(B, D·P)`. It saves the others' reading and writing.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn last<'a>(&self, sequences: impl Into<Sequences<'a>>) -> Result<Tensor> {
        let mut sequences = sequences.into();
        let mut x = Cow::Borrowed(sequences.x);
        let top = self.layers.len() - 1;
        for layer in 0..top {
            let all = Unroll::new(Outputs::All);
            let (outputs, _) = self.layer(layer, &x, &mut sequences, all, run_layer)?;
            x = Cow::Owned(outputs.ok_or_else(|| Error::Config("a layer gave no outputs".into()))?);
        }
        let mut unroll = Unroll::new(Outputs::Last);
        if sequences.recompute {
            unroll = unroll.recomputing()?;
        }
        self.layer(top, &x, &mut sequences, unroll, recurrence::last)
    }

    /// One step of all layers, which run forward in time.
    ///
    /// The weights are packed at the first step, and again when they have changed, which a hash of their numbers
    /// tells; a frozen stack ([`freeze`](Self::freeze)) saves the hash.
    ///
    /// Where gradients are tracked, the state carries the graph of all steps before:
    /// [`State::detach`] it where they are to stop, at least every [`State::MAX_CALLS`] steps.
    ///
    /// - `x_t`: `(B, I)`
    /// - `state`: before the step, as [`Output::state`] has it; zeros if `None`
    /// - returns the last layer's output, `(B, P)`, and the states after the step
    ///
    /// # Errors
    /// [`Error::Config`] for a bidirectional stack, and for a state that carries the graph of
    /// [`State::MAX_CALLS`] steps; else as [`forward`](Self::forward).
    pub fn step(&self, x_t: &Tensor, state: Option<&State>) -> Result<(Tensor, State)> {
        if self.config.bidirectional {
            return Err(Error::Config(
                "a bidirectional stack cannot run step by step: call forward on the whole \
                 sequence"
                    .into(),
            ));
        }
        let (mut h, mut c) = (Vec::new(), Vec::new());
        let mut x_t = x_t.clone();
        for index in 0..self.layers.len() {
            let before = state.map(|state| self.state_of(index, state)).transpose()?;
            let after = self.cell(index).step(&x_t, before.as_ref())?;
            x_t = after.h.squeeze(0)?;
            h.push(after.h);
            c.extend(after.c);
        }
        if h.len() == 1 {
            return Ok((x_t, State::from_parts(h.remove(0), c.pop()).after(state)));
        }
        let c = if c.is_empty() { None } else { Some(Tensor::cat(&c, 0)?) };
        Ok((x_t, State::from_parts(Tensor::cat(&h, 0)?, c).after(state)))
    }

    /// The cell of a layer, in the forward direction; it shares the weights.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn cell(&self, layer: usize) -> RecurrentCell {
        RecurrentCell::of_layer(&self.layers[layer])
    }

    /// The same stack for inference: it shares the weights, and follows them when they change, but
    /// keeps no graph for a backward pass.
    pub fn detach(&self) -> Self {
        let layers = self.layers.iter().map(LayerWeights::detach).collect();
        Self { config: self.config, layers }
    }

    /// The stack as it is now, for inference: it has weights of its own, which are packed once.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let layers = self.layers.iter().map(LayerWeights::freeze).collect::<Result<_>>()?;
        Ok(Self { config: self.config, layers })
    }

    /// Its sizes and its cell.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// The number of features of an output, D·P: what the next layer or a head reads.
    pub fn output_features(&self) -> usize {
        self.config.output_features()
    }

    /// The weights of a layer: forward, and backward if it runs in both directions.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn weights(&self, layer: usize) -> &[Weights] {
        self.layers[layer].directions()
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.layers[0].device()
    }

    /// The float type of the weights.
    pub fn dtype(&self) -> DType {
        self.layers[0].dtype()
    }
}

/// Checks that all weights have one dtype, with which a stack can be run.
fn check_dtypes(layers: &[Vec<Weights>], vb: &VarBuilder) -> Result<()> {
    let first = layers[0][0].w_ih.dtype();
    for (layer, directions) in layers.iter().enumerate() {
        for (direction, weights) in directions.iter().enumerate() {
            for (name, tensor) in named_weights(weights, layer, direction) {
                let expected = if !matches!(tensor.dtype(), DType::F32 | DType::F64) {
                    "f32 or f64 (convert it with to_dtype)"
                } else if tensor.dtype() != first {
                    "of the first weight's dtype (convert it with to_dtype)"
                } else {
                    continue;
                };
                return Err(Error::DType {
                    op: "stack",
                    tensor: super::weights::full_name(vb, &name),
                    expected,
                    actual: tensor.dtype().as_str().into(),
                });
            }
        }
    }
    Ok(())
}

/// The outputs, `(B, T, D·P)`, of sequences `(B, T, I)` that are read from zeros.
impl Module for Stack {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(Self::forward(self, x)?.outputs)
    }
}

impl AsRef<Self> for Stack {
    fn as_ref(&self) -> &Self {
        self
    }
}
