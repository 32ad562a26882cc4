//! Fan-out: this node's own reading of the log, told to its own sockets (S1.1, S5).
//!
//! Every node reads every partition, so everybody sees a conversation in the order of its partition, and a
//! second node needs no other bus. The `delivered` ACK does not wait for this.

use std::sync::Arc;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::{self, DeleteMode, Message, MessageAnswer, MessageDeleted, ServerEvent};
use ackscope_protocol::{ConversationId, UserId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{POLL_MAX, POLL_WAIT, message_persistence};
use crate::conversations::Conversations;
use crate::log::{Consumer, EventLog, LogError, Position, Record, Topic};
use crate::messaging::Acknowledgments;
use crate::probe::Probe;
use crate::producers::Backoff;
use crate::record::{self, ConversationUpdated, MessageDelivered, MessageSent, Outcome, RecordError};
use crate::repositories::{MessageRepository, StoredConversation};
use crate::rules;
use crate::socket::sessions::Sessions;
use crate::tail::Tail;

/// The topics clients hear of. Within one batch they are told in this order: a conversation before its
/// messages, a message before its confirmation.
pub const FAN_OUT_TOPICS: [Topic; 3] = [Topic::ConversationUpdated, Topic::MessageSent, Topic::MessageDelivered];

/// How far back of the end of `message.delivered` a starting node reads, for each partition: a confirmation may
/// stand shortly before the end while its message is not yet committed as persisted.
const CONFIRMATIONS_LOOK_BACK: u64 = 10_000;

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
            Topic::MessageDelivered => Ok(Self::Settled(Box::new(record::decode(record)?.data))),
            Topic::ConversationUpdated => Ok(Self::Changed(Box::new(record::decode(record)?.data))),
            other => Err(RecordError::Unreadable(format!("clients do not hear of {other}"))),
        }
    }

    /// The conversation it is about.
    pub fn conversation_id(&self) -> ConversationId {
        match self {
            Self::Sent { message, .. } => message.conversation_id,
            Self::Settled(settled) => settled.conversation_id,
            Self::Changed(changed) => changed.conversation.conversation_id,
        }
    }
}

/// What one participant of `conversation` is told.
pub fn event_for(told: &Told, conversation: &StoredConversation, viewer: &UserId) -> Option<ServerEvent> {
    match told {
        Told::Sent { message, .. } => {
            Some(ServerEvent::New(MessageAnswer { message: rules::message_for(message, viewer) }))
        }
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
            let conversation = rules::conversation_for(conversation, viewer)?;
            Some(ServerEvent::ConversationUpdated(wire::ConversationUpdated { change: changed.change, conversation }))
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
    /// Asked about messages nobody could check before they were published.
    pub messages: Arc<dyn MessageRepository>,
    /// Who is connected here.
    pub sessions: Arc<Sessions>,
    /// What senders are told.
    pub acknowledgments: Arc<Acknowledgments>,
    /// What is delivered and not persisted.
    pub tail: Arc<Tail>,
    /// The recorder's probe.
    pub probe: Probe,
    /// The node ends.
    pub stop: CancellationToken,
}

impl FanOut {
    /// Runs until the node ends. Says on `caught_up` when it has read everything that was in the log at its start:
    /// from then on the node knows what is delivered and not persisted.
    pub async fn run(self, caught_up: oneshot::Sender<()>) {
        let mut caught_up = Some(caught_up);
        let mut next: Option<Vec<Position>> = None;
        let mut backoff = Backoff::new(self.stop.clone());
        while !self.stop.is_cancelled() {
            if let Err(error) = self.follow(&mut next, &mut caught_up, &mut backoff).await {
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
        start.extend(self.log.committed(message_persistence::GROUP, Topic::MessageSent).await?);
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
    ) -> Result<(), LogError> {
        let mut positions = match next.clone() {
            Some(positions) => positions,
            None => self.start().await?,
        };
        let at_start = self.ends().await?;
        let mut reader = self.log.tail(&positions).await?;
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
                Some(records) => records?,
                None => return Ok(()),
            };
            let mut told: Vec<&Record> = records.iter().collect();
            told.sort_by_key(|record| FAN_OUT_TOPICS.iter().position(|topic| *topic == record.position.topic));
            for record in told {
                if !self.tell(record).await {
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
    async fn tell(&self, record: &Record) -> bool {
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
                self.conversations.invalidate(changed.conversation.conversation_id).await;
                changed.conversation.version
            }
        };
        // Nobody here to tell: then the participants need not be known either.
        if self.sessions.count() == 0 {
            return true;
        }
        let Some(conversation) = self.conversation(told.conversation_id(), version).await else { return false };
        let recipients = conversation.map_or(0, |conversation| self.emit(&told, &conversation, origin));
        if let Told::Sent { message, .. } = &told {
            self.probe.stage(message.message_id, || Stage::Broadcast { recipients });
        }
        true
    }

    /// Emits to every connection of every participant but the one the message came from.
    fn emit(&self, told: &Told, conversation: &StoredConversation, origin: Option<&str>) -> u32 {
        let mut recipients = 0;
        for participant in conversation.participants.iter().filter(|entry| entry.removed_at.is_none()) {
            let connections = self.sessions.of(&participant.user_id);
            if connections.is_empty() {
                continue;
            }
            let Some(event) = event_for(told, conversation, &participant.user_id) else { continue };
            for connection in connections.iter().filter(|connection| Some(connection.id()) != origin) {
                connection.emit(&event);
                recipients += 1;
            }
        }
        recipients
    }

    /// Whether the store has the message at an earlier place. Asked again until the store answers; `None` when the
    /// node ends first.
    async fn is_repeat(&self, message: &Message) -> Option<bool> {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.messages.find(message.message_id).await {
                Ok(stored) => return Some(stored.is_some_and(|stored| stored.seq != message.seq)),
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
