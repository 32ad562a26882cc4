//! Plays a scenario in a world.
//!
//! A step that does something and fails ends the run, because what follows would speak of things that are not
//! there; an expectation that fails does not, because the next one may tell more. Then everything is left to
//! come to rest and latencies and promises are checked.
//!
//! What users do is in `acts`, what they see and are answered in `looks`, what lies inside the backend in
//! `inside`, what misbehaving users do in `misbehaves`. A block is one step of the report: it says in which of its lines, and in which round, the first
//! thing went wrong.

mod acts;
mod inside;
mod looks;
mod misbehaves;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::ids::{ConversationId, MediaId, MessageId, UserId};
use ackscope_protocol::wire::{MessageRef, SendMessage};
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::Scenario;
use super::file::words::{Code, Name, User};
use super::file::{At, Repeat, Step};
use super::outcome::{RunReport, StepOutcome, StepResult};
use super::period::{Period, short};
use super::title::title;
use crate::audit::Audit;
use crate::cost::{Cost, TimerWatch, us};
use crate::faults::Schedule;
use crate::judge::judge;
use crate::latency::{Latencies, check_budgets};
use crate::ledger::Ledger;
use crate::users::{SimulatedUser, UserError};
use crate::world::{World, WorldError};
pub(super) use misbehaves::ids_in;

/// How long an outcome or an expectation may take unless the scenario says otherwise.
const LIMIT: Duration = Duration::from_secs(5);
/// How long everything may take to come to rest after the last step.
const REST_LIMIT: Duration = Duration::from_secs(30);
/// How often something is asked again while it is not as expected.
const POLL: Duration = Duration::from_millis(20);
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

/// Follows a scenario while it is played.
pub trait Watcher {
    /// Before a step of the file, which waits for this. What was planned beside the steps, such as the end of a fault,
    /// goes on meanwhile.
    fn before<'a>(&'a mut self, step: &'a StepResult) -> BoxFuture<'a, ()>;

    /// After a step, also one that was skipped, and after those at the end that stand in no file.
    fn after(&mut self, step: &StepResult);
}

/// A watcher that only hears what became of each step.
struct OnStep<F>(F);

impl<F: FnMut(&StepResult)> Watcher for OnStep<F> {
    fn before<'a>(&'a mut self, _: &'a StepResult) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    fn after(&mut self, step: &StepResult) {
        (self.0)(step);
    }
}

/// Plays a scenario and checks everything. `on_step` is called after each step.
///
/// The audit covers the world's whole recording: a scenario has a world of its own.
pub async fn run(
    world: &World,
    scenario: &Scenario,
    options: &RunOptions,
    on_step: impl FnMut(&StepResult),
) -> RunReport {
    play_and_judge(world, scenario, options, &mut OnStep(on_step)).await
}

/// Like [`run`], with somebody who may hold each step back.
pub fn run_watched<'a>(
    world: &'a World,
    scenario: &'a Scenario,
    options: &'a RunOptions,
    watcher: &'a mut (impl Watcher + Send),
) -> BoxFuture<'a, RunReport> {
    Box::pin(play_and_judge(world, scenario, options, watcher))
}

async fn play_and_judge(
    world: &World,
    scenario: &Scenario,
    options: &RunOptions,
    watcher: &mut impl Watcher,
) -> RunReport {
    let started = Instant::now();
    let watch = TimerWatch::begin();
    let mut cost = Cost { start: world.start_cost(), ..Cost::default() };
    let mut environment_failed = None;
    let mut schedule = None;
    let player = Player::new(world, scenario).await;
    cost.users_us = elapsed_us(started);
    let steps = match player {
        Ok(player) => {
            let playing = Instant::now();
            let steps = player.play(options.pace, watcher).await;
            cost.steps_us = elapsed_us(playing);
            schedule = Some(player.schedule);
            steps
        }
        Err(error) => {
            environment_failed = Some(error.to_string());
            let skipped: Vec<_> = all_steps(scenario).collect();
            for step in &skipped {
                watcher.after(step);
            }
            skipped
        }
    };
    let mut report = RunReport {
        scenario: scenario.name().to_owned(),
        file_name: scenario.file_name.clone(),
        backend: world.backend_kind(),
        backend_reason: world.environment().reason,
        seed: options.seed,
        steps,
        latencies: Latencies::default(),
        budgets: Vec::new(),
        audit: Audit::default(),
        ledger: Ledger::default(),
        cost,
        environment_failed,
        took_us: 0,
        events: Vec::new(),
    };
    if report.environment_failed.is_none() {
        let schedule = schedule.unwrap_or_default();
        let healing = Instant::now();
        heal(world, &schedule, &mut report, watcher).await;
        report.cost.heal_us = elapsed_us(healing);
        let resting = Instant::now();
        rest(world, &mut report, watcher).await;
        report.cost.rest_us = elapsed_us(resting);
    }
    report.cost.timers_late = watch.end().await;
    let judged = judge(world).await;
    report.budgets = check_budgets(&judged.latencies, &scenario.file.budgets);
    report.latencies = judged.latencies;
    report.ledger = judged.ledger;
    match judged.audit {
        Ok(audit) => report.audit = audit,
        Err(reason) => report.environment_failed = Some(reason),
    }
    report.events = judged.events;
    report.cost.audit_us = us(judged.took);
    report.cost.events_missed = judged.history.missed;
    report.cost.memory_peak_bytes = Cost::memory_peak_bytes();
    report.took_us = elapsed_us(started);
    report
}

/// Ends every fault that is left. What does not answer after it is at fault, so that is a failed step of its own.
async fn heal(world: &World, schedule: &Schedule, report: &mut RunReport, watcher: &mut impl Watcher) {
    let started = Instant::now();
    let outcome = match schedule.end(world).await {
        Ok(false) => return,
        Ok(true) => StepOutcome::Passed,
        Err(found) => StepOutcome::Failed { expected: "everything to answer again".to_owned(), found },
    };
    ending_step(report, "every fault is healed", outcome, started, watcher);
}

fn ending_step(
    report: &mut RunReport,
    title: &str,
    outcome: StepOutcome,
    started: Instant,
    watcher: &mut impl Watcher,
) {
    let step = StepResult {
        number: report.steps.len() + 1,
        line: report.steps.last().map_or(1, |step| step.line),
        title: title.to_owned(),
        is_mark: false,
        outcome,
        took_us: elapsed_us(started),
        messages: Vec::new(),
    };
    watcher.after(&step);
    report.steps.push(step);
}

/// Lets everything come to rest. A backend that does not is at fault, so that is a failed step of its own.
async fn rest(world: &World, report: &mut RunReport, watcher: &mut impl Watcher) {
    let started = Instant::now();
    let outcome = match world.quiesce(REST_LIMIT).await {
        Ok(()) => return,
        Err(WorldError::NotQuiet { still, .. }) => {
            let expected = format!("everything to come to rest within {}", short(REST_LIMIT));
            StepOutcome::Failed { expected, found: still }
        }
        Err(error) => StepOutcome::Inconclusive { reason: error.to_string() },
    };
    ending_step(report, "everything comes to rest", outcome, started, watcher);
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
pub fn play_tour(world: Arc<World>) -> BoxFuture<'static, Result<(), TourError>> {
    Box::pin(async move { play_tour_at(&world, Some(TOUR_PACE)).await })
}

/// Like [`play_tour`], at another pace or without one.
pub fn play_tour_at(world: &World, pace: Option<Duration>) -> BoxFuture<'_, Result<(), TourError>> {
    Box::pin(async move {
        let scenario = Scenario::read("tour.yaml", super::TOUR)?;
        let player = Player::new(world, &scenario).await?;
        for step in player.play(pace, &mut OnStep(|_: &StepResult| {})).await {
            let reason = match step.outcome {
                StepOutcome::Passed | StepOutcome::Skipped => continue,
                StepOutcome::Failed { expected, found } => format!("expected {expected}, found {found}"),
                StepOutcome::Inconclusive { reason } => reason,
            };
            return Err(TourError::Step { line: step.line, title: step.title, reason });
        }
        Ok(())
    })
}

/// Every step as skipped.
fn all_steps(scenario: &Scenario) -> impl Iterator<Item = StepResult> {
    scenario.file.steps.iter().enumerate().map(|(index, step)| StepResult {
        number: index + 1,
        line: step.place.line,
        title: title_of(scenario, step),
        is_mark: matches!(step.value, Step::Mark(_)),
        outcome: StepOutcome::Skipped,
        took_us: 0,
        messages: Vec::new(),
    })
}

/// What a step does, and in which file it stands when that is another one.
pub(super) fn title_of(scenario: &Scenario, step: &At<Step>) -> String {
    let title = title(&step.value);
    match (&step.value, scenario.included_at(step.place)) {
        (Step::Mark(_), _) | (_, None) => title,
        (_, Some(file)) => format!("{title} ({file})"),
    }
}

fn elapsed_us(since: Instant) -> u64 {
    us(since.elapsed())
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

    /// The same, with the place it is about in front.
    fn at(self, place: &str) -> Self {
        match self {
            Self::Failed { expected, found } => Self::Failed { expected: format!("{place}: {expected}"), found },
            Self::Inconclusive(reason) => Self::Inconclusive(format!("{place}: {reason}")),
        }
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

/// A step that did not go as it should, and whether what follows would rest on it.
struct Setback {
    trouble: Trouble,
    is_end: bool,
    /// The messages it speaks of.
    messages: Vec<MessageId>,
}

impl Setback {
    /// The same, with the place within a block in front of it. What a block within the block says has one already.
    fn within(mut self, scenario: &Scenario, step: &At<Step>) -> Self {
        if !matches!(step.value, Step::Parallel(_) | Step::Repeat(_)) {
            let place = format!("line {}, {}", step.place.line, title_of(scenario, step));
            self.trouble = self.trouble.at(&place);
        }
        self
    }
}

/// A message that was sent by a step.
#[derive(Clone)]
struct SentMessage {
    user: Arc<SimulatedUser>,
    request: SendMessage,
    message_id: MessageId,
    /// When it was put on the connection, each time.
    sent_at: Vec<Instant>,
}

/// What a message's name in the scenario stands for.
#[derive(Clone)]
struct NamedMessage {
    at: MessageRef,
    /// Absent for a copy made by a forward.
    sent: Option<SentMessage>,
}

/// What the names of the scenario stand for so far.
#[derive(Default)]
struct Names {
    conversations: HashMap<String, ConversationId>,
    messages: HashMap<String, NamedMessage>,
    media: HashMap<String, MediaId>,
}

/// The state of a scenario that is being played. Blocks play steps side by side, so it is shared.
struct Player<'w> {
    world: &'w World,
    scenario: &'w Scenario,
    users: HashMap<UserId, (Arc<SimulatedUser>, usize)>,
    /// Further devices that were connected.
    devices: Mutex<HashMap<UserId, (Arc<SimulatedUser>, usize)>>,
    /// Slow readers that read on by themselves after a while.
    slow: Mutex<HashMap<UserId, AbortHandle>>,
    names: Mutex<Names>,
    /// Makes `temp_id`s of this run unlike those of any other.
    nonce: String,
    sends: AtomicUsize,
    /// Faults that end by themselves.
    schedule: Schedule,
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
        Ok(Self {
            world,
            scenario,
            users,
            devices: Mutex::default(),
            slow: Mutex::default(),
            names: Mutex::default(),
            nonce,
            sends: AtomicUsize::new(0),
            schedule: Schedule::default(),
        })
    }

    async fn play(&self, pace: Option<Duration>, watcher: &mut impl Watcher) -> Vec<StepResult> {
        let mut results = Vec::new();
        let mut ended = false;
        for (mut result, step) in all_steps(self.scenario).zip(&self.scenario.file.steps) {
            if !ended {
                if let Some(pace) = pace.filter(|_| !results.is_empty() && is_action(&step.value)) {
                    // The one place where time passes for its own sake: people watch.
                    tokio::time::sleep(pace).await;
                }
                tokio::select! {
                    () = watcher.before(&result) => {}
                    never = self.schedule.run(self.world) => match never {},
                }
                let started = Instant::now();
                let done = tokio::select! {
                    done = self.step(&step.value) => done,
                    never = self.schedule.run(self.world) => match never {},
                };
                result.messages = self.messages_of(&step.value);
                result.outcome = match done {
                    Ok(()) => StepOutcome::Passed,
                    Err(setback) => {
                        ended = setback.is_end;
                        // Of a block those of the step within that went wrong.
                        result.messages = setback.messages;
                        setback.trouble.into()
                    }
                };
                result.took_us = elapsed_us(started);
            }
            watcher.after(&result);
            results.push(result);
        }
        self.all_read_on();
        results
    }

    /// One step, or a block of them.
    fn step<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<(), Setback>> {
        Box::pin(async move {
            match step {
                Step::Parallel(branches) => self.side_by_side(&branches.value).await,
                Step::Repeat(repeat) => self.repeat(repeat).await,
                step => self.single(step).await.map_err(|trouble| {
                    let is_end = is_action(step) || matches!(trouble, Trouble::Inconclusive(_));
                    Setback { trouble, is_end, messages: self.messages_of(step) }
                }),
            }
        })
    }

    /// Steps in turn, as within a block. Gives the first thing that went wrong; one that later steps rest on ends it.
    async fn in_turn(&self, steps: &[At<Step>]) -> Result<(), Setback> {
        let mut first: Option<Setback> = None;
        for step in steps {
            let Err(setback) = self.step(&step.value).await else { continue };
            let is_end = setback.is_end;
            first.get_or_insert_with(|| setback.within(self.scenario, step)).is_end |= is_end;
            if is_end {
                break;
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn side_by_side(&self, branches: &[Vec<At<Step>>]) -> Result<(), Setback> {
        let branches: Vec<_> = branches.iter().map(|steps| self.in_turn(steps)).collect();
        let outcomes = join_all(branches).await;
        let mut setbacks = outcomes.into_iter().filter_map(Result::err);
        let Some(mut first) = setbacks.next() else { return Ok(()) };
        first.is_end |= setbacks.any(|setback| setback.is_end);
        Err(first)
    }

    async fn repeat(&self, repeat: &Repeat) -> Result<(), Setback> {
        for (index, steps) in repeat.rounds().enumerate() {
            if let Err(setback) = self.in_turn(steps).await {
                let trouble = setback.trouble.at(&format!("round {}", index + 1));
                return Err(Setback { trouble, ..setback });
            }
        }
        Ok(())
    }

    /// A step that is no block.
    async fn single(&self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Create(create) => self.create(create).await,
            Step::Send(send) => self.send(send).await,
            Step::Retry(retry) => self.retry(retry).await,
            Step::Edit(edit) => self.edit(edit).await,
            Step::Delete(delete) => self.delete(delete).await,
            Step::React(react) => self.react(react).await,
            Step::Unreact(react) => self.unreact(react).await,
            Step::Forward(forward) => self.forward(forward).await,
            Step::AddParticipant(add) => self.add_participant(add).await,
            Step::RemoveParticipant(remove) => self.remove_participant(remove).await,
            Step::Leave(leave) => self.leave(leave).await,
            Step::Mute(mute) => self.mute(mute).await,
            Step::Unmute(unmute) => self.unmute(unmute).await,
            Step::Archive(archive) => self.archive(archive).await,
            Step::Unarchive(unarchive) => self.unarchive(unarchive).await,
            Step::Upload(upload) => self.upload(upload).await,
            Step::Wait(wait) => self.wait(wait).await,
            Step::ExpectAck(expect) => self.expect_ack(expect).await,
            Step::ExpectView(expect) => self.expect_view(expect).await,
            Step::ExpectMessage(expect) => self.expect_message(expect).await,
            Step::ExpectHistory(expect) => self.expect_history(expect).await,
            Step::ExpectConversation(expect) => self.expect_conversation(expect).await,
            Step::ExpectConversations(expect) => self.expect_conversations(expect).await,
            Step::ExpectSearch(expect) => self.expect_search(expect).await,
            Step::ExpectStored(expect) => self.expect_stored(expect).await,
            Step::ExpectCached(expect) => self.expect_cached(expect).await,
            Step::ExpectLog(expect) => self.expect_log(expect).await,
            Step::ExpectDeadLetters(expect) => self.expect_dead_letters(expect).await,
            Step::ExpectBreaker(expect) => self.expect_breaker(expect).await,
            Step::Connect(connect) => self.connect(connect).await,
            Step::ReadSlowly(slow) => self.read_slowly(slow),
            Step::ReadOn(user) => self.read_on(user),
            Step::Flood(flood) => self.flood(flood).await,
            Step::Request(request) => self.raw_request(request).await,
            Step::Frame(frame) => self.frame(frame).await,
            Step::Drop(user) => self.world.drop_connection(user).await.map_err(|error| inconclusive(&error)),
            Step::Reconnect(user) => self
                .world
                .reconnect(user)
                .await
                .map_err(|error| Trouble::failed(format!("{} to come back", user.as_str()), error.to_string())),
            Step::Fault(fault) => {
                match self.schedule.set(self.world, fault.target.0, fault.fault(), fault.lasts()).await {
                    Ok(()) => Ok(()),
                    Err(error) => Err(inconclusive(&error)),
                }
            }
            Step::Heal(healed) => {
                let done = self.schedule.heal(self.world, healed.value.0).await;
                done.map_err(|error| Trouble::failed("everything to answer again", error.to_string()))
            }
            Step::Advance(by) => {
                self.world.advance_clock(u64::try_from(by.0.as_millis()).unwrap_or(u64::MAX));
                Ok(())
            }
            Step::Mark(text) => {
                self.world.mark(text.as_str());
                Ok(())
            }
            Step::Parallel(_) | Step::Repeat(_) => Err(inconclusive(&"a block is no single step")),
            Step::For(_) | Step::Include(_) => Err(inconclusive(&"reading should have written this step out")),
        }
    }

    /// The messages a step speaks of, as far as they were sent.
    fn messages_of(&self, step: &Step) -> Vec<MessageId> {
        let listed = |exactly: &Option<Vec<At<Name>>>, contains: &Option<Vec<At<Name>>>| {
            exactly.iter().chain(contains).flatten().map(|name| name.to_string()).collect()
        };
        let of: Vec<String> = match step {
            Step::Send(send) => send.id.iter().map(|name| name.to_string()).collect(),
            Step::Retry(retry) => vec![retry.message.to_string()],
            Step::Edit(edit) => vec![edit.message.to_string()],
            Step::Delete(delete) => vec![delete.message.to_string()],
            Step::React(react) | Step::Unreact(react) => vec![react.message.to_string()],
            Step::Forward(forward) => forward.messages.iter().map(|name| name.to_string()).collect(),
            Step::ExpectSearch(expect) => listed(&expect.exactly, &expect.contains),
            Step::ExpectLog(expect) => expect.message.iter().map(|name| name.to_string()).collect(),
            Step::Request(request) => {
                let ids = ids_in(&request.payload.0).into_iter();
                ids.filter(|(kind, _)| kind == "message").map(|(_, name)| name).collect()
            }
            Step::Wait(wait) => wait.message.iter().map(|name| name.to_string()).collect(),
            Step::ExpectAck(expect) => vec![expect.message.to_string()],
            Step::ExpectView(expect) => listed(&expect.exactly, &expect.contains),
            Step::ExpectHistory(expect) => listed(&expect.exactly, &expect.contains),
            Step::ExpectMessage(expect) => vec![expect.message.to_string()],
            Step::ExpectStored(expect) => vec![expect.message.to_string()],
            _ => Vec::new(),
        };
        let names = self.names.lock();
        of.iter().filter_map(|name| names.messages.get(name)).map(|named| named.at.message_id).collect()
    }

    // ---- names ------------------------------------------------------------------------------------------

    /// A user or a device, and the number of the first event of this run.
    fn user(&self, user: &At<User>) -> Result<(Arc<SimulatedUser>, usize), Trouble> {
        let found = self.users.get(&user.value.0).cloned();
        let found = found.or_else(|| self.devices.lock().get(&user.value.0).cloned());
        found.ok_or_else(|| inconclusive(&format!("there is no user {}", user.as_str())))
    }

    fn conversation(&self, name: &Name) -> Result<ConversationId, Trouble> {
        let found = self.names.lock().conversations.get(name.as_str()).copied();
        found.ok_or_else(|| inconclusive(&format!("there is no conversation {}", name.as_str())))
    }

    fn message(&self, name: &Name) -> Result<NamedMessage, Trouble> {
        let found = self.names.lock().messages.get(name.as_str()).cloned();
        found.ok_or_else(|| inconclusive(&format!("there is no message {}", name.as_str())))
    }

    /// A message with a send of its own.
    fn sent(&self, name: &Name) -> Result<SentMessage, Trouble> {
        let sent = self.message(name)?.sent;
        sent.ok_or_else(|| inconclusive(&format!("{} was never sent", name.as_str())))
    }

    fn media(&self, list: &[At<Name>]) -> Result<Vec<MediaId>, Trouble> {
        let names = self.names.lock();
        let found = list.iter().map(|name| {
            let found = names.media.get(name.as_str()).copied();
            found.ok_or_else(|| inconclusive(&format!("there is no upload {}", name.as_str())))
        });
        found.collect()
    }

    fn names_of(&self, ids: &[MessageId]) -> String {
        if ids.is_empty() {
            return "nothing".to_owned();
        }
        let names = self.names.lock();
        let name_of = |id: &MessageId| {
            let known = names.messages.iter().find(|(_, named)| named.at.message_id == *id);
            known.map_or_else(|| format!("({id})"), |(name, _)| name.clone())
        };
        ids.iter().map(name_of).collect::<Vec<_>>().join(", ")
    }
}

/// Asks again and again, until a limit is over.
struct Asking {
    poll: tokio::time::Interval,
    deadline: Instant,
}

impl Asking {
    fn within(limit: Duration) -> Self {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { poll, deadline: Instant::now() + limit }
    }

    /// The pace of asking, not a wait: what ends the asking is what is found, or the limit.
    async fn again(&mut self) {
        self.poll.tick().await;
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

fn limit_of(within: Option<&At<Period>>) -> Duration {
    within.map_or(LIMIT, |within| within.0)
}

/// Whether a step does something, so that later steps rest on it.
fn is_action(step: &Step) -> bool {
    match step {
        Step::Create(_)
        | Step::Send(_)
        | Step::Retry(_)
        | Step::Edit(_)
        | Step::Delete(_)
        | Step::React(_)
        | Step::Unreact(_)
        | Step::Forward(_)
        | Step::AddParticipant(_)
        | Step::RemoveParticipant(_)
        | Step::Leave(_)
        | Step::Mute(_)
        | Step::Unmute(_)
        | Step::Archive(_)
        | Step::Unarchive(_)
        | Step::Upload(_)
        | Step::Drop(_)
        | Step::Reconnect(_)
        | Step::Connect(_)
        | Step::ReadSlowly(_)
        | Step::ReadOn(_)
        | Step::Flood(_)
        | Step::Request(_)
        | Step::Frame(_)
        | Step::Advance(_)
        | Step::Fault(_)
        | Step::Heal(_)
        | Step::Parallel(_)
        | Step::Repeat(_)
        | Step::For(_)
        | Step::Include(_) => true,
        Step::Wait(_)
        | Step::ExpectAck(_)
        | Step::ExpectView(_)
        | Step::ExpectMessage(_)
        | Step::ExpectHistory(_)
        | Step::ExpectConversation(_)
        | Step::ExpectConversations(_)
        | Step::ExpectSearch(_)
        | Step::ExpectStored(_)
        | Step::ExpectCached(_)
        | Step::ExpectBreaker(_)
        | Step::ExpectLog(_)
        | Step::ExpectDeadLetters(_)
        | Step::Mark(_) => false,
    }
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
