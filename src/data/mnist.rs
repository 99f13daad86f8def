//! MNIST and Fashion-MNIST: where the files are, what they must hold, and how they are split.
//!
//! A data set is four IDX files of 28 x 28 images in 10 classes. Pixels stay `u8` here; they
//! become floats when a batch is gathered. `dataset` says what a data set's files are, `files` finds them,
//! `validation` chooses the images that validate, and a `split` holds images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use super::image_set::{ImageSet, CLASSES, COLUMNS, FILES, PIXELS, ROWS};
pub use super::split::{LabelledImages, Split};
pub use super::validation::Validation;

use super::files::find_files;
use super::idx::{self, Images};
use super::origin::Origin;
use super::validation::{stratified, valid_size};
use crate::files::checksums::hex;
use crate::rng::{Purpose, SeededRng};
use crate::{Error, Result};

/// The seed by which validation images are drawn until a training says its own.
const DEFAULT_SEED: u64 = 42;

/// The sample: the first 2,000 training and the first 500 test digits of MNIST, gzipped.
#[cfg(any(test, feature = "sample"))]
const SAMPLE: [&[u8]; 4] = [
    include_bytes!("sample/train-images-idx3-ubyte.gz"),
    include_bytes!("sample/train-labels-idx1-ubyte.gz"),
    include_bytes!("sample/t10k-images-idx3-ubyte.gz"),
    include_bytes!("sample/t10k-labels-idx1-ubyte.gz"),
];

/// Where the files of a data set are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The user's cache folder; what is not there is fetched into it.
    #[default]
    Cache,
    /// The sample embedded in this crate (feature `sample`); needs neither disk nor network.
    Sample,
    /// A folder that holds the four files, gzipped or not, as [`Mnist::from_folder`] finds them.
    Folder(PathBuf),
}

impl Source {
    /// Reads the text form: `sample` or a folder.
    pub fn from_arg(arg: &Path) -> Self {
        if arg.as_os_str() == "sample" {
            Self::Sample
        } else {
            Self::Folder(arg.to_path_buf())
        }
    }
}

/// A data set in memory, split three ways.
#[derive(Clone, Debug)]
pub struct Mnist {
    /// The training files' images that do not validate (MNIST: 55,000).
    pub train: Split,
    /// The validation images, 5,000 of the training files or a fifth if that is less; which ones, see
    /// [`default_validation`](Self::default_validation).
    pub valid: Split,
    /// The test files' images (MNIST: 10,000).
    pub test: Split,
    origin: Origin,
    /// The choice of validation images, and the seed by which they were drawn.
    validation: (Validation, u64),
    /// Where in its file each of the images is that lie in memory, validation images first; `None` for the
    /// file's order.
    order: Option<Arc<[u32]>>,
}

impl Mnist {
    /// Loads a data set, fetching it if it is in none of the places where it is looked for.
    ///
    /// `on_event` hears what takes time: pass `|_| {}` to ignore it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::DataFile`] for files that are missing or wrong,
    /// [`Error::Fetch`] when no source has the files, [`Error::Config`] for a sample of a data
    /// set that has none.
    #[cfg(feature = "download")]
    pub fn load(
        dataset: ImageSet,
        source: &Source,
        on_event: &mut dyn FnMut(super::fetch::FetchEvent),
    ) -> Result<Self> {
        match source {
            Source::Cache => {
                let folder = super::fetch::ensure_cached(dataset, on_event)?;
                Self::from_files(find_files(&folder, dataset)?)
            }
            #[cfg(any(test, feature = "sample"))]
            Source::Sample if dataset == ImageSet::Mnist => Self::sample(),
            #[cfg(not(any(test, feature = "sample")))]
            Source::Sample if dataset == ImageSet::Mnist => Err(Error::Config(
                "the sample was left out of this build: turn on the feature `sample`".into(),
            )),
            Source::Sample => Err(Error::Config(format!(
                "the sample holds MNIST digits: there is no sample of {}",
                dataset.name()
            ))),
            Source::Folder(folder) => Self::from_files(find_files(folder, dataset)?),
        }
    }

    /// The sample embedded in this crate: 1,600 training, 400 validation and 500 test digits.
    ///
    /// # Errors
    /// None, unless the crate was built from damaged files.
    #[cfg(any(test, feature = "sample"))]
    pub fn sample() -> Result<Self> {
        let names = FILES.map(|name| PathBuf::from("sample").join(name));
        Self::join(
            &names,
            |_, _| Origin::Sample,
            idx::parse_images(SAMPLE[0], &names[0])?,
            idx::parse_labels(SAMPLE[1], &names[1])?,
            idx::parse_images(SAMPLE[2], &names[2])?,
            idx::parse_labels(SAMPLE[3], &names[3])?,
        )
    }

    /// Loads the four files of `folder`, each plain or, with `.gz` behind its name, gzipped; with a dot or a hyphen
    /// before `idx`; in the folder itself, or in `MNIST/raw` or `raw` below it.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::DataFile`] for one that is missing or wrong.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::from_files(find_files(folder, ImageSet::Mnist)?)
    }

    fn from_files(paths: [PathBuf; 4]) -> Result<Self> {
        Self::join(
            &paths,
            Origin::of,
            idx::read_images(&paths[0])?,
            idx::read_labels(&paths[1])?,
            idx::read_images(&paths[2])?,
            idx::read_labels(&paths[3])?,
        )
    }

    fn join(
        paths: &[PathBuf; 4],
        origin: impl FnOnce(&Images, &[u8]) -> Origin,
        train_images: Images,
        train_labels: Vec<u8>,
        test_images: Images,
        test_labels: Vec<u8>,
    ) -> Result<Self> {
        let origin = origin(&train_images, &train_labels);
        let train = LabelledImages::join((&paths[0], train_images), (&paths[1], train_labels))?;
        let test = LabelledImages::join((&paths[2], test_images), (&paths[3], test_labels))?;
        let (count, valid) = (train.labels.len(), valid_size(train.labels.len()));
        if valid == 0 {
            let reason = format!(
                "holds {count} images: at least 5 are needed, since a fifth is the validation split"
            );
            return Err(Error::data_file(&paths[0], reason));
        }
        if test.labels.is_empty() {
            return Err(Error::data_file(&paths[2], "holds no image"));
        }
        let (train, test) = (Arc::new(train), Arc::new(test));
        let tests = test.labels.len();
        let data = Self {
            valid: Split { images: train.clone(), range: 0..valid },
            train: Split { images: train, range: valid..count },
            test: Split { images: test, range: 0..tests },
            origin,
            validation: (Validation::First, DEFAULT_SEED),
            order: None,
        };
        let validation = data.default_validation();
        Ok(data.with_validation(validation, DEFAULT_SEED))
    }

    /// Whether the training files are MNIST's, by their SHA-256; the sample's are not.
    pub fn is_mnist(&self) -> bool {
        self.origin == Origin::Known(ImageSet::Mnist)
    }

    /// The data set whose the training files are, by their SHA-256; `None` for the sample and all other files.
    pub fn identity(&self) -> Option<ImageSet> {
        match self.origin {
            Origin::Known(dataset) => Some(dataset),
            Origin::Sample | Origin::Other => None,
        }
    }

    /// The default choice of validation images: the first ones of MNIST and of the sample, as the tutorial cuts
    /// them; of all other files images that are drawn, since files may be sorted by class.
    pub fn default_validation(&self) -> Validation {
        match self.origin {
            Origin::Known(ImageSet::Mnist) | Origin::Sample => Validation::First,
            Origin::Known(ImageSet::FashionMnist) | Origin::Other => Validation::Stratified,
        }
    }

    /// The same data with other validation images: as many, chosen as `validation` says; `seed` draws them where
    /// they are drawn. Files and seed alone decide which they are.
    pub fn with_validation(self, validation: Validation, seed: u64) -> Self {
        let is_same = match (self.validation, validation) {
            ((Validation::First, _), Validation::First) => true,
            (before, _) => before == (validation, seed),
        };
        if is_same {
            return self;
        }
        let (images, count) = (&self.train.images, self.train.images.labels.len());
        // Where in memory the images are, in the order of their file.
        let mut places: Vec<u32> = (0..count as u32).collect();
        if let Some(order) = &self.order {
            for (place, file) in (0..).zip(order.iter()) {
                places[*file as usize] = place;
            }
        }
        let labels: Vec<u8> = places.iter().map(|place| images.labels[*place as usize]).collect();
        let order = match validation {
            Validation::First => (0..count as u32).collect(),
            Validation::Stratified => {
                let labels: Vec<u32> = labels.iter().map(|label| u32::from(*label)).collect();
                let rng = &mut SeededRng::new(seed, Purpose::Validation);
                stratified(&labels, CLASSES, self.valid.len(), rng)
            }
        };
        let mut pixels = Vec::with_capacity(images.pixels.len());
        for file in &order {
            let place = places[*file as usize] as usize;
            pixels.extend(&images.pixels[place * PIXELS..][..PIXELS]);
        }
        let labels = order.iter().map(|file| labels[*file as usize]).collect();
        let moved = Arc::new(LabelledImages { pixels: pixels.into(), labels });
        Self {
            valid: Split { images: moved.clone(), range: self.valid.range },
            train: Split { images: moved, range: self.train.range },
            test: self.test,
            origin: self.origin,
            validation: (validation, seed),
            order: Some(order.into()),
        }
    }

    /// SHA-256 over all pixels and labels, in hexadecimal, in the order of the files: two data sets with the same
    /// fingerprint train the same model. It does not depend on which images validate.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let train = &self.train.images;
        let mut places: Vec<usize> = (0..train.labels.len()).collect();
        for (place, file) in self.order.iter().flat_map(|order| order.iter()).enumerate() {
            places[*file as usize] = place;
        }
        let (first, rest) = places.split_at(self.valid.len());
        for places in [first, rest] {
            hash.update((places.len() as u64).to_le_bytes());
            places.iter().for_each(|at| hash.update(&train.pixels[at * PIXELS..][..PIXELS]));
            let labels: Vec<u8> = places.iter().map(|at| train.labels[*at]).collect();
            hash.update(labels);
        }
        hash.update((self.test.len() as u64).to_le_bytes());
        hash.update(self.test.pixels());
        hash.update(self.test.labels());
        hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_splits_into_1600_400_and_500_digits() {
        let sample = Mnist::sample().unwrap();
        let sizes = [&sample.train, &sample.valid, &sample.test].map(Split::len);
        assert_eq!(sizes, [1600, 400, 500]);
        // MNIST's first training labels, and its first test labels.
        assert_eq!(&sample.valid.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
        assert_eq!(&sample.test.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
        assert_eq!(sample.train.image(0), &sample.train.pixels()[..784]);
        assert!(SAMPLE.iter().map(|file| file.len()).sum::<usize>() <= 700_000);
    }

    #[test]
    fn the_fingerprint_sees_one_changed_label() {
        let sample = Mnist::sample().unwrap();
        let mut images = (*sample.test.images).clone();
        images.labels[3] = 9;
        let other = Mnist {
            test: Split { images: Arc::new(images), ..sample.test.clone() },
            ..sample.clone()
        };
        assert_eq!(sample.fingerprint(), Mnist::sample().unwrap().fingerprint());
        assert_ne!(sample.fingerprint(), other.fingerprint());
    }

    /// The sample as if it came from a folder, its training files sorted by class.
    fn sorted() -> Mnist {
        let sample = Mnist::sample().unwrap();
        let train = &sample.train.images;
        let mut order: Vec<usize> = (0..train.labels.len()).collect();
        order.sort_by_key(|index| train.labels[*index]);
        let pixels = order.iter().flat_map(|i| train.pixels[i * PIXELS..][..PIXELS].to_vec());
        let labels: Vec<u8> = order.iter().map(|index| train.labels[*index]).collect();
        let test = (*sample.test.images).clone();
        let images = |pixels: Vec<u8>| Images {
            count: pixels.len() / PIXELS,
            pixels,
            rows: ROWS,
            columns: COLUMNS,
        };
        let names = FILES.map(PathBuf::from);
        Mnist::join(
            &names,
            Origin::of,
            images(pixels.collect()),
            labels,
            images(test.pixels.to_vec()),
            test.labels,
        )
        .unwrap()
    }

    #[test]
    fn files_sorted_by_class_validate_on_every_class() {
        let data = sorted();
        assert_eq!((data.is_mnist(), data.identity()), (false, None));
        for split in [&data.train, &data.valid] {
            let mut found: Vec<u8> = split.labels().to_vec();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, (0..10).collect::<Vec<u8>>());
        }
        // A fifth of each class.
        for class in 0..10 {
            let count = |split: &Split| split.labels().iter().filter(|l| **l == class).count();
            let (valid, all) = (count(&data.valid), count(&data.valid) + count(&data.train));
            assert!((valid as f64 - all as f64 / 5.).abs() <= 1., "{class}: {valid} of {all}");
        }
        let first = data.clone().with_validation(Validation::First, 1);
        assert!(first.valid.labels().iter().all(|label| *label < 3));
    }

    #[test]
    fn validation_images_are_those_of_their_seed_by_any_way() {
        let data = sorted();
        let seeded =
            |data: &Mnist, seed| data.clone().with_validation(Validation::Stratified, seed);
        let (one, two) = (seeded(&data, 1), seeded(&data, 2));
        assert_ne!(one.valid.pixels(), two.valid.pixels());
        let first = two.with_validation(Validation::First, 9);
        for again in [seeded(&seeded(&data, 2), 1), seeded(&first, 1), seeded(&one, 1)] {
            assert_eq!(again.valid.pixels(), one.valid.pixels());
            assert_eq!(again.train.pixels(), one.train.pixels());
            assert_eq!(again.train.labels(), one.train.labels());
            assert_eq!(again.fingerprint(), data.fingerprint());
        }
        // Each image is still there once, with its label.
        let tagged = |data: &Mnist| {
            let splits = [&data.valid, &data.train];
            let mut all: Vec<(Vec<u8>, u8)> = splits
                .iter()
                .flat_map(|s| (0..s.len()).map(|i| (s.image(i).to_vec(), s.labels()[i])))
                .collect();
            all.sort();
            all
        };
        assert_eq!(tagged(&one), tagged(&first));
    }
}
