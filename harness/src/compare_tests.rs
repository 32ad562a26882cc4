use ackscope_protocol::error::ErrorCode;
use fastrand::Rng;

use super::*;
use crate::audit::{Finding, FindingKind};
use crate::fixtures::Trace;
use crate::recording::format::RecordedReport;
use crate::recording::{Ending, Header};

/// A log-normal value around a median, as latencies are spread.
fn log_normal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    let (one, other) = (rng.f64().max(1e-12), rng.f64());
    let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos();
    median * (sigma * normal).exp()
}

/// A run of messages at 100 a second whose outcome takes about 20 ms times `factor`; every so often a stall adds to
/// all that are sent within a second.
fn run(seed: u64, messages: u64, factor: f64, rejected: f64) -> Recording {
    let mut rng = Rng::with_seed(seed);
    let mut trace = Trace::new(&["ana", "ben"]);
    let mut stall = 0.0;
    for number in 0..messages {
        if number % 100 == 0 {
            stall = if rng.f64() < 0.1 { log_normal(&mut rng, 15_000.0, 0.5) } else { 0.0 };
        }
        let at_us = 10_000 + number * 10_000;
        let message = trace.send_at(at_us, "ana", "hello");
        trace.pending_at(at_us + log_normal(&mut rng, 400.0, 0.4) as u64, &message);
        let took = (factor * (log_normal(&mut rng, 20_000.0, 0.3) + stall)) as u64;
        if rng.f64() < rejected {
            trace.rejected_at(at_us + took, &message, ErrorCode::Overloaded);
        } else {
            trace.delivered_at(at_us + took, &message, number + 1);
            trace.persisted_at(at_us + took + 5_000, &message);
        }
    }
    recording(trace)
}

fn recording(trace: Trace) -> Recording {
    Recording {
        header: Header {
            ackscope_version: "0.0.0".to_owned(),
            trace_version: 1,
            run_id: uuid::Uuid::from_u128(1),
            started_at: ackscope_protocol::Timestamp::from_millis(0),
            backend: ackscope_protocol::control::BackendKind::Embedded,
            backend_reason: "embedded".to_owned(),
            seed: None,
            title: Some("Load".to_owned()),
        },
        read: trace.events.len() as u64,
        events: trace.events.into_iter().map(std::sync::Arc::new).collect(),
        forgotten: 0,
        unknown: 0,
        stored: None,
        report: None,
        ending: Ending::Closed(crate::recording::format::End::default()),
        bytes: 0,
    }
}

fn row<'a>(rows: &'a [Row], what: &str) -> &'a Row {
    rows.iter().find(|row| row.what == what).unwrap_or_else(|| panic!("{what} is not in {rows:#?}"))
}

fn all(comparison: &Comparison) -> impl Iterator<Item = &Row> {
    [&comparison.outcomes, &comparison.findings, &comparison.rates, &comparison.latencies].into_iter().flatten()
}

#[test]
fn a_recording_does_not_differ_from_itself() {
    let recording = run(1, 2_000, 1.0, 0.02);
    let comparison = compare(&recording, &recording, Floor { percent: 0.0, ms: 0.0 });
    assert!(!comparison.is_regression(), "{:?}", comparison.regressions);
    assert!(all(&comparison).all(|row| matches!(row.change, Change::Same | Change::TooFew)), "{comparison:#?}");
    assert!(comparison.latencies.len() >= 9 && comparison.rates.len() == 2, "{comparison:#?}");
}

#[test]
fn a_fifth_slower_is_found_and_a_fifth_faster_is_better() {
    let (before, after) = (run(1, 2_000, 1.0, 0.02), run(2, 2_000, 1.2, 0.02));
    let comparison = compare(&before, &after, Floor::default());
    assert_eq!(row(&comparison.latencies, "delivered p50").change, Change::Worse, "{comparison:#?}");
    assert!(comparison.is_regression());
    assert!(comparison.regressions.iter().any(|line| line.starts_with("delivered p50: 2")), "{comparison:?}");
    assert_eq!(row(&comparison.latencies, "pending p50").change, Change::Same);

    let comparison = compare(&after, &before, Floor::default());
    assert_eq!(row(&comparison.latencies, "delivered p50").change, Change::Better);
    assert!(!comparison.is_regression(), "{:?}", comparison.regressions);
}

#[test]
fn noise_alone_is_not_found() {
    let mut alarms = Vec::new();
    let mut rows = 0;
    for seed in 0..8 {
        let (before, after) = (run(seed * 2 + 100, 1_200, 1.0, 0.02), run(seed * 2 + 101, 1_200, 1.0, 0.02));
        let comparison = compare(&before, &after, Floor::default());
        rows += comparison.latencies.len();
        alarms.extend(all(&comparison).filter(|row| row.change == Change::Worse).cloned());
    }
    println!("{} false alarms in {rows} rows", alarms.len());
    assert!(alarms.is_empty(), "{alarms:#?}");
}

#[test]
fn the_least_change_is_a_border_of_both() {
    // 20 ms and 24 ms without any spread.
    let flat = |us: u64| {
        let mut trace = Trace::new(&["ana", "ben"]);
        for number in 0..40 {
            let message = trace.send_at(1_000 + number * 100_000, "ana", "hello");
            trace.delivered_at(1_000 + number * 100_000 + us, &message, number + 1);
        }
        recording(trace)
    };
    let change = |percent, ms| {
        let comparison = compare(&flat(20_000), &flat(24_000), Floor { percent, ms });
        row(&comparison.latencies, "delivered p50").change
    };
    assert_eq!(change(20.0, 4.0), Change::Worse);
    assert_eq!(change(20.1, 4.0), Change::Same);
    assert_eq!(change(20.0, 4.1), Change::Same);
    assert_eq!(change(0.0, 0.0), Change::Worse);
}

#[test]
fn more_rejections_are_found_and_a_few_more_are_not() {
    let comparison = compare(&run(1, 2_000, 1.0, 0.02), &run(2, 2_000, 1.0, 0.08), Floor::default());
    assert_eq!(row(&comparison.outcomes, "rejected overloaded").change, Change::Worse, "{comparison:#?}");
    assert_eq!(row(&comparison.outcomes, "persisted").change, Change::Worse);
    let comparison = compare(&run(1, 2_000, 1.0, 0.02), &run(2, 2_000, 1.0, 0.025), Floor::default());
    assert_eq!(row(&comparison.outcomes, "rejected overloaded").change, Change::Same);
}

#[test]
fn a_percentile_needs_values_beyond_it() {
    let names = |messages| {
        let recording = run(1, messages, 1.0, 0.0);
        let rows = compare(&recording, &recording, Floor::default()).latencies;
        rows.into_iter().filter(|row| row.what.starts_with("delivered")).collect::<Vec<_>>()
    };
    let compared = |messages| -> Vec<String> {
        names(messages).into_iter().filter(|row| row.change != Change::TooFew).map(|row| row.what).collect()
    };
    assert_eq!(names(19)[0].change, Change::TooFew);
    assert_eq!(compared(19), Vec::<String>::new());
    assert_eq!(compared(20), ["delivered p50"]);
    assert_eq!(compared(100), ["delivered p50", "delivered p90"]);
    assert_eq!(compared(999), ["delivered p50", "delivered p90"]);
    assert_eq!(compared(1_000), ["delivered p50", "delivered p90", "delivered p99"]);
}

#[test]
fn a_broken_promise_is_never_noise_and_a_failed_run_is_worse() {
    let with = |broken: u64| {
        let mut recording = run(1, 50, 1.0, 0.0);
        let mut report = RecordedReport { scenario: "Load".to_owned(), ..RecordedReport::default() };
        report.audit.promises.outcomes = 50;
        report.audit.broken = broken;
        let finding = || Finding { kind: FindingKind::Lost, sentence: String::new(), messages: Vec::new(), user: None };
        report.audit.findings = (0..broken).map(|_| finding()).collect();
        recording.report = Some(report);
        recording
    };
    let comparison = compare(&with(0), &with(1), Floor::default());
    assert_eq!(row(&comparison.findings, "lost").change, Change::Worse);
    assert_eq!(comparison.regressions[0], "the verdict: pass before, fail after");
    assert!(comparison.notes.is_empty(), "{:?}", comparison.notes);
    let comparison = compare(&with(2), &with(1), Floor::default());
    assert!(!comparison.is_regression());
    assert_eq!(row(&comparison.findings, "lost").change, Change::Better);
}

#[test]
fn fewer_deliveries_for_the_same_sends_are_worse_and_fewer_sends_are_different() {
    let run = |every: u64, deliver: bool| {
        let mut trace = Trace::new(&["ana", "ben"]);
        for number in 0..600 {
            let at_us = 1_000 + number * every;
            let message = trace.send_at(at_us, "ana", "hello");
            if deliver || number % 3 == 0 {
                trace.delivered_at(at_us + 2_000, &message, number + 1);
            }
        }
        recording(trace)
    };
    let rates = compare(&run(10_000, true), &run(10_000, false), Floor::default()).rates;
    assert_eq!((rates[0].change, rates[1].change), (Change::Same, Change::Worse), "{rates:#?}");
    let rates = compare(&run(10_000, true), &run(20_000, true), Floor::default()).rates;
    assert_eq!((rates[0].change, rates[1].change), (Change::Different, Change::Different), "{rates:#?}");
}

#[test]
fn the_table_says_what_became_worse() {
    let text = table(&compare(&run(1, 2_000, 1.0, 0.0), &run(2, 2_000, 1.3, 0.0), Floor::default()), Paint::OFF);
    for part in ["before  Load, embedded backend, 2000 messages", "Time since sent", "✗ worse", "things became worse"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let same = run(1, 100, 1.0, 0.0);
    let text = table(&compare(&same, &same, Floor::default()), Paint::OFF);
    assert!(text.ends_with("Nothing became worse above the noise\n"), "{text}");
}

#[test]
fn empty_recordings_are_compared_without_a_word_too_much() {
    let empty = recording(Trace::new(&["ana"]));
    let comparison = compare(&empty, &empty, Floor::default());
    assert!(!comparison.is_regression());
    assert!(comparison.latencies.is_empty() && comparison.outcomes.is_empty());
    assert!(table(&comparison, Paint::OFF).contains("no promise was checked"));
}

#[test]
fn messages_are_matched_by_who_sent_what_and_not_by_id() {
    let mut before = Trace::new(&["ana", "ben"]);
    let mut after = Trace::new(&["ana", "ben"]);
    // Something before it gives everything after it another id.
    let other = after.send_at(500, "ben", "only after");
    after.delivered_at(900, &other, 1);
    for (trace, second_is_delivered) in [(&mut before, true), (&mut after, false)] {
        for (number, text) in ["twice", "twice", "once"].into_iter().enumerate() {
            let at_us = 1_000 + number as u64 * 1_000;
            let message = trace.send_at(at_us, "ana", text);
            if number == 1 && !second_is_delivered {
                trace.rejected_at(at_us + 300, &message, ErrorCode::Overloaded);
            } else {
                trace.delivered_at(at_us + 300, &message, number as u64 + 2);
            }
        }
    }
    before.send_at(9_000, "ben", "once");
    let (before, after) = (History::of(&before.events), History::of(&after.events));
    let matched = match_messages(&before, &after);
    let said = |message: &MessageHistory| {
        let sender = message.sender.as_ref().map_or("", |sender| sender.as_str());
        format!("{sender}: {} at {:?}", message.text.as_deref().unwrap_or_default(), message.sent_us)
    };
    assert_eq!(matched.only_before.iter().copied().map(said).collect::<Vec<_>>(), ["ben: once at [9000]"]);
    assert_eq!(matched.only_after.iter().copied().map(said).collect::<Vec<_>>(), ["ben: only after at [500]"]);
    let [(one, other)] = matched.ended_differently[..] else { panic!("{:?}", matched.ended_differently) };
    assert_eq!((said(one), outcome(one)), ("ana: twice at [2000]".to_owned(), "delivered".to_owned()));
    assert_eq!((said(other), outcome(other)), ("ana: twice at [2000]".to_owned(), "rejected overloaded".to_owned()));
    let same = match_messages(&before, &before);
    assert!(same.only_before.is_empty() && same.only_after.is_empty() && same.ended_differently.is_empty());
}
