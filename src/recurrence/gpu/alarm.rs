//! The alarm of a GPU: a word that kernels set when their blocks gave up waiting for each other, and that the host reads.

use std::sync::atomic::{AtomicU32, Ordering};

/// What the host says of a kernel that has set the alarm.
pub(in crate::recurrence) const GAVE_UP: &str =
    "blocks of a kernel waited for each other in vain, so that what it gave is NaN: run again, without \
     other work on the device, or with CANDLE_RNN_TEAMS=off";

/// Whether a kernel has set the alarm, which is cleared then.
///
/// - `wait`: waits for all kernels of the device, of which the rest of a team may still set it
///
/// # Errors
/// Those of `wait`; the alarm is cleared then, too.
pub(in crate::recurrence) fn take_alarm(
    word: &AtomicU32,
    wait: impl FnOnce() -> candle_core::Result<()>,
) -> candle_core::Result<bool> {
    if word.load(Ordering::Relaxed) == 0 {
        return Ok(false);
    }
    let waited = wait();
    word.store(0, Ordering::Relaxed);
    waited.map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_once_and_cleared_when_nothing_sets_it() {
        let word = AtomicU32::new(0);
        let never = || panic!("nothing is to be waited for");
        assert!(!take_alarm(&word, never).unwrap());
        word.store(1, Ordering::Relaxed);
        // The kernel's last block sets it while the host waits.
        let wait = || {
            word.store(1, Ordering::Relaxed);
            Ok(())
        };
        assert!(take_alarm(&word, wait).unwrap());
        assert!(!take_alarm(&word, never).unwrap());
        word.store(1, Ordering::Relaxed);
        let lost = || candle_core::bail!("the device is lost");
        let error = take_alarm(&word, lost).unwrap_err().to_string();
        assert!(error.contains("is lost"), "{error}");
        assert!(!take_alarm(&word, never).unwrap());
    }
}
