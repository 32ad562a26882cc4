//! The log's topics at the brokers: made, checked, deleted.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::{Names, Reports, code_of};
use super::{KafkaOptions, KafkaStartError};
use crate::log::Topic;

/// Pause between two looks at topics that are being made.
const PAUSE: Duration = Duration::from_millis(20);

/// A client for changes of topics. Dropping it waits for its thread, so that happens where waiting is allowed.
pub(super) struct Admin {
    client: Option<AdminClient<DefaultClientContext>>,
    options: AdminOptions,
}

impl Admin {
    pub(super) fn new(config: &ClientConfig, time_limit: Duration) -> Result<Self, KafkaError> {
        let mut config = config.clone();
        // Nobody reads its figures.
        config.set("statistics.interval.ms", "0");
        let client = config.create()?;
        let options = AdminOptions::new().request_timeout(Some(time_limit)).operation_timeout(Some(time_limit));
        Ok(Self { client: Some(client), options })
    }

    fn client(&self) -> Result<&AdminClient<DefaultClientContext>, KafkaError> {
        self.client.as_ref().ok_or(KafkaError::Canceled)
    }

    /// Makes topics. One that another node has made meanwhile is fine.
    pub(super) async fn make(
        &self,
        topics: &[Topic],
        names: &Names,
        options: &KafkaOptions,
    ) -> Result<(), KafkaStartError> {
        let bytes = options.max_message_bytes().to_string();
        let partitions = i32::try_from(options.partitions).unwrap_or(i32::MAX);
        let names: Vec<String> = topics.iter().map(|topic| names.topic(*topic)).collect();
        let new = names.iter().map(|name| {
            NewTopic::new(name, partitions, TopicReplication::Fixed(options.replication))
                // What a group has not committed may not go, however long it takes.
                .set("retention.ms", "-1")
                .set("retention.bytes", "-1")
                .set("cleanup.policy", "delete")
                .set("max.message.bytes", &bytes)
                // When the log accepted a record, not when somebody says to have sent it.
                .set("message.timestamp.type", "LogAppendTime")
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        let client = self.client().map_err(|error| KafkaStartError::from_error(&error))?;
        let made = client.create_topics(&new, &self.options).await;
        for result in made.map_err(|error| KafkaStartError::from_error(&error))? {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(KafkaStartError::of_topic(topic, code)),
            }
        }
        Ok(())
    }

    /// Checks that a record of the largest size fits into the topics. Whoever may not ask is believed.
    pub(super) async fn check_sizes(
        &self,
        topics: &[Topic],
        names: &Names,
        options: &KafkaOptions,
    ) -> Result<(), KafkaStartError> {
        let names: Vec<String> = topics.iter().map(|topic| names.topic(*topic)).collect();
        let asked: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let client = self.client().map_err(|error| KafkaStartError::from_error(&error))?;
        let Ok(told) = client.describe_configs(&asked, &self.options).await else { return Ok(()) };
        for (name, resource) in names.iter().zip(told) {
            let Ok(resource) = resource else { continue };
            let limit = resource.get("max.message.bytes").and_then(|entry| entry.value.as_ref()?.parse::<usize>().ok());
            if let Some(limit) = limit
                && limit < options.max_record_bytes
            {
                let (topic, needed) = (name.clone(), options.max_record_bytes);
                return Err(KafkaStartError::RecordLimit { topic, limit, needed });
            }
        }
        Ok(())
    }

    /// Deletes topics; one that is not there is fine.
    pub(super) async fn delete_topics(&self, topics: &[String]) -> Result<(), KafkaError> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        for result in self.client()?.delete_topics(&topics, &self.options).await? {
            match result {
                Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {}
                Err((_, code)) => return Err(KafkaError::AdminOp(code)),
            }
        }
        Ok(())
    }

    /// Deletes groups; one that is not there is fine, and so is one with members: it goes with its offsets' end.
    pub(super) async fn delete_groups(&self, groups: &[String]) -> Result<(), KafkaError> {
        if groups.is_empty() {
            return Ok(());
        }
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        for result in self.client()?.delete_groups(&groups, &self.options).await? {
            match result {
                Ok(_) | Err((_, Code::GroupIdNotFound | Code::NonEmptyGroup)) => {}
                Err((_, code)) => return Err(KafkaError::AdminOp(code)),
            }
        }
        Ok(())
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let client = self.client.take();
        // Its thread looks ten times a second whether it shall end.
        let ending = std::thread::Builder::new().name("kafka-admin-end".to_owned()).spawn(move || drop(client));
        if let Err(error) = ending {
            tracing::debug!(%error, "a client was ended where it was");
        }
    }
}

/// What is at the brokers under a topic's name.
pub(super) enum Found {
    Nothing,
    Ready {
        partitions: u32,
    },
    /// Being made; some partition has no leader yet.
    NotYet,
}

/// Looks a topic up. Waits for the brokers.
pub(super) fn find(client: &Client<Reports>, name: &str, time_limit: Duration) -> Result<Found, KafkaError> {
    let metadata = client.fetch_metadata(Some(name), time_limit)?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(Found::Nothing) };
    if let Some(error) = topic.error() {
        return match Code::from(error) {
            Code::UnknownTopicOrPartition | Code::UnknownTopic => Ok(Found::Nothing),
            Code::LeaderNotAvailable => Ok(Found::NotYet),
            code => Err(KafkaError::MetadataFetch(code)),
        };
    }
    if topic.partitions().is_empty() || topic.partitions().iter().any(|partition| partition.leader() < 0) {
        return Ok(Found::NotYet);
    }
    Ok(Found::Ready { partitions: u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX) })
}

/// The topics that are not there; checks those that are. Waits for the brokers.
pub(super) fn missing(
    client: &Client<Reports>,
    names: &Names,
    options: &KafkaOptions,
) -> Result<Vec<Topic>, KafkaStartError> {
    let deadline = Instant::now() + options.request_timeout;
    let mut missing = Vec::new();
    for topic in Topic::ALL {
        let name = names.topic(topic);
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
            match find(client, &name, left).map_err(|error| KafkaStartError::from_error(&error))? {
                Found::Nothing => {
                    missing.push(topic);
                    break;
                }
                Found::Ready { partitions } if partitions == options.partitions => break,
                Found::Ready { partitions } => {
                    let asked = options.partitions;
                    return Err(KafkaStartError::Partitions { topic: name, found: partitions, asked });
                }
                Found::NotYet if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Found::NotYet => return Err(KafkaStartError::TopicNotReady { topic: name }),
            }
        }
    }
    Ok(missing)
}

/// Waits until topics that were made can be used.
pub(super) fn wait_until_ready(
    client: &Client<Reports>,
    names: &Names,
    options: &KafkaOptions,
) -> Result<(), KafkaStartError> {
    let deadline = Instant::now() + options.request_timeout;
    loop {
        match missing(client, names, options)?.first() {
            None => return Ok(()),
            Some(topic) if Instant::now() >= deadline => {
                return Err(KafkaStartError::TopicNotReady { topic: names.topic(*topic) });
            }
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// The groups whose names begin with that. Waits for the brokers.
pub(super) fn groups_of(client: &Client<Reports>, prefix: &str, limit: Duration) -> Result<Vec<String>, KafkaError> {
    let groups = client.fetch_group_list(None, limit)?;
    let names = groups.groups().iter().map(rdkafka::groups::GroupInfo::name);
    Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
}

impl KafkaStartError {
    pub(super) fn from_error(error: &KafkaError) -> Self {
        match code_of(error) {
            Some(code) => Self::from_code(code, &code.to_string()),
            None => Self::Client(error.to_string()),
        }
    }

    pub(super) fn from_code(code: Code, reason: &str) -> Self {
        let reason = reason.to_owned();
        match code {
            Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
                Self::Authentication(reason)
            }
            Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                Self::NotPermitted(reason)
            }
            Code::SSL => Self::Tls(reason),
            Code::UnsupportedFeature | Code::UnsupportedVersion => Self::TooOld(reason),
            Code::Resolve
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut => Self::Unreachable(reason),
            _ => Self::Client(reason),
        }
    }

    fn of_topic(topic: String, code: Code) -> Self {
        match code {
            Code::InvalidReplicationFactor | Code::InvalidPartitions | Code::InvalidConfig | Code::PolicyViolation => {
                Self::TopicRefused { topic, reason: code.to_string() }
            }
            code => Self::from_code(code, &format!("{topic}: {code}")),
        }
    }
}
