//! Tables with a row an example: a sequence of one step.

use super::columns::{is_text, is_whole, Columns};
use super::dialect::Dialect;
use super::names::{called, is_one_of, GROUPS, IDS, LABELS, TIMES};
use crate::data::formats::options::ReadOptions;
use crate::data::formats::text_numbers::{is_missing, is_number};
use crate::data::TargetKind;

/// Labels that are those of steps: they mark times of a recording.
const OF_STEPS: [&str; 3] = ["activity", "anomaly", "is_anomaly"];

impl Columns {
    /// Whether rows are examples, not steps: each has a label and two numbers or more, and no column says which
    /// sequence it belongs to or when it was.
    pub(super) fn is_tabular(&self, dialect: &Dialect, options: &ReadOptions) -> bool {
        let named = dialect.header_names();
        let used = self.used();
        let has_sequences = self.id.is_some()
            || self.time.is_some()
            || self.called_id(dialect).is_some()
            || called(named, &TIMES, &used).is_some()
            || self.index_column(dialect).is_some();
        let is_of_steps = matches!(options.target, Some(TargetKind::StepClass | TargetKind::None));
        if options.is_series || has_sequences || is_of_steps {
            return false;
        }
        let found = || called(named, &LABELS, &used).or_else(|| self.text_column(dialect));
        let asked = !self.labels.is_empty() || options.target.is_some();
        let Some(label) = self.labels.first().copied().or_else(found) else { return false };
        // A column of numbers that nobody asks for may be a feature as well.
        let is_class = dialect.column(label).all(|cell| is_text(cell) || is_whole(cell));
        let marks_steps = dialect.header && is_one_of(&dialect.names.get(label), &OF_STEPS);
        if marks_steps && options.target.is_none() || !asked && !is_class {
            return false;
        }
        let is_feature = |column: &usize| {
            let mut cells = dialect.column(*column);
            *column != label
                && !used.contains(column)
                && cells.any(is_number)
                && dialect.column(*column).all(|cell| is_number(cell) || is_missing(cell))
        };
        let features = match self.features.len() {
            0 => (0..dialect.names.len()).filter(is_feature).count(),
            given => given,
        };
        features >= 2
    }

    /// Finds the columns of such a table.
    ///
    /// # Errors
    /// What options and table disagree about.
    pub(super) fn complete_tabular(
        &mut self,
        dialect: &Dialect,
        options: &ReadOptions,
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        if self.time.is_some() {
            return Err(
                "a column of times means nothing in the tabular layout, whose rows are sequences of one step: \
                 leave it out, or ask for the long layout"
                    .into(),
            );
        }
        if options.target == Some(TargetKind::StepClass) {
            return Err(
                "in the tabular layout each row is a sequence of one step: its class is that of the sequence"
                    .into(),
            );
        }
        let named = dialect.header_names();
        self.id = self.id.or_else(|| called(named, &IDS, &self.used()));
        self.group = self.group.or_else(|| called(named, &GROUPS, &self.used()));
        let name = |column: usize| dialect.names.get(column);
        if let Some(id) = self.id.filter(|_| options.id.is_none()) {
            notes.push(format!("column {} is taken for the name of a sequence", name(id)));
        }
        if let Some(group) = self.group.filter(|_| options.group.is_none()) {
            notes.push(format!("column {} is taken for the group of a sequence", name(group)));
        }
        let index = self.index_column(dialect);
        if let Some(index) = index {
            notes.push(format!("column {} counts the rows and is left out", name(index)));
        }
        let label = called(named, &LABELS, &self.used()).or_else(|| self.text_column(dialect));
        if self.lacks_labels {
            notes.push("the file has no labels".into());
        } else if let (true, Some(label)) = (self.labels.is_empty(), label) {
            if options.target == Some(TargetKind::None) {
                notes.push(format!("column {} is left out: no target is asked for", name(label)));
                return self.all_features(dialect, &[Some(label), index], notes);
            }
            notes.push(format!("column {} is taken for the label", name(label)));
            self.labels.push(label);
        }
        self.all_features(dialect, &[index], notes)
    }
}

#[cfg(test)]
mod tests {
    use crate::data::formats::{read, Layout, ReadOptions};
    use crate::data::{Dataset, TargetKind};

    fn table(text: &str, options: &ReadOptions) -> Result<(Dataset, Option<Layout>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let loaded = read(&path, options).map_err(|error| error.to_string())?;
        let layout = loaded.layout;
        Ok((loaded.sequences().unwrap(), layout))
    }

    const IRIS: &str = "length,width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n4.9,3.0,setosa\n6.4,3.2,versicolor\n";

    #[test]
    fn rows_with_a_class_and_no_sequence_are_examples() {
        let bare = IRIS.split_once('\n').unwrap().1;
        for (text, names) in [(IRIS, ["length", "width"]), (bare, ["1", "2"])] {
            let (data, layout) = table(text, &ReadOptions::default()).unwrap();
            assert_eq!((layout, data.lengths()), (Some(Layout::Tabular), vec![1; 4]));
            assert_eq!(
                (data.features(), data.target().kind()),
                (&names.map(String::from)[..], TargetKind::Class)
            );
            assert_eq!((data.label(1), data.class_names()[1].as_str()), (Some(1), "versicolor"));
        }
        let whole =
            IRIS.replace("species", "target").replace("setosa", "0").replace("versicolor", "1");
        assert_eq!(table(&whole, &ReadOptions::default()).unwrap().1, Some(Layout::Tabular));
        let named = ReadOptions { labels: vec!["width".into()], ..ReadOptions::default() };
        let text = "length,width,height\n7,0.5,1\n2,1.5,2\n3,2.5,3\n";
        let (data, _) = table(text, &named).unwrap();
        assert_eq!(
            (data.target().kind(), data.numbers(2)),
            (TargetKind::Numbers, Some(&[2.5][..]))
        );
    }

    #[test]
    fn rows_that_may_be_steps_are_steps() {
        let long = |text: &str, options: &ReadOptions| {
            let (data, layout) = table(text, options).unwrap();
            assert_eq!((layout, data.len()), (Some(Layout::Long), 1), "{text}");
        };
        let any = ReadOptions::default();
        long("x,label\n1,0\n2,0\n3,1\n", &any);
        long("time,x,y,label\n1,1,2,0\n2,2,4,0\n", &any);
        long("x,y,is_anomaly\n1,1,0\n2,5,0\n9,2,1\n", &any);
        long("x,y,target\n1,1,0.5\n2,5,0.25\n9,2,1.5\n", &any);
        long("a,b,c\n1,1,0\n2,5,0\n9,2,1\n", &any);
        long(IRIS, &ReadOptions { is_series: true, ..ReadOptions::default() });
        long(IRIS, &ReadOptions { layout: Some(Layout::Long), ..ReadOptions::default() });
        long(IRIS, &ReadOptions { target: Some(TargetKind::StepClass), ..ReadOptions::default() });
    }

    #[test]
    fn ids_name_examples_and_counts_of_rows_are_left_out() {
        let tabular = ReadOptions { layout: Some(Layout::Tabular), ..ReadOptions::default() };
        let (data, _) = table("id,x,y,label\np,1,2,a\np,3,4,b\n", &tabular).unwrap();
        assert_eq!((data.len(), data.id(1), data.features().len()), (2, "p".into(), 2));
        let (data, _) = table(",x,y,label\n0,1,2,a\n1,3,4,b\n2,5,6,b\n", &tabular).unwrap();
        assert_eq!((data.len(), data.features()), (3, &["x".to_string(), "y".into()][..]));
        let steps = ReadOptions { target: Some(TargetKind::StepClass), ..tabular.clone() };
        assert!(table(IRIS, &steps).unwrap_err().contains("its class is that of the sequence"));
        let time = ReadOptions { time: Some("width".into()), ..tabular };
        assert!(table(IRIS, &time).unwrap_err().contains("a column of times means nothing"));
    }
}
