//! Reason codes (S1.8) and the error object every refusal carries.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, retryable: $retryable:literal;)*) => {
        /// Why something was refused. The list is closed: S1.8 names every code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of S1.8.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Whether the same request may succeed later without being changed.
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }
        }
    };
}

codes! {
    /// A field is missing or wrong; the message names it.
    InvalidPayload = "invalid_payload", retryable: false;
    /// No token, or one that does not hold.
    Unauthenticated = "unauthenticated", retryable: false;
    /// Not there, or in a conversation the caller is not in: it must not learn which.
    NotFound = "not_found", retryable: false;
    /// The caller was a participant and is no longer.
    NotParticipant = "not_participant", retryable: false;
    /// Only the sender may do this.
    NotOwner = "not_owner", retryable: false;
    /// The caller's role does not allow this.
    RoleForbidden = "role_forbidden", retryable: false;
    /// The message is too old to be edited.
    EditWindowClosed = "edit_window_closed", retryable: false;
    /// The message is already deleted.
    AlreadyDeleted = "already_deleted", retryable: false;
    /// More target conversations than one request may name.
    TooManyTargets = "too_many_targets", retryable: false;
    /// More messages than one request may name.
    TooManyMessages = "too_many_messages", retryable: false;
    /// The payload is larger than the service takes.
    TooLarge = "too_large", retryable: false;
    /// This connection sends faster than it may.
    RateLimited = "rate_limited", retryable: true;
    /// A queue is full.
    Overloaded = "overloaded", retryable: true;
    /// The media item does not exist or does not hold what it claims.
    MediaInvalid = "media_invalid", retryable: false;
    /// The media service does not answer.
    MediaUnavailable = "media_unavailable", retryable: true;
    /// The search service does not answer.
    SearchUnavailable = "search_unavailable", retryable: true;
    /// The store does not answer.
    StoreUnavailable = "store_unavailable", retryable: true;
    /// The event log did not take the record.
    LogUnavailable = "log_unavailable", retryable: true;
    /// The event log did not say in time whether it took the record.
    OutcomeUnknown = "outcome_unknown", retryable: true;
    /// A fault of the service itself.
    Internal = "internal", retryable: true;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ErrorCode {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(UnknownCode)
    }
}

/// The text is none of the reason codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reason code")]
pub struct UnknownCode;

/// The error object of the wire: a code for programs, a sentence for people, and whether to try again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// The reason code.
    pub code: ErrorCode,
    /// One sentence for people. Never names what the caller may not know.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

impl WireError {
    /// An error whose `retryable` follows from its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.retryable() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_is_spelled_on_the_wire_as_it_is_printed() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
