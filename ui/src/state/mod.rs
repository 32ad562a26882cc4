//! What the interface knows of the run, reduced from the stream of trace events.
//!
//! **Invariant:** nothing in here knows egui. Every event costs about the same however long the run is, and no
//! event, however wrong, late or doubled, may panic.

mod client;
mod filter;
mod flow;
mod lane;
mod latency;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ackscope_protocol::trace::{Happening, Stage, TraceEvent};
use ackscope_protocol::wire::{DeleteMode, MessageAck, ServerEvent};
use ackscope_protocol::{MessageId, Timestamp, UserId};

pub use self::client::{CONVERSATIONS_MAX, Client, ConversationLog, Entry, MESSAGES_MAX, Notice, User};
pub use self::filter::{Filter, LaneList, Only};
pub use self::flow::{Flow, Part};
pub use self::lane::{
    ATTEMPTS_MAX, Attempt, DELIVERED_BUDGET_US, Lane, PENDING_BUDGET_US, Progress, Receipt, STAGES_MAX, Span, SpanKind,
    StageAt,
};
pub use self::latency::{Ack, Latencies, Scope, Spread, Spreads};

/// What every event is looked up in: the keys are not chosen by anybody who would gain by making this slow.
type Map<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;

/// Most lanes kept in memory; the oldest go first.
pub const LANES_MAX: usize = 200_000;
/// Most users kept; what further ones do is counted and not shown.
pub const USERS_MAX: usize = 10_000;
/// Most health figures kept: lag and depth of every partition of every topic and group.
const FIGURES_MAX: usize = 2_048;
/// Most faults kept, those that are over included; the oldest go first.
const FAULTS_MAX: usize = 1_024;
/// Most noted changes of lanes; with more, filters begin anew.
const CHANGES_MAX: usize = 100_000;

/// Messages that count as the newest when one looks for where something was said.
const NEWEST: usize = 64;

/// A user, by the order they were first heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserNumber(u32);

/// A lane, by the order they were first heard of. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneNumber(pub u64);

/// Figures of the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that were reduced.
    pub events: u64,
    /// Lanes there ever were.
    pub lanes: u64,
    /// Lanes by [`Progress`], in the order of [`Progress::ALL`].
    pub by_progress: [u64; Progress::ALL.len()],
    /// Lanes with an acknowledgment over its budget.
    pub over_budget: u64,
    /// Events that the recorder lost.
    pub gap_events: u64,
    /// Events that were over before this interface came.
    pub skipped_events: u64,
    /// Events that this interface did not get because it did not keep up.
    pub missed_events: u64,
    /// Lanes that are no longer kept.
    pub dropped_lanes: u64,
}

impl Counts {
    /// Lanes in one state.
    pub fn in_progress(&self, progress: Progress) -> u64 {
        self.by_progress.get(progress as usize).copied().unwrap_or_default()
    }
}

/// A fault that is active, or was. Times are microseconds since the run began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultSpan {
    /// What it is on.
    pub target: String,
    /// What it does, with its figures.
    pub kind: String,
    /// When it began.
    pub from_us: u64,
    /// When it ended; `None` while it is active.
    pub to_us: Option<u64>,
}

impl FaultSpan {
    /// Whether it was active at a time.
    pub fn is_active_at(&self, at_us: u64) -> bool {
        self.from_us <= at_us && self.to_us.is_none_or(|to_us| at_us < to_us)
    }
}

/// The run.
#[derive(Debug, Default)]
pub struct Run {
    users: Vec<User>,
    user_numbers: Map<UserId, UserNumber>,
    lanes: VecDeque<Lane>,
    lane_numbers: Map<MessageId, LaneNumber>,
    first_lane: u64,
    longest_lane_us: u64,
    /// Lanes whose answer to a filter may have changed since they were created.
    changes: Vec<LaneNumber>,
    changes_epoch: u64,
    counts: Counts,
    latest_us: u64,
    business_offset_ms: Option<i64>,
    advanced_ms: u64,
    faults: VecDeque<FaultSpan>,
    flow: Flow,
    health: BTreeMap<String, f64>,
    last_mark: Option<String>,
}

impl Run {
    /// Every user, in the order they were first heard of.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// A user by number.
    pub fn user(&self, number: UserNumber) -> Option<&User> {
        self.users.get(number.0 as usize)
    }

    /// A user by id.
    pub fn user_by_id(&self, user_id: &UserId) -> Option<&User> {
        self.user(*self.user_numbers.get(user_id)?)
    }

    /// A user's name, or a word for nobody known.
    pub fn user_name(&self, number: Option<UserNumber>) -> &str {
        number.and_then(|number| self.user(number)).map_or("someone", |user| user.user_id.as_str())
    }

    /// The numbers of the lanes that are kept, oldest first.
    pub fn lane_range(&self) -> std::ops::Range<u64> {
        self.first_lane..self.first_lane + self.lanes.len() as u64
    }

    /// A lane by number.
    pub fn lane(&self, number: LaneNumber) -> Option<&Lane> {
        self.lanes.get(usize::try_from(number.0.checked_sub(self.first_lane)?).ok()?)
    }

    /// A lane's number by its message.
    pub fn lane_number(&self, message_id: MessageId) -> Option<LaneNumber> {
        self.lane_numbers.get(&message_id).copied()
    }

    /// A lane by its message.
    pub fn lane_of(&self, message_id: MessageId) -> Option<&Lane> {
        self.lane(self.lane_number(message_id)?)
    }

    /// The first lane that began at or after a time: a binary search.
    pub fn first_lane_from(&self, at_us: u64) -> LaneNumber {
        LaneNumber(self.first_lane + self.lanes.partition_point(|lane| lane.order_us < at_us) as u64)
    }

    /// How long the longest lane lasted so far.
    pub fn longest_lane_us(&self) -> u64 {
        self.longest_lane_us
    }

    /// Figures of the whole run.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Time of the latest event, in microseconds since the run began.
    pub fn latest_us(&self) -> u64 {
        self.latest_us
    }

    /// The earliest that business time can be, as timestamps in the trace prove.
    pub fn business_floor(&self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(self.business_offset_ms?.saturating_add(millis(self.latest_us))))
    }

    /// By how much the business clock was advanced in all, in milliseconds.
    pub fn advanced_ms(&self) -> u64 {
        self.advanced_ms
    }

    /// Faults that are active now.
    pub fn faults(&self) -> impl Iterator<Item = &FaultSpan> + '_ {
        self.faults.iter().filter(|fault| fault.to_us.is_none())
    }

    /// Every fault there was, oldest first.
    pub fn fault_spans(&self) -> impl DoubleEndedIterator<Item = &FaultSpan> + '_ {
        self.faults.iter()
    }

    /// How much goes through each part of the backend.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// A figure of health by name.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.health.get(name).copied()
    }

    /// The newest figure of each kind.
    pub fn health(&self) -> &BTreeMap<String, f64> {
        &self.health
    }

    /// The newest mark.
    pub fn last_mark(&self) -> Option<&str> {
        self.last_mark.as_deref()
    }

    /// Whether a user's chat says why something was refused: in its notice, or at one of the newest messages.
    pub fn says_to(&self, user_id: &UserId, reason: &str) -> bool {
        let Some(number) = self.user_numbers.get(user_id) else { return false };
        let notice = self.user(*number).and_then(|user| user.notice.as_ref());
        notice.is_some_and(|notice| notice.text.contains(reason))
            || self.lanes.iter().rev().take(NEWEST).any(|lane| {
                lane.sender == Some(*number) && lane.rejection().is_some_and(|error| error.message == reason)
            })
    }

    /// Notes events that will never come.
    pub fn skipped(&mut self, count: u64) {
        // Before the first event nobody was here; afterwards somebody was, and too slow.
        let counter = match self.counts.events {
            0 => &mut self.counts.skipped_events,
            _ => &mut self.counts.missed_events,
        };
        *counter = counter.saturating_add(count);
    }

    /// Reduces one event.
    pub fn apply(&mut self, event: TraceEvent) {
        let TraceEvent { at_us, what } = event;
        self.counts.events += 1;
        self.latest_us = self.latest_us.max(at_us);
        match what {
            Happening::Sent { user, message_id, conversation_id, temp_id, text, reply_to, attempt } => {
                self.flow.sent(at_us);
                let Some(sender) = self.number_of(&user) else { return };
                let text: Option<Arc<str>> = text.map(Arc::from);
                let client_text = text.clone();
                self.change_lane(message_id, at_us, |lane| {
                    lane.sender = Some(sender);
                    lane.conversation_id = Some(conversation_id);
                    lane.temp_id = Some(temp_id);
                    lane.text = text.or(lane.text.take());
                    lane.reply_to = reply_to;
                    lane.sent(attempt, at_us);
                });
                if let Some(user_state) = self.users.get_mut(sender.0 as usize)
                    && let Some(log) = user_state.client.conversation_mut(conversation_id)
                {
                    log.sent(message_id, &user, client_text, reply_to, at_us);
                }
            }
            Happening::Saw { user, event } => self.saw(&user, event, at_us),
            Happening::Answered { user, request, conversation, error } => {
                let Some(number) = self.number_of(&user) else { return };
                let Some(user) = self.users.get_mut(number.0 as usize) else { return };
                if let Some(conversation) = conversation {
                    user.client.take_conversation(&conversation, at_us);
                }
                // A refused message has its own place to say so: the message.
                if let Some(error) = error
                    && request != "message:send"
                    && request != "sendMessage"
                {
                    user.notice = Some(Notice { at_us, text: format!("{request} was refused: {}", error.message) });
                }
            }
            Happening::Connection { user, state } => {
                if let Some(number) = self.number_of(&user)
                    && let Some(user) = self.users.get_mut(number.0 as usize)
                {
                    user.connection = Some(state);
                }
            }
            Happening::Stage { message_id, stage } => {
                self.flow.staged(&stage, at_us);
                self.add_stage(message_id, stage, at_us);
            }
            Happening::ClockAdvanced { by_ms } => {
                self.advanced_ms = self.advanced_ms.saturating_add(by_ms);
                if let Some(offset_ms) = &mut self.business_offset_ms {
                    *offset_ms = offset_ms.saturating_add(i64::try_from(by_ms).unwrap_or(i64::MAX));
                }
            }
            Happening::Fault { target, kind, active } => {
                let open =
                    self.faults.iter_mut().rev().find(|fault| {
                        fault.to_us.is_none() && fault.target == target && (active || fault.kind == kind)
                    });
                match open {
                    // It began twice: the first time counts.
                    Some(open) if active && open.kind == kind => return,
                    Some(open) => open.to_us = Some(at_us.max(open.from_us)),
                    None => {}
                }
                if active {
                    if self.faults.len() >= FAULTS_MAX {
                        self.faults.pop_front();
                    }
                    self.faults.push_back(FaultSpan { target, kind, from_us: at_us, to_us: None });
                }
            }
            Happening::Mark { text } => self.last_mark = Some(text),
            Happening::Device { user, of } => {
                if let Some(number) = self.number_of(&user)
                    && let Some(user) = self.users.get_mut(number.0 as usize)
                {
                    user.device_of = Some(of);
                }
            }
            Happening::Gap { missed } => self.counts.gap_events = self.counts.gap_events.saturating_add(missed),
            Happening::Health { name, value } => {
                if self.health.len() < FIGURES_MAX || self.health.contains_key(&name) {
                    self.health.insert(name, value);
                }
            }
        }
    }

    fn saw(&mut self, user_id: &UserId, event: ServerEvent, at_us: u64) {
        let Some(number) = self.number_of(user_id) else { return };
        match event {
            ServerEvent::Ack(ack) => self.saw_ack(number, user_id, &ack, at_us),
            ServerEvent::New(answer) => {
                let message = answer.message;
                self.observe_business_time(message.created_at, at_us);
                let sender = self.number_of(&message.sender_id);
                let mut text = None;
                self.change_lane(message.message_id, at_us, |lane| {
                    lane.sender = lane.sender.or(sender);
                    lane.conversation_id.get_or_insert(message.conversation_id);
                    lane.seq = Some(message.seq);
                    if lane.text.is_none() {
                        lane.text = message.text.as_deref().map(Arc::from);
                    }
                    // The sender's other connections get it too; that is no receipt.
                    if sender != Some(number) {
                        lane.received(number, at_us);
                    }
                    // A thousand recipients of one text keep it once.
                    text = lane.text.clone().filter(|text| message.text.as_deref() == Some(&**text));
                });
                if let Some(log) = self.log_mut(number, message.conversation_id) {
                    let text = text.or_else(|| message.text.as_deref().map(Arc::from));
                    log.take_message(&message, text, at_us);
                }
            }
            ServerEvent::Edited(answer) => {
                if let Some(log) = self.log_mut(number, answer.message.conversation_id) {
                    let text = answer.message.text.as_deref().map(Arc::from);
                    log.take_message(&answer.message, text, at_us);
                }
            }
            ServerEvent::Deleted(deleted) => {
                if let Some(log) = self.log_mut(number, deleted.conversation_id) {
                    log.deleted(deleted.message_id, deleted.mode == DeleteMode::Soft);
                }
            }
            ServerEvent::Reaction(reaction) => {
                if let Some(log) = self.log_mut(number, reaction.conversation_id) {
                    log.reacted(reaction.message_id, &reaction.reactions);
                }
            }
            ServerEvent::Delivered(delivered) => self.observe_business_time(delivered.at, at_us),
            ServerEvent::ConversationUpdated(updated) => {
                if let Some(user) = self.users.get_mut(number.0 as usize) {
                    user.client.take_conversation(&updated.conversation, at_us);
                }
            }
            ServerEvent::Error(error) => {
                if let Some(user) = self.users.get_mut(number.0 as usize) {
                    user.notice = Some(Notice { at_us, text: error.message });
                }
            }
        }
    }

    fn saw_ack(&mut self, number: UserNumber, user_id: &UserId, ack: &MessageAck, at_us: u64) {
        self.observe_business_time(ack.at, at_us);
        // Before `delivered` an acknowledgment carries no message id, but the id follows from what it carries.
        let message_id =
            ack.message_id.unwrap_or_else(|| MessageId::derive(user_id, ack.conversation_id, &ack.temp_id));
        self.change_lane(message_id, at_us, |lane| {
            lane.sender = lane.sender.or(Some(number));
            lane.conversation_id.get_or_insert(ack.conversation_id);
            lane.temp_id.get_or_insert_with(|| ack.temp_id.clone());
            lane.seq = ack.seq.or(lane.seq);
            lane.acknowledged(ack.state, ack.error.as_ref(), at_us);
        });
        if let Some(seq) = ack.seq
            && let Some(log) = self.log_mut(number, ack.conversation_id)
        {
            log.placed(message_id, seq);
        }
    }

    fn log_mut(
        &mut self,
        number: UserNumber,
        conversation_id: ackscope_protocol::ConversationId,
    ) -> Option<&mut ConversationLog> {
        self.users.get_mut(number.0 as usize)?.client.conversation_mut(conversation_id)
    }

    fn number_of(&mut self, user_id: &UserId) -> Option<UserNumber> {
        if let Some(number) = self.user_numbers.get(user_id) {
            return Some(*number);
        }
        if self.users.len() >= USERS_MAX {
            return None;
        }
        let number = UserNumber(u32::try_from(self.users.len()).ok()?);
        self.users.push(User {
            user_id: user_id.clone(),
            device_of: None,
            connection: None,
            client: Client::default(),
            notice: None,
        });
        self.user_numbers.insert(user_id.clone(), number);
        Some(number)
    }

    /// Business time only goes forward, so every timestamp is the earliest that now can be.
    fn observe_business_time(&mut self, at: Timestamp, at_us: u64) {
        let offset_ms = at.as_millis().saturating_sub(millis(at_us));
        self.business_offset_ms = self.business_offset_ms.max(Some(offset_ms));
    }

    /// Changes a lane, creating it when it is new, and keeps the counts and the list of changes right.
    fn change_lane(&mut self, message_id: MessageId, at_us: u64, change: impl FnOnce(&mut Lane)) {
        let (number, is_new) = match self.lane_numbers.get(&message_id) {
            Some(number) => (*number, false),
            None => (self.add_lane(message_id, at_us), true),
        };
        let Some(index) = number.0.checked_sub(self.first_lane).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(index) else { return };
        let before = (!is_new).then(|| Facts::of(lane));
        lane.touch(at_us);
        change(lane);
        let after = Facts::of(lane);
        self.longest_lane_us = self.longest_lane_us.max(lane.last_us.saturating_sub(lane.order_us));
        if let Some(before) = before {
            if before == after {
                return;
            }
            if let Some(count) = self.counts.by_progress.get_mut(before.progress as usize) {
                *count = count.saturating_sub(1);
            }
            self.counts.over_budget -= u64::from(before.is_over_budget);
            if self.changes.len() >= CHANGES_MAX {
                self.changes.clear();
                self.changes_epoch += 1;
            }
            self.changes.push(number);
        }
        if let Some(count) = self.counts.by_progress.get_mut(after.progress as usize) {
            *count += 1;
        }
        self.counts.over_budget += u64::from(after.is_over_budget);
    }

    /// A stage changes nothing that filters and counts ask for, and stages are half of what happens: a lane that is
    /// there is not looked at before and after.
    fn add_stage(&mut self, message_id: MessageId, stage: Stage, at_us: u64) {
        let Some(number) = self.lane_numbers.get(&message_id) else {
            self.change_lane(message_id, at_us, |lane| lane.staged(stage, at_us));
            return;
        };
        let index = number.0.checked_sub(self.first_lane).and_then(|index| usize::try_from(index).ok());
        if let Some(lane) = index.and_then(|index| self.lanes.get_mut(index)) {
            lane.touch(at_us);
            lane.staged(stage, at_us);
            self.longest_lane_us = self.longest_lane_us.max(lane.last_us.saturating_sub(lane.order_us));
        }
    }

    fn add_lane(&mut self, message_id: MessageId, at_us: u64) -> LaneNumber {
        // A late event must not break the order that the binary search relies on.
        let order_us = self.lanes.back().map_or(at_us, |last| last.order_us.max(at_us));
        self.lanes.push_back(Lane::new(message_id, order_us));
        let number = LaneNumber(self.first_lane + self.lanes.len() as u64 - 1);
        self.lane_numbers.insert(message_id, number);
        self.counts.lanes += 1;
        if self.lanes.len() > LANES_MAX
            && let Some(oldest) = self.lanes.pop_front()
        {
            self.lane_numbers.remove(&oldest.message_id);
            self.first_lane += 1;
            self.counts.dropped_lanes += 1;
        }
        number
    }
}

/// What filters and counts ask of a lane.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Facts {
    progress: Progress,
    is_over_budget: bool,
    has_text: bool,
    has_sender: bool,
}

impl Facts {
    fn of(lane: &Lane) -> Self {
        Self {
            progress: lane.progress(),
            is_over_budget: lane.is_over_budget(),
            has_text: lane.text.is_some(),
            has_sender: lane.sender.is_some(),
        }
    }
}

fn millis(at_us: u64) -> i64 {
    i64::try_from(at_us / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
