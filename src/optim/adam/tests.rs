//! The steps of the formula, PyTorch's and Candle's; states; what is refused.

use candle_nn::{AdamW, ParamsAdamW, VarMap};

use super::*;
use crate::nn::VarSink;

fn var(values: &[f64], dtype: DType) -> Var {
    let tensor = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    Var::from_tensor(&tensor).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The gradient of Σ scale·x²/2 is scale·x.
fn grads(x: &Var, scale: f64) -> GradStore {
    (x.sqr().unwrap().sum_all().unwrap() * (scale / 2.)).unwrap().backward().unwrap()
}

#[test]
fn three_steps_are_those_of_the_formula() {
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
        let start = [1.0, -0.5, 3.0, 0.0];
        let x = var(&start, dtype);
        let config = AdamConfig { learning_rate: 0.1, ..AdamConfig::default() };
        let mut adam = Adam::new([("x".to_string(), x.clone())], config).unwrap();
        let (mut expected, mut m, mut v) = (start, [0.; 4], [0.; 4]);
        for t in 1..=3 {
            adam.step(&grads(&x, 2.)).unwrap();
            for i in 0..4 {
                let g = 2. * expected[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let m_hat = m[i] / (1. - 0.9f64.powi(t));
                let v_hat = v[i] / (1. - 0.999f64.powi(t));
                expected[i] -= 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        for (found, expected) in values(&x).iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance * 3., "{found} {expected}");
        }
    }
}

#[test]
fn decayed_weights_are_those_of_pytorchs_adamw() {
    let x = var(&[1., -2., 0.5], DType::F64);
    let config = AdamConfig { learning_rate: 0.1, weight_decay: 0.05, ..Default::default() };
    let mut adam = Adam::new([("x".to_string(), x.clone())], config).unwrap();
    for gradient in [[0.5, -1., 2.], [1., 0., -1.]] {
        let gradient = Tensor::new(&gradient, &Device::Cpu).unwrap();
        let loss = (x.as_tensor() * gradient).unwrap().sum_all().unwrap();
        adam.step(&loss.backward().unwrap()).unwrap();
    }
    // torch.optim.AdamW([p], lr=0.1, weight_decay=0.05) with these gradients.
    let expected = [0.7940068006285094, -1.8135441765291886, 0.36887879669993157];
    for (a, b) in values(&x).iter().zip(expected) {
        assert!((a - b).abs() < 1e-14, "{a} instead of {b}");
    }
}

#[test]
fn composed_adam_steps_equal_those_of_the_fused_pass() {
    let (fused, composed) = (var(&[1., -2., 3.], DType::F64), var(&[1., -2., 3.], DType::F64));
    let config = AdamConfig::default();
    let mut adam = Adam::new([("x".to_string(), fused.clone())], config).unwrap();
    let zeros = composed.zeros_like().unwrap();
    let moments = Moments::Device { m: zeros.clone(), v: zeros };
    let mut parameter = Parameter { var: composed.clone(), moments, skipped: 0 };
    for t in 1..=5 {
        adam.step(&grads(&fused, 1.)).unwrap();
        let grads = grads(&composed, 1.);
        let grad = grads.get(&composed).unwrap();
        parameter.update(grad, &Coefficients::new(&config, t)).unwrap();
    }
    for (a, b) in values(&fused).iter().zip(values(&composed)) {
        assert!((a - b).abs() <= 1e-14, "{a} {b}");
    }
    assert_ne!(values(&fused), [1., -2., 3.]);
}

#[test]
fn a_saved_state_continues_with_the_same_bits() {
    let (x, y) = (var(&[1., -2.], DType::F32), var(&[1., -2.], DType::F32));
    let config = AdamConfig::default();
    let mut adam = Adam::new([("x".to_string(), x.clone())], config).unwrap();
    for _ in 0..4 {
        adam.step(&grads(&x, 1.)).unwrap();
    }
    let state = adam.state().unwrap();
    y.set(&x.as_tensor().copy().unwrap()).unwrap();
    let mut other = Adam::new([("x".to_string(), y.clone())], config).unwrap();
    other.restore(&state).unwrap();
    assert_eq!(other.step_count(), 4);
    for _ in 0..4 {
        adam.step(&grads(&x, 1.)).unwrap();
        other.step(&grads(&y, 1.)).unwrap();
    }
    assert_eq!(values(&x), values(&y));
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let x = var(&[1., -2.], DType::F32);
    let mut adam = Adam::new([("x".to_string(), x)], AdamConfig::default()).unwrap();
    let state = |name: &str, values: &[f64], dtype| AdamState {
        step: 9,
        moments: [format!("m.{name}"), format!("v.{name}")]
            .map(|key| (key, var(values, dtype).as_tensor().clone()))
            .into(),
    };
    assert!(adam.restore(&state("y", &[1., 2.], DType::F32)).is_err());
    assert!(adam.restore(&state("x", &[1.], DType::F32)).is_err());
    assert!(adam.restore(&state("x", &[1., 2.], DType::F64)).is_err());
    assert_eq!(adam.step_count(), 0);
    adam.restore(&state("x", &[1., 2.], DType::F32)).unwrap();
    assert_eq!(adam.step_count(), 9);
}

#[test]
fn a_variable_without_a_gradient_is_skipped_and_counted() {
    for dtype in [DType::F32, DType::F64] {
        let (x, y) = (var(&[1., -2.], dtype), var(&[1., -2.], dtype));
        let vars = [("x".to_string(), x.clone()), ("y".to_string(), y.clone())];
        // Decay is for what is trained, as in PyTorch.
        let config = AdamConfig { weight_decay: 0.1, ..AdamConfig::default() };
        let mut adam = Adam::new(vars, config).unwrap();
        let before = adam.state().unwrap();
        for _ in 0..50 {
            adam.step(&grads(&x, 1.)).unwrap();
            assert_eq!(adam.skipped(), ["y"]);
        }
        assert_eq!((adam.step_count(), adam.skipped_steps("y")), (50, Some(50)));
        assert_eq!((adam.skipped_steps("x"), adam.skipped_steps("z")), (Some(0), None));
        assert_eq!(values(&y), [1., -2.]);
        let state = adam.state().unwrap();
        assert_eq!(values(&state.moments["v.y"]), values(&before.moments["v.y"]));
        // From here on y is trained as if it had just begun, also from a saved state.
        let z = var(&[1., -2.], dtype);
        let mut fresh = Adam::new([("y".to_string(), z.clone())], config).unwrap();
        let copies =
            [&x, &y].map(|var| Var::from_tensor(&var.as_tensor().copy().unwrap()).unwrap());
        let named = ["x", "y"].map(String::from).into_iter().zip(copies.clone());
        let mut restored = Adam::new(named.collect::<Vec<_>>(), config).unwrap();
        restored.restore(&state).unwrap();
        assert_eq!(restored.skipped_steps("y"), Some(50));
        let both = |a: &Var, b: &Var| {
            let loss = (a.sqr().unwrap() + b.sqr().unwrap()).unwrap().sum_all().unwrap();
            (loss * 0.5).unwrap().backward().unwrap()
        };
        for _ in 0..3 {
            adam.step(&both(&x, &y)).unwrap();
            restored.step(&both(&copies[0], &copies[1])).unwrap();
            fresh.step(&grads(&z, 1.)).unwrap();
            assert!(adam.skipped().is_empty());
        }
        assert_eq!(values(&y), values(&z));
        assert_eq!((values(&x), values(&y)), (values(&copies[0]), values(&copies[1])));
    }
}

#[test]
fn a_loss_that_reaches_no_variable_is_an_error() {
    let (x, y) = (var(&[1.], DType::F32), var(&[1.], DType::F32));
    let mut adam = Adam::new([("x".to_string(), x)], AdamConfig::default()).unwrap();
    let error = adam.step(&grads(&y, 1.)).unwrap_err().to_string();
    assert!(error.contains("no gradient for any of its variables"), "{error}");
    assert_eq!(adam.step_count(), 0);
}

#[test]
fn a_step_on_a_gradient_that_is_not_finite_moves_nothing() {
    for (scale, what) in [
        (f64::INFINITY, "the gradient of y"),
        (1e25, "the squared gradient of y"),
        (5e20, "the squared gradient of y"),
    ] {
        let (x, y) = (var(&[1.], DType::F32), var(&[1.], DType::F32));
        let vars = [("x".to_string(), x.clone()), ("y".to_string(), y.clone())];
        let mut adam = Adam::new(vars, AdamConfig::default()).unwrap();
        let of_y = (y.sum_all().unwrap() * scale).unwrap();
        let loss = (x.sum_all().unwrap() + of_y).unwrap();
        let error = adam.step(&loss.backward().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{what} is not finite at step 0")), "{error}");
        assert_eq!((values(&x), values(&y), adam.step_count()), (vec![1.], vec![1.], 0));
    }
}

#[test]
fn settings_that_would_make_weights_nan_are_refused() {
    let x = var(&[1.], DType::F32);
    let plain = AdamConfig::default();
    for (config, named) in [
        (AdamConfig { learning_rate: f64::NAN, ..plain }, "learning_rate"),
        (AdamConfig { learning_rate: 1e39, ..plain }, "learning_rate"),
        (AdamConfig { beta1: 1., ..plain }, "beta1"),
        (AdamConfig { beta2: -0.1, ..plain }, "beta2"),
        (AdamConfig { eps: 0., ..plain }, "eps"),
        (AdamConfig { weight_decay: f64::INFINITY, ..plain }, "weight_decay"),
    ] {
        let made = Adam::new([("x".to_string(), x.clone())], config);
        let error = made.unwrap_err().to_string();
        assert!(error.starts_with(named), "{error}");
        // They can be changed between steps.
        let mut adam = Adam::new([("x".to_string(), x.clone())], plain).unwrap();
        adam.config = config;
        assert_eq!(adam.step(&grads(&x, 1.)).unwrap_err().to_string(), error);
        assert_eq!(values(&x), [1.]);
    }
}

#[test]
fn a_name_or_a_variable_that_is_given_twice_is_an_error() {
    let (x, y) = (var(&[1.], DType::F32), var(&[1.], DType::F32));
    let named = |a: &str, b: &str, y: &Var| {
        let vars = [(a.to_string(), x.clone()), (b.to_string(), y.clone())];
        Adam::new(vars, AdamConfig::default())
    };
    let error = named("x", "x", &y).unwrap_err().to_string();
    assert!(error.contains("two variables are called x"), "{error}");
    let error = named("a", "b", &x).unwrap_err().to_string();
    assert!(error.contains("a and b are one variable"), "{error}");
}

/// Three steps down the slope of Σ x² + Σ y² with any of Candle's optimizers.
fn train<O: Optimizer>(vars: Vec<Var>, config: O::Config) -> candle_core::Result<O> {
    let mut optimizer = O::new(vars.clone(), config)?;
    for _ in 0..3 {
        let loss = (vars[0].sqr()?.sum_all()? + vars[1].sqr()?.sum_all()?)?;
        optimizer.backward_step(&loss)?;
        optimizer.set_learning_rate(optimizer.learning_rate() / 2.);
    }
    Ok(optimizer)
}

#[test]
fn candles_trait_makes_the_same_steps_to_the_bit() {
    for dtype in [DType::F32, DType::F64] {
        let (x, y) = (var(&[1., -2.], dtype), var(&[3.], dtype));
        let config = AdamConfig { learning_rate: 0.1, weight_decay: 0.1, ..Default::default() };
        let vars = vec![x.clone(), y.clone()];
        let adam: Adam = train(vars, config).unwrap();
        assert_eq!((adam.step_count(), adam.learning_rate()), (3, 0.0125));
        assert!(adam.state().unwrap().moments.keys().eq(["m.0", "m.1", "v.0", "v.1"]));

        let (a, b) = (var(&[1., -2.], dtype), var(&[3.], dtype));
        let named = [("a".to_string(), a.clone()), ("b".to_string(), b.clone())];
        let mut own = Adam::new(named, config).unwrap();
        for _ in 0..3 {
            let loss = (a.sqr().unwrap().sum_all().unwrap() + b.sqr().unwrap().sum_all().unwrap())
                .unwrap();
            own.step(&loss.backward().unwrap()).unwrap();
            own.config.learning_rate /= 2.;
        }
        assert_eq!((values(&x), values(&y)), (values(&a), values(&b)));
        // Near to Candle's own, whose moments are of the same formula.
        let (u, w) = (var(&[1., -2.], dtype), var(&[3.], dtype));
        let params = ParamsAdamW { lr: 0.1, weight_decay: 0.1, ..Default::default() };
        train::<AdamW>(vec![u.clone(), w.clone()], params).unwrap();
        let near = |a: &Var, b: &Var| {
            values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs())
        };
        assert!(near(&x, &u) && near(&y, &w), "{:?} {:?}", values(&x), values(&u));
    }
}

#[test]
fn an_error_of_a_step_is_typed_behind_candles_trait_too() {
    let (x, y) = (var(&[1.], DType::F32), var(&[1.], DType::F32));
    let mut adam: Adam = Optimizer::new(vec![x.clone()], AdamConfig::default()).unwrap();
    let error = Optimizer::backward_step(&mut adam, &y.sum_all().unwrap()).unwrap_err();
    assert!(matches!(Error::from(error), Error::Config(_)));
    let huge = (x.sum_all().unwrap() * f64::INFINITY).unwrap();
    let error = Optimizer::backward_step(&mut adam, &huge).unwrap_err();
    assert!(matches!(Error::from(error), Error::NotFinite { step: 0, .. }));
}

#[test]
fn variables_come_from_a_sink_a_varmap_or_any_list() {
    let map = VarMap::new();
    let sink = VarSink::from_varmap(&map, DType::F32, &Device::Cpu);
    let tensor = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
    let w = sink.insert("w", &tensor).unwrap();
    let b = sink.insert("b", &tensor).unwrap();
    let names = |adam: Result<Adam>| -> Vec<String> {
        adam.unwrap().state().unwrap().moments.into_keys().collect()
    };
    let config = AdamConfig::default();
    let expected = ["m.b", "m.w", "v.b", "v.w"];
    assert_eq!(names(Adam::new(&sink, config)), expected);
    assert_eq!(names(Adam::new(&map, config)), expected);
    let named = sink.named().unwrap();
    assert_eq!(names(Adam::new(&named, config)), expected);
    assert_eq!(names(Adam::new(named, config)), expected);
    let list = vec![("w".to_string(), w.clone()), ("b".to_string(), b.clone())];
    assert_eq!(names(Adam::new(list, config)), expected);
    assert_eq!(names(Adam::new(vec![w, b], config)), ["m.0", "m.1", "v.0", "v.1"]);
    assert_eq!(Adam::new(map.all_vars(), config).unwrap().parameters.len(), 2);
}
