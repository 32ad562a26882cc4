//! The business clock: wall time plus what it was advanced by (S2).
//!
//! It decides the edit window, mutes, token expiry and cache lifetimes. Latencies are never taken from it:
//! they are differences of [`std::time::Instant`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

use ackscope_protocol::Timestamp;

/// A clock that can be advanced. Clones share their offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Business time now.
    pub fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place where wall time comes in")]
        let wall = std::time::SystemTime::now();
        // A machine whose clock stands before 1970 reads as 1970.
        let wall_ms =
            wall.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Timestamp::from_millis(wall_ms.saturating_add(self.offset_ms.load(Ordering::Relaxed)))
    }

    /// Moves business time forward by milliseconds, for everybody who shares this clock.
    pub fn advance_ms(&self, by_ms: u64) {
        let by_ms = i64::try_from(by_ms).unwrap_or(i64::MAX);
        let add = |offset: i64| Some(offset.saturating_add(by_ms));
        // `fetch_update` only fails when the closure answers `None`, which it never does.
        let (Ok(_) | Err(_)) = self.offset_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// The moment in which a server was asked for its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    at: Timestamp,
}

impl Asked {
    /// Now, by this machine's clock.
    pub(crate) fn now() -> Self {
        Self { at: Clock::default().now() }
    }

    /// By how many milliseconds a clock is ahead that told this time between then and now. What lies between the two
    /// may be the way of the answer, so it counts as right.
    pub(crate) fn ahead_ms(self, told_ms: i64) -> i64 {
        apart(self.at, Clock::default().now(), told_ms)
    }
}

fn apart(asked: Timestamp, answered: Timestamp, told_ms: i64) -> i64 {
    let (from, to) = (asked.as_millis(), answered.as_millis());
    if told_ms < from { told_ms.saturating_sub(from) } else { told_ms.saturating_sub(to).max(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_right_that_tells_a_time_between_question_and_answer() {
        let of = |told_ms| apart(Timestamp::from_millis(1_000), Timestamp::from_millis(1_050), told_ms);
        assert_eq!([1_000, 1_020, 1_050].map(of), [0, 0, 0]);
        assert_eq!([999, 1_051, 0, 61_050].map(of), [-1, 1, -1_000, 60_000]);
        assert_eq!([i64::MIN, i64::MAX].map(of), [i64::MIN, i64::MAX - 1_050]);
    }

    #[test]
    fn advancing_moves_every_clone() {
        let clock = Clock::default();
        let other = clock.clone();
        let before = clock.now();
        other.advance_ms(16 * 60 * 1_000);
        assert!(clock.now().millis_since(before) >= 16 * 60 * 1_000);
    }
}
