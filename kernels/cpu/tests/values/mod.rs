//! Seeded values.

use candle_rnn_kernels::Number;

/// Seeded values between -1 and 1.
pub(crate) struct Values(pub(crate) u64);

impl Values {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.
    }

    /// The next `len` of them, times `scale`.
    pub(crate) fn take<E: Number>(&mut self, len: usize, scale: f64) -> Vec<E> {
        (0..len).map(|_| E::from_f64(self.next() * scale)).collect()
    }
}
