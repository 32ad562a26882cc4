//! Bugs planted on purpose, so that tests can show that the audit finds them by name.
//!
//! They are there only with the feature `planted-bugs`, which tests alone turn on; without it [`is`] is always false
//! and the compiler takes every one of them out. One is planted at a time, for the whole process.

#[cfg(feature = "planted-bugs")]
use std::sync::atomic::{AtomicU8, Ordering};

use ackscope_protocol::MessageId;
use uuid::Uuid;

pub(crate) use crate::consumers::next_positions;
use crate::log::{Record, Topic};

/// A mistake as somebody might make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A consumer's offsets are committed when records are polled, as clients do that commit by themselves.
    CommitBeforeWrite = 1,
    /// A message that was sent before is taken for a new one.
    NoDedupe,
    /// The cache keeps an entry that was invalidated.
    StaleCache,
    /// A change of a conversation does not invalidate its cache entry.
    ForgottenInvalidation,
    /// A message can be edited for ever.
    EditAfterWindow,
    /// The sender is told `delivered` before the log has the message.
    AckBeforePublish,
    /// What cannot be indexed at once is left out of the index.
    LostSearchCatchUp,
    /// Everything new is told twice.
    DoubleFanOut,
    /// Who was removed from a conversation still hears of it.
    LeakToRemoved,
    /// Two messages of a partition that follow each other are told the other way round.
    ReorderedPartition,
}

#[cfg(feature = "planted-bugs")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a bug in place of the one before; none: takes it out.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// The id of a message that is taken for a new one.
pub(crate) fn another_id() -> MessageId {
    MessageId::from_uuid(Uuid::new_v4())
}

/// With [`Bug::ReorderedPartition`], every second message waits in `held` until the one after it was told.
pub(crate) fn reorder(records: Vec<Record>, held: &mut Option<Record>) -> Vec<Record> {
    if !is(Bug::ReorderedPartition) {
        return records;
    }
    let mut reordered = Vec::with_capacity(records.len() + 1);
    for record in records {
        if record.position.topic != Topic::MessageSent {
            reordered.push(record);
            continue;
        }
        match held.take() {
            Some(before) => reordered.extend([record, before]),
            None => *held = Some(record),
        }
    }
    reordered
}
