//! What this node knows of the end of the log: messages that are delivered and not yet persisted, and changes of
//! messages that are not in the store yet, so that the rules see them at once (S1.3); and the ids of recent messages,
//! so that a repeated record is told once.
//!
//! It is filled by this node's own publishes and by its reading of the log. Messages leave it with their
//! `message.delivered`, changes when the persistence group has committed past them. It is rebuilt from the log when
//! a node starts.
//!
//! What leaves the overlay is in the store already. So a reader takes the overlay first and the store after that; what
//! it then has twice does no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MediaId, MessageId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::log::{Position, Topic, TopicPartition};
use crate::state::{Found, PlacedChange};

/// How many persisted messages are remembered by id. Older ones are found in the store.
const RECENT_MAX: usize = 100_000;

/// The first place a message was seen at in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its place in the conversation.
    pub seq: u64,
    /// When the service accepted it.
    pub created_at: Timestamp,
}

/// Topic, partition and offset of a change.
type ChangePlace = (Topic, u32, u64);

/// The changes of one conversation that may not be in the store yet, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct PendingChanges {
    changes: HashMap<MessageId, Vec<Arc<PlacedChange>>>,
}

impl PendingChanges {
    /// What was found, after these changes.
    pub fn apply(&self, message_id: MessageId, found: Found) -> Found {
        match self.changes.get(&message_id) {
            Some(changes) => found.after(changes.iter().map(AsRef::as_ref)),
            None => found,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<MessageId, Known>,
    /// Persisted ones in the order they were confirmed, oldest first.
    recent: VecDeque<MessageId>,
    unpersisted: HashMap<ConversationId, BTreeMap<u64, Arc<Message>>>,
    unpersisted_count: usize,
    /// Changes that may not be in the store yet, by where they stand in the log.
    changes: BTreeMap<ChangePlace, Arc<PlacedChange>>,
    /// The same, by message.
    changes_of: HashMap<ConversationId, HashMap<MessageId, BTreeSet<ChangePlace>>>,
    /// Messages this node's reader of the log has told its sockets of.
    told: HashMap<MessageId, u64>,
    /// Settled before this node's reader came to them: their confirmation travels on another partition.
    early: HashSet<MessageId>,
    early_order: VecDeque<MessageId>,
}

impl Inner {
    fn remember(&mut self, message_id: MessageId) {
        self.recent.push_back(message_id);
        if self.recent.len() > RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.known.remove(&oldest);
            self.told.remove(&oldest);
        }
    }
}

/// The end of the log as this node knows it.
#[derive(Debug, Default)]
pub struct Tail {
    inner: Mutex<Inner>,
    /// Messages came in.
    grown: Notify,
    /// The offset after the last record of each partition that was taken in.
    reached: Mutex<HashMap<TopicPartition, u64>>,
    /// It moved on.
    moved: Notify,
}

impl Tail {
    /// Everything before this place has been taken in. It never goes back.
    ///
    /// Said after a record was taken in and before anybody is told of it: then whoever connects is told of it now, or
    /// finds it by `sync`.
    pub fn reach(&self, next: Position) {
        {
            let mut reached = self.reached.lock();
            let offset = reached.entry(next.topic_partition()).or_default();
            *offset = next.offset.max(*offset);
        }
        self.moved.notify_waiters();
    }

    /// Waits until everything before these places has been taken in. The caller sets the limit.
    pub async fn reaches(&self, ends: &[Position]) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Listens before it looks.
            moved.as_mut().enable();
            if ends.iter().all(|end| self.reached(end.topic_partition()) >= end.offset) {
                return;
            }
            moved.await;
        }
    }

    /// The offset after the last record of a partition that was taken in.
    pub fn reached(&self, partition: TopicPartition) -> u64 {
        self.reached.lock().get(&partition).copied().unwrap_or_default()
    }

    /// A message is in the log. The first place counts: a repeated record changes nothing and gives that place.
    pub fn insert(&self, message: Message) -> Known {
        let mut inner = self.inner.lock();
        if let Some(known) = inner.known.get(&message.message_id) {
            return *known;
        }
        let known = Known { seq: message.seq, created_at: message.created_at };
        inner.known.insert(message.message_id, known);
        if inner.early.remove(&message.message_id) {
            inner.remember(message.message_id);
            return known;
        }
        inner.unpersisted.entry(message.conversation_id).or_default().insert(message.seq, Arc::new(message));
        inner.unpersisted_count += 1;
        drop(inner);
        self.grown.notify_waiters();
        known
    }

    /// Waits until this node knows all these messages. The caller sets the limit.
    pub async fn wait_for(&self, message_ids: &[MessageId]) {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            // Listens before it looks.
            grown.as_mut().enable();
            {
                let inner = self.inner.lock();
                if message_ids.iter().all(|message_id| inner.known.contains_key(message_id)) {
                    return;
                }
            }
            grown.await;
        }
    }

    /// A change is in the log. False when this node knew that.
    pub fn insert_change(&self, position: Position, change: PlacedChange) -> bool {
        let place = (position.topic, position.partition, position.offset);
        let (conversation_id, message_id) = (change.change.conversation_id, change.change.message_id);
        let mut inner = self.inner.lock();
        if inner.changes.insert(place, Arc::new(change)).is_some() {
            return false;
        }
        inner.changes_of.entry(conversation_id).or_default().entry(message_id).or_default().insert(place);
        true
    }

    /// The store has every change before these places. Those of a message that is still in the overlay stay with it:
    /// a reader who finds the message here does not look into the store.
    pub fn settle_changes(&self, committed: &[Position]) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        for Position { topic, partition, offset } in committed {
            let done: Vec<ChangePlace> = inner
                .changes
                .range((*topic, *partition, 0)..(*topic, *partition, *offset))
                .map(|(place, _)| *place)
                .collect();
            for place in done {
                let Some(placed) = inner.changes.get(&place) else { continue };
                let (conversation_id, message_id) = (placed.change.conversation_id, placed.change.message_id);
                let known = inner.known.get(&message_id).map(|known| known.seq);
                let messages = inner.unpersisted.get(&conversation_id);
                let of_known = known.zip(messages).and_then(|(seq, messages)| messages.get(&seq));
                if of_known.is_some_and(|message| message.message_id == message_id) {
                    continue;
                }
                inner.changes.remove(&place);
                let Some(of_conversation) = inner.changes_of.get_mut(&conversation_id) else { continue };
                if let Some(places) = of_conversation.get_mut(&message_id) {
                    places.remove(&place);
                    if places.is_empty() {
                        of_conversation.remove(&message_id);
                    }
                }
                if of_conversation.is_empty() {
                    inner.changes_of.remove(&conversation_id);
                }
            }
        }
    }

    /// How many changes may not be in the store yet.
    pub fn pending_changes(&self) -> usize {
        self.inner.lock().changes.len()
    }

    /// The changes of a conversation that may not be in the store yet; only those of one message if it is named.
    /// Take this before reading the store.
    pub fn changes_of(&self, conversation_id: ConversationId, message_id: Option<MessageId>) -> PendingChanges {
        let inner = self.inner.lock();
        let Some(of_conversation) = inner.changes_of.get(&conversation_id) else { return PendingChanges::default() };
        let collect = |(message_id, places): (&MessageId, &BTreeSet<ChangePlace>)| {
            (*message_id, places.iter().filter_map(|place| inner.changes.get(place).map(Arc::clone)).collect())
        };
        let changes = match message_id {
            Some(message_id) => of_conversation.get_key_value(&message_id).map(collect).into_iter().collect(),
            None => of_conversation.iter().map(collect).collect(),
        };
        PendingChanges { changes }
    }

    /// The reader of the log asks whether it is the first to tell of this record. False for a record that
    /// repeats a message which stands earlier in the log.
    pub fn tell_once(&self, message_id: MessageId, seq: u64) -> bool {
        let mut inner = self.inner.lock();
        match inner.known.get(&message_id) {
            Some(known) if known.seq != seq => return false,
            // Persisted and confirmed before this record: told then.
            None => return false,
            Some(_) => {}
        }
        inner.told.insert(message_id, seq).is_none()
    }

    /// The message is in the store (or will never be): no longer part of the overlay, still remembered by id. False
    /// when that was known: its confirmation came again.
    pub fn settle(&self, conversation_id: ConversationId, message_id: MessageId) -> bool {
        let mut inner = self.inner.lock();
        let Some(known) = inner.known.get(&message_id).copied() else {
            let is_news = inner.early.insert(message_id);
            if is_news {
                inner.early_order.push_back(message_id);
            }
            if inner.early_order.len() > RECENT_MAX
                && let Some(oldest) = inner.early_order.pop_front()
            {
                inner.early.remove(&oldest);
            }
            return is_news;
        };
        let Some(messages) = inner.unpersisted.get_mut(&conversation_id) else { return false };
        if messages.remove(&known.seq).is_none() {
            return false;
        }
        if messages.is_empty() {
            inner.unpersisted.remove(&conversation_id);
        }
        inner.unpersisted_count -= 1;
        inner.remember(message_id);
        true
    }

    /// Where a message stands in the log, if this node remembers it.
    pub fn known(&self, message_id: MessageId) -> Option<Known> {
        self.inner.lock().known.get(&message_id).copied()
    }

    /// A message that is delivered and not persisted, as it was sent.
    pub fn find(&self, conversation_id: ConversationId, message_id: MessageId) -> Option<Arc<Message>> {
        let inner = self.inner.lock();
        let known = inner.known.get(&message_id)?;
        let message = inner.unpersisted.get(&conversation_id)?.get(&known.seq)?;
        // A message of another conversation may have the same `seq` as one of this: they are in different partitions.
        (message.message_id == message_id).then(|| Arc::clone(message))
    }

    /// Messages that are delivered and not persisted and carry a media item, as they were sent.
    pub fn carrying(&self, media_id: MediaId) -> Vec<Arc<Message>> {
        let inner = self.inner.lock();
        let messages = inner.unpersisted.values().flat_map(BTreeMap::values);
        messages.filter(|message| message.media.iter().any(|media| media.media_id == media_id)).cloned().collect()
    }

    /// The newest messages of a conversation that are delivered and not persisted, newest first, with `seq`
    /// below `before_seq`. Take this before reading the store: what leaves the overlay is in the store already.
    pub fn newest(&self, conversation_id: ConversationId, before_seq: Option<u64>, limit: usize) -> Vec<Arc<Message>> {
        let inner = self.inner.lock();
        let Some(messages) = inner.unpersisted.get(&conversation_id) else { return Vec::new() };
        messages
            .range(..before_seq.unwrap_or(u64::MAX))
            .rev()
            .take(limit)
            .map(|(_, message)| Arc::clone(message))
            .collect()
    }

    /// How many messages and changes are in the log and may not be in the store yet.
    pub fn unpersisted(&self) -> usize {
        let inner = self.inner.lock();
        inner.unpersisted_count + inner.changes.len()
    }
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::{TempId, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::state::MessageState;

    fn message(number: u128, seq: u64) -> Message {
        let sender_id: UserId = "ana".parse().unwrap();
        let temp_id: TempId = number.to_string().parse().unwrap();
        Message {
            temp_id: Some(temp_id),
            seq,
            ..Message::new(
                MessageId::from_uuid(Uuid::from_u128(number)),
                ConversationId::from_uuid(Uuid::from_u128(0)),
                sender_id,
                Timestamp::from_millis(0),
            )
        }
    }

    #[test]
    fn the_first_place_counts_and_is_told_once() {
        let tail = Tail::default();
        let first = message(1, 10);
        assert_eq!(tail.insert(first.clone()).seq, 10);
        assert_eq!(tail.insert(message(1, 12)).seq, 10);
        assert!(tail.tell_once(first.message_id, 10));
        assert!(!tail.tell_once(first.message_id, 10));
        assert!(!tail.tell_once(first.message_id, 12));
        assert_eq!(tail.unpersisted(), 1);
    }

    #[test]
    fn a_message_of_another_conversation_at_the_same_place_is_not_taken_for_it() {
        let tail = Tail::default();
        let here = message(1, 10);
        let elsewhere =
            Message { conversation_id: ConversationId::from_uuid(Uuid::from_u128(9)), ..message(2, here.seq) };
        tail.insert(here.clone());
        tail.insert(elsewhere.clone());
        assert!(tail.find(here.conversation_id, elsewhere.message_id).is_none());
        assert!(tail.find(elsewhere.conversation_id, here.message_id).is_none());
        assert_eq!(*tail.find(here.conversation_id, here.message_id).unwrap(), here);
    }

    #[test]
    fn a_settled_message_leaves_the_overlay_and_is_still_known() {
        let tail = Tail::default();
        let first = message(1, 10);
        tail.insert(first.clone());
        assert!(tail.settle(first.conversation_id, first.message_id));
        assert!(!tail.settle(first.conversation_id, first.message_id));
        assert_eq!(tail.unpersisted(), 0);
        assert!(tail.find(first.conversation_id, first.message_id).is_none());
        assert_eq!(tail.known(first.message_id).map(|known| known.seq), Some(10));
        // Confirmed before this node's reader came to it: the reader still tells its sockets, once.
        assert!(tail.tell_once(first.message_id, 10));
        assert!(!tail.tell_once(first.message_id, 10));
    }

    #[test]
    fn a_confirmation_that_comes_first_is_not_forgotten() {
        let tail = Tail::default();
        let first = message(1, 10);
        assert!(tail.settle(first.conversation_id, first.message_id));
        assert!(!tail.settle(first.conversation_id, first.message_id));
        assert_eq!(tail.insert(first.clone()).seq, 10);
        assert!(!tail.settle(first.conversation_id, first.message_id));
        assert_eq!(tail.unpersisted(), 0);
        assert!(tail.tell_once(first.message_id, 10));
    }

    #[test]
    fn pages_are_newest_first_and_below_the_cursor() {
        let tail = Tail::default();
        for number in 1..=5 {
            tail.insert(message(number, number as u64));
        }
        let conversation = ConversationId::from_uuid(Uuid::from_u128(0));
        let seqs = |before, limit| tail.newest(conversation, before, limit).iter().map(|m| m.seq).collect::<Vec<_>>();
        assert_eq!(seqs(None, 2), [5, 4]);
        assert_eq!(seqs(Some(4), 10), [3, 2, 1]);
        assert_eq!(seqs(Some(1), 10), Vec::<u64>::new());
    }

    fn deletion(number: u128, offset: u64) -> (Position, PlacedChange) {
        let Message { message_id, conversation_id, sender_id, .. } = message(number, 0);
        let what = crate::state::Change::HiddenForMe;
        let at = Timestamp::from_millis(0);
        let change = crate::state::MessageChange { message_id, conversation_id, by: sender_id, at, what };
        (Position { topic: Topic::MessageDeleted, partition: 3, offset }, PlacedChange { offset, change })
    }

    #[test]
    fn changes_are_seen_until_the_store_has_them() {
        let tail = Tail::default();
        let first = message(1, 10);
        let view = || {
            let found = Found::new(first.clone(), MessageState::default());
            match tail.changes_of(first.conversation_id, None).apply(first.message_id, found) {
                Found::There(stored) => stored.is_hidden_from(&first.sender_id),
                Found::Gone { .. } => unreachable!("nobody deleted it for all"),
            }
        };
        let (position, change) = deletion(1, 7);
        assert!(tail.insert_change(position, change.clone()));
        assert!(!tail.insert_change(position, change));
        assert!(view());
        tail.settle_changes(&[Position { offset: 7, ..position }, Position { partition: 2, offset: 99, ..position }]);
        assert!(view(), "the group goes on at 7: it has not done 7");
        tail.settle_changes(&[Position { offset: 8, ..position }]);
        assert!(!view());
        assert_eq!(tail.pending_changes(), 0);
        assert!(tail.inner.lock().changes_of.is_empty());
    }

    #[tokio::test]
    async fn one_who_waits_for_messages_goes_on_when_the_last_one_came() {
        let tail = Arc::new(Tail::default());
        let ids = [message(1, 10).message_id, message(2, 11).message_id];
        let waiting = tokio::spawn({
            let tail = Arc::clone(&tail);
            async move { tail.wait_for(&ids).await }
        });
        tail.insert(message(2, 11));
        tail.insert(message(1, 10));
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_place_that_was_reached_stays_reached() {
        let tail = Arc::new(Tail::default());
        let at = |partition, offset| Position { topic: Topic::MessageSent, partition, offset };
        let waiting = tokio::spawn({
            let tail = Arc::clone(&tail);
            async move { tail.reaches(&[at(0, 5), at(1, 1)]).await }
        });
        for position in [at(0, 7), at(0, 3), at(1, 1)] {
            tail.reach(position);
        }
        waiting.await.unwrap();
        assert_eq!([0, 1, 2].map(|partition| tail.reached(at(partition, 0).topic_partition())), [7, 1, 0]);
        tail.reaches(&[]).await;
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let tail = Tail::default();
        let count = RECENT_MAX as u64 + 10;
        for number in 0..count {
            let message = message(u128::from(number) + 1, number);
            let (conversation, id) = (message.conversation_id, message.message_id);
            tail.insert(message);
            tail.settle(conversation, id);
        }
        assert_eq!(tail.inner.lock().known.len(), RECENT_MAX);
    }
}
