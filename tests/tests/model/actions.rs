//! What users do in a history, as numbers that are given a meaning only by what there is at that moment. So a history
//! stays one, whatever is taken out of it, and a failing one can be made short.

use ackscope_protocol::wire::{AddedRole, ConversationKind, DeleteMode};
use proptest::collection::vec;
use proptest::prelude::*;

/// How many users there are.
pub(super) const USERS: usize = 8;

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Actor {
    /// Any of the users.
    Anyone(u8),
    /// One who is in the conversation.
    Insider(u8),
    /// One who is in the conversation and not a plain member.
    Boss(u8),
    /// The one who sent the message.
    Sender,
}

/// Where.
#[derive(Clone, Copy, Debug)]
pub(super) enum Where {
    /// One of the conversations.
    Known(u8),
    /// None that there is.
    Unknown,
}

/// Which message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// Counted from the newest.
    Recent(u8),
    /// Counted from the oldest.
    Any(u8),
    /// None that there is.
    Unknown,
}

/// A message, and whether it is asked for in the conversation it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Which.
    pub which: Which,
    /// Another conversation than its own.
    pub elsewhere: Option<u8>,
}

/// One thing a user does.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Create { by: u8, kind: ConversationKind, others: Vec<u8>, has_title: bool },
    Add { by: Actor, at: Where, who: u8, role: Option<AddedRole> },
    Remove { by: Actor, at: Where, who: u8 },
    Leave { by: Actor, at: Where },
    Mute { by: Actor, at: Where, secs: Option<u64> },
    Unmute { by: Actor, at: Where },
    Archive { by: Actor, at: Where, archived: bool },
    Send { by: Actor, at: Where, text: Option<u8>, reply_to: Option<Target> },
    SendAgain { which: u8, text: u8 },
    Edit { by: Actor, message: Target, text: u8 },
    Delete { by: Actor, message: Target, mode: DeleteMode },
    React { by: Actor, message: Target, emoji: u8 },
    Unreact { by: Actor, message: Target, emoji: u8 },
    Forward { by: Actor, messages: Vec<Target>, targets: Vec<Where>, temp_id: u8 },
    ForwardAgain { which: u8 },
    Advance { mins: u64 },
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        1 => any::<u8>().prop_map(Actor::Anyone),
        5 => any::<u8>().prop_map(Actor::Insider),
        3 => any::<u8>().prop_map(Actor::Boss),
    ]
}

fn actor_on_a_message() -> impl Strategy<Value = Actor> {
    prop_oneof![3 => actor(), 2 => Just(Actor::Sender)]
}

fn place() -> impl Strategy<Value = Where> {
    prop_oneof![30 => any::<u8>().prop_map(Where::Known), 1 => Just(Where::Unknown)]
}

fn target() -> impl Strategy<Value = Target> {
    let which = prop_oneof![
        6 => (0..4_u8).prop_map(Which::Recent),
        8 => any::<u8>().prop_map(Which::Any),
        1 => Just(Which::Unknown),
    ];
    let elsewhere = prop_oneof![15 => Just(None), 1 => any::<u8>().prop_map(Some)];
    (which, elsewhere).prop_map(|(which, elsewhere)| Target { which, elsewhere })
}

fn kind() -> impl Strategy<Value = ConversationKind> {
    use ConversationKind::{Channel, Direct, Group};
    prop_oneof![1 => Just(Direct), 2 => Just(Group), 1 => Just(Channel)]
}

fn create() -> impl Strategy<Value = Action> {
    // A direct conversation with anything but one other is refused; most of them are to come about.
    let direct = (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(by, other, has_title)| Action::Create {
        by,
        kind: ConversationKind::Direct,
        others: vec![other],
        has_title,
    });
    let any = (any::<u8>(), kind(), vec(any::<u8>(), 0..6), any::<bool>())
        .prop_map(|(by, kind, others, has_title)| Action::Create { by, kind, others, has_title });
    prop_oneof![1 => direct, 4 => any]
}

fn action() -> impl Strategy<Value = Action> {
    use Action::{
        Add, Advance, Archive, Delete, Edit, Forward, ForwardAgain, Leave, Mute, React, Remove, Send, SendAgain,
        Unmute, Unreact,
    };
    let role = prop_oneof![
        Just(None),
        Just(Some(AddedRole::Member)),
        Just(Some(AddedRole::Admin)),
        Just(Some(AddedRole::Admin))
    ];
    let secs = prop_oneof![2 => Just(None), 3 => Just(Some(600)), 2 => Just(Some(7_140)), 1 => Just(Some(0)), 1 => Just(Some(u64::MAX))];
    let text = prop_oneof![15 => any::<u8>().prop_map(Some), 1 => Just(None)];
    let reply_to = prop_oneof![2 => Just(None), 1 => target().prop_map(Some)];
    let mode = prop_oneof![Just(DeleteMode::Soft), Just(DeleteMode::Hard), Just(DeleteMode::ForMe)];
    let on_message = || (actor_on_a_message(), target());
    prop_oneof![
        2 => create(),
        4 => (actor(), place(), any::<u8>(), role).prop_map(|(by, at, who, role)| Add { by, at, who, role }),
        3 => (actor(), place(), any::<u8>()).prop_map(|(by, at, who)| Remove { by, at, who }),
        2 => (actor(), place()).prop_map(|(by, at)| Leave { by, at }),
        3 => (actor(), place(), secs).prop_map(|(by, at, secs)| Mute { by, at, secs }),
        2 => (actor(), place()).prop_map(|(by, at)| Unmute { by, at }),
        3 => (actor(), place(), any::<bool>()).prop_map(|(by, at, archived)| Archive { by, at, archived }),
        16 => (actor(), place(), text, reply_to)
            .prop_map(|(by, at, text, reply_to)| Send { by, at, text, reply_to }),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(which, text)| SendAgain { which, text }),
        // Few texts, so that the same one comes again.
        7 => (on_message(), 0..3_u8).prop_map(|((by, message), text)| Edit { by, message, text }),
        6 => (on_message(), mode).prop_map(|((by, message), mode)| Delete { by, message, mode }),
        7 => (on_message(), 0..4_u8).prop_map(|((by, message), emoji)| React { by, message, emoji }),
        4 => (on_message(), 0..4_u8).prop_map(|((by, message), emoji)| Unreact { by, message, emoji }),
        4 => (actor(), forwarded(), forward_targets(), 0..4_u8)
            .prop_map(|(by, messages, targets, temp_id)| Forward { by, messages, targets, temp_id }),
        2 => any::<u8>().prop_map(|which| ForwardAgain { which }),
        2 => prop_oneof![Just(7), Just(16)].prop_map(|mins| Advance { mins }),
    ]
}

fn forwarded() -> impl Strategy<Value = Vec<Target>> {
    prop_oneof![20 => vec(target(), 1..4), 1 => vec(target(), 0..=0), 1 => vec(target(), 9..12)]
}

fn forward_targets() -> impl Strategy<Value = Vec<Where>> {
    prop_oneof![20 => vec(place(), 1..3), 1 => vec(place(), 0..=0), 1 => vec(place(), 4..8)]
}

/// What users do, and whether anything of it can be persisted meanwhile.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// The store takes no messages and no changes of messages before the end.
    pub is_store_off: bool,
    /// In this order.
    pub actions: Vec<Action>,
}

/// Histories of about sixty actions. The first ones make conversations, so that there is something to do.
pub(super) fn histories() -> impl Strategy<Value = History> {
    (any::<bool>(), vec(create(), 1..7), vec(action(), 1..=110)).prop_map(|(is_store_off, mut actions, later)| {
        actions.extend(later);
        History { is_store_off, actions }
    })
}
