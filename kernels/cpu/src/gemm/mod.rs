//! Matrix products in BLIS's form: weights packed in panels, and a microkernel over a tile of registers.

pub(crate) mod layout;
pub(crate) mod microkernel;
pub(crate) mod pack;
