use ackscope_protocol::Timestamp;
use ackscope_protocol::control::{BackendKind, CONTROL_PATH, CONTROL_VERSION, Environment, ToHarness, ToInterface};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::control::{ControlServer, LateReport, Recorded};
use crate::fixtures::Trace;

fn header(title: &str) -> Header {
    Header {
        ackscope_version: "0.0.0".to_owned(),
        trace_version: TRACE_VERSION,
        run_id: Uuid::from_u128(1),
        started_at: Timestamp::from_millis(0),
        backend: BackendKind::Embedded,
        backend_reason: "embedded".to_owned(),
        seed: None,
        title: Some(title.to_owned()),
    }
}

/// Forty messages, each delivered after so long; the tenth only when it is wanted.
fn run(title: &str, delivered_us: u64, has_tenth: bool) -> Recording {
    let mut trace = Trace::new(&["ana", "ben"]);
    for number in 0..40 {
        if number == 10 && !has_tenth {
            continue;
        }
        let at_us = 1_000 + number * 100_000;
        let message = trace.send_at(at_us, "ana", &format!("number {number}"));
        trace.delivered_at(at_us + delivered_us, &message, number + 1);
    }
    let recorder = Recorder::new(10_000);
    recorder.replay(trace.events.into_iter().map(Arc::new));
    of_run(header(title), None, &recorder)
}

#[test]
fn a_slower_run_and_its_missing_message_are_told() {
    let comparison = compare_runs(&run("a", 20_000, true), &run("b", 40_000, false));
    let p50 = comparison.latencies.iter().find(|figure| figure.what == "delivered p50").unwrap();
    assert_eq!((p50.a, p50.b, p50.difference), (Some(20_000.0), Some(40_000.0), Difference::Worse));
    assert_eq!((comparison.only_a.count, comparison.only_b.count), (1, 0));
    assert_eq!(comparison.only_a.first[0].text, "number 10");
    assert_eq!(comparison.only_a.first[0].outcome, "delivered");
    assert_eq!((comparison.a.messages, comparison.b.messages), (40, 39));
    assert!(comparison.findings.is_empty(), "neither was checked");
    let same = compare_runs(&run("a", 20_000, true), &run("a", 20_000, true));
    let all = same.latencies.iter().chain(&same.outcomes).chain(&same.rates);
    assert!(all.into_iter().all(|figure| matches!(figure.difference, Difference::Same | Difference::TooFew)));
    assert_eq!((same.only_a.count, same.only_b.count, same.ended_differently.count), (0, 0, 0));
}

#[test]
fn lists_are_bounded_and_say_how_many_there_are() {
    let mut trace = Trace::new(&["ana", "ben"]);
    for number in 0..COMPARED_MESSAGES_MAX as u64 + 7 {
        trace.send_at(1_000 + number, "ana", &format!("only here {number}"));
    }
    let recorder = Recorder::new(10_000);
    recorder.replay(trace.events.into_iter().map(Arc::new));
    let comparison = compare_runs(&of_run(header("a"), None, &recorder), &run("b", 20_000, true));
    assert_eq!(comparison.only_a.count, COMPARED_MESSAGES_MAX as u64 + 7);
    assert_eq!(comparison.only_a.first.len(), COMPARED_MESSAGES_MAX);
    assert_eq!(comparison.only_a.first[0].text, "only here 0");
}

#[test]
fn pages_hold_every_event_once() {
    let recording = run("a", 20_000, true);
    let mut read = Vec::new();
    loop {
        let CommandAnswer::RecordedEvents { events, total } = page(&recording, read.len() as u64) else { panic!() };
        assert_eq!(total, recording.events.len() as u64);
        assert!(events.len() <= RECORDED_EVENTS_MAX);
        if events.is_empty() {
            break;
        }
        read.extend(events);
    }
    assert!(read.iter().eq(recording.events.iter().map(|event| &**event)));
    let CommandAnswer::RecordedEvents { events, .. } = page(&recording, u64::MAX) else { panic!() };
    assert!(events.is_empty());
}

#[test]
fn only_what_is_called_a_recording_is_looked_for() {
    for wrong in ["", "run.yaml", "/etc/passwd", "../run.ackrec", "folder/run.ackrec", "run.ackrec\n", ".ackrec"] {
        let error = file(wrong).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidPayload, "{wrong:?}: {}", error.message);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone.ackrec");
    let error = file(&path.display().to_string()).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound, "{}", error.message);
    std::fs::write(&path, b"something").unwrap();
    assert_eq!(file(&path.display().to_string()).unwrap(), path);
}

#[test]
fn the_list_has_what_reads_and_knows_the_run_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.ackrec"), b"something").unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let known = std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path());
    let known = known.into_iter().find(|path| path.extension().is_some_and(|one| one == EXTENSION)).unwrap();
    std::fs::copy(&known, folder.path().join("whole.ackrec")).unwrap();
    let run_id = RecordingReader::open(&known).unwrap().header().run_id;
    let CommandAnswer::Recordings { files, .. } = list(Some(folder.path()), run_id) else { panic!() };
    let [only] = &files[..] else { panic!("{files:?}") };
    assert_eq!((only.path.as_str(), only.is_shown), ("whole.ackrec", true));
    let CommandAnswer::Recordings { folder, files } = list(None, run_id) else { panic!() };
    assert_eq!((folder, files.len()), (None, 0));
}

/// An interface as the browser's would be: says what it wants, and gives the answer with this number.
struct Interface(tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>, u64);

impl Interface {
    async fn open(server: &ControlServer) -> Self {
        let url = server.url().replace("http://", "ws://").replace("/?", &format!("{CONTROL_PATH}?"));
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut interface = Self(socket, 0);
        interface.say(&ToHarness::Hello { version: CONTROL_VERSION, run_id: None, next_index: 0 }).await;
        interface
    }

    async fn say(&mut self, message: &ToHarness) {
        let text = serde_json::to_string(message).unwrap();
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    async fn run(&mut self, command: Command) -> Result<CommandAnswer, WireError> {
        self.1 += 1;
        let wanted = self.1;
        self.say(&ToHarness::Command { id: wanted, command }).await;
        loop {
            let next = tokio::time::timeout(std::time::Duration::from_mins(1), self.0.next()).await;
            let Message::Text(text) = next.expect("an answer in time").unwrap().unwrap() else { continue };
            if let ToInterface::Reply { id, outcome } = serde_json::from_str(&text).unwrap()
                && id == wanted
            {
                return outcome;
            }
        }
    }
}

#[tokio::test]
async fn an_interface_that_is_shown_a_recording_compares_it_and_reads_the_other() {
    let trace = run("shown", 20_000, true);
    let recorder = Recorder::new(10_000);
    recorder.replay(trace.events.clone());
    let environment = Environment {
        backend: BackendKind::Embedded,
        reason: "a recording".to_owned(),
        chat_url: "none (a recording)".to_owned(),
        ackscope_version: "0.0.0".to_owned(),
    };
    let report = LateReport::default();
    let business_now = Timestamp::from_millis(0);
    let recorded = Recorded { recorder, environment, business_now, report: Arc::clone(&report) };
    let server = ControlServer::start_recorded("127.0.0.1:0".parse().unwrap(), recorded).await.unwrap();
    let mut interface = Interface::open(&server).await;
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/version-1.ackrec");
    let path = known.display().to_string();

    let answer = interface.run(Command::CompareWith { path: path.clone() }).await.unwrap();
    let CommandAnswer::Compared { comparison } = answer else { panic!("{answer:?}") };
    assert_eq!((comparison.a.title.as_str(), comparison.a.messages), ("The recording that is shown", 40));
    let other = Recording::open(&known).unwrap();
    assert_eq!(comparison.b.events, other.read);
    assert_eq!(comparison.only_a.count, 40, "the runs have nothing to do with each other");

    assert!(other.report.is_some());
    assert_eq!(comparison.findings, []);
    assert!(comparison.notes.iter().any(|note| note.contains(": A has no report")), "{:?}", comparison.notes);
    report.set(RecordedReport::default()).unwrap();
    let answer = interface.run(Command::CompareWith { path: path.clone() }).await.unwrap();
    let CommandAnswer::Compared { comparison } = answer else { panic!("{answer:?}") };
    assert_ne!(comparison.a.verdict, None);
    assert!(comparison.notes.iter().all(|note| !note.contains("report")), "{:?}", comparison.notes);

    let mut read = Vec::new();
    loop {
        let command = Command::ReadRecording { path: path.clone(), from_index: read.len() as u64 };
        let answer = interface.run(command).await.unwrap();
        let CommandAnswer::RecordedEvents { events, total } = answer else { panic!("{answer:?}") };
        read.extend(events);
        if read.len() as u64 >= total {
            break;
        }
    }
    assert!(read.iter().eq(other.events.iter().map(|event| &**event)));

    // What is no recording is refused with a sentence, and the connection goes on.
    for (path, code) in [("/etc/passwd", ErrorCode::InvalidPayload), ("/nowhere/run.ackrec", ErrorCode::NotFound)] {
        let error = interface.run(Command::CompareWith { path: path.to_owned() }).await.unwrap_err();
        assert_eq!(error.code, code, "{}", error.message);
    }
    let refused = interface.run(Command::PlayTour).await.unwrap_err();
    assert!(refused.message.contains("recording"), "nothing else can be done in one: {}", refused.message);
    server.shutdown().await;
}
