//! One stretch of load: what is sent, what came back, and whether it is what should have come back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::limits::{DELIVERED_BUDGET_MS, PENDING_BUDGET_MS};
use parking_lot::Mutex;
use serde::Serialize;

use super::process::ProcessUse;
use super::schedule::ScheduledSend;
use crate::latency::{Distribution, Latencies, Measure, Percentile, Summary};

/// Tallies, so that the connections' tasks seldom wait for each other.
const SHARDS: usize = 8;

/// What is known of a message, as bits.
pub(super) mod state {
    pub(crate) const SENT: u8 = 1;
    pub(crate) const PENDING: u8 = 2;
    pub(crate) const DELIVERED: u8 = 4;
    pub(crate) const REJECTED: u8 = 8;
    pub(crate) const PERSISTED: u8 = 16;
    /// Refused with `outcome_unknown`: a later `delivered` supersedes it.
    pub(crate) const UNKNOWN: u8 = 32;
}

/// The state of a round that is going on. Written by every connection's task at once.
pub(super) struct Round {
    /// Names the round's messages apart from those of others.
    pub(super) number: u32,
    pub(super) start: Instant,
    pub(super) schedule: Vec<ScheduledSend>,
    /// For each message whether it carries media.
    with_media: Vec<bool>,
    group_size: u32,
    warmup_us: u64,
    states: Vec<AtomicU8>,
    /// For each message a bit for each place in its group: who has seen it.
    seen: Vec<AtomicU64>,
    words: usize,
    shards: Vec<Mutex<Tally>>,
    pub(super) sent: AtomicU64,
    pub(super) outcomes: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) persisted: AtomicU64,
    pub(super) received: AtomicU64,
}

#[derive(Default)]
struct Tally {
    /// Of messages without and with media.
    latencies: [Latencies; 2],
    rejected: BTreeMap<ErrorCode, u64>,
    doubled: u64,
    leaked: u64,
    unreadable: u64,
}

impl Round {
    pub(super) fn new(
        number: u32,
        start: Instant,
        schedule: Vec<ScheduledSend>,
        with_media: Vec<bool>,
        group_size: u32,
        warmup: Duration,
    ) -> Self {
        let words = (group_size as usize).div_ceil(64);
        let count = schedule.len();
        Self {
            number,
            start,
            schedule,
            with_media,
            group_size,
            warmup_us: u64::try_from(warmup.as_micros()).unwrap_or(u64::MAX),
            states: (0..count).map(|_| AtomicU8::new(0)).collect(),
            seen: (0..count * words).map(|_| AtomicU64::new(0)).collect(),
            words,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sent: AtomicU64::new(0),
            outcomes: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            persisted: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    fn tally(&self, user: u32) -> parking_lot::MutexGuard<'_, Tally> {
        self.shards[user as usize % SHARDS].lock()
    }

    /// The time since a message was scheduled; none while the round warms up.
    fn latency_us(&self, message: usize, at: Instant) -> Option<u64> {
        let scheduled_us = self.schedule[message].at_us;
        if scheduled_us < self.warmup_us {
            return None;
        }
        let due = self.start + Duration::from_micros(scheduled_us);
        Some(u64::try_from(at.saturating_duration_since(due).as_micros()).unwrap_or(u64::MAX))
    }

    fn set(&self, message: usize, bit: u8) -> u8 {
        self.states[message].fetch_or(bit, Ordering::Relaxed)
    }

    pub(super) fn mark_sent(&self, message: usize) {
        self.set(message, state::SENT);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the round has a message of this number.
    pub(super) fn has(&self, message: usize) -> bool {
        message < self.states.len()
    }

    /// Whether a message carries media.
    pub(super) fn has_media(&self, message: usize) -> bool {
        self.with_media[message]
    }

    /// An acknowledgment came. `bit` is one of [`state`].
    pub(super) fn acknowledged(&self, user: u32, message: usize, bit: u8, at: Instant, code: Option<ErrorCode>) {
        let before = self.set(message, bit);
        if self.schedule[message].user != user {
            self.tally(user).leaked += 1;
            return;
        }
        if before & bit != 0 {
            self.tally(user).doubled += 1;
            return;
        }
        let measure = match bit {
            state::PENDING => Measure::Pending,
            state::DELIVERED => Measure::Delivered,
            state::PERSISTED => Measure::Persisted,
            _ => Measure::Rejected,
        };
        if bit == state::DELIVERED {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
        if bit == state::PERSISTED {
            self.persisted.fetch_add(1, Ordering::Relaxed);
        }
        let decided = state::DELIVERED | state::REJECTED | state::UNKNOWN;
        if bit & decided != 0 && before & decided == 0 {
            self.outcomes.fetch_add(1, Ordering::Relaxed);
        }
        let latency = self.latency_us(message, at);
        let mut tally = self.tally(user);
        if let Some(code) = code {
            *tally.rejected.entry(code).or_default() += 1;
        }
        if let Some(us) = latency {
            tally.latencies[usize::from(self.has_media(message))].get_mut(measure).record(us);
        }
    }

    /// A `message:new` came to the user at `place` of a group.
    pub(super) fn seen_by(&self, user: u32, message: usize, at: Instant) {
        let sender = self.schedule[message].user;
        let (group, place) = (user / self.group_size, user % self.group_size);
        if sender / self.group_size != group || sender == user {
            self.tally(user).leaked += 1;
            return;
        }
        let bit = 1_u64 << (place % 64);
        let word = &self.seen[message * self.words + (place / 64) as usize];
        if word.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            self.tally(user).doubled += 1;
            return;
        }
        self.received.fetch_add(1, Ordering::Relaxed);
        if let Some(us) = self.latency_us(message, at) {
            let mut tally = self.tally(user);
            tally.latencies[usize::from(self.has_media(message))].get_mut(Measure::Received).record(us);
        }
    }

    pub(super) fn unreadable(&self, user: u32) {
        self.tally(user).unreadable += 1;
    }

    /// Whether everything that was sent has come to its end.
    pub(super) fn is_complete(&self) -> bool {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let delivered = count(&self.delivered);
        count(&self.outcomes) >= count(&self.sent)
            && count(&self.persisted) >= delivered
            && count(&self.received) >= delivered * u64::from(self.group_size - 1)
    }

    /// Everything that is known when the round has ended.
    pub(super) fn report(&self, ending: Ending) -> RoundReport {
        let mut latencies: [Latencies; 2] = Default::default();
        let mut counts = Counts { scheduled: self.schedule.len() as u64, ..Counts::default() };
        for shard in &self.shards {
            let tally = shard.lock();
            for (all, own) in latencies.iter_mut().zip(&tally.latencies) {
                for measure in Measure::ALL {
                    all.get_mut(measure).add(own.get(measure));
                }
            }
            for (code, count) in &tally.rejected {
                *counts.rejected.entry(code.as_str()).or_default() += count;
            }
            counts.doubled += tally.doubled;
            counts.leaked += tally.leaked;
            counts.unreadable += tally.unreadable;
        }
        let others = u64::from(self.group_size - 1);
        for (message, known) in self.states.iter().enumerate() {
            let known = known.load(Ordering::Relaxed);
            let has = |bit| known & bit != 0;
            let receipts: u64 = self.seen[message * self.words..(message + 1) * self.words]
                .iter()
                .map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()))
                .sum();
            counts.received += receipts;
            if !has(state::SENT) {
                counts.not_sent += 1;
                continue;
            }
            counts.sent += 1;
            let kind = if self.has_media(message) { &mut counts.with_media } else { &mut counts.text };
            kind.sent += 1;
            kind.delivered += u64::from(has(state::DELIVERED));
            kind.rejected += u64::from(has(state::REJECTED) || has(state::UNKNOWN));
            if has(state::DELIVERED) {
                counts.delivered += 1;
                counts.to_be_received += others;
                counts.lost += u64::from(!has(state::PERSISTED)) + (others - receipts.min(others));
            } else if has(state::REJECTED) {
                counts.doubled += receipts;
                counts.refused += 1;
            } else if has(state::UNKNOWN) {
                counts.unknown += 1;
            } else {
                counts.lost += 1;
                counts.no_outcome += 1;
            }
            counts.persisted += u64::from(has(state::PERSISTED));
        }
        let [latencies, latencies_with_media] = latencies;
        RoundReport { ending, counts, latencies, latencies_with_media }
    }
}

/// What the generator adds at the end of a round.
#[derive(Clone, Debug)]
pub struct Ending {
    /// What was asked for, in messages a second.
    pub rate_per_sec: u32,
    /// How long was measured, in seconds.
    pub measured_secs: f64,
    /// The generator's own delay: from the scheduled time to the connection's queue, in microseconds.
    pub generator_lag: Distribution,
    /// Connections that broke.
    pub disconnects: u64,
    /// What the server's process used.
    pub server: Option<ProcessUse>,
    /// What this process used.
    pub generator: Option<ProcessUse>,
}

/// Messages of one kind by their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Put on a connection.
    pub sent: u64,
    /// Acknowledged as `delivered`.
    pub delivered: u64,
    /// Acknowledged as `rejected`, whether that was superseded later or not.
    pub rejected: u64,
}

/// Messages by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// In the schedule, warm-up included.
    pub scheduled: u64,
    /// Put on a connection.
    pub sent: u64,
    /// Not put on a connection, because its queue was full or it was down.
    pub not_sent: u64,
    /// Acknowledged as `delivered`.
    pub delivered: u64,
    /// Acknowledged as `persisted`.
    pub persisted: u64,
    /// `message:new` seen, each pair of message and recipient once.
    pub received: u64,
    /// `message:new` that must be seen: delivered messages times their other participants.
    pub to_be_received: u64,
    /// Rejected, and rejected they stay.
    pub refused: u64,
    /// Still of unknown outcome at the end.
    pub unknown: u64,
    /// Without any outcome.
    pub no_outcome: u64,
    /// Promises that were not kept: outcomes, receipts and persistence that never came.
    pub lost: u64,
    /// Events that came twice, or for a message that was rejected.
    pub doubled: u64,
    /// Events that came to somebody they are not for.
    pub leaked: u64,
    /// Events that could not be read.
    pub unreadable: u64,
    /// Rejections by their reason code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Messages without media.
    pub text: Outcomes,
    /// Messages with media.
    pub with_media: Outcomes,
}

/// A round that has ended.
#[derive(Clone, Debug)]
pub struct RoundReport {
    /// What the generator says.
    pub ending: Ending,
    /// Messages by what became of them.
    pub counts: Counts,
    /// Full histograms, from the scheduled time; of the messages without media.
    pub latencies: Latencies,
    /// The same of the messages with media.
    pub latencies_with_media: Latencies,
}

impl RoundReport {
    /// What was wrong with the messages themselves; empty when every one was delivered once to everybody.
    pub fn broken(&self) -> Vec<String> {
        let counts = &self.counts;
        let parts = [
            (counts.lost, "lost"),
            (counts.doubled, "doubled"),
            (counts.leaked, "leaked"),
            (counts.refused, "rejected"),
            (counts.unknown, "of unknown outcome"),
            (counts.unreadable, "unreadable"),
            (self.ending.disconnects, "connections broken"),
        ];
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    /// The budgets of S1.5 that were not kept at p99.
    pub fn over_budget(&self) -> Vec<String> {
        let budgets = [(Measure::Pending, PENDING_BUDGET_MS), (Measure::Delivered, DELIVERED_BUDGET_MS)];
        budgets
            .iter()
            .filter_map(|(measure, limit_ms)| {
                let p99 = self.latencies.get(*measure).at(Percentile::P99)?;
                let over = p99 > limit_ms * 1_000;
                over.then(|| format!("{} p99 {} > {limit_ms} ms", measure.as_str(), crate::report::micros(p99)))
            })
            .collect()
    }

    /// Whether the figures are the system's and not the generator's: it kept its schedule within a tenth of the
    /// budget and put everything on a connection.
    pub fn is_generator_healthy(&self) -> bool {
        let lag_us = self.ending.generator_lag.at(Percentile::P99).unwrap_or(0);
        lag_us <= DELIVERED_BUDGET_MS * 100 && self.counts.not_sent == 0
    }

    /// The report for machines.
    pub fn json(&self) -> serde_json::Value {
        let latencies: BTreeMap<&str, Summary> = Measure::ALL
            .into_iter()
            .map(|measure| (measure.as_str(), self.latencies.get(measure).summary()))
            .filter(|(_, summary)| summary.count > 0)
            .collect();
        serde_json::json!({
            "rate_per_sec": self.ending.rate_per_sec,
            "measured_secs": self.ending.measured_secs,
            "latencies_us": latencies,
            "generator_lag_us": self.ending.generator_lag.summary(),
            "generator_healthy": self.is_generator_healthy(),
            "counts": self.counts,
            "disconnects": self.ending.disconnects,
            "server": self.ending.server,
            "generator": self.ending.generator,
            "broken": self.broken(),
            "over_budget": self.over_budget(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups of three; user 0 sends twice, user 3 once. The second send of user 0 is measured.
    fn round() -> Round {
        let schedule = vec![
            ScheduledSend { at_us: 100, user: 0 },
            ScheduledSend { at_us: 2_000, user: 0 },
            ScheduledSend { at_us: 3_000, user: 3 },
        ];
        Round::new(1, Instant::now(), schedule, vec![false; 3], 3, Duration::from_millis(1))
    }

    fn ending() -> Ending {
        Ending {
            rate_per_sec: 1,
            measured_secs: 1.0,
            generator_lag: Distribution::default(),
            disconnects: 0,
            server: None,
            generator: None,
        }
    }

    fn deliver(round: &Round, message: usize) {
        let user = round.schedule[message].user;
        let at = |us| round.start + Duration::from_micros(round.schedule[message].at_us + us);
        round.mark_sent(message);
        round.acknowledged(user, message, state::PENDING, at(100), None);
        round.acknowledged(user, message, state::DELIVERED, at(500), None);
        let group = user / 3 * 3;
        for other in (group..group + 3).filter(|other| *other != user) {
            round.seen_by(other, message, at(700));
        }
        round.acknowledged(user, message, state::PERSISTED, at(9_000), None);
    }

    #[test]
    fn a_whole_round_is_complete_and_measured_from_the_schedule() {
        let round = round();
        (0..3).for_each(|message| deliver(&round, message));
        assert!(round.is_complete());
        let report = round.report(ending());
        assert_eq!(report.broken(), Vec::<String>::new());
        assert_eq!((report.counts.delivered, report.counts.received, report.counts.to_be_received), (3, 6, 6));
        // The first message belongs to the warm-up.
        assert_eq!(report.latencies.get(Measure::Delivered).count(), 2);
        assert_eq!(report.latencies.get(Measure::Delivered).at(Percentile::MAX), Some(500));
        assert_eq!(report.latencies.get(Measure::Received).count(), 4);
    }

    #[test]
    fn what_is_missing_doubled_or_leaked_is_counted() {
        let round = round();
        deliver(&round, 0);
        round.mark_sent(1);
        assert!(!round.is_complete());
        round.acknowledged(0, 1, state::DELIVERED, Instant::now(), None);
        round.seen_by(1, 1, Instant::now());
        round.seen_by(1, 1, Instant::now());
        round.seen_by(4, 1, Instant::now());
        round.seen_by(0, 1, Instant::now());
        let report = round.report(ending());
        assert_eq!(report.counts.lost, 2, "user 2 never saw it, and it was never persisted");
        assert_eq!(report.counts.doubled, 1);
        assert_eq!(report.counts.leaked, 2, "another group, and the sender's own connection");
        assert_eq!(report.counts.not_sent, 1);
        assert!(!report.is_generator_healthy());
    }

    #[test]
    fn an_unknown_outcome_is_superseded_by_delivered() {
        let round = round();
        round.mark_sent(0);
        round.acknowledged(0, 0, state::UNKNOWN, Instant::now(), Some(ErrorCode::OutcomeUnknown));
        let report = round.report(ending());
        assert_eq!((report.counts.unknown, report.counts.delivered), (1, 0));
        deliver(&round, 0);
        let report = round.report(ending());
        assert_eq!((report.counts.unknown, report.counts.delivered), (0, 1));
        assert_eq!(report.counts.rejected, BTreeMap::from([("outcome_unknown", 1)]));
    }
}
