//! The place of the MongoDB implementation: a database of its own that goes away with the test.

use std::sync::Arc;
use std::time::Duration;

use ackscope_core::repositories::mongodb::{MongoOptions, MongoStore};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document};
use uuid::Uuid;

use super::repositories::{Dump, StorePlace, Stores};
use crate::replica_set::ReplicaSet;
use crate::servers::servers;

/// Tests share a server with each other and the machine with compilers: how long one operation may take there.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One database of the server that `ACKSCOPE_MONGODB_URI` names.
pub struct MongoPlace {
    options: MongoOptions,
}

impl MongoPlace {
    /// A name nobody has, on the server at that address.
    pub fn at(uri: impl Into<String>) -> Self {
        let database = format!("ackscope_test_{}", Uuid::new_v4().simple());
        Self {
            options: MongoOptions {
                uri: uri.into(),
                database,
                request_timeout: REQUEST_TIMEOUT,
                ..MongoOptions::default()
            },
        }
    }

    /// How it is opened.
    pub fn options(&self) -> &MongoOptions {
        &self.options
    }

    /// A connection of its own to it.
    pub async fn store(&self) -> MongoStore {
        MongoStore::connect(&self.options).await.expect("the server answers")
    }
}

/// Host and port of the server in an address.
pub async fn server_of(uri: &str) -> String {
    let options = mongodb::options::ClientOptions::parse(uri).await.expect("the address can be read");
    options.hosts.first().expect("the address names a server").to_string()
}

/// As [`MongoPlace`], by way of a server that says it has transactions.
pub struct MongoSetPlace {
    place: MongoPlace,
    set: ReplicaSet,
}

impl MongoSetPlace {
    /// What stands before the server.
    pub fn set(&self) -> &ReplicaSet {
        &self.set
    }

    /// A connection of its own.
    pub async fn store(&self) -> MongoStore {
        let options = MongoOptions { uri: self.set.uri(), ..self.place.options.clone() };
        MongoStore::connect(&options).await.expect("the server answers")
    }
}

impl StorePlace for MongoSetPlace {
    async fn is_available() -> bool {
        MongoPlace::is_available().await
    }

    async fn fresh() -> Self {
        let place = MongoPlace::fresh().await;
        let server = server_of(&place.options.uri).await;
        Self { place, set: ReplicaSet::before(server).await.expect("a port for the test") }
    }

    async fn open(&self) -> Stores {
        stores(&self.store().await)
    }

    async fn dump(&self) -> Dump {
        self.place.dump().await
    }
}

/// The three repositories of a connection.
pub fn stores(store: &MongoStore) -> Stores {
    Stores {
        conversations: Arc::new(store.conversations()),
        participants: Arc::new(store.participants()),
        messages: Arc::new(store.messages()),
    }
}

/// Every collection with its documents as text; both in an order that follows from the content alone.
pub async fn dump(store: &MongoStore) -> Dump {
    let database = store.database();
    let mut names = database.list_collection_names().await.expect("the collections can be listed");
    names.sort_unstable();
    let mut dump = Dump::new();
    for name in names {
        let documents: Vec<Document> = database
            .collection(&name)
            .find(Document::new())
            .await
            .expect("the collection can be read")
            .try_collect()
            .await
            .expect("the documents can be read");
        let mut rows: Vec<String> = documents.into_iter().map(|it| canonical(Bson::Document(it)).to_string()).collect();
        rows.sort_unstable();
        dump.push((name, rows));
    }
    dump
}

/// The same with the fields of every document in order.
fn canonical(value: Bson) -> Bson {
    match value {
        Bson::Document(document) => {
            let mut fields: Vec<(String, Bson)> = document.into_iter().collect();
            fields.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            Bson::Document(fields.into_iter().map(|(name, value)| (name, canonical(value))).collect())
        }
        Bson::Array(values) => Bson::Array(values.into_iter().map(canonical).collect()),
        value => value,
    }
}

impl StorePlace for MongoPlace {
    async fn is_available() -> bool {
        servers().await.is_some()
    }

    async fn fresh() -> Self {
        Self::at(servers().await.expect("the servers are there").mongodb_uri)
    }

    async fn open(&self) -> Stores {
        stores(&self.store().await)
    }

    async fn dump(&self) -> Dump {
        dump(&self.store().await).await
    }
}

impl Drop for MongoPlace {
    fn drop(&mut self) {
        let options = &self.options;
        super::finish(async {
            let client = mongodb::Client::with_uri_str(&options.uri).await.expect("the address was good before");
            // A server that a test stopped for good keeps its database; nothing else may go wrong here.
            if let Err(error) = client.database(&options.database).drop().await {
                crate::servers::skipped(&format!("the removal of a test database: {}", error.kind));
            }
            client.shutdown().immediate(true).await;
        });
    }
}
