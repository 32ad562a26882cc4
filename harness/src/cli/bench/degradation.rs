//! `ackscope bench degradation`: whether messages notice faults of the media and search services.

use std::io;
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_core::token::TokenKey;
use ackscope_harness::latency::{Latencies, Measure, Percentile};
use ackscope_harness::load::degradation::{Difference, Kind, PHASES, Phase, PhaseReport, degradation, differences};
use ackscope_harness::load::generator::{Generator, RoundPlan};
use ackscope_harness::load::schedule::Arrivals;
use ackscope_harness::load::server::{NodeSettings, Server};
use ackscope_harness::report::paint::{Paint, Tone};
use ackscope_harness::report::{micros, put};
use ackscope_harness::services::SimulatedServices;
use serde_json::json;

use super::super::args::DegradationArgs;
use super::super::load::{ROUND_BAR, bar, own_program, show};
use super::super::{Exit, Outcome, Trouble, out};
use super::CROWD;

/// How long is sent before it is measured.
const WARMUP: Duration = Duration::from_secs(2);
/// Percentiles of the table.
const POINTS: [Percentile; 3] = [Percentile::P50, Percentile::P99, Percentile::P99_9];

pub(super) async fn measure(args: &DegradationArgs, is_json: bool) -> Outcome {
    let is_wanted = |phase: &Phase| args.only.as_ref().is_none_or(|only| phase.name.contains(only));
    let phases: Vec<Phase> = PHASES.into_iter().filter(|phase| phase.is_baseline() || is_wanted(phase)).collect();
    if phases.iter().all(Phase::is_baseline) {
        let names: Vec<&str> = PHASES.iter().filter(|phase| !phase.is_baseline()).map(|phase| phase.name).collect();
        return Err(Trouble::usage(anyhow::anyhow!("no fault is called that; there are {}", names.join(", "))));
    }
    let duration = Duration::from_secs(u64::from(args.seconds));
    let plan = RoundPlan {
        rate_per_sec: args.rate,
        warmup: WARMUP.min(duration / 5),
        duration,
        arrivals: Arrivals::Poisson,
        media_share: args.media_share,
        seed: 1,
    };
    let services = SimulatedServices::start(&Clock::default(), None).await?;
    let settings = NodeSettings {
        media: Some(services.media.url().to_owned()),
        search: Some(services.search.url().to_owned()),
        ..NodeSettings::default()
    };
    let key = TokenKey::generate();
    let mut server = Server::process(&own_program()?, &key, &settings).await?;
    let mut generator = Generator::connect(server.chat_url(), &key, CROWD).await?;
    if args.media_share > 0.0 {
        generator.upload_pictures().await?;
    }
    if !is_json {
        out::text(&heading(args));
    }
    let bar = bar(is_json, 0, ROUND_BAR);
    let paint = Paint::for_stream(&io::stdout());
    let reports = degradation(
        &phases,
        plan,
        &mut generator,
        &mut server,
        &services,
        |phase, progress| {
            bar.set_prefix(phase.name);
            show(&bar, progress);
        },
        |report| {
            if !is_json {
                bar.suspend(|| out::text(&row(report, paint)));
            }
        },
    )
    .await;
    bar.finish_and_clear();
    let reports = reports?;
    generator.disconnect().await;
    server.shutdown().await?;
    services.shutdown().await;

    let found = differences(&reports);
    let is_whole = reports.iter().all(|report| report.broken().is_empty());
    if is_json {
        let phases: Vec<_> = reports.iter().map(PhaseReport::json).collect();
        out::json(&json!({
            "seconds": args.seconds,
            "rate_per_sec": args.rate,
            "media_share": args.media_share,
            "users": CROWD.users,
            "group_size": CROWD.group_size,
            "phases": phases,
            "differences": found,
            "whole": is_whole,
        }))?;
    } else {
        out::text(&ending(&reports, &found, paint));
    }
    Ok(if is_whole { Exit::Pass } else { Exit::Fail })
}

/// Above the table: what it is of, and its columns.
fn heading(args: &DegradationArgs) -> String {
    let mut text = format!(
        "{} messages/s for {} s each, {:.0} % with media, {} users in groups of {}, server in a process of its own\n\
         Times in milliseconds since the scheduled send; catch-up in seconds since healing;\n\
         generator: its own delay, p99; load: load average\n\n",
        args.rate,
        args.seconds,
        args.media_share * 100.0,
        CROWD.users,
        CROWD.group_size
    );
    put(&mut text, format_args!("{:<16}", ""));
    for group in ["text pending", "text delivered", "media pending", "media delivered"] {
        put(&mut text, format_args!(" {group:>20}"));
    }
    put(&mut text, format_args!("\n{:<16}", "phase"));
    for _ in 0..4 {
        put(&mut text, format_args!(" {:>6}{:>7}{:>7}", "p50", "p99", "p99.9"));
    }
    let columns = [
        ("rejected", 9),
        ("lost", 5),
        ("unindexed", 10),
        ("unverified", 11),
        ("catch-up", 9),
        ("generator", 11),
        ("load", 6),
    ];
    for (column, width) in columns {
        put(&mut text, format_args!("{column:>width$}"));
    }
    text.push('\n');
    text
}

/// A phase, in a line.
fn row(report: &PhaseReport, paint: Paint) -> String {
    let mut text = format!("{:<16}", report.phase.name);
    let mut figures = |latencies: &Latencies, measure| {
        let [p50, p99, p99_9] = POINTS.map(|point| latencies.get(measure).at(point).map_or("-".to_owned(), millis));
        put(&mut text, format_args!(" {p50:>6}{p99:>7}{p99_9:>7}"));
    };
    for latencies in [&report.round.latencies, &report.round.latencies_with_media] {
        figures(latencies, Measure::Pending);
        figures(latencies, Measure::Delivered);
    }
    let counts = &report.round.counts;
    let rejected = counts.text.rejected + counts.with_media.rejected;
    let catch_up = report.catch_up.map_or("never".to_owned(), |catch_up| format!("{:.2}", catch_up.as_secs_f64()));
    let generator = report.round.ending.generator_lag.at(Percentile::P99).map_or("-".to_owned(), millis);
    let load = report.load_average.map_or("-".to_owned(), |load| format!("{load:.1}"));
    put(
        &mut text,
        format_args!(
            "{rejected:>9}{:>5}{:>10}{:>11}{catch_up:>9}{generator:>11}{load:>6}",
            report.lost(),
            report.unindexed,
            report.stored.unverified
        ),
    );
    let mut notes = report.broken();
    if !report.round.is_generator_healthy() {
        let lag = report.round.ending.generator_lag.at(Percentile::P99).unwrap_or(0);
        notes.push(format!("the generator was late itself (p99 {}, {} not sent)", micros(lag), counts.not_sent));
    }
    notes.extend(counts.rejected.iter().map(|(code, count)| format!("{count} answered {code}")));
    if !notes.is_empty() {
        let tone = if report.broken().is_empty() { Tone::Warn } else { Tone::Bad };
        put(&mut text, format_args!("  {}", paint.paint(tone, &notes.join(", "))));
    }
    text.push('\n');
    text
}

/// Milliseconds in three figures, without their unit.
fn millis(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    if ms < 9.995 {
        format!("{ms:.2}")
    } else if ms < 99.95 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

/// How busy the machine was, where that can be told.
fn loads_text(loads: [Option<f64>; 3]) -> String {
    let [Some(with), Some(first), Some(last)] = loads else { return String::new() };
    format!(" (load {with:.1}, without a fault {first:.1} and {last:.1})")
}

/// Below the table: whether everything is there, and whether anybody noticed.
fn ending(reports: &[PhaseReport], found: &[Difference], paint: Paint) -> String {
    let mut text = String::from("\n");
    let broken = reports.iter().filter(|report| !report.broken().is_empty()).count();
    if broken == 0 {
        let sentence = "every message was delivered to everybody, stored and indexed, every media item verified";
        put(&mut text, format_args!("{} {sentence}\n", paint.paint(Tone::Good, "✓")));
    } else {
        let sentence = format!("{broken} of {} phases left something undone", reports.len());
        put(&mut text, format_args!("{} {sentence}\n", paint.paint(Tone::Bad, "✗")));
    }
    for (kind, name) in [(Kind::WithMedia, "Messages with media"), (Kind::Text, "Text messages")] {
        let lines = |is_slower| found.iter().filter(move |line| line.kind == kind && line.is_slower == is_slower);
        for (is_slower, word) in [(false, "faster"), (true, "slower")] {
            for line in lines(is_slower) {
                put(
                    &mut text,
                    format_args!(
                        "  {name}, {}: {} {} is {word}: {} ms, without a fault {} and {} ms{}\n",
                        line.phase,
                        line.measure.as_str(),
                        line.percentile.name(),
                        millis(line.value_us),
                        millis(line.baselines_us.0),
                        millis(line.baselines_us.1),
                        loads_text(line.load_averages)
                    ),
                );
            }
        }
        let mut phases: Vec<&str> = lines(true).map(|line| line.phase).collect();
        phases.dedup();
        let (tone, sign, sentence) = if !phases.is_empty() {
            (Tone::Warn, "?", format!("slower beyond the noise during: {}", phases.join(", ")))
        } else if lines(false).next().is_some() {
            (Tone::Good, "✓", "no fault makes any percentile slower beyond the noise; some are faster".to_owned())
        } else {
            (Tone::Good, "✓", "with a fault no percentile differs from those without beyond the noise".to_owned())
        };
        put(&mut text, format_args!("{} {name}: {sentence}\n", paint.paint(tone, sign)));
    }
    text
}
