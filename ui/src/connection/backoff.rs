//! How long to wait before the next try.

/// Wait after the first failure, in seconds.
const FIRST_SECS: f64 = 0.25;
/// Longest wait, in seconds: somebody who restarts the harness should not have to wait for the interface.
const LONGEST_SECS: f64 = 5.0;

/// Doubles the wait with every failure, up to a cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and gives the seconds to wait.
    pub(super) fn next_wait_secs(&mut self) -> f64 {
        let wait_secs = FIRST_SECS * f64::from(1_u32 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        wait_secs.min(LONGEST_SECS)
    }

    /// Failures since the last success.
    pub(super) fn failures(self) -> u32 {
        self.failures
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_cap_and_starts_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<f64> = (0..7).map(|_| backoff.next_wait_secs()).collect();
        assert_eq!(waits, [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]);
        for _ in 0..100 {
            assert!(backoff.next_wait_secs() <= LONGEST_SECS);
        }
        backoff.reset();
        assert!((backoff.next_wait_secs() - FIRST_SECS).abs() < f64::EPSILON);
    }
}
