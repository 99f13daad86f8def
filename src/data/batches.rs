//! Images gathered into batches: how many, in which order, and as which tensors.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::augment::{add_changed, Change};
use super::mnist::{Split, PIXELS};
use super::view::View;
use crate::{Error, Result};

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
        changes: &[Change],
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
    fn the_reference_job_has_366_batches_the_first_100_of_them_longer() {
        assert_eq!(batch_count(55_000, 150), 366);
        let sizes: Vec<usize> = (0..366).map(|i| array_split(55_000, 366, i).len()).collect();
        assert!(sizes[..100].iter().all(|size| *size == 151));
        assert!(sizes[100..].iter().all(|size| *size == 150));
        assert_eq!(array_split(55_000, 366, 365).end, 55_000);
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
    fn a_batch_holds_the_images_in_the_order_asked_for_divided_by_255() {
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
