//! Processes that train one model together: what they exchange, and how each learns that another has failed.
//!
//! A [`Team`] is all ranks of a training as one of them sees it, by default itself [alone](Single). It exchanges bytes
//! through a [`Collective`], such as `Mpi` with the feature `mpi`; in each exchange every rank first says how it is, so
//! that an error on one of them ends all with the same message. [`Shares`] says which rank computes which part of a
//! step. Its gradients may go another way than all else, such as from GPU to GPU through `Nccl` with the feature `nccl`.
//! Sums are made in the order of the parts, whatever the number of ranks: the result has the same bits.
//! [`Team::guard`] runs what a rank does in the team.

mod collective;
mod guard;
#[cfg(any(feature = "mpi", feature = "nccl"))]
mod member;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod pieces;
mod rank_status;
mod shares;
mod team;

pub use collective::{Collective, Single};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use shares::Shares;
pub use team::Team;
pub(crate) use team::{Meeting, Wait};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod threads;
