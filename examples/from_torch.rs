//! Runs a model that PyTorch saved, and compares its logits with PyTorch's.
//!
//! PyTorch's names of weights are this library's: a state dict saved as safetensors is loaded as it is. The two files
//! in examples/data were made with
//!
//! ```python
//! import torch
//! from safetensors.torch import save_file
//! from torch.nn.utils.rnn import pack_padded_sequence
//!
//! torch.manual_seed(1)
//! rnn = torch.nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)
//! head = torch.nn.Linear(8, 2)
//! model = torch.nn.ModuleDict({"rnn": rnn, "head": head})
//! save_file(model.state_dict(), "torch_gru.safetensors")
//!
//! x, lengths = torch.randn(4, 6, 3), torch.tensor([6, 2, 5, 3])
//! _, h = rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
//! logits = head(torch.cat([h[-2], h[-1]], dim=1)).detach()
//! save_file({"x": x, "lengths": lengths, "logits": logits}, "torch_gru_logits.safetensors")
//! ```
//!
//! `cargo run --release --no-default-features --example from_torch`

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_rnn::files::tensors::{self, WeightFile};
use candle_rnn::nn::weights::from_pytorch;
use candle_rnn::{
    Cell, ClassifierConfig, Dense, DenseConfig, GruConfig, Result, SequenceClassifier, Sequences,
};

/// The largest difference between two tensors of one shape.
fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    Ok((a - b)?.abs()?.max_all()?.to_scalar()?)
}

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let file = WeightFile::open(&folder.join("torch_gru.safetensors"))?;
    let example = tensors::read(&folder.join("torch_gru_logits.safetensors"))?;
    let (x, expected) = (&example["x"], &example["logits"]);
    let lengths = example["lengths"].to_dtype(DType::U32)?.to_vec1::<u32>()?;
    let lengths: Vec<usize> = lengths.into_iter().map(|length| length as usize).collect();
    let sequences = || Sequences::new(x).lengths(&lengths);
    println!("{} tensors, such as rnn.weight_hh_l1_reverse", file.tensors().count());

    // Layer by layer, each from the part of the file that is its own.
    let config = GruConfig { num_layers: 2, bidirectional: true, ..GruConfig::new(3, 4) };
    let rnn = from_pytorch(config, &file, "rnn.")?;
    let weights: HashMap<String, Tensor> =
        tensors::read(&folder.join("torch_gru.safetensors"))?.into_iter().collect();
    let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    let head = Dense::new(DenseConfig::new(8, 2), weights.pp("head"))?;
    let logits = head.forward(&rnn.last(sequences())?)?;
    println!("layers      differ from PyTorch by {:.0e}", difference(&logits, expected)?);

    // Or the whole classifier at once, whose weights have these very names.
    let mut config = ClassifierConfig::new(Cell::Gru, 3, 4, 2);
    (config.network.num_layers, config.network.bidirectional) = (2, true);
    let classifier = SequenceClassifier::new(&config, weights)?;
    let logits = classifier.forward(sequences())?;
    println!("classifier  differs from PyTorch by {:.0e}", difference(&logits, expected)?);
    for (row, logits) in logits.to_vec2::<f32>()?.iter().enumerate() {
        println!("sequence {row}, {} steps: logits {logits:.4?}", lengths[row]);
    }
    Ok(())
}
