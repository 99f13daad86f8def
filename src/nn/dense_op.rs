//! A dense layer as one op on the CPU's kernels.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Shape, Tensor};
use candle_rnn_kernels::{
    self as kernels, BackwardCall, CellKind, Gradients, Kernels, RawCall, Save, Saved,
    SequenceDims, TransposedWeights, Wanted, WeightSlices,
};

use crate::recurrence::{elements, instruction_set_of_cpu, Element};
use crate::Result;

/// The most outputs that the op is for: a head's, not a hidden layer's.
pub(crate) const MAX_OUTPUTS: usize = 1024;

/// Whether the op computes such a layer.
pub(super) fn is_for(weight: &Tensor) -> bool {
    weight.device().is_cpu()
        && matches!(weight.dtype(), DType::F32 | DType::F64)
        && weight.dims().first().is_some_and(|outputs| *outputs <= MAX_OUTPUTS)
}

/// A dense layer's weights as the kernels read them: a copy.
#[derive(Clone)]
pub(super) enum PackedDense {
    F32(Arc<PackedElements<f32>>),
    F64(Arc<PackedElements<f64>>),
}

impl std::fmt::Debug for PackedDense {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packed weights")
    }
}

impl PackedDense {
    /// Packs `weight` `(O, I)` and `bias` `(O,)`, as [`is_for`] allows.
    pub(super) fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(match weight.dtype() {
            DType::F64 => Self::F64(Arc::new(PackedElements::new(weight, bias)?)),
            _ => Self::F32(Arc::new(PackedElements::new(weight, bias)?)),
        })
    }

    /// `y = W x + b`, differentiable.
    ///
    /// - `x`: `(.., I)`, of the weights' dtype, on the CPU
    /// - `weight`, `bias`: those that were packed
    /// - returns `(.., O)`
    pub(super) fn forward(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        match self {
            Self::F32(packed) => forward(packed, x, weight, bias),
            Self::F64(packed) => forward(packed, x, weight, bias),
        }
    }
}

pub(super) struct PackedElements<E> {
    kernels: Kernels<E>,
    forward: kernels::Buffer<E>,
    transposed: TransposedWeights<E>,
    /// `[I, O]`.
    sizes: [usize; 2],
}

impl<E: Element> PackedElements<E> {
    fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let kernels = E::kernels(instruction_set_of_cpu()?, CellKind::Dense);
        let dims = dims([inputs, outputs], 1);
        let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
        let (weight, bias) = (elements(&weight), elements(&bias));
        let slices = WeightSlices::new(weight.slice()?, &[], bias.slice()?, outputs);
        let forward = kernels::pack_weights(&kernels, &dims, slices);
        let transposed = kernels::pack_transposed(&kernels, &dims, slices);
        Ok(Self { kernels, forward, transposed, sizes: [inputs, outputs] })
    }
}

/// One step of so many rows.
fn dims([inputs, outputs]: [usize; 2], rows: usize) -> SequenceDims {
    SequenceDims {
        batch_size: rows,
        seq_len: 1,
        input_size: inputs,
        hidden_size: outputs,
        output_size: outputs,
    }
}

fn forward<E: Element>(
    packed: &Arc<PackedElements<E>>,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    let [inputs, outputs] = packed.sizes;
    let x = x.contiguous()?;
    let mut shape = x.dims().to_vec();
    if let Some(size) = shape.last_mut() {
        *size = outputs;
    }
    let dims = dims(packed.sizes, x.elem_count() / inputs);
    let save = if [&x, weight, bias].iter().any(|tensor| tensor.track_op()) {
        Save::All
    } else {
        Save::None
    };
    let computed = {
        let (x, weights) = (elements(&x), [&*packed.forward]);
        let call = raw_call(dims, x.slice()?, &weights);
        kernels::forward(&packed.kernels, call, true, save)
    };
    let op = DenseOp {
        packed: packed.clone(),
        dims,
        shape: shape.into(),
        saved: computed.saved,
        output: Mutex::new(computed.outputs),
    };
    Ok(x.apply_op3(weight, bias, op)?)
}

fn raw_call<'a, E>(dims: SequenceDims, x: &'a [E], weights: &'a [&'a [E]]) -> RawCall<'a, E> {
    RawCall {
        dims,
        directions: 1,
        x,
        time_major: false,
        initial: None,
        lengths: None,
        mask: None,
        weights,
    }
}

/// `(x, weight, bias)` to `y`, which was computed before.
struct DenseOp<E> {
    packed: Arc<PackedElements<E>>,
    dims: SequenceDims,
    /// The shape of y.
    shape: Shape,
    saved: Saved<E>,
    /// y, until the node takes it.
    output: Mutex<Option<Vec<E>>>,
}

impl<E: Element> CustomOp3 for DenseOp<E> {
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
        let PackedElements { kernels, forward, transposed, sizes: [_, outputs] } = &*self.packed;
        let wanted = Wanted {
            weights: weight.track_op() || bias.track_op(),
            x: x.track_op(),
            initial: false,
        };
        let Gradients { weights, x: grad_x, .. } = {
            let [x, y, grad] = [x, y, &grad].map(elements);
            let weights: [&[E]; 1] = [forward];
            let args = BackwardCall {
                input: raw_call(self.dims, x.slice()?, &weights),
                outputs: Some(y.slice()?),
                saved: &self.saved,
                windows: &[kernels::Window { start: 0, losses_from: 0, end: 1 }],
                fed: &[transposed],
                grad_outputs: Some(grad.slice()?),
                grad_last: None,
            };
            kernels::backward(kernels, args, wanted)
        };
        let grad_x =
            grad_x.map(|grad| Tensor::from_vec(grad, x.shape(), &Device::Cpu)).transpose()?;
        let Some(packed) = weights.and_then(|mut weights| weights.pop()) else {
            return Ok((grad_x, None, None));
        };
        let dims = dims(self.packed.sizes, 1);
        let [of_weight, _, of_bias] =
            kernels::unpack_gradients(kernels, &dims, *outputs, *outputs, &packed);
        let grad_weight = Tensor::from_vec(of_weight, weight.shape(), &Device::Cpu)?;
        let grad_bias = Tensor::from_vec(of_bias, bias.shape(), &Device::Cpu)?;
        Ok((grad_x, Some(grad_weight), Some(grad_bias)))
    }
}
