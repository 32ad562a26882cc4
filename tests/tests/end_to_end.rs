//! The whole path of a message over TCP, on the embedded backend: S1.1–S1.6 as clients see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ackscope_harness::users::{SimulatedUser, UserView};
use ackscope_protocol::trace::{ConnectionState, Happening, Stage};
use ackscope_protocol::wire::{
    AckState, ConversationKind, CreateConversation, History, ListConversations, Message, ServerEvent,
};
use ackscope_protocol::{ConversationId, ErrorCode, MessageId, Timestamp};
use ackscope_tests::people::{PATIENCE, connect, deliver, group, history, id, is_exactly, message, see, world};

/// What of a message is the same for every viewer; the sender's view also knows `temp_id`.
fn content(message: &Message) -> (MessageId, String, u64, Timestamp) {
    let text = message.text.as_deref().unwrap_or_default().to_owned();
    (message.message_id, text, message.seq, message.created_at)
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgments_come_in_order_within_one_connection() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;

    let sent = ana.send(message(conversation, "t-1", "hello")).await.unwrap();
    let is_done = |view: &UserView| {
        let persisted = view.acks(&sent.temp_id, conversation).iter().any(|seen| seen.ack.state == AckState::Persisted);
        (persisted && !view.send_answers(&sent.temp_id, conversation).is_empty()).then_some(())
    };
    ana.wait_until(PATIENCE, is_done).await.unwrap();

    let acks = ana.acks(&sent.temp_id, conversation);
    let states: Vec<AckState> = acks.iter().map(|seen| seen.ack.state).collect();
    assert_eq!(states, [AckState::Pending, AckState::Delivered, AckState::Persisted]);
    assert_eq!(acks[0].ack.message_id, None, "pending comes before any decision");
    assert_eq!(acks[1].ack.message_id, Some(sent.message_id), "the id is the derived one");
    assert!(acks[1].ack.seq.is_some());
    assert!(acks.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let answer = ana.look(|view| view.send_answers(&sent.temp_id, conversation)[0].outcome.clone()).unwrap();
    assert_eq!((answer.message_id, answer.temp_id), (sent.message_id, sent.temp_id.clone()));

    let seen = see(&ben, sent.message_id).await;
    assert_eq!(seen.temp_id, None, "only the sender knows its temp_id");
    assert_eq!(Some(seen.seq), acks[1].ack.seq);
    ben.wait_for(
        0,
        PATIENCE,
        |event| matches!(event, ServerEvent::Delivered(delivered) if delivered.message_id == sent.message_id),
    )
    .await
    .unwrap();

    world.quiesce(PATIENCE).await.unwrap();
    let run = world.recorder().snapshot();
    let is_down =
        |what: &Happening| matches!(what, Happening::Connection { state: ConnectionState::Disconnected { .. }, .. });
    assert!(!run.events.iter().any(|event| is_down(&event.what)), "one connection for the whole run");
    let stages: Vec<&str> = run
        .events
        .iter()
        .filter_map(|event| match &event.what {
            Happening::Stage { message_id, stage } if *message_id == sent.message_id => Some(stage.name()),
            _ => None,
        })
        .collect();
    for stage in ["received", "pending", "permission", "published", "delivered", "consumed", "persisted", "confirmed"] {
        assert_eq!(stages.iter().filter(|name| **name == stage).count(), 1, "{stage} in {stages:?}");
    }
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_every_message_once_and_in_the_order_of_the_store() {
    const EACH: usize = 30;
    let world = world().await;
    let users = connect(&world, ["ana", "ben", "cleo"]).await;
    let [ana, ben, cleo] = &users;
    let conversation = group(ana, &[ben, cleo]).await;

    let talk = |user: Arc<SimulatedUser>| async move {
        for number in 0..EACH {
            let name = format!("{}-{number}", user.user_id());
            user.send(message(conversation, &name, &name)).await.unwrap();
        }
    };
    tokio::join!(talk(Arc::clone(ana)), talk(Arc::clone(ben)), talk(Arc::clone(cleo)));
    for user in &users {
        let all = |view: &UserView| (view.messages(conversation).len() == 3 * EACH).then_some(());
        user.wait_until(PATIENCE, all).await.unwrap();
    }
    world.quiesce(PATIENCE).await.unwrap();

    let mut stored = world.backend().unwrap().messages.history(conversation, None, None, None, 1_000).await.unwrap();
    stored.reverse();
    let stored: Vec<_> = stored.iter().map(|stored| content(&stored.message)).collect();
    assert_eq!(stored.len(), 3 * EACH);
    for user in &users {
        let name = user.user_id();
        let order: Vec<(MessageId, u64)> =
            user.messages(conversation).iter().map(|message| (message.message_id, message.seq)).collect();
        let expected: Vec<(MessageId, u64)> = stored.iter().map(|(id, _, seq, _)| (*id, *seq)).collect();
        assert_eq!(order, expected, "{name}");
        let mut times_seen: BTreeMap<MessageId, usize> = BTreeMap::new();
        let mut arrival = Vec::new();
        user.look(|view| {
            for seen in view.seen_from(0) {
                if let ServerEvent::New(new) = &*seen.event {
                    *times_seen.entry(new.message.message_id).or_default() += 1;
                    arrival.push(new.message.seq);
                }
            }
        });
        assert!(times_seen.values().all(|times| *times == 1), "{name} saw a message twice");
        assert_eq!(times_seen.len(), 2 * EACH, "{name} sees the others' messages, and its own by acknowledgment");
        assert!(arrival.is_sorted(), "{name} saw them in another order");
        let mut paged: Vec<_> = history(user, conversation).await.iter().map(content).collect();
        paged.reverse();
        assert_eq!(paged, stored, "{name}");
        assert_eq!((user.state().duplicates, user.state().unreadable), (0, 0), "{name}");
        // One sender's messages keep the order they were sent in.
        let own = |(_, text, ..): &&(MessageId, String, u64, Timestamp)| text.starts_with(&format!("{name}-"));
        let numbers: Vec<usize> =
            stored.iter().filter(own).map(|(_, text, ..)| text.rsplit('-').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{name}: {numbers:?}");
    }
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_the_same_message() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;

    let first = deliver(&ana, message(conversation, "again", "once")).await;
    for attempt in 2..=4 {
        let sent = ana.send(message(conversation, "again", "once")).await.unwrap();
        assert_eq!((sent.message_id, sent.attempt), (first, attempt));
    }
    // At once, before anything is answered.
    for _ in 0..3 {
        ana.send(message(conversation, "burst", "once")).await.unwrap();
    }
    let burst = MessageId::derive(ana.user_id(), conversation, &"burst".parse().unwrap());
    for (name, attempts, expected) in [("again", 4, first), ("burst", 3, burst)] {
        let temp_id = name.parse().unwrap();
        let answered = |view: &UserView| (view.send_answers(&temp_id, conversation).len() == attempts).then_some(());
        ana.wait_until(PATIENCE, answered).await.unwrap();
        ana.look(|view| {
            for answer in view.send_answers(&temp_id, conversation) {
                assert_eq!(answer.outcome.as_ref().unwrap().message_id, expected, "{name}");
            }
        });
    }
    world.quiesce(PATIENCE).await.unwrap();
    let ids = |messages: &[Message]| messages.iter().map(|message| message.message_id).collect::<Vec<_>>();
    assert_eq!(ids(&history(&ben, conversation).await), [burst, first]);
    assert_eq!(ids(&ben.messages(conversation)), [first, burst]);
    assert_eq!(ben.state().duplicates, 0);
    let run = world.recorder().snapshot();
    for message in [first, burst] {
        let is_insert = |what: &Happening| matches!(what, Happening::Stage { message_id, stage: Stage::Persisted { inserted: true, .. } } if *message_id == message);
        assert_eq!(run.events.iter().filter(|event| is_insert(&event.what)).count(), 1, "stored once");
    }
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_and_learns_nothing() {
    let world = world().await;
    let [ana, ben, stranger] = connect(&world, ["ana", "ben", "stranger"]).await;
    let theirs = group(&ana, &[&ben]).await;
    deliver(&ana, message(theirs, "t-1", "private")).await;
    let nowhere: ConversationId = "7d444840-9dc0-41d1-b245-5ffdce74fad2".parse().unwrap();

    let mut refusals = Vec::new();
    for conversation in [theirs, nowhere] {
        let sent = stranger.send(message(conversation, "t-1", "let me in")).await.unwrap();
        let rejected = |view: &UserView| {
            let acks = view.acks(&sent.temp_id, conversation);
            acks.iter().find(|seen| seen.ack.state == AckState::Rejected).map(|seen| seen.ack.clone())
        };
        let ack = stranger.wait_until(PATIENCE, rejected).await.unwrap();
        let states: Vec<AckState> =
            stranger.acks(&sent.temp_id, conversation).iter().map(|seen| seen.ack.state).collect();
        assert_eq!(states, [AckState::Pending, AckState::Rejected]);
        assert_eq!((ack.message_id, ack.seq), (None, None));
        let answered = |view: &UserView| view.send_answers(&sent.temp_id, conversation).first().cloned();
        let callback = stranger.wait_until(PATIENCE, answered).await.unwrap().outcome.unwrap_err();
        let request = History { conversation_id: conversation, limit: None, cursor: None, thread: None };
        let history = stranger.request(&request).await.unwrap().unwrap_err();
        assert_eq!(callback.code, ErrorCode::NotFound);
        assert_eq!(history.code, ErrorCode::NotFound);
        assert_eq!(ack.error.as_ref(), Some(&callback));
        refusals.push((callback, history));
    }
    assert_eq!(refusals[0], refusals[1], "the two cases must not differ in anything");

    world.quiesce(PATIENCE).await.unwrap();
    let listed = stranger.request(&ListConversations::default()).await.unwrap().unwrap();
    assert!(listed.conversations.is_empty());
    let foreign = |event: &ServerEvent| !matches!(event, ServerEvent::Ack(_));
    assert!(stranger.look(|view| view.seen_from(0).all(|seen| !foreign(&seen.event))), "it heard of nothing");
    assert_eq!(history(&ana, theirs).await.len(), 1, "nothing of the stranger's is stored");
    assert_eq!(ben.messages(theirs).len(), 1);
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_has_a_message_right_after_its_delivered() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;
    for number in 0..25 {
        let sent = deliver(&ana, message(conversation, &number.to_string(), "now")).await;
        let page = History {
            conversation_id: conversation,
            limit: ackscope_protocol::text::HistoryLimit::new(1),
            cursor: None,
            thread: None,
        };
        for viewer in [&ana, &ben] {
            let page = viewer.request(&page).await.unwrap().unwrap();
            assert_eq!(page.messages[0].message_id, sent, "{} reads an old history", viewer.user_id());
        }
    }
    let before: Vec<_> = history(&ben, conversation).await.iter().map(content).collect();
    world.quiesce(PATIENCE).await.unwrap();
    let stored = world.backend().unwrap().messages.history(conversation, None, None, None, 100).await.unwrap();
    assert_eq!(before, stored.iter().map(|stored| content(&stored.message)).collect::<Vec<_>>());
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_created_told_of_and_listed() {
    let world = world().await;
    let [ana, ben, cleo] = connect(&world, ["ana", "ben", "cleo"]).await;
    let direct =
        |to: &str| CreateConversation { kind: ConversationKind::Direct, participants: vec![id(to)], title: None };
    let one = ana.request(&direct("ben")).await.unwrap().unwrap().conversation;
    let same = ben.request(&direct("ana")).await.unwrap().unwrap().conversation;
    assert_eq!(one.conversation_id, same.conversation_id, "a direct conversation is one, whoever asks");
    let group = group(&ana, &[&ben, &cleo]).await;

    let names = [(&ana, 2), (&ben, 2), (&cleo, 1)];
    for (user, count) in names {
        let page = user.request(&ListConversations::default()).await.unwrap().unwrap();
        assert_eq!(page.conversations.len(), count, "{}", user.user_id());
        let listed = page.conversations.iter().find(|conversation| conversation.conversation_id == group).unwrap();
        assert!(is_exactly(listed, &["ana", "ben", "cleo"]));
        assert_eq!(user.conversations().len(), count, "{} heard of each", user.user_id());
    }
    let alone = CreateConversation { kind: ConversationKind::Direct, participants: Vec::new(), title: None };
    assert_eq!(ana.request(&alone).await.unwrap().unwrap_err().code, ErrorCode::InvalidPayload);
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_dropped_connection_sync_brings_what_was_missed_once() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;
    let mut expected = vec![deliver(&ana, message(conversation, "before", "before")).await];
    see(&ben, expected[0]).await;

    for round in 0..3 {
        world.drop_connection(ben.user_id()).await.unwrap();
        assert!(!ben.is_connected());
        assert!(ben.send(message(conversation, "down", "down")).await.is_err());
        for number in 0..10 {
            let name = format!("missed-{round}-{number}");
            expected.push(deliver(&ana, message(conversation, &name, &name)).await);
        }
        // Some are on their way while ben comes back: live, by sync, or both.
        let (reconnected, late) = tokio::join!(world.reconnect(ben.user_id()), async {
            let mut late = Vec::new();
            for number in 0..10 {
                let name = format!("late-{round}-{number}");
                late.push(deliver(&ana, message(conversation, &name, &name)).await);
            }
            late
        });
        reconnected.unwrap();
        expected.extend(late);
        for message_id in &expected {
            see(&ben, *message_id).await;
        }
        world.quiesce(PATIENCE).await.unwrap();
        let known: Vec<MessageId> = ben.messages(conversation).iter().map(|message| message.message_id).collect();
        assert_eq!(known, expected);
        assert_eq!(ben.state().duplicates, 0);
    }

    world.recorder().flush().await;
    let run = world.recorder().snapshot();
    for expected in &expected {
        let is_it = |what: &Happening| {
            matches!(what, Happening::Saw { user, event: ServerEvent::New(new) }
                if user == ben.user_id() && new.message.message_id == *expected)
        };
        assert_eq!(run.events.iter().filter(|event| is_it(&event.what)).count(), 1, "recorded once");
    }
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_answer_was_lost_is_retried_after_the_reconnect() {
    let world = world().await;
    let [ana, ben] = connect(&world, ["ana", "ben"]).await;
    let conversation = group(&ana, &[&ben]).await;
    for round in 0..5 {
        let name = format!("lost-{round}");
        let sent = ana.send(message(conversation, &name, &name)).await.unwrap();
        // Whether the frame left, arrived or was accepted, nobody knows here.
        world.drop_connection(ana.user_id()).await.unwrap();
        world.reconnect(ana.user_id()).await.unwrap();
        assert_eq!(deliver(&ana, message(conversation, &name, &name)).await, sent.message_id);
        see(&ben, sent.message_id).await;
    }
    world.quiesce(PATIENCE).await.unwrap();
    assert_eq!(history(&ben, conversation).await.len(), 5);
    assert_eq!(ben.state().duplicates, 0);
    world.shutdown().await;
}
