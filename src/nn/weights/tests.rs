//! Tests of weights that do not fit, and of their errors; `tests/library/layers.rs` tests those that do.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

use crate::files::tensors::WeightFile;
use crate::model::{ClassifierConfig, SequenceClassifier};
use crate::nn::weights::{
    from_keras, from_pytorch, from_pytorch_as, from_tensorflow_gru, from_tensorflow_lstm,
    from_tensorflow_rnn, stack_from, to_pytorch,
};
use crate::nn::{Gru, GruConfig, Lstm, LstmConfig, Rnn, RnnConfig, Stack, StackConfig};
use crate::recurrence::{Cell, Weights};
use crate::{Error, Result};

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

/// The numbers from 1 on.
fn counted(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>() as f64;
    Tensor::arange(1., count + 1., &Device::Cpu).unwrap().reshape(shape).unwrap()
}

/// A state dict of ones.
fn dict(config: &StackConfig, prefix: &str) -> BTreeMap<String, Tensor> {
    let named = |(name, shape): (String, Vec<usize>)| (format!("{prefix}{name}"), ones(&shape));
    config.parameters().into_iter().map(named).collect()
}

fn two_layers(cell: Cell) -> StackConfig {
    StackConfig { num_layers: 2, ..StackConfig::new(cell, 3, 4) }
}

#[track_caller]
fn text_of<T>(result: Result<T>) -> String {
    match result {
        Err(error @ (Error::Weight { .. } | Error::Config(_))) => error.to_string(),
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn a_tensor_that_is_missing_is_named_with_the_name_that_is_near() {
    let config = two_layers(Cell::Lstm);
    let mut tensors = dict(&config, "rnn.");
    tensors.remove("rnn.weight_hh_l1");
    assert_eq!(
        text_of(from_pytorch(config, &tensors, "rnn.")),
        "weight rnn.weight_hh_l1: expected shape [16, 4], \
         found no such tensor (near: rnn.weight_hh_l0)"
    );
    let tensors = dict(&config, "model.encoder.");
    assert_eq!(
        text_of(from_pytorch(config, &tensors, "encoder.")),
        "weight encoder.weight_ih_l0: expected shape [16, 3], found no such \
         tensor (near: model.encoder.weight_ih_l0): pass the prefix \"model.encoder.\""
    );
    assert_eq!(
        text_of(from_pytorch(config, &BTreeMap::new(), "")),
        "weight weight_ih_l0: expected shape [16, 3], found no such tensor"
    );
}

#[test]
fn a_surplus_tensor_behind_the_prefix_is_named() {
    let both = StackConfig { bidirectional: true, ..two_layers(Cell::Gru) };
    let config = two_layers(Cell::Gru);
    assert_eq!(
        text_of(from_pytorch(config, &dict(&both, "rnn."), "rnn.")),
        "weight rnn.weight_ih_l1: expected shape [12, 4], found [12, 8] of f32"
    );
    let mut tensors = dict(&config, "rnn.");
    tensors.insert("head.weight".into(), ones(&[10, 4]));
    from_pytorch(config, &tensors, "rnn.").unwrap();
    tensors.insert("rnn.weight_hr_l1".into(), ones(&[2, 4]));
    assert_eq!(
        text_of(from_pytorch(config, &tensors, "rnn.")),
        "weight rnn.weight_hr_l1: expected no such tensor in gru with num_layers: 2, \
         bidirectional: false, found [2, 4] of f32"
    );
    let config = StackConfig { proj_size: Some(2), ..StackConfig::new(Cell::Lstm, 3, 4) };
    let mut tensors = dict(&config, "");
    tensors.insert("head.weight".into(), ones(&[10, 4]));
    assert_eq!(
        text_of(from_pytorch(config, &tensors, "")),
        "weight head.weight: expected no such tensor in lstm with num_layers: 1, \
         bidirectional: false, proj_size: 2, found [10, 4] of f32"
    );
}

#[test]
fn another_shape_another_dtype_and_nan_are_named() {
    let config = two_layers(Cell::Lstm);
    let wrong = [
        (ones(&[12, 4]), "shape [16, 4], found [12, 4] of f32"),
        (
            ones(&[16, 4]).to_dtype(DType::I64).unwrap(),
            "f16, bf16, f32 or f64, found [16, 4] of i64",
        ),
        (ones(&[16, 4]).affine(f64::NAN, 0.).unwrap(), "finite numbers, found NaN or infinity"),
        (
            ones(&[16, 4]).affine(1., f64::INFINITY).unwrap(),
            "finite numbers, found NaN or infinity",
        ),
    ];
    for (tensor, expected) in wrong {
        let mut tensors = dict(&config, "rnn.");
        tensors.insert("rnn.weight_hh_l1".into(), tensor);
        let text = text_of(from_pytorch(config, &tensors, "rnn."));
        assert_eq!(text, format!("weight rnn.weight_hh_l1: expected {expected}"));
    }
}

#[test]
fn the_second_bias_is_optional_for_tanh_and_required_for_gru() {
    let config = two_layers(Cell::Tanh);
    let mut tensors = dict(&config, "");
    from_pytorch(config, &tensors, "").unwrap();
    tensors.insert("bias_hh_l1".into(), ones(&[4]));
    let stack = from_pytorch(config, &tensors, "").unwrap();
    let second = |layer: usize| stack.weights(layer)[0].b_hh.is_some();
    assert_eq!((second(0), second(1)), (false, true));
    tensors.insert("bias_hh_l1".into(), ones(&[5]));
    assert_eq!(
        text_of(from_pytorch(config, &tensors, "")),
        "weight bias_hh_l1: expected shape [4], found [5] of f32"
    );
    let config = two_layers(Cell::Gru);
    let mut tensors = dict(&config, "");
    tensors.remove("bias_hh_l1");
    assert_eq!(
        text_of(from_pytorch(config, &tensors, "")),
        "weight bias_hh_l1: expected shape [12], found no such tensor (near: bias_hh_l0)"
    );
}

#[test]
fn cells_that_pytorch_does_not_have_are_refused_both_ways() {
    for cell in [Cell::GruResetBefore, Cell::MinimalGru] {
        let config = StackConfig::new(cell, 3, 4);
        let expected = format!(
            "pytorch has no {}: a torch.nn layer with these weights would compute something else",
            cell.name()
        );
        assert_eq!(text_of(from_pytorch(config, &dict(&config, ""), "")), expected);
        let rows = cell.gates() * 4;
        let weights = Weights::new(ones(&[rows, 3]), ones(&[rows, 4]), ones(&[rows]));
        let stack = stack_from(config, vec![vec![weights]]).unwrap();
        assert_eq!(text_of(to_pytorch(&stack, "")), expected);
    }
}

#[test]
fn exported_weights_are_copies_tanh_with_a_zero_second_bias() {
    let config = StackConfig::new(Cell::Tanh, 3, 4);
    let mut tensors = dict(&config, "");
    let var = Var::from_tensor(&tensors["bias_ih_l0"]).unwrap();
    tensors.insert("bias_ih_l0".into(), var.as_tensor().clone());
    let stack = from_pytorch(config, &tensors, "").unwrap();
    let exported = to_pytorch(&stack, "rnn.").unwrap();
    let names = ["bias_hh_l0", "bias_ih_l0", "weight_hh_l0", "weight_ih_l0"];
    assert!(exported.keys().eq(&names.map(|name| format!("rnn.{name}"))), "{exported:?}");
    assert!(exported.values().all(|tensor| !tensor.is_variable() && tensor.is_contiguous()));
    assert_eq!(exported["rnn.bias_hh_l0"].to_vec1::<f32>().unwrap(), [0.; 4]);
    var.set(&ones(&[4]).affine(7., 0.).unwrap()).unwrap();
    assert_eq!(stack.weights(0)[0].b_ih.to_vec1::<f32>().unwrap(), [7.; 4]);
    assert_eq!(exported["rnn.bias_ih_l0"].to_vec1::<f32>().unwrap(), [1.; 4]);
}

#[test]
fn a_projection_that_pytorch_refuses_is_not_exported() {
    let config = StackConfig { proj_size: Some(4), ..StackConfig::new(Cell::Lstm, 3, 4) };
    let stack = from_pytorch(config, &dict(&config, ""), "").unwrap();
    let error = to_pytorch(&stack, "").unwrap_err().to_string();
    assert!(error.contains("proj_size must be less than hidden_size"), "{error}");
}

#[test]
fn layers_and_directions_must_be_as_many_as_the_settings_say() {
    let weights = || Weights::new(ones(&[4, 3]), ones(&[4, 4]), ones(&[4]));
    let config = StackConfig::new(Cell::Tanh, 3, 4);
    stack_from(config, vec![vec![weights()]]).unwrap();
    for (layers, expected) in [
        (vec![], "found []"),
        (vec![vec![weights(), weights()]], "found [2]"),
        (vec![vec![weights()], vec![weights()]], "found [1, 1]"),
    ] {
        let text = text_of(stack_from(config, layers));
        let rule = "expected the weights of num_layers: 1 with 1 in each, ";
        assert_eq!(text, format!("{rule}{expected}"));
    }
    assert_eq!(
        text_of(stack_from(two_layers(Cell::Tanh), vec![vec![weights()], vec![weights()]])),
        "weight weight_ih_l1: expected shape [4, 4], found [4, 3] of f32"
    );
}

#[test]
fn kernels_of_keras_that_do_not_fit_are_named() {
    let (kernel, recurrent) = (ones(&[3, 16]), ones(&[4, 16]));
    let keras = |cell, kernel: &[usize], recurrent: &[usize], bias: &[usize]| {
        text_of(from_keras(cell, &ones(kernel), &ones(recurrent), Some(&ones(bias))))
    };
    from_keras(Cell::Lstm, &kernel, &recurrent, None).unwrap();
    assert_eq!(
        keras(Cell::Lstm, &[3, 18], &[4, 16], &[16]),
        "weight kernel: expected shape (I, 4·H), I and H at least 1, \
         found [3, 18] of f32"
    );
    assert_eq!(
        keras(Cell::Lstm, &[3, 16], &[16, 4], &[16]),
        "weight recurrent_kernel: expected shape [4, 16], found [16, 4] of f32"
    );
    assert_eq!(
        keras(Cell::GruResetBefore, &[3, 12], &[4, 12], &[2, 12]),
        "weight bias: expected shape [12], found [2, 12] of f32"
    );
    assert_eq!(
        keras(Cell::Gru, &[3, 12], &[4, 12], &[12]),
        "weight bias: expected shape [2, 12], found [12] of f32"
    );
    for empty in [[0, 4], [3, 0]] {
        let text = keras(Cell::Tanh, &empty, &[4, 4], &[4]);
        assert!(text.contains("(I, H), I and H at least 1"), "{text}");
    }
    let nan = recurrent.affine(f64::NAN, 0.).unwrap();
    assert_eq!(
        text_of(from_keras(Cell::Lstm, &kernel, &nan, None)),
        "weight recurrent_kernel: expected finite numbers, found NaN or infinity"
    );
    let minimal = from_keras(Cell::MinimalGru, &kernel, &recurrent, None);
    assert_eq!(text_of(minimal), "keras has no minimal-gru");
}

#[test]
fn gates_of_keras_are_put_in_order_and_no_bias_is_zeros() {
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    // z r h, of one unit, with two inputs.
    let gru = |bias: Option<&Tensor>| {
        from_keras(Cell::Gru, &counted(&[2, 3]), &counted(&[1, 3]), bias).unwrap()
    };
    let Weights { w_ih, w_hh, b_ih, b_hh, .. } = gru(Some(&counted(&[2, 3])));
    assert_eq!(numbers(&w_ih), [2., 5., 1., 4., 3., 6.]);
    assert_eq!(numbers(&w_hh), [2., 1., 3.]);
    assert_eq!(
        (numbers(&b_ih), b_hh.map(|b| numbers(&b))),
        (vec![2., 1., 3.], Some(vec![5., 4., 6.]))
    );
    let Weights { b_ih, b_hh, .. } = gru(None);
    assert_eq!((numbers(&b_ih), b_hh.is_none()), (vec![0.; 3], true));
}

#[test]
fn kernels_of_tensorflow_that_do_not_fit_are_named() {
    let (b, kernel) = (ones(&[16]), ones(&[7, 16]));
    from_tensorflow_lstm(&kernel, &b, 3, 1.).unwrap();
    for input_size in [0, 2, 8] {
        let text = text_of(from_tensorflow_lstm(&kernel, &b, input_size, 1.));
        let expected = format!(
            "weight kernel: expected shape ({input_size} + H, 4·H), I and H at least 1, \
             found [7, 16] of f32"
        );
        assert_eq!(text, expected);
    }
    assert_eq!(
        text_of(from_tensorflow_lstm(&kernel, &b, 3, f64::NAN)),
        "forget_bias must be finite, got NaN"
    );
    assert_eq!(
        text_of(from_tensorflow_rnn(&ones(&[7, 4]), &b, 3)),
        "weight bias: expected shape [4], found [16] of f32"
    );
    let gru = |gates: &[usize], bias: &[usize], candidate: &[usize], last: &[usize]| {
        from_tensorflow_gru(&ones(gates), &ones(bias), &ones(candidate), &ones(last), 3)
    };
    gru(&[7, 8], &[8], &[7, 4], &[4]).unwrap();
    assert_eq!(
        text_of(gru(&[7, 8], &[8], &[7, 5], &[4])),
        "weight candidate/kernel: expected shape [7, 4], \
         found [7, 5] of f32"
    );
    assert_eq!(
        text_of(gru(&[7, 8], &[8], &[7, 4], &[8])),
        "weight candidate/bias: expected shape [4], found [8] of f32"
    );
    assert_eq!(
        text_of(gru(&[7, 8], &[4], &[7, 4], &[4])),
        "weight gates/bias: expected shape [8], found [4] of f32"
    );
}

fn half(tensors: &BTreeMap<String, Tensor>, dtype: DType) -> BTreeMap<String, Tensor> {
    let half = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.to_dtype(dtype).unwrap());
    tensors.iter().map(half).collect()
}

#[test]
fn another_prefix_is_named_whatever_stands_before_the_names() {
    let config = two_layers(Cell::Lstm);
    for (there, asked) in [
        ("module.lstm.", "lstm."),
        ("_orig_mod.lstm.", "lstm."),
        ("model.lstm.", "lstm."),
        ("module._orig_mod.lstm.", "lstm."),
        ("lstm._orig_mod.", "lstm."),
        ("lstm.", ""),
        ("lstm.", "lstm"),
        ("lstm.", "module.lstm."),
        ("lstm.", "model."),
        ("", "lstm."),
    ] {
        let mut tensors = dict(&config, there);
        tensors.insert("head.weight".into(), ones(&[10, 4]));
        assert_eq!(
            text_of(from_pytorch(config, &tensors, asked)),
            format!(
                "weight {asked}weight_ih_l0: expected shape [16, 3], found no such tensor (near: \
                 {there}weight_ih_l0): pass the prefix {there:?}"
            )
        );
    }
    // Two of them, the nearer one first.
    let mut tensors = dict(&config, "decoder.");
    tensors.extend(dict(&config, "module.encoder."));
    let text = text_of(from_pytorch(config, &tensors, "encoder."));
    assert!(text.ends_with("pass the prefix \"module.encoder.\" or \"decoder.\""), "{text}");
    // Of which one has not all of the weights.
    tensors.remove("module.encoder.weight_hh_l1");
    let text = text_of(from_pytorch(config, &tensors, "encoder."));
    assert!(text.ends_with("pass the prefix \"decoder.\""), "{text}");
}

#[test]
fn without_biases_all_are_zeros_and_some_missing_are_named() {
    for cell in [Cell::Tanh, Cell::Gru, Cell::Lstm] {
        let config = StackConfig { bidirectional: true, ..two_layers(cell) };
        let mut tensors = dict(&config, "rnn.");
        tensors.insert("head.bias".into(), ones(&[10]));
        tensors.retain(|name, _| !name.starts_with("rnn.bias"));
        let stack = from_pytorch(config, &tensors, "rnn.").unwrap();
        let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu);
        for stack in [stack, Stack::new(config, vb.pp("rnn")).unwrap()] {
            let biases: Vec<&Tensor> = (0..2)
                .flat_map(|layer| stack.weights(layer))
                .flat_map(|weights| [Some(&weights.b_ih), weights.b_hh.as_ref()])
                .flatten()
                .collect();
            assert_eq!(biases.len(), if cell == Cell::Tanh { 4 } else { 8 });
            for bias in biases {
                let rows = cell.gates() * 4;
                assert_eq!(bias.to_vec1::<f32>().unwrap(), vec![0.; rows], "{cell:?}");
            }
        }
    }
    let config = two_layers(Cell::Gru);
    let mut tensors = dict(&config, "");
    tensors.retain(|name, _| !name.starts_with("bias") || name == "bias_ih_l0");
    assert_eq!(
        text_of(from_pytorch(config, &tensors, "")),
        "weight bias_hh_l0: expected shape [12], found no such tensor (near: bias_ih_l0); also \
         missing: bias_ih_l1, bias_hh_l1"
    );
    let config = two_layers(Cell::Tanh);
    let mut tensors = dict(&config, "");
    tensors.retain(|name, _| !name.starts_with("bias"));
    tensors.insert("bias_hh_l0".into(), ones(&[4]));
    let text = text_of(from_pytorch(config, &tensors, ""));
    assert!(text.starts_with("weight bias_ih_l0: expected shape [4], found no such"), "{text}");
    let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu);
    let text = text_of(Stack::new(config, vb));
    assert!(text.starts_with("weight bias_ih_l0: expected shape [4], found no such"), "{text}");
}

#[test]
fn weights_of_every_float_become_f32_f64_or_what_is_asked() {
    let config = two_layers(Cell::Lstm);
    let tensors = dict(&config, "");
    for (dtype, expected) in
        [(DType::F16, DType::F32), (DType::BF16, DType::F32), (DType::F64, DType::F64)]
    {
        let tensors = half(&tensors, dtype);
        let stack = from_pytorch(config, &tensors, "").unwrap();
        assert_eq!(stack.dtype(), expected);
        for asked in [DType::F32, DType::F64] {
            let stack = from_pytorch_as(config, &tensors, "", asked).unwrap();
            assert_eq!(stack.dtype(), asked);
            stack.weights(1)[0].check(Cell::Lstm).unwrap();
        }
    }
    // Of mixed dtypes the widest.
    let mut mixed = half(&tensors, DType::BF16);
    mixed.insert("bias_ih_l0".into(), ones(&[16]).to_dtype(DType::F16).unwrap());
    assert_eq!(from_pytorch(config, &mixed, "").unwrap().dtype(), DType::F32);
    mixed.insert("bias_hh_l1".into(), ones(&[16]).to_dtype(DType::F64).unwrap());
    let stack = from_pytorch(config, &mixed, "").unwrap();
    stack.weights(0)[0].check(Cell::Lstm).unwrap();
    assert_eq!(stack.dtype(), DType::F64);
    assert_eq!(
        text_of(from_pytorch_as(config, &mixed, "", DType::F16)),
        "a stack's weights must be f32 or f64, got f16"
    );
    let large = ones(&[16]).to_dtype(DType::F64).unwrap().affine(1e300, 0.).unwrap();
    mixed.insert("bias_hh_l1".into(), large);
    assert_eq!(
        text_of(from_pytorch_as(config, &mixed, "", DType::F32)),
        "weight bias_hh_l1: expected numbers that f32 holds, found a larger one"
    );
    // Variables of the asked dtype are taken as they are; of another, gradients flow back to them.
    let var = Var::from_tensor(&ones(&[16]).to_dtype(DType::F16).unwrap()).unwrap();
    let mut tensors = tensors;
    tensors.insert("bias_ih_l0".into(), var.as_tensor().clone());
    let stack = from_pytorch(config, &tensors, "").unwrap();
    let x = ones(&[2, 5, 3]);
    let loss = stack.forward(&x).unwrap().outputs.sum_all().unwrap();
    assert_eq!(loss.backward().unwrap().get(&var).unwrap().dtype(), DType::F16);
}

#[test]
fn kernels_of_half_precision_are_converted() {
    let half = |shape: &[usize]| counted(shape).to_dtype(DType::F16).unwrap();
    let double = |shape: &[usize]| counted(shape);
    let keras = from_keras(Cell::Lstm, &half(&[3, 16]), &half(&[4, 16]), Some(&half(&[16])));
    let mixed = from_keras(Cell::Gru, &half(&[3, 12]), &double(&[4, 12]), None);
    let rnn = from_tensorflow_rnn(&half(&[7, 4]), &half(&[4]), 3);
    let lstm = from_tensorflow_lstm(&half(&[7, 16]), &double(&[16]), 3, 1.);
    let gru = from_tensorflow_gru(&half(&[7, 8]), &half(&[8]), &half(&[7, 4]), &half(&[4]), 3);
    for (cell, weights, expected) in [
        (Cell::Lstm, keras, DType::F32),
        (Cell::Gru, mixed, DType::F64),
        (Cell::Tanh, rnn, DType::F32),
        (Cell::Lstm, lstm, DType::F64),
        (Cell::GruResetBefore, gru, DType::F32),
    ] {
        let weights = weights.unwrap();
        weights.check(cell).unwrap();
        assert_eq!(weights.w_hh.dtype(), expected, "{cell:?}");
    }
    let bytes = ones(&[3, 16]).to_dtype(DType::U8).unwrap();
    assert_eq!(
        text_of(from_keras(Cell::Lstm, &bytes, &half(&[4, 16]), None)),
        "weight kernel: expected f16, bf16, f32 or f64, found [3, 16] of u8"
    );
}

#[test]
fn of_a_file_no_more_is_read_than_is_asked_for() {
    let config = StackConfig::new(Cell::Tanh, 1, 1);
    let file = |dtype: &str, bytes: usize| {
        let header = format!(
            "{{\"mask\":{{\"dtype\":\"BOOL\",\"shape\":[4],\"data_offsets\":[0,4]}},\
             \"rnn.weight_ih_l0\":{{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[4,8]}},\
             \"rnn.weight_hh_l0\":{{\"dtype\":\"{dtype}\",\"shape\":[1,1],\"data_offsets\":[8,{}]}}}}",
            8 + bytes
        );
        let size = (header.len() as u64).to_le_bytes();
        let content = [&size, header.as_bytes(), &vec![0; 8 + bytes]].concat();
        WeightFile::parse("a.safetensors".as_ref(), content).unwrap()
    };
    let stack = from_pytorch(config, &file("F32", 4), "rnn.").unwrap();
    assert_eq!(stack.weights(0)[0].w_hh.dims(), [1, 1]);
    let error = from_pytorch(config, &file("F8_E5M2", 1), "rnn.").unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.safetensors: rnn.weight_hh_l0 is f8_e5m2, a type that candle cannot read"
    );
    let text = text_of(from_pytorch(config, &file("F32", 4), ""));
    assert!(text.ends_with("pass the prefix \"rnn.\""), "{text}");
    let names: Vec<_> = file("C64", 8).tensors().map(|info| (info.name, info.dtype)).collect();
    assert_eq!(names[0], ("mask".into(), "bool".into()));
    assert_eq!(names[1], ("rnn.weight_hh_l0".into(), "c64".into()));
}

#[test]
fn a_tensor_that_a_builder_lacks_is_named_with_where_it_is() {
    let config = two_layers(Cell::Lstm);
    let vb = |there: &str, tensors: BTreeMap<String, Tensor>| {
        let named = tensors.into_iter().map(|(name, tensor)| (format!("{there}{name}"), tensor));
        VarBuilder::from_tensors(named.collect(), DType::F32, &Device::Cpu)
    };
    for (there, asked, remedy) in [
        ("module.lstm.", "lstm", "vb.root().pp(\"module.lstm\")"),
        ("_orig_mod.lstm.", "lstm", "vb.root().pp(\"_orig_mod.lstm\")"),
        ("model.lstm.", "lstm", "vb.root().pp(\"model.lstm\")"),
        ("lstm.", "model.lstm", "vb.root().pp(\"lstm\")"),
        ("lstm.", "", "vb.root().pp(\"lstm\")"),
        ("", "lstm", "vb.root()"),
    ] {
        let vb = vb(there, dict(&config, ""));
        let text = text_of(Stack::new(config, if asked.is_empty() { vb } else { vb.pp(asked) }));
        let dot = if asked.is_empty() { "" } else { "." };
        assert_eq!(
            text,
            format!(
                "weight {asked}{dot}weight_ih_l0: expected shape [16, 3], found no such tensor (near: \
                 {there}weight_ih_l0): pass {remedy}"
            )
        );
    }
    let mut tensors = dict(&config, "");
    tensors.insert("weight_hh_l1".into(), ones(&[16, 5]));
    let text = text_of(Stack::new(config, vb("", tensors.clone())));
    assert_eq!(text, "weight weight_hh_l1: expected shape [16, 4], found [16, 5]");
    tensors.remove("weight_hh_l1");
    let text = text_of(Stack::new(config, vb("", tensors)));
    assert_eq!(text, format!("weight weight_hh_l1: expected shape [16, 4], {ABSENT}"));
    // A `VarMap` says it in words of its own.
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    vb.get((16, 7), "weight_ih_l0").unwrap();
    let text = text_of(Stack::new(config, vb));
    assert!(text.starts_with("weight weight_ih_l0: expected shape [16, 3], found"), "{text}");
    assert!(text.contains("[16, 7]"), "{text}");
}

/// The error for a tensor that is nowhere near.
const ABSENT: &str = "found no such tensor; the layer's init makes new variables";

#[test]
fn every_layer_that_lacks_a_tensor_says_so_in_one_line() {
    let vb = || VarBuilder::from_tensors(Default::default(), DType::F32, &Device::Cpu).pp("a");
    let texts = [
        text_of(Lstm::new(LstmConfig::new(3, 4), vb())),
        text_of(Gru::new(GruConfig::new(3, 4), vb())),
        text_of(Rnn::new(RnnConfig::new(3, 4), vb())),
    ];
    for (text, rows) in texts.iter().zip([16, 12, 4]) {
        let expected = format!("expected shape [{rows}, 3], {ABSENT}");
        assert_eq!(*text, format!("weight a.weight_ih_l0: {expected}"));
    }
    let config = ClassifierConfig::new(Cell::Tanh, 3, 4, 10);
    let text = text_of(SequenceClassifier::new(&config, vb()));
    assert!(text.starts_with("weight a.rnn.weight_ih_l0: expected shape [4, 3]"), "{text}");
    let mut tensors: BTreeMap<_, _> =
        config.parameters().into_iter().map(|(name, shape)| (name, ones(&shape))).collect();
    tensors.remove("head.bias");
    let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu);
    assert_eq!(
        text_of(SequenceClassifier::new(&config, vb)),
        format!("weight head.bias: expected shape [10], {ABSENT}")
    );
}
