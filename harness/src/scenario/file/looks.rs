//! Steps in which something is expected: of acknowledgments, views, answers, store, cache and log.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::period::Period;
use super::At;
use super::words::{self, Name};

/// Reactions: each emoji with everybody who reacted with it. `{}` means: none at all.
pub type Reactions = BTreeMap<String, Vec<At<words::User>>>;

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

/// `expect_message`: what users see of one message, as events told their clients.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectMessage {
    /// Whose views.
    pub users: Vec<At<words::User>>,
    /// The message, by its name in this file.
    pub message: At<Name>,
    /// The text they see.
    #[serde(default)]
    pub text: Option<At<words::Text>>,
    /// Whether it is marked as edited.
    #[serde(default)]
    pub edited: Option<bool>,
    /// Whether they see a tombstone.
    #[serde(default)]
    pub deleted: Option<bool>,
    /// All reactions they see.
    #[serde(default)]
    pub reactions: Option<At<Reactions>>,
    /// All media they see, by the names of uploads in this file.
    #[serde(default)]
    pub media: Option<Vec<At<Name>>>,
    /// Whether they do not see the message at all.
    #[serde(default)]
    pub absent: Option<At<bool>>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_conversation`: what users know of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectConversation {
    /// Whose views.
    pub users: Vec<At<words::User>>,
    /// The conversation, by its name in this file.
    #[serde(rename = "in")]
    pub conversation: At<Name>,
    /// Everybody who is in it, in any order.
    #[serde(default)]
    pub participants: Option<Vec<At<words::User>>>,
    /// Who owns it.
    #[serde(default)]
    pub owner: Option<At<words::User>>,
    /// Whether these users muted it, and the time is not over.
    #[serde(default)]
    pub muted: Option<bool>,
    /// Whether these users archived it.
    #[serde(default)]
    pub archived: Option<bool>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_conversations`: what `conversation:list` answers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectConversations {
    /// Who asks.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The archived ones instead of the others.
    #[serde(default)]
    pub archived: bool,
    /// These conversations, and no others.
    #[serde(default)]
    pub exactly: Option<Vec<At<Name>>>,
    /// These conversations, and perhaps others.
    #[serde(default)]
    pub contains: Option<Vec<At<Name>>>,
    /// The question must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_search`: what `search:query` finds.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectSearch {
    /// Who asks.
    #[serde(rename = "as")]
    pub user: At<words::User>,
    /// The words to look for.
    pub text: At<words::Text>,
    /// Only in this conversation, by its name in this file.
    #[serde(default, rename = "in")]
    pub conversation: Option<At<Name>>,
    /// These messages, and no others. `[]` means: nothing at all.
    #[serde(default)]
    pub exactly: Option<Vec<At<Name>>>,
    /// These messages, and perhaps others.
    #[serde(default)]
    pub contains: Option<Vec<At<Name>>>,
    /// The question must be refused with this code.
    #[serde(default)]
    pub refused: Option<At<words::Code>>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_stored`: how the store holds a message.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectStored {
    /// The message, by its name in this file.
    pub message: At<Name>,
    /// Its text.
    #[serde(default)]
    pub text: Option<At<words::Text>>,
    /// How many earlier texts are kept.
    #[serde(default)]
    pub edits: Option<At<words::Count>>,
    /// Whether it is a tombstone.
    #[serde(default)]
    pub deleted: Option<bool>,
    /// All its reactions.
    #[serde(default)]
    pub reactions: Option<At<Reactions>>,
    /// All its media, by the names of uploads in this file.
    #[serde(default)]
    pub media: Option<Vec<At<Name>>>,
    /// What is known of every item of its media.
    #[serde(default)]
    pub media_state: Option<At<words::MediaWord>>,
    /// Whether the store does not hold the message.
    #[serde(default)]
    pub absent: Option<At<bool>>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_cached`: whether the cache holds a conversation. One it holds has the version of the store.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectCached {
    /// The conversation, by its name in this file.
    pub conversation: At<Name>,
    /// Whether it is there.
    pub present: bool,
    /// What is left of its hour, in business time.
    #[serde(default)]
    pub ttl: Option<At<Lifetime>>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// How long something may still last; at least one of the two.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lifetime {
    /// At least so long.
    #[serde(default)]
    pub at_least: Option<At<Period>>,
    /// At most so long.
    #[serde(default)]
    pub at_most: Option<At<Period>>,
}

/// `expect_breaker`: the circuit before the media or the search service.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectBreaker {
    /// The service.
    pub of: At<words::Service>,
    /// `closed`: calls go through. `open`: they are refused at once. `half_open`: the next one is a trial.
    pub state: At<words::Circuit>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_log`: records of the event log about a message or a conversation.
///
/// The key of every one must be the conversation's id, and each must carry the header `traceparent`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectLog {
    /// The topic.
    pub topic: At<words::TopicName>,
    /// Records about this message, by its name in this file.
    #[serde(default)]
    pub message: Option<At<Name>>,
    /// Records about this conversation, by its name in this file.
    #[serde(default)]
    pub conversation: Option<At<Name>>,
    /// How many there are, exactly.
    pub count: At<words::Count>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}

/// `expect_dead_letters`: records that could not be processed and were set aside.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectDeadLetters {
    /// How many there are, exactly.
    pub count: At<words::Count>,
    /// How long it may take until it is so. Absent: 5 s.
    #[serde(default)]
    pub within: Option<At<Period>>,
}
