//! What the window shows: the run of a backend that is started here, or a recording, which needs none.
//!
//! One task has all of it ([`run`]) and does one thing after the other; menus, dialogs and a second start of the app
//! only ask ([`Requests`]). A start of the backend goes on while a recording is opened.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackscope_harness::environment::{BackendChoice, TokenKeyError};
use ackscope_harness::host::{Host, HostError};
use ackscope_harness::recording::{RecordOptions, RecordingFile, WriteError};
use ackscope_harness::viewer::{Pace, Viewer, ViewerError};
use futures_util::future::BoxFuture;
use tauri::{AppHandle, Manager as _, Url, WebviewWindow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;
use crate::splash::{Failure, Splash};
use crate::{dialogs, menu, window};

/// Most requests that wait: a person clicks no faster.
const REQUESTS_MAX: usize = 16;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The run of the backend, which is started when it does not run.
    Live,
    /// The same with the embedded backend, which needs nothing installed.
    Embedded,
    /// A recording.
    Open(PathBuf),
    /// What is shown, as a recording in this file.
    SaveAs(PathBuf),
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Requests(mpsc::Sender<Request>);

impl Requests {
    /// A place for requests, and where they come out.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        (Self(sender), receiver)
    }

    /// Asks for something.
    pub(crate) fn ask(&self, request: Request) {
        if let Err(error) = self.0.try_send(request) {
            tracing::warn!("what was asked for is left out: {error}");
        }
    }
}

/// Why what was asked for is not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error(transparent)]
    Start(#[from] HostError),
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    #[error(transparent)]
    Recording(#[from] ViewerError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{} could not be copied to {}: {error}", from.display(), to.display())]
    Copy { from: PathBuf, to: PathBuf, error: std::io::Error },
    #[error("nothing is shown that could be saved")]
    NothingShown,
    #[error("the interface's address `{0}` is no URL")]
    Address(String),
    #[error("the window could not show the interface: {0}")]
    Show(#[from] tauri::Error),
    #[error("the ready line could not be written to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl BackendError {
    /// Whether the request was wrong, rather than the environment.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Start(error) => error.is_usage(),
            Self::Recording(_) => true,
            _ => false,
        }
    }
}

/// What everything here needs.
pub(crate) struct Stage {
    pub(crate) app: AppHandle,
    pub(crate) window: WebviewWindow,
    pub(crate) splash: Splash,
    pub(crate) title: window::Title,
    pub(crate) plan: Plan,
    /// Whether a script waits for the ready line, and nobody looks.
    pub(crate) json: bool,
}

/// Carries out `first` and then what is asked for, until `stop`. Ends early with the reason when a script waits and
/// there is nothing to be shown.
pub(crate) async fn run(
    stage: Stage,
    first: Request,
    mut requests: mpsc::Receiver<Request>,
    stop: CancellationToken,
) -> Result<(), BackendError> {
    let mut play = Play { stage, starting: None, live: None, viewer: None, last: Ok(()) };
    let mut next = Some(first);
    loop {
        if let Some(request) = next.take() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                outcome = play.carry_out(request.clone()) => play.done(&request, outcome),
            }
        }
        if play.stage.json && play.last.is_err() {
            play.stage.window.close()?;
            break;
        }
        tokio::select! {
            biased;
            // Closed while it was starting: dropping the start undoes what it did so far.
            () = stop.cancelled() => break,
            Some(request) = requests.recv() => next = Some(request),
            started = started(&mut play.starting) => {
                play.starting = None;
                let outcome = play.take(started);
                play.done(&Request::Live, outcome);
            }
        }
    }
    play.end().await
}

type Starting = BoxFuture<'static, Result<Host, HostError>>;

/// How a start ended; never, while there is none.
async fn started(starting: &mut Option<Starting>) -> Result<Host, HostError> {
    match starting {
        Some(starting) => starting.await,
        None => std::future::pending().await,
    }
}

struct Play {
    stage: Stage,
    starting: Option<Starting>,
    live: Option<Host>,
    /// The recording that is shown.
    viewer: Option<(PathBuf, Viewer)>,
    /// What the last start of what is to be shown came to.
    last: Result<(), BackendError>,
}

impl Play {
    async fn carry_out(&mut self, request: Request) -> Result<(), BackendError> {
        match request {
            Request::Live => self.live().await,
            Request::Embedded => {
                self.stage.plan.choose(BackendChoice::Embedded);
                self.live().await
            }
            Request::Open(file) => self.open(file).await,
            Request::SaveAs(file) => self.save_as(file).await,
        }
    }

    /// Says what did not work: on the page when there is nothing else on it, else in a dialog.
    fn done(&mut self, request: &Request, outcome: Result<(), BackendError>) {
        let is_about_show = !matches!(request, Request::SaveAs(_));
        if let Err(error) = &outcome {
            tracing::error!("{error}");
            let failure = failure(error, request, self.stage.plan.choice());
            if self.live.is_none() && self.viewer.is_none() && self.starting.is_none() {
                self.stage.splash.fail(failure);
            } else if !self.stage.json {
                dialogs::tell_failure(&self.stage.window, &failure);
            }
        }
        if is_about_show {
            self.last = outcome;
        }
    }

    async fn live(&mut self) -> Result<(), BackendError> {
        self.close_viewer().await;
        if let Some(host) = &self.live {
            return self.show(host.ui_url(), None);
        }
        self.stage.splash.show("starting the backend");
        if self.starting.is_none() {
            let splash = self.stage.splash.clone();
            let options = self.stage.plan.options(Arc::new(move |line| splash.say(line)))?;
            self.starting = Some(Host::start(options));
        }
        Ok(())
    }

    /// Takes the backend that was started.
    fn take(&mut self, started: Result<Host, HostError>) -> Result<(), BackendError> {
        let host = self.live.insert(started?);
        tracing::info!("backend {}: {}", host.environment().backend.as_str(), host.environment().reason);
        if self.stage.json {
            ready(&serde_json::json!({
                "chat": host.chat_url(),
                "ui": host.ui_url(),
                "backend": host.environment().backend.as_str(),
            }))?;
        }
        let url = host.ui_url().to_owned();
        // A recording that was opened meanwhile stays.
        if self.viewer.is_none() { self.show(&url, None) } else { Ok(()) }
    }

    async fn open(&mut self, file: PathBuf) -> Result<(), BackendError> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        if self.live.is_none() && self.viewer.is_none() && self.starting.is_none() {
            self.stage.splash.show("opening a recording");
        }
        let opened = Viewer::open(file.clone(), listen, Pace::Follow).await;
        let viewer = match opened {
            Ok(viewer) => viewer,
            Err(error) => {
                // It is of no use on the list.
                menu::forget(&self.stage.app, &file);
                return Err(error.into());
            }
        };
        tracing::info!("recording {}", file.display());
        menu::remember(&self.stage.app, &file);
        // A script waits for the first thing that is shown, and for the backend.
        if self.stage.json && self.viewer.is_none() && self.live.is_none() {
            ready(&serde_json::json!({ "ui": viewer.ui_url() }))?;
        }
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        self.show(viewer.ui_url(), Some(name))?;
        if let Some((_, before)) = self.viewer.replace((file, viewer)) {
            before.shutdown().await;
        }
        Ok(())
    }

    /// Saves what is shown: a recording as it is, a run with everything up to now.
    async fn save_as(&mut self, file: PathBuf) -> Result<(), BackendError> {
        if let Some((from, _)) = &self.viewer {
            let (from, to) = (from.clone(), file.clone());
            let copied = tokio::task::spawn_blocking(move || copy(&from, &to)).await;
            copied.unwrap_or_else(|panic| Err(BackendError::Output(panic.into())))?;
        } else if let Some(host) = &self.live {
            let world = host.world();
            let options = RecordOptions { title: Some("By hand".to_owned()), ..RecordOptions::to(&file) };
            let environment = host.environment();
            let recording = RecordingFile::create(options)?.start(
                world.recorder().clone(),
                environment.backend,
                &environment.reason,
            )?;
            recording.close().await?;
        } else {
            return Err(BackendError::NothingShown);
        }
        menu::remember(&self.stage.app, &file);
        Ok(())
    }

    fn show(&self, url: &str, name: Option<String>) -> Result<(), BackendError> {
        let parsed = Url::parse(url).map_err(|_| BackendError::Address(url.to_owned()))?;
        self.stage.splash.leave();
        self.stage.title.name(name);
        self.stage.window.navigate(parsed)?;
        Ok(())
    }

    async fn close_viewer(&mut self) {
        if let Some((_, viewer)) = self.viewer.take() {
            self.stage.title.name(None);
            viewer.shutdown().await;
        }
    }

    async fn end(mut self) -> Result<(), BackendError> {
        drop(self.starting.take());
        self.close_viewer().await;
        if let Some(host) = self.live.take() {
            host.shutdown().await;
            return Ok(());
        }
        self.last
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BackendError> {
    // Onto itself it would be emptied.
    if from.canonicalize().ok() == to.canonicalize().ok() && to.exists() {
        return Ok(());
    }
    let failed = |error| BackendError::Copy { from: from.to_owned(), to: to.to_owned(), error };
    std::fs::copy(from, to).map(drop).map_err(failed)
}

fn ready(line: &serde_json::Value) -> Result<(), BackendError> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}

/// What is told of an error: what happened, what it means, what to do.
fn failure(error: &BackendError, request: &Request, choice: BackendChoice) -> Failure {
    let what = capitalized(&error.to_string());
    let open = ("open", "Open a recording…");
    let quit = ("quit", "Quit");
    match (error, request) {
        (BackendError::Recording(_), _) => Failure {
            what,
            means: "Nothing of this file is shown. The file itself was not changed.".to_owned(),
            advice: "Open another recording, or start the backend and make one: every run is recorded.".to_owned(),
            offers: vec![open, ("live", "Start the backend"), quit],
        },
        (_, Request::SaveAs(_)) => Failure {
            what,
            means: "What is shown is not in that file. The run goes on and nothing of it is lost.".to_owned(),
            advice: "Save it in a folder that you may write to and that has room.".to_owned(),
            offers: Vec::new(),
        },
        _ => {
            let advice = match choice {
                BackendChoice::Containers => {
                    "Start Docker and try again, or take the embedded backend, which needs nothing installed."
                }
                BackendChoice::External => {
                    "See that the servers run and that their addresses are right, or take the embedded backend, which \
                     needs nothing installed."
                }
                BackendChoice::Auto | BackendChoice::Embedded => {
                    "Mend what is said above and try again; `ackscope doctor` tells what each backend needs here."
                }
            };
            let mut offers = vec![("live", "Try again")];
            if choice != BackendChoice::Embedded {
                offers.push(("embedded", "Start with the embedded backend"));
            }
            offers.extend([open, quit]);
            Failure {
                what,
                means: "No chat runs, and nothing that was started for it is left.".to_owned(),
                advice: advice.to_owned(),
                offers,
            }
        }
    }
}

/// A sentence as it stands by itself; errors begin small, because they mostly follow a colon.
fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Carries out what was clicked on the start page.
pub(crate) fn clicked(app: &AppHandle, asked: &str) {
    let requests = app.state::<Requests>();
    match asked {
        "live" => requests.ask(Request::Live),
        "embedded" => requests.ask(Request::Embedded),
        "open" => dialogs::open(app),
        "quit" => app.exit(0),
        other => tracing::warn!("the start page asked for `{other}`, which there is not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_it_means_and_what_to_do() {
        let error = BackendError::NothingShown;
        for request in [Request::Live, Request::Open("x.ackrec".into()), Request::SaveAs("x.ackrec".into())] {
            for choice in
                [BackendChoice::Auto, BackendChoice::Embedded, BackendChoice::Containers, BackendChoice::External]
            {
                let told = failure(&error, &request, choice);
                assert!(!told.what.is_empty() && !told.means.is_empty() && !told.advice.is_empty(), "{told:?}");
                let offers_embedded = told.offers.iter().any(|(asked, _)| *asked == "embedded");
                let is_start = !matches!(request, Request::SaveAs(_));
                assert_eq!(offers_embedded, is_start && choice != BackendChoice::Embedded, "{told:?}");
            }
        }
    }

    #[test]
    fn what_happened_begins_as_a_sentence_does() {
        assert_eq!(capitalized("the servers cannot be used"), "The servers cannot be used");
        assert_eq!(capitalized("/tmp/x is no recording"), "/tmp/x is no recording");
        assert_eq!(capitalized(""), "");
    }

    #[test]
    fn a_recording_saved_onto_itself_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.ackrec"), folder.path().join("b.ackrec"));
        std::fs::write(&from, "events").unwrap();
        copy(&from, &to).unwrap();
        copy(&from, &from).unwrap();
        assert_eq!(std::fs::read_to_string(&from).unwrap(), "events");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "events");
        assert!(copy(&folder.path().join("none"), &to).is_err());
    }
}
