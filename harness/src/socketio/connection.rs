//! One connection: opening, the task that reads and writes, and every way of ending.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::packet::{Handshake, Malformed, Packet, Payload, connect_frame, disconnect_frame, event_frame};

/// Most requests of one connection that wait for their answer.
const WAITING_MAX: usize = 16_384;
/// Most frames written before the socket is flushed.
const WRITE_BATCH: usize = 64;
/// Longest wait for a goodbye to be written.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// Gets what comes over a connection, on the connection's own task: it must not block and should be short.
pub trait Handler: Send + Sync + 'static {
    /// An event. `at` is when its frame was read.
    fn on_event(&self, at: Instant, event: &str, payload: Payload<'_>);

    /// The answer of an event that was emitted with [`Connection::try_emit_tracked`] or
    /// [`Connection::emit_tracked`].
    fn on_answer(&self, at: Instant, id: u64, payload: Payload<'_>);

    /// A frame that is no packet. The connection goes on.
    fn on_malformed(&self, at: Instant, problem: &Malformed);

    /// The connection ended; nothing comes after this.
    fn on_down(&self, at: Instant, reason: &DisconnectReason);
}

/// How a connection is opened.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// Limit for TCP, WebSocket, Engine.IO and the namespace together.
    pub connect_limit: Duration,
    /// Most outgoing frames that wait; more is [`EmitError::QueueFull`], or a wait.
    pub queue_frames: usize,
    /// Longest wait for a place in that queue.
    pub queue_limit: Duration,
    /// Size of the read buffer in bytes; it is allocated for every connection, whether it is used or not.
    pub read_buffer_bytes: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            connect_limit: Duration::from_secs(10),
            queue_frames: 1_024,
            queue_limit: Duration::from_secs(10),
            read_buffer_bytes: 16 * 1_024,
        }
    }
}

/// How fast a connection reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as frames come.
    #[default]
    Full,
    /// One frame each interval: a slow phone.
    Every(Duration),
    /// Only so many bytes a second: a narrow way. A frame is read whole, and the time it takes is waited before the
    /// next one.
    Bytes(NonZeroU32),
    /// Not at all, until the pace changes. The server's pings go unanswered too.
    Paused,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address cannot be used.
    #[error("`{url}` is not an address of a chat service: {reason}")]
    Address {
        /// What is wrong with it.
        reason: &'static str,
        /// The address.
        url: String,
    },
    /// TCP failed.
    #[error("no TCP connection: {0}")]
    Tcp(#[from] std::io::Error),
    /// The WebSocket was not opened.
    #[error("no WebSocket: {0}")]
    WebSocket(String),
    /// The server does not speak as Engine.IO or Socket.IO should.
    #[error("the server does not speak Socket.IO: {0}")]
    Protocol(String),
    /// The server refused to let this client into the namespace (`connect_error`).
    #[error("refused: {message}")]
    Refused {
        /// The server's sentence.
        message: String,
        /// What the server added.
        data: serde_json::Value,
    },
    /// It took longer than the limit.
    #[error("not connected within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The server sent this client away from the namespace.
    #[error("sent away by the server")]
    SentAway,
    /// The server closed the transport.
    #[error("closed by the server{}", close_text(*code, text))]
    ClosedByServer {
        /// The WebSocket's close code, if there was one.
        code: Option<u16>,
        /// The WebSocket's close reason; often empty.
        text: String,
    },
    /// The transport failed.
    #[error("transport failed: {0}")]
    Transport(String),
    /// The server did not ping in time.
    #[error("the server did not ping within {} ms", .0.as_millis())]
    Silent(Duration),
    /// This side dropped the TCP connection without a goodbye.
    #[error("dropped without a goodbye")]
    Dropped,
    /// This side said goodbye.
    #[error("closed")]
    Closed,
}

fn close_text(code: Option<u16>, text: &str) -> String {
    match (code, text) {
        (None, "") => String::new(),
        (Some(code), "") => format!(" ({code})"),
        (None, text) => format!(" ({text})"),
        (Some(code), text) => format!(" ({code}: {text})"),
    }
}

/// Why something was not put on a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The queue of outgoing frames is full.
    #[error("the queue of outgoing frames is full")]
    QueueFull,
    /// The connection is down.
    #[error("not connected: {0}")]
    Down(DisconnectReason),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written: {0}")]
    Payload(String),
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It was not put on the connection.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// Too many requests wait already.
    #[error("{WAITING_MAX} requests wait for their answers already")]
    TooMany,
    /// No answer came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The answer does not read as JSON.
    #[error("the answer does not read: {0}")]
    Unreadable(String),
}

/// An open connection in one namespace. Dropping it drops the TCP connection without a goodbye.
#[derive(Debug)]
pub struct Connection {
    namespace: Arc<str>,
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Message>,
    queue_limit: Duration,
    pace: watch::Sender<Pace>,
    goodbye: CancellationToken,
    drop_now: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Box<str>>>>,
    down: watch::Sender<Option<DisconnectReason>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.drop_now.cancel();
    }
}

impl Connection {
    /// Opens a connection and joins `namespace` with `auth`. `url` is `http://host:port` or `ws://host:port`.
    pub async fn open(
        url: &str,
        namespace: &str,
        auth: &impl Serialize,
        options: &ConnectionOptions,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ConnectError> {
        let frame =
            connect_frame(namespace, auth).map_err(|error| ConnectError::Protocol(format!("auth payload: {error}")))?;
        let limit = options.connect_limit;
        let opening = async {
            let mut socket = open_transport(url, options).await?;
            let handshake = read_handshake(&mut socket).await?;
            socket.send(Message::text(frame)).await.map_err(transport_error)?;
            join(&mut socket, namespace).await?;
            Ok::<_, ConnectError>((socket, handshake))
        };
        let (socket, handshake) =
            tokio::time::timeout(limit, opening).await.map_err(|_| ConnectError::TimedOut(limit))??;

        let (outgoing, queue) = mpsc::channel(options.queue_frames.max(1));
        let (pace, pace_seen) = watch::channel(Pace::Full);
        let (goodbye, drop_now) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            next_id: AtomicU64::new(0),
            waiting: Mutex::new(HashMap::new()),
            down: watch::Sender::new(None),
        });
        let namespace: Arc<str> = namespace.into();
        let task = Task {
            namespace: Arc::clone(&namespace),
            shared: Arc::clone(&shared),
            handler,
            silence_limit: handshake.silence_limit(),
            goodbye: goodbye.clone(),
            drop_now: drop_now.clone(),
        };
        tokio::spawn(task.run(socket, queue, pace_seen));
        Ok(Self { namespace, shared, outgoing, queue_limit: options.queue_limit, pace, goodbye, drop_now })
    }

    /// Whether it is up, as far as this side knows.
    pub fn is_up(&self) -> bool {
        self.shared.down.borrow().is_none()
    }

    /// Waits until the connection has ended, and says why.
    pub async fn ended(&self) -> DisconnectReason {
        let mut down = self.shared.down.subscribe();
        // The sender lives in `self.shared`, so the wait cannot fail.
        match down.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(DisconnectReason::Closed),
            Err(_) => DisconnectReason::Closed,
        }
    }

    /// Emits an event that asks for no answer; waits for a place in the queue, within its limit.
    pub async fn emit<P: Serialize + ?Sized>(&self, event: &str, payload: &P) -> Result<(), EmitError> {
        self.put(self.event(None, event, payload)?).await
    }

    /// Emits an event and waits for its answer, up to `limit`.
    pub async fn request<P: Serialize + ?Sized>(
        &self,
        event: &str,
        payload: &P,
        limit: Duration,
    ) -> Result<Box<RawValue>, RequestError> {
        let id = self.take_id();
        let frame = self.event(Some(id), event, payload)?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting.lock();
            if waiting.len() >= WAITING_MAX {
                return Err(RequestError::TooMany);
            }
            waiting.insert(id, sender);
        }
        // Whatever happens below, the entry goes: a caller may also drop this future.
        let _entry = Entry { shared: &self.shared, id };
        let answer = async {
            self.put(frame).await?;
            receiver.await.map_err(|_| RequestError::Emit(EmitError::Down(self.down_reason())))
        };
        let mut down = self.shared.down.subscribe();
        let text = tokio::select! {
            biased;
            answered = tokio::time::timeout(limit, answer) => {
                answered.map_err(|_| RequestError::TimedOut(limit))??
            }
            _ = down.wait_for(Option::is_some) => return Err(EmitError::Down(self.down_reason()).into()),
        };
        let text = if text.is_empty() { "null".to_owned() } else { text.into_string() };
        RawValue::from_string(text).map_err(|error| RequestError::Unreadable(error.to_string()))
    }

    /// Emits an event whose answer goes to [`Handler::on_answer`]; waits for a place in the queue. Gives the id.
    ///
    /// `on_id` is called when the place is certain and before the frame takes it: the answer cannot come before,
    /// and when it is not called, nothing was sent.
    pub async fn emit_tracked<P: Serialize + ?Sized>(
        &self,
        event: &str,
        payload: &P,
        on_id: impl FnOnce(u64),
    ) -> Result<u64, EmitError> {
        let id = self.take_id();
        let frame = self.event(Some(id), event, payload)?;
        let place = tokio::time::timeout(self.queue_limit, self.outgoing.reserve())
            .await
            .map_err(|_| EmitError::QueueFull)?
            .map_err(|_| EmitError::Down(self.down_reason()))?;
        on_id(id);
        place.send(Message::text(frame));
        Ok(id)
    }

    /// Like [`Self::emit_tracked`], but a full queue is an error at once: the cheap path of a load generator.
    pub fn try_emit_tracked<P: Serialize + ?Sized>(
        &self,
        event: &str,
        payload: &P,
        on_id: impl FnOnce(u64),
    ) -> Result<u64, EmitError> {
        let place = self.outgoing.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => EmitError::QueueFull,
            mpsc::error::TrySendError::Closed(()) => EmitError::Down(self.down_reason()),
        })?;
        let id = self.take_id();
        let frame = self.event(Some(id), event, payload)?;
        on_id(id);
        place.send(Message::text(frame));
        Ok(id)
    }

    /// Sends any text frame, packet or not.
    pub async fn send_raw_text(&self, text: impl Into<String>) -> Result<(), EmitError> {
        self.put(text.into()).await
    }

    /// Sends any binary frame.
    pub async fn send_raw_binary(&self, bytes: Vec<u8>) -> Result<(), EmitError> {
        self.put_message(Message::binary(bytes)).await
    }

    /// Changes how fast this connection reads.
    pub fn set_pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    /// How fast this connection reads.
    pub fn pace(&self) -> Pace {
        *self.pace.borrow()
    }

    /// Leaves the namespace, closes the WebSocket and waits until that is done.
    pub async fn close(&self) {
        self.goodbye.cancel();
        self.ended().await;
    }

    /// Drops the TCP connection without a goodbye (a reset, not an orderly end) and waits until that is done.
    pub async fn abort(&self) {
        self.drop_now.cancel();
        self.ended().await;
    }

    fn take_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn event<P: Serialize + ?Sized>(&self, id: Option<u64>, event: &str, payload: &P) -> Result<String, EmitError> {
        event_frame(&self.namespace, id, event, payload).map_err(|error| EmitError::Payload(error.to_string()))
    }

    async fn put(&self, frame: String) -> Result<(), EmitError> {
        self.put_message(Message::text(frame)).await
    }

    async fn put_message(&self, message: Message) -> Result<(), EmitError> {
        self.outgoing.send_timeout(message, self.queue_limit).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => EmitError::QueueFull,
            mpsc::error::SendTimeoutError::Closed(_) => EmitError::Down(self.down_reason()),
        })
    }

    fn down_reason(&self) -> DisconnectReason {
        // The task closes the queue a moment before it says why.
        self.shared.down.borrow().clone().unwrap_or(DisconnectReason::Transport("the connection is ending".to_owned()))
    }
}

/// Removes a request from the waiting ones.
struct Entry<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().remove(&self.id);
    }
}

// ---- opening --------------------------------------------------------------------------------------------

type Socket = WebSocketStream<TcpStream>;

fn transport_error(error: tungstenite::Error) -> ConnectError {
    match error {
        tungstenite::Error::Io(error) => ConnectError::Tcp(error),
        other => ConnectError::WebSocket(other.to_string()),
    }
}

/// `host:port` of an address.
fn authority(url: &str) -> Result<&str, ConnectError> {
    let refuse = |reason| ConnectError::Address { reason, url: url.to_owned() };
    if url.starts_with("https://") || url.starts_with("wss://") {
        return Err(refuse("TLS is not supported"));
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://"));
    let rest = rest.ok_or_else(|| refuse("expected http://host:port"))?;
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        return Err(refuse("expected http://host:port and nothing after it"));
    }
    Ok(authority)
}

async fn open_transport(url: &str, options: &ConnectionOptions) -> Result<Socket, ConnectError> {
    let authority = authority(url)?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let tcp = if has_port {
        TcpStream::connect(authority).await?
    } else {
        TcpStream::connect((authority.trim_matches(['[', ']']), 80)).await?
    };
    // Latencies are measured over this socket: nothing may wait for more to send.
    tcp.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(options.read_buffer_bytes).write_buffer_size(16 * 1_024);
    let request = format!("ws://{authority}/socket.io/?EIO=4&transport=websocket");
    let (socket, _) =
        tokio_tungstenite::client_async_with_config(request, tcp, Some(config)).await.map_err(transport_error)?;
    Ok(socket)
}

/// The next text frame while the connection is being opened.
async fn next_text(socket: &mut Socket) -> Result<tungstenite::Utf8Bytes, ConnectError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(ConnectError::Protocol("a binary frame".to_owned())),
            Some(Ok(Message::Close(frame))) => {
                let text = frame.map_or_else(String::new, |frame| close_text(Some(frame.code.into()), &frame.reason));
                return Err(ConnectError::Protocol(format!("it closed the WebSocket{text}")));
            }
            Some(Err(error)) => return Err(transport_error(error)),
            None => return Err(ConnectError::Protocol("it ended the connection".to_owned())),
        }
    }
}

async fn read_handshake(socket: &mut Socket) -> Result<Handshake, ConnectError> {
    let text = next_text(socket).await?;
    match Packet::read(&text) {
        Ok(Packet::Open(handshake)) => Ok(handshake),
        Ok(_) => Err(ConnectError::Protocol("its first packet is not the opening one".to_owned())),
        Err(problem) => Err(ConnectError::Protocol(problem.to_string())),
    }
}

/// What a refusal carries; a server may also send a bare text.
#[derive(serde::Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    data: serde_json::Value,
}

async fn join(socket: &mut Socket, wanted: &str) -> Result<(), ConnectError> {
    loop {
        let text = next_text(socket).await?;
        match Packet::read(&text) {
            Ok(Packet::Connected { namespace, .. }) if namespace == wanted => return Ok(()),
            Ok(Packet::Refused { payload, .. }) => {
                let Refusal { message, data } = payload.parse().unwrap_or_else(|_| Refusal {
                    message: payload.as_str().to_owned(),
                    data: serde_json::Value::Null,
                });
                return Err(ConnectError::Refused { message, data });
            }
            Ok(Packet::Ping(probe)) => {
                let pong = format!("3{probe}");
                socket.send(Message::text(pong)).await.map_err(transport_error)?;
            }
            Ok(Packet::Noop) => {}
            Ok(Packet::Close | Packet::Disconnected { .. }) => {
                return Err(ConnectError::Protocol(
                    "it closed the connection before the namespace was joined".to_owned(),
                ));
            }
            Ok(_) => return Err(ConnectError::Protocol("a packet before the namespace was joined".to_owned())),
            Err(problem) => return Err(ConnectError::Protocol(problem.to_string())),
        }
    }
}

// ---- running --------------------------------------------------------------------------------------------

struct Task {
    namespace: Arc<str>,
    shared: Arc<Shared>,
    handler: Arc<dyn Handler>,
    silence_limit: Duration,
    goodbye: CancellationToken,
    drop_now: CancellationToken,
}

impl Task {
    async fn run(self, socket: Socket, mut queue: mpsc::Receiver<Message>, pace: watch::Receiver<Pace>) {
        let (mut sink, mut stream) = socket.split();
        // Pongs pass the queue by: a full queue must not make the server think that this side is dead.
        let (pongs, mut pong_queue) = mpsc::channel(4);
        let pinged = watch::Sender::new(());
        let reason = tokio::select! {
            biased;
            () = self.drop_now.cancelled() => DisconnectReason::Dropped,
            () = self.goodbye.cancelled() => DisconnectReason::Closed,
            reason = self.read(&mut stream, pace, &pongs, &pinged) => reason,
            reason = write(&mut sink, &mut queue, &mut pong_queue) => reason,
            reason = watch_silence(pinged.subscribe(), self.silence_limit) => reason,
        };
        if reason == DisconnectReason::Closed {
            // What was queued before the goodbye still goes out. A server that does not read does not keep us.
            let parting = async {
                while let Ok(message) = queue.try_recv() {
                    sink.feed(message).await?;
                }
                sink.send(Message::text(disconnect_frame(&self.namespace))).await?;
                sink.close().await
            };
            if !matches!(tokio::time::timeout(GOODBYE_LIMIT, parting).await, Ok(Ok(()))) {
                tracing::debug!("the goodbye was not written");
            }
        }
        drop(queue);
        if let Ok(socket) = stream.reunite(sink)
            && reason == DisconnectReason::Dropped
            && let Err(error) = socket.get_ref().set_zero_linger()
        {
            tracing::debug!(%error, "the connection ends with a FIN instead of a reset");
        }
        let at = Instant::now();
        self.handler.on_down(at, &reason);
        self.shared.down.send_replace(Some(reason));
        self.shared.waiting.lock().clear();
    }

    async fn read(
        &self,
        stream: &mut SplitStream<Socket>,
        mut pace: watch::Receiver<Pace>,
        pongs: &mpsc::Sender<String>,
        pinged: &watch::Sender<()>,
    ) -> DisconnectReason {
        let mut slow = false;
        let mut bytes = 0;
        loop {
            if slow || pace.has_changed().unwrap_or(false) {
                slow = wait_for_turn(&mut pace, bytes).await;
            }
            let next = tokio::select! {
                biased;
                // A pace that changes while nothing comes holds for what comes next.
                () = changed(&mut pace) => {
                    slow = wait_for_turn(&mut pace, bytes).await;
                    continue;
                }
                next = stream.next() => next,
            };
            let text = match next {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Binary(bytes))) => {
                    self.handler.on_malformed(Instant::now(), &Malformed::Binary(bytes.len()));
                    continue;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(frame))) => {
                    let (code, text) = frame
                        .map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.to_string()));
                    return DisconnectReason::ClosedByServer { code, text };
                }
                Some(Err(error)) => return DisconnectReason::Transport(error.to_string()),
                None => return DisconnectReason::ClosedByServer { code: None, text: String::new() },
            };
            let at = Instant::now();
            bytes = text.len();
            match Packet::read(&text) {
                Ok(Packet::Event { namespace, name, payload }) if *namespace == *self.namespace => {
                    self.handler.on_event(at, &name, payload);
                }
                Ok(Packet::Answer { namespace, id, payload }) if *namespace == *self.namespace => {
                    let waiting = self.shared.waiting.lock().remove(&id);
                    match waiting {
                        // A caller who gave up meanwhile is no problem.
                        Some(waiting) => drop(waiting.send(payload.as_str().into())),
                        None => self.handler.on_answer(at, id, payload),
                    }
                }
                Ok(Packet::Ping(probe)) => {
                    pinged.send_replace(());
                    // A full queue holds pongs that were not written yet; one more would say nothing new.
                    if pongs.try_send(format!("3{probe}")).is_err() {
                        tracing::debug!("a pong was left out");
                    }
                }
                Ok(Packet::Disconnected { namespace }) if *namespace == *self.namespace => {
                    return DisconnectReason::SentAway;
                }
                Ok(Packet::Close) => {
                    return DisconnectReason::ClosedByServer { code: None, text: String::new() };
                }
                // Other namespaces are not ours, and the rest asks for nothing.
                Ok(_) => {}
                Err(problem) => self.handler.on_malformed(at, &problem),
            }
        }
    }
}

/// Waits until the pace changes; for ever when nobody can change it any more.
async fn changed(pace: &mut watch::Receiver<Pace>) {
    if pace.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits as long as the pace says before the next frame is read, after one of so many bytes; whether a pace still holds.
async fn wait_for_turn(pace: &mut watch::Receiver<Pace>, bytes: usize) -> bool {
    loop {
        let now = *pace.borrow_and_update();
        let interval = match now {
            Pace::Full => return false,
            Pace::Every(interval) => interval,
            Pace::Bytes(rate) => Duration::from_secs_f64(bytes as f64 / f64::from(rate.get())),
            Pace::Paused => {
                if pace.changed().await.is_err() {
                    return false;
                }
                continue;
            }
        };
        // A change of pace ends the wait early.
        tokio::select! {
            () = tokio::time::sleep(interval) => return true,
            changed = pace.changed() => if changed.is_err() { return false },
        }
    }
}

async fn write(
    sink: &mut SplitSink<Socket, Message>,
    queue: &mut mpsc::Receiver<Message>,
    pongs: &mut mpsc::Receiver<String>,
) -> DisconnectReason {
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    loop {
        tokio::select! {
            biased;
            Some(pong) = pongs.recv() => batch.push(Message::text(pong)),
            count = queue.recv_many(&mut batch, WRITE_BATCH) => if count == 0 {
                // The handle is gone, and with it everybody who could want this connection.
                return DisconnectReason::Dropped;
            }
        }
        for message in batch.drain(..) {
            if let Err(error) = sink.feed(message).await {
                return DisconnectReason::Transport(error.to_string());
            }
        }
        if let Err(error) = sink.flush().await {
            return DisconnectReason::Transport(error.to_string());
        }
    }
}

/// Ends when the server did not ping for `limit`. A timer of its own, so that frames do not touch it.
async fn watch_silence(mut pinged: watch::Receiver<()>, limit: Duration) -> DisconnectReason {
    loop {
        match tokio::time::timeout(limit, pinged.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return DisconnectReason::Silent(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Handler for Notes {
        fn on_event(&self, _: Instant, event: &str, payload: Payload<'_>) {
            self.0.lock().push(format!("{event} {}", payload.as_str()));
        }
        fn on_answer(&self, _: Instant, id: u64, payload: Payload<'_>) {
            self.0.lock().push(format!("answer {id} {}", payload.as_str()));
        }
        fn on_malformed(&self, _: Instant, problem: &Malformed) {
            self.0.lock().push(format!("malformed: {problem}"));
        }
        fn on_down(&self, _: Instant, reason: &DisconnectReason) {
            self.0.lock().push(format!("down: {reason}"));
        }
    }

    const OPEN: &str = r#"0{"sid":"s","upgrades":[],"pingInterval":100,"pingTimeout":100,"maxPayload":1000}"#;

    /// A server that plays `script` on its first connection.
    async fn server<F, Fut>(script: F) -> String
    where
        F: FnOnce(WebSocketStream<TcpStream>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            script(tokio_tungstenite::accept_async(tcp).await.unwrap()).await;
        });
        url
    }

    async fn say(socket: &mut WebSocketStream<TcpStream>, text: &str) {
        socket.send(Message::text(text.to_owned())).await.unwrap();
    }

    async fn hear(socket: &mut WebSocketStream<TcpStream>) -> String {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    async fn welcome(socket: &mut WebSocketStream<TcpStream>) {
        say(socket, OPEN).await;
        assert_eq!(hear(socket).await, r#"40/chat,{"token":"t"}"#);
        say(socket, r#"40/chat,{"sid":"x"}"#).await;
    }

    async fn open(url: &str, notes: &Arc<Notes>) -> Result<Connection, ConnectError> {
        let options = ConnectionOptions { connect_limit: Duration::from_secs(2), ..ConnectionOptions::default() };
        Connection::open(url, "/chat", &json!({ "token": "t" }), &options, Arc::clone(notes) as Arc<dyn Handler>).await
    }

    #[tokio::test]
    async fn a_request_gets_its_own_answer_and_pings_are_answered() {
        let url = server(|mut socket| async move {
            welcome(&mut socket).await;
            let request = hear(&mut socket).await;
            assert_eq!(request, r#"42/chat,0["sync",{}]"#);
            say(&mut socket, "2").await;
            assert_eq!(hear(&mut socket).await, "3");
            say(&mut socket, r#"42/chat,["message:new",{"n":1}]"#).await;
            say(&mut socket, "garbage").await;
            say(&mut socket, r#"43/chat,5[{"late":true}]"#).await;
            say(&mut socket, r#"43/chat,0[{"ok":true}]"#).await;
            assert_eq!(hear(&mut socket).await, "41/chat,");
        })
        .await;
        let notes = Arc::new(Notes::default());
        let connection = open(&url, &notes).await.unwrap();
        let answer = connection.request("sync", &json!({}), Duration::from_secs(2)).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(answer.get()).unwrap(), json!({ "ok": true }));
        connection.close().await;
        assert!(!connection.is_up());
        let notes = notes.0.lock();
        assert_eq!(
            *notes,
            [
                r#"message:new {"n":1}"#,
                "malformed: `g` is no Engine.IO packet type",
                r#"answer 5 {"late":true}"#,
                "down: closed"
            ]
        );
    }

    #[tokio::test]
    async fn a_refusal_is_typed() {
        let url = server(|mut socket| async move {
            say(&mut socket, OPEN).await;
            hear(&mut socket).await;
            say(&mut socket, r#"44/chat,{"message":"no token","data":{"code":"unauthenticated"}}"#).await;
            drop(socket.next().await);
        })
        .await;
        let error = open(&url, &Arc::default()).await.unwrap_err();
        let ConnectError::Refused { message, data } = error else { panic!("{error}") };
        assert_eq!(message, "no token");
        assert_eq!(data["code"], "unauthenticated");
    }

    #[tokio::test]
    async fn a_silent_server_is_noticed_and_ends_what_waits() {
        let url = server(|mut socket| async move {
            welcome(&mut socket).await;
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
        let connection = open(&url, &Arc::default()).await.unwrap();
        let error = connection.request("sync", &json!({}), Duration::from_secs(5)).await.unwrap_err();
        let silent = DisconnectReason::Silent(Duration::from_millis(200));
        assert_eq!(error, RequestError::Emit(EmitError::Down(silent.clone())));
        assert_eq!(connection.ended().await, silent);
        assert!(matches!(connection.emit("x", &1).await, Err(EmitError::Down(_))));
    }

    #[tokio::test]
    async fn being_sent_away_and_closed_have_their_reasons() {
        let url = server(|mut socket| async move {
            welcome(&mut socket).await;
            say(&mut socket, "41/chat,").await;
            drop(socket.next().await);
        })
        .await;
        let connection = open(&url, &Arc::default()).await.unwrap();
        assert_eq!(connection.ended().await, DisconnectReason::SentAway);

        let url = server(|mut socket| async move {
            welcome(&mut socket).await;
            socket.close(None).await.unwrap();
        })
        .await;
        let connection = open(&url, &Arc::default()).await.unwrap();
        assert!(matches!(connection.ended().await, DisconnectReason::ClosedByServer { .. }));
    }

    #[tokio::test]
    async fn an_abort_is_a_reset_without_a_goodbye() {
        let (sender, receiver) = oneshot::channel();
        let url = server(|mut socket| async move {
            welcome(&mut socket).await;
            sender.send(socket.next().await).unwrap();
        })
        .await;
        let connection = open(&url, &Arc::default()).await.unwrap();
        connection.abort().await;
        assert_eq!(connection.ended().await, DisconnectReason::Dropped);
        let end = receiver.await.unwrap();
        assert!(matches!(end, Some(Err(_))), "the server must get no goodbye: {end:?}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_has_a_limit() {
        let url = server(|mut socket| async move {
            welcome(&mut socket).await;
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
        let connection = open(&url, &Arc::default()).await.unwrap();
        let limit = Duration::from_millis(20);
        assert_eq!(connection.request("x", &json!({}), limit).await.unwrap_err(), RequestError::TimedOut(limit));
        assert!(connection.shared.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn nobody_there_and_nonsense_addresses() {
        let notes = Arc::default();
        assert!(matches!(open("http://127.0.0.1:1", &notes).await, Err(ConnectError::Tcp(_))));
        for bad in ["127.0.0.1:1", "https://127.0.0.1:1", "http://", "http://a/b", "http://u@a:1"] {
            assert!(matches!(open(bad, &notes).await, Err(ConnectError::Address { .. })), "{bad}");
        }
    }
}
