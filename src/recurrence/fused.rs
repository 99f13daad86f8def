//! A layer on the CPU: one op for all steps, on the kernels of `candle-rnn-kernels`.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, Device, Shape, Tensor};
use candle_rnn_kernels::{self as kernels, BackwardCall, Gradients, RawCall, Save, Saved, Wanted};

use super::checked_call::CheckedCall;
use super::grad_mailbox::{within_node, CallId, LayerResult, WeightGrads};
use super::graph::{add_layer, ArgumentGrads, Exchange, LayerPass, Reached, ResultShapes, Results};
use super::packed::{Packed, PackedLayer, TensorFloat};
use super::storage::{elements, Elements};
use super::Outputs;
use crate::Result;

impl<E: TensorFloat> PackedLayer for Packed<E> {
    fn run(&self, x: &Tensor, call: CheckedCall, shapes: ResultShapes) -> Result<Results> {
        let x = x.contiguous()?;
        let initial = call.joined_initial()?;
        let tracked = [&x, &self.edge].into_iter().chain(&initial).any(Tensor::track_op);
        let save = if !tracked {
            Save::None
        } else if call.unroll.recomputes() {
            Save::Checkpoints
        } else {
            Save::All
        };
        let wants_outputs = call.unroll.outputs() == Outputs::All;
        let computed = with_raw_call(&x, self, initial.as_ref(), &call, |raw| {
            Ok(kernels::forward(self.kernels(), raw, wants_outputs, save))
        })?;
        // What is not read is not kept.
        let reads_last = !matches!(shapes, ResultShapes::Only(LayerResult::Outputs, _));
        let last = reads_last.then_some(computed.last);
        let pass = Arc::new(CpuPass {
            table: call.ids.as_ref().map(|_| x.detach().copy()).transpose()?,
            call,
            weights: self.clone(),
            id: CallId::default(),
            saved: computed.saved,
            results: Mutex::new([computed.outputs, last]),
            exchange: Exchange::default(),
        });
        Ok(add_layer(&x, &self.edge, initial.as_ref(), &pass, shapes)?)
    }
}

/// Hands the elements of a call's arguments to `body`.
fn with_raw_call<E: TensorFloat, R>(
    x: &Tensor,
    weights: &Packed<E>,
    initial: Option<&Tensor>,
    call: &CheckedCall,
    body: impl FnOnce(RawCall<E>) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let x = elements(x);
    let [initial, mask] = [initial, call.mask.as_ref()].map(|tensor| tensor.map(elements));
    let weights: Vec<&[E]> =
        weights.directions.iter().map(|direction| &*direction.packed.forward).collect();
    body(RawCall {
        ids: call.ids.as_deref(),
        time_major: call.time_major,
        initial: initial.as_ref().map(Elements::slice).transpose()?,
        lengths: call.lengths.as_deref(),
        mask: mask.as_ref().map(Elements::slice).transpose()?,
        ..RawCall::new(call.dims, x.slice()?, &weights)
    })
}

/// A layer's pass over a batch.
struct CpuPass<E: TensorFloat> {
    call: CheckedCall,
    /// The table that inputs were looked up in: an optimizer may change it before the backward pass.
    table: Option<Tensor>,
    weights: Packed<E>,
    /// Names the call in the weights' mailbox.
    id: CallId,
    saved: Saved<E>,
    /// All outputs and the final states, until their nodes take them.
    results: Mutex<[Option<Vec<E>>; 2]>,
    exchange: Exchange,
}

impl<E: TensorFloat> LayerPass for CpuPass<E> {
    const NAME: &'static str = "rnn-layer";

    fn result(&self, of: LayerResult, _: &Shape) -> candle_core::Result<CpuStorage> {
        let result = self.results.lock().ok().and_then(|mut results| results[of as usize].take());
        match result {
            Some(result) => Ok(E::to_cpu_storage_owned(result)),
            None => candle_core::bail!("{}: the layer has not run", Self::NAME),
        }
    }

    fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn backward(
        &self,
        x: &Tensor,
        weights_edge: &Tensor,
        initial: Option<&Tensor>,
        Reached { outputs, grad_outputs, grad_states }: Reached,
    ) -> candle_core::Result<ArgumentGrads> {
        let read = [outputs, grad_outputs.as_ref(), grad_states.as_ref()];
        let [outputs, grad_outputs, grad_states] = read.map(|tensor| tensor.map(elements));
        let windows = self.call.unroll.truncation().windows(self.call.dims.seq_len);
        let transposed: Vec<_> =
            self.weights.directions.iter().map(|direction| &direction.packed.transposed).collect();
        let wanted = Wanted {
            weights: weights_edge.track_op(),
            x: x.track_op(),
            initial: initial.is_some_and(Tensor::track_op),
        };
        let inputs = self.table.as_ref().unwrap_or(x);
        let grads = with_raw_call(inputs, &self.weights, initial, &self.call, |input| {
            let args = BackwardCall {
                input,
                outputs: outputs.as_ref().map(Elements::slice).transpose()?,
                saved: &self.saved,
                windows: &windows,
                fed: &transposed,
                grad_outputs: grad_outputs.as_ref().map(Elements::slice).transpose()?,
                grad_last: grad_states.as_ref().map(Elements::slice).transpose()?,
            };
            Ok(within_node(|| kernels::backward(self.weights.kernels(), args, wanted)))
        })?;
        let Gradients { weights: grad_weights, x: grad_x, initial: grad_initial } = grads;
        let tensor = |grad: Option<Vec<E>>, of: Option<&Tensor>| {
            let (Some(grad), Some(of)) = (grad, of) else { return Ok(None) };
            Tensor::from_vec(grad, of.shape(), &Device::Cpu).map(Some)
        };
        Ok((
            tensor(grad_x, Some(x))?,
            grad_weights.map(|grads| self.store_weight_grads(grads, weights_edge)).transpose()?,
            tensor(grad_initial, initial)?,
        ))
    }
}

impl<E: TensorFloat> CpuPass<E> {
    /// Leaves the gradients of the weights in their mailbox, and returns the gradient of the edge.
    fn store_weight_grads(&self, grads: Vec<Vec<E>>, edge: &Tensor) -> candle_core::Result<Tensor> {
        let visit = WeightGrads::<Vec<E>>::visit_number();
        for (direction, grad) in self.weights.directions.iter().zip(grads) {
            direction.grads.add(&self.id, visit, grad, |sum, grad| {
                sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += *grad);
                Ok(())
            })?;
        }
        WeightGrads::<Vec<E>>::edge_grad(visit, edge)
    }
}
