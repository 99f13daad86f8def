//! The reference job and its layer as a user of plain Candle writes them: step by step, from
//! Candle's own ops and candle-nn's layers, loss and optimizer.
//!
//! ```sh
//! cargo run --release --example peers-composition -- --threads 2 epoch DATA --epochs 1
//! cargo run --release --example peers-composition -- --threads 2 layers 150,28,28,150
//! ```
//!
//! It says what `common.py` says of the Python peers, and is timed in the same way.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::{loss, AdamW, Init, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use candle_rnn::data::batches::{array_split, batch_count};
use candle_rnn::data::mnist::Mnist;
use candle_rnn::rng::{Purpose, SeededRng};

use timing::{Result, Sizes};

#[path = "timing.rs"]
mod timing;

const BATCH_SIZE: usize = 150;
const INPUTS: usize = 28;
const UNITS: usize = 150;
const CLASSES: usize = 10;
const WARM_UP: usize = 20;

fn main() -> Result<()> {
    let arguments = timing::arguments()?;
    println!("{}", serde_json::json!({ "program": "composition", "version": "candle 0.11" }));
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["epoch", data] => time_epochs(data.as_ref(), 1),
        ["epoch", data, "--epochs", epochs] => time_epochs(data.as_ref(), epochs.parse()?),
        ["layers", ref sizes @ ..] => {
            sizes.iter().try_for_each(|sizes| time_layer(Sizes::parse(sizes)?))
        }
        _ => Err("usage: [--threads N] epoch DATA [--epochs N] | layers B,T,I,H ...".into()),
    }
}

/// A tanh layer that returns its last state.
struct Rnn {
    ih: Linear,
    hh: Linear,
}

impl Rnn {
    fn new(inputs: usize, units: usize, limit: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            ih: linear(inputs, units, limit, vb.pp("ih"))?,
            hh: Linear::new(linear(units, units, limit, vb.pp("hh"))?.weight().clone(), None),
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (batch_size, seq_len, _) = x.dims3()?;
        let units = self.hh.weight().dims()[0];
        let mut h = Tensor::zeros((batch_size, units), x.dtype(), x.device())?;
        for t in 0..seq_len {
            let x_t = x.i((.., t))?.contiguous()?;
            h = (self.ih.forward(&x_t)? + self.hh.forward(&h)?)?.tanh()?;
        }
        Ok(h)
    }

    /// For inference: without a graph.
    fn detach(&self) -> Self {
        let detach =
            |layer: &Linear| Linear::new(layer.weight().detach(), layer.bias().map(Tensor::detach));
        Self { ih: detach(&self.ih), hh: detach(&self.hh) }
    }
}

/// The limit of Glorot's uniform distribution.
fn glorot(inputs: usize, outputs: usize) -> f64 {
    (6. / (inputs + outputs) as f64).sqrt()
}

/// Weights uniform in ±limit, zero bias.
fn linear(inputs: usize, outputs: usize, limit: f64, vb: VarBuilder) -> Result<Linear> {
    let init = Init::Uniform { lo: -limit, up: limit };
    let weight = vb.get_with_hints((outputs, inputs), "weight", init)?;
    Ok(Linear::new(weight, Some(vb.get_with_hints(outputs, "bias", Init::Const(0.))?)))
}

/// The reference job: model, optimizer and data.
struct Job {
    rnn: Rnn,
    head: Linear,
    adam: AdamW,
    /// `(N, 28, 28)` and `(N,)`.
    images: Tensor,
    labels: Tensor,
}

impl Job {
    fn new(data: &Path) -> Result<Self> {
        let data = Mnist::from_folder(data)?.train;
        let pixels: Vec<f32> = data.pixels().iter().map(|pixel| f32::from(*pixel) / 255.).collect();
        let labels: Vec<u32> = data.labels().iter().map(|label| u32::from(*label)).collect();
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let rnn = Rnn::new(INPUTS, UNITS, glorot(INPUTS + UNITS, UNITS), vb.pp("rnn"))?;
        let head = linear(UNITS, CLASSES, glorot(UNITS, CLASSES), vb.pp("head"))?;
        // Without weight decay, AdamW is Adam.
        let params = ParamsAdamW { lr: 1e-3, weight_decay: 0., ..ParamsAdamW::default() };
        Ok(Self {
            rnn,
            head,
            adam: AdamW::new(vars.all_vars(), params)?,
            images: Tensor::from_vec(pixels, (data.len(), 28, INPUTS), &Device::Cpu)?,
            labels: Tensor::from_vec(labels, data.len(), &Device::Cpu)?,
        })
    }

    fn loss(&self, batch: &[u32]) -> Result<Tensor> {
        let batch = Tensor::new(batch, &Device::Cpu)?;
        let h = self.rnn.forward(&self.images.index_select(&batch, 0)?)?;
        let labels = self.labels.index_select(&batch, 0)?;
        Ok(loss::cross_entropy(&self.head.forward(&h)?, &labels)?)
    }

    /// One step on each batch; returns the mean of their losses.
    fn train<'a>(&mut self, batches: impl ExactSizeIterator<Item = &'a [u32]>) -> Result<f64> {
        let count = batches.len();
        let mut sum = 0.;
        for batch in batches {
            let loss = self.loss(batch)?;
            self.adam.backward_step(&loss)?;
            sum += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(sum / count as f64)
    }
}

fn time_epochs(data: &Path, epochs: usize) -> Result<()> {
    let mut job = Job::new(data)?;
    let images = job.labels.elem_count();
    let batches = batch_count(images, BATCH_SIZE);
    let mut shuffle = SeededRng::new(42, Purpose::Shuffle);
    let order = shuffle.permutation(images as u32);
    job.train(order.chunks(BATCH_SIZE).take(WARM_UP))?;
    for epoch in 1..=epochs {
        let start = Instant::now();
        let order = shuffle.permutation(images as u32);
        let batch = |index| &order[array_split(images, batches, index)];
        let train_loss = job.train((0..batches).map(batch))?;
        let seconds = start.elapsed().as_secs_f64();
        let last = job.loss(batch(batches - 1))?.to_scalar::<f32>()?;
        let line = serde_json::json!({
            "job": "epoch",
            "epoch": epoch,
            "batches": batches,
            "seconds": seconds,
            "train_loss": train_loss,
            "loss_batch": last,
        });
        println!("{line}");
    }
    Ok(())
}

fn time_layer(sizes: Sizes) -> Result<()> {
    let Sizes { batch_size, input_size, hidden_size, .. } = sizes;
    let (x, grad_h) = sizes.inputs()?;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let rnn = Rnn::new(input_size, hidden_size, (hidden_size as f64).powf(-0.5), vb)?;
    let inference = rnn.detach();
    sizes.time("tanh", "forward", || {
        inference.forward(&x)?;
        Ok(())
    })?;
    if batch_size == 1 {
        return Ok(());
    }
    sizes.time("tanh", "forward_backward", || {
        (rnn.forward(&x)? * &grad_h)?.sum_all()?.backward()?;
        Ok(())
    })
}
