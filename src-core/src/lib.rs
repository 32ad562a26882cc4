//! The chat backend inside Ackscope.
//!
//! The modules stand in the order a message takes: [`socket`] → [`messages`] (with [`rules`]) → [`log`] →
//! [`consumers`] → [`repositories`], and back through [`messaging`], the acknowledgments. [`node`] puts the
//! parts together and runs them.
//!
//! **Invariant:** knows `ackscope-protocol` and nobody else of this house.

pub mod socket;

pub mod changes;
pub mod conversations;
pub mod media;
pub mod messages;
pub mod rules;
pub mod search;
pub mod state;
pub mod sync;

pub mod messaging;
pub mod tail;

pub mod producers;
pub mod record;

pub mod log;

pub mod consumers;

pub mod cache;
pub mod clients;
pub mod repositories;
pub mod sqlite;

pub mod clock;
pub mod limits;
pub mod node;
pub mod planted;
pub mod probe;
pub mod refusal;
pub mod token;
