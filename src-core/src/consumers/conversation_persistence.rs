//! The conversation persistence consumer: `conversation.updated` → the store and the cache (S1.6).
//!
//! The service that made the change wrote it to its store already. This consumer makes every store and cache
//! agree with the log, whoever wrote the record, and can be repeated at will.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{POLL_MAX, POLL_WAIT, next_positions};
use crate::clock::Clock;
use crate::conversations::Conversations;
use crate::log::{Consumer, EventLog, LogError, Record, Topic};
use crate::producers::{Backoff, dead_letter, publish_all};
use crate::record::{self, ConversationUpdated};
use crate::repositories::{ConversationRepository, CreateOutcome, StoreError};

/// The consumer group.
pub const GROUP: &str = "conversation-persistence";

/// The conversation persistence consumer.
pub struct ConversationPersistence {
    /// Where records come from.
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

impl ConversationPersistence {
    /// Runs until the node ends. A log or store that does not answer is tried again.
    pub async fn run(self) {
        let mut backoff = Backoff::new(self.stop.clone());
        while !self.stop.is_cancelled() {
            let result = match self.log.subscribe(GROUP, &[Topic::ConversationUpdated]).await {
                Ok(mut consumer) => self.consume(consumer.as_mut()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                tracing::warn!(%error, "conversation persistence joins its group again");
                if !backoff.wait().await {
                    return;
                }
            }
        }
    }

    async fn consume(&self, consumer: &mut dyn Consumer) -> Result<(), LogError> {
        loop {
            let Some(records) = self.stop.run_until_cancelled(consumer.poll(POLL_MAX, POLL_WAIT)).await else {
                return Ok(());
            };
            let records = records?;
            for record in &records {
                if !self.apply(record).await {
                    return Ok(());
                }
            }
            match consumer.commit(&next_positions(&records)).await {
                Ok(()) | Err(LogError::Revoked(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// False when the node ends first.
    async fn apply(&self, record: &Record) -> bool {
        let conversation = match record::decode::<ConversationUpdated>(record) {
            Ok(envelope) => envelope.data.conversation,
            Err(error) => return self.bury(record, &error.to_string()).await,
        };
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.repository.create(&conversation, &[]).await {
                Ok(CreateOutcome::Exists(stored)) => {
                    // The store is never behind its own outbox.
                    if stored.version < conversation.version {
                        let reason =
                            format!("the store has version {}, the record {}", stored.version, conversation.version);
                        return self.bury(record, &reason).await;
                    }
                    break;
                }
                Ok(CreateOutcome::Created) => break,
                Err(StoreError::Damaged(reason)) => return self.bury(record, &reason).await,
                Err(error) => {
                    tracing::warn!(%error, "the store did not take a conversation, trying again");
                    if !backoff.wait().await {
                        return false;
                    }
                }
            }
        }
        self.conversations.invalidate(conversation.conversation_id).await;
        true
    }

    async fn bury(&self, record: &Record, reason: &str) -> bool {
        tracing::error!(reason, position = ?record.position, "a record goes to the dead letters");
        publish_all(self.log.as_ref(), vec![dead_letter(record, reason, self.clock.now())], &self.stop).await
    }
}
