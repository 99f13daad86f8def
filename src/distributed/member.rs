//! `Member`, a process among those that a collective connects.

use std::time::Duration;

/// Which of how many processes this is, and who is told when the others do not answer.
pub(super) struct Member {
    pub(super) rank: usize,
    pub(super) size: usize,
    on_lost: Box<dyn Fn(&str) + Send + Sync>,
}

impl Member {
    pub(super) fn new(
        (rank, size): (usize, usize),
        on_lost: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { rank, size, on_lost: Box::new(on_lost) }
    }

    /// Tells that the others have not answered for so long: the process ends after that.
    pub(super) fn lose_others(&self, waited: Duration) {
        let Self { rank, size, on_lost } = self;
        on_lost(&format!(
            "rank {rank} of {size}: the other ranks have not answered for {} s; ending all",
            waited.as_secs()
        ));
    }
}
