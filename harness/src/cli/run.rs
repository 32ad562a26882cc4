//! `ackscope run`: plays scenarios, prints what happens, and says what it proved.

use std::io;

use ackscope_harness::environment::Settings;
use ackscope_harness::recording::RecordOptions;
use ackscope_harness::report::files::write_report;
use ackscope_harness::report::json::JsonReport;
use ackscope_harness::report::paint::Paint;
use ackscope_harness::report::terminal::TerminalReport;
use ackscope_harness::scenario::{self, RunOptions, RunReport, Scenario, StepResult, Verdict};
use ackscope_harness::world::{World, WorldOptions};
use serde_json::json;

use super::args::{RunArgs, environment, load_settings};
use super::check::{print_wrong, problems_json, read_all};
use super::{Exit, Outcome, Trouble, out, record, signals};

/// Plays the scenarios, one after the other, each in a world of its own.
pub(crate) async fn run(args: RunArgs) -> Outcome {
    let (scenarios, wrong) = read_all(&args.files);
    if !wrong.is_empty() {
        if args.json {
            out::json(&json!({ "verdict": null, "problems": problems_json(&wrong) }))?;
        } else {
            print_wrong(&wrong);
        }
        return Ok(Exit::Usage);
    }
    let settings = load_settings(args.backend.flags_with(&args.limits))?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX)));
    let mut reports = Vec::new();
    let mut recordings = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let record = match &args.report {
            _ if args.record.record.is_some() || args.record.no_record => record::by_flags(&args.record, index),
            Some(folder) => Some(RecordOptions::to(record::in_report(folder, index)?)),
            None => record::by_flags(&args.record, index),
        };
        let record =
            record.map(|record| RecordOptions { title: Some(scenario.name().to_owned()), seed: Some(seed), ..record });
        recordings.extend(record.iter().map(|record| record.file.clone()));
        let Some(report) = run_one(scenario, &settings, seed, record, args.json).await? else {
            out::note("interrupted; nothing was proved");
            return Ok(Exit::Inconclusive);
        };
        reports.push(report);
    }
    let verdict = reports.iter().map(RunReport::verdict).max().unwrap_or(Verdict::Pass);
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
        let runs: Vec<_> = reports.iter().map(JsonReport::of).collect();
        out::json(&json!({ "verdict": verdict, "runs": runs }))?;
    }
    Ok(match verdict {
        Verdict::Pass => Exit::Pass,
        Verdict::Fail => Exit::Fail,
        Verdict::Inconclusive => Exit::Inconclusive,
    })
}

/// Plays one scenario. `None` when somebody interrupted it.
async fn run_one(
    scenario: &Scenario,
    settings: &Settings,
    seed: u64,
    record: Option<RecordOptions>,
    silent: bool,
) -> Result<Option<RunReport>, Trouble> {
    let options = WorldOptions {
        environment: environment(settings, silent),
        limits: settings.node_limits(),
        unverified_media: settings.unverified_media.unwrap_or_default(),
        seed,
        record,
        ..WorldOptions::default()
    };
    let interrupted = signals::asked_to_end();
    tokio::pin!(interrupted);
    let world = tokio::select! {
        world = World::start(options) => world,
        _ = &mut interrupted => return Ok(None),
    };
    let world = match world {
        Ok(world) => world,
        Err(error) if error.is_usage() => return Err(Trouble::usage(error)),
        Err(error) => return Err(Trouble::environment(error)),
    };
    let mut terminal = TerminalReport::new(io::stdout(), Paint::for_stream(&io::stdout()));
    // A terminal that went away must not end the run: the report's files are still wanted.
    let mut print = |write: &mut dyn FnMut(&mut TerminalReport<io::Stdout>) -> io::Result<()>| {
        if !silent && let Err(error) = write(&mut terminal) {
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
    }
    Ok(report)
}
