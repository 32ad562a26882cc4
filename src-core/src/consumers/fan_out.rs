//! Fan-out: this node's own reading of the log, told to its own sockets (S1.1, S5).
//!
//! Every node reads every partition, so everybody sees a conversation in the order of its partition, and a
//! second node needs no other bus. The `delivered` ACK does not wait for this.

use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::{
    self, ConversationChange, DeleteMode, Message, MessageAnswer, MessageDeleted, MessageReaction, ServerEvent,
};
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use moka::sync::Cache;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{POLL_MAX, POLL_WAIT, message_persistence};
use crate::clock::Clock;
use crate::conversations::Conversations;
use crate::log::{Consumer, EventLog, LogError, Position, Record, Topic};
use crate::messages::Messages;
use crate::messaging::Acknowledgments;
use crate::planted::{self, Bug};
use crate::probe::Probe;
use crate::producers::Backoff;
use crate::record::{self, ConversationUpdated, MessageDelivered, MessageSent, Outcome, RecordError};
use crate::repositories::{StoredConversation, StoredParticipant};
use crate::rules;
use crate::socket::sessions::Sessions;
use crate::state::{Change, Found, MessageChange, MessageState, PlacedChange};
use crate::tail::Tail;

/// The topics clients hear of. Within one batch they are told in this order: a conversation before its
/// messages, a message before what happens to it and before its confirmation.
pub const FAN_OUT_TOPICS: [Topic; 5] = [
    Topic::ConversationUpdated,
    Topic::MessageSent,
    Topic::MessageEdited,
    Topic::MessageDeleted,
    Topic::MessageDelivered,
];

/// How far back of the end of `message.delivered` a starting node reads, for each partition: a confirmation may
/// stand shortly before the end while its message is not yet committed as persisted.
const CONFIRMATIONS_LOOK_BACK: u64 = 10_000;

/// How often the overlay looks how far the store has come with changes of messages.
const SETTLE_INTERVAL: Duration = Duration::from_millis(250);

/// Conversations of which it is remembered which version was told last.
const TOLD_MAX: u64 = 100_000;

/// A record that clients are told of.
#[derive(Debug)]
pub enum Told {
    /// A new message, at its place.
    Sent {
        /// The message, `seq` set.
        message: Box<Message>,
        /// The record around it.
        sent: SentMeta,
    },
    /// Something happened to a message.
    Happened(Box<PlacedChange>),
    /// What became of a message.
    Settled(Box<MessageDelivered>),
    /// A conversation changed.
    Changed(Box<ConversationUpdated>),
}

/// What a `message.sent` record says beside the message.
#[derive(Debug)]
pub struct SentMeta {
    conversation_version: u64,
    is_known_new: bool,
    origin: String,
}

impl Told {
    /// Reads a record of one of [`FAN_OUT_TOPICS`].
    pub fn read(record: &Record) -> Result<Self, RecordError> {
        match record.position.topic {
            Topic::MessageSent => {
                let MessageSent { message, conversation_version, is_known_new, origin } = record::decode(record)?.data;
                let message = Box::new(Message { seq: record.position.offset, ..message });
                Ok(Self::Sent { message, sent: SentMeta { conversation_version, is_known_new, origin } })
            }
            Topic::MessageEdited | Topic::MessageDeleted => {
                let change = record::decode::<MessageChange>(record)?.data;
                Ok(Self::Happened(Box::new(PlacedChange { offset: record.position.offset, change })))
            }
            Topic::MessageDelivered => Ok(Self::Settled(Box::new(record::decode(record)?.data))),
            Topic::ConversationUpdated => Ok(Self::Changed(Box::new(record::decode(record)?.data))),
            Topic::DeadLetter => Err(RecordError::Unreadable("clients do not hear of dead letters".to_owned())),
        }
    }

    /// The conversation it is about.
    pub fn conversation_id(&self) -> ConversationId {
        match self {
            Self::Sent { message, .. } => message.conversation_id,
            Self::Happened(placed) => placed.change.conversation_id,
            Self::Settled(settled) => settled.conversation_id,
            Self::Changed(changed) => changed.conversation.conversation_id,
        }
    }

    /// The message whose present state decides what is told.
    pub fn message_id(&self) -> Option<MessageId> {
        match self {
            Self::Sent { message, .. } => Some(message.message_id),
            Self::Happened(placed) => Some(placed.change.message_id),
            Self::Settled(_) | Self::Changed(_) => None,
        }
    }

    /// Who hears of it. `now_in` is the conversation as it is now; a change of the conversation itself is told to
    /// those it concerned when it happened.
    pub fn audience<'a>(&'a self, now_in: Option<&'a StoredConversation>) -> Vec<&'a UserId> {
        let present = |conversation: &'a StoredConversation| {
            let is_present =
                |entry: &&'a StoredParticipant| entry.removed_at.is_none() || planted::is(Bug::LeakToRemoved);
            conversation.participants.iter().filter(is_present).map(|entry| &entry.user_id)
        };
        match self {
            Self::Changed(changed) => {
                let subject = changed.subject.iter();
                match changed.change {
                    ConversationChange::SettingsChanged => subject.collect(),
                    ConversationChange::Created
                    | ConversationChange::ParticipantAdded
                    | ConversationChange::ParticipantRemoved => {
                        let mut audience: Vec<&UserId> = present(&changed.conversation).collect();
                        // The one who was removed is told that, once.
                        audience.extend(subject.filter(|user| !present(&changed.conversation).any(|p| p == *user)));
                        audience
                    }
                }
            }
            Self::Happened(placed) if placed.change.what == Change::HiddenForMe => {
                let by = &placed.change.by;
                now_in.into_iter().flat_map(present).filter(|user| *user == by).collect()
            }
            Self::Sent { .. } | Self::Happened(_) | Self::Settled(_) => now_in.into_iter().flat_map(present).collect(),
        }
    }
}

/// A message as it is now, seen once for everybody who is told of it.
#[derive(Debug)]
pub struct Present {
    found: Found,
    /// Absent when it is gone.
    view: Option<Message>,
}

impl From<Found> for Present {
    fn from(found: Found) -> Self {
        let view = match &found {
            Found::There(stored) => Some(stored.view()),
            Found::Gone { .. } => None,
        };
        Self { found, view }
    }
}

impl Present {
    fn is_hidden_from(&self, viewer: &UserId) -> bool {
        matches!(&self.found, Found::There(stored) if stored.is_hidden_from(viewer))
    }
}

/// What one person of the audience is told. `present` is the message as it is now, if it is about one: what was sent
/// and is gone by now is not told any more.
pub fn event_for(told: &Told, present: Option<&Present>, viewer: &UserId, now: Timestamp) -> Option<ServerEvent> {
    match told {
        Told::Sent { .. } => {
            let view = present.filter(|present| !present.is_hidden_from(viewer))?.view.as_ref()?;
            Some(ServerEvent::New(MessageAnswer { message: rules::message_for(view, viewer) }))
        }
        // A change of a message that was not told yet is told with it.
        Told::Happened(placed) => happened(&placed.change, present?, viewer),
        Told::Settled(settled) => Some(match settled.outcome {
            Outcome::Persisted => ServerEvent::Delivered(wire::MessageDelivered {
                conversation_id: settled.conversation_id,
                message_id: settled.message_id,
                at: settled.timestamp,
            }),
            Outcome::Failed { .. } => ServerEvent::Deleted(MessageDeleted {
                conversation_id: settled.conversation_id,
                message_id: settled.message_id,
                mode: DeleteMode::Hard,
            }),
        }),
        Told::Changed(changed) => {
            let conversation = match rules::conversation_for(&changed.conversation, viewer, now) {
                Some(conversation) => conversation,
                None if changed.subject.as_ref() == Some(viewer) => {
                    rules::conversation_for_removed(&changed.conversation)
                }
                None => return None,
            };
            Some(ServerEvent::ConversationUpdated(wire::ConversationUpdated { change: changed.change, conversation }))
        }
    }
}

fn happened(change: &MessageChange, present: &Present, viewer: &UserId) -> Option<ServerEvent> {
    let MessageChange { conversation_id, message_id, .. } = *change;
    if present.is_hidden_from(viewer) && change.what != Change::HiddenForMe {
        return None;
    }
    let deleted = |mode| Some(ServerEvent::Deleted(MessageDeleted { conversation_id, message_id, mode }));
    // Nothing of a tombstone changes any more.
    let view = || present.view.as_ref().filter(|view| view.deleted.is_none());
    match &change.what {
        Change::DeletedSoft => deleted(DeleteMode::Soft),
        Change::DeletedHard { .. } => deleted(DeleteMode::Hard),
        Change::HiddenForMe => deleted(DeleteMode::ForMe),
        Change::ReactionAdded { .. } | Change::ReactionRemoved { .. } => {
            let reactions = view()?.reactions.clone();
            Some(ServerEvent::Reaction(MessageReaction { conversation_id, message_id, reactions }))
        }
        Change::Edited { .. } | Change::Forwarded { .. } | Change::MediaChecked { .. } => {
            Some(ServerEvent::Edited(MessageAnswer { message: rules::message_for(view()?, viewer) }))
        }
    }
}

/// What the sender is told when its message cannot be stored, for good.
pub fn persistence_failed() -> WireError {
    WireError {
        retryable: false,
        ..WireError::new(ErrorCode::Internal, "the message could not be stored and was withdrawn")
    }
}

/// The fan-out of one node.
pub struct FanOut {
    /// Where records come from.
    pub log: Arc<dyn EventLog>,
    /// Who is in a conversation.
    pub conversations: Arc<Conversations>,
    /// The messages as they are now.
    pub messages: Arc<Messages>,
    /// Who is connected here.
    pub sessions: Arc<Sessions>,
    /// What senders are told.
    pub acknowledgments: Arc<Acknowledgments>,
    /// What is delivered and not persisted.
    pub tail: Arc<Tail>,
    /// Business time.
    pub clock: Clock,
    /// The recorder's probe.
    pub probe: Probe,
    /// The node ends.
    pub stop: CancellationToken,
}

/// Lets go of changes in the overlay that the store has, until the node ends.
pub async fn settle_changes(log: Arc<dyn EventLog>, tail: Arc<Tail>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(SETTLE_INTERVAL)).await.is_some() {
        if tail.pending_changes() == 0 {
            continue;
        }
        for topic in [Topic::MessageEdited, Topic::MessageDeleted] {
            match log.committed(message_persistence::GROUP, topic).await {
                Ok(committed) => tail.settle_changes(&committed),
                // The overlay keeps them; the next round asks again.
                Err(error) => tracing::debug!(%error, "it is not known how far the store has come"),
            }
        }
    }
}

impl FanOut {
    /// Runs until the node ends. Says on `caught_up` when it has read everything that was in the log at its start:
    /// from then on the node knows what is delivered and not persisted.
    pub async fn run(self, caught_up: oneshot::Sender<()>) {
        let told_versions = Cache::new(TOLD_MAX);
        let mut caught_up = Some(caught_up);
        let mut next: Option<Vec<Position>> = None;
        let mut backoff = Backoff::new(self.stop.clone());
        while !self.stop.is_cancelled() {
            if let Err(error) = self.follow(&mut next, &mut caught_up, &mut backoff, &told_versions).await {
                tracing::warn!(%error, "fan-out reads the log again");
                if !backoff.wait().await {
                    return;
                }
            }
        }
    }

    /// Where a starting node reads from: messages from where persistence stands, so that what is delivered and not
    /// persisted is found; conversations from now.
    async fn start(&self) -> Result<Vec<Position>, LogError> {
        // Confirmations first: one that is written after this is read again later, never missed.
        let confirmations = self.log.end(Topic::MessageDelivered).await?;
        let mut start = self.log.end(Topic::ConversationUpdated).await?;
        for topic in message_persistence::TOPICS {
            start.extend(self.log.committed(message_persistence::GROUP, *topic).await?);
        }
        start.extend(
            confirmations
                .into_iter()
                .map(|end| Position { offset: end.offset.saturating_sub(CONFIRMATIONS_LOOK_BACK), ..end }),
        );
        Ok(start)
    }

    async fn ends(&self) -> Result<Vec<Position>, LogError> {
        let mut ends = Vec::new();
        for topic in FAN_OUT_TOPICS {
            ends.extend(self.log.end(topic).await?);
        }
        Ok(ends)
    }

    /// `Ok` when the node ends.
    async fn follow(
        &self,
        next: &mut Option<Vec<Position>>,
        caught_up: &mut Option<oneshot::Sender<()>>,
        backoff: &mut Backoff,
        told_versions: &Cache<ConversationId, u64>,
    ) -> Result<(), LogError> {
        let mut positions = match next.clone() {
            Some(positions) => positions,
            None => self.start().await?,
        };
        let at_start = self.ends().await?;
        let mut reader = self.log.tail(&positions).await?;
        for position in &positions {
            self.tail.reach(*position);
        }
        let mut held = None;
        loop {
            let is_there = || at_start.iter().all(|end| positions.iter().any(|p| is_at(p, end)));
            if caught_up.is_some()
                && is_there()
                && let Some(caught_up) = caught_up.take()
            {
                // Nobody waits any more when the node's start was given up.
                let (Ok(()) | Err(())) = caught_up.send(());
            }
            let records = match self.poll(reader.as_mut()).await {
                Some(records) => planted::reorder(records?, &mut held),
                None => return Ok(()),
            };
            let mut told: Vec<&Record> = records.iter().collect();
            told.sort_by_key(|record| FAN_OUT_TOPICS.iter().position(|topic| *topic == record.position.topic));
            for record in told {
                if !self.tell(record, told_versions).await {
                    return Ok(());
                }
            }
            for after in super::next_positions(&records) {
                for position in positions.iter_mut().filter(|p| p.topic_partition() == after.topic_partition()) {
                    position.offset = after.offset;
                }
            }
            *next = Some(positions.clone());
            *backoff = Backoff::new(self.stop.clone());
        }
    }

    async fn poll(&self, reader: &mut dyn Consumer) -> Option<Result<Vec<Record>, LogError>> {
        self.stop.run_until_cancelled(reader.poll(POLL_MAX, POLL_WAIT)).await
    }

    /// False when the node ends first.
    async fn tell(&self, record: &Record, told_versions: &Cache<ConversationId, u64>) -> bool {
        let next = Position { offset: record.position.offset + 1, ..record.position };
        let is_going_on = self.take_in_and_tell(record, next, told_versions).await;
        if is_going_on {
            // Also where there was nothing to tell.
            self.tail.reach(next);
        }
        is_going_on
    }

    async fn take_in_and_tell(
        &self,
        record: &Record,
        next: Position,
        told_versions: &Cache<ConversationId, u64>,
    ) -> bool {
        let told = match Told::read(record) {
            Ok(told) => told,
            // The persistence consumer puts it into the dead letters; there is nothing in it to tell.
            Err(error) => {
                tracing::warn!(%error, position = ?record.position, "a record cannot be told");
                return true;
            }
        };
        let mut origin = None;
        let version = match &told {
            Told::Sent { message, sent } => {
                if !sent.is_known_new && self.tail.known(message.message_id).is_none() {
                    match self.is_repeat(message).await {
                        Some(false) => {}
                        Some(true) => return true,
                        None => return false,
                    }
                }
                let known = self.tail.insert((**message).clone());
                // Supersedes `outcome_unknown`, if that is what the sender was told.
                self.acknowledgments.delivered(message.message_id, known);
                if !self.tail.tell_once(message.message_id, message.seq) {
                    return true;
                }
                origin = Some(sent.origin.as_str());
                sent.conversation_version
            }
            Told::Happened(placed) => {
                self.tail.insert_change(record.position, (**placed).clone());
                0
            }
            Told::Settled(settled) => {
                let known = self.tail.known(settled.message_id);
                // The overlay lets go first: see `Acknowledgments::already`.
                let is_news = self.tail.settle(settled.conversation_id, settled.message_id);
                match &settled.outcome {
                    Outcome::Persisted => self.acknowledgments.persisted(settled.message_id, known),
                    Outcome::Failed { .. } => self.acknowledgments.failed(settled.message_id, &persistence_failed()),
                }
                // A record that was persisted again is confirmed again; clients have heard of it.
                if !is_news {
                    return true;
                }
                0
            }
            Told::Changed(changed) => {
                let StoredConversation { conversation_id, version, .. } = changed.conversation;
                // A cache entry that is older than this is not used from here on, also when it cannot be removed.
                self.conversations.saw(conversation_id, version);
                if let Err(error) = self.conversations.invalidate(conversation_id).await {
                    tracing::warn!(%error, %conversation_id, "the cache could not be invalidated");
                }
                // The outbox may publish an entry again.
                if told_versions.get(&conversation_id).is_some_and(|told| told >= version) {
                    return true;
                }
                told_versions.insert(conversation_id, version);
                version
            }
        };
        self.tail.reach(next);
        // Nobody here to tell: then the participants need not be known either.
        if self.sessions.count() == 0 {
            return true;
        }
        let found = match &told {
            // Straight from the overlay: nothing is read for a message that nothing happened to.
            Told::Sent { message, .. } => {
                let pending = self.tail.changes_of(message.conversation_id, Some(message.message_id));
                let sent = Found::new((**message).clone(), MessageState::default());
                Some(pending.apply(message.message_id, sent))
            }
            Told::Happened(placed) => match self.found(&placed.change).await {
                Some(found) => found,
                None => return false,
            },
            Told::Settled(_) | Told::Changed(_) => None,
        };
        let conversation = match &told {
            Told::Changed(_) => None,
            Told::Sent { .. } | Told::Happened(_) | Told::Settled(_) => {
                match self.conversation(told.conversation_id(), version).await {
                    Some(conversation) => conversation,
                    None => return false,
                }
            }
        };
        let present = found.map(Present::from);
        let recipients = self.emit(&told, present.as_ref(), conversation.as_deref(), origin);
        if let Told::Sent { message, .. } = &told {
            self.probe.stage(message.message_id, || Stage::Broadcast { recipients });
        }
        true
    }

    /// Emits to every connection of the audience but the one the message came from.
    fn emit(
        &self,
        told: &Told,
        present: Option<&Present>,
        conversation: Option<&StoredConversation>,
        origin: Option<&str>,
    ) -> u32 {
        let mut recipients = 0;
        let now = self.clock.now();
        for user in told.audience(conversation) {
            let connections = self.sessions.of(user);
            if connections.is_empty() {
                continue;
            }
            let Some(event) = event_for(told, present, user, now) else { continue };
            for connection in connections.iter().filter(|connection| Some(connection.id()) != origin) {
                connection.emit(&event);
                if planted::is(Bug::DoubleFanOut) && matches!(told, Told::Sent { .. }) {
                    connection.emit(&event);
                }
                recipients += 1;
            }
        }
        recipients
    }

    /// The message a change is about, as it is now. Asked again until the store answers; `None` when the node ends
    /// first.
    async fn found(&self, change: &MessageChange) -> Option<Option<Found>> {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.messages.find(change.conversation_id, change.message_id).await {
                Ok(found) => return Some(found),
                Err(error) => {
                    tracing::warn!(%error, "fan-out waits for the store");
                    if !backoff.wait().await {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether the store has the message at an earlier place. Asked again until the store answers; `None` when the
    /// node ends first.
    async fn is_repeat(&self, message: &Message) -> Option<bool> {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.messages.repository.find(message.message_id).await {
                Ok(stored) => return Some(stored.is_some_and(|stored| stored.seq() != message.seq)),
                Err(error) => {
                    tracing::warn!(%error, "fan-out waits for the store");
                    if !backoff.wait().await {
                        return None;
                    }
                }
            }
        }
    }

    /// The conversation at this version or newer. Asked again until the store answers; `None` when the node ends first.
    async fn conversation(&self, id: ConversationId, version: u64) -> Option<Option<Arc<StoredConversation>>> {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.conversations.load_at_least(id, version).await {
                Ok(conversation) => return Some(conversation),
                Err(error) => {
                    tracing::warn!(%error, "fan-out waits for the store");
                    if !backoff.wait().await {
                        return None;
                    }
                }
            }
        }
    }
}

fn is_at(position: &Position, end: &Position) -> bool {
    position.topic_partition() == end.topic_partition() && position.offset >= end.offset
}
