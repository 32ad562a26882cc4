//! The three repositories: conversations, participants, messages (S1.2, S2).
//!
//! Times are business time, given by the caller. A change that touches several documents is one transaction
//! and carries the log records it causes in the same transaction (the outbox), so that neither is there
//! without the other.
//!
//! **Invariant:** nobody outside this module knows which implementation runs.

pub mod embedded;
pub mod mongodb;

use std::collections::HashMap;

use ackscope_protocol::text::Title;
use ackscope_protocol::wire::{ConversationKind, Message, Role};
use ackscope_protocol::{ConversationId, MediaId, MessageId, Timestamp, UserId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::log::Topic;
use crate::state::{Found, PlacedChange, StoredMessage};

/// A participant as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredParticipant {
    /// Who.
    pub user_id: UserId,
    /// What they may do.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
    /// Muted until then.
    pub muted_until: Option<Timestamp>,
    /// Whether they archived the conversation.
    pub archived: bool,
    /// Set for one who left or was removed: kept, so that they can be told `not_participant` (S1.8).
    pub removed_at: Option<Timestamp>,
}

/// A conversation with everybody who is or was in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredConversation {
    /// The id.
    pub conversation_id: ConversationId,
    /// The kind.
    pub kind: ConversationKind,
    /// The title, if it has one.
    pub title: Option<Title>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Grows by one with every change.
    pub version: u64,
    /// Everybody, in the order of `joined_at` and, within one moment, of the request.
    pub participants: Vec<StoredParticipant>,
}

/// A log record that a transaction causes, kept until it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the outbox; the store gives it, 0 before that.
    pub outbox_id: u64,
    /// The topic.
    pub topic: Topic,
    /// The key.
    pub key: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The envelope.
    pub value: Vec<u8>,
}

/// What creating a conversation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It is new and stored, with its outbox entries.
    Created,
    /// It was there already; nothing was changed.
    Exists(StoredConversation),
}

/// What changing a conversation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// It is stored, with its outbox entries.
    Updated,
    /// Somebody else changed it since it was read, or it is not there; nothing was changed.
    Conflict,
}

/// What inserting one message of a bulk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertOutcome {
    /// It is new.
    Inserted,
    /// A message with this id was there already; the store kept the first one.
    Duplicate,
}

/// A place in the list of a user's conversations: after this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationCursor {
    /// `created_at` of the last one seen.
    pub created_at: Timestamp,
    /// Its id, which decides within one moment.
    pub conversation_id: ConversationId,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer; whether it did anything is not known for a change, and the change may be repeated.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The store's queue is full; nothing was done.
    #[error("the store is overloaded: {0}")]
    Overloaded(String),
    /// A document does not read as what it should be, or one can never be stored, because another message has its
    /// place in the conversation (the log was replaced under the store). Nothing of a bulk was stored.
    #[error("a document is damaged: {0}")]
    Damaged(String),
}

/// Conversations, with their participants as one aggregate.
#[async_trait]
pub trait ConversationRepository: Send + Sync + 'static {
    /// Stores a conversation, its participants and the records it causes, in one transaction. An id that is
    /// there already changes nothing.
    async fn create(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<CreateOutcome, StoreError>;

    /// Replaces a conversation and its participants, and stores the records this causes, in one transaction; but
    /// only when the store holds the version before this one (`version - 1`). Kind and `created_at` never change.
    async fn update(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<UpdateOutcome, StoreError>;

    /// Makes the store hold this version, unless it has it or a newer one; false then. For a reader of the log.
    async fn catch_up(&self, conversation: &StoredConversation) -> Result<bool, StoreError>;

    /// Adds entries to the outbox, all or none.
    async fn outbox_add(&self, entries: &[OutboxEntry]) -> Result<(), StoreError>;

    /// The conversation with everybody who is or was in it.
    async fn find(&self, conversation_id: ConversationId) -> Result<Option<StoredConversation>, StoreError>;

    /// The oldest entries of the outbox, in the order they were written.
    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Removes entries that were published. Removing one that is not there is no error.
    async fn outbox_done(&self, outbox_ids: &[u64]) -> Result<(), StoreError>;
}

/// Participants, looked up from the user's side.
#[async_trait]
pub trait ParticipantRepository: Send + Sync + 'static {
    /// The conversations a user is in, newest first, then by id downwards.
    async fn conversations_of(
        &self,
        user_id: &UserId,
        archived: bool,
        after: Option<&ConversationCursor>,
        limit: u32,
    ) -> Result<Vec<StoredConversation>, StoreError>;

    /// The ids of all conversations a user is in, archived ones too, newest first; at most `limit`.
    async fn conversation_ids_of(&self, user_id: &UserId, limit: u32) -> Result<Vec<ConversationId>, StoreError>;
}

/// Messages, as they were sent and with what happened to them. Stored messages carry their `temp_id`; who may see
/// them is the service's concern.
#[async_trait]
pub trait MessageRepository: Send + Sync + 'static {
    /// Stores a bulk of messages as they were sent, in one go. One outcome for each message, in order; a message
    /// that is there already (or twice in the bulk, or was there and is gone) changes nothing.
    async fn insert_bulk(&self, messages: &[Message]) -> Result<Vec<InsertOutcome>, StoreError>;

    /// Takes changes in, in one go, by [`MessageState::apply`](crate::state::MessageState::apply). Changes of one
    /// message and topic come in the order of their offsets; one that is in already changes nothing. A change may
    /// come before its message: it waits, and joins the message when that is inserted. After a
    /// [`DeletedHard`](crate::state::Change::DeletedHard) nothing of the message's content is left in the store.
    async fn apply_bulk(&self, changes: &[PlacedChange]) -> Result<(), StoreError>;

    /// One message.
    async fn find(&self, message_id: MessageId) -> Result<Option<Found>, StoreError>;

    /// Several messages; those that are not there are absent.
    async fn find_many(&self, message_ids: &[MessageId]) -> Result<HashMap<MessageId, Found>, StoreError>;

    /// A page of a conversation, newest first: messages with `seq` below `before_seq` (absent: from the newest),
    /// of one thread if `thread` names its root (the root included), without those that are hidden from `viewer`
    /// (absent: all). Tombstones are included, messages that are gone are not.
    async fn history(
        &self,
        conversation_id: ConversationId,
        viewer: Option<&UserId>,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// Messages that carry a media item and are neither tombstones nor gone, newest first within a conversation;
    /// at most `limit`.
    async fn carrying(&self, media_id: MediaId, limit: u32) -> Result<Vec<StoredMessage>, StoreError>;
}
