//! Reads recordings, whole or while they are written.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackscope_protocol::MessageId;
use ackscope_protocol::trace::{Happening, TraceEvent};
use serde::de::DeserializeOwned;

use super::format::{
    BODY_MAX_BYTES, End, EventLine, FORMAT_VERSION, HEAD_BYTES, Head, Header, IndexLine, Kind, MAGIC, PROLOGUE_BYTES,
    RecordedReport, UNPACKED_MAX_BYTES,
};
use crate::audit::{Audit, Indexed, Stored, StoredConversation, audit_history};
use crate::history::History;
use crate::latency::Latencies;
use crate::ledger::Ledger;
use crate::scenario::outcome::RunReport;

/// Events of a recording that are kept in memory; of a longer one the newest.
pub const EVENTS_KEPT: u64 = 3_000_000;
/// Unpacked bytes of events that are kept in memory.
const BYTES_KEPT: u64 = 2 * 1024 * 1024 * 1024;
/// Most threads that unpack blocks.
const THREADS_MAX: usize = 8;

/// Why a file cannot be opened as a recording.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("{} cannot be read: {reason}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Nothing is in it.
    #[error("{} is empty; a recording begins when its run has started", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// It is something else.
    #[error("{} is not a recording; expected a file that `--record` or `--report` wrote (*.ackrec)", file.display())]
    NotARecording {
        /// The file.
        file: PathBuf,
    },
    /// A later build wrote it.
    #[error(
        "{} is a recording of version {version}, and this build reads up to version {FORMAT_VERSION}; open it with a \
         newer ackscope", file.display()
    )]
    LaterVersion {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Not even its header can be read.
    #[error("the header of the recording {} cannot be read: {why}; nothing of it can be shown", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// How a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was closed in order.
    Closed(End),
    /// It goes on to the end of the file, and nothing says that the run ended: it still runs, or it was killed.
    Open {
        /// Bytes of a block at the end of which the rest is missing.
        unfinished_bytes: u64,
    },
    /// What follows cannot be read.
    Damaged {
        /// Where in the file, in bytes from its beginning.
        at_byte: u64,
        /// What is wrong there.
        why: String,
    },
}

impl Ending {
    /// One sentence for people; none for a recording that was closed when its run ended.
    pub fn sentence(&self, events: u64) -> Option<String> {
        match self {
            Self::Closed(End { stopped: None, .. }) => None,
            Self::Closed(End { stopped: Some(why), .. }) => Some(format!("it was closed before the run ended: {why}")),
            Self::Open { unfinished_bytes: 0 } => {
                Some(format!("it was not closed: the run still goes on, or was killed; {events} events were read"))
            }
            Self::Open { unfinished_bytes } => Some(format!(
                "its last block is cut after {unfinished_bytes} bytes: the run still goes on, or was killed, or the \
                 file was cut; {events} events were read before it"
            )),
            Self::Damaged { at_byte, why } => Some(format!(
                "it is damaged at byte {at_byte} ({why}); {events} events were read before it, what follows was not"
            )),
        }
    }
}

/// Why there is no further block.
#[derive(Debug)]
enum Stop {
    /// The file ends here, so many bytes after the last whole block.
    FileEnd(u64),
    Damaged(String),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A block whose CRC is right.
struct Packed {
    head: Head,
    at_byte: u64,
    body: Vec<u8>,
}

impl Packed {
    /// The lines. The unpacked size is limited before anything is unpacked.
    fn unpack(&self) -> Result<Vec<u8>, String> {
        let size = self.head.unpacked_bytes as usize;
        let bytes = zstd::bulk::decompress(&self.body, size).map_err(|error| format!("it does not unpack: {error}"))?;
        if bytes.len() != size {
            return Err(format!("it unpacks to {} bytes instead of {size}", bytes.len()));
        }
        Ok(bytes)
    }

    /// Its only object.
    fn object<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.unpack()?).map_err(|error| error.to_string())
    }

    /// Its events, and how many lines are of a kind this build does not know.
    fn events(&self) -> Result<Events, String> {
        let bytes = self.unpack()?;
        let mut events = Vec::with_capacity((self.head.lines as usize).min(bytes.len() / 16));
        let mut unknown = 0;
        for line in lines(&bytes) {
            match EventLine::read(line) {
                Some(event) => events.push(Arc::new(event)),
                None => unknown += 1,
            }
        }
        Ok(Events {
            first_index: self.head.first_index,
            next_index: self.head.first_index.saturating_add(u64::from(self.head.lines)),
            list: events,
            unknown,
            bytes: bytes.len() as u64,
        })
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The events of a block.
struct Events {
    first_index: u64,
    next_index: u64,
    list: Vec<Arc<TraceEvent>>,
    unknown: u64,
    bytes: u64,
}

/// Reads block after block. At the end of the file it can be asked again when the file has grown.
struct Blocks<R> {
    input: BufReader<R>,
    /// Where the next block begins.
    at_byte: u64,
    is_ended: bool,
}

impl<R: Read + Seek> Blocks<R> {
    /// Reads what stands before the first event.
    fn open(input: R, file: &Path) -> Result<(Self, Header), OpenError> {
        let file = || file.to_owned();
        let mut input = BufReader::new(input);
        let mut prologue = Vec::new();
        let read = input.by_ref().take(PROLOGUE_BYTES).read_to_end(&mut prologue);
        read.map_err(|reason| OpenError::Io { file: file(), reason })?;
        if prologue.is_empty() {
            return Err(OpenError::Empty { file: file() });
        }
        let (magic, version) = prologue.split_at(prologue.len().min(MAGIC.len()));
        if magic != MAGIC {
            return Err(OpenError::NotARecording { file: file() });
        }
        let Ok(version) = version.try_into().map(u32::from_le_bytes) else {
            return Err(OpenError::Header { file: file(), why: "the file ends before it".to_owned() });
        };
        match version {
            0 => return Err(OpenError::NotARecording { file: file() }),
            1..=FORMAT_VERSION => {}
            _ => return Err(OpenError::LaterVersion { file: file(), version }),
        }
        let mut blocks = Self { input, at_byte: PROLOGUE_BYTES, is_ended: false };
        let header = match blocks.next() {
            Ok(Some(packed)) if packed.head.kind == Kind::Header => packed.object(),
            Ok(_) => Err("another block stands in its place".to_owned()),
            Err(Stop::FileEnd(_)) => Err("the file ends before it".to_owned()),
            Err(Stop::Damaged(why)) => Err(why),
            Err(Stop::Io(reason)) => return Err(OpenError::Io { file: file(), reason }),
        };
        header.map(|header| (blocks, header)).map_err(|why| OpenError::Header { file: file(), why })
    }

    /// The next block; none after the block that ends the recording.
    fn next(&mut self) -> Result<Option<Packed>, Stop> {
        if self.is_ended {
            return Ok(None);
        }
        let mut head = Vec::with_capacity(HEAD_BYTES);
        self.input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let Ok(head) = <[u8; HEAD_BYTES]>::try_from(head.as_slice()) else {
            return self.file_end(head.len());
        };
        let head = Head::read(&head);
        if head.body_bytes > BODY_MAX_BYTES {
            let why = format!("a block of {} bytes is announced; the most is {BODY_MAX_BYTES}", head.body_bytes);
            return Err(Stop::Damaged(why));
        }
        if head.unpacked_bytes > UNPACKED_MAX_BYTES {
            return Err(Stop::Damaged(format!(
                "a block that unpacks to {} bytes is announced; the most is {UNPACKED_MAX_BYTES}",
                head.unpacked_bytes
            )));
        }
        // Grows with what is there, not with what is announced.
        let mut body = Vec::new();
        self.input.by_ref().take(u64::from(head.body_bytes)).read_to_end(&mut body)?;
        if body.len() < head.body_bytes as usize {
            return self.file_end(HEAD_BYTES + body.len());
        }
        if head.crc_with(&body) != head.crc {
            return Err(Stop::Damaged("the check sum of a block is wrong".to_owned()));
        }
        let at_byte = self.at_byte;
        self.at_byte += (HEAD_BYTES + body.len()) as u64;
        self.is_ended = head.kind == Kind::End;
        Ok(Some(Packed { head, at_byte, body }))
    }

    fn file_end(&mut self, bytes: usize) -> Result<Option<Packed>, Stop> {
        self.input.seek(SeekFrom::Start(self.at_byte))?;
        Err(Stop::FileEnd(bytes as u64))
    }
}

/// A recording in memory.
#[derive(Debug)]
pub struct Recording {
    /// What it says of its run.
    pub header: Header,
    /// Its events, the newest [`EVENTS_KEPT`] at most. Where events are missing stands a [`Happening::Gap`].
    pub events: Vec<Arc<TraceEvent>>,
    /// How many events were read, also those that are not kept.
    pub read: u64,
    /// Events at the beginning that were read and are not kept in memory.
    pub forgotten: u64,
    /// Events of a kind this build does not know.
    pub unknown: u64,
    /// What the store held at the end.
    pub stored: Option<Stored>,
    /// What the run's report said.
    pub report: Option<RecordedReport>,
    /// How it ends.
    pub ending: Ending,
    /// Bytes that were read.
    pub bytes: u64,
}

impl Recording {
    /// Opens a recording and reads it up to its end, or to where it is damaged. Blocks while it reads.
    pub fn open(file: &Path) -> Result<Self, OpenError> {
        let opened = File::open(file).map_err(|reason| OpenError::Io { file: file.to_owned(), reason })?;
        Self::read(opened, file)
    }

    /// The same for what is no file; `name` is said in errors.
    pub fn read(input: impl Read + Seek, name: &Path) -> Result<Self, OpenError> {
        let mut reader = RecordingReader::new(input, name)?;
        let mut kept: VecDeque<Events> = VecDeque::new();
        let (mut read, mut forgotten, mut kept_bytes) = (0, 0, 0);
        while let Some(batch) = reader.next_batch()? {
            for block in batch {
                read += block.list.len() as u64;
                kept_bytes += block.bytes;
                kept.push_back(block);
                while kept.len() > 1 && (read - forgotten > EVENTS_KEPT || kept_bytes > BYTES_KEPT) {
                    let Some(oldest) = kept.pop_front() else { break };
                    forgotten += oldest.list.len() as u64;
                    kept_bytes -= oldest.bytes;
                }
            }
        }
        let mut events = Vec::with_capacity((read - forgotten) as usize + 1);
        let mut next_index = kept.front().map_or(0, |block| if forgotten > 0 { block.first_index } else { 0 });
        for block in kept {
            let at_us = block.list.first().map_or(0, |event| event.at_us);
            events.extend(gap(next_index, block.first_index, at_us));
            next_index = block.next_index;
            events.extend(block.list);
        }
        let RecordingReader { blocks, header, unknown, stored, index, report, ending, .. } = reader;
        let ending = ending.unwrap_or(Ending::Open { unfinished_bytes: 0 });
        if let Ending::Closed(end) = &ending {
            let at_us = events.last().map_or(0, |event: &Arc<TraceEvent>| event.at_us);
            events.extend(gap(next_index, end.next_index, at_us));
        }
        let end = if let Ending::Closed(end) = &ending { end.clone() } else { End::default() };
        Ok(Self {
            header,
            events,
            read,
            forgotten,
            unknown,
            stored: end.has_stored.then(|| Stored {
                index: end.has_index.then_some(index),
                notes: end.notes,
                ..merge(stored)
            }),
            report,
            ending,
            bytes: blocks.at_byte,
        })
    }

    /// Its events by message, user and conversation.
    pub fn history(&self) -> History {
        let mut history = History::of(&self.events);
        history.missed += self.forgotten + self.unknown;
        history
    }

    /// Checks the promises once more; none when the file does not say what the store held.
    pub fn audit(&self, history: &History) -> Option<Audit> {
        self.stored.as_ref().map(|stored| audit_history(history, stored))
    }

    /// The run as reports want it: what the run's own report said, and without one what follows from the events.
    pub fn run_report(&self, history: &History) -> RunReport {
        let recorded = self.report.clone().unwrap_or_else(|| {
            let mut audit = self.audit(history).unwrap_or_default();
            let mut environment_failed = None;
            if self.stored.is_none() {
                audit.notes.push("what the store held is not in the recording; no promise was checked".to_owned());
                environment_failed = Some("the recording has no report of the run".to_owned());
            }
            RecordedReport {
                scenario: self.header.title.clone().unwrap_or_else(|| "A run without a scenario".to_owned()),
                seed: self.header.seed.unwrap_or_default(),
                audit,
                environment_failed,
                took_us: history.end_us,
                ..RecordedReport::default()
            }
        });
        RunReport {
            scenario: recorded.scenario,
            file_name: recorded.file_name,
            backend: self.header.backend,
            backend_reason: self.header.backend_reason.clone(),
            seed: recorded.seed,
            steps: recorded.steps,
            latencies: Latencies::of_history(history),
            budgets: recorded.budgets,
            audit: recorded.audit,
            ledger: Ledger::of(&self.events, history),
            cost: recorded.cost,
            environment_failed: recorded.environment_failed,
            took_us: recorded.took_us,
            events: self.events.clone(),
        }
    }

    /// What to say before anything else of it: how it ends, what is missing; one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self.ending.sentence(self.read).into_iter().collect();
        if let Ending::Closed(End { missed: missed @ 1.., .. }) = self.ending {
            remarks.push(format!("{missed} events are missing: the writer could not keep up"));
        }
        if self.forgotten > 0 {
            let (forgotten, kept) = (self.forgotten, self.read - self.forgotten);
            remarks.push(format!("it is long: the first {forgotten} events were left out, {kept} are shown"));
        }
        if self.unknown > 0 {
            remarks.push(format!("{} events are of a kind this build does not know", self.unknown));
        }
        remarks
    }
}

/// What stands for events that are missing.
fn gap(next_index: u64, first_index: u64, at_us: u64) -> Option<Arc<TraceEvent>> {
    let missed = first_index.checked_sub(next_index).filter(|missed| *missed > 0)?;
    Some(Arc::new(TraceEvent { at_us, what: Happening::Gap { missed } }))
}

/// Puts the parts of each conversation together.
fn merge(parts: Vec<StoredConversation>) -> Stored {
    let mut stored = Stored::default();
    let mut places = HashMap::new();
    for part in parts {
        let place = *places.entry(part.conversation_id).or_insert(stored.conversations.len());
        match stored.conversations.get_mut(place) {
            Some(conversation) => conversation.messages.extend(part.messages),
            None => stored.conversations.push(part),
        }
    }
    stored
}

/// Reads a recording piece by piece, also while it is written.
pub struct RecordingReader<R> {
    blocks: Blocks<R>,
    name: PathBuf,
    header: Header,
    threads: usize,
    next_index: u64,
    unknown: u64,
    stored: Vec<StoredConversation>,
    index: HashMap<MessageId, Indexed>,
    report: Option<RecordedReport>,
    ending: Option<Ending>,
}

impl RecordingReader<File> {
    /// Opens a file.
    pub fn open(file: &Path) -> Result<Self, OpenError> {
        let opened = File::open(file).map_err(|reason| OpenError::Io { file: file.to_owned(), reason })?;
        Self::new(opened, file)
    }
}

impl<R: Read + Seek> RecordingReader<R> {
    fn new(input: R, name: &Path) -> Result<Self, OpenError> {
        let (blocks, header) = Blocks::open(input, name)?;
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
        Ok(Self {
            blocks,
            name: name.to_owned(),
            header,
            threads,
            next_index: 0,
            unknown: 0,
            stored: Vec::new(),
            index: HashMap::new(),
            report: None,
            ending: None,
        })
    }

    /// What the recording says of its run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How it ends, as far as is known: at the end of the file `Open`, and then asking for events again may give
    /// some.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// What the run's report said, where the file has been read that far.
    pub fn report(&self) -> Option<&RecordedReport> {
        self.report.as_ref()
    }

    /// The next events; where some are missing with a gap in front. None at the end of what is there.
    pub fn next_events(&mut self) -> Result<Option<Vec<Arc<TraceEvent>>>, OpenError> {
        let Some(batch) = self.next_batch()? else { return Ok(None) };
        let mut events = Vec::new();
        for block in batch {
            let at_us = block.list.first().map_or(0, |event| event.at_us);
            events.extend(gap(self.next_index, block.first_index, at_us));
            self.next_index = block.next_index;
            events.extend(block.list);
        }
        Ok(Some(events))
    }

    /// The events of the next blocks, unpacked side by side.
    fn next_batch(&mut self) -> Result<Option<Vec<Events>>, OpenError> {
        if matches!(self.ending, Some(Ending::Closed(_) | Ending::Damaged { .. })) {
            return Ok(None);
        }
        self.ending = None;
        let mut packed = Vec::new();
        while packed.len() < self.threads && self.ending.is_none() {
            match self.blocks.next() {
                Ok(Some(block)) if block.head.kind == Kind::Events => packed.push(block),
                Ok(Some(block)) => self.take(&block),
                Ok(None) => break,
                Err(Stop::FileEnd(unfinished_bytes)) => self.ending = Some(Ending::Open { unfinished_bytes }),
                Err(Stop::Damaged(why)) => {
                    self.ending = Some(Ending::Damaged { at_byte: self.blocks.at_byte, why });
                }
                Err(Stop::Io(reason)) => return Err(OpenError::Io { file: self.name.clone(), reason }),
            }
        }
        if packed.is_empty() {
            return Ok(None);
        }
        let mut batch = Vec::with_capacity(packed.len());
        for (block, events) in packed.iter().zip(unpack(&packed)) {
            match events {
                Ok(events) => {
                    self.unknown += events.unknown;
                    batch.push(events);
                }
                Err(why) => {
                    self.ending = Some(Ending::Damaged { at_byte: block.at_byte, why });
                    break;
                }
            }
        }
        Ok(Some(batch))
    }

    /// Takes a block that holds no events.
    fn take(&mut self, block: &Packed) {
        let taken = match block.head.kind {
            Kind::Stored => block.unpack().and_then(|bytes| {
                for line in lines(&bytes) {
                    self.stored.push(serde_json::from_slice(line).map_err(|error| error.to_string())?);
                }
                Ok(())
            }),
            Kind::Index => block.unpack().and_then(|bytes| {
                for line in lines(&bytes) {
                    let IndexLine { message_id, indexed } =
                        serde_json::from_slice(line).map_err(|error| error.to_string())?;
                    self.index.insert(message_id, indexed);
                }
                Ok(())
            }),
            // What another build says in another form is no damage: the report can be made from the rest.
            Kind::Report => {
                self.report = block.object().ok();
                Ok(())
            }
            Kind::End => block.object().map(|end| self.ending = Some(Ending::Closed(end))),
            Kind::Header | Kind::Events | Kind::Unknown(_) => Ok(()),
        };
        if let Err(why) = taken {
            self.ending = Some(Ending::Damaged { at_byte: block.at_byte, why });
        }
    }
}

/// Unpacks blocks, each on a thread of its own.
fn unpack(packed: &[Packed]) -> Vec<Result<Events, String>> {
    let Some((first, others)) = packed.split_first() else { return Vec::new() };
    std::thread::scope(|scope| {
        let spawned: Vec<_> = others
            .iter()
            .map(|block| {
                let thread = std::thread::Builder::new().name("recording-reader".to_owned());
                (block, thread.spawn_scoped(scope, || block.events()))
            })
            .collect();
        let mut unpacked = vec![first.events()];
        for (block, thread) in spawned {
            unpacked.push(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err("it could not be unpacked".to_owned())),
                // No more threads are to be had: this one does it.
                Err(_) => block.events(),
            });
        }
        unpacked
    })
}
