//! The trainings of a sweep: who is started, what became of it, and when all is done.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context;
use candle_rnn::run;
use candle_rnn::sweep::{Standing, SweepFolder, SweepPlan, TrialRecord};

use super::child::{was_stopped, Training};
use super::progress::SweepProgress;
use super::share::Share;
use crate::cli::signals::Signals;

/// How often trainings are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often it is read what other processes have done.
const READ_EVERY: Duration = Duration::from_millis(200);
/// After how long without a training that is said.
const SAY_AFTER: Duration = Duration::from_secs(2);
/// A training that is killed so often has failed.
const MOST_KILLS: usize = 3;

/// How a sweep ended.
pub(super) enum SweepEnd {
    /// All trials have ended.
    Complete,
    /// The trials that are left are other tasks'.
    OthersAreLeft,
    /// By a signal.
    Interrupted(u8),
}

/// The trainings of this process.
pub(super) struct Trainings<'a> {
    pub(super) folder: &'a SweepFolder,
    pub(super) plan: &'a SweepPlan,
    pub(super) share: &'a Share,
    pub(super) jobs: usize,
    pub(super) threads: u16,
    program: PathBuf,
    running: Vec<Training>,
    records: Vec<TrialRecord>,
    /// How often each trial was killed.
    kills: Vec<usize>,
    progress: SweepProgress,
    read: Instant,
    /// Since when this process has had nothing to do but to wait; that it does was said.
    idle: Option<(Instant, bool)>,
}

impl<'a> Trainings<'a> {
    pub(super) fn new(
        folder: &'a SweepFolder,
        plan: &'a SweepPlan,
        share: &'a Share,
        (jobs, threads): (usize, u16),
        progress: SweepProgress,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let count = plan.trials().len();
        let (records, kills) = (vec![TrialRecord::default(); count], vec![0; count]);
        let (running, read) = (Vec::new(), Instant::now());
        Ok(Self {
            idle: None,
            folder,
            plan,
            share,
            jobs,
            threads,
            program,
            running,
            records,
            kills,
            progress,
            read,
        })
    }

    /// Forgets that trials have failed.
    pub(super) fn retry(&mut self) -> anyhow::Result<()> {
        for trial in self.plan.trials() {
            if self.folder.record(trial.number)?.error.is_none() {
                continue;
            }
            if let Some(mut claim) = self.folder.claim(trial)? {
                claim.retry()?;
            }
        }
        Ok(())
    }

    /// Trains until there is nothing left to train, or a signal comes; all trainings have ended then.
    pub(super) fn run(&mut self, signals: &Signals) -> anyhow::Result<SweepEnd> {
        let end = self.train(signals);
        // A signal or an error: each saves, side by side.
        self.running.iter_mut().for_each(Training::tell_to_stop);
        self.running.iter_mut().for_each(Training::wait);
        self.progress.finish();
        end
    }

    fn train(&mut self, signals: &Signals) -> anyhow::Result<SweepEnd> {
        self.read()?;
        loop {
            if let Some(signal) = signals.pending() {
                return Ok(SweepEnd::Interrupted(signal));
            }
            let has_changed = self.reap()?;
            let has_room = self.running.len() < self.jobs;
            if has_changed || (has_room && self.read.elapsed() >= READ_EVERY) {
                self.read()?;
                continue;
            }
            std::thread::sleep(LOOK_EVERY);
            if let Some(end) = self.end() {
                return Ok(end);
            }
            self.note_idle();
        }
    }

    /// Reads what is known of the trials, and starts those that can be.
    fn read(&mut self) -> anyhow::Result<()> {
        self.read = Instant::now();
        for (trial, record) in self.plan.trials().iter().zip(&mut self.records) {
            // Of others' trials, too: halving compares them.
            if !record.is_finished {
                *record = self.folder.record(trial.number)?;
            }
        }
        let (standing, mine) = self.look();
        self.start(&standing, &mine)
    }

    /// Where the sweep stands, which is shown, and the open trials that are this process's.
    fn look(&mut self) -> (Standing, Vec<usize>) {
        let standing = self.plan.standing(&self.records);
        let mine = self.share.of(&standing);
        self.progress.left(standing.left(self.plan.rounds(), mine.len()), &standing);
        (standing, mine)
    }

    /// Whether all is done that this process can do.
    fn end(&self) -> Option<SweepEnd> {
        let standing = self.plan.standing(&self.records);
        if !self.running.is_empty() {
            return None;
        }
        if standing.is_complete() {
            return Some(SweepEnd::Complete);
        }
        let is_done = self.share.of(&standing).is_empty() && !self.share.waits();
        is_done.then_some(SweepEnd::OthersAreLeft)
    }

    /// Says once that others train what is left.
    fn note_idle(&mut self) {
        if !self.running.is_empty() {
            self.idle = None;
            return;
        }
        let (since, is_said) = *self.idle.get_or_insert((Instant::now(), false));
        if !is_said && since.elapsed() >= SAY_AFTER {
            self.idle = Some((since, true));
            self.progress.note("waiting: other processes train what is left");
        }
    }

    fn start(&mut self, standing: &Standing, mine: &[usize]) -> anyhow::Result<()> {
        for &index in mine {
            if self.running.len() >= self.jobs {
                break;
            }
            if self.running.iter().any(|training| training.trial == index) {
                continue;
            }
            let trial = &self.plan.trials()[index];
            // Another process has it.
            let Some(claim) = self.folder.claim(trial)? else { continue };
            let epochs = self.plan.rounds()[standing.round].epochs;
            // Another process may have ended it since this one looked.
            let record = self.folder.record(trial.number)?;
            let is_over = record.has_reached(epochs) || record.error.is_some();
            self.records[index] = record;
            // Or somebody trains it by hand.
            if is_over || run::is_being_written(&self.folder.run(trial.number)) {
                continue;
            }
            let what = (index, trial, self.plan.data());
            let how = (epochs, self.threads);
            self.running.push(Training::start(&self.program, self.folder, what, how, claim)?);
        }
        Ok(())
    }

    /// Takes note of trainings that have ended; whether there were some.
    fn reap(&mut self) -> anyhow::Result<bool> {
        let mut ended = Vec::new();
        for (place, training) in self.running.iter_mut().enumerate().rev() {
            if let Some(status) = training.ended()? {
                ended.push((place, status));
            }
        }
        let has_ended = !ended.is_empty();
        for (place, status) in ended {
            let training = self.running.swap_remove(place);
            self.conclude(training, status)?;
        }
        Ok(has_ended)
    }

    /// Records the outcome of a training that has ended.
    fn conclude(&mut self, mut training: Training, status: ExitStatus) -> anyhow::Result<()> {
        let trial = &self.plan.trials()[training.trial];
        let record = self.folder.record(trial.number)?;
        self.records[training.trial] = record.clone();
        if record.has_reached(training.epochs) {
            self.look();
            self.progress.reached(trial, &record, training.epochs, training.elapsed());
            return Ok(());
        }
        if was_stopped(status) {
            self.kills[training.trial] += 1;
            if self.kills[training.trial] < MOST_KILLS {
                self.progress
                    .note(&format!("trial {:04} was stopped ({status}): it goes on", trial.number));
                return Ok(());
            }
        } else if run::is_being_written(&self.folder.run(trial.number)) {
            // By another process, which was faster.
            return Ok(());
        }
        let reason = match training.claim.error()? {
            Some(error) => error,
            None if status.success() => "the training ended before its last epoch".into(),
            None => format!("the training was stopped {MOST_KILLS} times ({status})"),
        };
        if record.error.as_ref() != Some(&reason) {
            training.claim.fail(&reason)?;
        }
        self.progress.note(&format!("trial {:04} failed: {reason}", trial.number));
        Ok(())
    }
}
