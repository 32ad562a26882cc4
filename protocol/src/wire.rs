//! The wire of the chat service: one JSON object for each event (S1.8).
//!
//! Requests implement [`Request`], which ties the event's name to its payload and its answer. [`parse`] is
//! the one way a request comes in: what it refuses names the field.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, WireError};
use crate::ids::{ConversationId, MediaId, MessageId, TempId, UserId};
use crate::limits::{MEDIA_MAX_ITEMS, PARTICIPANTS_MAX};
use crate::text::{ConversationLimit, Cursor, Emoji, FileName, HistoryLimit, MessageText, Title};
use crate::time::Timestamp;

/// The Socket.IO namespace of the chat service.
pub const NAMESPACE: &str = "/chat";

/// A client event: its name, its payload (`Self`) and what a success answers.
pub trait Request: DeserializeOwned + Serialize {
    /// The event's name on the wire.
    const EVENT: &'static str;
    /// An older name that is still understood, if there is one.
    const OLDER_NAME: Option<&'static str> = None;
    /// What `data` of the answer holds.
    type Answer: DeserializeOwned + Serialize;
}

/// Reads a request. Unknown fields are ignored; a missing or wrong one is named.
pub fn parse<R: Request>(payload: serde_json::Value) -> Result<R, WireError> {
    // Derived structs would also take an array of their fields in order, which the wire does not know.
    if !payload.is_object() {
        return Err(WireError::new(ErrorCode::InvalidPayload, format!("{} takes one JSON object", R::EVENT)));
    }
    serde_path_to_error::deserialize(payload).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        let sentence = if path == "." { reason } else { format!("field `{path}`: {reason}") };
        WireError::new(ErrorCode::InvalidPayload, sentence)
    })
}

/// What the Socket.IO ack callback gets: `{"ok": true, "data": …}` or `{"ok": false, "error": …}`.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<T> {
    /// The request was carried out.
    Ok(T),
    /// The request was refused and had no effect.
    Err(WireError),
}

impl<T> From<Result<T, WireError>> for Answer<T> {
    fn from(result: Result<T, WireError>) -> Self {
        match result {
            Ok(data) => Self::Ok(data),
            Err(error) => Self::Err(error),
        }
    }
}

impl<T> From<Answer<T>> for Result<T, WireError> {
    fn from(answer: Answer<T>) -> Self {
        match answer {
            Answer::Ok(data) => Ok(data),
            Answer::Err(error) => Err(error),
        }
    }
}

impl<T: Serialize> Serialize for Answer<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut object = serializer.serialize_struct("Answer", 2)?;
        match self {
            Self::Ok(data) => {
                object.serialize_field("ok", &true)?;
                object.serialize_field("data", data)?;
            }
            Self::Err(error) => {
                object.serialize_field("ok", &false)?;
                object.serialize_field("error", error)?;
            }
        }
        object.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Answer<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        #[derive(Deserialize)]
        struct Raw<T> {
            ok: bool,
            data: Option<T>,
            error: Option<WireError>,
        }
        match Raw::deserialize(deserializer)? {
            Raw { ok: true, data: Some(data), .. } => Ok(Self::Ok(data)),
            Raw { ok: false, error: Some(error), .. } => Ok(Self::Err(error)),
            _ => Err(D::Error::custom("expected `ok: true` with `data`, or `ok: false` with `error`")),
        }
    }
}

/// The answer of events whose `data` is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

// ---- values ---------------------------------------------------------------------------------------------

/// The kind of a conversation (S1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Exactly two people; creating it twice gives the same one.
    Direct,
    /// Everybody posts.
    Group,
    /// Only owner and admins post; everyone reads and reacts.
    Channel,
}

impl ConversationKind {
    /// The kind as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Channel => "channel",
        }
    }
}

/// A participant's role (S1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads, posts (except in a channel), reacts, leaves.
    Member,
    /// Also adds and removes members.
    Admin,
    /// Also removes admins. One for each conversation.
    Owner,
}

impl Role {
    /// The role as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

/// A participant as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Who.
    pub user_id: UserId,
    /// What they may do.
    pub role: Role,
    /// Since when; the succession of the owner follows it.
    pub joined_at: Timestamp,
}

/// The asker's own settings of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationSettings {
    /// Muted until then; for good is [`Timestamp::MAX`]; `null` is not muted.
    pub muted_until: Option<Timestamp>,
    /// Whether it is archived.
    pub archived: bool,
}

/// A conversation as one participant sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The id.
    pub conversation_id: ConversationId,
    /// The kind.
    pub kind: ConversationKind,
    /// The title, if it has one.
    pub title: Option<Title>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Everybody in it, longest-standing first.
    pub participants: Vec<Participant>,
    /// The asker's own settings.
    pub settings: ConversationSettings,
    /// Grows by one with every change of the conversation or its participants.
    pub version: u64,
}

/// What is known of a message's media item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaState {
    /// The media service knows it and it is what it claims.
    Verified,
    /// The media service did not answer; it is asked again after recovery (S1.7).
    Unverified,
    /// The media service refused it after the message was accepted.
    Invalid,
}

/// A media item of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageMedia {
    /// The id.
    pub media_id: MediaId,
    /// What is known of it.
    pub media_state: MediaState,
}

/// An earlier text of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The text that was replaced.
    pub text: String,
    /// When it was replaced.
    pub at: Timestamp,
}

/// Who deleted a message, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Who.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
}

/// Names a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageRef {
    /// The conversation it is in.
    pub conversation_id: ConversationId,
    /// The message.
    pub message_id: MessageId,
}

/// Reactions: emoji → who.
pub type Reactions = BTreeMap<String, Vec<UserId>>;

/// A message as one viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The id.
    pub message_id: MessageId,
    /// The conversation it is in.
    pub conversation_id: ConversationId,
    /// Who sent it.
    pub sender_id: UserId,
    /// The sender's own name for it; only the sender sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_id: Option<TempId>,
    /// The text; none when there is only media, and none after deletion.
    pub text: Option<MessageText>,
    /// Media items.
    pub media: Vec<MessageMedia>,
    /// The message this one answers.
    pub reply_to: Option<MessageId>,
    /// The first message of the thread this one is in.
    pub thread_root: Option<MessageId>,
    /// When the service accepted it, by the service's clock.
    pub created_at: Timestamp,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
    /// Every earlier text.
    pub edits: Vec<Edit>,
    /// Set on a tombstone.
    pub deleted: Option<Deleted>,
    /// Reactions.
    pub reactions: Reactions,
    /// The message this one is a copy of.
    pub forwarded_from: Option<MessageRef>,
    /// How often this message was forwarded.
    pub forward_count: u64,
    /// Its place in the conversation: the order everybody sees. Grows, with gaps.
    pub seq: u64,
}

impl Message {
    /// A message in which nothing stands yet but its name, its sender and when it came.
    pub fn new(
        message_id: MessageId,
        conversation_id: ConversationId,
        sender_id: UserId,
        created_at: Timestamp,
    ) -> Self {
        Self {
            message_id,
            conversation_id,
            sender_id,
            temp_id: None,
            text: None,
            media: Vec::new(),
            reply_to: None,
            thread_root: None,
            created_at,
            edited_at: None,
            edits: Vec::new(),
            deleted: None,
            reactions: Reactions::new(),
            forwarded_from: None,
            forward_count: 0,
            seq: 0,
        }
    }
}

// ---- requests -------------------------------------------------------------------------------------------

/// `conversation:create`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateConversation {
    /// The kind.
    pub kind: ConversationKind,
    /// The others' ids.
    #[serde(deserialize_with = "bounded_list::<_, _, PARTICIPANTS_MAX>")]
    pub participants: Vec<UserId>,
    /// A title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
}

/// Answer of every event that changes a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversationAnswer {
    /// The conversation after the change.
    pub conversation: Conversation,
}

/// `conversation:list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListConversations {
    /// Archived ones instead of the others.
    #[serde(default)]
    pub archived: bool,
    /// Most conversations in the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<ConversationLimit>,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// Answer of `conversation:list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversationPage {
    /// Newest first.
    pub conversations: Vec<Conversation>,
    /// Absent on the last page.
    pub next_cursor: Option<Cursor>,
}

/// The role a participant is added with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddedRole {
    /// As [`Role::Member`].
    Member,
    /// As [`Role::Admin`].
    Admin,
}

/// `conversation:add_participant`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddParticipant {
    /// Where.
    pub conversation_id: ConversationId,
    /// Whom.
    pub user_id: UserId,
    /// Absent: `member`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<AddedRole>,
}

/// `conversation:remove_participant`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveParticipant {
    /// Where.
    pub conversation_id: ConversationId,
    /// Whom.
    pub user_id: UserId,
}

macro_rules! conversation_only {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            /// Where.
            pub conversation_id: ConversationId,
        })*
    };
}

conversation_only! {
    /// `conversation:leave`.
    LeaveConversation;
    /// `conversation:archive`.
    ArchiveConversation;
    /// `conversation:unarchive`.
    UnarchiveConversation;
    /// `conversation:unmute`.
    UnmuteConversation;
}

/// `conversation:mute`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MuteConversation {
    /// Where.
    pub conversation_id: ConversationId,
    /// For how many seconds; absent: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u64>,
}

/// `message:send`, older name `sendMessage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendMessage {
    /// Where.
    pub conversation_id: ConversationId,
    /// The client's own name for the message.
    pub temp_id: TempId,
    /// The text; may be absent when there is media.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<MessageText>,
    /// Media items.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "optional_list::<_, _, MEDIA_MAX_ITEMS>"
    )]
    pub media: Vec<MediaId>,
    /// A message of the same conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
}

/// Answer of `message:send`, once the outcome is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The client's own name for the message.
    pub temp_id: TempId,
    /// The message's id.
    pub message_id: MessageId,
    /// When the service accepted it.
    pub created_at: Timestamp,
}

/// `message:edit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EditMessage {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which.
    pub message_id: MessageId,
    /// The new text.
    pub text: MessageText,
}

/// Answer of `message:edit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageAnswer {
    /// The message after the change.
    pub message: Message,
}

/// How a message is deleted (S1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteMode {
    /// A tombstone stays.
    Soft,
    /// Gone from store, cache and search.
    Hard,
    /// Hidden from the caller alone.
    ForMe,
}

/// `message:delete`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteMessage {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which.
    pub message_id: MessageId,
    /// How.
    pub mode: DeleteMode,
}

/// `message:forward`.
///
/// The lists are not limited here: more than the rules allow answers `too_many_targets` or `too_many_messages`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardMessages {
    /// What.
    pub messages: Vec<MessageRef>,
    /// Where to.
    pub targets: Vec<ConversationId>,
    /// The client's own name for the request.
    pub temp_id: TempId,
}

/// One copy made by `message:forward`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardedMessage {
    /// The copy.
    pub message_id: MessageId,
    /// Where it is.
    pub conversation_id: ConversationId,
    /// What it is a copy of.
    pub origin: MessageRef,
}

/// Answer of `message:forward`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    /// Every copy.
    pub forwarded: Vec<ForwardedMessage>,
}

/// `message:react`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct React {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which.
    pub message_id: MessageId,
    /// One grapheme.
    pub emoji: Emoji,
}

/// `message:unreact`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unreact {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which.
    pub message_id: MessageId,
    /// One grapheme.
    pub emoji: Emoji,
}

/// Answer of `message:react` and `message:unreact`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReactionsAnswer {
    /// All reactions after the change.
    pub reactions: Reactions,
}

/// `message:history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Where.
    pub conversation_id: ConversationId,
    /// Most messages in the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<HistoryLimit>,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// Only the thread with this root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<MessageId>,
}

/// Answer of `message:history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessagePage {
    /// Newest first.
    pub messages: Vec<Message>,
    /// Absent on the last page.
    pub next_cursor: Option<Cursor>,
}

/// `media:upload_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadUrl {
    /// The file's name.
    pub file_name: FileName,
    /// Its MIME type.
    pub content_type: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Answer of `media:upload_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadUrlAnswer {
    /// The new item.
    pub media_id: MediaId,
    /// Where to put the bytes.
    pub url: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// `media:download_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DownloadUrl {
    /// Which item.
    pub media_id: MediaId,
}

/// Answer of `media:download_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DownloadUrlAnswer {
    /// Where to get the bytes.
    pub url: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// `search:query`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchQuery {
    /// What to look for.
    pub text: MessageText,
    /// Only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Most messages in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<HistoryLimit>,
}

/// Answer of `search:query`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchAnswer {
    /// Best first.
    pub messages: Vec<Message>,
}

/// `sync`: everything missed since a cursor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// Absent: from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// Answer of `sync`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncAnswer {
    /// What was missed, in the order of the log.
    pub events: Vec<ServerEvent>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether there is more: ask again with `cursor`.
    pub more: bool,
}

macro_rules! requests {
    ($($request:ty = $event:literal -> $answer:ty;)*) => {
        $(impl Request for $request {
            const EVENT: &'static str = $event;
            type Answer = $answer;
        })*
        /// Every client event of S1.8 by its name, older names excepted.
        pub const CLIENT_EVENTS: &[&str] = &[SendMessage::EVENT, $($event,)*];
    };
}

impl Request for SendMessage {
    const EVENT: &'static str = "message:send";
    const OLDER_NAME: Option<&'static str> = Some("sendMessage");
    type Answer = Sent;
}

requests! {
    EditMessage = "message:edit" -> MessageAnswer;
    DeleteMessage = "message:delete" -> Nothing;
    ForwardMessages = "message:forward" -> Forwarded;
    React = "message:react" -> ReactionsAnswer;
    Unreact = "message:unreact" -> ReactionsAnswer;
    History = "message:history" -> MessagePage;
    CreateConversation = "conversation:create" -> ConversationAnswer;
    ListConversations = "conversation:list" -> ConversationPage;
    AddParticipant = "conversation:add_participant" -> ConversationAnswer;
    RemoveParticipant = "conversation:remove_participant" -> ConversationAnswer;
    LeaveConversation = "conversation:leave" -> Nothing;
    MuteConversation = "conversation:mute" -> ConversationAnswer;
    UnmuteConversation = "conversation:unmute" -> ConversationAnswer;
    ArchiveConversation = "conversation:archive" -> ConversationAnswer;
    UnarchiveConversation = "conversation:unarchive" -> ConversationAnswer;
    UploadUrl = "media:upload_url" -> UploadUrlAnswer;
    DownloadUrl = "media:download_url" -> DownloadUrlAnswer;
    SearchQuery = "search:query" -> SearchAnswer;
    Sync = "sync" -> SyncAnswer;
}

// ---- server events --------------------------------------------------------------------------------------

/// The state of a message as its sender is told (S1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckState {
    /// Seen by the service; nothing decided.
    Pending,
    /// Validated and accepted by the event log.
    Delivered,
    /// Refused or failed.
    Rejected,
    /// In the store.
    Persisted,
}

impl AckState {
    /// The state as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Persisted => "persisted",
        }
    }
}

/// `message:ack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAck {
    /// The client's own name for the message.
    pub temp_id: TempId,
    /// The conversation it is in.
    pub conversation_id: ConversationId,
    /// The state it has reached.
    pub state: AckState,
    /// From `delivered` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// Its place in the conversation, with `delivered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// With `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
    /// When, by the service's clock.
    pub at: Timestamp,
}

/// What changed in `conversation:updated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationChange {
    /// It is new.
    Created,
    /// Somebody came in.
    ParticipantAdded,
    /// Somebody left or was removed.
    ParticipantRemoved,
    /// The receiver's own settings changed.
    SettingsChanged,
}

/// `conversation:updated`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversationUpdated {
    /// What changed.
    pub change: ConversationChange,
    /// The conversation after the change.
    pub conversation: Conversation,
}

/// `message:deleted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageDeleted {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which.
    pub message_id: MessageId,
    /// How.
    pub mode: DeleteMode,
}

/// `message:reaction`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageReaction {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which.
    pub message_id: MessageId,
    /// All reactions after the change.
    pub reactions: Reactions,
}

/// `message:delivered`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageDelivered {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which.
    pub message_id: MessageId,
    /// When.
    pub at: Timestamp,
}

/// Everything the service tells a client on its own: `event` and `data`, as `sync` lists them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data")]
pub enum ServerEvent {
    /// `message:ack`.
    #[serde(rename = "message:ack")]
    Ack(MessageAck),
    /// `message:new`.
    #[serde(rename = "message:new")]
    New(MessageAnswer),
    /// `message:edited`.
    #[serde(rename = "message:edited")]
    Edited(MessageAnswer),
    /// `message:deleted`.
    #[serde(rename = "message:deleted")]
    Deleted(MessageDeleted),
    /// `message:reaction`.
    #[serde(rename = "message:reaction")]
    Reaction(MessageReaction),
    /// `message:delivered`.
    #[serde(rename = "message:delivered")]
    Delivered(MessageDelivered),
    /// `conversation:updated`.
    #[serde(rename = "conversation:updated")]
    ConversationUpdated(ConversationUpdated),
    /// `error`: a refusal that belongs to no ack callback.
    #[serde(rename = "error")]
    Error(WireError),
}

impl ServerEvent {
    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ack(_) => "message:ack",
            Self::New(_) => "message:new",
            Self::Edited(_) => "message:edited",
            Self::Deleted(_) => "message:deleted",
            Self::Reaction(_) => "message:reaction",
            Self::Delivered(_) => "message:delivered",
            Self::ConversationUpdated(_) => "conversation:updated",
            Self::Error(_) => "error",
        }
    }

    /// Reads an event from its name and payload, as they come over a Socket.IO connection.
    pub fn from_parts(event: &str, data: serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut object = serde_json::Map::new();
        object.insert("event".to_owned(), event.into());
        object.insert("data".to_owned(), data);
        serde_json::from_value(object.into())
    }
}

// ---- helpers --------------------------------------------------------------------------------------------

/// A list of at most `MAX` items.
fn bounded_list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    use serde::de::Error as _;
    let list = Vec::<T>::deserialize(deserializer)?;
    if list.len() > MAX {
        return Err(D::Error::custom(format!("expected at most {MAX} items, found {}", list.len())));
    }
    Ok(list)
}

/// Like [`bounded_list`]; `null` is the empty list, as an absent optional field is.
fn optional_list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    use serde::de::Error as _;
    let list = Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default();
    if list.len() > MAX {
        return Err(D::Error::custom(format!("expected at most {MAX} items, found {}", list.len())));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CONVERSATION: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

    fn send(change: impl FnOnce(&mut serde_json::Value)) -> Result<SendMessage, WireError> {
        let mut payload = json!({ "conversation_id": CONVERSATION, "temp_id": "t", "text": "hello" });
        change(&mut payload);
        parse(payload)
    }

    #[test]
    fn a_whole_request_is_read_and_unknown_fields_are_ignored() {
        let request = send(|p| p["later"] = json!({ "version": 2 })).unwrap();
        assert_eq!(request.text.as_deref(), Some("hello"));
        assert!(request.media.is_empty());
    }

    #[test]
    fn a_wrong_field_is_named() {
        for bad in [json!(null), json!(5), json!([]), json!({ "$ne": null }), json!(true), json!("x")] {
            let error = send(|p| p["conversation_id"] = bad.clone()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidPayload);
            assert!(error.message.contains("conversation_id"), "{bad}: {}", error.message);
        }
        for bad in [json!(5), json!([]), json!({ "$ne": null }), json!("x".repeat(4_097))] {
            let error = send(|p| p["text"] = bad.clone()).unwrap_err();
            assert!(error.message.contains("text"), "{}", error.message);
        }
        let error = send(|p| p["media"] = json!(vec![CONVERSATION; 11])).unwrap_err();
        assert!(error.message.contains("media"), "{}", error.message);
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = send(|p| {
            p.as_object_mut().unwrap().remove("temp_id");
        })
        .unwrap_err();
        assert!(error.message.contains("temp_id"), "{}", error.message);
    }

    #[test]
    fn only_an_object_is_a_request() {
        for bad in [json!(null), json!([CONVERSATION, "t"]), json!("x"), json!(1)] {
            assert!(parse::<SendMessage>(bad.clone()).is_err(), "{bad}");
            assert!(parse::<Sync>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_have_the_two_shapes_of_the_wire() {
        let ok: Answer<Nothing> = Answer::Ok(Nothing {});
        assert_eq!(serde_json::to_value(&ok).unwrap(), json!({ "ok": true, "data": {} }));
        let refused: Answer<Nothing> = Answer::Err(WireError::new(ErrorCode::NotFound, "no such conversation"));
        let value = serde_json::to_value(&refused).unwrap();
        assert_eq!(
            value,
            json!({ "ok": false, "error": { "code": "not_found", "message": "no such conversation", "retryable": false } })
        );
        assert_eq!(serde_json::from_value::<Answer<Nothing>>(value).unwrap(), refused);
    }

    #[test]
    fn server_events_go_by_their_names() {
        let event = ServerEvent::Delivered(MessageDelivered {
            conversation_id: CONVERSATION.parse().unwrap(),
            message_id: CONVERSATION.parse().unwrap(),
            at: Timestamp::from_millis(0),
        });
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(value["event"], event.name());
        assert_eq!(ServerEvent::from_parts(event.name(), value["data"].clone()).unwrap(), event);
    }
}
