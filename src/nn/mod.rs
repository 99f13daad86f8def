//! Layers and their initial weights.
//!
//! [`rnn`] holds the recurrent layer, [`init`] the seeded initial weights that go into a `VarMap`.

pub mod init;
pub mod rnn;

pub use init::Init;
pub use rnn::{Rnn, RnnConfig};
