//! One interface's connection.
//!
//! The trace is read from the recorder by index, never queued for an interface: one that reads slowly gets
//! larger batches, and one that falls behind what the run keeps is told what it skipped.

use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::control::{CONTROL_VERSION, CommandAnswer, TRACE_BATCH_MAX, ToHarness, ToInterface};
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::trace::TraceEvent;
use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::{Shared, Shown, commands};

/// How long an interface may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long one message to an interface may take to be written.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Least time between two batches when the interface is up to date: about 60 a second.
const BATCH_INTERVAL: Duration = Duration::from_millis(16);
/// How often an idle connection is tried, so that one that is gone gives its place back.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Most commands of one interface that are carried out at a time.
const COMMANDS_MAX: usize = 32;

/// [`ToInterface::Trace`] without copying the events.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SharedTrace<'a> {
    Trace { first_index: u64, events: &'a [Arc<TraceEvent>] },
}

/// Why a connection ends. Told to the log alone.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the interface is gone")]
    Gone,
    #[error("the interface does not read")]
    TooSlow,
    #[error("a message cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    #[error("{0}")]
    Refused(String),
}

/// Speaks with one interface until either side ends.
pub(super) async fn run(socket: WebSocket, shared: Arc<Shared>) {
    let (mut sink, mut stream) = socket.split();
    let mut shown = shared.shown.subscribe();
    let end = match welcome(&mut sink, &mut stream, &shared, &mut shown).await {
        Ok((first, next_index)) => {
            let (replies, reply_queue) = mpsc::channel(COMMANDS_MAX);
            tokio::select! {
                end = read(&mut stream, &shared, replies) => end,
                end = write(&mut sink, &shared, (first, shown), next_index, reply_queue) => end,
            }
        }
        Err(SessionEnd::Refused(reason)) => {
            match say(&mut sink, &ToInterface::Refused { reason: reason.clone() }).await {
                Ok(()) => SessionEnd::Refused(reason),
                Err(end) => end,
            }
        }
        Err(end) => end,
    };
    tracing::debug!(%end, "an interface's connection ended");
    // One that does not read would not read the goodbye either, and its place is wanted.
    if matches!(end, SessionEnd::TooSlow) {
        return;
    }
    // Whether the goodbye arrives makes no difference any more.
    if !matches!(tokio::time::timeout(WRITE_LIMIT, sink.close()).await, Ok(Ok(()))) {
        tracing::debug!("an interface's connection was not closed in order");
    }
}

/// Hears the hello and answers it. Gives what is shown, and the index of its first event to send.
async fn welcome(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    shared: &Shared,
    shown: &mut watch::Receiver<Arc<Shown>>,
) -> Result<(Arc<Shown>, u64), SessionEnd> {
    let hello = tokio::select! {
        text = tokio::time::timeout(HELLO_LIMIT, next_text(stream)) => {
            text.map_err(|_| SessionEnd::Refused("no hello came in time".to_owned()))??
        }
        () = shared.stop.cancelled() => return Err(SessionEnd::Refused("the harness ends".to_owned())),
    };
    let (version, run_id, next_index) = read_hello(&hello).map_err(SessionEnd::Refused)?;
    if version != CONTROL_VERSION {
        return Err(SessionEnd::Refused(format!(
            "the interface speaks version {version} of the control protocol and the harness version {CONTROL_VERSION}; reload the interface"
        )));
    }
    let now = Arc::clone(&shown.borrow_and_update());
    let recorder = now.recorder();
    let current = recorder.run_id();
    say_welcome(sink, &now).await?;
    let next_index = if run_id == Some(current) { next_index.min(recorder.next_index()) } else { 0 };
    Ok((now, next_index))
}

/// Says which run is shown from now on.
async fn say_welcome(sink: &mut SplitSink<WebSocket, Message>, shown: &Shown) -> Result<(), SessionEnd> {
    let welcome = ToInterface::Welcome {
        version: CONTROL_VERSION,
        run_id: shown.recorder().run_id(),
        environment: shown.environment(),
        business_now: shown.business_now(),
    };
    say(sink, &welcome).await
}

/// The hello's version, run and next index. Another version may say its hello in another form, so the version is
/// looked for first.
fn read_hello(text: &str) -> Result<(u32, Option<uuid::Uuid>, u64), String> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    match serde_json::from_str(text) {
        Ok(ToHarness::Hello { version, run_id, next_index }) => Ok((version, run_id, next_index)),
        Ok(ToHarness::Command { .. }) => Err("the first message must be the hello".to_owned()),
        Err(error) => match serde_json::from_str::<Version>(text) {
            Ok(Version { version }) if version != CONTROL_VERSION => Ok((version, None, 0)),
            _ => Err(format!("the hello does not read: {error}")),
        },
    }
}

async fn next_text(stream: &mut SplitStream<WebSocket>) -> Result<String, SessionEnd> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(SessionEnd::Refused("messages are texts".to_owned())),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(SessionEnd::Gone),
        }
    }
}

/// Hears commands and has them carried out, so many at a time.
async fn read(
    stream: &mut SplitStream<WebSocket>,
    shared: &Arc<Shared>,
    replies: mpsc::Sender<ToInterface>,
) -> SessionEnd {
    let places = Arc::new(Semaphore::new(COMMANDS_MAX));
    loop {
        let text = match next_text(stream).await {
            Ok(text) => text,
            Err(end) => return end,
        };
        let (id, command) = match serde_json::from_str(&text) {
            Ok(ToHarness::Command { id, command }) => (id, Ok(command)),
            Ok(ToHarness::Hello { .. }) => continue,
            // A command that does not read is answered when it has a number, and can only be left out if not.
            Err(error) => {
                let Some(id) = command_number(&text) else {
                    tracing::warn!(%error, "a message of the interface does not read");
                    continue;
                };
                (id, Err(WireError::new(ErrorCode::InvalidPayload, error.to_string())))
            }
        };
        let outcome = match command {
            Err(error) => Err(error),
            Ok(command) => match Arc::clone(&places).try_acquire_owned() {
                Err(_) => Err(WireError::new(ErrorCode::Overloaded, "too many commands are being carried out")),
                Ok(place) => {
                    let (shared, replies) = (Arc::clone(shared), replies.clone());
                    let tasks = shared.tasks.clone();
                    tasks.spawn(async move {
                        let outcome: Result<CommandAnswer, WireError> = tokio::select! {
                            outcome = commands::run(&shared, command) => outcome,
                            () = shared.stop.cancelled() => return,
                        };
                        drop(place);
                        if replies.send(ToInterface::Reply { id, outcome }).await.is_err() {
                            tracing::debug!(id, "the interface left before its command was done");
                        }
                    });
                    continue;
                }
            },
        };
        if replies.send(ToInterface::Reply { id, outcome }).await.is_err() {
            return SessionEnd::Gone;
        }
    }
}

fn command_number(text: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        id: u64,
    }
    serde_json::from_str::<Numbered>(text).ok().map(|numbered| numbered.id)
}

/// Sends the trace from `next_index` on, replies as they come, and how a scenario goes. When another run is shown it is
/// announced and begins at its beginning.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    shared: &Shared,
    (mut now, mut shown): (Arc<Shown>, watch::Receiver<Arc<Shown>>),
    mut next_index: u64,
    mut replies: mpsc::Receiver<ToInterface>,
) -> SessionEnd {
    let mut recorder = now.recorder().clone();
    let mut news = recorder.news();
    let mut progress = shared.theatre.news();
    let (mut progress_told, mut progress_not_before) = (0, Instant::now());
    let mut not_before = Instant::now();
    let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    loop {
        let written = tokio::select! {
            biased;
            () = shared.stop.cancelled() => {
                let reason = "the harness ends".to_owned();
                return say(sink, &ToInterface::Closing { reason }).await.err().unwrap_or(SessionEnd::Gone);
            }
            Ok(()) = shown.changed() => {
                let next = Arc::clone(&shown.borrow_and_update());
                if next.recorder().run_id() == recorder.run_id() {
                    continue;
                }
                now = next;
                recorder = now.recorder().clone();
                news = recorder.news();
                next_index = 0;
                not_before = Instant::now();
                say_welcome(sink, &now).await
            }
            Some(reply) = replies.recv() => say(sink, &reply).await,
            change = progress_is_due(&mut progress, progress_told, progress_not_before) => {
                progress_told = change;
                match shared.theatre.progress() {
                    Some(progress) => {
                        // Long lists are told less often, so that they cost no more than short ones.
                        let pause = BATCH_INTERVAL * (1 + u32::try_from(progress.steps.len() / 250).unwrap_or(u32::MAX));
                        progress_not_before = Instant::now() + pause;
                        say(sink, &ToInterface::Scenario { progress }).await
                    }
                    None => Ok(()),
                }
            }
            () = batch_is_due(&mut news, next_index, not_before) => {
                let began = Instant::now();
                let batch = recorder.read_from(next_index, TRACE_BATCH_MAX);
                let skipped = batch.first_index > next_index;
                next_index = batch.next_index();
                // A full batch means that there is more: no pause until the interface has caught up.
                let is_full = batch.events.len() == TRACE_BATCH_MAX;
                not_before = if is_full { began } else { began + BATCH_INTERVAL };
                let trace = SharedTrace::Trace { first_index: batch.first_index, events: &batch.events };
                let mut written = Ok(());
                if skipped {
                    written = say(sink, &ToInterface::Skipped { next_index: batch.first_index }).await;
                }
                match written {
                    Ok(()) if !batch.events.is_empty() => say(sink, &trace).await,
                    written => written,
                }
            }
            _ = ping.tick() => write_message(sink, Message::Ping(Vec::new().into())).await,
        };
        if let Err(end) = written {
            return end;
        }
    }
}

/// Waits until there is a later change of a scenario's progress than this one, and until the pace allows to tell of it.
async fn progress_is_due(news: &mut watch::Receiver<u64>, told: u64, not_before: Instant) -> u64 {
    let Ok(change) = news.wait_for(|change| *change > told).await.map(|change| *change) else {
        // The server outlives its sessions; should it not, there is nothing more to come.
        return std::future::pending().await;
    };
    tokio::time::sleep_until(not_before).await;
    change
}

/// Waits until there is an event with this index, and until the pace allows a batch.
async fn batch_is_due(news: &mut watch::Receiver<u64>, next_index: u64, not_before: Instant) {
    if news.wait_for(|next| *next > next_index).await.is_err() {
        // The recorder outlives the server; should it not, there is nothing more to come.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep_until(not_before).await;
}

async fn say(sink: &mut SplitSink<WebSocket, Message>, message: &impl Serialize) -> Result<(), SessionEnd> {
    let text = serde_json::to_string(message)?;
    write_message(sink, Message::Text(text.into())).await
}

async fn write_message(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> Result<(), SessionEnd> {
    match tokio::time::timeout(WRITE_LIMIT, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(SessionEnd::Gone),
        Err(_) => Err(SessionEnd::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::trace::Happening;

    use super::*;

    #[test]
    fn a_shared_trace_reads_as_a_trace() {
        let event = TraceEvent { at_us: 7, what: Happening::Mark { text: "x".into() } };
        let shared = SharedTrace::Trace { first_index: 3, events: &[Arc::new(event.clone())] };
        let text = serde_json::to_string(&shared).unwrap();
        let read: ToInterface = serde_json::from_str(&text).unwrap();
        assert_eq!(read, ToInterface::Trace { first_index: 3, events: vec![event] });
    }

    #[test]
    fn a_hello_of_another_version_is_understood_enough_to_be_refused() {
        let own = ToHarness::Hello { version: CONTROL_VERSION, run_id: None, next_index: 4 };
        assert_eq!(read_hello(&serde_json::to_string(&own).unwrap()), Ok((CONTROL_VERSION, None, 4)));
        assert_eq!(read_hello(r#"{"type":"greeting","version":99}"#), Ok((99, None, 0)));
        assert!(read_hello("{}").is_err());
        assert!(read_hello(r#"{"type":"command","id":1,"command":{"do":"play_tour"}}"#).is_err());
    }

    #[test]
    fn a_command_that_does_not_read_still_has_its_number() {
        assert_eq!(command_number(r#"{"type":"command","id":7,"command":{"do":"dance"}}"#), Some(7));
        assert_eq!(command_number("[]"), None);
    }
}
