//! Reads what store, cache and search index hold of a run's conversations, for the audit.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use ackscope_core::cache::{CacheError, ConversationCache, Lookup};
use ackscope_core::node::Backend;
use ackscope_core::repositories::{StoreError, StoredConversation as OfStore};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::{ConversationId, MessageId, UserId};

use crate::audit::{Cached, Indexed, Stored, StoredConversation, StoredMessage};
use crate::history::History;
use crate::services::{SearchService, ServiceError};
use crate::world::{World, WorldError};

/// How long the cache may take to answer.
const CACHE_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two questions to a cache that does not.
const CACHE_PAUSE: Duration = Duration::from_millis(50);
/// Messages read in one go.
const PAGE: u32 = 500;

/// Everything that is held of the conversations a run's history knows. A conversation that is not there (somebody
/// asked for one that does not exist) is left out. A cache or an index that does not answer is noted, a store that
/// does not is an error.
pub async fn read(world: &World, history: &History) -> Result<Stored, WorldError> {
    let (backend, services) = (world.backend()?, world.services()?);
    let mut ids: Vec<ConversationId> = history.conversations.keys().copied().collect();
    ids.extend(history.messages.iter().filter_map(|message| message.conversation_id));
    ids.sort_unstable();
    ids.dedup();
    let mut stored = Stored::default();
    let mut cache_answers = true;
    for conversation_id in ids {
        let Some(conversation) = backend.conversations.find(conversation_id).await? else { continue };
        let mut cached = None;
        if cache_answers {
            match look_up(backend.cache.as_ref(), conversation_id).await {
                Ok(Lookup::Hit(entry)) => {
                    cached = Some(Cached { version: entry.version, participants: present(&entry) });
                }
                Ok(Lookup::Miss(_)) => {}
                Err(error) => {
                    cache_answers = false;
                    stored.notes.push(format!("the cache could not be read: {error}"));
                }
            }
        }
        let messages = messages_of(&backend, conversation_id).await?;
        let (version, participants) = (conversation.version, present(&conversation));
        stored.conversations.push(StoredConversation { conversation_id, version, participants, cached, messages });
    }
    let known = stored.conversations.iter().map(|conversation| conversation.conversation_id).collect();
    match indexed(&services.search, &known).await {
        Ok(index) => stored.index = Some(index),
        Err(error) => stored.notes.push(format!("the search index could not be read: {error}")),
    }
    Ok(stored)
}

fn present(conversation: &OfStore) -> Vec<UserId> {
    let participants = conversation.participants.iter().filter(|participant| participant.removed_at.is_none());
    participants.map(|participant| participant.user_id.clone()).collect()
}

/// A conversation's cache entry. The cache's own limit is made for permission checks, which have somewhere else to ask;
/// who looks into it waits longer.
pub(crate) async fn look_up(
    cache: &dyn ConversationCache,
    conversation_id: ConversationId,
) -> Result<Lookup, CacheError> {
    let deadline = Instant::now() + CACHE_LIMIT;
    loop {
        match cache.get(conversation_id).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(CACHE_PAUSE).await,
            answered => return answered,
        }
    }
}

/// What the index has of these conversations.
async fn indexed(
    search: &SearchService,
    known: &HashSet<ConversationId>,
) -> Result<HashMap<MessageId, Indexed>, ServiceError> {
    let mut index = HashMap::new();
    let mut after = None;
    loop {
        let page = search.documents(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(index) };
        after = Some(last.message_id);
        for document in page.into_iter().filter(|document| known.contains(&document.conversation_id)) {
            let (conversation_id, sender, text) = (document.conversation_id, document.sender_id, document.text);
            index.insert(document.message_id, Indexed { conversation_id, sender, text });
        }
    }
}

async fn messages_of(backend: &Backend, conversation_id: ConversationId) -> Result<Vec<StoredMessage>, StoreError> {
    let mut messages = Vec::new();
    let mut before_seq = None;
    loop {
        let page = backend.messages.history(conversation_id, None, None, before_seq, PAGE).await?;
        let Some(oldest) = page.last().map(|stored| stored.message.seq) else { return Ok(messages) };
        // A store that gives the same page again would be asked for ever.
        if before_seq.is_some_and(|before| oldest >= before) {
            return Err(StoreError::Damaged("a page of messages does not go on where the one before ended".to_owned()));
        }
        before_seq = Some(oldest);
        messages.extend(page.iter().filter_map(|stored| {
            let message = stored.view();
            Some(StoredMessage {
                message_id: message.message_id,
                sender: message.sender_id,
                temp_id: message.temp_id?,
                text: message.text.map(MessageText::into_string),
                created_at: message.created_at,
                edits: message.edits.into_iter().map(|edit| (edit.text, edit.at)).collect(),
                deleted: message.deleted.is_some(),
                seq: message.seq,
                forwarded: message.forwarded_from.is_some(),
            })
        }));
    }
}
