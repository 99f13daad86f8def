//! `StepReader`: the state of a sequence that a model reads step by step.

use candle_core::{DType, Device, Tensor};
use candle_rnn_kernels::{Number, Stream as KernelStream};

use super::network::StepNetwork;
use crate::model::{LanguageModel, SequenceClassifier};
use crate::recurrence::{check_teams, State};
use crate::{Error, Result};

/// Where a sequence stands: on the CPU in the kernels' own memory, on a device in tensors.
#[derive(Clone, Debug)]
pub(super) enum StepReader {
    F32(KernelReader<f32>),
    F64(KernelReader<f64>),
    /// Once there was a step.
    Device(Option<State>),
}

/// A stream of the kernels, and the inputs of a step in its float type.
#[derive(Clone, Debug)]
pub(super) struct KernelReader<E: Number> {
    stream: KernelStream<E>,
    inputs: Vec<E>,
}

impl<E: Number> KernelReader<E> {
    fn new(network: std::sync::Arc<candle_rnn_kernels::Network<E>>) -> Result<Self> {
        let stream =
            KernelStream::new(network).map_err(|error| Error::Config(error.to_string()))?;
        Ok(Self { stream, inputs: Vec::new() })
    }

    fn push(&mut self, x_t: &[f64]) -> Vec<f64> {
        self.inputs.clear();
        self.inputs.extend(x_t.iter().map(|x| <E as Number>::from_f64(*x)));
        as_f64(self.stream.step(&self.inputs))
    }

    fn push_id(&mut self, id: u32) -> Vec<f64> {
        as_f64(self.stream.step_id(id as usize))
    }

    fn hidden(&self) -> Vec<f32> {
        self.stream.hidden().iter().map(|value| Number::to_f64(*value) as f32).collect()
    }
}

fn as_f64<E: Number>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| Number::to_f64(*value)).collect()
}

impl StepReader {
    /// Before the first step.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that cannot be read step by step.
    pub(super) fn new(network: StepNetwork) -> Result<Self> {
        Ok(match network {
            StepNetwork::F32(network) => Self::F32(KernelReader::new(network)?),
            StepNetwork::F64(network) => Self::F64(KernelReader::new(network)?),
            StepNetwork::Device => Self::Device(None),
        })
    }

    /// Takes a step, and returns the outputs of the head, `(C,)`.
    ///
    /// - `model`: the one that the network is of
    /// - `x_t`: `(I,)`
    ///
    /// # Errors
    /// As [`Stack::step`](crate::nn::Stack::step), on a device alone; nothing has changed then.
    pub(super) fn push(&mut self, model: &SequenceClassifier, x_t: &[f64]) -> Result<Vec<f64>> {
        match self {
            Self::F32(steps) => Ok(steps.push(x_t)),
            Self::F64(steps) => Ok(steps.push(x_t)),
            Self::Device(state) => {
                let x_t = Tensor::from_slice(x_t, (1, x_t.len()), &Device::Cpu)?
                    .to_dtype(model.rnn().dtype())?
                    .to_device(model.rnn().device())?;
                let (h_t, after) = model.rnn().step(&x_t, state.as_ref())?;
                let outputs = model.logits(&h_t)?.squeeze(0)?.to_dtype(DType::F64)?.to_vec1()?;
                check_teams(model.rnn().device())?;
                *state = Some(after);
                Ok(outputs)
            }
        }
    }

    /// The last layer's output after the last step, `(P,)`; on a device empty before the first.
    ///
    /// # Errors
    /// [`Error::Candle`] on a device alone.
    pub(super) fn hidden(&self) -> Result<Vec<f32>> {
        Ok(match self {
            Self::F32(steps) => steps.hidden(),
            Self::F64(steps) => steps.hidden(),
            Self::Device(None) => Vec::new(),
            Self::Device(Some(state)) => {
                let last = state.h.get(state.h.dim(0)? - 1)?;
                last.squeeze(0)?.to_dtype(DType::F32)?.to_vec1()?
            }
        })
    }

    /// Takes a character, and returns the logits of the next, `(V,)`.
    ///
    /// - `model`: the one that the network is of
    /// - `id`: below V
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) fn push_id(&mut self, model: &LanguageModel, id: u32) -> Result<Vec<f64>> {
        match self {
            Self::F32(steps) => Ok(steps.push_id(id)),
            Self::F64(steps) => Ok(steps.push_id(id)),
            Self::Device(state) => {
                let (logits, after) = model.step(id, state.as_ref())?;
                let logits = logits.to_dtype(DType::F64)?.to_vec1()?;
                check_teams(model.rnn().device())?;
                *state = Some(after);
                Ok(logits)
            }
        }
    }
}
