//! `ackscope bench servers`: the whole path on real servers, beside what the servers alone can do.

use std::time::{Duration, Instant};

use ackscope_core::token::TokenKey;
use ackscope_harness::environment::ServerAddresses;
use ackscope_harness::latency::{Measure, Percentile};
use ackscope_harness::load::generator::{Generator, RoundPlan};
use ackscope_harness::load::round::RoundReport;
use ackscope_harness::load::schedule::Arrivals;
use ackscope_harness::report::{micros, put};
use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use mongodb::bson::{Document, doc};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use serde_json::json;
use uuid::Uuid;

use super::super::args::ServersArgs;
use super::super::load::{limit_text, round, round_text, search, server_on, verdict};
use super::super::{Outcome, Trouble, out};
use super::CROWD;

/// Bytes of a record that carries a message of the load generator.
const RECORD_BYTES: usize = 620;
/// Documents of one insert, as many as the persistence consumer polls at most.
const BULK: usize = 500;
/// Partitions of the topic, as many as the log's have.
const PARTITIONS: i32 = 8;
/// Records on their way to the brokers at the same time.
const WINDOW: usize = 2_000;
/// How long the servers may take for all of it.
const LIMIT: Duration = Duration::from_mins(5);
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What the servers alone can do, in records a second.
#[expect(clippy::struct_field_names, reason = "the unit stands in each name")]
#[derive(Debug, serde::Serialize)]
struct Raw {
    produced_per_sec: f64,
    consumed_and_inserted_per_sec: f64,
    /// Both at the same time, as the path does it.
    through_per_sec: f64,
}

/// Measures the path, then the servers.
pub(super) async fn measure(args: &ServersArgs, is_json: bool) -> Outcome {
    let key = TokenKey::generate();
    let (server, infrastructure) = server_on(&args.backend, &key, is_json).await?;
    let Some(addresses) = infrastructure.addresses().cloned() else {
        server.shutdown().await?;
        let sentence = "this is about real servers: choose --backend containers or external";
        return Err(Trouble::usage(anyhow::anyhow!(sentence)));
    };
    let say = |line: &str| {
        if !is_json {
            out::note(line);
        }
    };
    let plan = RoundPlan {
        rate_per_sec: args.rate,
        warmup: Duration::from_secs(2),
        duration: Duration::from_secs(30),
        arrivals: Arrivals::Poisson,
        media_share: 0.0,
        seed: 1,
    };
    let mut generator = Generator::connect(server.chat_url(), &key, CROWD).await?;
    say(&format!("1/3  {} messages/s for 30 s", args.rate));
    let report = round(&mut generator, &server, plan, is_json).await?;
    say("2/3  the limit");
    let limit = search(&mut generator, &server, 1, is_json).await?;
    generator.disconnect().await;
    let described = server.describe();
    server.shutdown().await?;
    say("3/3  the servers alone");
    let raw = tokio::time::timeout(LIMIT, raw(&addresses, args.records)).await;
    infrastructure.shutdown().await;
    let raw = raw.with_context(|| format!("the servers alone were not done within {} s", LIMIT.as_secs()))??;
    let ratio = limit.kept_per_sec.map(|kept| f64::from(kept) / raw.through_per_sec);
    if is_json {
        out::json(&json!({ "load": report.json(), "limit": limit, "raw": raw, "ratio": ratio }))?;
        return Ok(verdict(&report));
    }
    out::text(&format!("\n{}\n", round_text(&report, CROWD, described)));
    out::text(&stages_text(&report));
    out::text(&limit_text(&limit));
    out::line(&format!(
        "\nThe servers alone, records of {RECORD_BYTES} bytes, messages a second\n\
         produced with acks=all        {:>8.0}\n\
         consumed and inserted         {:>8.0}\n\
         all of it at the same time    {:>8.0}",
        raw.produced_per_sec, raw.consumed_and_inserted_per_sec, raw.through_per_sec
    ));
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    out::line(&format!("the path's limit beside that  {ratio:>8}   aim ≥ 0.50"));
    Ok(verdict(&report))
}

/// Where the time of a message goes, by the medians of the fixed rate.
fn stages_text(report: &RoundReport) -> String {
    let p50 = |measure: Measure| report.latencies.get(measure).at(Percentile::P50);
    let between = |from: Measure, to: Measure| Some(p50(to)?.saturating_sub(p50(from)?));
    let mut text = String::from("Where time goes (differences of medians)\n");
    for (stage, us) in [
        ("read from the connection, answered `pending`", p50(Measure::Pending)),
        ("checked against cache and store, accepted by Kafka", between(Measure::Pending, Measure::Delivered)),
        ("read from Kafka and written to every recipient", between(Measure::Delivered, Measure::Received)),
        ("consumed, stored in MongoDB, confirmed through Kafka", between(Measure::Delivered, Measure::Persisted)),
    ] {
        let time = us.map_or_else(|| "-".to_owned(), micros);
        put(&mut text, format_args!("  {stage:<54}{time:>10}\n"));
    }
    text.push('\n');
    text
}

/// What the servers can do with nothing of ours between them.
async fn raw(addresses: &ServerAddresses, records: u32) -> anyhow::Result<Raw> {
    if addresses.kafka_brokers.contains("://") {
        bail!("the servers alone are measured without TLS and passwords to Kafka only");
    }
    let name = format!("ackscope-bench-{}", Uuid::new_v4().simple());
    let topics = [format!("{name}.one-by-one"), format!("{name}.together")];
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &addresses.kafka_brokers);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().operation_timeout(Some(REQUEST_LIMIT));
    let new = |topic| NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1));
    admin.create_topics(&[new(topics[0].as_str()), new(topics[1].as_str())], &options).await?;
    let client = mongodb::Client::with_uri_str(&addresses.mongodb_uri).await?;
    let database = client.database(&name);
    let measured = async {
        let started = Instant::now();
        produce(&config, &topics[0], records).await?;
        let produced = started.elapsed();
        let started = Instant::now();
        consume(&config, &topics[0], records, &database.collection("one-by-one")).await?;
        let consumed = started.elapsed();
        let started = Instant::now();
        let together = database.collection("together");
        tokio::try_join!(produce(&config, &topics[1], records), consume(&config, &topics[1], records, &together))?;
        let per_sec = |time: Duration| f64::from(records) / time.as_secs_f64();
        Ok(Raw {
            produced_per_sec: per_sec(produced),
            consumed_and_inserted_per_sec: per_sec(consumed),
            through_per_sec: per_sec(started.elapsed()),
        })
    };
    let measured = measured.await;
    database.drop().await?;
    admin.delete_topics(&[&topics[0], &topics[1]], &options).await?;
    measured
}

async fn produce(config: &ClientConfig, topic: &str, records: u32) -> anyhow::Result<()> {
    let producer: FutureProducer =
        config.clone().set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "1").create()?;
    let value = "x".repeat(RECORD_BYTES);
    for first in (0..records).step_by(WINDOW) {
        let sending = (first..(first + WINDOW as u32).min(records)).map(|number| {
            let (producer, value) = (&producer, &value);
            async move {
                let key = (number % 100).to_string();
                let record = FutureRecord::to(topic).key(&key).payload(value);
                producer.send(record, REQUEST_LIMIT).await.map_err(|(error, _)| error)
            }
        });
        try_join_all(sending).await?;
    }
    producer.flush(REQUEST_LIMIT)?;
    Ok(())
}

async fn consume(
    config: &ClientConfig,
    topic: &str,
    records: u32,
    collection: &mongodb::Collection<Document>,
) -> anyhow::Result<()> {
    let consumer: StreamConsumer = config
        .clone()
        .set("group.id", topic)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()?;
    consumer.subscribe(&[topic])?;
    let mut bulk = Vec::with_capacity(BULK);
    for number in 0..records {
        let record = tokio::time::timeout(REQUEST_LIMIT, consumer.recv()).await.context("no record came")??;
        let text = record.payload_view::<str>().transpose().ok().flatten().unwrap_or_default();
        bulk.push(doc! { "_id": format!("{}/{}", record.partition(), record.offset()), "text": text });
        if bulk.len() == BULK || number + 1 == records {
            collection.insert_many(std::mem::take(&mut bulk)).ordered(false).await?;
        }
    }
    Ok(())
}
