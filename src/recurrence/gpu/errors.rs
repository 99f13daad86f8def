//! What drivers say, in words that say what to do.

/// Texts of drivers, and what they mean.
const REASONS: [(&str, &str); 10] = [
    (
        "CUDA_ERROR_OUT_OF_MEMORY",
        "the GPU's memory is full: make the batch smaller, or end other programs on it (nvidia-smi lists them)",
    ),
    (
        "CUBLAS_STATUS_ALLOC_FAILED",
        "the GPU's memory is full: make the batch smaller, or end other programs on it (nvidia-smi lists them)",
    ),
    (
        "Failed to create metal resource: Buffer",
        "the GPU's memory is full: make the batch smaller, or close other programs",
    ),
    (
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        "the GPU's driver is older than the CUDA compiler that made the kernels: update the driver, or build \
         with a CUDA toolkit no newer than the version that nvidia-smi shows",
    ),
    (
        "CUDA_ERROR_NO_BINARY_FOR_GPU",
        "the kernels were compiled for a newer GPU: build on this machine, or set CUDA_COMPUTE_CAP to this GPU's",
    ),
    (
        "CUDA_ERROR_INVALID_PTX",
        "the driver cannot read the kernels: they are for a newer GPU, or the driver is too old; build on this machine",
    ),
    ("CUDA_ERROR_INVALID_DEVICE", "there is no GPU of that number: nvidia-smi -L lists those that are there"),
    ("CUDA_ERROR_NO_DEVICE", "the driver finds no NVIDIA GPU: nvidia-smi -L lists those that are there"),
    (
        "CUDA_ERROR_INSUFFICIENT_DRIVER",
        "the GPU's driver is older than this build's CUDA: update it, or build with an older CUDA toolkit",
    ),
    (
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "the GPU's driver was updated under way: restart the machine",
    ),
];

/// What an error of a driver means; `None` for other errors.
pub(crate) fn reason_of(error: &candle_core::Error) -> Option<String> {
    let text = error.to_string();
    let (name, reason) = REASONS.iter().find(|(name, _)| text.contains(name))?;
    Some(format!("{reason} ({name})"))
}

#[cfg(test)]
mod tests {
    use crate::Error;

    #[test]
    fn a_drivers_error_says_what_to_do() {
        for (text, advice) in [
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "make the batch smaller"),
            ("CublasError(CUBLAS_STATUS_ALLOC_FAILED)", "make the batch smaller"),
            ("Failed to create metal resource: Buffer", "make the batch smaller"),
            ("DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"..\")", "update the driver"),
            ("DriverError(CUDA_ERROR_INVALID_DEVICE, \"invalid device ordinal\")", "nvidia-smi -L"),
        ] {
            let error = Error::from(candle_core::Error::msg(text).bt());
            assert!(matches!(error, Error::Device(_)), "{error:?}");
            assert!(error.to_string().contains(advice), "{error}");
        }
        let other = Error::from(candle_core::Error::msg("shape mismatch"));
        assert!(matches!(other, Error::Candle(_)), "{other:?}");
    }
}
