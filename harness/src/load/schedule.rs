//! When each message is to be sent, and by whom; fixed before the first one is sent, so that nothing the system
//! does can change it.

use std::time::Duration;

/// How sends are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Exponentially distributed pauses, as independent users send.
    Poisson,
    /// One after the other at the same distance.
    Even,
}

/// One send of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledSend {
    /// Microseconds since the round began.
    pub at_us: u64,
    /// Number of the user who sends it.
    pub user: u32,
}

/// Every send of a round: `rate_per_sec` for `duration`, by `users`. The same seed gives the same schedule.
pub fn schedule(
    arrivals: Arrivals,
    rate_per_sec: u32,
    duration: Duration,
    users: u32,
    seed: u64,
) -> Vec<ScheduledSend> {
    let mut random = fastrand::Rng::with_seed(seed);
    let pause_us = 1e6 / f64::from(rate_per_sec.max(1));
    let end_us = duration.as_secs_f64() * 1e6;
    let mut sends = Vec::with_capacity((duration.as_secs_f64() * f64::from(rate_per_sec) * 1.05) as usize + 16);
    let mut at_us = 0.0;
    loop {
        at_us += match arrivals {
            // 1 - u is in (0, 1], whose logarithm is finite.
            Arrivals::Poisson => -(1.0 - random.f64()).ln() * pause_us,
            Arrivals::Even => pause_us,
        };
        if at_us >= end_us {
            return sends;
        }
        sends.push(ScheduledSend { at_us: at_us as u64, user: random.u32(..users.max(1)) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
        let make = |seed| schedule(Arrivals::Poisson, 1_000, Duration::from_secs(2), 10, seed);
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }

    #[test]
    fn the_rate_is_kept_on_average_and_times_only_grow() {
        for arrivals in [Arrivals::Poisson, Arrivals::Even] {
            let sends = schedule(arrivals, 5_000, Duration::from_secs(10), 7, 1);
            assert!((49_000..=51_000).contains(&sends.len()), "{arrivals:?}: {}", sends.len());
            assert!(sends.windows(2).all(|pair| pair[0].at_us <= pair[1].at_us));
            assert!(sends.iter().all(|send| send.user < 7 && send.at_us < 10_000_000));
        }
    }

    #[test]
    fn even_sends_stand_at_the_same_distance() {
        let sends = schedule(Arrivals::Even, 1_000, Duration::from_millis(5), 2, 1);
        let times: Vec<_> = sends.iter().map(|send| send.at_us).collect();
        assert_eq!(times, [1_000, 2_000, 3_000, 4_000]);
    }

    #[test]
    fn nothing_is_sent_in_no_time() {
        assert_eq!(schedule(Arrivals::Poisson, 1_000, Duration::ZERO, 2, 1), []);
    }
}
