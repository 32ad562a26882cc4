//! The event log: topics of partitions of records, read by consumer groups (S1.6, S2).
//!
//! A record's partition follows from its key, so everything with one key is in one order. Records are handed
//! over in the order of the calls to [`EventLog::publish`]; the future it gives says when the log has them.
//!
//! **Invariant:** nobody outside this module knows which implementation runs.

pub mod embedded;
pub mod kafka;

use std::fmt;
use std::time::Duration;

use ackscope_protocol::Timestamp;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// The topics (S1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    /// New messages, forwards included.
    #[serde(rename = "message.sent")]
    MessageSent,
    /// Edits and reactions.
    #[serde(rename = "message.edited")]
    MessageEdited,
    /// Deletions of every mode.
    #[serde(rename = "message.deleted")]
    MessageDeleted,
    /// Conversations and their participants.
    #[serde(rename = "conversation.updated")]
    ConversationUpdated,
    /// What became of messages: the acknowledgment producer's topic.
    #[serde(rename = "message.delivered")]
    MessageDelivered,
    /// What could not be processed, with its reason.
    #[serde(rename = "dead-letter")]
    DeadLetter,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 6] = [
        Self::MessageSent,
        Self::MessageEdited,
        Self::MessageDeleted,
        Self::ConversationUpdated,
        Self::MessageDelivered,
        Self::DeadLetter,
    ];

    /// The topic's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageSent => "message.sent",
            Self::MessageEdited => "message.edited",
            Self::MessageDeleted => "message.deleted",
            Self::ConversationUpdated => "conversation.updated",
            Self::MessageDelivered => "message.delivered",
            Self::DeadLetter => "dead-letter",
        }
    }

    /// The topic of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition, from 0.
    pub partition: u32,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The topic.
    pub topic: Topic,
    /// The partition, from 0.
    pub partition: u32,
    /// The offset, from 0; grows within the partition, possibly with gaps.
    pub offset: u64,
}

impl Position {
    /// The partition it is in.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic, partition: self.partition }
    }
}

/// A record to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// The topic.
    pub topic: Topic,
    /// Decides the partition; the conversation's id.
    pub key: String,
    /// Names and values, such as `traceparent`.
    pub headers: Vec<(String, String)>,
    /// The envelope.
    pub value: Bytes,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// The key.
    pub key: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The value.
    pub value: Bytes,
    /// When the log accepted it, by the wall clock.
    pub appended_at: Timestamp,
}

/// Why a record was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The log or its queue is full; nothing was written.
    #[error("the event log is full: {0}")]
    Full(String),
    /// The record is larger than the log takes; nothing was written.
    #[error("the record of {bytes} bytes is larger than the log takes ({max_bytes})")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most the log takes.
        max_bytes: usize,
    },
    /// The log does not answer; nothing was written.
    #[error("the event log does not answer: {0}")]
    Unavailable(String),
    /// The log did not say in time whether it has the record.
    #[error("the event log did not confirm the record in time")]
    OutcomeUnknown,
}

/// Why reading or committing failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The log does not answer.
    #[error("the event log does not answer: {0}")]
    Unavailable(String),
    /// The partition belongs to another member of the group since a rebalance; nothing was committed for it.
    #[error("partition {}/{} now belongs to another member of the group", .0.topic, .0.partition)]
    Revoked(TopicPartition),
    /// The offset is older than what the log keeps.
    #[error("offset {asked} is older than what the log keeps (from {earliest})")]
    Truncated {
        /// What was asked for.
        asked: u64,
        /// The earliest there is.
        earliest: u64,
    },
    /// There is no such partition.
    #[error("there is no partition {}/{}", .0.topic, .0.partition)]
    NoSuchPartition(TopicPartition),
}

/// How many records of a partition a group has before it up to there, of one topic's committed offsets.
pub fn behind(end: &Position, committed: &[Position]) -> u64 {
    let done = committed.iter().find(|position| position.partition == end.partition);
    end.offset.saturating_sub(done.map_or(0, |position| position.offset))
}

/// The outcome of a publish, when it is known.
pub type Publishing = BoxFuture<'static, Result<Position, PublishError>>;

/// The event log.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// How many partitions every topic has; fixed for the life of a log, because `seq` is an offset.
    fn partitions(&self) -> u32;

    /// Hands a record over, at once and without waiting; the future says what became of it. Records with one
    /// key get offsets in the order of these calls. Dropping the future does not take the record back.
    fn publish(&self, record: NewRecord) -> Publishing;

    /// Joins a consumer group. The group's members share the partitions of the topics; where the group has
    /// committed nothing yet it starts at the beginning.
    async fn subscribe(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError>;

    /// Reads every partition named, from there on, alone and without committing.
    async fn tail(&self, from: &[Position]) -> Result<Box<dyn Consumer>, LogError>;

    /// Up to `max` records of a partition from an offset on; fewer at its end. Does not wait.
    async fn read(&self, partition: TopicPartition, from_offset: u64, max: usize) -> Result<Vec<Record>, LogError>;

    /// For each partition, the offset the next record will get (at least).
    async fn end(&self, topic: Topic) -> Result<Vec<Position>, LogError>;

    /// For each partition, the offset the group goes on from; 0 where it has committed nothing.
    async fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Position>, LogError>;

    /// Whether it answers, and would take a record now.
    async fn ready(&self) -> Result<(), LogError> {
        self.end(Topic::MessageSent).await.map(drop)
    }
}

/// A reader of the log. Dropping it leaves the group; what it had not committed is delivered again.
#[async_trait]
pub trait Consumer: Send {
    /// Up to `max` records, in order within each partition. Waits at most `max_wait` for the first one; empty
    /// after that. Records of one call may come from several partitions.
    async fn poll(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Record>, LogError>;

    /// Commits: the group goes on from `offset` (that is, one past the last record that is done) in each
    /// partition. A partition that was taken away meanwhile answers [`LogError::Revoked`].
    async fn commit(&mut self, next: &[Position]) -> Result<(), LogError>;

    /// The partitions it reads at the moment.
    fn assignment(&self) -> Vec<TopicPartition>;
}
