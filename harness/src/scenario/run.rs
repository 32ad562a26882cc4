//! Plays a scenario in a world.
//!
//! A step that does something and fails ends the run, because what follows would speak of things that are not
//! there; an expectation that fails does not, because the next one may tell more. Then everything is left to
//! come to rest and latencies and promises are checked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::ids::{ConversationId, MessageId, TempId, UserId};
use ackscope_protocol::text::{Cursor, HistoryLimit};
use ackscope_protocol::wire::{self, AckState, CreateConversation, SendMessage, ServerEvent};

use super::Scenario;
use super::file::words::{Code, Name, User};
use super::file::{At, Create, ExpectAck, ExpectHistory, ExpectView, Retry, Send, Step, Wait};
use super::outcome::{RunReport, StepOutcome, StepResult};
use super::period::short;
use super::title::{names, title};
use crate::audit::{Audit, audit_history};
use crate::history::History;
use crate::latency::{Latencies, check_budgets};
use crate::report::micros;
use crate::stored;
use crate::users::{SimulatedUser, UserError, UserView};
use crate::world::{World, WorldError};

/// How long an outcome or an expectation may take unless the scenario says otherwise.
const LIMIT: Duration = Duration::from_secs(5);
/// How long everything may take to come to rest after the last step.
const REST_LIMIT: Duration = Duration::from_secs(30);
/// How often the history is asked again while it is not as expected.
const HISTORY_POLL: Duration = Duration::from_millis(20);
/// The tour's pace: the pause before each step that does something, so that people can read along.
pub const TOUR_PACE: Duration = Duration::from_millis(600);

/// How a scenario is run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// What is left to chance follows from this number.
    pub seed: u64,
    /// A pause between steps, for people who watch.
    pub pace: Option<Duration>,
}

/// Plays a scenario and checks everything. `on_step` is called after each step.
///
/// The audit covers the world's whole recording: a scenario has a world of its own.
pub async fn run(
    world: &World,
    scenario: &Scenario,
    options: &RunOptions,
    mut on_step: impl FnMut(&StepResult),
) -> RunReport {
    let started = Instant::now();
    let mut environment_failed = None;
    let steps = match Player::new(world, scenario).await {
        Ok(mut player) => player.play(options.pace, &mut on_step).await,
        Err(error) => {
            environment_failed = Some(error.to_string());
            let skipped: Vec<_> = all_steps(scenario).collect();
            skipped.iter().for_each(&mut on_step);
            skipped
        }
    };
    let mut report = RunReport {
        scenario: scenario.name().to_owned(),
        file_name: scenario.file_name.clone(),
        backend: world.backend_kind(),
        seed: options.seed,
        steps,
        latencies: Latencies::default(),
        budgets: Vec::new(),
        audit: Audit::default(),
        environment_failed,
        took_us: 0,
        events: Vec::new(),
    };
    if report.environment_failed.is_none() {
        rest(world, &mut report, &mut on_step).await;
    }
    world.recorder().flush().await;
    let recording = world.recorder().snapshot();
    report.events = recording.events;
    let mut history = History::of(&report.events);
    // What the recorder no longer keeps is as good as never recorded.
    history.missed += recording.first_index;
    report.latencies = Latencies::of_history(&history);
    report.budgets = check_budgets(&report.latencies, &scenario.file.budgets);
    match world.backend() {
        Ok(backend) => match stored::read(&backend, &history).await {
            Ok(stored) => report.audit = audit_history(&history, &stored),
            Err(error) => report.environment_failed = Some(format!("the store could not be read: {error}")),
        },
        Err(error) => report.environment_failed = Some(error.to_string()),
    }
    report.took_us = elapsed_us(started);
    report
}

/// Lets everything come to rest. A backend that does not is at fault, so that is a failed step of its own.
async fn rest(world: &World, report: &mut RunReport, on_step: &mut impl FnMut(&StepResult)) {
    let started = Instant::now();
    let outcome = match world.quiesce(REST_LIMIT).await {
        Ok(()) => return,
        Err(WorldError::NotQuiet { still, .. }) => {
            let expected = format!("everything to come to rest within {}", short(REST_LIMIT));
            StepOutcome::Failed { expected, found: still }
        }
        Err(error) => StepOutcome::Inconclusive { reason: error.to_string() },
    };
    let step = StepResult {
        number: report.steps.len() + 1,
        line: report.steps.last().map_or(1, |step| step.line),
        title: "everything comes to rest".to_owned(),
        is_mark: false,
        outcome,
        took_us: elapsed_us(started),
    };
    on_step(&step);
    report.steps.push(step);
}

/// Why the tour could not be played.
#[derive(Debug, thiserror::Error)]
pub enum TourError {
    /// The world could not do it.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A step failed.
    #[error("the tour stopped at line {line}: {title}: {reason}")]
    Step {
        /// The line of the tour.
        line: u32,
        /// What the step does.
        title: String,
        /// What was wrong, one sentence.
        reason: String,
    },
    /// The tour itself is wrong.
    #[error("{0}")]
    Refused(#[from] super::Refusal),
}

/// Plays the built-in tour at a pace people can follow, in a conversation of its own; as often as one likes.
pub async fn play_tour(world: Arc<World>) -> Result<(), TourError> {
    play_tour_at(&world, Some(TOUR_PACE)).await
}

/// Like [`play_tour`], at another pace or without one.
pub async fn play_tour_at(world: &World, pace: Option<Duration>) -> Result<(), TourError> {
    let scenario = Scenario::read("tour.yaml", super::TOUR)?;
    let mut player = Player::new(world, &scenario).await?;
    for step in player.play(pace, &mut |_| {}).await {
        let reason = match step.outcome {
            StepOutcome::Passed | StepOutcome::Skipped => continue,
            StepOutcome::Failed { expected, found } => format!("expected {expected}, found {found}"),
            StepOutcome::Inconclusive { reason } => reason,
        };
        return Err(TourError::Step { line: step.line, title: step.title, reason });
    }
    Ok(())
}

/// Every step as skipped.
fn all_steps(scenario: &Scenario) -> impl Iterator<Item = StepResult> {
    scenario.file.steps.iter().enumerate().map(|(index, step)| StepResult {
        number: index + 1,
        line: step.place.line,
        title: title(&step.value),
        is_mark: matches!(step.value, Step::Mark(_)),
        outcome: StepOutcome::Skipped,
        took_us: 0,
    })
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A step that did not go as it should.
enum Trouble {
    /// What was expected was not so.
    Failed { expected: String, found: String },
    /// Something within the harness does not fit together; the check should have refused the file.
    Inconclusive(String),
}

impl Trouble {
    fn failed(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Failed { expected: expected.into(), found: found.into() }
    }
}

impl From<Trouble> for StepOutcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed { expected, found } => Self::Failed { expected, found },
            Trouble::Inconclusive(reason) => Self::Inconclusive { reason },
        }
    }
}

/// What a name of the scenario stands for.
#[derive(Clone)]
struct SentMessage {
    user: Arc<SimulatedUser>,
    request: SendMessage,
    message_id: MessageId,
    /// When it was put on the connection, each time.
    sent_at: Vec<Instant>,
}

/// The state of a scenario that is being played.
struct Player<'w> {
    world: &'w World,
    scenario: &'w Scenario,
    users: HashMap<UserId, (Arc<SimulatedUser>, usize)>,
    conversations: HashMap<String, ConversationId>,
    messages: HashMap<String, SentMessage>,
    /// Makes `temp_id`s of this run unlike those of any other.
    nonce: String,
    sends: usize,
}

impl<'w> Player<'w> {
    /// Connects everybody. Whoever is there already from before is taken, and connected again if need be.
    async fn new(world: &'w World, scenario: &'w Scenario) -> Result<Self, WorldError> {
        let mut users = HashMap::new();
        for id in &scenario.file.users {
            let user = world.user_or_new(id).await?;
            if !user.is_connected() {
                world.reconnect(id).await?;
            }
            let from = user.next_index();
            users.insert(id.0.clone(), (user, from));
        }
        let mut nonce = uuid::Uuid::new_v4().simple().to_string();
        nonce.truncate(8);
        Ok(Self { world, scenario, users, conversations: HashMap::new(), messages: HashMap::new(), nonce, sends: 0 })
    }

    async fn play(&mut self, pace: Option<Duration>, on_step: &mut impl FnMut(&StepResult)) -> Vec<StepResult> {
        let mut results = Vec::new();
        let mut ended = false;
        for (mut result, step) in all_steps(self.scenario).zip(&self.scenario.file.steps) {
            if !ended {
                if let Some(pace) = pace.filter(|_| !results.is_empty() && is_action(&step.value)) {
                    // The one place where time passes for its own sake: people watch.
                    tokio::time::sleep(pace).await;
                }
                let started = Instant::now();
                result.outcome = match self.step(&step.value).await {
                    Ok(()) => StepOutcome::Passed,
                    Err(trouble) => {
                        ended = is_action(&step.value) || matches!(trouble, Trouble::Inconclusive(_));
                        trouble.into()
                    }
                };
                result.took_us = elapsed_us(started);
            }
            on_step(&result);
            results.push(result);
        }
        results
    }

    async fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Create(create) => self.create(create).await,
            Step::Send(send) => self.send(send).await,
            Step::Retry(retry) => self.retry(retry).await,
            Step::Wait(wait) => self.wait(wait).await,
            Step::ExpectAck(expect) => self.expect_ack(expect).await,
            Step::ExpectView(expect) => self.expect_view(expect).await,
            Step::ExpectHistory(expect) => self.expect_history(expect).await,
            Step::Drop(user) => self.world.drop_connection(user).await.map_err(|error| inconclusive(&error)),
            Step::Reconnect(user) => self
                .world
                .reconnect(user)
                .await
                .map_err(|error| Trouble::failed(format!("{} to come back", user.as_str()), error.to_string())),
            Step::Advance(by) => {
                self.world.advance_clock(u64::try_from(by.0.as_millis()).unwrap_or(u64::MAX));
                Ok(())
            }
            Step::Mark(text) => {
                self.world.mark(text.as_str());
                Ok(())
            }
        }
    }

    // ---- names ------------------------------------------------------------------------------------------

    fn user(&self, user: &At<User>) -> Result<&(Arc<SimulatedUser>, usize), Trouble> {
        self.users.get(&user.value.0).ok_or_else(|| inconclusive(&format!("there is no user {}", user.as_str())))
    }

    fn conversation(&self, name: &Name) -> Result<ConversationId, Trouble> {
        let found = self.conversations.get(name.as_str()).copied();
        found.ok_or_else(|| inconclusive(&format!("there is no conversation {}", name.as_str())))
    }

    fn message(&self, name: &Name) -> Result<&SentMessage, Trouble> {
        let found = self.messages.get(name.as_str());
        found.ok_or_else(|| inconclusive(&format!("there is no message {}", name.as_str())))
    }

    /// A message's name in the scenario, or the id of one it does not know.
    fn name_of(&self, message_id: MessageId) -> String {
        self.messages
            .iter()
            .find(|(_, sent)| sent.message_id == message_id)
            .map_or_else(|| format!("({message_id})"), |(name, _)| name.clone())
    }

    fn names_of(&self, ids: &[MessageId]) -> String {
        if ids.is_empty() {
            return "nothing".to_owned();
        }
        let names: Vec<_> = ids.iter().map(|id| self.name_of(*id)).collect();
        names.join(", ")
    }

    // ---- actions ----------------------------------------------------------------------------------------

    async fn create(&mut self, create: &Create) -> Result<(), Trouble> {
        let (user, _) = self.user(&create.user)?;
        let request = CreateConversation {
            kind: create.kind.0,
            participants: create.with.iter().map(|user| user.value.0.clone()).collect(),
            title: create.title.as_ref().map(|title| title.value.0.clone()),
        };
        let answer = user.request(&request).await.map_err(|error| no_answer(&error))?;
        match (answer, &create.refused) {
            (Ok(answer), None) => {
                self.conversations.insert(create.id.to_string(), answer.conversation.conversation_id);
                Ok(())
            }
            (Err(error), Some(code)) => refused_with(&error, code),
            (Ok(_), Some(code)) => Err(Trouble::failed(refused(code), "it was created")),
            (Err(error), None) => Err(Trouble::failed("the conversation to be created", refusal(&error))),
        }
    }

    async fn send(&mut self, send: &Send) -> Result<(), Trouble> {
        let (user, _) = self.user(&send.user)?;
        let user = Arc::clone(user);
        self.sends += 1;
        let temp_id = match &send.temp_id {
            Some(temp_id) => temp_id.value.0.clone(),
            None => format!("{}-{}", self.nonce, self.sends)
                .parse::<TempId>()
                .map_err(|error| inconclusive(&format!("no temp_id: {error}")))?,
        };
        let reply_to = send.reply_to.as_ref().map(|name| self.message(name).map(|sent| sent.message_id)).transpose()?;
        let request = SendMessage {
            conversation_id: self.conversation(&send.to)?,
            temp_id,
            text: Some(send.text.value.0.clone()),
            media: Vec::new(),
            reply_to,
        };
        let handle = user.send(request.clone()).await.map_err(|error| no_answer(&error))?;
        let sent = SentMessage { user, request, message_id: handle.message_id, sent_at: vec![handle.at] };
        // Known by its name from here on, whatever becomes of it.
        if let Some(id) = &send.id {
            self.messages.insert(id.to_string(), sent.clone());
        }
        match (outcome_of(&sent, handle.at, handle.attempt).await?, &send.refused) {
            (Ok(_), None) => Ok(()),
            (Err(error), Some(code)) => refused_with(&error, code),
            (Ok(_), Some(code)) => Err(Trouble::failed(refused(code), "it was delivered")),
            (Err(error), None) => Err(Trouble::failed("the message to be delivered", refusal(&error))),
        }
    }

    async fn retry(&mut self, retry: &Retry) -> Result<(), Trouble> {
        let sent = self.message(&retry.message)?.clone();
        let handle = sent.user.send(sent.request.clone()).await.map_err(|error| no_answer(&error))?;
        if let Some(known) = self.messages.get_mut(retry.message.as_str()) {
            known.sent_at.push(handle.at);
        }
        let expected = || format!("the message_id {} once more", sent.message_id);
        match outcome_of(&sent, handle.at, handle.attempt).await? {
            Ok(message_id) if message_id == sent.message_id => Ok(()),
            Ok(message_id) => Err(Trouble::failed(expected(), format!("the message_id {message_id}"))),
            Err(error) => Err(Trouble::failed(expected(), refusal(&error))),
        }
    }

    // ---- expectations -----------------------------------------------------------------------------------

    async fn wait(&self, wait: &Wait) -> Result<(), Trouble> {
        let (user, from) = self.user(&wait.user)?;
        let conversation = wait.conversation.as_ref().map(|name| self.conversation(name)).transpose()?;
        let message = wait.message.as_ref().map(|name| self.message(name)).transpose()?;
        let limit = wait.within.as_ref().map_or(LIMIT, |within| within.0);
        let matches = |event: &ServerEvent| {
            event.name() == wait.event.0
                && conversation.is_none_or(|wanted| conversation_of(event) == Some(wanted))
                && message.is_none_or(|wanted| is_about(event, wanted))
        };
        let seen = user.wait_for(*from, limit, matches).await;
        seen.map(drop).map_err(|error| match error {
            UserError::NotSeen { .. } => {
                let others =
                    user.look(|view| view.seen_from(*from).filter(|seen| seen.event.name() == wait.event.0).count());
                let found = match others {
                    0 => format!("no {} at all within {}", wait.event.0, short(limit)),
                    count => format!("{count} other {} within {}", wait.event.0, short(limit)),
                };
                Trouble::failed(format!("{} to see it", wait.user.as_str()), found)
            }
            error => inconclusive(&error),
        })
    }

    async fn expect_ack(&self, expect: &ExpectAck) -> Result<(), Trouble> {
        let sent = self.message(&expect.message)?;
        let state = expect.state.0;
        let limit = expect.within.as_ref().map_or(LIMIT, |within| within.0);
        let found = |view: &UserView| {
            let acks = view.acks(&sent.request.temp_id, sent.request.conversation_id);
            acks.iter().find(|seen| seen.ack.state == state).cloned()
        };
        // Longer than the limit, so that the report can say how late it was.
        let ack = match sent.user.wait_until(limit.max(LIMIT), found).await {
            Ok(ack) => ack,
            Err(UserError::NotSeen { .. }) => {
                return Err(Trouble::failed(format!("a `{}` ACK", state.as_str()), acks_seen(sent)));
            }
            Err(error) => return Err(inconclusive(&error)),
        };
        if let Some(code) = &expect.error {
            match &ack.ack.error {
                Some(error) => refused_with(error, code)?,
                None => return Err(Trouble::failed(refused(code), "a rejection without a reason")),
            }
        }
        if let Some(within) = &expect.within {
            let since = sent.sent_at.iter().copied().rfind(|at| *at <= ack.at);
            let took = since.map_or(Duration::ZERO, |since| ack.at - since);
            if took > within.0 {
                let expected = format!("`{}` within {}", state.as_str(), short(within.0));
                return Err(Trouble::failed(expected, format!("it after {}", short(took))));
            }
        }
        Ok(())
    }

    async fn expect_view(&self, expect: &ExpectView) -> Result<(), Trouble> {
        let conversation_id = self.conversation(&expect.conversation)?;
        let limit = expect.within.as_ref().map_or(LIMIT, |within| within.0);
        let wanted = Wanted::of(self, expect.exactly.as_deref(), expect.contains.as_deref())?;
        if wanted.exactly {
            // What must not be there has to be given the time to come. Not coming to rest is found out at the end.
            match self.world.quiesce(limit).await {
                Ok(()) | Err(WorldError::NotQuiet { .. }) => {}
                Err(error) => return Err(inconclusive(&error)),
            }
        }
        for id in &expect.users {
            let (user, _) = self.user(id)?;
            let ids = |view: &UserView| -> Vec<MessageId> {
                view.messages(conversation_id).iter().map(|message| message.message_id).collect()
            };
            match user.wait_until(limit, |view| wanted.is_met_by(&ids(view)).then_some(())).await {
                Ok(()) => {}
                Err(UserError::NotSeen { .. }) => {
                    let found = user.look(ids);
                    let expected = format!("{} to see {}", id.as_str(), wanted.describe());
                    return Err(Trouble::failed(expected, self.names_of(&found)));
                }
                Err(error) => return Err(inconclusive(&error)),
            }
        }
        Ok(())
    }

    async fn expect_history(&self, expect: &ExpectHistory) -> Result<(), Trouble> {
        let (user, _) = self.user(&expect.user)?;
        let conversation_id = self.conversation(&expect.conversation)?;
        let limit = expect.within.as_ref().map_or(LIMIT, |within| within.0);
        if let Some(code) = &expect.refused {
            return match history_of(user, conversation_id).await? {
                Err(error) => refused_with(&error, code),
                Ok(found) => Err(Trouble::failed(refused(code), format!("an answer: {}", self.names_of(&found)))),
            };
        }
        let wanted = Wanted::of(self, expect.exactly.as_deref(), expect.contains.as_deref())?;
        let deadline = Instant::now() + limit;
        let mut poll = tokio::time::interval(HISTORY_POLL);
        loop {
            poll.tick().await;
            let found = history_of(user, conversation_id)
                .await?
                .map_err(|error| Trouble::failed(wanted.describe(), refusal(&error)))?;
            if wanted.is_met_by(&found) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Trouble::failed(wanted.describe(), self.names_of(&found)));
            }
        }
    }
}

/// The messages an expectation names.
struct Wanted {
    ids: Vec<MessageId>,
    names: String,
    exactly: bool,
}

impl Wanted {
    fn of(player: &Player<'_>, exactly: Option<&[At<Name>]>, contains: Option<&[At<Name>]>) -> Result<Self, Trouble> {
        let list = exactly.or(contains).unwrap_or_default();
        let ids = list.iter().map(|name| player.message(name).map(|sent| sent.message_id)).collect::<Result<_, _>>()?;
        Ok(Self { ids, names: names(list), exactly: exactly.is_some() })
    }

    fn is_met_by(&self, found: &[MessageId]) -> bool {
        if self.exactly {
            return found == self.ids;
        }
        // In this order; others may stand between.
        let mut found = found.iter();
        self.ids.iter().all(|wanted| found.any(|id| id == wanted))
    }

    fn describe(&self) -> String {
        match (self.exactly, self.ids.is_empty()) {
            (true, true) => "nothing".to_owned(),
            (true, false) => format!("exactly {}", self.names),
            (false, _) => format!("among others, in this order, {}", self.names),
        }
    }
}

/// Whether a step does something, so that later steps rest on it.
fn is_action(step: &Step) -> bool {
    match step {
        Step::Create(_) | Step::Send(_) | Step::Retry(_) | Step::Drop(_) | Step::Reconnect(_) | Step::Advance(_) => {
            true
        }
        Step::Wait(_) | Step::ExpectAck(_) | Step::ExpectView(_) | Step::ExpectHistory(_) | Step::Mark(_) => false,
    }
}

/// Waits for the outcome of one attempt: the `message_id` it was delivered with, or the refusal.
async fn outcome_of(sent: &SentMessage, since: Instant, attempt: u32) -> Result<Result<MessageId, WireError>, Trouble> {
    let (temp_id, conversation_id) = (&sent.request.temp_id, sent.request.conversation_id);
    let found = |view: &UserView| {
        let by_ack = view.acks(temp_id, conversation_id).iter().filter(|seen| seen.at >= since).find_map(|seen| {
            match (seen.ack.state, seen.ack.message_id, &seen.ack.error) {
                // `persisted` says it too, when the connection broke before `delivered` came.
                (AckState::Delivered | AckState::Persisted, Some(message_id), _) => Some(Ok(message_id)),
                (AckState::Rejected, _, Some(error)) => Some(Err(error.clone())),
                _ => None,
            }
        });
        // What cannot be read as a message at all is answered by the callback alone.
        by_ack.or_else(|| {
            let answers = view.send_answers(temp_id, conversation_id);
            let answer = answers.get(attempt as usize - 1)?;
            Some(answer.outcome.clone().map(|sent| sent.message_id))
        })
    };
    match sent.user.wait_until(LIMIT, found).await {
        Ok(outcome) => Ok(outcome),
        Err(UserError::NotSeen { .. }) => Err(Trouble::failed("an outcome", acks_seen(sent))),
        Err(error) => Err(inconclusive(&error)),
    }
}

/// Everything a viewer may see of a conversation, oldest first.
async fn history_of(
    user: &SimulatedUser,
    conversation_id: ConversationId,
) -> Result<Result<Vec<MessageId>, WireError>, Trouble> {
    let mut ids = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let request = wire::History { conversation_id, limit: HistoryLimit::new(100), cursor, thread: None };
        match user.request(&request).await.map_err(|error| no_answer(&error))? {
            Ok(page) => {
                ids.extend(page.messages.iter().map(|message| message.message_id));
                match page.next_cursor {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    ids.reverse();
    Ok(Ok(ids))
}

fn conversation_of(event: &ServerEvent) -> Option<ConversationId> {
    match event {
        ServerEvent::Ack(ack) => Some(ack.conversation_id),
        ServerEvent::New(one) | ServerEvent::Edited(one) => Some(one.message.conversation_id),
        ServerEvent::Deleted(one) => Some(one.conversation_id),
        ServerEvent::Reaction(one) => Some(one.conversation_id),
        ServerEvent::Delivered(one) => Some(one.conversation_id),
        ServerEvent::ConversationUpdated(one) => Some(one.conversation.conversation_id),
        ServerEvent::Error(_) => None,
    }
}

fn is_about(event: &ServerEvent, sent: &SentMessage) -> bool {
    let id = match event {
        ServerEvent::Ack(ack) => {
            return ack.temp_id == sent.request.temp_id && ack.conversation_id == sent.request.conversation_id;
        }
        ServerEvent::New(one) | ServerEvent::Edited(one) => one.message.message_id,
        ServerEvent::Deleted(one) => one.message_id,
        ServerEvent::Reaction(one) => one.message_id,
        ServerEvent::Delivered(one) => one.message_id,
        ServerEvent::ConversationUpdated(_) | ServerEvent::Error(_) => return false,
    };
    id == sent.message_id
}

/// What a message's sender was told, for a sentence.
fn acks_seen(sent: &SentMessage) -> String {
    let acks = sent.user.acks(&sent.request.temp_id, sent.request.conversation_id);
    if acks.is_empty() {
        return "no ACK at all".to_owned();
    }
    let first = sent.sent_at.first().copied();
    let seen: Vec<_> = acks
        .iter()
        .map(|seen| {
            let after = first.map_or(0, |first| {
                u64::try_from(seen.at.saturating_duration_since(first).as_micros()).unwrap_or(u64::MAX)
            });
            let code = seen.ack.error.as_ref().map_or_else(String::new, |error| format!(" ({})", error.code));
            format!("`{}`{code} after {}", seen.ack.state.as_str(), micros(after))
        })
        .collect();
    format!("only {}", seen.join(", "))
}

fn refused(code: &At<Code>) -> String {
    format!("a refusal with `{}`", code.0.as_str())
}

fn refusal(error: &WireError) -> String {
    format!("a refusal with `{}`: {}", error.code, error.message)
}

fn refused_with(error: &WireError, code: &At<Code>) -> Result<(), Trouble> {
    let wanted: ErrorCode = code.0;
    if error.code == wanted { Ok(()) } else { Err(Trouble::failed(refused(code), refusal(error))) }
}

/// A service that does not answer, or drops the connection, is what a run is there to find.
fn no_answer(error: &UserError) -> Trouble {
    Trouble::failed("an answer", error.to_string())
}

fn inconclusive(reason: &impl ToString) -> Trouble {
    Trouble::Inconclusive(reason.to_string())
}
