//! Steps in which users do something: the fields of every client event.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::period::Period;
use super::At;
use super::words::{self, Name};

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
    /// What it says, 1 to 4,096 characters. Absent: nothing, there is only media.
    #[serde(default)]
    pub text: Option<At<words::Text>>,
    /// What it carries, by the names of uploads in this file; at most 10.
    #[serde(default)]
    pub media: Vec<At<Name>>,
    /// The message it answers, by its name in this file.
    #[serde(default)]
    pub reply_to: Option<At<Name>>,
    /// The client's own id for it, 1 to 64 characters. Absent: a new one.
    #[serde(default)]
    pub temp_id: Option<At<words::Temp>>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
    /// The attempt may be delivered, or be refused with one of these codes: under a fault both may be right.
    #[serde(default)]
    pub may_be_refused: Vec<At<words::Code>>,
}

/// `retry`: an earlier send once more.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The message, by its name in this file.
    pub message: At<Name>,
}

/// `edit`: another text for a message.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Who edits it.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The message, by its name in this file.
    pub message: At<Name>,
    /// The new text, 1 to 4,096 characters.
    pub text: At<words::Text>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `delete`: a message goes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Who deletes it.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The message, by its name in this file.
    pub message: At<Name>,
    /// `soft`: a tombstone stays. `hard`: nothing stays. `for_me`: hidden from the caller alone.
    pub mode: At<words::Mode>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `react` and `unreact`: an emoji on a message.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct React {
    /// Who reacts.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The message, by its name in this file.
    pub message: At<Name>,
    /// The emoji.
    pub emoji: At<words::Reaction>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `forward`: copies of messages in other conversations. All are made or none.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Who forwards.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The messages, by their names in this file.
    pub messages: Vec<At<Name>>,
    /// The conversations they are copied to, by their names in this file.
    pub to: Vec<At<Name>>,
    /// Names for the copies in this file: for each conversation of `to` in turn, one for each message in turn.
    #[serde(default)]
    pub ids: Option<Vec<At<Name>>>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `add_participant`: somebody comes into a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddParticipant {
    /// Who adds them.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The conversation, by its name in this file.
    #[serde(rename = "in")]
    pub conversation: At<Name>,
    /// Who comes in.
    #[serde(rename = "user")]
    pub who: At<words::User>,
    /// With which role. Absent: `member`.
    #[serde(default)]
    pub role: Option<At<words::AddedAs>>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `remove_participant`: somebody has to go.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveParticipant {
    /// Who removes them.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The conversation, by its name in this file.
    #[serde(rename = "in")]
    pub conversation: At<Name>,
    /// Who has to go.
    #[serde(rename = "user")]
    pub who: At<words::User>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `mute`: no notifications of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    /// Who mutes it.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The conversation, by its name in this file.
    #[serde(rename = "in")]
    pub conversation: At<Name>,
    /// For how long, in whole seconds. Absent: for good.
    #[serde(default, rename = "for")]
    pub period: Option<At<Period>>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `leave`, `unmute`, `archive` and `unarchive`: a conversation is all they need.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfConversation {
    /// Who does it.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The conversation, by its name in this file.
    #[serde(rename = "in")]
    pub conversation: At<Name>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}

/// `upload`: a picture for later sends. Its bytes are put at the address the media service gives.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// Who uploads it, and may send it.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// Its name in this file.
    pub id: At<Name>,
    /// The name of the file. Absent: `picture.png`.
    #[serde(default)]
    pub file: Option<At<words::File>>,
    /// The attempt must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
}
