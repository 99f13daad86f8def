//! IDX files, plain or gzipped: the format MNIST comes in.
//!
//! A big-endian header (magic number, then a 32-bit size per dimension) and unsigned bytes. A file
//! must hold exactly what its header promises, and nothing is allocated on the header's word alone.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;

/// The images of one IDX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// `(N, rows, columns)`, 0 (background) to 255 (ink).
    pub pixels: Vec<u8>,
    /// N.
    pub count: usize,
    /// Rows of each image.
    pub rows: usize,
    /// Columns of each image.
    pub columns: usize,
}

/// Reads an IDX file of images (magic number `0x00000803`), gzipped or not.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::DataFile`] when it is not such a file or
/// holds more or less than its header promises.
pub fn read_images(path: &Path) -> Result<Images> {
    let ([count, rows, columns], pixels) = read(path, IMAGES_MAGIC, "images")?;
    Ok(Images { pixels, count, rows, columns })
}

/// Reads an IDX file of labels (magic number `0x00000801`), gzipped or not.
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: &Path) -> Result<Vec<u8>> {
    Ok(read::<1>(path, LABELS_MAGIC, "labels")?.1)
}

/// As [`read_images`], from the content of a file; `name` stands in for its path in errors.
///
/// # Errors
/// [`Error::DataFile`], as [`read_images`].
pub fn parse_images(content: &[u8], name: &Path) -> Result<Images> {
    let ([count, rows, columns], pixels) = parse(content, name, IMAGES_MAGIC, "images")?;
    Ok(Images { pixels, count, rows, columns })
}

/// As [`read_labels`], from the content of a file; `name` stands in for its path in errors.
///
/// # Errors
/// [`Error::DataFile`], as [`read_images`].
pub fn parse_labels(content: &[u8], name: &Path) -> Result<Vec<u8>> {
    Ok(parse::<1>(content, name, LABELS_MAGIC, "labels")?.1)
}

/// The header that [`read_images`] expects before `count` images.
pub fn images_header(count: u32, rows: u32, columns: u32) -> Vec<u8> {
    [IMAGES_MAGIC, count, rows, columns].iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// The header that [`read_labels`] expects before `count` labels.
pub fn labels_header(count: u32) -> Vec<u8> {
    [LABELS_MAGIC, count].iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn read<const DIMS: usize>(
    path: &Path,
    magic: u32,
    kind: &str,
) -> Result<([usize; DIMS], Vec<u8>)> {
    let mut file = File::open(path).map_err(Error::io(path, "open the file"))?;
    let metadata = file.metadata().map_err(Error::io(path, "read the file"))?;
    if metadata.is_dir() {
        return Err(Error::data_file(path, "is a folder, not an IDX file"));
    }
    // A plain file's size is known before anything is read; a gzipped one's only after.
    let mut start = [0; 2];
    let read = read_up_to(&mut file, &mut start).map_err(Error::io(path, "read the file"))?;
    let start = &start[..read];
    let size = metadata.len();
    let whole = start.chain(file);
    if start == [0x1f, 0x8b] {
        parse_gzip(BufReader::new(whole), size, path, magic, kind)
    } else {
        parse_stream(whole, Size::Plain(size), path, magic, kind)
    }
}

fn parse<const DIMS: usize>(
    content: &[u8],
    name: &Path,
    magic: u32,
    kind: &str,
) -> Result<([usize; DIMS], Vec<u8>)> {
    if content.starts_with(&[0x1f, 0x8b]) {
        parse_gzip(content, content.len() as u64, name, magic, kind)
    } else {
        parse_stream(content, Size::Plain(content.len() as u64), name, magic, kind)
    }
}

fn parse_gzip<const DIMS: usize>(
    compressed: impl std::io::BufRead,
    size: u64,
    path: &Path,
    magic: u32,
    kind: &str,
) -> Result<([usize; DIMS], Vec<u8>)> {
    parse_stream(MultiGzDecoder::new(compressed), Size::Gzipped(size), path, magic, kind)
}

/// How many bytes there are.
#[derive(Clone, Copy)]
enum Size {
    /// The size of the file as it is read.
    Plain(u64),
    /// The size of the gzip data, which may hold a thousand times as much.
    Gzipped(u64),
}

/// The limit on unpacked gzip data, beyond sixteen times their own size: pictures with much paper, as EMNIST's, shrink
/// to a seventh or so; not the gigabytes that a few kilobytes can stand for.
const GZIPPED_LIMIT: u64 = 48 << 20;

/// Reads header and body from `stream`.
fn parse_stream<const DIMS: usize>(
    mut stream: impl Read,
    size: Size,
    path: &Path,
    magic: u32,
    kind: &str,
) -> Result<([usize; DIMS], Vec<u8>)> {
    let fail = |reason: String| Error::data_file(path, reason);
    let header_size = 4 + 4 * DIMS;
    let mut header = [0; 16];
    let header = &mut header[..header_size];
    let got = read_up_to(&mut stream, header).map_err(|e| unreadable(path, size, e))?;
    let words: Vec<u32> =
        header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect();
    if got >= 4 && words[0] != magic {
        return Err(fail(format!(
            "not an IDX file of {kind}: its magic number is 0x{:08x}, not 0x{magic:08x}",
            words[0]
        )));
    }
    if got < header_size {
        return Err(fail(format!(
            "truncated: an IDX file of {kind} begins with {header_size} bytes of header, this one \
             has {got}"
        )));
    }
    let mut dims = [0; DIMS];
    for (dim, word) in dims.iter_mut().zip(&words[1..]) {
        *dim = *word as usize;
    }
    let promised = dims
        .iter()
        .try_fold(1u64, |product, dim| product.checked_mul(*dim as u64))
        .filter(|n| usize::try_from(*n).is_ok_and(|n| n <= isize::MAX as usize))
        .ok_or_else(|| fail(format!("its header promises an impossible size: {dims:?} {kind}")))?;
    match size {
        Size::Plain(size) => {
            // What is no regular file, a pipe say, has size 0 and content all the same.
            let held = size.saturating_sub(header_size as u64);
            compare(held, promised, &dims, kind).map_err(&fail)?;
        }
        Size::Gzipped(size) => {
            let limit = size.saturating_mul(16).saturating_add(GZIPPED_LIMIT);
            if promised > limit {
                return Err(fail(format!(
                    "its header promises {promised} bytes of {kind} ({dims:?}), too many for {size} \
                     bytes of gzip data: unpack it if it is to be trusted"
                )));
            }
        }
    }
    // The file holds them, or they are few: this much memory is not just the header's word.
    let mut body = Vec::new();
    body.reserve_exact(promised as usize + 1);
    // One byte more than promised, to see whether there is one.
    stream
        .take(promised + 1)
        .read_to_end(&mut body)
        .map_err(|error| unreadable(path, size, error))?;
    compare(body.len() as u64, promised, &dims, kind).map_err(&fail)?;
    body.shrink_to_fit();
    Ok((dims, body))
}

fn compare(
    held: u64,
    promised: u64,
    dims: &[usize],
    kind: &str,
) -> std::result::Result<(), String> {
    let promise = format!("its header promises {promised} bytes of {kind} ({dims:?})");
    match held.cmp(&promised) {
        std::cmp::Ordering::Less => Err(format!("truncated: {promise}, it holds {held}")),
        std::cmp::Ordering::Greater => Err(format!("too long: {promise}, more bytes follow")),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// A read error of the decoder is the file's fault, one of a plain file the operating system's.
fn unreadable(path: &Path, size: Size, source: std::io::Error) -> Error {
    match size {
        Size::Gzipped(_) => {
            Error::data_file(path, format!("damaged or truncated gzip data: {source}"))
        }
        Size::Plain(_) => {
            Error::Io { path: path.to_path_buf(), action: "read the file", cause: source }
        }
    }
}

/// Fills `buffer` as far as `stream` reaches and says how far that was.
fn read_up_to(stream: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{write::GzEncoder, Compression};
    use std::io::Write;

    fn images(count: u32, pixels: usize) -> Vec<u8> {
        let mut content = images_header(count, 2, 3);
        content.extend((0..pixels).map(|i| i as u8));
        content
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Parses `content` from memory and from a file, plain and gzipped: all must agree.
    fn outcome(content: &[u8]) -> std::result::Result<Images, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut outcomes = Vec::new();
        for content in [content.to_vec(), gzip(content)] {
            let path = folder.path().join("images");
            std::fs::write(&path, &content).unwrap();
            outcomes.push(read_images(&path));
            outcomes.push(parse_images(&content, &path));
        }
        let mut outcomes: Vec<_> = outcomes
            .into_iter()
            .map(|o| o.map_err(|e| e.to_string().rsplit("/images: ").next().unwrap().to_string()))
            .collect();
        let first = outcomes.pop().unwrap();
        for other in outcomes {
            assert_eq!(other.is_ok(), first.is_ok(), "{other:?} {first:?}");
            if let (Ok(a), Ok(b)) = (&other, &first) {
                assert_eq!(a, b);
            }
        }
        first
    }

    #[test]
    fn plain_and_gzipped_files_are_read_alike() {
        let read = outcome(&images(4, 24)).unwrap();
        assert_eq!((read.count, read.rows, read.columns), (4, 2, 3));
        assert_eq!(read.pixels, (0..24).collect::<Vec<u8>>());
    }

    #[test]
    fn a_file_that_holds_less_than_promised_is_refused() {
        for bytes in [0, 1, 23] {
            assert!(outcome(&images(4, bytes)).unwrap_err().contains("truncated"));
        }
        for cut in 0..16 {
            assert!(outcome(&images(4, 24)[..cut]).unwrap_err().contains("truncated"), "{cut}");
        }
    }

    #[test]
    fn a_file_that_holds_more_than_promised_is_refused() {
        assert!(outcome(&images(4, 25)).unwrap_err().contains("too long"));
    }

    #[test]
    fn a_wrong_magic_number_is_refused_and_named() {
        let mut content = images(4, 24);
        content[3] = 1;
        assert!(outcome(&content).unwrap_err().contains("0x00000801, not 0x00000803"));
    }

    #[test]
    fn a_header_that_promises_too_much_is_refused_unallocated() {
        for dims in [[u32::MAX, u32::MAX, u32::MAX], [u32::MAX, 28, 28], [1 << 30, 1 << 5, 1]] {
            let mut content = images_header(dims[0], dims[1], dims[2]);
            content.extend([0; 100]);
            let error = outcome(&content).unwrap_err();
            let said = ["truncated", "impossible", "too many for"];
            assert!(said.iter().any(|text| error.contains(text)), "{error}");
        }
    }

    #[test]
    fn a_gzip_bomb_is_refused_before_it_is_unpacked() {
        let zeros = vec![0; 60 << 20];
        let bomb = gzip(&[images_header(60 << 10, 32, 32), zeros].concat());
        assert!(bomb.len() < 1 << 20);
        let error = parse_images(&bomb, Path::new("images.gz")).unwrap_err().to_string();
        assert!(error.contains("too many for"), "{error}");
        // The size of MNIST's training images is not too much, however well they shrink.
        let zeros = vec![0; 60_000 * 784];
        let digits = gzip(&[images_header(60_000, 28, 28), zeros].concat());
        assert_eq!(parse_images(&digits, Path::new("images.gz")).unwrap().count, 60_000);
    }

    #[test]
    fn damaged_gzip_data_is_refused() {
        let whole = gzip(&images(4, 24));
        let name = Path::new("images.gz");
        for cut in 2..whole.len() {
            let error = parse_images(&whole[..cut], name).unwrap_err().to_string();
            assert!(error.contains("gzip") || error.contains("truncated"), "{cut}: {error}");
        }
        let mut flipped = whole.clone();
        let crc = whole.len() - 6;
        flipped[crc] ^= 1;
        assert!(parse_images(&flipped, name).unwrap_err().to_string().contains("gzip"));
        let mut trailing = whole;
        trailing.extend(b"trailing");
        assert!(parse_images(&trailing, name).is_err());
    }
}
