//! The weights of a whole layer: one direction or two, and packed if they were.

use candle_core::{DType, Device};

use super::pack_cache::PackCache;
use super::packed::PackedWeights;
use super::storage::runs_on_cpu;
use super::weights::{WeightSizes, Weights};
use super::Cell;
use crate::{Error, Result};

/// The weights of a layer, in one direction or in both, and the cell that they are for.
///
/// On the CPU kernels read the weights in an order of their own. [`run_layer`](super::run_layer) packs them at
/// every call, unless they were packed before: [`pack`](Self::pack) where several calls have the same weights,
/// [`freeze`](Self::freeze) for inference.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    cell: Cell,
    directions: Vec<Weights>,
    sizes: WeightSizes,
    /// The packed weights, where they do not change any more.
    packed: Option<PackedWeights>,
    /// The packed weights of the last step.
    cache: PackCache,
}

impl LayerWeights {
    /// The weights of a layer that runs forward in time.
    ///
    /// # Errors
    /// As [`Weights::check`]; and [`Error::Config`] when tensors are on different devices.
    pub fn new(cell: Cell, weights: Weights) -> Result<Self> {
        Self::of_directions(cell, vec![weights])
    }

    /// The weights of a layer that runs in both directions.
    ///
    /// # Errors
    /// As [`new`](Self::new); and [`Error::Config`] when the directions differ in size or dtype.
    pub fn bidirectional(cell: Cell, forward: Weights, backward: Weights) -> Result<Self> {
        Self::of_directions(cell, vec![forward, backward])
    }

    /// The weights of a layer of one direction, or of two.
    pub(crate) fn of_directions(cell: Cell, directions: Vec<Weights>) -> Result<Self> {
        let (1 | 2, Some(first)) = (directions.len(), directions.first()) else {
            let number = directions.len();
            return Err(Error::Config(format!("a layer has 1 or 2 directions, got {number}")));
        };
        let (sizes, w_ih) = (first.check(cell)?, &first.w_ih);
        for weights in &directions {
            let found = weights.check(cell)?;
            if found != sizes || weights.w_ih.dtype() != w_ih.dtype() {
                return Err(Error::Config(format!(
                    "the directions of a layer differ: {sizes:?} in {} and {found:?} in {}",
                    w_ih.dtype().as_str(),
                    weights.w_ih.dtype().as_str()
                )));
            }
            for (name, tensor) in weights.tensors() {
                if !tensor.device().same_device(w_ih.device()) {
                    return Err(Error::Config(format!("{name} is on another device than w_ih")));
                }
            }
        }
        Ok(Self { cell, directions, sizes, packed: None, cache: PackCache::default() })
    }

    /// The same weights, packed once for the kernels of this CPU; on a device, the same weights.
    ///
    /// The packed weights are a copy: pack them again after a change. Gradients flow through to the weights.
    ///
    /// # Errors
    /// [`Error::Config`] when the environment variable `CANDLE_RNN_ISA` names an instruction set that this CPU
    /// lacks.
    pub fn pack(&self) -> Result<Self> {
        let packed = if runs_on_cpu(self.device()) { Some(self.packed_now()?) } else { None };
        Ok(Self { packed, ..self.clone() })
    }

    /// The weights as they are now, for inference: in memory of their own, without the graph that made them, and
    /// packed.
    ///
    /// # Errors
    /// As [`pack`](Self::pack); [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let copies = self.directions.iter().map(Weights::copy).collect::<Result<_>>()?;
        Self::of_directions(self.cell, copies)?.pack()
    }

    /// The same weights without the graph that made them.
    pub fn detach(&self) -> Self {
        let directions = self.directions.iter().map(Weights::detach).collect();
        Self { directions, packed: None, cache: PackCache::default(), ..*self }
    }

    /// The weights of the forward direction alone.
    pub(crate) fn forward_direction(&self) -> Self {
        match &self.directions[..] {
            [_] => self.clone(),
            directions => Self {
                directions: directions[..1].to_vec(),
                packed: None,
                cache: self.cache.clone(),
                ..*self
            },
        }
    }

    /// The weights as the kernels read them: for a step those of the step before, if the weights still hold the
    /// same elements.
    pub(super) fn packed(&self, is_step: bool) -> Result<PackedWeights> {
        match &self.packed {
            Some(packed) => Ok(packed.clone()),
            None if is_step => self.cache.packed(self.cell, &self.directions),
            None => self.packed_now(),
        }
    }

    fn packed_now(&self) -> Result<PackedWeights> {
        PackedWeights::new(self.cell, &self.directions)
    }

    /// The same weights, packed for an instruction set.
    #[cfg(test)]
    pub(super) fn packed_for(&self, isa: candle_rnn_kernels::Isa) -> Self {
        Self {
            packed: Some(PackedWeights::for_isa(self.cell, &self.directions, isa).unwrap()),
            ..self.clone()
        }
    }

    /// The cell.
    pub fn cell(&self) -> Cell {
        self.cell
    }

    /// The weights of each direction: forward, and backward if there is one.
    pub fn directions(&self) -> &[Weights] {
        &self.directions
    }

    /// The sizes I, H and P.
    pub fn sizes(&self) -> WeightSizes {
        self.sizes
    }

    /// The float type.
    pub fn dtype(&self) -> DType {
        self.directions[0].w_ih.dtype()
    }

    /// The device that holds the weights, and runs the layer.
    pub fn device(&self) -> &Device {
        self.directions[0].w_ih.device()
    }
}
