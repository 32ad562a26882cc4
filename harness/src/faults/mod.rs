//! Faults on purpose (S3.3): set by hand, by a scenario or on a schedule, several at a time, seeded, and healed by one
//! reset that proves that everything answers again. What there is and where it is possible says
//! [`TABLE`](ackscope_protocol::faults::TABLE).
//!
//! | module | one sentence |
//! |---|---|
//! | `switch` | what is wrong with one dependency, and what that does to one request |
//! | `stores` | stores and a cache behind switches |
//! | `schedule` | faults that end by themselves after a time |
//! | `log` | an event log behind a switch, and consumers that crash, pause and read twice |
//!
//! Faults of MongoDB, Redis and Kafka are played at the backend's traits, so that they are the same on the embedded
//! backend and on real servers; only where a container is ours it is really paused, stopped and killed, and the way to it
//! really slow, narrow, cut or a hole. Media and search are HTTP servers with
//! switches of their own. What reads a run's stores to judge it never meets a fault.

mod log;
mod schedule;
mod stores;
mod switch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::clients::ClientError;
use ackscope_core::log::{LogError, NewRecord, Topic};
use ackscope_core::media::WhenMediaIsDown;
use ackscope_core::node::Backend;
use ackscope_protocol::faults::{Dependency, Fault, FaultKind, is_possible, kinds_on};
use ackscope_protocol::trace::Happening;
use ackscope_protocol::{ConversationId, MediaId};
use axum::body::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use uuid::Uuid;

use self::log::{FaultyLog, Members, Mishap};
pub(crate) use self::schedule::Schedule;
use self::stores::{FaultyCache, FaultyStore};
use self::switch::Switch;
use crate::environment::containers::{Containers, ContainersError, Server};
use crate::environment::network::Link;
use crate::recorder::Recorder;
use crate::services::{ServiceFault, SimulatedServices};

/// How long everything may take to answer after a reset.
pub const RESET_LIMIT: Duration = Duration::from_mins(1);
/// Pause between two questions whether it answers.
const PROOF_PAUSE: Duration = Duration::from_millis(50);
/// How long one such question may take.
const PROOF_LIMIT: Duration = Duration::from_secs(5);
/// How long a member that only comes to be in the way waits for its share.
const SHARE_LIMIT: Duration = Duration::from_secs(15);
/// How often it looks.
const SHARE_POLL: Duration = Duration::from_millis(50);

/// Why a fault was not set, or not healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// It is not one of this dependency's.
    #[error("{on} cannot have the fault {kind}; it can have {}", list(*on))]
    NotOn {
        /// The dependency.
        on: Dependency,
        /// The fault.
        kind: FaultKind,
    },
    /// Its figures are wrong.
    #[error("{0}")]
    Figures(String),
    /// The engine refused.
    #[error(transparent)]
    Containers(#[from] ContainersError),
    /// The log would not take part.
    #[error("{0}")]
    Log(#[from] LogError),
    /// What was to be published was not.
    #[error("a poison record was not published: {0}")]
    Poison(String),
    /// It was healed and does not answer.
    #[error("{on} does not answer within {} s after it was healed: {why}", RESET_LIMIT.as_secs())]
    NotHealed {
        /// Which one.
        on: Dependency,
        /// What it said last.
        why: String,
    },
}

impl FaultError {
    /// Whether the request was wrong, rather than the environment.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NotOn { .. } | Self::Figures(_))
    }
}

fn list(on: Dependency) -> String {
    let kinds: Vec<&str> = kinds_on(on).map(FaultKind::as_str).collect();
    kinds.join(", ")
}

/// One dependency that answers again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healed {
    /// Which one.
    pub on: Dependency,
    /// Since it was healed.
    pub after: Duration,
}

/// Every fault of a run. What it keeps of the run's parts is let go with it.
pub struct Faults {
    recorder: Recorder,
    services: Arc<SimulatedServices>,
    /// What nothing stands before.
    raw: Backend,
    /// What the node runs on.
    faulty: Backend,
    mongodb: Switch,
    redis: Switch,
    kafka: Switch,
    members: Members,
    active: Mutex<BTreeMap<Dependency, Fault>>,
    /// Faults are set one after the other.
    order: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("active", &self.active()).finish_non_exhaustive()
    }
}

impl Faults {
    /// Stands before a backend; nothing is wrong yet. What is drawn follows from the seed.
    pub fn new(raw: Backend, services: Arc<SimulatedServices>, recorder: Recorder, seed: u64) -> Self {
        // Each with a seed of its own, so that two with the same fault do not fail in step.
        let [mongodb, redis, kafka] = [1, 2, 3].map(|number| Switch::new(seed.wrapping_mul(31).wrapping_add(number)));
        let members = Members::new();
        let log = FaultyLog { log: Arc::clone(&raw.log), switch: kafka.clone(), members: members.clone() };
        let faulty = Backend {
            log: Arc::new(log),
            conversations: Arc::new(FaultyStore { store: Arc::clone(&raw.conversations), switch: mongodb.clone() }),
            participants: Arc::new(FaultyStore { store: Arc::clone(&raw.participants), switch: mongodb.clone() }),
            messages: Arc::new(FaultyStore { store: Arc::clone(&raw.messages), switch: mongodb.clone() }),
            cache: Arc::new(FaultyCache { cache: Arc::clone(&raw.cache), switch: redis.clone() }),
        };
        Self {
            recorder,
            services,
            raw,
            faulty,
            mongodb,
            redis,
            kafka,
            members,
            active: Mutex::default(),
            order: tokio::sync::Mutex::default(),
        }
    }

    /// The backend with the faults before it, for the node.
    pub fn backend(&self) -> Backend {
        self.faulty.clone()
    }

    /// What is wrong at the moment.
    pub fn active(&self) -> Vec<(Dependency, Fault)> {
        self.active.lock().iter().map(|(on, fault)| (*on, *fault)).collect()
    }

    /// Sets a fault in place of the one the dependency has. A fault that happens once has happened, or is going to
    /// when the next records come, when this returns.
    pub fn set<'a>(
        &'a self,
        on: Dependency,
        fault: Fault,
        containers: Option<&'a Containers>,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let kind = fault.kind();
            if !is_possible(on, kind) {
                return Err(FaultError::NotOn { on, kind });
            }
            fault.check().map_err(FaultError::Figures)?;
            if kind.is_once() {
                // Without the order, since it may wait for another fault to be healed.
                self.record(on, fault, true);
                let done = self.once(fault).await;
                self.record(on, fault, false);
                return done;
            }
            let _order = self.order.lock().await;
            self.heal_one(on, containers).await?;
            // From here on, though it may take seconds until a server has stopped: it refuses from the first one on.
            self.record(on, fault, true);
            if let Err(error) = self.begin(on, fault, containers).await {
                self.record(on, fault, false);
                return Err(error);
            }
            self.active.lock().insert(on, fault);
            Ok(())
        })
    }

    async fn begin(&self, on: Dependency, fault: Fault, containers: Option<&Containers>) -> Result<(), FaultError> {
        match (on, fault) {
            (Dependency::Consumers, _) => self.members.pause(true),
            // Where there is no container of ours it is played before the server.
            (_, Fault::Pause | Fault::Stop | Fault::Kill) => match (server_of(on), containers) {
                (Some(server), Some(containers)) => match fault {
                    Fault::Pause => containers.pause(server).await?,
                    Fault::Stop => containers.stop(server).await?,
                    _ => containers.kill(server).await?,
                },
                _ => self.switch(on, Some(fault)),
            },
            (_, fault) if Link::can_have(fault) => match link_of(on, containers) {
                Some(link) => link.set(Some(fault)),
                None => self.switch(on, Some(fault)),
            },
            _ => self.switch(on, Some(fault)),
        }
        Ok(())
    }

    /// Ends the fault of a dependency, if it has one.
    pub fn heal<'a>(
        &'a self,
        on: Dependency,
        containers: Option<&'a Containers>,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let _order = self.order.lock().await;
            self.heal_one(on, containers).await
        })
    }

    /// Ends every fault, and waits until everything has answered a real request.
    pub fn reset<'a>(&'a self, containers: Option<&'a Containers>) -> BoxFuture<'a, Result<Vec<Healed>, FaultError>> {
        Box::pin(async move {
            let _order = self.order.lock().await;
            let started = Instant::now();
            self.members.forget();
            for on in Dependency::ALL {
                self.heal_one(on, containers).await?;
            }
            let mut healed = Vec::new();
            for on in Dependency::ALL {
                self.until_it_answers(on, started).await?;
                healed.push(Healed { on, after: started.elapsed() });
            }
            Ok(healed)
        })
    }

    async fn heal_one(&self, on: Dependency, containers: Option<&Containers>) -> Result<(), FaultError> {
        let Some(fault) = self.active.lock().get(&on).copied() else { return Ok(()) };
        match (on, fault) {
            (Dependency::Consumers, _) => self.members.pause(false),
            (_, Fault::Pause | Fault::Stop | Fault::Kill) => match (server_of(on), containers) {
                (Some(server), Some(containers)) => match fault {
                    Fault::Pause => containers.unpause(server).await?,
                    _ => containers.start_again(server).await?,
                },
                _ => self.switch(on, None),
            },
            (_, fault) if Link::can_have(fault) => match link_of(on, containers) {
                Some(link) => link.set(None),
                None => self.switch(on, None),
            },
            _ => self.switch(on, None),
        }
        self.active.lock().remove(&on);
        self.record(on, fault, false);
        Ok(())
    }

    fn switch(&self, on: Dependency, fault: Option<Fault>) {
        match on {
            Dependency::Media => self.services.media.set_fault(fault.and_then(service_fault)),
            Dependency::Search => self.services.search.set_fault(fault.and_then(service_fault)),
            Dependency::Mongodb => self.mongodb.set(fault),
            Dependency::Redis => self.redis.set(fault),
            Dependency::Kafka => self.kafka.set(fault),
            Dependency::Consumers => {}
        }
    }

    fn record(&self, on: Dependency, fault: Fault, active: bool) {
        let (target, kind) = (on.as_str().to_owned(), fault.to_string());
        self.recorder.record(Happening::Fault { target, kind, active });
    }

    async fn once(&self, fault: Fault) -> Result<(), FaultError> {
        match fault {
            Fault::CrashBeforeWrite => self.members.all_suffer(Mishap::CrashBeforeWrite),
            Fault::CrashAfterWrite => self.members.all_suffer(Mishap::CrashAfterWrite),
            Fault::Redeliver { count } => self.members.all_suffer(Mishap::Redeliver(count)),
            Fault::Poison { count } => self.poison(count).await?,
            Fault::Rebalance => {
                for (group, topics) in self.members.groups() {
                    self.rebalance(&group, &topics).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Records that nobody can read, each with another key.
    async fn poison(&self, count: u64) -> Result<(), FaultError> {
        const VALUES: [&[u8]; 4] = [b"", b"not an envelope", b"{\"version\":1,\"data\":", b"\xff\xfe\x00\x01"];
        for (number, value) in (0..count).zip(VALUES.into_iter().cycle()) {
            let record = NewRecord {
                topic: Topic::MessageSent,
                key: ConversationId::from_uuid(Uuid::from_u128(u128::from(number))).to_string(),
                headers: Vec::new(),
                value: Bytes::from_static(value),
            };
            let published = when_it_answers(|| self.raw.log.publish(record.clone())).await;
            published.map_err(|error| FaultError::Poison(error.to_string()))?;
        }
        Ok(())
    }

    /// A member comes, waits for its share and goes.
    async fn rebalance(&self, group: &str, topics: &[Topic]) -> Result<(), FaultError> {
        let mut member = when_it_answers(|| self.raw.log.subscribe(group, topics)).await?;
        let deadline = Instant::now() + SHARE_LIMIT;
        while member.assignment().is_empty() && Instant::now() < deadline {
            // What it polls it does not commit, so it comes again to whoever has the partition next.
            if let Err(error) = member.poll(1, SHARE_POLL).await {
                // It came, which is what the others notice; how it goes does not matter.
                tracing::debug!(%error, group, "the member that came to rebalance goes early");
                break;
            }
        }
        Ok(())
    }

    async fn until_it_answers(&self, on: Dependency, since: Instant) -> Result<(), FaultError> {
        loop {
            let answered = tokio::time::timeout(PROOF_LIMIT, self.answers(on)).await;
            let why = match answered {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(_) => "no answer".to_owned(),
            };
            if since.elapsed() >= RESET_LIMIT {
                return Err(FaultError::NotHealed { on, why });
            }
            tokio::time::sleep(PROOF_PAUSE).await;
        }
    }

    /// One real request, the way the node asks.
    async fn answers(&self, on: Dependency) -> Result<(), String> {
        let nobody = ConversationId::from_uuid(Uuid::nil());
        match on {
            Dependency::Mongodb => {
                self.faulty.conversations.find(nobody).await.map(drop).map_err(|error| error.to_string())
            }
            Dependency::Redis => self.faulty.cache.get(nobody).await.map(drop).map_err(|error| error.to_string()),
            Dependency::Kafka => self.faulty.log.ready().await.map_err(|error| error.to_string()),
            Dependency::Consumers => {
                if self.members.is_paused() {
                    return Err("the consumers are paused".to_owned());
                }
                Ok(())
            }
            Dependency::Media => {
                let clients = self.services.clients(WhenMediaIsDown::default()).map_err(|error| error.to_string())?;
                understood(clients.media.owner(MediaId::from_uuid(Uuid::nil())).await)
            }
            Dependency::Search => {
                let clients = self.services.clients(WhenMediaIsDown::default()).map_err(|error| error.to_string())?;
                understood(clients.search.query("nothing", &[nobody], 1, 0).await)
            }
        }
    }
}

/// Whether a service answered, be it with a refusal.
fn understood<T>(answer: Result<T, ClientError>) -> Result<(), String> {
    match answer {
        Ok(_) | Err(ClientError::Refused { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn server_of(on: Dependency) -> Option<Server> {
    match on {
        Dependency::Mongodb => Some(Server::Mongodb),
        Dependency::Redis => Some(Server::Redis),
        Dependency::Kafka => Some(Server::Kafka),
        Dependency::Media | Dependency::Search | Dependency::Consumers => None,
    }
}

fn link_of(on: Dependency, containers: Option<&Containers>) -> Option<&Link> {
    containers?.link(server_of(on)?)
}

/// Real servers may be stopped or on their way back by another fault at the moment; what is to be done to them waits
/// for that, for as long as a reset may take.
async fn when_it_answers<T, E, F: Future<Output = Result<T, E>>>(mut what: impl FnMut() -> F) -> Result<T, E> {
    let since = Instant::now();
    loop {
        match what().await {
            Err(_) if since.elapsed() < RESET_LIMIT => tokio::time::sleep(PROOF_PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// The same fault in the words of a simulated service.
fn service_fault(fault: Fault) -> Option<ServiceFault> {
    match fault {
        Fault::Outage => Some(ServiceFault::Outage),
        Fault::Latency { delay_ms, jitter_ms } => Some(ServiceFault::Latency {
            delay: Duration::from_millis(delay_ms),
            jitter: Duration::from_millis(jitter_ms),
        }),
        Fault::Errors { share } => Some(ServiceFault::ErrorShare { share, status: 500 }),
        Fault::FailThenWork { count } => Some(ServiceFault::FailThenWork { count }),
        Fault::Hang => Some(ServiceFault::Hang),
        Fault::Malformed => Some(ServiceFault::Garbage),
        Fault::Cut => Some(ServiceFault::CutHalfway),
        _ => None,
    }
}
