//! Batches: their sizes, the order of the images in an epoch, and their tensors.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::augment::{add_changed, Transform};
use super::image_set::PIXELS;
use super::split::Split;
use super::view::View;
use crate::{Error, Result};

/// How the examples of an epoch are cut into batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// As numpy.array_split: sizes differ by one at most, and exceed the size asked for where that does not
    /// divide the number of examples.
    Split,
    /// No batch exceeds the size asked for; the last one of an epoch may be smaller.
    #[default]
    Exact,
}

impl Batching {
    /// Number of batches of `batch_size` in an epoch over `count` examples, at least 1.
    pub fn count(self, count: usize, batch_size: usize) -> usize {
        match self {
            Self::Split => batch_count(count, batch_size),
            Self::Exact => count.div_ceil(batch_size.max(1)).max(1),
        }
    }

    /// The range of the batch with this index in `0..count`.
    pub fn range(self, count: usize, batch_size: usize, index: usize) -> Range<usize> {
        match self {
            Self::Split => array_split(count, batch_count(count, batch_size), index),
            Self::Exact => {
                let start = index.saturating_mul(batch_size).min(count);
                start..start.saturating_add(batch_size).min(count)
            }
        }
    }

    /// The ranges in `0..count` of the batches whose gradients are added up for a step over `count` examples.
    pub(crate) fn parts(self, count: usize, batch_size: usize) -> Vec<Range<usize>> {
        match self {
            Self::Split => {
                // As few as leave none of them more than an example larger than asked for.
                let parts = count.div_ceil(batch_size.saturating_add(1));
                (0..parts).map(|index| array_split(count, parts, index)).collect()
            }
            Self::Exact => {
                let parts = count.div_ceil(batch_size.max(1));
                (0..parts).map(|index| self.range(count, batch_size, index)).collect()
            }
        }
    }

    /// The default: [`Split`](Self::Split) for MNIST's own training files, so that the
    /// tutorial's batches come out, and [`Exact`](Self::Exact) for all other data and wherever `Split` would
    /// exceed `batch_size`, or `accumulate` times that in a step, by more than 2 %.
    pub fn default_for(is_mnist: bool, count: usize, batch_size: usize, accumulate: usize) -> Self {
        let step_size = batch_size.saturating_mul(accumulate);
        // The first of the parts is the longest.
        let step = Self::Split.range(count, step_size, 0).len();
        let batch = if accumulate == 1 {
            step
        } else {
            Self::Split.parts(step, batch_size).first().map_or(0, Range::len)
        };
        let exceeds = |size: usize, asked: usize| size as f64 > 1.02 * asked as f64;
        if is_mnist && !exceeds(step, step_size) && !exceeds(batch, batch_size) {
            Self::Split
        } else {
            Self::Exact
        }
    }
}

/// Number of batches in an epoch over `count` images: `count / batch_size`, at least 1.
pub fn batch_count(count: usize, batch_size: usize) -> usize {
    (count / batch_size.max(1)).max(1)
}

/// The range of the `index`th of `parts` parts of `0..count`, as `numpy.array_split` cuts it: the
/// first `count % parts` parts are one longer than the others, and nothing is dropped.
///
/// # Panics
/// When `parts` is zero.
pub fn array_split(count: usize, parts: usize, index: usize) -> Range<usize> {
    let (size, longer) = (count / parts, count % parts);
    let start = |i: usize| i * size + i.min(longer);
    start(index)..start(index + 1)
}

/// A batch of sequences with their labels.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `(B, T, I)`, pixels in `[0, 1]`.
    pub x: Tensor,
    /// `(B,)`, `u32`, `0..10`.
    pub labels: Tensor,
}

/// Makes batches: pixels in the order of a view, divided by 255.
#[derive(Clone, Debug)]
pub struct Gather {
    view: View,
    order: Option<Vec<usize>>,
    dtype: DType,
    device: Device,
}

impl Gather {
    /// A gatherer of tensors of `dtype` on `device`.
    ///
    /// # Errors
    /// [`Error::DType`] unless `dtype` is `f32` or `f64`.
    pub fn new(view: View, dtype: DType, device: &Device) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::DType {
                op: "gather",
                tensor: "x".into(),
                expected: "f32 or f64",
                actual: dtype.as_str().into(),
            });
        }
        // Rows and pixels are in the order in which they lie in memory.
        let order = matches!(view, View::Columns | View::Permuted).then(|| view.order());
        Ok(Self { view, order, dtype, device: device.clone() })
    }

    /// Where batches are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The images of `split` at `indices`, as one batch.
    ///
    /// # Errors
    /// [`Error::Candle`] when the tensors cannot be made.
    ///
    /// # Panics
    /// When an index is not below the split's length.
    pub fn batch(
        &self,
        split: &Split,
        indices: impl ExactSizeIterator<Item = usize> + Clone,
    ) -> Result<Batch> {
        let labels: Vec<u32> = indices.clone().map(|i| u32::from(split.labels()[i])).collect();
        let count = labels.len();
        let x = self.sequences(indices.map(|i| split.image(i)))?;
        Ok(Batch { x, labels: Tensor::from_vec(labels, count, &self.device)? })
    }

    /// The same with each image changed.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    ///
    /// # Panics
    /// As [`batch`](Self::batch), and when there is no change for an image.
    pub fn batch_of_changed(
        &self,
        split: &Split,
        indices: impl ExactSizeIterator<Item = usize> + Clone,
        changes: &[Transform],
    ) -> Result<Batch> {
        let labels: Vec<u32> = indices.clone().map(|i| u32::from(split.labels()[i])).collect();
        let count = labels.len();
        let mut changed = Vec::with_capacity(count * PIXELS);
        for (number, index) in indices.enumerate() {
            add_changed(&mut changed, split.image(index), changes[number]);
        }
        let x = self.sequences(changed.chunks_exact(PIXELS))?;
        Ok(Batch { x, labels: Tensor::from_vec(labels, count, &self.device)? })
    }

    /// Images of 784 pixels as sequences, `(B, T, I)`.
    ///
    /// # Errors
    /// [`Error::Candle`] when the tensor cannot be made.
    ///
    /// # Panics
    /// When an image has not 784 pixels.
    pub fn sequences<'a>(&self, images: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Tensor> {
        let shape = (images.len(), self.view.seq_len(), self.view.input_size());
        Ok(match self.dtype {
            DType::F64 => {
                let x = self.fill(images, |pixel| f64::from(pixel) / 255.);
                Tensor::from_vec(x, shape, &self.device)?
            }
            _ => {
                let x = self.fill(images, |pixel| f32::from(pixel) / 255.);
                Tensor::from_vec(x, shape, &self.device)?
            }
        })
    }

    /// `scale` of every pixel, in the order of the view. Divisions, which the compiler makes four
    /// or more at a time, take half the time of a table of 256 floats.
    fn fill<'a, T>(
        &self,
        images: impl ExactSizeIterator<Item = &'a [u8]>,
        scale: impl Fn(u8) -> T,
    ) -> Vec<T> {
        let mut x = Vec::with_capacity(images.len() * PIXELS);
        for image in images {
            assert_eq!(image.len(), PIXELS, "an image has {PIXELS} pixels");
            match &self.order {
                None => x.extend(image.iter().map(|pixel| scale(*pixel))),
                Some(order) => x.extend(order.iter().map(|i| scale(image[*i]))),
            }
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::mnist::Mnist;

    #[test]
    fn the_reference_job_has_366_batches_the_first_100_longer() {
        assert_eq!(batch_count(55_000, 150), 366);
        let sizes: Vec<usize> = (0..366).map(|i| array_split(55_000, 366, i).len()).collect();
        assert!(sizes[..100].iter().all(|size| *size == 151));
        assert!(sizes[100..].iter().all(|size| *size == 150));
        assert_eq!(array_split(55_000, 366, 365).end, 55_000);
    }

    #[test]
    fn exact_batches_never_exceed_the_size_asked_for() {
        for (count, batch_size) in [(1_600, 900), (55_000, 256), (55_000, 150), (7, 100), (1, 1)] {
            let batches = Batching::Exact.count(count, batch_size);
            let ranges = (0..batches).map(|i| Batching::Exact.range(count, batch_size, i));
            let mut next = 0;
            for range in ranges {
                assert_eq!(range.start, next, "{count} {batch_size}");
                assert!((1..=batch_size).contains(&range.len()), "{count} {batch_size}: {range:?}");
                assert!(range.len() == batch_size || range.end == count, "{range:?}");
                next = range.end;
            }
            assert_eq!(next, count);
        }
        assert_eq!(Batching::Exact.count(1_600, 900), 2);
        assert_eq!(Batching::Exact.count(55_000, 256), 215);
        let parts = Batching::Exact.parts(100, 30);
        assert_eq!(parts.iter().map(Range::len).collect::<Vec<_>>(), [30, 30, 30, 10]);
        assert_eq!(Batching::Exact.count(10, usize::MAX), 1);
        assert_eq!(Batching::Exact.range(10, usize::MAX, 0), 0..10);
    }

    #[test]
    fn batches_of_mnist_are_the_tutorials_unless_2_percent_larger() {
        use Batching::{Exact, Split};
        let of =
            |batch_size, accumulate| Batching::default_for(true, 55_000, batch_size, accumulate);
        assert_eq!([150, 64, 50, 55_000].map(|size| of(size, 1)), [Split; 4]);
        // 214 batches of up to 258; 1,718 of up to 33; one of 55,000.
        assert_eq!([256, 32, 30_000].map(|size| of(size, 1)), [Split, Exact, Exact]);
        assert_eq!(
            (of(30_000, 2), of(450, 2), of(75, 2), of(10, 15)),
            (Split, Split, Split, Exact)
        );
        assert_eq!(Batching::default_for(false, 55_000, 150, 1), Exact);
    }

    #[test]
    fn parts_follow_each_other_and_drop_nothing() {
        for (count, parts) in [(1, 1), (5, 3), (7, 7), (100, 9)] {
            let mut next = 0;
            for index in 0..parts {
                let part = array_split(count, parts, index);
                assert_eq!(part.start, next);
                next = part.end;
            }
            assert_eq!(next, count);
        }
        assert_eq!((batch_count(10, 100), batch_count(10, 3)), (1, 3));
    }

    #[test]
    fn a_batch_holds_the_images_asked_for_divided_by_255() {
        let sample = Mnist::sample().unwrap();
        let wanted = [3usize, 1, 1, 7];
        for dtype in [DType::F32, DType::F64] {
            let gather = Gather::new(View::Columns, dtype, &Device::Cpu).unwrap();
            let batch = gather.batch(&sample.test, wanted.into_iter()).unwrap();
            assert_eq!(batch.x.dims(), [4, 28, 28]);
            let x = batch.x.to_dtype(DType::F64).unwrap().to_vec3::<f64>().unwrap();
            let labels = batch.labels.to_vec1::<u32>().unwrap();
            for (row, index) in wanted.into_iter().enumerate() {
                assert_eq!(labels[row], u32::from(sample.test.labels()[index]));
                let image = sample.test.image(index);
                for step in 0..28 {
                    for input in 0..28 {
                        let expected = f64::from(image[input * 28 + step]) / 255.;
                        assert!((x[row][step][input] - expected).abs() <= 1e-7);
                    }
                }
            }
        }
        assert!(Gather::new(View::Rows, DType::U8, &Device::Cpu).is_err());
    }
}
