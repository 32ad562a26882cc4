//! The place of the cache in Redis: a prefix of its own on a server that others use too.

use std::sync::Arc;

use ackscope_core::cache::ConversationCache;
use ackscope_core::cache::redis::{RedisCache, RedisOptions};
use ackscope_core::clock::Clock;
use uuid::Uuid;

use super::cache::{CachePlace, FlushableCachePlace};
use crate::servers::servers;

/// A prefix of its own.
pub struct RedisPlace {
    options: RedisOptions,
}

impl RedisPlace {
    async fn cache(&self, clock: Clock) -> RedisCache {
        RedisCache::connect(&self.options, clock).await.expect("Redis answers")
    }
}

impl CachePlace for RedisPlace {
    async fn is_available() -> bool {
        servers().await.is_some()
    }

    async fn fresh() -> Self {
        let servers = servers().await.expect("asked before");
        let prefix = format!("ackscope-test-{}:", Uuid::new_v4().simple());
        // Tests run beside each other: what is looked for is what is right, not how fast it is.
        let lookup_timeout = super::PATIENCE;
        Self { options: RedisOptions { url: servers.redis_url, prefix, lookup_timeout, ..RedisOptions::default() } }
    }

    async fn open(&self, clock: Clock) -> Arc<dyn ConversationCache> {
        Arc::new(self.cache(clock).await)
    }
}

impl FlushableCachePlace for RedisPlace {
    async fn flush(&self) {
        self.cache(Clock::default()).await.clear().await.expect("Redis answers");
    }
}

impl Drop for RedisPlace {
    fn drop(&mut self) {
        // Nothing of a test stays on a server that others use.
        super::finish(async { self.flush().await });
    }
}
