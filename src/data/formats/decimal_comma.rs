//! Decimal commas: numbers with a comma where a point is read, such as `1,5` and `1.234,56`.

/// Whether a text is a number with a decimal comma.
pub(super) fn has_decimal_comma(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Points may stand between thousands.
    let thousands = |text: &str| {
        let mut groups = text.split('.');
        groups.next().is_some_and(digits) && groups.all(|group| group.len() == 3 && digits(group))
    };
    let parts = text.trim().split_once(',');
    parts.is_some_and(|(whole, part)| {
        thousands(whole.trim_start_matches(['-', '+'])) && digits(part)
    })
}

/// What is wrong with a number that has a decimal comma, and how it is written; `None` for any other text.
///
/// - `may_be_thousands`: whether a comma may stand between thousands
pub(super) fn decimal_comma_error(text: &str, may_be_thousands: bool) -> Option<String> {
    let (whole, part) = text.split_once(',').filter(|_| has_decimal_comma(text))?;
    let is_below_one = whole.trim_start_matches(['-', '+']).starts_with('0');
    if may_be_thousands && part.len() == 3 && !is_below_one && !whole.contains('.') {
        // Either of them, and a thousand times the other.
        return Some(format!("has a comma: write {whole}{part} or {whole}.{part}"));
    }
    Some(format!("has a decimal comma: write {}.{part}", whole.replace('.', "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_decimal_comma_are_told_from_other_texts() {
        for text in ["1,5", " -0,25 ", "+1,000", "1.234,56", "1.234.567,8"] {
            assert!(has_decimal_comma(text), "{text}");
        }
        for text in ["1.5", "1,", ",5", "1,5,2", "1.23,4", "a,b", "1,5e3", ""] {
            assert!(!has_decimal_comma(text), "{text}");
            assert_eq!(decimal_comma_error(text, true), None, "{text}");
        }
    }

    #[test]
    fn the_error_says_how_the_number_is_written() {
        let error = |text, may_be_thousands| decimal_comma_error(text, may_be_thousands).unwrap();
        assert_eq!(error("-1,25", true), "has a decimal comma: write -1.25");
        assert_eq!(error("1,000", true), "has a comma: write 1000 or 1.000");
        assert_eq!(error("-0,255", true), "has a decimal comma: write -0.255");
        assert_eq!(error("1,255", false), "has a decimal comma: write 1.255");
        assert_eq!(error("1.234,56", true), "has a decimal comma: write 1234.56");
    }
}
