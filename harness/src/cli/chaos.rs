//! `ackscope chaos` and `ackscope faults`.

use std::collections::BTreeMap;

use ackscope_harness::chaos::{self, ChaosOptions, ChaosReport};
use ackscope_harness::ledger::Ledger;
use ackscope_harness::recording::RecordOptions;
use ackscope_harness::report::files::write_report;
use ackscope_harness::report::ledger::{Detail, ledger_text};
use ackscope_harness::report::paint::Paint;
use ackscope_harness::report::put;
use ackscope_harness::world::WorldError;
use ackscope_protocol::faults::{Dependency, FaultKind, TABLE};
use serde_json::json;

use super::args::{ChaosArgs, FaultsArgs, environment, load_settings, settle};
use super::{Exit, Outcome, Trouble, out, record, signals};

/// Plays the runs, one after the other, and says what was found.
pub(crate) async fn chaos(args: ChaosArgs) -> Outcome {
    let mut settings = load_settings(args.backend.flags())?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
    let interrupted = signals::asked_to_end();
    tokio::pin!(interrupted);
    let mut reports = Vec::new();
    let mut recorded = 0;
    let mut clean = 0;
    if !args.json {
        out::line("seed         faults   sends  outcomes                                              findings  time");
    }
    for number in 0..u64::from(args.runs) {
        let file = match (&args.record, &args.report) {
            (Some(file), _) => Some(record::numbered(file, number as usize)),
            (None, Some(folder)) => Some(record::in_report(folder, reports.len() - clean)?),
            (None, None) => None,
        };
        let options = ChaosOptions {
            seed: seed.wrapping_add(number),
            users: args.users as usize,
            duration: args.duration.0,
            environment: environment(&settings, args.json || number > 0),
            record: file.clone().map(|file| RecordOptions {
                title: Some(format!("Chaos {}", seed.wrapping_add(number))),
                seed: Some(seed.wrapping_add(number)),
                ..RecordOptions::to(file)
            }),
        };
        let report = tokio::select! {
            report = chaos::run(options) => report,
            _ = &mut interrupted => {
                out::note(&format!("interrupted after {} of {} runs", reports.len(), args.runs));
                return Ok(Exit::Inconclusive);
            }
        };
        let mut report = match report {
            Ok(report) => report,
            Err(error @ (WorldError::Environment(_) | WorldError::Recording(_))) if error.is_usage() => {
                return Err(Trouble::usage(error));
            }
            Err(error) => {
                return Err(Trouble::environment(anyhow::anyhow!("seed {}: {error}", seed.wrapping_add(number))));
            }
        };
        if let Some(run) = &report.run {
            settle(&mut settings, run.backend);
        }
        if !args.json {
            out::line(&line(&report));
            for finding in report.audit.findings.iter().take(FINDINGS_SHOWN) {
                out::line(&format!("             {}: {}", finding.kind.as_str(), finding.sentence));
            }
            for row in report.ledger.rows.iter().filter(|row| row.fails_run) {
                out::line(&format!("             {} {}: {}", row.dependency, row.fault, row.reason));
            }
        }
        // A recording is large, and one of a run that went well says nothing.
        if report.is_clean() || recorded >= RECORDED_MAX {
            report.run = None;
            clean += 1;
            if let (Some(file), None) = (&file, &args.record) {
                std::fs::remove_file(file)?;
            }
        }
        recorded += usize::from(report.run.is_some());
        reports.push(report);
    }
    if let Some(folder) = &args.report {
        let runs: Vec<_> = reports.iter_mut().filter_map(|report| report.run.take()).collect();
        let written = write_report(folder, &runs)?;
        if !args.json {
            let names: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
            out::note(&format!("{} runs with findings written: {}", runs.len(), names.join(", ")));
        }
    }
    let broken = reports.iter().filter(|report| !report.is_clean()).count();
    let mut ledger = Ledger::default();
    for report in &reports {
        ledger.add_run(&report.ledger);
    }
    if args.json {
        out::json(&json!({ "runs": reports.len(), "broken": broken, "ledger": ledger, "reports": reports }))?;
    } else {
        let paint = Paint::for_stream(&std::io::stdout());
        out::text(&format!("\n{}", ledger_text(&ledger, Detail::Figures, paint)));
        out::text(&summary(&reports));
    }
    Ok(if broken == 0 { Exit::Pass } else { Exit::Fail })
}

/// Recordings that are kept until the end.
const RECORDED_MAX: usize = 20;
/// Findings of one run that are printed.
const FINDINGS_SHOWN: usize = 10;

fn line(report: &ChaosReport) -> String {
    let outcomes: Vec<String> = report.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let outcomes = outcomes.join(", ");
    let against = report.ledger.rows.iter().filter(|row| row.fails_run).count() as u64;
    let (faults, sends, broken) = (report.fault_count(), report.sends(), report.audit.broken + against);
    let sign = if broken == 0 { "✓" } else { "✗" };
    let secs = report.took_ms as f64 / 1_000.0;
    format!("{:<12} {faults:>6} {sends:>7}  {outcomes:<54} {broken:>7}  {secs:.1} s {sign}", report.seed)
}

/// All runs together.
fn summary(reports: &[ChaosReport]) -> String {
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for report in reports {
        for (fault, count) in &report.faults {
            *faults.entry(fault).or_default() += count;
        }
        for (outcome, count) in &report.outcomes {
            *outcomes.entry(outcome).or_default() += count;
        }
    }
    let list = |counts: &BTreeMap<&str, u64>| {
        counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    };
    let sum = |of: fn(&ChaosReport) -> u64| reports.iter().map(of).sum::<u64>();
    let broken: Vec<String> =
        reports.iter().filter(|report| !report.is_clean()).map(|report| report.seed.to_string()).collect();
    let mut text = format!(
        "\n{} runs, {} faults, {} sends, {} promises checked, {} findings\nfaults    {}\noutcomes  {}\n",
        reports.len(),
        sum(ChaosReport::fault_count),
        sum(ChaosReport::sends),
        sum(|report| report.audit.promises.total()),
        sum(|report| report.audit.broken),
        list(&faults),
        list(&outcomes),
    );
    if let Some(first) = broken.first() {
        put(
            &mut text,
            format_args!(
                "\nSeeds with findings: {}\nOnce more: ackscope chaos --seed {first} --runs 1\n",
                broken.join(", ")
            ),
        );
    }
    text
}

/// Prints the table of faults.
pub(crate) fn faults(args: &FaultsArgs) -> Outcome {
    if args.json {
        let rows: Vec<_> = TABLE
            .iter()
            .map(|row| json!({ "fault": row.kind, "on": row.on, "elsewhere": row.elsewhere, "does": row.does }))
            .collect();
        out::json(&rows)?;
        return Ok(Exit::Pass);
    }
    out::line("fault                on                                      what it does");
    for row in TABLE {
        let on: Vec<&str> = row.on.iter().copied().map(Dependency::as_str).collect();
        let elsewhere = row
            .elsewhere
            .map_or_else(String::new, |kind: FaultKind| format!(" (where it is not a container of this run: {kind})"));
        out::line(&format!("{:<20} {:<39} {}{elsewhere}", row.kind.as_str(), on.join(", "), row.does));
    }
    Ok(Exit::Pass)
}
