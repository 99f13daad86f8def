//! The cells: one file each.

pub(crate) mod cell;
mod dense;
mod gru;
mod lstm;
mod minimal;
pub(crate) mod pointwise;
mod simple;

pub(crate) use dense::Dense;
pub(crate) use gru::{Gru, GruResetBefore};
pub(crate) use lstm::{Lstm, ProjectedLstm};
pub(crate) use minimal::MinimalGru;
pub(crate) use simple::Simple;
