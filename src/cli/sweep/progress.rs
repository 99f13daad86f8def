//! Progress of a sweep: a line for each trial that has come to an end, and a bar on a terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use candle_rnn::sweep::{Standing, Trial, TrialRecord, TrialState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::screen;

/// Progress of a sweep on stderr.
pub(super) struct SweepProgress {
    bar: ProgressBar,
    quiet: bool,
    begun: Instant,
    /// How much was left to train when this began, and how much is.
    left: Option<(f64, f64)>,
    trials: usize,
    over: usize,
}

impl SweepProgress {
    /// Shows nothing if `quiet`.
    pub(super) fn new(trials: usize, quiet: bool) -> Self {
        let is_shown = io::stderr().is_terminal() && !quiet;
        let target =
            if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(trials as u64), target);
        if let Ok(style) =
            ProgressStyle::with_template("trials {pos}/{len} [{wide_bar}] {msg}  {elapsed} elapsed")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, quiet, begun: Instant::now(), left: None, trials, over: 0 }
    }

    /// Takes note of where the sweep stands.
    ///
    /// - `left`: how much is left to train
    pub(super) fn left(&mut self, left: f64, standing: &Standing) {
        let first = self.left.map_or(left, |(first, _)| first);
        self.left = Some((first, left));
        self.over = standing.states.iter().filter(|state| **state != TrialState::Open).count();
        self.bar.set_position(self.over as u64);
        self.bar.set_message(self.to_go());
    }

    /// Shows a trial that has come to the end of its round, or to its own.
    pub(super) fn reached(
        &mut self,
        trial: &Trial,
        record: &TrialRecord,
        epochs: Option<usize>,
        duration: Duration,
    ) {
        let choices = trial.choices.iter().map(|(name, value)| format!("  {name} {value}"));
        let measure = match record.best(epochs) {
            Some(best) => match best.valid_accuracy {
                Some(accuracy) => format!("acc_valid {accuracy:.4}"),
                None => format!("loss_valid {:.4}", best.valid_loss),
            },
            None => "no epoch".into(),
        };
        let line = format!(
            "trial {:04}  {}  {measure}{}  {:.1} s",
            trial.number,
            screen::counted(record.history.len(), "epoch"),
            choices.collect::<String>(),
            duration.as_secs_f64(),
        );
        // The trial that the line is about is not among those that are over yet.
        let to_go = self.to_go();
        let to_go = if to_go.is_empty() { to_go } else { format!("  {to_go}") };
        self.note(&format!("{line}{to_go}"));
    }

    /// Shows a line.
    pub(super) fn note(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| screen::note(line));
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// How long the rest takes if it goes on like this; nothing before anything is done.
    fn to_go(&self) -> String {
        let Some((first, left)) = self.left.filter(|(first, left)| left < first) else {
            return String::new();
        };
        let seconds = self.begun.elapsed().as_secs_f64() * left / (first - left);
        format!("({} of {} over, {} to go)", self.over, self.trials, duration(seconds))
    }
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_their_units() {
        let said = [0.4, 59.4, 61., 3599., 7260.].map(duration);
        assert_eq!(said, ["0 s", "59 s", "1 min 01 s", "59 min 59 s", "2 h 01 min"]);
    }
}
