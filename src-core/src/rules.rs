//! The business rules: pure functions over values (S1.2–S1.4). No I/O, no clock; time comes in as a value.

use std::collections::HashSet;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::{
    Conversation, ConversationKind, ConversationSettings, CreateConversation, Message, Participant, Role, SendMessage,
};
use ackscope_protocol::{ConversationId, Timestamp, UserId};

use crate::refusal;
use crate::repositories::{StoredConversation, StoredParticipant};

/// The caller as a participant. A conversation the caller never was in answers like one that does not exist;
/// one who was removed is told so (S1.8).
pub fn participant<'a>(
    conversation: Option<&'a StoredConversation>,
    caller: &UserId,
) -> Result<&'a StoredParticipant, WireError> {
    let entry = conversation.and_then(|conversation| conversation.participants.iter().find(|p| p.user_id == *caller));
    match entry {
        None => Err(refusal::not_found()),
        Some(entry) if entry.removed_at.is_some() => {
            Err(WireError::new(ErrorCode::NotParticipant, "you are no longer in this conversation"))
        }
        Some(entry) => Ok(entry),
    }
}

/// Whether the caller may post: everybody in it, in a channel only owner and admins (S1.2).
pub fn may_post(conversation: Option<&StoredConversation>, caller: &UserId) -> Result<(), WireError> {
    let entry = participant(conversation, caller)?;
    match conversation.map(|conversation| conversation.kind) {
        Some(ConversationKind::Channel) if entry.role == Role::Member => {
            Err(WireError::new(ErrorCode::RoleForbidden, "only the owner and admins post in a channel"))
        }
        _ => Ok(()),
    }
}

/// Whether a message says anything: text, media or both (S1.3).
pub fn has_content(request: &SendMessage) -> Result<(), WireError> {
    if request.text.is_none() && request.media.is_empty() {
        return Err(WireError::new(ErrorCode::InvalidPayload, "field `text`: a message has text, media or both"));
    }
    Ok(())
}

/// Whether `parent` can be answered in this conversation (S1.3).
pub fn may_reply_to(parent: Option<&Message>, conversation_id: ConversationId) -> Result<(), WireError> {
    match parent {
        Some(parent) if parent.conversation_id == conversation_id => Ok(()),
        // A message of another conversation is not told apart from none at all.
        _ => Err(refusal::not_found()),
    }
}

/// The thread a reply belongs to: its parent's, else its parent starts one.
pub fn thread_root(parent: &Message) -> ackscope_protocol::MessageId {
    parent.thread_root.unwrap_or(parent.message_id)
}

/// The conversation a request asks for. `new_id` is taken for every kind but `direct`, whose id follows from
/// its two people.
pub fn new_conversation(
    creator: &UserId,
    request: &CreateConversation,
    new_id: ConversationId,
    now: Timestamp,
) -> Result<StoredConversation, WireError> {
    let mut seen = HashSet::from([creator]);
    let others: Vec<&UserId> = request.participants.iter().filter(|user| seen.insert(user)).collect();
    let invalid =
        |sentence: &str| Err(WireError::new(ErrorCode::InvalidPayload, format!("field `participants`: {sentence}")));

    let (conversation_id, creator_role) = match (request.kind, others.as_slice()) {
        (ConversationKind::Direct, [other]) => (ConversationId::derive_direct(creator, other), Role::Member),
        (ConversationKind::Direct, _) => return invalid("a direct conversation has exactly one other person"),
        (ConversationKind::Group | ConversationKind::Channel, _) => (new_id, Role::Owner),
    };
    let entry = |user: &UserId, role| StoredParticipant {
        user_id: user.clone(),
        role,
        joined_at: now,
        muted_until: None,
        archived: false,
        removed_at: None,
    };
    let mut participants = vec![entry(creator, creator_role)];
    participants.extend(others.into_iter().map(|user| entry(user, Role::Member)));
    Ok(StoredConversation {
        conversation_id,
        kind: request.kind,
        title: request.title.clone(),
        created_at: now,
        version: 1,
        participants,
    })
}

/// The conversation as one of its participants sees it; `None` for anybody else.
pub fn conversation_for(conversation: &StoredConversation, viewer: &UserId) -> Option<Conversation> {
    let own = participant(Some(conversation), viewer).ok()?;
    let visible = conversation.participants.iter().filter(|entry| entry.removed_at.is_none());
    Some(Conversation {
        conversation_id: conversation.conversation_id,
        kind: conversation.kind,
        title: conversation.title.clone(),
        created_at: conversation.created_at,
        participants: visible
            .map(|entry| Participant { user_id: entry.user_id.clone(), role: entry.role, joined_at: entry.joined_at })
            .collect(),
        settings: ConversationSettings { muted_until: own.muted_until, archived: own.archived },
        version: conversation.version,
    })
}

/// The message as one participant sees it: only its sender sees the `temp_id` (S1.8).
pub fn message_for(message: &Message, viewer: &UserId) -> Message {
    let temp_id = message.temp_id.clone().filter(|_| message.sender_id == *viewer);
    Message { temp_id, ..message.clone() }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn id(number: u128) -> ConversationId {
        ConversationId::from_uuid(Uuid::from_u128(number))
    }

    fn create(kind: ConversationKind, others: &[&str]) -> Result<StoredConversation, WireError> {
        let participants = others.iter().map(|name| user(name)).collect();
        let request = CreateConversation { kind, participants, title: None };
        new_conversation(&user("ana"), &request, id(1), Timestamp::from_millis(0))
    }

    fn code<T>(result: Result<T, WireError>) -> Option<ErrorCode> {
        result.err().map(|error| error.code)
    }

    #[test]
    fn a_direct_conversation_has_exactly_two_people() {
        assert_eq!(code(create(ConversationKind::Direct, &[])), Some(ErrorCode::InvalidPayload));
        assert_eq!(code(create(ConversationKind::Direct, &["ana"])), Some(ErrorCode::InvalidPayload));
        assert_eq!(code(create(ConversationKind::Direct, &["ben", "cleo"])), Some(ErrorCode::InvalidPayload));
        let direct = create(ConversationKind::Direct, &["ben", "ben", "ana"]).unwrap();
        assert_eq!(direct.participants.len(), 2);
        assert_eq!(direct.conversation_id, ConversationId::derive_direct(&user("ben"), &user("ana")));
    }

    #[test]
    fn the_creator_of_a_group_owns_it_and_nobody_is_in_it_twice() {
        let group = create(ConversationKind::Group, &["ben", "ana", "ben"]).unwrap();
        let roles: Vec<_> = group.participants.iter().map(|p| (p.user_id.as_str(), p.role)).collect();
        assert_eq!(roles, [("ana", Role::Owner), ("ben", Role::Member)]);
    }

    #[test]
    fn strangers_learn_nothing_and_removed_ones_know_they_were_removed() {
        let mut group = create(ConversationKind::Group, &["ben"]).unwrap();
        assert_eq!(
            participant(Some(&group), &user("mallory")).unwrap_err(),
            participant(None, &user("mallory")).unwrap_err()
        );
        group.participants[1].removed_at = Some(Timestamp::from_millis(1));
        assert_eq!(code(participant(Some(&group), &user("ben"))), Some(ErrorCode::NotParticipant));
        assert!(conversation_for(&group, &user("ben")).is_none());
        assert_eq!(conversation_for(&group, &user("ana")).unwrap().participants.len(), 1);
    }

    #[test]
    fn members_read_a_channel_and_do_not_post_in_it() {
        let mut channel = create(ConversationKind::Channel, &["ben", "cleo"]).unwrap();
        channel.participants[2].role = Role::Admin;
        assert_eq!(code(may_post(Some(&channel), &user("ana"))), None);
        assert_eq!(code(may_post(Some(&channel), &user("cleo"))), None);
        assert_eq!(code(may_post(Some(&channel), &user("ben"))), Some(ErrorCode::RoleForbidden));
        assert_eq!(code(may_post(Some(&channel), &user("mallory"))), Some(ErrorCode::NotFound));
    }
}
