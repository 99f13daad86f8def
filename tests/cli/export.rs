//! `export`: ONNX files, PyTorch's weights, weights in f16 and pages. `just check-onnx`, `just check-pytorch` and `just
//! check-html` compare them with the other programs' answers.

use std::collections::BTreeMap;
use std::io::Read;

use base64::prelude::{Engine, BASE64_STANDARD};
use candle_core::{DType, Device, Tensor};
use candle_rnn::files::tensors;
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::own_files::LONG;
use crate::Place;

/// The names and shapes of an exported file's inputs or outputs.
fn ports(object: &Value, which: &str) -> Vec<String> {
    let port = |port: &Value| {
        let shape: Vec<&str> =
            port["shape"].as_array().unwrap().iter().map(|size| size.as_str().unwrap()).collect();
        let (name, dtype) = (port["name"].as_str().unwrap(), port["dtype"].as_str().unwrap());
        format!("{name} {dtype} {}", shape.join(","))
    };
    object[which].as_array().unwrap().iter().map(port).collect()
}

/// Exports a run as ONNX: its inputs and outputs.
#[track_caller]
fn onnx(place: &Place, run: &str, more: &str) -> [Vec<String>; 2] {
    let command = format!("export {run} --onnx {run}.onnx --overwrite --json {more}");
    let object = place.run(&command).succeeded().json();
    let bytes = place.read(&format!("{run}.onnx"));
    assert_eq!(object["bytes"], bytes.len());
    // IR version 8.
    assert_eq!(bytes[..2], [0x08, 0x08]);
    [ports(&object, "inputs"), ports(&object, "outputs")]
}

const LENGTHS: &str = "lengths int64 batch";

#[test]
fn images_are_exported_as_onnx() {
    let place = Place::new();
    place.train("run", "");
    let shown = place.run("export run --onnx new/digits.onnx").succeeded().stdout;
    let bytes = place.read("new/digits.onnx").len();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("new/digits.onnx: ONNX, opset 17, "), "{shown}");
    assert!(lines[0].replace(',', "").ends_with(&format!(" {bytes} bytes")), "{shown}");
    assert!(
        lines[1].starts_with("  input   pixels: float32 (batch, 28, 28); pixels from 0"),
        "{shown}"
    );
    assert!(lines[2].starts_with("  output  logits: float32 (batch, 10); "), "{shown}");
    assert!(lines[3].starts_with("  output  probabilities: float32 (batch, 10); "), "{shown}");
    assert_eq!(lines.len(), 4, "{shown}");
    let [inputs, outputs] = onnx(&place, "run", "--streaming");
    assert_eq!(inputs, ["x float32 batch,28", "h float32 1,batch,12"]);
    assert_eq!(outputs[0], "next_h float32 1,batch,12");
    // A checkpoint of the run, whose weights are the same.
    place.run("export run/checkpoints/step-00000020 --onnx last.onnx").succeeded();
    assert_eq!(place.read("last.onnx"), place.read("new/digits.onnx"));
}

#[test]
fn every_target_is_exported_as_onnx() {
    let place = Place::with_files();
    place.train_on("levels.ts", "class", "");
    let [inputs, outputs] = onnx(&place, "class", "");
    assert_eq!(inputs, ["x float32 batch,steps,2", LENGTHS]);
    assert_eq!(outputs, ["logits float32 batch,3", "probabilities float32 batch,3"]);
    let text = String::from_utf8_lossy(&place.read("class.onnx")).into_owned();
    assert!(text.contains(r#"["high","low","mid"]"#), "the metadata name the classes");

    let more =
        format!("{LONG} --bidirectional=false --cell lstm --layers 2 --missing forward-fill");
    place.train_on("long.csv", "steps", &more);
    let [_, outputs] = onnx(&place, "steps", "");
    assert_eq!(outputs, ["logits float32 batch,steps,2", "probabilities float32 batch,steps,2"]);
    let [inputs, outputs] = onnx(&place, "steps", "--streaming");
    let states = ["h float32 2,batch,4", "c float32 2,batch,4"];
    assert_eq!(inputs, ["x float32 batch,2", "last float64 batch,2", states[0], states[1]]);
    let names: Vec<&str> = outputs.iter().filter_map(|port| port.split(' ').next()).collect();
    assert_eq!(names, ["next_h", "next_c", "logits", "probabilities", "next_last"]);

    place.train_on("numbers.csv", "numbers", "--id id --time t --label target");
    assert_eq!(onnx(&place, "numbers", "")[1], ["numbers float32 batch,1"]);

    place.train_on("series.csv", "forecast", "--horizon 4 --window 12");
    let [inputs, outputs] = onnx(&place, "forecast", "");
    assert_eq!(inputs, ["x float32 batch,steps,1", LENGTHS]);
    assert_eq!(outputs, ["forecast float32 batch,4,1"]);

    place.train_on("book.txt", "text", "--seq-len 16 --batch-size 4");
    let [inputs, outputs] = onnx(&place, "text", "");
    assert_eq!(inputs, ["ids int64 batch,steps", LENGTHS]);
    assert_eq!(outputs[0], "logits float32 batch,steps,13");
    assert_eq!(onnx(&place, "text", "--streaming")[0][0], "id int64 batch");
}

#[test]
fn what_has_no_graph_of_one_step_is_refused() {
    let place = Place::with_files();
    place.train_on("levels.ts", "both", "--bidirectional --readout last");
    place.train_on("levels.ts", "pooled", "--bidirectional=false --readout mean-max");
    let alone = "--bidirectional=false --readout last --scaling per-sequence";
    place.train_on("levels.ts", "alone", alone);
    place.train_on("series.csv", "forecast", "--horizon 4 --window 12");
    for (run, reason) in [
        ("both", "a graph of one step needs a unidirectional model with the last-state readout"),
        ("pooled", "a graph of one step needs a unidirectional model with the last-state readout"),
        ("alone", "per-sequence scaling"),
        ("forecast", "a forecast is made from a whole window"),
    ] {
        let command = format!("export {run} --onnx m.onnx --streaming");
        place.run(&command).failed_saying(&[reason]);
        assert!(!place.exists("m.onnx"));
    }
}

#[test]
fn files_are_not_replaced_unless_that_is_asked_for() {
    let place = Place::new();
    place.train("run", "");
    for file in ["m.onnx", "m.pt", "half.safetensors"] {
        place.write(file, "mine");
    }
    std::fs::create_dir(place.path("folder")).unwrap();
    place.write("folder/mine", "mine");
    let exists = "exists: name another file, or replace it with --overwrite";
    for args in ["--onnx m.onnx", "--pytorch m.pt", "--half half.safetensors"] {
        let file = args.split(' ').nth(1).unwrap();
        place.run(&format!("export run {args}")).failed_saying(&[file, exists]);
        assert_eq!(place.text(file), "mine");
        place.run(&format!("export run {args} --overwrite")).succeeded();
        assert_ne!(place.read(file), b"mine");
    }
    for args in ["--onnx folder", "--half folder"] {
        place.run(&format!("export run {args} --overwrite")).failed_saying(&["folder"]);
        assert_eq!(place.text("folder/mine"), "mine");
    }
    // A run is not a folder that an export has written.
    let before = place.files("run");
    for own in ["--half run", "--half run/model.safetensors", "--pytorch run/model.safetensors"] {
        let error = ["belongs to the run that is exported"];
        place.run(&format!("export run {own} --overwrite")).failed_saying(&error);
    }
    assert_eq!(place.files("run"), before);
    // None is written where one cannot be, or two are one.
    place.write("there.pt", "mine");
    place.run("export run --onnx new.onnx --pytorch there.pt").failed_saying(&["there.pt exists"]);
    place.run("export run --half a.safetensors --pytorch a.safetensors").misused();
    let error = ["folder holds mine, which a folder of halved weights does not: name another"];
    place.run("export run --onnx new.onnx --half folder --overwrite").failed_saying(&error);
    place.run("export run --onnx new.onnx --html folder").failed_saying(&["folder is a folder"]);
    assert!(!place.exists("new.onnx") && !place.exists("a.safetensors"));
    place.run("export run --half half").succeeded();
    place.run("export run --half half").failed_saying(&["half exists", "--overwrite"]);
    place.run("export run --half half --overwrite").succeeded();
}

#[test]
fn a_state_dict_has_all_that_pytorch_asks_for() {
    let place = Place::new();
    place.train("run", "--layers 2 --bidirectional");
    place.run("export run --pytorch m.safetensors --json").succeeded();
    let found = tensors::read(&place.path("m.safetensors")).unwrap();
    let own = tensors::read(&place.path("run/model.safetensors")).unwrap();
    // Of two layers in both directions: two weights and two biases each; and the head.
    assert_eq!(found.len(), 18);
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (name, tensor) in &found {
        match own.get(name) {
            Some(own) => assert_eq!(values(own), values(tensor), "{name}"),
            None => {
                assert!(name.starts_with("rnn.bias_hh_l"), "{name}");
                assert_eq!(values(tensor), [0.; 12]);
            }
        }
    }
    place.run("export run --pytorch m.pt").succeeded();
    let pickled: BTreeMap<String, Tensor> =
        candle_core::pickle::read_all(place.path("m.pt")).unwrap().into_iter().collect();
    assert_eq!(pickled.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, tensor) in &found {
        assert_eq!((pickled[name].dims(), values(&pickled[name])), (tensor.dims(), values(tensor)));
    }
    place.run("export run --pytorch m.bin").misused();
}

#[test]
fn a_cell_that_pytorch_does_not_have_is_refused() {
    let place = Place::with_files();
    for cell in ["minimal-gru", "gru-reset-before"] {
        place.write("cell.toml", format!("cell = \"{cell}\"\n"));
        place.train_on("levels.ts", cell, "--config cell.toml");
        let refused = format!("pytorch has no {cell}");
        // Nothing is written where a part cannot be.
        place
            .run(&format!("export {cell} --pytorch m.pt --onnx m.onnx"))
            .failed_saying(&[&refused, "ONNX has it"]);
        assert!(!place.exists("m.pt") && !place.exists("m.onnx"));
        onnx(&place, cell, "");
    }
}

#[test]
fn halved_weights_load_as_a_run_and_are_measured() {
    let place = Place::new();
    place.train("run", "");
    let json = place.run("export run --half half --json").succeeded().json();
    assert_eq!((&json["bytes"], &json["bytes_before"]), (&Value::from(1_244), &Value::from(2_488)));
    let error = json["largest_error"].as_f64().unwrap();
    assert!(error > 0. && error < 1e-3, "{error}");
    let half = tensors::read(&place.path("half/model.safetensors")).unwrap();
    assert!(half.values().all(|tensor| tensor.dtype() == DType::F16));
    // What was measured is what eval finds of both.
    for (run, side) in [("run", "before"), ("half", "after")] {
        let found = place.run(&format!("eval {run} --json")).succeeded().json();
        assert_eq!(json["measured"][side]["accuracy"], found["accuracy"]);
        assert_eq!(json["measured"][side]["loss"], found["loss"]);
    }
    assert_ne!(json["measured"]["before"]["loss"], json["measured"]["after"]["loss"]);
    place.run("predict half test:0 --data sample").succeeded();
    let shown = place.run("export run --half half.safetensors").succeeded().stdout;
    assert_eq!(place.read("half.safetensors"), place.read("half/model.safetensors"));
    assert!(shown.contains("\n  test  accuracy 0."), "{shown}");
    place.run("export half --onnx half.onnx").succeeded();
    // It is trained no further, and has no history.
    let info = place.run("info half --json").succeeded().json();
    assert_eq!(info["history"], Value::Array(Vec::new()));
    assert!(info["parameters"].as_array().unwrap().iter().all(|of| of["dtype"] == "f16"), "{info}");
    assert!(place.run("info half").succeeded().stdout.contains("f16"));
    place.run("info run half").succeeded();
    place.run("export half --pytorch half.pt --html half.html").succeeded();
    let again = place.run("export half --half again --json").succeeded().json();
    assert_eq!((&again["bytes"], &again["bytes_before"]), (&json["bytes"], &json["bytes"]));
    assert_eq!(place.read("again/model.safetensors"), place.read("half/model.safetensors"));
    let before = place.read("half/model.safetensors");
    place.run("train --resume --out half").failed_saying(&["half"]);
    assert_eq!(place.read("half/model.safetensors"), before);
    // Without its checksums it is a run whose metrics are lost.
    std::fs::remove_file(place.path("half/SHA256SUMS")).unwrap();
    place.run("info half").failed_saying(&["half/metrics.jsonl"]);
}

#[test]
fn halved_weights_of_other_tasks_are_measured() {
    let place = Place::with_files();
    place.train_on("levels.ts", "class", "--test-fraction 0.2");
    let shown = place.run("export class --half a").succeeded().stdout;
    assert!(shown.contains("\n  test  accuracy "), "{shown}");
    place.train_on("numbers.csv", "numbers", "--id id --time t --label target");
    let shown = place.run("export numbers --half b").succeeded().stdout;
    assert!(shown.contains("\n  valid  RMSE "), "{shown}");
    place.train_on("series.csv", "forecast", "--horizon 4 --window 12 --test-steps 20");
    let shown = place.run("export forecast --half c").succeeded().stdout;
    assert!(shown.contains("\n  test  RMSE "), "{shown}");
    place.train_on("book.txt", "text", "--seq-len 16 --batch-size 4");
    let shown = place.run("export text --half d").succeeded().stdout;
    assert!(shown.contains("\n  valid  bits per character "), "{shown}");
    assert!(shown.contains(" characters\n"), "{shown}");
    // Where the data are not at hand, that is said, and the weights are written.
    std::fs::remove_file(place.path("book.txt")).unwrap();
    let shown = place.run("export text --half e").succeeded().stdout;
    assert!(shown.contains("\n  the loss of accuracy was not measured: "), "{shown}");
    assert!(shown.contains("book.txt: cannot open the file"), "{shown}");
    assert!(place.exists("e/model.safetensors"));
}

#[test]
fn data_to_measure_on_may_be_named() {
    let place = Place::with_files();
    place.train("images", "");
    let eval = |args: &str| place.run(&format!("eval {args} --json")).succeeded().json();
    let half = |args: &str| place.run(&format!("export {args} --json")).succeeded().json();
    let found = half("images --half a --data sample");
    assert_eq!(found["measured"]["before"]["loss"], eval("images")["loss"]);
    // Files of a run whose own file has moved, and a file of another format.
    place.train_on("wide.csv", "class", "--layout wide");
    std::fs::rename(place.path("wide.csv"), place.path("moved.csv")).unwrap();
    let found = half("class --half b");
    let reason = found["not_measured"].as_str().unwrap();
    assert!(reason.contains("wide.csv: cannot open") && reason.contains("--data"), "{reason}");
    let found = half("class --half c --data moved.csv");
    assert_eq!(found["measured"]["split"], "moved.csv");
    for (run, side) in [("class", "before"), ("c", "after")] {
        let expected = eval(&format!("{run} moved.csv"));
        assert_eq!(found["measured"][side]["loss"], expected["loss"]);
    }
    place.train_on("book.txt", "text", "--seq-len 16 --batch-size 4");
    place.write("other.txt", "the cat ate the mat. ".repeat(9));
    let found = half("text --half d --data other.txt");
    let bits = &eval("text other.txt")["bits_per_character"];
    assert_eq!(&found["measured"]["before"]["bits per character"], bits);
    // Whoever names data has them measured, or nothing is written.
    for (run, data, says) in [
        ("images", "nowhere", "nowhere"),
        ("class", "nowhere.csv", "nowhere.csv: cannot open"),
        ("class", "book.txt", "book.txt: plain text"),
        ("text", "nowhere.txt", "nowhere.txt: cannot open"),
        ("text", "moved.csv", "moved.csv: not a plain text"),
    ] {
        let command = format!("export {run} --half e --pytorch m.pt --data {data}");
        place.run(&command).failed_saying(&[says]);
    }
    place.run("export class --half e --pytorch m.pt --data sample").misused();
    assert!(!place.exists("e") && !place.exists("m.pt"));
}

#[test]
fn a_weight_beyond_the_range_of_f16_is_named() {
    let place = Place::new();
    place.train("run", "");
    let mut weights = tensors::read(&place.path("run/model.safetensors")).unwrap();
    let large = Tensor::full(70_000f32, (10, 12), &Device::Cpu).unwrap();
    weights.insert("head.weight".into(), large);
    place.write("run/model.safetensors", tensors::serialize(&weights).unwrap());
    place.run("export run --half half").failed_saying(&["head.weight", "65504", "70000"]);
    assert!(!place.exists("half"));
    place.run("export run --onnx m.onnx").succeeded();
}

/// The content of one of a page's parts.
fn part(page: &str, id: &str) -> Vec<u8> {
    let (_, behind) = page.split_once(&format!(" id=\"{id}\">")).unwrap();
    let (content, _) = behind.split_once("</script>").unwrap();
    if id == "part-run" {
        return content.into();
    }
    let (mut bytes, packed) = (Vec::new(), BASE64_STANDARD.decode(content).unwrap());
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_page_of_the_reference_job_is_one_small_file() {
    let place = Place::new();
    place.train("run", "--hidden 150 --epochs 1");
    let object = place.run("export run --html new/digit.html --json").succeeded().json();
    let page = String::from_utf8(place.read("new/digit.html")).unwrap();
    assert_eq!((&object["format"], &object["bytes"]), (&"html".into(), &page.len().into()));
    assert!(page.len() <= 300_000, "{}", page.len());
    // Nothing is fetched, and nothing could be.
    let rest = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=", "import(", "fetch(", "url(", "@import", "{{"] {
        assert!(!rest.contains(outside), "{outside}");
    }
    assert_eq!(rest.matches("href=").count(), rest.matches("href=\"data:,\"").count());
    assert!(page.contains("default-src 'none'") && !page.contains("connect-src"));
    // The weights of the run, to the last bit.
    let run = tensors::read(&place.path("run/model.safetensors")).unwrap();
    let network = part(&page, "part-network");
    assert_eq!(network[..8], [28, 0, 0, 0, 150, 0, 0, 0]);
    let floats = |name: &str| run[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let names = ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0"];
    let mut expected: Vec<f32> = names.into_iter().flat_map(floats).collect();
    expected.resize(expected.len() + 150, 0.);
    expected.extend(floats("head.weight").into_iter().chain(floats("head.bias")));
    let bytes: Vec<u8> = expected.into_iter().flat_map(f32::to_le_bytes).collect();
    assert_eq!(network[32..], bytes);
    let programs = ["part-program", "part-drawing"].map(|program| part(&page, program));
    assert!(programs.iter().all(|program| program.starts_with(b"\0asm")));
    let bytes: usize = programs.iter().map(Vec::len).sum();
    assert!(bytes <= 100_000, "{bytes} bytes of WebAssembly before compression");
    let about: Value = serde_json::from_slice(&part(&page, "part-run")).unwrap();
    assert_eq!(about["about"]["name"], "run");
    let samples: Value = serde_json::from_slice(&part(&page, "part-samples")).unwrap();
    assert_eq!(samples["samples"].as_array().unwrap().len(), 10);
}

#[test]
fn runs_that_a_page_does_not_show_are_refused() {
    let place = Place::with_files();
    place.train_on("book.txt", "text", "--seq-len 16 --batch-size 4");
    place.train("pixels", "--view pixels --bidirectional --hidden 2 --batch-size 1000");
    for (run, reason) in [
        ("text", "this is a language model: `candle-rnn serve` has a page for it"),
        ("pixels", "at most 256 steps of it in a page, and an image has 784"),
    ] {
        let command = format!("export {run} --html page.html --pytorch m.pt");
        place.run(&command).failed_saying(&[run, reason]);
        assert!(!place.exists("page.html") && !place.exists("m.pt"));
    }
    place.train_on("levels.ts", "levels", "");
    place.run("export levels --html page.html").succeeded();
    let page = String::from_utf8(place.read("page.html")).unwrap();
    // What reads drawings is for images alone.
    assert!(!page.contains("id=\"part-samples\"") && !page.contains("id=\"part-drawing\""));
    place.train_on("series.csv", "forecast", "--horizon 4 --window 12");
    place.run("export forecast --html forecast.html").succeeded();
    let about: Value = serde_json::from_slice(&part(
        &String::from_utf8(place.read("forecast.html")).unwrap(),
        "part-run",
    ))
    .unwrap();
    assert_eq!(about["about"]["forecast"]["window"], 12);
    assert_eq!(about["about"]["forecast"]["horizon"], 4);
    place.run("export levels --html page.html").failed_saying(&["page.html exists"]);
}

#[test]
fn exports_that_have_no_meaning_are_wrong_usage() {
    let place = Place::new();
    for args in ["", "--streaming", "--pytorch m.pt --streaming", "--onnx m.onnx --data sample"] {
        place.run(&format!("export run {args}")).misused();
    }
    place.run("export nowhere --onnx m.onnx").failed_saying(&["nowhere", "not a run directory"]);
}
