//! What the lanes of a report show, as values: which messages, their states, their events, what is wrong.

use std::collections::{HashMap, HashSet};

use ackscope_protocol::ids::{MessageId, UserId};
use ackscope_protocol::limits::{DELIVERED_BUDGET_MS, PENDING_BUDGET_MS};
use ackscope_protocol::trace::{ConnectionState, Happening, PermissionSource, Stage};
use ackscope_protocol::wire::{AckState, MessageAck, ServerEvent};

use crate::history::{History, MessageHistory, SeenAck};
use crate::report::micros;
use crate::scenario::outcome::{RunReport, StepOutcome};

/// Most events of one lane; a message to a thousand people has a thousand receipts.
const EVENTS_MAX: usize = 120;
/// Messages without a lane that are sent within this part of the run are one place in its strip.
const UNDRAWN_PLACES: u64 = 500;
/// Most things that stand across the lanes.
const ACROSS_MAX: usize = 500;

/// Where a message stands, as its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing heard yet.
    InFlight,
    Pending,
    Delivered,
    Rejected,
    Persisted,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InFlight => "no answer",
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Persisted => "persisted",
        }
    }

    /// The class of the style sheet that gives the colour.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::InFlight => "in-flight",
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Persisted => "persisted",
        }
    }

    /// The state an ACK leads to; none where it says nothing new, such as the `pending` of a retry.
    fn after(self, ack: AckState) -> Option<Self> {
        match (self, ack) {
            (Self::InFlight, AckState::Pending) => Some(Self::Pending),
            (Self::InFlight | Self::Pending | Self::Rejected, AckState::Delivered) => Some(Self::Delivered),
            (Self::InFlight | Self::Pending | Self::Delivered, AckState::Rejected) => Some(Self::Rejected),
            (Self::InFlight | Self::Pending | Self::Delivered | Self::Rejected, AckState::Persisted) => {
                Some(Self::Persisted)
            }
            _ => None,
        }
    }
}

/// A state and from when to when it lasted, in microseconds of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) state: State,
    pub(super) from_us: u64,
    pub(super) to_us: u64,
}

/// An ACK that came later than its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// `pending` or `outcome`.
    pub(super) what: &'static str,
    pub(super) at_us: u64,
    pub(super) took_us: u64,
    pub(super) budget_us: u64,
}

/// What kind of thing an event of a lane is; the drawing follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// The client put it on its connection.
    Sent { attempt: usize },
    /// An ACK its sender saw, or somebody else who should not have.
    Ack,
    /// Somebody saw the message.
    Received,
    /// A stage inside the backend.
    Stage,
    /// Anything else a client was told of it.
    Told,
}

/// One thing that happened to a message.
#[derive(Clone, Debug)]
pub(super) struct LaneEvent {
    pub(super) at_us: u64,
    pub(super) kind: EventKind,
    /// Whose client saw it, or `service`.
    pub(super) who: String,
    pub(super) what: String,
}

/// One message of a run.
#[derive(Debug)]
pub(super) struct Lane<'h> {
    /// Its place among all lanes of the run, from 1.
    pub(super) number: usize,
    pub(super) message: &'h MessageHistory,
    /// The first send; of a message nobody sent, the first that was heard of it.
    pub(super) start_us: u64,
    /// What came before the final state, in order.
    pub(super) spans: Vec<Span>,
    pub(super) state: State,
    /// When the final state began.
    pub(super) state_us: u64,
    pub(super) breaches: Vec<Breach>,
    pub(super) has_finding: bool,
    pub(super) failed_step: bool,
    /// Faults that were active while the lane lasted.
    pub(super) faults: Vec<String>,
    pub(super) events: Vec<LaneEvent>,
    /// Events beyond those.
    pub(super) events_left_out: usize,
}

impl Lane<'_> {
    /// The last thing the lane shows.
    pub(super) fn end_us(&self) -> u64 {
        self.events.last().map_or(self.state_us, |event| event.at_us.max(self.state_us))
    }

    /// Whether somebody should look at it.
    pub(super) fn is_wrong(&self) -> bool {
        self.has_finding || self.failed_step || !self.breaches.is_empty() || self.is_open()
    }

    /// Sent, and its sender never learnt what became of it.
    pub(super) fn is_open(&self) -> bool {
        !self.message.sent_us.is_empty() && matches!(self.state, State::InFlight | State::Pending)
    }

    /// The states and their times since the send, for a line.
    pub(super) fn outline(&self) -> String {
        let reached = self.spans.iter().skip(1).map(|span| (span.state, span.from_us));
        let all: Vec<_> = reached
            .chain((!self.spans.is_empty()).then_some((self.state, self.state_us)))
            .map(|(state, at_us)| format!("{} {}", state.name(), micros(at_us.saturating_sub(self.start_us))))
            .collect();
        if all.is_empty() { self.state.name().to_owned() } else { all.join(", ") }
    }
}

/// Something that concerns everybody: a mark, a fault, a connection.
#[derive(Clone, Debug)]
pub(super) struct Across {
    pub(super) at_us: u64,
    pub(super) kind: AcrossKind,
    pub(super) text: String,
}

/// What kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcrossKind {
    Mark,
    Fault,
    Connection,
    Clock,
    Gap,
}

impl AcrossKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Fault => "fault",
            Self::Connection => "connection",
            Self::Clock => "clock",
            Self::Gap => "gap",
        }
    }
}

/// A fault and how long it was active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FaultBand {
    pub(super) name: String,
    pub(super) from_us: u64,
    pub(super) to_us: u64,
}

/// The timeline of a run.
#[derive(Debug)]
pub(super) struct Lanes<'h> {
    /// The lanes that are drawn, in the order of their sends.
    pub(super) drawn: Vec<Lane<'h>>,
    /// About when the messages without a lane were sent, each time once, ascending.
    pub(super) undrawn_us: Vec<u64>,
    /// How many there are.
    pub(super) total: usize,
    /// How many of those somebody should look at, drawn or not.
    pub(super) wrong: usize,
    pub(super) across: Vec<Across>,
    pub(super) across_left_out: usize,
    pub(super) faults: Vec<FaultBand>,
    pub(super) end_us: u64,
    by_message: HashMap<MessageId, usize>,
}

impl<'h> Lanes<'h> {
    /// The timeline with at most `max` lanes. When there are more, those with findings come first, then those of
    /// failed steps, then those over a budget or without an outcome, then the earliest.
    pub(super) fn of(report: &RunReport, history: &'h History, max: usize) -> Self {
        let found = messages_of_findings(report);
        let failed = messages_of_failed_steps(report);
        let mut candidates: Vec<(usize, Lane<'h>)> = Vec::new();
        for message in &history.messages {
            let (has_finding, failed_step) =
                (found.contains(&message.message_id), failed.contains(&message.message_id));
            if message.sent_us.is_empty() && !has_finding && !failed_step {
                continue;
            }
            let lane = lane(history, message, candidates.len() + 1, has_finding, failed_step);
            let rank = if has_finding {
                0
            } else if failed_step {
                1
            } else if lane.is_wrong() {
                2
            } else {
                3
            };
            candidates.push((rank, lane));
        }
        let total = candidates.len();
        let wrong = candidates.iter().filter(|(rank, _)| *rank < 3).count();
        // Stable, so that among equals the earlier one is drawn.
        candidates.sort_by_key(|(rank, _)| *rank);
        let undrawn = candidates.split_off(max.min(total));
        let step_us = (history.end_us / UNDRAWN_PLACES).max(1);
        let mut undrawn_us: Vec<_> = undrawn.iter().map(|(_, lane)| lane.start_us / step_us * step_us).collect();
        undrawn_us.sort_unstable();
        undrawn_us.dedup();
        let mut drawn: Vec<_> = candidates.into_iter().map(|(_, lane)| lane).collect();
        drawn.sort_by_key(|lane| (lane.start_us, lane.number));
        let by_message: HashMap<_, _> = drawn.iter().map(|lane| (lane.message.message_id, lane.number)).collect();

        let (mut across, faults) = across(report, history.end_us);
        let across_left_out = across.len().saturating_sub(ACROSS_MAX);
        across.truncate(ACROSS_MAX);
        let mut told = told(report, &by_message);
        for lane in &mut drawn {
            fill(lane, told.remove(&lane.message.message_id).unwrap_or_default());
            let (from, to) = (lane.start_us, lane.end_us());
            let during = faults.iter().filter(|fault| fault.from_us <= to && fault.to_us >= from);
            lane.faults = during.map(|fault| fault.name.clone()).collect();
        }
        let end_us = history.end_us;
        Self { drawn, undrawn_us, total, wrong, across, across_left_out, faults, end_us, by_message }
    }

    /// How many lanes a run wants.
    pub(super) fn wanted(report: &RunReport, history: &History) -> usize {
        let (found, failed) = (messages_of_findings(report), messages_of_failed_steps(report));
        let wants = |message: &&MessageHistory| {
            let id = &message.message_id;
            !message.sent_us.is_empty() || found.contains(id) || failed.contains(id)
        };
        history.messages.iter().filter(wants).count()
    }

    /// The number of a message's lane, if it is drawn.
    pub(super) fn number_of(&self, message_id: MessageId) -> Option<usize> {
        self.by_message.get(&message_id).copied()
    }
}

/// How many lanes each run may draw so that all of them draw `max`: what a short run leaves goes to the others.
pub(super) fn shares(wanted: &[usize], max: usize) -> Vec<usize> {
    let mut shares = vec![0; wanted.len()];
    let mut order: Vec<_> = (0..wanted.len()).collect();
    order.sort_by_key(|run| wanted[*run]);
    let mut left = max;
    for (done, run) in order.iter().enumerate() {
        shares[*run] = wanted[*run].min(left / (wanted.len() - done));
        left -= shares[*run];
    }
    shares
}

fn messages_of_findings(report: &RunReport) -> HashSet<MessageId> {
    report.audit.findings.iter().flat_map(|finding| &finding.messages).map(|message| message.message_id).collect()
}

fn messages_of_failed_steps(report: &RunReport) -> HashSet<MessageId> {
    let failed = report
        .steps
        .iter()
        .filter(|step| matches!(step.outcome, StepOutcome::Failed { .. } | StepOutcome::Inconclusive { .. }));
    failed.flat_map(|step| step.messages.iter().copied()).collect()
}

fn lane<'h>(
    history: &History,
    message: &'h MessageHistory,
    number: usize,
    has_finding: bool,
    failed_step: bool,
) -> Lane<'h> {
    let heard = message.acks.iter().map(|seen| seen.at_us);
    let heard = heard.chain(message.seen.iter().map(|receipt| receipt.at_us));
    let heard = heard.chain(message.stages.iter().map(|(at_us, _)| *at_us)).min();
    let start_us = message.sent_us.first().copied().or(heard).unwrap_or_default();
    let mut spans = Vec::new();
    let (mut state, mut state_us) = (State::InFlight, start_us);
    for seen in own_acks(message) {
        if let Some(next) = state.after(seen.ack.state) {
            spans.push(Span { state, from_us: state_us, to_us: seen.at_us });
            (state, state_us) = (next, seen.at_us);
        }
    }
    Lane {
        number,
        message,
        start_us,
        spans,
        state,
        state_us,
        breaches: breaches(history, message),
        has_finding,
        failed_step,
        faults: Vec::new(),
        events: Vec::new(),
        events_left_out: 0,
    }
}

/// The ACKs that the sender saw.
fn own_acks(message: &MessageHistory) -> impl Iterator<Item = &SeenAck> {
    message.acks.iter().filter(|seen| Some(&seen.user) == message.sender.as_ref())
}

/// The ACKs that came too late, by the rule of the latencies: since the latest send, over a connection that held.
fn breaches(history: &History, message: &MessageHistory) -> Vec<Breach> {
    let Some(sender) = &message.sender else { return Vec::new() };
    let mut breaches = Vec::new();
    for seen in own_acks(message) {
        let (what, budget_ms) = match seen.ack.state {
            AckState::Pending => ("pending", PENDING_BUDGET_MS),
            AckState::Delivered | AckState::Rejected => ("outcome", DELIVERED_BUDGET_MS),
            AckState::Persisted => continue,
        };
        let budget_us = budget_ms * 1_000;
        let Some(from_us) = message.sent_us.iter().copied().rfind(|sent| *sent <= seen.at_us) else { continue };
        let took_us = seen.at_us - from_us;
        if took_us > budget_us && history.user(sender).connected_throughout(from_us, seen.at_us) {
            breaches.push(Breach { what, at_us: seen.at_us, took_us, budget_us });
        }
    }
    breaches
}

/// Everything that happened to a message, in the order of time.
fn fill(lane: &mut Lane<'_>, told: Vec<LaneEvent>) {
    let message = lane.message;
    let name = |user: &UserId| user.as_str().to_owned();
    let sender = message.sender.as_ref().map(name).unwrap_or_default();
    let mut events = told;
    for (index, at_us) in message.sent_us.iter().enumerate() {
        let what = if index == 0 { "sent".to_owned() } else { format!("sent again, attempt {}", index + 1) };
        let kind = EventKind::Sent { attempt: index + 1 };
        events.push(LaneEvent { at_us: *at_us, kind, who: sender.clone(), what });
    }
    for seen in &message.acks {
        let stray = if Some(&seen.user) == message.sender.as_ref() { "" } else { " (somebody else's message)" };
        let what = format!("{}{stray}", ack_text(&seen.ack));
        events.push(LaneEvent { at_us: seen.at_us, kind: EventKind::Ack, who: name(&seen.user), what });
    }
    for receipt in &message.seen {
        let what = "saw it as message:new".to_owned();
        events.push(LaneEvent { at_us: receipt.at_us, kind: EventKind::Received, who: name(&receipt.user), what });
    }
    for (at_us, stage) in &message.stages {
        let (who, what) = ("service".to_owned(), stage_text(stage));
        events.push(LaneEvent { at_us: *at_us, kind: EventKind::Stage, who, what });
    }
    events.sort_by_key(|event| event.at_us);
    lane.events_left_out = events.len().saturating_sub(EVENTS_MAX);
    // Of a message to a thousand people all but the first receipts go; what its sender saw stays.
    let mut over = lane.events_left_out;
    let mut keep = vec![true; events.len()];
    for first_to_go in [EventKind::Received, EventKind::Told, EventKind::Stage] {
        for (event, keep) in events.iter().zip(&mut keep).rev() {
            if over > 0 && event.kind == first_to_go {
                *keep = false;
                over -= 1;
            }
        }
    }
    let mut keep = keep.into_iter();
    events.retain(|_| keep.next().unwrap_or(true));
    events.truncate(EVENTS_MAX);
    lane.events = events;
}

/// What clients were told of a message beside ACKs and the message itself, for the lanes that are drawn.
fn told(report: &RunReport, drawn: &HashMap<MessageId, usize>) -> HashMap<MessageId, Vec<LaneEvent>> {
    let mut told: HashMap<MessageId, Vec<LaneEvent>> = HashMap::new();
    for event in &report.events {
        let Happening::Saw { user, event: seen } = &event.what else { continue };
        let (message_id, what) = match seen {
            ServerEvent::Edited(one) => (one.message.message_id, "saw the edited text"),
            ServerEvent::Deleted(one) => (one.message_id, "was told that it is deleted"),
            ServerEvent::Reaction(one) => (one.message_id, "saw its reactions change"),
            ServerEvent::Delivered(one) => (one.message_id, "was told that it was delivered"),
            ServerEvent::Ack(_) | ServerEvent::New(_) | ServerEvent::ConversationUpdated(_) | ServerEvent::Error(_) => {
                continue;
            }
        };
        if drawn.contains_key(&message_id) {
            let (who, what) = (user.as_str().to_owned(), what.to_owned());
            let event = LaneEvent { at_us: event.at_us, kind: EventKind::Told, who, what };
            told.entry(message_id).or_default().push(event);
        }
    }
    told
}

fn ack_text(ack: &MessageAck) -> String {
    let place = ack.seq.map(|seq| format!(", place {seq} in the conversation")).unwrap_or_default();
    let error = ack.error.as_ref().map(|error| format!(", {}: {}", error.code, error.message)).unwrap_or_default();
    format!("{}{place}{error}", ack.state.as_str())
}

fn stage_text(stage: &Stage) -> String {
    let name = stage.name();
    match stage {
        Stage::Received | Stage::Pending | Stage::Confirmed | Stage::Indexed => name.to_owned(),
        Stage::Permission { source, allowed } => {
            let source = match source {
                PermissionSource::Cache => "cache",
                PermissionSource::Store => "store",
            };
            format!("{name} from the {source}: {}", if *allowed { "allowed" } else { "refused" })
        }
        Stage::MediaChecked { items } => format!("{name}: {items}"),
        Stage::Published { topic, partition, offset } => {
            format!("{name} to {topic}, partition {partition}, offset {offset}")
        }
        Stage::Delivered { seq } => format!("{name}, place {seq} in the conversation"),
        Stage::Rejected { error } => format!("{name}, {}: {}", error.code, error.message),
        Stage::Broadcast { recipients } => format!("{name}, connections: {recipients}"),
        Stage::Consumed { group, partition, offset } => {
            format!("{name} by {group}, partition {partition}, offset {offset}")
        }
        Stage::Persisted { inserted, bulk } => {
            format!("{name} in a bulk of {bulk}{}", if *inserted { "" } else { ", was there already" })
        }
        Stage::DeadLettered { reason } => format!("{name}: {reason}"),
    }
}

/// What stands across the lanes, in the order of time, and the faults as periods.
fn across(report: &RunReport, end_us: u64) -> (Vec<Across>, Vec<FaultBand>) {
    let mut across = Vec::new();
    let mut faults: Vec<FaultBand> = Vec::new();
    let mut active: HashMap<String, u64> = HashMap::new();
    let mut known: HashSet<&UserId> = HashSet::new();
    let mut events: Vec<_> = report.events.iter().collect();
    events.sort_by_key(|event| event.at_us);
    for event in events {
        let at_us = event.at_us;
        let (kind, text) = match &event.what {
            Happening::Mark { text } => (AcrossKind::Mark, text.clone()),
            Happening::Fault { target, kind, active: began } => {
                let name = format!("{target}: {kind}");
                if *began {
                    active.entry(name.clone()).or_insert(at_us);
                } else if let Some(from_us) = active.remove(&name) {
                    faults.push(FaultBand { name: name.clone(), from_us, to_us: at_us });
                }
                (AcrossKind::Fault, format!("{name} {}", if *began { "begins" } else { "ends" }))
            }
            Happening::Connection { user, state: ConnectionState::Disconnected { reason } } => {
                (AcrossKind::Connection, format!("{user} loses the connection: {reason}"))
            }
            // Everybody connects once; only coming back is news.
            Happening::Connection { user, state: ConnectionState::Connected } => {
                if known.insert(user) {
                    continue;
                }
                (AcrossKind::Connection, format!("{user} is connected again"))
            }
            Happening::ClockAdvanced { by_ms } => {
                (AcrossKind::Clock, format!("the clock advances by {}", micros(by_ms.saturating_mul(1_000))))
            }
            Happening::Gap { missed } => (AcrossKind::Gap, format!("{missed} events were not recorded")),
            Happening::Sent { .. }
            | Happening::Saw { .. }
            | Happening::Answered { .. }
            | Happening::Device { .. }
            | Happening::Stage { .. }
            | Happening::Health { .. } => continue,
        };
        across.push(Across { at_us, kind, text });
    }
    faults.extend(active.into_iter().map(|(name, from_us)| FaultBand { name, from_us, to_us: end_us }));
    faults.sort_by(|one, other| (one.from_us, &one.name).cmp(&(other.from_us, &other.name)));
    (across, faults)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ackscope_protocol::error::ErrorCode;

    use super::*;
    use crate::fixtures::{Made, Trace};
    use crate::report::fixtures::passed_report;

    fn report_of(trace: Trace) -> RunReport {
        let events = trace.events.into_iter().map(Arc::new).collect();
        RunReport { events, ..passed_report() }
    }

    fn with_lanes<T>(report: &RunReport, max: usize, look: impl FnOnce(&Lanes<'_>) -> T) -> T {
        let history = History::of(&report.events);
        look(&Lanes::of(report, &history, max))
    }

    #[test]
    fn states_follow_each_other_and_a_retry_does_not_go_back() {
        let mut trace = Trace::new(&["ana", "ben"]);
        let hello = trace.send_at(1_000, "ana", "hello");
        trace.pending_at(1_300, &hello);
        trace.delivered_at(3_000, &hello, 1);
        trace.retry_at(4_000, &hello);
        trace.pending_at(4_100, &hello);
        trace.delivered_at(4_200, &hello, 1);
        trace.persisted_at(9_000, &hello);
        with_lanes(&report_of(trace), 10, |lanes| {
            let lane = &lanes.drawn[0];
            let spans: Vec<_> = lane.spans.iter().map(|span| (span.state, span.from_us, span.to_us)).collect();
            assert_eq!(
                spans,
                [(State::InFlight, 1_000, 1_300), (State::Pending, 1_300, 3_000), (State::Delivered, 3_000, 9_000),]
            );
            assert_eq!((lane.state, lane.state_us), (State::Persisted, 9_000));
            assert_eq!(lane.outline(), "pending 0.30 ms, delivered 2.00 ms, persisted 8.00 ms");
            assert!(!lane.is_wrong());
        });
    }

    #[test]
    fn a_breach_counts_from_the_latest_send_over_a_connection_that_held() {
        let mut trace = Trace::new(&["ana", "ben"]);
        let slow = trace.send_at(0, "ana", "slow");
        trace.pending_at(15_000, &slow);
        trace.retry_at(500_000, &slow);
        trace.delivered_at(501_000, &slow, 1);
        let broken = trace.send_at(600_000, "ben", "broken");
        trace.disconnect_at(601_000, "ben");
        trace.connect_at(900_000, "ben");
        trace.delivered_at(950_000, &broken, 2);
        with_lanes(&report_of(trace), 10, |lanes| {
            let breach = Breach { what: "pending", at_us: 15_000, took_us: 15_000, budget_us: 10_000 };
            assert_eq!(lanes.drawn[0].breaches, [breach]);
            assert_eq!(lanes.drawn[1].breaches, []);
            let texts: Vec<_> = lanes.across.iter().map(|one| one.text.as_str()).collect();
            assert_eq!(texts, ["ben loses the connection: dropped", "ben is connected again"]);
        });
    }

    #[test]
    fn a_message_without_an_outcome_is_open() {
        let mut trace = Trace::new(&["ana", "ben"]);
        trace.send_at(0, "ana", "anybody?");
        with_lanes(&report_of(trace), 10, |lanes| {
            assert!(lanes.drawn[0].is_open() && lanes.drawn[0].is_wrong());
            assert_eq!(lanes.drawn[0].outline(), "no answer");
        });
    }

    #[test]
    fn what_is_wrong_is_drawn_before_what_is_not() {
        let mut trace = Trace::new(&["ana", "ben"]);
        let mut made: Vec<Made> = Vec::new();
        for number in 0..20 {
            let message = trace.send_at(number * 1_000_000, "ana", &format!("message {number}"));
            let late = if number == 15 { 200_000 } else { 2_000 };
            trace.delivered_at(number * 1_000_000 + late, &message, number);
            made.push(message);
        }
        let mut report = report_of(trace);
        report.steps[1].outcome = StepOutcome::Failed { expected: "x".into(), found: "y".into() };
        report.steps[1].messages = vec![made[17].message_id];
        with_lanes(&report, 3, |lanes| {
            let numbers: Vec<_> = lanes.drawn.iter().map(|lane| lane.number).collect();
            assert_eq!(numbers, [1, 16, 18]);
            assert_eq!((lanes.total, lanes.wrong), (20, 2));
            // The run is so long that each send has a place of its own.
            assert_eq!(lanes.undrawn_us.len(), 17);
            assert_eq!(lanes.number_of(made[17].message_id), Some(18));
            assert_eq!(lanes.number_of(made[5].message_id), None);
        });
    }

    #[test]
    fn a_crowd_of_receipts_leaves_room_for_the_acks() {
        let names: Vec<_> = (0..300).map(|number| format!("user{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut trace = Trace::new(&names);
        let hello = trace.send_at(1_000, "user0", "hello");
        for (index, name) in names.iter().enumerate().skip(1) {
            trace.seen_at(2_000 + index as u64, name, &hello);
        }
        trace.rejected_at(9_000, &hello, ErrorCode::NotFound);
        with_lanes(&report_of(trace), 10, |lanes| {
            let lane = &lanes.drawn[0];
            assert_eq!(lane.events.len(), EVENTS_MAX);
            assert_eq!(lane.events_left_out, 301 - EVENTS_MAX);
            assert_eq!(lane.events[0].what, "sent");
            assert_eq!(lane.events.last().unwrap().kind, EventKind::Ack);
        });
    }

    #[test]
    fn a_fault_is_a_band_over_the_lanes_that_it_met() {
        let mut trace = Trace::new(&["ana", "ben"]);
        let fault = |active| Happening::Fault { target: "search".into(), kind: "outage".into(), active };
        let before = trace.send_at(0, "ana", "before");
        trace.delivered_at(1_000, &before, 1);
        trace.push(2_000, fault(true));
        let during = trace.send_at(3_000, "ana", "during");
        trace.delivered_at(4_000, &during, 2);
        trace.push(5_000, fault(false));
        trace.push(6_000, fault(true));
        trace.push(7_000, Happening::Mark { text: "end".into() });
        with_lanes(&report_of(trace), 10, |lanes| {
            let band = |from_us, to_us| FaultBand { name: "search: outage".into(), from_us, to_us };
            assert_eq!(lanes.faults, [band(2_000, 5_000), band(6_000, 7_000)]);
            assert!(lanes.drawn[0].faults.is_empty());
            assert_eq!(lanes.drawn[1].faults, ["search: outage"]);
        });
    }

    #[test]
    fn runs_share_the_lanes() {
        assert_eq!(shares(&[10, 5_000, 3_000], 2_000), [10, 995, 995]);
        assert_eq!(shares(&[10, 20], 2_000), [10, 20]);
        assert_eq!(shares(&[5_000], 2_000), [2_000]);
        assert_eq!(shares(&[], 2_000), Vec::<usize>::new());
    }
}
