//! A node of Candle's graph whose result is a number that a launch writes.

use std::sync::Arc;

use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, MetalStorage, Shape, Tensor};

use super::super::graph::{alloc_node, uninit, ArgumentGrads};

/// What a node does beside the graph.
pub(crate) trait ScalarOp: Send + Sync + 'static {
    /// The node's name.
    const NAME: &'static str;

    /// The gradients of those arguments that are tracked.
    ///
    /// - `grad`: of the result, one number
    fn argument_grads(
        &self,
        args: [&Tensor; 3],
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGrads>;
}

/// Three `f32` tensors on a GPU to a scalar in memory that nothing is written to yet.
pub(crate) struct ScalarNode<O>(pub(crate) Arc<O>);

/// In tests alone: there a GPU is emulated on the CPU.
fn on_cpu() -> candle_core::Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![f32::NAN]), Shape::from(())))
}

impl<O: ScalarOp> CustomOp3 for ScalarNode<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    alloc_node!(
        |_: &Self, _: &CpuStorage| on_cpu(),
        |_: &Self, first| uninit(first, &Shape::from(())),
        second: second_layout, third: third_layout
    );

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        third: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGrads> {
        self.0.argument_grads([first, second, third], grad)
    }
}
