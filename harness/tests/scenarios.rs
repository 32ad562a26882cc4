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

/// A folder with a scenario and the files it includes; what is wrong with it, without the folder's name.
fn refused(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let refusal = Scenario::open(&folder.path().join(files[0].0)).unwrap_err().to_string();
    refusal.replace(&format!("{}/", folder.path().display()), "")
}

/// The first line of what is said of a scenario that includes `name` among `files`.
fn refused_first(name: &str, files: &[(&str, &str)]) -> String {
    let main = format!("scenario: Parts\nusers: [ana]\nsteps:\n  - include: {name}\n");
    let all: Vec<(&str, &str)> = std::iter::once(("main.yaml", main.as_str())).chain(files.iter().copied()).collect();
    refused(&all).lines().next().unwrap().to_owned()
}

#[test]
fn an_included_file_is_told_by_its_own_name_and_place() {
    let wrong = "- mark: Fine\n- sned: {as: ana}\n";
    assert_eq!(refused_first("parts/a.yaml", &[("parts/a.yaml", wrong)]), "parts/a.yaml:2:3: there is no step `sned`");
    let nowhere = "steps:\n  - send: {as: ana, to: nowhere, text: Hello}\n";
    let said = refused_first("a.yaml", &[("a.yaml", nowhere)]);
    assert_eq!(said, "a.yaml:2:25: there is no conversation `nowhere`");
    assert!(refused_first("a.yaml", &[("a.yaml", "- mark: [x\n")]).starts_with("a.yaml:"));
    assert_eq!(refused_first("a.yaml", &[("a.yaml", "")]), "a.yaml:1:1: an included file is empty");
    assert_eq!(
        refused_first("a.yaml", &[("a.yaml", "scenario: No\nsteps: []\n")]),
        "a.yaml:1:1: an included file has no `scenario`"
    );
    assert_eq!(
        refused_first("a.yaml", &[("a.yaml", "- mark: Hello $(who)\n")]),
        "a.yaml:1:15: there is no variable `who`"
    );
}

#[test]
fn includes_that_go_round_or_leave_the_folder_are_refused() {
    let own = refused(&[("main.yaml", "scenario: Own\nusers: [ana]\nsteps:\n  - include: main.yaml\n")]);
    assert!(own.starts_with("main.yaml:4:14: `main.yaml` includes itself"), "{own}");
    let round = [("a.yaml", "- include: sub/b.yaml\n"), ("sub/b.yaml", "- include: c.yaml\n")];
    let back = [round[0], round[1], ("sub/c.yaml", "- mark: Deep\n- include: ../a.yaml\n")];
    assert_eq!(refused_first("a.yaml", &back), "sub/c.yaml:2:12: `../a.yaml` is not in the scenario's folder");
    let cycle = [("a.yaml", "- include: b.yaml\n"), ("b.yaml", "- mark: Deep\n- include: a.yaml\n")];
    assert_eq!(refused_first("a.yaml", &cycle), "b.yaml:2:12: `a.yaml` includes itself");
    for outside in ["/etc/passwd", "../main.yaml", "a/../../b.yaml"] {
        let said = refused_first(outside, &[]);
        assert_eq!(said, format!("main.yaml:4:14: `{outside}` is not in the scenario's folder"));
    }
    assert!(refused_first("missing.yaml", &[]).starts_with("main.yaml:4:14: `missing.yaml` cannot be read: "));
    assert_eq!(refused_first("folder", &[("folder/x.yaml", "[]")]), "main.yaml:4:14: `folder` is not a file");
    let all = refused(&[
        ("main.yaml", "scenario: Near\nusers: [ana]\nsteps:\n  - include: parts/setpu.yaml\n"),
        ("parts/setup.yaml", "[]"),
    ]);
    assert!(all.contains("did you mean `parts/setup.yaml`?"), "{all}");
}

#[cfg(unix)]
#[test]
fn a_link_does_not_lead_out_of_the_folder() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "- mark: Outside\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link.yaml")).unwrap();
    let main = folder.path().join("main.yaml");
    std::fs::write(&main, "scenario: Link\nusers: [ana]\nsteps:\n  - include: link.yaml\n").unwrap();
    let said = Scenario::open(&main).unwrap_err().to_string();
    assert!(said.contains("`link.yaml` is not in the scenario's folder"), "{said}");
}

#[test]
fn files_that_include_more_and_more_are_bounded() {
    // Each of eight files includes the next ten times.
    let mut files: Vec<(String, String)> =
        (1..8).map(|level| (format!("{level}.yaml"), format!("- include: {}.yaml\n", level + 1).repeat(10))).collect();
    files.push(("8.yaml".to_owned(), "- mark: At last\n".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let before = std::time::Instant::now();
    let said = refused_first("1.yaml", &files);
    assert!(said.contains("has more than 20000 steps"), "{said}");
    assert!(before.elapsed() < std::time::Duration::from_secs(10), "{:?}", before.elapsed());
    // And nine in a row are too deep.
    let chain: Vec<(String, String)> =
        (1..=9).map(|level| (format!("{level}.yaml"), format!("- include: {}.yaml\n", level + 1))).collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let files: Vec<_> = chain.into_iter().chain([("10.yaml", "- mark: At last\n")]).collect();
    assert_eq!(refused_first("1.yaml", &files), "8.yaml:1:3: this stands too deep within others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaviour_that_goes_otherwise_says_what_was_found() {
    let found = failures(
        r"
  - create: {as: ana, id: talk, kind: direct, with: [ben]}
  - send: {as: ana, to: talk, id: hello, text: Hello}
  - expect_cached: {conversation: talk, present: true, ttl: {at_most: 10 min}, within: 100ms}
  - expect_breaker: {of: media, state: open, within: 100ms}
  - request: {as: ben, event: nonsense, payload: {}, refused: invalid_payload, says: conversation_id}
",
    )
    .await;
    let told: Vec<_> = found.iter().map(|(_, expected, found)| (expected.as_str(), found.as_str())).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0].0, "at most 10 min left of its hour");
    assert_eq!(told[1], ("open", "closed"));
    assert_eq!(told[2], ("a sentence with \"conversation_id\"", "no such event"));
    for (step, expected, found) in [
        (
            "request: {as: ben, event: nonsense, payload: {}}",
            "it to be carried out",
            "a refusal with `invalid_payload`",
        ),
        (
            "request: {as: ben, event: sync, payload: {}, refused: too_large}",
            "a refusal with `too_large`",
            "it was carried",
        ),
        ("frame: {as: ben, text: x, then: connected}", "the connection to stay", "it ended: "),
        ("frame: {as: ben, text: '2', then: closed}", "the connection to be closed", "it answers"),
        (
            "flood: {as: ben, to: talk, count: 3, rate_limited: {at_least: 1}}",
            "rate_limited: at least 1",
            "3 delivered",
        ),
        ("flood: {as: ben, to: talk, count: 3, delivered: {at_most: 2}}", "delivered: at most 2", "3 delivered"),
    ] {
        let all = failures(&format!(
            "\n  - create: {{as: ana, id: talk, kind: direct, with: [ben]}}\n  - {step}\n  - mark: Not reached\n"
        ))
        .await;
        let [(_, told, seen)] = all.as_slice() else { panic!("{step}: {all:?}") };
        assert_eq!(told, expected, "{step}");
        assert!(seen.starts_with(found), "{step}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_in_a_block_names_the_message_and_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let part = "- repeat:\n    times: 2\n    as: round\n    steps:\n      \
                - send: {as: ana, to: talk, id: hello-$(round), text: Hello}\n      \
                - expect_ack: {message: hello-$(round), state: rejected, within: 100ms}\n";
    let main = "scenario: Blocks\nusers: [ana, ben]\nsteps:\n  \
                - create: {as: ana, id: talk, kind: direct, with: [ben]}\n  - include: part.yaml\n";
    std::fs::write(folder.path().join("part.yaml"), part).unwrap();
    std::fs::write(folder.path().join("main.yaml"), main).unwrap();
    let scenario = Scenario::open(&folder.path().join("main.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let report = play(&scenario).await;
    let step = report.steps.iter().find(|step| matches!(step.outcome, StepOutcome::Failed { .. })).unwrap();
    assert!(step.title.starts_with("2 rounds of 2 steps (") && step.title.ends_with("part.yaml)"), "{}", step.title);
    let StepOutcome::Failed { expected, .. } = &step.outcome else { unreachable!() };
    assert!(expected.starts_with("round 1: line 6, hello-1 is rejected within 100 ms ("), "{expected}");
    assert_eq!(step.messages.len(), 1, "the lane of the message that went wrong");
}
