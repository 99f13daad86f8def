//! Files: durable, atomic writes, checksums and safetensors files. This module knows nothing of
//! data or training.
//!
//! `durable` puts whole files and folders in place; `checksums` tells a damaged one; [`tensors`] reads and
//! writes safetensors files; `protobuf` writes protocol buffers; `object` tells objects of JSON from lists.

pub(crate) mod checksums;
pub(crate) mod durable;
pub(crate) mod object;
pub(crate) mod protobuf;
pub mod tensors;
