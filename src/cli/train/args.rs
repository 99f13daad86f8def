//! The arguments of `candle-rnn train`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, Context};
use candle_rnn::distributed::Team;
use candle_rnn::run::{self, IfExists, SessionConfig};
use candle_rnn::settings::{as_written, Recipe, RunSettings, Settings};
use candle_rnn::train::TrainerConfig;

use crate::cli::choices::{value_of, RECIPES};
use crate::cli::device::Compute;
use crate::cli::flags::{TrainFlags, IMAGES};
use crate::cli::numbers;
use crate::cli::own_files::{OtherFiles, OwnFiles};
use crate::cli::screen;
use crate::cli::source::ImageSource;
use crate::cli::usage::{of_other_task, wrong_usage};

/// Train a model on MNIST or on a file of your own, or resume a run; without arguments, the reference job
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn train                                the reference job: 150 tanh units, 5 epochs
  candle-rnn train --data sample --epochs 20      a first try, without a network
  candle-rnn train --recipe tanh                  99.4 % test accuracy with the same 150 units
  candle-rnn train --truncate 5 --loss-at every   truncated BPTT, segments of 5 rows
  candle-rnn train --cell lstm --hidden 128 --layers 2 --bidirectional --dropout 0.2
  candle-rnn train --schedule one-cycle --lr 0.004 --clip-norm 1 --shift 1 --epochs 20
  candle-rnn train vowels_TRAIN.ts                sequences of your own, with sensible defaults
  candle-rnn train sensors.csv --id run --time t --label state
  candle-rnn train sales.csv --horizon 12         forecast the next 12 steps of a series
  candle-rnn train book.txt                       a language model of characters
  candle-rnn train --config mine.toml --seed 7    settings from a file; flags override it
  candle-rnn train --out runs/relu --cell relu --init identity
  candle-rnn train --out runs/relu --resume       continue after an interruption
  candle-rnn train --out runs/relu --resume --epochs 60            train a finished run further")]
pub(crate) struct TrainArgs {
    /// A file with sequences or a text of your own: CSV, TSV, .ts, ARFF, JSON lines, npz, npy,
    /// safetensors, IDX or plain text, gzipped or not; without one, MNIST. The defaults in brackets
    /// are those of MNIST; sequences have one bidirectional GRU layer of 64 units, learning rate
    /// 0.003 with a cosine schedule, label smoothing 0.1 for classes, and early stopping; the size of
    /// the data chooses 60 to 150 epochs and batches of 8 to 256. A text has an LSTM layer of 256 units
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) files: OwnFiles,
    #[command(flatten)]
    pub(super) others: OtherFiles,
    /// Named settings that are known to work; flags and --config override them
    #[arg(long, help_heading = IMAGES, value_parser = value_of::<Recipe>(&RECIPES))]
    pub(super) recipe: Option<Recipe>,
    /// TOML file of settings, such as a run's train.toml; flags override it
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) source: ImageSource,
    #[command(flatten)]
    pub(super) flags: TrainFlags,
    #[command(flatten)]
    pub(super) compute: Compute,
    /// Run directory to write [default: the next free of runs/0001, runs/0002, ...]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Replace the run in --out, and start over
    #[arg(long, requires = "out", conflicts_with = "resume")]
    pub(super) overwrite: bool,
    /// Resume the run in --out from its newest valid checkpoint, or start it if there is none: on
    /// MNIST, unless FILE, --data or --dataset names other data; settings default to the run's. A larger --epochs or --patience trains a finished run
    /// further; if its schedule does not depend on the number of epochs (constant, plateau), the
    /// weights are bit-identical to a run that had so many from the start
    #[arg(long, requires = "out")]
    pub(super) resume: bool,
    /// With --resume and a larger --epochs: train a finished run further although its schedule
    /// depends on the number of epochs (one-cycle, cosine, step). The schedule restarts over the
    /// added epochs, without warm-up: the learning rate falls from --lr again
    #[arg(long, requires = "resume", conflicts_with = "overwrite")]
    pub(super) extend: bool,
    /// Print the lines of metrics.jsonl to stdout, and nothing else
    #[arg(long)]
    pub(super) json: bool,
    /// Print no progress on stderr and no epochs on stdout
    #[arg(long)]
    pub(super) quiet: bool,
    /// Save and stop after epoch N of --epochs, as a round of a sweep does; --resume continues
    #[arg(long, hide = true, value_name = "N", value_parser = numbers::at_least_one)]
    pub(super) pause_after: Option<usize>,
    /// Save and stop as at SIGTERM when standard input ends: a sweep that is gone trains nothing
    #[arg(long, hide = true)]
    pub(super) stop_on_eof: bool,
    /// The processes that train together.
    #[arg(skip)]
    pub(super) team: Team,
    /// Whether settings stand in the file of a sweep, and not in flags.
    #[arg(skip)]
    pub(super) is_trial: bool,
}

impl TrainArgs {
    /// Whether it is said on which data to train, or may be in --config.
    pub(super) fn names_data(&self) -> bool {
        let Self { file, source, flags, config, .. } = self;
        file.is_some() || source.data.is_some() || flags.dataset.is_some() || config.is_some()
    }

    /// All that was named: by flags, else in the file, else by the recipe.
    pub(super) fn settings(&self, is_resumed: bool) -> anyhow::Result<Settings> {
        let mut settings = Settings::of(&self.flags).map_err(wrong_usage)?;
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{}: cannot read the file", path.display()))?;
            let file = Settings::from_toml(&text).with_context(|| format!("{}", path.display()))?;
            settings = settings.or(file);
        }
        if let Some(recipe) = self.recipe {
            settings = settings.or(recipe.settings()?);
        }
        // How often a run is saved and what computes it is not in its configuration: it makes no other model.
        if let (true, Some(run)) = (is_resumed, &self.out) {
            match run::read_settings(run) {
                Ok(None) => {}
                Ok(Some(run)) => {
                    let run =
                        RunSettings { source: None, dataset: None, max_minutes: None, ..run.run() };
                    settings = settings.or(Settings::of(&run)?);
                }
                Err(error) => screen::note(&format!("skipped: {error}")),
            }
        }
        Ok(settings)
    }

    /// Makes something of the settings. An error has the names that were written: flags', or those of --config, whose
    /// error it is then, with its line.
    pub(super) fn make<R, E: Display>(
        &self,
        settings: &Settings,
        make: impl Fn(&Settings) -> Result<R, E>,
    ) -> anyhow::Result<R> {
        make(settings).map_err(|error| {
            let mut text = error.to_string();
            if self.is_trial {
                // A sweep names the settings of its file.
                return anyhow!(of_other_task(&text).map_or(text.clone(), |(_, reason)| reason));
            }
            let mut wrong: Vec<&str> = Vec::new();
            if let Some((name, reason)) = of_other_task(&text) {
                wrong.extend(settings.names().find(|setting| *setting == name));
                text = reason;
            } else {
                let is_wrong = |name: &&str| make(&settings.without(name)).is_ok();
                wrong.extend(settings.names().filter(is_wrong));
            }
            let file = self
                .config
                .as_ref()
                .map(|path| (path.display(), std::fs::read_to_string(path).unwrap_or_default()));
            let mut place = None;
            for name in wrong {
                if let Some(flag) = self.flags.name_of(name) {
                    text = as_written(&text, name, &flag);
                } else if let Some((path, file)) = &file {
                    let Some((line, written)) = Settings::place_of(file, name) else { continue };
                    text = as_written(&text, name, &written);
                    place.get_or_insert_with(|| format!("{path}: line {line}: "));
                }
            }
            match place {
                Some(place) => anyhow!("{place}{text}"),
                None => wrong_usage(text),
            }
        })
    }

    /// The device and threads, of the settings as far as no flag names them.
    pub(super) fn compute(&self, settings: &Settings) -> anyhow::Result<Compute> {
        self.make(settings, |settings| {
            let named = settings.run();
            self.compute.clone().or(named.device.as_deref(), named.threads)
        })
    }

    /// The run that is to be resumed, if there is one.
    pub(super) fn resumed(&self) -> Option<&Path> {
        self.out.as_deref().filter(|out| self.resume && out.join("config.json").exists())
    }

    /// Refuses a data set of images where there are others to train on.
    pub(super) fn refuse_images(&self, settings: &Settings) -> anyhow::Result<()> {
        for name in ["source", "dataset"] {
            self.make(settings, |settings| {
                if settings.names().all(|setting| setting != name) {
                    return Ok(());
                }
                Err(format!("{name} applies to MNIST and its like only, not to a FILE"))
            })?;
        }
        Ok(())
    }

    /// The parts of a batch where they are not named: one for each process, unless a step has as many batches.
    ///
    /// - `asked`: the settings without that
    pub(super) fn parts(&self, asked: &TrainerConfig, is_resumed: bool) -> usize {
        let processes = self.team.size();
        if is_resumed || asked.accumulate >= processes {
            return asked.parts;
        }
        asked.parts.max(processes)
    }

    /// How the run is kept.
    pub(super) fn keeping(&self, named: &RunSettings) -> SessionConfig {
        SessionConfig {
            if_exists: self.if_exists(),
            save_every: named.save_every,
            keep: named.keep.unwrap_or(SessionConfig::default().keep),
            // So many minutes that no duration holds them are no limit.
            time_limit: named
                .max_minutes
                .and_then(|minutes| Duration::try_from_secs_f64(60. * minutes).ok()),
        }
    }

    /// The settings of how it is run that train it again.
    pub(super) fn again(&self, named: RunSettings, compute: &Compute) -> RunSettings {
        RunSettings {
            // A limit of this process, not of the training.
            max_minutes: None,
            device: compute.device_name(),
            threads: compute.threads(),
            ..named
        }
    }

    fn if_exists(&self) -> IfExists {
        if self.overwrite {
            IfExists::Overwrite
        } else if self.extend {
            IfExists::Extend
        } else if self.resume {
            IfExists::Resume
        } else {
            IfExists::Refuse
        }
    }

    /// A line for people: on stdout, unless that is for JSON or nothing is to be said.
    pub(super) fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.quiet {
            return Ok(());
        }
        if !self.json {
            return screen::line(text);
        }
        screen::note(text);
        Ok(())
    }
}
