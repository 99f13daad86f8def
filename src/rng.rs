//! Seeded random numbers: one ChaCha stream per purpose.
//!
//! Candle's CPU backend cannot be seeded, so every random number of this crate comes from here.
//! Each purpose has a stream of its own, so that drawing more numbers for one of them (a new
//! dropout layer, say) leaves the numbers of all others as they were. The mapping from ChaCha's
//! words to floats and permutations is written out here rather than taken from `rand`, whose
//! distributions may change between versions: the same seed gives the same numbers for good.

use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// What a stream of random numbers is for. The numbers are part of the format of a run: they are
/// never changed or used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Init = 1,
    /// The order of the training images.
    Shuffle = 2,
    /// Which numbers dropout leaves out.
    Dropout = 3,
    /// How far training images are moved.
    Augment = 4,
    /// The fixed order of pixels in `View::Permuted`.
    Permutation = 5,
    /// Which training images validate.
    Validation = 6,
    /// Which sequences are kept for a test.
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
    fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(n);
            // The first 2^32 mod n values of the low half would favour some results.
            if product as u32 >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// A random order of `0..n` (Fisher & Yates).
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i as usize, self.below(i + 1) as usize);
        }
        order
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
}
