//! One layer of a stack: its weights, and the call that runs it.

use candle_core::Tensor;

use super::super::dropout;
use super::{Sequences, Stack};
use crate::recurrence::Truncation;
use crate::recurrence::{Call, LayerWeights, State, Unroll};
use crate::{Error, Result};

impl Stack {
    /// Runs one layer, by `run`, with the call that `sequences` means for it.
    pub(super) fn layer<R>(
        &self,
        index: usize,
        x: &Tensor,
        sequences: &mut Sequences,
        unroll: Unroll,
        run: impl FnOnce(&Tensor, &LayerWeights, &Call) -> Result<R>,
    ) -> Result<R> {
        self.check_truncation(sequences.truncation)?;
        let ids = sequences.ids.filter(|_| index == 0);
        let mut dropped = None;
        let mut mask = None;
        if let Some(rng) = sequences.dropout.as_deref_mut() {
            if index > 0 && self.config.dropout > 0. {
                dropped = Some(dropout::dropout(x, self.config.dropout, rng)?);
            }
            let (rows, rank) = (ids.unwrap_or(x), if ids.is_some() { 2 } else { 3 });
            if self.config.recurrent_dropout > 0. && rows.rank() == rank {
                let batch_size = rows.dim(usize::from(sequences.time_major))?;
                let shape = [self.config.directions(), batch_size, self.config.output_size()];
                let p = self.config.recurrent_dropout;
                mask = Some(dropout::mask(&shape, p, rng, x.dtype(), x.device())?);
            }
        }
        let initial = sequences.initial.map(|state| self.state_of(index, state)).transpose()?;
        let call = Call {
            ids,
            initial: initial.as_ref(),
            lengths: sequences.lengths,
            mask: mask.as_ref(),
            time_major: sequences.time_major,
            unroll: unroll.truncated(sequences.truncation),
            recurrent_dtype: sequences.recurrent_dtype,
        };
        run(dropped.as_ref().unwrap_or(x), &self.layers[index], &call)
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
            if count == directions {
                Ok(states.clone())
            } else {
                Ok(states.narrow(0, layer * directions, directions)?)
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
                "truncation and bidirectional exclude each other: every output of a bidirectional \
                 stack depends on all steps"
                    .into(),
            ));
        }
        if self.layers.len() > 1 && truncation.overlaps() {
            return Err(Error::Config(
                "overlapping windows of truncation need a single layer: use segments, or run each \
                 window by itself"
                    .into(),
            ));
        }
        Ok(())
    }
}
