//! The real servers that tests run against.

use std::io::Write as _;

/// Where the servers are.
#[derive(Clone, Debug)]
pub struct Servers {
    /// As in `ACKSCOPE_MONGODB_URI`.
    pub mongodb_uri: String,
    /// As in `ACKSCOPE_REDIS_URL`.
    pub redis_url: String,
    /// As in `ACKSCOPE_KAFKA_BROKERS`.
    pub kafka_brokers: String,
}

/// The servers, or nothing and one sentence in the list of what was skipped.
pub async fn servers() -> Option<Servers> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(mongodb_uri), Some(redis_url), Some(kafka_brokers)) =
        (given("ACKSCOPE_MONGODB_URI"), given("ACKSCOPE_REDIS_URL"), given("ACKSCOPE_KAFKA_BROKERS"))
    else {
        skipped("what needs real servers: neither addresses nor Docker are there");
        return None;
    };
    Some(Servers { mongodb_uri, redis_url, kafka_brokers })
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
