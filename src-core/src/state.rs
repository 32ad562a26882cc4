//! What becomes of a message after it was sent: edits, reactions, deletions, forwards, checks of its media (S1.3).
//!
//! A message as it was sent never changes; what happened to it since is a [`MessageState`] beside it, and
//! [`StoredMessage::view`] is the two together. The state is built from the records of the log alone, and it comes
//! out the same whatever order records of different topics arrive in, however often they are repeated, and whether
//! the message itself came before them or after:
//!
//! - records of one topic and message are in order, because they share a partition; the state remembers how far it
//!   has read each topic and takes nothing twice;
//! - a deletion is stronger than everything else, whenever it arrives.

use std::collections::{BTreeMap, BTreeSet};

use ackscope_protocol::text::{Emoji, MessageText};
use ackscope_protocol::wire::{Deleted, Edit, MediaState, Message, MessageMedia, Reactions};
use ackscope_protocol::{ConversationId, MediaId, MessageId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::log::Topic;

/// Something that happened to a message; the payload of `message.edited` and `message.deleted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageChange {
    /// Which message.
    pub message_id: MessageId,
    /// Where.
    pub conversation_id: ConversationId,
    /// Who did it.
    pub by: UserId,
    /// When, in business time.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Change,
}

/// What can happen to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Its sender gave it another text.
    Edited {
        /// The new text.
        text: MessageText,
        /// When the message was created: a reader that does not have the message yet needs no more than this record.
        created_at: Timestamp,
    },
    /// Somebody reacted.
    ReactionAdded {
        /// With what.
        emoji: Emoji,
    },
    /// Somebody took a reaction back.
    ReactionRemoved {
        /// Which.
        emoji: Emoji,
    },
    /// Somebody forwarded it.
    Forwarded {
        /// The copies.
        copies: Vec<MessageId>,
    },
    /// The media service said what its media is, after the message was accepted.
    MediaChecked {
        /// What each item is.
        media: Vec<MessageMedia>,
    },
    /// Deleted for everybody; a tombstone stays.
    DeletedSoft,
    /// Deleted for everybody; nothing stays.
    DeletedHard {
        /// Its place in the conversation.
        seq: u64,
        /// When it was created.
        created_at: Timestamp,
        /// Its media; an item goes with it when no other message carries it.
        media: Vec<MediaId>,
    },
    /// Hidden from the one who did it.
    HiddenForMe,
}

impl MessageChange {
    /// The topic it travels on (S1.6).
    pub fn topic(&self) -> Topic {
        match self.what {
            Change::DeletedSoft | Change::DeletedHard { .. } | Change::HiddenForMe => Topic::MessageDeleted,
            Change::Edited { .. }
            | Change::ReactionAdded { .. }
            | Change::ReactionRemoved { .. }
            | Change::Forwarded { .. }
            | Change::MediaChecked { .. } => Topic::MessageEdited,
        }
    }
}

/// A change at its place in the log. The partition follows from the conversation, so the offset is enough.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedChange {
    /// Offset in the partition of [`MessageChange::topic`].
    pub offset: u64,
    /// The change.
    pub change: MessageChange,
}

/// A message that was deleted for everybody with nothing left of it but its name, which keeps sending it again safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Its place in the conversation.
    pub seq: u64,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A text the message was given later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The text.
    pub text: MessageText,
    /// When.
    pub at: Timestamp,
}

/// What happened to a message since it was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageState {
    /// The last offset of `message.edited` that is in here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_through: Option<u64>,
    /// The last offset of `message.deleted` that is in here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_through: Option<u64>,
    /// Later texts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Revision>,
    /// Reactions, each emoji's users in the order they reacted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: Reactions,
    /// Its copies. Kept one by one, because a forward that is tried again names them again.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub forwards: BTreeSet<MessageId>,
    /// What later checks of its media said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub media: BTreeMap<MediaId, MediaState>,
    /// Set on a tombstone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
    /// Who does not see it any more.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden_for: BTreeSet<UserId>,
    /// Nothing is left of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
}

impl MessageState {
    /// Takes a change in. False when it was in already, or changes nothing.
    pub fn apply(&mut self, placed: &PlacedChange) -> bool {
        if self.gone.is_some() {
            return false;
        }
        let MessageChange { by, at, what, .. } = &placed.change;
        let through = match placed.change.topic() {
            Topic::MessageDeleted => &mut self.deleted_through,
            _ => &mut self.edited_through,
        };
        if through.is_some_and(|through| placed.offset <= through) {
            return false;
        }
        *through = Some(placed.offset);
        match what {
            Change::DeletedHard { seq, created_at, .. } => {
                // Everything goes, also how far it was read: a message that is gone takes nothing in any more.
                *self = Self { gone: Some(Gone { seq: *seq, created_at: *created_at }), ..Self::default() };
                true
            }
            Change::DeletedSoft if self.deleted.is_none() => {
                self.deleted = Some(Deleted { by: by.clone(), at: *at });
                self.revisions.clear();
                self.reactions.clear();
                self.media.clear();
                true
            }
            Change::DeletedSoft => false,
            Change::HiddenForMe => self.hidden_for.insert(by.clone()),
            Change::Forwarded { copies } => {
                let before = self.forwards.len();
                self.forwards.extend(copies);
                self.forwards.len() > before
            }
            // A tombstone has no text, reactions or media that could change.
            Change::Edited { .. }
            | Change::ReactionAdded { .. }
            | Change::ReactionRemoved { .. }
            | Change::MediaChecked { .. }
                if self.deleted.is_some() =>
            {
                false
            }
            Change::Edited { text, .. } => {
                if self.revisions.last().is_some_and(|last| last.text == *text) {
                    return false;
                }
                self.revisions.push(Revision { text: text.clone(), at: *at });
                true
            }
            Change::ReactionAdded { emoji } => {
                let users = self.reactions.entry(emoji.to_string()).or_default();
                let is_new = !users.contains(by);
                if is_new {
                    users.push(by.clone());
                }
                is_new
            }
            Change::ReactionRemoved { emoji } => {
                let Some(users) = self.reactions.get_mut(&**emoji) else { return false };
                let before = users.len();
                users.retain(|user| user != by);
                let removed = users.len() < before;
                if users.is_empty() {
                    self.reactions.remove(&**emoji);
                }
                removed
            }
            Change::MediaChecked { media } => {
                let mut changed = false;
                for MessageMedia { media_id, media_state } in media {
                    changed |= self.media.insert(*media_id, *media_state) != Some(*media_state);
                }
                changed
            }
        }
    }
}

/// Takes out of a message what its tombstone has not any more. A store keeps no more than
/// [`StoredMessage::view`] shows.
pub(crate) fn remove_content(message: &mut Message) {
    message.text = None;
    message.media.clear();
    message.edits.clear();
    message.edited_at = None;
    message.reactions.clear();
}

/// A message with what happened to it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMessage {
    /// As it was sent, at its place.
    pub message: Message,
    /// What happened to it since.
    pub state: MessageState,
}

impl From<Message> for StoredMessage {
    fn from(message: Message) -> Self {
        Self { message, state: MessageState::default() }
    }
}

impl StoredMessage {
    /// The message as it is now, `temp_id` included.
    pub fn view(&self) -> Message {
        let Self { message, state } = self;
        let mut view = message.clone();
        view.forward_count += state.forwards.len() as u64;
        if let Some(deleted) = &state.deleted {
            view.deleted = Some(deleted.clone());
            remove_content(&mut view);
            return view;
        }
        for Revision { text, at } in &state.revisions {
            // A text that is the same again is no edit. Seen here and not when the change comes in, because the
            // message itself may come later.
            if view.text.as_ref() == Some(text) {
                continue;
            }
            if let Some(earlier) = view.text.replace(text.clone()) {
                view.edits.push(Edit { text: earlier.into_string(), at: *at });
            }
            view.edited_at = Some(*at);
        }
        for media in &mut view.media {
            if let Some(known) = state.media.get(&media.media_id) {
                media.media_state = *known;
            }
        }
        for (emoji, users) in &state.reactions {
            view.reactions.entry(emoji.clone()).or_default().extend(users.iter().cloned());
        }
        view
    }

    /// Whether nobody would see a difference after this change.
    pub fn is_same_after(&self, change: &MessageChange) -> bool {
        let mut after = self.clone();
        let placed = PlacedChange { offset: u64::MAX, change: change.clone() };
        let is_applied = after.state.apply(&placed);
        let is_still_there = after.state.gone == self.state.gone && after.state.hidden_for == self.state.hidden_for;
        !is_applied || (is_still_there && after.view() == self.view())
    }

    /// Whether the viewer deleted it for itself.
    pub fn is_hidden_from(&self, viewer: &UserId) -> bool {
        self.state.hidden_for.contains(viewer)
    }
}

/// What is found under a message's id.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A message.
    There(Box<StoredMessage>),
    /// It was there, and was deleted for everybody with nothing left.
    Gone {
        /// Where it was.
        conversation_id: ConversationId,
        /// What is left.
        gone: Gone,
    },
}

impl Found {
    /// A message and its state together.
    pub fn new(message: Message, state: MessageState) -> Self {
        match state.gone {
            Some(gone) => Self::Gone { conversation_id: message.conversation_id, gone },
            None => Self::There(Box::new(StoredMessage { message, state })),
        }
    }

    /// The same after these changes, which are in the order of the log within each topic.
    #[must_use]
    pub fn after<'a>(self, changes: impl IntoIterator<Item = &'a PlacedChange>) -> Self {
        match self {
            Self::Gone { .. } => self,
            Self::There(stored) => {
                let StoredMessage { message, mut state } = *stored;
                for change in changes {
                    state.apply(change);
                }
                Self::new(message, state)
            }
        }
    }

    /// Its place in the conversation.
    pub fn seq(&self) -> u64 {
        match self {
            Self::There(stored) => stored.message.seq,
            Self::Gone { gone, .. } => gone.seq,
        }
    }

    /// The conversation it is or was in.
    pub fn conversation_id(&self) -> ConversationId {
        match self {
            Self::There(stored) => stored.message.conversation_id,
            Self::Gone { conversation_id, .. } => *conversation_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn message(text: Option<&str>) -> Message {
        Message {
            text: text.map(|text| MessageText::new(text).unwrap()),
            seq: 5,
            ..Message::new(
                MessageId::from_uuid(Uuid::from_u128(1)),
                ConversationId::from_uuid(Uuid::from_u128(2)),
                user("ana"),
                Timestamp::from_millis(0),
            )
        }
    }

    fn placed(offset: u64, by: &str, what: Change) -> PlacedChange {
        let Message { message_id, conversation_id, .. } = message(None);
        let at = Timestamp::from_millis(i64::try_from(offset).unwrap());
        PlacedChange { offset, change: MessageChange { message_id, conversation_id, by: user(by), at, what } }
    }

    fn edited(offset: u64, text: &str) -> PlacedChange {
        let text = MessageText::new(text).unwrap();
        placed(offset, "ana", Change::Edited { text, created_at: Timestamp::from_millis(0) })
    }

    fn react(offset: u64, by: &str, emoji: &str) -> PlacedChange {
        placed(offset, by, Change::ReactionAdded { emoji: Emoji::new(emoji).unwrap() })
    }

    fn unreact(offset: u64, by: &str, emoji: &str) -> PlacedChange {
        placed(offset, by, Change::ReactionRemoved { emoji: Emoji::new(emoji).unwrap() })
    }

    fn hard(offset: u64) -> PlacedChange {
        let what = Change::DeletedHard { seq: 5, created_at: Timestamp::from_millis(0), media: Vec::new() };
        placed(offset, "ana", what)
    }

    fn state(changes: &[PlacedChange]) -> MessageState {
        let mut state = MessageState::default();
        for change in changes {
            state.apply(change);
        }
        state
    }

    #[test]
    fn every_earlier_text_is_kept_with_the_time_it_was_replaced() {
        let state = state(&[edited(1, "two"), edited(2, "two"), edited(3, "three")]);
        let view = StoredMessage { message: message(Some("one")), state }.view();
        assert_eq!(view.text.as_deref(), Some("three"));
        let edits: Vec<_> = view.edits.iter().map(|edit| (edit.text.as_str(), edit.at.as_millis())).collect();
        assert_eq!(edits, [("one", 1), ("two", 3)]);
        assert_eq!(view.edited_at, Some(Timestamp::from_millis(3)));
    }

    #[test]
    fn an_edit_to_the_text_it_has_is_no_edit() {
        let view = StoredMessage { message: message(Some("one")), state: state(&[edited(1, "one")]) }.view();
        assert_eq!((view.edits.len(), view.edited_at), (0, None));
    }

    #[test]
    fn a_change_that_changes_nothing_is_known_before_it_is_made() {
        let stored = StoredMessage { message: message(Some("one")), state: state(&[react(1, "ben", "👍")]) };
        for (change, is_same) in [
            (edited(9, "one"), true),
            (edited(9, "two"), false),
            (react(9, "ben", "👍"), true),
            (react(9, "cleo", "👍"), false),
            (unreact(9, "cleo", "👍"), true),
            (unreact(9, "ben", "👍"), false),
            (placed(9, "ben", Change::HiddenForMe), false),
            (placed(9, "ben", Change::DeletedSoft), false),
            (hard(9), false),
        ] {
            assert_eq!(stored.is_same_after(&change.change), is_same, "{change:?}");
        }
    }

    #[test]
    fn reactions_are_idempotent_for_each_user_and_emoji() {
        let mut state = state(&[react(1, "ben", "👍"), react(2, "cleo", "👍"), react(3, "ben", "👍")]);
        assert_eq!(state.reactions["👍"], [user("ben"), user("cleo")]);
        assert!(state.apply(&unreact(4, "ben", "👍")));
        assert!(!state.apply(&unreact(5, "ben", "👍")));
        assert!(state.apply(&unreact(6, "cleo", "👍")));
        assert!(state.reactions.is_empty());
    }

    #[test]
    fn a_record_that_comes_again_changes_nothing() {
        let changes = [edited(1, "two"), react(2, "ben", "👍"), unreact(3, "ben", "👍"), edited(4, "one")];
        let once = state(&changes);
        let mut again = once.clone();
        for change in &changes {
            assert!(!again.apply(change));
        }
        assert_eq!(again, once);
    }

    #[test]
    fn topics_may_arrive_in_any_order() {
        let edits = [
            edited(1, "two"),
            react(2, "ben", "👍"),
            placed(3, "ben", Change::Forwarded { copies: vec![MessageId::from_uuid(Uuid::from_u128(9))] }),
        ];
        for deletions in [
            vec![placed(0, "ana", Change::DeletedSoft), placed(1, "ben", Change::HiddenForMe)],
            vec![placed(0, "ben", Change::HiddenForMe), hard(1)],
        ] {
            // Every way to merge two lists in order.
            let mut results = Vec::new();
            for mask in 0_u32..1 << 5 {
                if mask.count_ones() != 2 {
                    continue;
                }
                let (mut edits, mut deletions) = (edits.iter(), deletions.iter());
                let order: Vec<PlacedChange> = (0..5)
                    .filter_map(|place| if mask >> place & 1 == 1 { deletions.next() } else { edits.next() })
                    .cloned()
                    .collect();
                results.push(state(&order));
            }
            assert_eq!(results.len(), 10);
            assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
        }
    }

    #[test]
    fn a_tombstone_has_no_content_and_keeps_its_first_deletion() {
        let state = state(&[
            edited(1, "two"),
            react(2, "ben", "👍"),
            placed(1, "cleo", Change::DeletedSoft),
            placed(2, "ana", Change::DeletedSoft),
        ]);
        let view = StoredMessage { message: message(Some("one")), state }.view();
        assert_eq!((view.text, view.edits.len(), view.reactions.len()), (None, 0, 0));
        assert_eq!(view.deleted.map(|deleted| deleted.by), Some(user("cleo")));
    }

    #[test]
    fn nothing_comes_back_after_a_hard_deletion() {
        let mut state = state(&[hard(1)]);
        assert!(!state.apply(&edited(9, "back")));
        assert!(!state.apply(&placed(9, "ana", Change::DeletedSoft)));
        assert!(matches!(Found::new(message(Some("one")), state), Found::Gone { .. }));
    }

    #[test]
    fn a_change_reads_back_as_one_flat_object() {
        let json = serde_json::to_value(react(1, "ben", "👍").change).unwrap();
        assert_eq!((json["change"].as_str(), json["emoji"].as_str()), (Some("reaction_added"), Some("👍")));
        assert_eq!(serde_json::from_value::<MessageChange>(json).unwrap(), react(1, "ben", "👍").change);
    }
}
