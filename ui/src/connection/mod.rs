//! The control connection: greeting, resuming, commands with their answers, and reconnecting.
//!
//! Time is passed in (seconds on any steady clock), so that tests need no sleeping. Everything is bounded:
//! messages taken in one go, commands that wait for an answer, and how long each of them waits.

mod address;
mod backoff;
mod parse;
mod transport;

use std::collections::BTreeMap;

use ackscope_protocol::Timestamp;
use ackscope_protocol::control::{
    CONTROL_VERSION, Command, CommandAnswer, Environment, ScenarioProgress, ToHarness, ToInterface,
};
use ackscope_protocol::trace::TraceEvent;
use uuid::Uuid;

pub use self::address::{Address, AddressError};
use self::backoff::Backoff;
use self::parse::parse;
pub use self::transport::{QUEUE_MAX_MESSAGES, Socket, SocketEvent, Transport, Wake, WebSockets};

/// Most messages taken in one call of [`Connection::poll`], whatever time there is.
pub const MESSAGES_MAX_PER_POLL: usize = 64;
/// Most commands that wait for their answer.
pub const PENDING_COMMANDS_MAX: usize = 64;
/// How long opening and greeting may take together, in seconds.
const GREETING_TIMEOUT_SECS: f64 = 10.0;
/// How long a command may wait for its answer, in seconds: a little longer than the harness gives itself, whose own
/// answer says more.
const COMMAND_TIMEOUT_SECS: f64 = 35.0;
/// The tour is answered when it is over.
const TOUR_TIMEOUT_SECS: f64 = 610.0;
/// A scenario is answered when its backend has started, faults when everything answers.
const START_TIMEOUT_SECS: f64 = 190.0;
/// From this failure on, a person is told what may be the matter.
const FAILURES_UNTIL_ADVICE: u32 = 3;

/// Where the connection stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// The socket opens, or the greeting waits for its answer.
    Connecting {
        /// When it began.
        since_secs: f64,
        /// Whether the hello is out.
        greeted: bool,
    },
    /// Welcome was said.
    Ready,
    /// The connection broke or could not be made; it is tried again.
    Waiting {
        /// When the next try is due.
        until_secs: f64,
        /// What happened.
        problem: Problem,
    },
    /// Trying again by itself would not help.
    Stopped {
        /// What happened.
        problem: Problem,
    },
}

/// What went wrong, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One sentence.
    pub what: String,
    /// One sentence.
    pub advice: String,
}

/// Why a command was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefused {
    /// There is no connection.
    #[error("not connected to the harness: try again when the connection is back")]
    NotConnected,
    /// [`PENDING_COMMANDS_MAX`] commands wait already.
    #[error("the harness has not answered {PENDING_COMMANDS_MAX} earlier commands: wait until it catches up")]
    TooMany,
}

/// What a poll brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// The harness accepted the hello.
    Welcome {
        /// False: forget everything that came before.
        same_run: bool,
        /// What runs.
        environment: Box<Environment>,
        /// Business time now.
        business_now: Timestamp,
    },
    /// Events in order; none of them was given before.
    Events(Vec<TraceEvent>),
    /// Events that will not come.
    Missed {
        /// How many.
        count: u64,
    },
    /// How a scenario goes.
    Scenario(Box<ScenarioProgress>),
    /// A command was carried out.
    Done {
        /// The command.
        command: Command,
        /// What it answered.
        answer: CommandAnswer,
    },
    /// A command was refused, or nobody knows what became of it.
    Failed {
        /// The command.
        command: Command,
        /// One sentence for people.
        reason: String,
    },
}

struct PendingCommand {
    command: Command,
    deadline_secs: f64,
}

/// The control connection.
pub struct Connection {
    transport: Box<dyn Transport>,
    wake: Wake,
    address: Address,
    socket: Option<Box<dyn Socket>>,
    phase: Phase,
    backoff: Backoff,
    run_id: Option<Uuid>,
    next_index: u64,
    next_command_id: u64,
    pending: BTreeMap<u64, PendingCommand>,
    /// What commands became of while no poll was running.
    outcomes: Vec<Incoming>,
}

impl Connection {
    /// Begins to connect.
    pub fn open(address: Address, transport: Box<dyn Transport>, wake: Wake, now_secs: f64) -> Self {
        let mut connection = Self {
            transport,
            wake,
            address,
            socket: None,
            phase: Phase::Connecting { since_secs: now_secs, greeted: false },
            backoff: Backoff::default(),
            run_id: None,
            next_index: 0,
            next_command_id: 1,
            pending: BTreeMap::new(),
            outcomes: Vec::new(),
        };
        connection.connect(now_secs);
        connection
    }

    /// Where the connection stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether commands can be sent.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Where the harness is, without the token.
    pub fn origin(&self) -> &str {
        self.address.origin()
    }

    /// Commands that wait for their answer.
    pub fn pending_commands(&self) -> usize {
        self.pending.len()
    }

    /// Seconds until something is due without any message, such as the next try.
    pub fn wakeup_in_secs(&self, now_secs: f64) -> Option<f64> {
        let phase = match &self.phase {
            Phase::Connecting { since_secs, .. } => Some(since_secs + GREETING_TIMEOUT_SECS),
            Phase::Waiting { until_secs, .. } => Some(*until_secs),
            Phase::Ready | Phase::Stopped { .. } => None,
        };
        let command = self.pending.values().map(|pending| pending.deadline_secs).reduce(f64::min);
        let due_secs = [phase, command].into_iter().flatten().reduce(f64::min)?;
        Some((due_secs - now_secs).max(0.0))
    }

    /// Tries again now, whatever the phase is.
    pub fn retry_now(&mut self, now_secs: f64) {
        if !self.is_ready() {
            self.backoff.reset();
            self.connect(now_secs);
        }
    }

    /// Sends a command; its outcome comes out of a later [`Self::poll`].
    pub fn send(&mut self, command: Command, now_secs: f64) -> Result<(), CommandRefused> {
        if !self.is_ready() {
            return Err(CommandRefused::NotConnected);
        }
        if self.pending.len() >= PENDING_COMMANDS_MAX {
            return Err(CommandRefused::TooMany);
        }
        let id = self.next_command_id;
        self.next_command_id += 1;
        let timeout_secs = match command {
            Command::PlayTour => TOUR_TIMEOUT_SECS,
            // A backend of its own starts first; in containers that takes a while.
            Command::RunScenario { .. }
            | Command::ShowLive
            // A long one is unpacked first.
            | Command::CompareWith { .. }
            | Command::SetFault { .. }
            | Command::Heal { .. }
            | Command::ResetFaults => START_TIMEOUT_SECS,
            _ => COMMAND_TIMEOUT_SECS,
        };
        self.say(&ToHarness::Command { id, command: command.clone() });
        self.pending.insert(id, PendingCommand { command, deadline_secs: now_secs + timeout_secs });
        Ok(())
    }

    /// Takes what has arrived, at most [`MESSAGES_MAX_PER_POLL`] messages and only while `has_time`. Returns
    /// whether there may be more to take at once.
    pub fn poll(&mut self, now_secs: f64, has_time: &dyn Fn() -> bool, take: &mut dyn FnMut(Incoming)) -> bool {
        if let Phase::Waiting { until_secs, .. } = self.phase
            && now_secs >= until_secs
        {
            self.connect(now_secs);
        }
        let mut taken = 0;
        let mut may_be_more = false;
        while let Some(socket) = &mut self.socket {
            if taken >= MESSAGES_MAX_PER_POLL || !has_time() {
                may_be_more = true;
                break;
            }
            let Some(event) = socket.poll() else { break };
            taken += 1;
            match event {
                SocketEvent::Opened => self.greet(now_secs),
                SocketEvent::Text(text) => self.hear(&text, now_secs, take),
                SocketEvent::Closed { reason } => self.lose(self.closed_problem(reason), now_secs),
            }
        }
        self.check_deadlines(now_secs);
        for outcome in self.outcomes.drain(..) {
            take(outcome);
        }
        may_be_more
    }

    fn connect(&mut self, now_secs: f64) {
        self.socket = None;
        match self.transport.open(&self.address.control_url(), self.wake.clone()) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.phase = Phase::Connecting { since_secs: now_secs, greeted: false };
            }
            Err(reason) => self.lose(self.closed_problem(Some(reason)), now_secs),
        }
    }

    fn greet(&mut self, now_secs: f64) {
        self.phase = Phase::Connecting { since_secs: now_secs, greeted: true };
        self.say(&ToHarness::Hello { version: CONTROL_VERSION, run_id: self.run_id, next_index: self.next_index });
    }

    fn say(&mut self, message: &ToHarness) {
        // Our own types always serialise: their keys are strings.
        if let (Some(socket), Ok(text)) = (&mut self.socket, serde_json::to_string(message)) {
            socket.send(text);
        }
    }

    fn hear(&mut self, text: &str, now_secs: f64, take: &mut dyn FnMut(Incoming)) {
        let message = match parse(text) {
            Ok(message) => message,
            Err(error) => {
                // A harness of another version may say what we cannot read, even before its welcome.
                self.stop(Problem {
                    what: format!("The harness said something that this interface does not understand ({error})"),
                    advice: "Use the interface and the harness of the same release of Ackscope".to_owned(),
                });
                return;
            }
        };
        match message {
            ToInterface::Welcome { version, .. } if version != CONTROL_VERSION => self.stop(Problem {
                what: format!(
                    "The harness speaks version {version} of the control protocol, this interface version {CONTROL_VERSION}"
                ),
                advice: "Use the interface and the harness of the same release of Ackscope, then reload".to_owned(),
            }),
            ToInterface::Welcome { run_id, environment, business_now, .. } => {
                let same_run = self.run_id == Some(run_id);
                if !same_run {
                    self.run_id = Some(run_id);
                    self.next_index = 0;
                }
                self.backoff.reset();
                self.phase = Phase::Ready;
                take(Incoming::Welcome { same_run, environment: Box::new(environment), business_now });
            }
            ToInterface::Refused { reason } => self.stop(Problem {
                what: format!("The harness refused the connection: {reason}"),
                advice: "Open the whole address that the harness printed last: its token changes with every start"
                    .to_owned(),
            }),
            ToInterface::Trace { first_index, events } => self.take_events(first_index, events, take),
            ToInterface::Skipped { next_index } => self.skip_to(next_index, take),
            ToInterface::Reply { id, outcome } => {
                // An unknown number is an answer that came after its time-out: the person knows already.
                if let Some(PendingCommand { command, .. }) = self.pending.remove(&id) {
                    take(match outcome {
                        Ok(answer) => Incoming::Done { command, answer },
                        Err(error) => Incoming::Failed { command, reason: error.message },
                    });
                }
            }
            ToInterface::Scenario { progress } => take(Incoming::Scenario(Box::new(progress))),
            ToInterface::Closing { reason } => self.lose(
                Problem {
                    what: format!("The harness has ended: {reason}"),
                    advice: "Start it again and open the address it prints".to_owned(),
                },
                now_secs,
            ),
        }
    }

    fn take_events(&mut self, first_index: u64, mut events: Vec<TraceEvent>, take: &mut dyn FnMut(Incoming)) {
        self.skip_to(first_index, take);
        let known = usize::try_from(self.next_index - first_index.min(self.next_index)).unwrap_or(usize::MAX);
        if known >= events.len() {
            return;
        }
        events.drain(..known);
        self.next_index = self.next_index.saturating_add(events.len() as u64);
        take(Incoming::Events(events));
    }

    fn skip_to(&mut self, next_index: u64, take: &mut dyn FnMut(Incoming)) {
        if next_index > self.next_index {
            take(Incoming::Missed { count: next_index - self.next_index });
            self.next_index = next_index;
        }
    }

    fn check_deadlines(&mut self, now_secs: f64) {
        if let Phase::Connecting { since_secs, .. } = self.phase
            && now_secs - since_secs >= GREETING_TIMEOUT_SECS
        {
            let problem = Problem {
                what: format!("{} does not answer", self.origin()),
                advice: "Check that the harness runs and that nothing else took its port".to_owned(),
            };
            self.lose(problem, now_secs);
        }
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| now_secs >= pending.deadline_secs).map(|(id, _)| *id).collect();
        for id in late {
            self.fail_command(
                id,
                "the harness did not answer in time; look at the timeline whether it was carried out",
            );
        }
    }

    fn fail_command(&mut self, id: u64, reason: &str) {
        if let Some(PendingCommand { command, .. }) = self.pending.remove(&id) {
            self.outcomes.push(Incoming::Failed { command, reason: reason.to_owned() });
        }
    }

    fn fail_commands(&mut self) {
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        for id in ids {
            self.fail_command(
                id,
                "the connection was lost before the answer came; look at the timeline whether it was carried out",
            );
        }
    }

    fn lose(&mut self, problem: Problem, now_secs: f64) {
        self.socket = None;
        let until_secs = now_secs + self.backoff.next_wait_secs();
        self.phase = Phase::Waiting { until_secs, problem };
        self.fail_commands();
    }

    fn stop(&mut self, problem: Problem) {
        self.socket = None;
        self.phase = Phase::Stopped { problem };
        self.fail_commands();
    }

    fn closed_problem(&self, reason: Option<String>) -> Problem {
        let origin = self.origin();
        let was_ready = self.is_ready();
        let refused = reason.as_deref().is_some_and(|reason| reason.contains("401") || reason.contains("403"));
        let what = if refused {
            format!("{origin} does not accept the token of this address")
        } else if was_ready {
            format!("The connection to {origin} was lost")
        } else {
            match reason {
                Some(reason) => format!("{origin} cannot be reached ({reason})"),
                None => format!("{origin} cannot be reached"),
            }
        };
        let advice = if refused || self.backoff.failures() + 1 >= FAILURES_UNTIL_ADVICE {
            "If the harness was started again, open the new address it printed: its token changes with every start"
        } else {
            "Trying again; what was shown stays, and the rest follows when the connection is back"
        };
        Problem { what, advice: advice.to_owned() }
    }
}

#[cfg(test)]
mod tests;
