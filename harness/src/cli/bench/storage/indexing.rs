//! Documents into the search service, over HTTP as the backend sends them.

use std::time::Instant;

use ackscope_core::clients::search::BATCH_MAX;
use ackscope_core::clients::{ClientOptions, IndexOperation, SearchClient};
use ackscope_harness::services::{SearchOptions, SearchService};
use ackscope_protocol::{ConversationId, MessageId, Timestamp};
use anyhow::ensure;
use uuid::Uuid;

use super::{Progress, Row, Section, Times};

/// Size of a batch and how many of them.
const BATCHES: [(usize, usize); 2] = [(BATCH_MAX, 60), (1, 3_000)];

pub(super) async fn measure(progress: &Progress) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    progress.begin("search indexing", BATCHES.iter().map(|(size, count)| (size * count) as u64).sum());
    for (size, count) in BATCHES {
        let service = SearchService::start(SearchOptions::default()).await?;
        let client = SearchClient::new(ClientOptions::search(Some(service.url().to_owned())))?;
        let batches = (0..count).map(|_| (0..size).map(operation).collect::<Result<Vec<_>, _>>());
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let mut times = Times::new()?;
        let started = Instant::now();
        for batch in &batches {
            times.of(client.apply(batch)).await?;
            progress.advance(size as u64);
        }
        let per_sec = (size * count) as f64 / started.elapsed().as_secs_f64();
        let indexed = service.count().await?;
        ensure!(indexed == (size * count) as u64, "{indexed} of {} documents are in the index", size * count);
        service.shutdown().await;
        rows.push(Row { name: format!("a batch of {size}"), per_sec: Some(per_sec), times, aim: None });
    }
    Ok(Section { key: "indexing", title: "Search indexing, client and service, documents of 60 characters", rows })
}

fn operation(number: usize) -> anyhow::Result<IndexOperation> {
    Ok(IndexOperation::Put {
        message_id: MessageId::from_uuid(Uuid::new_v4()),
        conversation_id: ConversationId::from_uuid(Uuid::from_u128(number as u128 % 100)),
        sender_id: "ana".parse()?,
        text: format!("{number:06} Shall we meet at the usual place at half past seven?"),
        created_at: Timestamp::from_millis(0),
        version: 0,
    })
}
