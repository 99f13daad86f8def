//! `Team`, all ranks of a training as one of them sees it; `sum` adds up their gradients.

mod sum;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::pieces::cut;
use super::rank_status::RankStatus;
use super::{Collective, Shares, Single};
use crate::{Error, Result};

/// A rank asks all to save and stop.
const STOP: u8 = 1;
/// A rank's time is up.
const OUT_OF_TIME: u8 = 2;
/// How much longer ranks wait where one of them alone has something to do, such as to validate.
const LONGER: u32 = 10;

/// The ranks of a training, or one process [alone](Single), which is the default. Clones are the same team.
///
/// Rank 0 leads: it alone has the run directory, and speaks.
#[derive(Clone)]
pub struct Team(Arc<Shared>);

struct Shared {
    collective: Box<dyn Collective>,
    /// The exchange of gradients, if it is another.
    gradients: OnceLock<Box<dyn Collective>>,
    patience: Duration,
    /// Whether an exchange has told of an error, or of the end: there is none after it.
    has_ended: AtomicBool,
    /// The requests of this rank, and those of any rank by the last exchange.
    asks: AtomicU8,
    asked: AtomicU8,
    /// Nanoseconds in which steps waited for other ranks, and in which they exchanged gradients.
    waited: AtomicU64,
    exchanged: AtomicU64,
}

/// How long the others are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// All ranks compute about as much.
    Even,
    /// One rank has much to do that the others have not.
    Long,
}

/// An exchange of a rank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting {
    /// A word for it, of which eight bytes count.
    pub(crate) name: &'static str,
    /// A number that must be equal on all ranks, such as that of the step.
    pub(crate) place: u64,
    /// A hash of the weights of this rank; 0 where they are not compared.
    pub(crate) replica: u64,
    /// How long the others are waited for.
    pub(crate) wait: Wait,
}

impl Default for Team {
    fn default() -> Self {
        Self::new(Box::new(Single), Duration::MAX)
    }
}

impl Team {
    /// The ranks that `collective` connects.
    ///
    /// - `patience`: how long a rank waits for the others in a step, and a tenth of how long it waits where one of them
    ///   reads data, validates or saves
    pub fn new(collective: Box<dyn Collective>, patience: Duration) -> Self {
        Self(Arc::new(Shared {
            collective,
            gradients: OnceLock::new(),
            patience,
            has_ended: AtomicBool::new(false),
            asks: AtomicU8::new(0),
            asked: AtomicU8::new(0),
            waited: AtomicU64::new(0),
            exchanged: AtomicU64::new(0),
        }))
    }

    /// Exchanges gradients through another collective from here on; all else goes the way that it went. All ranks call it.
    ///
    /// # Errors
    /// [`Error::Config`] when the collective has other ranks, or the team has one for its gradients already.
    pub fn exchange_gradients_through(&self, collective: Box<dyn Collective>) -> Result<()> {
        let (rank, size) = (collective.rank(), collective.size());
        if (rank, size) != (self.rank(), self.size()) {
            return Err(Error::Config(format!(
                "rank {} of {} cannot exchange gradients as rank {rank} of {size}: connect the same ranks",
                self.rank(),
                self.size()
            )));
        }
        self.0.gradients.set(collective).map_err(|_| {
            Error::Config(
                "a team has one collective for its gradients, and it is set already".into(),
            )
        })
    }

    /// This process' rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.collective.rank()
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.0.collective.size()
    }

    /// Whether this is rank 0, which alone writes.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there is no other rank.
    pub fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// How `count` parts are shared out over the ranks.
    pub fn shares(&self, count: usize) -> Shares {
        Shares { count, ranks: self.size() }
    }

    /// Runs `make` on rank 0, then on the others, which find what rank 0 has left on the disk.
    ///
    /// # Errors
    /// Those of `make` on this rank; [`Error::Rank`] when it failed on rank 0.
    pub fn leader_first<R, E: From<Error> + std::fmt::Display>(
        &self,
        make: impl FnOnce() -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        if self.is_alone() {
            return make();
        }
        if !self.leads() {
            self.meet("data", Ok(()))?;
            return make();
        }
        let made = make()?;
        self.meet("data", Ok(()))?;
        Ok(made)
    }

    /// Ends the exchanges of this team: every rank calls it last, with the error that it ended with, if it did.
    ///
    /// # Errors
    /// [`Error::Rank`] when another rank, of a lower number than this one's if it failed itself, has failed.
    pub fn end(&self, failed: Option<String>) -> Result<()> {
        if self.is_alone() || self.0.has_ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        let ended = self.meet("end", failed.map_or(Ok(()), Err));
        self.0.has_ended.store(true, Ordering::Relaxed);
        ended
    }

    /// Says whether this rank wants to stop, and returns whether all do: by then at the latest that the next exchange is over.
    ///
    /// - `is_told`: whether it was told to stop
    /// - `is_out_of_time`: whether its time is up
    /// - returns both, as far as any rank had said so by the last exchange
    pub fn stops(&self, is_told: bool, is_out_of_time: bool) -> (bool, bool) {
        if self.is_alone() {
            return (is_told, is_out_of_time);
        }
        let asks = (STOP * u8::from(is_told)) | (OUT_OF_TIME * u8::from(is_out_of_time));
        self.0.asks.fetch_or(asks, Ordering::Relaxed);
        let asked = self.0.asked.load(Ordering::Relaxed);
        (asked & STOP != 0, asked & OUT_OF_TIME != 0)
    }

    /// The seconds in which steps have waited for other ranks, and those in which they exchanged gradients.
    pub fn seconds(&self) -> (f64, f64) {
        let seconds = |nanoseconds: &AtomicU64| nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9;
        (seconds(&self.0.waited), seconds(&self.0.exchanged))
    }

    /// All ranks meet, and hear of each other's errors.
    fn meet(&self, name: &'static str, mine: std::result::Result<(), String>) -> Result<()> {
        let exchange = Meeting { name, place: 0, replica: 0, wait: Wait::Long };
        self.gather(exchange, mine.map(|()| Vec::new())).map(drop)
    }

    /// Exchanges what each rank has made; where one has failed, all fail.
    ///
    /// - `mine`: the bytes that this rank sends to all, and what else it keeps
    /// - returns what it keeps, and what each rank has sent
    ///
    /// # Errors
    /// This rank's own error if it is the first that failed, else [`Error::Rank`].
    pub(crate) fn agree<T>(
        &self,
        exchange: Meeting,
        mine: Result<(Vec<u8>, T)>,
    ) -> Result<(Vec<Vec<u8>>, T)> {
        match mine {
            Ok((bytes, kept)) => Ok((self.gather(exchange, Ok(bytes))?, kept)),
            Err(error) => match self.gather(exchange, Err(error.to_string())) {
                Err(sooner @ Error::Rank { .. }) => Err(sooner),
                _ => Err(error),
            },
        }
    }

    /// Sends bytes, or why there are none, to all ranks; returns what each sent.
    ///
    /// # Errors
    /// [`Error::Rank`] when another rank has failed, of a lower number than this if it failed too, and when a rank is not
    /// where rank 0 is, or not equal; [`Error::Device`] after the end.
    fn gather(
        &self,
        exchange: Meeting,
        mine: std::result::Result<Vec<u8>, String>,
    ) -> Result<Vec<Vec<u8>>> {
        if self.0.has_ended.load(Ordering::Relaxed) {
            return Err(Error::Device("the ranks have ended their training".into()));
        }
        let (failed, bytes) = match mine {
            Ok(bytes) => (false, bytes),
            Err(reason) => (true, reason.into_bytes()),
        };
        let own = RankStatus {
            name: RankStatus::name(exchange.name),
            failed,
            asks: self.0.asks.load(Ordering::Relaxed),
            place: exchange.place,
            replica: exchange.replica,
            length: bytes.len() as u64,
        };
        let patience = self.patience(exchange.wait);
        let lengths = vec![RankStatus::BYTES; self.size()];
        let said = self.0.collective.all_gather(&own.to_bytes(), &lengths, patience)?;
        let all: Vec<RankStatus> =
            said.chunks_exact(RankStatus::BYTES).map(RankStatus::from_bytes).collect();
        let asked = all.iter().fold(0, |asked, status| asked | status.asks);
        self.0.asked.store(asked, Ordering::Relaxed);
        if let Err(error) = self.check(&own, &all, &bytes) {
            self.0.has_ended.store(true, Ordering::Relaxed);
            return Err(error);
        }
        let lengths: Vec<usize> = all.iter().map(|status| status.length as usize).collect();
        if lengths.iter().all(|length| *length == 0) {
            return Ok(vec![Vec::new(); lengths.len()]);
        }
        let said = self.0.collective.all_gather(&bytes, &lengths, self.0.patience)?;
        Ok(cut(&said, &lengths))
    }

    /// Checks that no rank has failed, and that all are where this one is.
    fn check(&self, own: &RankStatus, all: &[RankStatus], reason: &[u8]) -> Result<()> {
        if let Some(rank) = all.iter().position(|status| status.failed) {
            // Of the ranks that failed each says why.
            let failed = all.iter().map(|status| usize::from(status.failed));
            let lengths: Vec<usize> =
                failed.zip(all).map(|(failed, status)| failed * status.length as usize).collect();
            let reason = if own.failed { reason } else { &[] };
            let said = self.0.collective.all_gather(reason, &lengths, self.0.patience)?;
            let mut reasons = cut(&said, &lengths);
            if rank == self.rank() {
                return Err(Error::Device("this rank failed".into()));
            }
            let reason = String::from_utf8_lossy(&std::mem::take(&mut reasons[rank])).into_owned();
            return Err(Error::Rank { rank, reason });
        }
        let other = |is_other: &dyn Fn(&RankStatus) -> bool| all.iter().position(is_other);
        let first = &all[0];
        let (rank, reason) = if let Some(rank) = other(&|status| status.name != first.name) {
            let (there, leader) = (all[rank].what(), first.what());
            let reason = format!(
                "is at {there} where rank 0 is at {leader}: start all with the same program and arguments"
            );
            (rank, reason)
        } else if let Some(rank) = other(&|status| status.place != first.place) {
            let reason = "has other settings or data than rank 0: start all with the same arguments and files";
            (rank, reason.into())
        } else if let Some(rank) = other(&|status| status.replica != first.replica) {
            let reason = "has other weights than rank 0: resume from the last checkpoint, and check the memory and \
                          the program of both machines";
            (rank, reason.into())
        } else {
            return Ok(());
        };
        Err(Error::Rank { rank, reason })
    }

    /// Counts the time since `start` as waiting for other ranks.
    pub(crate) fn count_waiting(&self, start: Instant) {
        self.count(&self.0.waited, start);
    }

    fn count(&self, total: &AtomicU64, start: Instant) {
        total.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    fn patience(&self, wait: Wait) -> Duration {
        match wait {
            Wait::Even => self.0.patience,
            Wait::Long => self.0.patience.saturating_mul(LONGER),
        }
    }
}
