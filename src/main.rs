//! The `candle-rnn` program: parses, delegates, and turns errors into exit codes.

mod cli;

use std::process::ExitCode;

/// Keeps memory that a training step frees for the next step. The system's allocator hands large
/// blocks back to the operating system, and their fresh pages then cost more than what is computed
/// on them: docs/performance.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
