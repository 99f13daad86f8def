//! `UnknownParameters`: parameters of a request that nothing heeds.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::Deserialize;

use super::http_error::HttpError;

/// Parameters of a request that nothing heeds.
#[derive(Default, Deserialize)]
pub(super) struct UnknownParameters(BTreeMap<String, IgnoredAny>);

impl UnknownParameters {
    /// Checks that there are none: an answer without what they ask for would be another answer.
    ///
    /// - `whose`: what has parameters, such as `an output`
    /// - `known`: those that it may have
    ///
    /// # Errors
    /// 422 naming the first.
    pub(super) fn refuse(&self, whose: &str, known: &str) -> Result<(), HttpError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(HttpError::unfit(format!("{whose} takes no parameter {name}, only {known}")))
            }
        }
    }
}
