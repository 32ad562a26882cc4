//! Recordings: files that hold a run, written while it goes, and opened without any backend (S3.4).
//!
//! | module | one sentence |
//! |---|---|
//! | [`format`] | what the bytes mean |
//! | [`writer`] | writes a recording while its run goes, without the run waiting |
//! | [`reader`] | reads one, whole or while it is written, up to where it is damaged |
//! | [`place`] | where runs are recorded that name no file |
//!
//! # Why a format of blocks
//!
//! What was wanted: written as the run goes and whole up to the last half second after `kill -9`; read while it is
//! written; damage found, with everything before it readable; small; and old files readable for good. Weighed were:
//!
//! - **SQLite in WAL mode**: survives kills and can be read meanwhile, but is two or three files until it is
//!   closed, does not compress (about 400 bytes an event), and a damaged page can take the table with it.
//! - **MCAP**: made for this (chunks, CRC, compression), but its messages are bytes with a schema beside them, so
//!   the versioning of the events would be ours all the same; with its index and channels it is more than one list
//!   of events needs.
//! - **Arrow IPC, Parquet**: columns want one fixed schema, and events are a tree of thirty kinds that grows; a
//!   Parquet file has no footer, and so cannot be opened, until it is closed.
//! - **postcard, bincode**: smallest and fastest, but not self-describing: they cannot carry the events' flattened
//!   and tagged enums at all, and a field more breaks every older file.
//! - **JSON lines in zstd blocks with CRC-32**: what stands here. Names repeat, so zstd takes them out; serde's
//!   defaults read older files; `tail -c`, `zstd` and `jq` read it in an emergency.

pub mod format;
pub mod place;
pub mod reader;
pub mod writer;

#[cfg(test)]
mod tests;

pub use self::format::{EXTENSION, FORMAT_VERSION, Header};
pub use self::reader::{Ending, OpenError, Recording, RecordingReader};
pub use self::writer::{RecordOptions, RecordingFile, RecordingWriter, WriteError};
