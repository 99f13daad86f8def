//! The nodes of a layer in Candle's graph, the same for every backend.
//!
//! Custom ops have three arguments and one result. So a layer is a chain of nodes:
//!
//! - [`WeightsNode`], one for each direction: `(W_ih, W_hh, others)` to the *weights edge*, a small tensor
//!   that stands for the weights as a backend holds them;
//! - [`LayerNode`]: `x`, the weights edge and the initial states to the result that is read, or, where both are,
//!   to an edge from which
//! - [`ResultNode`] leads to either result.
//!
//! A backend computes beside the graph, and its gradients of the weights and of the two results go through
//! [`grad_mailbox`](super::grad_mailbox), since Candle makes a tensor of zeros and a sum of every gradient in the graph.

// Memory that nothing is written to yet.
#![allow(unsafe_code)]

use std::sync::{Arc, OnceLock};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, DType, Layout, MetalStorage, Shape, Tensor,
};

use super::grad_mailbox::{LayerResult, ResultGrads};
use super::var_grads::deliver;

/// The gradients of a node's three arguments, of a layer `x`, the weights edge and the initial states.
pub(crate) type ArgumentGrads = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// The work of a layer's nodes, by a backend.
pub(super) trait LayerPass: Send + Sync + 'static {
    /// The name of the layer's node.
    const NAME: &'static str;

    /// The memory of a result on the CPU.
    fn result(&self, of: LayerResult, shape: &Shape) -> candle_core::Result<CpuStorage>;

    /// Where the gradients of the results wait.
    fn exchange(&self) -> &Exchange;

    /// The gradients of those arguments that are tracked.
    fn backward(
        &self,
        x: &Tensor,
        weights_edge: &Tensor,
        initial: Option<&Tensor>,
        reached: Reached,
    ) -> candle_core::Result<ArgumentGrads>;
}

/// The tensors that a layer's nodes hand each other beside the graph.
#[derive(Default)]
pub(super) struct Exchange {
    /// All outputs without their graph, where they are read.
    outputs: OnceLock<Tensor>,
    grads: ResultGrads,
}

/// The gradients that have reached a layer, and the outputs, where all are read.
pub(super) struct Reached<'a> {
    pub(super) outputs: Option<&'a Tensor>,
    pub(super) grad_outputs: Option<Tensor>,
    pub(super) grad_states: Option<Tensor>,
}

/// The shapes of those results of a layer that are read.
pub(super) enum ResultShapes {
    /// One of them.
    Only(LayerResult, Shape),
    /// All outputs, and the final states.
    Both(Shape, Shape),
}

/// The results of a layer that are read.
pub(super) enum Results {
    Only(Tensor),
    Both { outputs: Tensor, states: Tensor },
}

impl Results {
    /// The only one, or the final states.
    pub(super) fn one(self) -> Tensor {
        let (Self::Only(one) | Self::Both { states: one, .. }) = self;
        one
    }
}

/// Puts a layer into the graph.
///
/// - `x`, `initial`: of any shape with as many elements as the pass reads
pub(super) fn add_layer<P: LayerPass>(
    x: &Tensor,
    weights_edge: &Tensor,
    initial: Option<&Tensor>,
    pass: &Arc<P>,
    shapes: ResultShapes,
) -> candle_core::Result<Results> {
    let add = |only, shape| {
        let node = LayerNode { pass: pass.clone(), only, shape, has_initial: initial.is_some() };
        // In place of initial states, the edge once more: no gradient comes of it.
        x.apply_op3(weights_edge, initial.unwrap_or(weights_edge), node)
    };
    let (outputs, states) = match shapes {
        ResultShapes::Only(of, shape) => return Ok(Results::Only(add(Some(of), shape)?)),
        ResultShapes::Both(outputs, states) => (outputs, states),
    };
    let edge = add(None, ResultGrads::EDGE.into())?;
    let node = |of, shape| ResultNode { pass: pass.clone(), of, shape };
    let outputs = edge.apply_op1(node(LayerResult::Outputs, outputs))?;
    let states = edge.apply_op1(node(LayerResult::FinalStates, states))?;
    let _ = pass.exchange().outputs.set(outputs.detach());
    Ok(Results::Both { outputs, states })
}

/// Memory of a device that gives memory of this kind.
pub(super) trait OnDevice: BackendStorage<Device: BackendDevice<Storage = Self>> {}

impl<S: BackendStorage<Device: BackendDevice<Storage = S>>> OnDevice for S {}

/// Memory that nothing is written to yet, on the device of `like`.
pub(super) fn uninit<S: OnDevice>(like: &S, shape: &Shape) -> candle_core::Result<(S, Shape)> {
    // SAFETY: f32 has no invalid bits; a pass writes the elements before anyone reads them.
    let storage = unsafe { like.device().alloc_uninit(shape, DType::F32)? };
    Ok((storage, shape.clone()))
}

/// An edge: nobody reads its elements, but Candle copies them.
fn zeros<S: OnDevice>(like: &S, shape: &Shape, dtype: DType) -> candle_core::Result<(S, Shape)> {
    Ok((like.device().zeros_impl(shape, dtype)?, shape.clone()))
}

/// The forward functions of a node: `$cpu` on the CPU, `$gpu` on devices.
macro_rules! alloc_node {
    ($cpu:expr, $gpu:expr $(, $others:ident: $layouts:ident)*) => {
        alloc_node!(@one cpu_fwd, CpuStorage, $cpu $(, $others: $layouts)*);
        alloc_node!(@one cuda_fwd, CudaStorage, $gpu $(, $others: $layouts)*);
        alloc_node!(@one metal_fwd, MetalStorage, $gpu $(, $others: $layouts)*);
    };
    (@one $name:ident, $storage:ty, $make:expr $(, $others:ident: $layouts:ident)*) => {
        fn $name(
            &self,
            first: &$storage,
            _: &Layout,
            $($others: &$storage, $layouts: &Layout,)*
        ) -> candle_core::Result<($storage, Shape)> {
            let _ = ($(($others, $layouts),)*);
            ($make)(self, first)
        }
    };
}

pub(super) use alloc_node;

/// The weights of a direction as a backend holds them.
pub(super) trait HeldWeights: Send + Sync + 'static {
    /// The shape of the edge, and its dtype.
    const EDGE: (&'static [usize], DType);

    /// The gradients of W_ih, W_hh and the others, which the layers have left in the mailbox.
    ///
    /// - `grad`: of the edge
    fn gradients(&self, grad: &Tensor) -> candle_core::Result<[Tensor; 3]>;
}

/// `(W_ih, W_hh, others)` of a direction to the edge that stands for them.
struct WeightsNode<W>(Arc<W>);

impl<W: HeldWeights> CustomOp3 for WeightsNode<W> {
    fn name(&self) -> &'static str {
        "rnn-weights"
    }

    alloc_node!(
        |_: &Self, first| zeros(first, &W::EDGE.0.into(), W::EDGE.1),
        |_: &Self, first| zeros(first, &W::EDGE.0.into(), W::EDGE.1),
        second: second_layout, third: third_layout
    );

    fn bwd(
        &self,
        w_ih: &Tensor,
        w_hh: &Tensor,
        others: &Tensor,
        _edge: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGrads> {
        let [of_w_ih, of_w_hh, of_others] = self.0.gradients(grad)?;
        Ok((deliver(w_ih, of_w_ih)?, deliver(w_hh, of_w_hh)?, deliver(others, of_others)?))
    }
}

/// Puts the weights of all directions into the graph, and returns the edge that stands for them, a row for each.
///
/// - `directions`: W_ih, W_hh and the others of each, and what the backend holds of them
pub(super) fn add_weights<'a, W: HeldWeights>(
    directions: impl IntoIterator<Item = ([Tensor; 3], &'a Arc<W>)>,
) -> candle_core::Result<Tensor> {
    let edges = directions.into_iter().map(|([w_ih, w_hh, others], held)| {
        w_ih.apply_op3(&w_hh, &others, WeightsNode(held.clone()))
    });
    let mut edges = edges.collect::<candle_core::Result<Vec<_>>>()?;
    if edges.len() == 1 {
        return Ok(edges.remove(0));
    }
    Tensor::cat(&edges, 0)
}

/// `(x, weights edge, initial states)` to one of the results, or to the edge to both.
struct LayerNode<P> {
    pass: Arc<P>,
    /// The one that is read; `None` for the edge.
    only: Option<LayerResult>,
    shape: Shape,
    has_initial: bool,
}

impl<P: LayerPass> CustomOp3 for LayerNode<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    alloc_node!(
        |node: &Self, first| match node.only {
            Some(of) => Ok((node.pass.result(of, &node.shape)?, node.shape.clone())),
            None => zeros(first, &node.shape, DType::F32),
        },
        |node: &Self, first| uninit(first, &node.shape),
        second: second_layout, third: third_layout
    );

    fn bwd(
        &self,
        x: &Tensor,
        weights_edge: &Tensor,
        initial: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGrads> {
        let exchange = self.pass.exchange();
        let (outputs, [grad_outputs, grad_states]) = match self.only {
            Some(LayerResult::Outputs) => (Some(result), [Some(grad.contiguous()?), None]),
            Some(LayerResult::FinalStates) => (None, [None, Some(grad.contiguous()?)]),
            None => (exchange.outputs.get(), exchange.grads.take(grad)?),
        };
        let reached = Reached { outputs, grad_outputs, grad_states };
        let initial = self.has_initial.then_some(initial);
        self.pass.backward(x, weights_edge, initial, reached)
    }
}

/// The edge to one of the results, which the same pass computes.
struct ResultNode<P> {
    pass: Arc<P>,
    of: LayerResult,
    shape: Shape,
}

impl<P: LayerPass> CustomOp1 for ResultNode<P> {
    fn name(&self) -> &'static str {
        match self.of {
            LayerResult::Outputs => "rnn-outputs",
            LayerResult::FinalStates => "rnn-final-states",
        }
    }

    alloc_node!(
        |node: &Self, _: &CpuStorage| {
            Ok((node.pass.result(node.of, &node.shape)?, node.shape.clone()))
        },
        |node: &Self, first| uninit(first, &node.shape)
    );

    fn bwd(
        &self,
        edge: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        self.pass.exchange().grads.deliver(self.of, grad, edge).map(Some)
    }
}
