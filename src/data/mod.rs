//! Pixels on disk to batches of sequences.
//!
//! The data's way: an IDX file ([`idx`]), found by `files`, becomes one of the splits of a data set
//! ([`mnist`], `image_set`, `split`, `validation`), which may have to be fetched first (`fetch`, feature `download`); an image is looked at as a
//! sequence ([`view`]); shuffled images, moved a little if that is asked
//! for ([`augment`]), are gathered into tensors ([`batches`]). `picture`
//! (feature `pictures`) turns any PNG or JPEG file into a digit as MNIST holds it.

pub mod augment;
pub mod batches;
mod dataset;
mod dataset_builder;
#[cfg(feature = "download")]
pub mod fetch;
mod files;
pub mod idx;
mod image_set;
pub mod known;
pub mod mnist;
#[cfg(feature = "pictures")]
pub mod picture;
mod split;
mod target;
mod validation;
mod values;
pub mod view;

pub use dataset::{Dataset, Missing, SequenceValues};
pub use dataset_builder::{dataset_of_bytes, DatasetBuilder};
pub use target::{Labels, LabelsBuilder, Numbers, Target, TargetKind};
pub use values::Values;
