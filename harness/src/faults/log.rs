//! An event log that can have a fault, and whose consumers can, around a real one.
//!
//! A consumer that crashes here leaves its group with what it polled or wrote and did not commit, as the log sees it
//! when a process dies; the process itself lives on. Whoever wants the process dead kills it (`bench recovery`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::log::{
    Consumer, EventLog, LogError, NewRecord, Position, PublishError, Publishing, Record, Topic, TopicPartition,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::switch::{Pass, Switch};

/// As long as the adapter of Kafka waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a poll of a paused consumer takes.
const PAUSE_SLICE: Duration = Duration::from_millis(100);

/// How consumers are told to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    CrashBeforeWrite,
    CrashAfterWrite,
    /// The last so many records of each partition come again.
    Redeliver(u64),
}

/// What is wrong with the consumers. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Members {
    paused: watch::Sender<bool>,
    /// By group: what its next member to come by has to suffer.
    next: Arc<Mutex<HashMap<String, VecDeque<Mishap>>>>,
    /// The groups there are, with what they read.
    groups: Arc<Mutex<HashMap<String, Vec<Topic>>>>,
}

impl Members {
    pub(super) fn new() -> Self {
        Self { paused: watch::Sender::new(false), next: Arc::default(), groups: Arc::default() }
    }

    pub(super) fn pause(&self, is_paused: bool) {
        self.paused.send_replace(is_paused);
    }

    pub(super) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Every group suffers it once.
    pub(super) fn all_suffer(&self, mishap: Mishap) {
        let groups = self.groups.lock();
        let mut next = self.next.lock();
        for group in groups.keys() {
            next.entry(group.clone()).or_default().push_back(mishap);
        }
    }

    /// Nothing is to come any more.
    pub(super) fn forget(&self) {
        self.next.lock().clear();
    }

    /// The groups that were joined, with their topics.
    pub(super) fn groups(&self) -> Vec<(String, Vec<Topic>)> {
        self.groups.lock().iter().map(|(group, topics)| (group.clone(), topics.clone())).collect()
    }

    /// Takes the next mishap of a group if it is one of these.
    fn suffer(&self, group: &str, is_now: impl Fn(Mishap) -> bool) -> Option<Mishap> {
        let mut next = self.next.lock();
        let queue = next.get_mut(group)?;
        queue.pop_front_if(|mishap| is_now(*mishap))
    }
}

/// A log behind a switch.
pub(super) struct FaultyLog {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) switch: Switch,
    pub(super) members: Members,
}

async fn ask<A>(switch: &Switch, asking: impl Future<Output = Result<A, LogError>>) -> Result<A, LogError> {
    match switch.pass(PATIENCE).await {
        Pass::Done => asking.await,
        Pass::Fails(why) => Err(LogError::Unavailable(why.to_owned())),
        Pass::AnswerLost(why) => {
            // What the log says now nobody hears.
            let (Ok(_) | Err(_)) = asking.await;
            Err(LogError::Unavailable(why.to_owned()))
        }
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    /// Records are handed over in the order of the calls or not at all: a fault holds back the answer alone.
    fn publish(&self, record: NewRecord) -> Publishing {
        match self.switch.pass_at_once() {
            (Pass::Done, Duration::ZERO) => self.log.publish(record),
            (Pass::Done, late) => {
                let publishing = self.log.publish(record);
                Box::pin(async move {
                    let (outcome, ()) = tokio::join!(publishing, tokio::time::sleep(late));
                    outcome
                })
            }
            (Pass::Fails(_), Duration::MAX) => Box::pin(async {
                tokio::time::sleep(PATIENCE).await;
                Err(PublishError::OutcomeUnknown)
            }),
            (Pass::Fails(why), _) => Box::pin(async { Err(PublishError::Unavailable(why.to_owned())) }),
            (Pass::AnswerLost(_), _) => {
                let publishing = self.log.publish(record);
                Box::pin(async {
                    match publishing.await {
                        // Refused before it was on its way.
                        Err(error @ (PublishError::Full(_) | PublishError::TooLarge { .. })) => Err(error),
                        _ => Err(PublishError::OutcomeUnknown),
                    }
                })
            }
        }
    }

    async fn subscribe(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, LogError> {
        let consumer = ask(&self.switch, self.log.subscribe(group, topics)).await?;
        self.members.groups.lock().insert(group.to_owned(), topics.to_vec());
        Ok(Box::new(FaultyMember {
            log: Arc::clone(&self.log),
            switch: self.switch.clone(),
            members: self.members.clone(),
            group: group.to_owned(),
            topics: topics.to_vec(),
            consumer: Some(consumer),
            held: Vec::new(),
        }))
    }

    async fn tail(&self, from: &[Position]) -> Result<Box<dyn Consumer>, LogError> {
        let consumer = ask(&self.switch, self.log.tail(from)).await?;
        Ok(Box::new(FaultyReader { switch: self.switch.clone(), consumer }))
    }

    async fn read(&self, partition: TopicPartition, from_offset: u64, max: usize) -> Result<Vec<Record>, LogError> {
        ask(&self.switch, self.log.read(partition, from_offset, max)).await
    }

    async fn end(&self, topic: Topic) -> Result<Vec<Position>, LogError> {
        ask(&self.switch, self.log.end(topic)).await
    }

    async fn committed(&self, group: &str, topic: Topic) -> Result<Vec<Position>, LogError> {
        ask(&self.switch, self.log.committed(group, topic)).await
    }

    async fn ready(&self) -> Result<(), LogError> {
        ask(&self.switch, self.log.ready()).await
    }
}

/// Polls, unless the fault is against it. What a poll answered and nobody heard would be lost for this reader, so
/// the fault comes before it.
async fn poll(
    switch: &Switch,
    consumer: &mut dyn Consumer,
    max: usize,
    max_wait: Duration,
) -> Result<Vec<Record>, LogError> {
    match switch.pass(PATIENCE).await {
        Pass::Done => consumer.poll(max, max_wait).await,
        Pass::Fails(why) | Pass::AnswerLost(why) => Err(LogError::Unavailable(why.to_owned())),
    }
}

/// A reader without a group.
struct FaultyReader {
    switch: Switch,
    consumer: Box<dyn Consumer>,
}

#[async_trait]
impl Consumer for FaultyReader {
    async fn poll(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Record>, LogError> {
        poll(&self.switch, self.consumer.as_mut(), max, max_wait).await
    }

    async fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        ask(&self.switch, self.consumer.commit(next)).await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.consumer.assignment()
    }
}

/// A member of a group.
struct FaultyMember {
    log: Arc<dyn EventLog>,
    switch: Switch,
    members: Members,
    group: String,
    topics: Vec<Topic>,
    /// Gone only after a crash, until it has joined again.
    consumer: Option<Box<dyn Consumer>>,
    /// What came while it was pausing already: a poll that waits cannot be told to stop. At most one poll's records.
    held: Vec<Record>,
}

impl FaultyMember {
    /// The consumer, which joins its group anew after a crash.
    async fn consumer(&mut self) -> Result<&mut Box<dyn Consumer>, LogError> {
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.log.subscribe(&self.group, &self.topics).await?,
        };
        Ok(self.consumer.insert(consumer))
    }

    /// What came before, up to `count` of each partition it has.
    async fn again(&mut self, count: u64) -> Result<Vec<Record>, LogError> {
        let mut records = Vec::new();
        let shares = self.consumer().await?.assignment();
        for topic in self.topics.clone() {
            for next in self.log.committed(&self.group, topic).await? {
                let from = next.offset.saturating_sub(count);
                if from == next.offset || !shares.contains(&next.topic_partition()) {
                    continue;
                }
                let read = self.log.read(next.topic_partition(), from, usize::try_from(count).unwrap_or(usize::MAX));
                let before = read.await?.into_iter().filter(|record| record.position.offset < next.offset);
                records.extend(before);
            }
        }
        Ok(records)
    }
}

#[async_trait]
impl Consumer for FaultyMember {
    async fn poll(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Record>, LogError> {
        let mut paused = self.members.paused.subscribe();
        if *paused.borrow_and_update() {
            // Either way nothing is polled this time.
            let going_on = paused.wait_for(|is_paused| !is_paused);
            let (Ok(_) | Err(_)) = tokio::time::timeout(PAUSE_SLICE.min(max_wait), going_on).await;
            return Ok(Vec::new());
        }
        if !self.held.is_empty() {
            // What another member has taken over meanwhile comes to that one.
            let shares = self.assignment();
            let held = std::mem::take(&mut self.held);
            return Ok(held.into_iter().filter(|held| shares.contains(&held.position.topic_partition())).collect());
        }
        let is_redelivery = |mishap| matches!(mishap, Mishap::Redeliver(_));
        if let Some(Mishap::Redeliver(count)) = self.members.suffer(&self.group, is_redelivery) {
            return self.again(count).await;
        }
        let switch = self.switch.clone();
        let records = poll(&switch, self.consumer().await?.as_mut(), max, max_wait).await?;
        let is_crash = |mishap| mishap == Mishap::CrashBeforeWrite;
        if !records.is_empty() && self.members.suffer(&self.group, is_crash).is_some() {
            self.consumer = None;
            return Ok(Vec::new());
        }
        if *paused.borrow() {
            self.held = records;
            return Ok(Vec::new());
        }
        Ok(records)
    }

    async fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        let is_crash = |mishap| mishap == Mishap::CrashAfterWrite;
        if let Some(first) = next.first()
            && self.members.suffer(&self.group, is_crash).is_some()
        {
            self.consumer = None;
            // As for any member that is taken for dead: nothing is committed, and the records come again.
            return Err(LogError::Revoked(first.topic_partition()));
        }
        let switch = self.switch.clone();
        let consumer = self.consumer().await?;
        ask(&switch, consumer.commit(next)).await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.consumer.as_ref().map(|consumer| consumer.assignment()).unwrap_or_default()
    }
}
