//! Latencies as the clients see them, from the send to what came back, in full histograms.
//!
//! Percentiles are read from the histogram of all values and never averaged. All numbers are microseconds of
//! real time unless the name says otherwise.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::str::FromStr;

use ackscope_core::consumers::message_persistence;
use ackscope_protocol::trace::{Stage, TraceEvent};
use ackscope_protocol::wire::AckState;
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::scenario::file::Budgets;

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
    /// From the send to a stage inside the backend.
    #[serde(untagged)]
    Stage(StageMeasure),
}

/// A stage inside the backend that can be measured from the send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StageMeasure {
    /// The socket service read the message off the connection.
    #[serde(rename = "stage received")]
    Received,
    /// The permission check was answered.
    #[serde(rename = "stage permission")]
    Permission,
    /// The media service was asked.
    #[serde(rename = "stage media_checked")]
    MediaChecked,
    /// The event log accepted the record of the message.
    #[serde(rename = "stage published")]
    Published,
    /// A node emitted `message:new` to its sockets.
    #[serde(rename = "stage broadcast")]
    Broadcast,
    /// The persistence consumer read the record.
    #[serde(rename = "stage consumed")]
    Consumed,
    /// The message is in the store.
    #[serde(rename = "stage stored")]
    Stored,
    /// The confirmation came back to the socket service.
    #[serde(rename = "stage confirmed")]
    Confirmed,
    /// The search service indexed it.
    #[serde(rename = "stage indexed")]
    Indexed,
}

impl StageMeasure {
    /// Every one, in the order a message takes.
    pub const ALL: [Self; 9] = [
        Self::Received,
        Self::Permission,
        Self::MediaChecked,
        Self::Published,
        Self::Broadcast,
        Self::Consumed,
        Self::Stored,
        Self::Confirmed,
        Self::Indexed,
    ];

    /// What a stage is measured as. Others are told the client as an ACK, and measured there.
    fn of(stage: &Stage) -> Option<Self> {
        Some(match stage {
            Stage::Received => Self::Received,
            Stage::Permission { .. } => Self::Permission,
            Stage::MediaChecked { .. } => Self::MediaChecked,
            Stage::Published { topic, .. } if topic == "message.sent" => Self::Published,
            Stage::Broadcast { .. } => Self::Broadcast,
            Stage::Consumed { group, .. } if group == message_persistence::GROUP => Self::Consumed,
            Stage::Persisted { .. } => Self::Stored,
            Stage::Confirmed => Self::Confirmed,
            Stage::Indexed => Self::Indexed,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Received => "stage received",
            Self::Permission => "stage permission",
            Self::MediaChecked => "stage media_checked",
            Self::Published => "stage published",
            Self::Broadcast => "stage broadcast",
            Self::Consumed => "stage consumed",
            Self::Stored => "stage stored",
            Self::Confirmed => "stage confirmed",
            Self::Indexed => "stage indexed",
        }
    }
}

impl Measure {
    /// What clients see, in the order a message takes.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Delivered, Self::Received, Self::Persisted, Self::Rejected];

    /// The name as files and reports spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Received => "received",
            Self::Persisted => "persisted",
            Self::Stage(stage) => stage.as_str(),
        }
    }

    /// What clients see, and the stages that have a budget: the rows of a table.
    pub fn rows(budgets: &[BudgetResult]) -> Vec<Self> {
        let stages = StageMeasure::ALL.map(Self::Stage);
        let limited = stages.into_iter().filter(|stage| budgets.iter().any(|budget| budget.measure == *stage));
        Self::ALL.into_iter().chain(limited).collect()
    }
}

/// A point of a distribution that can be limited: the share of values that are at most this, in thousandths of a
/// percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentile(u32);

/// Thousandths of a percent in all.
const WHOLE: u32 = 100_000;

impl Percentile {
    /// The median.
    pub const P50: Self = Self(50_000);
    /// 90 of 100.
    pub const P90: Self = Self(90_000);
    /// 99 of 100.
    pub const P99: Self = Self(99_000);
    /// 999 of 1,000.
    pub const P99_9: Self = Self(99_900);
    /// The largest.
    pub const MAX: Self = Self(WHOLE);

    /// The share of values that are at most this.
    fn quantile(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// The name as files and reports spell it.
    pub fn name(self) -> String {
        if self == Self::MAX {
            return "max".to_owned();
        }
        let (whole, part) = (self.0 / 1_000, self.0 % 1_000);
        let part = format!("{part:03}");
        let part = part.trim_end_matches('0');
        if part.is_empty() { format!("p{whole}") } else { format!("p{whole}.{part}") }
    }
}

impl Serialize for Percentile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for Percentile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Percentile {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percentile".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(max|p[0-9]{1,2}(\\.[0-9]{1,3})?)$" })
    }
}

/// A text that names no point of a distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a percentile")]
pub struct NotAPercentile(String);

impl FromStr for Percentile {
    type Err = NotAPercentile;

    fn from_str(text: &str) -> Result<Self, NotAPercentile> {
        if text == "max" {
            return Ok(Self::MAX);
        }
        let refuse = || NotAPercentile(text.to_owned());
        let number = text.strip_prefix('p').ok_or_else(refuse)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| {
            let valid = (1..=most).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
            if valid { text.parse::<u32>().ok() } else { None }
        };
        let whole = digits(whole, 2).ok_or_else(refuse)?;
        let part = digits(part, 3).map(|_| format!("{part:0<3}")).and_then(|part| part.parse::<u32>().ok());
        let share = whole * 1_000 + part.ok_or_else(refuse)?;
        if share == 0 { Err(refuse()) } else { Ok(Self(share)) }
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
            max_us: at(Percentile::MAX),
        }
    }
}

/// The figures of a distribution, in microseconds; all zero when `count` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Made with their first value: most runs have no budget for them.
    stages: BTreeMap<StageMeasure, Distribution>,
    nothing: Distribution,
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
        for message in &history.messages {
            let mut stages = Vec::new();
            for (at_us, stage) in &message.stages {
                // Only the first time counts: what is read or stored again is no latency of the message.
                let Some(measure) = StageMeasure::of(stage).filter(|measure| !stages.contains(measure)) else {
                    continue;
                };
                stages.push(measure);
                if let Some(from_us) = message.sent_us.iter().copied().rfind(|sent| sent <= at_us) {
                    latencies.get_mut(Measure::Stage(measure)).record(at_us - from_us);
                }
            }
        }
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
            Measure::Stage(stage) => self.stages.get(&stage).unwrap_or(&self.nothing),
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
            Measure::Stage(stage) => self.stages.entry(stage).or_default(),
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
    let stages = &budgets.stages;
    let all = [
        (Measure::Pending, &budgets.pending),
        (Measure::Delivered, &budgets.delivered),
        (Measure::Received, &budgets.received),
        (Measure::Persisted, &budgets.persisted),
        (Measure::Rejected, &budgets.rejected),
        (Measure::Stage(StageMeasure::Received), &stages.received),
        (Measure::Stage(StageMeasure::Permission), &stages.permission),
        (Measure::Stage(StageMeasure::MediaChecked), &stages.media_checked),
        (Measure::Stage(StageMeasure::Published), &stages.published),
        (Measure::Stage(StageMeasure::Broadcast), &stages.broadcast),
        (Measure::Stage(StageMeasure::Consumed), &stages.consumed),
        (Measure::Stage(StageMeasure::Stored), &stages.stored),
        (Measure::Stage(StageMeasure::Confirmed), &stages.confirmed),
        (Measure::Stage(StageMeasure::Indexed), &stages.indexed),
    ];
    let mut results = Vec::new();
    for (measure, limits) in all {
        for (percentile, limit) in limits.iter().flat_map(|limits| &limits.value.0) {
            let percentile = percentile.0;
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
    use ackscope_protocol::trace::Happening;

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
        let max = |measure| latencies.get(measure).at(Percentile::MAX);
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
        assert_eq!(latencies.get(Measure::Delivered).at(Percentile::MAX), Some(1_000));
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
        assert_eq!(distribution.at(Percentile::MAX), Some(1_000));
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
        assert_eq!(of(100).interval(Percentile::P99_9).unwrap().1, of(100).at(Percentile::MAX).unwrap());
        assert_eq!(Distribution::default().interval(Percentile::P50), None);
    }

    #[test]
    fn a_percentile_is_read_and_told_as_it_is_written() {
        for text in ["p50", "p95", "p99.9", "p99.99", "p0.001", "p7.25", "max"] {
            assert_eq!(text.parse::<Percentile>().unwrap().name(), text);
        }
        assert_eq!("p50.0".parse(), Ok(Percentile::P50));
        assert_eq!("p99.900".parse(), Ok(Percentile::P99_9));
        for text in ["", "p", "95", "p0", "p100", "p99.9999", "p-5", "p9,5", "P95", "p+5", "p5.", "Max"] {
            assert!(text.parse::<Percentile>().is_err(), "{text}");
        }
    }

    #[test]
    fn stages_are_measured_from_the_send_and_once() {
        let mut trace = Trace::new(&["ana", "ben"]);
        let message = trace.send_at(1_000, "ana", "hello");
        let message_id = message.message_id;
        let stage = |stage| Happening::Stage { message_id, stage };
        trace.push(1_200, stage(Stage::Received));
        trace.push(1_900, stage(Stage::Published { topic: "message.sent".to_owned(), partition: 0, offset: 1 }));
        trace.push(5_000, stage(Stage::Published { topic: "message.edited".to_owned(), partition: 0, offset: 1 }));
        trace.push(9_000, stage(Stage::Persisted { inserted: true, bulk: 1 }));
        trace.push(90_000, stage(Stage::Persisted { inserted: false, bulk: 1 }));
        let latencies = Latencies::of(&trace.events);
        let of = |stage| latencies.get(Measure::Stage(stage)).at(Percentile::MAX);
        assert_eq!(of(StageMeasure::Received), Some(200));
        assert_eq!(of(StageMeasure::Published), Some(900));
        assert_eq!(of(StageMeasure::Stored), Some(8_000));
        assert_eq!(of(StageMeasure::Indexed), None);
        let budgets: Budgets = serde_saphyr::from_str("stages: {stored: {p95: 8ms}, indexed: {max: 1s}}").unwrap();
        let results = check_budgets(&latencies, &budgets);
        let told: Vec<_> = results.iter().map(|one| (one.measure.as_str(), one.percentile.name(), one.kept)).collect();
        assert_eq!(told, [("stage stored", "p95".to_owned(), true), ("stage indexed", "max".to_owned(), false)]);
        assert_eq!(Measure::rows(&results).len(), Measure::ALL.len() + 2);
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
                (Measure::Delivered, Percentile::MAX, false, Some(2_000)),
                (Measure::Persisted, Percentile::P50, false, None),
            ]
        );
    }
}
