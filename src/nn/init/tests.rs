//! The distributions of initial weights, and that a seed gives them again.

use std::collections::BTreeMap;

use candle_core::DType;

use super::draw::orthogonal;
use super::*;
use crate::rng::Purpose;

fn initial(init: Init, seed: u64) -> BTreeMap<String, Vec<f32>> {
    let sink = VarSink::new(DType::F32, &Device::Cpu);
    let mut rng = SeededRng::new(seed, Purpose::Init);
    let config = StackConfig::new(Cell::Tanh, 28, 150);
    init_stack(&config, init, &mut rng, &sink.pp("rnn")).unwrap();
    init_dense([10, 150], true, init, &mut rng, &sink.pp("head")).unwrap();
    sink.named()
        .unwrap()
        .into_iter()
        .map(|(name, var)| (name, var.flatten_all().unwrap().to_vec1().unwrap()))
        .collect()
}

fn check_uniform(values: &[f32], limit: f64) {
    let max = values.iter().fold(0f64, |max, x| max.max(f64::from(x.abs())));
    assert!(max <= limit && max > 0.97 * limit, "{max} of {limit}");
    let variance = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64;
    // Uniform in ±limit has variance limit²/3; the smallest tensor here has 150 values.
    assert!((variance / (limit * limit / 3.) - 1.).abs() < 0.25, "{variance}");
}

#[test]
fn glorot_takes_its_limit_from_the_joined_kernel() {
    let vars = initial(Init::Glorot, 42);
    let limit = (6f64 / (28. + 150. + 150.)).sqrt();
    check_uniform(&vars["rnn.weight_ih_l0"], limit);
    check_uniform(&vars["rnn.weight_hh_l0"], limit);
    check_uniform(&vars["head.weight"], (6f64 / 160.).sqrt());
    assert!(vars["rnn.bias_ih_l0"].iter().chain(&vars["head.bias"]).all(|b| *b == 0.));
}

#[test]
fn pytorch_draws_all_from_one_over_the_root_of_the_units() {
    let vars = initial(Init::Pytorch, 42);
    for name in ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "head.weight"] {
        check_uniform(&vars[name], 1. / 150f64.sqrt());
    }
}

#[test]
fn orthogonal_rows_have_length_one_and_right_angles() {
    let w_hh = orthogonal(&mut SeededRng::new(3, Purpose::Init), 150);
    for i in 0..150 {
        for j in 0..150 {
            let dot: f64 = (0..150).map(|k| w_hh[i * 150 + k] * w_hh[j * 150 + k]).sum();
            let expected = f64::from(u8::from(i == j));
            assert!((dot - expected).abs() < 1e-13, "{i} {j} {dot}");
        }
    }
    let vars = initial(Init::Orthogonal, 42);
    check_uniform(&vars["rnn.weight_ih_l0"], (6f64 / 178.).sqrt());
}

#[test]
fn identity_is_the_identity_with_small_input_weights() {
    let vars = initial(Init::Identity, 42);
    let w_hh = &vars["rnn.weight_hh_l0"];
    assert!((0..150 * 150).all(|i| w_hh[i] == if i % 151 == 0 { 1. } else { 0. }));
    let w_ih = &vars["rnn.weight_ih_l0"];
    let deviation = (w_ih.iter().map(|w| w * w).sum::<f32>() / w_ih.len() as f32).sqrt();
    assert!((deviation - 0.001).abs() < 0.0001, "{deviation}");
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    for init in [Init::Glorot, Init::Orthogonal, Init::Identity, Init::Pytorch] {
        assert_eq!(initial(init, 1), initial(init, 1));
        assert_ne!(initial(init, 1)["rnn.weight_ih_l0"], initial(init, 2)["rnn.weight_ih_l0"]);
    }
}
