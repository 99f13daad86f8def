//! Training on a series without end: it learns, carries its state, and its memory does not grow.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use candle_rnn::nn::{
    Activation, Dense, DenseConfig, Init, Lstm, LstmConfig, Rnn, RnnConfig, Stack,
};
use candle_rnn::optim::{AdamConfig, Clip};
use candle_rnn::recurrence::Truncation;
use candle_rnn::train::{Schedule, StreamState, StreamTrainer};
use candle_rnn::VarSink;
use common::{init_rng, sink, text, values};

const PIECE: usize = 500;

/// A trainer of 8 units, and the weight and bias of a head that makes one number of them.
fn trainer(seed: u64) -> (StreamTrainer, Dense) {
    let sink = sink(DType::F32);
    let mut rng = init_rng(seed);
    let rnn = Rnn::init(RnnConfig::new(1, 8), Init::Orthogonal, &mut rng, &sink.pp("rnn")).unwrap();
    let head = DenseConfig::new(rnn.output_features(), 1);
    let head = Dense::init(head, Init::Glorot, &mut rng, &sink.pp("head")).unwrap();
    let adam = AdamConfig { learning_rate: 3e-3, ..AdamConfig::default() };
    (StreamTrainer::new(rnn, &sink, adam).unwrap(), head)
}

/// The series' value at a step: two waves whose sum repeats only after a long time.
fn value(step: usize) -> f32 {
    let t = step as f64;
    (0.5 * ((t * 0.3).sin() + (t * 0.17).cos())) as f32
}

/// Piece number `index`, and for each of its steps the value of the next.
fn piece(index: usize) -> (Tensor, Tensor) {
    let values: Vec<f32> = (index * PIECE..=(index + 1) * PIECE).map(value).collect();
    let tensor = |values: &[f32]| Tensor::from_slice(values, (1, PIECE, 1), &Device::Cpu).unwrap();
    (tensor(&values[..PIECE]), tensor(&values[1..]))
}

/// The largest resident set so far, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn a_million_steps_are_learnt_in_memory_that_does_not_grow() {
    let (trainer, dense) = trainer(1);
    let mut trainer = trainer.truncated(Truncation::segments(50).unwrap());
    let mut losses: Vec<f64> = Vec::new();
    #[cfg(target_os = "linux")]
    let mut after_a_tenth = 0;
    let pieces = 1_000_000 / PIECE;
    {
        let series = (0..pieces).map(piece);
        let losses_of = trainer
            .losses(series, |h, target| Ok((dense.forward(h)? - target)?.sqr()?.mean_all()?));
        for (index, loss) in losses_of.enumerate() {
            losses.push(loss.unwrap());
            #[cfg(target_os = "linux")]
            if index == pieces / 10 {
                after_a_tenth = peak_memory();
            }
            #[cfg(not(target_os = "linux"))]
            let _ = index;
        }
    }
    assert_eq!((losses.len(), trainer.steps()), (pieces, 1_000_000));
    let late = losses[pieces - 100..].iter().sum::<f64>() / 100.;
    // The variance of the series, which a constant would reach, is 0.25.
    assert!(late < 0.002 && losses[0] > 10. * late, "{} {late}", losses[0]);
    #[cfg(target_os = "linux")]
    {
        // The kernel counts by thread, and may count a page less than before.
        let grown = peak_memory().saturating_sub(after_a_tenth);
        // Keeping the states of the steps in between would take 29 MB, their graphs far more.
        assert!(grown < 4 << 20, "{grown} bytes more after 900,000 further steps");
    }
}

#[test]
fn the_state_goes_on_where_the_piece_before_ended() {
    // The second of two pieces gives the loss of the second half of one twice as long.
    let (x, _) = piece(0);
    let half = |from: usize| x.narrow(1, from, PIECE / 2).unwrap();
    let whole = {
        let (mut trainer, dense) = trainer(2);
        let second = |h: &Tensor| h.narrow(1, PIECE / 2, PIECE / 2);
        trainer.step(&x, |h| Ok(dense.forward(&second(h)?)?.sqr()?.mean_all()?)).unwrap()
    };
    let (mut trainer, dense) = trainer(2);
    let loss = |h: &Tensor| Ok(dense.forward(h)?.sqr()?.mean_all()?);
    // A gradient far below Adam's epsilon moves no weight.
    trainer.step(&half(0), |h| Ok((loss(h)? * 1e-20)?)).unwrap();
    assert!(trainer.state_mut().get().is_some_and(|state| !state.h.track_op()));
    let second = trainer.step(&half(PIECE / 2), loss).unwrap();
    assert!((second - whole).abs() <= 1e-6 * whole, "{second} {whole}");
    trainer.state_mut().reset();
    let without = trainer.step(&half(PIECE / 2), loss).unwrap();
    assert!((without - whole).abs() > 1e-4 * whole, "{without} {whole}");
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let (mut trainer, dense) = trainer(3);
    let before = dense.weight().to_vec2::<f32>().unwrap();
    let (x, _) = piece(0);
    let error = trainer.step(&x, |h| Ok((h.mean_all()? / 0.)?)).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
    assert!(trainer.state_mut().get().is_none());
    assert_eq!((trainer.adam().step_count(), trainer.steps()), (0, 0));
    assert_eq!(dense.weight().to_vec2::<f32>().unwrap(), before);
}

/// A relu unit with these weights, whose states grow by `w_hh` a step, and its trainer.
fn growing(w_hh: f32) -> (StreamTrainer, VarSink) {
    let sink = sink(DType::F32);
    let relu = RnnConfig { activation: Activation::Relu, ..RnnConfig::new(1, 1) };
    let rng = &mut init_rng(1);
    let rnn = Rnn::init(relu, Init::Glorot, rng, &sink.pp("rnn")).unwrap();
    let vars = sink.named().unwrap();
    for (name, value) in [("weight_hh_l0", w_hh), ("weight_ih_l0", 1.), ("bias_ih_l0", 0.)] {
        let var = &vars[&format!("rnn.{name}")];
        var.set(&(var.zeros_like().unwrap() + f64::from(value)).unwrap()).unwrap();
    }
    (StreamTrainer::new(rnn, vars, AdamConfig::default()).unwrap(), sink)
}

fn weights(sink: &VarSink) -> Vec<f64> {
    let vars = sink.named().unwrap();
    vars.values().flat_map(|var| values(var)).collect()
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing_and_is_named() {
    let (mut trainer, sink) = growing(2.5);
    let before = weights(&sink);
    let x = Tensor::ones((1, 47, 1), DType::F32, &Device::Cpu).unwrap();
    let last = |h: &Tensor| Ok(h.narrow(1, 46, 1)?.sqr()?.sum_all()?);
    // The loss is 1.1e37, which is finite; its gradient is not.
    let error = trainer.step(&x, last).map(|loss| format!("{loss:e}, {:?}", weights(&sink)));
    let error = error.unwrap_err();
    let expected = "the gradient of rnn.weight_hh_l0 is not finite at step 0";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(weights(&sink), before);
    assert!(trainer.state_mut().get().is_none());
    assert_eq!((trainer.adam().step_count(), trainer.steps()), (0, 0));
    let moments = trainer.adam().state().unwrap().moments;
    for (name, moment) in moments {
        let values = moment.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|value| *value == 0.), "{name}");
    }
    // The trainer goes on with what it can compute.
    trainer.step(&x, |h| Ok(h.narrow(1, 0, 1)?.sqr()?.sum_all()?)).unwrap();
    assert_eq!(trainer.adam().step_count(), 1);
}

#[test]
fn a_weight_that_is_not_finite_is_named_before_its_loss() {
    let (mut trainer, sink) = growing(1.);
    let var = &sink.named().unwrap()["rnn.weight_ih_l0"];
    var.set(&(var.as_detached_tensor() * f64::NAN).unwrap()).unwrap();
    let x = Tensor::ones((1, 3, 1), DType::F32, &Device::Cpu).unwrap();
    let error = trainer.step(&x, |h| Ok(h.sum_all()?)).unwrap_err().to_string();
    assert!(error.starts_with("rnn.weight_ih_l0 is not finite"), "{error}");
}

#[test]
fn a_gradient_whose_square_overflows_is_named_too() {
    // Adam's second moment would be infinite for good, and the weight never move again.
    let (mut trainer, sink) = growing(1.);
    let before = weights(&sink);
    let x = Tensor::ones((1, 3, 1), DType::F32, &Device::Cpu).unwrap();
    let error = trainer.step(&x, |h| Ok((h.sum_all()? * 1e30)?)).unwrap_err().to_string();
    assert!(error.starts_with("the squared gradient of rnn.bias_ih_l0 is not"), "{error}");
    assert_eq!((weights(&sink), trainer.adam().step_count()), (before, 0));
    trainer.step(&x, |h| Ok((h.sum_all()? * 1e18)?)).unwrap();
}

#[test]
fn a_state_of_another_batch_size_is_an_error_that_names_it() {
    let (mut trainer, dense) = trainer(4);
    let loss = |h: &Tensor| Ok(dense.forward(h)?.sqr()?.mean_all()?);
    let (x, _) = piece(0);
    trainer.step(&x, loss).unwrap();
    let wider = Tensor::cat(&[&x, &x], 0).unwrap();
    let error = trainer.step(&wider, loss).unwrap_err().to_string();
    assert!(error.contains("h_0 must have shape (1, 2, 8), got [1, 1, 8]"), "{error}");
}

#[test]
fn what_a_sequence_without_end_cannot_have_is_refused_in_words() {
    let sink = sink(DType::F32);
    let config = RnnConfig { bidirectional: true, ..RnnConfig::new(1, 4) };
    let rnn = Rnn::init(config, Init::Glorot, &mut init_rng(1), &sink.pp("rnn")).unwrap();
    let error = text(StreamTrainer::new(rnn, &sink, AdamConfig::default()));
    assert!(error.contains("a bidirectional layer"), "{error}");
    let new = || trainer(1).0;
    for (made, named) in [
        (new().scheduled(Schedule::Step, None, 10), "depend on epochs"),
        (new().scheduled(Schedule::Plateau, None, 10), "depend on epochs"),
        (new().scheduled(Schedule::Cosine, None, 0), "at least 1 optimizer step"),
        (new().scheduled(Schedule::Cosine, Some(1.), 10), "warmup must be"),
        (new().scheduled(Schedule::Constant, Some(0.1), 10), "warmup needs"),
        (new().averaged(1.), "decay of the average must be"),
        (new().clipped(Clip::Norm(0.)), "clipping must be above 0"),
    ] {
        let error = text(made);
        assert!(error.contains(named), "{error}");
    }
}

/// A trainer of two layers of LSTM with dropout, with all that steps may have, and its variables.
fn complete() -> (StreamTrainer, Dense, VarSink) {
    let sink = sink(DType::F32);
    let mut rng = init_rng(5);
    let config = LstmConfig { num_layers: 2, dropout: 0.3, ..LstmConfig::new(1, 6) };
    let lstm = Lstm::init(config, Init::Glorot, &mut rng, &sink.pp("lstm")).unwrap();
    let head = DenseConfig::new(lstm.output_features(), 1);
    let head = Dense::init(head, Init::Glorot, &mut rng, &sink.pp("head")).unwrap();
    let adam = AdamConfig { learning_rate: 0.02, ..AdamConfig::default() };
    let trainer = StreamTrainer::new(lstm, &sink, adam)
        .and_then(|trainer| trainer.clipped(Clip::Norm(0.5)))
        .and_then(|trainer| trainer.averaged(0.9))
        .and_then(|trainer| trainer.scheduled(Schedule::OneCycle, None, 30))
        .unwrap();
    (trainer.seeded(7), head, sink)
}

/// Piece `index` of two rows with 5 steps, of which the second row has fewer in every third piece.
fn rows(index: usize) -> (Tensor, [usize; 2]) {
    let numbers: Vec<f32> = (0..10).map(|i| value(i % 5 + 5 * index + 700 * (i / 5))).collect();
    let short = if index.is_multiple_of(3) { 2 } else { 5 };
    (Tensor::from_vec(numbers, (2, 5, 1), &Device::Cpu).unwrap(), [5, short])
}

#[test]
fn an_endless_training_continues_with_the_same_bits() {
    let step = |trainer: &mut StreamTrainer, head: &Dense, index: usize| {
        let (x, lengths) = rows(index);
        let loss = |h: &Tensor| Ok((head.forward(h)? - &x)?.sqr()?.mean_all()?);
        trainer.step_ragged(&x, &lengths, loss).unwrap()
    };
    let (mut whole, head, sink) = complete();
    let mut states = Vec::new();
    let losses: Vec<f64> = (0..30)
        .map(|index| {
            states.push(whole.state().unwrap());
            step(&mut whole, &head, index)
        })
        .collect();
    assert!(losses[29] < losses[0], "{losses:?}");
    assert_eq!(whole.steps(), 150);
    let weight = |trainer: &StreamTrainer| {
        let of = |_: &Stack| Ok(values(head.weight()));
        (weights(&sink), trainer.measured(of).unwrap())
    };
    let (last, averaged) = weight(&whole);
    assert!(!last.ends_with(&averaged));
    for at in [0, 1, 13, 29] {
        let (mut part, head, other) = complete();
        part.restore(&states[at]).unwrap();
        let rest: Vec<f64> = (at..30).map(|index| step(&mut part, &head, index)).collect();
        assert_eq!(rest, losses[at..], "from {at}");
        assert_eq!((weights(&other), part.steps()), (last.clone(), 150), "from {at}");
        let of = |_: &Stack| Ok(values(head.weight()));
        assert_eq!(part.measured(of).unwrap(), averaged, "from {at}");
    }
    // Dropout, the clipping and the schedule have an effect.
    let first = |trainer: &mut StreamTrainer, head: &Dense| {
        (0..3).map(|index| step(trainer, head, index)).collect::<Vec<f64>>()
    };
    let (other, head, _) = complete();
    assert_ne!(first(&mut other.seeded(8), &head), losses[..3]);
    let (other, head, _) = complete();
    assert_ne!(first(&mut other.clipped(Clip::Norm(1e-9)).unwrap(), &head), losses[..3]);
    let (other, head, _) = complete();
    let other = other.scheduled(Schedule::Constant, None, 30);
    assert_ne!(first(&mut other.unwrap(), &head), losses[..3]);
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let (mut trainer, ..) = complete();
    let state = trainer.state().unwrap();
    let (x, lengths) = rows(1);
    trainer.step_ragged(&x, &lengths, |h| Ok(h.sqr()?.mean_all()?)).unwrap();
    let before = (trainer.state().unwrap().weights, trainer.steps());
    let name = "head.weight";
    for wrong in [
        StreamState { average: None, ..state.clone() },
        StreamState { weights: Default::default(), ..state.clone() },
        {
            let mut state = state.clone();
            state.average.as_mut().unwrap().remove(name);
            state
        },
        {
            let mut state = state;
            state.adam.moments.remove("m.head.weight");
            state
        },
    ] {
        assert!(trainer.restore(&wrong).is_err());
        let found = trainer.state().unwrap();
        assert_eq!(values(&found.weights[name]), values(&before.0[name]));
        assert_eq!((trainer.steps(), trainer.adam().step_count()), (before.1, 1));
    }
}

#[test]
fn rows_that_end_sooner_carry_the_state_of_their_end() {
    let (mut trainer, _) = trainer(6);
    let (x, _) = rows(0);
    let small = |h: &Tensor| Ok((h.sqr()?.mean_all()? * 1e-20)?);
    let carried = |trainer: &mut StreamTrainer, x: &Tensor, lengths: &[usize]| {
        trainer.state_mut().reset();
        trainer.step_ragged(x, lengths, small).unwrap();
        values(&trainer.state_mut().get().unwrap().h)
    };
    let both = carried(&mut trainer, &x, &[5, 2]);
    let first = carried(&mut trainer, &x.narrow(0, 0, 1).unwrap(), &[5]);
    let second = x.narrow(0, 1, 1).unwrap().narrow(1, 0, 2).unwrap();
    let second = carried(&mut trainer, &second, &[2]);
    for (a, b) in both.iter().zip([first, second].concat()) {
        assert!((a - b).abs() <= 1e-6, "{a} {b}");
    }
    // A row without steps keeps its state.
    trainer.state_mut().reset();
    trainer.step_ragged(&x, &[5, 2], small).unwrap();
    let before = values(&trainer.state_mut().get().unwrap().h);
    trainer.step_ragged(&x, &[1, 0], small).unwrap();
    let after = values(&trainer.state_mut().get().unwrap().h);
    assert_eq!(after[8..], before[8..]);
    assert_ne!(after[..8], before[..8]);
    assert!(trainer.step_ragged(&x, &[6, 1], small).is_err());
}
