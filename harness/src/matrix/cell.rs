//! One cell of the matrix: who asks for what in which situation, what must come of it, and what came.

use std::fmt;
use std::sync::Arc;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::ConversationKind;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::ask::Ask;
use super::scene::{Scene, SceneSpec};
use super::stage::{Failure, Stage};

/// What the caller is to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Caller {
    /// Its owner.
    Owner,
    /// An admin, added by the owner.
    Admin,
    /// Somebody in it without a further role.
    Member,
    /// Was a member and was removed.
    Removed,
    /// Was never in it.
    Stranger,
}

impl Caller {
    /// Everybody, in the order of the columns.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Member, Self::Removed, Self::Stranger];

    /// The word in cell names and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Removed => "removed",
            Self::Stranger => "stranger",
        }
    }
}

/// Whose message it is, seen from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// The caller sent it.
    Own,
    /// Somebody else did.
    Anothers,
}

impl Whose {
    /// The word in cell names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Anothers => "another's",
        }
    }
}

/// What must come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is carried out.
    Ok,
    /// It is carried out, and the look at what came says this.
    OkAnd(String),
    /// It is refused with this code.
    Refused(ErrorCode),
    /// It is refused with `invalid_payload`, and the sentence names this field (S1.8).
    Naming(String),
    /// It is refused with this code, and the look at the refusal says this.
    RefusedAnd(ErrorCode, String),
}

impl Expected {
    /// Whether it is refused.
    pub fn is_refused(&self) -> bool {
        !matches!(self, Self::Ok | Self::OkAnd(_))
    }

    /// Whether `got` is what was expected.
    pub fn is_met_by(&self, got: &Got) -> bool {
        match (self, got) {
            (Self::Ok, Got::Ok { .. }) => true,
            (Self::OkAnd(wanted), Got::Ok { seen }) => seen.as_ref() == Some(wanted),
            (Self::Refused(wanted), Got::Refused { error, .. }) => error.code == *wanted,
            (Self::RefusedAnd(wanted, said), Got::Refused { error, seen }) => {
                error.code == *wanted && seen.as_ref() == Some(said)
            }
            (Self::Naming(field), Got::Refused { error, .. }) => {
                error.code == ErrorCode::InvalidPayload && names(&error.message, field)
            }
            _ => false,
        }
    }

    /// The word in a column of the grid.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Ok | Self::OkAnd(_) => None,
            Self::Refused(code) | Self::RefusedAnd(code, _) => Some(*code),
            Self::Naming(_) => Some(ErrorCode::InvalidPayload),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::OkAnd(seen) => write!(f, "ok, {seen}"),
            Self::Refused(code) => write!(f, "{code}"),
            Self::RefusedAnd(code, seen) => write!(f, "{code}, {seen}"),
            Self::Naming(field) => write!(f, "{}, naming `{field}`", ErrorCode::InvalidPayload),
        }
    }
}

/// Whether a sentence has the field as a word of its own.
fn names(sentence: &str, field: &str) -> bool {
    sentence.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == field)
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// It was carried out.
    Ok {
        /// What a look at what came says, if somebody looked.
        seen: Option<String>,
    },
    /// It was refused.
    Refused {
        /// How.
        error: WireError,
        /// What a look at the refusal says, if somebody looked.
        seen: Option<String>,
    },
    /// The cell could not be played: its scene could not be set, or what came cannot be read.
    Failed(String),
    /// Its moment was over before the answer came; it has to be played again.
    Late,
}

impl Got {
    /// The reason code, if it is a refusal.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { error, .. } => Some(error.code),
            _ => None,
        }
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { seen: None } => f.write_str("ok"),
            Self::Ok { seen: Some(seen) } => write!(f, "ok, {seen}"),
            Self::Refused { error, seen: None } => write!(f, "{error}"),
            Self::Refused { error, seen: Some(seen) } => write!(f, "{error}, {seen}"),
            Self::Failed(reason) => write!(f, "not played: {reason}"),
            Self::Late => f.write_str("not played: its moment was over before the answer came"),
        }
    }
}

/// What a cell leaves behind in store, log, cache and search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// Nothing: it was refused, it only reads, or it asks for a setting that is so already.
    Nothing,
    /// What it asks for is so already: everybody sees the same as before, though the log may tell of it once more.
    TheSame,
    /// At least one record in the log.
    Something,
}

/// Who is told of what was carried out, acknowledgments aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// At least everybody who is connected and in the conversation.
    Everybody,
    /// Only the caller's own connections.
    OnlyTheCaller,
    /// Whoever it is, no more is asked than that nobody outside is told.
    Whoever,
}

/// Where a cell is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the grid of a kind, in the row with this number.
    Grid {
        /// Row of the main table, from 0.
        row: usize,
        /// The kind of the conversation.
        kind: ConversationKind,
        /// What the caller is to it.
        caller: Caller,
    },
    /// In the list of boundaries.
    Boundary,
}

/// Makes the request in its scene.
pub type AskIn = Arc<dyn Fn(&Scene) -> Ask + Send + Sync>;

/// Looks at the answer (`data`, or the error object of a refusal), and further where it has to, and says in a
/// few words what there is.
pub type Look =
    Arc<dyn for<'a> Fn(&'a Stage, &'a Scene, &'a Value) -> BoxFuture<'a, Result<String, Failure>> + Send + Sync>;

/// A point in business time that follows from the scene, in milliseconds since the Unix epoch.
pub type TimeOf = Arc<dyn Fn(&Scene) -> i64 + Send + Sync>;

/// The moment of business time a cell is played at.
#[derive(Clone)]
pub struct Moment {
    /// Not before this.
    pub from_ms: TimeOf,
    /// The answer has to be there by then (inclusive), or the cell proves nothing and is played again.
    pub until_ms: Option<TimeOf>,
}

/// A cell.
#[derive(Clone)]
pub struct Cell {
    /// Its name, which stays the same from version to version, such as `message:edit / member / group / another's`.
    pub name: String,
    /// The client event it belongs to.
    pub event: &'static str,
    /// Where it is printed.
    pub place: Place,
    /// What must come of it.
    pub expected: Expected,
    /// What it leaves behind.
    pub leaves: Leaves,
    /// Who is told of it when it is carried out.
    pub told: Told,
    /// What there is before.
    pub scene: SceneSpec,
    /// What is asked.
    pub ask: AskIn,
    /// How what came is looked at.
    pub look: Option<Look>,
    /// When it is played; absent: at any time.
    pub moment: Option<Moment>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("name", &self.name).field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Cell {
    /// A boundary. A refusal leaves nothing, anything else something, until said otherwise.
    pub fn boundary(
        event: &'static str,
        what: &str,
        expected: Expected,
        scene: SceneSpec,
        ask: impl Fn(&Scene) -> Ask + Send + Sync + 'static,
    ) -> Self {
        let leaves = if expected.is_refused() { Leaves::Nothing } else { Leaves::Something };
        Self {
            name: format!("{event} / {what}"),
            event,
            place: Place::Boundary,
            expected,
            leaves,
            told: Told::Whoever,
            scene,
            ask: Arc::new(ask),
            look: None,
            moment: None,
        }
    }

    /// It changes nothing although it is carried out.
    #[must_use]
    pub fn leaving_nothing(self) -> Self {
        Self { leaves: Leaves::Nothing, ..self }
    }

    /// What it asks for is so already, unless it is refused.
    #[must_use]
    pub fn leaving_the_same(self) -> Self {
        let leaves = if self.expected.is_refused() { Leaves::Nothing } else { Leaves::TheSame };
        Self { leaves, ..self }
    }

    /// Says what the answer holds.
    #[must_use]
    pub fn saying(self, look: impl Fn(&Scene, &Value) -> String + Send + Sync + 'static) -> Self {
        let look = Arc::new(look);
        self.looking(move |_, scene, data| {
            let said = look(scene, data);
            Box::pin(std::future::ready(Ok(said)))
        })
    }

    /// Looks further than the answer.
    #[must_use]
    pub fn looking(
        self,
        look: impl for<'a> Fn(&'a Stage, &'a Scene, &'a Value) -> BoxFuture<'a, Result<String, Failure>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { look: Some(Arc::new(look)), ..self }
    }

    /// Plays it at a moment of business time or later.
    #[must_use]
    pub fn from(self, from_ms: impl Fn(&Scene) -> i64 + Send + Sync + 'static) -> Self {
        Self { moment: Some(Moment { from_ms: Arc::new(from_ms), until_ms: None }), ..self }
    }

    /// Plays it in the last moments before a point in business time: the answer is there by then (inclusive).
    #[must_use]
    pub fn just_before(self, until_ms: impl Fn(&Scene) -> i64 + Send + Sync + 'static) -> Self {
        let until_ms: TimeOf = Arc::new(until_ms);
        let end = Arc::clone(&until_ms);
        let from_ms = Arc::new(move |scene: &Scene| end(scene) - LAST_MOMENTS_MS);
        Self { moment: Some(Moment { from_ms, until_ms: Some(until_ms) }), ..self }
    }
}

/// How long before the end of a period "just before" begins: enough for a request on a busy machine, and short
/// against any period of S1.
const LAST_MOMENTS_MS: i64 = 250;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode, sentence: &str) -> Got {
        Got::Refused { error: WireError::new(code, sentence), seen: None }
    }

    #[test]
    fn another_code_is_a_mismatch() {
        let expected = Expected::Refused(ErrorCode::NotFound);
        assert!(expected.is_met_by(&refused(ErrorCode::NotFound, "x")));
        assert!(!expected.is_met_by(&refused(ErrorCode::NotParticipant, "x")));
        assert!(!expected.is_met_by(&Got::Ok { seen: None }));
        assert!(!Expected::Ok.is_met_by(&refused(ErrorCode::NotFound, "x")));
        for nothing in [Got::Failed("x".to_owned()), Got::Late] {
            assert!(!expected.is_met_by(&nothing) && !Expected::Ok.is_met_by(&nothing), "{nothing}");
        }
    }

    #[test]
    fn another_look_is_a_mismatch() {
        let expected = Expected::OkAnd("muted".to_owned());
        assert!(expected.is_met_by(&Got::Ok { seen: Some("muted".to_owned()) }));
        assert!(!expected.is_met_by(&Got::Ok { seen: Some("not muted".to_owned()) }));
        assert!(!expected.is_met_by(&Got::Ok { seen: None }));
        let expected = Expected::RefusedAnd(ErrorCode::NotFound, "in the same words".to_owned());
        assert!(!expected.is_met_by(&refused(ErrorCode::NotFound, "x")));
    }

    #[test]
    fn the_field_must_be_named_as_a_word() {
        let expected = Expected::Naming("text".to_owned());
        assert!(expected.is_met_by(&refused(ErrorCode::InvalidPayload, "field `text`: expected 1 to 4096 characters")));
        assert!(expected.is_met_by(&refused(ErrorCode::InvalidPayload, "missing field `text`")));
        assert!(!expected.is_met_by(&refused(ErrorCode::InvalidPayload, "missing field `text_id`")));
        assert!(!expected.is_met_by(&refused(ErrorCode::NotFound, "field `text`")));
    }
}
