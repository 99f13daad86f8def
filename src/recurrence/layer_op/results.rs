//! The two results of a layer, as nodes of the graph of their own.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::super::mailbox::LayerResult;
use super::shared::Shared;

/// A layer's edge to one of its results: all outputs, or the final states `[h_n | c_n]`.
///
/// The layer has computed both. Their gradients go to it by way of what they share, and the edge's says that
/// they are there.
pub(super) struct ResultNode {
    pub(super) shared: Arc<Shared>,
    pub(super) of: LayerResult,
    pub(super) shape: Shape,
}

impl CustomOp1 for ResultNode {
    fn name(&self) -> &'static str {
        match self.of {
            LayerResult::Outputs => "rnn-outputs",
            LayerResult::FinalStates => "rnn-final-states",
        }
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let index = match self.of {
            LayerResult::Outputs => 0,
            LayerResult::FinalStates => 1,
        };
        let result = match self.shared.results.lock() {
            Ok(mut results) => results[index].take(),
            Err(_) => None,
        };
        match result {
            Some(result) => Ok((result, self.shape.clone())),
            None => candle_core::bail!("{}: the layer has not run", CustomOp1::name(self)),
        }
    }

    fn bwd(
        &self,
        edge: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        self.shared.grads.deliver(self.of, grad, edge).map(Some)
    }
}
