//! A log and a store that fail on command, around real ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackscope_core::log::{
    Consumer, EventLog, LogError, NewRecord, Position, PublishError, Publishing, Record, Topic, TopicPartition,
};
use ackscope_core::repositories::{InsertOutcome, MessageRepository, StoreError};
use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MessageId};
use async_trait::async_trait;
use std::sync::Mutex;

/// What happens to one publish on `message.sent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFault {
    /// Refused; nothing is written.
    Unavailable,
    /// Written, and the confirmation never comes.
    WrittenAndSilent,
    /// Not written, and nobody says so.
    LostAndSilent,
}

/// An event log whose publishes of messages fail one after the other as told.
pub struct FaultyLog {
    log: Arc<dyn EventLog>,
    faults: Mutex<VecDeque<PublishFault>>,
}

impl FaultyLog {
    /// Around a real one; nothing fails yet.
    pub fn new(log: Arc<dyn EventLog>) -> Arc<Self> {
        Arc::new(Self { log, faults: Mutex::default() })
    }

    /// The next publishes on `message.sent` fail like this, in order.
    pub fn fail_next(&self, faults: &[PublishFault]) {
        self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(faults);
    }

    fn fault(&self, topic: Topic) -> Option<PublishFault> {
        if topic != Topic::MessageSent {
            return None;
        }
        self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn publish(&self, record: NewRecord) -> Publishing {
        match self.fault(record.topic) {
            None => self.log.publish(record),
            Some(PublishFault::Unavailable) => {
                Box::pin(async { Err(PublishError::Unavailable("switched off".to_owned())) })
            }
            Some(PublishFault::LostAndSilent) => Box::pin(std::future::pending()),
            Some(PublishFault::WrittenAndSilent) => {
                let publishing = self.log.publish(record);
                Box::pin(async {
                    let _written = publishing.await;
                    std::future::pending().await
                })
            }
        }
    }

    async fn subscribe(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        self.log.subscribe(group, topics).await
    }

    async fn tail(&self, from: &[Position]) -> Result<Box<dyn Consumer>, LogError> {
        self.log.tail(from).await
    }

    async fn read(&self, partition: TopicPartition, from_offset: u64, max: usize) -> Result<Vec<Record>, LogError> {
        self.log.read(partition, from_offset, max).await
    }

    async fn end(&self, topic: Topic) -> Result<Vec<Position>, LogError> {
        self.log.end(topic).await
    }

    async fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Position>, LogError> {
        self.log.committed(group, topic).await
    }
}

/// The text of a message that [`FaultyMessages`] can never store.
pub const POISON: &str = "this cannot be stored";

/// A store of messages that can be switched off, and that never takes a message with the text [`POISON`].
pub struct FaultyMessages {
    messages: Arc<dyn MessageRepository>,
    is_off: AtomicBool,
}

impl FaultyMessages {
    /// Around a real one, switched on.
    pub fn new(messages: Arc<dyn MessageRepository>) -> Arc<Self> {
        Arc::new(Self { messages, is_off: AtomicBool::new(false) })
    }

    /// Writes fail from now on, as if the persistence consumer could not reach its store; reads go on.
    pub fn switch_off(&self) {
        self.is_off.store(true, Ordering::Relaxed);
    }

    /// Writes work again.
    pub fn switch_on(&self) {
        self.is_off.store(false, Ordering::Relaxed);
    }
}

#[async_trait]
impl MessageRepository for FaultyMessages {
    async fn insert_bulk(&self, messages: &[Message]) -> Result<Vec<InsertOutcome>, StoreError> {
        if self.is_off.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("switched off".to_owned()));
        }
        if messages.iter().any(|message| message.text.as_deref() == Some(POISON)) {
            return Err(StoreError::Damaged("it holds the text that cannot be stored".to_owned()));
        }
        self.messages.insert_bulk(messages).await
    }

    async fn find(&self, message_id: MessageId) -> Result<Option<Message>, StoreError> {
        self.messages.find(message_id).await
    }

    async fn history(
        &self,
        conversation_id: ConversationId,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        self.messages.history(conversation_id, thread, before_seq, limit).await
    }
}

/// A deadline for sends that a log which says nothing runs into at once.
pub const SHORT_DEADLINE: Duration = Duration::from_millis(300);
