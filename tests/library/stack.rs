//! Stacks as their users meet them: dropout, steps, states, lengths, what is refused.

use crate::common;
use crate::common::{compare, init_rng, sink, text, values};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_rnn::model::{ClassifierConfig, SequenceClassifier};
use candle_rnn::nn::{
    Activation, Dense, DenseConfig, Gru, GruConfig, Init, Lstm, LstmConfig, Reset, Rnn, RnnConfig,
    Sequences, Stack, StackConfig,
};
use candle_rnn::recurrence::Truncation;
use candle_rnn::recurrence::{Cell, State};
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::{Error, VarSink};

fn stack(config: StackConfig) -> Stack {
    common::stack(config, Init::Pytorch, 5, DType::F64, "").0
}

fn random(shape: &[usize], seed: u64) -> Tensor {
    common::random(&mut init_rng(seed), shape, 1.)
}

#[track_caller]
fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims());
    compare::assert_close(&values(a), &values(b), 1e-12, "tensors");
}

fn dropout() -> SeededRng {
    SeededRng::new(3, Purpose::Dropout)
}

#[test]
fn dropout_between_layers_masks_the_outputs_of_the_layer_below() {
    let config = StackConfig { num_layers: 2, dropout: 0.4, ..StackConfig::new(Cell::Gru, 3, 6) };
    let stack = stack(config);
    let x = random(&[4, 5, 3], 1);
    let found = stack.forward(Sequences::new(&x).dropout(&mut dropout())).unwrap();
    // The same by hand: the lower layer, dropout, the upper layer.
    let single = |layer: usize, inputs: usize| {
        let config = StackConfig::new(Cell::Gru, inputs, 6);
        let weights = vec![stack.weights(layer).to_vec()];
        candle_rnn::nn::weights::stack_from(config, weights).unwrap()
    };
    let below = single(0, 3).forward(&x).unwrap().outputs;
    let dropped = candle_rnn::nn::dropout(&below, 0.4, &mut dropout()).unwrap();
    assert!(values(&dropped).iter().filter(|value| **value == 0.).count() > 20);
    assert_close(&found.outputs, &single(1, 6).forward(&dropped).unwrap().outputs);
    // Without a generator nothing is left out, and what is drawn moves on.
    let plain = single(1, 6).forward(&below).unwrap().outputs;
    assert_close(&stack.forward(&x).unwrap().outputs, &plain);
    let mut rng = dropout();
    let first = stack.forward(Sequences::new(&x).dropout(&mut rng)).unwrap().outputs;
    let second = stack.forward(Sequences::new(&x).dropout(&mut rng)).unwrap().outputs;
    assert_eq!(values(&first), values(&found.outputs));
    assert_ne!(values(&first), values(&second));
}

#[test]
fn recurrent_dropout_has_one_mask_for_all_steps_of_a_sequence() {
    // h_t = relu(h_{t-1} · mask · I): a unit that is left out is 0 from the first step on, the others
    // grow by the same factor at every step.
    let config = StackConfig { recurrent_dropout: 0.5, ..StackConfig::new(Cell::Relu, 1, 8) };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap();
    let eye = Tensor::eye(8, DType::F64, &Device::Cpu).unwrap();
    let weights = candle_rnn::recurrence::Weights::new(zeros(&[8, 1]), eye, zeros(&[8]));
    let stack = candle_rnn::nn::weights::stack_from(config, vec![vec![weights]]).unwrap();
    let initial = State::new(Tensor::ones((1, 3, 8), DType::F64, &Device::Cpu).unwrap());
    let x = zeros(&[3, 4, 1]);
    let mut rng = dropout();
    let sequences = Sequences::new(&x).initial(&initial).dropout(&mut rng);
    let outputs = stack.forward(sequences).unwrap().outputs.to_vec3::<f64>().unwrap();
    let mut left_out = 0;
    for row in &outputs {
        for unit in 0..8 {
            let of_unit: Vec<f64> = row.iter().map(|step| step[unit]).collect();
            left_out += usize::from(of_unit == [0.; 4]);
            assert!(of_unit == [0.; 4] || of_unit == [2., 4., 8., 16.], "{of_unit:?}");
        }
    }
    assert!((4..20).contains(&left_out), "{left_out}");
}

#[test]
fn steps_of_a_stack_end_where_the_sequence_ends() {
    for cell in Cell::ALL {
        let config = StackConfig { num_layers: 3, ..StackConfig::new(cell, 3, 5) };
        for stack in [stack(config), stack(config).freeze().unwrap(), stack(config).detach()] {
            let x = random(&[2, 6, 3], 2);
            let whole = stack.forward(&x).unwrap();
            let mut state = None;
            for t in 0..6 {
                let x_t = x.narrow(1, t, 1).unwrap().squeeze(1).unwrap();
                let (output, after) = stack.step(&x_t, state.as_ref()).unwrap();
                let expected = whole.outputs.narrow(1, t, 1).unwrap().squeeze(1).unwrap();
                assert_close(&output, &expected);
                state = Some(after);
            }
            let State { h, c, .. } = state.unwrap();
            assert_close(&h, &whole.state.h);
            assert_eq!(c.is_some(), cell.has_c());
            if let (Some(c), Some(expected)) = (&c, &whole.state.c) {
                assert_close(c, expected);
            }
        }
    }
}

#[test]
fn a_sequence_in_two_pieces_ends_as_the_whole_one() {
    let config = StackConfig { num_layers: 2, ..StackConfig::new(Cell::Lstm, 3, 5) };
    let stack = stack(config);
    let x = Var::from_tensor(&random(&[2, 7, 3], 4)).unwrap();
    let loss = |state: &State| {
        let c = state.c.as_ref().unwrap().sqr().unwrap().sum_all().unwrap();
        (state.h.sum_all().unwrap() + c).unwrap()
    };
    let whole = stack.forward(x.as_tensor()).unwrap().state;
    let piece = |from: usize, len: usize| x.narrow(1, from, len).unwrap();
    let first = stack.forward(&piece(0, 4)).unwrap().state;
    let rest = piece(4, 3);
    let second = stack.forward(Sequences::new(&rest).initial(&first)).unwrap().state;
    assert_close(&second.h, &whole.h);
    let grads = |state: &State| loss(state).backward().unwrap().get(&x).unwrap().clone();
    assert_close(&grads(&second), &grads(&whole));
}

#[test]
fn a_ragged_batch_gives_each_row_what_it_gives_alone() {
    for cell in Cell::ALL {
        let config =
            StackConfig { num_layers: 2, bidirectional: true, ..StackConfig::new(cell, 3, 5) };
        let stack = stack(config);
        let lengths = [4, 0, 6, 1];
        let x = Var::from_tensor(&random(&[4, 6, 3], 6)).unwrap();
        let found = stack.forward(Sequences::new(x.as_tensor()).lengths(&lengths)).unwrap();
        let last = stack.last(Sequences::new(x.as_tensor()).lengths(&lengths)).unwrap();
        let loss = (found.outputs.sqr().unwrap().sum_all().unwrap()
            + found.state.h.sum_all().unwrap())
        .unwrap();
        let grad = loss.backward().unwrap().get(&x).unwrap().clone();
        for (row, len) in lengths.into_iter().enumerate().filter(|(_, len)| *len > 0) {
            let own = x.narrow(0, row, 1).unwrap().narrow(1, 0, len).unwrap();
            let own = Var::from_tensor(&own.contiguous().unwrap()).unwrap();
            let alone = stack.forward(own.as_tensor()).unwrap();
            let of_row = found.outputs.narrow(0, row, 1).unwrap();
            assert_close(&of_row.narrow(1, 0, len).unwrap(), &alone.outputs);
            let behind = of_row.narrow(1, len, 6 - len).unwrap();
            assert!(values(&behind).iter().all(|value| *value == 0.));
            assert_close(&found.state.h.narrow(1, row, 1).unwrap(), &alone.state.h);
            assert_close(&last.narrow(0, row, 1).unwrap(), &stack.last(own.as_tensor()).unwrap());
            let loss = (alone.outputs.sqr().unwrap().sum_all().unwrap()
                + alone.state.h.sum_all().unwrap())
            .unwrap();
            let of_row = grad.narrow(0, row, 1).unwrap();
            let expected = loss.backward().unwrap().get(&own).unwrap().clone();
            assert_close(&of_row.narrow(1, 0, len).unwrap(), &expected);
            assert!(values(&of_row.narrow(1, len, 6 - len).unwrap()).iter().all(|g| *g == 0.));
        }
    }
}

#[test]
fn a_change_of_the_variables_shows_except_in_a_frozen_copy() {
    let sink = sink(DType::F64);
    let rng = &mut init_rng(5);
    let lstm = Lstm::init(LstmConfig::new(3, 4), Init::Glorot, rng, &sink.pp("lstm")).unwrap();
    let (frozen, detached) = (lstm.freeze().unwrap(), lstm.detach());
    let x = random(&[2, 3, 3], 7);
    let before = values(&lstm.last(&x).unwrap());
    for var in sink.named().unwrap().values() {
        var.set(&(var.as_detached_tensor() * 1.5).unwrap()).unwrap();
    }
    let after = values(&lstm.last(&x).unwrap());
    assert_ne!(after, before);
    assert_eq!(values(&detached.last(&x).unwrap()), after);
    assert_eq!(values(&frozen.last(&x).unwrap()), before);
    assert!(!detached.last(&x).unwrap().track_op());
}

#[test]
fn weights_from_elsewhere_are_trained_on_as_variables() {
    let imported = stack(StackConfig {
        num_layers: 2,
        bidirectional: true,
        proj_size: Some(2),
        ..StackConfig::new(Cell::Lstm, 3, 4)
    });
    let sink = sink(DType::F64);
    let trained = imported.to_vars(&sink.pp("lstm")).unwrap();
    let x = random(&[2, 3, 3], 7);
    let before = values(&imported.last(&x).unwrap());
    assert_eq!(values(&trained.last(&x).unwrap()), before);
    let vars = sink.named().unwrap();
    assert_eq!(vars.len(), 2 * 2 * 5);
    let grads = trained.last(&x).unwrap().sum_all().unwrap().backward().unwrap();
    for (name, var) in &vars {
        assert!(name.starts_with("lstm."), "{name}");
        let grad = grads.get(var).expect("a gradient for every variable");
        var.set(&(var.as_detached_tensor() - grad).unwrap()).unwrap();
    }
    assert_ne!(values(&trained.last(&x).unwrap()), before);
    assert_eq!(values(&imported.last(&x).unwrap()), before);
}

#[test]
fn weights_that_a_builder_lacks_are_refused_and_not_invented() {
    for cell in Cell::ALL {
        let config = StackConfig { num_layers: 2, ..StackConfig::new(cell, 3, 16) };
        let vars = VarMap::new();
        let sink = VarSink::from_varmap(&vars, DType::F64, &Device::Cpu);
        let theirs = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
        for vb in [sink.builder(), theirs] {
            let error = text(Stack::new(config, vb.pp("a").pp("b")));
            assert!(error.contains("a.b.weight_ih_l0") && error.contains("init"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(sink.named().unwrap().is_empty(), "{cell:?}");
    }
}

#[test]
fn a_candle_layer_on_our_builder_never_draws_without_a_seed() {
    let sink = sink(DType::F32);
    let made = candle_nn::embedding(5, 3, sink.builder().pp("emb"));
    let error = made.expect_err("an error").to_string();
    assert!(error.starts_with("no variable emb.weight: insert it"), "{error}");
    assert!(!error.contains('\n') && sink.named().unwrap().is_empty(), "{error}");
}

#[test]
fn two_layers_under_one_prefix_are_an_error_naming_the_tensor() {
    let sink = sink(DType::F64);
    let rng = &mut init_rng(1);
    let config = StackConfig::new(Cell::Lstm, 3, 4);
    let first = Stack::init(config, Init::Glorot, rng, &sink.pp("lstm")).unwrap();
    let before = sink.named().unwrap();
    let position = rng.position();
    let expected =
        "the variable lstm.weight_ih_l0 exists already: give each layer a prefix of its own";
    assert_eq!(text(Stack::init(config, Init::Glorot, rng, &sink.pp("lstm"))), expected);
    assert_eq!(text(first.to_vars(&sink.pp("lstm"))), expected);
    assert_eq!(rng.position(), position, "nothing was drawn");
    let after = sink.named().unwrap();
    assert!(before.keys().eq(after.keys()), "{:?}", after.keys());
    assert!(before.iter().all(|(name, var)| var.id() == after[name].id()));
    // Of a layer whose last name alone is taken nothing is inserted.
    let vars = VarMap::new();
    let last = Var::zeros(1, DType::F64, &Device::Cpu).unwrap();
    vars.data().lock().unwrap().insert("lstm.bias_hh_l0".into(), last);
    let taken = VarSink::from_varmap(&vars, DType::F64, &Device::Cpu);
    for error in [
        text(Stack::init(config, Init::Glorot, rng, &taken.pp("lstm"))),
        text(first.to_vars(&taken.pp("lstm"))),
    ] {
        assert!(error.starts_with("the variable lstm.bias_hh_l0 exists already"), "{error}");
    }
    assert_eq!(vars.all_vars().len(), 1);
    // The root is a place for a layer too; a prefix with a dot of its own is none.
    let other = common::sink(DType::F64);
    let square = DenseConfig::new(2, 2);
    Dense::init(square, Init::Glorot, rng, &other).unwrap();
    assert!(other.named().unwrap().contains_key("weight"), "found by its builder");
    assert!(
        text(Dense::init(square, Init::Glorot, rng, &other.pp(""))).contains("variable weight ")
    );
    for prefix in ["a.", ".a", "a..b", "."] {
        let error = text(Stack::init(config, Init::Glorot, rng, &other.pp(prefix)));
        assert!(error.contains(&format!("{prefix:?}")), "{error}");
    }
    assert_eq!(other.named().unwrap().len(), 2);
}

#[test]
fn a_classifier_under_taken_names_inserts_nothing() {
    let vars = VarMap::new();
    let sink = VarSink::from_varmap(&vars, DType::F32, &Device::Cpu);
    let rng = &mut init_rng(1);
    Dense::init(DenseConfig::new(4, 10), Init::Glorot, rng, &sink.pp("head")).unwrap();
    let config = ClassifierConfig::new(Cell::Tanh, 3, 4, 10);
    let made = SequenceClassifier::init(&config, Init::Glorot, rng, &sink);
    assert!(text(made).starts_with("the variable head.bias exists already"));
    assert_eq!(vars.all_vars().len(), 2);
}

#[test]
fn weights_that_forward_cannot_use_are_refused_by_new() {
    let config = StackConfig::new(Cell::Gru, 3, 4);
    let rng = &mut init_rng(1);
    for dtype in [DType::F16, DType::BF16] {
        let zeros = |dtype| {
            let tensors = config
                .parameters()
                .into_iter()
                .map(|(name, shape)| (name, Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()));
            tensors.collect::<std::collections::HashMap<_, _>>()
        };
        let vb = |of, to| VarBuilder::from_tensors(zeros(of), to, &Device::Cpu);
        let error = Stack::new(config, vb(dtype, dtype)).unwrap_err();
        assert!(matches!(error, Error::DType { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("weight_ih_l0 must be f32 or f64"), "{error}");
        assert!(error.contains("convert") && error.ends_with(dtype.as_str()), "{error}");
        // What the error advises helps.
        let stack = Stack::new(config, vb(dtype, DType::F32)).unwrap();
        assert!(stack.last(&random(&[1, 2, 3], 1).to_dtype(DType::F32).unwrap()).is_ok());
        let sink = sink(dtype);
        let error = Stack::init(config, Init::Glorot, rng, &sink.pp("gru")).unwrap_err();
        assert!(matches!(error, Error::DType { .. }), "{error}");
        assert!(sink.named().unwrap().is_empty());
    }
    // Of two dtypes, too.
    let mut tensors = std::collections::HashMap::new();
    for (name, shape) in config.parameters() {
        let dtype = if name == "weight_hh_l0" { DType::F64 } else { DType::F32 };
        tensors.insert(name, Var::zeros(shape, dtype, &Device::Cpu).unwrap());
    }
    let vars = VarMap::new();
    vars.data().lock().unwrap().extend(tensors);
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let error = text(Stack::new(config, vb));
    assert!(error.contains("weight_hh_l0") && error.ends_with("got f64"), "{error}");
}

#[test]
fn the_forget_gate_begins_as_it_is_told() {
    let bias = |config: LstmConfig, init: Init| {
        let sink = sink(DType::F64);
        Lstm::init(config, init, &mut init_rng(1), &sink).unwrap();
        let of = |name: &str| values(sink.named().unwrap()[name].as_tensor());
        let (b_ih, b_hh) = (of("bias_ih_l0"), of("bias_hh_l0"));
        (0..16).map(|row| b_ih[row] + b_hh[row]).collect::<Vec<f64>>()
    };
    let config = LstmConfig::new(3, 4);
    let one = [[0.; 4], [1.; 4], [0.; 4], [0.; 4]].concat();
    assert_eq!(bias(config, Init::Glorot), one);
    assert_eq!(bias(config, Init::Identity), [0.; 16]);
    let two = LstmConfig { forget_bias: Some(2.), ..config };
    for init in [Init::Glorot, Init::Orthogonal, Init::Pytorch] {
        assert_eq!(bias(two, init)[4..8], [2.; 4]);
    }
    assert!(bias(config, Init::Pytorch)[4..8].iter().all(|b| b.abs() < 1.));
}

#[test]
fn each_name_is_the_cell_that_it_says() {
    let sink = sink(DType::F32);
    let rng = &mut init_rng(1);
    let relu = RnnConfig { activation: Activation::Relu, ..RnnConfig::new(2, 3) };
    let rnn = Rnn::init(relu, Init::Glorot, rng, &sink.pp("rnn")).unwrap();
    let before = GruConfig { reset: Reset::Before, num_layers: 2, ..GruConfig::new(2, 3) };
    let gru = Gru::init(before, Init::Glorot, rng, &sink.pp("gru")).unwrap();
    let projected = LstmConfig { proj_size: Some(2), bidirectional: true, ..LstmConfig::new(2, 3) };
    let lstm = Lstm::init(projected, Init::Glorot, rng, &sink.pp("lstm")).unwrap();
    assert_eq!(rnn.config().cell, Cell::Relu);
    assert_eq!((gru.config().cell, gru.config().num_layers), (Cell::GruResetBefore, 2));
    assert_eq!((lstm.config().cell, lstm.config().output_size()), (Cell::Lstm, 2));
    let x = Tensor::ones((4, 5, 2), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(lstm.forward(&x).unwrap().outputs.dims(), [4, 5, 4]);
    assert_eq!(lstm.last(&x).unwrap().dims(), [4, 4]);
    let names: Vec<String> = sink.named().unwrap().into_keys().collect();
    assert!(names.contains(&"lstm.weight_hr_l0_reverse".to_string()), "{names:?}");
    assert!(names.contains(&"gru.bias_hh_l1".to_string()), "{names:?}");
    assert!(!names.contains(&"rnn.bias_hh_l0".to_string()), "{names:?}");
}

#[test]
fn what_has_no_meaning_is_refused_in_words() {
    let both = StackConfig { bidirectional: true, ..StackConfig::new(Cell::Lstm, 3, 4) };
    let deep = StackConfig { num_layers: 2, ..StackConfig::new(Cell::Tanh, 3, 4) };
    let x = random(&[2, 5, 3], 8);
    let segments = Truncation::segments(2).unwrap();
    let window = Truncation::window(1, 3).unwrap();
    let truncated =
        |stack: &Stack, truncation| text(stack.forward(Sequences::new(&x).truncated(truncation)));
    assert!(truncated(&stack(both), segments).contains("truncation and bidirectional exclude"));
    assert!(truncated(&stack(deep), window).contains("overlap"));
    assert!(stack(deep).forward(Sequences::new(&x).truncated(segments)).is_ok());
    assert!(text(stack(both).step(&random(&[2, 3], 1), None)).contains("cannot run step by step"));
    assert!(text(stack(deep).forward(Sequences::new(&x).recomputing())).contains("computed again"));
    let lengths =
        |lengths: &[usize]| text(stack(both).forward(Sequences::new(&x).lengths(lengths)));
    assert!(lengths(&[5]).contains("one for each of 2 rows, got 1"));
    assert!(lengths(&[5, 6]).contains("at most 5, the steps of x, got 6"));
    let state = |h: &[usize], c: Option<&[usize]>| {
        let state = State::from_parts(random(h, 1), c.map(|c| random(c, 1)));
        text(stack(both).forward(Sequences::new(&x).initial(&state)))
    };
    assert!(state(&[1, 2, 4], Some(&[2, 2, 4])).contains("h_0"));
    assert!(state(&[2, 2, 4], Some(&[2, 3, 4])).contains("c_0"));
    assert!(state(&[2, 2, 4], None).contains("c_0"));
    let cell = stack(both).cell(0);
    assert!(text(cell.step(&random(&[2, 1, 3], 1), None)).contains("x_t must have shape (B, 3)"));
    let step = |h: &[usize], c: Option<&[usize]>| {
        let state = State::from_parts(random(h, 1), c.map(|c| random(c, 1)));
        text(cell.step(&random(&[2, 3], 1), Some(&state)))
    };
    assert!(step(&[2, 4], Some(&[1, 2, 4])).contains("h_0 must have shape (1, 2, 4)"));
    assert!(step(&[1, 2, 4], None).contains("lstm needs c_0"));
    for (config, named) in [
        (StackConfig { dropout: 0.5, ..StackConfig::new(Cell::Tanh, 3, 4) }, "num_layers"),
        (StackConfig { dropout: 1.5, ..deep }, "dropout"),
        (StackConfig { recurrent_dropout: f64::NAN, ..deep }, "recurrent_dropout"),
        (StackConfig { proj_size: Some(2), ..deep }, "lstm"),
        (StackConfig { proj_size: Some(0), ..both }, "proj_size"),
        (StackConfig { hidden_size: 0, ..deep }, "hidden_size"),
    ] {
        assert!(text(config.check()).contains(named), "{config:?}");
    }
}
