//! Truncation inside the reverse sweep, and states that are computed again.

use super::super::Outputs;
use super::*;
use crate::recurrence::Truncation;

/// Every form, of a sequence of `t` steps, at the edges of what it can be.
fn truncations(t: usize) -> Vec<Truncation> {
    let mut forms = vec![Truncation::FULL];
    for k in [1, 2, 3, 5, t - 1, t, t + 1] {
        forms.push(Truncation::segments(k).unwrap());
        for k2 in [k, k + 1, 2 * k, 3 * k + 1, t, t + 1] {
            if k2 >= k {
                forms.push(Truncation::window(k, k2).unwrap());
            }
        }
    }
    forms
}

#[test]
fn truncated_gradients_are_the_sum_over_single_windows() {
    for isa in Isa::available() {
        for size in [(3, 12, 4, 7), (1, 13, 2, 17), (27, 8, 3, 5)] {
            let (b, t, _, h) = size;
            let sequence = sequence(size, Cell::Tanh, 21);
            let grad: Vec<f64> =
                (0..b * t * h).map(|index| (index % 13) as f64 / 6. - 1.).collect();
            for truncation in truncations(t) {
                let unroll = Unroll::new(Outputs::All).truncated(truncation);
                let (output, found) = run(&sequence, isa, DType::F64, unroll, &grad, true);
                let what = format!("{} {size:?} {truncation:?}", isa.name());
                assert_close(&what, &output, &sequence.forward().outputs, 1e-12);
                let (full, _) = run(&sequence, isa, DType::F64, Outputs::All, &grad, true);
                assert_eq!(output, full, "{what}: values do not depend on the form");
                let of_states = of_outputs(&sequence, grad.clone());
                assert_gradients(&what, &found, &sequence.backward(&of_states, truncation), 1e-12);
            }
        }
    }
}

#[test]
fn truncation_longer_than_the_sequence_is_full_bptt_bit_for_bit() {
    for isa in Isa::available() {
        for dtype in [DType::F32, DType::F64] {
            let sequence = sequence((26, 12, 4, 18), Cell::Tanh, 22);
            let grad: Vec<f64> = (0..26 * 12 * 18).map(|index| (index % 13) as f64 - 6.).collect();
            let with = |truncation| {
                let unroll = Unroll::new(Outputs::All).truncated(truncation);
                run(&sequence, isa, dtype, unroll, &grad, true)
            };
            let (output, full) = with(Truncation::FULL);
            for truncation in [
                Truncation::segments(12),
                Truncation::segments(13),
                Truncation::segments(usize::MAX),
                Truncation::window(12, 12),
                Truncation::window(13, 40),
                Truncation::window(usize::MAX, usize::MAX),
            ] {
                let truncation = truncation.unwrap();
                let (other_output, other) = with(truncation);
                assert_eq!(output, other_output);
                assert_eq!(bits(&full), bits(&other), "{truncation:?}");
            }
            // And one that is shorter changes gradients, but no value.
            let (other_output, other) = with(Truncation::segments(11).unwrap());
            assert_eq!(output, other_output);
            assert_ne!(bits(&full), bits(&other));
        }
    }
}

/// The first of the steps, from 1, that a loss at step `s` reaches, as section by section of
/// docs/bptt.md defines it.
fn horizon(form: (&str, usize, usize), s: usize, t: usize) -> usize {
    match form {
        ("segments", k, _) => (s - 1) / k * k + 1,
        ("window", k1, k2) => {
            let end = s.div_ceil(k1).saturating_mul(k1).min(t);
            end.saturating_sub(k2) + 1
        }
        _ => 1,
    }
}

type Form = (&'static str, usize, usize);

/// The forms whose horizons are tested, for sequences of `t` steps.
fn forms(t: usize) -> Vec<Form> {
    let mut forms = vec![("full", 0, 0)];
    for k in [1, 3, 5, t - 1, t, t + 1] {
        forms.push(("segments", k, 0));
        forms.extend([k, k + 2, 2 * k].map(|k2| ("window", k, k2)));
    }
    forms
}

fn truncation_of(form: Form) -> Truncation {
    match form {
        ("segments", k, _) => Truncation::segments(k).unwrap(),
        ("window", k1, k2) => Truncation::window(k1, k2).unwrap(),
        _ => Truncation::FULL,
    }
}

#[test]
fn a_loss_at_one_step_reaches_back_to_its_horizon_exactly() {
    const T: usize = 12;
    let (b, i, h) = (2, 3, 6);
    let sequence = sequence((b, T, i, h), Cell::Tanh, 23);
    for isa in Isa::available() {
        for form in forms(T) {
            let truncation = truncation_of(form);
            for s in 1..=T {
                let grad: Vec<f64> = (0..b * T * h)
                    .map(|index| f64::from(u8::from(index / h % T == s - 1)))
                    .collect();
                let unroll = Unroll::new(Outputs::All).truncated(truncation);
                let (_, found) = run(&sequence, isa, DType::F64, unroll, &grad, true);
                let e = horizon(form, s, T);
                let what = format!("{} {form:?}, a loss at step {s}, e = {e}", isa.name());
                for (index, grad) in found.x.iter().enumerate() {
                    let step = index / i % T + 1;
                    if (e..=s).contains(&step) {
                        assert!(grad.is_finite() && *grad != 0., "{what}: {grad} at step {step}");
                    } else {
                        assert!(*grad == 0., "{what}: {grad} at step {step}");
                    }
                }
                let reaches_h_0 = e == 1;
                for grad in &found.h_0 {
                    let right =
                        if reaches_h_0 { grad.is_finite() && *grad != 0. } else { *grad == 0. };
                    assert!(right, "{what}: {grad} at h_0");
                }
            }
        }
    }
}

#[test]
fn each_steps_part_of_the_weight_gradient_stops_at_the_horizon() {
    // The inputs of one step are zero but for one: only that step can move the weights of its
    // input. With an input that is 1 at step t alone, column t of w_ih is step t's own copy.
    const T: usize = 10;
    let h = 5;
    let mut sequence = sequence((1, T, T, h), Cell::Tanh, 24);
    sequence.x = (0..T * T).map(|index| f64::from(u8::from(index / T == index % T))).collect();
    for isa in Isa::available() {
        for form in forms(T) {
            let truncation = truncation_of(form);
            for s in 1..=T {
                let e = horizon(form, s, T);
                let grad: Vec<f64> =
                    (0..T * h).map(|index| f64::from(u8::from(index / h == s - 1))).collect();
                let unroll = Unroll::new(Outputs::All).truncated(truncation);
                let (_, found) = run(&sequence, isa, DType::F64, unroll, &grad, false);
                for (index, grad) in found.w_ih.iter().enumerate() {
                    let step = index % T + 1;
                    let reached = (e..=s).contains(&step);
                    let right = if reached { grad.is_finite() && *grad != 0. } else { *grad == 0. };
                    assert!(right, "{form:?}, a loss at step {s}: {grad} at step {step}");
                }
            }
        }
    }
}

#[test]
fn states_computed_again_give_the_bits_of_states_that_were_kept() {
    // Sizes with one block of steps and with many, and truncation inside a block.
    for isa in Isa::available() {
        for size in [(3, 9, 4, 6), (2, 1, 3, 5), (130, 101, 2, 33), (5, 700, 1, 9)] {
            let (b, t, _, h) = size;
            let sequence = sequence(size, Cell::Tanh, 25);
            let grad: Vec<f64> = (0..b * h).map(|index| (index % 7) as f64 - 3.).collect();
            let truncations = [
                Truncation::FULL,
                Truncation::segments(7).unwrap(),
                Truncation::window(3, t.max(3)).unwrap(),
                Truncation::window(1, 60).unwrap(),
            ];
            for truncation in truncations {
                for with_h_0 in [true, false] {
                    let kept = Unroll::new(Outputs::Last).truncated(truncation);
                    let again = kept.recomputing().unwrap();
                    let (output, expected) = run(&sequence, isa, DType::F32, kept, &grad, with_h_0);
                    let (found_output, found) =
                        run(&sequence, isa, DType::F32, again, &grad, with_h_0);
                    assert_eq!(output, found_output);
                    let what = format!("{} {size:?} {truncation:?} {with_h_0}", isa.name());
                    assert_eq!(bits(&found), bits(&expected), "{what}");
                }
            }
        }
    }
    assert!(Unroll::new(Outputs::All).recomputing().is_err());
}

#[test]
fn full_gradients_are_those_of_real_time_recurrent_learning() {
    // Forward mode: ∂h_t/∂W_hh[i][j] is carried along with the state.
    let (t, i, h) = (6, 2, 4);
    let sequence = sequence((1, t, i, h), Cell::Tanh, 26);
    let states = sequence.forward().outputs;
    let grad: Vec<f64> = (0..t * h).map(|index| (index % 5) as f64 - 2.).collect();
    let mut sensitivity = vec![0.; h * h * h];
    let mut expected = vec![0.; h * h];
    for step in 0..t {
        let before: &[f64] = if step == 0 { &sequence.h_0 } else { &states[(step - 1) * h..][..h] };
        let mut next = vec![0.; h * h * h];
        for unit in 0..h {
            let slope = 1. - states[step * h + unit].powi(2);
            for weight in 0..h * h {
                let mut sum = if weight / h == unit { before[weight % h] } else { 0. };
                for k in 0..h {
                    sum += sequence.w_hh[unit * h + k] * sensitivity[k * h * h + weight];
                }
                next[unit * h * h + weight] = slope * sum;
                expected[weight] += grad[step * h + unit] * slope * sum;
            }
        }
        sensitivity = next;
    }
    let (_, found) = run(&sequence, Isa::available()[0], DType::F64, Outputs::All, &grad, true);
    assert_close("rtrl", &found.w_hh, &expected, 1e-10);
}

#[test]
fn shared_gradients_are_the_sum_over_untied_copies() {
    let (t, i, h) = (5, 3, 4);
    let sequence = sequence((2, t, i, h), Cell::Tanh, 27);
    let args = Arguments::new(&sequence, DType::F64);
    let copies: Vec<[Var; 3]> = (0..t)
        .map(|_| args.weights.each_ref().map(|var| Var::from_tensor(&var.copy().unwrap()).unwrap()))
        .collect();
    let mut state = args.h_0.as_tensor().clone();
    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    for (step, [w_ih, w_hh, b]) in copies.iter().enumerate() {
        let weights =
            Weights::new(w_ih.as_tensor().clone(), w_hh.as_tensor().clone(), b.as_tensor().clone());
        let x_t = args.x.narrow(1, step, 1).unwrap().squeeze(1).unwrap();
        state =
            super::super::composed::step(&x_t, Cell::Tanh, &weights, Some(&state), None).unwrap().0;
        loss = (loss + state.sum_all().unwrap()).unwrap();
    }
    let grads = loss.backward().unwrap();
    let sum = |which: usize| -> Vec<f64> {
        let of = |copy: &[Var; 3]| values(grads.get(&copy[which]).unwrap());
        copies.iter().map(of).reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect()).unwrap()
    };
    let (_, found) =
        run(&sequence, Isa::available()[0], DType::F64, Outputs::All, &[1.; 2 * 5 * 4], true);
    assert_close("w_ih", &found.w_ih, &sum(0), 1e-12);
    assert_close("w_hh", &found.w_hh, &sum(1), 1e-12);
    assert_close("b", &found.b_ih, &sum(2), 1e-12);
}

#[test]
fn the_scalar_case_gives_0_108_0_072_and_0_036() {
    // x_{t+1} = w x_t with w = 0.2 and x_0 = 0.9: all is positive, where relu is the identity.
    let sequence = Sequence {
        x: vec![0.; 3],
        w_ih: vec![0.],
        w_hh: vec![0.2],
        b_ih: vec![0.],
        h_0: vec![0.9],
        ..sequence((1, 3, 1, 1), Cell::Relu, 1)
    };
    for isa in Isa::available() {
        for (truncation, expected) in [
            (Truncation::FULL, 0.108),
            (Truncation::window(1, 2).unwrap(), 0.072),
            (Truncation::segments(1).unwrap(), 0.036),
        ] {
            let unroll = Unroll::new(Outputs::Last).truncated(truncation);
            let (_, found) = run(&sequence, isa, DType::F64, unroll, &[1.], true);
            assert!((found.w_hh[0] - expected).abs() <= 1e-15, "{truncation:?}: {}", found.w_hh[0]);
        }
    }
}

/// The gradient by the inputs of a loss at step `s`, from 1, of two layers on top of each other.
fn stacked_grad_x(layers: [&Sequence; 2], truncation: Truncation, s: usize) -> Vec<f64> {
    let [lower, upper] = layers.map(|layer| Arguments::new(layer, DType::F64));
    let [packed_lower, packed_upper] = [&lower, &upper]
        .map(|layer| LayerWeights::new(Cell::Tanh, layer.weights()).unwrap().pack().unwrap());
    let stack = |x: &Tensor, h_0: [&Tensor; 2], truncation: Truncation| -> [Tensor; 2] {
        let unroll = Unroll::new(Outputs::All).truncated(truncation);
        let h = rnn_sequence(x, &packed_lower, Some(h_0[0]), unroll).unwrap();
        let top = rnn_sequence(&h, &packed_upper, Some(h_0[1]), unroll).unwrap();
        [h, top]
    };
    let loss_at = |top: &Tensor, step: usize| top.narrow(1, step, 1).unwrap().sum_all().unwrap();
    let (x, h_0) = (&lower.x, [lower.h_0.as_tensor(), upper.h_0.as_tensor()]);
    let whole = stack(x.as_tensor(), h_0, truncation);
    let windows = truncation.windows(x.dim(1).unwrap());
    let overlap = windows.windows(2).any(|pair| pair[1].start < pair[0].end);
    if !overlap {
        return values(loss_at(&whole[1], s - 1).backward().unwrap().get(x).unwrap());
    }
    // The window that the loss belongs to, by itself.
    let window = windows.iter().find(|w| (w.losses_from..w.end).contains(&(s - 1))).unwrap();
    let piece = x.narrow(1, window.start, window.end - window.start).unwrap();
    let before = |layer: usize| match window.start {
        0 => h_0[layer].clone(),
        start => whole[layer].detach().narrow(1, start - 1, 1).unwrap().squeeze(1).unwrap(),
    };
    let [_, top] = stack(&piece, [&before(0), &before(1)], Truncation::FULL);
    let value = loss_at(&top, s - 1 - window.start);
    // The piece goes through the same states.
    assert_close("piece", &values(&value), &values(&loss_at(&whole[1], s - 1)), 1e-12);
    values(value.backward().unwrap().get(x).unwrap())
}

#[test]
fn in_a_stack_of_layers_a_loss_reaches_back_to_the_same_horizon() {
    const T: usize = 12;
    let lower = sequence((2, T, 3, 5), Cell::Tanh, 41);
    let upper = sequence((2, T, 5, 4), Cell::Tanh, 42);
    for form in forms(T) {
        let truncation = truncation_of(form);
        for s in 1..=T {
            let e = horizon(form, s, T);
            for (index, grad) in stacked_grad_x([&lower, &upper], truncation, s).iter().enumerate()
            {
                let step = index / 3 % T + 1;
                let reached = (e..=s).contains(&step);
                let right = if reached { grad.is_finite() && *grad != 0. } else { *grad == 0. };
                assert!(right, "{form:?}, a loss at step {s}: {grad} at step {step}");
            }
        }
    }
}
