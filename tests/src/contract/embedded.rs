//! The places of the embedded implementation: a directory that goes away with the test.

use std::sync::Arc;

use ackscope_core::cache::ConversationCache;
use ackscope_core::cache::embedded::EmbeddedCache;
use ackscope_core::clock::Clock;
use ackscope_core::log::EventLog;
use ackscope_core::log::embedded::{EmbeddedLog, LogOptions};
use ackscope_core::repositories::embedded::{EmbeddedConversations, EmbeddedMessages, EmbeddedParticipants};
use ackscope_core::sqlite::{EmbeddedFile, EmbeddedOptions};
use tempfile::TempDir;

use super::cache::CachePlace;
use super::log::{BoundedLogPlace, Bounds, LogPlace};
use super::repositories::{StorePlace, Stores};

/// One SQLite file.
pub struct EmbeddedPlace {
    directory: TempDir,
}

impl EmbeddedPlace {
    /// The file, opened with default settings.
    pub fn file(&self) -> Arc<EmbeddedFile> {
        let path = self.directory.path().join("ackscope.db");
        EmbeddedFile::open(path, EmbeddedOptions::default()).expect("the file opens once the one before is closed")
    }

    fn log(&self, options: LogOptions) -> Arc<dyn EventLog> {
        Arc::new(EmbeddedLog::new(self.file(), options).expect("the log opens"))
    }
}

impl LogPlace for EmbeddedPlace {
    async fn fresh() -> Self {
        Self { directory: TempDir::new().expect("a directory for the test") }
    }

    async fn open(&self) -> Arc<dyn EventLog> {
        self.log(LogOptions::default())
    }

    fn max_record_bytes(&self) -> usize {
        LogOptions::default().max_record_bytes
    }
}

impl BoundedLogPlace for EmbeddedPlace {
    async fn open_bounded(&self, bounds: Bounds) -> Arc<dyn EventLog> {
        self.log(LogOptions {
            max_backlog_records: bounds.max_backlog_records,
            retain_records: bounds.retain_records,
            ..LogOptions::default()
        })
    }
}

/// As [`EmbeddedPlace`], with nearly nothing in memory: whoever reads the log reads the file.
pub struct EmbeddedPlaceWithoutMemory(EmbeddedPlace);

impl LogPlace for EmbeddedPlaceWithoutMemory {
    async fn fresh() -> Self {
        Self(<EmbeddedPlace as LogPlace>::fresh().await)
    }

    async fn open(&self) -> Arc<dyn EventLog> {
        self.0.log(LogOptions { recent_records: 2, ..LogOptions::default() })
    }

    fn max_record_bytes(&self) -> usize {
        self.0.max_record_bytes()
    }
}

impl StorePlace for EmbeddedPlace {
    async fn fresh() -> Self {
        <Self as LogPlace>::fresh().await
    }

    async fn open(&self) -> Stores {
        let file = self.file();
        Stores {
            conversations: Arc::new(EmbeddedConversations::new(Arc::clone(&file))),
            participants: Arc::new(EmbeddedParticipants::new(Arc::clone(&file))),
            messages: Arc::new(EmbeddedMessages::new(file)),
        }
    }
}

/// A cache in this process.
pub struct EmbeddedCachePlace;

impl CachePlace for EmbeddedCachePlace {
    async fn fresh() -> Self {
        Self
    }

    async fn open(&self, clock: Clock) -> Arc<dyn ConversationCache> {
        Arc::new(EmbeddedCache::new(clock, 10_000))
    }
}
