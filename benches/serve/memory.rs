//! The memory of the server over time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;

/// How far apart the medians of the tenths of the time may be, in MB.
const FLAT: f64 = 10.;

/// The resident memory of a process, in MB, looked at every second.
pub(crate) struct Memory {
    seen: Rc<RefCell<Vec<f64>>>,
    task: JoinHandle<()>,
    pid: u32,
}

impl Memory {
    /// Looks at a process from now on.
    pub(crate) fn watch(pid: u32) -> Self {
        let seen = Rc::new(RefCell::new(vec![resident(pid)]));
        let kept = seen.clone();
        let task = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                kept.borrow_mut().push(resident(pid));
            }
        });
        Self { seen, task, pid }
    }

    /// Prints what was seen; whether it was flat.
    pub(crate) fn report(self) -> bool {
        self.task.abort();
        let end = resident(self.pid);
        let mut seen = self.seen.borrow_mut();
        seen.push(end);
        let (least, most) = bounds(&seen);
        let medians: Vec<f64> = seen.chunks(seen.len().div_ceil(10)).map(median).collect();
        let (low, high) = bounds(&medians);
        let is_flat = high - low <= FLAT;
        let listed: Vec<String> = medians.iter().map(|median| format!("{median:.1}")).collect();
        println!(
            "memory: {:.1} MB at the start, {end:.1} MB at the end, momentarily {least:.1} to {most:.1} MB; medians of each tenth {}: {} within {FLAT:.0} MB",
            seen[0],
            listed.join(", "),
            if is_flat { "flat" } else { "NOT flat" }
        );
        is_flat
    }
}

/// The least and the most of some values.
fn bounds(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(0., f64::max))
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The resident memory of a process, in MB.
fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1e3
}
