//! The `candle-rnn` program: parses, delegates, and turns errors into exit codes.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
