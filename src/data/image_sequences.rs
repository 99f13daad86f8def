//! The images of MNIST as a data set among others.

use super::dataset_builder::{dataset_of_bytes, DatasetBuilder};
use super::image_set::{ImageSet, COLUMNS, ROWS};
use super::mnist::Mnist;
use super::split::{LabelledImages, Split};
use super::splits::DataSplits;
use super::target::{Labels, Target};
use crate::Result;

impl Mnist {
    /// The images as sequences of 28 rows of 28 pixels, with their classes: one data set among others, for every task,
    /// preprocessor and batch that takes a [`Dataset`](super::Dataset). It shares the pixels.
    ///
    /// ```
    /// # #[cfg(feature = "sample")]
    /// # fn main() -> candle_rnn::Result<()> {
    /// use candle_rnn::data::mnist::Mnist;
    ///
    /// let splits = Mnist::sample()?.sequences()?;
    /// assert_eq!((splits.train.len(), splits.train.seq_len(0), splits.train.features().len()), (1_600, 28, 28));
    /// assert_eq!(splits.train.class_names().len(), 10);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sample"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// None, unless a split is empty.
    pub fn sequences(&self) -> Result<DataSplits> {
        let names = self.identity().unwrap_or(ImageSet::Mnist).class_names().map(String::from);
        let of = |images: &LabelledImages| {
            let indices = images.labels.iter().map(|label| u32::from(*label)).collect();
            let labels = Labels { names: names.to_vec(), indices };
            let features = DatasetBuilder::unnamed(COLUMNS).features().to_vec();
            dataset_of_bytes(features, images.pixels.clone(), ROWS, Target::Class(labels))
        };
        let all = of(&self.train.images)?;
        let part = |split: &Split| {
            let range = split.range.start as u32..split.range.end as u32;
            all.select(&range.collect::<Vec<_>>())
        };
        Ok(DataSplits {
            train: part(&self.train),
            valid: part(&self.valid),
            test: Some(of(&self.test.images)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SequenceValues;

    #[test]
    fn sequences_share_the_pixels() {
        let sample = Mnist::sample().unwrap();
        let splits = sample.sequences().unwrap();
        let test = splits.test.unwrap();
        for (split, data) in
            [(&sample.train, splits.train), (&sample.valid, splits.valid), (&sample.test, test)]
        {
            assert_eq!(split.len(), data.len());
            for index in [0, data.len() - 1] {
                let SequenceValues::U8(bytes) = data.sequence(index) else { panic!("bytes") };
                assert!(std::ptr::eq(bytes, split.image(index)));
                assert_eq!(data.label(index), Some(u32::from(split.labels()[index])));
            }
        }
    }
}
