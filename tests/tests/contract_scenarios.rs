//! The same scenarios have the same outcome on every backend (S2).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::Duration;

use ackscope_core::limits::Limits;
use ackscope_harness::environment::{Addresses, BackendChoice, EnvironmentOptions};
use ackscope_harness::matrix::{self, MatrixOptions};
use ackscope_harness::scenario::file::{At, Step};
use ackscope_harness::scenario::{self, RunOptions, Scenario};
use ackscope_harness::world::{World, WorldOptions};
use ackscope_tests::servers::servers;
use serde_json::{Value, json};

/// The scenarios have budgets, which are about a machine that does nothing else.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The servers as `external`: under a name of the run, which is removed after.
async fn external() -> Option<EnvironmentOptions> {
    let servers = servers().await?;
    let addresses = Addresses {
        mongodb_uri: Some(servers.mongodb_uri),
        redis_url: Some(servers.redis_url),
        kafka_brokers: Some(servers.kafka_brokers),
    };
    Some(EnvironmentOptions { choice: BackendChoice::External, addresses, ..EnvironmentOptions::default() })
}

/// What is the same whatever the backend: the verdict, the steps, and how many promises of each kind were kept.
async fn outcome(scenario: &Scenario, environment: EnvironmentOptions) -> Value {
    // What is compared is what comes of it; that real servers on a small machine are late for the deadline of a send is
    // another matter.
    let limits = Limits { send_deadline: Duration::from_secs(1), ..Limits::default() };
    let options = WorldOptions { environment, limits, ..WorldOptions::default() };
    let world = World::start(options).await.unwrap();
    let report = scenario::run(&world, scenario, &RunOptions::default(), |_| {}).await;
    world.shutdown().await;
    let steps: Vec<Value> = report
        .steps
        .iter()
        .map(|step| serde_json::to_value(step).unwrap())
        .map(|step| json!({ "title": step["title"], "outcome": step["outcome"], "found": step["found"] }))
        .collect();
    let mut audit = serde_json::to_value(&report.audit).unwrap();
    // A place that is told once more is one more to be in order, and how often it is told is a matter of timing.
    audit["promises"]["ordered"] = Value::Null;
    // What stands in the cache at the end can be compared with the store; whether it does is a matter of timing too: an
    // entry that was read while it changed is not put there.
    audit["promises"]["agreed"] = Value::Null;
    // So is how many messages of a flood get through.
    if scenario.file.steps.iter().any(has_flood) {
        audit["promises"] = Value::Null;
    }
    json!({ "verdict": report.verdict(), "steps": steps, "audit": audit })
}

fn has_flood(step: &At<Step>) -> bool {
    match &step.value {
        Step::Flood(_) => true,
        Step::Parallel(branches) => branches.iter().flatten().any(has_flood),
        Step::Repeat(repeat) => repeat.steps.iter().any(has_flood),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_ends_the_same_on_real_servers() {
    let Some(external) = external().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let scenario = Scenario::open(&path).unwrap();
        let embedded = outcome(&scenario, EnvironmentOptions::embedded()).await;
        let servers = outcome(&scenario, external.clone()).await;
        assert_eq!(servers, embedded, "{}", path.display());
        played += 1;
    }
    assert!(played > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_is_the_same_on_real_servers() {
    let Some(environment) = external().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let options = MatrixOptions { environment, ..MatrixOptions::default() };
    let report = matrix::play(matrix::cells(), &options, |_| {}).await.unwrap();
    let mismatches: Vec<_> = report.mismatches().collect();
    assert!(report.is_as_expected(), "{mismatches:?} {:?}", report.problems);
}

/// A run that is killed cannot remove what it made. Dropping it without an end is the same to the servers, and to the
/// lock of its claim.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_goes_with_the_next_start() {
    let Some(environment) = external().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let uri = environment.addresses.mongodb_uri.clone().unwrap();
    let databases = async || mongodb::Client::with_uri_str(&uri).await.unwrap().list_database_names().await.unwrap();
    let start = async || {
        let options = WorldOptions { environment: environment.clone(), ..WorldOptions::default() };
        World::start(options).await.unwrap()
    };
    let name_of = |world: &World| {
        let reason = world.environment().reason;
        let (_, name) = reason.rsplit_once("under the name ").unwrap();
        name.to_owned()
    };
    let (killed, alive) = (start().await, start().await);
    let (left, kept) = (name_of(&killed), name_of(&alive));
    assert!(databases().await.contains(&left) && databases().await.contains(&kept));
    drop(killed);
    let next = start().await;
    let there = databases().await;
    assert!(!there.contains(&left), "{left} is left: {there:?}");
    assert!(there.contains(&kept), "{kept} belongs to a run that lives: {there:?}");
    for world in [alive, next] {
        let name = name_of(&world);
        world.shutdown().await;
        assert!(!databases().await.contains(&name));
    }
}
