//! Conversations: one document each, with everybody in it.
//!
//! What a change comes to is decided by one compare-and-swap on the conversation's document. Where the server has
//! transactions, the participants' own documents and the outbox are in the same one. Where it has none:
//!
//! 1. The compare-and-swap also sets `unsettled` to the new version and keeps the outbox entries in the document.
//!    With it the change is there, whole, also for the outbox.
//! 2. The participants' own documents are written, each only over an older version of itself.
//! 3. `unsettled` is removed, if it still stands for this version.
//!
//! Nobody changes a conversation that is unsettled. Whoever meets one does the steps 2 and 3 first, so a writer that
//! ends between two steps is finished by the next who looks, and one that is held up finds everything done: what it
//! writes then is of its own version and changes nothing.

use std::collections::HashMap;

use ::mongodb::ClientSession;
use ::mongodb::bson::{Document, doc};
use ::mongodb::options::ReturnDocument;
use ackscope_protocol::{ConversationId, Timestamp};
use async_trait::async_trait;
use futures_util::TryStreamExt as _;

use super::documents::{
    Fields, absent_participant, changeable, conversation, conversation_document, integer, participant_document,
};
use super::operation::{Failure, damaged, is_duplicate_key};
use super::outbox::Entries;
use super::transaction::{self, Next};
use super::{CONVERSATIONS, MongoStore, OUTBOX, PARTICIPANTS};
use crate::repositories::{
    ConversationRepository, CreateOutcome, OutboxEntry, StoreError, StoredConversation, UpdateOutcome,
};

/// Conversations and the outbox in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoConversations {
    store: MongoStore,
}

/// What a change is made on top of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// There is nothing yet.
    Nothing,
    /// This version, and no other.
    Version(i64),
}

impl MongoConversations {
    pub(super) fn new(store: MongoStore) -> Self {
        Self { store }
    }

    /// Finishes every change that was left half done.
    pub(super) async fn settle_all(&self) -> Result<(), StoreError> {
        self.store.within(self.store.settle_where(doc! {})).await
    }

    async fn create_or_find(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<CreateOutcome, Failure> {
        let entries = Entries::with_ids(&self.store, outbox).await?;
        if self.store.write(conversation, Base::Nothing, &entries).await? {
            return Ok(CreateOutcome::Created);
        }
        match self.store.find_conversation(conversation.conversation_id).await? {
            Some(existing) => Ok(CreateOutcome::Exists(existing)),
            // Conversations are never removed: somebody else is clearing the database.
            None => Err(StoreError::Unavailable("a conversation was there and is not any more".into()).into()),
        }
    }

    async fn update_on_top(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<UpdateOutcome, Failure> {
        // Nothing comes before the first version.
        let Some(before) = conversation.version.checked_sub(1) else { return Ok(UpdateOutcome::Conflict) };
        let before = integer("version", before)?;
        let entries = Entries::with_ids(&self.store, outbox).await?;
        loop {
            if self.store.write(conversation, Base::Version(before), &entries).await? {
                return Ok(UpdateOutcome::Updated);
            }
            // Refused because of another version, or because this one is unsettled.
            match self.store.standing(conversation.conversation_id).await? {
                Some((version, is_settled)) if version == before => {
                    if !is_settled {
                        self.store.settle_one(conversation.conversation_id).await?;
                    }
                }
                Some(_) | None => return Ok(UpdateOutcome::Conflict),
            }
        }
    }

    async fn catch_up_to(&self, conversation: &StoredConversation) -> Result<bool, Failure> {
        let version = integer("version", conversation.version)?;
        loop {
            let base = match self.store.standing(conversation.conversation_id).await? {
                None => Base::Nothing,
                Some((there, _)) if there >= version => return Ok(false),
                Some((there, true)) => Base::Version(there),
                Some((_, false)) => {
                    self.store.settle_one(conversation.conversation_id).await?;
                    continue;
                }
            };
            if self.store.write(conversation, base, &Entries::default()).await? {
                return Ok(true);
            }
        }
    }
}

#[async_trait]
impl ConversationRepository for MongoConversations {
    async fn create(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<CreateOutcome, StoreError> {
        self.store.within(self.create_or_find(conversation, outbox)).await
    }

    async fn update(
        &self,
        conversation: &StoredConversation,
        outbox: &[OutboxEntry],
    ) -> Result<UpdateOutcome, StoreError> {
        self.store.within(self.update_on_top(conversation, outbox)).await
    }

    async fn catch_up(&self, conversation: &StoredConversation) -> Result<bool, StoreError> {
        self.store.within(self.catch_up_to(conversation)).await
    }

    async fn outbox_add(&self, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        self.store.within(self.store.outbox_add(entries)).await
    }

    async fn find(&self, conversation_id: ConversationId) -> Result<Option<StoredConversation>, StoreError> {
        self.store.within(self.store.find_conversation(conversation_id)).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        let oldest = async {
            // The relay asks again and again: what a node that is no more left behind is finished here at the latest.
            if !self.store.has_transactions() {
                self.store.settle_where(doc! {}).await?;
            }
            self.store.outbox_oldest(limit).await
        };
        self.store.within(oldest).await
    }

    async fn outbox_done(&self, outbox_ids: &[u64]) -> Result<(), StoreError> {
        if outbox_ids.is_empty() {
            return Ok(());
        }
        self.store.within(self.store.outbox_remove(outbox_ids)).await
    }
}

fn by_id(conversation_id: ConversationId) -> Document {
    doc! { "_id": conversation_id.to_string() }
}

/// Finds the version a change is made on top of, as long as it is settled.
fn settled_version(conversation_id: ConversationId, version: i64) -> Document {
    doc! { "_id": conversation_id.to_string(), "version": version, "unsettled": { "$exists": false } }
}

/// Turns a conversation's document into the next version. `extra` is set as well; entries are added to those that
/// are still to be published. The kind and when it was created never change.
fn change_of(
    conversation: &StoredConversation,
    unsettled: Option<i64>,
    entries: &Entries,
) -> Result<Document, StoreError> {
    let mut set = changeable(conversation)?;
    if let Some(version) = unsettled {
        set.insert("unsettled", version);
    }
    let mut change = doc! { "$set": set };
    if conversation.title.is_none() {
        change.insert("$unset", doc! { "title": "" });
    }
    let entries = entries.list();
    if !entries.is_empty() {
        change.insert("$push", doc! { "outbox": { "$each": entries } });
    }
    Ok(change)
}

impl MongoStore {
    /// The conversation as a majority has it.
    async fn find_conversation(&self, conversation_id: ConversationId) -> Result<Option<StoredConversation>, Failure> {
        let Some(document) = self.collection(CONVERSATIONS).find_one(by_id(conversation_id)).await? else {
            return Ok(None);
        };
        let found = conversation(&document)?;
        if document.contains_key("unsettled") {
            self.settle_quietly(&found).await;
        }
        Ok(Some(found))
    }

    /// The version that is there now, and whether it is settled.
    async fn standing(&self, conversation_id: ConversationId) -> Result<Option<(i64, bool)>, Failure> {
        let fields = doc! { "version": 1, "unsettled": 1 };
        let there = self.newest(CONVERSATIONS).find_one(by_id(conversation_id)).projection(fields).await?;
        let Some(document) = there else { return Ok(None) };
        let version = integer("version", Fields::new(&document, "a conversation").number("version")?)?;
        Ok(Some((version, !document.contains_key("unsettled"))))
    }

    /// Writes a conversation on top of what it was decided on; false when something else is there, and nothing was
    /// changed then.
    async fn write(&self, conversation: &StoredConversation, base: Base, entries: &Entries) -> Result<bool, Failure> {
        if self.has_transactions() {
            self.write_in_transaction(conversation, base, entries).await
        } else {
            self.write_in_steps(conversation, base, entries).await
        }
    }

    // ---- with transactions ----------------------------------------------------------------------------------

    async fn write_in_transaction(
        &self,
        conversation: &StoredConversation,
        base: Base,
        entries: &Entries,
    ) -> Result<bool, Failure> {
        let mut session = self.inner.client.start_session().await?;
        loop {
            transaction::begin(&mut session).await?;
            match self.write_all(conversation, base, entries, &mut session).await {
                Ok(true) => {
                    if transaction::commit(&mut session).await? {
                        return Ok(true);
                    }
                }
                Ok(false) => {
                    transaction::abort(&mut session).await;
                    return Ok(false);
                }
                Err(failure) => {
                    transaction::abort(&mut session).await;
                    if transaction::after_work(&failure) != Next::Again {
                        return Err(failure);
                    }
                }
            }
            tokio::time::sleep(transaction::PAUSE).await;
        }
    }

    /// Everything of a change, as part of the session's transaction; false when something else is there.
    async fn write_all(
        &self,
        conversation: &StoredConversation,
        base: Base,
        entries: &Entries,
        session: &mut ClientSession,
    ) -> Result<bool, Failure> {
        let conversations = self.inner.database.collection::<Document>(CONVERSATIONS);
        let created_at = match base {
            Base::Nothing => {
                let document = conversation_document(conversation)?;
                match conversations.insert_one(document).session(&mut *session).await {
                    Ok(_) => conversation.created_at,
                    Err(error) if is_duplicate_key(&error) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
            Base::Version(version) => {
                let filter = settled_version(conversation.conversation_id, version);
                let changed = conversations
                    .find_one_and_update(filter, change_of(conversation, None, &Entries::default())?)
                    .projection(doc! { "created_at": 1 })
                    .session(&mut *session)
                    .await?;
                let Some(changed) = changed else { return Ok(false) };
                Fields::new(&changed, "a conversation").date("created_at")?
            }
        };
        self.write_participants(conversation, base, created_at, Some(&mut *session)).await?;
        if let Some(document) = entries.document() {
            self.inner.database.collection::<Document>(OUTBOX).insert_one(document).session(session).await?;
        }
        Ok(true)
    }

    // ---- without --------------------------------------------------------------------------------------------

    async fn write_in_steps(
        &self,
        conversation: &StoredConversation,
        base: Base,
        entries: &Entries,
    ) -> Result<bool, Failure> {
        let version = integer("version", conversation.version)?;
        let conversations = self.collection(CONVERSATIONS);
        let created_at = match base {
            Base::Nothing => {
                let mut document = conversation_document(conversation)?;
                document.insert("unsettled", version);
                let entries = entries.list();
                if !entries.is_empty() {
                    document.insert("outbox", entries);
                }
                match conversations.insert_one(document).await {
                    Ok(_) => conversation.created_at,
                    Err(error) if is_duplicate_key(&error) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
            Base::Version(before) => {
                let changed = conversations
                    .find_one_and_update(
                        settled_version(conversation.conversation_id, before),
                        change_of(conversation, Some(version), entries)?,
                    )
                    .projection(doc! { "created_at": 1 })
                    .return_document(ReturnDocument::After)
                    .await?;
                let Some(changed) = changed else { return Ok(false) };
                Fields::new(&changed, "a conversation").date("created_at")?
            }
        };
        // From here on the change is there, and whoever looks next finishes it: an error now would be a lie.
        if let Err(failure) = self.settle_from(conversation, base, created_at).await {
            let error = StoreError::from(failure);
            tracing::warn!(%error, conversation_id = %conversation.conversation_id, "a change is left to be finished");
        }
        Ok(true)
    }

    /// The steps after the compare-and-swap. They may be done by several at the same time and be repeated.
    async fn settle_from(
        &self,
        conversation: &StoredConversation,
        base: Base,
        created_at: Timestamp,
    ) -> Result<(), Failure> {
        self.write_participants(conversation, base, created_at, None).await?;
        let version = integer("version", conversation.version)?;
        let is_this = doc! { "_id": conversation.conversation_id.to_string(), "unsettled": version };
        self.collection(CONVERSATIONS).update_one(is_this, doc! { "$unset": { "unsettled": "" } }).await?;
        Ok(())
    }

    /// Finishes a change that somebody else began. What it was made on top of is not known any more.
    async fn settle(&self, conversation: &StoredConversation) -> Result<(), Failure> {
        self.settle_from(conversation, Base::Version(0), conversation.created_at).await
    }

    /// As [`Self::settle`], for a reader whose answer does not depend on it.
    async fn settle_quietly(&self, conversation: &StoredConversation) {
        if let Err(failure) = self.settle(conversation).await {
            let error = StoreError::from(failure);
            tracing::warn!(%error, conversation_id = %conversation.conversation_id, "a change is left to be finished");
        }
    }

    /// Finishes what is unsettled of a conversation.
    async fn settle_one(&self, conversation_id: ConversationId) -> Result<(), Failure> {
        self.settle_where(by_id(conversation_id)).await
    }

    /// Finishes what is unsettled of the conversations that the filter finds. One whose document does not read is
    /// left to those who ask for it.
    pub(super) async fn settle_where(&self, mut filter: Document) -> Result<(), Failure> {
        filter.insert("unsettled", doc! { "$gte": 0_i64 });
        let mut unsettled = self.newest(CONVERSATIONS).find(filter).await?;
        while let Some(document) = unsettled.try_next().await? {
            match conversation(&document) {
                Ok(conversation) => self.settle(&conversation).await?,
                Err(error) => tracing::error!(%error, "a change cannot be finished"),
            }
        }
        Ok(())
    }

    // ---- both -----------------------------------------------------------------------------------------------

    /// Makes the participants' own documents follow from the conversation's: of a thousand, a change usually concerns
    /// one. Each is written only over an older version.
    async fn write_participants(
        &self,
        conversation: &StoredConversation,
        base: Base,
        created_at: Timestamp,
        mut session: Option<&mut ClientSession>,
    ) -> Result<(), Failure> {
        let conversation_id = conversation.conversation_id;
        let version = integer("version", conversation.version)?;
        let mut there = match base {
            Base::Nothing => HashMap::new(),
            Base::Version(_) => self.participants_there(conversation_id, session.as_deref_mut()).await?,
        };
        let mut statements = Vec::new();
        let mut put = |mut document: Document| -> Result<(), Failure> {
            let id = document.get("_id").cloned().ok_or_else(|| damaged("a participant's document has no id"))?;
            document.insert("version", version);
            // Where it is there in this version or a newer one, the key stands in the way of a second one.
            let older = doc! { "_id": id, "version": { "$lt": version } };
            statements.push(doc! { "q": older, "u": document, "upsert": true });
            Ok(())
        };
        for participant in &conversation.participants {
            let document = participant_document(conversation_id, created_at, participant)?;
            if there.remove(participant.user_id.as_str()).as_ref() != Some(&document) {
                put(document)?;
            }
        }
        for (_, document) in there {
            let absent =
                absent_participant(conversation_id, &Fields::new(&document, "a participant").parsed("user_id")?);
            if document != absent {
                put(absent)?;
            }
        }
        if !statements.is_empty() {
            self.update_each(PARTICIPANTS, statements, session).await?;
        }
        Ok(())
    }

    /// The participants' documents that are there, without their versions, by user.
    async fn participants_there(
        &self,
        conversation_id: ConversationId,
        session: Option<&mut ClientSession>,
    ) -> Result<HashMap<String, Document>, Failure> {
        let filter = doc! { "conversation_id": conversation_id.to_string() };
        let documents: Vec<Document> = match session {
            // The concern is the transaction's.
            Some(session) => {
                let participants = self.inner.database.collection::<Document>(PARTICIPANTS);
                let mut cursor = participants.find(filter).session(&mut *session).await?;
                cursor.stream(session).try_collect().await?
            }
            None => self.newest(PARTICIPANTS).find(filter).await?.try_collect().await?,
        };
        let mut there = HashMap::new();
        for mut document in documents {
            document.remove("version");
            let user_id = Fields::new(&document, "a participant").text("user_id")?.to_owned();
            there.insert(user_id, document);
        }
        Ok(there)
    }
}
