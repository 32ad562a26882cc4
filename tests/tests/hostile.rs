//! Clients that do not behave: every wrong thing is answered with a code of S1.8 or closed with a reason, and
//! everybody else's messages go on (S1.1, S1.4).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::limits::Limits;
use ackscope_harness::socketio::{
    ConnectError, Connection, ConnectionOptions, DisconnectReason, Handler, Malformed, Payload,
};
use ackscope_harness::users::{ConnectOptions, SimulatedUser, UserError, UserView, refusal_code};
use ackscope_harness::world::World;
use ackscope_protocol::wire::{AckState, NAMESPACE};
use ackscope_protocol::{ConversationId, ErrorCode};
use ackscope_tests::files;
use ackscope_tests::node::TestNode;
use ackscope_tests::people::{
    PATIENCE, connect, deliver, group, history, id, message, patient_limits, see, world_with,
};
use serde_json::{Value, json};
use uuid::Uuid;

/// A victim, a witness and somebody hostile, in one group.
struct Scene {
    world: World,
    ana: Arc<SimulatedUser>,
    ben: Arc<SimulatedUser>,
    mallory: Arc<SimulatedUser>,
    group: ConversationId,
}

impl Scene {
    async fn open() -> Self {
        Self::open_with(patient_limits()).await
    }

    /// At any rate: what is tested is the payload.
    async fn open_unhurried() -> Self {
        let limits = Limits { events_per_sec: 1_000_000, events_burst: 1_000_000, ..patient_limits() };
        Self::open_with(limits).await
    }

    async fn open_with(limits: Limits) -> Self {
        let world = world_with(limits).await;
        let [ana, ben, mallory] = connect(&world, ["ana", "ben", "mallory"]).await;
        let group = group(&ana, &[&ben, &mallory]).await;
        Self { world, ana, ben, mallory, group }
    }

    /// Others' messages still go through.
    async fn goes_on(&self) {
        let name = Uuid::new_v4().to_string();
        let sent = deliver(&self.ana, message(self.group, &name, "still here")).await;
        see(&self.ben, sent).await;
        assert!(self.ana.is_connected() && self.ben.is_connected());
    }

    async fn mallory_is_back(&self) {
        if !self.mallory.is_connected() {
            self.world.reconnect(self.mallory.user_id()).await.unwrap();
        }
    }
}

/// The error of an answer, which must be one of S1.8, with a sentence.
fn error_of(answer: &Value) -> (ErrorCode, String) {
    assert_eq!(answer["ok"], false, "{answer}");
    let code = answer["error"]["code"].as_str().unwrap().parse().unwrap();
    let sentence = answer["error"]["message"].as_str().unwrap().to_owned();
    assert!(!sentence.is_empty() && answer["error"]["retryable"].is_boolean(), "{answer}");
    (code, sentence)
}

struct Deaf;

impl Handler for Deaf {
    fn on_event(&self, _: Instant, _: &str, _: Payload<'_>) {}
    fn on_answer(&self, _: Instant, _: u64, _: Payload<'_>) {}
    fn on_malformed(&self, _: Instant, _: &Malformed) {}
    fn on_down(&self, _: Instant, _: &DisconnectReason) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_token_that_holds() {
    let scene = Scene::open().await;
    let url = scene.world.chat_url();
    for auth in [
        json!(null),
        json!({}),
        json!([]),
        json!("token"),
        json!(5),
        json!({ "token": null }),
        json!({ "token": 5 }),
        json!({ "token": ["a"] }),
        json!({ "token": { "$ne": null } }),
        json!({ "token": "" }),
        json!({ "token": "x".repeat(100_000) }),
    ] {
        let opened = Connection::open(url, NAMESPACE, &auth, &ConnectionOptions::default(), Arc::new(Deaf)).await;
        let Err(ConnectError::Refused { message, .. }) = opened else { panic!("{auth}: {opened:?}") };
        assert!(message.starts_with("unauthenticated"), "{auth}: {message}");
    }

    let good = scene.world.token(&id("eve"));
    let mut parts: Vec<&str> = good.split('.').collect();
    // {"alg":"none","typ":"JWT"} and {"sub":"ana","exp":9999999999}
    let (none, ana) = ("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJzdWIiOiJhbmEiLCJleHAiOjk5OTk5OTk5OTl9");
    let unsigned = [format!("{none}.{ana}."), format!("{none}.{ana}"), format!("{none}.{ana}.{}", parts[2])];
    // Eve's signature under Ana's claims.
    parts[1] = ana;
    let forged = parts.join(".");
    let foreign = ackscope_core::token::TokenKey::generate().sign(
        &id("ana"),
        scene.world.business_now(),
        Duration::from_hours(1),
    );
    let expired = good.clone();
    let connect_with = |token: String| {
        let (url, recorder) = (url.to_owned(), scene.world.recorder().clone());
        async move { SimulatedUser::connect(ConnectOptions::new(id("eve"), token, url, recorder)).await }
    };
    connect_with(good.clone()).await.unwrap().disconnect().await;
    for token in unsigned.into_iter().chain([forged, foreign]) {
        let error = connect_with(token.clone()).await.unwrap_err();
        assert_eq!(refusal_code(&error), Some(ErrorCode::Unauthenticated), "{token}: {error}");
    }
    scene.world.advance_clock(Duration::from_hours(24 * 366).as_millis() as u64);
    let error = connect_with(expired).await.unwrap_err();
    assert_eq!(refusal_code(&error), Some(ErrorCode::Unauthenticated), "expired: {error}");
    scene.goes_on().await;
    scene.world.shutdown().await;
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Number,
    Bool,
    List,
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_in_any_field_are_refused_by_the_fields_name() {
    let scene = Scene::open_unhurried().await;
    let (mallory, group) = (&scene.mallory, scene.group.to_string());
    let send = json!({ "conversation_id": group, "temp_id": "t", "text": "x", "media": [], "reply_to": group });
    let of_message = |more: Value| {
        let mut payload = json!({ "conversation_id": group, "message_id": group });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        payload
    };
    let here = json!({ "conversation_id": group });
    let events = [
        ("message:send", send.clone(), "conversation_id temp_id"),
        ("sendMessage", send, "conversation_id temp_id"),
        ("message:edit", of_message(json!({ "text": "x" })), "conversation_id message_id text"),
        ("message:delete", of_message(json!({ "mode": "soft" })), "conversation_id message_id mode"),
        ("message:forward", json!({ "messages": [], "targets": [group], "temp_id": "t" }), "messages targets temp_id"),
        ("message:react", of_message(json!({ "emoji": "👍" })), "conversation_id message_id emoji"),
        ("message:unreact", of_message(json!({ "emoji": "👍" })), "conversation_id message_id emoji"),
        (
            "message:history",
            json!({ "conversation_id": group, "limit": 5, "cursor": "c", "thread": group }),
            "conversation_id",
        ),
        ("conversation:create", json!({ "kind": "group", "participants": ["ana"], "title": "t" }), "kind participants"),
        ("conversation:list", json!({ "archived": false, "limit": 5, "cursor": "c" }), "archived"),
        (
            "conversation:add_participant",
            json!({ "conversation_id": group, "user_id": "eve", "role": "member" }),
            "conversation_id user_id",
        ),
        (
            "conversation:remove_participant",
            json!({ "conversation_id": group, "user_id": "eve" }),
            "conversation_id user_id",
        ),
        ("conversation:leave", here.clone(), "conversation_id"),
        ("conversation:mute", json!({ "conversation_id": group, "duration_secs": 5 }), "conversation_id"),
        ("conversation:unmute", here.clone(), "conversation_id"),
        ("conversation:archive", here.clone(), "conversation_id"),
        ("conversation:unarchive", here, "conversation_id"),
        (
            "media:upload_url",
            json!({ "file_name": "f", "content_type": "image/png", "size_bytes": 5 }),
            "file_name content_type size_bytes",
        ),
        ("media:download_url", json!({ "media_id": group }), "media_id"),
        ("search:query", json!({ "text": "x", "conversation_id": group, "limit": 5 }), "text"),
        ("sync", json!({ "cursor": "c" }), ""),
    ];
    let served: std::collections::HashSet<&str> = events.iter().map(|(event, ..)| *event).collect();
    assert!(ackscope_protocol::wire::CLIENT_EVENTS.iter().all(|event| served.contains(event)));
    let kind_of = |field: &str| match field {
        "limit" | "duration_secs" | "size_bytes" => Kind::Number,
        "archived" => Kind::Bool,
        "participants" | "media" | "messages" | "targets" => Kind::List,
        _ => Kind::Text,
    };
    let hostile = [
        (None, json!(null)),
        (Some(Kind::Number), json!(5)),
        (None, json!(-1)),
        (None, json!(1.5)),
        (None, json!(1e300)),
        (Some(Kind::Bool), json!(true)),
        (Some(Kind::List), json!([])),
        (None, json!([null])),
        (None, json!([["ana"]])),
        (None, json!({})),
        (None, json!({ "$ne": null })),
        (None, json!({ "$gt": "" })),
        (None, json!({ "$where": "sleep(1000)" })),
        (None, json!("")),
    ];
    let mut tried = 0;
    for (event, valid, required) in &events {
        let required: Vec<&str> = required.split(' ').collect();
        for field in valid.as_object().unwrap().keys() {
            for (kind, value) in &hostile {
                let is_right = *kind == Some(kind_of(field)) || value.is_null() && !required.contains(&field.as_str());
                if is_right {
                    continue;
                }
                let mut payload = valid.clone();
                payload[field] = value.clone();
                let answer = mallory.request_raw(event, payload).await.unwrap();
                let (code, sentence) = error_of(&answer);
                // What a file is, is the media service's to say.
                let is_medias = field == "content_type" && value == "";
                let expected = if is_medias { ErrorCode::MediaInvalid } else { ErrorCode::InvalidPayload };
                assert_eq!(code, expected, "{event} with {field} = {value}: {sentence}");
                assert!(is_medias || sentence.contains(field.as_str()), "{event} with {field} = {value}: {sentence}");
                tried += 1;
            }
        }
        for payload in [json!(null), json!(5), json!("x"), json!([]), json!([group, "t"]), json!(true)] {
            let answer = mallory.request_raw(event, payload.clone()).await.unwrap();
            assert_eq!(error_of(&answer).0, ErrorCode::InvalidPayload, "{event} with {payload}");
        }
        for field in
            valid.as_object().unwrap().keys().filter(|field| *field != "archived" && required.contains(&field.as_str()))
        {
            let mut payload = valid.clone();
            payload.as_object_mut().unwrap().remove(field);
            let (code, sentence) = error_of(&mallory.request_raw(event, payload).await.unwrap());
            assert_eq!(code, ErrorCode::InvalidPayload);
            assert!(sentence.contains(field.as_str()), "{event} without {field}: {sentence}");
        }
    }
    assert!(tried > 500, "{tried}");
    assert!(mallory.is_connected(), "a wrong payload is no reason to be disconnected");
    scene.goes_on().await;
    assert_eq!(history(&scene.ben, scene.group).await.len(), 1, "nothing of it was stored");
    scene.world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_and_too_large_are_told_apart() {
    let scene = Scene::open().await;
    let (mallory, group) = (&scene.mallory, scene.group);
    let payload = |text: String| json!({ "conversation_id": group, "temp_id": "long", "text": text });

    let before = mallory.next_index();
    let (code, sentence) = error_of(&mallory.request_raw("message:send", payload("x".repeat(5_000))).await.unwrap());
    assert_eq!(code, ErrorCode::InvalidPayload);
    assert!(sentence.contains("text"), "{sentence}");
    let is_rejection = |event: &ackscope_protocol::wire::ServerEvent| {
        matches!(event, ackscope_protocol::wire::ServerEvent::Ack(ack)
            if ack.state == AckState::Rejected && ack.temp_id.as_str() == "long")
    };
    mallory.wait_for(before, PATIENCE, is_rejection).await.unwrap();
    let longest = deliver(mallory, message(group, "longest", &"ü".repeat(4_096))).await;
    assert_eq!(see(&scene.ben, longest).await.text.unwrap().chars().count(), 4_096);

    for bytes in [100_000, 5_000_000] {
        let answer = mallory.request_raw("message:send", payload("x".repeat(bytes))).await.unwrap();
        assert_eq!(error_of(&answer).0, ErrorCode::TooLarge, "{bytes}");
        assert!(mallory.is_connected());
        scene.goes_on().await;
    }
    // More than a frame may have: the service does not read it and says so by closing.
    drop(mallory.request_raw("message:send", payload("x".repeat(20_000_000))).await);
    mallory.drop_connection().await;
    scene.goes_on().await;
    scene.mallory_is_back().await;
    deliver(mallory, message(group, "back", "back")).await;
    scene.world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_at_once_each_have_an_outcome() {
    const EVENTS: usize = 1_000;
    let scene = Scene::open().await;
    let mallory = &scene.mallory;
    let sending = async {
        for number in 0..EVENTS {
            mallory.send(message(scene.group, &format!("flood-{number}"), "flood")).await.unwrap();
        }
    };
    tokio::join!(sending, scene.goes_on());
    let temp_ids: Vec<_> = (0..EVENTS).map(|number| format!("flood-{number}").parse().unwrap()).collect();
    let all_answered = |view: &UserView| {
        temp_ids.iter().all(|temp_id| view.send_answers(temp_id, scene.group).len() == 1).then_some(())
    };
    mallory.wait_until(PATIENCE, all_answered).await.unwrap();
    scene.world.quiesce(PATIENCE).await.unwrap();

    let mut delivered = 0;
    mallory.look(|view| {
        for temp_id in &temp_ids {
            let outcome = &view.send_answers(temp_id, scene.group)[0].outcome;
            let states: Vec<AckState> = view.acks(temp_id, scene.group).iter().map(|seen| seen.ack.state).collect();
            match outcome {
                Ok(_) => {
                    delivered += 1;
                    assert_eq!(states, [AckState::Pending, AckState::Delivered, AckState::Persisted], "{temp_id}");
                }
                Err(error) => {
                    let expected = [ErrorCode::RateLimited, ErrorCode::Overloaded];
                    assert!(expected.contains(&error.code) && error.retryable, "{temp_id}: {error}");
                    assert_eq!(states.last(), Some(&AckState::Rejected), "{temp_id}: {states:?}");
                    assert!(!states.contains(&AckState::Delivered), "{temp_id}: {states:?}");
                }
            }
        }
    });
    assert!(delivered > 0 && delivered < EVENTS, "{delivered} of {EVENTS} delivered: the limit did not work");
    assert!(mallory.is_connected());
    let seen = scene.ben.messages(scene.group).iter().filter(|message| message.sender_id == id("mallory")).count();
    assert_eq!(seen, delivered, "rejected means not seen");
    scene.goes_on().await;
    scene.world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_of_the_wire_is_answered_or_closed() {
    let scene = Scene::open().await;
    let mallory = &scene.mallory;
    for event in ["nonsense", "", "message:ack", "disconnect", "connect", "__proto__", "error"] {
        let answer = mallory.request_raw(event, json!({})).await;
        match answer {
            Ok(answer) => assert_eq!(error_of(&answer).0, ErrorCode::InvalidPayload, "{event:?}"),
            Err(error) => panic!("{event:?}: {error}"),
        }
    }
    // Names that need an escape in JSON: the transport's parser may close on them.
    for event in ["message:send\u{0}", "a\"b", "\\"] {
        scene.mallory_is_back().await;
        drop(mallory.request_raw(event, json!({})).await);
        scene.goes_on().await;
    }
    scene.mallory_is_back().await;
    // Without a callback the refusal is an `error` event.
    let before = mallory.next_index();
    mallory.emit_raw("nonsense", &json!({})).await.unwrap();
    mallory
        .wait_for(before, PATIENCE, |event| matches!(event, ackscope_protocol::wire::ServerEvent::Error(_)))
        .await
        .unwrap();

    for frame in [
        "",
        "x",
        "4",
        "42",
        "42/chat",
        "42/chat,",
        "42/chat,[",
        "42/chat,[]",
        "42/chat,[5]",
        "42/chat,[null,null]",
        "42/chat,{}",
        "42/chat,[\"message:send\"",
        "42/chat,[\"message:send\"]",
        "42/chat,[\"message:send\",{},{}]",
        "42/chat,7[\"message:send\",{},{}]",
        "42/chat,99999999999999999999999999[\"sync\",{}]",
        "42/other,[\"sync\",{}]",
        "43/chat,5[{}]",
        "44/chat,{}",
        "451-/chat,[\"message:send\",{\"_placeholder\":true,\"num\":0}]",
        "45999999999-/chat,[\"message:send\"]",
        "40/chat,{}",
        "40/other,{}",
        "0{}",
        "9",
        "\u{0}\u{0}\u{0}",
        "ü🚀",
    ] {
        scene.mallory_is_back().await;
        drop(mallory.send_text_frame(frame).await);
        scene.goes_on().await;
    }
    for bytes in [Vec::new(), vec![0], vec![0xff; 1_000], b"42/chat,[\"sync\",{}]".to_vec(), vec![4; 100_000]] {
        scene.mallory_is_back().await;
        drop(mallory.send_binary_frame(bytes).await);
        scene.goes_on().await;
    }
    // A nesting that a parser must not follow to the bottom of its stack.
    scene.mallory_is_back().await;
    let deep = format!("42/chat,1[\"message:send\",{}{}]", "[".repeat(20_000), "]".repeat(20_000));
    drop(mallory.send_text_frame(deep).await);
    scene.goes_on().await;

    mallory.drop_connection().await;
    scene.mallory_is_back().await;
    deliver(mallory, message(scene.group, "at last", "behaving")).await;
    scene.world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_that_break_off_leave_the_service_well() {
    let scene = Scene::open().await;
    for round in 0..50 {
        scene.mallory_is_back().await;
        let sent = scene.mallory.send(message(scene.group, &format!("cut-{round}"), "cut")).await;
        sent.unwrap();
        scene.mallory.drop_connection().await;
    }
    scene.goes_on().await;
    scene.mallory_is_back().await;
    scene.world.quiesce(PATIENCE).await.unwrap();
    scene.world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_not_made_by_the_service_is_refused() {
    let scene = Scene::open().await;
    let (mallory, group) = (&scene.mallory, scene.group);
    for cursor in ["c", "-1", "s1", "s1:", "999999999999999999999", "' OR 1=1 --", "{\"$ne\":null}", "../../etc"] {
        for (event, payload) in [
            ("sync", json!({ "cursor": cursor })),
            ("message:history", json!({ "conversation_id": group, "cursor": cursor })),
            ("conversation:list", json!({ "cursor": cursor })),
        ] {
            let answer = mallory.request_raw(event, payload).await.unwrap();
            let (code, sentence) = error_of(&answer);
            assert_eq!(code, ErrorCode::InvalidPayload, "{event} with {cursor:?}: {sentence}");
            assert!(sentence.contains("cursor"), "{event} with {cursor:?}: {sentence}");
        }
    }
    scene.goes_on().await;
    scene.world.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_gone_says_so() {
    let scene = Scene::open().await;
    scene.mallory.drop_connection().await;
    let error = scene.mallory.send(message(scene.group, "t", "x")).await.unwrap_err();
    assert!(matches!(error, UserError::NotConnected(_)), "{error}");
    scene.goes_on().await;
    scene.world.shutdown().await;
}

#[tokio::test]
async fn a_web_page_of_another_origin_may_connect() {
    let node = TestNode::start().await;
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let asked = files::http().get(url).header("origin", "https://example.org").send().await.unwrap();
    assert!(asked.status().is_success());
    assert_eq!(asked.headers()["access-control-allow-origin"], "*");
    node.shutdown().await;
}
