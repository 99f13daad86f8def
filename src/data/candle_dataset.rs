//! MNIST and its like as candle-datasets hands them out.

use candle_core::{DType, Device, Tensor};

use super::mnist::{LabelledImages, Mnist, CLASSES, PIXELS};
use crate::Result;

impl Mnist {
    /// The data set as candle-datasets hands it out: images `(N, 784)`, `f32` in `[0, 1]`, labels
    /// `(N,)`, `u8`; its training images are the validation split followed by the training split.
    ///
    /// # Errors
    /// [`Error::Candle`](crate::Error::Candle) when a tensor cannot be made.
    pub fn dataset(&self) -> Result<candle_datasets::vision::Dataset> {
        let tensors = |images: &LabelledImages| -> Result<(Tensor, Tensor)> {
            let shape = (images.labels.len(), PIXELS);
            let pixels = Tensor::from_slice(&images.pixels[..], shape, &Device::Cpu)?;
            let labels = Tensor::from_slice(&images.labels, shape.0, &Device::Cpu)?;
            Ok(((pixels.to_dtype(DType::F32)? / 255.)?, labels))
        };
        let (train_images, train_labels) = tensors(&self.train.images)?;
        let (test_images, test_labels) = tensors(&self.test.images)?;
        Ok(candle_datasets::vision::Dataset {
            train_images,
            train_labels,
            test_images,
            test_labels,
            labels: CLASSES,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dataset_of_candle_holds_the_same_pixels_and_labels() {
        let sample = Mnist::sample().unwrap();
        let dataset = sample.dataset().unwrap();
        assert_eq!(dataset.train_images.dims(), [2000, 784]);
        let images = dataset.train_images.to_vec2::<f32>().unwrap();
        for (row, image) in [(0, sample.valid.image(0)), (400, sample.train.image(0))] {
            for (found, pixel) in images[row].iter().zip(image) {
                // Candle multiplies by 1/255, which may round the last bit otherwise.
                assert!(
                    (found - f32::from(*pixel) / 255.).abs() <= f32::EPSILON,
                    "{found} {pixel}"
                );
            }
        }
        assert_eq!(dataset.test_labels.to_vec1::<u8>().unwrap(), sample.test.labels());
    }
}
