//! Weights packed for the CPU's kernels.
//!
//! The packed elements do not go through Candle's graph: of every gradient that an op hands it, Candle makes a
//! tensor of zeros and a sum, which here would cost as much as a product. A weights edge stands for them in the
//! graph, and their gradients come back by way of [`WeightGrads`].

use std::sync::Arc;

use candle_core::{DType, Tensor, WithDType};
use candle_rnn_kernels::{
    self as kernels, CellKind, Float, Isa, Kernels, SequenceDims, TransposedWeights, WeightSlices,
};

use super::graph::{add_weights, HeldWeights};
use super::mailbox::{within_node, WeightGrads};
use super::storage::elements;
use super::weights::{WeightSizes, Weights};
use super::Cell;
use crate::{Error, Result};

/// The weights of a layer as the kernels of this CPU read them: a copy.
#[derive(Clone)]
pub(crate) enum PackedWeights {
    F32(Packed<f32>),
    F64(Packed<f64>),
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packed weights")
    }
}

/// An element of tensors that has kernels.
pub(crate) trait Element: Float + WithDType {}

impl<E: Float + WithDType> Element for E {}

/// Packed weights of one dtype.
#[derive(Clone)]
pub(crate) struct Packed<E> {
    /// `(D, 2)`, `f64`: stands for the weights in the graph; its gradient is what [`WeightGrads`] says.
    pub(super) edge: Tensor,
    pub(super) directions: Vec<Arc<PackedDirection<E>>>,
    kind: CellKind,
    isa: Isa,
}

impl<E: Float> Packed<E> {
    pub(super) fn kernels(&self) -> Kernels<E> {
        E::kernels(self.isa, self.kind)
    }
}

/// The packed weights of a direction.
pub(super) struct PackedDirection<E> {
    /// For the forward pass: blocks of gates, each `[b | W_ih | W_hh]` in panels of registers.
    pub(super) forward: kernels::Buffer<E>,
    /// For the backward pass.
    pub(super) transposed: TransposedWeights<E>,
    /// Gradients on their way back.
    pub(super) grads: WeightGrads<Vec<E>>,
    kernels: Kernels<E>,
    dims: SequenceDims,
    /// The rows of W_ih, G·H.
    gates: usize,
    /// The elements of the biases and the projection.
    others: usize,
}

impl PackedWeights {
    /// Packs the weights of a layer for the instruction set of this CPU, or the one that the environment
    /// variable `CANDLE_RNN_ISA` names.
    ///
    /// # Errors
    /// [`Error::Config`] when `CANDLE_RNN_ISA` names an instruction set that this CPU lacks; [`Error::Candle`]
    /// when the weights cannot be read.
    pub(super) fn new(cell: Cell, directions: &[Weights]) -> Result<Self> {
        Self::for_isa(cell, directions, super::instruction_set_of_cpu()?)
    }

    pub(super) fn for_isa(cell: Cell, directions: &[Weights], isa: Isa) -> Result<Self> {
        Ok(match directions[0].w_ih.dtype() {
            DType::F64 => Self::F64(pack(cell, directions, isa)?),
            _ => Self::F32(pack(cell, directions, isa)?),
        })
    }
}

fn pack<E: Element>(cell: Cell, weights: &[Weights], isa: Isa) -> Result<Packed<E>> {
    if !weights[0].w_ih.device().is_cpu() {
        return Err(Error::Config(
            "the fused recurrence runs on the CPU: here is a tensor on another device".into(),
        ));
    }
    let kind = cell.kernels(weights[0].w_hr.is_some());
    let kernels = E::kernels(isa, kind);
    let WeightSizes { input_size, hidden_size, output_size } = weights[0].check(cell)?;
    let dims = SequenceDims { batch_size: 1, seq_len: 1, input_size, hidden_size, output_size };
    let gates = cell.gates() * hidden_size;
    let (mut tensors, mut directions) = (Vec::new(), Vec::new());
    for weights in weights {
        let of_direction = weights.as_arguments()?;
        let [w_ih, w_hh, others] = of_direction.each_ref().map(elements);
        let slices = WeightSlices::new(w_ih.slice()?, w_hh.slice()?, others.slice()?, gates);
        directions.push(Arc::new(PackedDirection {
            forward: kernels::pack_weights(&kernels, &dims, slices),
            transposed: kernels::pack_transposed(&kernels, &dims, slices),
            grads: WeightGrads::default(),
            kernels,
            dims,
            gates,
            others: of_direction[2].elem_count(),
        }));
        drop((w_ih, w_hh, others));
        tensors.push(of_direction);
    }
    let edge = add_weights(tensors.into_iter().zip(&directions))?;
    Ok(Packed { edge, directions, kind, isa })
}

impl<E: Element> HeldWeights for PackedDirection<E> {
    const EDGE: (&'static [usize], DType) = (&[1, 2], DType::F64);

    fn gradients(&self, grad: &Tensor) -> candle_core::Result<[Tensor; 3]> {
        let Some(sum) = self.grads.take(grad)? else {
            candle_core::bail!(
                "rnn-weights: gradients of another backward pass came between, of one that failed or of one that \
                 ran within this one: run backward again"
            )
        };
        let Self { kernels, dims, gates, others, .. } = self;
        let [w_ih, w_hh, of_others] =
            within_node(|| kernels::unpack_gradients(kernels, dims, *gates, *others, &sum));
        Ok([
            Tensor::from_vec(w_ih, (*gates, dims.input_size), grad.device())?,
            Tensor::from_vec(w_hh, (*gates, dims.output_size), grad.device())?,
            Tensor::from_vec(of_others, *others, grad.device())?,
        ])
    }
}
