//! The event log: from publishing to the confirmation, and to three consumer groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::log::{EventLog, NewRecord, Position, PublishError, Topic};
use ackscope_core::sqlite::Durability;
use anyhow::bail;
use axum::body::Bytes;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::{Progress, Row, Scratch, Section, Times, durability_name};

const TOPIC: Topic = Topic::MessageSent;
/// About what the envelope of a message has.
const RECORD_BYTES: usize = 700;
/// Consumer groups that read along.
const GROUPS: usize = 3;
/// Records published one after the other.
const ONE_BY_ONE: u64 = 1_000;
/// Pause between two of these.
const PAUSE: Duration = Duration::from_millis(2);
/// The fixed rate, in records a second.
const RATE: u64 = 1_000;
/// How long it is kept.
const PACED: Duration = Duration::from_secs(5);
/// Records on their way at the same time when it goes as fast as it can.
const IN_FLIGHT: usize = 1_000;
/// How long that is measured.
const FLAT_OUT: Duration = Duration::from_secs(4);
/// How long a consumer waits for records before it gives up.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn measure(progress: &Progress) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    progress.begin("event log", 8);
    for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
        let durable = durability_name(durability);
        let [confirmed, polled] = one_by_one(&Scratch::open(durability)?).await?;
        rows.push(row(format!("one at a time: confirmed, {durable}"), None, confirmed));
        rows.push(row(format!("one at a time: polled, {durable}"), None, polled));
        progress.advance(1);
        let [confirmed, polled] = paced(&Scratch::open(durability)?).await?;
        rows.push(row(format!("{RATE}/s: confirmed, {durable}"), None, confirmed));
        rows.push(row(format!("{RATE}/s: polled by {GROUPS}, {durable}"), None, polled));
        progress.advance(1);
        for groups in [0, GROUPS] {
            let (per_sec, confirmed) = flat_out(&Scratch::open(durability)?, groups).await?;
            rows.push(row(format!("flat out, {groups} groups: confirmed, {durable}"), Some(per_sec), confirmed));
            progress.advance(1);
        }
    }
    Ok(Section { key: "log", title: "Event log, records of 700 bytes", rows })
}

fn row(name: String, per_sec: Option<f64>, times: Times) -> Row {
    Row { name, per_sec, times, aim: None }
}

/// A record that carries when it was published, in nanoseconds since `epoch`.
fn record(number: u64, epoch: Instant) -> NewRecord {
    let mut value = vec![b'x'; RECORD_BYTES];
    value[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    NewRecord {
        topic: TOPIC,
        key: Uuid::from_u128(u128::from(number % 100)).to_string(),
        headers: vec![("traceparent".into(), traceparent.into())],
        value: Bytes::from(value),
    }
}

/// A consumer that commits what it polled, until it has seen `until` records; gives the times from publish to poll.
async fn consume(log: Arc<dyn EventLog>, group: String, until: u64, epoch: Instant) -> anyhow::Result<Times> {
    let mut consumer = log.subscribe(&group, &[TOPIC]).await?;
    let mut times = Times::new()?;
    while times.0.len() < until {
        let records = consumer.poll(500, PATIENCE).await?;
        if records.is_empty() {
            bail!("nothing came for {} s", PATIENCE.as_secs());
        }
        let now = epoch.elapsed();
        let mut next: BTreeMap<u32, Position> = BTreeMap::new();
        for record in &records {
            let published = record.value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            times.record(now.saturating_sub(Duration::from_nanos(published)));
            next.insert(record.position.partition, Position { offset: record.position.offset + 1, ..record.position });
        }
        consumer.commit(&next.into_values().collect::<Vec<_>>()).await?;
    }
    Ok(times)
}

type Consuming = JoinHandle<anyhow::Result<Times>>;

fn consumers(log: &Arc<dyn EventLog>, groups: usize, until: u64, epoch: Instant) -> Vec<Consuming> {
    let start = |group| tokio::spawn(consume(Arc::clone(log), format!("group {group}"), until, epoch));
    (0..groups).map(start).collect()
}

async fn one_by_one(scratch: &Scratch) -> anyhow::Result<[Times; 2]> {
    let log = &scratch.backend.log;
    let epoch = Instant::now();
    let consumer = tokio::spawn(consume(Arc::clone(log), "group".into(), ONE_BY_ONE, epoch));
    let mut confirmed = Times::new()?;
    for number in 0..ONE_BY_ONE {
        confirmed.of(log.publish(record(number, epoch))).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok([confirmed, consumer.await??])
}

/// Publishes and waits for the confirmation beside everything else.
fn publish(
    log: &Arc<dyn EventLog>,
    publishing: &mut JoinSet<Result<Duration, PublishError>>,
    number: u64,
    epoch: Instant,
) {
    let (handed_over, confirmation) = (Instant::now(), log.publish(record(number, epoch)));
    publishing.spawn(async move { confirmation.await.map(|_| handed_over.elapsed()) });
}

async fn paced(scratch: &Scratch) -> anyhow::Result<[Times; 2]> {
    let log = &scratch.backend.log;
    let epoch = Instant::now();
    let count = RATE * PACED.as_secs();
    let consumers = consumers(log, GROUPS, count, epoch);
    let mut publishing = JoinSet::new();
    for number in 0..count {
        tokio::time::sleep_until((epoch + Duration::from_micros(number * 1_000_000 / RATE)).into()).await;
        publish(log, &mut publishing, number, epoch);
    }
    let mut confirmed = Times::new()?;
    while let Some(time) = publishing.join_next().await {
        confirmed.record(time??);
    }
    let mut polled = Times::new()?;
    for consumer in consumers {
        polled.0.add(&consumer.await??.0)?;
    }
    Ok([confirmed, polled])
}

async fn flat_out(scratch: &Scratch, groups: usize) -> anyhow::Result<(f64, Times)> {
    let log = &scratch.backend.log;
    let epoch = Instant::now();
    let consumers = consumers(log, groups, u64::MAX, epoch);
    let mut publishing = JoinSet::new();
    let mut confirmed = Times::new()?;
    let mut number = 0;
    while epoch.elapsed() < FLAT_OUT {
        while publishing.len() < IN_FLIGHT {
            publish(log, &mut publishing, number, epoch);
            number += 1;
        }
        // A log that is full refuses; what is measured is what it takes.
        if let Some(Ok(time)) = publishing.join_next().await.transpose()? {
            confirmed.record(time);
        }
    }
    let per_sec = confirmed.0.len() as f64 / epoch.elapsed().as_secs_f64();
    for consumer in consumers {
        consumer.abort();
    }
    Ok((per_sec, confirmed))
}
