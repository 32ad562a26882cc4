//! What each step must be true of: one arm for each kind of step.

use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::text::Emoji;
use ackscope_protocol::wire::{AckState, ConversationKind};

use super::super::file::words::User;
use super::super::file::{
    At, Connect, ExpectMessage, ExpectStored, Flood, Forward, Frame, OfConversation, RawRequest, Reactions, Send, Step,
};
use super::super::problem::Problem;
use super::super::run::ids_in;
use super::{Checker, KnownMessage};
use crate::scenario::tree::Place;

impl<'f> Checker<'f> {
    pub(super) fn step(&mut self, step: &'f At<Step>) {
        match &step.value {
            Step::Create(create) => {
                self.acts(&create.user);
                for user in &create.with {
                    self.known_person(user);
                    if user.as_str() == self.person(&create.user) {
                        let what = format!("`{}` creates the conversation and is in it anyway", user.as_str());
                        self.problem(user.place, what);
                    }
                }
                self.no_duplicates(create.with.iter().map(|user| (user.as_str(), user.place)), "`with`");
                if create.refused.is_none() && create.kind.0 == ConversationKind::Direct && create.with.len() != 1 {
                    let what = format!("a direct conversation has exactly one other, not {}", create.with.len());
                    self.problem(create.kind.place, what);
                }
                self.new_conversation(create);
            }
            Step::Send(send) => self.send(send, step.place),
            Step::Retry(retry) => {
                self.known_send(&retry.message);
                if let Some(known) = self.known.messages.get_mut(retry.message.as_str()) {
                    known.refused = false;
                    let sender = known.sender;
                    self.connected(sender, retry.message.place);
                }
            }
            Step::Edit(edit) => self.of_message(&edit.user, &edit.message, edit.refused.is_some()),
            Step::Delete(delete) => self.of_message(&delete.user, &delete.message, delete.refused.is_some()),
            Step::React(react) | Step::Unreact(react) => {
                self.of_message(&react.user, &react.message, react.refused.is_some());
            }
            Step::Forward(forward) => self.forward(forward, step.place),
            Step::AddParticipant(add) => {
                self.in_conversation(&add.user, &add.conversation, add.refused.is_some());
                self.known_person(&add.who);
                if add.refused.is_none()
                    && let Some(known) = self.known.conversations.get_mut(add.conversation.as_str())
                    && !known.participants.contains(&add.who.as_str())
                {
                    known.participants.push(add.who.as_str());
                }
            }
            Step::RemoveParticipant(remove) => {
                self.in_conversation(&remove.user, &remove.conversation, remove.refused.is_some());
                if self.known_person(&remove.who) && remove.refused.is_none() {
                    self.goes(&remove.who, remove.conversation.as_str());
                }
            }
            Step::Leave(leave) => {
                self.of_conversation(leave);
                if leave.refused.is_none() {
                    self.goes(&leave.user, leave.conversation.as_str());
                }
            }
            Step::Unmute(one) | Step::Archive(one) | Step::Unarchive(one) => self.of_conversation(one),
            Step::Mute(mute) => {
                self.in_conversation(&mute.user, &mute.conversation, mute.refused.is_some());
                if let Some(period) = mute.period.as_ref().filter(|period| period.0.subsec_nanos() != 0) {
                    let problem = Problem::new(period.place, "a conversation is muted for whole seconds");
                    self.problems.push(problem.expected("a duration such as 90s, 5 min or 2h"));
                }
            }
            Step::Upload(upload) => {
                self.acts(&upload.user);
                self.new_upload(&upload.id, self.person(&upload.user));
            }
            Step::Wait(wait) => {
                self.known_user(&wait.user);
                if let Some(message) = &wait.message {
                    self.known_message(message, wait.conversation.as_ref());
                }
                if let Some(conversation) = &wait.conversation {
                    self.known_conversation(conversation);
                }
                self.connected(wait.user.as_str(), wait.user.place);
            }
            Step::ExpectAck(expect) => {
                self.known_send(&expect.message);
                if let (Some(error), false) = (&expect.error, expect.state.0 == AckState::Rejected) {
                    self.problems.push(
                        Problem::new(error.place, format!("a `{}` ACK carries no error", expect.state.0.as_str()))
                            .expected("`state: rejected` where there is an `error`"),
                    );
                }
            }
            Step::ExpectView(expect) => {
                self.viewers(&expect.users, step.place);
                self.known_conversation(&expect.conversation);
                self.one_of(
                    step.place,
                    &[("exactly", expect.exactly.is_some()), ("contains", expect.contains.is_some())],
                );
                for list in [&expect.exactly, &expect.contains].into_iter().flatten() {
                    self.messages_in(list, Some(&expect.conversation));
                }
            }
            Step::ExpectMessage(expect) => self.expect_message(expect, step.place),
            Step::ExpectHistory(expect) => {
                self.in_conversation(&expect.user, &expect.conversation, expect.refused.is_some());
                self.one_of(
                    step.place,
                    &[
                        ("exactly", expect.exactly.is_some()),
                        ("contains", expect.contains.is_some()),
                        ("refused", expect.refused.is_some()),
                    ],
                );
                for list in [&expect.exactly, &expect.contains].into_iter().flatten() {
                    self.messages_in(list, Some(&expect.conversation));
                }
            }
            Step::ExpectConversation(expect) => {
                self.viewers(&expect.users, step.place);
                self.known_conversation(&expect.conversation);
                for user in expect.participants.iter().flatten().chain(&expect.owner) {
                    self.known_person(user);
                }
                let participants = expect.participants.iter().flatten();
                self.no_duplicates(participants.map(|user| (user.as_str(), user.place)), "`participants`");
                self.something(
                    step.place,
                    &[
                        ("participants", expect.participants.is_some()),
                        ("owner", expect.owner.is_some()),
                        ("muted", expect.muted.is_some()),
                        ("archived", expect.archived.is_some()),
                    ],
                );
            }
            Step::ExpectConversations(expect) => {
                self.acts(&expect.user);
                self.one_of(
                    step.place,
                    &[
                        ("exactly", expect.exactly.is_some()),
                        ("contains", expect.contains.is_some()),
                        ("refused", expect.refused.is_some()),
                    ],
                );
                for list in [&expect.exactly, &expect.contains].into_iter().flatten() {
                    for name in list {
                        self.known_conversation(name);
                    }
                    self.no_duplicates(list.iter().map(|name| (name.as_str(), name.place)), "this list");
                }
            }
            Step::ExpectSearch(expect) => {
                self.acts(&expect.user);
                if let Some(conversation) = &expect.conversation {
                    self.in_conversation(&expect.user, conversation, expect.refused.is_some());
                }
                self.one_of(
                    step.place,
                    &[
                        ("exactly", expect.exactly.is_some()),
                        ("contains", expect.contains.is_some()),
                        ("refused", expect.refused.is_some()),
                    ],
                );
                for list in [&expect.exactly, &expect.contains].into_iter().flatten() {
                    self.messages_in(list, expect.conversation.as_ref());
                }
            }
            Step::ExpectStored(expect) => self.expect_stored(expect, step.place),
            Step::ExpectCached(expect) => {
                self.known_conversation(&expect.conversation);
                let Some(ttl) = &expect.ttl else { return };
                if !expect.present {
                    self.problem(ttl.place, "an entry that is not there has no `ttl`");
                }
                self.bounds(
                    ttl.place,
                    "ttl",
                    ttl.at_least.as_ref().map(|at| at.0),
                    ttl.at_most.as_ref().map(|at| at.0),
                );
            }
            Step::ExpectLog(expect) => {
                self.one_of(
                    step.place,
                    &[("message", expect.message.is_some()), ("conversation", expect.conversation.is_some())],
                );
                if let Some(message) = &expect.message {
                    self.known_message(message, None);
                }
                if let Some(conversation) = &expect.conversation {
                    self.known_conversation(conversation);
                }
            }
            Step::Drop(user) => {
                self.acts(user);
                self.known.dropped.insert(user.as_str(), user.place);
            }
            Step::Reconnect(user) => {
                if self.known_user(user) && self.known.dropped.remove(user.as_str()).is_none() {
                    self.problem(user.place, format!("`{}` is connected here", user.as_str()));
                }
            }
            Step::Connect(connect) => self.connect(connect),
            Step::ReadSlowly(slow) => {
                self.acts(&slow.user);
                for period in [&slow.every, &slow.lasts].into_iter().flatten().filter(|period| period.0.is_zero()) {
                    self.problem(period.place, "this is no time at all");
                }
            }
            Step::ReadOn(user) => self.acts(user),
            Step::Flood(flood) => self.flood(flood),
            Step::Request(request) => self.request(request),
            Step::Frame(frame) => self.frame(frame, step.place),
            Step::Fault(fault) => self.problems.extend(fault.problems()),
            Step::Advance(by) => {
                if by.0.is_zero() {
                    self.problem(by.place, "the clock is advanced by nothing");
                }
            }
            // The steps of blocks are checked one by one.
            Step::Parallel(_)
            | Step::Repeat(_)
            | Step::For(_)
            | Step::Include(_)
            | Step::ExpectDeadLetters(_)
            | Step::ExpectBreaker(_)
            | Step::Heal(_)
            | Step::Mark(_) => {}
        }
    }

    fn send(&mut self, send: &'f Send, place: Place) {
        self.acts(&send.user);
        self.known_conversation(&send.to);
        if let Some(original) = &send.reply_to {
            self.known_message(original, Some(&send.to));
        }
        self.known_media(&send.media);
        if send.text.is_none() && send.media.is_empty() {
            self.problems.push(Problem::new(place, "the message says nothing").expected("`text` or `media`"));
        }
        if send.refused.is_none() {
            let others: Vec<_> = send
                .media
                .iter()
                .filter_map(|name| Some((name, *self.known.media.get(name.as_str())?)))
                .filter(|(_, owner)| *owner != self.person(&send.user))
                .collect();
            for (name, owner) in others {
                let what = format!("`{}` was uploaded by `{owner}`", name.as_str());
                let expected = "an upload of the sender's, or `refused: media_invalid` in this step";
                self.problems.push(Problem::new(name.place, what).expected(expected));
            }
        }
        self.participates(&send.user, send.to.as_str(), send.refused.is_some());
        if let Some(id) = &send.id {
            let known = KnownMessage {
                conversation: send.to.as_str(),
                sender: send.user.as_str(),
                // What has an unknown outcome may be there.
                refused: send.refused.as_ref().is_some_and(|code| code.0 != ErrorCode::OutcomeUnknown),
                is_copy: false,
            };
            self.new_message(id, known);
        }
    }

    fn connect(&mut self, connect: &'f Connect) {
        let is_known = self.known_person(&connect.user);
        let device = &connect.device;
        let others = self.known.devices.get(device.as_str()).is_some_and(|of| *of != connect.user.as_str());
        if self.is_person(device) || others {
            let problem = Problem::new(device.place, format!("`{}` is somebody already", device.as_str()));
            self.problems
                .push(problem.expected(format!("a name of its own, such as `{}.phone`", connect.user.as_str())));
        } else if is_known {
            self.known.devices.insert(device.as_str(), connect.user.as_str());
            self.known.dropped.remove(device.as_str());
        }
    }

    fn flood(&mut self, flood: &'f Flood) {
        self.acts(&flood.user);
        self.known_conversation(&flood.to);
        let outside = [ErrorCode::NotFound, ErrorCode::NotParticipant];
        let may_be_outside = flood.may_be_refused.iter().any(|code| outside.contains(&code.0));
        self.participates(&flood.user, flood.to.as_str(), may_be_outside);
        let all =
            [("delivered", &flood.delivered), ("rate_limited", &flood.rate_limited), ("overloaded", &flood.overloaded)];
        for (name, bounds) in all {
            let Some(bounds) = bounds else { continue };
            let (least, most) =
                (bounds.at_least.as_ref().map(|at| at.value.0), bounds.at_most.as_ref().map(|at| at.value.0));
            self.bounds(bounds.place, name, least, most);
        }
    }

    /// Two limits of one figure.
    fn bounds<T: PartialOrd>(&mut self, place: Place, name: &str, least: Option<T>, most: Option<T>) {
        match (least, most) {
            (None, None) => {
                let problem = Problem::new(place, format!("`{name}` limits nothing"));
                self.problems.push(problem.expected("`at_least`, `at_most` or both"));
            }
            (Some(least), Some(most)) if least > most => {
                self.problem(place, format!("`{name}` cannot be at least that and at most this"));
            }
            _ => {}
        }
    }

    fn request(&mut self, request: &'f RawRequest) {
        self.acts(&request.user);
        if let Some(says) = request.says.as_ref().filter(|_| request.refused.is_none()) {
            self.problems.push(
                Problem::new(says.place, "only a refusal has a sentence").expected("`refused` where there is `says`"),
            );
        }
        if let Some(padding) = request.padding.as_ref().filter(|_| !request.payload.0.is_object()) {
            self.problems.push(Problem::new(padding.place, "only a block can have one more field"));
        }
        let place = request.payload.place;
        for (kind, name) in ids_in(&request.payload.0) {
            let Ok(name) = name.parse().map(|value| At { value, place }) else {
                self.problem(place, format!("`$({kind}:{name})` names no {kind}"));
                continue;
            };
            match kind.as_str() {
                "conversation" => self.known_conversation(&name),
                "message" => self.known_message(&name, None),
                _ => self.known_upload(&name),
            }
        }
    }

    fn frame(&mut self, frame: &'f Frame, place: Place) {
        self.acts(&frame.user);
        self.one_of(place, &[("text", frame.text.is_some()), ("bytes", frame.bytes.is_some())]);
        if let Some(reason) = frame.reason.as_ref().filter(|_| !frame.then.0) {
            self.problems.push(
                Problem::new(reason.place, "a connection that stays has no reason to close")
                    .expected("`then: closed` where there is a `reason`"),
            );
        }
        if frame.then.0 {
            self.known.dropped.insert(frame.user.as_str(), frame.user.place);
        }
    }

    fn forward(&mut self, forward: &'f Forward, place: Place) {
        let is_refused = forward.refused.is_some();
        self.acts(&forward.user);
        for name in &forward.messages {
            self.known_message(name, None);
            if let Some(known) = self.known.messages.get(name.as_str()) {
                let conversation = known.conversation;
                self.participates(&forward.user, conversation, is_refused);
            }
        }
        self.no_duplicates(forward.messages.iter().map(|name| (name.as_str(), name.place)), "`messages`");
        for name in &forward.to {
            self.known_conversation(name);
            self.participates(&forward.user, name.as_str(), is_refused);
        }
        self.no_duplicates(forward.to.iter().map(|name| (name.as_str(), name.place)), "`to`");
        if !is_refused && (forward.messages.is_empty() || forward.to.is_empty()) {
            let problem = Problem::new(place, "nothing is forwarded");
            self.problems.push(problem.expected("at least one of `messages` and one conversation in `to`"));
        }
        let Some(ids) = &forward.ids else { return };
        let copies = forward.messages.len() * forward.to.len();
        if ids.len() != copies {
            let place = ids.first().map_or(place, |id| id.place);
            let what = format!("{copies} copies need {copies} names, not {}", ids.len());
            let problem = Problem::new(place, what);
            self.problems.push(problem.expected("one name for each message in each conversation of `to`"));
        }
        self.no_duplicates(ids.iter().map(|name| (name.as_str(), name.place)), "`ids`");
        for (index, id) in ids.iter().enumerate() {
            let target = forward.to.get(index / forward.messages.len().max(1));
            let Some(target) = target.or(forward.to.last()) else { continue };
            let known = KnownMessage {
                conversation: target.as_str(),
                sender: forward.user.as_str(),
                refused: is_refused,
                is_copy: true,
            };
            self.new_message(id, known);
        }
    }

    fn expect_message(&mut self, expect: &'f ExpectMessage, place: Place) {
        self.viewers(&expect.users, place);
        self.known_message(&expect.message, None);
        if let Some(media) = &expect.media {
            self.known_media(media);
        }
        self.reactions(expect.reactions.as_ref());
        self.present_or_absent(
            place,
            expect.absent.as_ref(),
            &[
                ("text", expect.text.is_some()),
                ("edited", expect.edited.is_some()),
                ("deleted", expect.deleted.is_some()),
                ("reactions", expect.reactions.is_some()),
                ("media", expect.media.is_some()),
            ],
        );
    }

    fn expect_stored(&mut self, expect: &'f ExpectStored, place: Place) {
        self.known_message(&expect.message, None);
        if let Some(media) = &expect.media {
            self.known_media(media);
        }
        self.reactions(expect.reactions.as_ref());
        self.present_or_absent(
            place,
            expect.absent.as_ref(),
            &[
                ("text", expect.text.is_some()),
                ("edits", expect.edits.is_some()),
                ("deleted", expect.deleted.is_some()),
                ("reactions", expect.reactions.is_some()),
                ("media", expect.media.is_some()),
                ("media_state", expect.media_state.is_some()),
            ],
        );
    }

    /// A message that is not there has nothing more to be expected of. That it is there is enough.
    fn present_or_absent(&mut self, place: Place, absent: Option<&At<bool>>, given: &[(&str, bool)]) {
        let Some(absent) = absent else {
            let given: Vec<_> = given.iter().copied().chain([("absent", false)]).collect();
            return self.something(place, &given);
        };
        if let Some((name, _)) = given.iter().find(|(_, is)| *is).filter(|_| absent.value) {
            self.problem(absent.place, format!("a message that is not there has no `{name}`"));
        }
    }

    /// At least one of several things is expected.
    fn something(&mut self, place: Place, given: &[(&str, bool)]) {
        if !given.iter().any(|(_, is)| *is) {
            let names: Vec<_> = given.iter().map(|(name, _)| format!("`{name}`")).collect();
            let problem = Problem::new(place, "nothing is expected here");
            self.problems.push(problem.expected(format!("at least one of {}", names.join(", "))));
        }
    }

    fn reactions(&mut self, reactions: Option<&'f At<Reactions>>) {
        let Some(reactions) = reactions else { return };
        for (emoji, users) in &reactions.value {
            if Emoji::new(emoji.as_str()).is_err() {
                self.problems
                    .push(Problem::new(reactions.place, format!("`{emoji}` is not one emoji")).expected("one emoji"));
            }
            for user in users {
                self.known_person(user);
            }
            self.no_duplicates(users.iter().map(|user| (user.as_str(), user.place)), "this list");
        }
    }

    /// Whose views are expected.
    fn viewers(&mut self, users: &'f [At<User>], place: Place) {
        if users.is_empty() {
            self.problem(place, "`users` is empty: nobody's view is expected");
        }
        for user in users {
            self.known_user(user);
        }
        self.no_duplicates(users.iter().map(|user| (user.as_str(), user.place)), "`users`");
    }

    /// Somebody does something with a message.
    fn of_message(&mut self, user: &'f At<User>, message: &'f At<super::Name>, is_refused: bool) {
        self.acts(user);
        self.known_message(message, None);
        if let Some(known) = self.known.messages.get(message.as_str()) {
            let conversation = known.conversation;
            self.participates(user, conversation, is_refused);
        }
    }

    /// Somebody does something with a conversation.
    fn in_conversation(&mut self, user: &'f At<User>, conversation: &At<super::Name>, is_refused: bool) {
        self.acts(user);
        self.known_conversation(conversation);
        self.participates(user, conversation.as_str(), is_refused);
    }

    fn of_conversation(&mut self, one: &'f OfConversation) {
        self.in_conversation(&one.user, &one.conversation, one.refused.is_some());
    }

    /// Somebody is not in a conversation any more.
    fn goes(&mut self, user: &'f At<User>, conversation: &str) {
        let person = self.person(user);
        if let Some(known) = self.known.conversations.get_mut(conversation) {
            known.participants.retain(|participant| *participant != person);
            known.former.push(person);
        }
    }
}
