//! The fused op against its definition, on every instruction set that this machine has.

use candle_core::{DType, Device, Tensor, Var};

use super::cpu::Isa;
use super::op::PackedWeights;
use super::reference::{Sequence, SequenceGradients};
use super::{
    dense, rnn_sequence, rnn_step, unrolled, Cell, Outputs, SequenceDims, Unroll, Weights,
};
use crate::bptt::Truncation;
use crate::rng::{Purpose, Stream};

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

fn sequence((b, t, i, h): (usize, usize, usize, usize), cell: Cell, seed: u64) -> Sequence {
    let mut rng = Stream::new(seed, Purpose::Init);
    let mut draw = |count: usize, limit: f64| -> Vec<f64> {
        (0..count).map(|_| rng.symmetric(limit)).collect()
    };
    // Contractive: a recurrence that amplifies makes every tolerance meaningless.
    let limit = 1. / (h as f64).sqrt();
    Sequence {
        dims: SequenceDims { batch_size: b, seq_len: t, input_size: i, hidden_size: h },
        cell,
        x: draw(b * t * i, 1.),
        w_ih: draw(h * i, 1. / (i as f64).sqrt()),
        w_hh: draw(h * h, limit),
        b: draw(h, 0.5),
        h_0: draw(b * h, 1.),
    }
}

/// Rounds every number to `f32`, so that the oracle computes from what the kernel sees.
fn rounded(sequence: &Sequence) -> Sequence {
    let round = |values: &[f64]| values.iter().map(|v| f64::from(*v as f32)).collect();
    Sequence {
        x: round(&sequence.x),
        w_ih: round(&sequence.w_ih),
        w_hh: round(&sequence.w_hh),
        b: round(&sequence.b),
        h_0: round(&sequence.h_0),
        ..*sequence
    }
}

/// The arguments as variables, so that every gradient is asked for.
struct Arguments {
    x: Var,
    weights: [Var; 3],
    h_0: Var,
}

impl Arguments {
    fn new(sequence: &Sequence, dtype: DType) -> Self {
        let SequenceDims { batch_size: b, seq_len: t, input_size: i, hidden_size: h } =
            sequence.dims;
        let var = |values: &[f64], shape: &[usize]| {
            let tensor = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
            Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
        };
        Self {
            x: var(&sequence.x, &[b, t, i]),
            weights: [
                var(&sequence.w_ih, &[h, i]),
                var(&sequence.w_hh, &[h, h]),
                var(&sequence.b, &[h]),
            ],
            h_0: var(&sequence.h_0, &[b, h]),
        }
    }

    fn weights(&self) -> Weights {
        let [w_ih, w_hh, b] = &self.weights;
        Weights {
            w_ih: w_ih.as_tensor().clone(),
            w_hh: w_hh.as_tensor().clone(),
            b: b.as_tensor().clone(),
        }
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The output of the op, and the gradients of `Σ output · grad`.
fn run(
    sequence: &Sequence,
    isa: Isa,
    dtype: DType,
    unroll: impl Into<Unroll>,
    grad: &[f64],
    with_h_0: bool,
) -> (Vec<f64>, SequenceGradients) {
    let args = Arguments::new(sequence, dtype);
    let packed = PackedWeights::for_isa(&args.weights(), isa).unwrap();
    let h_0 = with_h_0.then(|| args.h_0.as_tensor());
    let output = rnn_sequence(args.x.as_tensor(), &packed, h_0, sequence.cell, unroll).unwrap();
    let grad = Tensor::from_slice(grad, output.shape(), &Device::Cpu).unwrap();
    let loss = (&output * grad.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let of = |var: &Var| values(grads.get(var).expect("a gradient is missing"));
    let [w_ih, w_hh, b] = &args.weights;
    let h_0 = if with_h_0 { of(&args.h_0) } else { vec![0.; sequence.h_0.len()] };
    let gradients =
        SequenceGradients { x: of(&args.x), w_ih: of(w_ih), w_hh: of(w_hh), b: of(b), h_0 };
    (values(&output), gradients)
}

/// `max|a - b| <= tolerance · max|b|`; NaN fails. What vanished below the smallest normal `f32` on
/// its way through the steps counts as zero.
fn assert_close(what: &str, a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(0f64, |scale, value| scale.max(value.abs()));
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let holds = (a - b).abs() <= tolerance * scale + f64::from(f32::MIN_POSITIVE);
        assert!(holds, "{what}[{index}]: {a} instead of {b}, scale {scale}");
    }
}

fn assert_gradients(
    what: &str,
    found: &SequenceGradients,
    expected: &SequenceGradients,
    tolerance: f64,
) {
    let pairs = [
        ("x", &found.x, &expected.x),
        ("w_ih", &found.w_ih, &expected.w_ih),
        ("w_hh", &found.w_hh, &expected.w_hh),
        ("b", &found.b, &expected.b),
        ("h_0", &found.h_0, &expected.h_0),
    ];
    for (name, found, expected) in pairs {
        assert_close(&format!("{what} grad {name}"), found, expected, tolerance);
    }
}

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
        let mut rng = Stream::new(seed + 1, Purpose::Init);
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
                let states = sequence.forward();
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
fn tanh_on_every_instruction_set_gives_the_values_and_gradients_of_the_reference() {
    for isa in Isa::available() {
        for (seed, size) in SIZES.into_iter().enumerate() {
            check_against_the_reference(isa, size, Cell::Tanh, seed as u64);
        }
    }
}

#[test]
fn relu_on_every_instruction_set_gives_the_values_and_gradients_of_the_reference() {
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
            check_against_the_reference(isa, (b, t, i, h), Cell::Tanh, seed);
        }
    }
}

/// Central differences in f64, for every argument: the reference itself is tested here too.
#[test]
fn gradients_are_those_of_finite_differences() {
    const EPS: f64 = 1e-5;
    let sequence = sequence((3, 4, 3, 5), Cell::Tanh, 7);
    let weight_of = |index: usize| ((index * 37 % 11) as f64 - 5.) / 5.;
    let loss = |sequence: &Sequence| -> f64 {
        sequence.forward().iter().enumerate().map(|(index, h)| weight_of(index) * h).sum()
    };
    let grad: Vec<f64> = (0..3 * 4 * 5).map(weight_of).collect();
    type Field = fn(&mut Sequence) -> &mut Vec<f64>;
    let fields: [(&str, Field); 5] = [
        ("x", |s| &mut s.x),
        ("w_ih", |s| &mut s.w_ih),
        ("w_hh", |s| &mut s.w_hh),
        ("b", |s| &mut s.b),
        ("h_0", |s| &mut s.h_0),
    ];
    for isa in Isa::available() {
        let (_, found) = run(&sequence, isa, DType::F64, Outputs::All, &grad, true);
        let found = [found.x, found.w_ih, found.w_hh, found.b, found.h_0];
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
        let h_0 = Some(args.h_0.as_tensor());
        let outputs = unrolled::static_rnn(args.x.as_tensor(), &args.weights(), h_0, cell).unwrap();
        let output = Tensor::stack(&outputs, 1).unwrap();
        assert_close("unrolled", &values(&output), &sequence.forward(), 1e-12);
        let grads = output.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let grad_h: Vec<f64> = sequence.forward().iter().map(|h| 2. * h).collect();
        let expected = sequence.backward(&grad_h, Truncation::FULL);
        let [w_ih, w_hh, b] = &args.weights;
        let of = |var: &Var| values(grads.get(var).unwrap());
        let found = SequenceGradients {
            x: of(&args.x),
            w_ih: of(w_ih),
            w_hh: of(w_hh),
            b: of(b),
            h_0: of(&args.h_0),
        };
        assert_gradients("unrolled", &found, &expected, 1e-12);
    }
}

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
                (&grads.b, &other.b),
                (&grads.h_0, &other.h_0),
            ] {
                assert_eq!(a, b, "{threads} threads");
            }
        }
    }
}

#[test]
fn steps_on_a_carried_state_give_the_bits_of_the_whole_sequence() {
    for isa in Isa::available() {
        let sequence = sequence((3, 7, 4, 21), Cell::Tanh, 9);
        let args = Arguments::new(&sequence, DType::F32);
        let packed = PackedWeights::for_isa(&args.weights().detach(), isa).unwrap();
        let x = args.x.as_detached_tensor();
        let all = rnn_sequence(&x, &packed, None, Cell::Tanh, Outputs::All).unwrap();
        let mut h = None;
        for t in 0..7 {
            let x_t = x.narrow(1, t, 1).unwrap().squeeze(1).unwrap();
            let h_t = rnn_step(&x_t, &packed, h.as_ref(), Cell::Tanh).unwrap();
            assert_eq!(values(&h_t), values(&all.narrow(1, t, 1).unwrap()), "{} {t}", isa.name());
            h = Some(h_t);
        }
        let last = rnn_sequence(&x, &packed, None, Cell::Tanh, Outputs::Last).unwrap();
        assert_eq!(values(&last), values(&h.unwrap()));
    }
}

#[test]
fn inputs_that_are_not_contiguous_are_read_as_what_they_mean() {
    let sequence = sequence((4, 3, 5, 6), Cell::Tanh, 2);
    let args = Arguments::new(&sequence, DType::F64);
    let packed = PackedWeights::new(&args.weights()).unwrap();
    let expected =
        rnn_sequence(args.x.as_tensor(), &packed, None, Cell::Tanh, Outputs::All).unwrap();
    let time_major = args.x.transpose(0, 1).unwrap().contiguous().unwrap();
    let view = time_major.transpose(0, 1).unwrap();
    assert!(!view.is_contiguous());
    let found = rnn_sequence(&view, &packed, None, Cell::Tanh, Outputs::All).unwrap();
    assert_eq!(values(&found), values(&expected));
    // One row broadcast over the batch; its gradient is the sum over the rows.
    let row = Var::from_tensor(&args.x.narrow(0, 0, 1).unwrap().contiguous().unwrap()).unwrap();
    let broadcast = row.broadcast_as((4, 3, 5)).unwrap();
    let h_0 =
        Tensor::zeros((1, 6), DType::F64, &Device::Cpu).unwrap().broadcast_as((4, 6)).unwrap();
    let found = rnn_sequence(&broadcast, &packed, Some(&h_0), Cell::Tanh, Outputs::All).unwrap();
    assert_eq!(values(&found)[..18], values(&expected)[..18]);
    assert_eq!(values(&found)[18..36], values(&expected)[..18]);
    let grads = found.sum_all().unwrap().backward().unwrap();
    let one = rnn_sequence(row.as_tensor(), &packed, None, Cell::Tanh, Outputs::All).unwrap();
    let single = one.sum_all().unwrap().backward().unwrap();
    let expected: Vec<f64> = values(single.get(&row).unwrap()).iter().map(|g| 4. * g).collect();
    assert_close("broadcast", &values(grads.get(&row).unwrap()), &expected, 1e-12);
    // Transposed weights.
    let [w_ih, w_hh, b] = &args.weights;
    let transposed = |var: &Var| var.t().unwrap().contiguous().unwrap().t().unwrap();
    let weights =
        Weights { w_ih: transposed(w_ih), w_hh: transposed(w_hh), b: b.as_tensor().clone() };
    let packed = PackedWeights::new(&weights).unwrap();
    let found = rnn_sequence(args.x.as_tensor(), &packed, None, Cell::Tanh, Outputs::All).unwrap();
    assert_eq!(values(&found).len(), 4 * 3 * 6);
    assert_close(
        "transposed",
        &values(&found),
        &values(
            &rnn_sequence(
                args.x.as_tensor(),
                &PackedWeights::new(&args.weights()).unwrap(),
                None,
                Cell::Tanh,
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
    let packed = PackedWeights::new(&args.weights()).unwrap();
    let x = Var::from_tensor(&Tensor::zeros((0, 3, 4), DType::F32, &Device::Cpu).unwrap()).unwrap();
    for (read, shape) in [(Outputs::All, vec![0, 3, 5]), (Outputs::Last, vec![0, 5])] {
        let output = rnn_sequence(x.as_tensor(), &packed, None, Cell::Tanh, read).unwrap();
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
    let packed = PackedWeights::new(&args.weights()).unwrap();
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let error = |x: &[usize], h_0: Option<&[usize]>, dtype| {
        let h_0 = h_0.map(|shape| zeros(shape, DType::F32));
        rnn_sequence(&zeros(x, dtype), &packed, h_0.as_ref(), Cell::Tanh, Outputs::All)
            .unwrap_err()
            .to_string()
    };
    let f32 = DType::F32;
    assert!(error(&[2, 0, 4], None, f32).contains("x must have shape (B, T, 4) with T at least 1"));
    assert!(error(&[2, 3, 5], None, f32).contains("got [2, 3, 5]"));
    assert!(error(&[2, 12], None, f32).contains("x must"));
    assert!(error(&[2, 3, 4], Some(&[2, 4]), f32).contains("h_0 must have shape (2, 5)"));
    assert!(error(&[2, 3, 4], None, DType::F64).contains("got f64"));
    assert!(error(&[2, 3, 4], None, DType::U32).contains("got u32"));
    let x_t = zeros(&[2, 3, 4], f32);
    assert!(rnn_step(&x_t, &packed, None, Cell::Tanh).unwrap_err().to_string().contains("x_t"));
    for (wrong, name) in [(0, "w_ih"), (1, "w_hh"), (2, "b must")] {
        let mut tensors = args.weights.clone().map(|var| var.as_tensor().clone());
        tensors[wrong] = zeros(&[7], f32);
        let [w_ih, w_hh, b] = tensors;
        let error = PackedWeights::new(&Weights { w_ih, w_hh, b }).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let half = args.weights.clone().map(|var| var.to_dtype(DType::F16).unwrap());
    let [w_ih, w_hh, b] = half;
    let error = PackedWeights::new(&Weights { w_ih, w_hh, b }).unwrap_err().to_string();
    assert!(error.contains("f16"), "{error}");
}

#[test]
fn only_the_gradients_that_something_needs_are_there() {
    let sequence = sequence((2, 3, 4, 5), Cell::Tanh, 1);
    let args = Arguments::new(&sequence, DType::F32);
    let packed = PackedWeights::new(&args.weights()).unwrap();
    let x = args.x.as_detached_tensor();
    let h = rnn_sequence(&x, &packed, None, Cell::Tanh, Outputs::Last).unwrap();
    let grads = h.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_none() && grads.get(args.weights[0].as_tensor()).is_some());
    // Frozen weights: the gradient of the inputs alone.
    let packed = PackedWeights::new(&args.weights().detach()).unwrap();
    let h = rnn_sequence(args.x.as_tensor(), &packed, None, Cell::Tanh, Outputs::Last).unwrap();
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
                let packed = PackedWeights::for_isa(&args.weights(), isa).unwrap();
                let h =
                    rnn_sequence(args.x.as_tensor(), &packed, None, cell, Outputs::All).unwrap();
                let h = values(&h);
                // Row 0, from step 1 on; row 1 has nothing to do with it.
                assert!(h[..19].iter().all(|h| h.is_finite()), "{}", isa.name());
                assert!(h[19..57].iter().all(|h| h.is_nan()), "{} {cell:?} {dtype:?}", isa.name());
                assert!(h[57..].iter().all(|h| h.is_finite()), "{}", isa.name());
            }
        }
    }
}

/// `tanh` of each value, by way of a unit that sees the value alone.
fn tanh_of(values_in: &[f64], isa: Isa, dtype: DType) -> Vec<f64> {
    let tensor = |values: &[f64], shape: &[usize]| {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    let weights = Weights {
        w_ih: tensor(&[1.], &[1, 1]),
        w_hh: tensor(&[0.], &[1, 1]),
        b: tensor(&[0.], &[1]),
    };
    let packed = PackedWeights::for_isa(&weights, isa).unwrap();
    let x = tensor(values_in, &[values_in.len(), 1, 1]);
    values(&rnn_sequence(&x, &packed, None, Cell::Tanh, Outputs::Last).unwrap())
}

#[test]
fn tanh_in_f32_is_within_4_units_of_the_last_place() {
    // Every 40,009th of all positive floats, denormal ones too, and the edges.
    let mut inputs: Vec<f32> = (0..0x7f80_0000u32).step_by(40_009).map(f32::from_bits).collect();
    inputs.extend([f32::MIN_POSITIVE, 9.01, 9.019_999, 9.02, 9.03, 88., f32::MAX, f32::INFINITY]);
    let inputs: Vec<f64> = inputs.into_iter().map(f64::from).collect();
    let negative: Vec<f64> = inputs.iter().map(|x| -x).collect();
    for isa in Isa::available() {
        let found = tanh_of(&inputs, isa, DType::F32);
        for (x, y) in inputs.iter().zip(&found) {
            let exact = x.tanh();
            let unit = f64::from(f32::EPSILON) * 2f64.powi(exact.log2().floor() as i32);
            let unit = unit.max(f64::from(f32::from_bits(1)));
            let off = (y - exact).abs() / unit;
            assert!(off <= 4. && *y <= 1., "{}: tanh({x:e}) = {y:e}, {off} units off", isa.name());
        }
        let mirrored: Vec<f64> = tanh_of(&negative, isa, DType::F32).iter().map(|y| -y).collect();
        assert_eq!(mirrored, found, "{}: tanh is odd", isa.name());
    }
}

#[test]
fn tanh_in_f64_is_within_4_units_of_the_last_place() {
    // The standard library's own tanh is within one.
    let mut rng = Stream::new(11, Purpose::Init);
    let mut inputs: Vec<f64> = (0..60_000)
        .map(|index| match index % 3 {
            0 => 25. * rng.unit(),
            1 => rng.unit(),
            _ => 10f64.powf(-300. * rng.unit()),
        })
        .collect();
    inputs.extend([
        0.,
        f64::from_bits(1),
        f64::MIN_POSITIVE,
        19.9,
        20.,
        700.,
        f64::MAX,
        f64::INFINITY,
    ]);
    let negative: Vec<f64> = inputs.iter().map(|x| -x).collect();
    for isa in Isa::available() {
        let found = tanh_of(&inputs, isa, DType::F64);
        for (x, y) in inputs.iter().zip(&found) {
            let exact = x.tanh();
            let unit =
                (f64::EPSILON * 2f64.powi(exact.log2().floor() as i32)).max(f64::from_bits(1));
            let off = (y - exact).abs() / unit;
            assert!(off <= 4. && *y <= 1., "{}: tanh({x:e}) = {y:e}, {off} units off", isa.name());
        }
        let mirrored: Vec<f64> = tanh_of(&negative, isa, DType::F64).iter().map(|y| -y).collect();
        assert_eq!(mirrored, found, "{}: tanh is odd", isa.name());
    }
}

#[test]
fn tanh_keeps_nan_and_saturates_at_one() {
    for isa in Isa::available() {
        for dtype in [DType::F32, DType::F64] {
            let found = tanh_of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.], isa, dtype);
            assert!(found[0].is_nan(), "{}", isa.name());
            assert_eq!(found[1..], [1., -1., 0.], "{}", isa.name());
        }
    }
}

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
fn truncated_gradients_are_those_of_each_window_by_itself_added_up() {
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
                assert_close(&what, &output, &sequence.forward(), 1e-12);
                assert_gradients(&what, &found, &sequence.backward(&grad, truncation), 1e-12);
            }
        }
    }
}

fn bits(gradients: &SequenceGradients) -> Vec<u64> {
    let SequenceGradients { x, w_ih, w_hh, b, h_0 } = gradients;
    [x, w_ih, w_hh, b, h_0].into_iter().flatten().map(|value| value.to_bits()).collect()
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

#[test]
fn a_loss_at_one_step_reaches_back_to_its_horizon_and_not_beyond() {
    const T: usize = 12;
    let (b, i, h) = (2, 3, 6);
    let sequence = sequence((b, T, i, h), Cell::Tanh, 23);
    let mut forms = vec![("full", 0, 0)];
    for k in [1, 3, 5, T - 1, T, T + 1] {
        forms.push(("segments", k, 0));
        forms.extend([k, k + 2, 2 * k].map(|k2| ("window", k, k2)));
    }
    for isa in Isa::available() {
        for form in &forms {
            let truncation = match *form {
                ("segments", k, _) => Truncation::segments(k).unwrap(),
                ("window", k1, k2) => Truncation::window(k1, k2).unwrap(),
                _ => Truncation::FULL,
            };
            for s in 1..=T {
                let grad: Vec<f64> = (0..b * T * h)
                    .map(|index| f64::from(u8::from(index / h % T == s - 1)))
                    .collect();
                let unroll = Unroll::new(Outputs::All).truncated(truncation);
                let (_, found) = run(&sequence, isa, DType::F64, unroll, &grad, true);
                let e = horizon(*form, s, T);
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
    for (truncation, s, e) in [
        (Truncation::FULL, 10, 1),
        (Truncation::segments(3).unwrap(), 10, 10),
        (Truncation::segments(3).unwrap(), 9, 7),
        (Truncation::segments(5).unwrap(), 10, 6),
        (Truncation::window(3, 5).unwrap(), 10, 6),
        (Truncation::window(3, 5).unwrap(), 4, 2),
    ] {
        let grad: Vec<f64> =
            (0..T * h).map(|index| f64::from(u8::from(index / h == s - 1))).collect();
        let unroll = Unroll::new(Outputs::All).truncated(truncation);
        let (_, found) = run(&sequence, Isa::available()[0], DType::F64, unroll, &grad, false);
        for (index, grad) in found.w_ih.iter().enumerate() {
            let step = index % T + 1;
            let right =
                if (e..=s).contains(&step) { grad.is_finite() && *grad != 0. } else { *grad == 0. };
            assert!(right, "{truncation:?}, a loss at step {s}: {grad} at step {step}");
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
    let states = sequence.forward();
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
fn shared_gradients_are_the_sum_over_untied_copies_of_the_weights() {
    let (t, i, h) = (5, 3, 4);
    let sequence = sequence((2, t, i, h), Cell::Tanh, 27);
    let args = Arguments::new(&sequence, DType::F64);
    let copies: Vec<[Var; 3]> = (0..t)
        .map(|_| args.weights.each_ref().map(|var| Var::from_tensor(&var.copy().unwrap()).unwrap()))
        .collect();
    let mut state = args.h_0.as_tensor().clone();
    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    for (step, [w_ih, w_hh, b]) in copies.iter().enumerate() {
        let weights = Weights {
            w_ih: w_ih.as_tensor().clone(),
            w_hh: w_hh.as_tensor().clone(),
            b: b.as_tensor().clone(),
        };
        let x_t = args.x.narrow(1, step, 1).unwrap().squeeze(1).unwrap();
        state = unrolled::step(&x_t, &weights, Some(&state), Cell::Tanh).unwrap();
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
    assert_close("b", &found.b, &sum(2), 1e-12);
}

#[test]
fn the_scalar_case_gives_0_108_in_full_0_072_through_two_steps_and_0_036_through_one() {
    // x_{t+1} = w x_t with w = 0.2 and x_0 = 0.9: all is positive, where relu is the identity.
    let sequence = Sequence {
        dims: SequenceDims { batch_size: 1, seq_len: 3, input_size: 1, hidden_size: 1 },
        cell: Cell::Relu,
        x: vec![0.; 3],
        w_ih: vec![0.],
        w_hh: vec![0.2],
        b: vec![0.],
        h_0: vec![0.9],
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

#[test]
fn a_dense_layer_gives_the_values_and_gradients_of_candles() {
    for (rows, inputs, classes) in [(1, 1, 1), (7, 150, 10), (33, 16, 17), (300, 150, 10)] {
        let mut rng = Stream::new(31, Purpose::Init);
        let mut var = |shape: &[usize]| {
            let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.symmetric(1.)).collect();
            Var::from_tensor(&Tensor::from_slice(&values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        let vars = [var(&[rows, inputs]), var(&[classes, inputs]), var(&[classes])];
        let [x, weight, bias] = &vars;
        let found = dense(x.as_tensor(), weight.as_tensor(), bias.as_tensor()).unwrap();
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
    let steps = dense(&tensor(&[2, 3, 4]), &tensor(&[5, 4]), &tensor(&[5])).unwrap();
    assert_eq!(steps.dims(), [2, 3, 5]);
    assert!(dense(&tensor(&[2, 3]), &tensor(&[5, 4]), &tensor(&[5])).is_err());
}

/// The gradient by the inputs of a loss at step `s`, from 1, of two layers on top of each other.
fn stacked_grad_x(layers: [&Sequence; 2], truncation: Truncation, s: usize) -> Vec<f64> {
    let [lower, upper] = layers.map(|layer| Arguments::new(layer, DType::F64));
    let [packed_lower, packed_upper] =
        [&lower, &upper].map(|layer| PackedWeights::new(&layer.weights()).unwrap());
    let stack = |x: &Tensor, h_0: [&Tensor; 2], truncation: Truncation| -> [Tensor; 2] {
        let unroll = Unroll::new(Outputs::All).truncated(truncation);
        let h = rnn_sequence(x, &packed_lower, Some(h_0[0]), Cell::Tanh, unroll).unwrap();
        let top = rnn_sequence(&h, &packed_upper, Some(h_0[1]), Cell::Tanh, unroll).unwrap();
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
    let mut forms = vec![("full", 0, 0)];
    for k in [1, 3, 5, T - 1, T, T + 1] {
        forms.extend([("segments", k, 0), ("window", k, k), ("window", k, k + 2)]);
    }
    for form in forms {
        let truncation = match form {
            ("segments", k, _) => Truncation::segments(k).unwrap(),
            ("window", k1, k2) => Truncation::window(k1, k2).unwrap(),
            _ => Truncation::FULL,
        };
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
