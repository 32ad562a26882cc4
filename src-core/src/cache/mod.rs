//! The cache of conversation metadata: one hour by the business clock, invalidated by every change (S1.2).
//!
//! A reader that finds nothing gets a [`FillTicket`], reads the store and fills the cache with the ticket. An
//! invalidation between the two makes the ticket void, so that a late fill never brings an old value back.
//!
//! **Invariant:** nobody outside this module knows which implementation runs.

pub mod embedded;
pub mod redis;

use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::{ConversationId, Timestamp};
use async_trait::async_trait;

use crate::repositories::StoredConversation;

/// Lifetime of an entry in milliseconds of business time (S1.2).
pub const TTL_MS: i64 = 60 * 60 * 1_000;

/// What is left of an entry's lifetime. One from the future tells that a clock was set back: how old it is is not known,
/// so nothing is left of it.
fn remaining(now: Timestamp, filled_at: Timestamp) -> Option<Duration> {
    let age_ms = now.millis_since(filled_at);
    let left_ms = (0..TTL_MS).contains(&age_ms).then_some(TTL_MS - age_ms)?;
    u64::try_from(left_ms).ok().map(Duration::from_millis)
}

/// What a lookup came to.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The entry.
    Hit(Arc<StoredConversation>),
    /// Nothing there; the ticket lets the reader fill it.
    Miss(FillTicket),
}

/// The right to fill one entry, void after the next invalidation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillTicket {
    /// Which entry.
    pub conversation_id: ConversationId,
    /// The entry's generation when the lookup missed.
    pub generation: u64,
}

/// The cache does not answer. A reader goes to the store; a change must not answer before it is invalidated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache does not answer: {0}")]
pub struct CacheError(pub String);

/// Hits and misses so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups that found an entry.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Fills that came too late.
    pub late_fills: u64,
}

/// The cache of conversation metadata.
#[async_trait]
pub trait ConversationCache: Send + Sync + 'static {
    /// Looks an entry up. An entry older than [`TTL_MS`] is a miss.
    async fn get(&self, conversation_id: ConversationId) -> Result<Lookup, CacheError>;

    /// For how much longer of business time an entry is valid; nothing when there is none. Counts as no lookup.
    async fn remaining(&self, conversation_id: ConversationId) -> Result<Option<Duration>, CacheError>;

    /// Fills an entry; false when the ticket was void, and then nothing was changed.
    async fn fill(&self, ticket: FillTicket, conversation: Arc<StoredConversation>) -> Result<bool, CacheError>;

    /// Removes an entry and makes every ticket for it void.
    async fn invalidate(&self, conversation_id: ConversationId) -> Result<(), CacheError>;

    /// Hits and misses so far.
    fn stats(&self) -> CacheStats;
}
