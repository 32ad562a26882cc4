//! The language of scenario files, as types.
//!
//! This is the one place that knows the language: what a file may hold, its JSON Schema and what a wrong file
//! is told (`shape`) all follow from these types and their comments. A new step is a new variant of [`Step`]
//! with its fields (what users do in `acts`, what is expected in `looks`), a check of its names in `check`, a
//! line in `title` and what it does in `run`.
//!
//! Texts with rules are the types of [`words`]; every value a later check may complain about is an [`At`], so
//! that the complaint has a place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use ackscope_core::clients::BreakerState;
use ackscope_core::log::Topic;
use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::faults::{Dependency, FaultKind};
use ackscope_protocol::ids::{TempId, UserId};
use ackscope_protocol::text::{Emoji, FileName, MessageText, Title};
use ackscope_protocol::wire::{AckState, AddedRole, ConversationKind, DeleteMode, MediaState};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

mod acts;
mod looks;
mod misbehaves;

pub use acts::{
    AddParticipant, Delete, Edit, Forward, Mute, OfConversation, React, RemoveParticipant, Retry, Send, Upload,
};
pub use looks::{
    ExpectAck, ExpectBreaker, ExpectCached, ExpectConversation, ExpectConversations, ExpectDeadLetters, ExpectHistory,
    ExpectLog, ExpectMessage, ExpectSearch, ExpectStored, ExpectView, Lifetime, Reactions, Wait,
};

pub use misbehaves::{Bounds, Connect, Flood, Frame, Payload, RawRequest, ReadSlowly};

use super::fault::FaultStep;
use super::period::Period;
use super::tree::{AtVisitor, Place};
use crate::latency::{NotAPercentile, Percentile};
use words::{Line, Name, Variable};

/// A value and the place it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the file.
    pub place: Place,
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtVisitor::read(deserializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A scenario: who takes part, what they do, and what must come of it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Ackscope scenario")]
pub struct ScenarioFile {
    /// The scenario's name, one line.
    pub scenario: At<Line>,
    /// What it shows, for people.
    #[serde(default)]
    pub about: Option<String>,
    /// Values by name, one value or a list of them. `$(name)` anywhere below stands for the value; `$$(` for `$(`.
    #[serde(default, rename = "let")]
    pub constants: Constants,
    /// Everybody who takes part, by id. All are connected before the first step.
    pub users: Vec<At<words::User>>,
    /// What happens, in this order.
    pub steps: Vec<At<Step>>,
    /// Latencies that must be kept, measured from the send to what the client saw.
    #[serde(default)]
    pub budgets: Budgets,
}

/// What a file holds that others include: a list of steps, or this.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartFile {
    /// What it is for, for people.
    #[serde(default)]
    pub about: Option<String>,
    /// Values by name, for its own steps.
    #[serde(default, rename = "let")]
    pub constants: Constants,
    /// The steps that stand where it is included.
    pub steps: Vec<At<Step>>,
}

/// One step: what is done or expected.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Create a conversation and name it for later steps.
    Create(Create),
    /// Send a message, wait for its outcome, and name it for later steps.
    Send(Send),
    /// Send an earlier message again under its `temp_id`: it must stay one message with one `message_id`.
    Retry(Retry),
    /// Give a message another text.
    Edit(Edit),
    /// Delete a message: for everybody with a tombstone, for everybody with nothing left, or for oneself.
    Delete(Delete),
    /// React to a message with an emoji.
    React(React),
    /// Take a reaction back.
    Unreact(React),
    /// Forward messages to other conversations; the copies can be named for later steps.
    Forward(Forward),
    /// Add somebody to a conversation.
    AddParticipant(AddParticipant),
    /// Remove somebody from a conversation.
    RemoveParticipant(RemoveParticipant),
    /// Leave a conversation.
    Leave(OfConversation),
    /// Mute a conversation, for a time or for good.
    Mute(Mute),
    /// Unmute a conversation.
    Unmute(OfConversation),
    /// Archive a conversation.
    Archive(OfConversation),
    /// Unarchive a conversation.
    Unarchive(OfConversation),
    /// Upload a picture to the media service and name it for later sends.
    Upload(Upload),
    /// Wait until a user has seen an event.
    Wait(Wait),
    /// Expect an acknowledgment of a message, as its sender saw it.
    ExpectAck(ExpectAck),
    /// Expect what users see of a conversation, in the conversation's order.
    ExpectView(ExpectView),
    /// Expect what users see of one message.
    ExpectMessage(ExpectMessage),
    /// Expect what `message:history` answers, oldest message first.
    ExpectHistory(ExpectHistory),
    /// Expect what users know of a conversation: who is in it, whether they muted or archived it.
    ExpectConversation(ExpectConversation),
    /// Expect what `conversation:list` answers, in any order.
    ExpectConversations(ExpectConversations),
    /// Expect what `search:query` finds, in any order.
    ExpectSearch(ExpectSearch),
    /// Expect how a message is stored.
    ExpectStored(ExpectStored),
    /// Expect a conversation to be in the cache, or not to be.
    ExpectCached(ExpectCached),
    /// Expect the state of the circuit before the media or the search service.
    ExpectBreaker(ExpectBreaker),
    /// Expect records in a topic of the event log.
    ExpectLog(ExpectLog),
    /// Expect how many records could not be processed and were set aside.
    ExpectDeadLetters(ExpectDeadLetters),
    /// Drop a user's TCP connection without a goodbye.
    Drop(At<words::User>),
    /// Connect a dropped user again and `sync` what was missed.
    Reconnect(At<words::User>),
    /// Connect a further device of a user; later steps know it by a name of its own.
    Connect(Connect),
    /// Let a user read slowly or not at all, as a phone with a bad network.
    ReadSlowly(ReadSlowly),
    /// Let a slow reader read at full speed again.
    ReadOn(At<words::User>),
    /// Send many messages as fast as possible, and count what becomes of them.
    Flood(Flood),
    /// Send any event with any payload, right or wrong.
    Request(RawRequest),
    /// Send a frame that may be no packet at all.
    Frame(Frame),
    /// Break something, until it is healed.
    Fault(FaultStep),
    /// Heal one dependency, or `all` of them: then everything must answer again.
    Heal(At<words::Healed>),
    /// Advance the business clock (edit window, mutes, token expiry, cache lifetimes); latencies stay in real time.
    Advance(At<Period>),
    /// Play lists of steps side by side; goes on when all have ended.
    Parallel(At<Vec<Vec<At<Step>>>>),
    /// Play steps several times.
    Repeat(Repeat),
    /// Play steps once for each value of a list, in turn.
    For(For),
    /// Play the steps of another file here. Its path is relative to this file, in its folder or below.
    Include(At<Line>),
    /// Set a mark: a heading in the report and on the timeline.
    Mark(At<Line>),
}

/// `create`: a new conversation.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Who creates it, and becomes its owner.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// Its name in this file.
    pub id: At<Name>,
    /// What kind it is.
    pub kind: At<words::Kind>,
    /// The other participants.
    pub with: Vec<At<words::User>>,
    /// The title people see.
    #[serde(default)]
    pub title: Option<At<words::TitleText>>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `repeat`: steps several times. A name that is given within is given anew each time; the last one stays.
///
/// The service takes 200 events a second of one user for long and refuses more with `rate_limited`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How often, 1 to 10,000.
    pub times: At<words::Times>,
    /// A variable for the number of the round, from 1: `as: round` makes `$(round)` 1, 2, 3 and so on.
    #[serde(default, rename = "as")]
    pub round: Option<At<Variable>>,
    /// What happens each time, in this order.
    pub steps: Vec<At<Step>>,
}

impl Repeat {
    /// The steps of each round. Where rounds have a number, reading has written them out one after the other.
    pub(super) fn rounds(&self) -> impl Iterator<Item = &[At<Step>]> {
        let times = self.times.0 as usize;
        let per_round = if self.round.is_some() { self.steps.len() / times } else { self.steps.len() };
        (0..times).map(move |round| {
            let from = if self.round.is_some() { round * per_round } else { 0 };
            &self.steps[from..from + per_round]
        })
    }
}

/// `for`: steps once for each value. A name that is given within is given anew each time; the last one stays.
///
/// Reading writes the steps out, so that a file that was read has no step of this kind.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct For {
    /// The variable: `each: who` makes `$(who)` each value in turn.
    pub each: At<Variable>,
    /// The values, or a variable that is a list.
    #[serde(rename = "in")]
    pub values: Constant,
    /// What happens for each value, in this order.
    pub steps: Vec<At<Step>>,
}

/// Values by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Constants(pub BTreeMap<String, Constant>);

impl JsonSchema for Constants {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Constants".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        map_schema::<Variable, Constant>(generator)
    }
}

/// The schema of a block whose keys have a format.
fn map_schema<K: JsonSchema, V: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let (keys, mut values) = (generator.subschema_for::<K>(), generator.subschema_for::<V>());
    let keys = keys.to_value();
    let keys = serde_json::json!({ "type": "string", "format": keys["format"], "pattern": keys["pattern"] });
    values.ensure_object();
    schemars::json_schema!({ "type": "object", "propertyNames": keys, "additionalProperties": values })
}

/// A value, or a list of values: texts, numbers, truths.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Constant(pub serde_json::Value);

impl JsonSchema for Constant {
    fn schema_name() -> Cow<'static, str> {
        "Constant".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": ["string", "number", "boolean", "array"],
            "format": CONSTANT,
            "items": { "type": ["string", "number", "boolean"] },
        })
    }
}

/// The format of a [`Constant`] in the schema.
pub(super) const CONSTANT: &str = "constant";

/// Budgets by what is measured.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// From the send to the `pending` ACK.
    pub pending: Option<At<Limits>>,
    /// From the send to the `delivered` ACK.
    pub delivered: Option<At<Limits>>,
    /// From the send to a `rejected` ACK.
    pub rejected: Option<At<Limits>>,
    /// From the send to `message:new` at each recipient.
    pub received: Option<At<Limits>>,
    /// From the send to the `persisted` ACK.
    pub persisted: Option<At<Limits>>,
    /// From the send to stages inside the backend, as the timeline shows them.
    pub stages: StageBudgets,
}

/// Budgets of stages inside the backend, each from the latest send before it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StageBudgets {
    /// The socket service read the message off the connection.
    pub received: Option<At<Limits>>,
    /// The permission check was answered.
    pub permission: Option<At<Limits>>,
    /// The media service was asked.
    pub media_checked: Option<At<Limits>>,
    /// The event log accepted the record of the message.
    pub published: Option<At<Limits>>,
    /// A node emitted `message:new` to its sockets.
    pub broadcast: Option<At<Limits>>,
    /// The persistence consumer read the record.
    pub consumed: Option<At<Limits>>,
    /// The message is in the store.
    pub stored: Option<At<Limits>>,
    /// The confirmation came back to the socket service.
    pub confirmed: Option<At<Limits>>,
    /// The search service indexed it.
    pub indexed: Option<At<Limits>>,
}

/// The most percentiles may be, such as `{p50: 5ms, p95: 20ms, p99.9: 80ms, max: 100ms}`. All are of one full histogram.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Limits(pub BTreeMap<words::Percent, Period>);

impl JsonSchema for Limits {
    fn schema_name() -> Cow<'static, str> {
        "Limits".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        map_schema::<words::Percent, Period>(generator)
    }
}

/// Texts and words that have rules of their own.
pub mod words {
    use super::{
        AckState, AddedRole, BreakerState, ConversationKind, Cow, DeleteMode, Dependency, Deref, Deserialize,
        Deserializer, Emoji, ErrorCode, FaultKind, FileName, JsonSchema, MediaState, MessageText, NotAPercentile,
        Percentile, Period, Schema, SchemaGenerator, TempId, Title, Topic, UserId,
    };
    use ackscope_protocol::faults::{BYTES_PER_SECOND_MAX, BYTES_PER_SECOND_MIN};
    use std::ops::RangeInclusive;
    use std::str::FromStr;

    /// What a text of a format must be, for the schema and for the sentence a wrong one is told.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::scenario) struct Format {
        /// The format's name in the schema.
        pub name: &'static str,
        /// What is expected, for people.
        pub expected: &'static str,
        /// The rule, for editors.
        pub pattern: &'static str,
        /// Why a text does not have the format.
        pub refuse: fn(&str) -> Option<String>,
    }

    /// Every format, for the reader.
    pub(in crate::scenario) const FORMATS: &[Format] = &[
        <User as Formatted>::FORMAT,
        Name::FORMAT,
        Variable::FORMAT,
        Line::FORMAT,
        Text::FORMAT,
        TitleText::FORMAT,
        Temp::FORMAT,
        Reaction::FORMAT,
        File::FORMAT,
        Times::FORMAT,
        Share::FORMAT,
        Count::FORMAT,
        Rate::FORMAT,
        Size::FORMAT,
        Percent::FORMAT,
        <Period as Formatted>::FORMAT,
    ];

    pub(in crate::scenario) trait Formatted {
        const FORMAT: Format;
    }

    fn refusal<T: FromStr>(text: &str) -> Option<String>
    where
        T::Err: std::fmt::Display,
    {
        text.parse::<T>().err().map(|error| error.to_string())
    }

    macro_rules! formatted {
        ($name:ident, $format:expr) => {
            impl Formatted for $name {
                const FORMAT: Format = $format;
            }
            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    schemars::json_schema!({
                        // YAML reads `7` as a number; as a text it is the same.
                        "type": ["string", "number"],
                        "format": <Self as Formatted>::FORMAT.name,
                        "pattern": <Self as Formatted>::FORMAT.pattern,
                    })
                }
            }
        };
    }

    macro_rules! text_word {
        ($(#[$doc:meta])* $name:ident($inner:ty), $read:expr, $format:expr) => {
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Hash)]
            pub struct $name(pub $inner);

            impl Deref for $name {
                type Target = $inner;
                fn deref(&self) -> &$inner {
                    &self.0
                }
            }

            impl FromStr for $name {
                type Err = String;
                fn from_str(text: &str) -> Result<Self, String> {
                    let read: fn(&str) -> Result<$inner, String> = $read;
                    read(text).map(Self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                }
            }

            formatted!($name, $format);
        };
    }

    text_word! {
        /// A user's id.
        User(UserId),
        |text| text.parse().map_err(|_| format!("`{text}` cannot be a user's id")),
        Format {
            name: "user-id",
            expected: "1 to 64 of the characters A-Z a-z 0-9 _ . -",
            pattern: "^[A-Za-z0-9_.-]{1,64}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// A name for a conversation, a message or an upload in a scenario file.
        Name(String),
        |text| {
            let valid = !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
            if valid { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot be a name")) }
        },
        Format {
            name: "name",
            expected: "1 to 64 of the characters A-Z a-z 0-9 _ . -",
            pattern: "^[A-Za-z0-9_.-]{1,64}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// The name of a variable.
        Variable(String),
        |text| {
            let mut letters = text.bytes();
            let valid = text.len() <= 64
                && letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if valid { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot be the name of a variable")) }
        },
        Format {
            name: "variable",
            expected: "1 to 64 of the characters A-Z a-z 0-9 _, not a digit first",
            pattern: "^[A-Za-z_][A-Za-z0-9_]{0,63}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// One line of text.
        Line(String),
        |text| {
            let line = text.trim();
            if line.is_empty() || line.contains('\n') || line.chars().count() > 200 {
                return Err("this is not one line of text".to_owned());
            }
            Ok(line.to_owned())
        },
        Format {
            name: "line",
            expected: "one line of 1 to 200 characters",
            pattern: "^.{1,200}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// A message's text.
        Text(MessageText),
        |text| {
            let count = text.chars().count();
            MessageText::new(text).map_err(|_| format!("a message of {count} characters is not taken"))
        },
        Format {
            name: "message-text",
            expected: "1 to 4,096 characters",
            pattern: "^[\\s\\S]{1,4096}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// A conversation's title.
        TitleText(Title),
        |text| {
            let count = text.chars().count();
            Title::new(text).map_err(|_| format!("a title of {count} characters is not taken"))
        },
        Format {
            name: "title",
            expected: "1 to 200 characters",
            pattern: "^[\\s\\S]{1,200}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// A client's own id for a message.
        Temp(TempId),
        |text| text.parse().map_err(|_| format!("a temp_id of {} characters is not taken", text.chars().count())),
        Format {
            name: "temp-id",
            expected: "1 to 64 characters",
            pattern: "^[\\s\\S]{1,64}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// An emoji of a reaction.
        Reaction(Emoji),
        |text| Emoji::new(text).map_err(|_| format!("`{text}` is not one emoji")),
        Format {
            name: "emoji",
            expected: "one emoji",
            pattern: "^[\\s\\S]{1,64}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// The name of a file.
        File(FileName),
        |text| {
            let count = text.chars().count();
            FileName::new(text).map_err(|_| format!("a file name of {count} characters is not taken"))
        },
        Format {
            name: "file-name",
            expected: "1 to 255 characters",
            pattern: "^[\\s\\S]{1,255}$",
            refuse: refusal::<Self>,
        }
    }

    /// The whole number in a text, when it is within the limits.
    fn number<T: FromStr + PartialOrd>(text: &str, allowed: &RangeInclusive<T>) -> Result<T, String> {
        let number = text.trim().parse::<T>().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| format!("`{text}` is not taken as a number here"))
    }

    text_word! {
        /// How often something is repeated.
        Times(u32),
        |text| number(text, &(1..=10_000)),
        Format {
            name: "times",
            expected: "a whole number from 1 to 10,000",
            pattern: "^[0-9]{1,5}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// Bytes a second.
        Rate(u64),
        |text| number(text, &(BYTES_PER_SECOND_MIN..=BYTES_PER_SECOND_MAX)),
        Format {
            name: "bytes-per-second",
            expected: "bytes a second: a whole number from 1,024 to 1,073,741,824",
            pattern: "^[0-9]{4,10}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// How many of something are expected.
        Count(u64),
        |text| number(text, &(0..=1_000_000)),
        Format {
            name: "count",
            expected: "a whole number from 0 to 1,000,000",
            pattern: "^[0-9]{1,7}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// A number of bytes.
        Size(u32),
        |text| number(text, &(0..=67_108_864)),
        Format {
            name: "size",
            expected: "a whole number from 0 to 67,108,864 (64 MiB)",
            pattern: "^[0-9]{1,8}$",
            refuse: refusal::<Self>,
        }
    }

    text_word! {
        /// A point of a distribution, such as `p95`.
        #[derive(PartialOrd, Ord)]
        Percent(Percentile),
        |text| text.parse().map_err(|error: NotAPercentile| error.to_string()),
        Format {
            name: "percentile",
            expected: "`max`, or `p` and a number above 0 and below 100, such as p50, p95 or p99.9",
            pattern: "^(p[0-9]{1,2}(\\.[0-9]{1,3})?|max)$",
            refuse: refusal::<Self>,
        }
    }

    formatted! {
        Period,
        Format {
            name: "duration",
            expected: "a duration such as 10ms, 1.5s or 16 min",
            pattern: "^ *[0-9]+(\\.[0-9]+)? *(us|µs|ms|s|min|h|d) *$",
            refuse: refusal::<Self>,
        }
    }

    macro_rules! choice {
        ($(#[$doc:meta])* $name:ident($inner:ty), $all:expr, $spelled:expr) => {
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name(pub $inner);

            impl $name {
                /// The word as it stands in a file.
                pub fn word(self) -> &'static str {
                    let spelled: fn($inner) -> &'static str = $spelled;
                    spelled(self.0)
                }

                fn all() -> impl Iterator<Item = ($inner, &'static str)> {
                    let spelled: fn($inner) -> &'static str = $spelled;
                    $all.iter().copied().map(move |one| (one, spelled(one)))
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    Self::all()
                        .find(|(_, name)| *name == text)
                        .map(|(one, _)| Self(one))
                        .ok_or_else(|| serde::de::Error::custom(format!("unknown word `{text}`")))
                }
            }

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    let all: Vec<_> = Self::all().map(|(_, name)| name).collect();
                    schemars::json_schema!({ "type": "string", "enum": all })
                }
            }
        };
    }

    text_word! {
        /// A share of one, in millionths, so that it can be compared.
        Share(u32),
        |text| {
            let (number, of) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent.trim_end(), 100.0));
            let share = number.trim().parse::<f64>().map_err(|_| format!("`{text}` is no share"))? / of;
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("a share of `{text}` is not possible"));
            }
            Ok((share * 1_000_000.0).round() as u32)
        },
        Format {
            name: "share",
            expected: "a share such as 0.25 or 25%, from 0 to 1",
            pattern: "^ *[0-9]*\\.?[0-9]+ *%? *$",
            refuse: refusal::<Self>,
        }
    }

    impl Share {
        /// From 0 to 1.
        pub fn of_one(&self) -> f64 {
            f64::from(self.0) / 1_000_000.0
        }
    }

    choice! {
        /// What can break.
        Target(Dependency),
        Dependency::ALL,
        Dependency::as_str
    }

    choice! {
        /// How something can break.
        Kinds(FaultKind),
        FaultKind::ALL,
        FaultKind::as_str
    }

    /// What can be healed: everything, or one dependency.
    const HEALED: [Option<Dependency>; 7] = [
        None,
        Some(Dependency::Media),
        Some(Dependency::Search),
        Some(Dependency::Mongodb),
        Some(Dependency::Redis),
        Some(Dependency::Kafka),
        Some(Dependency::Consumers),
    ];

    choice! {
        /// What is healed; `all` waits until everything answers.
        Healed(Option<Dependency>),
        HEALED,
        |healed| healed.map_or("all", Dependency::as_str)
    }

    /// The services behind a circuit breaker.
    const SERVICES: [Dependency; 2] = [Dependency::Media, Dependency::Search];

    choice! {
        /// A service that is asked through a circuit breaker.
        Service(Dependency),
        SERVICES,
        Dependency::as_str
    }

    choice! {
        /// The state of a circuit breaker.
        Circuit(BreakerState),
        [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen],
        |state| match state {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }

    choice! {
        /// What becomes of a connection; true for `closed`.
        Then(bool),
        [false, true],
        |closed| if closed { "closed" } else { "connected" }
    }

    choice! {
        /// A conversation's kind.
        Kind(ConversationKind),
        [ConversationKind::Direct, ConversationKind::Group, ConversationKind::Channel],
        ConversationKind::as_str
    }

    choice! {
        /// A message's state as its sender is told.
        State(AckState),
        [AckState::Pending, AckState::Delivered, AckState::Rejected, AckState::Persisted],
        AckState::as_str
    }

    choice! {
        /// A reason code.
        Code(ErrorCode),
        ErrorCode::ALL,
        ErrorCode::as_str
    }

    choice! {
        /// How a message is deleted.
        Mode(DeleteMode),
        [DeleteMode::Soft, DeleteMode::Hard, DeleteMode::ForMe],
        |mode| match mode {
            DeleteMode::Soft => "soft",
            DeleteMode::Hard => "hard",
            DeleteMode::ForMe => "for_me",
        }
    }

    choice! {
        /// The role somebody is added with.
        AddedAs(AddedRole),
        [AddedRole::Member, AddedRole::Admin],
        |role| match role {
            AddedRole::Member => "member",
            AddedRole::Admin => "admin",
        }
    }

    choice! {
        /// What is known of a media item.
        MediaWord(MediaState),
        [MediaState::Verified, MediaState::Unverified, MediaState::Invalid],
        |state| match state {
            MediaState::Verified => "verified",
            MediaState::Unverified => "unverified",
            MediaState::Invalid => "invalid",
        }
    }

    choice! {
        /// A topic of the event log.
        TopicName(Topic),
        Topic::ALL,
        Topic::as_str
    }

    /// The server events a scenario can wait for, as the wire names them.
    const EVENTS: &[&str] = &[
        "message:ack",
        "message:new",
        "message:edited",
        "message:deleted",
        "message:reaction",
        "message:delivered",
        "conversation:updated",
        "error",
    ];

    choice! {
        /// A server event's name.
        Event(&'static str),
        EVENTS,
        |name| name
    }
}

/// The JSON Schema of scenario files, for editors: a variable may stand where a value does.
pub fn schema() -> Schema {
    let mut schema = language_schema().to_value();
    allow_variables(&mut schema);
    Schema::try_from(schema).unwrap_or_else(|_| language_schema())
}

/// The JSON Schema of scenario files with their variables written out.
pub(super) fn language_schema() -> Schema {
    schema_of::<ScenarioFile>()
}

/// The JSON Schema of files that others include, likewise.
pub(super) fn part_schema() -> Schema {
    schema_of::<PartFile>()
}

fn schema_of<T: JsonSchema>() -> Schema {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

/// Lets a text with a variable stand for every value of a schema.
fn allow_variables(schema: &mut Value) {
    const VARIABLE: &str = "\\$\\(";
    let Value::Object(words) = schema else { return };
    for (word, value) in words.iter_mut() {
        match (word.as_str(), value) {
            ("properties" | "$defs", Value::Object(parts)) => parts.values_mut().for_each(allow_variables),
            ("oneOf" | "anyOf", Value::Array(parts)) => parts.iter_mut().for_each(allow_variables),
            ("items" | "additionalProperties", part) => allow_variables(part),
            _ => {}
        }
    }
    if words.get("format").is_some_and(|format| format == CONSTANT) {
        return;
    }
    if let Some(Value::String(pattern)) = words.get_mut("pattern") {
        pattern.push('|');
        pattern.push_str(VARIABLE);
        return;
    }
    let is_list_of_values = words.get("type").is_some_and(|one| one == "array")
        && words["items"]["type"] != "array"
        && words["items"]["$ref"] != "#/$defs/Step";
    let is_truth = words.get("type").is_some_and(|one| one == "boolean");
    if is_list_of_values || is_truth || words.contains_key("enum") {
        let description = words.remove("description");
        let value = Value::Object(std::mem::take(words));
        words.extend(description.map(|description| ("description".to_owned(), description)));
        let variable = serde_json::json!({ "type": "string", "pattern": VARIABLE });
        words.insert("anyOf".to_owned(), Value::Array(vec![value, variable]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_lets_a_variable_stand_for_every_value() {
        let schema = schema().to_value();
        let variable = serde_json::json!({ "type": "string", "pattern": "\\$\\(" });
        assert_eq!(schema["properties"]["users"]["anyOf"][1], variable);
        assert_eq!(schema["properties"]["users"]["anyOf"][0]["items"]["pattern"], "^[A-Za-z0-9_.-]{1,64}$|\\$\\(");
        assert_eq!(schema["$defs"]["Kind"]["anyOf"][1], variable);
        assert!(schema["$defs"]["Kind"]["anyOf"][0]["enum"].is_array());
        assert_eq!(schema["properties"]["steps"]["type"], "array", "steps are no variable");
        assert!(language_schema().to_value()["$defs"]["Kind"]["enum"].is_array());
    }
}
