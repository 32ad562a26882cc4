//! A run's events, sorted by what they are about: messages, users, conversations.
//!
//! Audit, latencies and the timeline all read this, so that they agree on what belongs to which message.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};

use ackscope_protocol::ids::{ConversationId, MessageId, TempId, UserId};
use ackscope_protocol::trace::{ConnectionState, Happening, Stage, TraceEvent};
use ackscope_protocol::wire::{Message, MessageAck, ServerEvent};

/// Everything a run's events say, by message, user and conversation.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Messages in the order of the first thing that was heard of them.
    pub messages: Vec<MessageHistory>,
    index: HashMap<MessageId, usize>,
    /// Users by id; further devices of a person by names of their own.
    pub users: BTreeMap<UserId, UserHistory>,
    /// Whose the further devices are.
    pub devices: BTreeMap<UserId, UserId>,
    /// Who was in a conversation, as the service told it, in the order it was told.
    pub conversations: BTreeMap<ConversationId, Vec<Membership>>,
    /// What each user saw of each conversation as `message:new`, in the order it came.
    pub views: BTreeMap<(UserId, ConversationId), Vec<Viewed>>,
    /// Events the recorder could not keep.
    pub missed: u64,
    /// Whether any stage inside the backend was recorded.
    pub has_stages: bool,
    /// Time of the last event in microseconds since the run began.
    pub end_us: u64,
}

/// What a run says of one message.
#[derive(Clone, Debug)]
pub struct MessageHistory {
    /// The message.
    pub message_id: MessageId,
    /// Where it is; unknown when only a stage was heard of.
    pub conversation_id: Option<ConversationId>,
    /// Who sent it.
    pub sender: Option<UserId>,
    /// The sender's own name for it.
    pub temp_id: Option<TempId>,
    /// Its text.
    pub text: Option<String>,
    /// Each time a client put it on its connection, in microseconds since the run began, ascending.
    pub sent_us: Vec<u64>,
    /// The acknowledgments its sender saw.
    pub acks: Vec<SeenAck>,
    /// Who saw it as `message:new`.
    pub seen: Vec<Receipt>,
    /// Who was told that it is deleted.
    pub deleted_for: Vec<UserId>,
    /// Who was told anything else of it: delivered, edited, reactions.
    pub told: Vec<UserId>,
    /// Texts it was edited to, as people were told: each with who saw it first.
    pub edited_texts: Vec<(UserId, String)>,
    /// Stages inside the backend, with their times in microseconds.
    pub stages: Vec<(u64, Stage)>,
    /// Whether it is a copy made by forwarding, which has no send of its own.
    pub forwarded: bool,
}

impl MessageHistory {
    /// Nothing was heard of it yet.
    pub fn new(message_id: MessageId) -> Self {
        Self {
            message_id,
            conversation_id: None,
            sender: None,
            temp_id: None,
            text: None,
            sent_us: Vec::new(),
            acks: Vec::new(),
            seen: Vec::new(),
            deleted_for: Vec::new(),
            told: Vec::new(),
            edited_texts: Vec::new(),
            stages: Vec::new(),
            forwarded: false,
        }
    }
}

/// An acknowledgment a client saw.
#[derive(Clone, Debug)]
pub struct SeenAck {
    /// When, in microseconds since the run began.
    pub at_us: u64,
    /// Who saw it.
    pub user: UserId,
    /// What it said.
    pub ack: MessageAck,
}

/// A `message:new` a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When, in microseconds since the run began.
    pub at_us: u64,
    /// Who saw it.
    pub user: UserId,
}

/// A message in somebody's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewed {
    /// When it came, in microseconds since the run began.
    pub at_us: u64,
    /// Which message.
    pub message_id: MessageId,
    /// The place in the conversation it came with.
    pub seq: u64,
}

/// Who was in a conversation as of one version of it.
#[derive(Clone, Debug)]
pub struct Membership {
    /// When a client heard of it, in microseconds since the run began.
    pub at_us: u64,
    /// The conversation's version.
    pub version: u64,
    /// Everybody in it.
    pub participants: Vec<UserId>,
}

/// When a user was connected.
#[derive(Clone, Debug, Default)]
pub struct UserHistory {
    /// From and to in microseconds; an open end means until the end of the run.
    pub connected_us: Vec<(u64, Option<u64>)>,
    /// Whether a connection event was recorded at all.
    recorded: bool,
}

impl UserHistory {
    /// Connected without a break from one time to another. Somebody of whose connection nothing was recorded
    /// counts as connected.
    pub fn connected_throughout(&self, from_us: u64, to_us: u64) -> bool {
        !self.recorded
            || self.connected_us.iter().any(|&(up, down)| up <= from_us && down.is_none_or(|down| down >= to_us))
    }

    /// Connected for the first time at or before this time.
    pub fn known_since(&self, at_us: u64) -> bool {
        !self.recorded || self.connected_us.first().is_some_and(|&(up, _)| up <= at_us)
    }

    /// Connected when the run ended.
    pub fn connected_at_end(&self) -> bool {
        !self.recorded || self.connected_us.last().is_some_and(|(_, down)| down.is_none())
    }

    /// When the connection that stood at this time came up, if it was not the user's first one.
    pub fn reconnected_before(&self, at_us: u64) -> Option<u64> {
        self.connected_us.iter().skip(1).map(|&(up, _)| up).rfind(|up| *up <= at_us)
    }

    /// Connected anew between the two times, the first excluded.
    pub fn reconnected_between(&self, from_us: u64, to_us: u64) -> bool {
        self.connected_us.iter().skip(1).any(|&(up, _)| up > from_us && up <= to_us)
    }

    /// The connection went down at or after this time.
    pub fn lost_connection_since(&self, at_us: u64) -> bool {
        self.connected_us.iter().any(|&(_, down)| down.is_some_and(|down| down >= at_us))
    }
}

impl History {
    /// Sorts a run's events. They may come a little out of order, as a recorder keeps them: events of one
    /// source stand in its order, so a stable sort by time loses nothing.
    pub fn of<E: Borrow<TraceEvent>>(events: &[E]) -> Self {
        let mut by_time: Vec<&TraceEvent> = events.iter().map(Borrow::borrow).collect();
        by_time.sort_by_key(|event| event.at_us);
        let mut history = Self::default();
        for event in by_time {
            history.take(event.at_us, &event.what);
        }
        history
    }

    /// What is known of a message.
    pub fn message(&self, message_id: MessageId) -> Option<&MessageHistory> {
        self.index.get(&message_id).and_then(|index| self.messages.get(*index))
    }

    /// What is known of a user; somebody who never connected is an empty history.
    pub fn user(&self, user: &UserId) -> UserHistory {
        self.users.get(user).cloned().unwrap_or_default()
    }

    /// Who a user is on the wire: itself, or the person whose further device it is.
    pub fn person<'a>(&'a self, user: &'a UserId) -> &'a UserId {
        self.devices.get(user).unwrap_or(user)
    }

    fn entry(&mut self, message_id: MessageId) -> &mut MessageHistory {
        let next = self.messages.len();
        let index = *self.index.entry(message_id).or_insert(next);
        if index == next {
            self.messages.push(MessageHistory::new(message_id));
        }
        &mut self.messages[index]
    }

    fn take(&mut self, at_us: u64, what: &Happening) {
        self.end_us = self.end_us.max(at_us);
        match what {
            Happening::Sent { user, message_id, conversation_id, temp_id, text, .. } => {
                let entry = self.entry(*message_id);
                entry.conversation_id = Some(*conversation_id);
                entry.sender = Some(user.clone());
                entry.temp_id = Some(temp_id.clone());
                // What counts is what was sent first.
                if entry.sent_us.is_empty() {
                    entry.text.clone_from(text);
                }
                entry.sent_us.push(at_us);
            }
            Happening::Saw { user, event } => self.saw(at_us, user, event),
            Happening::Answered { conversation: Some(conversation), .. } => self.membership(at_us, conversation),
            Happening::Connection { user, state } => {
                let user = self.users.entry(user.clone()).or_default();
                user.recorded = true;
                match state {
                    ConnectionState::Connected => {
                        if user.connected_us.last().is_none_or(|(_, down)| down.is_some()) {
                            user.connected_us.push((at_us, None));
                        }
                    }
                    ConnectionState::Disconnected { .. } => {
                        if let Some((_, down @ None)) = user.connected_us.last_mut() {
                            *down = Some(at_us);
                        }
                    }
                }
            }
            Happening::Device { user, of } => {
                self.devices.insert(user.clone(), of.clone());
            }
            Happening::Stage { message_id, stage } => {
                self.has_stages = true;
                self.entry(*message_id).stages.push((at_us, stage.clone()));
            }
            Happening::Gap { missed } => self.missed += missed,
            Happening::Answered { .. }
            | Happening::ClockAdvanced { .. }
            | Happening::Fault { .. }
            | Happening::Mark { .. }
            | Happening::Health { .. } => {}
        }
    }

    fn saw(&mut self, at_us: u64, user: &UserId, event: &ServerEvent) {
        match event {
            ServerEvent::Ack(ack) => {
                // The id is derived, so a `pending` without one still finds its message. Somebody else's ACK
                // gives the id it carries: that is a leak, and the audit says so.
                let derived = MessageId::derive(self.person(user), ack.conversation_id, &ack.temp_id);
                let known = self.index.contains_key(&derived);
                let message_id = if known { derived } else { ack.message_id.unwrap_or(derived) };
                let entry = self.entry(message_id);
                entry.conversation_id.get_or_insert(ack.conversation_id);
                entry.acks.push(SeenAck { at_us, user: user.clone(), ack: ack.clone() });
            }
            ServerEvent::New(new) => {
                let Message { message_id, conversation_id, sender_id, text, forwarded_from, seq, .. } = &new.message;
                let entry = self.entry(*message_id);
                entry.conversation_id.get_or_insert(*conversation_id);
                entry.sender.get_or_insert_with(|| sender_id.clone());
                if entry.text.is_none() {
                    entry.text = text.as_deref().map(str::to_owned);
                }
                entry.forwarded |= forwarded_from.is_some();
                entry.seen.push(Receipt { at_us, user: user.clone() });
                let viewed = Viewed { at_us, message_id: *message_id, seq: *seq };
                self.views.entry((user.clone(), *conversation_id)).or_default().push(viewed);
            }
            ServerEvent::Deleted(deleted) => {
                let entry = self.entry(deleted.message_id);
                entry.conversation_id.get_or_insert(deleted.conversation_id);
                entry.deleted_for.push(user.clone());
            }
            ServerEvent::ConversationUpdated(updated) => self.membership(at_us, &updated.conversation),
            ServerEvent::Delivered(told) => self.told(user, told.conversation_id, told.message_id),
            ServerEvent::Reaction(told) => self.told(user, told.conversation_id, told.message_id),
            ServerEvent::Edited(told) => {
                let Message { message_id, conversation_id, text, edited_at, .. } = &told.message;
                self.told(user, *conversation_id, *message_id);
                // `message:edited` also tells of forwards and of checked media.
                if let (Some(text), Some(_)) = (text.as_deref(), edited_at) {
                    let entry = self.entry(*message_id);
                    if !entry.edited_texts.iter().any(|(_, known)| known == text) {
                        entry.edited_texts.push((user.clone(), text.to_owned()));
                    }
                }
            }
            ServerEvent::Error(_) => {}
        }
    }

    fn told(&mut self, user: &UserId, conversation_id: ConversationId, message_id: MessageId) {
        let entry = self.entry(message_id);
        entry.conversation_id.get_or_insert(conversation_id);
        entry.told.push(user.clone());
    }

    fn membership(&mut self, at_us: u64, conversation: &ackscope_protocol::wire::Conversation) {
        let memberships = self.conversations.entry(conversation.conversation_id).or_default();
        if memberships.iter().any(|known| known.version == conversation.version) {
            return;
        }
        memberships.push(Membership {
            at_us,
            version: conversation.version,
            participants: conversation.participants.iter().map(|participant| participant.user_id.clone()).collect(),
        });
        memberships.sort_by_key(|membership| membership.version);
    }
}

/// The start of a text, for a line that speaks of a message: at most `max` characters, one line.
pub fn excerpt(text: &str, max: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut = line.chars().count() > max || text.lines().nth(1).is_some();
    if cut {
        let kept: String = line.chars().take(max.saturating_sub(1)).collect();
        format!("{}…", kept.trim_end())
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_periods_answer_who_was_there() {
        let user = UserHistory { connected_us: vec![(10, Some(20)), (30, None)], recorded: true };
        assert!(user.connected_throughout(10, 20));
        assert!(!user.connected_throughout(9, 12));
        assert!(!user.connected_throughout(15, 31));
        assert!(user.connected_throughout(30, u64::MAX));
        assert!(user.known_since(10) && !user.known_since(9));
        assert!(user.connected_at_end());
        assert!(user.reconnected_between(15, 30) && !user.reconnected_between(30, 40));
        assert!(user.lost_connection_since(20) && !user.lost_connection_since(21));
        assert!(UserHistory::default().connected_throughout(0, 5), "nothing recorded: taken as connected");
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("short", 10), "short");
        assert_eq!(excerpt("exactly ten", 11), "exactly ten");
        assert_eq!(excerpt("rather a long text", 10), "rather a…");
        assert_eq!(excerpt("two\nlines", 10), "two…");
        assert_eq!(excerpt("", 10), "");
    }
}
