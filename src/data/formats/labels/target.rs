//! The target that labels make: what they turned out to be, or why they are none.

use super::{LabelColumn, ReadLabels, FEW};
use crate::data::formats::text_numbers::quote;
use crate::data::{Numbers, Target};

impl LabelColumn {
    /// The target of the sequences, and what was assumed.
    ///
    /// # Errors
    /// What is wrong with the labels.
    pub(in crate::data::formats) fn finish(
        mut self,
        notes: &mut Vec<String>,
    ) -> Result<Target, String> {
        if self.missing_count == self.len() {
            if self.missing_count > 0 {
                notes.push("all labels are missing: there is no target".into());
            }
            return Ok(Target::None);
        }
        if let ReadLabels::Names(labels) = &self.read {
            let (classes, count) = (labels.classes(), self.len());
            let many = classes > FEW && count < 2 * classes;
            if self.kind.is_none() && !self.text && (self.fraction || many) {
                self.become_numbers();
            }
        }
        if let Some(place) = self.missing {
            let count = self.missing_count;
            return Err(format!(
                "{place}: the label is missing, one of {count}: give all labels or none"
            ));
        }
        self.refuse_stray()?;
        let name = self.name;
        match self.read {
            ReadLabels::Names(labels) => {
                if self.kind.is_none() && !self.text {
                    notes.push(format!("{name} has few distinct whole numbers: they are classes"));
                }
                if self.kind.is_none() && self.text && self.fraction {
                    notes.push(format!(
                        "{name} has texts and numbers with fractions: all of them are names of classes"
                    ));
                }
                Ok(Target::Class(labels.build()))
            }
            ReadLabels::Numbers(values) => {
                if self.kind.is_none() {
                    let why = if self.fraction {
                        "numbers with fractions"
                    } else {
                        "many distinct numbers"
                    };
                    notes.push(format!("{name} has {why}: they are the target"));
                }
                Ok(Target::Numbers(Numbers { names: vec![name], values }))
            }
        }
    }

    /// Refuses a single text among many distinct numbers, unless classes were asked for.
    fn refuse_stray(&self) -> Result<(), String> {
        let ReadLabels::Names(labels) = &self.read else { return Ok(()) };
        match &self.stray {
            Some((text, place))
                if self.kind.is_none() && self.fraction && labels.classes() > FEW =>
            {
                Err(format!(
                    "{place}: expected a number as the other labels are, got {}",
                    quote(text)
                ))
            }
            _ => Ok(()),
        }
    }

    /// The target of the steps.
    ///
    /// # Errors
    /// What is wrong with the labels.
    pub(in crate::data::formats) fn finish_steps(
        self,
        notes: &mut Vec<String>,
    ) -> Result<Target, String> {
        if self.missing_count > 0 && self.missing_count == self.len() {
            notes.push("all labels are missing: there is no target".into());
            return Ok(Target::None);
        }
        if let Some(place) = self.missing {
            return Err(format!("{place}: the label of the step is missing: give all labels"));
        }
        self.refuse_stray()?;
        match self.read {
            ReadLabels::Names(labels) if self.is_settled || self.text || !self.fraction => {
                Ok(Target::StepClass(labels.build()))
            }
            _ => Err(format!(
                "{} has a number at each step, which cannot be a target: leave it among the features to forecast it",
                self.name
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TargetKind;

    fn target(labels: &[&str], kind: Option<TargetKind>) -> Result<Target, String> {
        let mut column = LabelColumn::new("y", kind);
        for (line, label) in labels.iter().enumerate() {
            column.push(label.as_bytes(), || format!("line {}", line + 1))?;
        }
        column.finish(&mut Vec::new())
    }

    #[test]
    fn whole_numbers_and_texts_are_classes() {
        let Ok(Target::Class(labels)) = target(&["1.0", "-1", "1.000e+00"], None) else { panic!() };
        assert_eq!(
            (labels.names, labels.indices),
            (vec!["-1".into(), "1".into()], [1, 0, 1].into_iter().collect())
        );
        let Ok(Target::Class(labels)) = target(&["b", "1.5", "a"], None) else { panic!() };
        assert_eq!(labels.names, ["1.5", "a", "b"]);
        let (mut mixed, mut notes) = (LabelColumn::new("y", None), Vec::new());
        for label in ["1.25", "up"] {
            mixed.push(label.as_bytes(), String::new).unwrap();
        }
        mixed.finish(&mut notes).unwrap();
        assert_eq!(
            notes,
            ["y has texts and numbers with fractions: all of them are names of classes"]
        );
    }

    #[test]
    fn fractions_and_many_numbers_are_numbers() {
        let Ok(Target::Numbers(numbers)) = target(&["1", "2.5"], None) else { panic!() };
        assert_eq!(numbers.values, [1., 2.5]);
        let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(target(&many, None).unwrap().kind(), TargetKind::Numbers);
        assert_eq!(target(&many, Some(TargetKind::Class)).unwrap().kind(), TargetKind::Class);
        let twice = [&many[..], &many[..]].concat();
        assert_eq!(target(&twice, None).unwrap().kind(), TargetKind::Class);
        let error = target(&["1", "x"], Some(TargetKind::Numbers)).unwrap_err();
        assert_eq!(error, "expected a number, got \"x\"");
    }

    #[test]
    fn labels_are_all_there_or_all_missing() {
        assert_eq!(target(&["?", ""], None).unwrap(), Target::None);
        let error = target(&["a", "?", "b"], None).unwrap_err();
        assert_eq!(error, "line 2: the label is missing, one of 1: give all labels or none");
        let mut declared = LabelColumn::declared(&["a".into(), "b".into()]);
        declared.push(b"a", String::new).unwrap();
        let error = declared.push(b"c", String::new).unwrap_err();
        assert_eq!(error, "\"c\" is not among the declared classes");
    }
}
