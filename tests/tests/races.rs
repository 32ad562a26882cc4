//! What happens at the same moment, in the middle of something else, or twice: caches, nodes, the outbox, the overlay,
//! and requests that do not wait for each other (S1.2–S1.6, S5).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ackscope_core::cache::{ConversationCache as _, Lookup};
use ackscope_core::limits::Limits;
use ackscope_core::log::{NewRecord, Record, Topic};
use ackscope_core::node::{Backend, Roles};
use ackscope_core::record::{self, ConversationUpdated};
use ackscope_core::state::{Change, Found, MessageChange};
use ackscope_harness::users::SimulatedUser;
use ackscope_protocol::text::{Emoji, MessageText};
use ackscope_protocol::wire::{
    AddParticipant, AddedRole, ConversationChange, DeleteMessage, DeleteMode, EditMessage, ForwardMessages, Forwarded,
    ListConversations, Message, MessageRef, MuteConversation, React, RemoveParticipant, Request, ServerEvent, Sync,
    Unreact,
};
use ackscope_protocol::{ConversationId, ErrorCode, MessageId, UserId};
use ackscope_tests::contract::eventually;
use ackscope_tests::faulty::{
    FaultyCache, FaultyConversations, FaultyLog, FaultyMessages, PublishFault, SHORT_DEADLINE,
};
use ackscope_tests::node::TestNode;
use ackscope_tests::people::{PATIENCE, deliver, group, history, id, is_exactly, message, patient_limits, see};
use bytes::Bytes;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use uuid::Uuid;

struct Scene {
    node: TestNode,
    log: Arc<FaultyLog>,
    messages: Arc<FaultyMessages>,
    conversations: Arc<FaultyConversations>,
    cache: Arc<FaultyCache>,
    ana: Arc<SimulatedUser>,
    ben: Arc<SimulatedUser>,
    group: ConversationId,
}

impl Scene {
    async fn open() -> Self {
        Self::open_with(patient_limits()).await
    }

    async fn open_with(limits: Limits) -> Self {
        let mut parts = None;
        let node = TestNode::start_on(limits, |backend| {
            let log = FaultyLog::new(Arc::clone(&backend.log));
            let messages = FaultyMessages::new(Arc::clone(&backend.messages));
            let conversations = FaultyConversations::new(Arc::clone(&backend.conversations));
            let cache = FaultyCache::new(Arc::clone(&backend.cache));
            parts = Some((Arc::clone(&log), Arc::clone(&messages), Arc::clone(&conversations), Arc::clone(&cache)));
            Backend { log, messages, conversations, cache, ..backend }
        })
        .await;
        let (log, messages, conversations, cache) = parts.unwrap();
        let (ana, ben) = (node.connect("ana").await, node.connect("ben").await);
        let group = group(&ana, &[&ben]).await;
        Self { node, log, messages, conversations, cache, ana, ben, group }
    }

    /// Everything that is in the log is in the store, and the overlay is empty.
    async fn is_persisted(&self) {
        is_persisted(&self.node).await;
    }

    /// Everything on a topic, by partition.
    async fn records(&self, topic: Topic) -> Vec<Record> {
        let mut records = Vec::new();
        for end in self.node.backend.log.end(topic).await.unwrap() {
            records.extend(self.node.backend.log.read(end.topic_partition(), 0, 10_000).await.unwrap());
        }
        records
    }

    /// The cache holds the conversation with this user in it, and nothing is on its way that would invalidate it.
    async fn is_cached_for(&self, user: &SimulatedUser) {
        eventually("no consumer is behind", async || {
            self.node.node.lag().await.unwrap().iter().all(|(.., behind)| *behind == 0)
        })
        .await;
        history(user, self.group).await;
        assert!(matches!(self.cache.get(self.group).await, Ok(Lookup::Hit(_))));
    }

    async fn remove_ben(&self) -> Result<(), ErrorCode> {
        let request = RemoveParticipant { conversation_id: self.group, user_id: id("ben") };
        self.ana.request(&request).await.unwrap().map(drop).map_err(|error| error.code)
    }
}

async fn is_persisted(node: &TestNode) {
    eventually("everything is persisted", async || node.node.unpersisted() == 0).await;
}

async fn ok<R: Request>(user: &SimulatedUser, request: &R) -> R::Answer {
    match user.request(request).await.unwrap() {
        Ok(answer) => answer,
        Err(error) => panic!("`{}` was refused: {error:?}", R::EVENT),
    }
}

async fn refused<R: Request>(user: &SimulatedUser, request: &R) -> ErrorCode {
    match user.request(request).await.unwrap() {
        Ok(_) => panic!("`{}` was not refused", R::EVENT),
        Err(error) => error.code,
    }
}

fn text(text: &str) -> MessageText {
    MessageText::new(text).unwrap()
}

fn edit(conversation_id: ConversationId, message_id: MessageId, new: &str) -> EditMessage {
    EditMessage { conversation_id, message_id, text: text(new) }
}

fn delete(conversation_id: ConversationId, message_id: MessageId, mode: DeleteMode) -> DeleteMessage {
    DeleteMessage { conversation_id, message_id, mode }
}

fn react(conversation_id: ConversationId, message_id: MessageId, emoji: &str) -> React {
    React { conversation_id, message_id, emoji: Emoji::new(emoji).unwrap() }
}

/// Puts a request on the connection, behind those before it, and waits for nothing.
async fn emit<R: Request>(user: &SimulatedUser, request: &R) {
    user.emit_raw(R::EVENT, &serde_json::to_value(request).unwrap()).await.unwrap();
}

/// Waits until a user is told of a change of a conversation, and gives the version.
async fn hear(user: &SimulatedUser, conversation_id: ConversationId, change: ConversationChange) -> u64 {
    let is_it = |event: &ServerEvent| {
        matches!(event, ServerEvent::ConversationUpdated(updated)
            if updated.change == change && updated.conversation.conversation_id == conversation_id)
    };
    match &*user.wait_for(0, PATIENCE, is_it).await.unwrap().event {
        ServerEvent::ConversationUpdated(updated) => updated.conversation.version,
        other => unreachable!("waited for a changed conversation and got {other:?}"),
    }
}

/// The versions of a conversation a user was told of, in the order they came.
fn told_versions(user: &SimulatedUser, conversation_id: ConversationId) -> Vec<u64> {
    let version = |event: &ServerEvent| match event {
        ServerEvent::ConversationUpdated(updated) if updated.conversation.conversation_id == conversation_id => {
            Some(updated.conversation.version)
        }
        _ => None,
    };
    user.look(|view| view.seen_from(0).filter_map(|seen| version(&seen.event)).collect())
}

/// How often a user was told of a message as new.
fn told_as_new(user: &SimulatedUser, message_id: MessageId) -> usize {
    let is_it = |event: &ServerEvent| matches!(event, ServerEvent::New(new) if new.message.message_id == message_id);
    user.look(|view| view.seen_from(0).filter(|seen| is_it(&seen.event)).count())
}

fn texts(messages: &[Message]) -> Vec<Option<&str>> {
    messages.iter().map(|message| message.text.as_deref()).collect()
}

// ---- the cache, and several nodes ---------------------------------------------------------------------------

/// Ben's permission check reads the store; while it is held with what it read, Ana removes Ben.
async fn a_late_reader_does_not_bring_ben_back(scene: &Scene, ben: Arc<SimulatedUser>) {
    scene.cache.invalidate(scene.group).await.unwrap();
    let late_fills = scene.cache.stats().late_fills;
    scene.conversations.reads().hold();
    let overlapping = message(scene.group, "overlapping", "overlapping");
    let reader = tokio::spawn({
        let ben = Arc::clone(&ben);
        async move { ben.request(&overlapping).await.unwrap().map(drop) }
    });
    assert!(scene.conversations.reads().is_held().await);
    scene.remove_ben().await.unwrap();
    scene.conversations.reads().release();
    // It was decided on what was so when it began: either answer is right.
    let (Ok(()) | Err(_)) = reader.await.unwrap();

    assert!(scene.cache.stats().late_fills > late_fills, "the reader did not overlap the change");
    if let Lookup::Hit(cached) = scene.cache.get(scene.group).await.unwrap() {
        assert_eq!(cached.version, 2);
    }
    let next = message(scene.group, "next", "next");
    assert_eq!(refused(&ben, &next).await, ErrorCode::NotParticipant);
    assert!(!texts(&history(&scene.ana, scene.group).await).contains(&Some("next")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_overlaps_a_removal_does_not_bring_the_removed_one_back() {
    let scene = Scene::open().await;
    a_late_reader_does_not_bring_ben_back(&scene, Arc::clone(&scene.ben)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_another_node_that_overlaps_a_removal_does_not_bring_the_removed_one_back() {
    let scene = Scene::open().await;
    let other = scene.node.beside("other", Roles::default(), |backend| backend).await;
    a_late_reader_does_not_bring_ben_back(&scene, other.connect("ben").await).await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_is_removed_through_one_node_is_refused_on_the_other() {
    for failing in [0, 3] {
        let scene = Scene::open().await;
        let other = scene.node.beside("other", Roles::default(), |backend| backend).await;
        let ben = other.connect("ben").await;
        deliver(&ben, message(scene.group, "before", "before")).await;
        scene.is_cached_for(&ben).await;
        scene.cache.fail_invalidations(failing);
        scene.remove_ben().await.unwrap();
        let refusal = refused(&ben, &message(scene.group, "after", "after")).await;
        assert_eq!(refusal, ErrorCode::NotParticipant, "{failing} invalidations failed");
        assert_eq!(texts(&history(&scene.ana, scene.group).await), [Some("before")]);
        other.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_is_removed_is_refused_on_the_other_node_although_the_cache_stays_as_it_was() {
    let scene = Scene::open().await;
    let other = scene.node.beside("other", Roles::default(), |backend| backend).await;
    let ben = other.connect("ben").await;
    deliver(&ben, message(scene.group, "before", "before")).await;
    scene.is_cached_for(&ben).await;

    scene.cache.fail_invalidations(u64::MAX);
    // Ana cannot be told that everybody knows it.
    assert_eq!(scene.remove_ben().await, Err(ErrorCode::OutcomeUnknown));
    hear(&ben, scene.group, ConversationChange::ParticipantRemoved).await;
    assert!(
        matches!(scene.cache.get(scene.group).await, Ok(Lookup::Hit(cached)) if cached.version == 1),
        "the cache still holds the conversation with Ben in it"
    );
    for ben in [&ben, &scene.ben] {
        assert_eq!(refused(ben, &message(scene.group, "after", "after")).await, ErrorCode::NotParticipant);
    }
    scene.cache.fail_invalidations(0);
    assert_eq!(refused(&ben, &message(scene.group, "later", "later")).await, ErrorCode::NotParticipant);
    assert_eq!(texts(&history(&scene.ana, scene.group).await), [Some("before")]);
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_conversation_at_the_same_time_come_one_after_the_other() {
    let scene = Scene::open().await;
    let conversation_id = scene.group;
    let other = scene.node.beside("other", Roles::default(), |backend| backend).await;
    let add = move |user: &str, role| AddParticipant { conversation_id, user_id: id(user), role: Some(role) };
    // Two admins beside the owner, one of them on another node; five members; five who will come.
    let cleo = other.connect("cleo").await;
    ok(&scene.ana, &add("cleo", AddedRole::Admin)).await;
    ok(&scene.ana, &add("dora", AddedRole::Admin)).await;
    let dora = scene.node.connect("dora").await;
    let bosses = [&scene.ana, &cleo, &dora];
    let (mut members, mut newcomers) = (Vec::new(), Vec::new());
    for number in 0..5 {
        let (member, newcomer) = (format!("member{number}"), format!("new{number}"));
        ok(&scene.ana, &add(&member, AddedRole::Member)).await;
        members.push(scene.node.connect(&member).await);
        newcomers.push(other.connect(&newcomer).await);
    }
    let at_first = 8;

    let mut changes = Vec::new();
    for number in 0..20_usize {
        let boss = Arc::clone(bosses[number % 3]);
        changes.push(tokio::spawn(async move {
            let answer = match number % 4 {
                0 => boss.request(&add(&format!("new{}", number / 4), AddedRole::Member)).await,
                1 => {
                    let user_id = id(&format!("member{}", number / 4));
                    boss.request(&RemoveParticipant { conversation_id, user_id }).await
                }
                _ => {
                    let duration_secs = Some(1_000 + number as u64);
                    boss.request(&MuteConversation { conversation_id, duration_secs }).await
                }
            };
            (number, boss.user_id().clone(), answer.unwrap())
        }));
    }
    let answers: Vec<_> = join_all(changes).await.into_iter().map(Result::unwrap).collect();

    // Every change that was answered has a version of its own, and there are no others.
    let mut versions = BTreeMap::new();
    let (mut here, mut gone) = (BTreeSet::from([id("ana"), id("ben"), id("cleo"), id("dora")]), BTreeSet::new());
    here.extend(members.iter().map(|member| member.user_id().clone()));
    let mut mutes: BTreeMap<UserId, (u64, _)> = BTreeMap::new();
    for (number, by, answer) in answers {
        let conversation = match answer {
            Ok(answer) => answer.conversation,
            // Too many others were faster: nothing happened.
            Err(error) => {
                assert_eq!(error.code, ErrorCode::Overloaded);
                continue;
            }
        };
        assert!(versions.insert(conversation.version, number).is_none(), "two changes have one version");
        match number % 4 {
            0 => drop(here.insert(id(&format!("new{}", number / 4)))),
            1 => drop(gone.insert(id(&format!("member{}", number / 4)))),
            _ => {
                let mute = mutes.entry(by).or_insert((0, None));
                if mute.0 < conversation.version {
                    *mute = (conversation.version, conversation.settings.muted_until);
                }
            }
        }
    }
    let last = at_first + versions.len() as u64;
    assert!(versions.keys().copied().eq(at_first + 1..=last), "{versions:?}");
    here.retain(|user| !gone.contains(user));
    let here: Vec<&str> = here.iter().map(UserId::as_str).collect();
    for boss in bosses {
        let listed = ok(boss, &ListConversations::default()).await.conversations;
        assert!(is_exactly(&listed[0], &here), "{:?} and not {here:?}", listed[0].participants);
        assert_eq!(listed[0].version, last);
        let mute = mutes.get(boss.user_id()).and_then(|(_, until)| *until);
        assert_eq!(listed[0].settings.muted_until, mute);
    }

    // The log has every version, once or more, in order; everybody is told of those that concern them, once.
    eventually("the outbox is empty", async || scene.conversations_outbox_is_empty().await).await;
    let mut updates: BTreeMap<u64, ConversationUpdated> = BTreeMap::new();
    for record in scene.records(Topic::ConversationUpdated).await {
        let update = record::decode::<ConversationUpdated>(&record).unwrap().data;
        let version = update.conversation.version;
        assert!(version <= updates.len() as u64 + 1, "version {version} comes too early");
        updates.entry(version).or_insert(update);
    }
    assert_eq!(updates.len() as u64, last);
    let concerned = |user: &UserId| -> Vec<u64> {
        let is_concerned = |update: &&ConversationUpdated| {
            let is_subject = update.subject.as_ref() == Some(user);
            let mut people = update.conversation.participants.iter();
            let is_in = people.any(|entry| entry.user_id == *user && entry.removed_at.is_none());
            is_subject || (is_in && update.change != ConversationChange::SettingsChanged)
        };
        updates.values().filter(is_concerned).map(|update| update.conversation.version).collect()
    };
    for user in bosses.into_iter().chain(&members).chain(&newcomers) {
        // Those who connected after they were added were not told of what was before.
        let expected: Vec<u64> = concerned(user.user_id()).into_iter().filter(|version| *version > at_first).collect();
        let told = || told_versions(user, conversation_id).into_iter().filter(|version| *version > at_first);
        eventually("everybody is told", async || told().count() >= expected.len()).await;
        user.catch_up().await.unwrap();
        assert_eq!(told().collect::<Vec<_>>(), expected, "{}", user.user_id());
    }
    other.shutdown().await;
}

impl Scene {
    async fn conversations_outbox_is_empty(&self) -> bool {
        self.node.backend.conversations.outbox(1).await.unwrap().is_empty()
    }
}

// ---- the outbox ---------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_conversation_is_answered_while_the_log_is_off_and_told_when_it_is_back() {
    let scene = Scene::open().await;
    let conversation_id = scene.group;
    let dora = scene.node.connect("dora").await;
    scene.log.refuse(&[Topic::ConversationUpdated]);
    let added = ok(&scene.ana, &AddParticipant { conversation_id, user_id: id("dora"), role: None }).await;
    assert_eq!(added.conversation.version, 2);
    scene.remove_ben().await.unwrap();
    // It holds at once, although nobody could be told.
    assert_eq!(refused(&scene.ben, &message(conversation_id, "m", "m")).await, ErrorCode::NotParticipant);
    deliver(&dora, message(conversation_id, "d", "d")).await;
    for user in [&scene.ana, &scene.ben, &dora] {
        user.catch_up().await.unwrap();
        assert!(told_versions(user, conversation_id).iter().all(|version| *version == 1));
    }

    scene.log.accept();
    assert_eq!(hear(&dora, conversation_id, ConversationChange::ParticipantAdded).await, 2);
    assert_eq!(hear(&scene.ben, conversation_id, ConversationChange::ParticipantRemoved).await, 3);
    assert_eq!(hear(&scene.ana, conversation_id, ConversationChange::ParticipantRemoved).await, 3);
    assert_eq!(told_versions(&scene.ana, conversation_id), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_conversation_that_a_node_did_not_publish_is_published_by_the_next() {
    let scene = Scene::open().await;
    let conversation_id = scene.group;
    scene.log.refuse(&[Topic::ConversationUpdated]);
    ok(&scene.ana, &AddParticipant { conversation_id, user_id: id("dora"), role: None }).await;
    let Scene { node, log, .. } = scene;
    let node = node.restart().await;
    let (ana, dora) = (node.connect("ana").await, node.connect("dora").await);
    log.accept();
    for user in [ana, dora] {
        assert_eq!(hear(&user, conversation_id, ConversationChange::ParticipantAdded).await, 2);
        assert_eq!(told_versions(&user, conversation_id), [2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_that_a_node_published_half_of_is_completed_by_the_next() {
    let limits = Limits { forward_deadline: SHORT_DEADLINE, ..patient_limits() };
    let scene = Scene::open_with(limits).await;
    let targets = [group(&scene.ana, &[&scene.ben]).await, group(&scene.ana, &[&scene.ben]).await];
    let mut origins = Vec::new();
    for name in ["one", "two"] {
        let message_id = deliver(&scene.ana, message(scene.group, name, name)).await;
        origins.push(MessageRef { conversation_id: scene.group, message_id });
    }
    scene.is_persisted().await;

    // One copy gets through, and nothing else.
    scene.log.refuse(&[Topic::MessageSent, Topic::MessageEdited]);
    scene.log.fail_next(&[PublishFault::None]);
    let forward =
        ForwardMessages { messages: origins.clone(), targets: targets.to_vec(), temp_id: "f".parse().unwrap() };
    assert_eq!(refused(&scene.ana, &forward).await, ErrorCode::OutcomeUnknown);
    let is_copy = |event: &ServerEvent| matches!(event, ServerEvent::New(new) if new.message.forwarded_from.is_some());
    let first = match &*scene.ben.wait_for(0, PATIENCE, is_copy).await.unwrap().event {
        ServerEvent::New(new) => new.message.clone(),
        other => unreachable!("waited for a copy and got {other:?}"),
    };
    scene.is_persisted().await;

    let Scene { node, log, group: origin, .. } = scene;
    let node = node.restart().await;
    let (ana, ben) = (node.connect("ana").await, node.connect("ben").await);
    log.accept();
    let mut copies = Vec::new();
    for target in targets {
        let names = async || {
            let mut names: Vec<String> =
                history(&ben, target).await.into_iter().filter_map(|copy| copy.text).map(|t| t.to_string()).collect();
            names.reverse();
            names
        };
        eventually("every copy is there", async || names().await.len() >= 2).await;
        is_persisted(&node).await;
        assert_eq!(names().await, ["one", "two"]);
        copies.extend(history(&ben, target).await);
    }
    for copy in &copies {
        let told = usize::from(copy.message_id != first.message_id);
        if told == 1 {
            see(&ben, copy.message_id).await;
        }
        ben.catch_up().await.unwrap();
        assert_eq!(told_as_new(&ben, copy.message_id), told, "{:?} in {}", copy.text, copy.conversation_id);
    }
    assert!(copies.contains(&first), "the copy that got through is where it was: {first:?}\n{copies:#?}");

    let counts =
        async || -> Vec<u64> { history(&ana, origin).await.iter().map(|message| message.forward_count).collect() };
    eventually("both origins count their copies", async || counts().await == [2, 2]).await;
    // Once more, under the same name.
    let Forwarded { forwarded } = ok(&ana, &forward).await;
    let ids = |messages: &mut dyn Iterator<Item = MessageId>| messages.collect::<BTreeSet<_>>();
    assert_eq!(
        ids(&mut forwarded.iter().map(|copy| copy.message_id)),
        ids(&mut copies.iter().map(|copy| copy.message_id))
    );
    is_persisted(&node).await;
    for target in targets {
        assert_eq!(history(&ben, target).await.len(), 2);
    }
    assert_eq!(counts().await, [2, 2]);
}

// ---- the overlay --------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_messages_while_nothing_can_be_persisted_is_seen_at_once_and_stored_later() {
    let scene = Scene::open().await;
    let at = scene.group;
    scene.messages.switch_off();
    let mut ids = Vec::new();
    for name in ["edited", "tombstone", "gone", "hidden"] {
        ids.push(deliver(&scene.ana, message(at, name, name)).await);
    }
    let [edited, tombstone, gone, hidden] = ids[..] else { unreachable!("four were sent") };
    ok(&scene.ana, &edit(at, edited, "better")).await;
    ok(&scene.ben, &react(at, edited, "👍")).await;
    ok(&scene.ana, &react(at, edited, "👍")).await;
    ok(&scene.ben, &React { emoji: Emoji::new("🎉").unwrap(), ..react(at, tombstone, "🎉") }).await;
    let mut reply = message(at, "reply", "reply");
    reply.reply_to = Some(edited);
    deliver(&scene.ben, reply).await;
    ok(&scene.ana, &delete(at, tombstone, DeleteMode::Soft)).await;
    ok(&scene.ana, &delete(at, gone, DeleteMode::Hard)).await;
    ok(&scene.ben, &delete(at, hidden, DeleteMode::ForMe)).await;
    assert_eq!(refused(&scene.ben, &react(at, gone, "👍")).await, ErrorCode::AlreadyDeleted);

    let before = (history(&scene.ana, at).await, history(&scene.ben, at).await);
    assert_eq!(texts(&before.0), [Some("reply"), Some("hidden"), None, Some("better")]);
    assert_eq!(texts(&before.1), [Some("reply"), None, Some("better")]);
    let view = before.0.last().unwrap();
    assert_eq!(view.edits[0].text, "edited");
    assert_eq!(view.reactions["👍"], [id("ben"), id("ana")]);
    assert!(scene.node.node.unpersisted() > 0);
    assert_eq!(scene.node.backend.messages.find(edited).await.unwrap(), None);

    scene.messages.switch_on();
    scene.is_persisted().await;
    assert_eq!((history(&scene.ana, at).await, history(&scene.ben, at).await), before);
    let store = &scene.node.backend.messages;
    match store.find(edited).await.unwrap() {
        // Ana sees her own messages whole.
        Some(Found::There(stored)) => assert_eq!(&stored.view(), view),
        other => panic!("not in the store: {other:?}"),
    }
    assert!(matches!(store.find(gone).await.unwrap(), Some(Found::Gone { .. })));
    match store.find(hidden).await.unwrap() {
        Some(Found::There(stored)) => assert!(stored.is_hidden_from(&id("ben")) && !stored.is_hidden_from(&id("ana"))),
        other => panic!("not in the store: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_conversation_is_not_taken_for_one_at_the_same_place() {
    let scene = Scene::open().await;
    scene.messages.switch_off();
    let secret = deliver(&scene.ana, message(scene.group, "secret", "secret")).await;
    let seq = see(&scene.ben, secret).await.seq;
    let mallory = scene.node.connect("mallory").await;
    // Places are given by partition: sooner or later one of Mallory's messages has the same.
    let mut own = None;
    for number in 0..200 {
        let at = group(&mallory, &[]).await;
        deliver(&mallory, message(at, "m", "m")).await;
        if history(&mallory, at).await[0].seq == seq {
            own = Some((number, at));
            break;
        }
    }
    let (_, own) = own.unwrap();
    assert_eq!(refused(&mallory, &edit(own, secret, "broken")).await, ErrorCode::NotFound);
    assert_eq!(refused(&mallory, &react(own, secret, "👍")).await, ErrorCode::NotFound);
    for mode in [DeleteMode::ForMe, DeleteMode::Soft, DeleteMode::Hard] {
        assert_eq!(refused(&mallory, &delete(own, secret, mode)).await, ErrorCode::NotFound);
    }
    let stolen = ForwardMessages {
        messages: vec![MessageRef { conversation_id: own, message_id: secret }],
        targets: vec![own],
        temp_id: "f".parse().unwrap(),
    };
    assert_eq!(refused(&mallory, &stolen).await, ErrorCode::NotFound);
    scene.messages.switch_on();
    scene.is_persisted().await;
    assert_eq!(texts(&history(&scene.ben, scene.group).await), [Some("secret")]);
    assert_eq!(texts(&history(&mallory, own).await), [Some("m")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_read_is_a_dead_letter_and_blocks_nothing() {
    let scene = Scene::open().await;
    let at = scene.group;
    let sent = deliver(&scene.ana, message(at, "m", "one")).await;
    let now = scene.node.clock.now();
    let change = MessageChange {
        message_id: sent,
        conversation_id: at,
        by: id("ana"),
        at: now,
        what: Change::Edited { text: text("smuggled"), created_at: now },
    };
    let good = record::encode(&change, now, *sent.as_uuid()).unwrap();
    let mut later: Value = serde_json::from_slice(&good.value).unwrap();
    later["version"] = json!(99);
    let bad = [
        NewRecord { value: Bytes::from_static(b"\xff{ this is nothing"), ..good.clone() },
        NewRecord { value: Bytes::from(later.to_string()), ..good.clone() },
        NewRecord { topic: Topic::MessageDeleted, ..good },
    ];
    for record in bad.clone() {
        scene.node.backend.log.publish(record).await.unwrap();
    }
    ok(&scene.ana, &edit(at, sent, "two")).await;
    ok(&scene.ben, &delete(at, sent, DeleteMode::ForMe)).await;
    scene.is_persisted().await;
    let Some(Found::There(stored)) = scene.node.backend.messages.find(sent).await.unwrap() else {
        panic!("the message is not in the store");
    };
    let view = stored.view();
    assert_eq!((view.text.as_deref(), view.edits.len()), (Some("two"), 1));
    assert!(stored.is_hidden_from(&id("ben")));

    let dead = scene.records(Topic::DeadLetter).await;
    for (bad, reason) in bad.iter().zip(["does not read", "has version 99", "it belongs on message.edited"]) {
        let header = |record: &Record, name: &str| {
            record.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let is_it =
            |record: &&Record| record.value == bad.value && header(record, "dead-letter-topic") == bad.topic.as_str();
        let [dead] = dead.iter().filter(is_it).collect::<Vec<_>>()[..] else { panic!("not once: {reason}: {dead:?}") };
        let told = header(dead, "dead-letter-reason");
        assert!(told.contains(reason), "{told}");
    }
    assert_eq!(dead.len(), bad.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_unknown_outcome_is_applied_once() {
    let scene = Scene::open_with(Limits { send_deadline: SHORT_DEADLINE, ..patient_limits() }).await;
    let sent = deliver(&scene.ana, message(scene.group, "m", "one")).await;
    let two = edit(scene.group, sent, "two");
    scene.log.fail_next_on(Topic::MessageEdited, &[PublishFault::WrittenAndSilent]);
    assert_eq!(refused(&scene.ana, &two).await, ErrorCode::OutcomeUnknown);
    let is_edited =
        |event: &ServerEvent| matches!(event, ServerEvent::Edited(edited) if edited.message.text == Some(text("two")));
    scene.ben.wait_for(0, PATIENCE, is_edited).await.unwrap();
    let again = ok(&scene.ana, &two).await.message;
    assert_eq!((again.text, again.edits.len()), (Some(text("two")), 1));

    // One that is lost is not applied, and says the same.
    let three = edit(scene.group, sent, "three");
    scene.log.fail_next_on(Topic::MessageEdited, &[PublishFault::LostAndSilent]);
    assert_eq!(refused(&scene.ana, &three).await, ErrorCode::OutcomeUnknown);
    assert_eq!(texts(&history(&scene.ana, scene.group).await), [Some("two")]);
    let edits = ok(&scene.ana, &three).await.message.edits;
    assert_eq!(edits.iter().map(|edit| edit.text.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    scene.is_persisted().await;
    assert_eq!(history(&scene.ben, scene.group).await[0].edits, edits);
}

// ---- without waiting ----------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_one_connection_asks_for_without_waiting_keeps_its_order() {
    let scene = Scene::open().await;
    let at = scene.group;
    let first = deliver(&scene.ana, message(at, "first", "zero")).await;
    let second = deliver(&scene.ana, message(at, "second", "second")).await;
    emit(&scene.ana, &message(at, "third", "third")).await;
    for number in ["one", "two", "three"] {
        emit(&scene.ana, &edit(at, first, number)).await;
        emit(&scene.ana, &edit(at, second, number)).await;
    }
    emit(&scene.ana, &message(at, "fourth", "fourth")).await;
    emit(&scene.ana, &delete(at, second, DeleteMode::Soft)).await;
    // Behind all of them.
    let last = deliver(&scene.ana, message(at, "last", "last")).await;

    see(&scene.ben, last).await;
    let is_deleted =
        |event: &ServerEvent| matches!(event, ServerEvent::Deleted(deleted) if deleted.message_id == second);
    scene.ben.wait_for(0, PATIENCE, is_deleted).await.unwrap();
    scene.is_persisted().await;
    let seen = history(&scene.ben, at).await;
    assert_eq!(texts(&seen), [Some("last"), Some("fourth"), Some("third"), None, Some("three")]);
    let edits: Vec<&str> = seen[4].edits.iter().map(|edit| edit.text.as_str()).collect();
    assert_eq!(edits, ["zero", "one", "two"]);
    assert!(seen[3].deleted.is_some() && seen[3].edits.is_empty());
    scene.ana.catch_up().await.unwrap();
    let is_error = |event: &ServerEvent| matches!(event, ServerEvent::Error(_));
    assert!(!scene.ana.look(|view| view.seen_from(0).any(|seen| is_error(&seen.event))), "nothing was refused");
    // After the tombstone nobody hears of the text again.
    let after = scene.ben.look(|view| {
        let events = view.seen_from(0).map(|seen| Arc::clone(&seen.event)).skip_while(|event| !is_deleted(event));
        events
            .filter(|event| matches!(&**event, ServerEvent::Edited(edited) if edited.message.message_id == second))
            .count()
    });
    assert_eq!(after, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_message_that_is_only_on_its_way_happens_whole_or_not_at_all() {
    let scene = Scene::open().await;
    let at = scene.group;
    for number in 0..20 {
        let sent = message(at, &format!("m{number}"), "text");
        let message_id = MessageId::derive(&id("ana"), at, &sent.temp_id);
        scene.ana.send(sent).await.unwrap();
        let (edit, delete) = (edit(at, message_id, "edited"), delete(at, message_id, DeleteMode::Soft));
        let (edited, deleted) = join(scene.ana.request(&edit), scene.ana.request(&delete)).await;
        let (edited, deleted) = (edited.unwrap(), deleted.unwrap());
        for refusal in [edited.as_ref().err(), deleted.as_ref().err()].into_iter().flatten() {
            assert_eq!(refusal.code, ErrorCode::NotFound, "{refusal:?}");
        }
        see(&scene.ben, message_id).await;
        let seen = history(&scene.ana, at).await;
        let seen = seen.iter().find(|message| message.message_id == message_id).unwrap();
        assert_eq!(seen.deleted.is_some(), deleted.is_ok());
        if deleted.is_err() {
            assert_eq!(seen.text, Some(text(if edited.is_ok() { "edited" } else { "text" })));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_that_are_given_and_taken_back_without_waiting_end_as_the_last_one_said() {
    let scene = Scene::open().await;
    let at = scene.group;
    let sent = deliver(&scene.ana, message(at, "m", "m")).await;
    let thumb = react(at, sent, "👍");
    let unreact = |react: &React| Unreact { conversation_id: at, message_id: sent, emoji: react.emoji.clone() };
    let party = react(at, sent, "🎉");
    for _ in 0..20 {
        emit(&scene.ben, &thumb).await;
        emit(&scene.ben, &unreact(&thumb)).await;
        emit(&scene.ben, &unreact(&party)).await;
        emit(&scene.ben, &party).await;
    }
    // Behind all of them on the same connection and in the same partition.
    ok(&scene.ben, &react(at, sent, "🙂")).await;
    scene.is_persisted().await;
    for user in [&scene.ana, &scene.ben] {
        let reactions = history(user, at).await.remove(0).reactions;
        let ben = vec![id("ben")];
        assert_eq!(reactions, BTreeMap::from([("🎉".to_owned(), ben.clone()), ("🙂".to_owned(), ben)]));
    }
}

// ---- sync ---------------------------------------------------------------------------------------------------

/// Everything since a cursor, as it stands on the wire.
async fn sync_from(user: &SimulatedUser, cursor: &Value) -> Vec<Value> {
    let mut cursor = cursor.clone();
    let mut events = Vec::new();
    loop {
        let answer = user.request_raw(Sync::EVENT, json!({ "cursor": cursor })).await.unwrap();
        let data = &answer["data"];
        events.extend(data["events"].as_array().unwrap().iter().cloned());
        if data["more"] == false {
            return events;
        }
        cursor = data["cursor"].clone();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_does_not_bring_back_what_was_deleted_since() {
    let scene = Scene::open().await;
    let at = scene.group;
    let cursor =
        async |user: &SimulatedUser| user.request_raw(Sync::EVENT, json!({})).await.unwrap()["data"]["cursor"].clone();
    let cursors = (cursor(&scene.ana).await, cursor(&scene.ben).await);
    scene.messages.switch_off();
    let gone = deliver(&scene.ana, message(at, "gone", "secret one")).await;
    let tombstone = deliver(&scene.ana, message(at, "tombstone", "secret two")).await;
    let hidden = deliver(&scene.ana, message(at, "hidden", "hidden")).await;
    for message_id in [gone, tombstone] {
        ok(&scene.ana, &edit(at, message_id, "secret three")).await;
        ok(&scene.ben, &react(at, message_id, "👍")).await;
    }
    ok(&scene.ana, &delete(at, gone, DeleteMode::Hard)).await;
    ok(&scene.ana, &delete(at, tombstone, DeleteMode::Soft)).await;
    ok(&scene.ben, &delete(at, hidden, DeleteMode::ForMe)).await;

    for is_persisted in [false, true] {
        if is_persisted {
            scene.messages.switch_on();
            scene.is_persisted().await;
        }
        for (user, cursor) in [(&scene.ana, &cursors.0), (&scene.ben, &cursors.1)] {
            let events = sync_from(user, cursor).await;
            let told = serde_json::to_string(&events).unwrap();
            let what = format!("{}, persisted: {is_persisted}: {told}", user.user_id());
            assert!(!told.contains("secret"), "{what}");
            let about = |name: &str, message_id: MessageId| {
                let message_id = message_id.to_string();
                let is_it = |event: &&Value| {
                    let data = &event["data"];
                    let ids = [&data["message_id"], &data["message"]["message_id"]];
                    event["event"] == name && ids.iter().any(|id| **id == message_id)
                };
                events.iter().filter(is_it).count()
            };
            assert_eq!((about("message:new", gone), about("message:deleted", gone)), (0, 1), "{what}");
            assert_eq!((about("message:new", tombstone), about("message:deleted", tombstone)), (1, 1), "{what}");
            for silent in ["message:edited", "message:reaction"] {
                assert_eq!((about(silent, gone), about(silent, tombstone)), (0, 0), "{what}");
            }
            let is_ben = usize::from(user.user_id() == &id("ben"));
            assert_eq!(
                (about("message:new", hidden), about("message:deleted", hidden)),
                (1 - is_ben, is_ben),
                "{what}"
            );
        }
    }
    // As little as of a message that was sent on a node that is asked for the first time.
    let other = scene.node.beside("other", Roles::default(), |backend| backend).await;
    let ben = other.connect("ben").await;
    let told = serde_json::to_string(&sync_from(&ben, &cursors.1).await).unwrap();
    assert!(!told.contains("secret"), "{told}");
    let unknown = MessageId::from_uuid(Uuid::new_v4());
    assert_eq!(refused(&ben, &edit(at, unknown, "x")).await, ErrorCode::NotFound);
    other.shutdown().await;
}
