//! Seeded random numbers: one ChaCha stream per purpose.
//!
//! Candle's CPU backend cannot be seeded, so every random number of this crate comes from here.
//! Each purpose has a stream of its own, so that drawing more numbers for one of them (a new
//! dropout layer, say) leaves the numbers of all others as they were. The mapping from ChaCha's
//! words to floats and permutations is written out here rather than taken from `rand`, whose
//! distributions may change between versions: the same seed gives the same numbers for good.

use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The purpose of a stream of random numbers. The numbers are part of the format of a run: they are
/// never changed or used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Init = 1,
    /// The order of the training images.
    Shuffle = 2,
    /// The numbers that dropout leaves out.
    Dropout = 3,
    /// How far training images are moved.
    Augment = 4,
    /// The fixed order of pixels in `View::Permuted`.
    Permutation = 5,
    /// The training images that validate.
    Validation = 6,
    /// The order of batches of similar lengths.
    Bucket = 7,
    /// The characters of a sampled text.
    Sample = 8,
    /// The sequences that are kept for a test.
    Test = 9,
}

/// A seeded stream of random numbers whose position can be saved.
#[derive(Clone, Debug)]
pub struct SeededRng(ChaCha12Rng);

impl SeededRng {
    /// The stream for `purpose` that belongs to `seed`, at its beginning.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha12Rng::from_seed(key);
        rng.set_stream(purpose as u64);
        Self(rng)
    }

    /// A stream for a purpose of one's own that belongs to `seed`, at its beginning: `name` tells it from others.
    ///
    /// It shares no number with the stream of any [`Purpose`], whatever the seeds and the name.
    ///
    /// ```
    /// use candle_rnn::SeededRng;
    /// let mut noise = SeededRng::user(42, "noise");
    /// let mut tosses = SeededRng::user(42, "tosses");
    /// assert_ne!(noise.bits(), tosses.bits());
    /// ```
    pub fn user(seed: u64, name: &str) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..].copy_from_slice(&Sha256::digest(name)[..24]);
        // Its number within the key is 0, which no purpose has.
        Self(ChaCha12Rng::from_seed(key))
    }

    /// How many 32-bit words have been drawn.
    pub fn position(&self) -> u128 {
        self.0.get_word_pos()
    }

    /// Moves to where [`position`](Self::position) was `position`.
    pub fn set_position(&mut self, position: u128) {
        self.0.set_word_pos(position);
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `[-limit, limit)`.
    pub fn symmetric(&mut self, limit: f64) -> f64 {
        limit * (2.0 * self.unit() - 1.0)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A standard normal number (Box & Muller, 1958; one of the pair is used).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A number in `0..n`, all equally likely (Lemire, 2019).
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is no number below 0: n must be at least 1");
        let Ok(small) = u32::try_from(n) else { return self.below_large(n as u64) as usize };
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(small);
            // The first 2^32 mod n values of the low half would favour some results.
            if product as u32 >= small.wrapping_neg() % small {
                return (product >> 32) as usize;
            }
        }
    }

    /// As [`below`](Self::below), of 64 bits.
    fn below_large(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(n);
            if product as u64 >= n.wrapping_neg() % n {
                return (product >> 64) as u64;
            }
        }
    }

    /// Puts `items` in a random order, all equally likely (Fisher & Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A random order of `0..n`, as [`shuffle`](Self::shuffle) makes it.
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// An index of `probabilities`, drawn with the probability that stands there. They are divided by their sum,
    /// so that weights will do; an index of probability 0 is never drawn. One number is drawn from the stream.
    ///
    /// # Errors
    /// [`Error::Config`] when a probability is negative, NaN or infinite, or their sum is 0 or infinite; nothing is drawn
    /// then.
    pub fn categorical(&mut self, probabilities: &[f64]) -> Result<usize> {
        let is_wrong = |p: &f64| !(*p >= 0. && p.is_finite());
        if let Some((index, p)) = probabilities.iter().enumerate().find(|(_, p)| is_wrong(p)) {
            return Err(Error::Config(format!(
                "categorical: probability {index} must be finite and at least 0, got {p}"
            )));
        }
        let total: f64 = probabilities.iter().sum();
        let last = probabilities.iter().rposition(|p| *p > 0.);
        let Some(last) = last.filter(|_| total.is_finite()) else {
            return Err(Error::Config(format!(
                "categorical: the sum of the {} probabilities must be finite and above 0, got {total}",
                probabilities.len()
            )));
        };
        let target = self.unit() * total;
        let mut sum = 0.;
        let reaches = |p: &f64| {
            sum += *p;
            sum > target
        };
        // Rounding may leave the sum of all just below the target.
        Ok(probabilities.iter().position(reaches).unwrap_or(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_do_not_shift_each_other() {
        let mut init = SeededRng::new(42, Purpose::Init);
        let mut shuffle = SeededRng::new(42, Purpose::Shuffle);
        let first = shuffle.clone().permutation(100);
        assert_ne!(init.unit(), SeededRng::new(42, Purpose::Shuffle).unit());
        for _ in 0..1000 {
            init.normal();
        }
        assert_eq!(shuffle.permutation(100), first);
        assert_ne!(SeededRng::new(43, Purpose::Shuffle).permutation(100), first);
    }

    #[test]
    fn a_saved_position_continues_with_the_same_numbers() {
        let mut stream = SeededRng::new(7, Purpose::Shuffle);
        stream.permutation(55);
        let position = stream.position();
        let expected: Vec<f64> = (0..20).map(|_| stream.unit()).collect();
        let mut other = SeededRng::new(7, Purpose::Shuffle);
        other.set_position(position);
        assert_eq!((0..20).map(|_| other.unit()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut stream = SeededRng::new(42, Purpose::Shuffle);
        assert_eq!(stream.permutation(8), GOLDEN_PERMUTATION);
        assert_eq!(stream.unit(), GOLDEN_UNIT);
    }

    // From a ChaCha12 of its own, written in Python after RFC 8439 (with 12 rounds, a 64-bit
    // counter and a 64-bit stream), and the same mapping from words to numbers.
    const GOLDEN_PERMUTATION: [u32; 8] = [4, 5, 1, 7, 2, 3, 0, 6];
    const GOLDEN_UNIT: f64 = 0.224876497371023;

    #[test]
    fn a_permutation_holds_every_number_once_and_places_them_evenly() {
        let mut stream = SeededRng::new(1, Purpose::Shuffle);
        let mut counts = [[0u32; 5]; 5];
        for _ in 0..5000 {
            let order = stream.permutation(5);
            for (place, value) in order.iter().enumerate() {
                counts[place][*value as usize] += 1;
            }
        }
        for count in counts.iter().flatten() {
            // 1,000 expected, standard deviation 28.
            assert!((850..1150).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut stream = SeededRng::new(1, Purpose::Init);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn a_stream_of_ones_own_is_that_of_no_purpose() {
        let bits = |mut rng: SeededRng| (0..4).map(|_| rng.bits()).collect::<Vec<_>>();
        let own = bits(SeededRng::user(42, "noise"));
        assert_eq!(own, bits(SeededRng::user(42, "noise")));
        assert_ne!(own, bits(SeededRng::user(43, "noise")));
        assert_ne!(own, bits(SeededRng::user(42, "tosses")));
        for purpose in [Purpose::Init, Purpose::Shuffle, Purpose::Bucket, Purpose::Sample] {
            assert_ne!(own, bits(SeededRng::new(42, purpose)));
        }
        assert_eq!(own[..2], GOLDEN_USER);
    }

    // ChaCha12 of Python, as above, with seed 42 and 24 bytes of the name's SHA-256 as its key, stream 0.
    const GOLDEN_USER: [u64; 2] = [648034384568920648, 17927196756493889633];

    #[test]
    fn numbers_below_a_bound_are_drawn_evenly() {
        let mut rng = SeededRng::user(1, "below");
        let mut counts = [0u32; 7];
        for _ in 0..7000 {
            counts[rng.below(7)] += 1;
        }
        // 1,000 expected, standard deviation 29.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(rng.below(1), 0);
        let large = u32::MAX as usize + 10;
        let upper = (0..1000).filter(|_| {
            let found = rng.below(large);
            assert!(found < large);
            found > large / 2
        });
        assert!((400..600).contains(&upper.count()));
    }

    #[test]
    fn shuffled_items_are_in_the_order_of_a_permutation() {
        let mut items: Vec<char> = ('a'..='z').collect();
        SeededRng::new(3, Purpose::Shuffle).shuffle(&mut items);
        let order = SeededRng::new(3, Purpose::Shuffle).permutation(26);
        let expected: Vec<char> =
            order.iter().map(|n| char::from(b'a' + u8::try_from(*n).unwrap())).collect();
        assert_eq!(items, expected);
        SeededRng::new(3, Purpose::Shuffle).shuffle::<u8>(&mut []);
    }

    #[test]
    fn categorical_draws_have_their_probabilities() {
        let mut rng = SeededRng::user(1, "categorical");
        let mut counts = [0u32; 4];
        for _ in 0..10_000 {
            counts[rng.categorical(&[0., 3., 0., 1.]).unwrap()] += 1;
        }
        // 7,500 expected, standard deviation 43.
        assert!((7250..7750).contains(&counts[1]) && counts[0] + counts[2] == 0, "{counts:?}");
        let position = rng.position();
        for (wrong, text) in [
            (&[0.5, -0.1][..], "probability 1 must"),
            (&[f64::NAN], "got NaN"),
            (&[0., 0.], "above 0, got 0"),
            (&[], "the 0 probabilities"),
            (&[f64::MAX, f64::MAX], "got inf"),
        ] {
            let error = rng.categorical(wrong).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert_eq!(rng.position(), position);
        assert_eq!(rng.categorical(&[0., 1e-300]).unwrap(), 1);
    }
}
