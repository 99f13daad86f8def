//! Small files of sequences and texts, such as people bring along, made by chance.

use candle_rnn::rng::{Purpose, SeededRng};

use crate::Place;

/// Numbers between -1 and 1.
fn chance(seed: u64) -> impl FnMut() -> f64 {
    let mut rng = SeededRng::new(seed, Purpose::Shuffle);
    move || 2. * rng.unit() - 1.
}

/// A row a sequence: lines of 16 steps that rise or fall, by turns.
pub(crate) fn wide(count: usize, seed: u64) -> String {
    let mut noise = chance(seed);
    let steps: Vec<String> = (1..=16).map(|step| format!("t{step}")).collect();
    let mut text = format!("label,{}\n", steps.join(","));
    for n in 0..count {
        let (name, slope) = if n % 2 == 0 { ("down", -0.125) } else { ("up", 0.125) };
        let values = (0..16).map(|t| format!("{:.4}", slope * f64::from(t) + 0.1 * noise()));
        text.push_str(&format!("{name},{}\n", values.collect::<Vec<_>>().join(",")));
    }
    text
}

/// A row a step: runs of 3 to 7 steps with two features, a person for every two of them, and whether x is positive.
pub(crate) fn long(count: usize, seed: u64) -> String {
    let mut noise = chance(seed);
    let mut text = "run,t,person,x,y,state\n".to_string();
    for n in 0..count {
        for t in 0..3 + n % 5 {
            let (x, y) = (noise(), noise());
            let state = if x > 0. { "pos" } else { "neg" };
            text.push_str(&format!("r{n},{t},p{},{x:.4},{y:.4},{state}\n", n / 2));
        }
    }
    text
}

/// The flags that say what the columns of [`long`] are.
pub(crate) const LONG: &str = "--id run --time t --label state --features x,y --group person";

/// A row a step: sequences whose target is the mean of their values.
pub(crate) fn numbers(count: usize, seed: u64) -> String {
    let mut noise = chance(seed);
    let mut text = "id,t,x,target\n".to_string();
    for n in 0..count {
        let values: Vec<f64> = (0..4 + n % 4).map(|_| noise()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        for (t, x) in values.iter().enumerate() {
            text.push_str(&format!("s{n},{t},{x:.4},{mean:.4}\n"));
        }
    }
    text
}

/// A series with a trend and a season of 12 steps.
pub(crate) fn series(steps: usize) -> String {
    let value =
        |t: usize| 10. + t as f64 / 10. + 3. * (t as f64 * std::f64::consts::TAU / 12.).sin();
    let rows = (0..steps).map(|t| format!("{t},{:.4}\n", value(t)));
    format!("month,sales\n{}", rows.collect::<String>())
}

/// A `.ts` file of sequences of 3 to 6 steps of two features, of three classes by their level.
pub(crate) fn ts(count: usize, seed: u64) -> String {
    let mut noise = chance(seed);
    let mut text =
        "@problemName levels\n@timeStamps false\n@univariate false\n@dimensions 2\n@equalLength false\n\
         @classLabel true low mid high\n@data\n"
            .to_string();
    for n in 0..count {
        let (name, level) = [("low", -2.), ("mid", 0.), ("high", 2.)][n % 3];
        let feature = |scale: f64, noise: &mut dyn FnMut() -> f64| {
            let values = (0..3 + n % 4).map(|_| format!("{:.4}", scale * (level + 0.3 * noise())));
            values.collect::<Vec<_>>().join(",")
        };
        let (a, b) = (feature(1., &mut noise), feature(-5., &mut noise));
        text.push_str(&format!("{a}:{b}:{name}\n"));
    }
    text
}

/// A text of 2,700 characters, 13 different ones.
pub(crate) fn text() -> String {
    "the cat sat on the mat. the dog ate the hat. ".repeat(60)
}

/// A few steps of a few units: what is asked for on top of it comes first.
pub(crate) fn tiny(more: &str) -> String {
    let mut args = more.to_string();
    for (flag, value) in [("--epochs", "2"), ("--hidden", "4")] {
        if !more.split_whitespace().any(|arg| arg == flag) {
            args.push_str(&format!(" {flag} {value}"));
        }
    }
    args
}

impl Place {
    /// A place with all these files.
    pub(crate) fn with_files() -> Self {
        let place = Self::new();
        place.write("wide.csv", wide(40, 1));
        place.write("long.csv", long(30, 2));
        place.write("numbers.csv", numbers(30, 3));
        place.write("series.csv", series(96));
        place.write("levels.ts", ts(30, 4));
        place.write("book.txt", text());
        place
    }

    /// Removes runs.
    pub(crate) fn remove(&self, runs: &[&str]) {
        runs.iter().for_each(|run| std::fs::remove_dir_all(self.path(run)).unwrap());
    }

    /// Trains a tiny network on a file into `run`.
    #[track_caller]
    pub(crate) fn train_on(&self, file: &str, run: &str, more: &str) -> crate::Outcome {
        self.run(&format!("train {file} {} --out {run}", tiny(more))).succeeded()
    }
}
