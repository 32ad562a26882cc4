//! What every implementation of the log, the repositories and the cache must do (S2).
//!
//! A suite is a list of functions, one for each behaviour, each given a fresh *place*: somewhere an
//! implementation keeps its data, which can be opened, closed and opened again. A new implementation is a place
//! and one line, such as `log_contract!(embedded, EmbeddedPlace);`.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

pub mod cache;
pub mod embedded;
pub mod kafka;
pub mod log;
pub mod mongodb;
pub mod redis;
pub mod repositories;

use std::sync::Once;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

/// No behaviour takes longer, on a slow machine and against a real server too. What hangs fails.
pub const TEST_LIMIT: Duration = Duration::from_mins(2);

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a behaviour within the limit.
pub async fn within_limit(behaviour: impl Future<Output = ()>) {
    show_log();
    assert!(tokio::time::timeout(TEST_LIMIT, behaviour).await.is_ok(), "not done within {TEST_LIMIT:?}");
}

/// Prints what goes on inside when `ACKSCOPE_LOG` asks for it, as the program does.
fn show_log() {
    static SHOWN: Once = Once::new();
    SHOWN.call_once(|| {
        if let Ok(filter) = EnvFilter::try_from_env("ACKSCOPE_LOG") {
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).compact().init();
        }
    });
}

/// Waits until the condition holds; fails with its name when it does not.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "it did not come about within {PATIENCE:?} that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a future to its end in a place that cannot wait for one, such as `drop`.
pub fn finish(future: impl Future<Output = ()> + Send) {
    std::thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async { tokio::time::timeout(PATIENCE, future).await })
        };
        let thread = std::thread::Builder::new().name("finish".to_owned()).spawn_scoped(scope, run);
        match thread.expect("a thread").join() {
            Ok(Ok(())) => {}
            Ok(Err(_)) => complain("a test could not clear up behind itself in time"),
            Err(_) => complain("a test failed to clear up behind itself"),
        }
    });
}

#[expect(clippy::print_stderr, reason = "what a test says is printed")]
pub(crate) fn complain(sentence: &str) {
    eprintln!("{sentence}");
}

/// Makes a test of each behaviour for one implementation.
#[macro_export]
macro_rules! contract_tests {
    ($implementation:ident, $place:ty, $suite:ident, $trait:ident, [$($behaviour:ident),* $(,)?]) => {
        mod $implementation {
            #[allow(unused_imports, reason = "the place may be named in full")]
            use super::*;
            use $crate::contract::$suite as suite;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    if !<$place as suite::$trait>::is_available().await {
                        return;
                    }
                    $crate::contract::within_limit(async {
                        suite::$behaviour(<$place as suite::$trait>::fresh().await).await;
                    })
                    .await;
                }
            )*
        }
    };
}

#[cfg(test)]
mod tests {
    /// A behaviour that is in no list would never run.
    #[test]
    fn every_behaviour_is_listed() {
        for source in [include_str!("log.rs"), include_str!("repositories.rs"), include_str!("cache.rs")] {
            let (behaviours, lists) = source.split_once("macro_rules!").unwrap();
            let names: Vec<&str> = behaviours
                .split("\npub async fn ")
                .skip(1)
                .map(|rest| rest.split(['(', '<']).next().unwrap())
                .collect();
            let listed: Vec<&str> = lists.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            assert!(names.len() > 5);
            for name in names {
                assert!(listed.contains(&name), "{name} is not listed");
            }
        }
    }
}
