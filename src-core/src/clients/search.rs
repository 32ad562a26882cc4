//! The search service's client.
//!
//! | call | request | answer |
//! |---|---|---|
//! | [`SearchClient::apply`] | `POST /index` `{operations}` | `{applied}`: as many as were sent |
//! | [`SearchClient::query`] | `POST /query` `{text, conversations, limit, offset}` | `{hits}`: `message_id`, `conversation_id`, best first |
//!
//! Versions are the caller's: a put takes effect only when its version is higher than what the index has of the
//! message, and a removal is final. So operations may arrive in any order, and again.

use std::collections::HashSet;

use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::transport::{Transport, json};
use super::{BreakerState, ClientError, ClientOptions};

/// Most operations of one [`SearchClient::apply`].
pub const BATCH_MAX: usize = 500;

/// One change of the index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum IndexOperation {
    /// The message reads like this now, unless the index knows a version that is as high or it was removed.
    Put {
        /// Which message.
        message_id: MessageId,
        /// Where it stands.
        conversation_id: ConversationId,
        /// Who sent it.
        sender_id: UserId,
        /// What to find it by.
        text: String,
        /// When it was sent.
        created_at: Timestamp,
        /// Grows with every change of the message.
        version: u64,
    },
    /// The message is found no more, whatever arrives later.
    Remove {
        /// Which message.
        message_id: MessageId,
        /// Where it stood.
        conversation_id: ConversationId,
    },
}

/// A message that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SearchHit {
    /// Which message.
    pub message_id: MessageId,
    /// Where it stands.
    pub conversation_id: ConversationId,
}

#[derive(Serialize)]
struct Batch<'a> {
    operations: &'a [IndexOperation],
}

#[derive(Deserialize)]
struct Applied {
    applied: usize,
}

#[derive(Serialize)]
struct Query<'a> {
    text: &'a str,
    conversations: &'a [ConversationId],
    limit: u32,
    offset: u32,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<SearchHit>,
}

/// Asks the search service.
#[derive(Debug)]
pub struct SearchClient {
    transport: Transport,
}

impl SearchClient {
    /// A client; without an address every call is [`ClientError::NotConfigured`].
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::new(options)? })
    }

    /// Whether there is an address.
    pub fn is_configured(&self) -> bool {
        self.transport.is_configured()
    }

    /// State of the circuit.
    pub fn breaker_state(&self) -> BreakerState {
        self.transport.breaker_state()
    }

    /// Applies a batch, in order, in one request: all of it or nothing. At most [`BATCH_MAX`] operations, more are
    /// refused by the service. Applying it again changes nothing.
    pub async fn apply(&self, batch: &[IndexOperation]) -> Result<(), ClientError> {
        if batch.is_empty() && self.is_configured() {
            return Ok(());
        }
        let read = |body: &[u8]| {
            let Applied { applied } = json(body)?;
            if applied == batch.len() { Ok(()) } else { Err(format!("{applied} of {} were applied", batch.len())) }
        };
        let body = Batch { operations: batch };
        self.transport.exchange(Method::POST, &["index"], Some(&body), self.transport.timeout(), read).await
    }

    /// Messages of these conversations with the words of `text`, best first: at most `limit`, after the first
    /// `offset`.
    pub async fn query(
        &self,
        text: &str,
        conversations: &[ConversationId],
        limit: u32,
        offset: u32,
    ) -> Result<Vec<SearchHit>, ClientError> {
        if (conversations.is_empty() || limit == 0) && self.is_configured() {
            return Ok(Vec::new());
        }
        let read = |body: &[u8]| {
            let Hits { hits } = json(body)?;
            if hits.len() > limit as usize {
                return Err(format!("{} hits where {limit} were asked for", hits.len()));
            }
            let conversations: HashSet<_> = conversations.iter().collect();
            if hits.iter().any(|hit| !conversations.contains(&hit.conversation_id)) {
                return Err("a hit is in a conversation that was not asked for".into());
            }
            let messages: HashSet<_> = hits.iter().map(|hit| hit.message_id).collect();
            if messages.len() != hits.len() {
                return Err("a message was found twice".into());
            }
            Ok(hits)
        };
        let body = Query { text, conversations, limit, offset };
        self.transport.exchange(Method::POST, &["query"], Some(&body), self.transport.timeout(), read).await
    }
}
