//! `ackscope bench recovery`: outages of real servers under load, and how long it takes until all is well again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ackscope_core::node::Roles;
use ackscope_core::token::TokenKey;
use ackscope_harness::environment::containers::{Containers, ContainersError, Server};
use ackscope_harness::environment::{BackendChoice, Infrastructure};
use ackscope_harness::load::LoadError;
use ackscope_harness::load::generator::{Generator, RoundPlan, RoundProgress};
use ackscope_harness::load::round::RoundReport;
use ackscope_harness::load::schedule::Arrivals;
use ackscope_harness::load::server::{NodeSettings, Server as Node};
use anyhow::Context as _;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;

use super::super::args::{BackendArgs, RecoveryArgs};
use super::super::load::{ROUND_BAR, bar, infrastructure, own_program, show};
use super::super::{Exit, Outcome, Trouble, out};
use super::CROWD;

/// How long all is well before the outage.
const BEFORE: Duration = Duration::from_secs(5);
/// How long is sent after it.
const AFTER: Duration = Duration::from_secs(20);
/// How long something that is paused says nothing.
const PAUSED: Duration = Duration::from_secs(20);
/// How long something that is stopped is away.
const STOPPED: Duration = Duration::from_secs(5);
/// What a killed or stopped server may need until it answers again.
const START: Duration = Duration::from_secs(15);
/// How long a stopped process may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);
/// Over how long deliveries are counted to say that they come as fast as they are sent.
const WINDOW: Duration = Duration::from_secs(1);
/// Share of the rate that counts as all of it: arrivals come at random.
const ENOUGH: f64 = 0.8;
/// Messages that may be delivered and not persisted, as a time at the rate. On its way is always something.
const BEHIND: Duration = Duration::from_millis(500);

/// What is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Server(Server),
    /// The process of the consumers.
    Consumers,
}

impl Victim {
    fn all() -> impl Iterator<Item = Self> {
        Server::ALL.into_iter().map(Self::Server).chain([Self::Consumers])
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Server(server) => server.as_str(),
            Self::Consumers => "consumers",
        }
    }
}

/// What happens to it.
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
    async fn of_server(self, containers: &Containers, server: Server) -> Result<Instant, ContainersError> {
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

    /// The same for the consumers.
    async fn of_consumers(self, nodes: &Nodes, consumers: &mut Node) -> anyhow::Result<Instant> {
        match self {
            Self::Killed => {
                consumers.kill().await?;
                let back = Instant::now();
                *consumers = nodes.consumers().await?;
                Ok(back)
            }
            Self::Paused => {
                let process = consumers.process_id().context("the consumers have ended")?;
                signal("STOP", process).await?;
                tokio::time::sleep(PAUSED).await;
                signal("CONT", process).await?;
                Ok(Instant::now())
            }
            Self::Stopped => {
                let process = consumers.process_id().context("the consumers have ended")?;
                signal("TERM", process).await?;
                tokio::time::timeout(END_LIMIT, consumers.ended()).await.context("the consumers do not end")??;
                tokio::time::sleep(STOPPED).await;
                let back = Instant::now();
                *consumers = nodes.consumers().await?;
                Ok(back)
            }
        }
    }
}

/// Sends a signal as a person would.
async fn signal(name: &str, process: u32) -> anyhow::Result<()> {
    let sent = tokio::process::Command::new("kill").args([format!("-{name}"), process.to_string()]).status().await?;
    anyhow::ensure!(sent.success(), "the signal {name} could not be sent to process {process}");
    Ok(())
}

/// How the processes are started: one takes the connections, one has the consumers.
struct Nodes {
    program: PathBuf,
    key: TokenKey,
    variables: Vec<(&'static str, String)>,
}

impl Nodes {
    async fn start(&self, roles: Roles) -> Result<Node, LoadError> {
        let settings = NodeSettings { roles, variables: self.variables.clone(), ..NodeSettings::default() };
        Node::process(&self.program, &self.key, &settings).await
    }

    async fn socket(&self) -> Result<Node, LoadError> {
        self.start(Roles { socket: true, consumer: false }).await
    }

    async fn consumers(&self) -> Result<Node, LoadError> {
        self.start(Roles { socket: false, consumer: true }).await
    }
}

/// What came of an outage.
#[derive(Debug, Serialize)]
struct Row {
    of: &'static str,
    outage: &'static str,
    sent: u64,
    delivered: u64,
    rejected: u64,
    unknown: u64,
    lost: u64,
    doubled: u64,
    leaked: u64,
    /// From the moment it was told to be there again; none when it did not come about.
    delivers_ms: Option<u64>,
    /// The same, until what was delivered is persisted.
    caught_up_ms: Option<u64>,
}

impl Row {
    fn is_kept(&self) -> bool {
        self.lost + self.doubled + self.leaked == 0 && self.delivers_ms.is_some() && self.caught_up_ms.is_some()
    }
}

/// Measures every outage.
pub(super) async fn measure(args: &RecoveryArgs, is_json: bool) -> Outcome {
    let is_wanted = |of: Victim, outage: Outage| {
        let name = format!("{} {}", of.as_str(), outage.as_str()).to_lowercase();
        args.only.as_ref().is_none_or(|only| name.contains(&only.to_lowercase()))
    };
    let all = Victim::all().flat_map(|of| Outage::ALL.map(|outage| (of, outage)));
    let outages: Vec<(Victim, Outage)> = all.filter(|(of, outage)| is_wanted(*of, *outage)).collect();
    if outages.is_empty() {
        return Err(Trouble::usage(anyhow::anyhow!("no outage is called that; try kafka, paused or `redis stopped`")));
    }
    let backend = BackendArgs { backend: Some(BackendChoice::Containers), ..args.backend.clone() };
    let infrastructure = infrastructure(&backend, is_json).await?;
    let rows = rows(outages, &infrastructure, args.rate, is_json).await;
    infrastructure.shutdown().await;
    let rows = rows?;
    let kept = rows.iter().all(Row::is_kept);
    if is_json {
        out::json(&json!({ "kept": kept, "rate_per_sec": args.rate, "outages": rows }))?;
    }
    Ok(if kept { Exit::Pass } else { Exit::Fail })
}

async fn rows(
    outages: Vec<(Victim, Outage)>,
    infrastructure: &Infrastructure,
    rate: u32,
    is_json: bool,
) -> anyhow::Result<Vec<Row>> {
    let containers = infrastructure.containers().context("there are no containers")?;
    // Both work on the same database and the same topics, which go with the containers.
    let mut variables = infrastructure.variables();
    if !variables.iter().any(|(name, _)| *name == "ACKSCOPE_NAMESPACE") {
        variables.push(("ACKSCOPE_NAMESPACE", format!("recovery-{}", std::process::id())));
    }
    let nodes = Nodes { program: own_program()?, key: TokenKey::generate(), variables };
    let (socket, mut consumers) = tokio::try_join!(nodes.socket(), nodes.consumers())?;
    let mut generator = Generator::connect(socket.chat_url(), &nodes.key, CROWD).await?;
    if !is_json {
        out::line(&format!("{rate} messages/s, {} users in groups of {}\n", CROWD.users, CROWD.group_size));
        out::line(
            "of        outage      sent delivered  rejected   unknown    lost  doubled  leaked   delivers  caught up",
        );
    }
    let mut rows = Vec::new();
    for (of, outage) in outages {
        let round = Outing { nodes: &nodes, socket: &socket, containers, of, outage, rate, is_json };
        let row = round.row(&mut generator, &mut consumers).await?;
        if !is_json {
            out::line(&line(&row));
        }
        rows.push(row);
    }
    generator.disconnect().await;
    socket.shutdown().await?;
    consumers.shutdown().await?;
    Ok(rows)
}

fn line(row: &Row) -> String {
    let time = |ms: Option<u64>| ms.map_or_else(|| "not".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1_000.0));
    let sign = if row.is_kept() { "✓" } else { "✗" };
    format!(
        "{:<9} {:<8} {:>7} {:>9} {:>9} {:>9} {:>7} {:>8} {:>7} {:>10} {:>10}  {sign}",
        row.of,
        row.outage,
        row.sent,
        row.delivered,
        row.rejected,
        row.unknown,
        row.lost,
        row.doubled,
        row.leaked,
        time(row.delivers_ms),
        time(row.caught_up_ms)
    )
}

/// One outage under load.
struct Outing<'a> {
    nodes: &'a Nodes,
    socket: &'a Node,
    containers: &'a Containers,
    of: Victim,
    outage: Outage,
    rate: u32,
    is_json: bool,
}

/// How far a round was at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    delivered: u64,
    persisted: u64,
}

impl Outing<'_> {
    async fn row(&self, generator: &mut Generator, consumers: &mut Node) -> anyhow::Result<Row> {
        let Self { of, outage, rate, .. } = *self;
        let plan = RoundPlan {
            rate_per_sec: rate,
            warmup: Duration::ZERO,
            duration: BEFORE + outage.lasts() + AFTER,
            arrivals: Arrivals::Poisson,
            media_share: 0.0,
            seed: 1,
        };
        let bar = bar(self.is_json, 0, ROUND_BAR);
        bar.set_prefix(format!("{} {}", of.as_str(), outage.as_str()));
        let samples: Mutex<Vec<Sample>> = Mutex::default();
        let happening = async {
            tokio::time::sleep(BEFORE).await;
            match of {
                Victim::Server(server) => Ok(outage.of_server(self.containers, server).await?),
                Victim::Consumers => outage.of_consumers(self.nodes, consumers).await,
            }
        };
        let round = generator.round(plan, self.socket, |progress| {
            let RoundProgress { delivered, persisted, .. } = progress;
            samples.lock().push(Sample { at: Instant::now(), delivered, persisted });
            show(&bar, progress);
        });
        let (report, back) = tokio::join!(round, happening);
        bar.finish_and_clear();
        let (report, back): (RoundReport, Instant) = (report?, back?);
        let counts = report.counts;
        let (delivers, caught_up) = recovered(&samples.into_inner(), back, rate);
        let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
        Ok(Row {
            of: of.as_str(),
            outage: outage.as_str(),
            sent: counts.sent,
            delivered: counts.delivered,
            rejected: counts.refused,
            unknown: counts.unknown,
            lost: counts.lost,
            doubled: counts.doubled,
            leaked: counts.leaked,
            delivers_ms: ms(delivers),
            caught_up_ms: ms(caught_up),
        })
    }
}

/// When after `back` the first window starts in which nearly as many were delivered as were sent, and when from then
/// on nearly all that was delivered is persisted.
fn recovered(samples: &[Sample], back: Instant, rate: u32) -> (Option<Duration>, Option<Duration>) {
    let needed = f64::from(rate) * WINDOW.as_secs_f64() * ENOUGH;
    let after: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= back).collect();
    let delivers = after.iter().enumerate().find_map(|(index, start)| {
        let end = after[index..].iter().find(|sample| sample.at.duration_since(start.at) >= WINDOW)?;
        ((end.delivered - start.delivered) as f64 >= needed).then_some(index)
    });
    let Some(delivers) = delivers else { return (None, None) };
    let behind = f64::from(rate) * BEHIND.as_secs_f64();
    let is_caught_up = |sample: &&&Sample| sample.delivered.saturating_sub(sample.persisted) as f64 <= behind;
    let caught_up = after[delivers..].iter().find(is_caught_up);
    let since = |sample: &Sample| sample.at.duration_since(back);
    (Some(since(after[delivers])), caught_up.map(|sample| since(sample)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_as_much_is_delivered_and_persisted_as_is_sent() {
        let start = Instant::now();
        let at = |tenths: u32| start + Duration::from_millis(100) * tenths;
        // Ten a second: nothing delivered for two seconds, then one in each tenth; nothing persisted for four.
        let samples: Vec<Sample> = (0..60_u32)
            .map(|t| Sample {
                at: at(t),
                delivered: u64::from(t.saturating_sub(20)),
                persisted: if t < 40 { 0 } else { u64::from(t - 20) },
            })
            .collect();
        let (delivers, caught_up) = recovered(&samples, at(0), 10);
        let delivers = delivers.unwrap();
        assert!((1_700..=2_100).contains(&delivers.as_millis()), "{delivers:?}");
        // While no more than half a second's worth is missing, it counts as caught up.
        assert_eq!(caught_up, Some(delivers));
        let missing: Vec<Sample> = samples.iter().map(|s| Sample { delivered: s.delivered + 6, ..*s }).collect();
        assert_eq!(recovered(&missing, at(0), 10), (Some(delivers), None));
        assert_eq!(recovered(&samples, at(25), 10).1, Some(Duration::ZERO));
        assert_eq!(recovered(&samples, at(27), 10).1, Some(Duration::from_millis(1_300)));
        assert_eq!(recovered(&samples[..20], at(0), 10), (None, None));
        assert_eq!(recovered(&samples, at(59), 10), (None, None));
    }
}
