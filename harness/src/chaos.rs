//! Random traffic under random faults, and the audit after it: `ackscope chaos`.
//!
//! What is done to whom and when follows from the seed; what comes of it depends on the machine as well, so a seed
//! that showed a finding shows the same kind of finding again, not the same microseconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackscope_core::log::Topic;
use ackscope_protocol::faults::{Dependency, Fault, FaultKind, TABLE};
use ackscope_protocol::text::{Emoji, MessageText};
use ackscope_protocol::wire::{
    ConversationKind, CreateConversation, DeleteMessage, DeleteMode, EditMessage, React, SendMessage,
};
use ackscope_protocol::{ConversationId, MessageId, UserId};
use fastrand::Rng;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;

use crate::audit::{Audit, Finding, FindingKind};
use crate::cost::{Cost, TimerWatch, us};
use crate::environment::EnvironmentOptions;
use crate::faults::Schedule;
use crate::judge::judge;
use crate::ledger::Ledger;
use crate::recording::RecordOptions;
use crate::scenario::outcome::{RunReport, message_outcomes};
use crate::users::SimulatedUser;
use crate::world::{World, WorldError, WorldOptions};

/// Groups of a run.
const GROUPS: usize = 4;
/// Direct conversations of a run.
const DIRECTS: usize = 3;
/// Pause between two actions of a user, in milliseconds.
const ACTION_PAUSE_MS: std::ops::Range<u64> = 20..160;
/// Pause between two faults, in milliseconds.
const FAULT_PAUSE_MS: std::ops::Range<u64> = 40..350;
/// How long a fault lasts, in milliseconds.
const FAULT_LASTS_MS: std::ops::Range<u64> = 50..1_200;
/// How long a user without a connection waits before the next attempt, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 20..400;
/// Earlier messages of its own that a user still changes or sends again.
const REMEMBERED: usize = 16;
/// How long everything may take to come to rest at the end.
const REST_LIMIT: Duration = Duration::from_secs(90);
/// How long a user may take to come back at the end.
const RETURN_LIMIT: Duration = Duration::from_secs(30);

/// How a run of chaos goes.
#[derive(Clone)]
pub struct ChaosOptions {
    /// Everything that is drawn follows from it.
    pub seed: u64,
    /// Users.
    pub users: usize,
    /// How long they are busy.
    pub duration: Duration,
    /// What it runs on.
    pub environment: EnvironmentOptions,
    /// The file the run is recorded to while it goes, if it is.
    pub record: Option<RecordOptions>,
}

/// What came of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChaosReport {
    /// The seed that shows the same again.
    pub seed: u64,
    /// Faults that were set, by `dependency kind`.
    pub faults: BTreeMap<String, u64>,
    /// What users did, by what it was.
    pub actions: BTreeMap<&'static str, u64>,
    /// Messages as their senders were told: the last state, or the reason of a refusal.
    pub outcomes: BTreeMap<String, u64>,
    /// The audit.
    pub audit: Audit,
    /// What faults did, a row for each dependency and kind.
    pub ledger: Ledger,
    /// What the run cost itself.
    pub cost: Cost,
    /// Wall time in milliseconds.
    pub took_ms: u64,
    /// The run as reports and recordings want it.
    #[serde(skip)]
    pub run: Option<RunReport>,
}

impl ChaosReport {
    /// Faults that were set.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// No promise was broken, neither in the audit nor, where that fails a run, in the ledger.
    pub fn is_clean(&self) -> bool {
        self.audit.is_clean() && !self.ledger.fails_run()
    }

    /// Sends, retries among them.
    pub fn sends(&self) -> u64 {
        ["send", "retry"].iter().filter_map(|action| self.actions.get(action)).sum()
    }
}

/// Plays one run in a world of its own.
pub fn run(options: ChaosOptions) -> BoxFuture<'static, Result<ChaosReport, WorldError>> {
    Box::pin(async move {
        let started = Instant::now();
        let world = World::start(WorldOptions {
            environment: options.environment.clone(),
            seed: options.seed,
            record: options.record.clone(),
            ..WorldOptions::default()
        })
        .await?;
        let world = Arc::new(world);
        let played = play(&world, &options).await;
        world.shutdown().await;
        let mut report = played?;
        report.took_ms = us(started.elapsed()) / 1_000;
        Ok(report)
    })
}

async fn play(world: &Arc<World>, options: &ChaosOptions) -> Result<ChaosReport, WorldError> {
    let mut rng = Rng::with_seed(options.seed);
    let watch = TimerWatch::begin();
    let mut report = ChaosReport { seed: options.seed, ..ChaosReport::default() };
    report.cost.start = world.start_cost();
    let connecting = Instant::now();
    let users = connect(world, options.users).await?;
    report.cost.users_us = us(connecting.elapsed());
    let playing = Instant::now();
    let conversations = converse(&users, &mut rng).await?;
    let deadline = Instant::now() + options.duration;
    let busy: Vec<_> = users
        .iter()
        .map(|user| {
            let mine = conversations.iter().filter(|it| it.members.contains(user.user_id())).map(|it| it.id);
            let actor = Actor {
                world: Arc::clone(world),
                user: Arc::clone(user),
                conversations: mine.collect(),
                rng: rng.fork(),
                mine: Vec::new(),
                actions: BTreeMap::new(),
                number: 0,
            };
            tokio::spawn(actor.act_until(deadline))
        })
        .collect();
    let poisoned = AtomicU64::new(0);
    report.faults = break_things(world, rng.fork(), deadline, &poisoned).await?;
    for actions in join_all(busy).await.into_iter().flatten() {
        for (action, count) in actions {
            *report.actions.entry(action).or_default() += count;
        }
    }
    report.cost.steps_us = us(playing.elapsed());
    let healing = Instant::now();
    world.reset_faults().await?;
    report.cost.heal_us = us(healing.elapsed());
    let resting = Instant::now();
    join_all(users.iter().map(|user| come_back(world, user))).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let still = match world.quiesce(REST_LIMIT).await {
        Ok(()) => None,
        Err(WorldError::NotQuiet { still, .. }) => Some(still),
        Err(error) => return Err(error),
    };
    report.cost.rest_us = us(resting.elapsed());
    report.cost.timers_late = watch.end().await;
    conclude(world, &mut report, still, poisoned.into_inner()).await?;
    Ok(report)
}

async fn connect(world: &Arc<World>, count: usize) -> Result<Vec<Arc<SimulatedUser>>, WorldError> {
    let mut users = Vec::with_capacity(count);
    for number in 1..=count {
        let name = format!("user-{number:02}");
        let Ok(id) = name.parse::<UserId>() else { return Err(WorldError::TooManyUsers) };
        users.push(world.add_user(&id).await?);
    }
    Ok(users)
}

struct Talk {
    id: ConversationId,
    members: Vec<UserId>,
}

/// Groups and direct conversations of people who are drawn, made before anything breaks.
async fn converse(users: &[Arc<SimulatedUser>], rng: &mut Rng) -> Result<Vec<Talk>, WorldError> {
    let mut talks = Vec::new();
    for index in 0..GROUPS + DIRECTS {
        let (kind, size) = if index < GROUPS {
            (ConversationKind::Group, rng.usize(3..=users.len().clamp(3, 10)))
        } else {
            (ConversationKind::Direct, 2)
        };
        let members: Vec<UserId> =
            rng.choose_multiple(users.iter(), size).into_iter().map(|user| user.user_id().clone()).collect();
        let Some((creator, others)) = members.split_first() else { continue };
        let Some(creator) = users.iter().find(|user| user.user_id() == creator) else { continue };
        let request = CreateConversation { kind, participants: others.to_vec(), title: None };
        // The same two may be drawn twice, and have one conversation.
        if let Ok(answer) = creator.request(&request).await? {
            talks.push(Talk { id: answer.conversation.conversation_id, members });
        }
    }
    Ok(talks)
}

/// A user who does one thing after the other.
struct Actor {
    world: Arc<World>,
    user: Arc<SimulatedUser>,
    conversations: Vec<ConversationId>,
    rng: Rng,
    /// The latest of its own messages.
    mine: Vec<(SendMessage, MessageId)>,
    actions: BTreeMap<&'static str, u64>,
    number: u64,
}

impl Actor {
    async fn act_until(mut self, deadline: Instant) -> BTreeMap<&'static str, u64> {
        if self.conversations.is_empty() {
            return self.actions;
        }
        while Instant::now() < deadline {
            // People pause; what they do next is not waited for.
            tokio::time::sleep(Duration::from_millis(self.rng.u64(ACTION_PAUSE_MS))).await;
            let action = self.act().await;
            *self.actions.entry(action).or_default() += 1;
        }
        self.actions
    }

    /// Does something; what it was. That the service refuses or the connection breaks is part of the game: the audit
    /// knows what must have come of it.
    async fn act(&mut self) -> &'static str {
        if !self.user.is_connected() {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(AWAY_MS))).await;
            let (Ok(()) | Err(_)) = self.world.reconnect(self.user.user_id()).await;
            return "reconnect";
        }
        match self.rng.u32(0..100) {
            0..66 => {
                self.send().await;
                "send"
            }
            66..76 => {
                let Some((message, _)) = self.rng.choice(&self.mine).cloned() else { return "pause" };
                let (Ok(_) | Err(_)) = self.user.send(message).await;
                "retry"
            }
            76..84 => {
                let Some((message, message_id)) = self.rng.choice(&self.mine).cloned() else { return "pause" };
                let Ok(text) = MessageText::new(format!("edited {}", self.rng.u32(..))) else { return "pause" };
                let request = EditMessage { conversation_id: message.conversation_id, message_id, text };
                let (Ok(_) | Err(_)) = self.user.request(&request).await;
                "edit"
            }
            84..88 => {
                let Some((message, message_id)) = self.rng.choice(&self.mine).cloned() else { return "pause" };
                let mode = if self.rng.bool() { DeleteMode::Soft } else { DeleteMode::ForMe };
                let request = DeleteMessage { conversation_id: message.conversation_id, message_id, mode };
                let (Ok(_) | Err(_)) = self.user.request(&request).await;
                self.mine.retain(|(_, id)| *id != message_id);
                "delete"
            }
            88..94 => {
                let conversation_id = self.conversations[self.rng.usize(..self.conversations.len())];
                let seen = self.user.messages(conversation_id);
                let (Some(message), Ok(emoji)) = (self.rng.choice(&seen), Emoji::new("👍")) else { return "pause" };
                let request = React { conversation_id, message_id: message.message_id, emoji };
                let (Ok(_) | Err(_)) = self.user.request(&request).await;
                "react"
            }
            _ => {
                self.user.drop_connection().await;
                "drop"
            }
        }
    }

    async fn send(&mut self) {
        self.number += 1;
        let text = format!("{} #{}", self.user.user_id(), self.number);
        let temp_id = format!("{}-{}", self.user.user_id(), self.number);
        let (Ok(temp_id), Ok(text)) = (temp_id.parse(), MessageText::new(text)) else { return };
        let conversation_id = self.conversations[self.rng.usize(..self.conversations.len())];
        let message = SendMessage { conversation_id, temp_id, text: Some(text), media: Vec::new(), reply_to: None };
        if let Ok(sent) = self.user.send(message.clone()).await {
            if self.mine.len() == REMEMBERED {
                self.mine.remove(0);
            }
            self.mine.push((message, sent.message_id));
        }
    }
}

/// Sets faults that are drawn and ends them when their time has come; several are there at a time.
async fn break_things(
    world: &World,
    mut rng: Rng,
    deadline: Instant,
    poisoned: &AtomicU64,
) -> Result<BTreeMap<String, u64>, WorldError> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let schedule = Schedule::default();
    let breaking = async {
        let mut next = Instant::now();
        while next < deadline {
            tokio::time::sleep_until(next.into()).await;
            let (on, fault) = draw(&mut rng);
            let lasts = Duration::from_millis(rng.u64(FAULT_LASTS_MS));
            next = Instant::now() + Duration::from_millis(rng.u64(FAULT_PAUSE_MS));
            if let Fault::Poison { count } = fault {
                poisoned.fetch_add(count, Ordering::Relaxed);
            }
            schedule.set(world, on, fault, Some(lasts)).await?;
            *counts.entry(format!("{on} {}", fault.kind())).or_default() += 1;
        }
        Ok(())
    };
    let broken: Result<(), WorldError> = tokio::select! {
        broken = breaking => broken,
        never = schedule.run(world) => match never {},
    };
    broken?;
    match schedule.failure() {
        Some((_, error)) => Err(error),
        None => Ok(counts),
    }
}

/// One of the table, with figures.
fn draw(rng: &mut Rng) -> (Dependency, Fault) {
    let row = &TABLE[rng.usize(..TABLE.len())];
    let on = row.on[rng.usize(..row.on.len())];
    let fault = match row.kind {
        FaultKind::Latency => Fault::Latency { delay_ms: rng.u64(1..150), jitter_ms: rng.u64(0..100) },
        FaultKind::NetworkLatency => Fault::NetworkLatency { delay_ms: rng.u64(1..60), jitter_ms: rng.u64(0..40) },
        FaultKind::Bandwidth => Fault::Bandwidth { bytes_per_second: rng.u64(8_192..262_144) },
        FaultKind::Errors => Fault::Errors { share: rng.f64() },
        FaultKind::FailThenWork => Fault::FailThenWork { count: rng.u64(1..20) },
        FaultKind::Redeliver => Fault::Redeliver { count: rng.u64(1..50) },
        FaultKind::Poison => Fault::Poison { count: rng.u64(1..4) },
        kind => kind.usual(),
    };
    (on, fault)
}

/// Connects a user again who is away.
async fn come_back(world: &World, user: &SimulatedUser) -> Result<(), WorldError> {
    let deadline = Instant::now() + RETURN_LIMIT;
    while !user.is_connected() {
        match world.reconnect(user.user_id()).await {
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(AWAY_MS.start)).await,
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Judges the run, and looks at what the audit does not.
async fn conclude(
    world: &World,
    report: &mut ChaosReport,
    still: Option<String>,
    poisoned: u64,
) -> Result<(), WorldError> {
    let judged = judge(world).await;
    let history = judged.history;
    report.ledger = judged.ledger.by_fault();
    report.cost.audit_us = us(judged.took);
    report.cost.events_missed = history.missed;
    report.cost.memory_peak_bytes = Cost::memory_peak_bytes();
    report.audit = judged.audit.unwrap_or_else(|reason| {
        let mut audit = Audit::default();
        found(&mut audit, FindingKind::Lost, reason);
        audit
    });
    if let Some(still) = still {
        found(
            &mut report.audit,
            FindingKind::Late,
            format!("not at rest {} s after everything was healed: {still}", REST_LIMIT.as_secs()),
        );
    }
    let dead: u64 = world.backend()?.log.end(Topic::DeadLetter).await?.iter().map(|end| end.offset).sum();
    // A crash may write one twice, but nothing else may end there.
    if poisoned == 0 && dead > 0 {
        found(&mut report.audit, FindingKind::Lost, format!("{dead} records are dead letters and none was poison"));
    }
    if dead < poisoned {
        let sentence = format!("{poisoned} poison records were published, and only {dead} are dead letters");
        found(&mut report.audit, FindingKind::Lost, sentence);
    }
    report.outcomes = message_outcomes(&history);
    let run = RunReport {
        scenario: format!("Chaos {}", report.seed),
        file_name: format!("chaos --seed {} --runs 1", report.seed),
        backend: world.backend_kind(),
        backend_reason: world.environment().reason,
        seed: report.seed,
        steps: Vec::new(),
        latencies: judged.latencies,
        budgets: Vec::new(),
        audit: report.audit.clone(),
        ledger: report.ledger.clone(),
        cost: report.cost,
        environment_failed: None,
        took_us: history.end_us,
        events: judged.events,
    };
    if let Some(recording) = world.recording() {
        recording.report(&run);
    }
    report.run = Some(run);
    Ok(())
}

fn found(audit: &mut Audit, kind: FindingKind, sentence: String) {
    audit.broken += 1;
    audit.findings.push(Finding { kind, sentence, messages: Vec::new(), user: None });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        let faults = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..500).map(|_| draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(faults(1), faults(1));
        assert_ne!(faults(1), faults(2));
        for (on, fault) in faults(1) {
            assert!(ackscope_protocol::faults::is_possible(on, fault.kind()), "{on} {fault}");
            assert_eq!(fault.check(), Ok(()));
        }
        for row in TABLE {
            assert!(faults(1).iter().any(|(_, fault)| fault.kind() == row.kind), "{} is never drawn", row.kind);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_short_run_breaks_no_promise() {
        let options = ChaosOptions {
            seed: 1,
            users: 20,
            duration: Duration::from_secs(2),
            environment: EnvironmentOptions::embedded(),
            record: None,
        };
        let report = run(options).await.unwrap();
        assert!(report.audit.is_clean(), "{:#?}", report.audit.findings);
        let faults: u64 = report.ledger.rows.iter().map(|row| row.times).sum();
        assert_eq!(faults, report.fault_count(), "every fault is in the ledger");
        assert!(!report.ledger.fails_run(), "{:#?}", report.ledger);
        assert!(report.sends() > 100 && report.fault_count() > 3, "{report:?}");
        assert!(report.audit.promises.total() > report.sends());
        assert!(report.outcomes.get("persisted").is_some_and(|count| *count > 10), "{:?}", report.outcomes);
    }
}
