//! SIGINT, SIGTERM and SIGHUP while a training or a server runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};

/// The number of SIGTERM.
pub(super) const SIGTERM_NUMBER: u8 = SIGTERM as u8;

/// SIGINT, SIGTERM and SIGHUP: the first is remembered, the second ends the program at once.
pub(super) struct Signals(Arc<AtomicUsize>);

impl Signals {
    pub(super) fn register() -> std::io::Result<Self> {
        let (first, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut signals = vec![SIGINT, SIGTERM];
        #[cfg(unix)]
        if !ignores_hangup() {
            signals.push(SIGHUP);
        }
        for signal in signals {
            // In this order: the first signal finds the flag still down.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, first.clone())?;
            signal_hook::flag::register(signal, first.clone())?;
            signal_hook::flag::register_usize(signal, received.clone(), signal as usize)?;
        }
        Ok(Self(received))
    }

    /// Takes the end of standard input for a SIGTERM: whoever holds its other end is gone, or wants this to stop.
    pub(super) fn stop_on_eof(&self) {
        let received = self.0.clone();
        std::thread::spawn(move || {
            // What is written there means nothing.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = received.compare_exchange(
                0,
                SIGTERM as usize,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        });
    }

    pub(super) fn pending(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }
}

/// Whether this process was started to outlive its terminal, as `nohup` does: only Linux says so.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}
