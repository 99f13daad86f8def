//! Batches of sequences of different lengths, padded to the longest.

use candle_core::{DType, Device, Tensor, WithDType};

use super::dataset::Dataset;
use super::forecast::ForecastTarget;
use super::preprocess::Preprocessor;
use super::scaler::Scaler;
use super::target::Target;
use crate::{Error, Result};

/// A batch of sequences with their targets.
#[derive(Clone, Debug)]
pub struct SequenceBatch {
    /// `(B, T, I)`, where T is the length of the longest row; zeros behind a row's end.
    pub x: Tensor,
    /// The number of steps of each row; `None` if all have T.
    pub lengths: Option<Vec<usize>>,
    /// The targets of the rows.
    pub target: BatchTarget,
}

/// The targets of a batch.
#[derive(Clone, Debug)]
pub enum BatchTarget {
    /// None.
    None,
    /// `(B,)`, `u32`: the class of each row.
    Class(Tensor),
    /// `(B, T)`, `u32`: the class of each step; zeros behind a row's end.
    StepClass(Tensor),
    /// `(B, K)`: the scaled numbers of each row.
    Numbers(Tensor),
}

/// Makes batches of a data set's sequences: preprocessed and padded.
#[derive(Clone, Debug)]
pub struct Padder {
    preprocessor: Preprocessor,
    /// How target numbers are scaled.
    target: Option<Scaler>,
    /// The target of a forecast, if that is the task.
    forecast: Option<ForecastTarget>,
    dtype: DType,
    device: Device,
}

impl Padder {
    /// A padder that makes tensors of `dtype` on `device`.
    ///
    /// # Errors
    /// [`Error::DType`] unless `dtype` is `f32` or `f64`.
    pub fn new(
        preprocessor: Preprocessor,
        target: Option<Scaler>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::DType {
                op: "pad",
                tensor: "x".into(),
                expected: "f32 or f64",
                actual: dtype.as_str().into(),
            });
        }
        Ok(Self { preprocessor, target, forecast: None, dtype, device: device.clone() })
    }

    /// A padder whose target is what follows each window, as scaled differences.
    pub fn forecasting(self, forecast: ForecastTarget) -> Self {
        Self { forecast: Some(forecast), ..self }
    }

    /// The preprocessor of the values.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// How target numbers are scaled; `None` if they are not.
    pub fn target_scaler(&self) -> Option<&Scaler> {
        self.target.as_ref()
    }

    /// Where batches are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The dtype of batches.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sequences with these numbers, as one batch.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch without sequences, [`Error::Candle`] when the tensors cannot be made.
    ///
    /// # Panics
    /// When a number is not below the data set's length.
    pub fn batch(&self, data: &Dataset, numbers: &[u32]) -> Result<SequenceBatch> {
        let batch = self.batch_without_target(data, numbers)?;
        let target = self.targets(data, numbers, batch.x.dim(1)?)?;
        Ok(SequenceBatch { target, ..batch })
    }

    /// The same without a target, whether there is one or not.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    ///
    /// # Panics
    /// As [`batch`](Self::batch).
    pub fn batch_without_target(&self, data: &Dataset, numbers: &[u32]) -> Result<SequenceBatch> {
        let lengths: Vec<usize> =
            numbers.iter().map(|number| data.seq_len(*number as usize)).collect();
        let seq_len = lengths.iter().copied().max().unwrap_or(0);
        if seq_len == 0 {
            return Err(Error::Config("a batch needs at least one sequence".into()));
        }
        let x = match self.dtype {
            DType::F64 => self.inputs::<f64>(data, numbers, seq_len)?,
            _ => self.inputs::<f32>(data, numbers, seq_len)?,
        };
        let is_ragged = lengths.iter().any(|len| *len != seq_len);
        let lengths = is_ragged.then_some(lengths);
        Ok(SequenceBatch { x, lengths, target: BatchTarget::None })
    }

    fn inputs<E: WithDType>(
        &self,
        data: &Dataset,
        numbers: &[u32],
        seq_len: usize,
    ) -> Result<Tensor> {
        let width = self.preprocessor.input_size();
        let mut x: Vec<E> = Vec::with_capacity(numbers.len() * seq_len * width);
        for (row, number) in numbers.iter().enumerate() {
            self.preprocessor.apply(data.sequence(*number as usize), &mut x);
            x.resize((row + 1) * seq_len * width, E::zero());
        }
        Ok(Tensor::from_vec(x, (numbers.len(), seq_len, width), &self.device)?)
    }

    fn targets(&self, data: &Dataset, numbers: &[u32], seq_len: usize) -> Result<BatchTarget> {
        let count = numbers.len();
        let indices = || numbers.iter().map(|number| *number as usize);
        if let Some(forecast) = &self.forecast {
            let scaler = &self.preprocessor.scaler;
            let all = indices().flat_map(|index| forecast.differences(data, index, scaler));
            let width = forecast.horizon * data.features().len();
            return self.numbers(all.collect(), (count, width));
        }
        Ok(match data.target() {
            Target::None => BatchTarget::None,
            Target::Class(_) => {
                let labels: Vec<u32> = indices().filter_map(|index| data.label(index)).collect();
                BatchTarget::Class(Tensor::from_vec(labels, count, &self.device)?)
            }
            Target::StepClass(_) => {
                let mut labels = Vec::with_capacity(count * seq_len);
                for (row, index) in indices().enumerate() {
                    labels.extend(data.step_labels(index).into_iter().flatten());
                    labels.resize((row + 1) * seq_len, 0);
                }
                BatchTarget::StepClass(Tensor::from_vec(labels, (count, seq_len), &self.device)?)
            }
            Target::Numbers(all) => {
                let width = all.names.len();
                let mut values: Vec<f64> = Vec::with_capacity(count * width);
                for index in indices() {
                    let row = data.numbers(index).unwrap_or_default();
                    values.extend(row.iter().enumerate().map(|(column, value)| {
                        let value = f64::from(*value);
                        self.target.as_ref().map_or(value, |scaler| scaler.scale(column, value))
                    }));
                }
                self.numbers(values, (count, width))?
            }
        })
    }

    fn numbers(&self, values: Vec<f64>, shape: (usize, usize)) -> Result<BatchTarget> {
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.dtype)?;
        Ok(BatchTarget::Numbers(values.to_device(&self.device)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetBuilder, LabelsBuilder, Numbers, PreprocessConfig, Scaling};

    fn builder() -> DatasetBuilder {
        let mut builder = DatasetBuilder::unnamed(1);
        for len in [3, 1, 2] {
            (0..len).for_each(|t| builder.push_step(&[(10 * len + t) as f32]).unwrap());
            builder.end_sequence().unwrap();
        }
        builder
    }

    fn batch(target: Target, numbers: &[u32]) -> SequenceBatch {
        let data = builder().build(target).unwrap();
        let config = PreprocessConfig { scaling: Scaling::None, ..Default::default() };
        let preprocessor = Preprocessor::fit(config, &data).unwrap();
        let scaler = Scaler { center: vec![1., 0.], scale: vec![2., 1.] };
        let padder = Padder::new(preprocessor, Some(scaler), DType::F64, &Device::Cpu).unwrap();
        padder.batch(&data, numbers).unwrap()
    }

    #[test]
    fn rows_are_padded_with_zeros_to_the_longest() {
        let batch = batch(Target::None, &[2, 0]);
        let x = batch.x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!((batch.x.dims(), x), (&[2, 3, 1][..], vec![20., 21., 0., 30., 31., 32.]));
        assert_eq!(batch.lengths, Some(vec![2, 3]));
    }

    #[test]
    fn rows_of_equal_lengths_need_no_lengths() {
        assert_eq!(batch(Target::None, &[1]).lengths, None);
    }

    #[test]
    fn targets_are_those_of_the_rows() {
        let mut labels = LabelsBuilder::new();
        ["a", "b", "a", "c", "c", "b"].iter().for_each(|name| labels.push(name));
        let BatchTarget::StepClass(found) =
            batch(Target::StepClass(labels.build()), &[2, 0]).target
        else {
            panic!("steps have classes");
        };
        assert_eq!(found.to_vec2::<u32>().unwrap(), [[2, 1, 0], [0, 1, 0]]);
        let numbers =
            Numbers { names: vec!["y".into(), "z".into()], values: vec![1., 2., 3., 4., 5., 6.] };
        let BatchTarget::Numbers(found) = batch(Target::Numbers(numbers), &[2, 0]).target else {
            panic!("rows have numbers");
        };
        assert_eq!(found.to_vec2::<f64>().unwrap(), [[2., 6.], [0., 2.]]);
    }
}
