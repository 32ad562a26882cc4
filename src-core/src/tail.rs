//! What this node knows of the end of the log: messages that are delivered and not yet persisted, so that the
//! rules find them at once (S1.3), and the ids of recent ones, so that a repeated record is told once.
//!
//! It is filled by this node's own publishes and by its reading of `message.sent`, and emptied by
//! `message.delivered`. It is rebuilt from the log when a node starts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MessageId, Timestamp};
use parking_lot::Mutex;

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

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<MessageId, Known>,
    /// Persisted ones in the order they were confirmed, oldest first.
    recent: VecDeque<MessageId>,
    unpersisted: HashMap<ConversationId, BTreeMap<u64, Arc<Message>>>,
    unpersisted_count: usize,
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
}

impl Tail {
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
        known
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

    /// A message that is delivered and not persisted.
    pub fn find(&self, conversation_id: ConversationId, message_id: MessageId) -> Option<Arc<Message>> {
        let inner = self.inner.lock();
        let known = inner.known.get(&message_id)?;
        inner.unpersisted.get(&conversation_id)?.get(&known.seq).cloned()
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

    /// How many messages are delivered and not persisted.
    pub fn unpersisted(&self) -> usize {
        self.inner.lock().unpersisted_count
    }
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::{TempId, UserId};
    use uuid::Uuid;

    use super::*;

    fn message(number: u128, seq: u64) -> Message {
        let sender_id: UserId = "ana".parse().unwrap();
        let temp_id: TempId = number.to_string().parse().unwrap();
        Message {
            message_id: MessageId::from_uuid(Uuid::from_u128(number)),
            conversation_id: ConversationId::from_uuid(Uuid::from_u128(0)),
            sender_id,
            temp_id: Some(temp_id),
            text: None,
            media: Vec::new(),
            reply_to: None,
            thread_root: None,
            created_at: Timestamp::from_millis(0),
            edited_at: None,
            edits: Vec::new(),
            deleted: None,
            reactions: std::collections::BTreeMap::new(),
            forwarded_from: None,
            forward_count: 0,
            seq,
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
