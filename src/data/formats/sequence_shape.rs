//! How an array is cut into sequences.

/// How `x` is cut into sequences.
#[derive(Debug)]
pub(super) struct SequenceShape {
    /// N.
    pub(super) count: usize,
    /// The steps of each sequence.
    pub(super) lengths: Vec<usize>,
    /// T, the steps that each sequence takes in `x`; `None` if they follow each other without padding.
    pub(super) padded: Option<usize>,
    /// I.
    pub(super) features: usize,
}

impl SequenceShape {
    /// Of the shape of `x` and of what `lengths` says.
    ///
    /// # Errors
    /// What the two disagree about.
    pub(super) fn of(
        x: &str,
        shape: &[usize],
        lengths: Option<Vec<usize>>,
    ) -> Result<Self, String> {
        let expected = "expected (N, T, I), (N, T), or with lengths (steps, I)";
        let shape_of = |count: usize, padded: usize, features: usize| {
            let lengths = match lengths.clone() {
                None => vec![padded; count],
                Some(lengths) if lengths.len() != count => {
                    let found = lengths.len();
                    return Err(format!("lengths has {found} numbers, {x} has {count} sequences"));
                }
                Some(lengths) => lengths,
            };
            if let Some(row) = lengths.iter().position(|length| *length > padded) {
                let length = lengths[row];
                return Err(format!(
                    "lengths says that sequence {} has {length} steps, but {x} has the shape {shape:?}",
                    row + 1
                ));
            }
            Ok(Self { count, lengths, padded: Some(padded), features })
        };
        let flat = |rows: usize, features: usize| {
            let lengths = lengths.clone()?;
            let sum = lengths.iter().try_fold(0usize, |sum, length| sum.checked_add(*length))?;
            (sum == rows).then_some(Self { count: lengths.len(), lengths, padded: None, features })
        };
        let found = match shape {
            [count, steps, features] => shape_of(*count, *steps, *features)?,
            [rows, columns] => match flat(*rows, *columns) {
                Some(flat) => flat,
                None => shape_of(*rows, *columns, 1)?,
            },
            [rows] => match (flat(*rows, 1), &lengths) {
                (Some(flat), _) => flat,
                (None, None) => shape_of_one(*rows),
                (None, Some(_)) => {
                    return Err(format!("lengths does not sum up to the {rows} steps of {x}"));
                }
            },
            _ => return Err(format!("array {x} has the shape {shape:?}: {expected}")),
        };
        if found.count == 0 || found.features == 0 {
            return Err(format!("array {x} has the shape {shape:?}: {expected}, none of them 0"));
        }
        if let Some(row) = found.lengths.iter().position(|length| *length == 0) {
            return Err(format!("sequence {} of {x} has no steps", row + 1));
        }
        Ok(found)
    }
}

fn shape_of_one(steps: usize) -> SequenceShape {
    SequenceShape { count: 1, lengths: vec![steps], padded: None, features: 1 }
}
