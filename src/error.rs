//! The library's one error type.
//!
//! Texts are lower case and say the rule, what was expected and what came. Anything that concerns a
//! file begins with its path.

use std::path::{Path, PathBuf};

/// Texts of drivers, and what they mean.
const DRIVER_REASONS: [(&str, &str); 10] = [
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

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has another shape than the operation needs.
    #[error("{op}: {tensor} must have shape {expected}, got {actual:?}")]
    Shape {
        /// The operation that refused the tensor.
        op: &'static str,
        /// The tensor's name in that operation.
        tensor: &'static str,
        /// The shape it must have, with letters where any size will do.
        expected: String,
        /// The shape it has.
        actual: Vec<usize>,
    },
    /// A tensor has another element type than the operation needs.
    #[error("{op}: {tensor} must be {expected}, got {actual}")]
    DType {
        /// The operation that refused the tensor.
        op: &'static str,
        /// The tensor's name in that operation.
        tensor: String,
        /// The element types that will do.
        expected: &'static str,
        /// The element type it has.
        actual: String,
    },
    /// A weight from elsewhere is missing, is one too many, or is not what a layer needs.
    #[error("weight {name}: expected {expected}, found {found}")]
    Weight {
        /// The weight's name where it comes from, such as `rnn.weight_hh_l0` or `recurrent_kernel`.
        name: String,
        /// The expected shape and element type.
        expected: String,
        /// The description of what is there.
        found: String,
    },
    /// A setting is out of range, or settings do not go together.
    #[error("{0}")]
    Config(String),
    /// A data or image file does not hold what it must.
    #[error("{}: {reason}", path.display())]
    DataFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A data set could not be fetched from any of its sources.
    #[error("{0}")]
    Fetch(String),
    /// A weight file, a configuration or a whole run directory does not hold what it must.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A folder holds a run that is neither to be continued nor to be overwritten, or one that cannot be continued.
    #[error("{}: {reason}", path.display())]
    RunExists {
        /// The run directory, or its checkpoints.
        path: PathBuf,
        /// The description of what is there.
        reason: String,
    },
    /// The operating system refused a read or a write.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action that failed, such as `create the folder`.
        action: &'static str,
        /// The operating system's error. It is in the text, and so no `source` of its own: a
        /// chain of errors would say it twice.
        cause: std::io::Error,
    },
    /// A loss, a gradient or a weight became NaN or infinite.
    #[error("{what} is not finite at step {step} (epoch {epoch}, batch {batch}): lower the learning rate")]
    NotFinite {
        /// The name of the value that is not finite.
        what: String,
        /// Optimizer steps done before this one.
        step: u64,
        /// The epoch, from 1.
        epoch: usize,
        /// The batch within the epoch, from 1.
        batch: usize,
    },
    /// Of several processes that train the same model another one has failed, or one is not like the first.
    #[error("rank {rank}: {reason}")]
    Rank {
        /// The process' rank, from 0.
        rank: usize,
        /// Its error.
        reason: String,
    },
    /// The code of a process that trains with others panicked.
    #[error("panicked: {0}")]
    Panic(String),
    /// A GPU, its driver or its memory does not serve, or the exchange between processes.
    #[error("{0}")]
    Device(String),
    /// Candle refused an operation. The text is one line; Candle's own has a backtrace behind it where
    /// `RUST_BACKTRACE` is set, and this variant's `Debug` has it too.
    #[error("{}", one_line(.0))]
    Candle(candle_core::Error),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        // One of ours that passed through a function of Candle's.
        let error = match error {
            candle_core::Error::Io(error) => match error.downcast::<Self>() {
                Ok(error) => return error,
                Err(error) => candle_core::Error::Io(error),
            },
            error => error,
        };
        match driver_reason(&error) {
            Some(reason) => Self::Device(reason),
            None => Self::Candle(error),
        }
    }
}

/// The meaning of a driver's error; `None` for other errors.
fn driver_reason(error: &candle_core::Error) -> Option<String> {
    let text = error.to_string();
    let (name, reason) = DRIVER_REASONS.iter().find(|(name, _)| text.contains(name))?;
    Some(format!("{reason} ({name})"))
}

/// For `?` in functions that return `candle_core::Result`: the text stays the same, and
/// `candle_rnn::Error::from` gives the error itself back.
///
/// It is in the variant `Io`: no other of Candle's keeps both an error's type and its text.
///
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use candle_rnn::nn::Lstm;
///
/// fn last_outputs(lstm: &Lstm, x: &Tensor) -> Result<Tensor> {
///     let (_, seq_len, _) = x.dims3()?;
///     lstm.forward(x)?.outputs.narrow(1, seq_len - 1, 1)
/// }
/// ```
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            error => Self::Io(std::io::Error::other(error)),
        }
    }
}

/// The text of an error of Candle's, in one line and without its backtrace.
pub(crate) fn one_line(error: &candle_core::Error) -> String {
    use candle_core::Error as Candle;
    let text = match error {
        Candle::WithBacktrace { inner, .. } => one_line(inner),
        Candle::WithPath { inner, path } => format!("{}: {}", path.display(), one_line(inner)),
        Candle::Context { inner, context } => format!("{context}: {}", one_line(inner)),
        other => other.to_string(),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

impl Error {
    pub(crate) fn data_file(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::DataFile { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn checkpoint(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn run_exists(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::RunExists { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// For `map_err`: says which file the operating system's error concerns, and what was tried.
    pub(crate) fn io<'a>(
        path: &'a Path,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |cause| Self::Io { path: path.to_path_buf(), action, cause }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Error as Candle;

    use super::Error;

    #[test]
    fn an_error_of_candle_is_one_line_without_its_backtrace() {
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let inner = Box::new(Candle::CannotFindTensor { path: "rnn.x".into() });
        let error = Candle::WithBacktrace { inner, backtrace };
        assert!(error.to_string().lines().count() > 1);
        let error = error.with_path("model.safetensors").context("while reading");
        assert_eq!(
            Error::from(error).to_string(),
            "while reading: model.safetensors: cannot find tensor rnn.x"
        );
        assert_eq!(Error::from(Candle::Msg("one\n  two\n".into())).to_string(), "one; two");
    }

    #[test]
    fn a_drivers_error_says_what_to_do() {
        for (text, advice) in [
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "make the batch smaller"),
            ("CublasError(CUBLAS_STATUS_ALLOC_FAILED)", "make the batch smaller"),
            ("Failed to create metal resource: Buffer", "make the batch smaller"),
            ("DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"..\")", "update the driver"),
            ("DriverError(CUDA_ERROR_INVALID_DEVICE, \"invalid device ordinal\")", "nvidia-smi -L"),
        ] {
            let error = Error::from(Candle::msg(text).bt());
            assert!(matches!(error, Error::Device(_)), "{error:?}");
            assert!(error.to_string().contains(advice), "{error}");
        }
        let other = Error::from(Candle::msg("shape mismatch"));
        assert!(matches!(other, Error::Candle(_)), "{other:?}");
    }

    #[test]
    fn an_error_that_passes_through_candle_comes_back_as_it_was() {
        let refuse = || -> candle_core::Result<()> { Err(Error::Config("too long".into()))? };
        let error = refuse().unwrap_err();
        assert_eq!(error.to_string(), "too long");
        assert!(matches!(Error::from(error), Error::Config(text) if text == "too long"));
        let missing = Candle::Io(std::io::ErrorKind::NotFound.into());
        assert!(matches!(Error::from(missing), Error::Candle(Candle::Io(_))));
        let back = Candle::from(Error::Candle(Candle::Msg("refused".into())));
        assert!(matches!(back, Candle::Msg(text) if text == "refused"));
    }
}
