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
//! - **CBOR, MessagePack**: self-describing as JSON is; they save less than they seem to where zstd follows, and no
//!   tool at hand shows them.
//! - **JSON lines in zstd blocks with CRC-32**: what stands here. Names repeat, so zstd takes them out; serde's
//!   defaults read older files; whatever reads zstd and JSON reads it in an emergency.
//!
//! Measured on two processors (300 messages a second in groups of five, 24 events each): 15 bytes an event in the
//! file, 229 unpacked. A million events take 0.8 s of the writer's thread, and 1.3 s to read on two threads (2.4 s on
//! one).

pub mod format;
pub mod place;
pub mod reader;
pub mod writer;

#[cfg(test)]
mod tests;

pub use self::format::{EXTENSION, FORMAT_VERSION, Header};
pub use self::reader::{Ending, OpenError, Recording, RecordingReader};
pub use self::writer::{RecordOptions, RecordingFile, RecordingWriter, WriteError};
