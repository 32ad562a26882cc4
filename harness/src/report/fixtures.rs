//! Hand-made runs for the tests of the reports.

use std::sync::Arc;

use ackscope_protocol::control::BackendKind;
use ackscope_protocol::trace::{Happening, Stage};
use ackscope_protocol::{ErrorCode, Timestamp};

use crate::audit::{Audit, Stored, StoredConversation, StoredMessage, audit};
use crate::cost::{Cost, StartCost};
use crate::fixtures::{Made, Trace};
use crate::history::History;
use crate::latency::{Latencies, Summary, check_budgets};
use crate::ledger::Ledger;
use crate::scenario::file::Budgets;
use crate::scenario::outcome::{RunReport, StepOutcome, StepResult};

fn step(number: usize, line: u32, title: &str, is_mark: bool, outcome: StepOutcome, took_us: u64) -> StepResult {
    StepResult { number, line, title: title.to_owned(), is_mark, outcome, took_us, messages: Vec::new() }
}

/// Ana says hello and Ben sees it, or not. Steps that were carried out speak of that message.
fn report(seen: bool, budgets: &str, mut steps: Vec<StepResult>) -> RunReport {
    let mut trace = Trace::new(&["ana", "ben"]);
    let hello = trace.send_at(1_000, "ana", "hello");
    trace.pending_at(1_300, &hello);
    trace.delivered_at(3_000, &hello, 1);
    if seen {
        trace.seen_at(3_100, "ben", &hello);
    }
    trace.persisted_at(21_000, &hello);
    let stored = Stored {
        conversations: vec![StoredConversation {
            conversation_id: trace.conversation_id,
            version: 0,
            participants: trace.participants.clone(),
            cached: None,
            messages: vec![StoredMessage {
                message_id: hello.message_id,
                sender: hello.sender.clone(),
                temp_id: hello.temp_id.clone(),
                text: Some("hello".into()),
                created_at: Timestamp::from_millis(0),
                edits: Vec::new(),
                deleted: false,
                seq: 1,
                forwarded: false,
            }],
        }],
        ..Stored::default()
    };
    for step in steps.iter_mut().filter(|step| !step.is_mark && step.outcome != StepOutcome::Skipped) {
        step.messages.push(hello.message_id);
    }
    let budgets: Budgets = serde_saphyr::from_str(budgets).unwrap();
    let latencies = Latencies::of(&trace.events);
    RunReport {
        scenario: "A small talk".into(),
        file_name: "talk.yaml".into(),
        backend: BackendKind::Embedded,
        backend_reason: "embedded: it was asked for".into(),
        seed: 7,
        steps,
        budgets: check_budgets(&latencies, &budgets),
        latencies,
        audit: audit(&trace.events, &stored),
        ledger: Ledger::of(&trace.events, &History::of(&trace.events)),
        cost: cost(),
        environment_failed: None,
        took_us: 1_500_000,
        events: trace.events.into_iter().map(Arc::new).collect(),
    }
}

fn cost() -> Cost {
    Cost {
        start: StartCost { environment_us: 40_000, node_us: 12_000 },
        users_us: 9_000,
        steps_us: 2_400,
        heal_us: 0,
        rest_us: 55_000,
        audit_us: 1_500,
        timers_late: Summary { count: 6, p50_us: 1_100, p99_us: 2_300, max_us: 2_300, ..Summary::default() },
        events_missed: 0,
        memory_peak_bytes: Some(64 * 1_048_576),
    }
}

/// Everything was as it should be.
pub(crate) fn passed_report() -> RunReport {
    report(
        true,
        "{pending: {p99: 10ms}, delivered: {p99: 100ms}}",
        vec![
            step(1, 5, "Hello", true, StepOutcome::Passed, 0),
            step(2, 6, "ana sends \"hello\" to talk", false, StepOutcome::Passed, 2_000),
            step(3, 7, "ben saw exactly: hello", false, StepOutcome::Passed, 400),
        ],
    )
}

/// An expectation, a promise and a budget were broken.
pub(crate) fn failed_report() -> RunReport {
    let failed = StepOutcome::Failed { expected: "ben to have seen exactly: hello".into(), found: "nothing".into() };
    report(
        false,
        "rejected: {p99: 100ms}",
        vec![
            step(1, 6, "ana sends \"hello\" to talk", false, StepOutcome::Passed, 2_000),
            step(2, 7, "ben saw exactly: hello", false, failed, 400),
            step(3, 8, "ben sends \"never\" to talk", false, StepOutcome::Skipped, 0),
        ],
    )
}

/// Three faults: a promise that was broken, one that nothing asked for, one that was kept and never healed.
pub(crate) fn degraded_report() -> RunReport {
    let mut trace = Trace::new(&["ana", "ben"]);
    let stage = |trace: &mut Trace, at_us: u64, made: &Made, stage: Stage| {
        trace.push(at_us, Happening::Stage { message_id: made.message_id, stage });
    };
    let fault = |trace: &mut Trace, at_us: u64, target: &str, kind: &str, active: bool| {
        trace.push(at_us, Happening::Fault { target: target.into(), kind: kind.into(), active });
    };
    let before = trace.send_at(1_000, "ana", "before");
    trace.delivered_at(3_000, &before, 1);
    fault(&mut trace, 10_000, "search", "outage", true);
    let during = trace.send_at(11_000, "ana", "during");
    trace.delivered_at(15_000, &during, 2);
    stage(&mut trace, 18_000, &during, Stage::Persisted { inserted: true, bulk: 1 });
    let never = trace.send_at(20_000, "ana", "never");
    trace.rejected_at(21_000, &never, ErrorCode::Internal);
    fault(&mut trace, 40_000, "search", "outage", false);
    let after = trace.send_at(58_000, "ana", "after");
    trace.delivered_at(60_000, &after, 3);
    stage(&mut trace, 300_000, &during, Stage::Indexed);
    fault(&mut trace, 400_000, "redis", "latency 200 ms", true);
    fault(&mut trace, 500_000, "redis", "latency 200 ms", false);
    fault(&mut trace, 600_000, "kafka", "outage", true);
    let refused = trace.send_at(601_000, "ana", "refused");
    trace.rejected_at(602_000, &refused, ErrorCode::LogUnavailable);
    let latencies = Latencies::of(&trace.events);
    RunReport {
        steps: Vec::new(),
        budgets: Vec::new(),
        latencies,
        audit: Audit::default(),
        ledger: Ledger::of(&trace.events, &History::of(&trace.events)),
        events: trace.events.into_iter().map(Arc::new).collect(),
        ..passed_report()
    }
}
