//! Collects what happens in a run, in one list with times (S3.4).
//!
//! Everybody hands events over with the [`Instant`] they were taken at, so `at_us` is the time at the source
//! and not the time of recording. The list stands in the order of recording: events of different tasks that
//! happen within a few hundred microseconds of each other may stand in either order, and `at_us` may then go
//! back a little from one event to the next. What one task records stays in its order. Whoever needs exact
//! time order sorts by `at_us`, stably.
//!
//! Readers ask by index and never hold a place in anybody's queue, so a slow reader blocks nobody. When the
//! list is full the oldest event goes; a reader that comes too late is told what it missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ackscope_core::probe::{Probe, ProbeReader, Sighting};
use ackscope_protocol::trace::{Happening, PermissionSource, Stage, TraceEvent};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

/// Events a run keeps unless told otherwise.
pub const EVENTS_MAX: usize = 1_000_000;
/// Sightings of the backend that may wait for the recorder unless told otherwise.
pub const PROBE_QUEUE: usize = 65_536;
/// Most sightings taken from the queue in one go.
const DRAIN_BATCH: usize = 512;

/// Collects the events of one run. Clones share the run.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    run_id: Uuid,
    started_at: Instant,
    events_max: usize,
    run: Mutex<Run>,
    /// The index the next event will get.
    news: watch::Sender<u64>,
    drains: Mutex<Vec<mpsc::Sender<oneshot::Sender<()>>>>,
    permissions: Permissions,
}

/// Permission answers that were sighted, by where they came from.
#[derive(Debug, Default)]
struct Permissions {
    cache: AtomicU64,
    store: AtomicU64,
}

#[derive(Debug, Default)]
struct Run {
    first_index: u64,
    events: VecDeque<Arc<TraceEvent>>,
}

impl Run {
    fn next_index(&self) -> u64 {
        self.first_index + self.events.len() as u64
    }

    fn push(&mut self, event: Arc<TraceEvent>, events_max: usize) {
        if self.events.len() >= events_max {
            self.events.pop_front();
            self.first_index += 1;
        }
        self.events.push_back(event);
    }
}

/// Some events of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Index of the first of them. Larger than what was asked for when the events between are no longer kept.
    pub first_index: u64,
    /// The events.
    pub events: Vec<Arc<TraceEvent>>,
}

impl Batch {
    /// The index after the last of them.
    pub fn next_index(&self) -> u64 {
        self.first_index + self.events.len() as u64
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(EVENTS_MAX)
    }
}

impl Recorder {
    /// A new run that begins now and keeps the newest `events_max` events (at least one).
    pub fn new(events_max: usize) -> Self {
        Self::of_run(Uuid::new_v4(), events_max)
    }

    /// The same for a run that has a name already: one that is played from a recording.
    pub fn of_run(run_id: Uuid, events_max: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                run_id,
                started_at: Instant::now(),
                events_max: events_max.max(1),
                run: Mutex::default(),
                news: watch::Sender::new(0),
                drains: Mutex::default(),
                permissions: Permissions::default(),
            }),
        }
    }

    /// Names the run.
    pub fn run_id(&self) -> Uuid {
        self.inner.run_id
    }

    /// Real time when the run began: zero of every `at_us`.
    pub fn started_at(&self) -> Instant {
        self.inner.started_at
    }

    /// Microseconds from the run's beginning to `at`; 0 for what was before it.
    pub fn micros_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.inner.started_at).as_micros()).unwrap_or(u64::MAX)
    }

    /// Records something that happens now.
    pub fn record(&self, what: Happening) {
        self.record_at(Instant::now(), what);
    }

    /// Records something that happened at `at`.
    pub fn record_at(&self, at: Instant, what: Happening) {
        let event = TraceEvent { at_us: self.micros_at(at), what };
        let next_index = {
            let mut run = self.inner.run.lock();
            run.push(Arc::new(event), self.inner.events_max);
            run.next_index()
        };
        self.announce(next_index);
    }

    /// Adds events that were recorded before, in another run of the program, with their own times.
    pub fn replay(&self, events: impl IntoIterator<Item = Arc<TraceEvent>>) {
        let next_index = {
            let mut run = self.inner.run.lock();
            for event in events {
                run.push(event, self.inner.events_max);
            }
            run.next_index()
        };
        self.announce(next_index);
    }

    /// A probe for a node: what it sights is recorded here. At most `queue` sightings wait; what does not fit is
    /// counted and recorded as a gap. Needs a Tokio runtime.
    pub fn probe(&self, queue: usize) -> Probe {
        let (probe, reader) = Probe::on(queue.max(1));
        self.attach(reader);
        probe
    }

    /// Records everything a probe sights, until the probe and its clones are gone. Needs a Tokio runtime.
    pub fn attach(&self, reader: ProbeReader) {
        let (requests, flushes) = mpsc::channel(16);
        self.inner.drains.lock().push(requests);
        tokio::spawn(drain(self.clone(), reader, flushes));
    }

    /// Waits until everything that was handed over before this call is in the run.
    pub async fn flush(&self) {
        let drains = self.inner.drains.lock().clone();
        for drain in drains {
            let (done, is_done) = oneshot::channel();
            // A drain that is gone has recorded everything; both errors mean that.
            if drain.send(done).await.is_ok() && is_done.await.is_err() {
                tracing::trace!("a probe ended while it was flushed");
            }
        }
        self.inner.drains.lock().retain(|drain| !drain.is_closed());
    }

    /// Up to `max` events from `index` on; fewer at the end. Does not wait.
    pub fn read_from(&self, index: u64, max: usize) -> Batch {
        let run = self.inner.run.lock();
        let first_index = index.clamp(run.first_index, run.next_index());
        // Fits: it is at most the number of events that are kept.
        let skip = (first_index - run.first_index) as usize;
        let events = run.events.range(skip..).take(max).map(Arc::clone).collect();
        Batch { first_index, events }
    }

    /// How many permission answers came from the cache and how many from the store, as far as they were sighted.
    pub(crate) fn permissions(&self) -> (u64, u64) {
        let Permissions { cache, store } = &self.inner.permissions;
        (cache.load(Ordering::Relaxed), store.load(Ordering::Relaxed))
    }

    /// The index the next event will get.
    pub fn next_index(&self) -> u64 {
        self.inner.run.lock().next_index()
    }

    /// Tells the index the next event will get whenever it changes. Reading it now and then is enough: it never
    /// queues anything.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// Everything that is kept, for the audit and the reports. Call [`Self::flush`] first.
    pub fn snapshot(&self) -> Batch {
        let run = self.inner.run.lock();
        Batch { first_index: run.first_index, events: run.events.iter().map(Arc::clone).collect() }
    }

    fn announce(&self, next_index: u64) {
        // Two recorders may come here in either order; the index only grows.
        self.inner.news.send_if_modified(|seen| {
            let grew = next_index > *seen;
            *seen = next_index.max(*seen);
            grew
        });
    }

    fn record_sightings(&self, sightings: &mut Vec<Sighting>, missed: u64) {
        let next_index = {
            let mut run = self.inner.run.lock();
            if missed > 0 {
                let at_us = self.micros_at(Instant::now());
                let gap = TraceEvent { at_us, what: Happening::Gap { missed } };
                run.push(Arc::new(gap), self.inner.events_max);
            }
            for (at, what) in sightings.drain(..) {
                if let Happening::Stage { stage: Stage::Permission { source, .. }, .. } = &what {
                    let counter = match source {
                        PermissionSource::Cache => &self.inner.permissions.cache,
                        PermissionSource::Store => &self.inner.permissions.store,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                let event = TraceEvent { at_us: self.micros_at(at), what };
                run.push(Arc::new(event), self.inner.events_max);
            }
            run.next_index()
        };
        self.announce(next_index);
    }
}

/// Moves sightings into the run until the probe is gone.
async fn drain(recorder: Recorder, mut reader: ProbeReader, mut flushes: mpsc::Receiver<oneshot::Sender<()>>) {
    let mut sightings = Vec::with_capacity(DRAIN_BATCH);
    let mut missed_before = 0;
    let mut missed_since = || {
        let missed = reader.missed.load(Ordering::Relaxed);
        missed - std::mem::replace(&mut missed_before, missed)
    };
    loop {
        tokio::select! {
            biased;
            Some(done) = flushes.recv() => {
                // What stands in the queue now was handed over before the flush was asked for.
                let mut left = reader.sightings.len();
                while left > 0 {
                    match reader.sightings.try_recv() {
                        Ok(sighting) => sightings.push(sighting),
                        Err(_) => break,
                    }
                    left -= 1;
                }
                recorder.record_sightings(&mut sightings, missed_since());
                if done.send(()).is_err() {
                    tracing::trace!("whoever asked for a flush gave up");
                }
            }
            count = reader.sightings.recv_many(&mut sightings, DRAIN_BATCH) => {
                recorder.record_sightings(&mut sightings, missed_since());
                if count == 0 {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mark(text: &(impl ToString + ?Sized)) -> Happening {
        Happening::Mark { text: text.to_string() }
    }

    fn texts(batch: &Batch) -> Vec<String> {
        let text = |event: &Arc<TraceEvent>| match &event.what {
            Happening::Mark { text } => text.clone(),
            Happening::Gap { missed } => format!("gap of {missed}"),
            other => panic!("{other:?}"),
        };
        batch.events.iter().map(text).collect()
    }

    #[test]
    fn a_full_run_forgets_the_oldest_and_says_so() {
        let recorder = Recorder::new(3);
        for number in 0..5 {
            recorder.record(mark(&number));
        }
        let batch = recorder.read_from(0, 10);
        assert_eq!((batch.first_index, texts(&batch)), (2, vec!["2".into(), "3".into(), "4".into()]));
        assert_eq!(batch.next_index(), 5);
        assert_eq!(recorder.read_from(3, 1).first_index, 3);
        assert_eq!(texts(&recorder.read_from(3, 1)), ["3"]);
        let beyond = recorder.read_from(99, 10);
        assert_eq!((beyond.first_index, beyond.events.len()), (5, 0));
    }

    #[test]
    fn times_are_those_of_the_source() {
        let recorder = Recorder::new(10);
        let start = recorder.started_at();
        recorder.record_at(start + Duration::from_micros(70), mark("late"));
        recorder.record_at(start + Duration::from_micros(7), mark("early"));
        let times: Vec<u64> = recorder.snapshot().events.iter().map(|event| event.at_us).collect();
        assert_eq!(times, [70, 7]);
    }

    #[tokio::test]
    async fn a_flush_waits_for_what_the_probe_was_given() {
        let recorder = Recorder::new(10_000);
        let probe = recorder.probe(2_000);
        for number in 0..1_500 {
            probe.record(|| mark(&number));
        }
        recorder.flush().await;
        assert_eq!(recorder.next_index(), 1_500);
        drop(probe);
        recorder.flush().await;
        assert_eq!(recorder.next_index(), 1_500);
    }

    #[tokio::test]
    async fn what_the_probe_could_not_keep_is_a_gap() {
        let recorder = Recorder::new(10);
        let probe = recorder.probe(2);
        for number in 0..5 {
            probe.record(|| mark(&number));
        }
        recorder.flush().await;
        assert_eq!(texts(&recorder.snapshot()), ["gap of 3", "0", "1"]);
    }

    #[tokio::test]
    async fn news_come_to_whoever_waits() {
        let recorder = Recorder::new(10);
        let mut news = recorder.news();
        let writer = recorder.clone();
        let reader = tokio::spawn(async move { *news.wait_for(|next| *next >= 2).await.unwrap() });
        writer.record(mark("1"));
        writer.record(mark("2"));
        assert_eq!(reader.await.unwrap(), 2);
    }
}
