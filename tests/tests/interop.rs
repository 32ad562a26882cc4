//! The official JavaScript client against the service, unchanged, on every transport (S1.1).

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_core::media::WhenMediaIsDown;
use ackscope_harness::services::SimulatedServices;
use ackscope_tests::node::TestNode;
use ackscope_tests::people::patient_limits;

/// Longest one run of the client may take; it has limits of its own that say more.
const LIMIT: Duration = Duration::from_mins(1);

async fn official_client(mode: &str) {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    assert!(
        interop.join("node_modules/socket.io-client").exists(),
        "the official client is not installed: run `./ackscope test`, or `npm ci` in tests/interop"
    );
    let services = SimulatedServices::start(&Clock::default(), None).await.expect("the services start");
    let clients = services.clients(WhenMediaIsDown::Accept).expect("clients of the services");
    let node = TestNode::start_beside(clients, patient_limits(), |backend| backend).await;
    let client = tokio::process::Command::new("node")
        .arg("client.mjs")
        .arg(node.url())
        .arg(node.token("ana"))
        .arg(node.token("ben"))
        .arg(mode)
        .current_dir(interop)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, client).await.expect("the client ends in time").expect("node runs");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{mode}: {}\n{said}\n{complained}", output.status);
    assert_eq!(said.lines().count(), 11, "{mode}: every step is said\n{said}");
    node.shutdown().await;
    services.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket() {
    official_client("websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling() {
    official_client("polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_upgraded_to_websocket() {
    official_client("upgrade").await;
}
