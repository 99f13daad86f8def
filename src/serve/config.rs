//! `ServeConfig`: where a server listens, and its limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::api_key::ApiKey;
use crate::{Error, Result};

/// Where a server listens, and its limits.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The address; port 0 is a free port.
    pub address: SocketAddr,
    /// The key that requests must show, but for those to the page, the probes and the description of the interface;
    /// `None` for none, whatever the address is.
    pub key: Option<ApiKey>,
    /// The most requests that wait for the inference thread; further ones are refused with 429.
    pub queue_len: usize,
    /// The largest body of a request, in bytes.
    pub max_body: usize,
    /// The most connections at a time.
    pub max_connections: usize,
    /// How long a request's head may take to arrive, also on a connection that waits for its next request.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive, and again its answer; and how long a client may read nothing of an
    /// answer.
    pub request_timeout: Duration,
    /// The most streams at a time.
    pub max_streams: usize,
    /// How long a step of a stream may take to arrive.
    pub step_timeout: Duration,
    /// How long a server that was told to stop still accepts connections, so that load balancers see that it is not
    /// ready.
    pub linger: Duration,
    /// How long a server that was told to stop waits, from then on, for the requests that it has begun.
    pub drain: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            key: None,
            queue_len: 256,
            max_body: 8 << 20,
            max_connections: 2048,
            header_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(10),
            max_streams: 64,
            step_timeout: Duration::from_secs(60),
            linger: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

impl ServeConfig {
    /// Checks that every limit is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the limit that is not.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("queue_len", self.queue_len),
            ("max_body", self.max_body),
            ("max_connections", self.max_connections),
            ("max_streams", self.max_streams),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::Config(format!("{name} must be at least 1, got 0")));
        }
        let most = tokio::sync::Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        if let Some((name, count)) = counts.iter().find(|(_, count)| *count > most) {
            return Err(Error::Config(format!("{name} must be at most {most}, got {count}")));
        }
        let times = [
            ("header_timeout", self.header_timeout),
            ("request_timeout", self.request_timeout),
            ("step_timeout", self.step_timeout),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(Error::Config(format!("{name} must be longer than 0 s")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_nothing_are_refused() {
        assert!(ServeConfig::default().check().is_ok());
        let none = ServeConfig { queue_len: 0, ..ServeConfig::default() };
        assert!(none.check().unwrap_err().to_string().contains("queue_len"));
        let none = ServeConfig { request_timeout: Duration::ZERO, ..ServeConfig::default() };
        assert!(none.check().unwrap_err().to_string().contains("request_timeout"));
    }
}
