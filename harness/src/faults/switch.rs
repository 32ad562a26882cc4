//! What is wrong with one dependency, and what that does to one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackscope_protocol::faults::Fault;
use parking_lot::Mutex;
use tokio::sync::watch;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It is done.
    Done,
    /// It fails, and nothing is done; why.
    Fails(&'static str),
    /// It is done, and its answer is lost; why.
    AnswerLost(&'static str),
}

/// A fault and what it needs to be played.
#[derive(Debug)]
struct Active {
    fault: Option<Fault>,
    rng: Mutex<fastrand::Rng>,
    failed: AtomicU64,
}

impl Active {
    fn new(fault: Option<Fault>, seed: u64) -> Arc<Self> {
        Arc::new(Self { fault, rng: Mutex::new(fastrand::Rng::with_seed(seed)), failed: AtomicU64::new(0) })
    }

    /// From 0 up to 1.
    fn draw(&self) -> f64 {
        self.rng.lock().f64()
    }
}

/// Sets the fault of one dependency. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Switch {
    active: watch::Sender<Arc<Active>>,
    seed: u64,
}

const OUT: &str = "it is out (a fault)";
const FAILS: &str = "it fails (a fault)";
const SILENT: &str = "no answer came in time (a fault)";
const UNREADABLE: &str = "its answer could not be read (a fault)";
const CUT: &str = "the connection broke in the middle of the answer (a fault)";

impl Switch {
    pub(super) fn new(seed: u64) -> Self {
        Self { active: watch::Sender::new(Active::new(None, seed)), seed }
    }

    /// Sets a fault, or heals; one that is not played here otherwise is played as what it comes to here. What is held back is let go at once; what is drawn and counted begins anew, so that
    /// the same fault set twice plays twice the same.
    pub(super) fn set(&self, fault: Option<Fault>) {
        self.active.send_replace(Active::new(fault.map(Fault::before_the_server), self.seed));
    }

    #[cfg(test)]
    pub(super) fn fault(&self) -> Option<Fault> {
        self.active.borrow().fault
    }

    /// What becomes of a request, for one who waits at most `patience` for its answer.
    pub(super) async fn pass(&self, patience: Duration) -> Pass {
        let mut changes = self.active.subscribe();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let active = Arc::clone(&changes.borrow_and_update());
            let held = match active.fault {
                Some(Fault::Latency { delay_ms, jitter_ms }) => delay(&active, delay_ms, jitter_ms),
                Some(Fault::Hang) => Duration::MAX,
                _ => return active.decide(),
            };
            // A sum of times that is too large for the clock is never reached.
            let over = tokio::time::Instant::now().checked_add(held).filter(|over| *over <= deadline);
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => {}
                    // The switch is gone, and the fault with it.
                    Err(_) => return Pass::Done,
                },
                () = tokio::time::sleep_until(over.unwrap_or(deadline)) => {
                    return if over.is_some() { Pass::Done } else { Pass::Fails(SILENT) };
                }
            }
        }
    }

    /// The same for a request that is handed over without waiting: what becomes of it, and by how much its answer is
    /// held back. A request that hangs is lost.
    pub(super) fn pass_at_once(&self) -> (Pass, Duration) {
        let active = Arc::clone(&self.active.borrow());
        match active.fault {
            Some(Fault::Latency { delay_ms, jitter_ms }) => (Pass::Done, delay(&active, delay_ms, jitter_ms)),
            Some(Fault::Hang) => (Pass::Fails(SILENT), Duration::MAX),
            _ => (active.decide(), Duration::ZERO),
        }
    }
}

fn delay(active: &Active, delay_ms: u64, jitter_ms: u64) -> Duration {
    Duration::from_millis(delay_ms).saturating_add(Duration::from_millis(jitter_ms).mul_f64(active.draw()))
}

impl Active {
    /// For faults that hold nothing back.
    fn decide(&self) -> Pass {
        match self.fault {
            Some(Fault::Outage) => Pass::Fails(OUT),
            Some(Fault::Errors { share }) if self.draw() < share => Pass::Fails(FAILS),
            Some(Fault::FailThenWork { count }) if self.failed.fetch_add(1, Ordering::Relaxed) < count => {
                Pass::Fails(FAILS)
            }
            Some(Fault::Malformed) => Pass::AnswerLost(UNREADABLE),
            Some(Fault::Cut) => Pass::AnswerLost(CUT),
            _ => Pass::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn passes(switch: &Switch, count: usize) -> Vec<bool> {
        let mut passes = Vec::new();
        for _ in 0..count {
            passes.push(switch.pass(PATIENCE).await == Pass::Done);
        }
        passes
    }

    #[tokio::test]
    async fn what_each_fault_does_to_a_request() {
        let switch = Switch::new(7);
        assert_eq!(switch.pass(PATIENCE).await, Pass::Done);
        for (fault, pass) in [
            (Fault::Outage, Pass::Fails(OUT)),
            (Fault::Stop, Pass::Fails(OUT)),
            (Fault::Kill, Pass::Fails(OUT)),
            (Fault::Reset, Pass::Fails(OUT)),
            (Fault::Errors { share: 1.0 }, Pass::Fails(FAILS)),
            (Fault::Errors { share: 0.0 }, Pass::Done),
            (Fault::Malformed, Pass::AnswerLost(UNREADABLE)),
            (Fault::Cut, Pass::AnswerLost(CUT)),
        ] {
            switch.set(Some(fault));
            assert_eq!((switch.fault(), switch.pass(PATIENCE).await), (Some(fault.before_the_server()), pass));
            assert_eq!(switch.pass_at_once(), (pass, Duration::ZERO));
        }
        switch.set(None);
        assert_eq!(switch.pass(PATIENCE).await, Pass::Done);
    }

    #[tokio::test]
    async fn so_many_fail_and_then_it_works() {
        let switch = Switch::new(7);
        for _ in 0..2 {
            switch.set(Some(Fault::FailThenWork { count: 2 }));
            assert_eq!(passes(&switch, 4).await, [false, false, true, true]);
        }
    }

    #[tokio::test]
    async fn a_share_is_drawn_by_the_seed() {
        let draw = async |seed| {
            let switch = Switch::new(seed);
            switch.set(Some(Fault::Errors { share: 0.3 }));
            passes(&switch, 1_000).await
        };
        let failed = draw(1).await.into_iter().filter(|passed| !passed).count();
        assert!((240..=360).contains(&failed), "{failed} of 1,000");
        assert_eq!(draw(1).await, draw(1).await);
        assert_ne!(draw(1).await, draw(2).await);
    }

    #[tokio::test]
    async fn a_late_answer_is_as_late_as_was_said() {
        let switch = Switch::new(7);
        switch.set(Some(Fault::Latency { delay_ms: 10, jitter_ms: 10 }));
        for _ in 0..5 {
            let started = tokio::time::Instant::now();
            assert_eq!(switch.pass(PATIENCE).await, Pass::Done);
            assert!(started.elapsed() >= Duration::from_millis(10));
        }
        // Whoever has less patience is told nothing in time.
        let started = tokio::time::Instant::now();
        assert_eq!(switch.pass(Duration::from_millis(5)).await, Pass::Fails(SILENT));
        assert!(started.elapsed() >= Duration::from_millis(5));
        let delays: Vec<Duration> = (0..20).map(|_| switch.pass_at_once().1).collect();
        assert!(delays.iter().all(|delay| (10..=20).contains(&delay.as_millis())), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay != delays[0]), "the delays differ");
    }

    #[tokio::test]
    async fn a_request_that_hangs_goes_on_when_it_is_healed() {
        let switch = Switch::new(7);
        for fault in [Fault::Hang, Fault::Pause] {
            switch.set(Some(fault));
            assert_eq!(switch.pass(Duration::from_millis(5)).await, Pass::Fails(SILENT));
            let held = switch.pass(Duration::from_mins(1));
            tokio::pin!(held);
            assert!(tokio::time::timeout(Duration::from_millis(20), &mut held).await.is_err(), "it is held");
            switch.set(None);
            assert_eq!(held.await, Pass::Done);
            assert_eq!(switch.pass_at_once(), (Pass::Done, Duration::ZERO));
        }
    }
}
