//! `y = W x + b`: a dense layer, one step without a state.

use crate::cells::cell::{Cell, GateBlock, Source, WeightRows};
use crate::simd::math::Identity;

/// The dense layer.
pub(crate) struct Dense;

impl Cell for Dense {
    type InTile = Identity;
    const IS_SIMPLE: bool = true;
    const GATE_BLOCKS: &'static [GateBlock] = &[GateBlock {
        rows: WeightRows::Gates { first: 0, count: 1 },
        input: true,
        source: Source::Nothing,
    }];
}
