//! The search indexing consumer: messages, edits and deletions → the search service (S1.7).
//!
//! It stands beside the way of a message and never in it: while the search service does not answer, this group alone
//! waits, and what it missed is indexed afterwards. Operations carry versions, so they may be repeated and may arrive
//! in another order than they happened.

use std::sync::Arc;

use ackscope_protocol::MessageId;
use ackscope_protocol::trace::Stage;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::group::Work;
use crate::clients::{ClientError, IndexOperation, SearchClient};
use crate::clock::Clock;
use crate::log::{EventLog, NewRecord, Record, Topic};
use crate::planted::{self, Bug};
use crate::probe::Probe;
use crate::producers::{Backoff, dead_letter, publish_all};
use crate::record::{self, MessageDelivered, MessageSent, Outcome, RecordError};
use crate::state::{Change, MessageChange};

/// The consumer group.
pub const GROUP: &str = "search-indexing";
/// What it reads. `message.delivered` tells of messages that were withdrawn because they could not be stored.
pub const TOPICS: &[Topic] =
    &[Topic::MessageSent, Topic::MessageEdited, Topic::MessageDeleted, Topic::MessageDelivered];

/// The search indexing consumer.
pub struct SearchIndexing {
    /// Where dead letters go.
    pub log: Arc<dyn EventLog>,
    /// The search service.
    pub client: Arc<SearchClient>,
    /// Business time.
    pub clock: Clock,
    /// The recorder's probe.
    pub probe: Probe,
    /// The node ends.
    pub stop: CancellationToken,
}

#[async_trait]
impl Work for SearchIndexing {
    const GROUP: &'static str = GROUP;
    const TOPICS: &'static [Topic] = TOPICS;

    async fn work(&self, records: &[Record]) -> bool {
        // A record that does not read is put into the dead letters by the consumer that stores it.
        let operations: Vec<(&Record, IndexOperation)> =
            records.iter().filter_map(|record| Some((record, operation(record).ok()??))).collect();
        if operations.is_empty() {
            return true;
        }
        let batch: Vec<IndexOperation> = operations.iter().map(|(_, operation)| operation.clone()).collect();
        match self.apply(&batch).await {
            None => return false,
            Some(Ok(())) => {}
            // One of them is not taken: find out which, and keep the others.
            Some(Err(_)) => {
                for (record, operation) in &operations {
                    match self.apply(std::slice::from_ref(operation)).await {
                        None => return false,
                        Some(Ok(())) => {}
                        Some(Err(reason)) => {
                            let dead = self.dead(record, &reason);
                            if !publish_all(self.log.as_ref(), vec![dead], &self.stop).await {
                                return false;
                            }
                        }
                    }
                }
            }
        }
        for message_id in batch.iter().filter_map(indexed) {
            self.probe.stage(message_id, || Stage::Indexed);
        }
        true
    }
}

impl SearchIndexing {
    /// Asks until the service answers; `None` when the node ends first, the reason when the service refuses.
    async fn apply(&self, batch: &[IndexOperation]) -> Option<Result<(), String>> {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.stop.run_until_cancelled(self.client.apply(batch)).await? {
                Ok(()) => return Some(Ok(())),
                Err(ClientError::Refused { reason }) => return Some(Err(reason)),
                Err(_) if planted::is(Bug::LostSearchCatchUp) => return Some(Ok(())),
                Err(error) => {
                    tracing::debug!(%error, "indexing waits for the search service");
                    if !backoff.wait().await {
                        return None;
                    }
                }
            }
        }
    }

    fn dead(&self, record: &Record, reason: &str) -> NewRecord {
        tracing::error!(reason, position = ?record.position, "the search service refuses a record");
        dead_letter(record, &format!("the search service refuses it: {reason}"), self.clock.now())
    }
}

/// The message that an operation makes findable for the first time.
fn indexed(operation: &IndexOperation) -> Option<MessageId> {
    match operation {
        IndexOperation::Put { message_id, version: 0, .. } => Some(*message_id),
        IndexOperation::Put { .. } | IndexOperation::Remove { .. } => None,
    }
}

/// What a record means for the index. The message as it was sent is version 0, an edit is its place in its topic.
fn operation(record: &Record) -> Result<Option<IndexOperation>, RecordError> {
    match record.position.topic {
        Topic::MessageSent => {
            let message = record::decode::<MessageSent>(record)?.data.message;
            Ok(message.text.map(|text| IndexOperation::Put {
                message_id: message.message_id,
                conversation_id: message.conversation_id,
                sender_id: message.sender_id,
                text: text.into_string(),
                created_at: message.created_at,
                version: 0,
            }))
        }
        Topic::MessageDelivered => {
            let MessageDelivered { message_id, conversation_id, outcome, .. } = record::decode(record)?.data;
            let is_withdrawn = matches!(outcome, Outcome::Failed { .. });
            Ok(is_withdrawn.then_some(IndexOperation::Remove { message_id, conversation_id }))
        }
        _ => {
            let MessageChange { message_id, conversation_id, by, what, .. } = record::decode(record)?.data;
            Ok(match what {
                Change::Edited { text, created_at } => Some(IndexOperation::Put {
                    message_id,
                    conversation_id,
                    sender_id: by,
                    text: text.into_string(),
                    created_at,
                    version: record.position.offset + 1,
                }),
                Change::DeletedSoft | Change::DeletedHard { .. } => {
                    Some(IndexOperation::Remove { message_id, conversation_id })
                }
                Change::ReactionAdded { .. }
                | Change::ReactionRemoved { .. }
                | Change::Forwarded { .. }
                | Change::MediaChecked { .. }
                | Change::HiddenForMe => None,
            })
        }
    }
}
