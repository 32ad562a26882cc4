//! The business rules: pure functions over values (S1.2–S1.4). No I/O, no clock; time comes in as a value.

use std::collections::HashSet;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::limits::{
    EDIT_WINDOW_MS, EDITS_MAX, FORWARD_MESSAGES_MAX, FORWARD_TARGETS_MAX, PARTICIPANTS_MAX, REACTION_EMOJI_MAX,
};
use ackscope_protocol::text::Emoji;
use ackscope_protocol::wire::{
    AddedRole, Conversation, ConversationChange, ConversationKind, ConversationSettings, CreateConversation,
    DeleteMode, ForwardMessages, Message, MessageRef, Participant, Role, SendMessage,
};
use ackscope_protocol::{ConversationId, MessageId, TempId, Timestamp, UserId};

use crate::planted::{self, Bug};
use crate::refusal;
use crate::repositories::{StoredConversation, StoredParticipant};
use crate::state::{Found, StoredMessage};

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

/// The conversation and the caller's own entry in it.
fn caller_in<'a>(
    conversation: Option<&'a StoredConversation>,
    caller: &UserId,
) -> Result<(&'a StoredConversation, &'a StoredParticipant), WireError> {
    let entry = participant(conversation, caller)?;
    Ok((conversation.ok_or_else(refusal::not_found)?, entry))
}

/// Whether the caller may post: everybody in it, in a channel only owner and admins (S1.2).
pub fn may_post(conversation: Option<&StoredConversation>, caller: &UserId) -> Result<(), WireError> {
    let (conversation, entry) = caller_in(conversation, caller)?;
    if conversation.kind == ConversationKind::Channel && entry.role < Role::Admin {
        return Err(WireError::new(ErrorCode::RoleForbidden, "only the owner and admins post in a channel"));
    }
    Ok(())
}

/// Whether a message says anything: text, media or both (S1.3).
pub fn has_content(request: &SendMessage) -> Result<(), WireError> {
    if request.text.is_none() && request.media.is_empty() {
        return Err(WireError::new(ErrorCode::InvalidPayload, "field `text`: a message has text, media or both"));
    }
    Ok(())
}

/// Whether `parent` can be answered (S1.3).
pub fn may_reply_to(parent: &Message) -> Result<(), WireError> {
    not_deleted(parent)
}

/// The thread a reply belongs to: its parent's, else its parent starts one.
pub fn thread_root(parent: &Message) -> MessageId {
    parent.thread_root.unwrap_or(parent.message_id)
}

// ---- messages that are there already --------------------------------------------------------------------

/// The message for this caller. One of another conversation is not told apart from none at all; one that is gone, or
/// that the caller deleted for itself, is deleted.
pub fn message<'a>(
    found: Option<&'a Found>,
    conversation_id: ConversationId,
    caller: &UserId,
) -> Result<&'a StoredMessage, WireError> {
    match found {
        Some(found) if found.conversation_id() != conversation_id => Err(refusal::not_found()),
        None => Err(refusal::not_found()),
        Some(Found::Gone { .. }) => Err(refusal::already_deleted()),
        Some(Found::There(stored)) if stored.is_hidden_from(caller) => Err(refusal::already_deleted()),
        Some(Found::There(stored)) => Ok(stored),
    }
}

fn not_deleted(message: &Message) -> Result<(), WireError> {
    if message.deleted.is_some() { Err(refusal::already_deleted()) } else { Ok(()) }
}

/// Whether the caller may edit the message now: its sender, for fifteen minutes (S1.3).
pub fn may_edit(message: &Message, caller: &UserId, now: Timestamp) -> Result<(), WireError> {
    not_deleted(message)?;
    if message.sender_id != *caller {
        return Err(WireError::new(ErrorCode::NotOwner, "only its sender edits a message"));
    }
    if now.millis_since(message.created_at) > EDIT_WINDOW_MS && !planted::is(Bug::EditAfterWindow) {
        let minutes = EDIT_WINDOW_MS / 60_000;
        return Err(WireError::new(
            ErrorCode::EditWindowClosed,
            format!("a message can be edited for {minutes} minutes after it was sent"),
        ));
    }
    if message.edits.len() >= EDITS_MAX {
        return Err(WireError::new(ErrorCode::TooLarge, format!("a message keeps at most {EDITS_MAX} earlier texts")));
    }
    Ok(())
}

/// Whether the caller may delete the message this way (S1.3). A tombstone can still be removed or hidden.
pub fn may_delete(message: &Message, caller: &StoredParticipant, mode: DeleteMode) -> Result<(), WireError> {
    if mode == DeleteMode::Soft {
        not_deleted(message)?;
    }
    let is_allowed = mode == DeleteMode::ForMe || message.sender_id == caller.user_id || caller.role >= Role::Admin;
    if is_allowed {
        return Ok(());
    }
    Err(WireError::new(
        ErrorCode::RoleForbidden,
        "only its sender, the owner and admins delete a message for everybody",
    ))
}

/// Whether the message takes this reaction: everybody in the conversation reacts, in a channel too (S1.2).
pub fn may_react(message: &Message, emoji: &Emoji) -> Result<(), WireError> {
    not_deleted(message)?;
    if !message.reactions.contains_key(&**emoji) && message.reactions.len() >= REACTION_EMOJI_MAX {
        return Err(WireError::new(
            ErrorCode::TooLarge,
            format!("a message has at most {REACTION_EMOJI_MAX} different reactions"),
        ));
    }
    Ok(())
}

/// Whether a reaction can be taken back.
pub fn may_unreact(message: &Message) -> Result<(), WireError> {
    not_deleted(message)
}

/// Whether the message can be forwarded.
pub fn may_forward(message: &Message) -> Result<(), WireError> {
    not_deleted(message)
}

/// Whether one request asks for more copies than it may (S1.3).
pub fn forward_limits(request: &ForwardMessages) -> Result<(), WireError> {
    let invalid =
        |field: &str| Err(WireError::new(ErrorCode::InvalidPayload, format!("field `{field}`: expected at least one")));
    let ForwardMessages { messages, targets, .. } = request;
    if messages.is_empty() {
        return invalid("messages");
    }
    if targets.is_empty() {
        return invalid("targets");
    }
    if messages.len() > FORWARD_MESSAGES_MAX {
        let sentence = format!("one request forwards at most {FORWARD_MESSAGES_MAX} messages");
        return Err(WireError::new(ErrorCode::TooManyMessages, sentence));
    }
    if targets.len() > FORWARD_TARGETS_MAX {
        let sentence = format!("one request forwards to at most {FORWARD_TARGETS_MAX} conversations");
        return Err(WireError::new(ErrorCode::TooManyTargets, sentence));
    }
    Ok(())
}

/// The copy of a message that a forward makes: what it says now, and where it comes from. `seq` is the log's to give.
pub fn forwarded_copy(
    origin: &Message,
    message_id: MessageId,
    target: ConversationId,
    sender: &UserId,
    temp_id: &TempId,
    now: Timestamp,
) -> Message {
    Message {
        temp_id: Some(temp_id.clone()),
        text: origin.text.clone(),
        media: origin.media.clone(),
        forwarded_from: Some(MessageRef { conversation_id: origin.conversation_id, message_id: origin.message_id }),
        ..Message::new(message_id, target, sender.clone(), now)
    }
}

// ---- conversations --------------------------------------------------------------------------------------

/// A conversation after a change, ready to be stored and told.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The conversation, one version on.
    pub conversation: StoredConversation,
    /// What changed.
    pub change: ConversationChange,
    /// Whom it is about.
    pub subject: UserId,
}

impl Changed {
    fn new(
        before: &StoredConversation,
        change: ConversationChange,
        subject: &UserId,
        apply: impl FnOnce(&mut Vec<StoredParticipant>),
    ) -> Self {
        let mut conversation = before.clone();
        conversation.version += 1;
        apply(&mut conversation.participants);
        Self { conversation, change, subject: subject.clone() }
    }
}

/// A `direct` conversation is exactly two people for good (S1.2).
fn not_direct(conversation: &StoredConversation) -> Result<(), WireError> {
    if conversation.kind == ConversationKind::Direct {
        return Err(WireError::new(ErrorCode::RoleForbidden, "nobody comes into or leaves a direct conversation"));
    }
    Ok(())
}

/// The caller adds somebody: owner and admins do (S1.2). `None`: that one is in it already.
pub fn add_participant(
    conversation: Option<&StoredConversation>,
    caller: &UserId,
    user: &UserId,
    role: AddedRole,
    now: Timestamp,
) -> Result<Option<Changed>, WireError> {
    let (conversation, entry) = caller_in(conversation, caller)?;
    not_direct(conversation)?;
    if entry.role < Role::Admin {
        return Err(WireError::new(ErrorCode::RoleForbidden, "only the owner and admins add people"));
    }
    let present = || conversation.participants.iter().filter(|entry| entry.removed_at.is_none());
    if present().any(|entry| entry.user_id == *user) {
        return Ok(None);
    }
    // The creator and as many others as `conversation:create` takes.
    if present().count() > PARTICIPANTS_MAX {
        return Err(WireError::new(
            ErrorCode::TooLarge,
            format!("a conversation has at most {} participants", PARTICIPANTS_MAX + 1),
        ));
    }
    let role = match role {
        AddedRole::Member => Role::Member,
        AddedRole::Admin => Role::Admin,
    };
    Ok(Some(Changed::new(conversation, ConversationChange::ParticipantAdded, user, |participants| {
        // One who comes back starts anew, at the end of the succession.
        participants.retain(|entry| entry.user_id != *user);
        participants.push(new_participant(user, role, now));
    })))
}

/// The caller removes somebody: owner and admins remove members, only the owner an admin, nobody the owner (S1.2).
pub fn remove_participant(
    conversation: Option<&StoredConversation>,
    caller: &UserId,
    user: &UserId,
    now: Timestamp,
) -> Result<Changed, WireError> {
    let (conversation, entry) = caller_in(conversation, caller)?;
    not_direct(conversation)?;
    let forbidden = |sentence: &str| Err(WireError::new(ErrorCode::RoleForbidden, sentence));
    if entry.role < Role::Admin {
        return forbidden("only the owner and admins remove people");
    }
    let target = conversation.participants.iter().find(|entry| entry.user_id == *user && entry.removed_at.is_none());
    match (target.map(|target| target.role), entry.role) {
        (None, _) => Err(refusal::not_found()),
        (Some(Role::Owner), _) => forbidden("nobody removes the owner; the owner can leave"),
        (Some(Role::Admin), Role::Admin | Role::Member) => forbidden("only the owner removes an admin"),
        (Some(Role::Admin | Role::Member), _) => Ok(without(conversation, user, now)),
    }
}

/// The caller leaves. When it is the owner, the longest-standing admin, else member, becomes owner (S1.2).
pub fn leave(conversation: Option<&StoredConversation>, caller: &UserId, now: Timestamp) -> Result<Changed, WireError> {
    let (conversation, _) = caller_in(conversation, caller)?;
    not_direct(conversation)?;
    Ok(without(conversation, caller, now))
}

fn without(conversation: &StoredConversation, user: &UserId, now: Timestamp) -> Changed {
    Changed::new(conversation, ConversationChange::ParticipantRemoved, user, |participants| {
        let mut was_owner = false;
        for entry in participants.iter_mut().filter(|entry| entry.user_id == *user) {
            was_owner = entry.role == Role::Owner;
            entry.removed_at = Some(now);
        }
        if was_owner && let Some(successor) = successor(participants) {
            successor.role = Role::Owner;
        }
    })
}

/// Who becomes owner: participants stand in the order they came.
fn successor(participants: &mut [StoredParticipant]) -> Option<&mut StoredParticipant> {
    let longest_standing =
        |role| participants.iter().position(|entry| entry.removed_at.is_none() && entry.role == role);
    let place = longest_standing(Role::Admin).or_else(|| longest_standing(Role::Member))?;
    participants.get_mut(place)
}

/// The caller's own settings change. `None`: they are like that already.
fn own_settings(
    conversation: Option<&StoredConversation>,
    caller: &UserId,
    change: impl Fn(&mut StoredParticipant),
) -> Result<Option<Changed>, WireError> {
    let (conversation, entry) = caller_in(conversation, caller)?;
    let mut after = entry.clone();
    change(&mut after);
    if after == *entry {
        return Ok(None);
    }
    Ok(Some(Changed::new(conversation, ConversationChange::SettingsChanged, caller, |participants| {
        participants.iter_mut().filter(|entry| entry.user_id == *caller).for_each(change);
    })))
}

/// The caller mutes the conversation, for a while or for good (S1.2).
pub fn mute(
    conversation: Option<&StoredConversation>,
    caller: &UserId,
    duration_secs: Option<u64>,
    now: Timestamp,
) -> Result<Option<Changed>, WireError> {
    // What is wrong with the payload comes before whose conversation it is.
    let until = match duration_secs {
        None => Timestamp::MAX,
        Some(0) => {
            let sentence = "field `duration_secs`: expected at least 1; absent means for good";
            return Err(WireError::new(ErrorCode::InvalidPayload, sentence));
        }
        Some(secs) => {
            let millis = i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1_000);
            Timestamp::from_millis(now.as_millis().saturating_add(millis)).min(Timestamp::MAX)
        }
    };
    own_settings(conversation, caller, |entry| entry.muted_until = Some(until))
}

/// The caller hears of the conversation again. `None` also for a mute that is over: to the caller that is none.
pub fn unmute(
    conversation: Option<&StoredConversation>,
    caller: &UserId,
    now: Timestamp,
) -> Result<Option<Changed>, WireError> {
    own_settings(conversation, caller, |entry| {
        if entry.muted_until.is_some_and(|until| now < until) {
            entry.muted_until = None;
        }
    })
}

/// The caller archives the conversation or takes it back.
pub fn archive(
    conversation: Option<&StoredConversation>,
    caller: &UserId,
    archived: bool,
) -> Result<Option<Changed>, WireError> {
    own_settings(conversation, caller, |entry| entry.archived = archived)
}

fn new_participant(user: &UserId, role: Role, now: Timestamp) -> StoredParticipant {
    StoredParticipant {
        user_id: user.clone(),
        role,
        joined_at: now,
        muted_until: None,
        archived: false,
        removed_at: None,
    }
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
    let mut participants = vec![new_participant(creator, creator_role, now)];
    participants.extend(others.into_iter().map(|user| new_participant(user, Role::Member, now)));
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
pub fn conversation_for(conversation: &StoredConversation, viewer: &UserId, now: Timestamp) -> Option<Conversation> {
    let own = participant(Some(conversation), viewer).ok()?;
    // A mute that is over is not told: a client need not know the service's clock.
    let muted_until = own.muted_until.filter(|until| now < *until);
    Some(conversation_with(conversation, ConversationSettings { muted_until, archived: own.archived }))
}

/// The conversation as the one who was just removed is told of it: it has no settings there any more.
pub fn conversation_for_removed(conversation: &StoredConversation) -> Conversation {
    conversation_with(conversation, ConversationSettings::default())
}

fn conversation_with(conversation: &StoredConversation, settings: ConversationSettings) -> Conversation {
    let visible = conversation.participants.iter().filter(|entry| entry.removed_at.is_none());
    Conversation {
        conversation_id: conversation.conversation_id,
        kind: conversation.kind,
        title: conversation.title.clone(),
        created_at: conversation.created_at,
        participants: visible
            .map(|entry| Participant { user_id: entry.user_id.clone(), role: entry.role, joined_at: entry.joined_at })
            .collect(),
        settings,
        version: conversation.version,
    }
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

    const NOW: Timestamp = Timestamp::from_millis(0);

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
        assert!(conversation_for(&group, &user("ben"), NOW).is_none());
        assert_eq!(conversation_for(&group, &user("ana"), NOW).unwrap().participants.len(), 1);
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

    fn at_minutes(minutes: i64, more_ms: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000 + more_ms)
    }

    fn sent_by(sender: &str) -> Message {
        let request = Message { ..Message::new(MessageId::from_uuid(Uuid::from_u128(5)), id(1), user(sender), NOW) };
        forwarded_copy(&request, request.message_id, id(1), &user(sender), &"t".parse().unwrap(), NOW)
    }

    #[test]
    fn the_edit_window_is_fifteen_minutes_and_its_last_moment_counts() {
        let edit = |caller: &str, now| code(may_edit(&sent_by("ana"), &user(caller), now));
        assert_eq!(edit("ana", at_minutes(15, -1)), None);
        assert_eq!(edit("ana", at_minutes(15, 0)), None);
        assert_eq!(edit("ana", at_minutes(15, 1)), Some(ErrorCode::EditWindowClosed));
        assert_eq!(edit("ben", NOW), Some(ErrorCode::NotOwner));
    }

    #[test]
    fn a_message_takes_no_more_edits_than_it_can_keep() {
        let mut message = sent_by("ana");
        let edit = ackscope_protocol::wire::Edit { text: "x".into(), at: NOW };
        message.edits = vec![edit.clone(); EDITS_MAX - 1];
        assert_eq!(code(may_edit(&message, &user("ana"), NOW)), None);
        message.edits.push(edit);
        assert_eq!(code(may_edit(&message, &user("ana"), NOW)), Some(ErrorCode::TooLarge));
    }

    #[test]
    fn a_message_takes_no_more_kinds_of_reactions_than_its_limit() {
        let mut message = sent_by("ana");
        for number in 0..REACTION_EMOJI_MAX {
            message.reactions.insert(format!("{number}"), vec![user("ben")]);
        }
        assert_eq!(code(may_react(&message, &Emoji::new("0").unwrap())), None);
        assert_eq!(code(may_react(&message, &Emoji::new("x").unwrap())), Some(ErrorCode::TooLarge));
    }

    #[test]
    fn the_longest_standing_admin_else_member_follows_the_owner() {
        let mut group = create(ConversationKind::Group, &["ben", "cleo", "dan"]).unwrap();
        group.participants[2].role = Role::Admin;
        let owner = |changed: &Changed| {
            let owners: Vec<_> = changed
                .conversation
                .participants
                .iter()
                .filter(|p| p.role == Role::Owner && p.removed_at.is_none())
                .collect();
            assert!(owners.len() <= 1);
            owners.first().map(|owner| owner.user_id.to_string())
        };
        let first = leave(Some(&group), &user("ana"), at_minutes(1, 0)).unwrap();
        assert_eq!(owner(&first).as_deref(), Some("cleo"));
        let second = leave(Some(&first.conversation), &user("cleo"), at_minutes(2, 0)).unwrap();
        assert_eq!(owner(&second).as_deref(), Some("ben"));
        let third = leave(Some(&second.conversation), &user("ben"), at_minutes(3, 0)).unwrap();
        let last = leave(Some(&third.conversation), &user("dan"), at_minutes(4, 0)).unwrap();
        assert_eq!(owner(&last), None);
        assert_eq!(last.conversation.version, 5);
    }

    #[test]
    fn one_who_comes_back_stands_at_the_end_of_the_succession() {
        let group = create(ConversationKind::Group, &["ben", "cleo"]).unwrap();
        let gone = remove_participant(Some(&group), &user("ana"), &user("ben"), at_minutes(1, 0)).unwrap().conversation;
        let back = add_participant(Some(&gone), &user("ana"), &user("ben"), AddedRole::Member, at_minutes(2, 0))
            .unwrap()
            .unwrap()
            .conversation;
        let after = leave(Some(&back), &user("ana"), at_minutes(3, 0)).unwrap().conversation;
        let cleo = after.participants.iter().find(|entry| entry.user_id == user("cleo")).unwrap();
        assert_eq!(cleo.role, Role::Owner);
        assert_eq!(add_participant(Some(&back), &user("ana"), &user("ben"), AddedRole::Admin, NOW), Ok(None));
    }

    #[test]
    fn a_mute_ends_when_it_says() {
        let group = create(ConversationKind::Group, &["ben"]).unwrap();
        let mute = |secs| mute(Some(&group), &user("ben"), secs, NOW);
        let muted = mute(Some(60)).unwrap().unwrap().conversation;
        let until = |now| conversation_for(&muted, &user("ben"), now).unwrap().settings.muted_until;
        assert_eq!(until(at_minutes(1, -1)), Some(at_minutes(1, 0)));
        assert_eq!(until(at_minutes(1, 0)), None);
        assert_eq!(code(mute(Some(0))), Some(ErrorCode::InvalidPayload));
        // The payload is looked at first.
        assert_eq!(code(super::mute(None, &user("ben"), Some(0), NOW)), Some(ErrorCode::InvalidPayload));
        for for_good in [None, Some(u64::MAX)] {
            let muted = mute(for_good).unwrap().unwrap();
            assert_eq!(muted.conversation.participants[1].muted_until, Some(Timestamp::MAX));
        }
        assert_eq!(unmute(Some(&group), &user("ben"), NOW), Ok(None));
        // A mute that is over is no longer one, so there is nothing to change.
        assert!(unmute(Some(&muted), &user("ben"), at_minutes(1, -1)).unwrap().is_some());
        assert_eq!(unmute(Some(&muted), &user("ben"), at_minutes(1, 0)), Ok(None));
    }
}
