//! Checks what a scenario's names mean: everybody and everything a step speaks of must be there by then.
//!
//! Runs over a file whose structure is right and says everything that is wrong, not only the first thing.

use std::collections::HashMap;

use ackscope_protocol::wire::{AckState, ConversationKind};

use super::file::words::{Name, User};
use super::file::{At, Budgets, Limits, ScenarioFile, Step};
use super::problem::Problem;
use super::tree::Place;

/// Every problem of a scenario's meaning, in no particular order.
pub(super) fn check(file: &ScenarioFile) -> Vec<Problem> {
    let mut checker = Checker::new(file);
    checker.users();
    if file.steps.is_empty() {
        checker
            .problems
            .push(Problem::new(file.scenario.place, "the scenario has no steps").expected("at least one step"));
    }
    for (index, step) in file.steps.iter().enumerate() {
        checker.step(index, step);
    }
    checker.budgets(&file.budgets);
    checker.problems
}

struct KnownConversation<'f> {
    participants: Vec<&'f str>,
    exists: bool,
}

struct KnownMessage<'f> {
    conversation: &'f str,
    sender: &'f str,
    refused: bool,
}

struct Checker<'f> {
    file: &'f ScenarioFile,
    problems: Vec<Problem>,
    conversations: HashMap<&'f str, KnownConversation<'f>>,
    messages: HashMap<&'f str, KnownMessage<'f>>,
    /// Names that a later step gives, with the line it stands in.
    later_conversations: HashMap<&'f str, (usize, u32)>,
    later_messages: HashMap<&'f str, (usize, u32)>,
    /// Who was dropped and not connected again, and in which line.
    dropped: HashMap<&'f str, u32>,
}

impl<'f> Checker<'f> {
    fn new(file: &'f ScenarioFile) -> Self {
        let mut later_conversations = HashMap::new();
        let mut later_messages = HashMap::new();
        for (index, step) in file.steps.iter().enumerate() {
            match &step.value {
                Step::Create(create) => {
                    later_conversations.entry(create.id.as_str()).or_insert((index, create.id.place.line));
                }
                Step::Send(send) => {
                    if let Some(id) = &send.id {
                        later_messages.entry(id.as_str()).or_insert((index, id.place.line));
                    }
                }
                _ => {}
            }
        }
        Self {
            file,
            problems: Vec::new(),
            conversations: HashMap::new(),
            messages: HashMap::new(),
            later_conversations,
            later_messages,
            dropped: HashMap::new(),
        }
    }

    fn problem(&mut self, place: Place, what: impl Into<String>) {
        self.problems.push(Problem::new(place, what));
    }

    fn users(&mut self) {
        let users = &self.file.users;
        if users.is_empty() {
            self.problem(self.file.scenario.place, "the scenario has no users");
        }
        self.no_duplicates(users.iter().map(|user| (user.as_str(), user.place)), "`users`");
    }

    fn no_duplicates(&mut self, items: impl Iterator<Item = (&'f str, Place)>, of: &str) {
        let mut seen = Vec::new();
        for (item, place) in items {
            if seen.contains(&item) {
                self.problem(place, format!("`{item}` is twice in {of}"));
            }
            seen.push(item);
        }
    }

    fn step(&mut self, index: usize, step: &'f At<Step>) {
        match &step.value {
            Step::Create(create) => {
                self.acts(&create.user);
                for user in &create.with {
                    self.known_user(user);
                    if user.value == create.user.value {
                        let what = format!("`{}` creates the conversation and is in it anyway", user.as_str());
                        self.problem(user.place, what);
                    }
                }
                self.no_duplicates(create.with.iter().map(|user| (user.as_str(), user.place)), "`with`");
                if create.refused.is_none() && create.kind.0 == ConversationKind::Direct && create.with.len() != 1 {
                    let what = format!("a direct conversation has exactly one other, not {}", create.with.len());
                    self.problem(create.kind.place, what);
                }
                let participants =
                    std::iter::once(&create.user).chain(&create.with).map(|user| user.as_str()).collect();
                let known = KnownConversation { participants, exists: create.refused.is_none() };
                if self.conversations.insert(create.id.as_str(), known).is_some() {
                    let what = format!("there is already a conversation `{}`", create.id.as_str());
                    self.problem(create.id.place, what);
                }
            }
            Step::Send(send) => {
                self.acts(&send.user);
                self.known_conversation(index, &send.to);
                if let Some(original) = &send.reply_to {
                    self.known_message(index, original, Some(&send.to));
                }
                let stranger = self
                    .conversations
                    .get(send.to.as_str())
                    .is_some_and(|known| !known.participants.contains(&send.user.as_str()));
                if stranger && send.refused.is_none() && self.is_user(&send.user) {
                    let what = format!("`{}` is not in `{}`", send.user.as_str(), send.to.as_str());
                    self.problems.push(
                        Problem::new(send.user.place, what)
                            .expected("a participant, or `refused: not_found` in this step"),
                    );
                }
                if let Some(id) = &send.id {
                    let known = KnownMessage {
                        conversation: send.to.as_str(),
                        sender: send.user.as_str(),
                        refused: send.refused.is_some(),
                    };
                    if self.messages.insert(id.as_str(), known).is_some() {
                        let what = format!("there is already a message `{}`", id.as_str());
                        self.problem(id.place, what);
                    }
                }
            }
            Step::Retry(retry) => {
                self.known_message(index, &retry.message, None);
                if let Some(known) = self.messages.get(retry.message.as_str()) {
                    let sender = known.sender;
                    self.connected(sender, retry.message.place);
                }
            }
            Step::Wait(wait) => {
                self.known_user(&wait.user);
                if let Some(message) = &wait.message {
                    self.known_message(index, message, wait.conversation.as_ref());
                }
                if let Some(conversation) = &wait.conversation {
                    self.known_conversation(index, conversation);
                }
                self.connected(wait.user.as_str(), wait.user.place);
            }
            Step::ExpectAck(expect) => {
                self.known_message(index, &expect.message, None);
                if let (Some(error), false) = (&expect.error, expect.state.0 == AckState::Rejected) {
                    self.problems.push(
                        Problem::new(error.place, format!("a `{}` ACK carries no error", expect.state.0.as_str()))
                            .expected("`state: rejected` where there is an `error`"),
                    );
                }
            }
            Step::ExpectView(expect) => {
                if expect.users.is_empty() {
                    self.problem(step.place, "`users` is empty: nobody's view is expected");
                }
                for user in &expect.users {
                    self.known_user(user);
                }
                self.no_duplicates(expect.users.iter().map(|user| (user.as_str(), user.place)), "`users`");
                self.known_conversation(index, &expect.conversation);
                self.one_of(
                    step.place,
                    &[("exactly", expect.exactly.is_some()), ("contains", expect.contains.is_some())],
                );
                for list in [&expect.exactly, &expect.contains].into_iter().flatten() {
                    self.messages_in(index, list, &expect.conversation);
                }
            }
            Step::ExpectHistory(expect) => {
                self.acts(&expect.user);
                self.known_conversation(index, &expect.conversation);
                self.one_of(
                    step.place,
                    &[
                        ("exactly", expect.exactly.is_some()),
                        ("contains", expect.contains.is_some()),
                        ("refused", expect.refused.is_some()),
                    ],
                );
                for list in [&expect.exactly, &expect.contains].into_iter().flatten() {
                    self.messages_in(index, list, &expect.conversation);
                }
            }
            Step::Drop(user) => {
                self.acts(user);
                self.dropped.insert(user.as_str(), user.place.line);
            }
            Step::Reconnect(user) => {
                if self.known_user(user) && self.dropped.remove(user.as_str()).is_none() {
                    self.problem(user.place, format!("`{}` is connected here", user.as_str()));
                }
            }
            Step::Advance(by) => {
                if by.0.is_zero() {
                    self.problem(by.place, "the clock is advanced by nothing");
                }
            }
            Step::Mark(_) => {}
        }
    }

    fn is_user(&self, user: &User) -> bool {
        self.file.users.iter().any(|known| known.value == *user)
    }

    fn known_user(&mut self, user: &'f At<User>) -> bool {
        let known = self.is_user(user);
        if !known {
            let names = self.file.users.iter().map(|user| user.as_str());
            self.problems.push(
                Problem::new(user.place, format!("there is no user `{}`", user.as_str()))
                    .nearest(user.as_str(), names)
                    .expected(listed("a user of `users`", self.file.users.iter().map(|user| user.as_str()))),
            );
        }
        known
    }

    /// Somebody who does something must be known and connected.
    fn acts(&mut self, user: &'f At<User>) {
        if self.known_user(user) {
            self.connected(user.as_str(), user.place);
        }
    }

    fn connected(&mut self, user: &str, place: Place) {
        if let Some(line) = self.dropped.get(user) {
            let what = format!("`{user}` was dropped in line {line} and is not connected here");
            self.problems.push(Problem::new(place, what).expected(format!("`- reconnect: {user}` before this step")));
        }
    }

    fn known_conversation(&mut self, index: usize, name: &At<Name>) {
        match self.conversations.get(name.as_str()) {
            Some(known) if known.exists => {}
            Some(_) => self.problem(name.place, format!("creating `{}` was expected to be refused", name.as_str())),
            None => {
                let mut problem = match self.later_conversations.get(name.as_str()) {
                    Some((later, line)) if *later > index => {
                        let what = format!("conversation `{}` is created later, in line {line}", name.as_str());
                        Problem::new(name.place, what)
                    }
                    _ => Problem::new(name.place, format!("there is no conversation `{}`", name.as_str()))
                        .nearest(name.as_str(), self.conversations.keys().copied()),
                };
                problem = problem.expected(listed("a conversation created before", self.conversations.keys().copied()));
                self.problems.push(problem);
            }
        }
    }

    fn known_message(&mut self, index: usize, name: &At<Name>, conversation: Option<&At<Name>>) {
        if let Some(known) = self.messages.get(name.as_str()) {
            if let Some(conversation) = conversation.filter(|wanted| wanted.as_str() != known.conversation) {
                let what = format!(
                    "message `{}` is in `{}`, not in `{}`",
                    name.as_str(),
                    known.conversation,
                    conversation.as_str()
                );
                self.problem(name.place, what);
            }
            return;
        }
        let mut problem = match self.later_messages.get(name.as_str()) {
            Some((later, line)) if *later >= index => {
                let what = if *later == index {
                    format!("message `{}` cannot speak of itself", name.as_str())
                } else {
                    format!("message `{}` is sent later, in line {line}", name.as_str())
                };
                Problem::new(name.place, what)
            }
            _ => Problem::new(name.place, format!("there is no message `{}`", name.as_str()))
                .nearest(name.as_str(), self.messages.keys().copied()),
        };
        problem = problem.expected(listed("the `id` of a message sent before", self.messages.keys().copied()));
        self.problems.push(problem);
    }

    /// The messages of an expectation: known, of this conversation, accepted, and none twice.
    fn messages_in(&mut self, index: usize, list: &'f [At<Name>], conversation: &At<Name>) {
        for name in list {
            self.known_message(index, name, Some(conversation));
            if self.messages.get(name.as_str()).is_some_and(|known| known.refused) {
                let what = format!("message `{}` was expected to be refused, so nobody can see it", name.as_str());
                self.problem(name.place, what);
            }
        }
        self.no_duplicates(list.iter().map(|name| (name.as_str(), name.place)), "this list");
    }

    fn one_of(&mut self, place: Place, given: &[(&str, bool)]) {
        let names: Vec<_> = given.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = names.join(" or ");
        match given.iter().filter(|(_, is)| *is).count() {
            0 => self.problems.push(Problem::new(place, "nothing is expected here").expected(names)),
            1 => {}
            _ => self
                .problems
                .push(Problem::new(place, "too much is expected here").expected(format!("only one of {names}"))),
        }
    }

    fn budgets(&mut self, budgets: &Budgets) {
        let all = [
            ("pending", &budgets.pending),
            ("delivered", &budgets.delivered),
            ("rejected", &budgets.rejected),
            ("received", &budgets.received),
            ("persisted", &budgets.persisted),
        ];
        for (name, limits) in all {
            if let Some(limits) = limits.as_ref().filter(|limits| limits.value == Limits::default()) {
                let what = format!("the budget of `{name}` limits nothing");
                self.problems.push(
                    Problem::new(limits.place, what).expected("at least one of `p50`, `p90`, `p99`, `p99.9` and `max`"),
                );
            }
        }
    }
}

/// `a conversation created before: a, b`; or that there is none.
fn listed<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { format!("{what} (there is none yet)") } else { format!("{what}: {}", names.join(", ")) }
}
