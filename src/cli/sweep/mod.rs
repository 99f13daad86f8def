//! `candle-rnn sweep`: many runs that differ in their settings, trained by processes of this program.
//!
//! [`args`] are the arguments, [`share`] is what of a sweep this process trains, [`check`] what is looked at first;
//! [`child`] is the process that trains a trial, [`trainings`] are those that run, [`progress`] shows them, and [`table`]
//! what became of them; [`compared`] are several sweeps side by side. What a sweep is
//! stands in [`candle_rnn::sweep`].

mod args;
mod check;
mod child;
mod compared;
mod progress;
mod share;
mod table;
mod trainings;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;
use candle_rnn::sweep::{SweepFolder, SweepPlan};

pub(super) use args::SweepArgs;
pub(super) use compared::compare;

use progress::SweepProgress;
use share::Share;
use table::{SweepTable, TableForm};
use trainings::{SweepEnd, Trainings};

use super::signals::Signals;
use super::usage::wrong_usage;
use super::{processes, screen};

pub(super) fn run(args: SweepArgs) -> anyhow::Result<ExitCode> {
    let path = &args.file;
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot read the file", path.display()))?;
    let plan = SweepPlan::from_toml(&text)
        .with_context(|| format!("{}", path.display()))
        .inspect_err(processes::leave_to_first)?;
    let form = if args.json {
        TableForm::Json
    } else if args.csv {
        TableForm::Csv
    } else {
        TableForm::Lines
    };
    let out = args.folder();
    if args.dry_run {
        say_repeated(&args, &plan);
        table::list(&SweepFolder::numbered(&out, &plan)?, form)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.table {
        let folder = SweepFolder::read(&out)?;
        let plan = folder.plan()?;
        SweepTable::read(&folder, plan)?.show(form)?;
        return Ok(ExitCode::SUCCESS);
    }
    let task = args.array_task.zip(args.array_tasks);
    let share = Share::find(task, |name| std::env::var(name).ok()).map_err(wrong_usage)?;
    say_repeated(&args, &plan);
    // Nothing is written before all of it can be trained.
    let numbered = SweepFolder::numbered(&out, &plan)
        .map_err(anyhow::Error::from)
        .inspect_err(processes::leave_to_first)?;
    check::check(&numbered, (path, &out), args.retry, args.quiet || !share.shows())?;
    let folder = SweepFolder::open(&out, &plan, &text)?;
    let plan = folder.plan()?;
    let trials = plan.trials().len();
    let (jobs, threads) = args.jobs(&share, trials);
    if !args.quiet {
        let name = share.name().map_or(String::new(), |name| format!("{name}, "));
        screen::note(&format!(
            "sweep {}: {}, {name}{} at once with {} each",
            out.display(),
            screen::counted(trials, "trial"),
            jobs,
            screen::counted(threads.into(), "thread"),
        ));
    }
    let signals = Signals::register().context("cannot listen to signals")?;
    let progress = SweepProgress::new(trials, args.quiet);
    let mut trainings = Trainings::new(&folder, &plan, &share, (jobs, threads), progress)?;
    if args.retry {
        trainings.retry()?;
    }
    match trainings.run(&signals)? {
        SweepEnd::Interrupted(signal) => {
            screen::note("interrupted and saved: the same command goes on");
            Ok(ExitCode::from(128 + signal))
        }
        SweepEnd::OthersAreLeft => {
            if !args.quiet {
                screen::note(if args.test {
                    "this task has done its share; the last one that ends measures the best trial, and --table shows all"
                } else {
                    "this task has done its share; --table shows all"
                });
            }
            Ok(ExitCode::SUCCESS)
        }
        SweepEnd::Complete => {
            // Rank 0 shows what became of all, and how: when another fails, mpirun ends it meanwhile.
            if !share.shows() {
                return Ok(ExitCode::SUCCESS);
            }
            let table = SweepTable::read(&folder, plan.clone())?;
            table.show(form)?;
            conclude(&args, &folder, &plan, &table)?;
            let failed = table.failed();
            anyhow::ensure!(
                failed == 0,
                "{failed} of {} failed: the logs in {} say more, and --retry tries them again",
                screen::counted(trials, "trial"),
                out.join("trials").display()
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Says which trial is the best and, if asked to, measures it on the test data.
fn conclude(
    args: &SweepArgs,
    folder: &SweepFolder,
    plan: &SweepPlan,
    table: &SweepTable,
) -> anyhow::Result<()> {
    let Some(best) = table.best() else { return Ok(()) };
    let run = folder.run(best);
    if !args.test {
        if !args.quiet {
            let file = plan
                .data()
                .test
                .as_ref()
                .map_or(String::new(), |file| format!(" {}", screen::quoted(file)));
            screen::note(&format!("best: candle-rnn eval {}{file}", screen::quoted(&run)));
        }
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut eval = Command::new(program);
    eval.arg("eval").arg(&run).args(&plan.data().test);
    if args.json {
        eval.arg("--json");
    }
    let status = eval.status().context("cannot measure the best trial")?;
    anyhow::ensure!(status.success(), "{}: the best trial could not be measured", run.display());
    Ok(())
}

/// Says how many trials are left out since others have their settings.
fn say_repeated(args: &SweepArgs, plan: &SweepPlan) {
    let repeated = plan.repeated();
    if repeated > 0 && !args.quiet {
        let trials = screen::counted(repeated, "trial");
        screen::note(&format!("left out: {trials} with the same settings as another before"));
    }
}

/// Shows the table of a sweep, for `info`.
pub(super) fn info(path: &Path, json: bool) -> anyhow::Result<()> {
    let folder = SweepFolder::read(path)?;
    let plan = folder.plan()?;
    let form = if json { TableForm::Json } else { TableForm::Lines };
    SweepTable::read(&folder, plan)?.show(form)
}
