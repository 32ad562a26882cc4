//! Starting one server: its image, its container, its first answer.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use testcontainers::bollard::Docker;
use testcontainers::bollard::auth::DockerCredentials;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::PortBinding;
use testcontainers::bollard::query_parameters::CreateImageOptionsBuilder;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _};
use tokio_util::sync::CancellationToken;

use super::docker::{labelled, log_end, negotiated, remove};
use super::error::{pull_error, said, start_error};
use super::images::ImageName;
use super::owner::{IMAGE, KEPT, PORT, Place, Run, SERVER};
use super::ready::{NotReady, ask};
use super::sweep::remove_labelled;
use super::{ContainersError, Progress, Server};
use crate::environment::network::Link;

/// How long a server may take from the start of its container to its first answer.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(90);
/// How long a kept server may take that runs already.
const KEPT_READY_LIMIT: Duration = Duration::from_secs(15);
/// The pause between two requests to a server that is not ready.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether the container still runs.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a pull or a wait says that it goes on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How many ports are tried. Between choosing a free one and the container's start others may take it.
const PORT_TRIES: u32 = 5;
/// How long a pull may say nothing at all.
const PULL_SILENCE_LIMIT: Duration = Duration::from_mins(2);

/// A server that runs.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) server: Server,
    /// The container's.
    pub(super) id: String,
    /// Where clients find it, on this machine's loopback.
    pub(super) port: u16,
    /// The way from there to it, where faults of the way can be played.
    pub(super) link: Option<Arc<Link>>,
}

/// What the start of a server needs.
pub(super) struct Launch<'a> {
    pub(super) docker: &'a Docker,
    pub(super) place: &'a Place,
    pub(super) run: &'a Run,
    pub(super) server: Server,
    pub(super) image: &'a ImageName,
    pub(super) keep: bool,
    /// Whether there is a way to it that can have faults.
    pub(super) with_link: bool,
    pub(super) progress: &'a Progress,
    pub(super) cancel: &'a CancellationToken,
}

impl Launch<'_> {
    /// Starts it, or finds the kept one, and waits until it answers.
    pub(super) async fn launch(&self) -> Result<Running, ContainersError> {
        let begun = Instant::now();
        if self.keep
            && let Some(running) = self.reuse().await?
        {
            self.say(&format!("kept one found, ready after {:.1} s", begun.elapsed().as_secs_f64()));
            return Ok(running);
        }
        self.unless_cancelled(self.have_image()).await?;
        self.say(&format!("starting {}", self.image));
        let running = self.start().await?;
        self.say("started, waiting for the first answer");
        self.unless_cancelled(until_ready(self.docker, &running, self.image, READY_LIMIT, self.progress)).await?;
        self.say(&format!("ready after {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(running)
    }

    fn say(&self, what: &str) {
        (self.progress)(&format!("{}: {what}", self.server));
    }

    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, ContainersError>>,
    ) -> Result<T, ContainersError> {
        tokio::select! {
            done = work => done,
            () = self.cancel.cancelled() => Err(ContainersError::Interrupted),
        }
    }

    /// A kept container of this server and image that answers. One that does not is removed.
    async fn reuse(&self) -> Result<Option<Running>, ContainersError> {
        let image = self.image.to_string();
        let labels = [
            self.place.label(),
            KEPT.to_owned(),
            format!("{SERVER}={}", self.server.as_str()),
            format!("{IMAGE}={image}"),
        ];
        for container in labelled(self.docker, &labels).await? {
            let port = container.labels.as_ref().and_then(|labels| labels.get(PORT)).and_then(|port| port.parse().ok());
            let Some(id) = container.id else { continue };
            if let Some(port) = port {
                let running = Running { server: self.server, id: id.clone(), port, link: None };
                match self.unless_cancelled(self.revive(&running)).await {
                    Ok(()) => return Ok(Some(running)),
                    Err(ContainersError::Interrupted) => return Err(ContainersError::Interrupted),
                    Err(error) => {
                        tracing::debug!(%error, "a kept container does not answer");
                        self.say("the kept one does not answer; it is replaced");
                    }
                }
            }
            remove(self.docker, &id).await?;
        }
        Ok(None)
    }

    /// Lets a kept container run, as after a restart of the machine, and asks it.
    async fn revive(&self, running: &Running) -> Result<(), ContainersError> {
        let inspected = self.docker.inspect_container(&running.id, None).await;
        let state = inspected.map_err(ContainersError::request("look at a container"))?.state.unwrap_or_default();
        let mut limit = KEPT_READY_LIMIT;
        if state.paused == Some(true) {
            let unpaused = self.docker.unpause_container(&running.id).await;
            unpaused.map_err(ContainersError::request("unpause a container"))?;
        } else if state.running != Some(true) {
            let started = self.docker.start_container(&running.id, None).await;
            started.map_err(|error| start_error(self.server, &self.image.to_string(), said(&error)))?;
            limit = READY_LIMIT;
        }
        until_ready(self.docker, running, self.image, limit, self.progress).await
    }

    /// Pulls the image when it is not there. Done apart from the start, because a pull can be given up at any moment.
    async fn have_image(&self) -> Result<(), ContainersError> {
        let name = self.image.to_string();
        match self.docker.inspect_image(&name).await {
            Ok(_) => return Ok(()),
            Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(ContainersError::request(format!("look for the image {name}"))(error)),
        }
        self.say(&format!("pulling {name}"));
        let credentials = credentials(self.image.registry().to_owned()).await;
        let options = CreateImageOptionsBuilder::new().from_image(self.image.name()).tag(self.image.version()).build();
        let mut pulling = std::pin::pin!(self.docker.create_image(Some(options), None, credentials));
        let failed = |reason: String| pull_error(self.server, &name, reason);
        let begun = Instant::now();
        let mut said_at = begun;
        loop {
            match tokio::time::timeout(PULL_SILENCE_LIMIT, pulling.next()).await {
                Err(_) => return Err(failed(format!("no news for {} s", PULL_SILENCE_LIMIT.as_secs()))),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(failed(said(&error))),
                Ok(Some(Ok(info))) => {
                    if let Some(detail) = info.error_detail {
                        return Err(failed(detail.message.unwrap_or_else(|| "no reason given".to_owned())));
                    }
                    if said_at.elapsed() >= PROGRESS_INTERVAL {
                        said_at = Instant::now();
                        self.say(&format!("still pulling {name}, {} s", begun.elapsed().as_secs()));
                    }
                }
            }
        }
    }

    async fn start(&self) -> Result<Running, ContainersError> {
        let mut tries = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(ContainersError::Interrupted);
            }
            tries += 1;
            let port = free_port()
                .map_err(|error| ContainersError::Port { server: self.server, reason: error.to_string() })?;
            let link = if self.with_link {
                let opened = Link::to((Ipv4Addr::LOCALHOST, port).into()).await;
                let failed =
                    |error: std::io::Error| ContainersError::Port { server: self.server, reason: error.to_string() };
                Some(Arc::new(opened.map_err(failed)?))
            } else {
                None
            };
            let found_at = link.as_ref().map_or(port, |link| link.port());
            // Not given up in the middle: Docker would go on making the container after it was looked for.
            match self.create(port, found_at).await {
                Ok(id) => return Ok(Running { server: self.server, id, port: found_at, link }),
                Err(ContainersError::Port { .. }) if tries < PORT_TRIES => {
                    // Docker has made the container and could not start it.
                    let labels = [self.run.label(), format!("{SERVER}={}", self.server.as_str())];
                    remove_labelled(self.docker, &labels).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes and starts a container whose server listens at this port of the loopback, and is found at the other one.
    /// Gives its id.
    async fn create(&self, port: u16, found_at: u16) -> Result<String, ContainersError> {
        let image = self.image.to_string();
        let (name, tag) = if self.image.is_digest() {
            // `NAME:TAG` is all the library can write; the id of an image has the same shape.
            let found = self.docker.inspect_image(&image).await;
            let id = found.map_err(ContainersError::request(format!("look for the image {image}")))?.id;
            let id = id.unwrap_or_default();
            let (algorithm, hash) = id.split_once(':').unwrap_or(("sha256", id.as_str()));
            (algorithm.to_owned(), hash.to_owned())
        } else {
            (self.image.name().to_owned(), self.image.version().to_owned())
        };
        let inside = self.server.port_inside();
        let mut request = GenericImage::new(name, tag).with_exposed_port(inside.tcp()).with_cmd(self.server.command());
        for (name, value) in self.server.variables(found_at) {
            request = request.with_env_var(name, value);
        }
        for (name, value) in self.run.labels(self.server, found_at, &image, self.keep) {
            request = request.with_label(name, value);
        }
        let threads = tokio::runtime::Handle::current();
        let request = request.with_host_config_modifier(move |host| {
            // The library asks in the newest version of the API and does not negotiate. This is called right before
            // it asks, when its client is the one that is negotiated here.
            let agreed = tokio::task::block_in_place(|| threads.block_on(negotiated()));
            if let Err(error) = agreed {
                tracing::debug!(%error, "no version of the API was agreed upon");
            }
            host.publish_all_ports = Some(false);
            let binding =
                PortBinding { host_ip: Some(Ipv4Addr::LOCALHOST.to_string()), host_port: Some(port.to_string()) };
            host.port_bindings = Some(HashMap::from([(format!("{inside}/tcp"), Some(vec![binding]))]));
        });
        // A task of its own: the modifier blocks its task while it waits for the library's client, which the start of
        // another server may be making at that moment.
        let started =
            tokio::spawn(request.start()).await.map_err(|error| ContainersError::Threads(error.to_string()))?;
        let container = started.map_err(|error| start_error(self.server, &image, error.to_string()))?;
        let id = container.id().to_owned();
        // Its end is decided by the run's labels, and for a kept one not by this process. The handle would remove it.
        std::mem::forget(container);
        Ok(id)
    }
}

/// Waits for the first answer.
pub(super) async fn until_ready(
    docker: &Docker,
    running: &Running,
    image: &ImageName,
    limit: Duration,
    progress: &Progress,
) -> Result<(), ContainersError> {
    let server = running.server;
    let begun = Instant::now();
    let mut looked_at = begun;
    let mut said_at = begun;
    loop {
        let last = match ask(server, running.port).await {
            Ok(()) => return Ok(()),
            Err(NotReady::Ever(reason)) => return Err(ContainersError::Setup { server, reason }),
            Err(NotReady::Yet(reason)) => reason,
        };
        if looked_at.elapsed() >= LOOK_INTERVAL {
            looked_at = Instant::now();
            let inspected = docker.inspect_container(&running.id, None).await;
            let state = inspected.map_err(ContainersError::request("look at a container"))?.state.unwrap_or_default();
            if state.running == Some(false) {
                let log = log_end(docker, &running.id).await;
                if log.contains("exec format error") {
                    return Err(start_error(server, &image.to_string(), "exec format error".to_owned()));
                }
                if log.contains("No space left on device") {
                    return Err(ContainersError::DiskFull { server, reason: "its log says so".to_owned() });
                }
                return Err(ContainersError::Ended { server, code: state.exit_code.unwrap_or_default(), log });
            }
        }
        if begun.elapsed() >= limit {
            let log = log_end(docker, &running.id).await;
            return Err(ContainersError::Slow { server, limit, last, log });
        }
        if said_at.elapsed() >= PROGRESS_INTERVAL {
            said_at = Instant::now();
            progress(&format!("{server}: no answer for {} s ({last})", begun.elapsed().as_secs()));
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What `docker login` has left for this registry.
async fn credentials(registry: String) -> Option<DockerCredentials> {
    use docker_credential::DockerCredential;
    let server = registry.clone();
    // It may run a helper program.
    let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&registry).ok()).await.ok()??;
    Some(match found {
        DockerCredential::IdentityToken(token) => {
            DockerCredentials { identitytoken: Some(token), serveraddress: Some(server), ..Default::default() }
        }
        DockerCredential::UsernamePassword(username, password) => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: Some(server),
            ..Default::default()
        },
    })
}
