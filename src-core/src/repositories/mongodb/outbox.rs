//! The outbox: log records that are still to be published.
//!
//! Entries that are added together are one document of the collection `outbox`, so they are there together or not at
//! all. Without transactions, those of a change of a conversation stay in the conversation's document until they are
//! published: written into the outbox afterwards, by a writer that was held up, they would come back after they had
//! been published and removed.
//!
//! Ids come from a counter, in ranges. A change takes its ids before it is written, and whoever bases another change
//! on it has read it: so along the versions of a conversation the ids grow.

use std::collections::HashSet;

use ::mongodb::bson::spec::BinarySubtype;
use ::mongodb::bson::{Binary, Bson, Document, doc};
use ::mongodb::options::ReturnDocument;
use futures_util::TryStreamExt as _;

use super::documents::Fields;
use super::operation::{Failure, damaged, is_duplicate_key, number};
use super::{CONVERSATIONS, COUNTERS, MongoStore, OUTBOX};
use crate::log::Topic;
use crate::repositories::{OutboxEntry, StoreError};

/// Entries with their ids, as they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    first: i64,
    documents: Vec<Bson>,
}

impl Entries {
    /// Takes ids for the entries. Ids that are then not used are left out for good.
    pub(super) async fn with_ids(store: &MongoStore, entries: &[OutboxEntry]) -> Result<Self, Failure> {
        if entries.is_empty() {
            return Ok(Self::default());
        }
        let first = store.take_outbox_ids(entries.len()).await?;
        let documents = (first..).zip(entries).map(|(outbox_id, entry)| Bson::Document(entry_fields(outbox_id, entry)));
        Ok(Self { first, documents: documents.collect() })
    }

    /// The entries as the list of a document.
    pub(super) fn list(&self) -> Vec<Bson> {
        self.documents.clone()
    }

    /// The entries as a document of the outbox; none when there are none.
    pub(super) fn document(&self) -> Option<Document> {
        (!self.documents.is_empty()).then(|| doc! { "_id": self.first, "entries": self.documents.clone() })
    }
}

fn entry_fields(outbox_id: i64, entry: &OutboxEntry) -> Document {
    // A list: a header's name may be there twice.
    let headers = entry.headers.iter().map(|(name, value)| Bson::from(doc! { "name": name, "value": value }));
    doc! {
        "outbox_id": outbox_id,
        "topic": entry.topic.as_str(),
        "key": &entry.key,
        "headers": headers.collect::<Vec<_>>(),
        "value": Binary { subtype: BinarySubtype::Generic, bytes: entry.value.clone() },
    }
}

fn entry(fields: Fields<'_>) -> Result<OutboxEntry, StoreError> {
    let topic = fields.text("topic")?;
    let mut headers = Vec::new();
    for header in fields.documents("headers")? {
        let header = header?;
        headers.push((header.text("name")?.to_owned(), header.text("value")?.to_owned()));
    }
    Ok(OutboxEntry {
        outbox_id: fields.number("outbox_id")?,
        topic: Topic::from_name(topic).ok_or_else(|| damaged(format_args!("there is no topic {topic}")))?,
        key: fields.text("key")?.to_owned(),
        headers,
        value: fields.bytes("value")?,
    })
}

impl MongoStore {
    /// Takes so many ids in a row and returns the first one.
    async fn take_outbox_ids(&self, count: usize) -> Result<i64, Failure> {
        let count = i64::try_from(count).map_err(damaged)?;
        let counters = self.collection(COUNTERS);
        let counter = loop {
            // Without `upsert`: where two make the counter at once, some servers tell both the same number.
            let counted = counters
                .find_one_and_update(doc! { "_id": OUTBOX }, doc! { "$inc": { "last": count } })
                .return_document(ReturnDocument::After)
                .await?;
            match counted {
                Some(counter) => break counter,
                None => match counters.insert_one(doc! { "_id": OUTBOX, "last": 0_i64 }).await {
                    Err(error) if !is_duplicate_key(&error) => return Err(error.into()),
                    _ => {}
                },
            }
        };
        let last = number(counter.get("last"));
        if last < count {
            return Err(damaged("the counter of the outbox does not count").into());
        }
        Ok(last - count + 1)
    }

    pub(super) async fn outbox_add(&self, entries: &[OutboxEntry]) -> Result<(), Failure> {
        if let Some(document) = Entries::with_ids(self, entries).await?.document() {
            self.collection(OUTBOX).insert_one(document).await?;
        }
        Ok(())
    }

    /// The oldest entries, from the outbox and from conversations.
    pub(super) async fn outbox_oldest(&self, limit: u32) -> Result<Vec<OutboxEntry>, Failure> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        // The oldest so many entries are in the oldest so many documents of each kind.
        let mut entries = Vec::new();
        for (collection, list, order) in [(OUTBOX, "entries", "_id"), (CONVERSATIONS, "outbox", "outbox.outbox_id")] {
            let documents: Vec<Document> = self
                .collection(collection)
                .find(doc! { order: { "$gt": 0_i64 } })
                .projection(doc! { list: 1 })
                .sort(doc! { order: 1 })
                .limit(i64::from(limit))
                .await?
                .try_collect()
                .await?;
            for document in &documents {
                for fields in Fields::new(document, "the outbox").documents(list)? {
                    entries.push(entry(fields?)?);
                }
            }
        }
        entries.sort_unstable_by_key(|entry| entry.outbox_id);
        entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(entries)
    }

    /// Removes entries, wherever they are.
    pub(super) async fn outbox_remove(&self, outbox_ids: &[u64]) -> Result<(), Failure> {
        // An id that is out of range is not there.
        let ids: HashSet<i64> = outbox_ids.iter().filter_map(|id| i64::try_from(*id).ok()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let among: Vec<Bson> = ids.iter().map(|id| Bson::Int64(*id)).collect();
        for (collection, list) in [(OUTBOX, "entries"), (CONVERSATIONS, "outbox")] {
            let has_some = doc! { format!("{list}.outbox_id"): { "$in": among.clone() } };
            let touched: Vec<Document> = self
                .newest(collection)
                .find(has_some.clone())
                .projection(doc! { "_id": 1 })
                .await?
                .try_collect()
                .await?;
            if touched.is_empty() {
                continue;
            }
            let keys: Vec<Bson> = touched.into_iter().filter_map(|mut document| document.remove("_id")).collect();
            let pull = doc! { "$pull": { list: { "outbox_id": { "$in": among.clone() } } } };
            self.collection(collection).update_many(has_some, pull).await?;
            let is_empty = doc! { "_id": { "$in": keys }, list: { "$size": 0 } };
            if collection == OUTBOX {
                self.collection(collection).delete_many(is_empty).await?;
            } else {
                self.collection(collection).update_many(is_empty, doc! { "$unset": { list: "" } }).await?;
            }
        }
        Ok(())
    }
}
