//! What only a MongoDB server can do to its repositories: leave a change half done, be silent, go away, and refuse
//! part of a transaction.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use ackscope_core::log::Topic;
use ackscope_core::repositories::mongodb::{MongoOptions, MongoStore};
use ackscope_core::repositories::{
    ConversationRepository as _, CreateOutcome, MessageRepository as _, OutboxEntry, ParticipantRepository as _,
    StoreError, StoredConversation, StoredParticipant, UpdateOutcome,
};
use ackscope_harness::environment::network::Link;
use ackscope_protocol::faults::Fault;
use ackscope_protocol::wire::{ConversationKind, Message, Role};
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use ackscope_tests::contract::eventually;
use ackscope_tests::contract::mongodb::{MongoPlace, MongoSetPlace, server_of};
use ackscope_tests::contract::repositories::StorePlace as _;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use uuid::Uuid;

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn conversation_id() -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(1))
}

fn conversation(version: u64, names: &[&str]) -> StoredConversation {
    let participant = |name: &&str| StoredParticipant {
        user_id: user(name),
        role: Role::Member,
        joined_at: Timestamp::from_millis(1),
        muted_until: None,
        archived: false,
        removed_at: None,
    };
    StoredConversation {
        conversation_id: conversation_id(),
        kind: ConversationKind::Group,
        title: None,
        created_at: Timestamp::from_millis(1),
        version,
        participants: names.iter().map(participant).collect(),
    }
}

fn entry(key: &str) -> OutboxEntry {
    OutboxEntry {
        outbox_id: 0,
        topic: Topic::ConversationUpdated,
        key: key.into(),
        headers: Vec::new(),
        value: b"{}".to_vec(),
    }
}

fn message(number: u64) -> Message {
    let message_id = MessageId::from_uuid(Uuid::from_u128(number.into()));
    Message { seq: number, ..Message::new(message_id, conversation_id(), user("ana"), Timestamp::from_millis(1)) }
}

async fn documents(store: &MongoStore, collection: &str) -> Vec<Document> {
    let found = store.database().collection(collection).find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
    found.try_collect().await.unwrap()
}

async fn is_settled(store: &MongoStore) -> bool {
    documents(store, "conversations").await.iter().all(|document| !document.contains_key("unsettled"))
}

// ---- without transactions ---------------------------------------------------------------------------------

/// Where a writer ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    BeforeParticipants,
    AmongParticipants,
    BeforeTheMark,
}

/// A conversation whose second version was written by somebody who ended too early: `ben` is gone, `cleo` is new,
/// `ana` has archived it.
async fn left_half_done(place: &MongoPlace, ended: Ended) -> (MongoStore, StoredConversation) {
    let store = place.store().await;
    assert!(!store.has_transactions());
    let conversations = store.conversations();
    let first = conversation(1, &["ana", "ben"]);
    assert_eq!(conversations.create(&first, &[entry("first")]).await, Ok(CreateOutcome::Created));
    let before = documents(&store, "participants").await;
    let mut second = conversation(2, &["ana", "ben", "cleo"]);
    second.participants[0].archived = true;
    second.participants[1].removed_at = Some(Timestamp::from_millis(2));
    assert_eq!(conversations.update(&second, &[entry("second")]).await, Ok(UpdateOutcome::Updated));

    // Taken back to where it was, step by step.
    let database = store.database();
    let unsettled = doc! { "$set": { "unsettled": 2_i64 } };
    database.collection::<Document>("conversations").update_one(doc! {}, unsettled).await.unwrap();
    let participants = database.collection::<Document>("participants");
    match ended {
        Ended::BeforeParticipants => {
            participants.delete_many(doc! {}).await.unwrap();
            participants.insert_many(before).await.unwrap();
        }
        Ended::AmongParticipants => {
            let last = before.last().unwrap();
            participants.replace_one(doc! { "_id": last.get("_id") }, last).await.unwrap();
            participants.delete_one(doc! { "user_id": "cleo" }).await.unwrap();
        }
        Ended::BeforeTheMark => {}
    }
    (store, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_left_half_done_is_finished_by_whoever_looks_next() {
    if !MongoPlace::is_available().await {
        return;
    }
    for ended in [Ended::BeforeParticipants, Ended::AmongParticipants, Ended::BeforeTheMark] {
        for reader in ["find", "update", "catch_up", "list", "ids", "outbox", "start"] {
            let place = MongoPlace::fresh().await;
            let (mut store, second) = left_half_done(&place, ended).await;
            assert!(!is_settled(&store).await);
            let (conversations, participants) = (store.conversations(), store.participants());
            match reader {
                "find" => assert_eq!(conversations.find(conversation_id()).await, Ok(Some(second.clone()))),
                "update" => {
                    let third = StoredConversation { version: 3, ..second.clone() };
                    assert_eq!(conversations.update(&third, &[]).await, Ok(UpdateOutcome::Updated));
                }
                "catch_up" => {
                    let ninth = StoredConversation { version: 9, ..second.clone() };
                    assert_eq!(conversations.catch_up(&ninth).await, Ok(true));
                }
                "list" => {
                    let listed = participants.conversations_of(&user("cleo"), false, None, 9).await;
                    assert_eq!(listed, Ok(vec![second.clone()]));
                }
                "ids" => {
                    let ids = participants.conversation_ids_of(&user("cleo"), 9).await;
                    assert_eq!(ids, Ok(vec![conversation_id()]));
                }
                "outbox" => assert_eq!(conversations.outbox(9).await.map(|entries| entries.len()), Ok(2)),
                _ => store = place.store().await,
            }
            assert!(is_settled(&store).await, "{ended:?}, {reader}");
            let participants = store.participants();
            let count = async |name: &str, archived| {
                participants.conversations_of(&user(name), archived, None, 9).await.unwrap().len()
            };
            assert_eq!(count("ana", true).await, 1, "{ended:?}, {reader}");
            assert_eq!((count("ana", false).await, count("ben", false).await, count("cleo", false).await), (0, 0, 1));
            // Its records are there, once, whatever was repeated.
            let keys: Vec<String> =
                store.conversations().outbox(9).await.unwrap().into_iter().map(|entry| entry.key).collect();
            assert_eq!(keys, ["first", "second"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_was_created_half_is_whole_for_who_creates_it_again() {
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoPlace::fresh().await;
    let store = place.store().await;
    let first = conversation(1, &["ana", "ben"]);
    store.conversations().create(&first, &[entry("first")]).await.unwrap();
    let database = store.database();
    database.collection::<Document>("participants").delete_many(doc! {}).await.unwrap();
    let unsettled = doc! { "$set": { "unsettled": 1_i64 } };
    database.collection::<Document>("conversations").update_one(doc! {}, unsettled).await.unwrap();
    let again = store.conversations().create(&first, &[entry("again")]).await;
    assert_eq!(again, Ok(CreateOutcome::Exists(first)));
    assert!(is_settled(&store).await);
    assert_eq!(documents(&store, "participants").await.len(), 2);
    assert_eq!(store.conversations().outbox(9).await.unwrap().len(), 1);
}

/// Several nodes change one conversation, while others finish what they find: the participants' documents follow
/// from the conversation's, and every record is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_agree_on_who_is_in_a_conversation() {
    const CHANGES: u64 = 60;
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoPlace::fresh().await;
    let store = place.store().await;
    store.conversations().create(&conversation(1, &["ana"]), &[]).await.unwrap();
    let mut nodes = Vec::new();
    for node in 0..3 {
        let store = place.store().await;
        nodes.push(tokio::spawn(async move {
            let conversations = store.conversations();
            loop {
                let now = conversations.find(conversation_id()).await.unwrap().unwrap();
                if now.version > CHANGES {
                    return;
                }
                // People come, archive, leave and are dropped.
                let mut names: Vec<String> = vec!["ana".into()];
                names.extend((0..6).filter(|it| (now.version + it) % 3 != 0).map(|it| format!("u{it}")));
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut next = conversation(now.version + 1, &names);
                next.participants[0].archived = now.version % 2 == 0;
                if let Some(last) = next.participants.last_mut() {
                    last.removed_at = (now.version % 5 == 0).then_some(Timestamp::from_millis(5));
                }
                conversations.update(&next, &[entry(&format!("{node}"))]).await.unwrap();
            }
        }));
    }
    let reader = {
        let store = place.store().await;
        tokio::spawn(async move {
            loop {
                store.conversations().outbox(5).await.unwrap();
                store.participants().conversation_ids_of(&user("u1"), 5).await.unwrap();
            }
        })
    };
    for node in nodes {
        node.await.unwrap();
    }
    reader.abort();
    let last = store.conversations().find(conversation_id()).await.unwrap().unwrap();
    assert!(is_settled(&store).await);
    let mut expected: Vec<(String, bool)> = last
        .participants
        .iter()
        .filter(|it| it.removed_at.is_none())
        .map(|it| (it.user_id.to_string(), it.archived))
        .collect();
    expected.sort();
    let mut there: Vec<(String, bool)> = documents(&store, "participants")
        .await
        .iter()
        .filter(|it| it.get_bool("is_member").unwrap())
        .map(|it| (it.get_str("user_id").unwrap().to_owned(), it.get_bool("archived").unwrap()))
        .collect();
    there.sort();
    assert_eq!(there, expected);
    let entries = store.conversations().outbox(1_000).await.unwrap();
    assert_eq!(entries.len() as u64, last.version - 1);
    let ids: Vec<u64> = entries.iter().map(|entry| entry.outbox_id).collect();
    store.conversations().outbox_done(&ids).await.unwrap();
    assert_eq!(store.conversations().outbox(10).await, Ok(Vec::new()));
}

// ---- with transactions ------------------------------------------------------------------------------------

/// Names of the commands, and the numbers of the transactions they are in.
fn of_transactions(seen: &[Document]) -> Vec<(&str, i64)> {
    let number = |command: &Document| command.get_i64("txnNumber").unwrap();
    seen.iter().map(|command| (command.keys().next().unwrap().as_str(), number(command))).collect()
}

fn refused(code: i32, labels: &[&str]) -> Document {
    let labels: Vec<Bson> = labels.iter().map(|label| Bson::from(*label)).collect();
    doc! { "ok": 0.0, "code": code, "codeName": "Told", "errmsg": "told by the test", "errorLabels": labels }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_one_transaction_where_the_server_has_them() {
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoSetPlace::fresh().await;
    let store = place.store().await;
    assert!(store.has_transactions());
    assert_eq!(store.server().topology, "replica set rs0");
    let conversations = store.conversations();
    conversations.create(&conversation(1, &["ana", "ben"]), &[entry("first")]).await.unwrap();
    let seen = place.set().take_seen();
    let names: Vec<&str> = of_transactions(&seen).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["insert", "update", "insert", "commitTransaction"]);
    conversations.update(&conversation(2, &["ana", "cleo"]), &[entry("second")]).await.unwrap();
    let seen = place.set().take_seen();
    let commands = of_transactions(&seen);
    let names: Vec<&str> = commands.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["findAndModify", "find", "update", "insert", "commitTransaction"]);
    for (place, command) in seen.iter().enumerate() {
        let is_first = place == 0;
        let is_last = place + 1 == seen.len();
        assert_eq!(command.get_bool("autocommit"), Ok(false), "{command}");
        assert_eq!(command.get_bool("startTransaction").is_ok(), is_first, "{command}");
        assert_eq!(command.contains_key("writeConcern"), is_last, "only the commit has one: {command}");
        assert_eq!(command.get_document("readConcern").is_ok(), is_first, "{command}");
        assert_eq!((commands[place].1, command.get_document("lsid")), (commands[0].1, seen[0].get_document("lsid")));
    }
    let concern = seen.last().unwrap().get_document("writeConcern").unwrap();
    assert_eq!(concern.get_str("w"), Ok("majority"));
    assert!(is_settled(&store).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_repeated_only_when_that_is_safe() {
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoSetPlace::fresh().await;
    let store = place.store().await;
    let conversations = store.conversations();
    conversations.create(&conversation(1, &["ana"]), &[]).await.unwrap();
    place.set().take_seen();

    // Another transaction was in the way: the whole of it again, as a new one.
    place.set().answer_next("findAndModify", refused(112, &["TransientTransactionError"]));
    let updated = conversations.update(&conversation(2, &["ana"]), &[entry("k")]).await;
    assert_eq!(updated, Ok(UpdateOutcome::Updated));
    let seen = place.set().take_seen();
    let commands = of_transactions(&seen);
    let tries: Vec<i64> = commands.iter().filter(|it| it.0 == "findAndModify").map(|it| it.1).collect();
    assert!(tries.len() == 2 && tries[0] < tries[1], "{commands:?}");

    // Whether the commit was done is not known: the commit again, and nothing else.
    for _ in 0..3 {
        place.set().answer_next("commitTransaction", refused(91, &["UnknownTransactionCommitResult"]));
    }
    let updated = conversations.update(&conversation(3, &["ana"]), &[entry("k")]).await;
    assert_eq!(updated, Ok(UpdateOutcome::Updated));
    let seen = place.set().take_seen();
    let commands = of_transactions(&seen);
    assert!(commands.iter().all(|it| it.1 == commands[0].1), "{commands:?}");
    assert_eq!(commands.iter().filter(|it| it.0 == "findAndModify").count(), 1, "{commands:?}");
    assert!(commands.iter().filter(|it| it.0 == "commitTransaction").count() >= 4, "{commands:?}");

    // Refused half way: given up, and told.
    place.set().answer_next("insert", refused(13, &[]));
    let refused = conversations.update(&conversation(4, &["ana"]), &[entry("k")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let seen = place.set().take_seen();
    let names: Vec<&str> = of_transactions(&seen).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.last(), Some(&"abortTransaction"), "{names:?}");
    assert!(!names.contains(&"commitTransaction"), "{names:?}");
}

// ---- a server that goes away ------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_or_gone_is_unavailable_until_it_is_back() {
    const LIMIT: Duration = Duration::from_secs(2);
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoPlace::fresh().await;
    let server = tokio::net::lookup_host(server_of(&place.options().uri).await).await.unwrap().next().unwrap();
    let way = Link::to(server).await.unwrap();
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true&heartbeatFrequencyMS=500", way.port());
    let options = MongoOptions { uri, request_timeout: LIMIT, ..place.options().clone() };
    let store = MongoStore::connect(&options).await.unwrap();
    store.conversations().create(&conversation(1, &["ana"]), &[entry("k")]).await.unwrap();
    store.messages().insert_bulk(&[message(1)]).await.unwrap();

    for (round, fault) in [(0_u64, Fault::BlackHole), (1, Fault::Reset), (2, Fault::BlackHole)] {
        way.set(Some(fault));
        let begun = Instant::now();
        let (conversations, participants, messages) = (store.conversations(), store.participants(), store.messages());
        let next = conversation(9, &["ana"]);
        let (found, listed, inserted, updated, outbox) = tokio::join!(
            conversations.find(conversation_id()),
            async { participants.conversation_ids_of(&user("ana"), 9).await.map(drop) },
            async { messages.insert_bulk(&[message(2)]).await.map(drop) },
            async { conversations.update(&next, &[]).await.map(drop) },
            async { conversations.outbox(9).await.map(drop) },
        );
        let waited = begun.elapsed();
        for answer in [found.map(drop), listed, inserted, updated, outbox] {
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{fault}: {answer:?}");
        }
        assert!(waited < LIMIT + Duration::from_secs(1), "{fault}: {waited:?}");

        way.set(None);
        eventually("the store answers again", async || messages.find(message(1).message_id).await.is_ok()).await;
        // What was written while nobody knew is there at most once, and can be repeated.
        eventually("the message is stored", async || messages.insert_bulk(&[message(2)]).await.is_ok()).await;
        let page = messages.history(conversation_id(), None, None, None, 9).await.unwrap();
        assert_eq!(page.len(), 2, "round {round}");
    }
}

// ---- what others see --------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_can_be_read_with_any_client() {
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoPlace::fresh().await;
    let store = place.store().await;
    store.conversations().create(&conversation(1, &["ana"]), &[]).await.unwrap();
    store.messages().insert_bulk(&[message(1)]).await.unwrap();
    let stored = documents(&store, "conversations").await.remove(0);
    assert_eq!(stored.get_str("_id").ok(), Some(conversation_id().to_string().as_str()));
    assert_eq!(stored.get_datetime("created_at").unwrap().timestamp_millis(), 1);
    assert_eq!(stored.get_str("kind"), Ok("group"));
    let participant = documents(&store, "participants").await.remove(0);
    assert_eq!((participant.get_str("user_id"), participant.get_str("role")), (Ok("ana"), Ok("member")));
    let stored = documents(&store, "messages").await.remove(0);
    assert_eq!(stored.get_document("sent").unwrap().get_str("sender_id"), Ok("ana"));
    assert_eq!(stored.get_i64("seq"), Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_documents_are_errors() {
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoPlace::fresh().await;
    let store = place.store().await;
    store.conversations().create(&conversation(1, &["ana"]), &[entry("k")]).await.unwrap();
    store.messages().insert_bulk(&[message(1)]).await.unwrap();
    let damage = async |collection: &str, fields: Document| {
        let collection = store.database().collection::<Document>(collection);
        collection.update_one(doc! {}, doc! { "$set": fields }).await.unwrap();
    };
    for fields in [doc! { "kind": "tribe" }, doc! { "kind": 5 }, doc! { "kind": "group", "version": -1 }] {
        damage("conversations", fields.clone()).await;
        let found = store.conversations().find(conversation_id()).await;
        assert!(matches!(found, Err(StoreError::Damaged(_))), "{fields}: {found:?}");
        let listed = store.participants().conversations_of(&user("ana"), false, None, 1).await;
        assert!(matches!(listed, Err(StoreError::Damaged(_))), "{fields}: {listed:?}");
    }
    damage("conversations", doc! { "version": 1_i64, "outbox.0.topic": "gossip" }).await;
    let outbox = store.conversations().outbox(1).await;
    assert!(matches!(outbox, Err(StoreError::Damaged(_))), "{outbox:?}");
    for fields in [
        doc! { "sent": 5 },
        doc! { "sent": { "sender_id": "not a user" } },
        doc! { "state": { "gone": { "seq": "many" } } },
    ] {
        damage("messages", fields.clone()).await;
        let found = store.messages().find(message(1).message_id).await;
        assert!(matches!(found, Err(StoreError::Damaged(_))), "{fields}: {found:?}");
        let page = store.messages().history(conversation_id(), None, None, None, 1).await;
        assert!(matches!(page, Err(StoreError::Damaged(_))), "{fields}: {page:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_is_can_be_told() {
    if !MongoPlace::is_available().await {
        return;
    }
    let place = MongoPlace::fresh().await;
    let store = place.store().await;
    let server = store.server();
    assert!(!server.version.is_empty() && !server.topology.is_empty(), "{server:?}");
    assert_eq!(store.has_transactions(), server.without_transactions.is_none());
    // Connecting again changes nothing.
    store.conversations().create(&conversation(1, &["ana"]), &[entry("k")]).await.unwrap();
    let before = place.dump().await;
    place.store().await;
    assert_eq!(place.dump().await, before);
}
