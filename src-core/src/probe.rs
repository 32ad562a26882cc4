//! The probe: how the backend tells a recorder what happens to a message.
//!
//! Without a recorder it is one branch on a value that never changes, and the event is not even built.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ackscope_protocol::MessageId;
use ackscope_protocol::trace::{Happening, Stage};
use tokio::sync::mpsc;

/// Something that happened, with the real time of it.
pub type Sighting = (Instant, Happening);

/// Hands sightings to a recorder, if there is one. Never waits: what does not fit is counted.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    recorder: Option<Recorder>,
}

#[derive(Clone, Debug)]
struct Recorder {
    queue: mpsc::Sender<Sighting>,
    missed: Arc<AtomicU64>,
}

/// The recorder's side of a probe.
#[derive(Debug)]
pub struct ProbeReader {
    /// Sightings in the order they were handed over.
    pub sightings: mpsc::Receiver<Sighting>,
    /// How many did not fit into the queue so far.
    pub missed: Arc<AtomicU64>,
}

impl Probe {
    /// A probe nobody reads.
    pub fn off() -> Self {
        Self::default()
    }

    /// A probe and its reader, with a queue of at most `capacity` sightings between them.
    pub fn on(capacity: usize) -> (Self, ProbeReader) {
        let (queue, sightings) = mpsc::channel(capacity);
        let missed = Arc::new(AtomicU64::new(0));
        (Self { recorder: Some(Recorder { queue, missed: Arc::clone(&missed) }) }, ProbeReader { sightings, missed })
    }

    /// Whether somebody records.
    pub fn is_on(&self) -> bool {
        self.recorder.is_some()
    }

    /// Records what `happening` gives; it is not called when nobody records.
    pub fn record(&self, happening: impl FnOnce() -> Happening) {
        if let Some(recorder) = &self.recorder
            && recorder.queue.try_send((Instant::now(), happening())).is_err()
        {
            recorder.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that a message reached a stage.
    pub fn stage(&self, message_id: MessageId, stage: impl FnOnce() -> Stage) {
        self.record(|| Happening::Stage { message_id, stage: stage() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_built_when_nobody_records() {
        Probe::off().record(|| unreachable!("the event must not be built"));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (probe, mut reader) = Probe::on(1);
        for _ in 0..3 {
            probe.record(|| Happening::Mark { text: "x".into() });
        }
        assert!(reader.sightings.try_recv().is_ok());
        assert_eq!(reader.missed.load(Ordering::Relaxed), 2);
    }
}
