//! Open-model load and the search for the capacity (S3.7).
//!
//! | module | one sentence |
//! |---|---|
//! | [`schedule`] | when each message is to be sent, fixed before the first one is |
//! | [`generator`] | many connections, one pacer, and a count of everything that comes back |
//! | [`round`] | one stretch of load and what came of it |
//! | [`server`] | the node under load: a process of its own, or threads of this one |
//! | [`process`] | processor time and memory of a process |
//! | [`limit`] | the search for the highest rate that keeps the budgets |
//! | [`degradation`] | one round for each fault of the media and search services, against rounds without one |
//! | [`first`] | from starting the program to the first delivered message |
//!
//! The model is open: sends follow a schedule that does not wait for answers, and every latency counts from the
//! scheduled time. A closed model would send less while the system stalls and so leave the stall out of the
//! figures (coordinated omission).
//!
//! The node under load runs as a process of its own by default. On two processors the figures of both ways are
//! nearly the same; a process of its own keeps its processor time and memory apart from the generator's.

pub mod degradation;
pub mod first;
pub mod generator;
pub mod limit;
pub mod process;
pub mod round;
pub mod schedule;
pub mod server;

use crate::services::ServiceError;
use crate::socketio::{ConnectError, RequestError};

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The node did not start.
    #[error("the server did not start: {0}")]
    Server(String),
    /// A user could not connect.
    #[error("user {user} could not connect: {source}")]
    Connect {
        /// Which.
        user: String,
        /// Why.
        source: ConnectError,
    },
    /// A conversation could not be made.
    #[error("a conversation could not be made: {0}")]
    Conversation(String),
    /// A picture could not be uploaded.
    #[error("a picture could not be uploaded: {0}")]
    Media(String),
    /// A simulated service failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A request got no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The numbers do not fit together.
    #[error("{0}")]
    Plan(String),
    /// Something on this machine failed.
    #[error("{what}: {source}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl LoadError {
    fn machine(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Machine { what, source }
    }
}
