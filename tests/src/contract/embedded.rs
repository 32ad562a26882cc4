//! The places of the embedded implementation: a directory that goes away with the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackscope_core::cache::ConversationCache;
use ackscope_core::cache::embedded::EmbeddedCache;
use ackscope_core::clock::Clock;
use ackscope_core::log::EventLog;
use ackscope_core::log::embedded::{EmbeddedLog, LogOptions};
use ackscope_core::repositories::embedded::{EmbeddedConversations, EmbeddedMessages, EmbeddedParticipants};
use ackscope_core::sqlite::{EmbeddedFile, EmbeddedOptions};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::cache::CachePlace;
use super::log::{BoundedLogPlace, Bounds, LogPlace, PATIENT_GROUP};
use super::repositories::{Dump, StorePlace, Stores};

/// One SQLite file.
pub struct EmbeddedPlace {
    directory: TempDir,
}

impl EmbeddedPlace {
    /// The file, opened with default settings.
    pub fn file(&self) -> Arc<EmbeddedFile> {
        EmbeddedFile::open(self.path(), EmbeddedOptions::default())
            .expect("the file opens once the one before is closed")
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ackscope.db")
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
            patient_groups: &[PATIENT_GROUP],
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

    async fn dump(&self) -> Dump {
        dump(&self.path())
    }
}

/// Every table of a data file, also of one that is open, with its rows as text; both in an order that follows from
/// the content alone. Two files with the same dump hold the same.
pub fn dump(path: &Path) -> Dump {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the file can be read beside its owner");
    let moment = connection.unchecked_transaction().expect("the file can be read");
    let mut tables = moment
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1",
        )
        .expect("the tables can be listed");
    let names: rusqlite::Result<Vec<String>> =
        tables.query_map([], |row| row.get(0)).expect("the tables can be listed").collect();
    names.expect("the tables have names").into_iter().map(|name| (name.clone(), dump_table(&moment, &name))).collect()
}

fn dump_table(connection: &Connection, name: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\"")).expect("the table can be read");
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let mut text = String::new();
        for (index, column) in columns.iter().enumerate() {
            text.push_str(column);
            text.push('=');
            match row.get_ref(index)? {
                ValueRef::Null => text.push_str("null"),
                ValueRef::Integer(number) => text.push_str(&number.to_string()),
                ValueRef::Real(number) => text.push_str(&number.to_string()),
                ValueRef::Text(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                ValueRef::Blob(bytes) => {
                    text.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit));
                }
            }
            text.push(' ');
        }
        Ok(text)
    });
    let rows: rusqlite::Result<Vec<String>> = rows.expect("the table can be read").collect();
    let mut rows = rows.expect("the rows can be read");
    rows.sort_unstable();
    rows
}

fn hex_digit(number: u8) -> char {
    char::from_digit(number.into(), 16).unwrap_or('?')
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
