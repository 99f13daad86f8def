//! `--device` and `--threads`: the choice of device and of the number of threads.

use candle_core::Device;
use candle_rnn::recurrence::open_cuda;
use candle_rnn::train::Precision;
use clap::Args;

use super::screen;
use super::usage::wrong_usage;

/// The device and the number of threads.
#[derive(Args, Clone)]
pub(super) struct Compute {
    /// Device: `auto`, `cpu`, `cuda`, `cuda:N` or `metal`; `auto` takes a GPU if this build
    /// supports it and the machine has one, else the CPU [default: auto]
    // The last counts: recipes name one before what the user gives.
    #[arg(long, value_name = "DEVICE", value_parser = parse, overrides_with = "device")]
    device: Option<DeviceChoice>,
    /// Number of CPU threads [default: RAYON_NUM_THREADS, or one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceChoice {
    Auto,
    Cpu,
    /// A GPU by its number; without one, the first, or one for each of several processes on a machine.
    Cuda(Option<usize>),
    Metal,
}

fn parse(text: &str) -> Result<DeviceChoice, String> {
    match text {
        "auto" => Ok(DeviceChoice::Auto),
        "cpu" => Ok(DeviceChoice::Cpu),
        "cuda" => Ok(DeviceChoice::Cuda(None)),
        "metal" => Ok(DeviceChoice::Metal),
        other => other
            .strip_prefix("cuda:")
            .and_then(|ordinal| ordinal.parse().ok())
            .map(|ordinal| DeviceChoice::Cuda(Some(ordinal)))
            .ok_or_else(|| "one of auto, cpu, cuda, cuda:N, metal".to_string()),
    }
}

/// How often Candle's threads look for work before they sleep. While they look, they take a core
/// from the kernels' threads: half a millisecond a training step where a tensor has more than 65,536
/// numbers.
const SPIN_LIMIT: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";

/// The number of threads for Candle's own element-wise ops. The one that shares an op out looks without end whether the
/// others have done their parts, and keeps a core from them for ever where it has that by real-time scheduling.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

impl Compute {
    /// The device as it was named, if it was.
    pub(super) fn device_name(&self) -> Option<String> {
        self.device.map(|choice| match choice {
            DeviceChoice::Auto => "auto".into(),
            DeviceChoice::Cpu => "cpu".into(),
            DeviceChoice::Cuda(None) => "cuda".into(),
            DeviceChoice::Cuda(Some(ordinal)) => format!("cuda:{ordinal}"),
            DeviceChoice::Metal => "metal".into(),
        })
    }

    /// The number of threads, if it was named.
    pub(super) fn threads(&self) -> Option<u16> {
        self.threads
    }

    /// The device and threads that flags name, else those of a file; an error says why a name is no device's.
    pub(super) fn or(self, device: Option<&str>, threads: Option<u16>) -> Result<Self, String> {
        let device = match self.device {
            None => device.map(parse).transpose().map_err(|error| format!("device: {error}"))?,
            named => named,
        };
        Ok(Self { device, threads: self.threads.or(threads) })
    }

    /// Sets the number of threads and opens the device. Comes before the first tensor.
    pub(super) fn open(&self) -> anyhow::Result<Device> {
        if let Some(threads) = self.threads {
            // Candle and rayon both read this variable, once, when they are first used; the
            // program has no other thread yet.
            std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
        }
        if std::env::var_os(SPIN_LIMIT).is_none() {
            std::env::set_var(SPIN_LIMIT, "0");
        }
        if std::env::var_os(CANDLE_THREADS).is_none() && has_real_time() {
            std::env::set_var(CANDLE_THREADS, "1");
        }
        match self.device.unwrap_or(DeviceChoice::Auto) {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Cuda(ordinal) => cuda(ordinal.unwrap_or_else(own_gpu)),
            DeviceChoice::Metal => metal(),
            DeviceChoice::Auto if cfg!(feature = "cuda") => Ok(or_cpu(cuda(own_gpu()))),
            DeviceChoice::Auto if cfg!(feature = "metal") => Ok(or_cpu(metal())),
            DeviceChoice::Auto => Ok(Device::Cpu),
        }
    }
}

/// Whether Linux schedules this thread by SCHED_FIFO or SCHED_RR, as `chrt -f` and `chrt -r` ask it to.
fn has_real_time() -> bool {
    std::fs::read_to_string("/proc/thread-self/stat").is_ok_and(|stat| is_real_time(&stat))
}

/// Whether the policy in a `stat` file of Linux, its 41st field, is SCHED_FIFO or SCHED_RR.
fn is_real_time(stat: &str) -> bool {
    // The second field is a name in brackets, which may have spaces and brackets in it.
    let policy = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(38));
    matches!(policy, Some("1" | "2"))
}

/// The device, or the CPU with a word on why.
fn or_cpu(device: anyhow::Result<Device>) -> Device {
    device.unwrap_or_else(|error| {
        screen::note(&format!("computing on the CPU: {error}"));
        Device::Cpu
    })
}

/// Refuses what a device cannot compute, and says what it computes slowly.
pub(super) fn check_precision(device: &Device, precision: Precision) -> anyhow::Result<()> {
    if device.is_metal() && precision == Precision::F64 {
        return Err(wrong_usage("Metal does not support f64: use --dtype f32 or --device cpu"));
    }
    if device.is_cuda() && precision == Precision::F64 {
        screen::note("f64 has no GPU kernels: layers run step by step on Candle's ops, slowly");
    }
    Ok(())
}

/// The name of a device on screen.
pub(super) fn name(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}

/// The GPU of this process: the first, or with several processes on a machine another for each, as far as there are.
#[cfg(feature = "cuda")]
fn own_gpu() -> usize {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;

    let count = CudaContext::device_count().ok().and_then(|count| usize::try_from(count).ok());
    super::processes::local_rank() % count.unwrap_or(1).max(1)
}

/// The first GPU, which this build cannot open.
#[cfg(not(feature = "cuda"))]
fn own_gpu() -> usize {
    0
}

fn cuda(ordinal: usize) -> anyhow::Result<Device> {
    anyhow::ensure!(
        cfg!(feature = "cuda"),
        "this build has no CUDA: run `just train-cuda`, or build with --features cuda"
    );
    // One stream for all threads: each thread's own would not wait for the others'.
    open_cuda(ordinal).map_err(|error| match error {
        candle_rnn::Error::Candle(error) => anyhow::anyhow!(
            "no CUDA device {ordinal} ({}): is the driver installed?",
            first_line(&error)
        ),
        error => anyhow::anyhow!("no CUDA device {ordinal}: {error}"),
    })
}

fn metal() -> anyhow::Result<Device> {
    anyhow::ensure!(
        cfg!(feature = "metal"),
        "this build has no Metal: on a Mac run `just train-metal`, or build with --features metal"
    );
    Device::new_metal(0).map_err(|error| anyhow::anyhow!("no Metal device: {}", first_line(&error)))
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_written() {
        assert_eq!(parse("cuda:3"), Ok(DeviceChoice::Cuda(Some(3))));
        assert_eq!(parse("cuda"), Ok(DeviceChoice::Cuda(None)));
        assert_eq!(parse("auto"), Ok(DeviceChoice::Auto));
        for wrong in ["", "cuda:", "cuda:x", "gpu", "CPU"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn real_time_scheduling_is_read_from_a_stat_file() {
        // As Linux 6.18 wrote it, with a name that has brackets, and without addresses.
        let stat = |policy: u8| {
            format!(
                "9498 (a) 1 (b) R 9497 9427 15399 0 -1 4194304 100 0 0 0 0 0 0 0 -2 0 1 0 6438102 \
                 3133440 393 18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 17 0 1 {policy} 0 0 0 1 1 1 \
                 1 1 1 1 0\n"
            )
        };
        assert_eq!(
            [0, 1, 2, 3].map(|policy| is_real_time(&stat(policy))),
            [false, true, true, false]
        );
        assert!(!is_real_time(""));
    }
}
