//! One SQLite file for everything the embedded backend keeps (S2): one thread writes, a few threads read.
//!
//! Writes are jobs on a bounded queue. The writer takes what is waiting, runs every job in a savepoint of one
//! transaction and commits once for all of them (group commit), so that a thousand small writes a second cost
//! a few hundred commits. A job that fails is rolled back alone; a commit that fails fails every job in it.
//! Readers have connections of their own and, in WAL mode, never wait for the writer.
//!
//! **Invariant:** this module knows no table but those of the schema list; it knows neither records nor
//! messages.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

/// Stands in the header of every file of ours: "ACKS". A file with another number belongs to another program.
pub const APPLICATION_ID: i32 = 0x4143_4b53;

/// One list of statements for each schema version, from version 1 on. Only ever appended to: files that were
/// written by an earlier release are brought up to date by the lists they have not seen yet.
const SCHEMA: &[&[&str]] = &[
    &[crate::log::embedded::SCHEMA_V1, crate::repositories::embedded::SCHEMA_V1],
    &[crate::repositories::embedded::SCHEMA_V2],
];

/// Most jobs in one transaction. More would only delay the first one's answer.
const BATCH_MAX_JOBS: usize = 512;
/// A batch takes no further job after this long, so that large bulks do not hold up a message's acknowledgment.
const BATCH_MAX: Duration = Duration::from_millis(5);
/// WAL pages (of 4 KiB) from which the checkpoint thread starts to move them into the main file.
const CHECKPOINT_PAGES: i32 = 1_000;
/// WAL pages from which the writer checkpoints itself: under a load that never pauses, the checkpoint thread
/// alone never gets to the end of the WAL, and then it would grow without limit.
const CHECKPOINT_BY_WRITER_PAGES: i32 = 16_000;
/// How long the writer waits for the checkpoint thread then.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long closing waits for the threads before it gives up on them.
const CLOSE_MAX: Duration = Duration::from_secs(30);
/// How long a connection waits for a lock of another one. The connections of one file hardly ever contend.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept for each connection; more than there are different statements.
const STATEMENTS_KEPT: usize = 128;

/// What survives what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Everything that was answered survives the end of the process, `kill -9` included. A power failure or a
    /// crash of the operating system may take the last moments; the file stays consistent.
    #[default]
    ProcessCrash,
    /// Everything that was answered survives a power failure too. Every commit waits for the disk, which
    /// costs milliseconds.
    PowerLoss,
}

/// Settings of an [`EmbeddedFile`].
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// What survives what.
    pub durability: Durability,
    /// Write jobs that may wait; further ones are refused at once, as overload.
    pub write_queue: usize,
    /// Read jobs that may wait; further ones are refused at once, as overload.
    pub read_queue: usize,
    /// Reading threads, each with a connection of its own; at least 1.
    pub readers: usize,
    /// How long a caller waits for a read or a write. A write that was given up on may still happen.
    pub request_timeout: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            write_queue: 8_192,
            read_queue: 1_024,
            readers: 2,
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a file could not be opened, or a part of the backend not be made from it.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process (or this one) has it open.
    #[error("{} is in use by another Ackscope", .0.display())]
    InUse(PathBuf),
    /// It is not a file of ours; nothing was changed in it.
    #[error("{} is not an Ackscope data file: {reason}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// A newer release wrote it; nothing was changed in it.
    #[error("{} has schema version {found}, this release knows up to {known}: open it with a newer Ackscope", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The newest version this release knows.
        known: i32,
    },
    /// The log in the file has another number of partitions; it is fixed for the life of a log.
    #[error("the log has {found} partitions, not {asked}: their number is fixed when the file is made")]
    Partitions {
        /// How many it has.
        found: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// The file's log was made before and is still in use.
    #[error("the log of this file is already open")]
    LogInUse,
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// The operating system or SQLite refused.
    #[error("cannot open {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was said.
        reason: String,
    },
}

/// Why a job on the file was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// The queue is full; nothing was done.
    #[error("the queue of the data file is full")]
    QueueFull,
    /// The file is closed; nothing was done.
    #[error("the data file is closed")]
    Closed,
    /// No answer in time; whether it was done is not known.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// SQLite refused; nothing was written.
    #[error("{0}")]
    Failed(String),
    /// The disk refused to confirm what was written; whether it is there is not known.
    #[error("{0}")]
    InDoubt(String),
}

impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The job's own work failed and is to be rolled back; the job keeps the reason.
pub(crate) struct RolledBack;

/// Jobs that a job wants to be run some time after it.
pub(crate) type FollowUps = VecDeque<Box<dyn WriteJob>>;

/// A unit of work for the writer thread.
///
/// A job must not hold an [`EmbeddedFile`]: the writer would then close the file it is writing to.
pub(crate) trait WriteJob: Send {
    /// Does the work, inside a savepoint.
    fn run(&mut self, connection: &Connection) -> Result<(), RolledBack>;

    /// Called when the work is committed, before any job of the transaction answers.
    fn committed(&mut self, _follow_ups: &mut FollowUps) {}

    /// Tells whoever waits. `Err`: the transaction failed. `Ok` also for a job that rolled itself back.
    fn answer(self: Box<Self>, transaction: Result<(), FileError>);
}

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

struct Queues {
    writes: SyncSender<Box<dyn WriteJob>>,
    reads: SyncSender<ReadJob>,
}

/// The file, open. Dropping the last handle finishes what is queued, moves the WAL into the main file and ends
/// the threads; this takes a few milliseconds and blocks the thread that drops it.
pub struct EmbeddedFile {
    path: PathBuf,
    options: EmbeddedOptions,
    /// `None` only while closing.
    queues: Option<Queues>,
    readers: Mutex<Vec<Thread>>,
    writers: Mutex<Vec<Thread>>,
    /// Set while a log is open on this file.
    log_in_use: Arc<AtomicBool>,
    /// Holds the lock; the operating system releases it with the last handle, also after `kill -9`.
    _lock: File,
}

impl EmbeddedFile {
    /// Opens the file, or makes it. Blocks for as long as the disk takes.
    pub fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Arc<Self>, EmbeddedError> {
        let path = path.as_ref().to_path_buf();
        let io = |error: &dyn std::fmt::Display| EmbeddedError::Io { path: path.clone(), reason: error.to_string() };
        let lock = lock(&path)?;

        let mut connection = Connection::open(&path).map_err(|error| io(&error))?;
        check_or_create(&path, &mut connection)?;
        prepare_connection(&connection).map_err(|error| io(&error))?;
        prepare_writer(&connection, options.durability).map_err(|error| io(&error))?;

        let (write_sender, writes) = sync_channel(options.write_queue.max(1));
        let (read_sender, reads) = sync_channel(options.read_queue.max(1));
        // One waiting request stands for all of them.
        let (checkpoint_sender, checkpoints) = sync_channel(1);

        let wal_pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&wal_pages);
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
                seen.store(pages, Ordering::Relaxed);
                Ok(())
            }))
            .map_err(|error| io(&error))?;

        let mut readers = Vec::new();
        let reads = Arc::new(Mutex::new(reads));
        for index in 0..options.readers.max(1) {
            let reader = open_reader(&path).map_err(|error| io(&error))?;
            let reads = Arc::clone(&reads);
            let name = format!("embedded-read-{index}");
            readers.push(spawn(&name, move || read_loop(&reader, &reads)).map_err(|error| io(&error))?);
        }
        let checkpointer = Connection::open(&path).map_err(|error| io(&error))?;
        prepare_connection(&checkpointer).map_err(|error| io(&error))?;
        let checkpoint_turn = Arc::new(Mutex::new(()));
        let turn = Arc::clone(&checkpoint_turn);
        let checkpointer = spawn("embedded-chkpt", move || checkpoint_loop(&checkpointer, &checkpoints, &turn))
            .map_err(|error| io(&error))?;
        // The checkpoint thread ends with the writer, which holds the other end of its queue.
        let writer = Writer {
            connection,
            wal_pages,
            checkpoints: checkpoint_sender,
            checkpoint_turn,
            follow_ups: VecDeque::new(),
        };
        let writer = spawn("embedded-write", move || writer.run(&writes)).map_err(|error| io(&error))?;

        Ok(Arc::new(Self {
            path,
            options,
            queues: Some(Queues { writes: write_sender, reads: read_sender }),
            readers: Mutex::new(readers),
            writers: Mutex::new(vec![writer, checkpointer]),
            log_in_use: Arc::new(AtomicBool::new(false)),
            _lock: lock,
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long a caller waits for a read or a write.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.options.request_timeout
    }

    /// Set while a log is open on this file.
    pub(crate) fn log_in_use(&self) -> &Arc<AtomicBool> {
        &self.log_in_use
    }

    /// Queues a job for the writer, without waiting. Jobs are run in the order of these calls.
    pub(crate) fn submit(&self, job: Box<dyn WriteJob>) -> Result<(), FileError> {
        let queues = self.queues.as_ref().ok_or(FileError::Closed)?;
        queues.writes.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => FileError::QueueFull,
            TrySendError::Disconnected(_) => FileError::Closed,
        })
    }

    /// Does `work` on the writer thread, in a transaction of its own meaning: either all of it is there or
    /// nothing.
    pub(crate) async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<FileError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.submit(Box::new(Work { closure: Some(work), result: None, answer }))?;
        let limit = self.options.request_timeout;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(FileError::Closed.into()),
            Err(_) => Err(FileError::TimedOut(limit).into()),
        }
    }

    /// As [`Self::write`], but blocks the calling thread: for making the parts of the backend at the start.
    pub(crate) fn write_blocking<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<FileError> + Send + 'static,
    {
        let (answer, answered) = sync_channel(1);
        let answer = BlockingAnswer(answer);
        self.submit(Box::new(Work { closure: Some(work), result: None, answer }))?;
        let limit = self.options.request_timeout;
        answered.recv_timeout(limit).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(FileError::TimedOut(limit).into()),
            RecvTimeoutError::Disconnected => Err(FileError::Closed.into()),
        })
    }

    /// Does `query` on a reading thread. It sees everything that was answered before.
    pub(crate) async fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<FileError> + Send + 'static,
    {
        let queues = self.queues.as_ref().ok_or(FileError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            // Nobody waits any more: the time is better spent on the next one.
            if !answer.is_closed() {
                let (Ok(()) | Err(_)) = answer.send(query(connection));
            }
        });
        queues.reads.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => FileError::QueueFull,
            TrySendError::Disconnected(_) => FileError::Closed,
        })?;
        let limit = self.options.request_timeout;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(FileError::Closed.into()),
            Err(_) => Err(FileError::TimedOut(limit).into()),
        }
    }
}

impl Drop for EmbeddedFile {
    fn drop(&mut self) {
        let deadline = Instant::now() + CLOSE_MAX;
        let Some(Queues { writes, reads }) = self.queues.take() else { return };
        // Every thread ends when its queue does. Readers go first: only a connection that may write can remove
        // the WAL, and only the last one does.
        drop(reads);
        let readers_ended = wait_for(self.readers.get_mut(), deadline);
        drop(writes);
        if !(wait_for(self.writers.get_mut(), deadline) && readers_ended) {
            tracing::warn!(path = %self.path.display(), "the data file's threads did not end in time");
        }
    }
}

/// Whether all of them ended in time.
fn wait_for(threads: &mut Vec<Thread>, deadline: Instant) -> bool {
    threads.drain(..).all(|thread| {
        // A thread cannot wait for its own end.
        if thread.id == thread::current().id() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        thread.ended.recv_timeout(left) != Err(RecvTimeoutError::Timeout)
    })
}

impl std::fmt::Debug for EmbeddedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

// ---- opening --------------------------------------------------------------------------------------------

/// Takes the lock that keeps a second process out. A file beside the data file, because SQLite's own locks are
/// on the data file and would go away with any handle to it. It stays behind: removing it would be a race.
fn lock(path: &Path) -> Result<File, EmbeddedError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let io = |error: std::io::Error| EmbeddedError::Io { path: path.to_path_buf(), reason: error.to_string() };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse(path.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Refuses what is not ours, makes the tables of a new file and brings an older one up to date. Changes nothing
/// before it knows whose file it is.
fn check_or_create(path: &Path, connection: &mut Connection) -> Result<(), EmbeddedError> {
    let refuse = |reason: &str| EmbeddedError::NotOurs { path: path.to_path_buf(), reason: reason.to_owned() };
    let other = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refuse("it is not an SQLite file"),
        _ => EmbeddedError::Io { path: path.to_path_buf(), reason: error.to_string() },
    };
    connection.busy_timeout(BUSY_TIMEOUT).map_err(other)?;
    let number = |connection: &Connection, sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application_id = number(connection, "PRAGMA application_id").map_err(other)?;
    let found = number(connection, "PRAGMA user_version").map_err(other)?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").map_err(other)?;
    let known = i32::try_from(SCHEMA.len()).unwrap_or(i32::MAX);

    let is_new = application_id == 0 && found == 0 && tables == 0;
    if !is_new && application_id != APPLICATION_ID {
        return Err(refuse("it is the SQLite file of another program"));
    }
    if found > known {
        return Err(EmbeddedError::TooNew { path: path.to_path_buf(), found, known });
    }
    if found < 0 {
        return Err(refuse("its schema version is negative"));
    }
    if found == known {
        return Ok(());
    }
    // All or nothing: a process that dies in between leaves the file as it was.
    let transaction = connection.transaction().map_err(other)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(other)?;
    for statements in SCHEMA.iter().skip(usize::try_from(found).unwrap_or(0)) {
        for statement in *statements {
            transaction.execute_batch(statement).map_err(other)?;
        }
    }
    transaction.pragma_update(None, "user_version", known).map_err(other)?;
    transaction.commit().map_err(other)
}

fn prepare_connection(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "cache_size", -16_384)
}

fn prepare_writer(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // NORMAL: a commit is handed to the operating system and not waited for. What is handed over survives the
    // end of the process, however sudden; a power failure may take the commits since the last checkpoint, and
    // the WAL's checksums then cut the file back to a moment that was consistent. FULL waits for the disk.
    let synchronous = match durability {
        Durability::ProcessCrash => "NORMAL",
        Durability::PowerLoss => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Checkpoints wait for the disk, so they are made on a thread of their own (see `checkpoint_loop`).
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare_connection(&connection)?;
    Ok(connection)
}

/// A thread of the file.
struct Thread {
    id: thread::ThreadId,
    /// Disconnected when the thread has ended, even by a panic.
    ended: Receiver<()>,
}

/// Starts a named thread.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    let (alive, ended) = sync_channel::<()>(1);
    let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _alive = alive;
        work();
    })?;
    Ok(Thread { id: handle.thread().id(), ended })
}

// ---- the threads ----------------------------------------------------------------------------------------

fn read_loop(connection: &Connection, jobs: &Mutex<Receiver<ReadJob>>) {
    loop {
        // One reader waits for the next job, the others for the lock.
        let job = jobs.lock().recv();
        match job {
            Ok(job) => job(connection),
            Err(_) => return,
        }
    }
}

fn checkpoint_loop(connection: &Connection, requests: &Receiver<()>, turn: &Mutex<()>) {
    while requests.recv().is_ok() {
        let _turn = turn.lock();
        checkpoint(connection, "PASSIVE");
    }
}

/// Moves what it can from the WAL into the main file. Failing does no harm: the WAL is part of the data, and
/// the next one goes on.
fn checkpoint(connection: &Connection, mode: &str) {
    let outcome = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    if let Err(error) = outcome {
        tracing::warn!(%error, "checkpoint of the data file failed; it is tried again");
    }
}

struct Writer {
    connection: Connection,
    /// Pages in the WAL after the last commit.
    wal_pages: Arc<AtomicI32>,
    checkpoints: SyncSender<()>,
    /// Held by whoever makes a checkpoint.
    checkpoint_turn: Arc<Mutex<()>>,
    /// Run one at a time behind the jobs of callers.
    follow_ups: FollowUps,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Box<dyn WriteJob>>) {
        loop {
            let first = if self.follow_ups.is_empty() {
                jobs.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                jobs.try_recv()
            };
            match first {
                Ok(job) => self.batch(Some(job), jobs),
                Err(TryRecvError::Empty) => self.batch(None, jobs),
                // Follow-ups are housekeeping, which the next start makes up for.
                Err(TryRecvError::Disconnected) => break,
            }
            self.keep_wal_small();
        }
        checkpoint(&self.connection, "TRUNCATE");
    }

    /// Runs what is waiting in one transaction, then one follow-up in it.
    fn batch(&mut self, first: Option<Box<dyn WriteJob>>, jobs: &Receiver<Box<dyn WriteJob>>) {
        let started = Instant::now();
        let mut done: Vec<(Box<dyn WriteJob>, bool)> = Vec::new();
        let mut next = first;
        let mut transaction = self.execute("BEGIN IMMEDIATE").map_err(FileError::from);
        loop {
            let (job, is_follow_up) = match next.take() {
                Some(job) => (Some(job), false),
                None if done.len() < BATCH_MAX_JOBS && started.elapsed() < BATCH_MAX => match jobs.try_recv() {
                    Ok(job) => (Some(job), false),
                    Err(_) => (self.follow_ups.pop_front(), true),
                },
                None => (self.follow_ups.pop_front(), true),
            };
            let Some(mut job) = job else { break };
            let kept = if transaction.is_ok() {
                let outcome = self.in_savepoint(&mut *job);
                outcome.unwrap_or_else(|error| {
                    transaction = Err(error);
                    false
                })
            } else {
                false
            };
            done.push((job, kept));
            if is_follow_up || transaction.is_err() {
                break;
            }
        }
        if transaction.is_ok() {
            transaction = self.execute("COMMIT").map_err(|error| commit_error(&error));
        }
        if let Err(error) = &transaction {
            tracing::warn!(%error, jobs = done.len(), "a transaction on the data file failed");
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                tracing::warn!(%error, "rolling it back failed");
            }
        }
        // Everything is made visible before anybody is told, so that whoever is told first finds all of it.
        if transaction.is_ok() {
            for (job, kept) in &mut done {
                if *kept {
                    job.committed(&mut self.follow_ups);
                }
            }
        }
        for (job, _) in done {
            job.answer(transaction.clone());
        }
    }

    /// Whether the job's work is kept. `Err`: the whole transaction is lost.
    fn in_savepoint(&self, job: &mut dyn WriteJob) -> Result<bool, FileError> {
        self.execute("SAVEPOINT job")?;
        let kept = job.run(&self.connection).is_ok();
        // A full disk and the like end the transaction behind our back, and with it the work of earlier jobs.
        if self.connection.is_autocommit() {
            return Err(FileError::Failed("the transaction was ended by a failure of the disk".into()));
        }
        if !kept {
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")?;
        Ok(kept)
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn keep_wal_small(&self) {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if pages >= CHECKPOINT_BY_WRITER_PAGES {
            // Waiting for the checkpoint thread slows the callers down; that is what this limit is for. SQLite
            // itself does not wait for another connection's checkpoint but gives up.
            let _turn = self.checkpoint_turn.try_lock_for(CHECKPOINT_WAIT_MAX);
            checkpoint(&self.connection, "PASSIVE");
            self.wal_pages.store(0, Ordering::Relaxed);
        } else if pages >= CHECKPOINT_PAGES {
            // Full: one is waiting already. Disconnected: the file is being closed.
            let (Ok(()) | Err(_)) = self.checkpoints.try_send(());
        }
    }
}

/// A commit that could not be forced to the disk may still be found there after a power failure.
fn commit_error(error: &rusqlite::Error) -> FileError {
    let in_doubt = error.sqlite_error().is_some_and(|e| {
        matches!(e.extended_code, rusqlite::ffi::SQLITE_IOERR_FSYNC | rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC)
    });
    if in_doubt { FileError::InDoubt(error.to_string()) } else { FileError::Failed(error.to_string()) }
}

// ---- a closure as a job ---------------------------------------------------------------------------------

trait Answer<R>: Send {
    fn give(self, result: R);
}

impl<R: Send> Answer<R> for oneshot::Sender<R> {
    fn give(self, result: R) {
        // Nobody waits any more: the work is done all the same.
        let (Ok(()) | Err(_)) = self.send(result);
    }
}

struct BlockingAnswer<R>(SyncSender<R>);

impl<R: Send> Answer<R> for BlockingAnswer<R> {
    fn give(self, result: R) {
        // The channel has room for the one answer; see above for the rest.
        let (Ok(()) | Err(_)) = self.0.try_send(result);
    }
}

struct Work<F, T, E, A> {
    /// Taken when it is run.
    closure: Option<F>,
    result: Option<Result<T, E>>,
    answer: A,
}

impl<F, T, E, A> WriteJob for Work<F, T, E, A>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: From<FileError> + Send,
    A: Answer<Result<T, E>>,
{
    fn run(&mut self, connection: &Connection) -> Result<(), RolledBack> {
        let Some(work) = self.closure.take() else { return Err(RolledBack) };
        let result = work(connection);
        let outcome = result.as_ref().map(|_| ()).map_err(|_| RolledBack);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, transaction: Result<(), FileError>) {
        let result = match (transaction, self.result) {
            (Ok(()), Some(result)) => result,
            // Its own reason says more than that of the transaction.
            (Err(_), Some(Err(error))) => Err(error),
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => Err(FileError::Closed.into()),
        };
        self.answer.give(result);
    }
}

/// Help for the tests of what is built on the file.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Keeps the writer busy until it is dropped, so that whatever is queued meanwhile becomes one batch.
    pub(crate) struct Busy {
        _release: SyncSender<()>,
    }

    impl Busy {
        pub(crate) fn new(file: &EmbeddedFile) -> Self {
            let (release, released) = sync_channel(1);
            let (begin, begun) = sync_channel(1);
            file.submit(Box::new(Hold { begin, released })).unwrap();
            begun.recv().unwrap();
            Self { _release: release }
        }
    }

    struct Hold {
        begin: SyncSender<()>,
        released: Receiver<()>,
    }

    impl WriteJob for Hold {
        fn run(&mut self, _connection: &Connection) -> Result<(), RolledBack> {
            Ok(())
        }

        fn answer(self: Box<Self>, _transaction: Result<(), FileError>) {
            self.begin.send(()).unwrap();
            assert_eq!(self.released.recv_timeout(Duration::from_secs(30)), Err(RecvTimeoutError::Disconnected));
        }
    }

    /// Queues a job whose work only fails when the transaction is committed.
    pub(crate) async fn break_commit(file: &EmbeddedFile) -> Result<(), FileError> {
        file.write(|connection| {
            connection.execute_batch(
                "PRAGMA defer_foreign_keys = ON;
                 INSERT INTO participants VALUES (x'00', 'nobody', 0, 'member', 0, NULL, 0, NULL, 0);",
            )?;
            Ok(())
        })
        .await
    }

    /// Does whatever SQL says, as damage from outside would.
    pub(crate) async fn execute(file: &EmbeddedFile, sql: &'static str) {
        file.write(move |connection| connection.execute_batch(sql).map_err(FileError::from)).await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::testing::{Busy, break_commit, execute};
    use super::*;

    struct Scratch {
        directory: tempfile::TempDir,
    }

    impl Scratch {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("test.db")
        }

        fn open(&self, options: EmbeddedOptions) -> Result<Arc<EmbeddedFile>, EmbeddedError> {
            EmbeddedFile::open(self.path(), options)
        }

        fn file(&self) -> Arc<EmbeddedFile> {
            self.open(EmbeddedOptions::default()).unwrap()
        }
    }

    async fn set(file: &EmbeddedFile, name: &'static str) -> Result<(), FileError> {
        file.write(move |connection| {
            connection.execute("INSERT INTO log_settings VALUES (?1, 1)", [name])?;
            Ok(())
        })
        .await
    }

    async fn names(file: &EmbeddedFile) -> Vec<String> {
        file.read(|connection| -> Result<Vec<String>, FileError> {
            let mut statement = connection.prepare("SELECT name FROM log_settings ORDER BY name")?;
            let names = statement.query_map([], |row| row.get(0))?;
            Ok(names.collect::<rusqlite::Result<_>>()?)
        })
        .await
        .unwrap()
    }

    #[test]
    fn a_file_of_another_program_is_refused_and_left_alone() {
        let scratch = Scratch::new();
        let text = "not a database, but longer than the hundred bytes of a database's header. ".repeat(3);
        fs::write(scratch.path(), &text).unwrap();
        let refused = scratch.open(EmbeddedOptions::default()).unwrap_err();
        assert!(matches!(&refused, EmbeddedError::NotOurs { .. }), "{refused}");
        assert_eq!(fs::read_to_string(scratch.path()).unwrap(), text);

        let scratch = Scratch::new();
        Connection::open(scratch.path()).unwrap().execute_batch("CREATE TABLE theirs (x); VACUUM;").unwrap();
        let before = fs::read(scratch.path()).unwrap();
        let refused = scratch.open(EmbeddedOptions::default()).unwrap_err();
        assert!(matches!(&refused, EmbeddedError::NotOurs { .. }), "{refused}");
        assert_eq!(fs::read(scratch.path()).unwrap(), before);
    }

    #[test]
    fn a_file_of_a_newer_release_is_refused_and_left_alone() {
        let scratch = Scratch::new();
        drop(scratch.file());
        Connection::open(scratch.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let before = fs::read(scratch.path()).unwrap();
        let refused = scratch.open(EmbeddedOptions::default()).unwrap_err();
        assert!(matches!(refused, EmbeddedError::TooNew { found: 99, known: 2, .. }), "{refused}");
        assert_eq!(fs::read(scratch.path()).unwrap(), before);
    }

    #[tokio::test]
    async fn a_file_of_the_first_version_is_brought_up_to_date() {
        let scratch = Scratch::new();
        let connection = Connection::open(scratch.path()).unwrap();
        for statements in SCHEMA[0] {
            connection.execute_batch(statements).unwrap();
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let item =
            |number| format!(r#"{{"media_id":"00000000-0000-0000-0000-00000000000{number}","media_state":"x"}}"#);
        let (one, two) = (item(1), item(2));
        let documents = [
            format!(r#"{{"media":[{one},{two},{one}],"deleted":null}}"#),
            r#"{"media":[],"deleted":null}"#.to_owned(),
            format!(r#"{{"media":[{one}]}}"#),
            format!(r#"{{"media":[{one}],"deleted":{{"by":"ana"}}}}"#),
            "no JSON".to_owned(),
            r#"{"media":[5,{"media_id":"no id"},{}]}"#.to_owned(),
            r#"{"media":"none"}"#.to_owned(),
            "[]".to_owned(),
        ];
        for (seq, document) in (0_i64..).zip(&documents) {
            connection
                .execute("INSERT INTO messages VALUES (?1, x'0c', ?1, NULL, ?2)", rusqlite::params![seq, document])
                .unwrap();
        }
        connection.execute("INSERT INTO messages VALUES (x'ff', x'0c', 99, NULL, x'ff')", []).unwrap();
        drop(connection);

        for _ in 0..2 {
            let file = scratch.file();
            let found = file.read(|connection| -> Result<(i32, Vec<String>), FileError> {
                let mut statement = connection.prepare(
                    "SELECT hex(media_id) || ' ' || seq FROM message_media WHERE conversation_id = x'0c' ORDER BY 1",
                )?;
                let media = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
                Ok((connection.query_row("PRAGMA user_version", [], |row| row.get(0))?, media))
            });
            let zeros = "0".repeat(31);
            let expected = vec![format!("{zeros}1 0"), format!("{zeros}1 2"), format!("{zeros}2 0")];
            assert_eq!(found.await.unwrap(), (2, expected));
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let refused = EmbeddedFile::open("/nowhere/at/all.db", EmbeddedOptions::default()).unwrap_err();
        assert!(matches!(&refused, EmbeddedError::Io { .. }), "{refused}");
    }

    #[test]
    fn a_file_in_use_is_refused_until_it_is_closed() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let refused = scratch.open(EmbeddedOptions::default()).unwrap_err();
        assert!(matches!(&refused, EmbeddedError::InUse(_)), "{refused}");
        drop(file);
        scratch.file();
    }

    #[tokio::test]
    async fn closing_finishes_what_is_queued_and_removes_the_wal() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let busy = Busy::new(&file);
        for number in 0..100 {
            let insert = move |connection: &Connection| -> Result<usize, FileError> {
                Ok(connection.execute("INSERT INTO log_settings VALUES (?1, 1)", [number.to_string()])?)
            };
            // The first poll hands the job over; nobody waits for the answer.
            let (Ok(_) | Err(_)) = tokio::time::timeout(Duration::ZERO, file.write(insert)).await;
        }
        drop(busy);
        drop(file);
        let mut wal = scratch.path().into_os_string();
        wal.push("-wal");
        assert!(!Path::new(&wal).exists());
        assert_eq!(names(&scratch.file()).await.len(), 100);
    }

    #[tokio::test]
    async fn a_failing_job_does_not_spoil_the_others() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let failing = file.write(|connection| -> Result<(), FileError> {
            connection.execute("INSERT INTO log_settings VALUES ('b', 1)", [])?;
            Err(FileError::Failed("on purpose".into()))
        });
        let busy = Busy::new(&file);
        let release = async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(busy);
        };
        let (a, b, c, ()) = tokio::join!(set(&file, "a"), failing, set(&file, "c"), release);
        assert_eq!((a, b, c), (Ok(()), Err(FileError::Failed("on purpose".into())), Ok(())));
        assert_eq!(names(&file).await, ["a", "c"]);
    }

    #[tokio::test]
    async fn a_failing_commit_fails_all_and_the_next_one_works() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let busy = Busy::new(&file);
        let release = async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(busy);
        };
        let (a, broken, c, ()) = tokio::join!(set(&file, "a"), break_commit(&file), set(&file, "c"), release);
        for outcome in [a, broken, c] {
            assert!(matches!(&outcome, Err(FileError::Failed(_))), "{outcome:?}");
        }
        assert_eq!(names(&file).await, [""; 0]);
        assert_eq!(set(&file, "d").await, Ok(()));
        assert_eq!(names(&file).await, ["d"]);
    }

    #[tokio::test]
    async fn a_full_disk_fails_the_job_and_passes() {
        let scratch = Scratch::new();
        let file = scratch.file();
        execute(&file, "PRAGMA max_page_count = 40").await;
        let large = |connection: &Connection| -> Result<(), FileError> {
            connection.execute("INSERT INTO outbox VALUES (1, '', '', '', zeroblob(1000000))", [])?;
            Ok(())
        };
        let outcome = file.write(large).await;
        assert!(matches!(&outcome, Err(FileError::Failed(reason)) if reason.contains("full")), "{outcome:?}");
        execute(&file, "PRAGMA max_page_count = 100000").await;
        assert_eq!(file.write(large).await, Ok(()));
    }

    #[tokio::test]
    async fn queues_are_bounded_and_waits_have_a_limit() {
        let scratch = Scratch::new();
        let limit = Duration::from_millis(50);
        let options = EmbeddedOptions { write_queue: 2, request_timeout: limit, ..EmbeddedOptions::default() };
        let file = scratch.open(options).unwrap();
        let busy = Busy::new(&file);
        let (a, b, c) = tokio::join!(set(&file, "a"), set(&file, "b"), set(&file, "c"));
        let timed_out = Err(FileError::TimedOut(limit));
        assert_eq!((a, b, c), (timed_out.clone(), timed_out, Err(FileError::QueueFull)));
        // Readers do not wait for the writer.
        assert_eq!(names(&file).await, [""; 0]);
        drop(busy);
        // Until the writer has taken the two.
        while set(&file, "d").await == Err(FileError::QueueFull) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(names(&file).await, ["a", "b", "d"], "what was given up on happens all the same");
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let outcome = file.read(|connection| -> Result<usize, FileError> {
            Ok(connection.execute("INSERT INTO log_settings VALUES ('a', 1)", [])?)
        });
        assert!(outcome.await.is_err());
    }

    #[tokio::test]
    async fn durability_decides_what_a_commit_waits_for() {
        for (durability, expected) in [(Durability::ProcessCrash, 1), (Durability::PowerLoss, 2)] {
            let scratch = Scratch::new();
            let file = scratch.open(EmbeddedOptions { durability, ..EmbeddedOptions::default() }).unwrap();
            let synchronous = file.write(|connection| -> Result<(i32, String), FileError> {
                let pragma = |name| connection.query_row(name, [], |row| row.get(0));
                let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
                Ok((pragma("PRAGMA synchronous")?, mode))
            });
            assert_eq!(synchronous.await, Ok((expected, "wal".to_owned())));
        }
    }

    #[tokio::test]
    async fn the_wal_stays_small_under_load() {
        let scratch = Scratch::new();
        let file = scratch.file();
        for _ in 0..400 {
            let insert = |connection: &Connection| -> Result<usize, FileError> {
                Ok(connection.execute("INSERT INTO outbox VALUES (NULL, '', '', '', zeroblob(500000))", [])?)
            };
            file.write(insert).await.unwrap();
        }
        let mut wal = scratch.path().into_os_string();
        wal.push("-wal");
        let (wal, all) = (fs::metadata(wal).unwrap().len(), fs::metadata(scratch.path()).unwrap().len());
        assert!(wal < 100_000_000, "{wal} bytes of WAL beside {all} bytes of data");
    }
}
