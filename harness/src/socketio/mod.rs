//! A thin Socket.IO v5 client over Engine.IO v4, on a WebSocket alone, that can also misbehave (S3.1).
//!
//! One connection is one task. Whoever uses it gives it a [`Handler`]: events and answers are handed over as
//! slices of the frame they came in, so that a load generator pays for nothing it does not look at. Outgoing
//! frames go through a bounded queue; every wait has a limit.
//!
//! **Invariant:** this module knows the transport and nothing of the chat.

mod connection;
mod packet;

pub use connection::{
    ConnectError, Connection, ConnectionOptions, DisconnectReason, EmitError, Handler, Pace, RequestError,
};
pub use packet::{Handshake, Malformed, Packet, Payload};
