//! What the consumer groups have in common: join, poll, work, commit, and all of it again after a failure.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{POLL_MAX, POLL_WAIT, next_positions};
use crate::log::{Consumer, EventLog, LogError, Record, Topic};
use crate::producers::Backoff;

/// What a consumer group does with its records.
#[async_trait]
pub trait Work: Send + Sync {
    /// The group's name.
    const GROUP: &'static str;
    /// What it reads.
    const TOPICS: &'static [Topic];

    /// Works on a batch until all of it is done; it is committed after that. False when the node ends first; then
    /// nothing is committed, and the batch comes again.
    async fn work(&self, records: &[Record]) -> bool;
}

/// Runs a group's member until the node ends. A log that does not answer is tried again.
pub async fn run<W: Work>(work: W, log: &dyn EventLog, stop: &CancellationToken) {
    let mut backoff = Backoff::new(stop.clone());
    while !stop.is_cancelled() {
        let result = match log.subscribe(W::GROUP, W::TOPICS).await {
            Ok(mut consumer) => consume(&work, consumer.as_mut(), stop, &mut backoff).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(%error, group = W::GROUP, "a consumer joins its group again");
            if !backoff.wait().await {
                return;
            }
        }
    }
}

/// `Ok` when the node ends.
async fn consume<W: Work>(
    work: &W,
    consumer: &mut dyn Consumer,
    stop: &CancellationToken,
    backoff: &mut Backoff,
) -> Result<(), LogError> {
    loop {
        let Some(records) = stop.run_until_cancelled(consumer.poll(POLL_MAX, POLL_WAIT)).await else {
            return Ok(());
        };
        let records = records?;
        if records.is_empty() {
            continue;
        }
        if !work.work(&records).await {
            return Ok(());
        }
        match consumer.commit(&next_positions(&records)).await {
            // Another member has the partition now and does these records again: they change nothing.
            Ok(()) | Err(LogError::Revoked(_)) => *backoff = Backoff::new(stop.clone()),
            Err(error) => return Err(error),
        }
    }
}
