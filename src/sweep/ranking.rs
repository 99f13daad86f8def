//! Where a sweep stands: what follows from the records of its trials, for every process alike.

use std::cmp::Ordering;

use super::halving::Round;
use super::record::TrialRecord;
use crate::train::EpochMetrics;

/// How it is with a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// It was trained to its end.
    Finished,
    /// It was stopped after this round, from 1: others were better.
    Stopped(usize),
    /// It is to be trained, or waits for the others of its round.
    Open,
    /// It failed.
    Failed,
}

/// Where a sweep stands. It depends on the records alone, not on who trained what when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The round that is being trained, as an index; the number of rounds once all have ended.
    pub round: usize,
    /// The trials of this round, as indices.
    pub entrants: Vec<usize>,
    /// The trials of the round that have not come to its end.
    pub open: Vec<usize>,
    /// The states of all trials.
    pub states: Vec<TrialState>,
}

impl Standing {
    /// Where a sweep with these rounds stands.
    pub(super) fn of(rounds: &[Round], records: &[TrialRecord]) -> Self {
        let mut states = vec![TrialState::Open; records.len()];
        let mut entrants: Vec<usize> = (0..records.len()).collect();
        for (index, round) in rounds.iter().enumerate() {
            let is_last = index + 1 == rounds.len();
            let mut open = Vec::new();
            for &trial in &entrants {
                let record = &records[trial];
                if record.has_reached(round.epochs) {
                    // In the last round nobody is compared any more.
                    states[trial] = if is_last { TrialState::Finished } else { TrialState::Open };
                } else if record.error.is_some() {
                    states[trial] = TrialState::Failed;
                } else {
                    open.push(trial);
                }
            }
            if !open.is_empty() {
                return Self { round: index, entrants, open, states };
            }
            let Some(next) = rounds.get(index + 1) else { break };
            entrants.retain(|trial| states[*trial] == TrialState::Open);
            let best = |trial: usize| records[trial].best(round.epochs);
            entrants.sort_by(|a, b| compare(best(*a), best(*b)));
            for trial in entrants.drain(next.trials.min(entrants.len())..) {
                states[trial] = TrialState::Stopped(index + 1);
            }
            entrants.sort_unstable();
        }
        Self { round: rounds.len(), entrants: Vec::new(), open: Vec::new(), states }
    }

    /// Whether there is nothing left to train.
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// All trials, as indices: the best that were trained to their end first, then those that were stopped, the last
    /// round's first, then the others; equal ones by their numbers.
    pub fn order(&self, records: &[TrialRecord]) -> Vec<usize> {
        let class = |trial: &usize| match self.states[*trial] {
            TrialState::Finished => (0, 0),
            TrialState::Stopped(round) => (1, usize::MAX - round),
            TrialState::Open => (2, 0),
            TrialState::Failed => (3, 0),
        };
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by(|a, b| {
            class(a).cmp(&class(b)).then_with(|| match self.states[*a] {
                TrialState::Finished | TrialState::Stopped(_) => {
                    compare(records[*a].best(None), records[*b].best(None))
                }
                TrialState::Open | TrialState::Failed => a.cmp(b),
            })
        });
        order
    }

    /// The best trial, as an index, once all have ended: of those that were trained to their end.
    pub fn best(&self, records: &[TrialRecord]) -> Option<usize> {
        let first = self.order(records).first().copied();
        first.filter(|trial| self.is_complete() && self.states[*trial] == TrialState::Finished)
    }

    /// How much is left to train, in units of a round's length: `mine` of the trials that are open.
    pub fn left(&self, rounds: &[Round], mine: usize) -> f64 {
        let Some(round) = rounds.get(self.round) else { return 0. };
        let later = &rounds[self.round + 1..];
        let later: usize = later.iter().map(|round| round.length * round.trials).sum();
        let share = mine as f64 / self.open.len().max(1) as f64;
        (round.length * mine) as f64 + later as f64 * share
    }
}

/// The better one first.
fn compare(a: Option<&EpochMetrics>, b: Option<&EpochMetrics>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if a.is_better_than(b) => Ordering::Less,
        (Some(a), Some(b)) if b.is_better_than(a) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}
