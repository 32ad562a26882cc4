//! Which backend runs, where its files are, and what is removed afterwards (S2).

mod choice;
pub mod containers;
mod files;
mod settings;
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

pub use self::choice::{BackendChoice, UnknownBackend};
pub use self::files::FilesError;
use self::files::RunFiles;
pub use self::settings::{Addresses, SETTINGS_FILE, Settings, SettingsError, parse_limit};
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
    /// That backend cannot be had in this version.
    #[error("the `{0}` backend does not exist in this version; use `--backend embedded` (or `auto`)")]
    NotInThisVersion(BackendChoice),
    /// Files could not be set up.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The embedded backend could not be opened.
    #[error("the embedded backend could not be opened: {0}")]
    Backend(String),
    /// A task of ours ended before it was done.
    #[error("setting the environment up was interrupted: {0}")]
    Interrupted(tokio::task::JoinError),
}

impl EnvironmentError {
    /// Whether the request was wrong (exit code 2), rather than the environment (exit code 3).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NotInThisVersion(_) | Self::Files(FilesError::NotADirectory(_)))
    }
}

/// What an environment is made from.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentOptions {
    /// Which backend is asked for.
    pub choice: BackendChoice,
    /// Addresses that were given for `external`.
    pub addresses: Addresses,
    /// Where the embedded files stay from run to run; absent: a folder of their own that goes with the run.
    pub data: Option<PathBuf>,
}

/// A backend that is ready, with the files it lives in.
pub struct Environment {
    kind: BackendKind,
    reason: String,
    backend: Option<Backend>,
    files: Option<RunFiles>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("kind", &self.kind).field("files", &self.files).finish_non_exhaustive()
    }
}

impl Environment {
    /// Chooses a backend and makes it ready. Dropping this future undoes what it did.
    pub async fn start(options: EnvironmentOptions, clock: &Clock) -> Result<Self, EnvironmentError> {
        let (kind, reason) = choice::decide(options.choice, options.addresses)?;
        let clock = clock.clone();
        // Opening a database reads files; the sweep may remove many.
        let opening = tokio::task::spawn_blocking(move || {
            let files = match options.data {
                Some(dir) => RunFiles::kept(&dir)?,
                None => RunFiles::temporary()?,
            };
            let backend = open_embedded(files.path(), &clock)?;
            Ok::<_, EnvironmentError>((backend, files))
        });
        let (backend, files) = opening.await.map_err(EnvironmentError::Interrupted)??;
        Ok(Self { kind, reason, backend: Some(backend), files: Some(files) })
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

    /// The folder of its files, when it stays after the end.
    pub fn kept_folder(&self) -> Option<&Path> {
        self.files.as_ref().filter(|files| files.is_kept()).map(RunFiles::path)
    }

    /// Ends it and removes its files, unless they are kept.
    pub async fn shutdown(mut self) {
        // The database is closed before its files go: connections that end may still hold it for a moment.
        if let Some(backend) = self.backend.take() {
            let held = Held::by_others(backend);
            if tokio::time::timeout(RELEASE_LIMIT, held.released()).await.is_err() {
                tracing::warn!("the backend is still in use and is not waited for any longer");
            }
        }
        if let Some(files) = self.files.take() {
            let removing = tokio::task::spawn_blocking(move || files.remove());
            if let Err(error) = removing.await {
                tracing::warn!(%error, "the run's files may be left behind; the next start removes them");
            }
        }
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
