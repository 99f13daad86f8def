//! Layers and the reference job's steps on a GPU: `just bench-cuda`, `just bench-metal`, and the benchmark of `just gpu-report`.
//!
//! ```text
//! bench [cpu]                        fused layers beside those composed from Candle's ops; on the CPU to try the bench itself
//! bench serve [cpu|events]           times what a protocol asks for on stdin (serve.rs); with `events` on a device as Candle opens it
//! bench protocol RESULTS SECONDS [--try] [NAME:COMMAND ...]
//!                                    times the shapes of docs/gpu.md by this program and those, in turns (protocol.rs)
//! bench table RESULTS...             results as Markdown (table.rs)
//! bench check RESULTS                whether outputs and gradients of ours are as near to f64 as they must be; else status 1
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod composed;
mod jobs;
mod protocol;
mod serve;
mod table;

use std::path::Path;

use candle_core::Device;
use candle_rnn::recurrence::open_cuda;

fn device(is_cpu: bool) -> Device {
    match (is_cpu, cfg!(feature = "cuda"), cfg!(feature = "metal")) {
        (true, _, _) => Device::Cpu,
        (_, true, _) => open_cuda(0).expect("an NVIDIA GPU"),
        (_, _, true) => Device::new_metal(0).expect("an Apple GPU"),
        _ => panic!("build with the feature cuda or metal, or give `cpu`"),
    }
}

fn main() {
    // Cargo adds it.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let is_cpu = arguments.iter().any(|argument| argument == "cpu");
    match arguments.first().map(String::as_str) {
        // As Candle opens a GPU: events track tensors, and memory goes back.
        Some("serve") if arguments.iter().any(|argument| argument == "events") => {
            serve::serve(&Device::new_cuda_with_stream(0).expect("an NVIDIA GPU"));
        }
        Some("serve") => serve::serve(&device(is_cpu)),
        Some("protocol") => protocol::main(&arguments[1..]),
        Some("table") => {
            let files: Vec<&Path> = arguments[1..].iter().map(Path::new).collect();
            print!("{}", table::markdown(&table::read(&files)));
        }
        Some("check") => {
            let files: Vec<&Path> = arguments[1..].iter().map(Path::new).collect();
            let found = table::beyond(&table::read(&files)).unwrap_or_else(|why| vec![why]);
            found.iter().for_each(|line| println!("{line}"));
            std::process::exit(i32::from(!found.is_empty()));
        }
        _ => jobs::compare(&device(is_cpu), is_cpu),
    }
}
