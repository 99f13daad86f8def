//! The screen: results on stdout, progress on stderr.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_rnn::data::fetch::FetchEvent;
use candle_rnn::data::mnist::{ImageSet, COLUMNS, ROWS};
use candle_rnn::report::escaped;
use candle_rnn::train::EpochMetrics;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Whether another process speaks for this one.
static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// Has this process say nothing from here on: another one speaks for all.
pub(super) fn silence() {
    IS_SILENT.store(true, Ordering::Relaxed);
}

/// Whether this process says nothing.
pub(super) fn is_silent() -> bool {
    IS_SILENT.load(Ordering::Relaxed)
}

/// Lines as a terminal takes them: what would steer it, in a name from a file, is shown as an escape.
fn shown(lines: &str) -> Cow<'_, str> {
    if !lines.contains(|c: char| c.is_control() && c != '\n') {
        return lines.into();
    }
    lines.split('\n').map(escaped).collect::<Vec<_>>().join("\n").into()
}

/// Writes a line of results to stdout, or several; other control characters are shown as escapes.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    data(&shown(text))
}

/// Writes one JSON object as a line to stdout.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    data(&serde_json::to_string(value)?)
}

/// Writes lines for other programs to stdout, as they are.
pub(super) fn data(text: &str) -> anyhow::Result<()> {
    if is_silent() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Writes a line to stderr, or several; other control characters are shown as escapes. Where that is closed there is
/// nobody to tell.
pub(super) fn note(text: &str) {
    if is_silent() {
        return;
    }
    let _ = writeln!(io::stderr(), "{}", shown(text));
}

/// Whether an error is that whoever read our output has gone.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A number with commas between thousands.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A path as a shell takes it: in quotes where it has blanks or other characters of a shell's.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A count of things: `1 step`, `2 steps`.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(count))
}

/// An epoch's metrics as a line.
pub(super) fn epoch_line(metrics: &EpochMetrics, epochs: usize) -> String {
    let accuracy = |name: &str, value: Option<f64>| {
        value.map_or(String::new(), |value| format!("{name} {value:.4}  "))
    };
    let others = metrics.metrics.iter().map(|(name, value)| match name.strip_prefix("valid_") {
        Some(name) => format!("{name}_valid {value:.4}  "),
        None => format!("{name} {value:.4}  "),
    });
    format!(
        "epoch {}/{epochs}  {}loss_batch {:.4}  {}loss_valid {:.4}  {}{:.2} s  {} examples/s",
        metrics.epoch,
        accuracy("acc_batch", metrics.acc_batch),
        metrics.loss_batch,
        accuracy("acc_valid", metrics.valid_accuracy),
        metrics.valid_loss,
        others.collect::<String>(),
        metrics.seconds,
        thousands(metrics.examples_per_second as usize),
    )
}

/// Draws an image, a line a row; the first column numbers the steps at which a row is read.
pub(super) fn draw(pixels: &[u8]) -> String {
    const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
    let mut text = String::new();
    for (row, pixels) in pixels.chunks(COLUMNS).enumerate().take(ROWS) {
        let shades = pixels.iter().map(|pixel| SHADES[(usize::from(*pixel) * 5) / 256]);
        // A character is twice as high as wide.
        let line: String = shades.flat_map(|shade| [shade, shade]).collect();
        text.push_str(&format!("step {:>2} |{line}|\n", row + 1));
    }
    text
}

/// A bar of a probability.
pub(super) fn bar(probability: f64, width: usize) -> String {
    "█".repeat((probability * width as f64).round() as usize)
}

/// Progress of training: a bar on a terminal, a line now and then elsewhere.
pub(super) struct TrainProgress {
    bar: ProgressBar,
    plain: bool,
    epochs: usize,
    last_line: Instant,
    /// Images seen since `since`, for the rate.
    examples: usize,
    since: Instant,
    /// The rate and, next to it, the loss are smoothed over some steps.
    loss: f64,
}

impl TrainProgress {
    /// Shows nothing if `quiet`.
    pub(super) fn new(epochs: usize, batches: usize, done: usize, quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let target = if terminal && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar =
            ProgressBar::with_draw_target(Some(epochs.saturating_mul(batches) as u64), target);
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix} [{wide_bar}] batch {pos}/{len}  {msg}  {elapsed} elapsed, {eta} to go",
        ) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_position(done as u64);
        bar.reset_eta();
        let now = Instant::now();
        Self {
            bar,
            plain: !terminal && !quiet,
            epochs,
            last_line: now,
            examples: 0,
            since: now,
            loss: f64::NAN,
        }
    }

    /// Shows an optimizer step.
    pub(super) fn step(
        &mut self,
        epoch: usize,
        batch: usize,
        batches: usize,
        examples: usize,
        loss: f64,
    ) {
        self.loss = if self.loss.is_nan() { loss } else { 0.95 * self.loss + 0.05 * loss };
        self.examples += examples;
        let rate = self.examples as f64 / self.since.elapsed().as_secs_f64();
        let message = format!("loss {:.4}  {} examples/s", self.loss, thousands(rate as usize));
        if self.plain && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            note(&format!("epoch {epoch}/{}  batch {batch}/{batches}  {message}", self.epochs));
        }
        self.bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
        self.bar.set_message(message);
        self.bar.inc(1);
    }

    /// Runs `print` with the bar out of the way, and starts a new count of images.
    pub(super) fn pause<T>(&mut self, print: impl FnOnce() -> T) -> T {
        let result = self.bar.suspend(print);
        (self.examples, self.since) = (0, Instant::now());
        result
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Progress of fetching a data set.
pub(super) struct FetchProgress {
    bar: ProgressBar,
    dataset: &'static str,
    quiet: bool,
}

impl FetchProgress {
    /// Shows nothing if `quiet`, nor as long as there is nothing to fetch.
    pub(super) fn new(dataset: ImageSet, quiet: bool) -> Self {
        Self { bar: ProgressBar::hidden(), dataset: dataset.name(), quiet }
    }

    /// Shows an event.
    pub(super) fn show(&mut self, event: FetchEvent) {
        if self.quiet {
            return;
        }
        let text = match event {
            FetchEvent::Progress { source, bytes } => {
                let received = match bytes {
                    0 => String::new(),
                    bytes => format!(", {:.1} MB", bytes as f64 / 1e6),
                };
                self.bar.set_message(format!(
                    "{} from {source}: {} s{received}",
                    self.dataset,
                    self.bar.elapsed().as_secs()
                ));
                self.bar.tick();
                return;
            }
            FetchEvent::Damaged { reason } => format!("the cached files are damaged ({reason})"),
            FetchEvent::Trying { source } => format!("fetching {} from {source}", self.dataset),
            FetchEvent::Failed { source, reason } => format!("{source} did not have it: {reason}"),
            FetchEvent::Done { folder } => format!("{} is in {}", self.dataset, folder.display()),
            _ => return,
        };
        self.bar.finish_and_clear();
        note(&text);
        // Hidden by itself where stderr is no terminal.
        self.bar = ProgressBar::new_spinner();
    }
}

impl Drop for FetchProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted_by_commas() {
        let numbers = [0, 12, 123, 1234, 55_000, 1_234_567];
        let expected = ["0", "12", "123", "1,234", "55,000", "1,234,567"];
        assert_eq!(numbers.map(thousands), expected);
    }

    #[test]
    fn paths_with_blanks_are_quoted_for_a_shell() {
        let quoted = |path: &str| quoted(Path::new(path));
        assert_eq!(quoted("runs/0001"), "runs/0001");
        assert_eq!(quoted("my run"), "'my run'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn a_drawing_has_a_line_a_row() {
        let mut pixels = vec![0; 784];
        pixels[28] = 255;
        let drawing = draw(&pixels);
        let lines: Vec<&str> = drawing.lines().collect();
        assert_eq!(lines.len(), 28);
        assert_eq!(lines[0], format!("step  1 |{}|", " ".repeat(56)));
        assert_eq!(lines[1], format!("step  2 |██{}|", " ".repeat(54)));
    }
}
