//! A benchmark in turns: several programs that answer serve.rs's requests, each round by all of them one after the other.
//!
//! Results are lines of JSON, one a job and program, written as they come:
//!
//! - `part`: `layer` or `step`; `side`: the program's name; `dtype`, `mode`; of a layer `cell` and `shape`
//! - `q1`, `median`, `q3`: milliseconds; `rounds`: of how many; `outputs`, `gradients`: the largest differences from `f64`
//! - or `failed` or `skipped`: why there is no time

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

const CELLS: [&str; 3] = ["tanh", "gru", "lstm"];
/// B, T, I, H.
const SHAPES: [[usize; 4]; 7] = [
    [150, 28, 28, 150],
    [64, 128, 256, 256],
    [64, 128, 256, 512],
    [32, 64, 512, 1024],
    [16, 1024, 768, 768],
    [128, 128, 1024, 1024],
    [256, 64, 256, 256],
];
/// Rounds that count, and those before them, which compile kernels and fill pools.
const ROUNDS: usize = 15;
const WARM_UP: usize = 2;
/// The fewest rounds that are worth a line where time has run out.
const FEWEST: usize = 5;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(45);
const NO_TIME: &str = "no time left";
/// This program, and the same on a device as Candle opens it.
const OWN: &str = "candle-rnn";
const EVENTS: &str = "candle-rnn, events";
/// How often a program that has ended is started again, each time for the next turn.
const RESTARTS: usize = 3;

/// What is timed at once.
pub(crate) struct Turn {
    /// `step`, or `layer CELL B,T,I,H`.
    pub(crate) job: String,
    /// The programs, by their places, each with a dtype and a mode.
    pub(crate) variants: Vec<(usize, &'static str, &'static str)>,
}

/// All turns: the reference job's step, layers in `f32`, then in fewer bits, where the same dtypes are in the same turn.
///
/// - `names`: of the programs; those that begin with `pytorch` make graphs of layers too, and `candle-rnn` itself of steps; events cost the host
///   the same in every dtype
pub(crate) fn turns(names: &[&str]) -> Vec<Turn> {
    let variants = |is_step: bool, ours: &[&'static str], theirs: &[&'static str]| {
        let of = |(side, name): (usize, &&str)| {
            let is_peer = name.starts_with("pytorch");
            let dtypes: &[&'static str] = match *name {
                EVENTS if ours != ["f32"] => &[],
                _ if is_peer => theirs,
                _ => ours,
            };
            let modes: &[&'static str] =
                if is_peer || is_step && *name == OWN { &["eager", "graph"] } else { &["eager"] };
            let of_dtype = |dtype: &&'static str| {
                let dtype = *dtype;
                modes.iter().map(move |mode| (side, dtype, *mode)).collect::<Vec<_>>()
            };
            dtypes.iter().flat_map(of_dtype).collect::<Vec<_>>()
        };
        names.iter().enumerate().flat_map(of).collect::<Vec<_>>()
    };
    let mut turns = vec![Turn { job: "step".into(), variants: variants(true, &["f32"], &["f32"]) }];
    let passes: [(&[&str], &[&str]); 2] =
        [(&["f32"], &["f32"]), (&["tf32", "bf16"], &["tf32", "bf16", "fp16"])];
    for (ours, theirs) in passes {
        for shape in SHAPES {
            let sizes = shape.map(|size| size.to_string()).join(",");
            turns.extend(CELLS.map(|cell| Turn {
                job: format!("layer {cell} {sizes}"),
                variants: variants(false, ours, theirs),
            }));
        }
    }
    turns
}

/// A program that answers requests.
pub(crate) struct Side {
    name: String,
    command: String,
    process: Process,
    /// Why it is asked no more.
    ended: Option<String>,
    restarts: usize,
}

/// A program that runs.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// Why a side answers no more.
const ENDED: &str = "the program has ended";

impl Side {
    /// Starts `NAME:COMMAND`.
    pub(crate) fn start(text: &str) -> Result<Self, String> {
        let (name, command) =
            text.split_once(':').ok_or_else(|| format!("a program is NAME:COMMAND, not {text}"))?;
        let process = Process::start(name, command)?;
        Ok(Self { name: name.into(), command: command.into(), process, ended: None, restarts: 0 })
    }

    /// Starts a program that has ended again, unless it has ended too often.
    fn restart(&mut self) {
        if self.ended.is_none() || self.restarts == RESTARTS {
            return;
        }
        self.restarts += 1;
        if let Ok(process) = Process::start(&self.name, &self.command) {
            self.process = process;
            self.ended = None;
        }
    }

    /// The answer to a request; an error in words if there is none, or it says so.
    fn ask(&mut self, request: &str, deadline: Instant) -> Result<Value, String> {
        if let Some(why) = &self.ended {
            return Err(why.clone());
        }
        // It is told to end soon enough, and not in the middle of what it does.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(5);
        let patience = PATIENCE.min(left);
        let sent = match &mut self.process.stdin {
            Some(stdin) => writeln!(stdin, "{request}").and_then(|()| stdin.flush()).is_ok(),
            None => false,
        };
        if !sent {
            return self.end(ENDED.into());
        }
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = match self.process.answers.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    return self.end(format!("no answer in {} s", patience.as_secs()))
                }
                Err(RecvTimeoutError::Disconnected) => return self.end(ENDED.into()),
            };
            // Other lines are a library's.
            if let Ok(answer @ Value::Object(_)) = serde_json::from_str(&line) {
                return match answer["failed"].as_str() {
                    Some(why) => Err(why.into()),
                    None => Ok(answer),
                };
            }
        }
    }

    fn end(&mut self, why: String) -> Result<Value, String> {
        self.ended = Some(why.clone());
        let _ = self.process.child.kill();
        Err(why)
    }
}

impl Process {
    fn start(name: &str, command: &str) -> Result<Self, String> {
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| format!("{name} has no command"))?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|out| BufReader::new(out).lines());
            lines.map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Ok(Self { child, stdin, answers })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input; one that does not is stopped.
        self.stdin = None;
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// First quartile, median and third quartile, between the nearest two numbers.
pub(crate) fn quartiles(times: &[f64]) -> [f64; 3] {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| {
        let at = part * (times.len() - 1) as f64;
        let below = times[at as usize];
        below + (times[at.ceil() as usize] - below) * at.fract()
    })
}

/// What a variant's line begins with.
fn about(job: &str, side: &str, dtype: &str, mode: &str) -> Value {
    let words: Vec<&str> = job.split(' ').collect();
    let mut line = json!({ "part": words[0], "side": side, "dtype": dtype, "mode": mode });
    if let ["layer", cell, sizes] = words[..] {
        let sizes: Vec<u64> = sizes.split(',').filter_map(|size| size.parse().ok()).collect();
        line["cell"] = json!(cell);
        line["shape"] = json!(sizes);
    }
    line
}

/// Times turns one after the other until `deadline`, and hands every line of the results to `put`.
pub(crate) fn run(
    turns: &[Turn],
    sides: &mut [Side],
    rounds: usize,
    deadline: Instant,
    put: &mut dyn FnMut(Value),
) {
    for turn in turns {
        let mut lines: Vec<Value> = turn
            .variants
            .iter()
            .map(|(side, dtype, mode)| about(&turn.job, &sides[*side].name, dtype, mode))
            .collect();
        if Instant::now() >= deadline {
            lines.iter_mut().for_each(|line| line["skipped"] = json!(NO_TIME));
            lines.into_iter().for_each(&mut *put);
            continue;
        }
        for (side, ..) in &turn.variants {
            sides[*side].restart();
        }
        for (slot, ((side, dtype, mode), line)) in turn.variants.iter().zip(&mut lines).enumerate()
        {
            let request = format!("prepare {slot} {} {dtype} {mode}", turn.job);
            match sides[*side].ask(&request, deadline) {
                Ok(answer) => {
                    for of in ["outputs", "gradients"] {
                        if let Some(error) = answer["errors"].get(of) {
                            line[of] = error.clone();
                        }
                    }
                }
                Err(why) => line["failed"] = json!(why),
            }
        }
        let mut times = vec![Vec::new(); lines.len()];
        for round in 0..WARM_UP + rounds {
            if Instant::now() >= deadline {
                break;
            }
            for (slot, (side, ..)) in turn.variants.iter().enumerate() {
                if lines[slot].get("failed").is_some() {
                    continue;
                }
                let answer = sides[*side].ask(&format!("round {slot}"), deadline);
                let ms = answer.and_then(|answer| {
                    answer["ms"].as_f64().ok_or_else(|| format!("answered {answer} to a round"))
                });
                match ms {
                    Ok(ms) if round >= WARM_UP => times[slot].push(ms),
                    Ok(_) => {}
                    Err(why) => lines[slot]["failed"] = json!(why),
                }
            }
        }
        for (mut line, times) in lines.into_iter().zip(times) {
            if line.get("failed").is_none() {
                if times.len() >= FEWEST.min(rounds) {
                    let [q1, median, q3] = quartiles(&times);
                    line["q1"] = json!(q1);
                    line["median"] = json!(median);
                    line["q3"] = json!(q3);
                    line["rounds"] = json!(times.len());
                } else {
                    line["skipped"] = json!(NO_TIME);
                }
            }
            put(line);
        }
        for side in sides.iter_mut().filter(|side| side.ended.is_none()) {
            let _ = side.ask("clear", deadline);
        }
    }
}

/// `RESULTS SECONDS [--try] [NAME:COMMAND ...]`: appends the results of this program and of those to a file. With `--try` three
/// rounds of one small layer are timed, on the CPU.
pub(crate) fn main(arguments: &[String]) {
    let [results, seconds, rest @ ..] = arguments else {
        panic!("usage: bench protocol RESULTS SECONDS [--try] [NAME:COMMAND ...]")
    };
    let seconds = seconds.parse().expect("a number of seconds");
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let is_try = rest.iter().any(|argument| argument == "--try");
    let own = std::env::current_exe().unwrap();
    let cpu = if is_try { " cpu" } else { "" };
    let own = format!("{OWN}:{} serve{cpu}", own.display());
    let programs = rest.iter().filter(|argument| *argument != "--try");
    let mut sides = Vec::new();
    for program in std::iter::once(&own).chain(programs) {
        match Side::start(program) {
            Ok(side) => sides.push(side),
            Err(error) => eprintln!("left out: {error}"),
        }
    }
    let names: Vec<String> = sides.iter().map(|side| side.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut file = OpenOptions::new().create(true).append(true).open(results).unwrap();
    let mut put = |line: Value| {
        println!("{line}");
        writeln!(file, "{line}").unwrap();
    };
    let (mut turns, mut rounds) = (turns(&names), ROUNDS);
    if is_try {
        turns.truncate(2);
        turns[1].job = "layer tanh 3,4,2,5".into();
        rounds = 3;
    }
    run(&turns, &mut sides, rounds, deadline, &mut put);
}
