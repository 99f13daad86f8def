//! The weights of a layer in one direction, and their sizes.

use candle_core::Tensor;

use super::checks::{check_dtype, wrong_shape};
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

    /// W_ih, W_hh and `[b_ih | b_hh | W_hr]`, contiguous: an op has three arguments at most.
    pub(super) fn as_arguments(&self) -> candle_core::Result<[Tensor; 3]> {
        let Self { w_ih, w_hh, b_ih, b_hh, w_hr } = self;
        let others = match (b_hh, w_hr) {
            (None, None) => b_ih.contiguous()?,
            (b_hh, w_hr) => {
                let b_hh = b_hh.as_ref().map_or_else(|| b_ih.zeros_like(), |b| Ok(b.clone()))?;
                let w_hr = w_hr.as_ref().map(Tensor::flatten_all).transpose()?;
                let parts: Vec<&Tensor> = [b_ih, &b_hh].into_iter().chain(&w_hr).collect();
                Tensor::cat(&parts, 0)?
            }
        };
        Ok([w_ih.contiguous()?, w_hh.contiguous()?, others])
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
