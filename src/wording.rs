//! Words of texts that people read: counts of things, names from files, names that are nearly right.

#[cfg(any(test, feature = "report"))]
use std::borrow::Cow;

/// A count of things in a text: `1 step`, `2 steps`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A text with its control characters, such as the end of a line, as escapes: `\n`. What a name from a file would do to
/// a terminal, it says then.
#[cfg(any(test, feature = "report"))]
#[cfg_attr(not(feature = "report"), allow(unreachable_pub))]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::new();
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// The number of bytes that must be put in, taken out or changed to make one name of the other (Levenshtein distance).
pub(crate) fn distance(a: &[u8], b: &[u8]) -> usize {
    // From the first bytes of `a` to every beginning of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(byte != other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(escaped("a\u{1b}[31m\nb\u{9b}"), "a\\u{1b}[31m\\nb\\u{9b}");
        assert!(matches!(escaped("größer"), Cow::Borrowed("größer")));
    }

    #[test]
    fn a_distance_is_the_least_number_of_changes() {
        let of = |a: &str, b: &str| distance(a.as_bytes(), b.as_bytes());
        assert_eq!((of("label", "labels"), of("y", "x"), of("", "abc")), (1, 1, 3));
        assert_eq!((of("kitten", "sitting"), of("same", "same")), (3, 0));
    }
}
