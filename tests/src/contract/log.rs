//! The contract of an [`EventLog`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_core::log::{
    Consumer, EventLog, LogError, NewRecord, Position, PublishError, Publishing, Record, Topic, TopicPartition,
};
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::{PATIENCE, eventually};

/// Somewhere a log keeps its records.
pub trait LogPlace: Send + Sync + Sized {
    /// Whether there is such a place on this machine; says it in the summary when not.
    fn is_available() -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// A fresh one.
    fn fresh() -> impl Future<Output = Self> + Send;

    /// The log in it. Opened again after it and its consumers were dropped, it holds what it held.
    fn open(&self) -> impl Future<Output = Arc<dyn EventLog>> + Send;

    /// The largest record it takes: bytes of key, headers and value.
    fn max_record_bytes(&self) -> usize;
}

/// Limits of a log.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Records of a topic that may wait for its slowest group.
    pub max_backlog_records: u64,
    /// Records of a partition that are kept when all groups have committed them.
    pub retain_records: u64,
}

/// A group that [`Bounds::max_backlog_records`] does not count.
pub const PATIENT_GROUP: &str = "patient-group";

/// A place whose log can be opened with small limits.
pub trait BoundedLogPlace: LogPlace {
    /// The log in it.
    fn open_bounded(&self, bounds: Bounds) -> impl Future<Output = Arc<dyn EventLog>> + Send;
}

const TOPIC: Topic = Topic::MessageSent;
const OTHER: Topic = Topic::MessageEdited;
/// How long a test looks for records that must not come.
const QUIET: Duration = Duration::from_millis(300);

fn record(topic: Topic, key: &str, value: &str) -> NewRecord {
    NewRecord { topic, key: key.to_owned(), headers: Vec::new(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn publish(log: &dyn EventLog, key: &str, value: &str) -> Publishing {
    log.publish(record(TOPIC, key, value))
}

/// Publishes `count` records over ten keys, values from `first` on, and waits for all.
async fn publish_many(log: &dyn EventLog, first: u64, count: u64) -> Vec<Position> {
    let publishing = (first..first + count).map(|value| publish(log, &format!("k{}", value % 10), &value.to_string()));
    join_all(publishing).await.into_iter().map(|outcome| outcome.expect("the log takes it")).collect()
}

fn value_of(record: &Record) -> u64 {
    std::str::from_utf8(&record.value).expect("text").parse().expect("a number")
}

fn values(records: &[Record]) -> HashSet<u64> {
    records.iter().map(value_of).collect()
}

fn range(first: u64, count: u64) -> HashSet<u64> {
    (first..first + count).collect()
}

/// Polls until `count` records have come.
async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Record> {
    let deadline = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came within {PATIENCE:?}", taken.len());
        taken.extend(consumer.poll(count - taken.len(), Duration::from_millis(500)).await.expect("the log answers"));
    }
    taken
}

/// Fails when anything comes.
async fn expect_nothing(consumer: &mut dyn Consumer) {
    let records = consumer.poll(100, QUIET).await.expect("the log answers");
    assert!(records.is_empty(), "nothing was to come, {} came, the first: {:?}", records.len(), records[0].position);
}

/// One past the last record of each partition: what is committed when all of them are done.
fn next_of(records: &[Record]) -> Vec<Position> {
    let mut next: BTreeMap<TopicPartition, Position> = BTreeMap::new();
    for record in records {
        let at = record.position.topic_partition();
        let after = Position { offset: record.position.offset + 1, ..record.position };
        next.entry(at).and_modify(|position| *position = (*position).max(after)).or_insert(after);
    }
    next.into_values().collect()
}

async fn commit(consumer: &mut dyn Consumer, records: &[Record]) {
    consumer.commit(&next_of(records)).await.expect("these partitions are ours");
}

async fn read_all(log: &dyn EventLog, topic: Topic) -> Vec<Record> {
    let mut all = Vec::new();
    for partition in 0..log.partitions() {
        let at = TopicPartition { topic, partition };
        all.extend(log.read(at, 0, usize::MAX).await.expect("the log answers"));
    }
    all
}

fn assert_in_order(records: &[Record]) {
    let mut last: HashMap<TopicPartition, u64> = HashMap::new();
    for record in records {
        let before = last.insert(record.position.topic_partition(), record.position.offset);
        assert!(before.is_none_or(|before| before < record.position.offset), "{:?} after {before:?}", record.position);
    }
}

// ---- publishing and reading -----------------------------------------------------------------------------

/// Whatever else is published at the same time, one publisher's records of one key stay in the order of its calls. A
/// record whose outcome is unknown is there or not, and in its place if it is there.
pub async fn order_within_a_key_is_that_of_the_calls(place: impl LogPlace) {
    const PUBLISHERS: usize = 8;
    const RECORDS: usize = 300;
    let log = place.open().await;
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut publishing = Vec::new();
            for number in 0..RECORDS {
                // Keys of its own and keys that all share.
                let key = if number % 2 == 0 { format!("own {publisher}") } else { format!("shared {}", number % 3) };
                publishing.push(publish(&*log, &key, &format!("{publisher} {number}")));
                if number % 50 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let mut unknown = 0;
            for outcome in join_all(publishing).await {
                match outcome {
                    Ok(_) => {}
                    Err(PublishError::OutcomeUnknown) => unknown += 1,
                    Err(error) => panic!("the log does not take it: {error}"),
                }
            }
            unknown
        })
    });
    let mut unknown = 0;
    for publisher in join_all(publishers).await {
        unknown += publisher.expect("no publisher failed");
    }
    assert!(unknown < RECORDS, "{unknown} outcomes are unknown");
    let records = read_all(&*log, TOPIC).await;
    let all = PUBLISHERS * RECORDS;
    assert!((all - unknown..=all).contains(&records.len()), "{} of {all}, {unknown} unknown", records.len());
    assert_in_order(&records);
    let mut last: HashMap<(String, String), usize> = HashMap::new();
    let mut partition_of: HashMap<&str, u32> = HashMap::new();
    for record in &records {
        let text = std::str::from_utf8(&record.value).expect("text");
        let (publisher, number) = text.split_once(' ').expect("two numbers");
        let number: usize = number.parse().expect("a number");
        let before = last.insert((record.key.clone(), publisher.to_owned()), number);
        assert!(before.is_none_or(|before| before < number), "{text} of {} after {before:?}", record.key);
        let partition = *partition_of.entry(&record.key).or_insert(record.position.partition);
        assert_eq!(partition, record.position.partition, "one key, one partition");
    }
}

/// Every record has one position, the one its publisher was told, and is found there.
pub async fn every_record_has_one_position(place: impl LogPlace) {
    let log = place.open().await;
    let positions = publish_many(&*log, 0, 500).await;
    assert_eq!(positions.iter().collect::<HashSet<_>>().len(), 500);
    let by_position: HashMap<Position, u64> =
        read_all(&*log, TOPIC).await.iter().map(|record| (record.position, value_of(record))).collect();
    assert_eq!(by_position.len(), 500);
    for (value, position) in (0_u64..).zip(&positions) {
        assert_eq!(by_position.get(position), Some(&value));
        let found = log.read(position.topic_partition(), position.offset, 1).await.expect("the log answers");
        assert_eq!(value_of(&found[0]), value);
    }
}

/// A thousand keys use all partitions.
pub async fn keys_spread_over_the_partitions(place: impl LogPlace) {
    let log = place.open().await;
    let publishing = (0..1_000).map(|key| publish(&*log, &format!("{key:08}-4c1d-4d7a-9e21-7a60c5d311f4"), "0"));
    let mut counts = vec![0_u32; log.partitions() as usize];
    for outcome in join_all(publishing).await {
        counts[outcome.expect("the log takes it").partition as usize] += 1;
    }
    let fair = 1_000 / log.partitions();
    assert!(counts.iter().all(|count| (fair / 2..fair * 2).contains(count)), "{counts:?}");
}

/// Key, headers and value come back byte by byte, by every way of reading.
pub async fn contents_come_back_intact(place: impl LogPlace) {
    let log = place.open().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = [
        NewRecord {
            topic: TOPIC,
            key: "Grüße 👋\n\"'".into(),
            headers: vec![
                ("traceparent".into(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
                ("twice".into(), "one".into()),
                ("twice".into(), "two".into()),
                ("empty".into(), String::new()),
                ("ünï".into(), "👋 \" \\ \n".into()),
            ],
            value: every_byte.into(),
        },
        NewRecord { topic: TOPIC, key: "k".into(), headers: Vec::new(), value: Bytes::new() },
    ];
    let before = Clock::default().now();
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let mut positions = Vec::new();
    for new in &records {
        positions.push(log.publish(new.clone()).await.expect("the log takes it"));
    }
    let polled = take(consumer.as_mut(), 2).await;
    for (new, position) in records.iter().zip(positions) {
        let read = log.read(position.topic_partition(), position.offset, 1).await.expect("the log answers").remove(0);
        let polled = polled.iter().find(|record| record.position == position).expect("it was polled");
        for found in [&read, polled] {
            assert_eq!((&found.key, &found.headers, &found.value), (&new.key, &new.headers, &new.value));
            let (early, late) = (before.as_millis(), Clock::default().now().as_millis());
            assert!((early..=late).contains(&found.appended_at.as_millis()), "{}", found.appended_at);
        }
    }
}

/// Reading goes in pages up to the end; past it there is nothing, and a partition that is not there is an error.
pub async fn reading_goes_in_pages_to_the_end(place: impl LogPlace) {
    let log = place.open().await;
    let positions = join_all((0..50).map(|value| publish(&*log, "one key", &value.to_string()))).await;
    let last = *positions.last().expect("fifty").as_ref().expect("the log takes it");
    let at = last.topic_partition();
    let mut seen: Vec<u64> = Vec::new();
    let mut from = 0;
    loop {
        let page = log.read(at, from, 7).await.expect("the log answers");
        assert!(page.len() <= 7);
        let Some(newest) = page.last() else { break };
        from = newest.position.offset + 1;
        seen.extend(page.iter().map(value_of));
    }
    assert_eq!(seen, (0..50).collect::<Vec<u64>>());
    assert_eq!(from, last.offset + 1);
    assert_eq!(log.read(at, from + 1_000, 7).await, Ok(Vec::new()));
    assert_eq!(log.read(at, u64::MAX, 7).await, Ok(Vec::new()));
    assert_eq!(log.read(at, 0, 0).await, Ok(Vec::new()));
    let missing = TopicPartition { topic: TOPIC, partition: log.partitions() };
    assert_eq!(log.read(missing, 0, 7).await, Err(LogError::NoSuchPartition(missing)));
}

/// The end is one past the newest record; what a group committed is told, and 0 before it committed anything.
pub async fn end_and_committed_are_told(place: impl LogPlace) {
    let log = place.open().await;
    let zeros: Vec<Position> =
        (0..log.partitions()).map(|partition| Position { topic: TOPIC, partition, offset: 0 }).collect();
    assert_eq!(log.end(TOPIC).await, Ok(zeros.clone()));
    assert_eq!(log.committed("group", TOPIC).await, Ok(zeros.clone()));

    let positions = publish_many(&*log, 0, 200).await;
    let end = log.end(TOPIC).await.expect("the log answers");
    for position in &end {
        let newest = positions.iter().filter(|p| p.partition == position.partition).map(|p| p.offset + 1).max();
        assert_eq!(position.offset, newest.unwrap_or(0));
    }
    assert_eq!(log.end(OTHER).await.expect("the log answers").iter().map(|p| p.offset).sum::<u64>(), 0);

    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let records = take(consumer.as_mut(), 200).await;
    assert_eq!(log.committed("group", TOPIC).await, Ok(zeros.clone()), "nothing is committed by reading");
    commit(consumer.as_mut(), &records).await;
    assert_eq!(log.committed("group", TOPIC).await, Ok(end));
    assert_eq!(log.committed("another", TOPIC).await, Ok(zeros));
}

/// A record that is too large is refused, with the limit; one that just fits is not.
pub async fn a_record_that_is_too_large_is_refused(place: impl LogPlace) {
    let log = place.open().await;
    let max_bytes = place.max_record_bytes();
    let sized = |bytes: usize| NewRecord { value: vec![7_u8; bytes - 1].into(), ..record(TOPIC, "k", "") };
    let refused = log.publish(sized(max_bytes + 1)).await;
    assert_eq!(refused, Err(PublishError::TooLarge { bytes: max_bytes + 1, max_bytes }));
    assert!(read_all(&*log, TOPIC).await.is_empty());
    let position = log.publish(sized(max_bytes)).await.expect("it fits");
    let found = log.read(position.topic_partition(), position.offset, 1).await.expect("the log answers");
    assert_eq!(found[0].value.len(), max_bytes - 1);
}

/// A publish whose future is dropped has been handed over all the same.
pub async fn dropping_the_future_takes_nothing_back(place: impl LogPlace) {
    let log = place.open().await;
    for value in 0..20 {
        drop(publish(&*log, "k", &value.to_string()));
    }
    publish(&*log, "k", "20").await.expect("the log takes it");
    let values: Vec<u64> = read_all(&*log, TOPIC).await.iter().map(value_of).collect();
    assert_eq!(values, (0..=20).collect::<Vec<u64>>());
}

// ---- polling --------------------------------------------------------------------------------------------

/// `poll` waits for the first record and no longer; with nothing to come it waits as long as it was told.
pub async fn poll_waits_for_the_first_record(place: impl LogPlace) {
    let log = place.open().await;
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let started = Instant::now();
    assert_eq!(consumer.poll(10, Duration::from_millis(200)).await, Ok(Vec::new()));
    let waited = started.elapsed();
    assert!((190..5_000).contains(&waited.as_millis()), "{waited:?}");

    let publisher = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish(&*log, "k", "1").await.expect("the log takes it");
    });
    let started = Instant::now();
    let records = consumer.poll(10, Duration::from_secs(30)).await.expect("the log answers");
    assert_eq!(values(&records), range(1, 1));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    publisher.await.expect("the publisher ends");
}

/// `poll` gives at most what was asked for, everything once and in order within each partition.
pub async fn poll_gives_everything_once_in_order(place: impl LogPlace) {
    let log = place.open().await;
    publish_many(&*log, 0, 1_000).await;
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    assert_eq!(consumer.poll(0, Duration::ZERO).await, Ok(Vec::new()));
    let mut all = Vec::new();
    for size in [1, 2, 3, 100].into_iter().cycle() {
        let records = consumer.poll(size, QUIET).await.expect("the log answers");
        assert!(records.len() <= size);
        if records.is_empty() {
            break;
        }
        all.extend(records);
    }
    assert_eq!(all.len(), 1_000);
    assert_eq!(values(&all), range(0, 1_000));
    assert_in_order(&all);
}

/// A poll that is given up on loses nothing.
pub async fn a_poll_that_is_dropped_loses_nothing(place: impl LogPlace) {
    let log = place.open().await;
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let publisher = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for value in 0..400 {
                publish(&*log, "k", &value.to_string()).await.expect("the log takes it");
            }
        })
    };
    let mut all: Vec<u64> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut microseconds = 0;
    while all.len() < 400 {
        assert!(Instant::now() < deadline, "{} of 400 came", all.len());
        microseconds = (microseconds + 37) % 1_000;
        let poll = consumer.poll(5, Duration::from_secs(5));
        if let Ok(records) = tokio::time::timeout(Duration::from_micros(microseconds), poll).await {
            all.extend(records.expect("the log answers").iter().map(value_of));
        }
    }
    publisher.await.expect("the publisher ends");
    assert_eq!(all, (0..400).collect::<Vec<u64>>());
}

/// A partition with a long backlog does not keep the others waiting until it is through.
pub async fn no_partition_starves(place: impl LogPlace) {
    const BACKLOG: usize = 3_000;
    let log = place.open().await;
    let busy = join_all((0..BACKLOG).map(|_| publish(&*log, "busy", "0"))).await;
    let busy = busy[0].as_ref().expect("the log takes it").partition;
    // A key of another partition.
    let mut calm = None;
    for key in 0..1_000 {
        let position = publish(&*log, &format!("calm {key}"), "1").await.expect("the log takes it");
        if position.partition != busy {
            calm = Some(position);
            break;
        }
    }
    let calm = calm.expect("one of a thousand keys is in another partition");
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let mut polled = 0;
    loop {
        let records = consumer.poll(50, PATIENCE).await.expect("the log answers");
        assert!(!records.is_empty());
        polled += records.len();
        if records.iter().any(|record| record.position == calm) {
            break;
        }
    }
    assert!(polled < BACKLOG, "it came after {polled} records");
}

/// A group may read several topics, its members different ones.
pub async fn members_may_read_different_topics(place: impl LogPlace) {
    let log = place.open().await;
    let mut both = log.subscribe("group", &[TOPIC, OTHER, TOPIC]).await.expect("the log answers");
    let mut one = log.subscribe("group", &[OTHER]).await.expect("the log answers");
    for value in 0..40_u64 {
        let topic = if value % 2 == 0 { TOPIC } else { OTHER };
        log.publish(record(topic, &format!("k{value}"), &value.to_string())).await.expect("the log takes it");
    }
    let mut seen = HashSet::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < 40 {
        assert!(Instant::now() < deadline, "{} of 40 came", seen.len());
        for (consumer, topics) in [(&mut both, &[TOPIC, OTHER][..]), (&mut one, &[OTHER][..])] {
            let records = consumer.poll(10, Duration::from_millis(50)).await.expect("the log answers");
            assert!(records.iter().all(|record| topics.contains(&record.position.topic)));
            seen.extend(values(&records));
            // Refused for what a rebalance took away; that comes again to the other one.
            let (Ok(()) | Err(_)) = consumer.commit(&next_of(&records)).await;
        }
    }
    assert_eq!(seen, range(0, 40));
    let (both, one) = (both.assignment(), one.assignment());
    assert!(one.iter().all(|at| at.topic == OTHER) && !one.is_empty());
    assert_eq!(both.iter().filter(|at| at.topic == TOPIC).count(), log.partitions() as usize);
    assert_eq!(both.len() + one.len(), 2 * log.partitions() as usize);
}

// ---- committing and redelivery --------------------------------------------------------------------------

/// What was committed does not come again; what was not does, in order, to the next consumer.
pub async fn what_was_not_committed_comes_again(place: impl LogPlace) {
    let log = place.open().await;
    publish_many(&*log, 0, 100).await;
    let mut first = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let done = take(first.as_mut(), 60).await;
    commit(first.as_mut(), &done).await;
    let lost = take(first.as_mut(), 40).await;
    assert_in_order(&[done, lost.clone()].concat());
    drop(first);

    let mut second = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let again = take(second.as_mut(), 40).await;
    assert_eq!(values(&again), values(&lost));
    assert_in_order(&again);
    expect_nothing(second.as_mut()).await;
}

/// A consumer that commits goes on behind it, and so does the next one.
pub async fn consumers_go_on_after_a_commit(place: impl LogPlace) {
    let log = place.open().await;
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    for round in 0..5 {
        publish_many(&*log, round * 20, 20).await;
        let records = take(consumer.as_mut(), 20).await;
        assert_eq!(values(&records), range(round * 20, 20));
        commit(consumer.as_mut(), &records).await;
        expect_nothing(consumer.as_mut()).await;
    }
    consumer.commit(&[]).await.expect("committing nothing is fine");
    drop(consumer);
    let mut next = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    expect_nothing(next.as_mut()).await;
    publish_many(&*log, 100, 20).await;
    assert_eq!(values(&take(next.as_mut(), 20).await), range(100, 20));
}

/// Groups do not know of each other.
pub async fn groups_are_independent(place: impl LogPlace) {
    let log = place.open().await;
    publish_many(&*log, 0, 50).await;
    let mut one = log.subscribe("one", &[TOPIC]).await.expect("the log answers");
    let records = take(one.as_mut(), 50).await;
    commit(one.as_mut(), &records).await;
    let mut two = log.subscribe("two", &[TOPIC]).await.expect("the log answers");
    assert_eq!(values(&take(two.as_mut(), 50).await), range(0, 50), "a new group starts at the beginning");
    publish_many(&*log, 50, 50).await;
    assert_eq!(values(&take(one.as_mut(), 50).await), range(50, 50));
    assert_eq!(values(&take(two.as_mut(), 50).await), range(50, 50));
}

/// Two members share the partitions; a third joins and one leaves while records flow: nothing is lost, and no
/// record is committed by two.
pub async fn members_come_and_go(place: impl LogPlace) {
    const RECORDS: u64 = 3_000;
    /// Who committed what, as often as it was confirmed.
    type Committed = Arc<Mutex<HashMap<Position, Vec<usize>>>>;

    /// A member as the test sees it.
    #[derive(Default)]
    struct Worker {
        stop: AtomicBool,
        share: AtomicUsize,
    }

    async fn work(log: Arc<dyn EventLog>, number: usize, committed: Committed, member: Arc<Worker>) {
        let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
        while !member.stop.load(Ordering::SeqCst) {
            let records = consumer.poll(20, Duration::from_millis(50)).await.expect("the log answers");
            member.share.store(consumer.assignment().len(), Ordering::SeqCst);
            // Partition by partition, so that it is known what a refusal is about.
            for next in next_of(&records) {
                match consumer.commit(&[next]).await {
                    Ok(()) => {
                        let mut committed = committed.lock();
                        let done = records.iter().filter(|r| r.position.topic_partition() == next.topic_partition());
                        for record in done {
                            committed.entry(record.position).or_default().push(number);
                        }
                    }
                    Err(LogError::Revoked(at)) => assert_eq!(at, next.topic_partition()),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        member.share.store(0, Ordering::SeqCst);
    }

    let log = place.open().await;
    let committed = Committed::default();
    let workers: Vec<Arc<Worker>> = (0..4).map(|_| Arc::default()).collect();
    let start = |number: usize| {
        tokio::spawn(work(Arc::clone(&log), number, Arc::clone(&committed), Arc::clone(&workers[number])))
    };
    let publisher = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for batch in 0..RECORDS / 50 {
                publish_many(&*log, batch * 50, 50).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let count = || committed.lock().len() as u64;
    let mut members = vec![start(0), start(1)];
    eventually("two members have committed a fifth", async || count() > RECORDS / 5).await;
    members.push(start(2));
    eventually("three members have committed two fifths", async || count() > 2 * RECORDS / 5).await;
    workers[0].stop.store(true, Ordering::SeqCst);
    members.remove(0).await.expect("the first member ends");
    members.push(start(3));
    publisher.await.expect("the publisher ends");
    let end = log.end(TOPIC).await.expect("the log answers");
    eventually("everything is committed", async || log.committed("group", TOPIC).await.as_ref() == Ok(&end)).await;
    // What was confirmed a moment ago is entered a moment later.
    eventually("every commit is entered", async || count() == RECORDS).await;
    // The last to join may still be waiting for what another one has to give up first.
    let share = |worker: &Arc<Worker>| worker.share.load(Ordering::SeqCst);
    eventually("every member has a share and every partition a member", async || {
        let shares: Vec<usize> = workers[1..].iter().map(share).collect();
        shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == log.partitions() as usize
    })
    .await;
    for worker in &workers {
        worker.stop.store(true, Ordering::SeqCst);
    }
    for member in members {
        member.await.expect("the member ends");
    }
    let committed = committed.lock();
    for (position, by) in committed.iter() {
        assert_eq!(by.len(), 1, "{position:?} was committed by {by:?}");
    }
}

/// Members' shares are disjoint and together they are everything.
pub async fn every_partition_has_one_owner(place: impl LogPlace) {
    let log = place.open().await;
    let mut members: Vec<Box<dyn Consumer>> = Vec::new();
    for count in 1..=4_usize {
        members.push(log.subscribe("group", &[TOPIC]).await.expect("the log answers"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut shares = Vec::new();
            for member in &mut members {
                member.poll(1, Duration::from_millis(5)).await.expect("the log answers");
                shares.push(member.assignment());
            }
            let all: Vec<TopicPartition> = shares.concat();
            let distinct: HashSet<TopicPartition> = all.iter().copied().collect();
            let even = log.partitions() as usize / count;
            let is_fair = shares.iter().all(|share| (even..=even + 1).contains(&share.len()));
            if is_fair && all.len() == distinct.len() && distinct.len() == log.partitions() as usize {
                break;
            }
            assert!(Instant::now() < deadline, "{shares:?}");
        }
    }
}

/// A partition that was taken away cannot be committed any more; the rest of the same call can.
pub async fn a_commit_after_revocation_is_refused(place: impl LogPlace) {
    let log = place.open().await;
    let publishing = (0..200).map(|key| publish(&*log, &format!("key {key}"), "0"));
    assert!(join_all(publishing).await.iter().all(Result::is_ok));
    let mut first = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let records = take(first.as_mut(), 200).await;
    assert_eq!(next_of(&records).len(), log.partitions() as usize, "records in every partition");

    let mut second = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let deadline = Instant::now() + PATIENCE;
    while second.assignment().is_empty() {
        assert!(Instant::now() < deadline, "the second member got no partition");
        second.poll(1, Duration::from_millis(20)).await.expect("the log answers");
        first.poll(1, Duration::from_millis(20)).await.expect("the log answers");
    }
    let taken = second.assignment();
    assert!(!first.assignment().is_empty());
    let outcome = first.commit(&next_of(&records)).await;
    assert!(matches!(outcome, Err(LogError::Revoked(at)) if taken.contains(&at)), "{outcome:?}");
    for position in log.committed("group", TOPIC).await.expect("the log answers") {
        let is_taken = taken.contains(&position.topic_partition());
        assert_eq!(position.offset == 0, is_taken, "{position:?}");
    }
    // A partition it never had is refused as well.
    let mut third = log.subscribe("another", &[OTHER]).await.expect("the log answers");
    let outcome = third.commit(&next_of(&records)[..1]).await;
    assert!(matches!(outcome, Err(LogError::Revoked(_))), "{outcome:?}");
}

// ---- tails ----------------------------------------------------------------------------------------------

/// A tail reads the partitions it was given from there on, without a group.
pub async fn a_tail_reads_from_its_positions_on(place: impl LogPlace) {
    let log = place.open().await;
    let positions = publish_many(&*log, 0, 100).await;
    let middle = log.end(TOPIC).await.expect("the log answers");
    let mut from_here = log.tail(&middle).await.expect("the log answers");
    expect_nothing(from_here.as_mut()).await;

    publish_many(&*log, 100, 100).await;
    let records = take(from_here.as_mut(), 100).await;
    assert_eq!(values(&records), range(100, 100));
    assert_in_order(&records);
    expect_nothing(from_here.as_mut()).await;

    let beginning: Vec<Position> = middle.iter().map(|position| Position { offset: 0, ..*position }).collect();
    let mut from_beginning = log.tail(&beginning).await.expect("the log answers");
    assert_eq!(values(&take(from_beginning.as_mut(), 200).await), range(0, 200));

    // One partition alone, from one record on.
    let start = positions[50];
    let mut of_one = log.tail(&[start]).await.expect("the log answers");
    assert_eq!(of_one.assignment(), [start.topic_partition()]);
    let first = of_one.poll(1, PATIENCE).await.expect("the log answers").remove(0);
    assert_eq!((first.position, value_of(&first)), (start, 50));
    let rest = of_one.poll(1_000, PATIENCE).await.expect("the log answers");
    assert!(rest.iter().all(|record| record.position.partition == start.partition));

    let missing = Position { topic: TOPIC, partition: log.partitions(), offset: 0 };
    let refused = log.tail(&[missing]).await.err();
    assert_eq!(refused, Some(LogError::NoSuchPartition(missing.topic_partition())));
}

/// Tails and groups do not disturb each other, and several tails see the same.
pub async fn tails_share_nothing(place: impl LogPlace) {
    let log = place.open().await;
    let start = log.end(TOPIC).await.expect("the log answers");
    let mut group = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let mut one = log.tail(&start).await.expect("the log answers");
    let mut two = log.tail(&start).await.expect("the log answers");
    publish_many(&*log, 0, 100).await;
    for consumer in [&mut one, &mut group, &mut two] {
        assert_eq!(values(&take(consumer.as_mut(), 100).await), range(0, 100));
    }
    assert!(one.commit(&start).await.is_err(), "there is no group to commit for");
    assert!(log.committed("group", TOPIC).await.expect("the log answers").iter().all(|p| p.offset == 0));
}

// ---- closing and opening again --------------------------------------------------------------------------

/// Records, committed offsets and the order of offsets survive closing and opening again.
pub async fn everything_is_there_after_reopening(place: impl LogPlace) {
    let log = place.open().await;
    let partitions = log.partitions();
    publish_many(&*log, 0, 300).await;
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let done = take(consumer.as_mut(), 200).await;
    commit(consumer.as_mut(), &done).await;
    let before = read_all(&*log, TOPIC).await;
    let (end, committed) = (log.end(TOPIC).await, log.committed("group", TOPIC).await);
    drop((consumer, log));

    let log = place.open().await;
    assert_eq!(log.partitions(), partitions);
    assert_eq!(read_all(&*log, TOPIC).await, before);
    assert_eq!((log.end(TOPIC).await, log.committed("group", TOPIC).await), (end, committed));
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let rest = take(consumer.as_mut(), 100).await;
    let expected: HashSet<u64> = range(0, 300).difference(&values(&done)).copied().collect();
    assert_eq!(values(&rest), expected);

    // New records come behind the old ones, in the same partitions.
    let of_key = |key: &str| before.iter().find(|record| record.key == key).expect("it was published").position;
    for position in publish_many(&*log, 300, 10).await {
        assert!(before.iter().all(|record| {
            record.position.partition != position.partition || record.position.offset < position.offset
        }));
    }
    let again = publish(&*log, "k3", "0").await.expect("the log takes it");
    assert_eq!(again.partition, of_key("k3").partition);
}

// ---- limits ---------------------------------------------------------------------------------------------

/// A topic whose group is far behind takes nothing more, drops nothing, and takes records again when the group
/// has caught up.
pub async fn a_full_log_pushes_back_and_recovers(place: impl BoundedLogPlace) {
    let bounds = Bounds { max_backlog_records: 50, retain_records: 1_000 };
    let log = place.open_bounded(bounds).await;
    // One that never commits, and that nobody waits for.
    let mut patient = log.subscribe(PATIENT_GROUP, &[TOPIC]).await.expect("the log answers");
    // Without a group nobody is behind.
    publish_many(&*log, 0, 200).await;
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    let refused = publish(&*log, "k", "0").await;
    assert!(matches!(refused, Err(PublishError::Full(_))), "{refused:?}");
    let records = take(consumer.as_mut(), 200).await;
    commit(consumer.as_mut(), &records).await;

    for round in 1..4_u64 {
        // All handed over before any is confirmed, so that those on the way count too.
        let first = round * 1_000;
        let publishing =
            (first..first + 80).map(|value| publish(&*log, &format!("k{}", value % 10), &value.to_string()));
        let outcomes = join_all(publishing).await;
        let accepted: HashSet<u64> =
            (first..).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(value, _)| value).collect();
        assert_eq!(accepted.len(), 50);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(PublishError::Full(_)))));
        // Another topic is not full.
        log.publish(record(OTHER, "k", "0")).await.expect("the log takes it");
        // Reading makes no room, committing does.
        let records = take(consumer.as_mut(), 50).await;
        assert_eq!(values(&records), accepted);
        let refused = publish(&*log, "k", "0").await;
        assert!(matches!(refused, Err(PublishError::Full(_))), "{refused:?}");
        commit(consumer.as_mut(), &records).await;
    }
    // What the patient one is owed is there all the same.
    assert_eq!(take(patient.as_mut(), 350).await.len(), 350);
    drop(patient);
    // A group that is not there at the moment counts all the same: it is owed its records.
    drop(consumer);
    let outcomes = join_all((0..80).map(|_| publish(&*log, "k", "0"))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 50);
    drop(log);
    let log = place.open_bounded(bounds).await;
    let refused = publish(&*log, "k", "0").await;
    assert!(matches!(refused, Err(PublishError::Full(_))), "{refused:?}");
    let mut consumer = log.subscribe("group", &[TOPIC]).await.expect("the log answers");
    assert_eq!(take(consumer.as_mut(), 50).await.len(), 50);
}

/// Old records go when every group has committed them, never before; whoever asks for them is told.
pub async fn retention_keeps_what_a_group_is_owed(place: impl BoundedLogPlace) {
    const RECORDS: u64 = 1_000;
    let bounds = Bounds { max_backlog_records: 100_000, retain_records: 100 };
    let log = place.open_bounded(bounds).await;
    let mut quick = log.subscribe("quick", &[TOPIC]).await.expect("the log answers");
    let mut slow = log.subscribe("slow", &[TOPIC]).await.expect("the log answers");
    let positions = join_all((0..RECORDS).map(|value| publish(&*log, "one key", &value.to_string()))).await;
    let at = positions[0].as_ref().expect("the log takes it").topic_partition();
    let done = take(quick.as_mut(), RECORDS as usize).await;
    commit(quick.as_mut(), &done).await;
    // Something for trimming to be triggered by.
    publish(&*log, "one key", "1000").await.expect("the log takes it");
    tokio::time::sleep(QUIET).await;
    assert_eq!(log.read(at, 0, 1).await.map(|records| value_of(&records[0])), Ok(0), "the slow group is owed it");

    let all = take(slow.as_mut(), RECORDS as usize).await;
    assert_eq!(values(&all), range(0, RECORDS));
    commit(slow.as_mut(), &all).await;
    let truncated = async || matches!(log.read(at, 0, 1).await, Err(LogError::Truncated { asked: 0, .. }));
    eventually("the oldest records are gone", truncated).await;
    let Err(LogError::Truncated { earliest, .. }) = log.read(at, 0, 1).await else { panic!("it was truncated") };
    assert!(earliest <= RECORDS + 1 - 100, "a hundred are kept");
    let kept = log.read(at, earliest, usize::MAX).await.expect("these are kept");
    assert_eq!(kept.iter().map(value_of).collect::<Vec<_>>(), (earliest..=RECORDS).collect::<Vec<_>>());
    let from_beginning = log.tail(&[Position { topic: at.topic, partition: at.partition, offset: 0 }]).await.err();
    assert_eq!(from_beginning, Some(LogError::Truncated { asked: 0, earliest }));

    // A new group starts with what there is, and the groups go on.
    let mut new = log.subscribe("new", &[TOPIC]).await.expect("the log answers");
    assert_eq!(value_of(&take(new.as_mut(), 1).await[0]), earliest);
    assert_eq!(values(&take(quick.as_mut(), 1).await), range(RECORDS, 1));
    drop((quick, slow, new, log));

    let log = place.open_bounded(bounds).await;
    assert_eq!(log.read(at, 0, 1).await, Err(LogError::Truncated { asked: 0, earliest }), "also after reopening");
    let next = publish(&*log, "one key", "0").await.expect("the log takes it");
    assert_eq!(next.offset, RECORDS + 1);
}

/// Makes a test of every behaviour for one implementation of the log.
#[macro_export]
macro_rules! log_contract {
    ($implementation:ident, $place:ty) => {
        $crate::contract_tests!(
            $implementation,
            $place,
            log,
            LogPlace,
            [
                order_within_a_key_is_that_of_the_calls,
                every_record_has_one_position,
                keys_spread_over_the_partitions,
                contents_come_back_intact,
                reading_goes_in_pages_to_the_end,
                end_and_committed_are_told,
                a_record_that_is_too_large_is_refused,
                dropping_the_future_takes_nothing_back,
                poll_waits_for_the_first_record,
                poll_gives_everything_once_in_order,
                a_poll_that_is_dropped_loses_nothing,
                no_partition_starves,
                members_may_read_different_topics,
                what_was_not_committed_comes_again,
                consumers_go_on_after_a_commit,
                groups_are_independent,
                members_come_and_go,
                every_partition_has_one_owner,
                a_commit_after_revocation_is_refused,
                a_tail_reads_from_its_positions_on,
                tails_share_nothing,
                everything_is_there_after_reopening,
            ]
        );
    };
}

/// Makes a test of every limit for one implementation whose log has them.
#[macro_export]
macro_rules! bounded_log_contract {
    ($implementation:ident, $place:ty) => {
        $crate::contract_tests!(
            $implementation,
            $place,
            log,
            LogPlace,
            [a_full_log_pushes_back_and_recovers, retention_keeps_what_a_group_is_owed,]
        );
    };
}
