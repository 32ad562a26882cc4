//! Producers that are not on the path of a request: acknowledgments and the outbox (S1.6).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::Timestamp;
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::log::{EventLog, NewRecord, PublishError, Record, Topic};
use crate::record::{self, MessageDelivered};
use crate::repositories::{ConversationRepository, OutboxEntry};

/// First pause after a failure; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses that grow after each failure, cut short by the end of the node.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
    stop: CancellationToken,
}

impl Backoff {
    /// The next pause is the shortest.
    pub fn new(stop: CancellationToken) -> Self {
        Self { pause: PAUSE_MIN, stop }
    }

    /// Waits. False when the node ends.
    pub async fn wait(&mut self) -> bool {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}

/// Publishes records in order and tries again what failed, until everything is in the log. False when the
/// node ends first. A record whose outcome is unknown is published again: readers take the first.
pub async fn publish_all(log: &dyn EventLog, records: Vec<NewRecord>, stop: &CancellationToken) -> bool {
    let mut open = records;
    let mut backoff = Backoff::new(stop.clone());
    loop {
        let results = join_all(open.iter().map(|record| log.publish(record.clone()))).await;
        let mut failed = Vec::new();
        for (record, result) in open.into_iter().zip(results) {
            match result {
                Ok(_) => {}
                Err(PublishError::TooLarge { bytes, max_bytes }) => {
                    // Trying again cannot help; the dead-letter note is small enough.
                    tracing::error!(topic = %record.topic, bytes, max_bytes, "a record is too large for the log");
                }
                Err(error) => {
                    tracing::warn!(topic = %record.topic, %error, "publishing failed, trying again");
                    failed.push(record);
                }
            }
        }
        if failed.is_empty() {
            return true;
        }
        open = failed;
        if !backoff.wait().await {
            return false;
        }
    }
}

/// The acknowledgment producer: says on `message.delivered` what became of messages.
#[derive(Clone)]
pub struct AcknowledgmentProducer {
    log: Arc<dyn EventLog>,
    stop: CancellationToken,
}

impl AcknowledgmentProducer {
    /// Publishes to `log` until `stop`.
    pub fn new(log: Arc<dyn EventLog>, stop: CancellationToken) -> Self {
        Self { log, stop }
    }

    /// Publishes; its own failure is logged and retried, never fatal. False when the node ends first.
    pub async fn publish(&self, acknowledgments: &[MessageDelivered]) -> bool {
        let encode = |ack: &MessageDelivered| record::encode(ack, ack.timestamp, *ack.message_id.as_uuid());
        let records = acknowledgments
            .iter()
            .filter_map(|ack| match encode(ack) {
                Ok(record) => Some(record),
                Err(error) => {
                    tracing::error!(message_id = %ack.message_id, %error, "an acknowledgment cannot be written");
                    None
                }
            })
            .collect();
        publish_all(self.log.as_ref(), records, &self.stop).await
    }
}

/// The record a failed one becomes on the dead-letter topic: the same bytes, with where it came from and why.
pub fn dead_letter(record: &Record, reason: &str, at: Timestamp) -> NewRecord {
    let mut headers = record.headers.clone();
    headers.extend([
        ("dead-letter-reason".to_owned(), reason.to_owned()),
        ("dead-letter-topic".to_owned(), record.position.topic.to_string()),
        ("dead-letter-partition".to_owned(), record.position.partition.to_string()),
        ("dead-letter-offset".to_owned(), record.position.offset.to_string()),
        ("dead-letter-at".to_owned(), at.to_string()),
    ]);
    NewRecord { topic: Topic::DeadLetter, key: record.key.clone(), headers, value: record.value.clone() }
}

/// How many entries of the outbox are published in one go.
const OUTBOX_BATCH: u32 = 100;
/// How often the outbox is looked at when nobody says that there is something in it: another node may have
/// written an entry and died.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(1);

/// Between those who write to the outbox and the relay that publishes it.
#[derive(Debug, Default)]
pub struct Outbox {
    written: Notify,
    /// Who waits for an entry to be in the log, by the entry's `traceparent`, which no other entry has.
    waiting: Mutex<HashMap<String, oneshot::Sender<()>>>,
}

/// An entry that will be published. Dropping it stops waiting.
#[derive(Debug)]
pub struct Expected {
    outbox: Arc<Outbox>,
    name: String,
    published: oneshot::Receiver<()>,
}

impl Outbox {
    /// Listens for the publication of an entry that is about to be written.
    pub fn expect(self: &Arc<Self>, entry: &OutboxEntry) -> Expected {
        let name = name_of(entry);
        let (sender, published) = oneshot::channel();
        self.waiting.lock().insert(name.clone(), sender);
        Expected { outbox: Arc::clone(self), name, published }
    }

    /// There is something in the outbox.
    pub fn wrote(&self) {
        self.written.notify_one();
    }

    fn published(&self, names: &[String]) {
        let mut waiting = self.waiting.lock();
        for name in names {
            if let Some(sender) = waiting.remove(name) {
                // Nobody waits any more.
                let (Ok(()) | Err(())) = sender.send(());
            }
        }
    }
}

impl Expected {
    /// Waits at most this long; false when it is not published by then.
    pub async fn within(mut self, limit: Duration) -> bool {
        matches!(tokio::time::timeout(limit, &mut self.published).await, Ok(Ok(())))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.outbox.waiting.lock().remove(&self.name);
    }
}

fn name_of(entry: &OutboxEntry) -> String {
    let header = entry.headers.iter().find(|(name, _)| name == record::TRACEPARENT);
    header.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// Publishes what transactions left in the outbox, in order.
pub struct OutboxRelay {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Where the outbox is.
    pub conversations: Arc<dyn ConversationRepository>,
    /// Who writes to it and waits for it.
    pub outbox: Arc<Outbox>,
    /// The node ends.
    pub stop: CancellationToken,
}

impl OutboxRelay {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.conversations.outbox(OUTBOX_BATCH).await {
                Ok(entries) if entries.is_empty() => {
                    backoff = Backoff::new(self.stop.clone());
                    let news = tokio::time::timeout(OUTBOX_INTERVAL, self.outbox.written.notified());
                    if self.stop.run_until_cancelled(news).await.is_none() {
                        return;
                    }
                }
                Ok(entries) => {
                    let outbox_ids: Vec<u64> = entries.iter().map(|entry| entry.outbox_id).collect();
                    let names: Vec<String> = entries.iter().map(name_of).collect();
                    if !self.publish(entries).await {
                        return;
                    }
                    self.outbox.published(&names);
                    // When this fails the entries are published again: readers take the newest version.
                    if let Err(error) = self.conversations.outbox_done(&outbox_ids).await {
                        tracing::warn!(%error, "the outbox could not be cleared, its records will come again");
                        if !backoff.wait().await {
                            return;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the outbox could not be read, trying again");
                    if !backoff.wait().await {
                        return;
                    }
                }
            }
        }
    }

    /// Publishes entries; those with one key one after the other, so that a failure does not change their order.
    /// False when the node ends first.
    async fn publish(&self, entries: Vec<OutboxEntry>) -> bool {
        let mut by_key: Vec<Vec<NewRecord>> = Vec::new();
        for entry in entries {
            let record = record_of(entry);
            match by_key.iter_mut().find(|records| records.first().is_some_and(|first| first.key == record.key)) {
                Some(records) => records.push(record),
                None => by_key.push(vec![record]),
            }
        }
        let one_key = |records: Vec<NewRecord>| async {
            for record in records {
                if !publish_all(self.log.as_ref(), vec![record], &self.stop).await {
                    return false;
                }
            }
            true
        };
        join_all(by_key.into_iter().map(one_key)).await.into_iter().all(|published| published)
    }
}

fn record_of(entry: OutboxEntry) -> NewRecord {
    NewRecord { topic: entry.topic, key: entry.key, headers: entry.headers, value: Bytes::from(entry.value) }
}

/// An outbox entry that carries a payload.
pub fn outbox_entry<T: record::Payload>(
    payload: &T,
    at: Timestamp,
    trace_id: Uuid,
) -> Result<OutboxEntry, record::RecordError> {
    let record = record::encode(payload, at, trace_id)?;
    Ok(OutboxEntry {
        outbox_id: 0,
        topic: record.topic,
        key: record.key,
        headers: record.headers,
        value: record.value.to_vec(),
    })
}
