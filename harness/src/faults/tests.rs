//! Every fault of the table, on an embedded backend with a node and users: it is felt, it is recorded, and after a
//! reset everything answers.

use ackscope_core::limits::Limits;
use ackscope_core::log::EventLog as _;
use ackscope_protocol::UserId;
use ackscope_protocol::faults::BYTES_PER_SECOND_MIN;
use ackscope_protocol::text::MessageText;
use ackscope_protocol::wire::{AckState, ConversationKind, CreateConversation, SendMessage};

use super::*;
use crate::environment::EnvironmentOptions;
use crate::world::{World, WorldOptions};

/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(30);

fn message(conversation_id: ConversationId, number: u64) -> SendMessage {
    let text = MessageText::new(format!("message {number}")).unwrap();
    let temp_id = format!("message-{number}").parse().unwrap();
    SendMessage { conversation_id, temp_id, text: Some(text), media: Vec::new(), reply_to: None }
}

async fn world() -> World {
    // These tests count what gets through; that a busy machine is too late for a deadline is another matter.
    let limits = Limits { send_deadline: LIMIT, request_deadline: LIMIT, ..Limits::default() };
    let options = WorldOptions { environment: EnvironmentOptions::embedded(), limits, ..WorldOptions::default() };
    World::start(options).await.unwrap()
}

/// The faults a run has recorded, in order.
async fn recorded(world: &World) -> Vec<(String, String, bool)> {
    world.recorder().flush().await;
    let events = world.recorder().snapshot().events;
    let fault = |event: Arc<ackscope_protocol::trace::TraceEvent>| match event.what.clone() {
        Happening::Fault { target, kind, active } => Some((target, kind, active)),
        _ => None,
    };
    events.into_iter().filter_map(fault).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_felt_and_healed() {
    let world = world().await;
    let faults = world.faults().unwrap();
    let mut expected = Vec::new();
    for on in Dependency::ALL {
        for kind in kinds_on(on) {
            // Figures with which the very first request feels it.
            let fault = match kind {
                FaultKind::Errors => Fault::Errors { share: 1.0 },
                FaultKind::FailThenWork => Fault::FailThenWork { count: 1 },
                FaultKind::Latency => Fault::Latency { delay_ms: 200, jitter_ms: 0 },
                FaultKind::Bandwidth => Fault::Bandwidth { bytes_per_second: BYTES_PER_SECOND_MIN },
                kind => kind.usual(),
            };
            world.set_fault(on, fault).await.unwrap();
            expected.push((on.to_string(), fault.to_string(), true));
            if kind.is_once() {
                assert_eq!(faults.active(), [], "{fault} is over by itself");
            } else {
                assert_eq!(faults.active(), [(on, fault)]);
                let started = Instant::now();
                let answer = tokio::time::timeout(Duration::from_millis(150), faults.answers(on)).await;
                assert!(!matches!(answer, Ok(Ok(()))), "{fault} on {on} is not felt: {:?}", started.elapsed());
                let healed = world.reset_faults().await.unwrap();
                assert_eq!(healed.iter().map(|healed| healed.on).collect::<Vec<_>>(), Dependency::ALL);
                assert_eq!(faults.active(), []);
            }
            expected.push((on.to_string(), fault.to_string(), false));
        }
    }
    assert_eq!(recorded(&world).await, expected);
    drop(faults);
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let world = world().await;
    for (on, fault, said) in [
        (Dependency::Media, Fault::Kill, "media cannot have the fault kill; it can have outage, latency, errors"),
        (Dependency::Consumers, Fault::Outage, "consumers cannot have the fault outage; it can have pause, crash"),
        (Dependency::Kafka, Fault::Errors { share: 1.5 }, "a share is a number from 0 to 1"),
        (Dependency::Kafka, Fault::Poison { count: 0 }, "a count is a number from 1 to 10000"),
    ] {
        let refused = world.set_fault(on, fault).await.unwrap_err();
        assert!(refused.is_usage() && refused.to_string().contains(said), "{refused}");
    }
    assert_eq!(world.faults().unwrap().active(), []);
    assert_eq!(recorded(&world).await, []);
    world.shutdown().await;
    assert!(matches!(world.set_fault(Dependency::Redis, Fault::Outage).await, Err(crate::world::WorldError::Ended)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_a_time_and_one_takes_the_place_of_another() {
    let world = world().await;
    let faults = world.faults().unwrap();
    world.set_fault(Dependency::Kafka, Fault::Outage).await.unwrap();
    world.set_fault(Dependency::Redis, Fault::Hang).await.unwrap();
    world.set_fault(Dependency::Kafka, Fault::Cut).await.unwrap();
    assert_eq!(faults.active(), [(Dependency::Redis, Fault::Hang), (Dependency::Kafka, Fault::Cut)]);
    world.heal(Dependency::Redis).await.unwrap();
    // One that has none is healed as well.
    world.heal(Dependency::Media).await.unwrap();
    assert_eq!(faults.active(), [(Dependency::Kafka, Fault::Cut)]);
    world.reset_faults().await.unwrap();
    let of = |on: Dependency, kind: &str, active| (on.to_string(), kind.to_owned(), active);
    assert_eq!(
        recorded(&world).await,
        [
            of(Dependency::Kafka, "outage", true),
            of(Dependency::Redis, "hang", true),
            of(Dependency::Kafka, "outage", false),
            of(Dependency::Kafka, "cut", true),
            of(Dependency::Redis, "hang", false),
            of(Dependency::Kafka, "cut", false),
        ]
    );
    drop(faults);
    world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_fail_and_nothing_is_lost_or_doubled() {
    const MESSAGES: usize = 20;
    let world = world().await;
    let [ana, ben] = ["ana", "ben"].map(|name| name.parse().unwrap());
    let (from, _to) = (world.add_user(&ana).await.unwrap(), world.add_user(&ben).await.unwrap());
    let request = CreateConversation { kind: ConversationKind::Direct, participants: vec![ben], title: None };
    let conversation_id = from.request(&request).await.unwrap().unwrap().conversation.conversation_id;
    let mut sent = 0;
    for fault in [
        Fault::CrashBeforeWrite,
        Fault::CrashAfterWrite,
        Fault::Rebalance,
        Fault::Redeliver { count: 50 },
        Fault::Poison { count: 3 },
        Fault::Pause,
    ] {
        let on = if matches!(fault, Fault::Redeliver { .. } | Fault::Poison { .. }) {
            Dependency::Kafka
        } else {
            Dependency::Consumers
        };
        world.set_fault(on, fault).await.unwrap();
        for _ in 0..MESSAGES {
            sent += 1;
            from.send(message(conversation_id, sent)).await.unwrap();
        }
        if fault == Fault::Pause {
            let quiet = world.quiesce(Duration::from_millis(500)).await;
            assert!(matches!(quiet, Err(crate::world::WorldError::NotQuiet { .. })), "paused consumers lag: {quiet:?}");
        }
        world.reset_faults().await.unwrap();
        world.quiesce(Duration::from_secs(30)).await.unwrap();
    }
    world.recorder().flush().await;
    let history = crate::history::History::of(&world.recorder().snapshot().events);
    let stored = crate::stored::read(&world, &history).await.unwrap();
    let audit = crate::audit::audit_history(&history, &stored);
    assert_eq!(audit.findings, []);
    assert_eq!(audit.promises.outcomes, sent);
    let stored: usize = stored.conversations.iter().map(|conversation| conversation.messages.len()).sum();
    assert_eq!(stored, MESSAGES * 6);
    let dead = world.backend().unwrap().log.end(Topic::DeadLetter).await.unwrap();
    assert_eq!(dead.iter().map(|end| end.offset).sum::<u64>(), 3);
    world.shutdown().await;
}

/// A message that is in the log while the node cannot read it: who comes and goes meanwhile must have it in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_syncs_while_the_node_is_behind_misses_nothing() {
    let world = world().await;
    let [ana, ben] = ["ana", "ben"].map(|name: &str| name.parse::<UserId>().unwrap());
    let from = world.add_user(&ana).await.unwrap();
    let to = world.add_user(&ben).await.unwrap();
    let request = CreateConversation { kind: ConversationKind::Direct, participants: vec![ben.clone()], title: None };
    let conversation_id = from.request(&request).await.unwrap().unwrap().conversation.conversation_id;
    let mut number = 0;
    for _ in 0..5 {
        to.drop_connection().await;
        // What is published is in the log, and in a moment nobody can read it any more.
        world.set_fault(Dependency::Kafka, Fault::Cut).await.unwrap();
        let sent = loop {
            number += 1;
            let sent = from.send(message(conversation_id, number)).await.unwrap();
            let state = from.wait_until(LIMIT, |view| {
                let acks = view.acks(&sent.temp_id, conversation_id);
                acks.iter().map(|seen| seen.ack.state).find(|state| *state != AckState::Pending)
            });
            if state.await.unwrap() == AckState::Rejected {
                break sent;
            }
        };
        world.heal(Dependency::Kafka).await.unwrap();
        // The log answers again, and the node reads it again a moment later.
        world.reconnect(&ben).await.unwrap();
        to.drop_connection().await;
        world.quiesce(LIMIT).await.unwrap();
        world.reconnect(&ben).await.unwrap();
        let seen = to
            .wait_until(LIMIT, |view| {
                let messages = view.messages(conversation_id);
                messages.iter().any(|message| message.message_id == sent.message_id).then_some(())
            })
            .await;
        seen.unwrap_or_else(|error| panic!("message {number}: {error}"));
    }
    world.shutdown().await;
}

#[tokio::test]
async fn what_happens_once_waits_for_what_does_not_answer() {
    let mut asked = 0;
    let answered = super::when_it_answers(|| {
        asked += 1;
        std::future::ready(if asked < 3 { Err("out") } else { Ok(asked) })
    });
    assert_eq!(answered.await, Ok(3));
}

/// A poll that waits already when the pause begins does not get what comes afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_handed_out_once_consumers_pause() {
    let world = world().await;
    let log = Arc::clone(&world.backend().unwrap().log);
    let members = Members::new();
    let log = FaultyLog { log, switch: Switch::new(1), members: members.clone() };
    // Nobody else reads this topic.
    let mut member = log.subscribe("pausing", &[Topic::DeadLetter]).await.unwrap();
    {
        let mut waiting = member.poll(10, LIMIT);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        members.pause(true);
        let value = Bytes::from_static(b"{}");
        let record = NewRecord { topic: Topic::DeadLetter, key: "key".to_owned(), headers: Vec::new(), value };
        log.publish(record).await.unwrap();
        assert_eq!(waiting.await.unwrap(), []);
    }
    assert_eq!(member.poll(10, Duration::ZERO).await.unwrap(), []);
    members.pause(false);
    let records = member.poll(10, LIMIT).await.unwrap();
    assert_eq!(records.iter().map(|record| record.key.as_str()).collect::<Vec<_>>(), ["key"]);
    drop(member);
    world.shutdown().await;
}
