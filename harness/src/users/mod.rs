//! Simulated users: real clients over TCP, one connection each, with a state of their own (S3.1).
//!
//! Whatever a user does and sees is recorded: sends with the number of the attempt, every event, every answer,
//! the connection's ups and downs. An event that cannot be read becomes a mark that names the problem.

mod upload;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::text::{Cursor, MessageText};
use ackscope_protocol::trace::{ConnectionState, Happening};
use ackscope_protocol::wire::{self, Answer, Conversation, Message, Request, SendMessage, Sent, ServerEvent};
use ackscope_protocol::{ConversationId, MessageId, TempId, UserId};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;

pub use self::upload::{UploadError, upload, upload_picture};
use self::view::SendKey;
pub use self::view::{SeenAck, SeenEvent, SendAnswer, Source, UserView};
use crate::recorder::Recorder;
use crate::socketio::{
    ConnectError, Connection, ConnectionOptions, DisconnectReason, EmitError, Handler, Malformed, Pace, Payload,
    RequestError,
};

/// Longest wait for the answer of a request unless told otherwise.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Most callbacks of sends that are waited for; older ones are forgotten, their acknowledgments are not.
const CALLBACKS_MAX: usize = 65_536;
/// Most characters of a foreign text in a mark.
const QUOTE_MAX_CHARS: usize = 200;

/// How a simulated user connects.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Its name in the run.
    pub user: UserId,
    /// Who it is on the wire: somebody else for a further device of a person.
    pub person: UserId,
    /// The token that says so.
    pub token: String,
    /// Where the chat service listens, such as `http://127.0.0.1:41234`.
    pub chat_url: String,
    /// Where everything is recorded.
    pub recorder: Recorder,
    /// Longest wait for the answer of a request.
    pub answer_limit: Duration,
    /// Limits of the transport.
    pub transport: ConnectionOptions,
}

impl ConnectOptions {
    /// The usual limits.
    pub fn new(user: UserId, token: String, chat_url: String, recorder: Recorder) -> Self {
        let person = user.clone();
        let transport = ConnectionOptions::default();
        Self { user, person, token, chat_url, recorder, answer_limit: ANSWER_LIMIT, transport }
    }
}

/// Why a user could not do something. A refusal by the service is not among these: it is an answer.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The connection could not be opened.
    #[error("{user} could not connect: {source}")]
    Connect {
        /// Who.
        user: UserId,
        /// Why.
        source: ConnectError,
    },
    /// The user is not connected.
    #[error("{0} is not connected")]
    NotConnected(UserId),
    /// Something was not put on the connection, or the connection ended before the answer.
    #[error("{user}: {source}")]
    Request {
        /// Who.
        user: UserId,
        /// Why.
        source: RequestError,
    },
    /// The answer is not what S1.8 says.
    #[error("{user}: the answer of `{event}` does not read: {problem}")]
    Unreadable {
        /// Who.
        user: UserId,
        /// Which request.
        event: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The service refused the `sync` that belongs to connecting.
    #[error("{user}: `sync` was refused: {source}")]
    SyncRefused {
        /// Who.
        user: UserId,
        /// Why.
        source: WireError,
    },
    /// What was waited for did not come.
    #[error("{user} did not see it within {} ms", waited.as_millis())]
    NotSeen {
        /// Who.
        user: UserId,
        /// How long.
        waited: Duration,
    },
}

impl UserError {
    fn emit(user: &UserId, source: EmitError) -> Self {
        Self::Request { user: user.clone(), source: source.into() }
    }
}

/// What a send is known by before any answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentHandle {
    /// The message's id, derived as the service will derive it.
    pub message_id: MessageId,
    /// Its `temp_id`.
    pub temp_id: TempId,
    /// 1 for the first send, 2 for the first retry, and so on.
    pub attempt: u32,
    /// Real time it was put on the connection.
    pub at: Instant,
}

/// Figures of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserState {
    /// Whether it is connected, and if not, why.
    pub connection: ConnectionState,
    /// Messages sent, retries not counted.
    pub sent: usize,
    /// Events seen.
    pub seen: usize,
    /// Events that came over the connection twice.
    pub duplicates: u64,
    /// Events and frames that could not be read.
    pub unreadable: u64,
}

/// A simulated user. Dropping it drops its TCP connection.
#[derive(Debug)]
pub struct SimulatedUser {
    options: ConnectOptions,
    shared: Arc<Shared>,
    token: Mutex<String>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// One change of the connection at a time; holds the place `sync` goes on from.
    cursor: tokio::sync::Mutex<Option<Cursor>>,
    /// It is connected again and could not take what it missed.
    is_behind: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    user: UserId,
    recorder: Recorder,
    view: Mutex<UserView>,
    state: Mutex<ConnectionState>,
    callbacks: Mutex<HashMap<u64, SendKey>>,
    /// Changes with everything in the view.
    news: watch::Sender<u64>,
}

impl Shared {
    fn mark(&self, at: Instant, text: String) {
        self.recorder.record_at(at, Happening::Mark { text });
    }

    fn changed(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    fn unreadable(&self, at: Instant, what: &str, problem: &str) {
        self.view.lock().count_unreadable();
        self.mark(at, format!("{}: {what} could not be read: {}", self.user, quote(problem)));
        self.changed();
    }

    fn take(&self, at: Instant, source: Source, event: ServerEvent) {
        {
            // Recorded under the lock, so that the recording has this user's events in the order of the view.
            let mut view = self.view.lock();
            if let Some(seen) = view.take(at, source, event) {
                let event = ServerEvent::clone(&seen.event);
                self.recorder.record_at(at, Happening::Saw { user: self.user.clone(), event });
            }
        }
        self.changed();
    }

    fn set_state(&self, at: Instant, state: ConnectionState) {
        *self.state.lock() = state.clone();
        self.recorder.record_at(at, Happening::Connection { user: self.user.clone(), state });
        self.changed();
    }
}

/// The beginning of a text that others wrote.
fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTE_MAX_CHARS).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

/// Reads a server event straight into its type.
fn read_event(name: &str, payload: Payload<'_>) -> Result<ServerEvent, String> {
    match name {
        "message:ack" => payload.parse().map(ServerEvent::Ack),
        "message:new" => payload.parse().map(ServerEvent::New),
        "message:edited" => payload.parse().map(ServerEvent::Edited),
        "message:deleted" => payload.parse().map(ServerEvent::Deleted),
        "message:reaction" => payload.parse().map(ServerEvent::Reaction),
        "message:delivered" => payload.parse().map(ServerEvent::Delivered),
        "conversation:updated" => payload.parse().map(ServerEvent::ConversationUpdated),
        "error" => payload.parse().map(ServerEvent::Error),
        _ => return Err("the wire has no such event".to_owned()),
    }
    .map_err(|error| error.to_string())
}

impl Handler for Shared {
    fn on_event(&self, at: Instant, event: &str, payload: Payload<'_>) {
        match read_event(event, payload) {
            Ok(event) => self.take(at, Source::Live, event),
            Err(problem) => self.unreadable(at, &format!("event `{}`", quote(event)), &problem),
        }
    }

    fn on_answer(&self, at: Instant, id: u64, payload: Payload<'_>) {
        // Nobody waits for it: the answer of a request that was given up.
        let Some(key) = self.callbacks.lock().remove(&id) else { return };
        match payload.parse::<Answer<Sent>>() {
            Ok(answer) => {
                let outcome: Result<Sent, WireError> = answer.into();
                self.recorder.record_at(
                    at,
                    Happening::Answered {
                        user: self.user.clone(),
                        request: SendMessage::EVENT.to_owned(),
                        conversation: None,
                        error: outcome.as_ref().err().cloned(),
                    },
                );
                self.view.lock().add_answer(&key, SendAnswer { at, outcome });
                self.changed();
            }
            Err(error) => self.unreadable(at, "the answer of `message:send`", &error.to_string()),
        }
    }

    fn on_malformed(&self, at: Instant, problem: &Malformed) {
        self.unreadable(at, "a frame", &problem.to_string());
    }

    fn on_down(&self, at: Instant, reason: &DisconnectReason) {
        self.callbacks.lock().clear();
        self.set_state(at, ConnectionState::Disconnected { reason: reason.to_string() });
    }
}

/// What answers of conversation events carry.
#[derive(Deserialize)]
struct Conversations {
    data: Option<ConversationData>,
}

#[derive(Deserialize)]
struct ConversationData {
    conversation: Option<Conversation>,
    #[serde(default)]
    conversations: Vec<Conversation>,
}

impl SimulatedUser {
    /// Connects, and takes the cursor a later `sync` goes on from.
    pub fn connect(options: ConnectOptions) -> BoxFuture<'static, Result<Arc<Self>, UserError>> {
        Box::pin(async move {
            let shared = Arc::new(Shared {
                user: options.user.clone(),
                recorder: options.recorder.clone(),
                view: Mutex::new(UserView::new(options.person.clone())),
                state: Mutex::new(ConnectionState::Disconnected { reason: "not connected yet".to_owned() }),
                callbacks: Mutex::default(),
                news: watch::Sender::new(0),
            });
            if options.person != options.user {
                let (user, of) = (options.user.clone(), options.person.clone());
                options.recorder.record(Happening::Device { user, of });
            }
            let token = Mutex::new(options.token.clone());
            let cursor = tokio::sync::Mutex::default();
            let connection = Mutex::default();
            let user = Arc::new(Self { options, shared, token, connection, cursor, is_behind: AtomicBool::new(false) });
            user.reconnect().await?;
            Ok(user)
        })
    }

    /// Its name in the run.
    pub fn user_id(&self) -> &UserId {
        &self.options.user
    }

    /// Who it is on the wire: somebody else for a further device of a person.
    pub fn person(&self) -> &UserId {
        &self.options.person
    }

    /// Figures.
    pub fn state(&self) -> UserState {
        let connection = self.shared.state.lock().clone();
        let view = self.shared.view.lock();
        UserState {
            connection,
            sent: view.sent(),
            seen: view.next_index(),
            duplicates: view.duplicates(),
            unreadable: view.unreadable(),
        }
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        self.connection.lock().as_ref().is_some_and(|connection| connection.is_up())
    }

    // ---- acting -----------------------------------------------------------------------------------------

    /// Sends a request and waits for its answer. For `message:send` use [`Self::send`], which does not wait and
    /// is recorded as a send.
    pub async fn request<R: Request>(&self, request: &R) -> Result<Result<R::Answer, WireError>, UserError> {
        let answer = self.ask(R::EVENT, request).await?;
        let outcome: Result<R::Answer, WireError> = match serde_json::from_str::<Answer<R::Answer>>(answer.get()) {
            Ok(answer) => answer.into(),
            Err(error) => return Err(self.unreadable(R::EVENT, &error.to_string())),
        };
        let conversation = self.note_conversations(R::EVENT, &answer);
        self.record_answer(R::EVENT, conversation, outcome.as_ref().err());
        Ok(outcome)
    }

    /// Sends anything under any name and waits for the answer, as it comes. What can be told as a send is recorded as one,
    /// because the service tells of it by its name too.
    pub fn request_raw<'a>(&'a self, event: &'a str, payload: Value) -> BoxFuture<'a, Result<Value, UserError>> {
        Box::pin(async move {
            self.connection()?;
            let send = raw_send(event, &payload);
            if let Some(send) = &send {
                self.note_send(send, Instant::now());
            }
            let answer = self.ask(event, &payload).await?;
            if let (Some(send), Ok(answer)) = (&send, serde_json::from_str::<Answer<Sent>>(answer.get())) {
                let key = (send.conversation_id, send.temp_id.clone());
                let answer = SendAnswer { at: Instant::now(), outcome: answer.into() };
                self.shared.view.lock().add_answer(&key, answer);
                self.shared.changed();
            }
            let value: Value =
                serde_json::from_str(answer.get()).map_err(|error| self.unreadable(event, &error.to_string()))?;
            let error = value.get("error").and_then(|error| WireError::deserialize(error).ok());
            let conversation = self.note_conversations(event, &answer);
            self.record_answer(event, conversation, error.as_ref());
            Ok(value)
        })
    }

    /// Puts a message on the connection and does not wait for what becomes of it: acknowledgments come as
    /// events, the callback's answer goes to [`UserView::send_answers`]. The same `temp_id` again is a retry.
    pub async fn send(&self, message: SendMessage) -> Result<SentHandle, UserError> {
        let connection = self.connection()?;
        let message_id = MessageId::derive(self.person(), message.conversation_id, &message.temp_id);
        let mut handle = None;
        let on_id = |id| {
            let at = Instant::now();
            let attempt = self.note_send(&message, at);
            handle = Some(SentHandle { message_id, temp_id: message.temp_id.clone(), attempt, at });
            let mut callbacks = self.shared.callbacks.lock();
            if callbacks.len() < CALLBACKS_MAX {
                callbacks.insert(id, (message.conversation_id, message.temp_id.clone()));
            }
        };
        connection
            .emit_tracked(SendMessage::EVENT, &message, on_id)
            .await
            .map_err(|error| UserError::emit(self.user_id(), error))?;
        handle.ok_or_else(|| UserError::NotConnected(self.user_id().clone()))
    }

    /// Notes and records a send; gives the number of the attempt.
    fn note_send(&self, message: &SendMessage, at: Instant) -> u32 {
        let attempt = self.shared.view.lock().add_attempt(message);
        self.shared.recorder.record_at(
            at,
            Happening::Sent {
                user: self.user_id().clone(),
                message_id: MessageId::derive(self.person(), message.conversation_id, &message.temp_id),
                conversation_id: message.conversation_id,
                temp_id: message.temp_id.clone(),
                text: message.text.as_deref().map(str::to_owned),
                reply_to: message.reply_to,
                attempt,
            },
        );
        attempt
    }

    /// Emits anything under any name and asks for no answer.
    pub async fn emit_raw(&self, event: &str, payload: &Value) -> Result<(), UserError> {
        self.connection()?.emit(event, payload).await.map_err(|error| UserError::emit(self.user_id(), error))
    }

    /// Sends any text frame, packet or not.
    pub async fn send_text_frame(&self, text: impl Into<String>) -> Result<(), UserError> {
        self.connection()?.send_raw_text(text).await.map_err(|error| UserError::emit(self.user_id(), error))
    }

    /// Sends any binary frame.
    pub async fn send_binary_frame(&self, bytes: Vec<u8>) -> Result<(), UserError> {
        self.connection()?.send_raw_binary(bytes).await.map_err(|error| UserError::emit(self.user_id(), error))
    }

    /// The token for the next time it connects; the old one may have expired.
    pub fn set_token(&self, token: String) {
        *self.token.lock() = token;
    }

    /// Waits until everything the service wrote to this connection before this call has been seen. Not recorded. Takes
    /// what it missed, if that did not work when it connected again.
    pub fn catch_up(&self) -> BoxFuture<'_, Result<(), UserError>> {
        Box::pin(async move {
            if self.is_behind.load(Ordering::Acquire) {
                let mut cursor = self.cursor.lock().await;
                *cursor = Some(self.sync_from(cursor.clone()).await?);
                self.is_behind.store(false, Ordering::Release);
            }
            // Any answer does: it stands in the connection behind everything that was written before it.
            self.ask(wire::Sync::EVENT, &wire::Sync::default()).await.map(drop)
        })
    }

    /// Changes how fast this user reads.
    pub fn set_pace(&self, pace: Pace) -> Result<(), UserError> {
        self.connection()?.set_pace(pace);
        Ok(())
    }

    /// Whether it reads nothing at the moment.
    pub fn is_paused(&self) -> bool {
        self.connection
            .lock()
            .as_ref()
            .is_some_and(|connection| connection.is_up() && connection.pace() == Pace::Paused)
    }

    /// Waits until the connection has ended and gives the reason; at once when there is none.
    pub async fn ended(&self) -> Option<DisconnectReason> {
        let connection = self.connection.lock().clone()?;
        Some(connection.ended().await)
    }

    /// Drops the TCP connection without a goodbye. Nothing happens when it is down already.
    pub async fn drop_connection(&self) {
        let _one_at_a_time = self.cursor.lock().await;
        self.take_down().await;
    }

    /// Says goodbye and closes the connection.
    pub async fn disconnect(&self) {
        let _one_at_a_time = self.cursor.lock().await;
        let connection = self.connection.lock().take();
        if let Some(connection) = connection {
            connection.close().await;
        }
    }

    /// Connects again (dropping what was left of the old connection) and takes with `sync` what was missed.
    pub fn reconnect(&self) -> BoxFuture<'_, Result<(), UserError>> {
        Box::pin(async move {
            let mut cursor = self.cursor.lock().await;
            self.take_down().await;
            let auth = serde_json::json!({ "token": *self.token.lock() });
            let opened = Connection::open(
                &self.options.chat_url,
                wire::NAMESPACE,
                &auth,
                &self.options.transport,
                Arc::clone(&self.shared) as Arc<dyn Handler>,
            );
            let connection = match opened.await {
                Ok(connection) => Arc::new(connection),
                Err(source) => return Err(UserError::Connect { user: self.user_id().clone(), source }),
            };
            self.shared.set_state(Instant::now(), ConnectionState::Connected);
            // It may have gone down meanwhile, and then said so before it was said to be up.
            if !connection.is_up() {
                let reason = connection.ended().await.to_string();
                self.shared.set_state(Instant::now(), ConnectionState::Disconnected { reason });
            }
            *self.connection.lock() = Some(connection);
            // Unless the answer comes, what was missed is asked for again by the next one who wants to be sure.
            self.is_behind.store(true, Ordering::Release);
            *cursor = Some(self.sync_from(cursor.clone()).await?);
            self.is_behind.store(false, Ordering::Release);
            Ok(())
        })
    }

    async fn take_down(&self) {
        let connection = self.connection.lock().take();
        if let Some(connection) = connection {
            connection.abort().await;
        }
    }

    /// Takes everything since `cursor`; without one, only the place where now is.
    async fn sync_from(&self, mut cursor: Option<Cursor>) -> Result<Cursor, UserError> {
        loop {
            let request = wire::Sync { cursor: cursor.clone() };
            let answer = self.ask(wire::Sync::EVENT, &request).await?;
            let at = Instant::now();
            let page = match serde_json::from_str::<Answer<SyncPage>>(answer.get()) {
                Ok(Answer::Ok(page)) => page,
                Ok(Answer::Err(source)) => {
                    self.record_answer(wire::Sync::EVENT, None, Some(&source));
                    return Err(UserError::SyncRefused { user: self.user_id().clone(), source });
                }
                Err(error) => return Err(self.unreadable(wire::Sync::EVENT, &error.to_string())),
            };
            for event in page.events {
                match serde_json::from_str(event.get()) {
                    Ok(event) => self.shared.take(at, Source::Synced, event),
                    Err(error) => self.shared.unreadable(at, "an event of `sync`", &error.to_string()),
                }
            }
            if !page.more {
                return Ok(page.cursor);
            }
            // A cursor that stays where it is would be asked for ever.
            if cursor.as_ref() == Some(&page.cursor) {
                return Err(self.unreadable(wire::Sync::EVENT, "there is more, but the cursor does not move"));
            }
            cursor = Some(page.cursor);
        }
    }

    // ---- observing --------------------------------------------------------------------------------------

    /// The number the next event will get. Take it before doing something, to wait for what follows.
    pub fn next_index(&self) -> usize {
        self.shared.view.lock().next_index()
    }

    /// Waits until an event with the number `from` or a later one fulfils the predicate. Events that came before
    /// the call count.
    pub async fn wait_for(
        &self,
        from: usize,
        limit: Duration,
        mut predicate: impl FnMut(&ServerEvent) -> bool,
    ) -> Result<SeenEvent, UserError> {
        let mut next = from;
        self.wait_until(limit, |view| {
            let found = view.seen_from(next).find(|seen| predicate(&seen.event)).cloned();
            next = view.next_index().max(from);
            found
        })
        .await
    }

    /// Waits until what this user knows gives something. Asked again with every change.
    pub async fn wait_until<T>(
        &self,
        limit: Duration,
        mut ask: impl FnMut(&UserView) -> Option<T>,
    ) -> Result<T, UserError> {
        let mut news = self.shared.news.subscribe();
        let asking = async {
            loop {
                news.mark_unchanged();
                if let Some(found) = ask(&self.shared.view.lock()) {
                    return Some(found);
                }
                // The sender lives in `self`, so this does not fail.
                if news.changed().await.is_err() {
                    return None;
                }
            }
        };
        let found = tokio::time::timeout(limit, asking).await.ok().flatten();
        found.ok_or_else(|| UserError::NotSeen { user: self.user_id().clone(), waited: limit })
    }

    /// Looks at everything this user knows. Keep it short: the connection waits meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&UserView) -> T) -> T {
        look(&self.shared.view.lock())
    }

    /// The conversations this user knows it is in.
    pub fn conversations(&self) -> Vec<Conversation> {
        self.look(|view| view.conversations().cloned().collect())
    }

    /// The messages of a conversation as this user knows them, by `seq`.
    pub fn messages(&self, conversation_id: ConversationId) -> Vec<Message> {
        self.look(|view| view.messages(conversation_id).into_iter().cloned().collect())
    }

    /// The acknowledgments of a send, in the order they came.
    pub fn acks(&self, temp_id: &TempId, conversation_id: ConversationId) -> Vec<SeenAck> {
        self.look(|view| view.acks(temp_id, conversation_id).to_vec())
    }

    // ---- helpers ----------------------------------------------------------------------------------------

    fn connection(&self) -> Result<Arc<Connection>, UserError> {
        let connection = self.connection.lock().clone().filter(|connection| connection.is_up());
        connection.ok_or_else(|| UserError::NotConnected(self.user_id().clone()))
    }

    async fn ask<P: serde::Serialize>(&self, event: &str, payload: &P) -> Result<Box<RawValue>, UserError> {
        self.connection()?
            .request(event, payload, self.options.answer_limit)
            .await
            .map_err(|source| UserError::Request { user: self.user_id().clone(), source })
    }

    fn unreadable(&self, event: &str, problem: &str) -> UserError {
        self.shared.unreadable(Instant::now(), &format!("the answer of `{}`", quote(event)), problem);
        UserError::Unreadable { user: self.user_id().clone(), event: event.to_owned(), problem: problem.to_owned() }
    }

    fn record_answer(&self, event: &str, conversation: Option<Conversation>, error: Option<&WireError>) {
        self.shared.recorder.record(Happening::Answered {
            user: self.user_id().clone(),
            request: event.to_owned(),
            conversation,
            error: error.cloned(),
        });
    }

    /// Takes the conversations of an answer in; gives the one it is about, if it is about one.
    fn note_conversations(&self, event: &str, answer: &RawValue) -> Option<Conversation> {
        if !event.starts_with("conversation:") {
            return None;
        }
        let data = serde_json::from_str::<Conversations>(answer.get()).ok()?.data?;
        {
            let mut view = self.shared.view.lock();
            for conversation in data.conversations.into_iter().chain(data.conversation.clone()) {
                view.add_conversation(conversation);
            }
        }
        self.shared.changed();
        data.conversation
    }
}

/// Like [`wire::SyncAnswer`], but an event that does not read spoils only itself.
#[derive(Deserialize)]
struct SyncPage {
    events: Vec<Box<RawValue>>,
    cursor: Cursor,
    more: bool,
}

/// What a payload asks to send, as far as it can be read: the service tells of a message by its name, whatever else is
/// wrong with it.
fn raw_send(event: &str, payload: &Value) -> Option<SendMessage> {
    if event != SendMessage::EVENT && Some(event) != SendMessage::OLDER_NAME {
        return None;
    }
    let text = |field: &str| payload.get(field)?.as_str();
    Some(SendMessage {
        conversation_id: text("conversation_id")?.parse().ok()?,
        temp_id: text("temp_id")?.parse().ok()?,
        text: text("text").and_then(|text| MessageText::new(text).ok()),
        media: Vec::new(),
        reply_to: None,
    })
}

/// The refusal in a connection's failure, if the service refused it with a code.
pub fn refusal_code(error: &UserError) -> Option<ErrorCode> {
    match error {
        UserError::SyncRefused { source, .. } => Some(source.code),
        UserError::Connect { source: ConnectError::Refused { message, data }, .. } => {
            let code = data.get("code").and_then(Value::as_str);
            code.or_else(|| message.split(':').next()).and_then(|code| code.parse().ok())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_by_name() {
        let frame = r#"42/chat,["message:delivered",{"conversation_id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","message_id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","at":"2026-01-31T12:00:00.007Z"}]"#;
        let Ok(crate::socketio::Packet::Event { name, payload, .. }) = crate::socketio::Packet::read(frame) else {
            panic!("not an event");
        };
        assert_eq!(read_event(&name, payload).unwrap().name(), "message:delivered");
        assert!(read_event("message:new", payload).is_err());
        assert!(read_event("message:unheard", payload).unwrap_err().contains("no such event"));
    }

    #[test]
    fn foreign_texts_are_cut() {
        assert_eq!(quote("short"), "short");
        assert_eq!(quote(&"ü".repeat(500)).chars().count(), QUOTE_MAX_CHARS + 1);
    }

    #[test]
    fn a_refused_connection_names_its_code() {
        let refused = |message: &str, data: Value| UserError::Connect {
            user: "ana".parse().unwrap(),
            source: ConnectError::Refused { message: message.to_owned(), data },
        };
        let by_text = refused("unauthenticated: the token has expired", Value::Null);
        assert_eq!(refusal_code(&by_text), Some(ErrorCode::Unauthenticated));
        let by_data = refused("no", serde_json::json!({ "code": "overloaded" }));
        assert_eq!(refusal_code(&by_data), Some(ErrorCode::Overloaded));
        assert_eq!(refusal_code(&refused("no", Value::Null)), None);
    }
}
