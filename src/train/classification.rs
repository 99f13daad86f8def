//! `Classification`, the task of classifying images.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::loss::{head_cross_entropy, smoothed_sequence_cross_entropy};
use super::{
    evaluate, evaluate_steps, DataConfig, ImageConfig, ObjectiveConfig, PiecewiseValidation, Score,
    StepContext, Task, TrainConfig,
};
use crate::data::augment::Transform;
use crate::data::batches::{Batch, Gather};
use crate::data::mnist::Mnist;
use crate::model::SequenceClassifier;
use crate::nn::{Sequences, VarSink};
use crate::recurrence::{Outputs, Unroll};
use crate::rng::{Purpose, SeededRng};
use crate::{Error, Result};

/// A [`SequenceClassifier`] that learns from the images of [`Mnist`].
pub struct Classification {
    config: ImageConfig,
    data: Mnist,
    gather: Gather,
    vars: BTreeMap<String, Var>,
    model: SequenceClassifier,
    /// The transform of each image in the epoch's order; empty if there is none.
    transforms: Vec<Transform>,
}

impl Classification {
    /// A model with initial weights on `device`; the data are split as [`TrainConfig::split`] says. Settings that
    /// depend on the data and are not named are chosen for them.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for settings out of range or that the device does not
    /// support, [`Error::Candle`](crate::Error::Candle) when the device fails.
    pub fn new(config: &TrainConfig, data: Mnist, device: &Device) -> Result<Self> {
        let about = DataConfig::new(&data, None);
        Self::from_config(ImageConfig::new(config.clone(), about), data, device)
    }

    /// As [`new`](Self::new), of a configuration that says what the data are.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_config(mut config: ImageConfig, data: Mnist, device: &Device) -> Result<Self> {
        config.training = config.training.resolved(&data);
        let training = &config.training;
        training.check()?;
        training.check_device(device)?;
        let dtype = training.dtype.dtype();
        let sink = VarSink::new(dtype, device);
        let rng = &mut SeededRng::new(training.trainer.seed, Purpose::Init);
        let model = SequenceClassifier::init(&config.model, training.init, rng, &sink)?;
        Ok(Self {
            gather: Gather::new(training.view, dtype, device)?,
            vars: sink.named()?,
            transforms: Vec::new(),
            data: training.split(data),
            config,
            model,
        })
    }

    /// Its configuration, with the settings that were chosen for the data.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// The model; it transforms with every step of its trainer.
    pub fn model(&self) -> &SequenceClassifier {
        &self.model
    }

    /// The images.
    pub fn data(&self) -> &Mnist {
        &self.data
    }

    /// The maker of batches.
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
        let limits = self.config.training.augment;
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

    fn fixed_tensors<'a>(&self, batch: &'a Batch) -> Result<Vec<&'a Tensor>> {
        let TrainConfig { network, objective, .. } = &self.config.training;
        let refused = |why: &str| {
            Err(Error::Config(format!("gpu_graph: steps {why} are not recorded: set it to false")))
        };
        if network.dropout > 0. {
            return refused("with dropout, which draws other masks each time,");
        }
        if !objective.loss_at.is_last() {
            return refused("whose loss is read at others than the last step");
        }
        Ok(vec![&batch.x, &batch.labels])
    }

    fn loss(&self, batch: &Batch, context: &mut StepContext<'_>) -> Result<Tensor> {
        let ObjectiveConfig { truncation, loss_at, label_smoothing } =
            &self.config.training.objective;
        let read = if loss_at.is_last() { Outputs::Last } else { Outputs::All };
        let unroll = Unroll::new(read).truncated(*truncation);
        let precision = self.config.training.trainer.gpu_precision;
        let sequences = Sequences::new(&batch.x).recurrent_dtype(precision);
        let features = self.model.features_training(sequences, unroll, context.rng)?;
        match read {
            Outputs::Last => {
                head_cross_entropy(self.model.head(), &features, &batch.labels, *label_smoothing)
            }
            Outputs::All => smoothed_sequence_cross_entropy(
                &self.model.logits(&features)?,
                &batch.labels,
                loss_at,
                *label_smoothing,
            ),
        }
    }

    fn dropout_draws(&self, numbers: &[u32]) -> Option<u64> {
        let TrainConfig { view, objective, .. } = &self.config.training;
        let read = if objective.loss_at.is_last() { Outputs::Last } else { Outputs::All };
        Some(self.config.model.dropout_draws(numbers.len(), view.seq_len(), read))
    }

    fn score(&self, batch: &Batch) -> Result<Score> {
        Score::from_logits(&self.model.detach().forward(&batch.x)?, &batch.labels)
    }

    fn validate(&self) -> Result<Score> {
        let found = evaluate(&self.model, &self.gather, &self.data.valid)?;
        let is_read_once = self.config.training.objective.loss_at.is_last();
        let by_step = || evaluate_steps(&self.model, &self.gather, &self.data.valid);
        let accuracy_by_step = (!is_read_once).then(by_step).transpose()?;
        let accuracy = Some(found.accuracy);
        Ok(Score { loss: found.loss, accuracy, accuracy_by_step, ..Score::default() })
    }

    fn piecewise_validation(&self) -> Option<&dyn PiecewiseValidation> {
        Some(self)
    }
}
