//! `Nccl`, the GPUs of a team's ranks.

use std::ffi::c_char;
use std::ops::Range;
use std::sync::mpsc::{channel, sync_channel, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use candle_core::cuda_backend::cudarc::driver::{CudaStream, DriverError};
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{group_end, group_start, Comm, Id};
use candle_core::Device;

use super::member::Member;
use super::pieces::ranges;
use super::{Collective, Meeting, Team, Wait};
use crate::{Error, Result};

/// Bytes of the number by which GPUs find each other.
const ID_BYTES: usize = 128;

/// The NVIDIA GPUs of a team's ranks, a GPU for each, which send each other bytes through NCCL: by NVLink, PCI Express or a
/// network.
///
/// A team [takes it](Team::exchange_gradients_through) for its gradients. When a rank does not answer, the others say so
/// and end their processes.
pub struct Nccl {
    member: Member,
    /// To the thread that has the communicator, which no other thread may call. `None` when it is to end.
    exchanges: Option<Sender<GpuExchange>>,
    thread: Option<JoinHandle<()>>,
}

/// A request to the thread.
struct GpuExchange {
    mine: Vec<u8>,
    /// The part of `mine` that each rank is sent.
    sent: Vec<Range<usize>>,
    /// How many bytes each rank sends.
    received: Vec<usize>,
    answer: SyncSender<Result<Vec<u8>>>,
}

impl Nccl {
    /// Connects the GPUs of a team's ranks. All ranks call it, each with a GPU of its own.
    ///
    /// - `team`: by which they tell each other how their GPUs are found
    /// - `patience`: how long the others are waited for
    /// - `on_lost`: is told, before the process ends, that the other ranks do not answer
    ///
    /// # Errors
    /// [`Error::Config`] unless the device is an NVIDIA GPU; [`Error::Device`] when NCCL cannot connect it;
    /// [`Error::Rank`] when another rank has failed.
    pub fn start(
        team: &Team,
        device: &Device,
        patience: Duration,
        on_lost: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        let meeting = Meeting { name: "gpus", place: 0, replica: 0, wait: Wait::Long };
        let mine = stream_of(device).and_then(|stream| {
            let id = if team.leads() {
                Id::new().map_err(failed)?.internal().to_vec()
            } else {
                Vec::new()
            };
            Ok((id.into_iter().map(|char| char as u8).collect(), stream))
        });
        let (said, stream) = team.agree(meeting, mine)?;
        let id: [u8; ID_BYTES] = said[0].as_slice().try_into().map_err(|_| {
            Error::Device(format!("rank 0 said {} bytes of NCCL's {ID_BYTES}", said[0].len()))
        })?;
        let id = Id::uninit(id.map(|byte| byte as c_char));
        let (rank, size) = (team.rank(), team.size());
        let (exchanges, asked) = channel();
        let (ready, is_ready) = sync_channel(1);
        let thread = std::thread::spawn(move || serve(stream, (rank, size), id, &ready, &asked));
        let nccl = Self {
            member: Member::new((rank, size), on_lost),
            exchanges: Some(exchanges),
            thread: Some(thread),
        };
        let connected = nccl.wait(&is_ready, patience);
        team.agree(meeting, connected.map(|()| (Vec::new(), ())))?;
        Ok(nccl)
    }

    /// Waits for the thread's answer. Without one the process ends.
    fn wait<R>(&self, answer: &Receiver<Result<R>>, patience: Duration) -> Result<R> {
        match answer.recv_timeout(patience) {
            Ok(found) => found,
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
            Err(RecvTimeoutError::Timeout) => {
                self.member.lose_others(patience);
                // Whoever started the processes ends the others.
                std::process::exit(1)
            }
        }
    }

    fn exchange(
        &self,
        mine: &[u8],
        sent: Vec<Range<usize>>,
        received: &[usize],
        patience: Duration,
    ) -> Result<Vec<u8>> {
        let (answer, answered) = sync_channel(1);
        let exchange =
            GpuExchange { mine: mine.to_vec(), sent, received: received.to_vec(), answer };
        let exchanges = self.exchanges.as_ref().ok_or_else(ended)?;
        exchanges.send(exchange).map_err(|_| ended())?;
        self.wait(&answered, patience)
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        self.exchanges = None;
        if let Some(thread) = self.thread.take() {
            // It has said what went wrong, if something did.
            let _ = thread.join();
        }
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.member.rank
    }

    fn size(&self) -> usize {
        self.member.size
    }

    fn all_gather(&self, mine: &[u8], lengths: &[usize], patience: Duration) -> Result<Vec<u8>> {
        self.exchange(mine, vec![0..mine.len(); self.size()], lengths, patience)
    }

    fn all_to_all(
        &self,
        mine: &[u8],
        sent: &[usize],
        received: &[usize],
        patience: Duration,
    ) -> Result<Vec<u8>> {
        self.exchange(mine, ranges(sent), received, patience)
    }
}

/// Connects a GPU, then makes exchanges until nobody can ask for more.
fn serve(
    stream: Arc<CudaStream>,
    (rank, size): (usize, usize),
    id: Id,
    ready: &SyncSender<Result<()>>,
    asked: &Receiver<GpuExchange>,
) {
    let bound = stream.context().bind_to_thread().map_err(driver_failed);
    let comm = bound.and_then(|()| Comm::from_rank(stream, rank, size, id).map_err(failed));
    let comm = match comm {
        Ok(comm) => comm,
        Err(error) => {
            // Who waits no longer has ended.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    for exchange in asked {
        let _ = exchange.answer.send(exchanged(&comm, &exchange));
    }
}

/// Makes an exchange: copies the bytes to the GPU, sends and receives all pieces at once, and copies what came back.
fn exchanged(comm: &Comm, exchange: &GpuExchange) -> Result<Vec<u8>> {
    let GpuExchange { mine, sent, received, .. } = exchange;
    let stream = comm.stream();
    let to = ranges(received);
    let total: usize = received.iter().sum();
    // There are no buffers of length 0.
    let send = if mine.is_empty() { stream.alloc_zeros::<u8>(1) } else { stream.clone_htod(mine) };
    let send = send.map_err(driver_failed)?;
    let mut receive = stream.alloc_zeros::<u8>(total.max(1)).map_err(driver_failed)?;
    let others = |pieces: &[Range<usize>]| -> Vec<(i32, Range<usize>)> {
        let pieces = (0..).zip(pieces.iter().cloned());
        pieces.filter(|(peer, piece)| *peer != comm.rank() as i32 && !piece.is_empty()).collect()
    };
    group_start().map_err(failed)?;
    let mut queue = || -> std::result::Result<(), NcclError> {
        for (peer, piece) in others(sent) {
            comm.send(&send.slice(piece), peer)?;
        }
        for (peer, piece) in others(&to) {
            comm.recv(&mut receive.slice_mut(piece), peer)?;
        }
        Ok(())
    };
    let queued = queue();
    // A group that has begun is ended whatever was in it.
    let ended = group_end();
    queued.and(ended.map(drop)).map_err(failed)?;
    let mut all: Vec<u8> = stream.clone_dtoh(&receive).map_err(driver_failed)?;
    stream.synchronize().map_err(driver_failed)?;
    all.truncate(total);
    // What a rank sends itself stays where it is.
    if let (Some(to), Some(from)) = (to.get(comm.rank()), sent.get(comm.rank())) {
        all[to.clone()].copy_from_slice(&mine[from.clone()]);
    }
    Ok(all)
}

fn stream_of(device: &Device) -> Result<Arc<CudaStream>> {
    match device {
        Device::Cuda(device) => Ok(device.cuda_stream()),
        other => {
            let place = other.location();
            Err(Error::Config(format!("NCCL connects NVIDIA GPUs, and the device is {place:?}")))
        }
    }
}

fn failed(error: NcclError) -> Error {
    Error::Device(format!(
        "NCCL failed ({:?}): give each process a GPU of its own, and set NCCL_DEBUG=INFO to have NCCL say more",
        error.0
    ))
}

fn driver_failed(error: DriverError) -> Error {
    Error::Device(format!("an exchange between GPUs failed: {error}"))
}

fn ended() -> Error {
    Error::Device("NCCL's thread has ended: see what it said".into())
}
