//! Weights packed for the CPU's kernels.
//!
//! The packed elements do not go through Candle's graph: of every gradient that an op hands it, Candle makes a
//! tensor of zeros and a sum, which here would cost as much as a product. A weights edge stands for them in the
//! graph, and their gradients come back by way of [`WeightGrads`].

use std::sync::Arc;

use candle_core::{DType, Tensor, WithDType};
use candle_rnn_kernels::{
    self as kernels, Buffer, CellKind, Float, Isa, Kernels, SequenceDims, TransposedWeights,
    WeightSlices,
};

use super::checked_call::CheckedCall;
use super::grad_mailbox::{within_node, WeightGrads};
use super::graph::{add_weights, HeldWeights, ResultShapes, Results};
use super::storage::{elements, with_element};
use super::weights::{WeightSizes, Weights};
use super::Cell;
use crate::{Error, Result};

/// An element of tensors that has kernels.
pub(super) trait TensorFloat: Float + WithDType {}

impl<E: Float + WithDType> TensorFloat for E {}

/// The weights of a layer as the kernels of this CPU read them: a copy, of either dtype.
#[derive(Clone)]
pub(crate) struct PackedWeights(Arc<dyn PackedLayer>);

/// A layer with packed weights of a dtype that is decided: `fused` implements it.
pub(super) trait PackedLayer: Send + Sync {
    /// Runs the layer.
    ///
    /// - `x`, and the initial states of `call`: of any shape with the elements of `(B, T, I)` and of `[h_0 | c_0]`
    /// - `shapes`: of those results that are read; all outputs only if the call reads them
    ///
    /// # Errors
    /// [`Error::Candle`] when the elements of a tensor cannot be read.
    fn run(&self, x: &Tensor, call: CheckedCall, shapes: ResultShapes) -> Result<Results>;
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packed weights")
    }
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
        let kind = cell.kernels(directions[0].w_hr.is_some());
        let tensors = directions.iter().map(Weights::as_arguments);
        Self::of_tensors(
            kind,
            directions[0].check(cell)?,
            tensors.collect::<candle_core::Result<_>>()?,
            isa,
        )
    }

    /// Packs three tensors of each direction, as [`PackedTensors::new`] takes them.
    pub(super) fn of_tensors(
        kind: CellKind,
        sizes: WeightSizes,
        directions: Vec<[Tensor; 3]>,
        isa: Isa,
    ) -> Result<Self> {
        Ok(Self(with_element!(directions[0][0].dtype(), E => {
            Arc::new(Packed::<E>::new(kind, sizes, directions, isa)?)
        })))
    }

    /// The layer that they make.
    pub(super) fn layer(&self) -> &dyn PackedLayer {
        &*self.0
    }
}

/// Packed weights of one dtype.
#[derive(Clone)]
pub(super) struct Packed<E> {
    /// `(D, 2)`, `f64`: stands for the weights in the graph; its gradient is what [`WeightGrads`] says.
    pub(super) edge: Tensor,
    pub(super) directions: Vec<Arc<PackedDirection<E>>>,
}

impl<E: TensorFloat> Packed<E> {
    fn new(
        kind: CellKind,
        sizes: WeightSizes,
        tensors: Vec<[Tensor; 3]>,
        isa: Isa,
    ) -> Result<Self> {
        if !tensors[0][0].device().is_cpu() {
            return Err(Error::Config(
                "the fused recurrence runs on the CPU: here is a tensor on another device".into(),
            ));
        }
        let directions = tensors.iter().map(|tensors| {
            let packed = PackedTensors::new(isa, kind, sizes, tensors)?;
            Ok(Arc::new(PackedDirection { packed, grads: WeightGrads::default() }))
        });
        let directions = directions.collect::<candle_core::Result<Vec<_>>>()?;
        let edge = add_weights(tensors.into_iter().zip(&directions))?;
        Ok(Self { edge, directions })
    }

    pub(super) fn kernels(&self) -> &Kernels<E> {
        &self.directions[0].packed.kernels
    }
}

/// The packed weights of a direction.
pub(super) struct PackedDirection<E> {
    pub(super) packed: PackedTensors<E>,
    /// Gradients on their way back.
    pub(super) grads: WeightGrads<Vec<E>>,
}

impl<E: TensorFloat> HeldWeights for PackedDirection<E> {
    const EDGE: (&'static [usize], DType) = (&[1, 2], DType::F64);

    fn gradients(&self, grad: &Tensor) -> candle_core::Result<[Tensor; 3]> {
        let Some(sum) = self.grads.take(grad)? else {
            candle_core::bail!(
                "rnn-weights: gradients of another backward pass came between, of one that failed or of one that \
                 ran within this one: run backward again"
            )
        };
        within_node(|| self.packed.unpack(&sum))
    }
}

/// Three tensors of weights packed for both passes, and the kernels that read them.
pub(super) struct PackedTensors<E> {
    pub(super) kernels: Kernels<E>,
    /// For the forward pass: blocks of gates, each `[b | W_ih | W_hh]` in panels of registers.
    pub(super) forward: Buffer<E>,
    /// For the backward pass.
    pub(super) transposed: TransposedWeights<E>,
    dims: SequenceDims,
    /// The shapes of W_ih, W_hh and of the biases and the projection.
    shapes: [Vec<usize>; 3],
}

impl<E: TensorFloat> PackedTensors<E> {
    /// Packs W_ih `(G·H, I)`, W_hh `(G·H, P)` (`(0,)` for a dense layer) and the biases and the projection, flat.
    ///
    /// # Errors
    /// When their elements cannot be read.
    fn new(
        isa: Isa,
        kind: CellKind,
        WeightSizes { input_size, hidden_size, output_size }: WeightSizes,
        tensors: &[Tensor; 3],
    ) -> candle_core::Result<Self> {
        let kernels = E::kernels(isa, kind);
        let dims = SequenceDims { batch_size: 1, seq_len: 1, input_size, hidden_size, output_size };
        let gates = tensors[0].dims()[0];
        let [w_ih, w_hh, others] = tensors.each_ref().map(elements);
        let slices = WeightSlices::new(w_ih.slice()?, w_hh.slice()?, others.slice()?, gates);
        Ok(Self {
            kernels,
            forward: kernels::pack_weights(&kernels, &dims, slices),
            transposed: kernels::pack_transposed(&kernels, &dims, slices),
            dims,
            shapes: tensors.each_ref().map(|tensor| tensor.dims().to_vec()),
        })
    }

    /// The gradients of the tensors from packed ones.
    ///
    /// # Errors
    /// When Candle fails to make a tensor.
    fn unpack(&self, packed: &[E]) -> candle_core::Result<[Tensor; 3]> {
        let [of_input, of_state, others] = &self.shapes;
        let (gates, others_len) = (of_input[0], others[0]);
        let [w_ih, w_hh, biases] =
            kernels::unpack_gradients(&self.kernels, &self.dims, gates, others_len, packed);
        let tensor = |elements, shape: &Vec<usize>| {
            Tensor::from_vec(elements, &shape[..], &candle_core::Device::Cpu)
        };
        Ok([tensor(w_ih, of_input)?, tensor(w_hh, of_state)?, tensor(biases, others)?])
    }
}
