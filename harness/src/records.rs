//! What records of the event log are about, whichever topic they are of.

use ackscope_protocol::ids::{ConversationId, MessageId};
use serde_json::Value;

/// What a record is about, or must be about to be counted; both absent: anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// The message.
    pub(crate) message_id: Option<MessageId>,
    /// The conversation.
    pub(crate) conversation_id: Option<ConversationId>,
}

/// What a record says it is about, whichever topic it is of.
pub(crate) fn about_of(value: &[u8]) -> Option<About> {
    let envelope: Value = serde_json::from_slice(value).ok()?;
    let data = &envelope["data"];
    let id = |places: [&Value; 3]| places.into_iter().find_map(Value::as_str).map(str::to_owned);
    let message_id = id([&data["message_id"], &data["message"]["message_id"], &Value::Null]);
    let conversation_id =
        id([&data["conversation_id"], &data["message"]["conversation_id"], &data["conversation"]["conversation_id"]]);
    Some(About {
        message_id: message_id.and_then(|id| id.parse().ok()),
        conversation_id: conversation_id.and_then(|id| id.parse().ok()),
    })
}
