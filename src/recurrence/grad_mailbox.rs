//! Gradients that nodes of one layer hand each other beside Candle's graph, each to the backward pass
//! that made it.
//!
//! Candle makes a tensor of zeros and a sum of every gradient that an op returns. For packed weights and
//! for all outputs that costs as much as a product, so these gradients wait in a mailbox, and the graph has a
//! small *edge* tensor in their place. The edge's gradient, which Candle sums, says what belongs to the pass:
//!
//! - [`WeightGrads`] sums the gradients of all calls that share packed weights. The edge's gradient is
//!   the count of the calls and the sum of the numbers that they have in this pass.
//! - [`ResultGrads`] holds the gradients of a call's two results, the outputs and the final states. The
//!   edge's gradient is the number of either delivery.
//!
//! So a gradient that another thread's pass delivered, or that a failed pass left behind, is never read.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::ThreadId;

use candle_core::{DType, Tensor};

/// A backward pass runs on one thread. While that thread waits for others within one of our nodes it may
/// run a whole pass of somebody else's: that one is deeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BackwardPass {
    thread: ThreadId,
    depth: u32,
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

impl BackwardPass {
    /// The pass whose node this thread runs.
    pub(super) fn current() -> Self {
        Self { thread: std::thread::current().id(), depth: DEPTH.get() }
    }
}

/// Runs a node's work, in which this thread may be given another backward pass to run.
pub(super) fn within_node<R>(work: impl FnOnce() -> R) -> R {
    struct LeaveNode;
    impl Drop for LeaveNode {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _leave = LeaveNode;
    work()
}

/// A number below 2^`bits` and at least 1, another one each time: numbers in a row are far apart, so that equal
/// sums of different ones are rare.
fn fresh_number(bits: u32) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    // An odd factor: a bijection of the low bits.
    (count.wrapping_mul(0x9e37_79b9_7f4a_7c15) & ((1 << bits) - 1)).max(1)
}

/// A call of the forward pass, for as long as its graph is there.
#[derive(Clone, Default)]
pub(super) struct CallId(Arc<()>);

impl CallId {
    /// While somebody holds its `Weak`, no other call has it.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

fn lock<T>(mutex: &Mutex<T>) -> candle_core::Result<MutexGuard<'_, T>> {
    match mutex.lock() {
        Ok(guard) => Ok(guard),
        Err(_) => candle_core::bail!("a thread panicked in a backward pass"),
    }
}

/// The gradients of packed weights, by the backward passes that sum them.
pub(super) struct WeightGrads<G> {
    passes: Mutex<Vec<Sum<G>>>,
}

/// The sum of a pass so far.
struct Sum<G> {
    pass: BackwardPass,
    /// By address.
    calls: HashMap<usize, Weak<()>>,
    sum_of_numbers: u64,
    grad: G,
}

impl<G> Sum<G> {
    /// Whether the graph of one of its calls is there: of a pass that is on its way, it is.
    fn is_alive(&self) -> bool {
        self.calls.values().any(|call| call.strong_count() > 0)
    }
}

impl<G> Default for WeightGrads<G> {
    fn default() -> Self {
        Self { passes: Mutex::default() }
    }
}

impl<G> WeightGrads<G> {
    /// The number of a pass's visit to a call, below 2^32: the sums of two million are exact in an `f64`.
    pub(super) fn visit_number() -> u64 {
        fresh_number(32)
    }

    /// Adds the gradient of a call to what its pass has summed.
    pub(super) fn add(
        &self,
        call: &CallId,
        visit: u64,
        grad: G,
        add: impl FnOnce(&mut G, &G) -> candle_core::Result<()>,
    ) -> candle_core::Result<()> {
        let (pass, address) = (BackwardPass::current(), call.address());
        let mut passes = lock(&self.passes)?;
        // A pass comes to a call once: where it was here, a pass that failed was.
        passes.retain(|sum| {
            sum.is_alive() && (sum.pass != pass || !sum.calls.contains_key(&address))
        });
        let known = Arc::downgrade(&call.0);
        match passes.iter_mut().find(|sum| sum.pass == pass) {
            Some(sum) => {
                add(&mut sum.grad, &grad)?;
                sum.calls.insert(address, known);
                sum.sum_of_numbers += visit;
            }
            None => {
                let calls = HashMap::from([(address, known)]);
                passes.push(Sum { pass, calls, sum_of_numbers: visit, grad });
            }
        }
        Ok(())
    }

    /// The edge's gradient of one visit, a row for each direction.
    pub(super) fn edge_grad(visit: u64, edge: &Tensor) -> candle_core::Result<Tensor> {
        let rows = edge.dim(0)?;
        Tensor::from_vec([1., visit as f64].repeat(rows), (rows, 2), edge.device())
    }

    /// The gradient of the only call over these weights, which this pass has been at.
    pub(super) fn take_of_one_call(&self) -> candle_core::Result<Option<G>> {
        Ok(self.take_sum()?.map(|sum| sum.grad))
    }

    /// The sum that the edge's gradient speaks of; `None` where calls of another pass are in it.
    ///
    /// - `edge_grad`: `(1, 2)`, `f64`
    pub(super) fn take(&self, edge_grad: &Tensor) -> candle_core::Result<Option<G>> {
        let found = edge_grad.flatten_all()?.to_vec1::<f64>()?;
        let is_whole = |sum: &Sum<G>| found == [sum.calls.len() as f64, sum.sum_of_numbers as f64];
        Ok(self.take_sum()?.filter(is_whole).map(|sum| sum.grad))
    }

    fn take_sum(&self) -> candle_core::Result<Option<Sum<G>>> {
        let pass = BackwardPass::current();
        let mut passes = lock(&self.passes)?;
        let index = passes.iter().position(|sum| sum.pass == pass);
        Ok(index.map(|index| passes.swap_remove(index)))
    }
}

/// Which result of a layer a gradient is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LayerResult {
    Outputs,
    FinalStates,
}

impl LayerResult {
    const ALL: [Self; 2] = [Self::Outputs, Self::FinalStates];
}

/// The gradients of a layer's results, on their way to the layer.
#[derive(Default)]
pub(super) struct ResultGrads {
    waiting: Mutex<Vec<Delivery>>,
}

struct Delivery {
    pass: BackwardPass,
    of: LayerResult,
    number: f32,
    grad: Tensor,
}

impl ResultGrads {
    /// Gradients that wait at most, of passes at the same time or failed ones.
    const MAX_WAITING: usize = 64;

    /// Numbers of deliveries are exact in `f32`, which every device has.
    const NUMBER_BITS: u32 = 24;

    /// Elements of the edge: a number for either result.
    pub(super) const EDGE: usize = 2;

    /// Takes a result's gradient in, and returns the edge's.
    pub(super) fn deliver(
        &self,
        of: LayerResult,
        grad: &Tensor,
        edge: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let number = fresh_number(Self::NUMBER_BITS) as f32;
        let grad = grad.contiguous()?;
        let mut waiting = lock(&self.waiting)?;
        if waiting.len() >= Self::MAX_WAITING {
            waiting.remove(0);
        }
        waiting.push(Delivery { pass: BackwardPass::current(), of, number, grad });
        let mut numbers = [0.; Self::EDGE];
        numbers[of as usize] = number;
        Tensor::new(&numbers, edge.device())
    }

    /// The gradients of the outputs and of the final states, as far as this pass has reached them.
    ///
    /// On a device the edge's gradient is read only where both results wait: it takes until the device
    /// has come to it.
    ///
    /// - `edge_grad`: `(2,)`, `f32`
    pub(super) fn take(&self, edge_grad: &Tensor) -> candle_core::Result<[Option<Tensor>; 2]> {
        let pass = BackwardPass::current();
        let mut waiting = lock(&self.waiting)?;
        let newest = LayerResult::ALL.map(|of| {
            let mut newest_first = waiting.iter().rev();
            newest_first.find(|one| one.pass == pass && one.of == of).map(|one| one.number)
        });
        let numbers = if edge_grad.device().is_cpu() || !newest.contains(&None) {
            edge_grad.to_dtype(DType::F32)?.to_vec1::<f32>()?
        } else {
            // This pass has reached one of them, and only one of them is there.
            newest.map(|number| number.unwrap_or(0.)).to_vec()
        };
        let mut grads = [None, None];
        for (of, number) in LayerResult::ALL.into_iter().zip(numbers) {
            if number == 0. {
                continue;
            }
            match waiting.iter().position(|one| one.of == of && one.number == number) {
                Some(index) => grads[of as usize] = Some(waiting.remove(index).grad),
                None => candle_core::bail!(
                    "gradients of another backward pass came between: run backward again"
                ),
            }
        }
        // What is left of this thread's passes is of one that failed.
        waiting.retain(|one| one.pass != pass);
        Ok(grads)
    }
}
