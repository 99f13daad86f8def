//! The activations' last bits.

use super::super::Outputs;
use super::*;

/// `tanh` of each value, by way of a unit that sees the value alone.
fn tanh_of(values_in: &[f64], isa: Isa, dtype: DType) -> Vec<f64> {
    let tensor = |values: &[f64], shape: &[usize]| {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    let weights = Weights::new(tensor(&[1.], &[1, 1]), tensor(&[0.], &[1, 1]), tensor(&[0.], &[1]));
    let packed = LayerWeights::new(Cell::Tanh, weights).unwrap().packed_for(isa);
    let x = tensor(values_in, &[values_in.len(), 1, 1]);
    values(&rnn_sequence(&x, &packed, None, Outputs::Last).unwrap())
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
    let mut rng = SeededRng::new(11, Purpose::Init);
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

/// `σ` of each value, by way of a GRU whose candidate is 0: `h_1 = σ(x) · h_0`, from 1.
fn sigmoid_of(values_in: &[f64], isa: Isa, dtype: DType) -> Vec<f64> {
    let tensor = |values: &[f64], shape: &[usize]| {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let weights = Weights::new(tensor(&[0., 1., 0.], &[3, 1]), zeros(&[3, 1]), zeros(&[3]));
    let packed = LayerWeights::new(Cell::Gru, weights).unwrap().packed_for(isa);
    let x = tensor(values_in, &[values_in.len(), 1, 1]);
    let ones = Tensor::ones((values_in.len(), 1), dtype, &Device::Cpu).unwrap();
    values(&rnn_sequence(&x, &packed, Some(&ones), Outputs::Last).unwrap())
}

#[test]
fn the_logistic_function_is_within_4_units_of_the_last_place() {
    for (dtype, limit, epsilon) in
        [(DType::F32, 87., f64::from(f32::EPSILON)), (DType::F64, 708., f64::EPSILON)]
    {
        let mut rng = SeededRng::new(12, Purpose::Init);
        let inputs: Vec<f64> = (0..40_000)
            .map(|index| match index % 3 {
                0 => rng.symmetric(limit),
                1 => rng.symmetric(4.),
                _ => rng.symmetric(1e-3),
            })
            .map(|x| if dtype == DType::F32 { f64::from(x as f32) } else { x })
            .collect();
        for isa in Isa::available() {
            let found = sigmoid_of(&inputs, isa, dtype);
            for (x, y) in inputs.iter().zip(&found) {
                // The small side, from which the other follows, without cancellation.
                let small = (-x.abs()).exp() / (1. + (-x.abs()).exp());
                let exact = if *x < 0. { small } else { 1. - small };
                let unit = epsilon * 2f64.powi(exact.log2().floor() as i32);
                let off = (y - exact).abs() / unit;
                assert!(off <= 4. && *y <= 1., "{}: σ({x:e}) = {y:e}, {off} off", isa.name());
            }
            // Infinity times the candidate's weight of 0 would be NaN.
            let edges = [f64::NAN, 1e30, -1e30, 0.];
            let found = sigmoid_of(&edges, isa, dtype);
            assert!(found[0].is_nan(), "{}", isa.name());
            assert_eq!((found[1], found[3]), (1., 0.5), "{}", isa.name());
            assert!((0. ..1e-37).contains(&found[2]), "{}: {}", isa.name(), found[2]);
        }
    }
}
