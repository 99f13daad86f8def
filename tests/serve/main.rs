//! The server itself, as clients see it: the program listens at a free port, and tests speak HTTP to it.
//!
//! [`http`] is a client of few lines; [`pictures`], [`tensors`], [`steps`], [`stream`], [`forecasts`] and [`texts`] are the answers of each protocol, compared
//! with those of `predict`; [`names`] is what runs are called, [`about`] what else there is; [`refusals`] and [`limits`] what is refused, and how the
//! server ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod about;
mod forecasts;
mod http;
mod limits;
mod names;
mod pictures;
mod refusals;
mod steps;
mod stream;
mod tensors;
mod texts;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use assert_cmd::cargo::cargo_bin;
use candle_rnn::data::mnist::Mnist;
use common::compare;
use image::{GrayImage, ImageFormat};
use serde_json::Value;

/// The digits of the sample.
static SAMPLE: LazyLock<Mnist> = LazyLock::new(|| Mnist::sample().unwrap());

/// A folder with five runs: `digits`, `lines`, whose classes are those of rising and falling sequences of one feature,
/// `means`, a bidirectional network that predicts the mean of a sequence, `words`, which continues texts, and `tides`,
/// which forecasts 3 steps of two features from 12.
static RUNS: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("serve");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("lines.csv"), lines(40)).unwrap();
    std::fs::write(folder.join("means.csv"), means(40)).unwrap();
    std::fs::write(folder.join("tides.csv"), tides(80)).unwrap();
    std::fs::write(folder.join("words.txt"), "to be or not to be, ".repeat(200)).unwrap();
    for args in [
        "train --data sample --hidden 12 --epochs 2 --batch-size 160 --out digits --overwrite",
        "train lines.csv --cell gru --bidirectional=false --readout last --hidden 8 --epochs 20 --lr 0.01 --out lines --overwrite",
        "train means.csv --hidden 6 --epochs 2 --bidirectional --out means --overwrite",
        "train words.txt --hidden 16 --epochs 2 --out words --overwrite",
        "train tides.csv --horizon 3 --window 12 --hidden 4 --epochs 2 --out tides --overwrite",
    ] {
        program(&folder, args);
    }
    folder
});

/// A row a sequence: lines of 16 steps that rise or fall, by turns.
fn lines(count: usize) -> String {
    let steps: Vec<String> = (1..=16).map(|step| format!("t{step}")).collect();
    let mut text = format!("label,{}\n", steps.join(","));
    for n in 0..count {
        let name = if n % 2 == 0 { "down" } else { "up" };
        let values = line(n).into_iter().map(|value| format!("{value:.4}"));
        text.push_str(&format!("{name},{}\n", values.collect::<Vec<_>>().join(",")));
    }
    text
}

/// The values of line `n` of [`lines`].
fn line(n: usize) -> Vec<f64> {
    let slope = if n.is_multiple_of(2) { -0.125 } else { 0.125 };
    (0..16).map(|t| slope * f64::from(t) + 0.01 * ((n * 7 + t as usize * 3) % 11) as f64).collect()
}

/// A row a step: sequences whose target is the mean of their values.
fn means(count: usize) -> String {
    let mut text = "id,t,x,target\n".to_string();
    for n in 0..count {
        let values: Vec<f64> =
            (0..4 + n % 3).map(|t| ((n * 5 + t * 3) % 13) as f64 / 13.).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        for (t, x) in values.iter().enumerate() {
            text.push_str(&format!("s{n},{t},{x:.4},{mean:.4}\n"));
        }
    }
    text
}

/// A row a step: a series of two features.
fn tides(count: usize) -> String {
    let row = |t: usize| {
        let [a, b] = tide(t);
        format!("{t},{a},{b}\n")
    };
    "t,a,b\n".to_string() + &(0..count).map(row).collect::<String>()
}

/// The values of step `t` of [`tides`].
fn tide(t: usize) -> [f64; 2] {
    [(t * 5 % 12) as f64 + 0.5, 40. - (t * 7 % 8) as f64]
}

/// Runs the program in a folder, with arguments split at spaces; its stdout.
#[track_caller]
fn program(folder: &Path, args: &str) -> String {
    let mut command = Command::new(cargo_bin!("candle-rnn"));
    let output = command.args(args.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON objects that `predict --json` prints.
#[track_caller]
fn predict(args: &str) -> Vec<Value> {
    let text = program(&RUNS, &format!("predict {args} --json"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server that is running.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Serves all runs.
    fn new() -> Self {
        Self::with("", None)
    }

    /// Serves all runs with more arguments, split at spaces, and a key.
    fn with(args: &str, key: Option<&str>) -> Self {
        let runs = ["digits", "lines", "means", "words", "tides"];
        Self::of(&[&runs[..], &args.split_whitespace().collect::<Vec<_>>()].concat(), key)
    }

    /// Serves what the arguments say, with a key.
    fn of(args: &[&str], key: Option<&str>) -> Self {
        let mut command = Command::new(cargo_bin!("candle-rnn"));
        command
            .args(["serve", "--port", "0", "--json"])
            .args(args)
            .current_dir(&*RUNS)
            .env_remove("CANDLE_RNN_KEY")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(key) = key {
            command.env("CANDLE_RNN_KEY", key);
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        log.read_line(&mut first).unwrap();
        let event: Value = serde_json::from_str(&first).unwrap_or_else(|_| panic!("{first}"));
        let url = event["url"].as_str().unwrap_or_else(|| panic!("{event}"));
        let address = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        // A log that nobody reads would hold up the server.
        std::thread::spawn(move || log.lines().for_each(drop));
        Self { child, address }
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the end; the exit code, and what is on stderr.
    #[cfg(unix)]
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
        (code, text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A test image as PNG.
fn png(index: usize) -> Vec<u8> {
    encoded(&GrayImage::from_raw(28, 28, SAMPLE.test.image(index).to_vec()).unwrap())
}

fn encoded(picture: &GrayImage) -> Vec<u8> {
    let mut content = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut content, ImageFormat::Png).unwrap();
    content.into_inner()
}

/// The numbers of a JSON list.
#[track_caller]
fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    list.iter().map(|number| number.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_close(a: &[f64], b: &[f64]) {
    compare::assert_close(a, b, 1e-5, "numbers");
}
