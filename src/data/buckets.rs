//! Length bucketing: batches of sequences of about the same length, so that little of a batch is padding.

use crate::rng::SeededRng;

/// Batches whose sequences are sorted by length together: within so many, order is random no more.
const BLOCK: usize = 64;

/// Arranges a random order of sequences so that those of a batch have about the same length.
///
/// Blocks of 64 batches are sorted by length and cut into batches, which are then shuffled. The order within a batch
/// of equal lengths and which sequences meet in a block stay random. A batch that is smaller than the others is the
/// last.
///
/// - `order`: numbers of sequences, in random order
/// - `batch_size`: sequences in a batch, at least 1
/// - `length`: of the sequence with a number
pub fn bucket_by_length(
    order: &mut [u32],
    batch_size: usize,
    length: impl Fn(u32) -> usize,
    rng: &mut SeededRng,
) {
    let batch_size = batch_size.max(1);
    let mut batches: Vec<Vec<u32>> = Vec::new();
    for block in order.chunks_mut(batch_size.saturating_mul(BLOCK)) {
        block.sort_by_key(|number| length(*number));
        batches.extend(block.chunks(batch_size).map(<[u32]>::to_vec));
    }
    let full = batches.iter().take_while(|batch| batch.len() == batch_size).count();
    let shuffled = rng.permutation(full as u32);
    let places = shuffled.into_iter().map(|place| place as usize).chain(full..batches.len());
    let arranged = places.flat_map(|place| std::mem::take(&mut batches[place]));
    order.iter_mut().zip(arranged).for_each(|(place, number)| *place = number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn batches_hold_sequences_of_like_lengths() {
        let mut rng = SeededRng::new(1, Purpose::Shuffle);
        let lengths: Vec<usize> = (0..5_000).map(|_| 1 + (rng.unit() * 200.) as usize).collect();
        let mut order = rng.permutation(5_000);
        let before = order.clone();
        bucket_by_length(&mut order, 32, |number| lengths[number as usize], &mut rng);
        let padded = |order: &[u32]| -> usize {
            let longest = |batch: &[u32]| batch.iter().map(|n| lengths[*n as usize]).max();
            order.chunks(32).map(|batch| batch.len() * longest(batch).unwrap()).sum()
        };
        let steps: usize = lengths.iter().sum();
        assert!(padded(&before) as f64 > 1.8 * steps as f64);
        assert!((padded(&order) as f64) < 1.05 * steps as f64, "{} {steps}", padded(&order));
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, (0..5_000).collect::<Vec<u32>>());
        // Batches do not come by length.
        let firsts: Vec<usize> = order.chunks(32).map(|batch| lengths[batch[0] as usize]).collect();
        assert!(!firsts.is_sorted());
    }
}
