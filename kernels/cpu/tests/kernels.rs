//! The crate by its public functions: gradients against finite differences, instruction sets against each
//! other, bits by threads, rows of different lengths, truncation, and lengths that do not fit.

// A test may unwrap, and these count through several lists at once.
#![allow(clippy::needless_range_loop, clippy::unwrap_used)]

use candle_rnn_kernels::{CellKind, Isa, Save, SequenceDims, Window};

mod case;
mod values;

use case::{distance, Case, CELLS};
use values::Values;

#[test]
fn gradients_are_those_of_finite_differences() {
    let isa = Isa::available()[0];
    for cell in CELLS {
        let mut case = Case::<f64>::new(cell, [3, 4, 2, 3], 2);
        case.lengths = Some(vec![4, 2, 0]);
        case.mask = Some(Values(3).take(case.directions * 3 * case.dims.output_size, 1.));
        let grads = case.run(isa, Save::All).grads;
        for argument in 0..case.arguments.len() {
            for index in 0..case.arguments[argument].len() {
                let mut sides = [1e-5, -1e-5].map(|step| {
                    let mut moved = case.clone();
                    moved.arguments[argument][index] += step;
                    moved.loss(isa)
                });
                sides[0] = (sides[0] - sides[1]) / 2e-5;
                let difference = (grads[argument][index] - sides[0]).abs();
                // The second derivative's share, and rounding: 1e-10 and 1e-11.
                assert!(difference <= 1e-7, "{cell:?} {argument} {index}: {difference}");
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_values() {
    for cell in CELLS {
        for sizes in [[1, 3, 1, 1], [7, 5, 3, 33], [2, 4, 17, 50]] {
            let (narrow, wide) =
                (Case::<f32>::new(cell, sizes, 2), Case::<f64>::new(cell, sizes, 2));
            let expected = wide.run(Isa::Portable, Save::All);
            for isa in Isa::available() {
                let (single, double) = (narrow.run(isa, Save::All), wide.run(isa, Save::All));
                let pairs = [(&single.outputs, &double.outputs, &expected.outputs)];
                let grads = single.grads.iter().zip(&double.grads).zip(&expected.grads);
                let grads = grads.map(|((single, double), expected)| (single, double, expected));
                for (single, double, expected) in pairs.into_iter().chain(grads) {
                    let (of_single, of_double) =
                        (distance(single, expected), distance(double, expected));
                    // Some dozens of roundings of 6e-8 and 1e-16.
                    assert!(of_single <= 3e-5, "{cell:?} {sizes:?} {}: {of_single}", isa.name());
                    assert!(of_double <= 1e-12, "{cell:?} {sizes:?} {}: {of_double}", isa.name());
                }
            }
        }
    }
}

#[test]
fn checkpoints_give_the_bits_of_states_that_were_kept() {
    for cell in CELLS {
        let mut case = Case::<f32>::new(cell, [6, 40, 3, 9], 2);
        case.time_major = true;
        case.lengths = Some(vec![40, 0, 39, 1, 17, 16]);
        for isa in Isa::available() {
            assert_eq!(case.run(isa, Save::All), case.run(isa, Save::Checkpoints), "{cell:?}");
        }
    }
}

#[test]
#[cfg(feature = "rayon")]
fn any_number_of_threads_gives_the_same_bits() {
    let isa = Isa::available()[0];
    for cell in CELLS {
        // Work for several threads, and rows that no number of them divides. 16 threads are more than there are parts, so that
        // those that are idle take over halves from the beginning.
        let whole = Case::<f32>::new(cell, [53, 20, 16, 64], 2);
        let mut ragged = Case { time_major: true, ..whole.clone() };
        ragged.lengths = Some((0..53).map(|row| row * 7 % 21).collect());
        let mut windowed = whole.clone();
        windowed.windows = (0_usize..10)
            .map(|index| Window {
                start: (2 * index).saturating_sub(3),
                losses_from: 2 * index,
                end: 2 * index + 2,
            })
            .collect();
        let mut masked = whole.clone();
        let states = 2 * 53 * whole.dims.output_size;
        masked.mask = Some((0..states).map(|unit| [0., 2.][unit % 3 / 2]).collect());
        for case in [whole, ragged, windowed, masked] {
            for save in [Save::All, Save::Checkpoints] {
                let outcomes = [1, 2, 3, 7, 16].map(|threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    pool.unwrap().install(|| case.run(isa, save))
                });
                assert!(
                    outcomes.iter().all(|outcome| *outcome == outcomes[0]),
                    "{cell:?} {save:?}"
                );
            }
        }
    }
}

#[test]
#[cfg(feature = "rayon")]
fn products_ahead_give_the_same_bits_by_any_thread() {
    // Above 8 MiB of weights, whose products with the inputs are computed for eight steps at once.
    let case = Case::<f32>::new(CellKind::Lstm, [24, 17, 500, 520], 1);
    let outcomes = [1, 16].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run(Isa::available()[0], Save::All))
    });
    assert!(outcomes[0] == outcomes[1]);
}

/// FNV-1a over the bits of an outcome, the same with and without rayon.
#[test]
fn bits_do_not_depend_on_the_feature_rayon() {
    let case = Case::<f64>::new(CellKind::Relu, [53, 20, 16, 64], 2);
    let outcome = case.run(Isa::Portable, Save::All);
    let all = outcome.grads.iter().flatten().chain(&outcome.outputs).chain(&outcome.last);
    let hash = all.fold(0xcbf2_9ce4_8422_2325, |hash: u64, value| {
        (hash ^ value.to_bits()).wrapping_mul(0x0100_0000_01b3)
    });
    // Only sums and products, in an order of their own: the same on every CPU.
    assert_eq!(hash, EXPECTED_HASH);
}

const EXPECTED_HASH: u64 = 719_876_191_736_265_736;

#[test]
fn rows_of_different_lengths_are_rows_alone() {
    let isa = Isa::available()[0];
    for cell in CELLS {
        let lengths = [5, 0, 3];
        let mut case = Case::<f64>::new(cell, [3, 5, 2, 4], 1);
        case.lengths = Some(lengths.into());
        let outcome = case.run(isa, Save::All);
        let p = case.dims.output_size;
        for (row, len) in lengths.into_iter().enumerate().filter(|(_, len)| *len > 0) {
            let mut alone = case.clone();
            alone.dims = SequenceDims { batch_size: 1, seq_len: len, ..case.dims };
            alone.lengths = None;
            alone.windows = vec![Window { start: 0, losses_from: 0, end: len }];
            alone.arguments[0] = case.arguments[0][row * 5 * 2..][..len * 2].to_vec();
            let rows = |all: &[f64]| -> Vec<f64> {
                let (h, c) = all.split_at(3 * p);
                let c = if c.is_empty() { c } else { &c[row * 4..][..4] };
                [&h[row * p..][..p], c].concat()
            };
            alone.arguments[1] = rows(&case.arguments[1]);
            alone.grad_outputs = case.grad_outputs[row * 5 * p..][..len * p].to_vec();
            alone.grad_last = rows(&case.grad_last);
            let expected = alone.run(isa, Save::All);
            let outputs = &outcome.outputs[row * 5 * p..][..5 * p];
            assert_eq!(outputs[..len * p], expected.outputs, "{cell:?}");
            assert!(outputs[len * p..].iter().all(|value| *value == 0.), "{cell:?}");
            assert_eq!(rows(&outcome.last), expected.last, "{cell:?}");
            let grad_x = &outcome.grads[0][row * 5 * 2..][..5 * 2];
            assert_eq!(grad_x[..len * 2], expected.grads[0], "{cell:?}");
            assert!(grad_x[len * 2..].iter().all(|grad| *grad == 0.), "{cell:?}");
            assert_eq!(rows(&outcome.grads[1]), expected.grads[1], "{cell:?}");
        }
    }
}

#[test]
fn gradients_outside_a_window_are_zero() {
    let (isa, steps) = (Isa::available()[0], 9);
    for cell in CELLS {
        let mut case = Case::<f64>::new(cell, [2, steps, 2, 3], 1);
        let p = case.dims.output_size;
        case.grad_last.fill(0.);
        // A loss at one step, 6, of the window of the steps 4 to 6.
        for (index, grad) in case.grad_outputs.iter_mut().enumerate() {
            if index / p % steps != 6 {
                *grad = 0.;
            }
        }
        case.windows = vec![
            Window { start: 0, losses_from: 0, end: 4 },
            Window { start: 4, losses_from: 4, end: 7 },
            Window { start: 7, losses_from: 7, end: steps },
        ];
        let grad_x = &case.run(isa, Save::All).grads[0];
        for (index, grad) in grad_x.iter().enumerate() {
            let step = index / 2 % steps;
            if !(4..7).contains(&step) {
                assert_eq!(*grad, 0., "{cell:?} step {step}");
            } else if !matches!(cell, CellKind::Relu | CellKind::Dense) {
                assert!(grad.is_finite() && *grad != 0., "{cell:?} step {step}");
            }
        }
        // A window as long as the sequence is none, and two that overlap give a sum.
        case.windows = vec![Window { start: 0, losses_from: 0, end: steps }];
        let full = case.run(isa, Save::All);
        case.windows = vec![
            Window { start: 0, losses_from: 0, end: 6 },
            Window { start: 0, losses_from: 6, end: steps },
        ];
        let sum = case.run(isa, Save::All);
        for (sum, full) in sum.grads.iter().zip(&full.grads) {
            assert!(distance(sum, full) <= 1e-13, "{cell:?}");
        }
    }
}

#[test]
fn an_empty_batch_has_no_outputs_and_zero_gradients() {
    for cell in CELLS {
        let outcome = Case::<f32>::new(cell, [0, 3, 2, 4], 2).run(Isa::Portable, Save::All);
        assert!(outcome.outputs.is_empty() && outcome.last.is_empty());
        assert!(outcome.grads.iter().flatten().all(|grad| *grad == 0.), "{cell:?}");
    }
}

#[test]
fn lengths_that_do_not_fit_panic() {
    let panics = |change: fn(&mut Case<f32>)| {
        let mut case = Case::<f32>::new(CellKind::Lstm, [2, 3, 2, 4], 1);
        change(&mut case);
        std::panic::catch_unwind(|| case.run(Isa::Portable, Save::All)).is_err()
    };
    assert!(!panics(|_| {}));
    assert!(panics(|case| case.arguments[0].push(0.)));
    assert!(panics(|case| case.arguments[1].truncate(5)));
    assert!(panics(|case| case.arguments[2].truncate(5)));
    assert!(panics(|case| case.lengths = Some(vec![3])));
    assert!(panics(|case| case.lengths = Some(vec![3, 4])));
    assert!(panics(|case| case.mask = Some(vec![1.])));
    assert!(!panics(|case| case.ids = Some(vec![0, 1, 2, 3, 4, 5])));
    assert!(panics(|case| case.ids = Some(vec![0, 1, 2, 3, 4, 6])));
    assert!(panics(|case| case.ids = Some(vec![0, 1, 2, 3, 4])));
    assert!(panics(|case| case.grad_outputs.truncate(3)));
    assert!(panics(|case| case.grad_last.truncate(3)));
    assert!(panics(|case| case.windows[0].end = 2));
    assert!(panics(|case| case.dims.seq_len = 0));
    // Sizes whose products wrap to those of the slices.
    assert!(panics(|case| case.dims.input_size = 1 << 62));
    assert!(panics(|case| case.dims.batch_size = 1 << 63));
}
