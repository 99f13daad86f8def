//! Readers: files of sequences in the formats that people have, one file a format.
//!
//! [`read`] tells a format by the file's content first and by its name second, unpacks gzip, and returns
//! a [`Dataset`](super::Dataset) or a text. What it had to assume is said in [`Loaded::notes`]. A [`SequenceFile`] may be
//! larger than memory: it is read block by block.

mod arff;
mod arff_attribute;
mod arff_header;
mod arff_row;
mod array_data;
mod array_labels;
mod array_names;
mod array_target;
mod arrays;
mod csv;
mod decimal_comma;
mod detect;
mod idx_images;
mod json_array;
mod json_numbers;
mod json_objects;
mod jsonl;
mod jsonl_example;
mod label_reader;
mod labels;
mod lines;
mod loaded;
mod memory;
mod npy;
mod npy_file;
mod npz;
mod options;
mod outline;
mod read;
mod safetensors;
mod sequence_file;
mod sequence_shape;
mod sequence_sink;
mod series_text;
mod plain_text;
mod source;
mod text_numbers;
mod ts;

pub use loaded::{Content, Format, Loaded};
pub use options::{Layout, ReadOptions};
pub use outline::FileOutline;
pub use read::read;
pub use sequence_file::SequenceFile;
pub use sequence_sink::BlockSize;
