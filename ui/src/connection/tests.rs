use ackscope_protocol::control::{TRACE_BATCH_MAX, ToInterface};
use ackscope_protocol::trace::Happening;
use ackscope_protocol::{ErrorCode, WireError};

use super::*;
use crate::fake::{FakeHarness, environment};

const RUN: Uuid = Uuid::from_u128(1);

fn open() -> (FakeHarness, Connection) {
    let harness = FakeHarness::default();
    let address = Address::parse("http://127.0.0.1:4000/?token=secret").unwrap();
    let connection = Connection::open(address, harness.transport(), std::sync::Arc::new(|| {}), 0.0);
    (harness, connection)
}

fn poll(connection: &mut Connection, now_secs: f64) -> Vec<Incoming> {
    let mut taken = Vec::new();
    while connection.poll(now_secs, &|| true, &mut |incoming| taken.push(incoming)) {}
    taken
}

fn ready() -> (FakeHarness, Connection) {
    let (harness, mut connection) = open();
    harness.accept();
    harness.welcome(RUN);
    poll(&mut connection, 0.0);
    assert!(connection.is_ready());
    harness.heard();
    (harness, connection)
}

fn mark(text: &str) -> TraceEvent {
    TraceEvent { at_us: 1, what: Happening::Mark { text: text.to_owned() } }
}

fn marks(incoming: &[Incoming]) -> Vec<String> {
    let mut texts = Vec::new();
    for incoming in incoming {
        if let Incoming::Events(events) = incoming {
            for event in events {
                if let Happening::Mark { text } = &event.what {
                    texts.push(text.clone());
                }
            }
        }
    }
    texts
}

fn problem(connection: &Connection) -> &Problem {
    match connection.phase() {
        Phase::Waiting { problem, .. } | Phase::Stopped { problem } => problem,
        other => panic!("no problem in {other:?}"),
    }
}

#[test]
fn hello_comes_first_and_carries_the_version() {
    let (harness, mut connection) = open();
    assert_eq!(harness.urls(), ["ws://127.0.0.1:4000/control?token=secret"]);
    poll(&mut connection, 0.0);
    assert!(harness.heard().is_empty(), "nothing is said before the socket is open");
    assert_eq!(connection.send(Command::PlayTour, 0.0), Err(CommandRefused::NotConnected));
    harness.accept();
    poll(&mut connection, 0.0);
    assert_eq!(harness.heard(), [ToHarness::Hello { version: CONTROL_VERSION, run_id: None, next_index: 0 }]);
}

#[test]
fn a_lost_connection_goes_on_where_it_was() {
    let (harness, mut connection) = ready();
    harness.trace(0, &[mark("a"), mark("b")]);
    assert_eq!(marks(&poll(&mut connection, 1.0)), ["a", "b"]);
    harness.close(None);
    poll(&mut connection, 1.0);
    assert!(problem(&connection).what.contains("lost"), "{:?}", problem(&connection));
    assert!(!connection.is_ready());
    // Not before its time.
    poll(&mut connection, 1.1);
    assert_eq!(harness.urls().len(), 1);
    poll(&mut connection, 1.3);
    assert_eq!(harness.urls().len(), 2);
    harness.accept();
    poll(&mut connection, 1.3);
    assert_eq!(harness.heard(), [ToHarness::Hello { version: CONTROL_VERSION, run_id: Some(RUN), next_index: 2 }]);
    harness.welcome(RUN);
    // The harness may repeat what is known: only what is new comes out.
    harness.trace(1, &[mark("b"), mark("c")]);
    let taken = poll(&mut connection, 1.4);
    assert!(matches!(taken[0], Incoming::Welcome { same_run: true, .. }));
    assert_eq!(marks(&taken), ["c"]);
}

#[test]
fn another_run_begins_anew() {
    let (harness, mut connection) = ready();
    harness.trace(0, &[mark("a")]);
    poll(&mut connection, 0.0);
    harness.close(None);
    poll(&mut connection, 0.0);
    poll(&mut connection, 1.0);
    harness.accept();
    harness.welcome(Uuid::from_u128(2));
    harness.trace(0, &[mark("x")]);
    let taken = poll(&mut connection, 1.0);
    assert!(taken.iter().any(|incoming| matches!(incoming, Incoming::Welcome { same_run: false, .. })));
    assert_eq!(marks(&taken), ["x"]);
}

#[test]
fn missing_events_are_told() {
    let (harness, mut connection) = ready();
    harness.say(&ToInterface::Skipped { next_index: 10 });
    harness.trace(12, &[mark("a")]);
    let taken = poll(&mut connection, 0.0);
    assert_eq!(taken[0], Incoming::Missed { count: 10 });
    assert_eq!(taken[1], Incoming::Missed { count: 2 });
    assert_eq!(marks(&taken), ["a"]);
    // Neither going back nor a broken index does harm.
    harness.say(&ToInterface::Skipped { next_index: 3 });
    harness.trace(u64::MAX, &[mark("b")]);
    harness.trace(5, &[mark("old")]);
    assert_eq!(marks(&poll(&mut connection, 0.0)), ["b"]);
}

#[test]
fn another_version_stops_with_words_for_people() {
    for version in [0, CONTROL_VERSION + 1] {
        let (harness, mut connection) = open();
        harness.accept();
        harness.say(&ToInterface::Welcome {
            version,
            run_id: RUN,
            environment: environment(),
            business_now: Timestamp::from_millis(0),
        });
        poll(&mut connection, 0.0);
        assert!(matches!(connection.phase(), Phase::Stopped { .. }));
        assert!(problem(&connection).what.contains(&format!("version {version}")));
        assert!(problem(&connection).advice.contains("same release"));
        // It does not try again by itself, but a person can.
        poll(&mut connection, 1_000.0);
        assert_eq!(harness.urls().len(), 1);
        connection.retry_now(1_000.0);
        assert_eq!(harness.urls().len(), 2);
    }
}

#[test]
fn a_refusal_and_nonsense_stop_too() {
    let (harness, mut connection) = open();
    harness.accept();
    harness.say(&ToInterface::Refused { reason: "the token is not valid".to_owned() });
    poll(&mut connection, 0.0);
    assert!(problem(&connection).what.contains("the token is not valid"));
    assert!(problem(&connection).advice.contains("token changes"));

    for text in ["", "{}", "null", "[]", r#"{"type":"welcome"}"#, r#"{"type":"later"}"#, "\u{0}"] {
        let (harness, mut connection) = open();
        harness.accept();
        harness.say_text(text);
        poll(&mut connection, 0.0);
        assert!(problem(&connection).what.contains("does not understand"), "{text:?}");
    }
}

#[test]
fn a_wrong_token_is_said_in_plain_words() {
    let (harness, mut connection) = open();
    harness.close(Some("Connect: HTTP error: 401 Unauthorized"));
    poll(&mut connection, 0.0);
    assert!(problem(&connection).what.contains("does not accept the token"));
    assert!(!format!("{:?}", connection.phase()).contains("secret"));
}

#[test]
fn an_unreachable_harness_is_tried_ever_more_slowly_and_explained() {
    let (harness, mut connection) = open();
    harness.set_down(true);
    harness.close(None);
    let mut now_secs = 0.0;
    for _ in 0..10 {
        poll(&mut connection, now_secs);
        let wait_secs = connection.wakeup_in_secs(now_secs).unwrap();
        assert!(wait_secs <= 5.0);
        now_secs += wait_secs + 0.001;
    }
    assert!(problem(&connection).what.contains("cannot be reached"));
    assert!(problem(&connection).advice.contains("new address"));
    assert!(harness.urls().len() <= 11);
}

#[test]
fn a_silent_harness_times_out() {
    let (harness, mut connection) = open();
    harness.accept();
    poll(&mut connection, 0.0);
    poll(&mut connection, 9.0);
    assert!(matches!(connection.phase(), Phase::Connecting { greeted: true, .. }));
    poll(&mut connection, 10.1);
    assert!(problem(&connection).what.contains("does not answer"));
}

#[test]
fn commands_are_answered_by_number() {
    let (harness, mut connection) = ready();
    connection.send(Command::AdvanceClock { by_ms: 5 }, 0.0).unwrap();
    connection.send(Command::PlayTour, 0.0).unwrap();
    let ids: Vec<u64> = harness.commands().iter().map(|(id, _)| *id).collect();
    harness
        .say(&ToInterface::Reply { id: ids[1], outcome: Err(WireError::new(ErrorCode::Overloaded, "one tour plays")) });
    harness.say(&ToInterface::Reply { id: ids[0], outcome: Ok(CommandAnswer::Done) });
    harness.say(&ToInterface::Reply { id: 999, outcome: Ok(CommandAnswer::Done) });
    assert_eq!(
        poll(&mut connection, 0.0),
        [
            Incoming::Failed { command: Command::PlayTour, reason: "one tour plays".to_owned() },
            Incoming::Done { command: Command::AdvanceClock { by_ms: 5 }, answer: CommandAnswer::Done },
        ]
    );
    assert_eq!(connection.pending_commands(), 0);
}

#[test]
fn an_unanswered_command_fails_after_its_time_and_so_does_one_on_a_lost_connection() {
    let (harness, mut connection) = ready();
    connection.send(Command::AdvanceClock { by_ms: 5 }, 0.0).unwrap();
    assert!(poll(&mut connection, 14.0).is_empty());
    let taken = poll(&mut connection, 35.1);
    assert!(matches!(&taken[..], [Incoming::Failed { reason, .. }] if reason.contains("did not answer in time")));
    connection.send(Command::PlayTour, 20.0).unwrap();
    harness.close(None);
    let taken = poll(&mut connection, 20.0);
    assert!(matches!(&taken[..], [Incoming::Failed { reason, .. }] if reason.contains("connection was lost")));
}

#[test]
fn waiting_commands_and_messages_per_poll_are_bounded() {
    let (harness, mut connection) = ready();
    for _ in 0..PENDING_COMMANDS_MAX {
        connection.send(Command::AdvanceClock { by_ms: 1 }, 0.0).unwrap();
    }
    assert_eq!(connection.send(Command::AdvanceClock { by_ms: 1 }, 0.0), Err(CommandRefused::TooMany));
    assert_eq!(harness.commands().len(), PENDING_COMMANDS_MAX);

    let events = vec![mark("m"); TRACE_BATCH_MAX * (MESSAGES_MAX_PER_POLL + 24)];
    harness.trace(0, &events);
    let mut taken = 0;
    assert!(connection.poll(0.0, &|| true, &mut |_| taken += 1));
    assert_eq!(taken, MESSAGES_MAX_PER_POLL);
    assert!(connection.poll(0.0, &|| false, &mut |_| panic!("no time was left")));
    assert_eq!(marks(&poll(&mut connection, 0.0)).len(), events.len() - taken * TRACE_BATCH_MAX);
}

#[test]
fn a_harness_that_ends_says_so() {
    let (harness, mut connection) = ready();
    harness.say(&ToInterface::Closing { reason: "Ctrl-C".to_owned() });
    poll(&mut connection, 0.0);
    assert!(problem(&connection).what.contains("has ended: Ctrl-C"));
}
