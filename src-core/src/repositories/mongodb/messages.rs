//! Messages, one document for each id.
//!
//! The document follows from the message as it was sent and from what happened to it, and from nothing else: a replay
//! of the log in other bulks leaves the same documents. So it has no revision of its own to be changed on top of.
//! What stands for one is how far the document has read each topic and whether the message has come: every write
//! moves one of them on, and none ever goes back.

use std::collections::{HashMap, HashSet};

use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::error::{Error, ErrorKind};
use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MediaId, MessageId, UserId};
use async_trait::async_trait;
use futures_util::TryStreamExt as _;

use super::documents::{self, Stored, message_document, offset};
use super::lookups::{Lookups, found};
use super::operation::{DUPLICATE_KEY, Failure, damaged, is_duplicate_key};
use super::{MESSAGES, MongoStore};
use crate::repositories::{InsertOutcome, MessageRepository, StoreError};
use crate::state::{Found, MessageState, PlacedChange, StoredMessage, remove_content};

/// Documents of one answer; a larger one is fetched in parts.
pub(super) const BATCH_MAX: u32 = 1_000;

/// Messages in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoMessages {
    store: MongoStore,
    /// Questions for single messages, which are asked together.
    lookups: Lookups,
}

/// A message of a bulk, the first one with its id.
struct Candidate<'a> {
    /// Which one of the bulk.
    index: usize,
    message: &'a Message,
    document: Document,
}

impl Candidate<'_> {
    fn place(&self) -> (ConversationId, u64) {
        (self.message.conversation_id, self.message.seq)
    }

    fn place_is_taken(&self) -> StoreError {
        let Message { message_id, seq, conversation_id, .. } = self.message;
        damaged(format_args!(
            "message {message_id} claims place {seq} of conversation {conversation_id}, which another message has"
        ))
    }
}

impl MongoMessages {
    pub(super) fn new(store: MongoStore) -> Self {
        Self { lookups: Lookups::start(&store), store }
    }

    // ---- inserting ------------------------------------------------------------------------------------------

    /// A place that another message has is looked for before anything is written, so that nothing of the bulk is
    /// stored then. When another writer takes the place between the two, what was written stays: a message that
    /// somebody may have been told is stored is never taken back.
    async fn insert(&self, messages: &[Message]) -> Result<Vec<InsertOutcome>, Failure> {
        let mut outcomes = vec![InsertOutcome::Duplicate; messages.len()];
        let mut ids = HashSet::new();
        let mut candidates = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let Message { message_id, conversation_id, .. } = message;
            let document = message_document(*message_id, *conversation_id, Some(message), &MessageState::default())?;
            if ids.insert(*message_id) {
                candidates.push(Candidate { index, message, document });
            }
        }
        // One alone needs no look ahead: it is stored or not.
        if candidates.len() > 1 {
            candidates = self.without_known(candidates).await?;
        }
        if candidates.is_empty() {
            return Ok(outcomes);
        }
        let documents = candidates.iter().map(|candidate| &candidate.document);
        let refused = match self.store.collection(MESSAGES).insert_many(documents).ordered(false).await {
            Ok(_) => HashSet::new(),
            Err(error) => refused_for_a_key(error)?,
        };
        let mut rest = Vec::new();
        for (number, candidate) in candidates.into_iter().enumerate() {
            if refused.contains(&number) {
                rest.push(candidate);
            } else if let Some(outcome) = outcomes.get_mut(candidate.index) {
                *outcome = InsertOutcome::Inserted;
            }
        }
        for index in self.join_states(rest).await? {
            if let Some(outcome) = outcomes.get_mut(index) {
                *outcome = InsertOutcome::Inserted;
            }
        }
        Ok(outcomes)
    }

    /// Leaves out messages that are there already; an error when one claims a place that another one has, in the
    /// store or in the bulk.
    async fn without_known<'a>(&self, candidates: Vec<Candidate<'a>>) -> Result<Vec<Candidate<'a>>, Failure> {
        let taken = self.places_taken(&candidates).await?;
        let mut claimed = HashMap::new();
        let is_suspect = |candidate: &Candidate<'_>, claimed: &mut HashMap<_, _>| {
            let message_id = candidate.message.message_id;
            let first = *claimed.entry(candidate.place()).or_insert(message_id);
            first != message_id || taken.get(&candidate.place()).is_some_and(|there| *there != message_id)
        };
        let is_known = |candidate: &Candidate<'_>| taken.get(&candidate.place()) == Some(&candidate.message.message_id);
        let has_suspects = candidates.iter().filter(|candidate| is_suspect(candidate, &mut claimed)).count() > 0;
        let mut candidates: Vec<_> = candidates.into_iter().filter(|candidate| !is_known(candidate)).collect();
        if !has_suspects {
            return Ok(candidates);
        }
        // A repetition first of all, also of one that has another place or is gone.
        let ids: Vec<MessageId> = candidates.iter().map(|candidate| candidate.message.message_id).collect();
        let there = self.newest_of(&ids).await?;
        let is_there = |stored: &Stored| stored.message.is_some() || stored.state.gone.is_some();
        candidates.retain(|candidate| !there.get(&candidate.message.message_id).is_some_and(is_there));
        claimed.clear();
        match candidates.iter().find(|candidate| is_suspect(candidate, &mut claimed)) {
            Some(candidate) => Err(candidate.place_is_taken().into()),
            None => Ok(candidates),
        }
    }

    /// Who has the places that the candidates claim, as a majority knows it: whoever is named there is stored for good.
    async fn places_taken(
        &self,
        candidates: &[Candidate<'_>],
    ) -> Result<HashMap<(ConversationId, u64), MessageId>, Failure> {
        let mut claims: HashMap<ConversationId, Vec<Bson>> = HashMap::new();
        for candidate in candidates {
            if let Some(seq) = candidate.document.get("seq") {
                claims.entry(candidate.message.conversation_id).or_default().push(seq.clone());
            }
        }
        let any: Vec<Document> = claims
            .into_iter()
            .map(|(id, seqs)| doc! { "conversation_id": id.to_string(), "seq": { "$in": seqs } })
            .collect();
        let mut cursor = self
            .store
            .collection(MESSAGES)
            .find(doc! { "$or": any })
            .projection(doc! { "conversation_id": 1, "seq": 1 })
            .batch_size(BATCH_MAX)
            .await?;
        let mut taken = HashMap::new();
        while let Some(document) = cursor.try_next().await? {
            let fields = documents::Fields::new(&document, "a message");
            taken.insert((fields.parsed("conversation_id")?, fields.number("seq")?), fields.parsed("_id")?);
        }
        Ok(taken)
    }

    /// What a key stood in the way of: a message that is there already changes nothing, one that changes were waiting
    /// for joins them. The answer names those that joined. One by one, because the answer to a bulk of updates does
    /// not say which of them found their document; hardly any message comes after its changes.
    async fn join_states(&self, candidates: Vec<Candidate<'_>>) -> Result<Vec<usize>, Failure> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<MessageId> = candidates.iter().map(|candidate| candidate.message.message_id).collect();
        let mut there = self.newest_of(&ids).await?;
        let mut joined = Vec::new();
        for candidate in candidates {
            let message_id = candidate.message.message_id;
            loop {
                // The server does not say which key it was: of an id that is not there it was the place.
                let Some(stored) = there.remove(&message_id) else { return Err(candidate.place_is_taken().into()) };
                if stored.message.is_some() || stored.state.gone.is_some() {
                    break;
                }
                if self.join(&candidate, &stored).await? {
                    joined.push(candidate.index);
                    break;
                }
                // A change or the message itself came in between.
                there.extend(self.newest_of(&[message_id]).await?);
            }
        }
        Ok(joined)
    }

    /// Puts a message to the changes that were waiting for it; false when they are not any more what was read.
    async fn join(&self, candidate: &Candidate<'_>, stored: &Stored) -> Result<bool, Failure> {
        let mut message = candidate.message.clone();
        if stored.state.deleted.is_some() {
            remove_content(&mut message);
        }
        let Message { message_id, conversation_id, .. } = message;
        let document = message_document(message_id, conversation_id, Some(&message), &stored.state)?;
        match self.store.collection(MESSAGES).replace_one(as_read(message_id, stored), document).await {
            Ok(replaced) => Ok(replaced.matched_count > 0),
            Err(error) if is_duplicate_key(&error) => Err(candidate.place_is_taken().into()),
            Err(error) => Err(error.into()),
        }
    }

    // ---- changes --------------------------------------------------------------------------------------------

    /// Reads, folds in memory, and writes what came of it over what was read. What somebody else changed meanwhile is
    /// done again; a change that is in already is not written, so the answer needs not say which statements those were.
    async fn apply(&self, changes: &[PlacedChange]) -> Result<(), Failure> {
        let mut of_messages: HashMap<MessageId, Vec<&PlacedChange>> = HashMap::new();
        let mut ids = Vec::new();
        for placed in changes {
            let of_message = of_messages.entry(placed.change.message_id).or_default();
            if of_message.is_empty() {
                ids.push(placed.change.message_id);
            }
            of_message.push(placed);
        }
        loop {
            let there = self.newest_of(&ids).await?;
            let mut inserts = Vec::new();
            let mut updates = Vec::new();
            for message_id in &ids {
                let Some(changes) = of_messages.get(message_id) else { continue };
                let Some(conversation_id) = changes.first().map(|placed| placed.change.conversation_id) else {
                    continue;
                };
                let before = there.get(message_id);
                let mut after = before.cloned().unwrap_or_default();
                for placed in changes {
                    // Also a change that changes nothing is remembered as read: compared is the whole state.
                    after.state.apply(placed);
                }
                if after.state == before.map(|before| before.state.clone()).unwrap_or_default() {
                    continue;
                }
                if after.state.gone.is_some() {
                    after.message = None;
                } else if after.state.deleted.is_some()
                    && let Some(message) = &mut after.message
                {
                    remove_content(message);
                }
                let document = message_document(*message_id, conversation_id, after.message.as_ref(), &after.state)?;
                match before {
                    None => inserts.push(document),
                    Some(before) => updates.push(doc! { "q": as_read(*message_id, before), "u": document }),
                }
            }
            let (new, changed) = (inserts.len(), updates.len());
            let mut is_done = true;
            if new > 0 {
                is_done &= self.store.insert_each(MESSAGES, inserts).await?.count == new;
            }
            if changed > 0 {
                is_done &= self.store.update_each(MESSAGES, updates, None).await?.count == changed;
            }
            if is_done {
                return Ok(());
            }
        }
    }

    // ---- reading --------------------------------------------------------------------------------------------

    /// What is there under these ids, as the primary has it.
    async fn newest_of(&self, ids: &[MessageId]) -> Result<HashMap<MessageId, Stored>, Failure> {
        let mut cursor = self.store.newest(MESSAGES).find(by_ids(ids)).batch_size(BATCH_MAX).await?;
        let mut there = HashMap::new();
        while let Some(document) = cursor.try_next().await? {
            let (message_id, _, stored) = documents::stored(&document)?;
            there.insert(message_id, stored);
        }
        Ok(there)
    }

    /// Messages that have their place, in this order.
    async fn placed(&self, filter: Document, order: Document, limit: u32) -> Result<Vec<StoredMessage>, Failure> {
        // To the server, no limit at all.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut cursor = self
            .store
            .collection(MESSAGES)
            .find(filter)
            .sort(order)
            .limit(i64::from(limit))
            .batch_size(limit.min(BATCH_MAX))
            .await?;
        let mut messages = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            messages.push(documents::placed(&document)?);
        }
        Ok(messages)
    }

    async fn page(
        &self,
        conversation_id: ConversationId,
        viewer: Option<&UserId>,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, Failure> {
        // A bound in any case: it leaves out what has no place, and lets the server take the index that does.
        let before = before_seq.and_then(|seq| i64::try_from(seq).ok());
        let seq = before.map_or_else(|| doc! { "$gte": 0_i64 }, |before| doc! { "$lt": before });
        let mut filter = doc! { "conversation_id": conversation_id.to_string(), "seq": seq };
        if let Some(viewer) = viewer {
            filter.insert("state.hidden_for", doc! { "$ne": viewer.as_str() });
        }
        let newest_first = doc! { "seq": -1 };
        let Some(root) = thread else { return self.placed(filter, newest_first, limit).await };

        // Two questions, each with an index of its own. The root may name itself.
        let mut of_root = filter.clone();
        of_root.insert("_id", root.to_string());
        filter.insert("sent.thread_root", root.to_string());
        filter.insert("_id", doc! { "$ne": root.to_string() });
        let answers = self.placed(filter, newest_first.clone(), limit);
        let (answers, of_root) = tokio::try_join!(answers, self.placed(of_root, newest_first, limit.min(1)))?;
        let mut page = answers;
        page.extend(of_root);
        page.sort_by_key(|stored| std::cmp::Reverse(stored.message.seq));
        page.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(page)
    }
}

pub(super) fn by_ids(ids: &[MessageId]) -> Document {
    let ids: Vec<Bson> = ids.iter().map(|id| Bson::String(id.to_string())).collect();
    doc! { "_id": { "$in": ids } }
}

/// Finds a document that is as it was when it was read.
fn as_read(message_id: MessageId, stored: &Stored) -> Document {
    let through = |through: Option<u64>| through.map_or_else(|| Bson::from(doc! { "$exists": false }), offset);
    doc! {
        "_id": message_id.to_string(),
        "seq": { "$exists": stored.message.is_some() },
        "state.edited_through": through(stored.state.edited_through),
        "state.deleted_through": through(stored.state.deleted_through),
        "state.gone": { "$exists": false },
    }
}

/// Which documents of a bulk met a key that is there already; any other reason is an error.
fn refused_for_a_key(error: Error) -> Result<HashSet<usize>, Failure> {
    if let ErrorKind::InsertMany(many) = error.kind.as_ref()
        && many.write_concern_error.is_none()
        && let Some(errors) = &many.write_errors
        && errors.iter().all(|error| error.code == DUPLICATE_KEY)
    {
        return Ok(errors.iter().map(|error| error.index).collect());
    }
    Err(error.into())
}

#[async_trait]
impl MessageRepository for MongoMessages {
    async fn insert_bulk(&self, messages: &[Message]) -> Result<Vec<InsertOutcome>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.store.within(self.insert(messages)).await
    }

    async fn apply_bulk(&self, changes: &[PlacedChange]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.store.within(self.apply(changes)).await
    }

    async fn find(&self, message_id: MessageId) -> Result<Option<Found>, StoreError> {
        self.store.within(self.lookups.find(message_id)).await
    }

    async fn find_many(&self, message_ids: &[MessageId]) -> Result<HashMap<MessageId, Found>, StoreError> {
        if message_ids.is_empty() {
            return Ok(HashMap::new());
        }
        self.store.within(found(&self.store, message_ids)).await
    }

    async fn history(
        &self,
        conversation_id: ConversationId,
        viewer: Option<&UserId>,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.store.within(self.page(conversation_id, viewer, thread, before_seq, limit)).await
    }

    async fn carrying(&self, media_id: MediaId, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
        // One that came as a tombstone shows no media, whatever it brought.
        let filter = doc! { "sent.media.media_id": media_id.to_string(), "sent.deleted": { "$exists": false } };
        let order = doc! { "conversation_id": -1, "seq": -1 };
        self.store.within(self.placed(filter, order, limit)).await
    }
}
