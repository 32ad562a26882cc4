//! The service of what happens to messages after they were sent: edits, deletions, reactions, forwards (S1.3).
//!
//! Each of them is one record in the log, decided by the rules on the message as it is now, which is the store with
//! the overlay over it. A request has two parts: what has to stay in the connection's order (the check and the
//! hand-over to the log), and the wait for the log, which others need not wait for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::{
    DeleteMessage, DeleteMode, EditMessage, ForwardMessages, Forwarded, ForwardedMessage, Message, MessageAnswer,
    MessageRef, Nothing, React, ReactionsAnswer, Unreact,
};
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::log::{PublishError, Publishing};
use crate::messages::Messages;
use crate::producers::{self, Outbox};
use crate::record::{self, MessageSent};
use crate::repositories::{ConversationRepository, OutboxEntry, StoredParticipant};
use crate::state::{Change, Found, MessageChange, PlacedChange};
use crate::{refusal, rules};

/// The second part of a request: the answer, when it is known.
pub type Later<T> = BoxFuture<'static, Result<T, WireError>>;

/// How long a forward keeps the connection's later events waiting, so that they come after its copies.
const FORWARD_ORDER_PATIENCE: Duration = Duration::from_millis(50);

/// How long a change whose outcome was not known in time counts as being on its way.
const LATE_PUBLISH_LIMIT: Duration = Duration::from_mins(1);

/// Who asks, and since when.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// When the request was read: its deadline counts from here.
    pub received_at: Instant,
}

/// The service.
pub struct MessageChanges {
    /// Finds messages and publishes.
    pub messages: Arc<Messages>,
    /// Where a forward's records are written, all or none.
    pub outbox_store: Arc<dyn ConversationRepository>,
    /// Tells the relay.
    pub outbox: Arc<Outbox>,
    /// Messages with changes on their way.
    pub on_their_way: Arc<OnTheirWay>,
}

/// A change that passed the check.
enum Begun {
    /// It was handed to the log.
    Publishing {
        /// The message as it was stored, without what the overlay holds.
        raw: Found,
        change: MessageChange,
        publishing: Publishing,
        mark: Mark,
    },
    /// It changes nothing: the message is like that already.
    Nothing(Box<Message>),
}

/// Messages with changes on their way to the log through this node. What such a message is like is not certain: a
/// change that seems to alter nothing may be about to undo one of them.
#[derive(Debug, Default)]
pub struct OnTheirWay {
    counts: Mutex<HashMap<MessageId, usize>>,
}

/// One change on its way; dropping it ends that.
struct Mark {
    message_id: MessageId,
    on_their_way: Arc<OnTheirWay>,
}

impl OnTheirWay {
    fn has(&self, message_id: MessageId) -> bool {
        self.counts.lock().contains_key(&message_id)
    }

    fn mark(self: &Arc<Self>, message_id: MessageId) -> Mark {
        *self.counts.lock().entry(message_id).or_default() += 1;
        Mark { message_id, on_their_way: Arc::clone(self) }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut counts = self.on_their_way.counts.lock();
        if let Some(count) = counts.get_mut(&self.message_id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.message_id);
            }
        }
    }
}

fn done<T: Send + 'static>(result: Result<T, WireError>) -> Later<T> {
    std::future::ready(result).boxed()
}

impl MessageChanges {
    /// `message:edit`.
    pub async fn edit(self: Arc<Self>, caller: Caller, request: EditMessage) -> Later<MessageAnswer> {
        let EditMessage { conversation_id, message_id, text } = request;
        let rule = |entry: &StoredParticipant, message: &Message, now| {
            rules::may_edit(message, &entry.user_id, now)?;
            Ok(Change::Edited { text, created_at: message.created_at })
        };
        match self.begin(&caller, conversation_id, message_id, rule).await {
            Err(error) => done(Err(error)),
            Ok(begun) => async move {
                let message = self.finish(&caller, begun).await?.ok_or_else(refusal::already_deleted)?;
                Ok(MessageAnswer { message: rules::message_for(&message, &caller.user) })
            }
            .boxed(),
        }
    }

    /// `message:delete`.
    pub async fn delete(self: Arc<Self>, caller: Caller, request: DeleteMessage) -> Later<Nothing> {
        let DeleteMessage { conversation_id, message_id, mode } = request;
        let rule = |entry: &StoredParticipant, message: &Message, _| {
            rules::may_delete(message, entry, mode)?;
            Ok(match mode {
                DeleteMode::Soft => Change::DeletedSoft,
                DeleteMode::ForMe => Change::HiddenForMe,
                DeleteMode::Hard => Change::DeletedHard {
                    seq: message.seq,
                    created_at: message.created_at,
                    media: message.media.iter().map(|media| media.media_id).collect(),
                },
            })
        };
        match self.begin(&caller, conversation_id, message_id, rule).await {
            Err(error) => done(Err(error)),
            Ok(begun) => async move {
                self.finish(&caller, begun).await?;
                Ok(Nothing {})
            }
            .boxed(),
        }
    }

    /// `message:react`.
    pub async fn react(self: Arc<Self>, caller: Caller, request: React) -> Later<ReactionsAnswer> {
        let React { conversation_id, message_id, emoji } = request;
        let rule = |_: &StoredParticipant, message: &Message, _| {
            rules::may_react(message, &emoji)?;
            Ok(Change::ReactionAdded { emoji })
        };
        let begun = self.begin(&caller, conversation_id, message_id, rule).await;
        self.reactions(caller, begun)
    }

    /// `message:unreact`.
    pub async fn unreact(self: Arc<Self>, caller: Caller, request: Unreact) -> Later<ReactionsAnswer> {
        let Unreact { conversation_id, message_id, emoji } = request;
        let rule = |_: &StoredParticipant, message: &Message, _| {
            rules::may_unreact(message)?;
            Ok(Change::ReactionRemoved { emoji })
        };
        let begun = self.begin(&caller, conversation_id, message_id, rule).await;
        self.reactions(caller, begun)
    }

    fn reactions(self: Arc<Self>, caller: Caller, begun: Result<Begun, WireError>) -> Later<ReactionsAnswer> {
        match begun {
            Err(error) => done(Err(error)),
            Ok(begun) => async move {
                let message = self.finish(&caller, begun).await?.ok_or_else(refusal::already_deleted)?;
                Ok(ReactionsAnswer { reactions: message.reactions })
            }
            .boxed(),
        }
    }

    fn time_left(&self, caller: &Caller) -> Duration {
        self.messages.limits.send_deadline.saturating_sub(caller.received_at.elapsed())
    }

    /// Checks a change and hands it to the log.
    async fn begin(
        &self,
        caller: &Caller,
        conversation_id: ConversationId,
        message_id: MessageId,
        rule: impl FnOnce(&StoredParticipant, &Message, Timestamp) -> Result<Change, WireError>,
    ) -> Result<Begun, WireError> {
        let messages = &self.messages;
        let checking = async {
            let (conversation, _) =
                messages.conversations.load(conversation_id).await.map_err(|error| refusal::store(&error))?;
            let entry = rules::participant(conversation.as_deref(), &caller.user)?;
            // Before the overlay is read: what ends after this is in there.
            let is_certain = !self.on_their_way.has(message_id);
            let pending = messages.tail.changes_of(conversation_id, Some(message_id));
            let raw = messages.find_raw(conversation_id, message_id).await?;
            let found = raw.clone().map(|raw| pending.apply(message_id, raw));
            let stored = rules::message(found.as_ref(), conversation_id, &caller.user)?;
            let view = stored.view();
            let now = messages.clock.now();
            let what = rule(entry, &view, now)?;
            let change = MessageChange { message_id, conversation_id, by: caller.user.clone(), at: now, what };
            let is_nothing = is_certain && stored.is_same_after(&change);
            Ok((raw.ok_or_else(refusal::not_found)?, change, is_nothing.then_some(view)))
        };
        let checked = tokio::time::timeout(self.time_left(caller), checking).await;
        let (raw, change, same) = checked.unwrap_or_else(|_| Err(refusal::store_too_slow()))?;
        if let Some(view) = same {
            return Ok(Begun::Nothing(Box::new(view)));
        }
        messages.has_room()?;
        let record = record::encode(&change, change.at, *message_id.as_uuid()).map_err(|error| {
            tracing::error!(%error, %message_id, "a change cannot be written");
            WireError::new(ErrorCode::Internal, "the change cannot be written")
        })?;
        let mark = self.on_their_way.mark(message_id);
        Ok(Begun::Publishing { raw, change, publishing: messages.log.publish(record), mark })
    }

    /// Waits for the log, and gives the message as it is then; `None` when it is gone.
    async fn finish(&self, caller: &Caller, begun: Begun) -> Result<Option<Message>, WireError> {
        let (raw, change, mut publishing, mark) = match begun {
            Begun::Nothing(view) => return Ok(Some(*view)),
            Begun::Publishing { raw, change, publishing, mark } => (raw, change, publishing, mark),
        };
        let Ok(published) = tokio::time::timeout(self.time_left(caller), &mut publishing).await else {
            // It stays on its way until the log says what became of it.
            let tail = Arc::clone(&self.messages.tail);
            tokio::spawn(async move {
                if let Ok(Ok(position)) = tokio::time::timeout(LATE_PUBLISH_LIMIT, publishing).await {
                    tail.insert_change(position, PlacedChange { offset: position.offset, change });
                }
                drop(mark);
            });
            return Err(refusal::publish_change(&PublishError::OutcomeUnknown));
        };
        let position = published.map_err(|error| refusal::publish_change(&error))?;
        let (conversation_id, message_id) = (change.conversation_id, change.message_id);
        let placed = PlacedChange { offset: position.offset, change };
        self.messages.tail.insert_change(position, placed.clone());
        drop(mark);
        let pending = self.messages.tail.changes_of(conversation_id, Some(message_id));
        // The own change once more: the store may have it already, and the overlay no longer.
        Ok(match pending.apply(message_id, raw).after([&placed]) {
            Found::There(stored) => Some(stored.view()),
            Found::Gone { .. } => None,
        })
    }

    /// `message:forward`: every copy is made or none. The copies are written to the outbox in one transaction, so
    /// that a crash in the middle leaves no half of them.
    pub async fn forward(self: Arc<Self>, caller: Caller, request: ForwardMessages) -> Later<Forwarded> {
        let limit = self.messages.limits.forward_deadline;
        let deadline = tokio::time::Instant::from_std(caller.received_at + limit);
        let planned = tokio::time::timeout_at(deadline, self.plan(&caller, request)).await;
        let Plan { forwarded, records } = match planned.unwrap_or_else(|_| Err(refusal::store_too_slow())) {
            Ok(plan) => plan,
            Err(error) => return done(Err(error)),
        };
        if records.is_empty() {
            return done(Ok(Forwarded { forwarded }));
        }
        if let Err(error) = self.outbox_store.outbox_add(&records).await {
            return done(Err(refusal::store(&error)));
        }
        self.outbox.wrote();

        let copies: Vec<MessageId> = forwarded.iter().map(|copy| copy.message_id).collect();
        let tail = Arc::clone(&self.messages.tail);
        let in_order = tokio::time::timeout(FORWARD_ORDER_PATIENCE, tail.wait_for(&copies)).await;
        if in_order.is_ok() {
            return done(Ok(Forwarded { forwarded }));
        }
        async move {
            match tokio::time::timeout_at(deadline, tail.wait_for(&copies)).await {
                Ok(()) => Ok(Forwarded { forwarded }),
                Err(_) => Err(refusal::publish(&PublishError::OutcomeUnknown)),
            }
        }
        .boxed()
    }

    /// Checks a forward and writes down what it comes to.
    async fn plan(&self, caller: &Caller, request: ForwardMessages) -> Result<Plan, WireError> {
        rules::forward_limits(&request)?;
        let ForwardMessages { mut messages, mut targets, temp_id } = request;
        keep_first(&mut messages);
        keep_first(&mut targets);

        let service = &self.messages;
        let mut origins = Vec::with_capacity(messages.len());
        for MessageRef { conversation_id, message_id } in messages {
            let (conversation, _) =
                service.conversations.load(conversation_id).await.map_err(|error| refusal::store(&error))?;
            rules::participant(conversation.as_deref(), &caller.user)?;
            let found = service.find(conversation_id, message_id).await?;
            let origin = rules::message(found.as_ref(), conversation_id, &caller.user)?.view();
            rules::may_forward(&origin)?;
            origins.push(origin);
        }
        let mut versions = HashMap::new();
        for target in &targets {
            let (conversation, _) =
                service.conversations.load(*target).await.map_err(|error| refusal::store(&error))?;
            rules::may_post(conversation.as_deref(), &caller.user)?;
            versions.insert(*target, conversation.map_or(0, |conversation| conversation.version));
        }
        service.has_room()?;

        let mut copies = Vec::with_capacity(origins.len() * targets.len());
        for target in &targets {
            for origin in &origins {
                let message_id = MessageId::derive_forward(&caller.user, *target, &temp_id, origin.message_id);
                copies.push((message_id, *target, origin));
            }
        }
        let ids: Vec<MessageId> = copies.iter().map(|(message_id, ..)| *message_id).collect();
        let known = service.known_of(&ids).await;
        let forwarded = copies
            .iter()
            .map(|(message_id, conversation_id, origin)| ForwardedMessage {
                message_id: *message_id,
                conversation_id: *conversation_id,
                origin: MessageRef { conversation_id: origin.conversation_id, message_id: origin.message_id },
            })
            .collect();
        if ids.iter().all(|message_id| known.contains(message_id)) {
            return Ok(Plan { forwarded, records: Vec::new() });
        }

        let now = service.clock.now();
        let mut records = Vec::with_capacity(copies.len() + origins.len());
        for (message_id, target, origin) in copies.iter().filter(|(message_id, ..)| !known.contains(message_id)) {
            let sent = MessageSent {
                message: rules::forwarded_copy(origin, *message_id, *target, &caller.user, &temp_id, now),
                conversation_version: versions.get(target).copied().unwrap_or(0),
                // The outbox may publish it again when another node has told of it already: a reader asks the store.
                is_known_new: false,
                origin: String::new(),
            };
            records.push(entry(&sent, now, *message_id)?);
        }
        for origin in &origins {
            let of_origin = |(_, _, of): &&(MessageId, ConversationId, &Message)| of.message_id == origin.message_id;
            let change = MessageChange {
                message_id: origin.message_id,
                conversation_id: origin.conversation_id,
                by: caller.user.clone(),
                at: now,
                what: Change::Forwarded { copies: copies.iter().filter(of_origin).map(|(id, ..)| *id).collect() },
            };
            records.push(entry(&change, now, origin.message_id)?);
        }
        Ok(Plan { forwarded, records })
    }
}

/// What a forward comes to.
struct Plan {
    forwarded: Vec<ForwardedMessage>,
    /// Empty when all copies are there already.
    records: Vec<OutboxEntry>,
}

fn entry<T: record::Payload>(payload: &T, now: Timestamp, message_id: MessageId) -> Result<OutboxEntry, WireError> {
    producers::outbox_entry(payload, now, *message_id.as_uuid()).map_err(|error| {
        tracing::error!(%error, %message_id, "a forward cannot be written");
        WireError::new(ErrorCode::Internal, "the copy cannot be written")
    })
}

/// Drops what was named before.
fn keep_first<T: Copy + PartialEq>(items: &mut Vec<T>) {
    let mut seen: Vec<T> = Vec::with_capacity(items.len());
    items.retain(|item| {
        let is_new = !seen.contains(item);
        if is_new {
            seen.push(*item);
        }
        is_new
    });
}
