//! The cells by the names that `config.json` has for them.

use serde::Deserialize;

use crate::kernels::CellKind;

/// A cell of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CellName {
    Tanh,
    Relu,
    Gru,
    GruResetBefore,
    Lstm,
    MinimalGru,
}

impl CellName {
    pub(super) fn kind(self) -> CellKind {
        match self {
            Self::Tanh => CellKind::Tanh,
            Self::Relu => CellKind::Relu,
            Self::Gru => CellKind::Gru,
            Self::GruResetBefore => CellKind::GruResetBefore,
            Self::Lstm => CellKind::Lstm,
            Self::MinimalGru => CellKind::MinimalGru,
        }
    }
}
