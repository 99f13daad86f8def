//! The fused recurrence as a differentiable Candle op.
//!
//! Custom ops follow each other in the graph, since Candle allows three arguments and one result:
//! `PackWeights` lays the weights out as the kernels read them, and `Layer` takes `x`, a token for the
//! packed weights and the initial states to all outputs or to the final states. Where both are read, it
//! has an edge, a tensor of two numbers, from which a `ResultNode` leads to either.
//!
//! - `passes`: `Layer` forward and backward, over the floats of a dtype
//! - `shared`: what the ops of one layer share
//! - `results`: `ResultNode`

mod passes;
mod results;
mod shared;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::mailbox::{CallId, LayerResult};
use super::packed::{Direction, PackedWeights};
use super::storage::not_on_cpu;
use super::{SequenceDims, Unroll};
use crate::Result;
use candle_rnn_kernels::{CellKind, Isa, Save};
use results::ResultNode;
use shared::Shared;

/// What a pass is, besides its tensors.
pub(super) struct Setting {
    pub(super) dims: SequenceDims,
    /// Of the output.
    pub(super) shape: Shape,
    pub(super) unroll: Unroll,
    pub(super) time_major: bool,
    pub(super) lengths: Option<Vec<usize>>,
    pub(super) mask: Option<Tensor>,
}

impl Setting {
    pub(super) fn plain(dims: SequenceDims, shape: Shape, unroll: Unroll) -> Self {
        Self { dims, shape, unroll, time_major: false, lengths: None, mask: None }
    }
}

/// All outputs or the final states, whichever `setting` reads.
///
/// `x` may have any shape with the elements of `(B, T, I)`, and the output gets the one that is
/// asked for: a reshape would be a node of the graph, with a pass over memory of its own. So may
/// `initial`.
pub(super) fn run(
    x: &Tensor,
    weights: &PackedWeights,
    initial: Option<&Tensor>,
    function: CellKind,
    setting: Setting,
) -> Result<Tensor> {
    Ok(apply(x, weights, initial, function, setting, false)?.0)
}

/// All outputs, and the final states `[h_n | c_n]`, flat.
///
/// - `states_len`: the elements of the latter
pub(super) fn run_both(
    x: &Tensor,
    weights: &PackedWeights,
    initial: Option<&Tensor>,
    setting: Setting,
    states_len: usize,
) -> Result<[Tensor; 2]> {
    let shape = setting.shape.clone();
    let (edge, shared) = apply(x, weights, initial, weights.function, setting, true)?;
    let result = |of, shape| {
        let node = ResultNode { shared: shared.clone(), of, shape };
        edge.apply_op1(node)
    };
    let outputs = result(LayerResult::Outputs, shape)?;
    let states = result(LayerResult::FinalStates, Shape::from(states_len))?;
    let _ = shared.outputs.set(outputs.detach());
    Ok([outputs, states])
}

fn apply(
    x: &Tensor,
    weights: &PackedWeights,
    initial: Option<&Tensor>,
    function: CellKind,
    setting: Setting,
    has_edge: bool,
) -> Result<(Tensor, Arc<Shared>)> {
    let x = x.contiguous()?;
    if std::iter::once(&x).chain(initial).any(|tensor| !tensor.device().is_cpu()) {
        return Err(not_on_cpu());
    }
    let tracked = [&x, &weights.token].into_iter().chain(initial).any(Tensor::track_op);
    let save = match (tracked, setting.unroll.recomputes()) {
        (false, _) => Save::None,
        (true, false) => Save::All,
        (true, true) => Save::Checkpoints,
    };
    let shared = Arc::new(Shared::default());
    let op = Layer {
        setting,
        has_edge,
        call: CallId::default(),
        function,
        isa: weights.isa,
        save,
        directions: weights.directions.clone(),
        shared: shared.clone(),
    };
    let result = match initial {
        None => x.apply_op2(&weights.token, op)?,
        Some(initial) => x.apply_op3(&weights.token, initial, op)?,
    };
    Ok((result, shared))
}

/// `(x, token of the weights, initial states)` to all outputs or to final states, or to the edge to both;
/// without initial states, from zeros.
struct Layer {
    setting: Setting,
    /// Whether the result is the edge, [`ResultGrads::EDGE`](super::mailbox::ResultGrads::EDGE) numbers.
    has_edge: bool,
    /// For [`WeightGrads`](super::mailbox::WeightGrads).
    call: CallId,
    function: CellKind,
    isa: Isa,
    /// What backward will need.
    save: Save,
    /// The weights, by direction.
    directions: Vec<Arc<Direction>>,
    shared: Arc<Shared>,
}

impl Layer {
    const NAME: &str = "rnn-layer";
}

impl CustomOp2 for Layer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        _token: &CpuStorage,
        _token_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.dispatch_forward((x, x_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_token, _] = self.dispatch_backward(x, token, None, output, grad)?;
        Ok((grad_x, grad_token))
    }
}

impl CustomOp3 for Layer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        _token: &CpuStorage,
        _token_layout: &Layout,
        initial: &CpuStorage,
        initial_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.dispatch_forward((x, x_layout), Some((initial, initial_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        initial: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_token, grad_initial] =
            self.dispatch_backward(x, token, Some(initial), output, grad)?;
        Ok((grad_x, grad_token, grad_initial))
    }
}
