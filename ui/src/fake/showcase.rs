//! A run to look at with something of everything in it, and what a harness answers about it.

use ackscope_protocol::control::{
    BackendKind, Command, CommandAnswer, ComparedFigure, ComparedList, ComparedMessage, ComparedRun, Comparison,
    Difference, Inspected, Place, RECORDED_EVENTS_MAX, RecordingFile, ScenarioFile, ScenarioProblem, ScenarioProgress,
    ScenarioState, ScenarioStep, StepOutcome, StepProgress,
};
use ackscope_protocol::text::MessageText;
use ackscope_protocol::trace::{Happening, TraceEvent};
use ackscope_protocol::wire::{
    AckState, ConversationKind, DeleteMode, Edit, Message, MessageAnswer, MessageDeleted, MessageReaction, Reactions,
    ServerEvent,
};
use ackscope_protocol::{ConversationId, ErrorCode, MediaId, MessageId, Timestamp, WireError};
use serde_json::json;
use uuid::Uuid;

use super::{Pace, Script, user};

/// What people write about while nothing is the matter.
const SMALL_TALK: [&str; 12] = [
    "Build 4118 is through",
    "Who looks after the migration today?",
    "I do, it runs since nine",
    "The staging cluster has the new brokers",
    "Nice, then the old ones can go",
    "Does the search index keep up?",
    "It does, two seconds behind at most",
    "Please read the notes before you tag",
    "Read them, one typo in the second part",
    "Fixed, thanks",
    "Consumers are balanced again",
    "Lunch in ten minutes",
];

/// Deterministic, and uneven as real latencies are.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1_u32 << 24)
    }

    /// Around a middle, with a long tail upwards.
    fn around(&mut self, middle_us: f64) -> u64 {
        let (a, b) = (self.roll(), self.roll());
        let normal = (-2.0 * a.max(1e-9).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        (middle_us * (normal * 0.45).exp()) as u64
    }

    fn pace(&mut self, slower: f64) -> Pace {
        let pending_us = self.around(780.0 * slower).max(90);
        let delivered_us = pending_us + self.around(3_600.0 * slower);
        Pace { pending_us, delivered_us, persisted_us: delivered_us + 2_500 + self.around(9_000.0 * slower) }
    }
}

/// The run: three people talk for twenty seconds; Redis is slow for a while, Kafka fails twice, search is down at the
/// end. Ana has a second device.
pub fn showcase() -> Vec<TraceEvent> {
    told(0)
}

/// The same run on another day: somewhat slower, and a few messages are others.
pub fn showcase_again() -> Vec<TraceEvent> {
    told(1)
}

fn told(day: u64) -> Vec<TraceEvent> {
    let mut script = Script::default();
    let mut dice = Dice(4_118 + day);
    let slower = if day == 0 { 1.0 } else { 1.45 };
    for (index, name) in ["ana", "ben", "cleo"].into_iter().enumerate() {
        script.connect(40_000 + index as u64 * 15_000, name);
    }
    let team = script.conversation(120_000, ConversationKind::Group, Some("Release team"), &["ana", "ben", "cleo"]);
    let direct = script.conversation(150_000, ConversationKind::Direct, None, &["ben", "cleo"]);
    script.push(160_000, mark("Three people talk"));
    let mut at_us = 400_000;
    for number in 0..(130 + day as usize * 4) {
        let sender = ["ana", "ben", "cleo"][number % 3];
        let is_redis_slow = (6_000_000..8_200_000).contains(&at_us);
        let pace = dice.pace(if is_redis_slow { slower * 5.0 } else { slower });
        script.message(at_us, sender, team, SMALL_TALK[number % SMALL_TALK.len()], pace);
        at_us += 60_000 + (dice.roll() * 90_000.0) as u64;
    }
    script.push(5_950_000, mark("Redis becomes slow"));
    fault(&mut script, 6_000_000, "redis", "latency 40 ms ± 20 ms", true);
    fault(&mut script, 8_200_000, "redis", "latency 40 ms ± 20 ms", false);
    talk(&mut script, &mut dice, slower, (team, direct));
    script.finish()
}

/// What stands at the end of the chats.
fn talk(script: &mut Script, dice: &mut Dice, slower: f64, (team, direct): (ConversationId, ConversationId)) {
    let start_us = 15_500_000;
    script.message(start_us, "ben", direct, "Shall we tell Ana about the cake?", dice.pace(slower));
    script.message(start_us + 400_000, "ana", team, "Morning! Is the build through?", dice.pace(slower));
    let green = script.message(start_us + 900_000, "ben", team, "Green since ten minutes", dice.pace(slower));
    let lag =
        script.message(start_us + 1_500_000, "cleo", team, "One consumer is slow, its lag is at 12", dice.pace(slower));
    let seen = |script: &mut Script, at_us, event: &ServerEvent| {
        for name in ["ana", "ben", "cleo"] {
            script.push(at_us, Happening::Saw { user: user(name), event: event.clone() });
        }
    };
    let at = |at_us: u64| Timestamp::from_millis(1_769_860_800_000 + i64::try_from(at_us / 1_000).unwrap_or(0));
    let seq = script.seq;
    let edited_us = start_us + 1_900_000;
    let edited = Message {
        text: MessageText::new("One consumer is slow, its lag is at 12 and falls").ok(),
        seq,
        edited_at: Some(at(edited_us)),
        edits: vec![Edit { text: "One consumer is slow, its lag is at 12".to_owned(), at: at(edited_us) }],
        ..Message::new(lag, team, user("cleo"), at(start_us + 1_500_000))
    };
    seen(script, edited_us, &ServerEvent::Edited(MessageAnswer { message: edited }));
    let reactions = Reactions::from([("↑".to_owned(), vec![user("ana"), user("cleo")])]);
    let reaction = MessageReaction { conversation_id: team, message_id: green, reactions };
    seen(script, start_us + 2_000_000, &ServerEvent::Reaction(reaction));
    let slow = Pace { pending_us: 14_200, delivered_us: 118_000, persisted_us: 131_000 };
    let reply = script.message(start_us + 2_300_000, "ana", team, "Then let us wait for it before we tag", slow);
    for event in &mut script.events {
        match &mut event.what {
            Happening::Sent { message_id, reply_to, .. } if *message_id == reply => *reply_to = Some(lag),
            Happening::Saw { event: ServerEvent::New(new), .. } if new.message.message_id == reply => {
                new.message.reply_to = Some(lag);
            }
            _ => {}
        }
    }
    let oops = script.message(start_us + 2_700_000, "ben", team, "wrong window", dice.pace(slower));
    let deleted = MessageDeleted { conversation_id: team, message_id: oops, mode: DeleteMode::Soft };
    seen(script, start_us + 3_100_000, &ServerEvent::Deleted(deleted));
    script.message(start_us + 3_400_000, "ben", team, "It caught up", dice.pace(slower));

    script.push(start_us + 3_450_000, mark("Kafka fails twice"));
    fault(script, start_us + 3_500_000, "kafka", "fail 2, then work", true);
    retried(script, start_us + 3_700_000, "ana", team, "Tagging now");
    script.rejected(start_us + 3_900_000, "cleo", team, "v1.4.0 is out", ErrorCode::LogUnavailable);
    fault(script, start_us + 4_600_000, "kafka", "fail 2, then work", false);
    script.message(start_us + 4_900_000, "cleo", team, "Cake in the kitchen, everybody", dice.pace(slower));
    fault(script, start_us + 5_000_000, "search", "outage", true);
    let (_, temp_id) = script.sent(start_us + 5_600_000, "ana", team, "On my way");
    script.ack(start_us + 5_600_900, "ana", team, &temp_id, AckState::Pending, None);
    health(script, start_us + 5_500_000);
}

fn mark(text: &str) -> Happening {
    Happening::Mark { text: text.to_owned() }
}

fn fault(script: &mut Script, at_us: u64, target: &str, kind: &str, active: bool) {
    script.push(at_us, Happening::Fault { target: target.to_owned(), kind: kind.to_owned(), active });
}

/// A message that is refused, and sent again under its `temp_id`.
fn retried(script: &mut Script, at_us: u64, sender: &str, place: ConversationId, text: &str) {
    let message_id = script.rejected(at_us, sender, place, text, ErrorCode::LogUnavailable);
    let number = script.next_message - 1;
    let again_us = at_us + 310_000;
    // The second try has a way of its own, and the first one's name.
    script.next_message = number;
    let from = script.events.len();
    script.message(again_us, sender, place, text, Pace::default());
    for event in &mut script.events[from..] {
        if let Happening::Sent { attempt, message_id: again, .. } = &mut event.what {
            debug_assert_eq!(*again, message_id, "the name follows from the temp_id");
            *attempt = 2;
        }
    }
}

fn health(script: &mut Script, at_us: u64) {
    let mut figures: Vec<(String, f64)> = Vec::new();
    for partition in 0..6_u32 {
        figures.push((format!("depth.message.sent.{partition}"), f64::from(partition * 7 + 3)));
        figures.push((format!("depth.message.edited.{partition}"), f64::from(partition % 2)));
        figures.push((format!("depth.conversation.updated.{partition}"), f64::from(partition % 3)));
        figures.push((format!("depth.message.delivered.{partition}"), f64::from(partition * 6 + 1)));
        figures.push((format!("lag.message-persistence.message.sent.{partition}"), f64::from(partition % 3)));
        figures.push((format!("lag.conversation-persistence.conversation.updated.{partition}"), 0.0));
        figures.push((format!("lag.search-indexing.message.sent.{partition}"), f64::from(partition * 4)));
        figures.push((format!("lag.media-verification.message.sent.{partition}"), 0.0));
    }
    for (name, value) in [
        ("cache.hits", 412.0),
        ("cache.misses", 7.0),
        ("breaker.search", 2.0),
        ("breaker.media", 0.0),
        ("connections", 3.0),
        ("unpersisted", 2.0),
    ] {
        figures.push((name.to_owned(), value));
    }
    for (name, value) in figures {
        script.push(at_us, Happening::Health { name, value });
    }
}

/// The text of the scenario that [`answer`] opens.
pub const SCENARIO: &str = "\
# Search is out, and nobody who writes messages notices.

scenario: Search is out
about: |
  While the search service does not answer, messages are
  sent, stored and seen as always.

users: [ana, ben]

steps:
  - create: {as: ana, id: trip, kind: direct, with: [ben]}
  - send: {as: ana, to: trip, id: before, text: Lighthouse at ten}
  - expect_search: {as: ben, text: lighthouse, exactly: [before]}

  - mark: The service goes away
  - fault: {target: search, kind: outage}
  - send: {as: ana, to: trip, id: during, text: It is closed}
  - expect_ack: {message: during, state: persisted}
  - expect_search: {as: bob, text: lighthouse}
";

fn steps() -> Vec<ScenarioStep> {
    [
        (11, "create trip: direct of ana and ben"),
        (12, "ana sends before"),
        (13, "expect that ben finds before"),
        (15, "mark: The service goes away"),
        (16, "fault: search outage"),
        (17, "ana sends during"),
        (18, "expect that during is persisted"),
        (19, "expect that ben finds nothing"),
    ]
    .map(|(line, title)| ScenarioStep { line, title: title.to_owned() })
    .into()
}

/// A scenario that failed at its seventh step, at this message.
pub fn failed_scenario(message_id: Option<MessageId>) -> ScenarioProgress {
    let steps = steps();
    let outcome = |index: usize| match index {
        6 => StepOutcome::Failed {
            message: "expected `persisted` within 5 s; the last that ana was told of it is `delivered`".to_owned(),
            message_id,
        },
        _ => StepOutcome::Passed { took_us: 1_240 + index as u64 * 911 },
    };
    let steps = steps.into_iter().take(7).enumerate().map(|(index, step)| StepProgress {
        line: step.line,
        title: step.title,
        outcome: outcome(index),
    });
    ScenarioProgress {
        name: "Search is out".to_owned(),
        state: ScenarioState::Failed,
        steps: steps.collect(),
        summary: Some("1 of 7 steps failed; every promise of the audit was kept".to_owned()),
    }
}

/// What a harness that shows [`showcase`] answers.
pub fn answer(command: &Command) -> CommandAnswer {
    match command {
        Command::ListScenarios => CommandAnswer::Scenarios {
            folder: "scenarios".to_owned(),
            files: [
                ("cache-stampede", "Cache stampede", "Many ask for one conversation whose cache entry has just gone"),
                ("caching", "Caching", "Metadata is cached for an hour, and every change invalidates it"),
                ("consumer-crash", "A consumer crashes", "Between the write and its commit; nothing is stored twice"),
                ("message-creation", "Creating messages", "Ana and Ben write to each other, with a reply and a thread"),
                ("message-editing", "Editing messages", "Up to 15 minutes after they were sent, by their sender alone"),
                ("on-a-train", "On a train", "The connection comes and goes; nothing is lost and nothing doubled"),
                ("search-outage", "Search is out", "Messages are sent, stored and seen as always"),
                ("unknown-outcome", "Unknown outcome", "Kafka takes a record and does not say so in time"),
            ]
            .map(|(path, name, about)| ScenarioFile {
                path: format!("{path}.yaml"),
                name: Some(name.to_owned()),
                about: Some(about.to_owned()),
            })
            .into(),
        },
        Command::OpenScenario { path } => scenario(Some(path.clone()), SCENARIO),
        Command::CheckScenario { path, text } | Command::RunScenario { path, text, .. } => scenario(path.clone(), text),
        Command::SaveScenario { path, text, .. } => scenario(Some(path.clone()), text),
        Command::ScenarioByHand { .. } => scenario(None, SCENARIO),
        Command::Upload { .. } => CommandAnswer::Uploaded { media_id: MediaId::from_uuid(Uuid::from_u128(7)) },
        Command::Inspect { place } => CommandAnswer::Inspected { rows: rows(place), more: false },
        Command::ListRecordings => CommandAnswer::Recordings {
            folder: Some("/home/ana/.local/state/ackscope/recordings".to_owned()),
            files: [
                ("2026-01-31T12-00-00.000Z-4118", "A run by hand", 12, true),
                ("2026-01-30T17-41-09.310Z-977", "Release rehearsal", 11, false),
                ("2026-01-30T09-12-44.002Z-812", "Search is out", 3, false),
            ]
            .map(|(name, title, day, is_shown)| RecordingFile {
                path: format!("{name}.ackrec"),
                title: title.to_owned(),
                backend: BackendKind::Embedded,
                started_at: Timestamp::from_millis(1_769_860_800_000 - (12 - day) * 43_210_987),
                bytes: 41_118 * u64::try_from(day).unwrap_or(1),
                is_shown,
            })
            .into(),
        },
        Command::CompareWith { .. } => CommandAnswer::Compared { comparison: Box::new(comparison()) },
        Command::ReadRecording { from_index, .. } => {
            let events = showcase_again();
            let total = events.len() as u64;
            let from = usize::try_from(*from_index).unwrap_or(usize::MAX);
            CommandAnswer::RecordedEvents {
                events: events.into_iter().skip(from).take(RECORDED_EVENTS_MAX).collect(),
                total,
            }
        }
        _ => CommandAnswer::Done,
    }
}

/// The same with the user in the last line corrected reads without a mistake.
fn scenario(path: Option<String>, text: &str) -> CommandAnswer {
    let wrong = text.lines().zip(1_u32..).find_map(|(line, number)| Some((number, line.find("bob")?)));
    let problems = wrong.map(|(line, column)| ScenarioProblem {
        file: None,
        line,
        column: u32::try_from(column + 1).unwrap_or(1),
        message: "there is no user `bob`: did you mean `ben`?".to_owned(),
    });
    CommandAnswer::Scenario { path, text: text.to_owned(), steps: steps(), problems: problems.into_iter().collect() }
}

/// [`showcase`] beside [`showcase_again`], in round figures.
pub fn comparison() -> Comparison {
    let figure = |(what, a, b, noise, difference): (&str, f64, f64, f64, Difference)| ComparedFigure {
        what: what.to_owned(),
        a: Some(a),
        b: Some(b),
        noise: Some(noise),
        difference,
    };
    let (same, worse, few) = (Difference::Same, Difference::Worse, Difference::TooFew);
    let message = |number: u128, sender: &str, text: &str, at_us, outcome: &str| ComparedMessage {
        message_id: MessageId::from_uuid(Uuid::from_u128(number)),
        sender: user(sender),
        text: text.to_owned(),
        at_us,
        outcome: outcome.to_owned(),
    };
    let run = |title: &str, messages, events| ComparedRun {
        title: title.to_owned(),
        backend: BackendKind::Embedded,
        seed: None,
        messages,
        events,
        verdict: None,
        remarks: Vec::new(),
    };
    let talk = "Cake in the kitchen, everybody";
    Comparison {
        a: run("The live run", 142, 2_611),
        b: run("Release rehearsal", 146, 2_683),
        latencies: [
            ("pending p50", 820.0, 1_190.0, 95.0, same),
            ("pending p90", 4_310.0, 6_240.0, 1_720.0, worse),
            ("delivered p50", 4_480.0, 6_510.0, 410.0, worse),
            ("delivered p90", 21_700.0, 31_900.0, 8_800.0, worse),
            ("persisted p50", 16_200.0, 23_400.0, 1_300.0, worse),
            ("· permission p50", 910.0, 1_280.0, 120.0, same),
            ("· consumed by message-persistence p50", 12_100.0, 19_300.0, 1_500.0, worse),
        ]
        .map(figure)
        .into(),
        outcomes: [
            ("persisted", 0.978, 0.979, 0.03, same),
            ("rejected log_unavailable", 0.007, 0.007, 0.01, same),
            ("pending", 0.007, 0.006, 0.01, same),
        ]
        .map(figure)
        .into(),
        rates: [("sent", 7.1, 6.9, 1.2, same), ("delivered", 7.0, 6.9, 1.2, few)].map(figure).into(),
        findings: Vec::new(),
        only_a: ComparedList { count: 0, first: Vec::new() },
        only_b: ComparedList {
            count: 4,
            first: vec![
                message(1, "cleo", SMALL_TALK[11], 13_610_000, "persisted"),
                message(2, "ana", SMALL_TALK[0], 13_702_000, "persisted"),
            ],
        },
        ended_differently: ComparedList {
            count: 1,
            first: vec![(
                message(3, "cleo", talk, 20_400_000, "persisted"),
                message(4, "cleo", talk, 20_400_000, "rejected overloaded"),
            )],
        },
        notes: vec!["Promises are not compared: A has no report of a scenario's end".to_owned()],
    }
}

fn rows(place: &Place) -> Vec<Inspected> {
    let row = |kind: &str, key: &str, summary: &str, value| Inspected {
        kind: kind.to_owned(),
        key: key.to_owned(),
        summary: summary.to_owned(),
        message_id: None,
        ttl_ms: None,
        headers: Vec::new(),
        value,
    };
    let conversation = "00000000-0000-0000-0000-0000000000c0";
    let participants = json!([
        { "user_id": "ana", "role": "owner", "joined_at": "2026-01-31T12:00:00.000Z" },
        { "user_id": "ben", "role": "member", "joined_at": "2026-01-31T12:00:00.000Z" },
        { "user_id": "cleo", "role": "member", "joined_at": "2026-01-31T12:00:00.000Z" },
    ]);
    let team = json!({ "conversation_id": conversation, "kind": "group", "title": "Release team", "version": 1,
        "participants": participants });
    let team_summary = "group \"Release team\" with ana, ben, cleo, version 1";
    let cached = |ttl_ms| Inspected { ttl_ms: Some(ttl_ms), ..row("cache", conversation, team_summary, team.clone()) };
    let record = |topic: &str, offset: u64, summary: &str| Inspected {
        headers: vec![("traceparent".to_owned(), "00-7d4448409dc011d1b2455ffdce74fad2-b2455ffdce74fad2-01".to_owned())],
        ..row(
            "record",
            &format!("{topic}/3@{offset}"),
            summary,
            json!({
                "version": 1, "conversation_id": conversation, "sender_id": "ana", "temp_id": "t-135",
                "text": "Then let us wait for it before we tag", "reply_to": "0b24…", "sent_at": "2026-01-31T12:00:17.815Z",
            }),
        )
    };
    let message = json!({ "message_id": "f0e54257-ecbf-59c5-8e7c-a12ecbd2141f", "conversation_id": conversation,
        "sender_id": "ana", "text": "Then let us wait for it before we tag", "seq": 137, "reactions": {}, "edits": [] });
    match place {
        Place::Message { message_id } => {
            let id = message_id.to_string();
            let mut rows = vec![
                row("message", &id, "ana: \"Then let us wait for it before we tag\" (seq 137)", message),
                cached(3_540_000),
                row(
                    "index",
                    &id,
                    "ana: \"Then let us wait for it before we tag\"",
                    json!({ "text": "Then let us wait for it before we tag" }),
                ),
                record("message.sent", 177, "ana: \"Then let us wait for it before we tag\""),
                record("message.delivered", 171, "stored"),
            ];
            for row in &mut rows {
                if row.kind != "cache" {
                    row.message_id = Some(*message_id);
                }
            }
            rows
        }
        Place::Conversations { .. } => vec![
            row("conversation", conversation, team_summary, team),
            row("conversation", "00000000-0000-0000-0000-0000000000c1", "direct with ben, cleo, version 1", json!({})),
        ],
        Place::Messages { .. } => vec![
            row(
                "message",
                "f0e54257-ecbf-59c5-8e7c-a12ecbd2141f",
                "cleo: \"Cake in the kitchen, everybody\" (seq 140)",
                message.clone(),
            ),
            row("message", "2d3a54b8-36a6-5e0f-8f3d-0d2f7e4f6a11", "ben: \"It caught up\" (seq 139)", message),
        ],
        Place::Cache => vec![cached(3_540_000), cached(1_212_000)],
        Place::Records { topic, from_offset, .. } => {
            let first = from_offset.unwrap_or(174);
            (first..first + 6)
                .map(|offset| record(topic, offset, SMALL_TALK[offset as usize % SMALL_TALK.len()]))
                .collect()
        }
        Place::Index { .. } => vec![row(
            "index",
            "f0e54257-ecbf-59c5-8e7c-a12ecbd2141f",
            "ana: \"Then let us wait for it before we tag\"",
            message,
        )],
    }
}

/// A refusal that the service gave a user: told in the trace, and as the command's answer.
pub fn refusal(at_us: u64, name: &str, request: &str) -> (TraceEvent, WireError) {
    let error = WireError::new(ErrorCode::RoleForbidden, "only owners and admins remove participants");
    let what = Happening::Answered {
        user: user(name),
        request: request.to_owned(),
        conversation: None,
        error: Some(error.clone()),
    };
    (TraceEvent { at_us, what }, error)
}
