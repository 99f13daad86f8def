//! Trainable recurrent networks for Candle.
//!
//! The modules stand in the order in which data flows through them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;

pub mod rng;

pub mod data;
pub mod recurrence;
pub mod nn;
pub mod model;
pub mod optim;
pub mod train;
pub mod checkpoint;
pub mod predict;

pub use error::{Error, Result};
