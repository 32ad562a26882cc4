//! Consumers of the event log (S1.6), built on the traits only.
//!
//! [`message_persistence`], [`conversation_persistence`], [`search_indexing`] and [`media_verification`] are groups
//! that share the partitions; each node's [`fan_out`] reads all of them.

pub mod conversation_persistence;
pub mod fan_out;
pub mod group;
pub mod media_verification;
pub mod message_persistence;
pub mod search_indexing;

use std::time::Duration;

use crate::log::{Position, Record};

/// Most records of one poll.
pub const POLL_MAX: usize = 500;

/// How long one poll waits for records. Only bounds how long a consumer takes to notice that its node ends.
pub const POLL_WAIT: Duration = Duration::from_millis(500);

/// Where a group goes on after these records: one past the last of each partition.
pub fn next_positions(records: &[Record]) -> Vec<Position> {
    let mut next: Vec<Position> = Vec::new();
    for Record { position, .. } in records {
        let after = Position { offset: position.offset + 1, ..*position };
        match next.iter_mut().find(|known| known.topic_partition() == after.topic_partition()) {
            Some(known) => known.offset = known.offset.max(after.offset),
            None => next.push(after),
        }
    }
    next
}
