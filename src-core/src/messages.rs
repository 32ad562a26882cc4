//! The message service: permission, rules, the way into the log, history (S1.3–S1.5).

use std::collections::{HashMap, HashSet};
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
use crate::media::Media;
use crate::messaging::{Acknowledgments, Begun, Check, SendOutcome, Tracked};
use crate::planted::{self, Bug};
use crate::probe::Probe;
use crate::record::{self, MessageSent};
use crate::repositories::MessageRepository;
use crate::socket::sessions::Connection;
use crate::state::{Found, MessageState, StoredMessage};
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
    Publishing {
        /// What becomes of it.
        publishing: Publishing,
        /// The message.
        message: Box<Message>,
        /// Whether an earlier attempt may be in the log already.
        is_again: bool,
    },
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
    /// Media of messages.
    pub media: Arc<Media>,
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
        let check = self.acknowledgments.check(&send.tracked, &send.connection);
        let checked = match tokio::time::timeout(self.time_left(send), self.check(send)).await {
            Ok(checked) => checked,
            Err(_) => Err(refusal::store_too_slow()),
        };
        let (message, conversation_version, is_known_new) = match checked {
            Ok(Checked::New { message, conversation_version, is_known_new }) => {
                (message, conversation_version, is_known_new)
            }
            Ok(Checked::Already(known)) => {
                return Admission::Decided(Ok(check.already(known, &self.tail)));
            }
            Err(error) => return self.refuse(send, check, error),
        };
        let is_again = match check.begin() {
            Begun::First => false,
            Begun::Again => true,
            Begun::Joined(outcome) => return Admission::Joined(outcome),
            Begun::Delivered(sent) => return Admission::Decided(Ok(sent)),
        };
        let message_id = message.message_id;
        let payload = MessageSent {
            message: *message,
            conversation_version,
            is_known_new,
            origin: send.connection.id().to_owned(),
        };
        match record::encode(&payload, payload.message.created_at, *message_id.as_uuid()) {
            Ok(record) => {
                let (publishing, message) = (self.log.publish(record), Box::new(payload.message));
                Admission::Publishing { publishing, message, is_again }
            }
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
        let (publishing, mut message, is_again) = match admission {
            Admission::Decided(outcome) => return outcome,
            Admission::Joined(outcome) => {
                return match tokio::time::timeout(self.time_left(send), outcome).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) | Err(_) => Err(refusal::publish(&PublishError::OutcomeUnknown)),
                };
            }
            Admission::Publishing { publishing, message, is_again } => (publishing, message, is_again),
        };
        if planted::is(Bug::AckBeforePublish) {
            let known = Known { seq: 0, created_at: message.created_at };
            self.acknowledgments.delivered(message_id, known);
        }
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
                // The first place counts. Where an earlier attempt may have it, whoever reads the log knows which that is.
                let ids = [message_id];
                let read = tokio::time::timeout(self.time_left(send), self.tail.wait_for(&ids));
                if is_again && read.await.is_err() {
                    let refusal = refusal::publish(&PublishError::OutcomeUnknown);
                    self.acknowledgments.rejected(message_id, &refusal, true);
                    return Err(refusal);
                }
                let known = self.tail.insert(*message);
                self.acknowledgments.delivered(message_id, known);
                Ok(send.tracked.sent(known))
            }
            Err(error) => {
                let refusal = refusal::publish(&error);
                tracing::debug!(%error, %message_id, "a message was not published");
                self.acknowledgments.rejected(message_id, &refusal, error == PublishError::OutcomeUnknown);
                Err(refusal)
            }
        }
    }

    fn refuse(&self, send: &InboundSend, check: Check<'_>, error: WireError) -> Admission {
        // In the log by another attempt, of which this node need not have heard otherwise.
        if error.retryable
            && let Some(known) = self.tail.known(send.tracked.message_id)
        {
            return Admission::Decided(Ok(check.already(known, &self.tail)));
        }
        match check.refuse(error) {
            Ok(outcome) => Admission::Joined(outcome),
            Err(error) => Admission::Decided(Err(error)),
        }
    }

    fn time_left(&self, send: &InboundSend) -> Duration {
        self.limits.send_deadline.saturating_sub(send.received_at.elapsed())
    }

    /// The payload first, then permission, then whether it was sent before, then what it answers.
    async fn check(&self, send: &InboundSend) -> Result<Checked, WireError> {
        let InboundSend { request, tracked, connection, .. } = send;
        rules::has_content(request)?;
        let (conversation, source) =
            self.conversations.load(tracked.conversation_id).await.map_err(|error| refusal::store(&error))?;
        let allowed = rules::may_post(conversation.as_deref(), connection.user());
        self.probe.stage(tracked.message_id, || Stage::Permission { source, allowed: allowed.is_ok() });
        allowed?;

        let mut message_id = tracked.message_id;
        if let Some(known) = self.tail.known(message_id) {
            if !planted::is(Bug::NoDedupe) {
                return Ok(Checked::Already(known));
            }
            message_id = planted::another_id();
        }
        // Without the store the message is published all the same: its id is derived, so whoever reads it twice
        // knows it again.
        let is_known_new = match self.repository.find(message_id).await {
            Ok(Some(_)) if planted::is(Bug::NoDedupe) => {
                message_id = planted::another_id();
                true
            }
            Ok(Some(found)) => return Ok(Checked::Already(known_from(&found))),
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(%error, "the store could not be asked whether a message was sent before");
                false
            }
        };

        let parent = match request.reply_to {
            None => None,
            Some(parent) => {
                let found = self.find(tracked.conversation_id, parent).await?;
                let parent = rules::message(found.as_ref(), tracked.conversation_id, connection.user())?.view();
                rules::may_reply_to(&parent)?;
                Some(parent)
            }
        };
        self.has_room()?;
        let media = self.media.check(connection.user(), &request.media).await?;
        if !media.is_empty() {
            self.probe.stage(tracked.message_id, || Stage::MediaChecked { items: media.len() as u32 });
        }
        let message = Message {
            temp_id: Some(tracked.temp_id.clone()),
            text: request.text.clone(),
            media,
            reply_to: request.reply_to,
            thread_root: parent.as_ref().map(rules::thread_root),
            ..Message::new(message_id, tracked.conversation_id, connection.user().clone(), self.clock.now())
        };
        let conversation_version = conversation.map_or(0, |conversation| conversation.version);
        Ok(Checked::New { message: Box::new(message), conversation_version, is_known_new })
    }

    /// Whether the overlay takes one more.
    pub fn has_room(&self) -> Result<(), WireError> {
        if self.tail.unpersisted() >= self.limits.unpersisted_max {
            return Err(WireError::new(ErrorCode::Overloaded, "too many messages wait to be persisted; try again"));
        }
        Ok(())
    }

    /// A message of a conversation as it is now, wherever it is: delivered and not persisted, or in the store.
    pub async fn find(
        &self,
        conversation_id: ConversationId,
        message_id: MessageId,
    ) -> Result<Option<Found>, WireError> {
        let pending = self.tail.changes_of(conversation_id, Some(message_id));
        let raw = self.find_raw(conversation_id, message_id).await?;
        Ok(raw.map(|raw| pending.apply(message_id, raw)))
    }

    /// The same without the changes that the overlay holds.
    pub async fn find_raw(
        &self,
        conversation_id: ConversationId,
        message_id: MessageId,
    ) -> Result<Option<Found>, WireError> {
        if let Some(message) = self.tail.find(conversation_id, message_id) {
            return Ok(Some(Found::new((*message).clone(), MessageState::default())));
        }
        self.repository.find(message_id).await.map_err(|error| refusal::store(&error))
    }

    /// Several messages as they are now.
    pub async fn find_many(
        &self,
        messages: &[(ConversationId, MessageId)],
    ) -> Result<HashMap<MessageId, Found>, WireError> {
        // The overlay of every conversation first, then the store.
        let mut pending = HashMap::new();
        let mut found = HashMap::new();
        let mut others = Vec::new();
        for (conversation_id, message_id) in messages {
            pending.entry(*conversation_id).or_insert_with(|| self.tail.changes_of(*conversation_id, None));
            match self.tail.find(*conversation_id, *message_id) {
                Some(message) => {
                    found.insert(*message_id, Found::new((*message).clone(), MessageState::default()));
                }
                None => others.push(*message_id),
            }
        }
        if !others.is_empty() {
            found.extend(self.repository.find_many(&others).await.map_err(|error| refusal::store(&error))?);
        }
        let as_of_now = |(message_id, found): (MessageId, Found)| match pending.get(&found.conversation_id()) {
            Some(changes) => (message_id, changes.apply(message_id, found)),
            None => (message_id, found),
        };
        Ok(found.into_iter().map(as_of_now).collect())
    }

    /// Which of these messages are there already. Without the store the others are published all the same, and
    /// whoever reads them twice knows them again.
    pub async fn known_of(&self, message_ids: &[MessageId]) -> HashSet<MessageId> {
        let is_known = |message_id: &MessageId| self.tail.known(*message_id).is_some();
        let (mut known, others): (HashSet<MessageId>, HashSet<MessageId>) =
            message_ids.iter().copied().partition(is_known);
        if others.is_empty() {
            return known;
        }
        let others: Vec<MessageId> = others.into_iter().collect();
        match self.repository.find_many(&others).await {
            Ok(found) => known.extend(found.into_keys()),
            Err(error) => tracing::warn!(%error, "the store could not be asked whether messages were sent before"),
        }
        known
    }

    /// `message:history`: the overlay merged with the store, newest first, as the caller may see it.
    pub async fn history(&self, caller: &UserId, request: &History) -> Result<MessagePage, WireError> {
        let conversation_id = request.conversation_id;
        let (conversation, _) =
            self.conversations.load(conversation_id).await.map_err(|error| refusal::store(&error))?;
        rules::participant(conversation.as_deref(), caller)?;

        let limit = request.limit.unwrap_or_default().get();
        let mut before_seq = request.cursor.as_ref().map(read_cursor).transpose()?;
        let mut messages: Vec<Message> = Vec::new();
        // One more than asked for says whether there is a next page. What the overlay hides makes a page shorter
        // than asked for: then the next one fills it up.
        let wanted = limit + 1;
        loop {
            let missing = wanted - messages.len() as u32;
            let (page, last_seq) = self.page(caller, conversation_id, request.thread, before_seq, missing).await?;
            messages.extend(page);
            match last_seq {
                Some(last_seq) if messages.len() < wanted as usize => before_seq = Some(last_seq),
                _ => break,
            }
        }
        let more = messages.len() > limit as usize;
        messages.truncate(limit as usize);
        let next_cursor = messages.last().filter(|_| more).map(write_cursor).transpose()?;
        let messages = messages.iter().map(|message| rules::message_for(message, caller)).collect();
        Ok(MessagePage { messages, next_cursor })
    }

    /// Up to `limit` messages below `before_seq` that the caller sees, and the place up to which they were looked
    /// for; `None` at the end of the conversation.
    async fn page(
        &self,
        caller: &UserId,
        conversation_id: ConversationId,
        thread: Option<MessageId>,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<(Vec<Message>, Option<u64>), WireError> {
        let in_thread = |message: &Message| {
            thread.is_none_or(|root| message.message_id == root || message.thread_root == Some(root))
        };
        // The overlay first: what leaves it meanwhile is in the store already.
        let pending = self.tail.changes_of(conversation_id, None);
        let overlay_limit = if thread.is_some() { usize::MAX } else { limit as usize };
        let mut found: Vec<StoredMessage> = self
            .tail
            .newest(conversation_id, before_seq, overlay_limit)
            .iter()
            .filter(|message| in_thread(message))
            .map(|message| StoredMessage::from((**message).clone()))
            .collect();
        let stored = self
            .repository
            .history(conversation_id, Some(caller), thread, before_seq, limit)
            .await
            .map_err(|error| refusal::store(&error))?;
        found.extend(stored);
        found.sort_by_key(|stored| std::cmp::Reverse(stored.message.seq));
        found.dedup_by_key(|stored| stored.message.message_id);
        found.truncate(limit as usize);
        let is_end = found.len() < limit as usize;
        let last_seq = found.last().map(|stored| stored.message.seq).filter(|_| !is_end);
        let visible = found.into_iter().filter_map(|stored| {
            let StoredMessage { message, state } = stored;
            let message_id = message.message_id;
            match pending.apply(message_id, Found::new(message, state)) {
                Found::There(stored) if !stored.is_hidden_from(caller) => Some(stored.view()),
                Found::There(_) | Found::Gone { .. } => None,
            }
        });
        Ok((visible.collect(), last_seq))
    }
}

/// Where a message stands that the store knows.
fn known_from(found: &Found) -> Known {
    match found {
        Found::There(stored) => Known { seq: stored.message.seq, created_at: stored.message.created_at },
        Found::Gone { gone, .. } => Known { seq: gone.seq, created_at: gone.created_at },
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
