//! Data sets fetched once into the user's cache folder.
//!
//! Sources, in order: a folder that a system package fills (Fashion-MNIST), the Hugging Face hub
//! through candle-datasets, and a [`Fetcher`] of the caller's. Whatever the source, only files
//! with the canonical SHA-256 are put in place.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use etcetera::BaseStrategy;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::files::find_files;
use super::idx;
use super::image_set::{ImageSet, COLUMNS, FILES, PIXELS, ROWS};
use crate::files::checksums::hex;
use crate::files::durable;
use crate::{Error, Result};

/// An event while a data set is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchEvent {
    /// The cached files are damaged and will be fetched again.
    Damaged {
        /// The damage.
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
/// Hears how many bytes have come.
type OnBytes<'a> = &'a mut dyn FnMut(u64);
/// The content from a source, or the reason why there is none.
type Got = std::result::Result<Contents, String>;

/// The hub is given up when nothing has arrived for so long: a network that drops packets
/// silently would otherwise hold everything up for minutes.
const HUB_PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(100);

/// The folder in the user's cache in which the files of `dataset` are kept:
/// `$XDG_CACHE_HOME/candle-rnn/NAME`, where the variable is `~/.cache` if unset.
///
/// # Errors
/// [`Error::Fetch`] when the user has no home folder.
pub fn cache_folder(dataset: ImageSet) -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy()
        .map_err(|error| Error::Fetch(format!("no cache folder: {error}")))?;
    Ok(base.cache_dir().join("candle-rnn").join(dataset.name()))
}

/// The folder on this machine that holds the four files of `dataset`, if one does: nothing is fetched.
pub fn cached(dataset: ImageSet) -> Option<PathBuf> {
    let folders = [system_folder(dataset), cache_folder(dataset).ok()];
    folders.into_iter().flatten().find(|folder| check(folder, dataset).is_ok())
}

/// A source of the caller's.
pub struct Fetcher<'a> {
    /// Its name, for [`FetchEvent`]s and errors.
    pub name: &'static str,
    /// Puts the four files, gzipped or not, into a folder and calls its second argument several times a second;
    /// or says in a line why it cannot.
    pub fetch: Fetch<'a>,
}

/// The function of a [`Fetcher`].
pub type Fetch<'a> = &'a dyn Fn(&Path, &mut dyn FnMut()) -> std::result::Result<(), String>;

/// The folder with the four files of `dataset`, which are fetched from the hub if they are not there yet.
///
/// # Errors
/// [`Error::Fetch`] when no source has the files, [`Error::Io`] when the cache folder cannot be
/// written.
pub fn ensure_cached(dataset: ImageSet, on_event: &mut dyn FnMut(FetchEvent)) -> Result<PathBuf> {
    ensure_cached_or(dataset, None, on_event)
}

/// As [`ensure_cached`]; where the hub does not have them, from a source of the caller's.
///
/// # Errors
/// As [`ensure_cached`].
pub fn ensure_cached_or(
    dataset: ImageSet,
    other: Option<Fetcher>,
    on_event: &mut dyn FnMut(FetchEvent),
) -> Result<PathBuf> {
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
            on_event(FetchEvent::Damaged { reason });
        }
        Err(_) => {}
    }
    durable::remove_leftovers(&folder)?;
    let contents = fetch(dataset, other, on_event)?;
    for (name, content) in FILES.iter().zip(&contents) {
        durable::write(&folder.join(name), content)?;
    }
    drop(lock);
    on_event(FetchEvent::Done { folder: folder.clone() });
    Ok(folder)
}

fn fetch(
    dataset: ImageSet,
    other: Option<Fetcher>,
    on_event: &mut dyn FnMut(FetchEvent),
) -> Result<Contents> {
    let mut failures = Vec::new();
    let mut attempt = |source, get: &dyn Fn(OnBytes) -> Got| {
        on_event(FetchEvent::Trying { source });
        let got = get(&mut |bytes| on_event(FetchEvent::Progress { source, bytes }))
            .and_then(|contents| verify(contents, dataset));
        got.map_err(|reason| {
            failures.push(format!("{source}: {reason}"));
            on_event(FetchEvent::Failed { source, reason });
        })
    };
    let from_hub = attempt("the Hugging Face hub", &|progress| from_hub(dataset, progress));
    let got = from_hub.or_else(|()| match other {
        Some(Fetcher { name, fetch }) => {
            attempt(name, &|progress| from_fetcher(dataset, fetch, progress))
        }
        None => Err(()),
    });
    got.map_err(|()| {
        Error::Fetch(format!("cannot fetch {}: {}", dataset.name(), failures.join("; ")))
    })
}

/// The files that a fetcher puts into a folder of its own.
fn from_fetcher(dataset: ImageSet, fetch: Fetch, progress: OnBytes) -> Got {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    fetch(folder.path(), &mut || progress(folder_size(folder.path())))?;
    let paths = find_files(folder.path(), dataset).map_err(|error| error.to_string())?;
    let mut contents = Contents::default();
    for (path, content) in paths.iter().zip(&mut contents) {
        let read = open(path).and_then(|mut stream| stream.read_to_end(content));
        read.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(contents)
}

fn system_folder(dataset: ImageSet) -> Option<PathBuf> {
    match dataset {
        ImageSet::Mnist => None,
        ImageSet::FashionMnist => Some(PathBuf::from("/usr/share/datasets/fashion-mnist")),
    }
}

/// Whether `folder` holds the four files of `dataset`, gzipped or not, with the right checksums.
fn check(folder: &Path, dataset: ImageSet) -> std::result::Result<(), String> {
    let paths = find_files(folder, dataset).map_err(|error| error.to_string())?;
    for (path, expected) in paths.iter().zip(dataset.checksums()) {
        let found = open(path).and_then(checksum);
        if found.map_err(|error| format!("{}: {error}", path.display()))? != expected {
            return Err(format!(
                "{} has another checksum than {}'s",
                path.display(),
                dataset.name()
            ));
        }
    }
    Ok(())
}

/// The content of a file, uncompressed if it ends in `.gz`.
fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let file = BufReader::new(File::open(path)?);
    let is_gzipped = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if is_gzipped { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
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

fn verify(contents: Contents, dataset: ImageSet) -> Got {
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
fn from_hub(dataset: ImageSet, progress: OnBytes) -> Got {
    use candle_datasets::vision::{fashion_mnist, mnist};
    let (sender, receiver) = mpsc::channel();
    // A thread that hangs in a connect cannot be stopped: it is left behind and ends with the
    // process. One that panics (candle-datasets unwraps) just drops its sender.
    std::thread::spawn(move || {
        let loaded = match dataset {
            ImageSet::Mnist => mnist::load(),
            ImageSet::FashionMnist => fashion_mnist::load(),
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
fn hub_folder(dataset: ImageSet) -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let name = match dataset {
        ImageSet::Mnist => "datasets--ylecun--mnist",
        ImageSet::FashionMnist => "datasets--zalando-datasets--fashion_mnist",
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

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}

/// The message of the hub's client without the file's address, with which it ends twice.
fn without_address(text: &str) -> String {
    text.split(" for url (").next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_with_another_checksum_are_refused() {
        let error = verify(Contents::default(), ImageSet::Mnist).unwrap_err();
        assert!(error.contains("train-images-idx3-ubyte has SHA-256 e3b0c44"), "{error}");
    }

    #[test]
    fn a_folder_without_the_right_files_is_not_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path(), ImageSet::Mnist).unwrap_err().contains("no such file"));
        for name in FILES {
            fs::write(folder.path().join(name), b"something else").unwrap();
        }
        assert!(check(folder.path(), ImageSet::Mnist).unwrap_err().contains("another checksum"));
    }

    #[test]
    fn a_fetchers_files_are_read_plain_or_gzipped() {
        let fetch = |folder: &Path, _: &mut dyn FnMut()| {
            for name in &FILES[1..] {
                fs::write(folder.join(name), name).unwrap();
            }
            let file = File::create(folder.join(FILES[0]).with_extension("gz")).unwrap();
            let mut gzipped = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            std::io::Write::write_all(&mut gzipped, FILES[0].as_bytes()).unwrap();
            gzipped.finish().unwrap();
            Ok(())
        };
        let contents = from_fetcher(ImageSet::Mnist, &fetch, &mut |_| {}).unwrap();
        assert_eq!(contents, FILES.map(|name| name.as_bytes().to_vec()));
        let nothing = |_: &Path, _: &mut dyn FnMut()| Ok(());
        let error = from_fetcher(ImageSet::Mnist, &nothing, &mut |_| {}).unwrap_err();
        assert!(error.contains("no such file"), "{error}");
    }
}
