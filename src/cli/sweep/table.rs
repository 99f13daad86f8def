//! The table of a sweep: its trials, the best by validation first.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_rnn::report::escaped;
use candle_rnn::sweep::{Standing, SweepFolder, SweepPlan, TrialRecord, TrialState};
use candle_rnn::train::EpochMetrics;
use serde_json::{json, Value};

use crate::cli::{compare, screen};

/// How a table is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableForm {
    /// For people.
    Lines,
    /// An object a line.
    Json,
    /// Comma-separated values.
    Csv,
}

/// The table of all trials of a sweep.
pub(super) struct SweepTable {
    folder: SweepFolder,
    plan: SweepPlan,
    records: Vec<TrialRecord>,
    standing: Standing,
}

impl SweepTable {
    pub(super) fn read(folder: &SweepFolder, plan: SweepPlan) -> anyhow::Result<Self> {
        let records = plan.trials().iter().map(|trial| folder.record(trial.number));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let standing = plan.standing(&records);
        Ok(Self { folder: folder.clone(), plan, records, standing })
    }

    /// The number of the best trial, once all have ended.
    pub(super) fn best(&self) -> Option<usize> {
        self.standing.best(&self.records).map(|trial| self.plan.trials()[trial].number)
    }

    /// How many trials have failed.
    pub(super) fn failed(&self) -> usize {
        self.count(|state| state == TrialState::Failed)
    }

    /// How many trials are in such a state.
    pub(super) fn count(&self, is: impl Fn(TrialState) -> bool) -> usize {
        self.standing.states.iter().filter(|state| is(**state)).count()
    }

    /// The best trial so far, as an index, of those that have an epoch.
    pub(super) fn leading(&self) -> Option<usize> {
        let order = self.standing.order(&self.records);
        order.into_iter().find(|trial| self.best_epoch(*trial).is_some())
    }

    /// The number of a trial.
    pub(super) fn number(&self, trial: usize) -> usize {
        self.plan.trials()[trial].number
    }

    /// The run of a trial.
    pub(super) fn run(&self, number: usize) -> PathBuf {
        self.folder.run(number)
    }

    pub(super) fn show(&self, form: TableForm) -> anyhow::Result<()> {
        let order = self.standing.order(&self.records);
        match form {
            TableForm::Json => {
                order.into_iter().try_for_each(|trial| screen::json(&self.object(trial)?))
            }
            TableForm::Csv => {
                let mut csv = csv::Writer::from_writer(Vec::new());
                let digits = |value: f64| value.to_string();
                self.lines(&order, "", digits)
                    .iter()
                    .try_for_each(|line| csv.write_record(line))?;
                let text = String::from_utf8(csv.into_inner()?)?;
                screen::data(text.trim_end())
            }
            TableForm::Lines => {
                compare::show(&self.lines(&order, "-", |value| format!("{value:.4}")))?;
                for trial in order {
                    if let Some(error) = &self.records[trial].error {
                        let number = self.plan.trials()[trial].number;
                        let line = format!("trial {number:04} failed: {error}");
                        screen::line(&escaped(&line))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The best epoch of a trial, of those that count.
    fn best_epoch(&self, trial: usize) -> Option<&EpochMetrics> {
        self.records[trial].best(None)
    }

    /// A line of names, and one for each trial.
    fn lines(
        &self,
        order: &[usize],
        none: &str,
        number: impl Fn(f64) -> String,
    ) -> Vec<Vec<String>> {
        let best = |trial: &usize| self.best_epoch(*trial);
        let has_accuracy = order.iter().filter_map(best).any(|best| best.valid_accuracy.is_some());
        let measures = order.iter().filter_map(best).flat_map(|best| best.metrics.keys());
        let mut measures: Vec<&String> =
            measures.filter(|name| name.starts_with("valid_")).collect();
        measures.sort();
        measures.dedup();
        let first = self.plan.trials().first();
        let choices: Vec<&String> =
            first.into_iter().flat_map(|trial| &trial.choices).map(|(name, _)| name).collect();
        let mut names = vec!["trial".to_string()];
        names.extend(choices.iter().map(|name| (*name).clone()));
        names.extend(["epochs", "best_epoch"].map(String::from));
        names.extend(has_accuracy.then(|| "acc_valid".into()));
        names.push("loss_valid".into());
        let measure = |name: &&String| format!("{}_valid", name.trim_start_matches("valid_"));
        names.extend(measures.iter().map(measure));
        names.push("state".into());
        let mut lines = vec![names];
        for &index in order {
            let (trial, best) = (&self.plan.trials()[index], self.best_epoch(index));
            let value = |value: Option<f64>| value.map_or_else(|| none.to_string(), &number);
            let mut line = vec![format!("{:04}", trial.number)];
            line.extend(trial.choices.iter().map(|(_, value)| value.clone()));
            line.push(self.records[index].history.len().to_string());
            line.push(best.map_or_else(|| none.to_string(), |best| best.epoch.to_string()));
            if has_accuracy {
                line.push(value(best.and_then(|best| best.valid_accuracy)));
            }
            line.push(value(best.map(|best| best.valid_loss)));
            let other =
                |name: &&String| value(best.and_then(|best| best.metrics.get(*name).copied()));
            line.extend(measures.iter().map(other));
            line.push(self.state(index));
            lines.push(line);
        }
        lines
    }

    fn state(&self, trial: usize) -> String {
        let planned = self.plan.trials()[trial].epochs().unwrap_or(usize::MAX);
        match self.standing.states[trial] {
            // Its measures are not those that the file asks for.
            TrialState::Finished if self.records[trial].history.len() > planned => {
                format!("finished, trained on by hand after epoch {planned}")
            }
            TrialState::Finished => "finished".into(),
            TrialState::Stopped(round) => format!("stopped after round {round}"),
            TrialState::Open if self.records[trial].history.is_empty() => "open".into(),
            TrialState::Open => "unfinished".into(),
            TrialState::Failed => "failed".into(),
        }
    }

    /// What is known of a trial.
    pub(super) fn object(&self, index: usize) -> anyhow::Result<Value> {
        let (trial, record) = (&self.plan.trials()[index], &self.records[index]);
        let choices: BTreeMap<&String, Value> =
            trial.choices.iter().map(|(name, value)| (name, typed(value))).collect();
        let mut best = serde_json::to_value(self.best_epoch(index))?;
        if let Some(best) = best.as_object_mut() {
            // Another run of the same sweep takes another time.
            best.retain(|name, _| name != "seconds" && name != "examples_per_second");
        }
        Ok(json!({
            "trial": trial.number,
            "run": self.folder.run(trial.number),
            "state": self.state(index),
            "settings": choices,
            "epochs": record.history.len(),
            "best": best,
            "error": record.error,
        }))
    }
}

/// A number or a truth value as such, anything else as a text.
fn typed(value: &str) -> Value {
    let parsed = serde_json::from_str(value).ok();
    parsed.filter(|value: &Value| value.is_number() || value.is_boolean()).unwrap_or(value.into())
}

/// Lists the trials of a plan.
pub(super) fn list(plan: &SweepPlan, form: TableForm) -> anyhow::Result<()> {
    let names = plan.trials().first().into_iter().flat_map(|trial| &trial.choices);
    let mut lines = vec![vec!["trial".to_string()]];
    lines[0].extend(names.map(|(name, _)| name.clone()));
    for trial in plan.trials() {
        let mut line = vec![format!("{:04}", trial.number)];
        line.extend(trial.choices.iter().map(|(_, value)| value.clone()));
        if form == TableForm::Json {
            let choices: BTreeMap<&String, Value> =
                trial.choices.iter().map(|(name, value)| (name, typed(value))).collect();
            screen::json(&json!({ "trial": trial.number, "settings": choices }))?;
        }
        lines.push(line);
    }
    match form {
        TableForm::Json => Ok(()),
        TableForm::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            lines.iter().try_for_each(|line| csv.write_record(line))?;
            screen::data(String::from_utf8(csv.into_inner()?)?.trim_end())
        }
        TableForm::Lines => {
            compare::show(&lines)?;
            if plan.rounds().len() == 1 {
                return Ok(());
            }
            for (index, round) in plan.rounds().iter().enumerate() {
                let end = match round.epochs {
                    Some(epochs) => format!("to epoch {epochs}"),
                    None => "to the end".into(),
                };
                let trials = screen::counted(round.trials, "trial");
                screen::line(&format!("round {}: {trials}, {end}", index + 1))?;
            }
            Ok(())
        }
    }
}
