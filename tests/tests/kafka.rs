//! What only the log at Kafka can meet: brokers that refuse, are slow or go away, and topics that disappear.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ackscope_core::log::kafka::{KafkaLog, KafkaOptions};
use ackscope_core::log::{EventLog, LogError, NewRecord, PublishError, Topic, TopicPartition};
use ackscope_tests::contract::kafka::KafkaPlace;
use ackscope_tests::contract::log::LogPlace;
use bytes::Bytes;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

type Mock = MockCluster<'static, DefaultProducerContext>;

const PATIENCE: Duration = Duration::from_secs(20);

/// Where a member in a process of its own finds the brokers.
const MEMBER_BROKERS: &str = "ACKSCOPE_TEST_MEMBER_BROKERS";

/// What it says before the offset of each record it has.
const MEMBER_HAS: &str = "member has ";

fn record(key: &str) -> NewRecord {
    NewRecord { topic: Topic::MessageSent, key: key.into(), headers: Vec::new(), value: Bytes::from_static(b"value") }
}

/// One pretended broker with the log's topics; it cannot make them itself.
fn mock() -> (Mock, KafkaOptions) {
    let mock = MockCluster::new(1).unwrap();
    for topic in Topic::ALL {
        mock.create_topic(topic.as_str(), 8, 1).unwrap();
    }
    let options = mock_options(mock.bootstrap_servers());
    (mock, options)
}

fn mock_options(brokers: String) -> KafkaOptions {
    KafkaOptions {
        brokers,
        publish_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(2),
        session_timeout: Duration::from_millis(1_500),
        heartbeat_interval: Duration::from_millis(200),
        ..KafkaOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_and_ends_with_its_reason() {
    let (mock, options) = mock();
    let log = KafkaLog::connect(&options).await.unwrap();
    log.publish(record("k")).await.unwrap();
    mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let refused = log.publish(record("k")).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    // The client asks for its rights again every ten seconds.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = log.publish(record("k")).await {
        assert!(matches!(error, PublishError::Unavailable(_)), "{error:?}");
        assert!(Instant::now() < deadline, "it does not go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_error_is_not_told() {
    let (mock, options) = mock();
    let log = KafkaLog::connect(&options).await.unwrap();
    log.publish(record("k")).await.unwrap();
    mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    log.publish(record("k")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_broker_leaves_the_outcome_unknown() {
    let (mock, options) = mock();
    let log = KafkaLog::connect(&options).await.unwrap();
    log.publish(record("k")).await.unwrap();
    mock.broker_round_trip_time(1, Duration::from_secs(4)).unwrap();
    let started = Instant::now();
    assert_eq!(log.publish(record("k")).await, Err(PublishError::OutcomeUnknown));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_brokers_the_answer_is_quick_and_with_them_it_goes_on() {
    let (mock, options) = mock();
    let log = KafkaLog::connect(&options).await.unwrap();
    log.publish(record("k")).await.unwrap();
    mock.broker_down(1).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let started = Instant::now();
        let outcome = log.publish(record("k")).await;
        assert!(outcome.is_err());
        if matches!(outcome, Err(PublishError::Unavailable(_))) && started.elapsed() < Duration::from_millis(50) {
            break;
        }
        assert!(Instant::now() < deadline, "{outcome:?}");
    }
    let started = Instant::now();
    assert!(matches!(log.end(Topic::MessageSent).await, Err(LogError::Unavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    mock.broker_up(1).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while log.publish(record("k")).await.is_err() {
        assert!(Instant::now() < deadline, "it does not go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    log.end(Topic::MessageSent).await.unwrap();
}

/// The pretended broker lets the first member of a group wait 3 s for others, and counts that against its session.
fn member_options(brokers: String) -> KafkaOptions {
    KafkaOptions {
        session_timeout: Duration::from_secs(4),
        request_timeout: Duration::from_secs(8),
        ..mock_options(brokers)
    }
}

/// A process of its own that joins a group, takes what comes, commits none of it and says where each record was.
/// Only its parent, the test below, starts it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other half of a_member_that_is_killed_leaves_its_partitions"]
async fn member_that_is_killed() {
    let brokers = std::env::var(MEMBER_BROKERS).unwrap();
    let log = KafkaLog::connect(&member_options(brokers)).await.unwrap();
    let mut member = log.subscribe("group", &[Topic::MessageSent]).await.unwrap();
    loop {
        for record in member.poll(100, Duration::from_millis(100)).await.unwrap() {
            println!("{MEMBER_HAS}{}", record.position.offset);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_killed_leaves_its_partitions() {
    let (_mock, options) = mock();
    let log = KafkaLog::connect(&member_options(options.brokers.clone())).await.unwrap();
    let mut positions = Vec::new();
    for number in 0..20 {
        positions.push(log.publish(record(&number.to_string())).await.unwrap());
    }
    let mut member = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "member_that_is_killed", "--ignored", "--nocapture"])
        .env(MEMBER_BROKERS, &options.brokers)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(member.stdout.take().unwrap()).lines();
    let mut had = 0;
    while had < positions.len() {
        let line = timeout(PATIENCE, said.next_line()).await.expect("the member gets its records").unwrap().unwrap();
        had += usize::from(line.contains(MEMBER_HAS));
    }
    // By SIGKILL, so that it cannot leave the group; only its session ends.
    member.kill().await.unwrap();
    let mut heir = log.subscribe("group", &[Topic::MessageSent]).await.unwrap();
    let mut left: BTreeSet<_> = positions.iter().map(|at| (at.partition, at.offset)).collect();
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "the next member does not get {left:?}");
        for record in heir.poll(100, Duration::from_millis(100)).await.unwrap() {
            let at = (record.position.partition, record.position.offset);
            assert!(left.remove(&at), "{at:?} came twice");
        }
    }
    assert_eq!(heir.assignment().len(), 8);
    // It is a member in full: what it commits stays committed.
    let mut next = log.end(Topic::MessageSent).await.unwrap();
    next.retain(|end| end.offset > 0);
    heir.commit(&next).await.unwrap();
    let committed = log.committed("group", Topic::MessageSent).await.unwrap();
    assert!(next.iter().all(|end| committed.contains(end)), "{committed:?} after {next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_disappears_is_not_made_again() {
    if !KafkaPlace::is_available().await {
        return;
    }
    let place = KafkaPlace::fresh().await;
    let log = place.log().await;
    let position = log.publish(record("k")).await.unwrap();
    log.delete_topics().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcome = log.publish(record("k")).await;
        if matches!(outcome, Err(PublishError::Unavailable(_))) {
            break;
        }
        assert!(Instant::now() < deadline, "{outcome:?}");
    }
    let at = TopicPartition { topic: position.topic, partition: position.partition };
    for outcome in [log.read(at, 0, 1).await.err(), log.end(at.topic).await.err()] {
        assert!(matches!(outcome, Some(LogError::Unavailable(_))), "{outcome:?}");
    }
}

/// How long a confirmation takes and how many fit into a second; printed, not judged.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn figures() {
    if !KafkaPlace::is_available().await {
        return;
    }
    for linger_ms in [0, 1, 2] {
        let place = KafkaPlace::fresh().await;
        let log = KafkaLog::connect(&KafkaOptions { linger_ms, ..place.options().clone() }).await.unwrap();
        log.publish(record("k")).await.unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        let mut waiting = Vec::new();
        for number in 0..5_000 {
            ticks.tick().await;
            let started = Instant::now();
            let publishing = log.publish(NewRecord { value: vec![7; 400].into(), ..record(&number.to_string()) });
            waiting.push(tokio::spawn(async move { publishing.await.map(|_| started.elapsed()) }));
        }
        let mut took = Vec::new();
        for task in waiting {
            took.push(task.await.unwrap().unwrap());
        }
        took.sort_unstable();
        let started = Instant::now();
        let many = (0..50_000).map(|n| log.publish(NewRecord { value: vec![7; 400].into(), ..record(&n.to_string()) }));
        let outcomes = futures_util::future::join_all(many).await;
        assert!(outcomes.iter().all(Result::is_ok));
        let per_sec = 50_000.0 / started.elapsed().as_secs_f64();
        println!("linger {linger_ms} ms: p50 {:?}, p99 {:?}, {per_sec:.0}/s", took[2_500], took[4_950]);
        let started = Instant::now();
        for _ in 0..100 {
            log.end(Topic::MessageSent).await.unwrap();
        }
        let end = started.elapsed() / 100;
        log.committed("group", Topic::MessageSent).await.unwrap();
        let started = Instant::now();
        for _ in 0..100 {
            log.committed("group", Topic::MessageSent).await.unwrap();
        }
        println!("end {end:?}, committed {:?}", started.elapsed() / 100);
    }
}
