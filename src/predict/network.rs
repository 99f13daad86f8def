//! `StepNetwork`: a model's layers as the kernels read them step by step.

use std::fmt;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Tensor, WithDType};
use candle_rnn_kernels::{LayerShape, Network, Number, WeightSlices};

use crate::nn::{Dense, Embedding, Stack};
use crate::recurrence::{instruction_set_of_cpu, runs_on_cpu, WeightSizes};
use crate::Result;

/// The layers of a model, packed for steps of one sequence; it is made at the first step.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyNetwork(OnceLock<StepNetwork>);

/// Packed layers in the float type of the model.
#[derive(Clone)]
pub(super) enum StepNetwork {
    F32(Arc<Network<f32>>),
    F64(Arc<Network<f64>>),
    /// On a device Candle's tensors are used.
    Device,
}

impl fmt::Debug for StepNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packed network")
    }
}

impl LazyNetwork {
    /// The network that these parts make, which are always the same.
    ///
    /// # Errors
    /// [`Error::Candle`](crate::Error::Candle) when the weights cannot be read, [`Error::Config`](crate::Error::Config)
    /// when `CANDLE_RNN_ISA` names an instruction set that is not there.
    pub(super) fn get(
        &self,
        embedding: Option<&Embedding>,
        stack: &Stack,
        head: &Dense,
    ) -> Result<StepNetwork> {
        if let Some(network) = self.0.get() {
            return Ok(network.clone());
        }
        let network = if !runs_on_cpu(stack.device()) {
            StepNetwork::Device
        } else if stack.dtype() == DType::F64 {
            StepNetwork::F64(Arc::new(packed(embedding, stack, head)?))
        } else {
            StepNetwork::F32(Arc::new(packed(embedding, stack, head)?))
        };
        Ok(self.0.get_or_init(|| network).clone())
    }
}

fn packed<E: Number + WithDType>(
    embedding: Option<&Embedding>,
    stack: &Stack,
    head: &Dense,
) -> Result<Network<E>> {
    let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<E>();
    let optional = |tensor: Option<&Tensor>| tensor.map_or(Ok(Vec::new()), values);
    let mut network = Network::new(instruction_set_of_cpu()?);
    if let Some(embedding) = embedding {
        network = network.embedding(&values(embedding.weight())?);
    }
    let config = stack.config();
    for index in 0..config.num_layers {
        let mut directions = Vec::new();
        let mut shape = None;
        for weights in stack.weights(index) {
            let WeightSizes { input_size, hidden_size, output_size } =
                weights.check(config.cell)?;
            let cell = config.cell.kernels(weights.w_hr.is_some());
            shape = Some(LayerShape { cell, input_size, hidden_size, output_size });
            let rows = config.cell.gates() * hidden_size;
            let mut others = values(&weights.b_ih)?;
            others.extend(optional(weights.b_hh.as_ref())?);
            if let Some(w_hr) = &weights.w_hr {
                // It stands behind both biases.
                others.resize(2 * rows, E::ZERO);
                others.extend(values(w_hr)?);
            }
            directions.push((values(&weights.w_ih)?, values(&weights.w_hh)?, others, rows));
        }
        let slices: Vec<WeightSlices<E>> = directions
            .iter()
            .map(|(w_ih, w_hh, others, rows)| WeightSlices::new(w_ih, w_hh, others, *rows))
            .collect();
        if let Some(shape) = shape {
            network = network.layer(shape, &slices);
        }
    }
    let bias = match head.bias() {
        Some(bias) => values(bias)?,
        None => vec![E::ZERO; head.weight().dim(0)?],
    };
    Ok(network.head(&values(head.weight())?, &bias))
}
