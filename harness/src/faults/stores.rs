//! Stores and a cache that can have a fault, around real ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::cache::{CacheError, CacheStats, ConversationCache, FillTicket, Lookup};
use ackscope_core::repositories::{
    ConversationCursor, ConversationRepository, CreateOutcome, InsertOutcome, MessageRepository, OutboxEntry,
    ParticipantRepository, StoreError, StoredConversation, UpdateOutcome,
};
use ackscope_core::state::{Found, PlacedChange, StoredMessage};
use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MediaId, MessageId, UserId};
use async_trait::async_trait;

use super::switch::{Pass, Switch};

/// As long as the adapter of MongoDB waits for an answer.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// As long as the adapter of Redis waits for an answer.
const CACHE_PATIENCE: Duration = Duration::from_millis(25);

/// A store behind a switch.
pub(super) struct FaultyStore<T: ?Sized> {
    pub(super) store: Arc<T>,
    pub(super) switch: Switch,
}

impl<T: ?Sized> FaultyStore<T> {
    /// Asks the store, unless the fault is against it.
    async fn ask<A>(&self, asking: impl Future<Output = Result<A, StoreError>>) -> Result<A, StoreError> {
        match self.switch.pass(STORE_PATIENCE).await {
            Pass::Done => asking.await,
            Pass::Fails(why) => Err(StoreError::Unavailable(why.to_owned())),
            Pass::AnswerLost(why) => {
                // What the store says now nobody hears.
                let (Ok(_) | Err(_)) = asking.await;
                Err(StoreError::Unavailable(why.to_owned()))
            }
        }
    }
}

#[async_trait]
impl ConversationRepository for FaultyStore<dyn ConversationRepository> {
    async fn create(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<CreateOutcome, StoreError> {
        self.ask(self.store.create(conversation, outbox)).await
    }

    async fn update(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<UpdateOutcome, StoreError> {
        self.ask(self.store.update(conversation, outbox)).await
    }

    async fn catch_up(&self, conversation: &StoredConversation) -> Result<bool, StoreError> {
        self.ask(self.store.catch_up(conversation)).await
    }

    async fn outbox_add(&self, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        self.ask(self.store.outbox_add(entries)).await
    }

    async fn find(&self, conversation_id: ConversationId) -> Result<Option<StoredConversation>, StoreError> {
        self.ask(self.store.find(conversation_id)).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        self.ask(self.store.outbox(limit)).await
    }

    async fn outbox_done(&self, outbox_ids: &[u64]) -> Result<(), StoreError> {
        self.ask(self.store.outbox_done(outbox_ids)).await
    }
}

#[async_trait]
impl ParticipantRepository for FaultyStore<dyn ParticipantRepository> {
    async fn conversations_of(
        &self,
        user_id: &UserId,
        archived: bool,
        after: Option<&ConversationCursor>,
        limit: u32,
    ) -> Result<Vec<StoredConversation>, StoreError> {
        self.ask(self.store.conversations_of(user_id, archived, after, limit)).await
    }

    async fn conversation_ids_of(&self, user_id: &UserId, limit: u32) -> Result<Vec<ConversationId>, StoreError> {
        self.ask(self.store.conversation_ids_of(user_id, limit)).await
    }
}

#[async_trait]
impl MessageRepository for FaultyStore<dyn MessageRepository> {
    async fn insert_bulk(&self, messages: &[Message]) -> Result<Vec<InsertOutcome>, StoreError> {
        self.ask(self.store.insert_bulk(messages)).await
    }

    async fn apply_bulk(&self, changes: &[PlacedChange]) -> Result<(), StoreError> {
        self.ask(self.store.apply_bulk(changes)).await
    }

    async fn find(&self, message_id: MessageId) -> Result<Option<Found>, StoreError> {
        self.ask(self.store.find(message_id)).await
    }

    async fn find_many(&self, message_ids: &[MessageId]) -> Result<HashMap<MessageId, Found>, StoreError> {
        self.ask(self.store.find_many(message_ids)).await
    }

    async fn history(
        &self,
        conversation_id: ConversationId,
        viewer: Option<&UserId>,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.ask(self.store.history(conversation_id, viewer, thread, before_seq, limit)).await
    }

    async fn carrying(&self, media_id: MediaId, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
        self.ask(self.store.carrying(media_id, limit)).await
    }
}

/// A cache behind a switch.
pub(super) struct FaultyCache {
    pub(super) cache: Arc<dyn ConversationCache>,
    pub(super) switch: Switch,
}

impl FaultyCache {
    async fn ask<A>(&self, asking: impl Future<Output = Result<A, CacheError>>) -> Result<A, CacheError> {
        match self.switch.pass(CACHE_PATIENCE).await {
            Pass::Done => asking.await,
            Pass::Fails(why) => Err(CacheError(why.to_owned())),
            Pass::AnswerLost(why) => {
                // What the cache says now nobody hears.
                let (Ok(_) | Err(_)) = asking.await;
                Err(CacheError(why.to_owned()))
            }
        }
    }
}

#[async_trait]
impl ConversationCache for FaultyCache {
    async fn get(&self, conversation_id: ConversationId) -> Result<Lookup, CacheError> {
        self.ask(self.cache.get(conversation_id)).await
    }

    async fn remaining(&self, conversation_id: ConversationId) -> Result<Option<Duration>, CacheError> {
        self.ask(self.cache.remaining(conversation_id)).await
    }

    async fn fill(&self, ticket: FillTicket, conversation: Arc<StoredConversation>) -> Result<bool, CacheError> {
        self.ask(self.cache.fill(ticket, conversation)).await
    }

    async fn invalidate(&self, conversation_id: ConversationId) -> Result<(), CacheError> {
        self.ask(self.cache.invalidate(conversation_id)).await
    }

    fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}
