//! Waiting for a condition, never for a while.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How often a condition is looked at. Short beside what a person notices, long beside what looking costs.
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks until `look` finds something. After `limit` the error says `what` was not there.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
