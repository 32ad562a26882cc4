//! `ackscope run`: plays scenarios, prints what happens, and says what it proved.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ackscope_harness::environment::containers::Containers;
use ackscope_harness::environment::{BackendChoice, Settings};
use ackscope_harness::recording::RecordOptions;
use ackscope_harness::report::files::write_report;
use ackscope_harness::report::json::{self, JsonReports};
use ackscope_harness::report::paint::Paint;
use ackscope_harness::report::table::{BackendRuns, Table, table_text};
use ackscope_harness::report::terminal::{TerminalReport, verdict_line};
use ackscope_harness::scenario::{self, RunOptions, RunReport, Scenario, StepResult, Verdict};
use ackscope_harness::world::{World, WorldError, WorldOptions};
use serde_json::json;

use super::args::{RunArgs, environment, load_settings, settle};
use super::check::{print_wrong, problems_json, read_all};
use super::{Exit, Outcome, Trouble, out, record, signals};

/// How much is said while scenarios are played.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// Every step, and what came of it.
    Steps,
    /// One line for each scenario.
    Verdicts,
    /// Nothing: machines listen.
    Silent,
}

/// Plays the scenarios, one after the other, each in a world of its own.
pub(crate) async fn run(args: RunArgs) -> Outcome {
    if args.schema {
        out::line(&serde_json::to_string_pretty(json::schema().as_value())?);
        return Ok(Exit::Pass);
    }
    let (scenarios, wrong) = read_all(&args.files);
    if !wrong.is_empty() {
        if args.json {
            out::json(&json!({ "verdict": null, "problems": problems_json(&wrong) }))?;
        } else {
            print_wrong(&wrong);
        }
        return Ok(Exit::Usage);
    }
    let flags = Settings {
        limits: args.limits.limits.iter().copied().collect(),
        ..args.servers.flags(args.backend.first().copied())
    };
    let mut settings = load_settings(flags)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX)));
    if args.backend.len() > 1 {
        return on_several(&args, &scenarios, &settings, seed).await;
    }
    let voice = if args.json { Voice::Silent } else { Voice::Steps };
    let mut reports = Vec::new();
    let mut recordings = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let record = match &args.report {
            _ if args.record.record.is_some() || args.record.no_record => record::by_flags(&args.record, index),
            Some(folder) => Some(RecordOptions::to(record::in_report(folder, index)?)),
            None => record::by_flags(&args.record, index),
        };
        let record = record.map(|record| named(record, scenario, seed));
        recordings.extend(record.iter().map(|record| record.file.clone()));
        match run_one(scenario, &settings, None, seed, record, voice).await {
            Ok(Some(report)) => {
                settle(&mut settings, report.backend);
                reports.push(report);
            }
            Ok(None) => return Ok(interrupted()),
            Err(error) if error.is_usage() => return Err(Trouble::usage(error)),
            Err(error) => return Err(Trouble::environment(error)),
        }
    }
    let verdict = reports.iter().map(RunReport::verdict).max().unwrap_or(Verdict::Inconclusive);
    if let Some(folder) = &args.report {
        let written = write_report(folder, &reports)?;
        if !args.json {
            let names: Vec<_> = written.iter().chain(&recordings).map(|path| path.display().to_string()).collect();
            out::line(&format!("Report: {}", names.join(", ")));
        }
    } else if args.record.record.is_some() && !args.json {
        let names: Vec<_> = recordings.iter().map(|path| path.display().to_string()).collect();
        out::line(&format!("Recorded: {}", names.join(", ")));
    } else if verdict != Verdict::Pass && !args.json {
        for (recording, _) in recordings.iter().zip(&reports).filter(|(_, report)| report.verdict() != Verdict::Pass) {
            out::note(&format!("To look at it again: ackscope replay {}", recording.display()));
        }
    }
    if args.json {
        out::json(&JsonReports::of(&reports))?;
    }
    Ok(exit(verdict))
}

/// Plays the scenarios on each backend and lays the outcomes beside each other.
async fn on_several(args: &RunArgs, scenarios: &[Scenario], settings: &Settings, seed: u64) -> Outcome {
    for (index, backend) in args.backend.iter().enumerate() {
        if args.backend[..index].contains(backend) {
            return Err(Trouble::usage(anyhow::anyhow!("`{backend}` is named twice; name each backend once")));
        }
        if *backend == BackendChoice::Auto {
            let sentence = "`auto` is one of the others and cannot stand beside them; name the backends to compare";
            return Err(Trouble::usage(anyhow::anyhow!(sentence)));
        }
    }
    if args.record.record.is_some() {
        let sentence = "one file holds one run; with several backends `--report DIR` keeps a recording of each";
        return Err(Trouble::usage(anyhow::anyhow!(sentence)));
    }
    let voice = if args.json { Voice::Silent } else { Voice::Verdicts };
    let mut backends = Vec::new();
    for backend in &args.backend {
        let settings = Settings { backend: Some(*backend), ..settings.clone() };
        let folder = args.report.as_ref().filter(|_| !args.record.no_record).map(|it| it.join(backend.as_str()));
        let runs = on_one(*backend, scenarios, &settings, seed, folder.as_deref(), voice).await?;
        let Some(runs) = runs else { return Ok(interrupted()) };
        backends.push(BackendRuns { backend: backend.to_string(), runs });
    }
    let files: Vec<_> = scenarios.iter().map(|scenario| scenario.file_name.clone()).collect();
    let table = Table::of(&files, &backends);
    if let Some(folder) = &args.report {
        for backend in &backends {
            write_backend(&folder.join(&backend.backend), backend)?;
        }
        let path = folder.join("table.json");
        std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&table)?))?;
        if !args.json {
            let folders: Vec<_> = backends.iter().map(|one| folder.join(&one.backend).display().to_string()).collect();
            out::line(&format!("Report: {}, {}", path.display(), folders.join(", ")));
        }
    }
    if args.json {
        let reports = backends.iter().flat_map(|backend| &backend.runs).filter_map(|run| run.as_ref().ok());
        out::json(&JsonReports::of_table(reports, &table))?;
    } else {
        out::text(&format!("\n{}", table_text(&table, Paint::for_stream(&io::stdout()))));
    }
    Ok(exit(table.verdict))
}

fn write_backend(folder: &Path, backend: &BackendRuns) -> anyhow::Result<()> {
    let reports: Vec<_> = backend.runs.iter().filter_map(|run| run.as_ref().ok().cloned()).collect();
    write_report(folder, &reports)?;
    Ok(())
}

/// Plays the scenarios on one backend. A backend that cannot be had is the reason of each of them; it is not tried
/// again for each. `None` when somebody interrupted it.
async fn on_one(
    backend: BackendChoice,
    scenarios: &[Scenario],
    settings: &Settings,
    seed: u64,
    recordings: Option<&Path>,
    voice: Voice,
) -> Result<Option<Vec<Result<RunReport, String>>>, Trouble> {
    let silent = voice == Voice::Silent;
    if !silent {
        out::line(&format!("On {backend}"));
    }
    let nowhere = |reason: String| {
        if !silent {
            out::line(&format!("  cannot be had: {reason}"));
        }
        scenarios.iter().map(|_| Err(reason.clone())).collect()
    };
    let containers = if backend == BackendChoice::Containers {
        let interrupted = signals::asked_to_end();
        tokio::pin!(interrupted);
        let started = tokio::select! {
            started = Containers::start(environment(settings, silent).containers()) => started,
            _ = &mut interrupted => return Ok(None),
        };
        match started {
            Ok(containers) => Some(Arc::new(containers)),
            Err(error) => return Ok(Some(nowhere(error.to_string()))),
        }
    } else {
        None
    };
    let mut runs = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let record = match recordings {
            Some(folder) => Some(named(RecordOptions::to(record::in_report(folder, index)?), scenario, seed)),
            None => None,
        };
        match run_one(scenario, settings, containers.clone(), seed, record, voice).await {
            Ok(Some(report)) => runs.push(Ok(report)),
            Ok(None) => return Ok(None),
            Err(error) if runs.is_empty() => return Ok(Some(nowhere(error.to_string()))),
            Err(error) => runs.push(Err(error.to_string())),
        }
    }
    if let Some(containers) = containers.and_then(Arc::into_inner) {
        containers.shutdown().await;
    }
    Ok(Some(runs))
}

/// The recording of this scenario.
fn named(record: RecordOptions, scenario: &Scenario, seed: u64) -> RecordOptions {
    RecordOptions { title: Some(scenario.name().to_owned()), seed: Some(seed), ..record }
}

/// Plays one scenario. `None` when somebody interrupted it.
async fn run_one(
    scenario: &Scenario,
    settings: &Settings,
    containers: Option<Arc<Containers>>,
    seed: u64,
    record: Option<RecordOptions>,
    voice: Voice,
) -> Result<Option<RunReport>, WorldError> {
    let mut surroundings = environment(settings, voice == Voice::Silent);
    surroundings.running = containers;
    let options = WorldOptions {
        environment: surroundings,
        limits: settings.node_limits(),
        unverified_media: settings.unverified_media.unwrap_or_default(),
        seed,
        record,
        ..WorldOptions::default()
    };
    let interrupted = signals::asked_to_end();
    tokio::pin!(interrupted);
    let world = tokio::select! {
        world = World::start(options) => world?,
        _ = &mut interrupted => return Ok(None),
    };
    let paint = Paint::for_stream(&io::stdout());
    let mut terminal = TerminalReport::new(io::stdout(), paint);
    // A terminal that went away must not end the run: the report's files are still wanted.
    let mut print = |write: &mut dyn FnMut(&mut TerminalReport<io::Stdout>) -> io::Result<()>| {
        if voice == Voice::Steps
            && let Err(error) = write(&mut terminal)
        {
            tracing::debug!(%error, "standard output is gone");
        }
    };
    let environment = format!("{} (seed {seed})", world.environment().reason);
    print(&mut |terminal| terminal.heading(scenario.name(), scenario.file.about.as_deref(), &environment));
    let options = RunOptions { seed, pace: None };
    let report = {
        let on_step = |step: &StepResult| print(&mut |terminal| terminal.step(step));
        let run = scenario::run(&world, scenario, &options, on_step);
        tokio::select! {
            report = run => Some(report),
            _ = &mut interrupted => None,
        }
    };
    if let (Some(recording), Some(report)) = (world.recording(), &report) {
        recording.report(report);
    }
    world.shutdown().await;
    if let Some(report) = &report {
        print(&mut |terminal| terminal.ending(report));
        if voice == Voice::Verdicts {
            out::line(&format!("  {}", verdict_line(report, paint)));
        }
    }
    Ok(report)
}

fn interrupted() -> Exit {
    out::note("interrupted; nothing was proved");
    Exit::Inconclusive
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Pass => Exit::Pass,
        Verdict::Fail => Exit::Fail,
        Verdict::Inconclusive => Exit::Inconclusive,
    }
}
