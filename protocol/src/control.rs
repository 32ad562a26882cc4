//! The control protocol between a user interface and the harness: JSON texts on one WebSocket.
//!
//! The interface says [`ToHarness::Hello`] first; the harness answers [`ToInterface::Welcome`] or
//! [`ToInterface::Refused`]. Then the run's trace flows as [`ToInterface::Trace`], from the index the hello
//! named, so that a connection that broke goes on where it was. Commands are answered by number.

use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::faults::{Dependency, Fault};
use crate::ids::{ConversationId, MessageId, TempId, UserId};
use crate::text::{MessageText, Title};
use crate::time::Timestamp;
use crate::trace::TraceEvent;
use crate::wire::{Conversation, ConversationKind};

/// Version of this protocol. Both sides must have the same.
pub const CONTROL_VERSION: u32 = 2;

/// Path of the WebSocket on the harness's HTTP server. The query carries `token`.
pub const CONTROL_PATH: &str = "/control";

/// Most trace events in one [`ToInterface::Trace`].
pub const TRACE_BATCH_MAX: usize = 512;

/// What an interface says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToHarness {
    /// First of all.
    Hello {
        /// [`CONTROL_VERSION`] of the interface.
        version: u32,
        /// The run the interface already holds events of, if any.
        run_id: Option<uuid::Uuid>,
        /// Index of the first event it does not have yet. Ignored when `run_id` is not the current run.
        next_index: u64,
    },
    /// Do something; answered by [`ToInterface::Reply`] with the same number.
    Command {
        /// Chosen by the interface, unique on this connection.
        id: u64,
        /// What to do.
        command: Command,
    },
}

/// What an interface can ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Connect a new simulated user.
    AddUser {
        /// Its name and id.
        user: UserId,
    },
    /// Create a conversation as a user.
    CreateConversation {
        /// As whom.
        user: UserId,
        /// The kind.
        kind: ConversationKind,
        /// The others.
        participants: Vec<UserId>,
        /// A title.
        title: Option<Title>,
    },
    /// Send a message as a user. Answered when it is on the connection; the outcome comes with the trace.
    Send {
        /// As whom.
        user: UserId,
        /// Where.
        conversation_id: ConversationId,
        /// The text.
        text: MessageText,
        /// A message of the same conversation.
        reply_to: Option<MessageId>,
        /// Absent: a new one is chosen. Present: a retry when it was used before.
        temp_id: Option<TempId>,
    },
    /// Drop a user's TCP connection without a goodbye.
    DropConnection {
        /// Whose.
        user: UserId,
    },
    /// Connect a user again and `sync` what it missed.
    Reconnect {
        /// Who.
        user: UserId,
    },
    /// Advance the business clock.
    AdvanceClock {
        /// By how many milliseconds.
        by_ms: u64,
    },
    /// Set a fault in place of the one the dependency has.
    SetFault {
        /// What is broken.
        on: Dependency,
        /// How.
        fault: Fault,
    },
    /// End the fault of a dependency, if it has one.
    Heal {
        /// What is healed.
        on: Dependency,
    },
    /// End every fault. Answered when everything has answered a real request.
    ResetFaults,
    /// Play the built-in tour.
    PlayTour,
}

/// What a command that was carried out answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum CommandAnswer {
    /// Nothing to add.
    Done,
    /// For [`Command::CreateConversation`].
    Created {
        /// The conversation.
        conversation: Conversation,
    },
    /// For [`Command::Send`].
    Sent {
        /// The message.
        message_id: MessageId,
        /// Its `temp_id`.
        temp_id: TempId,
    },
}

/// Where the backend's parts come from (S2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// One SQLite file and memory; nothing to install.
    Embedded,
    /// Real servers in containers.
    Containers,
    /// Real servers by address.
    External,
}

impl BackendKind {
    /// The name as flags and files spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Containers => "containers",
            Self::External => "external",
        }
    }
}

/// What the harness runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Which backend was taken.
    pub backend: BackendKind,
    /// Why it was taken, one sentence.
    pub reason: String,
    /// Where the chat service listens, such as `http://127.0.0.1:41234`.
    pub chat_url: String,
    /// Version of the harness.
    pub ackscope_version: String,
}

/// What the harness says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToInterface {
    /// The hello was accepted.
    Welcome {
        /// [`CONTROL_VERSION`] of the harness.
        version: u32,
        /// Names the run; another id means the interface must forget what it holds.
        run_id: uuid::Uuid,
        /// What runs.
        environment: Environment,
        /// Business time now.
        business_now: Timestamp,
    },
    /// The hello was refused; the connection closes after this.
    Refused {
        /// One sentence for people.
        reason: String,
    },
    /// Events of the run.
    Trace {
        /// Index of the first of them in the run.
        first_index: u64,
        /// In order; at most [`TRACE_BATCH_MAX`].
        events: Vec<TraceEvent>,
    },
    /// Events before this index are no longer kept and were not sent.
    Skipped {
        /// The next event's index.
        next_index: u64,
    },
    /// The answer of a command.
    Reply {
        /// The command's number.
        id: u64,
        /// What became of it.
        outcome: Result<CommandAnswer, WireError>,
    },
    /// The harness ends.
    Closing {
        /// One sentence for people.
        reason: String,
    },
}
