//! The control protocol between a user interface and the harness: JSON texts on one WebSocket.
//!
//! The interface says [`ToHarness::Hello`] first; the harness answers [`ToInterface::Welcome`] or
//! [`ToInterface::Refused`]. Then the run's trace flows as [`ToInterface::Trace`], from the index the hello
//! named, so that a connection that broke goes on where it was. Commands are answered by number.

mod compared;

use serde::{Deserialize, Serialize};

pub use self::compared::{
    COMPARED_MESSAGES_MAX, ComparedFigure, ComparedList, ComparedMessage, ComparedRun, Comparison, Difference,
    RECORDED_EVENTS_MAX, RecordingFile,
};
use crate::error::WireError;
use crate::faults::{Dependency, Fault};
use crate::ids::{ConversationId, MediaId, MessageId, TempId, UserId};
use crate::text::{FileName, MessageText, Title};
use crate::time::Timestamp;
use crate::trace::TraceEvent;
use crate::wire::{Conversation, ConversationKind};

/// Version of this protocol. Both sides must have the same.
pub const CONTROL_VERSION: u32 = 4;

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
    /// Any request of S1.8 as a user, as it goes over the wire. Answered with what the service answers.
    Request {
        /// As whom.
        user: UserId,
        /// The event, such as `message:edit`; the payload types say it ([`crate::wire::Request::EVENT`]).
        event: String,
        /// The payload.
        payload: serde_json::Value,
    },
    /// Upload a file as a user: announce it, put it to the media service. Answered by [`CommandAnswer::Uploaded`].
    Upload {
        /// As whom.
        user: UserId,
        /// The name.
        file_name: FileName,
        /// The media type, such as `image/png`.
        content_type: String,
        /// The bytes in base64 (RFC 4648, with padding).
        base64: String,
    },
    /// Connect a further device of somebody; in the run it is a user of its own name.
    AddDevice {
        /// The device's name.
        device: UserId,
        /// Whose it is.
        of: UserId,
    },
    /// A user's client reads what comes only this fast from now on.
    ReadSlowly {
        /// Whose.
        user: UserId,
        /// Bytes per second; absent: as fast as it can.
        bytes_per_second: Option<u32>,
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
    /// Look into the store, the cache, the log or the search index. Answered by [`CommandAnswer::Inspected`].
    Inspect {
        /// At what.
        place: Place,
    },
    /// The scenario files there are. Answered by [`CommandAnswer::Scenarios`].
    ListScenarios,
    /// Read a scenario file. Answered by [`CommandAnswer::Scenario`].
    OpenScenario {
        /// As [`ScenarioFile::path`] names it.
        path: String,
    },
    /// Check a scenario's text. Answered by [`CommandAnswer::Scenario`].
    CheckScenario {
        /// Where it is from, if from a file: what it includes is looked for beside it.
        path: Option<String>,
        /// The text.
        text: String,
    },
    /// Write a scenario file, in the folder of scenarios. Answered by [`CommandAnswer::Scenario`].
    SaveScenario {
        /// Its path in that folder; `.yaml` is added when it is missing.
        path: String,
        /// The text.
        text: String,
        /// Whether a file of that name may be replaced.
        replace: bool,
    },
    /// What was done by hand in this run, as a scenario: steps and what they led to. Answered by
    /// [`CommandAnswer::Scenario`].
    ScenarioByHand {
        /// The scenario's name.
        name: String,
    },
    /// Play a scenario in a backend of its own, whose run is shown until [`Command::ShowLive`]. Answered when it has
    /// begun; how it goes comes as [`ToInterface::Scenario`].
    RunScenario {
        /// Where it is from, if from a file.
        path: Option<String>,
        /// The text.
        text: String,
        /// Stop before the first step.
        paused: bool,
        /// Stop before the steps on these lines.
        breakpoints: Vec<u32>,
    },
    /// Go on with a scenario that stopped at a step, or end it.
    Scenario {
        /// How.
        go: Go,
    },
    /// Show the run one started with again.
    ShowLive,
    /// The recordings in this user's state folder. Answered by [`CommandAnswer::Recordings`].
    ListRecordings,
    /// Hold a recording against the run that is shown, as far as it has come. Answered by
    /// [`CommandAnswer::Compared`].
    CompareWith {
        /// As [`RecordingFile::path`] names it, or the whole path of another one.
        path: String,
    },
    /// Read the events of a recording, page after page. Answered by [`CommandAnswer::RecordedEvents`].
    ReadRecording {
        /// As in [`Command::CompareWith`].
        path: String,
        /// How many of its events are known already.
        from_index: u64,
    },
}

impl Command {
    /// Whether it is about scenario files, or about which run is shown: it does nothing in the run itself.
    pub fn is_about_scenarios(&self) -> bool {
        matches!(
            self,
            Self::ListScenarios
                | Self::OpenScenario { .. }
                | Self::CheckScenario { .. }
                | Self::SaveScenario { .. }
                | Self::ScenarioByHand { .. }
                | Self::RunScenario { .. }
                | Self::Scenario { .. }
                | Self::ShowLive
        )
    }

    /// Whether it is about recordings: it does nothing in the run, and can be done while a recording is shown.
    pub fn is_about_recordings(&self) -> bool {
        matches!(self, Self::ListRecordings | Self::CompareWith { .. } | Self::ReadRecording { .. })
    }
}

/// How a scenario goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Go {
    /// Play one step and stop.
    Step,
    /// Play on to the next breakpoint.
    Continue,
    /// Stop before the next step.
    Pause,
    /// End it.
    Stop,
}

/// What can be looked into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Place {
    /// One message everywhere: its document, its records, its conversation's cache entry, its index entry.
    Message {
        /// Which.
        message_id: MessageId,
    },
    /// The conversations in the store.
    Conversations {
        /// As whose; absent: every user's of the run.
        user: Option<UserId>,
    },
    /// Messages in the store, newest first.
    Messages {
        /// Of which conversation.
        conversation_id: ConversationId,
        /// Only those before this place.
        before_seq: Option<u64>,
    },
    /// The cache entries of conversations of the run, with the time they have left.
    Cache,
    /// Records of a topic's partition.
    Records {
        /// The topic without its prefix, such as `message.sent`.
        topic: String,
        /// The partition.
        partition: u32,
        /// From this offset on; absent: the last ones.
        from_offset: Option<u64>,
    },
    /// The entries of the search index.
    Index {
        /// After this message; absent: from the start.
        after: Option<MessageId>,
    },
}

/// Most rows of [`CommandAnswer::Inspected`].
pub const INSPECTED_MAX: usize = 100;

/// One thing that was found in a [`Place`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// What kind of thing: `message`, `conversation`, `cache`, `record`, `index`.
    pub kind: String,
    /// Its name there: an id, a key, `message.sent/3@17`.
    pub key: String,
    /// One line for a list.
    pub summary: String,
    /// The message it is about, if it is about one.
    pub message_id: Option<MessageId>,
    /// For a cache entry: milliseconds of business time it has left.
    pub ttl_ms: Option<u64>,
    /// For a record: its headers.
    pub headers: Vec<(String, String)>,
    /// The whole of it.
    pub value: serde_json::Value,
}

/// A scenario file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioFile {
    /// Its path in the folder of scenarios, or the whole path of another one.
    pub path: String,
    /// Its name as the file says it; absent: it does not read.
    pub name: Option<String>,
    /// What it is about, one line.
    pub about: Option<String>,
}

/// A step of a scenario's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioStep {
    /// The line it begins at, from 1.
    pub line: u32,
    /// What it does, one line.
    pub title: String,
}

/// A mistake in a scenario's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioProblem {
    /// The file, when it is another one that was included.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is wrong and what would be right.
    pub message: String,
}

/// How a scenario goes that was begun by [`Command::RunScenario`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioProgress {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: ScenarioState,
    /// The steps that are done or going on, in the order they began.
    pub steps: Vec<StepProgress>,
    /// One sentence on the whole when it is over: what failed, or what was checked.
    pub summary: Option<String>,
}

/// Where a scenario stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScenarioState {
    /// Its backend starts.
    Starting,
    /// A step is played.
    Running,
    /// It waits before a step.
    Paused,
    /// Everything was checked, after the last step.
    Passed,
    /// A step or a check failed.
    Failed,
    /// Somebody ended it.
    Stopped,
}

impl ScenarioState {
    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Passed | Self::Failed | Self::Stopped)
    }
}

/// One step as it was played.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepProgress {
    /// The line it begins at.
    pub line: u32,
    /// What it does.
    pub title: String,
    /// What became of it.
    pub outcome: StepOutcome,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum StepOutcome {
    /// It waits to be played.
    Waiting,
    /// It is being played.
    Running,
    /// It did what it says.
    Passed {
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// It did not.
    Failed {
        /// What was expected, and what was seen instead.
        message: String,
        /// The message whose lane shows it.
        message_id: Option<MessageId>,
    },
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
    /// For [`Command::Request`]: the answer as the service gave it.
    Answered {
        /// What it carries beside `ok`.
        answer: serde_json::Value,
    },
    /// For [`Command::Upload`].
    Uploaded {
        /// The item.
        media_id: MediaId,
    },
    /// For [`Command::Inspect`].
    Inspected {
        /// At most [`INSPECTED_MAX`].
        rows: Vec<Inspected>,
        /// Whether there is more.
        more: bool,
    },
    /// For [`Command::ListScenarios`].
    Scenarios {
        /// The folder they are in.
        folder: String,
        /// The files, by path.
        files: Vec<ScenarioFile>,
    },
    /// For [`Command::ListRecordings`].
    Recordings {
        /// The folder they are in; absent: this user has no state folder.
        folder: Option<String>,
        /// The newest first.
        files: Vec<RecordingFile>,
    },
    /// For [`Command::CompareWith`].
    Compared {
        /// How the two runs differ.
        comparison: Box<Comparison>,
    },
    /// For [`Command::ReadRecording`]: at most [`RECORDED_EVENTS_MAX`] events.
    RecordedEvents {
        /// In order.
        events: Vec<TraceEvent>,
        /// How many the recording has, as far as it was read.
        total: u64,
    },
    /// A scenario's text, read or checked.
    Scenario {
        /// Where it is from or was written to.
        path: Option<String>,
        /// The text.
        text: String,
        /// Its steps, as far as it reads.
        steps: Vec<ScenarioStep>,
        /// What is wrong with it; empty: nothing.
        problems: Vec<ScenarioProblem>,
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
    /// The hello was accepted; or, later, another run is shown from now on (its trace begins at 0).
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
    /// How a scenario goes; sent when it changed, the latest only.
    Scenario {
        /// Where it stands.
        progress: ScenarioProgress,
    },
    /// The harness ends.
    Closing {
        /// One sentence for people.
        reason: String,
    },
}
