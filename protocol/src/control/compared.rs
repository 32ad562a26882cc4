//! Two runs beside each other, as an interface shows them. A is the run that is shown, B a recording.

use serde::{Deserialize, Serialize};

use super::BackendKind;
use crate::ids::{MessageId, UserId};
use crate::time::Timestamp;

/// Most messages in each list of a [`Comparison`]; how many there are is said beside it.
pub const COMPARED_MESSAGES_MAX: usize = 200;
/// Most events in one [`super::CommandAnswer::RecordedEvents`].
pub const RECORDED_EVENTS_MAX: usize = 2_048;

/// A recording that can be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingFile {
    /// Its name in the folder, or the whole path of another one.
    pub path: String,
    /// The scenario's name, or what else was run.
    pub title: String,
    /// What it ran on.
    pub backend: BackendKind,
    /// The wall clock when its run began.
    pub started_at: Timestamp,
    /// Its size.
    pub bytes: u64,
    /// Whether it is of the run that is shown.
    pub is_shown: bool,
}

/// One of two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// The scenario's name, or what else was run.
    pub title: String,
    /// What it ran on.
    pub backend: BackendKind,
    /// What was left to chance followed from this number, if it is known.
    pub seed: Option<u64>,
    /// How many messages were sent.
    pub messages: u64,
    /// How many events are known.
    pub events: u64,
    /// `pass`, `fail` or `inconclusive`; absent without a report.
    pub verdict: Option<String>,
    /// What is missing or damaged, one sentence each.
    pub remarks: Vec<String>,
}

/// What a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Within the noise, or too small to count.
    Same,
    /// Above the noise, and for the worse in B.
    Worse,
    /// Above the noise, and for the better in B.
    Better,
    /// Above the noise, and neither good nor bad.
    Different,
    /// There is not enough to say.
    TooFew,
}

/// A figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedFigure {
    /// What it is, such as `delivered p99`.
    pub what: String,
    /// In A.
    pub a: Option<f64>,
    /// In B.
    pub b: Option<f64>,
    /// A difference up to this is noise; absent where nothing is left to chance.
    pub noise: Option<f64>,
    /// What the difference is.
    pub difference: Difference,
}

/// A message of one of the runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedMessage {
    /// In its own run.
    pub message_id: MessageId,
    /// Who sent it.
    pub sender: UserId,
    /// The beginning of what it says.
    pub text: String,
    /// When it was sent, in microseconds since its run began.
    pub at_us: u64,
    /// What its sender was told last, such as `persisted` or `rejected log_unavailable`.
    pub outcome: String,
}

/// Messages of one kind, the first [`COMPARED_MESSAGES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedList<T> {
    /// How many there are.
    pub count: u64,
    /// The first of them, in the order they were sent.
    pub first: Vec<T>,
}

/// Two runs beside each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The run that is shown.
    pub a: ComparedRun,
    /// The recording.
    pub b: ComparedRun,
    /// From the send of a message to its stages, in microseconds.
    pub latencies: Vec<ComparedFigure>,
    /// How the messages ended, as shares of all from 0 to 1.
    pub outcomes: Vec<ComparedFigure>,
    /// Messages a second.
    pub rates: Vec<ComparedFigure>,
    /// Broken promises by kind, as counts; empty unless both runs were checked.
    pub findings: Vec<ComparedFigure>,
    /// Messages that only A has. The same message is one of the same sender with the same text; the second of two
    /// is the second of two.
    pub only_a: ComparedList<ComparedMessage>,
    /// Messages that only B has.
    pub only_b: ComparedList<ComparedMessage>,
    /// Messages of both that ended differently: in A, and in B.
    pub ended_differently: ComparedList<(ComparedMessage, ComparedMessage)>,
    /// What limits the comparison, one sentence each.
    pub notes: Vec<String>,
}
