//! The degradation ledger: what is promised while a dependency has a fault, against what happened (S1.5, S1.7).
//!
//! A pure function of a run's events. Each fault is a row: what was sent while it was there and what became of that, how
//! fast it was beside the rest of the run, and how long after the fault everything was made up for. What is promised
//! stands in one table, [`PROMISES`], written from the specification.
//!
//! | what is broken | is |
//! |---|---|
//! | a refusal that none of the faults explains, or one that says not to try again | a failure of the run |
//! | not indexed, not verified when everything came to rest, although the service was back | a failure of the run |
//! | half of many messages later than the budget, where none of the faults may slow them down | a failure of the run |
//! | single messages later than the budget, or refused because their time was over | shown: on a busy machine that happens without any fault |
//! | not persisted, no answer | shown: what is lost fails the run in the audit, which knows who is excused |

mod promises;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use ackscope_core::limits::Limits;
use ackscope_protocol::ErrorCode;
use ackscope_protocol::faults::{Dependency, FaultKind};
use ackscope_protocol::ids::MessageId;
use ackscope_protocol::limits::DELIVERED_BUDGET_MS;
use ackscope_protocol::trace::{Happening, Stage, TraceEvent};
use ackscope_protocol::wire::{AckState, MediaState, Message, ServerEvent};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use self::promises::{PROMISES, Promise, promise};
use crate::cost::us;
use crate::history::{History, MessageHistory, excerpt};
use crate::latency::{Distribution, Percentile, Summary};
use crate::report::micros;

/// How long after its end a fault may still be the reason of a refusal, in microseconds: a server that is back is
/// connected to again, a circuit closes, a backlog goes down.
const AFTERMATH_US: u64 = 10_000_000;
/// A fault that happens once is over when the next records have come. What is sent within this time after its
/// beginning counts as sent during it, in microseconds.
const ONCE_REACH_US: u64 = 2_000_000;
/// The budget of an outcome (S1.5), in microseconds.
const BUDGET_US: u64 = DELIVERED_BUDGET_MS * 1_000;
/// So many messages on each side are no chance: their medians tell whether a fault slows messages down.
const MANY: u64 = 20;
/// Most breaches of a row that are listed; the rest are counted.
const BREACHES_MAX: usize = 10;
/// Most characters of a message in a sentence.
const EXCERPT_CHARS: usize = 40;
/// Refusals that come from a dependency or from the service itself, and not from what was asked.
const OF_DEPENDENCIES: [ErrorCode; 7] = [
    ErrorCode::MediaUnavailable,
    ErrorCode::SearchUnavailable,
    ErrorCode::StoreUnavailable,
    ErrorCode::LogUnavailable,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::Internal,
];

/// Whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Nothing was sent while the fault was there, so nothing is known.
    NotExercised,
    /// It was.
    Kept,
    /// It was not.
    Broken,
}

impl Kept {
    /// The words as reports print them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotExercised => "not exercised",
            Self::Kept => "kept",
            Self::Broken => "broken",
        }
    }
}

/// One way in which a promise was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Breach {
    /// What happened, one sentence.
    pub sentence: String,
    /// Whether the run fails because of it; else it is only shown.
    pub fails_run: bool,
}

/// How it went on after a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Recovery {
    /// From the end of the fault to the first message that was delivered after it, in microseconds; none when nothing
    /// was. The longest where several faults are one row.
    pub first_delivered_us: Option<u64>,
    /// From the end of the fault until all that was delivered during it was persisted, indexed and verified as well, in
    /// microseconds; 0 when it was before. None when there was nothing, when it never was, or when the fault happens
    /// once and has no end to speak of. The longest where several faults are one row.
    pub caught_up_us: Option<u64>,
    /// Messages sent during it that were persisted after its end.
    pub persisted: u64,
    /// Messages sent during it that were indexed after its end.
    pub indexed: u64,
    /// Messages sent during it whose media were verified after its end.
    pub verified: u64,
    /// Messages sent during it and delivered of which something was still missing when the run ended.
    pub open: u64,
}

/// A fault: what is promised, and what was seen.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Row {
    /// What it was on.
    #[schemars(with = "String")]
    pub dependency: Dependency,
    /// What it did, with its figures where it is one fault alone: `latency 200 ms`.
    pub fault: String,
    /// What it did, without figures.
    #[schemars(with = "String")]
    pub kind: FaultKind,
    /// How many faults the row is about.
    pub times: u64,
    /// When the first of them began, in microseconds since the run began.
    pub from_us: u64,
    /// When the last of them ended, in microseconds since the run began; none when one never ended.
    pub until_us: Option<u64>,
    /// Other faults that were there at the same time.
    pub beside: BTreeSet<String>,
    /// What is promised meanwhile.
    pub promise: &'static str,
    /// Sends that began while it was there.
    pub sends: u64,
    /// What became of them: `delivered`, a reason code, `superseded` (`outcome_unknown`, and `delivered` later),
    /// `sent_again` before an answer, `connection_lost` or `no_answer`.
    pub outcomes: BTreeMap<String, u64>,
    /// From the send to `delivered`, for sends that began while it was there.
    #[serde(serialize_with = "as_summary")]
    #[schemars(with = "Summary")]
    pub delivered: Distribution,
    /// The same for sends that no fault at all was near.
    #[serde(serialize_with = "as_summary")]
    #[schemars(with = "Summary")]
    pub delivered_without: Distribution,
    /// How it went on.
    pub recovery: Recovery,
    /// Whether the promise was kept.
    pub verdict: Kept,
    /// Why that is so, one sentence.
    pub reason: String,
    /// How it was broken, at most ten.
    pub breaches: Vec<Breach>,
    /// How often it was broken, also where that is not listed.
    pub broken: u64,
    /// Whether the run fails because of it.
    pub fails_run: bool,
}

fn as_summary<S: Serializer>(distribution: &Distribution, serializer: S) -> Result<S::Ok, S::Error> {
    distribution.summary().serialize(serializer)
}

/// Every fault of a run, in the order of their beginnings.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Ledger {
    /// The faults.
    pub rows: Vec<Row>,
}

impl Ledger {
    /// Of a run whose node has the usual limits. `history` is that of the same events.
    pub fn of<E: Borrow<TraceEvent>>(events: &[E], history: &History) -> Self {
        Self::with_deadline(events, history, Limits::default().send_deadline)
    }

    /// Of a run whose node gives a send so much time until its outcome.
    pub fn with_deadline<E: Borrow<TraceEvent>>(events: &[E], history: &History, send_deadline: Duration) -> Self {
        let periods = periods(events);
        if periods.is_empty() {
            return Self::default();
        }
        let reader = Reader {
            history,
            media: media(events),
            sends: sends(history),
            periods: &periods,
            deadline_us: us(send_deadline),
        };
        let without = reader.without();
        Self { rows: (0..periods.len()).map(|index| reader.row(index, &without)).collect() }
    }

    /// Whether the run fails because of it.
    pub fn fails_run(&self) -> bool {
        self.rows.iter().any(|row| row.fails_run)
    }

    /// Rows of that verdict.
    pub fn count(&self, verdict: Kept) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// The same run with one row for each dependency and kind of fault.
    #[must_use]
    pub fn by_fault(self) -> Self {
        let mut rows: BTreeMap<(Dependency, FaultKind), Row> = BTreeMap::new();
        for mut row in self.rows {
            row.fault = row.kind.to_string();
            match rows.get_mut(&(row.dependency, row.kind)) {
                Some(known) => known.add(row),
                None => drop(rows.insert((row.dependency, row.kind), row)),
            }
        }
        Self { rows: rows.into_values().collect() }
    }

    /// Adds another run. Both have one row for each dependency and kind, as [`Self::by_fault`] makes them.
    pub fn add_run(&mut self, other: &Self) {
        for row in &other.rows {
            let known = self.rows.iter_mut().find(|known| (known.dependency, known.kind) == (row.dependency, row.kind));
            match known {
                Some(known) => {
                    known.delivered_without.add(&row.delivered_without);
                    known.add(row.clone());
                }
                None => self.rows.push(row.clone()),
            }
        }
        self.rows.sort_by_key(|row| (row.dependency, row.kind));
    }
}

impl Row {
    /// Adds another row of the same fault; `delivered_without` is left as it is.
    fn add(&mut self, other: Self) {
        self.times += other.times;
        self.from_us = self.from_us.min(other.from_us);
        self.until_us = self.until_us.zip(other.until_us).map(|(one, other)| one.max(other));
        self.beside.extend(other.beside);
        self.sends += other.sends;
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.delivered.add(&other.delivered);
        let (mine, others) = (self.recovery, other.recovery);
        self.recovery = Recovery {
            first_delivered_us: mine.first_delivered_us.max(others.first_delivered_us),
            caught_up_us: mine.caught_up_us.max(others.caught_up_us),
            persisted: mine.persisted + others.persisted,
            indexed: mine.indexed + others.indexed,
            verified: mine.verified + others.verified,
            open: mine.open + others.open,
        };
        if other.verdict > self.verdict {
            (self.verdict, self.reason) = (other.verdict, other.reason);
        }
        let room = BREACHES_MAX.saturating_sub(self.breaches.len());
        self.breaches.extend(other.breaches.into_iter().take(room));
        self.broken += other.broken;
        self.fails_run |= other.fails_run;
    }

    fn breaks(&mut self, fails_run: bool, sentence: String) {
        self.broken += 1;
        self.fails_run |= fails_run;
        if self.breaches.len() == BREACHES_MAX && fails_run {
            // What fails the run has its place in front of what is only shown.
            let shown = self.breaches.iter().rposition(|breach| !breach.fails_run);
            shown.map(|shown| self.breaches.remove(shown));
        }
        if self.breaches.len() < BREACHES_MAX {
            let place = self.breaches.iter().filter(|breach| breach.fails_run || !fails_run).count();
            self.breaches.insert(place, Breach { sentence, fails_run });
        }
    }
}

/// A fault from its beginning to its end.
#[derive(Clone, Debug)]
struct Period {
    on: Dependency,
    kind: FaultKind,
    fault: String,
    from_us: u64,
    until_us: Option<u64>,
    /// Sends count as sent during it before this time.
    reach_us: Option<u64>,
}

impl Period {
    /// The moment of its beginning is in it, the moment of its end is not.
    fn contains(&self, at_us: u64) -> bool {
        at_us >= self.from_us && self.reach_us.is_none_or(|reach| at_us < reach)
    }

    /// Whether it was there, or had just been there, at some time from one to another, both included.
    fn is_near(&self, from_us: u64, to_us: u64, aftermath_us: u64) -> bool {
        self.from_us <= to_us && self.reach_us.is_none_or(|reach| from_us < reach.saturating_add(aftermath_us))
    }

    fn name(&self) -> String {
        format!("{} {}", self.on, self.fault)
    }
}

/// Every fault of the table, in the order of their beginnings. What else a recording calls a fault is none of ours.
fn periods<E: Borrow<TraceEvent>>(events: &[E]) -> Vec<Period> {
    let mut changes: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.borrow().what {
            Happening::Fault { target, kind, active } => Some((event.borrow().at_us, target, kind, *active)),
            _ => None,
        })
        .collect();
    changes.sort_by_key(|(at_us, ..)| *at_us);
    let mut periods: Vec<Period> = Vec::new();
    for (at_us, target, fault, began) in changes {
        // The kind stands first, its figures behind it.
        let kind = fault.split_whitespace().next().and_then(|word| word.parse::<FaultKind>().ok());
        let (Ok(on), Some(kind)) = (target.parse::<Dependency>(), kind) else { continue };
        let open = periods.iter_mut().rfind(|open| open.on == on && open.fault == *fault && open.until_us.is_none());
        // An end without a beginning is of one that the recorder no longer has.
        if let Some(open) = open {
            (open.until_us, open.reach_us) = (Some(at_us), Some(at_us));
        }
        if began {
            let fault = fault.clone();
            periods.push(Period { on, kind, fault, from_us: at_us, until_us: None, reach_us: None });
        }
    }
    let beginnings: Vec<_> = periods.iter().map(|period| (period.on, period.from_us)).collect();
    for (index, period) in periods.iter_mut().enumerate().filter(|(_, period)| period.kind.is_once()) {
        let next = beginnings[index + 1..].iter().find(|(on, _)| *on == period.on).map(|(_, from_us)| *from_us);
        let reach = period.from_us.saturating_add(ONCE_REACH_US).max(period.until_us.unwrap_or(0));
        period.reach_us = Some(reach.min(next.unwrap_or(u64::MAX)));
    }
    periods
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Delivered,
    Rejected { code: ErrorCode, retryable: bool },
    Superseded,
    SentAgain,
    ConnectionLost,
    NoAnswer,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected { code, .. } => code.as_str(),
            Self::Superseded => "superseded",
            Self::SentAgain => "sent_again",
            Self::ConnectionLost => "connection_lost",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// One time that a message was put on a connection.
struct Send<'h> {
    message: &'h MessageHistory,
    at_us: u64,
    /// The first send of the message that had no answer yet then: the answer may be the one to it.
    open_us: u64,
    outcome: Outcome,
    /// When the outcome came.
    answered_us: Option<u64>,
    /// From the send to `delivered`; none where the connection broke meanwhile, which is no latency of the system.
    delivered_us: Option<u64>,
}

impl Send<'_> {
    /// How long a refusal took that came because the time of the send was over, in microseconds: what took so long says
    /// that something was slow, not that it failed.
    fn out_of_time_us(&self, deadline_us: u64) -> Option<u64> {
        let Outcome::Rejected { code: ErrorCode::StoreUnavailable | ErrorCode::OutcomeUnknown, .. } = self.outcome
        else {
            return None;
        };
        let took_us = self.answered_us?.saturating_sub(self.open_us);
        // The client's clock began before the service's.
        (took_us >= deadline_us).then_some(took_us)
    }
}

/// Every send of a run. An ACK answers the latest send before it.
fn sends(history: &History) -> Vec<Send<'_>> {
    let mut sends = Vec::new();
    for message in &history.messages {
        let Some(sender) = &message.sender else { continue };
        let connected = |from_us, to_us| {
            history.users.get(sender).is_none_or(|connection| connection.connected_throughout(from_us, to_us))
        };
        let mut unanswered_us = None;
        for (index, &at_us) in message.sent_us.iter().enumerate() {
            let open_us = unanswered_us.unwrap_or(at_us);
            let next_us = message.sent_us.get(index + 1).copied();
            let mut answers = message.acks.iter().filter(|seen| {
                let is_answer = seen.user == *sender && seen.ack.state != AckState::Pending;
                is_answer && seen.at_us >= at_us && next_us.is_none_or(|next| seen.at_us < next)
            });
            let answer = answers.next();
            let confirmed = answers.any(|seen| seen.ack.state != AckState::Rejected);
            let outcome = match answer.map(|seen| (seen.ack.state, &seen.ack.error)) {
                Some((AckState::Rejected, error)) => {
                    let code = error.as_ref().map_or(ErrorCode::Internal, |error| error.code);
                    let retryable = error.as_ref().is_some_and(|error| error.retryable);
                    let is_unknown = code == ErrorCode::OutcomeUnknown;
                    if is_unknown && confirmed { Outcome::Superseded } else { Outcome::Rejected { code, retryable } }
                }
                Some(_) => Outcome::Delivered,
                None if next_us.is_some() => Outcome::SentAgain,
                None if !connected(at_us, history.end_us) => Outcome::ConnectionLost,
                None => Outcome::NoAnswer,
            };
            let delivered = answer.filter(|seen| seen.ack.state == AckState::Delivered);
            let delivered_us =
                delivered.filter(|seen| connected(at_us, seen.at_us)).map(|seen| seen.at_us.saturating_sub(at_us));
            unanswered_us = if answer.is_none() { Some(open_us) } else { None };
            sends.push(Send {
                message,
                at_us,
                open_us,
                outcome,
                answered_us: answer.map(|seen| seen.at_us),
                delivered_us,
            });
        }
    }
    sends
}

/// A message's media as clients saw them.
#[derive(Clone, Copy, Debug, Default)]
struct Media {
    /// Some of them were told as unverified.
    was_unverified: bool,
    /// When they were told as checked after that.
    checked_us: Option<u64>,
}

fn media<E: Borrow<TraceEvent>>(events: &[E]) -> HashMap<MessageId, Media> {
    let mut media: HashMap<MessageId, Media> = HashMap::new();
    let mut saw = |at_us: u64, message: &Message| {
        if message.media.is_empty() {
            return;
        }
        let known = media.entry(message.message_id).or_default();
        if message.media.iter().any(|media| media.media_state == MediaState::Unverified) {
            known.was_unverified = true;
        } else {
            known.checked_us = Some(known.checked_us.map_or(at_us, |known| known.min(at_us)));
        }
    };
    for event in events {
        let TraceEvent { at_us, what } = event.borrow();
        if let Happening::Saw { event: ServerEvent::New(seen) | ServerEvent::Edited(seen), .. } = what {
            saw(*at_us, &seen.message);
        }
    }
    media
}

/// What rows are made from.
struct Reader<'a> {
    history: &'a History,
    media: HashMap<MessageId, Media>,
    sends: Vec<Send<'a>>,
    periods: &'a [Period],
    /// When the node gives a send up.
    deadline_us: u64,
}

impl Reader<'_> {
    /// Latencies of sends that no fault was near until they were delivered.
    fn without(&self) -> Distribution {
        let mut without = Distribution::default();
        for send in &self.sends {
            let to_us = send.answered_us.unwrap_or(send.at_us);
            if let Some(us) = send.delivered_us
                && !self.periods.iter().any(|period| period.is_near(send.at_us, to_us, 0))
            {
                without.record(us);
            }
        }
        without
    }

    fn row(&self, index: usize, without: &Distribution) -> Row {
        let period = &self.periods[index];
        let promise = promise(period.on, period.kind);
        let last_us = period.reach_us.map_or(u64::MAX, |reach| reach.saturating_sub(1));
        let others = self.periods.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other);
        let beside = others.filter(|other| other.is_near(period.from_us, last_us, 0)).map(Period::name);
        let mut row = Row {
            dependency: period.on,
            fault: period.fault.clone(),
            kind: period.kind,
            times: 1,
            from_us: period.from_us,
            until_us: period.until_us,
            beside: beside.collect(),
            promise: promise.says,
            sends: 0,
            outcomes: BTreeMap::new(),
            delivered: Distribution::default(),
            delivered_without: without.clone(),
            recovery: Recovery::default(),
            verdict: Kept::NotExercised,
            reason: String::new(),
            breaches: Vec::new(),
            broken: 0,
            fails_run: false,
        };
        let during: Vec<&Send<'_>> = self.sends.iter().filter(|send| period.contains(send.at_us)).collect();
        for send in &during {
            row.sends += 1;
            *row.outcomes.entry(send.outcome.name().to_owned()).or_default() += 1;
            if let Some(us) = send.delivered_us {
                row.delivered.record(us);
            }
            self.outcome(&mut row, send);
        }
        if promise.in_time {
            self.in_time(&mut row, period, &during);
        }
        self.recovery(&mut row, period, &during);
        conclude(&mut row);
        row
    }

    /// Whether a send ended as it may.
    fn outcome(&self, row: &mut Row, send: &Send<'_>) {
        let what = || excerpt(send.message.text.as_deref().unwrap_or("(no text)"), EXCERPT_CHARS);
        match send.outcome {
            Outcome::Rejected { code, retryable } if OF_DEPENDENCIES.contains(&code) => {
                let to_us = send.answered_us.unwrap_or(send.at_us);
                let near = self.periods.iter().filter(|period| period.is_near(send.at_us, to_us, AFTERMATH_US));
                let is_explained =
                    near.into_iter().any(|period| promise(period.on, period.kind).may_refuse.contains(&code));
                if !is_explained && let Some(us) = send.out_of_time_us(self.deadline_us) {
                    let took = micros(us);
                    row.breaks(false, format!("\"{}\" was refused with `{code}` after {took}: out of time", what()));
                } else if !is_explained {
                    row.breaks(true, format!("\"{}\" was refused with `{code}`, which is not promised", what()));
                } else if !retryable {
                    row.breaks(true, format!("\"{}\" was refused with `{code}` and not to be tried again", what()));
                }
            }
            Outcome::NoAnswer => row.breaks(false, format!("\"{}\" got no outcome", what())),
            _ => {}
        }
    }

    /// Whether messages came as fast as without the fault.
    fn in_time(&self, row: &mut Row, period: &Period, during: &[&Send<'_>]) {
        // A message whose media are checked waits for the service, and one that meets another fault for that one.
        let mut alone = Distribution::default();
        let mut late = Vec::new();
        for send in during {
            let (us, is_refused) = match (send.delivered_us, send.out_of_time_us(self.deadline_us)) {
                (Some(us), _) => (us, false),
                // Refused before the budget was over, because it would not have been kept.
                (None, Some(us)) => (us.max(BUDGET_US + 1), true),
                (None, None) => continue,
            };
            let to_us = send.at_us + us;
            let is_slowed = |other: &Period| {
                other.is_near(send.at_us, to_us, AFTERMATH_US) && !promise(other.on, other.kind).in_time
            };
            let has_media = period.on == Dependency::Media && self.media.contains_key(&send.message.message_id);
            if has_media || self.periods.iter().any(is_slowed) {
                continue;
            }
            alone.record(us);
            if us > BUDGET_US && !is_refused {
                late.push((us, send));
            }
        }
        let without = &row.delivered_without;
        let median = |distribution: &Distribution| distribution.at(Percentile::P50).unwrap_or(0);
        let (with_it, without_it) = (median(&alone), median(without));
        if alone.count() >= MANY && without.count() >= MANY && with_it > BUDGET_US && without_it <= BUDGET_US {
            let without_it = micros(without_it);
            let sentence = format!(
                "half of the messages were not delivered within {DELIVERED_BUDGET_MS} ms; without a fault the median is \
                 {without_it}"
            );
            row.breaks(true, sentence);
            return;
        }
        // Where it is as late without a fault it is the machine.
        if without.at(Percentile::P99).is_none_or(|us| us <= BUDGET_US) {
            for (us, send) in late {
                let what = excerpt(send.message.text.as_deref().unwrap_or("(no text)"), EXCERPT_CHARS);
                row.breaks(false, format!("\"{what}\" was delivered after {}", micros(us)));
            }
        }
    }

    /// What was made up for after the fault.
    fn recovery(&self, row: &mut Row, period: &Period, during: &[&Send<'_>]) {
        let Some(end_us) = period.until_us else { return };
        let delivered = self
            .history
            .messages
            .iter()
            .flat_map(|message| &message.acks)
            .filter(|seen| seen.ack.state == AckState::Delivered && seen.at_us >= end_us);
        row.recovery.first_delivered_us = delivered.map(|seen| seen.at_us - end_us).min();
        // Without the stages nothing is known of what lies inside the backend.
        if !self.history.has_stages || self.history.missed > 0 {
            return;
        }
        let mut seen = BTreeSet::new();
        let mut last_us = None;
        for send in during.iter().filter(|send| matches!(send.outcome, Outcome::Delivered | Outcome::Superseded)) {
            let message = send.message;
            if !seen.insert(message.message_id) || was_withdrawn(message) {
                continue;
            }
            let stage_us = |is: fn(&Stage) -> bool| {
                message.stages.iter().filter(|(_, stage)| is(stage)).map(|(at_us, _)| *at_us).min()
            };
            let media = self.media.get(&message.message_id).filter(|media| media.was_unverified);
            let persisted_us = Some(stage_us(|stage| matches!(stage, Stage::Persisted { .. })));
            let indexed_us = message.text.as_ref().map(|_| stage_us(|stage| matches!(stage, Stage::Indexed)));
            let verified_us = media.map(|media| media.checked_us);
            let is_after = |done: Option<Option<u64>>| u64::from(done.flatten().is_some_and(|done| done >= end_us));
            row.recovery.persisted += is_after(persisted_us);
            row.recovery.indexed += is_after(indexed_us);
            row.recovery.verified += is_after(verified_us);
            let what = excerpt(message.text.as_deref().unwrap_or("(no text)"), EXCERPT_CHARS);
            let mut is_open = false;
            let on = row.dependency;
            for (done, fails_run, missing) in [
                (persisted_us, false, "persisted"),
                (indexed_us, on == Dependency::Search, "indexed"),
                (verified_us, on == Dependency::Media && self.was_told(message), "verified"),
            ] {
                match done {
                    Some(Some(done)) => last_us = last_us.max(Some(done)),
                    Some(None) => {
                        is_open = true;
                        row.breaks(fails_run, format!("\"{what}\" was never {missing}"));
                    }
                    None => {}
                }
            }
            row.recovery.open += u64::from(is_open);
        }
        if row.recovery.open == 0 && !period.kind.is_once() {
            row.recovery.caught_up_us = last_us.map(|last| last.saturating_sub(end_us));
        }
    }

    /// Whether somebody who saw the message was there from then on, and so was told what became of it.
    fn was_told(&self, message: &MessageHistory) -> bool {
        let end_us = self.history.end_us;
        message.seen.iter().any(|seen| self.history.user(&seen.user).connected_throughout(seen.at_us, end_us))
    }
}

/// Delivered, and refused after the fact because it could not be persisted for good (S1.5).
fn was_withdrawn(message: &MessageHistory) -> bool {
    let last = message.acks.iter().rfind(|seen| Some(&seen.user) == message.sender.as_ref());
    last.is_some_and(|seen| seen.ack.state == AckState::Rejected)
}

fn conclude(row: &mut Row) {
    (row.verdict, row.reason) = if let Some(first) = row.breaches.first() {
        let more = row.broken - 1;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        (Kept::Broken, format!("{}{more}", first.sentence))
    } else if row.sends == 0 {
        (Kept::NotExercised, "nothing was sent meanwhile".to_owned())
    } else if row.until_us.is_none() {
        (Kept::Kept, "as promised until the run ended; it was never healed".to_owned())
    } else {
        (Kept::Kept, "as promised".to_owned())
    };
}
