//! Pooling: one vector for each sequence from its outputs at all steps.
//!
//! - [`last`]: the last real step, [`last_of_both`] for bidirectional layers
//! - [`mean`], [`max`], [`mean_max`]: over all real steps
//!
//! Padding behind a row's length is not read, whatever it holds.

mod checks;
mod last;
mod mean_max;

pub use last::{last, last_of_both};
pub use mean_max::{max, mean, mean_max};
