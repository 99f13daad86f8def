//! The final states of a layer whose outputs are all read.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::shared::Shared;

/// All outputs to the final states, `[h_n | c_n]`. They are no function of the outputs, but were
/// computed together with them: the gradient goes to [`Layer`](super::Layer) by way of what both
/// share, and the outputs get zeros.
pub(crate) struct FinalStates {
    pub(crate) shared: Arc<Shared>,
    pub(crate) len: usize,
}

impl CustomOp1 for FinalStates {
    fn name(&self) -> &'static str {
        "rnn-final-states"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        match self.shared.last.get() {
            Some(last) => Ok((last.clone(), Shape::from(self.len))),
            None => candle_core::bail!("{}: no outputs before them", CustomOp1::name(self)),
        }
    }

    fn bwd(
        &self,
        outputs: &Tensor,
        _last: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        match self.shared.grad_last.lock() {
            Ok(mut grad_last) => *grad_last = Some(grad.contiguous()?),
            Err(_) => candle_core::bail!("{}: a thread panicked", CustomOp1::name(self)),
        }
        let zero = Tensor::zeros((), outputs.dtype(), outputs.device())?;
        Ok(Some(zero.broadcast_as(outputs.shape())?))
    }
}
