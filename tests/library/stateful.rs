//! The trainer with tasks that carry a state between batches or arrange the order of an epoch.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use crate::common;
use crate::common::{init_rng, values};
use candle_core::{DType, Device, Tensor, Var};
use candle_rnn::nn::{Dense, DenseConfig, Init, Lstm, LstmConfig};
use candle_rnn::rng::SeededRng;
use candle_rnn::run::{IfExists, RunTask, Session, SessionConfig, TaskConfig};
use candle_rnn::train::{
    CarriedState, Event, Schedule, Score, StepContext, Task, Trainer, TrainerConfig,
};
use candle_rnn::{Error, Result, Sequences};
use serde::{Deserialize, Serialize};

/// Rows of a batch, steps of a piece, pieces.
const ROWS: usize = 2;
const STEPS: usize = 4;
const PIECES: usize = 7;

/// Forecasts of two waves, in pieces that follow each other: example n is piece n / 2 of wave n % 2.
struct Waves {
    config: WavesConfig,
    vars: BTreeMap<String, Var>,
    lstm: Lstm,
    head: Dense,
    /// Whether batches follow each other.
    is_sequential: bool,
    /// Whether losses are infinite.
    fails: AtomicBool,
    /// Whether the order is sorted and its batches are shuffled.
    is_arranged: bool,
    /// How many examples are left out of the order.
    missing: usize,
    /// The numbers of all batches that were made, in order.
    made: Mutex<Vec<Vec<u32>>>,
}

impl Waves {
    fn new(dropout: f64) -> Self {
        let sink = common::sink(DType::F64);
        let rng = &mut init_rng(3);
        let layers = LstmConfig { num_layers: 2, dropout, ..LstmConfig::new(1, 5) };
        let lstm = Lstm::init(layers, Init::Glorot, rng, &sink.pp("lstm")).unwrap();
        let head =
            Dense::init(DenseConfig::new(5, 1), Init::Glorot, rng, &sink.pp("head")).unwrap();
        Self {
            config: WavesConfig { dropout, training: config() },
            vars: sink.named().unwrap(),
            lstm,
            head,
            is_sequential: true,
            fails: AtomicBool::new(false),
            is_arranged: false,
            missing: 0,
            made: Mutex::default(),
        }
    }
}

impl Task for Waves {
    type Batch = [Tensor; 2];

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn examples(&self) -> usize {
        ROWS * PIECES
    }

    fn is_sequential(&self) -> bool {
        self.is_sequential
    }

    fn arrange(&self, order: &mut Vec<u32>, batch_size: usize, rng: &mut SeededRng) {
        if self.is_arranged {
            order.sort_unstable();
            // Whole batches in a random order.
            let mut batches: Vec<Vec<u32>> =
                order.chunks(batch_size).map(<[u32]>::to_vec).collect();
            rng.shuffle(&mut batches);
            *order = batches.concat();
        }
        order.truncate(order.len() - self.missing);
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<Self::Batch> {
        self.made.lock().unwrap().push(numbers.to_vec());
        let of = |later: usize| {
            let values = numbers.iter().flat_map(|number| {
                let (piece, row) = (*number as usize / ROWS, *number as usize % ROWS);
                let steps = piece * STEPS + later..(piece + 1) * STEPS + later;
                steps.map(move |t| (t as f64 * (0.4 + 0.3 * row as f64)).sin())
            });
            Tensor::from_vec(values.collect::<Vec<f64>>(), (numbers.len(), STEPS, 1), &Device::Cpu)
        };
        Ok([of(0)?, of(1)?])
    }

    fn loss(&self, [x, target]: &Self::Batch, context: &mut StepContext<'_>) -> Result<Tensor> {
        let initial = context.state.get().cloned();
        let mut sequences = Sequences::new(x).dropout(context.rng);
        if let (true, Some(state)) = (self.is_sequential, &initial) {
            sequences = sequences.initial(state);
        }
        let output = self.lstm.forward(sequences)?;
        if self.is_sequential {
            context.state.carry(&output.state);
        }
        let loss = (self.head.forward(&output.outputs)? - target)?.sqr()?.mean_all()?;
        Ok(if self.fails.load(Ordering::Relaxed) { (loss / 0.)? } else { loss })
    }

    fn score(&self, [x, target]: &Self::Batch) -> Result<Score> {
        let outputs = self.lstm.forward(x)?.outputs;
        let loss = (self.head.forward(&outputs)? - target)?.sqr()?.mean_all()?;
        Ok(Score { loss: loss.to_scalar()?, ..Score::default() })
    }

    fn validate(&self) -> Result<Score> {
        self.score(&self.batch(&[0, 1], 0)?)
    }
}

fn config() -> TrainerConfig {
    TrainerConfig {
        epochs: 3,
        batch_size: ROWS,
        learning_rate: 0.02,
        schedule: Schedule::Cosine,
        ema: Some(0.8),
        ..TrainerConfig::default()
    }
}

fn weights(trainer: &Trainer<Waves>) -> Vec<Vec<f64>> {
    trainer.weights().unwrap().values().map(values).collect()
}

fn carried(state: &CarriedState) -> Vec<Vec<f64>> {
    state.tensors().unwrap().values().map(values).collect()
}

#[test]
fn batches_of_an_epoch_begin_where_the_one_before_ended() {
    let task = Waves::new(0.);
    // The state that the final weights of each step give: the steps are far too small to change a weight.
    let still = TrainerConfig { learning_rate: 1e-300, ema: None, ..config() };
    let mut trainer = Trainer::new(task, still).unwrap();
    let alone = Waves::new(0.);
    let mut epochs = 0;
    let mut expected = CarriedState::new();
    loop {
        let made = match trainer.next_event().unwrap() {
            Event::Step { batch, loss, .. } => (batch, loss),
            Event::Epoch(_) => {
                epochs += 1;
                expected.reset();
                assert!(trainer.state().unwrap().carried.get().is_none());
                continue;
            }
            Event::Done => break,
        };
        let (batch, loss) = made;
        let first = ((batch - 1) * ROWS) as u32;
        let pieces = alone.batch(&[first, first + 1], 0).unwrap();
        let mut rng = init_rng(0);
        let mut context = StepContext { rng: &mut rng, state: &mut expected };
        let found = alone.loss(&pieces, &mut context).unwrap().to_scalar::<f64>().unwrap();
        assert_eq!(loss, found, "batch {batch}");
        assert_eq!(carried(&trainer.state().unwrap().carried), carried(&expected));
    }
    assert_eq!(epochs, 3);
}

#[test]
fn a_stateful_training_continues_with_the_same_bits() {
    for accumulate in [1, 2] {
        let config = TrainerConfig { accumulate, ..config() };
        let mut whole = Trainer::new(Waves::new(0.3), config.clone()).unwrap();
        let mut states = vec![whole.state().unwrap()];
        let mut losses = Vec::new();
        loop {
            match whole.next_event().unwrap() {
                Event::Step { loss, .. } => losses.push(loss),
                Event::Epoch(metrics) => losses.push(metrics.valid_loss),
                Event::Done => break,
            }
            states.push(whole.state().unwrap());
        }
        assert!(states.iter().any(|state| state.carried.get().is_some()));
        for (at, state) in states.iter().enumerate() {
            // As a checkpoint has it.
            let mut state = state.clone();
            state.carried = CarriedState::from_tensors(&state.carried.tensors().unwrap()).unwrap();
            let mut part = Trainer::new(Waves::new(0.3), config.clone()).unwrap();
            part.restore(&state).unwrap();
            let rest = part.events().filter_map(|event| match event.unwrap() {
                Event::Step { loss, .. } => Some(loss),
                Event::Epoch(metrics) => Some(metrics.valid_loss),
                Event::Done => None,
            });
            assert_eq!(rest.collect::<Vec<f64>>(), losses[at..], "from {at}");
            assert_eq!(weights(&part), weights(&whole), "from {at}");
        }
        // The carried state counts: without it other losses follow.
        let mut without = states[2].clone();
        without.carried.reset();
        let mut part = Trainer::new(Waves::new(0.3), config).unwrap();
        part.restore(&without).unwrap();
        let Event::Step { loss, .. } = part.next_event().unwrap() else { panic!() };
        assert_ne!(loss, losses[2]);
    }
}

#[test]
fn a_step_that_fails_carries_no_state() {
    let mut trainer = Trainer::new(Waves::new(0.3), config()).unwrap();
    let mut other = Trainer::new(Waves::new(0.3), config()).unwrap();
    for _ in 0..2 {
        trainer.next_event().unwrap();
        other.next_event().unwrap();
    }
    let before = carried(&trainer.state().unwrap().carried);
    trainer.task().fails.store(true, Ordering::Relaxed);
    assert!(matches!(trainer.next_event(), Err(Error::NotFinite { .. })));
    assert_eq!(carried(&trainer.state().unwrap().carried), before);
    trainer.task().fails.store(false, Ordering::Relaxed);
    // It goes on as if nothing had been.
    let loss = |event: Event| match event {
        Event::Step { loss, .. } => loss,
        other => panic!("{other:?}"),
    };
    let expected = loss(other.next_event().unwrap());
    assert_eq!(loss(trainer.next_event().unwrap()), expected);
}

#[test]
fn a_sequential_epoch_is_not_shuffled() {
    let mut trainer = Trainer::new(Waves::new(0.), config()).unwrap();
    while !matches!(trainer.next_event().unwrap(), Event::Epoch(_)) {}
    let made = trainer.task().made.lock().unwrap()[..PIECES].concat();
    assert_eq!(made, (0..(ROWS * PIECES) as u32).collect::<Vec<u32>>());
}

#[test]
fn an_order_with_too_few_examples_is_an_error() {
    let mut trainer = Trainer::new(Waves { missing: 1, ..Waves::new(0.) }, config()).unwrap();
    for _ in 0..2 {
        let error = trainer.next_event().unwrap_err().to_string();
        assert!(error.contains("13 examples, but it has 14"), "{error}");
    }
}

#[test]
fn an_arranged_order_is_the_same_after_an_interruption() {
    let task = || Waves { is_sequential: false, is_arranged: true, ..Waves::new(0.) };
    let mut whole = Trainer::new(task(), config()).unwrap();
    let mut states = Vec::new();
    while !whole.is_done() {
        states.push(whole.state().unwrap());
        whole.next_event().unwrap();
    }
    // Behind the batches of an epoch come the last one, to be measured, and that of validation.
    let made = whole.task().made.lock().unwrap().clone();
    let epochs: Vec<&[Vec<u32>]> = made.chunks(PIECES + 2).map(|made| &made[..PIECES]).collect();
    assert_eq!(epochs.len(), 3);
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2], "{epochs:?}");
    for epoch in &epochs {
        assert!(epoch.iter().all(|batch| batch[0] % 2 == 0 && batch[1] == batch[0] + 1));
        let mut all = epoch.concat();
        all.sort_unstable();
        assert_eq!(all, (0..(ROWS * PIECES) as u32).collect::<Vec<u32>>());
    }
    for (at, state) in states.iter().enumerate().step_by(3) {
        let mut part = Trainer::new(task(), config()).unwrap();
        part.restore(state).unwrap();
        while !matches!(part.next_event().unwrap(), Event::Done) {}
        assert_eq!(weights(&part), weights(&whole), "from {at}");
        if state.position.batch < PIECES {
            let first = &part.task().made.lock().unwrap()[0];
            assert_eq!(first, &epochs[state.position.epoch][state.position.batch], "from {at}");
        }
    }
}

/// What a run directory keeps of the waves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WavesConfig {
    dropout: f64,
    training: TrainerConfig,
}

impl TaskConfig for WavesConfig {
    const TASK: Option<&'static str> = Some("waves");

    fn trainer(&self) -> &TrainerConfig {
        &self.training
    }

    fn trainer_mut(&mut self) -> &mut TrainerConfig {
        &mut self.training
    }

    fn check(&self) -> Result<()> {
        self.training.check()
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let vars = Waves::new(self.dropout).vars;
        vars.into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect()
    }

    fn dtype(&self) -> DType {
        DType::F64
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

impl RunTask for Waves {
    type Config = WavesConfig;

    fn config(&self) -> &WavesConfig {
        &self.config
    }
}

#[test]
fn an_interrupted_stateful_run_ends_with_the_same_bits() {
    let folder = common::folder();
    let open = |name: &str| {
        let session = SessionConfig { if_exists: IfExists::Resume, ..SessionConfig::default() };
        Session::open(folder.path().join(name), Waves::new(0.3), session).unwrap().0
    };
    let mut whole = open("whole");
    whole.run(&mut |_| ControlFlow::Continue(())).unwrap();
    for stop in [1, 4, PIECES, PIECES + 1, PIECES + 3] {
        let name = stop.to_string();
        let mut session = open(&name);
        let mut events = 0;
        let interrupt = |_: &Event| {
            events += 1;
            if events == stop {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        session.run(&mut { interrupt }).unwrap();
        let steps = session.trainer().step_count();
        let before = carried(&session.trainer().state().unwrap().carried);
        drop(session);
        let path = folder.path().join(&name);
        let saved = path.join(format!("checkpoints/step-{steps:08}/training_state.safetensors"));
        let saved = candle_core::safetensors::load(saved, &Device::Cpu).unwrap();
        // Behind the end of an epoch nothing is carried.
        let has_state = stop != PIECES + 1;
        assert_eq!([saved.contains_key("state.0.h"), !before.is_empty()], [has_state; 2], "{stop}");
        let mut session = open(&name);
        assert_eq!(carried(&session.trainer().state().unwrap().carried), before, "{stop}");
        session.run(&mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(weights(session.trainer()), weights(whole.trainer()), "{stop}");
        let model = |path: &Path| std::fs::read(path.join("model.safetensors")).unwrap();
        assert!(model(&path) == model(&folder.path().join("whole")), "{stop}");
    }
}
