//! The conversation persistence consumer: `conversation.updated` → the store and the cache (S1.6).
//!
//! The service that made the change wrote it to its store already. This consumer makes every store and cache
//! agree with the log, whoever wrote the record, and can be repeated at will.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::group::Work;
use crate::clock::Clock;
use crate::conversations::Conversations;
use crate::log::{EventLog, Record, Topic};
use crate::producers::{Backoff, dead_letter, publish_all};
use crate::record::{self, ConversationUpdated};
use crate::repositories::{ConversationRepository, StoreError};

/// The consumer group.
pub const GROUP: &str = "conversation-persistence";

/// The conversation persistence consumer.
pub struct ConversationPersistence {
    /// Where dead letters go.
    pub log: Arc<dyn EventLog>,
    /// Where conversations go.
    pub repository: Arc<dyn ConversationRepository>,
    /// Whose cache is invalidated.
    pub conversations: Arc<Conversations>,
    /// Business time.
    pub clock: Clock,
    /// The node ends.
    pub stop: CancellationToken,
}

#[async_trait]
impl Work for ConversationPersistence {
    const GROUP: &'static str = GROUP;
    const TOPICS: &'static [Topic] = &[Topic::ConversationUpdated];

    async fn work(&self, records: &[Record]) -> bool {
        for record in records {
            if !self.apply(record).await {
                return false;
            }
        }
        true
    }
}

impl ConversationPersistence {
    /// False when the node ends first.
    async fn apply(&self, record: &Record) -> bool {
        let conversation = match record::decode::<ConversationUpdated>(record) {
            Ok(envelope) => envelope.data.conversation,
            Err(error) => return self.bury(record, &error.to_string()).await,
        };
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.repository.catch_up(&conversation).await {
                Ok(_) => break,
                Err(StoreError::Damaged(reason)) => return self.bury(record, &reason).await,
                Err(error) => {
                    tracing::warn!(%error, "the store did not take a conversation, trying again");
                    if !backoff.wait().await {
                        return false;
                    }
                }
            }
        }
        // Until the cache answers: the one who made the change may have given up on it.
        while let Err(error) = self.conversations.invalidate(conversation.conversation_id).await {
            tracing::warn!(%error, "the cache could not be invalidated, trying again");
            if !backoff.wait().await {
                return false;
            }
        }
        true
    }

    async fn bury(&self, record: &Record, reason: &str) -> bool {
        tracing::error!(reason, position = ?record.position, "a record goes to the dead letters");
        publish_all(self.log.as_ref(), vec![dead_letter(record, reason, self.clock.now())], &self.stop).await
    }
}
