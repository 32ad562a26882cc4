//! From the errors of the layers below to the reason codes of the wire.
//!
//! What a caller is told never holds the text of an inner error: that goes to the log of the service.

use ackscope_protocol::error::{ErrorCode, WireError};

use crate::log::{LogError, PublishError};
use crate::repositories::StoreError;

/// Nothing there, or nothing the caller may know of: one sentence for both (S1.4).
pub fn not_found() -> WireError {
    WireError::new(ErrorCode::NotFound, "there is no such conversation or message here for you")
}

/// The message is deleted, for everybody or for the caller.
pub fn already_deleted() -> WireError {
    WireError::new(ErrorCode::AlreadyDeleted, "the message is deleted")
}

/// The answer when the store failed.
pub fn store(error: &StoreError) -> WireError {
    tracing::warn!(%error, "the store failed");
    match error {
        StoreError::Unavailable(_) => {
            WireError::new(ErrorCode::StoreUnavailable, "the store does not answer; try again")
        }
        StoreError::Overloaded(_) => WireError::new(ErrorCode::Overloaded, "the store is overloaded; try again"),
        StoreError::Damaged(_) => WireError::new(ErrorCode::Internal, "a stored document cannot be read"),
    }
}

/// The answer when the store did not answer in time.
pub fn store_too_slow() -> WireError {
    WireError::new(ErrorCode::StoreUnavailable, "the store does not answer in time; try again")
}

/// The answer when the event log did not take a record.
pub fn publish(error: &PublishError) -> WireError {
    match error {
        PublishError::Full(_) => WireError::new(ErrorCode::Overloaded, "the event log is full; try again"),
        PublishError::TooLarge { .. } => {
            WireError::new(ErrorCode::TooLarge, "the message is larger than the log takes")
        }
        PublishError::Unavailable(_) => {
            WireError::new(ErrorCode::LogUnavailable, "the event log did not take the message; try again")
        }
        PublishError::OutcomeUnknown => WireError::new(
            ErrorCode::OutcomeUnknown,
            "the event log did not confirm in time; sending again with the same temp_id is safe",
        ),
    }
}

/// The answer when the event log did not take a change of a message. Repeating a change is safe.
pub fn publish_change(error: &PublishError) -> WireError {
    match error {
        PublishError::OutcomeUnknown => WireError::new(
            ErrorCode::OutcomeUnknown,
            "the event log did not confirm the change in time; repeating it is safe",
        ),
        error => publish(error),
    }
}

/// The answer when the event log could not be read.
pub fn log(error: &LogError) -> WireError {
    tracing::warn!(%error, "the event log failed");
    match error {
        LogError::Truncated { .. } => WireError::new(
            ErrorCode::InvalidPayload,
            "field `cursor`: older than what the service keeps; read the conversations anew",
        ),
        LogError::NoSuchPartition(_) => {
            WireError::new(ErrorCode::InvalidPayload, "field `cursor`: not a cursor of this service")
        }
        LogError::Unavailable(_) | LogError::Revoked(_) => {
            WireError::new(ErrorCode::LogUnavailable, "the event log does not answer; try again")
        }
    }
}
