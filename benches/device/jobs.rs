//! What is timed: a layer, forward and backward, and steps of the reference job.

use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use candle_rnn::data::mnist::Mnist;
use candle_rnn::nn::{Init, Sequences, Stack, StackConfig};
use candle_rnn::recurrence::{
    run_layer, Call, Cell, LayerWeights, Outputs, RecurrentDType, Weights,
};
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::train::{Event, TrainConfig, Trainer, TrainerConfig};
use candle_rnn::VarSink;

use crate::composed;

/// B, T, I, H.
pub(crate) type Shape = [usize; 4];

const ROUNDS: usize = 15;
/// The fewest steps of a round of the reference job.
const STEPS: usize = 20;
/// Steps of a sequence that is held to `f64`: composed from Candle's ops, longer ones take too long.
const CHECKED_STEPS: usize = 128;

/// Milliseconds until the device has done it.
fn time(device: &Device, body: &mut dyn FnMut()) -> f64 {
    device.synchronize().unwrap();
    let start = Instant::now();
    body();
    device.synchronize().unwrap();
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// How far the outputs and the gradients of a layer are from those in `f64`: the largest difference over the largest number, of
/// the worst tensor.
pub(crate) struct Errors {
    pub(crate) outputs: f64,
    pub(crate) gradients: f64,
}

/// The name of a recurrent dtype.
///
/// # Errors
/// For another name, in words.
pub(crate) fn recurrent_dtype(name: &str) -> Result<RecurrentDType, String> {
    let all = [RecurrentDType::F32, RecurrentDType::Tf32, RecurrentDType::Bf16];
    let found = all.into_iter().find(|dtype| dtype.name() == name);
    found.ok_or_else(|| format!("this program has no {name}"))
}

/// One layer and its inputs.
pub(crate) struct Layer {
    device: Device,
    cell: Cell,
    stack: Stack,
    vars: Vec<Var>,
    x: Var,
    dtype: RecurrentDType,
}

impl Layer {
    pub(crate) fn new(device: &Device, cell: Cell, shape: Shape, dtype: RecurrentDType) -> Self {
        let [batch_size, seq_len, input_size, hidden_size] = shape;
        let sink = VarSink::new(DType::F32, device);
        let rng = &mut SeededRng::new(1, Purpose::Init);
        let config = StackConfig::new(cell, input_size, hidden_size);
        let stack = Stack::init(config, Init::Orthogonal, rng, &sink.pp("rnn")).unwrap();
        let numbers: Vec<f32> =
            (0..batch_size * seq_len * input_size).map(|_| rng.symmetric(1.) as f32).collect();
        let x = Tensor::from_vec(numbers, (batch_size, seq_len, input_size), device).unwrap();
        let x = Var::from_tensor(&x).unwrap();
        let vars = sink.named().unwrap().into_values().collect();
        Self { device: device.clone(), cell, stack, vars, x, dtype }
    }

    fn outputs(&self, x: &Tensor) -> candle_rnn::Result<Tensor> {
        Ok(self.stack.forward(Sequences::new(x).recurrent_dtype(self.dtype))?.outputs)
    }

    /// Milliseconds of a forward and a backward pass for the loss Σ outputs².
    pub(crate) fn round(&self) -> Result<f64, String> {
        let mut result = Ok(());
        let ms = time(&self.device, &mut || {
            result = self.outputs(&self.x).and_then(|outputs| {
                outputs.sqr()?.sum_all()?.backward()?;
                Ok(())
            });
        });
        result.map(|()| ms).map_err(|error| error.to_string())
    }

    /// As [`round`](Self::round), composed from Candle's ops.
    fn composed(&self) -> f64 {
        time(&self.device, &mut || {
            let weights = &self.stack.weights(0)[0];
            let outputs = composed::outputs(self.cell, weights, &self.x).unwrap();
            outputs.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        })
    }

    /// The layer's own numbers against those in `f64`, on the same device: a GPU's are composed from Candle's ops.
    pub(crate) fn errors(&self) -> Result<Errors, String> {
        self.checked().map_err(|error| error.to_string())
    }

    fn checked(&self) -> candle_rnn::Result<Errors> {
        let steps = self.x.dim(1)?.min(CHECKED_STEPS);
        let x = Var::from_tensor(&self.x.narrow(1, 0, steps)?.contiguous()?)?;
        let outputs = self.outputs(&x)?;
        let grads = outputs.sqr()?.sum_all()?.backward()?;
        let wide = |tensor: &Tensor| Var::from_tensor(&tensor.to_dtype(DType::F64)?);
        let own = &self.stack.weights(0)[0];
        let wide_x = wide(&x)?;
        let (w_ih, w_hh, b_ih) = (wide(&own.w_ih)?, wide(&own.w_hh)?, wide(&own.b_ih)?);
        let b_hh = own.b_hh.as_ref().map(wide).transpose()?;
        let tensor = |var: &Var| var.as_tensor().clone();
        let mut weights = Weights::new(tensor(&w_ih), tensor(&w_hh), tensor(&b_ih));
        weights.b_hh = b_hh.as_ref().map(tensor);
        let weights = LayerWeights::new(self.cell, weights)?;
        let (expected, _) = run_layer(&wide_x, &weights, &Call::new(Outputs::All))?;
        let expected = expected.ok_or_else(|| candle_core::Error::Msg("no outputs".into()))?;
        let wide_grads = expected.sqr()?.sum_all()?.backward()?;
        let mut pairs = vec![(&x, &wide_x)];
        let own_tensors = [(&own.w_ih, &w_ih), (&own.w_hh, &w_hh), (&own.b_ih, &b_ih)];
        let own_tensors = own_tensors.into_iter().chain(own.b_hh.as_ref().zip(b_hh.as_ref()));
        for (tensor, wide) in own_tensors {
            // The variable that the weight is.
            pairs.extend(
                self.vars.iter().find(|var| var.id() == tensor.id()).map(|var| (var, wide)),
            );
        }
        let mut gradients: f64 = 0.;
        for (var, wide) in pairs {
            if let (Some(found), Some(expected)) = (grads.get(var), wide_grads.get(wide)) {
                gradients = worst(gradients, difference(found, expected)?);
            }
        }
        Ok(Errors { outputs: difference(&outputs, &expected)?, gradients })
    }
}

/// The larger of two, or NaN.
fn worst(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() {
        b
    } else {
        a
    }
}

/// The largest difference over the largest number.
fn difference(found: &Tensor, expected: &Tensor) -> candle_core::Result<f64> {
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (found, expected) = (numbers(found)?, numbers(expected)?);
    let scale = expected.iter().fold(0., |max: f64, number| max.max(number.abs()));
    let pairs = found.iter().zip(&expected);
    Ok(pairs.fold(0., |max, (a, b)| worst(max, (a - b).abs())) / scale.max(f64::MIN_POSITIVE))
}

/// The reference job: steps of training on the embedded digits.
pub(crate) struct ReferenceJob(Trainer<candle_rnn::train::Classification>);

impl ReferenceJob {
    /// - `gpu_graph`: whether its steps are recorded
    ///
    /// # Errors
    /// Those of the trainer, in words.
    pub(crate) fn new(device: &Device, gpu_graph: bool) -> Result<Self, String> {
        let config = TrainConfig {
            trainer: TrainerConfig { epochs: 1000, gpu_graph, ..TrainerConfig::default() },
            ..Default::default()
        };
        let trainer = Trainer::classifier(&config, Mnist::sample().unwrap(), device);
        trainer.map(Self).map_err(|error| error.to_string())
    }

    fn step(&mut self) -> Result<f64, String> {
        loop {
            let start = Instant::now();
            match self.0.next_event().map_err(|error| error.to_string())? {
                Event::Step { .. } => return Ok(start.elapsed().as_secs_f64() * 1e3),
                Event::Epoch(_) => {}
                _ => return Err("the training has ended".into()),
            }
        }
    }

    /// Milliseconds of a step, the mean of some: those that were made, none of them halfway.
    pub(crate) fn round(&mut self) -> Result<f64, String> {
        let (mut sum, mut steps) = (0., 0);
        while steps < STEPS || self.0.steps_ahead() > 0 {
            sum += self.step()?;
            steps += 1;
        }
        Ok(sum / steps as f64)
    }
}

/// Cell and shape of the layers that [`compare`] times.
const LAYERS: [(Cell, Shape); 9] = [
    (Cell::Tanh, [150, 28, 28, 150]),
    (Cell::Gru, [150, 28, 28, 150]),
    (Cell::Lstm, [150, 28, 28, 150]),
    (Cell::Tanh, [64, 128, 256, 512]),
    (Cell::Gru, [64, 128, 256, 512]),
    (Cell::Lstm, [64, 128, 256, 512]),
    (Cell::Tanh, [32, 64, 512, 1024]),
    (Cell::Gru, [32, 64, 512, 1024]),
    (Cell::Lstm, [32, 64, 512, 1024]),
];

/// Prints the time of the reference job's step, and of layers fused and composed: medians of rounds in which both run one after
/// the other.
pub(crate) fn compare(device: &Device, is_short: bool) {
    println!("{:?}, forward and backward, {ROUNDS} rounds", device.location());
    let mut job = ReferenceJob::new(device, false).unwrap();
    // The first steps find a card that sleeps.
    let steps = if is_short { 60 } else { 800 };
    let times: Vec<f64> = (0..steps).map(|_| job.step().unwrap()).collect();
    println!("a training step of the reference job: {:.3} ms", median(times));
    for (cell, shape) in LAYERS.into_iter().take(if is_short { 3 } else { LAYERS.len() }) {
        let layer = Layer::new(device, cell, shape, RecurrentDType::F32);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS + 2 {
            let times = (layer.round().unwrap(), layer.composed());
            // The first rounds compile kernels and fill pools.
            if round >= 2 {
                ours.push(times.0);
                theirs.push(times.1);
            }
        }
        let (ours, theirs, name) = (median(ours), median(theirs), cell.name());
        println!(
            "{name:5} {shape:?}: fused {ours:.3} ms, composed {theirs:.3} ms, {:.1} times",
            theirs / ours
        );
    }
}
