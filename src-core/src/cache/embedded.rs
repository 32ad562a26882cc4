//! The cache of conversation metadata in this process (S2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackscope_protocol::{ConversationId, Timestamp};
use async_trait::async_trait;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::{CacheError, CacheStats, ConversationCache, FillTicket, Lookup, remaining};
use crate::clock::Clock;
use crate::planted::{self, Bug};
use crate::repositories::StoredConversation;

/// Generations are counted for this many groups of ids and not for each id, so that they take a fixed amount
/// of memory. An invalidation also voids the tickets of the other ids in its group, which costs them one more
/// read of the store and nothing else.
const STRIPES: usize = 1_024;

/// The cache in this process: bounded, an hour of business time for each entry.
pub struct EmbeddedCache {
    clock: Clock,
    entries: Cache<ConversationId, Entry>,
    /// Generations by stripe. The lock is held while an entry is written or removed: between the check of a
    /// ticket and the fill no invalidation can come.
    generations: Vec<Mutex<u64>>,
    hits: AtomicU64,
    misses: AtomicU64,
    late_fills: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    conversation: Arc<StoredConversation>,
    filled_at: Timestamp,
}

impl EmbeddedCache {
    /// An empty cache of about `capacity` conversations; the ones used least make room.
    pub fn new(clock: Clock, capacity: u64) -> Self {
        Self {
            clock,
            entries: Cache::new(capacity),
            generations: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            late_fills: AtomicU64::new(0),
        }
    }

    fn generation(&self, conversation_id: ConversationId) -> &Mutex<u64> {
        let (high, low) = conversation_id.as_uuid().as_u64_pair();
        // Time-ordered ids differ in some bits only; the multiplication spreads them.
        let mixed = (high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.generations[mixed as usize % STRIPES]
    }
}

#[async_trait]
impl ConversationCache for EmbeddedCache {
    async fn get(&self, conversation_id: ConversationId) -> Result<Lookup, CacheError> {
        if let Some(entry) = self.entries.get(&conversation_id)
            && remaining(self.clock.now(), entry.filled_at).is_some()
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Lookup::Hit(entry.conversation));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        // Taken after the lookup and before the store is read: an invalidation before this moment comes from a
        // change that this reader's look into the store will see.
        let generation = *self.generation(conversation_id).lock();
        Ok(Lookup::Miss(FillTicket { conversation_id, generation }))
    }

    async fn remaining(&self, conversation_id: ConversationId) -> Result<Option<Duration>, CacheError> {
        let entry = self.entries.get(&conversation_id);
        Ok(entry.and_then(|entry| remaining(self.clock.now(), entry.filled_at)))
    }

    async fn fill(&self, ticket: FillTicket, conversation: Arc<StoredConversation>) -> Result<bool, CacheError> {
        let generation = self.generation(ticket.conversation_id).lock();
        if *generation != ticket.generation {
            self.late_fills.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        self.entries.insert(ticket.conversation_id, Entry { conversation, filled_at: self.clock.now() });
        Ok(true)
    }

    async fn invalidate(&self, conversation_id: ConversationId) -> Result<(), CacheError> {
        let mut generation = self.generation(conversation_id).lock();
        *generation += 1;
        if planted::is(Bug::StaleCache) {
            return Ok(());
        }
        self.entries.invalidate(&conversation_id);
        Ok(())
    }

    fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            late_fills: self.late_fills.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for EmbeddedCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
