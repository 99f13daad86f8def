//! The four files of a data set: their usual names and folders.

use std::fs;
use std::path::{Path, PathBuf};

use super::image_set::{ImageSet, FILES};
use crate::{Error, Result};

/// How many names of a folder an error lists.
const LISTED: usize = 12;

/// The paths of the four files of `dataset` in `folder`, or in torchvision's folders below it.
///
/// # Errors
/// [`Error::DataFile`] when a file is missing: what was looked for, and what is there.
pub(crate) fn find_files(folder: &Path, dataset: ImageSet) -> Result<[PathBuf; 4]> {
    if !folder.is_dir() {
        return Err(Error::data_file(folder, "no such folder of data files"));
    }
    let torchvision = match dataset {
        ImageSet::Mnist => "MNIST/raw",
        ImageSet::FashionMnist => "FashionMNIST/raw",
    };
    let below = [torchvision, "raw"].map(|name| folder.join(name));
    let count = |place: &Path| FILES.iter().filter(|name| find(place, name).is_some()).count();
    // All four from one folder: of those that have as many of them, the first.
    let places = below.iter().rev().map(PathBuf::as_path).chain([folder]);
    let place = places.max_by_key(|place| count(place)).unwrap_or(folder);
    let mut paths = FILES.map(PathBuf::from);
    for (name, path) in FILES.iter().zip(&mut paths) {
        *path = find(place, name).ok_or_else(|| {
            let reason = format!(
                "no such file: looked for {}, each also with .gz, here and in {torchvision} and raw below; {} {}",
                names(name).join(" and "),
                if place == folder { "the folder holds".into() } else { format!("{} holds", place.display()) },
                content(place),
            );
            Error::data_file(folder.join(name), reason)
        })?;
    }
    Ok(paths)
}

/// The names of a file: MNIST's own, and that of archives that have a dot in it.
fn names(name: &str) -> [String; 2] {
    [name.to_string(), name.replace("-idx", ".idx")]
}

/// The file of this name in `place`, under any spelling; some archives have it in a folder of its own name.
fn find(place: &Path, name: &str) -> Option<PathBuf> {
    let [hyphen, dot] = names(name);
    let spellings = [hyphen.clone(), format!("{hyphen}.gz"), dot.clone(), format!("{dot}.gz")];
    let paths = spellings.iter().map(|spelling| place.join(spelling));
    let nested = spellings.iter().map(|spelling| place.join(spelling).join(spelling));
    // A folder is no file; where there is nothing else, reading it says so.
    let file = paths.clone().chain(nested).find(|path| path.exists() && !path.is_dir());
    file.or_else(|| paths.clone().find(|path| path.exists()))
}

/// The first names in a folder, in words.
fn content(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    if names.is_empty() {
        return "nothing".into();
    }
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, names: &[&str]) {
        for name in names {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn one_file_left_over_does_not_hide_all_four() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &["train-images-idx3-ubyte"]);
        make(&folder.path().join("MNIST/raw"), &FILES);
        let paths = find_files(folder.path(), ImageSet::Mnist).unwrap();
        assert!(paths.iter().all(|path| path.starts_with(folder.path().join("MNIST/raw"))));
        // As many here as there: these.
        make(folder.path(), &FILES);
        let paths = find_files(folder.path(), ImageSet::Mnist).unwrap();
        assert_eq!(paths, FILES.map(|name| folder.path().join(name)));
    }

    #[test]
    fn files_are_found_under_the_names_of_all_archives() {
        let archives: [[&str; 4]; 5] = [
            FILES,
            FILES.map(|name| match name {
                "train-images-idx3-ubyte" => "train-images.idx3-ubyte",
                "train-labels-idx1-ubyte" => "train-labels.idx1-ubyte",
                "t10k-images-idx3-ubyte" => "t10k-images.idx3-ubyte",
                _ => "t10k-labels.idx1-ubyte.gz",
            }),
            [
                "MNIST/raw/train-images-idx3-ubyte",
                "MNIST/raw/train-labels-idx1-ubyte.gz",
                "MNIST/raw/t10k-images-idx3-ubyte",
                "MNIST/raw/t10k-labels-idx1-ubyte",
            ],
            [
                "raw/train-images.idx3-ubyte.gz",
                "raw/train-labels-idx1-ubyte",
                "raw/t10k-images-idx3-ubyte",
                "raw/t10k-labels-idx1-ubyte",
            ],
            // Each in a folder of its own name.
            [
                "train-images-idx3-ubyte/train-images-idx3-ubyte",
                "train-labels-idx1-ubyte/train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte/t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte/t10k-labels-idx1-ubyte",
            ],
        ];
        for names in archives {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path(), &names);
            let found = find_files(folder.path(), ImageSet::Mnist).unwrap();
            assert_eq!(found, names.map(|name| folder.path().join(name)));
        }
        let folder = tempfile::tempdir().unwrap();
        make(
            folder.path(),
            &FILES.map(|name| format!("FashionMNIST/raw/{name}")).each_ref().map(|n| n.as_str()),
        );
        assert!(find_files(folder.path(), ImageSet::FashionMnist).is_ok());
        assert!(find_files(folder.path(), ImageSet::Mnist).is_err());
    }

    #[test]
    fn a_missing_file_is_told_with_what_is_looked_for_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = find_files(folder.path(), ImageSet::Mnist).unwrap_err().to_string();
        assert!(
            error.contains("train-images.idx3-ubyte") && error.ends_with("holds nothing"),
            "{error}"
        );
        let names: Vec<String> = (10..30).map(|number| format!("{number}.png")).collect();
        make(folder.path(), &names.iter().map(String::as_str).collect::<Vec<_>>());
        let error = find_files(folder.path(), ImageSet::Mnist).unwrap_err().to_string();
        for said in
            ["train-images-idx3-ubyte", ".gz", "MNIST/raw", "10.png, 11.png", "21.png and 8 more"]
        {
            assert!(error.contains(said), "{said}: {error}");
        }
        assert!(!error.contains("22.png"), "{error}");
        make(folder.path(), &["raw/train-images-idx3-ubyte"]);
        let error = find_files(folder.path(), ImageSet::Mnist).unwrap_err().to_string();
        assert!(
            error.contains("train-labels-idx1-ubyte") && error.contains("raw holds train-images"),
            "{error}"
        );
    }
}
