//! Arguments that clap takes and that have no meaning together, or for this device: exit code 2.

/// What is wrong with them.
#[derive(Debug)]
pub(super) struct WrongUsage(String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// An error that ends the program as wrong usage.
pub(super) fn wrong_usage(message: impl std::fmt::Display) -> anyhow::Error {
    WrongUsage(message.to_string()).into()
}
