//! Run directories of a task that a program defines: what `docs/durability.md` promises holds for it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_rnn::run::{
    read_config, read_metrics, read_weights, DataConfig, IfExists, ImageConfig, Outcome, RunConfig,
    RunTask, Session, SessionConfig, Start, TaskConfig,
};
use candle_rnn::train::{
    EpochMetrics, Event, Schedule, Score, StepContext, Task, TrainConfig, TrainerConfig,
};
use candle_rnn::{
    Dense, DenseConfig, Error, Gru, GruConfig, Init, Purpose, Result, SeededRng, VarSink,
};
use serde::{Deserialize, Serialize};

use crate::common;

/// A GRU that forecasts a sine wave.
struct Wave {
    config: WaveConfig,
    /// `(1, N, 1)`.
    series: Tensor,
    vars: BTreeMap<String, Var>,
    gru: Gru,
    head: Dense,
    /// Added to each value of an epoch.
    offset: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaveConfig {
    units: usize,
    /// Steps of a wave: what the data are.
    period: f64,
    training: TrainerConfig,
}

impl TaskConfig for WaveConfig {
    const TASK: Option<&'static str> = Some("wave");

    fn trainer(&self) -> &TrainerConfig {
        &self.training
    }

    fn trainer_mut(&mut self) -> &mut TrainerConfig {
        &mut self.training
    }

    fn check(&self) -> Result<()> {
        if self.units == 0 {
            return Err(Error::Config("units must be at least 1, got 0".into()));
        }
        self.training.check()
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let units = self.units;
        let shapes: [(&str, Vec<usize>); 6] = [
            ("gru.weight_ih_l0", vec![3 * units, 1]),
            ("gru.weight_hh_l0", vec![3 * units, units]),
            ("gru.bias_ih_l0", vec![3 * units]),
            ("gru.bias_hh_l0", vec![3 * units]),
            ("head.weight", vec![1, units]),
            ("head.bias", vec![1]),
        ];
        shapes.map(|(name, shape)| (name.to_string(), shape)).into()
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

/// Values to train on; those behind them validate.
const TRAIN: usize = 40;
const WINDOW: usize = 8;

impl Wave {
    fn new(config: WaveConfig) -> Self {
        let device = Device::Cpu;
        let sink = VarSink::new(DType::F32, &device);
        let rng = &mut SeededRng::new(config.training.seed, Purpose::Init);
        let gru = GruConfig::new(1, config.units);
        let gru = Gru::init(gru, Init::Orthogonal, rng, &sink.pp("gru")).unwrap();
        let head = DenseConfig::new(config.units, 1);
        let head = Dense::init(head, Init::Glorot, rng, &sink.pp("head")).unwrap();
        let value = |at: usize| (at as f64 * std::f64::consts::TAU / config.period).sin() as f32;
        let series: Vec<f32> = (0..TRAIN + 2 * WINDOW).map(value).collect();
        let series = Tensor::from_vec(series, (1, TRAIN + 2 * WINDOW, 1), &device).unwrap();
        Self { config, series, vars: sink.named().unwrap(), gru, head, offset: 0. }
    }

    fn error(&self, (x, target): &(Tensor, Tensor)) -> Result<Tensor> {
        let forecast = self.head.forward(&self.gru.forward(x)?.outputs)?;
        Ok((forecast - target)?.sqr()?.mean_all()?)
    }

    fn window(&self, start: usize, length: usize) -> Result<(Tensor, Tensor)> {
        let part = |start| self.series.narrow(1, start, length);
        Ok((part(start)?, part(start + 1)?))
    }
}

impl Task for Wave {
    type Batch = (Tensor, Tensor);

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn examples(&self) -> usize {
        TRAIN - WINDOW
    }

    fn begin_epoch(&mut self, rng: &mut SeededRng) {
        self.offset = rng.symmetric(0.01);
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<Self::Batch> {
        let windows: Result<Vec<_>> =
            numbers.iter().map(|start| self.window(*start as usize, WINDOW)).collect();
        let (x, y): (Vec<_>, Vec<_>) = windows?.into_iter().unzip();
        Ok(((Tensor::cat(&x, 0)? + self.offset)?, Tensor::cat(&y, 0)?))
    }

    fn loss(&self, (x, target): &Self::Batch, context: &mut StepContext<'_>) -> Result<Tensor> {
        self.error(&((x + context.rng.symmetric(0.01))?, target.clone()))
    }

    fn score(&self, batch: &Self::Batch) -> Result<Score> {
        let loss = f64::from(self.error(batch)?.to_scalar::<f32>()?);
        let metrics = BTreeMap::from([("rmse".to_string(), loss.sqrt())]);
        Ok(Score { loss, metrics, ..Score::default() })
    }

    fn validate(&self) -> Result<Score> {
        self.score(&self.window(TRAIN, 2 * WINDOW - 1)?)
    }
}

impl RunTask for Wave {
    type Config = WaveConfig;

    fn config(&self) -> &WaveConfig {
        &self.config
    }
}

/// Four steps an epoch.
fn config() -> WaveConfig {
    let training = TrainerConfig {
        epochs: 4,
        batch_size: 8,
        learning_rate: 0.02,
        ema: Some(0.5),
        ..TrainerConfig::default()
    };
    WaveConfig { units: 3, period: 9., training }
}

fn with(change: impl FnOnce(&mut WaveConfig)) -> WaveConfig {
    let mut config = config();
    change(&mut config);
    config
}

fn keeping(if_exists: IfExists) -> SessionConfig {
    SessionConfig { if_exists, save_every: Some(3), ..SessionConfig::default() }
}

fn open(path: &Path, config: WaveConfig, if_exists: IfExists) -> Result<(Session<Wave>, Start)> {
    Session::open(path, Wave::new(config), keeping(if_exists))
}

fn resume(path: &Path, config: WaveConfig) -> (Session<Wave>, Start) {
    open(path, config, IfExists::Resume).unwrap()
}

fn finish(mut session: Session<Wave>) {
    let outcome = session.run(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(outcome, Outcome::Finished);
}

/// Trains a new run to its end.
fn train(path: &Path, config: WaveConfig) {
    finish(open(path, config, IfExists::Refuse).unwrap().0);
}

/// All that a run has to end with: weights, optimizer state and metrics, without times.
fn content(run: &Path) -> (Vec<u8>, Vec<u8>, Vec<EpochMetrics>) {
    let mut history = read_metrics(run).unwrap();
    for metrics in &mut history {
        (metrics.seconds, metrics.examples_per_second) = (0., 0.);
    }
    let last = run.join("checkpoints").join(checkpoints(run).pop().unwrap());
    let state = fs::read(last.join("training_state.safetensors")).unwrap();
    (fs::read(run.join("model.safetensors")).unwrap(), state, history)
}

/// The names of a run's checkpoints, the newest last.
fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoints")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap().path(), to.to_path_buf());
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

#[test]
fn a_run_of_any_task_is_saved_and_read() {
    let folder = common::folder();
    train(folder.path(), config());
    let read = read_config::<WaveConfig>(folder.path()).unwrap();
    assert_eq!(read.task, config());
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("config.json")).unwrap()).unwrap();
    assert_eq!((&json["model_type"], &json["task"]), (&"candle-rnn".into(), &"wave".into()));
    assert_eq!((&json["units"], &json["training"]["epochs"]), (&3.into(), &4.into()));
    // What was measured last is what the weights in the file do.
    let weights = read_weights(folder.path(), &read).unwrap();
    let task = Wave::new(config());
    for (name, var) in task.vars() {
        var.set(&weights[name]).unwrap();
    }
    let history = read_metrics(folder.path()).unwrap();
    let (last, score) = (history.last().unwrap(), task.validate().unwrap());
    assert_eq!((last.valid_loss, last.valid_accuracy), (score.loss, None));
    assert_eq!(last.metrics, BTreeMap::from([("valid_rmse".into(), score.loss.sqrt())]));
    assert!(last.valid_loss < history[0].valid_loss);
    assert_eq!(checkpoints(folder.path()), ["best", "step-00000015", "step-00000016"]);
}

#[test]
fn interrupted_anywhere_a_run_ends_with_the_same_bits() {
    let folder = common::folder();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    train(&whole, config());
    // 16 steps and 4 ends of epochs.
    for stop in 1..20 {
        let _ = fs::remove_dir_all(&cut);
        let (mut session, _) = open(&cut, config(), IfExists::Refuse).unwrap();
        let mut events = 0;
        let outcome = session.run(&mut |_| {
            events += 1;
            if events == stop {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        assert_eq!(outcome.unwrap(), Outcome::Interrupted);
        let done = session.trainer().step_count();
        drop(session);
        let (session, start) = resume(&cut, config());
        assert!(matches!(start, Start::Resumed { step, .. } if step == done), "{stop}: {start:?}");
        finish(session);
        assert!(content(&cut) == content(&whole), "stopped after {stop} events");
    }
    assert!(matches!(resume(&cut, config()).1, Start::Finished));
}

#[test]
fn a_process_that_is_killed_loses_the_steps_since_the_last_save() {
    let folder = common::folder();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let (mut session, _) = open(&whole, config(), IfExists::Refuse).unwrap();
    session
        .run(&mut |event| {
            if matches!(event, Event::Step { epoch: 2, batch: 4, .. }) {
                copy(&whole, &cut);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    drop(session);
    let (session, start) = resume(&cut, config());
    assert!(matches!(start, Start::Resumed { step: 6, .. }), "{start:?}");
    finish(session);
    assert!(content(&cut) == content(&whole));
}

#[test]
fn a_damaged_checkpoint_is_skipped_and_computed_again() {
    let folder = common::folder();
    train(folder.path(), config());
    let expected = content(folder.path());
    // The last epoch is the best: its checkpoint is there twice.
    for name in ["step-00000016", "best"] {
        let path = folder.path().join("checkpoints").join(name).join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let (session, start) = resume(folder.path(), config());
    let Start::Resumed { step: 15, damaged, .. } = start else { panic!("{start:?}") };
    assert_eq!(damaged.len(), 2, "{damaged:?}");
    assert!(damaged.iter().any(|e| e.to_string().contains("step-00000016")), "{damaged:?}");
    finish(session);
    assert!(content(folder.path()) == expected);
}

#[test]
fn other_settings_and_data_are_refused_and_named() {
    let folder = common::folder();
    train(folder.path(), config());
    let before = content(folder.path());
    for (other, named) in [
        (with(|c| c.units = 4), "units: the run has 3, this command 4"),
        (with(|c| c.period = 10.), "period: the run has 9.0, this command 10.0"),
        (with(|c| c.training.learning_rate = 0.03), "training.learning_rate: the run has 0.02"),
        (with(|c| c.training.seed = 1), "training.seed"),
        (with(|c| c.training.epochs = 2), "epochs"),
        (with(|c| c.training.patience = Some(3)), "patience"),
    ] {
        let found = open(folder.path(), other, IfExists::Resume).map(|(_, start)| start);
        // A finished run is not made shorter: it is finished.
        if named == "epochs" {
            assert!(matches!(found, Ok(Start::Finished)), "{found:?}");
            continue;
        }
        let error = found.unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let error = open(folder.path(), config(), IfExists::Refuse).err().unwrap();
    assert!(matches!(error, Error::RunExists { .. }), "{error}");
    assert!(content(folder.path()) == before);
    let longer = with(|c| c.training.epochs = 6);
    finish(resume(folder.path(), longer.clone()).0);
    let straight = folder.path().join("straight");
    train(&straight, longer);
    assert!(content(folder.path()) == content(&straight));
}

#[test]
fn a_schedule_that_knows_its_end_is_restarted_when_asked() {
    let folder = common::folder();
    let cosine = |epochs| {
        with(|c| {
            (c.training.schedule, c.training.epochs) = (Schedule::Cosine, epochs);
        })
    };
    train(folder.path(), cosine(2));
    let error = open(folder.path(), cosine(4), IfExists::Resume).err().unwrap().to_string();
    assert!(error.contains("epochs: the run has 2, this command 4"), "{error}");
    finish(open(folder.path(), cosine(4), IfExists::Extend).unwrap().0);
    let read = read_config::<WaveConfig>(folder.path()).unwrap();
    assert_eq!(read.task.training.extensions.to_string(), "2/2");
    assert_eq!(read_metrics(folder.path()).unwrap().len(), 4);
}

#[test]
fn early_stopping_keeps_the_weights_of_the_best_epoch() {
    let folder = common::folder();
    let patient = |patience| {
        with(|c| {
            (c.training.epochs, c.training.learning_rate) = (60, 0.3);
            c.training.patience = Some(patience);
        })
    };
    train(folder.path(), patient(2));
    let history = read_metrics(folder.path()).unwrap();
    assert!(history.len() < 60, "it fell to the end");
    let best = history.iter().map(|m| m.valid_loss).fold(f64::INFINITY, f64::min);
    assert!(best < history.last().unwrap().valid_loss);
    let config = read_config::<WaveConfig>(folder.path()).unwrap();
    let task = Wave::new(config.task.clone());
    let weights = read_weights(folder.path(), &config).unwrap();
    for (name, var) in task.vars() {
        var.set(&weights[name]).unwrap();
    }
    assert_eq!(task.validate().unwrap().loss, best);
    let (session, start) = resume(folder.path(), patient(2));
    assert!(matches!(start, Start::Finished));
    assert_eq!(session.kept().unwrap().valid_loss, best);
    drop(session);
    finish(resume(folder.path(), patient(4)).0);
    assert!(read_metrics(folder.path()).unwrap().len() > history.len());
}

#[test]
fn a_run_is_not_read_as_one_of_another_task() {
    let folder = common::folder();
    train(folder.path(), config());
    let error = read_config::<ImageConfig>(folder.path()).unwrap_err().to_string();
    assert!(error.contains("the run's task is wave, not the classification of images"), "{error}");
    let json = fs::read_to_string(folder.path().join("config.json")).unwrap();
    for (from, to, said) in [
        ("\"wave\"", "\"tide\"", "the run's task is tide, not wave"),
        ("\"units\"", "\"depth\": 1, \"units\"", "unknown field `depth`"),
        ("\"epochs\"", "\"epoch\"", "unknown field `epoch`"),
        ("\"units\": 3", "\"units\": 0", "units must be at least 1"),
        ("\"task\": \"wave\"", "\"task\": 7", "task must be a text, got 7"),
        ("\"candle-rnn\"", "\"candle-cnn\"", "model_type is candle-cnn"),
    ] {
        assert!(json.contains(from));
        fs::write(folder.path().join("config.json"), json.replacen(from, to, 1)).unwrap();
        let error = read_config::<WaveConfig>(folder.path()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn files_of_images_are_flat_and_unknown_fields_are_refused() {
    let folder = common::folder();
    let path = folder.path().join("config.json");
    let data = DataConfig { dataset: None, source: None, sha256: "00".into() };
    let config = RunConfig::new(ImageConfig::new(TrainConfig::default(), data));
    let json = serde_json::to_string(&config).unwrap();
    fs::write(&path, &json).unwrap();
    assert_eq!(read_config(folder.path()).unwrap(), config);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 5, "{json}");
    for name in ["loss_at", "shift", "learning_rate", "view"] {
        assert!(!value["training"][name].is_null(), "{name}: {json}");
    }
    for name in ["hidden_size", "cell", "readout"] {
        assert!(!value["model"][name].is_null(), "{name}: {json}");
        assert!(value["training"][name].is_null(), "{name}: {json}");
    }
    for part in ["{", "\"model\":{", "\"data\":{", "\"training\":{"] {
        fs::write(&path, json.replacen(part, &format!("{part}\"x\":1,"), 1)).unwrap();
        let error = read_config::<ImageConfig>(folder.path()).unwrap_err().to_string();
        assert!(error.contains("unknown field `x`"), "{part}: {error}");
    }
}

#[test]
fn weights_that_the_configuration_does_not_have_are_refused() {
    let folder = common::folder();
    let path = folder.path().join("run");
    let mut task = Wave::new(config());
    task.config.units = 5;
    let error = Session::open(&path, task, SessionConfig::default()).err().unwrap().to_string();
    assert!(error.contains("gru.bias_hh_l0 [9] f32"), "{error}");
    assert!(error.contains("gru.bias_hh_l0 [15] f32"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_second_session_of_the_same_run_is_refused() {
    let folder = common::folder();
    let _first = open(folder.path(), config(), IfExists::Refuse).unwrap();
    let error = open(folder.path(), config(), IfExists::Resume).err().unwrap().to_string();
    assert!(error.contains("another process is writing this run"), "{error}");
}
