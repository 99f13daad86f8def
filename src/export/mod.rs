//! Trained runs put into the formats of other programs.
//!
//! [`onnx()`] makes an ONNX file, [`state_dict`] PyTorch's weights, [`half()`] the weights in `f16`, [`html()`] a page in
//! one file; [`save()`] puts a file on disk, where [`check_place`] finds that it may. `trained` reads a run, `pickle` writes PyTorch's own file format.

mod half;
mod html;
mod onnx;
mod pickle;
mod pytorch;
mod save;
mod trained;

pub use half::{check_half_place, half, save_half, HalfModel, HalfPlace};
pub use html::html;
pub use onnx::{onnx, OnnxGraphKind, OnnxModel, Port};
pub use pytorch::{state_dict, state_dict_bytes, StateDictFormat};
pub use save::{check_place, save, IfThere};
