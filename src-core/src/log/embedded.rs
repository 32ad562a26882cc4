//! The event log in an SQLite file (S2): partitions, consumer groups, committed offsets, redelivery.
//!
//! Records are appended by the file's writer thread, which gives them their offsets, and become visible when
//! its transaction is committed. The newest records of each partition are also held in memory, bounded, because
//! most consumers read the end of the log; whoever is further behind reads the file. Members of a group are
//! consumers of this process: the file is open in one process only.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackscope_protocol::Timestamp;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::{Notify, oneshot};

use super::{
    Consumer, EventLog, LogError, NewRecord, Position, PublishError, Publishing, Record, Topic, TopicPartition,
};
use crate::clock::Clock;
use crate::planted::{self, Bug};
use crate::sqlite::{EmbeddedError, EmbeddedFile, FileError, FollowUps, RolledBack, WriteJob};

/// The log's tables. A record's `id` is its topic (10 bits), partition (12 bits) and offset (40 bits), so that
/// the table is its own index and a partition's records stand together.
pub(crate) const SCHEMA_V1: &str = "
    CREATE TABLE log_settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE log_records (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        headers TEXT NOT NULL,
        appended_at INTEGER NOT NULL,
        value BLOB NOT NULL
    );
    -- `start` is the earliest offset that is kept.
    CREATE TABLE log_partitions (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        start INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)
    ) WITHOUT ROWID;
    CREATE TABLE log_committed (
        group_name TEXT NOT NULL,
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        PRIMARY KEY (group_name, topic, partition)
    ) WITHOUT ROWID;
";

const OFFSET_BITS: u32 = 40;
const PARTITION_BITS: u32 = 12;
const PARTITIONS_MAX: u32 = 1 << PARTITION_BITS;
/// Most records that trimming removes in one transaction.
const TRIM_STEP: u64 = 1_000;
/// A read for `poll` takes no further record once it has this many bytes.
const POLL_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Longest single wait of `poll`; keeps a huge `max_wait` from overflowing the clock.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// Settings of an [`EmbeddedLog`].
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Partitions of every topic; fixed when the file is made.
    pub partitions: u32,
    /// Largest record in bytes: key, headers and value together.
    pub max_record_bytes: usize,
    /// Records of a topic that its slowest group may have left to commit. Beyond it the topic takes no further
    /// record until the group catches up. A topic that no group ever subscribed to has no such limit.
    pub max_backlog_records: u64,
    /// Groups that this limit does not count: they may be far behind, for as long as what they feed is down, and
    /// still nobody waits for them. Their records are kept until they have committed them, on disk.
    pub patient_groups: &'static [&'static str],
    /// Bytes of records handed over and not yet written.
    pub max_in_flight_bytes: usize,
    /// How long [`EventLog::publish`] waits for the file's confirmation before the outcome counts as unknown.
    pub publish_timeout: Duration,
    /// Records of a partition that are kept although every group has committed them.
    pub retain_records: u64,
    /// Newest records of a partition that are held in memory.
    pub recent_records: usize,
    /// Most bytes of them.
    pub recent_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            partitions: 8,
            max_record_bytes: 1_024 * 1_024,
            max_backlog_records: 100_000,
            patient_groups: &[],
            max_in_flight_bytes: 64 * 1_024 * 1_024,
            publish_timeout: Duration::from_secs(5),
            retain_records: 1_000_000,
            recent_records: 2_048,
            recent_bytes: 1_024 * 1_024,
        }
    }
}

/// The event log in an SQLite file. Clones are handles of one log.
///
/// A group exists from its first subscription on and for good: what it has not committed is kept, and counts
/// for [`LogOptions::max_backlog_records`], also while it has no member. Committed offsets never move backwards;
/// committing an earlier one than before is no error and changes nothing.
#[derive(Clone)]
pub struct EmbeddedLog {
    file: Arc<EmbeddedFile>,
    shared: Arc<Shared>,
}

/// What the log's handles, its consumers and its jobs on the writer thread share. Does not hold the file: a job
/// must not (see [`WriteJob`]).
struct Shared {
    options: LogOptions,
    /// The offset the writer gives next, by slot. Only the writer changes it. An offset whose transaction
    /// failed is not used again, which leaves a gap.
    next: Vec<AtomicU64>,
    state: Mutex<State>,
    /// Wall time, for `appended_at`.
    wall_clock: Clock,
    _in_use: InUse,
}

/// Keeps a second log from being made of the same file, which would give the same offsets again.
struct InUse(Arc<AtomicBool>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[derive(Default)]
struct State {
    /// By slot.
    partitions: Vec<PartitionState>,
    /// By topic code.
    topics: Vec<TopicState>,
    groups: HashMap<String, Group>,
    in_flight_bytes: usize,
    next_reader_id: u64,
    is_trimming: bool,
}

#[derive(Default)]
struct PartitionState {
    /// The earliest offset that is kept.
    start: u64,
    /// One past the newest committed record.
    end: u64,
    /// The newest records; every record from `recent_from` on is in it.
    recent: VecDeque<Arc<Record>>,
    recent_from: u64,
    recent_bytes: usize,
}

/// Readers by id, and how to wake them.
type Waiters = Arc<Vec<(u64, Arc<Notify>)>>;

#[derive(Default)]
struct TopicState {
    /// Sum of the partitions' `end`.
    end_total: u64,
    /// Sum of the committed offsets of the group that has committed least; `None` without groups.
    committed_total: Option<u64>,
    /// Records handed over and not yet written.
    in_flight: u64,
    /// Whom to wake when there is something new.
    waiters: Waiters,
}

#[derive(Default)]
struct Group {
    /// Grows with every change of the assignment.
    generation: u64,
    members: BTreeMap<u64, MemberState>,
    partitions: BTreeMap<TopicPartition, GroupPartition>,
}

struct MemberState {
    topics: Vec<Topic>,
    notify: Arc<Notify>,
}

#[derive(Default)]
struct GroupPartition {
    /// The offset the group goes on from.
    committed: u64,
    owner: Option<Owner>,
    /// Commits that were let through and are not yet written. The next owner starts only after them, so that
    /// nothing is committed by two members.
    pending_commits: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner {
    member_id: u64,
    /// The generation in which this member got the partition. It fences commits: a member that lost the
    /// partition and got it back must start again from the committed offset.
    since: u64,
}

// ---- topics, partitions, ids ----------------------------------------------------------------------------

/// The topic's number in the file; fixed for good.
fn topic_code(topic: Topic) -> u32 {
    match topic {
        Topic::MessageSent => 0,
        Topic::MessageEdited => 1,
        Topic::MessageDeleted => 2,
        Topic::ConversationUpdated => 3,
        Topic::MessageDelivered => 4,
        Topic::DeadLetter => 5,
    }
}

/// The partition of a key: FNV-1a with a finisher, because its low bits alone are uneven. Fixed for good: with
/// another function the records of one key would no longer be in one order.
fn partition_of(key: &str, partitions: u32) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    (hash % u64::from(partitions.max(1))) as u32
}

/// The id of a partition's record 0.
fn base_id(at: TopicPartition) -> i64 {
    (i64::from(topic_code(at.topic)) << (OFFSET_BITS + PARTITION_BITS)) | (i64::from(at.partition) << OFFSET_BITS)
}

/// The id of an offset; offsets beyond the 40 bits are taken as the last one, which no record has.
fn record_id(at: TopicPartition, offset: u64) -> i64 {
    base_id(at) | offset.min((1 << OFFSET_BITS) - 1).cast_signed()
}

fn offset_of(id: i64) -> u64 {
    (id & ((1 << OFFSET_BITS) - 1)).cast_unsigned()
}

fn bytes_of(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + headers + record.value.len()
}

// ---- making it ------------------------------------------------------------------------------------------

/// What the file holds when the log is made from it.
struct Loaded {
    partitions: u32,
    /// Start and end of every partition.
    bounds: Vec<(TopicPartition, u64, u64)>,
    committed: Vec<(String, TopicPartition, u64)>,
}

impl EmbeddedLog {
    /// The log in `file`, which is made if there is none. Blocks for a few milliseconds.
    pub fn new(file: Arc<EmbeddedFile>, options: LogOptions) -> Result<Self, EmbeddedError> {
        if options.partitions == 0 || options.partitions > PARTITIONS_MAX {
            return Err(EmbeddedError::Setting(format!("a log has 1 to {PARTITIONS_MAX} partitions")));
        }
        if file.log_in_use().swap(true, Ordering::AcqRel) {
            return Err(EmbeddedError::LogInUse);
        }
        let in_use = InUse(Arc::clone(file.log_in_use()));
        let asked = options.partitions;
        let loaded = file
            .write_blocking(move |connection| load(connection, asked).map_err(FileError::from))
            .map_err(|error| EmbeddedError::Io { path: file.path().to_path_buf(), reason: error.to_string() })?;
        if loaded.partitions != asked {
            return Err(EmbeddedError::Partitions { found: loaded.partitions, asked });
        }

        let slots = Topic::ALL.len() * asked as usize;
        let mut state = State::default();
        state.topics.resize_with(Topic::ALL.len(), TopicState::default);
        state.partitions.resize_with(slots, PartitionState::default);
        for (group, at, committed) in loaded.committed {
            let partition = GroupPartition { committed, ..GroupPartition::default() };
            state.groups.entry(group).or_default().partitions.insert(at, partition);
        }
        let next = (0..slots).map(|_| AtomicU64::new(0)).collect();
        let shared = Shared { options, next, state: Mutex::new(state), wall_clock: Clock::default(), _in_use: in_use };
        {
            let mut state = shared.state.lock();
            for (at, start, end) in loaded.bounds {
                let slot = shared.slot(at);
                shared.next[slot].store(end, Ordering::Relaxed);
                state.partitions[slot] = PartitionState { start, end, recent_from: end, ..PartitionState::default() };
                state.topics[topic_code(at.topic) as usize].end_total += end;
            }
            for topic in Topic::ALL {
                shared.refresh_committed_total(&mut state, topic);
            }
        }
        Ok(Self { file, shared: Arc::new(shared) })
    }
}

fn load(connection: &Connection, asked: u32) -> rusqlite::Result<Loaded> {
    connection.execute("INSERT OR IGNORE INTO log_settings (name, value) VALUES ('partitions', ?1)", [asked])?;
    let partitions: u32 =
        connection.query_row("SELECT value FROM log_settings WHERE name = 'partitions'", [], |row| row.get(0))?;
    let mut loaded = Loaded { partitions, bounds: Vec::new(), committed: Vec::new() };
    if partitions != asked {
        return Ok(loaded);
    }
    for topic in Topic::ALL {
        for partition in 0..partitions {
            let at = TopicPartition { topic, partition };
            connection.execute(
                "INSERT OR IGNORE INTO log_partitions (topic, partition, start) VALUES (?1, ?2, 0)",
                params![topic.as_str(), partition],
            )?;
            let start: i64 = connection.query_row(
                "SELECT start FROM log_partitions WHERE topic = ?1 AND partition = ?2",
                params![topic.as_str(), partition],
                |row| row.get(0),
            )?;
            let start = u64::try_from(start).unwrap_or(0);
            let newest: Option<i64> = connection
                .query_row(
                    "SELECT id FROM log_records WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1",
                    [base_id(at), record_id(at, u64::MAX)],
                    |row| row.get(0),
                )
                .optional()?;
            loaded.bounds.push((at, start, newest.map_or(start, |id| start.max(offset_of(id) + 1))));
        }
    }
    let mut statement = connection.prepare("SELECT group_name, topic, partition, offset FROM log_committed")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (topic, partition): (String, u32) = (row.get(1)?, row.get(2)?);
        // A topic of another release is left alone.
        if let Some(topic) = Topic::from_name(&topic) {
            let offset = u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0);
            loaded.committed.push((row.get(0)?, TopicPartition { topic, partition }, offset));
        }
    }
    Ok(loaded)
}

impl Shared {
    fn partitions_of(&self, topic: Topic) -> impl Iterator<Item = TopicPartition> + use<> {
        (0..self.options.partitions).map(move |partition| TopicPartition { topic, partition })
    }

    fn slot(&self, at: TopicPartition) -> usize {
        (topic_code(at.topic) * self.options.partitions + at.partition) as usize
    }

    fn check(&self, at: TopicPartition) -> Result<(), LogError> {
        if at.partition < self.options.partitions { Ok(()) } else { Err(LogError::NoSuchPartition(at)) }
    }

    /// Adds a committed record to what readers see.
    fn append(&self, record: &Arc<Record>) -> Waiters {
        let at = record.position.topic_partition();
        let mut state = self.state.lock();
        let state = &mut *state;
        let partition = &mut state.partitions[self.slot(at)];
        let topic = &mut state.topics[topic_code(at.topic) as usize];
        let end = record.position.offset + 1;
        topic.end_total += end.saturating_sub(partition.end);
        partition.end = partition.end.max(end);
        partition.recent_bytes += weight(record);
        partition.recent.push_back(Arc::clone(record));
        while partition.recent.len() > self.options.recent_records || partition.recent_bytes > self.options.recent_bytes
        {
            let Some(oldest) = partition.recent.pop_front() else { break };
            partition.recent_bytes = partition.recent_bytes.saturating_sub(weight(&oldest));
            partition.recent_from = oldest.position.offset + 1;
        }
        Arc::clone(&topic.waiters)
    }

    fn refresh_committed_total(&self, state: &mut State, topic: Topic) {
        let total = |group: &Group| -> Option<u64> {
            let mut total = None;
            for at in self.partitions_of(topic) {
                if let Some(partition) = group.partitions.get(&at) {
                    // What was trimmed before the group came is not its to commit.
                    let start = state.partitions[self.slot(at)].start;
                    total = Some(total.unwrap_or(0) + partition.committed.max(start));
                }
            }
            total
        };
        let counts = |name: &str| !self.options.patient_groups.contains(&name);
        let hurried = state.groups.iter().filter(|(name, _)| counts(name));
        let committed_total = hurried.filter_map(|(_, group)| total(group)).min();
        state.topics[topic_code(topic) as usize].committed_total = committed_total;
    }

    /// The offset up to which a partition may be trimmed, if there is enough for a step.
    fn trim_target(&self, state: &State, at: TopicPartition) -> Option<u64> {
        let partition = &state.partitions[self.slot(at)];
        let keep = self.options.retain_records;
        // Trimming record by record would cost a transaction each.
        let least = (keep / 10).clamp(1, TRIM_STEP);
        let mut target = partition.end.saturating_sub(keep);
        if target < partition.start + least {
            return None;
        }
        for group in state.groups.values() {
            if let Some(partition) = group.partitions.get(&at) {
                target = target.min(partition.committed);
            }
        }
        (target >= partition.start + least).then_some(target)
    }

    fn trim_if_due(self: &Arc<Self>, at: TopicPartition, follow_ups: &mut FollowUps) {
        let mut state = self.state.lock();
        if !state.is_trimming && self.trim_target(&state, at).is_some() {
            state.is_trimming = true;
            follow_ups.push_back(Box::new(TrimJob { shared: Arc::clone(self), at, failure: None }));
        }
    }
}

fn weight(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    size_of::<Record>() + record.key.len() + headers + record.value.len()
}

// ---- publishing -----------------------------------------------------------------------------------------

struct PublishJob {
    shared: Arc<Shared>,
    at: TopicPartition,
    bytes: usize,
    record: Option<NewRecord>,
    stored: Option<Arc<Record>>,
    waiters: Option<Waiters>,
    failure: Option<PublishError>,
    answer: oneshot::Sender<Result<Position, PublishError>>,
}

impl WriteJob for PublishJob {
    fn run(&mut self, connection: &Connection) -> Result<(), RolledBack> {
        let Some(new) = self.record.take() else { return Err(RolledBack) };
        let offset = self.shared.next[self.shared.slot(self.at)].fetch_add(1, Ordering::Relaxed);
        let appended_at = self.shared.wall_clock.now();
        let position = Position { topic: self.at.topic, partition: self.at.partition, offset };
        let insert = || -> Result<(), String> {
            let headers = serde_json::to_string(&new.headers).map_err(|error| error.to_string())?;
            connection
                .prepare_cached(
                    "INSERT INTO log_records (id, key, headers, appended_at, value) VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .and_then(|mut statement| {
                    let id = record_id(self.at, offset);
                    statement.execute(params![id, new.key, headers, appended_at.as_millis(), &*new.value])
                })
                .map_err(|error| error.to_string())?;
            Ok(())
        };
        if let Err(reason) = insert() {
            self.failure = Some(PublishError::Unavailable(reason));
            return Err(RolledBack);
        }
        let NewRecord { key, headers, value, .. } = new;
        self.stored = Some(Arc::new(Record { position, key, headers, value, appended_at }));
        Ok(())
    }

    fn committed(&mut self, follow_ups: &mut FollowUps) {
        if let Some(record) = &self.stored {
            self.waiters = Some(self.shared.append(record));
            self.shared.trim_if_due(self.at, follow_ups);
        }
    }

    fn answer(mut self: Box<Self>, transaction: Result<(), FileError>) {
        let result = match (transaction, self.failure.take(), &self.stored) {
            (_, Some(failure), _) => Err(failure),
            (Ok(()), None, Some(record)) => Ok(record.position),
            (Err(FileError::InDoubt(_)), ..) => Err(PublishError::OutcomeUnknown),
            (Err(error), ..) => Err(PublishError::Unavailable(error.to_string())),
            (Ok(()), None, None) => Err(PublishError::Unavailable("the record was not written".into())),
        };
        self.shared.release(self.at.topic, self.bytes);
        if let Some(waiters) = &self.waiters {
            for (_, notify) in waiters.iter() {
                notify.notify_one();
            }
        }
        // Nobody waits any more: the record is there all the same.
        let (Ok(()) | Err(_)) = self.answer.send(result);
    }
}

impl Shared {
    /// Takes room for a record, or says why there is none.
    fn reserve(&self, topic: Topic, bytes: usize) -> Result<(), PublishError> {
        let mut state = self.state.lock();
        if state.in_flight_bytes + bytes > self.options.max_in_flight_bytes.max(self.options.max_record_bytes) {
            return Err(PublishError::Full("too much is waiting to be written".into()));
        }
        let of_topic = &mut state.topics[topic_code(topic) as usize];
        if let Some(committed_total) = of_topic.committed_total {
            let backlog = of_topic.end_total.saturating_sub(committed_total) + of_topic.in_flight;
            if backlog >= self.options.max_backlog_records {
                let reason = format!("{topic} has {backlog} records that its consumers have not committed yet");
                return Err(PublishError::Full(reason));
            }
        }
        of_topic.in_flight += 1;
        state.in_flight_bytes += bytes;
        Ok(())
    }

    fn release(&self, topic: Topic, bytes: usize) {
        let mut state = self.state.lock();
        state.in_flight_bytes = state.in_flight_bytes.saturating_sub(bytes);
        let of_topic = &mut state.topics[topic_code(topic) as usize];
        of_topic.in_flight = of_topic.in_flight.saturating_sub(1);
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.shared.options.partitions
    }

    fn publish(&self, record: NewRecord) -> Publishing {
        let refuse = |error| futures_util::future::ready(Err(error)).boxed();
        let (bytes, max_bytes) = (bytes_of(&record), self.shared.options.max_record_bytes);
        if bytes > max_bytes {
            return refuse(PublishError::TooLarge { bytes, max_bytes });
        }
        let topic = record.topic;
        if let Err(error) = self.shared.reserve(topic, bytes) {
            return refuse(error);
        }
        let at = TopicPartition { topic, partition: partition_of(&record.key, self.shared.options.partitions) };
        let (answer, answered) = oneshot::channel();
        let job = PublishJob {
            shared: Arc::clone(&self.shared),
            at,
            bytes,
            record: Some(record),
            stored: None,
            waiters: None,
            failure: None,
            answer,
        };
        if let Err(error) = self.file.submit(Box::new(job)) {
            self.shared.release(topic, bytes);
            return refuse(match error {
                FileError::QueueFull => PublishError::Full(error.to_string()),
                error => PublishError::Unavailable(error.to_string()),
            });
        }
        let deadline = tokio::time::Instant::now() + self.shared.options.publish_timeout.min(WAIT_MAX);
        async move {
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(result)) => result,
                // The writer ended without an answer, or gave none in time.
                Ok(Err(_)) | Err(_) => Err(PublishError::OutcomeUnknown),
            }
        }
        .boxed()
    }

    async fn subscribe(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        topics.dedup();
        let (answer, answered) = oneshot::channel();
        let job = JoinJob {
            shared: Arc::clone(&self.shared),
            group: group.to_owned(),
            topics: topics.clone(),
            joined: Vec::new(),
            failure: None,
            answer,
        };
        self.file.submit(Box::new(job)).map_err(unavailable)?;
        self.answer_of(answered).await?;

        let mut state = self.shared.state.lock();
        let (reader_id, notify) = state.add_reader(&topics);
        let member = MemberState { topics, notify: Arc::clone(&notify) };
        let of_group = state.groups.entry(group.to_owned()).or_default();
        of_group.members.insert(reader_id, member);
        of_group.rebalance(self.shared.options.partitions);
        let membership = Membership { group: group.to_owned(), seen_generation: 0 };
        let view = Vec::new();
        Ok(Box::new(EmbeddedConsumer { log: self.clone(), group: Some(membership), reader_id, notify, view, turn: 0 }))
    }

    async fn tail(&self, from: &[Position]) -> Result<Box<dyn Consumer>, LogError> {
        let mut topics: Vec<Topic> = from.iter().map(|position| position.topic).collect();
        topics.sort_unstable();
        topics.dedup();
        let mut view = Vec::new();
        for position in from {
            let at = position.topic_partition();
            self.shared.check(at)?;
            view.push(Assigned { at, since: 0, next: Some(position.offset) });
        }
        let mut state = self.shared.state.lock();
        for position in from {
            state.check_kept(&self.shared, position.topic_partition(), position.offset)?;
        }
        let (reader_id, notify) = state.add_reader(&topics);
        Ok(Box::new(EmbeddedConsumer { log: self.clone(), group: None, reader_id, notify, view, turn: 0 }))
    }

    async fn read(&self, partition: TopicPartition, from_offset: u64, max: usize) -> Result<Vec<Record>, LogError> {
        self.shared.check(partition)?;
        let piece = {
            let state = self.shared.state.lock();
            state.check_kept(&self.shared, partition, from_offset)?;
            state.piece(&self.shared, partition, from_offset, max, usize::MAX)
        };
        match piece {
            Piece::Nothing => Ok(Vec::new()),
            Piece::Recent(records) => Ok(records.iter().map(|record| Record::clone(record)).collect()),
            Piece::InFile(range) => {
                let records = self.read_file(vec![range]).await?;
                // Trimmed while it was read: what is missing must not look like the end.
                self.shared.state.lock().check_kept(&self.shared, partition, from_offset)?;
                Ok(records.into_iter().flatten().collect())
            }
        }
    }

    async fn end(&self, topic: Topic) -> Result<Vec<Position>, LogError> {
        let state = self.shared.state.lock();
        let end = |at: TopicPartition| state.partitions[self.shared.slot(at)].end;
        Ok(self.shared.partitions_of(topic).map(|at| position(at, end(at))).collect())
    }

    async fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Position>, LogError> {
        let state = self.shared.state.lock();
        let group = state.groups.get(group);
        let committed = |at| group.and_then(|group| group.partitions.get(&at)).map_or(0, |p| p.committed);
        Ok(self.shared.partitions_of(topic).map(|at| position(at, committed(at))).collect())
    }
}

fn position(at: TopicPartition, offset: u64) -> Position {
    Position { topic: at.topic, partition: at.partition, offset }
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for `map_err`")]
fn unavailable(error: FileError) -> LogError {
    LogError::Unavailable(error.to_string())
}

impl EmbeddedLog {
    async fn answer_of<T>(&self, answered: oneshot::Receiver<Result<T, LogError>>) -> Result<T, LogError> {
        let limit = self.file.request_timeout();
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unavailable(FileError::Closed)),
            Err(_) => Err(unavailable(FileError::TimedOut(limit))),
        }
    }

    async fn read_file(&self, ranges: Vec<FileRange>) -> Result<Vec<Vec<Record>>, LogError> {
        self.file
            .read(move |connection| ranges.iter().map(|range| range.read(connection)).collect::<Result<_, ReadError>>())
            .await
            .map_err(|ReadError(reason)| LogError::Unavailable(reason))
    }
}

// ---- reading --------------------------------------------------------------------------------------------

/// Records that are only in the file: from an offset on, below `end`.
struct FileRange {
    at: TopicPartition,
    from: u64,
    end: u64,
    max_records: usize,
    max_bytes: usize,
}

struct ReadError(String);

impl From<FileError> for ReadError {
    fn from(error: FileError) -> Self {
        Self(error.to_string())
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

impl FileRange {
    fn read(&self, connection: &Connection) -> Result<Vec<Record>, ReadError> {
        let mut statement = connection.prepare_cached(
            "SELECT id, key, headers, appended_at, value FROM log_records WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3",
        )?;
        let limit = i64::try_from(self.max_records).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![record_id(self.at, self.from), record_id(self.at, self.end), limit])?;
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let record = self.record(row)?;
            bytes += record.value.len();
            records.push(record);
            if bytes >= self.max_bytes {
                break;
            }
        }
        Ok(records)
    }

    fn record(&self, row: &Row<'_>) -> Result<Record, ReadError> {
        let position = position(self.at, offset_of(row.get(0)?));
        let headers = row.get_ref(2)?.as_str().ok().and_then(|text| serde_json::from_str(text).ok());
        Ok(Record {
            position,
            key: row.get(1)?,
            headers: headers.ok_or_else(|| ReadError(format!("the headers of {position:?} are damaged")))?,
            value: Bytes::from(row.get::<_, Vec<u8>>(4)?),
            appended_at: Timestamp::from_millis(row.get(3)?),
        })
    }
}

/// Where the records from an offset on are.
enum Piece {
    Nothing,
    Recent(Vec<Arc<Record>>),
    InFile(FileRange),
}

impl State {
    fn check_kept(&self, shared: &Shared, at: TopicPartition, asked: u64) -> Result<(), LogError> {
        let earliest = self.partitions[shared.slot(at)].start;
        if asked < earliest { Err(LogError::Truncated { asked, earliest }) } else { Ok(()) }
    }

    fn piece(&self, shared: &Shared, at: TopicPartition, from: u64, max_records: usize, max_bytes: usize) -> Piece {
        let partition = &self.partitions[shared.slot(at)];
        if from >= partition.end || max_records == 0 {
            return Piece::Nothing;
        }
        if from < partition.recent_from {
            return Piece::InFile(FileRange { at, from, end: partition.end, max_records, max_bytes });
        }
        let first = partition.recent.partition_point(|record| record.position.offset < from);
        Piece::Recent(partition.recent.range(first..).take(max_records).cloned().collect())
    }

    fn add_reader(&mut self, topics: &[Topic]) -> (u64, Arc<Notify>) {
        self.next_reader_id += 1;
        let (reader_id, notify) = (self.next_reader_id, Arc::new(Notify::new()));
        for topic in topics {
            Arc::make_mut(&mut self.topics[topic_code(*topic) as usize].waiters).push((reader_id, Arc::clone(&notify)));
        }
        (reader_id, notify)
    }

    fn remove_reader(&mut self, reader_id: u64) {
        for topic in &mut self.topics {
            if topic.waiters.iter().any(|(id, _)| *id == reader_id) {
                Arc::make_mut(&mut topic.waiters).retain(|(id, _)| *id != reader_id);
            }
        }
    }
}

// ---- consumer groups ------------------------------------------------------------------------------------

impl Group {
    /// Shares the partitions of each topic out among the members that subscribed to it: runs of neighbouring
    /// partitions, in the order the members joined. Whoever keeps a partition goes on in it undisturbed.
    fn rebalance(&mut self, partitions: u32) {
        self.generation += 1;
        for (at, partition) in &mut self.partitions {
            let members: Vec<u64> =
                self.members.iter().filter(|(_, m)| m.topics.contains(&at.topic)).map(|(id, _)| *id).collect();
            let index = (at.partition as usize * members.len()) / partitions.max(1) as usize;
            partition.owner = members.get(index).map(|&member_id| match partition.owner {
                Some(owner) if owner.member_id == member_id => owner,
                _ => Owner { member_id, since: self.generation },
            });
        }
        for member in self.members.values() {
            member.notify.notify_one();
        }
    }
}

/// Makes a group and its partitions durable before its first member reads: what it has not committed must be
/// kept from here on.
struct JoinJob {
    shared: Arc<Shared>,
    group: String,
    topics: Vec<Topic>,
    joined: Vec<(TopicPartition, u64)>,
    failure: Option<LogError>,
    answer: oneshot::Sender<Result<(), LogError>>,
}

impl JoinJob {
    fn insert(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let missing: Vec<(TopicPartition, u64)> = {
            let state = self.shared.state.lock();
            let known = state.groups.get(&self.group);
            let all = self.topics.iter().flat_map(|topic| self.shared.partitions_of(*topic));
            all.filter(|at| known.is_none_or(|group| !group.partitions.contains_key(at)))
                .map(|at| (at, state.partitions[self.shared.slot(at)].start))
                .collect()
        };
        for (at, start) in &missing {
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO log_committed (group_name, topic, partition, offset) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![self.group, at.topic.as_str(), at.partition, to_i64(*start)])?;
        }
        self.joined = missing;
        Ok(())
    }
}

fn to_i64(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

impl WriteJob for JoinJob {
    fn run(&mut self, connection: &Connection) -> Result<(), RolledBack> {
        self.insert(connection).map_err(|error| {
            self.failure = Some(LogError::Unavailable(error.to_string()));
            RolledBack
        })
    }

    fn committed(&mut self, _follow_ups: &mut FollowUps) {
        let mut state = self.shared.state.lock();
        let group = state.groups.entry(self.group.clone()).or_default();
        for (at, committed) in self.joined.drain(..) {
            // Another member may have joined in the same transaction.
            group.partitions.entry(at).or_insert(GroupPartition { committed, ..GroupPartition::default() });
        }
        for topic in &self.topics {
            self.shared.refresh_committed_total(&mut state, *topic);
        }
    }

    fn answer(mut self: Box<Self>, transaction: Result<(), FileError>) {
        let result = match (transaction, self.failure.take()) {
            (_, Some(failure)) => Err(failure),
            (transaction, None) => transaction.map_err(unavailable),
        };
        let (Ok(()) | Err(_)) = self.answer.send(result);
    }
}

struct CommitJob {
    /// Released when this is dropped, whatever became of the job.
    pending: PendingCommits,
    failure: Option<LogError>,
    answer: oneshot::Sender<Result<(), LogError>>,
}

/// Commits that were let through. While they are pending, nobody starts to read these partitions.
struct PendingCommits {
    shared: Arc<Shared>,
    group: String,
    next: Vec<Position>,
}

impl Drop for PendingCommits {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let Some(group) = state.groups.get_mut(&self.group) else { return };
        for position in &self.next {
            let Some(partition) = group.partitions.get_mut(&position.topic_partition()) else { continue };
            partition.pending_commits = partition.pending_commits.saturating_sub(1);
            if let Some(member) = partition.owner.and_then(|owner| group.members.get(&owner.member_id)) {
                member.notify.notify_one();
            }
        }
    }
}

impl WriteJob for CommitJob {
    fn run(&mut self, connection: &Connection) -> Result<(), RolledBack> {
        let update = |position: &Position| -> rusqlite::Result<usize> {
            connection
                .prepare_cached(
                    "UPDATE log_committed SET offset = max(offset, ?4)
                     WHERE group_name = ?1 AND topic = ?2 AND partition = ?3",
                )?
                .execute(params![
                    self.pending.group,
                    position.topic.as_str(),
                    position.partition,
                    to_i64(position.offset)
                ])
        };
        for position in &self.pending.next {
            if let Err(error) = update(position) {
                self.failure = Some(LogError::Unavailable(error.to_string()));
                return Err(RolledBack);
            }
        }
        Ok(())
    }

    fn committed(&mut self, follow_ups: &mut FollowUps) {
        let PendingCommits { shared, group, next } = &self.pending;
        let mut state = shared.state.lock();
        if let Some(group) = state.groups.get_mut(group) {
            for position in next {
                if let Some(partition) = group.partitions.get_mut(&position.topic_partition()) {
                    partition.committed = partition.committed.max(position.offset);
                }
            }
        }
        let mut topics: Vec<Topic> = next.iter().map(|position| position.topic).collect();
        topics.dedup();
        for topic in topics {
            shared.refresh_committed_total(&mut state, topic);
        }
        drop(state);
        for position in next {
            shared.trim_if_due(position.topic_partition(), follow_ups);
        }
    }

    fn answer(self: Box<Self>, transaction: Result<(), FileError>) {
        let Self { pending, failure, answer } = *self;
        drop(pending);
        let result = match failure {
            Some(failure) => Err(failure),
            None => transaction.map_err(unavailable),
        };
        let (Ok(()) | Err(_)) = answer.send(result);
    }
}

// ---- consumers ------------------------------------------------------------------------------------------

struct Membership {
    group: String,
    /// The group's generation that `view` reflects; 0 before the first poll.
    seen_generation: u64,
}

/// A partition this consumer reads.
struct Assigned {
    at: TopicPartition,
    /// See [`Owner::since`].
    since: u64,
    /// `None` while commits of the partition's previous owner are pending.
    next: Option<u64>,
}

/// A member of a group, or a reader on its own. Dropping a `poll` that is under way loses no record.
struct EmbeddedConsumer {
    log: EmbeddedLog,
    group: Option<Membership>,
    reader_id: u64,
    notify: Arc<Notify>,
    view: Vec<Assigned>,
    /// The partition whose turn it is to be first, so that none starves.
    turn: usize,
}

impl EmbeddedConsumer {
    /// Brings the view up to date with the group's assignment.
    fn refresh_view(&mut self, state: &State) {
        let Some(membership) = &mut self.group else { return };
        let Some(group) = state.groups.get(&membership.group) else { return };
        if membership.seen_generation != group.generation {
            membership.seen_generation = group.generation;
            let mut before = std::mem::take(&mut self.view);
            for (at, partition) in &group.partitions {
                let Some(owner) = partition.owner.filter(|owner| owner.member_id == self.reader_id) else { continue };
                let kept = before.iter_mut().find(|assigned| assigned.at == *at && assigned.since == owner.since);
                let next = kept.and_then(|assigned| assigned.next.take());
                self.view.push(Assigned { at: *at, since: owner.since, next });
            }
        }
        for assigned in self.view.iter_mut().filter(|assigned| assigned.next.is_none()) {
            if let Some(partition) = group.partitions.get(&assigned.at)
                && partition.pending_commits == 0
            {
                let start = state.partitions[self.log.shared.slot(assigned.at)].start;
                assigned.next = Some(partition.committed.max(start));
            }
        }
    }

    /// What can be read now: for each partition its share of `max`, then what is left to whoever has more.
    fn plan(&mut self, max: usize) -> Result<Vec<(usize, Piece)>, LogError> {
        let log = self.log.clone();
        let shared = &*log.shared;
        let state = shared.state.lock();
        self.refresh_view(&state);
        let waiting = |assigned: &Assigned| {
            let partition = &state.partitions[shared.slot(assigned.at)];
            assigned.next.map_or(0, |next| partition.end.saturating_sub(next))
        };
        let count = self.view.len();
        let order = (0..count).map(|index| (self.turn + index) % count);
        let mut ready = Vec::new();
        for index in order {
            let assigned = &self.view[index];
            if let Some(next) = assigned.next {
                state.check_kept(shared, assigned.at, next)?;
            }
            if waiting(assigned) > 0 {
                ready.push(index);
            }
        }
        let Some(first) = ready.first() else { return Ok(Vec::new()) };
        self.turn = (first + 1) % count;

        // A share is at least one record; with more partitions than `max` the rest is first in the next call.
        ready.truncate(max);
        let share = max / ready.len();
        let mut quotas: Vec<usize> =
            ready.iter().map(|&index| share.min(usize::try_from(waiting(&self.view[index])).unwrap_or(max))).collect();
        let mut left = max - quotas.iter().sum::<usize>();
        for (quota, &index) in quotas.iter_mut().zip(&ready) {
            let more = usize::try_from(waiting(&self.view[index])).unwrap_or(max).saturating_sub(*quota).min(left);
            *quota += more;
            left -= more;
        }
        let bytes = POLL_BYTES_MAX / ready.len();
        let piece = |(index, quota): (usize, usize)| {
            let assigned = &self.view[index];
            (index, state.piece(shared, assigned.at, assigned.next.unwrap_or(u64::MAX), quota, bytes))
        };
        Ok(ready.into_iter().zip(quotas).map(piece).collect())
    }

    /// Takes what is there, without waiting for more.
    async fn take(&mut self, max: usize) -> Result<Vec<Record>, LogError> {
        let mut recent = Vec::new();
        let mut ranges = Vec::new();
        for (index, piece) in self.plan(max)? {
            match piece {
                Piece::Nothing => {}
                Piece::Recent(records) => recent.push((index, records)),
                Piece::InFile(range) => ranges.push((index, self.view[index].since, range)),
            }
        }
        // Nothing is taken before the file was read: a call that is dropped meanwhile has taken nothing.
        let mut records = Vec::new();
        if !ranges.is_empty() {
            let asked: Vec<_> =
                ranges.iter().map(|(index, since, range)| (*index, *since, range.at, range.from)).collect();
            let read = self.log.read_file(ranges.into_iter().map(|(_, _, range)| range).collect()).await?;
            let log = self.log.clone();
            let state = log.shared.state.lock();
            for ((index, since, at, from), read) in asked.into_iter().zip(read) {
                // A partition that was taken away meanwhile is somebody else's to read.
                let is_ours = self.group.as_ref().is_none_or(|membership| {
                    let owner = state.groups.get(&membership.group).and_then(|g| g.partitions.get(&at)?.owner);
                    owner == Some(Owner { member_id: self.reader_id, since })
                });
                if !is_ours {
                    continue;
                }
                state.check_kept(&log.shared, at, from)?;
                let Some(last) = read.last() else {
                    let reason = format!("{}/{} has no record from offset {from} on", at.topic, at.partition);
                    return Err(LogError::Unavailable(reason));
                };
                self.view[index].next = Some(last.position.offset + 1);
                records.extend(read);
            }
        }
        for (index, piece) in recent {
            if let Some(last) = piece.last() {
                self.view[index].next = Some(last.position.offset + 1);
            }
            records.extend(piece.iter().map(|record| Record::clone(record)));
        }
        Ok(records)
    }

    /// The commits that may be made, and the first partition that may not.
    fn let_through(&self, next: &[Position]) -> Result<(PendingCommits, Option<TopicPartition>), LogError> {
        let shared = &self.log.shared;
        let Some(membership) = &self.group else {
            return Err(LogError::Unavailable("a reader on its own commits nothing".into()));
        };
        for position in next {
            shared.check(position.topic_partition())?;
        }
        let mut state = shared.state.lock();
        let state = &mut *state;
        let mut revoked = None;
        let mut accepted = Vec::new();
        let group = state.groups.entry(membership.group.clone()).or_default();
        for &position in next {
            let at = position.topic_partition();
            let since = self.view.iter().find(|assigned| assigned.at == at).map(|assigned| assigned.since);
            let is_ours = |partition: &&mut GroupPartition| {
                since.is_some_and(|since| partition.owner == Some(Owner { member_id: self.reader_id, since }))
            };
            let Some(partition) = group.partitions.get_mut(&at).filter(is_ours) else {
                revoked = revoked.or(Some(at));
                continue;
            };
            // Past the end there is nothing that could be done with.
            let offset = position.offset.min(state.partitions[shared.slot(at)].end);
            if offset > partition.committed {
                partition.pending_commits += 1;
                accepted.push(Position { offset, ..position });
            }
        }
        let pending = PendingCommits { shared: Arc::clone(shared), group: membership.group.clone(), next: accepted };
        Ok((pending, revoked))
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn poll(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Record>, LogError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + max_wait.min(WAIT_MAX);
        loop {
            let records = self.take(max).await?;
            if !records.is_empty() {
                if planted::is(Bug::CommitBeforeWrite) && self.group.is_some() {
                    self.commit(&planted::next_positions(&records)).await?;
                }
                return Ok(records);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A notification between `take` and here is kept as a permit, so none is missed.
            if left.is_zero() || tokio::time::timeout(left, self.notify.notified()).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    async fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        let (pending, revoked) = self.let_through(next)?;
        if !pending.next.is_empty() {
            let (answer, answered) = oneshot::channel();
            self.log.file.submit(Box::new(CommitJob { pending, failure: None, answer })).map_err(unavailable)?;
            self.log.answer_of(answered).await?;
        }
        revoked.map_or(Ok(()), |at| Err(LogError::Revoked(at)))
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        let Some(membership) = &self.group else {
            return self.view.iter().map(|assigned| assigned.at).collect();
        };
        let state = self.log.shared.state.lock();
        let Some(group) = state.groups.get(&membership.group) else { return Vec::new() };
        let is_ours = |p: &GroupPartition| p.owner.is_some_and(|owner| owner.member_id == self.reader_id);
        group.partitions.iter().filter(|(_, partition)| is_ours(partition)).map(|(at, _)| *at).collect()
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let mut state = self.log.shared.state.lock();
        state.remove_reader(self.reader_id);
        if let Some(membership) = &self.group
            && let Some(group) = state.groups.get_mut(&membership.group)
        {
            group.members.remove(&self.reader_id);
            group.rebalance(self.log.shared.options.partitions);
        }
    }
}

// ---- retention ------------------------------------------------------------------------------------------

/// Removes the oldest records of a partition, one step at a time.
struct TrimJob {
    shared: Arc<Shared>,
    at: TopicPartition,
    failure: Option<rusqlite::Error>,
}

impl TrimJob {
    fn trim(&self, connection: &Connection) -> rusqlite::Result<()> {
        let to = {
            let mut state = self.shared.state.lock();
            let Some(target) = self.shared.trim_target(&state, self.at) else { return Ok(()) };
            let partition = &mut state.partitions[self.shared.slot(self.at)];
            // Readers are told before the records go, so that none takes the hole for the end.
            partition.start = target.min(partition.start + TRIM_STEP);
            partition.start
        };
        connection
            .prepare_cached("DELETE FROM log_records WHERE id >= ?1 AND id < ?2")?
            .execute([base_id(self.at), record_id(self.at, to)])?;
        connection
            .prepare_cached("UPDATE log_partitions SET start = ?3 WHERE topic = ?1 AND partition = ?2")?
            .execute(params![self.at.topic.as_str(), self.at.partition, to_i64(to)])?;
        Ok(())
    }
}

impl WriteJob for TrimJob {
    fn run(&mut self, connection: &Connection) -> Result<(), RolledBack> {
        self.trim(connection).map_err(|error| {
            self.failure = Some(error);
            RolledBack
        })
    }

    fn committed(&mut self, follow_ups: &mut FollowUps) {
        self.shared.state.lock().is_trimming = false;
        self.shared.trim_if_due(self.at, follow_ups);
    }

    fn answer(self: Box<Self>, transaction: Result<(), FileError>) {
        if let Some(error) = &self.failure {
            tracing::warn!(%error, topic = %self.at.topic, "trimming the log failed; it is tried again later");
        }
        if self.failure.is_some() || transaction.is_err() {
            self.shared.state.lock().is_trimming = false;
        }
    }
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("file", &self.file).field("options", &self.shared.options).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::EmbeddedOptions;
    use crate::sqlite::testing::{Busy, break_commit, execute};

    const TOPIC: Topic = Topic::MessageSent;
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Scratch {
        file: Arc<EmbeddedFile>,
        _directory: tempfile::TempDir,
    }

    impl Scratch {
        fn new(options: EmbeddedOptions) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = EmbeddedFile::open(directory.path().join("test.db"), options).unwrap();
            Self { file, _directory: directory }
        }

        fn log(&self, options: LogOptions) -> EmbeddedLog {
            EmbeddedLog::new(Arc::clone(&self.file), options).unwrap()
        }
    }

    fn new_log() -> (Scratch, EmbeddedLog) {
        let scratch = Scratch::new(EmbeddedOptions::default());
        let log = scratch.log(LogOptions::default());
        (scratch, log)
    }

    fn record(key: &str) -> NewRecord {
        NewRecord { topic: TOPIC, key: key.into(), headers: Vec::new(), value: Bytes::from_static(b"value") }
    }

    fn after(record: &Record) -> Position {
        Position { offset: record.position.offset + 1, ..record.position }
    }

    #[test]
    fn a_key_has_the_same_partition_for_good() {
        let of = |key| partition_of(key, 8);
        assert_eq!([of(""), of("a"), of("7d444840-9dc0-11d1-b245-5ffdce74fad2"), of("Grüße")], [2, 5, 5, 0]);
    }

    #[test]
    fn ids_hold_topic_partition_and_offset() {
        let mut ids = Vec::new();
        for topic in Topic::ALL {
            for partition in [0, 1, PARTITIONS_MAX - 1] {
                for offset in [0, 1, (1 << OFFSET_BITS) - 1] {
                    let id = record_id(TopicPartition { topic, partition }, offset);
                    assert!(id >= 0);
                    assert_eq!(offset_of(id), offset);
                    ids.push(id);
                }
            }
        }
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[tokio::test]
    async fn a_file_has_one_log_with_a_fixed_number_of_partitions() {
        let (scratch, log) = new_log();
        let again = EmbeddedLog::new(Arc::clone(&scratch.file), LogOptions::default());
        assert!(matches!(again, Err(EmbeddedError::LogInUse)));
        drop(log);
        let other = LogOptions { partitions: 4, ..LogOptions::default() };
        let other = EmbeddedLog::new(Arc::clone(&scratch.file), other);
        assert!(matches!(other, Err(EmbeddedError::Partitions { found: 8, asked: 4 })));
        scratch.log(LogOptions::default());
        for partitions in [0, PARTITIONS_MAX + 1] {
            let options = LogOptions { partitions, ..LogOptions::default() };
            let scratch = Scratch::new(EmbeddedOptions::default());
            assert!(matches!(EmbeddedLog::new(scratch.file, options), Err(EmbeddedError::Setting(_))));
        }
    }

    #[tokio::test]
    async fn a_commit_never_moves_a_group_backwards() {
        let (_scratch, log) = new_log();
        for _ in 0..10 {
            log.publish(record("k")).await.unwrap();
        }
        let mut consumer = log.subscribe("group", &[TOPIC]).await.unwrap();
        let records = consumer.poll(10, PATIENCE).await.unwrap();
        let at = records[0].position.partition as usize;
        for (commit, expected) in [(7, 7), (3, 7), (1_000_000, 10)] {
            consumer.commit(&[Position { offset: commit, ..records[0].position }]).await.unwrap();
            assert_eq!(log.committed("group", TOPIC).await.unwrap()[at].offset, expected);
        }
        // What comes after a commit past the end is not skipped.
        log.publish(record("k")).await.unwrap();
        assert_eq!(consumer.poll(10, PATIENCE).await.unwrap()[0].position.offset, 10);
    }

    #[tokio::test]
    async fn whoever_lost_a_partition_and_got_it_back_starts_again() {
        let (_scratch, log) = new_log();
        for key in 0..100 {
            log.publish(record(&key.to_string())).await.unwrap();
        }
        let mut first = log.subscribe("group", &[TOPIC]).await.unwrap();
        let before = first.poll(100, PATIENCE).await.unwrap();
        assert_eq!(before.len(), 100);
        let second = log.subscribe("group", &[TOPIC]).await.unwrap();
        let lost = second.assignment();
        assert_eq!(lost.len(), 4);
        drop(second);
        assert_eq!(first.assignment().len(), 8);
        // It does not know yet that it was without it for a while.
        let record = before.iter().find(|record| lost.contains(&record.position.topic_partition())).unwrap();
        let revoked = LogError::Revoked(record.position.topic_partition());
        assert_eq!(first.commit(&[after(record)]).await, Err(revoked));
        let again = first.poll(100, PATIENCE).await.unwrap();
        let expected = before.iter().filter(|record| lost.contains(&record.position.topic_partition())).count();
        assert_eq!(again.len(), expected, "what it kept is not delivered again");
        assert!(again.iter().all(|record| lost.contains(&record.position.topic_partition())));
        first.commit(&[after(record)]).await.unwrap();
    }

    #[tokio::test]
    async fn the_next_owner_waits_for_commits_on_their_way() {
        let (scratch, log) = new_log();
        for key in 0..100 {
            log.publish(record(&key.to_string())).await.unwrap();
        }
        let mut first = log.subscribe("group", &[TOPIC]).await.unwrap();
        let records = first.poll(100, PATIENCE).await.unwrap();
        let next: Vec<Position> = records.iter().map(after).collect();

        let mut second = log.subscribe("group", &[TOPIC]).await.unwrap();
        // Both look at their shares now; then the second one leaves and comes back while a commit hangs.
        assert!(!second.poll(100, PATIENCE).await.unwrap().is_empty());
        drop(second);
        assert!(!first.poll(100, PATIENCE).await.unwrap().is_empty());
        let busy = Busy::new(&scratch.file);
        let mut committing = Box::pin(first.commit(&next));
        assert!(futures_util::poll!(&mut committing).is_pending());
        let mut joining = {
            let log = log.clone();
            tokio::spawn(async move { log.subscribe("group", &[TOPIC]).await })
        };
        // Joining is written by the same thread; it cannot overtake the commit.
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut joining).await.is_err());
        drop(busy);
        committing.await.unwrap();
        let mut second = joining.await.unwrap().unwrap();
        assert!(second.poll(100, Duration::from_millis(50)).await.unwrap().is_empty(), "all of it was committed");
    }

    #[tokio::test]
    async fn a_partition_with_a_commit_on_its_way_is_not_read_by_its_next_owner() {
        let (scratch, log) = new_log();
        for key in 0..100 {
            log.publish(record(&key.to_string())).await.unwrap();
        }
        let mut first = log.subscribe("group", &[TOPIC]).await.unwrap();
        let mut second = log.subscribe("group", &[TOPIC]).await.unwrap();
        let of_second = second.poll(100, PATIENCE).await.unwrap();
        let next: Vec<Position> = of_second.iter().map(after).collect();
        assert_eq!(first.poll(100, PATIENCE).await.unwrap().len() + of_second.len(), 100);

        let busy = Busy::new(&scratch.file);
        let mut committing = Box::pin(async move {
            second.commit(&next).await.unwrap();
        });
        assert!(futures_util::poll!(&mut committing).is_pending());
        // Gone with its commit on the way: the first member owns everything now.
        drop(committing);
        assert_eq!(first.assignment().len(), 8);
        assert!(first.poll(100, Duration::from_millis(50)).await.unwrap().is_empty(), "the commit may yet succeed");
        drop(busy);
        assert!(first.poll(100, Duration::from_millis(200)).await.unwrap().is_empty(), "it did");
        log.publish(record("0")).await.unwrap();
        assert_eq!(first.poll(100, PATIENCE).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_failing_commit_of_the_file_publishes_nothing() {
        let (scratch, log) = new_log();
        log.publish(record("k")).await.unwrap();
        let mut consumer = log.subscribe("group", &[TOPIC]).await.unwrap();
        assert_eq!(consumer.poll(10, PATIENCE).await.unwrap().len(), 1);
        let busy = Busy::new(&scratch.file);
        let (one, two) = (log.publish(record("k")), log.publish(record("k")));
        let mut broken = Box::pin(break_commit(&scratch.file));
        assert!(futures_util::poll!(&mut broken).is_pending());
        drop(busy);
        for outcome in [one.await, two.await] {
            assert!(matches!(&outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
        }
        assert!(broken.await.is_err());
        assert!(consumer.poll(10, Duration::from_millis(50)).await.unwrap().is_empty());
        let next = log.publish(record("k")).await.unwrap();
        let records = consumer.poll(10, PATIENCE).await.unwrap();
        assert_eq!(records.iter().map(|record| record.position).collect::<Vec<_>>(), [next]);
        // The places that were not used do not count as a backlog for good.
        consumer.commit(&[after(&records[0])]).await.unwrap();
        assert_eq!(log.committed("group", TOPIC).await, log.end(TOPIC).await);
    }

    #[tokio::test]
    async fn without_a_confirmation_in_time_the_outcome_is_unknown() {
        let scratch = Scratch::new(EmbeddedOptions::default());
        let log = scratch.log(LogOptions { publish_timeout: Duration::from_millis(30), ..LogOptions::default() });
        let busy = Busy::new(&scratch.file);
        assert_eq!(log.publish(record("k")).await, Err(PublishError::OutcomeUnknown));
        drop(busy);
        // It was written all the same, in its order.
        assert_eq!(log.publish(record("k")).await.unwrap().offset, 1);
    }

    #[tokio::test]
    async fn what_waits_to_be_written_is_bounded() {
        let scratch = Scratch::new(EmbeddedOptions { write_queue: 3, ..EmbeddedOptions::default() });
        let log = scratch.log(LogOptions::default());
        let busy = Busy::new(&scratch.file);
        let publishing: Vec<_> = (0..4).map(|_| log.publish(record("k"))).collect();
        drop(busy);
        let outcomes = futures_util::future::join_all(publishing).await;
        assert!(outcomes[..3].iter().all(Result::is_ok), "{outcomes:?}");
        assert!(matches!(&outcomes[3], Err(PublishError::Full(_))), "{outcomes:?}");

        let scratch = Scratch::new(EmbeddedOptions::default());
        let options = LogOptions { max_in_flight_bytes: 12, max_record_bytes: 12, ..LogOptions::default() };
        let log = scratch.log(options);
        let busy = Busy::new(&scratch.file);
        // Six bytes each: a key of one and a value of five.
        let publishing: Vec<_> = (0..3).map(|_| log.publish(record("k"))).collect();
        drop(busy);
        let outcomes = futures_util::future::join_all(publishing).await;
        assert!(outcomes[..2].iter().all(Result::is_ok), "{outcomes:?}");
        assert!(matches!(&outcomes[2], Err(PublishError::Full(_))), "{outcomes:?}");
        log.publish(record("k")).await.unwrap();
    }

    #[tokio::test]
    async fn damaged_records_are_errors() {
        let scratch = Scratch::new(EmbeddedOptions::default());
        let log = scratch.log(LogOptions { recent_records: 0, ..LogOptions::default() });
        let position = log.publish(record("k")).await.unwrap();
        execute(&scratch.file, "UPDATE log_records SET headers = 'no list'").await;
        let mut consumer = log.subscribe("group", &[TOPIC]).await.unwrap();
        let damaged = consumer.poll(1, PATIENCE).await;
        assert!(matches!(&damaged, Err(LogError::Unavailable(_))), "{damaged:?}");
        assert!(log.read(position.topic_partition(), 0, 1).await.is_err());
        execute(&scratch.file, "DELETE FROM log_records").await;
        assert!(matches!(consumer.poll(1, PATIENCE).await, Err(LogError::Unavailable(_))), "a hole is no end");
    }

    #[tokio::test]
    async fn partitions_take_turns_even_record_by_record() {
        let (_scratch, log) = new_log();
        for key in 0..400 {
            log.publish(record(&key.to_string())).await.unwrap();
        }
        let mut consumer = log.subscribe("group", &[TOPIC]).await.unwrap();
        let mut counts = [0; 8];
        for _ in 0..80 {
            counts[consumer.poll(1, PATIENCE).await.unwrap()[0].position.partition as usize] += 1;
        }
        assert_eq!(counts, [10; 8]);
    }

    #[tokio::test]
    async fn a_dropped_consumer_is_forgotten() {
        let (_scratch, log) = new_log();
        let start = log.end(TOPIC).await.unwrap();
        for _ in 0..10 {
            drop(log.tail(&start).await.unwrap());
            drop(log.subscribe("group", &[TOPIC]).await.unwrap());
        }
        let state = log.shared.state.lock();
        assert!(state.topics.iter().all(|topic| topic.waiters.is_empty()));
        assert!(state.groups["group"].members.is_empty());
    }
}
