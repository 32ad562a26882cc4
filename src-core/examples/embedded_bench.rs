//! What the embedded backend can do on this machine: `cargo run --release -p ackscope-core --example embedded_bench`.

#![expect(clippy::print_stdout, reason = "printing figures is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::log::embedded::{EmbeddedLog, LogOptions};
use ackscope_core::log::{EventLog, NewRecord, Position, Topic};
use ackscope_core::repositories::MessageRepository;
use ackscope_core::repositories::embedded::EmbeddedMessages;
use ackscope_core::sqlite::{Durability, EmbeddedFile, EmbeddedOptions};
use ackscope_core::state::{Change, MessageChange, PlacedChange};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use bytes::Bytes;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const TOPIC: Topic = Topic::MessageSent;
/// About what the envelope of a message has.
const RECORD_BYTES: usize = 700;

#[tokio::main]
async fn main() -> Outcome<()> {
    for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
        println!("\n{durability:?}");
        one_at_a_time(durability).await?;
        paced(durability, 1_000, Duration::from_secs(5)).await?;
        flat_out(durability, Duration::from_secs(4)).await?;
        inserts(durability).await?;
    }
    println!("\nHistory");
    history().await?;
    Ok(())
}

struct Scratch {
    file: Arc<EmbeddedFile>,
    _directory: tempfile::TempDir,
}

fn scratch(durability: Durability) -> Outcome<Scratch> {
    let directory = tempfile::tempdir()?;
    let options = EmbeddedOptions { durability, ..EmbeddedOptions::default() };
    Ok(Scratch { file: EmbeddedFile::open(directory.path().join("bench.db"), options)?, _directory: directory })
}

/// A record that carries when it was published, in microseconds since `epoch`.
fn record(number: u64, epoch: Instant) -> NewRecord {
    let mut value = vec![b'x'; RECORD_BYTES];
    value[..8].copy_from_slice(&(epoch.elapsed().as_micros() as u64).to_le_bytes());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    NewRecord {
        topic: TOPIC,
        key: Uuid::from_u128(u128::from(number % 100)).to_string(),
        headers: vec![("traceparent".into(), traceparent.into())],
        value: Bytes::from(value),
    }
}

/// A consumer that commits what it polled, until it has seen `until` records; gives the latencies from publish to
/// poll in microseconds.
async fn consume(log: EmbeddedLog, group: String, until: u64, epoch: Instant) -> Outcome<Vec<u64>> {
    let mut consumer = log.subscribe(&group, &[TOPIC]).await?;
    let mut latencies = Vec::new();
    while (latencies.len() as u64) < until {
        let records = consumer.poll(500, Duration::from_secs(5)).await?;
        if records.is_empty() {
            return Err("nothing came for five seconds".into());
        }
        let now = epoch.elapsed().as_micros() as u64;
        let mut next: BTreeMap<u32, Position> = BTreeMap::new();
        for record in &records {
            let published = record.value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            latencies.push(now.saturating_sub(published));
            next.insert(record.position.partition, Position { offset: record.position.offset + 1, ..record.position });
        }
        consumer.commit(&next.into_values().collect::<Vec<_>>()).await?;
    }
    Ok(latencies)
}

fn consumers(log: &EmbeddedLog, until: u64, epoch: Instant) -> Vec<JoinHandle<Outcome<Vec<u64>>>> {
    (0..3).map(|number| tokio::spawn(consume(log.clone(), format!("group {number}"), until, epoch))).collect()
}

async fn one_at_a_time(durability: Durability) -> Outcome<()> {
    const COUNT: u64 = 1_000;
    let scratch = scratch(durability)?;
    let log = EmbeddedLog::new(Arc::clone(&scratch.file), LogOptions::default())?;
    let epoch = Instant::now();
    let consumer = tokio::spawn(consume(log.clone(), "group".into(), COUNT, epoch));
    let mut confirmed = Vec::new();
    for number in 0..COUNT {
        let started = Instant::now();
        log.publish(record(number, epoch)).await?;
        confirmed.push(started.elapsed().as_micros() as u64);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    report("idle, one at a time: confirmed", &mut confirmed);
    report("idle, one at a time: polled", &mut consumer.await??);
    Ok(())
}

async fn paced(durability: Durability, per_second: u64, length: Duration) -> Outcome<()> {
    let scratch = scratch(durability)?;
    let log = EmbeddedLog::new(Arc::clone(&scratch.file), LogOptions::default())?;
    let epoch = Instant::now();
    let count = per_second * length.as_secs();
    let consumers = consumers(&log, count, epoch);
    let mut publishing = JoinSet::new();
    let started = Instant::now();
    for number in 0..count {
        let due = started + Duration::from_micros(number * 1_000_000 / per_second);
        tokio::time::sleep_until(due.into()).await;
        let (handed_over, confirmation) = (Instant::now(), log.publish(record(number, epoch)));
        publishing.spawn(async move { confirmation.await.map(|_| handed_over.elapsed().as_micros() as u64) });
    }
    let mut confirmed = Vec::new();
    while let Some(latency) = publishing.join_next().await {
        confirmed.push(latency??);
    }
    report(&format!("{per_second}/s: confirmed"), &mut confirmed);
    let mut polled = Vec::new();
    for consumer in consumers {
        polled.extend(consumer.await??);
    }
    report(&format!("{per_second}/s: polled by 3 groups"), &mut polled);
    Ok(())
}

async fn flat_out(durability: Durability, length: Duration) -> Outcome<()> {
    const IN_FLIGHT: usize = 1_000;
    for with_groups in [false, true] {
        let scratch = scratch(durability)?;
        let log = EmbeddedLog::new(Arc::clone(&scratch.file), LogOptions::default())?;
        let epoch = Instant::now();
        let consumers = if with_groups { consumers(&log, u64::MAX, epoch) } else { Vec::new() };
        let started = Instant::now();
        let mut publishing = JoinSet::new();
        let (mut number, mut refused) = (0, 0_u64);
        let mut confirmed = Vec::new();
        while started.elapsed() < length {
            while publishing.len() < IN_FLIGHT {
                let (handed_over, confirmation) = (Instant::now(), log.publish(record(number, epoch)));
                number += 1;
                publishing.spawn(async move { confirmation.await.map(|_| handed_over.elapsed().as_micros() as u64) });
            }
            if let Some(outcome) = publishing.join_next().await {
                match outcome? {
                    Ok(latency) => confirmed.push(latency),
                    Err(_) => refused += 1,
                }
            }
        }
        let per_second = confirmed.len() as f64 / started.elapsed().as_secs_f64();
        let groups = if with_groups { "3 groups reading" } else { "nobody reading" };
        report(&format!("flat out, {groups}: {per_second:.0}/s, {refused} refused"), &mut confirmed);
        for consumer in consumers {
            consumer.abort();
        }
    }
    Ok(())
}

fn message(number: u64) -> Outcome<Message> {
    Ok(Message {
        message_id: MessageId::from_uuid(Uuid::new_v4()),
        conversation_id: ConversationId::from_uuid(Uuid::from_u128(u128::from(number % 100))),
        sender_id: "ana".parse()?,
        temp_id: Some(number.to_string().parse()?),
        text: Some(MessageText::new("x".repeat(200))?),
        media: Vec::new(),
        reply_to: None,
        thread_root: None,
        created_at: Timestamp::from_millis(0),
        edited_at: None,
        edits: Vec::new(),
        deleted: None,
        reactions: BTreeMap::new(),
        forwarded_from: None,
        forward_count: 0,
        seq: number,
    })
}

async fn inserts(durability: Durability) -> Outcome<()> {
    let scratch = scratch(durability)?;
    let store = EmbeddedMessages::new(Arc::clone(&scratch.file));
    let mut number = 0;
    for (bulk, rounds) in [(1, 1_000), (100, 100), (500, 20)] {
        let mut latencies = Vec::new();
        let mut bulks = Vec::new();
        for _ in 0..rounds {
            bulks.push((0..bulk).map(|index| message(number + index)).collect::<Outcome<Vec<_>>>()?);
            number += bulk;
        }
        let started = Instant::now();
        for messages in bulks {
            let started = Instant::now();
            store.insert_bulk(&messages).await?;
            latencies.push(started.elapsed().as_micros() as u64);
        }
        let per_second = (bulk * rounds) as f64 / started.elapsed().as_secs_f64();
        report(&format!("insert_bulk of {bulk}: {per_second:.0} messages/s"), &mut latencies);
    }
    Ok(())
}

/// Pages of a conversation with a million messages, of which the viewer has hidden a hundred thousand in a row and,
/// further down, every second one.
async fn history() -> Outcome<()> {
    const COUNT: u64 = 1_000_000;
    const HIDDEN: u64 = 100_000;
    const BULK: u64 = 1_000;
    let scratch = scratch(Durability::ProcessCrash)?;
    let store = EmbeddedMessages::new(Arc::clone(&scratch.file));
    let conversation_id = ConversationId::from_uuid(Uuid::from_u128(1));
    let message_id = |seq: u64| MessageId::from_uuid(Uuid::from_u128(u128::from(seq)));
    let viewer: UserId = "ben".parse()?;

    let mut inserted = Vec::new();
    for bulk in 0..COUNT / BULK {
        let messages = (bulk * BULK..(bulk + 1) * BULK)
            .map(|seq| Ok(Message { message_id: message_id(seq), conversation_id, ..message(seq)? }))
            .collect::<Outcome<Vec<_>>>()?;
        let started = Instant::now();
        store.insert_bulk(&messages).await?;
        inserted.push(started.elapsed().as_micros() as u64);
    }
    report(&format!("insert_bulk of {BULK}, {COUNT} in all"), &mut inserted);

    let in_a_row = COUNT - HIDDEN - 10..COUNT - 10;
    let every_second = (COUNT / 2..COUNT / 2 + HIDDEN).step_by(2);
    let hidden: Vec<PlacedChange> = in_a_row
        .chain(every_second)
        .map(|seq| {
            let (message_id, by, at) = (message_id(seq), viewer.clone(), Timestamp::from_millis(0));
            let change = MessageChange { message_id, conversation_id, by, at, what: Change::HiddenForMe };
            PlacedChange { offset: seq, change }
        })
        .collect();
    let mut applied = Vec::new();
    for changes in hidden.chunks(BULK as usize) {
        let started = Instant::now();
        store.apply_bulk(changes).await?;
        applied.push(started.elapsed().as_micros() as u64);
    }
    report(&format!("apply_bulk of {BULK}"), &mut applied);

    for (what, before, viewer) in [
        ("all, newest", None, None),
        ("all, anywhere", Some(COUNT), None),
        ("newest, across 100,000 hidden", None, Some(&viewer)),
        ("every second one hidden", Some(COUNT / 2 + HIDDEN), Some(&viewer)),
    ] {
        let mut latencies = Vec::new();
        for round in 0..1_000 {
            let before = before.map(|before| before - round * 97);
            let started = Instant::now();
            let page = store.history(conversation_id, viewer, None, before, 100).await?;
            latencies.push(started.elapsed().as_micros() as u64);
            if page.len() != 100 {
                return Err(format!("a page of {} messages", page.len()).into());
            }
        }
        report(&format!("a page of 100: {what}"), &mut latencies);
    }
    Ok(())
}

/// Prints percentiles of latencies in microseconds.
fn report(what: &str, latencies: &mut [u64]) {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or(0)
    };
    println!(
        "  {what:<58} p50 {:>6} µs  p95 {:>6} µs  p99 {:>6} µs  p99.9 {:>6} µs  max {:>6} µs",
        at(0.5),
        at(0.95),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
