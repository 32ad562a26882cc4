//! What a scenario plays in and the control server shows: an environment, a node, a recorder and users by name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::clients::{BreakerState, ClientError};
use ackscope_core::clock::Clock;
use ackscope_core::limits::Limits;
use ackscope_core::log::LogError;
use ackscope_core::media::WhenMediaIsDown;
use ackscope_core::node::{Backend, Lags, Node, NodeOptions, Roles, StartError};
use ackscope_core::repositories::StoreError;
use ackscope_core::token::TokenKey;
use ackscope_protocol::control::{self, BackendKind};
use ackscope_protocol::faults::{Dependency, Fault};
use ackscope_protocol::trace::Happening;
use ackscope_protocol::{Timestamp, UserId};
use futures_util::future::{BoxFuture, join_all};
use parking_lot::RwLock;

use crate::audit::Stored;
use crate::cost::{self, StartCost};
use crate::environment::{Environment, EnvironmentError, EnvironmentOptions};
use crate::faults::{FaultError, Faults, Healed};
use crate::health::Sampler;
use crate::recorder::{EVENTS_MAX, PROBE_QUEUE, Recorder};
use crate::recording::{RecordOptions, RecordingFile, RecordingWriter, WriteError};
use crate::services::{ServiceError, SimulatedServices};
use crate::users::{ConnectOptions, SimulatedUser, UserError};

/// How long the tokens of simulated users hold, in business time.
const TOKEN_TTL: Duration = Duration::from_hours(365 * 24);
/// How often [`World::quiesce`] looks.
const QUIET_POLL: Duration = Duration::from_millis(10);
/// How many looks in a row must find nothing new.
const QUIET_ROUNDS: u32 = 3;
/// How long the end waits for the node to notice that the users have left; other clients may stay.
const GOODBYES_LIMIT: Duration = Duration::from_secs(1);
/// Most simulated users of one world; a load run has its own.
const USERS_MAX: usize = 1_000;

/// How a world is started.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// The backend.
    pub environment: EnvironmentOptions,
    /// Where the chat service listens; port 0 takes a free one.
    pub chat: SocketAddr,
    /// The key tokens are signed with; absent: one for this run.
    pub token_key: Option<TokenKey>,
    /// Limits of the socket service.
    pub limits: Limits,
    /// What happens to messages with media while the media service does not answer.
    pub unverified_media: WhenMediaIsDown,
    /// Events of the run that are kept.
    pub events_max: usize,
    /// What faults draw follows from it.
    pub seed: u64,
    /// The file the run is recorded to while it goes, if it is.
    pub record: Option<RecordOptions>,
    /// Whether figures of health are recorded once a second. Off anyway where containers are reached directly, which
    /// is how measurements are made.
    pub sample_health: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            environment: EnvironmentOptions::default(),
            chat: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token_key: None,
            limits: Limits::default(),
            unverified_media: WhenMediaIsDown::default(),
            events_max: EVENTS_MAX,
            seed: 0,
            record: None,
            sample_health: true,
        }
    }
}

/// Why a world could not start or do something.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// There is no backend.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The node did not start.
    #[error("the chat service could not start: {0}")]
    Node(#[from] StartError),
    /// The media or the search service did not start.
    #[error("the media and search services could not start: {0}")]
    Services(#[from] ServiceError),
    /// They cannot be asked.
    #[error("the media and search services cannot be asked: {0}")]
    Clients(#[from] ClientError),
    /// A user could not do it.
    #[error(transparent)]
    User(#[from] UserError),
    /// The event log does not say what is in it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] StoreError),
    /// There is no such user.
    #[error("there is no user `{0}`")]
    NoSuchUser(UserId),
    /// There is one already.
    #[error("there is a user `{0}` already")]
    UserExists(UserId),
    /// No more users.
    #[error("there are {USERS_MAX} users already, which is as many as one run takes")]
    TooManyUsers,
    /// The world has ended.
    #[error("the backend has been shut down")]
    Ended,
    /// The run cannot be recorded.
    #[error(transparent)]
    Recording(#[from] WriteError),
    /// A fault could not be set or healed.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// Something still moved when the limit was reached.
    #[error("not quiet after {} ms: {still}", waited.as_millis())]
    NotQuiet {
        /// How long it was waited for.
        waited: Duration,
        /// What still moved, one line.
        still: String,
    },
}

impl WorldError {
    /// Whether the request was wrong (exit code 2), rather than the environment (exit code 3).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Environment(error) => error.is_usage(),
            Self::Fault(error) => error.is_usage(),
            Self::Recording(_) => true,
            _ => false,
        }
    }
}

/// An environment, a node, a recorder and users by name.
pub struct World {
    recorder: Recorder,
    recording: Option<RecordingWriter>,
    clock: Clock,
    token_key: TokenKey,
    kind: BackendKind,
    reason: String,
    start_cost: StartCost,
    send_deadline: Duration,
    chat_url: String,
    backend: RwLock<Option<Backend>>,
    faults: RwLock<Option<Arc<Faults>>>,
    services: RwLock<Option<Arc<SimulatedServices>>>,
    users: RwLock<BTreeMap<UserId, Arc<SimulatedUser>>>,
    running: tokio::sync::RwLock<Option<Running>>,
}

/// What ends with the world.
struct Running {
    node: Node,
    environment: Environment,
    sampler: Option<Sampler>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("chat_url", &self.chat_url)
            .field("kind", &self.kind)
            .field("users", &self.users.read().len())
            .finish_non_exhaustive()
    }
}

impl World {
    /// Starts a backend and a node; there are no users yet.
    pub fn start(options: WorldOptions) -> BoxFuture<'static, Result<Self, WorldError>> {
        Box::pin(async move {
            let started = Instant::now();
            let send_deadline = options.limits.send_deadline;
            let clock = Clock::default();
            let recorder = Recorder::new(options.events_max);
            // A file that cannot be written is told before servers are started.
            let file = options.record.map(RecordingFile::create).transpose()?;
            let token_key = options.token_key.unwrap_or_else(TokenKey::generate);
            let samples = options.sample_health && !options.environment.direct;
            let environment = Environment::start(options.environment, &clock).await?;
            let environment_us = cost::us(started.elapsed());
            let furnished = async {
                let backend = environment.backend().cloned().ok_or(WorldError::Ended)?;
                let services = Arc::new(SimulatedServices::start(&clock, environment.kept_folder()).await?);
                let faults = Faults::new(backend.clone(), Arc::clone(&services), recorder.clone(), options.seed);
                let node = Node::start(NodeOptions {
                    name: "node-1".to_owned(),
                    listen: options.chat,
                    backend: faults.backend(),
                    clients: services.clients(options.unverified_media)?,
                    clock: clock.clone(),
                    probe: recorder.probe(PROBE_QUEUE),
                    token_key: token_key.clone(),
                    limits: options.limits,
                    roles: Roles::default(),
                })
                .await?;
                let recording = file
                    .map(|file| file.start(recorder.clone(), environment.kind(), environment.reason()))
                    .transpose()?;
                Ok::<_, WorldError>((backend, faults, services, node, recording))
            };
            let (backend, faults, services, node, recording) = match furnished.await {
                Ok(furnished) => furnished,
                Err(error) => {
                    // What the environment made on servers and in containers does not go by itself.
                    environment.shutdown().await;
                    return Err(error);
                }
            };
            let sampler = samples.then(|| Sampler::start(recorder.clone(), Arc::clone(&backend.log), node.figures()));
            Ok(Self {
                recorder,
                recording,
                clock,
                token_key,
                kind: environment.kind(),
                reason: environment.reason().to_owned(),
                start_cost: StartCost { environment_us, node_us: cost::us(started.elapsed()) - environment_us },
                send_deadline,
                chat_url: format!("http://{}", reachable(node.address())),
                backend: RwLock::new(Some(backend)),
                faults: RwLock::new(Some(Arc::new(faults))),
                users: RwLock::default(),
                services: RwLock::new(Some(services)),
                running: tokio::sync::RwLock::new(Some(Running { node, environment, sampler })),
            })
        })
    }

    /// The run's recorder.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// How long the start took.
    pub fn start_cost(&self) -> StartCost {
        self.start_cost
    }

    /// How long the node gives a send until its outcome.
    pub fn send_deadline(&self) -> Duration {
        self.send_deadline
    }

    /// What writes the run's recording, if it is recorded to a file.
    pub fn recording(&self) -> Option<&RecordingWriter> {
        self.recording.as_ref()
    }

    /// Adds what the store held at the end to the recording.
    pub fn record_stored(&self, stored: Stored) {
        if let Some(recording) = &self.recording {
            recording.stored(stored);
        }
    }

    /// Business time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where the chat service listens, such as `http://127.0.0.1:41234`.
    pub fn chat_url(&self) -> &str {
        &self.chat_url
    }

    /// Which backend runs.
    pub fn backend_kind(&self) -> BackendKind {
        self.kind
    }

    /// The backend's parts, for reading what is stored. Let go of them before [`Self::shutdown`], which waits for it.
    pub fn backend(&self) -> Result<Backend, WorldError> {
        self.backend.read().clone().ok_or(WorldError::Ended)
    }

    /// The simulated media and search services. Let go of them before [`Self::shutdown`].
    pub fn services(&self) -> Result<Arc<SimulatedServices>, WorldError> {
        self.services.read().clone().ok_or(WorldError::Ended)
    }

    // ---- faults -----------------------------------------------------------------------------------------

    /// The faults. Let go of them before [`Self::shutdown`].
    pub fn faults(&self) -> Result<Arc<Faults>, WorldError> {
        self.faults.read().clone().ok_or(WorldError::Ended)
    }

    /// Sets a fault in place of the one the dependency has.
    pub fn set_fault(&self, on: Dependency, fault: Fault) -> BoxFuture<'_, Result<(), WorldError>> {
        Box::pin(async move {
            let running = self.running.read().await;
            let containers = running.as_ref().ok_or(WorldError::Ended)?.environment.containers();
            Ok(self.faults()?.set(on, fault, containers).await?)
        })
    }

    /// Ends the fault of a dependency, if it has one.
    pub fn heal(&self, on: Dependency) -> BoxFuture<'_, Result<(), WorldError>> {
        Box::pin(async move {
            let running = self.running.read().await;
            let containers = running.as_ref().ok_or(WorldError::Ended)?.environment.containers();
            Ok(self.faults()?.heal(on, containers).await?)
        })
    }

    /// Ends every fault, and waits until everything answers again.
    pub fn reset_faults(&self) -> BoxFuture<'_, Result<Vec<Healed>, WorldError>> {
        Box::pin(async move {
            let running = self.running.read().await;
            let containers = running.as_ref().ok_or(WorldError::Ended)?.environment.containers();
            Ok(self.faults()?.reset(containers).await?)
        })
    }

    /// What runs, as interfaces are told.
    pub fn environment(&self) -> control::Environment {
        control::Environment {
            backend: self.kind,
            reason: self.reason.clone(),
            chat_url: self.chat_url.clone(),
            ackscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Business time now.
    pub fn business_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves business time forward, and records it.
    pub fn advance_clock(&self, by_ms: u64) {
        self.clock.advance_ms(by_ms);
        self.recorder.record(Happening::ClockAdvanced { by_ms });
    }

    /// Sets a mark in the recording.
    pub fn mark(&self, text: impl Into<String>) {
        self.recorder.record(Happening::Mark { text: text.into() });
    }

    /// A token that says who somebody is.
    pub fn token(&self, user: &UserId) -> String {
        self.token_key.sign(user, self.clock.now(), TOKEN_TTL)
    }

    // ---- users ------------------------------------------------------------------------------------------

    /// Connects a new user.
    pub fn add_user<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Arc<SimulatedUser>, WorldError>> {
        self.add(user, user)
    }

    fn add<'a>(
        &'a self,
        user: &'a UserId,
        person: &'a UserId,
    ) -> BoxFuture<'a, Result<Arc<SimulatedUser>, WorldError>> {
        Box::pin(async move {
            self.check_place_for(user)?;
            let token = self.token(person);
            let options = ConnectOptions::new(user.clone(), token, self.chat_url.clone(), self.recorder.clone());
            let options = ConnectOptions { person: person.clone(), ..options };
            let connected = SimulatedUser::connect(options).await?;
            // Somebody else may have added it meanwhile; dropping the second one disconnects it.
            let mut users = self.users.write();
            if users.contains_key(user) {
                return Err(WorldError::UserExists(user.clone()));
            }
            users.insert(user.clone(), Arc::clone(&connected));
            Ok(connected)
        })
    }

    fn check_place_for(&self, user: &UserId) -> Result<(), WorldError> {
        let users = self.users.read();
        if users.contains_key(user) {
            return Err(WorldError::UserExists(user.clone()));
        }
        if users.len() >= USERS_MAX { Err(WorldError::TooManyUsers) } else { Ok(()) }
    }

    /// A user by name.
    pub fn user(&self, user: &UserId) -> Result<Arc<SimulatedUser>, WorldError> {
        self.users.read().get(user).cloned().ok_or_else(|| WorldError::NoSuchUser(user.clone()))
    }

    /// A user by name, connected now if there is none of that name yet.
    pub fn user_or_new<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Arc<SimulatedUser>, WorldError>> {
        Box::pin(async move {
            match self.user(user) {
                Err(WorldError::NoSuchUser(_)) => match self.add_user(user).await {
                    Err(WorldError::UserExists(_)) => self.user(user),
                    added => added,
                },
                found => found,
            }
        })
    }

    /// A further device of a person under a name of its own, connected now if it is not.
    pub fn device<'a>(
        &'a self,
        person: &'a UserId,
        device: &'a UserId,
    ) -> BoxFuture<'a, Result<Arc<SimulatedUser>, WorldError>> {
        Box::pin(async move {
            match self.user(device) {
                Ok(known) if known.person() != person => Err(WorldError::UserExists(device.clone())),
                Ok(known) => {
                    if !known.is_connected() {
                        self.reconnect(device).await?;
                    }
                    Ok(known)
                }
                Err(_) => self.add(device, person).await,
            }
        })
    }

    /// Every user, by name.
    pub fn users(&self) -> Vec<Arc<SimulatedUser>> {
        self.users.read().values().cloned().collect()
    }

    /// Drops a user's TCP connection without a goodbye.
    pub async fn drop_connection(&self, user: &UserId) -> Result<(), WorldError> {
        self.user(user)?.drop_connection().await;
        Ok(())
    }

    /// Connects a user again, with a fresh token, and takes what it missed.
    pub fn reconnect<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<(), WorldError>> {
        Box::pin(async move {
            let found = self.user(user)?;
            found.set_token(self.token(found.person()));
            Ok(found.reconnect().await?)
        })
    }

    /// The state of the circuit before the media or the search service; none for anything else.
    pub fn breaker(&self, of: Dependency) -> BoxFuture<'_, Result<Option<BreakerState>, WorldError>> {
        Box::pin(async move {
            let running = self.running.read().await;
            let clients = running.as_ref().ok_or(WorldError::Ended)?.node.clients();
            Ok(match of {
                Dependency::Media => Some(clients.media.breaker_state()),
                Dependency::Search => Some(clients.search.breaker_state()),
                _ => None,
            })
        })
    }

    // ---- quiet and end ----------------------------------------------------------------------------------

    /// How many records each consumer group has before it, by topic.
    pub fn lag(&self) -> BoxFuture<'_, Result<Lags, WorldError>> {
        Box::pin(async move {
            let running = self.running.read().await;
            let running = running.as_ref().ok_or(WorldError::Ended)?;
            Ok(running.node.lag().await?)
        })
    }

    /// Waits until everything has come to rest: no consumer lags, every delivered message is persisted and
    /// confirmed, every connected user that reads has seen what was written to it, and nothing new is recorded.
    pub fn quiesce(&self, limit: Duration) -> BoxFuture<'_, Result<(), WorldError>> {
        Box::pin(async move {
            let mut still = String::new();
            let waiting = async {
                let mut quiet_rounds = 0;
                let mut poll = tokio::time::interval(QUIET_POLL);
                poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while quiet_rounds < QUIET_ROUNDS {
                    // A pace for asking, not a wait: what ends the loop is what is found.
                    poll.tick().await;
                    self.recorder.flush().await;
                    let before = self.recorder.next_index();
                    still = self.what_moves().await?;
                    self.recorder.flush().await;
                    if still.is_empty() && self.recorder.next_index() != before {
                        "events are still coming".clone_into(&mut still);
                    }
                    quiet_rounds = if still.is_empty() { quiet_rounds + 1 } else { 0 };
                }
                Ok(())
            };
            let done = tokio::time::timeout(limit, waiting).await;
            done.unwrap_or(Err(WorldError::NotQuiet { waited: limit, still }))
        })
    }

    /// What has not come to rest, one line; empty when everything has.
    async fn what_moves(&self) -> Result<String, WorldError> {
        let mut moves = String::new();
        {
            let running = self.running.read().await;
            let node = &running.as_ref().ok_or(WorldError::Ended)?.node;
            match node.lag().await {
                Ok(lags) => {
                    for (group, topic, records) in lags.into_iter().filter(|(_, _, records)| *records > 0) {
                        // Writing to a text cannot fail.
                        write!(moves, "{group} is {records} records behind on {topic}; ").ok();
                    }
                }
                Err(error) => return Ok(error.to_string()),
            }
            let unpersisted = node.unpersisted();
            if unpersisted > 0 {
                write!(moves, "{unpersisted} delivered messages are not persisted; ").ok();
            }
        }
        if !moves.is_empty() {
            moves.truncate(moves.len() - 2);
            return Ok(moves);
        }
        let users = self.users();
        let caught_up =
            join_all(users.iter().filter(|user| user.is_connected() && !user.is_paused()).map(|user| async {
                let caught_up = user.catch_up().await;
                // One that went down meanwhile has nothing more to see.
                caught_up.err().filter(|_| user.is_connected())
            }));
        Ok(caught_up.await.into_iter().flatten().next().map_or_else(String::new, |error| error.to_string()))
    }

    /// Ends everything: users, node, backend, files. Doing it twice does nothing.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let users = std::mem::take(&mut *self.users.write());
            join_all(users.values().map(|user| user.disconnect())).await;
            *self.backend.write() = None;
            *self.faults.write() = None;
            let running = self.running.write().await.take();
            if let Some(Running { node, environment, sampler }) = running {
                if let Some(sampler) = sampler {
                    sampler.end().await;
                }
                // The node ends with the connections it still has, but then it cannot tell what they hold to let go.
                let left = async {
                    let mut poll = tokio::time::interval(QUIET_POLL);
                    while node.connections() > 0 {
                        poll.tick().await;
                    }
                };
                if tokio::time::timeout(GOODBYES_LIMIT, left).await.is_err() {
                    tracing::debug!(connections = node.connections(), "the node ends with clients connected");
                }
                node.shutdown().await;
                let services = self.services.write().take();
                match services.map(Arc::try_unwrap) {
                    Some(Ok(services)) => services.shutdown().await,
                    // They end when the last one lets go of them.
                    Some(Err(_)) => tracing::debug!("somebody still looks at the media and search services"),
                    None => {}
                }
                environment.shutdown().await;
            }
            self.recorder.flush().await;
            if let Some(recording) = &self.recording
                && let Err(error) = recording.close().await
            {
                tracing::warn!("{error}");
            }
        })
    }
}

/// The address to connect to for a socket bound to `bound`: a socket bound to every address is reached here on
/// loopback.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_everywhere_is_reached_on_loopback() {
        let reach = |bound: &str| reachable(bound.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reach("[::]:80"), "[::1]:80");
        assert_eq!(reach("192.0.2.1:80"), "192.0.2.1:80");
    }
}
