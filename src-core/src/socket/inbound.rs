//! Events of one connection: read in order, limited, answered.
//!
//! The library would run every event as a task of its own and so mix up their order. Here an event is parsed
//! and acknowledged as `pending` where it is read, and one task for each connection hands it to the services in
//! order. Sends wait for the log side by side; their order in the log is the order they were read in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_protocol::MessageId;
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::{self, Answer, Request, SendMessage, ServerEvent};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Serialize;
use serde::de::IgnoredAny;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, MessageHandler};
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use socketioxide_core::Value;
use tokio::sync::{Semaphore, mpsc};

use super::sessions::Connection;
use crate::changes::{Caller, Later};
use crate::messages::InboundSend;
use crate::messaging::Tracked;
use crate::node::Services;

/// How long an answer waits for a client to be told that it is connected, which takes microseconds.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// Something a connection asked for, ready to be worked on.
enum Job {
    /// Its place in the order of the log is decided when its turn comes.
    Send(Box<InboundSend>, AckSender),
    /// Anything else. What has to stay in the connection's order comes first; it gives the rest.
    Request(BoxFuture<'static, BoxFuture<'static, ()>>),
}

/// The inbound side of one connection.
#[derive(Clone)]
pub struct Inbound {
    services: Arc<Services>,
    connection: Arc<Connection>,
    queue: mpsc::Sender<Job>,
    rate: Arc<DefaultDirectRateLimiter>,
}

impl Inbound {
    /// Starts the connection's task. It ends when the connection's handlers are dropped.
    pub fn start(services: Arc<Services>, connection: Arc<Connection>) -> Self {
        let (queue, jobs) = mpsc::channel(services.limits.inbound_queue_max.max(1));
        let nonzero = |number| std::num::NonZeroU32::new(number).unwrap_or(std::num::NonZeroU32::MIN);
        let quota = Quota::per_second(nonzero(services.limits.events_per_sec))
            .allow_burst(nonzero(services.limits.events_burst));
        tokio::spawn(work(Arc::clone(&services), jobs));
        Self { services, connection, queue, rate: Arc::new(RateLimiter::direct(quota)) }
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The services.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The one payload of an event. An event without or with several has none that could be read.
    fn payload(&self, packet: &Value) -> Result<serde_json::Value, WireError> {
        let Value::Str(text, binaries) = packet else {
            return Err(WireError::new(ErrorCode::InvalidPayload, "an event is JSON, not a binary packet"));
        };
        let bytes = text.len() + binaries.iter().flatten().map(bytes::Bytes::len).sum::<usize>();
        let max = self.services.limits.payload_max_bytes;
        if bytes > max {
            return Err(WireError::new(
                ErrorCode::TooLarge,
                format!("an event has at most {max} bytes, this one {bytes}"),
            ));
        }
        match serde_json::from_str::<(IgnoredAny, serde_json::Value)>(text) {
            Ok((_, payload)) => Ok(payload),
            Err(_) => Err(WireError::new(ErrorCode::InvalidPayload, "an event takes exactly one JSON object")),
        }
    }

    /// Whether the connection may send one more event now.
    fn within_rate(&self) -> Result<(), WireError> {
        self.rate.check().map_err(|_| {
            let per_sec = self.services.limits.events_per_sec;
            WireError::new(ErrorCode::RateLimited, format!("more than {per_sec} events a second; slow down"))
        })
    }

    /// Answers the ack callback; without one, a refusal is an `error` event.
    fn answer<T>(connection: &Arc<Connection>, ack: AckSender, wants_ack: bool, result: Result<T, WireError>)
    where
        T: Serialize + Send + 'static,
    {
        if wants_ack {
            let answer = Answer::from(result);
            let send = move |connection: &Connection| match ack.send(&answer) {
                Ok(()) | Err(SendError::Socket(SocketError::Closed)) => {}
                Err(SendError::Socket(SocketError::InternalChannelFull)) => connection.fall_behind(),
                Err(SendError::Serialize(error)) => {
                    tracing::error!(%error, connection = connection.id(), "an answer cannot be written");
                }
            };
            if connection.is_open() {
                send(connection);
            } else {
                let connection = Arc::clone(connection);
                tokio::spawn(async move {
                    if tokio::time::timeout(OPEN_LIMIT, connection.opened()).await.is_ok() {
                        send(&connection);
                    }
                });
            }
        } else if let Err(error) = result {
            connection.emit(&ServerEvent::Error(error));
        }
    }

    fn refuse(&self, ack: AckSender, wants_ack: bool, error: WireError) {
        Self::answer::<()>(&self.connection, ack, wants_ack, Err(error));
    }

    /// Puts a job in the connection's queue.
    fn enqueue(&self, job: Job) -> Result<(), Job> {
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job) => job,
        })
    }
}

fn queue_full() -> WireError {
    WireError::new(ErrorCode::Overloaded, "too many events of this connection wait for their turn; try again")
}

/// The connection's task.
async fn work(services: Arc<Services>, mut jobs: mpsc::Receiver<Job>) {
    let in_flight = Arc::new(Semaphore::new(services.limits.in_flight_max.max(1)));
    while let Some(job) = jobs.recv().await {
        // Never closed.
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        match job {
            Job::Send(send, ack) => {
                let admission = services.messages.admit(&send).await;
                let services = Arc::clone(&services);
                tokio::spawn(async move {
                    let outcome = services.messages.finish(&send, admission).await;
                    Inbound::answer(&send.connection, ack, send.wants_answer, outcome);
                    drop(permit);
                });
            }
            Job::Request(in_order) => {
                let rest = in_order.await;
                tokio::spawn(async move {
                    rest.await;
                    drop(permit);
                });
            }
        }
    }
}

/// Marks the handlers of this module.
pub struct Ordered;

/// `message:send` under its two names.
pub struct SendHandler(pub Inbound);

impl MessageHandler<LocalAdapter, Ordered> for SendHandler {
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, mut packet: Value, ack_id: Option<i64>) {
        let received_at = Instant::now();
        let Self(inbound) = self;
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut packet, &ack_id);
        let wants_answer = ack_id.is_some();

        let payload = match inbound.payload(&packet) {
            Ok(payload) => payload,
            Err(error) => return inbound.refuse(ack, wants_answer, error),
        };
        let acknowledgments = &inbound.services.acknowledgments;
        // A message whose name can be read is told of by that name, whatever else is wrong with it.
        let tracked = tracked(&payload, inbound.connection());
        let refuse = |ack, error: WireError| {
            if let Some(tracked) = &tracked {
                acknowledgments.refuse(tracked, inbound.connection(), &error);
            }
            inbound.refuse(ack, wants_answer, error);
        };
        let request = match wire::parse::<SendMessage>(payload) {
            Ok(request) => request,
            Err(error) => return refuse(ack, error),
        };
        if let Err(error) = inbound.within_rate() {
            return refuse(ack, error);
        }
        let Some(tracked) = tracked.clone() else {
            // Not reachable: what parsed as a whole has its parts.
            return inbound.refuse(ack, wants_answer, WireError::new(ErrorCode::Internal, "the message has no id"));
        };
        inbound.services.probe.stage(tracked.message_id, || Stage::Received);
        acknowledgments.pending(&tracked, inbound.connection());

        let connection = Arc::clone(inbound.connection());
        let send = InboundSend { request, tracked, connection, received_at, wants_answer };
        if let Err(Job::Send(send, ack)) = inbound.enqueue(Job::Send(Box::new(send), ack)) {
            let error = queue_full();
            acknowledgments.refuse(&send.tracked, inbound.connection(), &error);
            inbound.refuse(ack, wants_answer, error);
        }
    }
}

/// The name of a message, read from a payload that may be wrong elsewhere.
fn tracked(payload: &serde_json::Value, connection: &Connection) -> Option<Tracked> {
    let text = |field: &str| payload.get(field)?.as_str();
    let conversation_id = text("conversation_id")?.parse().ok()?;
    let temp_id = text("temp_id")?.parse().ok()?;
    let message_id = MessageId::derive(connection.user(), conversation_id, &temp_id);
    Some(Tracked { message_id, conversation_id, temp_id })
}

/// What works on a request: a function of the services, the caller and the payload. Its first part stays in the
/// connection's order, the rest is waited for side by side.
pub type Work<R> = fn(Arc<Services>, Caller, R) -> BoxFuture<'static, Later<<R as Request>::Answer>>;

/// Any event but `message:send`.
pub struct RequestHandler<R: Request> {
    /// The connection.
    pub inbound: Inbound,
    /// What works on it.
    pub work: Work<R>,
}

impl<R> MessageHandler<LocalAdapter, Ordered> for RequestHandler<R>
where
    R: Request + Send + 'static,
    R::Answer: Send,
{
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, mut packet: Value, ack_id: Option<i64>) {
        let received_at = Instant::now();
        let Self { inbound, work } = self;
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut packet, &ack_id);
        let wants_answer = ack_id.is_some();
        let request = inbound.payload(&packet).and_then(wire::parse::<R>);
        let request = match inbound.within_rate().and(request) {
            Ok(request) => request,
            Err(error) => return inbound.refuse(ack, wants_answer, error),
        };
        // The place is taken before the work is put in, so that a refusal still has the ack to answer with.
        let Ok(place) = inbound.queue.try_reserve() else {
            return inbound.refuse(ack, wants_answer, queue_full());
        };
        let connection = Arc::clone(inbound.connection());
        let deadline = inbound.services.limits.request_deadline;
        let caller = Caller { user: connection.user().clone(), received_at };
        let in_order = work(Arc::clone(&inbound.services), caller, request);
        let in_order = tokio::time::timeout(deadline, in_order).map(move |begun| {
            let rest = async move {
                let result = match begun {
                    Ok(later) => tokio::time::timeout(deadline, later).await.unwrap_or_else(|_| Err(too_slow())),
                    Err(_) => Err(too_slow()),
                };
                Inbound::answer(&connection, ack, wants_answer, result);
            };
            rest.boxed()
        });
        place.send(Job::Request(in_order.boxed()));
    }
}

fn too_slow() -> WireError {
    crate::refusal::store_too_slow()
}

/// Events that do not exist.
pub struct UnknownHandler(pub Inbound);

impl MessageHandler<LocalAdapter, Ordered> for UnknownHandler {
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, mut packet: Value, ack_id: Option<i64>) {
        let Self(inbound) = self;
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut packet, &ack_id);
        if let Err(error) = inbound.within_rate() {
            return inbound.refuse(ack, ack_id.is_some(), error);
        }
        inbound.refuse(ack, ack_id.is_some(), WireError::new(ErrorCode::InvalidPayload, "no such event"));
    }
}
