//! `ackscope bench recovery`: outages of real servers under load, and how long it takes until all is well again.

use std::time::{Duration, Instant};

use ackscope_core::token::TokenKey;
use ackscope_harness::environment::BackendChoice;
use ackscope_harness::environment::containers::{Containers, ContainersError, Server};
use ackscope_harness::load::generator::{Generator, RoundPlan};
use ackscope_harness::load::round::RoundReport;
use ackscope_harness::load::schedule::Arrivals;
use anyhow::Context as _;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;

use super::super::args::{BackendArgs, RecoveryArgs};
use super::super::load::{ROUND_BAR, bar, server_on, show};
use super::super::{Exit, Outcome, Trouble, out};
use super::CROWD;

/// How long all is well before the outage.
const BEFORE: Duration = Duration::from_secs(5);
/// How long is sent after it.
const AFTER: Duration = Duration::from_secs(20);
/// How long a paused server says nothing.
const PAUSED: Duration = Duration::from_secs(20);
/// How long a stopped server is away.
const STOPPED: Duration = Duration::from_secs(5);
/// What a killed or stopped server may need until it answers again.
const START: Duration = Duration::from_secs(15);
/// Over how long deliveries are counted to say that they come as fast as they are sent.
const WINDOW: Duration = Duration::from_secs(1);
/// Share of the rate that counts as all of it: arrivals come at random.
const ENOUGH: f64 = 0.8;

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Killed,
    Paused,
    Stopped,
}

impl Outage {
    const ALL: [Self; 3] = [Self::Killed, Self::Paused, Self::Stopped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    fn lasts(self) -> Duration {
        match self {
            Self::Killed => START,
            Self::Paused => PAUSED,
            Self::Stopped => STOPPED + START,
        }
    }

    /// Brings it about and ends it. The moment the server was told to be there again.
    async fn happen(self, containers: &Containers, server: Server) -> Result<Instant, ContainersError> {
        match self {
            Self::Killed => {
                containers.kill(server).await?;
                let back = Instant::now();
                containers.start_again(server).await?;
                Ok(back)
            }
            Self::Paused => {
                containers.pause(server).await?;
                tokio::time::sleep(PAUSED).await;
                containers.unpause(server).await?;
                Ok(Instant::now())
            }
            Self::Stopped => {
                containers.stop(server).await?;
                tokio::time::sleep(STOPPED).await;
                let back = Instant::now();
                containers.start_again(server).await?;
                Ok(back)
            }
        }
    }
}

/// What came of an outage.
#[derive(Debug, Serialize)]
struct Row {
    server: &'static str,
    outage: &'static str,
    sent: u64,
    delivered: u64,
    rejected: u64,
    unknown: u64,
    lost: u64,
    doubled: u64,
    leaked: u64,
    /// From the moment the server was told to be there again; none when it did not come about.
    recovered_ms: Option<u64>,
}

impl Row {
    fn is_kept(&self) -> bool {
        self.lost + self.doubled + self.leaked == 0 && self.recovered_ms.is_some()
    }
}

/// Measures every outage.
pub(super) async fn measure(args: &RecoveryArgs, is_json: bool) -> Outcome {
    let is_wanted = |server: Server, outage: Outage| {
        let name = format!("{} {}", server.as_str(), outage.as_str()).to_lowercase();
        args.only.as_ref().is_none_or(|only| name.contains(&only.to_lowercase()))
    };
    let all = Server::ALL.into_iter().flat_map(|server| Outage::ALL.map(|outage| (server, outage)));
    let outages: Vec<(Server, Outage)> = all.filter(|(server, outage)| is_wanted(*server, *outage)).collect();
    if outages.is_empty() {
        return Err(Trouble::usage(anyhow::anyhow!("no outage is called that; try kafka, paused or `redis stopped`")));
    }
    let backend = BackendArgs { backend: Some(BackendChoice::Containers), ..args.backend.clone() };
    let key = TokenKey::generate();
    let (mut server, infrastructure) = server_on(&backend, &key, is_json).await?;
    let mut rows = Vec::new();
    let measured = async {
        let containers = infrastructure.containers().context("there are no containers")?;
        let mut generator = Generator::connect(server.chat_url(), &key, CROWD).await?;
        for (of, outage) in outages {
            let row = one(&mut generator, &mut server, containers, of, outage, args.rate, is_json).await?;
            if !is_json {
                out::line(&line(&row));
            }
            rows.push(row);
        }
        generator.disconnect().await;
        Ok::<_, anyhow::Error>(())
    };
    if !is_json {
        out::line(&format!("{} messages/s, {} users in groups of {}\n", args.rate, CROWD.users, CROWD.group_size));
        out::line("server   outage      sent delivered  rejected   unknown    lost  doubled  leaked  recovered");
    }
    let measured = measured.await;
    server.shutdown().await?;
    infrastructure.shutdown().await;
    measured?;
    let kept = rows.iter().all(Row::is_kept);
    if is_json {
        out::json(&json!({ "kept": kept, "rate_per_sec": args.rate, "outages": rows }))?;
    }
    Ok(if kept { Exit::Pass } else { Exit::Fail })
}

fn line(row: &Row) -> String {
    let recovered = row.recovered_ms.map_or_else(|| "not".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1_000.0));
    let sign = if row.is_kept() { "✓" } else { "✗" };
    format!(
        "{:<8} {:<8} {:>7} {:>9} {:>9} {:>9} {:>7} {:>8} {:>7} {recovered:>10}  {sign}",
        row.server, row.outage, row.sent, row.delivered, row.rejected, row.unknown, row.lost, row.doubled, row.leaked
    )
}

async fn one(
    generator: &mut Generator,
    server: &mut ackscope_harness::load::server::Server,
    containers: &Containers,
    of: Server,
    outage: Outage,
    rate: u32,
    is_json: bool,
) -> anyhow::Result<Row> {
    let plan = RoundPlan {
        rate_per_sec: rate,
        warmup: Duration::ZERO,
        duration: BEFORE + outage.lasts() + AFTER,
        arrivals: Arrivals::Poisson,
        media_share: 0.0,
        seed: 1,
    };
    let bar = bar(is_json, 0, ROUND_BAR);
    bar.set_prefix(format!("{} {}", of.as_str(), outage.as_str()));
    // When how many were delivered.
    let samples: Mutex<Vec<(Instant, u64)>> = Mutex::default();
    let happening = async {
        tokio::time::sleep(BEFORE).await;
        outage.happen(containers, of).await
    };
    let round = generator.round(plan, server, |progress| {
        samples.lock().push((Instant::now(), progress.delivered));
        show(&bar, progress);
    });
    let (report, back) = tokio::join!(round, happening);
    bar.finish_and_clear();
    let (report, back): (RoundReport, Instant) = (report?, back?);
    let counts = report.counts;
    Ok(Row {
        server: of.as_str(),
        outage: outage.as_str(),
        sent: counts.sent,
        delivered: counts.delivered,
        rejected: counts.refused,
        unknown: counts.unknown,
        lost: counts.lost,
        doubled: counts.doubled,
        leaked: counts.leaked,
        recovered_ms: recovered(&samples.into_inner(), back, rate).map(|time| time.as_millis() as u64),
    })
}

/// When the first window after `back` ends in which nearly as many were delivered as were sent.
fn recovered(samples: &[(Instant, u64)], back: Instant, rate: u32) -> Option<Duration> {
    let needed = f64::from(rate) * WINDOW.as_secs_f64() * ENOUGH;
    let after: Vec<&(Instant, u64)> = samples.iter().filter(|(at, _)| *at >= back).collect();
    after.iter().enumerate().find_map(|(index, (start, before))| {
        let (_, delivered) = after[index..].iter().find(|(at, _)| at.duration_since(*start) >= WINDOW)?;
        ((delivered - before) as f64 >= needed).then(|| start.duration_since(back))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_as_much_is_delivered_as_is_sent() {
        let start = Instant::now();
        let at = |tenths: u32| start + Duration::from_millis(100) * tenths;
        // Ten a second: nothing for two seconds, then one in each tenth.
        let samples: Vec<(Instant, u64)> = (0..60).map(|t| (at(t), u64::from(t.saturating_sub(20)))).collect();
        let time = recovered(&samples, at(0), 10).unwrap();
        assert!((1_700..=2_100).contains(&time.as_millis()), "{time:?}");
        assert_eq!(recovered(&samples[..20], at(0), 10), None);
        assert_eq!(recovered(&samples, at(59), 10), None);
    }
}
