//! The conversation service: reads through the cache, changes through the store (S1.2, S1.4).

use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::error::WireError;
use ackscope_protocol::text::Cursor;
use ackscope_protocol::trace::PermissionSource;
use ackscope_protocol::wire::{
    AddParticipant, Conversation, ConversationAnswer, ConversationChange, ConversationPage, CreateConversation,
    ListConversations, MuteConversation, Nothing, RemoveParticipant,
};
use ackscope_protocol::{ConversationId, ErrorCode, Timestamp, UserId};
use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;
use uuid::Uuid;

use crate::cache::{CacheError, ConversationCache, Lookup};
use crate::clock::Clock;
use crate::planted::{self, Bug};
use crate::producers::{self, Outbox};
use crate::record::ConversationUpdated;
use crate::refusal;
use crate::repositories::{
    ConversationCursor, ConversationRepository, CreateOutcome, OutboxEntry, ParticipantRepository, StoreError,
    StoredConversation, UpdateOutcome,
};
use crate::rules::{self, Changed};

/// How long a change waits for its record to be in the log before it answers anyway. Waiting keeps the order
/// other people see: the conversation first, then its messages.
const OUTBOX_PATIENCE: Duration = Duration::from_millis(250);
/// How often a change is decided anew because somebody else changed the conversation meanwhile.
const CONFLICTS_MAX: u32 = 16;
/// How long a change tries to invalidate a cache that does not answer.
const INVALIDATION_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two of these tries.
const INVALIDATION_PAUSE: Duration = Duration::from_millis(20);
/// Conversations whose newest version this node remembers.
const VERSIONS_MAX: u64 = 100_000;

/// The conversation service.
pub struct Conversations {
    repository: Arc<dyn ConversationRepository>,
    participants: Arc<dyn ParticipantRepository>,
    cache: Arc<dyn ConversationCache>,
    clock: Clock,
    outbox: Arc<Outbox>,
    /// The newest version of a conversation this node has heard of. A cache entry below it is old, whatever became
    /// of its invalidation: a removed participant is refused although the cache was unreachable at that moment.
    versions: Cache<ConversationId, u64>,
}

impl Conversations {
    /// A service on these repositories; what it changes goes through the outbox.
    pub fn new(
        repository: Arc<dyn ConversationRepository>,
        participants: Arc<dyn ParticipantRepository>,
        cache: Arc<dyn ConversationCache>,
        clock: Clock,
        outbox: Arc<Outbox>,
    ) -> Self {
        Self { repository, participants, cache, clock, outbox, versions: Cache::new(VERSIONS_MAX) }
    }

    /// The conversation with everybody in it, from the cache or else the store.
    pub async fn load(
        &self,
        conversation_id: ConversationId,
    ) -> Result<(Option<Arc<StoredConversation>>, PermissionSource), StoreError> {
        let mut lookup = self.cache.get(conversation_id).await;
        if let Ok(Lookup::Hit(conversation)) = &lookup {
            if conversation.version >= self.versions.get(&conversation_id).unwrap_or(0) {
                return Ok((Some(Arc::clone(conversation)), PermissionSource::Cache));
            }
            lookup = match self.cache.invalidate(conversation_id).await {
                Ok(()) => self.cache.get(conversation_id).await,
                Err(error) => Err(error),
            };
        }
        let ticket = match lookup {
            Ok(Lookup::Miss(ticket)) => Some(ticket),
            // Somebody filled it meanwhile; the store knows best.
            Ok(Lookup::Hit(_)) => None,
            // Without its cache the service is slower, not different.
            Err(error) => {
                tracing::debug!(%error, "the cache failed, asking the store");
                None
            }
        };
        let Some(conversation) = self.repository.find(conversation_id).await?.map(Arc::new) else {
            return Ok((None, PermissionSource::Store));
        };
        if let Some(ticket) = ticket
            && let Err(error) = self.cache.fill(ticket, Arc::clone(&conversation)).await
        {
            tracing::debug!(%error, "the cache could not be filled");
        }
        Ok((Some(conversation), PermissionSource::Store))
    }

    /// The conversation at `version` or newer: an older cache entry is thrown away and the store is asked.
    pub async fn load_at_least(
        &self,
        conversation_id: ConversationId,
        version: u64,
    ) -> Result<Option<Arc<StoredConversation>>, StoreError> {
        self.saw(conversation_id, version);
        Ok(self.load(conversation_id).await?.0)
    }

    /// There is a version of the conversation: cache entries below it are not used any more. False when this or a
    /// newer one was known.
    pub fn saw(&self, conversation_id: ConversationId, version: u64) -> bool {
        let outcome = self.versions.entry(conversation_id).and_compute_with(|known| match known {
            Some(known) if *known.value() >= version => Op::Nop,
            None if version == 0 => Op::Nop,
            _ => Op::Put(version),
        });
        matches!(outcome, CompResult::Inserted(_) | CompResult::ReplacedWith(_))
    }

    /// Removes the cache entry, so that the next reader asks the store.
    pub async fn invalidate(&self, conversation_id: ConversationId) -> Result<(), CacheError> {
        if planted::is(Bug::ForgottenInvalidation) {
            return Ok(());
        }
        self.cache.invalidate(conversation_id).await
    }

    /// Removes the cache entry of a conversation that was changed. A cache that does not answer is asked again for a
    /// while; after that the consumer of the change goes on with it, and the caller cannot be told that all is done.
    async fn invalidate_changed(&self, conversation: &StoredConversation) -> Result<(), WireError> {
        let conversation_id = conversation.conversation_id;
        self.saw(conversation_id, conversation.version);
        let invalidated = tokio::time::timeout(INVALIDATION_LIMIT, async {
            while let Err(error) = self.invalidate(conversation_id).await {
                tracing::warn!(%error, %conversation_id, "the cache could not be invalidated, trying again");
                tokio::time::sleep(INVALIDATION_PAUSE).await;
            }
        });
        invalidated.await.map_err(|_| {
            WireError::new(
                ErrorCode::OutcomeUnknown,
                "the change is stored, and other nodes may not know it yet; look at the conversation before you repeat it",
            )
        })
    }

    /// `conversation:create`.
    pub async fn create(&self, caller: &UserId, request: &CreateConversation) -> Result<ConversationAnswer, WireError> {
        let now = self.clock.now();
        let new_id = ConversationId::from_uuid(Uuid::new_v4());
        let conversation = rules::new_conversation(caller, request, new_id, now)?;
        let change = ConversationUpdated { change: ConversationChange::Created, subject: None, conversation };
        let entry = outbox_entry(&change, now)?;
        let conversation = change.conversation;

        // Listens before the entry is written: the relay may be faster than this task.
        let published = self.outbox.expect(&entry);
        let outcome = self.repository.create(&conversation, std::slice::from_ref(&entry)).await;
        let conversation = match outcome.map_err(|error| refusal::store(&error))? {
            CreateOutcome::Exists(existing) => existing,
            CreateOutcome::Created => {
                self.outbox.wrote();
                self.invalidate_changed(&conversation).await?;
                be_patient(published).await;
                conversation
            }
        };
        // `Exists` only happens to a direct conversation, and the caller is one of its two people.
        self.answer(&conversation, caller)
    }

    /// `conversation:add_participant`.
    pub async fn add_participant(
        &self,
        caller: &UserId,
        request: &AddParticipant,
    ) -> Result<ConversationAnswer, WireError> {
        let AddParticipant { conversation_id, user_id, role } = request;
        let role = role.unwrap_or(ackscope_protocol::wire::AddedRole::Member);
        let rule = |before: Option<&_>, now| rules::add_participant(before, caller, user_id, role, now);
        let conversation = self.change(*conversation_id, rule).await?;
        self.answer(&conversation, caller)
    }

    /// `conversation:remove_participant`.
    pub async fn remove_participant(
        &self,
        caller: &UserId,
        request: &RemoveParticipant,
    ) -> Result<ConversationAnswer, WireError> {
        let RemoveParticipant { conversation_id, user_id } = request;
        let rule = |before: Option<&_>, now| rules::remove_participant(before, caller, user_id, now).map(Some);
        let conversation = self.change(*conversation_id, rule).await?;
        self.answer(&conversation, caller)
    }

    /// `conversation:leave`.
    pub async fn leave(&self, caller: &UserId, conversation_id: ConversationId) -> Result<Nothing, WireError> {
        self.change(conversation_id, |before, now| rules::leave(before, caller, now).map(Some)).await?;
        Ok(Nothing {})
    }

    /// `conversation:mute`.
    pub async fn mute(&self, caller: &UserId, request: &MuteConversation) -> Result<ConversationAnswer, WireError> {
        let rule = |before: Option<&_>, now| rules::mute(before, caller, request.duration_secs, now);
        let conversation = self.change(request.conversation_id, rule).await?;
        self.answer(&conversation, caller)
    }

    /// `conversation:unmute`.
    pub async fn unmute(&self, caller: &UserId, id: ConversationId) -> Result<ConversationAnswer, WireError> {
        let conversation = self.change(id, |before, now| rules::unmute(before, caller, now)).await?;
        self.answer(&conversation, caller)
    }

    /// `conversation:archive` and `conversation:unarchive`.
    pub async fn archive(
        &self,
        caller: &UserId,
        conversation_id: ConversationId,
        archived: bool,
    ) -> Result<ConversationAnswer, WireError> {
        let conversation = self.change(conversation_id, |before, _| rules::archive(before, caller, archived)).await?;
        self.answer(&conversation, caller)
    }

    /// Changes a conversation by a rule and gives it as it is then. The rule decides on what the store holds, and
    /// again when somebody else was faster; the store takes the change only on top of the version it was decided on.
    async fn change(
        &self,
        conversation_id: ConversationId,
        rule: impl Fn(Option<&StoredConversation>, Timestamp) -> Result<Option<Changed>, WireError>,
    ) -> Result<StoredConversation, WireError> {
        for _ in 0..CONFLICTS_MAX {
            let before = self.repository.find(conversation_id).await.map_err(|error| refusal::store(&error))?;
            let now = self.clock.now();
            let Some(Changed { conversation, change, subject }) = rule(before.as_ref(), now)? else {
                return before.ok_or_else(refusal::not_found);
            };
            let updated = ConversationUpdated { change, subject: Some(subject), conversation };
            let entry = outbox_entry(&updated, now)?;
            let conversation = updated.conversation;
            let published = self.outbox.expect(&entry);
            let outcome = self.repository.update(&conversation, std::slice::from_ref(&entry)).await;
            match outcome.map_err(|error| refusal::store(&error))? {
                UpdateOutcome::Conflict => {}
                UpdateOutcome::Updated => {
                    self.outbox.wrote();
                    self.invalidate_changed(&conversation).await?;
                    be_patient(published).await;
                    return Ok(conversation);
                }
            }
        }
        Err(WireError::new(ErrorCode::Overloaded, "too many others change this conversation at the moment; try again"))
    }

    fn answer(&self, conversation: &StoredConversation, caller: &UserId) -> Result<ConversationAnswer, WireError> {
        Ok(ConversationAnswer { conversation: self.view(conversation, caller).ok_or_else(refusal::not_found)? })
    }

    fn view(&self, conversation: &StoredConversation, viewer: &UserId) -> Option<Conversation> {
        rules::conversation_for(conversation, viewer, self.clock.now())
    }

    /// The ids of the conversations the caller is in, at most `limit`.
    pub async fn ids_of(&self, caller: &UserId, limit: u32) -> Result<Vec<ConversationId>, WireError> {
        self.participants.conversation_ids_of(caller, limit).await.map_err(|error| refusal::store(&error))
    }

    /// `conversation:list`.
    pub async fn list(&self, caller: &UserId, request: &ListConversations) -> Result<ConversationPage, WireError> {
        let limit = request.limit.unwrap_or_default().get();
        let after = request.cursor.as_ref().map(read_cursor).transpose()?;
        // One more than asked for says whether there is a next page.
        let mut stored = self
            .participants
            .conversations_of(caller, request.archived, after.as_ref(), limit + 1)
            .await
            .map_err(|error| refusal::store(&error))?;
        let more = stored.len() > limit as usize;
        stored.truncate(limit as usize);
        let next_cursor = stored.last().filter(|_| more).map(write_cursor).transpose()?;
        let conversations = stored.iter().filter_map(|conversation| self.view(conversation, caller)).collect();
        Ok(ConversationPage { conversations, next_cursor })
    }
}

fn outbox_entry(change: &ConversationUpdated, now: Timestamp) -> Result<OutboxEntry, WireError> {
    producers::outbox_entry(change, now, Uuid::new_v4()).map_err(|error| {
        tracing::error!(%error, "a conversation cannot be written");
        WireError::new(ErrorCode::Internal, "the conversation cannot be written")
    })
}

async fn be_patient(published: producers::Expected) {
    if !published.within(OUTBOX_PATIENCE).await {
        tracing::warn!("the log is slow: a conversation answers before its record is published");
    }
}

/// A cursor is `<milliseconds>_<conversation id>`; to a client it is opaque.
fn write_cursor(last: &StoredConversation) -> Result<Cursor, WireError> {
    Cursor::new(format!("{}_{}", last.created_at.as_millis(), last.conversation_id))
        .map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))
}

fn read_cursor(cursor: &Cursor) -> Result<ConversationCursor, WireError> {
    let parse = || {
        let (millis, id) = cursor.split_once('_')?;
        let created_at = ackscope_protocol::Timestamp::from_millis(millis.parse().ok()?);
        Some(ConversationCursor { created_at, conversation_id: id.parse().ok()? })
    };
    parse().ok_or_else(|| WireError::new(ErrorCode::InvalidPayload, "field `cursor`: not a cursor of this list"))
}
