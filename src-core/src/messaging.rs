//! Acknowledgments: what the sender of a message is told, in order and each once (S1.5).
//!
//! One entry for each message that is on its way. The states of one message are told under one lock, so that
//! `delivered` is never overtaken by `persisted`, whichever of the two is heard of first.

use std::collections::HashMap;
use std::sync::Arc;

use ackscope_protocol::error::WireError;
use ackscope_protocol::trace::Stage;
use ackscope_protocol::wire::{AckState, MessageAck, Sent, ServerEvent};
use ackscope_protocol::{ConversationId, MessageId, TempId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::probe::Probe;
use crate::socket::sessions::Connection;
use crate::tail::{Known, Tail};

/// What a `message:send` came to.
pub type SendOutcome = Result<Sent, WireError>;

/// Which message an acknowledgment is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The message.
    pub message_id: MessageId,
    /// Where.
    pub conversation_id: ConversationId,
    /// The sender's own name for it.
    pub temp_id: TempId,
}

/// What [`Acknowledgments::begin`] found.
#[derive(Debug)]
pub enum Begun {
    /// This is the one attempt that is on its way: publish, then say what became of it.
    First,
    /// The same message is on its way already; its outcome comes here.
    Joined(oneshot::Receiver<SendOutcome>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Handed to the log, or about to be.
    Publishing,
    /// The log did not answer in time; the sender was told `outcome_unknown`.
    Unknown,
    /// The sender was told `delivered`.
    Delivered,
}

#[derive(Debug)]
struct Entry {
    tracked: Tracked,
    phase: Phase,
    /// The connections that sent it; usually one.
    connections: Vec<Arc<Connection>>,
    /// Others that sent the same message meanwhile.
    joined: Vec<oneshot::Sender<SendOutcome>>,
}

impl Entry {
    fn new(tracked: Tracked, phase: Phase) -> Self {
        Self { tracked, phase, connections: Vec::new(), joined: Vec::new() }
    }

    /// Whatever comes next is told to this connection too.
    fn attach(&mut self, connection: &Arc<Connection>) {
        if self.connections.iter().any(|known| known.id() == connection.id()) {
            return;
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            self.connections.remove(0);
        }
        self.connections.push(Arc::clone(connection));
    }
}

/// Most connections that are told of one message: a client that reconnects and sends again in a loop.
const CONNECTIONS_MAX: usize = 8;

/// Entries from which on those of unknown outcome are given up. The others are bounded by
/// [`crate::limits::Limits::unpersisted_max`].
const ENTRIES_MAX: usize = 500_000;

/// The acknowledgments of one node.
#[derive(Debug)]
pub struct Acknowledgments {
    entries: Mutex<HashMap<MessageId, Entry>>,
    clock: Clock,
    probe: Probe,
}

impl Acknowledgments {
    /// None on their way yet.
    pub fn new(clock: Clock, probe: Probe) -> Self {
        Self { entries: Mutex::default(), clock, probe }
    }

    fn ack(&self, tracked: &Tracked, state: AckState) -> MessageAck {
        let message_id = matches!(state, AckState::Delivered | AckState::Persisted).then_some(tracked.message_id);
        MessageAck {
            temp_id: tracked.temp_id.clone(),
            conversation_id: tracked.conversation_id,
            state,
            message_id,
            seq: None,
            error: None,
            at: self.clock.now(),
        }
    }

    /// Tells `pending`: at once, before any I/O.
    pub fn pending(&self, tracked: &Tracked, connection: &Connection) {
        connection.emit(&ServerEvent::Ack(self.ack(tracked, AckState::Pending)));
        self.probe.stage(tracked.message_id, || Stage::Pending);
    }

    /// Tells `rejected` for a message that never was on its way.
    pub fn refuse(&self, tracked: &Tracked, connection: &Connection, error: &WireError) {
        let ack = MessageAck { error: Some(error.clone()), ..self.ack(tracked, AckState::Rejected) };
        connection.emit(&ServerEvent::Ack(ack));
        self.probe.stage(tracked.message_id, || Stage::Rejected { error: error.clone() });
    }

    /// Tells `delivered` for a message that was delivered before this attempt, and `persisted` now or when it is.
    pub fn already(&self, tracked: &Tracked, connection: &Arc<Connection>, known: Known, tail: &Tail) -> Sent {
        let mut entries = self.entries.lock();
        self.tell_delivered(tracked, std::iter::once(connection.as_ref()), known);
        // Asked under the lock: the overlay lets go of a message before its `persisted` is told.
        let is_persisted = tail.find(tracked.conversation_id, tracked.message_id).is_none();
        match entries.get_mut(&tracked.message_id) {
            Some(entry) => entry.attach(connection),
            None if is_persisted => connection.emit(&ServerEvent::Ack(self.ack(tracked, AckState::Persisted))),
            // Sent through another node, or before this one started.
            None => {
                let mut entry = Entry::new(tracked.clone(), Phase::Delivered);
                entry.attach(connection);
                entries.insert(tracked.message_id, entry);
            }
        }
        sent(tracked, known)
    }

    /// An attempt is about to be published.
    pub fn begin(&self, tracked: Tracked, connection: &Arc<Connection>) -> Begun {
        let mut entries = self.entries.lock();
        if entries.len() >= ENTRIES_MAX {
            // Nobody has confirmed these for a long time, and nobody sends them again.
            entries.retain(|_, entry| entry.phase != Phase::Unknown);
        }
        let entry = entries.entry(tracked.message_id).or_insert_with(|| Entry::new(tracked, Phase::Unknown));
        entry.attach(connection);
        match entry.phase {
            // A new entry, or one whose outcome nobody knows: publishing again is safe, the id is the same.
            Phase::Unknown => {
                entry.phase = Phase::Publishing;
                Begun::First
            }
            Phase::Publishing | Phase::Delivered => {
                let (tell, outcome) = oneshot::channel();
                entry.joined.push(tell);
                Begun::Joined(outcome)
            }
        }
    }

    /// The log has the message. Called by whoever hears of it first: the publisher or the reader of the log.
    pub fn delivered(&self, message_id: MessageId, known: Known) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(&message_id) {
            self.deliver(entry, known);
        }
    }

    fn deliver(&self, entry: &mut Entry, known: Known) {
        if entry.phase != Phase::Delivered {
            entry.phase = Phase::Delivered;
            self.tell_delivered(&entry.tracked, entry.connections.iter().map(AsRef::as_ref), known);
        }
        for joined in entry.joined.drain(..) {
            // Nobody waits any more: the connection is gone.
            let (Ok(()) | Err(_)) = joined.send(Ok(sent(&entry.tracked, known)));
        }
    }

    fn tell_delivered<'a>(
        &self,
        tracked: &Tracked,
        connections: impl IntoIterator<Item = &'a Connection>,
        known: Known,
    ) {
        let event = ServerEvent::Ack(MessageAck { seq: Some(known.seq), ..self.ack(tracked, AckState::Delivered) });
        for connection in connections {
            connection.emit(&event);
        }
        self.probe.stage(tracked.message_id, || Stage::Delivered { seq: known.seq });
    }

    /// The attempt failed. With an unknown outcome the entry stays: a later confirmation supersedes the rejection.
    pub fn rejected(&self, message_id: MessageId, error: &WireError, outcome_unknown: bool) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&message_id) else { return };
        if entry.phase == Phase::Delivered {
            // The reader of the log was faster than the answer that got lost: it is delivered.
            return;
        }
        let event =
            ServerEvent::Ack(MessageAck { error: Some(error.clone()), ..self.ack(&entry.tracked, AckState::Rejected) });
        for connection in &entry.connections {
            connection.emit(&event);
        }
        for joined in entry.joined.drain(..) {
            let (Ok(()) | Err(_)) = joined.send(Err(error.clone()));
        }
        self.probe.stage(message_id, || Stage::Rejected { error: error.clone() });
        if outcome_unknown {
            entry.phase = Phase::Unknown;
        } else {
            entries.remove(&message_id);
        }
    }

    /// The store has the message.
    pub fn persisted(&self, message_id: MessageId, known: Option<Known>) {
        let mut entries = self.entries.lock();
        if let Some(mut entry) = entries.remove(&message_id) {
            if let Some(known) = known {
                self.deliver(&mut entry, known);
            }
            let event = ServerEvent::Ack(self.ack(&entry.tracked, AckState::Persisted));
            for connection in &entry.connections {
                connection.emit(&event);
            }
        }
        self.probe.stage(message_id, || Stage::Confirmed);
    }

    /// The store will never have the message: a rejection after the fact.
    pub fn failed(&self, message_id: MessageId, error: &WireError) {
        let Some(entry) = self.entries.lock().remove(&message_id) else { return };
        for connection in &entry.connections {
            self.refuse(&entry.tracked, connection, error);
        }
    }

    /// How many messages are on their way.
    pub fn on_their_way(&self) -> usize {
        self.entries.lock().len()
    }
}

fn sent(tracked: &Tracked, known: Known) -> Sent {
    Sent { temp_id: tracked.temp_id.clone(), message_id: tracked.message_id, created_at: known.created_at }
}
