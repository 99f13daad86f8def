//! Digits of MNIST that the page has as buttons.

use serde_json::{json, Value};

use crate::data::mnist::Mnist;
use crate::Result;

/// One digit of each class, of MNIST's test images: `label`, and `pixels` `(784,)`.
///
/// # Errors
/// [`Error::DataFile`](crate::Error::DataFile) when the sample in this library cannot be read.
pub(crate) fn samples() -> Result<Value> {
    let data = Mnist::sample()?;
    let digit = |label: u8| {
        let index = data.test.labels().iter().position(|found| *found == label)?;
        Some(json!({ "label": label.to_string(), "pixels": data.test.image(index) }))
    };
    let digits: Vec<Value> = (0..10).filter_map(digit).collect();
    Ok(json!({ "samples": digits }))
}
