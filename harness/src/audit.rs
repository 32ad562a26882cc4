//! Checks a run's history against the promises (S3.6).
//!
//! A pure function of what was recorded and what the store holds at the end, so that a finding can be
//! reproduced from a recording. Each message the run knows is one row; for each row the promises that apply are
//! counted and checked:
//!
//! | promise | broken is called |
//! |---|---|
//! | each send ends in exactly one outcome; retries of one `temp_id` are one message | lost, duplicate, phantom |
//! | delivered: published once, stored once | lost, duplicate |
//! | delivered: seen exactly once by every other participant who was there | lost, duplicate |
//! | nobody else hears of it; the sending connection gets ACKs and not the message | leaked, duplicate |
//! | rejected: not stored, not seen | phantom |
//! | everybody sees a conversation in the order of the store | reordered |
//! | `pending` comes before the outcome | late |
//! | edits lie in the window of 15 minutes; every earlier text is kept, in the order it was | late, lost |
//! | what the cache and the search index hold is what the store holds | stale, lost |
//!
//! A person's further devices are participants like others: the connection that sends gets the ACKs, the others get
//! the message.
//!
//! "Was there" allows for a broken connection: whoever was connected before the send and is connected at the
//! end must have it, through `sync` if need be; whoever is not connected at the end is excused.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use ackscope_protocol::Timestamp;
use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::ids::{ConversationId, MessageId, TempId, UserId};
use ackscope_protocol::limits::EDIT_WINDOW_MS;
use ackscope_protocol::trace::{Stage, TraceEvent};
use ackscope_protocol::wire::AckState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::history::{History, MessageHistory, UserHistory, excerpt};

/// What store, cache and search index hold when the run has gone quiet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stored {
    /// The conversations of the run.
    pub conversations: Vec<StoredConversation>,
    /// What the search index has of these conversations: the text each message is found by. Absent where the index
    /// was not read.
    #[serde(default)]
    pub index: Option<HashMap<MessageId, Indexed>>,
    /// What could not be read, and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A message in the search index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indexed {
    /// Its conversation, as the index knows it.
    pub conversation_id: ConversationId,
    /// Who sent it.
    pub sender: UserId,
    /// What it is found by.
    pub text: String,
}

/// A conversation in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// The version of the entry.
    pub version: u64,
    /// Everybody in it.
    pub participants: Vec<UserId>,
}

/// A conversation in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredConversation {
    /// Which.
    pub conversation_id: ConversationId,
    /// Its version; 0 in recordings that do not say.
    #[serde(default)]
    pub version: u64,
    /// Everybody in it.
    pub participants: Vec<UserId>,
    /// Its entry in the cache, if it has one.
    #[serde(default)]
    pub cached: Option<Cached>,
    /// Its messages, in any order.
    pub messages: Vec<StoredMessage>,
}

/// A message in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Which.
    pub message_id: MessageId,
    /// Who sent it.
    pub sender: UserId,
    /// The sender's own name for it.
    pub temp_id: TempId,
    /// Its text; none of a tombstone.
    pub text: Option<String>,
    /// When it was created, by business time.
    #[serde(default = "long_ago")]
    pub created_at: Timestamp,
    /// Earlier texts and when each was replaced, oldest first.
    #[serde(default)]
    pub edits: Vec<(String, Timestamp)>,
    /// Whether it is a tombstone.
    #[serde(default)]
    pub deleted: bool,
    /// Its place in the conversation.
    pub seq: u64,
    /// Whether it is a copy made by forwarding.
    pub forwarded: bool,
}

/// For recordings that do not say; they do not have edits either.
fn long_ago() -> Timestamp {
    Timestamp::from_millis(0)
}

/// What kind of promise was broken, named like a field guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Something promised never came.
    Lost,
    /// Something came more than once.
    Duplicate,
    /// Something came that nobody sent, or that was refused.
    Phantom,
    /// Somebody saw an order that is not the store's.
    Reordered,
    /// Something old is held where the store has moved on.
    Stale,
    /// Somebody heard of what is none of theirs.
    Leaked,
    /// Something came after what it announces.
    Late,
}

impl FindingKind {
    /// The name as reports print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicate => "duplicate",
            Self::Phantom => "phantom",
            Self::Reordered => "reordered",
            Self::Stale => "stale",
            Self::Leaked => "leaked",
            Self::Late => "late",
        }
    }
}

/// Names a message for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Concerned {
    /// The message.
    #[schemars(with = "String")]
    pub message_id: MessageId,
    /// The sender's own name for it, when known.
    #[schemars(with = "Option<String>")]
    pub temp_id: Option<TempId>,
    /// Who sent it, when known.
    #[schemars(with = "Option<String>")]
    pub sender: Option<UserId>,
    /// The start of its text.
    pub excerpt: String,
}

impl fmt::Display for Concerned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sender {
            Some(sender) => write!(f, "{sender}'s \"{}\"", self.excerpt),
            None => write!(f, "message {}", self.message_id),
        }
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// What happened, one sentence.
    pub sentence: String,
    /// The messages it concerns.
    pub messages: Vec<Concerned>,
    /// Whose view or connection it is about, if one user's.
    #[schemars(with = "Option<String>")]
    pub user: Option<UserId>,
}

/// How many promises were checked, by what was promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Promises {
    /// Sends that must end in exactly one outcome.
    pub outcomes: u64,
    /// Delivered messages that must be published exactly once.
    pub published: u64,
    /// Messages that must be in the store exactly once, or not at all.
    pub stored: u64,
    /// Pairs of message and participant who must have seen it exactly once.
    pub seen: u64,
    /// Pairs of message and user who must not have heard of it.
    pub unseen: u64,
    /// Places in views and ACKs that must agree with the store's order.
    pub ordered: u64,
    /// Edits that must lie in the window, and texts that the edit history must have.
    #[serde(default)]
    pub edited: u64,
    /// Entries of the cache and the search index that must agree with the store.
    #[serde(default)]
    pub agreed: u64,
}

impl Promises {
    /// All of them.
    pub fn total(self) -> u64 {
        self.outcomes
            + self.published
            + self.stored
            + self.seen
            + self.unseen
            + self.ordered
            + self.edited
            + self.agreed
    }
}

/// What came of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Audit {
    /// What was checked. An audit that checked nothing is not clean, it is empty.
    pub promises: Promises,
    /// What was broken, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many broken promises there were, also those that are not listed.
    pub broken: u64,
    /// What could not be checked, and why.
    pub notes: Vec<String>,
}

/// Most findings that are listed; more say nothing that these do not.
pub const FINDINGS_MAX: usize = 1_000;

impl Audit {
    /// No promise was broken.
    pub fn is_clean(&self) -> bool {
        self.broken == 0
    }
}

/// Checks a run.
pub fn audit<E: Borrow<TraceEvent>>(events: &[E], stored: &Stored) -> Audit {
    audit_history(&History::of(events), stored)
}

/// Checks a run whose events are sorted already.
pub fn audit_history(history: &History, stored: &Stored) -> Audit {
    let mut auditor = Auditor::new(history, stored);
    for message in &history.messages {
        auditor.message(message);
    }
    for conversation in &stored.conversations {
        auditor.conversation(conversation);
        auditor.cache(conversation);
        for message in &conversation.messages {
            auditor.edits(conversation, message);
            auditor.index(conversation, message);
        }
    }
    auditor.index_alone();
    auditor.views();
    auditor.audit
}

/// What became of a message as its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Accepted.
    Delivered,
    /// Refused, and refused it stays.
    Rejected,
    /// Accepted, and taken back because it could not be stored.
    Withdrawn,
    /// The sender does not know: the outcome was unknown or the connection broke before it came.
    Open,
    /// The sender was there all the time and was told nothing.
    Missing,
}

/// From when to when somebody was in a conversation, as far as clients were told; microseconds.
#[derive(Clone, Copy, Debug)]
struct Stay {
    since_us: u64,
    until_us: Option<u64>,
}

struct Auditor<'a> {
    history: &'a History,
    stored: HashMap<ConversationId, &'a StoredConversation>,
    index: Option<&'a HashMap<MessageId, Indexed>>,
    /// How often and where each message is stored.
    places: HashMap<MessageId, Vec<&'a StoredMessage>>,
    stays: HashMap<ConversationId, BTreeMap<UserId, Stay>>,
    users: BTreeMap<UserId, UserHistory>,
    audit: Audit,
}

impl<'a> Auditor<'a> {
    fn new(history: &'a History, stored: &'a Stored) -> Self {
        let mut places: HashMap<MessageId, Vec<&StoredMessage>> = HashMap::new();
        for message in stored.conversations.iter().flat_map(|conversation| &conversation.messages) {
            places.entry(message.message_id).or_default().push(message);
        }
        let by_id: HashMap<_, _> =
            stored.conversations.iter().map(|conversation| (conversation.conversation_id, conversation)).collect();
        let mut known: HashSet<ConversationId> = by_id.keys().copied().collect();
        known.extend(history.conversations.keys().copied());
        let stays = known.into_iter().map(|id| (id, stays(history, id, by_id.get(&id).copied()))).collect();
        let mut audit = Audit::default();
        if history.missed > 0 {
            let missed = history.missed;
            audit.notes.push(format!("{missed} events were not recorded; what would be missing was not checked"));
        }
        audit.notes.extend(stored.notes.iter().cloned());
        let index = stored.index.as_ref();
        Self { history, stored: by_id, index, places, stays, users: history.users.clone(), audit }
    }

    fn broken(&mut self, kind: FindingKind, user: Option<&UserId>, messages: &[&MessageHistory], sentence: String) {
        self.audit.broken += 1;
        if self.audit.findings.len() < FINDINGS_MAX {
            let messages = messages.iter().map(|message| concerned(message)).collect();
            self.audit.findings.push(Finding { kind, sentence, messages, user: user.cloned() });
        }
    }

    /// Whether everything that happened was recorded, so that something not being there means something.
    fn complete(&self) -> bool {
        self.history.missed == 0
    }

    fn message(&mut self, message: &'a MessageHistory) {
        let (Some(conversation_id), Some(sender)) = (message.conversation_id, message.sender.as_ref()) else {
            self.nobodys(message);
            return;
        };
        if message.sent_us.is_empty() {
            self.unsent(message, sender);
            return;
        }
        let outcome = self.outcome(message, sender);
        let places = self.places.get(&message.message_id).map_or(0, Vec::len);
        if self.stored.contains_key(&conversation_id) {
            self.storage(message, outcome, places);
        }
        if outcome == Outcome::Delivered {
            self.publication(message, sender, places > 0);
        }
        let exists = outcome == Outcome::Delivered || places > 0 && matches!(outcome, Outcome::Open | Outcome::Missing);
        self.visibility(message, conversation_id, sender, outcome, exists);
    }

    /// Something was heard of a message of which neither send nor sender is known.
    fn nobodys(&mut self, message: &MessageHistory) {
        if let Some(seen) = message.acks.first() {
            let sentence = format!("{} got an ACK for a message nobody sent", seen.user);
            self.broken(FindingKind::Phantom, Some(&seen.user), &[message], sentence);
        }
    }

    /// Somebody saw a message that no simulated user sent. One of a client from outside is none of ours.
    fn unsent(&mut self, message: &MessageHistory, sender: &UserId) {
        if !message.forwarded && self.users.contains_key(sender) && self.complete() {
            let who = people(message.seen.iter().map(|receipt| &receipt.user));
            let sentence = format!("{} was seen by {who}, but {sender} never sent it", concerned(message));
            self.broken(FindingKind::Phantom, None, &[message], sentence);
        }
    }

    fn outcome(&mut self, message: &MessageHistory, sender: &UserId) -> Outcome {
        self.audit.promises.outcomes += 1;
        let name = concerned(message);
        let mut delivered_us = None;
        let mut refused_us = None;
        let mut unknown = false;
        let mut withdrawn = false;
        let mut counts = (0_usize, 0_usize);
        let sent_between = |from: u64, to: u64| message.sent_us.iter().any(|sent| *sent > from && *sent <= to);
        // Two sends of one message may be under way at a time, and their answers cross: as long as one is open, what
        // comes may be about that one.
        let sent_by = |at: u64| message.sent_us.iter().filter(|sent| **sent <= at).count();
        // At least so many of them have had their answer: what comes by `sync` is no answer, and a confirmation that
        // supersedes an unknown outcome is the second one to the same send.
        let mut decided = 0_usize;
        let mut open_unknown = false;
        for seen in &message.acks {
            if seen.user != *sender {
                // Another device may learn by `sync` what became of a message; ACKs as they happen are the sender's.
                if self.history.person(&seen.user) == self.history.person(sender) && self.took_sync(seen) {
                    continue;
                }
                let sentence = format!("{} got the ACK of {name}", seen.user);
                self.broken(FindingKind::Leaked, Some(&seen.user), &[message], sentence);
                continue;
            }
            let at_us = seen.at_us;
            if seen.ack.message_id.is_some_and(|id| id != message.message_id) {
                let sentence = format!("{name} was acknowledged under another message_id");
                self.broken(FindingKind::Duplicate, Some(sender), &[message], sentence);
            }
            match seen.ack.state {
                AckState::Pending => {
                    let outcome_us = delivered_us.max(refused_us).filter(|_| decided >= sent_by(at_us));
                    if let Some(outcome_us) = outcome_us.filter(|outcome| !sent_between(*outcome, at_us)) {
                        let after = at_us - outcome_us;
                        let sentence = format!("the `pending` of {name} came {after} us after its outcome");
                        self.broken(FindingKind::Late, Some(sender), &[message], sentence);
                    }
                }
                AckState::Delivered => {
                    let refused_before = refused_us.filter(|_| decided >= sent_by(at_us) && !unknown);
                    if let Some(refused) = refused_before.filter(|refused| !sent_between(*refused, at_us)) {
                        let after = at_us - refused;
                        let sentence = format!("{name} was rejected and {after} us later delivered all the same");
                        self.broken(FindingKind::Phantom, Some(sender), &[message], sentence);
                    }
                    counts.0 += 1;
                    if !std::mem::take(&mut open_unknown) && !self.took_sync(seen) {
                        decided += 1;
                    }
                    delivered_us = Some(at_us);
                    refused_us = None;
                    withdrawn = false;
                }
                AckState::Persisted => delivered_us = delivered_us.or(Some(at_us)),
                AckState::Rejected => {
                    if seen.ack.error.as_ref().is_some_and(|error| error.code == ErrorCode::OutcomeUnknown) {
                        unknown = true;
                        open_unknown = true;
                        decided += 1;
                        continue;
                    }
                    counts.1 += 1;
                    decided += 1;
                    match delivered_us {
                        // A retry may be refused (too fast, no longer a participant); the message stays what it is.
                        Some(delivered) if sent_between(delivered, at_us) => {}
                        Some(_) => withdrawn = true,
                        None => refused_us = Some(at_us),
                    }
                }
            }
        }
        let connection = self.user(sender);
        let last_sent_us = message.sent_us.last().copied().unwrap_or_default();
        let first_sent_us = message.sent_us.first().copied().unwrap_or_default();
        let undisturbed = !connection.lost_connection_since(first_sent_us);
        for (count, word) in [(counts.0, "delivered"), (counts.1, "rejected")] {
            if count > message.sent_us.len() && undisturbed {
                let sends = message.sent_us.len();
                let sentence = format!("{name} was sent {} and acknowledged as {word} {}", times(sends), times(count));
                self.broken(FindingKind::Duplicate, Some(sender), &[message], sentence);
            }
        }
        if withdrawn {
            Outcome::Withdrawn
        } else if delivered_us.is_some() {
            Outcome::Delivered
        } else if refused_us.is_some()
            && !unknown
            && (decided >= message.sent_us.len() || undisturbed || !self.complete())
        {
            Outcome::Rejected
        } else if refused_us.is_some() || unknown || connection.lost_connection_since(last_sent_us) || !self.complete()
        {
            Outcome::Open
        } else {
            let sentence = format!("{name} was sent and never got an outcome");
            self.broken(FindingKind::Lost, Some(sender), &[message], sentence);
            Outcome::Missing
        }
    }

    /// Whether an ACK may have come by `sync`: its user connected again before.
    fn took_sync(&self, seen: &crate::history::SeenAck) -> bool {
        self.user(&seen.user).reconnected_before(seen.at_us).is_some()
    }

    fn storage(&mut self, message: &MessageHistory, outcome: Outcome, places: usize) {
        self.audit.promises.stored += 1;
        let name = concerned(message);
        if places > 1 {
            let sentence = format!("{name} is in the store {}", times(places));
            self.broken(FindingKind::Duplicate, None, &[message], sentence);
        }
        match outcome {
            // Deleted for good is not lost.
            Outcome::Delivered if places == 0 && message.deleted_for.is_empty() => {
                let sentence = format!("{name} was delivered but is not in the store");
                self.broken(FindingKind::Lost, None, &[message], sentence);
            }
            Outcome::Rejected | Outcome::Withdrawn if places > 0 => {
                let sentence = format!("{name} was rejected but is in the store");
                self.broken(FindingKind::Phantom, None, &[message], sentence);
            }
            _ => {}
        }
    }

    fn publication(&mut self, message: &MessageHistory, sender: &UserId, is_stored: bool) {
        if !self.history.has_stages || !self.complete() {
            return;
        }
        self.audit.promises.published += 1;
        let published = message
            .stages
            .iter()
            .filter(|(_, stage)| matches!(stage, Stage::Published { topic, .. } if topic == "message.sent"))
            .count();
        let name = concerned(message);
        // After an unknown outcome nobody can tell whether the first attempt is in the log; the consumer can. Nor can a
        // sender that was away when it was told so.
        let first_sent_us = message.sent_us.first().copied().unwrap_or_default();
        let was_unknown = self.user(sender).lost_connection_since(first_sent_us)
            || message
                .acks
                .iter()
                .any(|seen| seen.ack.error.as_ref().is_some_and(|error| error.code == ErrorCode::OutcomeUnknown));
        // A publish whose answer got lost is none that the node knows of. But what was read from the log is in it, and
        // so is what is stored.
        let is_read = message.stages.iter().any(|(_, stage)| {
            matches!(stage, Stage::Consumed { .. } | Stage::Persisted { .. } | Stage::Broadcast { .. })
        });
        if published == 0 && !is_read && !(was_unknown && is_stored) {
            let sentence = format!("{name} was delivered but never published");
            self.broken(FindingKind::Lost, None, &[message], sentence);
        }
        if published > 1 && !was_unknown {
            let sentence = format!("{name} was published {}", times(published));
            self.broken(FindingKind::Duplicate, None, &[message], sentence);
        }
    }

    fn visibility(
        &mut self,
        message: &MessageHistory,
        conversation_id: ConversationId,
        sender: &UserId,
        outcome: Outcome,
        exists: bool,
    ) {
        let name = concerned(message);
        let first_us = message.sent_us.first().copied().unwrap_or_default();
        let stays = self.stays.get(&conversation_id).cloned().unwrap_or_default();
        let mut seen: BTreeMap<&UserId, Vec<u64>> = BTreeMap::new();
        for receipt in &message.seen {
            seen.entry(&receipt.user).or_default().push(receipt.at_us);
        }

        let users: Vec<UserId> = self.users.keys().cloned().collect();
        for user in &users {
            let times_seen = seen.get(user).map_or(0, Vec::len);
            let connection = self.user(user);
            if user == sender {
                self.audit.promises.unseen += 1;
                let excused = times_seen == 1
                    && seen
                        .get(user)
                        .is_some_and(|at| at.iter().all(|at| connection.reconnected_between(first_us, *at)));
                if times_seen > 0 && !excused {
                    let sentence = format!("{name} came back to its own sender as `message:new`");
                    self.broken(FindingKind::Duplicate, Some(user), &[message], sentence);
                }
                continue;
            }
            let stay = stays.get(self.history.person(user));
            let outsider = stay.is_none_or(|stay| stay.until_us.is_some_and(|until| until < first_us));
            if outsider {
                self.audit.promises.unseen += 1;
                let heard = times_seen > 0 || message.told.contains(user) || message.deleted_for.contains(user);
                if heard {
                    let sentence = format!("{user} heard of {name} without being in the conversation");
                    self.broken(FindingKind::Leaked, Some(user), &[message], sentence);
                }
                continue;
            }
            if !exists {
                self.audit.promises.unseen += 1;
                let taken_back = outcome == Outcome::Withdrawn && message.deleted_for.contains(user);
                if times_seen > 0 && !taken_back {
                    let why = match outcome {
                        Outcome::Rejected => "although it was rejected",
                        Outcome::Withdrawn => "and never heard that it was withdrawn",
                        _ => "although it is not in the store",
                    };
                    let sentence = format!("{user} saw {name} {why}");
                    self.broken(FindingKind::Phantom, Some(user), &[message], sentence);
                }
                continue;
            }
            if times_seen > 1 {
                let sentence = format!("{user} saw {name} {}", times(times_seen));
                self.broken(FindingKind::Duplicate, Some(user), &[message], sentence);
            }
            let was_there = stay.is_some_and(|stay| stay.since_us <= first_us && stay.until_us.is_none())
                && connection.known_since(first_us)
                && connection.connected_at_end()
                && self.complete();
            if was_there || times_seen > 0 {
                self.audit.promises.seen += 1;
            }
            if was_there && times_seen == 0 {
                let sentence = format!("{user} never saw {name}");
                self.broken(FindingKind::Lost, Some(user), &[message], sentence);
            }
        }
    }

    /// What is wrong within the store itself.
    fn conversation(&mut self, conversation: &StoredConversation) {
        let mut by_temp: HashMap<(&UserId, &TempId), &StoredMessage> = HashMap::new();
        let mut by_seq: HashMap<u64, &StoredMessage> = HashMap::new();
        for message in &conversation.messages {
            let sent = self.history.message(message.message_id).is_some_and(|known| !known.sent_us.is_empty());
            let ours = self.users.contains_key(&message.sender) && self.complete();
            if !sent && ours && !message.forwarded {
                self.audit.promises.stored += 1;
                let known = stored_as_history(conversation.conversation_id, message);
                let sentence = format!("{} is in the store, but was never sent", concerned(&known));
                self.broken(FindingKind::Phantom, None, &[&known], sentence);
            }
            // The copies of one forward share its `temp_id`; their ids tell them apart.
            if !message.forwarded
                && let Some(first) = by_temp.insert((&message.sender, &message.temp_id), message)
                && first.message_id != message.message_id
            {
                let known = [first, message].map(|message| stored_as_history(conversation.conversation_id, message));
                let sentence =
                    format!("two messages in the store have {}'s temp_id {}", message.sender, message.temp_id);
                self.broken(FindingKind::Duplicate, None, &[&known[0], &known[1]], sentence);
            }
            self.audit.promises.ordered += 1;
            if let Some(first) = by_seq.insert(message.seq, message)
                && first.message_id != message.message_id
            {
                let known = [first, message].map(|message| stored_as_history(conversation.conversation_id, message));
                let sentence = format!(
                    "{} and {} have the same place {} in the conversation",
                    concerned(&known[0]),
                    concerned(&known[1]),
                    message.seq
                );
                self.broken(FindingKind::Reordered, None, &[&known[0], &known[1]], sentence);
            }
        }
    }

    /// Whether the cache has what the store has. That it has nothing is no promise broken.
    fn cache(&mut self, conversation: &StoredConversation) {
        let Some(cached) = &conversation.cached else { return };
        self.audit.promises.agreed += 1;
        let id = conversation.conversation_id;
        if cached.version != conversation.version {
            let (old, new) = (cached.version, conversation.version);
            let sentence = format!("the cache has version {old} of conversation {id}, the store has version {new}");
            self.broken(FindingKind::Stale, None, &[], sentence);
            return;
        }
        let (cached, stored): (HashSet<_>, HashSet<_>) =
            (cached.participants.iter().collect(), conversation.participants.iter().collect());
        if cached != stored {
            let sentence = format!("the cache has other participants of conversation {id} than the store");
            self.broken(FindingKind::Stale, None, &[], sentence);
        }
    }

    /// Whether edits lie in the window, and every text that was there is kept.
    fn edits(&mut self, conversation: &StoredConversation, message: &StoredMessage) {
        let known = stored_as_history(conversation.conversation_id, message);
        let name = concerned(&known);
        for (_, at) in &message.edits {
            self.audit.promises.edited += 1;
            let after_ms = at.millis_since(message.created_at);
            if after_ms > EDIT_WINDOW_MS {
                let sentence = format!(
                    "{name} was edited {} s after it was created; the window is {} min",
                    after_ms / 1_000,
                    EDIT_WINDOW_MS / 60_000
                );
                self.broken(FindingKind::Late, Some(&message.sender), &[&known], sentence);
            }
        }
        let Some(heard) = self.history.message(message.message_id) else { return };
        // A tombstone has no text, and neither have its edits.
        if message.deleted || message.forwarded || heard.sent_us.is_empty() {
            return;
        }
        let kept: Vec<&str> =
            message.edits.iter().map(|(text, _)| text.as_str()).chain(message.text.as_deref()).collect();
        let sent = heard.text.as_deref();
        self.audit.promises.edited += 1;
        if kept.first().copied() != sent {
            let sentence = format!("{name} does not begin with the text that was sent");
            self.broken(FindingKind::Lost, Some(&message.sender), &[&known], sentence);
        }
        let history = self.history;
        let edited = history.message(message.message_id).map_or(&[][..], |heard| heard.edited_texts.as_slice());
        for (user, text) in edited {
            self.audit.promises.edited += 1;
            if !kept.contains(&text.as_str()) {
                let text = excerpt(text, 40);
                let sentence = format!("{user} saw {name} as \"{text}\", which is not in its edit history");
                self.broken(FindingKind::Lost, Some(user), &[&known], sentence);
            }
        }
    }

    /// Whether a message is found by search as the store has it.
    fn index(&mut self, conversation: &StoredConversation, message: &StoredMessage) {
        let Some(index) = self.index else { return };
        self.audit.promises.agreed += 1;
        let known = stored_as_history(conversation.conversation_id, message);
        let name = concerned(&known);
        let (kind, sentence) = match (index.get(&message.message_id), &message.text) {
            (Some(indexed), Some(text)) if indexed.text == *text => return,
            (None, None) => return,
            (None, Some(_)) => (FindingKind::Lost, format!("{name} is in the store, and search does not find it")),
            (Some(indexed), Some(_)) => {
                let old = excerpt(&indexed.text, 40);
                (FindingKind::Stale, format!("search finds {name} by another text: \"{old}\""))
            }
            (Some(_), None) if message.deleted => {
                (FindingKind::Stale, format!("{name} is deleted, and search still finds it"))
            }
            (Some(_), None) => (FindingKind::Phantom, format!("{name} has no text, and search finds it by one")),
        };
        self.broken(kind, None, &[&known], sentence);
    }

    /// Whether search finds what the store does not have.
    fn index_alone(&mut self) {
        let Some(index) = self.index else { return };
        let alone = index.iter().filter(|(message_id, indexed)| {
            self.stored.contains_key(&indexed.conversation_id) && !self.places.contains_key(message_id)
        });
        let mut alone: Vec<(&MessageId, &Indexed)> = alone.collect();
        alone.sort_by_key(|(message_id, _)| **message_id);
        for (message_id, indexed) in alone {
            self.audit.promises.agreed += 1;
            let heard = self.history.message(*message_id);
            let is_known = heard.is_some_and(|heard| !heard.sent_us.is_empty() || !heard.seen.is_empty());
            let known = MessageHistory {
                sender: Some(indexed.sender.clone()),
                text: Some(indexed.text.clone()),
                ..MessageHistory::new(*message_id)
            };
            let name = concerned(&known);
            let (kind, sentence) = if is_known {
                (FindingKind::Stale, format!("{name} is not in the store any more, and search still finds it"))
            } else {
                (FindingKind::Phantom, format!("search finds {name}, which is not in the store and was never sent"))
            };
            self.broken(kind, None, &[&known], sentence);
        }
    }

    /// Whether what was seen has the order of the store.
    fn views(&mut self) {
        let seq_of = |places: &HashMap<MessageId, Vec<&StoredMessage>>, id| {
            places.get(&id).and_then(|stored| stored.first()).map(|stored| stored.seq)
        };
        let history = self.history;
        for ((user, _), view) in &history.views {
            let connection = self.user(user);
            let mut before: Option<(u64, MessageId)> = None;
            let mut seen = HashSet::new();
            for viewed in view {
                let Some(seq) = seq_of(&self.places, viewed.message_id) else { continue };
                let Some(message) = history.message(viewed.message_id) else { continue };
                // A user's own message has its place by the ACK, whenever it may come back.
                if message.sender.as_ref() == Some(user) || !seen.insert(viewed.message_id) {
                    continue;
                }
                self.audit.promises.ordered += 1;
                if viewed.seq != seq {
                    let name = concerned(message);
                    let sentence = format!("{user} saw {name} at place {}, the store has it at {seq}", viewed.seq);
                    self.broken(FindingKind::Reordered, Some(user), &[message], sentence);
                }
                // What was sent before a connection came up comes by `sync` and may cross what comes live.
                let sent_us = message.sent_us.first().copied().unwrap_or_default();
                if connection.reconnected_before(viewed.at_us).is_some_and(|up| sent_us <= up) {
                    continue;
                }
                if let Some((last, other)) = before
                    && seq < last
                    && let Some(other) = history.message(other)
                {
                    let sentence = format!(
                        "{user} saw {} before {}; the store has them the other way round",
                        concerned(other),
                        concerned(message)
                    );
                    self.broken(FindingKind::Reordered, Some(user), &[other, message], sentence);
                }
                if before.is_none_or(|(last, _)| seq > last) {
                    before = Some((seq, viewed.message_id));
                }
            }
        }
        for message in &history.messages {
            let Some(seq) = seq_of(&self.places, message.message_id) else { continue };
            for seen in &message.acks {
                if let Some(told) = seen.ack.seq {
                    self.audit.promises.ordered += 1;
                    if told != seq {
                        let name = concerned(message);
                        let sentence = format!("{name} was acknowledged at place {told}, the store has it at {seq}");
                        self.broken(FindingKind::Reordered, Some(&seen.user), &[message], sentence);
                    }
                }
            }
        }
    }

    fn user(&self, user: &UserId) -> UserHistory {
        self.users.get(user).cloned().unwrap_or_default()
    }
}

/// Who was in a conversation, and from when to when, as far as clients were told.
fn stays(history: &History, id: ConversationId, stored: Option<&StoredConversation>) -> BTreeMap<UserId, Stay> {
    let mut stays: BTreeMap<UserId, Stay> = BTreeMap::new();
    let memberships = history.conversations.get(&id).map_or(&[][..], Vec::as_slice);
    for (index, membership) in memberships.iter().enumerate() {
        for user in &membership.participants {
            // Whoever was there in the first version heard of was there from the beginning of what is known.
            let since_us = if index == 0 { 0 } else { membership.at_us };
            let stay = stays.entry(user.clone()).or_insert(Stay { since_us, until_us: None });
            if stay.until_us.is_some() {
                // Came back: no promise about the time between, so the stay starts anew.
                *stay = Stay { since_us, until_us: None };
            }
        }
        for (user, stay) in &mut stays {
            if stay.until_us.is_none() && !membership.participants.contains(user) {
                stay.until_us = Some(membership.at_us);
            }
        }
    }
    for user in stored.map_or(&[][..], |conversation| &conversation.participants) {
        // Known to the store alone: in it, but nobody was told since when.
        let since_us = if memberships.is_empty() { 0 } else { u64::MAX };
        stays.entry(user.clone()).or_insert(Stay { since_us, until_us: None });
    }
    stays
}

fn concerned(message: &MessageHistory) -> Concerned {
    Concerned {
        message_id: message.message_id,
        temp_id: message.temp_id.clone(),
        sender: message.sender.clone(),
        excerpt: excerpt(message.text.as_deref().unwrap_or("(no text)"), 40),
    }
}

fn stored_as_history(conversation_id: ConversationId, message: &StoredMessage) -> MessageHistory {
    MessageHistory {
        conversation_id: Some(conversation_id),
        sender: Some(message.sender.clone()),
        temp_id: Some(message.temp_id.clone()),
        text: message.text.clone(),
        forwarded: message.forwarded,
        ..MessageHistory::new(message.message_id)
    }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

fn people<'a>(users: impl Iterator<Item = &'a UserId>) -> String {
    let mut names: Vec<_> = users.map(UserId::as_str).collect();
    names.dedup();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
