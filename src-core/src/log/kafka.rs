//! The event log at Kafka (S2): partitions, consumer groups, committed offsets and redelivery are the brokers'.
//!
//! A record's partition follows from its key by the hash of the Java clients, and its offset is the message's `seq`:
//! so topics are made here with a fixed number of partitions, and never made again in silence when they disappear.
//! Every wait has a limit, and every client goes on by itself when the brokers are back.

mod address;
mod admin;
mod client;
mod consumer;
mod producer;
mod reader;
mod statistics;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode as Code;

pub use self::address::AddressError;
use self::address::{Address, shown};
use self::admin::Admin;
use self::client::{Names, base_config, log_error};
use self::consumer::KafkaConsumer;
use self::producer::{Producer, bytes_of};
use self::reader::{Readers, blocking};
use self::statistics::Registry;
pub use self::statistics::{BrokerStatistics, KafkaStatistics, ReaderStatistics};
use super::{
    Consumer, EventLog, LogError, NewRecord, Position, PublishError, Publishing, Record, Topic, TopicPartition,
};

/// Most partitions of a topic.
const PARTITIONS_MAX: u32 = 10_000;
/// What the brokers' format adds to a record at most, with as many headers as make sense.
const FRAMING_BYTES: usize = 128 * 1_024;
/// How long no broker has to be there until records are refused at once.
const DOWN_GRACE: Duration = Duration::from_millis(500);
/// How often the log looks whether the brokers are back; and how often it serves its clients otherwise.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long one look at the brokers takes at most.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// How much later than the client itself the log gives up on a confirmation.
const CONFIRMATION_GRACE: Duration = Duration::from_secs(1);
/// How many times [`KafkaOptions::request_timeout`] the partitions of new topics may take to get their leaders: brokers
/// under load take longer for that than for an answer.
const LEADERS_PATIENCE: u32 = 4;
/// Between two questions for them.
const LEADERS_PAUSE: Duration = Duration::from_millis(100);

/// Settings of a [`KafkaLog`].
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port,host:port`, or a URL where TLS or a password is needed:
    /// `sasl_ssl://user:password@host:port?mechanism=SCRAM-SHA-256&ca=/path`; also `ssl://` and `sasl_plaintext://`.
    pub brokers: String,
    /// Stands before the names of topics and groups, such as `ackscope-x.`; logs with different ones share nothing.
    pub topic_prefix: String,
    /// Partitions of every topic; fixed when the topics are made.
    pub partitions: u32,
    /// Copies of every partition when topics are made; -1 leaves it to the brokers.
    pub replication: i32,
    /// How long [`EventLog::publish`] waits for the brokers' confirmation before the outcome counts as unknown.
    pub publish_timeout: Duration,
    /// Limit of every other question to the brokers, joining a group included.
    pub request_timeout: Duration,
    /// Largest record in bytes: key, headers and value together.
    pub max_record_bytes: usize,
    /// Records handed over and not yet confirmed, at most.
    pub queue_records: u32,
    /// Bytes of them, at most.
    pub queue_bytes: usize,
    /// How long the producer waits for more records to send with one, in milliseconds.
    pub linger_ms: u32,
    /// After how long without a sign of life a member has left its group. Brokers take 6 s to 30 min by default.
    pub session_timeout: Duration,
    /// How often a member gives a sign of life. Rebalances are heard of by it, and a change of members takes two of
    /// them, so this is what a takeover takes; hence shorter than the usual 3 s.
    pub heartbeat_interval: Duration,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            topic_prefix: String::new(),
            partitions: 8,
            replication: -1,
            publish_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            max_record_bytes: 1_024 * 1_024,
            queue_records: 100_000,
            queue_bytes: 64 * 1_024 * 1_024,
            linger_ms: 0,
            session_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(1),
        }
    }
}

impl KafkaOptions {
    /// The largest message of the brokers' format.
    fn max_message_bytes(&self) -> usize {
        (self.max_record_bytes + FRAMING_BYTES).min(1_000_000_000)
    }

    fn check(&self) -> Result<(), KafkaStartError> {
        let setting = |text: String| Err(KafkaStartError::Setting(text));
        if self.partitions == 0 || self.partitions > PARTITIONS_MAX {
            return setting(format!("a log has 1 to {PARTITIONS_MAX} partitions"));
        }
        if self.replication == 0 || self.replication < -1 {
            return setting("replication is a number of copies, or -1 for the brokers' own".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.topic_prefix.len() > 200 || !self.topic_prefix.chars().all(is_name) {
            return setting(
                "the prefix of topics is at most 200 letters, digits, dots, dashes, underscores".to_owned(),
            );
        }
        Ok(())
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &shown(&self.brokers))
            .field("topic_prefix", &self.topic_prefix)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("publish_timeout", &self.publish_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("max_record_bytes", &self.max_record_bytes)
            .finish_non_exhaustive()
    }
}

/// Why the log cannot be used. No sentence repeats a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaStartError {
    /// The address cannot be read: a mistake of whoever wrote it.
    #[error("the address of the Kafka brokers is wrong: {0}")]
    Address(#[from] AddressError),
    /// Another setting cannot be.
    #[error("{0}")]
    Setting(String),
    /// The address needs what this program was built without.
    #[error("this program was built without TLS and SCRAM for Kafka; build it with the feature `kafka-tls`")]
    TlsNotBuiltIn,
    /// Nothing listens there.
    #[error("nothing listens at the address of the Kafka brokers: {0}")]
    Refused(String),
    /// Nobody answers.
    #[error("the Kafka brokers do not answer: {0}")]
    Unreachable(String),
    /// The brokers do not accept the user.
    #[error("the Kafka brokers do not accept the user or the password: {0}")]
    Authentication(String),
    /// TLS failed.
    #[error("no protected connection to the Kafka brokers came about: {0}")]
    Tls(String),
    /// The user may not do what the log needs.
    #[error("the Kafka brokers do not permit what the log needs: {0}")]
    NotPermitted(String),
    /// The brokers cannot do what the log needs.
    #[error("the Kafka brokers are too old, at least 2.4 is needed: {0}")]
    TooOld(String),
    /// A topic has another number of partitions; `seq` is an offset, so it cannot change.
    #[error("topic {topic} has {found} partitions and {asked} are asked for; the number is fixed for good")]
    Partitions {
        /// The topic at the brokers.
        topic: String,
        /// How many it has.
        found: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// A topic takes only smaller records.
    #[error("topic {topic} takes records of {limit} bytes and {needed} are needed; raise its max.message.bytes")]
    RecordLimit {
        /// The topic at the brokers.
        topic: String,
        /// The most it takes, in bytes.
        limit: usize,
        /// The log's own limit, in bytes.
        needed: usize,
    },
    /// A topic could not be made as asked for.
    #[error("topic {topic} could not be made: {reason}")]
    TopicRefused {
        /// The topic.
        topic: String,
        /// What the brokers say.
        reason: String,
    },
    /// A topic was made and cannot be used yet.
    #[error("topic {topic} was not ready in time")]
    TopicNotReady {
        /// The topic.
        topic: String,
    },
    /// Anything else.
    #[error("no client of the Kafka brokers could be made: {0}")]
    Client(String),
}

/// The event log at Kafka. Clones are handles of one log.
#[derive(Clone)]
pub struct KafkaLog {
    inner: Arc<Inner>,
}

struct Inner {
    options: KafkaOptions,
    address: Address,
    names: Names,
    registry: Arc<Registry>,
    readers: Option<Arc<Readers>>,
    producer: Arc<Publisher>,
    /// Names of groups that were used, as they are at the brokers.
    groups: Mutex<BTreeSet<String>>,
    stop: Arc<AtomicBool>,
}

/// The producer, and how to make another one: a client that failed for good is replaced.
struct Publisher {
    options: KafkaOptions,
    address: Address,
    names: Names,
    registry: Arc<Registry>,
    current: RwLock<Option<Producer>>,
}

impl Publisher {
    fn start(&self) -> Result<(), KafkaError> {
        let started = Producer::start(&self.address, &self.options, &self.names, &self.registry)?;
        *self.current.write() = Some(started);
        Ok(())
    }

    /// Replaces the producer if it is one of these.
    fn renew(&self, is_spent: impl Fn(&Producer) -> bool) -> Result<(), KafkaError> {
        let mut current = self.current.write();
        // Another thread may have done it meanwhile.
        if current.as_ref().is_some_and(is_spent) {
            tracing::warn!("the producer cannot be used any more; another one takes its place");
            *current = Some(Producer::start(&self.address, &self.options, &self.names, &self.registry)?);
        }
        Ok(())
    }

    /// Looks whether brokers that were gone are back. `are_there` asks somebody else.
    fn look(&self, are_there: impl FnOnce(&str) -> bool) {
        let is_down = |producer: &Producer| producer.health().down_for().is_some();
        let Some(client) = self.current.read().as_ref().filter(|it| is_down(it)).and_then(Producer::client) else {
            return;
        };
        let topic = self.names.topic(Topic::MessageSent);
        // A client that has nothing to send does not connect again by itself.
        if client.client().fetch_metadata(Some(&topic), PROBE_LIMIT).is_ok() {
            if let Some(producer) = &*self.current.read() {
                producer.health().is_up();
            }
            return;
        }
        // Nothing it still holds may come after what another one sends.
        let is_spent = |producer: &Producer| producer.health().is_given_up() && producer.is_idle();
        if self.current.read().as_ref().is_some_and(is_spent)
            && are_there(&topic)
            && let Err(error) = self.renew(is_spent)
        {
            tracing::warn!(%error, "no other producer could be made");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // In this order, so that the watch holds the last handles: ending a client takes a moment.
        self.readers.take();
        self.producer.current.write().take();
        self.stop.store(true, Ordering::Release);
    }
}

impl KafkaLog {
    /// Connects, makes the topics that are missing and checks those that are there. Takes at most a few times
    /// [`KafkaOptions::request_timeout`].
    pub fn connect(options: &KafkaOptions) -> BoxFuture<'_, Result<Self, KafkaStartError>> {
        Box::pin(async move {
            let address = Address::parse(&options.brokers)?;
            if address.needs_tls() && !cfg!(feature = "kafka-tls") {
                return Err(KafkaStartError::TlsNotBuiltIn);
            }
            options.check()?;
            let (names, registry) = (Names::new(&options.topic_prefix), Arc::new(Registry::default()));
            let start_error = |error: KafkaError| KafkaStartError::from_error(&error);
            let readers = Arc::new(Readers::new(&address, options, &names, &registry).map_err(start_error)?);
            let producer = Arc::new(Publisher {
                options: options.clone(),
                address: address.clone(),
                names: names.clone(),
                registry: Arc::clone(&registry),
                current: RwLock::default(),
            });
            let inner = Inner {
                options: options.clone(),
                address,
                names,
                registry,
                readers: Some(Arc::clone(&readers)),
                producer,
                groups: Mutex::default(),
                stop: Arc::default(),
            };
            let log = Self { inner: Arc::new(inner) };
            log.watch(Arc::clone(&readers)).map_err(|error| KafkaStartError::Client(error.to_string()))?;
            log.reach(&readers).await?;
            log.ensure_topics(&readers).await?;
            log.inner.producer.start().map_err(start_error)?;
            log.warm_up().await;
            drop(readers);
            Ok(log)
        })
    }

    /// Serves what the clients tell, and looks whether brokers that were gone are back.
    fn watch(&self, readers: Arc<Readers>) -> std::io::Result<()> {
        let (stop, producer) = (Arc::clone(&self.inner.stop), Arc::clone(&self.inner.producer));
        std::thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || {
            while !stop.load(Ordering::Acquire) {
                readers.serve(WATCH_INTERVAL);
                producer.look(|topic| readers.query().client().fetch_metadata(Some(topic), PROBE_LIMIT).is_ok());
            }
        })?;
        Ok(())
    }

    /// Waits until a broker answers, or says why none does.
    async fn reach(&self, readers: &Arc<Readers>) -> Result<(), KafkaStartError> {
        let (this, limit) = (Arc::clone(readers), self.inner.options.request_timeout);
        let deadline = Instant::now() + limit;
        let name = self.inner.names.topic(Topic::MessageSent);
        let reached = tokio::task::spawn_blocking(move || {
            loop {
                let client = this.query();
                let health = &client.context().health;
                let slice = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(250));
                if slice.is_zero() {
                    return Err(match health.last_error() {
                        Some((code, reason)) => KafkaStartError::from_code(code, &reason),
                        None => KafkaStartError::Unreachable("there was no answer in time".to_owned()),
                    });
                }
                match client.client().fetch_metadata(Some(&name), slice) {
                    Ok(_) => return Ok(()),
                    Err(error) => match KafkaStartError::from_error(&error) {
                        KafkaStartError::Unreachable(_) => {}
                        certain => return Err(certain),
                    },
                }
                // Waiting longer does not help where the answer is no.
                match health.last_error() {
                    Some((Code::BrokerTransportFailure, reason))
                        if health.down_for().is_some() && reason.contains("refused") =>
                    {
                        return Err(KafkaStartError::Refused(reason));
                    }
                    Some((code @ (Code::Authentication | Code::SSL | Code::UnsupportedFeature), reason)) => {
                        return Err(KafkaStartError::from_code(code, &reason));
                    }
                    Some((Code::Resolve, reason)) if health.down_for().is_some() => {
                        return Err(KafkaStartError::Unreachable(reason));
                    }
                    _ => {}
                }
            }
        });
        reached.await.map_err(|error| KafkaStartError::Client(error.to_string()))?
    }

    async fn ensure_topics(&self, readers: &Arc<Readers>) -> Result<(), KafkaStartError> {
        let Inner { options, names, address, .. } = &*self.inner;
        let look = |until_ready: bool| {
            let (readers, names, options) = (Arc::clone(readers), names.clone(), options.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let client = readers.query();
                if until_ready {
                    admin::wait_until_ready(client.client(), &names, &options)?;
                }
                admin::missing(client.client(), &names, &options)
            });
            looked.map(|looked| looked.map_err(|error| KafkaStartError::Client(error.to_string()))?)
        };
        let missing = look(false).await?;
        let admin = Admin::new(&base_config(address, options), options.request_timeout)
            .map_err(|error| KafkaStartError::from_error(&error))?;
        if !missing.is_empty() {
            admin.make(&missing, names, options).await?;
            look(true).await?;
            self.until_led(readers, &missing).await?;
        }
        let there: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| !missing.contains(topic)).collect();
        if !there.is_empty() {
            admin.check_sizes(&there, names, options).await?;
        }
        Ok(())
    }

    /// Waits until every partition of topics that were made has its leader. Brokers tell of a leader before it is one,
    /// and only one that is knows where a partition begins. A producer that begins earlier is refused, and may lose what
    /// it sends first (see `Deliveries`).
    async fn until_led(&self, readers: &Arc<Readers>, made: &[Topic]) -> Result<(), KafkaStartError> {
        let deadline = Instant::now() + LEADERS_PATIENCE * self.inner.options.request_timeout;
        while let Err(error) = readers.earliest(made.to_vec()).await {
            tracing::info!(%error, "topics that were made have no leaders yet");
            if Instant::now() >= deadline {
                let topic = made.first().copied().unwrap_or(Topic::MessageSent);
                return Err(KafkaStartError::TopicNotReady { topic: self.inner.names.topic(topic) });
            }
            tokio::time::sleep(LEADERS_PAUSE).await;
        }
        Ok(())
    }

    /// Lets the producer find the topics now, so that the first message does not wait for it.
    async fn warm_up(&self) {
        let Some(client) = self.inner.producer.current.read().as_ref().and_then(Producer::client) else { return };
        let (names, limit) = (self.inner.names.clone(), self.inner.options.request_timeout);
        let warm = blocking(move || {
            for topic in Topic::ALL {
                client.client().fetch_metadata(Some(&names.topic(topic)), limit).map_err(|error| log_error(&error))?;
            }
            Ok(())
        });
        if let Err(error) = warm.await {
            tracing::debug!(%error, "the producer does not know the topics yet");
        }
    }

    /// Figures of the log's clients, at most about a second old.
    pub fn statistics(&self) -> KafkaStatistics {
        self.inner.registry.statistics()
    }

    /// Deletes the topics with everything in them, and the groups: those with this log's prefix, or without a prefix
    /// those this log has used. Whatever still reads or publishes gets errors.
    pub fn delete_topics(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let Inner { options, names, address, .. } = &*self.inner;
            let admin = Admin::new(&base_config(address, options), options.request_timeout)
                .map_err(|error| log_error(&error))?;
            let topics: Vec<String> = Topic::ALL.into_iter().map(|topic| names.topic(topic)).collect();
            admin.delete_topics(&topics).await.map_err(|error| log_error(&error))?;
            let mut groups: BTreeSet<String> = self.inner.groups.lock().clone();
            if !names.prefix().is_empty() {
                let (readers, prefix) = (Arc::clone(self.readers()?), names.prefix().to_owned());
                let limit = options.request_timeout;
                let found = blocking(move || {
                    admin::groups_of(readers.query().client(), &prefix, limit).map_err(|error| log_error(&error))
                });
                groups.extend(found.await?);
            }
            let groups: Vec<String> = groups.into_iter().collect();
            admin.delete_groups(&groups).await.map_err(|error| log_error(&error))
        })
    }

    fn readers(&self) -> Result<&Arc<Readers>, LogError> {
        self.inner.readers.as_ref().ok_or_else(|| LogError::Unavailable("the log is closed".to_owned()))
    }

    fn check(&self, at: TopicPartition) -> Result<(), LogError> {
        if at.partition < self.inner.options.partitions { Ok(()) } else { Err(LogError::NoSuchPartition(at)) }
    }

    /// Hands a record over.
    fn send(&self, record: &NewRecord, bytes: usize) -> Result<producer::Answer, PublishError> {
        let inner = &*self.inner;
        let closed = || PublishError::Unavailable("the log is closed".to_owned());
        let is_fatal = |producer: &Producer| producer.health().is_fatal();
        let mut current = inner.producer.current.read();
        if current.as_ref().is_some_and(is_fatal) {
            drop(current);
            inner.producer.renew(is_fatal).map_err(|error| PublishError::Unavailable(error.to_string()))?;
            current = inner.producer.current.read();
        }
        let producer = current.as_ref().ok_or_else(closed)?;
        // Hoarding records that nobody can take would only tell their senders later.
        if producer.health().down_for().is_some_and(|down| down >= DOWN_GRACE) {
            return Err(PublishError::Unavailable(producer.health().reason()));
        }
        producer.send(&inner.names.topic(record.topic), record, bytes)
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("options", &self.inner.options).finish()
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    fn partitions(&self) -> u32 {
        self.inner.options.partitions
    }

    fn publish(&self, record: NewRecord) -> Publishing {
        let refuse = |error| futures_util::future::ready(Err(error)).boxed();
        let (bytes, max_bytes) = (bytes_of(&record), self.inner.options.max_record_bytes);
        if bytes > max_bytes {
            return refuse(PublishError::TooLarge { bytes, max_bytes });
        }
        let answered = match self.send(&record, bytes) {
            Ok(answered) => answered,
            Err(error) => return refuse(error),
        };
        let deadline = tokio::time::Instant::now() + self.inner.options.publish_timeout + CONFIRMATION_GRACE;
        async move {
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(result)) => result,
                // The client ended without an answer, or gave none in time.
                Ok(Err(_)) | Err(_) => Err(PublishError::OutcomeUnknown),
            }
        }
        .boxed()
    }

    async fn subscribe(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        topics.dedup();
        let Inner { options, names, address, registry, .. } = &*self.inner;
        self.inner.groups.lock().insert(names.group(group));
        let readers = self.readers()?;
        let consumer = KafkaConsumer::join(address, options, names, registry, readers, group, &topics).await?;
        Ok(Box::new(consumer))
    }

    async fn tail(&self, from: &[Position]) -> Result<Box<dyn Consumer>, LogError> {
        for position in from {
            self.check(position.topic_partition())?;
        }
        let Inner { options, names, address, registry, .. } = &*self.inner;
        let consumer = KafkaConsumer::tail(address, options, names, registry, self.readers()?, from).await?;
        Ok(Box::new(consumer))
    }

    async fn read(&self, partition: TopicPartition, from_offset: u64, max: usize) -> Result<Vec<Record>, LogError> {
        self.check(partition)?;
        self.readers()?.read(partition, from_offset, max).await
    }

    async fn end(&self, topic: Topic) -> Result<Vec<Position>, LogError> {
        self.readers()?.end(topic).await
    }

    async fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Position>, LogError> {
        self.readers()?.committed(group, topic).await
    }

    /// Reading and publishing have clients of their own; each must reach the brokers.
    async fn ready(&self) -> Result<(), LogError> {
        self.end(Topic::MessageSent).await?;
        let (producer, limit) = (Arc::clone(&self.inner.producer), self.inner.options.request_timeout);
        let topic = self.inner.names.topic(Topic::MessageSent);
        blocking(move || {
            let client = producer.current.read().as_ref().and_then(Producer::client);
            let client = client.ok_or_else(|| LogError::Unavailable("the log is closed".to_owned()))?;
            client.client().fetch_metadata(Some(&topic), limit).map_err(|error| log_error(&error))?;
            if let Some(producer) = &*producer.current.read() {
                producer.health().is_up();
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(brokers: &str) -> KafkaOptions {
        KafkaOptions {
            brokers: brokers.to_owned(),
            request_timeout: Duration::from_millis(1_500),
            ..KafkaOptions::default()
        }
    }

    #[test]
    fn settings_show_no_password() {
        let options = options("sasl_plaintext://ana:s3cret@a:1");
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn why_it_cannot_start_is_said() {
        let wrong = KafkaLog::connect(&options("")).await.unwrap_err();
        assert_eq!(wrong, KafkaStartError::Address(AddressError::Empty));
        for partitions in [0, PARTITIONS_MAX + 1] {
            let wrong = KafkaLog::connect(&KafkaOptions { partitions, ..options("a:1") }).await.unwrap_err();
            assert!(matches!(wrong, KafkaStartError::Setting(_)), "{wrong}");
        }
        if !cfg!(feature = "kafka-tls") {
            let wrong = KafkaLog::connect(&options("ssl://127.0.0.1:1")).await.unwrap_err();
            assert_eq!(wrong, KafkaStartError::TlsNotBuiltIn);
        }
        let refused = KafkaLog::connect(&options("127.0.0.1:1")).await.unwrap_err();
        assert!(matches!(refused, KafkaStartError::Refused(_)), "{refused}");
        let wrong = KafkaLog::connect(&options("sasl_plaintext://ana:s3cret@127.0.0.1:1")).await.unwrap_err();
        assert!(!wrong.to_string().contains("s3cret"), "{wrong}");
    }
}
