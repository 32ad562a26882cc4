use ackscope_protocol::faults::TABLE;
use ackscope_protocol::text::MessageText;
use ackscope_protocol::time::Timestamp;
use ackscope_protocol::wire::{MessageAnswer, MessageMedia};

use super::*;
use crate::fixtures::{Made, Trace, user};

const MS: u64 = 1_000;
const SEC: u64 = 1_000_000;

fn fault(trace: &mut Trace, at_us: u64, target: &str, kind: &str, active: bool) {
    trace.push(at_us, Happening::Fault { target: target.into(), kind: kind.into(), active });
}

fn stage(trace: &mut Trace, at_us: u64, made: &Made, stage: Stage) {
    trace.push(at_us, Happening::Stage { message_id: made.message_id, stage });
}

/// Delivered after `took_us`; persisted, confirmed and indexed when it is said.
fn delivered(trace: &mut Trace, at_us: u64, text: &str, took_us: u64, done_us: Option<u64>) -> Made {
    let made = trace.send_at(at_us, "ana", text);
    trace.pending_at(at_us + 100, &made);
    trace.delivered_at(at_us + took_us, &made, 1);
    if let Some(done_us) = done_us {
        stage(trace, done_us, &made, Stage::Persisted { inserted: true, bulk: 1 });
        stage(trace, done_us + 500, &made, Stage::Indexed);
        trace.persisted_at(done_us + 1_000, &made);
    }
    made
}

fn rejected(trace: &mut Trace, at_us: u64, text: &str, code: ErrorCode) -> Made {
    let made = trace.send_at(at_us, "ana", text);
    trace.rejected_at(at_us + 2 * MS, &made, code);
    made
}

fn ledger(trace: &Trace) -> Ledger {
    Ledger::of(&trace.events, &History::of(&trace.events))
}

fn only(trace: &Trace) -> Row {
    let mut rows = ledger(trace).rows;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    rows.remove(0)
}

fn people() -> Trace {
    Trace::new(&["ana", "ben"])
}

#[test]
fn everything_that_can_be_broken_has_a_promise_of_its_own() {
    for row in TABLE {
        for on in row.on {
            assert_eq!(promise(*on, row.kind).on, *on, "{on} {}", row.kind);
        }
    }
    for promise in PROMISES {
        assert!(promise.may_refuse.iter().all(|code| code.retryable() && OF_DEPENDENCIES.contains(code)));
    }
}

#[test]
fn a_run_without_faults_has_no_rows() {
    let mut trace = people();
    delivered(&mut trace, SEC, "hello", 2 * MS, Some(SEC + 20 * MS));
    assert!(ledger(&trace).rows.is_empty());
}

#[test]
fn search_is_out_and_what_was_missed_is_indexed_afterwards() {
    let mut trace = people();
    delivered(&mut trace, SEC, "before", 3 * MS, Some(SEC + 20 * MS));
    fault(&mut trace, 2 * SEC, "search", "outage", true);
    let during = trace.send_at(2 * SEC + MS, "ana", "during");
    trace.delivered_at(2 * SEC + 6 * MS, &during, 2);
    stage(&mut trace, 2 * SEC + 30 * MS, &during, Stage::Persisted { inserted: true, bulk: 1 });
    fault(&mut trace, 3 * SEC, "search", "outage", false);
    stage(&mut trace, 3 * SEC + 250 * MS, &during, Stage::Indexed);
    delivered(&mut trace, 3 * SEC + 300 * MS, "after", 4 * MS, Some(3 * SEC + 320 * MS));
    let row = only(&trace);
    assert_eq!((row.dependency, row.kind, row.times, row.sends), (Dependency::Search, FaultKind::Outage, 1, 1));
    assert_eq!((row.from_us, row.until_us), (2 * SEC, Some(3 * SEC)));
    assert_eq!(row.outcomes, BTreeMap::from([("delivered".to_owned(), 1)]));
    assert_eq!(row.delivered.at(Percentile::MAX), Some(5 * MS));
    assert_eq!((row.delivered_without.count(), row.delivered_without.at(Percentile::MAX)), (2, Some(4 * MS)));
    let recovery = Recovery {
        first_delivered_us: Some(304 * MS),
        caught_up_us: Some(250 * MS),
        indexed: 1,
        ..Recovery::default()
    };
    assert_eq!(row.recovery, recovery);
    assert_eq!((row.verdict, row.reason.as_str(), row.fails_run), (Kept::Kept, "as promised", false));
}

#[test]
fn what_is_never_indexed_fails_the_run() {
    let mut trace = people();
    fault(&mut trace, SEC, "search", "outage", true);
    let during = trace.send_at(SEC + MS, "ana", "during");
    trace.delivered_at(SEC + 6 * MS, &during, 1);
    stage(&mut trace, SEC + 30 * MS, &during, Stage::Persisted { inserted: true, bulk: 1 });
    fault(&mut trace, 2 * SEC, "search", "outage", false);
    let row = only(&trace);
    assert_eq!(row.recovery, Recovery { open: 1, ..Recovery::default() });
    assert_eq!((row.verdict, row.fails_run), (Kept::Broken, true));
    assert_eq!(row.reason, "\"during\" was never indexed");

    // What was not recorded is not known, and what was never healed need not be made up for.
    trace.push(3 * SEC, Happening::Gap { missed: 1 });
    assert_eq!(only(&trace).verdict, Kept::Kept);
    trace.events.retain(|event| !matches!(&event.what, Happening::Fault { active: false, .. } | Happening::Gap { .. }));
    let row = only(&trace);
    assert_eq!((row.verdict, row.until_us, row.recovery), (Kept::Kept, None, Recovery::default()));
    assert!(row.reason.ends_with("it was never healed"), "{}", row.reason);
}

#[test]
fn a_refusal_that_the_fault_does_not_explain_fails_the_run() {
    for (target, code, is_broken) in [
        ("search", ErrorCode::StoreUnavailable, true),
        ("search", ErrorCode::SearchUnavailable, true),
        ("search", ErrorCode::Internal, true),
        // The one who asked is at fault.
        ("search", ErrorCode::RoleForbidden, false),
        ("redis", ErrorCode::StoreUnavailable, true),
        ("media", ErrorCode::MediaUnavailable, false),
        ("media", ErrorCode::LogUnavailable, true),
        ("mongodb", ErrorCode::StoreUnavailable, false),
        ("mongodb", ErrorCode::LogUnavailable, true),
        ("kafka", ErrorCode::LogUnavailable, false),
        ("kafka", ErrorCode::OutcomeUnknown, false),
        ("kafka", ErrorCode::Internal, true),
    ] {
        let mut trace = people();
        fault(&mut trace, SEC, target, "outage", true);
        rejected(&mut trace, SEC + MS, "no", code);
        fault(&mut trace, 2 * SEC, target, "outage", false);
        let row = only(&trace);
        assert_eq!(row.outcomes, BTreeMap::from([(code.as_str().to_owned(), 1)]));
        assert_eq!(row.fails_run, is_broken, "{target} {code}: {}", row.reason);
        assert_eq!(row.verdict, if is_broken { Kept::Broken } else { Kept::Kept });
    }
}

#[test]
fn a_refusal_because_time_was_over_is_lateness() {
    let deadline_us = us(Limits::default().send_deadline);
    let run = |took_us: u64, count: u64| {
        let mut trace = people();
        for number in 0..MANY {
            delivered(&mut trace, SEC + number * MS, "without", MS, None);
        }
        fault(&mut trace, 20 * SEC, "search", "hang", true);
        for number in 0..count {
            let made = trace.send_at(20 * SEC + number * MS, "ana", "with");
            trace.rejected_at(20 * SEC + number * MS + took_us, &made, ErrorCode::StoreUnavailable);
        }
        only(&trace)
    };
    let row = run(deadline_us, 1);
    assert_eq!((row.verdict, row.fails_run), (Kept::Broken, false));
    assert_eq!(row.reason, "\"with\" was refused with `store_unavailable` after 90.0 ms: out of time");
    assert!(run(deadline_us - 1, 1).fails_run, "nothing was slow");
    let mut trace = people();
    fault(&mut trace, SEC, "search", "hang", true);
    rejected(&mut trace, SEC, "at once", ErrorCode::StoreUnavailable);
    let history = History::of(&trace.events);
    let impatient = Ledger::with_deadline(&trace.events, &history, Duration::from_millis(2));
    assert!(!impatient.fails_run() && ledger(&trace).fails_run(), "the node's own limit counts");
    // Sent again meanwhile: the refusal is the answer to the first.
    let mut trace = people();
    fault(&mut trace, SEC, "search", "hang", true);
    let made = trace.send_at(SEC, "ana", "with");
    trace.retry_at(SEC + deadline_us / 2, &made);
    trace.rejected_at(SEC + deadline_us, &made, ErrorCode::OutcomeUnknown);
    assert!(!ledger(&trace).fails_run());
    trace.retry_at(2 * SEC, &made);
    trace.rejected_at(2 * SEC + deadline_us / 2, &made, ErrorCode::OutcomeUnknown);
    assert!(ledger(&trace).fails_run(), "this one was answered before its time was over");
    // Many of them are no chance.
    let row = run(deadline_us, MANY);
    assert!(row.fails_run);
    assert_eq!((row.broken, row.breaches.len()), (MANY + 1, BREACHES_MAX));
    assert!(row.breaches[0].fails_run && row.breaches[1..].iter().all(|breach| !breach.fails_run));
    let sentence = "half of the messages were not delivered within 100 ms; without a fault the median is 1.00 ms";
    assert_eq!(row.reason, format!("{sentence}, and {MANY} more"));
}

#[test]
fn a_refusal_says_that_trying_again_makes_sense() {
    let mut trace = people();
    fault(&mut trace, SEC, "kafka", "outage", true);
    rejected(&mut trace, SEC + MS, "no", ErrorCode::LogUnavailable);
    for event in &mut trace.events {
        if let Happening::Saw { event: ServerEvent::Ack(ack), .. } = &mut event.what
            && let Some(error) = &mut ack.error
        {
            error.retryable = false;
        }
    }
    let row = only(&trace);
    assert!(row.fails_run);
    assert_eq!(row.reason, "\"no\" was refused with `log_unavailable` and not to be tried again");
}

#[test]
fn a_fault_beside_it_or_just_over_explains_a_refusal() {
    let mut trace = people();
    fault(&mut trace, SEC, "search", "outage", true);
    fault(&mut trace, SEC + MS, "kafka", "hang", true);
    rejected(&mut trace, SEC + 2 * MS, "both", ErrorCode::OutcomeUnknown);
    fault(&mut trace, 2 * SEC, "kafka", "hang", false);
    rejected(&mut trace, 2 * SEC + AFTERMATH_US - 3 * MS, "just over", ErrorCode::LogUnavailable);
    let rows = ledger(&trace).rows;
    let names: Vec<_> = rows.iter().map(|row| (row.dependency, row.sends, row.verdict)).collect();
    assert_eq!(names, [(Dependency::Search, 2, Kept::Kept), (Dependency::Kafka, 1, Kept::Kept)]);
    assert_eq!(rows[0].beside, BTreeSet::from(["kafka hang".to_owned()]));
    assert_eq!(rows[1].beside, BTreeSet::from(["search outage".to_owned()]));

    // Long after it does not.
    rejected(&mut trace, 2 * SEC + AFTERMATH_US, "long over", ErrorCode::LogUnavailable);
    assert_eq!(ledger(&trace).rows[0].verdict, Kept::Broken);
    assert_eq!(ledger(&trace).rows[1].verdict, Kept::Kept);
}

#[test]
fn a_send_at_the_beginning_belongs_to_the_fault_and_one_at_its_end_does_not() {
    let mut trace = people();
    delivered(&mut trace, SEC - 10 * MS, "before", MS, None);
    delivered(&mut trace, SEC - MS, "across the beginning", 3 * MS, None);
    fault(&mut trace, SEC, "search", "latency 200 ms + up to 100 ms", true);
    delivered(&mut trace, SEC, "at the beginning", 4 * MS, None);
    delivered(&mut trace, 2 * SEC - 1, "the last", 5 * MS, None);
    fault(&mut trace, 2 * SEC, "search", "latency 200 ms + up to 100 ms", false);
    delivered(&mut trace, 2 * SEC, "at the end", 2 * MS, None);
    let row = only(&trace);
    assert_eq!((row.fault.as_str(), row.kind), ("latency 200 ms + up to 100 ms", FaultKind::Latency));
    assert_eq!((row.sends, row.delivered.count()), (2, 2));
    // One that was under way when it began is neither with nor without it.
    assert_eq!((row.delivered_without.count(), row.delivered_without.at(Percentile::MAX)), (2, Some(2 * MS)));
    // The last of the fault is delivered after it as well, and later than the first one sent after it.
    assert_eq!(row.recovery.first_delivered_us, Some(2 * MS));
}

#[test]
fn nothing_was_sent_meanwhile() {
    let mut trace = people();
    delivered(&mut trace, SEC, "before", MS, Some(SEC + 5 * MS));
    fault(&mut trace, 2 * SEC, "redis", "outage", true);
    fault(&mut trace, 3 * SEC, "redis", "outage", false);
    let row = only(&trace);
    assert_eq!((row.verdict, row.sends, row.delivered.count()), (Kept::NotExercised, 0, 0));
    assert_eq!((row.reason.as_str(), row.recovery), ("nothing was sent meanwhile", Recovery::default()));
}

#[test]
fn kafka_is_silent_and_a_later_confirmation_supersedes() {
    let mut trace = people();
    fault(&mut trace, SEC, "kafka", "hang", true);
    let unknown = rejected(&mut trace, SEC + MS, "unknown", ErrorCode::OutcomeUnknown);
    rejected(&mut trace, SEC + 2 * MS, "stays unknown", ErrorCode::OutcomeUnknown);
    let again = trace.send_at(SEC + 3 * MS, "ana", "again");
    trace.retry_at(SEC + 4 * MS, &again);
    trace.rejected_at(SEC + 6 * MS, &again, ErrorCode::LogUnavailable);
    trace.send_at(SEC + 7 * MS, "ana", "no answer");
    trace.send_at(SEC + 7 * MS, "ben", "gone");
    trace.disconnect_at(SEC + 8 * MS, "ben");
    fault(&mut trace, 2 * SEC, "kafka", "hang", false);
    trace.delivered_at(2 * SEC + 40 * MS, &unknown, 1);
    stage(&mut trace, 2 * SEC + 90 * MS, &unknown, Stage::Persisted { inserted: true, bulk: 1 });
    stage(&mut trace, 2 * SEC + 95 * MS, &unknown, Stage::Indexed);
    let row = only(&trace);
    let outcomes = [
        ("connection_lost", 1),
        ("log_unavailable", 1),
        ("no_answer", 1),
        ("outcome_unknown", 1),
        ("sent_again", 1),
        ("superseded", 1),
    ];
    assert_eq!(row.outcomes, outcomes.map(|(name, count)| (name.to_owned(), count)).into());
    assert_eq!(row.sends, 6);
    assert_eq!(row.recovery.first_delivered_us, Some(40 * MS));
    assert_eq!(row.recovery.caught_up_us, Some(95 * MS));
    assert_eq!((row.recovery.persisted, row.recovery.indexed, row.recovery.open), (1, 1, 0));
    // No outcome at all is for the audit to judge.
    assert_eq!((row.verdict, row.fails_run), (Kept::Broken, false));
    assert_eq!(row.reason, "\"no answer\" got no outcome");
}

#[test]
fn consumers_are_paused_and_what_was_delivered_is_persisted_afterwards() {
    let mut trace = people();
    fault(&mut trace, SEC, "consumers", "pause", true);
    for number in 0..3 {
        delivered(&mut trace, SEC + number * MS, "wait", MS, Some(2 * SEC + (number + 1) * 100 * MS));
    }
    fault(&mut trace, 2 * SEC, "consumers", "pause", false);
    let row = only(&trace);
    assert_eq!((row.verdict, row.recovery.persisted, row.recovery.indexed), (Kept::Kept, 3, 3));
    assert_eq!(row.recovery.caught_up_us, Some(300 * MS + 500));
    assert_eq!(row.recovery.first_delivered_us, None, "nothing was sent after it");
}

#[test]
fn what_was_withdrawn_need_not_be_persisted() {
    let mut trace = people();
    fault(&mut trace, SEC, "mongodb", "outage", true);
    let made = delivered(&mut trace, SEC + MS, "poor thing", MS, None);
    let other = delivered(&mut trace, SEC + 2 * MS, "lucky", MS, Some(2 * SEC + MS));
    fault(&mut trace, 2 * SEC, "mongodb", "outage", false);
    trace.rejected_at(2 * SEC + 2 * MS, &made, ErrorCode::StoreUnavailable);
    let row = only(&trace);
    assert_eq!((row.verdict, row.recovery.open, row.recovery.persisted), (Kept::Kept, 0, 1));
    let is_persisted = |event: &TraceEvent| matches!(&event.what, Happening::Stage { message_id, .. } if *message_id == other.message_id);
    // At least one stage is left, so that it is known that stages were recorded.
    let last = trace.events.iter().rposition(is_persisted).unwrap();
    trace.events.retain({
        let mut index = 0;
        move |event| {
            index += 1;
            index - 1 == last || !is_persisted(event)
        }
    });
    let row = only(&trace);
    assert_eq!((row.verdict, row.fails_run, row.recovery.open), (Kept::Broken, false, 1));
    assert_eq!(row.reason, "\"lucky\" was never persisted");
}

#[test]
fn single_late_messages_are_shown_and_many_fail_the_run() {
    let run = |with_it_ms: u64, without_ms: u64, count: u64| {
        let mut trace = people();
        for number in 0..count {
            delivered(&mut trace, SEC + number * MS, "without", without_ms * MS, None);
        }
        fault(&mut trace, 20 * SEC, "search", "hang", true);
        for number in 0..count {
            delivered(&mut trace, 20 * SEC + number * MS, "with", with_it_ms * MS, None);
        }
        fault(&mut trace, 30 * SEC, "search", "hang", false);
        let row = only(&trace);
        (row.verdict, row.fails_run, row.broken)
    };
    assert_eq!(run(100, 5, MANY), (Kept::Kept, false, 0));
    assert_eq!(run(101, 5, MANY), (Kept::Broken, true, 1));
    assert_eq!(run(101, 5, MANY - 1), (Kept::Broken, false, MANY - 1));
    // As slow without a fault: the machine.
    assert_eq!(run(101, 102, MANY), (Kept::Kept, false, 0));
}

#[test]
fn a_message_that_something_else_slows_down_is_not_late() {
    for (beside, is_shown) in [("kafka", false), ("mongodb", false), ("redis", true)] {
        let mut trace = people();
        fault(&mut trace, SEC, "search", "outage", true);
        fault(&mut trace, SEC, beside, "latency 300 ms", true);
        delivered(&mut trace, SEC + MS, "slow", 400 * MS, None);
        let rows = ledger(&trace).rows;
        assert_eq!(rows[0].verdict == Kept::Broken, is_shown, "{beside}");
    }
}

#[test]
fn media_are_verified_afterwards() {
    let mut trace = people();
    let picture = |trace: &mut Trace, at_us: u64, made: &Made, media_state: MediaState, is_new: bool| {
        let media_id = "7d444840-9dc0-11d1-b245-5ffdce74fad2".parse().unwrap();
        let mut message =
            Message::new(made.message_id, trace.conversation_id, made.sender.clone(), Timestamp::from_millis(0));
        message.media = vec![MessageMedia { media_id, media_state }];
        message.text = Some(MessageText::new(made.text.clone()).unwrap());
        let answer = MessageAnswer { message };
        let event = if is_new { ServerEvent::New(answer) } else { ServerEvent::Edited(answer) };
        trace.saw(at_us, &user("ben"), event);
    };
    fault(&mut trace, SEC, "media", "outage", true);
    let made = delivered(&mut trace, SEC + MS, "sunset", 300 * MS, Some(SEC + 400 * MS));
    picture(&mut trace, SEC + 310 * MS, &made, MediaState::Unverified, true);
    fault(&mut trace, 2 * SEC, "media", "outage", false);
    let row = only(&trace);
    assert_eq!((row.verdict, row.fails_run, row.recovery.open), (Kept::Broken, true, 1));
    assert_eq!(row.reason, "\"sunset\" was never verified");
    picture(&mut trace, 2 * SEC + 70 * MS, &made, MediaState::Verified, false);
    let row = only(&trace);
    assert_eq!((row.verdict, row.recovery.verified), (Kept::Kept, 1), "{}", row.reason);
    assert_eq!(row.recovery.caught_up_us, Some(70 * MS));
}

#[test]
fn a_fault_that_happens_once_reaches_what_is_sent_after_it() {
    let mut trace = people();
    for kind in ["crash_after_write", "crash_before_write"] {
        let at_us = if kind == "crash_after_write" { SEC } else { SEC + 500 * MS };
        fault(&mut trace, at_us, "consumers", kind, true);
        fault(&mut trace, at_us + 10, "consumers", kind, false);
    }
    delivered(&mut trace, SEC + 20, "first", MS, Some(SEC + 5 * MS));
    delivered(&mut trace, SEC + 500 * MS, "second", MS, Some(SEC + 510 * MS));
    delivered(&mut trace, SEC + 500 * MS + ONCE_REACH_US, "too late", MS, Some(9 * SEC));
    let rows = ledger(&trace).rows;
    let sends: Vec<_> = rows.iter().map(|row| (row.kind, row.sends, row.verdict)).collect();
    assert_eq!(sends, [(FaultKind::CrashAfterWrite, 1, Kept::Kept), (FaultKind::CrashBeforeWrite, 1, Kept::Kept)]);
    assert_eq!(rows[0].recovery.caught_up_us, None);
    assert!(rows.iter().all(|row| row.beside.is_empty()));
}

#[test]
fn what_happens_once_does_not_end_what_lasts() {
    let mut trace = people();
    fault(&mut trace, SEC, "kafka", "hang", true);
    fault(&mut trace, 2 * SEC, "kafka", "redeliver 3", true);
    fault(&mut trace, 2 * SEC + 5, "kafka", "redeliver 3", false);
    fault(&mut trace, 3 * SEC, "kafka", "hang", false);
    let rows = ledger(&trace).rows;
    let ends: Vec<_> = rows.iter().map(|row| (row.kind, row.until_us)).collect();
    assert_eq!(ends, [(FaultKind::Hang, Some(3 * SEC)), (FaultKind::Redeliver, Some(2 * SEC + 5))]);
}

#[test]
fn what_is_no_fault_of_the_table_is_left_out() {
    let mut trace = people();
    fault(&mut trace, SEC, "weather", "rain", true);
    fault(&mut trace, SEC, "search", "", true);
    fault(&mut trace, SEC, "search", "outage", false);
    assert!(ledger(&trace).rows.is_empty());
}

#[test]
fn faults_of_a_kind_become_one_row_and_runs_are_added() {
    let mut trace = people();
    delivered(&mut trace, MS, "without", 2 * MS, None);
    for number in 1..=3 {
        let kind = format!("latency {number} ms");
        fault(&mut trace, number * SEC, "redis", &kind, true);
        if number != 2 {
            delivered(&mut trace, number * SEC + MS, "with", number * 10 * MS, None);
        }
        fault(&mut trace, number * SEC + 500 * MS, "redis", &kind, false);
    }
    fault(&mut trace, 4 * SEC, "search", "outage", true);
    rejected(&mut trace, 4 * SEC + MS, "no", ErrorCode::Internal);
    let run = ledger(&trace).by_fault();
    assert_eq!(run.rows.len(), 2);
    let [search, redis] = [&run.rows[0], &run.rows[1]];
    assert_eq!((search.dependency, search.until_us, search.verdict), (Dependency::Search, None, Kept::Broken));
    assert_eq!((redis.fault.as_str(), redis.times, redis.sends, redis.verdict), ("latency", 3, 2, Kept::Kept));
    assert_eq!((redis.from_us, redis.until_us), (SEC, Some(3 * SEC + 500 * MS)));
    assert_eq!((redis.delivered.count(), redis.delivered_without.count()), (2, 1));

    let mut all = Ledger::default();
    all.add_run(&run);
    all.add_run(&run);
    assert_eq!(all.rows[1].times, 6);
    assert_eq!((all.rows[1].delivered.count(), all.rows[1].delivered_without.count()), (4, 2));
    assert_eq!((all.rows[0].broken, all.rows[0].fails_run), (2, true));
    assert_eq!((all.count(Kept::Broken), all.fails_run()), (1, true));
}
