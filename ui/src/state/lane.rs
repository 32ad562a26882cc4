//! The way of one message: what its sender was told, what the backend did, who received it.

use std::sync::Arc;

use ackscope_protocol::limits::{DELIVERED_BUDGET_MS, PENDING_BUDGET_MS};
use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::AckState;
use ackscope_protocol::{ConversationId, MessageId, TempId, WireError};

use super::UserNumber;

/// Budget of the `pending` ACK in microseconds.
pub const PENDING_BUDGET_US: u64 = PENDING_BUDGET_MS * 1_000;
/// Budget of the `delivered` and `rejected` ACKs in microseconds.
pub const DELIVERED_BUDGET_US: u64 = DELIVERED_BUDGET_MS * 1_000;

/// Most attempts a lane keeps; further retries change the last one.
pub const ATTEMPTS_MAX: usize = 32;
/// Most stages a lane keeps: endless redelivery must not fill the memory.
pub const STAGES_MAX: usize = 256;

/// Where a message stands, as its sender's client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Progress {
    /// On the connection, or only mentioned by the backend; no acknowledgment yet.
    Sending,
    /// See [`AckState::Pending`].
    Pending,
    /// See [`AckState::Delivered`].
    Delivered,
    /// See [`AckState::Rejected`].
    Rejected,
    /// See [`AckState::Persisted`].
    Persisted,
}

impl Progress {
    /// Every state, in the order a message takes.
    pub const ALL: [Self; 5] = [Self::Sending, Self::Pending, Self::Delivered, Self::Rejected, Self::Persisted];

    /// As the wire spells it; `sending` is ours.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Pending => AckState::Pending.as_str(),
            Self::Delivered => AckState::Delivered.as_str(),
            Self::Rejected => AckState::Rejected.as_str(),
            Self::Persisted => AckState::Persisted.as_str(),
        }
    }

    /// With a capital, as it begins a line for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sending => "Sending",
            Self::Pending => "Pending",
            Self::Delivered => "Delivered",
            Self::Rejected => "Rejected",
            Self::Persisted => "Persisted",
        }
    }
}

/// One `message:send` and the acknowledgments its sender saw. Times are microseconds since the run began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempt {
    /// 1 for the first; 0 when acknowledgments came before we heard of any send.
    pub number: u32,
    /// When it was put on the connection.
    pub sent_us: Option<u64>,
    /// When `pending` was seen.
    pub pending_us: Option<u64>,
    /// When `delivered` was seen.
    pub delivered_us: Option<u64>,
    /// When `rejected` was seen.
    pub rejected_us: Option<u64>,
    /// Why it was rejected.
    pub error: Option<WireError>,
}

impl Attempt {
    fn since_sent(&self, at_us: Option<u64>) -> Option<u64> {
        Some(at_us?.saturating_sub(self.sent_us?))
    }

    /// From sending to `pending`.
    pub fn pending_latency_us(&self) -> Option<u64> {
        self.since_sent(self.pending_us)
    }

    /// When the first outcome was seen.
    pub fn outcome_us(&self) -> Option<u64> {
        [self.delivered_us, self.rejected_us].into_iter().flatten().min()
    }

    /// From sending to the first outcome.
    pub fn outcome_latency_us(&self) -> Option<u64> {
        self.since_sent(self.outcome_us())
    }

    /// Whether `pending` came later than its budget.
    pub fn is_pending_late(&self) -> bool {
        self.pending_latency_us().is_some_and(|latency_us| latency_us >= PENDING_BUDGET_US)
    }

    /// Whether the outcome came later than its budget.
    pub fn is_outcome_late(&self) -> bool {
        self.outcome_latency_us().is_some_and(|latency_us| latency_us >= DELIVERED_BUDGET_US)
    }
}

/// When a recipient's client saw the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who.
    pub user: UserNumber,
    /// When.
    pub at_us: u64,
}

/// A stage inside the backend and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct StageAt {
    /// When.
    pub at_us: u64,
    /// Which.
    pub stage: Stage,
}

/// What a piece of a lane's bar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Sent, nothing heard.
    InFlight,
    /// `pending` was seen.
    Pending,
    /// `delivered` was seen.
    Delivered,
    /// `rejected` was seen, and superseded later.
    Rejected,
}

/// A piece of a lane's bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it shows.
    pub kind: SpanKind,
    /// Where it begins.
    pub from_us: u64,
    /// Where it ends; `None` while it lasts.
    pub to_us: Option<u64>,
}

/// The way of one message. Times are microseconds since the run began.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// The message.
    pub message_id: MessageId,
    /// When it was first heard of. Never before the lane above: lanes are searched by it.
    pub order_us: u64,
    /// When the last thing happened to it.
    pub last_us: u64,
    /// Who sent it.
    pub sender: Option<UserNumber>,
    /// Where.
    pub conversation_id: Option<ConversationId>,
    /// The client's own name for it.
    pub temp_id: Option<TempId>,
    /// What it says.
    pub text: Option<Arc<str>>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// Its place in the conversation.
    pub seq: Option<u64>,
    /// Sends and their acknowledgments, oldest first.
    pub attempts: Vec<Attempt>,
    /// When its sender saw `persisted`.
    pub persisted_us: Option<u64>,
    /// By user number; one for each recipient.
    pub receipts: Vec<Receipt>,
    /// In the order they were recorded.
    pub stages: Vec<StageAt>,
    /// Stages that were not kept.
    pub stages_dropped: u64,
}

impl Lane {
    pub(super) fn new(message_id: MessageId, order_us: u64) -> Self {
        Self {
            message_id,
            order_us,
            last_us: order_us,
            sender: None,
            conversation_id: None,
            temp_id: None,
            text: None,
            reply_to: None,
            seq: None,
            attempts: Vec::new(),
            persisted_us: None,
            receipts: Vec::new(),
            stages: Vec::new(),
            stages_dropped: 0,
        }
    }

    /// Where "since sent" counts from: the first send, or the first we heard of it.
    pub fn origin_us(&self) -> u64 {
        self.attempts.iter().find_map(|attempt| attempt.sent_us).unwrap_or(self.order_us)
    }

    /// Where the message stands.
    pub fn progress(&self) -> Progress {
        let delivered_us = self.attempts.iter().filter_map(|attempt| attempt.delivered_us).max();
        let rejected_us = self.attempts.iter().filter_map(|attempt| attempt.rejected_us).max();
        // What came last counts: `rejected` after the fact (S1.5), and `delivered` after an unknown outcome.
        let reached_us = self.persisted_us.max(delivered_us);
        if let Some(rejected_us) = rejected_us
            && reached_us.is_none_or(|reached_us| rejected_us >= reached_us)
        {
            let is_retried = self.attempts.last().is_some_and(|last| {
                last.outcome_us().is_none() && last.sent_us.is_some_and(|sent_us| sent_us >= rejected_us)
            });
            if !is_retried {
                return Progress::Rejected;
            }
        }
        if self.persisted_us.is_some() {
            return Progress::Persisted;
        }
        if delivered_us.is_some() {
            return Progress::Delivered;
        }
        match self.attempts.last() {
            Some(last) if last.pending_us.is_some() => Progress::Pending,
            _ => Progress::Sending,
        }
    }

    /// From sending to the acknowledgment that [`Self::progress`] names.
    pub fn progress_latency_us(&self) -> Option<u64> {
        match self.progress() {
            Progress::Sending => None,
            Progress::Pending => self.attempts.last()?.pending_latency_us(),
            Progress::Delivered => {
                self.attempts.iter().rev().find_map(|attempt| attempt.since_sent(attempt.delivered_us))
            }
            Progress::Rejected => {
                self.attempts.iter().rev().find_map(|attempt| attempt.since_sent(attempt.rejected_us))
            }
            Progress::Persisted => Some(self.persisted_us?.saturating_sub(self.origin_us())),
        }
    }

    /// The latency the budget of S1.5 speaks of: to the first outcome of the last attempt that has one.
    pub fn outcome_latency_us(&self) -> Option<u64> {
        self.attempts.iter().rev().find_map(Attempt::outcome_latency_us)
    }

    /// Whether any acknowledgment came later than its budget.
    pub fn is_over_budget(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.is_pending_late() || attempt.is_outcome_late())
    }

    /// Why it was rejected, while [`Self::progress`] says so.
    pub fn rejection(&self) -> Option<&WireError> {
        if self.progress() != Progress::Rejected {
            return None;
        }
        self.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref())
    }

    /// Appends the pieces of the bar, oldest first.
    pub fn spans(&self, out: &mut Vec<Span>) {
        for (index, attempt) in self.attempts.iter().enumerate() {
            // What a retry follows does not last any longer.
            let next_us = self.attempts.get(index + 1).and_then(|next| next.sent_us);
            let outcome_us = attempt.outcome_us();
            let mut push = |kind, from_us: u64, to_us: Option<u64>| {
                out.push(Span { kind, from_us, to_us: to_us.map(|to_us| to_us.max(from_us)) });
            };
            if let Some(sent_us) = attempt.sent_us {
                push(SpanKind::InFlight, sent_us, attempt.pending_us.or(outcome_us).or(next_us));
            }
            if let Some(pending_us) = attempt.pending_us {
                push(SpanKind::Pending, pending_us, outcome_us.or(next_us));
            }
            if let (Some(rejected_us), Some(delivered_us)) = (attempt.rejected_us, attempt.delivered_us)
                && rejected_us <= delivered_us
            {
                push(SpanKind::Rejected, rejected_us, Some(delivered_us));
            }
            if let Some(delivered_us) = attempt.delivered_us {
                let rejected_us = attempt.rejected_us.filter(|rejected_us| *rejected_us > delivered_us);
                push(SpanKind::Delivered, delivered_us, self.persisted_us.or(rejected_us));
            }
        }
    }

    /// When it was rejected for good, attempt by attempt.
    pub fn rejections_us(&self) -> impl Iterator<Item = u64> + '_ {
        self.attempts.iter().filter_map(|attempt| {
            attempt.rejected_us.filter(|rejected_us| attempt.delivered_us.is_none_or(|at_us| at_us < *rejected_us))
        })
    }

    pub(super) fn touch(&mut self, at_us: u64) {
        self.last_us = self.last_us.max(at_us);
    }

    /// Counts a send. A number that was counted before is a duplicate.
    pub(super) fn sent(&mut self, number: u32, at_us: u64) {
        if self.attempts.iter().any(|attempt| attempt.number == number) {
            return;
        }
        // Acknowledgments that came before we heard of the send.
        if let [only] = self.attempts.as_mut_slice()
            && only.sent_us.is_none()
        {
            only.number = number;
            only.sent_us = Some(at_us);
            return;
        }
        let attempt = Attempt { number, sent_us: Some(at_us), ..Attempt::default() };
        if self.attempts.len() < ATTEMPTS_MAX {
            // Nearly every message has one attempt; room for four would be most of a lane's memory.
            self.attempts.reserve_exact(1);
            let place = self.attempts.partition_point(|other| other.number < number);
            self.attempts.insert(place, attempt);
        } else if let Some(last) = self.attempts.last_mut()
            && last.number < number
        {
            *last = attempt;
        }
    }

    /// Takes an acknowledgment. One that says what was said before is a duplicate.
    pub(super) fn acknowledged(&mut self, state: AckState, error: Option<&WireError>, at_us: u64) {
        if state == AckState::Persisted {
            self.persisted_us.get_or_insert(at_us);
            return;
        }
        if self.attempts.is_empty() {
            self.attempts.reserve_exact(1);
            self.attempts.push(Attempt::default());
        }
        let index = self
            .attempts
            .iter()
            .rposition(|attempt| attempt.sent_us.is_some_and(|sent_us| sent_us <= at_us))
            .unwrap_or_default();
        let Some(attempt) = self.attempts.get_mut(index) else { return };
        match state {
            AckState::Pending => attempt.pending_us.get_or_insert(at_us),
            AckState::Delivered => attempt.delivered_us.get_or_insert(at_us),
            AckState::Rejected => {
                if attempt.rejected_us.is_none() {
                    attempt.error = error.cloned();
                }
                attempt.rejected_us.get_or_insert(at_us)
            }
            AckState::Persisted => return,
        };
    }

    /// Notes that a recipient saw it. Only the first time counts.
    pub(super) fn received(&mut self, user: UserNumber, at_us: u64) {
        if let Err(place) = self.receipts.binary_search_by_key(&user, |receipt| receipt.user) {
            self.receipts.insert(place, Receipt { user, at_us });
        }
    }

    pub(super) fn staged(&mut self, stage: Stage, at_us: u64) {
        if let Stage::Delivered { seq } = stage {
            self.seq = Some(seq);
        }
        if self.stages.len() < STAGES_MAX {
            self.stages.push(StageAt { at_us, stage });
        } else {
            self.stages_dropped += 1;
        }
    }
}
