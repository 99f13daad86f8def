//! Inputs that are rows of a table, looked up by number.

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// The numbers in a tensor of any shape, in the order of its elements.
///
/// - `ids`: `u8`, `u32` or `i64`, each below `table_rows`
///
/// They are checked on the CPU: on a device that waits for it, where they are there already.
///
/// # Errors
/// [`Error::Config`] for a number out of range, [`Error::DType`] for other dtypes, [`Error::Candle`] when Candle fails.
pub(crate) fn read_ids(ids: &Tensor, table_rows: usize) -> Result<Vec<u32>> {
    if !matches!(ids.dtype(), DType::U8 | DType::U32 | DType::I64) {
        return Err(Error::DType {
            op: "embedding",
            tensor: "ids".into(),
            expected: "u8, u32 or i64",
            actual: ids.dtype().as_str().into(),
        });
    }
    let numbers = ids.to_device(&Device::Cpu)?.flatten_all()?.to_dtype(DType::I64)?;
    let check = |id: i64| {
        match u32::try_from(id) {
        Ok(id) if (id as usize) < table_rows => Ok(id),
        _ => Err(Error::Config(format!(
            "embedding: the number {id} is out of range: there are {table_rows} embeddings, 0 to {}",
            table_rows - 1
        ))),
    }
    };
    // As `u32`: of an index Candle takes the largest that its dtype has, 255 say, for padding.
    numbers.to_vec1::<i64>()?.into_iter().map(check).collect()
}

/// The rows of a table by their numbers.
///
/// - `table`: `(V, I)`; `ids`: each below V; `shape`: that of the result, `(.., I)`
///
/// # Errors
/// [`Error::Candle`] when Candle fails.
pub(crate) fn look_up(table: &Tensor, ids: Vec<u32>, shape: &[usize]) -> Result<Tensor> {
    if ids.is_empty() {
        return Ok(Tensor::zeros(shape, table.dtype(), table.device())?);
    }
    let ids = Tensor::new(ids, table.device())?;
    Ok(table.index_select(&ids, 0)?.reshape(shape)?)
}
