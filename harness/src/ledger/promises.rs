//! What is promised while a dependency has a fault, by hand from the specification.

use ackscope_protocol::ErrorCode;
use ackscope_protocol::faults::{Dependency, FaultKind};

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// While this has a fault.
    pub on: Dependency,
    /// Of these kinds; empty: of any other kind.
    pub kinds: &'static [FaultKind],
    /// The promise, one sentence for people.
    pub says: &'static str,
    /// Refusals that the fault explains. All of them must say that the same request may succeed later.
    pub may_refuse: &'static [ErrorCode],
    /// Whether outcomes still come within their budget.
    pub in_time: bool,
}

const CRASHES: &[FaultKind] = &[FaultKind::CrashBeforeWrite, FaultKind::CrashAfterWrite];

/// Every promise. The first one that fits a fault counts.
pub const PROMISES: &[Promise] = &[
    // S1.7
    Promise {
        on: Dependency::Search,
        kinds: &[],
        says: "nothing done with messages is slower or different; what was missed is indexed afterwards",
        may_refuse: &[],
        in_time: true,
    },
    // S1.7; a setting makes it a refusal of messages with media.
    Promise {
        on: Dependency::Media,
        kinds: &[],
        says: "texts are untouched; media are accepted unverified and verified afterwards (or refused, by a setting)",
        may_refuse: &[ErrorCode::MediaUnavailable],
        in_time: true,
    },
    // S1.4: permission is checked on every event, and the store is who knows.
    Promise {
        on: Dependency::Mongodb,
        kinds: &[],
        says: "delivered where the cache knows who may post, else refused and retryable; persisted afterwards, nothing twice",
        may_refuse: &[ErrorCode::StoreUnavailable, ErrorCode::Overloaded],
        in_time: false,
    },
    // S1.2: the cache only spares questions to the store.
    Promise {
        on: Dependency::Redis,
        kinds: &[],
        says: "nothing is different; who may post is asked of the store",
        may_refuse: &[],
        in_time: true,
    },
    // S1.6
    Promise {
        on: Dependency::Kafka,
        kinds: &[FaultKind::Redeliver],
        says: "replays change nothing: delivered goes on, nothing twice",
        may_refuse: &[],
        in_time: true,
    },
    Promise {
        on: Dependency::Kafka,
        kinds: &[FaultKind::Poison],
        says: "what cannot be read is set aside and blocks nothing",
        may_refuse: &[],
        in_time: true,
    },
    // S1.5
    Promise {
        on: Dependency::Kafka,
        kinds: &[],
        says: "refused and retryable (log_unavailable, outcome_unknown); what the log has all the same supersedes that",
        may_refuse: &[ErrorCode::LogUnavailable, ErrorCode::OutcomeUnknown, ErrorCode::Overloaded],
        in_time: false,
    },
    // S1.6: offsets are committed after the write.
    Promise {
        on: Dependency::Consumers,
        kinds: CRASHES,
        says: "delivered goes on; records come again and are persisted, nothing twice",
        may_refuse: &[ErrorCode::Overloaded],
        in_time: true,
    },
    Promise {
        on: Dependency::Consumers,
        kinds: &[],
        says: "delivered goes on, until too many wait (overloaded); persisted and indexed afterwards, nothing twice",
        may_refuse: &[ErrorCode::Overloaded],
        in_time: true,
    },
];

/// What is promised while a dependency has a fault of that kind.
pub fn promise(on: Dependency, kind: FaultKind) -> &'static Promise {
    let fits = |promise: &&Promise| promise.on == on && (promise.kinds.is_empty() || promise.kinds.contains(&kind));
    // A test holds that every dependency has one.
    PROMISES.iter().find(fits).unwrap_or(&PROMISES[0])
}
