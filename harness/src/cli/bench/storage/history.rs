//! Pages of a conversation with a million messages, asked for over a socket: the whole service with permission check,
//! rules and JSON, from writing the request to having read the answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_core::limits::Limits;
use ackscope_core::node::{Backend, Clients, Node, NodeOptions, Roles};
use ackscope_core::probe::Probe;
use ackscope_core::repositories::{StoredConversation, StoredParticipant};
use ackscope_core::state::{Change, MessageChange, PlacedChange};
use ackscope_core::token::TokenKey;
use ackscope_harness::environment::{Environment, EnvironmentOptions};
use ackscope_harness::socketio::{Connection, ConnectionOptions, DisconnectReason, Handler, Malformed, Payload};
use ackscope_protocol::text::{Cursor, HistoryLimit};
use ackscope_protocol::wire::{self, Answer, ConversationKind, History, Message, MessagePage, Request as _, Role};
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};
use anyhow::{Context as _, ensure};
use uuid::Uuid;

use super::{Aim, Progress, Row, Section, Times, message};

/// Messages of the conversation.
const MESSAGES: u64 = 1_000_000;
/// Messages in a row that one of its readers has hidden, just below the newest; further down every second one of as
/// many.
const HIDDEN: u64 = 100_000;
/// Newest messages that are not hidden.
const NOT_HIDDEN: u64 = 10;
/// Messages or changes that go into the store at once.
const BULK: u64 = 1_000;
/// Pages of a series.
const PAGES: u64 = 1_000;
/// Messages of a page.
const PAGE: u32 = 100;
/// Between two places of a series that are asked for.
const STRIDE: u64 = 97;
/// What the p99 of a page should stay below.
const AIM: Duration = Duration::from_millis(5);
/// How long an answer may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Tokens hold longer than a run.
const TOKEN_TTL: Duration = Duration::from_hours(24);

const CONVERSATION: ConversationId = ConversationId::from_uuid(Uuid::from_u128(1));
/// Sees everything.
const READER: &str = "ana";
/// Has hidden messages.
const HIDER: &str = "ben";

pub(super) async fn measure(progress: &Progress) -> anyhow::Result<Section> {
    let clock = Clock::default();
    let options = EnvironmentOptions::embedded();
    let environment = Environment::start(options, &clock).await?;
    let backend = environment.backend().cloned().context("the backend has ended")?;
    let mut rows = build(&backend, progress).await?;

    let token_key = TokenKey::generate();
    let limits = Limits { events_per_sec: 1_000_000, events_burst: 1_000_000, ..Limits::default() };
    let node = Node::start(NodeOptions {
        name: "node-1".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        backend,
        clients: Clients::at(None, None)?,
        clock: clock.clone(),
        probe: Probe::off(),
        token_key: token_key.clone(),
        limits,
        roles: Roles::default(),
    })
    .await?;
    let url = format!("http://{}", node.address());
    progress.begin("history", 6 * PAGES);
    for (user, what) in [(READER, ""), (HIDER, ", with hidden ones")] {
        let user: UserId = user.parse()?;
        let auth = serde_json::json!({ "token": token_key.sign(&user, clock.now(), TOKEN_TTL) });
        let connection =
            Connection::open(&url, wire::NAMESPACE, &auth, &ConnectionOptions::default(), Arc::new(Deaf)).await?;
        for (place, before) in [
            ("newest page", None),
            ("middle page", Some(MESSAGES / 2 + HIDDEN)),
            ("oldest page", Some(u64::from(PAGE) + 9 * STRIDE)),
        ] {
            let times = pages(&connection, before, progress).await?;
            let aim = Some(Aim { text: format!("p99 < {} ms", AIM.as_millis()), is_kept: times.p99() < AIM });
            rows.push(Row { name: format!("{place}{what}"), per_sec: None, times, aim });
        }
        connection.close().await;
    }
    node.shutdown().await;
    environment.shutdown().await;
    let title = "History over a socket, pages of 100 out of 1,000,000 messages (hidden: 100,000 in a row and more)";
    Ok(Section { key: "history", title, rows })
}

/// A series of pages: around the same place, not the same one each time where there is a choice.
async fn pages(connection: &Connection, before: Option<u64>, progress: &Progress) -> anyhow::Result<Times> {
    let mut times = Times::new()?;
    for number in 0..PAGES {
        // Far from the end the whole stretch is walked through, at the end the last ten places.
        let back = before.map_or(0, |before| if before < HIDDEN { number % 10 } else { number }) * STRIDE;
        // What a cursor says is the service's own affair; this is how it writes them, and a wrong one is refused.
        let cursor = before.map(|before| Cursor::new((before - back).to_string())).transpose()?;
        let request = History { conversation_id: CONVERSATION, limit: HistoryLimit::new(PAGE), cursor, thread: None };
        let answer = times.of(connection.request(History::EVENT, &request, REQUEST_LIMIT)).await?;
        let page = match serde_json::from_str::<Answer<MessagePage>>(answer.get())? {
            Answer::Ok(page) => page,
            Answer::Err(error) => return Err(error).context("a page of the history"),
        };
        ensure!(page.messages.len() == PAGE as usize, "a page of {} messages", page.messages.len());
        progress.advance(1);
    }
    Ok(times)
}

/// Fills the store; the rows say how fast.
async fn build(backend: &Backend, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let participant = |name: &str, role| {
        anyhow::Ok(StoredParticipant {
            user_id: name.parse()?,
            role,
            joined_at: Timestamp::from_millis(0),
            muted_until: None,
            archived: false,
            removed_at: None,
        })
    };
    let conversation = StoredConversation {
        conversation_id: CONVERSATION,
        kind: ConversationKind::Group,
        title: None,
        created_at: Timestamp::from_millis(0),
        version: 1,
        participants: vec![participant(READER, Role::Owner)?, participant(HIDER, Role::Member)?],
    };
    backend.conversations.create(&conversation, &[]).await?;

    let message_id = |seq: u64| MessageId::from_uuid(Uuid::from_u128(u128::from(seq)));
    progress.begin("a million messages", MESSAGES);
    let mut times = Times::new()?;
    let mut busy = Duration::ZERO;
    for first in (0..MESSAGES).step_by(BULK as usize) {
        let of = |seq| anyhow::Ok(Message { message_id: message_id(seq), ..message(CONVERSATION, seq)? });
        let bulk = (first..first + BULK).map(of).collect::<anyhow::Result<Vec<_>>>()?;
        let started = Instant::now();
        times.of(backend.messages.insert_bulk(&bulk)).await?;
        busy += started.elapsed();
        progress.advance(BULK);
    }
    let per_sec = Some(MESSAGES as f64 / busy.as_secs_f64());
    let mut rows = vec![Row { name: format!("building: bulks of {BULK}"), per_sec, times, aim: None }];

    let hider: UserId = HIDER.parse()?;
    let in_a_row = MESSAGES - HIDDEN - NOT_HIDDEN..MESSAGES - NOT_HIDDEN;
    let every_second = (MESSAGES / 2..MESSAGES / 2 + HIDDEN).step_by(2);
    let hide = |seq| {
        let (message_id, by, at) = (message_id(seq), hider.clone(), Timestamp::from_millis(0));
        let change = MessageChange { message_id, conversation_id: CONVERSATION, by, at, what: Change::HiddenForMe };
        PlacedChange { offset: seq, change }
    };
    // Changes come in the order of their offsets.
    let hidden: Vec<PlacedChange> = every_second.chain(in_a_row).map(hide).collect();
    progress.begin("hiding", hidden.len() as u64);
    let mut times = Times::new()?;
    let started = Instant::now();
    for changes in hidden.chunks(BULK as usize) {
        times.of(backend.messages.apply_bulk(changes)).await?;
        progress.advance(changes.len() as u64);
    }
    let per_sec = Some(hidden.len() as f64 / started.elapsed().as_secs_f64());
    rows.push(Row { name: format!("hiding: bulks of {BULK}"), per_sec, times, aim: None });
    Ok(rows)
}

/// Hears nothing: answers go to whoever asked.
struct Deaf;

impl Handler for Deaf {
    fn on_event(&self, _: Instant, _: &str, _: Payload<'_>) {}

    fn on_answer(&self, _: Instant, _: u64, _: Payload<'_>) {}

    fn on_malformed(&self, _: Instant, _: &Malformed) {}

    fn on_down(&self, _: Instant, _: &DisconnectReason) {}
}
