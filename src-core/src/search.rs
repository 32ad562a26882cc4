//! `search:query`: the search service finds, this service decides who may see it (S1.7).

use std::collections::HashSet;
use std::sync::Arc;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::{Message, SearchAnswer, SearchQuery};
use ackscope_protocol::{ConversationId, MessageId, UserId};

use crate::clients::{ClientError, SearchClient, SearchHit};
use crate::messages::Messages;
use crate::{refusal, rules};

/// Most conversations one query looks into, the newest ones first.
const CONVERSATIONS_MAX: u32 = 10_000;
/// Most pages of hits one query asks for, when many of them are not the caller's to see any more.
const PAGES_MAX: u32 = 5;

/// Answers `search:query`.
pub struct Search {
    /// The search service.
    pub client: Arc<SearchClient>,
    /// The messages as they are now.
    pub messages: Arc<Messages>,
}

impl Search {
    /// The messages that match, best first, of the conversations the caller is in. The index may be behind, so every
    /// hit is looked at as it is now.
    pub async fn query(&self, caller: &UserId, request: &SearchQuery) -> Result<SearchAnswer, WireError> {
        let conversations = &self.messages.conversations;
        let searched = match request.conversation_id {
            Some(conversation_id) => {
                let (conversation, _) =
                    conversations.load(conversation_id).await.map_err(|error| refusal::store(&error))?;
                rules::participant(conversation.as_deref(), caller)?;
                vec![conversation_id]
            }
            None => conversations.ids_of(caller, CONVERSATIONS_MAX).await?,
        };
        if searched.is_empty() {
            return Ok(SearchAnswer { messages: Vec::new() });
        }
        let limit = request.limit.unwrap_or_default().get();
        let mut messages: Vec<Message> = Vec::new();
        let mut seen = HashSet::new();
        for page in 0..PAGES_MAX {
            let hits = self.client.query(&request.text, &searched, limit, page * limit).await;
            let hits = hits.map_err(|error| unavailable(&error))?;
            let is_last = hits.len() < limit as usize;
            self.add_visible(caller, &searched, &hits, &mut seen, &mut messages).await?;
            if is_last || messages.len() >= limit as usize {
                break;
            }
        }
        messages.truncate(limit as usize);
        Ok(SearchAnswer { messages })
    }

    async fn add_visible(
        &self,
        caller: &UserId,
        searched: &[ConversationId],
        hits: &[SearchHit],
        seen: &mut HashSet<MessageId>,
        messages: &mut Vec<Message>,
    ) -> Result<(), WireError> {
        // An answer of another service may hold anything.
        let asked_for: HashSet<&ConversationId> = searched.iter().collect();
        let hits: Vec<(ConversationId, MessageId)> = hits
            .iter()
            .filter(|hit| asked_for.contains(&hit.conversation_id) && seen.insert(hit.message_id))
            .map(|hit| (hit.conversation_id, hit.message_id))
            .collect();
        let found = self.messages.find_many(&hits).await?;
        for (conversation_id, message_id) in hits {
            let Ok(stored) = rules::message(found.get(&message_id), conversation_id, caller) else { continue };
            let view = stored.view();
            if view.deleted.is_none() {
                messages.push(rules::message_for(&view, caller));
            }
        }
        Ok(())
    }
}

fn unavailable(error: &ClientError) -> WireError {
    tracing::warn!(%error, "the search service failed");
    WireError::new(ErrorCode::SearchUnavailable, "the search service does not answer; try again")
}
