//! The op as its callers meet it: threads, single steps, odd inputs, errors.

use candle_core::{DType, Device, Tensor, Var};

use super::super::{run_layer, step, Call, Outputs};
use super::*;
use crate::nn::Dense;
use crate::recurrence::Truncation;

#[test]
fn the_number_of_threads_changes_no_bit() {
    let size = (151, 9, 28, 150);
    let sequence = rounded(&sequence(size, Cell::Tanh, 5));
    let grad: Vec<f64> = (0..151 * 150).map(|index| (index % 17) as f64 - 8.).collect();
    for isa in Isa::available() {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&sequence, isa, DType::F32, Outputs::Last, &grad, true))
        };
        let (output, grads) = with(1);
        for threads in [2, 3, 4, 7] {
            let (other_output, other) = with(threads);
            assert_eq!(output, other_output, "{threads} threads");
            for (a, b) in [
                (&grads.x, &other.x),
                (&grads.w_ih, &other.w_ih),
                (&grads.w_hh, &other.w_hh),
                (&grads.b_ih, &other.b_ih),
                (&grads.h_0, &other.h_0),
            ] {
                assert_eq!(a, b, "{threads} threads");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_truncated_or_wide() {
    let window = Truncation::window(3, 7).unwrap();
    let ways = [
        ((64, 20, 28, 150), Unroll::new(Outputs::All).truncated(window), DType::F64),
        ((64, 40, 28, 100), Unroll::new(Outputs::Last).recomputing().unwrap(), DType::F32),
        ((40, 2, 20, 520), Unroll::new(Outputs::All), DType::F32),
    ];
    for (size, unroll, dtype) in ways {
        let sequence = sequence(size, Cell::Tanh, 6);
        let outputs = if unroll.outputs() == Outputs::All { size.1 } else { 1 };
        let grad: Vec<f64> =
            (0..size.0 * outputs * size.3).map(|index| (index % 17) as f64 - 8.).collect();
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let isa = Isa::available()[0];
            let (output, grads) = pool.install(|| run(&sequence, isa, dtype, unroll, &grad, true));
            (output, bits(&grads))
        };
        let one = with(1);
        for threads in [2, 3, 5] {
            assert_eq!(with(threads), one, "{size:?} {threads} threads");
        }
    }
}

#[test]
fn weights_changed_before_backward_change_no_gradient() {
    let sequence = sequence((3, 5, 4, 6), Cell::Tanh, 8);
    let gradient = |change: bool| {
        let args = Arguments::new(&sequence, DType::F64);
        let packed = LayerWeights::new(Cell::Tanh, args.weights()).unwrap().pack().unwrap();
        let h = rnn_sequence(args.x.as_tensor(), &packed, None, Outputs::All).unwrap();
        if change {
            for var in &args.weights {
                var.set(&(var.as_detached_tensor() * 2.).unwrap()).unwrap();
            }
        }
        values(h.sum_all().unwrap().backward().unwrap().get(&args.weights[1]).unwrap())
    };
    assert_eq!(gradient(true), gradient(false));
}

#[test]
fn steps_on_a_carried_state_give_the_bits_of_the_whole_sequence() {
    for isa in Isa::available() {
        let sequence = sequence((3, 7, 4, 21), Cell::Tanh, 9);
        let args = Arguments::new(&sequence, DType::F32);
        let packed =
            LayerWeights::new(Cell::Tanh, args.weights().detach()).unwrap().packed_for(isa);
        let x = args.x.as_detached_tensor();
        let all = rnn_sequence(&x, &packed, None, Outputs::All).unwrap();
        let mut state: Option<State> = None;
        for t in 0..7 {
            let x_t = x.narrow(1, t, 1).unwrap().squeeze(1).unwrap();
            let after = step(&x_t, &packed, state.as_ref()).unwrap();
            assert_eq!(
                values(&after.h),
                values(&all.narrow(1, t, 1).unwrap()),
                "{} {t}",
                isa.name()
            );
            state = Some(after);
        }
        let last = rnn_sequence(&x, &packed, None, Outputs::Last).unwrap();
        assert_eq!(values(&last), values(&state.unwrap().h));
    }
}

#[test]
fn inputs_that_are_not_contiguous_are_read_as_what_they_mean() {
    let sequence = sequence((4, 3, 5, 6), Cell::Tanh, 2);
    let args = Arguments::new(&sequence, DType::F64);
    let packed = LayerWeights::new(Cell::Tanh, args.weights()).unwrap().pack().unwrap();
    let expected = rnn_sequence(args.x.as_tensor(), &packed, None, Outputs::All).unwrap();
    let time_major = args.x.transpose(0, 1).unwrap().contiguous().unwrap();
    let view = time_major.transpose(0, 1).unwrap();
    assert!(!view.is_contiguous());
    let found = rnn_sequence(&view, &packed, None, Outputs::All).unwrap();
    assert_eq!(values(&found), values(&expected));
    // One row broadcast over the batch; its gradient is the sum over the rows.
    let row = Var::from_tensor(&args.x.narrow(0, 0, 1).unwrap().contiguous().unwrap()).unwrap();
    let broadcast = row.broadcast_as((4, 3, 5)).unwrap();
    let h_0 =
        Tensor::zeros((1, 6), DType::F64, &Device::Cpu).unwrap().broadcast_as((4, 6)).unwrap();
    let found = rnn_sequence(&broadcast, &packed, Some(&h_0), Outputs::All).unwrap();
    assert_eq!(values(&found)[..18], values(&expected)[..18]);
    assert_eq!(values(&found)[18..36], values(&expected)[..18]);
    let grads = found.sum_all().unwrap().backward().unwrap();
    let one = rnn_sequence(row.as_tensor(), &packed, None, Outputs::All).unwrap();
    let single = one.sum_all().unwrap().backward().unwrap();
    let expected: Vec<f64> = values(single.get(&row).unwrap()).iter().map(|g| 4. * g).collect();
    assert_close("broadcast", &values(grads.get(&row).unwrap()), &expected, 1e-12);
    // Transposed weights.
    let [w_ih, w_hh, b] = &args.weights;
    let transposed = |var: &Var| var.t().unwrap().contiguous().unwrap().t().unwrap();
    let weights = Weights::new(transposed(w_ih), transposed(w_hh), b.as_tensor().clone());
    let packed = LayerWeights::new(Cell::Tanh, weights).unwrap().pack().unwrap();
    let found = rnn_sequence(args.x.as_tensor(), &packed, None, Outputs::All).unwrap();
    assert_eq!(values(&found).len(), 4 * 3 * 6);
    assert_close(
        "transposed",
        &values(&found),
        &values(
            &rnn_sequence(
                args.x.as_tensor(),
                &LayerWeights::new(Cell::Tanh, args.weights()).unwrap().pack().unwrap(),
                None,
                Outputs::All,
            )
            .unwrap(),
        ),
        0.,
    );
}

#[test]
fn a_batch_without_rows_gives_no_rows_and_gradients_of_zero() {
    let sequence = sequence((2, 3, 4, 5), Cell::Tanh, 1);
    let args = Arguments::new(&sequence, DType::F32);
    let packed = LayerWeights::new(Cell::Tanh, args.weights()).unwrap().pack().unwrap();
    let x = Var::from_tensor(&Tensor::zeros((0, 3, 4), DType::F32, &Device::Cpu).unwrap()).unwrap();
    for (read, shape) in [(Outputs::All, vec![0, 3, 5]), (Outputs::Last, vec![0, 5])] {
        let output = rnn_sequence(x.as_tensor(), &packed, None, read).unwrap();
        assert_eq!(output.dims(), shape);
        let grads = output.sum_all().unwrap().backward().unwrap();
        for var in &args.weights {
            assert!(values(grads.get(var).unwrap()).iter().all(|g| *g == 0.));
        }
        assert_eq!(grads.get(&x).unwrap().dims(), [0, 3, 4]);
    }
}

#[test]
fn arguments_that_do_not_fit_are_errors_that_name_them() {
    let sequence = sequence((2, 3, 4, 5), Cell::Tanh, 1);
    let args = Arguments::new(&sequence, DType::F32);
    let packed = LayerWeights::new(Cell::Tanh, args.weights()).unwrap().pack().unwrap();
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let error = |x: &[usize], h_0: Option<&[usize]>, dtype| {
        let h_0 = h_0.map(|shape| zeros(shape, DType::F32));
        rnn_sequence(&zeros(x, dtype), &packed, h_0.as_ref(), Outputs::All).unwrap_err().to_string()
    };
    let f32 = DType::F32;
    assert!(error(&[2, 0, 4], None, f32).contains("x must have shape (B, T, 4) with T at least 1"));
    assert!(error(&[2, 3, 5], None, f32).contains("got [2, 3, 5]"));
    assert!(error(&[2, 12], None, f32).contains("x must"));
    assert!(error(&[2, 3, 4], Some(&[2, 4]), f32).contains("h_0 must have shape (1, 2, 5)"));
    assert!(error(&[2, 3, 4], None, DType::F64).contains("got f64"));
    assert!(error(&[2, 3, 4], None, DType::U32).contains("got u32"));
    let x_t = zeros(&[2, 3, 4], f32);
    assert!(step(&x_t, &packed, None).unwrap_err().to_string().contains("x_t"));
    for (wrong, name) in [(0, "w_ih"), (1, "w_hh"), (2, "b_ih must")] {
        let mut tensors = args.weights.clone().map(|var| var.as_tensor().clone());
        tensors[wrong] = zeros(&[7], f32);
        let [w_ih, w_hh, b] = tensors;
        let error =
            LayerWeights::new(Cell::Tanh, Weights::new(w_ih, w_hh, b)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let half = args.weights.clone().map(|var| var.to_dtype(DType::F16).unwrap());
    let [w_ih, w_hh, b] = half;
    let error = LayerWeights::new(Cell::Tanh, Weights::new(w_ih, w_hh, b)).unwrap_err().to_string();
    assert!(error.contains("f16"), "{error}");
}

#[test]
fn masks_and_directions_that_do_not_fit_are_named_errors() {
    let of = |size| Arguments::new(&sequence(size, Cell::Gru, 1), DType::F32).weights();
    let (weights, wider) = (of((1, 1, 4, 5)), of((1, 1, 4, 6)));
    let error = LayerWeights::bidirectional(Cell::Gru, weights.clone(), wider.clone())
        .unwrap_err()
        .to_string();
    assert!(error.contains("directions of a layer differ"), "{error}");
    let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu).unwrap();
    let mask = Tensor::zeros((1, 3, 5), DType::F32, &Device::Cpu).unwrap();
    let call = Call { mask: Some(&mask), ..Call::new(Outputs::All) };
    let packed = LayerWeights::new(Cell::Gru, weights.clone()).unwrap().pack().unwrap();
    let fused = run_layer(&x, &packed, &call).unwrap_err().to_string();
    let unrolled_error = |directions: &[&Weights]| {
        composed_layer(&x, Cell::Gru, directions, &call).unwrap_err().to_string()
    };
    for error in [fused, unrolled_error(&[&weights])] {
        assert!(error.contains("mask must have shape [1, 2, 5], got [1, 3, 5]"), "{error}");
    }
    assert!(unrolled_error(&[]).contains("1 or 2 directions, got 0"));
    assert!(unrolled_error(&[&weights, &wider]).contains("differ"));
}

#[test]
fn weights_packed_once_get_the_gradients_of_all_calls() {
    let sequence = sequence((2, 3, 4, 5), Cell::Tanh, 12);
    let args = Arguments::new(&sequence, DType::F64);
    let packed = LayerWeights::new(Cell::Tanh, args.weights()).unwrap().pack().unwrap();
    let run = |scale: f64| {
        let x = (args.x.as_tensor() * scale).unwrap();
        rnn_sequence(&x, &packed, None, Outputs::Last).unwrap().sum_all().unwrap()
    };
    let grad = |loss: &Tensor| values(loss.backward().unwrap().get(&args.weights[0]).unwrap());
    let (one, two) = (run(1.), run(-0.5));
    let apart: Vec<f64> = grad(&one).iter().zip(grad(&two)).map(|(a, b)| a + b).collect();
    let together = (&one + &two).unwrap();
    assert_close("both", &grad(&together), &apart, 1e-14);
    assert_eq!(grad(&together), grad(&together));
}

#[test]
fn final_states_get_gradients_of_their_backward_pass_alone() {
    let sequence = sequence((2, 3, 4, 5), Cell::Gru, 12);
    let args = Arguments::new(&sequence, DType::F64);
    let packed = LayerWeights::new(Cell::Gru, args.weights()).unwrap().pack().unwrap();
    let call = Call::new(Outputs::All);
    let (outputs, state) = run_layer(args.x.as_tensor(), &packed, &call).unwrap();
    let of_outputs = outputs.unwrap().sum_all().unwrap();
    let of_state = state.h.sum_all().unwrap();
    let grad = |loss: &Tensor| values(loss.backward().unwrap().get(&args.x).unwrap());
    let alone = grad(&of_outputs);
    let both = grad(&(&of_outputs + &of_state).unwrap());
    // What the pass before left behind would show.
    assert_eq!(grad(&of_outputs), alone);
    let sum: Vec<f64> = alone.iter().zip(grad(&of_state)).map(|(a, b)| a + b).collect();
    assert_close("both", &both, &sum, 1e-14);
}

#[test]
fn only_the_gradients_that_something_needs_are_there() {
    let sequence = sequence((2, 3, 4, 5), Cell::Tanh, 1);
    let args = Arguments::new(&sequence, DType::F32);
    let packed = LayerWeights::new(Cell::Tanh, args.weights()).unwrap().pack().unwrap();
    let x = args.x.as_detached_tensor();
    let h = rnn_sequence(&x, &packed, None, Outputs::Last).unwrap();
    let grads = h.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_none() && grads.get(args.weights[0].as_tensor()).is_some());
    // Frozen weights: the gradient of the inputs alone.
    let packed = LayerWeights::new(Cell::Tanh, args.weights().detach()).unwrap().pack().unwrap();
    let h = rnn_sequence(args.x.as_tensor(), &packed, None, Outputs::Last).unwrap();
    let grads = h.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(args.weights[0].as_tensor()).is_none());
    let frozen = values(grads.get(&args.x).unwrap());
    let all = run(&sequence, Isa::available()[0], DType::F32, Outputs::Last, &[1.; 10], false).1.x;
    assert_eq!(frozen, all);
}

#[test]
fn nan_in_the_inputs_or_weights_reaches_the_output() {
    for isa in Isa::available() {
        for cell in [Cell::Tanh, Cell::Relu] {
            for dtype in [DType::F32, DType::F64] {
                let mut sequence = sequence((2, 3, 4, 19), cell, 1);
                sequence.x[4] = f64::NAN;
                let args = Arguments::new(&sequence, dtype);
                let packed = LayerWeights::new(cell, args.weights()).unwrap().packed_for(isa);
                let h = rnn_sequence(args.x.as_tensor(), &packed, None, Outputs::All).unwrap();
                let h = values(&h);
                // Row 0, from step 1 on; row 1 has nothing to do with it.
                assert!(h[..19].iter().all(|h| h.is_finite()), "{}", isa.name());
                assert!(h[19..57].iter().all(|h| h.is_nan()), "{} {cell:?} {dtype:?}", isa.name());
                assert!(h[57..].iter().all(|h| h.is_finite()), "{}", isa.name());
            }
        }
    }
}

#[test]
fn a_dense_layer_gives_the_values_and_gradients_of_candles() {
    for (rows, inputs, classes) in [(1, 1, 1), (7, 150, 10), (33, 16, 17), (300, 150, 10)] {
        let mut rng = SeededRng::new(31, Purpose::Init);
        let mut var = |shape: &[usize]| {
            let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.symmetric(1.)).collect();
            Var::from_tensor(&Tensor::from_slice(&values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        let vars = [var(&[rows, inputs]), var(&[classes, inputs]), var(&[classes])];
        let [x, weight, bias] = &vars;
        let of = |var: &Var| var.as_tensor().clone();
        let found = Dense::of_weights(of(weight), Some(of(bias))).unwrap();
        let found = found.forward_fused(x.as_tensor()).unwrap();
        let linear =
            candle_nn::Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
        let expected = candle_nn::Module::forward(&linear, x.as_tensor()).unwrap();
        assert_eq!(found.dims(), expected.dims());
        assert_close("dense", &values(&found), &values(&expected), 1e-12);
        let grads = |y: &Tensor| y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let (found, expected) = (grads(&found), grads(&expected));
        for (index, var) in vars.iter().enumerate() {
            let of = |grads: &candle_core::backprop::GradStore| values(grads.get(var).unwrap());
            assert_close(&format!("gradient {index}"), &of(&found), &of(&expected), 1e-12);
        }
    }
    let tensor = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let dense = |x: &[usize], weight: &[usize], bias: &[usize]| {
        Dense::of_weights(tensor(weight), Some(tensor(bias)))?.forward_fused(&tensor(x))
    };
    let steps = dense(&[2, 3, 4], &[5, 4], &[5]).unwrap();
    assert_eq!(steps.dims(), [2, 3, 5]);
    let error = |x: &[usize], weight: &[usize], bias: &[usize]| {
        dense(x, weight, bias).unwrap_err().to_string()
    };
    assert!(error(&[2, 3], &[5, 4], &[5]).contains("x must have shape (.., 4)"));
    assert!(error(&[2, 4], &[5, 4], &[1, 5]).contains("bias must have shape (5,)"));
    assert_eq!(dense(&[2, 4], &[2000, 4], &[2000]).unwrap().dims(), [2, 2000]);
}
