//! Figures of the backend's health, sampled once a second while a run goes (S3.4).
//!
//! A figure is recorded when it differs from what was recorded last, and what was never recorded is 0: a backend at rest
//! says nothing. The log is asked without the wrappers that play faults, and one that does not answer in time is left out
//! of that sample.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::clients::BreakerState;
use ackscope_core::log::EventLog;
use ackscope_core::node::Figures;
use ackscope_protocol::trace::{Happening, figure};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorder;

/// How often a sample is taken.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the log may take for one.
const LOG_LIMIT: Duration = Duration::from_millis(500);
/// How long a sample that is under way is waited for at the end.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Takes samples until it is ended or dropped.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Begins. Needs a Tokio runtime.
    pub(crate) fn start(recorder: Recorder, log: Arc<dyn EventLog>, figures: Figures) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut sample = Sample::default();
            let mut pace = tokio::time::interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let sampling = async {
                loop {
                    pace.tick().await;
                    sample.take(&recorder, log.as_ref(), &figures).await;
                }
            };
            stopped.run_until_cancelled(sampling).await;
        });
        Self { stop, task: Some(task) }
    }

    /// Ends, and lets go of the log.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && tokio::time::timeout(END_LIMIT, task).await.is_err()
        {
            tracing::warn!("the figures of health still ask the log");
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What was recorded last.
#[derive(Debug, Default)]
struct Sample {
    last: HashMap<String, f64>,
}

impl Sample {
    async fn take(&mut self, recorder: &Recorder, log: &dyn EventLog, figures: &Figures) {
        match tokio::time::timeout(LOG_LIMIT, figures.lag(log)).await {
            Ok(Ok((lags, ends))) => {
                for lag in lags {
                    let (topic, partition) = (lag.at.topic, lag.at.partition);
                    let name = format!("{}.{}.{topic}.{partition}", figure::LAG, lag.group);
                    self.tell(recorder, name, lag.records as f64);
                }
                for end in ends {
                    let name = format!("{}.{}.{}", figure::DEPTH, end.topic, end.partition);
                    self.tell(recorder, name, end.offset as f64);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a sample of health is without the log"),
            Err(_) => tracing::debug!("a sample of health is without the log, which does not answer"),
        }
        let (hits, misses) = recorder.permissions();
        let clients = figures.clients();
        let others = [
            (figure::CACHE_HITS.to_owned(), hits as f64),
            (figure::CACHE_MISSES.to_owned(), misses as f64),
            (format!("{}.media", figure::BREAKER), breaker(clients.media.breaker_state())),
            (format!("{}.search", figure::BREAKER), breaker(clients.search.breaker_state())),
            (figure::CONNECTIONS.to_owned(), figures.connections() as f64),
            (figure::UNPERSISTED.to_owned(), figures.unpersisted() as f64),
        ];
        for (name, value) in others {
            self.tell(recorder, name, value);
        }
    }

    fn tell(&mut self, recorder: &Recorder, name: String, value: f64) {
        let last = self.last.get(&name).copied().unwrap_or(0.0);
        if value.to_bits() != last.to_bits() {
            recorder.record(Happening::Health { name: name.clone(), value });
            self.last.insert(name, value);
        }
    }
}

fn breaker(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let recorder = Recorder::new(100);
        let mut sample = Sample::default();
        for value in [0.0, 3.0, 3.0, 0.0, 0.0] {
            sample.tell(&recorder, "unpersisted".to_owned(), value);
        }
        let told: Vec<f64> = recorder
            .snapshot()
            .events
            .iter()
            .map(|event| match &event.what {
                Happening::Health { value, .. } => *value,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [3.0, 0.0]);
    }
}
