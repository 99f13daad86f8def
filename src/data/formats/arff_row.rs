//! The values of a line of an ARFF file, sparse or not.

use super::arff_attribute::AttributeKind;
use super::text_numbers::quote;

/// The values of a line, without their quotes.
#[derive(Debug, Default)]
pub(super) struct ArffRow {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// The places of the values that a sparse row has.
    given: Vec<(usize, Vec<u8>)>,
}

impl ArffRow {
    /// Splits a line at the commas that are not in quotes.
    ///
    /// - `most`: as many values as there may be; others are counted alone
    ///
    /// # Errors
    /// More values than that, or one whose quotes do not end.
    pub(super) fn split(&mut self, line: &[u8], most: usize) -> std::result::Result<(), String> {
        self.text.clear();
        self.text.reserve_exact(line.len());
        self.ends.clear();
        let mut others = 0;
        let mut quoted = None;
        let mut bytes = line.iter().copied();
        while let Some(byte) = bytes.next() {
            match (quoted, byte) {
                (Some(_), b'\\') => match bytes.next() {
                    Some(b'n') => self.text.push(b'\n'),
                    Some(other) => self.text.push(other),
                    None => {}
                },
                (Some(quote), byte) if byte == quote => quoted = None,
                (None, b'\'' | b'"') => quoted = Some(byte),
                (None, b',') if self.ends.len() == most => others += 1,
                (None, b',') => self.ends.push(self.text.len()),
                (_, byte) => self.text.push(byte),
            }
        }
        if quoted.is_some() {
            return Err("a quoted value does not end".into());
        }
        if self.ends.len() == most {
            let found = most + others + 1;
            return Err(format!("has {found} values, there are {most} attributes"));
        }
        self.ends.push(self.text.len());
        Ok(())
    }

    /// Some of the values, with commas between them.
    pub(super) fn joined(&self, is_taken: impl Fn(usize) -> bool) -> Vec<u8> {
        let taken = || (0..self.len()).filter(|place| is_taken(*place));
        let bytes = taken().map(|place| self.cell(place).len() + 1).sum();
        let mut joined = Vec::with_capacity(bytes);
        for (number, place) in taken().enumerate() {
            if number > 0 {
                joined.push(b',');
            }
            // A value of several, or lines of them, is no number.
            let is_inner = |byte: &u8| matches!(byte, b',' | b'\n');
            joined.extend(self.cell(place).iter().map(|b| if is_inner(b) { b';' } else { *b }));
        }
        joined
    }

    /// A value.
    pub(super) fn cell(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text[start..self.ends[place]].trim_ascii()
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Fills in the values that a sparse row, such as `{0 1.5, 3 up}`, leaves out: 0 of a numeric attribute, the first
    /// class of a nominal one.
    pub(super) fn fill(
        &mut self,
        line: &[u8],
        attributes: &[(String, AttributeKind)],
    ) -> std::result::Result<(), String> {
        let inner = line.strip_prefix(b"{").and_then(|line| line.strip_suffix(b"}"));
        let inner = inner.ok_or("a sparse row ends with a closing brace")?.trim_ascii();
        self.split(inner, attributes.len())?;
        self.given.clear();
        for place in 0..if inner.is_empty() { 0 } else { self.len() } {
            let pair = self.cell(place);
            let expected = || format!("expected a number and a value, got {}", shown(pair));
            let end = pair.iter().position(u8::is_ascii_whitespace).ok_or_else(expected)?;
            let (number, value) = pair.split_at(end);
            let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
            let number: usize = number.ok_or_else(expected)?;
            if number >= attributes.len() {
                let count = attributes.len();
                return Err(format!(
                    "attribute {number} of a sparse row: there are 0 to {}",
                    count - 1
                ));
            }
            if self.given.last().is_some_and(|(last, _)| *last >= number) {
                return Err(format!("attribute {number} of a sparse row: numbers must increase"));
            }
            self.given.push((number, value.trim_ascii().to_vec()));
        }
        self.text.clear();
        self.ends.clear();
        let mut given = self.given.iter().peekable();
        for (number, (name, kind)) in attributes.iter().enumerate() {
            match (given.next_if(|(place, _)| *place == number), kind) {
                (Some((_, value)), _) => self.text.extend_from_slice(value),
                (None, AttributeKind::Numeric) => self.text.push(b'0'),
                (None, AttributeKind::Nominal(classes)) => {
                    self.text.extend(classes.first().into_iter().flat_map(|name| name.bytes()));
                }
                (None, AttributeKind::Text) => self.text.push(b'?'),
                (None, AttributeKind::Relational) => {
                    return Err(format!("a sparse row lacks the relational attribute {name}"));
                }
            }
            self.ends.push(self.text.len());
        }
        Ok(())
    }
}

fn shown(pair: &[u8]) -> String {
    quote(&String::from_utf8_lossy(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_rows_are_filled_in() {
        let attributes = [
            ("a".to_string(), AttributeKind::Numeric),
            ("b".into(), AttributeKind::Text),
            ("c".into(), AttributeKind::Numeric),
            ("d".into(), AttributeKind::Nominal(vec!["no".into(), "yes it is".into()])),
        ];
        let mut row = ArffRow::default();
        let mut of = |line: &str| {
            row.fill(line.as_bytes(), &attributes)?;
            let cells = (0..row.len()).map(|place| String::from_utf8(row.cell(place).to_vec()));
            Ok::<_, String>(cells.collect::<Result<Vec<_>, _>>().unwrap())
        };
        assert_eq!(of("{}").unwrap(), ["0", "?", "0", "no"]);
        assert_eq!(of("{0 1.5, 3 'yes it is'}").unwrap(), ["1.5", "?", "0", "yes it is"]);
        assert_eq!(of("{ 2\t-1 }").unwrap(), ["0", "?", "-1", "no"]);
        for (line, reason) in [
            ("{0 1", "a sparse row ends with a closing brace"),
            ("{4 1}", "attribute 4 of a sparse row: there are 0 to 3"),
            ("{2 1, 2 3}", "attribute 2 of a sparse row: numbers must increase"),
            ("{1}", "expected a number and a value, got \"1\""),
            ("{x 1}", "expected a number and a value, got \"x 1\""),
            ("{0 1,}", "expected a number and a value, got \"\""),
            ("{3 'yes}", "a quoted value does not end"),
        ] {
            assert_eq!(of(line).unwrap_err(), reason, "{line}");
        }
    }
}
