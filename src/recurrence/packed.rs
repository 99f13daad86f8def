//! Weights laid out for the kernels, as a differentiable Candle op.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType};

use super::cpu::{self, Float, Function, Isa, WeightSlices};
use super::storage::{not_on_cpu, on_cpu, slice};
use super::{SequenceDims, Weights};
use crate::{Error, Result};

/// The weights of a layer, laid out as the kernels of this CPU read them.
///
/// They are a copy: after a change of the weights they are made anew. Where the weights are
/// variables or depend on some, gradients flow through to them.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    /// `[b | W_ih | W_hh]`, in panels of registers.
    pub(super) packed: Tensor,
    /// What the backward pass packs in another order; without their graph.
    pub(super) w_ih: Tensor,
    pub(super) w_hh: Tensor,
    pub(super) isa: Isa,
}

impl PackedWeights {
    /// Packs weights for the instruction set of this CPU, or the one that the environment
    /// variable `CANDLE_RNN_ISA` names (`avx512`, `avx2`, `neon` or `portable`).
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::DType`] when the weights do not fit together,
    /// [`Error::Config`] when they are not on the CPU or `CANDLE_RNN_ISA` names an instruction set
    /// that is not there.
    pub fn new(weights: &Weights) -> Result<Self> {
        Self::for_isa(weights, Isa::chosen().map_err(|text| Error::Config(text.to_string()))?)
    }

    /// Packs a dense layer: `weight` `(C, I)`, C at most 1,024, and `bias` `(C,)`.
    pub(crate) fn dense(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        const MAX_CLASSES: usize = 1024;
        let classes = match *weight.dims() {
            [classes, inputs] if (1..=MAX_CLASSES).contains(&classes) && inputs > 0 => classes,
            _ => {
                let expected = format!("(C, I), C from 1 to {MAX_CLASSES}, I at least 1");
                return Err(super::wrong_shape("weight", expected, weight));
            }
        };
        if bias.dims() != [classes] {
            return Err(super::wrong_shape("bias", format!("({classes},)"), bias));
        }
        let w_hh = Tensor::zeros((classes, classes), weight.dtype(), weight.device())?;
        Self::new(&Weights { w_ih: weight.clone(), w_hh, b: bias.clone() })
    }

    pub(super) fn for_isa(weights: &Weights, isa: Isa) -> Result<Self> {
        let (input_size, hidden_size) = weights.check()?;
        let Weights { w_ih, w_hh, b } = weights;
        if !(w_ih.device().is_cpu() && w_hh.device().is_cpu() && b.device().is_cpu()) {
            return Err(not_on_cpu());
        }
        let [w_ih, w_hh] = [w_ih.contiguous()?, w_hh.contiguous()?];
        let op = PackWeights { input_size, hidden_size, isa };
        let packed = w_ih.apply_op3(&w_hh, &b.contiguous()?, op)?;
        // Variables change in place, and these must stay what was packed.
        let [w_ih, w_hh] = [w_ih.detach().copy()?, w_hh.detach().copy()?];
        Ok(Self { packed, w_ih, w_hh, isa })
    }

    pub(super) fn dims(&self, x: &Tensor, h_0: Option<&Tensor>) -> Result<SequenceDims> {
        SequenceDims::of((self.input_size(), self.hidden_size()), self.dtype(), x, h_0)
    }

    /// I.
    pub fn input_size(&self) -> usize {
        self.w_ih.dims()[1]
    }

    /// H.
    pub fn hidden_size(&self) -> usize {
        self.w_ih.dims()[0]
    }

    /// The float type.
    pub fn dtype(&self) -> DType {
        self.packed.dtype()
    }
}

/// `(W_ih, W_hh, b)` to packed weights.
struct PackWeights {
    input_size: usize,
    hidden_size: usize,
    isa: Isa,
}

impl PackWeights {
    const NAME: &str = "rnn-pack-weights";

    fn forward<E: Float + WithDType>(
        &self,
        storages: [(&CpuStorage, &Layout); 3],
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let [w_ih, w_hh, b] = storages;
        let weights =
            WeightSlices { w_ih: slice::<E>(w_ih)?, w_hh: slice::<E>(w_hh)?, b: slice::<E>(b)? };
        // How weights are packed does not depend on the function.
        let packed = cpu::pack_weights(&E::kernels(self.isa, Function::Tanh), weights);
        let shape = Shape::from(packed.len());
        Ok((E::to_cpu_storage_owned(packed), shape))
    }

    fn backward<E: Float + WithDType>(&self, grad: &Tensor) -> candle_core::Result<[Tensor; 3]> {
        let (input_size, hidden_size) = (self.input_size, self.hidden_size);
        let grad = grad.contiguous()?;
        let (storage, layout) = grad.storage_and_layout();
        let kernels = E::kernels(self.isa, Function::Tanh);
        let [w_ih, w_hh, b] = cpu::unpack_weights(
            &kernels,
            slice::<E>(on_cpu(&storage, layout)?)?,
            input_size,
            hidden_size,
        );
        Ok([
            Tensor::from_vec(w_ih, (hidden_size, input_size), grad.device())?,
            Tensor::from_vec(w_hh, (hidden_size, hidden_size), grad.device())?,
            Tensor::from_vec(b, hidden_size, grad.device())?,
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
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let storages = [(w_ih, w_ih_layout), (w_hh, w_hh_layout), (b, b_layout)];
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
        _w_ih: &Tensor,
        _w_hh: &Tensor,
        _b: &Tensor,
        _packed: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [w_ih, w_hh, b] = match grad.dtype() {
            DType::F32 => self.backward::<f32>(grad)?,
            DType::F64 => self.backward::<f64>(grad)?,
            other => candle_core::bail!("{}: no kernel for {other:?}", Self::NAME),
        };
        Ok((Some(w_ih), Some(w_hh), Some(b)))
    }
}
