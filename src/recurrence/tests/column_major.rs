//! A library of column-major matrices on the CPU: products as cuBLAS reads its arguments.

use candle_core::{DType, Device, Tensor};

use super::device_memory::{bytes_of, write_bytes};
use crate::recurrence::gpu::gemm::{Factor, Gemm};

/// The numbers of a factor as a dense row-major matrix, read as cuBLAS reads it.
fn dense(factor: &Factor, rows: usize, columns: usize) -> Tensor {
    let values = floats(factor.tensor);
    let leading = factor.leading as usize;
    // The leading dimension is no less than the rows that are stored.
    assert!(leading >= if factor.is_transposed { columns } else { rows }, "{factor:?}");
    let at = |row: usize, column: usize| {
        if factor.is_transposed {
            values[column + row * leading]
        } else {
            values[row + column * leading]
        }
    };
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| at(row, column)));
    Tensor::from_vec(all.collect::<Vec<f32>>(), (rows, columns), &Device::Cpu).unwrap()
}

/// A tensor's memory as `f32`.
fn floats(tensor: &Tensor) -> Vec<f32> {
    let bytes = bytes_of(tensor);
    match tensor.dtype() {
        DType::BF16 => {
            let halves = bytes.chunks_exact(2).map(|half| [0, 0, half[0], half[1]]);
            halves.map(f32::from_le_bytes).collect()
        }
        _ => {
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
        }
    }
}

/// Computes a product by what a column-major library is told of it, and nothing else.
pub(in crate::recurrence) fn multiply(gemm: &Gemm) -> candle_core::Result<()> {
    let told = gemm.column_major()?;
    let [rows, columns, inner] = [told.rows, told.columns, told.inner].map(|size| size as usize);
    let first = dense(&told.first, rows, inner);
    let product = first.matmul(&dense(&told.second, inner, columns))?.to_vec2::<f32>()?;
    let leading = told.leading as usize;
    assert!(leading >= rows);
    let mut out = floats(gemm.out);
    for column in 0..columns {
        for (row, values) in product.iter().enumerate() {
            let place = &mut out[row + column * leading];
            *place = values[column] + if gemm.adds { *place } else { 0. };
        }
    }
    write_bytes(gemm.out, out.into_iter().flat_map(f32::to_le_bytes).collect())
}
