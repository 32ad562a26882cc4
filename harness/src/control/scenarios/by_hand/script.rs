//! Writes the steps: names for what the run gave ids, commands as steps, and acknowledgments where they came.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::control::{Command, CommandAnswer};
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::faults::{Dependency, Fault};
use ackscope_protocol::trace::{Happening, TraceEvent};
use ackscope_protocol::wire::{
    AckState, Conversation, ConversationKind, CreateConversation, Request as _, Role, SendMessage, ServerEvent,
};
use ackscope_protocol::{ConversationId, MediaId, MessageId, TempId, UserId};

use super::super::yaml::{Flow, comment, quoted};
use super::Done;
use crate::history::History;
use crate::scenario::Scenario;
use crate::world::World;

/// How often the scenario is checked again for one step that the check does not take; then for all at once.
const PASSES_MAX: usize = 100;
/// An acknowledgment that took longer than this is given more time in the scenario too.
const USUAL: Duration = Duration::from_secs(3);
/// What a packet is taken to have, where bytes a second become packets a second.
const PACKET_BYTES: u64 = 400;
/// The slowest reader a scenario can wait for.
const SLOWEST: Duration = Duration::from_millis(200);
/// What a message may be refused with while something is wrong that does not hit every message.
const UNSURE: [ErrorCode; 5] = [
    ErrorCode::StoreUnavailable,
    ErrorCode::LogUnavailable,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::MediaUnavailable,
];

/// A line of the scenario's steps.
pub(super) enum Line {
    Step(String),
    Comment(String),
}

/// An expectation that is written where it came true.
struct Later {
    at_us: u64,
    /// Who was told, and of which message.
    user: UserId,
    message: String,
    step: String,
}

pub(super) struct Script<'a> {
    pub(super) history: History,
    done: &'a [Done],
    known: HashMap<ConversationId, Conversation>,
    users: BTreeSet<UserId>,
    /// Names of the run's users, devices too.
    everybody: HashSet<UserId>,
    pub(super) lines: Vec<Line>,
    later: Vec<Later>,
    /// Conversations that are there before the first command.
    first: Vec<ConversationId>,
    pub(super) conversations: HashMap<ConversationId, String>,
    pub(super) messages: HashMap<MessageId, String>,
    pub(super) media: HashMap<MediaId, String>,
    taken: HashSet<String>,
    /// What was sent first under each `temp_id` of a person, and whether the service took it.
    sends: HashMap<(UserId, ConversationId, TempId), (SendMessage, bool)>,
    faults: HashMap<Dependency, Fault>,
    /// When the command began that is being written.
    now_us: u64,
}

/// Why a command does not become a step, one sentence.
pub(super) struct Unsaid(String);

pub(super) fn unsaid(sentence: impl Into<String>) -> Unsaid {
    Unsaid(sentence.into())
}

impl<'a> Script<'a> {
    pub(super) fn new(world: &World, events: &[Arc<TraceEvent>], done: &'a [Done]) -> Self {
        let mut known: HashMap<ConversationId, Conversation> = HashMap::new();
        let mut first = Vec::new();
        let begins_us = done.first().map_or(u64::MAX, |done| done.at_us);
        for event in events {
            let (conversation, is_created) = match &event.what {
                Happening::Answered { conversation: Some(conversation), request, .. } => {
                    (conversation, request == CreateConversation::EVENT)
                }
                Happening::Saw { event: ServerEvent::ConversationUpdated(updated), .. } => {
                    (&updated.conversation, false)
                }
                _ => continue,
            };
            let id = conversation.conversation_id;
            known.entry(id).or_insert_with(|| conversation.clone());
            if is_created && event.at_us < begins_us && !first.contains(&id) {
                first.push(id);
            }
        }
        let users = world.users();
        for conversation in users.iter().flat_map(|user| user.conversations()) {
            known.entry(conversation.conversation_id).or_insert(conversation);
        }
        let mut script = Self {
            history: History::of(events),
            done,
            known,
            users: users.iter().map(|user| user.person().clone()).collect(),
            everybody: users.iter().map(|user| user.user_id().clone()).collect(),
            lines: Vec::new(),
            later: Vec::new(),
            first: Vec::new(),
            conversations: HashMap::new(),
            messages: HashMap::new(),
            media: HashMap::new(),
            taken: HashSet::new(),
            sends: HashMap::new(),
            faults: HashMap::new(),
            now_us: 0,
        };
        for id in first {
            script.conversation(id).ok();
        }
        script
    }

    pub(super) fn step(&mut self, step: impl Into<String>) {
        self.lines.push(Line::Step(step.into()));
    }

    pub(super) fn say(&mut self, sentence: impl Into<String>) {
        self.lines.push(Line::Comment(sentence.into()));
    }

    /// Writes the expectations that came true before this time.
    pub(super) fn settle(&mut self, until_us: u64) {
        // What is persisted although consumers or store are at fault was on its way already, and would not be again. It
        // is expected when they are healed.
        if [Dependency::Consumers, Dependency::Mongodb].iter().any(|on| self.faults.contains_key(on)) {
            return;
        }
        self.later.sort_by_key(|later| later.at_us);
        let due = self.later.partition_point(|later| later.at_us < until_us);
        let due: Vec<_> = self.later.drain(..due).collect();
        self.lines.extend(due.into_iter().map(|later| Line::Step(later.step)));
    }

    /// A user's connection goes. What was told over it and is expected only later, because it was on its way when the
    /// fault began, is not told again; that the message was delivered is.
    fn let_go(&mut self, user: &UserId) {
        let now_us = self.now_us;
        let gone: Vec<Later> = self.later.extract_if(.., |later| later.user == *user && later.at_us < now_us).collect();
        for later in gone {
            let mut step = Flow::new();
            step.word("message", &later.message).word("state", AckState::Delivered.as_str());
            self.step(step.step("expect_ack"));
        }
    }

    // ---- names ------------------------------------------------------------------------------------------

    /// A name nothing else has: `wanted`, or with a number behind it.
    fn free(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}-{number}");
        }
        name
    }

    /// The name of a conversation. One that no command made is made before the first step.
    pub(super) fn conversation(&mut self, id: ConversationId) -> Result<String, Unsaid> {
        if let Some(name) = self.conversations.get(&id) {
            return Ok(name.clone());
        }
        let known = self.known.get(&id).cloned();
        let known = known.ok_or_else(|| unsaid("it speaks of a conversation that this run knows nothing of"))?;
        self.users.extend(known.participants.iter().map(|participant| participant.user_id.clone()));
        self.first.push(id);
        Ok(self.name_conversation(&known))
    }

    fn name_conversation(&mut self, conversation: &Conversation) -> String {
        let id = conversation.conversation_id;
        if let Some(name) = self.conversations.get(&id) {
            return name.clone();
        }
        let wanted = if let Some(title) = &conversation.title {
            slug(title)
        } else {
            let people = conversation.participants.iter().take(2).map(|one| one.user_id.as_str());
            slug(&people.collect::<Vec<_>>().join("-"))
        };
        let wanted = if wanted.is_empty() { conversation.kind.as_str().to_owned() } else { wanted };
        let name = self.free(&wanted);
        self.conversations.insert(id, name.clone());
        name
    }

    pub(super) fn message(&self, id: MessageId) -> Result<String, Unsaid> {
        let name = self.messages.get(&id).cloned();
        name.ok_or_else(|| unsaid("it speaks of a message that was not sent by hand in this run"))
    }

    pub(super) fn name_message(&mut self, id: MessageId) -> String {
        let name = self.free(&format!("m{}", self.messages.len() + 1));
        self.messages.insert(id, name.clone());
        name
    }

    fn media_names(&self, ids: &[MediaId]) -> Result<Vec<String>, Unsaid> {
        let name = |id: &MediaId| {
            self.media.get(id).cloned().ok_or_else(|| unsaid("it carries a file that was not uploaded by hand here"))
        };
        ids.iter().map(name).collect()
    }

    // ---- commands ---------------------------------------------------------------------------------------

    pub(super) fn command(&mut self, done: &Done, after: &[Done]) {
        self.now_us = done.at_us;
        let before = self.lines.len();
        if let Err(Unsaid(why)) = self.say_command(done, after) {
            self.lines.truncate(before);
            self.say(format!("{}: {why}", what(&done.command)));
        }
    }

    fn say_command(&mut self, done: &Done, after: &[Done]) -> Result<(), Unsaid> {
        let outcome = done.outcome.as_ref().ok_or_else(|| unsaid("it was not done yet"))?;
        let failed = |error: &WireError| unsaid(format!("it was refused: {}", error.message));
        match (&done.command, outcome) {
            (Command::AddUser { user }, Ok(_)) => {
                self.say(format!("{user} came here; in a scenario everybody is there from the start"));
            }
            (Command::CreateConversation { user, kind, participants, title }, outcome) => {
                let request =
                    CreateConversation { kind: *kind, participants: participants.clone(), title: title.clone() };
                let created = match outcome {
                    Ok(CommandAnswer::Created { conversation }) => Some(conversation.clone()),
                    _ => None,
                };
                self.create(user, &request, created.as_ref(), outcome.as_ref().err())?;
            }
            (Command::Send { user, conversation_id, text, reply_to, temp_id: _ }, Ok(answer)) => {
                let CommandAnswer::Sent { message_id, temp_id } = answer else { return Ok(()) };
                let message = SendMessage {
                    conversation_id: *conversation_id,
                    temp_id: temp_id.clone(),
                    text: Some(text.clone()),
                    media: Vec::new(),
                    reply_to: *reply_to,
                };
                self.send(user, &message, *message_id, done.at_us, after)?;
            }
            (Command::Request { user, event, payload }, outcome) => {
                self.request(user, event, payload, outcome, done.at_us, after)?;
            }
            (Command::Upload { user, file_name, content_type, .. }, outcome) => {
                let refused = self.refused(user, outcome.as_ref().err())?;
                if self.is_unsure(Some(Dependency::Media)) {
                    return Err(unsaid("something was wrong that does not hit every request"));
                }
                let name = self.free(&format!("file{}", self.media.len() + 1));
                if content_type != "image/png" {
                    self.say(format!("the file was of the type {content_type}; a scenario uploads a small picture"));
                }
                let mut step = Flow::new();
                step.word("as", user.as_str()).word("id", &name).word("file", file_name).code("refused", refused);
                self.step(step.step("upload"));
                if let Ok(CommandAnswer::Uploaded { media_id }) = outcome {
                    self.media.insert(*media_id, name);
                }
            }
            (Command::AddDevice { device, of }, Ok(_)) => {
                let person = self.history.person(of).clone();
                let mut step = Flow::new();
                step.word("user", person.as_str()).word("as", device.as_str());
                self.step(step.step("connect"));
            }
            (Command::ReadSlowly { user, bytes_per_second }, Ok(_)) => self.read_slowly(user, *bytes_per_second),
            (Command::DropConnection { user }, Ok(_)) => {
                self.let_go(user);
                self.step(format!("drop: {}", quoted(user.as_str())));
            }
            (Command::Reconnect { user }, Ok(_)) => self.step(format!("reconnect: {}", quoted(user.as_str()))),
            (Command::AdvanceClock { by_ms }, Ok(_)) => self.step(format!("advance: {}", period(*by_ms))),
            (Command::SetFault { on, fault }, Ok(_)) => {
                self.step(fault_step(*on, *fault));
                if !fault.kind().is_once() {
                    self.faults.insert(*on, *fault);
                }
            }
            (Command::Heal { on }, Ok(_)) => {
                self.step(format!("heal: {on}"));
                self.faults.remove(on);
            }
            (Command::ResetFaults, Ok(_)) => {
                self.step("heal: all");
                self.faults.clear();
            }
            (Command::PlayTour, _) => self.say("the tour was played here, which has a scenario of its own"),
            (_, Err(error)) => return Err(failed(error)),
            // What only looks is not kept.
            (_, Ok(_)) => {}
        }
        Ok(())
    }

    /// Whether a refusal would not come again: it passes by itself, and no fault that is there explains it.
    fn is_passing(&self, code: ErrorCode) -> bool {
        let explained_by: &[Dependency] = match code {
            ErrorCode::StoreUnavailable => &[Dependency::Mongodb],
            ErrorCode::LogUnavailable => &[Dependency::Kafka],
            // A cache that could not be told leaves open whether others know of a change.
            ErrorCode::OutcomeUnknown => &[Dependency::Kafka, Dependency::Mongodb, Dependency::Redis],
            ErrorCode::MediaUnavailable => &[Dependency::Media],
            ErrorCode::SearchUnavailable => &[Dependency::Search],
            ErrorCode::Overloaded | ErrorCode::RateLimited => &[],
            _ => return false,
        };
        !explained_by.iter().any(|on| self.faults.contains_key(on))
    }

    /// What the service refused it with, if it did; an error when it never came to the service, or would not be refused
    /// again.
    pub(super) fn refused(&self, user: &UserId, error: Option<&WireError>) -> Result<Option<ErrorCode>, Unsaid> {
        // Who came later was no user yet, and the harness said so.
        if !self.everybody.contains(user) || !self.history.user(user).known_since(self.now_us) {
            return Err(unsaid("there was no such user"));
        }
        match error {
            Some(error) if matches!(error.code, ErrorCode::Internal | ErrorCode::Unauthenticated) => {
                Err(unsaid(format!("it was not carried out: {}", error.message)))
            }
            Some(error) if self.is_passing(error.code) => {
                Err(unsaid(format!("it was refused for a reason that passes: {}", error.message)))
            }
            error => Ok(error.map(|error| error.code)),
        }
    }

    pub(super) fn create(
        &mut self,
        user: &UserId,
        request: &CreateConversation,
        created: Option<&Conversation>,
        error: Option<&WireError>,
    ) -> Result<(), Unsaid> {
        let refused = self.refused(user, error)?;
        if self.is_unsure(None) {
            // One that is spoken of later is made before the first step.
            return Err(unsaid("something was wrong that does not hit every request"));
        }
        let person = self.history.person(user).clone();
        let CreateConversation { kind, participants, title } = request;
        let wanted = match title {
            Some(title) => slug(title),
            None => slug(&format!("{person}-{}", participants.first().map_or("", |other| other.as_str()))),
        };
        let name = self.free(if wanted.is_empty() { kind.as_str() } else { &wanted });
        let mut step = Flow::new();
        step.word("as", user.as_str()).word("id", &name).word("kind", kind.as_str());
        step.list("with", participants.iter().map(UserId::as_str));
        if let Some(title) = title {
            step.word("title", title);
        }
        step.code("refused", refused);
        self.step(step.step("create"));
        if let Some(conversation) = created {
            // Creating a direct one again gives the same one, which keeps its first name.
            self.conversations.entry(conversation.conversation_id).or_insert(name);
        }
        Ok(())
    }

    pub(super) fn send(
        &mut self,
        user: &UserId,
        message: &SendMessage,
        message_id: MessageId,
        at_us: u64,
        after: &[Done],
    ) -> Result<(), Unsaid> {
        let key = (self.history.person(user).clone(), message.conversation_id, message.temp_id.clone());
        let outcome = self.outcome(user, message, message_id, at_us, after);
        let to = self.conversation(message.conversation_id)?;
        let is_unsure = self.is_unsure((!message.media.is_empty()).then_some(Dependency::Media));
        let is_taken = matches!(outcome, Outcome::Delivered { .. });
        // What was taken is not taken twice, whatever is in it; what was refused is sent as it is now.
        if let Some((sent, was_taken)) = self.sends.get(&key).cloned()
            && (was_taken || sent == *message)
        {
            let name = self.message(message_id)?;
            if is_unsure {
                return Err(unsaid("it was sent again while something was wrong that does not hit every message"));
            }
            match &outcome {
                Outcome::Open => return Err(unsaid("what became of sending it again is not known")),
                Outcome::Rejected(error) => {
                    return Err(unsaid(format!("sending it again was refused with {}", error.code)));
                }
                Outcome::Delivered { .. } => self.step(format!("retry: {{message: {}}}", quoted(&name))),
            }
            self.sends.insert(key, (sent, true));
            self.expect(user, &name, &outcome, at_us);
            return Ok(());
        }
        let refused = match &outcome {
            Outcome::Open => return Err(unsaid("what became of it is not known")),
            Outcome::Rejected(error) => Some(error.code),
            Outcome::Delivered { .. } => None,
        };
        let is_unsure = is_unsure || refused.is_some_and(|code| self.is_passing(code));
        let reply_to = message.reply_to.map(|original| self.message(original)).transpose()?;
        let media = self.media_names(&message.media)?;
        self.sends.insert(key, (message.clone(), is_taken));
        // What may be there or not cannot be spoken of.
        let name = (!is_unsure).then(|| self.name_message(message_id));
        if is_unsure {
            self.messages.remove(&message_id);
        }
        let mut step = Flow::new();
        step.word("as", user.as_str()).word("to", &to);
        if let Some(name) = &name {
            step.word("id", name);
        }
        if let Some(text) = &message.text {
            step.word("text", text);
        }
        if !media.is_empty() {
            step.list("media", media.iter().map(String::as_str));
        }
        if let Some(original) = reply_to {
            step.word("reply_to", &original);
        }
        let Some(name) = name else {
            step.list("may_be_refused", unsure(refused));
            self.step(step.step("send"));
            return Ok(());
        };
        step.code("refused", refused);
        self.step(step.step("send"));
        self.expect(user, &name, &outcome, at_us);
        Ok(())
    }

    /// The acknowledgment as it was, where it came.
    fn expect(&mut self, user: &UserId, name: &str, outcome: &Outcome, sent_us: u64) {
        let mut step = Flow::new();
        step.word("message", name);
        match outcome {
            Outcome::Delivered { persisted_us: Some(at_us) } => {
                step.word("state", AckState::Persisted.as_str());
                let took = Duration::from_micros(at_us.saturating_sub(sent_us));
                if took > USUAL {
                    let within = took * 2 + Duration::from_secs(10);
                    step.raw("within", &format!("{}s", within.as_secs()));
                }
                let (user, message) = (user.clone(), name.to_owned());
                self.later.push(Later { at_us: *at_us, user, message, step: step.step("expect_ack") });
            }
            Outcome::Delivered { persisted_us: None } => {
                step.word("state", AckState::Delivered.as_str());
                self.step(step.step("expect_ack"));
            }
            Outcome::Rejected(error) => {
                step.word("state", AckState::Rejected.as_str()).code("error", Some(error.code));
                self.step(step.step("expect_ack"));
            }
            Outcome::Open => {}
        }
    }

    /// What the sender was told of this attempt.
    fn outcome(
        &self,
        user: &UserId,
        message: &SendMessage,
        message_id: MessageId,
        at_us: u64,
        after: &[Done],
    ) -> Outcome {
        let is_again = |done: &&Done| match &done.command {
            Command::Send { user: again, conversation_id, temp_id: Some(temp_id), .. } => {
                again == user && *conversation_id == message.conversation_id && *temp_id == message.temp_id
            }
            Command::Request { user: again, payload, .. } => {
                again == user && payload["temp_id"] == message.temp_id.as_str()
            }
            _ => false,
        };
        let until_us = after.iter().find(is_again).map_or(u64::MAX, |again| again.at_us);
        let Some(told) = self.history.message(message_id) else { return Outcome::Open };
        let acks = told.acks.iter().filter(|seen| seen.user == *user && (at_us..until_us).contains(&seen.at_us));
        let mut outcome = Outcome::Open;
        for seen in acks {
            match (seen.ack.state, &seen.ack.error, &outcome) {
                (AckState::Persisted, _, Outcome::Delivered { persisted_us: Some(_) }) => {}
                (AckState::Persisted, ..) => outcome = Outcome::Delivered { persisted_us: Some(seen.at_us) },
                (AckState::Delivered, _, Outcome::Open) => outcome = Outcome::Delivered { persisted_us: None },
                (AckState::Rejected, Some(error), _) => outcome = Outcome::Rejected(error.clone()),
                _ => {}
            }
        }
        outcome
    }

    /// Whether something is wrong with the store, the log, or a service beside them that is needed, and does not do the
    /// same to every request.
    pub(super) fn is_unsure(&self, beside: Option<Dependency>) -> bool {
        self.faults.iter().any(|(on, fault)| {
            let concerns = matches!(on, Dependency::Kafka | Dependency::Mongodb) || beside == Some(*on);
            let hits_all = matches!(
                fault,
                Fault::Outage | Fault::Hang | Fault::Pause | Fault::Stop | Fault::Kill | Fault::BlackHole
            );
            concerns && !hits_all
        })
    }

    fn read_slowly(&mut self, user: &UserId, bytes_per_second: Option<u32>) {
        match bytes_per_second {
            None => self.step(format!("read_on: {}", quoted(user.as_str()))),
            Some(0) => self.step(format!("read_slowly: {{user: {}}}", quoted(user.as_str()))),
            Some(bytes) => {
                let every = Duration::from_millis(PACKET_BYTES * 1_000 / u64::from(bytes));
                let every = every.clamp(Duration::from_millis(1), SLOWEST).as_millis();
                self.say(format!("{user} read {bytes} bytes a second, which a scenario counts in packets"));
                self.step(format!("read_slowly: {{user: {}, every: {every}ms}}", quoted(user.as_str())));
            }
        }
    }

    // ---- the text ---------------------------------------------------------------------------------------

    /// The whole scenario. What the check does not take becomes a comment that says why.
    pub(super) fn finish(mut self, name: &str) -> String {
        let created: Vec<_> = std::mem::take(&mut self.first);
        let first: Vec<Line> = created.iter().filter_map(|id| self.first_create(*id)).map(Line::Step).collect();
        let mut lines: Vec<Line> = vec![Line::Step("mark: By hand".to_owned())];
        lines.extend(first);
        lines.append(&mut self.lines);
        let users: Vec<_> = self.users.iter().map(|user| quoted(user.as_str())).collect();
        let about = format!("What was done by hand: {} commands.", self.done.len());
        let head =
            format!("scenario: {}\nabout: {}\nusers: [{}]\nsteps:\n", quoted(name), quoted(&about), users.join(", "));
        for pass in 0.. {
            let mut text = head.clone();
            for line in &lines {
                match line {
                    // Writing to a text cannot fail.
                    Line::Step(step) => writeln!(text, "  - {step}").ok(),
                    Line::Comment(sentence) => writeln!(text, "  # {}", comment(sentence)).ok(),
                };
            }
            let Err(refusal) = Scenario::read("by-hand.yaml", &text) else { return text };
            let mut is_changed = false;
            for problem in refusal.problems() {
                let index = (problem.place.line as usize).checked_sub(head.lines().count() + 1);
                let Some(Line::Step(step)) = index.and_then(|index| lines.get(index)) else { continue };
                let Some(index) = index else { continue };
                is_changed = true;
                // Without its message an expectation says nothing.
                let is_empty = step.starts_with("expect_ack:") && problem.what.starts_with("there is no message");
                let said = if is_empty { String::new() } else { format!("{step} -- {}", problem.what) };
                lines[index] = Line::Comment(said);
                // What rests on it is judged anew without it, as long as that takes no time.
                if pass < PASSES_MAX {
                    break;
                }
            }
            lines.retain(|line| !matches!(line, Line::Comment(sentence) if sentence.is_empty()));
            if !is_changed {
                return text;
            }
        }
        head
    }

    /// How a conversation came about that no command made.
    fn first_create(&self, id: ConversationId) -> Option<String> {
        let (conversation, name) = (self.known.get(&id)?, self.conversations.get(&id)?);
        let people = &conversation.participants;
        let owner = people.iter().find(|one| one.role == Role::Owner).or_else(|| people.first())?;
        let mut step = Flow::new();
        step.word("as", owner.user_id.as_str()).word("id", name).word("kind", conversation.kind.as_str());
        let others = people.iter().filter(|one| one.user_id != owner.user_id).map(|one| one.user_id.as_str());
        step.list("with", others);
        if let Some(title) = conversation.title.as_ref().filter(|_| conversation.kind != ConversationKind::Direct) {
            step.word("title", title);
        }
        Some(step.step("create"))
    }
}

/// What became of one attempt to send.
enum Outcome {
    Delivered { persisted_us: Option<u64> },
    Rejected(WireError),
    Open,
}

/// The codes a message may be refused with, the one it was refused with among them.
fn unsure(refused: Option<ErrorCode>) -> impl Iterator<Item = &'static str> {
    let other = refused.filter(|code| !UNSURE.contains(code));
    UNSURE.into_iter().chain(other).map(ErrorCode::as_str)
}

/// A name of letters, digits and dashes.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars().take(200) {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_') {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(40);
    slug.trim_matches('-').to_owned()
}

fn period(ms: u64) -> String {
    if ms > 0 && ms.is_multiple_of(60_000) {
        format!("{} min", ms / 60_000)
    } else if ms > 0 && ms.is_multiple_of(1_000) {
        format!("{}s", ms / 1_000)
    } else {
        format!("{ms}ms")
    }
}

fn fault_step(on: Dependency, fault: Fault) -> String {
    let mut step = Flow::new();
    step.word("target", on.as_str()).word("kind", fault.kind().as_str());
    match fault {
        Fault::Latency { delay_ms, jitter_ms } | Fault::NetworkLatency { delay_ms, jitter_ms } => {
            step.raw("delay", &format!("{delay_ms}ms"));
            if jitter_ms > 0 {
                step.raw("jitter", &format!("{jitter_ms}ms"));
            }
        }
        Fault::Errors { share } => drop(step.raw("share", &share.to_string())),
        Fault::FailThenWork { count } | Fault::Redeliver { count } | Fault::Poison { count } => {
            step.raw("count", &count.to_string());
        }
        Fault::Bandwidth { bytes_per_second } => drop(step.raw("rate", &bytes_per_second.to_string())),
        _ => {}
    }
    step.step("fault")
}

/// A command for a comment.
fn what(command: &Command) -> String {
    match command {
        Command::AddUser { user } => format!("{user} was to come"),
        Command::CreateConversation { user, .. } => format!("{user} created a conversation"),
        Command::Send { user, text, .. } => format!("{user} sent {:?}", &**text),
        Command::Request { user, event, .. } => format!("{user} asked for {event}"),
        Command::Upload { user, file_name, .. } => format!("{user} uploaded {:?}", &**file_name),
        Command::AddDevice { device, of } => format!("{device} was to come as a device of {of}"),
        Command::ReadSlowly { user, .. } => format!("{user} was to read slowly"),
        Command::DropConnection { user } => format!("{user} was to lose the connection"),
        Command::Reconnect { user } => format!("{user} was to come back"),
        Command::AdvanceClock { by_ms } => format!("the clock was to advance by {by_ms} ms"),
        Command::SetFault { on, fault } => format!("{on} was to have the fault {fault}"),
        Command::Heal { on } => format!("{on} was to be healed"),
        Command::ResetFaults => "everything was to be healed".to_owned(),
        _ => "a command".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_are_as_a_scenario_has_them() {
        assert_eq!(slug("Release team"), "release-team");
        assert_eq!(slug("¿Qué? 7"), "qu-7");
        assert_eq!(slug("漢字"), "");
        assert_eq!(slug(&"x".repeat(300)).len(), 40);
        assert_eq!([0, 1, 2_000, 120_000].map(period), ["0ms", "1ms", "2s", "2 min"]);
    }

    #[test]
    fn every_fault_reads_as_it_was_set() {
        use ackscope_protocol::faults::{FaultKind, kinds_on};
        for on in Dependency::ALL {
            for kind in kinds_on(on).collect::<Vec<FaultKind>>() {
                let fault = kind.usual();
                let text = format!("scenario: x\nusers: [ana]\nsteps:\n  - {}\n", fault_step(on, fault));
                let scenario = Scenario::read("x.yaml", &text).unwrap_or_else(|refusal| panic!("{refusal}"));
                let crate::scenario::file::Step::Fault(read) = &scenario.file.steps[0].value else {
                    panic!("{text}");
                };
                assert_eq!((read.target.0, read.fault()), (on, fault));
            }
        }
    }
}
