//! Suggestions for a missing tensor: the nearest names.

use crate::wording::distance;

/// The prefixes of the names `own` in `names`, where all of them stand behind the same: at the
/// beginning, or behind a dot. The one that is nearest to `asked` comes first.
///
/// `module.` (DataParallel), `_orig_mod.` (`torch.compile`) and `model.` come about this way, and a
/// prefix that is one too many.
pub(crate) fn prefixes(own: &[&str], names: &[&str], asked: &str) -> Vec<String> {
    let Some((first, others)) = own.split_first() else { return Vec::new() };
    let is_complete = |prefix: &&str| {
        let is_there = |own: &&str| {
            names.iter().any(|name| name.strip_prefix(*prefix).is_some_and(|rest| rest == *own))
        };
        others.iter().all(is_there)
    };
    let mut found: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(first))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .filter(is_complete)
        .filter(|prefix| *prefix != asked)
        .collect();
    // Something in front that is one too many, or missing, comes before any other change.
    let is_cut = |prefix: &str| prefix.ends_with(asked) || asked.ends_with(prefix);
    let edits = |prefix: &str| distance(prefix.as_bytes(), asked.as_bytes());
    found.sort_by_key(|prefix| (!is_cut(prefix), edits(prefix), *prefix));
    found.into_iter().map(String::from).collect()
}

/// The name that the fewest edits make of `name`, if they leave half of it.
pub(super) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .map(|other| (distance(name.as_bytes(), other.as_bytes()), *other))
        .filter(|(edits, _)| *edits <= name.len() / 2)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, other)| other)
}
