//! `ackscope run`: plays scenarios, prints what happens, and says what it proved.

use std::io;

use ackscope_harness::environment::Settings;
use ackscope_harness::report::files::write_report;
use ackscope_harness::report::json::JsonReport;
use ackscope_harness::report::paint::Paint;
use ackscope_harness::report::terminal::TerminalReport;
use ackscope_harness::scenario::{self, RunOptions, RunReport, Scenario, StepResult, Verdict};
use ackscope_harness::world::{World, WorldOptions};
use serde_json::json;

use super::args::{RunArgs, environment, load_settings};
use super::check::{print_wrong, problems_json, read_all};
use super::{Exit, Outcome, Trouble, out, signals};

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
    for scenario in &scenarios {
        let Some(report) = run_one(scenario, &settings, seed, args.json).await? else {
            out::note("interrupted; nothing was proved");
            return Ok(Exit::Inconclusive);
        };
        reports.push(report);
    }
    let verdict = reports.iter().map(RunReport::verdict).max().unwrap_or(Verdict::Pass);
    if let Some(folder) = &args.report {
        let written = write_report(folder, &reports)?;
        if !args.json {
            let names: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
            out::line(&format!("Report: {}", names.join(", ")));
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
    silent: bool,
) -> Result<Option<RunReport>, Trouble> {
    let options = WorldOptions {
        environment: environment(settings, silent),
        limits: settings.node_limits(),
        unverified_media: settings.unverified_media.unwrap_or_default(),
        seed,
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
    world.shutdown().await;
    if let Some(report) = &report {
        print(&mut |terminal| terminal.ending(report));
    }
    Ok(report)
}
