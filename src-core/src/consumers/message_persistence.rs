//! The message persistence consumer: `message.sent` → the store → `message.delivered` (S1.6).
//!
//! Offsets are committed after the write and after the acknowledgments are in the log, so a crash between any two
//! of the three repeats records and loses none; the store knows a repeated message by its id.

use std::sync::Arc;

use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::Message;
use tokio_util::sync::CancellationToken;

use super::{POLL_MAX, POLL_WAIT, next_positions};
use crate::clock::Clock;
use crate::log::{Consumer, EventLog, LogError, NewRecord, Record, Topic};
use crate::probe::Probe;
use crate::producers::{AcknowledgmentProducer, Backoff, dead_letter, publish_all};
use crate::record::{self, MessageDelivered, MessageSent, Outcome};
use crate::repositories::{InsertOutcome, MessageRepository, StoreError};

/// The consumer group.
pub const GROUP: &str = "message-persistence";

/// The message persistence consumer.
pub struct MessagePersistence {
    /// Where records come from.
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

impl MessagePersistence {
    /// Runs until the node ends. A log or store that does not answer is tried again.
    pub async fn run(self) {
        let mut backoff = Backoff::new(self.stop.clone());
        while !self.stop.is_cancelled() {
            let result = match self.log.subscribe(GROUP, &[Topic::MessageSent]).await {
                Ok(mut consumer) => self.consume(consumer.as_mut(), &mut backoff).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                tracing::warn!(%error, "message persistence joins its group again");
                if !backoff.wait().await {
                    return;
                }
            }
        }
    }

    /// `Ok` when the node ends.
    async fn consume(&self, consumer: &mut dyn Consumer, backoff: &mut Backoff) -> Result<(), LogError> {
        loop {
            let Some(records) = self.stop.run_until_cancelled(consumer.poll(POLL_MAX, POLL_WAIT)).await else {
                return Ok(());
            };
            let records = records?;
            if records.is_empty() {
                continue;
            }
            if !self.persist(&records).await {
                return Ok(());
            }
            match consumer.commit(&next_positions(&records)).await {
                // Another member has the partition now and does these records again: they change nothing.
                Ok(()) | Err(LogError::Revoked(_)) => *backoff = Backoff::new(self.stop.clone()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Stores a batch and says what became of it. False when the node ends first; then nothing is committed.
    async fn persist(&self, records: &[Record]) -> bool {
        let mut messages = Vec::with_capacity(records.len());
        let mut dead = Vec::new();
        for record in records {
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
    records.iter().find(|record| record.key == key && record.position.offset == message.seq)
}
