//! Simulated users in a world, for tests of the whole path over TCP.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails there")]

use std::sync::Arc;
use std::time::Duration;

use ackscope_core::limits::Limits;
use ackscope_harness::environment::EnvironmentOptions;
use ackscope_harness::users::SimulatedUser;
use ackscope_harness::world::{World, WorldOptions};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::wire::{
    AckState, Conversation, ConversationKind, CreateConversation, History, Message, SendMessage, ServerEvent,
};
use ackscope_protocol::{ConversationId, MessageId, UserId};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The user of that name.
pub fn id(name: &str) -> UserId {
    name.parse().expect("a user id")
}

/// Limits in time that a busy machine does not reach: what is tested is not how fast it is.
pub fn patient_limits() -> Limits {
    Limits { send_deadline: Duration::from_secs(10), request_deadline: Duration::from_secs(10), ..Limits::default() }
}

/// An embedded world without users.
pub async fn world() -> World {
    world_with(patient_limits()).await
}

/// An embedded world without users, with these limits.
pub async fn world_with(limits: Limits) -> World {
    let options = WorldOptions { environment: EnvironmentOptions::embedded(), limits, ..WorldOptions::default() };
    World::start(options).await.expect("a world")
}

/// Connects users.
pub async fn connect<const N: usize>(world: &World, names: [&str; N]) -> [Arc<SimulatedUser>; N] {
    let mut users = Vec::new();
    for name in names {
        users.push(world.add_user(&id(name)).await.expect("a connected user"));
    }
    users.try_into().expect("as many users as names")
}

/// Creates a group, and waits until everybody given knows it.
pub async fn group(creator: &SimulatedUser, others: &[&Arc<SimulatedUser>]) -> ConversationId {
    let participants = others.iter().map(|user| user.user_id().clone()).collect();
    let request = CreateConversation { kind: ConversationKind::Group, participants, title: None };
    let answer = creator.request(&request).await.expect("an answer").expect("a group");
    let conversation_id = answer.conversation.conversation_id;
    for user in others {
        let knows = |view: &ackscope_harness::users::UserView| view.conversation(conversation_id).map(drop);
        user.wait_until(PATIENCE, knows).await.expect("everybody hears of the group");
    }
    conversation_id
}

/// A text message.
pub fn message(conversation_id: ConversationId, temp_id: &str, text: &str) -> SendMessage {
    SendMessage {
        conversation_id,
        temp_id: temp_id.parse().expect("a temp_id"),
        text: Some(MessageText::new(text).expect("a text")),
        media: Vec::new(),
        reply_to: None,
    }
}

/// Sends a message and waits for its `delivered`.
pub async fn deliver(user: &SimulatedUser, message: SendMessage) -> MessageId {
    let (temp_id, conversation_id) = (message.temp_id.clone(), message.conversation_id);
    let sent = user.send(message).await.expect("sent");
    user.wait_until(PATIENCE, |view| {
        let acks = view.acks(&temp_id, conversation_id);
        acks.iter().find(|seen| seen.ack.state == AckState::Delivered).map(drop)
    })
    .await
    .expect("delivered");
    sent.message_id
}

/// Waits until a user has seen a message as new.
pub async fn see(user: &SimulatedUser, message_id: MessageId) -> Message {
    let seen = user
        .wait_for(0, PATIENCE, |event| matches!(event, ServerEvent::New(new) if new.message.message_id == message_id))
        .await
        .expect("the message is seen");
    match &*seen.event {
        ServerEvent::New(new) => new.message.clone(),
        other => unreachable!("waited for a new message and got {other:?}"),
    }
}

/// The whole history of a conversation, newest first.
pub async fn history(user: &SimulatedUser, conversation_id: ConversationId) -> Vec<Message> {
    let mut request = History { conversation_id, limit: None, cursor: None, thread: None };
    let mut messages = Vec::new();
    loop {
        let page = user.request(&request).await.expect("an answer").expect("a page");
        messages.extend(page.messages);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return messages,
        }
    }
}

/// Whether everybody in a conversation is one of `names` and the other way round.
pub fn is_exactly(conversation: &Conversation, names: &[&str]) -> bool {
    let mut users: Vec<&str> = conversation.participants.iter().map(|entry| entry.user_id.as_str()).collect();
    users.sort_unstable();
    let mut names = names.to_vec();
    names.sort_unstable();
    users == names
}
