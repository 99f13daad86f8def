//! Numbers as they stand in text files.

use super::decimal_comma::decimal_comma_error;

/// The content of a cell of a table, or of an item of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CellValue {
    /// A finite number.
    Number(f32),
    /// No value: an empty cell, `?`, `NaN`, `NA`, `null`, in any case.
    Missing,
    /// Anything else.
    Other,
}

/// Reads a cell.
pub(super) fn parse(cell: &[u8]) -> CellValue {
    let Ok(text) = std::str::from_utf8(cell) else { return CellValue::Other };
    if let Ok(number) = text.parse::<f32>() {
        if number.is_finite() {
            return CellValue::Number(number);
        }
    }
    let text = text.trim();
    if is_missing(text) {
        return CellValue::Missing;
    }
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() => CellValue::Number(number),
        _ => CellValue::Other,
    }
}

/// Whether a text stands for no value.
pub(super) fn is_missing(text: &str) -> bool {
    let names = ["", "?", "nan", "+nan", "-nan", "na", "n/a", "null", "none"];
    text.len() <= 4 && names.iter().any(|name| text.eq_ignore_ascii_case(name))
}

/// Whether a text is a finite number, and no missing value.
pub(super) fn is_number(text: &str) -> bool {
    matches!(parse(text.as_bytes()), CellValue::Number(_))
}

/// The error text for a cell that is no number, with what was expected.
pub(super) fn complaint(cell: &[u8]) -> String {
    complain(cell, true)
}

/// As [`complaint`], where other characters than commas separate the cells: a comma in a number is a decimal comma.
pub(super) fn complaint_without_commas(cell: &[u8]) -> String {
    complain(cell, false)
}

/// - `may_be_thousands`: whether a comma may stand between thousands
fn complain(cell: &[u8], may_be_thousands: bool) -> String {
    let Ok(text) = std::str::from_utf8(cell) else {
        return "is not UTF-8 text: save the file as UTF-8".into();
    };
    let text = text.trim();
    let quoted = quote(text);
    if let Some(error) = decimal_comma_error(text, may_be_thousands) {
        return format!("{quoted} {error}");
    }
    if text.parse::<f64>().is_ok() {
        return format!("{quoted} is not a finite number of 32 bits");
    }
    format!("expected a number, got {quoted}")
}

/// Whether a text that is no number was probably meant as one: `1.234,56`, `5%`, `1e39`, or bytes that are no text.
pub(super) fn is_almost_number(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || ".,+-eE%'_ $€£".contains(c);
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let is_like_one = digits > 0 && text.chars().all(is_part);
    !is_number(text) && (is_like_one || text.contains(char::REPLACEMENT_CHARACTER))
}

/// A text in quotes, cut where it is long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_numbers_missing_or_other() {
        for (text, number) in [("1", 1.), (" -2.5 ", -2.5), ("1e3", 1000.), ("+.5", 0.5)] {
            assert_eq!(parse(text.as_bytes()), CellValue::Number(number), "{text}");
        }
        for text in ["", "  ", "?", "NaN", "nan", "NA", "N/A", "null", "None"] {
            assert_eq!(parse(text.as_bytes()), CellValue::Missing, "{text}");
        }
        for text in ["a", "1,5", "inf", "1e40", "1 2", "0x10"] {
            assert_eq!(parse(text.as_bytes()), CellValue::Other, "{text}");
        }
    }

    #[test]
    fn a_complaint_says_what_was_expected() {
        assert_eq!(complaint(b"abc"), "expected a number, got \"abc\"");
        assert_eq!(complaint(b"-1,25"), "\"-1,25\" has a decimal comma: write -1.25");
        assert_eq!(complaint(b"1,255"), "\"1,255\" has a comma: write 1255 or 1.255");
        let without = complaint_without_commas(b"1,255");
        assert_eq!(without, "\"1,255\" has a decimal comma: write 1.255");
        for (text, almost) in
            [("1.234,56", true), ("5%", true), ("1e39", true), ("x5", false), ("7", false)]
        {
            assert_eq!(is_almost_number(text), almost, "{text}");
        }
        assert_eq!(complaint(b"1e40"), "\"1e40\" is not a finite number of 32 bits");
        assert_eq!(complaint(b"caf\xe9"), "is not UTF-8 text: save the file as UTF-8");
        assert!(complaint("x".repeat(1000).as_bytes()).len() < 80);
    }
}
