//! What a simulated user's client knows: events seen, conversations, messages, acknowledgments.
//!
//! `sync` gives what a client missed at least once, so it may repeat what came over the connection and the
//! other way round. A client that takes the same thing from both sees it once, and that is how it is counted
//! here; the same thing twice over the connection is a duplicate.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use ackscope_protocol::error::WireError;
use ackscope_protocol::wire::{
    AckState, Conversation, ConversationChange, DeleteMode, MediaState, Message, MessageAck, MessageMedia, SendMessage,
    Sent, ServerEvent,
};
use ackscope_protocol::{ConversationId, MessageId, TempId, UserId};

/// Most events a view keeps for waiting on; what they said stays in the conversations and messages.
const SEEN_MAX: usize = 200_000;

/// How an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Over the connection, as it happened.
    Live,
    /// In the answer of a `sync`.
    Synced,
}

/// An event this client saw.
#[derive(Clone, Debug)]
pub struct SeenEvent {
    /// Its number: 0 for the first event of the run.
    pub index: usize,
    /// Real time it was read.
    pub at: Instant,
    /// How it came.
    pub source: Source,
    /// The event.
    pub event: Arc<ServerEvent>,
}

/// An acknowledgment this client saw.
#[derive(Clone, Debug)]
pub struct SeenAck {
    /// Real time it was read.
    pub at: Instant,
    /// The acknowledgment.
    pub ack: MessageAck,
}

/// The answer of a send's callback.
#[derive(Clone, Debug)]
pub struct SendAnswer {
    /// Real time it was read.
    pub at: Instant,
    /// The answer.
    pub outcome: Result<Sent, WireError>,
}

/// What makes two events the same one, whichever way they came. Errors have none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Ack(ConversationId, TempId, AckState),
    New(MessageId),
    Edited(MessageId, u64),
    Deleted(MessageId, &'static str),
    Reaction(MessageId, u64),
    Delivered(MessageId),
    Conversation(ConversationId, u64, &'static str),
}

impl Identity {
    fn is_state(&self) -> bool {
        matches!(self, Self::Edited(..) | Self::Deleted(..) | Self::Reaction(..))
    }

    fn of(event: &ServerEvent) -> Option<Self> {
        Some(match event {
            ServerEvent::Error(_) => return None,
            ServerEvent::Ack(ack) => Self::Ack(ack.conversation_id, ack.temp_id.clone(), ack.state),
            ServerEvent::New(new) => Self::New(new.message.message_id),
            ServerEvent::Edited(edited) => {
                // Not only texts change: forwards and checks of media are told this way too.
                let mut hasher = DefaultHasher::new();
                serde_json::to_string(&edited.message).unwrap_or_default().hash(&mut hasher);
                Self::Edited(edited.message.message_id, hasher.finish())
            }
            ServerEvent::Deleted(deleted) => {
                let mode = match deleted.mode {
                    DeleteMode::Soft => "soft",
                    DeleteMode::Hard => "hard",
                    DeleteMode::ForMe => "for_me",
                };
                Self::Deleted(deleted.message_id, mode)
            }
            ServerEvent::Reaction(reaction) => {
                let mut hasher = DefaultHasher::new();
                reaction.reactions.hash(&mut hasher);
                Self::Reaction(reaction.message_id, hasher.finish())
            }
            ServerEvent::Delivered(delivered) => Self::Delivered(delivered.message_id),
            ServerEvent::ConversationUpdated(updated) => {
                let change = match updated.change {
                    ConversationChange::Created => "created",
                    ConversationChange::ParticipantAdded => "added",
                    ConversationChange::ParticipantRemoved => "removed",
                    ConversationChange::SettingsChanged => "settings",
                };
                Self::Conversation(updated.conversation.conversation_id, updated.conversation.version, change)
            }
        })
    }
}

/// How this client came to know something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Live,
    Synced,
    /// It is this client's own message, known from its acknowledgment.
    Own,
}

/// Names one send: the same for every retry of it.
pub(super) type SendKey = (ConversationId, TempId);

/// Everything a simulated user's client knows.
#[derive(Debug)]
pub struct UserView {
    user: UserId,
    first_index: usize,
    seen: VecDeque<SeenEvent>,
    known: HashMap<Identity, Known>,
    conversations: BTreeMap<ConversationId, Conversation>,
    messages: HashMap<ConversationId, HashMap<MessageId, Message>>,
    sends: HashMap<SendKey, OwnSend>,
    duplicates: u64,
    unreadable: u64,
}

/// One message this client sent, with every retry of it.
#[derive(Debug)]
struct OwnSend {
    request: SendMessage,
    attempts: u32,
    acks: Vec<SeenAck>,
    answers: Vec<SendAnswer>,
}

impl UserView {
    pub(super) fn new(user: UserId) -> Self {
        Self {
            user,
            first_index: 0,
            seen: VecDeque::new(),
            known: HashMap::new(),
            conversations: BTreeMap::new(),
            messages: HashMap::new(),
            sends: HashMap::new(),
            duplicates: 0,
            unreadable: 0,
        }
    }

    /// The number the next event will get. Take it before doing something, to wait for what follows.
    pub fn next_index(&self) -> usize {
        self.first_index + self.seen.len()
    }

    /// The events seen from `index` on, as far as they are kept (the newest 200,000).
    pub fn seen_from(&self, index: usize) -> impl Iterator<Item = &SeenEvent> {
        let skip = index.saturating_sub(self.first_index).min(self.seen.len());
        self.seen.range(skip..)
    }

    /// The conversations this client knows it is in, as it saw them last.
    pub fn conversations(&self) -> impl Iterator<Item = &Conversation> {
        self.conversations.values()
    }

    /// A conversation as this client saw it last.
    pub fn conversation(&self, conversation_id: ConversationId) -> Option<&Conversation> {
        self.conversations.get(&conversation_id)
    }

    /// The messages of a conversation as this client knows them, by `seq`; its own from `delivered` on.
    pub fn messages(&self, conversation_id: ConversationId) -> Vec<&Message> {
        let mut messages: Vec<&Message> =
            self.messages.get(&conversation_id).into_iter().flat_map(HashMap::values).collect();
        messages.sort_by_key(|message| (message.seq, message.message_id));
        messages
    }

    /// The acknowledgments of a send, in the order they came.
    pub fn acks(&self, temp_id: &TempId, conversation_id: ConversationId) -> &[SeenAck] {
        self.sends.get(&(conversation_id, temp_id.clone())).map_or(&[], |send| &send.acks)
    }

    /// The answers of a send's callbacks, in the order they came: at most one for each attempt.
    pub fn send_answers(&self, temp_id: &TempId, conversation_id: ConversationId) -> &[SendAnswer] {
        self.sends.get(&(conversation_id, temp_id.clone())).map_or(&[], |send| &send.answers)
    }

    /// How many messages this client sent, retries not counted.
    pub fn sent(&self) -> usize {
        self.sends.len()
    }

    /// How many events came over the connection that had come over it before.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many events and frames could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    pub(super) fn count_unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Notes a send and gives the number of this attempt, from 1.
    pub(super) fn add_attempt(&mut self, request: &SendMessage) -> u32 {
        let key = (request.conversation_id, request.temp_id.clone());
        let send = self.sends.entry(key).or_insert_with(|| OwnSend {
            request: request.clone(),
            attempts: 0,
            acks: Vec::new(),
            answers: Vec::new(),
        });
        send.attempts += 1;
        send.attempts
    }

    pub(super) fn add_answer(&mut self, key: &SendKey, answer: SendAnswer) {
        if let Some(send) = self.sends.get_mut(key) {
            send.answers.push(answer);
        }
    }

    pub(super) fn add_conversation(&mut self, conversation: Conversation) {
        match self.conversations.get(&conversation.conversation_id) {
            // An answer and an event may cross.
            Some(held) if held.version > conversation.version => {}
            _ if conversation.participants.iter().all(|participant| participant.user_id != self.user) => {
                self.conversations.remove(&conversation.conversation_id);
            }
            _ => {
                self.conversations.insert(conversation.conversation_id, conversation);
            }
        }
    }

    /// Takes an event in. Gives it back with its number when it is to be recorded: not when the client knew it
    /// from the other way in.
    pub(super) fn take(&mut self, at: Instant, source: Source, event: ServerEvent) -> Option<SeenEvent> {
        if let Some(identity) = Identity::of(&event) {
            let now = match source {
                Source::Live => Known::Live,
                Source::Synced => Known::Synced,
            };
            match (self.known.get(&identity).copied(), source) {
                (Some(_), Source::Synced) => return None,
                (Some(Known::Synced), Source::Live) => {
                    self.known.insert(identity, now);
                    return None;
                }
                // Every retry is acknowledged anew.
                (Some(Known::Live), Source::Live) if matches!(identity, Identity::Ack(..)) => {}
                // These tell a state, and the same state may come about again.
                (Some(Known::Live), Source::Live) if identity.is_state() => {}
                (Some(Known::Live), Source::Live) => self.duplicates += 1,
                // The sending connection is told by acknowledgments alone, so this is worth seeing.
                (Some(Known::Own) | None, _) => {
                    self.known.insert(identity, now);
                }
            }
        }
        self.apply(at, &event);
        let seen = SeenEvent { index: self.next_index(), at, source, event: Arc::new(event) };
        if self.seen.len() >= SEEN_MAX {
            self.seen.pop_front();
            self.first_index += 1;
        }
        self.seen.push_back(seen.clone());
        Some(seen)
    }

    fn apply(&mut self, at: Instant, event: &ServerEvent) {
        match event {
            ServerEvent::Ack(ack) => self.apply_ack(at, ack),
            ServerEvent::New(new) => {
                let message = new.message.clone();
                self.messages.entry(message.conversation_id).or_default().entry(message.message_id).or_insert(message);
            }
            ServerEvent::Edited(edited) => {
                let message = edited.message.clone();
                self.messages.entry(message.conversation_id).or_default().insert(message.message_id, message);
            }
            ServerEvent::Deleted(deleted) => {
                let Some(messages) = self.messages.get_mut(&deleted.conversation_id) else { return };
                match deleted.mode {
                    DeleteMode::Soft => {
                        if let Some(message) = messages.get_mut(&deleted.message_id) {
                            message.text = None;
                            message.media.clear();
                        }
                    }
                    DeleteMode::Hard | DeleteMode::ForMe => {
                        messages.remove(&deleted.message_id);
                    }
                }
            }
            ServerEvent::Reaction(reaction) => {
                let messages = self.messages.get_mut(&reaction.conversation_id);
                if let Some(message) = messages.and_then(|messages| messages.get_mut(&reaction.message_id)) {
                    message.reactions.clone_from(&reaction.reactions);
                }
            }
            ServerEvent::ConversationUpdated(updated) => self.add_conversation(updated.conversation.clone()),
            ServerEvent::Delivered(_) | ServerEvent::Error(_) => {}
        }
    }

    fn apply_ack(&mut self, at: Instant, ack: &MessageAck) {
        let key = (ack.conversation_id, ack.temp_id.clone());
        // An acknowledgment of something this client never sent is kept with the seen events alone.
        let Some(send) = self.sends.get_mut(&key) else { return };
        send.acks.push(SeenAck { at, ack: ack.clone() });
        let (AckState::Delivered, Some(message_id), Some(seq)) = (ack.state, ack.message_id, ack.seq) else { return };
        let request = &send.request;
        // An ACK does not say what the media service thinks of them.
        let media_state = MediaState::Unverified;
        let message = Message {
            temp_id: Some(ack.temp_id.clone()),
            text: request.text.clone(),
            media: request.media.iter().map(|media_id| MessageMedia { media_id: *media_id, media_state }).collect(),
            reply_to: request.reply_to,
            seq,
            ..Message::new(message_id, ack.conversation_id, self.user.clone(), ack.at)
        };
        self.known.entry(Identity::New(message_id)).or_insert(Known::Own);
        self.messages.entry(ack.conversation_id).or_default().entry(message_id).or_insert(message);
    }
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::Timestamp;
    use ackscope_protocol::text::MessageText;
    use ackscope_protocol::wire::{MessageAnswer, MessageDelivered};
    use uuid::Uuid;

    use super::*;

    const CONVERSATION: ConversationId = ConversationId::from_uuid(Uuid::from_u128(1));

    fn view() -> UserView {
        UserView::new("ana".parse().unwrap())
    }

    fn new(number: u128, seq: u64) -> ServerEvent {
        ServerEvent::New(MessageAnswer {
            message: Message {
                text: Some(MessageText::new(number.to_string()).unwrap()),
                seq,
                ..Message::new(
                    MessageId::from_uuid(Uuid::from_u128(number)),
                    CONVERSATION,
                    "ben".parse().unwrap(),
                    Timestamp::from_millis(0),
                )
            },
        })
    }

    fn take(view: &mut UserView, source: Source, event: ServerEvent) -> bool {
        view.take(Instant::now(), source, event).is_some()
    }

    fn order(view: &UserView) -> Vec<u64> {
        view.messages(CONVERSATION).iter().map(|message| message.seq).collect()
    }

    #[test]
    fn messages_stand_by_seq_and_a_live_repetition_is_a_duplicate() {
        let mut view = view();
        assert!(take(&mut view, Source::Live, new(2, 20)));
        assert!(take(&mut view, Source::Live, new(1, 10)));
        assert_eq!(order(&view), [10, 20]);
        assert_eq!(view.duplicates(), 0);
        assert!(take(&mut view, Source::Live, new(1, 10)), "a duplicate is recorded");
        assert_eq!(view.duplicates(), 1);
        assert_eq!(order(&view), [10, 20]);
    }

    #[test]
    fn what_sync_repeats_is_seen_once_whichever_came_first() {
        let mut view = view();
        assert!(take(&mut view, Source::Live, new(1, 10)));
        assert!(!take(&mut view, Source::Synced, new(1, 10)));
        assert!(take(&mut view, Source::Synced, new(2, 20)));
        assert!(!take(&mut view, Source::Live, new(2, 20)));
        assert_eq!(view.duplicates(), 0);
        assert!(take(&mut view, Source::Live, new(2, 20)));
        assert_eq!(view.duplicates(), 1);
        let delivered = ServerEvent::Delivered(MessageDelivered {
            conversation_id: CONVERSATION,
            message_id: MessageId::from_uuid(Uuid::from_u128(1)),
            at: Timestamp::from_millis(0),
        });
        assert!(take(&mut view, Source::Live, delivered.clone()));
        assert!(!take(&mut view, Source::Synced, delivered));
    }

    #[test]
    fn an_own_message_is_known_from_its_acknowledgment() {
        let mut view = view();
        let request = SendMessage {
            conversation_id: CONVERSATION,
            temp_id: "t".parse().unwrap(),
            text: Some(MessageText::new("hello").unwrap()),
            media: Vec::new(),
            reply_to: None,
        };
        assert_eq!(view.add_attempt(&request), 1);
        assert_eq!(view.add_attempt(&request), 2);
        let ack = |state, seq| {
            ServerEvent::Ack(MessageAck {
                temp_id: request.temp_id.clone(),
                conversation_id: CONVERSATION,
                state,
                message_id: Some(MessageId::from_uuid(Uuid::from_u128(9))),
                seq,
                error: None,
                at: Timestamp::from_millis(5),
            })
        };
        assert!(take(&mut view, Source::Live, ack(AckState::Pending, None)));
        assert_eq!(order(&view), Vec::<u64>::new());
        assert!(take(&mut view, Source::Live, ack(AckState::Delivered, Some(7))));
        assert_eq!(order(&view), [7]);
        assert_eq!(view.messages(CONVERSATION)[0].text.as_deref(), Some("hello"));
        let states: Vec<AckState> =
            view.acks(&request.temp_id, CONVERSATION).iter().map(|seen| seen.ack.state).collect();
        assert_eq!(states, [AckState::Pending, AckState::Delivered]);
        assert!(!take(&mut view, Source::Synced, new(9, 7)), "sync tells nothing new");
        assert!(take(&mut view, Source::Live, ack(AckState::Delivered, Some(7))), "a retry is acknowledged anew");
        assert!(!take(&mut view, Source::Synced, ack(AckState::Delivered, Some(7))));
        assert!(take(&mut view, Source::Synced, ack(AckState::Persisted, None)));
        assert!(!take(&mut view, Source::Live, ack(AckState::Persisted, None)));
        assert_eq!(view.duplicates(), 0);
    }

    #[test]
    fn events_are_found_by_index_after_old_ones_are_forgotten() {
        let mut view = view();
        for number in 0..SEEN_MAX + 10 {
            let error = WireError::new(ackscope_protocol::ErrorCode::Internal, number.to_string());
            take(&mut view, Source::Live, ServerEvent::Error(error));
        }
        assert_eq!(view.next_index(), SEEN_MAX + 10);
        assert_eq!(view.seen_from(0).next().map(|seen| seen.index), Some(10));
        assert_eq!(view.seen_from(SEEN_MAX + 9).count(), 1);
        assert_eq!(view.seen_from(SEEN_MAX + 50).count(), 0);
    }
}
