//! Teams of threads.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;

use super::team::{Meeting, Wait};
use super::{threads, Collective, Single, Team};
use crate::{Error, Result};

const PLACE: Meeting = Meeting { name: "step", place: 3, replica: 0, wait: Wait::Even };

fn add(sum: &mut [u8], part: &[u8]) {
    for (sum, part) in sum.chunks_exact_mut(4).zip(part.chunks_exact(4)) {
        let added = f32::from_le_bytes(sum.try_into().unwrap())
            + f32::from_le_bytes(part.try_into().unwrap());
        sum.copy_from_slice(&added.to_le_bytes());
    }
}

fn bytes(part: &[f32]) -> Vec<u8> {
    part.iter().flat_map(|value| value.to_le_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_sum_has_the_same_bits_on_any_number_of_ranks(
        size in 1usize..=5,
        elements in 0usize..12,
        parts in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 12), 1..8),
    ) {
        let parts: Vec<&[f32]> = parts.iter().map(|part| &part[..elements]).collect();
        let mut expected = parts[0].to_vec();
        for part in &parts[1..] {
            expected.iter_mut().zip(*part).for_each(|(sum, value)| *sum += value);
        }
        let losses: Vec<f64> = (0..parts.len()).map(|part| part as f64 / 3.).collect();
        let found = threads::run(size, |team| {
            let own = team.shares(parts.len()).of(team.rank());
            let mine: Vec<Vec<u8>> = parts[own.clone()].iter().map(|part| bytes(part)).collect();
            team.sum((&mine, &losses[own]), (parts.len(), elements, 4), add).unwrap()
        });
        for (sum, all) in found {
            prop_assert_eq!(sum, bytes(&expected));
            prop_assert_eq!(&all, &losses);
        }
    }
}

/// A collective that is only right about who is who.
struct Broken(usize, usize);

impl Collective for Broken {
    fn rank(&self) -> usize {
        self.0
    }

    fn size(&self) -> usize {
        self.1
    }

    fn all_gather(&self, _mine: &[u8], _lengths: &[usize], _patience: Duration) -> Result<Vec<u8>> {
        Err(Error::Device("no wire".into()))
    }

    fn all_to_all(
        &self,
        mine: &[u8],
        _sent: &[usize],
        received: &[usize],
        patience: Duration,
    ) -> Result<Vec<u8>> {
        self.all_gather(mine, received, patience)
    }
}

#[test]
fn gradients_alone_go_through_a_collective_of_their_own() {
    let part = [bytes(&[1., 2.])];
    let sum = |team: &Team| team.sum((&part, &[0.5]), (2, 2, 4), add);
    let texts = threads::run(2, |team| {
        let through = |collective| team.exchange_gradients_through(Box::new(collective));
        let other = through(Broken(team.rank(), 3)).unwrap_err().to_string();
        assert!(other.contains("of 2 cannot exchange gradients as rank"), "{other}");
        assert_eq!(sum(&team).unwrap().0, bytes(&[2., 4.]));
        through(Broken(team.rank(), 2)).unwrap();
        assert!(through(Broken(team.rank(), 2)).unwrap_err().to_string().contains("already"));
        // All else goes the old way, and tells of it.
        let mine = sum(&team).map(|_| (Vec::new(), ()));
        team.agree(PLACE, mine).unwrap_err().to_string()
    });
    assert_eq!(texts, ["no wire", "rank 0: no wire"]);
    // Another way is as good.
    let ways: Vec<_> = threads::connected(2, |way| Mutex::new(Some(way)));
    let found = threads::run(2, |team| {
        let way = ways[team.rank()].lock().unwrap().take().unwrap();
        team.exchange_gradients_through(way).unwrap();
        sum(&team).unwrap()
    });
    assert_eq!(found, vec![(bytes(&[2., 4.]), vec![0.5, 0.5]); 2]);
}

/// How each rank of a team ends whose rank `bad` does something else.
fn ends(size: usize, bad: usize, other: impl Fn(&Team) -> Result<()> + Sync) -> Vec<String> {
    threads::run(size, |team| {
        let ended = if team.rank() == bad {
            other(&team)
        } else {
            team.agree(PLACE, Ok((vec![1, 2], ()))).map(drop)
        };
        let text = ended.as_ref().map_or_else(ToString::to_string, |()| "well".into());
        // After an error there is no further exchange.
        assert!(team.end(Some(text.clone())).is_ok());
        text
    })
}

#[test]
fn an_error_on_a_rank_ends_all_and_names_it() {
    let fail = |team: &Team| {
        let failed: Result<(Vec<u8>, ())> = Err(Error::Config("no such file".into()));
        team.agree(PLACE, failed).map(drop)
    };
    assert_eq!(ends(3, 1, fail), ["rank 1: no such file", "no such file", "rank 1: no such file"]);
    let early = |team: &Team| match team.end(Some("no such file".into())) {
        Err(Error::Device(_)) => Err(Error::Config("no such file".into())),
        other => other,
    };
    assert_eq!(ends(3, 2, early), ["rank 2: no such file", "rank 2: no such file", "no such file"]);
}

#[test]
fn a_panic_on_a_rank_is_an_error_on_all() {
    let found = threads::run(3, |team| {
        let work = || -> Result<()> {
            assert!(team.rank() != 1, "no such\nline");
            team.agree(PLACE, Ok((Vec::new(), ()))).map(drop)
        };
        team.guard(work).unwrap_err().to_string()
    });
    let said = "panicked: no such line";
    let told = format!("rank 1: {said}");
    assert_eq!(found, [told.as_str(), said, told.as_str()]);
    // What all have made well stays.
    assert_eq!(threads::run(2, |team| team.guard(|| Ok::<_, Error>(team.rank())).unwrap()), [0, 1]);
    let failed = Team::default().guard(|| Err::<(), _>(Error::Config("alone".into())));
    assert_eq!(failed.unwrap_err().to_string(), "alone");
}

#[test]
fn ranks_that_are_not_alike_are_told_so() {
    let elsewhere =
        |exchange: Meeting| move |team: &Team| team.agree(exchange, Ok((Vec::new(), ()))).map(drop);
    let found = ends(3, 2, elsewhere(Meeting { place: 4, ..PLACE }));
    assert!(found.iter().all(|text| text.starts_with("rank 2: has other settings")), "{found:?}");
    let found = ends(2, 1, elsewhere(Meeting { replica: 9, ..PLACE }));
    assert!(found.iter().all(|text| text.starts_with("rank 1: has other weights")), "{found:?}");
    let found = ends(2, 1, elsewhere(Meeting { name: "epoch", ..PLACE }));
    assert!(
        found.iter().all(|text| text.starts_with("rank 1: is at epoch where rank 0 is at step")),
        "{found:?}"
    );
}

#[test]
fn what_ranks_send_comes_in_the_order_of_the_ranks() {
    let found = threads::run(4, |team| {
        let mine = vec![team.rank() as u8; team.rank()];
        let (all, kept) = team.agree(PLACE, Ok((mine, team.rank()))).unwrap();
        assert_eq!(kept, team.rank());
        team.end(None).unwrap();
        all
    });
    let expected = vec![vec![], vec![1], vec![2, 2], vec![3, 3, 3]];
    assert!(found.iter().all(|all| *all == expected), "{found:?}");
}

#[test]
fn a_wish_to_stop_is_everybodys_after_the_next_exchange() {
    let found = threads::run(3, |team| {
        let before = team.stops(team.rank() == 1, team.rank() == 2);
        team.agree(PLACE, Ok((Vec::new(), ()))).unwrap();
        (before, team.stops(false, false))
    });
    assert_eq!(found, [((false, false), (true, true)); 3]);
    let alone = Team::new(Box::new(Single), Duration::ZERO);
    assert_eq!(alone.stops(true, false), (true, false));
}

#[test]
fn the_leader_makes_first_what_others_find() {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("made");
    threads::run(3, |team| {
        let make = || -> Result<()> {
            assert_eq!(path.exists(), !team.leads());
            std::fs::write(&path, "").unwrap();
            Ok(())
        };
        team.leader_first(make).unwrap();
    });
}
