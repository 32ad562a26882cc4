//! A second interface on the control connection, which only reads the trace.

use std::time::Duration;

use ackscope_protocol::control::{CONTROL_PATH, CONTROL_VERSION, Environment, ToHarness, ToInterface};
use ackscope_protocol::trace::{Happening, TraceEvent};
use ackscope_protocol::wire::{AckState, ServerEvent};
use ackscope_protocol::{MessageId, UserId};
use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Reads a run's trace from its beginning.
#[derive(Debug)]
pub struct Observer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    environment: Environment,
    events: Vec<TraceEvent>,
}

/// A message the way its sender saw it, once the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedMessage {
    /// Who sent it.
    pub sender: UserId,
    /// Which one.
    pub message_id: MessageId,
}

impl Observer {
    /// Connects to the interface's address, as a program prints it.
    pub async fn connect(ui_url: &str, limit: Duration) -> Result<Self> {
        let url = ui_url.replacen("http://", "ws://", 1).replacen("/?", &format!("{CONTROL_PATH}?"), 1);
        let (socket, _) = tokio::time::timeout(limit, tokio_tungstenite::connect_async(&url))
            .await
            .context("the control connection was not there in time")??;
        tokio::time::timeout(limit, Self::greet(socket)).await.context("the harness did not greet in time")?
    }

    async fn greet(mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Result<Self> {
        let hello = ToHarness::Hello { version: CONTROL_VERSION, run_id: None, next_index: 0 };
        socket.send(Message::text(serde_json::to_string(&hello)?)).await?;
        match next(&mut socket).await? {
            ToInterface::Welcome { environment, .. } => Ok(Self { socket, environment, events: Vec::new() }),
            other => bail!("expected a welcome, heard {other:?}"),
        }
    }

    /// What the harness says it runs.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Everything heard so far.
    pub fn events(&self) -> &[TraceEvent] {
        &self.events
    }

    /// Reads on until `find` finds something in the events so far. After `limit` the error says `what` was not
    /// there.
    pub async fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        find: impl Fn(&[TraceEvent]) -> Option<T>,
    ) -> Result<T> {
        let search = async {
            loop {
                if let Some(found) = find(&self.events) {
                    return anyhow::Ok(found);
                }
                if let ToInterface::Trace { events, .. } = next(&mut self.socket).await? {
                    self.events.extend(events);
                }
            }
        };
        let outcome = tokio::time::timeout(limit, search).await;
        outcome.with_context(|| format!("{what}: not within {} s, in {} events", limit.as_secs(), self.events.len()))?
    }

    /// Reads on until something was persisted and then, for `quiet`, nothing came but figures of health.
    pub async fn settled(&mut self, quiet: Duration, limit: Duration) -> Result<()> {
        self.until("a persisted message", limit, |events| events.iter().any(is_persisted).then_some(())).await?;
        let what = || format!("{} s without an event: not within {} s", quiet.as_secs(), limit.as_secs());
        tokio::time::timeout(limit, self.read_while_busy(quiet)).await.with_context(what)?
    }

    async fn read_while_busy(&mut self, quiet: Duration) -> Result<()> {
        let mut end = Instant::now() + quiet;
        while let Ok(message) = tokio::time::timeout_at(end, next(&mut self.socket)).await {
            if let ToInterface::Trace { events, .. } = message? {
                if events.iter().any(|event| !matches!(event.what, Happening::Health { .. })) {
                    end = Instant::now() + quiet;
                }
                self.events.extend(events);
            }
        }
        Ok(())
    }

    /// Waits until a message with `text` was sent and its sender was told that it is persisted.
    pub async fn persisted(&mut self, text: &str, limit: Duration) -> Result<PersistedMessage> {
        self.until(&format!("`{text}` sent and persisted"), limit, |events| find_persisted(events, text)).await
    }
}

fn is_persisted(event: &TraceEvent) -> bool {
    matches!(&event.what, Happening::Saw { event: ServerEvent::Ack(ack), .. } if ack.state == AckState::Persisted)
}

fn find_persisted(events: &[TraceEvent], text: &str) -> Option<PersistedMessage> {
    let (sender, message_id) = events.iter().find_map(|event| match &event.what {
        Happening::Sent { user, message_id, text: Some(said), .. } if said == text => Some((user, *message_id)),
        _ => None,
    })?;
    events.iter().find_map(|event| match &event.what {
        Happening::Saw { user, event: ServerEvent::Ack(ack) }
            if user == sender && ack.message_id == Some(message_id) && ack.state == AckState::Persisted =>
        {
            Some(PersistedMessage { sender: sender.clone(), message_id })
        }
        _ => None,
    })
}

async fn next(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Result<ToInterface> {
    loop {
        match socket.next().await.context("the harness closed the control connection")?? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(reason) => bail!("the harness closed the control connection: {reason:?}"),
            _ => {}
        }
    }
}
