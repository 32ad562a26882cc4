//! The conversation service: reads through the cache, changes through the store (S1.2, S1.4).

use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::error::WireError;
use ackscope_protocol::text::Cursor;
use ackscope_protocol::trace::PermissionSource;
use ackscope_protocol::wire::{
    ConversationAnswer, ConversationChange, ConversationPage, CreateConversation, ListConversations,
};
use ackscope_protocol::{ConversationId, ErrorCode, UserId};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::cache::{ConversationCache, Lookup};
use crate::clock::Clock;
use crate::record::ConversationUpdated;
use crate::repositories::{
    ConversationCursor, ConversationRepository, CreateOutcome, ParticipantRepository, StoreError, StoredConversation,
};
use crate::{producers, refusal, rules};

/// How long a change waits for its record to be in the log before it answers anyway. Waiting keeps the order
/// other people see: the conversation first, then its messages.
const OUTBOX_PATIENCE: Duration = Duration::from_millis(250);

/// The conversation service.
pub struct Conversations {
    repository: Arc<dyn ConversationRepository>,
    participants: Arc<dyn ParticipantRepository>,
    cache: Arc<dyn ConversationCache>,
    clock: Clock,
    outbox_written: Arc<Notify>,
    outbox_published: Arc<Notify>,
}

impl Conversations {
    /// A service on these repositories. The two signals connect it to the outbox relay.
    pub fn new(
        repository: Arc<dyn ConversationRepository>,
        participants: Arc<dyn ParticipantRepository>,
        cache: Arc<dyn ConversationCache>,
        clock: Clock,
        outbox_written: Arc<Notify>,
        outbox_published: Arc<Notify>,
    ) -> Self {
        Self { repository, participants, cache, clock, outbox_written, outbox_published }
    }

    /// The conversation with everybody in it, from the cache or else the store.
    pub async fn load(
        &self,
        conversation_id: ConversationId,
    ) -> Result<(Option<Arc<StoredConversation>>, PermissionSource), StoreError> {
        let ticket = match self.cache.get(conversation_id).await {
            Ok(Lookup::Hit(conversation)) => return Ok((Some(conversation), PermissionSource::Cache)),
            Ok(Lookup::Miss(ticket)) => Some(ticket),
            // Without its cache the service is slower, not different.
            Err(error) => {
                tracing::warn!(%error, "the cache failed, asking the store");
                None
            }
        };
        let Some(conversation) = self.repository.find(conversation_id).await?.map(Arc::new) else {
            return Ok((None, PermissionSource::Store));
        };
        if let Some(ticket) = ticket
            && let Err(error) = self.cache.fill(ticket, Arc::clone(&conversation)).await
        {
            tracing::warn!(%error, "the cache could not be filled");
        }
        Ok((Some(conversation), PermissionSource::Store))
    }

    /// The conversation at `version` or newer: an older cache entry is thrown away and the store is asked.
    pub async fn load_at_least(
        &self,
        conversation_id: ConversationId,
        version: u64,
    ) -> Result<Option<Arc<StoredConversation>>, StoreError> {
        let (conversation, source) = self.load(conversation_id).await?;
        let is_old = conversation.as_ref().is_none_or(|conversation| conversation.version < version);
        if source == PermissionSource::Store || !is_old {
            return Ok(conversation);
        }
        self.invalidate(conversation_id).await;
        Ok(self.load(conversation_id).await?.0)
    }

    /// Removes the cache entry, so that the next reader asks the store.
    pub async fn invalidate(&self, conversation_id: ConversationId) {
        if let Err(error) = self.cache.invalidate(conversation_id).await {
            tracing::warn!(%error, %conversation_id, "the cache could not be invalidated");
        }
    }

    /// `conversation:create`.
    pub async fn create(&self, caller: &UserId, request: &CreateConversation) -> Result<ConversationAnswer, WireError> {
        let now = self.clock.now();
        let new_id = ConversationId::from_uuid(Uuid::new_v4());
        let conversation = rules::new_conversation(caller, request, new_id, now)?;
        let change = ConversationUpdated { change: ConversationChange::Created, conversation };
        let entry = producers::outbox_entry(&change, now).map_err(|error| {
            tracing::error!(%error, "a conversation cannot be written");
            WireError::new(ErrorCode::Internal, "the conversation cannot be written")
        })?;
        let conversation = change.conversation;

        // Listens before the entry is written: the relay may be faster than this task.
        let published = self.outbox_published.notified();
        let outcome = self.repository.create(&conversation, std::slice::from_ref(&entry)).await;
        let conversation = match outcome.map_err(|error| refusal::store(&error))? {
            CreateOutcome::Exists(existing) => existing,
            CreateOutcome::Created => {
                self.invalidate(conversation.conversation_id).await;
                self.outbox_written.notify_one();
                if tokio::time::timeout(OUTBOX_PATIENCE, published).await.is_err() {
                    tracing::warn!("the log is slow: a conversation answers before its record is published");
                }
                conversation
            }
        };
        // `Exists` only happens to a direct conversation, and the caller is one of its two people.
        let conversation = rules::conversation_for(&conversation, caller).ok_or_else(refusal::not_found)?;
        Ok(ConversationAnswer { conversation })
    }

    /// `conversation:list`.
    pub async fn list(&self, caller: &UserId, request: &ListConversations) -> Result<ConversationPage, WireError> {
        let limit = request.limit.unwrap_or_default().get();
        let after = request.cursor.as_ref().map(read_cursor).transpose()?;
        // One more than asked for says whether there is a next page.
        let mut stored = self
            .participants
            .conversations_of(caller, request.archived, after.as_ref(), limit + 1)
            .await
            .map_err(|error| refusal::store(&error))?;
        let more = stored.len() > limit as usize;
        stored.truncate(limit as usize);
        let next_cursor = stored.last().filter(|_| more).map(write_cursor).transpose()?;
        let conversations =
            stored.iter().filter_map(|conversation| rules::conversation_for(conversation, caller)).collect();
        Ok(ConversationPage { conversations, next_cursor })
    }
}

/// A cursor is `<milliseconds>_<conversation id>`; to a client it is opaque.
fn write_cursor(last: &StoredConversation) -> Result<Cursor, WireError> {
    Cursor::new(format!("{}_{}", last.created_at.as_millis(), last.conversation_id))
        .map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))
}

fn read_cursor(cursor: &Cursor) -> Result<ConversationCursor, WireError> {
    let parse = || {
        let (millis, id) = cursor.split_once('_')?;
        let created_at = ackscope_protocol::Timestamp::from_millis(millis.parse().ok()?);
        Some(ConversationCursor { created_at, conversation_id: id.parse().ok()? })
    };
    parse().ok_or_else(|| WireError::new(ErrorCode::InvalidPayload, "field `cursor`: not a cursor of this list"))
}
