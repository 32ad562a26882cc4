//! What both services are made of: a listener on loopback, connections that a fault can end, and bounded reading.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServiceError;
use super::faults::FaultSwitch;

/// Most connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// How long a connection may be idle, or take to send its headers.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a request's body may take.
const BODY_MAX: Duration = Duration::from_mins(1);
/// Bytes of a body that is refused which are still read: a client that is writing does not look for an answer, and
/// a connection that is closed under it would hide the answer.
const DRAIN_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How long the end may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(3);
/// Pause after an accept that failed, which is when the process has no file handles left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port that is taken and not served yet.
#[derive(Debug)]
pub(super) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    pub(super) async fn start() -> Result<Self, ServiceError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(ServiceError::Listen)?;
        let address = listener.local_addr().map_err(ServiceError::Listen)?;
        Ok(Self { listener, address })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves `app` behind a fault switch.
    pub(super) fn serve(self, app: Router, seed: u64) -> Server {
        let server = Server {
            url: self.url(),
            faults: FaultSwitch::new(seed),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let app = app
            .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "no_such_route"))
            .method_not_allowed_fallback(async || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
        let accept = accept(self.listener, app, server.faults.clone(), server.stop.clone(), server.tasks.clone());
        server.tasks.spawn(accept);
        server
    }
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    url: String,
    faults: FaultSwitch,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn faults(&self) -> &FaultSwitch {
        &self.faults
    }

    /// Answers what is under way, hanging requests included, and ends.
    pub(super) async fn shutdown(self) {
        self.faults.set(None);
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_MAX * 2, self.tasks.wait()).await.is_err() {
            tracing::warn!("a simulated service did not end in time: {}", self.url);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, app: Router, faults: FaultSwitch, stop: CancellationToken, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accepted = async {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let serve = serve(stream, app.clone(), faults.clone(), stop.clone());
                    tasks.spawn(async move {
                        serve.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a simulated service cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    // Ends by the stop alone.
    let (Some(()) | None) = stop.run_until_cancelled(accepted).await;
}

async fn serve(stream: TcpStream, app: Router, faults: FaultSwitch, stop: CancellationToken) {
    let app = TowerToHyperService::new(app);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let app = app.clone();
        let faults = faults.clone();
        async move {
            let call = |request: Request| async move {
                let Ok(response) = app.call(request).await;
                response
            };
            faults.around(request.map(Body::new), call).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        // Dropping the connection closes it without an answer.
        () = faults.outage() => return,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = tokio::time::timeout(SHUTDOWN_MAX, connection).await {
        told(ended);
    }
}

/// A connection that breaks is the client's doing or a fault's: nothing to report above debug.
fn told(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of a simulated service ended");
    }
}

/// An error answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// For a request that is well-formed and still cannot be done.
    pub(super) const fn unprocessable(reason: &'static str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(json!({"error": {"reason": self.reason}}))).into_response()
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        tracing::error!(%error, "a simulated service failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal")
    }
}

/// Reads a body of at most `limit` bytes; a longer one is answered with `too_long`.
pub(super) async fn read_body(request: Request, limit: u64, too_long: Refusal) -> Result<Vec<u8>, Refusal> {
    let mut chunks = request.into_body().into_data_stream();
    let read = async {
        let mut bytes = Vec::new();
        let mut total = 0_u64;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "body_broken"))?;
            total = total.saturating_add(chunk.len() as u64);
            if total <= limit {
                bytes.extend_from_slice(&chunk);
            } else if total > limit.saturating_add(DRAIN_MAX_BYTES) {
                break;
            }
        }
        if total <= limit { Ok(bytes) } else { Err(too_long) }
    };
    let too_slow = Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow");
    tokio::time::timeout(BODY_MAX, read).await.unwrap_or(Err(too_slow))
}

/// Reads a body away so that the answer is seen.
pub(super) async fn drain(request: Request) {
    let nothing = Refusal::new(StatusCode::BAD_REQUEST, "not_read");
    let (Ok(_) | Err(_)) = read_body(request, 0, nothing).await;
}

/// Reads a JSON body of at most `limit` bytes.
pub(super) async fn read_json<T: DeserializeOwned>(request: Request, limit: u64) -> Result<T, Refusal> {
    let too_long = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large");
    let bytes = read_body(request, limit, too_long).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        tracing::debug!(%error, "a request makes no sense");
        Refusal::new(StatusCode::BAD_REQUEST, "malformed_request")
    })
}
