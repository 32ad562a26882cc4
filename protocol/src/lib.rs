//! The shared vocabulary of Ackscope.
//!
//! Everything two parts of the system say to each other is a type here: ids, the wire of the chat service
//! ([`wire`]), reason codes ([`error`]), faults ([`faults`]), trace events ([`trace`]) and the control protocol between the user
//! interface and the harness ([`control`]). A value of these types that exists is a valid one: limits are
//! checked on deserialisation, and an error names the field.
//!
//! **Invariant:** this crate knows nobody. It does no I/O, has no clock and compiles to wasm.

pub mod control;
pub mod error;
pub mod faults;
pub mod ids;
pub mod limits;
pub mod text;
pub mod time;
pub mod trace;
pub mod wire;

pub use error::{ErrorCode, WireError};
pub use ids::{ConversationId, MediaId, MessageId, TempId, UserId};
pub use time::Timestamp;
