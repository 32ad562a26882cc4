//! What happened in a run, as typed events with times (S3.4).
//!
//! A run is a list of [`TraceEvent`]s in the order they were recorded. The same list drives the live
//! timeline, the audit, the reports and a reopened recording, so everything a view shows must be in here.

use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::ids::{ConversationId, MessageId, TempId, UserId};
use crate::wire::{Conversation, ServerEvent};

/// Version of the trace format; a reader refuses what it does not know.
pub const TRACE_VERSION: u32 = 1;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// Real time in microseconds since the run began; never the business clock.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Happening {
    /// A simulated user's client put a `message:send` on its connection.
    Sent {
        /// Who.
        user: UserId,
        /// Known before the service answers, because it is derived ([`MessageId::derive`]).
        message_id: MessageId,
        /// Where.
        conversation_id: ConversationId,
        /// The client's own name for the message.
        temp_id: TempId,
        /// The text, if any.
        text: Option<String>,
        /// The message it answers.
        reply_to: Option<MessageId>,
        /// 1 for the first send of this `temp_id`, 2 for the first retry, and so on.
        attempt: u32,
    },
    /// A simulated user's client received an event: acknowledgments, messages, changes.
    Saw {
        /// Who.
        user: UserId,
        /// What, exactly as it came.
        event: ServerEvent,
    },
    /// A simulated user's client got the answer of a request.
    Answered {
        /// Who.
        user: UserId,
        /// The request's event name.
        request: String,
        /// The conversation the answer carried, if it carried one.
        conversation: Option<Conversation>,
        /// Why it was refused, if it was.
        error: Option<WireError>,
    },
    /// A simulated user's connection came up or went down.
    Connection {
        /// Who.
        user: UserId,
        /// The new state.
        state: ConnectionState,
    },
    /// A simulated user is a further device of somebody: in this list a name of its own, on the wire the person.
    Device {
        /// The device's name.
        user: UserId,
        /// Whose it is.
        of: UserId,
    },
    /// A message reached a stage inside the backend.
    Stage {
        /// Which message.
        message_id: MessageId,
        /// Which stage.
        stage: Stage,
    },
    /// The business clock was advanced.
    ClockAdvanced {
        /// By how many milliseconds.
        by_ms: u64,
    },
    /// A fault began or ended.
    Fault {
        /// What it is on, such as `search` or `kafka`.
        target: String,
        /// What it does, such as `outage`.
        kind: String,
        /// Whether it began (else it ended).
        active: bool,
    },
    /// Somebody set a mark: a scenario's step, a note by hand.
    Mark {
        /// One line.
        text: String,
    },
    /// Events could not be recorded because the recorder's queue was full.
    Gap {
        /// How many were lost.
        missed: u64,
    },
    /// A figure of the backend's health, sampled once a second when it changed ([`figure`] has the names).
    Health {
        /// What, such as `lag.message-persistence.message.sent.3`.
        name: String,
        /// How much.
        value: f64,
    },
}

/// State of a simulated user's connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ConnectionState {
    /// The namespace is joined.
    Connected,
    /// Not connected.
    Disconnected {
        /// Why, one line.
        reason: String,
    },
}

/// Where a permission answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionSource {
    /// The cache held the conversation.
    Cache,
    /// The store was asked.
    Store,
}

/// The stages of a message inside the backend, in the order of the picture in S1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The socket service read the event off a connection.
    Received,
    /// The `pending` ACK was handed to the connection.
    Pending,
    /// The permission check was answered.
    Permission {
        /// From where.
        source: PermissionSource,
        /// Whether it was allowed.
        allowed: bool,
    },
    /// The media service was asked.
    MediaChecked {
        /// How many items.
        items: u32,
    },
    /// The event log accepted the record.
    Published {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The offset.
        offset: u64,
    },
    /// The `delivered` ACK was handed to the connection.
    Delivered {
        /// The message's place in the conversation.
        seq: u64,
    },
    /// The `rejected` ACK was handed to the connection.
    Rejected {
        /// Why.
        error: WireError,
    },
    /// A node emitted `message:new` to its own sockets.
    Broadcast {
        /// How many connections it went to.
        recipients: u32,
    },
    /// A consumer read the record.
    Consumed {
        /// The consumer group.
        group: String,
        /// The partition.
        partition: u32,
        /// The offset.
        offset: u64,
    },
    /// The message is in the store.
    Persisted {
        /// False when it was there already (a replay).
        inserted: bool,
        /// How many messages the bulk held.
        bulk: u32,
    },
    /// The confirmation came back to the socket service over `message.delivered`.
    Confirmed,
    /// The search service indexed it.
    Indexed,
    /// It could not be processed and went to the dead-letter topic.
    DeadLettered {
        /// Why, one line.
        reason: String,
    },
}

impl Stage {
    /// A name for people, as views and the text timeline print it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Pending => "pending",
            Self::Permission { .. } => "permission",
            Self::MediaChecked { .. } => "media checked",
            Self::Published { .. } => "published",
            Self::Delivered { .. } => "delivered",
            Self::Rejected { .. } => "rejected",
            Self::Broadcast { .. } => "broadcast",
            Self::Consumed { .. } => "consumed",
            Self::Persisted { .. } => "persisted",
            Self::Confirmed => "confirmed",
            Self::Indexed => "indexed",
            Self::DeadLettered { .. } => "dead-lettered",
        }
    }
}

/// Names of [`Happening::Health`]. A dot stands between the parts; numbers of partitions come last.
pub mod figure {
    /// `lag.<group>.<topic>.<partition>`: records before a consumer group.
    pub const LAG: &str = "lag";
    /// `depth.<topic>.<partition>`: records in a partition.
    pub const DEPTH: &str = "depth";
    /// Permission answers that came from the cache, since the run began.
    pub const CACHE_HITS: &str = "cache.hits";
    /// Permission answers that came from the store, since the run began.
    pub const CACHE_MISSES: &str = "cache.misses";
    /// `breaker.media` and `breaker.search`: 0 closed, 1 half open, 2 open.
    pub const BREAKER: &str = "breaker";
    /// Connections of the socket service.
    pub const CONNECTIONS: &str = "connections";
    /// Messages that are delivered and not known to be persisted.
    pub const UNPERSISTED: &str = "unpersisted";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let event = TraceEvent {
            at_us: 12,
            what: Happening::Stage {
                message_id: "7d444840-9dc0-11d1-b245-5ffdce74fad2".parse().unwrap(),
                stage: Stage::Published { topic: "message.sent".into(), partition: 3, offset: 9 },
            },
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["type"], "stage");
        assert_eq!(json["stage"]["topic"], "message.sent");
        assert_eq!(serde_json::from_value::<TraceEvent>(json).unwrap(), event);
    }
}
