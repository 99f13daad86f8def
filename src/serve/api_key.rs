//! `ApiKey`: the key that requests show.

use hyper::header::AUTHORIZATION;
use hyper::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{Error, Result};

/// The key that requests show as `Authorization: Bearer KEY`.
///
/// What is kept and compared is the SHA-256 of it, in a time that depends on neither its content nor its length.
#[derive(Clone)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// The key.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty key, and one that no header can hold.
    pub fn new(key: &str) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::Config("the key is empty".into()));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Config(
                "the key must consist of visible ASCII characters without spaces".into(),
            ));
        }
        Ok(Self(digest(key.as_bytes())))
    }

    /// Whether a request shows this key.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let (scheme, key) = shown.split_at(shown.len().min(7));
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
        bool::from(digest(key).ct_eq(&self.0)) && is_bearer
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_is_admitted() {
        let key = ApiKey::new("s3cret").unwrap();
        let admits = |shown: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, shown.parse().unwrap());
            key.admits(&headers)
        };
        assert!(admits("Bearer s3cret") && admits("bearer s3cret"));
        for wrong in
            ["Bearer s3cre", "Bearer s3crets", "Basic s3cret", "s3cret", "Bearer", "Bearer "]
        {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!key.admits(&HeaderMap::new()));
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
    }

    #[test]
    fn keys_that_no_header_holds_are_refused() {
        for wrong in ["", "two words", "zeile\n", "schlüssel"] {
            assert!(ApiKey::new(wrong).is_err(), "{wrong}");
        }
    }
}
