//! The last real step of each sequence.

use candle_core::{Device, Tensor};

use super::checks::check;
use crate::{Error, Result};

/// The last real step of each row: `(B, T, F)` to `(B, F)`.
///
/// Of a bidirectional layer's outputs, the backward half at that step has read one step alone:
/// [`last_of_both`] takes each half where it has read all.
///
/// - `x`, `lengths`: as in [`mean_max`](super::mean_max); a row without steps gives zeros
///
/// # Errors
/// As [`mean_max`](super::mean_max).
pub fn last(x: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    let (batch_size, seq_len, _) = check("last", x, lengths)?;
    let step = |row: usize| lengths.map_or(seq_len, |lengths| lengths[row]).saturating_sub(1);
    let steps = (0..batch_size).map(step);
    zero_empty(steps_of_rows(x, steps)?, lengths)
}

/// The final outputs of a bidirectional layer, as [`Stack::last`] returns them: the forward half at the last real
/// step of each row beside the backward half at the first, `(B, T, 2·P)` to `(B, 2·P)`.
///
/// - `x`, `lengths`: as in [`last`]
///
/// # Errors
/// As [`last`]; [`Error::Shape`] too for an odd number of features.
///
/// [`Stack::last`]: crate::Stack::last
pub fn last_of_both(x: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    const NAME: &str = "last of both";
    let (_, _, features) = check(NAME, x, lengths)?;
    if !features.is_multiple_of(2) {
        let (expected, actual) = ("(B, T, 2·P)".into(), x.dims().to_vec());
        return Err(Error::Shape { op: NAME, tensor: "x", expected, actual });
    }
    let half = features / 2;
    let forward = last(&x.narrow(2, 0, half)?, lengths)?;
    let backward = x.narrow(1, 0, 1)?.squeeze(1)?.narrow(1, half, half)?;
    Ok(Tensor::cat(&[forward, zero_empty(backward, lengths)?], 1)?)
}

/// One step of each row of x, `(B, T, F)`: `(B, F)`.
fn steps_of_rows(x: &Tensor, steps: impl Iterator<Item = usize>) -> Result<Tensor> {
    let (batch_size, seq_len, features) = x.dims3()?;
    let places: Vec<u32> =
        steps.enumerate().map(|(row, step)| (row * seq_len + step) as u32).collect();
    let places = Tensor::from_vec(places, batch_size, x.device())?;
    let flat = x.contiguous()?.reshape((batch_size * seq_len, features))?;
    Ok(flat.index_select(&places, 0)?)
}

/// Zeros in the rows without steps.
///
/// - `pooled`: `(B, F)`
fn zero_empty(pooled: Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    let Some(lengths) = lengths.filter(|lengths| lengths.contains(&0)) else { return Ok(pooled) };
    // Selected, not multiplied: zero times NaN is NaN, in the gradient too.
    let has_steps: Vec<u8> = lengths.iter().map(|len| u8::from(*len > 0)).collect();
    let has_steps = Tensor::from_vec(has_steps, (lengths.len(), 1), &Device::Cpu)?;
    let has_steps = has_steps.to_device(pooled.device())?.broadcast_as(pooled.shape())?;
    Ok(has_steps.where_cond(&pooled, &pooled.zeros_like()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Gru, GruConfig, Init, Sequences, VarSink};
    use crate::rng::{Purpose, SeededRng};
    use candle_core::{DType, Var};

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn numbers() -> Vec<f64> {
        (0..3 * 4 * 2).map(|i| f64::from(i * 5 % 13) + 1.).collect()
    }

    #[test]
    fn the_last_real_step_of_each_row_is_taken_with_its_gradient() {
        let lengths = [4, 0, 2];
        for padding in [0., f64::NAN] {
            let mut padded = numbers();
            padded[8..16].fill(padding);
            padded[20..].fill(padding);
            let x = Tensor::from_vec(padded, (3, 4, 2), &Device::Cpu).unwrap();
            let x = Var::from_tensor(&x).unwrap();
            let out = last(x.as_tensor(), Some(&lengths)).unwrap();
            let all = numbers();
            assert_eq!(values(&out), [all[6], all[7], 0., 0., all[18], all[19]]);
            let weights = Tensor::new(&[[1., 2.], [3., 4.], [5., 6.]], &Device::Cpu).unwrap();
            let store = (out * weights).unwrap().sum_all().unwrap().backward().unwrap();
            let mut expected = [0.; 24];
            (expected[6], expected[7], expected[18], expected[19]) = (1., 2., 5., 6.);
            assert_eq!(values(store.get(&x).unwrap()), expected);
        }
        let x = Tensor::from_vec(numbers(), (3, 4, 2), &Device::Cpu).unwrap();
        let expected = x.narrow(1, 3, 1).unwrap().squeeze(1).unwrap();
        assert_eq!(values(&last(&x, None).unwrap()), values(&expected));
    }

    #[test]
    fn both_directions_end_where_the_stack_says() {
        let lengths = [5, 1, 3];
        let numbers: Vec<f64> = (0..3 * 5 * 2).map(|i| f64::from(i * 7 % 11) / 11.).collect();
        let x = Tensor::from_vec(numbers, (3, 5, 2), &Device::Cpu).unwrap();
        for bidirectional in [false, true] {
            let sink = VarSink::new(DType::F64, &Device::Cpu);
            let config = GruConfig { num_layers: 2, bidirectional, ..GruConfig::new(2, 3) };
            let rng = &mut SeededRng::new(1, Purpose::Init);
            let gru = Gru::init(config, Init::Glorot, rng, &sink).unwrap();
            let sequences = || Sequences::new(&x).lengths(&lengths);
            let outputs = gru.forward(sequences()).unwrap().outputs;
            let found = if bidirectional {
                last_of_both(&outputs, Some(&lengths)).unwrap()
            } else {
                last(&outputs, Some(&lengths)).unwrap()
            };
            let expected = values(&gru.last(sequences()).unwrap());
            assert_eq!(values(&found).len(), expected.len());
            for (a, b) in values(&found).iter().zip(&expected) {
                assert!((a - b).abs() <= 1e-15, "{bidirectional}: {a} instead of {b}");
            }
        }
    }

    #[test]
    fn the_last_step_of_what_is_no_sequence_is_an_error() {
        let x = Tensor::zeros((2, 3, 5), DType::F32, &Device::Cpu).unwrap();
        assert!(last(&x, Some(&[4, 1])).unwrap_err().to_string().contains("row 0 has length 4"));
        assert!(last_of_both(&x, None).unwrap_err().to_string().contains("2·P"));
        assert!(last(&x.flatten_all().unwrap(), None).is_err());
        let none = Tensor::zeros((0, 3, 2), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(last(&none, None).unwrap().dims(), [0, 2]);
    }
}
