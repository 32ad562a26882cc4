//! A log, stores and a cache that fail on command, around real ones.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackscope_core::cache::{CacheError, CacheStats, ConversationCache, FillTicket, Lookup};
use ackscope_core::log::{
    Consumer, EventLog, LogError, NewRecord, Position, PublishError, Publishing, Record, Topic, TopicPartition,
};
use ackscope_core::repositories::{
    ConversationRepository, CreateOutcome, InsertOutcome, MessageRepository, OutboxEntry, StoreError,
    StoredConversation, UpdateOutcome,
};
use ackscope_core::state::{Found, PlacedChange, StoredMessage};
use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MediaId, MessageId, UserId};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::contract::PATIENCE;

/// What happens to one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFault {
    /// Nothing: it is published.
    None,
    /// Refused; nothing is written.
    Unavailable,
    /// Written, and the confirmation never comes.
    WrittenAndSilent,
    /// Not written, and nobody says so.
    LostAndSilent,
}

#[derive(Default)]
struct LogFaults {
    next: HashMap<Topic, VecDeque<PublishFault>>,
    refused: HashSet<Topic>,
}

/// An event log whose publishes fail as told, and whose consumers cannot commit when told so.
pub struct FaultyLog {
    log: Arc<dyn EventLog>,
    faults: Mutex<LogFaults>,
    commits_fail: Arc<AtomicBool>,
}

impl FaultyLog {
    /// Around a real one; nothing fails yet.
    pub fn new(log: Arc<dyn EventLog>) -> Arc<Self> {
        Arc::new(Self { log, faults: Mutex::default(), commits_fail: Arc::default() })
    }

    fn faults(&self) -> MutexGuard<'_, LogFaults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next publishes on `message.sent` fail like this, in order.
    pub fn fail_next(&self, faults: &[PublishFault]) {
        self.fail_next_on(Topic::MessageSent, faults);
    }

    /// The next publishes on a topic fail like this, in order.
    pub fn fail_next_on(&self, topic: Topic, faults: &[PublishFault]) {
        self.faults().next.entry(topic).or_default().extend(faults);
    }

    /// Every publish on these topics is refused from now on, once [`Self::fail_next_on`] has nothing left to say.
    pub fn refuse(&self, topics: &[Topic]) {
        self.faults().refused.extend(topics);
    }

    /// Nothing is refused any more, and commits get through.
    pub fn accept(&self) {
        self.faults().refused.clear();
        self.commits_fail.store(false, Ordering::Relaxed);
    }

    /// No commit of a consumer gets through from now on, also of one that reads already.
    pub fn fail_commits(&self) {
        self.commits_fail.store(true, Ordering::Relaxed);
    }

    fn fault(&self, topic: Topic) -> PublishFault {
        let mut faults = self.faults();
        if let Some(next) = faults.next.get_mut(&topic).and_then(VecDeque::pop_front) {
            return next;
        }
        if faults.refused.contains(&topic) { PublishFault::Unavailable } else { PublishFault::None }
    }
}

/// A consumer that may not be able to commit.
struct FaultyConsumer {
    consumer: Box<dyn Consumer>,
    commits_fail: Arc<AtomicBool>,
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn poll(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Record>, LogError> {
        self.consumer.poll(max, max_wait).await
    }

    async fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        if self.commits_fail.load(Ordering::Relaxed) {
            return Err(LogError::Unavailable("switched off".to_owned()));
        }
        self.consumer.commit(next).await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.consumer.assignment()
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn publish(&self, record: NewRecord) -> Publishing {
        match self.fault(record.topic) {
            PublishFault::None => self.log.publish(record),
            PublishFault::Unavailable => Box::pin(async { Err(PublishError::Unavailable("switched off".to_owned())) }),
            PublishFault::LostAndSilent => Box::pin(std::future::pending()),
            PublishFault::WrittenAndSilent => {
                let publishing = self.log.publish(record);
                Box::pin(async {
                    let _written = publishing.await;
                    std::future::pending().await
                })
            }
        }
    }

    async fn subscribe(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let consumer = self.log.subscribe(group, topics).await?;
        Ok(Box::new(FaultyConsumer { consumer, commits_fail: Arc::clone(&self.commits_fail) }))
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
    reads: ReadGate,
}

impl FaultyMessages {
    /// Around a real one, switched on.
    pub fn new(messages: Arc<dyn MessageRepository>) -> Arc<Self> {
        Arc::new(Self { messages, is_off: AtomicBool::new(false), reads: ReadGate::default() })
    }

    /// Where every `find` passes.
    pub fn reads(&self) -> &ReadGate {
        &self.reads
    }

    /// Writes fail from now on, as if the persistence consumer could not reach its store; reads go on.
    pub fn switch_off(&self) {
        self.is_off.store(true, Ordering::Relaxed);
    }

    /// Writes work again.
    pub fn switch_on(&self) {
        self.is_off.store(false, Ordering::Relaxed);
    }

    fn check_on(&self) -> Result<(), StoreError> {
        check_on(&self.is_off)
    }
}

#[async_trait]
impl MessageRepository for FaultyMessages {
    async fn insert_bulk(&self, messages: &[Message]) -> Result<Vec<InsertOutcome>, StoreError> {
        self.check_on()?;
        if messages.iter().any(|message| message.text.as_deref() == Some(POISON)) {
            return Err(StoreError::Damaged("it holds the text that cannot be stored".to_owned()));
        }
        self.messages.insert_bulk(messages).await
    }

    async fn apply_bulk(&self, changes: &[PlacedChange]) -> Result<(), StoreError> {
        self.check_on()?;
        self.messages.apply_bulk(changes).await
    }

    async fn find(&self, message_id: MessageId) -> Result<Option<Found>, StoreError> {
        let found = self.messages.find(message_id).await;
        self.reads.pass().await;
        found
    }

    async fn find_many(&self, message_ids: &[MessageId]) -> Result<HashMap<MessageId, Found>, StoreError> {
        self.messages.find_many(message_ids).await
    }

    async fn history(
        &self,
        conversation_id: ConversationId,
        viewer: Option<&UserId>,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.messages.history(conversation_id, viewer, thread, before_seq, limit).await
    }

    async fn carrying(&self, media_id: MediaId, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
        self.messages.carrying(media_id, limit).await
    }
}

fn check_on(is_off: &AtomicBool) -> Result<(), StoreError> {
    if is_off.load(Ordering::Relaxed) {
        return Err(StoreError::Unavailable("switched off".to_owned()));
    }
    Ok(())
}

/// Whether readers pass a [`ReadGate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// The next reader is held.
    Closing,
    /// A reader is held; the others pass. The number tells one that is held from the next one.
    Held(u64),
}

/// Holds one reader between reading and answering, so that what it has read becomes old.
pub struct ReadGate {
    gate: watch::Sender<Gate>,
    held: AtomicU64,
}

impl Default for ReadGate {
    fn default() -> Self {
        Self { gate: watch::Sender::new(Gate::Open), held: AtomicU64::new(0) }
    }
}

impl ReadGate {
    /// The next reader reads, and then waits with what it has read until [`Self::release`]. Those after it pass.
    pub fn hold(&self) {
        self.gate.send_replace(Gate::Closing);
    }

    /// A reader that is held goes on, and no further one is held.
    pub fn release(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Waits until a reader is being held. False: none came within the test's patience.
    pub async fn is_held(&self) -> bool {
        let mut gate = self.gate.subscribe();
        let held = gate.wait_for(|gate| matches!(gate, Gate::Held(_)));
        matches!(tokio::time::timeout(PATIENCE, held).await, Ok(Ok(_)))
    }

    /// Waits here if it is the reader that is to be held.
    async fn pass(&self) {
        let mut mine = None;
        self.gate.send_if_modified(|gate| {
            let is_held = *gate == Gate::Closing;
            if is_held {
                let held = Gate::Held(self.held.fetch_add(1, Ordering::Relaxed));
                (*gate, mine) = (held, Some(held));
            }
            is_held
        });
        if let Some(mine) = mine {
            // The sender lives as long as this, so there is nothing else to come of it.
            let (Ok(_) | Err(_)) = self.gate.subscribe().wait_for(|gate| *gate != mine).await;
        }
    }
}

/// A store of conversations whose writes can be switched off, and whose readers can be held between reading and
/// answering, so that what they have read becomes old.
pub struct FaultyConversations {
    conversations: Arc<dyn ConversationRepository>,
    is_off: AtomicBool,
    reads: ReadGate,
}

impl FaultyConversations {
    /// Around a real one, switched on and open.
    pub fn new(conversations: Arc<dyn ConversationRepository>) -> Arc<Self> {
        Arc::new(Self { conversations, is_off: AtomicBool::new(false), reads: ReadGate::default() })
    }

    /// Writes fail from now on; reads go on.
    pub fn switch_off(&self) {
        self.is_off.store(true, Ordering::Relaxed);
    }

    /// Writes work again.
    pub fn switch_on(&self) {
        self.is_off.store(false, Ordering::Relaxed);
    }

    /// Where every `find` passes.
    pub fn reads(&self) -> &ReadGate {
        &self.reads
    }

    fn check_on(&self) -> Result<(), StoreError> {
        check_on(&self.is_off)
    }
}

#[async_trait]
impl ConversationRepository for FaultyConversations {
    async fn create(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<CreateOutcome, StoreError> {
        self.check_on()?;
        self.conversations.create(conversation, outbox).await
    }

    async fn update(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<UpdateOutcome, StoreError> {
        self.check_on()?;
        self.conversations.update(conversation, outbox).await
    }

    async fn catch_up(&self, conversation: &StoredConversation) -> Result<bool, StoreError> {
        self.check_on()?;
        self.conversations.catch_up(conversation).await
    }

    async fn outbox_add(&self, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        self.check_on()?;
        self.conversations.outbox_add(entries).await
    }

    async fn find(&self, conversation_id: ConversationId) -> Result<Option<StoredConversation>, StoreError> {
        let found = self.conversations.find(conversation_id).await;
        self.reads.pass().await;
        found
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        self.conversations.outbox(limit).await
    }

    async fn outbox_done(&self, outbox_ids: &[u64]) -> Result<(), StoreError> {
        self.check_on()?;
        self.conversations.outbox_done(outbox_ids).await
    }
}

/// A cache that cannot be invalidated when told so.
pub struct FaultyCache {
    cache: Arc<dyn ConversationCache>,
    failing: AtomicU64,
}

impl FaultyCache {
    /// Around a real one; nothing fails yet.
    pub fn new(cache: Arc<dyn ConversationCache>) -> Arc<Self> {
        Arc::new(Self { cache, failing: AtomicU64::new(0) })
    }

    /// The next invalidations fail, so many of them; [`u64::MAX`] is for good.
    pub fn fail_invalidations(&self, count: u64) {
        self.failing.store(count, Ordering::Relaxed);
    }
}

#[async_trait]
impl ConversationCache for FaultyCache {
    async fn get(&self, conversation_id: ConversationId) -> Result<Lookup, CacheError> {
        self.cache.get(conversation_id).await
    }

    async fn remaining(&self, conversation_id: ConversationId) -> Result<Option<Duration>, CacheError> {
        self.cache.remaining(conversation_id).await
    }

    async fn fill(&self, ticket: FillTicket, conversation: Arc<StoredConversation>) -> Result<bool, CacheError> {
        self.cache.fill(ticket, conversation).await
    }

    async fn invalidate(&self, conversation_id: ConversationId) -> Result<(), CacheError> {
        let one_less = |failing: u64| match failing {
            0 => None,
            u64::MAX => Some(u64::MAX),
            failing => Some(failing - 1),
        };
        match self.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(CacheError("switched off".to_owned())),
            Err(_) => self.cache.invalidate(conversation_id).await,
        }
    }

    fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

/// A deadline for sends that a log which says nothing runs into at once.
pub const SHORT_DEADLINE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::embedded::EmbeddedPlace;
    use crate::contract::repositories::StorePlace as _;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_reader_is_held_with_what_it_has_read() {
        let place = <EmbeddedPlace as crate::contract::repositories::StorePlace>::fresh().await;
        let conversations = FaultyConversations::new(place.open().await.conversations);
        let conversation_id = ConversationId::derive_direct(&"ana".parse().unwrap(), &"ben".parse().unwrap());
        let stored = StoredConversation {
            conversation_id,
            kind: ackscope_protocol::wire::ConversationKind::Direct,
            title: None,
            created_at: ackscope_protocol::Timestamp::from_millis(0),
            version: 1,
            participants: Vec::new(),
        };
        for _ in 0..2 {
            conversations.reads().hold();
            let reader = Arc::clone(&conversations);
            let reader = tokio::spawn(async move { reader.find(conversation_id).await });
            assert!(conversations.reads().is_held().await);
            let before = conversations.find(conversation_id).await.unwrap();
            let version = before.as_ref().map_or(1, |before| before.version + 1);
            let changed = conversations.catch_up(&StoredConversation { version, ..stored.clone() }).await;
            assert_eq!(changed, Ok(true));
            assert!(!reader.is_finished());
            conversations.reads().release();
            assert_eq!(reader.await.unwrap(), Ok(before));
        }
        conversations.switch_off();
        assert!(conversations.catch_up(&StoredConversation { version: 9, ..stored }).await.is_err());
        assert!(conversations.find(conversation_id).await.is_ok());
    }
}
