//! Messages and what happened to them.
//!
//! A message is stored as it was sent and what happened to it in a row of its own, which most messages never get;
//! reading puts the two together. Nothing is stored that does not follow from the messages and changes that came,
//! whatever order they came in: a replay of the log in other bulks leaves the same store.

use std::collections::HashMap;
use std::sync::Arc;

use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MediaId, MessageId, UserId};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::hidden::{self, Place, Run};
use super::{JobError, conversation_key, damaged, to_i64};
use crate::repositories::{InsertOutcome, MessageRepository, StoreError};
use crate::sqlite::EmbeddedFile;
use crate::state::{Found, MessageState, PlacedChange, StoredMessage, remove_content};

fn message_key(message_id: MessageId) -> [u8; 16] {
    message_id.as_uuid().into_bytes()
}

fn media_key(media_id: MediaId) -> [u8; 16] {
    media_id.as_uuid().into_bytes()
}

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

    async fn apply_bulk(&self, changes: &[PlacedChange]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut of_messages: Vec<Vec<PlacedChange>> = Vec::new();
        let mut places: HashMap<MessageId, usize> = HashMap::new();
        for placed in changes {
            let place = *places.entry(placed.change.message_id).or_insert(of_messages.len());
            match of_messages.get_mut(place) {
                Some(of_message) => of_message.push(placed.clone()),
                None => of_messages.push(vec![placed.clone()]),
            }
        }
        let apply = move |connection: &Connection| -> Result<(), JobError> {
            of_messages.iter().try_for_each(|changes| take_in(connection, changes))
        };
        Ok(self.file.write(apply).await?)
    }

    async fn find(&self, message_id: MessageId) -> Result<Option<Found>, StoreError> {
        let find = move |connection: &Connection| find_message(connection, message_id);
        Ok(self.file.read(find).await?)
    }

    async fn find_many(&self, message_ids: &[MessageId]) -> Result<HashMap<MessageId, Found>, StoreError> {
        if message_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let message_ids = message_ids.to_vec();
        let find = move |connection: &Connection| -> Result<HashMap<MessageId, Found>, JobError> {
            let moment = connection.unchecked_transaction()?;
            let mut found = HashMap::new();
            for message_id in message_ids {
                if let Some(message) = find_message(&moment, message_id)? {
                    found.insert(message_id, message);
                }
            }
            Ok(found)
        };
        Ok(self.file.read(find).await?)
    }

    async fn history(
        &self,
        conversation_id: ConversationId,
        viewer: Option<&UserId>,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let page = PageOf {
            conversation: conversation_key(conversation_id),
            viewer: viewer.cloned(),
            thread: thread.map(message_key),
            before: before_seq.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX)),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let read = move |connection: &Connection| {
            let moment = connection.unchecked_transaction()?;
            page.read(&moment)
        };
        let messages: Result<Vec<StoredMessage>, JobError> = self.file.read(read).await;
        Ok(messages?)
    }

    async fn carrying(&self, media_id: MediaId, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
        let carrying = move |connection: &Connection| -> Result<Vec<StoredMessage>, JobError> {
            let mut statement = connection.prepare_cached(CARRYING)?;
            let mut rows = statement.query(params![media_key(media_id), limit])?;
            let mut messages = Vec::new();
            while let Some(row) = rows.next()? {
                messages.push(read_stored(row)?);
            }
            Ok(messages)
        };
        Ok(self.file.read(carrying).await?)
    }
}

// ---- reading --------------------------------------------------------------------------------------------

const FIND: &str = "SELECT sought.column1, message.document, state.document, state.conversation_id
     FROM (VALUES (?1)) AS sought
     LEFT JOIN messages AS message ON message.message_id = sought.column1
     LEFT JOIN message_states AS state ON state.message_id = sought.column1";

/// A reader stops when its page is full. The columns are what [`read_stored`] reads.
pub(super) const HISTORY: &str = "SELECT message.seq, message.document, state.document
     FROM messages AS message LEFT JOIN message_states AS state ON state.message_id = message.message_id
     WHERE message.conversation_id = ?1 AND message.seq < ?2
     ORDER BY message.seq DESC";

/// The messages of a thread; its root is not among them unless it names itself.
pub(super) const THREAD: &str = "SELECT message.seq, message.document, state.document
     FROM messages AS message LEFT JOIN message_states AS state ON state.message_id = message.message_id
     WHERE message.conversation_id = ?1 AND message.thread_root = ?3 AND message.seq < ?2
     ORDER BY message.seq DESC";

const ROOT: &str = "SELECT message.seq, message.document, state.document
     FROM messages AS message LEFT JOIN message_states AS state ON state.message_id = message.message_id
     WHERE message.message_id = ?3 AND message.conversation_id = ?1 AND message.seq < ?2
         AND message.thread_root IS NOT ?3";

pub(super) const CARRYING: &str = "SELECT message.seq, message.document, state.document
     FROM message_media AS media
     JOIN messages AS message ON message.conversation_id = media.conversation_id AND message.seq = media.seq
     LEFT JOIN message_states AS state ON state.message_id = message.message_id
     WHERE media.media_id = ?1
     ORDER BY media.conversation_id DESC, media.seq DESC LIMIT ?2";

fn find_message(connection: &Connection, message_id: MessageId) -> Result<Option<Found>, JobError> {
    let mut statement = connection.prepare_cached(FIND)?;
    let mut rows = statement.query([message_key(message_id)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let state = optional_document(row, 2)?.map(read_state).transpose()?;
    if let Some(document) = optional_document(row, 1)? {
        return Ok(Some(Found::new(read_message(document)?, state.unwrap_or_default())));
    }
    // What happened to a message that is not there: it is gone, or still to come.
    let Some(gone) = state.and_then(|state| state.gone) else { return Ok(None) };
    let conversation_id = ConversationId::from_uuid(uuid::Uuid::from_bytes(row.get(3)?));
    Ok(Some(Found::Gone { conversation_id, gone }))
}

/// Hidden messages in a row that are stepped over one by one; beyond that, beginning anew below them is faster.
const STEPS_MAX: u32 = 8;

/// Which page of a conversation.
struct PageOf {
    conversation: [u8; 16],
    viewer: Option<UserId>,
    thread: Option<[u8; 16]>,
    before: i64,
    limit: usize,
}

impl PageOf {
    fn read(&self, connection: &Connection) -> Result<Vec<StoredMessage>, JobError> {
        let mut messages = Vec::new();
        if self.limit == 0 {
            return Ok(messages);
        }
        let mut statement = connection.prepare_cached(if self.thread.is_some() { THREAD } else { HISTORY })?;
        let mut skipper = Skipper { connection, viewer: self.viewer.as_ref(), run: NearestRun::Unknown };
        let mut before = Some(self.before);
        while let Some(below) = before.take() {
            let mut rows = match self.thread {
                None => statement.query(params![self.conversation, below])?,
                Some(root) => statement.query(params![self.conversation, below, root])?,
            };
            let mut steps = 0;
            while messages.len() < self.limit
                && let Some(row) = rows.next()?
            {
                let place = Place { conversation: self.conversation, seq: row.get(0)? };
                let Some(run) = skipper.run_with(place)? else {
                    messages.push(read_stored(row)?);
                    steps = 0;
                    continue;
                };
                steps += 1;
                if steps > STEPS_MAX {
                    // On with what is below the whole run.
                    before = Some(run.first);
                    break;
                }
            }
        }
        if let Some(root) = self.root(connection)? {
            messages.push(root);
            messages.sort_by_key(|stored| std::cmp::Reverse(stored.message.seq));
            messages.truncate(self.limit);
        }
        Ok(messages)
    }

    /// The root of the thread, if it belongs on the page or before it.
    fn root(&self, connection: &Connection) -> Result<Option<StoredMessage>, JobError> {
        let Some(root) = self.thread else { return Ok(None) };
        let mut statement = connection.prepare_cached(ROOT)?;
        let mut rows = statement.query(params![self.conversation, self.before, root])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        if let Some(viewer) = &self.viewer {
            let place = Place { conversation: self.conversation, seq: row.get(0)? };
            if hidden::is_hidden(connection, viewer.as_str(), place)? {
                return Ok(None);
            }
        }
        read_stored(row).map(Some)
    }
}

/// Knows what a viewer has hidden, asked with places that go down.
struct Skipper<'a> {
    connection: &'a Connection,
    viewer: Option<&'a UserId>,
    run: NearestRun,
}

/// The nearest run at or before the last place asked for.
#[derive(Clone, Copy)]
enum NearestRun {
    Unknown,
    None,
    At(Run),
}

impl Skipper<'_> {
    /// The run that this place is within.
    fn run_with(&mut self, place: Place) -> Result<Option<Run>, JobError> {
        let Some(viewer) = self.viewer else { return Ok(None) };
        let is_known = match self.run {
            NearestRun::Unknown => false,
            NearestRun::None => true,
            NearestRun::At(run) => run.first <= place.seq,
        };
        if !is_known {
            self.run = match hidden::run_before(self.connection, viewer.as_str(), place)? {
                Some(run) => NearestRun::At(run),
                None => NearestRun::None,
            };
        }
        match self.run {
            NearestRun::At(run) if place.seq <= run.last => Ok(Some(run)),
            NearestRun::Unknown | NearestRun::None | NearestRun::At(_) => Ok(None),
        }
    }
}

/// A message and its state, from the second and the third column.
fn read_stored(row: &Row<'_>) -> Result<StoredMessage, JobError> {
    let document = row.get_ref(1)?.as_str().map_err(|error| damaged(format_args!("message: {error}")))?;
    let state = optional_document(row, 2)?.map(read_state).transpose()?.unwrap_or_default();
    Ok(StoredMessage { message: read_message(document)?, state })
}

fn optional_document<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>, JobError> {
    row.get_ref(column)?.as_str_or_null().map_err(|error| damaged(format_args!("a document: {error}")))
}

fn read_message(document: &str) -> Result<Message, JobError> {
    serde_json::from_str(document).map_err(|error| damaged(format_args!("message: {error}")))
}

fn read_state(document: &str) -> Result<MessageState, JobError> {
    serde_json::from_str(document).map_err(|error| damaged(format_args!("state of a message: {error}")))
}

// ---- changes --------------------------------------------------------------------------------------------

fn state_of(connection: &Connection, message_id: MessageId) -> Result<Option<MessageState>, JobError> {
    let mut statement = connection.prepare_cached("SELECT document FROM message_states WHERE message_id = ?1")?;
    let mut rows = statement.query([message_key(message_id)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let document = row.get_ref(0)?.as_str().map_err(|error| damaged(format_args!("state of a message: {error}")))?;
    read_state(document).map(Some)
}

/// Takes in changes of one message.
fn take_in(connection: &Connection, changes: &[PlacedChange]) -> Result<(), JobError> {
    let Some(PlacedChange { change, .. }) = changes.first() else { return Ok(()) };
    let before = state_of(connection, change.message_id)?.unwrap_or_default();
    let mut state = before.clone();
    for placed in changes {
        // Also a change that changes nothing is remembered as read: compared is the whole state.
        state.apply(placed);
    }
    if state == before {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO message_states (message_id, conversation_id, document) VALUES (?1, ?2, ?3)
             ON CONFLICT (message_id) DO UPDATE SET document = excluded.document",
        )?
        .execute(params![
            message_key(change.message_id),
            conversation_key(change.conversation_id),
            serde_json::to_string(&state).map_err(damaged)?
        ])?;

    let place = connection
        .prepare_cached("SELECT conversation_id, seq FROM messages WHERE message_id = ?1")?
        .query_row([message_key(change.message_id)], |row| Ok(Place { conversation: row.get(0)?, seq: row.get(1)? }))
        .optional()?;
    // It is still to come, and will find its state.
    let Some(place) = place else { return Ok(()) };
    if state.gone.is_some() {
        remove_media(connection, place)?;
        connection
            .prepare_cached("DELETE FROM messages WHERE message_id = ?1")?
            .execute([message_key(change.message_id)])?;
        return hidden::message_went(connection, place);
    }
    if state.deleted.is_some() && before.deleted.is_none() {
        remove_media(connection, place)?;
        let document: String = connection
            .prepare_cached("SELECT document FROM messages WHERE message_id = ?1")?
            .query_row([message_key(change.message_id)], |row| row.get(0))?;
        connection
            .prepare_cached("UPDATE messages SET document = ?2 WHERE message_id = ?1")?
            .execute(params![message_key(change.message_id), without_content(&document)?])?;
    }
    for user_id in state.hidden_for.difference(&before.hidden_for) {
        hidden::hide(connection, user_id.as_str(), place)?;
    }
    Ok(())
}

/// The document of a message that was deleted and leaves a tombstone: what [`StoredMessage::view`] does not show of
/// it any more is not kept either.
fn without_content(document: &str) -> Result<String, JobError> {
    let mut message = read_message(document)?;
    remove_content(&mut message);
    serde_json::to_string(&message).map_err(damaged)
}

fn remove_media(connection: &Connection, place: Place) -> Result<(), JobError> {
    connection
        .prepare_cached("DELETE FROM message_media WHERE conversation_id = ?1 AND seq = ?2")?
        .execute(params![place.conversation, place.seq])?;
    Ok(())
}

// ---- inserting ------------------------------------------------------------------------------------------

/// A message as it is written.
struct MessageRow {
    message_id: MessageId,
    conversation_id: ConversationId,
    seq: u64,
    place: Place,
    thread_root: Option<[u8; 16]>,
    /// None of a tombstone.
    media: Vec<[u8; 16]>,
    document: String,
}

impl MessageRow {
    fn new(message: &Message) -> Result<Self, JobError> {
        let media = match message.deleted {
            None => message.media.iter().map(|item| media_key(item.media_id)).collect(),
            Some(_) => Vec::new(),
        };
        Ok(Self {
            message_id: message.message_id,
            conversation_id: message.conversation_id,
            seq: message.seq,
            place: Place { conversation: conversation_key(message.conversation_id), seq: to_i64("seq", message.seq)? },
            thread_root: message.thread_root.map(message_key),
            media,
            document: serde_json::to_string(message).map_err(damaged)?,
        })
    }

    fn insert(&self, connection: &Connection) -> Result<InsertOutcome, JobError> {
        let Some(state) = state_of(connection, self.message_id)? else {
            return self.insert_as(connection, &self.document, &self.media, &MessageState::default());
        };
        if state.gone.is_some() {
            return Ok(InsertOutcome::Duplicate);
        }
        if state.deleted.is_some() {
            return self.insert_as(connection, &without_content(&self.document)?, &[], &state);
        }
        self.insert_as(connection, &self.document, &self.media, &state)
    }

    fn insert_as(
        &self,
        connection: &Connection,
        document: &str,
        media: &[[u8; 16]],
        state: &MessageState,
    ) -> Result<InsertOutcome, JobError> {
        // The first one wins, also over one with another seq: the log may hold a message twice, when sending it
        // again met an outcome that was not known, and its first place is the one that was confirmed.
        let inserted = connection
            .prepare_cached(
                "INSERT INTO messages (message_id, conversation_id, seq, thread_root, document)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (message_id) DO NOTHING",
            )?
            .execute(params![
                message_key(self.message_id),
                self.place.conversation,
                self.place.seq,
                self.thread_root,
                document
            ]);
        match inserted {
            Ok(0) => return Ok(InsertOutcome::Duplicate),
            Ok(_) => {}
            Err(error)
                if error.sqlite_error().map(|e| e.extended_code) == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) =>
            {
                return Err(damaged(format_args!(
                    "message {} claims place {} of conversation {}, which another message has",
                    self.message_id, self.seq, self.conversation_id
                )));
            }
            Err(error) => return Err(error.into()),
        }
        for media_id in media {
            // A message may name an item twice.
            connection
                .prepare_cached(
                    "INSERT INTO message_media (media_id, conversation_id, seq) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![media_id, self.place.conversation, self.place.seq])?;
        }
        hidden::message_came(connection, self.place, &state.hidden_for)?;
        Ok(InsertOutcome::Inserted)
    }
}
