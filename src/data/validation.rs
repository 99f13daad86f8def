//! The validation split: the choice of training images for it.

use serde::{Deserialize, Serialize};

use crate::rng::SeededRng;

/// How the validation images are chosen among the training files' images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// The first images of the files, as the tutorial cuts MNIST.
    First,
    /// Images drawn with the seed, the same part of each class.
    Stratified,
}

/// How many of `count` training images validate.
pub(super) fn valid_size(count: usize) -> usize {
    5_000.min(count / 5)
}

/// The numbers of all images, first those of the `valid` that validate, then the rest, both in their own order.
///
/// Each class has its part of the validation images, at least one where it has two images and `valid` is enough.
pub(super) fn stratified(
    labels: &[u32],
    classes: usize,
    valid: usize,
    rng: &mut SeededRng,
) -> Vec<u32> {
    let mut numbers = vec![Vec::new(); classes];
    for (number, label) in (0u32..).zip(labels) {
        if let Some(class) = numbers.get_mut(*label as usize) {
            class.push(number);
        }
    }
    let classes = numbers;
    let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
    let mut validates = vec![false; labels.len()];
    for (class, quota) in classes.iter().zip(quotas(&sizes, valid)) {
        let drawn = rng.permutation(class.len() as u32);
        drawn.iter().take(quota).for_each(|at| validates[class[*at as usize] as usize] = true);
    }
    let mut order: Vec<u32> = (0..labels.len() as u32).collect();
    order.sort_by_key(|number| !validates[*number as usize]);
    order
}

/// How many images of each class validate, `valid` in all: in proportion, by largest remainders.
fn quotas(sizes: &[usize], valid: usize) -> Vec<usize> {
    let count = sizes.iter().sum::<usize>().max(1);
    let valid = valid.min(count);
    // A class of one image is trained on: nothing could be right about it otherwise.
    let mut quotas: Vec<usize> = sizes
        .iter()
        .map(|size| (size * valid / count).max(1).min(size.saturating_sub(1)))
        .collect();
    loop {
        let total: usize = quotas.iter().sum();
        let numbered = || quotas.iter().zip(sizes).enumerate();
        let changed = if total > valid {
            // The class that has the most above its part; of equals the last.
            let excess = |(_, (quota, size)): &(usize, (&usize, &usize))| {
                (**quota > 1, (**quota * count).saturating_sub(**size * valid))
            };
            numbered().filter(|(_, (quota, _))| **quota > 0).max_by_key(excess).map(|(at, _)| at)
        } else if total < valid {
            let lack = |(_, (quota, size)): &(usize, (&usize, &usize))| {
                (**quota + 1 < **size, (**size * valid).saturating_sub(**quota * count))
            };
            // Of equals the first.
            numbered()
                .rev()
                .filter(|(_, (quota, size))| quota < size)
                .max_by_key(lack)
                .map(|(at, _)| at)
        } else {
            return quotas;
        };
        let Some(at) = changed else { return quotas };
        if total > valid {
            quotas[at] -= 1;
        } else {
            quotas[at] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn quotas_are_in_proportion_and_leave_no_class_out() {
        assert_eq!(quotas(&[100, 100, 200], 80), [20, 20, 40]);
        // 5,000 of 60,000 in ten classes of different size.
        let sizes = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
        let found = quotas(&sizes, 5_000);
        assert_eq!(found.iter().sum::<usize>(), 5_000);
        for (quota, size) in found.iter().zip(sizes) {
            assert!((*quota as f64 - size as f64 / 12.).abs() < 1., "{found:?}");
        }
        // A class of two images validates on one and trains on the other, one of a single image trains.
        assert_eq!(quotas(&[1_000, 2, 1, 0], 100), [99, 1, 0, 0]);
        assert_eq!(quotas(&[10, 10, 10], 2).iter().sum::<usize>(), 2);
        assert_eq!(quotas(&[1, 1, 1, 1, 1], 1), [1, 0, 0, 0, 0]);
        assert_eq!(quotas(&[4, 0], 4), [4, 0]);
    }

    #[test]
    fn a_split_has_each_image_once_both_parts_in_order() {
        let labels: Vec<u32> = (0..200).map(|i| i / 20).collect();
        let drawn =
            |seed| stratified(&labels, 10, 40, &mut SeededRng::new(seed, Purpose::Validation));
        let order = drawn(7);
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<u32>>());
        let (valid, train) = order.split_at(40);
        assert!(valid.is_sorted() && train.is_sorted());
        for class in 0..10u32 {
            let count = valid.iter().filter(|i| labels[**i as usize] == class).count();
            assert_eq!(count, 4);
        }
        assert_eq!(order, drawn(7));
        assert_ne!(order, drawn(8));
    }

    #[test]
    fn mnist_splits_into_55000_and_5000() {
        assert_eq!(valid_size(60_000), 5_000);
        assert_eq!(valid_size(2_000), 400);
        assert_eq!((valid_size(4), valid_size(5)), (0, 1));
    }
}
