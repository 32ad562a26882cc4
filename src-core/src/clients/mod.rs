//! HTTP clients of the media and the search service (S1.7).
//!
//! Both go through one [`transport`]: every call ends within its timeout, every answer is read up to a limit
//! and checked, and a circuit [`breaker`] keeps a service that does not answer from costing each caller a
//! timeout. What a caller does when a service is unavailable is not decided here.
//!
//! | what happened | error | counts against the service |
//! |---|---|---|
//! | no address is set | [`ClientError::NotConfigured`] | no: nothing was asked |
//! | the circuit is open, or its trial is under way | [`ClientError::CircuitOpen`] | no: nothing was asked |
//! | no whole answer within the timeout | [`ClientError::TimedOut`] | yes |
//! | no connection, or it broke | [`ClientError::Unreachable`] | yes |
//! | a status that is neither success nor a refusal | [`ClientError::Status`] | yes |
//! | a success that does not hold what was asked for | [`ClientError::Malformed`] | yes |
//! | a 4xx with `{"error": {"reason": …}}` | [`ClientError::Refused`] | no: the service works |
//!
//! 408 and 429 are never refusals: they say "not now" and nothing of what was asked.
//!
//! **Invariant:** knows neither messages' rules nor stores; it asks and reports.

pub mod breaker;
pub mod media;
pub mod search;
pub mod transport;

use std::time::Duration;

pub use breaker::{BreakerOptions, BreakerState};
pub use media::MediaClient;
pub use search::{IndexOperation, SearchClient, SearchHit};

/// Why a call came to nothing. The table in the [module's documentation](self) says when which one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no address: this backend runs without the service.
    #[error("no address is set for this service")]
    NotConfigured,
    /// The address that was set is none.
    #[error("not an address of a service: {0}")]
    InvalidUrl(String),
    /// The service did not answer lately, so it was not asked.
    #[error("the service was not asked: it did not answer lately")]
    CircuitOpen,
    /// No whole answer in time. What was asked for may have been done all the same.
    #[error("the service did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// No connection, or it broke before the whole answer was there.
    #[error("the service cannot be reached: {0}")]
    Unreachable(String),
    /// A status that is neither a success nor a refusal.
    #[error("the service answered HTTP {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The answer is not what was asked for.
    #[error("the service's answer makes no sense: {0}")]
    Malformed(String),
    /// The service works and says no.
    #[error("the service refused: {reason}")]
    Refused {
        /// The service's own word for it, such as `type_not_allowed`.
        reason: String,
    },
}

impl ClientError {
    /// Whether this says nothing of what was asked, only that there was no answer to it: everything but
    /// [`ClientError::Refused`].
    pub fn is_unavailable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// Settings of one client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the service is: `http://` or `https://`, a path is kept. None: the backend runs without it.
    pub base_url: Option<String>,
    /// Longest a call may take, waiting for a place and reading the answer included.
    pub timeout: Duration,
    /// When the service is left alone, and for how long.
    pub breaker: BreakerOptions,
}

impl ClientOptions {
    /// Defaults of the media client: it stands in the way of a message with media, so it is given 1 s.
    pub fn media(base_url: Option<String>) -> Self {
        Self { base_url, timeout: Duration::from_secs(1), breaker: BreakerOptions::default() }
    }

    /// Defaults of the search client: 2 s.
    pub fn search(base_url: Option<String>) -> Self {
        Self { base_url, timeout: Duration::from_secs(2), breaker: BreakerOptions::default() }
    }
}
