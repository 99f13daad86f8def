//! The weights of a layer, and their sizes.

use candle_core::{DType, Device, Tensor};

use super::call::{check_dtype, wrong_shape};
use super::pack_cache::PackCache;
use super::packed::PackedWeights;
use super::Cell;
use crate::{Error, Result};

/// The weights of one layer in one direction, the same at every step.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `(G·H, I)`, gates in the order of [`Cell`].
    pub w_ih: Tensor,
    /// `(G·H, P)`; P is H unless there is a projection.
    pub w_hh: Tensor,
    /// `(G·H,)`.
    pub b_ih: Tensor,
    /// `(G·H,)`, added where the state's product is; zeros if `None`.
    pub b_hh: Option<Tensor>,
    /// `(P, H)`: the projection of an LSTM, if it has one.
    pub w_hr: Option<Tensor>,
}

impl Weights {
    /// Weights with one bias and no projection.
    pub fn new(w_ih: Tensor, w_hh: Tensor, b_ih: Tensor) -> Self {
        Self { w_ih, w_hh, b_ih, b_hh: None, w_hr: None }
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        [("w_ih", &self.w_ih), ("w_hh", &self.w_hh), ("b_ih", &self.b_ih)]
            .into_iter()
            .chain(self.b_hh.as_ref().map(|b_hh| ("b_hh", b_hh)))
            .chain(self.w_hr.as_ref().map(|w_hr| ("w_hr", w_hr)))
    }

    /// Checks that shapes and dtypes fit together and to the cell, and returns I, H and P, all at
    /// least 1.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree or are 0; [`Error::DType`] unless all tensors are `f32`
    /// or all are `f64`; [`Error::Config`] for a projection of any other cell than the LSTM.
    pub fn check(&self, cell: Cell) -> Result<WeightSizes> {
        let Self { w_ih, w_hh, b_ih, b_hh, w_hr } = self;
        let gates = cell.gates();
        let (rows, input_size) = match *w_ih.dims() {
            [rows, input_size] if rows > 0 && rows % gates == 0 && input_size > 0 => {
                (rows, input_size)
            }
            _ => {
                let rows = if gates == 1 { "H".to_string() } else { format!("{gates}·H") };
                return Err(wrong_shape("w_ih", format!("({rows}, I), both at least 1"), w_ih));
            }
        };
        let hidden_size = rows / gates;
        let output_size = match w_hr.as_ref().map(|w_hr| (w_hr, w_hr.dims())) {
            None => hidden_size,
            Some(_) if cell != Cell::Lstm => {
                return Err(Error::Config(format!("a projection is for lstm, not {}", cell.name())))
            }
            Some((_, [outputs, columns])) if *outputs > 0 && *columns == hidden_size => *outputs,
            Some((w_hr, _)) => {
                return Err(wrong_shape("w_hr", format!("(P, {hidden_size}), P at least 1"), w_hr))
            }
        };
        if w_hh.dims() != [rows, output_size] {
            return Err(wrong_shape("w_hh", format!("({rows}, {output_size})"), w_hh));
        }
        for (name, bias) in [("b_ih", Some(b_ih)), ("b_hh", b_hh.as_ref())] {
            match bias {
                Some(bias) if bias.dims() != [rows] => {
                    return Err(wrong_shape(name, format!("({rows},)"), bias));
                }
                _ => {}
            }
        }
        for (name, tensor) in self.tensors() {
            check_dtype(name, tensor, w_ih.dtype())?;
        }
        Ok(WeightSizes { input_size, hidden_size, output_size })
    }

    /// The same weights without the graph that made them.
    pub fn detach(&self) -> Self {
        self.map(|tensor| Ok(tensor.detach())).unwrap_or_else(|_: Error| unreachable!())
    }

    /// The same weights in memory of their own, without the graph that made them.
    ///
    /// # Errors
    /// [`Error::Candle`] when they cannot be copied.
    pub fn copy(&self) -> Result<Self> {
        self.map(|tensor| Ok(tensor.detach().copy()?))
    }

    /// The same weights in the same graph; in memory of their own, where a gradient is asked for.
    pub(crate) fn tracked_copy(&self) -> Result<Self> {
        let copy = |tensor: &Tensor| -> Result<Tensor> {
            if tensor.track_op() {
                Ok(tensor.force_contiguous()?)
            } else {
                Ok(tensor.clone())
            }
        };
        self.map(copy)
    }

    fn map(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            w_ih: change(&self.w_ih)?,
            w_hh: change(&self.w_hh)?,
            b_ih: change(&self.b_ih)?,
            b_hh: self.b_hh.as_ref().map(&change).transpose()?,
            w_hr: self.w_hr.as_ref().map(&change).transpose()?,
        })
    }
}

/// The sizes of a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightSizes {
    /// I.
    pub input_size: usize,
    /// H.
    pub hidden_size: usize,
    /// P: numbers of an output and of the state h; H unless there is a projection.
    pub output_size: usize,
}

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
        let packed =
            if super::runs_on_cpu(self.device()) { Some(PackedWeights::new(self)?) } else { None };
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
            None if is_step => self.cache.packed(self),
            None => PackedWeights::new(self),
        }
    }

    /// The same weights, packed for an instruction set.
    #[cfg(test)]
    pub(super) fn packed_for(&self, isa: candle_rnn_kernels::Isa) -> Self {
        Self { packed: Some(PackedWeights::for_isa(self, isa).unwrap()), ..self.clone() }
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
