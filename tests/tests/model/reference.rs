//! The rules of S1.2 and S1.3 once more, as lists and maps in memory, written from the specification and not from the
//! service. Times are spans: the model knows when a request began and when it was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ackscope_protocol::text::{MessageText, Title};
use ackscope_protocol::wire::{
    self, AddedRole, ConversationKind, ConversationSettings, DeleteMode, Edit, MessageRef, Participant, Role,
};
use ackscope_protocol::{ConversationId, ErrorCode, MessageId, TempId, Timestamp, UserId};

use super::actions::{Action, Actor, Target, USERS, Where, Which};

const EDIT_WINDOW_MS: i64 = 15 * 60 * 1_000;
/// Emoji that are reacted with.
const EMOJI: [&str; 4] = ["👍", "❤️", "🎉", "👩‍👩‍👧‍👦"];

/// When something happened: not before the first, not after the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The request began.
    pub from: Timestamp,
    /// It was answered.
    pub to: Timestamp,
}

impl Span {
    /// The time itself if it lies within, else one that does: so that a comparison names the difference.
    fn pick(self, time: Timestamp) -> Timestamp {
        if (self.from..=self.to).contains(&time) { time } else { self.from }
    }

    fn later(self, millis: i64) -> Self {
        let later = |time: Timestamp| Timestamp::from_millis(time.as_millis().saturating_add(millis));
        Self { from: later(self.from), to: later(self.to) }
    }
}

/// A message as a request names it: the conversation's number and the message's; `None` is one that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The conversation.
    pub at: Option<usize>,
    /// The message.
    pub message: Option<usize>,
}

/// An action with a meaning. Users, conversations and messages are numbers in the order they came.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Create { by: usize, kind: ConversationKind, others: Vec<usize>, title: Option<&'static str> },
    Add { by: usize, at: Option<usize>, who: usize, role: Option<AddedRole> },
    Remove { by: usize, at: Option<usize>, who: usize },
    Leave { by: usize, at: Option<usize> },
    Mute { by: usize, at: Option<usize>, secs: Option<u64> },
    Unmute { by: usize, at: Option<usize> },
    Archive { by: usize, at: Option<usize>, archived: bool },
    Send { by: usize, at: Option<usize>, temp_id: String, text: Option<String>, reply_to: Option<Named> },
    Edit { by: usize, on: Named, text: String },
    Delete { by: usize, on: Named, mode: DeleteMode },
    React { by: usize, on: Named, emoji: &'static str },
    Unreact { by: usize, on: Named, emoji: &'static str },
    Forward { by: usize, messages: Vec<Named>, targets: Vec<Option<usize>>, temp_id: String },
    Advance { mins: u64 },
}

impl Step {
    /// Who does it. Time goes by for everybody.
    pub(super) fn by(&self) -> usize {
        match self {
            Self::Create { by, .. }
            | Self::Add { by, .. }
            | Self::Remove { by, .. }
            | Self::Leave { by, .. }
            | Self::Mute { by, .. }
            | Self::Unmute { by, .. }
            | Self::Archive { by, .. }
            | Self::Send { by, .. }
            | Self::Edit { by, .. }
            | Self::Delete { by, .. }
            | Self::React { by, .. }
            | Self::Unreact { by, .. }
            | Self::Forward { by, .. } => *by,
            Self::Advance { .. } => 0,
        }
    }
}

/// What a step comes to when it is not refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The conversation with this number, as the caller sees it.
    Conversation(usize),
    /// The message with this number was sent, now or before.
    Sent(usize),
    /// The message with this number, as the caller sees it.
    Message(usize),
    /// The reactions of the message with this number.
    Reactions(usize),
    /// The copies: target, origin and copy; and the origins that have more copies than before.
    Forwarded { copies: Vec<(usize, usize, usize)>, grown: Vec<usize> },
    /// Nothing that is told.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mute {
    No,
    ForGood,
    Until(Span),
}

#[derive(Clone, Debug)]
struct Person {
    user: usize,
    role: Role,
    joined: Span,
    is_gone: bool,
    mute: Mute,
    archived: bool,
}

/// A conversation.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    /// Its id, once it was told.
    pub id: Option<ConversationId>,
    kind: ConversationKind,
    title: Option<&'static str>,
    created: Span,
    version: u64,
    /// In the order they came; those who are gone stay where they were.
    people: Vec<Person>,
}

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Its id, once it was told.
    pub id: Option<MessageId>,
    /// The conversation's number.
    pub at: usize,
    sender: usize,
    temp_id: String,
    text: Option<String>,
    reply_to: Option<usize>,
    thread_root: Option<usize>,
    created: Span,
    edited: Option<Span>,
    edits: Vec<(String, Span)>,
    tombstone: Option<(usize, Span)>,
    is_gone: bool,
    reactions: BTreeMap<&'static str, Vec<usize>>,
    origin: Option<usize>,
    copies: u64,
    hidden_for: BTreeSet<usize>,
}

/// Everything there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    users: Vec<UserId>,
    pub conversations: Vec<Conversation>,
    pub messages: Vec<Message>,
    /// Messages by sender, conversation and `temp_id`.
    sent: BTreeMap<(usize, usize, String), usize>,
    /// Copies by forwarder, target, `temp_id` and origin.
    forwarded: BTreeMap<(usize, usize, String, usize), usize>,
    /// What was sent or tried, to be sent again.
    sends: Vec<Step>,
    forwards: Vec<Step>,
}

type Verdict = Result<Outcome, ErrorCode>;

impl Model {
    /// Nothing but these users.
    pub(super) fn new(users: Vec<UserId>) -> Self {
        Self { users, ..Self::default() }
    }

    // ---- what an action means now ---------------------------------------------------------------------------

    /// Gives an action its meaning; `None` when there is nothing it could be about.
    pub(super) fn resolve(&self, action: &Action) -> Option<Step> {
        let step = match action {
            Action::Create { by, kind, others, has_title } => Step::Create {
                by: user(*by),
                kind: *kind,
                others: others.iter().map(|other| user(*other)).collect(),
                title: has_title.then_some("A title"),
            },
            Action::Add { by, at, who, role } => {
                let at = self.place(*at);
                Step::Add { by: self.actor(*by, at, None), at, who: user(*who), role: *role }
            }
            Action::Remove { by, at, who } => {
                let at = self.place(*at);
                // Mostly one who is there.
                let who = if who % 4 == 0 { user(*who) } else { self.actor(Actor::Insider(who / 4), at, None) };
                Step::Remove { by: self.actor(*by, at, None), at, who }
            }
            Action::Leave { by, at } => {
                let at = self.place(*at);
                Step::Leave { by: self.actor(*by, at, None), at }
            }
            Action::Mute { by, at, secs } => {
                let at = self.place(*at);
                Step::Mute { by: self.actor(*by, at, None), at, secs: *secs }
            }
            Action::Unmute { by, at } => {
                let at = self.place(*at);
                Step::Unmute { by: self.actor(*by, at, None), at }
            }
            Action::Archive { by, at, archived } => {
                let at = self.place(*at);
                Step::Archive { by: self.actor(*by, at, None), at, archived: *archived }
            }
            Action::Send { by, at, text, reply_to } => {
                let (at, reply_to) = match reply_to {
                    // A reply is mostly written where the message is.
                    Some(target) => {
                        let named = self.target(*target);
                        (named.at, Some(named))
                    }
                    None => (self.place(*at), None),
                };
                let by = self.actor(*by, at, None);
                let text = text.map(|number| format!("text {number}"));
                Step::Send { by, at, temp_id: format!("t{}", self.sends.len()), text, reply_to }
            }
            Action::SendAgain { which, text } => {
                let mut again = pick(&self.sends, *which)?.clone();
                if let Step::Send { text: old, .. } = &mut again {
                    *old = Some(format!("again {text}"));
                }
                again
            }
            Action::Edit { by, message, text } => {
                let (by, on) = self.on(*by, *message);
                Step::Edit { by, on, text: format!("text {text}") }
            }
            Action::Delete { by, message, mode } => {
                let (by, on) = self.on(*by, *message);
                Step::Delete { by, on, mode: *mode }
            }
            Action::React { by, message, emoji } => {
                let (by, on) = self.on(*by, *message);
                Step::React { by, on, emoji: EMOJI[usize::from(*emoji) % EMOJI.len()] }
            }
            Action::Unreact { by, message, emoji } => {
                let (by, on) = self.on(*by, *message);
                Step::Unreact { by, on, emoji: EMOJI[usize::from(*emoji) % EMOJI.len()] }
            }
            Action::Forward { by, messages, targets, temp_id } => {
                let messages: Vec<Named> = messages.iter().map(|target| self.target(*target)).collect();
                let by = self.actor(*by, messages.first().and_then(|named| named.at), None);
                let targets = targets.iter().map(|target| self.place(*target)).collect();
                Step::Forward { by, messages, targets, temp_id: format!("f{temp_id}") }
            }
            Action::ForwardAgain { which } => pick(&self.forwards, *which)?.clone(),
            Action::Advance { mins } => Step::Advance { mins: *mins },
        };
        Some(step)
    }

    fn place(&self, at: Where) -> Option<usize> {
        match at {
            Where::Known(number) => usize::from(number).checked_rem(self.conversations.len()),
            Where::Unknown => None,
        }
    }

    fn target(&self, target: Target) -> Named {
        let count = self.messages.len();
        let message = match target.which {
            Which::Recent(back) => usize::from(back).checked_rem(count).map(|back| count - 1 - back),
            Which::Any(number) => usize::from(number).checked_rem(count),
            Which::Unknown => None,
        };
        let own = message.map(|message| self.messages[message].at).or_else(|| self.place(Where::Known(0)));
        let at = target.elsewhere.map_or(own, |number| self.place(Where::Known(number)));
        Named { at, message }
    }

    fn on(&self, by: Actor, target: Target) -> (usize, Named) {
        let named = self.target(target);
        (self.actor(by, named.at, named.message), named)
    }

    fn actor(&self, by: Actor, at: Option<usize>, message: Option<usize>) -> usize {
        let here = |is_boss: bool| -> Vec<usize> {
            let people = at.map_or(&[] as &[Person], |at| &self.conversations[at].people);
            let here = people.iter().filter(|person| !person.is_gone && (!is_boss || person.role > Role::Member));
            here.map(|person| person.user).collect()
        };
        match by {
            Actor::Anyone(number) => user(number),
            Actor::Insider(number) => pick(&here(false), number).copied().unwrap_or_else(|| user(number)),
            Actor::Boss(number) => pick(&here(true), number).copied().unwrap_or_else(|| user(number)),
            Actor::Sender => message.map_or(0, |message| self.messages[message].sender),
        }
    }

    // ---- the rules ------------------------------------------------------------------------------------------

    /// Does a step, or says why not. It happened within `span`.
    pub(super) fn apply(&mut self, step: &Step, span: Span) -> Verdict {
        match step {
            Step::Create { by, kind, others, title } => self.create(*by, *kind, others, *title, span),
            Step::Add { by, at, who, role } => self.add(*by, *at, *who, *role, span),
            Step::Remove { by, at, who } => self.remove(*by, *at, *who),
            Step::Leave { by, at } => self.leave(*by, *at),
            Step::Mute { by, at, secs } => {
                let mute = match secs {
                    Some(0) => return Err(ErrorCode::InvalidPayload),
                    None | Some(u64::MAX) => Mute::ForGood,
                    Some(secs) => Mute::Until(span.later(i64::try_from(*secs).unwrap_or(0) * 1_000)),
                };
                self.settings(*by, *at, |person| person.mute = mute)
            }
            Step::Unmute { by, at } => self.settings(*by, *at, |person| {
                // What is over needs no end.
                if !matches!(person.mute, Mute::Until(until) if until.to <= span.from) {
                    person.mute = Mute::No;
                }
            }),
            Step::Archive { by, at, archived } => self.settings(*by, *at, |person| person.archived = *archived),
            Step::Send { by, at, temp_id, text, reply_to } => {
                if self.sends.iter().all(|sent| !matches!(sent, Step::Send { temp_id: known, .. } if known == temp_id))
                {
                    self.sends.push(step.clone());
                }
                self.send(*by, *at, temp_id, text.as_ref(), *reply_to, span)
            }
            Step::Edit { by, on, text } => self.edit(*by, *on, text, span),
            Step::Delete { by, on, mode } => self.delete(*by, *on, *mode, span),
            Step::React { by, on, emoji } => {
                let message = self.undeleted(*by, *on)?;
                let users = self.messages[message].reactions.entry(*emoji).or_default();
                if !users.contains(by) {
                    users.push(*by);
                }
                Ok(Outcome::Reactions(message))
            }
            Step::Unreact { by, on, emoji } => {
                let message = self.undeleted(*by, *on)?;
                let reactions = &mut self.messages[message].reactions;
                if let Some(users) = reactions.get_mut(emoji) {
                    users.retain(|user| user != by);
                }
                reactions.retain(|_, users| !users.is_empty());
                Ok(Outcome::Reactions(message))
            }
            Step::Forward { by, messages, targets, temp_id } => {
                self.forwards.push(step.clone());
                self.forward(*by, messages, targets, temp_id, span)
            }
            Step::Advance { .. } => Ok(Outcome::Done),
        }
    }

    /// The conversation and the caller's place in it.
    fn inside(&self, by: usize, at: Option<usize>) -> Result<(usize, usize), ErrorCode> {
        let at = at.ok_or(ErrorCode::NotFound)?;
        let people = &self.conversations[at].people;
        let place = people.iter().position(|person| person.user == by).ok_or(ErrorCode::NotFound)?;
        if people[place].is_gone { Err(ErrorCode::NotParticipant) } else { Ok((at, place)) }
    }

    fn create(
        &mut self,
        by: usize,
        kind: ConversationKind,
        others: &[usize],
        title: Option<&'static str>,
        span: Span,
    ) -> Verdict {
        let mut everybody = vec![by];
        for other in others {
            if !everybody.contains(other) {
                everybody.push(*other);
            }
        }
        if kind == ConversationKind::Direct {
            if everybody.len() != 2 {
                return Err(ErrorCode::InvalidPayload);
            }
            let is_it = |known: &Conversation| {
                known.kind == kind && known.people.iter().all(|person| everybody.contains(&person.user))
            };
            if let Some(known) = self.conversations.iter().position(is_it) {
                return Ok(Outcome::Conversation(known));
            }
        }
        let creator = if kind == ConversationKind::Direct { Role::Member } else { Role::Owner };
        let role = |user| if user == by { creator } else { Role::Member };
        let people = everybody.into_iter().map(|user| Person::new(user, role(user), span)).collect();
        self.conversations.push(Conversation { id: None, kind, title, created: span, version: 1, people });
        Ok(Outcome::Conversation(self.conversations.len() - 1))
    }

    /// One who may add and remove; nobody may in a direct conversation.
    fn boss(&self, by: usize, at: Option<usize>) -> Result<(usize, Role), ErrorCode> {
        let (at, place) = self.inside(by, at)?;
        let role = self.conversations[at].people[place].role;
        if self.conversations[at].kind == ConversationKind::Direct || role == Role::Member {
            return Err(ErrorCode::RoleForbidden);
        }
        Ok((at, role))
    }

    fn add(&mut self, by: usize, at: Option<usize>, who: usize, role: Option<AddedRole>, span: Span) -> Verdict {
        let (at, _) = self.boss(by, at)?;
        let conversation = &mut self.conversations[at];
        if conversation.people.iter().any(|person| person.user == who && !person.is_gone) {
            return Ok(Outcome::Conversation(at));
        }
        let role = if role == Some(AddedRole::Admin) { Role::Admin } else { Role::Member };
        conversation.people.retain(|person| person.user != who);
        conversation.people.push(Person::new(who, role, span));
        conversation.version += 1;
        Ok(Outcome::Conversation(at))
    }

    fn remove(&mut self, by: usize, at: Option<usize>, who: usize) -> Verdict {
        let (at, role) = self.boss(by, at)?;
        let conversation = &mut self.conversations[at];
        let target = conversation.people.iter_mut().find(|person| person.user == who && !person.is_gone);
        let target = target.ok_or(ErrorCode::NotFound)?;
        if target.role == Role::Owner || (target.role == Role::Admin && role != Role::Owner) {
            return Err(ErrorCode::RoleForbidden);
        }
        target.is_gone = true;
        conversation.version += 1;
        Ok(Outcome::Conversation(at))
    }

    fn leave(&mut self, by: usize, at: Option<usize>) -> Verdict {
        let (at, place) = self.inside(by, at)?;
        let conversation = &mut self.conversations[at];
        if conversation.kind == ConversationKind::Direct {
            return Err(ErrorCode::RoleForbidden);
        }
        conversation.people[place].is_gone = true;
        conversation.version += 1;
        if conversation.people[place].role == Role::Owner {
            let here = |role| conversation.people.iter().position(|person| !person.is_gone && person.role == role);
            if let Some(successor) = here(Role::Admin).or_else(|| here(Role::Member)) {
                conversation.people[successor].role = Role::Owner;
            }
        }
        Ok(Outcome::Done)
    }

    fn settings(&mut self, by: usize, at: Option<usize>, change: impl FnOnce(&mut Person)) -> Verdict {
        let (at, place) = self.inside(by, at)?;
        let conversation = &mut self.conversations[at];
        let person = &mut conversation.people[place];
        let before = (person.mute, person.archived);
        change(person);
        if (person.mute, person.archived) != before {
            conversation.version += 1;
        }
        Ok(Outcome::Conversation(at))
    }

    fn may_post(&self, by: usize, at: Option<usize>) -> Result<usize, ErrorCode> {
        let (at, place) = self.inside(by, at)?;
        let conversation = &self.conversations[at];
        if conversation.kind == ConversationKind::Channel && conversation.people[place].role == Role::Member {
            return Err(ErrorCode::RoleForbidden);
        }
        Ok(at)
    }

    /// The message, unless it is gone for the caller.
    fn there(&self, by: usize, on: Named) -> Result<usize, ErrorCode> {
        let (at, _) = self.inside(by, on.at)?;
        let message = on.message.filter(|message| self.messages[*message].at == at).ok_or(ErrorCode::NotFound)?;
        let is_there = !self.messages[message].is_gone && !self.messages[message].hidden_for.contains(&by);
        if is_there { Ok(message) } else { Err(ErrorCode::AlreadyDeleted) }
    }

    fn undeleted(&self, by: usize, on: Named) -> Result<usize, ErrorCode> {
        let message = self.there(by, on)?;
        if self.messages[message].tombstone.is_some() { Err(ErrorCode::AlreadyDeleted) } else { Ok(message) }
    }

    fn send(
        &mut self,
        by: usize,
        at: Option<usize>,
        temp_id: &str,
        text: Option<&String>,
        reply_to: Option<Named>,
        span: Span,
    ) -> Verdict {
        let text = text.ok_or(ErrorCode::InvalidPayload)?;
        let at = self.may_post(by, at)?;
        let name = (by, at, temp_id.to_owned());
        if let Some(sent) = self.sent.get(&name) {
            return Ok(Outcome::Sent(*sent));
        }
        let parent = reply_to.map(|parent| self.undeleted(by, Named { at: Some(at), ..parent })).transpose()?;
        self.messages.push(Message {
            text: Some(text.clone()),
            reply_to: parent,
            thread_root: parent.map(|parent| self.messages[parent].thread_root.unwrap_or(parent)),
            ..Message::new(at, by, temp_id, span)
        });
        self.sent.insert(name, self.messages.len() - 1);
        Ok(Outcome::Sent(self.messages.len() - 1))
    }

    fn edit(&mut self, by: usize, on: Named, text: &str, span: Span) -> Verdict {
        let number = self.undeleted(by, on)?;
        let message = &mut self.messages[number];
        if message.sender != by {
            return Err(ErrorCode::NotOwner);
        }
        if span.from.millis_since(message.created.to) > EDIT_WINDOW_MS {
            return Err(ErrorCode::EditWindowClosed);
        }
        if message.text.as_deref() != Some(text) {
            let earlier = message.text.replace(text.to_owned());
            message.edits.extend(earlier.map(|earlier| (earlier, span)));
            message.edited = Some(span);
        }
        Ok(Outcome::Message(number))
    }

    fn delete(&mut self, by: usize, on: Named, mode: DeleteMode, span: Span) -> Verdict {
        let number = if mode == DeleteMode::Soft { self.undeleted(by, on)? } else { self.there(by, on)? };
        let (at, place) = self.inside(by, on.at)?;
        let role = self.conversations[at].people[place].role;
        let message = &mut self.messages[number];
        if mode == DeleteMode::ForMe {
            message.hidden_for.insert(by);
            return Ok(Outcome::Done);
        }
        if message.sender != by && role == Role::Member {
            return Err(ErrorCode::RoleForbidden);
        }
        if mode == DeleteMode::Hard {
            message.is_gone = true;
        } else {
            message.tombstone = Some((by, span));
        }
        Ok(Outcome::Done)
    }

    fn forward(
        &mut self,
        by: usize,
        messages: &[Named],
        targets: &[Option<usize>],
        temp_id: &str,
        span: Span,
    ) -> Verdict {
        if messages.is_empty() || targets.is_empty() {
            return Err(ErrorCode::InvalidPayload);
        }
        if messages.len() > 10 {
            return Err(ErrorCode::TooManyMessages);
        }
        if targets.len() > 5 {
            return Err(ErrorCode::TooManyTargets);
        }
        let mut origins = Vec::new();
        for named in messages {
            let origin = self.undeleted(by, *named)?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        let mut into = Vec::new();
        for target in targets {
            let target = self.may_post(by, *target)?;
            if !into.contains(&target) {
                into.push(target);
            }
        }
        let (mut copies, mut grown) = (Vec::new(), Vec::new());
        for target in into {
            for origin in &origins {
                let name = (by, target, temp_id.to_owned(), *origin);
                let known = self.forwarded.get(&name).copied();
                let copy = known.unwrap_or(self.messages.len());
                if known.is_none() {
                    self.messages.push(Message {
                        text: self.messages[*origin].text.clone(),
                        origin: Some(*origin),
                        ..Message::new(target, by, temp_id, span)
                    });
                    self.messages[*origin].copies += 1;
                    if !grown.contains(origin) {
                        grown.push(*origin);
                    }
                    self.forwarded.insert(name, copy);
                }
                copies.push((target, *origin, copy));
            }
        }
        Ok(Outcome::Forwarded { copies, grown })
    }

    // ---- what is to be seen ---------------------------------------------------------------------------------

    /// The numbers of the conversations a user is in.
    pub(super) fn listed(&self, user: usize, archived: bool) -> Vec<usize> {
        let is_listed = |at: &usize| {
            let people = &self.conversations[*at].people;
            people.iter().any(|person| person.user == user && !person.is_gone && person.archived == archived)
        };
        (0..self.conversations.len()).filter(is_listed).collect()
    }

    /// The numbers of the messages a user sees in a conversation, newest first; of one thread if a root is named.
    pub(super) fn visible(&self, user: usize, at: usize, thread: Option<usize>) -> Result<Vec<usize>, ErrorCode> {
        self.inside(user, Some(at))?;
        let is_visible = |number: &usize| {
            let message = &self.messages[*number];
            let in_thread = thread.is_none_or(|root| *number == root || message.thread_root == Some(root));
            message.at == at && !message.is_gone && !message.hidden_for.contains(&user) && in_thread
        };
        Ok((0..self.messages.len()).rev().filter(is_visible).collect())
    }

    /// Messages of a conversation that were answered.
    pub(super) fn roots(&self, at: usize) -> BTreeSet<usize> {
        self.messages.iter().filter(|message| message.at == at).filter_map(|message| message.thread_root).collect()
    }

    /// How often a message was forwarded.
    pub(super) fn copies(&self, message: usize) -> u64 {
        self.messages[message].copies
    }

    /// A conversation as a user who is in it sees it at `now`. Times are those of `told` where they can be.
    pub(super) fn conversation(
        &self,
        at: usize,
        viewer: usize,
        now: Timestamp,
        told: &wire::Conversation,
    ) -> wire::Conversation {
        let conversation = &self.conversations[at];
        let here = || conversation.people.iter().filter(|person| !person.is_gone);
        let time_of = |user: &UserId, span: Span| {
            let told = told.participants.iter().find(|told| told.user_id == *user);
            told.map_or(span.from, |told| span.pick(told.joined_at))
        };
        let participant = |person: &Person| {
            let user_id = self.users[person.user].clone();
            let joined_at = time_of(&user_id, person.joined);
            Participant { user_id, role: person.role, joined_at }
        };
        let own = here().find(|person| person.user == viewer);
        let muted_until = own.and_then(|person| match person.mute {
            Mute::No => None,
            Mute::ForGood => Some(Timestamp::MAX),
            Mute::Until(until) if until.from <= now => None,
            Mute::Until(until) => Some(told.settings.muted_until.map_or(until.from, |told| until.pick(told))),
        });
        wire::Conversation {
            conversation_id: conversation.id.unwrap_or(told.conversation_id),
            kind: conversation.kind,
            title: conversation.title.and_then(|title| Title::new(title).ok()),
            created_at: conversation.created.pick(told.created_at),
            participants: here().map(participant).collect(),
            settings: ConversationSettings { muted_until, archived: own.is_some_and(|person| person.archived) },
            version: conversation.version,
        }
    }

    /// The reactions of a message.
    pub(super) fn reactions(&self, message: usize) -> wire::Reactions {
        let users = |users: &Vec<usize>| users.iter().map(|user| self.users[*user].clone()).collect();
        self.messages[message].reactions.iter().map(|(emoji, who)| ((*emoji).to_owned(), users(who))).collect()
    }

    /// A message as a user sees it. Times and the place in the log are those of `told` where they can be.
    pub(super) fn message(&self, number: usize, viewer: usize, told: &wire::Message) -> wire::Message {
        let message = &self.messages[number];
        let id = |number: usize| self.messages[number].id;
        let told_edit = |place: usize, span: Span| told.edits.get(place).map_or(span.from, |edit| span.pick(edit.at));
        let edit =
            |(place, (text, span)): (usize, &(String, Span))| Edit { text: text.clone(), at: told_edit(place, *span) };
        let seen = wire::Message {
            message_id: message.id.unwrap_or(told.message_id),
            conversation_id: self.conversations[message.at].id.unwrap_or(told.conversation_id),
            sender_id: self.users[message.sender].clone(),
            temp_id: (message.sender == viewer).then(|| message.temp_id.parse::<TempId>().ok()).flatten(),
            text: message.text.as_ref().and_then(|text| MessageText::new(text.clone()).ok()),
            media: Vec::new(),
            reply_to: message.reply_to.and_then(id),
            thread_root: message.thread_root.and_then(id),
            created_at: message.created.pick(told.created_at),
            edited_at: message.edited.map(|span| told.edited_at.map_or(span.from, |told| span.pick(told))),
            edits: message.edits.iter().enumerate().map(edit).collect(),
            deleted: None,
            reactions: self.reactions(number),
            forwarded_from: message.origin.and_then(|origin| {
                let conversation_id = self.conversations[self.messages[origin].at].id?;
                Some(MessageRef { conversation_id, message_id: id(origin)? })
            }),
            forward_count: message.copies,
            seq: told.seq,
        };
        let Some((by, span)) = message.tombstone else { return seen };
        let at = told.deleted.as_ref().map_or(span.from, |deleted| span.pick(deleted.at));
        wire::Message {
            text: None,
            edited_at: None,
            edits: Vec::new(),
            reactions: wire::Reactions::new(),
            deleted: Some(wire::Deleted { by: self.users[by].clone(), at }),
            ..seen
        }
    }
}

impl Person {
    fn new(user: usize, role: Role, joined: Span) -> Self {
        Self { user, role, joined, is_gone: false, mute: Mute::No, archived: false }
    }
}

impl Message {
    fn new(at: usize, sender: usize, temp_id: &str, created: Span) -> Self {
        Self {
            id: None,
            at,
            sender,
            temp_id: temp_id.to_owned(),
            text: None,
            reply_to: None,
            thread_root: None,
            created,
            edited: None,
            edits: Vec::new(),
            tombstone: None,
            is_gone: false,
            reactions: BTreeMap::new(),
            origin: None,
            copies: 0,
            hidden_for: BTreeSet::new(),
        }
    }
}

fn user(number: u8) -> usize {
    usize::from(number) % USERS
}

fn pick<T>(items: &[T], number: u8) -> Option<&T> {
    items.get(usize::from(number).checked_rem(items.len())?)
}

// ---- as a person reads it -----------------------------------------------------------------------------------

struct At(Option<usize>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "c{number}"),
            None => f.write_str("no conversation"),
        }
    }
}

struct It(Option<usize>);

impl fmt::Display for It {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "m{number}"),
            None => f.write_str("no message"),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", It(self.message), At(self.at))
    }
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { by, kind, others, title } => {
                let others = list(others.iter().map(|other| format!("u{other}")));
                let title = if title.is_some() { " with a title" } else { "" };
                write!(f, "u{by} creates a {} with {others}{title}", kind.as_str())
            }
            Self::Add { by, at, who, role } => write!(f, "u{by} adds u{who} to {} as {role:?}", At(*at)),
            Self::Remove { by, at, who } => write!(f, "u{by} removes u{who} from {}", At(*at)),
            Self::Leave { by, at } => write!(f, "u{by} leaves {}", At(*at)),
            Self::Mute { by, at, secs } => write!(f, "u{by} mutes {} for {secs:?} s", At(*at)),
            Self::Unmute { by, at } => write!(f, "u{by} unmutes {}", At(*at)),
            Self::Archive { by, at, archived } => write!(f, "u{by} sets archived of {} to {archived}", At(*at)),
            Self::Send { by, at, temp_id, text, reply_to } => {
                write!(f, "u{by} sends {text:?} as {temp_id} to {}", At(*at))?;
                match reply_to {
                    Some(parent) => write!(f, " in reply to {}", It(parent.message)),
                    None => Ok(()),
                }
            }
            Self::Edit { by, on, text } => write!(f, "u{by} edits {on} to {text:?}"),
            Self::Delete { by, on, mode } => write!(f, "u{by} deletes {on}: {mode:?}"),
            Self::React { by, on, emoji } => write!(f, "u{by} reacts to {on} with {emoji}"),
            Self::Unreact { by, on, emoji } => write!(f, "u{by} takes {emoji} back from {on}"),
            Self::Forward { by, messages, targets, temp_id } => {
                let targets = list(targets.iter().map(|target| At(*target)));
                write!(f, "u{by} forwards {} to {targets} as {temp_id}", list(messages))
            }
            Self::Advance { mins } => write!(f, "{mins} minutes go by"),
        }
    }
}
