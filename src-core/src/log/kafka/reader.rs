//! Questions to the brokers that belong to no consumer: reading a page, ends, committed offsets.
//!
//! The clients are kept, because a new one takes tens of milliseconds to connect. They work on threads where waiting
//! is allowed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::Semaphore;

use super::KafkaOptions;
use super::address::Address;
use super::client::{Names, Reports, base_config, code_of, in_words, log_error, reading_config};
use super::statistics::Registry;
use crate::log::{LogError, Position, Record, Topic, TopicPartition};

/// Pages that are read at the same time; who comes later waits.
const READERS_MAX: usize = 4;
/// Groups whose committed offsets can be asked for without connecting anew.
const GROUPS_MAX: usize = 16;
/// How long a client waits for the next event at a time.
const SLICE: Duration = Duration::from_millis(50);

/// Pause before a partition without a leader is asked for again.
const LEADER_PAUSE: Duration = Duration::from_millis(20);

type Client = BaseConsumer<Reports>;

/// The clients, and how to make more.
pub(super) struct Readers {
    address: Address,
    options: KafkaOptions,
    names: Names,
    registry: Arc<Registry>,
    /// For ends; the log's watch serves what it tells.
    query: RwLock<Arc<Client>>,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
    groups: Mutex<HashMap<String, Arc<Client>>>,
}

impl Readers {
    pub(super) fn new(
        address: &Address,
        options: &KafkaOptions,
        names: &Names,
        registry: &Arc<Registry>,
    ) -> Result<Self, KafkaError> {
        let query = base_config(address, options).create_with_context(Reports::new(registry, names, None))?;
        Ok(Self {
            address: address.clone(),
            options: options.clone(),
            names: names.clone(),
            registry: Arc::clone(registry),
            query: RwLock::new(Arc::new(query)),
            idle: Mutex::default(),
            permits: Semaphore::new(READERS_MAX),
            groups: Mutex::default(),
        })
    }

    /// The client for questions about topics; a new one in place of one that has given up.
    pub(super) fn query(&self) -> Arc<Client> {
        let current = Arc::clone(&self.query.read());
        if !current.context().health.is_given_up() {
            return current;
        }
        let Ok(renewed) = self.client(&base_config(&self.address, &self.options)) else { return current };
        let renewed = Arc::new(renewed);
        let mut query = self.query.write();
        // Another thread may have been faster.
        if !Arc::ptr_eq(&query, &current) {
            return Arc::clone(&query);
        }
        *query = Arc::clone(&renewed);
        renewed
    }

    /// Serves what the clients tell, log lines above all; otherwise it would pile up in them.
    pub(super) fn serve(&self, wait: Duration) {
        // Without an assignment nothing but events comes.
        drop(self.query().poll(wait));
        let groups: Vec<Arc<Client>> = self.groups.lock().values().cloned().collect();
        for client in groups {
            while client.poll(Duration::ZERO).is_some() {}
        }
        if let Some(mut idle) = self.idle.try_lock() {
            for client in &mut *idle {
                while client.poll(Duration::ZERO).is_some() {}
            }
        }
    }

    fn client(&self, config: &ClientConfig) -> Result<Client, LogError> {
        let reports = Reports::new(&self.registry, &self.names, None);
        config.create_with_context(reports).map_err(|error| log_error(&error))
    }

    fn time_limit(&self) -> Duration {
        self.options.request_timeout
    }

    // ---- offsets ----------------------------------------------------------------------------------------

    /// One question for all partitions of the topics; answers in the order of topics and partitions.
    fn offsets(&self, topics: &[Topic], which: Offset) -> Result<Vec<Position>, LogError> {
        let deadline = Instant::now() + self.time_limit();
        loop {
            let asked = self.partitions_of(topics, which)?;
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.query().offsets_for_times(asked, left);
            let passing = match &told {
                Ok(list) => list.elements().iter().find_map(|element| element.error().err()),
                Err(error) => Some(error.clone()),
            };
            match passing {
                // A partition that was just made, or whose leader moves, has none for a moment; the client asks for
                // the new one meanwhile.
                Some(error) if is_passing(&error) && Instant::now() + LEADER_PAUSE < deadline => {
                    std::thread::sleep(LEADER_PAUSE);
                }
                _ => return self.positions(topics, &told.map_err(|error| log_error(&error))?),
            }
        }
    }

    /// The offset each partition's next record will get.
    pub(super) async fn end(self: &Arc<Self>, topic: Topic) -> Result<Vec<Position>, LogError> {
        let this = Arc::clone(self);
        blocking(move || this.offsets(&[topic], Offset::End)).await
    }

    /// The earliest offset of each partition that is kept.
    pub(super) async fn earliest(self: &Arc<Self>, topics: Vec<Topic>) -> Result<Vec<Position>, LogError> {
        let this = Arc::clone(self);
        blocking(move || this.offsets(&topics, Offset::Beginning)).await
    }

    /// The offset the group goes on from in each partition; 0 where it has committed nothing.
    pub(super) async fn committed(self: &Arc<Self>, group: &str, topic: Topic) -> Result<Vec<Position>, LogError> {
        let (this, group) = (Arc::clone(self), self.names.group(group));
        blocking(move || {
            let client = this.client_of(&group)?;
            let asked = this.partitions_of(&[topic], Offset::Invalid)?;
            let told = client.committed_offsets(asked, this.time_limit()).map_err(|error| log_error(&error))?;
            this.positions(&[topic], &told)
        })
        .await
    }

    /// A client with that group's name, which never joins it.
    fn client_of(&self, group: &str) -> Result<Arc<Client>, LogError> {
        let known = self.groups.lock().get(group).cloned();
        if let Some(client) = known.filter(|client| !client.context().health.is_given_up()) {
            return Ok(client);
        }
        let client = Arc::new(self.client(&reading_config(&self.address, &self.options, group))?);
        let mut groups = self.groups.lock();
        let is_given_up = groups.get(group).is_some_and(|client| client.context().health.is_given_up());
        let too_many = if groups.len() >= GROUPS_MAX { groups.keys().next().cloned() } else { None };
        let out = if is_given_up { Some(group.to_owned()) } else { too_many };
        let ended = out.and_then(|name| groups.remove(&name));
        let client = Arc::clone(groups.entry(group.to_owned()).or_insert(client));
        drop(groups);
        // Ending a client takes a moment; nobody else waits for that.
        drop(ended);
        Ok(client)
    }

    fn partitions_of(&self, topics: &[Topic], offset: Offset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for topic in topics {
            let name = self.names.topic(*topic);
            for partition in 0..self.options.partitions {
                list.add_partition_offset(&name, partition.cast_signed(), offset).map_err(|error| log_error(&error))?;
            }
        }
        Ok(list)
    }

    fn positions(&self, topics: &[Topic], told: &TopicPartitionList) -> Result<Vec<Position>, LogError> {
        let mut offsets: HashMap<TopicPartition, u64> = HashMap::new();
        for element in told.elements() {
            element.error().map_err(|error| log_error(&error))?;
            if let Some(at) = self.names.partition(element.topic(), element.partition()) {
                let offset = match element.offset() {
                    Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
                    _ => 0,
                };
                offsets.insert(at, offset);
            }
        }
        let mut positions = Vec::with_capacity(offsets.len());
        for topic in topics {
            for partition in 0..self.options.partitions {
                let at = TopicPartition { topic: *topic, partition };
                let offset = offsets.get(&at).copied().ok_or(LogError::NoSuchPartition(at))?;
                positions.push(Position { topic: *topic, partition, offset });
            }
        }
        Ok(positions)
    }

    // ---- pages ------------------------------------------------------------------------------------------

    /// Up to `max` records from an offset on.
    pub(super) async fn read(
        self: &Arc<Self>,
        at: TopicPartition,
        from_offset: u64,
        max: usize,
    ) -> Result<Vec<Record>, LogError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        // No record is that far.
        let Ok(from) = i64::try_from(from_offset) else { return Ok(Vec::new()) };
        let limit = tokio::time::timeout(self.time_limit(), self.permits.acquire());
        let _permit = limit.await.map_err(|_| busy())?.map_err(|_| busy())?;
        let this = Arc::clone(self);
        let page = blocking(move || this.page(at, from, max)).await?;
        let Some(records) = page else {
            // Before what is kept, or behind the end.
            let earliest = self.earliest(vec![at.topic]).await?;
            let earliest = earliest.iter().find(|p| p.topic_partition() == at).map_or(0, |p| p.offset);
            let is_gone = from_offset < earliest;
            return if is_gone { Err(LogError::Truncated { asked: from_offset, earliest }) } else { Ok(Vec::new()) };
        };
        Ok(records)
    }

    /// `None` when the brokers have no such offset.
    fn page(&self, at: TopicPartition, from: i64, max: usize) -> Result<Option<Vec<Record>>, LogError> {
        let idle = self.idle.lock().pop();
        let client = if let Some(client) = idle {
            client
        } else {
            let mut config = reading_config(&self.address, &self.options, &self.names.group("reader"));
            // The end is told, and told at once; nobody reads on from there.
            config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "1");
            self.client(&config)?
        };
        let page = self.page_with(&client, at, from, max);
        // One that failed is not used again: whatever was wrong with it goes with it.
        if page.is_ok() && client.unassign().is_ok() {
            let mut idle = self.idle.lock();
            if idle.len() < READERS_MAX {
                idle.push(client);
            }
        }
        page
    }

    fn page_with(
        &self,
        client: &Client,
        at: TopicPartition,
        from: i64,
        max: usize,
    ) -> Result<Option<Vec<Record>>, LogError> {
        let deadline = Instant::now() + self.time_limit();
        let mut list = TopicPartitionList::new();
        let (name, partition) = (self.names.topic(at.topic), at.partition.cast_signed());
        list.add_partition_offset(&name, partition, Offset::Offset(from))
            .and_then(|()| client.assign(&list))
            .map_err(|error| log_error(&error))?;
        let mut records = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LogError::Unavailable(client.context().health.reason()));
            }
            match client.poll(left.min(SLICE)) {
                None => {}
                Some(Ok(message)) => {
                    if let Some(record) = self.names.record(&message)
                        && record.position.topic_partition() == at
                    {
                        records.push(record);
                        if records.len() >= max {
                            return Ok(Some(records));
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(end_of))) if end_of == partition => return Ok(Some(records)),
                Some(Err(error)) => match code_of(&error) {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => return Ok(None),
                    Some(code) if is_final(code) => return Err(LogError::Unavailable(in_words(code))),
                    // The client tries again by itself, until there is no time left.
                    _ => {}
                },
            }
        }
    }
}

/// Errors of a partition that has no leader at the moment.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        code_of(error),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::ReplicaNotAvailable
                | Code::FencedLeaderEpoch
                // This broker has not heard of the leader yet of whom the client knows already.
                | Code::UnknownLeaderEpoch
        )
    )
}

/// Errors that trying again does not mend.
pub(super) fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopicId
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::Fatal
    )
}

fn busy() -> LogError {
    LogError::Unavailable("too many pages are read at the same time".to_owned())
}

/// Runs what waits for the brokers where waiting is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(LogError::Unavailable("the program ends".to_owned())),
    }
}
