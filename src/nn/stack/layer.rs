//! One layer of a stack: its weights, and how it is run.

use std::borrow::Cow;

use candle_core::Tensor;

use super::super::dropout;
use super::{Sequences, Stack};
use crate::recurrence::plan::RecurrentDType;
use crate::recurrence::Truncation;
use crate::recurrence::{
    device, run_layer, unrolled, Call, Cell, Outputs, PackCache, PackedWeights, State, Unroll,
    Weights,
};
use crate::{Error, Result};

/// The weights of one layer, in one direction or in both.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) directions: Vec<Weights>,
    /// Of weights that do not change any more.
    pub(super) packed: Option<PackedWeights>,
    /// For single steps, of weights that may change.
    pub(super) cache: PackCache,
}

impl Layer {
    /// A layer on weights that may change.
    pub(super) fn new(directions: Vec<Weights>) -> Self {
        Self { directions, packed: None, cache: PackCache::default() }
    }
}

/// How a stack runs a layer.
#[derive(Clone, Copy)]
pub(super) struct LayerCall {
    pub(super) read: Outputs,
    pub(super) recompute: bool,
}

pub(super) fn pack(cell: Cell, directions: &[Weights]) -> Result<PackedWeights> {
    match directions {
        [forward, backward] => PackedWeights::bidirectional(cell, forward, backward),
        _ => PackedWeights::new(cell, &directions[0]),
    }
}

impl Stack {
    /// Runs one layer.
    pub(super) fn layer(
        &self,
        index: usize,
        x: &Tensor,
        sequences: &mut Sequences,
        LayerCall { read, recompute }: LayerCall,
    ) -> Result<(Option<Tensor>, State)> {
        self.check_truncation(sequences.truncation)?;
        let has_kernels = device::has_kernels(self.config.cell, &self.layers[index].directions[0])?;
        if sequences.word != RecurrentDType::F32 && !has_kernels {
            return Err(Error::Config(
                "bf16 weights are for GPUs, and cells with kernels there".into(),
            ));
        }
        let directions = self.config.directions();
        let mut dropped = None;
        let mut mask = None;
        if let Some(rng) = sequences.dropout.as_deref_mut() {
            if index > 0 && self.config.dropout > 0. {
                dropped = Some(dropout::dropout(x, self.config.dropout, rng)?);
            }
            if self.config.recurrent_dropout > 0. && x.rank() == 3 {
                let batch_size = x.dim(usize::from(sequences.time_major))?;
                let shape = [directions, batch_size, self.config.output_size()];
                let p = self.config.recurrent_dropout;
                mask = Some(dropout::mask(&shape, p, rng, x.dtype(), x.device())?);
            }
        }
        let x = dropped.as_ref().unwrap_or(x);
        let initial = match sequences.initial {
            None => None,
            Some(state) => Some(self.state_of(index, state)?),
        };
        let mut unroll = Unroll::new(read).truncated(sequences.truncation);
        if recompute {
            unroll = unroll.recomputing()?;
        }
        let call = Call {
            initial: initial.as_ref(),
            lengths: sequences.lengths,
            mask: mask.as_ref(),
            time_major: sequences.time_major,
            unroll,
        };
        if device::is_for_cpu_kernels(self.device()) {
            return run_layer(x, self.packed(index)?.as_ref(), &call);
        }
        let weights: Vec<&Weights> = self.layers[index].directions.iter().collect();
        let cell = self.config.cell;
        if has_kernels {
            return device::run_layer(x, cell, &weights, &call, sequences.word);
        }
        unrolled::run_layer(x, cell, &weights, &call)
    }

    /// A layer's part of the states of all layers.
    pub(super) fn state_of(&self, layer: usize, state: &State) -> Result<State> {
        let directions = self.config.directions();
        let count = directions * self.layers.len();
        let part = |name: &'static str, states: &Tensor| {
            if states.dims().first() != Some(&count) {
                return Err(Error::Shape {
                    op: "stack",
                    tensor: name,
                    expected: format!("({count}, B, ..)"),
                    actual: states.dims().to_vec(),
                });
            }
            match count == directions {
                true => Ok(states.clone()),
                false => Ok(states.narrow(0, layer * directions, directions)?),
            }
        };
        let h = part("h_0", &state.h)?;
        let c = state.c.as_ref().map(|c| part("c_0", c)).transpose()?;
        Ok(state.part(h, c))
    }

    /// Truncation must mean in a stack what it means in a layer.
    pub(super) fn check_truncation(&self, truncation: Truncation) -> Result<()> {
        if truncation == Truncation::FULL {
            return Ok(());
        }
        if self.config.bidirectional {
            return Err(Error::Config(
                "gradients cannot be truncated in both directions of time: every output of a \
                 bidirectional stack depends on all steps"
                    .into(),
            ));
        }
        if self.layers.len() > 1 && truncation.overlaps() {
            return Err(Error::Config(
                "windows that overlap mix in a stack of layers: take segments, or run each window \
                 by itself"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The weights as the kernels read them: made anew for each call, unless they are frozen.
    pub(super) fn packed(&self, layer: usize) -> Result<Cow<'_, PackedWeights>> {
        let Layer { directions, packed, .. } = &self.layers[layer];
        Ok(match packed {
            Some(packed) => Cow::Borrowed(packed),
            None => Cow::Owned(pack(self.config.cell, directions)?),
        })
    }
}
