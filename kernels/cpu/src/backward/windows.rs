//! Windows of truncated BPTT as the reverse sweep meets them.

use std::ops::Range;

use crate::Window;

/// The windows that a step belongs to, by their numbers: gradients flow through it in each of them.
pub(crate) fn windows_at(windows: &[Window], step: usize) -> Range<usize> {
    let from = windows.partition_point(|window| window.end <= step);
    let to = windows.partition_point(|window| window.start <= step);
    from..to
}

/// How many windows share a step, at most.
pub(crate) fn overlap(windows: &[Window]) -> usize {
    let sharing = |(index, window): (usize, &Window)| {
        windows[index..].iter().take_while(|later| later.start < window.end).count()
    };
    windows.iter().enumerate().map(sharing).max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_belongs_to_the_windows_that_reach_it() {
        let window = |start, losses_from, end| Window { start, losses_from, end };
        let windows = [window(1, 2, 4), window(1, 4, 6), window(3, 6, 8)];
        let of = |step| windows_at(&windows, step);
        assert_eq!([of(1), of(3), of(5), of(7)], [0..2, 0..3, 1..3, 2..3]);
        assert!(of(0).is_empty());
        assert_eq!(overlap(&windows), 3);
    }
}
