//! Writes a recording while its run goes.
//!
//! The writer is one more reader of the run's [`Recorder`]: a thread of its own asks it twice a second for what
//! is new, packs it and hands it to the operating system. The run never waits for it. The queue between the two
//! is the recorder's own list, which is bounded; what falls out of it before the writer comes is counted and
//! stands in the file as missing.
//!
//! What was handed to the operating system survives `kill -9`; the file is synced to the disk when it is closed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_protocol::Timestamp;
use ackscope_protocol::control::BackendKind;
use ackscope_protocol::trace::TRACE_VERSION;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::format::{End, EventLine, Header, IndexLine, Kind, Lines, RecordedReport, write_prologue};
use crate::audit::{Stored, StoredConversation};
use crate::recorder::Recorder;
use crate::scenario::outcome::RunReport;

/// How often what is new is written.
const WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// Most events of a block: so many are lost where a block is damaged, and so many are unpacked at a time.
const BLOCK_EVENTS: u32 = 8_192;
/// A block is written when its lines have this many bytes.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// Events taken from the recorder in one go: what records waits for as long.
const TAKE_MAX: usize = 1_024;
/// Messages of one conversation in one line.
const STORED_LINE_MESSAGES: usize = 500;
/// What the end of a run may still tell the writer.
const ORDERS_MAX: usize = 8;
/// How long closing may take; a disk that hangs must not keep the program.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// Where a run is recorded to, and as what.
#[derive(Clone, Debug, Default)]
pub struct RecordOptions {
    /// The file. One that is there is replaced.
    pub file: PathBuf,
    /// The scenario's name, or what else is run.
    pub title: Option<String>,
    /// What is left to chance follows from this number.
    pub seed: Option<u64>,
    /// The recording is closed when the file has so many bytes.
    pub bytes_max: Option<u64>,
}

impl RecordOptions {
    /// Everything into one file.
    pub fn to(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
}

/// Why a recording cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the recording {} cannot be written: {reason}", file.display())]
pub struct WriteError {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub reason: io::Error,
}

/// A file that will be a recording: whether it can be written is known before the run starts.
#[derive(Debug)]
pub struct RecordingFile {
    file: File,
    options: RecordOptions,
}

impl RecordingFile {
    /// Makes the file, readable by this user alone: a recording holds what people wrote.
    pub fn create(options: RecordOptions) -> Result<Self, WriteError> {
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
        match open.open(&options.file) {
            Ok(file) => Ok(Self { file, options }),
            Err(reason) => Err(WriteError { file: options.file, reason }),
        }
    }

    /// Starts recording everything of this run, from its first event on. The head of the file is written before
    /// this returns.
    pub fn start(
        self,
        recorder: Recorder,
        backend: BackendKind,
        backend_reason: &str,
    ) -> Result<RecordingWriter, WriteError> {
        let Self { mut file, options } = self;
        let failed = |reason| WriteError { file: options.file.clone(), reason };
        let header = Header {
            ackscope_version: env!("CARGO_PKG_VERSION").to_owned(),
            trace_version: TRACE_VERSION,
            run_id: recorder.run_id(),
            started_at: wall_clock_at(recorder.started_at()),
            backend,
            backend_reason: backend_reason.to_owned(),
            seed: options.seed,
            title: options.title.clone(),
        };
        let bytes = begin(&mut file, &header).map_err(failed)?;
        let (orders, order_queue) = sync_channel(ORDERS_MAX);
        let closed = watch::Sender::new(false);
        let shared = Arc::new(Shared { missed: AtomicU64::new(0), failure: Mutex::new(None), closed });
        let writing = Writing {
            out: file,
            bytes,
            bytes_max: options.bytes_max.unwrap_or(u64::MAX),
            recorder,
            next_index: 0,
            lines: Lines::default(),
            end: End::default(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("recording".to_owned());
        thread.spawn(move || writing.run(&order_queue)).map_err(failed)?;
        Ok(RecordingWriter { file: options.file, orders, shared })
    }
}

/// Writes prologue and header; how many bytes these are.
fn begin(file: &mut File, header: &Header) -> io::Result<u64> {
    let mut bytes = Vec::new();
    write_prologue(&mut bytes)?;
    let mut lines = Lines::default();
    lines.add(header)?;
    bytes.extend(lines.pack(Kind::Header, 0)?);
    file.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

/// The wall clock at an instant that has passed.
fn wall_clock_at(at: Instant) -> Timestamp {
    let ago_ms = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
    // A clock that nobody advanced tells the wall clock.
    Timestamp::from_millis(Clock::default().now().as_millis().saturating_sub(ago_ms))
}

#[derive(Debug)]
struct Shared {
    missed: AtomicU64,
    failure: Mutex<Option<io::Error>>,
    closed: watch::Sender<bool>,
}

enum Order {
    Stored(Stored),
    Report(Box<RecordedReport>),
    Close,
}

/// A recording that is being written. Dropping it closes the file in the background.
#[derive(Debug)]
pub struct RecordingWriter {
    file: PathBuf,
    orders: SyncSender<Order>,
    shared: Arc<Shared>,
}

impl RecordingWriter {
    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Adds what the store held at the end, so that the run can be audited again without it.
    pub fn stored(&self, stored: Stored) {
        self.order(Order::Stored(stored));
    }

    /// Adds what the run's report holds beyond its events.
    pub fn report(&self, report: &RunReport) {
        self.order(Order::Report(Box::new(RecordedReport::of(report))));
    }

    fn order(&self, order: Order) {
        // Full or gone: the writer hangs or has failed, and says that by itself.
        if self.orders.try_send(order).is_err() {
            tracing::debug!("the writer of the recording takes no orders");
        }
    }

    /// Events that are not in the file so far, although they happened.
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// Writes what is left and closes the file. Doing it again only tells the outcome of the first time, without
    /// the reason.
    pub fn close(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            self.order(Order::Close);
            let mut closed = self.shared.closed.subscribe();
            let waited = tokio::time::timeout(CLOSE_LIMIT, closed.wait_for(|closed| *closed)).await;
            if !matches!(waited, Ok(Ok(_))) {
                return Err(self.error(io::ErrorKind::TimedOut.into()));
            }
            let failure = self.shared.failure.lock().take();
            failure.map_or(Ok(()), |reason| Err(self.error(reason)))
        })
    }

    fn error(&self, reason: io::Error) -> WriteError {
        WriteError { file: self.file.clone(), reason }
    }
}

/// What the thread has.
struct Writing {
    out: File,
    bytes: u64,
    bytes_max: u64,
    recorder: Recorder,
    next_index: u64,
    lines: Lines,
    end: End,
    shared: Arc<Shared>,
}

impl Writing {
    fn run(mut self, orders: &Receiver<Order>) {
        if let Err(reason) = self.write(orders) {
            tracing::error!(%reason, "the recording cannot be written any further");
            *self.shared.failure.lock() = Some(reason);
        }
        self.shared.closed.send_replace(true);
    }

    fn write(&mut self, orders: &Receiver<Order>) -> io::Result<()> {
        let mut next_write = Instant::now() + WRITE_INTERVAL;
        loop {
            let order = match orders.recv_timeout(next_write.saturating_duration_since(Instant::now())) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Order::Close),
            };
            self.take_events()?;
            next_write = Instant::now() + WRITE_INTERVAL;
            match order {
                _ if self.end.stopped.is_some() => return self.close(),
                None => {}
                Some(Order::Stored(stored)) => {
                    self.take_stored(&stored)?;
                    self.end.has_stored = true;
                }
                Some(Order::Report(report)) => {
                    // One that is too large is left out, and nothing is written: it can be made from the rest.
                    self.lines.add(&*report)?;
                    self.flush(Kind::Report, 0)?;
                }
                Some(Order::Close) => return self.close(),
            }
        }
    }

    /// Writes everything that was recorded up to now.
    fn take_events(&mut self) -> io::Result<()> {
        let until = self.recorder.next_index();
        let mut first_index = self.next_index;
        while self.next_index < until && self.end.stopped.is_none() {
            let batch = self.recorder.read_from(self.next_index, TAKE_MAX);
            if batch.first_index > self.next_index {
                // The block after the gap begins at a higher index than the one before it ended.
                self.flush(Kind::Events, first_index)?;
                self.miss(batch.first_index - self.next_index);
                self.next_index = batch.first_index;
                first_index = self.next_index;
            }
            for event in &batch.events {
                if !self.lines.add(&EventLine::of(event))? {
                    self.flush(Kind::Events, first_index)?;
                    self.miss(1);
                    first_index = self.next_index + 1;
                }
                self.next_index += 1;
                if self.lines.lines() >= BLOCK_EVENTS || self.lines.bytes() >= BLOCK_BYTES {
                    self.flush(Kind::Events, first_index)?;
                    first_index = self.next_index;
                }
            }
        }
        self.flush(Kind::Events, first_index)
    }

    fn miss(&mut self, events: u64) {
        self.end.missed += events;
        self.shared.missed.fetch_add(events, Ordering::Relaxed);
    }

    fn take_stored(&mut self, stored: &Stored) -> io::Result<()> {
        for conversation in &stored.conversations {
            let mut parts = conversation.messages.chunks(STORED_LINE_MESSAGES);
            // One without messages has a line as well.
            let mut part = Some(parts.next().unwrap_or_default());
            while let Some(messages) = part {
                self.lines.add(&StoredConversation {
                    conversation_id: conversation.conversation_id,
                    version: conversation.version,
                    participants: conversation.participants.clone(),
                    cached: conversation.cached.clone(),
                    messages: messages.to_vec(),
                })?;
                if self.lines.bytes() >= BLOCK_BYTES {
                    self.flush(Kind::Stored, 0)?;
                }
                part = parts.next();
            }
        }
        self.flush(Kind::Stored, 0)?;
        self.end.notes.clone_from(&stored.notes);
        let Some(index) = &stored.index else { return Ok(()) };
        for (message_id, indexed) in index {
            self.lines.add(&IndexLine { message_id: *message_id, indexed: indexed.clone() })?;
            if self.lines.bytes() >= BLOCK_BYTES {
                self.flush(Kind::Index, 0)?;
            }
        }
        self.end.has_index = true;
        self.flush(Kind::Index, 0)
    }

    /// Writes the lines as a block, if there are any.
    fn flush(&mut self, kind: Kind, first_index: u64) -> io::Result<()> {
        if self.lines.lines() == 0 {
            return Ok(());
        }
        let block = self.lines.pack(kind, first_index)?;
        self.out.write_all(&block)?;
        self.bytes += block.len() as u64;
        if self.bytes >= self.bytes_max && self.end.stopped.is_none() {
            self.end.stopped = Some(format!("the recording had reached its limit of {} bytes", self.bytes_max));
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.end.next_index = self.next_index;
        let end = self.end.clone();
        self.lines.add(&end)?;
        self.flush(Kind::End, 0)?;
        self.out.sync_all()
    }
}
