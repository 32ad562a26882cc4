//! The simulated search service: full-text search over messages, in SQLite's FTS5.
//!
//! | request | answer |
//! |---|---|
//! | `POST /index` `{operations}` (see [`IndexOperation`]), at most 500 | `{applied}`: how many; all or none |
//! | `POST /query` `{text, conversations, limit, offset}`, `limit` at most 1,000 | `{hits}`: `message_id`, `conversation_id` |
//!
//! A message is found when it has every word of the text; the last word may be the beginning of one, as somebody
//! types it. Case and accents do not matter. Best first by BM25, then newest first. A text without a word finds
//! nothing. Emoji are no words, and writing without spaces between words counts as one word.
//!
//! Versions are the sender's (see [`IndexOperation`]): a put that is not newer is ignored, and a removal leaves a
//! marker (without the text) that no later put gets past.

use std::path::PathBuf;

use ackscope_core::clients::search::{BATCH_MAX, IndexOperation, SearchHit};
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use serde::Deserialize;
use serde_json::json;

use super::ServiceError;
use super::database::Database;
use super::faults::{FaultSwitch, ServiceFault};
use super::server::{Listening, Refusal, Server, read_json};

/// Most bytes of a batch: 500 texts of 4,096 characters, each written as six bytes, and room for the ids.
const INDEX_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Most bytes of a query: the ids of 100,000 conversations.
const QUERY_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Most hits of one answer.
const HITS_MAX: u32 = 1_000;
/// Words of a query that are looked for; a text that is pasted whole is found by its first ones.
const WORDS_MAX: usize = 32;

const SCHEMA_VERSION: i64 = 1;
/// `words` keeps no text of its own: `document` has it.
const SCHEMA: &str = "
CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL UNIQUE,
    conversation_id TEXT NOT NULL,
    sender_id TEXT,
    text TEXT,
    created_at_ms INTEGER,
    version INTEGER NOT NULL,
    is_removed INTEGER NOT NULL
) STRICT;
CREATE VIRTUAL TABLE words USING fts5(
    text,
    content='', contentless_delete=1,
    tokenize='unicode61 remove_diacritics 2',
    prefix='2 3'
);
";

/// Settings of the search service.
#[derive(Clone, Debug, Default)]
pub struct SearchOptions {
    /// Where the index is kept; none: in memory.
    pub file: Option<PathBuf>,
    /// For what its faults draw.
    pub seed: u64,
}

/// A message in the index.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Which message.
    pub message_id: MessageId,
    /// Where it stands.
    pub conversation_id: ConversationId,
    /// Who sent it.
    pub sender_id: UserId,
    /// What it is found by.
    pub text: String,
    /// When it was sent.
    pub created_at: Timestamp,
    /// The highest version that arrived.
    pub version: u64,
}

/// A running search service.
#[derive(Debug)]
pub struct SearchService {
    server: Server,
    database: Database,
}

impl SearchService {
    /// Starts it on a free port of loopback.
    pub fn start(options: SearchOptions) -> BoxFuture<'static, Result<Self, ServiceError>> {
        Box::pin(async move {
            let database = Database::open(options.file.as_deref(), SCHEMA_VERSION, SCHEMA).await?;
            let app =
                Router::new().route("/index", post(index)).route("/query", post(query)).with_state(database.clone());
            let server = Listening::start().await?.serve(app, options.seed);
            Ok(Self { server, database })
        })
    }

    /// Its address, as a client wants it.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Sets the fault, or heals it.
    pub fn set_fault(&self, fault: Option<ServiceFault>) {
        self.server.faults().set(fault);
    }

    /// The fault switch.
    pub fn faults(&self) -> &FaultSwitch {
        self.server.faults()
    }

    /// How many messages can be found.
    pub async fn count(&self) -> Result<u64, ServiceError> {
        let count = "SELECT count(*) FROM document WHERE NOT is_removed";
        self.database.run(move |connection| connection.query_row(count, [], |row| row.get(0))).await
    }

    /// The messages that can be found, in the order of their ids: at most `limit`, after `after`.
    pub async fn documents(&self, after: Option<MessageId>, limit: u32) -> Result<Vec<Document>, ServiceError> {
        let after = after.map_or_else(String::new, |id| id.to_string());
        let page = "SELECT message_id, conversation_id, sender_id, text, created_at_ms, version FROM document
            WHERE message_id > ?1 AND NOT is_removed ORDER BY message_id LIMIT ?2";
        self.database
            .run(move |connection| {
                connection.prepare_cached(page)?.query_map(params![after, limit], document)?.collect()
            })
            .await
    }

    /// What the index has of a message.
    pub async fn document(&self, message_id: MessageId) -> Result<Option<Document>, ServiceError> {
        let one = "SELECT message_id, conversation_id, sender_id, text, created_at_ms, version FROM document
            WHERE message_id = ?1 AND NOT is_removed";
        self.database
            .run(move |connection| {
                connection.prepare_cached(one)?.query_row([message_id.to_string()], document).optional()
            })
            .await
    }

    /// Whether a message can be found.
    pub async fn contains(&self, message_id: MessageId) -> Result<bool, ServiceError> {
        Ok(self.document(message_id).await?.is_some())
    }

    /// Answers what is under way and ends.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.server.shutdown().await;
        })
    }
}

#[derive(Deserialize)]
struct Batch {
    operations: Vec<IndexOperation>,
}

async fn index(State(database): State<Database>, request: Request) -> Result<Response, Refusal> {
    let Batch { operations } = read_json(request, INDEX_MAX_BYTES).await?;
    if operations.len() > BATCH_MAX {
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large"));
    }
    let applied = operations.len();
    database.run(move |connection| apply(connection, &operations)).await?;
    Ok(Json(json!({"applied": applied})).into_response())
}

#[derive(Deserialize)]
struct Query {
    text: String,
    conversations: Vec<ConversationId>,
    limit: u32,
    offset: u32,
}

async fn query(State(database): State<Database>, request: Request) -> Result<Response, Refusal> {
    let query: Query = read_json(request, QUERY_MAX_BYTES).await?;
    if query.limit > HITS_MAX {
        return Err(Refusal::unprocessable("limit_too_large"));
    }
    let hits = match match_expression(&query.text) {
        None => Vec::new(),
        Some(expression) => database.run(move |connection| find(connection, &expression, &query)).await?,
    };
    Ok(Json(json!({"hits": hits})).into_response())
}

fn apply(connection: &mut Connection, operations: &[IndexOperation]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for operation in operations {
        match operation {
            IndexOperation::Put { message_id, conversation_id, sender_id, text, created_at, version } => {
                let put = "INSERT INTO document
                        (message_id, conversation_id, sender_id, text, created_at_ms, version, is_removed)
                    VALUES (:message_id, :conversation_id, :sender_id, :text, :created_at_ms, :version, 0)
                    ON CONFLICT (message_id) DO UPDATE SET conversation_id = excluded.conversation_id,
                        sender_id = excluded.sender_id, text = excluded.text,
                        created_at_ms = excluded.created_at_ms, version = excluded.version
                    WHERE NOT is_removed AND excluded.version > version
                    RETURNING id";
                let values = named_params! {
                    ":message_id": message_id.to_string(),
                    ":conversation_id": conversation_id.to_string(),
                    ":sender_id": sender_id.as_str(),
                    ":text": text,
                    ":created_at_ms": created_at.as_millis(),
                    // Nobody edits a message 2^63 times.
                    ":version": i64::try_from(*version).unwrap_or(i64::MAX),
                };
                let changed: Option<i64> =
                    transaction.prepare_cached(put)?.query_row(values, |row| row.get(0)).optional()?;
                if let Some(id) = changed {
                    transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([id])?;
                    let insert = "INSERT INTO words (rowid, text) VALUES (?1, ?2)";
                    transaction.prepare_cached(insert)?.execute(params![id, text])?;
                }
            }
            IndexOperation::Remove { message_id, conversation_id } => {
                let remove = "INSERT INTO document (message_id, conversation_id, version, is_removed)
                    VALUES (?1, ?2, 0, 1)
                    ON CONFLICT (message_id) DO UPDATE SET is_removed = 1, text = NULL, sender_id = NULL
                    WHERE NOT is_removed
                    RETURNING id";
                let ids = [message_id.to_string(), conversation_id.to_string()];
                let changed: Option<i64> =
                    transaction.prepare_cached(remove)?.query_row(ids, |row| row.get(0)).optional()?;
                if let Some(id) = changed {
                    transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([id])?;
                }
            }
        }
    }
    transaction.commit()
}

fn find(connection: &Connection, expression: &str, query: &Query) -> rusqlite::Result<Vec<SearchHit>> {
    // The conversations go in as one JSON value: there may be thousands, more than a statement has places for.
    let find = "SELECT document.message_id, document.conversation_id
        FROM words JOIN document ON document.id = words.rowid
        WHERE words MATCH ?1 AND document.conversation_id IN (SELECT value FROM json_each(?2))
        ORDER BY bm25(words), document.created_at_ms DESC, document.message_id
        LIMIT ?3 OFFSET ?4";
    let conversations = json!(query.conversations).to_string();
    connection
        .prepare_cached(find)?
        .query_map(params![expression, conversations, query.limit, query.offset], |row| {
            Ok(SearchHit { message_id: parsed(row, 0)?, conversation_id: parsed(row, 1)? })
        })?
        .collect()
}

/// What FTS5 is asked for a text of a user: every word in quotes, which take its syntax away, and the last one as a
/// beginning. None when there is no word in it.
fn match_expression(text: &str) -> Option<String> {
    let words = text
        // FTS5 reads the expression up to the first zero byte; as a space it separates words like any other sign.
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .take(WORDS_MAX)
        .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
        .collect::<Vec<_>>();
    // A word may end in signs, and `+` or `-` must stay inside its quotes; only the star stands outside.
    if words.is_empty() { None } else { Some(format!("{}*", words.join(" "))) }
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        message_id: parsed(row, 0)?,
        conversation_id: parsed(row, 1)?,
        sender_id: parsed(row, 2)?,
        text: row.get(3)?,
        created_at: Timestamp::from_millis(row.get(4)?),
        version: row.get(5)?,
    })
}

/// An id out of a column of text.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
