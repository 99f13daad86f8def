//! `NumberList`: numbers in nested JSON lists, read without a value for each.

use super::http_error::HttpError;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

/// Numbers in nested JSON lists of equal lengths, row by row; `null` is NaN, a missing value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NumberList {
    pub(super) values: Vec<f64>,
    /// The length of each level of lists, the outermost first.
    pub(super) shape: Vec<usize>,
}

impl NumberList {
    /// The numbers as pixels.
    ///
    /// # Errors
    /// As [`pixel`].
    pub(super) fn pixels(&self) -> Result<Vec<u8>, HttpError> {
        self.values.iter().copied().map(pixel).collect()
    }
}

/// A number as a pixel.
///
/// # Errors
/// 422 for one that is no whole number from 0 to 255.
pub(super) fn pixel(value: f64) -> Result<u8, HttpError> {
    if value.fract() == 0. && (0. ..=255.).contains(&value) {
        return Ok(value as u8);
    }
    Err(HttpError::unfit(format!("pixels are whole numbers from 0 to 255, got {value}")))
}

impl<'de> Deserialize<'de> for NumberList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::new();
        let shape = Nested(&mut values).deserialize(deserializer)?;
        if shape.is_empty() {
            return Err(D::Error::custom("expected a list of numbers, got a single one"));
        }
        Ok(Self { values, shape })
    }
}

/// The values of a step: a list of numbers, or a single one; `null` is NaN, a missing value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StepValues(pub(super) Vec<f64>);

impl<'de> Deserialize<'de> for StepValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::new();
        let shape = Nested(&mut values).deserialize(deserializer)?;
        if shape.len() > 1 {
            return Err(D::Error::custom("a step is a list of numbers, got lists in it"));
        }
        Ok(Self(values))
    }
}

/// Adds the numbers of a level of lists and returns its shape; that of a number is empty.
struct Nested<'a>(&'a mut Vec<f64>);

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<usize>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a number, null or a list of them")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Vec<usize>, E> {
        self.0.push(value);
        Ok(Vec::new())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Vec<usize>, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Vec<usize>, E> {
        self.visit_f64(value as f64)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<usize>, E> {
        self.visit_f64(f64::NAN)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<usize>, A::Error> {
        let mut inner: Option<Vec<usize>> = None;
        let mut count = 0;
        while let Some(found) = list.next_element_seed(Nested(&mut *self.0))? {
            count += 1;
            let expected = inner.get_or_insert_with(|| found.clone());
            // Of numbers there is nothing to compare, and comparing nothing is slow where libc masks the load.
            let are_numbers = expected.is_empty() && found.is_empty();
            if !are_numbers && *expected != found {
                return Err(A::Error::custom(format!(
                    "lists side by side differ in shape: {expected:?} and, at number {count}, {found:?}"
                )));
            }
        }
        Ok([vec![count], inner.unwrap_or_default()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NumberList, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn nested_lists_are_flat_with_their_shape() {
        let list = read("[[1, -2, 2.5], [4e0, 5, 6]]").unwrap();
        assert_eq!(list.shape, [2, 3]);
        assert_eq!(list.values, [1., -2., 2.5, 4., 5., 6.]);
        assert_eq!(read("[]").unwrap().shape, [0]);
        let list = read("[[1], [null]]").unwrap();
        assert!(list.values[1].is_nan());
    }

    #[test]
    fn what_is_no_regular_list_of_numbers_is_refused() {
        for wrong in ["3", "[1, [2]]", "[[1, 2], [3]]", "[true]", "[\"1\"]", "[NaN]", "{}", "[1,"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(&deep).is_err());
    }

    #[test]
    fn pixels_are_whole_numbers_up_to_255() {
        assert_eq!(read("[0, 255, 17.0]").unwrap().pixels().unwrap(), [0, 255, 17]);
        for (text, wrong) in [("[0.5]", "0.5"), ("[256]", "256"), ("[-1]", "-1"), ("[null]", "NaN")]
        {
            let error = read(text).unwrap().pixels().unwrap_err();
            assert!(error.status == 422 && error.message.ends_with(wrong), "{error:?}");
        }
    }
}
