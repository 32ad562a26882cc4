//! What there is before a cell is played: its own conversation, its people, its messages.
//!
//! Every cell gets conversations of its own, so that many cells are played at once and whatever changes or is
//! told can be laid to one of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ackscope_core::cache::CacheError;
use ackscope_protocol::wire::{ConversationAnswer, ConversationKind, MessageRef, Sent};
use ackscope_protocol::{ConversationId, MediaId, Timestamp, UserId};
use serde_json::Value;
use uuid::Uuid;

use super::ask::{self, Ask};
use super::cell::{Caller, Whose};
use super::stage::{ADMIN, Failure, MEMBER, NEWCOMER, OBSERVER, OTHER_ADMIN, OWNER, REMOVED, STRANGER, Stage, read};
use crate::users::SimulatedUser;

/// The reaction that is there when a scene has one.
pub const REACTION: &str = "👍";
/// For how long a scene's caller mutes, in seconds.
pub const MUTE_SECS: u64 = 60;

/// Something more that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prep {
    /// One more admin, [`OTHER_ADMIN`].
    OtherAdmin,
    /// So many more members.
    People(usize),
    /// The message carries a picture of its sender's.
    Picture,
    /// Pictures the caller uploaded, in [`Scene::media`].
    Uploads(usize),
    /// A picture somebody else uploaded, in [`Scene::media`].
    ForeignUpload,
    /// An item of the caller's whose bytes never came, in [`Scene::media`].
    UnfinishedUpload,
    /// The message's sender deleted it softly.
    Tombstone,
    /// The message's sender deleted it hard.
    Gone,
    /// The caller hid the message.
    Hidden,
    /// Somebody else hid the message.
    HiddenByAnother,
    /// The message's sender edited it so often.
    Edits(usize),
    /// The caller reacted with [`REACTION`].
    Reaction,
    /// Somebody else reacted with so many different emoji.
    Reactions(usize),
    /// The caller muted the conversation for [`MUTE_SECS`].
    Muted,
    /// The caller archived the conversation.
    Archived,
    /// Messages in another conversation of the caller's, in [`Scene::sources`].
    Sources(usize),
    /// Conversations of the caller's, in [`Scene::targets`].
    Targets(usize),
    /// A conversation the caller was never in, in [`Scene::targets`].
    ForeignTarget,
    /// A conversation the caller was removed from, in [`Scene::targets`].
    LostTarget,
    /// A channel the caller is a member of, in [`Scene::targets`].
    ChannelTarget,
    /// The conversation is in the cache, filled between [`Scene::filled_ms`].
    Cached,
    /// Everybody else left the conversation.
    Alone,
    /// The caller left it and was added again.
    CameBack,
}

/// What there is before a cell is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneSpec {
    /// The kind of the conversation.
    pub kind: ConversationKind,
    /// What the caller is to it.
    pub caller: Caller,
    /// Whether there is a message, and whose.
    pub message: Option<Whose>,
    /// What more there is, in this order.
    pub preps: Vec<Prep>,
}

impl SceneSpec {
    /// A conversation without messages.
    pub fn new(kind: ConversationKind, caller: Caller) -> Self {
        Self { kind, caller, message: None, preps: Vec::new() }
    }

    /// A member in a group: what most boundaries need.
    pub fn member() -> Self {
        Self::new(ConversationKind::Group, Caller::Member)
    }

    /// The owner of a group.
    pub fn owner() -> Self {
        Self::new(ConversationKind::Group, Caller::Owner)
    }

    /// With a message.
    #[must_use]
    pub fn message(self, whose: Whose) -> Self {
        Self { message: Some(whose), ..self }
    }

    /// With something more.
    #[must_use]
    pub fn and(mut self, prep: Prep) -> Self {
        self.preps.push(prep);
        self
    }

    fn has(&self, prep: &Prep) -> bool {
        self.preps.contains(prep)
    }

    /// Whether setting it takes the media service.
    pub fn needs_media(&self) -> bool {
        let media = [Prep::Picture, Prep::ForeignUpload, Prep::UnfinishedUpload];
        self.preps.iter().any(|prep| media.contains(prep) || matches!(prep, Prep::Uploads(_)))
    }
}

/// A scene that is set.
#[derive(Debug)]
pub struct Scene {
    /// Who asks.
    pub caller: Arc<SimulatedUser>,
    /// Somebody in it who only watches; the other one of a direct conversation.
    pub observer: Arc<SimulatedUser>,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The message of the scene, if it has one.
    message: Option<MessageRef>,
    /// When it was created.
    pub message_at: Timestamp,
    /// Until when the caller muted the conversation.
    pub muted_until: Timestamp,
    /// When the cache was filled: not before the first, not after the second.
    pub filled_ms: (i64, i64),
    /// A word that is in the message and nowhere else.
    pub word: String,
    /// Messages of another conversation of the caller's.
    pub sources: Vec<MessageRef>,
    /// Other conversations.
    pub targets: Vec<ConversationId>,
    /// Pictures.
    pub media: Vec<MediaId>,
    /// Every conversation of this cell: what happens in them is laid to it.
    pub watched: BTreeSet<ConversationId>,
}

impl Scene {
    /// The scene's message; one that does not exist when the scene has none.
    pub fn message(&self) -> MessageRef {
        self.message.unwrap_or_else(|| self.no_message())
    }

    /// A message that does not exist, in the scene's conversation.
    pub fn no_message(&self) -> MessageRef {
        MessageRef {
            conversation_id: self.conversation_id,
            message_id: ackscope_protocol::MessageId::from_uuid(Uuid::new_v4()),
        }
    }

    /// The first picture; one that does not exist when the scene has none.
    pub fn picture(&self) -> MediaId {
        self.media.first().copied().unwrap_or_else(|| MediaId::from_uuid(Uuid::new_v4()))
    }

    /// The first message of another conversation.
    pub fn source(&self) -> MessageRef {
        self.sources.first().copied().unwrap_or_else(|| self.no_message())
    }

    /// A conversation nobody is in.
    pub fn no_conversation() -> ConversationId {
        ConversationId::from_uuid(Uuid::new_v4())
    }

    /// Sets a scene.
    pub async fn set(stage: &Stage, spec: &SceneSpec) -> Result<Self, Failure> {
        let mut scene = match spec.kind {
            ConversationKind::Direct => Self::of_two(stage, spec).await?,
            ConversationKind::Group | ConversationKind::Channel => Self::of_many(stage, spec).await?,
        };
        for prep in &spec.preps {
            scene.prepare(stage, spec, prep).await?;
        }
        if spec.caller == Caller::Removed {
            let owner = stage.user(OWNER).await?;
            stage.must(&owner, &ask::remove(scene.conversation_id, scene.caller.user_id())).await?;
        }
        Ok(scene)
    }

    fn new(caller: Arc<SimulatedUser>, observer: Arc<SimulatedUser>, conversation_id: ConversationId) -> Self {
        Self {
            caller,
            observer,
            conversation_id,
            message: None,
            message_at: Timestamp::from_millis(0),
            muted_until: Timestamp::MAX,
            filled_ms: (0, 0),
            word: format!("w{}", Uuid::new_v4().simple()),
            sources: Vec::new(),
            targets: Vec::new(),
            media: Vec::new(),
            watched: BTreeSet::from([conversation_id]),
        }
    }

    /// A direct conversation, with somebody new as its other one: two people have only one of them.
    async fn of_two(stage: &Stage, spec: &SceneSpec) -> Result<Self, Failure> {
        let (member, pal) = (stage.user(MEMBER).await?, stage.new_pal().await?);
        let conversation_id = made(stage, &member, ConversationKind::Direct, &[pal.user_id().clone()]).await?;
        let caller = if spec.caller == Caller::Stranger { stage.user(STRANGER).await? } else { Arc::clone(&member) };
        let mut scene = Self::new(caller, Arc::clone(&pal), conversation_id);
        if let Some(whose) = spec.message {
            let sender = if whose == Whose::Own { member } else { pal };
            scene.send_message(stage, spec, &sender).await?;
        }
        Ok(scene)
    }

    /// A group or a channel.
    async fn of_many(stage: &Stage, spec: &SceneSpec) -> Result<Self, Failure> {
        let owner = stage.user(OWNER).await?;
        let observer = stage.user(OBSERVER).await?;
        let caller = match spec.caller {
            Caller::Owner => Arc::clone(&owner),
            Caller::Admin => stage.user(ADMIN).await?,
            Caller::Member => stage.user(MEMBER).await?,
            Caller::Removed => stage.user(REMOVED).await?,
            Caller::Stranger => stage.user(STRANGER).await?,
        };
        let is_channel = spec.kind == ConversationKind::Channel;
        let may_post = matches!(spec.caller, Caller::Owner | Caller::Admin) || !is_channel;
        // Who has a message in a channel was an admin when it was sent.
        let begins_as_admin = spec.message == Some(Whose::Own) && !may_post;

        let mut others = vec![observer.user_id().clone()];
        if matches!(spec.caller, Caller::Member | Caller::Removed) && !begins_as_admin {
            others.push(caller.user_id().clone());
        }
        for prep in &spec.preps {
            if let Prep::People(count) = prep {
                others.extend(fillers(*count)?);
            }
        }
        let conversation_id = made(stage, &owner, spec.kind, &others).await?;
        if spec.caller == Caller::Admin || begins_as_admin {
            stage.must(&owner, &ask::add(conversation_id, caller.user_id(), "admin")).await?;
        }
        // In a channel the owner's message is another's for everybody but the owner.
        let anothers_is_an_admins = is_channel && spec.caller == Caller::Owner && spec.message == Some(Whose::Anothers);
        if spec.has(&Prep::OtherAdmin) || anothers_is_an_admins {
            let admin = stage.user(OTHER_ADMIN).await?;
            stage.must(&owner, &ask::add(conversation_id, admin.user_id(), "admin")).await?;
        }

        let mut scene = Self::new(Arc::clone(&caller), observer, conversation_id);
        match spec.message {
            None => {}
            Some(Whose::Own) => scene.send_message(stage, spec, &caller).await?,
            Some(Whose::Anothers) => {
                let sender = match (is_channel, anothers_is_an_admins) {
                    (false, _) => Arc::clone(&scene.observer),
                    (true, false) => Arc::clone(&owner),
                    (true, true) => stage.user(OTHER_ADMIN).await?,
                };
                scene.send_message(stage, spec, &sender).await?;
            }
        }
        if begins_as_admin && spec.caller == Caller::Member {
            stage.must(&owner, &ask::remove(conversation_id, caller.user_id())).await?;
            stage.must(&owner, &ask::add(conversation_id, caller.user_id(), "member")).await?;
        }
        Ok(scene)
    }

    async fn send_message(&mut self, stage: &Stage, spec: &SceneSpec, sender: &SimulatedUser) -> Result<(), Failure> {
        let mut ask = ask::send(self.conversation_id).with("text", format!("hello {}", self.word));
        if spec.has(&Prep::Picture) {
            let media_id = stage.upload(sender).await?;
            self.media.push(media_id);
            ask.payload["media"] = serde_json::json!([media_id]);
        }
        let sent: Sent = read(&ask.event, &stage.must(sender, &ask).await?)?;
        self.message = Some(MessageRef { conversation_id: self.conversation_id, message_id: sent.message_id });
        self.message_at = sent.created_at;
        Ok(())
    }

    async fn prepare(&mut self, stage: &Stage, spec: &SceneSpec, prep: &Prep) -> Result<(), Failure> {
        let message = self.message();
        // What the caller does is left out for one who never was in it.
        let caller = Some(&self.caller).filter(|_| spec.caller != Caller::Stranger).map(Arc::clone);
        let must_by_caller = async |ask: Ask| match &caller {
            Some(caller) => stage.must(caller, &ask).await,
            None => Ok(Value::Null),
        };
        let sender = match spec.message {
            Some(Whose::Own) => Arc::clone(&self.caller),
            _ if spec.kind == ConversationKind::Channel => stage.user(OWNER).await?,
            _ => Arc::clone(&self.observer),
        };
        match prep {
            // They are there already, since the conversation or the message was made.
            Prep::OtherAdmin | Prep::People(_) | Prep::Picture => {}
            Prep::Uploads(count) => {
                for _ in 0..*count {
                    let media_id = stage.upload(&self.caller).await?;
                    self.media.push(media_id);
                }
            }
            Prep::ForeignUpload => self.media.push(stage.upload(&self.observer).await?),
            Prep::UnfinishedUpload => {
                let ask = ask::upload_url(8);
                let answer: ackscope_protocol::wire::UploadUrlAnswer =
                    read(&ask.event, &stage.must(&self.caller, &ask).await?)?;
                self.media.push(answer.media_id);
            }
            Prep::Tombstone => drop(stage.must(&sender, &ask::delete(message, "soft")).await?),
            Prep::Gone => drop(stage.must(&sender, &ask::delete(message, "hard")).await?),
            Prep::Hidden => drop(must_by_caller(ask::delete(message, "for_me")).await?),
            Prep::HiddenByAnother => drop(stage.must(&self.observer, &ask::delete(message, "for_me")).await?),
            Prep::Edits(count) => {
                for number in 0..*count {
                    stage.must(&sender, &ask::edit(message).with("text", format!("text {number}"))).await?;
                }
            }
            Prep::Reaction => drop(must_by_caller(ask::react(message, REACTION)).await?),
            Prep::Reactions(count) => {
                for emoji in emoji().take(*count) {
                    stage.must(&self.observer, &ask::react(message, &emoji)).await?;
                }
            }
            Prep::Muted => {
                let ask = ask::mute(self.conversation_id).with("duration_secs", MUTE_SECS);
                if let Some(caller) = &caller {
                    let answer: ConversationAnswer = read(&ask.event, &stage.must(caller, &ask).await?)?;
                    self.muted_until = answer.conversation.settings.muted_until.unwrap_or(Timestamp::MAX);
                }
            }
            Prep::Archived => drop(must_by_caller(ask::archive(self.conversation_id)).await?),
            Prep::Sources(count) => {
                let shelf = self.another_group(stage).await?;
                for _ in 0..*count {
                    let ask = ask::send(shelf);
                    let sent: Sent = read(&ask.event, &stage.must(&self.caller, &ask).await?)?;
                    self.sources.push(MessageRef { conversation_id: shelf, message_id: sent.message_id });
                }
            }
            Prep::Targets(count) => {
                for _ in 0..*count {
                    let target = self.another_group(stage).await?;
                    self.targets.push(target);
                }
            }
            Prep::ForeignTarget | Prep::LostTarget | Prep::ChannelTarget => self.add_target(stage, prep).await?,
            Prep::Cached => self.fill_cache(stage).await?,
            Prep::Alone => {
                for user in [Arc::clone(&self.observer), stage.user(OWNER).await?] {
                    if user.user_id() != self.caller.user_id() {
                        stage.must(&user, &ask::leave(self.conversation_id)).await?;
                    }
                }
            }
            Prep::CameBack => {
                let owner = stage.user(OWNER).await?;
                must_by_caller(ask::leave(self.conversation_id)).await?;
                stage.must(&owner, &ask::add(self.conversation_id, self.caller.user_id(), "member")).await?;
            }
        }
        Ok(())
    }

    /// One more group of the caller's, watched by the observer.
    async fn another_group(&mut self, stage: &Stage) -> Result<ConversationId, Failure> {
        let others = [self.observer.user_id().clone()];
        let group = made(stage, &self.caller, ConversationKind::Group, &others).await?;
        self.watched.insert(group);
        Ok(group)
    }

    async fn add_target(&mut self, stage: &Stage, prep: &Prep) -> Result<(), Failure> {
        let (founder, observer) = (stage.user(NEWCOMER).await?, stage.user(OBSERVER).await?);
        let kind = if *prep == Prep::ChannelTarget { ConversationKind::Channel } else { ConversationKind::Group };
        let mut others = vec![observer.user_id().clone()];
        if *prep != Prep::ForeignTarget {
            others.push(self.caller.user_id().clone());
        }
        let target = made(stage, &founder, kind, &others).await?;
        if *prep == Prep::LostTarget {
            stage.must(&founder, &ask::remove(target, self.caller.user_id())).await?;
        }
        self.watched.insert(target);
        self.targets.push(target);
        Ok(())
    }

    /// Makes the next permission check ask the store and fill the cache, and notes when that was.
    async fn fill_cache(&mut self, stage: &Stage) -> Result<(), Failure> {
        // What was done so far is told by now, so that nothing else fills the entry before.
        stage.quiesce().await?;
        let backend = stage.world().backend()?;
        let failed = |CacheError(problem)| Failure::Unreadable { event: "cache".to_owned(), problem };
        let before_ms = stage.world().business_now().as_millis();
        backend.cache.invalidate(self.conversation_id).await.map_err(failed)?;
        stage.must(&self.caller, &ask::send(self.conversation_id)).await?;
        stage.quiesce().await?;
        self.filled_ms = (before_ms, stage.world().business_now().as_millis());
        Ok(())
    }
}

/// Makes a conversation.
async fn made(
    stage: &Stage,
    creator: &SimulatedUser,
    kind: ConversationKind,
    others: &[UserId],
) -> Result<ConversationId, Failure> {
    let ask = ask::create(kind, others);
    let answer: ConversationAnswer = read(&ask.event, &stage.must(creator, &ask).await?)?;
    Ok(answer.conversation.conversation_id)
}

/// People who only make a conversation large; they are not connected.
pub fn fillers(count: usize) -> Result<Vec<UserId>, Failure> {
    Ok((0..count).map(|number| format!("filler-{number}").parse()).collect::<Result<_, _>>()?)
}

/// Different emoji, as many as anybody wants.
pub fn emoji() -> impl Iterator<Item = String> {
    ('\u{1F400}'..='\u{1F4FC}').map(String::from)
}
