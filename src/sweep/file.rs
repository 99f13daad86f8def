//! The TOML file of a sweep.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::halving::HalvingConfig;
use super::search::{
    check, distinct_values, draw, product, Chosen, Distribution, Searched, MAX_TRIALS,
};
use crate::data::formats::Layout;
use crate::data::TargetKind;
use crate::files::object::Object;
use crate::settings::{in_line, named_twice, no_toml, Settings};
use crate::{Error, Result};

/// The data of all trials: a file of one's own with its columns. Without a file, the settings `source` and `dataset`
/// say which images.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrialData {
    /// The file with the training data.
    pub file: Option<PathBuf>,
    /// A file with validation data.
    pub valid: Option<PathBuf>,
    /// A file with test data: no trial sees it.
    pub test: Option<PathBuf>,
    /// The column that names the sequence of a row.
    pub id: Option<String>,
    /// The column with the time of a step.
    pub time: Option<String>,
    /// The columns with the target.
    #[serde(deserialize_with = "one_or_more")]
    pub label: Vec<String>,
    /// The columns with the features.
    #[serde(deserialize_with = "one_or_more")]
    pub features: Vec<String>,
    /// The column that names the group of a sequence.
    pub group: Option<String>,
    /// The meaning of a table's rows.
    pub layout: Option<Layout>,
    /// The kind of target.
    pub target: Option<TargetKind>,
}

/// A text, or a list of texts.
fn one_or_more<'de, D: Deserializer<'de>>(reader: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a column's name, or a list of names")]
    enum ColumnNames {
        One(String),
        More(Vec<String>),
    }
    Ok(match ColumnNames::deserialize(reader)? {
        ColumnNames::One(name) => vec![name],
        ColumnNames::More(names) => names,
    })
}

type Entries = BTreeMap<String, Spanned<Value>>;

/// The tables of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    numbers: Option<Spanned<Vec<usize>>>,
    #[serde(default)]
    seeds: Option<Spanned<Value>>,
    #[serde(default)]
    data: Option<Spanned<Object<TrialData>>>,
    #[serde(default)]
    settings: Entries,
    #[serde(default)]
    grid: Option<Spanned<Entries>>,
    #[serde(default)]
    random: Option<Spanned<Entries>>,
    #[serde(default)]
    halving: Option<Spanned<Object<HalvingConfig>>>,
}

/// A setting as the file names it.
struct Named {
    name: String,
    /// Where its value begins, in bytes.
    start: usize,
}

/// The content of the file.
pub(super) struct SweepFile {
    pub(super) data: TrialData,
    /// Settings of all trials.
    pub(super) fixed: Settings,
    /// The settings of each trial alone, in order.
    pub(super) trials: Vec<Vec<Chosen>>,
    /// With where it stands, in bytes.
    pub(super) halving: Option<(HalvingConfig, usize)>,
    /// The numbers of the trials where they are not 1, 2 and so on, as a folder's file has them; with where they stand.
    pub(super) numbers: Option<(Vec<usize>, usize)>,
}

/// Settings that say how a process runs, which is not the file's affair.
const OF_THE_PROCESS: [(&str, &str); 2] = [
    ("max_minutes", "a trial ends with its last epoch"),
    ("threads", "it is set for all jobs together, when the sweep is started"),
];

impl SweepFile {
    pub(super) fn read(text: &str) -> Result<Self> {
        let tables: Tables = toml::from_str(text).map_err(|error| no_toml(text, error))?;
        let at = |start: usize| move |error: Error| in_line(text, start, &error.to_string());
        let mut fixed = Settings::default();
        let mut starts = BTreeMap::new();
        for (name, start, value) in in_order(tables.settings) {
            let one = Settings::one(&name, value).map_err(at(start))?;
            let current: String = one.names().collect();
            let named = Named { name: name.clone(), start };
            if let Some(before) = starts.insert(current.clone(), named) {
                return Err(in_line(text, start, &named_twice(&before.name, &name)));
            }
            if let Some((_, why)) = OF_THE_PROCESS.iter().find(|(name, _)| *name == current) {
                return Err(in_line(
                    text,
                    start,
                    &format!("{name} is no setting of a sweep: {why}"),
                ));
            }
            fixed = fixed.or(one);
        }
        let data = checked_data(text, tables.data, &starts)?;
        let random_start = tables.random.as_ref().map(|random| random.span().start);
        if let (Some(_), Some(start)) = (&tables.grid, random_start) {
            return Err(in_line(text, start, "give [grid] or [random], not both"));
        }
        let mut search = Search { text, names: starts };
        let mut trials = vec![Vec::new()];
        if let Some(grid) = tables.grid {
            trials = search.grid(grid.into_inner())?;
        }
        if let Some(random) = tables.random {
            let start = random.span().start;
            trials = search.random(random.into_inner(), start)?;
        }
        if let Some(seeds) = tables.seeds {
            trials = search.seeds(trials, seeds)?;
        }
        if trials.iter().all(Vec::is_empty) {
            let reason = "nothing is searched: give [grid], [random] or seeds";
            return Err(Error::Config(reason.into()));
        }
        let halving = tables.halving.map(|halving| {
            let start = halving.span().start;
            (halving.into_inner().0, start)
        });
        let numbers = tables.numbers.map(|numbers| {
            let start = numbers.span().start;
            (numbers.into_inner(), start)
        });
        Ok(Self { data, fixed, trials, halving, numbers })
    }
}

/// The entries of a table as they stand in the file.
fn in_order(entries: Entries) -> Vec<(String, usize, Value)> {
    let entry = |(name, value): (String, Spanned<Value>)| {
        let start = value.span().start;
        (name.replace('-', "_"), start, value.into_inner())
    };
    let mut entries: Vec<_> = entries.into_iter().map(entry).collect();
    entries.sort_by_key(|(_, start, _)| *start);
    entries
}

/// The data, if what is said of them goes together.
fn checked_data(
    text: &str,
    data: Option<Spanned<Object<TrialData>>>,
    settings: &BTreeMap<String, Named>,
) -> Result<TrialData> {
    let Some(data) = data else { return Ok(TrialData::default()) };
    let start = data.span().start;
    let Object(data) = data.into_inner();
    if data.file.is_none() {
        let reason = "[data] needs a file; the settings source and dataset say which images";
        return Err(in_line(text, start, reason));
    }
    match ["source", "dataset"].iter().find_map(|name| settings.get(*name)) {
        Some(Named { name, start }) => Err(in_line(
            text,
            *start,
            &format!("{name} says which images, and [data] names a file: give one"),
        )),
        None => Ok(data),
    }
}

/// The reader of what is searched.
struct Search<'a> {
    text: &'a str,
    /// The settings that were named already, by the names that they have now.
    names: BTreeMap<String, Named>,
}

impl Search<'_> {
    fn error(&self, start: usize, message: &str) -> Error {
        in_line(self.text, start, message)
    }

    /// Takes a setting that is searched, with the values that it must be able to have.
    fn name(&mut self, name: &str, start: usize, values: &[Value]) -> Result<()> {
        let current = check(name, values).map_err(|error| self.error(start, &error.to_string()))?;
        if let Some((_, why)) = OF_THE_PROCESS.iter().find(|(name, _)| *name == current) {
            return Err(self.error(start, &format!("{name} cannot be searched: {why}")));
        }
        let named = Named { name: name.into(), start };
        self.names
            .insert(current, named)
            .map_or(Ok(()), |before| Err(self.error(start, &named_twice(&before.name, name))))
    }

    fn checked_count(&self, count: Option<usize>, start: usize) -> Result<()> {
        if count.is_some_and(|count| count <= MAX_TRIALS) {
            return Ok(());
        }
        Err(self.error(start, &format!("these are more than {MAX_TRIALS} trials")))
    }

    fn grid(&mut self, entries: Entries) -> Result<Vec<Vec<Chosen>>> {
        let (mut settings, mut count) = (Vec::new(), Some(1usize));
        for (name, start, value) in in_order(entries) {
            let domain = distinct_values(&name, value)
                .map_err(|error| self.error(start, &error.to_string()))?;
            self.name(&name, start, &domain)?;
            count = count.and_then(|count| count.checked_mul(domain.len()));
            self.checked_count(count, start)?;
            settings.push(Searched { name, domain });
        }
        Ok(product(&settings))
    }

    fn random(&mut self, mut entries: Entries, start: usize) -> Result<Vec<Vec<Chosen>>> {
        let mut number = |name: &str| {
            let Some(value) = entries.remove(name) else { return Ok(None) };
            match value.get_ref().as_integer().and_then(|value| u64::try_from(value).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(in_line(
                    self.text,
                    value.span().start,
                    &format!(
                        "{name} must be a whole number of at least 0, got {}",
                        value.get_ref()
                    ),
                )),
            }
        };
        let (trials, seed) = (number("trials")?, number("seed")?.unwrap_or(0));
        let trials = trials.filter(|trials| *trials > 0);
        let Some(trials) = trials.and_then(|trials| usize::try_from(trials).ok()) else {
            return Err(self.error(start, "[random] needs trials, how many are drawn, at least 1"));
        };
        self.checked_count(Some(trials), start)?;
        let mut settings = Vec::new();
        for (name, start, value) in in_order(entries) {
            let domain = Distribution::of(&name, value)
                .map_err(|error| self.error(start, &error.to_string()))?;
            self.name(&name, start, &domain.ends())?;
            settings.push(Searched { name, domain });
        }
        if settings.is_empty() {
            return Err(self.error(start, "[random] names no setting to draw"));
        }
        Ok(draw(&settings, trials, seed))
    }

    /// Each trial with each seed.
    fn seeds(
        &mut self,
        trials: Vec<Vec<Chosen>>,
        seeds: Spanned<Value>,
    ) -> Result<Vec<Vec<Chosen>>> {
        let start = seeds.span().start;
        let seeds = distinct_values("seeds", seeds.into_inner())
            .map_err(|error| self.error(start, &error.to_string()))?;
        self.name("seed", start, &seeds)?;
        self.checked_count(trials.len().checked_mul(seeds.len()), start)?;
        let seeds = [Searched { name: "seed".into(), domain: seeds }];
        let with = |trial: &Vec<Chosen>| {
            let seeds = product(&seeds);
            seeds.into_iter().map(|seed| [trial.clone(), seed].concat()).collect::<Vec<_>>()
        };
        Ok(trials.iter().flat_map(with).collect())
    }
}
