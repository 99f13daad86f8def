//! JSON as `json.dumps` writes it: with `NaN` for a missing value, and `Infinity`.

use std::io::{Read, Result};

/// A JSON text in which `NaN` is an empty text, which stands for a missing value, and `Infinity` a number beyond all
/// limits, which readers refuse. Each takes as many bytes as before, so that places stay what they are.
pub(super) struct JsonNumbers<R> {
    text: R,
    /// Bytes that were read: those up to `ready` are changed, those from `given` on are not handed out yet.
    bytes: Vec<u8>,
    ready: usize,
    given: usize,
    is_end: bool,
    quoted: bool,
    escaped: bool,
}

/// The words that are replaced, each with its replacement.
const WORDS: [(&[u8], &[u8]); 2] = [(b"NaN", b"\"\" "), (b"Infinity", b"1e99999 ")];
/// The longest of these words.
const LONGEST: usize = 8;

impl<R: Read> JsonNumbers<R> {
    pub(super) fn new(text: R) -> Self {
        let bytes = Vec::with_capacity(Self::PIECE + LONGEST);
        let (quoted, escaped) = (false, false);
        Self { text, bytes, ready: 0, given: 0, is_end: false, quoted, escaped }
    }

    /// Bytes that are read at once.
    const PIECE: usize = 64 << 10;

    fn fill(&mut self) -> Result<()> {
        self.bytes.drain(..self.given);
        self.ready -= self.given;
        self.given = 0;
        while self.ready == 0 && !self.is_end {
            let before = self.bytes.len();
            self.bytes.resize(before + Self::PIECE, 0);
            let read = self.text.read(&mut self.bytes[before..])?;
            self.bytes.truncate(before + read);
            self.is_end = read == 0;
            self.change();
        }
        Ok(())
    }

    /// Replaces the words in what was read, as far as no word can go on behind it.
    fn change(&mut self) {
        while let Some(byte) = self.bytes.get(self.ready).copied() {
            if self.quoted {
                if !std::mem::take(&mut self.escaped) {
                    self.escaped = byte == b'\\';
                    self.quoted = byte != b'"';
                }
            } else if byte == b'"' {
                self.quoted = true;
            } else if matches!(byte, b'N' | b'I') {
                if self.bytes.len() - self.ready < LONGEST && !self.is_end {
                    return;
                }
                let rest = &mut self.bytes[self.ready..];
                if let Some((word, other)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) {
                    rest[..word.len()].copy_from_slice(other);
                    self.ready += word.len();
                    continue;
                }
            }
            self.ready += 1;
        }
    }
}

impl<R: Read> Read for JsonNumbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.given == self.ready {
            self.fill()?;
        }
        let now = buffer.len().min(self.ready - self.given);
        buffer[..now].copy_from_slice(&self.bytes[self.given..self.given + now]);
        self.given += now;
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a byte or two at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let now = self.1.min(self.0.len());
            self.0.read(&mut buffer[..now])
        }
    }

    #[test]
    fn words_for_numbers_are_replaced_outside_of_texts() {
        let text = r#"{"NaN": [NaN, -Infinity,1], "a\"NaN": "Infinity", "b\\": NaN}"#;
        let expected = r#"{"NaN": ["" , -1e99999 ,1], "a\"NaN": "Infinity", "b\\": "" }"#;
        for step in [1, 2, 7, 1_000] {
            let mut found = String::new();
            JsonNumbers::new(Slow(text.as_bytes(), step)).read_to_string(&mut found).unwrap();
            assert_eq!(found, expected, "{step}");
        }
        let mut end = String::new();
        JsonNumbers::new(&b"[1, Na"[..]).read_to_string(&mut end).unwrap();
        assert_eq!(end, "[1, Na");
    }
}
