//! How an array is cut into sequences.

use crate::data::offsets::Offsets;

/// How `x` is cut into sequences.
#[derive(Debug)]
pub(super) struct SequenceShape {
    /// N.
    pub(super) count: usize,
    /// The steps of each sequence.
    pub(super) steps: Offsets,
    /// T, the steps that each sequence takes in `x`; `None` if they follow each other without padding.
    pub(super) padded: Option<usize>,
    /// I.
    pub(super) features: usize,
}

impl SequenceShape {
    /// The shape of sequences that arrays `x` and `lengths` hold.
    ///
    /// # Errors
    /// What the two disagree about.
    pub(super) fn of(x: &str, shape: &[usize], lengths: Option<Offsets>) -> Result<Self, String> {
        let expected = "expected (N, T, I), (N, T), or with lengths (steps, I)";
        let is_flat =
            |rows: usize| lengths.as_ref().is_some_and(|lengths| lengths.total() == rows as u64);
        let (has_lengths, is_flat) = (
            lengths.is_some(),
            shape.len() < 3 && shape.first().is_some_and(|rows| is_flat(*rows)),
        );
        let steps_of = |lengths: Option<Offsets>, count: usize, padded: usize| {
            let steps = match lengths {
                None => Offsets::even(padded as u64, count),
                Some(lengths) if lengths.len() != count => {
                    let found = lengths.len();
                    if shape.len() == 3 {
                        return Err(format!(
                            "lengths has {found} numbers, {x} has {count} sequences"
                        ));
                    }
                    let sum = lengths.total();
                    return Err(format!(
                        "lengths has {found} numbers that add up to {sum}, but {x} has {count} rows: it takes one number for \
                         each of these sequences, or numbers that add up to these steps"
                    ));
                }
                Some(lengths) => lengths,
            };
            if let Some((row, length)) =
                steps.sizes().enumerate().find(|(_, length)| *length > padded)
            {
                return Err(format!(
                    "lengths says that sequence {} has {length} steps, but {x} has the shape {shape:?}",
                    row + 1
                ));
            }
            Ok(steps)
        };
        let (steps, padded, features) = match shape {
            [count, padded, features] => {
                (steps_of(lengths, *count, *padded)?, Some(*padded), *features)
            }
            [_] | [_, _] if is_flat => {
                let features = shape.get(1).copied().unwrap_or(1);
                (lengths.unwrap_or_default(), None, features)
            }
            [count, padded] => (steps_of(lengths, *count, *padded)?, Some(*padded), 1),
            [rows] if has_lengths => {
                return Err(format!("lengths does not sum up to the {rows} steps of {x}"));
            }
            [rows] => (Offsets::even(*rows as u64, 1), None, 1),
            _ => return Err(format!("array {x} has the shape {shape:?}: {expected}")),
        };
        let found = Self { count: steps.len(), steps, padded, features };
        if found.count == 0 || found.features == 0 {
            return Err(format!("array {x} has the shape {shape:?}: {expected}, none of them 0"));
        }
        if let Some(row) = found.steps.sizes().position(|length| length == 0) {
            return Err(format!("sequence {} of {x} has no steps", row + 1));
        }
        Ok(found)
    }
}
