//! Conversations, participants and messages in an SQLite file (S2).
//!
//! What is looked for has columns of its own; a message is kept whole, as JSON, beside them, and so is what happened
//! to it since (`messages.rs`). Who has hidden what is kept in runs (`hidden.rs`).

mod hidden;
mod messages;

use std::collections::HashSet;
use std::sync::Arc;

use ackscope_protocol::text::Title;
use ackscope_protocol::wire::{ConversationKind, Role};
use ackscope_protocol::{ConversationId, Timestamp, UserId};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, Rows, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::messages::EmbeddedMessages;
use super::{
    ConversationCursor, ConversationRepository, CreateOutcome, OutboxEntry, ParticipantRepository, StoreError,
    StoredConversation, StoredParticipant, UpdateOutcome,
};
use crate::log::Topic;
use crate::sqlite::{EmbeddedFile, FileError};

/// The repositories' tables. Ids are their 16 bytes, times are milliseconds since the epoch.
pub(crate) const SCHEMA_V1: &str = "
    CREATE TABLE conversations (
        conversation_id BLOB PRIMARY KEY,
        kind TEXT NOT NULL,
        title TEXT,
        created_at INTEGER NOT NULL,
        version INTEGER NOT NULL
    ) WITHOUT ROWID;
    -- `place` is the order within the conversation. `created_at` is the conversation's, repeated here so that
    -- one index answers `conversations_of`.
    CREATE TABLE participants (
        conversation_id BLOB NOT NULL REFERENCES conversations,
        user_id TEXT NOT NULL,
        place INTEGER NOT NULL,
        role TEXT NOT NULL,
        joined_at INTEGER NOT NULL,
        muted_until INTEGER,
        archived INTEGER NOT NULL,
        removed_at INTEGER,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (conversation_id, user_id)
    ) WITHOUT ROWID;
    CREATE INDEX participants_by_user ON participants (user_id, archived, created_at, conversation_id)
        WHERE removed_at IS NULL;
    -- AUTOINCREMENT: an id is never given twice, also after the newest entry was removed.
    CREATE TABLE outbox (
        outbox_id INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        key TEXT NOT NULL,
        headers TEXT NOT NULL,
        value BLOB NOT NULL
    );
    CREATE TABLE messages (
        message_id BLOB NOT NULL,
        conversation_id BLOB NOT NULL,
        seq INTEGER NOT NULL,
        thread_root BLOB,
        document TEXT NOT NULL
    );
    CREATE UNIQUE INDEX messages_by_id ON messages (message_id);
    CREATE UNIQUE INDEX messages_by_seq ON messages (conversation_id, seq);
    CREATE INDEX messages_by_thread ON messages (conversation_id, thread_root, seq) WHERE thread_root IS NOT NULL;
";

/// What can happen to messages, since version 2.
pub(crate) const SCHEMA_V2: &str = "
    -- What happened to a message since it was sent, as JSON. A message that nothing happened to has no row; a row
    -- without a message is of one that has not come yet, or that is gone.
    CREATE TABLE message_states (
        message_id BLOB NOT NULL PRIMARY KEY,
        conversation_id BLOB NOT NULL,
        document TEXT NOT NULL
    );
    -- Which messages carry a media item. Tombstones carry none.
    CREATE TABLE message_media (
        media_id BLOB NOT NULL,
        conversation_id BLOB NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (media_id, conversation_id, seq)
    ) WITHOUT ROWID;
    CREATE INDEX message_media_by_message ON message_media (conversation_id, seq);
    -- What a user has hidden: every message of the conversation from `first_seq` to `last_seq`. Runs of one user do
    -- not touch: between two of them there is a message that is not hidden.
    CREATE TABLE hidden_runs (
        user_id TEXT NOT NULL,
        conversation_id BLOB NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        PRIMARY KEY (user_id, conversation_id, first_seq)
    ) WITHOUT ROWID;
    CREATE INDEX hidden_runs_by_conversation ON hidden_runs (conversation_id, last_seq);
    -- With `removed_at`, which is always null in it, the index answers alone; without, each row is looked up.
    DROP INDEX participants_by_user;
    CREATE INDEX participants_by_user ON participants (user_id, archived, created_at, conversation_id, removed_at)
        WHERE removed_at IS NULL;
    -- The media of the messages that are there already. What does not read as a message is left to its readers.
    INSERT OR IGNORE INTO message_media (media_id, conversation_id, seq)
        SELECT unhex(item.value ->> 'media_id', '-'), message.conversation_id, message.seq
        FROM (
            SELECT conversation_id, seq,
                CASE WHEN typeof(document) = 'text' AND json_valid(document) THEN document ELSE '{}' END AS document
            FROM messages
        ) AS message, json_each(message.document, '$.media') AS item
        WHERE item.type = 'object' AND (message.document ->> 'deleted') IS NULL;
";

/// What can go wrong inside a job on the file.
enum JobError {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for JobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<FileError> for JobError {
    fn from(error: FileError) -> Self {
        Self::Store(match error {
            FileError::QueueFull => StoreError::Overloaded(error.to_string()),
            error => StoreError::Unavailable(error.to_string()),
        })
    }
}

impl From<JobError> for StoreError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Store(error) => error,
            // A column of another type than we write.
            JobError::Sqlite(
                error @ (rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)),
            ) => Self::Damaged(error.to_string()),
            JobError::Sqlite(error) => Self::Unavailable(error.to_string()),
        }
    }
}

fn damaged(what: impl std::fmt::Display) -> JobError {
    JobError::Store(StoreError::Damaged(what.to_string()))
}

/// The name serde gives a value, such as `owner`.
fn name_of(value: &impl Serialize) -> Result<String, JobError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        _ => Err(damaged("a value has no name")),
    }
}

/// The value with that name.
fn named<T: DeserializeOwned>(column: &str, name: String) -> Result<T, JobError> {
    serde_json::from_value(serde_json::Value::String(name)).map_err(|error| damaged(format_args!("{column}: {error}")))
}

/// SQLite's integers are signed. No counter of ours gets beyond them; one that claims to is damaged.
fn to_i64(what: &str, number: u64) -> Result<i64, JobError> {
    i64::try_from(number).map_err(|_| damaged(format_args!("{what} {number} is out of range")))
}

fn to_u64(what: &str, number: i64) -> Result<u64, JobError> {
    u64::try_from(number).map_err(|_| damaged(format_args!("{what} {number} is out of range")))
}

fn conversation_key(conversation_id: ConversationId) -> [u8; 16] {
    conversation_id.as_uuid().into_bytes()
}

// ---- conversations --------------------------------------------------------------------------------------

/// Conversations and the outbox in an SQLite file.
#[derive(Clone, Debug)]
pub struct EmbeddedConversations {
    file: Arc<EmbeddedFile>,
}

impl EmbeddedConversations {
    /// The conversations in that file.
    pub fn new(file: Arc<EmbeddedFile>) -> Self {
        Self { file }
    }
}

#[async_trait]
impl ConversationRepository for EmbeddedConversations {
    async fn create(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<CreateOutcome, StoreError> {
        let (conversation, outbox) = (conversation.clone(), outbox.to_vec());
        let create = move |connection: &Connection| -> Result<CreateOutcome, JobError> {
            if let Some(existing) = find_conversation(connection, conversation.conversation_id)? {
                return Ok(CreateOutcome::Exists(existing));
            }
            insert_conversation(connection, &conversation)?;
            insert_outbox(connection, &outbox)?;
            Ok(CreateOutcome::Created)
        };
        Ok(self.file.write(create).await?)
    }

    async fn update(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<UpdateOutcome, StoreError> {
        let (conversation, outbox) = (conversation.clone(), outbox.to_vec());
        let update = move |connection: &Connection| -> Result<UpdateOutcome, JobError> {
            // Nothing comes before the first version.
            let Some(before) = conversation.version.checked_sub(1) else { return Ok(UpdateOutcome::Conflict) };
            let before = to_i64("version", before)?;
            if !replace_conversation(connection, &conversation, before)? {
                return Ok(UpdateOutcome::Conflict);
            }
            insert_outbox(connection, &outbox)?;
            Ok(UpdateOutcome::Updated)
        };
        Ok(self.file.write(update).await?)
    }

    async fn catch_up(&self, conversation: &StoredConversation) -> Result<bool, StoreError> {
        let conversation = conversation.clone();
        let catch_up = move |connection: &Connection| -> Result<bool, JobError> {
            let version = to_i64("version", conversation.version)?;
            let there: Option<i64> = connection
                .prepare_cached("SELECT version FROM conversations WHERE conversation_id = ?1")?
                .query_row([conversation_key(conversation.conversation_id)], |row| row.get(0))
                .optional()?;
            match there {
                None => insert_conversation(connection, &conversation).map(|()| true),
                Some(there) if there < version => replace_conversation(connection, &conversation, there),
                Some(_) => Ok(false),
            }
        };
        Ok(self.file.write(catch_up).await?)
    }

    async fn outbox_add(&self, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let entries = entries.to_vec();
        let add = move |connection: &Connection| insert_outbox(connection, &entries);
        Ok(self.file.write(add).await?)
    }

    async fn find(&self, conversation_id: ConversationId) -> Result<Option<StoredConversation>, StoreError> {
        let find = move |connection: &Connection| {
            // One transaction, so that both tables are read as of one moment.
            let moment = connection.unchecked_transaction()?;
            find_conversation(&moment, conversation_id)
        };
        Ok(self.file.read(find).await?)
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        let oldest = move |connection: &Connection| -> Result<Vec<OutboxEntry>, JobError> {
            let mut statement = connection.prepare_cached(
                "SELECT outbox_id, topic, key, headers, value FROM outbox ORDER BY outbox_id LIMIT ?1",
            )?;
            let mut rows = statement.query([limit])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                entries.push(outbox_entry(row)?);
            }
            Ok(entries)
        };
        Ok(self.file.read(oldest).await?)
    }

    async fn outbox_done(&self, outbox_ids: &[u64]) -> Result<(), StoreError> {
        if outbox_ids.is_empty() {
            return Ok(());
        }
        let outbox_ids = outbox_ids.to_vec();
        let remove = move |connection: &Connection| -> Result<(), JobError> {
            let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE outbox_id = ?1")?;
            for outbox_id in outbox_ids {
                // An id that is out of range is not there.
                if let Ok(outbox_id) = i64::try_from(outbox_id) {
                    statement.execute([outbox_id])?;
                }
            }
            Ok(())
        };
        Ok(self.file.write(remove).await?)
    }
}

fn insert_conversation(connection: &Connection, conversation: &StoredConversation) -> Result<(), JobError> {
    let conversation_id = conversation_key(conversation.conversation_id);
    let created_at = conversation.created_at.as_millis();
    connection
        .prepare_cached(
            "INSERT INTO conversations (conversation_id, kind, title, created_at, version) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            conversation_id,
            name_of(&conversation.kind)?,
            conversation.title.as_deref(),
            created_at,
            to_i64("version", conversation.version)?
        ])?;
    put_participants(connection, conversation, created_at)
}

/// Replaces a conversation whose version in the store is `before`; false when it is not, or nothing is there.
fn replace_conversation(
    connection: &Connection,
    conversation: &StoredConversation,
    before: i64,
) -> Result<bool, JobError> {
    let conversation_id = conversation_key(conversation.conversation_id);
    // The participants' index follows the `created_at` in the store, which never changes.
    let created_at: Option<i64> = connection
        .prepare_cached(
            "UPDATE conversations SET title = ?3, version = ?4 WHERE conversation_id = ?1 AND version = ?2
             RETURNING created_at",
        )?
        .query_row(
            params![conversation_id, before, conversation.title.as_deref(), to_i64("version", conversation.version)?],
            |row| row.get(0),
        )
        .optional()?;
    let Some(created_at) = created_at else { return Ok(false) };
    put_participants(connection, conversation, created_at)?;

    // Whoever leaves is kept, so there is hardly ever anybody too many.
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM participants WHERE conversation_id = ?1")?
        .query_row([conversation_id], |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count == conversation.participants.len()) {
        return Ok(true);
    }
    let stay: HashSet<&str> =
        conversation.participants.iter().map(|participant| participant.user_id.as_str()).collect();
    let mut statement = connection.prepare_cached("SELECT user_id FROM participants WHERE conversation_id = ?1")?;
    let there = statement.query_map([conversation_id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut remove =
        connection.prepare_cached("DELETE FROM participants WHERE conversation_id = ?1 AND user_id = ?2")?;
    for user_id in there.iter().filter(|user_id| !stay.contains(user_id.as_str())) {
        remove.execute(params![conversation_id, user_id])?;
    }
    Ok(true)
}

/// Writes the participants that are new or changed: of a thousand, a change usually concerns one.
fn put_participants(
    connection: &Connection,
    conversation: &StoredConversation,
    created_at: i64,
) -> Result<(), JobError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO participants
         (conversation_id, user_id, place, role, joined_at, muted_until, archived, removed_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (conversation_id, user_id) DO UPDATE SET place = excluded.place, role = excluded.role,
             joined_at = excluded.joined_at, muted_until = excluded.muted_until, archived = excluded.archived,
             removed_at = excluded.removed_at
         WHERE (place, role, joined_at, muted_until, archived, removed_at) IS NOT (excluded.place, excluded.role,
             excluded.joined_at, excluded.muted_until, excluded.archived, excluded.removed_at)",
    )?;
    for (place, participant) in (0_i64..).zip(&conversation.participants) {
        statement.execute(params![
            conversation_key(conversation.conversation_id),
            participant.user_id.as_str(),
            place,
            name_of(&participant.role)?,
            participant.joined_at.as_millis(),
            participant.muted_until.map(Timestamp::as_millis),
            participant.archived,
            participant.removed_at.map(Timestamp::as_millis),
            created_at
        ])?;
    }
    Ok(())
}

fn find_conversation(
    connection: &Connection,
    conversation_id: ConversationId,
) -> Result<Option<StoredConversation>, JobError> {
    let found = connection
        .prepare_cached("SELECT kind, title, created_at, version FROM conversations WHERE conversation_id = ?1")?
        .query_row([conversation_key(conversation_id)], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<String>>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })
        .optional()?;
    let Some((kind, title, created_at, version)) = found else { return Ok(None) };

    let mut statement = connection.prepare_cached(
        "SELECT user_id, role, joined_at, muted_until, archived, removed_at FROM participants
         WHERE conversation_id = ?1 ORDER BY joined_at, place",
    )?;
    let mut rows = statement.query([conversation_key(conversation_id)])?;
    let mut participants = Vec::new();
    while let Some(row) = rows.next()? {
        participants.push(StoredParticipant {
            user_id: named("user_id", row.get(0)?)?,
            role: named::<Role>("role", row.get(1)?)?,
            joined_at: Timestamp::from_millis(row.get(2)?),
            muted_until: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
            archived: row.get(4)?,
            removed_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
        });
    }
    Ok(Some(StoredConversation {
        conversation_id,
        kind: named::<ConversationKind>("kind", kind)?,
        title: title.map(Title::new).transpose().map_err(|error| damaged(format_args!("title: {error}")))?,
        created_at: Timestamp::from_millis(created_at),
        version: to_u64("version", version)?,
        participants,
    }))
}

fn insert_outbox(connection: &Connection, entries: &[OutboxEntry]) -> Result<(), JobError> {
    let mut statement =
        connection.prepare_cached("INSERT INTO outbox (topic, key, headers, value) VALUES (?1, ?2, ?3, ?4)")?;
    for entry in entries {
        let headers = serde_json::to_string(&entry.headers).map_err(damaged)?;
        statement.execute(params![entry.topic.as_str(), entry.key, headers, entry.value])?;
    }
    Ok(())
}

fn outbox_entry(row: &Row<'_>) -> Result<OutboxEntry, JobError> {
    let topic: String = row.get(1)?;
    let headers: String = row.get(3)?;
    Ok(OutboxEntry {
        outbox_id: to_u64("outbox_id", row.get(0)?)?,
        topic: Topic::from_name(&topic).ok_or_else(|| damaged(format_args!("there is no topic {topic}")))?,
        key: row.get(2)?,
        headers: serde_json::from_str(&headers).map_err(|error| damaged(format_args!("headers: {error}")))?,
        value: row.get(4)?,
    })
}

// ---- participants ---------------------------------------------------------------------------------------

/// Participants in an SQLite file.
#[derive(Clone, Debug)]
pub struct EmbeddedParticipants {
    file: Arc<EmbeddedFile>,
}

impl EmbeddedParticipants {
    /// The participants in that file.
    pub fn new(file: Arc<EmbeddedFile>) -> Self {
        Self { file }
    }
}

#[async_trait]
impl ParticipantRepository for EmbeddedParticipants {
    async fn conversations_of(
        &self,
        user_id: &UserId,
        archived: bool,
        after: Option<&ConversationCursor>,
        limit: u32,
    ) -> Result<Vec<StoredConversation>, StoreError> {
        let (user_id, after) = (user_id.clone(), after.cloned());
        let list = move |connection: &Connection| -> Result<Vec<StoredConversation>, JobError> {
            let moment = connection.unchecked_transaction()?;
            let found = ids_of(&moment, &user_id, archived, after.as_ref(), limit)?;
            let mut conversations = Vec::with_capacity(found.len());
            for conversation_id in found {
                let conversation = find_conversation(&moment, conversation_id)?
                    .ok_or_else(|| damaged(format_args!("conversation {conversation_id} has participants only")))?;
                conversations.push(conversation);
            }
            Ok(conversations)
        };
        Ok(self.file.read(list).await?)
    }

    async fn conversation_ids_of(&self, user_id: &UserId, limit: u32) -> Result<Vec<ConversationId>, StoreError> {
        let user_id = user_id.clone();
        let list = move |connection: &Connection| -> Result<Vec<ConversationId>, JobError> {
            let mut statement = connection.prepare_cached(LIST_ALL)?;
            read_ids(statement.query(params![user_id.as_str(), limit])?)
        };
        Ok(self.file.read(list).await?)
    }
}

const LIST: &str = "SELECT conversation_id FROM participants
     WHERE user_id = ?1 AND archived = ?2 AND removed_at IS NULL AND (created_at, conversation_id) < (?3, ?4)
     ORDER BY created_at DESC, conversation_id DESC LIMIT ?5";

/// Archived or not: two walks through the same index, merged.
const LIST_ALL: &str = "SELECT conversation_id, created_at FROM participants
         WHERE user_id = ?1 AND archived = 0 AND removed_at IS NULL
     UNION ALL
     SELECT conversation_id, created_at FROM participants
         WHERE user_id = ?1 AND archived = 1 AND removed_at IS NULL
     ORDER BY created_at DESC, conversation_id DESC LIMIT ?2";

fn ids_of(
    connection: &Connection,
    user_id: &UserId,
    archived: bool,
    after: Option<&ConversationCursor>,
    limit: u32,
) -> Result<Vec<ConversationId>, JobError> {
    // Without a cursor: after a place that is above every other.
    let (created_at, conversation_id) = match after {
        Some(cursor) => (cursor.created_at.as_millis(), conversation_key(cursor.conversation_id)),
        None => (i64::MAX, [u8::MAX; 16]),
    };
    let mut statement = connection.prepare_cached(LIST)?;
    read_ids(statement.query(params![user_id.as_str(), archived, created_at, conversation_id, limit])?)
}

fn read_ids(mut rows: Rows<'_>) -> Result<Vec<ConversationId>, JobError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: [u8; 16] = row.get(0)?;
        found.push(ConversationId::from_uuid(uuid::Uuid::from_bytes(bytes)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {

    use ackscope_protocol::text::Emoji;
    use ackscope_protocol::wire::{MediaState, Message, MessageMedia};
    use ackscope_protocol::{MediaId, MessageId};

    use super::messages::{CARRYING, HISTORY, THREAD};
    use super::*;
    use crate::repositories::MessageRepository as _;
    use crate::sqlite::EmbeddedOptions;
    use crate::sqlite::testing::execute;
    use crate::state::{Change, MessageChange, PlacedChange};

    fn scratch() -> (tempfile::TempDir, Arc<EmbeddedFile>) {
        let directory = tempfile::tempdir().unwrap();
        let file = EmbeddedFile::open(directory.path().join("test.db"), EmbeddedOptions::default()).unwrap();
        (directory, file)
    }

    fn conversation() -> StoredConversation {
        StoredConversation {
            conversation_id: ConversationId::from_uuid(uuid::Uuid::from_u128(1)),
            kind: ConversationKind::Group,
            title: None,
            created_at: Timestamp::from_millis(1),
            version: 1,
            participants: vec![StoredParticipant {
                user_id: "ana".parse().unwrap(),
                role: Role::Owner,
                joined_at: Timestamp::from_millis(1),
                muted_until: None,
                archived: false,
                removed_at: None,
            }],
        }
    }

    fn message() -> Message {
        Message {
            seq: 1,
            ..Message::new(
                MessageId::from_uuid(uuid::Uuid::from_u128(2)),
                conversation().conversation_id,
                "ana".parse().unwrap(),
                Timestamp::from_millis(1),
            )
        }
    }

    fn reaction() -> PlacedChange {
        let Message { message_id, conversation_id, sender_id: by, created_at: at, .. } = message();
        let what = Change::ReactionAdded { emoji: Emoji::new("x").unwrap() };
        PlacedChange { offset: 1, change: MessageChange { message_id, conversation_id, by, at, what } }
    }

    #[tokio::test]
    async fn damaged_documents_are_errors() {
        let (_directory, file) = scratch();
        let conversations = EmbeddedConversations::new(Arc::clone(&file));
        let participants = EmbeddedParticipants::new(Arc::clone(&file));
        let messages = EmbeddedMessages::new(Arc::clone(&file));
        let entry = OutboxEntry {
            outbox_id: 0,
            topic: Topic::MessageSent,
            key: "k".into(),
            headers: Vec::new(),
            value: Vec::new(),
        };
        conversations.create(&conversation(), &[entry]).await.unwrap();
        messages.insert_bulk(&[message()]).await.unwrap();

        let id = conversation().conversation_id;
        for damage in [
            "UPDATE conversations SET kind = 'tribe'",
            "UPDATE conversations SET kind = 'group', title = ''",
            "UPDATE conversations SET title = NULL, version = -1",
            "UPDATE conversations SET version = 'many'",
            "UPDATE conversations SET version = 1; UPDATE participants SET role = 'king'",
            "UPDATE participants SET role = 'owner', joined_at = x'00'",
        ] {
            execute(&file, damage).await;
            let found = conversations.find(id).await;
            assert!(matches!(&found, Err(StoreError::Damaged(_))), "{damage}: {found:?}");
            let listed = participants.conversations_of(&"ana".parse().unwrap(), false, None, 1).await;
            assert!(matches!(&listed, Err(StoreError::Damaged(_))), "{damage}: {listed:?}");
            let created = conversations.create(&conversation(), &[]).await;
            assert!(matches!(&created, Err(StoreError::Damaged(_))), "{damage}: {created:?}");
        }
        for damage in ["UPDATE outbox SET topic = 'gossip'", "UPDATE outbox SET topic = 'message.sent', headers = '{'"]
        {
            execute(&file, damage).await;
            let outbox = conversations.outbox(1).await;
            assert!(matches!(&outbox, Err(StoreError::Damaged(_))), "{damage}: {outbox:?}");
        }
        for damage in [
            "UPDATE messages SET document = 'no JSON'",
            "UPDATE messages SET document = '{\"message_id\": 5}'",
            "UPDATE messages SET document = x'ff'",
        ] {
            execute(&file, damage).await;
            let found = messages.find(message().message_id).await;
            assert!(matches!(&found, Err(StoreError::Damaged(_))), "{damage}: {found:?}");
            let found = messages.find_many(&[message().message_id]).await;
            assert!(matches!(&found, Err(StoreError::Damaged(_))), "{damage}: {found:?}");
            let history = messages.history(id, None, None, None, 1).await;
            assert!(matches!(&history, Err(StoreError::Damaged(_))), "{damage}: {history:?}");
        }
        // The thread goes on: a damaged document is not the end of the store.
        let other = StoredConversation {
            conversation_id: ConversationId::from_uuid(uuid::Uuid::from_u128(9)),
            ..conversation()
        };
        assert_eq!(conversations.create(&other, &[]).await, Ok(CreateOutcome::Created));
    }

    #[tokio::test]
    async fn damaged_states_are_errors() {
        let (_directory, file) = scratch();
        let messages = EmbeddedMessages::new(Arc::clone(&file));
        let media_id = MediaId::from_uuid(uuid::Uuid::from_u128(3));
        let media = vec![MessageMedia { media_id, media_state: MediaState::Verified }];
        let sent = Message { media, ..message() };
        messages.insert_bulk(std::slice::from_ref(&sent)).await.unwrap();
        messages.apply_bulk(&[reaction()]).await.unwrap();
        for damage in [
            "UPDATE message_states SET document = 'no JSON'",
            "UPDATE message_states SET document = '{\"revisions\": 5}'",
            "UPDATE message_states SET document = x'ff'",
        ] {
            execute(&file, damage).await;
            let is_damaged = |error: Option<StoreError>| {
                assert!(matches!(&error, Some(StoreError::Damaged(_))), "{damage}: {error:?}");
            };
            is_damaged(messages.find(sent.message_id).await.err());
            is_damaged(messages.find_many(&[sent.message_id]).await.err());
            is_damaged(messages.history(sent.conversation_id, None, None, None, 1).await.err());
            is_damaged(messages.history(sent.conversation_id, None, Some(sent.message_id), None, 1).await.err());
            is_damaged(messages.carrying(media_id, 1).await.err());
            is_damaged(messages.apply_bulk(&[reaction()]).await.err());
            is_damaged(messages.insert_bulk(std::slice::from_ref(&sent)).await.err());
        }
        execute(&file, "DELETE FROM message_states").await;
        assert_eq!(messages.apply_bulk(&[reaction()]).await, Ok(()));
    }

    #[tokio::test]
    async fn a_seq_beyond_the_columns_range_is_refused() {
        let (_directory, file) = scratch();
        let messages = EmbeddedMessages::new(file);
        let refused = messages.insert_bulk(&[Message { seq: u64::MAX, ..message() }]).await;
        assert!(matches!(&refused, Err(StoreError::Damaged(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn lists_are_answered_by_an_index_alone() {
        let (_directory, file) = scratch();
        for (sql, index) in [
            (LIST, "COVERING INDEX participants_by_user"),
            (LIST_ALL, "COVERING INDEX participants_by_user"),
            (HISTORY, "messages_by_seq"),
            (THREAD, "messages_by_thread"),
            (CARRYING, "SEARCH media USING PRIMARY KEY"),
            (hidden::RUN_BEFORE, "PRIMARY KEY"),
            (hidden::RUNS_AROUND, "hidden_runs_by_conversation"),
        ] {
            let plan: Result<Vec<String>, JobError> = file
                .read(move |connection| {
                    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                    let count = statement.parameter_count();
                    let steps = statement.query_map(rusqlite::params_from_iter(vec![0; count]), |row| row.get(3))?;
                    Ok(steps.collect::<rusqlite::Result<_>>()?)
                })
                .await;
            let Ok(plan) = plan else { panic!("the query cannot be explained") };
            assert!(plan.iter().any(|step| step.contains(index)), "{plan:?}");
            assert!(plan.iter().all(|step| !step.starts_with("SCAN")), "{plan:?}");
            assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{plan:?}");
        }
    }
}
