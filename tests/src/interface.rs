//! An interface of the control server, as the browser's would be.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use ackscope_harness::host::Host;
use ackscope_protocol::WireError;
use ackscope_protocol::control::{
    BackendKind, CONTROL_PATH, CONTROL_VERSION, Command, CommandAnswer, Environment, ScenarioProgress, TRACE_BATCH_MAX,
    ToHarness, ToInterface,
};
use ackscope_protocol::trace::TraceEvent;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

use crate::people::PATIENCE;

/// `127.0.0.1:port` of the interface, and the token.
pub fn parts(host: &Host) -> (&str, &str) {
    let rest = host.ui_url().strip_prefix("http://").unwrap();
    rest.split_once("/?token=").unwrap()
}

/// An interface as the browser's would be.
pub struct Interface {
    /// The connection.
    pub socket: Socket,
    /// What it runs on, as it was told first.
    pub environment: Environment,
    /// The run it is shown.
    pub run_id: Uuid,
    /// The run's events by index.
    pub events: BTreeMap<u64, TraceEvent>,
    /// Answers nobody took yet.
    pub replies: BTreeMap<u64, Result<CommandAnswer, WireError>>,
    /// How a scenario goes, as it was told last.
    pub progress: Option<ScenarioProgress>,
    /// Most events that came at once.
    pub largest_batch: usize,
    next_command: u64,
}

/// A WebSocket to the control server.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Interface {
    /// Connects and is welcome.
    pub async fn open(host: &Host) -> Self {
        Self::resume(host, None, 0).await
    }

    /// Connects again and goes on from an event.
    pub async fn resume(host: &Host, run_id: Option<Uuid>, next_index: u64) -> Self {
        let (address, token) = parts(host);
        let (mut socket, _) = connect_async(format!("ws://{address}{CONTROL_PATH}?token={token}")).await.unwrap();
        say(&mut socket, &ToHarness::Hello { version: CONTROL_VERSION, run_id, next_index }).await;
        let ToInterface::Welcome { version, run_id, environment, .. } = hear(&mut socket).await else {
            panic!("not welcome");
        };
        assert_eq!(version, CONTROL_VERSION);
        assert_eq!(environment.backend, BackendKind::Embedded);
        Self {
            socket,
            environment,
            run_id,
            events: BTreeMap::new(),
            replies: BTreeMap::new(),
            progress: None,
            largest_batch: 0,
            next_command: 1,
        }
    }

    /// Hears one message.
    pub async fn take_one(&mut self) {
        match hear(&mut self.socket).await {
            ToInterface::Trace { first_index, events } => {
                assert!(!events.is_empty() && events.len() <= TRACE_BATCH_MAX);
                self.largest_batch = self.largest_batch.max(events.len());
                for (index, event) in (first_index..).zip(events) {
                    assert!(self.events.insert(index, event).is_none(), "event {index} came twice");
                }
            }
            ToInterface::Reply { id, outcome } => {
                assert!(self.replies.insert(id, outcome).is_none(), "command {id} was answered twice");
            }
            ToInterface::Welcome { run_id, .. } => {
                assert_ne!(run_id, self.run_id, "the run that is shown was announced again");
                self.run_id = run_id;
                self.events.clear();
            }
            ToInterface::Scenario { progress } => self.progress = Some(progress),
            other => panic!("{other:?}"),
        }
    }

    /// Gives a command; its answer comes with this number.
    pub async fn start(&mut self, command: Command) -> u64 {
        let id = self.next_command;
        self.next_command += 1;
        say(&mut self.socket, &ToHarness::Command { id, command }).await;
        id
    }

    /// Gives a command and waits for its answer.
    pub async fn run(&mut self, command: Command) -> Result<CommandAnswer, WireError> {
        let id = self.start(command).await;
        loop {
            if let Some(outcome) = self.replies.remove(&id) {
                return outcome;
            }
            self.take_one().await;
        }
    }

    /// Waits for an event.
    pub async fn wait_for<T>(&mut self, ask: impl Fn(&TraceEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.events.values().find_map(&ask) {
                return found;
            }
            self.take_one().await;
        }
    }

    /// Waits until a scenario stands as wanted.
    pub async fn wait_for_progress(&mut self, is_so: impl Fn(&ScenarioProgress) -> bool) -> ScenarioProgress {
        loop {
            if let Some(progress) = self.progress.as_ref().filter(|progress| is_so(progress)) {
                return progress.clone();
            }
            self.take_one().await;
        }
    }

    /// Whether the events have no hole from an index on.
    pub fn is_whole(&self, from: u64) -> bool {
        self.events.keys().copied().eq(from..from + self.events.len() as u64)
    }
}

/// Says something.
pub async fn say(socket: &mut Socket, message: &ToHarness) {
    let text = serde_json::to_string(message).unwrap();
    socket.send(Message::text(text)).await.unwrap();
}

/// Hears something.
pub async fn hear(socket: &mut Socket) -> ToInterface {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("the harness is silent");
        match message.expect("the harness left").unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
