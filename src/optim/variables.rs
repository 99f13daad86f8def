//! Variables for an optimizer, in the forms in which programs have them.

use std::collections::BTreeMap;

use candle_core::Var;
use candle_nn::VarMap;

use crate::nn::VarSink;
use crate::{Error, Result};

/// Variables that an optimizer changes, each with the name under which its state is saved.
///
/// - a [`VarSink`] has all variables under its prefix, a `VarMap` all that it has
/// - maps and lists of names and variables have those
/// - a `Vec<Var>` has no names: the variables are called by their positions, `0`, `1` and so on
///
/// `VarMap::all_vars` is such a `Vec`, in an order that differs from process to process: an optimizer
/// whose state is to be saved takes the map.
pub trait Variables {
    /// The names and the variables.
    ///
    /// # Errors
    /// [`Error::Config`] when a thread that held the map panicked.
    fn named(self) -> Result<Vec<(String, Var)>>;
}

impl Variables for &VarSink {
    fn named(self) -> Result<Vec<(String, Var)>> {
        Ok(VarSink::named(self)?.into_iter().collect())
    }
}

impl Variables for &VarMap {
    fn named(self) -> Result<Vec<(String, Var)>> {
        let vars = self.data().lock().map_err(|_| {
            Error::Config("the variables are lost: a thread that held them panicked".into())
        })?;
        Ok(vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect())
    }
}

impl Variables for BTreeMap<String, Var> {
    fn named(self) -> Result<Vec<(String, Var)>> {
        Ok(self.into_iter().collect())
    }
}

impl Variables for &BTreeMap<String, Var> {
    fn named(self) -> Result<Vec<(String, Var)>> {
        self.clone().named()
    }
}

impl Variables for Vec<(String, Var)> {
    fn named(self) -> Result<Self> {
        Ok(self)
    }
}

impl<const N: usize> Variables for [(String, Var); N] {
    fn named(self) -> Result<Vec<(String, Var)>> {
        Ok(self.into())
    }
}

impl Variables for Vec<Var> {
    fn named(self) -> Result<Vec<(String, Var)>> {
        Ok(self.into_iter().enumerate().map(|(index, var)| (index.to_string(), var)).collect())
    }
}
