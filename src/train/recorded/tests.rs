use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor, Var};

use super::*;
use crate::data::batches::Batching;
use crate::data::mnist::Mnist;
use crate::model::NetworkConfig;
use crate::optim::Clip;
use crate::recurrence::gpu::plan::DeviceLimits;
use crate::recurrence::gpu::{Recorder, Recording};
use crate::recurrence::tests::alarmed::{assert_gave_up, on_alarmed};
use crate::recurrence::tests::emulator::{on_device, Language};
use crate::train::{Classification, Score, StepContext, TrainConfig, TrainerConfig};

/// What a stand-in was asked for.
type Log = Arc<Mutex<Vec<&'static str>>>;

/// Stands in for a GPU: it does recorded work again.
struct StandIn(Log);

struct Again(Log);

impl Recorder for StandIn {
    fn record(&mut self, _: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        self.0.lock().unwrap().push("record");
        Ok(Box::new(Again(self.0.clone())))
    }
}

impl Recording for Again {
    fn launch(&mut self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.0.lock().unwrap().push("launch");
        work()
    }
}

/// Lets a trainer record its steps on a stand-in.
fn recording<T: Task>(trainer: &mut Trainer<T>) -> Log {
    let log = Log::default();
    let recorded = RecordedSteps::new(Box::new(StandIn(log.clone())), &trainer.task).unwrap();
    trainer.recorded = Some(recorded);
    log
}

/// Learns a slope from examples in their order, one of which may be NaN.
struct Slope {
    vars: BTreeMap<String, Var>,
    examples: usize,
    bad: Option<u32>,
    draws: bool,
}

impl Slope {
    fn new(examples: usize) -> Self {
        let vars = BTreeMap::from([("a".to_string(), Var::new(0f32, &Device::Cpu).unwrap())]);
        Self { vars, examples, bad: None, draws: false }
    }

    fn loss_of(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.broadcast_mul(&self.vars["a"])?;
        Ok((y - (x * 3.)?)?.sqr()?.mean_all()?)
    }
}

impl Task for Slope {
    type Batch = Tensor;

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn examples(&self) -> usize {
        self.examples
    }

    fn is_sequential(&self) -> bool {
        true
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<Tensor> {
        let value = |n: &u32| if Some(*n) == self.bad { f32::NAN } else { 1. + *n as f32 / 10. };
        let x: Vec<f32> = numbers.iter().map(value).collect();
        Ok(Tensor::from_vec(x, numbers.len(), &Device::Cpu)?)
    }

    fn fixed_tensors<'a>(&self, batch: &'a Tensor) -> Result<Vec<&'a Tensor>> {
        Ok(vec![batch])
    }

    fn loss(&self, x: &Tensor, context: &mut StepContext<'_>) -> Result<Tensor> {
        if self.draws {
            context.rng.unit();
        }
        self.loss_of(x)
    }

    fn score(&self, x: &Tensor) -> Result<Score> {
        Ok(Score { loss: f64::from(self.loss_of(x)?.to_scalar::<f32>()?), ..Score::default() })
    }

    fn validate(&self) -> Result<Score> {
        self.score(&self.batch(&[0, 1], 0)?)
    }
}

fn slope_trainer(task: Slope, batch_size: usize) -> Trainer<Slope> {
    let config = TrainerConfig { batch_size, epochs: 2, ..TrainerConfig::default() };
    Trainer::new(task, config).unwrap()
}

/// The events up to the end, without the time that they took, and the bits of the state after them.
fn trained<T: Task>(mut trainer: Trainer<T>) -> (Vec<Event>, Vec<Vec<f32>>) {
    let mut events = Vec::new();
    for event in trainer.events() {
        events.push(match event.unwrap() {
            Event::Epoch(mut metrics) => {
                (metrics.seconds, metrics.examples_per_second) = (0., 0.);
                Event::Epoch(metrics)
            }
            event => event,
        });
    }
    let state = trainer.state().unwrap();
    let tensors = state.weights.into_values().chain(state.adam.moments.into_values());
    let numbers = tensors.map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap());
    (events, numbers.collect())
}

#[test]
fn recorded_steps_train_with_the_bits_and_events_of_others() {
    let config = TrainConfig {
        network: NetworkConfig { hidden_size: 6, ..NetworkConfig::default() },
        trainer: TrainerConfig {
            batch_size: 90,
            epochs: 2,
            batching: Some(Batching::Exact),
            ..TrainerConfig::default()
        },
        ..TrainConfig::default()
    };
    let trainer = || Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
    let (mut recorded, eager) = (trainer(), trainer());
    let batches = eager.batches();
    assert_ne!(eager.task().examples() % 90, 0, "the last batch is smaller");
    let log = recording(&mut recorded);
    assert_eq!(trained(recorded), trained(eager));
    let log = log.lock().unwrap();
    // The first two steps and the smaller ones at the epochs' ends are made by themselves.
    assert_eq!((log[0], &log[1..]), ("record", &vec!["launch"; 2 * (batches - 1) - 2][..]));
}

#[test]
fn sizes_that_differ_by_one_are_recorded_each() {
    // 3 batches of 6 and 4 of 5.
    let trainer = || {
        let config = TrainerConfig {
            batch_size: 5,
            epochs: 3,
            batching: Some(Batching::Split),
            ..TrainerConfig::default()
        };
        Trainer::new(Slope::new(38), config).unwrap()
    };
    let (mut recorded, eager) = (trainer(), trainer());
    let log = recording(&mut recorded);
    assert_eq!(trained(recorded), trained(eager));
    let of = |what| log.lock().unwrap().iter().filter(|found| **found == what).count();
    assert_eq!((of("record"), of("launch")), (2, 3 * 7 - 2 * WARM_UP));
}

#[test]
fn losses_are_read_once_in_a_ring_of_steps() {
    let mut trainer = slope_trainer(Slope::new(40), 1);
    let log = recording(&mut trainer);
    let mut ahead = Vec::new();
    while trainer.position().epoch == 0 {
        trainer.next_event().unwrap();
        ahead.push(trainer.steps_ahead());
    }
    let ring = |steps: usize| (0..steps).rev();
    let expected: Vec<usize> =
        [0, 0].into_iter().chain(ring(16)).chain(ring(16)).chain(ring(6)).chain([0]).collect();
    assert_eq!(ahead, expected);
    assert_eq!(log.lock().unwrap().len(), 1 + 38);
}

#[test]
fn a_caller_that_saves_finds_the_trainer_at_its_steps() {
    let mut trainer = slope_trainer(Slope::new(40), 1);
    recording(&mut trainer);
    trainer.stop_every(Some(10));
    let mut at_rest = Vec::new();
    while trainer.position().epoch == 0 {
        if let Event::Step { batch, .. } = trainer.next_event().unwrap() {
            if trainer.steps_ahead() == 0 {
                assert_eq!(trainer.step_count(), batch as u64);
                at_rest.push(batch);
            }
        }
    }
    assert_eq!(at_rest, [1, 2, 10, 20, 30, 40]);
}

#[test]
fn a_loss_that_is_nan_is_named_with_its_step() {
    let mut trainer = slope_trainer(Slope { bad: Some(25), ..Slope::new(40) }, 1);
    recording(&mut trainer);
    for expected in 1..=25 {
        let event = trainer.next_event().unwrap();
        assert!(matches!(event, Event::Step { batch, .. } if batch == expected), "{event:?}");
    }
    // The ring's last steps were made, too.
    assert_eq!(trainer.step_count(), 34);
    match trainer.next_event().unwrap_err() {
        Error::NotFinite { what, step, epoch, batch } => {
            assert_eq!((&*what, step, epoch, batch), ("the loss", 25, 1, 26))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_recorded_step_whose_team_gave_up_says_so_in_its_place() {
    // The optimizer's launch stands for a team: in the middle of a ring, of the last step, and with a loss that is NaN.
    for (nth, bad, events) in [(6, None, 6), (18, None, 18), (6, Some(5), 5)] {
        on_alarmed("adam_f32", nth, || {
            let mut trainer = slope_trainer(Slope { bad, ..Slope::new(40) }, 1);
            recording(&mut trainer);
            for expected in 1..=events {
                let event = trainer.next_event().unwrap();
                assert!(
                    matches!(event, Event::Step { batch, .. } if batch == expected),
                    "{event:?}"
                );
            }
            assert_gave_up(&format!("{nth} {bad:?}"), trainer.next_event());
            // Nothing of it is left for the steps behind.
            let event = trainer.next_event();
            assert!(
                matches!(event, Ok(Event::Step { batch, .. }) if batch == nth + 1),
                "{event:?}"
            );
        });
    }
}

#[test]
fn a_restored_trainer_records_anew() {
    let (mut recorded, eager) =
        (slope_trainer(Slope::new(40), 1), slope_trainer(Slope::new(40), 1));
    let log = recording(&mut recorded);
    for _ in 0..5 {
        recorded.next_event().unwrap();
    }
    let state = recorded.state().unwrap();
    assert_eq!(state.adam.step, 18);
    recorded.restore(&state).unwrap();
    assert_eq!(recorded.steps_ahead(), 0);
    let (events, numbers) = trained(recorded);
    let (all, expected) = trained(eager);
    assert_eq!((&events[..], numbers), (&all[18..], expected));
    assert_eq!(log.lock().unwrap().iter().filter(|found| **found == "record").count(), 2);
}

#[test]
fn what_cannot_be_recorded_is_refused_in_words() {
    let plain = TrainerConfig { gpu_graph: true, ..TrainerConfig::default() };
    assert!(plain.check().is_ok());
    for (config, named) in [
        (TrainerConfig { accumulate: 2, ..plain.clone() }, "accumulate"),
        (TrainerConfig { parts: 2, ..plain.clone() }, "parts"),
        (TrainerConfig { clip: Clip::Norm(1.), ..plain.clone() }, "clip"),
        (TrainerConfig { ema: Some(0.9), ..plain.clone() }, "ema"),
    ] {
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with("gpu_graph: ") && error.contains(named), "{error}");
    }
    let on_a_cpu = Trainer::new(Slope::new(4), plain).err().unwrap().to_string();
    assert!(on_a_cpu.contains("NVIDIA GPUs alone"), "{on_a_cpu}");
    let mut trainer = slope_trainer(Slope { draws: true, ..Slope::new(40) }, 1);
    recording(&mut trainer);
    let error = trainer.events().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("draws random numbers"), "{error}");
    let with = |change: fn(&mut TrainConfig)| {
        let mut config = TrainConfig::default();
        change(&mut config);
        let task = Classification::new(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
        let made = RecordedSteps::new(Box::new(StandIn(Log::default())), &task);
        made.err().map(|error| error.to_string())
    };
    assert_eq!(with(|_| ()), None);
    let refused = with(|config| config.network.dropout = 0.1).unwrap();
    assert!(refused.contains("dropout"), "{refused}");
    let refused = with(|config| config.objective.loss_at = crate::train::LossAt::EVERY).unwrap();
    assert!(refused.contains("last step"), "{refused}");
    let refused = with(|config| config.dtype = crate::train::Precision::F64).unwrap();
    assert!(refused.contains("f64"), "{refused}");
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_recorded_steps_train_with_the_bits_of_others() {
    let card = DeviceLimits {
        shared_bytes: 99 << 10,
        multiprocessors: 1,
        max_grid: 1 << 30,
        team_blocks: 0,
        has_tensor_cores: true,
        streams_weights: false,
    };
    let losses = |is_recorded: bool| {
        on_device(Language::Cuda, card, || {
            let trainer = TrainerConfig { batch_size: 10, ..TrainerConfig::default() };
            let config = TrainConfig { trainer, ..TrainConfig::default() };
            let mut trainer =
                Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
            if is_recorded {
                recording(&mut trainer);
            }
            let events = trainer.events().take(2 + RING);
            events.map(|event| format!("{:?}", event.unwrap())).collect::<Vec<_>>()
        })
    };
    assert_eq!(losses(true), losses(false));
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs an NVIDIA GPU: just test-cuda"]
fn recorded_steps_on_a_gpu_have_the_bits_of_others() {
    let device = crate::recurrence::open_cuda(0).unwrap();
    let trained_with = |gpu_graph| {
        let trainer = TrainerConfig {
            batch_size: 90,
            epochs: 2,
            batching: Some(Batching::Exact),
            gpu_graph,
            ..TrainerConfig::default()
        };
        let config = TrainConfig { trainer, ..TrainConfig::default() };
        trained(Trainer::classifier(&config, Mnist::sample().unwrap(), &device).unwrap())
    };
    assert_eq!(trained_with(true), trained_with(false));
}
