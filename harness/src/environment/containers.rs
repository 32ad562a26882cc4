//! MongoDB, Redis and Kafka in containers of this machine's Docker (S2).
//!
//! All three start side by side and are reached at fixed ports of the loopback. Everything that is made carries labels
//! that say whose it is (`owner.rs`); it is removed when [`Containers`] is dropped or shut down, when a start is given
//! up, by a watchdog when the process is killed, and otherwise by the sweep of the next start.

mod docker;
mod error;
mod images;
mod launch;
mod owner;
mod ready;
mod server;
mod sweep;
mod watchdog;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{KillContainerOptions, StopContainerOptionsBuilder};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::docker::{DockerProblem, DockerStatus, docker_status};
pub use self::error::ContainersError;
pub use self::images::{ContainerImages, ImageName, WrongImageName};
use self::launch::{Launch, READY_LIMIT, Running, until_ready};
use self::owner::{Place, Run};
pub use self::server::{Server, ServerAddresses};
pub use self::sweep::{Swept, remove_kept, sweep};
use self::sweep::{remove_labelled, sweep_place};
pub use self::watchdog::is_watchdog;
use super::network::Link;

/// How long the end waits for the containers to go.
const END_LIMIT: Duration = Duration::from_mins(1);
/// How long a server may take to stop in good order.
const STOP_LIMIT_SECS: i32 = 10;

/// Is given one line for each phase of each server, such as `Kafka: ready after 6.8 s`.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// What containers are made from.
#[derive(Clone)]
pub struct ContainersOptions {
    /// The images.
    pub images: ContainerImages,
    /// Whether they stay when this process ends. The next start that keeps, with the same images, finds them with
    /// everything that is in them; several processes may use them at once.
    pub keep: bool,
    /// Whether there is a way to each that can be slow, narrow, cut or a hole. Kept ones have none: it would go with
    /// this process.
    pub links: bool,
    /// Who is told how it goes.
    pub progress: Progress,
}

impl Default for ContainersOptions {
    fn default() -> Self {
        Self { images: ContainerImages::default(), keep: false, links: false, progress: Arc::new(|_| {}) }
    }
}

impl std::fmt::Debug for ContainersOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainersOptions")
            .field("images", &self.images)
            .field("keep", &self.keep)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

/// Three servers that answer. Dropping it removes them, unless they are kept.
#[derive(Debug)]
pub struct Containers {
    addresses: ServerAddresses,
    servers: Vec<(Running, ImageName)>,
    docker: Docker,
    end: End,
}

impl Containers {
    /// Starts the three servers side by side and waits until each has answered a real request. What killed runs left
    /// behind is swept meanwhile. Dropping this future undoes what it did, and so does a failure.
    pub fn start(options: ContainersOptions) -> BoxFuture<'static, Result<Self, ContainersError>> {
        Box::pin(async move {
            let mut options = options;
            options.progress = harmless(options.progress);
            let image = |server: Server| {
                let parsed = ImageName::parse(options.images.of(server));
                parsed.map(|image| (server, image)).map_err(|error| ContainersError::ImageName { server, error })
            };
            let images = Server::ALL.into_iter().map(image).collect::<Result<Vec<_>, _>>()?;
            let (tell_started, started) = oneshot::channel();
            let (ended_sender, ended) = sync_channel(1);
            let kept = Arc::new(AtomicBool::new(false));
            let cancel = CancellationToken::new();
            let end = End {
                cancel: cancel.clone(),
                ended: Mutex::new(ended),
                kept: Arc::clone(&kept),
                progress: Arc::clone(&options.progress),
            };
            let keep = options.keep;
            let owner = Owner { options, images, cancel, kept };
            docker::threads()?.spawn(owner.own(tell_started, ended_sender));
            // The owner says what went wrong after it has undone everything.
            let (docker, servers) = started.await.unwrap_or(Err(ContainersError::Interrupted))?;
            let address = |server: Server| {
                let found = servers.iter().find(|(running, _)| running.server == server);
                found.map(|(running, _)| server.address(running.port)).unwrap_or_default()
            };
            let addresses = ServerAddresses {
                mongodb_uri: address(Server::Mongodb),
                redis_url: address(Server::Redis),
                kafka_brokers: address(Server::Kafka),
            };
            // Only now: a start that is given up leaves nothing, whatever it would have kept.
            end.kept.store(keep, Ordering::SeqCst);
            Ok(Self { addresses, servers, docker, end })
        })
    }

    /// Where they are. It stays true when one is stopped and started again.
    pub fn addresses(&self) -> &ServerAddresses {
        &self.addresses
    }

    /// The way to a server, where faults of the way can be played.
    pub(crate) fn link(&self, server: Server) -> Option<&Link> {
        self.servers.iter().find(|(running, _)| running.server == server)?.0.link.as_deref()
    }

    /// Removes them with their volumes. Kept ones stay, and the progress says so.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Waiting for the end blocks, also when it is only dropped.
            if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
                tracing::warn!(%error, "containers may be left behind; the next start removes them");
            }
        })
    }

    /// Freezes a server: its connections stay and nothing is answered.
    pub fn pause(&self, server: Server) -> BoxFuture<'_, Result<(), ContainersError>> {
        Box::pin(async move {
            self.order("pause", server, |docker, id| async move { docker.pause_container(&id).await }).await
        })
    }

    /// Lets a frozen server go on.
    pub fn unpause(&self, server: Server) -> BoxFuture<'_, Result<(), ContainersError>> {
        Box::pin(async move {
            self.order("unpause", server, |docker, id| async move { docker.unpause_container(&id).await }).await
        })
    }

    /// Ends a server with SIGKILL.
    pub fn kill(&self, server: Server) -> BoxFuture<'_, Result<(), ContainersError>> {
        Box::pin(async move {
            self.order("kill", server, |docker, id| async move {
                docker.kill_container(&id, None::<KillContainerOptions>).await?;
                // The signal is delivered by now; the engine takes note a moment later.
                while docker.inspect_container(&id, None).await?.state.is_some_and(|state| state.running == Some(true))
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            })
            .await
        })
    }

    /// Ends a server in good order, at the latest after 10 s.
    pub fn stop(&self, server: Server) -> BoxFuture<'_, Result<(), ContainersError>> {
        Box::pin(async move {
            self.order("stop", server, |docker, id| async move {
                docker.stop_container(&id, Some(StopContainerOptionsBuilder::new().t(STOP_LIMIT_SECS).build())).await
            })
            .await
        })
    }

    /// Starts a server that was stopped or killed, with its data and at its address, and waits until it answers.
    pub fn start_again(&self, server: Server) -> BoxFuture<'_, Result<(), ContainersError>> {
        Box::pin(async move {
            let Some((running, image)) = self.servers.iter().find(|(running, _)| running.server == server).cloned()
            else {
                return Err(ContainersError::Interrupted);
            };
            let (docker, progress) = (self.docker.clone(), Arc::clone(&self.end.progress));
            docker::on_docker_threads(async move {
                let started = docker.start_container(&running.id, None).await;
                started.map_err(|error| error::start_error(server, &image.to_string(), error::said(&error)))?;
                until_ready(&docker, &running, &image, READY_LIMIT, &progress).await
            })
            .await?
        })
    }

    async fn order<F>(
        &self,
        what: &str,
        server: Server,
        order: impl FnOnce(Docker, String) -> F,
    ) -> Result<(), ContainersError>
    where
        F: Future<Output = Result<(), testcontainers::bollard::errors::Error>> + Send + 'static,
    {
        let Some((running, _)) = self.servers.iter().find(|(running, _)| running.server == server) else {
            return Err(ContainersError::Interrupted);
        };
        let ordered = docker::on_docker_threads(order(self.docker.clone(), running.id.clone())).await?;
        ordered.map_err(ContainersError::request(format!("{what} {server}")))
    }
}

/// What is told to people must not stand in the way of removing containers: writing to a terminal that was closed
/// panics.
fn harmless(progress: Progress) -> Progress {
    Arc::new(move |line| {
        if catch_unwind(AssertUnwindSafe(|| progress(line))).is_err() {
            tracing::debug!(line, "nobody could be told");
        }
    })
}

/// Ends the containers when it is dropped, and waits for it: the process may be about to exit.
struct End {
    cancel: CancellationToken,
    /// Closed when the owner has nothing left to do.
    ended: Mutex<Receiver<()>>,
    kept: Arc<AtomicBool>,
    progress: Progress,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.cancel.cancel();
        let ended = self.ended.get_mut();
        let waiting = || match ended.recv_timeout(END_LIMIT) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("containers are not gone yet and are not waited for; the next start removes them");
            }
        };
        // The removal has threads of its own, so this cannot wait for itself. Other tasks of a runtime with several
        // threads go on meanwhile.
        match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(waiting),
            _ => waiting(),
        }
        if self.kept.load(Ordering::SeqCst) {
            (self.progress)("MongoDB, Redis and Kafka are kept and go on running");
        }
    }
}

type Started = (Docker, Vec<(Running, ImageName)>);

/// The task that makes the containers and removes them. It is never dropped half way.
struct Owner {
    options: ContainersOptions,
    images: Vec<(Server, ImageName)>,
    /// Set when the containers, or their start, are not wanted any longer.
    cancel: CancellationToken,
    kept: Arc<AtomicBool>,
}

impl Owner {
    async fn own(self, tell_started: oneshot::Sender<Result<Started, ContainersError>>, _ended: SyncSender<()>) {
        let begun = async {
            let docker = docker::connect().await?;
            let place = Place::of_this_user()?;
            // The lock comes before the first label that names it.
            let run = place.begin_run()?;
            Ok((docker, place, run))
        };
        let (docker, place, run) = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                // Nobody listens any more when the start was given up.
                drop(tell_started.send(Err(error)));
                return;
            }
        };
        match self.launch_all(&docker, &place, &run).await {
            Ok(servers) => {
                if tell_started.send(Ok((docker.clone(), servers))).is_ok() {
                    self.cancel.cancelled().await;
                }
                if self.kept.load(Ordering::SeqCst) {
                    run.end();
                } else {
                    undo(&docker, run).await;
                }
            }
            Err(error) => {
                undo(&docker, run).await;
                drop(tell_started.send(Err(error)));
            }
        }
    }

    async fn launch_all(
        &self,
        docker: &Docker,
        place: &Place,
        run: &Run,
    ) -> Result<Vec<(Running, ImageName)>, ContainersError> {
        let keep = self.options.keep;
        let _kept_lock = if keep {
            tokio::select! {
                lock = place.kept_lock() => Some(lock?),
                () = self.cancel.cancelled() => return Err(ContainersError::Interrupted),
            }
        } else {
            None
        };
        // One that fails ends the others too.
        let cancel = self.cancel.child_token();
        let launches = self.images.iter().map(|(server, image)| {
            let cancel = cancel.clone();
            async move {
                let progress = &self.options.progress;
                let with_link = self.options.links && !keep;
                let launch =
                    Launch { docker, place, run, server: *server, image, keep, with_link, progress, cancel: &cancel };
                let launched = launch.launch().await;
                if launched.is_err() {
                    cancel.cancel();
                }
                launched.map(|running| (running, image.clone()))
            }
        });
        let sweeping = async {
            match sweep_place(docker, place).await {
                Ok(swept) if swept.containers > 0 => {
                    let Swept { runs, containers } = swept;
                    (self.options.progress)(&format!(
                        "removed {containers} containers that {runs} killed runs left behind"
                    ));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "what killed runs left behind could not be removed"),
            }
        };
        let (launched, ()) = tokio::join!(futures_util::future::join_all(launches), sweeping);
        let mut servers = Vec::new();
        let mut failure = None;
        for launched in launched {
            match launched {
                Ok(server) => servers.push(server),
                // The reason is what counts, not who was interrupted for it.
                Err(error) if failure.is_none() || matches!(failure, Some(ContainersError::Interrupted)) => {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        failure.map_or(Ok(servers), Err)
    }
}

/// Removes what a run made. What cannot be removed is left to the sweep: the lock is given back, its file stays.
async fn undo(docker: &Docker, run: Run) {
    match remove_labelled(docker, &[run.label()]).await {
        Ok(_) => run.end(),
        Err(error) => tracing::warn!(%error, "containers are left behind; the next start removes them"),
    }
}
