//! Inference with image classifiers: [`Predictor`] for images, [`Stream`] for one row at a time.

use std::borrow::Borrow;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::network::LazyNetwork;
use super::prediction::{predictions, softmax, Prediction};
use super::steps::StepReader;
use super::trace::{trace, Trace};
use crate::data::batches::Gather;
use crate::data::mnist::Split;
use crate::model::{Readout, SequenceClassifier};
use crate::recurrence::check_teams;
use crate::run::{self, RunConfig};
use crate::train::tasks::TaskKind;
use crate::train::{evaluate, Evaluation};
use crate::{Error, Result};

/// A trained model, ready for images.
///
/// ```
/// # #[cfg(feature = "sample")]
/// # fn main() -> candle_rnn::Result<()> {
/// use candle_rnn::{data::mnist::Mnist, predict::Predictor};
/// # use candle_core::Device;
/// # use candle_rnn::{data::mnist::ImageSet, run::*, train::*};
/// # let folder = tempfile::tempdir().unwrap();
/// # let run = folder.path();
/// # let trainer = TrainerConfig { epochs: 1, ..TrainerConfig::default() };
/// # let training = TrainConfig { trainer, ..TrainConfig::default() };
/// # let data = DataConfig { dataset: Some(ImageSet::Mnist), source: None, sha256: String::new() };
/// # let config = ImageConfig::new(training, data);
/// # let data = Mnist::sample()?;
/// # Session::images(run, config, data, &Device::Cpu, SessionConfig::default())?
/// #     .0
/// #     .run(&mut |_| std::ops::ControlFlow::Continue(()))?;
///
/// let model = Predictor::load(run)?; // such as "runs/0001"
/// let digits = Mnist::sample()?.test;
/// let prediction = &model.predict(&[digits.image(0)])?[0];
/// println!("a {}, with probability {:.2}", prediction.label, prediction.probabilities[7]);
/// # assert_eq!(prediction.probabilities.len(), 10);
/// # assert!((prediction.probabilities.iter().sum::<f64>() - 1.).abs() < 1e-6);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sample"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct Predictor {
    config: RunConfig,
    model: SequenceClassifier,
    gather: Gather,
    network: LazyNetwork,
}

impl Predictor {
    /// Loads the model of a run directory, on the CPU.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run.
    pub fn load(run: impl AsRef<Path>) -> Result<Self> {
        Self::load_on(run, &Device::Cpu)
    }

    /// Loads the model of a run directory, on a device.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = run.as_ref();
        let config: RunConfig = run::read_config(run)?;
        let dtype = config.task.training.dtype.dtype();
        let weights = run::read_weights(run, &config)?;
        let vb = VarBuilder::from_tensors(weights.into_iter().collect(), dtype, device);
        let model = SequenceClassifier::new(&config.task.model, vb)?.freeze()?;
        let gather = Gather::new(config.task.training.view, dtype, device)?;
        Ok(Self { config, model, gather, network: LazyNetwork::default() })
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The model's prediction for each image.
    ///
    /// - `images`: each `(28, 28)`, row by row, 0 (background) to 255 (ink)
    ///
    /// # Errors
    /// [`Error::Shape`] when an image has not 784 pixels.
    pub fn predict(&self, images: &[&[u8]]) -> Result<Vec<Prediction>> {
        Ok(match self.sequences(images)? {
            Some(x) => predictions(&self.model.forward(&x)?)?,
            None => Vec::new(),
        })
    }

    /// The logits of each image, `(C,)`: what the network gives before the softmax.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn logits(&self, images: &[&[u8]]) -> Result<Vec<Vec<f64>>> {
        let Some(x) = self.sequences(images)? else { return Ok(Vec::new()) };
        let logits = self.model.forward(&x)?.to_dtype(DType::F64)?.to_vec2()?;
        check_teams(x.device())?;
        Ok(logits)
    }

    /// The model's predictions for each image after each of its T steps.
    ///
    /// # Errors
    /// As [`predict`](Self::predict); and [`Error::Config`] for a bidirectional model, which has read
    /// the whole image at every step, and for one that reads all outputs at once.
    pub fn predict_steps(&self, images: &[&[u8]]) -> Result<Vec<Vec<Prediction>>> {
        if self.config.task.model.network.bidirectional {
            return Err(Error::Config(
                "per-step predictions need a unidirectional model: a bidirectional one reads the \
                 whole sequence at every step"
                    .into(),
            ));
        }
        if self.config.task.model.network.readout != Readout::Last {
            return Err(not_step_by_step());
        }
        let Some(x) = self.sequences(images)? else { return Ok(Vec::new()) };
        let logits = self.model.forward_steps(&x)?;
        (0..images.len()).map(|image| predictions(&logits.get(image)?)).collect()
    }

    /// The model's prediction and hidden state after each step of an image.
    ///
    /// - `image`: as for [`predict`](Self::predict)
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn trace(&self, image: &[u8]) -> Result<Trace> {
        let x = self.sequences(&[image])?;
        let x = x.ok_or_else(|| Error::Config("there is no image".into()))?;
        let network = &self.config.task.model.network;
        let read = |logits: &[f64]| softmax(logits).probabilities;
        trace(&self.model, network, &x, TaskKind::Class, read)
    }

    /// Accuracy and loss on a split.
    ///
    /// # Errors
    /// [`Error::Candle`] when Candle fails.
    pub fn evaluate(&self, split: &Split) -> Result<Evaluation> {
        evaluate(&self.model, &self.gather, split)
    }

    /// A stream that has seen nothing yet.
    pub fn stream(&self) -> Stream<&Self> {
        Stream::new(self)
    }

    fn sequences(&self, images: &[&[u8]]) -> Result<Option<Tensor>> {
        let wrong = images.iter().find(|image| image.len() != crate::data::mnist::PIXELS);
        if let Some(image) = wrong {
            return Err(Error::Shape {
                op: "predict",
                tensor: "an image",
                expected: "(784,)".into(),
                actual: vec![image.len()],
            });
        }
        if images.is_empty() {
            return Ok(None);
        }
        self.gather.sequences(images.iter().copied()).map(Some)
    }
}

/// One sequence, read step by step as its inputs arrive.
///
/// - `P`: who holds the model: `&Predictor`, `Arc<Predictor>` or the model itself
#[derive(Clone, Debug)]
pub struct Stream<P = Predictor> {
    predictor: P,
    /// Once there was a step.
    steps: Option<StepReader>,
}

impl<P: Borrow<Predictor>> Stream<P> {
    /// A stream that has seen nothing yet.
    pub fn new(predictor: P) -> Self {
        Self { predictor, steps: None }
    }

    /// The last layer's output after the last step, `(P,)`; empty before the first.
    ///
    /// # Errors
    /// [`Error::Candle`] on a device alone.
    pub fn hidden(&self) -> Result<Vec<f32>> {
        self.steps.as_ref().map_or_else(|| Ok(Vec::new()), StepReader::hidden)
    }

    /// Takes one step and says what the model thinks now.
    ///
    /// - `x_t`: `(I,)`, such as a row of pixels in `[0, 1]`
    ///
    /// # Errors
    /// [`Error::Shape`] when the input has another size than the model's, [`Error::Config`] when the
    /// model reads sequences in both directions, or all outputs at once.
    pub fn push(&mut self, x_t: &[f64]) -> Result<Prediction> {
        let Predictor { config, model, network, .. } = self.predictor.borrow();
        if config.task.model.network.readout != Readout::Last {
            return Err(not_step_by_step());
        }
        if x_t.len() != config.task.model.input_size {
            return Err(Error::Shape {
                op: "stream",
                tensor: "x_t",
                expected: format!("({},)", config.task.model.input_size),
                actual: vec![x_t.len()],
            });
        }
        let steps = match &mut self.steps {
            Some(steps) => steps,
            None => {
                let network = network.get(None, model.rnn(), model.head())?;
                self.steps.insert(StepReader::new(network)?)
            }
        };
        Ok(softmax(&steps.push(model, x_t)?))
    }
}

fn not_step_by_step() -> Error {
    Error::Config("per-step predictions need a model with the last-state readout".into())
}
