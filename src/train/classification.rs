//! `Classification`, the task of classifying images.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::evaluate::Accumulator;
use super::loss::{smoothed_cross_entropy, smoothed_sequence_cross_entropy};
use super::{evaluate, evaluate_steps, ObjectiveConfig, Score, StepContext, Task, TrainConfig};
use crate::data::augment::Transform;
use crate::data::batches::{Batch, Gather};
use crate::data::mnist::Mnist;
use crate::model::SequenceClassifier;
use crate::nn::VarSink;
use crate::recurrence::{Outputs, Unroll};
use crate::rng::{Purpose, SeededRng};
use crate::Result;

/// A [`SequenceClassifier`] that learns from the images of [`Mnist`].
pub struct Classification {
    config: TrainConfig,
    data: Mnist,
    gather: Gather,
    vars: BTreeMap<String, Var>,
    model: SequenceClassifier,
    /// What this epoch does to each image of its order; empty if nothing.
    transforms: Vec<Transform>,
}

impl Classification {
    /// A model with initial weights on `device`; the data are split as [`TrainConfig::split`] says.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for settings out of range or that the device does not
    /// support, [`Error::Candle`](crate::Error::Candle) when the device fails.
    pub fn new(config: &TrainConfig, data: Mnist, device: &Device) -> Result<Self> {
        config.check()?;
        config.check_device(device)?;
        let dtype = config.dtype.dtype();
        let sink = VarSink::new(dtype, device);
        let rng = &mut SeededRng::new(config.trainer.seed, Purpose::Init);
        let model = SequenceClassifier::init(&config.model(), config.init, rng, &sink)?;
        Ok(Self {
            gather: Gather::new(config.view, dtype, device)?,
            vars: sink.named()?,
            transforms: Vec::new(),
            config: config.clone(),
            data: config.split(data),
            model,
        })
    }

    /// The model; it transforms with every step of its trainer.
    pub fn model(&self) -> &SequenceClassifier {
        &self.model
    }

    /// The images.
    pub fn data(&self) -> &Mnist {
        &self.data
    }

    /// What makes batches of them.
    pub fn gather(&self) -> &Gather {
        &self.gather
    }
}

impl Task for Classification {
    type Batch = Batch;

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        self.gather.device()
    }

    fn examples(&self) -> usize {
        self.data.train.len()
    }

    fn begin_epoch(&mut self, rng: &mut SeededRng) {
        let limits = self.config.augment;
        self.transforms =
            if limits.is_none() { Vec::new() } else { limits.draw(rng, self.data.train.len()) };
    }

    fn batch(&self, numbers: &[u32], place: usize) -> Result<Batch> {
        let indices = numbers.iter().map(|number| *number as usize);
        match self.transforms.get(place..place + numbers.len()) {
            Some(transforms) => self.gather.batch_of_changed(&self.data.train, indices, transforms),
            None => self.gather.batch(&self.data.train, indices),
        }
    }

    fn loss(&self, batch: &Batch, context: &mut StepContext<'_>) -> Result<Tensor> {
        let ObjectiveConfig { truncation, loss_at, label_smoothing } = &self.config.objective;
        let read = if loss_at.is_last() { Outputs::Last } else { Outputs::All };
        let unroll = Unroll::new(read).truncated(*truncation);
        let logits = self.model.forward_training(&batch.x, unroll, context.rng)?;
        match read {
            Outputs::Last => smoothed_cross_entropy(&logits, &batch.labels, *label_smoothing),
            Outputs::All => {
                smoothed_sequence_cross_entropy(&logits, &batch.labels, loss_at, *label_smoothing)
            }
        }
    }

    fn score(&self, batch: &Batch) -> Result<Score> {
        let mut accumulator = Accumulator::default();
        let labels = batch.labels.to_vec1::<u32>()?;
        accumulator.add(
            &self.model.detach().forward(&batch.x)?,
            labels.into_iter().map(|label| label as usize),
        )?;
        let found = accumulator.evaluation();
        Ok(Score { loss: found.loss, accuracy: Some(found.accuracy), accuracy_by_step: None })
    }

    fn validate(&self) -> Result<Score> {
        let found = evaluate(&self.model, &self.gather, &self.data.valid)?;
        let is_read_once = self.config.objective.loss_at.is_last();
        let by_step = || evaluate_steps(&self.model, &self.gather, &self.data.valid);
        let accuracy_by_step = (!is_read_once).then(by_step).transpose()?;
        Ok(Score { loss: found.loss, accuracy: Some(found.accuracy), accuracy_by_step })
    }
}
