//! `candle-rnn serve`: answers requests over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use candle_core::Device;
use candle_rnn::serve::{ApiKey, ServeConfig, ServedModel, Server};
use tracing::Level;

use super::device::Compute;
use super::numbers;
use super::signals::Signals;
use super::usage::wrong_usage;

/// The environment variable that holds the key.
const KEY: &str = "CANDLE_RNN_KEY";

/// Serve trained runs over HTTP, with a page to watch them read
///
/// Pictures as Hugging Face's image classification takes them, tensors as the Open Inference Protocol does, predictions
/// after each step of a sequence, also of one whose steps are still arriving, and texts: /openapi.json describes all routes. If the environment variable
/// CANDLE_RNN_KEY is set, requests must send it as `Authorization: Bearer KEY`; the page itself, the probes, /v2 and
/// /openapi.json are open all the same. Pictures have at most 25,165,824 pixels, and 8,192 a side.
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn serve runs/0001                            then open http://127.0.0.1:8080/
  curl --data-binary @digit.png http://127.0.0.1:8080/predict
  candle-rnn serve day=runs/a/checkpoints/best night=runs/b/checkpoints/best
  CANDLE_RNN_KEY=secret candle-rnn serve runs/0001 runs/0002 --host 0.0.0.0 --json")]
pub(super) struct ServeArgs {
    /// Run directories, or checkpoints of them; a run's name in paths is that of its folder, or NAME
    #[arg(required = true, value_name = "[NAME=]RUN")]
    runs: Vec<PathBuf>,
    /// Port to listen at; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// Address to listen at
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Serve other machines without a key
    #[arg(long)]
    no_key: bool,
    /// Largest number of requests that wait for the thread that predicts; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = numbers::at_least_one)]
    queue: usize,
    /// Largest number of connections at a time
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = numbers::at_least_one)]
    max_connections: usize,
    /// Largest body of a request, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = numbers::at_least_one)]
    max_body: usize,
    /// Seconds that a request's body may take to arrive, and again its answer; and that a client may read nothing of it
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Largest number of streams (/v1/stream, and texts as events) at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = numbers::at_least_one)]
    max_streams: usize,
    /// Seconds that a step of a stream may take to arrive
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    step_timeout: u64,
    /// Seconds that requests may take to end after SIGTERM or SIGINT; /readyz says 503 from then on
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    drain_seconds: u64,
    /// Log every request
    #[arg(long)]
    log_requests: bool,
    #[command(flatten)]
    compute: Compute,
    /// Log one JSON object a line to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let key = key(args.host, args.no_key)?;
    let defaults = ServeConfig::default();
    let config = ServeConfig {
        address: SocketAddr::new(args.host, args.port),
        key,
        queue_len: args.queue,
        max_body: args.max_body,
        max_connections: args.max_connections,
        request_timeout: Duration::from_secs(args.timeout),
        max_streams: args.max_streams,
        step_timeout: Duration::from_secs(args.step_timeout),
        drain: Duration::from_secs(args.drain_seconds),
        ..defaults
    };
    config.check().map_err(wrong_usage)?;
    let device = args.compute.open()?;
    let models: Vec<ServedModel> =
        args.runs.iter().map(|run| load(run, &device)).collect::<anyhow::Result<_>>()?;
    let names: Vec<String> = models.iter().map(|model| model.name().to_string()).collect();
    check_names(&args.runs, &names)?;
    let signals = Signals::register().context("cannot listen to signals")?;
    let server = Server::bind(models, config)?;
    log_to(args.json, args.log_requests);
    let url = format!("http://{}/", server.address());
    tracing::info!(%url, models = names.join(", "), "serving");
    let has_drained = server.run(|| signals.pending().is_some())?;
    anyhow::ensure!(
        has_drained,
        "some requests had not ended after {} s: allow more with --drain-seconds",
        args.drain_seconds
    );
    tracing::info!("stopped");
    Ok(())
}

/// The name and the path of `NAME=RUN`, or the path of `RUN`: what is there is a path, whatever it is called.
fn name_and_path(run: &Path) -> (Option<&str>, &Path) {
    let named = run.to_str().filter(|_| !run.exists()).and_then(|text| text.split_once('='));
    match named.filter(|(name, _)| !name.contains(['/', '\\'])) {
        Some((name, path)) => (Some(name), Path::new(path)),
        None => (None, run),
    }
}

fn load(run: &Path, device: &Device) -> anyhow::Result<ServedModel> {
    let (name, path) = name_and_path(run);
    // What is no path either may have been meant as a name before one.
    let has_name = name.is_none() && !run.exists() && run.to_string_lossy().contains('=');
    let model = match ServedModel::load(path, device) {
        Err(error) if has_name => {
            anyhow::bail!("{error}; in NAME=RUN a name has no slash or backslash")
        }
        loaded => loaded?,
    };
    match name {
        Some(name) => model.named(name).map_err(wrong_usage),
        None => Ok(model),
    }
}

/// Checks that no two runs have one name.
fn check_names(runs: &[PathBuf], names: &[String]) -> anyhow::Result<()> {
    for (index, name) in names.iter().enumerate() {
        let Some(first) = names[..index].iter().position(|other| other == name) else { continue };
        let [first, second] =
            [&runs[first], &runs[index]].map(|run| name_and_path(run).1.display());
        anyhow::bail!(
            "two runs are called {name}, {first} and {second}: name one of them, such as \
             {name}-2={second}"
        );
    }
    Ok(())
}

/// The key from the environment, which other machines need unless the user says otherwise.
fn key(host: IpAddr, no_key: bool) -> anyhow::Result<Option<ApiKey>> {
    match std::env::var(KEY) {
        Err(std::env::VarError::NotPresent) if no_key => Ok(None),
        _ if no_key => Err(wrong_usage(format!("{KEY} is set, and --no-key says there is none"))),
        Ok(key) => Ok(Some(ApiKey::new(&key).with_context(|| KEY.to_string())?)),
        Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{KEY} is not UTF-8"),
        Err(std::env::VarError::NotPresent) if host.is_loopback() => Ok(None),
        Err(std::env::VarError::NotPresent) => Err(wrong_usage(format!(
            "--host {host} can be reached from other machines: set {KEY} to a key, or say --no-key"
        ))),
    }
}

/// Logs to stderr, or as JSON to stdout.
fn log_to(json: bool, requests: bool) {
    let level = if requests { Level::DEBUG } else { Level::INFO };
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    if json {
        log.json().flatten_event(true).with_writer(std::io::stdout).init();
    } else {
        log.with_ansi(false).with_writer(std::io::stderr).init();
    }
}
