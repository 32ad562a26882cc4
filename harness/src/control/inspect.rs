//! Looks into the store, the cache, the log and the search index. What plays faults is passed by: it is seen what is
//! there, and not what the service would be told.

use std::collections::HashSet;

use ackscope_core::cache::Lookup;
use ackscope_core::log::{LogError, Record, Topic, TopicPartition};
use ackscope_core::node::Backend;
use ackscope_core::repositories::{ConversationCursor, StoredConversation};
use ackscope_core::state::{Found, StoredMessage};
use ackscope_protocol::control::{CommandAnswer, INSPECTED_MAX, Inspected, Place};
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::trace::{Happening, Stage};
use ackscope_protocol::{ConversationId, MessageId, UserId};
use serde_json::{Value, json};

use super::commands::refusal;
use super::requests::{invalid, shown};
use crate::history::excerpt;
use crate::recorder::Recorder;
use crate::records::about_of;
use crate::scenario::problem::nearest;
use crate::services::{Document, ServiceError};
use crate::stored::look_up;
use crate::world::{World, WorldError};

/// Most characters of a text in a summary.
const TEXT_MAX: usize = 60;
/// How many records before the end of each partition are looked through for those about one message.
const LOOKED_THROUGH: u64 = 10_000;
/// Events of the run looked at in one go.
const EVENTS_READ: usize = 10_000;
/// Records read in one go.
const READ: usize = 1_000;

/// What is found, at most so much.
#[derive(Default)]
struct Rows {
    rows: Vec<Inspected>,
    more: bool,
}

impl Rows {
    /// Adds a row; false when there is no room for it.
    fn push(&mut self, row: Inspected) -> bool {
        self.more |= self.rows.len() >= INSPECTED_MAX;
        if !self.more {
            self.rows.push(row);
        }
        !self.more
    }
}

impl From<Rows> for CommandAnswer {
    fn from(Rows { rows, more }: Rows) -> Self {
        Self::Inspected { rows, more }
    }
}

/// Looks at a place.
pub(super) async fn look(world: &World, place: Place) -> Result<CommandAnswer, WireError> {
    let rows = match place {
        Place::Message { message_id } => message(world, message_id).await?,
        Place::Conversations { user } => {
            let (found, more) = conversations(world, user.as_ref()).await?;
            let mut rows = Rows { rows: found.iter().map(conversation_row).collect(), more };
            rows.rows.truncate(INSPECTED_MAX);
            rows
        }
        Place::Messages { conversation_id, before_seq } => {
            let backend = backend(world)?;
            let limit = INSPECTED_MAX as u32 + 1;
            let page = backend.messages.history(conversation_id, None, None, before_seq, limit).await;
            let mut rows = Rows::default();
            for stored in page.map_err(|error| refusal(&error.into()))? {
                rows.push(message_row(&stored));
            }
            rows
        }
        Place::Cache => {
            let (found, more) = conversations(world, None).await?;
            let backend = backend(world)?;
            let mut rows = Rows { more, ..Rows::default() };
            for conversation in found {
                if let Some(row) = cache_row(&backend, conversation.conversation_id).await? {
                    rows.rows.push(row);
                }
            }
            rows.rows.truncate(INSPECTED_MAX);
            rows
        }
        Place::Records { topic, partition, from_offset } => records(world, &topic, partition, from_offset).await?,
        Place::Index { after } => {
            let services = world.services().map_err(|error| refusal(&error))?;
            let mut rows = Rows::default();
            for document in
                services.search.documents(after, INSPECTED_MAX as u32 + 1).await.map_err(|error| unreadable(&error))?
            {
                rows.push(index_row(&document));
            }
            rows
        }
    };
    Ok(rows.into())
}

fn backend(world: &World) -> Result<Backend, WireError> {
    world.backend().map_err(|error| refusal(&error))
}

fn unreadable(error: &ServiceError) -> WireError {
    WireError::new(ErrorCode::SearchUnavailable, format!("the search index could not be read: {error}"))
}

fn log_refusal(error: LogError) -> WireError {
    match error {
        LogError::NoSuchPartition(_) | LogError::Truncated { .. } => invalid(error.to_string()),
        error => refusal(&WorldError::Log(error)),
    }
}

// ---- conversations and the cache ------------------------------------------------------------------------

/// Conversations of one user or of everybody in the run, each once, newest first for each user; and whether there are
/// more than are given.
async fn conversations(world: &World, user: Option<&UserId>) -> Result<(Vec<StoredConversation>, bool), WireError> {
    let backend = backend(world)?;
    let people: Vec<UserId> = if let Some(user) = user {
        // Somebody the run does not know may be in the store from before.
        vec![world.user(user).map_or_else(|_| user.clone(), |user| user.person().clone())]
    } else {
        let mut people: Vec<_> = world.users().iter().map(|user| user.person().clone()).collect();
        people.sort_unstable();
        people.dedup();
        people
    };
    let mut found: Vec<StoredConversation> = Vec::new();
    let mut known = HashSet::new();
    for person in &people {
        for archived in [false, true] {
            let mut after: Option<ConversationCursor> = None;
            loop {
                let limit = INSPECTED_MAX as u32 + 1;
                let page = backend.participants.conversations_of(person, archived, after.as_ref(), limit).await;
                let page = page.map_err(|error| refusal(&error.into()))?;
                let is_last = page.len() <= INSPECTED_MAX;
                after = page.last().map(|last| ConversationCursor {
                    created_at: last.created_at,
                    conversation_id: last.conversation_id,
                });
                found.extend(page.into_iter().filter(|one| known.insert(one.conversation_id)));
                if found.len() > INSPECTED_MAX {
                    found.truncate(INSPECTED_MAX);
                    return Ok((found, true));
                }
                if is_last {
                    break;
                }
            }
        }
    }
    found.sort_by(|one, other| {
        other.created_at.cmp(&one.created_at).then(other.conversation_id.cmp(&one.conversation_id))
    });
    Ok((found, false))
}

fn conversation_row(conversation: &StoredConversation) -> Inspected {
    let id = conversation.conversation_id.to_string();
    row("conversation", id, conversation_summary(conversation), None, conversation)
}

/// `group "Release team" with ana, ben and cleo, version 3`
fn conversation_summary(conversation: &StoredConversation) -> String {
    let present = conversation.participants.iter().filter(|participant| participant.removed_at.is_none());
    let people: Vec<_> = present.map(|participant| participant.user_id.as_str()).collect();
    let title = conversation.title.as_deref().map_or_else(String::new, |title| format!(" \"{title}\""));
    let shown = people.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let others = if people.len() > 5 { format!(" and {} more", people.len() - 5) } else { String::new() };
    format!("{}{title} with {shown}{others}, version {}", conversation.kind.as_str(), conversation.version)
}

async fn cache_row(backend: &Backend, conversation_id: ConversationId) -> Result<Option<Inspected>, WireError> {
    let failed = |error: ackscope_core::cache::CacheError| WireError::new(ErrorCode::Internal, error.to_string());
    // First the question that counts as no lookup.
    let Some(left) = backend.cache.remaining(conversation_id).await.map_err(failed)? else { return Ok(None) };
    let Lookup::Hit(entry) = look_up(backend.cache.as_ref(), conversation_id).await.map_err(failed)? else {
        return Ok(None);
    };
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let row = row("cache", conversation_id.to_string(), conversation_summary(&entry), None, &*entry);
    Ok(Some(Inspected { ttl_ms: Some(left_ms), ..row }))
}

// ---- messages -------------------------------------------------------------------------------------------

fn message_row(stored: &StoredMessage) -> Inspected {
    let view = stored.view();
    let what = match (&view.deleted, &view.text) {
        (Some(deleted), _) => format!("deleted by {}", deleted.by),
        (None, Some(text)) => format!("\"{}\"", excerpt(text, TEXT_MAX)),
        (None, None) => match view.media.len() {
            1 => "1 file".to_owned(),
            files => format!("{files} files"),
        },
    };
    let summary = format!("{}: {what} (seq {})", view.sender_id, view.seq);
    let value = json!({ "message": view, "state": stored.state });
    row("message", view.message_id.to_string(), summary, Some(view.message_id), &value)
}

/// One message everywhere.
async fn message(world: &World, message_id: MessageId) -> Result<Rows, WireError> {
    let backend = backend(world)?;
    let services = world.services().map_err(|error| refusal(&error))?;
    world.recorder().flush().await;
    let (mut conversation_id, partition) = told(world.recorder(), message_id);
    let mut rows = Rows::default();
    match backend.messages.find(message_id).await.map_err(|error| refusal(&error.into()))? {
        Some(Found::There(stored)) => {
            conversation_id = Some(stored.message.conversation_id);
            rows.push(message_row(&stored));
        }
        Some(Found::Gone { conversation_id: of, gone }) => {
            conversation_id = Some(of);
            let summary = format!("deleted with nothing left but its name (seq {})", gone.seq);
            rows.push(row("message", message_id.to_string(), summary, Some(message_id), &gone));
        }
        None => {}
    }
    let index = services.search.document(message_id).await.map_err(|error| unreadable(&error))?;
    conversation_id = conversation_id.or_else(|| index.as_ref().map(|document| document.conversation_id));
    if let Some(conversation_id) = conversation_id
        && let Some(row) = cache_row(&backend, conversation_id).await?
    {
        rows.push(row);
    }
    if let Some(document) = &index {
        rows.push(index_row(document));
    }
    // One conversation's records are in one partition of each topic.
    for topic in Topic::ALL {
        let ends = backend.log.end(topic).await.map_err(log_refusal)?;
        for end in ends {
            if partition.is_some_and(|partition| topic != Topic::DeadLetter && end.partition != partition) {
                continue;
            }
            let mut from = end.offset.saturating_sub(LOOKED_THROUGH);
            while from < end.offset {
                let page = read(&backend, end.topic_partition(), from, READ).await?;
                let Some(last) = page.last() else { break };
                from = last.position.offset + 1;
                for record in page.iter().filter(|record| speaks_of(record, message_id)) {
                    if !rows.push(record_row(record)) {
                        return Ok(rows);
                    }
                }
            }
        }
    }
    Ok(rows)
}

/// What the run told of a message: its conversation, and the partition it is in.
fn told(recorder: &Recorder, message_id: MessageId) -> (Option<ConversationId>, Option<u32>) {
    let (mut conversation_id, mut partition) = (None, None);
    let mut next = 0;
    loop {
        let batch = recorder.read_from(next, EVENTS_READ);
        if batch.events.is_empty() {
            return (conversation_id, partition);
        }
        next = batch.next_index();
        for event in &batch.events {
            match &event.what {
                Happening::Sent { message_id: sent, conversation_id: of, .. } if *sent == message_id => {
                    conversation_id = Some(*of);
                }
                Happening::Stage { message_id: of, stage: Stage::Published { topic, partition: at, .. } }
                    if *of == message_id && topic != Topic::DeadLetter.as_str() =>
                {
                    partition = Some(*at);
                }
                _ => {}
            }
        }
        if conversation_id.is_some() && partition.is_some() {
            return (conversation_id, partition);
        }
    }
}

/// Whether a record is about a message. What could not be processed carries the record it was, as it was.
fn speaks_of(record: &Record, message_id: MessageId) -> bool {
    if record.position.topic == Topic::DeadLetter {
        return String::from_utf8_lossy(&record.value).contains(&message_id.to_string());
    }
    about_of(&record.value).is_some_and(|about| about.message_id == Some(message_id))
}

// ---- the log and the index ------------------------------------------------------------------------------

async fn records(world: &World, topic: &str, partition: u32, from_offset: Option<u64>) -> Result<Rows, WireError> {
    let backend = backend(world)?;
    let Some(topic) = Topic::from_name(topic) else {
        let names = Topic::ALL.map(Topic::as_str);
        let meant = nearest(topic, names)
            .map_or_else(|| format!("expected one of {}", names.join(", ")), |word| format!("did you mean `{word}`?"));
        return Err(invalid(format!("there is no topic `{}`: {meant}", shown(topic))));
    };
    let at = TopicPartition { topic, partition };
    let partitions = backend.log.partitions();
    if partition >= partitions {
        let last = partitions.saturating_sub(1);
        return Err(invalid(format!("there is no partition {partition} of {topic}; they are numbered 0 to {last}")));
    }
    let mut rows = Rows::default();
    let (from, max) = if let Some(from) = from_offset {
        (from, INSPECTED_MAX + 1)
    } else {
        let ends = backend.log.end(topic).await.map_err(log_refusal)?;
        let end = ends.iter().find(|end| end.partition == partition).map_or(0, |end| end.offset);
        (end.saturating_sub(INSPECTED_MAX as u64), INSPECTED_MAX)
    };
    for record in read(&backend, at, from, max).await? {
        rows.push(record_row(&record));
    }
    Ok(rows)
}

/// Records from an offset on, or from the first one that is kept.
async fn read(backend: &Backend, at: TopicPartition, from: u64, max: usize) -> Result<Vec<Record>, WireError> {
    match backend.log.read(at, from, max).await {
        Err(LogError::Truncated { earliest, .. }) if earliest > from => {
            backend.log.read(at, earliest, max).await.map_err(log_refusal)
        }
        read => read.map_err(log_refusal),
    }
}

fn record_row(record: &Record) -> Inspected {
    let place = record.position;
    let key = format!("{}/{}@{}", place.topic, place.partition, place.offset);
    let about = about_of(&record.value);
    let body = serde_json::from_slice(&record.value).unwrap_or_else(|_| {
        // What is no JSON is shown as far as it is text.
        Value::String(String::from_utf8_lossy(&record.value).into_owned())
    });
    let kind = ["/data/change", "/data/status"].into_iter().find_map(|place| body.pointer(place)?.as_str());
    let kind = kind.map_or_else(String::new, |kind| format!(", {kind}"));
    let summary = format!("key {}{kind}, {} bytes", shown(&record.key), record.value.len());
    let value = json!({ "key": record.key, "appended_at": record.appended_at, "value": body });
    let row = row("record", key, summary, about.and_then(|about| about.message_id), &value);
    Inspected { headers: record.headers.clone(), ..row }
}

fn index_row(document: &Document) -> Inspected {
    let Document { message_id, conversation_id, sender_id, text, created_at, version } = document;
    let value = json!({
        "message_id": message_id,
        "conversation_id": conversation_id,
        "sender_id": sender_id,
        "text": text,
        "created_at": created_at,
        "version": version,
    });
    let summary = format!("{sender_id}: \"{}\" (version {version})", excerpt(text, TEXT_MAX));
    row("index", message_id.to_string(), summary, Some(*message_id), &value)
}

fn row(
    kind: &str,
    key: String,
    summary: String,
    message_id: Option<MessageId>,
    value: &impl serde::Serialize,
) -> Inspected {
    let value =
        serde_json::to_value(value).unwrap_or_else(|error| Value::String(format!("it cannot be shown: {error}")));
    Inspected { kind: kind.to_owned(), key, summary, message_id, ttl_ms: None, headers: Vec::new(), value }
}
