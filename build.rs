//! Compiles kernels/gpu/*.cu to PTX, for the feature `cuda` alone.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files that are compiled; the others are included by them.
const KERNELS: [&str; 9] = ["rnn", "gru", "lstm", "step", "rows", "team", "mma", "loss", "adam"];
/// The file whose kernels use tensor cores, and what they need at least; earlier GPUs do not load it.
const TENSOR_CORES: (&str, u32) = ("mma", 80);
/// What PTX is for unless it is said: Turing. The driver compiles it on for whatever came later.
const OLDEST: &str = "75";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed=kernels/gpu");
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let nvcc = compiler()?;
    // PTX for a lower number runs on later GPUs, not the other way round.
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| OLDEST.into());
    let capability = capability.replace('.', "");
    for kernel in KERNELS {
        let mut capability = capability.clone();
        let (file, least) = TENSOR_CORES;
        if kernel == file && capability.parse::<u32>().is_ok_and(|found| found < least) {
            capability = least.to_string();
        }
        let (source, ptx) = (format!("kernels/gpu/{kernel}.cu"), out.join(format!("{kernel}.ptx")));
        let output = Command::new(&nvcc)
            .args(["-std=c++20", "-ptx", &format!("-arch=compute_{capability}"), "-o"])
            .args([&ptx, Path::new(&source)])
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} cannot compile {source}: {said}", nvcc.display()).into());
        }
    }
    Ok(())
}

/// nvcc: that of the variable `NVCC`, of an installed toolkit, or on the PATH.
fn compiler() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(nvcc) = std::env::var_os("NVCC") {
        return Ok(nvcc.into());
    }
    let roots = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os);
    let installed = roots.map(PathBuf::from).map(|root| root.join("bin/nvcc"));
    let found =
        installed.chain([PathBuf::from("nvcc"), "/usr/local/cuda/bin/nvcc".into()]).find(|nvcc| {
            Command::new(nvcc).arg("--version").output().is_ok_and(|o| o.status.success())
        });
    found.ok_or_else(|| {
        "the feature `cuda` needs NVIDIA's compiler, nvcc 12 or later, which is neither on the PATH nor under \
         CUDA_HOME: `just cuda-compiler` installs it into .venv-cuda, as a CUDA toolkit with its bin on the \
         PATH also would"
            .into()
    })
}
