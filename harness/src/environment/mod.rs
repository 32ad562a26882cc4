//! Which backend runs, where its files or servers are, and what is removed afterwards (S2).

mod choice;
mod claims;
pub mod containers;
mod files;
mod namespace;
pub mod network;
mod owner_file;
mod servers;
mod settings;
pub(crate) mod state;
mod token_key;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_core::log::EventLog;
use ackscope_core::node::{Backend, EmbeddedBackendOptions};
use ackscope_core::repositories::{ConversationRepository, MessageRepository, ParticipantRepository};
use ackscope_core::sqlite::EmbeddedError;
use ackscope_protocol::control::BackendKind;
use futures_util::future::BoxFuture;

use self::choice::Decision;
pub use self::choice::{BackendChoice, UnknownBackend};
use self::claims::Claim;
pub use self::containers::ServerAddresses;
use self::containers::{
    ContainerImages, Containers, ContainersError, ContainersOptions, DockerStatus, Progress, docker_status,
};
pub use self::files::FilesError;
use self::files::RunFiles;
pub use self::namespace::{Namespace, NamespaceError};
use self::servers::{Place, Servers};
pub use self::servers::{ServerProblem, ServerProblems};
pub use self::settings::{Addresses, ImageNames, SETTINGS_FILE, Settings, SettingsError, parse_limit, variable_of};
pub use self::state::state_folder;
pub use self::token_key::{TokenKeyError, load_or_create_token_key, token_key_path};

/// How long the end waits for the last user of the backend to let go of it.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// How long a start waits for an earlier one to close the same file.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);
/// How often either of them looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `external` needs three addresses.
    #[error("the `external` backend needs the address of every server; missing: {}", missing_text(.0))]
    MissingAddresses(Vec<(&'static str, &'static str)>),
    /// Real servers were asked for, and a folder for the embedded files.
    #[error("`--data` keeps the files of the embedded backend; the `{}` backend has none", .0.as_str())]
    NoFiles(BackendKind),
    /// Files could not be set up.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The embedded backend could not be opened.
    #[error("the embedded backend could not be opened: {0}")]
    Backend(String),
    /// The containers did not start.
    #[error(transparent)]
    Containers(#[from] ContainersError),
    /// The servers cannot be used.
    #[error(transparent)]
    Servers(#[from] ServerProblems),
    /// A task of ours ended before it was done.
    #[error("setting the environment up was interrupted: {0}")]
    Interrupted(tokio::task::JoinError),
}

fn missing_text(missing: &[(&str, &str)]) -> String {
    let each = |(name, variable): &(&str, &str)| format!("--{} (or {variable})", name.replace('_', "-"));
    missing.iter().map(each).collect::<Vec<_>>().join(", ")
}

impl EnvironmentError {
    /// Whether the request was wrong (exit code 2), rather than the environment (exit code 3).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::MissingAddresses(_) | Self::NoFiles(_) | Self::Files(FilesError::NotADirectory(_)) => true,
            Self::Servers(problems) => problems.0.iter().all(ServerProblem::is_usage),
            Self::Containers(error) => error.is_usage(),
            Self::Files(_) | Self::Backend(_) | Self::Interrupted(_) => false,
        }
    }
}

/// What an environment is made from.
#[derive(Clone, Default)]
pub struct EnvironmentOptions {
    /// Which backend is asked for.
    pub choice: BackendChoice,
    /// Where the embedded files stay from run to run; absent: a folder of their own that goes with the run.
    pub data: Option<PathBuf>,
    /// The addresses of `external`.
    pub addresses: Addresses,
    /// The images of `containers` that are not the default.
    pub images: ImageNames,
    /// Whether containers stay for the next start.
    pub keep: bool,
    /// Whether clients reach containers without a way between that can have faults. Such faults are played before the
    /// server then.
    pub direct: bool,
    /// Containers that run already and stay when the run ends, for `containers`; absent: the run has its own.
    pub running: Option<Arc<Containers>>,
    /// What everything of ours is called by on servers that others use; absent: a name of this run, and everything is
    /// removed at the end.
    pub namespace: Option<Namespace>,
    /// Is told how far a slow start is, a line at a time; absent: nobody listens.
    pub progress: Option<Progress>,
}

impl std::fmt::Debug for EnvironmentOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvironmentOptions")
            .field("choice", &self.choice)
            .field("data", &self.data)
            .field("addresses", &self.addresses)
            .field("images", &self.images)
            .field("keep", &self.keep)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl EnvironmentOptions {
    /// The embedded backend, with files that go with the run.
    pub fn embedded() -> Self {
        Self { choice: BackendChoice::Embedded, ..Self::default() }
    }

    /// What containers are made from.
    pub fn containers(&self) -> ContainersOptions {
        let official = ContainerImages::default();
        let ImageNames { mongodb, redis, kafka } = self.images.clone();
        let images = ContainerImages {
            mongodb: mongodb.unwrap_or(official.mongodb),
            redis: redis.unwrap_or(official.redis),
            kafka: kafka.unwrap_or(official.kafka),
        };
        let progress = self.progress.clone().unwrap_or_else(|| Arc::new(|_| {}));
        ContainersOptions { images, keep: self.keep, links: !self.direct, progress }
    }
}

/// What a backend stands on: nothing but this machine, containers, or servers that are there. For a backend in
/// another process, which is told in [`Infrastructure::variables`].
#[derive(Debug)]
pub struct Infrastructure {
    kind: BackendKind,
    reason: String,
    /// Where the embedded files stay; absent: they go with the run.
    data: Option<PathBuf>,
    servers: Option<(ServerAddresses, Place)>,
    containers: Option<Arc<Containers>>,
}

impl Infrastructure {
    /// Chooses, and starts containers where it chose them. Dropping this future undoes what it did.
    pub fn start(options: EnvironmentOptions) -> BoxFuture<'static, Result<Self, EnvironmentError>> {
        Box::pin(async move {
            let docker = async {
                match docker_status().await {
                    DockerStatus::Ready { version, .. } => Ok(version),
                    DockerStatus::Not(problem) => Err(problem.to_string()),
                }
            };
            let data = options.data.clone();
            let embedded = |reason| Self { kind: BackendKind::Embedded, reason, data, servers: None, containers: None };
            match choice::decide(options.choice, &options.addresses, docker).await? {
                Decision::Embedded { reason } => Ok(embedded(reason)),
                Decision::External { .. } if options.data.is_some() => {
                    Err(EnvironmentError::NoFiles(BackendKind::External))
                }
                Decision::External { addresses, reason } => Ok(Self {
                    kind: BackendKind::External,
                    reason,
                    data: None,
                    servers: Some((addresses, Place::shared(options.namespace))),
                    containers: None,
                }),
                // A folder for files is a reason for the backend that has files.
                Decision::Containers { or_embedded: true, .. } if options.data.is_some() => {
                    Ok(embedded("embedded: asked for auto, and `--data` keeps its files".to_owned()))
                }
                Decision::Containers { .. } if options.data.is_some() => {
                    Err(EnvironmentError::NoFiles(BackendKind::Containers))
                }
                Decision::Containers { reason, .. } if options.running.is_some() => {
                    let servers = options.running.as_ref().map(|running| {
                        // Other runs have been there, or will be.
                        (running.addresses().clone(), Place::shared(options.namespace))
                    });
                    let kind = BackendKind::Containers;
                    Ok(Self { kind, reason, data: None, servers, containers: options.running })
                }
                Decision::Containers { reason, or_embedded } => {
                    let keep = options.keep;
                    match Containers::start(options.containers()).await {
                        Ok(containers) => {
                            // Kept containers may serve several runs, at the same time too.
                            let place = if keep { Place::shared(options.namespace) } else { Place::alone() };
                            let servers = Some((containers.addresses().clone(), place));
                            let kind = BackendKind::Containers;
                            Ok(Self { kind, reason, data: None, servers, containers: Some(Arc::new(containers)) })
                        }
                        Err(error) if or_embedded => {
                            tracing::warn!(%error, "containers cannot be had, taking the embedded backend");
                            let why = error.to_string();
                            let why = why.lines().next().unwrap_or_default();
                            Ok(embedded(format!("embedded: asked for auto, and containers cannot be had: {why}")))
                        }
                        Err(error) => Err(error.into()),
                    }
                }
            }
        })
    }

    /// Which backend stands on it.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Why it was taken, one sentence.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Where the servers are, if there are any.
    pub fn addresses(&self) -> Option<&ServerAddresses> {
        self.servers.as_ref().map(|(addresses, _)| addresses)
    }

    /// The containers, if it is some.
    pub fn containers(&self) -> Option<&Containers> {
        self.containers.as_deref()
    }

    /// What another process of this program is given in its environment to run on it. Passwords go this way, which
    /// other users of the machine cannot read, and not through its arguments.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let Some((addresses, place)) = &self.servers else {
            return vec![("ACKSCOPE_BACKEND", BackendChoice::Embedded.as_str().to_owned())];
        };
        let mut variables = vec![
            ("ACKSCOPE_BACKEND", BackendChoice::External.as_str().to_owned()),
            ("ACKSCOPE_MONGODB_URI", addresses.mongodb_uri.clone()),
            ("ACKSCOPE_REDIS_URL", addresses.redis_url.clone()),
            ("ACKSCOPE_KAFKA_BROKERS", addresses.kafka_brokers.clone()),
        ];
        if place.is_shared && !place.is_removed {
            variables.push(("ACKSCOPE_NAMESPACE", place.database.clone()));
        }
        variables
    }

    /// Ends what was started for it.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            end(self.containers).await;
        })
    }
}

/// Ends containers, unless somebody else still needs them.
async fn end(containers: Option<Arc<Containers>>) {
    if let Some(containers) = containers.and_then(Arc::into_inner) {
        containers.shutdown().await;
    }
}

/// A backend that is ready, with the files or servers it lives in.
pub struct Environment {
    kind: BackendKind,
    reason: String,
    backend: Option<Backend>,
    files: Option<RunFiles>,
    servers: Option<Servers>,
    /// Held until everything the run made on servers is removed.
    claim: Option<Claim>,
    containers: Option<Arc<Containers>>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("kind", &self.kind).field("files", &self.files).finish_non_exhaustive()
    }
}

impl Environment {
    /// Chooses a backend and makes it ready. Dropping this future undoes what it did.
    pub fn start(options: EnvironmentOptions, clock: &Clock) -> BoxFuture<'_, Result<Self, EnvironmentError>> {
        Box::pin(async move {
            // In boxes, because connecting three drivers makes large futures.
            let infrastructure = Box::pin(Infrastructure::start(options)).await?;
            Box::pin(Self::on(infrastructure, clock)).await
        })
    }

    /// Makes a backend ready on what was chosen.
    pub fn on(infrastructure: Infrastructure, clock: &Clock) -> BoxFuture<'_, Result<Self, EnvironmentError>> {
        Box::pin(async move {
            let Infrastructure { kind, reason, data, servers, containers } = infrastructure;
            let Some((addresses, place)) = servers else { return Self::embedded(data, reason, clock).await };
            let mut claim = None;
            if place.is_removed {
                Box::pin(claims::sweep(&addresses, clock)).await;
                claim = Claim::take(&place.database, &addresses);
            }
            match Box::pin(Servers::connect(&addresses, place, clock)).await {
                Ok(servers) => Ok(Self {
                    kind,
                    reason: format!("{reason}; {}", servers.describe()),
                    backend: Some(servers.backend()),
                    files: None,
                    servers: Some(servers),
                    claim,
                    containers,
                }),
                Err(error) => {
                    // Whoever did answer has removed what it made.
                    if let Some(claim) = claim {
                        claim.release();
                    }
                    end(containers).await;
                    Err(error.into())
                }
            }
        })
    }

    async fn embedded(data: Option<PathBuf>, reason: String, clock: &Clock) -> Result<Self, EnvironmentError> {
        let clock = clock.clone();
        // Opening a database reads files; the sweep may remove many.
        let opening = tokio::task::spawn_blocking(move || {
            let files = match data {
                Some(dir) => RunFiles::kept(&dir)?,
                None => RunFiles::temporary()?,
            };
            let backend = open_embedded(files.path(), &clock)?;
            Ok::<_, EnvironmentError>((backend, files))
        });
        let (backend, files) = opening.await.map_err(EnvironmentError::Interrupted)??;
        Ok(Self {
            kind: BackendKind::Embedded,
            reason,
            backend: Some(backend),
            files: Some(files),
            servers: None,
            claim: None,
            containers: None,
        })
    }

    /// Which backend it is.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Why it was taken, one sentence.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The backend's parts, for reading what is stored. `None` after the end.
    pub fn backend(&self) -> Option<&Backend> {
        self.backend.as_ref()
    }

    /// What servers it runs on, in a few words; `None` when it runs on none.
    pub fn servers(&self) -> Option<String> {
        self.servers.as_ref().map(Servers::describe)
    }

    /// The containers it runs in, for faults.
    pub fn containers(&self) -> Option<&Containers> {
        self.containers.as_deref()
    }

    /// The folder of its files, when it stays after the end.
    pub fn kept_folder(&self) -> Option<&Path> {
        self.files.as_ref().filter(|files| files.is_kept()).map(RunFiles::path)
    }

    /// Ends it and removes its files, unless they are kept.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut this = self;
            // The database is closed before its files go: connections that end may still hold it for a moment.
            if let Some(backend) = this.backend.take() {
                let held = Held::by_others(backend);
                if tokio::time::timeout(RELEASE_LIMIT, held.released()).await.is_err() {
                    tracing::warn!("the backend is still in use and is not waited for any longer");
                }
            }
            if let Some(servers) = this.servers.take()
                && servers.shutdown().await
                && let Some(claim) = this.claim.take()
            {
                claim.release();
            }
            end(this.containers.take()).await;
            if let Some(files) = this.files.take() {
                let removing = tokio::task::spawn_blocking(move || files.remove());
                if let Err(error) = removing.await {
                    tracing::warn!(%error, "the run's files may be left behind; the next start removes them");
                }
            }
        })
    }
}

/// Opens the embedded backend. Whoever calls this owns the folder, so a file that is in use belongs to an owner
/// that has just ended and is still closing it.
fn open_embedded(folder: &Path, clock: &Clock) -> Result<Backend, EnvironmentError> {
    let deadline = Instant::now() + CLOSING_LIMIT;
    loop {
        match Backend::embedded(folder, clock, EmbeddedBackendOptions::default()) {
            Ok(backend) => return Ok(backend),
            Err(EmbeddedError::InUse(_)) if Instant::now() < deadline => std::thread::sleep(LOOK_INTERVAL),
            Err(error) => return Err(EnvironmentError::Backend(error.to_string())),
        }
    }
}

/// The parts of a backend that may keep its file open.
struct Held {
    log: Weak<dyn EventLog>,
    conversations: Weak<dyn ConversationRepository>,
    participants: Weak<dyn ParticipantRepository>,
    messages: Weak<dyn MessageRepository>,
}

impl Held {
    fn by_others(backend: Backend) -> Self {
        let Backend { log, conversations, participants, messages, .. } = backend;
        Self {
            log: Arc::downgrade(&log),
            conversations: Arc::downgrade(&conversations),
            participants: Arc::downgrade(&participants),
            messages: Arc::downgrade(&messages),
        }
    }

    /// Waits until nobody holds any of it.
    async fn released(&self) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        while self.log.strong_count()
            + self.conversations.strong_count()
            + self.participants.strong_count()
            + self.messages.strong_count()
            > 0
        {
            looks.tick().await;
        }
    }
}
