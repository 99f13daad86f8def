//! A `Collective` of threads, for tests.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Mutex;
use std::time::Duration;

use super::{Collective, Team};
use crate::Result;

/// A rank whose messages are channels to and from all ranks.
struct Threads {
    rank: usize,
    send: Vec<Sender<Vec<u8>>>,
    receive: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.send.len()
    }

    fn all_gather(&self, mine: &[u8], lengths: &[usize], patience: Duration) -> Result<Vec<u8>> {
        let sent = vec![mine.len(); self.size()];
        self.all_to_all(&mine.repeat(self.size()), &sent, lengths, patience)
    }

    fn all_to_all(
        &self,
        mine: &[u8],
        sent: &[usize],
        received: &[usize],
        _patience: Duration,
    ) -> Result<Vec<u8>> {
        let mut rest = mine;
        for (sender, length) in self.send.iter().zip(sent) {
            let (own, others) = rest.split_at(*length);
            sender.send(own.to_vec()).unwrap();
            rest = others;
        }
        assert!(rest.is_empty());
        let mut all = Vec::new();
        for (receiver, length) in self.receive.iter().zip(received) {
            let said = receiver.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(said.len(), *length);
            all.extend(said);
        }
        Ok(all)
    }
}

/// Runs `work` on so many ranks, each a thread; returns what each returned, in their order.
pub(crate) fn run<R: Send>(size: usize, work: impl Fn(Team) -> R + Sync) -> Vec<R> {
    connected(size, |collective| work(Team::new(collective, Duration::from_secs(60))))
}

/// As [`run`], with what connects them.
pub(crate) fn connected<R: Send>(
    size: usize,
    work: impl Fn(Box<dyn Collective>) -> R + Sync,
) -> Vec<R> {
    let mut senders: Vec<Vec<Sender<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
    let mut receivers = Vec::new();
    for _ in 0..size {
        let mut row = Vec::new();
        for from in &mut senders {
            let (sender, receiver) = channel();
            from.push(sender);
            row.push(Mutex::new(receiver));
        }
        receivers.push(row);
    }
    std::thread::scope(|scope| {
        let ranks: Vec<_> = senders
            .into_iter()
            .zip(receivers)
            .enumerate()
            .map(|(rank, (send, receive))| {
                let work = &work;
                let threads = Threads { rank, send, receive };
                scope.spawn(move || work(Box::new(threads)))
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}
