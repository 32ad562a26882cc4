//! The socket service: Socket.IO on `/chat` (S1.1).
//!
//! [`connect`] admits connections, [`inbound`] reads events in order and limits them, [`handlers`] translate them
//! to the services, [`sessions`] knows who is connected and writes to them.

pub mod connect;
pub mod handlers;
pub mod inbound;
pub mod sessions;
