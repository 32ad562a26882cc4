//! The fault switch of a simulated service (S3.3).

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::server::{Refusal, drain};

/// What is wrong with a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceFault {
    /// Every connection is closed without an answer, those that are open included.
    Outage,
    /// Every answer comes later.
    Latency {
        /// By this much.
        delay: Duration,
        /// And by up to this much more, drawn for each request.
        jitter: Duration,
    },
    /// A share of the requests is answered with an error and not done.
    ErrorShare {
        /// From 0 to 1.
        share: f64,
        /// HTTP status; 500 is taken for one that is no error.
        status: u16,
    },
    /// The next requests are answered with 503 and not done; after them it works.
    FailThenWork {
        /// How many.
        count: u64,
    },
    /// Requests get no answer until the fault changes; then they go on.
    Hang,
    /// 200 with a body that is not what was asked for; nothing is done.
    Garbage,
    /// The request is done, but its answer breaks off in the middle of the body.
    CutHalfway,
}

/// A fault and what it needs to be played.
#[derive(Debug)]
struct Active {
    fault: Option<ServiceFault>,
    rng: Mutex<fastrand::Rng>,
    failed: AtomicU64,
}

/// Sets the fault of one service. Clones share it.
#[derive(Clone, Debug)]
pub struct FaultSwitch {
    active: watch::Sender<Arc<Active>>,
    requests: Arc<AtomicU64>,
    seed: u64,
}

/// Where a fault ends a connection; the server closes it without a word.
#[derive(Debug, thiserror::Error)]
#[error("a fault closes the connection")]
pub(super) struct Cut;

impl FaultSwitch {
    pub(super) fn new(seed: u64) -> Self {
        let active = watch::Sender::new(Arc::new(Active::new(None, seed)));
        Self { active, requests: Arc::default(), seed }
    }

    /// Sets the fault, or heals the service. What a fault holds back is let go at once; what it draws and counts
    /// begins anew, so that the same fault set twice plays twice the same.
    pub fn set(&self, fault: Option<ServiceFault>) {
        self.active.send_replace(Arc::new(Active::new(fault, self.seed)));
    }

    /// The fault that is set.
    pub fn fault(&self) -> Option<ServiceFault> {
        self.active.borrow().fault
    }

    /// Requests that came in so far, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Ends when there is an outage.
    pub(super) async fn outage(&self) {
        let mut active = self.active.subscribe();
        let is_out = |active: &Arc<Active>| active.fault == Some(ServiceFault::Outage);
        if active.wait_for(is_out).await.is_err() {
            // The switch is gone and with it the service; the server ends the connection.
            pending::<()>().await;
        }
    }

    /// Lets a request through to `app`, or plays the fault.
    pub(super) async fn around<F: Future<Output = Response>>(
        &self,
        request: Request,
        app: impl FnOnce(Request) -> F,
    ) -> Result<Response, Cut> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut changes = self.active.subscribe();
        loop {
            let active = Arc::clone(&changes.borrow_and_update());
            match active.fault {
                None => return Ok(app(request).await),
                Some(ServiceFault::Outage) => return Err(Cut),
                Some(ServiceFault::Latency { delay, jitter }) => {
                    let delay = delay.saturating_add(jitter.mul_f64(active.draw()));
                    if tokio::time::timeout(delay, changes.changed()).await.is_err() {
                        return Ok(app(request).await);
                    }
                }
                Some(ServiceFault::ErrorShare { share, status }) => {
                    if active.draw() >= share {
                        return Ok(app(request).await);
                    }
                    drain(request).await;
                    let status = StatusCode::from_u16(status)
                        .ok()
                        .filter(|status| status.is_client_error() || status.is_server_error());
                    return Ok(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response());
                }
                Some(ServiceFault::FailThenWork { count }) => {
                    if active.failed.fetch_add(1, Ordering::Relaxed) >= count {
                        return Ok(app(request).await);
                    }
                    drain(request).await;
                    return Ok(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "fault").into_response());
                }
                // The switch lives as long as the server, so this is always a change.
                Some(ServiceFault::Hang) => changes.changed().await.map_err(|_| Cut)?,
                Some(ServiceFault::Garbage) => {
                    drain(request).await;
                    return Ok(active.garbage());
                }
                Some(ServiceFault::CutHalfway) => return cut(app(request).await).await,
            }
        }
    }
}

impl Active {
    fn new(fault: Option<ServiceFault>, seed: u64) -> Self {
        Self { fault, rng: Mutex::new(fastrand::Rng::with_seed(seed)), failed: AtomicU64::new(0) }
    }

    /// From 0 up to 1.
    fn draw(&self) -> f64 {
        self.rng.lock().f64()
    }

    fn garbage(&self) -> Response {
        const BODIES: [&[u8]; 6] = [
            b"",
            b"<html><body>It works!</body></html>",
            b"\xff\xfe\x00 not text",
            b"{\"states\": [\"verif",
            b"{\"it\": \"works\"}",
            b"[[[[[[[[]]]]]]]]",
        ];
        let body = BODIES[self.rng.lock().usize(..BODIES.len())];
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Breaks an answer off: the first half of the body is sent, then the connection is closed.
async fn cut(response: Response) -> Result<Response, Cut> {
    let (mut parts, body) = response.into_parts();
    // What the services answer fits into memory: files are the largest, and they come from there.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| Cut)?;
    if bytes.is_empty() {
        return Err(Cut);
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let halves = stream::unfold(Some(bytes.slice(..bytes.len() / 2)), |half| async move {
        match half {
            // An empty chunk would be skipped by the server and is not needed: headers alone are cut as well.
            Some(half) if !half.is_empty() => Some((Ok::<Bytes, Cut>(half), None)),
            _ => {
                // The server writes what it has when it has to wait for more.
                tokio::task::yield_now().await;
                Some((Err(Cut), None))
            }
        }
    });
    Ok(Response::from_parts(parts, Body::from_stream(halves)))
}
