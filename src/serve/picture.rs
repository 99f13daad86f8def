//! `PictureReader`: PNG and JPEG pictures of requests as digits, by what `predict` does with files.

use std::io::Cursor;
use std::sync::Arc;

use hyper::body::Bytes;
use image::ImageReader;
use tokio::sync::Semaphore;

use super::http_error::HttpError;
use crate::data::picture::{digit_in, Digit};

/// No side of a picture may be longer: a small file can hold a picture that takes gigabytes.
const MAX_SIDE: u32 = 8_192;
/// The most pixels.
const MAX_PIXELS: u64 = 24 << 20;

/// Reads pictures, as many at a time as there are processors.
#[derive(Debug)]
pub(super) struct PictureReader(Arc<Semaphore>);

impl PictureReader {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(processors)))
    }

    /// The digit in a PNG or JPEG picture.
    ///
    /// # Errors
    /// 400 for what is no picture, 413 for one that is too large, 422 for one that shows nothing.
    pub(super) async fn read(&self, content: Bytes) -> Result<Digit, HttpError> {
        let closed = |_| HttpError::internal("the server ends");
        let slot = self.0.clone().acquire_owned().await.map_err(closed)?;
        let read = tokio::task::spawn_blocking(move || {
            // Held until the picture is read, even if nobody waits for it any more.
            let _slot = slot;
            digit(&content)
        });
        read.await.map_err(|_| HttpError::internal("the picture cannot be read"))?
    }
}

fn digit(content: &[u8]) -> Result<Digit, HttpError> {
    let (width, height) = size(content)?;
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(HttpError::new(
            hyper::StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the picture has {width} x {height} pixels: at most {MAX_SIDE} a side and {MAX_PIXELS} in all are read"
            ),
        ));
    }
    digit_in(content).map_err(|reason| {
        if reason.starts_with("shows no digit") {
            HttpError::unfit(format!("the picture {reason}"))
        } else {
            HttpError::malformed(format!("the picture is {reason}"))
        }
    })
}

/// Width and height, by the head of the file.
fn size(content: &[u8]) -> Result<(u32, u32), HttpError> {
    let reader = ImageReader::new(Cursor::new(content)).with_guessed_format();
    let size = reader.map_err(image::ImageError::IoError).and_then(ImageReader::into_dimensions);
    size.map_err(|error| HttpError::malformed(format!("not a PNG or JPEG picture: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageFormat};

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut content = Cursor::new(Vec::new());
        let picture = GrayImage::new(width, height);
        picture.write_to(&mut content, ImageFormat::Png).unwrap();
        content.into_inner()
    }

    #[test]
    fn bad_pictures_have_a_status_each() {
        for (content, status) in [
            (b"GIF89a".to_vec(), 400),
            (Vec::new(), 400),
            (png(28, 28)[..40].to_vec(), 400),
            (png(28, 28), 422),
            (png(MAX_SIDE + 1, 1), 413),
        ] {
            let error = digit(&content).unwrap_err();
            assert_eq!(error.status.as_u16(), status, "{error:?}");
        }
    }
}
