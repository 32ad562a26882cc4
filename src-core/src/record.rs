//! What stands in the records of the event log: a versioned JSON envelope (S1.6).

use ackscope_protocol::wire::{ConversationChange, Message};
use ackscope_protocol::{ConversationId, MessageId, TempId, Timestamp, UserId};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::{NewRecord, Record, Topic};
use crate::repositories::StoredConversation;
use crate::state::MessageChange;

/// Version of the envelope. A reader refuses what it does not know; the record then goes to the dead letters.
pub const ENVELOPE_VERSION: u32 = 1;

/// Name of the W3C trace context header.
pub const TRACEPARENT: &str = "traceparent";

/// Around every payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// [`ENVELOPE_VERSION`].
    pub version: u32,
    /// When it was published, in business time.
    pub at: Timestamp,
    /// The payload.
    pub data: T,
}

/// A payload and the topic it travels on.
pub trait Payload: Serialize + DeserializeOwned {
    /// The topic.
    fn topic(&self) -> Topic;
    /// The conversation it belongs to: the record's key.
    fn conversation_id(&self) -> ConversationId;
}

/// On `message.sent`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageSent {
    /// The message, with its `temp_id`. Its `seq` is 0 here: the record's offset is its place.
    pub message: Message,
    /// Version of the conversation the permission check saw. A reader with an older one looks again.
    pub conversation_version: u64,
    /// Whether the store was asked, before publishing, and did not have the message, and this record is published
    /// once. When it could not be asked, or the record comes from the outbox, which may publish it again, a reader
    /// that does not know the message asks before it tells anybody.
    pub is_known_new: bool,
    /// The connection that sent it, as `node/connection`: it gets ACKs and not `message:new`. Empty for a copy
    /// made by a forward, which gets no ACKs.
    pub origin: String,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// In the store.
    Persisted,
    /// It cannot be stored, for good.
    Failed {
        /// Why, one line.
        reason: String,
    },
}

/// On `message.delivered`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageDelivered {
    /// Which message.
    pub message_id: MessageId,
    /// Where.
    pub conversation_id: ConversationId,
    /// Whose.
    pub sender_id: UserId,
    /// The sender's own name for it.
    pub temp_id: TempId,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When, in business time.
    pub timestamp: Timestamp,
}

/// On `conversation.updated`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversationUpdated {
    /// What changed.
    pub change: ConversationChange,
    /// Whom it is about: who came, left or changed its settings. Nobody when the conversation is new.
    #[serde(default)]
    pub subject: Option<UserId>,
    /// The conversation after the change, whole.
    pub conversation: StoredConversation,
}

impl Payload for MessageChange {
    fn topic(&self) -> Topic {
        Self::topic(self)
    }
    fn conversation_id(&self) -> ConversationId {
        self.conversation_id
    }
}

impl Payload for MessageSent {
    fn topic(&self) -> Topic {
        Topic::MessageSent
    }
    fn conversation_id(&self) -> ConversationId {
        self.message.conversation_id
    }
}

impl Payload for MessageDelivered {
    fn topic(&self) -> Topic {
        Topic::MessageDelivered
    }
    fn conversation_id(&self) -> ConversationId {
        self.conversation_id
    }
}

impl Payload for ConversationUpdated {
    fn topic(&self) -> Topic {
        Topic::ConversationUpdated
    }
    fn conversation_id(&self) -> ConversationId {
        self.conversation.conversation_id
    }
}

/// A record that does not read as what its topic carries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON it should be.
    #[error("the record does not read: {0}")]
    Unreadable(String),
    /// A version this program does not know.
    #[error("the record has version {0}, this program knows {ENVELOPE_VERSION}")]
    Version(u32),
}

/// A payload in its envelope, ready to be published. `trace_id` leads through every record of one message.
pub fn encode<T: Payload>(payload: &T, at: Timestamp, trace_id: Uuid) -> Result<NewRecord, RecordError> {
    let envelope = Envelope { version: ENVELOPE_VERSION, at, data: payload };
    let value = serde_json::to_vec(&envelope).map_err(|error| RecordError::Unreadable(error.to_string()))?;
    Ok(NewRecord {
        topic: payload.topic(),
        key: payload.conversation_id().to_string(),
        headers: vec![(TRACEPARENT.to_owned(), traceparent(trace_id))],
        value: Bytes::from(value),
    })
}

/// A W3C `traceparent` of version 00, sampled, with a new parent id.
fn traceparent(trace_id: Uuid) -> String {
    let parent = Uuid::new_v4().as_u64_pair().0;
    format!("00-{}-{parent:016x}-01", trace_id.simple())
}

/// Reads a record's payload.
pub fn decode<T: Payload>(record: &Record) -> Result<Envelope<T>, RecordError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    match serde_json::from_slice::<Envelope<T>>(&record.value) {
        Ok(envelope) if envelope.version == ENVELOPE_VERSION => {
            let topic = envelope.data.topic();
            if topic != record.position.topic {
                return Err(RecordError::Unreadable(format!("it belongs on {topic}")));
            }
            Ok(envelope)
        }
        Ok(envelope) => Err(RecordError::Version(envelope.version)),
        // A later version may have another shape: then its number is the better reason.
        Err(error) => match serde_json::from_slice::<Version>(&record.value) {
            Ok(Version { version }) if version != ENVELOPE_VERSION => Err(RecordError::Version(version)),
            _ => Err(RecordError::Unreadable(error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Position;

    fn payload() -> MessageDelivered {
        let id = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
        MessageDelivered {
            message_id: id.parse().unwrap(),
            conversation_id: id.parse().unwrap(),
            sender_id: "ana".parse().unwrap(),
            temp_id: "t".parse().unwrap(),
            outcome: Outcome::Failed { reason: "damaged".into() },
            timestamp: Timestamp::from_millis(5),
        }
    }

    fn record(value: Bytes) -> Record {
        let position = Position { topic: Topic::MessageDelivered, partition: 0, offset: 0 };
        Record { position, key: String::new(), headers: Vec::new(), value, appended_at: Timestamp::from_millis(0) }
    }

    #[test]
    fn a_payload_reads_back_and_carries_its_trace() {
        let new = encode(&payload(), Timestamp::from_millis(9), Uuid::from_u128(1)).unwrap();
        assert!(new.headers[0].1.starts_with("00-00000000000000000000000000000001-"));
        assert_eq!(new.headers[0].1.len(), 55);
        let envelope = decode::<MessageDelivered>(&record(new.value)).unwrap();
        assert_eq!(envelope.data, payload());
        assert_eq!(envelope.at, Timestamp::from_millis(9));
    }

    #[test]
    fn what_is_unknown_or_damaged_says_which() {
        let later = Bytes::from_static(b"{\"version\":2,\"something\":\"else\"}");
        assert_eq!(decode::<MessageDelivered>(&record(later)), Err(RecordError::Version(2)));
        for bad in ["", "{", "null", "{\"version\":1}"] {
            let result = decode::<MessageDelivered>(&record(Bytes::from(bad)));
            assert!(matches!(result, Err(RecordError::Unreadable(_))), "{bad}: {result:?}");
        }
    }
}
