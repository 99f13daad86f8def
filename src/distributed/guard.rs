//! `Team::guard`, which makes an error or a panic on one rank an error on all.

use std::any::Any;
use std::fmt::Display;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::Team;
use crate::Error;

impl Team {
    /// Runs what this rank has to do in the team, and [ends](Self::end) its exchanges: an error on one rank is an error on
    /// all, and so is a panic.
    ///
    /// - `work`: all that this rank does from here on with the others; in a team of one nothing else happens
    ///
    /// # Errors
    /// [`Error::Rank`] when another rank has failed, of a lower number than this one's if it failed itself; else the
    /// error of `work`, or [`Error::Panic`].
    pub fn guard<R, E: From<Error> + Display>(
        &self,
        work: impl FnOnce() -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        if self.is_alone() {
            return work();
        }
        // Nothing that a panic may have left half done is used again: the exchanges end.
        let done = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(Error::Panic(message(&*panic)).into()));
        let failed = done.as_ref().err().map(|error| format!("{error:#}"));
        match (done, self.end(failed)) {
            (Err(_), Err(sooner @ Error::Rank { .. })) => Err(sooner.into()),
            (Err(error), _) => Err(error),
            (Ok(done), ended) => ended.map(|()| done).map_err(Into::into),
        }
    }
}

/// What a panic said, in one line.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it did not say why").replace('\n', " ")
}
