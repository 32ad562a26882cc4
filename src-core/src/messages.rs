//! The message service: permission, rules, the way into the log, history (S1.3–S1.5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::text::Cursor;
use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::{History, Message, MessagePage, SendMessage};
use ackscope_protocol::{ConversationId, MessageId, UserId};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::conversations::Conversations;
use crate::limits::Limits;
use crate::log::{EventLog, PublishError, Publishing};
use crate::messaging::{Acknowledgments, Begun, SendOutcome, Tracked};
use crate::probe::Probe;
use crate::record::{self, MessageSent};
use crate::repositories::MessageRepository;
use crate::socket::sessions::Connection;
use crate::tail::{Known, Tail};
use crate::{refusal, rules};

/// A `message:send` that was read off a connection and acknowledged as `pending`.
#[derive(Debug)]
pub struct InboundSend {
    /// What is to be sent.
    pub request: SendMessage,
    /// Its name.
    pub tracked: Tracked,
    /// Who sent it.
    pub connection: Arc<Connection>,
    /// When it was read: its deadline counts from here.
    pub received_at: Instant,
    /// Whether the client waits for the answer of its ack callback.
    pub wants_answer: bool,
}

/// What admitting a message came to.
pub enum Admission {
    /// Decided: refused, or delivered before.
    Decided(SendOutcome),
    /// Handed to the log.
    Publishing(Publishing, Box<Message>),
    /// The same message is on its way already.
    Joined(oneshot::Receiver<SendOutcome>),
}

/// The message service.
pub struct Messages {
    /// Permission checks go through it.
    pub conversations: Arc<Conversations>,
    /// The store.
    pub repository: Arc<dyn MessageRepository>,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// What is delivered and not persisted.
    pub tail: Arc<Tail>,
    /// What senders are told.
    pub acknowledgments: Arc<Acknowledgments>,
    /// Business time.
    pub clock: Clock,
    /// The recorder's probe.
    pub probe: Probe,
    /// Limits.
    pub limits: Limits,
}

impl Messages {
    /// Checks a message and hands it to the log. Called in the order messages were read from a connection, so
    /// that they stand in the log in this order.
    pub async fn admit(&self, send: &InboundSend) -> Admission {
        let checked = match tokio::time::timeout(self.time_left(send), self.check(send)).await {
            Ok(checked) => checked,
            Err(_) => Err(refusal::store_too_slow()),
        };
        let (message, conversation_version, is_known_new) = match checked {
            Ok(Checked::New { message, conversation_version, is_known_new }) => {
                (message, conversation_version, is_known_new)
            }
            Ok(Checked::Already(known)) => {
                let sent = self.acknowledgments.already(&send.tracked, &send.connection, known, &self.tail);
                return Admission::Decided(Ok(sent));
            }
            Err(error) => return self.refuse(send, error),
        };
        match self.acknowledgments.begin(send.tracked.clone(), &send.connection) {
            Begun::Joined(outcome) => return Admission::Joined(outcome),
            Begun::First => {}
        }
        let message_id = message.message_id;
        let payload = MessageSent {
            message: *message,
            conversation_version,
            is_known_new,
            origin: send.connection.id().to_owned(),
        };
        match record::encode(&payload, payload.message.created_at, *message_id.as_uuid()) {
            Ok(record) => Admission::Publishing(self.log.publish(record), Box::new(payload.message)),
            Err(error) => {
                tracing::error!(%error, %message_id, "a message cannot be written");
                let error = WireError::new(ErrorCode::Internal, "the message cannot be written");
                self.acknowledgments.rejected(message_id, &error, false);
                Admission::Decided(Err(error))
            }
        }
    }

    /// Waits for the outcome and tells the sender.
    pub async fn finish(&self, send: &InboundSend, admission: Admission) -> SendOutcome {
        let message_id = send.tracked.message_id;
        let (publishing, mut message) = match admission {
            Admission::Decided(outcome) => return outcome,
            Admission::Joined(outcome) => {
                return match tokio::time::timeout(self.time_left(send), outcome).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) | Err(_) => Err(refusal::publish(&PublishError::OutcomeUnknown)),
                };
            }
            Admission::Publishing(publishing, message) => (publishing, message),
        };
        let result = match tokio::time::timeout(self.time_left(send), publishing).await {
            Ok(result) => result,
            Err(_) => Err(PublishError::OutcomeUnknown),
        };
        match result {
            Ok(position) => {
                self.probe.stage(message_id, || Stage::Published {
                    topic: position.topic.to_string(),
                    partition: position.partition,
                    offset: position.offset,
                });
                message.seq = position.offset;
                let known = self.tail.insert(*message);
                self.acknowledgments.delivered(message_id, known);
                let Tracked { temp_id, .. } = send.tracked.clone();
                Ok(ackscope_protocol::wire::Sent { temp_id, message_id, created_at: known.created_at })
            }
            Err(error) => {
                let refusal = refusal::publish(&error);
                tracing::debug!(%error, %message_id, "a message was not published");
                self.acknowledgments.rejected(message_id, &refusal, error == PublishError::OutcomeUnknown);
                Err(refusal)
            }
        }
    }

    fn refuse(&self, send: &InboundSend, error: WireError) -> Admission {
        self.acknowledgments.refuse(&send.tracked, &send.connection, &error);
        Admission::Decided(Err(error))
    }

    fn time_left(&self, send: &InboundSend) -> Duration {
        self.limits.send_deadline.saturating_sub(send.received_at.elapsed())
    }

    /// Permission first, then whether it was sent before, then what it says.
    async fn check(&self, send: &InboundSend) -> Result<Checked, WireError> {
        let InboundSend { request, tracked, connection, .. } = send;
        let (conversation, source) =
            self.conversations.load(tracked.conversation_id).await.map_err(|error| refusal::store(&error))?;
        let allowed = rules::may_post(conversation.as_deref(), connection.user());
        self.probe.stage(tracked.message_id, || Stage::Permission { source, allowed: allowed.is_ok() });
        allowed?;

        if let Some(known) = self.tail.known(tracked.message_id) {
            return Ok(Checked::Already(known));
        }
        // Without the store the message is published all the same: its id is derived, so whoever reads it twice
        // knows it again.
        let is_known_new = match self.repository.find(tracked.message_id).await {
            Ok(Some(Message { seq, created_at, .. })) => {
                return Ok(Checked::Already(Known { seq, created_at }));
            }
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(%error, "the store could not be asked whether a message was sent before");
                false
            }
        };

        rules::has_content(request)?;
        if !request.media.is_empty() {
            return Err(WireError::new(ErrorCode::MediaUnavailable, "this version has no media service"));
        }
        let parent = match request.reply_to {
            Some(parent) => self.find(tracked.conversation_id, parent).await?,
            None => None,
        };
        if request.reply_to.is_some() {
            rules::may_reply_to(parent.as_ref(), tracked.conversation_id)?;
        }
        if self.tail.unpersisted() >= self.limits.unpersisted_max {
            return Err(WireError::new(ErrorCode::Overloaded, "too many messages wait to be persisted; try again"));
        }
        let message = Message {
            message_id: tracked.message_id,
            conversation_id: tracked.conversation_id,
            sender_id: connection.user().clone(),
            temp_id: Some(tracked.temp_id.clone()),
            text: request.text.clone(),
            media: Vec::new(),
            reply_to: request.reply_to,
            thread_root: parent.as_ref().map(rules::thread_root),
            created_at: self.clock.now(),
            edited_at: None,
            edits: Vec::new(),
            deleted: None,
            reactions: std::collections::BTreeMap::new(),
            forwarded_from: None,
            forward_count: 0,
            seq: 0,
        };
        let conversation_version = conversation.map_or(0, |conversation| conversation.version);
        Ok(Checked::New { message: Box::new(message), conversation_version, is_known_new })
    }

    /// A message of a conversation, wherever it is: delivered and not persisted, or in the store.
    async fn find(&self, conversation_id: ConversationId, message_id: MessageId) -> Result<Option<Message>, WireError> {
        if let Some(message) = self.tail.find(conversation_id, message_id) {
            return Ok(Some((*message).clone()));
        }
        self.repository.find(message_id).await.map_err(|error| refusal::store(&error))
    }

    /// `message:history`: the overlay of delivered messages merged with the store, newest first.
    pub async fn history(&self, caller: &UserId, request: &History) -> Result<MessagePage, WireError> {
        let conversation_id = request.conversation_id;
        let (conversation, _) =
            self.conversations.load(conversation_id).await.map_err(|error| refusal::store(&error))?;
        rules::participant(conversation.as_deref(), caller)?;

        let limit = request.limit.unwrap_or_default().get();
        let before_seq = request.cursor.as_ref().map(read_cursor).transpose()?;
        let in_thread = |message: &Message| {
            request.thread.is_none_or(|root| message.message_id == root || message.thread_root == Some(root))
        };
        // The overlay first: what leaves it meanwhile is in the store already.
        let overlay_limit = if request.thread.is_some() { usize::MAX } else { limit as usize + 1 };
        let mut messages: Vec<Message> = self
            .tail
            .newest(conversation_id, before_seq, overlay_limit)
            .iter()
            .filter(|message| in_thread(message))
            .map(|message| (**message).clone())
            .collect();
        let stored = self
            .repository
            .history(conversation_id, request.thread, before_seq, limit + 1)
            .await
            .map_err(|error| refusal::store(&error))?;
        messages.extend(stored);
        messages.sort_by_key(|message| std::cmp::Reverse(message.seq));
        messages.dedup_by_key(|message| message.message_id);

        let more = messages.len() > limit as usize;
        messages.truncate(limit as usize);
        let next_cursor = messages.last().filter(|_| more).map(write_cursor).transpose()?;
        let messages = messages.iter().map(|message| rules::message_for(message, caller)).collect();
        Ok(MessagePage { messages, next_cursor })
    }
}

/// What the check of a message came to.
enum Checked {
    /// To be published.
    New { message: Box<Message>, conversation_version: u64, is_known_new: bool },
    /// Delivered before.
    Already(Known),
}

/// A cursor is the `seq` the page ended at; to a client it is opaque.
fn write_cursor(last: &Message) -> Result<Cursor, WireError> {
    Cursor::new(last.seq.to_string()).map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))
}

fn read_cursor(cursor: &Cursor) -> Result<u64, WireError> {
    cursor
        .parse()
        .map_err(|_| WireError::new(ErrorCode::InvalidPayload, "field `cursor`: not a cursor of this history"))
}
