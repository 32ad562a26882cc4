//! Real servers by address: what is wrong with each, the backend on them, and what is removed afterwards (S2).

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use ackscope_core::cache::redis::{RedisCache, RedisOptions, RedisStartError};
use ackscope_core::clock::Clock;
use ackscope_core::log::kafka::{KafkaLog, KafkaOptions, KafkaStartError};
use ackscope_core::node::Backend;
use ackscope_core::repositories::mongodb::{MongoOptions, MongoStartError, MongoStore};

use super::containers::ServerAddresses;
use super::namespace::Namespace;

/// Clocks that are this far apart are spoken of, in milliseconds.
const CLOCK_APART_MS: i64 = 1_000;
const MINUS_CLOCK_APART_MS: i64 = -CLOCK_APART_MS;

/// How everything of ours is called on the servers, and whether it goes with the run.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) database: String,
    pub(super) key_prefix: String,
    pub(super) topic_prefix: String,
    /// Others use the servers too: a database that is not empty and not ours is left alone.
    pub(super) is_shared: bool,
    /// Whether what was made is removed at the end.
    pub(super) is_removed: bool,
}

impl Place {
    /// On servers that are there for this run alone. The topics have the names of S1.6.
    pub(super) fn alone() -> Self {
        Self {
            database: "ackscope".to_owned(),
            key_prefix: "ackscope:".to_owned(),
            topic_prefix: String::new(),
            is_shared: false,
            is_removed: false,
        }
    }

    /// On servers that others use: under a name that stays, or one of this run that is removed.
    pub(super) fn shared(namespace: Option<Namespace>) -> Self {
        match namespace {
            Some(namespace) => Self::named(&namespace, false),
            None => Self::of_a_run(&Namespace::of_a_run()),
        }
    }

    /// Under the name of a run, which is removed.
    pub(super) fn of_a_run(namespace: &Namespace) -> Self {
        Self::named(namespace, true)
    }

    fn named(namespace: &Namespace, is_removed: bool) -> Self {
        Self {
            database: namespace.database(),
            key_prefix: namespace.key_prefix(),
            topic_prefix: namespace.topic_prefix(),
            is_shared: true,
            is_removed,
        }
    }
}

/// What is wrong with one server.
#[derive(Debug, thiserror::Error)]
pub enum ServerProblem {
    /// MongoDB.
    #[error(transparent)]
    Mongodb(#[from] MongoStartError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisStartError),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaStartError),
}

impl ServerProblem {
    /// Whether the address itself is wrong, rather than what stands behind it.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Mongodb(MongoStartError::Address(_) | MongoStartError::DatabaseName(_))
                | Self::Redis(RedisStartError::Address(_))
                | Self::Kafka(KafkaStartError::Address(_))
        )
    }
}

/// What is wrong with the servers, all of it at once.
#[derive(Debug)]
pub struct ServerProblems(pub Vec<ServerProblem>);

impl fmt::Display for ServerProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the servers cannot be used")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerProblems {}

/// A backend on real servers.
#[derive(Debug)]
pub(super) struct Servers {
    store: MongoStore,
    cache: RedisCache,
    log: KafkaLog,
    place: Place,
}

impl Servers {
    /// Connects to all three at once, and tries what is needed of them.
    pub(super) async fn connect(
        addresses: &ServerAddresses,
        place: Place,
        clock: &Clock,
    ) -> Result<Self, ServerProblems> {
        let mongodb = MongoOptions {
            uri: addresses.mongodb_uri.clone(),
            database: place.database.clone(),
            is_shared: place.is_shared,
            ..MongoOptions::default()
        };
        let redis = RedisOptions {
            url: addresses.redis_url.clone(),
            prefix: place.key_prefix.clone(),
            ..RedisOptions::default()
        };
        let kafka = KafkaOptions {
            brokers: addresses.kafka_brokers.clone(),
            topic_prefix: place.topic_prefix.clone(),
            ..KafkaOptions::default()
        };
        let connecting =
            (MongoStore::connect(&mongodb), RedisCache::connect(&redis, clock.clone()), KafkaLog::connect(&kafka));
        match tokio::join!(connecting.0, connecting.1, connecting.2) {
            (Ok(store), Ok(cache), Ok(log)) => Ok(Self { store, cache, log, place }),
            (store, cache, log) => {
                // Whoever did answer made something by now; a run that does not begin leaves nothing.
                let (mut problems, mut made) = (Vec::new(), Made::default());
                match store {
                    Ok(store) => made.store = Some(store),
                    Err(error) => problems.push(error.into()),
                }
                match cache {
                    Ok(cache) => made.cache = Some(cache),
                    Err(error) => problems.push(error.into()),
                }
                match log {
                    Ok(log) => made.log = Some(log),
                    Err(error) => problems.push(error.into()),
                }
                if place.is_removed {
                    made.remove().await;
                }
                Err(ServerProblems(problems))
            }
        }
    }

    /// The backend's parts.
    pub(super) fn backend(&self) -> Backend {
        Backend {
            log: Arc::new(self.log.clone()),
            conversations: Arc::new(self.store.conversations()),
            participants: Arc::new(self.store.participants()),
            messages: Arc::new(self.store.messages()),
            cache: Arc::new(self.cache.clone()),
        }
    }

    /// What runs there, in a few words.
    pub(super) fn describe(&self) -> String {
        let server = self.store.server();
        let mut text = format!("MongoDB {} ({}", server.version, server.topology);
        if !self.store.has_transactions() {
            text.push_str(", without transactions");
        }
        // Writing to a text cannot fail.
        let (mongodb, redis) = (apart(server.clock_ahead_ms), apart(self.cache.clock_ahead_ms()));
        write!(text, "{mongodb}), Redis {}{redis}, Kafka", self.cache.version()).ok();
        if self.place.is_shared {
            write!(text, ", under the name {}", self.place.database).ok();
        }
        text
    }

    /// Removes what was made there, where it goes with the run; false when something of it is left.
    pub(super) async fn shutdown(self) -> bool {
        let Self { store, cache, log, place } = self;
        !place.is_removed || Made { store: Some(store), cache: Some(cache), log: Some(log) }.remove().await
    }
}

/// A remark on a clock that is apart from this machine's. Times of messages are this machine's, so nothing fails; who
/// reads a server's own times should know.
fn apart(ahead_ms: i64) -> String {
    let secs = ahead_ms.unsigned_abs() as f64 / 1_000.0;
    match ahead_ms {
        CLOCK_APART_MS.. => format!(", its clock is {secs:.1} s ahead"),
        ..=MINUS_CLOCK_APART_MS => format!(", its clock is {secs:.1} s behind"),
        _ => String::new(),
    }
}

/// What a run made on servers that others use.
#[derive(Default)]
struct Made {
    store: Option<MongoStore>,
    cache: Option<RedisCache>,
    log: Option<KafkaLog>,
}

impl Made {
    /// Removes it. What cannot be removed is named, so that somebody else can; then it is false.
    async fn remove(self) -> bool {
        let store = async {
            let Some(store) = self.store else { return true };
            let dropped = store.drop_database().await;
            if let Err(error) = &dropped {
                tracing::warn!(%error, database = store.database().name(), "the run's database is left behind");
            }
            dropped.is_ok()
        };
        let cache = async {
            let Some(cache) = self.cache else { return true };
            let cleared = cache.clear().await;
            if let Err(error) = &cleared {
                tracing::warn!(%error, "the run's cache entries are left behind; they expire within an hour");
            }
            cleared.is_ok()
        };
        let log = async {
            let Some(log) = self.log else { return true };
            let deleted = log.delete_topics().await;
            if let Err(error) = &deleted {
                tracing::warn!(%error, "the run's topics are left behind");
            }
            deleted.is_ok()
        };
        let (store, cache, log) = tokio::join!(store, cache, log);
        store && cache && log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_spoken_of() {
        assert_eq!(apart(999), "");
        assert_eq!(apart(-999), "");
        assert_eq!(apart(1_000), ", its clock is 1.0 s ahead");
        assert_eq!(apart(-90_000), ", its clock is 90.0 s behind");
        assert!(apart(i64::MIN).ends_with(" s behind") && apart(i64::MAX).ends_with(" s ahead"));
    }
}
