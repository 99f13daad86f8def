//! The cells: one file each.

mod gru;
mod lstm;
mod minimal;
mod simple;

pub(crate) use gru::{Gru, GruResetBefore};
pub(crate) use lstm::{Lstm, ProjectedLstm};
pub(crate) use minimal::MinimalGru;
pub(crate) use simple::Simple;
