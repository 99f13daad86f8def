//! `h_t = f(W_ih x_t + b + W_hh h_{t-1})`: Elman's network.

use std::marker::PhantomData;

use crate::cells::cell::{Cell, GateBlock, Source, WeightRows};
use crate::simd::math::Activation;

/// The simple cell with activation `A`.
pub(crate) struct Simple<A>(PhantomData<A>);

impl<A: Activation + 'static> Cell for Simple<A> {
    type InTile = A;
    const IS_SIMPLE: bool = true;
    const GATE_BLOCKS: &'static [GateBlock] = &[GateBlock {
        rows: WeightRows::Gates { first: 0, count: 1 },
        input: true,
        source: Source::State,
    }];
}
