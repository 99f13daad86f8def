//! Gradients of variables that go beside Candle's graph, for an optimizer that asks by [`backward`].
//!
//! Candle makes a tensor of zeros and a sum of every gradient that an op returns: on a GPU a memset and a launch, which
//! take longer than the gradients of a small layer; on the CPU memory that is new each time, and threads that are woken. A
//! variable's gradient is read by nobody before the pass is over. So nodes hand it over here and return none, which
//! Candle takes for a variable.

use std::cell::RefCell;

use candle_core::backprop::GradStore;
use candle_core::Tensor;

use super::grad_mailbox::BackwardPass;

/// The gradients that a backward pass has been handed.
struct Collected {
    pass: BackwardPass,
    /// Variables with their gradients.
    grads: Vec<(Tensor, Tensor)>,
}

thread_local! {
    /// Of the passes of this thread that collect, the innermost last.
    static COLLECTING: RefCell<Vec<Collected>> = const { RefCell::new(Vec::new()) };
}

/// The gradients of a loss, as `loss.backward()` has them.
///
/// # Errors
/// Candle's.
pub(crate) fn backward(loss: &Tensor) -> candle_core::Result<GradStore> {
    /// Ends the collection, if the pass fails too.
    struct EndCollection;
    impl Drop for EndCollection {
        fn drop(&mut self) {
            COLLECTING.with_borrow_mut(|collecting| collecting.pop());
        }
    }
    let collected = Collected { pass: BackwardPass::current(), grads: Vec::new() };
    COLLECTING.with_borrow_mut(|collecting| collecting.push(collected));
    let end = EndCollection;
    let mut store = loss.backward()?;
    let grads = COLLECTING.with_borrow_mut(|collecting| {
        collecting.last_mut().map(|collected| std::mem::take(&mut collected.grads))
    });
    drop(end);
    for (var, grad) in grads.into_iter().flatten() {
        // Ops of Candle's may have reached the same variable.
        let grad = match store.remove(&var) {
            Some(sum) => (sum + grad)?,
            None => grad,
        };
        store.insert(&var, grad);
    }
    Ok(store)
}

/// What a node returns as the gradient of an argument: none for a variable whose pass collects.
pub(crate) fn deliver(arg: &Tensor, grad: Tensor) -> candle_core::Result<Option<Tensor>> {
    if !arg.is_variable() {
        return Ok(Some(grad));
    }
    COLLECTING.with_borrow_mut(|collecting| {
        let pass = BackwardPass::current();
        let Some(Collected { grads, .. }) = collecting.last_mut().filter(|own| own.pass == pass)
        else {
            return Ok(Some(grad));
        };
        match grads.iter_mut().find(|(var, _)| var.id() == arg.id()) {
            Some((_, sum)) => *sum = (&*sum + grad)?,
            None => grads.push((arg.clone(), grad)),
        }
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Var};

    /// The sum of squares, whose gradient is delivered.
    struct SquareSum;

    impl CustomOp1 for SquareSum {
        fn name(&self) -> &'static str {
            "square-sum"
        }

        fn cpu_fwd(
            &self,
            storage: &CpuStorage,
            _: &Layout,
        ) -> candle_core::Result<(CpuStorage, Shape)> {
            let sum = storage.as_slice::<f32>()?.iter().map(|number| number * number).sum();
            Ok((CpuStorage::F32(vec![sum]), Shape::from(())))
        }

        fn bwd(
            &self,
            arg: &Tensor,
            _: &Tensor,
            grad: &Tensor,
        ) -> candle_core::Result<Option<Tensor>> {
            if grad.to_scalar::<f32>()? < 0. {
                candle_core::bail!("no gradient")
            }
            deliver(arg, (arg.detach() * 2.)?.broadcast_mul(grad)?)
        }
    }

    fn var() -> Var {
        Var::new(&[1f32, -2.], &Device::Cpu).unwrap()
    }

    #[test]
    fn delivered_gradients_are_those_of_the_graph() {
        let var = var();
        // Twice by the op, once by Candle's own, once by way of what is no variable.
        let squares = |x: &Tensor| x.apply_op1(SquareSum).unwrap();
        let twice = (squares(&var) + squares(&var)).unwrap();
        let own = var.as_tensor().sum_all().unwrap();
        let loss = ((twice + own).unwrap() + squares(&(var.as_tensor() * 3.).unwrap())).unwrap();
        let expected = [2. * 2. + 1. + 18., -2. * (2. * 2. + 18.) + 1.];
        for store in [loss.backward().unwrap(), backward(&loss).unwrap()] {
            assert_eq!(store.get(&var).unwrap().to_vec1::<f32>().unwrap(), expected);
        }
        assert!(COLLECTING.with_borrow(Vec::is_empty));
    }

    #[test]
    fn a_pass_that_fails_leaves_nothing_behind() {
        let var = var();
        let loss = var.apply_op1(SquareSum).unwrap();
        assert!(backward(&loss.neg().unwrap()).is_err());
        assert!(COLLECTING.with_borrow(Vec::is_empty));
        let store = backward(&loss).unwrap();
        assert_eq!(store.get(&var).unwrap().to_vec1::<f32>().unwrap(), [2., -4.]);
    }
}
