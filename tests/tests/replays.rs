//! Whatever batches the records of a busy run come in, however often, in whatever order of their partitions, and
//! wherever a consumer dies: the store ends the same, row for row (S1.6).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ackscope_core::clock::Clock;
use ackscope_core::consumers::POLL_MAX;
use ackscope_core::consumers::conversation_persistence::ConversationPersistence;
use ackscope_core::consumers::group::Work as _;
use ackscope_core::consumers::message_persistence::MessagePersistence;
use ackscope_core::conversations::Conversations;
use ackscope_core::limits::Limits;
use ackscope_core::log::{EventLog, NewRecord, Record, Topic, TopicPartition};
use ackscope_core::node::{Backend, EMBEDDED_FILE, EmbeddedBackendOptions};
use ackscope_core::probe::Probe;
use ackscope_core::producers::{AcknowledgmentProducer, Outbox};
use ackscope_core::record::{self, MessageDelivered, Outcome};
use ackscope_harness::users::SimulatedUser;
use ackscope_protocol::text::{Emoji, MessageText};
use ackscope_protocol::wire::{
    AddParticipant, AddedRole, ArchiveConversation, ConversationKind, CreateConversation, DeleteMessage, DeleteMode,
    EditMessage, ForwardMessages, LeaveConversation, MessageRef, MuteConversation, React, RemoveParticipant, Request,
    Unreact,
};
use ackscope_protocol::{ConversationId, ErrorCode, MessageId};
use ackscope_tests::contract::embedded::dump;
use ackscope_tests::contract::eventually;
use ackscope_tests::contract::repositories::Dump;
use ackscope_tests::faulty::{FaultyLog, FaultyMessages, POISON, PublishFault};
use ackscope_tests::node::TestNode;
use ackscope_tests::people::{deliver, id, message, patient_limits};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// What the persistence groups read.
const TOPICS: [Topic; 4] =
    [Topic::ConversationUpdated, Topic::MessageSent, Topic::MessageEdited, Topic::MessageDeleted];

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// A run's records, and what they come to.
struct Run {
    /// In the order they were appended.
    records: Vec<Record>,
    end: End,
}

/// What a run comes to.
#[derive(Debug, PartialEq)]
struct End {
    /// The tables of the repositories.
    store: Dump,
    /// What became of each message.
    outcomes: BTreeMap<MessageId, Outcome>,
    /// Where each dead letter stood.
    dead: BTreeSet<(String, String, String)>,
}

impl End {
    async fn of(file: &std::path::Path, log: &dyn EventLog) -> Self {
        let tables =
            ["conversations", "participants", "outbox", "messages", "message_states", "message_media", "hidden_runs"];
        let store: Dump = dump(file).into_iter().filter(|(name, _)| tables.contains(&name.as_str())).collect();
        assert_eq!(store.len(), tables.len());
        let mut outcomes = BTreeMap::new();
        for record in records(log, &[Topic::MessageDelivered]).await {
            let told = record::decode::<MessageDelivered>(&record).unwrap().data;
            let first = outcomes.entry(told.message_id).or_insert_with(|| told.outcome.clone());
            assert_eq!(*first, told.outcome, "a message that is worked on again comes to something else");
        }
        let header = |record: &Record, name: &str| {
            record.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap()
        };
        let place = |record: &Record| {
            let [topic, partition, offset] =
                ["topic", "partition", "offset"].map(|name| header(record, &format!("dead-letter-{name}")));
            (topic, partition, offset)
        };
        let dead = records(log, &[Topic::DeadLetter]).await.iter().map(place).collect();
        Self { store, outcomes, dead }
    }

    /// Fails with the rows that differ.
    fn assert_same(&self, other: &Self, what: &str) {
        for ((name, rows), (_, others)) in self.store.iter().zip(&other.store) {
            let rows: BTreeSet<&String> = rows.iter().collect();
            let others: BTreeSet<&String> = others.iter().collect();
            let missing: Vec<_> = rows.difference(&others).collect();
            let extra: Vec<_> = others.difference(&rows).collect();
            assert!(missing.is_empty() && extra.is_empty(), "{what}: {name}: lacks {missing:#?} and has {extra:#?}");
        }
        assert_eq!(self, other, "{what}");
    }
}

async fn records(log: &dyn EventLog, topics: &[Topic]) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in topics {
        for end in log.end(*topic).await.unwrap() {
            let mut from = 0;
            while from < end.offset {
                let read = log.read(end.topic_partition(), from, 500).await.unwrap();
                from = read.last().unwrap().position.offset + 1;
                records.extend(read);
            }
        }
    }
    // Within a partition the sort leaves the order of the log as it is.
    records.sort_by_key(|record| record.appended_at);
    records
}

async fn ok<R: Request>(user: &SimulatedUser, request: &R) -> Option<R::Answer> {
    match user.request(request).await.unwrap() {
        Ok(answer) => Some(answer),
        // By whom and on what is up to the numbers.
        Err(error) => {
            let is_expected = !matches!(error.code, ErrorCode::Internal | ErrorCode::InvalidPayload);
            assert!(is_expected, "`{}`: {error:?}", R::EVENT);
            None
        }
    }
}

/// Four people do everything that leaves a record.
async fn busy_run() -> Run {
    let limits = Limits { events_per_sec: 1_000_000, events_burst: 1_000_000, ..patient_limits() };
    let mut faulty = None;
    let node = TestNode::start_on(limits, |backend| {
        let log = FaultyLog::new(Arc::clone(&backend.log));
        faulty = Some(Arc::clone(&log));
        Backend { log, messages: FaultyMessages::new(backend.messages), ..backend }
    })
    .await;
    let log = faulty.unwrap();
    let mut users = Vec::new();
    for name in ["ana", "ben", "cleo", "dora"] {
        users.push(node.connect(name).await);
    }
    let everybody: Vec<_> = users.iter().map(|user| user.user_id().clone()).collect();
    let mut conversations: Vec<ConversationId> = Vec::new();
    for kind in [ConversationKind::Group, ConversationKind::Channel, ConversationKind::Group, ConversationKind::Direct]
    {
        let participants = if kind == ConversationKind::Direct { everybody[1..2].to_vec() } else { everybody.clone() };
        let create = CreateConversation { kind, participants, title: None };
        conversations.push(ok(&users[0], &create).await.unwrap().conversation.conversation_id);
    }

    let mut numbers = Numbers(7);
    let mut messages: Vec<(ConversationId, MessageId)> = Vec::new();
    for number in 0..260 {
        let user = Arc::clone(numbers.pick(&users));
        let at = *numbers.pick(&conversations);
        let doing = numbers.below(16);
        if doing < 5 || messages.is_empty() {
            let mut send = message(at, &format!("t{number}"), &format!("text {number}"));
            if numbers.below(3) == 0 {
                send.reply_to = messages.iter().rev().find(|(in_this, _)| *in_this == at).map(|(_, id)| *id);
            }
            if let Some(sent) = ok(&user, &send).await {
                messages.push((at, sent.message_id));
            }
            continue;
        }
        let (conversation_id, message_id) = *numbers.pick(&messages);
        let emoji = Emoji::new(*numbers.pick(&["👍", "🎉"])).unwrap();
        match doing {
            5 | 6 => {
                let text = MessageText::new(format!("edit {}", number % 3)).unwrap();
                // Its sender is one of them.
                for user in &users {
                    ok(user, &EditMessage { conversation_id, message_id, text: text.clone() }).await;
                }
            }
            7 | 8 => drop(ok(&user, &React { conversation_id, message_id, emoji }).await),
            9 => drop(ok(&user, &Unreact { conversation_id, message_id, emoji }).await),
            10 | 11 => {
                let mode = *numbers.pick(&[DeleteMode::ForMe, DeleteMode::ForMe, DeleteMode::Soft, DeleteMode::Hard]);
                ok(&user, &DeleteMessage { conversation_id, message_id, mode }).await;
            }
            12 => {
                let messages = vec![MessageRef { conversation_id, message_id }];
                let temp_id = format!("f{}", number % 5).parse().unwrap();
                let targets = conversations[..2].to_vec();
                ok(&users[0], &ForwardMessages { messages, targets, temp_id }).await;
            }
            13 => {
                let user_id = user.user_id().clone();
                ok(&users[0], &RemoveParticipant { conversation_id: at, user_id: user_id.clone() }).await;
                let role = Some(AddedRole::Admin).filter(|_| number % 2 == 0);
                ok(&users[0], &AddParticipant { conversation_id: at, user_id, role }).await;
            }
            14 => drop(ok(&user, &MuteConversation { conversation_id: at, duration_secs: Some(60) }).await),
            _ => drop(ok(&user, &ArchiveConversation { conversation_id: at }).await),
        }
    }
    ok(&users[3], &LeaveConversation { conversation_id: conversations[2] }).await;

    // What fails: a send and an edit that are refused, a message that can never be stored and is reacted to, records
    // that do not read, a message and a forward that stand in the log twice.
    log.fail_next(&[PublishFault::Unavailable]);
    assert!(ok(&users[0], &message(conversations[0], "refused", "refused")).await.is_none());
    log.fail_next_on(Topic::MessageEdited, &[PublishFault::Unavailable]);
    let (conversation_id, message_id) =
        (conversations[0], deliver(&users[0], message(conversations[0], "m", "m")).await);
    let text = MessageText::new("refused").unwrap();
    assert!(ok(&users[0], &EditMessage { conversation_id, message_id, text }).await.is_none());
    let poison = deliver(&users[0], message(conversations[0], "poison", POISON)).await;
    let emoji = Emoji::new("👍").unwrap();
    ok(&users[0], &React { conversation_id, message_id: poison, emoji }).await;
    let before = records(log.as_ref(), &TOPICS).await;
    let of_topic = |topic| before.iter().filter(move |record| record.position.topic == topic);
    let forwards = of_topic(Topic::MessageEdited)
        .filter(|record| String::from_utf8_lossy(&record.value).contains("\"forwarded\""));
    let again = of_topic(Topic::MessageSent).step_by(9).chain(forwards.step_by(2)).map(new_record);
    let garbage = TOPICS.map(|topic| NewRecord {
        topic,
        key: conversations[0].to_string(),
        headers: Vec::new(),
        value: Bytes::from_static(b"{\"version\":1,\"data\":[]}"),
    });
    for record in again.chain(garbage) {
        log.publish(record).await.unwrap();
    }
    deliver(&users[0], message(conversations[0], "last", "last")).await;

    eventually("everything is worked on", async || {
        node.node.unpersisted() == 0 && node.node.lag().await.unwrap().iter().all(|(.., behind)| *behind == 0)
    })
    .await;
    let run = Run {
        records: records(log.as_ref(), &TOPICS).await,
        end: End::of(&node.file(), node.backend.log.as_ref()).await,
    };
    assert_eq!(run.end.dead.len(), TOPICS.len() + 1, "{:?}", run.end.dead);
    assert!(
        run.end
            .store
            .iter()
            .all(|(name, rows)| rows.is_empty() == ["outbox", "message_media"].contains(&name.as_str()))
    );
    for topic in TOPICS {
        let count = run.records.iter().filter(|record| record.position.topic == topic).count();
        assert!(count > 15, "{count} records on {topic}");
    }
    assert!(run.end.outcomes.values().any(|outcome| matches!(outcome, Outcome::Failed { .. })));
    assert_eq!(everybody[0], id("ana"));
    node.shutdown().await;
    run
}

fn new_record(record: &Record) -> NewRecord {
    let Record { position, key, headers, value, .. } = record.clone();
    NewRecord { topic: position.topic, key, headers, value }
}

/// Gives the records to the persistence consumers of an empty backend in these batches, and says what it comes to.
async fn replay<'a>(batches: impl IntoIterator<Item = &'a [Record]>) -> End {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let backend = Backend::embedded(dir.path(), &clock, EmbeddedBackendOptions::default()).unwrap();
    let stop = CancellationToken::new();
    let conversations = Conversations::new(
        Arc::clone(&backend.conversations),
        Arc::clone(&backend.participants),
        Arc::clone(&backend.cache),
        clock.clone(),
        Arc::new(Outbox::default()),
    );
    let of_conversations = ConversationPersistence {
        log: Arc::clone(&backend.log),
        repository: Arc::clone(&backend.conversations),
        conversations: Arc::new(conversations),
        clock: clock.clone(),
        stop: stop.clone(),
    };
    let of_messages = MessagePersistence {
        log: Arc::clone(&backend.log),
        messages: FaultyMessages::new(Arc::clone(&backend.messages)),
        acknowledgments: AcknowledgmentProducer::new(Arc::clone(&backend.log), stop.clone()),
        clock,
        probe: Probe::off(),
        stop,
    };
    for batch in batches {
        let is_conversation = |record: &Record| record.position.topic == Topic::ConversationUpdated;
        let (conversations, messages): (Vec<Record>, Vec<Record>) = batch.iter().cloned().partition(is_conversation);
        assert!(conversations.is_empty() || of_conversations.work(&conversations).await);
        assert!(messages.is_empty() || of_messages.work(&messages).await);
    }
    End::of(&dir.path().join(EMBEDDED_FILE), backend.log.as_ref()).await
}

/// The records in another order, in which each partition keeps its own: which partition goes on is up to `next`.
fn interleaved(records: &[Record], mut next: impl FnMut(&[TopicPartition]) -> usize) -> Vec<Record> {
    let mut partitions: BTreeMap<TopicPartition, VecDeque<Record>> = BTreeMap::new();
    for record in records {
        partitions.entry(record.position.topic_partition()).or_default().push_back(record.clone());
    }
    let mut order = Vec::with_capacity(records.len());
    while !partitions.is_empty() {
        let open: Vec<TopicPartition> = partitions.keys().copied().collect();
        let place = open[next(&open)];
        let queue = partitions.get_mut(&place).unwrap();
        order.extend(queue.pop_front());
        if queue.is_empty() {
            partitions.remove(&place);
        }
    }
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_replayed_in_any_way_leaves_the_same_store() {
    let run = busy_run().await;
    let records = &run.records;
    for size in [1, 2, 3, 5, 7, 50, 500, records.len()] {
        run.end.assert_same(&replay(records.chunks(size)).await, &format!("batches of {size}"));
    }

    let twice: Vec<Record> = records.iter().flat_map(|record| [record.clone(), record.clone()]).collect();
    for size in [1, 2, 3, 50] {
        run.end.assert_same(&replay(twice.chunks(size)).await, &format!("every record twice, batches of {size}"));
    }
    for size in [7, 500] {
        let again = records.chunks(size).chain(records.chunks(size));
        run.end.assert_same(&replay(again).await, &format!("the run twice, batches of {size}"));
        // As after a crash before each commit: the batch comes again with what came after it.
        let overlapping =
            (0..records.len()).step_by(size).map(|from| &records[from..records.len().min(from + 2 * size)]);
        run.end.assert_same(&replay(overlapping).await, &format!("every batch of {size} again with the next"));
    }

    // A topic as a whole after another.
    let topics_in = |order: [Topic; 4]| {
        interleaved(records, move |open| {
            let rank = |place: &TopicPartition| order.iter().position(|topic| *topic == place.topic);
            (0..open.len()).min_by_key(|index| rank(&open[*index])).unwrap()
        })
    };
    let [updated, sent, edited, deleted] = TOPICS;
    for order in [
        [updated, sent, edited, deleted],
        [deleted, edited, sent, updated],
        [edited, sent, deleted, updated],
        [deleted, sent, updated, edited],
    ] {
        for size in [5, 500] {
            let end = replay(topics_in(order).chunks(size)).await;
            run.end.assert_same(&end, &format!("{order:?}, batches of {size}"));
        }
    }
    for seed in 0..12 {
        let mut numbers = Numbers(seed);
        let order = interleaved(records, |open| numbers.below(open.len()));
        let size = *numbers.pick(&[1, 4, 30, 500]);
        run.end.assert_same(&replay(order.chunks(size)).await, &format!("order {seed}, batches of {size}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_dies_between_the_write_and_the_commit_leaves_the_same_store() {
    let run = busy_run().await;
    let mut faulty = None;
    let node = TestNode::start_on(patient_limits(), |backend| {
        let log = FaultyLog::new(Arc::clone(&backend.log));
        log.fail_commits();
        faulty = Some(Arc::clone(&log));
        Backend { log, messages: FaultyMessages::new(backend.messages), ..backend }
    })
    .await;
    let log = faulty.unwrap();
    // Nothing is ever committed, so everything has to come in one poll.
    assert!(run.records.len() < POLL_MAX, "{} records", run.records.len());
    for record in &run.records {
        let position = log.publish(new_record(record)).await.unwrap();
        assert_eq!(position, record.position, "a record's place follows from its key and what was before it");
    }
    let end = async || End::of(&node.file(), log.as_ref()).await;
    eventually("everything is written", async || end().await == run.end).await;
    let lag = node.node.lag().await.unwrap();
    assert!(lag.iter().all(|(.., behind)| *behind > 0), "something is committed: {lag:?}");

    // The next node gets all of it again.
    let node = node.restart().await;
    log.accept();
    eventually("everything is committed", async || {
        node.node.lag().await.unwrap().iter().all(|(.., behind)| *behind == 0)
    })
    .await;
    run.end.assert_same(&End::of(&node.file(), log.as_ref()).await, "after the last commit");
    node.shutdown().await;
}
