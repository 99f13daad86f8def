//! The library in code that is written for Candle: its traits, its errors, its `VarMap` and `VarBuilder`.

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{seq, Optimizer, VarBuilder, VarMap};
use candle_rnn::train::StreamTrainer;
use candle_rnn::{
    Adam, AdamConfig, Cell, ClassifierConfig, Dense, DenseConfig, Embedding, Error, Gru, GruConfig,
    Init, Lstm, LstmConfig, Purpose, Rnn, RnnConfig, SeededRng, SequenceClassifier, Stack,
    StackConfig, VarSink,
};

fn rng() -> SeededRng {
    SeededRng::new(3, Purpose::Init)
}

/// A function of a program that knows Candle's error alone.
fn last_step(layer: &Gru, x: &Tensor) -> candle_core::Result<Tensor> {
    let (_, seq_len, _) = x.dims3()?;
    layer.forward(x)?.outputs.narrow(1, seq_len - 1, 1)?.squeeze(1)
}

#[test]
fn our_errors_pass_through_functions_with_candles_result() {
    let sink = VarSink::new(DType::F32, &Device::Cpu);
    let gru = Gru::init(GruConfig::new(3, 4), Init::Glorot, &mut rng(), &sink).unwrap();
    let x = |features| Tensor::ones((2, 5, features), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(last_step(&gru, &x(3)).unwrap().dims(), [2, 4]);
    let own = gru.forward(&x(7)).unwrap_err().to_string();
    let error = last_step(&gru, &x(7)).unwrap_err();
    assert_eq!(error.to_string(), own);
    assert!(matches!(Error::from(error), Error::Shape { .. }));
    // What Candle itself refuses stays Candle's.
    let flat = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(Error::from(last_step(&gru, &flat).unwrap_err()), Error::Candle(_)));
}

#[test]
fn layers_are_modules_that_candles_seq_takes() {
    let sink = VarSink::new(DType::F32, &Device::Cpu);
    let rng = &mut rng();
    let embedding = Embedding::init(9, 3, Init::Pytorch, rng, &sink.pp("embedding")).unwrap();
    let config = LstmConfig { bidirectional: true, proj_size: Some(2), ..LstmConfig::new(3, 5) };
    let lstm = Lstm::init(config, Init::Glorot, rng, &sink.pp("lstm")).unwrap();
    let rnn = RnnConfig::new(lstm.output_features(), 6);
    let rnn = Rnn::init(rnn, Init::Glorot, rng, &sink.pp("rnn")).unwrap();
    let head = DenseConfig::new(rnn.output_features(), 7);
    let head = Dense::init(head, Init::Glorot, rng, &sink.pp("head")).unwrap();
    let outputs = lstm.forward(&embedding.forward(&ids()).unwrap()).unwrap().outputs;
    let expected = head.forward(&rnn.forward(&outputs).unwrap().outputs).unwrap();
    let model = seq().add(embedding).add(lstm).add(Stack::from(rnn)).add(head);
    let found = model.forward(&ids()).unwrap();
    assert_eq!(found.dims(), [2, 4, 7]);
    assert_eq!(found.to_vec3::<f32>().unwrap(), expected.to_vec3::<f32>().unwrap());
}

fn ids() -> Tensor {
    Tensor::new(&[[0u32, 8, 3, 3], [1, 2, 4, 5]], &Device::Cpu).unwrap()
}

#[test]
fn output_features_are_the_last_dimension_of_outputs() {
    let x = Tensor::ones((2, 3, 4), DType::F64, &Device::Cpu).unwrap();
    for (bidirectional, proj_size, features) in
        [(false, None, 5), (true, None, 10), (false, Some(2), 2), (true, Some(2), 4)]
    {
        let config =
            LstmConfig { num_layers: 2, bidirectional, proj_size, ..LstmConfig::new(4, 5) };
        let sink = VarSink::new(DType::F64, &Device::Cpu);
        let lstm = Lstm::init(config, Init::Glorot, &mut rng(), &sink).unwrap();
        assert_eq!((config.output_features(), lstm.output_features()), (features, features));
        assert_eq!(StackConfig::from(config).output_features(), features);
        assert_eq!(lstm.forward(&x).unwrap().outputs.dims(), [2, 3, features]);
        assert_eq!(lstm.last(&x).unwrap().dims(), [2, features]);
    }
}

#[test]
fn a_prefix_names_the_variables_and_chooses_them() {
    let vars = VarMap::new();
    let root = VarSink::from_varmap(&vars, DType::F32, &Device::Cpu);
    let encoder = root.pp("encoder");
    let gru = Gru::init(GruConfig::new(3, 4), Init::Glorot, &mut rng(), &encoder.pp(0)).unwrap();
    Gru::init(GruConfig::new(4, 4), Init::Glorot, &mut rng(), &encoder.pp("1")).unwrap();
    let other = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
    root.insert("encoder_scale", &other).unwrap();
    encoder.insert("scale", &other).unwrap();
    assert_eq!(encoder.pp(0).prefix(), "encoder.0");
    assert_eq!((root.prefix(), root.pp("").prefix()), ("", ""));
    assert_eq!(root.named().unwrap().len(), 10);
    let names: Vec<String> = encoder.named().unwrap().into_keys().collect();
    assert_eq!(names.len(), 9);
    assert!(names.iter().all(|name| name.starts_with("encoder.")), "{names:?}");
    assert!(encoder.pp(0).named().unwrap().contains_key("encoder.0.weight_hh_l0"));
    // The variables are the layer's own, and the names those of a `VarBuilder` on the same map.
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let same = Gru::new(GruConfig::new(3, 4), vb.pp("encoder").pp(0)).unwrap();
    assert_eq!(same.weights(0)[0].w_hh.id(), gru.weights(0)[0].w_hh.id());
    let own = Gru::new(GruConfig::new(3, 4), encoder.pp(0).builder()).unwrap();
    assert_eq!(own.weights(0)[0].w_hh.id(), gru.weights(0)[0].w_hh.id());
}

/// A loop as programs for Candle have it.
fn fit<O: Optimizer>(
    mut optimizer: O,
    steps: usize,
    loss: impl Fn() -> candle_core::Result<Tensor>,
) -> candle_core::Result<f32> {
    for _ in 0..steps {
        optimizer.backward_step(&loss()?)?;
    }
    loss()?.to_scalar()
}

/// The bits of all variables, by name.
fn bits(sink: &VarSink) -> Vec<(String, Vec<u32>)> {
    let bits = |var: Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let named = sink.named().unwrap().into_iter();
    named.map(|(name, var)| (name, bits(var).into_iter().map(f32::to_bits).collect())).collect()
}

#[test]
fn candles_loop_and_our_trainer_leave_the_same_bits() {
    let x = Tensor::arange(0f32, 12., &Device::Cpu).unwrap().sin().unwrap();
    let x = x.reshape((2, 6, 1)).unwrap();
    let loss = |h: &Tensor| (h.narrow(2, 0, 1)? - &x)?.sqr()?.mean_all();
    let config = AdamConfig { learning_rate: 0.01, ..AdamConfig::default() };
    let layer = || {
        let sink = VarSink::new(DType::F32, &Device::Cpu);
        let gru = Gru::init(GruConfig::new(1, 4), Init::Glorot, &mut rng(), &sink).unwrap();
        (sink, gru)
    };
    let (by_trainer, gru) = layer();
    let mut trainer = StreamTrainer::new(gru, &by_trainer, config).unwrap();
    for _ in 0..5 {
        trainer.step(&x, |h| Ok(loss(h)?)).unwrap();
        // Each step begins from zeros, as below.
        trainer.state_mut().reset();
    }
    let (by_candle, gru) = layer();
    let before = bits(&by_candle);
    let adam: Adam = Optimizer::new(by_candle.var_map().all_vars(), config).unwrap();
    fit(adam, 5, || loss(&gru.forward(&x)?.outputs)).unwrap();
    assert_ne!(bits(&by_candle), before);
    assert_eq!(bits(&by_candle), bits(&by_trainer));
    let (by_sink, gru) = layer();
    fit(Adam::new(&by_sink, config).unwrap(), 5, || loss(&gru.forward(&x)?.outputs)).unwrap();
    assert_eq!(bits(&by_sink), bits(&by_trainer));
}

#[test]
fn adam_under_a_prefix_trains_that_part_alone() {
    let sink = VarSink::new(DType::F32, &Device::Cpu);
    let config = ClassifierConfig::new(Cell::Tanh, 3, 4, 2);
    let model = SequenceClassifier::init(&config, Init::Glorot, &mut rng(), &sink).unwrap();
    let (rnn, head) = (bits(&sink.pp("rnn")), bits(&sink.pp("head")));
    let x = Tensor::ones((2, 5, 3), DType::F32, &Device::Cpu).unwrap();
    let adam = Adam::new(&sink.pp("head"), AdamConfig::default()).unwrap();
    fit(adam, 3, || model.forward(&x)?.sqr()?.mean_all()).unwrap();
    assert_eq!(bits(&sink.pp("rnn")), rnn);
    assert_ne!(bits(&sink.pp("head")), head);
}
