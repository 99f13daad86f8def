//! The names of arrays: which of them are read, and which are left out.

use crate::data::TargetKind;
use crate::wording::distance;

/// The names that an array may have.
pub(super) const X: [&str; 3] = ["x", "X", "sequences"];
pub(super) const Y: [&str; 6] = ["y", "Y", "labels", "label", "target", "targets"];
pub(super) const LENGTHS: [&str; 3] = ["lengths", "length", "seq_lens"];
pub(super) const GROUPS: [&str; 2] = ["groups", "group"];
pub(super) const IDS: [&str; 2] = ["ids", "id"];

/// The most arrays that are named.
const MOST: usize = 12;

/// The array that has the first of these names.
pub(super) fn find(names: &[String], known: &[&str]) -> Option<String> {
    let is_there = |known: &&&str| names.iter().any(|name| name == **known);
    known.iter().find(is_there).map(|name| name.to_string())
}

/// Notes which arrays beside `x` are not read.
///
/// # Errors
/// One whose name is almost that of an array that would be read.
pub(super) fn leave_out(
    names: &[String],
    x: &str,
    target: Option<TargetKind>,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    let kinds = [&LENGTHS[..], &Y, &GROUPS, &IDS];
    let read: Vec<String> = kinds.iter().filter_map(|known| find(names, known)).collect();
    let is_read = |name: &&String| *name == x || read.contains(name);
    // A target that nobody asks for is left out in silence.
    let is_unasked = |name: &&String| target == Some(TargetKind::None) && Y.contains(&&name[..]);
    let others = || names.iter().filter(|name| !is_read(name) && !is_unasked(name));
    for name in others() {
        let lower = name.to_lowercase();
        let missing = kinds.iter().filter(|known| find(names, known).is_none());
        let meant = missing.flat_map(|known| known.iter()).find(|known| is_typo(&lower, known));
        if let Some(meant) = meant {
            return Err(format!(
                "has an array {name}, which is not read: did you mean {meant}? Rename it, or leave it out"
            ));
        }
    }
    let count = others().count();
    if count > 0 {
        let shown: Vec<&str> = others().take(MOST).map(String::as_str).collect();
        let more = if count > MOST { format!(" and {} more", count - MOST) } else { String::new() };
        let (s, are) = if count == 1 { ("", "is") } else { ("s", "are") };
        notes.push(format!("array{s} {}{more} {are} left out", shown.join(", ")));
    }
    Ok(())
}

/// Whether a name is another but for a slip: a case, or two letters of a longer one.
fn is_typo(lower: &str, known: &str) -> bool {
    let allowed = if known.len() >= 5 { 2 } else { usize::from(known.len() == 4) };
    lower == known.to_lowercase()
        || known.len() > 3 && distance(lower.as_bytes(), known.as_bytes()) <= allowed
}
