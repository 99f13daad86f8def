//! A layer forward and backward, over the floats of a dtype.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Layout, Shape, Tensor};

use super::super::mailbox::{within_node, ReachedResults, ResultGrads, WeightGrads};
use super::super::storage::{on_cpu, slice};
use super::super::Outputs;
use super::shared::Saveable;
use super::Layer;
use candle_rnn_kernels::{
    self as kernels, BackwardCall, Gradients, RawCall, TransposedWeights, Wanted,
};

/// A tensor's numbers.
macro_rules! numbers {
    ($elem:ty, $tensor:expr, $guard:ident) => {{
        $guard = $tensor.storage_and_layout();
        slice::<$elem>(on_cpu(&$guard.0, $guard.1)?)?
    }};
}

impl Layer {
    /// The weights for the forward pass, by direction.
    fn weights<E: Saveable>(&self) -> candle_core::Result<Vec<&[E]>> {
        self.directions.iter().map(|direction| Ok(&*direction.numbers::<E>()?.forward)).collect()
    }

    /// Those for the backward pass.
    fn fed<E: Saveable>(&self) -> candle_core::Result<Vec<&TransposedWeights<E>>> {
        self.directions.iter().map(|direction| Ok(&direction.numbers::<E>()?.backward)).collect()
    }

    fn input<'a, E: Saveable>(
        &'a self,
        x: &'a [E],
        weights: &'a [&'a [E]],
        initial: Option<&'a [E]>,
        mask: Option<&'a [E]>,
    ) -> RawCall<'a, E> {
        RawCall {
            dims: self.setting.dims,
            directions: self.directions.len(),
            x,
            time_major: self.setting.time_major,
            initial,
            lengths: self.setting.lengths.as_deref(),
            mask,
            weights,
        }
    }

    fn forward<E: Saveable>(
        &self,
        x: (&CpuStorage, &Layout),
        initial: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let weights = self.weights::<E>()?;
        let kernels = E::kernels(self.isa, self.function);
        let guard;
        let mask = match &self.setting.mask {
            None => None,
            Some(mask) => Some(numbers!(E, mask, guard)),
        };
        let initial = initial.map(slice::<E>).transpose()?;
        let input = self.input(slice::<E>(x)?, &weights, initial, mask);
        let wants_outputs = self.setting.unroll.outputs() == Outputs::All;
        let kernels::Output { outputs, last, saved } =
            kernels::forward(&kernels, input, wants_outputs, self.save);
        // An op runs forward once; a second time would give the same.
        let _ = self.shared.saved.set(E::wrap(saved));
        if self.has_edge {
            let both = [outputs, Some(last)].map(|result| result.map(E::to_cpu_storage_owned));
            match self.shared.results.lock() {
                Ok(mut results) => *results = both,
                Err(_) => candle_core::bail!("{}: a thread panicked", Self::NAME),
            }
            let edge = vec![0f32; ResultGrads::EDGE];
            return Ok((CpuStorage::F32(edge), Shape::from(ResultGrads::EDGE)));
        }
        let output = outputs.unwrap_or(last);
        Ok((E::to_cpu_storage_owned(output), self.setting.shape.clone()))
    }

    pub(super) fn dispatch_forward(
        &self,
        x: (&CpuStorage, &Layout),
        initial: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match x.0 {
            CpuStorage::F32(_) => self.forward::<f32>(x, initial),
            CpuStorage::F64(_) => self.forward::<f64>(x, initial),
            other => candle_core::bail!(
                "{}: no kernel for {:?}",
                Self::NAME,
                BackendStorage::dtype(other)
            ),
        }
    }

    fn backward<E: Saveable>(
        &self,
        x: &Tensor,
        token: &Tensor,
        initial: Option<&Tensor>,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let (outputs, grad_outputs, grad_last) =
            match (self.has_edge, self.setting.unroll.outputs()) {
                (true, _) => {
                    let ReachedResults { outputs, final_states } = self.shared.grads.take(grad)?;
                    (self.shared.outputs.get(), outputs, final_states)
                }
                (false, Outputs::All) => (Some(output), Some(grad.contiguous()?), None),
                (false, Outputs::Last) => (None, None, Some(grad.contiguous()?)),
            };
        let (x_guard, initial_guard, mask_guard);
        let (output_guard, grad_guard, last_guard);
        let initial_slice = match initial {
            None => None,
            Some(initial) => Some(numbers!(E, initial, initial_guard)),
        };
        let mask = match &self.setting.mask {
            None => None,
            Some(mask) => Some(numbers!(E, mask, mask_guard)),
        };
        let weights = self.weights::<E>()?;
        let input = self.input(numbers!(E, x, x_guard), &weights, initial_slice, mask);
        let Some(saved) = self.shared.saved.get().and_then(E::unwrap) else {
            candle_core::bail!("{}: backward without states from forward", Self::NAME)
        };
        let fed = self.fed::<E>()?;
        let windows = self.setting.unroll.truncation().windows(self.setting.dims.seq_len);
        let args = BackwardCall {
            input,
            outputs: match outputs {
                None => None,
                Some(outputs) => Some(numbers!(E, outputs, output_guard)),
            },
            saved,
            windows: &windows,
            fed: &fed,
            grad_outputs: match &grad_outputs {
                None => None,
                Some(grad) => Some(numbers!(E, grad, grad_guard)),
            },
            grad_last: match &grad_last {
                None => None,
                Some(grad_last) => Some(numbers!(E, grad_last, last_guard)),
            },
        };
        let wanted = Wanted {
            weights: token.track_op(),
            x: x.track_op(),
            initial: initial.is_some_and(Tensor::track_op),
        };
        let Gradients { weights: grad_weights, x: grad_x, initial: grad_initial } =
            within_node(|| kernels::backward(&E::kernels(self.isa, self.function), args, wanted));
        let grad_token = grad_weights.map(|grads| self.add_grads(grads, token)).transpose()?;
        let tensor = |grad: Option<Vec<E>>, of: &Tensor| -> candle_core::Result<Option<Tensor>> {
            grad.map(|grad| Tensor::from_vec(grad, of.shape(), &Device::Cpu)).transpose()
        };
        Ok([
            tensor(grad_x, x)?,
            grad_token,
            match initial {
                None => None,
                Some(initial) => tensor(grad_initial, initial)?,
            },
        ])
    }

    /// Hands the gradients of the weights on, and returns the token's.
    fn add_grads<E: Saveable>(
        &self,
        grads: Vec<Vec<E>>,
        token: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let visit = WeightGrads::<CpuStorage>::visit_number();
        for (direction, grad) in self.directions.iter().zip(grads) {
            direction.add_grad(&self.call, visit, grad)?;
        }
        WeightGrads::<CpuStorage>::edge_grad(visit, token)
    }

    pub(super) fn dispatch_backward(
        &self,
        x: &Tensor,
        token: &Tensor,
        initial: Option<&Tensor>,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, token, initial, output, grad),
            DType::F64 => self.backward::<f64>(x, token, initial, output, grad),
            other => candle_core::bail!("{}: no kernel for {other:?}", Self::NAME),
        }
    }
}
