//! A circuit breaker: after failures in a row a service is left alone for a while, then one call tries it.
//!
//! `Machine` is the pure state machine, given the time with every step; [`Breaker`] puts a lock and the
//! real time around it. A call holds a [`Permit`] that says what became of it; one that is dropped without a
//! word (its future was dropped) says nothing, and a trial that is dropped makes room for the next trial at
//! once. So nothing can leave the circuit stuck.
//!
//! Crates that were looked at first: `recloser` and `failsafe` let any number of calls through while half open
//! and cannot be asked for their state. `tower-resilience-circuitbreaker` lets one through, but takes the verdict of
//! every call that ends meanwhile for the trial's, also of one from before the outage, and shows `open` until the
//! next call comes; it also wants every call to be a Tower service.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row that open the circuit; 0 counts as 1.
    pub failures: u32,
    /// How long it stays open before one call may try again.
    pub open_for: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(1) }
    }
}

/// State of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// It was open long enough: the next call is a trial, or one is under way and decides.
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Trial,
}

/// What a call was let in under. Verdicts from an earlier state of the circuit do not count: a call from before
/// an outage that fails after the recovery says nothing about now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Admission(u64);

/// The state machine.
#[derive(Debug)]
struct Machine {
    options: BreakerOptions,
    state: State,
    /// Grows with every change of state.
    generation: u64,
}

impl Machine {
    fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed { failures: 0 }, generation: 0 }
    }

    fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } if now >= until => self.enter(State::Trial),
            State::Open { .. } | State::Trial => return None,
        }
        Some(Admission(self.generation))
    }

    fn succeeded(&mut self, admission: Admission) {
        if admission.0 != self.generation {
            return;
        }
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            State::Trial => self.enter(State::Closed { failures: 0 }),
            State::Open { .. } => {}
        }
    }

    fn failed(&mut self, admission: Admission, now: Instant) {
        if admission.0 != self.generation {
            return;
        }
        match &mut self.state {
            State::Closed { failures } => {
                *failures = failures.saturating_add(1);
                if *failures >= self.options.failures {
                    self.open(now);
                }
            }
            State::Trial => self.open(now),
            State::Open { .. } => {}
        }
    }

    /// The call was given up on without a verdict.
    fn abandoned(&mut self, admission: Admission, now: Instant) {
        if admission.0 == self.generation && matches!(self.state, State::Trial) {
            self.enter(State::Open { until: now });
        }
    }

    fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::Trial => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, now: Instant) {
        // A duration that does not fit into an instant is a setting nobody means; a year is long enough.
        let until = now.checked_add(self.options.open_for).unwrap_or(now + Duration::from_hours(365 * 24));
        self.enter(State::Open { until });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

/// A circuit breaker for the calls to one service.
#[derive(Debug)]
pub struct Breaker {
    machine: Mutex<Machine>,
}

impl Breaker {
    /// A closed circuit.
    pub fn new(options: BreakerOptions) -> Self {
        Self { machine: Mutex::new(Machine::new(options)) }
    }

    /// Lets a call through, or none while the circuit is open or a trial is under way.
    pub fn admit(&self) -> Option<Permit<'_>> {
        let admission = self.machine.lock().admit(Instant::now())?;
        Some(Permit { breaker: self, admission, is_decided: false })
    }

    /// The state now.
    pub fn state(&self) -> BreakerState {
        self.machine.lock().state(Instant::now())
    }
}

/// A call that was let through. Dropped without a verdict, it counts neither way.
#[derive(Debug)]
#[must_use = "a call that tells nothing of its outcome does not move the circuit"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    admission: Admission,
    is_decided: bool,
}

impl Permit<'_> {
    /// The service answered.
    pub fn succeeded(mut self) {
        self.is_decided = true;
        self.breaker.machine.lock().succeeded(self.admission);
    }

    /// It did not, or with nonsense.
    pub fn failed(mut self) {
        self.is_decided = true;
        self.breaker.machine.lock().failed(self.admission, Instant::now());
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_decided {
            self.breaker.machine.lock().abandoned(self.admission, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);
    const NEARLY: Duration = Duration::from_millis(9_999);

    fn machine() -> (Machine, Instant) {
        (Machine::new(BreakerOptions { failures: 3, open_for: OPEN_FOR }), Instant::now())
    }

    fn fail(machine: &mut Machine, now: Instant) {
        let admission = machine.admit(now).unwrap();
        machine.failed(admission, now);
    }

    fn opened() -> (Machine, Instant) {
        let (mut machine, now) = machine();
        for _ in 0..3 {
            assert_eq!(machine.state(now), BreakerState::Closed);
            fail(&mut machine, now);
        }
        (machine, now)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_refuses() {
        let (mut machine, now) = opened();
        assert_eq!(machine.state(now), BreakerState::Open);
        assert_eq!(machine.admit(now), None);
        assert_eq!(machine.admit(now + NEARLY), None);
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let (mut machine, now) = machine();
        for _ in 0..10 {
            fail(&mut machine, now);
            fail(&mut machine, now);
            let admission = machine.admit(now).unwrap();
            machine.succeeded(admission);
        }
        assert_eq!(machine.state(now), BreakerState::Closed);
    }

    #[test]
    fn one_trial_at_a_time_and_its_success_closes() {
        let (mut machine, now) = opened();
        let later = now + OPEN_FOR;
        assert_eq!(machine.state(later), BreakerState::HalfOpen);
        let trial = machine.admit(later).unwrap();
        assert_eq!(machine.admit(later), None, "a second call beside the trial");
        assert_eq!(machine.state(later), BreakerState::HalfOpen);
        machine.succeeded(trial);
        assert_eq!(machine.state(later), BreakerState::Closed);
        fail(&mut machine, later);
        fail(&mut machine, later);
        assert_eq!(machine.state(later), BreakerState::Closed, "the count began at zero");
    }

    #[test]
    fn a_trial_that_fails_opens_for_the_whole_time_again() {
        let (mut machine, now) = opened();
        let later = now + OPEN_FOR;
        let trial = machine.admit(later).unwrap();
        machine.failed(trial, later);
        assert_eq!(machine.state(later), BreakerState::Open);
        assert_eq!(machine.admit(later + NEARLY), None);
        assert!(machine.admit(later + OPEN_FOR).is_some());
    }

    #[test]
    fn a_dropped_trial_makes_room_for_the_next() {
        let (mut machine, now) = opened();
        let later = now + OPEN_FOR;
        let trial = machine.admit(later).unwrap();
        machine.abandoned(trial, later);
        assert_eq!(machine.state(later), BreakerState::HalfOpen);
        let next = machine.admit(later).unwrap();
        assert_eq!(machine.admit(later), None);
        // The dropped one has no say any more.
        machine.failed(trial, later);
        machine.abandoned(trial, later);
        assert_eq!(machine.admit(later), None);
        machine.succeeded(next);
        assert_eq!(machine.state(later), BreakerState::Closed);
    }

    #[test]
    fn calls_from_before_the_outage_have_no_say_after_it() {
        let (mut machine, now) = machine();
        let slow: Vec<_> = (0..10).map(|_| machine.admit(now).unwrap()).collect();
        for _ in 0..3 {
            fail(&mut machine, now);
        }
        machine.succeeded(slow[0]);
        assert_eq!(machine.state(now), BreakerState::Open, "an old success does not close");
        let later = now + OPEN_FOR;
        let trial = machine.admit(later).unwrap();
        machine.failed(slow[1], later);
        machine.abandoned(slow[2], later);
        assert_eq!(machine.state(later), BreakerState::HalfOpen);
        assert_eq!(machine.admit(later), None, "the trial is still the only one");
        machine.succeeded(trial);
        for admission in &slow[3..] {
            machine.failed(*admission, later);
        }
        assert_eq!(machine.state(later), BreakerState::Closed, "old failures do not open");
    }

    #[test]
    fn zero_failures_count_as_one_and_an_endless_pause_is_no_panic() {
        let now = Instant::now();
        let mut machine = Machine::new(BreakerOptions { failures: 0, open_for: Duration::MAX });
        fail(&mut machine, now);
        assert_eq!(machine.state(now), BreakerState::Open);
        assert_eq!(machine.admit(now + Duration::from_hours(1)), None);
    }

    #[test]
    fn a_permit_dropped_with_its_future_is_no_verdict() {
        let breaker = Breaker::new(BreakerOptions { failures: 1, open_for: Duration::ZERO });
        drop(breaker.admit().unwrap());
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        let trial = breaker.admit().unwrap();
        assert!(breaker.admit().is_none());
        drop(trial);
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
