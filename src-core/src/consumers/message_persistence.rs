//! The message persistence consumer: `message.sent` → the store → `message.delivered`; and what happened to messages,
//! from `message.edited` and `message.deleted`, into the same store (S1.6).
//!
//! Offsets are committed after the write and after the acknowledgments are in the log, so a crash between any two
//! of the three repeats records and loses none; the store knows a repeated message by its id.

use std::sync::Arc;

use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::Message;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::group::Work;
use crate::clock::Clock;
use crate::log::{EventLog, NewRecord, Record, Topic};
use crate::probe::Probe;
use crate::producers::{AcknowledgmentProducer, Backoff, dead_letter, publish_all};
use crate::record::{self, MessageDelivered, MessageSent, Outcome};
use crate::repositories::{InsertOutcome, MessageRepository, StoreError};
use crate::state::{MessageChange, PlacedChange};

/// The consumer group.
pub const GROUP: &str = "message-persistence";
/// What it reads.
pub const TOPICS: &[Topic] = &[Topic::MessageSent, Topic::MessageEdited, Topic::MessageDeleted];

/// Changes that are taken in in one go. A change reads before it writes, so a larger bulk would hold others up.
const CHANGES_MAX: usize = 200;

/// The message persistence consumer.
pub struct MessagePersistence {
    /// Where dead letters go.
    pub log: Arc<dyn EventLog>,
    /// Where messages go.
    pub messages: Arc<dyn MessageRepository>,
    /// Who says what became of them.
    pub acknowledgments: AcknowledgmentProducer,
    /// Business time.
    pub clock: Clock,
    /// The recorder's probe.
    pub probe: Probe,
    /// The node ends.
    pub stop: CancellationToken,
}

/// What became of one message of a bulk.
struct Stored {
    message: Message,
    result: Result<InsertOutcome, String>,
}

#[async_trait]
impl Work for MessagePersistence {
    const GROUP: &'static str = GROUP;
    const TOPICS: &'static [Topic] = TOPICS;

    /// Stores a batch and says what became of it. Messages and changes may come in any order: a change that comes
    /// before its message waits for it in the store.
    async fn work(&self, records: &[Record]) -> bool {
        let mut messages = Vec::with_capacity(records.len());
        let mut changes = Vec::new();
        let mut dead = Vec::new();
        for record in records {
            if record.position.topic != Topic::MessageSent {
                match record::decode::<MessageChange>(record) {
                    Ok(envelope) => {
                        let change = PlacedChange { offset: record.position.offset, change: envelope.data };
                        changes.push((record, change));
                    }
                    Err(error) => dead.push(self.dead(record, &error.to_string())),
                }
                continue;
            }
            match record::decode::<MessageSent>(record) {
                Ok(envelope) => {
                    let message = Message { seq: record.position.offset, ..envelope.data.message };
                    self.probe.stage(message.message_id, || Stage::Consumed {
                        group: GROUP.to_owned(),
                        partition: record.position.partition,
                        offset: record.position.offset,
                    });
                    messages.push(message);
                }
                Err(error) => dead.push(self.dead(record, &error.to_string())),
            }
        }
        if !self.apply(&changes, &mut dead).await {
            return false;
        }
        let Some(stored) = self.store(messages).await else { return false };
        let bulk = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let now = self.clock.now();
        let mut acknowledgments = Vec::with_capacity(stored.len());
        for Stored { message, result } in stored {
            let outcome = match result {
                Ok(outcome) => {
                    let inserted = outcome == InsertOutcome::Inserted;
                    self.probe.stage(message.message_id, || Stage::Persisted { inserted, bulk });
                    Outcome::Persisted
                }
                Err(reason) => {
                    self.probe.stage(message.message_id, || Stage::DeadLettered { reason: reason.clone() });
                    dead.extend(find(records, &message).map(|record| self.dead(record, &reason)));
                    Outcome::Failed { reason }
                }
            };
            // Every message has its `temp_id` in the log and in the store.
            let Some(temp_id) = message.temp_id else { continue };
            acknowledgments.push(MessageDelivered {
                message_id: message.message_id,
                conversation_id: message.conversation_id,
                sender_id: message.sender_id,
                temp_id,
                outcome,
                timestamp: now,
            });
        }
        publish_all(self.log.as_ref(), dead, &self.stop).await && self.acknowledgments.publish(&acknowledgments).await
    }
}

impl MessagePersistence {
    /// Takes changes in; while the store does not answer, again. What can never be taken in becomes a dead letter.
    /// False when the node ends first.
    async fn apply(&self, changes: &[(&Record, PlacedChange)], dead: &mut Vec<NewRecord>) -> bool {
        for bulk in changes.chunks(CHANGES_MAX) {
            let all: Vec<PlacedChange> = bulk.iter().map(|(_, change)| change.clone()).collect();
            match self.apply_until_taken(&all).await {
                None => return false,
                Some(Ok(())) => continue,
                Some(Err(reason)) => tracing::error!(reason, "a bulk holds a change that cannot be stored"),
            }
            for (record, change) in bulk {
                match self.apply_until_taken(std::slice::from_ref(change)).await {
                    None => return false,
                    Some(Ok(())) => {}
                    Some(Err(reason)) => dead.push(self.dead(record, &reason)),
                }
            }
        }
        true
    }

    /// `None` when the node ends first; the reason when the store can never take them.
    async fn apply_until_taken(&self, changes: &[PlacedChange]) -> Option<Result<(), String>> {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.messages.apply_bulk(changes).await {
                Ok(()) => return Some(Ok(())),
                Err(StoreError::Damaged(reason)) => return Some(Err(reason)),
                Err(error) => {
                    tracing::warn!(%error, "the store did not take changes, trying again");
                    if !backoff.wait().await {
                        return None;
                    }
                }
            }
        }
    }

    /// Writes the bulk; while the store does not answer, again. `None` when the node ends first.
    async fn store(&self, messages: Vec<Message>) -> Option<Vec<Stored>> {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.messages.insert_bulk(&messages).await {
                Ok(outcomes) => {
                    let results = messages.into_iter().zip(outcomes);
                    return Some(results.map(|(message, outcome)| Stored { message, result: Ok(outcome) }).collect());
                }
                Err(StoreError::Damaged(reason)) => {
                    // One of them cannot be stored, for good: find out which, and keep the others.
                    tracing::error!(reason, "a bulk holds a message that cannot be stored");
                    return self.store_one_by_one(messages).await;
                }
                Err(error @ (StoreError::Unavailable(_) | StoreError::Overloaded(_))) => {
                    tracing::warn!(%error, "the store did not take a bulk, trying again");
                    if !backoff.wait().await {
                        return None;
                    }
                }
            }
        }
    }

    async fn store_one_by_one(&self, messages: Vec<Message>) -> Option<Vec<Stored>> {
        let mut stored = Vec::with_capacity(messages.len());
        let mut backoff = Backoff::new(self.stop.clone());
        for message in messages {
            let result = loop {
                match self.messages.insert_bulk(std::slice::from_ref(&message)).await {
                    Ok(outcomes) => break Ok(outcomes.first().copied().unwrap_or(InsertOutcome::Duplicate)),
                    Err(StoreError::Damaged(reason)) => break Err(reason),
                    Err(_) if backoff.wait().await => {}
                    Err(_) => return None,
                }
            };
            stored.push(Stored { message, result });
        }
        Some(stored)
    }

    fn dead(&self, record: &Record, reason: &str) -> NewRecord {
        tracing::error!(reason, position = ?record.position, "a record goes to the dead letters");
        dead_letter(record, reason, self.clock.now())
    }
}

fn find<'a>(records: &'a [Record], message: &Message) -> Option<&'a Record> {
    let key = message.conversation_id.to_string();
    let is_it = |record: &&Record| record.position.topic == Topic::MessageSent && record.position.offset == message.seq;
    records.iter().find(|record| record.key == key && is_it(record))
}
