//! The library as programs use it: its layers, models, trainers and runs, and what they promise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod candle;
#[cfg(feature = "sample")]
mod golden;
mod graphs;
mod kernel_models;
mod layers;
mod own_tasks;
#[cfg(feature = "sample")]
mod parts;
mod run;
mod stack;
mod stateful;
mod trainer;
