//! What one simulated user's client knows. Nothing else may enter: two clients can know different things.

use std::collections::BTreeMap;
use std::sync::Arc;

use ackscope_protocol::trace::ConnectionState;
use ackscope_protocol::wire::{Conversation, Edit, Message, MessageMedia, MessageRef, Reactions};
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};

use super::Map;

/// Most messages a conversation keeps in memory; the oldest go first.
pub const MESSAGES_MAX: usize = 2_000;
/// Most conversations a client keeps.
pub const CONVERSATIONS_MAX: usize = 1_000;

/// A simulated user.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub user_id: UserId,
    /// Whose further device it is; `None` for somebody of their own.
    pub device_of: Option<UserId>,
    /// What was last heard of its connection.
    pub connection: Option<ConnectionState>,
    /// What its client knows.
    pub client: Client,
    /// The last thing its client was refused, if it is not about a message.
    pub notice: Option<Notice>,
}

impl User {
    /// The person on the wire: messages carry this id.
    pub fn person(&self) -> &UserId {
        self.device_of.as_ref().unwrap_or(&self.user_id)
    }

    /// Whether its client can send.
    pub fn is_connected(&self) -> bool {
        self.connection == Some(ConnectionState::Connected)
    }
}

/// Something a user should be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When, in microseconds since the run began.
    pub at_us: u64,
    /// One sentence.
    pub text: String,
}

/// The conversations of one client, in the order it heard of them.
#[derive(Clone, Debug, Default)]
pub struct Client {
    conversations: Vec<ConversationLog>,
    numbers: Map<ConversationId, usize>,
}

/// A conversation as one client knows it.
#[derive(Clone, Debug)]
pub struct ConversationLog {
    /// The id.
    pub conversation_id: ConversationId,
    /// Its newest description; `None` while only messages were seen.
    pub conversation: Option<Conversation>,
    /// When something last happened in it, in microseconds since the run began.
    pub last_us: u64,
    /// Boxed: entries are large, and the tree moves what it holds.
    entries: BTreeMap<Place, Box<Entry>>,
    places: Map<MessageId, Place>,
    highest_seq: u64,
    sent_count: u64,
    /// Messages that were dropped because there were more than [`MESSAGES_MAX`].
    pub dropped: u64,
}

/// A message's place in a conversation: by `seq`; an own message without one stands after what was there when
/// it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    seq: u64,
    sent_number: u64,
    /// Two messages of one `seq` would be a fault of the backend that must be seen, not hidden.
    message_id: MessageId,
}

/// A message as one client knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The message.
    pub message_id: MessageId,
    /// Who sent it.
    pub sender_id: UserId,
    /// What it says; nothing after deletion.
    pub text: Option<Arc<str>>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// When the service accepted it; absent before its sender was told.
    pub created_at: Option<Timestamp>,
    /// Earlier texts, oldest first; empty: never edited.
    pub edits: Vec<Edit>,
    /// Whether it is a tombstone.
    pub is_deleted: bool,
    /// Its media items.
    pub media: Vec<MessageMedia>,
    /// The message it is a copy of.
    pub forwarded_from: Option<MessageRef>,
    /// How often it was forwarded.
    pub forward_count: u64,
    /// Who reacted how.
    pub reactions: Reactions,
}

impl Client {
    /// Every conversation, in the order the client heard of them.
    pub fn conversations(&self) -> &[ConversationLog] {
        &self.conversations
    }

    /// One of them.
    pub fn conversation(&self, conversation_id: ConversationId) -> Option<&ConversationLog> {
        self.conversations.get(*self.numbers.get(&conversation_id)?)
    }

    pub(super) fn conversation_mut(&mut self, conversation_id: ConversationId) -> Option<&mut ConversationLog> {
        let number = if let Some(number) = self.numbers.get(&conversation_id) {
            *number
        } else {
            if self.conversations.len() >= CONVERSATIONS_MAX {
                return None;
            }
            let number = self.conversations.len();
            self.conversations.push(ConversationLog::new(conversation_id));
            self.numbers.insert(conversation_id, number);
            number
        };
        self.conversations.get_mut(number)
    }

    pub(super) fn take_conversation(&mut self, conversation: &Conversation, at_us: u64) {
        if let Some(log) = self.conversation_mut(conversation.conversation_id) {
            // An answer may come after a newer update.
            if log.conversation.as_ref().is_none_or(|known| known.version <= conversation.version) {
                log.conversation = Some(conversation.clone());
            }
            log.last_us = log.last_us.max(at_us);
        }
    }
}

impl ConversationLog {
    fn new(conversation_id: ConversationId) -> Self {
        Self {
            conversation_id,
            conversation: None,
            last_us: 0,
            entries: BTreeMap::new(),
            places: Map::default(),
            highest_seq: 0,
            sent_count: 0,
            dropped: 0,
        }
    }

    /// The messages in the order everybody sees.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + '_ {
        self.entries.values().map(|entry| &**entry)
    }

    /// How many messages are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no message is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One of them.
    pub fn entry(&self, message_id: MessageId) -> Option<&Entry> {
        self.entries.get(self.places.get(&message_id)?).map(|entry| &**entry)
    }

    /// Whether `user_id` is still in it, as far as this client knows.
    pub fn has_participant(&self, user_id: &UserId) -> bool {
        self.conversation
            .as_ref()
            .is_none_or(|conversation| conversation.participants.iter().any(|other| other.user_id == *user_id))
    }

    /// A name for people, as `viewer` would call it.
    pub fn title(&self, viewer: &UserId) -> String {
        let Some(conversation) = &self.conversation else { return "Conversation".to_owned() };
        if let Some(title) = &conversation.title {
            return title.to_string();
        }
        let mut others = conversation.participants.iter().map(|other| &other.user_id).filter(|other| *other != viewer);
        let names: Vec<&str> = others.by_ref().take(3).map(UserId::as_str).collect();
        let more = others.count();
        match (names.as_slice(), more) {
            ([], _) => "Only you".to_owned(),
            (names, 0) => names.join(", "),
            (names, more) => format!("{} and {more} more", names.join(", ")),
        }
    }

    pub(super) fn sent(
        &mut self,
        message_id: MessageId,
        sender_id: &UserId,
        text: Option<Arc<str>>,
        reply_to: Option<MessageId>,
        at_us: u64,
    ) {
        self.last_us = self.last_us.max(at_us);
        // A retry, or the message itself came first.
        if self.places.contains_key(&message_id) {
            return;
        }
        self.sent_count += 1;
        let place = Place { seq: self.highest_seq, sent_number: self.sent_count, message_id };
        let entry = Entry {
            message_id,
            sender_id: sender_id.clone(),
            text,
            reply_to,
            created_at: None,
            edits: Vec::new(),
            is_deleted: false,
            media: Vec::new(),
            forwarded_from: None,
            forward_count: 0,
            reactions: Reactions::new(),
        };
        self.insert(place, Box::new(entry));
    }

    pub(super) fn placed(&mut self, message_id: MessageId, seq: u64) {
        self.highest_seq = self.highest_seq.max(seq);
        let place = Place { seq, sent_number: 0, message_id };
        if let Some(old) = self.places.get(&message_id).copied()
            && old != place
            && let Some(entry) = self.entries.remove(&old)
        {
            self.insert(place, entry);
        }
    }

    pub(super) fn take_message(&mut self, message: &Message, text: Option<Arc<str>>, at_us: u64) {
        self.last_us = self.last_us.max(at_us);
        self.highest_seq = self.highest_seq.max(message.seq);
        let old = self.places.get(&message.message_id).and_then(|old| self.entries.remove(old));
        let place = Place { seq: message.seq, sent_number: 0, message_id: message.message_id };
        let entry = Entry {
            message_id: message.message_id,
            sender_id: message.sender_id.clone(),
            text,
            reply_to: message.reply_to,
            created_at: Some(message.created_at),
            edits: message.edits.clone(),
            is_deleted: message.deleted.is_some(),
            media: message.media.clone(),
            forwarded_from: message.forwarded_from,
            forward_count: message.forward_count,
            reactions: message.reactions.clone(),
        };
        let entry = match old {
            Some(mut old) => {
                *old = entry;
                old
            }
            None => Box::new(entry),
        };
        self.insert(place, entry);
    }

    pub(super) fn deleted(&mut self, message_id: MessageId, leaves_tombstone: bool) {
        let Some(place) = self.places.get(&message_id).copied() else { return };
        if leaves_tombstone {
            if let Some(entry) = self.entries.get_mut(&place) {
                entry.is_deleted = true;
                entry.text = None;
            }
        } else {
            self.entries.remove(&place);
            self.places.remove(&message_id);
        }
    }

    pub(super) fn reacted(&mut self, message_id: MessageId, reactions: &Reactions) {
        if let Some(place) = self.places.get(&message_id)
            && let Some(entry) = self.entries.get_mut(place)
        {
            entry.reactions.clone_from(reactions);
        }
    }

    fn insert(&mut self, place: Place, entry: Box<Entry>) {
        self.places.insert(place.message_id, place);
        self.entries.insert(place, entry);
        while self.entries.len() > MESSAGES_MAX {
            if let Some((place, _)) = self.entries.pop_first() {
                self.places.remove(&place.message_id);
                self.dropped += 1;
            }
        }
    }
}
