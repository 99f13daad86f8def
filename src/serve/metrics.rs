//! `ServerMetrics`: counters in the text form that Prometheus reads.
//!
//! All series are there from the beginning, so that memory stays as it is however many requests come.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the times of requests, in seconds.
const SECONDS: [f64; 13] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 5.];
/// Upper bounds of the numbers of requests that are predicted together.
const BATCH: [f64; 9] = [1., 2., 4., 8., 16., 32., 64., 128., 256.];
/// The statuses that are counted apart; the last series counts all others.
const STATUSES: [u16; 16] =
    [200, 400, 401, 404, 405, 408, 411, 413, 415, 422, 429, 431, 499, 500, 503, 504];

/// Counters of a server.
#[derive(Debug)]
pub(super) struct ServerMetrics {
    routes: Vec<RouteMetrics>,
    batches: Histogram,
    connections: AtomicU64,
    refused: AtomicU64,
}

/// Counters of the requests to one route.
#[derive(Debug)]
struct RouteMetrics {
    name: &'static str,
    statuses: [AtomicU64; STATUSES.len() + 1],
    seconds: Histogram,
}

/// How often values were at most each bound.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// The counts by bound, of values that are in no smaller one, and of values above all.
    counts: Vec<AtomicU64>,
    /// The sum of all values, in millionths.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    /// - `labels`: empty, or such as `route="/predict"`
    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_string()]);
        for (bound, count) in bounds.zip(&self.counts) {
            sum += count.load(Ordering::Relaxed);
            line(text, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {sum}"));
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let total = self.sum.load(Ordering::Relaxed) as f64 / 1e6;
        line(text, format_args!("{name}_sum{braces} {total}"));
        line(text, format_args!("{name}_count{braces} {sum}"));
    }
}

impl ServerMetrics {
    /// Counters of requests to routes of these names, and to none of them.
    pub(super) fn new(routes: impl IntoIterator<Item = &'static str>) -> Self {
        let of = |name| RouteMetrics {
            name,
            statuses: std::array::from_fn(|_| AtomicU64::new(0)),
            seconds: Histogram::new(&SECONDS),
        };
        Self {
            routes: routes.into_iter().chain(["other"]).map(of).collect(),
            batches: Histogram::new(&BATCH),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts a request; `route` is the number of its route, `None` for no route.
    pub(super) fn answered(&self, route: Option<usize>, status: u16, time: Duration) {
        let route = &self.routes[route.unwrap_or(self.routes.len() - 1)];
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        route.statuses[status].fetch_add(1, Ordering::Relaxed);
        route.seconds.observe(time.as_secs_f64());
    }

    /// Counts requests that were predicted together.
    pub(super) fn batch(&self, requests: usize) {
        self.batches.observe(requests as f64);
    }

    /// Counts a connection that was opened.
    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was closed.
    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection that was refused because there were too many.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// All counters as text.
    ///
    /// - `queued`: the number of requests that wait
    /// - `streams`: the number of streams that are open
    pub(super) fn text(&self, queued: usize, streams: usize) -> String {
        let mut text = String::new();
        let name = "candle_rnn_requests_total";
        head(&mut text, name, "counter", "Requests answered, by route and status.");
        for route in &self.routes {
            let statuses = STATUSES.iter().map(u16::to_string).chain(["other".to_string()]);
            for (status, count) in statuses.zip(&route.statuses) {
                let count = count.load(Ordering::Relaxed);
                // Series without a request would be most of the text.
                if count > 0 {
                    let labels = format!("route=\"{}\",status=\"{status}\"", route.name);
                    line(&mut text, format_args!("{name}{{{labels}}} {count}"));
                }
            }
        }
        let name = "candle_rnn_request_seconds";
        head(&mut text, name, "histogram", "Time from a request's head to its answer.");
        for route in &self.routes {
            route.seconds.write(&mut text, name, &format!("route=\"{}\"", route.name));
        }
        let name = "candle_rnn_batch_requests";
        head(&mut text, name, "histogram", "Requests predicted together.");
        self.batches.write(&mut text, name, "");
        let connections = self.connections.load(Ordering::Relaxed);
        let refused = self.refused.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("candle_rnn_queued_requests", "gauge", "Requests that wait.", queued as u64),
            ("candle_rnn_streams", "gauge", "Open streams.", streams as u64),
            ("candle_rnn_connections", "gauge", "Open connections.", connections),
            (
                "candle_rnn_connections_refused_total",
                "counter",
                "Connections refused because there were too many.",
                refused,
            ),
        ] {
            head(&mut text, name, kind, help);
            line(&mut text, format_args!("{name} {value}"));
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

fn line(text: &mut String, line: std::fmt::Arguments) {
    // Into a text, which takes everything.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_sums_add_up() {
        let metrics = ServerMetrics::new(["/a"]);
        for millis in [0, 3, 3, 9_000] {
            metrics.answered(Some(0), 200, Duration::from_millis(millis));
        }
        metrics.answered(None, 404, Duration::from_millis(1));
        metrics.batch(3);
        let text = metrics.text(7, 2);
        for line in [
            "candle_rnn_requests_total{route=\"/a\",status=\"200\"} 4",
            "candle_rnn_requests_total{route=\"other\",status=\"404\"} 1",
            "candle_rnn_request_seconds_bucket{route=\"/a\",le=\"0.0025\"} 1",
            "candle_rnn_request_seconds_bucket{route=\"/a\",le=\"0.005\"} 3",
            "candle_rnn_request_seconds_bucket{route=\"/a\",le=\"5\"} 3",
            "candle_rnn_request_seconds_bucket{route=\"/a\",le=\"+Inf\"} 4",
            "candle_rnn_request_seconds_sum{route=\"/a\"} 9.006",
            "candle_rnn_request_seconds_count{route=\"/a\"} 4",
            "candle_rnn_batch_requests_bucket{le=\"2\"} 0",
            "candle_rnn_batch_requests_bucket{le=\"4\"} 1",
            "candle_rnn_queued_requests 7",
            "candle_rnn_streams 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
