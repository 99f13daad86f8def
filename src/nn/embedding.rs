//! The embedding layer: vectors looked up by integer ids.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;

use super::init::{init_embedding, Init};
use super::weights::get;
use super::VarSink;
use crate::recurrence::{look_up, read_ids};
use crate::rng::SeededRng;
use crate::{Error, Result};

/// An embedding: a table of V trained vectors of D numbers, looked up by number: `y = W[id]`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::{Embedding, Init, Lstm, LstmConfig, Purpose, SeededRng, Sequences, VarSink};
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let embedding = Embedding::init(256, 16, Init::Pytorch, rng, &sink.pp("embedding"))?;
/// let lstm = Lstm::init(LstmConfig::new(16, 32), Init::Orthogonal, rng, &sink.pp("lstm"))?;
/// let bytes = Tensor::new(&[*b"recurrent", *b"embedding"], &Device::Cpu)?;
/// let outputs = lstm.forward(&embedding.forward(&bytes)?)?.outputs;
/// assert_eq!(outputs.dims(), [2, 9, 32]);
/// // The same, and faster where a batch reads each vector many times.
/// let outputs = lstm.forward(Sequences::embedded(&embedding, &bytes))?.outputs;
/// # let _ = outputs;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// Takes the weight `(num_embeddings, embedding_dim)` from `vb` as `weight`, PyTorch's name.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0 or more than 2^32 - 1 embeddings, [`Error::Weight`] when the weight
    /// is missing, [`Error::Candle`] when it has another shape.
    pub fn new(num_embeddings: usize, embedding_dim: usize, vb: VarBuilder) -> Result<Self> {
        check(num_embeddings, embedding_dim)?;
        Ok(Self { weight: get(&vb, &[num_embeddings, embedding_dim], "weight")? })
    }

    /// Puts the initial weight into a sink, as `weight`, and builds on it.
    ///
    /// [`Init::Pytorch`] draws standard normal numbers, as `torch.nn.Embedding`; [`Init::Glorot`] Glorot
    /// uniform ones with fan-in V and fan-out D, as TensorFlow 1's variables; the others uniform ones in
    /// ±0.05, as Keras's `Embedding`.
    ///
    /// # Errors
    /// As [`new`](Self::new), and as [`Stack::init`](super::Stack::init).
    pub fn init(
        num_embeddings: usize,
        embedding_dim: usize,
        init: Init,
        rng: &mut SeededRng,
        sink: &VarSink,
    ) -> Result<Self> {
        check(num_embeddings, embedding_dim)?;
        init_embedding([num_embeddings, embedding_dim], init, rng, sink)?;
        Self::new(num_embeddings, embedding_dim, sink.builder())
    }

    /// The vectors of numbers.
    ///
    /// - `ids`: any shape, `u8`, `u32` or `i64`, each below V
    /// - returns `(.., D)`; the gradient of a vector is summed over all places that read it
    ///
    /// The numbers are checked on the CPU: on a device that waits for it, where they are there already.
    ///
    /// # Errors
    /// [`Error::Config`] for a number out of range, [`Error::DType`] for other dtypes, [`Error::Candle`]
    /// when Candle fails.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (rows, columns) = self.weight.dims2()?;
        let shape = [ids.dims(), &[columns]].concat();
        look_up(&self.weight, read_ids(ids, rows)?, &shape)
    }

    /// The same embedding for inference: it shares the weight, and follows it when it changes, but makes no graph.
    pub fn detach(&self) -> Self {
        Self { weight: self.weight.detach() }
    }

    /// The weight, `(V, D)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl Module for Embedding {
    fn forward(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        Ok(Embedding::forward(self, ids)?)
    }
}

fn check(num_embeddings: usize, embedding_dim: usize) -> Result<()> {
    let sizes = [("num_embeddings", num_embeddings), ("embedding_dim", embedding_dim)];
    match sizes.into_iter().find(|(_, size)| *size == 0 || u32::try_from(*size).is_err()) {
        None => Ok(()),
        Some((name, size)) => {
            Err(Error::Config(format!("{name} must be from 1 to 2^32 - 1, got {size}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use candle_core::{DType, Device};

    fn embedding(init: Init, seed: u64, rows: usize, dtype: DType) -> (Embedding, VarSink) {
        let sink = VarSink::new(dtype, &Device::Cpu);
        let rng = &mut SeededRng::new(seed, Purpose::Init);
        (Embedding::init(rows, 3, init, rng, &sink.pp("emb")).unwrap(), sink)
    }

    #[test]
    fn numbers_of_every_dtype_and_shape_find_their_rows() {
        let (embedding, _) = embedding(Init::Pytorch, 1, 256, DType::F64);
        let table = embedding.weight().to_vec2::<f64>().unwrap();
        let ids = [0u8, 255, 7, 7, 254, 1];
        for dtype in [DType::U8, DType::U32, DType::I64] {
            let ids = Tensor::new(&ids, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            for shape in [vec![6], vec![2, 3], vec![3, 1, 2]] {
                let found = embedding.forward(&ids.reshape(shape.clone()).unwrap()).unwrap();
                assert_eq!(found.dims(), [shape.as_slice(), &[3]].concat());
                let rows = found.reshape((6, 3)).unwrap().to_vec2::<f64>().unwrap();
                let expected = [0, 255, 7, 7, 254, 1].map(|id: usize| table[id].clone());
                assert_eq!(rows, expected, "{dtype:?}");
            }
            // In another order of memory.
            let turned = ids.reshape((2, 3)).unwrap().t().unwrap();
            let found = embedding.forward(&turned).unwrap().reshape((6, 3)).unwrap();
            let expected = [0, 7, 255, 254, 7, 1].map(|id: usize| table[id].clone());
            assert_eq!(found.to_vec2::<f64>().unwrap(), expected);
        }
        let none = Tensor::zeros((2, 0), DType::U32, &Device::Cpu).unwrap();
        assert_eq!(embedding.forward(&none).unwrap().dims(), [2, 0, 3]);
        let one = Tensor::new(5u32, &Device::Cpu).unwrap();
        assert_eq!(Module::forward(&embedding, &one).unwrap().to_vec1::<f64>().unwrap(), table[5]);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (embedding, sink) = embedding(Init::Glorot, 2, 5, DType::F64);
        let ids = Tensor::new(&[[1u32, 4, 1], [0, 1, 2]], &Device::Cpu).unwrap();
        let loss = || {
            let y = embedding.forward(&ids).unwrap();
            let factors = Tensor::arange(1f64, 19., &Device::Cpu).unwrap().reshape((2, 3, 3));
            (y.powf(3.).unwrap() * factors.unwrap()).unwrap().sum_all().unwrap()
        };
        super::super::dense::tests::check_gradients(&sink, loss);
        let grads = loss().backward().unwrap();
        let grad = grads.get(&sink.named().unwrap()["emb.weight"]).unwrap();
        assert_eq!(grad.to_vec2::<f64>().unwrap()[3], [0.; 3], "a row that nothing reads");
    }

    #[test]
    fn a_number_out_of_range_is_an_error_that_tells_both() {
        let (embedding, _) = embedding(Init::Pytorch, 1, 5, DType::F32);
        let text = |ids: &Tensor| embedding.forward(ids).unwrap_err().to_string();
        let new = |ids: &[i64]| Tensor::new(ids, &Device::Cpu).unwrap();
        for id in [5, -1, i64::MAX, i64::MIN, 255, i64::from(u32::MAX), 1 << 32] {
            let error = text(&new(&[0, id]));
            assert!(error.contains(&format!("the number {id} is out of range")), "{error}");
            assert!(error.contains("5 embeddings, 0 to 4"), "{error}");
        }
        for ids in [
            Tensor::new(&[u32::MAX], &Device::Cpu).unwrap(),
            Tensor::new(&[255u8], &Device::Cpu).unwrap(),
        ] {
            assert!(text(&ids).contains("out of range"));
            assert!(Module::forward(&embedding, &ids).is_err());
        }
        assert!(text(&new(&[1]).to_dtype(DType::F32).unwrap()).contains("u8, u32 or i64"));
        let sink = VarSink::new(DType::F32, &Device::Cpu);
        let rng = &mut SeededRng::new(1, Purpose::Init);
        assert!(Embedding::init(0, 3, Init::Glorot, rng, &sink).is_err());
        assert!(Embedding::new(5, 3, sink.builder()).unwrap_err().to_string().contains("weight"));
    }

    #[test]
    fn a_seed_gives_the_same_table_again_as_its_source_draws_it() {
        for (init, deviation) in [
            (Init::Pytorch, 1.),
            (Init::Glorot, (2f64 / 3003.).sqrt()),
            (Init::Orthogonal, 0.05 / 3f64.sqrt()),
            (Init::Identity, 0.05 / 3f64.sqrt()),
        ] {
            let table = |seed| {
                let (embedding, sink) = embedding(init, seed, 3000, DType::F64);
                assert!(sink.named().unwrap().keys().eq(["emb.weight"]));
                embedding.weight().flatten_all().unwrap().to_vec1::<f64>().unwrap()
            };
            let numbers = table(1);
            assert_eq!(numbers, table(1));
            assert_ne!(numbers, table(2));
            let found = (numbers.iter().map(|x| x * x).sum::<f64>() / 9000.).sqrt();
            // Of 9,000 normal numbers it is off by 0.75 % (one standard deviation).
            assert!((found / deviation - 1.).abs() < 0.04, "{init:?}: {found}");
        }
    }
}
