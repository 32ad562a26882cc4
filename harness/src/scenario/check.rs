//! Checks what a scenario's names mean: everybody and everything a step speaks of must be there by then.
//!
//! Runs over a file whose structure is right and says everything that is wrong, not only the first thing.

mod steps;

use std::collections::{HashMap, HashSet};

use super::file::words::{Name, User};
use super::file::{At, Budgets, Create, ScenarioFile, Step};
use super::included_at;
use super::problem::Problem;
use super::tree::Place;

/// Every problem of a scenario's meaning, in no particular order.
pub(super) fn check(file: &ScenarioFile, included: &[String]) -> Vec<Problem> {
    let mut checker = Checker::new(file, included);
    checker.users();
    if file.steps.is_empty() {
        checker
            .problems
            .push(Problem::new(file.scenario.place, "the scenario has no steps").expected("at least one step"));
    }
    checker.in_turn(&file.steps);
    checker.budgets(&file.budgets);
    checker.problems
}

#[derive(Clone)]
struct KnownConversation<'f> {
    participants: Vec<&'f str>,
    /// Who was in it before.
    former: Vec<&'f str>,
    exists: bool,
}

#[derive(Clone)]
struct KnownMessage<'f> {
    conversation: &'f str,
    sender: &'f str,
    refused: bool,
    /// A copy made by a forward: it has no send of its own.
    is_copy: bool,
}

/// What there is when a step begins.
#[derive(Clone, Default)]
struct Known<'f> {
    conversations: HashMap<&'f str, KnownConversation<'f>>,
    messages: HashMap<&'f str, KnownMessage<'f>>,
    /// Uploads with their owners.
    media: HashMap<&'f str, &'f str>,
    /// Further devices, with whose they are.
    devices: HashMap<&'f str, &'f str>,
    /// Who was dropped and not connected again, and where.
    dropped: HashMap<&'f str, Place>,
}

/// Where a name is given first: the number of the step, and the place.
type Given<'f> = HashMap<&'f str, (usize, Place)>;

/// Every name that some step gives.
#[derive(Default)]
struct Names<'f> {
    conversations: Given<'f>,
    messages: Given<'f>,
    media: Given<'f>,
}

impl<'f> Names<'f> {
    /// Goes through steps in the order in which they are checked; `number` is that of the step before.
    fn collect(&mut self, steps: &'f [At<Step>], number: &mut usize) {
        fn give<'f>(given: &mut Given<'f>, name: &'f At<Name>, number: usize) {
            given.entry(name.as_str()).or_insert((number, name.place));
        }
        for step in steps {
            *number += 1;
            match &step.value {
                Step::Create(create) => give(&mut self.conversations, &create.id, *number),
                Step::Send(send) => {
                    if let Some(id) = &send.id {
                        give(&mut self.messages, id, *number);
                    }
                }
                Step::Forward(forward) => {
                    for id in forward.ids.iter().flatten() {
                        give(&mut self.messages, id, *number);
                    }
                }
                Step::Upload(upload) => give(&mut self.media, &upload.id, *number),
                Step::Parallel(branches) => {
                    for steps in &branches.value {
                        self.collect(steps, number);
                    }
                }
                Step::Repeat(repeat) => self.collect(&repeat.steps, number),
                _ => {}
            }
        }
    }
}

struct Checker<'f> {
    file: &'f ScenarioFile,
    /// The names of the files it includes.
    included: &'f [String],
    problems: Vec<Problem>,
    known: Known<'f>,
    names: Names<'f>,
    /// The number of the step that is being checked.
    number: usize,
}

impl<'f> Checker<'f> {
    fn new(file: &'f ScenarioFile, included: &'f [String]) -> Self {
        let mut names = Names::default();
        names.collect(&file.steps, &mut 0);
        Self { file, included, problems: Vec::new(), known: Known::default(), names, number: 0 }
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
        let mut seen = HashSet::new();
        for (item, place) in items {
            if !seen.insert(item) {
                self.problem(place, format!("`{item}` is twice in {of}"));
            }
        }
    }

    /// `line 7`, with the file's name when it is another one.
    fn line(&self, place: Place) -> String {
        let file = included_at(self.included, place).map_or_else(String::new, |file| format!(" of {file}"));
        format!("line {}{file}", place.line)
    }

    // ---- order ------------------------------------------------------------------------------------------

    fn in_turn(&mut self, steps: &'f [At<Step>]) {
        for step in steps {
            self.number += 1;
            match &step.value {
                Step::Parallel(branches) => self.side_by_side(branches),
                Step::Repeat(repeat) => {
                    if repeat.steps.is_empty() {
                        self.problems
                            .push(Problem::new(step.place, "nothing is repeated").expected("at least one step"));
                    }
                    let before = self.known.dropped.clone();
                    self.in_turn(&repeat.steps);
                    // With a number the rounds are written out, and each was checked.
                    if repeat.times.0 > 1 && repeat.round.is_none() {
                        self.each_round_leaves_connections(step.place, &before);
                    }
                }
                _ => self.step(step),
            }
        }
    }

    /// Lists of steps that are played at the same time: none can rely on what another one does.
    fn side_by_side(&mut self, branches: &'f At<Vec<Vec<At<Step>>>>) {
        if branches.len() < 2 || branches.iter().any(Vec::is_empty) {
            self.problems.push(
                Problem::new(branches.place, "there is nothing to be side by side")
                    .expected("at least two lists of steps, and at least one step in each"),
            );
        }
        let before = self.known.clone();
        let mut after = before.clone();
        for steps in &branches.value {
            self.known.clone_from(&before);
            self.in_turn(steps);
            after.take_changes(&before, &self.known);
        }
        self.known = after;
    }

    /// A round begins as the one before ended, so whoever was connected must be so again.
    fn each_round_leaves_connections(&mut self, place: Place, before: &HashMap<&'f str, Place>) {
        let mut changed: Vec<&str> =
            self.known.dropped.keys().filter(|user| !before.contains_key(**user)).copied().collect();
        changed.extend(before.keys().filter(|user| !self.known.dropped.contains_key(**user)));
        changed.sort_unstable();
        for user in changed {
            let what = format!("`{user}` is not connected as before when a round has ended");
            self.problems.push(Problem::new(place, what).expected("`drop` and `reconnect` in the same round"));
        }
    }

    // ---- names ------------------------------------------------------------------------------------------

    fn is_user(&self, user: &User) -> bool {
        self.is_person(user) || self.known.devices.contains_key(user.as_str())
    }

    fn is_person(&self, user: &User) -> bool {
        self.file.users.iter().any(|known| known.value == *user)
    }

    /// Who a user is in conversations: itself, or the person whose device it is.
    fn person(&self, user: &'f At<User>) -> &'f str {
        self.known.devices.get(user.as_str()).copied().unwrap_or(user.as_str())
    }

    /// A user who is spoken of as a person.
    fn known_person(&mut self, user: &'f At<User>) -> bool {
        if let Some(person) = self.known.devices.get(user.as_str()) {
            let what = format!("`{}` is a device of `{person}`", user.as_str());
            self.problems.push(Problem::new(user.place, what).expected(format!("the person: `{person}`")));
            return false;
        }
        self.known_user(user)
    }

    fn known_user(&mut self, user: &'f At<User>) -> bool {
        let known = self.is_user(user);
        if !known {
            let names = self.file.users.iter().map(|user| user.as_str()).chain(self.known.devices.keys().copied());
            let names: Vec<&str> = names.collect();
            self.problems.push(
                Problem::new(user.place, format!("there is no user `{}`", user.as_str()))
                    .nearest(user.as_str(), names.iter().copied())
                    .expected(listed("a user of `users`", names.iter().copied())),
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
        if let Some(dropped) = self.known.dropped.get(user) {
            let what = format!("`{user}` was dropped in {} and is not connected here", self.line(*dropped));
            self.problems.push(Problem::new(place, what).expected(format!("`- reconnect: {user}` before this step")));
        }
    }

    /// A problem with a name that is not known here: `what` is what it would name, `made` how it comes about.
    fn unknown(
        &self,
        name: &At<Name>,
        (what, made): (&str, &str),
        first: Option<(usize, Place)>,
        known: Vec<&'f str>,
    ) -> Problem {
        let said = match first {
            Some((given, _)) if given == self.number => format!("{what} `{}` cannot speak of itself", name.as_str()),
            Some((given, place)) if given > self.number => {
                format!("{what} `{}` is {made} later, in {}", name.as_str(), self.line(place))
            }
            Some((_, place)) => {
                format!("{what} `{}` is {made} side by side with this, in {}", name.as_str(), self.line(place))
            }
            None => {
                let problem = Problem::new(name.place, format!("there is no {what} `{}`", name.as_str()));
                return problem.nearest(name.as_str(), known);
            }
        };
        Problem::new(name.place, said)
    }

    fn known_conversation(&mut self, name: &At<Name>) {
        match self.known.conversations.get(name.as_str()) {
            Some(known) if known.exists => {}
            Some(_) => self.problem(name.place, format!("creating `{}` was expected to be refused", name.as_str())),
            None => {
                let first = self.names.conversations.get(name.as_str()).copied();
                let known: Vec<_> = self.known.conversations.keys().copied().collect();
                let expected = listed("a conversation created before", known.iter().copied());
                let problem = self.unknown(name, ("conversation", "created"), first, known);
                self.problems.push(problem.expected(expected));
            }
        }
    }

    fn known_message(&mut self, name: &At<Name>, conversation: Option<&At<Name>>) {
        if let Some(known) = self.known.messages.get(name.as_str()) {
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
        let first = self.names.messages.get(name.as_str()).copied();
        let known: Vec<_> = self.known.messages.keys().copied().collect();
        let expected = listed("the `id` of a message sent before", known.iter().copied());
        let problem = self.unknown(name, ("message", "sent"), first, known);
        self.problems.push(problem.expected(expected));
    }

    /// A message with a send of its own.
    fn known_send(&mut self, name: &At<Name>) {
        self.known_message(name, None);
        if self.known.messages.get(name.as_str()).is_some_and(|known| known.is_copy) {
            let what = format!("`{}` is a copy made by a forward: it was never sent and has no ACKs", name.as_str());
            self.problem(name.place, what);
        }
    }

    /// Uploads a message carries.
    fn known_media(&mut self, list: &'f [At<Name>]) {
        for name in list {
            self.known_upload(name);
        }
        self.no_duplicates(list.iter().map(|name| (name.as_str(), name.place)), "`media`");
    }

    fn known_upload(&mut self, name: &At<Name>) {
        if self.known.media.contains_key(name.as_str()) {
            return;
        }
        let first = self.names.media.get(name.as_str()).copied();
        let known: Vec<_> = self.known.media.keys().copied().collect();
        let expected = listed("the `id` of an upload before", known.iter().copied());
        let problem = self.unknown(name, ("upload", "uploaded"), first, known);
        self.problems.push(problem.expected(expected));
    }

    /// Notes a new conversation; a name is given once.
    fn new_conversation(&mut self, create: &'f Create) {
        let with = create.with.iter().map(|user| user.as_str());
        let participants = std::iter::once(self.person(&create.user)).chain(with).collect();
        let known = KnownConversation { participants, former: Vec::new(), exists: create.refused.is_none() };
        self.known.conversations.insert(create.id.as_str(), known);
        self.is_first("conversation", &create.id, self.names.conversations.get(create.id.as_str()).copied());
    }

    fn new_message(&mut self, id: &'f At<Name>, known: KnownMessage<'f>) {
        self.known.messages.insert(id.as_str(), known);
        self.is_first("message", id, self.names.messages.get(id.as_str()).copied());
    }

    fn new_upload(&mut self, id: &'f At<Name>, owner: &'f str) {
        self.known.media.insert(id.as_str(), owner);
        self.is_first("upload", id, self.names.media.get(id.as_str()).copied());
    }

    fn is_first(&mut self, what: &str, id: &At<Name>, first: Option<(usize, Place)>) {
        // The same place again is another round of a loop.
        if first.is_some_and(|(number, place)| number != self.number && place != id.place) {
            self.problem(id.place, format!("there is already {} `{}`", with_article(what), id.as_str()));
        }
    }

    /// Whoever is not in a conversation can do nothing in it, so the step must expect to be refused.
    fn participates(&mut self, user: &'f At<User>, conversation: &str, is_refused: bool) {
        let Some(known) = self.known.conversations.get(conversation) else { return };
        let person = self.person(user);
        if is_refused || !known.exists || known.participants.contains(&person) || !self.is_user(user) {
            return;
        }
        let code = if known.former.contains(&person) { "not_participant" } else { "not_found" };
        let what = format!("`{}` is not in `{conversation}`", user.as_str());
        let expected = format!("a participant, or `refused: {code}` in this step");
        self.problems.push(Problem::new(user.place, what).expected(expected));
    }

    /// The messages of an expectation: known, of this conversation, accepted, and none twice.
    fn messages_in(&mut self, list: &'f [At<Name>], conversation: Option<&At<Name>>) {
        for name in list {
            self.known_message(name, conversation);
            if self.known.messages.get(name.as_str()).is_some_and(|known| known.refused) {
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
        let stages = &budgets.stages;
        let all = [
            ("pending", &budgets.pending),
            ("delivered", &budgets.delivered),
            ("rejected", &budgets.rejected),
            ("received", &budgets.received),
            ("persisted", &budgets.persisted),
            ("received", &stages.received),
            ("permission", &stages.permission),
            ("media_checked", &stages.media_checked),
            ("published", &stages.published),
            ("broadcast", &stages.broadcast),
            ("consumed", &stages.consumed),
            ("stored", &stages.stored),
            ("confirmed", &stages.confirmed),
            ("indexed", &stages.indexed),
        ];
        for (name, limits) in all {
            if let Some(limits) = limits.as_ref().filter(|limits| limits.0.is_empty()) {
                let what = format!("the budget of `{name}` limits nothing");
                self.problems
                    .push(Problem::new(limits.place, what).expected("at least one percentile, such as `p99` or `max`"));
            }
        }
    }
}

impl<'f> Known<'f> {
    /// Takes over what one of several lists of steps changed since they began.
    fn take_changes(&mut self, before: &Self, after: &Self) {
        for (name, changed) in &after.conversations {
            let (Some(old), Some(held)) = (before.conversations.get(name), self.conversations.get_mut(name)) else {
                self.conversations.insert(*name, changed.clone());
                continue;
            };
            let is_new = |user: &&&'f str| !old.participants.contains(user);
            held.participants.extend(changed.participants.iter().filter(is_new));
            held.participants.retain(|user| changed.participants.contains(user) || !old.participants.contains(user));
            held.former.extend(&changed.former);
        }
        self.messages.extend(after.messages.iter().map(|(name, known)| (*name, known.clone())));
        self.media.extend(&after.media);
        self.devices.extend(&after.devices);
        self.dropped.retain(|user, _| after.dropped.contains_key(user) || !before.dropped.contains_key(user));
        self.dropped.extend(after.dropped.iter().filter(|(user, _)| !before.dropped.contains_key(*user)));
    }
}

/// `a conversation`, `an upload`
fn with_article(what: &str) -> String {
    let article = if what.starts_with('u') { "an" } else { "a" };
    format!("{article} {what}")
}

/// `a conversation created before: a, b`; or that there is none.
fn listed<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { format!("{what} (there is none yet)") } else { format!("{what}: {}", names.join(", ")) }
}
