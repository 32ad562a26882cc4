//! Steps in which users misbehave, and further devices of a person.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use super::super::period::Period;
use super::At;
use super::words::{self, Name};

/// `connect`: a further device of somebody, which later steps know by a name of its own.
///
/// On the wire it is the same person: what one device sends, the others are told as `message:new`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Whose device it is.
    pub user: At<words::User>,
    /// Its name in this file, such as `ana.phone`; it does what a user does.
    #[serde(rename = "as")]
    pub device: At<words::User>,
}

/// `read_slowly`: a user takes little or nothing off the connection.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadSlowly {
    /// Who.
    pub user: At<words::User>,
    /// One packet is read in each such time. Absent: nothing is read, and heartbeats are not answered.
    #[serde(default)]
    pub every: Option<At<Period>>,
    /// Reads on by itself after this time, while the next steps go on. Absent: with `read_on`, or when the steps end.
    #[serde(default, rename = "for")]
    pub lasts: Option<At<Period>>,
}

/// `flood`: many messages at once, each sent without waiting for what became of the one before.
///
/// Every one must end in an outcome: delivered, `rate_limited`, `overloaded`, or a code that is allowed here.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// Who sends them.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The conversation, by its name in this file.
    pub to: At<Name>,
    /// How many, 1 to 10,000.
    pub count: At<words::Times>,
    /// What each says. Absent: its number.
    #[serde(default)]
    pub text: Option<At<words::Text>>,
    /// How many must be delivered.
    #[serde(default)]
    pub delivered: Option<At<Bounds>>,
    /// How many must be refused because they came too fast.
    #[serde(default)]
    pub rate_limited: Option<At<Bounds>>,
    /// How many must be refused because too many wait.
    #[serde(default)]
    pub overloaded: Option<At<Bounds>>,
    /// Each may also be refused with one of these codes.
    #[serde(default)]
    pub may_be_refused: Vec<At<words::Code>>,
}

/// How many of something there may be; at least one of the two.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// At least so many.
    #[serde(default)]
    pub at_least: Option<At<words::Count>>,
    /// At most so many.
    #[serde(default)]
    pub at_most: Option<At<words::Count>>,
}

/// `request`: any event with any payload, right or wrong. Without `refused` it must be carried out.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRequest {
    /// Who asks.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The event's name, whether or not the wire has it.
    pub event: At<words::Line>,
    /// The payload, as JSON: `$(conversation:NAME)`, `$(message:NAME)` and `$(media:NAME)` in it stand for ids.
    pub payload: At<Payload>,
    /// A field `padding` of so many characters is added, to make it large.
    #[serde(default)]
    pub padding: Option<At<words::Size>>,
    /// It must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
    /// What the sentence of the refusal must contain, such as the field's name.
    #[serde(default)]
    pub says: Option<At<words::Line>>,
}

/// Whatever JSON can say.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Payload(pub Value);

impl JsonSchema for Payload {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Payload".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::default()
    }
}

/// `frame`: a frame of the WebSocket as it is, packet or not. Exactly one of `text` and `bytes`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Who sends it.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// A text frame with this text.
    #[serde(default)]
    pub text: Option<At<String>>,
    /// A binary frame of so many bytes.
    #[serde(default)]
    pub bytes: Option<At<words::Size>>,
    /// What becomes of the connection: `connected` (it answers the next request) or `closed` (it is gone then).
    pub then: At<words::Then>,
    /// What the reason of `closed` must contain.
    #[serde(default)]
    pub reason: Option<At<words::Line>>,
}
