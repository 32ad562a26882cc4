//! Conversations, participants and messages in an SQLite file (S2).
//!
//! What is looked for has columns of its own; a message is kept whole, as JSON, beside them.

use std::sync::Arc;

use ackscope_protocol::text::Title;
use ackscope_protocol::wire::{ConversationKind, Message, Role};
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    ConversationCursor, ConversationRepository, CreateOutcome, InsertOutcome, MessageRepository, OutboxEntry,
    ParticipantRepository, StoreError, StoredConversation, StoredParticipant,
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

fn message_key(message_id: MessageId) -> [u8; 16] {
    message_id.as_uuid().into_bytes()
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
    let mut statement = connection.prepare_cached(
        "INSERT INTO participants
         (conversation_id, user_id, place, role, joined_at, muted_until, archived, removed_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (place, participant) in (0_i64..).zip(&conversation.participants) {
        statement.execute(params![
            conversation_id,
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
}

const LIST: &str = "SELECT conversation_id FROM participants
     WHERE user_id = ?1 AND archived = ?2 AND removed_at IS NULL AND (created_at, conversation_id) < (?3, ?4)
     ORDER BY created_at DESC, conversation_id DESC LIMIT ?5";

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
    let mut rows = statement.query(params![user_id.as_str(), archived, created_at, conversation_id, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: [u8; 16] = row.get(0)?;
        found.push(ConversationId::from_uuid(uuid::Uuid::from_bytes(bytes)));
    }
    Ok(found)
}

// ---- messages -------------------------------------------------------------------------------------------

/// Messages in an SQLite file.
#[derive(Clone, Debug)]
pub struct EmbeddedMessages {
    file: Arc<EmbeddedFile>,
}

impl EmbeddedMessages {
    /// The messages in that file.
    pub fn new(file: Arc<EmbeddedFile>) -> Self {
        Self { file }
    }
}

#[async_trait]
impl MessageRepository for EmbeddedMessages {
    async fn insert_bulk(&self, messages: &[Message]) -> Result<Vec<InsertOutcome>, StoreError> {
        // The documents are written out here and not on the writer's thread, which everybody waits for.
        let rows = messages.iter().map(MessageRow::new).collect::<Result<Vec<_>, _>>()?;
        let insert = move |connection: &Connection| rows.iter().map(|row| row.insert(connection)).collect();
        let outcomes: Result<Vec<InsertOutcome>, JobError> = self.file.write(insert).await;
        Ok(outcomes?)
    }

    async fn find(&self, message_id: MessageId) -> Result<Option<Message>, StoreError> {
        let find = move |connection: &Connection| -> Result<Option<Message>, JobError> {
            let document: Option<String> = connection
                .prepare_cached("SELECT document FROM messages WHERE message_id = ?1")?
                .query_row([message_key(message_id)], |row| row.get(0))
                .optional()?;
            document.as_deref().map(read_message).transpose()
        };
        Ok(self.file.read(find).await?)
    }

    async fn history(
        &self,
        conversation_id: ConversationId,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let before_seq = before_seq.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let page = move |connection: &Connection| -> Result<Vec<Message>, JobError> {
            let conversation = conversation_key(conversation_id);
            let Some(root) = thread.map(message_key) else {
                return read_page(connection, HISTORY, params![conversation, before_seq, limit]);
            };
            read_page(connection, THREAD, params![conversation, before_seq, limit, root])
        };
        Ok(self.file.read(page).await?)
    }
}

const HISTORY: &str = "SELECT document FROM messages WHERE conversation_id = ?1 AND seq < ?2
     ORDER BY seq DESC LIMIT ?3";

/// The thread's messages, and its root, which does not name itself.
const THREAD: &str = "SELECT document FROM (
         SELECT * FROM (
             SELECT seq, document FROM messages WHERE conversation_id = ?1 AND thread_root = ?4 AND seq < ?2
             ORDER BY seq DESC LIMIT ?3
         )
         UNION ALL
         SELECT seq, document FROM messages
         WHERE message_id = ?4 AND conversation_id = ?1 AND seq < ?2 AND thread_root IS NOT ?4
     ) ORDER BY seq DESC LIMIT ?3";

fn read_page(connection: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<Message>, JobError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let document = row.get_ref(0)?.as_str().map_err(|error| damaged(format_args!("message: {error}")))?;
        messages.push(read_message(document)?);
    }
    Ok(messages)
}

fn read_message(document: &str) -> Result<Message, JobError> {
    serde_json::from_str(document).map_err(|error| damaged(format_args!("message: {error}")))
}

/// A message as it is written.
struct MessageRow {
    message_id: MessageId,
    conversation_id: ConversationId,
    seq: u64,
    seq_column: i64,
    thread_root: Option<[u8; 16]>,
    document: String,
}

impl MessageRow {
    fn new(message: &Message) -> Result<Self, JobError> {
        Ok(Self {
            message_id: message.message_id,
            conversation_id: message.conversation_id,
            seq: message.seq,
            seq_column: to_i64("seq", message.seq)?,
            thread_root: message.thread_root.map(message_key),
            document: serde_json::to_string(message).map_err(damaged)?,
        })
    }

    fn insert(&self, connection: &Connection) -> Result<InsertOutcome, JobError> {
        // The first one wins, also over one with another seq: the log may hold a message twice, when sending it
        // again met an outcome that was not known, and its first place is the one that was confirmed.
        let inserted = connection
            .prepare_cached(
                "INSERT INTO messages (message_id, conversation_id, seq, thread_root, document)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (message_id) DO NOTHING",
            )?
            .execute(params![
                message_key(self.message_id),
                conversation_key(self.conversation_id),
                self.seq_column,
                self.thread_root,
                self.document
            ]);
        match inserted {
            Ok(0) => Ok(InsertOutcome::Duplicate),
            Ok(_) => Ok(InsertOutcome::Inserted),
            Err(error)
                if error.sqlite_error().map(|e| e.extended_code) == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) =>
            {
                Err(damaged(format_args!(
                    "message {} claims place {} of conversation {}, which another message has",
                    self.message_id, self.seq, self.conversation_id
                )))
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sqlite::EmbeddedOptions;
    use crate::sqlite::testing::execute;

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
            message_id: MessageId::from_uuid(uuid::Uuid::from_u128(2)),
            conversation_id: conversation().conversation_id,
            sender_id: "ana".parse().unwrap(),
            temp_id: None,
            text: None,
            media: Vec::new(),
            reply_to: None,
            thread_root: None,
            created_at: Timestamp::from_millis(1),
            edited_at: None,
            edits: Vec::new(),
            deleted: None,
            reactions: BTreeMap::new(),
            forwarded_from: None,
            forward_count: 0,
            seq: 1,
        }
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
            let history = messages.history(id, None, None, 1).await;
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
    async fn a_seq_beyond_the_columns_range_is_refused() {
        let (_directory, file) = scratch();
        let messages = EmbeddedMessages::new(file);
        let refused = messages.insert_bulk(&[Message { seq: u64::MAX, ..message() }]).await;
        assert!(matches!(&refused, Err(StoreError::Damaged(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn lists_are_answered_by_an_index_alone() {
        let (_directory, file) = scratch();
        for (sql, index) in
            [(LIST, "participants_by_user"), (HISTORY, "messages_by_seq"), (THREAD, "messages_by_thread")]
        {
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
            assert!(
                plan.iter().all(|step| !step.starts_with("SCAN messages") && !step.starts_with("SCAN part")),
                "{plan:?}"
            );
            // A thread is sorted once more with its root, but only a page of it.
            assert!(sql == THREAD || plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{plan:?}");
        }
    }
}
