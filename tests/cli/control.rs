//! What steers a training, and what its head reads.

use crate::Place;

#[test]
fn a_head_that_reads_all_outputs_is_trained_saved_and_measured() {
    let place = Place::new();
    for (readout, features) in [("mean-max", 2 * 12), ("all", 28 * 12)] {
        place.train(readout, &format!("--readout {readout}"));
        let model = place.read(&format!("{readout}/model.safetensors"));
        let tensors = safetensors::SafeTensors::deserialize(&model).unwrap();
        assert_eq!(tensors.tensor("head.weight").unwrap().shape(), [10, features]);
        let last = place.metrics(readout).pop().unwrap();
        let found = place.run(&format!("eval {readout} --split valid --json")).succeeded().json();
        assert_eq!(found["accuracy"], last["valid_accuracy"]);
        assert_eq!(found["loss"], last["valid_loss"]);
        let text = place.run(&format!("predict {readout} test:3")).succeeded().stdout;
        assert!(text.contains("test:3"), "{text}");
        let outcome = place.run(&format!("predict {readout} test:3 --steps"));
        assert!(outcome.stderr.contains("last-state readout"), "{}", outcome.stderr);
        assert_ne!(outcome.code, Some(0));
        place
            .run(&format!("train --data sample --readout {readout} --loss-at every --out no"))
            .misused();
    }
    assert!(!place.exists("no"));
}

#[test]
fn a_head_on_all_outputs_has_a_weight_a_unit_and_step() {
    use candle_core::{DType, Device, Tensor};
    let place = Place::new();
    place.train("run", "--readout all --dtype f64 --cell gru --bidirectional");
    let predictor = candle_rnn::predict::Predictor::load(place.path("run")).unwrap();
    let weights = candle_rnn::files::tensors::read(&place.path("run/model.safetensors")).unwrap();
    let stack = candle_rnn::nn::weights::from_pytorch(
        predictor.config().task.model.rnn(),
        &weights,
        "rnn.",
    )
    .unwrap();
    let image = candle_rnn::data::mnist::Mnist::sample().unwrap().test.image(5).to_vec();
    let pixels: Vec<f64> = image.iter().map(|pixel| f64::from(*pixel) / 255.).collect();
    let x = Tensor::from_vec(pixels, (1, 28, 28), &Device::Cpu).unwrap();
    let outputs = stack.forward(candle_rnn::nn::Sequences::new(&x)).unwrap().outputs;
    assert_eq!((outputs.dims(), outputs.dtype()), (&[1, 28, 24][..], DType::F64));
    let head = weights["head.weight"].reshape((10, 28, 24)).unwrap();
    let products = head.broadcast_mul(&outputs).unwrap().sum((1, 2)).unwrap();
    let logits = (products + &weights["head.bias"]).unwrap().to_vec1::<f64>().unwrap();
    let largest = logits.iter().copied().fold(f64::MIN, f64::max);
    let all: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let found = &predictor.predict(&[&image]).unwrap()[0];
    for (logit, probability) in logits.iter().zip(&found.probabilities) {
        let expected = (logit - largest).exp() / all;
        assert!((probability - expected).abs() <= 1e-12, "{probability} {expected}");
    }
}

#[test]
fn averaged_weights_are_what_is_measured_and_kept() {
    let place = Place::new();
    place.train("plain", "--epochs 3");
    place.train("run", "--epochs 3 --ema 0.9");
    assert_ne!(place.read("run/model.safetensors"), place.read("plain/model.safetensors"));
    let last = place.metrics("run").pop().unwrap();
    let best = place.metrics("run").into_iter().map(|m| m["valid_accuracy"].as_f64().unwrap());
    let best = best.fold(0., f64::max);
    let of = |run: &str| place.run(&format!("eval {run} --split valid --json")).succeeded().json();
    assert_eq!(of("run")["loss"], last["valid_loss"]);
    assert_eq!(of("run/checkpoints/best")["accuracy"].as_f64(), Some(best));
    // Training itself is the same.
    let losses = |run: &str| place.metrics(run).into_iter().map(|m| m["train_loss"].clone());
    assert!(losses("run").eq(losses("plain")));
}

#[test]
fn what_steers_a_training_is_refused_where_it_means_nothing() {
    let place = Place::new();
    for wrong in [
        "--schedule linear",
        "--warmup 0.1",
        "--schedule cosine --warmup 1",
        "--clip-norm 0",
        "--clip-norm 1 --clip-value 1",
        "--clip-value -1",
        "--weight-decay -0.1",
        "--weight-decay 1000",
        "--label-smoothing 1",
        "--shift 28",
        "--rotate 181",
        "--rotate -1",
        "--rotate nan",
        "--zoom 1",
        "--patience 0",
    ] {
        place.run(&format!("train --data sample {wrong} --out no")).misused();
        assert!(!place.exists("no"), "{wrong}");
    }
}

#[test]
fn accumulated_batches_train_as_one_large_batch() {
    let place = Place::new();
    // In f64: parts are added up in another order.
    place.train("large", "--batch-size 160 --dtype f64");
    place.train("parts", "--batch-size 40 --accumulate 4 --dtype f64");
    for (large, parts) in place.metrics("large").iter().zip(place.metrics("parts")) {
        for name in ["train_loss", "valid_loss"] {
            let (large, parts) = (large[name].as_f64().unwrap(), parts[name].as_f64().unwrap());
            assert!((large - parts).abs() <= 1e-9 * large, "{name}: {large} {parts}");
        }
    }
    // The last batch is measured whole.
    place.train("cut", "--batch-size 160 --parts 4 --dtype f64");
    for name in ["train_loss", "loss_batch", "acc_batch"] {
        let of = |run: &str| place.metrics(run)[0][name].as_f64().unwrap();
        let (large, cut) = (of("large"), of("cut"));
        assert!((large - cut).abs() <= 1e-9 * large, "{name}: {large} {cut}");
    }
    place.train("small", "--batch-size 40 --dtype f64");
    assert_ne!(place.metrics("small")[0]["train_loss"], place.metrics("large")[0]["train_loss"]);
    // Batches of 151 and 150 images cannot be halved evenly.
    place.train("odd", "--batch-size 75 --accumulate 2");
}

#[test]
fn a_run_whose_time_is_up_is_saved_and_goes_on_to_the_same_bits() {
    let place = Place::new();
    let args = "--epochs 12 --hidden 40 --save-every 1000 --shift 1";
    place.train("whole", args);
    let mut ended = Vec::new();
    // Each time it gets on by a step at least.
    for _ in 0..400 {
        let outcome = place.train("run", &format!("{args} --max-minutes 0.0005 --resume"));
        let is_out_of_time = outcome.stderr.contains("time is up after step ");
        ended.push(is_out_of_time);
        if !is_out_of_time {
            break;
        }
        assert!(outcome.stderr.contains("continue with --resume --out run"), "{}", outcome.stderr);
    }
    assert!(ended.len() > 1 && ended.last() == Some(&false), "{ended:?}");
    assert_eq!(place.read("run/model.safetensors"), place.read("whole/model.safetensors"));
}

#[test]
fn each_way_to_change_images_makes_another_model() {
    let place = Place::new();
    place.train("plain", "");
    let mut models = vec![place.read("plain/model.safetensors")];
    for flags in ["--shift 1", "--rotate 9", "--zoom 0.1", "--mirror"] {
        place.train("run", &format!("{flags} --overwrite"));
        let model = place.read("run/model.safetensors");
        assert!(!models.contains(&model), "{flags}");
        models.push(model);
    }
}
