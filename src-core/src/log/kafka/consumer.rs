//! Members of consumer groups, and readers without a group.
//!
//! A client's main queue is served by a thread of its own, so that a member takes part in rebalances also while its
//! owner works on a batch. Each partition has a queue of its own, which `poll` empties in turns without waiting.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Statistics};
use tokio::sync::Notify;

use super::KafkaOptions;
use super::address::Address;
use super::client::{Names, Reports, code_of, in_words, log_error, millis, reading_config};
use super::reader::{Readers, blocking, is_final};
use super::statistics::Registry;
use crate::log::{Consumer, LogError, Position, Record, Topic, TopicPartition};

/// How long the thread waits for an event at a time; a dropped consumer leaves its group after at most this.
const SLICE: Duration = Duration::from_millis(50);
/// Longest single wait of `poll`: a wake-up that got lost would cost this much.
const WAIT_SLICE: Duration = Duration::from_millis(250);
/// Pause before a commit is tried again that met a rebalance.
const COMMIT_PAUSE: Duration = Duration::from_millis(20);
/// Longest single wait of `poll`; keeps a huge `max_wait` from overflowing the clock.
const WAIT_MAX: Duration = Duration::from_hours(24);

type Client = BaseConsumer<Member>;

/// A partition that is read at the moment.
struct Share {
    at: TopicPartition,
    /// Grows with every partition that is taken over. It fences commits: a member that lost the partition and got it
    /// back must start again from the committed offset.
    epoch: u64,
    queue: PartitionQueue<Member>,
    /// The offset that is polled next.
    next: u64,
    /// What was committed last.
    committed: u64,
}

#[derive(Default)]
struct Shares {
    list: Vec<Share>,
    last_epoch: u64,
    /// Which share is polled first next time.
    turn: usize,
}

/// What the consumer, its thread and the client share. The queues of its shares hold the client, which holds this:
/// the thread lets go of them when it ends.
struct Shared {
    names: Names,
    shares: Mutex<Shares>,
    /// Something to poll, or another assignment.
    news: Arc<Notify>,
    /// Why this consumer will get nothing more.
    failure: Mutex<Option<LogError>>,
    /// Held during a commit: a partition is given up only when no commit for it is on its way, so that nothing is
    /// committed by two members.
    gate: Mutex<()>,
    stop: AtomicBool,
    patience: Duration,
}

impl Shared {
    fn fail(&self, error: LogError) {
        self.failure.lock().get_or_insert(error);
        self.news.notify_one();
    }
}

/// What the client tells the consumer.
struct Member {
    reports: Reports,
    shared: Arc<Shared>,
    /// The client this belongs to, for the queues of its partitions.
    client: OnceLock<Weak<Client>>,
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reports.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.reports.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let is_down = code_of(&error) == Some(Code::AllBrokersDown);
        self.reports.error(error, reason);
        if is_down {
            self.shared.news.notify_one();
        }
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, client: &Client, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let result = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(client, list),
            _ => self.revoked(client, list),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "a rebalance failed");
            self.shared.fail(log_error(&error));
        }
    }
}

impl Member {
    fn assigned(&self, client: &Client, list: &TopicPartitionList) -> Result<(), KafkaError> {
        // Asked here and not left to the client: where nothing is committed the group starts at the beginning, but
        // an offset that is no longer kept is an error.
        let committed = match client.committed_offsets(list.clone(), self.shared.patience) {
            Ok(committed) => committed,
            Err(error) => {
                client.incremental_assign(list)?;
                return Err(error);
            }
        };
        let mut starts = TopicPartitionList::new();
        for element in committed.elements() {
            let offset = match element.offset() {
                Offset::Offset(offset) => Offset::Offset(offset),
                _ => Offset::Beginning,
            };
            starts.add_partition_offset(element.topic(), element.partition(), offset)?;
        }
        self.take_over(&starts)?;
        client.incremental_assign(&starts)?;
        self.reports.health.is_up();
        self.shared.news.notify_one();
        Ok(())
    }

    /// Gives each partition a queue of its own; before the client starts to fetch it.
    fn take_over(&self, starts: &TopicPartitionList) -> Result<(), KafkaError> {
        let Some(client) = self.client.get().and_then(Weak::upgrade) else { return Ok(()) };
        for element in starts.elements() {
            let (name, partition) = (element.topic(), element.partition());
            let Some(at) = self.shared.names.partition(name, partition) else { continue };
            let no_queue = || KafkaError::Subscription(format!("{name}/{partition} has no queue"));
            let mut queue = client.split_partition_queue(name, partition).ok_or_else(no_queue)?;
            let news = Arc::clone(&self.shared.news);
            queue.set_nonempty_callback(move || news.notify_one());
            let next = match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
                _ => 0,
            };
            let mut shares = self.shared.shares.lock();
            shares.last_epoch += 1;
            let epoch = shares.last_epoch;
            shares.list.retain(|share| share.at != at);
            shares.list.push(Share { at, epoch, queue, next, committed: next });
        }
        Ok(())
    }

    fn revoked(&self, client: &Client, list: &TopicPartitionList) -> Result<(), KafkaError> {
        // A commit that does not come to its end is fenced by the brokers at the latest.
        let _gate = self.shared.gate.try_lock_for(self.shared.patience);
        let elements = list.elements();
        let lost = |at: TopicPartition| {
            elements.iter().any(|e| self.shared.names.partition(e.topic(), e.partition()) == Some(at))
        };
        self.shared.shares.lock().list.retain(|share| !lost(share.at));
        client.incremental_unassign(list)?;
        self.shared.news.notify_one();
        Ok(())
    }
}

/// How a commit went.
enum Committed {
    Done(Option<TopicPartition>),
    /// A rebalance is under way, or the group moves to another broker.
    Again(Code),
}

/// Whether the brokers refuse a commit only because the group is about to agree on something else. A member that is
/// thought gone, or is of an older generation, may keep its partitions: in a cooperative rebalance it joins again with
/// them. When it does lose them, the next attempt finds that they are not its own any more.
fn is_between_generations(code: Code) -> bool {
    matches!(
        code,
        Code::RebalanceInProgress
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::WaitingForCoordinator
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::StaleMemberEpoch
            | Code::AssignmentLost
    )
}

impl Shared {
    /// Commits what is still owned. Waits for the brokers.
    fn commit(&self, client: &Client, wanted: &[(Position, Option<u64>)]) -> Result<Committed, LogError> {
        let _gate = self.gate.lock();
        let mut revoked = None;
        let mut list = TopicPartitionList::new();
        let mut entered = Vec::new();
        {
            let shares = self.shares.lock();
            for (position, epoch) in wanted {
                let at = position.topic_partition();
                let Some(share) = shares.list.iter().find(|share| share.at == at && Some(share.epoch) == *epoch) else {
                    revoked.get_or_insert(at);
                    continue;
                };
                // A group never goes backwards.
                if position.offset <= share.committed {
                    continue;
                }
                let offset = Offset::Offset(i64::try_from(position.offset).unwrap_or(i64::MAX));
                list.add_partition_offset(&self.names.topic(at.topic), at.partition.cast_signed(), offset)
                    .map_err(|error| log_error(&error))?;
                entered.push((*position, share.epoch));
            }
        }
        if entered.is_empty() {
            return Ok(Committed::Done(revoked));
        }
        match client.commit(&list, CommitMode::Sync) {
            Ok(()) => {}
            Err(error) => match code_of(&error) {
                Some(Code::NoOffset) => {}
                Some(code) if is_between_generations(code) => return Ok(Committed::Again(code)),
                _ => return Err(log_error(&error)),
            },
        }
        let mut shares = self.shares.lock();
        for (position, epoch) in entered {
            if let Some(share) = shares.list.iter_mut().find(|share| share.epoch == epoch) {
                share.committed = position.offset;
            }
        }
        Ok(Committed::Done(revoked))
    }
}

/// A member of a group, or a reader without one.
pub(super) struct KafkaConsumer {
    /// Gone only while it is dropped.
    client: Option<Arc<Client>>,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    is_member: bool,
    /// For each partition, the epoch of what was polled last.
    polled: HashMap<TopicPartition, u64>,
    /// An error that came with records before it; the next poll tells it.
    later: Option<LogError>,
    /// Offsets that are not there any more, to be looked up.
    out_of_range: Option<(TopicPartition, u64)>,
}

impl KafkaConsumer {
    fn start(
        address: &Address,
        options: &KafkaOptions,
        names: &Names,
        registry: &Arc<Registry>,
        readers: &Arc<Readers>,
        group: Option<&str>,
    ) -> Result<Self, LogError> {
        let mut config = reading_config(address, options, &names.group(group.unwrap_or("tail")));
        if group.is_some() {
            config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", millis(options.session_timeout))
                .set("heartbeat.interval.ms", millis(options.heartbeat_interval));
        }
        let shared = Arc::new(Shared {
            names: names.clone(),
            shares: Mutex::default(),
            news: Arc::default(),
            failure: Mutex::default(),
            gate: Mutex::default(),
            stop: AtomicBool::new(false),
            patience: options.request_timeout,
        });
        let reports = Reports::new(registry, names, group);
        let member = Member { reports, shared: Arc::clone(&shared), client: OnceLock::new() };
        let client: Client = config.create_with_context(member).map_err(|error| log_error(&error))?;
        let client = Arc::new(client);
        // Nobody else has set it.
        let (Ok(()) | Err(_)) = client.context().client.set(Arc::downgrade(&client));
        let (of_thread, state) = (Arc::clone(&client), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || serve(of_thread, &state))
            .map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Self {
            client: Some(client),
            shared,
            readers: Arc::clone(readers),
            is_member: group.is_some(),
            polled: HashMap::new(),
            later: None,
            out_of_range: None,
        })
    }

    /// Joins a group. Waits until the group has given it a share, for a while: one member more than there are
    /// partitions gets none.
    pub(super) async fn join(
        address: &Address,
        options: &KafkaOptions,
        names: &Names,
        registry: &Arc<Registry>,
        readers: &Arc<Readers>,
        group: &str,
        topics: &[Topic],
    ) -> Result<Self, LogError> {
        let deadline = tokio::time::Instant::now() + options.request_timeout;
        // Whether the topics are there is said now, not by the first poll.
        readers.earliest(topics.to_vec()).await?;
        let consumer = Self::start(address, options, names, registry, readers, Some(group))?;
        let topics: Vec<String> = topics.iter().map(|topic| names.topic(*topic)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.client()?.subscribe(&topics).map_err(|error| log_error(&error))?;
        loop {
            if let Some(error) = consumer.shared.failure.lock().clone() {
                return Err(error);
            }
            if !consumer.shared.shares.lock().list.is_empty() {
                return Ok(consumer);
            }
            if tokio::time::timeout_at(deadline, consumer.shared.news.notified()).await.is_err() {
                return Ok(consumer);
            }
        }
    }

    /// Reads partitions from there on, without a group.
    pub(super) async fn tail(
        address: &Address,
        options: &KafkaOptions,
        names: &Names,
        registry: &Arc<Registry>,
        readers: &Arc<Readers>,
        from: &[Position],
    ) -> Result<Self, LogError> {
        let mut topics: Vec<Topic> = from.iter().map(|position| position.topic).collect();
        topics.sort_unstable();
        topics.dedup();
        let earliest = readers.earliest(topics).await?;
        let mut starts = TopicPartitionList::new();
        for position in from {
            let at = position.topic_partition();
            let kept = earliest.iter().find(|p| p.topic_partition() == at).ok_or(LogError::NoSuchPartition(at))?;
            if position.offset < kept.offset {
                return Err(LogError::Truncated { asked: position.offset, earliest: kept.offset });
            }
            let offset = Offset::Offset(i64::try_from(position.offset).unwrap_or(i64::MAX));
            starts
                .add_partition_offset(&names.topic(at.topic), at.partition.cast_signed(), offset)
                .map_err(|error| log_error(&error))?;
        }
        let consumer = Self::start(address, options, names, registry, readers, None)?;
        let client = consumer.client()?;
        client.context().take_over(&starts).and_then(|()| client.assign(&starts)).map_err(|error| log_error(&error))?;
        Ok(consumer)
    }

    fn client(&self) -> Result<&Arc<Client>, LogError> {
        self.client.as_ref().ok_or_else(|| LogError::Unavailable("the consumer is closed".to_owned()))
    }

    /// Up to `max` records of those that are here, the partitions in turns. Does not wait.
    fn take(&mut self, max: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut shares = self.shared.shares.lock();
        let count = shares.list.len();
        let mut is_more = count > 0;
        while is_more && records.len() < max {
            is_more = false;
            // As much of each as makes it even, so that a long backlog of one does not keep the others waiting.
            let each = (max - records.len()).div_ceil(count);
            for _ in 0..count {
                let turn = shares.turn % count;
                shares.turn = turn + 1;
                let Share { at, epoch, queue, next, .. } = &mut shares.list[turn];
                for _ in 0..each.min(max - records.len()) {
                    match queue.poll(Duration::ZERO) {
                        None => break,
                        Some(Ok(message)) => {
                            let Some(record) = self.shared.names.record(&message) else { continue };
                            *next = record.position.offset + 1;
                            self.polled.insert(*at, *epoch);
                            records.push(record);
                            is_more = true;
                        }
                        Some(Err(error)) => {
                            match code_of(&error) {
                                Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                                    self.out_of_range = Some((*at, *next));
                                }
                                Some(code) if is_final(code) => {
                                    self.later = Some(LogError::Unavailable(in_words(code)));
                                }
                                // The client tries again by itself.
                                _ => {}
                            }
                            break;
                        }
                    }
                }
                if records.len() >= max {
                    break;
                }
            }
        }
        records
    }

    /// What is wrong, when there is nothing to poll.
    async fn trouble(&mut self) -> Result<(), LogError> {
        if let Some((at, asked)) = self.out_of_range {
            let earliest = self.readers.earliest(vec![at.topic]).await?;
            let earliest = earliest.iter().find(|p| p.topic_partition() == at).map_or(0, |p| p.offset);
            let error = if asked < earliest {
                LogError::Truncated { asked, earliest }
            } else {
                LogError::Unavailable(format!("{}/{} ends before offset {asked}", at.topic, at.partition))
            };
            // The client does not go on with that partition.
            self.shared.fail(error);
            self.out_of_range = None;
        }
        if let Some(error) = self.later.take() {
            return Err(error);
        }
        if let Some(error) = self.shared.failure.lock().clone() {
            return Err(error);
        }
        // A moment without brokers is no trouble: the client goes on by itself when they are back.
        let health = &self.client()?.context().reports.health;
        match health.down_for() {
            Some(down) if down >= self.shared.patience / 2 => Err(LogError::Unavailable(health.reason())),
            _ => Ok(()),
        }
    }
}

/// Serves a client until it is dropped: rebalances, errors, figures. Then leaves the group.
fn serve(client: Arc<Client>, shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        match client.poll(SLICE) {
            // Records come by the queues of their partitions.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => match code_of(&error) {
                Some(code) if is_final(code) => shared.fail(LogError::Unavailable(in_words(code))),
                _ => {}
            },
        }
    }
    // They hold the client.
    let shares = std::mem::take(&mut shared.shares.lock().list);
    drop(shares);
    drop(client);
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Record>, LogError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + max_wait.min(WAIT_MAX);
        loop {
            // Nothing is waited for between taking records and giving them out, so a poll that is dropped loses none.
            let records = self.take(max);
            if !records.is_empty() {
                return Ok(records);
            }
            self.trouble().await?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            // A notification between `take` and here is kept as a permit, so none is missed.
            let news = tokio::time::timeout(left.min(WAIT_SLICE), self.shared.news.notified());
            let (Ok(()) | Err(_)) = news.await;
        }
    }

    async fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        if !self.is_member {
            return Err(LogError::Unavailable("a reader without a group has nothing to commit for".to_owned()));
        }
        if next.is_empty() {
            return Ok(());
        }
        let epoch_of = |position: &Position| (*position, self.polled.get(&position.topic_partition()).copied());
        let wanted: Arc<[(Position, Option<u64>)]> = next.iter().map(epoch_of).collect();
        let deadline = tokio::time::Instant::now() + self.shared.patience;
        loop {
            let (client, shared, wanted) = (Arc::clone(self.client()?), Arc::clone(&self.shared), Arc::clone(&wanted));
            let attempt = blocking(move || shared.commit(&client, &wanted));
            let outcome = tokio::time::timeout_at(deadline, attempt).await;
            let late = || LogError::Unavailable("the brokers did not confirm the commit in time".to_owned());
            match outcome.map_err(|_| late())?? {
                Committed::Done(None) => return Ok(()),
                Committed::Done(Some(at)) => return Err(LogError::Revoked(at)),
                Committed::Again(code) => {
                    if tokio::time::Instant::now() + COMMIT_PAUSE >= deadline {
                        return Err(LogError::Unavailable(in_words(code)));
                    }
                    tokio::time::sleep(COMMIT_PAUSE).await;
                }
            }
        }
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        let mut assignment: Vec<TopicPartition> = self.shared.shares.lock().list.iter().map(|share| share.at).collect();
        assignment.sort_unstable();
        assignment
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        // In this order, so that the thread holds the last handle: leaving a group takes a moment.
        self.client.take();
        self.shared.stop.store(true, Ordering::Release);
    }
}
