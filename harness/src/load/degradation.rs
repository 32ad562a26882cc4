//! One round for each fault of the media and search services, against rounds without one: whether messages notice
//! (S1.7), and whether everything that had to wait is caught up afterwards.
//!
//! Every round has the same schedule. After each one the fault is healed, and what it left behind is waited for:
//! every message findable, every media item verified, no consumer behind, every circuit closed.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::LoadError;
use super::generator::{Generator, RoundPlan, RoundProgress, StoredRound};
use super::round::RoundReport;
use super::server::Server;
use crate::latency::{Distribution, Measure, Percentile};
use crate::services::{ServiceFault, SimulatedServices};

/// Longest wait for what a fault left behind.
const CATCH_UP_LIMIT: Duration = Duration::from_mins(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much later a slow service answers, and up to how much more.
const SLOW: ServiceFault =
    ServiceFault::Latency { delay: Duration::from_millis(500), jitter: Duration::from_millis(250) };
/// Every request fails.
const ERRORS: ServiceFault = ServiceFault::ErrorShare { share: 1.0, status: 500 };

/// What is wrong during one round.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// For reports.
    pub name: &'static str,
    /// What is wrong with the media service.
    pub media: Option<ServiceFault>,
    /// What is wrong with the search service.
    pub search: Option<ServiceFault>,
}

impl Phase {
    /// Whether nothing is wrong.
    pub fn is_baseline(&self) -> bool {
        self.media.is_none() && self.search.is_none()
    }
}

/// Every phase in order. The first and the last have no fault: the difference between them is the noise.
pub const PHASES: [Phase; 13] = {
    const fn search(name: &'static str, fault: ServiceFault) -> Phase {
        Phase { name, media: None, search: Some(fault) }
    }
    const fn media(name: &'static str, fault: ServiceFault) -> Phase {
        Phase { name, media: Some(fault), search: None }
    }
    [
        Phase { name: "no fault, first", media: None, search: None },
        search("search outage", ServiceFault::Outage),
        search("search hang", ServiceFault::Hang),
        search("search 500", ERRORS),
        search("search garbage", ServiceFault::Garbage),
        search("search slow", SLOW),
        media("media outage", ServiceFault::Outage),
        media("media hang", ServiceFault::Hang),
        media("media 500", ERRORS),
        media("media garbage", ServiceFault::Garbage),
        media("media slow", SLOW),
        Phase { name: "both off", media: Some(ServiceFault::Outage), search: Some(ServiceFault::Outage) },
        Phase { name: "no fault, last", media: None, search: None },
    ]
};

/// What came of a phase.
#[derive(Clone, Debug)]
pub struct PhaseReport {
    /// What was wrong.
    pub phase: Phase,
    /// The round.
    pub round: RoundReport,
    /// What the histories have of it afterwards.
    pub stored: StoredRound,
    /// Messages that the index does not have afterwards.
    pub unindexed: u64,
    /// From healing until everything was caught up; none when it was not within two minutes.
    pub catch_up: Option<Duration>,
    /// What was not caught up then, one line.
    pub still: String,
    /// Processes that wanted a processor in the last minute of the round, on average; none where it cannot be told.
    pub load_average: Option<f64>,
}

impl PhaseReport {
    /// Promises that were not kept: outcomes, receipts, confirmations and places in the history that never came.
    pub fn lost(&self) -> u64 {
        let missing = self.round.counts.delivered.saturating_sub(self.stored.message_ids.len() as u64);
        self.round.counts.lost + missing
    }

    /// What was not as it has to be; rejections are no part of it.
    pub fn broken(&self) -> Vec<String> {
        let counts = &self.round.counts;
        let parts = [
            (self.lost(), "lost"),
            (counts.doubled, "doubled"),
            (counts.leaked, "leaked"),
            (counts.unreadable, "unreadable"),
            (self.round.ending.disconnects, "connections broken"),
            (self.unindexed, "not in the search index"),
            (self.stored.unverified, "media items not verified"),
            (self.stored.invalid, "media items taken for invalid"),
        ];
        let mut broken: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if self.catch_up.is_none() {
            broken.push(format!("not caught up: {}", self.still));
        }
        broken
    }

    fn latencies(&self, kind: Kind, measure: Measure) -> &Distribution {
        match kind {
            Kind::Text => self.round.latencies.get(measure),
            Kind::WithMedia => self.round.latencies_with_media.get(measure),
        }
    }

    /// The phase for machines.
    pub fn json(&self) -> serde_json::Value {
        let latencies = |kind| {
            serde_json::json!({
                "pending_us": self.latencies(kind, Measure::Pending).summary(),
                "delivered_us": self.latencies(kind, Measure::Delivered).summary(),
                "received_us": self.latencies(kind, Measure::Received).summary(),
            })
        };
        serde_json::json!({
            "phase": self.phase.name,
            "text": latencies(Kind::Text),
            "with_media": latencies(Kind::WithMedia),
            "generator_lag_us": self.round.ending.generator_lag.summary(),
            "generator_healthy": self.round.is_generator_healthy(),
            "counts": self.round.counts,
            "lost": self.lost(),
            "stored": self.stored.message_ids.len(),
            "unindexed": self.unindexed,
            "verified": self.stored.verified,
            "unverified": self.stored.unverified,
            "invalid": self.stored.invalid,
            "catch_up_secs": self.catch_up.map(|catch_up| catch_up.as_secs_f64()),
            "broken": self.broken(),
            "load_average": self.load_average,
            "server": self.round.ending.server,
        })
    }
}

/// Plays these phases. `server` must have been given the addresses of `services`, and the users of `generator` their
/// pictures when messages are to carry media.
pub async fn degradation(
    phases: &[Phase],
    plan: RoundPlan,
    generator: &mut Generator,
    server: &mut Server,
    services: &SimulatedServices,
    mut on_progress: impl FnMut(&Phase, RoundProgress),
    mut on_phase: impl FnMut(&PhaseReport),
) -> Result<Vec<PhaseReport>, LoadError> {
    let mut reports = Vec::with_capacity(phases.len());
    for phase in phases.iter().copied() {
        let indexed_before = services.search.count().await?;
        services.media.set_fault(phase.media);
        services.search.set_fault(phase.search);
        let round = generator.round(plan, server, |progress| on_progress(&phase, progress)).await;
        let load_average = load_average();
        services.media.set_fault(None);
        services.search.set_fault(None);
        let round = round?;
        let expected = indexed_before + round.counts.delivered;
        let (catch_up, still) = caught_up(server, services, expected).await?;

        let stored = generator.stored_round().await?;
        let mut unindexed = round.counts.delivered.saturating_sub(stored.message_ids.len() as u64);
        for message_id in &stored.message_ids {
            unindexed += u64::from(!services.search.contains(*message_id).await?);
        }
        let report = PhaseReport { phase, round, stored, unindexed, catch_up, still, load_average };
        on_phase(&report);
        reports.push(report);
    }
    Ok(reports)
}

/// Waits until nothing is behind any more; gives how long that took, or else what still is.
async fn caught_up(
    server: &mut Server,
    services: &SimulatedServices,
    expected: u64,
) -> Result<(Option<Duration>, String), LoadError> {
    let healed = Instant::now();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let mut still = server.node_figures().await?.still();
        let indexed = services.search.count().await?;
        if still.is_empty() && indexed < expected {
            still = format!("{} messages are not indexed", expected - indexed);
        }
        if still.is_empty() {
            return Ok((Some(healed.elapsed()), still));
        }
        if healed.elapsed() > CATCH_UP_LIMIT {
            return Ok((None, still));
        }
    }
}

/// The one-minute load average, as Linux tells it.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Messages without or with media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Without.
    Text,
    /// With.
    WithMedia,
}

/// A percentile with a fault that lies outside of what it is without one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The phase.
    pub phase: &'static str,
    /// Of which messages.
    pub kind: Kind,
    /// Of what.
    pub measure: Measure,
    /// Which point.
    pub percentile: Percentile,
    /// What it is, in microseconds.
    pub value_us: u64,
    /// What it is in the first and the last phase, in microseconds.
    pub baselines_us: (u64, u64),
    /// Whether it is more; less otherwise.
    pub is_slower: bool,
    /// The load average of the phase, of the first and of the last one: a machine that was busier with something else
    /// explains a difference as well as the fault does.
    pub load_averages: [Option<f64>; 3],
}

/// The percentiles compared: what the budgets speak of.
const COMPARED: [(Measure, [Percentile; 3]); 2] = {
    const POINTS: [Percentile; 3] = [Percentile::P50, Percentile::P99, Percentile::P99_9];
    [(Measure::Pending, POINTS), (Measure::Delivered, POINTS)]
};

/// Percentiles of phases with a fault that differ from the phases without one beyond the noise: the interval of the
/// percentile ([`Distribution::interval`]) lies as a whole outside of the intervals of the phases without a fault,
/// widened by what these differ from each other.
pub fn differences(reports: &[PhaseReport]) -> Vec<Difference> {
    let baselines: Vec<&PhaseReport> = reports.iter().filter(|report| report.phase.is_baseline()).collect();
    let mut found = Vec::new();
    let [first, last] = baselines[..] else { return found };
    let load_averages = |report: &PhaseReport| [report.load_average, first.load_average, last.load_average];
    for report in reports.iter().filter(|report| !report.phase.is_baseline()) {
        for kind in [Kind::Text, Kind::WithMedia] {
            for (measure, percentiles) in COMPARED {
                for percentile in percentiles {
                    let of = |report: &PhaseReport| {
                        let distribution = report.latencies(kind, measure);
                        Some((distribution.at(percentile)?, distribution.interval(percentile)?))
                    };
                    let (Some(first), Some(last), Some((value_us, (low, high)))) = (of(first), of(last), of(report))
                    else {
                        continue;
                    };
                    let Some(is_slower) = outside(low, high, first, last) else { continue };
                    let baselines_us = (first.0, last.0);
                    let phase = report.phase.name;
                    let load_averages = load_averages(report);
                    found.push(Difference {
                        phase,
                        kind,
                        measure,
                        percentile,
                        value_us,
                        baselines_us,
                        is_slower,
                        load_averages,
                    });
                }
            }
        }
    }
    found
}

type Point = (u64, (u64, u64));

/// Whether an interval lies above (true) or below (false) of two values with their intervals and the distance between
/// them; none when it does neither.
fn outside(low: u64, high: u64, first: Point, last: Point) -> Option<bool> {
    let spread = first.0.abs_diff(last.0);
    let floor = first.1.0.min(last.1.0).saturating_sub(spread);
    let ceiling = first.1.1.max(last.1.1).saturating_add(spread);
    if low > ceiling {
        Some(true)
    } else if high < floor {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_phase_are_the_only_ones_without_a_fault() {
        let baselines: Vec<usize> = (0..PHASES.len()).filter(|index| PHASES[*index].is_baseline()).collect();
        assert_eq!(baselines, [0, PHASES.len() - 1]);
        let mut names: Vec<_> = PHASES.iter().map(|phase| phase.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PHASES.len());
    }

    #[test]
    fn what_the_baselines_differ_by_is_noise() {
        let (first, last) = ((100, (90, 110)), (130, (120, 140)));
        assert_eq!(outside(150, 170, first, last), None, "within 140 + 30");
        assert_eq!(outside(171, 200, first, last), Some(true));
        assert_eq!(outside(40, 60, first, last), None, "within 90 - 30");
        assert_eq!(outside(40, 59, first, last), Some(false));
        assert_eq!(outside(0, 1_000, first, last), None, "an interval that wide says nothing");
    }
}
