//! The rule matrix, whole, on the embedded backend; and that it notices what is wrong.

use std::collections::BTreeSet;

use ackscope_harness::environment::EnvironmentOptions;
use ackscope_harness::matrix::cell::{Expected, Leaves, Whose};
use ackscope_harness::matrix::scene::{Scene, SceneSpec};
use ackscope_harness::matrix::stage::Stage;
use ackscope_harness::matrix::unchanged::{Snapshot, changes, event_marks, told_since, wrongly_told};
use ackscope_harness::matrix::{self, Cell, MatrixOptions, ask, grid};
use ackscope_harness::report::paint::Paint;
use ackscope_protocol::ErrorCode;
use ackscope_protocol::wire::{Request as _, SendMessage};

fn embedded() -> MatrixOptions {
    MatrixOptions { environment: EnvironmentOptions::embedded(), ..MatrixOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_is_as_expected() {
    let cells = matrix::cells();
    assert!(cells.len() >= 300, "{} cells", cells.len());
    let number = cells.len();
    let report = matrix::play(cells, &embedded(), |_| {}).await.unwrap();
    assert_eq!(report.played.len(), number, "every cell was played");
    let mut text = Vec::new();
    grid::print(&report, Paint::OFF, &mut text).unwrap();
    assert!(report.is_as_expected(), "{}", String::from_utf8_lossy(&text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expectation_is_a_mismatch() {
    let send = |expected: Expected| {
        Cell::boundary(SendMessage::EVENT, &expected.to_string(), expected, SceneSpec::member(), |scene| {
            ask::send(scene.conversation_id)
        })
    };
    let cells = vec![
        send(Expected::Ok),
        send(Expected::Refused(ErrorCode::NotFound)),
        // It does not change nothing.
        Cell { name: "changes".to_owned(), leaves: Leaves::Nothing, ..send(Expected::Ok) },
    ];
    let report = matrix::play(cells, &embedded(), |_| {}).await.unwrap();
    let [right, wrong, changes] = report.played.as_slice() else { panic!("three cells") };
    assert!(right.is_as_expected(), "{right:?}");
    assert!(!wrong.is_answered_as_expected(), "{wrong:?}");
    assert!(changes.is_answered_as_expected() && !changes.is_as_expected());
    for part in ["the log has", "the store had 0 messages and has 1", "otto was told `message:new`"] {
        assert!(changes.wrongs.iter().any(|wrong| wrong.contains(part)), "{part}: {:?}", changes.wrongs);
    }
    assert!(!report.is_as_expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_conversation_was_left_with_is_seen() {
    let stage = Stage::start(EnvironmentOptions::embedded()).await.unwrap();
    let quiet = Scene::set(&stage, &SceneSpec::member().message(Whose::Anothers)).await.unwrap();
    let touched = Scene::set(&stage, &SceneSpec::member().message(Whose::Anothers)).await.unwrap();
    let both = BTreeSet::from([quiet.conversation_id, touched.conversation_id]);
    stage.quiesce().await.unwrap();
    let before = Snapshot::take(&stage, &both).await.unwrap();
    let marks = event_marks(&stage);
    stage.must(&touched.caller, &ask::send(touched.conversation_id)).await.unwrap();
    stage.quiesce().await.unwrap();
    let after = Snapshot::take(&stage, &both).await.unwrap();
    let records = before.records_since(&stage.world().backend().unwrap()).await.unwrap();
    let told = told_since(&stage, &marks);

    assert!(changes(quiet.conversation_id, &before, &after, &records).is_empty());
    assert!(!told.contains_key(&quiet.conversation_id));
    let said = changes(touched.conversation_id, &before, &after, &records);
    assert_eq!(said.len(), 3, "store, search and log: {said:?}");
    let told = wrongly_told(touched.caller.user_id(), true, &told[&touched.conversation_id]);
    assert!(told.iter().any(|line| line == "otto was told `message:new`"), "{told:?}");
    assert_eq!(records.of_nobody(&BTreeSet::from([quiet.conversation_id])).len(), 1);
    assert!(records.of_nobody(&both).is_empty());
    stage.end().await;
}
