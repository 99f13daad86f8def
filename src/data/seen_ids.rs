//! The ids that have been read.

use std::cmp::Ordering;
use std::collections::HashSet;

use twox_hash::XxHash3_128;

use super::names::Names;

/// Tells whether an id has been there before. As long as ids increase, nothing is kept for it.
#[derive(Debug, Default)]
pub(crate) struct SeenIds {
    /// Hashes of the ids, from the first on that did not come after the one before it.
    hashes: Option<HashSet<u64>>,
}

impl SeenIds {
    /// Whether a sequence of this name has ended.
    ///
    /// - `ended`: the names of all that have, in two pieces
    pub(crate) fn has(&mut self, id: &str, ended: [&Names; 2]) -> bool {
        let [earlier, later] = ended;
        let Some(last) = later.last().or_else(|| earlier.last()) else { return false };
        let mut all = earlier.iter().chain(later.iter());
        if self.hashes.is_none() {
            if order(id, last) == Ordering::Greater {
                return false;
            }
            self.hashes = Some(all.clone().map(hash).collect());
        }
        let may_be = self.hashes.as_ref().is_some_and(|hashes| hashes.contains(&hash(id)));
        may_be && all.any(|name| name == id)
    }

    /// A sequence ends.
    pub(crate) fn add(&mut self, id: &str) {
        if let Some(hashes) = &mut self.hashes {
            hashes.insert(hash(id));
        }
    }
}

/// Shorter ids first: so numbers increase, with a text before them too.
fn order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn hash(id: &str) -> u64 {
    XxHash3_128::oneshot(id.as_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_come_back_are_known_in_any_order() {
        for ids in [&["1", "2", "10", "11"][..], &["b", "a", "10", "9", "c"], &["s9", "s10", "s1"]]
        {
            let (mut seen, mut earlier) = (SeenIds::default(), Names::default());
            let mut ended = Names::default();
            for id in ids {
                assert!(!seen.has(id, [&earlier, &ended]), "{id} of {ids:?}");
                ended.push(id);
                seen.add(id);
                if ended.len() == 2 {
                    std::mem::take(&mut ended).iter().for_each(|id| earlier.push(id));
                }
            }
            let all = [&earlier, &ended];
            assert_eq!(seen.hashes.is_some(), ids[0] != "1", "{ids:?}");
            assert!(ids.iter().all(|id| seen.has(id, all)), "{ids:?}");
            assert!(!seen.has("new", all) && !seen.has("0", all));
        }
    }
}
