//! What every run ends with, once it has come to rest: what was recorded is taken, the store is read without any fault
//! before it, and both are held against the promises.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_protocol::trace::TraceEvent;
use futures_util::future::BoxFuture;

use crate::audit::{Audit, audit_history};
use crate::history::History;
use crate::latency::Latencies;
use crate::ledger::Ledger;
use crate::stored;
use crate::world::World;

/// What a run's recording and store say.
#[derive(Debug)]
pub(crate) struct Judged {
    /// Everything that was recorded and is still kept.
    pub(crate) events: Vec<Arc<TraceEvent>>,
    /// The same by what it is about.
    pub(crate) history: History,
    /// Full histograms.
    pub(crate) latencies: Latencies,
    /// The promises, or why the store could not be read, one sentence.
    pub(crate) audit: Result<Audit, String>,
    /// What each fault did.
    pub(crate) ledger: Ledger,
    /// How long reading and judging took, in real time.
    pub(crate) took: Duration,
}

/// Judges a world as it is now. Whoever wants what is still on its way lets it come to rest first.
pub(crate) fn judge(world: &World) -> BoxFuture<'_, Judged> {
    Box::pin(async move {
        let started = Instant::now();
        world.recorder().flush().await;
        let recording = world.recorder().snapshot();
        let mut history = History::of(&recording.events);
        // What the recorder no longer keeps is as good as never recorded.
        history.missed += recording.first_index;
        let stored = stored::read(world, &history).await;
        let audit = match stored {
            Ok(stored) => {
                let audit = audit_history(&history, &stored);
                world.record_stored(stored);
                Ok(audit)
            }
            Err(error) => Err(error.to_string()),
        };
        Judged {
            latencies: Latencies::of_history(&history),
            ledger: Ledger::with_deadline(&recording.events, &history, world.send_deadline()),
            audit,
            history,
            events: recording.events,
            took: started.elapsed(),
        }
    })
}
