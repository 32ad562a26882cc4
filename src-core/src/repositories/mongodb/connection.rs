//! Connecting: the address, what the server says of itself, and the collections and indexes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::mongodb::bson::{Document, doc};
use ::mongodb::error::{Error, ErrorKind};
use ::mongodb::options::{
    ClientOptions, ConnectionString, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use ::mongodb::{Client, Database, IndexModel};
use tokio::time::timeout;

use super::operation::{code_of, number};
use super::{CONVERSATIONS, COUNTERS, Inner, MESSAGES, MongoStore, OUTBOX, PARTICIPANTS};
use crate::clock::Asked;

/// Connections to one server at the same time. What is asked beyond that waits for one.
const POOL_MAX: u32 = 32;

/// The longest name a database can have, in bytes.
const DATABASE_NAME_MAX_BYTES: usize = 63;

/// The collection, and the document in it, that say that a database was made by Ackscope.
const OWNER: &str = "ackscope";
/// How many collections of somebody else's database are named.
const NAMES_SHOWN: usize = 5;

/// Codes of a user who may not do something.
const NOT_PERMITTED: [i32; 3] = [13, 8000, 31];
/// Codes of a user or password that are wrong.
const NOT_AUTHENTICATED: [i32; 2] = [18, 11];

/// Where the documents are, and how long to wait for them.
#[derive(Clone)]
pub struct MongoOptions {
    /// `mongodb://` or `mongodb+srv://`, with user and password if the server wants them. What it says about read and
    /// write concern does not count: what is told to be stored is stored by a majority.
    pub uri: String,
    /// The database.
    pub database: String,
    /// Others use the server too: a database that is neither empty nor made by Ackscope is left alone, see
    /// [`MongoStartError::NotOurs`].
    pub is_shared: bool,
    /// How long one operation of a repository may take, with everything it waits for. Beyond that it is answered with
    /// [`StoreError::Unavailable`](crate::repositories::StoreError::Unavailable).
    pub request_timeout: Duration,
}

impl Default for MongoOptions {
    fn default() -> Self {
        Self {
            uri: "mongodb://127.0.0.1:27017".into(),
            database: "ackscope".into(),
            is_shared: false,
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for MongoOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoOptions")
            .field("uri", &without_password(&self.uri, &self.uri))
            .field("database", &self.database)
            .field("is_shared", &self.is_shared)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoServer {
    /// Its version, such as `7.0.14`; with the name of one that is not MongoDB's own.
    pub version: String,
    /// What it is part of, in words: a replica set with its name, a sharded cluster, a single server.
    pub topology: String,
    /// Why changes of several documents are not transactions; absent when they are.
    pub without_transactions: Option<String>,
    /// By how many milliseconds its clock is ahead of ours, as far as one question can tell; negative: behind.
    pub clock_ahead_ms: i64,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MongoStartError {
    /// The address cannot be read.
    #[error("the MongoDB address is not valid: {0}. It looks like mongodb://user:password@host:27017/?replicaSet=rs0")]
    Address(String),
    /// The database cannot have this name.
    #[error(
        "'{0}' cannot be the name of a MongoDB database: 1 to {DATABASE_NAME_MAX_BYTES} bytes without spaces and /\\.\"$"
    )]
    DatabaseName(String),
    /// Nobody answers.
    #[error("no MongoDB server answers at {hosts}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        hosts: String,
        /// What happened there.
        reason: String,
    },
    /// The server does not accept the user or the password.
    #[error("MongoDB at {hosts} does not accept the user or the password: {reason}")]
    Authentication {
        /// Where.
        hosts: String,
        /// What it said.
        reason: String,
    },
    /// The user may not do what is needed.
    #[error(
        "MongoDB does not permit it to this user: {reason}. The role readWrite on the database '{database}' is enough"
    )]
    NotPermitted {
        /// The database it was asked for.
        database: String,
        /// What it said.
        reason: String,
    },
    /// The server is too old for the driver.
    #[error("the MongoDB server is too old: {0}")]
    TooOld(String),
    /// The address names one member of a replica set that does not take writes.
    #[error(
        "MongoDB at {hosts} does not take writes: it is not the primary of its replica set. \
         Name the whole set with replicaSet=NAME and without directConnection"
    )]
    NotPrimary {
        /// Where.
        hosts: String,
    },
    /// The database holds what somebody else put there.
    #[error(
        "the MongoDB database '{database}' is not empty and was not made by Ackscope (it holds {holds}): it is left as it is. \
         Choose another name, or remove it yourself"
    )]
    NotOurs {
        /// The database.
        database: String,
        /// Some of its collections.
        holds: String,
    },
    /// The database could not be made ready.
    #[error("the MongoDB database cannot be made ready, {what}: {reason}")]
    Preparation {
        /// What did not work.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// The text without the password of the address, wherever it stands in it.
fn without_password(uri: &str, text: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    // A password that is not escaped as it should be may hold slashes and colons: up to the last @ it is all secret.
    let Some((credentials, _)) = rest.rsplit_once('@') else { return text.to_owned() };
    let password = credentials.split_once(':').map_or("", |(_, password)| password);
    if password.is_empty() { text.to_owned() } else { text.replace(password, "***") }
}

/// Where the address says the server is, in words.
fn hosts(options: &ClientOptions) -> String {
    options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn check_name(database: &str) -> Result<(), MongoStartError> {
    let is_forbidden = |c: char| c == '\0' || c.is_whitespace() || "/\\.\"$".contains(c);
    if database.is_empty() || database.len() > DATABASE_NAME_MAX_BYTES || database.contains(is_forbidden) {
        return Err(MongoStartError::DatabaseName(database.to_owned()));
    }
    Ok(())
}

/// Reads the address, and looks it up where it is `mongodb+srv`.
async fn client_options(options: &MongoOptions) -> Result<ClientOptions, MongoStartError> {
    check_name(&options.database)?;
    let limit = options.request_timeout;
    let address = ConnectionString::parse(&options.uri)
        .map_err(|error| MongoStartError::Address(sentence(&options.uri, &error)))?;
    let mut client = match timeout(limit, ClientOptions::parse(address)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) if matches!(*error.kind, ErrorKind::DnsResolve { .. }) => {
            let reason = sentence(&options.uri, &error);
            return Err(MongoStartError::Unreachable { hosts: "the name in the address".into(), reason });
        }
        Ok(Err(error)) => return Err(MongoStartError::Address(sentence(&options.uri, &error))),
        Err(_) => {
            let reason = format!("the name could not be looked up within {limit:?}");
            return Err(MongoStartError::Unreachable { hosts: "the name in the address".into(), reason });
        }
    };
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    client.write_concern = Some(concern);
    client.read_concern = Some(ReadConcern::majority());
    client.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    client.app_name.get_or_insert_with(|| "ackscope".into());
    client.max_pool_size.get_or_insert(POOL_MAX);
    let no_longer = |given: Option<Duration>| Some(given.map_or(limit, |given| given.min(limit)));
    client.connect_timeout = no_longer(client.connect_timeout);
    client.server_selection_timeout = no_longer(client.server_selection_timeout);
    Ok(client)
}

/// An error of the driver as one sentence.
fn sentence(uri: &str, error: &Error) -> String {
    let text = error.kind.to_string();
    without_password(uri, cause(&text).trim_end_matches('.'))
}

/// Of the driver's picture of a server that it does not reach, what went wrong there.
fn cause(text: &str) -> &str {
    let Some((_, cause)) = text.split_once("Error: Kind: ") else { return text };
    let end = [", labels:", ", source:"].iter().filter_map(|end| cause.find(end)).min().unwrap_or(cause.len());
    &cause[..end]
}

pub(super) async fn connect(options: &MongoOptions) -> Result<MongoStore, MongoStartError> {
    let client_options = client_options(options).await?;
    let hosts = hosts(&client_options);
    let connecting = Connecting { options, hosts: &hosts };
    let client = Client::with_options(client_options)
        .map_err(|error| MongoStartError::Address(sentence(&options.uri, &error)))?;
    let admin = client.database("admin");
    let asked = Asked::now();
    let hello = connecting.ask(admin.run_command(doc! { "hello": 1 })).await?;
    let clock_ahead_ms = hello.get_datetime("localTime").map_or(0, |told| asked.ahead_ms(told.timestamp_millis()));
    if !hello.get_bool("isWritablePrimary").unwrap_or(true) {
        return Err(MongoStartError::NotPrimary { hosts });
    }
    // The first command that wants a user, if the server has users.
    let build = connecting.ask(admin.run_command(doc! { "buildInfo": 1 })).await?;
    let database = client.database(&options.database);
    if options.is_shared {
        connecting.claim(&database).await?;
    }
    connecting.prepare(&database).await?;
    let server = MongoServer { clock_ahead_ms, ..describe(&hello, &build) };
    let inner = Inner { client, database, server, request_timeout: options.request_timeout };
    Ok(MongoStore { inner: Arc::new(inner) })
}

/// What a server is, from its answers to `hello` and `buildInfo`.
fn describe(hello: &Document, build: &Document) -> MongoServer {
    let version = build.get_str("version").unwrap_or("unknown");
    let version = match build.get_document("ferretdb").and_then(|ferretdb| ferretdb.get_str("version")) {
        Ok(ferretdb) => format!("{version} (FerretDB {ferretdb})"),
        Err(_) => version.to_owned(),
    };
    let has_sessions = number(hello.get("logicalSessionTimeoutMinutes")) > 0;
    let (topology, without_transactions) = match hello.get_str("setName") {
        Ok(name) => (format!("replica set {name}"), None),
        Err(_) if hello.get_str("msg") == Ok("isdbgrid") => ("sharded cluster".to_owned(), None),
        Err(_) => {
            let reason = "a single server has none: they need a replica set, which may have one member";
            ("single server".to_owned(), Some(reason.to_owned()))
        }
    };
    let without_transactions = without_transactions
        .or_else(|| (!has_sessions).then(|| "the server has no sessions, which transactions need".to_owned()));
    MongoServer { version, topology, without_transactions, clock_ahead_ms: 0 }
}

/// What is known while connecting, for errors that a person understands.
struct Connecting<'a> {
    options: &'a MongoOptions,
    hosts: &'a str,
}

impl Connecting<'_> {
    /// Waits for an answer, within the time limit.
    async fn ask<T>(&self, question: impl IntoFuture<Output = Result<T, Error>>) -> Result<T, MongoStartError> {
        let limit = self.options.request_timeout;
        match timeout(limit, question.into_future()).await {
            Ok(answer) => answer.map_err(|error| self.start_error(&error)),
            Err(_) => Err(MongoStartError::Unreachable {
                hosts: self.hosts.to_owned(),
                reason: format!("it did not answer within {limit:?}"),
            }),
        }
    }

    fn start_error(&self, error: &Error) -> MongoStartError {
        let hosts = self.hosts.to_owned();
        let reason = sentence(&self.options.uri, error);
        match (error.kind.as_ref(), code_of(error)) {
            (ErrorKind::Authentication { .. }, _) => MongoStartError::Authentication { hosts, reason },
            (_, Some(code)) if NOT_AUTHENTICATED.contains(&code) => MongoStartError::Authentication { hosts, reason },
            (_, Some(code)) if NOT_PERMITTED.contains(&code) => {
                MongoStartError::NotPermitted { database: self.options.database.clone(), reason }
            }
            (ErrorKind::IncompatibleServer { .. }, _) => MongoStartError::TooOld(reason),
            // The driver puts it into the sentence about not finding a server.
            (ErrorKind::ServerSelection { .. }, _) if reason.contains("requires at least") => {
                MongoStartError::TooOld(reason)
            }
            (_, Some(_)) => MongoStartError::Preparation { what: "the server refused a command", reason },
            _ => MongoStartError::Unreachable { hosts, reason },
        }
    }

    /// Makes sure that the database is ours: empty, and then marked, or marked before.
    async fn claim(&self, database: &Database) -> Result<(), MongoStartError> {
        let mut names = self.ask(database.list_collection_names()).await?;
        let marks = database.collection::<Document>(OWNER);
        if names.is_empty() {
            let mark = doc! { "_id": OWNER, "made_by": "ackscope", "version": env!("CARGO_PKG_VERSION") };
            // Another node may be making the same database at this moment: one mark is enough.
            let marked = marks.replace_one(doc! { "_id": OWNER }, mark).upsert(true);
            self.ask(marked).await?;
            return Ok(());
        }
        if self.ask(marks.find_one(doc! { "_id": OWNER, "made_by": "ackscope" })).await?.is_some() {
            return Ok(());
        }
        names.sort_unstable();
        names.truncate(NAMES_SHOWN);
        Err(MongoStartError::NotOurs { database: database.name().to_owned(), holds: names.join(", ") })
    }

    /// Makes the collections and indexes that are not there.
    async fn prepare(&self, database: &Database) -> Result<(), MongoStartError> {
        for (name, indexes) in schema() {
            // Made ahead: a server before 4.4 makes none within a transaction. Those that are there are no error.
            match self.ask(database.run_command(doc! { "create": name })).await {
                Ok(_) => {}
                Err(MongoStartError::Preparation { reason, .. }) if is_already_there(&reason) => {}
                Err(error) => return Err(error),
            }
            if !indexes.is_empty() {
                self.ask(database.collection::<Document>(name).create_indexes(indexes)).await?;
            }
        }
        Ok(())
    }
}

/// The server's words for a collection that is there already (`NamespaceExists`).
fn is_already_there(reason: &str) -> bool {
    reason.contains("NamespaceExists") || reason.contains("already exists")
}

/// The collections with their indexes, beside the one on `_id`.
fn schema() -> [(&'static str, Vec<IndexModel>); 5] {
    let index = |name: &str, keys: Document, options: IndexOptions| {
        let mut options = options;
        options.name = Some(name.to_owned());
        IndexModel::builder().keys(keys).options(options).build()
    };
    let sparse = || IndexOptions::builder().sparse(true).build();
    let plain = IndexOptions::default;
    let unique_where = |field: &str| {
        let condition = doc! { field: { "$exists": true } };
        IndexOptions::builder().unique(true).partial_filter_expression(condition).build()
    };
    [
        (
            CONVERSATIONS,
            vec![
                // Both are in hardly any document.
                index("unsettled", doc! { "unsettled": 1 }, sparse()),
                index("outbox", doc! { "outbox.outbox_id": 1 }, sparse()),
            ],
        ),
        (
            PARTICIPANTS,
            vec![
                index(
                    "conversations_of_user",
                    doc! { "user_id": 1, "is_member": 1, "archived": 1, "created_at": -1, "conversation_id": -1 },
                    plain(),
                ),
                index("participants_of_conversation", doc! { "conversation_id": 1 }, plain()),
            ],
        ),
        (
            MESSAGES,
            vec![
                // One message for each place; of messages that have none there are many.
                index("place", doc! { "conversation_id": 1, "seq": 1 }, unique_where("seq")),
                index(
                    "thread",
                    doc! { "conversation_id": 1, "sent.thread_root": 1, "seq": 1 },
                    IndexOptions::builder()
                        .partial_filter_expression(doc! { "sent.thread_root": { "$exists": true } })
                        .build(),
                ),
                index("media", doc! { "sent.media.media_id": 1 }, sparse()),
            ],
        ),
        (OUTBOX, vec![index("entries", doc! { "entries.outbox_id": 1 }, plain())]),
        (COUNTERS, Vec::new()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(uri: &str) -> MongoOptions {
        MongoOptions { uri: uri.into(), request_timeout: Duration::from_millis(300), ..MongoOptions::default() }
    }

    #[test]
    fn no_password_is_shown() {
        for (uri, shown) in [
            ("mongodb://ana:s3cret@host/?a=b", "mongodb://ana:***@host/?a=b"),
            ("mongodb://ana:s3:c/r@t@host", "mongodb://ana:***@host"),
            ("mongodb+srv://ana:p%40ss@host", "mongodb+srv://ana:***@host"),
            ("mongodb://ana@host", "mongodb://ana@host"),
            ("mongodb://host:27017", "mongodb://host:27017"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(uri, uri), shown);
            let debug = format!("{:?}", options(uri));
            assert!(!debug.contains("s3") && !debug.contains("p%40ss"), "{debug}");
        }
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_read_is_told_without_its_password() {
        for uri in [
            "",
            "redis://host",
            "mongodb://",
            "mongodb://ana:s3cret@/",
            "mongodb://ana:s3/cret@host",
            "mongodb://ana:s3cret@host:port",
            "mongodb://ana:s3cret@host/?maxPoolSize=many",
        ] {
            let error = MongoStore::connect(&options(uri)).await.unwrap_err();
            assert!(matches!(error, MongoStartError::Address(_)), "{uri}: {error:?}");
            let told = format!("{error} {error:?}");
            assert!(!told.contains("s3cret") && !told.contains("s3/cret"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_database_has_a_name_that_the_server_takes() {
        for name in ["", "a b", "a.b", "a/b", "a$b", "a\"b", &"x".repeat(64)] {
            let wrong = MongoOptions { database: name.into(), ..MongoOptions::default() };
            let error = MongoStore::connect(&wrong).await.unwrap_err();
            assert_eq!(error, MongoStartError::DatabaseName(name.into()));
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_with_its_place() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = MongoStore::connect(&options(&format!("mongodb://ana:s3cret@{address}/"))).await.unwrap_err();
        let told = error.to_string();
        assert!(
            matches!(&error, MongoStartError::Unreachable { hosts, .. } if *hosts == address.to_string()),
            "{told}"
        );
        assert!(!told.contains("s3cret"), "{told}");
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let begun = std::time::Instant::now();
        let error = MongoStore::connect(&options(&format!("mongodb://{address}/"))).await.unwrap_err();
        assert!(matches!(error, MongoStartError::Unreachable { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    #[test]
    fn transactions_are_used_only_where_the_server_says_it_has_them() {
        let build = doc! { "version": "7.0.14" };
        let of = |hello: Document| describe(&hello, &build);
        let set = of(doc! { "setName": "rs0", "logicalSessionTimeoutMinutes": 30 });
        assert_eq!((set.topology.as_str(), set.without_transactions), ("replica set rs0", None));
        let cluster = of(doc! { "msg": "isdbgrid", "logicalSessionTimeoutMinutes": 30_i64 });
        assert_eq!((cluster.topology.as_str(), cluster.without_transactions), ("sharded cluster", None));
        let single = of(doc! { "logicalSessionTimeoutMinutes": 30 });
        assert!(single.topology == "single server" && single.without_transactions.is_some());
        assert!(of(doc! { "setName": "rs0" }).without_transactions.is_some(), "no sessions");
        let stand_in = describe(&doc! {}, &doc! { "version": "7.0.77", "ferretdb": { "version": "v2.7.0" } });
        assert_eq!(stand_in.version, "7.0.77 (FerretDB v2.7.0)");
    }

    #[test]
    fn errors_of_a_server_are_told_apart() {
        use ::mongodb::bson::from_document;
        use ::mongodb::error::CommandError;
        let options = options("mongodb://ana:s3cret@host/");
        let connecting = Connecting { options: &options, hosts: "host:27017" };
        let of = |code: i32, name: &str| {
            let answer = doc! { "code": code, "codeName": name, "errmsg": "no, s3cret" };
            let command: CommandError = from_document(answer).unwrap();
            connecting.start_error(&ErrorKind::Command(command).into())
        };
        assert!(matches!(of(18, "AuthenticationFailed"), MongoStartError::Authentication { .. }));
        assert!(matches!(of(13, "Unauthorized"), MongoStartError::NotPermitted { .. }));
        assert!(matches!(of(59, "CommandNotFound"), MongoStartError::Preparation { .. }));
        assert!(!of(13, "Unauthorized").to_string().contains("s3cret"));
        let exists = of(48, "NamespaceExists");
        assert!(matches!(exists, MongoStartError::Preparation { reason, .. } if is_already_there(&reason)));
    }

    #[test]
    fn every_index_has_a_name_of_its_own() {
        for (collection, indexes) in schema() {
            let names: std::collections::BTreeSet<_> =
                indexes.iter().map(|index| index.options.as_ref().and_then(|it| it.name.clone())).collect();
            assert_eq!(names.len(), indexes.len(), "{collection}");
            assert!(!names.contains(&None), "{collection}");
        }
    }
}
