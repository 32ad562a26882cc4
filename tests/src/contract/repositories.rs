//! The contract of the three repositories.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ackscope_core::log::Topic;
use ackscope_core::repositories::{
    ConversationCursor, ConversationRepository, CreateOutcome, InsertOutcome, MessageRepository, OutboxEntry,
    ParticipantRepository, StoreError, StoredConversation, StoredParticipant, UpdateOutcome,
};
use ackscope_core::state::{Change, Found, Gone, MessageChange, MessageState, PlacedChange, StoredMessage};
use ackscope_protocol::text::{Emoji, MessageText, Title};
use ackscope_protocol::wire::{ConversationKind, Deleted, Edit, MediaState, Message, MessageMedia, MessageRef, Role};
use ackscope_protocol::{ConversationId, MediaId, MessageId, Timestamp, UserId};
use uuid::Uuid;

/// Somewhere repositories keep their documents.
pub trait StorePlace: Send + Sync + Sized {
    /// Whether there is such a place on this machine; says it in the summary when not.
    fn is_available() -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// A fresh one.
    fn fresh() -> impl Future<Output = Self> + Send;

    /// The repositories in it. Opened again after they were dropped, it holds what it held.
    fn open(&self) -> impl Future<Output = Stores> + Send;

    /// Everything in it, each table or collection with its rows as text, in an order that follows from the content.
    fn dump(&self) -> impl Future<Output = Dump> + Send;
}

/// Tables or collections, each with its rows as text.
pub type Dump = Vec<(String, Vec<String>)>;

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
        temp_id: Some("t".parse().expect("a valid temp_id")),
        text: Some(MessageText::new(format!("message {number}")).expect("a valid text")),
        seq,
        ..Message::new(message_id(number), conversation_id(conversation), user("ana"), at(seq.cast_signed()))
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
    seen_by(stores, None, conversation, before_seq, limit).await
}

/// The places of the messages on a page for a viewer.
async fn seen_by(
    stores: &Stores,
    viewer: Option<&str>,
    conversation: u128,
    before_seq: Option<u64>,
    limit: u32,
) -> Vec<u64> {
    let viewer = viewer.map(user);
    let page = stores.messages.history(conversation_id(conversation), viewer.as_ref(), None, before_seq, limit).await;
    seqs(page)
}

fn seqs(page: Result<Vec<StoredMessage>, StoreError>) -> Vec<u64> {
    page.expect("the store answers").iter().map(|stored| stored.message.seq).collect()
}

/// What is found of a message that nothing happened to.
#[expect(clippy::unnecessary_wraps, reason = "it is compared with an answer of the store")]
fn untouched(message: &Message) -> Result<Option<Found>, StoreError> {
    Ok(Some(Found::new(message.clone(), MessageState::default())))
}

async fn keys(stores: &Stores) -> Vec<String> {
    stores.conversations.outbox(MANY).await.expect("the store answers").into_iter().map(|entry| entry.key).collect()
}

/// A change of message `number` in conversation 1.
fn change(offset: u64, number: u128, by: &str, what: Change) -> PlacedChange {
    let (message_id, conversation_id) = (message_id(number), conversation_id(1));
    let at = at(i64::try_from(offset % 1_000).expect("a small number"));
    PlacedChange { offset, change: MessageChange { message_id, conversation_id, by: user(by), at, what } }
}

fn text(text: &str) -> MessageText {
    MessageText::new(text).expect("a valid text")
}

fn edited(text_now: &str) -> Change {
    Change::Edited { text: text(text_now), created_at: at(0) }
}

fn reacted(emoji: &str) -> Change {
    Change::ReactionAdded { emoji: Emoji::new(emoji).expect("a valid emoji") }
}

fn unreacted(emoji: &str) -> Change {
    Change::ReactionRemoved { emoji: Emoji::new(emoji).expect("a valid emoji") }
}

/// As the one who deletes message `number` finds it, at a place of the same number.
fn deleted_hard(number: u64) -> Change {
    Change::DeletedHard { seq: number, created_at: at(number.cast_signed()), media: Vec::new() }
}

fn gone(number: u64) -> Found {
    let gone = Gone { seq: number, created_at: at(number.cast_signed()) };
    Found::Gone { conversation_id: conversation_id(1), gone }
}

fn media(number: u128, media_state: MediaState) -> MessageMedia {
    MessageMedia { media_id: MediaId::from_uuid(Uuid::from_u128(number)), media_state }
}

async fn apply(stores: &Stores, changes: &[PlacedChange]) {
    stores.messages.apply_bulk(changes).await.expect("the store answers");
}

async fn found(stores: &Stores, number: u128) -> Option<Found> {
    stores.messages.find(message_id(number)).await.expect("the store answers")
}

/// A message as it is now.
async fn view(stores: &Stores, number: u128) -> Message {
    match found(stores, number).await {
        Some(Found::There(stored)) => stored.view(),
        other => panic!("message {number} is not there: {other:?}"),
    }
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
    assert_eq!(keys(&stores).await, ["first"]);
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

/// Changing a conversation replaces what can change, and writes the records with it.
pub async fn an_update_replaces_the_conversation(place: impl StorePlace) {
    let stores = place.open().await;
    let first = conversation(1, at(5), &["ana", "ben", "cleo", "dan"]);
    create(&stores, &first).await;
    create(&stores, &conversation(2, at(6), &["ana", "ben"])).await;

    let mut second = StoredConversation { title: Title::new("a title").ok(), version: 2, ..first.clone() };
    second.participants[1].role = Role::Admin;
    second.participants[2].removed_at = Some(at(9));
    second.participants[3] =
        StoredParticipant { archived: true, muted_until: Some(Timestamp::MAX), ..second.participants[3].clone() };
    second.participants.push(participant("eve", Role::Member, at(9)));
    second.participants.push(participant("abe", Role::Member, at(9)));
    let entries = [outbox_entry("a"), outbox_entry("b")];
    assert_eq!(stores.conversations.update(&second, &entries).await, Ok(UpdateOutcome::Updated));
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(second.clone())));
    assert_eq!(keys(&stores).await, ["a", "b"]);
    assert_eq!(list(&stores, "abe", false, None, 10).await, [1]);
    assert!(list(&stores, "cleo", false, None, 10).await.is_empty());
    assert_eq!(list(&stores, "dan", true, None, 10).await, [1]);
    assert_eq!(list(&stores, "ben", false, None, 10).await, [2, 1], "its place in the lists stays");

    // Back again at the end, another order, others gone for good, nothing optional left.
    let mut third = StoredConversation { title: None, version: 3, ..second.clone() };
    third.participants.remove(1);
    let mut back = third.participants.remove(1);
    (back.joined_at, back.removed_at) = (at(10), None);
    third.participants.push(back);
    third.participants.swap(2, 3);
    assert_eq!(stores.conversations.update(&third, &[]).await, Ok(UpdateOutcome::Updated));
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(third.clone())));
    assert_eq!(list(&stores, "cleo", false, None, 10).await, [1]);
    assert_eq!(list(&stores, "ben", false, None, 10).await, [2]);

    // Nobody left.
    let empty = StoredConversation { participants: Vec::new(), version: 4, ..third };
    assert_eq!(stores.conversations.update(&empty, &[]).await, Ok(UpdateOutcome::Updated));
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(empty)));
}

/// An update of any version but the next one changes nothing, the outbox included.
pub async fn an_update_of_another_version_changes_nothing(place: impl StorePlace) {
    let stores = place.open().await;
    let stored = StoredConversation { version: 5, ..conversation(1, at(0), &["ana"]) };
    create(&stores, &stored).await;
    let other = conversation(1, at(9), &["eve"]);
    for version in [0, 1, 4, 5, 7] {
        let update = StoredConversation { version, ..other.clone() };
        let outcome = stores.conversations.update(&update, &[outbox_entry("k")]).await;
        assert_eq!(outcome, Ok(UpdateOutcome::Conflict), "version {version} after 5");
    }
    let absent = conversation(2, at(0), &["ana"]);
    for version in [0, 1, 2] {
        let update = StoredConversation { version, ..absent.clone() };
        let outcome = stores.conversations.update(&update, &[outbox_entry("k")]).await;
        assert_eq!(outcome, Ok(UpdateOutcome::Conflict), "version {version} of what is not there");
    }
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(stored)));
    assert_eq!(stores.conversations.find(conversation_id(2)).await, Ok(None));
    assert_eq!(stores.conversations.outbox(10).await, Ok(Vec::new()));
    assert!(list(&stores, "eve", false, None, 10).await.is_empty());
}

/// Of many changes of one version at the same time exactly one goes through, with its records.
pub async fn of_racing_updates_one_wins(place: impl StorePlace) {
    let stores = place.open().await;
    create(&stores, &conversation(1, at(0), &["ana"])).await;
    for version in 2..12 {
        let attempts = ["a", "b", "c", "d"].map(|name| {
            let stores = stores.clone();
            tokio::spawn(async move {
                let mine = StoredConversation { version, ..conversation(1, at(0), &["ana", name]) };
                (name, stores.conversations.update(&mine, &[outbox_entry(name)]).await)
            })
        });
        let outcomes = futures_util::future::join_all(attempts).await;
        let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("no panic")).collect();
        let winners: Vec<&str> = outcomes
            .iter()
            .filter(|(_, outcome)| outcome == &Ok(UpdateOutcome::Updated))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
        let expected = StoredConversation { version, ..conversation(1, at(0), &["ana", winners[0]]) };
        assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(expected)));
        assert_eq!(keys(&stores).await.last().map(String::as_str), Some(winners[0]));
        assert_eq!(keys(&stores).await.len() as u64, version - 1);
    }
}

/// A reader of the log brings the store to its version, from any older one and from nothing, and never back.
pub async fn catching_up_takes_newer_versions_only(place: impl StorePlace) {
    let stores = place.open().await;
    let version = |version: u64, names: &[&str]| StoredConversation { version, ..conversation(1, at(0), names) };
    let third = version(3, &["ana", "ben"]);
    assert_eq!(stores.conversations.catch_up(&third).await, Ok(true), "it was not there");
    for older in [version(0, &["eve"]), version(2, &["eve"]), version(3, &["eve"])] {
        assert_eq!(stores.conversations.catch_up(&older).await, Ok(false), "version {} after 3", older.version);
        assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(third.clone())));
    }
    // Also when it has missed some.
    let mut ninth = StoredConversation { title: Title::new("nine").ok(), ..version(9, &["ana", "cleo"]) };
    ninth.participants[0].archived = true;
    assert_eq!(stores.conversations.catch_up(&ninth).await, Ok(true));
    assert_eq!(stores.conversations.catch_up(&ninth).await, Ok(false));
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(ninth)));
    assert_eq!(list(&stores, "ana", true, None, 10).await, [1]);
    assert!(list(&stores, "ben", false, None, 10).await.is_empty());
    assert!(list(&stores, "eve", false, None, 10).await.is_empty());
    assert_eq!(stores.conversations.outbox(10).await, Ok(Vec::new()), "it causes no records");
    let tenth = version(10, &["ana"]);
    assert_eq!(stores.conversations.update(&tenth, &[]).await, Ok(UpdateOutcome::Updated));
}

/// Entries of the outbox stay together and in order, whoever else adds some.
pub async fn outbox_entries_are_added_together(place: impl StorePlace) {
    let stores = place.open().await;
    stores.conversations.outbox_add(&[]).await.expect("the store answers");
    assert_eq!(stores.conversations.outbox(10).await, Ok(Vec::new()));
    let adding = (0..20).map(|writer| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let entries: Vec<OutboxEntry> = (0..5).map(|index| outbox_entry(&format!("{writer}/{index}"))).collect();
            stores.conversations.outbox_add(&entries).await
        })
    });
    for added in futures_util::future::join_all(adding).await {
        assert_eq!(added.expect("no panic"), Ok(()));
    }
    let all = stores.conversations.outbox(MANY).await.expect("the store answers");
    assert_eq!(all.len(), 100);
    assert_eq!(all[0], OutboxEntry { outbox_id: all[0].outbox_id, ..outbox_entry(&all[0].key) });
    let mut writers = HashSet::new();
    for together in all.chunks(5) {
        let writer = together[0].key.split('/').next().unwrap_or_default().to_owned();
        let expected: Vec<String> = (0..5).map(|index| format!("{writer}/{index}")).collect();
        assert_eq!(together.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(), expected);
        assert!(writers.insert(writer));
    }
}

/// The ids of everything a user is in come newest first, archived or not.
pub async fn ids_of_all_conversations_of_a_user(place: impl StorePlace) {
    let stores = place.open().await;
    let ids = async |name: &str, limit| -> Vec<u128> {
        let ids = stores.participants.conversation_ids_of(&user(name), limit).await.expect("the store answers");
        ids.into_iter().map(|id| id.as_uuid().as_u128()).collect()
    };
    let mut expected: Vec<(i64, u128)> = Vec::new();
    for number in 1..=40_u128 {
        let mut stored = conversation(number, at((number % 7) as i64), &["ana", "ben"]);
        stored.participants[0].archived = number % 3 == 0;
        if number % 10 == 0 {
            stored.participants[0].removed_at = Some(at(100));
        } else {
            expected.push(((number % 7) as i64, number));
        }
        create(&stores, &stored).await;
    }
    expected.sort_unstable();
    expected.reverse();
    let expected: Vec<u128> = expected.into_iter().map(|(_, number)| number).collect();
    for limit in [0, 1, 2, 35, 36, 37, u32::MAX] {
        assert_eq!(ids("ana", limit).await, expected[..expected.len().min(limit as usize)], "{limit} of them");
    }
    assert_eq!(ids("ben", 100).await.len(), 40);
    assert!(ids("nobody", 100).await.is_empty());
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
    assert_eq!(stores.messages.find(message_id(1)).await, untouched(&full));
    assert_eq!(stores.messages.find(message_id(2)).await, untouched(&tombstone));
    assert_eq!(stores.messages.find(message_id(3)).await, Ok(None));
    let page = stores.messages.history(conversation_id(1), None, None, None, 10).await;
    assert_eq!(page, Ok(vec![tombstone.into(), full.into()]));
}

/// A message that is there already, or twice in the bulk, changes nothing; the outcomes are in the bulk's order.
pub async fn a_repeated_message_changes_nothing(place: impl StorePlace) {
    use InsertOutcome::{Duplicate, Inserted};
    let stores = place.open().await;
    let first = message(1, 1, 1);
    let other_text = Message { text: MessageText::new("other").ok(), ..first.clone() };
    let bulk = [first.clone(), message(2, 1, 2), other_text.clone(), message(3, 1, 3)];
    assert_eq!(stores.messages.insert_bulk(&bulk).await, Ok(vec![Inserted, Inserted, Duplicate, Inserted]));
    assert_eq!(stores.messages.find(message_id(1)).await, untouched(&first));

    let bulk = [message(4, 1, 4), other_text, message(2, 1, 2)];
    assert_eq!(stores.messages.insert_bulk(&bulk).await, Ok(vec![Inserted, Duplicate, Duplicate]));
    assert_eq!(stores.messages.find(message_id(1)).await, untouched(&first));
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
        seqs(stores.messages.history(conversation_id(1), None, Some(message_id(root)), before_seq, limit).await)
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
// ---- what happens to messages -----------------------------------------------------------------------------

/// Every kind of change shows in the message, and nothing of it comes twice.
pub async fn every_change_shows_in_the_message(place: impl StorePlace) {
    let stores = place.open().await;
    let sent = Message {
        media: vec![media(70, MediaState::Unverified), media(71, MediaState::Unverified)],
        ..message(1, 1, 1)
    };
    insert(&stores, &[sent.clone(), message(2, 1, 2)]).await;
    apply(&stores, &[]).await;
    let changes = [
        change(0, 1, "ana", edited("second")),
        change(1, 1, "ben", reacted("👍")),
        change(2, 1, "ana", edited("third")),
        change(3, 1, "cleo", reacted("👍")),
        change(4, 1, "cleo", reacted("x")),
        change(5, 1, "cleo", unreacted("x")),
        change(6, 1, "ben", Change::Forwarded { copies: vec![message_id(8), message_id(9)] }),
        change(7, 1, "ben", Change::Forwarded { copies: vec![message_id(9)] }),
        change(u64::MAX, 1, "ana", Change::MediaChecked { media: vec![media(71, MediaState::Invalid)] }),
        change(0, 1, "dan", Change::HiddenForMe),
    ];
    let expected = Message {
        text: Some(text("third")),
        edits: vec![Edit { text: "message 1".into(), at: at(0) }, Edit { text: "second".into(), at: at(2) }],
        edited_at: Some(at(2)),
        reactions: BTreeMap::from([("👍".into(), vec![user("ben"), user("cleo")])]),
        forward_count: 2,
        media: vec![media(70, MediaState::Unverified), media(71, MediaState::Invalid)],
        ..sent.clone()
    };
    apply(&stores, &changes).await;
    assert_eq!(view(&stores, 1).await, expected);
    let dump = place.dump().await;

    // Again: at once, one by one, and a late part.
    apply(&stores, &changes).await;
    for again in &changes {
        apply(&stores, std::slice::from_ref(again)).await;
    }
    apply(&stores, &changes[3..5]).await;
    assert_eq!(view(&stores, 1).await, expected);
    assert_eq!(place.dump().await, dump);

    // Everybody who reads gets the same, and what the message was is there too.
    let Some(Found::There(stored)) = found(&stores, 1).await else { panic!("the message is there") };
    assert_eq!(stored.message, sent);
    assert!(stored.is_hidden_from(&user("dan")) && !stored.is_hidden_from(&user("ben")));
    let page = stores.messages.history(conversation_id(1), None, None, None, 10).await;
    assert_eq!(page, Ok(vec![message(2, 1, 2).into(), (*stored).clone()]));
    let carrying = stores.messages.carrying(media(70, MediaState::Verified).media_id, 10).await;
    assert_eq!(carrying, Ok(vec![*stored]));
    assert_eq!(stores.messages.find(message_id(2)).await, untouched(&message(2, 1, 2)));
}

/// Changes of many messages in one bulk do not get mixed up.
pub async fn changes_of_many_messages_in_one_bulk(place: impl StorePlace) {
    let stores = place.open().await;
    insert(&stores, &(1..=50).map(|number| message(number.into(), 1, number)).collect::<Vec<_>>()).await;
    let texts = ["a", "b", "c"];
    let changes: Vec<PlacedChange> = (0..150_u64)
        .map(|offset| change(offset, u128::from(offset % 50) + 1, "ana", edited(texts[(offset / 50) as usize])))
        .collect();
    apply(&stores, &changes).await;
    for number in 1..=50 {
        let view = view(&stores, number).await;
        assert_eq!(view.text.as_deref(), Some("c"));
        let earlier: Vec<&str> = view.edits.iter().map(|edit| edit.text.as_str()).collect();
        assert_eq!(earlier, [&format!("message {number}"), "a", "b"]);
    }
}

/// What happened to a message may come before it: it waits, is not found, and joins the message.
pub async fn a_change_waits_for_its_message(place: impl StorePlace) {
    let stores = place.open().await;
    let changes = [
        change(4, 1, "ana", edited("later")),
        change(5, 1, "ben", reacted("👍")),
        change(6, 1, "ben", Change::HiddenForMe),
    ];
    apply(&stores, &changes).await;
    assert_eq!(found(&stores, 1).await, None);
    assert_eq!(stores.messages.find_many(&[message_id(1)]).await, Ok(HashMap::new()));
    assert!(history(&stores, 1, None, 10).await.is_empty());
    insert(&stores, &[message(1, 1, 0)]).await;
    let view = view(&stores, 1).await;
    assert_eq!((view.text.as_deref(), view.reactions.len()), (Some("later"), 1));
    assert_eq!(history(&stores, 1, None, 10).await, [0]);
    assert!(seen_by(&stores, Some("ben"), 1, None, 10).await.is_empty());
    assert_eq!(stores.messages.insert_bulk(&[message(1, 1, 0)]).await, Ok(vec![InsertOutcome::Duplicate]));
}

/// One step of a store's life.
#[derive(Clone, Debug)]
enum Step {
    Insert(Message),
    Apply(PlacedChange),
}

/// All ways to merge lists that are each in order.
fn merges(lists: &[&[Step]]) -> Vec<Vec<Step>> {
    if lists.iter().all(|list| list.is_empty()) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        let Some((first, rest)) = list.split_first() else { continue };
        let mut lists = lists.to_vec();
        lists[index] = rest;
        all.extend(merges(&lists).into_iter().map(|mut merge| {
            merge.insert(0, first.clone());
            merge
        }));
    }
    all
}

/// Does the steps; changes that follow each other in bulks of at most `bulk`.
async fn run(stores: &Stores, steps: &[Step], bulk: usize) {
    let mut changes = Vec::new();
    for step in steps {
        match step {
            Step::Apply(change) => changes.push(change.clone()),
            Step::Insert(message) => {
                apply(stores, &std::mem::take(&mut changes)).await;
                stores.messages.insert_bulk(std::slice::from_ref(message)).await.expect("the store answers");
            }
        }
        if changes.len() >= bulk {
            apply(stores, &std::mem::take(&mut changes)).await;
        }
    }
    apply(stores, &changes).await;
}

/// Whatever order a message, its edits and its deletions come in, and in whatever bulks: the store ends up the same.
pub async fn the_order_of_arrival_does_not_matter<P: StorePlace>(_: P) {
    let sent = Message { media: vec![media(70, MediaState::Unverified)], ..message(2, 1, 2) };
    let edits = [
        change(1, 2, "ana", edited("second")),
        change(2, 2, "ben", reacted("👍")),
        change(3, 2, "ana", Change::MediaChecked { media: vec![media(70, MediaState::Verified)] }),
    ]
    .map(Step::Apply);
    let (soft, hard) = (Change::DeletedSoft, deleted_hard(2));
    for deletions in [
        vec![change(4, 2, "ben", Change::HiddenForMe), change(5, 2, "cleo", Change::HiddenForMe)],
        vec![change(4, 2, "ben", Change::HiddenForMe), change(5, 2, "ana", soft.clone())],
        vec![change(4, 2, "ben", Change::HiddenForMe), change(5, 2, "ana", hard.clone())],
        vec![change(4, 2, "ben", soft), change(5, 2, "ana", hard)],
    ] {
        let deletions: Vec<Step> = deletions.into_iter().map(Step::Apply).collect();
        let mut first: Option<(Option<Found>, Dump)> = None;
        let merges = merges(&[&[Step::Insert(sent.clone())], &edits, &deletions]);
        assert_eq!(merges.len(), 60);
        for (index, steps) in merges.into_iter().enumerate() {
            let place = P::fresh().await;
            let stores = place.open().await;
            // With neighbours that are hidden too.
            insert(&stores, &[message(1, 1, 1), message(3, 1, 3)]).await;
            let around = [1, 3].map(|number| change(1, number, "ben", Change::HiddenForMe));
            apply(&stores, &around).await;
            run(&stores, &steps, index % 4 + 1).await;
            if index % 5 == 0 {
                // Everything once more.
                run(&stores, &steps, 1).await;
            }
            let now = (found(&stores, 2).await, place.dump().await);
            let first = first.get_or_insert_with(|| now.clone());
            assert_eq!(*first, now, "{steps:?}");
        }
    }
}

/// Nothing is left of a message that was deleted for everybody, whenever it comes, but its name.
pub async fn a_hard_deletion_leaves_nothing<P: StorePlace>(_: P) {
    let sent = Message {
        text: Some(text("the secret")),
        media: vec![media(0xabcd, MediaState::Unverified)],
        ..message(1, 1, 1)
    };
    let lists = [
        vec![Step::Insert(sent.clone())],
        vec![Step::Apply(change(1, 1, "ana", edited("another secret")))],
        vec![Step::Apply(change(1, 1, "ana", deleted_hard(1)))],
    ];
    for steps in merges(&[&lists[0], &lists[1], &lists[2]]) {
        let place = P::fresh().await;
        let stores = place.open().await;
        run(&stores, &steps, 1).await;
        let dump = format!("{:?}", place.dump().await);
        assert!(!dump.contains("secret") && !dump.contains("abcd"), "{steps:?}: {dump}");
        assert_eq!(found(&stores, 1).await, Some(gone(1)));

        // It stays gone, also at another place in the log, and takes nothing in.
        for seq in [1, 2] {
            let again = Message { seq, ..sent.clone() };
            assert_eq!(stores.messages.insert_bulk(&[again]).await, Ok(vec![InsertOutcome::Duplicate]));
        }
        apply(&stores, &[change(9, 1, "ana", edited("a late secret")), change(9, 1, "ben", Change::DeletedSoft)]).await;
        assert_eq!(found(&stores, 1).await, Some(gone(1)));
        assert_eq!(stores.messages.find_many(&[message_id(1)]).await, Ok(HashMap::from([(message_id(1), gone(1))])));
        assert!(history(&stores, 1, None, 10).await.is_empty());
        assert_eq!(stores.messages.carrying(sent.media[0].media_id, 10).await, Ok(Vec::new()));
        assert_eq!(format!("{:?}", place.dump().await), dump);
    }
}

/// Nothing is left of what a tombstone said, whenever its deletion comes.
pub async fn a_soft_deletion_leaves_no_content<P: StorePlace>(_: P) {
    let sent = Message {
        text: Some(text("the secret")),
        media: vec![media(0xabcd, MediaState::Unverified)],
        reply_to: Some(message_id(7)),
        ..message(1, 1, 1)
    };
    let lists = [
        vec![Step::Insert(sent.clone())],
        vec![
            Step::Apply(change(1, 1, "ana", edited("another secret"))),
            Step::Apply(change(2, 1, "ana", Change::Forwarded { copies: vec![message_id(8)] })),
        ],
        vec![Step::Apply(change(1, 1, "ben", Change::DeletedSoft))],
    ];
    for steps in merges(&[&lists[0], &lists[1], &lists[2]]) {
        let place = P::fresh().await;
        let stores = place.open().await;
        run(&stores, &steps, 1).await;
        let dump = format!("{:?}", place.dump().await);
        assert!(!dump.contains("secret") && !dump.contains("abcd"), "{steps:?}: {dump}");
        let expected = Message {
            text: None,
            media: Vec::new(),
            forward_count: 1,
            deleted: Some(Deleted { by: user("ben"), at: at(1) }),
            ..sent.clone()
        };
        assert_eq!(view(&stores, 1).await, expected);
        assert_eq!(history(&stores, 1, None, 10).await, [1], "a tombstone stays");
        assert_eq!(stores.messages.insert_bulk(std::slice::from_ref(&sent)).await, Ok(vec![InsertOutcome::Duplicate]));
        assert_eq!(stores.messages.carrying(sent.media[0].media_id, 10).await, Ok(Vec::new()));
        assert_eq!(format!("{:?}", place.dump().await), dump);
    }
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}

/// A page holds what its viewer has not hidden, whatever was hidden, deleted and inserted in whatever order; and
/// only what is there decides what the store holds.
pub async fn history_leaves_out_what_its_viewer_hid<P: StorePlace>(_: P) {
    const COUNT: u64 = 40;
    let mut numbers = Numbers(7);
    for round in 0..12 {
        // Each message with who hides it; at most one of them deletes it for everybody.
        let mut hidden: BTreeSet<(&str, u64)> = BTreeSet::new();
        let mut removed: BTreeSet<u64> = BTreeSet::new();
        let mut lists: Vec<Vec<Step>> = Vec::new();
        for seq in 0..COUNT {
            lists.push(vec![Step::Insert(message(u128::from(seq) + 1, 1, seq))]);
            let mut deletions = Vec::new();
            for (offset, name) in (0..).zip(["ana", "ben", "cleo"]) {
                // Ana hides nearly all, Cleo little.
                if numbers.below(10) < [8, 5, 1][offset as usize] {
                    hidden.insert((name, seq));
                    deletions.push(Step::Apply(change(offset, u128::from(seq) + 1, name, Change::HiddenForMe)));
                }
            }
            if numbers.below(5) == 0 {
                removed.insert(seq);
                let hard = Change::DeletedHard { seq, created_at: at(0), media: Vec::new() };
                deletions.push(Step::Apply(change(9, u128::from(seq) + 1, "ana", hard)));
            }
            lists.push(deletions);
        }
        let mut dumps = Vec::new();
        for bulk in [1, 100] {
            let mut left: Vec<std::collections::VecDeque<Step>> =
                lists.iter().map(|list| list.iter().cloned().collect()).collect();
            let mut steps = Vec::new();
            while !left.is_empty() {
                let next = numbers.below(left.len());
                match left[next].pop_front() {
                    Some(step) => steps.push(step),
                    None => drop(left.swap_remove(next)),
                }
            }
            let place = P::fresh().await;
            let stores = place.open().await;
            run(&stores, &steps, bulk).await;
            dumps.push(place.dump().await);
            for viewer in [None, Some("ana"), Some("ben"), Some("cleo"), Some("dan")] {
                let expected: Vec<u64> = (0..COUNT)
                    .rev()
                    .filter(|seq| !removed.contains(seq))
                    .filter(|seq| viewer.is_none_or(|viewer| !hidden.contains(&(viewer, *seq))))
                    .collect();
                for limit in [1, 3, 100] {
                    let mut seen: Vec<u64> = Vec::new();
                    loop {
                        let page = seen_by(&stores, viewer, 1, seen.last().copied(), limit).await;
                        assert!(page.len() <= limit as usize);
                        // Only the last page is not full.
                        let is_last = page.len() < limit as usize;
                        seen.extend(page);
                        if is_last {
                            break;
                        }
                    }
                    assert_eq!(seen, expected, "round {round}, {viewer:?} in pages of {limit}");
                }
                for before in 0..=COUNT {
                    let page = seen_by(&stores, viewer, 1, Some(before), 2).await;
                    let expected: Vec<u64> = expected.iter().copied().filter(|seq| *seq < before).take(2).collect();
                    assert_eq!(page, expected, "round {round}, {viewer:?} before {before}");
                }
                assert!(seen_by(&stores, viewer, 1, None, 0).await.is_empty());
            }
        }
        assert_eq!(dumps[0], dumps[1], "round {round}");
    }
}

/// Of several who store the same messages at the same time, one stores each of them.
pub async fn of_racing_bulks_one_inserts_each_message(place: impl StorePlace) {
    let stores = place.open().await;
    // Some have changes that wait for them.
    let waiting: Vec<PlacedChange> = (0..50).step_by(5).map(|number| change(1, number, "ben", reacted("👍"))).collect();
    apply(&stores, &waiting).await;
    let bulk: Vec<Message> = (0..50_u64).map(|seq| message(u128::from(seq), 1, seq)).collect();
    let writers = (0..6).map(|_| {
        let (stores, bulk) = (stores.clone(), bulk.clone());
        tokio::spawn(async move { stores.messages.insert_bulk(&bulk).await.expect("the store answers") })
    });
    let mut inserted = vec![0; bulk.len()];
    for outcomes in futures_util::future::join_all(writers).await {
        for (count, outcome) in inserted.iter_mut().zip(outcomes.expect("no panic")) {
            *count += i32::from(outcome == InsertOutcome::Inserted);
        }
    }
    assert_eq!(inserted, vec![1; bulk.len()]);
    assert_eq!(history(&stores, 1, None, 100).await.len(), bulk.len());
    assert_eq!(view(&stores, 45).await.reactions["👍"], [user("ben")]);
}

/// Several who replay the same part of the log at the same time, in bulks of their own, leave the store as one does.
pub async fn replays_at_the_same_time_end_up_the_same<P: StorePlace>(_: P) {
    let mut steps = Vec::new();
    for number in 0..20_u64 {
        let id = u128::from(number);
        let sent = Message { media: vec![media(70, MediaState::Unverified)], ..message(id, 1, number) };
        steps.push(Step::Apply(change(number, id, "ana", edited("second"))));
        steps.push(Step::Insert(sent));
        steps.push(Step::Apply(change(number + 100, id, "ben", reacted("👍"))));
        match number % 4 {
            0 => steps.push(Step::Apply(change(number, id, "ben", Change::HiddenForMe))),
            1 => steps.push(Step::Apply(change(number, id, "ben", Change::DeletedSoft))),
            2 => steps.push(Step::Apply(change(number, id, "ana", deleted_hard(number)))),
            _ => {}
        }
    }
    let alone = P::fresh().await;
    run(&alone.open().await, &steps, 1).await;

    let place = P::fresh().await;
    let stores = place.open().await;
    let readers = (1..=4).map(|bulk| {
        let (stores, steps) = (stores.clone(), steps.clone());
        tokio::spawn(async move { run(&stores, &steps, bulk).await })
    });
    for done in futures_util::future::join_all(readers).await {
        done.expect("the replay went through");
    }
    assert_eq!(place.dump().await, alone.dump().await);
}

/// A viewer who hid thousands in a row gets full pages across them.
pub async fn a_page_goes_on_beyond_thousands_of_hidden_messages(place: impl StorePlace) {
    const COUNT: u64 = 3_000;
    let stores = place.open().await;
    insert(&stores, &(0..COUNT).map(|seq| message(u128::from(seq), 1, seq)).collect::<Vec<_>>()).await;
    let hides: Vec<PlacedChange> =
        (10..COUNT - 5).map(|seq| change(seq, u128::from(seq), "ana", Change::HiddenForMe)).collect();
    apply(&stores, &hides).await;
    let mut expected: Vec<u64> = (0..10).chain(COUNT - 5..COUNT).collect();
    expected.reverse();
    assert_eq!(seen_by(&stores, Some("ana"), 1, None, 100).await, expected);
    assert_eq!(seen_by(&stores, Some("ana"), 1, None, 7).await, expected[..7]);
    assert_eq!(seen_by(&stores, Some("ana"), 1, Some(1_500), 3).await, [9, 8, 7]);
    assert_eq!(seen_by(&stores, Some("ben"), 1, Some(1_500), 3).await, [1_499, 1_498, 1_497]);
    assert_eq!(history(&stores, 1, Some(1_500), 1).await, [1_499]);
    // In another conversation it has hidden nothing.
    insert(&stores, &[message(9_999, 2, 1_500)]).await;
    assert_eq!(seen_by(&stores, Some("ana"), 2, None, 10).await, [1_500]);
}

/// What was hidden, deleted or is gone is treated in a thread as in any history, its root included.
pub async fn a_thread_without_what_its_viewer_hid(place: impl StorePlace) {
    let stores = place.open().await;
    let in_thread = |number: u64| Message { thread_root: Some(message_id(1)), ..message(number.into(), 1, number) };
    insert(
        &stores,
        &[message(1, 1, 1), in_thread(2), in_thread(3), message(4, 1, 4), in_thread(5), in_thread(6), in_thread(7)],
    )
    .await;
    let thread = async |viewer: Option<&str>, before_seq, limit| -> Vec<u64> {
        let viewer = viewer.map(user);
        let root = Some(message_id(1));
        seqs(stores.messages.history(conversation_id(1), viewer.as_ref(), root, before_seq, limit).await)
    };
    apply(&stores, &[3, 4, 5, 6].map(|number| change(1, number, "ana", Change::HiddenForMe))).await;
    assert_eq!(thread(Some("ana"), None, 10).await, [7, 2, 1]);
    assert_eq!(thread(Some("ana"), None, 2).await, [7, 2]);
    assert_eq!(thread(Some("ana"), Some(7), 1).await, [2]);
    assert_eq!(thread(Some("ana"), Some(2), 10).await, [1]);
    assert_eq!(thread(Some("ben"), None, 10).await, [7, 6, 5, 3, 2, 1]);
    apply(&stores, &[change(2, 1, "ana", Change::HiddenForMe)]).await;
    assert_eq!(thread(Some("ana"), None, 10).await, [7, 2], "the root is hidden, the answers are not");
    assert_eq!(thread(None, None, 10).await, [7, 6, 5, 3, 2, 1]);
    apply(&stores, &[change(3, 1, "ben", Change::DeletedSoft), change(2, 7, "ben", Change::DeletedSoft)]).await;
    assert_eq!(thread(Some("ben"), None, 10).await, [7, 6, 5, 3, 2, 1], "tombstones stay");
    apply(&stores, &[change(4, 1, "ben", deleted_hard(1)), change(3, 7, "ben", deleted_hard(7))]).await;
    assert_eq!(thread(Some("ben"), None, 10).await, [6, 5, 3, 2]);
    assert_eq!(thread(Some("ana"), None, 10).await, [2]);
    // An empty page of what never was a root.
    let unknown = stores.messages.history(conversation_id(1), Some(&user("ana")), Some(message_id(99)), None, 5).await;
    assert_eq!(unknown, Ok(Vec::new()));
}

/// Several messages are found at once; those that are not there are absent.
pub async fn several_messages_are_found_at_once(place: impl StorePlace) {
    let stores = place.open().await;
    insert(&stores, &[message(1, 1, 1), message(2, 1, 2), message(3, 2, 1)]).await;
    apply(
        &stores,
        &[
            change(1, 1, "ana", edited("now")),
            change(1, 2, "ana", deleted_hard(2)),
            change(1, 5, "ana", edited("waiting")),
        ],
    )
    .await;
    let ids = [1, 2, 3, 4, 5, 1].map(message_id);
    let all = stores.messages.find_many(&ids).await.expect("the store answers");
    let mut expected = HashMap::new();
    for number in 1..=3 {
        expected.insert(message_id(number), found(&stores, number).await.expect("it is there"));
    }
    assert_eq!(all, expected);
    assert_eq!(stores.messages.find_many(&[]).await, Ok(HashMap::new()));
    let many: Vec<MessageId> = (0..2_000).map(message_id).collect();
    assert_eq!(stores.messages.find_many(&many).await, Ok(expected));
}

/// The messages that carry a media item are found by it, as long as they carry it.
pub async fn messages_are_found_by_what_they_carry(place: impl StorePlace) {
    let stores = place.open().await;
    let carrying = |number: u128, conversation, seq, items: &[u128]| Message {
        media: items.iter().map(|item| media(*item, MediaState::Unverified)).collect(),
        ..message(number, conversation, seq)
    };
    insert(
        &stores,
        &[
            carrying(1, 1, 1, &[70, 71, 70]),
            carrying(2, 1, 2, &[71]),
            carrying(3, 1, 3, &[70]),
            carrying(4, 2, 1, &[70]),
            message(5, 1, 5),
            carrying(6, 1, 6, &[70]),
        ],
    )
    .await;
    let found = async |item: u128, limit| -> Vec<u128> {
        let found = stores.messages.carrying(media(item, MediaState::Verified).media_id, limit).await;
        let found = found.expect("the store answers");
        found.iter().map(|stored| stored.message.message_id.as_uuid().as_u128()).collect()
    };
    let in_first = |found: Vec<u128>| found.into_iter().filter(|number| *number != 4).collect::<Vec<_>>();
    let all = found(70, 10).await;
    assert_eq!((all.len(), in_first(all)), (4, vec![6, 3, 1]));
    assert_eq!(found(71, 10).await, [2, 1]);
    assert_eq!(found(71, 1).await, [2]);
    assert!(found(71, 0).await.is_empty() && found(72, 10).await.is_empty());

    let checked = vec![media(70, MediaState::Verified), media(72, MediaState::Verified)];
    apply(
        &stores,
        &[
            change(1, 3, "ana", Change::MediaChecked { media: checked }),
            change(2, 3, "ana", Change::HiddenForMe),
            change(2, 1, "ana", Change::DeletedSoft),
            change(2, 6, "ana", deleted_hard(6)),
        ],
    )
    .await;
    assert_eq!(in_first(found(70, 10).await), [3], "a check does not change what it carries");
    assert_eq!(found(71, 10).await, [2]);
    assert!(found(72, 10).await.is_empty(), "a check brings nothing it does not carry");
    let stored = stores.messages.carrying(media(70, MediaState::Verified).media_id, 10).await;
    let stored = stored.expect("the store answers");
    let stored = stored.iter().find(|stored| stored.message.seq == 3).expect("it is there");
    assert_eq!(stored.view().media, [media(70, MediaState::Verified)]);
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
    insert(&stores, &[sent.clone(), message(2, 1, 2), message(3, 1, 3)]).await;
    let changes = [
        change(1, 2, "ana", Change::HiddenForMe),
        change(2, 3, "ana", deleted_hard(3)),
        change(3, 4, "ben", reacted("👍")),
    ];
    apply(&stores, &changes).await;
    let dump = place.dump().await;
    drop(stores);

    let stores = place.open().await;
    assert_eq!(stores.conversations.find(conversation_id(1)).await, Ok(Some(stored.clone())));
    assert_eq!(stores.conversations.create(&stored, &[]).await, Ok(CreateOutcome::Exists(stored)));
    assert_eq!(stores.conversations.outbox(10).await.expect("the store answers").len(), 1);
    assert_eq!(list(&stores, "ana", false, None, 10).await, [1]);
    assert_eq!(stores.messages.find(message_id(1)).await, untouched(&sent));
    assert_eq!(stores.messages.insert_bulk(&[sent]).await, Ok(vec![InsertOutcome::Duplicate]));
    assert_eq!(history(&stores, 1, None, 10).await, [2, 1]);
    assert_eq!(seen_by(&stores, Some("ana"), 1, None, 10).await, [1]);
    assert_eq!(found(&stores, 3).await, Some(gone(3)));
    apply(&stores, &changes).await;
    assert_eq!(place.dump().await, dump);
    insert(&stores, &[message(4, 1, 4)]).await;
    assert_eq!(view(&stores, 4).await.reactions["👍"], [user("ben")]);
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
                an_update_replaces_the_conversation,
                an_update_of_another_version_changes_nothing,
                of_racing_updates_one_wins,
                catching_up_takes_newer_versions_only,
                outbox_entries_are_added_together,
                ids_of_all_conversations_of_a_user,
                a_message_is_found_as_it_was_stored,
                a_repeated_message_changes_nothing,
                a_message_keeps_its_first_place,
                a_taken_place_is_refused,
                history_is_read_in_pages_to_the_end,
                a_thread_is_its_root_and_its_messages,
                every_change_shows_in_the_message,
                changes_of_many_messages_in_one_bulk,
                a_change_waits_for_its_message,
                the_order_of_arrival_does_not_matter,
                a_hard_deletion_leaves_nothing,
                a_soft_deletion_leaves_no_content,
                history_leaves_out_what_its_viewer_hid,
                of_racing_bulks_one_inserts_each_message,
                replays_at_the_same_time_end_up_the_same,
                a_page_goes_on_beyond_thousands_of_hidden_messages,
                a_thread_without_what_its_viewer_hid,
                several_messages_are_found_at_once,
                messages_are_found_by_what_they_carry,
                a_thousand_conversations_at_once,
                everything_is_there_after_reopening,
            ]
        );
    };
}
