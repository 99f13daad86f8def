//! The trainer with a task that is not about images: what it promises to any task.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::{DType, Device, Tensor, Var};
use candle_rnn::data::batches::Batching;
use candle_rnn::optim::Clip;
use candle_rnn::rng::SeededRng;
use candle_rnn::train::{Event, Schedule, Score, StepContext, Task, Trainer, TrainerConfig};
use candle_rnn::{Error, Result};

/// Learns `y = 3 x - 1` from 23 points; its noise comes from the streams that a trainer hands out.
struct Line {
    vars: BTreeMap<String, Var>,
    /// Added to each point of an epoch.
    offset: f64,
    /// Whether the loss has an infinite slope where `a` is 0.
    is_steep: bool,
    /// What the loss is multiplied by.
    scale: f64,
    /// The numbers of all batches that were made, in order.
    made: Mutex<Vec<Vec<u32>>>,
}

impl Line {
    const POINTS: usize = 23;

    fn new() -> Self {
        let var = |value: f64| Var::new(value, &Device::Cpu).unwrap();
        let vars = BTreeMap::from([("a".to_string(), var(0.)), ("b".to_string(), var(0.))]);
        Self { vars, offset: 0., is_steep: false, scale: 1., made: Mutex::default() }
    }

    fn loss_of(&self, x: &Tensor) -> Result<Tensor> {
        let target = ((x * 3.)? - 1.)?;
        let y = x.broadcast_mul(&self.vars["a"])?.broadcast_add(&self.vars["b"])?;
        Ok((y - target)?.sqr()?.mean_all()?)
    }
}

impl Task for Line {
    type Batch = Tensor;

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn examples(&self) -> usize {
        Self::POINTS
    }

    fn begin_epoch(&mut self, rng: &mut SeededRng) {
        self.offset = rng.symmetric(0.1);
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<Tensor> {
        self.made.lock().unwrap().push(numbers.to_vec());
        let x: Vec<f64> = numbers.iter().map(|n| f64::from(*n) / 10. + self.offset).collect();
        Ok(Tensor::from_vec(x, numbers.len(), &Device::Cpu)?)
    }

    fn loss(&self, x: &Tensor, context: &mut StepContext<'_>) -> Result<Tensor> {
        let loss = self.loss_of(&(x + context.rng.symmetric(0.01))?)?;
        if self.is_steep {
            return Ok((loss + self.vars["a"].sqrt()?)?);
        }
        Ok((loss * self.scale)?)
    }

    fn score(&self, x: &Tensor) -> Result<Score> {
        Ok(Score { loss: self.loss_of(x)?.to_scalar()?, ..Score::default() })
    }

    fn validate(&self) -> Result<Score> {
        self.score(&Tensor::new(&[0.05, 1.15, 2.05], &Device::Cpu)?)
    }
}

fn config() -> TrainerConfig {
    TrainerConfig {
        epochs: 40,
        batch_size: 2,
        accumulate: 2,
        learning_rate: 0.3,
        schedule: Schedule::Cosine,
        ema: Some(0.9),
        batching: Some(Batching::Split),
        ..TrainerConfig::default()
    }
}

fn values(trainer: &Trainer<Line>) -> Vec<f64> {
    trainer.weights().unwrap().values().map(|weight| weight.to_scalar().unwrap()).collect()
}

#[test]
fn events_come_in_order_and_end_and_the_task_is_learned() {
    let mut trainer = Trainer::new(Line::new(), config()).unwrap();
    // 23 points, 4 a step: 5 steps of 5, 5, 5, 4 and 4.
    assert_eq!(trainer.batches(), 5);
    let events: Vec<Event> = trainer.events().map(|event| event.unwrap()).collect();
    assert_eq!(events.len(), 40 * 6 + 1);
    assert_eq!(events.last(), Some(&Event::Done));
    let examples = events.iter().map(|event| match event {
        Event::Step { examples, .. } => *examples,
        _ => 0,
    });
    assert_eq!(examples.clone().take(6).collect::<Vec<_>>(), [5, 5, 5, 4, 4, 0]);
    let Event::Epoch(last) = &events[events.len() - 2] else { panic!("{events:?}") };
    assert!(last.valid_loss < 1e-3, "{last:?}");
    assert_eq!((last.valid_accuracy, last.acc_batch), (None, None));
    assert!(!serde_json::to_string(last).unwrap().contains("accuracy"));
    assert_eq!(trainer.next_event().unwrap(), Event::Done);
    let [a, b] = values(&trainer)[..] else { panic!() };
    assert!((a - 3.).abs() < 0.1 && (b + 1.).abs() < 0.1, "{a} {b}");
}

#[test]
fn an_epoch_has_every_example_once_in_batches_as_asked_for() {
    let mut trainer = Trainer::new(Line::new(), config()).unwrap();
    while !matches!(trainer.next_event().unwrap(), Event::Epoch(_)) {}
    let mut made = trainer.task().made.lock().unwrap().clone();
    // The last batches are made again, to be measured.
    made.truncate(10);
    assert!(made.iter().all(|numbers| (2..=3).contains(&numbers.len())), "{made:?}");
    // However many are to be added up: 23 examples are one step then, of batches as small.
    let one_step = TrainerConfig { accumulate: 1000, ..config() };
    let mut other = Trainer::new(Line::new(), one_step).unwrap();
    other.next_event().unwrap();
    let parts = other.task().made.lock().unwrap().clone();
    assert!(parts.iter().all(|numbers| (2..=3).contains(&numbers.len())), "{parts:?}");
    assert_eq!((other.batches(), parts.concat().len()), (1, 23));
    let mut all = made.concat();
    all.sort_unstable();
    assert_eq!(all, (0..23).collect::<Vec<u32>>());
}

#[test]
fn a_state_continues_with_the_same_bits_from_any_step() {
    let mut whole = Trainer::new(Line::new(), config()).unwrap();
    let mut states = vec![whole.state().unwrap()];
    let mut losses = Vec::new();
    while let event @ (Event::Step { .. } | Event::Epoch(_)) = whole.next_event().unwrap() {
        states.push(whole.state().unwrap());
        match event {
            Event::Step { loss, .. } => losses.push(loss),
            Event::Epoch(metrics) => losses.push(metrics.valid_loss),
            Event::Done => {}
        }
    }
    for (at, state) in states.iter().enumerate().step_by(7) {
        let mut part = Trainer::new(Line::new(), config()).unwrap();
        part.restore(state).unwrap();
        let rest: Vec<f64> = part
            .events()
            .filter_map(|event| match event.unwrap() {
                Event::Step { loss, .. } => Some(loss),
                Event::Epoch(metrics) => Some(metrics.valid_loss),
                Event::Done => None,
            })
            .collect();
        assert_eq!(rest, losses[at..], "from {at}");
        assert_eq!(values(&part), values(&whole), "from {at}");
    }
}

#[test]
fn a_state_that_disagrees_with_itself_is_refused() {
    let mut trainer = Trainer::new(Line::new(), config()).unwrap();
    for _ in 0..8 {
        trainer.next_event().unwrap();
    }
    let state = trainer.state().unwrap();
    assert_eq!((state.position.epoch, state.position.batch, state.adam.step), (1, 2, 7));
    let mut wrong = [state.clone(), state.clone(), state.clone(), state.clone(), state];
    wrong[0].adam.step = u64::MAX;
    wrong[1].position.waited = usize::MAX;
    wrong[2].position.plateaus = u32::MAX;
    wrong[3].position.batch = 1;
    wrong[4].position.epoch = usize::MAX;
    for state in wrong {
        let error = trainer.restore(&state).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error}");
    }
}

#[test]
fn averages_are_in_place_only_while_something_is_measured() {
    let mut trainer = Trainer::new(Line::new(), config()).unwrap();
    for _ in 0..3 {
        trainer.next_event().unwrap();
    }
    let of = |task: &Line| -> Result<f64> { Ok(task.vars["a"].to_scalar()?) };
    let last = of(trainer.task()).unwrap();
    let state = trainer.state().unwrap();
    let average = state.average.unwrap()["a"].to_scalar::<f64>().unwrap();
    assert_ne!(average, last);
    assert_eq!(trainer.measured(of).unwrap(), average);
    assert_eq!(of(trainer.task()).unwrap(), last);
    // Also where measuring failed.
    let failed = trainer.measured(|_| -> Result<()> { Err(Error::Config("no".into())) });
    assert!(failed.is_err());
    assert_eq!(of(trainer.task()).unwrap(), last);
}

#[test]
fn a_gradient_that_is_not_finite_is_named_and_changes_nothing() {
    let steep = Line { is_steep: true, ..Line::new() };
    let mut trainer = Trainer::new(steep, config()).unwrap();
    let error = trainer.next_event().unwrap_err();
    let expected = "the gradient of a is not finite at step 0 (epoch 1, batch 1)";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!((values(&trainer), trainer.step_count()), (vec![0., 0.], 0));
}

#[test]
fn a_variable_without_a_gradient_is_skipped_and_the_rest_learns() {
    let mut line = Line::new();
    let head = Var::new(&[0.25, -0.5], &Device::Cpu).unwrap();
    line.vars.insert("auxiliary.weight".into(), head.clone());
    let mut with = Trainer::new(line, config()).unwrap();
    let mut without = Trainer::new(Line::new(), config()).unwrap();
    let mut middle = None;
    loop {
        let event = with.next_event().unwrap();
        match (&event, without.next_event().unwrap()) {
            (Event::Step { loss, .. }, Event::Step { loss: alone, .. }) => assert_eq!(*loss, alone),
            (Event::Done, Event::Done) => break,
            _ => {}
        }
        assert_eq!(with.adam().skipped(), ["auxiliary.weight"]);
        if with.step_count() == 77 {
            middle.get_or_insert(with.state().unwrap());
        }
    }
    assert_eq!(head.to_vec1::<f64>().unwrap(), [0.25, -0.5]);
    let weights = with.weights().unwrap();
    for (name, weight) in without.weights().unwrap() {
        assert_eq!(
            weight.to_scalar::<f64>().unwrap(),
            weights[&name].to_scalar::<f64>().unwrap(),
            "{name}"
        );
    }
    // A saved state has it too.
    let mut line = Line::new();
    line.vars.insert("auxiliary.weight".into(), head);
    let mut again = Trainer::new(line, config()).unwrap();
    again.restore(&middle.unwrap()).unwrap();
    assert_eq!(again.adam().skipped_steps("auxiliary.weight"), Some(77));
    while !matches!(again.next_event().unwrap(), Event::Done) {}
    let found = again.weights().unwrap();
    assert_eq!(found["a"].to_scalar::<f64>().unwrap(), weights["a"].to_scalar::<f64>().unwrap());
}

#[test]
fn a_gradient_that_adam_cannot_square_is_named_unless_clipped() {
    // The loss is finite, its gradient too, the gradient's square is not.
    let large = || Line { scale: 1e160, ..Line::new() };
    let mut trainer = Trainer::new(large(), config()).unwrap();
    let error = trainer.next_event().unwrap_err().to_string();
    assert!(error.starts_with("the squared gradient of a is not finite at step 0"), "{error}");
    assert_eq!((values(&trainer), trainer.step_count()), (vec![0., 0.], 0));
    let clipped = TrainerConfig { clip: Clip::Norm(1.), ..config() };
    let mut trainer = Trainer::new(large(), clipped).unwrap();
    assert!(matches!(trainer.next_event(), Ok(Event::Step { .. })));
}

#[test]
fn settings_out_of_range_and_integer_variables_are_refused() {
    for config in [
        TrainerConfig { accumulate: 0, ..config() },
        TrainerConfig { batch_size: 0, ..config() },
        TrainerConfig { epochs: 0, ..config() },
        TrainerConfig { learning_rate: f64::NAN, ..config() },
        TrainerConfig { ema: Some(1.), ..config() },
    ] {
        assert!(
            matches!(Trainer::new(Line::new(), config.clone()), Err(Error::Config(_))),
            "{config:?}"
        );
    }
    let half = Var::zeros(1, DType::F16, &Device::Cpu).unwrap();
    let half = Line { vars: BTreeMap::from([("a".into(), half)]), ..Line::new() };
    assert!(matches!(Trainer::new(half, config()), Err(Error::DType { .. })));
}

#[test]
fn batches_are_no_larger_than_asked_for_by_default() {
    let exact = TrainerConfig { batching: TrainerConfig::default().batching, ..config() };
    let mut trainer = Trainer::new(Line::new(), exact).unwrap();
    // 23 points, 4 a step: five steps of 4 and one of 3.
    assert_eq!(trainer.batches(), 6);
    while !matches!(trainer.next_event().unwrap(), Event::Epoch(_)) {}
    let mut made = trainer.task().made.lock().unwrap().clone();
    made.truncate(12);
    let sizes: Vec<usize> = made.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
    let mut all = made.concat();
    all.sort_unstable();
    assert_eq!(all, (0..23).collect::<Vec<u32>>());
}

#[test]
fn patience_ends_with_the_best_weights_at_hand() {
    for ema in [None, Some(0.5)] {
        let impatient = TrainerConfig {
            epochs: 500,
            patience: Some(3),
            schedule: Schedule::Constant,
            learning_rate: 1.,
            ema,
            ..config()
        };
        let mut trainer = Trainer::new(Line::new(), impatient.clone()).unwrap();
        assert!(trainer.best().is_none() && trainer.restore_best().is_err());
        let mut losses = Vec::new();
        let mut state = trainer.state().unwrap();
        while !trainer.is_done() {
            if let Event::Epoch(metrics) = trainer.next_event().unwrap() {
                losses.push(metrics.valid_loss);
                state = trainer.state().unwrap();
            }
        }
        let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(losses.len() < 500 && losses[losses.len() - 1] > lowest, "{losses:?}");
        // A state has them too.
        let mut other = Trainer::new(Line::new(), impatient).unwrap();
        other.restore(&state).unwrap();
        for trainer in [&mut trainer, &mut other] {
            assert_eq!(trainer.best().unwrap().metrics.valid_loss, lowest);
            assert_ne!(trainer.measured(|task| task.validate()).unwrap().loss, lowest);
            trainer.restore_best().unwrap();
            assert_eq!(trainer.measured(|task| task.validate()).unwrap().loss, lowest);
            assert_eq!(trainer.task().validate().unwrap().loss, lowest);
        }
    }
}
