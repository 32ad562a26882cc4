//! Talking to Docker: where it is, whether it answers, and the threads this happens on.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use testcontainers::bollard::Docker;
use testcontainers::bollard::container::LogOutput;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::ContainerSummary;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::{ClientError, docker_client_instance};
use tokio::runtime::{Handle, Runtime};

use super::ContainersError;
use super::error::said;

/// How long Docker may take to say that it is there.
const STATUS_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to answer the first request of a start.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How many lines of a server's log an error shows.
const LOG_LINES: &str = "8";
/// How often a removal is asked for again, and how long in all.
const REMOVE_INTERVAL: Duration = Duration::from_millis(100);
const REMOVE_LIMIT: Duration = Duration::from_secs(30);

/// What there is of Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerStatus {
    /// It answers.
    Ready {
        /// The engine's version.
        version: String,
        /// Whether it runs without root.
        rootless: bool,
    },
    /// It does not.
    Not(DockerProblem),
}

impl std::fmt::Display for DockerStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready { version, rootless: true } => write!(f, "Docker {version} answers (rootless)"),
            Self::Ready { version, rootless: false } => write!(f, "Docker {version} answers"),
            Self::Not(problem) => problem.fmt(f),
        }
    }
}

/// Why Docker cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerProblem {
    /// Nothing of it is here.
    #[error(
        "Docker is not installed (there is no {socket} and no dockerd). Install it (Debian: apt install docker.io), or take `--backend embedded`"
    )]
    Missing {
        /// Where its socket was looked for.
        socket: String,
    },
    /// It is installed and does not run.
    #[error(
        "Docker is not running (nobody listens at {socket}). Start it (`systemctl start docker`), or let DOCKER_HOST name the engine to use"
    )]
    Stopped {
        /// Where it should listen.
        socket: String,
    },
    /// Others may use it, this user may not.
    #[error(
        "this user may not use Docker (no permission for {socket}). Add yourself to its group (`sudo usermod -aG docker $USER`) and log in again, or use rootless Docker"
    )]
    NotPermitted {
        /// The socket.
        socket: String,
    },
    /// It took the request and says nothing.
    #[error("Docker does not answer at {socket} within {} s. It may be overloaded or starting; try again, or restart it", limit.as_secs())]
    Silent {
        /// Where.
        socket: String,
        /// How long was waited.
        limit: Duration,
    },
    /// `DOCKER_HOST` names something else.
    #[error(
        "DOCKER_HOST={host} names no Docker engine ({reason}). Expected unix:///path/of/the.sock or tcp://HOST:PORT; unset it for the one of this machine"
    )]
    WrongHost {
        /// What it is set to.
        host: String,
        /// Why it is none.
        reason: String,
    },
    /// Something answers and it is not what was expected.
    #[error("Docker at {socket} cannot be used: {reason}")]
    Unusable {
        /// Where.
        socket: String,
        /// What happened.
        reason: String,
    },
}

/// Whether Docker can be used, within 2 s.
pub fn docker_status() -> BoxFuture<'static, DockerStatus> {
    Box::pin(async move {
        let asked = on_docker_threads(async {
            let asking = async {
                let docker = negotiated().await?;
                let version = docker.version().await.map_err(|error| problem(&error))?;
                let info = docker.info().await.map_err(|error| problem(&error))?;
                let options = info.security_options.unwrap_or_default();
                Ok(DockerStatus::Ready {
                    version: version.version.unwrap_or_else(|| "of unknown version".to_owned()),
                    rootless: options.iter().any(|option| option.contains("rootless")),
                })
            };
            let silent = || Err(DockerProblem::Silent { socket: place(), limit: STATUS_LIMIT });
            tokio::time::timeout(STATUS_LIMIT, asking).await.unwrap_or_else(|_| silent())
        });
        match asked.await {
            Ok(Ok(status)) => status,
            Ok(Err(problem)) => DockerStatus::Not(problem),
            Err(error) => DockerStatus::Not(DockerProblem::Unusable { socket: place(), reason: error.to_string() }),
        }
    })
}

/// The threads that talk to Docker. They are the process's own and not those of the caller's runtime: containers
/// must still be removed when that runtime is shutting down, and a dropped future must not take a request with it.
static THREADS: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().thread_name("ackscope-docker").build().map_err(|error| error.to_string())
});

pub(super) fn threads() -> Result<&'static Handle, ContainersError> {
    THREADS.as_ref().map(Runtime::handle).map_err(|error| ContainersError::Threads(error.clone()))
}

/// Runs it on the threads for Docker; dropping this future does not stop it.
pub(super) async fn on_docker_threads<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ContainersError> {
    threads()?.spawn(work).await.map_err(|error| ContainersError::Threads(error.to_string()))
}

/// A client that speaks the engine's version of the API, or why there is none.
pub(super) async fn connect() -> Result<Docker, DockerProblem> {
    let silent = || Err(DockerProblem::Silent { socket: place(), limit: CONNECT_LIMIT });
    tokio::time::timeout(CONNECT_LIMIT, negotiated()).await.unwrap_or_else(|_| silent())
}

/// The client of `testcontainers`, so that there is one opinion about where Docker is. It asks for the newest version
/// of the API, which older engines (Debian 12 has 20.10) refuse: the version is agreed upon first.
pub(super) async fn negotiated() -> Result<Docker, DockerProblem> {
    // The scheme first, so that the answer names what is wrong.
    if let Some(host) = docker_host()
        && !["unix://", "tcp://", "http://", "https://"].iter().any(|scheme| host.starts_with(scheme))
    {
        let reason = "this kind of address is not supported".to_owned();
        return Err(DockerProblem::WrongHost { host, reason });
    }
    let docker = docker_client_instance().await.map_err(|error| match error {
        ClientError::Init(error) => problem(&error),
        other => DockerProblem::WrongHost { host: docker_host().unwrap_or_default(), reason: other.to_string() },
    })?;
    docker.negotiate_version().await.map_err(|error| problem(&error))
}

fn docker_host() -> Option<String> {
    std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty())
}

/// Where Docker is looked for, for people.
fn place() -> String {
    docker_host().unwrap_or_else(|| "/var/run/docker.sock".to_owned())
}

/// What it means that a request did not even reach Docker.
fn problem(error: &DockerError) -> DockerProblem {
    let socket = place();
    let kind = match error {
        DockerError::SocketNotFoundError(_) => Some(io::ErrorKind::NotFound),
        DockerError::RequestTimeoutError => Some(io::ErrorKind::TimedOut),
        other => io_kind(other),
    };
    match kind {
        Some(io::ErrorKind::NotFound) if docker_host().is_some() || is_installed() => DockerProblem::Stopped { socket },
        Some(io::ErrorKind::NotFound) => DockerProblem::Missing { socket },
        Some(io::ErrorKind::ConnectionRefused) => DockerProblem::Stopped { socket },
        Some(io::ErrorKind::PermissionDenied) => DockerProblem::NotPermitted { socket },
        Some(io::ErrorKind::TimedOut) => DockerProblem::Silent { socket, limit: STATUS_LIMIT },
        _ => DockerProblem::Unusable { socket, reason: chain(error) },
    }
}

fn io_kind(error: &DockerError) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// An error with its causes, each once.
fn chain(error: &DockerError) -> String {
    let mut text = said(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn is_installed() -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/sbin".into(), "/usr/local/sbin".into(), "/usr/bin".into()];
    std::env::split_paths(&folders).chain(administration).any(|folder| folder.join("dockerd").exists())
}

/// The containers that carry all of these labels, running or not. A label without `=` need only be there.
pub(super) async fn labelled(docker: &Docker, labels: &[String]) -> Result<Vec<ContainerSummary>, ContainersError> {
    let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    docker.list_containers(Some(options)).await.map_err(ContainersError::request("list its containers"))
}

/// Removes a container, whatever its state, with the volumes that were made for it, and waits until it is gone.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<(), ContainersError> {
    let removing = async {
        loop {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match docker.remove_container(id, Some(options)).await {
                Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
                // Removed, or somebody is at it: the next answer says whether it is gone.
                Ok(()) | Err(DockerError::DockerResponseServerError { status_code: 409, .. }) => {}
                Err(error) => return Err(ContainersError::request(format!("remove the container {id}"))(error)),
            }
            if is_gone(docker, id).await {
                return Ok(());
            }
            // Older engines do not kill what is paused.
            if let Err(error) = docker.unpause_container(id).await {
                tracing::trace!(%error, "it was not paused");
            }
            tokio::time::sleep(REMOVE_INTERVAL).await;
        }
    };
    let slow =
        || ContainersError::Request { doing: format!("remove the container {id}"), reason: "it takes too long".into() };
    tokio::time::timeout(REMOVE_LIMIT, removing).await.unwrap_or_else(|_| Err(slow()))
}

async fn is_gone(docker: &Docker, id: &str) -> bool {
    let answer = docker.inspect_container(id, None).await;
    matches!(answer, Err(DockerError::DockerResponseServerError { status_code: 404, .. }))
}

/// The last lines a container wrote, each on a line of its own and indented.
pub(super) async fn log_end(docker: &Docker, id: &str) -> String {
    use futures_util::StreamExt as _;
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG_LINES).build();
    let mut text = String::new();
    let mut log = std::pin::pin!(docker.logs(id, Some(options)));
    while let Some(Ok(part)) = log.next().await {
        let (LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message }) = part
        else {
            continue;
        };
        text.push_str(&String::from_utf8_lossy(&message));
    }
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return " nothing".to_owned();
    }
    lines.into_iter().flat_map(|line| ["\n    ", line]).collect()
}
