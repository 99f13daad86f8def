//! Pronounces English words with g2p_en, a GRU encoder and decoder that others trained.
//!
//! The encoder reads the letters of a word one by one; its last state is where the decoder begins, which reads the phoneme
//! that it wrote before and writes the next one, until it writes the end. The phonemes are those of the CMU Pronouncing
//! Dictionary, vowels with their stress. The source is <https://github.com/Kyubyong/g2p>, which looks words up in that
//! dictionary first; here the networks pronounce all of them.
//!
//! ```sh
//! just voices # fetches the weights
//! cargo run --release --example pronounce voices/g2p_en.npz recurrent activationist
//! ```

use std::collections::HashMap;
use std::process::ExitCode;

use candle_core::Tensor;
use candle_rnn::nn::RecurrentCell;
use candle_rnn::recurrence::Weights;
use candle_rnn::{Cell, Dense, Error, Result, State};

/// Rows of the encoder's embedding; those of b to z follow.
const UNKNOWN_LETTER: usize = 1;
const END_OF_WORD: usize = 2;
const LETTER_A: usize = 3;
/// Rows of the decoder's embedding, which are those of [`PHONEMES`].
const BEGIN: usize = 2;
const END: usize = 3;
/// Phonemes that a word may have.
const LONGEST: usize = 20;

const PHONEMES: &str = "<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B \
                        CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 \
                        OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH";

/// A GRU that reads vectors of a table.
struct Reader {
    /// `(V, I)`.
    embedding: Tensor,
    gru: RecurrentCell,
}

impl Reader {
    /// Takes the tensors whose names begin with a prefix.
    fn new(weights: &HashMap<String, Tensor>, prefix: &str) -> Result<Self> {
        let get = |name: &str| get(weights, &format!("{prefix}_{name}"));
        let gru = Weights {
            b_hh: Some(get("b_hh")?),
            ..Weights::new(get("w_ih")?, get("w_hh")?, get("b_ih")?)
        };
        // Packed once: they do not change.
        let gru = RecurrentCell::new(Cell::Gru, gru)?.freeze()?;
        Ok(Self { embedding: get("emb")?, gru })
    }

    /// Reads one vector of the table.
    fn step(&self, id: usize, state: Option<&State>) -> Result<State> {
        self.gru.step(&self.embedding.narrow(0, id, 1)?, state)
    }
}

fn get(weights: &HashMap<String, Tensor>, name: &str) -> Result<Tensor> {
    weights.get(name).cloned().ok_or_else(|| Error::Weight {
        name: name.into(),
        expected: "an array of g2p_en's checkpoint".into(),
        found: "none".into(),
    })
}

/// Letters in, phonemes out.
struct Pronouncer {
    encoder: Reader,
    decoder: Reader,
    head: Dense,
}

impl Pronouncer {
    fn load(path: &str) -> Result<Self> {
        let unread = |error: candle_core::Error| Error::DataFile {
            path: path.into(),
            reason: format!("cannot be read as npz: {error}"),
        };
        let weights: HashMap<_, _> = Tensor::read_npz(path).map_err(unread)?.into_iter().collect();
        let head = Dense::of_weights(get(&weights, "fc_w")?, Some(get(&weights, "fc_b")?))?;
        Ok(Self {
            encoder: Reader::new(&weights, "enc")?,
            decoder: Reader::new(&weights, "dec")?,
            head: head.freeze()?,
        })
    }

    /// The numbers of a word's phonemes.
    fn phonemes(&self, word: &str) -> Result<Vec<usize>> {
        let letters = word.chars().map(|letter| match letter.to_ascii_lowercase() {
            letter @ 'a'..='z' => letter as usize - 'a' as usize + LETTER_A,
            _ => UNKNOWN_LETTER,
        });
        let mut state = None;
        for letter in letters.chain([END_OF_WORD]) {
            state = Some(self.encoder.step(letter, state.as_ref())?);
        }
        let (mut phonemes, mut last) = (Vec::new(), BEGIN);
        while phonemes.len() < LONGEST {
            let h = self.decoder.step(last, state.as_ref())?;
            let logits = self.head.forward(&h.h.squeeze(0)?)?;
            last = logits.argmax(1)?.squeeze(0)?.to_scalar::<u32>()? as usize;
            if last == END {
                break;
            }
            phonemes.push(last);
            state = Some(h);
        }
        Ok(phonemes)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Candle's errors may go on with where in its source they come from.
            let error = error.to_string();
            eprintln!("error: {}", error.lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, words @ ..] = &arguments[..] else {
        return Err(Error::Config("usage: pronounce WEIGHTS WORD...".into()));
    };
    if words.is_empty() {
        return Err(Error::Config("there is no word to pronounce".into()));
    }
    if let Some(word) = words.iter().find(|word| !word.contains(|c: char| c.is_ascii_alphabetic()))
    {
        return Err(Error::Config(format!(
            "a word has letters from a to z, and {word:?} has none"
        )));
    }
    let pronouncer = Pronouncer::load(weights)?;
    let names: Vec<&str> = PHONEMES.split_whitespace().collect();
    for word in words {
        let phonemes = pronouncer.phonemes(word)?;
        let phonemes: Vec<&str> = phonemes.into_iter().map(|phoneme| names[phoneme]).collect();
        println!("{word} {}", phonemes.join(" "));
    }
    Ok(())
}
