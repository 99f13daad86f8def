//! Nothing: Cargo wants a target besides the bench.
