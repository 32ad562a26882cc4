//! The real servers that tests run against: those of the addresses, or containers that the whole test run shares.

use std::io::Write as _;
use std::time::Instant;

use ackscope_harness::environment::ServerAddresses;
use ackscope_harness::environment::containers::{Containers, ContainersOptions};
use tokio::sync::OnceCell;

use crate::docker;

/// Shared by the tests of this process. Kept containers outlive it: the next process of the run finds them.
static SERVERS: OnceCell<Option<Shared>> = OnceCell::const_new();

struct Shared {
    addresses: ServerAddresses,
    /// Held for as long as the process lives.
    _containers: Option<Containers>,
}

/// The servers, or nothing and one sentence in the list of what was skipped.
pub async fn servers() -> Option<ServerAddresses> {
    SERVERS.get_or_init(find).await.as_ref().map(|shared| shared.addresses.clone())
}

async fn find() -> Option<Shared> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(mongodb_uri), Some(redis_url), Some(kafka_brokers)) =
        (given("ACKSCOPE_MONGODB_URI"), given("ACKSCOPE_REDIS_URL"), given("ACKSCOPE_KAFKA_BROKERS"))
    {
        let addresses = ServerAddresses { mongodb_uri, redis_url, kafka_brokers };
        return Some(Shared { addresses, _containers: None });
    }
    let images = docker::images().await?;
    let began = Instant::now();
    let started = Containers::start(ContainersOptions { images, keep: true, ..ContainersOptions::default() }).await;
    // Docker and the images are there: what goes wrong now is a failure, not a reason to skip.
    #[expect(clippy::panic, reason = "a test that cannot be set up fails there")]
    let containers = started.unwrap_or_else(|error| panic!("after {:?}: {error}", began.elapsed()));
    Some(Shared { addresses: containers.addresses().clone(), _containers: Some(containers) })
}

/// Says in the summary of `./ackscope test` that something did not run, and why.
pub fn skipped(sentence: &str) {
    let Some(path) = std::env::var_os("ACKSCOPE_SKIPPED") else { return };
    let written = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{sentence}"));
    assert!(written.is_ok(), "{} cannot be written", path.display());
}
