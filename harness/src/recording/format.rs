//! What the bytes of a recording mean.
//!
//! ```text
//! 8 bytes   89 41 43 4B 52 45 43 0A   what it is: a byte no text begins with, "ACKREC", a line feed
//! 4 bytes   version                   of everything that follows; these 12 bytes are the same in every version
//! block     the header
//! block …   events, as they came
//! block …   what the store held at the end, the run's report
//! block     the end: only a recording that was closed in order has one
//! ```
//!
//! All numbers are little-endian. A block is a head of 25 bytes and a body:
//!
//! ```text
//!  1 byte    kind
//!  8 bytes   index of its first event in the run (0 where there are none)
//!  4 bytes   how many lines the body has
//!  4 bytes   bytes of the body
//!  4 bytes   bytes of the body when unpacked
//!  4 bytes   CRC-32 of the 21 bytes before it and of the body
//!  body      zstd; unpacked, one JSON value in each line
//! ```
//!
//! An event is `[at_us, what]`, with what happened as the trace has it. As one flat object, which the trace is
//! elsewhere, it would be read a third slower: serde must gather all fields of a flattened object before it knows
//! what they are.
//!
//! A later build may add fields to the objects (an older one skips them, a newer one fills in what an older one
//! left out) and kinds of blocks (an older one skips them) without another version.

use std::io::{self, Write};

use ackscope_protocol::control::BackendKind;
use ackscope_protocol::trace::{Happening, TraceEvent};
use ackscope_protocol::{MessageId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audit::{Audit, Indexed};
use crate::cost::Cost;
use crate::latency::BudgetResult;
use crate::scenario::outcome::{RunReport, StepResult};

/// Version of the format. A reader opens this one and every one before it.
pub const FORMAT_VERSION: u32 = 1;
/// Ending of a recording's file name.
pub const EXTENSION: &str = "ackrec";

/// The first bytes of every recording.
pub(super) const MAGIC: [u8; 8] = *b"\x89ACKREC\n";
/// Bytes before the first block.
pub(super) const PROLOGUE_BYTES: u64 = 12;
/// Bytes of a block's head.
pub(super) const HEAD_BYTES: usize = 25;
/// Most bytes of a block's body. A block that says it has more is not one of ours.
pub(super) const BODY_MAX_BYTES: u32 = 16 * 1024 * 1024;
/// Most bytes of a block's body when unpacked.
pub(super) const UNPACKED_MAX_BYTES: u32 = 64 * 1024 * 1024;
/// How hard zstd tries. A higher level takes more of a processor that the run needs and saves a tenth.
const LEVEL: i32 = 3;

/// What stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One [`Header`].
    Header,
    /// An [`EventLine`] in each line.
    Events,
    /// A conversation, or a part of one, in each line, as the store held it at the end.
    Stored,
    /// One [`RecordedReport`].
    Report,
    /// One [`End`].
    End,
    /// An [`IndexLine`] in each line, as the search index had it at the end.
    Index,
    /// Of a later build: skipped.
    Unknown(u8),
}

impl Kind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Events => 2,
            Self::Stored => 3,
            Self::Report => 4,
            Self::End => 5,
            Self::Index => 6,
            Self::Unknown(byte) => byte,
        }
    }

    fn of_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Header,
            2 => Self::Events,
            3 => Self::Stored,
            4 => Self::Report,
            5 => Self::End,
            6 => Self::Index,
            other => Self::Unknown(other),
        }
    }
}

/// What a recording says of its run before anything happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the program that recorded it.
    pub ackscope_version: String,
    /// [`TRACE_VERSION`](ackscope_protocol::trace::TRACE_VERSION) of that program.
    pub trace_version: u32,
    /// Names the run.
    pub run_id: Uuid,
    /// The wall clock when the run began: zero of every `at_us`.
    pub started_at: Timestamp,
    /// Which backend it ran on.
    pub backend: BackendKind,
    /// Which backend and why it was taken, in words.
    pub backend_reason: String,
    /// What was left to chance followed from this number.
    #[serde(default)]
    pub seed: Option<u64>,
    /// The scenario's name, or what else was run.
    #[serde(default)]
    pub title: Option<String>,
}

/// What a recording says when it was closed in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The index after the run's last event.
    pub next_index: u64,
    /// Events that are not in the file, because the writer came too late or could not write them.
    #[serde(default)]
    pub missed: u64,
    /// Whether everything the store held stands in the file.
    #[serde(default)]
    pub has_stored: bool,
    /// Whether everything the search index had stands in the file.
    #[serde(default)]
    pub has_index: bool,
    /// What could not be read of store, cache and index, and why.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why it was closed before the run ended, if it was; one sentence.
    #[serde(default)]
    pub stopped: Option<String>,
}

/// A message in the search index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct IndexLine {
    pub(super) message_id: MessageId,
    #[serde(flatten)]
    pub(super) indexed: Indexed,
}

/// What a run's report holds beyond what follows from its events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedReport {
    /// The scenario's name.
    pub scenario: String,
    /// The file it was read from.
    pub file_name: String,
    /// What was left to chance followed from this number.
    pub seed: u64,
    /// Every step.
    pub steps: Vec<StepResult>,
    /// The scenario's budgets.
    pub budgets: Vec<BudgetResult>,
    /// The promises.
    pub audit: Audit,
    /// Why the environment failed, if it did.
    pub environment_failed: Option<String>,
    /// How long all of it took, in microseconds of real time.
    pub took_us: u64,
    /// Where that went.
    pub cost: Cost,
}

impl RecordedReport {
    /// Of a run.
    pub fn of(report: &RunReport) -> Self {
        Self {
            scenario: report.scenario.clone(),
            file_name: report.file_name.clone(),
            seed: report.seed,
            steps: report.steps.clone(),
            budgets: report.budgets.clone(),
            audit: report.audit.clone(),
            environment_failed: report.environment_failed.clone(),
            took_us: report.took_us,
            cost: report.cost,
        }
    }
}

/// A trace event as a line holds it.
#[derive(Debug, Serialize)]
pub(super) struct EventLine<'a>(u64, &'a Happening);

impl<'a> EventLine<'a> {
    pub(super) fn of(event: &'a TraceEvent) -> Self {
        Self(event.at_us, &event.what)
    }

    /// The event of a line; none when it is of a kind this build does not know.
    pub(super) fn read(line: &[u8]) -> Option<TraceEvent> {
        let (at_us, what) = serde_json::from_slice(line).ok()?;
        Some(TraceEvent { at_us, what })
    }
}

/// A block's head as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) first_index: u64,
    pub(super) lines: u32,
    pub(super) body_bytes: u32,
    pub(super) unpacked_bytes: u32,
    pub(super) crc: u32,
}

impl Head {
    /// Everything but the CRC, which covers it.
    fn covered(&self) -> [u8; HEAD_BYTES - 4] {
        let mut bytes = [0; HEAD_BYTES - 4];
        bytes[0] = self.kind.to_byte();
        bytes[1..9].copy_from_slice(&self.first_index.to_le_bytes());
        bytes[9..13].copy_from_slice(&self.lines.to_le_bytes());
        bytes[13..17].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[17..21].copy_from_slice(&self.unpacked_bytes.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8; HEAD_BYTES]) -> Self {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let first_index = u64::from(number(1)) | u64::from(number(5)) << 32;
        Self {
            kind: Kind::of_byte(bytes[0]),
            first_index,
            lines: number(9),
            body_bytes: number(13),
            unpacked_bytes: number(17),
            crc: number(21),
        }
    }

    /// The CRC that belongs to this head with this body.
    pub(super) fn crc_with(&self, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.covered());
        hasher.update(body);
        hasher.finalize()
    }
}

/// Lines that become a block.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    lines: u32,
}

impl Lines {
    /// Adds an object. False when it is larger than a block may be; it is left out then.
    pub(super) fn add(&mut self, object: &impl Serialize) -> io::Result<bool> {
        let before = self.bytes.len();
        serde_json::to_writer(&mut self.bytes, object)?;
        self.bytes.push(b'\n');
        if self.bytes.len() - before > UNPACKED_MAX_BYTES as usize / 2 {
            self.bytes.truncate(before);
            return Ok(false);
        }
        self.lines += 1;
        Ok(true)
    }

    pub(super) fn lines(&self) -> u32 {
        self.lines
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of a block of these lines, which are taken out.
    pub(super) fn pack(&mut self, kind: Kind, first_index: u64) -> io::Result<Vec<u8>> {
        let body = zstd::bulk::compress(&self.bytes, LEVEL)?;
        let size = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
        let mut head = Head {
            kind,
            first_index,
            lines: self.lines,
            body_bytes: size(body.len())?,
            unpacked_bytes: size(self.bytes.len())?,
            crc: 0,
        };
        if head.body_bytes > BODY_MAX_BYTES || head.unpacked_bytes > UNPACKED_MAX_BYTES {
            return Err(io::Error::other("a block of the recording is too large"));
        }
        head.crc = head.crc_with(&body);
        let mut block = Vec::with_capacity(HEAD_BYTES + body.len());
        block.extend_from_slice(&head.covered());
        block.extend_from_slice(&head.crc.to_le_bytes());
        block.extend_from_slice(&body);
        self.bytes.clear();
        self.lines = 0;
        Ok(block)
    }
}

/// Writes what stands before the first block.
pub(super) fn write_prologue(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&FORMAT_VERSION.to_le_bytes())
}
