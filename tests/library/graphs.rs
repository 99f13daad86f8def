//! Gradients belong to the graph that made them: shared weights, threads, passes that fail, long graphs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::common;
use crate::common::values;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};
use candle_rnn::nn::{Init, Sequences, Stack, StackConfig};
use candle_rnn::recurrence::{run_layer, Call, Cell, LayerWeights, Outputs, State, Weights};
use candle_rnn::VarSink;

/// Numbers in ±0.5 of an arithmetic sequence.
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> =
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009. - 0.5).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn vars(cell: Cell, inputs: usize, hidden: usize) -> [Var; 3] {
    let rows = cell.gates() * hidden;
    [(vec![rows, inputs], 1), (vec![rows, hidden], 2), (vec![rows], 3)]
        .map(|(shape, seed)| Var::from_tensor(&numbers(&shape, seed)).unwrap())
}

fn weights([w_ih, w_hh, b_ih]: &[Var; 3], cell: Cell) -> Weights {
    let [w_ih, w_hh, b_ih] = [w_ih, w_hh, b_ih].map(|var| var.as_tensor().clone());
    let b_hh = cell.has_two_biases().then(|| b_ih.clone());
    Weights { b_hh, ..Weights::new(w_ih, w_hh, b_ih) }
}

/// The weights, packed once for several calls.
fn packed(vars: &[Var; 3], cell: Cell) -> LayerWeights {
    LayerWeights::new(cell, weights(vars, cell)).unwrap().pack().unwrap()
}

/// The gradients of a graph of `calls` calls over shared weights, or the error of its backward pass.
fn pass(
    packed: &LayerWeights,
    vars: &[Var; 3],
    calls: usize,
    seed: usize,
) -> Result<Vec<f64>, String> {
    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    for call in 0..calls {
        let x = numbers(&[8, 30, 6], seed * 3 + call);
        let h = run_layer(&x, packed, &Call::new(Outputs::All)).unwrap().0.unwrap();
        loss = (loss + h.sqr().unwrap().sum_all().unwrap()).unwrap();
    }
    let store = loss.backward().map_err(|error| error.to_string())?;
    Ok(vars.iter().flat_map(|var| values(store.get(var).unwrap())).collect())
}

#[test]
fn threads_that_share_packed_weights_get_their_own_gradients() {
    let vars = vars(Cell::Tanh, 6, 40);
    let packed = packed(&vars, Cell::Tanh);
    let expected: Vec<_> =
        (0..12).map(|seed| pass(&packed, &vars, 1 + seed % 3, seed).unwrap()).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (packed, vars, expected) = (&packed, &vars, &expected);
            scope.spawn(move || {
                for round in 0..40 {
                    let seed = (thread * 5 + round) % expected.len();
                    let found = pass(packed, vars, 1 + seed % 3, seed).unwrap();
                    assert_eq!(found, expected[seed], "thread {thread} round {round}");
                }
            });
        }
    });
}

#[test]
fn tasks_of_one_pool_are_right_or_refused() {
    use rayon::prelude::*;
    // A thread that waits within a kernel takes another task, and its whole backward pass.
    let vars = vars(Cell::Tanh, 6, 40);
    let packed = packed(&vars, Cell::Tanh);
    let expected: Vec<_> =
        (0..12).map(|seed| pass(&packed, &vars, 1 + seed % 3, seed).unwrap()).collect();
    let one = |task: usize| {
        let seed = task % expected.len();
        match pass(&packed, &vars, 1 + seed % 3, seed) {
            Ok(found) => {
                assert_eq!(found, expected[seed], "task {task}");
                1
            }
            Err(error) => {
                assert!(error.contains("run backward again"), "{error}");
                0
            }
        }
    };
    // Other tests have tasks in the usual pool.
    let pool = rayon::ThreadPoolBuilder::new().build().unwrap();
    let right: usize = pool.install(|| (0..200usize).into_par_iter().map(one).sum());
    println!("{right} of 200 tasks are right, the others are refused");
    assert!(right >= 150, "{right} of 200");
}

#[test]
fn tasks_of_one_pool_step_one_stack() {
    use rayon::prelude::*;
    // Large enough that packing is given to several threads.
    let config = StackConfig::new(Cell::Lstm, 256, 256);
    let (stack, sink) = common::stack(config, Init::Glorot, 1, DType::F32, "rnn");
    let x_t = numbers(&[2, 256], 5).to_dtype(DType::F32).unwrap();
    for _ in 0..3 {
        for var in sink.named().unwrap().values() {
            var.set(&(var.as_detached_tensor() * 1.1).unwrap()).unwrap();
        }
        let expected = values(&stack.freeze().unwrap().step(&x_t, None).unwrap().0);
        (0..16usize).into_par_iter().for_each(|_| {
            assert_eq!(values(&stack.step(&x_t, None).unwrap().0), expected);
        });
    }
}

/// Hands its argument through; its backward fails while the switch is on.
struct Fails(Arc<AtomicBool>);

impl CustomOp1 for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (start, end) = layout.contiguous_offsets().unwrap();
        let x = x.as_slice::<f64>()?[start..end].to_vec();
        Ok((CpuStorage::F64(x), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if self.0.load(Ordering::Relaxed) {
            candle_core::bail!("this backward fails");
        }
        Ok(Some(grad.clone()))
    }
}

#[test]
fn a_failed_pass_leaves_no_gradient_of_the_final_states() {
    for cell in Cell::ALL {
        let vars = vars(cell, 3, 5);
        let packed = packed(&vars, cell);
        let x = numbers(&[2, 4, 3], 4);
        let fails = Arc::new(AtomicBool::new(true));
        let run = || {
            let (outputs, state) = run_layer(&x, &packed, &Call::new(Outputs::All)).unwrap();
            (outputs.unwrap(), state)
        };
        let grads = |loss: &Tensor| -> Vec<f64> {
            let store = loss.backward().unwrap();
            vars.iter().flat_map(|var| values(store.get(var).unwrap())).collect()
        };
        let of_outputs = |outputs: &Tensor| outputs.sqr().unwrap().sum_all().unwrap();
        let of_state = |state: &State| {
            let c = state.c.as_ref().map_or_else(|| state.h.clone(), Clone::clone);
            (state.h.sqr().unwrap() + c.sqr().unwrap()).unwrap().sum_all().unwrap()
        };
        let (outputs, state) = run();
        let expected = [
            grads(&of_outputs(&outputs)),
            grads(&of_state(&state)),
            grads(&(of_outputs(&outputs) + of_state(&state)).unwrap()),
        ];
        for first_is_state in [false, true] {
            let (outputs, state) = run();
            let failing = outputs.apply_op1(Fails(fails.clone())).unwrap();
            let failing_h = state.h.apply_op1(Fails(fails.clone())).unwrap();
            let (a, b) = (of_outputs(&outputs), of_state(&state));
            for failing in [failing.sum_all().unwrap(), failing_h.sum_all().unwrap()] {
                let both = (&a + &b).unwrap();
                let loss = if first_is_state {
                    (both + failing).unwrap()
                } else {
                    (failing + both).unwrap()
                };
                assert!(loss.backward().is_err());
                assert_eq!(grads(&a), expected[0], "{} outputs", cell.name());
                assert!(loss.backward().is_err());
                assert_eq!(grads(&b), expected[1], "{} state", cell.name());
                assert!(loss.backward().is_err());
                assert_eq!(grads(&(&a + &b).unwrap()), expected[2], "{} both", cell.name());
            }
        }
    }
}

#[test]
fn a_failed_pass_leaves_no_gradient_of_the_weights() {
    let vars = vars(Cell::Gru, 3, 5);
    let packed = packed(&vars, Cell::Gru);
    let fails = Arc::new(AtomicBool::new(true));
    let run = |x: &Tensor| run_layer(x, &packed, &Call::new(Outputs::Last)).unwrap().1.h;
    let grads = |loss: &Tensor| -> candle_core::Result<Vec<f64>> {
        let store = loss.backward()?;
        Ok(vars.iter().flat_map(|var| values(store.get(var).unwrap())).collect())
    };
    let input = Var::from_tensor(&numbers(&[2, 4, 3], 4)).unwrap();
    // Two calls, so that one has been where the other's input fails.
    let loss = |switch: &Arc<AtomicBool>| {
        let x = input.apply_op1(Fails(switch.clone())).unwrap();
        (run(&x).sum_all().unwrap() + run(&numbers(&[2, 4, 3], 5)).sum_all().unwrap()).unwrap()
    };
    let never = Arc::new(AtomicBool::new(false));
    let expected = grads(&loss(&never)).unwrap();
    let failing = loss(&fails);
    for _ in 0..3 {
        assert!(grads(&failing).is_err());
    }
    // The same graph is right at once.
    fails.store(false, Ordering::Relaxed);
    assert_eq!(grads(&failing).unwrap(), expected);
    // Another graph over the same weights is right, or refused and right the next time.
    fails.store(true, Ordering::Relaxed);
    assert!(grads(&failing).is_err());
    let other = loss(&never);
    let found = grads(&other).or_else(|error| {
        assert!(error.to_string().contains("run backward again"), "{error}");
        grads(&other)
    });
    assert_eq!(found.unwrap(), expected);
}

fn stack(cell: Cell, num_layers: usize) -> (Stack, VarSink) {
    let config = StackConfig { num_layers, ..StackConfig::new(cell, 3, 6) };
    common::stack(config, Init::Orthogonal, 1, DType::F32, "rnn")
}

#[test]
fn steps_follow_every_change_of_the_weights() {
    for cell in Cell::ALL {
        let (stack, sink) = stack(cell, 2);
        let followers = [stack.clone(), stack.detach()];
        let x_t = numbers(&[2, 3], 5).to_dtype(DType::F32).unwrap();
        for change in 0..4 {
            for (name, var) in sink.named().unwrap() {
                let changed = match change {
                    0 => continue,
                    // One number alone, and back again.
                    1 | 2 if name != "rnn.weight_hh_l1" => continue,
                    1 | 2 => {
                        let mut numbers = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                        numbers[5] = -numbers[5];
                        Tensor::from_vec(numbers, var.dims(), &Device::Cpu).unwrap()
                    }
                    _ => (var.as_detached_tensor() * 1.5).unwrap(),
                };
                var.set(&changed).unwrap();
            }
            let expected = stack.freeze().unwrap();
            let text = |stack: &Stack| {
                let (_, state) = stack.step(&x_t, None).unwrap();
                let (output, state) = stack.step(&x_t, Some(&state)).unwrap();
                [values(&output), values(&state.h)].concat()
            };
            for follower in &followers {
                assert_eq!(text(follower), text(&expected), "{} {change}", cell.name());
            }
        }
    }
}

#[test]
fn steps_have_the_gradients_of_one_call() {
    for cell in Cell::ALL {
        let (stack, sink) = stack(cell, 2);
        let x = numbers(&[2, 9, 3], 5).to_dtype(DType::F32).unwrap();
        let named = sink.named().unwrap();
        let grads = |loss: &Tensor| -> Vec<f64> {
            let store = loss.backward().unwrap();
            named.values().flat_map(|var| values(store.get(var).unwrap())).collect()
        };
        let expected = grads(&stack.forward(&x).unwrap().outputs.sqr().unwrap().sum_all().unwrap());
        let steps = || {
            let (mut loss, mut state) = (Tensor::new(0f32, &Device::Cpu).unwrap(), None);
            for t in 0..9 {
                let x_t = x.narrow(1, t, 1).unwrap().squeeze(1).unwrap();
                let (output, after) = stack.step(&x_t, state.as_ref()).unwrap();
                loss = (loss + output.sqr().unwrap().sum_all().unwrap()).unwrap();
                state = Some(after);
            }
            loss
        };
        // Twice over the same packed weights.
        for _ in 0..2 {
            let found = grads(&steps());
            let largest = expected.iter().fold(0f64, |max, grad| max.max(grad.abs()));
            for (a, b) in found.iter().zip(&expected) {
                let diff = (a - b).abs();
                assert!(diff <= 1e-5 * largest, "{}: {a} instead of {b}", cell.name());
            }
        }
    }
}

#[test]
fn a_graph_of_too_many_steps_is_refused_in_time() {
    // A thread's usual stack: what is allowed must be gone through and freed on it.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let run = || {
        for (cell, num_layers) in [(Cell::Tanh, 1), (Cell::Lstm, 1), (Cell::Lstm, 3)] {
            let (stack, sink) = stack(cell, num_layers);
            let x_t = numbers(&[1, 3], 5).to_dtype(DType::F32).unwrap();
            let mut state: Option<State> = None;
            let mut steps = 0;
            let error = loop {
                match stack.step(&x_t, state.as_ref()) {
                    Ok((_, after)) => state = Some(after),
                    Err(error) => break error.to_string(),
                }
                steps += 1;
                assert!(steps < 100_000, "no step was refused");
            };
            assert!(error.contains("detach"), "{error}");
            assert_eq!(steps, State::MAX_CALLS);
            let state = state.unwrap();
            let store = state.h.sum_all().unwrap().backward().unwrap();
            assert!(store.get(&sink.named().unwrap()["rnn.weight_hh_l0"]).is_some());
            let sequences = numbers(&[1, 2, 3], 5).to_dtype(DType::F32).unwrap();
            let error = stack.forward(Sequences::new(&sequences).initial(&state)).unwrap_err();
            assert!(error.to_string().contains("detach"), "{error}");
            // Without the graph there is no end.
            let mut state = state.detach();
            for _ in 0..3 * State::MAX_CALLS {
                state = stack.step(&x_t, Some(&state)).unwrap().1.detach();
            }
            let mut state = state;
            let frozen = stack.freeze().unwrap();
            for _ in 0..3 * State::MAX_CALLS {
                state = frozen.step(&x_t, Some(&state)).unwrap().1;
            }
        }
    };
    thread.spawn(run).unwrap().join().unwrap();
}
