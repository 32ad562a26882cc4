//! The control server: the interface for a browser or the shell, and the WebSocket it talks through (S4).
//!
//! A page of another origin must not be able to talk to it: the WebSocket takes a token that only the address
//! which was printed carries, every request must name one of the server's own hosts (a foreign name that was
//! made to point here does not help), and a WebSocket's `Origin` must be that host.

mod commands;
mod inspect;
mod pages;
mod recordings;
mod requests;
mod scenarios;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackscope_protocol::Timestamp;
use ackscope_protocol::control::{CONTROL_PATH, Environment};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::scenarios::scenarios_folder;
use self::scenarios::{ByHand, Theatre};
use crate::recorder::Recorder;
use crate::recording::format::RecordedReport;
use crate::world::{World, WorldOptions, reachable};

/// Most interfaces at a time.
const INTERFACES_MAX: usize = 16;
/// Largest message of an interface in bytes: an upload in base64, and room for what stands around it.
const MESSAGE_MAX_BYTES: usize = requests::UPLOAD_MAX_BYTES / 3 * 4 + 64 * 1024;
/// How long the end may take.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// Plays the built-in tour in a world; the error is one sentence for people.
pub type PlayTour = Arc<dyn Fn(Arc<World>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A recorded run as interfaces are shown it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its events, as far as they have been played.
    pub recorder: Recorder,
    /// What it ran on; the reason says that it is a recording.
    pub environment: Environment,
    /// Business time at its end.
    pub business_now: Timestamp,
    /// What its report said, once that has been read.
    pub report: LateReport,
}

/// The report of a run, which is there when the run has ended.
pub type LateReport = Arc<OnceLock<RecordedReport>>;

/// What scenarios are played in, and where their files are.
#[derive(Clone, Debug)]
pub struct ScenarioOptions {
    /// The folder of their files; made when the first one is saved.
    pub folder: PathBuf,
    /// The world each one is played in. It listens at an address of its own and leaves nothing.
    pub world: WorldOptions,
}

/// What the server shows.
enum Shown {
    /// The run the server was started for.
    Live(Arc<World>),
    /// A scenario's run, until the live one is asked for again.
    Played(Arc<World>, LateReport),
    /// A run of before.
    Recorded(Recorded),
}

impl Shown {
    fn recorder(&self) -> &Recorder {
        match self {
            Self::Live(world) | Self::Played(world, _) => world.recorder(),
            Self::Recorded(recorded) => &recorded.recorder,
        }
    }

    fn environment(&self) -> Environment {
        match self {
            Self::Live(world) | Self::Played(world, _) => world.environment(),
            Self::Recorded(recorded) => recorded.environment.clone(),
        }
    }

    fn business_now(&self) -> Timestamp {
        match self {
            Self::Live(world) | Self::Played(world, _) => world.business_now(),
            Self::Recorded(recorded) => recorded.business_now,
        }
    }

    fn report(&self) -> Option<&RecordedReport> {
        match self {
            Self::Live(_) => None,
            Self::Played(_, report) => report.get(),
            Self::Recorded(recorded) => recorded.report.get(),
        }
    }
}

/// The control server could not start.
#[derive(Debug, thiserror::Error)]
#[error("the interface cannot be served at {address}: {error}")]
pub struct ControlError {
    address: SocketAddr,
    error: std::io::Error,
}

/// A running control server.
#[derive(Debug)]
pub struct ControlServer {
    url: String,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// What the handlers use.
struct Shared {
    /// What interfaces are shown now; each notices when it changes.
    shown: watch::Sender<Arc<Shown>>,
    /// What is shown when no scenario is.
    first: Arc<Shown>,
    theatre: Theatre,
    by_hand: ByHand,
    opened: recordings::Opened,
    play_tour: PlayTour,
    is_touring: AtomicBool,
    token: String,
    hosts: Hosts,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shared {
    fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.borrow())
    }
}

impl ControlServer {
    /// Starts serving `world` at `listen`.
    pub fn start(
        listen: SocketAddr,
        world: Arc<World>,
        play_tour: PlayTour,
        scenarios: ScenarioOptions,
    ) -> BoxFuture<'static, Result<Self, ControlError>> {
        Self::show(listen, Shown::Live(world), play_tour, Some(scenarios))
    }

    /// Starts serving a recorded run at `listen`: interfaces see it as they see a live one, and every command is
    /// refused.
    pub fn start_recorded(listen: SocketAddr, recorded: Recorded) -> BoxFuture<'static, Result<Self, ControlError>> {
        let play_tour: PlayTour = Arc::new(|_| Box::pin(async { Err("a recording plays no tour".to_owned()) }));
        Self::show(listen, Shown::Recorded(recorded), play_tour, None)
    }

    fn show(
        listen: SocketAddr,
        shown: Shown,
        play_tour: PlayTour,
        scenarios: Option<ScenarioOptions>,
    ) -> BoxFuture<'static, Result<Self, ControlError>> {
        Box::pin(async move {
            let failed = |error| ControlError { address: listen, error };
            let listener = TcpListener::bind(listen).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            // 244 random bits; knowing the port is not enough.
            let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
            let url = format!("http://{}/?token={token}", reachable(address));
            let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
            let first = Arc::new(shown);
            let shared = Arc::new(Shared {
                shown: watch::Sender::new(Arc::clone(&first)),
                first,
                by_hand: ByHand::default(),
                opened: recordings::Opened::default(),
                theatre: Theatre::new(scenarios, stop.child_token()),
                play_tour,
                is_touring: AtomicBool::new(false),
                token,
                hosts: Hosts::of(address),
                places: Arc::new(Semaphore::new(INTERFACES_MAX)),
                stop: stop.clone(),
                tasks: tasks.clone(),
            });
            let app = Router::new()
                .route(CONTROL_PATH, get(open_session))
                .fallback(get(pages::page))
                .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), check_host))
                .with_state(Arc::clone(&shared));
            let stopped = stop.clone().cancelled_owned();
            tasks.spawn(async move {
                if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                    tracing::error!(%error, "the control server ended");
                }
            });
            Ok(Self { url, address, stop, tasks, shared })
        })
    }

    /// The address to open, token included: whoever has it may do everything the interface can.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the interfaces that the harness ends, and ends.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.stop.cancel();
            self.tasks.close();
            if tokio::time::timeout(SHUTDOWN_LIMIT, self.tasks.wait()).await.is_err() {
                tracing::debug!("an interface did not take its leave in time");
            }
            self.shared.theatre.close().await;
        })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Which values of `Host` are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// Bound to loopback: these and no others.
    Loopback(Vec<String>),
    /// Bound elsewhere because somebody asked for it: this machine's names are not known here.
    Any,
}

impl Hosts {
    fn of(address: SocketAddr) -> Self {
        if !address.ip().is_loopback() {
            return Self::Any;
        }
        let port = address.port();
        let mut hosts = vec![format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
        hosts.push(address.to_string());
        if port == 80 {
            hosts.extend(["127.0.0.1", "localhost", "[::1]"].map(str::to_owned));
        }
        Self::Loopback(hosts)
    }

    fn has(&self, host: &str) -> bool {
        match self {
            Self::Loopback(hosts) => hosts.iter().any(|own| own.eq_ignore_ascii_case(host)),
            Self::Any => !host.is_empty(),
        }
    }
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

async fn check_host(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let is_own = host_of(request.headers()).is_some_and(|host| shared.hosts.has(host));
    let mut response = if is_own {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "This server does not go by that name.\n").into_response()
    };
    pages::harden(response.headers_mut());
    response
}

/// Whether a WebSocket may come from the page that opens it. Programs that are no browser send no `Origin`.
fn is_own_origin(headers: &HeaderMap) -> bool {
    match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => {
            let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
            origin.is_some() && origin == host_of(headers)
        }
    }
}

fn is_token(query: Option<&str>, token: &str) -> bool {
    let given = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
    // As long for a wrong token as for a right one, so that it cannot be guessed piece by piece.
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

async fn open_session(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !is_own_origin(&headers) {
        return (StatusCode::FORBIDDEN, "Pages of other origins may not connect.\n").into_response();
    }
    if !is_token(query.as_deref(), &shared.token) {
        return (StatusCode::UNAUTHORIZED, "The token is missing or wrong.\n").into_response();
    }
    let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "As many interfaces as possible are connected.\n").into_response();
    };
    upgrade.max_message_size(MESSAGE_MAX_BYTES).max_frame_size(MESSAGE_MAX_BYTES).on_upgrade(move |socket| {
        let tasks = shared.tasks.clone();
        tasks.track_future(async move {
            session::run(socket, shared).await;
            drop(place);
        })
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn on_loopback_only_the_own_names_are_answered() {
        let hosts = Hosts::of("127.0.0.1:4000".parse().unwrap());
        for own in ["127.0.0.1:4000", "localhost:4000", "LOCALHOST:4000", "[::1]:4000"] {
            assert!(hosts.has(own), "{own}");
        }
        for foreign in ["", "evil.example:4000", "127.0.0.1", "127.0.0.1:4001", "localhost.evil.example:4000"] {
            assert!(!hosts.has(foreign), "{foreign}");
        }
        assert!(Hosts::of("127.0.0.2:80".parse().unwrap()).has("127.0.0.2:80"));
        assert!(Hosts::of("127.0.0.1:80".parse().unwrap()).has("localhost"));
        assert!(Hosts::of("0.0.0.0:4000".parse().unwrap()).has("build-machine:4000"));
    }

    #[test]
    fn an_origin_must_be_the_host() {
        let headers = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:4000"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            headers
        };
        assert!(is_own_origin(&headers(None)));
        assert!(is_own_origin(&headers(Some("http://localhost:4000"))));
        for foreign in ["http://localhost:4001", "https://localhost:4000", "http://evil.example", "null", ""] {
            assert!(!is_own_origin(&headers(Some(foreign))), "{foreign}");
        }
    }

    #[test]
    fn the_token_must_be_whole() {
        assert!(is_token(Some("token=abc"), "abc"));
        assert!(is_token(Some("x=1&token=abc"), "abc"));
        for wrong in [None, Some(""), Some("token="), Some("token=ab"), Some("token=abcd"), Some("xtoken=abc")] {
            assert!(!is_token(wrong, "abc"), "{wrong:?}");
        }
    }
}
