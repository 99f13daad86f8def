//! A dense layer by the kernels of this CPU: a layer of one step without a state.

use candle_core::{Device, Tensor, D};
use candle_rnn_kernels::{CellKind, SequenceDims};

use super::checked_call::CheckedCall;
use super::grad_mailbox::LayerResult;
use super::graph::ResultShapes;
use super::packed::PackedWeights;
use super::{Outputs, RecurrentDType, WeightSizes};
use crate::Result;

impl PackedWeights {
    /// Packs a dense layer's `weight` `(O, I)` and `bias` `(O,)`, both on the CPU, `f32` or `f64`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when `CANDLE_RNN_ISA` names an instruction set that this CPU lacks.
    pub(crate) fn dense(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (output_size, input_size) = weight.dims2()?;
        let sizes = WeightSizes { input_size, hidden_size: output_size, output_size };
        let no_state = Tensor::zeros(0, weight.dtype(), &Device::Cpu)?;
        let tensors = [weight.contiguous()?, no_state, bias.contiguous()?];
        Self::of_tensors(CellKind::Dense, sizes, vec![tensors], super::instruction_set_of_cpu()?)
    }

    /// `y = W x + b` of a dense layer, differentiable.
    ///
    /// - `x`: `(.., I)`, of the weights' dtype, on the CPU
    /// - returns `(.., O)`
    pub(crate) fn run_dense(&self, x: &Tensor, output_size: usize) -> Result<Tensor> {
        let input_size = x.dim(D::Minus1)?;
        // One step of as many rows as there are vectors.
        let batch_size = x.elem_count() / input_size;
        let dims = SequenceDims {
            batch_size,
            seq_len: 1,
            input_size,
            hidden_size: output_size,
            output_size,
        };
        let call = CheckedCall {
            dims,
            ids: None,
            directions: 1,
            time_major: false,
            unroll: Outputs::All.into(),
            recurrent_dtype: RecurrentDType::F32,
            lengths: None,
            mask: None,
            initial: None,
        };
        let shape = [&x.dims()[..x.rank() - 1], &[output_size]].concat();
        let shapes = ResultShapes::Only(LayerResult::Outputs, shape.into());
        Ok(self.layer().run(x, call, shapes)?.one())
    }
}
