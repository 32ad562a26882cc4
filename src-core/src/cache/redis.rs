//! The cache of conversation metadata in Redis (S2), shared by all nodes.
//!
//! An entry is JSON under `<prefix>conversation:<id>`; its generation stands beside it under
//! `<prefix>conversation:<id>:generation`. A generation is a random number and not a counter: after Redis lost its
//! keys a counter would begin again and could meet a ticket from before, which a random number never does. A ticket
//! holds only while exactly its generation is there, so neither a lost nor an expired one lets a late fill in.
//!
//! An entry is valid for [`TTL_MS`] of business time, which its own `filled_at` decides; Redis removes it after as
//! much real time, which is never earlier, because business time is only ever moved forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackscope_protocol::{ConversationId, Timestamp};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, RedisError, Script, ServerErrorKind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CacheError, CacheStats, ConversationCache, FillTicket, Lookup, TTL_MS, remaining};
use crate::clock::{Asked, Clock};
use crate::repositories::StoredConversation;

/// Lifetime of a generation. Longer than any request lives: a ticket that is older fills nothing.
const GENERATION_TTL: Duration = Duration::from_mins(10);
/// After a failure, lookups do not ask for this long. Without it every event of a
/// connection would wait for the time-out, one after the other.
const SPARED: Duration = Duration::from_millis(500);
/// Longest pause between two tries to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Requests that wait to be written to the connection; beyond it callers wait, within their time limit.
const PIPELINE_MAX: usize = 1_024;
/// The first version whose `SET` knows everything that is used here.
const VERSION_MIN: (u32, u32) = (2, 8);
/// Keys that are looked at in one step when the cache is emptied.
const SCAN_STEP: usize = 500;

/// Fills an entry while its generation is the ticket's.
const FILL: &str = "
    if redis.call('GET', KEYS[2]) == ARGV[1] then
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        return 1
    end
    return 0";

/// Settings of a [`RedisCache`].
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://` or, with TLS, `rediss://[user]:password@host:port/database`.
    pub url: String,
    /// What every key begins with, such as `ackscope:`.
    pub prefix: String,
    /// How long a lookup or a fill may take. Well below the budget of an acknowledgment (S1.5): without its cache
    /// the service is slower, not different.
    pub lookup_timeout: Duration,
    /// How long one try of an invalidation may take.
    pub invalidation_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            prefix: "ackscope:".to_owned(),
            lookup_timeout: Duration::from_millis(25),
            invalidation_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        f.debug_struct("RedisOptions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Why the cache cannot be used. No text holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisStartError {
    /// The address cannot be read.
    #[error("the address of Redis is not one such as redis://:password@host:6379/0 ({0})")]
    Address(String),
    /// Nobody answers there.
    #[error("Redis does not answer at {server}: {reason}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why.
        reason: String,
    },
    /// User or password are wrong, or missing.
    #[error("Redis at {server} refuses the user or the password: {reason}")]
    Authentication {
        /// Host and port.
        server: String,
        /// What it says.
        reason: String,
    },
    /// The user may not do what a cache does.
    #[error("Redis at {server} does not let this user read and write keys that begin with `{prefix}`: {reason}")]
    NotPermitted {
        /// Host and port.
        server: String,
        /// The prefix.
        prefix: String,
        /// What it says.
        reason: String,
    },
    /// The server is too old.
    #[error(
        "Redis at {server} has version {version}, which is too old: {}.{} or newer is needed",
        VERSION_MIN.0,
        VERSION_MIN.1
    )]
    TooOld {
        /// Host and port.
        server: String,
        /// Its version.
        version: String,
    },
    /// It answers, and not as it should.
    #[error("Redis at {server} answers with an error: {reason}")]
    Other {
        /// Host and port.
        server: String,
        /// What it says.
        reason: String,
    },
}

/// The cache in Redis: one multiplexed connection that connects again by itself. Clones share it.
#[derive(Clone)]
pub struct RedisCache {
    shared: Arc<Shared>,
}

struct Shared {
    connection: ConnectionManager,
    prefix: String,
    version: String,
    clock_ahead_ms: i64,
    lookup_timeout: Duration,
    invalidation_timeout: Duration,
    clock: Clock,
    fill: Script,
    /// Lookups are spared until then.
    spared_until: Mutex<Option<Instant>>,
    hits: AtomicU64,
    misses: AtomicU64,
    late_fills: AtomicU64,
}

/// What stands in an entry.
#[derive(Serialize, Deserialize)]
struct Entry<C> {
    filled_at: Timestamp,
    conversation: C,
}

impl RedisCache {
    /// Connects, and tries what a cache does: an entry is written, read and removed.
    pub fn connect(options: &RedisOptions, clock: Clock) -> BoxFuture<'_, Result<Self, RedisStartError>> {
        Box::pin(async move {
            let info = options.url.as_str().into_connection_info().map_err(|error| {
                // The library's texts do not repeat the address.
                RedisStartError::Address(error.to_string())
            })?;
            let server = info.addr().to_string();
            let failed = |error: RedisError| failure(&server, &options.prefix, &error);
            let client = Client::open(info).map_err(|error| RedisStartError::Address(error.to_string()))?;

            // A connection of its own first: the one that connects again by itself would try for long, and would not
            // say why.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(options.connect_timeout))
                .set_response_timeout(Some(options.connect_timeout));
            let mut first = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
            let version = try_out(&mut first, &options.prefix).await.map_err(failed)?;
            let asked = Asked::now();
            // A user may be allowed everything a cache needs and not this.
            let told: Result<(i64, i64), RedisError> = redis::cmd("TIME").query_async(&mut first).await;
            let clock_ahead_ms = told
                .map_or(0, |(secs, micros)| asked.ahead_ms(secs.saturating_mul(1_000).saturating_add(micros / 1_000)));
            if is_older(&version, VERSION_MIN) {
                return Err(RedisStartError::TooOld { server, version });
            }

            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(options.connect_timeout))
                .set_response_timeout(Some(options.invalidation_timeout.max(options.lookup_timeout)))
                .set_max_delay(RECONNECT_PAUSE_MAX)
                .set_pipeline_buffer_size(PIPELINE_MAX);
            let connection = ConnectionManager::new_with_config(client, config).await.map_err(failed)?;
            Ok(Self {
                shared: Arc::new(Shared {
                    connection,
                    prefix: options.prefix.clone(),
                    version,
                    clock_ahead_ms,
                    lookup_timeout: options.lookup_timeout,
                    invalidation_timeout: options.invalidation_timeout,
                    clock,
                    fill: Script::new(FILL),
                    spared_until: Mutex::new(None),
                    hits: AtomicU64::new(0),
                    misses: AtomicU64::new(0),
                    late_fills: AtomicU64::new(0),
                }),
            })
        })
    }

    /// The server's version.
    pub fn version(&self) -> &str {
        &self.shared.version
    }

    /// By how many milliseconds the server's clock is ahead of ours, as far as one question can tell; negative: behind.
    pub fn clock_ahead_ms(&self) -> i64 {
        self.shared.clock_ahead_ms
    }

    /// Removes every key of this cache's prefix.
    pub fn clear(&self) -> BoxFuture<'_, Result<(), CacheError>> {
        Box::pin(async move {
            let mut connection = self.shared.connection.clone();
            let pattern = format!("{}*", escaped(&self.shared.prefix));
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_STEP);
                let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await.map_err(unavailable)?;
                if !keys.is_empty() {
                    redis::cmd("DEL").arg(keys).exec_async(&mut connection).await.map_err(unavailable)?;
                }
                cursor = next;
                if cursor == 0 {
                    return Ok(());
                }
            }
        })
    }
}

/// What a cache does, once; answers the server's version.
async fn try_out(connection: &mut redis::aio::MultiplexedConnection, prefix: &str) -> Result<String, RedisError> {
    let key = format!("{prefix}check:{}", Uuid::new_v4());
    redis::pipe()
        .atomic()
        .cmd("SET")
        .arg(&key)
        .arg("1")
        .arg("NX")
        .arg("PX")
        .arg(10_000)
        .ignore()
        .cmd("GET")
        .arg(&key)
        .ignore()
        .cmd("DEL")
        .arg(&key)
        .ignore()
        .exec_async(connection)
        .await?;
    Script::new("return 1").key(&key).invoke_async::<i64>(connection).await?;
    // A user may be allowed everything a cache needs and not this.
    let info: Result<String, RedisError> = redis::cmd("INFO").arg("server").query_async(connection).await;
    Ok(info.ok().as_deref().and_then(version_in).unwrap_or("unknown").to_owned())
}

fn version_in(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("redis_version:")).map(str::trim)
}

/// Whether a version that reads is older; one that does not read is taken as good.
fn is_older(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < least,
        _ => false,
    }
}

fn failure(server: &str, prefix: &str, error: &RedisError) -> RedisStartError {
    let (server, reason) = (server.to_owned(), error.to_string());
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            RedisStartError::Authentication { server, reason }
        }
        (_, Some("NOPERM")) | (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            RedisStartError::NotPermitted { server, prefix: prefix.to_owned(), reason }
        }
        (ErrorKind::Io, _) if error.is_timeout() => {
            RedisStartError::Unreachable { server, reason: "no answer in time".to_owned() }
        }
        (ErrorKind::Io, _) => RedisStartError::Unreachable { server, reason },
        _ => RedisStartError::Other { server, reason },
    }
}

/// A text as a pattern that matches it alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for `map_err`")]
fn unavailable(error: RedisError) -> CacheError {
    CacheError(error.to_string())
}

fn new_generation() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

impl Shared {
    fn entry_key(&self, conversation_id: ConversationId) -> String {
        format!("{}conversation:{conversation_id}", self.prefix)
    }

    fn generation_key(&self, conversation_id: ConversationId) -> String {
        format!("{}conversation:{conversation_id}:generation", self.prefix)
    }

    /// Asks within the time of a lookup. After a time-out nobody asks for a while.
    async fn ask<T>(&self, request: impl Future<Output = Result<T, RedisError>>) -> Result<T, CacheError> {
        if self.spared_until.lock().is_some_and(|until| Instant::now() < until) {
            return Err(CacheError("it did not answer a moment ago".to_owned()));
        }
        match tokio::time::timeout(self.lookup_timeout, request).await {
            Ok(Ok(answer)) => {
                self.spared_until.lock().take();
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.spare(&error);
                Err(unavailable(error))
            }
            Err(_) => {
                let error = CacheError(format!("no answer within {} ms", self.lookup_timeout.as_millis()));
                self.spare(&error);
                Err(error)
            }
        }
    }

    /// Nobody asks for a while. Said once for each while and not for each lookup that goes to the store instead.
    fn spare(&self, error: &dyn std::fmt::Display) {
        let until = Instant::now() + SPARED;
        if self.spared_until.lock().replace(until).is_none_or(|before| before + SPARED < Instant::now()) {
            tracing::warn!(%error, "Redis fails, the store is asked instead");
        }
    }

    /// The entry, if one is there that reads and is not too old, and what is left of its lifetime.
    fn valid(&self, json: Option<Vec<u8>>) -> Option<(Arc<StoredConversation>, Duration)> {
        let json = json?;
        let entry: Entry<StoredConversation> = match serde_json::from_slice(&json) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::warn!(%error, "a cache entry does not read, asking the store");
                return None;
            }
        };
        let left = remaining(self.clock.now(), entry.filled_at)?;
        Some((Arc::new(entry.conversation), left))
    }

    /// The entry's generation, which is made when there is none.
    async fn generation(&self, conversation_id: ConversationId) -> Result<u64, RedisError> {
        let key = self.generation_key(conversation_id);
        let mut connection = self.connection.clone();
        let (generation,): (u64,) = redis::pipe()
            .atomic()
            .cmd("SET")
            .arg(&key)
            .arg(new_generation())
            .arg("NX")
            .arg("PX")
            .arg(GENERATION_TTL.as_millis() as u64)
            .ignore()
            .cmd("GET")
            .arg(&key)
            .query_async(&mut connection)
            .await?;
        Ok(generation)
    }
}

#[async_trait]
impl ConversationCache for RedisCache {
    async fn get(&self, conversation_id: ConversationId) -> Result<Lookup, CacheError> {
        let shared = &self.shared;
        let lookup = async {
            let mut connection = shared.connection.clone();
            let mut both = redis::cmd("MGET");
            both.arg(shared.entry_key(conversation_id)).arg(shared.generation_key(conversation_id));
            let (entry, generation): (Option<Vec<u8>>, Option<u64>) = both.query_async(&mut connection).await?;
            if let Some((conversation, _)) = shared.valid(entry) {
                return Ok(Lookup::Hit(conversation));
            }
            // Known before the store is read: an invalidation before this moment comes from a change that this
            // reader's look into the store will see.
            let generation = match generation {
                Some(generation) => generation,
                None => shared.generation(conversation_id).await?,
            };
            Ok(Lookup::Miss(FillTicket { conversation_id, generation }))
        };
        let found = shared.ask(lookup).await?;
        let counter = if matches!(found, Lookup::Hit(_)) { &shared.hits } else { &shared.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(found)
    }

    async fn remaining(&self, conversation_id: ConversationId) -> Result<Option<Duration>, CacheError> {
        let shared = &self.shared;
        let lookup = async {
            let mut connection = shared.connection.clone();
            let mut get = redis::cmd("GET");
            get.arg(shared.entry_key(conversation_id));
            let entry: Option<Vec<u8>> = get.query_async(&mut connection).await?;
            Ok(shared.valid(entry).map(|(_, left)| left))
        };
        shared.ask(lookup).await
    }

    async fn fill(&self, ticket: FillTicket, conversation: Arc<StoredConversation>) -> Result<bool, CacheError> {
        let shared = &self.shared;
        let entry = Entry { filled_at: shared.clock.now(), conversation: &*conversation };
        let json = serde_json::to_vec(&entry).map_err(|error| CacheError(error.to_string()))?;
        let mut fill = shared.fill.prepare_invoke();
        fill.key(shared.entry_key(ticket.conversation_id))
            .key(shared.generation_key(ticket.conversation_id))
            .arg(ticket.generation)
            .arg(json)
            .arg(TTL_MS);
        let mut connection = shared.connection.clone();
        let filled: bool = shared.ask(fill.invoke_async(&mut connection)).await?;
        if !filled {
            shared.late_fills.fetch_add(1, Ordering::Relaxed);
        }
        Ok(filled)
    }

    async fn invalidate(&self, conversation_id: ConversationId) -> Result<(), CacheError> {
        let shared = &self.shared;
        let mut connection = shared.connection.clone();
        // Both or neither: an entry without its new generation could be filled again by an old ticket.
        let mut both = redis::pipe();
        both.atomic()
            .cmd("SET")
            .arg(shared.generation_key(conversation_id))
            .arg(new_generation())
            .arg("PX")
            .arg(GENERATION_TTL.as_millis() as u64)
            .ignore()
            .cmd("DEL")
            .arg(shared.entry_key(conversation_id))
            .ignore();
        let invalidated = tokio::time::timeout(shared.invalidation_timeout, both.exec_async(&mut connection)).await;
        match invalidated {
            Ok(result) => result.map_err(unavailable),
            Err(_) => Err(CacheError(format!("no answer within {} ms", shared.invalidation_timeout.as_millis()))),
        }
    }

    fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.shared.hits.load(Ordering::Relaxed),
            misses: self.shared.misses.load(Ordering::Relaxed),
            late_fills: self.shared.late_fills.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCache").field("prefix", &self.shared.prefix).field("stats", &self.stats()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, is_old) in [
            ("2.6.17", true),
            ("2.8.0", false),
            ("2.10.1", false),
            ("7.0.15", false),
            ("10.0.0", false),
            ("unknown", false),
            ("", false),
        ] {
            assert_eq!(is_older(version, VERSION_MIN), is_old, "{version}");
        }
        assert_eq!(version_in("# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n"), Some("7.0.15"));
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(escaped("a*b?[c]\\:"), "a\\*b\\?\\[c\\]\\\\:");
    }

    #[tokio::test]
    async fn what_is_wrong_with_an_address_is_told_without_its_password() {
        let clock = Clock::default();
        for url in ["http://x", "redis://", "", "redis://:secret-word@host:notaport", "redis://:secret-word@[::1"] {
            let options = RedisOptions { url: url.to_owned(), ..RedisOptions::default() };
            let error = RedisCache::connect(&options, clock.clone()).await.unwrap_err();
            assert!(
                matches!(error, RedisStartError::Address(_) | RedisStartError::Unreachable { .. }),
                "{url}: {error}"
            );
            assert!(!error.to_string().contains("secret-word"), "{error}");
            assert!(!format!("{options:?}").contains("secret-word"));
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_at_once() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("redis://:secret-word@127.0.0.1:{port}");
        let options = RedisOptions { url, ..RedisOptions::default() };
        let error = RedisCache::connect(&options, Clock::default()).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, RedisStartError::Unreachable { .. }), "{said}");
        assert!(said.contains(&port.to_string()) && !said.contains("secret-word"), "{said}");
    }
}
