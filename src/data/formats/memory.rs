//! How much memory data may take.

use std::path::Path;

use crate::{Error, Result};

/// Bytes of memory that this machine, this process's control group and the limit of its address space (`ulimit -v`) leave
/// it; `u64::MAX` where the system does not say.
pub(super) fn available() -> u64 {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| text(path)?.trim().parse::<u64>().ok();
    // A line such as `MemAvailable: 123 kB` of a file.
    let kib = |path: &str, field: &str| {
        let file = text(path)?;
        let line = file.lines().find_map(|line| line.strip_prefix(field))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib.saturating_mul(1024))
    };
    let machine = kib("/proc/meminfo", "MemAvailable:");
    let group = number("/sys/fs/cgroup/memory.max").map(|limit| {
        limit.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or_default())
    });
    let addresses = text("/proc/self/limits").and_then(|limits| {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
        // Not a number where there is no limit.
        let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(limit.saturating_sub(kib("/proc/self/status", "VmSize:").unwrap_or_default()))
    });
    [machine, group, addresses].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// Refuses data that need more memory than there is.
///
/// # Errors
/// [`Error::DataFile`] with the need.
pub(super) fn check(path: &Path, need: u64, memory: u64) -> Result<()> {
    if need <= memory {
        return Ok(());
    }
    Err(Error::data_file(
        path,
        format!(
            "its data need about {} of memory, and {} are available: cut the file into parts",
            size(need),
            size(memory)
        ),
    ))
}

/// The error text for a line that is too long for the memory that is available.
pub(super) fn too_long(memory: u64) -> String {
    format!(
        "is too long to be read: what it holds needs more than the {} of memory that are available; cut the sequence \
         into parts",
        size(memory)
    )
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let unit = UNITS.iter().find(|(_, unit)| bytes as f64 >= *unit);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(name, unit)| format!("{:.1} {name}", bytes as f64 / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_units() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_500), "1.5 kB");
        assert_eq!(size(23_400_000_000), "23.4 GB");
        assert!(available() > 1 << 20);
    }
}
