//! An empty library: Cargo requires a target besides the benchmark.
