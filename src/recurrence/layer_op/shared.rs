//! What the ops of one layer share, beside the graph.

use std::sync::{Mutex, OnceLock};

use candle_core::{CpuStorage, Tensor};

use super::super::mailbox::ResultGrads;
use super::super::packed::Packable;
use candle_rnn_kernels::Saved;

/// What the ops of one layer share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(super) saved: OnceLock<SavedStates>,
    /// All outputs and the final states, where both are read, until their nodes take them.
    pub(super) results: Mutex<[Option<CpuStorage>; 2]>,
    /// All outputs without their graph, where both results are read.
    pub(super) outputs: OnceLock<Tensor>,
    /// The gradients of both, on their way from [`ResultNode`](super::ResultNode) to
    /// [`Layer`](super::Layer).
    pub(super) grads: ResultGrads,
}

/// Saved states of either dtype.
pub(super) enum SavedStates {
    F32(Saved<f32>),
    F64(Saved<f64>),
}

/// The dtypes that states are saved in.
pub(super) trait Saveable: Packable {
    fn wrap(states: Saved<Self>) -> SavedStates;
    fn unwrap(saved: &SavedStates) -> Option<&Saved<Self>>;
}

macro_rules! saveable {
    ($elem:ident, $variant:ident) => {
        impl Saveable for $elem {
            fn wrap(states: Saved<Self>) -> SavedStates {
                SavedStates::$variant(states)
            }
            fn unwrap(saved: &SavedStates) -> Option<&Saved<Self>> {
                match saved {
                    SavedStates::$variant(states) => Some(states),
                    _ => None,
                }
            }
        }
    };
}

saveable!(f32, F32);
saveable!(f64, F64);
