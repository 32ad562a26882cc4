use ackscope_protocol::trace::{ConnectionState, Stage};
use ackscope_protocol::wire::{
    AckState, ConversationKind, DeleteMode, Message, MessageAnswer, MessageDeleted, MessageReaction, Reactions,
};
use ackscope_protocol::{ConversationId, ErrorCode, WireError};
use uuid::Uuid;

use super::*;
use crate::fake::{Pace, Script, sample, user};

fn reduce(events: impl IntoIterator<Item = TraceEvent>) -> Run {
    let mut run = Run::default();
    for event in events {
        run.apply(event);
    }
    run
}

fn group(script: &mut Script) -> ConversationId {
    script.conversation(10, ConversationKind::Group, Some("Team"), &["ana", "ben", "cleo"])
}

fn texts(run: &Run, name: &str, place: ConversationId) -> Vec<String> {
    let log = run.user_by_id(&user(name)).unwrap().client.conversation(place).unwrap();
    log.entries().map(|entry| entry.text.as_deref().unwrap_or("-").to_owned()).collect()
}

fn log<'a>(run: &'a Run, name: &str, place: ConversationId) -> &'a ConversationLog {
    run.user_by_id(&user(name)).unwrap().client.conversation(place).unwrap()
}

#[test]
fn a_message_takes_the_whole_way() {
    let mut script = Script::default();
    let place = group(&mut script);
    let pace = Pace { pending_us: 1_000, delivered_us: 5_000, persisted_us: 20_000 };
    let message_id = script.message(100_000, "ana", place, "hello", pace);
    let run = reduce(script.finish());
    let lane = run.lane_of(message_id).unwrap();
    assert_eq!(lane.progress(), Progress::Persisted);
    assert_eq!(lane.progress_latency_us(), Some(20_000));
    assert_eq!(lane.outcome_latency_us(), Some(5_000));
    assert!(!lane.is_over_budget());
    assert_eq!(lane.receipts.len(), 2, "the sender is no recipient");
    assert_eq!(run.user_name(lane.sender), "ana");
    let mut spans = Vec::new();
    lane.spans(&mut spans);
    let shown: Vec<_> = spans.iter().map(|span| (span.kind, span.from_us, span.to_us.unwrap())).collect();
    assert_eq!(
        shown,
        [
            (SpanKind::InFlight, 100_000, 101_000),
            (SpanKind::Pending, 101_000, 105_000),
            (SpanKind::Delivered, 105_000, 120_000)
        ]
    );
    assert_eq!(run.counts().in_progress(Progress::Persisted), 1);
    assert_eq!(run.counts().lanes, 1);
}

#[test]
fn states_follow_each_other_and_the_counts_follow_them() {
    let mut script = Script::default();
    let place = group(&mut script);
    let (message_id, temp_id) = script.sent(1_000, "ana", place, "hi");
    for (at_us, state) in [(2_000, AckState::Pending), (3_000, AckState::Delivered), (9_000, AckState::Persisted)] {
        script.ack(at_us, "ana", place, &temp_id, state, None);
    }
    let mut run = Run::default();
    let mut seen = Vec::new();
    for event in script.finish() {
        run.apply(event);
        if let Some(lane) = run.lane_of(message_id) {
            seen.push(lane.progress());
            assert_eq!(run.counts().in_progress(lane.progress()), 1);
            assert_eq!(run.counts().by_progress.iter().sum::<u64>(), 1);
        }
    }
    assert_eq!(seen, [Progress::Sending, Progress::Pending, Progress::Delivered, Progress::Persisted]);
}

#[test]
fn budgets_are_broken_at_their_very_border() {
    for (pending_us, delivered_us, is_over) in
        [(9_999, 99_999, false), (10_000, 50_000, true), (5_000, 100_000, true), (10_000, 100_000, true)]
    {
        let mut script = Script::default();
        let place = group(&mut script);
        let message_id = script.message(0, "ana", place, "x", Pace { pending_us, delivered_us, persisted_us: 500_000 });
        let run = reduce(script.finish());
        assert_eq!(run.lane_of(message_id).unwrap().is_over_budget(), is_over, "{pending_us} {delivered_us}");
        assert_eq!(run.counts().over_budget, u64::from(is_over));
    }
}

#[test]
fn a_rejection_counts_against_the_budget_and_keeps_its_reason() {
    let mut script = Script::default();
    let place = group(&mut script);
    let message_id = script.rejected(0, "ana", place, "no", ErrorCode::LogUnavailable);
    let run = reduce(script.finish());
    let lane = run.lane_of(message_id).unwrap();
    assert_eq!(lane.progress(), Progress::Rejected);
    assert_eq!(lane.rejection().unwrap().code, ErrorCode::LogUnavailable);
    assert_eq!(lane.progress_latency_us(), Some(6_400));
    assert_eq!(lane.rejections_us().collect::<Vec<_>>(), [6_400]);
    // It stays where it was written, for its sender alone.
    assert_eq!(texts(&run, "ana", place), ["no"]);
    assert!(log(&run, "ben", place).is_empty());
}

#[test]
fn an_unknown_outcome_is_superseded_and_a_late_failure_counts() {
    let mut script = Script::default();
    let place = group(&mut script);
    let (message_id, temp_id) = script.sent(0, "ana", place, "x");
    let unknown = WireError::new(ErrorCode::OutcomeUnknown, "no answer in time");
    script.ack(90_000, "ana", place, &temp_id, AckState::Rejected, Some(unknown));
    script.ack(200_000, "ana", place, &temp_id, AckState::Delivered, None);
    let run = reduce(std::mem::take(&mut script.events));
    let lane = run.lane_of(message_id).unwrap();
    assert_eq!(lane.progress(), Progress::Delivered);
    assert!(lane.rejection().is_none());
    assert!(!lane.is_over_budget(), "the first outcome came in time");
    assert_eq!(lane.rejections_us().count(), 0);

    let (message_id, temp_id) = script.sent(0, "ana", place, "y");
    script.ack(5_000, "ana", place, &temp_id, AckState::Delivered, None);
    let failed = WireError::new(ErrorCode::StoreUnavailable, "could not be stored");
    script.ack(900_000, "ana", place, &temp_id, AckState::Rejected, Some(failed));
    let run = reduce(script.finish());
    assert_eq!(run.lane_of(message_id).unwrap().progress(), Progress::Rejected);
}

#[test]
fn a_retry_is_a_second_attempt_of_the_same_lane() {
    let mut script = Script::default();
    let place = group(&mut script);
    let message_id = script.rejected(0, "ana", place, "again", ErrorCode::LogUnavailable);
    let temp_id: ackscope_protocol::TempId = "t-1".parse().unwrap();
    let again = Happening::Sent {
        user: user("ana"),
        message_id,
        conversation_id: place,
        temp_id: temp_id.clone(),
        text: Some("again".to_owned()),
        reply_to: None,
        attempt: 2,
    };
    script.push(500_000, again.clone());
    script.push(500_001, again);
    let run = reduce(script.events.clone());
    assert_eq!(run.lane_of(message_id).unwrap().progress(), Progress::Sending, "nothing is known of the retry yet");
    script.ack(502_000, "ana", place, &temp_id, AckState::Pending, None);
    script.ack(620_000, "ana", place, &temp_id, AckState::Delivered, None);
    let run = reduce(script.events);
    let lane = run.lane_of(message_id).unwrap();
    assert_eq!(lane.attempts.len(), 2);
    assert_eq!(lane.progress(), Progress::Delivered);
    assert_eq!(lane.progress_latency_us(), Some(120_000), "measured from the retry");
    assert!(lane.is_over_budget());
    assert_eq!(run.counts().lanes, 1);
    assert_eq!(texts(&run, "ana", place), ["again"]);
}

#[test]
fn duplicates_change_nothing() {
    let once = reduce(sample());
    let doubled = reduce(sample().into_iter().flat_map(|event| [event.clone(), event]));
    for number in once.lane_range() {
        let (one, two) = (once.lane(LaneNumber(number)).unwrap(), doubled.lane(LaneNumber(number)).unwrap());
        assert_eq!(one.attempts, two.attempts);
        assert_eq!(one.receipts, two.receipts);
        assert_eq!(one.persisted_us, two.persisted_us);
    }
    assert_eq!(once.counts().by_progress, doubled.counts().by_progress);
    assert_eq!(once.counts().over_budget, doubled.counts().over_budget);
}

/// By name: numbers follow the order users were heard of.
fn receipts(run: &Run, lane: &Lane) -> std::collections::BTreeMap<String, u64> {
    lane.receipts.iter().map(|receipt| (run.user_name(Some(receipt.user)).to_owned(), receipt.at_us)).collect()
}

#[test]
fn the_outcome_does_not_depend_on_the_order_events_come_in() {
    let mut events = sample();
    let in_order = reduce(events.clone());
    // A fixed shuffle: the test must fail the same way twice.
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..20 {
        for index in (1..events.len()).rev() {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            events.swap(index, usize::try_from(seed % (index as u64 + 1)).unwrap());
        }
        let shuffled = reduce(events.clone());
        assert_eq!(shuffled.counts().lanes, in_order.counts().lanes);
        for number in in_order.lane_range() {
            let lane = in_order.lane(LaneNumber(number)).unwrap();
            let other = shuffled.lane_of(lane.message_id).unwrap();
            assert_eq!(lane.progress(), other.progress());
            assert_eq!(receipts(&in_order, lane), receipts(&shuffled, other));
            assert_eq!(lane.is_over_budget(), other.is_over_budget());
        }
        // What the binary search relies on.
        let orders: Vec<u64> = shuffled.lanes.iter().map(|lane| lane.order_us).collect();
        assert!(orders.is_sorted());
    }
}

#[test]
fn extreme_values_do_not_panic() {
    let mut script = Script::default();
    let place = group(&mut script);
    for at_us in [0, 1, u64::MAX - 1, u64::MAX] {
        let (message_id, temp_id) = script.sent(at_us, "ana", place, "x");
        for state in [AckState::Persisted, AckState::Rejected, AckState::Delivered, AckState::Pending] {
            script.ack(u64::MAX - at_us, "ben", place, &temp_id, state, None);
            script.ack(u64::MAX - at_us, "ana", place, &temp_id, state, None);
        }
        script.stage(at_us, message_id, Stage::Delivered { seq: u64::MAX });
    }
    script.push(0, Happening::ClockAdvanced { by_ms: u64::MAX });
    script.push(u64::MAX, Happening::ClockAdvanced { by_ms: u64::MAX });
    script.push(0, Happening::Gap { missed: u64::MAX });
    script.push(0, Happening::Gap { missed: u64::MAX });
    script.push(0, Happening::Health { name: String::new(), value: f64::NAN });
    let run = reduce(script.events);
    assert!(run.business_floor().is_some());
    for number in run.lane_range() {
        let lane = run.lane(LaneNumber(number)).unwrap();
        let mut spans = Vec::new();
        lane.spans(&mut spans);
        assert!(spans.iter().all(|span| span.to_us.is_none_or(|to_us| to_us >= span.from_us)));
    }
}

#[test]
fn everybody_sees_a_conversation_by_seq() {
    let mut script = Script::default();
    let place = group(&mut script);
    script.message(1_000, "ana", place, "first", Pace::default());
    script.message(50_000, "ben", place, "second", Pace::default());
    let events = script.finish();
    let (early, late): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| event.at_us >= 50_000 || event.at_us < 1_000);
    // Cleo hears of the second before the first.
    let run = reduce(early.into_iter().chain(late));
    for name in ["ana", "ben", "cleo"] {
        assert_eq!(texts(&run, name, place), ["first", "second"], "{name}");
    }
}

#[test]
fn clients_know_only_what_they_saw() {
    let mut script = Script::default();
    let place = group(&mut script);
    let private = script.conversation(20, ConversationKind::Direct, None, &["ben", "cleo"]);
    let message_id = script.message(1_000, "ben", private, "psst", Pace::default());
    let run = reduce(script.events.clone());
    assert!(run.user_by_id(&user("ana")).unwrap().client.conversation(private).is_none());
    assert_eq!(texts(&run, "cleo", private), ["psst"]);
    assert_eq!(log(&run, "cleo", private).title(&user("cleo")), "ben");
    assert_eq!(log(&run, "ana", place).title(&user("ana")), "Team");

    let saw = |name: &str, event| Happening::Saw { user: user(name), event };
    let reactions = Reactions::from([("+".to_owned(), vec![user("ben")])]);
    script.push(
        60_000,
        saw("cleo", ServerEvent::Reaction(MessageReaction { conversation_id: private, message_id, reactions })),
    );
    let run = reduce(script.events.clone());
    assert_eq!(log(&run, "cleo", private).entry(message_id).unwrap().reactions.len(), 1);
    assert!(log(&run, "ben", private).entry(message_id).unwrap().reactions.is_empty());
    for (mode, left) in [(DeleteMode::Soft, vec!["-"]), (DeleteMode::Hard, vec![]), (DeleteMode::ForMe, vec![])] {
        let mut events = script.events.clone();
        let deleted = MessageDeleted { conversation_id: private, message_id, mode };
        events.push(TraceEvent { at_us: 70_000, what: saw("cleo", ServerEvent::Deleted(deleted)) });
        let run = reduce(events);
        assert_eq!(texts(&run, "cleo", private), left);
        assert_eq!(texts(&run, "ben", private), ["psst"]);
    }
}

#[test]
fn connections_and_refusals_are_kept_for_each_user() {
    let mut script = Script::default();
    script.connect(1, "ana");
    script.push(
        2,
        Happening::Connection { user: user("ana"), state: ConnectionState::Disconnected { reason: "dropped".into() } },
    );
    let refused = |request: &str| Happening::Answered {
        user: user("ana"),
        request: request.to_owned(),
        conversation: None,
        error: Some(WireError::new(ErrorCode::RoleForbidden, "only the owner may")),
    };
    script.push(3, refused("message:send"));
    let run = reduce(script.events.clone());
    let ana = run.user_by_id(&user("ana")).unwrap();
    assert!(!ana.is_connected());
    assert!(ana.notice.is_none(), "a refused message says so itself");
    script.push(4, refused("conversation:leave"));
    let run = reduce(script.events);
    let notice = run.user_by_id(&user("ana")).unwrap().notice.clone().unwrap();
    assert!(notice.text.contains("conversation:leave") && notice.text.contains("only the owner may"));
}

#[test]
fn memory_is_bounded() {
    let mut run = Run::default();
    let mut script = Script::default();
    let place = group(&mut script);
    for event in script.events {
        run.apply(event);
    }
    let message = |number: u128| Message {
        seq: u64::try_from(number).unwrap(),
        ..Message::new(MessageId::from_uuid(Uuid::from_u128(number)), place, user("ben"), Timestamp::from_millis(0))
    };
    let extra = 500;
    for number in 0..(LANES_MAX + extra) as u128 {
        let event = ServerEvent::New(MessageAnswer { message: message(number) });
        run.apply(TraceEvent { at_us: number as u64, what: Happening::Saw { user: user("ana"), event } });
    }
    assert_eq!(run.lane_range(), extra as u64..(LANES_MAX + extra) as u64);
    assert_eq!(run.counts().dropped_lanes, extra as u64);
    assert!(run.lane(LaneNumber(0)).is_none());
    assert_eq!(run.lane_numbers.len(), LANES_MAX);
    assert_eq!(log(&run, "ana", place).len(), MESSAGES_MAX);
    let first = MessageId::from_uuid(Uuid::from_u128((LANES_MAX + extra) as u128 - 1));
    for at_us in 0..2 * STAGES_MAX as u64 {
        run.apply(TraceEvent { at_us, what: Happening::Stage { message_id: first, stage: Stage::Confirmed } });
    }
    assert_eq!(run.lane_of(first).unwrap().stages.len(), STAGES_MAX);
    assert_eq!(run.lane_of(first).unwrap().stages_dropped, STAGES_MAX as u64);
    // A late event about a lane that is gone begins a lane anew and harms none.
    run.apply(TraceEvent {
        at_us: 1,
        what: Happening::Stage { message_id: MessageId::from_uuid(Uuid::from_u128(0)), stage: Stage::Indexed },
    });
    assert_eq!(run.lane_range().end, (LANES_MAX + extra) as u64 + 1);
}

#[test]
fn a_filter_is_kept_up_to_date_as_events_come() {
    let mut run = Run::default();
    let mut list = LaneList::default();
    let mut over_budget = LaneList::default();
    let needle = Filter { needle: "CAUGHT".to_owned(), only: Only::All };
    let over = Filter { only: Only::OverBudget, ..Filter::default() };
    for event in sample() {
        run.apply(event);
        list.update(&run, &needle);
        over_budget.update(&run, &over);
        // The same list, made from nothing.
        let mut fresh = LaneList::default();
        fresh.update(&run, &over);
        let rows = |list: &LaneList| (0..list.len()).map(|row| list.get(row).unwrap()).collect::<Vec<_>>();
        assert_eq!(rows(&over_budget), rows(&fresh));
        let expected: Vec<LaneNumber> =
            run.lane_range().map(LaneNumber).filter(|number| run.lane(*number).unwrap().is_over_budget()).collect();
        assert_eq!(rows(&over_budget), expected);
    }
    assert_eq!(list.len(), 1);
    assert_eq!(over_budget.len(), 2);
    let number = list.get(0).unwrap();
    assert_eq!(list.row_of(number), Some(0));
    assert_eq!(list.row_of(LaneNumber(number.0 + 1)), None);
    list.update(&run, &Filter { needle: "ben".to_owned(), only: Only::All });
    assert_eq!(list.len(), 3, "senders are searched too");
    list.update(&run, &Filter::default());
    assert!(list.is_open());
    assert_eq!(list.len() as u64, run.counts().lanes);
}

#[test]
fn business_time_is_proved_by_timestamps_and_moved_by_advances() {
    let mut script = Script::default();
    let place = group(&mut script);
    let (_, temp_id) = script.sent(1_000_000, "ana", place, "x");
    script.ack(2_000_000, "ana", place, &temp_id, AckState::Pending, None);
    let run = reduce(script.events.clone());
    assert_eq!(run.business_floor().unwrap().as_millis(), 1_769_860_802_000);
    script.push(3_000_000, Happening::ClockAdvanced { by_ms: 60_000 });
    let run = reduce(script.events);
    assert_eq!(run.business_floor().unwrap().as_millis(), 1_769_860_863_000);
    assert_eq!(run.advanced_ms(), 60_000);
}

#[test]
fn faults_have_a_beginning_and_an_end() {
    let fault = |at_us, target: &str, kind: &str, active| TraceEvent {
        at_us,
        what: Happening::Fault { target: target.to_owned(), kind: kind.to_owned(), active },
    };
    let mut run = reduce([
        fault(10, "kafka", "outage", true),
        fault(11, "kafka", "outage", true),
        fault(20, "search", "hang", true),
        // Set in place of the outage.
        fault(30, "kafka", "latency 200 ms", true),
        fault(40, "redis", "outage", false),
        fault(50, "search", "hang", false),
    ]);
    let spans: Vec<_> = run.fault_spans().map(|span| (span.kind.as_str(), span.from_us, span.to_us)).collect();
    assert_eq!(spans, [("outage", 10, Some(30)), ("hang", 20, Some(50)), ("latency 200 ms", 30, None)]);
    assert_eq!(run.faults().map(|fault| fault.kind.as_str()).collect::<Vec<_>>(), ["latency 200 ms"]);
    let hang = run.fault_spans().nth(1).unwrap();
    assert_eq!([19, 20, 49, 50].map(|at_us| hang.is_active_at(at_us)), [false, true, true, false]);
    for number in 0..3_000 {
        run.apply(fault(100 + number, "kafka", &format!("errors {number} %"), true));
    }
    assert_eq!(run.fault_spans().count(), FAULTS_MAX);
    assert_eq!(run.faults().count(), 1);
}

#[test]
fn a_device_is_named_as_the_person_it_belongs_to() {
    let run = reduce([TraceEvent { at_us: 1, what: Happening::Device { user: user("ana-2"), of: user("ana") } }]);
    let device = run.user_by_id(&user("ana-2")).unwrap();
    assert_eq!(device.person(), &user("ana"));
    assert_eq!(device.user_id, user("ana-2"));
}

#[test]
fn latencies_are_counted_in_parts_and_kept_up_to_date() {
    let mut script = Script::default();
    let place = group(&mut script);
    for number in 0..25_000_u64 {
        let (_, temp_id) = script.sent(1_000_000 + number * 1_000, "ana", place, "x");
        let pending_us = if number < 20_000 { 2_000 } else { PENDING_BUDGET_US };
        script.ack(1_000_000 + number * 1_000 + pending_us, "ana", place, &temp_id, AckState::Pending, None);
    }
    let mut run = reduce(script.finish());
    let mut latencies = Latencies::default();
    let scope = Scope::default();
    let count = |latencies: &mut Latencies, run: &Run, scope: &Scope, now_secs: f64| {
        let mut calls = 0;
        while !latencies.is_finished() || calls == 0 {
            latencies.update(run, scope, now_secs);
            calls += 1;
        }
        calls
    };
    assert_eq!(count(&mut latencies, &run, &scope, 0.0), 3, "a bounded share in each frame");
    let pending = latencies.spreads().of(Ack::Pending);
    assert_eq!((pending.count(), pending.over_budget), (25_000, 5_000), "the budget itself is over it");
    assert!(pending.quantile_us(0.5).is_some_and(|us| (2_000..2_020).contains(&us)));
    assert!(pending.quantile_us(0.99).is_some_and(|us| (10_000..10_080).contains(&us)));
    assert!(pending.max_us().is_some_and(|us| (10_000..10_080).contains(&us)));
    assert_eq!(latencies.spreads().of(Ack::Persisted).quantile_us(0.5), None);
    // The end of a range does not belong to it.
    let ranged = Scope { range: Some((1_000_000, 1_010_000)), ..Scope::default() };
    count(&mut latencies, &run, &ranged, 0.0);
    assert_eq!(latencies.spreads().messages, 10);
    let nobody = Scope { filter: Filter { needle: "nobody".to_owned(), ..Filter::default() }, ..ranged };
    count(&mut latencies, &run, &nobody, 0.0);
    assert_eq!(latencies.spreads().messages, 0);
    // What comes later is counted a moment later, and no sooner.
    count(&mut latencies, &run, &Scope::default(), 1.0);
    let mut script = Script::default();
    script.sent(90_000_000, "ben", place, "late");
    for event in script.finish() {
        run.apply(event);
    }
    assert!(latencies.update(&run, &Scope::default(), 1.1));
    assert_eq!(latencies.spreads().messages, 25_000);
    for _ in 0..3 {
        latencies.update(&run, &Scope::default(), 2.0);
    }
    assert_eq!(latencies.spreads().messages, 25_001);
    assert!(!latencies.update(&run, &Scope::default(), 9.0), "nothing new, nothing to do");
}

#[test]
fn columns_hold_every_value_once() {
    let mut script = Script::default();
    let place = group(&mut script);
    for (number, pending_us) in [1_u64, 99, 100, 5_000, 10_000, 99_999_999, 3_600_000_000].into_iter().enumerate() {
        let at_us = number as u64 * 10_000_000_000;
        let (_, temp_id) = script.sent(at_us, "ana", place, "x");
        script.ack(at_us + pending_us, "ana", place, &temp_id, AckState::Pending, None);
    }
    let run = reduce(script.finish());
    let mut latencies = Latencies::default();
    latencies.update(&run, &Scope::default(), 0.0);
    let columns = latencies.spreads().of(Ack::Pending).columns(100.0, 100_000_000.0, 60);
    assert_eq!(columns.len(), 60);
    assert_eq!(columns.iter().sum::<u64>(), 7, "what lies outside stands at the edges");
    assert!(columns[0] >= 3 && columns[59] >= 2, "{columns:?}");
}

#[test]
fn a_filter_takes_words_of_text_sender_and_reason() {
    let mut script = Script::default();
    let place = group(&mut script);
    script.message(1_000, "ana", place, "Übermorgen um drei", Pace::default());
    let hello = script.message(2_000, "ben", place, "Hello there", Pace::default());
    script.rejected(3_000, "ana", place, "not now", ErrorCode::LogUnavailable);
    let run = reduce(script.finish());
    let found = |needle: &str| {
        let mut list = LaneList::default();
        while list.update(&run, &Filter { needle: needle.to_owned(), ..Filter::default() }) {}
        (0..list.len()).filter_map(|row| run.lane(list.get(row)?)?.text.as_deref()).collect::<Vec<_>>()
    };
    assert_eq!(found("HELLO"), ["Hello there"]);
    assert_eq!(found("there ben"), ["Hello there"], "each word, in any order and place");
    assert!(found("there ana").is_empty());
    assert_eq!(found("übermorgen"), ["Übermorgen um drei"]);
    assert_eq!(found("log_unavailable"), ["not now"]);
    assert_eq!(found("t-2"), ["Hello there"]);
    assert_eq!(found(&hello.to_string()), ["Hello there"]);
    assert_eq!(found("  ").len(), 3);
}
