//! What a cell left behind: store, log, cache and search before and after, and what was told to whom.
//!
//! Everything is laid to a cell by the conversation it is about. Whatever is about no cell's conversation was
//! caused by some cell all the same, and is said of the whole run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ackscope_core::cache::{CacheError, Lookup};
use ackscope_core::log::{LogError, Position, Topic};
use ackscope_core::node::Backend;
use ackscope_core::repositories::{StoreError, StoredConversation};
use ackscope_core::state::StoredMessage;
use ackscope_protocol::wire::{AckState, ServerEvent};
use ackscope_protocol::{ConversationId, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::cell::Told;
use super::stage::Stage;
use crate::services::{Document, ServiceError};
use crate::stored::look_up;
use crate::world::WorldError;

/// Reads at the same time.
const READS_AT_ONCE: usize = 16;
/// Messages and conversations read in one go.
const PAGE: u32 = 500;
/// Records read in one go.
const RECORDS: usize = 1_000;

/// Why it cannot be said what is there.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The store does not say.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log does not say.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The cache does not say.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The search service does not say.
    #[error(transparent)]
    Search(#[from] ServiceError),
    /// The world has ended.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// What there is of one conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The store's conversation with its participants.
    pub conversation: Option<StoredConversation>,
    /// The store's messages with what happened to them, and from whom they are hidden.
    pub messages: Vec<StoredMessage>,
    /// Version of the cache's entry.
    pub cached_version: Option<u64>,
    /// What the search service finds of it.
    pub documents: Vec<Document>,
}

/// What there is of every conversation of a run, at a moment when nothing moves.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By conversation.
    pub traces: BTreeMap<ConversationId, Trace>,
    /// The conversations of everybody, with their versions, archived ones included.
    pub listed: BTreeMap<UserId, BTreeMap<ConversationId, u64>>,
    /// Where each partition of the log ends.
    pub ends: Vec<Position>,
}

impl Snapshot {
    /// Looks at everything.
    pub async fn take(stage: &Stage, conversations: &BTreeSet<ConversationId>) -> Result<Self, LookError> {
        let backend = stage.world().backend()?;
        let mut traces: BTreeMap<ConversationId, Trace> = stream::iter(conversations.iter().copied())
            .map(|id| trace(&backend, id))
            .buffer_unordered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let search = &stage.world().services()?.search;
        let mut after = None;
        loop {
            let page = search.documents(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.message_id);
            for document in page {
                traces.entry(document.conversation_id).or_default().documents.push(document);
            }
        }
        let users: Vec<UserId> = stage.world().users().iter().map(|user| user.user_id().clone()).collect();
        let listed = stream::iter(users)
            .map(|user| listed(&backend, user))
            .buffer_unordered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let mut ends = Vec::new();
        for topic in Topic::ALL {
            ends.extend(backend.log.end(topic).await?);
        }
        Ok(Self { traces, listed, ends })
    }

    /// The records that were written since, by conversation; `None` holds those of no conversation.
    pub async fn records_since(&self, backend: &Backend) -> Result<Records, LookError> {
        let mut records = Records::default();
        for end in &self.ends {
            let mut from = end.offset;
            loop {
                let page = backend.log.read(end.topic_partition(), from, RECORDS).await?;
                let Some(last) = page.last() else { break };
                from = last.position.offset + 1;
                for record in page {
                    records.add(record.position.topic, record.key.parse().ok());
                }
            }
        }
        Ok(records)
    }
}

async fn trace(backend: &Backend, id: ConversationId) -> Result<(ConversationId, Trace), LookError> {
    let cached_version = match look_up(backend.cache.as_ref(), id).await? {
        Lookup::Hit(entry) => Some(entry.version),
        Lookup::Miss(_) => None,
    };
    let conversation = backend.conversations.find(id).await?;
    let mut messages: Vec<StoredMessage> = Vec::new();
    loop {
        let before = messages.last().map(|stored| stored.message.seq);
        let page = backend.messages.history(id, None, None, before, PAGE).await?;
        // A store that gives the same page again would be asked for ever.
        let Some(oldest) = page.last().map(|stored| stored.message.seq) else { break };
        if before.is_some_and(|before| oldest >= before) {
            break;
        }
        messages.extend(page);
    }
    Ok((id, Trace { conversation, messages, cached_version, documents: Vec::new() }))
}

async fn listed(backend: &Backend, user: UserId) -> Result<(UserId, BTreeMap<ConversationId, u64>), LookError> {
    let mut all = BTreeMap::new();
    for archived in [false, true] {
        let mut after = None;
        loop {
            let page = backend.participants.conversations_of(&user, archived, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(ackscope_core::repositories::ConversationCursor {
                created_at: last.created_at,
                conversation_id: last.conversation_id,
            });
            all.extend(page.iter().map(|conversation| (conversation.conversation_id, conversation.version)));
        }
    }
    Ok((user, all))
}

/// Records of the log, counted by conversation and topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    counts: BTreeMap<Option<ConversationId>, BTreeMap<Topic, u64>>,
}

impl Records {
    fn add(&mut self, topic: Topic, key: Option<ConversationId>) {
        *self.counts.entry(key).or_default().entry(topic).or_default() += 1;
    }

    /// Whether there is a record of this conversation.
    pub fn has(&self, id: ConversationId) -> bool {
        self.counts.contains_key(&Some(id))
    }

    /// The records of a conversation, one line; `None` when there are none.
    fn said_of(&self, id: Option<ConversationId>) -> Option<String> {
        let counts = self.counts.get(&id)?;
        let of_topic = |(topic, count): (&Topic, &u64)| match count {
            1 => format!("a record of {topic}"),
            count => format!("{count} records of {topic}"),
        };
        let all: Vec<String> = counts.iter().map(of_topic).collect();
        Some(all.join(", "))
    }

    /// Records of conversations that belong to no cell.
    pub fn of_nobody(&self, known: &BTreeSet<ConversationId>) -> Vec<String> {
        let is_foreign = |key: &Option<ConversationId>| key.is_none_or(|id| !known.contains(&id));
        let foreign = self.counts.keys().filter(|key| is_foreign(key));
        foreign
            .filter_map(|key| {
                let of = key.map_or_else(|| "no conversation".to_owned(), |id| format!("conversation {id}"));
                Some(format!("the log has {} of {of}, which belongs to no cell", self.said_of(*key)?))
            })
            .collect()
    }
}

/// What changed of one conversation in store, cache, search and log; empty when nothing did.
pub fn changes(id: ConversationId, before: &Snapshot, after: &Snapshot, records: &Records) -> Vec<String> {
    let nothing = Trace::default();
    let (old, new) = (before.traces.get(&id).unwrap_or(&nothing), after.traces.get(&id).unwrap_or(&nothing));
    let mut changes = Vec::new();
    if old.conversation != new.conversation {
        changes.push("the store's conversation changed".to_owned());
    }
    if old.messages != new.messages {
        let (old, new) = (old.messages.len(), new.messages.len());
        changes.push(if old == new {
            "the store's messages changed".to_owned()
        } else {
            format!("the store had {old} messages and has {new}")
        });
    }
    if old.documents != new.documents {
        changes.push("what search holds changed".to_owned());
    }
    // An entry may come and go; one that says something else than the store must not be there.
    let stored_version = new.conversation.as_ref().map(|conversation| conversation.version);
    if let Some(cached) = new.cached_version
        && (Some(cached) != stored_version || old.cached_version.is_some_and(|old| old != cached))
    {
        let stored = stored_version.map_or_else(|| "nothing".to_owned(), |version| format!("version {version}"));
        changes.push(format!("the cache holds version {cached}, the store {stored}"));
    }
    changes.extend(records.said_of(Some(id)).map(|said| format!("the log has {said}")));
    changes
}

/// What changed of one conversation for those who see it; empty when nothing did.
pub fn visible_changes(id: ConversationId, before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let nothing = Trace::default();
    let [old, new] = [before, after].map(|snapshot| snapshot.traces.get(&id).unwrap_or(&nothing));
    let messages = |trace: &Trace| -> Vec<_> {
        trace.messages.iter().map(|stored| (stored.view(), stored.state.hidden_for.clone())).collect()
    };
    let found = |trace: &Trace| -> Vec<_> {
        trace.documents.iter().map(|document| (document.message_id, document.text.clone())).collect()
    };
    let differs = [
        (old.conversation != new.conversation, "the conversation looks different"),
        (messages(old) != messages(new), "its messages look different"),
        (found(old) != found(new), "search finds something else"),
    ];
    differs.into_iter().filter(|(differs, _)| *differs).map(|(_, said)| said.to_owned()).collect()
}

/// Conversations that came to somebody or went, and belong to no cell.
pub fn listed_of_nobody(before: &Snapshot, after: &Snapshot, known: &BTreeSet<ConversationId>) -> Vec<String> {
    let nothing = BTreeMap::new();
    let mut said = Vec::new();
    for (user, new) in &after.listed {
        let old = before.listed.get(user).unwrap_or(&nothing);
        for id in old.keys().chain(new.keys()).copied().collect::<BTreeSet<_>>() {
            if !known.contains(&id) && old.get(&id) != new.get(&id) {
                said.push(format!("the list of {user} changed in conversation {id}, which belongs to no cell"));
            }
        }
    }
    said
}

/// Where each user's events stood.
pub type EventMarks = HashMap<UserId, usize>;

/// Remembers where each user's events stand.
pub fn event_marks(stage: &Stage) -> EventMarks {
    stage.world().users().iter().map(|user| (user.user_id().clone(), user.next_index())).collect()
}

/// What everybody was told since, by conversation.
pub fn told_since(stage: &Stage, marks: &EventMarks) -> HashMap<ConversationId, Vec<(UserId, ServerEvent)>> {
    let mut told: HashMap<ConversationId, Vec<(UserId, ServerEvent)>> = HashMap::new();
    for user in stage.world().users() {
        let from = marks.get(user.user_id()).copied().unwrap_or_default();
        user.look(|view| {
            for seen in view.seen_from(from) {
                if let Some(id) = conversation_of(&seen.event) {
                    told.entry(id).or_default().push((user.user_id().clone(), ServerEvent::clone(&seen.event)));
                }
            }
        });
    }
    told
}

fn conversation_of(event: &ServerEvent) -> Option<ConversationId> {
    match event {
        ServerEvent::Ack(ack) => Some(ack.conversation_id),
        ServerEvent::New(answer) | ServerEvent::Edited(answer) => Some(answer.message.conversation_id),
        ServerEvent::Deleted(deleted) => Some(deleted.conversation_id),
        ServerEvent::Reaction(reaction) => Some(reaction.conversation_id),
        ServerEvent::Delivered(delivered) => Some(delivered.conversation_id),
        ServerEvent::ConversationUpdated(updated) => Some(updated.conversation.conversation_id),
        ServerEvent::Error(_) => None,
    }
}

/// What is wrong with who was told of something that was carried out: `caller` did it, `observer` is in every
/// conversation it concerns, `outside` are in none of them.
pub fn wrong_audience(
    who: Told,
    caller: &UserId,
    observer: &UserId,
    outside: &[UserId],
    told: &[(UserId, ServerEvent)],
) -> Vec<String> {
    let news = || told.iter().filter(|(_, event)| !matches!(event, ServerEvent::Ack(_)));
    let is_wrong = |user: &UserId| match who {
        Told::OnlyTheCaller => user != caller,
        Told::Everybody | Told::Whoever => outside.contains(user),
    };
    let wrong = news().filter(|(user, _)| is_wrong(user));
    let mut wrong: Vec<String> = wrong.map(|(user, event)| format!("{user} was told `{}`", event.name())).collect();
    let expected: &[&UserId] = match who {
        Told::Everybody => &[caller, observer],
        Told::OnlyTheCaller => &[caller],
        Told::Whoever => &[],
    };
    let missing = expected.iter().filter(|user| !news().any(|(told, _)| told == **user));
    wrong.extend(missing.map(|user| format!("{user} was told nothing")));
    wrong
}

/// What must not have been told when nothing happened: anything, but that the caller may learn that its own
/// message was refused, or is what it was.
pub fn wrongly_told(caller: &UserId, is_refused: bool, told: &[(UserId, ServerEvent)]) -> Vec<String> {
    let is_allowed = |user: &UserId, event: &ServerEvent| match event {
        ServerEvent::Ack(ack) if user == caller => {
            !is_refused || matches!(ack.state, AckState::Pending | AckState::Rejected)
        }
        _ => false,
    };
    let wrong = told.iter().filter(|(user, event)| !is_allowed(user, event));
    wrong.map(|(user, event)| format!("{user} was told `{}`", event.name())).collect()
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::Timestamp;
    use ackscope_protocol::error::{ErrorCode, WireError};
    use ackscope_protocol::wire::{ConversationKind, DeleteMode, MessageAck, MessageDeleted};
    use uuid::Uuid;

    use super::*;

    const ID: ConversationId = ConversationId::from_uuid(Uuid::from_u128(1));

    fn snapshot(version: u64, cached_version: Option<u64>) -> Snapshot {
        let conversation = StoredConversation {
            conversation_id: ID,
            kind: ConversationKind::Group,
            title: None,
            created_at: Timestamp::from_millis(0),
            version,
            participants: Vec::new(),
        };
        let trace = Trace { conversation: Some(conversation), cached_version, ..Trace::default() };
        Snapshot { traces: BTreeMap::from([(ID, trace)]), ..Snapshot::default() }
    }

    #[test]
    fn nothing_changed_is_nothing_said_and_a_cache_entry_may_come_and_go() {
        for (old, new) in [(None, None), (None, Some(3)), (Some(3), None), (Some(3), Some(3))] {
            let said = changes(ID, &snapshot(3, old), &snapshot(3, new), &Records::default());
            assert!(said.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn a_changed_store_is_seen() {
        let said = changes(ID, &snapshot(3, None), &snapshot(4, None), &Records::default());
        assert_eq!(said, ["the store's conversation changed"]);
        let gone = changes(ID, &snapshot(3, None), &Snapshot::default(), &Records::default());
        assert_eq!(gone, ["the store's conversation changed"]);
    }

    #[test]
    fn a_changed_cache_is_seen() {
        let said = changes(ID, &snapshot(3, None), &snapshot(3, Some(4)), &Records::default());
        assert_eq!(said, ["the cache holds version 4, the store version 3"]);
        let said = changes(ID, &snapshot(3, Some(2)), &snapshot(3, Some(3)), &Records::default());
        assert_eq!(said, ["the cache holds version 3, the store version 3"]);
    }

    #[test]
    fn a_changed_log_is_seen() {
        let mut records = Records::default();
        records.add(Topic::MessageSent, Some(ID));
        records.add(Topic::MessageSent, Some(ID));
        records.add(Topic::MessageDelivered, Some(ID));
        let said = changes(ID, &snapshot(3, None), &snapshot(3, None), &records);
        assert_eq!(said, ["the log has 2 records of message.sent, a record of message.delivered"]);
        assert!(records.of_nobody(&BTreeSet::from([ID])).is_empty());
        assert_eq!(records.of_nobody(&BTreeSet::new()).len(), 1);
        records.add(Topic::DeadLetter, None);
        assert_eq!(records.of_nobody(&BTreeSet::from([ID])).len(), 1);
    }

    #[test]
    fn what_came_to_somebody_is_seen() {
        let user: UserId = "ana".parse().unwrap();
        let after = Snapshot { listed: BTreeMap::from([(user, BTreeMap::from([(ID, 1)]))]), ..Snapshot::default() };
        assert_eq!(listed_of_nobody(&Snapshot::default(), &after, &BTreeSet::new()).len(), 1);
        assert!(listed_of_nobody(&Snapshot::default(), &after, &BTreeSet::from([ID])).is_empty());
        assert!(listed_of_nobody(&after, &after, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn who_was_told_and_who_was_not_is_seen() {
        let [ana, ben, eve]: [UserId; 3] = ["ana", "ben", "eve"].map(|name| name.parse().unwrap());
        let deleted = || {
            ServerEvent::Deleted(MessageDeleted {
                conversation_id: ID,
                message_id: ackscope_protocol::MessageId::from_uuid(Uuid::from_u128(2)),
                mode: DeleteMode::Soft,
            })
        };
        let said = |who, users: &[&UserId]| {
            let told: Vec<_> = users.iter().map(|user| (UserId::clone(user), deleted())).collect();
            wrong_audience(who, &ana, &ben, std::slice::from_ref(&eve), &told)
        };
        assert!(said(Told::Everybody, &[&ana, &ben]).is_empty());
        assert_eq!(said(Told::Everybody, &[&ana]), ["ben was told nothing"]);
        assert_eq!(said(Told::Everybody, &[&ana, &ben, &eve]), ["eve was told `message:deleted`"]);
        assert!(said(Told::OnlyTheCaller, &[&ana]).is_empty());
        assert_eq!(said(Told::OnlyTheCaller, &[&ana, &ben]), ["ben was told `message:deleted`"]);
        assert!(said(Told::Whoever, &[]).is_empty());
        assert_eq!(said(Told::Whoever, &[&eve]).len(), 1);
    }

    #[test]
    fn only_the_caller_may_hear_of_a_refusal() {
        let [ana, ben]: [UserId; 2] = ["ana", "ben"].map(|name| name.parse().unwrap());
        let ack = |state| {
            ServerEvent::Ack(MessageAck {
                temp_id: "t".parse().unwrap(),
                conversation_id: ID,
                state,
                message_id: None,
                seq: None,
                error: Some(WireError::new(ErrorCode::NotFound, "x")),
                at: Timestamp::from_millis(0),
            })
        };
        let deleted = ServerEvent::Deleted(MessageDeleted {
            conversation_id: ID,
            message_id: ackscope_protocol::MessageId::from_uuid(Uuid::from_u128(2)),
            mode: DeleteMode::Soft,
        });
        let said = |user: &UserId, event: ServerEvent| wrongly_told(&ana, true, &[(user.clone(), event)]).len();
        assert_eq!(said(&ana, ack(AckState::Pending)), 0);
        assert_eq!(said(&ana, ack(AckState::Rejected)), 0);
        assert_eq!(said(&ana, ack(AckState::Delivered)), 1);
        assert_eq!(said(&ben, ack(AckState::Rejected)), 1);
        assert_eq!(said(&ana, deleted.clone()), 1);
        assert_eq!(said(&ben, deleted), 1);
        assert!(wrongly_told(&ana, false, &[(ana.clone(), ack(AckState::Delivered))]).is_empty());
    }
}
