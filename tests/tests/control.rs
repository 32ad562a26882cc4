//! The control server as an interface meets it, and the host around it (S4).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use ackscope_harness::environment::EnvironmentOptions;
use ackscope_harness::host::{Host, HostOptions};
use ackscope_protocol::control::{
    CONTROL_PATH, CONTROL_VERSION, Command, CommandAnswer, TRACE_BATCH_MAX, ToHarness, ToInterface,
};
use ackscope_protocol::text::{MessageText, Title};
use ackscope_protocol::trace::{Happening, TraceEvent};
use ackscope_protocol::wire::{AckState, ConversationKind, ListConversations, ServerEvent};
use ackscope_protocol::{ErrorCode, UserId, WireError};
use ackscope_tests::interface::{Interface, Socket, hear, parts, say};
use ackscope_tests::people::{PATIENCE, id, is_exactly};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use uuid::Uuid;

async fn host() -> Host {
    Host::start(HostOptions { environment: EnvironmentOptions::embedded(), ..HostOptions::default() }).await.unwrap()
}

/// Status line, headers in lower case, and body of a plain request.
async fn http(address: &str, path: &str, host: &str, more: &str) -> (u16, String, String) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tcp.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_sees_the_run_and_acts_in_it() {
    let host = host().await;
    let mut interface = Interface::open(&host).await;
    assert_eq!(interface.environment.chat_url, host.chat_url());
    // The first users and their group come out of the run alone.
    let group = interface
        .wait_for(|event| match &event.what {
            Happening::Answered { conversation: Some(conversation), .. } => Some(conversation.clone()),
            _ => None,
        })
        .await;
    assert!(is_exactly(&group, &["ana", "ben", "cleo"]));
    assert_eq!(group.title.as_deref(), Some("Release team"));

    let sent = interface
        .run(Command::Send {
            user: id("ana"),
            conversation_id: group.conversation_id,
            text: MessageText::new("hello").unwrap(),
            reply_to: None,
            temp_id: None,
        })
        .await
        .unwrap();
    let CommandAnswer::Sent { message_id, temp_id } = sent else { panic!("{sent:?}") };
    for reader in ["ben", "cleo"] {
        let saw = |event: &TraceEvent| match &event.what {
            Happening::Saw { user, event: ServerEvent::New(new) } if user.as_str() == reader => {
                (new.message.message_id == message_id).then_some(())
            }
            _ => None,
        };
        interface.wait_for(saw).await;
    }
    let persisted = |event: &TraceEvent| match &event.what {
        Happening::Saw { event: ServerEvent::Ack(ack), .. } => {
            (ack.temp_id == temp_id && ack.state == AckState::Persisted).then_some(())
        }
        _ => None,
    };
    interface.wait_for(persisted).await;

    assert_eq!(interface.run(Command::AddUser { user: id("dora") }).await, Ok(CommandAnswer::Done));
    let created = interface
        .run(Command::CreateConversation {
            user: id("dora"),
            kind: ConversationKind::Direct,
            participants: vec![id("ana")],
            title: None,
        })
        .await;
    let Ok(CommandAnswer::Created { conversation }) = created else { panic!("{created:?}") };
    assert!(is_exactly(&conversation, &["ana", "dora"]));
    assert_eq!(interface.run(Command::DropConnection { user: id("ben") }).await, Ok(CommandAnswer::Done));
    assert_eq!(interface.run(Command::Reconnect { user: id("ben") }).await, Ok(CommandAnswer::Done));
    assert_eq!(interface.run(Command::AdvanceClock { by_ms: 60_000 }).await, Ok(CommandAnswer::Done));
    interface.wait_for(|event| (event.what == Happening::ClockAdvanced { by_ms: 60_000 }).then_some(())).await;

    let refused = |outcome: Result<CommandAnswer, WireError>| outcome.unwrap_err().code;
    assert_eq!(refused(interface.run(Command::AddUser { user: id("ana") }).await), ErrorCode::InvalidPayload);
    assert_eq!(refused(interface.run(Command::Reconnect { user: id("nobody") }).await), ErrorCode::NotFound);
    say_text(&mut interface, r#"{"type":"command","id":900,"command":{"do":"dance"}}"#).await;
    say_text(&mut interface, "rubbish").await;
    while !interface.replies.contains_key(&900) {
        interface.take_one().await;
    }
    assert_eq!(refused(interface.replies.remove(&900).unwrap()), ErrorCode::InvalidPayload);

    assert!(interface.is_whole(0), "the trace has no holes");
    host.shutdown().await;
}

async fn say_text(interface: &mut Interface, text: &str) {
    interface.socket.send(Message::text(text.to_owned())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_goes_on_where_it_was() {
    let host = host().await;
    let mut first = Interface::open(&host).await;
    first.take_one().await;
    let (run_id, next_index) = (first.run_id, first.events.len() as u64);
    drop(first);
    // More than any buffer on the way takes.
    for number in 0..2_000 {
        host.world().mark(format!("mark {number}"));
    }
    let is_last = |event: &TraceEvent| (event.what == Happening::Mark { text: "mark 1999".into() }).then_some(());
    let mut second = Interface::resume(&host, Some(run_id), next_index).await;
    second.wait_for(is_last).await;
    assert!(second.is_whole(next_index));
    assert_eq!(second.largest_batch, TRACE_BATCH_MAX);
    // Another run's events are of no use: everything comes again.
    let mut third = Interface::resume(&host, Some(Uuid::new_v4()), next_index).await;
    third.wait_for(is_last).await;
    assert!(third.is_whole(0));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_come_in_batches_and_not_one_by_one() {
    let host = host().await;
    let mut interface = Interface::open(&host).await;
    let world = std::sync::Arc::clone(host.world());
    let writer = tokio::spawn(async move {
        for number in 0..3_000 {
            world.mark(format!("live {number}"));
            tokio::task::yield_now().await;
        }
        world.mark("end");
    });
    interface.wait_for(|event| (event.what == Happening::Mark { text: "end".into() }).then_some(())).await;
    writer.await.unwrap();
    assert!(interface.largest_batch > 10, "{}", interface.largest_batch);
    assert!(interface.is_whole(0));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_own_page_with_the_token_gets_in() {
    let host = host().await;
    let (address, token) = parts(&host);
    let (_, port) = address.split_once(':').unwrap();

    let upgrade = |path: String, origin: Option<String>| async move {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match connect_async(request).await {
            Ok(_) => 101,
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    let good = format!("{CONTROL_PATH}?token={token}");
    assert_eq!(upgrade(good.clone(), None).await, 101);
    assert_eq!(upgrade(good.clone(), Some(format!("http://{address}"))).await, 101);
    assert_eq!(upgrade(good.clone(), Some("http://evil.example".into())).await, 403);
    assert_eq!(upgrade(good.clone(), Some("null".into())).await, 403);
    assert_eq!(upgrade(good.clone(), Some(format!("http://localhost:{port}"))).await, 403, "it came by another name");
    for wrong in [String::new(), "?token=".into(), "?token=x".into(), format!("?token={token}0")] {
        assert_eq!(upgrade(format!("{CONTROL_PATH}{wrong}"), None).await, 401, "{wrong}");
    }

    let (status, head, body) = http(address, "/", address, "").await;
    assert_eq!(status, 200);
    assert!(body.contains("Ackscope"), "{body}");
    assert!(!body.contains(token), "the page does not carry the token");
    for header in ["cache-control: no-store", "referrer-policy: no-referrer", "'wasm-unsafe-eval'", "nosniff"] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert_eq!(http(address, "/", &format!("localhost:{port}"), "").await.0, 200);
    for foreign in ["evil.example", "evil.example:80", "127.0.0.1", ""] {
        assert_eq!(http(address, "/", foreign, "").await.0, 421, "{foreign}");
    }
    assert_eq!(http(address, "/../../etc/passwd", address, "").await.0, 404);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_and_silence_are_refused_with_a_sentence() {
    let host = host().await;
    let (address, token) = parts(&host);
    for hello in [
        serde_json::to_string(&ToHarness::Hello { version: CONTROL_VERSION + 1, run_id: None, next_index: 0 }).unwrap(),
        r#"{"type":"command","id":1,"command":{"do":"play_tour"}}"#.to_owned(),
        "rubbish".to_owned(),
    ] {
        let (mut socket, _) = connect_async(format!("ws://{address}{CONTROL_PATH}?token={token}")).await.unwrap();
        socket.send(Message::text(hello.clone())).await.unwrap();
        let said = hear(&mut socket).await;
        assert!(matches!(&said, ToInterface::Refused { reason } if !reason.is_empty()), "{hello}: {said:?}");
    }
    host.shutdown().await;
}

/// A message of Ana's arrives at Ben while whatever else goes on.
async fn the_run_goes_on(host: &Host, interface: &mut Interface) {
    let group = host.world().user(&id("ana")).unwrap().conversations()[0].conversation_id;
    let sent = interface
        .run(Command::Send {
            user: id("ana"),
            conversation_id: group,
            text: MessageText::new("still here").unwrap(),
            reply_to: None,
            temp_id: None,
        })
        .await
        .unwrap();
    let CommandAnswer::Sent { message_id, .. } = sent else { panic!("{sent:?}") };
    let saw = |event: &TraceEvent| match &event.what {
        Happening::Saw { user, event: ServerEvent::New(new) } if user.as_str() == "ben" => {
            (new.message.message_id == message_id).then_some(())
        }
        _ => None,
    };
    interface.wait_for(saw).await;
}

/// Hears until the server ends the connection; gives what it said last.
async fn until_closed(mut socket: Socket) -> Option<ToInterface> {
    let mut last = None;
    let closed = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => last = serde_json::from_str(&text).ok(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the connection stays open");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_ends_one_connection_and_nothing_else() {
    let host = host().await;
    let mut witness = Interface::open(&host).await;
    let (address, token) = parts(&host);
    let open = || async { connect_async(format!("ws://{address}{CONTROL_PATH}?token={token}")).await.unwrap().0 };
    let hundred_megabytes = || vec![b'x'; 100 * 1024 * 1024];

    // Before the hello: a sentence where there is one to say, and the end.
    for first in [Message::text("{"), Message::text("{\"type\":\"hello\"}"), Message::binary(vec![0xff; 100])] {
        let mut socket = open().await;
        socket.send(first.clone()).await.unwrap();
        let said = until_closed(socket).await;
        assert!(matches!(&said, Some(ToInterface::Refused { reason }) if !reason.is_empty()), "{first:?}: {said:?}");
    }
    let mut socket = open().await;
    // It is closed while this is written.
    socket.send(Message::binary(hundred_megabytes())).await.ok();
    until_closed(socket).await;
    the_run_goes_on(&host, &mut witness).await;

    // After it: texts that are no command are passed over, whatever else ends the connection.
    let mut hostile = Interface::open(&host).await;
    let deep = "[".repeat(100_000);
    for rubbish in ["", "{}", "null", "{\"type\":\"command\"}", "\u{0}\u{feff}", deep.as_str()] {
        say_text(&mut hostile, rubbish).await;
    }
    say_text(&mut hostile, r#"{"type":"command","id":77,"command":{"do":"advance_clock","by_ms":-1}}"#).await;
    while !hostile.replies.contains_key(&77) {
        hostile.take_one().await;
    }
    assert_eq!(hostile.replies.remove(&77).unwrap().unwrap_err().code, ErrorCode::InvalidPayload);
    say(&mut hostile.socket, &ToHarness::Hello { version: CONTROL_VERSION, run_id: None, next_index: 0 }).await;
    assert!(hostile.run(Command::AdvanceClock { by_ms: 1 }).await.is_ok(), "a second hello changes nothing");
    hostile.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    until_closed(hostile.socket).await;
    let mut hostile = Interface::open(&host).await;
    hostile.socket.send(Message::text(String::from_utf8(hundred_megabytes()).unwrap())).await.ok();
    until_closed(hostile.socket).await;
    the_run_goes_on(&host, &mut witness).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_or_never_speaks_gives_the_place_back() {
    let host = host().await;
    let (address, token) = parts(&host);
    let url = format!("ws://{address}{CONTROL_PATH}?token={token}");
    let mut witness = Interface::open(&host).await;
    let mut others = tokio::task::JoinSet::new();
    while others.len() < 13 {
        let mut other = Interface::open(&host).await;
        others.spawn(async move {
            let over = Happening::Mark { text: "over".into() };
            let mut next_index = 0;
            loop {
                other.take_one().await;
                assert!(other.is_whole(next_index), "everybody sees all of the run");
                if other.events.values().any(|event| event.what == over) {
                    return;
                }
                next_index += other.events.len() as u64;
                other.events.clear();
            }
        });
    }
    let (silent, _) = connect_async(&url).await.unwrap();
    let deaf = Interface::open(&host).await;
    let refused = || async {
        match connect_async(&url).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(refused().await.err(), Some(503), "every place is taken");
    // More than any buffer on the way takes.
    for number in 0..2_000 {
        host.world().mark(format!("{number} {}", "x".repeat(10_000)));
    }
    the_run_goes_on(&host, &mut witness).await;

    let said = until_closed(silent).await;
    assert!(matches!(&said, Some(ToInterface::Refused { reason }) if reason.contains("hello")), "{said:?}");
    // Two places come back: that of the silent one and that of the deaf one, which is still there and reads nothing.
    let mut back = Vec::new();
    let both = async {
        while back.len() < 2 {
            match refused().await {
                Ok(socket) => back.push(socket),
                Err(status) => {
                    assert_eq!(status, 503);
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, both).await.expect("the places are not given back");
    the_run_goes_on(&host, &mut witness).await;
    host.world().mark("over");
    while let Some(seen) = tokio::time::timeout(PATIENCE, others.join_next()).await.unwrap() {
        seen.unwrap();
    }
    drop(deaf);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_announced_and_leaves_nothing() {
    let host = host().await;
    let mut interface = Interface::open(&host).await;
    let shutting = tokio::spawn(host.shutdown());
    let closing = async {
        loop {
            match hear(&mut interface.socket).await {
                ToInterface::Closing { reason } => return reason,
                ToInterface::Trace { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(!tokio::time::timeout(PATIENCE, closing).await.unwrap().is_empty());
    tokio::time::timeout(PATIENCE, shutting).await.unwrap().unwrap();
}

/// The embedded backend with files that stay.
fn kept(data: &std::path::Path) -> EnvironmentOptions {
    EnvironmentOptions { data: Some(data.to_owned()), ..EnvironmentOptions::embedded() }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_files_bring_the_group_and_its_messages_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("runs");
    let options = || HostOptions { environment: kept(&data), ..HostOptions::default() };
    let first = Host::start(options()).await.unwrap();
    let second = Host::start(options()).await.unwrap_err().to_string();
    assert!(second.contains("in use"), "{second}");

    let ana: UserId = id("ana");
    let list = ListConversations::default();
    let before = first.world().user(&ana).unwrap().request(&list).await.unwrap().unwrap().conversations;
    assert_eq!(before.len(), 1);
    let message = ackscope_tests::people::message(before[0].conversation_id, "kept", "kept");
    ackscope_tests::people::deliver(&first.world().user(&ana).unwrap(), message).await;
    first.world().quiesce(PATIENCE).await.unwrap();
    first.shutdown().await;

    let again = Host::start(options()).await.unwrap();
    let after = again.world().user(&ana).unwrap().request(&list).await.unwrap().unwrap().conversations;
    let ids = |list: &[ackscope_protocol::wire::Conversation]| {
        list.iter().map(|conversation| conversation.conversation_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&after), ids(&before), "the group is found, not made twice");
    let ben = again.world().user(&id("ben")).unwrap();
    let history = ackscope_tests::people::history(&ben, after[0].conversation_id).await;
    assert_eq!(history[0].text.as_deref(), Some("kept"));
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_start_leaves_nothing_behind() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("runs");
    for options in [
        HostOptions { ui: Some(address), environment: kept(&data), ..HostOptions::default() },
        HostOptions { chat: address, environment: kept(&data), ..HostOptions::default() },
    ] {
        let error = Host::start(options).await.unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains(&address.to_string()), "{error}");
    }
    let options = HostOptions { environment: kept(&data), group: Title::new("Other").ok(), ..HostOptions::default() };
    tokio::time::timeout(Duration::from_secs(20), Host::start(options)).await.unwrap().unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_plays_one_at_a_time_and_as_often_as_one_likes() {
    let host = host().await;
    let mut interface = Interface::open(&host).await;
    for _ in 0..2 {
        let first = interface.start(Command::PlayTour).await;
        let second = interface.run(Command::PlayTour).await;
        assert_eq!(second.unwrap_err().code, ErrorCode::Overloaded);
        while !interface.replies.contains_key(&first) {
            interface.take_one().await;
        }
        assert_eq!(interface.replies.remove(&first), Some(Ok(CommandAnswer::Done)));
    }
    host.world().quiesce(PATIENCE).await.unwrap();
    host.shutdown().await;
}
