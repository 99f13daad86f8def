//! Work that a GPU records once and runs again.

use crate::Result;

/// A device that records work: what is put on its stream, and nothing that waits for it.
pub(crate) trait Recorder: Send + Sync {
    /// Records work without doing it.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Config`](crate::Error::Config) when it asks for what cannot be recorded, such as numbers of the host;
    /// [`Error::Device`](crate::Error::Device) when the device fails.
    fn record(&mut self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>>;
}

/// Work that was recorded.
pub(crate) trait Recording: Send + Sync {
    /// Does the work once more, in the memory that it was recorded with.
    ///
    /// - `work`: what was recorded; a device that only stands in for a GPU does it again
    ///
    /// # Errors
    /// Those of `work`; [`Error::Device`](crate::Error::Device) when the device fails.
    fn launch(&mut self, work: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}
