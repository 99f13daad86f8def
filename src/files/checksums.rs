//! SHA-256 checksums, and the file `SHA256SUMS` of a folder, as `sha256sum -c` reads it.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The name of the file.
pub(crate) const NAME: &str = "SHA256SUMS";

/// The content of the file: a line a file, sorted by name.
pub(super) fn of(files: &[(&str, &[u8])]) -> String {
    let mut lines: Vec<(&str, String)> =
        files.iter().map(|(name, content)| (*name, line(name, content))).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

/// Holds the files of `folder` to the content of their `SHA256SUMS`, in which no bit may differ
/// either: a digest in capitals is damage, too.
///
/// # Errors
/// [`Error::Checkpoint`] with the path of a file that has another digest, or of `SHA256SUMS`.
pub(super) fn verify(folder: &Path, sums: &[u8], files: &[(&str, &[u8])]) -> Result<()> {
    if sums == of(files).as_bytes() {
        return Ok(());
    }
    let lines: Vec<&[u8]> = sums.split(|byte| *byte == b'\n').collect();
    let differs = |(name, content): &&(&str, &[u8])| {
        let line = line(name, content);
        !lines.contains(&line.as_bytes())
    };
    Err(match files.iter().find(differs) {
        Some((name, _)) => Error::checkpoint(
            folder.join(name),
            format!("damaged: its SHA-256 is not the one that {NAME} has, or {NAME} is damaged"),
        ),
        None => Error::checkpoint(
            folder.join(NAME),
            "damaged: the sums are right, but the lines are not as they were written",
        ),
    })
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(name: &str, content: &[u8]) -> String {
    // Two spaces, as sha256sum writes them.
    format!("{}  {name}", hex(&Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &[u8]); 2] = [("b", b"abc"), ("a", b"")];

    #[test]
    fn the_sums_are_the_ones_that_sha256sum_writes() {
        let expected = "\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n";
        assert_eq!(of(&FILES), expected);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_the_sums_is_an_error() {
        let folder = Path::new("folder");
        let sums = of(&FILES).into_bytes();
        assert!(verify(folder, &sums, &FILES).is_ok());
        for bit in 0..8 * sums.len() {
            let mut damaged = sums.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(folder, &damaged, &FILES).is_err(), "bit {bit}");
        }
        for length in 0..sums.len() {
            assert!(verify(folder, &sums[..length], &FILES).is_err(), "length {length}");
        }
    }

    #[test]
    fn the_file_that_differs_is_the_one_that_is_named() {
        let folder = Path::new("folder");
        let sums = of(&FILES);
        let named = |sums: &str, files: &[(&str, &[u8])]| {
            verify(folder, sums.as_bytes(), files).unwrap_err().to_string()
        };
        for (index, name) in [(0, "b"), (1, "a")] {
            let mut files = FILES;
            files[index].1 = b"other";
            assert!(named(&sums, &files).starts_with(&format!("folder/{name}: ")));
        }
        assert!(named(sums.trim_end(), &FILES).starts_with("folder/SHA256SUMS: "));
        assert!(named(&format!("{sums}\n"), &FILES).starts_with("folder/SHA256SUMS: "));
    }
}
