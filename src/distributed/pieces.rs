//! Pieces of bytes, one for each rank, that lie one behind the other.

use std::ops::Range;

/// Where pieces of these lengths are.
pub(super) fn ranges(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut next = 0;
    let range = |length: &usize| {
        next += length;
        next - length..next
    };
    lengths.iter().map(range).collect()
}

/// What each rank sent, of what all sent: less where that is too short.
pub(super) fn cut(said: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let piece = |range: Range<usize>| {
        let end = range.end.min(said.len());
        said[range.start.min(end)..end].to_vec()
    };
    ranges(lengths).into_iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_one_behind_the_other() {
        assert_eq!(ranges(&[2, 0, 3]), [0..2, 2..2, 2..5]);
        assert_eq!(cut(&[1, 2, 3, 4], &[2, 0, 3, 1]), [vec![1, 2], vec![], vec![3, 4], vec![]]);
    }
}
