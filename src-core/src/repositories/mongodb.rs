//! Conversations, participants and messages in a MongoDB server (S1.2, S2).
//!
//! A conversation's document is the aggregate: its participants are in it, so a permission check is one atomic read,
//! and a change is one compare-and-swap on `version`. The collection `participants` repeats what a user's list of
//! conversations needs. A message is one document, with what was sent and what happened to it since (`messages.rs`).
//! Ids are written as text and times as dates, so that anybody with a MongoDB client can read them.
//!
//! Where the server offers transactions, a change of a conversation is one. Where it does not, the conversation's
//! document carries everything that belongs to the change, and the rest follows from it in steps that can be
//! repeated (`conversations.rs`). `docs/MONGODB.md` says what differs between servers.

mod connection;
mod conversations;
mod documents;
mod lookups;
mod messages;
mod operation;
mod outbox;
mod participants;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use ::mongodb::bson::Document;
use ::mongodb::options::{CollectionOptions, ReadConcern};
use ::mongodb::{Client, Collection, Database};
use futures_util::future::BoxFuture;

pub use self::connection::{MongoOptions, MongoServer, MongoStartError};
pub use self::conversations::MongoConversations;
pub use self::messages::MongoMessages;
pub use self::participants::MongoParticipants;
use super::StoreError;

/// Conversations, each with its participants and, without transactions, what is still to be published for it.
const CONVERSATIONS: &str = "conversations";
/// One document for each user and conversation: what lists of conversations are answered from.
const PARTICIPANTS: &str = "participants";
/// One document for each message id.
const MESSAGES: &str = "messages";
/// Log records that are still to be published.
const OUTBOX: &str = "outbox";
/// The number that was given last.
const COUNTERS: &str = "counters";

/// A database of a MongoDB server, with connections of its own. A clone shares them.
#[derive(Clone, Debug)]
pub struct MongoStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    database: Database,
    server: MongoServer,
    request_timeout: Duration,
}

impl MongoStore {
    /// Connects, asks the server what it is, makes the collections and indexes that are not there yet, and finishes
    /// what a node without transactions left half done. Nothing of it changes a database that is in use.
    pub fn connect(options: &MongoOptions) -> BoxFuture<'_, Result<Self, MongoStartError>> {
        Box::pin(async move {
            let store = connection::connect(options).await?;
            if let Err(error) = store.conversations().settle_all().await {
                return Err(MongoStartError::Preparation {
                    what: "what was left half done cannot be finished",
                    reason: error.to_string(),
                });
            }
            Ok(store)
        })
    }

    /// Conversations and the outbox.
    pub fn conversations(&self) -> MongoConversations {
        MongoConversations::new(self.clone())
    }

    /// Participants.
    pub fn participants(&self) -> MongoParticipants {
        MongoParticipants::new(self.clone())
    }

    /// Messages.
    pub fn messages(&self) -> MongoMessages {
        MongoMessages::new(self.clone())
    }

    /// Whether changes of several documents are transactions of the server.
    pub fn has_transactions(&self) -> bool {
        self.inner.server.without_transactions.is_none()
    }

    /// What the server said of itself.
    pub fn server(&self) -> &MongoServer {
        &self.inner.server
    }

    /// Removes the database with everything in it.
    pub fn drop_database(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.within(async { Ok(self.inner.database.drop().await?) }).await })
    }

    /// The database, for tools that look into it. Reads are of what a majority has, writes reach a majority.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// A collection, read as of what a majority has: what was read there stays.
    fn collection(&self, name: &str) -> Collection<Document> {
        self.inner.database.collection(name)
    }

    /// A collection, read as it is on the primary: for what is then written on top of what was read, by a write that
    /// reaches a majority only together with it. What a majority has would be behind whoever just won a race.
    fn newest(&self, name: &str) -> Collection<Document> {
        let options = CollectionOptions::builder().read_concern(ReadConcern::local()).build();
        self.inner.database.collection_with_options(name, options)
    }
}
