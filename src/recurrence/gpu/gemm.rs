//! Products of matrices, as a library of column-major matrices such as cuBLAS is asked for them.

use candle_core::{DType, Tensor};

use super::launch::int;

/// `out = a b`, or `out += a b`, in memory that is there already.
pub(crate) struct Gemm<'a> {
    /// `(m, k)`: the numbers of a row follow each other, or those of a column.
    pub(crate) a: &'a Tensor,
    /// `(k, n)`, likewise, in the same dtype.
    pub(crate) b: &'a Tensor,
    /// `(m, n)`, `f32`: the numbers of a row follow each other.
    pub(crate) out: &'a Tensor,
    /// Whether the product is added to what `out` holds.
    pub(crate) adds: bool,
}

/// A factor of a column-major product.
#[derive(Debug)]
pub(in crate::recurrence) struct Factor<'a> {
    pub(in crate::recurrence) tensor: &'a Tensor,
    pub(in crate::recurrence) is_transposed: bool,
    /// The numbers from a column to the next.
    pub(in crate::recurrence) leading: i32,
}

/// The same product of column-major matrices: `outᵀ = bᵀ aᵀ`, since a row-major matrix is the transposed
/// column-major one.
#[derive(Debug)]
pub(in crate::recurrence) struct ColumnMajor<'a> {
    /// bᵀ, `(rows, inner)`.
    pub(in crate::recurrence) first: Factor<'a>,
    /// aᵀ, `(inner, columns)`.
    pub(in crate::recurrence) second: Factor<'a>,
    pub(in crate::recurrence) rows: i32,
    pub(in crate::recurrence) columns: i32,
    pub(in crate::recurrence) inner: i32,
    /// The numbers of `out` from a column to the next.
    pub(in crate::recurrence) leading: i32,
}

impl<'a> Gemm<'a> {
    /// The product for a column-major library.
    ///
    /// # Errors
    /// When shapes or dtypes do not fit together, or a matrix lies in memory as no such library reads it.
    pub(in crate::recurrence) fn column_major(&self) -> candle_core::Result<ColumnMajor<'a>> {
        let [a, b, out] = [self.a, self.b, self.out];
        let ((m, k), (inner, n)) = (a.dims2()?, b.dims2()?);
        if inner != k || out.dims2()? != (m, n) {
            let dims = [a.dims(), b.dims(), out.dims()];
            candle_core::bail!("gemm: {dims:?} are no product of matrices")
        }
        let dtypes = [a.dtype(), b.dtype(), out.dtype()];
        if !matches!(dtypes, [DType::F32 | DType::BF16, other, DType::F32] if other == dtypes[0]) {
            candle_core::bail!("gemm: there is no product of {dtypes:?}")
        }
        let factor = |tensor: &'a Tensor| {
            let Some((is_transposed, leading)) = order(tensor.dims(), tensor.stride()) else {
                let (dims, strides) = (tensor.dims(), tensor.stride());
                candle_core::bail!(
                    "gemm: neither rows nor columns of {dims:?} are dense: {strides:?}"
                )
            };
            Ok(Factor { tensor, is_transposed, leading: int("leading", leading)? })
        };
        let (first, second) = (factor(b)?, factor(a)?);
        let Some((false, leading)) = order(out.dims(), out.stride()) else {
            candle_core::bail!("gemm: the rows of the result are not dense: {:?}", out.stride())
        };
        let size = |size| int("size", size);
        Ok(ColumnMajor {
            first,
            second,
            rows: size(n)?,
            columns: size(m)?,
            inner: size(k)?,
            leading: size(leading)?,
        })
    }
}

/// Whether a row-major matrix is a transposed one, and the numbers from a row (a column) to the next; `None` for a
/// matrix that is neither. A dimension of one element has any stride.
fn order(dims: &[usize], strides: &[usize]) -> Option<(bool, usize)> {
    let (&[rows, columns], &[row, column]) = (dims, strides) else { return None };
    let dense = |len: usize, unit: usize, count: usize, stride: usize| {
        let follows = unit == 1 || len == 1;
        (follows && (stride >= len || count == 1)).then_some(stride.max(len))
    };
    // What a library reads of one row must be no less than the row.
    let of = |stride: Option<usize>, is_transposed| Some((is_transposed, stride?));
    of(dense(columns, column, rows, row), false).or(of(dense(rows, row, columns, column), true))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::recurrence::tests::column_major::multiply;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 61) as f32 / 16. - 1.5).collect()
    }

    fn tensor(dims: (usize, usize), seed: usize) -> Tensor {
        Tensor::from_vec(numbers(dims.0 * dims.1, seed), dims, &Device::Cpu).unwrap()
    }

    /// A matrix in one of the orders that layers have: rows, columns, and either within a wider matrix.
    fn laid_out(dims: (usize, usize), order: usize, seed: usize) -> Tensor {
        let (rows, columns) = dims;
        match order {
            0 => tensor(dims, seed),
            1 => tensor((columns, rows), seed).t().unwrap(),
            2 => tensor((rows, columns + 3), seed).narrow(1, 2, columns).unwrap(),
            _ => {
                let wider = tensor((columns + 2, rows + 1), seed);
                wider.narrow(0, 2, columns).unwrap().narrow(1, 1, rows).unwrap().t().unwrap()
            }
        }
    }

    #[test]
    fn column_major_products_are_those_of_row_major_ones() {
        let sizes = [(1, 1, 1), (1, 5, 3), (4, 1, 3), (4, 5, 1), (1, 1, 7), (6, 1, 1), (5, 4, 3)];
        for (m, n, k) in sizes {
            for orders in 0..16 {
                for adds in [false, true] {
                    let a = laid_out((m, k), orders % 4, 1);
                    let b = laid_out((k, n), orders / 4, 2);
                    let wide = tensor((m, n + 2), 3);
                    let before = wide.narrow(1, 1, n).unwrap().force_contiguous().unwrap();
                    let out = wide.narrow(1, 1, n).unwrap();
                    let gemm = Gemm { a: &a, b: &b, out: &out, adds };
                    multiply(&gemm).unwrap();
                    let [a, b] = [&a, &b].map(|matrix| matrix.contiguous().unwrap());
                    let mut expected = a.matmul(&b).unwrap();
                    if adds {
                        expected = (expected + before).unwrap();
                    }
                    let found = out.contiguous().unwrap();
                    let difference = (found - expected).unwrap().abs().unwrap();
                    let worst: f32 = difference.max_all().unwrap().to_scalar().unwrap();
                    assert!(worst < 1e-5, "{m} {n} {k}, orders {orders}, adds {adds}: {worst}");
                    // What lies beside the result stays.
                    let beside: Vec<Vec<f32>> = wide.to_vec2().unwrap();
                    let at =
                        |row: usize, column: usize| numbers(m * (n + 2), 3)[row * (n + 2) + column];
                    for (row, values) in beside.iter().enumerate() {
                        assert_eq!((values[0], values[n + 1]), (at(row, 0), at(row, n + 1)));
                    }
                }
            }
        }
    }

    #[test]
    fn products_that_no_library_takes_are_refused() {
        let (a, b) = (tensor((3, 4), 1), tensor((4, 5), 2));
        let out = tensor((3, 5), 3);
        let refused = |a: &Tensor, b: &Tensor, out: &Tensor| {
            Gemm { a, b, out, adds: false }.column_major().unwrap_err().to_string()
        };
        assert!(refused(&a, &a, &out).contains("no product of matrices"));
        assert!(refused(&a, &b, &a).contains("no product of matrices"));
        let half = a.to_dtype(DType::BF16).unwrap();
        assert!(refused(&half, &b, &out).contains("no product of [BF16, F32, F32]"));
        let repeated = tensor((1, 4), 1).broadcast_as((3, 4)).unwrap();
        assert!(refused(&repeated, &b, &out).contains("neither rows nor columns"));
        let columns = tensor((5, 3), 3).t().unwrap();
        assert!(refused(&a, &b, &columns).contains("are not dense"));
    }
}
