//! Latencies of acknowledgments over a set of lanes, from full histograms.

use hdrhistogram::Histogram;

use super::{DELIVERED_BUDGET_US, Filter, LaneNumber, PENDING_BUDGET_US, Run};

/// Most lanes counted in one [`Latencies::update`], so that a frame stays short however long the run is.
const SCAN_MAX: u64 = 10_000;
/// A finished count is as new as this, in seconds, while more comes in.
const REFRESH_SECS: f64 = 0.25;
/// Longest latency that is told from longer ones, in microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Which acknowledgment a latency ends with. It begins with the send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// `pending`
    Pending,
    /// `delivered`
    Delivered,
    /// `persisted`
    Persisted,
}

impl Ack {
    /// In the order a message takes.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Persisted];

    /// With a capital, as it begins a line for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Delivered => "Delivered",
            Self::Persisted => "Persisted",
        }
    }

    /// Its budget in microseconds; `persisted` has none.
    pub fn budget_us(self) -> Option<u64> {
        match self {
            Self::Pending => Some(PENDING_BUDGET_US),
            Self::Delivered => Some(DELIVERED_BUDGET_US),
            Self::Persisted => None,
        }
    }
}

/// Which messages are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only those that pass this.
    pub filter: Filter,
    /// Only those that were sent in this time, in microseconds since the run began; the end does not belong to it.
    pub range: Option<(u64, u64)>,
}

/// Latencies of one acknowledgment.
#[derive(Clone, Debug)]
pub struct Spread {
    histogram: Histogram<u32>,
    /// How many were over the budget.
    pub over_budget: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            // The bounds are right ones: one to an hour with two figures that matter.
            histogram: Histogram::new_with_bounds(1, LONGEST_US, 2)
                .unwrap_or_else(|error| unreachable!("bounds of a histogram: {error}")),
            over_budget: 0,
        }
    }
}

impl Spread {
    fn record(&mut self, ack: Ack, us: u64) {
        self.histogram.saturating_record(us.clamp(1, LONGEST_US));
        self.over_budget += u64::from(ack.budget_us().is_some_and(|budget_us| us >= budget_us));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency that this share, from 0 to 1, did not exceed, in microseconds. Nothing of nothing.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        (!self.histogram.is_empty()).then(|| self.histogram.value_at_quantile(share))
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> Option<u64> {
        (!self.histogram.is_empty()).then(|| self.histogram.max())
    }

    /// Counts in `bars` columns that are equally wide on a logarithmic axis from `from_us` to `to_us`.
    pub fn columns(&self, from_us: f64, to_us: f64, bars: usize) -> Vec<u64> {
        let mut columns = vec![0_u64; bars];
        let width = (to_us / from_us).ln() / bars as f64;
        for value in self.histogram.iter_recorded() {
            let place = ((value.value_iterated_to() as f64 / from_us).ln() / width).floor();
            let index = (place.max(0.0) as usize).min(bars.saturating_sub(1));
            if let Some(column) = columns.get_mut(index) {
                *column += u64::from(value.count_at_value());
            }
        }
        columns
    }
}

/// Spreads of all three acknowledgments.
#[derive(Clone, Debug, Default)]
pub struct Spreads {
    spreads: [Spread; Ack::ALL.len()],
    /// How many messages were looked at.
    pub messages: u64,
}

impl Spreads {
    /// Of one acknowledgment.
    pub fn of(&self, ack: Ack) -> &Spread {
        &self.spreads[ack as usize]
    }

    fn count(&mut self, run: &Run, number: LaneNumber, scope: &Scope) {
        let Some(lane) = run.lane(number) else { return };
        if scope.range.is_some_and(|(from_us, to_us)| !(from_us..to_us).contains(&lane.origin_us()))
            || !scope.filter.matches(run, lane)
        {
            return;
        }
        self.messages += 1;
        let [pending, delivered, persisted] = &mut self.spreads;
        for attempt in &lane.attempts {
            if let Some(us) = attempt.pending_latency_us() {
                pending.record(Ack::Pending, us);
            }
            if let (Some(delivered_us), Some(sent_us)) = (attempt.delivered_us, attempt.sent_us) {
                delivered.record(Ack::Delivered, delivered_us.saturating_sub(sent_us));
            }
        }
        if let Some(at_us) = lane.persisted_us {
            persisted.record(Ack::Persisted, at_us.saturating_sub(lane.origin_us()));
        }
    }
}

/// Counts the latencies of a scope, a bounded number of lanes in each frame.
#[derive(Debug, Default)]
pub struct Latencies {
    asked: Scope,
    prepared: Scope,
    finished: Option<Finished>,
    /// A count that goes on: its next lane, the events of the run when it began, and what it has.
    current: Option<(u64, u64, Spreads)>,
    nothing: Spreads,
}

#[derive(Debug)]
struct Finished {
    at_secs: f64,
    events: u64,
    spreads: Spreads,
}

impl Latencies {
    /// Goes on counting. Returns whether there is more to do in the next frame.
    pub fn update(&mut self, run: &Run, scope: &Scope, now_secs: f64) -> bool {
        if *scope != self.asked {
            self.asked = scope.clone();
            self.prepared = Scope { filter: scope.filter.prepared(), range: scope.range };
            self.current = None;
            self.finished = None;
        }
        let range = run.lane_range();
        if self.current.is_none() {
            let events = run.counts().events;
            if let Some(finished) = &self.finished
                && (finished.events == events || now_secs - finished.at_secs < REFRESH_SECS)
            {
                return finished.events != events;
            }
            // Lanes stand in the order they began.
            let first = scope.range.map_or(range.start, |(from_us, _)| run.first_lane_from(from_us).0);
            self.current = Some((first, events, Spreads::default()));
        }
        let last = scope.range.map_or(range.end, |(_, to_us)| run.first_lane_from(to_us).0).min(range.end);
        if let Some((next, events, mut spreads)) = self.current.take() {
            let begin = next.max(range.start);
            let stop = last.min(begin.saturating_add(SCAN_MAX)).max(begin);
            for number in begin..stop {
                spreads.count(run, LaneNumber(number), &self.prepared);
            }
            if stop >= last {
                self.finished = Some(Finished { at_secs: now_secs, events, spreads });
            } else {
                self.current = Some((stop, events, spreads));
            }
        }
        true
    }

    /// The newest finished count.
    pub fn spreads(&self) -> &Spreads {
        self.finished.as_ref().map_or(&self.nothing, |finished| &finished.spreads)
    }

    /// Whether a count has been finished since the scope changed.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }
}
