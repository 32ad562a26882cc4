//! Latencies as the clients see them, from the send to what came back, in full histograms.
//!
//! Percentiles are read from the histogram of all values and never averaged. All numbers are microseconds of
//! real time unless the name says otherwise.

use std::borrow::Borrow;

use ackscope_protocol::trace::TraceEvent;
use ackscope_protocol::wire::AckState;
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::scenario::file::{Budgets, Limits};

/// The longest latency that is told apart: ten minutes. Anything longer counts as that.
const LONGEST_US: u64 = 600_000_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// From the send to the `pending` ACK.
    Pending,
    /// From the send to the `delivered` ACK.
    Delivered,
    /// From the send to a `rejected` ACK.
    Rejected,
    /// From the send to `message:new`, once for each recipient.
    Received,
    /// From the send to the `persisted` ACK.
    Persisted,
}

impl Measure {
    /// Every measure, in the order a message takes.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Delivered, Self::Received, Self::Persisted, Self::Rejected];

    /// The name as files and reports spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Received => "received",
            Self::Persisted => "persisted",
        }
    }
}

/// A point of a distribution that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Deserialize)]
pub enum Percentile {
    /// The median.
    #[serde(rename = "p50")]
    P50,
    /// 90 of 100.
    #[serde(rename = "p90")]
    P90,
    /// 99 of 100.
    #[serde(rename = "p99")]
    P99,
    /// 999 of 1,000.
    #[serde(rename = "p99.9")]
    P99_9,
    /// The largest.
    #[serde(rename = "max")]
    Max,
}

impl Percentile {
    /// The share of values that are at most this.
    fn quantile(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P99 => 0.99,
            Self::P99_9 => 0.999,
            Self::Max => 1.0,
        }
    }

    /// The name as files and reports spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P99_9 => "p99.9",
            Self::Max => "max",
        }
    }
}

/// A full histogram of latencies in microseconds, three significant figures.
#[derive(Clone, Debug)]
pub struct Distribution {
    histogram: Histogram<u64>,
    /// The largest value as it was, because the histogram rounds.
    max_us: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        // The bounds are constants that hdrhistogram takes; should it not, an empty auto-resizing one does.
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3)
            .or_else(|_| Histogram::new(3))
            .unwrap_or_else(|_| unreachable!("three significant figures are within hdrhistogram's limits"));
        Self { histogram, max_us: 0 }
    }
}

impl Distribution {
    /// Counts one value.
    pub fn record(&mut self, us: u64) {
        self.histogram.saturating_record(us.max(1));
        self.max_us = self.max_us.max(us);
    }

    /// Counts everything another one counted.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so every value of the other has a place here.
        if self.histogram.add(&other.histogram).is_ok() {
            self.max_us = self.max_us.max(other.max_us);
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The value at a point, in microseconds; none when nothing was counted.
    pub fn at(&self, percentile: Percentile) -> Option<u64> {
        self.at_quantile(percentile.quantile())
    }

    /// The value at a quantile from 0 to 1, in microseconds; none when nothing was counted.
    fn at_quantile(&self, quantile: f64) -> Option<u64> {
        if self.histogram.is_empty() {
            return None;
        }
        // The histogram rounds up within its three figures; the largest value is known exactly.
        let value = if quantile < 1.0 { self.histogram.value_at_quantile(quantile) } else { self.max_us };
        Some(value.min(self.max_us))
    }

    /// Where the percentile of everything this is a sample of lies all but certainly (three standard errors), in
    /// microseconds: the fewer values were counted beyond it, the wider. Counts values as if each came about by
    /// itself; a stall that hits many at once is not in it.
    pub fn interval(&self, percentile: Percentile) -> Option<(u64, u64)> {
        let quantile = percentile.quantile();
        let error = 3.0 * (quantile * (1.0 - quantile) / self.count().max(1) as f64).sqrt();
        Some((self.at_quantile((quantile - error).max(0.0))?, self.at_quantile(quantile + error)?))
    }

    /// The figures for a report.
    pub fn summary(&self) -> Summary {
        let at = |percentile| self.at(percentile).unwrap_or(0);
        Summary {
            count: self.count(),
            min_us: if self.histogram.is_empty() { 0 } else { self.histogram.min() },
            p50_us: at(Percentile::P50),
            p90_us: at(Percentile::P90),
            p99_us: at(Percentile::P99),
            p99_9_us: at(Percentile::P99_9),
            max_us: at(Percentile::Max),
        }
    }
}

/// The figures of a distribution, in microseconds; all zero when `count` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// The smallest.
    pub min_us: u64,
    /// The median.
    pub p50_us: u64,
    /// 90 of 100 are at most this.
    pub p90_us: u64,
    /// 99 of 100 are at most this.
    pub p99_us: u64,
    /// 999 of 1,000 are at most this.
    pub p99_9_us: u64,
    /// The largest.
    pub max_us: u64,
}

/// The latencies of a run.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    pending: Distribution,
    delivered: Distribution,
    rejected: Distribution,
    received: Distribution,
    persisted: Distribution,
}

impl Latencies {
    /// Measures a run. What waited for a connection that was down is not a latency of the system and is left out.
    pub fn of<E: Borrow<TraceEvent>>(events: &[E]) -> Self {
        Self::of_history(&History::of(events))
    }

    /// Measures a run whose events are sorted already.
    pub fn of_history(history: &History) -> Self {
        let mut latencies = Self::default();
        each_latency(history, |measure, _, us| latencies.get_mut(measure).record(us));
        latencies
    }

    /// The distribution of a measure.
    pub fn get(&self, measure: Measure) -> &Distribution {
        match measure {
            Measure::Pending => &self.pending,
            Measure::Delivered => &self.delivered,
            Measure::Rejected => &self.rejected,
            Measure::Received => &self.received,
            Measure::Persisted => &self.persisted,
        }
    }

    /// The distribution of a measure, to count in.
    pub fn get_mut(&mut self, measure: Measure) -> &mut Distribution {
        match measure {
            Measure::Pending => &mut self.pending,
            Measure::Delivered => &mut self.delivered,
            Measure::Rejected => &mut self.rejected,
            Measure::Received => &mut self.received,
            Measure::Persisted => &mut self.persisted,
        }
    }
}

/// Tells every latency of a run: what was measured, when its message was sent in microseconds since the run began,
/// and how long it took in microseconds. What waited for a connection that was down is left out.
pub(crate) fn each_latency(history: &History, mut take: impl FnMut(Measure, u64, u64)) {
    for message in &history.messages {
        let (Some(sender), Some(&first_us)) = (&message.sender, message.sent_us.first()) else { continue };
        let connection = history.user(sender);
        let mut persisted = false;
        for seen in message.acks.iter().filter(|seen| seen.user == *sender) {
            // An ACK answers the latest send before it; only `persisted` is about the message as a whole.
            let latest = message.sent_us.iter().copied().rfind(|sent| *sent <= seen.at_us);
            let from_us = if seen.ack.state == AckState::Persisted { Some(first_us) } else { latest };
            let Some(from_us) = from_us.filter(|from| connection.connected_throughout(*from, seen.at_us)) else {
                continue;
            };
            let measure = match seen.ack.state {
                AckState::Pending => Measure::Pending,
                AckState::Delivered => Measure::Delivered,
                AckState::Rejected => Measure::Rejected,
                AckState::Persisted if persisted => continue,
                AckState::Persisted => {
                    persisted = true;
                    Measure::Persisted
                }
            };
            take(measure, from_us, seen.at_us - from_us);
        }
        let mut counted = Vec::new();
        for receipt in message.seen.iter().filter(|receipt| receipt.user != *sender) {
            let there = history.user(&receipt.user).connected_throughout(first_us, receipt.at_us);
            if there && !counted.contains(&&receipt.user) && receipt.at_us >= first_us {
                counted.push(&receipt.user);
                take(Measure::Received, first_us, receipt.at_us - first_us);
            }
        }
    }
}

/// One limit and what was measured against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct BudgetResult {
    /// What was measured.
    pub measure: Measure,
    /// Which point of the distribution.
    pub percentile: Percentile,
    /// The most it may be, in microseconds.
    pub limit_us: u64,
    /// What it was, in microseconds; none when nothing was measured.
    pub measured_us: Option<u64>,
    /// Whether the limit was kept. A budget of which nothing was measured was not kept: a run that never
    /// delivers must not pass its `delivered` budget.
    pub kept: bool,
}

/// Holds latencies against budgets, in the order of the measures.
pub fn check_budgets(latencies: &Latencies, budgets: &Budgets) -> Vec<BudgetResult> {
    let mut results = Vec::new();
    for measure in Measure::ALL {
        let limits = match measure {
            Measure::Pending => &budgets.pending,
            Measure::Delivered => &budgets.delivered,
            Measure::Rejected => &budgets.rejected,
            Measure::Received => &budgets.received,
            Measure::Persisted => &budgets.persisted,
        };
        let Some(limits) = limits else { continue };
        let Limits { p50, p90, p99, p99_9, max } = limits.value;
        let all = [
            (Percentile::P50, p50),
            (Percentile::P90, p90),
            (Percentile::P99, p99),
            (Percentile::P99_9, p99_9),
            (Percentile::Max, max),
        ];
        for (percentile, limit) in all {
            let Some(limit) = limit else { continue };
            let limit_us = u64::try_from(limit.0.as_micros()).unwrap_or(u64::MAX);
            let measured_us = latencies.get(measure).at(percentile);
            let kept = measured_us.is_some_and(|measured| measured <= limit_us);
            results.push(BudgetResult { measure, percentile, limit_us, measured_us, kept });
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Trace;

    #[test]
    fn an_empty_run_measures_nothing() {
        let latencies = Latencies::of::<TraceEvent>(&[]);
        for measure in Measure::ALL {
            assert_eq!(latencies.get(measure).count(), 0);
            assert_eq!(latencies.get(measure).at(Percentile::P99), None);
            assert_eq!(latencies.get(measure).summary(), Summary::default());
        }
    }

    #[test]
    fn measures_from_the_send_to_what_the_clients_saw() {
        let mut trace = Trace::new(&["ana", "ben", "cleo"]);
        let message = trace.send_at(1_000, "ana", "hello");
        trace.pending_at(1_300, &message);
        trace.delivered_at(3_000, &message, 1);
        trace.seen_at(3_500, "ben", &message);
        trace.seen_at(4_000, "cleo", &message);
        trace.persisted_at(21_000, &message);
        let latencies = Latencies::of(&trace.events);
        let max = |measure| latencies.get(measure).at(Percentile::Max);
        assert_eq!(max(Measure::Pending), Some(300));
        assert_eq!(max(Measure::Delivered), Some(2_000));
        assert_eq!(max(Measure::Received), Some(3_000));
        assert_eq!(latencies.get(Measure::Received).summary().min_us, 2_500);
        assert_eq!(max(Measure::Persisted), Some(20_000));
        assert_eq!(latencies.get(Measure::Rejected).count(), 0);
    }

    #[test]
    fn an_ack_is_measured_from_the_latest_send_of_its_message() {
        let mut trace = Trace::new(&["ana", "ben"]);
        let message = trace.send_at(1_000, "ana", "hello");
        trace.delivered_at(2_000, &message, 1);
        trace.retry_at(1_000_000, &message);
        trace.delivered_at(1_000_700, &message, 1);
        let latencies = Latencies::of(&trace.events);
        assert_eq!(latencies.get(Measure::Delivered).count(), 2);
        assert_eq!(latencies.get(Measure::Delivered).at(Percentile::Max), Some(1_000));
    }

    #[test]
    fn what_waited_for_a_connection_is_left_out() {
        let mut trace = Trace::new(&["ana", "ben"]);
        trace.disconnect_at(500, "ben");
        let message = trace.send_at(1_000, "ana", "hello");
        trace.delivered_at(2_000, &message, 1);
        trace.connect_at(9_000_000, "ben");
        trace.seen_at(9_000_500, "ben", &message);
        let latencies = Latencies::of(&trace.events);
        assert_eq!(latencies.get(Measure::Received).count(), 0);
        assert_eq!(latencies.get(Measure::Delivered).count(), 1);
    }

    #[test]
    fn a_percentile_is_of_all_values_and_never_above_the_largest() {
        let mut distribution = Distribution::default();
        for us in 1..=1_000 {
            distribution.record(us);
        }
        assert_eq!(distribution.at(Percentile::P50), Some(500));
        assert_eq!(distribution.at(Percentile::P99), Some(990));
        assert_eq!(distribution.at(Percentile::P99_9), Some(999));
        assert_eq!(distribution.at(Percentile::Max), Some(1_000));
        let mut one = Distribution::default();
        one.record(123_457);
        assert_eq!(one.at(Percentile::P99), Some(123_457));
        one.record(u64::MAX);
        assert_eq!(one.count(), 2, "a value beyond the range is counted all the same");
    }

    #[test]
    fn the_fewer_values_the_wider_the_interval_of_a_percentile() {
        let of = |count: u64| {
            let mut distribution = Distribution::default();
            (0..count).for_each(|number| distribution.record(number * 1_000 / count + 1));
            distribution
        };
        let width = |count, percentile| {
            let (low, high) = of(count).interval(percentile).unwrap();
            let value = of(count).at(percentile).unwrap();
            assert!(low <= value && value <= high, "{low} {value} {high}");
            high - low
        };
        assert!((25..=35).contains(&width(10_000, Percentile::P50)), "{}", width(10_000, Percentile::P50));
        assert!(width(100, Percentile::P50) > 2 * width(10_000, Percentile::P50));
        assert_eq!(of(100).interval(Percentile::P99_9).unwrap().1, of(100).at(Percentile::Max).unwrap());
        assert_eq!(Distribution::default().interval(Percentile::P50), None);
    }

    #[test]
    fn budgets_at_their_border_and_without_a_value() {
        let budgets: Budgets =
            serde_saphyr::from_str("delivered: {p99: 2ms, max: 1.999ms}\npersisted: {p50: 1s}\n").unwrap();
        let mut latencies = Latencies::default();
        latencies.get_mut(Measure::Delivered).record(2_000);
        let results = check_budgets(&latencies, &budgets);
        let kept: Vec<_> = results.iter().map(|r| (r.measure, r.percentile, r.kept, r.measured_us)).collect();
        assert_eq!(
            kept,
            [
                (Measure::Delivered, Percentile::P99, true, Some(2_000)),
                (Measure::Delivered, Percentile::Max, false, Some(2_000)),
                (Measure::Persisted, Percentile::P50, false, None),
            ]
        );
    }
}
