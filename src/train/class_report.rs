//! `ClassReport`: how well a model tells classes apart.

use serde::Serialize;

use super::evaluate::judge;

/// How well a model tells C classes apart, of sequences or of steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// The part of the examples whose most probable class is their label, in `[0, 1]`.
    pub accuracy: f64,
    /// The mean of the classes' F1 scores, of those that have examples or are predicted.
    pub macro_f1: f64,
    /// The mean of the classes' recalls, of those that have examples.
    pub balanced_accuracy: f64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Number of examples: sequences, or steps.
    pub examples: usize,
    /// Each class.
    pub classes: Vec<ClassScore>,
    /// How often each class was predicted for the examples of each: `confusion[label][prediction]`.
    pub confusion: Vec<Vec<usize>>,
}

/// How well a model does on a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// The name of the class.
    pub name: String,
    /// Number of examples of the class.
    pub examples: usize,
    /// The part of the predictions of this class that are right; `None` if it is never predicted.
    pub precision: Option<f64>,
    /// The part of the class's examples that are predicted so; `None` if it has no examples.
    pub recall: Option<f64>,
    /// The harmonic mean of both, 0 if one of them is 0 or undefined; `None` if it neither has examples nor is
    /// predicted.
    pub f1: Option<f64>,
}

/// Counts predictions, one by one.
#[derive(Clone, Debug)]
pub struct ClassCounter {
    confusion: Vec<Vec<usize>>,
    loss: f64,
}

impl ClassCounter {
    /// No example yet, of C classes.
    pub fn new(classes: usize) -> Self {
        Self { confusion: vec![vec![0; classes]; classes], loss: 0. }
    }

    /// Adds an example: its class, and the model's logits, `(C,)`.
    pub fn add(&mut self, label: u32, logits: &[f64]) {
        self.count(label, judge(logits, label as usize));
    }

    /// Adds an example of a class: the class that it was taken for, and its cross-entropy.
    pub(super) fn count(&mut self, label: u32, (answer, loss): (usize, f64)) {
        self.confusion[label as usize][answer] += 1;
        self.loss += loss;
    }

    /// The report, with these names of the classes.
    pub fn report(self, names: &[String]) -> ClassReport {
        let Self { confusion, loss } = self;
        let ratio = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        let class = |index: usize| {
            let right = confusion[index][index];
            let examples: usize = confusion[index].iter().sum();
            let predicted: usize = confusion.iter().map(|row| row[index]).sum();
            ClassScore {
                name: names.get(index).cloned().unwrap_or_else(|| index.to_string()),
                examples,
                precision: ratio(right, predicted),
                recall: ratio(right, examples),
                f1: ratio(2 * right, examples + predicted),
            }
        };
        let classes: Vec<ClassScore> = (0..confusion.len()).map(class).collect();
        let examples = classes.iter().map(|class| class.examples).sum();
        let right = (0..confusion.len()).map(|index| confusion[index][index]).sum();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let f1s = classes.iter().filter_map(|class| class.f1);
        let recalls = classes.iter().filter_map(|class| class.recall);
        ClassReport {
            accuracy: ratio(right, examples).unwrap_or(0.),
            macro_f1: mean(f1s.collect()),
            balanced_accuracy: mean(recalls.collect()),
            loss: loss / examples.max(1) as f64,
            examples,
            classes,
            confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_computed_by_hand() {
        let mut counter = ClassCounter::new(3);
        // Four of class 0, of which three are right; one of class 1, predicted 0; none of class 2.
        for logits in [[2., 0., 0.], [2., 0., 0.], [2., 0., 0.], [0., 2., 0.]] {
            counter.add(0, &logits);
        }
        counter.add(1, &[2., 0., 0.]);
        let names = ["a".to_string(), "b".into(), "c".into()];
        let report = counter.report(&names);
        assert_eq!((report.accuracy, report.examples), (0.6, 5));
        assert_eq!(report.confusion, [vec![3, 1, 0], vec![1, 0, 0], vec![0, 0, 0]]);
        assert_eq!(report.balanced_accuracy, 0.375);
        assert_eq!(
            (report.classes[0].precision, report.classes[0].recall),
            (Some(0.75), Some(0.75))
        );
        assert_eq!((report.classes[0].f1, report.macro_f1), (Some(0.75), 0.375));
        // What cannot be known is not 0.
        let scores = |class: usize| {
            let ClassScore { precision, recall, f1, .. } = report.classes[class];
            [precision, recall, f1]
        };
        assert_eq!(scores(1), [Some(0.); 3]);
        assert_eq!(scores(2), [None; 3]);
        let wrong = (2f64.exp() + 2.).ln();
        assert!((report.loss - (3. * (wrong - 2.) + 2. * wrong) / 5.).abs() < 1e-12);
    }
}
