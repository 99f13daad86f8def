//! Predictions of files that may be larger than memory.

use std::path::Path;

use super::sequences::SequencePredictor;
use crate::data::formats::{ReadOptions, SequenceFile};
use crate::data::Dataset;
use crate::train::tasks::{Report, ReportCounter};
use crate::{Error, Result};

impl SequencePredictor {
    /// Reads a file to its end: what [`predict`](Self::predict) would refuse is found here, before the first prediction.
    ///
    /// ```no_run
    /// # fn main() -> candle_rnn::Result<()> {
    /// use candle_rnn::data::formats::ReadOptions;
    /// use candle_rnn::predict::SequencePredictor;
    ///
    /// let model = SequencePredictor::load("runs/0001")?;
    /// let file = model.scan("large.csv", &ReadOptions::default())?;
    /// file.for_each_block(|block| {
    ///     for (index, prediction) in model.predict(block)?.iter().enumerate() {
    ///         println!("{} {prediction:?}", block.id(index));
    ///     }
    ///     Ok::<(), candle_rnn::Error>(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`SequenceFile::scan`]; [`Error::DataFile`] for what [`check`](Self::check) finds.
    pub fn scan(&self, path: impl AsRef<Path>, options: &ReadOptions) -> Result<SequenceFile> {
        let path = path.as_ref();
        let mut wrong = None;
        let mut see = |block: &Dataset| {
            if wrong.is_none() {
                wrong = self.known(block).err();
            }
        };
        let file = SequenceFile::scan(path, options, &mut see)?;
        let checked = match file.outline() {
            None => file.held().map_or(Ok(()), |data| self.check(data)),
            Some(found) => {
                let preprocessor = &self.spec().preprocessor;
                preprocessor
                    .check_features(&found.features, &found.missing)
                    .and(wrong.map_or(Ok(()), Err))
            }
        };
        checked.map_err(of_file(path))?;
        Ok(file)
    }

    /// As [`report`](Self::report), of the sequences of a file.
    ///
    /// # Errors
    /// As [`SequenceFile::scan`]; [`Error::DataFile`] for what [`report`](Self::report) finds.
    pub fn report_file(&self, path: impl AsRef<Path>, options: &ReadOptions) -> Result<Report> {
        let path = path.as_ref();
        let file = SequenceFile::scan(path, options, &mut |_| {})?;
        self.report_blocks(&file).map_err(of_file(path))
    }

    fn report_blocks(&self, file: &SequenceFile) -> Result<Report> {
        let spec = self.spec();
        let Some(found) = file.outline() else {
            return file
                .held()
                .map_or(Err(Error::Config("no data".into())), |data| self.report(data));
        };
        spec.preprocessor.check_features(&found.features, &found.missing)?;
        spec.renamed(&found.target)?;
        let mut counter = ReportCounter::new(spec)?;
        let (training, mut is_empty) = (&self.config().task.training, true);
        file.for_each_block(|block| {
            let mut data = spec.data(block.clone())?;
            if spec.forecast.is_some() {
                data = data.windows(training.window, training.horizon, |len| 0..len);
            }
            is_empty &= data.is_empty();
            counter.measure(self.model(), self.padder(), &data)
        })?;
        if is_empty {
            return Err(self.nothing_to_forecast(found.longest));
        }
        Ok(counter.report())
    }
}

/// Says of an error in data which file they were read from.
fn of_file(path: &Path) -> impl Fn(Error) -> Error + '_ {
    move |error| match error {
        Error::Config(reason) => Error::data_file(path, reason),
        error => error,
    }
}
