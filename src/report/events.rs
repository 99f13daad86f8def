//! TensorBoard's event files: framed protocol buffers.
//!
//! A record is its length as a little-endian `u64`, that length's checksum, the bytes, and theirs; a checksum
//! is a masked CRC-32C. The bytes are a `tensorflow.Event`: wall time, step, and what happened.
//!
//! # Source
//! TensorFlow's `core/lib/io/record_writer.h` and `core/util/event.proto`, `core/framework/summary.proto`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::files::protobuf::Message;
use crate::run::layout::EVENTS;
use crate::train::{EpochMetrics, Event};
use crate::{Error, Result};

/// The losses of how many steps go into one number.
const STEPS: u64 = 10;

/// Records a training for TensorBoard: `tensorboard --logdir RUN`.
///
/// Each process writes a file of its own; one that resumes a run says so, and TensorBoard forgets what the one
/// before recorded of later steps. A record is in the file at once, not synced: nothing is resumed from it.
pub struct EventFile {
    path: PathBuf,
    file: File,
    step: u64,
    /// Losses since the last record, and their number.
    losses: (f64, u64),
}

impl EventFile {
    /// Creates a file in the folder of a run that has done `step` optimizer steps; `ends_epoch` if the end of
    /// the epoch to which the last of them belongs is still to come.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn create(run: &Path, step: u64, ends_epoch: bool) -> Result<Self> {
        let now = now();
        // Two processes of one second do not share a run, but one may follow the other.
        let name = |number: u32| format!("{EVENTS}{:010}.candle-rnn.{number}", now as u64);
        let mut number = 0;
        let (path, file) = loop {
            let path = run.join(name(number));
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io(&path, "write the file")(error)),
            }
        };
        let mut events = Self { path, file, step, losses: (0., 0) };
        let mut version = event_at(now, 0);
        version.bytes(3, b"brain.Event:2");
        events.write(version)?;
        // What was recorded of later steps is void, and of this one where its epoch will be recorded anew.
        let mut restarted = event_at(now, if ends_epoch { step } else { step + 1 });
        let mut log = Message::default();
        log.int(1, 1);
        restarted.message(7, &log);
        events.write(restarted)?;
        Ok(events)
    }

    /// Records the epoch that ended with optimizer step `step` in a file of its own, where the run has event files and none
    /// has it: the process that saved the epoch was killed before it had recorded it.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read or written.
    pub fn complete(run: &Path, step: u64, metrics: &EpochMetrics) -> Result<()> {
        let expected = summary_at(step, &values_of(metrics)).into_bytes();
        let mut has_files = false;
        for entry in std::fs::read_dir(run).map_err(Error::io(run, "read the folder"))? {
            let path = entry.map_err(Error::io(run, "read the folder"))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(EVENTS) {
                continue;
            }
            has_files = true;
            let bytes = std::fs::read(&path).map_err(Error::io(&path, "read the file"))?;
            if bytes.windows(expected.len()).any(|part| part == expected) {
                return Ok(());
            }
        }
        if !has_files {
            return Ok(());
        }
        Self::create(run, step, false)?.record(&Event::Epoch(metrics.clone()))
    }

    /// Records an event.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn record(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Step { loss, .. } => {
                self.step += 1;
                self.losses = (self.losses.0 + loss, self.losses.1 + 1);
                if self.step.is_multiple_of(STEPS) {
                    let mean = self.losses.0 / self.losses.1 as f64;
                    self.losses = (0., 0);
                    self.scalars(&[("loss/batch".into(), mean)])?;
                }
                Ok(())
            }
            Event::Epoch(metrics) => self.scalars(&values_of(metrics)),
            Event::Done => Ok(()),
        }
    }

    /// An event with these values, each under its tag.
    fn scalars(&mut self, values: &[(String, f64)]) -> Result<()> {
        let mut event = summary_at(self.step, values);
        event.double(1, now());
        self.write(event)
    }

    fn write(&mut self, event: Message) -> Result<()> {
        let bytes = event.into_bytes();
        let length = (bytes.len() as u64).to_le_bytes();
        let record = [&length[..], &checksum(&length), &bytes, &checksum(&bytes)].concat();
        self.file.write_all(&record).map_err(Error::io(&self.path, "write the file"))
    }
}

/// An epoch's values, each under its tag.
fn values_of(metrics: &EpochMetrics) -> Vec<(String, f64)> {
    let known = [
        ("epoch", Some(metrics.epoch as f64)),
        ("loss/train", Some(metrics.train_loss)),
        ("loss/valid", Some(metrics.valid_loss)),
        ("accuracy/batch", metrics.acc_batch),
        ("accuracy/valid", metrics.valid_accuracy),
        ("learning_rate", Some(metrics.learning_rate)),
        ("examples_per_second", Some(metrics.examples_per_second)),
    ];
    let known = known.into_iter().filter_map(|(tag, value)| Some((tag.to_string(), value?)));
    let others = metrics.metrics.iter().map(|(name, value)| (tag_of(name), *value));
    known.chain(others).collect()
}

/// An event without its wall time: its step, and values under their tags.
fn summary_at(step: u64, values: &[(String, f64)]) -> Message {
    let mut summary = Message::default();
    for (tag, value) in values {
        let mut scalar = Message::default();
        scalar.text(1, tag);
        scalar.float(2, *value as f32);
        summary.message(1, &scalar);
    }
    let mut event = Message::default();
    event.int(2, step as i64);
    event.message(5, &summary);
    event
}

/// The tag of another metric: `rmse/valid` for `valid_rmse`.
fn tag_of(name: &str) -> String {
    name.strip_prefix("valid_").map_or(name.to_string(), |name| format!("{name}/valid"))
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A CRC-32C that may itself be part of what another is computed of.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// An event with its wall time and its step.
fn event_at(wall_time: f64, step: u64) -> Message {
    let mut event = Message::default();
    event.double(1, wall_time);
    event.int(2, step as i64);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_tensorflow() {
        // Of the eight bytes of the length 24, in a file that TensorFlow wrote.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&24u64.to_le_bytes()), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_loss_is_in_the_file_before_its_epoch_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 0, false).unwrap();
        let recorded = |events: &EventFile| {
            let bytes = std::fs::read(&events.path).unwrap();
            bytes.windows(10).filter(|part| part == b"loss/batch").count()
        };
        for batch in 1..=20 {
            let step = Event::Step { epoch: 1, batch, batches: 99, examples: 1, loss: 2. };
            events.record(&step).unwrap();
            assert_eq!(recorded(&events), batch / 10);
        }
    }
}
