//! Text as a sequence of characters: the vocabulary, and streams that are read side by side.

use std::collections::BTreeSet;
use std::ops::Range;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The characters that a model knows, sorted; a character's number is its place. In files it is a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Vocabulary(Vec<char>);

impl Vocabulary {
    /// The characters of a text.
    ///
    /// # Errors
    /// [`Error::Config`] when there are fewer than two, or more than 65,536.
    pub fn of(text: &str) -> Result<Self> {
        // One by one: collected, the set would first hold the whole text.
        let (mut ascii, mut others) = ([false; 128], BTreeSet::new());
        for character in text.chars() {
            match ascii.get_mut(character as usize) {
                Some(is_there) => *is_there = true,
                None => {
                    others.insert(character);
                }
            }
        }
        let ascii = (0u8..128).filter(|code| ascii[usize::from(*code)]).map(char::from);
        let characters: Vec<char> = ascii.chain(others).collect();
        if characters.len() < 2 || characters.len() > 1 << 16 {
            let count = characters.len();
            return Err(Error::Config(format!(
                "a text must have from 2 to 65,536 different characters, got {count}"
            )));
        }
        Ok(Self(characters))
    }

    /// V, the number of characters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers of a text's characters.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first character that is not known, with its line.
    pub fn encode(&self, text: &str) -> Result<Vec<u16>> {
        let mut line = 1;
        let mut ids = Vec::with_capacity(text.len());
        for character in text.chars() {
            let Ok(place) = self.0.binary_search(&character) else {
                return Err(Error::Config(format!(
                    "line {line}: the model does not know the character {character:?}"
                )));
            };
            line += usize::from(character == '\n');
            ids.push(place as u16);
        }
        Ok(ids)
    }

    /// The character of a number.
    pub fn decode(&self, id: usize) -> Option<char> {
        self.0.get(id).copied()
    }
}

impl TryFrom<String> for Vocabulary {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let found = Self::of(&text)?;
        if !text.chars().eq(found.0.iter().copied()) {
            return Err(Error::Config("the vocabulary is not sorted".into()));
        }
        Ok(found)
    }
}

impl From<Vocabulary> for String {
    fn from(vocabulary: Vocabulary) -> Self {
        vocabulary.0.into_iter().collect()
    }
}

/// A text cut into B streams that are read side by side, K characters at a time: piece n of a stream follows its piece
/// n - 1, so that the state can be carried along.
#[derive(Clone, Debug)]
pub struct TextStreams {
    ids: Vec<u16>,
    streams: usize,
    seq_len: usize,
    pieces: usize,
}

impl TextStreams {
    /// Cuts a text. What is left at the end, less than K characters a stream, is dropped.
    ///
    /// - `ids`: the numbers of its characters
    /// - `streams`: B
    /// - `seq_len`: K
    ///
    /// # Errors
    /// [`Error::Config`] when the text is too short.
    pub fn new(ids: Vec<u16>, streams: usize, seq_len: usize) -> Result<Self> {
        // The last character is a target only.
        let pieces = ids.len().saturating_sub(1) / streams.max(1) / seq_len.max(1);
        if pieces == 0 || streams == 0 || seq_len == 0 {
            return Err(Error::Config(format!(
                "a text of {} characters is too short for {streams} {} of {seq_len} characters",
                ids.len(),
                if streams == 1 { "stream" } else { "streams" }
            )));
        }
        Ok(Self { ids, streams, seq_len, pieces })
    }

    /// Cuts a text to be evaluated: into as many streams, up to 8, as leave 16 pieces to each. One stream alone would
    /// read the weights once a character; more streams have more beginnings, where nothing has been read yet.
    ///
    /// # Errors
    /// [`Error::Config`] when the text is too short.
    pub fn for_evaluation(ids: Vec<u16>, seq_len: usize) -> Result<Self> {
        let pieces = ids.len().saturating_sub(1) / seq_len.max(1);
        Self::new(ids, (pieces / 16).clamp(1, 8), seq_len)
    }

    /// The number of pieces of a stream.
    pub fn pieces(&self) -> usize {
        self.pieces
    }

    /// B, the number of streams.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// The number of characters that are predicted.
    pub fn characters(&self) -> usize {
        self.pieces * self.streams * self.seq_len
    }

    /// Piece `piece` of these streams: the numbers of the characters and of those that follow each, `(B, K)` both,
    /// `u32`.
    ///
    /// # Errors
    /// [`Error::Candle`] when the tensors cannot be made.
    ///
    /// # Panics
    /// When there is no such piece or stream.
    pub fn piece(
        &self,
        piece: usize,
        streams: Range<usize>,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let shape = (streams.len(), self.seq_len);
        let rows = |offset: usize| {
            let mut ids = Vec::with_capacity(shape.0 * shape.1);
            for stream in streams.clone() {
                let start = (stream * self.pieces + piece) * self.seq_len + offset;
                ids.extend(self.ids[start..start + self.seq_len].iter().map(|id| u32::from(*id)));
            }
            Tensor::from_vec(ids, shape, device)
        };
        Ok((rows(0)?, rows(1)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_their_numbers() {
        let text = "häh?\nhä!";
        let vocabulary = Vocabulary::of(text).unwrap();
        let ids = vocabulary.encode(text).unwrap();
        let decoded: String =
            ids.iter().map(|id| vocabulary.decode((*id).into()).unwrap()).collect();
        assert_eq!((decoded.as_str(), vocabulary.len()), (text, 5));
        let error = vocabulary.encode("h\nx").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("'x'"), "{error}");
        let json = serde_json::to_string(&vocabulary).unwrap();
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocabulary);
        assert!(serde_json::from_str::<Vocabulary>("\"ba\"").is_err());
        assert!(Vocabulary::of("aaa").is_err());
    }

    #[test]
    fn a_text_is_evaluated_in_streams_of_sixteen_pieces() {
        for (len, streams) in [(2, 1), (65, 1), (129, 2), (512, 7), (513, 8), (100_000, 8)] {
            let text = TextStreams::for_evaluation(vec![0; len], if len == 2 { 1 } else { 4 });
            assert_eq!(text.unwrap().streams(), streams, "{len}");
        }
        assert!(TextStreams::for_evaluation(vec![0; 4], 4).is_err());
    }

    #[test]
    fn pieces_of_a_stream_follow_each_other() {
        let streams = TextStreams::new((0..25).collect(), 2, 4).unwrap();
        assert_eq!((streams.pieces(), streams.characters()), (3, 24));
        let piece = |n| {
            let (x, y) = streams.piece(n, 0..2, &Device::Cpu).unwrap();
            (x.to_vec2::<u32>().unwrap(), y.to_vec2::<u32>().unwrap())
        };
        let (x, y) = piece(0);
        assert_eq!(x, [[0, 1, 2, 3], [12, 13, 14, 15]]);
        assert_eq!(y, [[1, 2, 3, 4], [13, 14, 15, 16]]);
        assert_eq!(piece(2).0, [[8, 9, 10, 11], [20, 21, 22, 23]]);
        assert_eq!(piece(2).1[1][3], 24);
        assert!(TextStreams::new((0..8).collect(), 2, 4).is_err());
    }
}
