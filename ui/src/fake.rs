//! A harness in memory: a transport whose other end a test or a preview holds.

pub mod showcase;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use ackscope_protocol::control::{
    BackendKind, CONTROL_VERSION, Command, Environment, TRACE_BATCH_MAX, ToHarness, ToInterface,
};
use ackscope_protocol::trace::{ConnectionState, Happening, PermissionSource, Stage, TraceEvent};
use ackscope_protocol::wire::{
    AckState, Conversation, ConversationChange, ConversationKind, ConversationSettings, ConversationUpdated, Message,
    MessageAck, MessageAnswer, Participant, Role, ServerEvent,
};
use ackscope_protocol::{ConversationId, ErrorCode, MessageId, TempId, Timestamp, UserId, WireError};
use uuid::Uuid;

use crate::app::App;
use crate::connection::{Socket, SocketEvent, Transport, Wake};

/// Draws the app over everything, as a window does; a test's own place has a margin.
pub fn fill(ui: &mut egui::Ui, app: &mut App) {
    let whole = ui.ctx().content_rect();
    ui.scope_builder(egui::UiBuilder::new().max_rect(whole), |ui| app.frame(ui));
}

/// The other end of a [`FakeTransport`].
#[derive(Clone, Default)]
pub struct FakeHarness(Rc<RefCell<Shared>>);

#[derive(Default)]
struct Shared {
    to_interface: VecDeque<SocketEvent>,
    from_interface: VecDeque<ToHarness>,
    urls: Vec<String>,
    is_down: bool,
    wake: Option<Wake>,
}

/// Gives out in-memory sockets.
pub struct FakeTransport(FakeHarness);

struct FakeSocket(FakeHarness);

impl FakeHarness {
    /// The transport that leads here.
    pub fn transport(&self) -> Box<dyn Transport> {
        Box::new(FakeTransport(self.clone()))
    }

    /// Accepts the interface's connection.
    pub fn accept(&self) {
        self.push(SocketEvent::Opened);
    }

    /// Says something to the interface.
    pub fn say(&self, message: &ToInterface) {
        let text = serde_json::to_string(message).unwrap_or_default();
        self.say_text(text);
    }

    /// Says something to the interface that may be no message at all.
    pub fn say_text(&self, text: impl Into<String>) {
        self.push(SocketEvent::Text(text.into()));
    }

    /// Says welcome to a run.
    pub fn welcome(&self, run_id: Uuid) {
        self.say(&ToInterface::Welcome {
            version: CONTROL_VERSION,
            run_id,
            environment: environment(),
            business_now: Timestamp::from_millis(1_769_860_800_000),
        });
    }

    /// Says a list of events, in batches.
    pub fn trace(&self, first_index: u64, events: &[TraceEvent]) {
        for (batch, events) in events.chunks(TRACE_BATCH_MAX).enumerate() {
            let first_index = first_index + (batch * TRACE_BATCH_MAX) as u64;
            self.say(&ToInterface::Trace { first_index, events: events.to_vec() });
        }
    }

    /// Closes the connection, as a lost network would.
    pub fn close(&self, reason: Option<&str>) {
        self.push(SocketEvent::Closed { reason: reason.map(ToOwned::to_owned) });
    }

    /// Whether new connections fail at once.
    pub fn set_down(&self, is_down: bool) {
        self.0.borrow_mut().is_down = is_down;
    }

    /// Takes what the interface said.
    pub fn heard(&self) -> Vec<ToHarness> {
        self.0.borrow_mut().from_interface.drain(..).collect()
    }

    /// Takes what the interface said, commands alone.
    pub fn commands(&self) -> Vec<(u64, Command)> {
        let commands = self.heard().into_iter();
        commands
            .filter_map(|message| match message {
                ToHarness::Command { id, command } => Some((id, command)),
                ToHarness::Hello { .. } => None,
            })
            .collect()
    }

    /// Every URL that was connected to.
    pub fn urls(&self) -> Vec<String> {
        self.0.borrow().urls.clone()
    }

    fn push(&self, event: SocketEvent) {
        self.0.borrow_mut().to_interface.push_back(event);
        let wake = self.0.borrow().wake.clone();
        if let Some(wake) = wake {
            wake();
        }
    }
}

impl Transport for FakeTransport {
    fn open(&mut self, url: &str, wake: Wake) -> Result<Box<dyn Socket>, String> {
        let mut shared = self.0.0.borrow_mut();
        shared.urls.push(url.to_owned());
        shared.wake = Some(wake);
        // What was under way is lost with the old connection.
        shared.to_interface.clear();
        shared.from_interface.clear();
        if shared.is_down { Err("connection refused".to_owned()) } else { Ok(Box::new(FakeSocket(self.0.clone()))) }
    }
}

impl Socket for FakeSocket {
    fn send(&mut self, text: String) {
        if let Ok(message) = serde_json::from_str(&text) {
            self.0.0.borrow_mut().from_interface.push_back(message);
        }
    }

    fn poll(&mut self) -> Option<SocketEvent> {
        self.0.0.borrow_mut().to_interface.pop_front()
    }
}

/// An environment to welcome with.
pub fn environment() -> Environment {
    Environment {
        backend: BackendKind::Embedded,
        reason: "Docker does not answer, so everything runs in this process".to_owned(),
        chat_url: "http://127.0.0.1:41234".to_owned(),
        ackscope_version: "0.1.0".to_owned(),
    }
}

/// Writes traces as the harness would record them, in microseconds since the run began.
#[derive(Debug)]
pub struct Script {
    /// The events so far.
    pub events: Vec<TraceEvent>,
    next_message: u64,
    conversations: Vec<Conversation>,
    seq: u64,
}

/// How long the parts of a message's way take, in microseconds after it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Until `pending` is seen.
    pub pending_us: u64,
    /// Until `delivered` is seen.
    pub delivered_us: u64,
    /// Until `persisted` is seen.
    pub persisted_us: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { pending_us: 820, delivered_us: 4_150, persisted_us: 13_400 }
    }
}

/// A user id for a script.
///
/// # Panics
/// When `name` is none: a script is written by hand.
pub fn user(name: &str) -> UserId {
    name.parse().unwrap_or_else(|error| unreachable!("{name}: {error}"))
}

impl Default for Script {
    fn default() -> Self {
        Self { events: Vec::new(), next_message: 1, conversations: Vec::new(), seq: 0 }
    }
}

impl Script {
    /// Connects a user.
    pub fn connect(&mut self, at_us: u64, name: &str) {
        self.push(at_us, Happening::Connection { user: user(name), state: ConnectionState::Connected });
    }

    /// Creates a conversation that all participants are told of; the first of them is its owner.
    pub fn conversation(
        &mut self,
        at_us: u64,
        kind: ConversationKind,
        title: Option<&str>,
        names: &[&str],
    ) -> ConversationId {
        let conversation_id = ConversationId::from_uuid(Uuid::from_u128(0xC0 + self.conversations.len() as u128));
        let joined_at = Timestamp::from_millis(1_769_860_800_000);
        let conversation = Conversation {
            conversation_id,
            kind,
            title: title.and_then(|title| ackscope_protocol::text::Title::new(title).ok()),
            created_at: joined_at,
            participants: names
                .iter()
                .enumerate()
                .map(|(index, name)| Participant {
                    user_id: user(name),
                    role: if index == 0 { Role::Owner } else { Role::Member },
                    joined_at,
                })
                .collect(),
            settings: ConversationSettings::default(),
            version: 1,
        };
        for name in names {
            let event = ServerEvent::ConversationUpdated(ConversationUpdated {
                change: ConversationChange::Created,
                conversation: conversation.clone(),
            });
            self.push(at_us, Happening::Saw { user: user(name), event });
        }
        self.conversations.push(conversation);
        conversation_id
    }

    /// A message that takes the whole way.
    pub fn message(&mut self, at_us: u64, sender: &str, place: ConversationId, text: &str, pace: Pace) -> MessageId {
        let (message_id, temp_id) = self.sent(at_us, sender, place, text);
        self.stage(at_us + pace.pending_us / 2, message_id, Stage::Received);
        self.stage(at_us + pace.pending_us * 2 / 3, message_id, Stage::Pending);
        self.ack(at_us + pace.pending_us, sender, place, &temp_id, AckState::Pending, None);
        let publish_us = at_us + pace.delivered_us;
        let source = PermissionSource::Cache;
        self.stage(at_us + pace.pending_us + 90, message_id, Stage::Permission { source, allowed: true });
        self.seq += 1;
        let (seq, offset) = (self.seq, self.seq + 40);
        self.stage(
            publish_us.saturating_sub(600),
            message_id,
            Stage::Published { topic: "message.sent".to_owned(), partition: 3, offset },
        );
        self.stage(publish_us.saturating_sub(300), message_id, Stage::Delivered { seq });
        self.ack(publish_us, sender, place, &temp_id, AckState::Delivered, None);
        let others: Vec<UserId> = self
            .conversations
            .iter()
            .filter(|conversation| conversation.conversation_id == place)
            .flat_map(|conversation| &conversation.participants)
            .map(|participant| participant.user_id.clone())
            .filter(|other| other.as_str() != sender)
            .collect();
        let recipients = u32::try_from(others.len()).unwrap_or(u32::MAX);
        self.stage(publish_us + 200, message_id, Stage::Broadcast { recipients });
        for (index, other) in others.into_iter().enumerate() {
            let event = ServerEvent::New(MessageAnswer { message: as_seen(message_id, sender, place, text, seq) });
            self.push(publish_us + 700 + index as u64 * 450, Happening::Saw { user: other, event });
        }
        let persist_us = at_us + pace.persisted_us;
        let group = "message-persistence".to_owned();
        self.stage(persist_us.saturating_sub(4_000), message_id, Stage::Consumed { group, partition: 3, offset });
        self.stage(persist_us.saturating_sub(2_200), message_id, Stage::Persisted { inserted: true, bulk: 4 });
        self.stage(persist_us.saturating_sub(500), message_id, Stage::Confirmed);
        self.ack(persist_us, sender, place, &temp_id, AckState::Persisted, None);
        self.stage(persist_us + 3_000, message_id, Stage::Indexed);
        message_id
    }

    /// A message that is refused.
    pub fn rejected(
        &mut self,
        at_us: u64,
        sender: &str,
        place: ConversationId,
        text: &str,
        code: ErrorCode,
    ) -> MessageId {
        let (message_id, temp_id) = self.sent(at_us, sender, place, text);
        self.stage(at_us + 300, message_id, Stage::Received);
        self.ack(at_us + 700, sender, place, &temp_id, AckState::Pending, None);
        let error = WireError::new(code, "the event log does not take records right now");
        self.stage(at_us + 6_000, message_id, Stage::Rejected { error: error.clone() });
        self.ack(at_us + 6_400, sender, place, &temp_id, AckState::Rejected, Some(error));
        message_id
    }

    /// A message that was only sent.
    pub fn sent(&mut self, at_us: u64, sender: &str, place: ConversationId, text: &str) -> (MessageId, TempId) {
        let number = self.next_message;
        self.next_message += 1;
        let temp_id: TempId =
            format!("t-{number}").parse().unwrap_or_else(|error| unreachable!("a short text is a temp id: {error}"));
        let sender = user(sender);
        let message_id = MessageId::derive(&sender, place, &temp_id);
        self.push(
            at_us,
            Happening::Sent {
                user: sender,
                message_id,
                conversation_id: place,
                temp_id: temp_id.clone(),
                text: Some(text.to_owned()),
                reply_to: None,
                attempt: 1,
            },
        );
        (message_id, temp_id)
    }

    /// An acknowledgment that the sender sees.
    pub fn ack(
        &mut self,
        at_us: u64,
        sender: &str,
        conversation_id: ConversationId,
        temp_id: &TempId,
        state: AckState,
        error: Option<WireError>,
    ) {
        let is_placed = matches!(state, AckState::Delivered | AckState::Persisted);
        let sender = user(sender);
        let event = ServerEvent::Ack(MessageAck {
            temp_id: temp_id.clone(),
            conversation_id,
            state,
            message_id: is_placed.then(|| MessageId::derive(&sender, conversation_id, temp_id)),
            seq: (state == AckState::Delivered).then_some(self.seq),
            error,
            at: Timestamp::from_millis(1_769_860_800_000 + i64::try_from(at_us / 1_000).unwrap_or(0)),
        });
        self.push(at_us, Happening::Saw { user: sender, event });
    }

    /// A stage inside the backend.
    pub fn stage(&mut self, at_us: u64, message_id: MessageId, stage: Stage) {
        self.push(at_us, Happening::Stage { message_id, stage });
    }

    /// Anything.
    pub fn push(&mut self, at_us: u64, what: Happening) {
        self.events.push(TraceEvent { at_us, what });
    }

    /// The events in the order of their times, as a recorder would have written them.
    pub fn finish(mut self) -> Vec<TraceEvent> {
        self.events.sort_by_key(|event| event.at_us);
        self.events
    }
}

fn as_seen(message_id: MessageId, sender: &str, place: ConversationId, text: &str, seq: u64) -> Message {
    Message {
        text: ackscope_protocol::text::MessageText::new(text).ok(),
        seq,
        ..Message::new(message_id, place, user(sender), Timestamp::from_millis(1_769_860_800_000))
    }
}

/// A small run with something of everything, to look at.
pub fn sample() -> Vec<TraceEvent> {
    let mut script = Script::default();
    for (index, name) in ["ana", "ben", "cleo"].into_iter().enumerate() {
        script.connect(40_000 + index as u64 * 15_000, name);
    }
    let team = script.conversation(120_000, ConversationKind::Group, Some("Release team"), &["ana", "ben", "cleo"]);
    let direct = script.conversation(150_000, ConversationKind::Direct, None, &["ben", "cleo"]);
    let mut at_us = 400_000;
    let talk = [
        ("ana", "Morning! Is the build through?", Pace::default()),
        ("ben", "Green since ten minutes", Pace { pending_us: 610, delivered_us: 3_700, persisted_us: 9_800 }),
        ("cleo", "I still see one slow consumer, lag is at 12", Pace { persisted_us: 41_000, ..Pace::default() }),
        (
            "ana",
            "Then let us wait for it before we tag",
            Pace { pending_us: 14_200, delivered_us: 31_000, persisted_us: 52_000 },
        ),
        ("ben", "It caught up", Pace { pending_us: 700, delivered_us: 118_000, persisted_us: 131_000 }),
        ("ana", "Tagging now", Pace { pending_us: 540, delivered_us: 2_900, persisted_us: 8_600 }),
    ];
    for (sender, text, pace) in talk {
        script.message(at_us, sender, team, text, pace);
        at_us += 730_000;
    }
    script.message(at_us, "ben", direct, "Lunch after the release?", Pace::default());
    script.rejected(at_us + 300_000, "ana", team, "v1.4.0 is out", ErrorCode::LogUnavailable);
    let (_, temp_id) = script.sent(at_us + 700_000, "cleo", team, "Celebrating in the kitchen");
    script.ack(at_us + 700_900, "cleo", team, &temp_id, AckState::Pending, None);
    script.finish()
}

/// Figures of health and a fault, to look at.
pub fn sample_health() -> Vec<TraceEvent> {
    let health = |name: &str, value: f64| TraceEvent {
        at_us: 6_500_000,
        what: Happening::Health { name: name.to_owned(), value },
    };
    let mut events: Vec<TraceEvent> = (0..6_u32)
        .flat_map(|partition| {
            [
                health(&format!("depth.message.sent.{partition}"), f64::from(partition * 7 + 3)),
                health(&format!("depth.message.delivered.{partition}"), f64::from(partition * 6 + 1)),
                health(&format!("lag.message-persistence.message.sent.{partition}"), f64::from(partition % 3)),
                health(&format!("lag.search-indexing.message.sent.{partition}"), f64::from(partition * 4)),
            ]
        })
        .collect();
    for (name, value) in [
        ("cache.hits", 41.0),
        ("cache.misses", 7.0),
        ("breaker.search", 2.0),
        ("breaker.media", 0.0),
        ("connections", 3.0),
        ("unpersisted", 2.0),
    ] {
        events.push(health(name, value));
    }
    let what = Happening::Fault { target: "search".to_owned(), kind: "outage".to_owned(), active: true };
    events.push(TraceEvent { at_us: 6_600_000, what });
    events
}

/// Plays the part of the harness for a preview: accepts, welcomes, tells a run, and carries out sends.
pub struct Player {
    harness: FakeHarness,
    events: Vec<TraceEvent>,
    accepted: usize,
}

impl Player {
    /// Tells these events to whoever connects.
    pub fn new(harness: FakeHarness, events: Vec<TraceEvent>) -> Self {
        Self { harness, events, accepted: 0 }
    }

    /// Answers what was said since the last call.
    pub fn play(&mut self) {
        let opened = self.harness.urls().len();
        if opened > self.accepted {
            self.accepted = opened;
            self.harness.accept();
        }
        for message in self.harness.heard() {
            match message {
                ToHarness::Hello { next_index, .. } => {
                    self.harness.welcome(Uuid::from_u128(1));
                    let from = usize::try_from(next_index).unwrap_or(usize::MAX);
                    self.harness.trace(next_index, self.events.get(from..).unwrap_or_default());
                }
                ToHarness::Command { id, command } => {
                    let answer = showcase::answer(&command);
                    if let Command::Send { user, conversation_id, text, .. } = command {
                        self.tell(user.as_str(), conversation_id, &text);
                    }
                    self.harness.say(&ToInterface::Reply { id, outcome: Ok(answer) });
                }
            }
        }
    }

    fn tell(&mut self, sender: &str, place: ConversationId, text: &str) {
        let first = self.events.len() as u64;
        let last_us = self.events.last().map_or(0, |event| event.at_us);
        let mut script = Script { next_message: first, seq: first, ..Script::default() };
        script.message(last_us + 900_000, sender, place, text, Pace::default());
        let events = script.finish();
        self.harness.trace(first, &events);
        self.events.extend(events);
    }
}
