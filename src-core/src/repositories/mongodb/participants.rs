//! Conversations from the user's side.

use std::collections::HashMap;

use ::mongodb::bson::{Bson, DateTime, Document, doc};
use ackscope_protocol::{ConversationId, UserId};
use async_trait::async_trait;
use futures_util::TryStreamExt as _;

use super::documents::{Fields, conversation};
use super::operation::{Failure, damaged};
use super::{CONVERSATIONS, MongoStore, PARTICIPANTS};
use crate::repositories::{ConversationCursor, ParticipantRepository, StoreError, StoredConversation};

/// Participants in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoParticipants {
    store: MongoStore,
}

impl MongoParticipants {
    pub(super) fn new(store: MongoStore) -> Self {
        Self { store }
    }

    /// The ids of the conversations that the filter finds, newest first, then by id downwards.
    async fn ids(&self, filter: Document, limit: u32) -> Result<Vec<ConversationId>, Failure> {
        let found: Vec<Document> = self
            .store
            .collection(PARTICIPANTS)
            .find(filter)
            .projection(doc! { "conversation_id": 1 })
            // As text, ids are in the order of their bytes.
            .sort(doc! { "created_at": -1, "conversation_id": -1 })
            .limit(i64::from(limit))
            .await?
            .try_collect()
            .await?;
        let id = |document: &Document| Fields::new(document, "a participant").parsed("conversation_id");
        Ok(found.iter().map(id).collect::<Result<_, _>>()?)
    }

    /// Without transactions a conversation may be ahead of its participants' documents; not for who asks here.
    async fn settle_those_of(&self, user_id: &UserId) -> Result<(), Failure> {
        if self.store.has_transactions() {
            return Ok(());
        }
        self.store.settle_where(doc! { "participants.user_id": user_id.as_str() }).await
    }

    async fn page(
        &self,
        user_id: &UserId,
        archived: bool,
        after: Option<&ConversationCursor>,
        limit: u32,
    ) -> Result<Vec<StoredConversation>, Failure> {
        self.settle_those_of(user_id).await?;
        let mut filter = doc! { "user_id": user_id.as_str(), "is_member": true, "archived": archived };
        if let Some(cursor) = after {
            let created_at = DateTime::from_millis(cursor.created_at.as_millis());
            let below =
                doc! { "created_at": created_at, "conversation_id": { "$lt": cursor.conversation_id.to_string() } };
            filter.insert("$or", vec![doc! { "created_at": { "$lt": created_at } }, below]);
        }
        let ids = self.ids(filter, limit).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let among: Vec<Bson> = ids.iter().map(|id| Bson::String(id.to_string())).collect();
        let mut cursor = self.store.collection(CONVERSATIONS).find(doc! { "_id": { "$in": among } }).await?;
        let mut found = HashMap::new();
        while let Some(document) = cursor.try_next().await? {
            let conversation = conversation(&document)?;
            found.insert(conversation.conversation_id, conversation);
        }
        let mut page = Vec::with_capacity(ids.len());
        for id in ids {
            let conversation =
                found.remove(&id).ok_or_else(|| damaged(format_args!("conversation {id} has participants only")))?;
            page.push(conversation);
        }
        Ok(page)
    }

    async fn all_ids(&self, user_id: &UserId, limit: u32) -> Result<Vec<ConversationId>, Failure> {
        self.settle_those_of(user_id).await?;
        // Both values named, so that the index is walked twice and merged instead of being sorted.
        let archived_or_not = doc! { "$in": [false, true] };
        self.ids(doc! { "user_id": user_id.as_str(), "is_member": true, "archived": archived_or_not }, limit).await
    }
}

#[async_trait]
impl ParticipantRepository for MongoParticipants {
    async fn conversations_of(
        &self,
        user_id: &UserId,
        archived: bool,
        after: Option<&ConversationCursor>,
        limit: u32,
    ) -> Result<Vec<StoredConversation>, StoreError> {
        // To the server, no limit at all.
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.store.within(self.page(user_id, archived, after, limit)).await
    }

    async fn conversation_ids_of(&self, user_id: &UserId, limit: u32) -> Result<Vec<ConversationId>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.store.within(self.all_ids(user_id, limit)).await
    }
}
