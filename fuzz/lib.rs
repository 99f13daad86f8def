//! The fuzzer: it runs the targets of `candle-rnn-fuzz-targets` on inputs that libFuzzer makes up.
//!
//! - `targets/`: the crate with the targets and the seeds of `corpus/`; its own tests run every file of
//!   `corpus/` through its target, without a fuzzer
//! - `fuzz_targets/`: libFuzzer's entry points, one a target
//! - `limit.rs`: how much memory an input may take

pub mod limit;

pub use candle_rnn_fuzz_targets as targets;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Runs a target on one input: more memory than it is allowed ends the process, as a panic does.
pub fn run(target: fn(&Path, &[u8]) -> bool, input: &[u8]) {
    /// Where the targets write their files: in memory if such a folder is there.
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let folder = parent.join(format!("candle-rnn-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("no folder for the input's files");
        folder
    });
    let folder = FOLDER.as_path();
    limit::bounded(input.len(), || target(folder, input));
}
