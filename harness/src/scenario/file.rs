//! The language of scenario files, as types.
//!
//! This is the one place that knows the language: what a file may hold, its JSON Schema and what a wrong file
//! is told (`shape`) all follow from these types and their comments. A new step is a new variant of [`Step`]
//! with its fields, a check of its names in `check` and what it does in `run`.
//!
//! Texts with rules are the types of [`words`]; every value a later check may complain about is an [`At`], so
//! that the complaint has a place.

use std::borrow::Cow;
use std::ops::Deref;

use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::ids::{TempId, UserId};
use ackscope_protocol::text::{MessageText, Title};
use ackscope_protocol::wire::{AckState, ConversationKind};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

use super::period::Period;
use super::tree::Place;
use words::{Line, Name};

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
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, place: spanned.referenced.into() })
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
    /// Everybody who takes part, by id. All are connected before the first step.
    pub users: Vec<At<words::User>>,
    /// What happens, in this order.
    pub steps: Vec<At<Step>>,
    /// Latencies that must be kept, measured from the send to what the client saw.
    #[serde(default)]
    pub budgets: Budgets,
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
    /// Wait until a user has seen an event.
    Wait(Wait),
    /// Expect an acknowledgment of a message, as its sender saw it.
    ExpectAck(ExpectAck),
    /// Expect what users see of a conversation, in the conversation's order.
    ExpectView(ExpectView),
    /// Expect what `message:history` answers, oldest message first.
    ExpectHistory(ExpectHistory),
    /// Drop a user's TCP connection without a goodbye.
    Drop(At<words::User>),
    /// Connect a dropped user again and `sync` what was missed.
    Reconnect(At<words::User>),
    /// Advance the business clock (edit window, mutes, token expiry, cache lifetimes); latencies stay in real time.
    Advance(At<Period>),
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

/// `send`: a message.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Who sends it.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The conversation, by its name in this file.
    pub to: At<Name>,
    /// Its name in this file. Needed when a later step speaks of it.
    #[serde(default)]
    pub id: Option<At<Name>>,
    /// What it says, 1 to 4,096 characters.
    pub text: At<words::Text>,
    /// The message it answers, by its name in this file.
    #[serde(default)]
    pub reply_to: Option<At<Name>>,
    /// The client's own id for it, 1 to 64 characters. Absent: a new one.
    #[serde(default)]
    pub temp_id: Option<At<words::Temp>>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `retry`: an earlier send once more.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The message, by its name in this file.
    pub message: At<Name>,
}

/// `wait`: until a user has seen an event.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Who must see it.
    pub user: At<words::User>,
    /// The server event.
    pub event: At<words::Event>,
    /// Only an event about this message.
    #[serde(default)]
    pub message: Option<At<Name>>,
    /// Only an event about this conversation.
    #[serde(default, rename = "in")]
    pub conversation: Option<At<Name>>,
    /// How long to wait at most. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_ack`: what a message's sender is told.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectAck {
    /// The message, by its name in this file.
    pub message: At<Name>,
    /// The state it must reach.
    pub state: At<words::State>,
    /// The reason code a `rejected` must carry.
    #[serde(default)]
    pub error: Option<At<words::Code>>,
    /// At most this long after the message was last sent. Absent: it only has to come, within 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_view`: what users have seen of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectView {
    /// Whose views.
    pub users: Vec<At<words::User>>,
    /// The conversation, by its name in this file.
    #[serde(rename = "in")]
    pub conversation: At<Name>,
    /// These messages in this order, and no others. `[]` means: nothing at all.
    #[serde(default)]
    pub exactly: Option<Vec<At<Name>>>,
    /// These messages in this order; others may stand between.
    #[serde(default)]
    pub contains: Option<Vec<At<Name>>>,
    /// How long it may take until the view is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_history`: what the service answers about the past.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectHistory {
    /// Who asks.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The conversation, by its name in this file.
    #[serde(rename = "in")]
    pub conversation: At<Name>,
    /// These messages, oldest first, and no others.
    #[serde(default)]
    pub exactly: Option<Vec<At<Name>>>,
    /// These messages, oldest first; others may stand between.
    #[serde(default)]
    pub contains: Option<Vec<At<Name>>>,
    /// The question must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
    /// How long it may take until the history is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

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
}

/// The most a percentile may be. All are of one full histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The median.
    pub p50: Option<Period>,
    /// 90 of 100 are at most this.
    pub p90: Option<Period>,
    /// 99 of 100 are at most this.
    pub p99: Option<Period>,
    /// 999 of 1,000 are at most this.
    #[serde(rename = "p99.9")]
    pub p99_9: Option<Period>,
    /// None is more than this.
    pub max: Option<Period>,
}

/// Texts and words that have rules of their own.
pub mod words {
    use super::{
        AckState, ConversationKind, Cow, Deref, Deserialize, Deserializer, ErrorCode, JsonSchema, MessageText, Period,
        Schema, SchemaGenerator, TempId, Title, UserId,
    };
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
        Line::FORMAT,
        Text::FORMAT,
        TitleText::FORMAT,
        Temp::FORMAT,
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
        /// A name for a conversation or a message in a scenario file.
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

/// The JSON Schema of scenario files.
pub fn schema() -> Schema {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ScenarioFile>()
}
