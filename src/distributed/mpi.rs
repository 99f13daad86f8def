//! `Mpi`, the ranks that `mpirun` started.

use std::thread;
use std::time::{Duration, Instant};

use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::request::{scope, Request, Scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, Threading};

use super::member::Member;
use super::{pieces, Collective};
use crate::{Error, Result};

/// For so long a rank that waits looks again at once; then it sleeps in between, and leaves its core to others.
const SPIN: Duration = Duration::from_millis(2);
const SLEEP: Duration = Duration::from_micros(100);

/// The ranks of MPI's world, which `mpirun` or `srun` has started.
///
/// When a rank dies, `mpirun` ends the others. When a rank does not answer, because its machine or the network is gone,
/// the others say so and end all with `MPI_Abort`.
pub struct Mpi {
    member: Member,
    /// MPI ends when it is dropped.
    _universe: Universe,
}

impl Mpi {
    /// Begins MPI. To be called once, and by the thread that drops what is returned.
    ///
    /// - `on_lost`: is told, before the process ends, that the other ranks do not answer
    ///
    /// # Errors
    /// [`Error::Device`] when MPI has begun already, or does not let another thread than the first call it.
    pub fn start(on_lost: impl Fn(&str) + Send + Sync + 'static) -> Result<Self> {
        let begun = mpi::initialize_with_threading(Threading::Serialized);
        let Some((universe, threading)) = begun else {
            return Err(Error::Device("MPI has begun in this process already".into()));
        };
        if threading < Threading::Serialized {
            return Err(Error::Device(format!(
                "this MPI library lets only one thread call it ({threading:?}): use one with thread support"
            )));
        }
        let world = universe.world();
        let member = Member::new((world.rank() as usize, world.size() as usize), on_lost);
        Ok(Self { member, _universe: universe })
    }

    /// Waits for an exchange, or ends the process.
    fn wait<'a, D: ?Sized, S: Scope<'a>>(
        &self,
        mut request: Request<'a, D, S>,
        patience: Duration,
    ) {
        let start = Instant::now();
        loop {
            request = match request.test() {
                Ok(_) => return,
                Err(request) => request,
            };
            let waited = start.elapsed();
            if waited >= patience {
                self.member.lose_others(waited);
                SimpleCommunicator::world().abort(1);
            }
            if waited < SPIN {
                thread::yield_now();
            } else {
                thread::sleep(SLEEP);
            }
        }
    }
}

/// How many bytes there are from or for each rank, and where they begin.
struct Pieces {
    counts: Vec<Count>,
    starts: Vec<Count>,
    total: usize,
}

impl Pieces {
    fn new(lengths: &[usize]) -> Result<Self> {
        let total: usize = lengths.iter().sum();
        let fail = |_| {
            Error::Device(format!(
                "an exchange of {total} bytes is too large for MPI, whose limit is {}",
                Count::MAX
            ))
        };
        Count::try_from(total).map_err(fail)?;
        let ranges = pieces::ranges(lengths);
        let counts = ranges.iter().map(|range| range.len() as Count).collect();
        let starts = ranges.iter().map(|range| range.start as Count).collect();
        Ok(Self { counts, starts, total })
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.member.rank
    }

    fn size(&self) -> usize {
        self.member.size
    }

    fn all_gather(&self, mine: &[u8], lengths: &[usize], patience: Duration) -> Result<Vec<u8>> {
        let pieces = Pieces::new(lengths)?;
        let mut all = vec![0; pieces.total];
        let mut parts = PartitionMut::new(&mut all[..], &pieces.counts[..], &pieces.starts[..]);
        let world = SimpleCommunicator::world();
        scope(|scope| {
            let request = world.immediate_all_gather_varcount_into(scope, mine, &mut parts);
            self.wait(request, patience);
        });
        Ok(all)
    }

    fn all_to_all(
        &self,
        mine: &[u8],
        sent: &[usize],
        received: &[usize],
        patience: Duration,
    ) -> Result<Vec<u8>> {
        let (to, from) = (Pieces::new(sent)?, Pieces::new(received)?);
        let mut all = vec![0; from.total];
        let send = Partition::new(mine, &to.counts[..], &to.starts[..]);
        let mut receive = PartitionMut::new(&mut all[..], &from.counts[..], &from.starts[..]);
        let world = SimpleCommunicator::world();
        scope(|scope| {
            let request = world.immediate_all_to_all_varcount_into(scope, &send, &mut receive);
            self.wait(request, patience);
        });
        Ok(all)
    }
}
