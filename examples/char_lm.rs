//! A language model of characters: trained on a text, interrupted, resumed, and sampled.
//!
//! The text is read in streams side by side. Gradients flow back 32 characters (truncated backpropagation through
//! time), the state is carried on from batch to batch, and checkpoints hold it: a run that was interrupted goes on
//! with the bits of one that was not.
//!
//! `cargo run --release --no-default-features --example char_lm [TEXT_FILE]`; without a file, the text is made of
//! random sentences. `CHARACTERS=8000` in the environment takes that much of the text.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_rnn::model::NetworkConfig;
use candle_rnn::predict::{GenerateConfig, Generator};
use candle_rnn::run::{IfExists, Outcome, Session, SessionConfig, Start};
use candle_rnn::train::tasks::{TextTask, TextTraining};
use candle_rnn::train::{Event, TrainerConfig};
use candle_rnn::{Cell, Result, SeededRng};

/// Sentences in which a number decides the verb: a model has to remember the subject.
fn sentences(characters: usize) -> String {
    const SUBJECTS: [[&str; 2]; 4] =
        [["cat", "cats"], ["child", "children"], ["mouse", "mice"], ["painter", "painters"]];
    const ADJECTIVES: [&str; 5] = ["", "old ", "small ", "very small ", "friendly "];
    const VERBS: [[&str; 2]; 3] =
        [["sees", "see"], ["follows", "follow"], ["is behind", "are behind"]];
    let rng = &mut SeededRng::user(42, "sentences");
    let mut text = String::new();
    while text.len() < characters {
        let (one, other) = (rng.below(2), rng.below(2));
        let subject = SUBJECTS[rng.below(4)][one];
        let (adjective, verb) = (ADJECTIVES[rng.below(5)], VERBS[rng.below(3)][one]);
        let object = SUBJECTS[rng.below(4)][other];
        let adjective_of_object = ADJECTIVES[rng.below(5)];
        text.push_str(&format!(
            "The {adjective}{subject} {verb} the {adjective_of_object}{object}.\n"
        ));
    }
    text
}

/// Trains until the end, or for some steps of this session, as Ctrl-C would end it.
fn train(run: &Path, text: &str, most_steps: usize) -> Result<Outcome> {
    let defaults = TextTraining::default();
    let training = TextTraining {
        network: NetworkConfig::new(Cell::Lstm, 128),
        embedding_size: 32,
        seq_len: 32,
        trainer: TrainerConfig { epochs: 4, batch_size: 16, ..defaults.trainer },
        ..defaults
    };
    let task = TextTask::new(&training, text, None, &Device::Cpu)?;
    let keeping = SessionConfig { if_exists: IfExists::Resume, ..SessionConfig::default() };
    let (mut session, start) = Session::open(run, task, keeping)?;
    match start {
        Start::Resumed { step, .. } => println!("resumed after step {step}"),
        Start::New { .. } => println!("new run, {} batches an epoch", session.trainer().batches()),
        Start::Finished => println!("finished already"),
    }
    let mut steps = 0;
    let outcome = session.run(&mut |event| {
        match event {
            Event::Step { .. } => steps += 1,
            Event::Epoch(metrics) => println!(
                "epoch {}  {:.3} bits per character, {:.0} characters a second",
                metrics.epoch,
                metrics.valid_loss / std::f64::consts::LN_2,
                metrics.examples_per_second * 32.,
            ),
            Event::Done => {}
        }
        if steps < most_steps {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if outcome == Outcome::Interrupted {
        println!("interrupted after step {}", session.trainer().step_count());
    }
    Ok(outcome)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let size = std::env::var("CHARACTERS").map_or(Ok(100_000), |size| size.parse())?;
    let text = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(file)?.chars().take(size).collect(),
        None => sentences(size),
    };
    let run: PathBuf = std::env::temp_dir().join(format!("char_lm-{}", std::process::id()));
    // The middle of the second epoch.
    let half = text.chars().count() / (16 * 32) * 3 / 2;
    train(&run, &text, half)?;
    train(&run, &text, usize::MAX)?;

    let prompt: String = text.chars().take(8).collect();
    let config = GenerateConfig { length: 200, temperature: 0.5, ..GenerateConfig::default() };
    let continued = Generator::load(&run)?.generate(&prompt, &config)?;
    println!("\n{prompt}{continued}");
    Ok(std::fs::remove_dir_all(&run)?)
}
