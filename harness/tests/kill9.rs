//! What was acknowledged as delivered survives `kill -9` (S2), and retrying what was not acknowledged makes one
//! message each (S1.5). A real process, a real signal, several rounds on the same files.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_harness::environment::load_or_create_token_key;
use ackscope_harness::recorder::Recorder;
use ackscope_harness::users::{ConnectOptions, SimulatedUser};
use ackscope_protocol::text::{HistoryLimit, MessageText};
use ackscope_protocol::wire::{AckState, ConversationKind, CreateConversation, History, Message, SendMessage};
use ackscope_protocol::{ConversationId, MessageId, UserId};
use support::Server;

const ROUNDS: u64 = 4;
const NAMES: [&str; 4] = ["dora", "emil", "fay", "gus"];
/// Sends of each user in a round, all without waiting: below the rate limit's burst.
const SENDS: usize = 120;
const LIMIT: Duration = Duration::from_secs(30);

async fn connect(state: &Path, chat: &str) -> Vec<Arc<SimulatedUser>> {
    let key = load_or_create_token_key(&state.join("ackscope/token.key")).unwrap();
    let mut users = Vec::new();
    for name in NAMES {
        let user: UserId = name.parse().unwrap();
        let token = key.sign(&user, Clock::default().now(), Duration::from_hours(1));
        let options = ConnectOptions::new(user, token, chat.to_owned(), Recorder::new(200_000));
        users.push(SimulatedUser::connect(options).await.unwrap());
    }
    users
}

fn message(conversation_id: ConversationId, round: u64, number: usize) -> SendMessage {
    SendMessage {
        conversation_id,
        temp_id: format!("r{round}-{number}").parse().unwrap(),
        text: Some(MessageText::new(format!("round {round}, number {number}")).unwrap()),
        media: Vec::new(),
        reply_to: None,
    }
}

/// Waits until the user's connection is down.
async fn is_down(user: &SimulatedUser) {
    let down = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while user.is_connected() {
            look.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, down).await.unwrap();
}

/// The place a message was delivered at, if its sender was told so.
fn delivered_seq(user: &SimulatedUser, sent: &SendMessage) -> Option<u64> {
    let acks = user.acks(&sent.temp_id, sent.conversation_id);
    acks.iter().find(|seen| seen.ack.state == AckState::Delivered).and_then(|seen| seen.ack.seq)
}

/// Everything in the conversation, oldest first.
async fn history(user: &SimulatedUser, conversation_id: ConversationId) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut cursor = None;
    loop {
        let request = History { conversation_id, limit: HistoryLimit::new(100), cursor, thread: None };
        let page = user.request(&request).await.unwrap().unwrap();
        messages.extend(page.messages);
        cursor = page.next_cursor;
        if cursor.is_none() {
            messages.reverse();
            return messages;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_delivered_survives_kill_9_and_a_retry_makes_one_message() {
    let state = tempfile::tempdir().unwrap();
    let data = state.path().join("data").to_string_lossy().into_owned();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut conversation = None;
    // Everything that must be there: each message's id, its text, and its place once it is known.
    let mut promised: HashMap<MessageId, (String, Option<u64>)> = HashMap::new();
    let mut unacknowledged = 0;

    for round in 0..ROUNDS {
        let server = Server::start(state.path(), &["--data", &data]);
        let users = connect(state.path(), &server.chat).await;
        let conversation_id = if let Some(id) = conversation {
            id
        } else {
            let request = CreateConversation {
                kind: ConversationKind::Group,
                participants: NAMES[1..].iter().map(|name| name.parse().unwrap()).collect(),
                title: None,
            };
            let answer = users[0].request(&request).await.unwrap().unwrap();
            *conversation.insert(answer.conversation.conversation_id)
        };

        // Load from everybody at once; killed as soon as the first user was told of so many.
        let sends: Vec<SendMessage> = (0..SENDS).map(|number| message(conversation_id, round, number)).collect();
        let enough = random.usize(5..SENDS * 3 / 4);
        let load = async {
            let sending = users.iter().map(|user| async {
                for send in &sends {
                    // The connection breaks under some of them: those were never sent.
                    if user.send(send.clone()).await.is_err() {
                        break;
                    }
                }
            });
            futures_util::future::join_all(sending).await;
        };
        let kill = async {
            let told = |view: &ackscope_harness::users::UserView| {
                let count = sends
                    .iter()
                    .filter(|send| {
                        let acks = view.acks(&send.temp_id, conversation_id);
                        acks.iter().any(|seen| seen.ack.state == AckState::Delivered)
                    })
                    .count();
                (count >= enough).then_some(())
            };
            users[0].wait_until(LIMIT, told).await.unwrap();
            server.signal("KILL");
        };
        tokio::join!(load, kill);
        for user in &users {
            is_down(user).await;
        }
        drop(server);

        let mut open = Vec::new();
        for user in &users {
            for send in &sends {
                let id = MessageId::derive(user.user_id(), conversation_id, &send.temp_id);
                match delivered_seq(user, send) {
                    Some(seq) => {
                        promised.insert(id, (send.text.as_deref().unwrap().to_owned(), Some(seq)));
                    }
                    None => open.push((user.user_id().clone(), send.clone())),
                }
            }
        }
        unacknowledged += open.len();

        // The same files again: nothing that was promised is missing, nothing is there twice.
        let server = Server::start(state.path(), &["--data", &data]);
        let users = connect(state.path(), &server.chat).await;
        let before_retry = history(&users[0], conversation_id).await;
        check(&before_retry, &promised, round);

        for (id, send) in &open {
            let user = users.iter().find(|user| user.user_id() == id).unwrap();
            user.send(send.clone()).await.unwrap();
        }
        for (id, send) in &open {
            let user = users.iter().find(|user| user.user_id() == id).unwrap();
            let told = user
                .wait_until(LIMIT, |view| {
                    let acks = view.acks(&send.temp_id, conversation_id);
                    acks.iter().find(|seen| matches!(seen.ack.state, AckState::Delivered)).map(|seen| seen.ack.clone())
                })
                .await
                .unwrap_or_else(|error| panic!("{id} {}: {error}", send.temp_id));
            let derived = MessageId::derive(id, conversation_id, &send.temp_id);
            assert_eq!(told.message_id, Some(derived), "the first one's message_id");
            promised.insert(derived, (send.text.as_deref().unwrap().to_owned(), told.seq));
        }
        let after_retry = history(&users[1], conversation_id).await;
        check(&after_retry, &promised, round);
        assert_eq!(after_retry.len(), promised.len(), "round {round}: every send is one message");
        // What was there keeps its place.
        let places: HashMap<_, _> = after_retry.iter().map(|message| (message.message_id, message.seq)).collect();
        for message in &before_retry {
            assert_eq!(places.get(&message.message_id), Some(&message.seq), "round {round}");
        }
        server.signal("KILL");
    }
    assert_eq!(promised.len(), ROUNDS as usize * NAMES.len() * SENDS);
    println!("{} messages, {unacknowledged} of them retried after a kill", promised.len());
}

#[track_caller]
fn check(history: &[Message], promised: &HashMap<MessageId, (String, Option<u64>)>, round: u64) {
    let ids: HashSet<_> = history.iter().map(|message| message.message_id).collect();
    assert_eq!(ids.len(), history.len(), "round {round}: a message is there twice");
    assert!(history.windows(2).all(|pair| pair[0].seq < pair[1].seq), "round {round}: the order has a knot");
    let by_id: HashMap<_, _> = history.iter().map(|message| (message.message_id, message)).collect();
    for (id, (text, seq)) in promised {
        let Some(message) = by_id.get(id) else {
            panic!("round {round}: {text:?} was delivered and is lost");
        };
        assert_eq!(message.text.as_deref(), Some(text.as_str()), "round {round}");
        if let Some(seq) = seq {
            assert_eq!(message.seq, *seq, "round {round}: {text:?} has another place than its ACK said");
        }
    }
}
