//! Ten mistakes as people make them, planted in the backend one at a time: the audit finds each and calls it by the
//! right name (S3.6). The same scenario without the mistake has no finding.
//!
//! Needs the feature `planted-bugs`, which nothing that ships has: `./ackscope test planted`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ackscope_core::planted::{self, Bug};
use ackscope_harness::audit::{Audit, FindingKind};
use ackscope_harness::environment::EnvironmentOptions;
use ackscope_harness::scenario::{self, RunOptions, Scenario};
use ackscope_harness::world::{World, WorldOptions};

/// A bug is planted for the whole process.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn audit_of(scenario: &Scenario) -> Audit {
    let options = WorldOptions { environment: EnvironmentOptions::embedded(), ..WorldOptions::default() };
    let world = World::start(options).await.unwrap();
    let report = scenario::run(&world, scenario, &RunOptions::default(), |_| {}).await;
    world.shutdown().await;
    assert_eq!(report.environment_failed, None);
    assert!(report.audit.promises.total() > 0, "something was checked");
    report.audit
}

/// Plays the steps without the bug and with it. The first must be clean, the second must have a finding of that kind
/// with this in its sentence.
async fn is_found(bug: Bug, steps: &str, kind: FindingKind, said: &str) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let text = format!(
        "scenario: {bug:?}\nusers: [ana, ben, cleo]\nsteps:\n  - create: {{as: ana, id: talk, kind: group, with: [ben, cleo]}}\n{steps}"
    );
    let scenario = Scenario::read("planted.yaml", &text).unwrap();
    planted::plant(None);
    let without = audit_of(&scenario).await;
    assert_eq!(without.findings, [], "without the bug everything is as promised");
    planted::plant(Some(bug));
    let with = audit_of(&scenario).await;
    planted::plant(None);
    let found = with.findings.iter().any(|finding| finding.kind == kind && finding.sentence.contains(said));
    let all: Vec<String> = with.findings.iter().map(|it| format!("{}: {}", it.kind.as_str(), it.sentence)).collect();
    assert!(found, "{} \"…{said}…\" is not among the findings: {all:#?}", kind.as_str());
    println!("{bug:?}: {all:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_before_write_loses_what_was_polled() {
    let steps = "
  - fault: {target: consumers, kind: crash_before_write}
  - send: {as: ana, to: talk, id: one, text: Polled and not written}
";
    is_found(Bug::CommitBeforeWrite, steps, FindingKind::Lost, "was delivered but is not in the store").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_dedupe_doubles_what_is_sent_again() {
    let steps = "
  - send: {as: ana, to: talk, id: one, text: Only once}
  - expect_ack: {message: one, state: persisted}
  - retry: {message: one}
";
    is_found(Bug::NoDedupe, steps, FindingKind::Duplicate, "two messages in the store have ana's temp_id").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_cache_keeps_an_old_version() {
    is_found(Bug::StaleCache, MUTED, FindingKind::Stale, "the cache has version").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_invalidation_leaves_an_old_version() {
    is_found(Bug::ForgottenInvalidation, MUTED, FindingKind::Stale, "the cache has version").await;
}

/// The last look at the conversation is before its change.
const MUTED: &str = "
  - send: {as: ana, to: talk, id: one, text: Into the cache}
  - wait: {user: cleo, event: message:delivered, message: one}
  - wait: {user: ben, event: message:delivered, message: one}
  - mute: {as: ben, in: talk}
";

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_after_the_window_is_late() {
    let steps = "
  - send: {as: ana, to: talk, id: one, text: Never changed}
  - advance: 14 min
  - edit: {as: ana, message: one, text: Changed in time}
  - advance: 2 min
  - edit: {as: ana, message: one, text: Changed too late, refused: edit_window_closed}
";
    is_found(Bug::EditAfterWindow, steps, FindingKind::Late, "was edited 960 s after it was created").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_before_the_publish_promises_what_is_not_there() {
    let steps = "
  - fault: {target: kafka, kind: outage}
  - send: {as: ana, to: talk, id: one, text: Into the void, refused: log_unavailable}
";
    is_found(Bug::AckBeforePublish, steps, FindingKind::Lost, "was delivered but never published").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_search_catch_up_leaves_a_message_that_nobody_finds() {
    let steps = "
  - fault: {target: search, kind: outage}
  - send: {as: ana, to: talk, id: one, text: Where am I?}
  - expect_ack: {message: one, state: persisted}
  - heal: all
";
    is_found(Bug::LostSearchCatchUp, steps, FindingKind::Lost, "is in the store, and search does not find it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_fan_out_is_seen_twice() {
    let steps = "
  - send: {as: ana, to: talk, id: one, text: Hello hello}
";
    is_found(Bug::DoubleFanOut, steps, FindingKind::Duplicate, "ben saw ana's \"Hello hello\" twice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_somebody_who_was_removed_is_a_leak() {
    let steps = "
  - remove_participant: {as: ana, in: talk, user: cleo}
  - send: {as: ana, to: talk, id: one, text: Without Cleo}
";
    let said = "cleo heard of ana's \"Without Cleo\" without being in the conversation";
    is_found(Bug::LeakToRemoved, steps, FindingKind::Leaked, said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_told_in_another_order_is_reordered() {
    // What is persisted already is not told any more.
    let steps = "
  - fault: {target: consumers, kind: pause}
  - send: {as: ana, to: talk, id: one, text: First}
  - send: {as: ana, to: talk, id: two, text: Second}
";
    let said = "ben saw ana's \"Second\" before ana's \"First\"; the store has them the other way round";
    is_found(Bug::ReorderedPartition, steps, FindingKind::Reordered, said).await;
}
