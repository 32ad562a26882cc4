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
use crate::refusal;
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

impl Tracked {
    /// What the sender is answered once it is delivered.
    pub fn sent(&self, known: Known) -> Sent {
        Sent { temp_id: self.temp_id.clone(), message_id: self.message_id, created_at: known.created_at }
    }
}

/// What [`Acknowledgments::begin`] found.
#[derive(Debug)]
pub enum Begun {
    /// This is the one attempt that is on its way: publish, then say what became of it.
    First,
    /// The same, after one whose outcome nobody knows: that one may be in the log, before this one.
    Again,
    /// The same message is on its way already; its outcome comes here.
    Joined(oneshot::Receiver<SendOutcome>),
    /// It was delivered since this attempt was checked.
    Delivered(Sent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Handed to the log, or about to be.
    Publishing,
    /// The log did not answer in time; the sender was told `outcome_unknown`.
    Unknown,
    /// The sender was told `delivered`.
    Delivered(Known),
}

#[derive(Debug)]
struct Entry {
    tracked: Tracked,
    phase: Phase,
    /// Whether an attempt may be in the log whose outcome nobody knows.
    may_be_there: bool,
    /// The connections that sent it; usually one.
    connections: Vec<Arc<Connection>>,
    /// Others that sent the same message meanwhile.
    joined: Vec<oneshot::Sender<SendOutcome>>,
}

impl Entry {
    fn new(tracked: Tracked, phase: Phase) -> Self {
        Self { tracked, phase, may_be_there: false, connections: Vec::new(), joined: Vec::new() }
    }

    /// The outcome of the attempt that is on its way.
    fn join(&mut self) -> oneshot::Receiver<SendOutcome> {
        let (tell, outcome) = oneshot::channel();
        self.joined.push(tell);
        outcome
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

/// The attempts at one message that are not handed to the log yet.
#[derive(Debug, Default)]
struct Checks {
    /// How many are being checked.
    running: usize,
    /// Those that came to nothing meanwhile.
    waiting: Vec<Waiting>,
}

/// An attempt that came to nothing and has the outcome of another one.
#[derive(Debug)]
struct Waiting {
    connection: Arc<Connection>,
    tell: oneshot::Sender<SendOutcome>,
}

/// Tells who waits for an attempt what it came to.
fn tell(waiting: oneshot::Sender<SendOutcome>, outcome: SendOutcome) {
    // Nobody waits any more when the connection is gone.
    let (Ok(()) | Err(_)) = waiting.send(outcome);
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<MessageId, Entry>,
    checks: HashMap<MessageId, Checks>,
}

impl State {
    /// One check is over. Those that waited for it.
    fn checked(&mut self, message_id: MessageId) -> Vec<Waiting> {
        let Some(checks) = self.checks.get_mut(&message_id) else { return Vec::new() };
        let waiting = std::mem::take(&mut checks.waiting);
        checks.running = checks.running.saturating_sub(1);
        if checks.running == 0 {
            self.checks.remove(&message_id);
        }
        waiting
    }
}

/// An attempt that is being checked: one of [`Check::begin`], [`Check::already`] and [`Check::refuse`] ends it.
#[derive(Debug)]
pub struct Check<'a> {
    acknowledgments: &'a Acknowledgments,
    tracked: &'a Tracked,
    connection: &'a Arc<Connection>,
    is_over: bool,
}

impl Check<'_> {
    /// It is about to be published.
    pub fn begin(mut self) -> Begun {
        self.is_over = true;
        self.acknowledgments.begin(self.tracked, self.connection)
    }

    /// Tells `delivered` for a message that was delivered before this attempt, and `persisted` now or when it is.
    pub fn already(mut self, known: Known, tail: &Tail) -> Sent {
        self.is_over = true;
        self.acknowledgments.already(self.tracked, self.connection, known, tail)
    }

    /// It came to nothing. Where that says nothing about the message, another attempt at it, of another connection or
    /// before this, may do better, and a message has one outcome: it comes here. Otherwise its sender was told.
    pub fn refuse(mut self, error: WireError) -> Result<oneshot::Receiver<SendOutcome>, WireError> {
        self.is_over = true;
        self.acknowledgments.refuse_checked(self.tracked, self.connection, error)
    }
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // Its task ended before it was decided. Nobody hears of this attempt, but others may wait for it.
            self.acknowledgments.give_up(self.tracked);
        }
    }
}

/// The acknowledgments of one node.
#[derive(Debug)]
pub struct Acknowledgments {
    state: Mutex<State>,
    clock: Clock,
    probe: Probe,
}

impl Acknowledgments {
    /// None on their way yet.
    pub fn new(clock: Clock, probe: Probe) -> Self {
        Self { state: Mutex::default(), clock, probe }
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

    /// An attempt is being checked. What it comes to is said to the guard.
    pub fn check<'a>(&'a self, tracked: &'a Tracked, connection: &'a Arc<Connection>) -> Check<'a> {
        self.state.lock().checks.entry(tracked.message_id).or_default().running += 1;
        Check { acknowledgments: self, tracked, connection, is_over: false }
    }

    fn already(&self, tracked: &Tracked, connection: &Arc<Connection>, known: Known, tail: &Tail) -> Sent {
        let mut state = self.state.lock();
        let waiting = state.checked(tracked.message_id);
        // Asked under the lock: the overlay lets go of a message before its `persisted` is told.
        let is_persisted = tail.find(tracked.conversation_id, tracked.message_id).is_none();
        self.tell_already(&mut state.entries, tracked, connection, known, is_persisted);
        for other in waiting {
            self.tell_already(&mut state.entries, tracked, &other.connection, known, is_persisted);
            tell(other.tell, Ok(tracked.sent(known)));
        }
        tracked.sent(known)
    }

    fn tell_already(
        &self,
        entries: &mut HashMap<MessageId, Entry>,
        tracked: &Tracked,
        connection: &Arc<Connection>,
        known: Known,
        is_persisted: bool,
    ) {
        self.tell_delivered(tracked, [connection.as_ref()], known);
        match entries.get_mut(&tracked.message_id) {
            Some(entry) => {
                // Its publisher may just be about to say so, and would tell this connection a second time.
                self.deliver(entry, known);
                entry.attach(connection);
            }
            None if is_persisted => connection.emit(&ServerEvent::Ack(self.ack(tracked, AckState::Persisted))),
            // Sent through another node, or before this one started.
            None => {
                let mut entry = Entry::new(tracked.clone(), Phase::Delivered(known));
                entry.attach(connection);
                entries.insert(tracked.message_id, entry);
            }
        }
    }

    fn begin(&self, tracked: &Tracked, connection: &Arc<Connection>) -> Begun {
        let mut state = self.state.lock();
        let waiting = state.checked(tracked.message_id);
        let entries = &mut state.entries;
        if entries.len() >= ENTRIES_MAX {
            // Nobody has confirmed these for a long time, and nobody sends them again.
            entries.retain(|_, entry| entry.phase != Phase::Unknown);
        }
        let begun = if entries.contains_key(&tracked.message_id) { Begun::Again } else { Begun::First };
        let entry = entries.entry(tracked.message_id).or_insert_with(|| Entry::new(tracked.clone(), Phase::Unknown));
        entry.attach(connection);
        let begun = match entry.phase {
            // A new entry, or one whose outcome nobody knows: publishing again is safe, the id is the same.
            Phase::Unknown => {
                entry.phase = Phase::Publishing;
                begun
            }
            Phase::Publishing => Begun::Joined(entry.join()),
            // Those who sent it before were told then.
            Phase::Delivered(known) => {
                self.tell_delivered(&entry.tracked, [connection.as_ref()], known);
                Begun::Delivered(entry.tracked.sent(known))
            }
        };
        self.settle(&mut state, tracked, waiting, &refusal::store_too_slow());
        begun
    }

    fn refuse_checked(
        &self,
        tracked: &Tracked,
        connection: &Arc<Connection>,
        error: WireError,
    ) -> Result<oneshot::Receiver<SendOutcome>, WireError> {
        let mut state = self.state.lock();
        let mut waiting = state.checked(tracked.message_id);
        if !error.retryable {
            self.refuse(tracked, connection, &error);
            self.settle(&mut state, tracked, waiting, &error);
            return Err(error);
        }
        let (tell, outcome) = oneshot::channel();
        waiting.push(Waiting { connection: Arc::clone(connection), tell });
        self.settle(&mut state, tracked, waiting, &error);
        Ok(outcome)
    }

    fn give_up(&self, tracked: &Tracked) {
        let mut state = self.state.lock();
        let waiting = state.checked(tracked.message_id);
        self.settle(&mut state, tracked, waiting, &refusal::store_too_slow());
    }

    /// Gives attempts that came to nothing what another one came to: at once where that is known, with the other where
    /// one is being published or checked. `error` where there is no other.
    fn settle(&self, state: &mut State, tracked: &Tracked, waiting: Vec<Waiting>, error: &WireError) {
        let State { entries, checks } = state;
        let mut entry = entries.get_mut(&tracked.message_id).filter(|entry| entry.phase != Phase::Unknown);
        let mut others = checks.get_mut(&tracked.message_id);
        for attempt in waiting {
            match (&mut entry, &mut others) {
                (Some(entry), _) => {
                    entry.attach(&attempt.connection);
                    if let Phase::Delivered(known) = entry.phase {
                        self.tell_delivered(tracked, [attempt.connection.as_ref()], known);
                        tell(attempt.tell, Ok(tracked.sent(known)));
                    } else {
                        entry.joined.push(attempt.tell);
                    }
                }
                (None, Some(checks)) => checks.waiting.push(attempt),
                (None, None) => {
                    self.refuse(tracked, &attempt.connection, error);
                    tell(attempt.tell, Err(error.clone()));
                }
            }
        }
    }

    /// The log has the message. Called by whoever hears of it first: the publisher or the reader of the log.
    pub fn delivered(&self, message_id: MessageId, known: Known) {
        let entries = &mut self.state.lock().entries;
        if let Some(entry) = entries.get_mut(&message_id) {
            self.deliver(entry, known);
        }
    }

    fn deliver(&self, entry: &mut Entry, known: Known) {
        if matches!(entry.phase, Phase::Delivered(_)) {
            return;
        }
        entry.phase = Phase::Delivered(known);
        self.tell_delivered(&entry.tracked, entry.connections.iter().map(AsRef::as_ref), known);
        for joined in entry.joined.drain(..) {
            tell(joined, Ok(entry.tracked.sent(known)));
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

    /// The attempt failed. The entry stays where this attempt or one before it may be in the log: a later confirmation
    /// supersedes the rejection.
    pub fn rejected(&self, message_id: MessageId, error: &WireError, outcome_unknown: bool) {
        let entries = &mut self.state.lock().entries;
        let Some(entry) = entries.get_mut(&message_id) else { return };
        if matches!(entry.phase, Phase::Delivered(_)) {
            // The reader of the log was faster than the answer that got lost: it is delivered.
            return;
        }
        let event =
            ServerEvent::Ack(MessageAck { error: Some(error.clone()), ..self.ack(&entry.tracked, AckState::Rejected) });
        for connection in &entry.connections {
            connection.emit(&event);
        }
        for joined in entry.joined.drain(..) {
            tell(joined, Err(error.clone()));
        }
        self.probe.stage(message_id, || Stage::Rejected { error: error.clone() });
        entry.may_be_there |= outcome_unknown;
        if entry.may_be_there {
            entry.phase = Phase::Unknown;
        } else {
            entries.remove(&message_id);
        }
    }

    /// The store has the message.
    pub fn persisted(&self, message_id: MessageId, known: Option<Known>) {
        let entries = &mut self.state.lock().entries;
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
        let Some(entry) = self.state.lock().entries.remove(&message_id) else { return };
        for connection in &entry.connections {
            self.refuse(&entry.tracked, connection, error);
        }
    }

    /// How many messages are on their way.
    pub fn on_their_way(&self) -> usize {
        self.state.lock().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::error::ErrorCode;
    use ackscope_protocol::wire::Message;
    use ackscope_protocol::{Timestamp, UserId};
    use uuid::Uuid;

    use super::*;

    const KNOWN: Known = Known { seq: 7, created_at: Timestamp::MAX };

    fn acknowledgments() -> Acknowledgments {
        Acknowledgments::new(Clock::default(), Probe::off())
    }

    fn tracked() -> Tracked {
        let conversation_id = ConversationId::from_uuid(Uuid::from_u128(1));
        let (sender, temp_id): (UserId, TempId) = ("ana".parse().unwrap(), "t".parse().unwrap());
        Tracked { message_id: MessageId::derive(&sender, conversation_id, &temp_id), conversation_id, temp_id }
    }

    /// A tail that holds the message as delivered and not persisted.
    fn tail() -> Tail {
        let Tracked { message_id, conversation_id, temp_id } = tracked();
        let tail = Tail::default();
        tail.insert(Message {
            temp_id: Some(temp_id),
            seq: KNOWN.seq,
            ..Message::new(message_id, conversation_id, "ana".parse().unwrap(), KNOWN.created_at)
        });
        tail
    }

    fn states(connection: &Connection) -> Vec<AckState> {
        let state = |event| match event {
            ServerEvent::Ack(ack) => ack.state,
            other => panic!("only acknowledgments are told here, not {other:?}"),
        };
        connection.take_told().into_iter().map(state).collect()
    }

    #[test]
    fn persisted_never_overtakes_delivered() {
        let (acknowledgments, ana) = (acknowledgments(), Connection::captured("ana", "n/1"));
        let id = tracked().message_id;
        acknowledgments.pending(&tracked(), &ana);
        assert!(matches!(acknowledgments.check(&tracked(), &ana).begin(), Begun::First));
        // The confirmation is heard of before the publisher's own answer.
        acknowledgments.persisted(id, Some(KNOWN));
        acknowledgments.delivered(id, KNOWN);
        assert_eq!(states(&ana), [AckState::Pending, AckState::Delivered, AckState::Persisted]);
        assert_eq!(acknowledgments.on_their_way(), 0);
    }

    #[test]
    fn a_confirmation_supersedes_an_unknown_outcome_and_nothing_else_does() {
        let (acknowledgments, ana) = (acknowledgments(), Connection::captured("ana", "n/1"));
        let id = tracked().message_id;
        let unknown = WireError::new(ErrorCode::OutcomeUnknown, "not in time");
        acknowledgments.check(&tracked(), &ana).begin();
        acknowledgments.rejected(id, &unknown, true);
        acknowledgments.delivered(id, KNOWN);
        acknowledgments.delivered(id, KNOWN);
        // An answer that comes late does not undo it.
        acknowledgments.rejected(id, &unknown, true);
        assert_eq!(states(&ana), [AckState::Rejected, AckState::Delivered]);
    }

    #[test]
    fn a_confirmation_supersedes_also_what_was_refused_after_an_unknown_outcome() {
        let (acknowledgments, ana) = (acknowledgments(), Connection::captured("ana", "n/1"));
        let id = tracked().message_id;
        assert!(matches!(acknowledgments.check(&tracked(), &ana).begin(), Begun::First));
        acknowledgments.rejected(id, &WireError::new(ErrorCode::OutcomeUnknown, "not in time"), true);
        assert!(matches!(acknowledgments.check(&tracked(), &ana).begin(), Begun::Again), "the first may be in the log");
        // This one is certainly not; the first may be there all the same.
        acknowledgments.rejected(id, &WireError::new(ErrorCode::LogUnavailable, "no"), false);
        assert!(matches!(acknowledgments.check(&tracked(), &ana).begin(), Begun::Again));
        acknowledgments.rejected(id, &WireError::new(ErrorCode::LogUnavailable, "no"), false);
        acknowledgments.delivered(id, KNOWN);
        let rejected = AckState::Rejected;
        assert_eq!(states(&ana), [rejected, rejected, rejected, AckState::Delivered]);
        let Begun::Delivered(sent) = acknowledgments.check(&tracked(), &ana).begin() else { panic!("it is delivered") };
        assert_eq!(sent.message_id, id);
    }

    #[test]
    fn a_plain_rejection_is_the_end() {
        let (acknowledgments, ana) = (acknowledgments(), Connection::captured("ana", "n/1"));
        let id = tracked().message_id;
        acknowledgments.check(&tracked(), &ana).begin();
        acknowledgments.rejected(id, &WireError::new(ErrorCode::LogUnavailable, "no"), false);
        acknowledgments.delivered(id, KNOWN);
        assert_eq!(states(&ana), [AckState::Rejected]);
        assert!(matches!(acknowledgments.check(&tracked(), &ana).begin(), Begun::First), "it may be tried again");
    }

    #[tokio::test]
    async fn sending_again_meanwhile_shares_the_one_outcome() {
        let acknowledgments = acknowledgments();
        let (first, second) = (Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2"));
        assert!(matches!(acknowledgments.check(&tracked(), &first).begin(), Begun::First));
        let Begun::Joined(outcome) = acknowledgments.check(&tracked(), &second).begin() else {
            panic!("it is on its way")
        };
        acknowledgments.delivered(tracked().message_id, KNOWN);
        assert_eq!(outcome.await.unwrap().unwrap().message_id, tracked().message_id);
        acknowledgments.persisted(tracked().message_id, Some(KNOWN));
        for connection in [first, second] {
            assert_eq!(states(&connection), [AckState::Delivered, AckState::Persisted]);
        }
    }

    fn too_slow() -> WireError {
        refusal::store_too_slow()
    }

    #[tokio::test]
    async fn an_attempt_that_came_to_nothing_has_the_outcome_of_one_that_is_published() {
        let acknowledgments = acknowledgments();
        let (first, second) = (Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2"));
        let id = tracked().message_id;
        assert!(matches!(acknowledgments.check(&tracked(), &first).begin(), Begun::First));
        let outcome = acknowledgments.check(&tracked(), &second).refuse(too_slow()).unwrap();
        acknowledgments.rejected(id, &WireError::new(ErrorCode::OutcomeUnknown, "not in time"), true);
        assert_eq!(outcome.await.unwrap().unwrap_err().code, ErrorCode::OutcomeUnknown);
        // Nobody publishes it any more.
        let alone = acknowledgments.check(&tracked(), &second).refuse(too_slow()).unwrap();
        assert_eq!(alone.await.unwrap().unwrap_err().code, ErrorCode::StoreUnavailable);
        acknowledgments.delivered(id, KNOWN);
        // One that was on its way when the reader of the log had it.
        let late = acknowledgments.check(&tracked(), &second).refuse(too_slow()).unwrap();
        late.await.unwrap().unwrap();
        assert_eq!(states(&first), [AckState::Rejected, AckState::Delivered]);
        let [rejected, delivered] = [AckState::Rejected, AckState::Delivered];
        assert_eq!(states(&second), [rejected, rejected, delivered, delivered]);
    }

    #[tokio::test]
    async fn an_attempt_that_came_to_nothing_has_the_outcome_of_one_that_is_still_checked() {
        let acknowledgments = acknowledgments();
        let (first, second) = (Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2"));
        let tracked = tracked();
        let slow = acknowledgments.check(&tracked, &first);
        let mut outcome = acknowledgments.check(&tracked, &second).refuse(too_slow()).unwrap();
        assert!(outcome.try_recv().is_err(), "nothing is decided");
        assert_eq!(states(&second), []);
        assert!(matches!(slow.begin(), Begun::First));
        acknowledgments.delivered(tracked.message_id, KNOWN);
        assert_eq!(outcome.await.unwrap().unwrap().message_id, tracked.message_id);
        acknowledgments.persisted(tracked.message_id, Some(KNOWN));
        for connection in [first, second] {
            assert_eq!(states(&connection), [AckState::Delivered, AckState::Persisted]);
        }
        assert_eq!(acknowledgments.on_their_way(), 0);
    }

    #[tokio::test]
    async fn the_last_attempt_that_comes_to_nothing_decides_for_all() {
        let acknowledgments = acknowledgments();
        let connections = ["n/1", "n/2", "n/3"].map(|id| Connection::captured("ana", id));
        let tracked = tracked();
        let [first, second, third] = [0, 1, 2].map(|n| acknowledgments.check(&tracked, &connections[n]));
        let mut waiting = [first.refuse(too_slow()).unwrap(), second.refuse(too_slow()).unwrap()];
        assert!(waiting.iter_mut().all(|outcome| outcome.try_recv().is_err()), "nothing is decided");
        // A refusal that is about the message, which the others would have got too.
        third.refuse(WireError::new(ErrorCode::NotParticipant, "not a participant")).unwrap_err();
        for outcome in waiting {
            assert_eq!(outcome.await.unwrap().unwrap_err().code, ErrorCode::NotParticipant);
        }
        for connection in connections {
            assert_eq!(states(&connection), [AckState::Rejected]);
        }
    }

    #[tokio::test]
    async fn an_attempt_whose_task_ends_is_waited_for_no_longer() {
        let acknowledgments = acknowledgments();
        let (first, second) = (Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2"));
        let tracked = tracked();
        let abandoned = acknowledgments.check(&tracked, &first);
        let outcome = acknowledgments.check(&tracked, &second).refuse(too_slow()).unwrap();
        drop(abandoned);
        assert_eq!(outcome.await.unwrap().unwrap_err().code, ErrorCode::StoreUnavailable);
        assert_eq!((states(&first), states(&second)), (vec![], vec![AckState::Rejected]));
    }

    #[tokio::test]
    async fn an_attempt_that_came_to_nothing_hears_of_what_another_finds_delivered() {
        let (acknowledgments, tail) = (acknowledgments(), tail());
        let (first, second) = (Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2"));
        let tracked = tracked();
        let slow = acknowledgments.check(&tracked, &first);
        let outcome = acknowledgments.check(&tracked, &second).refuse(too_slow()).unwrap();
        slow.already(KNOWN, &tail);
        outcome.await.unwrap().unwrap();
        acknowledgments.persisted(tracked.message_id, Some(KNOWN));
        for connection in [first, second] {
            assert_eq!(states(&connection), [AckState::Delivered, AckState::Persisted]);
        }
    }

    #[test]
    fn sending_again_just_when_it_is_delivered_hears_of_delivered_too() {
        let acknowledgments = acknowledgments();
        let (first, second) = (Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2"));
        assert!(matches!(acknowledgments.check(&tracked(), &first).begin(), Begun::First));
        // Between the check of the second attempt and its beginning.
        acknowledgments.delivered(tracked().message_id, KNOWN);
        let Begun::Delivered(sent) = acknowledgments.check(&tracked(), &second).begin() else {
            panic!("it is delivered")
        };
        assert_eq!(sent.message_id, tracked().message_id);
        acknowledgments.persisted(tracked().message_id, Some(KNOWN));
        for connection in [first, second] {
            assert_eq!(states(&connection), [AckState::Delivered, AckState::Persisted]);
        }
    }

    #[test]
    fn sending_again_just_before_it_is_told_delivered_hears_of_delivered_once() {
        let (acknowledgments, tail) = (acknowledgments(), tail());
        let (first, second) = (Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2"));
        assert!(matches!(acknowledgments.check(&tracked(), &first).begin(), Begun::First));
        // The overlay has it, and the publisher is just about to say so.
        acknowledgments.check(&tracked(), &second).already(KNOWN, &tail);
        acknowledgments.delivered(tracked().message_id, KNOWN);
        acknowledgments.persisted(tracked().message_id, Some(KNOWN));
        for connection in [first, second] {
            assert_eq!(states(&connection), [AckState::Delivered, AckState::Persisted]);
        }
    }

    #[test]
    fn sending_again_before_it_is_persisted_hears_of_persisted_on_the_new_connection() {
        let (acknowledgments, tail) = (acknowledgments(), tail());
        let id = tracked().message_id;
        for connection in [Connection::captured("ana", "n/1"), Connection::captured("ana", "n/2")] {
            acknowledgments.check(&tracked(), &connection).already(KNOWN, &tail);
            assert_eq!(states(&connection), [AckState::Delivered]);
            acknowledgments.persisted(id, Some(KNOWN));
            assert_eq!(states(&connection), [AckState::Persisted]);
        }
        tail.settle(tracked().conversation_id, id);
        let late = Connection::captured("ana", "n/3");
        acknowledgments.check(&tracked(), &late).already(KNOWN, &tail);
        assert_eq!(states(&late), [AckState::Delivered, AckState::Persisted]);
        assert_eq!(acknowledgments.on_their_way(), 0);
    }

    #[test]
    fn a_failure_after_the_fact_is_a_rejection() {
        let (acknowledgments, ana) = (acknowledgments(), Connection::captured("ana", "n/1"));
        let id = tracked().message_id;
        acknowledgments.check(&tracked(), &ana).begin();
        acknowledgments.delivered(id, KNOWN);
        acknowledgments.failed(id, &WireError::new(ErrorCode::Internal, "damaged"));
        assert_eq!(states(&ana), [AckState::Delivered, AckState::Rejected]);
        assert_eq!(acknowledgments.on_their_way(), 0);
    }
}
