//! Every file of `scenarios/`, as it is shipped, on the embedded backend.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::PathBuf;

use ackscope_harness::scenario::{self, RunOptions, RunReport, Scenario, StepOutcome, Verdict};
use ackscope_harness::world::{World, WorldOptions};
use support::root;

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

async fn play(scenario: &Scenario) -> RunReport {
    let world = World::start(WorldOptions::default()).await.unwrap();
    let report = scenario::run(&world, scenario, &RunOptions::default(), |_| {}).await;
    world.shutdown().await;
    report
}

/// What a person needs to know about a run that did not pass.
fn said(report: &RunReport) -> String {
    let steps = report.steps.iter().filter(|step| !matches!(step.outcome, StepOutcome::Passed | StepOutcome::Skipped));
    let steps: Vec<_> = steps.map(|step| format!("line {}: {}: {:?}", step.line, step.title, step.outcome)).collect();
    let findings: Vec<_> = report.audit.findings.iter().map(|finding| &finding.sentence).collect();
    format!("{}: {steps:#?} {findings:#?} {:?}", report.file_name, report.environment_failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_that_is_shipped_passes() {
    let mut wrong = Vec::new();
    let mut played = 0;
    for path in files() {
        let mut scenario = Scenario::open(&path).unwrap();
        // How fast this machine is at the moment is not what is tested here.
        scenario.file.budgets = scenario::file::Budgets::default();
        if path.ends_with("tour.yaml") {
            // Its expectations have latencies of their own; `tour.rs` plays it.
            continue;
        }
        let report = play(&scenario).await;
        if report.verdict() != Verdict::Pass {
            wrong.push(said(&report));
        }
        played += 1;
    }
    assert!(played > 10, "the folder of scenarios is nearly empty");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plays a short text; gives what was wrong: title, expected and found of each failed step.
async fn failures(steps: &str) -> Vec<(String, String, String)> {
    let text = format!("scenario: A try\nusers: [ana, ben]\nsteps:{steps}");
    let scenario = Scenario::read("try.yaml", &text).unwrap_or_else(|refusal| panic!("{refusal}"));
    let report = play(&scenario).await;
    assert_eq!(report.environment_failed, None);
    report
        .steps
        .into_iter()
        .filter_map(|step| match step.outcome {
            StepOutcome::Failed { expected, found } => Some((step.title, expected, found)),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectations_that_are_not_met_say_what_was_found() {
    let found = failures(
        r"
  - create: {as: ana, id: talk, kind: direct, with: [ben]}
  - send: {as: ana, to: talk, id: hello, text: Hello}
  - react: {as: ben, message: hello, emoji: 👍}
  - expect_message: {users: [ben], message: hello, text: Goodbye, within: 100ms}
  - expect_message: {users: [ana], message: hello, absent: true, within: 2s}
  - expect_stored: {message: hello, reactions: {}, within: 100ms}
  - expect_stored: {message: hello, edits: 2, within: 100ms}
  - expect_stored: {message: hello, absent: true, within: 1s}
  - expect_cached: {conversation: talk, present: false, within: 100ms}
  - expect_log: {topic: message.sent, message: hello, count: 2, within: 1s}
  - expect_dead_letters: {count: 1, within: 1s}
  - expect_search: {as: ana, text: nothing, exactly: [hello], within: 1s}
  - expect_conversations: {as: ana, exactly: [], within: 100ms}
  - expect_conversation: {users: [ben], in: talk, owner: ben, archived: true, within: 100ms}
  - edit: {as: ana, message: hello, text: Good day, refused: edit_window_closed}
  - mark: Nothing follows an action that failed
",
    )
    .await;
    let told: Vec<_> = found.iter().map(|(_, expected, found)| (expected.as_str(), found.as_str())).collect();
    assert_eq!(
        told,
        [
            ("ben to see \"Goodbye\"", "\"Hello\""),
            ("ana not to see the message", "it is there"),
            ("the store to hold no reactions", "👍 by ben"),
            ("the store to hold 2 earlier texts", "0"),
            ("the store to hold no such message", "it is there"),
            ("it not to be in the cache", "it is there"),
            ("2 records of message.sent", "1 record"),
            ("1 record of dead-letter", "0 records"),
            ("exactly hello", "nothing"),
            ("nothing", "talk"),
            // A direct conversation belongs to neither of the two.
            ("ben to see ben own it", "nobody"),
            ("a refusal with `edit_window_closed`", "it was carried out"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_says_in_which_line_and_round_it_went_wrong() {
    let found = failures(
        r"
  - create: {as: ana, id: talk, kind: direct, with: [ben]}
  - parallel:
      - - repeat:
            times: 3
            steps:
              - send: {as: ana, to: talk, id: hello, text: Hello}
              - expect_ack: {message: hello, state: rejected, within: 100ms}
              - send: {as: ana, to: talk, id: again, text: Hello again}
      - - send: {as: ben, to: talk, id: other, text: Side by side}
  - expect_history: {as: ben, in: talk, contains: [hello, again]}
  - expect_history: {as: ana, in: talk, contains: [other]}
",
    )
    .await;
    let [(title, expected, _)] = found.as_slice() else { panic!("one step fails: {found:?}") };
    assert_eq!(title, "2 lists side by side, 4 steps in all");
    assert_eq!(expected, "round 1: line 10, hello is rejected within 100 ms: a `rejected` ACK");
}
