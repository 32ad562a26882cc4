//! `ackscope bench`: what this machine can do, in one table. Its subcommands measure parts of it.

mod degradation;
mod recovery;
mod servers;
mod storage;

use std::time::Duration;

use ackscope_core::token::TokenKey;
use ackscope_harness::latency::{Measure, Percentile};
use ackscope_harness::load::generator::{Crowd, Generator, RoundPlan};
use ackscope_harness::load::schedule::Arrivals;
use ackscope_harness::load::server::{NodeSettings, Server};
use ackscope_harness::report::micros;
use serde_json::json;

use super::args::{BenchArgs, BenchCommand};
use super::load::{first_json, first_messages, limit_text, own_program, round, round_text, search, verdict};
use super::{Exit, Outcome, out, signals};

/// The crowd of every measurement.
const CROWD: Crowd = Crowd { users: 100, group_size: 10 };
/// The fixed rate.
const RATE: u32 = 1_000;
/// How often the program is started.
const STARTS: u32 = 20;

/// Measures everything.
pub(crate) async fn bench(args: &BenchArgs) -> Outcome {
    tokio::select! {
        outcome = measure(args) => outcome,
        _ = signals::asked_to_end() => {
            out::note("interrupted; nothing was measured");
            Ok(Exit::Inconclusive)
        }
    }
}

async fn measure(args: &BenchArgs) -> Outcome {
    match &args.command {
        None => machine(args).await,
        Some(BenchCommand::Degradation(degradation)) => degradation::measure(degradation, args.json).await,
        Some(BenchCommand::Recovery(recovery)) => recovery::measure(recovery, args.json).await,
        Some(BenchCommand::Servers(servers)) => servers::measure(servers, args.json).await,
        Some(BenchCommand::Storage) => storage::measure(args.json).await,
    }
}

/// The first message, a fixed rate and the limit.
async fn machine(args: &BenchArgs) -> Outcome {
    let say = |line: &str| {
        if !args.json {
            out::note(line);
        }
    };
    say(&format!("1/3  the first message, {STARTS} starts"));
    let first = first_messages(STARTS, args.json).await?;
    let key = TokenKey::generate();
    let server = Server::process(&own_program()?, &key, &NodeSettings::default()).await?;
    let mut generator = Generator::connect(server.chat_url(), &key, CROWD).await?;
    say(&format!("2/3  {RATE} messages/s for 30 s"));
    let plan = RoundPlan {
        rate_per_sec: RATE,
        warmup: Duration::from_secs(2),
        duration: Duration::from_secs(30),
        arrivals: Arrivals::Poisson,
        media_share: 0.0,
        seed: 1,
    };
    let report = round(&mut generator, &server, plan, args.json).await?;
    say("3/3  the limit");
    let limit = search(&mut generator, &server, 1, args.json).await?;
    generator.disconnect().await;
    let described = server.describe();
    server.shutdown().await?;

    if args.json {
        out::json(&json!({ "load": report.json(), "limit": limit, "first_message": first_json(&first) }))?;
        return Ok(verdict(&report));
    }
    out::text(&format!("\n{}\n", round_text(&report, CROWD, described)));
    let p99 = |measure: Measure| report.latencies.get(measure).at(Percentile::P99);
    let first_p50 = first.delivered.at(Percentile::P50);
    let rows = [
        ("pending p99", p99(Measure::Pending), 2_000),
        ("delivered p99", p99(Measure::Delivered), 20_000),
        ("first message p50", first_p50, 500_000),
    ];
    out::line(&format!("{:<20}{:>12}{:>12}", "", "measured", "aim"));
    for (name, measured, aim) in rows {
        let measured_text = measured.map_or_else(|| "-".to_owned(), micros);
        let sign = if measured.is_some_and(|measured| measured < aim) { "✓" } else { "✗" };
        out::line(&format!("{name:<20}{measured_text:>12}{:>12}  {sign}", format!("< {}", micros(aim))));
    }
    out::text(&limit_text(&limit));
    Ok(verdict(&report))
}
