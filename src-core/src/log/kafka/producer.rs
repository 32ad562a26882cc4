//! Publishing: one idempotent producer, whose records are confirmed by all replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext, Statistics};
use tokio::sync::oneshot;

use super::KafkaOptions;
use super::address::Address;
use super::client::{Health, Names, Reports, base_config, code_of, in_words, millis};
use super::statistics::Registry;
use crate::log::{NewRecord, Position, PublishError, Topic};

/// Who waits for a record's confirmation, and what it is needed for.
pub(super) struct Waiting {
    topic: Topic,
    bytes: usize,
    max_bytes: usize,
    answer: oneshot::Sender<Result<Position, PublishError>>,
}

/// The answer to one record.
pub(super) type Answer = oneshot::Receiver<Result<Position, PublishError>>;

/// Hands confirmations to those who wait for them.
pub(super) struct Deliveries {
    reports: Reports,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reports.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.reports.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let Waiting { topic, bytes, max_bytes, answer } = *waiting;
        let outcome = match result {
            Ok(message) => {
                self.reports.health.is_up();
                if let (Ok(partition), Ok(offset)) =
                    (u32::try_from(message.partition()), u64::try_from(message.offset()))
                {
                    Ok(Position { topic, partition, offset })
                } else {
                    // The client takes it for confirmed because a later one of its partition was (`IMPLICITACK`). A
                    // broker that does not know the producer yet takes that one even where it refused this one, as
                    // one does that is only becoming the partition's leader: it may not be there.
                    tracing::warn!(%topic, partition = message.partition(), "a record was confirmed without its place");
                    Err(PublishError::OutcomeUnknown)
                }
            }
            Err((error, _)) => {
                tracing::warn!(%error, %topic, "a record was not confirmed");
                Err(publish_error(error, bytes, max_bytes))
            }
        };
        // Nobody waits any more: the record is there all the same.
        let (Ok(()) | Err(_)) = answer.send(outcome);
    }
}

/// What a failure says about the record: only what is certainly not written may be said to be so.
fn publish_error(error: &KafkaError, bytes: usize, max_bytes: usize) -> PublishError {
    let Some(code) = code_of(error) else { return PublishError::OutcomeUnknown };
    match code {
        Code::QueueFull => PublishError::Full("too much is waiting to be sent to the brokers".to_owned()),
        // Whoever tries again would try for ever.
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            PublishError::TooLarge { bytes, max_bytes }
        }
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::InvalidMessage
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidRequiredAcks
        | Code::PolicyViolation
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat
        | Code::PurgeQueue
        | Code::InvalidArgument
        | Code::State
        | Code::Fatal => PublishError::Unavailable(in_words(code)),
        // Timed out, the connection broke, the brokers were stopped with the request on its way: it may be written.
        _ => PublishError::OutcomeUnknown,
    }
}

fn config(address: &Address, options: &KafkaOptions) -> ClientConfig {
    let mut config = base_config(address, options);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Fixed for good: with another function the records of one key would no longer be in one order. It is the
        // one of the Java clients.
        .set("partitioner", "murmur2")
        .set("linger.ms", options.linger_ms.to_string())
        .set("compression.type", "none")
        .set("message.timeout.ms", millis(options.publish_timeout))
        .set("request.timeout.ms", millis(options.publish_timeout))
        .set("queue.buffering.max.messages", options.queue_records.to_string())
        .set("queue.buffering.max.kbytes", (options.queue_bytes / 1_024).max(1).to_string());
    config
}

/// Bytes of key, headers and value together.
pub(super) fn bytes_of(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + headers + record.value.len()
}

/// A running producer. Dropping it sends what was handed over; a thread of its own waits for that.
pub(super) struct Producer {
    client: Option<Arc<BaseProducer<Deliveries>>>,
    health: Arc<Health>,
    stop: Arc<AtomicBool>,
    max_record_bytes: usize,
}

impl Producer {
    pub(super) fn start(
        address: &Address,
        options: &KafkaOptions,
        names: &Names,
        registry: &Arc<Registry>,
    ) -> Result<Self, KafkaError> {
        let reports = Reports::new(registry, names, None);
        let health = Arc::clone(&reports.health);
        let client: BaseProducer<Deliveries> = config(address, options).create_with_context(Deliveries { reports })?;
        let client = Arc::new(client);
        let stop = Arc::new(AtomicBool::new(false));
        let (of_thread, stopping, patience) = (Arc::clone(&client), Arc::clone(&stop), options.publish_timeout);
        std::thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(move || {
                while !stopping.load(Ordering::Acquire) {
                    of_thread.poll(Duration::from_millis(50));
                }
                if let Err(error) = of_thread.flush(patience) {
                    tracing::warn!(%error, "records were given up on when the event log was closed");
                }
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self { client: Some(client), health, stop, max_record_bytes: options.max_record_bytes })
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn client(&self) -> Option<Arc<BaseProducer<Deliveries>>> {
        self.client.clone()
    }

    /// Whether nothing waits to be sent or confirmed.
    pub(super) fn is_idle(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.in_flight_count() == 0)
    }

    /// Hands a record over, in the order of the calls.
    pub(super) fn send(&self, topic: &str, record: &NewRecord, bytes: usize) -> Result<Answer, PublishError> {
        let closed = || PublishError::Unavailable("the log is closed".to_owned());
        let client = self.client.as_deref().ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { topic: record.topic, bytes, max_bytes: self.max_record_bytes, answer };
        let mut handed_over =
            BaseRecord::with_opaque_to(topic, Box::new(waiting)).key(&record.key).payload(&*record.value);
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (name, value) in &record.headers {
                // A NUL byte would end the name where the client reads it.
                let name = name.replace('\0', "\u{fffd}");
                headers = headers.insert(Header { key: &name, value: Some(value) });
            }
            handed_over = handed_over.headers(headers);
        }
        match client.send(handed_over) {
            Ok(()) => Ok(answered),
            Err((error, _)) => Err(match publish_error(&error, bytes, self.max_record_bytes) {
                // It was not even taken over.
                PublishError::OutcomeUnknown => PublishError::Unavailable(error.to_string()),
                certain => certain,
            }),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // In this order, so that the thread holds the last handle: ending a client takes a moment.
        self.client.take();
        self.stop.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_not_written_is_said_to_be_so() {
        let of = |code| publish_error(&KafkaError::MessageProduction(code), 7, 5);
        for code in [Code::UnknownTopic, Code::TopicAuthorizationFailed, Code::PurgeQueue, Code::InvalidRecord] {
            assert!(matches!(of(code), PublishError::Unavailable(_)), "{code}");
        }
        for code in [
            Code::MessageTimedOut,
            Code::RequestTimedOut,
            Code::BrokerTransportFailure,
            Code::PurgeInflight,
            Code::NotEnoughReplicasAfterAppend,
            Code::NetworkException,
            Code::Unknown,
        ] {
            assert_eq!(of(code), PublishError::OutcomeUnknown, "{code}");
        }
        assert!(matches!(of(Code::QueueFull), PublishError::Full(_)));
        assert_eq!(of(Code::MessageSizeTooLarge), PublishError::TooLarge { bytes: 7, max_bytes: 5 });
    }
}
