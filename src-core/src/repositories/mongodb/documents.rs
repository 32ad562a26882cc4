//! How things are written as documents, and read back.
//!
//! An absent field stands for nothing, so that a document says only what is there. Ids are text, times are dates,
//! and counters are 64-bit integers.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use ::mongodb::bson::{Bson, DateTime, Document, doc, from_bson, to_bson};
use ackscope_protocol::text::{MessageText, Title};
use ackscope_protocol::wire::{Deleted, Edit, Message, MessageMedia, MessageRef, Reactions};
use ackscope_protocol::{ConversationId, MessageId, TempId, Timestamp, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::operation::damaged;
use crate::repositories::{StoreError, StoredConversation, StoredParticipant};
use crate::state::{Found, Gone, MessageState, Revision, StoredMessage};

// ---- values ---------------------------------------------------------------------------------------------

/// The name serde gives a value, such as `owner`.
pub(super) fn name_of(value: &impl Serialize) -> Result<Bson, StoreError> {
    match to_bson(value) {
        Ok(name @ Bson::String(_)) => Ok(name),
        _ => Err(damaged("a value has no name")),
    }
}

/// The server's integers are signed. No counter of ours gets beyond them; one that claims to is damaged.
pub(super) fn integer(what: &str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| damaged(format_args!("{what} {number} is out of range")))
}

/// An offset of the log, which is not ours to limit: one that no integer holds is written as text.
pub(super) fn offset(number: u64) -> Bson {
    i64::try_from(number).map_or_else(|_| Bson::String(number.to_string()), Bson::Int64)
}

fn date(at: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(at.as_millis()))
}

/// Writes a field, if there is something to write.
fn set(document: &mut Document, field: &str, value: Option<impl Into<Bson>>) {
    if let Some(value) = value {
        document.insert(field, value);
    }
}

/// Writes a list, if it is not empty.
fn set_list(document: &mut Document, field: &str, values: Vec<Bson>) {
    if !values.is_empty() {
        document.insert(field, values);
    }
}

/// Reads the fields of one document. Whatever is not what it should be is damage, told with the document's and the
/// field's name and never with its content.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    document: &'a Document,
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(document: &'a Document, what: &'static str) -> Self {
        Self { document, what }
    }

    fn wrong(&self, field: &str) -> StoreError {
        damaged(format_args!("{}: `{field}` is not what it should be", self.what))
    }

    fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| damaged(format_args!("{}: `{field}` is not there", self.what)))
    }

    fn optional_text(&self, field: &str) -> Result<Option<&'a str>, StoreError> {
        match self.document.get(field) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field)),
        }
    }

    pub(super) fn text(&self, field: &str) -> Result<&'a str, StoreError> {
        self.required(field, self.optional_text(field)?)
    }

    pub(super) fn optional_parsed<T: FromStr>(&self, field: &str) -> Result<Option<T>, StoreError> {
        self.optional_text(field)?.map(str::parse).transpose().map_err(|_| self.wrong(field))
    }

    pub(super) fn parsed<T: FromStr>(&self, field: &str) -> Result<T, StoreError> {
        self.required(field, self.optional_parsed(field)?)
    }

    /// A value by the name serde gives it.
    fn named<T: DeserializeOwned>(&self, field: &str) -> Result<T, StoreError> {
        let name = self.text(field)?;
        from_bson(Bson::String(name.to_owned())).map_err(|_| self.wrong(field))
    }

    pub(super) fn optional_date(&self, field: &str) -> Result<Option<Timestamp>, StoreError> {
        match self.document.get(field) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::DateTime(at)) => Ok(Some(Timestamp::from_millis(at.timestamp_millis()))),
            Some(_) => Err(self.wrong(field)),
        }
    }

    pub(super) fn date(&self, field: &str) -> Result<Timestamp, StoreError> {
        self.required(field, self.optional_date(field)?)
    }

    /// A whole number from 0. Other clients write small ones with 32 bits or as a float.
    pub(super) fn optional_number(&self, field: &str) -> Result<Option<u64>, StoreError> {
        let number = match self.document.get(field) {
            None | Some(Bson::Null) => return Ok(None),
            Some(Bson::Int32(number)) => u64::try_from(*number).ok(),
            Some(Bson::Int64(number)) => u64::try_from(*number).ok(),
            Some(Bson::Double(number)) if number.fract() == 0.0 && *number >= 0.0 => Some(*number as u64),
            Some(Bson::String(number)) => number.parse().ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(field))
    }

    pub(super) fn number(&self, field: &str) -> Result<u64, StoreError> {
        self.required(field, self.optional_number(field)?)
    }

    /// False when it is not there.
    fn flag(&self, field: &str) -> Result<bool, StoreError> {
        match self.document.get(field) {
            None | Some(Bson::Null) => Ok(false),
            Some(Bson::Boolean(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(field)),
        }
    }

    /// Empty when it is not there.
    fn list(&self, field: &str) -> Result<&'a [Bson], StoreError> {
        match self.document.get(field) {
            None | Some(Bson::Null) => Ok(&[]),
            Some(Bson::Array(values)) => Ok(values),
            Some(_) => Err(self.wrong(field)),
        }
    }

    fn texts<T: FromStr>(&self, field: &str) -> Result<impl Iterator<Item = Result<T, StoreError>>, StoreError> {
        let one = move |value: &Bson| value.as_str().and_then(|text| text.parse().ok());
        Ok(self.list(field)?.iter().map(move |value| one(value).ok_or_else(|| self.wrong(field))))
    }

    pub(super) fn documents(
        &self,
        field: &'static str,
    ) -> Result<impl Iterator<Item = Result<Self, StoreError>> + use<'a>, StoreError> {
        let fields = *self;
        let one = move |value: &'a Bson| match value.as_document() {
            Some(document) => Ok(Self { document, what: fields.what }),
            None => Err(fields.wrong(field)),
        };
        Ok(self.list(field)?.iter().map(one))
    }

    fn optional_document(&self, field: &str) -> Result<Option<Self>, StoreError> {
        match self.document.get(field) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::Document(document)) => Ok(Some(Self { document, what: self.what })),
            Some(_) => Err(self.wrong(field)),
        }
    }

    pub(super) fn bytes(&self, field: &str) -> Result<Vec<u8>, StoreError> {
        match self.document.get(field) {
            Some(Bson::Binary(binary)) => Ok(binary.bytes.clone()),
            _ => Err(self.wrong(field)),
        }
    }
}

// ---- conversations --------------------------------------------------------------------------------------

/// A conversation's own document, without what is still to be done for it.
pub(super) fn conversation_document(conversation: &StoredConversation) -> Result<Document, StoreError> {
    let mut document = doc! {
        "_id": conversation.conversation_id.to_string(),
        "kind": name_of(&conversation.kind)?,
        "created_at": date(conversation.created_at),
    };
    document.extend(changeable(conversation)?);
    Ok(document)
}

/// What of a conversation's document a change sets; `title` is not in it when there is none.
pub(super) fn changeable(conversation: &StoredConversation) -> Result<Document, StoreError> {
    let mut document = Document::new();
    set(&mut document, "title", conversation.title.as_deref());
    document.insert("version", integer("version", conversation.version)?);
    let participants = conversation.participants.iter().map(|it| participant_fields(it).map(Bson::Document));
    document.insert("participants", participants.collect::<Result<Vec<_>, _>>()?);
    Ok(document)
}

fn participant_fields(participant: &StoredParticipant) -> Result<Document, StoreError> {
    let mut document = doc! {
        "user_id": participant.user_id.as_str(),
        "role": name_of(&participant.role)?,
        "joined_at": date(participant.joined_at),
        "archived": participant.archived,
    };
    set(&mut document, "muted_until", participant.muted_until.map(date));
    set(&mut document, "removed_at", participant.removed_at.map(date));
    Ok(document)
}

/// Reads a conversation's document.
pub(super) fn conversation(document: &Document) -> Result<StoredConversation, StoreError> {
    let fields = Fields::new(document, "a conversation");
    let mut participants = Vec::new();
    for participant in fields.documents("participants")? {
        let participant = participant?;
        participants.push(StoredParticipant {
            user_id: participant.parsed("user_id")?,
            role: participant.named("role")?,
            joined_at: participant.date("joined_at")?,
            muted_until: participant.optional_date("muted_until")?,
            archived: participant.flag("archived")?,
            removed_at: participant.optional_date("removed_at")?,
        });
    }
    // Within one moment the order of the request stays.
    participants.sort_by_key(|participant| participant.joined_at);
    let title = fields.optional_text("title")?.map(Title::new).transpose();
    Ok(StoredConversation {
        conversation_id: fields.parsed("_id")?,
        kind: fields.named("kind")?,
        title: title.map_err(|_| fields.wrong("title"))?,
        created_at: fields.date("created_at")?,
        version: fields.number("version")?,
        participants,
    })
}

/// The key of a participant's document.
pub(super) fn participant_key(conversation_id: ConversationId, user_id: &UserId) -> String {
    format!("{conversation_id}/{user_id}")
}

/// A participant's own document, without its version. `created_at` is the conversation's, as the store has it: with
/// it one index answers a user's list. `is_member` says the same as the absence of `removed_at`, which no index of a
/// server can be limited to.
pub(super) fn participant_document(
    conversation_id: ConversationId,
    created_at: Timestamp,
    participant: &StoredParticipant,
) -> Result<Document, StoreError> {
    let mut document = doc! {
        "_id": participant_key(conversation_id, &participant.user_id),
        "conversation_id": conversation_id.to_string(),
        "created_at": date(created_at),
        "is_member": participant.removed_at.is_none(),
    };
    document.extend(participant_fields(participant)?);
    Ok(document)
}

/// The document of somebody who is not in the conversation's document any more. It is kept, so that a late writer
/// meets its version and does not bring an older one back.
pub(super) fn absent_participant(conversation_id: ConversationId, user_id: &UserId) -> Document {
    doc! {
        "_id": participant_key(conversation_id, user_id),
        "conversation_id": conversation_id.to_string(),
        "is_member": false,
        "user_id": user_id.as_str(),
    }
}

// ---- messages -------------------------------------------------------------------------------------------

/// What is stored under a message's id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stored {
    /// As it was sent; absent when it has not come yet, or is gone.
    pub(super) message: Option<Message>,
    /// What happened to it.
    pub(super) state: MessageState,
}

/// A message's document: `sent` as it was sent, `state` what happened to it since, `seq` its place as long as it has
/// one. It follows from the two alone, so a replay writes the same document again.
pub(super) fn message_document(
    message_id: MessageId,
    conversation_id: ConversationId,
    message: Option<&Message>,
    state: &MessageState,
) -> Result<Document, StoreError> {
    let mut document = doc! { "_id": message_id.to_string(), "conversation_id": conversation_id.to_string() };
    if let Some(message) = message {
        document.insert("seq", integer("seq", message.seq)?);
        document.insert("sent", sent_fields(message)?);
    }
    if *state != MessageState::default() {
        document.insert("state", state_fields(state)?);
    }
    Ok(document)
}

fn sent_fields(message: &Message) -> Result<Document, StoreError> {
    let mut sent = doc! { "sender_id": message.sender_id.as_str(), "created_at": date(message.created_at) };
    set(&mut sent, "temp_id", message.temp_id.as_ref().map(TempId::as_str));
    set(&mut sent, "text", message.text.as_deref());
    set_list(&mut sent, "media", message.media.iter().map(media_fields).collect::<Result<_, _>>()?);
    set(&mut sent, "reply_to", message.reply_to.map(|id| id.to_string()));
    set(&mut sent, "thread_root", message.thread_root.map(|id| id.to_string()));
    set(&mut sent, "edited_at", message.edited_at.map(date));
    let edits = message.edits.iter().map(|edit| Bson::from(doc! { "text": &edit.text, "at": date(edit.at) }));
    set_list(&mut sent, "edits", edits.collect());
    set(&mut sent, "deleted", message.deleted.as_ref().map(deleted_fields));
    set_list(&mut sent, "reactions", reaction_list(&message.reactions));
    set(
        &mut sent,
        "forwarded_from",
        message.forwarded_from.map(|from| {
            doc! { "conversation_id": from.conversation_id.to_string(), "message_id": from.message_id.to_string() }
        }),
    );
    if message.forward_count > 0 {
        sent.insert("forward_count", integer("forward_count", message.forward_count)?);
    }
    Ok(sent)
}

fn media_fields(media: &MessageMedia) -> Result<Bson, StoreError> {
    let media = doc! { "media_id": media.media_id.to_string(), "media_state": name_of(&media.media_state)? };
    Ok(Bson::Document(media))
}

fn deleted_fields(deleted: &Deleted) -> Document {
    doc! { "by": deleted.by.as_str(), "at": date(deleted.at) }
}

/// As a list: an emoji is text of its user's, which must not become the name of a field.
fn reaction_list(reactions: &Reactions) -> Vec<Bson> {
    let users = |users: &[UserId]| users.iter().map(|user| Bson::from(user.as_str())).collect::<Vec<_>>();
    reactions.iter().map(|(emoji, by)| Bson::from(doc! { "emoji": emoji, "users": users(by) })).collect()
}

fn state_fields(state: &MessageState) -> Result<Document, StoreError> {
    let mut document = Document::new();
    set(&mut document, "edited_through", state.edited_through.map(offset));
    set(&mut document, "deleted_through", state.deleted_through.map(offset));
    let revisions =
        state.revisions.iter().map(|revision| Bson::from(doc! { "text": &*revision.text, "at": date(revision.at) }));
    set_list(&mut document, "revisions", revisions.collect());
    set_list(&mut document, "reactions", reaction_list(&state.reactions));
    set_list(&mut document, "forwards", state.forwards.iter().map(|id| Bson::from(id.to_string())).collect());
    let media = state
        .media
        .iter()
        .map(|(media_id, media_state)| media_fields(&MessageMedia { media_id: *media_id, media_state: *media_state }));
    set_list(&mut document, "media", media.collect::<Result<_, _>>()?);
    set(&mut document, "deleted", state.deleted.as_ref().map(deleted_fields));
    set_list(&mut document, "hidden_for", state.hidden_for.iter().map(|user| Bson::from(user.as_str())).collect());
    if let Some(gone) = &state.gone {
        let gone = doc! { "seq": integer("seq", gone.seq)?, "created_at": date(gone.created_at) };
        document.insert("gone", gone);
    }
    Ok(document)
}

/// Reads a message's document.
pub(super) fn stored(document: &Document) -> Result<(MessageId, ConversationId, Stored), StoreError> {
    let fields = Fields::new(document, "a message");
    let (message_id, conversation_id) = (fields.parsed("_id")?, fields.parsed("conversation_id")?);
    let message = match fields.optional_document("sent")? {
        Some(sent) => Some(sent_message(message_id, conversation_id, fields.number("seq")?, sent)?),
        None => None,
    };
    let state = fields.optional_document("state")?.map(read_state).transpose()?.unwrap_or_default();
    Ok((message_id, conversation_id, Stored { message, state }))
}

/// What is found under a message's id; nothing of one that has not come yet.
pub(super) fn found(document: &Document) -> Result<Option<(MessageId, Found)>, StoreError> {
    let (message_id, conversation_id, Stored { message, state }) = stored(document)?;
    Ok(match (message, state.gone) {
        (Some(message), _) => Some((message_id, Found::new(message, state))),
        (None, Some(gone)) => Some((message_id, Found::Gone { conversation_id, gone })),
        (None, None) => None,
    })
}

/// A message that has its place.
pub(super) fn placed(document: &Document) -> Result<StoredMessage, StoreError> {
    match stored(document)?.2 {
        Stored { message: Some(message), state } => Ok(StoredMessage { message, state }),
        Stored { message: None, .. } => Err(damaged("a message has a place and nothing else")),
    }
}

fn sent_message(
    message_id: MessageId,
    conversation_id: ConversationId,
    seq: u64,
    sent: Fields<'_>,
) -> Result<Message, StoreError> {
    let text = sent.optional_text("text")?.map(MessageText::new).transpose().map_err(|_| sent.wrong("text"))?;
    let edit = |edit: Fields<'_>| Ok(Edit { text: edit.text("text")?.to_owned(), at: edit.date("at")? });
    let forwarded_from = match sent.optional_document("forwarded_from")? {
        None => None,
        Some(from) => Some(MessageRef {
            conversation_id: from.parsed("conversation_id")?,
            message_id: from.parsed("message_id")?,
        }),
    };
    Ok(Message {
        temp_id: sent.optional_parsed("temp_id")?,
        text,
        media: sent.documents("media")?.map(|media| read_media(media?)).collect::<Result<_, _>>()?,
        reply_to: sent.optional_parsed("reply_to")?,
        thread_root: sent.optional_parsed("thread_root")?,
        edited_at: sent.optional_date("edited_at")?,
        edits: sent.documents("edits")?.map(|it| edit(it?)).collect::<Result<_, StoreError>>()?,
        deleted: sent.optional_document("deleted")?.map(read_deleted).transpose()?,
        reactions: read_reactions(sent)?,
        forwarded_from,
        forward_count: sent.optional_number("forward_count")?.unwrap_or(0),
        seq,
        ..Message::new(message_id, conversation_id, sent.parsed("sender_id")?, sent.date("created_at")?)
    })
}

fn read_media(media: Fields<'_>) -> Result<MessageMedia, StoreError> {
    Ok(MessageMedia { media_id: media.parsed("media_id")?, media_state: media.named("media_state")? })
}

fn read_deleted(deleted: Fields<'_>) -> Result<Deleted, StoreError> {
    Ok(Deleted { by: deleted.parsed("by")?, at: deleted.date("at")? })
}

fn read_reactions(fields: Fields<'_>) -> Result<Reactions, StoreError> {
    let mut reactions = Reactions::new();
    for reaction in fields.documents("reactions")? {
        let reaction = reaction?;
        let users = reaction.texts("users")?.collect::<Result<Vec<UserId>, _>>()?;
        reactions.insert(reaction.text("emoji")?.to_owned(), users);
    }
    Ok(reactions)
}

fn read_state(state: Fields<'_>) -> Result<MessageState, StoreError> {
    let revision = |revision: Fields<'_>| {
        let text = MessageText::new(revision.text("text")?).map_err(|_| revision.wrong("text"))?;
        Ok(Revision { text, at: revision.date("at")? })
    };
    let mut media = BTreeMap::new();
    for item in state.documents("media")? {
        let MessageMedia { media_id, media_state } = read_media(item?)?;
        media.insert(media_id, media_state);
    }
    let gone = match state.optional_document("gone")? {
        None => None,
        Some(gone) => Some(Gone { seq: gone.number("seq")?, created_at: gone.date("created_at")? }),
    };
    Ok(MessageState {
        edited_through: state.optional_number("edited_through")?,
        deleted_through: state.optional_number("deleted_through")?,
        revisions: state.documents("revisions")?.map(|it| revision(it?)).collect::<Result<_, StoreError>>()?,
        reactions: read_reactions(state)?,
        forwards: state.texts("forwards")?.collect::<Result<BTreeSet<_>, _>>()?,
        media,
        deleted: state.optional_document("deleted")?.map(read_deleted).transpose()?,
        hidden_for: state.texts("hidden_for")?.collect::<Result<BTreeSet<_>, _>>()?,
        gone,
    })
}
