//! Seeded random matrices, row by row.

use crate::rng::SeededRng;

/// Half the width of the uniform distribution of Glorot & Bengio (2010).
pub(super) fn glorot(fan_in: usize, fan_out: usize) -> f64 {
    (6. / (fan_in + fan_out) as f64).sqrt()
}

pub(super) fn uniform(rng: &mut SeededRng, count: usize, limit: f64) -> Vec<f64> {
    (0..count).map(|_| rng.symmetric(limit)).collect()
}

pub(super) fn identity(rows: usize, columns: usize) -> Vec<f64> {
    let is_one = |i: usize| i / columns == i % columns;
    (0..rows * columns).map(|i| f64::from(u8::from(is_one(i)))).collect()
}

/// Columns of a random orthogonal matrix, or rows of one if there are more columns.
pub(super) fn semi_orthogonal(rng: &mut SeededRng, rows: usize, columns: usize) -> Vec<f64> {
    let size = rows.max(columns);
    let square = orthogonal(rng, size);
    (0..rows).flat_map(|row| square[row * size..][..columns].to_vec()).collect()
}

/// A random orthogonal matrix `(n, n)`, all equally likely: the Q of a normal matrix's QR
/// decomposition with positive diagonal, by modified Gram-Schmidt done twice.
pub(super) fn orthogonal(rng: &mut SeededRng, n: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = (0..n).map(|_| (0..n).map(|_| rng.normal()).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for i in 0..n {
        let (done, rest) = rows.split_at_mut(i);
        let row = &mut rest[0];
        // Twice is enough: the second pass removes what rounding left of the first.
        for earlier in done.iter().chain(done.iter()) {
            let overlap = dot(row, earlier);
            row.iter_mut().zip(earlier).for_each(|(r, e)| *r -= overlap * e);
        }
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|r| *r /= norm);
    }
    rows.concat()
}
