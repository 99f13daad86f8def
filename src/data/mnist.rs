//! MNIST and Fashion-MNIST: where the files are, what they must hold, and how they are split.
//!
//! A data set is four IDX files of 28 x 28 images in 10 classes. Pixels stay `u8` here; they
//! become floats when a batch is gathered.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::idx::{self, Images};
use crate::{Error, Result};

/// Rows of an image.
pub const ROWS: usize = 28;
/// Columns of an image.
pub const COLUMNS: usize = 28;
/// Pixels of an image.
pub const PIXELS: usize = ROWS * COLUMNS;
/// Classes; labels are `0..CLASSES`.
pub const CLASSES: usize = 10;

/// Names of the four files, in the order of [`Dataset::checksums`].
pub const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The sample: the first 2,000 training and the first 500 test digits of MNIST, gzipped.
const SAMPLE: [&[u8]; 4] = [
    include_bytes!("sample/train-images-idx3-ubyte.gz"),
    include_bytes!("sample/train-labels-idx1-ubyte.gz"),
    include_bytes!("sample/t10k-images-idx3-ubyte.gz"),
    include_bytes!("sample/t10k-labels-idx1-ubyte.gz"),
];

/// Which data set, of those that share MNIST's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Dataset {
    /// Hand-written digits (LeCun, Cortes & Burges).
    #[default]
    Mnist,
    /// Photographs of clothes (Xiao, Rasul & Vollgraf, 2017).
    FashionMnist,
}

impl Dataset {
    /// The name used on the command line and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
        }
    }

    /// What its classes are called, in the order of the labels.
    pub fn class_names(self) -> [&'static str; CLASSES] {
        match self {
            Self::Mnist => ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
            Self::FashionMnist => [
                "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker",
                "bag", "boot",
            ],
        }
    }

    /// SHA-256 of the four uncompressed files, in the order of [`FILES`].
    pub fn checksums(self) -> [&'static str; 4] {
        match self {
            Self::Mnist => [
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ],
            Self::FashionMnist => [
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ],
        }
    }
}

/// Where the files of a data set are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The user's cache folder; what is not there is fetched into it.
    #[default]
    Cache,
    /// The sample embedded in this crate; needs neither disk nor network.
    Sample,
    /// A folder that holds the four files, gzipped or not.
    Folder(PathBuf),
}

impl Source {
    /// Reads the value of `--data`: `sample` or a folder.
    pub fn from_arg(arg: &Path) -> Self {
        if arg.as_os_str() == "sample" {
            Self::Sample
        } else {
            Self::Folder(arg.to_path_buf())
        }
    }
}

/// Images with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImages {
    /// `(N, 28, 28)`, 0 (background) to 255 (ink).
    pixels: Vec<u8>,
    /// `(N,)`, `0..10`.
    labels: Vec<u8>,
}

impl LabelledImages {
    /// Joins images with their labels; the paths are for errors.
    fn join(images: (&Path, Images), labels: (&Path, Vec<u8>)) -> Result<Self> {
        let ((images_path, images), (labels_path, labels)) = (images, labels);
        if (images.rows, images.columns) != (ROWS, COLUMNS) {
            return Err(Error::data_file(
                images_path,
                format!(
                    "its images are {} x {}, not {ROWS} x {COLUMNS}",
                    images.rows, images.columns
                ),
            ));
        }
        if images.count != labels.len() {
            return Err(Error::data_file(
                labels_path,
                format!(
                    "holds {} labels for the {} images of {}",
                    labels.len(),
                    images.count,
                    images_path.display()
                ),
            ));
        }
        if let Some(at) = labels.iter().position(|label| usize::from(*label) >= CLASSES) {
            return Err(Error::data_file(
                labels_path,
                format!("label {at} is {}, not one of 0 to {}", labels[at], CLASSES - 1),
            ));
        }
        Ok(Self { pixels: images.pixels, labels })
    }
}

/// A range of labelled images; clones share them.
#[derive(Clone, Debug)]
pub struct Split {
    images: Arc<LabelledImages>,
    range: Range<usize>,
}

impl Split {
    /// Number of images, N.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// All pixels, `(N, 28, 28)`, 0 (background) to 255 (ink).
    pub fn pixels(&self) -> &[u8] {
        &self.images.pixels[self.range.start * PIXELS..self.range.end * PIXELS]
    }

    /// All labels, `(N,)`, `0..10`.
    pub fn labels(&self) -> &[u8] {
        &self.images.labels[self.range.clone()]
    }

    /// The pixels of one image, `(28, 28)`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels()[index * PIXELS..][..PIXELS]
    }
}

/// A data set in memory, split three ways.
#[derive(Clone, Debug)]
pub struct Mnist {
    /// The training images after the validation split (MNIST: 55,000).
    pub train: Split,
    /// The first images of the training files: 5,000, or a fifth if that is less.
    pub valid: Split,
    /// The test files' images (MNIST: 10,000).
    pub test: Split,
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
    #[cfg(feature = "datasets")]
    pub fn load(
        dataset: Dataset,
        source: &Source,
        on_event: &mut dyn FnMut(super::fetch::Event),
    ) -> Result<Self> {
        match source {
            Source::Cache => Self::from_folder(&super::fetch::ensure_cached(dataset, on_event)?),
            Source::Sample if dataset == Dataset::Mnist => Self::sample(),
            Source::Sample => Err(Error::Config(format!(
                "the sample is of MNIST digits: there is none of {}",
                dataset.name()
            ))),
            Source::Folder(folder) => Self::from_folder(folder),
        }
    }

    /// The sample embedded in this crate: 1,600 training, 400 validation and 500 test digits.
    ///
    /// # Errors
    /// None, unless the crate was built from damaged files.
    pub fn sample() -> Result<Self> {
        let names = FILES.map(|name| PathBuf::from("sample").join(name));
        Self::join(
            &names,
            idx::parse_images(SAMPLE[0], &names[0])?,
            idx::parse_labels(SAMPLE[1], &names[1])?,
            idx::parse_images(SAMPLE[2], &names[2])?,
            idx::parse_labels(SAMPLE[3], &names[3])?,
        )
    }

    /// Loads the four files of `folder`, each plain or, with `.gz` behind its name, gzipped.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::DataFile`] for one that is wrong.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let paths = find_files(folder)?;
        Self::join(
            &paths,
            idx::read_images(&paths[0])?,
            idx::read_labels(&paths[1])?,
            idx::read_images(&paths[2])?,
            idx::read_labels(&paths[3])?,
        )
    }

    fn join(
        paths: &[PathBuf; 4],
        train_images: Images,
        train_labels: Vec<u8>,
        test_images: Images,
        test_labels: Vec<u8>,
    ) -> Result<Self> {
        let train = LabelledImages::join((&paths[0], train_images), (&paths[1], train_labels))?;
        let test = LabelledImages::join((&paths[2], test_images), (&paths[3], test_labels))?;
        let (count, valid) = (train.labels.len(), valid_size(train.labels.len()));
        if valid == 0 {
            let reason = format!("holds {count} images: at least 5 are needed, a fifth validates");
            return Err(Error::data_file(&paths[0], reason));
        }
        if test.labels.is_empty() {
            return Err(Error::data_file(&paths[2], "holds no image"));
        }
        let (train, test) = (Arc::new(train), Arc::new(test));
        let tests = test.labels.len();
        Ok(Self {
            valid: Split { images: train.clone(), range: 0..valid },
            train: Split { images: train, range: valid..count },
            test: Split { images: test, range: 0..tests },
        })
    }

    /// SHA-256 over all pixels and labels, in hexadecimal: two data sets with the same
    /// fingerprint train the same model.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for split in [&self.valid, &self.train, &self.test] {
            hash.update((split.len() as u64).to_le_bytes());
            hash.update(split.pixels());
            hash.update(split.labels());
        }
        hex(&hash.finalize())
    }

    /// The data set as candle-datasets hands it out: images `(N, 784)`, `f32` in `[0, 1]`, labels
    /// `(N,)`, `u8`; its training images are the validation split followed by the training split.
    ///
    /// # Errors
    /// [`Error::Candle`] when a tensor cannot be made.
    #[cfg(feature = "datasets")]
    pub fn dataset(&self) -> Result<candle_datasets::vision::Dataset> {
        use candle_core::{DType, Device, Tensor};
        let tensors = |images: &LabelledImages| -> Result<(Tensor, Tensor)> {
            let shape = (images.labels.len(), PIXELS);
            let pixels = Tensor::from_slice(&images.pixels, shape, &Device::Cpu)?;
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

/// How many of `count` training images validate.
fn valid_size(count: usize) -> usize {
    5_000.min(count / 5)
}

/// The paths of the four files in `folder`.
pub(crate) fn find_files(folder: &Path) -> Result<[PathBuf; 4]> {
    let mut paths = FILES.map(PathBuf::from);
    for (name, path) in FILES.iter().zip(&mut paths) {
        let plain = folder.join(name);
        let gzipped = folder.join(format!("{name}.gz"));
        *path = if plain.exists() {
            plain
        } else if gzipped.exists() {
            gzipped
        } else if !folder.is_dir() {
            return Err(Error::data_file(folder, "no such folder of data files"));
        } else {
            return Err(Error::data_file(plain, "no such file, nor one with .gz behind its name"));
        };
    }
    Ok(paths)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    fn mnist_splits_into_55000_and_5000() {
        assert_eq!(valid_size(60_000), 5_000);
        assert_eq!(valid_size(2_000), 400);
        assert_eq!((valid_size(4), valid_size(5)), (0, 1));
    }

    #[cfg(feature = "datasets")]
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
}
