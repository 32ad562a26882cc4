//! A request as it is put on the wire.
//!
//! Payloads are JSON and not the wire's own types, which could not say what is wrong about a wrong one.

use ackscope_protocol::wire::{
    AddParticipant, ArchiveConversation, ConversationKind, CreateConversation, DeleteMessage, DownloadUrl, EditMessage,
    ForwardMessages, History, LeaveConversation, ListConversations, MessageRef, MuteConversation, React,
    RemoveParticipant, Request, SearchQuery, SendMessage, Sync, UnarchiveConversation, UnmuteConversation, Unreact,
    UploadUrl,
};
use ackscope_protocol::{ConversationId, MediaId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

/// An event and its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The event's name.
    pub event: String,
    /// The payload.
    pub payload: Value,
}

impl Ask {
    /// Any event with any payload.
    pub fn new(event: impl Into<String>, payload: Value) -> Self {
        Self { event: event.into(), payload }
    }

    /// The same with one field more or another value in it.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.payload[field] = value.into();
        self
    }

    /// The same without a field.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        if let Some(fields) = self.payload.as_object_mut() {
            fields.remove(field);
        }
        self
    }
}

/// A `temp_id` nobody used before.
pub fn new_temp_id() -> String {
    format!("m-{}", Uuid::new_v4())
}

/// `conversation:create`.
pub fn create(kind: ConversationKind, others: &[UserId]) -> Ask {
    Ask::new(CreateConversation::EVENT, json!({ "kind": kind, "participants": others }))
}

/// `conversation:list`.
pub fn list() -> Ask {
    Ask::new(ListConversations::EVENT, json!({}))
}

/// `conversation:add_participant`.
pub fn add(conversation_id: ConversationId, user_id: &UserId, role: &str) -> Ask {
    let payload = json!({ "conversation_id": conversation_id, "user_id": user_id, "role": role });
    Ask::new(AddParticipant::EVENT, payload)
}

/// `conversation:remove_participant`.
pub fn remove(conversation_id: ConversationId, user_id: &UserId) -> Ask {
    let payload = json!({ "conversation_id": conversation_id, "user_id": user_id });
    Ask::new(RemoveParticipant::EVENT, payload)
}

fn conversation_only(event: &str, conversation_id: ConversationId) -> Ask {
    Ask::new(event, json!({ "conversation_id": conversation_id }))
}

/// `conversation:leave`.
pub fn leave(conversation_id: ConversationId) -> Ask {
    conversation_only(LeaveConversation::EVENT, conversation_id)
}

/// `conversation:archive`.
pub fn archive(conversation_id: ConversationId) -> Ask {
    conversation_only(ArchiveConversation::EVENT, conversation_id)
}

/// `conversation:unarchive`.
pub fn unarchive(conversation_id: ConversationId) -> Ask {
    conversation_only(UnarchiveConversation::EVENT, conversation_id)
}

/// `conversation:mute`, for good.
pub fn mute(conversation_id: ConversationId) -> Ask {
    conversation_only(MuteConversation::EVENT, conversation_id)
}

/// `conversation:unmute`.
pub fn unmute(conversation_id: ConversationId) -> Ask {
    conversation_only(UnmuteConversation::EVENT, conversation_id)
}

/// `message:send`, a new text.
pub fn send(conversation_id: ConversationId) -> Ask {
    let payload = json!({ "conversation_id": conversation_id, "temp_id": new_temp_id(), "text": "hello" });
    Ask::new(SendMessage::EVENT, payload)
}

fn of_message(event: &str, message: MessageRef) -> Ask {
    let payload = json!({ "conversation_id": message.conversation_id, "message_id": message.message_id });
    Ask::new(event, payload)
}

/// `message:edit`, to another text.
pub fn edit(message: MessageRef) -> Ask {
    of_message(EditMessage::EVENT, message).with("text", "edited")
}

/// `message:delete` in a mode.
pub fn delete(message: MessageRef, mode: &str) -> Ask {
    of_message(DeleteMessage::EVENT, message).with("mode", mode)
}

/// `message:react`.
pub fn react(message: MessageRef, emoji: &str) -> Ask {
    of_message(React::EVENT, message).with("emoji", emoji)
}

/// `message:unreact`.
pub fn unreact(message: MessageRef, emoji: &str) -> Ask {
    of_message(Unreact::EVENT, message).with("emoji", emoji)
}

/// `message:forward`.
pub fn forward(messages: &[MessageRef], targets: &[ConversationId]) -> Ask {
    let payload = json!({ "messages": messages, "targets": targets, "temp_id": new_temp_id() });
    Ask::new(ForwardMessages::EVENT, payload)
}

/// `message:history`.
pub fn history(conversation_id: ConversationId) -> Ask {
    conversation_only(History::EVENT, conversation_id)
}

/// `media:upload_url` for a small picture.
pub fn upload_url(size_bytes: u64) -> Ask {
    let payload = json!({ "file_name": "picture.png", "content_type": "image/png", "size_bytes": size_bytes });
    Ask::new(UploadUrl::EVENT, payload)
}

/// `media:download_url`.
pub fn download_url(media_id: MediaId) -> Ask {
    Ask::new(DownloadUrl::EVENT, json!({ "media_id": media_id }))
}

/// `search:query` everywhere.
pub fn search(text: &str) -> Ask {
    Ask::new(SearchQuery::EVENT, json!({ "text": text }))
}

/// `sync` from now.
pub fn sync() -> Ask {
    Ask::new(Sync::EVENT, json!({}))
}
