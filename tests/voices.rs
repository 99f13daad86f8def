//! The examples that run other people's weights: Silero VAD beside ONNX Runtime, and g2p_en beside its own program.
//!
//! What these say is in tests/golden, made by voices.py there. The weights are not in this repository: the tests that need
//! them are ignored, and `just check-voices` fetches the weights and runs them. The others run on weights made here.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor};
use candle_rnn::files::tensors;

const RATE: usize = 16_000;

/// Runs an example, and returns what came of it.
fn run(name: &str, arguments: &[&str]) -> Output {
    // The test lies in target/PROFILE/deps.
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(program.exists(), "build the example first: cargo build --example {name}");
    Command::new(program).args(arguments).output().unwrap()
}

/// What an example prints, which must succeed.
fn printed(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What an example says where it fails: one line, and the exit code is 1.
fn error(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
    assert!(!said.contains("Custom {") && output.stdout.is_empty(), "{said}");
    said
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[derive(serde::Deserialize)]
struct Golden {
    samples: usize,
    checksum: i64,
    segments: Vec<[f64; 2]>,
    probabilities: Vec<f64>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(in_repository("tests/golden/vad.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// To 6 decimals, by whose last bits mathematical libraries do not differ.
fn rounded(value: f64) -> f64 {
    (value * 1e6 + 0.5).floor() / 1e6
}

/// The coefficients of `y_t = a x_t + b y_{t-1} + c y_{t-2}` of a vowel's formants.
fn resonators(vowel: char) -> [[f64; 3]; 4] {
    let frequencies = match vowel {
        'a' => [730., 1090., 2440., 3400.],
        'e' => [530., 1840., 2480., 3400.],
        'i' => [270., 2290., 3010., 3500.],
        'o' => [570., 840., 2410., 3300.],
        'u' => [300., 870., 2240., 3300.],
        _ => panic!("no vowel: {vowel}"),
    };
    let (rate, pi) = (RATE as f64, std::f64::consts::PI);
    let bandwidths = [80., 90., 120., 150.];
    std::array::from_fn(|index| {
        let r = (-pi * bandwidths[index] / rate).exp();
        let b = rounded(2. * r * (2. * pi * frequencies[index] / rate).cos());
        let c = rounded(-r * r);
        [1. - b - c, b, c]
    })
}

/// Pulses of a glottis through formants, four syllables a second; at most 0.5.
fn speech(samples: usize, [start, end]: [f64; 2], vowels: &str) -> Vec<f64> {
    let (mut phase, mut pulse, mut states) = (0f64, 0f64, [[0f64; 2]; 4]);
    let coefficients: Vec<_> = vowels.chars().map(resonators).collect();
    let sound = (0..samples).map(|at| {
        phase += (start + (end - start) * at as f64 / samples as f64) / RATE as f64;
        let beat = f64::from(u8::from(phase >= 1.));
        phase -= beat;
        pulse += 0.04 * (beat - pulse);
        let mut y = pulse;
        let vowel = &coefficients[at * vowels.len() / samples];
        for ([a, b, c], state) in vowel.iter().zip(&mut states) {
            let [y1, y2] = *state;
            y = a * y + b * y1 + c * y2;
            *state = [y, y1];
        }
        let syllable = (at % 4000) as f64 / 4000.;
        let envelope = 0.1 + 0.9 * (1. - (2. * syllable - 1.).abs());
        y * envelope * (at.min(samples - at) as f64 / 480.).min(1.)
    });
    let sound: Vec<f64> = sound.collect();
    let loudest = sound.iter().fold(0f64, |loudest, y| loudest.max(y.abs()));
    sound.into_iter().map(|y| 0.5 * y / loudest).collect()
}

/// The sound of tests/golden/voices.py, to the bit: two made-up voices between silence, then noise.
fn scene() -> Vec<i16> {
    let silence = |seconds: f64| (vec![0.; (seconds * RATE as f64).round() as usize], 0.001);
    let voice = |samples, pitch, vowels| (speech(samples, pitch, vowels), 0.001);
    let parts = [
        silence(0.8),
        voice(25_600, [130., 95.], "aieou"),
        silence(0.9),
        voice(19_200, [210., 160.], "oiae"),
        silence(0.7),
        (vec![0.; 8_000], 0.3),
        silence(0.5),
    ];
    let mut random = 1u64;
    let mut sample = |y: f64, amplitude: f64| {
        random = (random * 1_103_515_245 + 12_345) % (1 << 31);
        let noise = random as f64 / f64::from(1 << 30) - 1.;
        ((y + amplitude * noise) * 32767. + 0.5).floor() as i16
    };
    let mut samples = Vec::new();
    for (part, amplitude) in parts {
        samples.extend(part.into_iter().map(|y| sample(y, amplitude)));
    }
    samples
}

/// A WAV file of 16-bit samples.
fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let size = 2 * samples.len() as u32;
    let mut file =
        [&b"RIFF"[..], &(36 + size).to_le_bytes(), b"WAVEfmt \x10\0\0\0\x01\0\x01\0"].concat();
    file.extend(rate.to_le_bytes());
    file.extend((2 * rate).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(size.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Weights of a detector whose probability is always the logistic function of a number.
fn constant_detector(path: &Path, logit: f32) {
    let mut shapes = vec![
        ("stft.weight".to_string(), vec![258, 1, 256]),
        ("lstm.weight_ih_l0".into(), vec![512, 128]),
        ("lstm.weight_hh_l0".into(), vec![512, 128]),
        ("lstm.bias_ih_l0".into(), vec![512]),
        ("lstm.bias_hh_l0".into(), vec![512]),
        ("head.weight".into(), vec![1, 128, 1]),
    ];
    for (index, [outputs, inputs]) in
        [[128, 129], [64, 128], [64, 64], [128, 64]].iter().enumerate()
    {
        shapes.push((format!("encoder.{index}.weight"), vec![*outputs, *inputs, 3]));
        shapes.push((format!("encoder.{index}.bias"), vec![*outputs]));
    }
    let zeros = |shape: Vec<usize>| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let mut weights: BTreeMap<_, _> =
        shapes.into_iter().map(|(name, shape)| (name, zeros(shape))).collect();
    weights.insert("head.bias".into(), Tensor::new(&[logit], &Device::Cpu).unwrap());
    tensors::write(path, &weights).unwrap();
}

#[test]
fn the_scene_is_the_one_that_onnx_runtime_heard() {
    let (samples, golden) = (scene(), golden());
    let checksum = |(at, sample): (usize, &i16)| i64::from(*sample) * (at % 1000) as i64;
    assert_eq!(samples.len(), golden.samples);
    assert_eq!(samples.iter().enumerate().map(checksum).sum::<i64>(), golden.checksum);
    assert_eq!(golden.probabilities.len(), samples.len().div_ceil(512));
}

#[test]
#[ignore = "needs Silero's weights: `just check-voices` fetches them"]
fn vad_gives_the_probabilities_of_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let sound = folder.path().join("scene.wav");
    std::fs::write(&sound, wav(16_000, &scene())).unwrap();
    let (weights, golden) = (in_repository("voices/silero_vad.safetensors"), golden());
    let (weights, sound) = (weights.to_str().unwrap(), sound.to_str().unwrap());

    let found = numbers(&printed("vad", &[weights, sound, "--probabilities"]));
    assert_eq!(found.len(), golden.probabilities.len());
    for (frame, (found, expected)) in found.iter().zip(&golden.probabilities).enumerate() {
        assert!((found - expected).abs() <= 1e-4, "frame {frame}: {found}, not {expected}");
    }
    let expected = golden.segments.iter().map(|[start, end]| format!("{start:.3} {end:.3}\n"));
    assert_eq!(printed("vad", &[weights, sound]), expected.collect::<String>());
}

#[test]
#[ignore = "needs g2p_en's weights: `just check-voices` fetches them"]
fn pronounce_gives_the_phonemes_of_g2p_en() {
    let weights = in_repository("voices/g2p_en.npz");
    let expected =
        std::fs::read_to_string(in_repository("tests/golden/pronunciations.txt")).unwrap();
    let words = expected.lines().filter_map(|line| line.split(' ').next());
    let arguments: Vec<&str> = [weights.to_str().unwrap()].into_iter().chain(words).collect();
    assert!(arguments.len() > 50);
    assert_eq!(printed("pronounce", &arguments), expected);
}

#[test]
fn vad_hears_speech_throughout_or_never() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (weights, sound) = (path("weights.safetensors"), path("sound.wav"));
    // A frame and a part of one more than a second, behind a chunk that is none of sound.
    let mut file = wav(16_000, &[1000; 16_600]);
    file.splice(12..12, *b"LIST\x03\0\0\0abc\0");
    std::fs::write(&sound, file).unwrap();

    constant_detector(Path::new(&weights), 0.);
    assert_eq!(printed("vad", &[&weights, &sound]), "0.000 1.038\n");
    let probabilities = printed("vad", &[&weights, &sound, "--probabilities"]);
    assert_eq!(numbers(&probabilities), [0.5; 33]);
    constant_detector(Path::new(&weights), -1.);
    assert_eq!(printed("vad", &[&weights, &sound]), "");
}

#[test]
fn vad_refuses_what_is_not_its_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (weights, sound) = (path("weights.safetensors"), path("sound.wav"));
    constant_detector(Path::new(&weights), 0.);
    let refused = |content: &[u8]| {
        std::fs::write(&sound, content).unwrap();
        error("vad", &[&weights, &sound])
    };
    assert!(refused(&wav(44_100, &[0; 600])).contains("44100 Hz"));
    assert!(refused(b"ID3 and so on").contains("not a WAV file"));
    assert!(refused(&wav(16_000, &[0; 600])[..1000]).contains("ends 244 bytes too early"));
    assert!(error("vad", &[&path("none"), &sound]).contains("none"));
    assert!(error("vad", &[&weights, &path("none.wav")]).contains("none.wav"));
    assert!(error("vad", &[&sound, &sound]).contains("sound.wav"));
    assert!(error("vad", &[]).contains("usage: vad WEIGHTS WAV"));
}

#[test]
fn pronounce_writes_until_the_end_or_20_phonemes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.npz");
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let mut weights = BTreeMap::new();
    for (part, vectors) in [("enc", 29), ("dec", 74)] {
        weights.insert(format!("{part}_emb"), zeros(&[vectors, 8]));
        weights.insert(format!("{part}_w_ih"), zeros(&[12, 8]));
        weights.insert(format!("{part}_w_hh"), zeros(&[12, 4]));
        weights.insert(format!("{part}_b_ih"), zeros(&[12]));
        weights.insert(format!("{part}_b_hh"), zeros(&[12]));
    }
    weights.insert("fc_w".into(), zeros(&[74, 4]));
    let says = |phoneme: usize| {
        let mut bias = vec![0f32; 74];
        bias[phoneme] = 1.;
        let mut weights = weights.clone();
        weights.insert("fc_b".into(), Tensor::new(bias, &Device::Cpu).unwrap());
        let arrays: Vec<_> = weights.iter().collect();
        Tensor::write_npz(&arrays, &path).unwrap();
        printed("pronounce", &[path.to_str().unwrap(), "bee", "eΩ"])
    };
    let words = vec!["B"; 20].join(" ");
    assert_eq!(says(22), format!("bee {words}\neΩ {words}\n"));
    assert_eq!(says(3), "bee \neΩ \n");
    let weights = path.to_str().unwrap();
    for wrong in ["Ω", "42", "", "-"] {
        let said = error("pronounce", &[weights, "bee", wrong]);
        assert!(said.contains(&format!("{wrong:?} has none")), "{said}");
    }
    assert!(error("pronounce", &[weights]).contains("no word"));
    assert!(error("pronounce", &[]).contains("usage: pronounce WEIGHTS WORD"));
    let none = folder.path().join("none.npz");
    assert!(
        error("pronounce", &[none.to_str().unwrap(), "bee"]).contains("none.npz: cannot be read")
    );
    std::fs::write(&none, "no zip").unwrap();
    assert!(
        error("pronounce", &[none.to_str().unwrap(), "bee"]).contains("none.npz: cannot be read")
    );
}
