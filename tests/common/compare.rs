//! How far a tensor is off another, in a way that never hides NaN.

use std::collections::BTreeMap;

use candle_core::Tensor;

/// `max|a - b| / max|b|`: NaN where a value is, or where there is nothing to compare.
pub(crate) fn difference(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() || b.is_empty() {
        return f64::NAN;
    }
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0., larger);
    let scale = b.iter().map(|b| b.abs()).fold(0., larger);
    if off == 0. {
        0.
    } else {
        off / scale
    }
}

/// The [`difference`] of two tensors: NaN where shapes differ, too.
pub(crate) fn tensor_difference(a: &Tensor, b: &Tensor) -> f64 {
    if a.dims() == b.dims() {
        difference(&super::values(a), &super::values(b))
    } else {
        f64::NAN
    }
}

/// The larger of two, or NaN: `f64::max` would lose it.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() {
        b
    } else {
        a
    }
}

/// Checks that numbers are others but for a part of each, or of 1 where they are smaller.
#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let off = (found - expected).abs() / expected.abs().max(1.);
        assert!(is_close(off, tolerance), "{what}: {found} {expected}");
    }
}

/// False for NaN.
pub(crate) fn is_close(difference: f64, tolerance: f64) -> bool {
    difference <= tolerance
}

/// The names of what is further off than the tolerance.
pub(crate) fn failures(differences: &BTreeMap<String, f64>, tolerance: f64) -> Vec<&str> {
    let failed = differences.iter().filter(|(_, off)| !is_close(**off, tolerance));
    failed.map(|(name, _)| name.as_str()).collect()
}
