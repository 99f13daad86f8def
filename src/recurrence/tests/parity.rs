//! Values and gradients at the edges of every size, and what proves the reference itself.

use candle_core::DType;

use super::super::{Call, Outputs, State};
use super::*;
use crate::recurrence::Truncation;

/// Sizes at the edges of vectors (2, 4, 8 and 16 lanes), tiles (4, 5 and 6 rows; 2 and 5
/// registers) and groups of rows (25): `(B, T, I, H)`.
const SIZES: [(usize, usize, usize, usize); 24] = [
    (1, 1, 1, 1),
    (1, 2, 1, 2),
    (2, 1, 3, 4),
    (3, 5, 2, 3),
    (4, 3, 5, 5),
    (5, 4, 1, 7),
    (6, 3, 7, 8),
    (7, 2, 9, 9),
    (1, 28, 28, 15),
    (2, 6, 16, 16),
    (3, 7, 17, 17),
    (11, 3, 15, 31),
    (13, 2, 2, 32),
    (4, 5, 31, 33),
    (25, 2, 3, 13),
    (26, 3, 4, 11),
    (51, 4, 3, 10),
    (9, 3, 6, 79),
    (5, 3, 2, 80),
    (6, 2, 5, 81),
    (3, 300, 2, 6),
    (2, 3, 160, 97),
    (10, 28, 28, 150),
    (30, 70, 1, 40),
];

/// Compares values and all gradients for one instruction set and size.
fn check_against_the_reference(
    isa: Isa,
    size: (usize, usize, usize, usize),
    cell: Cell,
    seed: u64,
) {
    // In f64 a few hundred roundings of 1e-16; in f32 of 6e-8, over up to 300 contractive steps.
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
        let mut sequence = sequence(size, cell, seed);
        if dtype == DType::F32 {
            sequence = rounded(&sequence);
        }
        let (b, t, _, h) = size;
        let mut rng = SeededRng::new(seed + 1, Purpose::Init);
        for read in [Outputs::All, Outputs::Last] {
            for with_h_0 in [true, false] {
                if !with_h_0 {
                    sequence.h_0.fill(0.);
                }
                let mut grad_h = vec![0.; b * t * h];
                let outputs = if read == Outputs::All { t } else { 1 };
                let grad: Vec<f64> =
                    (0..b * outputs * h).map(|_| f64::from(rng.symmetric(1.) as f32)).collect();
                for row in 0..b {
                    for step in 0..outputs {
                        let to = (row * t + t - outputs + step) * h;
                        grad_h[to..to + h]
                            .copy_from_slice(&grad[(row * outputs + step) * h..][..h]);
                    }
                }
                let states = sequence.forward().outputs;
                let grad_h = of_outputs(&sequence, grad_h);
                let mut expected = sequence.backward(&grad_h, Truncation::FULL);
                if !with_h_0 {
                    expected.h_0.fill(0.);
                }
                let expected_output: Vec<f64> = match read {
                    Outputs::All => states,
                    Outputs::Last => {
                        (0..b).flat_map(|r| states[(r * t + t - 1) * h..][..h].to_vec()).collect()
                    }
                };
                let what =
                    format!("{} {dtype:?} {size:?} {cell:?} {read:?} h_0 {with_h_0}", isa.name());
                let (output, gradients) = run(&sequence, isa, dtype, read, &grad, with_h_0);
                assert_close(&what, &output, &expected_output, tolerance);
                assert_gradients(&what, &gradients, &expected, tolerance);
            }
        }
    }
}

#[test]
fn tanh_on_every_instruction_set_gives_the_reference() {
    for isa in Isa::available() {
        for (seed, size) in SIZES.into_iter().enumerate() {
            check_against_the_reference(isa, size, Cell::Tanh, seed as u64);
        }
    }
}

#[test]
fn relu_on_every_instruction_set_gives_the_reference() {
    for isa in Isa::available() {
        for (seed, size) in SIZES.into_iter().enumerate().filter(|(seed, _)| seed % 3 == 0) {
            check_against_the_reference(isa, size, Cell::Relu, seed as u64);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    #[test]
    fn any_size_gives_the_values_and_gradients_of_the_reference(
        b in 1usize..40, t in 1usize..12, i in 1usize..40, h in 1usize..60, seed in 0u64..1000,
    ) {
        for isa in Isa::available() {
            let cell = if seed % 4 == 0 { Cell::Relu } else { Cell::Tanh };
            check_against_the_reference(isa, (b, t, i, h), cell, seed);
        }
    }
}

/// Central differences in f64, for every argument: the reference itself is tested here too.
#[test]
fn gradients_are_those_of_finite_differences() {
    for cell in [Cell::Tanh, Cell::Relu] {
        check_finite_differences(cell);
    }
}

fn check_finite_differences(cell: Cell) {
    const EPS: f64 = 1e-5;
    let sequence = sequence((3, 4, 3, 5), cell, 7);
    let weight_of = |index: usize| ((index * 37 % 11) as f64 - 5.) / 5.;
    let loss = |sequence: &Sequence| -> f64 {
        sequence.forward().outputs.iter().enumerate().map(|(index, h)| weight_of(index) * h).sum()
    };
    let grad: Vec<f64> = (0..3 * 4 * 5).map(weight_of).collect();
    type Field = fn(&mut Sequence) -> &mut Vec<f64>;
    let fields: [(&str, Field); 5] = [
        ("x", |s| &mut s.x),
        ("w_ih", |s| &mut s.w_ih),
        ("w_hh", |s| &mut s.w_hh),
        ("b_ih", |s| &mut s.b_ih),
        ("h_0", |s| &mut s.h_0),
    ];
    for isa in Isa::available() {
        let (_, found) = run(&sequence, isa, DType::F64, Outputs::All, &grad, true);
        let found = [found.x, found.w_ih, found.w_hh, found.b_ih, found.h_0];
        for ((name, field), found) in fields.iter().zip(&found) {
            let differences: Vec<f64> = (0..found.len())
                .map(|index| {
                    let shifted = |by: f64| {
                        let mut sequence = sequence.clone();
                        field(&mut sequence)[index] += by;
                        loss(&sequence)
                    };
                    (shifted(EPS) - shifted(-EPS)) / (2. * EPS)
                })
                .collect();
            assert_close(&format!("{} {name}", isa.name()), found, &differences, 1e-6);
        }
    }
}

#[test]
fn the_unrolled_form_gives_the_same_values_and_gradients() {
    for cell in [Cell::Tanh, Cell::Relu] {
        let sequence = sequence((4, 6, 5, 9), cell, 3);
        let args = Arguments::new(&sequence, DType::F64);
        let initial = State::new(args.h_0.unsqueeze(0).unwrap());
        let call = Call { initial: Some(&initial), ..Call::new(Outputs::All) };
        let weights = args.weights();
        let (outputs, _) = composed_layer(args.x.as_tensor(), cell, &[&weights], &call).unwrap();
        let output = outputs.unwrap();
        let states = sequence.forward().outputs;
        assert_close("unrolled", &values(&output), &states, 1e-12);
        let grads = output.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let grad_h = of_outputs(&sequence, states.iter().map(|h| 2. * h).collect());
        let expected = sequence.backward(&grad_h, Truncation::FULL);
        let [w_ih, w_hh, b] = &args.weights;
        let of = |var: &Var| values(grads.get(var).unwrap());
        let found = SequenceGradients {
            x: of(&args.x),
            w_ih: of(w_ih),
            w_hh: of(w_hh),
            b_ih: of(b),
            b_hh: Vec::new(),
            w_hr: Vec::new(),
            h_0: of(&args.h_0),
            c_0: Vec::new(),
        };
        assert_gradients("unrolled", &found, &expected, 1e-12);
    }
}
