//! A dense layer as one op on the CPU's kernels.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Shape, Tensor};
use candle_rnn_kernels::{
    self as kernels, BackwardCall, CellKind, Gradients, RawCall, Save, Saved, SequenceDims, Wanted,
};

use crate::recurrence::{
    deliver, elements, instruction_set_of_cpu, with_element, PackedTensors, TensorFloat,
    WeightSizes,
};
use crate::Result;

/// The most outputs that the op is for: a head's, not a hidden layer's.
pub(crate) const MAX_OUTPUTS: usize = 1024;

/// A dense layer's weights, and a copy of them as the kernels read them, of either dtype.
#[derive(Clone)]
pub(super) struct PackedDense {
    weight: Tensor,
    bias: Tensor,
    packed: Arc<dyn FusedDense>,
}

/// Packed weights of a dense layer, of a dtype that is decided.
trait FusedDense: Send + Sync {
    /// `y = W x + b`, differentiable, as [`PackedDense::forward`].
    fn run(self: Arc<Self>, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor>;
}

impl std::fmt::Debug for PackedDense {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packed weights")
    }
}

impl PackedDense {
    /// Packs `weight` `(O, I)` and `bias` `(O,)`; `None` where Candle's product is to compute the layer: on devices,
    /// of other dtypes, and of more than [`MAX_OUTPUTS`] outputs.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when `CANDLE_RNN_ISA` names an instruction set that this CPU lacks.
    pub(super) fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Option<Self>> {
        let (output_size, input_size) = weight.dims2()?;
        let has_kernels =
            weight.device().is_cpu() && matches!(weight.dtype(), DType::F32 | DType::F64);
        if !has_kernels || output_size > MAX_OUTPUTS {
            return Ok(None);
        }
        let bias = match bias {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(output_size, weight.dtype(), &Device::Cpu)?,
        };
        let sizes = WeightSizes { input_size, hidden_size: output_size, output_size };
        let no_state = Tensor::zeros(0, weight.dtype(), &Device::Cpu)?;
        let tensors = [weight.contiguous()?, no_state, bias.contiguous()?];
        let isa = instruction_set_of_cpu()?;
        let packed: Arc<dyn FusedDense> = with_element!(weight.dtype(), E => {
            Arc::new(PackedTensors::<E>::new(isa, CellKind::Dense, sizes, &tensors)?)
        });
        Ok(Some(Self { weight: weight.clone(), bias, packed }))
    }

    /// `y = W x + b`, differentiable.
    ///
    /// - `x`: `(.., I)`, of the weights' dtype, on the CPU
    /// - returns `(.., O)`
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.packed.clone().run(x, &self.weight, &self.bias)
    }
}

impl<E: TensorFloat> FusedDense for PackedTensors<E> {
    fn run(self: Arc<Self>, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (output_size, input_size) = weight.dims2()?;
        let x = x.contiguous()?;
        // One step of as many rows as there are vectors.
        let dims = SequenceDims {
            batch_size: x.elem_count() / input_size,
            seq_len: 1,
            input_size,
            hidden_size: output_size,
            output_size,
        };
        let is_tracked = [&x, weight, bias].iter().any(|tensor| tensor.track_op());
        let save = if is_tracked { Save::All } else { Save::None };
        let weights = [&self.forward[..]];
        let computed = {
            let x = elements(&x);
            kernels::forward(&self.kernels, RawCall::new(dims, x.slice()?, &weights), true, save)
        };
        let op = DenseOp {
            dims,
            shape: [&x.dims()[..x.rank() - 1], &[output_size]].concat().into(),
            saved: computed.saved,
            output: Mutex::new(computed.outputs),
            packed: self.clone(),
        };
        Ok(x.apply_op3(weight, bias, op)?)
    }
}

/// `(x, weight, bias)` to `y`, which was computed before.
struct DenseOp<E> {
    packed: Arc<PackedTensors<E>>,
    dims: SequenceDims,
    /// The shape of y.
    shape: Shape,
    saved: Saved<E>,
    /// y, until the node takes it.
    output: Mutex<Option<Vec<E>>>,
}

impl<E: TensorFloat> CustomOp3 for DenseOp<E> {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match self.output.lock().ok().and_then(|mut output| output.take()) {
            Some(output) => Ok((E::to_cpu_storage_owned(output), self.shape.clone())),
            None => candle_core::bail!("dense: the layer has not run"),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let packed = &*self.packed;
        let wanted = Wanted {
            weights: weight.track_op() || bias.track_op(),
            x: x.track_op(),
            initial: false,
        };
        let Gradients { weights, x: grad_x, .. } = {
            let [x, y, grad] = [x, y, &grad].map(elements);
            let weights = [&packed.forward[..]];
            let args = BackwardCall {
                input: RawCall::new(self.dims, x.slice()?, &weights),
                outputs: Some(y.slice()?),
                saved: &self.saved,
                windows: &[kernels::Window { start: 0, losses_from: 0, end: 1 }],
                fed: &[&packed.transposed],
                grad_outputs: Some(grad.slice()?),
                grad_last: None,
            };
            kernels::backward(&packed.kernels, args, wanted)
        };
        let grad_x =
            grad_x.map(|grad| Tensor::from_vec(grad, x.shape(), &Device::Cpu)).transpose()?;
        let Some(sums) = weights.and_then(|mut weights| weights.pop()) else {
            return Ok((grad_x, None, None));
        };
        let [grad_weight, _, grad_bias] = packed.unpack(&sums)?;
        Ok((grad_x, deliver(weight, grad_weight)?, deliver(bias, grad_bias)?))
    }
}
