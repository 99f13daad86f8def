//! The nodes that a layer has in Candle's graph.
//!
//! A node makes room for its result and nothing more: [`Pass`] fills it, with tensors at hand instead
//! of storages. Weights go as on the CPU: a token stands for them in the graph, and their gradients go
//! beside it, from [`LayerNode`] to [`WeightsNode`]. So do the two results, where both are read: from
//! [`LayerNode`] an edge leads to a [`ResultNode`] for either.

use std::sync::Arc;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, MetalStorage, Shape,
    Tensor,
};

use super::super::mailbox::{LayerResult, ResultGrads, WeightGrads};
use super::pass::Pass;

/// The gradients of a direction's weights: of w_ih, of w_hh and of the biases, one behind the other.
pub(super) type WeightGradients = [Tensor; 3];

/// Where they wait: each layer call has weights nodes of its own, and so is the only one.
pub(super) type Slot = Arc<WeightGrads<WeightGradients>>;

/// Room that nothing is written to yet, on the device of `like`.
fn room<S>(like: &S, shape: &Shape) -> candle_core::Result<(S, Shape)>
where
    S: BackendStorage,
    S::Device: BackendDevice<Storage = S>,
{
    // SAFETY: f32 has no invalid bits; the numbers are written by the pass before anyone reads them.
    let storage = unsafe { like.device().alloc_uninit(shape, DType::F32)? };
    Ok((storage, shape.clone()))
}

/// A token: nobody looks at its number, but it is copied.
fn zeros<S>(like: &S, shape: &Shape) -> candle_core::Result<(S, Shape)>
where
    S: BackendStorage,
    S::Device: BackendDevice<Storage = S>,
{
    Ok((like.device().zeros_impl(shape, DType::F32)?, shape.clone()))
}

/// The forward functions of a node, one for each kind of device.
macro_rules! makes_room {
    ($make:ident, $shape:expr; $($others:ident: $layouts:ident),*) => {
        fn cpu_fwd(
            &self,
            first: &CpuStorage,
            _: &Layout,
            $($others: &CpuStorage, $layouts: &Layout,)*
        ) -> candle_core::Result<(CpuStorage, Shape)> {
            let _ = ($(($others, $layouts),)*);
            $make(first, &$shape(self))
        }

        fn cuda_fwd(
            &self,
            first: &CudaStorage,
            _: &Layout,
            $($others: &CudaStorage, $layouts: &Layout,)*
        ) -> candle_core::Result<(CudaStorage, Shape)> {
            let _ = ($(($others, $layouts),)*);
            $make(first, &$shape(self))
        }

        fn metal_fwd(
            &self,
            first: &MetalStorage,
            _: &Layout,
            $($others: &MetalStorage, $layouts: &Layout,)*
        ) -> candle_core::Result<(MetalStorage, Shape)> {
            let _ = ($(($others, $layouts),)*);
            $make(first, &$shape(self))
        }
    };
}

/// `(W_ih, W_hh, biases)` of a direction to the token that stands for them.
pub(super) struct WeightsNode {
    pub(super) slot: Slot,
}

impl CustomOp3 for WeightsNode {
    fn name(&self) -> &'static str {
        "rnn-device-weights"
    }

    makes_room!(zeros, |_: &Self| Shape::from(1); second: second_layout, third: third_layout);

    fn bwd(
        &self,
        _w_ih: &Tensor,
        _w_hh: &Tensor,
        _biases: &Tensor,
        _token: &Tensor,
        _grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some([w_ih, w_hh, biases]) = self.slot.take_of_one_call()? else {
            candle_core::bail!("{}: no gradients came from the layer", CustomOp3::name(self))
        };
        Ok((Some(w_ih), Some(w_hh), Some(biases)))
    }
}

/// `(x, token, initial states)` to the final states, or to the edge to both results.
pub(super) struct LayerNode {
    pub(super) pass: Arc<Pass>,
    /// Of the result.
    pub(super) shape: Shape,
}

impl LayerNode {
    /// The shape of the edge.
    pub(super) fn edge() -> Shape {
        Shape::from(ResultGrads::EDGE)
    }
}

impl LayerNode {
    const NAME: &str = "rnn-device-layer";
}

impl CustomOp2 for LayerNode {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    makes_room!(room, |node: &Self| node.shape.clone(); second: second_layout);

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_token, _] = self.pass.backward(x, token, None, grad)?;
        Ok((grad_x, grad_token))
    }
}

impl CustomOp3 for LayerNode {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    makes_room!(room, |node: &Self| node.shape.clone(); second: second_layout, third: third_layout);

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        initial: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_token, grad_initial] =
            self.pass.backward(x, token, Some(initial), grad)?;
        Ok((grad_x, grad_token, grad_initial))
    }
}

/// The edge to one of the results, which the same pass computes.
pub(super) struct ResultNode {
    pub(super) pass: Arc<Pass>,
    pub(super) of: LayerResult,
    pub(super) shape: Shape,
}

impl CustomOp1 for ResultNode {
    fn name(&self) -> &'static str {
        "rnn-device-result"
    }

    makes_room!(room, |node: &Self| node.shape.clone(););

    fn bwd(
        &self,
        edge: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        self.pass.grads.deliver(self.of, grad, edge).map(Some)
    }
}
