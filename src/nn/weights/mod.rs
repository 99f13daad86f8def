//! Weights from elsewhere, and back.
//!
//! Tensors come in by the names and in the layout that another framework gives them, and go out as a
//! [`Stack`](super::Stack) or as the [`Weights`](crate::recurrence::Weights) of one layer in one direction,
//! of which [`stack_from`] makes a stack. Gradients flow through to the tensors that came in. What does not
//! fit, or is not finite, is an [`Error::Weight`](crate::Error::Weight) with its name.
//!
//! - `pytorch`: [`from_pytorch`], [`from_pytorch_as`] and [`to_pytorch`], a state dict by its names
//! - `keras`: [`from_keras`], a layer's kernel, recurrent kernel and bias
//! - `tensorflow`: [`from_tensorflow_rnn`], [`from_tensorflow_lstm`] and [`from_tensorflow_gru`], the
//!   joined kernels of TensorFlow 1's cells
//!
//! - `layers`: [`stack_from`], a stack of layers' weights
//! - `state_dict`: [`StateDict`], named tensors in a map or in a file
//! - `builder`: tensors of a `VarBuilder`
//! - `checks`: checks and conversions of tensors
//! - `names`: names that are near where one is missing
//!
//! # Dtypes
//!
//! Weights come out as `f32`, or as `f64` if one that came in is `f64`: `f16` and `bf16` become `f32`,
//! which holds all their values, and mixed dtypes become the widest. [`from_pytorch_as`] takes the dtype
//! that is asked for; the other importers take tensors, which `to_dtype` converts before. A tensor that is
//! converted is a new one: gradients flow back to the one that came in, but its later changes do not show.
//!
//! PyTorch saves half precision with `safetensors.torch.save_file(model.half().state_dict(), path)`, or
//! `model.bfloat16()`.
//!
//! # candle-nn
//!
//! `candle_nn::LSTM` and `candle_nn::GRU` have PyTorch's names and order of gates, as this crate has:
//! [`Lstm::new`](super::Lstm::new) and [`Gru::new`](super::Gru::new) take their weights from the same
//! `VarBuilder`, be it a safetensors file or a `VarMap` that both share, and compute the same. What
//! `LSTMConfig` calls `layer_idx` and `direction` is one layer of a stack in one direction. Of the
//! direction candle-nn takes the names alone (`_reverse`): it does not turn the sequence round, a
//! bidirectional stack does.
//!
//! Layers without biases (`default_no_bias`, PyTorch's `bias=False`) have constant zeros for them, which are not
//! trained. `VarSink::insert` makes zeros that are.

mod builder;
mod checks;
mod keras;
mod layers;
mod names;
mod pytorch;
mod state_dict;
mod tensorflow;
#[cfg(test)]
mod tests;

pub(crate) use builder::{full_name, get};
pub use keras::from_keras;
pub use layers::stack_from;
pub(crate) use names::prefixes;
pub use pytorch::{from_pytorch, from_pytorch_as, to_pytorch};
pub use state_dict::StateDict;
pub use tensorflow::{from_tensorflow_gru, from_tensorflow_lstm, from_tensorflow_rnn};
