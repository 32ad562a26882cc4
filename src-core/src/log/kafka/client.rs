//! What all clients of the brokers have in common: settings, names, whether they reach anybody, errors in words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ackscope_protocol::Timestamp;
use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext, Statistics};

use super::KafkaOptions;
use super::address::Address;
use super::statistics::{Registry, Source};
use crate::log::{LogError, Position, Record, Topic, TopicPartition};

/// How long a client has to be without brokers until another one takes its place. A broker that starts or stops may
/// answer that there are no brokers at all; a client that is told so forgets every address and never connects again
/// (librdkafka 2.10 and later, <https://github.com/confluentinc/librdkafka/issues/5301>). Longer than the longest pause
/// between two attempts to connect, so that one that recovers by itself is left alone.
pub(super) const RENEW_AFTER: Duration = Duration::from_secs(3);

/// How the log's topics and groups are called at the brokers.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: Arc<str>,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn topic(&self, topic: Topic) -> String {
        format!("{}{topic}", self.prefix)
    }

    pub(super) fn group(&self, group: &str) -> String {
        format!("{}{group}", self.prefix)
    }

    /// The partition of that name and number, if it is one of this log.
    pub(super) fn partition(&self, name: &str, partition: i32) -> Option<TopicPartition> {
        let topic = Topic::from_name(name.strip_prefix(&*self.prefix)?)?;
        Some(TopicPartition { topic, partition: u32::try_from(partition).ok()? })
    }

    /// What a message of the brokers is here; nothing when it is not one of this log's.
    pub(super) fn record(&self, message: &BorrowedMessage<'_>) -> Option<Record> {
        let at = self.partition(message.topic(), message.partition())?;
        let offset = u64::try_from(message.offset()).ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let header = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map_or_else(String::new, text));
            headers.iter().map(|entry| header((entry.key, entry.value))).collect()
        });
        Some(Record {
            position: Position { topic: at.topic, partition: at.partition, offset },
            key: message.key().map_or_else(String::new, text),
            headers,
            value: message.payload().map_or_else(Bytes::new, Bytes::copy_from_slice),
            appended_at: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0)),
        })
    }
}

/// Settings of every client.
pub(super) fn base_config(address: &Address, options: &KafkaOptions) -> ClientConfig {
    let request_ms = millis(options.request_timeout);
    let mut config = ClientConfig::new();
    address.configure(&mut config);
    config
        .set("client.id", "ackscope")
        .set("socket.timeout.ms", &request_ms)
        // The least it can be is a second.
        .set("socket.connection.setup.timeout.ms", millis(options.request_timeout.max(Duration::from_secs(1))))
        .set("api.version.request.timeout.ms", &request_ms)
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        // A topic that is not there stays so: made again in silence, it would give the same offsets again, which are
        // the `seq` of messages.
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.propagation.max.ms", &request_ms)
        // What was refused for want of a right is refused by the client itself until it asks again; the default is five
        // minutes.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("message.max.bytes", options.max_message_bytes().to_string())
        .set("statistics.interval.ms", "1000")
        .set("log.connection.close", "false");
    config
}

/// Settings of every client that reads.
pub(super) fn reading_config(address: &Address, options: &KafkaOptions, group: &str) -> ClientConfig {
    let mut config = base_config(address, options);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Out of range is an error that is told, never a silent jump.
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.min.bytes", "1")
        // A partition that comes new waits at most this long for the request that is on its way.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "50")
        // What waits in memory is bounded, for each partition; a reader that is behind is not sent more.
        .set("queued.min.messages", "2000")
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.queue.backoff.ms", "5");
    config
}

pub(super) fn millis(duration: Duration) -> String {
    duration.as_millis().clamp(1, 300_000).to_string()
}

/// Whether a client reaches the brokers, as far as it was told.
#[derive(Debug, Default)]
pub(super) struct Health {
    down_since: Mutex<Option<Instant>>,
    last_error: Mutex<Option<(Code, String)>>,
    is_fatal: AtomicBool,
}

impl Health {
    fn failed(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "a client of the event log");
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => {
                self.down_since.lock().get_or_insert_with(Instant::now);
            }
            Some(Code::Fatal) => self.is_fatal.store(true, Ordering::Release),
            Some(code) => *self.last_error.lock() = Some((code, reason.to_owned())),
            None => {}
        }
    }

    /// A broker answered.
    pub(super) fn is_up(&self) {
        self.down_since.lock().take();
    }

    /// For how long no broker has been there.
    pub(super) fn down_for(&self) -> Option<Duration> {
        self.down_since.lock().map(|since| since.elapsed())
    }

    /// Whether the client is likely never to come back by itself: see [`RENEW_AFTER`].
    pub(super) fn is_given_up(&self) -> bool {
        self.down_for().is_some_and(|down| down >= RENEW_AFTER)
    }

    /// The client cannot be used any more.
    pub(super) fn is_fatal(&self) -> bool {
        self.is_fatal.load(Ordering::Acquire)
    }

    pub(super) fn last_error(&self) -> Option<(Code, String)> {
        self.last_error.lock().clone()
    }

    /// Why nobody is reached, in words.
    pub(super) fn reason(&self) -> String {
        self.last_error().map_or_else(|| "no broker is reached".to_owned(), |(_, reason)| reason)
    }
}

/// What a client tells while it runs.
pub(super) struct Reports {
    pub(super) health: Arc<Health>,
    registry: Arc<Registry>,
    source: Source,
    names: Names,
}

impl Reports {
    pub(super) fn new(registry: &Arc<Registry>, names: &Names, group: Option<&str>) -> Self {
        let source = registry.enter(group);
        Self { health: Arc::default(), registry: Arc::clone(registry), source, names: names.clone() }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.registry.leave(&self.source);
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            // What it tries again by itself. What comes of it is told by whoever asked.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            self.health.is_up();
        }
        self.registry.report(&self.source, &statistics, &self.names);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.failed(&error, reason);
    }
}

impl ConsumerContext for Reports {}

/// What a code of the brokers means for whoever reads or commits.
pub(super) fn log_error(error: &KafkaError) -> LogError {
    LogError::Unavailable(match code_of(error) {
        Some(code) => in_words(code),
        None => error.to_string(),
    })
}

pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

pub(super) fn in_words(code: Code) -> String {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopicId => {
            "the brokers do not know a topic of the log; while they start that passes, otherwise it was deleted, and it \
             is not made again, because the places in it are the numbers of messages"
                .to_owned()
        }
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            format!("the brokers do not permit it ({code})")
        }
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut | Code::TimedOutQueue => {
            "no broker answered in time".to_owned()
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => format!("no broker is reached ({code})"),
        code => code.to_string(),
    }
}
