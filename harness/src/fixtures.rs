//! Hand-made traces for the unit tests of what reads traces.

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::ids::{ConversationId, MessageId, TempId, UserId};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::time::Timestamp;
use ackscope_protocol::trace::{ConnectionState, Happening, Stage, TraceEvent};
use ackscope_protocol::wire::{
    AckState, Conversation, ConversationChange, ConversationKind, ConversationSettings, ConversationUpdated,
    DeleteMode, Message, MessageAck, MessageAnswer, MessageDeleted, Participant, Role, ServerEvent,
};

/// A user's id.
pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

/// A message of a hand-made trace.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub message_id: MessageId,
    pub temp_id: TempId,
    pub sender: UserId,
    pub text: String,
}

/// Builds a trace of one conversation whose participants are all users but `mallory`.
pub(crate) struct Trace {
    pub events: Vec<TraceEvent>,
    pub conversation_id: ConversationId,
    pub participants: Vec<UserId>,
    sent: usize,
}

impl Trace {
    /// Everybody connects at 0 and hears of the conversation at 1.
    pub(crate) fn new(users: &[&str]) -> Self {
        let conversation_id = ConversationId::from_uuid(uuid::Uuid::from_u128(77));
        let participants: Vec<UserId> =
            users.iter().filter(|name| **name != "mallory").map(|name| user(name)).collect();
        let mut trace = Self { events: Vec::new(), conversation_id, participants, sent: 0 };
        for name in users {
            trace.connect_at(0, name);
        }
        trace.members_at(1, users[0], 1, &trace.participants.clone());
        trace
    }

    pub(crate) fn push(&mut self, at_us: u64, what: Happening) {
        self.events.push(TraceEvent { at_us, what });
    }

    pub(crate) fn saw(&mut self, at_us: u64, who: &UserId, event: ServerEvent) {
        self.push(at_us, Happening::Saw { user: who.clone(), event });
    }

    pub(crate) fn connect_at(&mut self, at_us: u64, name: &str) {
        self.push(at_us, Happening::Connection { user: user(name), state: ConnectionState::Connected });
    }

    pub(crate) fn disconnect_at(&mut self, at_us: u64, name: &str) {
        let state = ConnectionState::Disconnected { reason: "dropped".into() };
        self.push(at_us, Happening::Connection { user: user(name), state });
    }

    pub(crate) fn members_at(&mut self, at_us: u64, name: &str, version: u64, participants: &[UserId]) {
        let conversation = Conversation {
            conversation_id: self.conversation_id,
            kind: ConversationKind::Group,
            title: None,
            created_at: Timestamp::from_millis(0),
            participants: participants
                .iter()
                .map(|id| Participant { user_id: id.clone(), role: Role::Member, joined_at: Timestamp::from_millis(0) })
                .collect(),
            settings: ConversationSettings::default(),
            version,
        };
        let change = if version == 1 { ConversationChange::Created } else { ConversationChange::ParticipantRemoved };
        let event = ServerEvent::ConversationUpdated(ConversationUpdated { change, conversation });
        self.saw(at_us, &user(name), event);
    }

    pub(crate) fn send_at(&mut self, at_us: u64, name: &str, text: &str) -> Made {
        self.sent += 1;
        let temp_id: TempId = format!("t{}", self.sent).parse().unwrap();
        let sender = user(name);
        let message_id = MessageId::derive(&sender, self.conversation_id, &temp_id);
        let made = Made { message_id, temp_id, sender, text: text.to_owned() };
        self.sent_event(at_us, &made, 1);
        made
    }

    pub(crate) fn retry_at(&mut self, at_us: u64, made: &Made) {
        self.sent_event(at_us, made, 2);
    }

    fn sent_event(&mut self, at_us: u64, made: &Made, attempt: u32) {
        self.push(
            at_us,
            Happening::Sent {
                user: made.sender.clone(),
                message_id: made.message_id,
                conversation_id: self.conversation_id,
                temp_id: made.temp_id.clone(),
                text: Some(made.text.clone()),
                reply_to: None,
                attempt,
            },
        );
    }

    pub(crate) fn ack(&self, made: &Made, state: AckState, seq: Option<u64>, error: Option<ErrorCode>) -> MessageAck {
        MessageAck {
            temp_id: made.temp_id.clone(),
            conversation_id: self.conversation_id,
            state,
            message_id: matches!(state, AckState::Delivered | AckState::Persisted).then_some(made.message_id),
            seq,
            error: error.map(|code| WireError::new(code, "refused")),
            at: Timestamp::from_millis(0),
        }
    }

    pub(crate) fn pending_at(&mut self, at_us: u64, made: &Made) {
        let ack = self.ack(made, AckState::Pending, None, None);
        self.saw(at_us, &made.sender, ServerEvent::Ack(ack));
    }

    pub(crate) fn delivered_at(&mut self, at_us: u64, made: &Made, seq: u64) {
        let ack = self.ack(made, AckState::Delivered, Some(seq), None);
        self.saw(at_us, &made.sender, ServerEvent::Ack(ack));
    }

    pub(crate) fn persisted_at(&mut self, at_us: u64, made: &Made) {
        let ack = self.ack(made, AckState::Persisted, None, None);
        self.saw(at_us, &made.sender, ServerEvent::Ack(ack));
    }

    pub(crate) fn rejected_at(&mut self, at_us: u64, made: &Made, code: ErrorCode) {
        let ack = self.ack(made, AckState::Rejected, None, Some(code));
        self.saw(at_us, &made.sender, ServerEvent::Ack(ack));
    }

    pub(crate) fn published_at(&mut self, at_us: u64, made: &Made, offset: u64) {
        let stage = Stage::Published { topic: "message.sent".into(), partition: 0, offset };
        self.push(at_us, Happening::Stage { message_id: made.message_id, stage });
    }

    /// Somebody sees the message as `message:new`; its `seq` is the place of its text in the order of sends.
    pub(crate) fn seen_at(&mut self, at_us: u64, name: &str, made: &Made) {
        let seq = made.temp_id.as_str()[1..].parse().unwrap();
        self.seen_with_seq_at(at_us, name, made, seq);
    }

    pub(crate) fn seen_with_seq_at(&mut self, at_us: u64, name: &str, made: &Made, seq: u64) {
        let message = Message {
            text: Some(MessageText::new(made.text.clone()).unwrap()),
            reactions: std::collections::BTreeMap::default(),
            seq,
            ..Message::new(made.message_id, self.conversation_id, made.sender.clone(), Timestamp::from_millis(0))
        };
        self.saw(at_us, &user(name), ServerEvent::New(MessageAnswer { message }));
    }

    pub(crate) fn edited_at(&mut self, at_us: u64, name: &str, made: &Made, text: &str) {
        let message = Message {
            text: Some(MessageText::new(text).unwrap()),
            edited_at: Some(Timestamp::from_millis(0)),
            ..Message::new(made.message_id, self.conversation_id, made.sender.clone(), Timestamp::from_millis(0))
        };
        self.saw(at_us, &user(name), ServerEvent::Edited(MessageAnswer { message }));
    }

    pub(crate) fn deleted_at(&mut self, at_us: u64, name: &str, made: &Made) {
        let deleted = MessageDeleted {
            conversation_id: self.conversation_id,
            message_id: made.message_id,
            mode: DeleteMode::Hard,
        };
        self.saw(at_us, &user(name), ServerEvent::Deleted(deleted));
    }
}
