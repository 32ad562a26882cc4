//! Random histories of eight users end the same way in the service as in a model of the rules (S1.2, S1.3): who is in
//! which conversation, what everybody sees there, and what every request was answered on the way.
//!
//! `PROPTEST_CASES` says how many histories; a failing one is made short and told step by step.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "model/actions.rs"]
mod actions;
#[path = "model/reference.rs"]
mod reference;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackscope_core::limits::Limits;
use ackscope_core::node::Backend;
use ackscope_harness::users::SimulatedUser;
use ackscope_protocol::text::{ConversationLimit, Emoji, HistoryLimit, MessageText, Title};
use ackscope_protocol::wire::{
    self, AddParticipant, ArchiveConversation, CreateConversation, DeleteMessage, EditMessage, ForwardMessages,
    LeaveConversation, ListConversations, MessageRef, MuteConversation, React, RemoveParticipant, Request, SendMessage,
    ServerEvent, UnarchiveConversation, UnmuteConversation, Unreact,
};
use ackscope_protocol::{ConversationId, ErrorCode, MessageId, Timestamp, UserId};
use ackscope_tests::contract::eventually;
use ackscope_tests::faulty::FaultyMessages;
use ackscope_tests::node::TestNode;
use ackscope_tests::people::{PATIENCE, patient_limits};
use futures_util::future::try_join_all;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::{FileFailurePersistence, TestCaseError, TestError, TestRunner};
use uuid::Uuid;

use self::actions::{History, USERS, histories};
use self::reference::{Model, Named, Outcome, Span, Step};

/// Histories of one run unless `PROPTEST_CASES` says another number.
const CASES: u32 = 24;
/// Small pages, so that lists have several.
const PAGE: u32 = 7;

/// The service, for all histories: each has users and conversations of its own.
struct Stage {
    node: TestNode,
    messages: Arc<FaultyMessages>,
    histories: AtomicUsize,
}

impl Stage {
    async fn open() -> Self {
        // What is tested is what is answered, not how much or how fast.
        let limits = Limits {
            events_per_sec: 1_000_000,
            events_burst: 1_000_000,
            forward_deadline: Duration::from_secs(10),
            ..patient_limits()
        };
        let mut messages = None;
        let node = TestNode::start_on(limits, |backend| {
            let faulty = FaultyMessages::new(backend.messages.clone());
            messages = Some(Arc::clone(&faulty));
            Backend { messages: faulty, ..backend }
        })
        .await;
        Self { node, messages: messages.unwrap(), histories: AtomicUsize::new(0) }
    }

    /// Plays a history. The error tells the steps and what was not as in the model.
    async fn play(&self, history: &History) -> Result<(), String> {
        let number = self.histories.fetch_add(1, Ordering::Relaxed);
        let names: Vec<UserId> = (0..USERS).map(|user| format!("h{number}-u{user}").parse().unwrap()).collect();
        let mut users = Vec::new();
        for name in &names {
            users.push(self.node.connect(name.as_str()).await);
        }
        self.is_persisted().await;
        if history.is_store_off {
            self.messages.switch_off();
        }
        let mut play = Play { stage: self, users, model: Model::new(names), steps: String::new() };
        let result = play.whole(history).await;
        self.messages.switch_on();
        let users = play.users.iter().map(|user| user.disconnect());
        futures_util::future::join_all(users).await;
        result.map_err(|problem| format!("{problem}\n\nThe history ({}):\n{}", play.title(history), play.steps))
    }

    async fn is_persisted(&self) {
        eventually("everything is persisted", async || self.node.node.unpersisted() == 0).await;
    }
}

/// What a request was answered, as far as the model knows of it.
enum Told {
    Conversation(wire::Conversation),
    Sent(wire::Sent),
    Message(wire::Message),
    Reactions(wire::Reactions),
    Forwarded(Vec<wire::ForwardedMessage>),
    Done,
}

/// One history on its way.
struct Play<'a> {
    stage: &'a Stage,
    users: Vec<Arc<SimulatedUser>>,
    model: Model,
    /// What happened so far, a line for each step.
    steps: String,
}

impl Play<'_> {
    fn title(&self, history: &History) -> String {
        let store = if history.is_store_off { "off" } else { "on" };
        format!("the store of messages is {store}; users are h…-u0 to h…-u{}", self.users.len() - 1)
    }

    async fn whole(&mut self, history: &History) -> Result<(), String> {
        for action in &history.actions {
            if let Some(step) = self.model.resolve(action) {
                self.step(&step).await?;
            }
        }
        let while_pending = self.compare("before it is persisted").await?;
        self.stage.messages.switch_on();
        self.stage.is_persisted().await;
        let persisted = self.compare("when it is persisted").await?;
        if while_pending == persisted {
            return Ok(());
        }
        Err(format!("persistence changed what is seen\nbefore: {while_pending:#?}\nafter: {persisted:#?}"))
    }

    /// Does a step in the service and in the model, and compares what comes of it.
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        if matches!(step, Step::Mute { .. }) {
            // Two mutes in one millisecond would be the same; whether that is a change is not what is asked here.
            let now = self.now();
            eventually("time goes on", async || self.now() > now).await;
        }
        let seen: Vec<usize> = self.users.iter().map(|user| user.next_index()).collect();
        let from = self.now();
        let answer = self.perform(step).await;
        let span = Span { from, to: self.now() };
        let expected = self.model.apply(step, span);
        let as_text = |outcome: Result<String, ErrorCode>| outcome.unwrap_or_else(|code| code.to_string());
        let line = as_text(answer.as_ref().map(|_| "ok".to_owned()).map_err(|code| *code));
        let _written = writeln!(self.steps, "  {step} → {line}");
        match (expected, answer) {
            (Err(expected), Err(code)) if expected == code => Ok(()),
            (Ok(outcome), Ok(told)) => self.check(step, &outcome, &told, &seen).await,
            (expected, answer) => Err(format!(
                "`{step}` was answered {}, the model says {}",
                as_text(answer.map(|_| "ok".to_owned())),
                as_text(expected.map(|outcome| format!("{outcome:?}")))
            )),
        }
    }

    fn now(&self) -> Timestamp {
        self.stage.node.clock.now()
    }

    fn conversation_id(&self, at: Option<usize>) -> ConversationId {
        let known = at.and_then(|at| self.model.conversations[at].id);
        known.unwrap_or_else(|| ConversationId::from_uuid(Uuid::new_v4()))
    }

    fn message_id(&self, message: Option<usize>) -> MessageId {
        let known = message.and_then(|message| self.model.messages[message].id);
        known.unwrap_or_else(|| MessageId::from_uuid(Uuid::new_v4()))
    }

    fn ids(&self, on: Named) -> (ConversationId, MessageId) {
        (self.conversation_id(on.at), self.message_id(on.message))
    }

    async fn ask<R: Request>(&self, by: usize, request: R) -> Result<R::Answer, ErrorCode> {
        self.users[by].request(&request).await.unwrap().map_err(|error| error.code)
    }

    async fn perform(&self, step: &Step) -> Result<Told, ErrorCode> {
        let user_id = |user: usize| self.users[user].user_id().clone();
        let conversation = |answer: wire::ConversationAnswer| Told::Conversation(answer.conversation);
        match step {
            Step::Create { by, kind, others, title } => {
                let participants = others.iter().map(|other| user_id(*other)).collect();
                let title = title.map(|title| Title::new(title).unwrap());
                self.ask(*by, CreateConversation { kind: *kind, participants, title }).await.map(conversation)
            }
            Step::Add { by, at, who, role } => {
                let conversation_id = self.conversation_id(*at);
                let request = AddParticipant { conversation_id, user_id: user_id(*who), role: *role };
                self.ask(*by, request).await.map(conversation)
            }
            Step::Remove { by, at, who } => {
                let request = RemoveParticipant { conversation_id: self.conversation_id(*at), user_id: user_id(*who) };
                self.ask(*by, request).await.map(conversation)
            }
            Step::Leave { by, at } => {
                let request = LeaveConversation { conversation_id: self.conversation_id(*at) };
                self.ask(*by, request).await.map(|_| Told::Done)
            }
            Step::Mute { by, at, secs } => {
                let request = MuteConversation { conversation_id: self.conversation_id(*at), duration_secs: *secs };
                self.ask(*by, request).await.map(conversation)
            }
            Step::Unmute { by, at } => {
                let request = UnmuteConversation { conversation_id: self.conversation_id(*at) };
                self.ask(*by, request).await.map(conversation)
            }
            Step::Archive { by, at, archived: true } => {
                let request = ArchiveConversation { conversation_id: self.conversation_id(*at) };
                self.ask(*by, request).await.map(conversation)
            }
            Step::Archive { by, at, archived: false } => {
                let request = UnarchiveConversation { conversation_id: self.conversation_id(*at) };
                self.ask(*by, request).await.map(conversation)
            }
            Step::Send { by, at, temp_id, text, reply_to } => {
                let request = SendMessage {
                    conversation_id: self.conversation_id(*at),
                    temp_id: temp_id.parse().unwrap(),
                    text: text.as_ref().map(|text| MessageText::new(text.clone()).unwrap()),
                    media: Vec::new(),
                    reply_to: reply_to.map(|parent| self.message_id(parent.message)),
                };
                self.ask(*by, request).await.map(Told::Sent)
            }
            Step::Edit { by, on, text } => {
                let (conversation_id, message_id) = self.ids(*on);
                let text = MessageText::new(text.clone()).unwrap();
                let answer = self.ask(*by, EditMessage { conversation_id, message_id, text }).await;
                answer.map(|answer| Told::Message(answer.message))
            }
            Step::Delete { by, on, mode } => {
                let (conversation_id, message_id) = self.ids(*on);
                let answer = self.ask(*by, DeleteMessage { conversation_id, message_id, mode: *mode }).await;
                answer.map(|_| Told::Done)
            }
            Step::React { by, on, emoji } => {
                let (conversation_id, message_id) = self.ids(*on);
                let emoji = Emoji::new(*emoji).unwrap();
                let answer = self.ask(*by, React { conversation_id, message_id, emoji }).await;
                answer.map(|answer| Told::Reactions(answer.reactions))
            }
            Step::Unreact { by, on, emoji } => {
                let (conversation_id, message_id) = self.ids(*on);
                let emoji = Emoji::new(*emoji).unwrap();
                let answer = self.ask(*by, Unreact { conversation_id, message_id, emoji }).await;
                answer.map(|answer| Told::Reactions(answer.reactions))
            }
            Step::Forward { by, messages, targets, temp_id } => {
                let name = |named: &Named| {
                    let (conversation_id, message_id) = self.ids(*named);
                    MessageRef { conversation_id, message_id }
                };
                let request = ForwardMessages {
                    messages: messages.iter().map(name).collect(),
                    targets: targets.iter().map(|target| self.conversation_id(*target)).collect(),
                    temp_id: temp_id.parse().unwrap(),
                };
                self.ask(*by, request).await.map(|answer| Told::Forwarded(answer.forwarded))
            }
            Step::Advance { mins } => {
                self.stage.node.clock.advance_ms(mins * 60 * 1_000);
                Ok(Told::Done)
            }
        }
    }

    /// Compares an answer with what the model says, and takes from it the ids of what is new.
    async fn check(&mut self, step: &Step, outcome: &Outcome, told: &Told, seen: &[usize]) -> Result<(), String> {
        let by = step.by();
        match (outcome, told) {
            (Outcome::Done, Told::Done) => Ok(()),
            (Outcome::Conversation(at), Told::Conversation(told)) => {
                self.model.conversations[*at].id.get_or_insert(told.conversation_id);
                let expected = self.model.conversation(*at, by, self.now(), told);
                same(&format!("the answer of `{step}`"), &expected, told)
            }
            (Outcome::Sent(message), Told::Sent(told)) => {
                let known = *self.model.messages[*message].id.get_or_insert(told.message_id);
                same(&format!("the id in the answer of `{step}`"), &known, &told.message_id)
            }
            (Outcome::Message(message), Told::Message(told)) => {
                let expected = self.model.message(*message, by, told);
                same(&format!("the answer of `{step}`"), &expected, told)
            }
            (Outcome::Reactions(message), Told::Reactions(told)) => {
                same(&format!("the answer of `{step}`"), &self.model.reactions(*message), told)
            }
            (Outcome::Forwarded { copies, grown }, Told::Forwarded(told)) => {
                for (target, origin, copy) in copies {
                    let target = self.conversation_id(Some(*target));
                    let named = Named { at: Some(self.model.messages[*origin].at), message: Some(*origin) };
                    let (conversation_id, message_id) = self.ids(named);
                    let origin = MessageRef { conversation_id, message_id };
                    let told = told.iter().find(|told| told.conversation_id == target && told.origin == origin);
                    let Some(told) = told else {
                        return Err(format!("the answer of `{step}` lacks m{copy}"));
                    };
                    let known = *self.model.messages[*copy].id.get_or_insert(told.message_id);
                    same(&format!("the id of m{copy} in the answer of `{step}`"), &known, &told.message_id)?;
                }
                same(&format!("the number of copies in the answer of `{step}`"), &copies.len(), &told.len())?;
                // The origin's count comes with a record of its own, of which the forwarder hears.
                for origin in grown {
                    let (message_id, count) = (self.message_id(Some(*origin)), self.model.copies(*origin));
                    let is_counted = |event: &ServerEvent| {
                        matches!(event, ServerEvent::Edited(edited)
                            if edited.message.message_id == message_id && edited.message.forward_count == count)
                    };
                    let heard = self.users[by].wait_for(seen[by], PATIENCE, is_counted).await;
                    heard.map_err(|error| format!("`{step}`: m{origin} forwarded {count} times: {error}"))?;
                }
                Ok(())
            }
            _ => Err(format!("`{step}` was answered with something else than {outcome:?}")),
        }
    }

    /// Compares what everybody sees with the model, and gives all of it.
    async fn compare(&self, when: &str) -> Result<Vec<Seen>, String> {
        let users = (0..self.users.len()).map(|user| self.compare_user(user, when));
        try_join_all(users).await
    }

    async fn compare_user(&self, user: usize, when: &str) -> Result<Seen, String> {
        let mut seen = Seen::default();
        for archived in [false, true] {
            let what = format!("{when}, the list of u{user} with archived {archived}");
            let told = self.listed(user, archived).await;
            let listed = self.model.listed(user, archived);
            let mut told_ids: Vec<ConversationId> = told.iter().map(|told| told.conversation_id).collect();
            let newest_first =
                told.is_sorted_by(|a, b| (a.created_at, a.conversation_id) > (b.created_at, b.conversation_id));
            same(&format!("{what}: newest first"), &true, &newest_first)?;
            let mut expected: Vec<ConversationId> = listed.iter().map(|at| self.conversation_id(Some(*at))).collect();
            expected.sort_unstable();
            told_ids.sort_unstable();
            same(&what, &expected, &told_ids)?;
            for at in listed {
                let told = told.iter().find(|told| Some(told.conversation_id) == self.model.conversations[at].id);
                let told = told.unwrap();
                same(&format!("{what}: c{at}"), &self.model.conversation(at, user, self.now(), told), told)?;
            }
            seen.conversations.extend(told);
        }
        for at in 0..self.model.conversations.len() {
            let mut threads = vec![None];
            threads.extend(self.model.roots(at).into_iter().map(Some));
            for thread in threads {
                let what = format!("{when}, the history of c{at} for u{user} in thread {thread:?}");
                let told = self.history(user, at, thread).await;
                let visible = self.model.visible(user, at, thread);
                let told_numbers = told.as_ref().map(|told| self.numbers(told)).map_err(|code| *code);
                let expected = visible.as_ref().map(|seen| seen.iter().copied().map(Some).collect());
                same(&what, &expected.map_err(|code| *code), &told_numbers)?;
                let (Ok(told), Ok(visible)) = (told, visible) else { break };
                same(&format!("{what}: the newest first"), &true, &told.is_sorted_by(|a, b| a.seq > b.seq))?;
                for (told, number) in told.iter().zip(visible) {
                    same(&format!("{what}: m{number}"), &self.model.message(number, user, told), told)?;
                }
                seen.messages.extend(told);
            }
        }
        Ok(seen)
    }

    /// The model's numbers of messages.
    fn numbers(&self, told: &[wire::Message]) -> Vec<Option<usize>> {
        let number =
            |told: &wire::Message| self.model.messages.iter().position(|message| message.id == Some(told.message_id));
        told.iter().map(number).collect()
    }

    async fn listed(&self, user: usize, archived: bool) -> Vec<wire::Conversation> {
        let mut request = ListConversations { archived, limit: ConversationLimit::new(3), cursor: None };
        let mut conversations = Vec::new();
        loop {
            let page = self.ask(user, request.clone()).await.unwrap();
            conversations.extend(page.conversations);
            match page.next_cursor {
                Some(cursor) => request.cursor = Some(cursor),
                None => return conversations,
            }
        }
    }

    async fn history(&self, user: usize, at: usize, thread: Option<usize>) -> Result<Vec<wire::Message>, ErrorCode> {
        let mut request = wire::History {
            conversation_id: self.conversation_id(Some(at)),
            limit: HistoryLimit::new(PAGE),
            cursor: None,
            thread: thread.map(|root| self.message_id(Some(root))),
        };
        let mut messages = Vec::new();
        loop {
            let page = self.ask(user, request.clone()).await?;
            messages.extend(page.messages);
            match page.next_cursor {
                Some(cursor) => request.cursor = Some(cursor),
                None => return Ok(messages),
            }
        }
    }
}

/// What one user sees.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    conversations: Vec<wire::Conversation>,
    messages: Vec<wire::Message>,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, told: &T) -> Result<(), String> {
    if expected == told {
        return Ok(());
    }
    Err(format!("{what} is not as in the model\nmodel: {expected:?}\nservice: {told:?}"))
}

#[test]
fn random_histories_end_as_in_the_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stage = runtime.block_on(Stage::open());
    let config = ProptestConfig::default();
    let is_told = std::env::var_os("PROPTEST_CASES").is_some();
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/model.txt");
    let config = ProptestConfig {
        cases: if is_told { config.cases } else { CASES },
        max_shrink_iters: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..config
    };
    let outcome = TestRunner::new(config)
        .run(&histories(), |history| runtime.block_on(stage.play(&history)).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => {}
        // The reason has the history in it, as a person reads it.
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
    runtime.block_on(stage.node.shutdown());
}
