//! Recordings from outside: made by real runs, killed, followed, replayed without a backend, compared.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_harness::environment::{EnvironmentOptions, load_or_create_token_key};
use ackscope_harness::latency::Measure;
use ackscope_harness::recorder::Recorder;
use ackscope_harness::recording::{Ending, RecordOptions, Recording, RecordingFile};
use ackscope_harness::users::{ConnectOptions, SimulatedUser};
use ackscope_harness::world::{World, WorldOptions};
use ackscope_protocol::control::{BackendKind, CONTROL_PATH, CONTROL_VERSION, ToHarness, ToInterface};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::trace::{Happening, Stage, TraceEvent};
use ackscope_protocol::wire::{AckState, ConversationKind, CreateConversation, SendMessage, ServerEvent};
use ackscope_protocol::{MessageId, UserId};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::{Server, ackscope, assert_exit, root, run, stderr, stdout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: Duration = Duration::from_secs(30);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A scenario without budgets, which a busy machine does not break.
fn scenario(state: &Path) -> PathBuf {
    let file = state.join("talk.yaml");
    let steps = "\
scenario: A talk
users: [ana, ben]
steps:
  - mark: They meet
  - create: {as: ana, id: talk, kind: direct, with: [ben]}
  - send: {as: ana, to: talk, id: hello, text: Hello}
  - send: {as: ben, to: talk, id: answer, text: Good morning}
  - expect_view: {users: [ana, ben], in: talk, exactly: [hello, answer]}
  - expect_history: {as: ben, in: talk, exactly: [hello, answer]}
";
    std::fs::write(&file, steps).unwrap();
    file
}

/// The recordings in the state folder.
fn kept(state: &Path) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(state.join("ackscope/recordings"));
    folder.map(|folder| folder.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

#[test]
fn a_run_is_recorded_and_replays_without_a_backend() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let talk = scenario(state);
    let file = state.join("tour.ackrec");
    let live = run(state, &["run", text(&talk), "--record", text(&file), "--seed", "7"]);
    assert_exit(&live, 0);
    let said = stdout(&live);
    assert!(said.contains(&format!("Recorded: {}", file.display())), "{said}");
    assert_eq!(kept(state), Vec::<PathBuf>::new(), "a run that names its file has no other");

    // What stood under the run stands under the replay, from the first step on.
    let replayed = run(state, &["replay", text(&file)]);
    assert_exit(&replayed, 0);
    assert_eq!(stderr(&replayed), "");
    let replayed = stdout(&replayed);
    let body = |said: &str| {
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with(' ') || line.contains('┊')).collect();
        lines.join("\n")
    };
    let live_body: Vec<_> = said.lines().filter(|line| line.starts_with("  ✓")).collect();
    assert!(live_body.len() == 5);
    for line in live_body {
        assert!(body(&replayed).contains(line), "{line}\n is not in\n{replayed}");
    }
    assert!(replayed.contains("Audit ✓ clean") && replayed.contains("\nPASS  "), "{replayed}");

    let object = run(state, &["replay", text(&file), "--json", "--audit"]);
    assert_exit(&object, 0);
    let object: Value = serde_json::from_str(&stdout(&object)).unwrap();
    assert_eq!(object["run"]["verdict"], "pass");
    assert_eq!(object["recording"]["seed"], 7);
    assert_eq!(object["recording"]["is_closed"], true);
    assert_eq!(object["audit_again"], object["run"]["audit"], "audited again from the file alone");
    assert!(object["audit_again"]["promises"]["seen"].as_u64().unwrap() > 0);

    let events = run(state, &["replay", text(&file), "--events"]);
    assert_exit(&events, 0);
    let events: Vec<TraceEvent> = stdout(&events).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(object["recording"]["events"], events.len());

    let paced = run(state, &["replay", text(&file), "--speed", "1000"]);
    assert_exit(&paced, 0);
    assert!(stdout(&paced).contains(" is connected\n"), "{}", stdout(&paced));

    let folder = state.join("again");
    assert_exit(&run(state, &["replay", text(&file), "--report", text(&folder)]), 0);
    assert!(std::fs::read_to_string(folder.join("report.html")).unwrap().ends_with("</html>\n"));

    // A cut file is shown as far as it goes, and says where it ends.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let cut = run(state, &["replay", text(&file)]);
    assert_exit(&cut, 0);
    assert!(stderr(&cut).contains("events were read"), "{}", stderr(&cut));
    assert!(stdout(&cut).contains("INCONCLUSIVE"), "{}", stdout(&cut));
    assert_exit(&run(state, &["replay", text(&file), "--audit"]), 3);
}

#[test]
fn a_report_has_a_recording_and_a_run_without_flags_is_the_last() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let scenario = scenario(state);
    let none = run(state, &["replay", "--last"]);
    assert_exit(&none, 2);
    assert!(stderr(&none).contains("no run has been recorded"), "{}", stderr(&none));

    let report = state.join("report");
    let both = run(state, &["run", text(&scenario), text(&scenario), "--report", text(&report)]);
    assert_exit(&both, 0);
    assert!(stdout(&both).contains("recording-2.ackrec"), "{}", stdout(&both));
    let first = Recording::open(&report.join("recording.ackrec")).unwrap();
    let second = Recording::open(&report.join("recording-2.ackrec")).unwrap();
    assert_ne!(first.header.run_id, second.header.run_id);
    assert!(first.remarks().is_empty() && second.stored.is_some());
    assert_eq!(kept(state), Vec::<PathBuf>::new());

    assert_exit(&run(state, &["run", text(&scenario), "--no-record"]), 0);
    assert_eq!(kept(state), Vec::<PathBuf>::new());
    assert_exit(&run(state, &["run", text(&scenario)]), 0);
    assert_eq!(kept(state).len(), 1);
    let last = run(state, &["replay", "--last"]);
    assert_exit(&last, 0);
    assert!(stdout(&last).contains("\nPASS  "), "{}", stdout(&last));

    // The same scenario twice: nothing became worse.
    let pair = [report.join("recording.ackrec"), report.join("recording-2.ackrec")];
    let compared = run(state, &["compare", text(&pair[0]), text(&pair[1]), "--min-percent", "300", "--json"]);
    assert_exit(&compared, 0);
    let compared: Value = serde_json::from_str(&stdout(&compared)).unwrap();
    assert_eq!(compared["before"]["verdict"], "pass");
    assert_eq!(compared["notes"], json!([]));
}

async fn connect(state: &Path, chat: &str, name: &str, recorder: &Recorder) -> Arc<SimulatedUser> {
    let key = load_or_create_token_key(&state.join("ackscope/token.key")).unwrap();
    let user: UserId = name.parse().unwrap();
    let token = key.sign(&user, Clock::default().now(), Duration::from_hours(1));
    SimulatedUser::connect(ConnectOptions::new(user, token, chat.to_owned(), recorder.clone())).await.unwrap()
}

/// Sends a message every few milliseconds for a while.
async fn talk(state: &Path, chat: &str, recorder: &Recorder, long: Duration) -> Arc<SimulatedUser> {
    let user = connect(state, chat, "dora", recorder).await;
    let request =
        CreateConversation { kind: ConversationKind::Group, participants: vec!["ana".parse().unwrap()], title: None };
    let conversation_id = user.request(&request).await.unwrap().unwrap().conversation.conversation_id;
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut number = 0;
    while began.elapsed() < long {
        pace.tick().await;
        number += 1;
        let message = SendMessage {
            conversation_id,
            temp_id: format!("m{number}").parse().unwrap(),
            text: Some(MessageText::new(format!("number {number}")).unwrap()),
            media: Vec::new(),
            reply_to: None,
        };
        user.send(message).await.unwrap();
    }
    user
}

/// The messages of which the recording says that they were delivered.
fn delivered(recording: &Recording) -> HashSet<MessageId> {
    let delivered = recording.events.iter().filter_map(|event| match &event.what {
        Happening::Stage { message_id, stage: Stage::Delivered { .. } } => Some(*message_id),
        _ => None,
    });
    delivered.collect()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_leaves_a_recording_up_to_the_last_second() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let file = state.join("killed.ackrec");
    let server = Server::start(state, &["--record", text(&file)]);
    let recorder = Recorder::new(1_000_000);
    let _user = talk(state, &server.chat, &recorder, Duration::from_secs(3)).await;
    let killed_us = recorder.micros_at(Instant::now());
    server.signal("KILL");
    drop(server);

    let recording = Recording::open(&file).unwrap();
    assert!(matches!(recording.ending, Ending::Open { .. }), "{:?}", recording.ending);
    assert_eq!(recording.header.title.as_deref(), Some("By hand"));
    let recorded = delivered(&recording);
    let mut old_enough = 0;
    for event in recorder.snapshot().events {
        if let Happening::Saw { event: ServerEvent::Ack(ack), .. } = &event.what
            && ack.state == AckState::Delivered
            && event.at_us + 1_000_000 < killed_us
        {
            old_enough += 1;
            assert!(recorded.contains(&ack.message_id.unwrap()), "told {} us before", killed_us - event.at_us);
        }
    }
    assert!(old_enough > 50, "{old_enough} messages were delivered in time");
    let shown = run(state, &["replay", text(&file)]);
    assert_exit(&shown, 0);
    assert!(stderr(&shown).contains("it was not closed"), "{}", stderr(&shown));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_followed_until_its_run_ends() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let file = state.join("followed.ackrec");
    let server = Server::start(state, &["--record", text(&file)]);
    let mut follower =
        ackscope(state).args(["replay", text(&file), "--follow", "--events"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(follower.stdout.take().unwrap());
    let reading =
        std::thread::Builder::new().spawn(move || output.lines().map(Result::unwrap).collect::<Vec<_>>()).unwrap();
    let recorder = Recorder::new(1_000_000);
    let user = talk(state, &server.chat, &recorder, Duration::from_secs(1)).await;
    user.disconnect().await;
    server.signal("TERM");
    assert_eq!(server.ended(LIMIT).0, Some(0));
    assert!(follower.wait().unwrap().success());
    let followed: Vec<TraceEvent> =
        reading.join().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let recording = Recording::open(&file).unwrap();
    assert_eq!(recording.remarks(), Vec::<String>::new());
    let whole: Vec<_> = recording.events.iter().map(|event| (**event).clone()).collect();
    assert!(whole.len() > 200);
    assert_eq!(followed, whole);
}

#[tokio::test]
async fn the_interface_sees_a_recording_as_a_run_and_can_do_nothing_in_it() {
    let state = tempfile::tempdir().unwrap();
    let file = root().join("harness/tests/recordings/version-1.ackrec");
    let recording = Recording::open(&file).unwrap();
    let mut child = ackscope(state.path())
        .args(["replay", text(&file), "--ui", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let (address, token) =
        ready["ui"].as_str().unwrap().strip_prefix("http://").unwrap().split_once("/?token=").unwrap();
    let (mut socket, _) = connect_async(format!("ws://{address}{CONTROL_PATH}?token={token}")).await.unwrap();
    let hello = ToHarness::Hello { version: CONTROL_VERSION, run_id: None, next_index: 0 };
    socket.send(Message::text(serde_json::to_string(&hello).unwrap())).await.unwrap();
    let mut events = Vec::new();
    let mut refused = None;
    let mut welcome = None;
    let hearing = async {
        while events.len() < recording.events.len() || refused.is_none() {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
            match serde_json::from_str(&text).unwrap() {
                ToInterface::Welcome { run_id, environment, .. } => {
                    welcome = Some((run_id, environment));
                    let command = json!({ "type": "command", "id": 3, "command": { "do": "add_user", "user": "eve" } });
                    socket.send(Message::text(command.to_string())).await.unwrap();
                }
                ToInterface::Trace { first_index, events: more } => {
                    assert_eq!(first_index, events.len() as u64);
                    events.extend(more);
                }
                ToInterface::Reply { id: 3, outcome } => refused = Some(outcome.unwrap_err()),
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, hearing).await.unwrap();
    let whole: Vec<_> = recording.events.iter().map(|event| (**event).clone()).collect();
    assert_eq!(events, whole);
    let (run_id, environment) = welcome.unwrap();
    assert_eq!(run_id, recording.header.run_id);
    assert!(environment.reason.starts_with("Recording of 20"), "{}", environment.reason);
    assert!(refused.unwrap().message.starts_with("this is a recording: "));
    let ended = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(ended.success() && child.wait().unwrap().success());
}

/// What recording costs: `cargo test -p ackscope-harness --test recording -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and prints figures"]
async fn what_recording_costs() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let file = folder.path().join(format!("{round}.ackrec"));
        let record = (round % 2 == 1).then(|| RecordOptions::to(&file));
        let environment = EnvironmentOptions::embedded();
        let world = World::start(WorldOptions { environment, record, ..WorldOptions::default() }).await.unwrap();
        let mut users = Vec::new();
        for number in 0..20 {
            users.push(world.add_user(&format!("user-{number}").parse().unwrap()).await.unwrap());
        }
        let mut groups = Vec::new();
        for members in users.chunks(5) {
            let others = members[1..].iter().map(|user| user.user_id().clone()).collect();
            let request = CreateConversation { kind: ConversationKind::Group, participants: others, title: None };
            groups.push(members[0].request(&request).await.unwrap().unwrap().conversation.conversation_id);
        }
        // 300 messages a second for ten seconds.
        let mut pace = tokio::time::interval(Duration::from_micros(3_333));
        for number in 0..3_000 {
            pace.tick().await;
            let message = SendMessage {
                conversation_id: groups[number % 20 / 5],
                temp_id: uuid::Uuid::new_v4().to_string().parse().unwrap(),
                text: Some(MessageText::new(format!("This is message number {number} of this run")).unwrap()),
                media: Vec::new(),
                reply_to: None,
            };
            users[number % 20].send(message).await.unwrap();
        }
        world.quiesce(LIMIT).await.unwrap();
        let events = world.recorder().snapshot().events;
        world.shutdown().await;
        let latencies = ackscope_harness::latency::Latencies::of(&events);
        for measure in [Measure::Pending, Measure::Delivered] {
            let summary = latencies.get(measure).summary();
            println!("round {round}: {} p50 {} us, p99 {} us", measure.as_str(), summary.p50_us, summary.p99_us);
        }
        if round % 2 == 1 {
            let recording = Recording::open(&file).unwrap();
            let per_event = recording.bytes as f64 / recording.read as f64;
            println!("{} events, {} bytes, {per_event:.1} bytes an event", recording.read, recording.bytes);
            assert!(per_event <= 60.0);
            assert!(recording.remarks().is_empty());
            let kept = std::env::temp_dir().join("ackscope-figures.jsonl");
            let lines: Vec<_> = events.iter().map(|event| serde_json::to_string(&**event).unwrap()).collect();
            if std::env::var_os("KEEP_EVENTS").is_some() {
                std::fs::write(kept, lines.join("\n")).unwrap();
            }
        }
    }
}

/// A recording of messages that are delivered after so long.
async fn made(file: &Path, delivered_us: u64) {
    let recorder = Recorder::new(1_000_000);
    let created = RecordingFile::create(RecordOptions::to(file)).unwrap();
    let writer = created.start(recorder.clone(), BackendKind::Embedded, "embedded").unwrap();
    let conversation_id = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
    let events = (0..200_u64).flat_map(|number| {
        let at_us = number * 10_000;
        let user: UserId = "ana".parse().unwrap();
        let temp_id = format!("t{number}");
        let message_id =
            MessageId::derive(&user, conversation_id.parse().unwrap(), &temp_id.parse().unwrap()).to_string();
        let sent = json!({
            "at_us": at_us, "type": "sent", "user": "ana", "message_id": message_id, "conversation_id": conversation_id,
            "temp_id": temp_id, "text": "hello", "reply_to": null, "attempt": 1,
        });
        let ack = json!({ "event": "message:ack", "data": {
            "temp_id": temp_id, "conversation_id": conversation_id, "state": "delivered", "message_id": message_id,
            "seq": number, "at": "2026-01-31T12:00:00.000Z",
        } });
        let took_us = delivered_us + number % 7 * 100;
        let seen = json!({ "at_us": at_us + took_us, "type": "saw", "user": "ana", "event": ack });
        [sent, seen].map(|event| Arc::new(serde_json::from_value(event).unwrap()))
    });
    recorder.replay(events);
    writer.close().await.unwrap();
}

#[tokio::test]
async fn what_became_worse_is_the_exit_code() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let (before, after) = (state.join("before.ackrec"), state.join("after.ackrec"));
    made(&before, 20_000).await;
    made(&after, 24_000).await;
    let compare =
        |one: &Path, other: &Path, more: &[&str]| run(state, &[&["compare", text(one), text(other)], more].concat());
    let worse = compare(&before, &after, &[]);
    assert_exit(&worse, 1);
    assert!(stdout(&worse).contains("  delivered p50: 20.3 ms before, 24.3 ms after\n"), "{}", stdout(&worse));
    assert_exit(&compare(&after, &before, &[]), 0);
    assert_exit(&compare(&before, &before, &[]), 0);
    assert_exit(&compare(&before, &after, &["--min-percent", "25"]), 0);
    assert_exit(&compare(&before, &after, &["--min-percent", "much"]), 2);
    assert_exit(&compare(&before, &state.join("none"), &[]), 2);
    let other = root().join("README.md");
    let refused = compare(&before, &other, &[]);
    assert_exit(&refused, 2);
    assert!(stderr(&refused).contains("is not a recording"), "{}", stderr(&refused));
    assert_exit(&run(state, &["replay", text(&other)]), 2);
}
