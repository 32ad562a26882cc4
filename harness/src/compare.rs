//! Two recordings beside each other: what is worse, above the noise (S3.8).
//!
//! Latencies of neighbours in time are alike: a stall hits many messages at once. Tests that take each value for
//! an accident of its own (Mann-Whitney, a plain bootstrap) would call every second stall a difference. So the
//! noise is found by drawing *stretches* of the run again (block bootstrap): the values in the order of their sends
//! are cut into [`BLOCKS`] stretches, as many of these are drawn with repetition, [`DRAWS`] times, and the spread of
//! a percentile over the draws is its standard error. A difference counts when it is larger than
//!
//! - [`ERRORS`] standard errors of the difference (some forty differences are looked at, so that two would be too
//!   few),
//! - the least change in percent, and
//! - the least change in milliseconds ([`Floor`]).
//!
//! Beyond that, the slower run must be above the other's percentile more often than the other, again by so many
//! standard errors, now of the share of each stretch: a far percentile that rests on two stalls says nothing.
//!
//! A percentile is looked at where both runs have at least [`BEYOND_MIN`] values beyond it. The draws follow from a
//! fixed seed: the same two files always give the same answer. What differs between two runs of the same build
//! because the machine was busier the second time is *not* in it; nothing within one run could tell.

use std::collections::{BTreeMap, HashMap, VecDeque};

use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::AckState;
use fastrand::Rng;
use serde::Serialize;

use crate::history::{History, MessageHistory};
use crate::latency::{Measure, Percentile, each_latency};
use crate::recording::Recording;
use crate::report::paint::{Paint, Tone};
use crate::report::{micros, put};
use crate::scenario::outcome::{RunReport, Verdict};

/// Stretches a run is cut into.
pub const BLOCKS: usize = 30;
/// How often stretches are drawn.
pub const DRAWS: usize = 400;
/// Standard errors of a difference that are noise.
pub const ERRORS: f64 = 3.5;
/// Values beyond a percentile that both runs must have.
pub const BEYOND_MIN: f64 = 10.0;
/// Messages both runs must have for rates and shares.
const MESSAGES_MIN: usize = 20;
/// Values are told apart by this factor where stretches are drawn; what is printed is exact.
const BIN_FACTOR: f64 = 1.01;

/// The least change that counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// Of a latency or a rate, in percent.
    pub percent: f64,
    /// Of a latency, in milliseconds.
    pub ms: f64,
}

impl Default for Floor {
    fn default() -> Self {
        Self { percent: 5.0, ms: 1.0 }
    }
}

/// What a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Within the noise, or too small to count.
    Same,
    /// Above the noise, and for the worse.
    Worse,
    /// Above the noise, and for the better.
    Better,
    /// Above the noise, and neither good nor bad.
    Different,
    /// There is not enough to say.
    TooFew,
}

impl Change {
    /// The word as the table prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Different => "different",
            Self::TooFew => "too few",
        }
    }
}

/// What is compared, in the words of its recording.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The scenario's name, or what else was run.
    pub title: String,
    /// The backend's name.
    pub backend: &'static str,
    /// What was left to chance followed from this number, if it is known.
    pub seed: Option<u64>,
    /// What the run proved; none when the recording has no report.
    pub verdict: Option<Verdict>,
    /// How many messages were sent.
    pub messages: usize,
    /// What is missing or damaged in the file, one sentence each.
    pub remarks: Vec<String>,
}

/// One figure of both runs.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is, such as `delivered p99` or `rejected overloaded`.
    pub what: String,
    /// Before.
    pub before: Option<f64>,
    /// After.
    pub after: Option<f64>,
    /// A difference up to this is noise; none where nothing is left to chance.
    pub noise: Option<f64>,
    /// What the difference is.
    pub change: Change,
}

/// Two runs beside each other.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The run before.
    pub before: Side,
    /// The run after.
    pub after: Side,
    /// The least change that counts.
    pub floor: Floor,
    /// How the messages ended, as shares of all from 0 to 1.
    pub outcomes: Vec<Row>,
    /// Broken promises by kind, as counts.
    pub findings: Vec<Row>,
    /// Messages a second.
    pub rates: Vec<Row>,
    /// From the send of a message to its stages, in microseconds.
    pub latencies: Vec<Row>,
    /// Everything that became worse, one line each.
    pub regressions: Vec<String>,
    /// What limits the comparison, one sentence each.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Whether anything became worse.
    pub fn is_regression(&self) -> bool {
        !self.regressions.is_empty()
    }
}

/// Compares two recordings.
pub fn compare(before: &Recording, after: &Recording, floor: Floor) -> Comparison {
    let histories = (before.history(), after.history());
    let reports = (before.run_report(&histories.0), after.run_report(&histories.1));
    let sides = (side(before, &reports.0, &histories.0), side(after, &reports.1, &histories.1));
    let latencies = compare_latencies(&series(&histories.0), &series(&histories.1), floor);
    let mut comparison = Comparison {
        outcomes: compare_outcomes(&histories.0, &histories.1),
        findings: compare_findings(&reports.0, &reports.1),
        rates: compare_rates(&histories.0, &histories.1, floor),
        latencies,
        notes: notes(&sides.0, &sides.1, &reports.0, &reports.1),
        regressions: Vec::new(),
        before: sides.0,
        after: sides.1,
        floor,
    };
    comparison.regressions = regressions(&comparison);
    comparison
}

fn side(recording: &Recording, report: &RunReport, history: &History) -> Side {
    Side {
        title: report.scenario.clone(),
        backend: report.backend.as_str(),
        seed: recording.header.seed,
        verdict: recording.report.is_some().then(|| report.verdict()),
        messages: sent(history).count(),
        remarks: recording.remarks(),
    }
}

fn notes(before: &Side, after: &Side, report_before: &RunReport, report_after: &RunReport) -> Vec<String> {
    let mut notes = Vec::new();
    if before.title != after.title {
        notes.push(format!("the runs are not of the same kind: \"{}\" and \"{}\"", before.title, after.title));
    }
    if before.backend != after.backend {
        notes.push(format!("the backends differ: {} and {}", before.backend, after.backend));
    }
    for (name, side, report) in [("before", before, report_before), ("after", after, report_after)] {
        notes.extend(side.remarks.iter().map(|remark| format!("{name}: {remark}")));
        if report.audit.promises.total() == 0 {
            notes.push(format!("{name}: no promise was checked, so findings say nothing"));
        }
    }
    notes
}

fn regressions(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    let (before, after) = (comparison.before.verdict, comparison.after.verdict);
    if let (Some(Verdict::Pass), Some(Verdict::Fail)) = (before, after) {
        lines.push("the verdict: pass before, fail after".to_owned());
    }
    let parts: [(&[Row], Unit); 4] = [
        (&comparison.outcomes, Unit::Share),
        (&comparison.findings, Unit::Count),
        (&comparison.rates, Unit::Rate),
        (&comparison.latencies, Unit::Micros),
    ];
    for (rows, unit) in parts {
        for row in rows.iter().filter(|row| row.change == Change::Worse) {
            lines.push(format!("{}: {} before, {} after", row.what, unit.say(row.before), unit.say(row.after)));
        }
    }
    lines
}

/// The messages that simulated users sent, in the order of their sends.
fn sent(history: &History) -> impl Iterator<Item = &MessageHistory> {
    history.messages.iter().filter(|message| !message.sent_us.is_empty() && message.sender.is_some())
}

// ---- latencies ------------------------------------------------------------------------------------------------

/// Stages in the order of a message's way; others come after them.
const STAGE_ORDER: [&str; 7] =
    ["received", "permission", "media checked", "published", "consumed", "persisted", "confirmed"];

/// Values with the times of their sends, by where they stand in the table and what they are called.
type Series = BTreeMap<(usize, String), Vec<(u64, f64)>>;

/// What clients see of a run, and the stages inside the backend, each in microseconds since the send.
fn series(history: &History) -> Series {
    let mut series = Series::new();
    each_latency(history, |measure, sent_us, us| {
        let place = Measure::ALL.iter().position(|one| *one == measure).unwrap_or_default();
        series.entry((place, measure.as_str().to_owned())).or_default().push((sent_us, us as f64));
    });
    for message in sent(history) {
        let Some(&sent_us) = message.sent_us.first() else { continue };
        let mut seen: Vec<String> = Vec::new();
        for (at_us, stage) in &message.stages {
            let name = match stage {
                // What a message ends with is measured at the client.
                Stage::Pending | Stage::Delivered { .. } | Stage::Rejected { .. } | Stage::Broadcast { .. } => continue,
                Stage::Consumed { group, .. } => format!("· consumed by {group}"),
                stage => format!("· {}", stage.name()),
            };
            if *at_us < sent_us || seen.contains(&name) {
                continue;
            }
            let order = STAGE_ORDER.iter().position(|known| *known == stage.name()).unwrap_or(STAGE_ORDER.len());
            let values = series.entry((Measure::ALL.len() + order, name.clone())).or_default();
            values.push((sent_us, (at_us - sent_us) as f64));
            seen.push(name);
        }
    }
    for values in series.values_mut() {
        values.sort_by_key(|(sent_us, _)| *sent_us);
    }
    series
}

const PERCENTILES: [(Percentile, f64); 4] =
    [(Percentile::P50, 0.5), (Percentile::P90, 0.9), (Percentile::P99, 0.99), (Percentile::P99_9, 0.999)];

fn compare_latencies(before: &Series, after: &Series, floor: Floor) -> Vec<Row> {
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut rows = Vec::new();
    for key in keys {
        let values = |series: &Series| -> Vec<f64> {
            series.get(key).map(|values| values.iter().map(|(_, us)| *us).collect()).unwrap_or_default()
        };
        let (before, after) = (values(before), values(after));
        let errors = (Spread::of(&before).errors(), Spread::of(&after).errors());
        let fewest = before.len().min(after.len()) as f64;
        for (index, (percentile, quantile)) in PERCENTILES.into_iter().enumerate() {
            let is_enough = fewest * (1.0 - quantile) >= BEYOND_MIN - 1e-9;
            if !is_enough && percentile != Percentile::P50 {
                continue;
            }
            let what = format!("{} {}", key.1, percentile.name());
            let (was, is) = (at(&before, quantile), at(&after, quantile));
            let (Some(was_us), Some(is_us), true) = (was, is, is_enough) else {
                rows.push(Row { what, before: was, after: is, noise: None, change: Change::TooFew });
                continue;
            };
            let error = errors.0[index].hypot(errors.1[index]);
            // What the bins cannot tell apart is noise.
            let noise = (ERRORS * error).max(was_us * (BIN_FACTOR - 1.0));
            let least = (was_us * floor.percent / 100.0).max(floor.ms * 1_000.0);
            let difference = is_us - was_us;
            let change = if difference.abs() <= noise || difference.abs() < least {
                Change::Same
            } else if difference > 0.0 {
                if is_exceeded(&before, &after, was_us) { Change::Worse } else { Change::Same }
            } else if is_exceeded(&after, &before, is_us) {
                Change::Better
            } else {
                Change::Same
            };
            rows.push(Row { what, before: was, after: is, noise: Some(noise), change });
        }
    }
    rows
}

/// Whether one run is beyond a limit more often than the run the limit was taken from, above the noise.
///
/// A far percentile may rest on one or two stalls, of whose spread the draws know too little. How many stretches
/// they are in tells: a value that is beyond in two of thirty is an accident.
fn is_exceeded(own: &[f64], other: &[f64], limit_us: f64) -> bool {
    let beyond = |values: &[f64]| {
        let hits: Vec<f64> = values.iter().map(|us| f64::from(u8::from(*us > limit_us))).collect();
        mean_and_error(&hits)
    };
    let ((own, own_error), (other, other_error)) = (beyond(own), beyond(other));
    other - own > ERRORS * own_error.hypot(other_error)
}

/// The value at a quantile: the smallest that so large a share of all are at most.
fn at(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The stretches of a run, each as counts by bin.
struct Spread {
    /// The value each bin stands for, ascending.
    values: Vec<f64>,
    /// For each stretch the count in each bin.
    blocks: Vec<Vec<u32>>,
}

impl Spread {
    /// Of values in the order of their sends.
    fn of(values: &[f64]) -> Self {
        let bin = |value: f64| (value.max(1.0).ln() / BIN_FACTOR.ln()) as u32;
        let mut bins: Vec<u32> = values.iter().map(|value| bin(*value)).collect();
        let own = bins.clone();
        bins.sort_unstable();
        bins.dedup();
        let count = BLOCKS.min(values.len());
        let mut blocks = vec![vec![0; bins.len()]; count];
        for (index, bin) in own.iter().enumerate() {
            if let Ok(place) = bins.binary_search(bin) {
                blocks[index * count / own.len()][place] += 1;
            }
        }
        Self { values: bins.iter().map(|bin| BIN_FACTOR.powf(f64::from(*bin) + 0.5)).collect(), blocks }
    }

    /// The standard errors of the [`PERCENTILES`].
    fn errors(&self) -> [f64; PERCENTILES.len()] {
        if self.blocks.is_empty() {
            return [0.0; PERCENTILES.len()];
        }
        // A fixed seed: the same two files always give the same answer.
        let mut rng = Rng::with_seed(1);
        let mut counts = vec![0_u64; self.values.len()];
        let mut drawn = [const { Vec::new() }; PERCENTILES.len()];
        for _ in 0..DRAWS {
            counts.fill(0);
            let mut times = [0_u64; BLOCKS];
            for _ in &self.blocks {
                times[rng.usize(..self.blocks.len())] += 1;
            }
            // A good third is not drawn at all.
            for (block, times) in self.blocks.iter().zip(times).filter(|(_, times)| *times > 0) {
                for (sum, count) in counts.iter_mut().zip(block) {
                    *sum += times * u64::from(*count);
                }
            }
            let total = counts.iter().sum::<u64>() as f64;
            let (mut place, mut up_to) = (0, counts[0]);
            for ((_, quantile), drawn) in PERCENTILES.iter().zip(&mut drawn) {
                let rank = (quantile * total).ceil() as u64;
                while up_to < rank && place + 1 < counts.len() {
                    place += 1;
                    up_to += counts[place];
                }
                drawn.push(self.values[place]);
            }
        }
        drawn.map(|drawn: Vec<f64>| deviation(&drawn))
    }
}

/// The standard deviation; 0 of fewer than two.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

// ---- single messages -------------------------------------------------------------------------------------------

/// Messages of two runs, one beside the other.
#[derive(Debug, Default)]
pub struct Matched<'a> {
    /// Only the run before has them, in the order they were sent.
    pub only_before: Vec<&'a MessageHistory>,
    /// Only the run after has them.
    pub only_after: Vec<&'a MessageHistory>,
    /// Both have them, and their senders were told different things last.
    pub ended_differently: Vec<(&'a MessageHistory, &'a MessageHistory)>,
}

/// Looks for the messages of one run in another. Ids say nothing, because conversations have others in each run: the
/// same message is one of the same person with the same text, the second of two such is the second of two.
pub fn match_messages<'a>(before: &'a History, after: &'a History) -> Matched<'a> {
    fn key<'a>(history: &'a History, message: &'a MessageHistory) -> (Option<&'a str>, Option<&'a str>) {
        let person = message.sender.as_ref().map(|sender| history.person(sender).as_str());
        (person, message.text.as_deref())
    }
    let mut waiting: HashMap<_, VecDeque<&MessageHistory>> = HashMap::new();
    for message in sent(after) {
        waiting.entry(key(after, message)).or_default().push_back(message);
    }
    let mut matched = Matched::default();
    for message in sent(before) {
        match waiting.get_mut(&key(before, message)).and_then(VecDeque::pop_front) {
            None => matched.only_before.push(message),
            Some(other) if outcome(message) != outcome(other) => matched.ended_differently.push((message, other)),
            Some(_) => {}
        }
    }
    matched.only_after = waiting.into_values().flatten().collect();
    matched.only_after.sort_by_key(|message| message.sent_us.first().copied());
    matched.only_before.sort_by_key(|message| message.sent_us.first().copied());
    matched.ended_differently.sort_by_key(|(message, _)| message.sent_us.first().copied());
    matched
}

// ---- outcomes, findings, rates --------------------------------------------------------------------------------

/// What a message's sender was told last, such as `persisted` or `rejected overloaded`.
pub fn outcome(message: &MessageHistory) -> String {
    let told = |seen: &&crate::history::SeenAck| {
        seen.ack.state != AckState::Pending && Some(&seen.user) == message.sender.as_ref()
    };
    match message.acks.iter().rfind(told) {
        None => "no answer".to_owned(),
        Some(seen) => match (&seen.ack.error, seen.ack.state) {
            (Some(error), AckState::Rejected) => format!("rejected {}", error.code.as_str()),
            (_, state) => state.as_str().to_owned(),
        },
    }
}

fn compare_outcomes(before: &History, after: &History) -> Vec<Row> {
    let outcomes = |history| sent(history).map(outcome).collect::<Vec<_>>();
    let (before, after) = (outcomes(before), outcomes(after));
    let mut names: Vec<_> = before.iter().chain(&after).collect();
    names.sort();
    names.dedup();
    let row = |name: &String| {
        let share = |all: &[String]| {
            let hits: Vec<f64> = all.iter().map(|one| f64::from(u8::from(one == name))).collect();
            mean_and_error(&hits)
        };
        let ((was, error_before), (is, error_after)) = (share(&before), share(&after));
        let (count_before, count_after) = (before.len() as f64, after.len() as f64);
        // Stretches without a single hit know no spread: at least what as many coins would have.
        let pooled = (was * count_before + is * count_after) / (count_before + count_after);
        let coins = (pooled * (1.0 - pooled) * (1.0 / count_before + 1.0 / count_after)).sqrt();
        let noise = ERRORS * error_before.hypot(error_after).max(coins);
        let change = match (is - was, name.as_str()) {
            _ if before.len().min(after.len()) < MESSAGES_MIN => Change::TooFew,
            (difference, _) if difference.abs() <= noise => Change::Same,
            (_, "delivered") => Change::Different,
            (difference, "persisted") if difference < 0.0 => Change::Worse,
            (_, "persisted") => Change::Better,
            (difference, _) if difference > 0.0 => Change::Worse,
            _ => Change::Better,
        };
        Row { what: name.clone(), before: Some(was), after: Some(is), noise: Some(noise), change }
    };
    if before.is_empty() || after.is_empty() {
        return Vec::new();
    }
    names.into_iter().map(row).collect()
}

/// The mean of values in the order of their sends, and its standard error from the means of stretches.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let count = BLOCKS.min(values.len()).max(1);
    let means: Vec<f64> = (0..count)
        .map(|block| mean(&values[block * values.len() / count..(block + 1) * values.len() / count]))
        .collect();
    (mean(values), deviation(&means) / (count as f64).sqrt())
}

fn compare_findings(before: &RunReport, after: &RunReport) -> Vec<Row> {
    let count = |report: &RunReport| {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for finding in &report.audit.findings {
            *kinds.entry(finding.kind.as_str()).or_default() += 1;
        }
        kinds.insert("broken promises", report.audit.broken);
        kinds
    };
    let (was, is) = (count(before), count(after));
    let is_checked = before.audit.promises.total() > 0 && after.audit.promises.total() > 0;
    let mut names: Vec<_> = was.keys().chain(is.keys()).collect();
    names.sort();
    names.dedup();
    let row = |name: &&&str| {
        let (was, is) = (was.get(**name).copied().unwrap_or(0), is.get(**name).copied().unwrap_or(0));
        let change = match is.cmp(&was) {
            // A promise that was broken is no noise, and what was found is so whatever the other run checked.
            std::cmp::Ordering::Greater => Change::Worse,
            _ if !is_checked => Change::TooFew,
            std::cmp::Ordering::Less => Change::Better,
            std::cmp::Ordering::Equal => Change::Same,
        };
        Row { what: (**name).to_owned(), before: Some(was as f64), after: Some(is as f64), noise: None, change }
    };
    names.iter().map(row).collect()
}

fn compare_rates(before: &History, after: &History, floor: Floor) -> Vec<Row> {
    let rates = |history: &History| {
        let sent_us: Vec<u64> = sent(history).filter_map(|message| message.sent_us.first().copied()).collect();
        let delivered_us: Vec<u64> = sent(history)
            .filter_map(|message| message.acks.iter().find(|seen| seen.ack.state == AckState::Delivered))
            .map(|seen| seen.at_us)
            .collect();
        let span = (sent_us.iter().min().copied().unwrap_or(0), sent_us.iter().max().copied().unwrap_or(0));
        (rate(&sent_us, span), rate(&delivered_us, span))
    };
    let (was, is) = (rates(before), rates(after));
    let row = |what: &str, was: Option<(f64, f64)>, is: Option<(f64, f64)>| {
        let (Some((was, error_before)), Some((is, error_after))) = (was, is) else {
            let (before, after) = (was.map(|was| was.0), is.map(|is| is.0));
            return Row { what: what.to_owned(), before, after, noise: None, change: Change::TooFew };
        };
        let noise = ERRORS * error_before.hypot(error_after);
        let difference = is - was;
        let is_noise = difference.abs() <= noise || difference.abs() < was * floor.percent / 100.0;
        let change = if is_noise { Change::Same } else { Change::Different };
        Row { what: what.to_owned(), before: Some(was), after: Some(is), noise: Some(noise), change }
    };
    let sent = row("sent", was.0, is.0);
    let mut delivered = row("delivered", was.1, is.1);
    // Less was delivered although no less was asked for.
    if delivered.change == Change::Different && sent.change == Change::Same {
        delivered.change = if delivered.after < delivered.before { Change::Worse } else { Change::Better };
    }
    vec![sent, delivered]
}

/// How many a second within a span of microseconds, and the standard error from stretches of equal length. None
/// when there is too little to say.
fn rate(times_us: &[u64], (from_us, to_us): (u64, u64)) -> Option<(f64, f64)> {
    let span_us = to_us.saturating_sub(from_us);
    if times_us.len() < MESSAGES_MIN || span_us < 1_000_000 {
        return None;
    }
    let mut counts = [0_u32; BLOCKS];
    for at_us in times_us.iter().filter(|at_us| (from_us..=to_us).contains(at_us)) {
        let block = (u128::from(at_us - from_us) * BLOCKS as u128 / u128::from(span_us)) as usize;
        counts[block.min(BLOCKS - 1)] += 1;
    }
    let block_secs = span_us as f64 / 1e6 / BLOCKS as f64;
    let rates: Vec<f64> = counts.iter().map(|count| f64::from(*count) / block_secs).collect();
    let mean = rates.iter().sum::<f64>() / BLOCKS as f64;
    Some((mean, deviation(&rates) / (BLOCKS as f64).sqrt()))
}

// ---- for people -----------------------------------------------------------------------------------------------

/// What a figure is counted in.
#[derive(Clone, Copy)]
enum Unit {
    Share,
    Count,
    Rate,
    Micros,
}

impl Unit {
    fn say(self, value: Option<f64>) -> String {
        match (self, value) {
            (_, None) => "-".to_owned(),
            (Self::Share, Some(share)) => format!("{:.2} %", share * 100.0),
            (Self::Count, Some(count)) => format!("{count:.0}"),
            (Self::Rate, Some(rate)) => format!("{rate:.1}/s"),
            (Self::Micros, Some(us)) => micros(us as u64),
        }
    }
}

/// The comparison as a table. Every line ends with a line feed.
pub fn table(comparison: &Comparison, paint: Paint) -> String {
    let mut text = String::new();
    for (name, side) in [("before", &comparison.before), ("after", &comparison.after)] {
        let verdict = side.verdict.map_or(String::new(), |verdict| format!(", {}", verdict.as_str()));
        let seed = side.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
        let line = format!("{}, {} backend{seed}, {} messages{verdict}", side.title, side.backend, side.messages);
        put(&mut text, format_args!("{name:<7} {line}\n"));
    }
    for note in &comparison.notes {
        put(&mut text, format_args!("{}\n", paint.paint(Tone::Warn, &format!("note: {note}"))));
    }
    let parts: [(&str, &[Row], Unit); 4] = [
        ("Outcomes", &comparison.outcomes, Unit::Share),
        ("Findings", &comparison.findings, Unit::Count),
        ("Rates", &comparison.rates, Unit::Rate),
        ("Time since sent", &comparison.latencies, Unit::Micros),
    ];
    for (name, rows, unit) in parts {
        if rows.is_empty() {
            continue;
        }
        let heading = format!("{name:<40}{:>12}{:>12}{:>10}{:>12}", "before", "after", "change", "noise");
        put(&mut text, format_args!("\n{}\n", paint.paint(Tone::Strong, &heading)));
        for row in rows {
            let change = match (row.before, row.after) {
                (Some(was), Some(is)) if was > 0.0 => format!("{:+.1} %", (is - was) / was * 100.0),
                _ => "-".to_owned(),
            };
            let noise = row.noise.map_or_else(|| "-".to_owned(), |noise| format!("±{}", unit.say(Some(noise))));
            let (sign, tone) = match row.change {
                Change::Worse => ("✗", Tone::Bad),
                Change::Better => ("✓", Tone::Good),
                Change::Different => ("!", Tone::Warn),
                Change::Same | Change::TooFew => (" ", Tone::Faint),
            };
            let word = paint.paint(tone, &format!("{sign} {}", row.change.as_str()));
            let (was, is) = (unit.say(row.before), unit.say(row.after));
            put(&mut text, format_args!("{:<40}{was:>12}{is:>12}{change:>10}{noise:>12}  {word}\n", row.what));
        }
    }
    let conclusion = match comparison.regressions.len() {
        0 => paint.paint(Tone::Good, "Nothing became worse above the noise"),
        1 => paint.paint(Tone::Bad, "1 thing became worse"),
        count => paint.paint(Tone::Bad, &format!("{count} things became worse")),
    };
    put(&mut text, format_args!("\n{conclusion}\n"));
    for line in &comparison.regressions {
        put(&mut text, format_args!("  {line}\n"));
    }
    text
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
