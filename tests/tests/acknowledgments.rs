//! The promises of S1.5 when the log or the store fail: one message for one `temp_id`, one outcome, and nothing
//! told that is not so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use ackscope_core::limits::Limits;
use ackscope_core::log::Topic;
use ackscope_core::node::Backend;
use ackscope_harness::socketio::Pace;
use ackscope_harness::users::{SimulatedUser, UserView};
use ackscope_protocol::wire::{AckState, SendMessage, ServerEvent};
use ackscope_protocol::{ConversationId, ErrorCode};
use ackscope_tests::faulty::{FaultyLog, FaultyMessages, POISON, PublishFault, SHORT_DEADLINE};
use ackscope_tests::node::TestNode;
use ackscope_tests::people::{PATIENCE, deliver, group, history, message, patient_limits, see};

/// Waits until the sender has been told so many acknowledgments, and gives their states and codes.
async fn acks(user: &SimulatedUser, sent: &SendMessage, count: usize) -> Vec<(AckState, Option<ErrorCode>)> {
    user.wait_until(PATIENCE, |view| {
        let acks = view.acks(&sent.temp_id, sent.conversation_id);
        let told = acks.iter().map(|seen| (seen.ack.state, seen.ack.error.as_ref().map(|error| error.code)));
        (acks.len() >= count).then(|| told.collect())
    })
    .await
    .unwrap()
}

struct Scene {
    node: TestNode,
    log: Arc<FaultyLog>,
    messages: Arc<FaultyMessages>,
    ana: Arc<SimulatedUser>,
    ben: Arc<SimulatedUser>,
    group: ConversationId,
}

impl Scene {
    async fn open(limits: Limits) -> Self {
        let mut parts = None;
        let node = TestNode::start_on(limits, |backend| {
            let (log, messages) = (FaultyLog::new(backend.log.clone()), FaultyMessages::new(backend.messages.clone()));
            parts = Some((Arc::clone(&log), Arc::clone(&messages)));
            Backend { log, messages, ..backend }
        })
        .await;
        let (log, messages) = parts.unwrap();
        let (ana, ben) = (node.connect("ana").await, node.connect("ben").await);
        let group = group(&ana, &[&ben]).await;
        Self { node, log, messages, ana, ben, group }
    }

    /// Everybody sees exactly these texts, live and in the history, and nobody saw anything twice.
    async fn is_exactly(&self, texts: &[&str]) {
        let stored: Vec<String> = history(&self.ana, self.group)
            .await
            .iter()
            .rev()
            .map(|message| message.text.as_ref().map(ToString::to_string).unwrap_or_default())
            .collect();
        assert_eq!(stored, texts);
        self.ben.catch_up().await.unwrap();
        assert_eq!(self.ben.messages(self.group).len(), texts.len());
        assert_eq!(self.ben.look(UserView::duplicates), 0);
    }
}

fn hasty() -> Limits {
    Limits { send_deadline: SHORT_DEADLINE, ..patient_limits() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_off_rejects_and_leaves_nothing_behind() {
    let scene = Scene::open(patient_limits()).await;
    scene.log.fail_next(&[PublishFault::Unavailable]);
    let sent = message(scene.group, "m", "hello");
    scene.ana.send(sent.clone()).await.unwrap();
    let told = acks(&scene.ana, &sent, 2).await;
    assert_eq!(told, [(AckState::Pending, None), (AckState::Rejected, Some(ErrorCode::LogUnavailable))]);
    scene.is_exactly(&[]).await;
    // The same message again is an attempt of its own.
    let message_id = deliver(&scene.ana, sent).await;
    see(&scene.ben, message_id).await;
    scene.is_exactly(&["hello"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_superseded_when_the_record_turns_up() {
    let scene = Scene::open(hasty()).await;
    scene.log.fail_next(&[PublishFault::WrittenAndSilent]);
    let sent = message(scene.group, "m", "hello");
    scene.ana.send(sent.clone()).await.unwrap();
    // The reader of the log hears of it long before the deadline: it is told as delivered, not rejected.
    let told = acks(&scene.ana, &sent, 3).await;
    let states: Vec<AckState> = told.iter().map(|(state, _)| *state).collect();
    assert_eq!(states[..2], [AckState::Pending, AckState::Delivered], "{told:?}");
    scene.is_exactly(&["hello"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_record_ends_in_outcome_unknown_and_sending_again_makes_one_message() {
    let scene = Scene::open(hasty()).await;
    scene.log.fail_next(&[PublishFault::LostAndSilent]);
    let sent = message(scene.group, "m", "hello");
    scene.ana.send(sent.clone()).await.unwrap();
    let told = acks(&scene.ana, &sent, 2).await;
    assert_eq!(told, [(AckState::Pending, None), (AckState::Rejected, Some(ErrorCode::OutcomeUnknown))]);
    let message_id = deliver(&scene.ana, sent).await;
    see(&scene.ben, message_id).await;
    scene.is_exactly(&["hello"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_the_store_does_not_answer_has_the_outcome_of_a_quicker_one() {
    let scene = Scene::open(hasty()).await;
    let other = scene.node.connect("ana").await;
    let sent = message(scene.group, "m", "hello");
    scene.messages.reads().hold();
    scene.ana.send(sent.clone()).await.unwrap();
    assert!(scene.messages.reads().is_held().await);
    let message_id = deliver(&other, sent.clone()).await;
    // It is held until its time is up; the message is delivered all the same.
    let told = acks(&scene.ana, &sent, 2).await;
    assert_eq!(told[..2], [(AckState::Pending, None), (AckState::Delivered, None)]);
    scene.messages.reads().release();
    see(&scene.ben, message_id).await;
    scene.is_exactly(&["hello"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_stands_in_the_log_twice_is_stored_once_and_seen_once() {
    let scene = Scene::open(patient_limits()).await;
    let sent = message(scene.group, "m", "hello");
    let message_id = deliver(&scene.ana, sent).await;
    acks(&scene.ana, &message(scene.group, "m", "hello"), 3).await;

    // The record again, as a producer would write it that crashed between sending and hearing.
    let log = &scene.node.backend.log;
    let mut written = Vec::new();
    for end in log.end(Topic::MessageSent).await.unwrap() {
        written.extend(log.read(end.topic_partition(), 0, 10).await.unwrap());
    }
    let [record] = written.try_into().unwrap();
    let again = ackscope_core::log::NewRecord {
        topic: Topic::MessageSent,
        key: record.key,
        headers: record.headers,
        value: record.value,
    };
    log.publish(again).await.unwrap();

    // A message behind it has been through everything: so has the repetition before it.
    let behind = message(scene.group, "behind", "behind");
    see(&scene.ben, deliver(&scene.ana, behind.clone()).await).await;
    acks(&scene.ana, &behind, 3).await;
    scene.is_exactly(&["hello", "behind"]).await;
    assert_eq!(history(&scene.ben, scene.group).await[1].message_id, message_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_is_found_while_nothing_can_be_persisted() {
    let scene = Scene::open(patient_limits()).await;
    scene.messages.switch_off();
    let first = message(scene.group, "first", "first");
    let parent = deliver(&scene.ana, first.clone()).await;
    let mut reply = message(scene.group, "reply", "reply");
    reply.reply_to = Some(parent);
    let reply_id = deliver(&scene.ana, reply).await;
    let seen = see(&scene.ben, reply_id).await;
    assert_eq!((seen.reply_to, seen.thread_root), (Some(parent), Some(parent)));
    scene.is_exactly(&["first", "reply"]).await;
    // Sending again is known again, though no store has it.
    assert_eq!(deliver(&scene.ana, first.clone()).await, parent);
    assert_eq!(scene.node.node.unpersisted(), 2);

    scene.messages.switch_on();
    // Pending and delivered twice, then persisted.
    let told = acks(&scene.ana, &first, 5).await;
    assert_eq!(told.last().unwrap().0, AckState::Persisted);
    scene.is_exactly(&["first", "reply"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_to_be_persisted_is_refused_and_nothing_is_lost() {
    let scene = Scene::open(Limits { unpersisted_max: 3, ..patient_limits() }).await;
    scene.messages.switch_off();
    for name in ["1", "2", "3"] {
        deliver(&scene.ana, message(scene.group, name, name)).await;
    }
    let refused = message(scene.group, "4", "4");
    scene.ana.send(refused.clone()).await.unwrap();
    let told = acks(&scene.ana, &refused, 2).await;
    assert_eq!(told[1], (AckState::Rejected, Some(ErrorCode::Overloaded)));

    scene.messages.switch_on();
    acks(&scene.ana, &message(scene.group, "3", "3"), 3).await;
    deliver(&scene.ana, refused).await;
    scene.is_exactly(&["1", "2", "3", "4"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_stored_is_withdrawn_and_kept_as_a_dead_letter() {
    let scene = Scene::open(patient_limits()).await;
    let poison = message(scene.group, "poison", POISON);
    let healthy = message(scene.group, "healthy", "healthy");
    let withdrawn = deliver(&scene.ana, poison.clone()).await;
    deliver(&scene.ana, healthy).await;
    let told = acks(&scene.ana, &poison, 3).await;
    assert_eq!(told[2], (AckState::Rejected, Some(ErrorCode::Internal)));
    let is_withdrawal =
        |event: &ServerEvent| matches!(event, ServerEvent::Deleted(deleted) if deleted.message_id == withdrawn);
    scene.ben.wait_for(0, PATIENCE, is_withdrawal).await.unwrap();
    let texts: Vec<_> = history(&scene.ben, scene.group).await.into_iter().map(|message| message.text).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");

    let log = &scene.node.backend.log;
    let mut dead = Vec::new();
    for end in log.end(Topic::DeadLetter).await.unwrap() {
        dead.extend(log.read(end.topic_partition(), 0, 10).await.unwrap());
    }
    assert_eq!(dead.len(), 1);
    assert!(
        dead[0].headers.iter().any(|(name, value)| name == "dead-letter-reason" && value.contains("cannot be stored"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_the_limit_is_refused_with_a_code_and_a_place_is_given_back() {
    let node = TestNode::start_with(Limits { connections_max: 1, ..patient_limits() }).await;
    let ana = node.connect("ana").await;
    let refused = node.try_connect("ben").await.expect_err("there is no place");
    assert_eq!(ackscope_harness::users::refusal_code(&refused), Some(ErrorCode::Overloaded));
    ana.disconnect().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while node.try_connect("ben").await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the place is not given back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_is_told_that_it_missed_something_and_finds_it() {
    let limits =
        Limits { outbound_queue_max: 512, events_per_sec: 1_000_000, events_burst: 1_000_000, ..patient_limits() };
    let scene = Scene::open(limits).await;
    let text = "x".repeat(4_000);
    scene.ben.set_pace(Pace::Paused).unwrap();
    // More than the queue and the buffers of both ends of the connection hold; Ana reads hers.
    for number in 0..4_000 {
        let name = number.to_string();
        scene.ana.send(message(scene.group, &name, &text)).await.unwrap();
        if number % 25 == 24 {
            let last = message(scene.group, &name, &text);
            scene
                .ana
                .wait_until(PATIENCE, |view| (view.acks(&last.temp_id, scene.group).len() >= 2).then_some(()))
                .await
                .unwrap();
        }
    }
    scene.ben.set_pace(Pace::Full).unwrap();
    // The first event that fits is led by the error.
    let is_told =
        |event: &ServerEvent| matches!(event, ServerEvent::Error(error) if error.code == ErrorCode::Overloaded);
    let mut after = 0;
    loop {
        after += 1;
        assert!(after < 100, "ben is not told");
        deliver(&scene.ana, message(scene.group, &format!("after {after}"), "after")).await;
        if scene.ben.wait_for(0, Duration::from_millis(500), is_told).await.is_ok() {
            break;
        }
    }
    scene.ben.reconnect().await.unwrap();
    assert_eq!(scene.ben.messages(scene.group).len(), 4_000 + after);
}
