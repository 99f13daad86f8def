//! `TextTask`: a language model that learns to predict the next character of a text.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::{TextStreams, Vocabulary};
use crate::files::checksums::hex;
use crate::model::{LanguageConfig, LanguageModel, NetworkConfig, Readout};
use crate::nn::{Init, VarSink};
use crate::optim::Clip;
use crate::recurrence::{check_teams, Cell, Truncation};
use crate::rng::{Purpose, SeededRng};
use crate::train::config_file::{fields, with, without, Fields};
use crate::train::{
    masked_cross_entropy, CrossEntropyOptions, Precision, Schedule, Score, StepContext, Task,
    TrainerConfig,
};
use crate::{Error, Result};

/// All settings that decide which language model comes out of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextTraining {
    /// The recurrent layers.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// The number of features of a character's embedding.
    pub embedding_size: usize,
    /// How initial weights are drawn.
    pub init: Init,
    /// The float type.
    pub dtype: Precision,
    /// K, the number of characters that gradients flow back: the state is carried further, as a constant.
    pub seq_len: usize,
    /// The fraction of the text, its end, that validates.
    pub valid_fraction: f64,
    /// The trainer's settings; `batch_size` is B, the number of streams that the text is read in.
    #[serde(flatten)]
    pub trainer: TrainerConfig,
}

/// A network for a start: one layer of 256 LSTM units.
impl Default for TextTraining {
    fn default() -> Self {
        Self {
            network: NetworkConfig {
                cell: Cell::Lstm,
                hidden_size: 256,
                num_layers: 1,
                bidirectional: false,
                dropout: 0.,
                readout: Readout::Last,
            },
            embedding_size: 64,
            init: Init::Pytorch,
            dtype: Precision::F32,
            seq_len: 64,
            valid_fraction: 0.05,
            trainer: TrainerConfig {
                epochs: 10,
                batch_size: 32,
                learning_rate: 3e-3,
                schedule: Schedule::Cosine,
                clip: Clip::Norm(1.),
                patience: Some(3),
                ..TrainerConfig::default()
            },
        }
    }
}

impl TextTraining {
    /// How many characters at the end of a text validate.
    pub fn validating(&self, characters: usize) -> usize {
        ((characters as f64 * self.valid_fraction) as usize).max(2).min(characters)
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    pub fn check(&self) -> Result<()> {
        self.trainer.check()?;
        // Of any vocabulary: the text's own is not known here.
        let (network, embedding_size) = (self.network.clone(), self.embedding_size);
        LanguageConfig { network, vocabulary_size: 2, embedding_size }.check()?;
        for (name, value) in
            [("accumulate", self.trainer.accumulate), ("parts", self.trainer.parts)]
        {
            if value != 1 {
                return Err(Error::Config(format!(
                    "a text is read in streams whose state is carried along: {name} must be 1"
                )));
            }
        }
        if self.seq_len == 0 {
            return Err(Error::Config("seq_len must be at least 1, got 0".into()));
        }
        if !(self.valid_fraction > 0. && self.valid_fraction < 1.) {
            let fraction = self.valid_fraction;
            return Err(Error::Config(format!(
                "valid_fraction must be above 0 and less than 1, got {fraction}"
            )));
        }
        Ok(())
    }
}

/// The text that a model was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextData {
    /// The file that it was read from.
    pub source: Option<PathBuf>,
    /// SHA-256 of the text in UTF-8.
    pub sha256: String,
    /// The number of its characters.
    pub characters: usize,
}

impl TextData {
    /// Whether a text is the one that a model was trained on.
    pub fn is_of(&self, text: &str) -> bool {
        sha256_of(text) == self.sha256
    }
}

fn sha256_of(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// The configuration of a language model: its characters, sizes, data and training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TextConfigFile", into = "TextConfigFile")]
pub struct TextConfig {
    /// The characters that it knows.
    pub vocabulary: Vocabulary,
    /// The sizes of the model.
    pub model: LanguageConfig,
    /// Its training data.
    pub data: TextData,
    /// The settings of its training.
    pub training: TextTraining,
}

/// A [`TextConfig`] in `config.json`: the network and the size of the embedding stand under `model` alone.
#[derive(Serialize, Deserialize)]
struct TextConfigFile {
    vocabulary: Vocabulary,
    model: LanguageConfig,
    data: TextData,
    training: Fields,
}

/// The settings of a training that a model has.
fn of_model(model: &LanguageConfig) -> Fields {
    let mut found = fields(&model.network);
    found.insert("embedding_size".into(), model.embedding_size.into());
    found
}

impl From<TextConfig> for TextConfigFile {
    fn from(config: TextConfig) -> Self {
        let TextConfig { vocabulary, model, data, training } = config;
        Self { training: without(&training, &of_model(&model)), vocabulary, model, data }
    }
}

impl TryFrom<TextConfigFile> for TextConfig {
    type Error = serde_json::Error;

    fn try_from(file: TextConfigFile) -> serde_json::Result<Self> {
        let TextConfigFile { vocabulary, model, data, training } = file;
        Ok(Self { training: with(training, of_model(&model))?, vocabulary, model, data })
    }
}

/// A language model that learns from a text: streams of it are read side by side, and each step goes on with the state
/// in which the step before ended (stateful truncated backpropagation through time).
pub struct TextTask {
    config: TextConfig,
    train: TextStreams,
    valid: TextStreams,
    device: Device,
    vars: BTreeMap<String, Var>,
    model: LanguageModel,
}

impl TextTask {
    /// A model with initial weights for a text, whose end validates.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range and a text that is too short.
    pub fn new(
        training: &TextTraining,
        text: &str,
        source: Option<PathBuf>,
        device: &Device,
    ) -> Result<Self> {
        training.check()?;
        let named = |error| match (error, &source) {
            (Error::Config(reason), Some(path)) => Error::data_file(path, reason),
            (error, _) => error,
        };
        let vocabulary = Vocabulary::of(text).map_err(named)?;
        let mut ids = vocabulary.encode(text)?;
        let characters = ids.len();
        let count = training.validating(characters);
        let TextTraining { trainer: TrainerConfig { batch_size, seed, .. }, seq_len, .. } =
            *training;
        let valid = TextStreams::for_evaluation(ids.split_off(characters - count), seq_len);
        let valid = valid.map_err(|_| {
            named(Error::Config(format!(
                "the validation part of the text (its last {:.0} %) has {count} characters and needs {}: take a longer \
                 text, or hold out more of it",
                100. * training.valid_fraction,
                seq_len + 1
            )))
        })?;
        let train = TextStreams::new(ids, batch_size, seq_len).map_err(|error| {
            named(Error::Config(format!(
                "{error}: take a longer text, or shorter and fewer streams"
            )))
        })?;
        let model = LanguageConfig {
            network: training.network.clone(),
            vocabulary_size: vocabulary.len(),
            embedding_size: training.embedding_size,
        };
        let dtype = training.dtype.dtype();
        training.trainer.check_gpu_precision(training.network.cell, dtype, device)?;
        let sink = VarSink::new(dtype, device);
        let rng = &mut SeededRng::new(seed, Purpose::Init);
        let network = LanguageModel::init(&model, training.init, rng, &sink)?
            .recurrent_dtype(training.trainer.gpu_precision);
        let sha256 = sha256_of(text);
        let data = TextData { source, sha256, characters };
        Ok(Self {
            config: TextConfig { vocabulary, model, data, training: training.clone() },
            train,
            valid,
            device: device.clone(),
            vars: sink.named()?,
            model: network,
        })
    }

    /// The settings, with the vocabulary.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// The model; it changes with every step of its trainer.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// Characters that are predicted in an epoch.
    pub fn characters(&self) -> usize {
        self.train.characters()
    }
}

/// Loss and bits per character of a model on a text: each stream is read from its beginning, with the state
/// carried along.
///
/// # Errors
/// [`Error::Candle`] when Candle fails.
pub fn evaluate_text(model: &LanguageModel, text: &TextStreams, device: &Device) -> Result<Score> {
    let model = model.detach();
    let (mut loss, mut state) = (0., None);
    for piece in 0..text.pieces() {
        let (ids, next) = text.piece(piece, 0..text.streams(), device)?;
        let (logits, last) = model.forward(&ids, state.as_ref())?;
        let (rows, steps, classes) = logits.dims3()?;
        let found =
            Score::from_logits(&logits.reshape((rows * steps, classes))?, &next.flatten_all()?)?;
        loss += found.loss;
        state = Some(last);
    }
    let pieces = text.pieces() as f64;
    let metrics = BTreeMap::from([("bits_per_character".to_string(), loss / pieces / LN_2)]);
    // The better model is the one with the lower loss, not the one that is right more often.
    Ok(Score { loss: loss / pieces, metrics, ..Score::default() })
}

impl Task for TextTask {
    type Batch = (Tensor, Tensor);

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn examples(&self) -> usize {
        self.train.pieces() * self.train.streams()
    }

    fn is_sequential(&self) -> bool {
        true
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<Self::Batch> {
        let first = numbers.first().map_or(0, |number| *number as usize);
        self.train.piece(first / self.train.streams(), 0..self.train.streams(), &self.device)
    }

    fn loss(&self, (ids, next): &Self::Batch, context: &mut StepContext<'_>) -> Result<Tensor> {
        let (logits, state) =
            self.model.forward_training(ids, context.state.get(), Truncation::FULL, context.rng)?;
        context.state.carry(&state);
        masked_cross_entropy(&logits, next, None, &CrossEntropyOptions::default())
    }

    fn score(&self, (ids, next): &Self::Batch) -> Result<Score> {
        let (logits, _) = self.model.detach().forward(ids, None)?;
        let loss = masked_cross_entropy(&logits, next, None, &CrossEntropyOptions::default())?;
        let loss = loss.to_dtype(DType::F64)?.to_scalar()?;
        check_teams(&self.device)?;
        Ok(Score { loss, ..Score::default() })
    }

    fn validate(&self) -> Result<Score> {
        evaluate_text(&self.model, &self.valid, &self.device)
    }
}
