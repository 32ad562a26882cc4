//! The contract of the three repositories.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ackscope_core::log::Topic;
use ackscope_core::repositories::{
    ConversationCursor, ConversationRepository, CreateOutcome, InsertOutcome, MessageRepository, OutboxEntry,
    ParticipantRepository, StoreError, StoredConversation, StoredParticipant,
};
use ackscope_protocol::text::{MessageText, Title};
use ackscope_protocol::wire::{ConversationKind, Deleted, Edit, MediaState, Message, MessageMedia, MessageRef, Role};
use ackscope_protocol::{ConversationId, MediaId, MessageId, Timestamp, UserId};
use uuid::Uuid;

/// Somewhere repositories keep their documents.
pub trait StorePlace: Send + Sync + Sized {
    /// A fresh one.
    fn fresh() -> impl Future<Output = Self> + Send;

    /// The repositories in it. Opened again after they were dropped, it holds what it held.
    fn open(&self) -> impl Future<Output = Stores> + Send;
}

/// The three repositories of one place.
#[derive(Clone)]
pub struct Stores {
    /// Conversations and the outbox.
    pub conversations: Arc<dyn ConversationRepository>,
    /// Participants.
    pub participants: Arc<dyn ParticipantRepository>,
    /// Messages.
    pub messages: Arc<dyn MessageRepository>,
}

const MANY: u32 = 1_000;

fn user(name: &str) -> UserId {
    name.parse().expect("a valid user id")
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn conversation_id(number: u128) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(number))
}

fn message_id(number: u128) -> MessageId {
    MessageId::from_uuid(Uuid::from_u128(number))
}

fn participant(name: &str, role: Role, joined_at: Timestamp) -> StoredParticipant {
    StoredParticipant { user_id: user(name), role, joined_at, muted_until: None, archived: false, removed_at: None }
}

/// A group of these people, the first one its owner.
fn conversation(number: u128, created_at: Timestamp, names: &[&str]) -> StoredConversation {
    let role = |index| if index == 0 { Role::Owner } else { Role::Member };
    StoredConversation {
        conversation_id: conversation_id(number),
        kind: ConversationKind::Group,
        title: None,
        created_at,
        version: 1,
        participants: names
            .iter()
            .enumerate()
            .map(|(index, name)| participant(name, role(index), created_at))
            .collect(),
    }
}

fn outbox_entry(key: &str) -> OutboxEntry {
    OutboxEntry {
        outbox_id: 0,
        topic: Topic::ConversationUpdated,
        key: key.to_owned(),
        headers: vec![("traceparent".into(), "00-äöü".into()), ("traceparent".into(), String::new())],
        value: vec![0, 255, b'{'],
    }
}

/// A message with as little as there can be.
fn message(number: u128, conversation: u128, seq: u64) -> Message {
    Message {
        message_id: message_id(number),
        conversation_id: conversation_id(conversation),
        sender_id: user("ana"),
        temp_id: Some("t".parse().expect("a valid temp_id")),
        text: Some(MessageText::new(format!("message {number}")).expect("a valid text")),
        media: Vec::new(),
        reply_to: None,
        thread_root: None,
        created_at: at(seq.cast_signed()),
        edited_at: None,
        edits: Vec::new(),
        deleted: None,
        reactions: BTreeMap::new(),
        forwarded_from: None,
        forward_count: 0,
        seq,
    }
}

async fn create(stores: &Stores, conversation: &StoredConversation) {
    let outcome = stores.conversations.create(conversation, &[]).await.expect("the store answers");
    assert_eq!(outcome, CreateOutcome::Created);
}

async fn insert(stores: &Stores, messages: &[Message]) {
    let outcomes = stores.messages.insert_bulk(messages).await.expect("the store answers");
    assert_eq!(outcomes, vec![InsertOutcome::Inserted; messages.len()]);
}

async fn history(stores: &Stores, conversation: u128, before_seq: Option<u64>, limit: u32) -> Vec<u64> {
    let page = stores.messages.history(conversation_id(conversation), None, before_seq, limit).await;
    page.expect("the store answers").iter().map(|message| message.seq).collect()
}

/// The numbers of the conversations on a page.
async fn list(
    stores: &Stores,
    name: &str,
    archived: bool,
    after: Option<&ConversationCursor>,
    limit: u32,
) -> Vec<u128> {
    let page = stores.participants.conversations_of(&user(name), archived, after, limit).await;
    page.expect("the store answers").iter().map(|found| found.conversation_id.as_uuid().as_u128()).collect()
}

// ---- conversations --------------------------------------------------------------------------------------

/// Everything of a conversation comes back as it was stored.
pub async fn a_conversation_is_found_as_it_was_stored(place: impl StorePlace) {
    let stores = place.open().await;
    let full = StoredConversation {
        conversation_id: conversation_id(1),
        kind: ConversationKind::Channel,
        title: Some(Title::new("Grüße 👋 'quoted' \"twice\" \0").expect("a valid title")),
        created_at: at(5),
        version: 42,
        participants: vec![
            participant("zoe", Role::Owner, at(5)),
            StoredParticipant {
                muted_until: Some(Timestamp::MAX),
                archived: true,
                ..participant("ana", Role::Admin, at(5))
            },
            StoredParticipant {
                removed_at: Some(at(9)),
                muted_until: Some(at(7)),
                ..participant("ben", Role::Member, at(6))
            },
        ],
    };
    create(&stores, &full).await;
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(full)));
    assert_eq!(stores.conversations.find(conversation_id(2)).await, Ok(None));
}

/// Participants keep the order of `joined_at` and, within one moment, of the request.
pub async fn participants_keep_their_order(place: impl StorePlace) {
    let stores = place.open().await;
    let names: Vec<String> = (0..100).map(|index| format!("u{}", (index * 37) % 100)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stored = conversation(1, at(0), &names);
    stored.participants[99].joined_at = at(1);
    create(&stores, &stored).await;
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(stored)));
}

/// An id that is there already answers what is there and changes nothing, the outbox included.
pub async fn creating_again_changes_nothing(place: impl StorePlace) {
    let stores = place.open().await;
    let first = conversation(1, at(0), &["ana", "ben"]);
    let second = conversation(1, at(9), &["eve"]);
    let outcome = stores.conversations.create(&first, &[outbox_entry("first")]).await;
    assert_eq!(outcome, Ok(CreateOutcome::Created));
    let outcome = stores.conversations.create(&second, &[outbox_entry("second")]).await;
    assert_eq!(outcome, Ok(CreateOutcome::Exists(first.clone())));
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(first)));
    let keys: Vec<String> =
        stores.conversations.outbox(10).await.expect("the store answers").into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["first"]);
    assert!(list(&stores, "eve", false, None, 10).await.is_empty());
}

/// Of many that create one id at the same time, one creates it and the others are told what it is.
pub async fn creating_at_once_creates_one(place: impl StorePlace) {
    let stores = place.open().await;
    let attempts = (0..20_i64).map(|attempt| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let mine = conversation(1, at(attempt), &["ana"]);
            (mine.clone(), stores.conversations.create(&mine, &[outbox_entry(&attempt.to_string())]).await)
        })
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("no panic")).collect();
    let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome == &Ok(CreateOutcome::Created)).collect();
    assert_eq!(winners.len(), 1);
    let winner = &winners[0].0;
    for (_, outcome) in outcomes.iter().filter(|(_, outcome)| outcome != &Ok(CreateOutcome::Created)) {
        assert_eq!(outcome, &Ok(CreateOutcome::Exists(winner.clone())));
    }
    assert_eq!(stores.conversations.outbox(100).await.expect("the store answers").len(), 1);
}

/// The outbox gives its entries in the order they were written, whole, until they are done.
pub async fn the_outbox_keeps_order_until_done(place: impl StorePlace) {
    let stores = place.open().await;
    for number in 0..5_u128 {
        let entries = [outbox_entry(&format!("{number}a")), outbox_entry(&format!("{number}b"))];
        let stored = conversation(number, at(0), &["ana"]);
        assert_eq!(stores.conversations.create(&stored, &entries).await, Ok(CreateOutcome::Created));
    }
    let keys = |entries: &[OutboxEntry]| entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>();
    let all = stores.conversations.outbox(100).await.expect("the store answers");
    assert_eq!(keys(&all), ["0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b"]);
    assert!(all.windows(2).all(|pair| pair[0].outbox_id < pair[1].outbox_id));
    assert_eq!(all[0], OutboxEntry { outbox_id: all[0].outbox_id, ..outbox_entry("0a") });
    let oldest = stores.conversations.outbox(3).await.expect("the store answers");
    assert_eq!(oldest, all[..3]);

    // One that is not there is no error, nor is doing it twice.
    let done = [all[0].outbox_id, all[2].outbox_id, u64::MAX, all[0].outbox_id];
    stores.conversations.outbox_done(&done).await.expect("the store answers");
    stores.conversations.outbox_done(&done).await.expect("the store answers");
    stores.conversations.outbox_done(&[]).await.expect("the store answers");
    let left = stores.conversations.outbox(100).await.expect("the store answers");
    assert_eq!(keys(&left), ["0b", "1b", "2a", "2b", "3a", "3b", "4a", "4b"]);

    // An id is never given again: a late `outbox_done` must not remove another entry.
    let ids: Vec<u64> = left.iter().map(|entry| entry.outbox_id).collect();
    stores.conversations.outbox_done(&ids).await.expect("the store answers");
    let stored = conversation(9, at(0), &["ana"]);
    stores.conversations.create(&stored, &[outbox_entry("9")]).await.expect("the store answers");
    let new = stores.conversations.outbox(100).await.expect("the store answers");
    assert!(new[0].outbox_id > all[9].outbox_id);
}

/// A user's conversations come newest first, within one moment by id downwards, page by page without a gap.
pub async fn conversations_are_listed_in_pages(place: impl StorePlace) {
    let stores = place.open().await;
    // Three moments, so that most have neighbours of equal time.
    let mut expected: Vec<(i64, u128)> = Vec::new();
    for number in 0..31_u128 {
        let moment = (number % 3) as i64;
        // Ids that are not in the order of creation, with high bits set in some.
        let id = (number * 7 + 1) << (if number % 2 == 0 { 120 } else { 3 });
        create(&stores, &conversation(id, at(moment), &["ana", "ben"])).await;
        expected.push((moment, id));
    }
    create(&stores, &conversation(u128::MAX, at(1), &["eve"])).await;
    expected.sort_unstable();
    expected.reverse();
    let expected: Vec<u128> = expected.into_iter().map(|(_, id)| id).collect();

    for limit in [1, 4, 31, 100] {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = stores
                .participants
                .conversations_of(&user("ana"), false, cursor.as_ref(), limit)
                .await
                .expect("the store answers");
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit as usize);
            cursor = Some(ConversationCursor { created_at: last.created_at, conversation_id: last.conversation_id });
            seen.extend(page.iter().map(|found| found.conversation_id.as_uuid().as_u128()));
        }
        assert_eq!(seen, expected, "in pages of {limit}");
    }
    assert_eq!(list(&stores, "eve", false, None, 10).await, [u128::MAX]);
    assert!(list(&stores, "nobody", false, None, 10).await.is_empty());
    // The page holds whole conversations.
    let page = stores.participants.conversations_of(&user("eve"), false, None, 1).await;
    assert_eq!(page, Ok(vec![conversation(u128::MAX, at(1), &["eve"])]));
}

/// Archived ones are listed apart, and one who was removed is in no list.
pub async fn lists_follow_archived_and_removed(place: impl StorePlace) {
    let stores = place.open().await;
    let mut archived = conversation(1, at(0), &["ana", "ben"]);
    archived.participants[0].archived = true;
    let mut removed = conversation(2, at(1), &["ben", "ana"]);
    removed.participants[1].removed_at = Some(at(2));
    let plain = conversation(3, at(2), &["ana", "ben"]);
    for stored in [&archived, &removed, &plain] {
        create(&stores, stored).await;
    }
    assert_eq!(list(&stores, "ana", false, None, 10).await, [3]);
    assert_eq!(list(&stores, "ana", true, None, 10).await, [1]);
    assert_eq!(list(&stores, "ben", false, None, 10).await, [3, 2, 1]);
    assert!(list(&stores, "ben", true, None, 10).await.is_empty());
}

// ---- messages -------------------------------------------------------------------------------------------

/// Everything of a message comes back as it was stored.
pub async fn a_message_is_found_as_it_was_stored(place: impl StorePlace) {
    let stores = place.open().await;
    let full = Message {
        temp_id: Some("Grüße 👋".parse().expect("a valid temp_id")),
        text: Some(MessageText::new("line\nline\0 \u{202e} 'x' \"y\" \\ 🏳️‍🌈").expect("a valid text")),
        media: vec![MessageMedia {
            media_id: MediaId::from_uuid(Uuid::from_u128(3)),
            media_state: MediaState::Unverified,
        }],
        reply_to: Some(message_id(8)),
        thread_root: Some(message_id(7)),
        edited_at: Some(at(10)),
        edits: vec![Edit { text: "earlier".into(), at: at(10) }],
        reactions: BTreeMap::from([("👍".into(), vec![user("ana"), user("ben")])]),
        forwarded_from: Some(MessageRef { conversation_id: conversation_id(5), message_id: message_id(6) }),
        forward_count: 3,
        ..message(1, 1, 9)
    };
    let tombstone = Message { text: None, deleted: Some(Deleted { by: user("ben"), at: at(11) }), ..message(2, 1, 10) };
    insert(&stores, &[full.clone(), tombstone.clone()]).await;
    assert_eq!(stores.messages.find(message_id(1)).await, Ok(Some(full.clone())));
    assert_eq!(stores.messages.find(message_id(2)).await, Ok(Some(tombstone.clone())));
    assert_eq!(stores.messages.find(message_id(3)).await, Ok(None));
    let page = stores.messages.history(conversation_id(1), None, None, 10).await;
    assert_eq!(page, Ok(vec![tombstone, full]));
}

/// A message that is there already, or twice in the bulk, changes nothing; the outcomes are in the bulk's order.
pub async fn a_repeated_message_changes_nothing(place: impl StorePlace) {
    use InsertOutcome::{Duplicate, Inserted};
    let stores = place.open().await;
    let first = message(1, 1, 1);
    let other_text = Message { text: MessageText::new("other").ok(), ..first.clone() };
    let bulk = [first.clone(), message(2, 1, 2), other_text.clone(), message(3, 1, 3)];
    assert_eq!(stores.messages.insert_bulk(&bulk).await, Ok(vec![Inserted, Inserted, Duplicate, Inserted]));
    assert_eq!(stores.messages.find(message_id(1)).await, Ok(Some(first.clone())));

    let bulk = [message(4, 1, 4), other_text, message(2, 1, 2)];
    assert_eq!(stores.messages.insert_bulk(&bulk).await, Ok(vec![Inserted, Duplicate, Duplicate]));
    assert_eq!(stores.messages.find(message_id(1)).await, Ok(Some(first)));
    assert_eq!(history(&stores, 1, None, 10).await, [4, 3, 2, 1]);
    assert_eq!(stores.messages.insert_bulk(&[]).await, Ok(Vec::new()));
}

/// A message that is in the log twice keeps its first place.
pub async fn a_message_keeps_its_first_place(place: impl StorePlace) {
    use InsertOutcome::{Duplicate, Inserted};
    let stores = place.open().await;
    let bulk = [message(1, 1, 5), message(1, 1, 6)];
    assert_eq!(stores.messages.insert_bulk(&bulk).await, Ok(vec![Inserted, Duplicate]));
    assert_eq!(stores.messages.insert_bulk(&[message(1, 1, 7)]).await, Ok(vec![Duplicate]));
    assert_eq!(history(&stores, 1, None, 10).await, [5]);
    // Even a place that is taken: it is a repetition first of all.
    insert(&stores, &[message(2, 1, 8)]).await;
    assert_eq!(stores.messages.insert_bulk(&[message(1, 1, 8)]).await, Ok(vec![Duplicate]));
}

/// Another message's place is refused with an error, and nothing of the bulk is stored.
pub async fn a_taken_place_is_refused(place: impl StorePlace) {
    let stores = place.open().await;
    insert(&stores, &[message(1, 1, 1)]).await;
    let refused = stores.messages.insert_bulk(&[message(2, 1, 2), message(3, 1, 1)]).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    assert_eq!(history(&stores, 1, None, 10).await, [1]);
    assert_eq!(stores.messages.find(message_id(2)).await, Ok(None));
    // The others can go on, and so can the same place elsewhere.
    insert(&stores, &[message(2, 1, 2), message(3, 2, 1)]).await;
}

/// History comes newest first, in pages that end at the oldest message; gaps in `seq` do not matter.
pub async fn history_is_read_in_pages_to_the_end(place: impl StorePlace) {
    let stores = place.open().await;
    let seqs: Vec<u64> = (0..53).map(|index| index * 3).collect();
    // Stored in another order than that of `seq`.
    let messages: Vec<Message> =
        (0..53).map(|index| seqs[(index * 20) % 53]).map(|seq| message(u128::from(seq), 1, seq)).collect();
    insert(&stores, &messages).await;
    insert(&stores, &[message(9_999, 2, 1)]).await;
    let expected: Vec<u64> = seqs.iter().rev().copied().collect();
    for limit in [1, 7, 53, 100] {
        let mut seen: Vec<u64> = Vec::new();
        loop {
            let page = history(&stores, 1, seen.last().copied(), limit).await;
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, expected, "in pages of {limit}");
    }
    assert_eq!(history(&stores, 1, Some(u64::MAX), 2).await, [156, 153]);
    assert_eq!(history(&stores, 1, Some(153), 1).await, [150], "`before_seq` itself is not in the page");
    assert!(history(&stores, 1, Some(0), 10).await.is_empty());
    assert!(history(&stores, 3, None, 10).await.is_empty());
}

/// A thread is its root and the messages that name it, paged like any history.
pub async fn a_thread_is_its_root_and_its_messages(place: impl StorePlace) {
    let stores = place.open().await;
    let in_thread = |number: u128, seq| Message { thread_root: Some(message_id(1)), ..message(number, 1, seq) };
    let elsewhere = Message { conversation_id: conversation_id(2), ..in_thread(50, 1) };
    insert(
        &stores,
        &[
            message(1, 1, 10),
            in_thread(2, 11),
            message(3, 1, 12),
            in_thread(4, 13),
            Message { thread_root: Some(message_id(3)), ..message(5, 1, 14) },
            in_thread(6, 15),
            elsewhere,
        ],
    )
    .await;
    let thread = async |root, before_seq, limit| -> Vec<u64> {
        let page = stores.messages.history(conversation_id(1), Some(message_id(root)), before_seq, limit).await;
        page.expect("the store answers").iter().map(|message| message.seq).collect()
    };
    assert_eq!(thread(1, None, 10).await, [15, 13, 11, 10]);
    assert_eq!(thread(1, None, 2).await, [15, 13]);
    assert_eq!(thread(1, Some(13), 2).await, [11, 10]);
    assert_eq!(thread(1, Some(11), 2).await, [10]);
    assert!(thread(1, Some(10), 2).await.is_empty());
    assert_eq!(thread(3, None, 10).await, [14, 12]);
    assert_eq!(thread(2, None, 10).await, [11], "nobody answered it");
    assert!(thread(50, None, 10).await.is_empty(), "a message of another conversation is no root here");
}

// ---- all together ---------------------------------------------------------------------------------------

/// A thousand conversations at the same time: nothing is lost and nothing mixed up.
pub async fn a_thousand_conversations_at_once(place: impl StorePlace) {
    let stores = place.open().await;
    let work = (0..MANY).map(|number| {
        let stores = stores.clone();
        let number = u128::from(number);
        tokio::spawn(async move {
            let other = format!("u{}", number % 50);
            let mine = conversation(number, at(number as i64), &["ana", &other]);
            create(&stores, &mine).await;
            let messages: Vec<Message> =
                (0..3_u64).map(|seq| message((number << 8) | u128::from(seq), number, seq)).collect();
            insert(&stores, &messages).await;
            assert_eq!(stores.conversations.find(conversation_id(number)).await, Ok(Some(mine)));
            assert_eq!(history(&stores, number, None, 10).await, [2, 1, 0]);
        })
    });
    for done in futures_util::future::join_all(work).await {
        done.expect("the conversation went through");
    }
    let all = list(&stores, "ana", false, None, MANY + 1).await;
    assert_eq!(all, (0..u128::from(MANY)).rev().collect::<Vec<_>>());
    let of_one: HashSet<u128> = list(&stores, "u7", false, None, MANY).await.into_iter().collect();
    assert_eq!(of_one, (0..u128::from(MANY)).filter(|number| number % 50 == 7).collect());
}

/// What was stored is there after closing and opening again.
pub async fn everything_is_there_after_reopening(place: impl StorePlace) {
    let stored = conversation(1, at(0), &["ana", "ben"]);
    let sent = message(1, 1, 1);
    let stores = place.open().await;
    let outcome = stores.conversations.create(&stored, &[outbox_entry("k")]).await;
    assert_eq!(outcome, Ok(CreateOutcome::Created));
    insert(&stores, std::slice::from_ref(&sent)).await;
    drop(stores);

    let stores = place.open().await;
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(stored.clone())));
    assert_eq!(stores.conversations.create(&stored, &[]).await, Ok(CreateOutcome::Exists(stored)));
    assert_eq!(stores.conversations.outbox(10).await.expect("the store answers").len(), 1);
    assert_eq!(list(&stores, "ana", false, None, 10).await, [1]);
    assert_eq!(stores.messages.find(message_id(1)).await, Ok(Some(sent.clone())));
    assert_eq!(stores.messages.insert_bulk(&[sent]).await, Ok(vec![InsertOutcome::Duplicate]));
    assert_eq!(history(&stores, 1, None, 10).await, [1]);
}

/// Makes a test of every behaviour for one implementation of the repositories.
#[macro_export]
macro_rules! repositories_contract {
    ($implementation:ident, $place:ty) => {
        $crate::contract_tests!(
            $implementation,
            $place,
            repositories,
            StorePlace,
            [
                a_conversation_is_found_as_it_was_stored,
                participants_keep_their_order,
                creating_again_changes_nothing,
                creating_at_once_creates_one,
                the_outbox_keeps_order_until_done,
                conversations_are_listed_in_pages,
                lists_follow_archived_and_removed,
                a_message_is_found_as_it_was_stored,
                a_repeated_message_changes_nothing,
                a_message_keeps_its_first_place,
                a_taken_place_is_refused,
                history_is_read_in_pages_to_the_end,
                a_thread_is_its_root_and_its_messages,
                a_thousand_conversations_at_once,
                everything_is_there_after_reopening,
            ]
        );
    };
}
