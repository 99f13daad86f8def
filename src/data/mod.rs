//! Files on disk to batches of sequences.
//!
//! [`Dataset`] holds sequences of any length with a target of one kind ([`Target`]), put together by a
//! [`DatasetBuilder`]; a [`Preprocessor`] fills in missing values and scales features, a [`Padder`] makes batches of
//! sequences padded to the longest ([`SequenceBatch`]), which [`bucket_by_length`] keeps short; [`DataSplits`] holds
//! parts out for validation and test, of series to forecast too ([`ForecastTarget`]).
//!
//! The images of MNIST are such a [`Dataset`] too (`Mnist::sequences`), and come by a way of their own: an IDX file ([`idx`]), found by `files`, becomes one of the splits
//! of a set of images ([`mnist`], `image_set`, `split`, `validation`), which may have to be fetched first (`fetch`,
//! feature `download`); an image is looked at as a sequence ([`view`]); shuffled images, moved a little if that is
//! asked for ([`augment`]), are gathered into tensors ([`batches`]). `picture` (feature `pictures`) turns any PNG or
//! JPEG file into a digit as MNIST holds it.

pub mod augment;
pub mod batches;
mod buckets;
#[cfg(feature = "download")]
mod candle_dataset;
mod class_indices;
mod class_splits;
mod dataset;
mod dataset_builder;
#[cfg(feature = "download")]
pub mod fetch;
mod files;
mod forecast;
pub mod formats;
pub mod idx;
mod image_sequences;
mod image_set;
pub mod known;
pub mod mnist;
mod naive_forecast;
mod names;
mod offsets;
mod origin;
mod padded;
#[cfg(feature = "pictures")]
pub mod picture;
mod preprocess;
mod scaler;
mod season;
mod seen_ids;
mod split;
mod splits;
mod store;
mod target;
mod text;
mod validation;
mod values;
pub mod view;

pub use buckets::bucket_by_length;
pub use class_indices::ClassIndices;
pub use dataset::{Dataset, SequenceValues};
pub use dataset_builder::{dataset_of_bytes, DatasetBuilder};
#[cfg(feature = "settings")]
pub(crate) use files::find_files as image_files;
pub use forecast::ForecastTarget;
pub(crate) use naive_forecast::floats;
pub use names::Names;
pub use padded::{BatchTarget, Padder, SequenceBatch};
pub use preprocess::{MissingPolicy, PreprocessConfig, Preprocessor};
pub use scaler::{Scaler, Scaling};
pub use season::season_of;
pub use splits::{DataSplits, SplitBy, SplitConfig};
pub use store::Missing;
pub use target::{Labels, LabelsBuilder, Numbers, Target, TargetKind};
pub use text::{TextStreams, Vocabulary};
pub use values::{Segments, Values};
