//! The search for the highest rate that keeps the budgets: up in steps until it breaks, then between.

use std::time::Duration;

use serde::Serialize;

use super::LoadError;
use super::generator::{Generator, RoundPlan, RoundProgress};
use super::round::RoundReport;
use super::schedule::Arrivals;
use super::server::Server;
use crate::latency::{Measure, Percentile};

/// How long one rate is measured.
const STEP: Duration = Duration::from_secs(5);
/// How long one rate is sent before it is measured.
const STEP_WARMUP: Duration = Duration::from_secs(1);
/// From one rate to the next while it goes up.
const FACTOR: f64 = 1.5;
/// The search ends when the limit is known this closely.
const CLOSE_ENOUGH: f64 = 1.1;
/// Most rates that are tried.
const STEPS_MAX: usize = 20;
/// No lower rate is tried.
const RATE_MIN: u32 = 10;
/// No higher rate is tried.
const RATE_MAX: u32 = 200_000;

/// What one rate came to.
#[derive(Clone, Debug, Serialize)]
pub struct LimitStep {
    /// Messages a second.
    pub rate_per_sec: u32,
    /// Whether both budgets were kept and every message was delivered once to everybody.
    pub kept: bool,
    /// p99 of `pending` in microseconds.
    pub pending_p99_us: u64,
    /// p99 of `delivered` in microseconds.
    pub delivered_p99_us: u64,
    /// p99 of the generator's own delay in microseconds.
    pub generator_lag_p99_us: u64,
    /// Processors' worth of the server's process.
    pub server_cpus: Option<f64>,
    /// Why it was not kept.
    pub why: Vec<String>,
}

/// What the search found.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// The highest rate that was kept; none when not even the lowest was.
    pub kept_per_sec: Option<u32>,
    /// The lowest rate that was not kept; none when every one was.
    pub broken_per_sec: Option<u32>,
    /// Whether it was the generator that could not do more, so that the system's limit is higher.
    pub generator_limited: bool,
    /// Every rate that was tried, in order.
    pub steps: Vec<LimitStep>,
}

/// Searches from `first_rate` on. `on_step` is told each rate that was tried.
pub async fn find_limit(
    generator: &mut Generator,
    server: &Server,
    first_rate: u32,
    seed: u64,
    mut on_progress: impl FnMut(u32, RoundProgress),
    mut on_step: impl FnMut(&LimitStep),
) -> Result<Limit, LoadError> {
    let mut search = Search::new(first_rate);
    let mut limit = Limit { kept_per_sec: None, broken_per_sec: None, generator_limited: false, steps: Vec::new() };
    while let Some(rate) = search.next() {
        let plan = RoundPlan {
            rate_per_sec: rate,
            warmup: STEP_WARMUP,
            duration: STEP,
            arrivals: Arrivals::Poisson,
            media_share: 0.0,
            seed: seed.wrapping_add(u64::from(rate)),
        };
        let report = generator.round(plan, server, |progress| on_progress(rate, progress)).await?;
        let step = step(rate, &report);
        on_step(&step);
        search.tell(rate, step.kept);
        let generator_failed =
            !step.kept && !report.is_generator_healthy() && step.server_cpus.is_none_or(|cpus| cpus < 0.9);
        limit.steps.push(step);
        if generator_failed {
            limit.generator_limited = true;
            break;
        }
    }
    limit.kept_per_sec = search.kept;
    limit.broken_per_sec = search.broken;
    Ok(limit)
}

fn step(rate_per_sec: u32, report: &RoundReport) -> LimitStep {
    let p99 = |measure| report.latencies.get(measure).at(Percentile::P99).unwrap_or(0);
    let mut why = report.over_budget();
    why.extend(report.broken());
    if report.counts.not_sent > 0 {
        why.push(format!("{} not sent", report.counts.not_sent));
    }
    LimitStep {
        rate_per_sec,
        kept: why.is_empty(),
        pending_p99_us: p99(Measure::Pending),
        delivered_p99_us: p99(Measure::Delivered),
        generator_lag_p99_us: report.ending.generator_lag.at(Percentile::P99).unwrap_or(0),
        server_cpus: report.ending.server.map(|server| server.cpus),
        why,
    }
}

/// Which rate to try next: a pure state machine.
#[derive(Debug)]
struct Search {
    first: u32,
    kept: Option<u32>,
    broken: Option<u32>,
    tried: usize,
}

impl Search {
    fn new(first: u32) -> Self {
        Self { first: first.clamp(RATE_MIN, RATE_MAX), kept: None, broken: None, tried: 0 }
    }

    fn next(&self) -> Option<u32> {
        if self.tried >= STEPS_MAX {
            return None;
        }
        let scaled = |rate: u32, factor: f64| (f64::from(rate) * factor).round() as u32;
        match (self.kept, self.broken) {
            (None, None) => Some(self.first),
            (Some(RATE_MAX..), None) | (None, Some(..=RATE_MIN)) => None,
            (Some(kept), None) => Some(scaled(kept, FACTOR).min(RATE_MAX)),
            (None, Some(broken)) => Some(scaled(broken, 1.0 / FACTOR).max(RATE_MIN)),
            (Some(kept), Some(broken)) => {
                let open = f64::from(broken) / f64::from(kept) > CLOSE_ENOUGH && broken - kept > 1;
                open.then(|| scaled(kept, (f64::from(broken) / f64::from(kept)).sqrt()).clamp(kept + 1, broken - 1))
            }
        }
    }

    fn tell(&mut self, rate: u32, kept: bool) {
        self.tried += 1;
        if kept {
            self.kept = Some(self.kept.map_or(rate, |known| known.max(rate)));
        } else {
            self.broken = Some(self.broken.map_or(rate, |known| known.min(rate)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(first: u32, limit: u32) -> (Search, Vec<u32>) {
        let mut search = Search::new(first);
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.tell(rate, rate <= limit);
        }
        (search, tried)
    }

    #[test]
    fn finds_a_limit_above_and_below_the_first_rate() {
        for limit in [15, 300, 999, 1_000, 1_001, 4_242, 150_000] {
            let (search, tried) = search(1_000, limit);
            let (kept, broken) = (search.kept.unwrap(), search.broken.unwrap());
            assert!(kept <= limit && limit < broken, "{limit}: {kept}..{broken}");
            assert!(f64::from(broken) / f64::from(kept) <= 1.2, "{limit}: {tried:?}");
            assert!(tried.len() <= STEPS_MAX, "{limit}: {tried:?}");
        }
    }

    #[test]
    fn ends_when_everything_or_nothing_is_kept() {
        assert_eq!(search(1_000, u32::MAX).0.broken, None);
        assert_eq!(search(1_000, 0).0.kept, None);
    }
}
