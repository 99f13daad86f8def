//! Inputs that are looked up in a table, against the same inputs given row by row.

// A test may unwrap.
#![allow(clippy::unwrap_used)]

use candle_rnn_kernels::{CellKind, Isa, Number, Save, Window};

mod case;
mod values;

use case::{distance, Case, CELLS};
use values::Values;

/// A case whose inputs are rows of a table of `table_rows`, and the same case with these inputs in full.
fn both<E: Number>(mut case: Case<E>, table_rows: usize) -> [Case<E>; 2] {
    let (size, count) = (case.dims.input_size, case.dims.batch_size * case.dims.seq_len);
    let table: Vec<E> = Values(11).take(table_rows * size, 1.);
    // Some rows are read often, the last but one never.
    let ids: Vec<u32> = (0..count)
        .map(|index| (index * index + index / 3) % (table_rows - 1))
        .map(|id| if id == table_rows - 2 { table_rows - 1 } else { id } as u32)
        .collect();
    case.arguments[0] =
        ids.iter().flat_map(|id| &table[*id as usize * size..][..size]).copied().collect();
    let full = case.clone();
    case.arguments[0] = table;
    case.ids = Some(ids);
    [case, full]
}

/// The gradient of the table by those of the inputs.
fn summed<E: Number>(case: &Case<E>, of_inputs: &[E]) -> Vec<f64> {
    let size = case.dims.input_size;
    let mut sums = vec![0.; case.arguments[0].len()];
    for (id, grad) in case.ids.as_ref().unwrap().iter().zip(of_inputs.chunks(size)) {
        let sums = &mut sums[*id as usize * size..][..size];
        sums.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad.to_f64());
    }
    sums
}

fn check<E: Number>(case: Case<E>, table_rows: usize, tolerance: f64) {
    let [table, full] = both(case, table_rows);
    let cell = table.cell;
    for isa in Isa::available() {
        for save in [Save::All, Save::Checkpoints] {
            let (found, expected) = (table.run(isa, save), full.run(isa, save));
            // To the bit.
            assert_eq!(found.outputs, expected.outputs, "{cell:?}");
            assert_eq!(found.last, expected.last, "{cell:?}");
            assert_eq!(found.grads[1], expected.grads[1], "{cell:?}");
            let of_table = distance(&found.grads[0], &summed(&table, &expected.grads[0]));
            assert!(of_table <= tolerance, "{cell:?}: {of_table}");
            for (found, expected) in found.grads[2..].iter().zip(&expected.grads[2..]) {
                let distance = distance(found, expected);
                assert!(distance <= tolerance, "{cell:?}: {distance}");
            }
        }
    }
}

#[test]
fn a_table_gives_the_values_and_gradients_of_its_rows() {
    for cell in CELLS {
        for (sizes, table_rows) in
            [([1, 3, 1, 1], 3), ([7, 5, 3, 33], 5), ([12, 9, 17, 50], 23), ([30, 2, 70, 20], 3)]
        {
            check(Case::<f64>::new(cell, sizes, 1), table_rows, 1e-12);
            check(Case::<f64>::new(cell, sizes, 2), table_rows, 1e-12);
            check(Case::<f32>::new(cell, sizes, 2), table_rows, 1e-5);
        }
    }
}

#[test]
fn lengths_masks_and_windows_hold_with_a_table() {
    for cell in CELLS {
        let mut case = Case::<f64>::new(cell, [6, 40, 3, 9], 2);
        case.time_major = true;
        case.lengths = Some(vec![40, 0, 39, 1, 17, 16]);
        check(case.clone(), 11, 1e-12);
        case.mask = Some(Values(3).take(2 * 6 * case.dims.output_size, 1.));
        check(case.clone(), 11, 1e-12);
        case.lengths = None;
        case.windows = vec![
            Window { start: 0, losses_from: 0, end: 15 },
            Window { start: 5, losses_from: 15, end: 30 },
            Window { start: 20, losses_from: 30, end: 40 },
        ];
        check(case, 11, 1e-12);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let isa = Isa::available()[0];
    for cell in [CellKind::Tanh, CellKind::Gru, CellKind::Lstm] {
        let [case, _] = both(Case::<f64>::new(cell, [3, 4, 2, 3], 1), 5);
        let grads = case.run(isa, Save::All).grads;
        for (argument, of_argument) in grads.iter().enumerate() {
            for (index, grad) in of_argument.iter().enumerate() {
                let [more, less] = [1e-5, -1e-5].map(|step| {
                    let mut moved = case.clone();
                    moved.arguments[argument][index] += step;
                    moved.loss(isa)
                });
                let difference = (grad - (more - less) / 2e-5).abs();
                assert!(difference <= 1e-7, "{cell:?} {argument} {index}: {difference}");
            }
        }
    }
}

#[test]
#[cfg(feature = "rayon")]
fn any_number_of_threads_gives_the_same_bits_by_a_table() {
    let isa = Isa::available()[0];
    for cell in [CellKind::Tanh, CellKind::Gru, CellKind::Lstm] {
        let [case, _] = both(Case::<f32>::new(cell, [53, 20, 16, 64], 2), 101);
        let outcomes = [1, 2, 3, 16].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.run(isa, Save::All))
        });
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{cell:?}");
    }
}

#[test]
fn rows_that_nothing_reads_have_no_gradient() {
    let [case, _] = both(Case::<f64>::new(CellKind::Lstm, [4, 6, 3, 5], 2), 7);
    let grads = case.run(Isa::available()[0], Save::All).grads;
    assert!(grads[0][5 * 3..6 * 3].iter().all(|grad| *grad == 0.));
}
