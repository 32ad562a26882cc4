//! Messages into the store, in bulks and one by one: each call is a transaction of its own.

use std::time::Instant;

use ackscope_core::sqlite::Durability;
use ackscope_protocol::ConversationId;
use ackscope_protocol::wire::Message;
use uuid::Uuid;

use super::{Aim, Progress, Row, Scratch, Section, Times, durability_name, message};

/// Sizes of bulks.
const SIZES: [u64; 4] = [1, 10, 100, 500];
/// Messages of each measurement: as many for every size, because a store that holds more takes longer for each.
const MESSAGES: u64 = 10_000;
/// Conversations the messages belong to.
const CONVERSATIONS: u64 = 100;
/// How many times the rate of the smallest bulks the largest ones should come to.
const AIM: f64 = 10.0;

pub(super) async fn measure(progress: &Progress) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    progress.begin("persistence", 2 * SIZES.len() as u64 * MESSAGES);
    for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
        let mut singly_per_sec = None;
        for size in SIZES {
            let (per_sec, times) = insert(&Scratch::open(durability)?, size, progress).await?;
            let singly_per_sec = *singly_per_sec.get_or_insert(per_sec);
            let factor = per_sec / singly_per_sec;
            let aim = (size == 500)
                .then(|| Aim {
                    text: format!("≥ {AIM:.0} × the rate of 1: {factor:.1} ×"), is_kept: factor >= AIM
                });
            let name = format!("a bulk of {size}, {}", durability_name(durability));
            rows.push(Row { name, per_sec: Some(per_sec), times, aim });
        }
    }
    Ok(Section { key: "persistence", title: "Persistence, messages of 200 characters", rows })
}

async fn insert(scratch: &Scratch, size: u64, progress: &Progress) -> anyhow::Result<(f64, Times)> {
    let of = |seq: u64| message(ConversationId::from_uuid(Uuid::from_u128(u128::from(seq % CONVERSATIONS))), seq);
    let bulk = |number: u64| (number * size..(number + 1) * size).map(of).collect::<anyhow::Result<Vec<Message>>>();
    let bulks = (0..MESSAGES / size).map(bulk).collect::<anyhow::Result<Vec<_>>>()?;
    let mut times = Times::new()?;
    let started = Instant::now();
    for bulk in &bulks {
        times.of(scratch.backend.messages.insert_bulk(bulk)).await?;
        progress.advance(size);
    }
    Ok((MESSAGES as f64 / started.elapsed().as_secs_f64(), times))
}
