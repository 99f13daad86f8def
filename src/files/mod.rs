//! Files: durable, atomic writes, checksums and safetensors files. This module knows nothing of
//! data or training.
//!
//! `durable` puts whole files and folders in place; `checksums` tells a damaged one; [`tensors`] reads and
//! writes safetensors files; `protobuf` writes protocol buffers.

pub(crate) mod checksums;
pub(crate) mod durable;
pub(crate) mod protobuf;
pub mod tensors;
