//! Weights laid out for the kernels, as a differentiable Candle op.
//!
//! The numbers themselves do not go through Candle's graph: of every gradient that an op hands it,
//! Candle makes a tensor of zeros and a sum, which here would cost as much as a product. A token
//! stands for them in the graph, a row for each direction; packed weights lie in what the ops share, and
//! their gradients come back by way of [`WeightGrads`].

use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType};

use super::arguments::wrong_shape;
use super::mailbox::{within_node, CallId, WeightGrads};
use super::storage::{not_on_cpu, slice};
use super::{Cell, WeightSizes, Weights};
use crate::{Error, Result};
use candle_rnn_kernels::{
    self as kernels, Buffer, CellKind, Float, Isa, SequenceDims, TransposedWeights, WeightSlices,
};

/// The weights of a layer, in one direction or two, laid out as the kernels of this CPU read them.
///
/// They are a copy: after a change of the weights they are made anew. Where the weights are
/// variables or depend on some, gradients flow through to them.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    /// `(D, 2)`, `f64`: stands for the weights in the graph; its gradient is what [`WeightGrads`] says.
    pub(super) token: Tensor,
    /// Of the weights.
    dtype: DType,
    /// The weights, by direction.
    pub(super) directions: Vec<Arc<Direction>>,
    pub(super) sizes: WeightSizes,
    pub(super) cell: Cell,
    pub(super) function: CellKind,
    pub(super) isa: Isa,
}

/// What the ops share of the weights of a direction.
#[derive(Default)]
pub(super) struct Direction {
    pub(super) packed: OnceLock<Packed>,
    /// Gradients on their way back.
    pub(super) grads: WeightGrads<CpuStorage>,
}

impl std::fmt::Debug for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packed weights")
    }
}

/// Packed weights of either dtype.
pub(super) enum Packed {
    F32(PackedNumbers<f32>),
    F64(PackedNumbers<f64>),
}

/// Packed weights.
pub(super) struct PackedNumbers<E> {
    /// For the forward pass: sections of gates, each `[b | W_ih | W_hh]` in panels of registers.
    pub(super) forward: Buffer<E>,
    /// For the backward pass.
    pub(super) backward: TransposedWeights<E>,
}

/// The dtypes that weights are packed in.
pub(super) trait Packable: Float + WithDType {
    fn wrap_packed(numbers: PackedNumbers<Self>) -> Packed;
    fn unwrap_packed(packed: &Packed) -> Option<&PackedNumbers<Self>>;
}

macro_rules! packable {
    ($elem:ident, $variant:ident) => {
        impl Packable for $elem {
            fn wrap_packed(numbers: PackedNumbers<Self>) -> Packed {
                Packed::$variant(numbers)
            }
            fn unwrap_packed(packed: &Packed) -> Option<&PackedNumbers<Self>> {
                match packed {
                    Packed::$variant(numbers) => Some(numbers),
                    _ => None,
                }
            }
        }
    };
}

packable!(f32, F32);
packable!(f64, F64);

impl Direction {
    /// The weights, which are there since they were packed.
    pub(super) fn numbers<E: Packable>(&self) -> candle_core::Result<&PackedNumbers<E>> {
        match self.packed.get().and_then(E::unwrap_packed) {
            Some(numbers) => Ok(numbers),
            None => candle_core::bail!("packed weights of another dtype"),
        }
    }

    /// Adds the gradient of a call, under the number of this visit.
    pub(super) fn add_grad<E: Packable>(
        &self,
        call: &CallId,
        visit: u64,
        grad: Vec<E>,
    ) -> candle_core::Result<()> {
        self.grads.add(call, visit, E::to_cpu_storage_owned(grad), |sum, grad| {
            fn add_to<E: Float>(sum: &mut [E], grad: &[E]) {
                sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum = *sum + *grad);
            }
            match (sum, grad) {
                (CpuStorage::F32(sum), CpuStorage::F32(grad)) => add_to(sum, grad),
                (CpuStorage::F64(sum), CpuStorage::F64(grad)) => add_to(sum, grad),
                _ => candle_core::bail!("gradients of packed weights of another dtype"),
            }
            Ok(())
        })
    }
}

impl PackedWeights {
    /// Packs the weights of a layer that runs forward in time, for the instruction set of this CPU,
    /// or the one that the environment variable `CANDLE_RNN_ISA` names (`avx512`, `avx2`, `neon` or
    /// `portable`).
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::DType`] when the weights do not fit together,
    /// [`Error::Config`] when they are not on the CPU or `CANDLE_RNN_ISA` names an instruction set
    /// that is not there.
    pub fn new(cell: Cell, weights: &Weights) -> Result<Self> {
        Self::for_isa(cell, &[weights], chosen()?)
    }

    /// Packs the weights of a layer that runs in both directions.
    ///
    /// # Errors
    /// As [`new`](Self::new); and [`Error::Config`] when the directions differ in size or dtype.
    pub fn bidirectional(cell: Cell, forward: &Weights, backward: &Weights) -> Result<Self> {
        Self::for_isa(cell, &[forward, backward], chosen()?)
    }

    /// Packs the weights of a layer that runs in one direction or in both.
    pub(super) fn of_directions(cell: Cell, directions: &[&Weights]) -> Result<Self> {
        Self::for_isa(cell, directions, chosen()?)
    }

    /// Packs a dense layer: `weight` `(C, I)`, C at most 1,024, and `bias` `(C,)`.
    pub(crate) fn dense(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        const MAX_CLASSES: usize = 1024;
        let classes = match *weight.dims() {
            [classes, inputs] if (1..=MAX_CLASSES).contains(&classes) && inputs > 0 => classes,
            _ => {
                let expected = format!("(C, I), C from 1 to {MAX_CLASSES}, I at least 1");
                return Err(wrong_shape("weight", expected, weight));
            }
        };
        if bias.dims() != [classes] {
            return Err(wrong_shape("bias", format!("({classes},)"), bias));
        }
        let w_hh = Tensor::zeros((classes, classes), weight.dtype(), weight.device())?;
        let weights = Weights::new(weight.clone(), w_hh, bias.clone());
        let packed = Self::new(Cell::Tanh, &weights)?;
        Ok(Self { function: CellKind::Identity, ..packed })
    }

    pub(super) fn for_isa(cell: Cell, directions: &[&Weights], isa: Isa) -> Result<Self> {
        let sizes = directions[0].check(cell)?;
        let dtype = directions[0].w_ih.dtype();
        let function = match (cell, directions[0].w_hr.is_some()) {
            (Cell::Tanh, _) => CellKind::Tanh,
            (Cell::Relu, _) => CellKind::Relu,
            (Cell::Gru, _) => CellKind::Gru,
            (Cell::GruResetBefore, _) => CellKind::GruResetBefore,
            (Cell::MinimalGru, _) => CellKind::MinimalGru,
            (Cell::Lstm, false) => CellKind::Lstm,
            (Cell::Lstm, true) => CellKind::ProjectedLstm,
        };
        let (mut tokens, mut shared) = (Vec::new(), Vec::new());
        for weights in directions {
            let found = weights.check(cell)?;
            if found != sizes || weights.w_ih.dtype() != dtype {
                return Err(Error::Config(format!(
                    "the directions of a layer differ: {sizes:?} in {} and {found:?} in {}",
                    dtype.as_str(),
                    weights.w_ih.dtype().as_str()
                )));
            }
            if weights.tensors().any(|(_, tensor)| !tensor.device().is_cpu()) {
                return Err(not_on_cpu());
            }
            let [w_ih, w_hh] = [weights.w_ih.contiguous()?, weights.w_hh.contiguous()?];
            let rest = rest(weights)?;
            let direction = Arc::new(Direction::default());
            let op = PackWeights {
                sizes,
                rest: rest.elem_count(),
                cell,
                function,
                isa,
                direction: direction.clone(),
            };
            tokens.push(w_ih.apply_op3(&w_hh, &rest, op)?);
            shared.push(direction);
        }
        let token = match tokens.len() {
            1 => tokens.remove(0),
            _ => Tensor::cat(&tokens, 0)?,
        };
        Ok(Self { token, dtype, directions: shared, sizes, cell, function, isa })
    }

    /// I, H and P.
    pub fn sizes(&self) -> WeightSizes {
        self.sizes
    }

    /// The cell.
    pub fn cell(&self) -> Cell {
        self.cell
    }

    /// D: 1 or 2.
    pub fn directions(&self) -> usize {
        self.directions.len()
    }

    /// The float type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
}

fn chosen() -> Result<Isa> {
    Isa::chosen().map_err(|text| Error::Config(text.to_string()))
}

/// `[b_ih | b_hh | W_hr]`: an op has three arguments at most.
fn rest(weights: &Weights) -> Result<Tensor> {
    let Weights { b_ih, b_hh, w_hr, .. } = weights;
    let b_hh = match (b_hh, w_hr) {
        (None, None) => return Ok(b_ih.contiguous()?),
        (Some(b_hh), _) => b_hh.clone(),
        (None, Some(_)) => b_ih.zeros_like()?,
    };
    let w_hr = w_hr.as_ref().map(Tensor::flatten_all).transpose()?;
    let parts: Vec<&Tensor> = [b_ih, &b_hh].into_iter().chain(&w_hr).collect();
    Ok(Tensor::cat(&parts, 0)?)
}

/// `(W_ih, W_hh, rest)` to packed weights, and to the token that stands for them.
struct PackWeights {
    sizes: WeightSizes,
    /// Elements of the rest.
    rest: usize,
    cell: Cell,
    function: CellKind,
    isa: Isa,
    direction: Arc<Direction>,
}

/// The sizes of one step of one row.
fn dims(sizes: WeightSizes) -> SequenceDims {
    let WeightSizes { input_size, hidden_size, output_size } = sizes;
    SequenceDims { batch_size: 1, seq_len: 1, input_size, hidden_size, output_size }
}

impl PackWeights {
    const NAME: &str = "rnn-pack-weights";

    /// G·H.
    fn gates(&self) -> usize {
        self.cell.gates() * self.sizes.hidden_size
    }

    fn forward<E: Packable>(
        &self,
        storages: [(&CpuStorage, &Layout); 3],
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let [w_ih, w_hh, rest] = storages;
        let weights = WeightSlices::new(
            slice::<E>(w_ih)?,
            slice::<E>(w_hh)?,
            slice::<E>(rest)?,
            self.gates(),
        );
        let kernels = E::kernels(self.isa, self.function);
        let dims = dims(self.sizes);
        let numbers = PackedNumbers {
            forward: kernels::pack_weights(&kernels, &dims, weights),
            backward: kernels::pack_transposed(&kernels, &dims, weights),
        };
        // An op runs forward once; a second time would give the same.
        let _ = self.direction.packed.set(E::wrap_packed(numbers));
        Ok((CpuStorage::F64(vec![0.; 2]), Shape::from((1, 2))))
    }

    fn backward<E: Packable>(&self, grad: &Tensor) -> candle_core::Result<[Tensor; 3]> {
        let Some(sum) = self.direction.grads.take(grad)? else {
            candle_core::bail!(
                "{}: gradients of another backward pass came between, of one that failed or of one that ran \
                 within this one: run backward again",
                Self::NAME
            )
        };
        let kernels = E::kernels(self.isa, self.function);
        let (dims, sum) = (dims(self.sizes), sum.as_slice::<E>()?);
        let [w_ih, w_hh, rest] = within_node(|| {
            kernels::unpack_gradients(&kernels, &dims, self.gates(), self.rest, sum)
        });
        let WeightSizes { input_size, output_size, .. } = self.sizes;
        let gates = self.gates();
        Ok([
            Tensor::from_vec(w_ih, (gates, input_size), grad.device())?,
            Tensor::from_vec(w_hh, (gates, output_size), grad.device())?,
            Tensor::from_vec(rest, self.rest, grad.device())?,
        ])
    }
}

impl CustomOp3 for PackWeights {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        w_ih: &CpuStorage,
        w_ih_layout: &Layout,
        w_hh: &CpuStorage,
        w_hh_layout: &Layout,
        rest: &CpuStorage,
        rest_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let storages = [(w_ih, w_ih_layout), (w_hh, w_hh_layout), (rest, rest_layout)];
        match w_ih {
            CpuStorage::F32(_) => self.forward::<f32>(storages),
            CpuStorage::F64(_) => self.forward::<f64>(storages),
            other => candle_core::bail!(
                "{}: no kernel for {:?}",
                Self::NAME,
                BackendStorage::dtype(other)
            ),
        }
    }

    fn bwd(
        &self,
        w_ih: &Tensor,
        _w_hh: &Tensor,
        _rest: &Tensor,
        _token: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [w_ih, w_hh, rest] = match w_ih.dtype() {
            DType::F32 => self.backward::<f32>(grad)?,
            DType::F64 => self.backward::<f64>(grad)?,
            other => candle_core::bail!("{}: no kernel for {other:?}", Self::NAME),
        };
        Ok((Some(w_ih), Some(w_hh), Some(rest)))
    }
}
