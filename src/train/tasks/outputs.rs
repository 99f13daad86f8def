//! A model's outputs for the sequences of a data set.

use candle_core::DType;

use crate::data::{Dataset, Padder};
use crate::model::SequenceClassifier;
use crate::nn::Sequences;
use crate::recurrence::{check_teams, Outputs};
use crate::Result;

/// Sequences looked at together. A constant, because the last bits of an output may depend on it.
const BATCH_SIZE: usize = 256;
/// Steps looked at together, padding included, unless a single sequence has more.
const BATCH_STEPS: usize = 1 << 16;

/// Calls `take` with the number of each sequence and the model's outputs: C or K numbers or, of [`Outputs::All`],
/// as many for each of its steps. Sequences come in the order of their lengths.
///
/// # Errors
/// Those of `take`; [`Error::Shape`](crate::Error::Shape) when the model is not one for these data, and
/// [`Error::Candle`](crate::Error::Candle) when Candle fails.
pub fn for_each_output(
    model: &SequenceClassifier,
    padder: &Padder,
    data: &Dataset,
    read: Outputs,
    mut take: impl FnMut(usize, &[f64]) -> Result<()>,
) -> Result<()> {
    // Detached weights make no graph: every intermediate result is freed at once.
    let model = model.detach();
    for batch in output_batches(data) {
        for_each_output_of(&model, padder, data, (&batch, read), &mut take)?;
    }
    Ok(())
}

/// The numbers of the sequences that are looked at together, in the order of their lengths.
pub(super) fn output_batches(data: &Dataset) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..data.len() as u32).collect();
    order.sort_by_key(|index| data.seq_len(*index as usize));
    let (mut rest, mut batches) = (order.as_slice(), Vec::new());
    while !rest.is_empty() {
        let mut count = rest.len().min(BATCH_SIZE);
        while count > 1 && count * data.seq_len(rest[count - 1] as usize) > BATCH_STEPS {
            count = (count / 2).max(1);
        }
        let (now, later) = rest.split_at(count);
        batches.push(now.to_vec());
        rest = later;
    }
    batches
}

/// As [`for_each_output`], of one batch.
///
/// - `model`: one that makes no graph
///
/// # Errors
/// As [`for_each_output`].
pub(super) fn for_each_output_of(
    model: &SequenceClassifier,
    padder: &Padder,
    data: &Dataset,
    (batch, read): (&[u32], Outputs),
    take: &mut dyn FnMut(usize, &[f64]) -> Result<()>,
) -> Result<()> {
    let padded = padder.batch_without_target(data, batch)?;
    let mut sequences = Sequences::new(&padded.x);
    if let Some(lengths) = &padded.lengths {
        sequences = sequences.lengths(lengths);
    }
    let outputs = model.forward_unrolled(sequences, read)?.to_dtype(DType::F64)?;
    let width = outputs.dim(outputs.rank() - 1)?;
    let per_row = outputs.elem_count() / batch.len().max(1);
    let outputs = outputs.flatten_all()?.to_vec1::<f64>()?;
    check_teams(padder.device())?;
    for (index, outputs) in batch.iter().zip(outputs.chunks_exact(per_row.max(1))) {
        let index = *index as usize;
        let own = match read {
            Outputs::Last => width,
            Outputs::All => data.seq_len(index) * width,
        };
        take(index, &outputs[..own])?;
    }
    Ok(())
}
