//! The weights of a run in `f16`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};

use super::save::{check_place, save, IfThere};
use super::trained::TrainedRun;
use crate::files::tensors::{numbers, WeightFile};
use crate::files::{checksums, durable, tensors};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";
/// The largest number of `f16`.
const MAX: f64 = 65_504.;

/// A run whose weights are `f16`.
#[derive(Clone, Debug)]
pub struct HalfModel {
    /// The weights, by their names in the run.
    pub weights: BTreeMap<String, Tensor>,
    /// The largest difference of a weight from its `f16`, and the tensor in which it is.
    pub largest_error: (f64, String),
    /// The bytes of the run's weights as they are stored, which may be in `f16` themselves.
    pub bytes_before: usize,
    /// The bytes of the weights in `f16`.
    pub bytes_after: usize,
    config: Vec<u8>,
}

/// Where the weights in `f16` are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfPlace {
    /// A folder with weights and configuration, which loads as a run does.
    Folder,
    /// A safetensors file with the weights alone.
    File,
}

/// The weights of a run directory, or of a checkpoint of it, rounded to `f16`.
///
/// # Errors
/// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run; [`Error::Weight`] for a weight
/// beyond the range of `f16`, ±65,504.
pub fn half(run: &Path) -> Result<HalfModel> {
    let trained = TrainedRun::read(run)?;
    let stored = WeightFile::open(&run.join(MODEL))?;
    let config = trained.config_json()?;
    let mut weights = BTreeMap::new();
    let mut largest = (0f64, String::new());
    let mut after = 0;
    for (name, weight) in &trained.weights {
        let values = numbers(weight)?;
        let size = values.iter().fold(0f64, |size, value| size.max(value.abs()));
        let rounded = weight.to_dtype(DType::F16)?;
        let rounded_values = numbers(&rounded)?;
        if rounded_values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Weight {
                name: name.clone(),
                expected: format!("numbers that f16 can hold, at most {MAX}"),
                found: format!("one of {size}"),
            });
        }
        let differences = values.iter().zip(&rounded_values).map(|(a, b)| (a - b).abs());
        let error = differences.fold(0f64, f64::max);
        if error > largest.0 || largest.1.is_empty() {
            largest = (error, name.clone());
        }
        after += values.len() * rounded.dtype().size_in_bytes();
        weights.insert(name.clone(), rounded);
    }
    Ok(HalfModel {
        weights,
        largest_error: largest,
        bytes_before: stored.data_len(),
        bytes_after: after,
        config,
    })
}

/// Checks that a halved run may be written at `path`.
///
/// # Errors
/// As [`check_place`] for a file; [`Error::Config`] for a folder that is not to be replaced, or that holds what no halved run
/// has.
pub fn check_half_place(path: &Path, place: HalfPlace, if_there: IfThere) -> Result<()> {
    if place == HalfPlace::File {
        return check_place(path, if_there);
    }
    if path.is_dir() {
        return check_folder(path, if_there);
    }
    check_place(path, if_there)?;
    if path.symlink_metadata().is_ok() {
        let name = path.display();
        return Err(Error::Config(format!("{name} is a file: name a folder")));
    }
    Ok(())
}

/// Writes a halved run, whole or not at all.
///
/// # Errors
/// As [`save`] and [`check_half_place`].
pub fn save_half(
    model: &HalfModel,
    path: &Path,
    place: HalfPlace,
    if_there: IfThere,
) -> Result<()> {
    let weights = tensors::serialize(&model.weights)?;
    if place == HalfPlace::File {
        return save(path, &weights, if_there);
    }
    check_half_place(path, place, if_there)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        durable::create_folder(folder)?;
    }
    durable::write_folder(path, &[(CONFIG, &model.config), (MODEL, &weights)])
}

/// Checks that a folder may be replaced: that it holds what an export writes, and nothing else.
fn check_folder(path: &Path, if_there: IfThere) -> Result<()> {
    let name = path.display();
    let mut entries = std::fs::read_dir(path).map_err(Error::io(path, "read the folder"))?;
    let foreign = entries.find_map(|entry| {
        let name = entry.ok()?.file_name().to_string_lossy().into_owned();
        let is_ours = [CONFIG, MODEL, checksums::NAME].contains(&name.as_str());
        (!is_ours).then_some(name)
    });
    if let Some(foreign) = foreign {
        return Err(Error::Config(format!(
            "{name} holds {foreign}, which a folder of halved weights does not: name another folder"
        )));
    }
    let is_empty = path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if if_there == IfThere::Refuse && !is_empty {
        return Err(Error::Config(format!("{name} exists: name another folder, or replace it")));
    }
    Ok(())
}
