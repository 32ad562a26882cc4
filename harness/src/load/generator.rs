//! Many connections, one pacer, and a count of everything that comes back.
//!
//! Cheaper than simulated users: nothing is kept but numbers, and an event is read only as far as its name, its
//! message and its state. The pacer is a thread of its own that does nothing but wait for the next scheduled
//! time and put the message on its connection's queue, so that no answer can hold it up.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ackscope_core::clients::transport::http_client_builder;
use ackscope_core::clock::Clock;
use ackscope_core::token::TokenKey;
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::ids::{ConversationId, MediaId, MessageId, UserId};
use ackscope_protocol::text::FileName;
use ackscope_protocol::wire::{
    self, AckState, ConversationKind, CreateConversation, History, MediaState, Message, Request, UploadUrl,
};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::LoadError;
use super::process::ProcessFigures;
use super::round::{Ending, Round, RoundReport, state};
use super::schedule::{Arrivals, schedule};
use super::server::Server;
use crate::latency::Distribution;
use crate::socketio::{Connection, ConnectionOptions, DisconnectReason, Handler, Malformed, Payload};

/// Connections that are opened at the same time.
const CONNECTING_AT_ONCE: usize = 32;
/// Pictures that are uploaded at the same time.
const UPLOADING_AT_ONCE: usize = 8;
/// How long the answer of a request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long a reader waits that asked too often.
const RATE_PAUSE: Duration = Duration::from_millis(50);
/// How long what is on its way may take to come after the last send.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// How often the end of a round is looked for, and progress is told.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// From making a round's plan to its first send.
const LEAD: Duration = Duration::from_millis(50);
/// Tokens of load users hold for a day.
const TOKEN_TTL: Duration = Duration::from_hours(24);
/// A picture of one pixel.
const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6,
    0, 0, 0, 0x1f, 0x15, 0xc4, 0x89,
];
/// What every message says after its number; about as long as people write.
const TEXT: &str = "Shall we meet at the usual place at half past seven?";

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many users, each with one connection.
    pub users: u32,
    /// How many of them share a conversation.
    pub group_size: u32,
}

/// What a round is.
#[derive(Clone, Copy, Debug)]
pub struct RoundPlan {
    /// Messages a second, all users together.
    pub rate_per_sec: u32,
    /// How long is sent before it is measured.
    pub warmup: Duration,
    /// How long is measured.
    pub duration: Duration,
    /// How sends are spread over time.
    pub arrivals: Arrivals,
    /// Share of the messages that carry their sender's picture, from 0 to 1; see [`Generator::upload_pictures`].
    pub media_share: f64,
    /// What is left to chance follows from this number.
    pub seed: u64,
}

/// How far a round is.
#[derive(Clone, Copy, Debug)]
pub struct RoundProgress {
    /// Messages of the schedule.
    pub scheduled: u64,
    /// Sent so far.
    pub sent: u64,
    /// With an outcome so far.
    pub outcomes: u64,
    /// Acknowledged as `delivered` so far.
    pub delivered: u64,
    /// Acknowledged as `persisted` so far.
    pub persisted: u64,
    /// `message:new` seen so far.
    pub received: u64,
}

/// Connected users and their conversations.
pub struct Generator {
    crowd: Crowd,
    users: Arc<Vec<LoadUser>>,
    shared: Arc<Shared>,
    rounds: u32,
    /// Makes this generator's messages unlike those of any other.
    nonce: u32,
}

struct LoadUser {
    connection: Connection,
    conversation_id: ConversationId,
    picture: OnceLock<MediaId>,
}

/// A round's messages as its conversations' histories have them.
#[derive(Clone, Debug, Default)]
pub struct StoredRound {
    /// Which ones.
    pub message_ids: Vec<MessageId>,
    /// Media items of them by their state.
    pub verified: u64,
    /// Not checked yet.
    pub unverified: u64,
    /// Found to be wrong.
    pub invalid: u64,
}

struct Shared {
    round: RwLock<Option<Arc<Round>>>,
    disconnects: AtomicU64,
}

/// Counts what comes over one connection.
struct Counter {
    user: u32,
    nonce: u32,
    shared: Arc<Shared>,
}

#[derive(Deserialize)]
struct AckPart<'a> {
    #[serde(borrow)]
    temp_id: Cow<'a, str>,
    state: AckState,
    #[serde(default)]
    error: Option<CodePart>,
}

#[derive(Deserialize)]
struct CodePart {
    code: ErrorCode,
}

#[derive(Deserialize)]
struct NewPart<'a> {
    #[serde(borrow)]
    message: TextPart<'a>,
}

#[derive(Deserialize)]
struct TextPart<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct SendPart<'a> {
    conversation_id: ConversationId,
    temp_id: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "<[MediaId]>::is_empty")]
    media: &'a [MediaId],
}

/// Generator, round and message that a name such as `3fb1-2-17` stands for.
fn read_name(name: &str) -> Option<(u32, u32, usize)> {
    let mut parts = name.split('-');
    let nonce = u32::from_str_radix(parts.next()?, 16).ok()?;
    Some((nonce, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Counter {
    /// The round's message a name stands for; another generator's or round's stands for none.
    fn message(&self, round: &Round, name: &str) -> Option<usize> {
        let (nonce, number, message) = read_name(name)?;
        (nonce == self.nonce && number == round.number && round.has(message)).then_some(message)
    }
}

impl Handler for Counter {
    fn on_event(&self, at: Instant, event: &str, payload: Payload<'_>) {
        let Some(round) = self.shared.round.read().clone() else { return };
        match event {
            "message:ack" => {
                let Ok(ack) = payload.parse::<AckPart<'_>>() else { return round.unreadable(self.user) };
                let Some(message) = self.message(&round, &ack.temp_id) else { return };
                let code = ack.error.map(|error| error.code);
                let bit = match ack.state {
                    AckState::Pending => state::PENDING,
                    AckState::Delivered => state::DELIVERED,
                    AckState::Persisted => state::PERSISTED,
                    AckState::Rejected if code == Some(ErrorCode::OutcomeUnknown) => state::UNKNOWN,
                    AckState::Rejected => state::REJECTED,
                };
                round.acknowledged(self.user, message, bit, at, code);
            }
            "message:new" => {
                let Ok(new) = payload.parse::<NewPart<'_>>() else { return round.unreadable(self.user) };
                let text = new.message.text.unwrap_or_default();
                let name = text.split(' ').next().unwrap_or_default();
                if let Some(message) = self.message(&round, name) {
                    round.seen_by(self.user, message, at);
                }
            }
            _ => {}
        }
    }

    fn on_answer(&self, _: Instant, _: u64, _: Payload<'_>) {
        // The acknowledgments say the same and more.
    }

    fn on_malformed(&self, _: Instant, _: &Malformed) {
        if let Some(round) = self.shared.round.read().clone() {
            round.unreadable(self.user);
        }
    }

    fn on_down(&self, _: Instant, reason: &DisconnectReason) {
        if !matches!(reason, DisconnectReason::Closed | DisconnectReason::Dropped) {
            self.shared.disconnects.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Generator {
    /// Connects everybody and makes their conversations.
    pub fn connect<'a>(
        chat_url: &'a str,
        token_key: &'a TokenKey,
        crowd: Crowd,
    ) -> BoxFuture<'a, Result<Self, LoadError>> {
        Box::pin(async move {
            let Crowd { users, group_size } = crowd;
            if group_size < 2 || !users.is_multiple_of(group_size) {
                return Err(LoadError::Plan(format!("{users} users do not make whole groups of {group_size}")));
            }
            let shared = Arc::new(Shared { round: RwLock::default(), disconnects: AtomicU64::new(0) });
            let now = Clock::default().now();
            let nonce = fastrand::u32(..);
            let open = |user: u32| {
                let shared = Arc::clone(&shared);
                async move {
                    let id = user_id(user)?;
                    let token = token_key.sign(&id, now, TOKEN_TTL);
                    let auth = serde_json::json!({ "token": token });
                    let handler = Arc::new(Counter { user, nonce, shared });
                    Connection::open(chat_url, wire::NAMESPACE, &auth, &ConnectionOptions::default(), handler)
                        .await
                        .map_err(|source| LoadError::Connect { user: id.to_string(), source })
                }
            };
            let connections: Vec<Connection> =
                stream::iter(0..users).map(open).buffered(CONNECTING_AT_ONCE).try_collect().await?;
            let create = |group: u32| {
                let creator = &connections[(group * group_size) as usize];
                async move { create_group(creator, group, group_size).await }
            };
            let conversations: Vec<ConversationId> =
                stream::iter(0..users / group_size).map(create).buffered(CONNECTING_AT_ONCE).try_collect().await?;
            let users = connections
                .into_iter()
                .enumerate()
                .map(|(user, connection)| LoadUser {
                    connection,
                    conversation_id: conversations[user / group_size as usize],
                    picture: OnceLock::new(),
                })
                .collect();
            Ok(Self { crowd, users: Arc::new(users), shared, rounds: 0, nonce })
        })
    }

    /// Sends one round and waits until everything has come back, or cannot be hoped for any more.
    pub async fn round(
        &mut self,
        plan: RoundPlan,
        server: &Server,
        mut on_progress: impl FnMut(RoundProgress),
    ) -> Result<RoundReport, LoadError> {
        self.rounds += 1;
        let sends =
            schedule(plan.arrivals, plan.rate_per_sec, plan.warmup + plan.duration, self.crowd.users, plan.seed);
        if plan.media_share > 0.0 && self.users.iter().any(|user| user.picture.get().is_none()) {
            return Err(LoadError::Plan("messages with media need uploaded pictures".to_owned()));
        }
        // Drawn apart from the schedule, so that who sends what when does not depend on it.
        let mut random = fastrand::Rng::with_seed(!plan.seed);
        let with_media = sends.iter().map(|_| random.f64() < plan.media_share).collect();
        let round =
            Round::new(self.rounds, Instant::now() + LEAD, sends, with_media, self.crowd.group_size, plan.warmup);
        let round = Arc::new(round);
        *self.shared.round.write() = Some(Arc::clone(&round));
        let disconnects_before = self.shared.disconnects.load(Ordering::Relaxed);
        let (server_before, generator_before) = (server.figures(), own_figures());
        let began = Instant::now();

        let pacer = Pacer::start(Arc::clone(&self.users), Arc::clone(&round), self.nonce, plan.warmup)?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut deadline = None;
        loop {
            look.tick().await;
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            on_progress(RoundProgress {
                scheduled: round.schedule.len() as u64,
                sent: load(&round.sent),
                outcomes: load(&round.outcomes),
                delivered: load(&round.delivered),
                persisted: load(&round.persisted),
                received: load(&round.received),
            });
            if pacer.is_finished() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + DRAIN_LIMIT);
                if round.is_complete() || Instant::now() >= deadline {
                    break;
                }
            }
        }
        let wall_secs = began.elapsed().as_secs_f64();
        let generator_lag = pacer.join()?;
        *self.shared.round.write() = None;
        let used = |before: Option<ProcessFigures>, after: Option<ProcessFigures>| {
            before.zip(after).map(|(before, after)| after.since(before, wall_secs))
        };
        Ok(round.report(Ending {
            rate_per_sec: plan.rate_per_sec,
            measured_secs: plan.duration.as_secs_f64(),
            generator_lag,
            disconnects: self.shared.disconnects.load(Ordering::Relaxed) - disconnects_before,
            server: used(server_before, server.figures()),
            generator: used(generator_before, own_figures()),
        }))
    }

    /// Has every user upload a picture, for messages with media.
    pub async fn upload_pictures(&self) -> Result<(), LoadError> {
        let failed = |error: &dyn std::fmt::Display| LoadError::Media(error.to_string());
        let http = http_client_builder(false).map_err(|error| failed(&error))?;
        let http = http.build().map_err(|error| failed(&error))?;
        let upload = |user: usize| {
            let (user, http) = (&self.users[user], &http);
            async move {
                let request = UploadUrl {
                    file_name: FileName::new("dot.png").map_err(|error| failed(&error))?,
                    content_type: "image/png".to_owned(),
                    size_bytes: PNG.len() as u64,
                };
                let place = ask(&user.connection, &request).await?.map_err(|error| failed(&error))?;
                let put = http.put(&place.url).header("content-type", "image/png").body(PNG).send();
                let status = put.await.map_err(|error| failed(&error))?.status();
                if !status.is_success() {
                    return Err(failed(&format!("the media service answered {status}")));
                }
                user.picture.get_or_init(|| place.media_id);
                Ok(())
            }
        };
        stream::iter(0..self.users.len()).map(upload).buffer_unordered(UPLOADING_AT_ONCE).try_collect().await
    }

    /// Reads the messages of the latest round out of every conversation's history, as one of its users sees it.
    pub async fn stored_round(&self) -> Result<StoredRound, LoadError> {
        let mut stored = StoredRound::default();
        for reader in self.users.iter().step_by(self.crowd.group_size as usize) {
            let mut request =
                History { conversation_id: reader.conversation_id, limit: None, cursor: None, thread: None };
            loop {
                let page = match ask(&reader.connection, &request).await? {
                    Ok(page) => page,
                    Err(error) if error.code == ErrorCode::RateLimited => {
                        tokio::time::sleep(RATE_PAUSE).await;
                        continue;
                    }
                    Err(error) => return Err(LoadError::Conversation(error.to_string())),
                };
                let is_of_round = |message: &Message| {
                    let name = message.text.as_ref().and_then(|text| text.split(' ').next());
                    let read = name.and_then(read_name);
                    read.is_some_and(|(nonce, number, _)| nonce == self.nonce && number == self.rounds)
                };
                let mut is_whole = true;
                for message in &page.messages {
                    if !is_of_round(message) {
                        is_whole = false;
                        break;
                    }
                    stored.message_ids.push(message.message_id);
                    for media in &message.media {
                        match media.media_state {
                            MediaState::Verified => stored.verified += 1,
                            MediaState::Unverified => stored.unverified += 1,
                            MediaState::Invalid => stored.invalid += 1,
                        }
                    }
                }
                match page.next_cursor {
                    Some(cursor) if is_whole => request.cursor = Some(cursor),
                    _ => break,
                }
            }
        }
        Ok(stored)
    }

    /// Says goodbye on every connection.
    pub async fn disconnect(self) {
        stream::iter(self.users.iter())
            .for_each_concurrent(CONNECTING_AT_ONCE, |user| async { user.connection.close().await })
            .await;
    }
}

fn own_figures() -> Option<ProcessFigures> {
    ProcessFigures::of(std::process::id())
}

fn user_id(user: u32) -> Result<UserId, LoadError> {
    format!("load-{user}").parse().map_err(|error| LoadError::Plan(format!("no user id: {error}")))
}

async fn create_group(creator: &Connection, group: u32, group_size: u32) -> Result<ConversationId, LoadError> {
    let first = group * group_size;
    let participants = (first + 1..first + group_size).map(user_id).collect::<Result<_, _>>()?;
    let request = CreateConversation { kind: ConversationKind::Group, participants, title: None };
    match ask(creator, &request).await? {
        Ok(answer) => Ok(answer.conversation.conversation_id),
        Err(error) => Err(LoadError::Conversation(error.to_string())),
    }
}

/// Asks and reads the answer.
async fn ask<R: Request + Serialize>(
    connection: &Connection,
    request: &R,
) -> Result<Result<R::Answer, WireError>, LoadError>
where
    R::Answer: DeserializeOwned,
{
    let answer = connection.request(R::EVENT, request, REQUEST_LIMIT).await?;
    let answer: wire::Answer<R::Answer> =
        serde_json::from_str(answer.get()).map_err(|error| LoadError::Conversation(error.to_string()))?;
    Ok(match answer {
        wire::Answer::Ok(answer) => Ok(answer),
        wire::Answer::Err(error) => Err(error),
    })
}

/// The thread that keeps the schedule. Dropping it ends it.
struct Pacer {
    thread: Option<thread::JoinHandle<Distribution>>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    fn start(users: Arc<Vec<LoadUser>>, round: Arc<Round>, nonce: u32, warmup: Duration) -> Result<Self, LoadError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || pace(&users, &round, nonce, warmup, &stopped))
            .map_err(LoadError::machine("the pacer could not be started"))?;
        Ok(Self { thread: Some(thread), stop })
    }

    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }

    fn join(mut self) -> Result<Distribution, LoadError> {
        let ended = self.thread.take().map(thread::JoinHandle::join);
        let failed = || LoadError::Plan("the pacer ended before its schedule".to_owned());
        ended.ok_or_else(failed)?.map_err(|_| failed())
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Puts each message on its connection at its time; gives the delays.
fn pace(users: &[LoadUser], round: &Round, nonce: u32, warmup: Duration, stop: &AtomicBool) -> Distribution {
    let mut lag = Distribution::default();
    for (number, send) in round.schedule.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = round.start + Duration::from_micros(send.at_us);
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        let user = &users[send.user as usize];
        let temp_id = format!("{nonce:x}-{}-{number}", round.number);
        let text = format!("{temp_id} {TEXT}");
        let media =
            if round.has_media(number) { user.picture.get().map_or(&[][..], std::slice::from_ref) } else { &[] };
        let part = SendPart { conversation_id: user.conversation_id, temp_id: &temp_id, text: &text, media };
        // Marked before the frame takes its place, so that no answer can be there first.
        let put = user.connection.try_emit_tracked(wire::SendMessage::EVENT, &part, |_| round.mark_sent(number));
        if put.is_ok() && Duration::from_micros(send.at_us) >= warmup {
            let late = Instant::now().saturating_duration_since(due);
            lag.record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        }
    }
    lag
}
