//! What a run directory costs: `cargo bench --bench session`.
//!
//! An epoch of the reference job, 55,000 images, by a bare trainer and by a session that saves its checkpoints,
//! weights, metrics and event files as the program does, one after the other in one process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use candle_rnn::data::idx::{images_header, labels_header};
use candle_rnn::data::mnist::{ImageSet, Mnist};
use candle_rnn::report::EventFile;
use candle_rnn::run::{DataConfig, ImageConfig, Session, SessionConfig};
use candle_rnn::train::{Event, TrainConfig, Trainer, TrainerConfig};

/// As the program has it.
#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 15;

fn main() {
    // As the program trains: on one of the threads that compute.
    rayon::scope(|_| compare());
}

/// The sample's images over and over, as many as MNIST has.
fn data(folder: &Path) -> Mnist {
    let sample = Mnist::sample().unwrap();
    for (part, split, count) in [("train", &sample.train, 60_000), ("t10k", &sample.test, 10_000)] {
        let mut images = images_header(count as u32, 28, 28).to_vec();
        let mut labels = labels_header(count as u32).to_vec();
        for index in 0..count {
            images.extend(split.image(index % split.len()));
            labels.push(split.labels()[index % split.len()]);
        }
        std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    Mnist::from_folder(folder).unwrap()
}

fn compare() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let config = TrainConfig {
        trainer: TrainerConfig { epochs: ROUNDS + 1, ..TrainerConfig::default() },
        ..TrainConfig::default()
    };
    let data_config =
        DataConfig { dataset: Some(ImageSet::Mnist), source: None, sha256: data.fingerprint() };
    let run = ImageConfig::new(config.clone(), data_config);
    let mut trainer = Trainer::classifier(&config, data.clone(), &Device::Cpu).unwrap();
    let session = SessionConfig::default();
    // Beside the build, on a disk: a folder for temporary files may be in memory.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-session");
    let _ = std::fs::remove_dir_all(&path);
    let (mut session, _) = Session::images(&path, run, data, &Device::Cpu, session).unwrap();
    let mut events = EventFile::create(&path, 0, false).unwrap();
    let (mut bare, mut saved) = (Vec::new(), Vec::new());
    let mut start = Instant::now();
    session
        .run(&mut |event| {
            events.record(event).unwrap();
            if matches!(event, Event::Epoch(_)) {
                saved.push(start.elapsed().as_secs_f64());
                start = Instant::now();
                while matches!(trainer.next_event().unwrap(), Event::Step { .. }) {}
                bare.push(start.elapsed().as_secs_f64());
                start = Instant::now();
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let _ = std::fs::remove_dir_all(&path);
    // The first round fills pools.
    let mut ratios: Vec<f64> = saved.iter().zip(&bare).skip(1).map(|(a, b)| a / b).collect();
    ratios.sort_by(f64::total_cmp);
    let median = |times: &[f64]| {
        let mut times = times[1..].to_vec();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    println!(
        "an epoch of the reference job, {ROUNDS} rounds: trainer alone {:.3} s, with its run directory {:.3} s; \
         ratio by round: median {:.3}, quartiles {:.3} and {:.3}",
        median(&bare),
        median(&saved),
        ratios[ratios.len() / 2],
        ratios[ratios.len() / 4],
        ratios[3 * ratios.len() / 4]
    );
}
