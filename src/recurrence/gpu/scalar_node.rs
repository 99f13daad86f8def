//! A node of Candle's graph whose result is a number that a launch writes.

use std::sync::Arc;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, Layout, MetalStorage, Shape, Tensor,
};

use super::super::graph::{alloc_node, uninit};

/// What a node does beside the graph; N arguments.
pub(crate) trait ScalarOp<const N: usize>: Send + Sync + 'static {
    /// The node's name.
    const NAME: &'static str;

    /// The gradients of those arguments that are tracked.
    ///
    /// - `grad`: of the result, one number
    fn argument_grads(
        &self,
        args: [&Tensor; N],
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; N]>;
}

/// N `f32` tensors on a GPU to a scalar in memory that nothing is written to yet.
pub(crate) struct ScalarNode<O>(pub(crate) Arc<O>);

/// In tests alone: there a GPU is emulated on the CPU.
fn on_cpu() -> candle_core::Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![f32::NAN]), Shape::from(())))
}

impl<O: ScalarOp<1>> CustomOp1 for ScalarNode<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    alloc_node!(|_: &Self, _: &CpuStorage| on_cpu(), |_: &Self, first| uninit(
        first,
        &Shape::from(())
    ));

    fn bwd(
        &self,
        arg: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let [grad] = self.0.argument_grads([arg], grad)?;
        Ok(grad)
    }
}

impl<O: ScalarOp<3>> CustomOp3 for ScalarNode<O> {
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
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [first, second, third] = self.0.argument_grads([first, second, third], grad)?;
        Ok((first, second, third))
    }
}
