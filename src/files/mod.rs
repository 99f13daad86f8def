//! Files that are whole or not there, and files of tensors. This room knows nothing of data or training.
//!
//! `durable` puts whole files and folders in place; `checksums` tells a damaged one; [`tensors`] reads and
//! writes safetensors files.

pub(crate) mod checksums;
pub(crate) mod durable;
pub mod tensors;
