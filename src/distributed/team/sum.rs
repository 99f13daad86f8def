//! The sum of all ranks' gradients.

use std::ops::Range;
use std::time::Instant;

use super::{cut, Team};
use crate::Result;

impl Team {
    /// Adds up the parts of a step in their order, as one process does: each rank adds up a slice of all, and gets the
    /// others' slices.
    ///
    /// - `mine`: this rank's parts, each `elements` numbers of `width` bytes
    /// - `losses`: a number for each of them
    /// - `count`: the number of parts of all ranks, which [`shares`](Self::shares) shares out
    /// - `add`: adds the numbers in its second argument to those in its first
    /// - returns the bytes of the sum, and the losses of all parts
    ///
    /// # Errors
    /// As [`Collective::all_to_all`].
    pub(crate) fn sum(
        &self,
        (mine, losses): (&[Vec<u8>], &[f64]),
        (count, elements, width): (usize, usize, usize),
        add: impl Fn(&mut [u8], &[u8]),
    ) -> Result<(Vec<u8>, Vec<f64>)> {
        let (start, patience) = (Instant::now(), self.0.patience);
        let parts = self.shares(count);
        let slices: Vec<Range<usize>> = self
            .shares(elements)
            .all()
            .map(|slice| slice.start * width..slice.end * width)
            .collect();
        let own = slices[self.rank()].len();
        let sent: Vec<usize> = slices.iter().map(|slice| mine.len() * slice.len()).collect();
        let received: Vec<usize> = parts.all().map(|parts| parts.len() * own).collect();
        let mut message = Vec::with_capacity(sent.iter().sum());
        for slice in &slices {
            mine.iter().for_each(|part| message.extend(&part[slice.clone()]));
        }
        let collective = self.0.gradients.get().unwrap_or(&self.0.collective);
        let found = collective.all_to_all(&message, &sent, &received, patience)?;
        let (first, others) = found.split_at(own.min(found.len()));
        let mut message = first.to_vec();
        others.chunks_exact(own.max(1)).for_each(|part| add(&mut message, part));
        losses.iter().for_each(|loss| message.extend(loss.to_le_bytes()));
        let lengths: Vec<usize> = slices
            .iter()
            .zip(parts.all())
            .map(|(slice, parts)| slice.len() + parts.len() * size_of::<f64>())
            .collect();
        let all = collective.all_gather(&message, &lengths, patience)?;
        let (mut sum, mut losses) = (Vec::with_capacity(elements * width), Vec::new());
        for (said, slice) in cut(&all, &lengths).iter().zip(&slices) {
            let (own, rest) = said.split_at(slice.len().min(said.len()));
            sum.extend(own);
            losses.extend(rest.chunks_exact(8).map(|loss| {
                f64::from_le_bytes([
                    loss[0], loss[1], loss[2], loss[3], loss[4], loss[5], loss[6], loss[7],
                ])
            }));
        }
        self.count(&self.0.exchanged, start);
        Ok((sum, losses))
    }
}
