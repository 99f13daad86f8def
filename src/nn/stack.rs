//! Layers on top of each other, each in one direction or in both.

use std::borrow::Cow;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::cell::RecurrentCell;
use super::dropout::{self, check_probability};
use super::init::{init_stack, Init, VarSink};
use crate::bptt::Truncation;
use crate::recurrence::{
    rnn_sequence, run_layer, unrolled, Call, Cell, Outputs, PackedWeights, State, Unroll, Weights,
};
use crate::rng::Stream;
use crate::{Error, Result};

/// The sizes of a [`Stack`] and its cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackConfig {
    /// The cell of all layers.
    pub cell: Cell,
    /// I, features of the input at each step.
    pub input_size: usize,
    /// H, units of a layer in one direction.
    pub hidden_size: usize,
    /// L, layers.
    pub num_layers: usize,
    /// Whether each layer runs in both directions: D is 2.
    pub bidirectional: bool,
    /// Probability that a number between two layers is left out in training.
    pub dropout: f64,
    /// Probability that a unit's state is left out of the recurrent products in training, the same
    /// units at every step of a sequence.
    pub recurrent_dropout: f64,
    /// P, if an LSTM's state is projected.
    pub proj_size: Option<usize>,
    /// The initial bias of an LSTM's forget gate, if it is not to be as the initialisation's source
    /// has it.
    pub forget_bias: Option<f64>,
}

impl StackConfig {
    /// One layer, forward in time, without dropout.
    pub fn new(cell: Cell, input_size: usize, hidden_size: usize) -> Self {
        Self {
            cell,
            input_size,
            hidden_size,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            recurrent_dropout: 0.,
            proj_size: None,
            forget_bias: None,
        }
    }

    /// D: 1 or 2.
    pub fn directions(&self) -> usize {
        if self.bidirectional {
            2
        } else {
            1
        }
    }

    /// P: numbers of an output of one direction.
    pub fn output_size(&self) -> usize {
        self.proj_size.unwrap_or(self.hidden_size)
    }

    /// Checks that sizes are at least 1, probabilities in `[0, 1)`, and that the cell has what is
    /// asked of it.
    ///
    /// # Errors
    /// [`Error::Config`] naming what does not hold.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("input_size", self.input_size),
            ("hidden_size", self.hidden_size),
            ("num_layers", self.num_layers),
            ("proj_size", self.output_size()),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(Error::Config(format!("{name} must be at least 1, got 0")));
        }
        check_probability("dropout", self.dropout)?;
        check_probability("recurrent_dropout", self.recurrent_dropout)?;
        if self.dropout > 0. && self.num_layers == 1 {
            return Err(Error::Config(
                "dropout is between layers, and there is one: set num_layers, or recurrent_dropout"
                    .into(),
            ));
        }
        if self.cell != Cell::Lstm && (self.proj_size.is_some() || self.forget_bias.is_some()) {
            let cell = self.cell.name();
            return Err(Error::Config(format!(
                "a projection or forget bias is for lstm, not {cell}"
            )));
        }
        Ok(())
    }

    /// Names and shapes of all weights, PyTorch's: `weight_ih_l0` (G·H, I), `weight_hh_l0` (G·H, P),
    /// `bias_ih_l0`, `bias_hh_l0` (G·H,), `weight_hr_l0` (P, H); `l1` and so on for the layers above,
    /// whose inputs are D·P; `_reverse` behind the names of the backward direction. In the order of
    /// layers and directions.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let rows = self.cell.gates() * self.hidden_size;
        let outputs = self.output_size();
        let mut parameters = Vec::new();
        for layer in 0..self.num_layers {
            let inputs = if layer == 0 { self.input_size } else { self.directions() * outputs };
            for direction in 0..self.directions() {
                let mut add = |name: &str, shape: &[usize]| {
                    parameters.push((weight_name(name, layer, direction), shape.to_vec()));
                };
                add("weight_ih", &[rows, inputs]);
                add("weight_hh", &[rows, outputs]);
                add("bias_ih", &[rows]);
                if self.cell.has_two_biases() {
                    add("bias_hh", &[rows]);
                }
                if self.proj_size.is_some() {
                    add("weight_hr", &[outputs, self.hidden_size]);
                }
            }
        }
        parameters
    }
}

/// PyTorch's name for a weight.
pub(crate) fn weight_name(name: &str, layer: usize, direction: usize) -> String {
    format!("{name}_l{layer}{}", if direction == 0 { "" } else { "_reverse" })
}

/// A batch of sequences, and how a stack is to read it.
///
/// A tensor alone is a batch of whole sequences, batch-first, read from zeros.
///
/// ```
/// # use candle_core::{DType, Device, Tensor};
/// use candle_rnn::nn::Sequences;
/// # fn main() -> candle_rnn::Result<()> {
/// let x = Tensor::zeros((2, 7, 3), DType::F32, &Device::Cpu)?;
/// let ragged = Sequences::new(&x).lengths(&[7, 4]);
/// # let _ = ragged;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sequences<'a> {
    x: &'a Tensor,
    initial: Option<&'a State>,
    lengths: Option<&'a [usize]>,
    time_major: bool,
    truncation: Truncation,
    recompute: bool,
    dropout: Option<&'a mut Stream>,
}

impl<'a> Sequences<'a> {
    /// `x` is `(B, T, I)`.
    pub fn new(x: &'a Tensor) -> Self {
        Self {
            x,
            initial: None,
            lengths: None,
            time_major: false,
            truncation: Truncation::FULL,
            recompute: false,
            dropout: None,
        }
    }

    /// States before the first step: `(L·D, B, P)` and, for an LSTM, `(L·D, B, H)`.
    pub fn initial(self, state: &'a State) -> Self {
        Self { initial: Some(state), ..self }
    }

    /// The steps of each row, at most T: what lies behind is not read, outputs there are zero, and
    /// final states are those at the row's end. The backward direction begins there.
    #[doc(alias = "sequence_length")]
    #[doc(alias = "pack_padded_sequence")]
    pub fn lengths(self, lengths: &'a [usize]) -> Self {
        Self { lengths: Some(lengths), ..self }
    }

    /// `x` is `(T, B, I)`, and so are the outputs.
    pub fn time_major(self) -> Self {
        Self { time_major: true, ..self }
    }

    /// Gradients flow back as far as `truncation` says.
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation, ..self }
    }

    /// States of the last layer are computed again in the backward pass: see
    /// [`Unroll::recomputing`]. For [`Stack::last`] only.
    pub fn recomputing(self) -> Self {
        Self { recompute: true, ..self }
    }

    /// For training: dropout draws from `rng`. Without it nothing is left out.
    pub fn dropout(self, rng: &'a mut Stream) -> Self {
        Self { dropout: Some(rng), ..self }
    }
}

impl<'a> From<&'a Tensor> for Sequences<'a> {
    fn from(x: &'a Tensor) -> Self {
        Self::new(x)
    }
}

/// What a stack makes of a batch of sequences.
#[derive(Clone, Debug)]
pub struct Output {
    /// `(B, T, D·P)`, or `(T, B, D·P)` if time-major: of the last layer, forward beside backward.
    pub outputs: Tensor,
    /// Final states of all layers: `(L·D, B, P)` and, for an LSTM, `(L·D, B, H)`.
    pub state: State,
}

/// The weights of one layer, in one direction or in both.
#[derive(Clone, Debug)]
struct Layer {
    directions: Vec<Weights>,
    /// Of weights that do not change any more.
    packed: Option<PackedWeights>,
}

/// Recurrent layers on top of each other: the outputs of one are the inputs of the next.
///
/// On the CPU every layer is one fused op of [`recurrence`](crate::recurrence), whatever the number
/// of steps. Elsewhere it is composed from Candle's own ops, step by step.
///
/// ```
/// # use candle_core::{DType, Device, Tensor};
/// # use candle_nn::VarMap;
/// # use candle_rnn::rng::{Purpose, Stream};
/// use candle_rnn::nn::{init::VarSink, Gru, GruConfig, Init, Sequences};
/// # fn main() -> candle_rnn::Result<()> {
/// let vars = VarMap::new();
/// let sink = VarSink::new(&vars, DType::F32, &Device::Cpu);
/// let rng = &mut Stream::new(1, Purpose::Init);
/// let config = GruConfig { num_layers: 2, bidirectional: true, ..GruConfig::new(3, 8) };
/// let gru = Gru::init(config, Init::Orthogonal, rng, &sink, "gru")?;
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
    layers: Vec<Layer>,
}

impl Stack {
    /// Takes the weights from `vb` under PyTorch's names, see [`StackConfig::parameters`]. Tanh and
    /// relu have a `bias_hh` too if it is there.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not hold, [`Error::Candle`] when a tensor is missing or
    /// has another shape.
    pub fn new(config: StackConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let shapes = config.parameters();
        let layers = (0..config.num_layers).map(|layer| {
            let directions = (0..config.directions()).map(|direction| {
                let find = |name: &str| {
                    let name = weight_name(name, layer, direction);
                    shapes.iter().find(|(found, _)| *found == name)
                };
                let get = |name: &str| match find(name) {
                    Some((name, shape)) => vb.get(shape.as_slice(), name).map(Some),
                    None => Ok(None),
                };
                let need = |name: &str| match get(name)? {
                    Some(tensor) => Ok(tensor),
                    None => Err(Error::Config(format!("a layer has no {name}"))),
                };
                let mut b_hh = get("bias_hh")?;
                let second = weight_name("bias_hh", layer, direction);
                if !config.cell.has_two_biases() && vb.contains_tensor(&second) {
                    let rows = config.cell.gates() * config.hidden_size;
                    b_hh = Some(vb.get(rows, &second)?);
                }
                Ok(Weights {
                    w_ih: need("weight_ih")?,
                    w_hh: need("weight_hh")?,
                    b_ih: need("bias_ih")?,
                    b_hh,
                    w_hr: get("weight_hr")?,
                })
            });
            Ok(Layer { directions: directions.collect::<Result<_>>()?, packed: None })
        });
        Ok(Self { config, layers: layers.collect::<Result<_>>()? })
    }

    /// Puts initial weights into `vars`, behind `prefix` and a dot if it is not empty, and builds on
    /// them: an optimizer that changes the variables changes this stack.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not hold, [`Error::Candle`] when a tensor cannot be
    /// made.
    pub fn init(
        config: StackConfig,
        init: Init,
        rng: &mut Stream,
        vars: &VarSink,
        prefix: &str,
    ) -> Result<Self> {
        config.check()?;
        init_stack(&config, init, rng, vars, prefix)?;
        let vb = vars.builder();
        Self::new(config, if prefix.is_empty() { vb } else { vb.pp(prefix) })
    }

    /// Runs the stack over a batch of sequences.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree, [`Error::DType`] when dtypes do, [`Error::Config`] for
    /// lengths that do not fit, states that are computed again ([`Sequences::recomputing`]) though
    /// all are read, truncation in a bidirectional stack or, in overlapping windows, in one of
    /// several layers (see [`Truncation::windows`]), and on other devices than the CPU.
    pub fn forward<'a>(&self, sequences: impl Into<Sequences<'a>>) -> Result<Output> {
        let mut sequences = sequences.into();
        if sequences.recompute {
            // It says so.
            Unroll::new(Outputs::All).recomputing()?;
        }
        let (mut h, mut c) = (Vec::new(), Vec::new());
        let mut x = Cow::Borrowed(sequences.x);
        for layer in 0..self.layers.len() {
            let call = LayerCall { read: Outputs::All, recompute: false };
            let (outputs, state) = self.layer(layer, &x, &mut sequences, call)?;
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
        Ok(Output { outputs: x.into_owned(), state: State { h: join(&h)?, c } })
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
            let call = LayerCall { read: Outputs::All, recompute: false };
            let (outputs, _) = self.layer(layer, &x, &mut sequences, call)?;
            x = Cow::Owned(outputs.ok_or_else(|| Error::Config("a layer gave no outputs".into()))?);
        }
        let is_plain = sequences.lengths.is_none()
            && sequences.initial.is_none()
            && !sequences.time_major
            && !self.config.cell.has_c()
            && (sequences.dropout.is_none() || self.config.recurrent_dropout == 0. && top == 0);
        if is_plain && self.config.directions() == 1 && x.device().is_cpu() {
            // Without a node of the graph for the shape.
            let mut unroll = Unroll::new(Outputs::Last).truncated(sequences.truncation);
            if sequences.recompute {
                unroll = unroll.recomputing()?;
            }
            self.check_truncation(sequences.truncation)?;
            return rnn_sequence(&x, self.packed(top)?.as_ref(), None, unroll);
        }
        let call = LayerCall { read: Outputs::Last, recompute: sequences.recompute };
        let (_, State { h, .. }) = self.layer(top, &x, &mut sequences, call)?;
        let (directions, batch_size, size) = h.dims3()?;
        Ok(match directions {
            1 => h.squeeze(0)?,
            _ => h.transpose(0, 1)?.reshape((batch_size, directions * size))?,
        })
    }

    /// Runs one layer.
    fn layer(
        &self,
        index: usize,
        x: &Tensor,
        sequences: &mut Sequences,
        LayerCall { read, recompute }: LayerCall,
    ) -> Result<(Option<Tensor>, State)> {
        self.check_truncation(sequences.truncation)?;
        let directions = self.config.directions();
        let mut dropped = None;
        let mut mask = None;
        if let Some(rng) = sequences.dropout.as_deref_mut() {
            if index > 0 && self.config.dropout > 0. {
                dropped = Some(dropout::dropout(x, self.config.dropout, rng)?);
            }
            if self.config.recurrent_dropout > 0. && x.rank() == 3 {
                let batch_size = x.dim(usize::from(sequences.time_major))?;
                let shape = [directions, batch_size, self.config.output_size()];
                let p = self.config.recurrent_dropout;
                mask = Some(dropout::mask(&shape, p, rng, x.dtype(), x.device())?);
            }
        }
        let x = dropped.as_ref().unwrap_or(x);
        let initial = match sequences.initial {
            None => None,
            Some(state) => Some(self.state_of(index, state)?),
        };
        let mut unroll = Unroll::new(read).truncated(sequences.truncation);
        if recompute {
            unroll = unroll.recomputing()?;
        }
        let call = Call {
            initial: initial.as_ref(),
            lengths: sequences.lengths,
            mask: mask.as_ref(),
            time_major: sequences.time_major,
            unroll,
        };
        if self.device().is_cpu() {
            return run_layer(x, self.packed(index)?.as_ref(), &call);
        }
        let weights: Vec<&Weights> = self.layers[index].directions.iter().collect();
        unrolled::run_layer(x, self.config.cell, &weights, &call)
    }

    /// A layer's part of the states of all layers.
    fn state_of(&self, layer: usize, state: &State) -> Result<State> {
        let directions = self.config.directions();
        let count = directions * self.layers.len();
        let part = |name: &'static str, states: &Tensor| {
            if states.dims().first() != Some(&count) {
                return Err(Error::Shape {
                    op: "stack",
                    tensor: name,
                    expected: format!("({count}, B, ..)"),
                    actual: states.dims().to_vec(),
                });
            }
            match count == directions {
                true => Ok(states.clone()),
                false => Ok(states.narrow(0, layer * directions, directions)?),
            }
        };
        let h = part("h_0", &state.h)?;
        let c = state.c.as_ref().map(|c| part("c_0", c)).transpose()?;
        Ok(State { h, c })
    }

    /// Truncation must mean in a stack what it means in a layer.
    fn check_truncation(&self, truncation: Truncation) -> Result<()> {
        if truncation == Truncation::FULL {
            return Ok(());
        }
        if self.config.bidirectional {
            return Err(Error::Config(
                "gradients cannot be truncated in both directions of time: every output of a \
                 bidirectional stack depends on all steps"
                    .into(),
            ));
        }
        if self.layers.len() > 1 && truncation.overlaps() {
            return Err(Error::Config(
                "windows that overlap mix in a stack of layers: take segments, or run each window \
                 by itself"
                    .into(),
            ));
        }
        Ok(())
    }

    /// One step of all layers, which run forward in time.
    ///
    /// - `x_t`: `(B, I)`
    /// - `state`: before the step, as [`Output::state`] has it; zeros if `None`
    /// - returns the last layer's output, `(B, P)`, and the states after the step
    ///
    /// # Errors
    /// [`Error::Config`] for a bidirectional stack; else as [`forward`](Self::forward).
    pub fn step(&self, x_t: &Tensor, state: Option<&State>) -> Result<(Tensor, State)> {
        if self.config.bidirectional {
            return Err(Error::Config(
                "a bidirectional stack has no single steps: it needs the whole sequence".into(),
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
            return Ok((x_t, State { h: h.remove(0), c: c.pop() }));
        }
        let c = if c.is_empty() { None } else { Some(Tensor::cat(&c, 0)?) };
        Ok((x_t, State { h: Tensor::cat(&h, 0)?, c }))
    }

    /// The cell of a layer, in the forward direction; it shares the weights.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn cell(&self, layer: usize) -> RecurrentCell {
        let Layer { directions, packed } = &self.layers[layer];
        let packed = if self.config.bidirectional { None } else { packed.clone() };
        RecurrentCell::of_layer(self.config.cell, directions[0].clone(), packed)
    }

    /// The weights as the kernels read them: made anew for each call, unless they are frozen.
    fn packed(&self, layer: usize) -> Result<Cow<'_, PackedWeights>> {
        let Layer { directions, packed } = &self.layers[layer];
        Ok(match packed {
            Some(packed) => Cow::Borrowed(packed),
            None => Cow::Owned(pack(self.config.cell, directions)?),
        })
    }

    /// The same stack for inference: it shares the weights, and follows them when they change, but
    /// keeps no graph for a backward pass.
    pub fn detach(&self) -> Self {
        let detach = |layer: &Layer| Layer {
            directions: layer.directions.iter().map(Weights::detach).collect(),
            packed: None,
        };
        Self { config: self.config, layers: self.layers.iter().map(detach).collect() }
    }

    /// The stack as it is now, for inference: it has weights of its own, which are packed once.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let freeze = |layer: &Layer| -> Result<Layer> {
            let directions =
                layer.directions.iter().map(Weights::copy).collect::<Result<Vec<_>>>()?;
            let packed = match self.device().is_cpu() {
                true => Some(pack(self.config.cell, &directions)?),
                false => None,
            };
            Ok(Layer { directions, packed })
        };
        let layers = self.layers.iter().map(freeze).collect::<Result<_>>()?;
        Ok(Self { config: self.config, layers })
    }

    /// Its sizes and its cell.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// The weights of a layer: forward, and backward if it runs in both directions.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn weights(&self, layer: usize) -> &[Weights] {
        &self.layers[layer].directions
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.layers[0].directions[0].w_ih.device()
    }

    /// The float type of the weights.
    pub fn dtype(&self) -> DType {
        self.layers[0].directions[0].w_ih.dtype()
    }
}

/// How a stack runs a layer.
#[derive(Clone, Copy)]
struct LayerCall {
    read: Outputs,
    recompute: bool,
}

fn pack(cell: Cell, directions: &[Weights]) -> Result<PackedWeights> {
    match directions {
        [forward, backward] => PackedWeights::bidirectional(cell, forward, backward),
        _ => PackedWeights::new(cell, &directions[0]),
    }
}
