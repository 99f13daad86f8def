//! The summary of a file of sequences that `train` and `data` show.

use std::collections::BTreeMap;
use std::path::Path;

use candle_rnn::data::formats::Format;
use candle_rnn::data::{Dataset, SequenceValues, Target};

use super::screen;

/// Classes, features and so on that are listed, at most.
const MOST: usize = 12;

/// A few lines about a data set.
pub(super) fn summary(
    file: &Path,
    format: Format,
    data: &Dataset,
    notes: &[String],
) -> Vec<String> {
    let lengths = counts_of_lengths(data);
    let (shortest, longest) = ends(&lengths);
    let mut before = 0;
    let median = lengths.iter().find(|(_, count)| {
        before += **count;
        before > data.len() / 2
    });
    let median = median.map_or(shortest, |(len, _)| *len);
    let steps = if shortest == longest {
        let each = if data.len() == 1 { "" } else { " each" };
        format!("{}{each}", screen::counted(shortest, "step"))
    } else {
        format!("{shortest} to {longest} steps, median {median}")
    };
    let features = data.features();
    let mut lines = vec![format!(
        "{}: {}, {}, {steps}, {}: {}",
        file.display(),
        format.name(),
        screen::counted(data.len(), "sequence"),
        screen::counted(features.len(), "feature"),
        listed(features.iter().cloned())
    )];
    match data.target() {
        Target::None => lines.push("target: none".into()),
        Target::Class(labels) | Target::StepClass(labels) => {
            let of = if matches!(data.target(), Target::Class(_)) {
                "of a sequence"
            } else {
                "at each step"
            };
            let counts = data.class_counts();
            let classes = labels.names.iter().zip(counts);
            let classes =
                classes.map(|(name, count)| format!("{name} ({})", screen::thousands(count)));
            lines.push(format!(
                "target: a class {of}, {}: {}",
                if labels.names.len() == 1 {
                    "1 class".into()
                } else {
                    format!("{} classes", labels.names.len())
                },
                listed(classes)
            ));
        }
        Target::Numbers(numbers) => {
            lines.push(format!("target: numbers, {}", listed(numbers.names.iter().cloned())));
        }
    }
    let missing = data.missing();
    if missing.count > 0 {
        let count = screen::thousands(missing.count as usize);
        lines.push(format!("missing values: {count}, the first at {}", missing.first));
    }
    lines.extend(notes.iter().map(|note| assumed(note)));
    lines
}

/// How many sequences there are of each number of steps.
fn counts_of_lengths(data: &Dataset) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for index in 0..data.len() {
        *counts.entry(data.seq_len(index)).or_insert(0) += 1;
    }
    counts
}

/// The least and the largest of these numbers of steps.
fn ends(lengths: &BTreeMap<usize, usize>) -> (usize, usize) {
    let end = |end: Option<(&usize, &usize)>| end.map_or(0, |(len, _)| *len);
    (end(lengths.first_key_value()), end(lengths.last_key_value()))
}

/// A line about an assumption, with the flag that replaces it.
fn assumed(note: &str) -> String {
    const FLAGS: [(&str, &str); 7] = [
        (": they are classes", "--target numbers"),
        (": they are the target", "--target class"),
        ("the file is one sequence", "--id COLUMN"),
        ("each row is taken for a step", "--layout wide"),
        ("each row is taken for a sequence of one", "--layout long or --layout wide"),
        ("each row is taken for a sequence", "--layout long"),
        ("is taken for the label", "--label COLUMN"),
    ];
    let flag = FLAGS.iter().find(|(text, _)| note.contains(text));
    flag.map_or_else(
        || format!("assumed: {note}"),
        |(_, flag)| format!("assumed: {note} (else {flag})"),
    )
}

/// A list of which no more than some are shown.
fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let count = items.len();
    let mut text = items.take(MOST).collect::<Vec<_>>().join(", ");
    if count > MOST {
        text.push_str(&format!(", and {} more", screen::thousands(count - MOST)));
    }
    text
}

/// A histogram of the numbers of steps: ten bins, a line each; nothing where all sequences have as many.
pub(super) fn histogram(data: &Dataset) -> Vec<String> {
    const BINS: usize = 10;
    let lengths = counts_of_lengths(data);
    let (shortest, longest) = ends(&lengths);
    if shortest == longest {
        return Vec::new();
    }
    let width = (longest - shortest + 1).div_ceil(BINS);
    let mut counts = vec![0; (longest - shortest) / width + 1];
    lengths.iter().for_each(|(len, count)| counts[(len - shortest) / width] += count);
    let most = counts.iter().max().copied().unwrap_or(1);
    let digits = longest.to_string().len();
    let line = |(bin, count): (usize, &usize)| {
        let start = shortest + bin * width;
        let end = (start + width - 1).min(longest);
        let range = if width == 1 {
            format!("{start:>digits$}")
        } else {
            format!("{start:>digits$} to {end:>digits$}")
        };
        let bar = screen::bar(*count as f64 / most as f64, 40);
        let unit = if end == 1 { "step " } else { "steps" };
        format!("  {range} {unit}  {bar} {}", screen::thousands(*count))
    };
    counts.iter().enumerate().map(line).collect()
}

/// A sequence as a line for each of its first features: its course, from the smallest value to the largest.
pub(super) fn sparklines(data: &Dataset, index: usize) -> Vec<String> {
    const FEATURES: usize = 6;
    const COLUMNS: usize = 60;
    let names = data.features();
    let values: Vec<f64> = match data.sequence(index) {
        SequenceValues::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        SequenceValues::U8(values) => values.iter().map(|value| f64::from(*value) / 255.).collect(),
    };
    let name_width =
        names.iter().take(FEATURES).map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(feature, name): (usize, &String)| {
        let course: Vec<f64> = values.iter().skip(feature).step_by(names.len()).copied().collect();
        let known = || course.iter().copied().filter(|value| !value.is_nan());
        let (low, high) =
            (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
        let columns = course.len().min(COLUMNS);
        let mark = |column: usize| {
            const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
            let part =
                &course[column * course.len() / columns..((column + 1) * course.len() / columns)];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let height = (mean - low) / (high - low).max(f64::MIN_POSITIVE) * 7.;
            if mean.is_nan() {
                ' '
            } else {
                MARKS[(height.round() as usize).min(7)]
            }
        };
        let marks: String = (0..columns).map(mark).collect();
        format!("  {name:<name_width$}  {marks}  {low:.4} to {high:.4}")
    };
    let mut lines: Vec<String> = names.iter().enumerate().take(FEATURES).map(line).collect();
    if names.len() > FEATURES {
        let more = screen::thousands(names.len() - FEATURES);
        lines.push(format!("  and {more} more of {} features", screen::thousands(names.len())));
    }
    lines
}

/// The name of a sequence, its length and its target.
pub(super) fn title(data: &Dataset, index: usize) -> String {
    let label =
        data.label(index).map(|label| format!(", class {}", data.class_names()[label as usize]));
    let numbers = data.numbers(index).map(|numbers| {
        let texts: Vec<String> = numbers.iter().map(f32::to_string).collect();
        format!(", target {}", texts.join(", "))
    });
    let target = label.or(numbers).unwrap_or_default();
    format!("sequence {}, {}{target}", data.id(index), screen::counted(data.seq_len(index), "step"))
}
