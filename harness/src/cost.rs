//! What a run cost itself: where its time went, and whether the harness kept up while it measured others.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::latency::{Distribution, Summary};
use crate::load::process::ProcessFigures;

/// How often a timer of the harness is looked at while a run goes.
const TIMER_PERIOD: Duration = Duration::from_millis(10);

/// How long a world took to start, in microseconds of real time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartCost {
    /// Containers, servers and files.
    pub environment_us: u64,
    /// The node and the simulated media and search services.
    pub node_us: u64,
}

/// What a run cost, in microseconds of real time unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// The environment and the node.
    #[serde(flatten)]
    pub start: StartCost,
    /// Connecting the users.
    pub users_us: u64,
    /// The steps, or the time in which users were busy.
    pub steps_us: u64,
    /// Ending faults that were left, until everything answered again.
    pub heal_us: u64,
    /// Waiting until everything had come to rest.
    pub rest_us: u64,
    /// Reading recording and store, and judging them.
    pub audit_us: u64,
    /// How late timers of the harness fired, each 10 ms while the run went. Timers have a grain of a millisecond; what
    /// is beyond that was in the way of users and measurements too.
    pub timers_late: Summary,
    /// Events that were not recorded, or are no longer kept.
    pub events_missed: u64,
    /// The most memory of this process so far, in bytes; none where the system does not tell. The embedded backend is
    /// within it.
    pub memory_peak_bytes: Option<u64>,
}

impl Cost {
    /// The most memory of this process so far, in bytes.
    pub(crate) fn memory_peak_bytes() -> Option<u64> {
        ProcessFigures::of(std::process::id()).map(|figures| figures.memory_peak_kib * 1_024)
    }
}

/// Microseconds of a duration.
pub(crate) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Looks how late timers fire, until it is asked or dropped.
#[derive(Debug)]
pub(crate) struct TimerWatch {
    stop: oneshot::Sender<()>,
    watching: JoinHandle<Distribution>,
}

impl TimerWatch {
    /// Begins to look. Needs a Tokio runtime.
    pub(crate) fn begin() -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let watching = tokio::spawn(async move {
            let mut late = Distribution::default();
            loop {
                let due = Instant::now() + TIMER_PERIOD;
                tokio::select! {
                    // Also when the watch was dropped.
                    _ = &mut stopped => return late,
                    () = tokio::time::sleep_until(due.into()) => late.record(us(due.elapsed())),
                }
            }
        });
        Self { stop, watching }
    }

    /// What was seen so far; ends the looking.
    pub(crate) async fn end(self) -> Summary {
        drop(self.stop);
        self.watching.await.map(|late| late.summary()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_blocked_makes_timers_late() {
        let watch = TimerWatch::begin();
        tokio::time::sleep(Duration::from_millis(30)).await;
        // The one thread of this runtime does nothing else meanwhile.
        std::thread::sleep(Duration::from_millis(80));
        tokio::time::sleep(Duration::from_millis(30)).await;
        let late = watch.end().await;
        assert!(late.count >= 3, "{late:?}");
        assert!(late.max_us >= 60_000, "{late:?}");
    }

    #[tokio::test]
    async fn a_watch_that_ends_at_once_saw_nothing() {
        assert_eq!(TimerWatch::begin().end().await, Summary::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told_in_bytes() {
        assert!(Cost::memory_peak_bytes().unwrap() > 1_000_000);
    }
}
