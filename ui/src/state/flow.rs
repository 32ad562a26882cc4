//! How much goes through each part of the backend: counts by half seconds, from the stages of messages.

use std::collections::VecDeque;
use std::sync::Arc;

use ackscope_protocol::trace::{PermissionSource, Stage};

/// Width of a bucket in microseconds.
const BUCKET_US: u64 = 500_000;
/// Buckets that are kept: an hour.
const BUCKETS_MAX: usize = 7_200;
/// Buckets a rate is taken over: five seconds.
const WINDOW_BUCKETS: u64 = 10;
/// Topics and groups that are told apart; what further ones carry is counted in the last.
const NAMES_MAX: usize = 8;
/// Parts that have no name of their own.
const FIXED: usize = 12;
const COUNTERS: usize = FIXED + 2 * NAMES_MAX;

/// Something that counts what passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Sends on the connections of users.
    Sent,
    /// Events that the socket service read.
    Received,
    /// Permission answers from the cache.
    FromCache,
    /// Permission answers from the store.
    FromStore,
    /// Messages whose media was checked.
    MediaChecked,
    /// `delivered` ACKs.
    Delivered,
    /// `rejected` ACKs.
    Rejected,
    /// Messages that a node gave to its sockets.
    Broadcast,
    /// Messages that came into the store.
    Persisted,
    /// Confirmations that came back.
    Confirmed,
    /// Messages that the search service indexed.
    Indexed,
    /// Records that were set aside.
    DeadLettered,
    /// Records on a topic.
    Published(&'a str),
    /// Records that a consumer group read.
    Consumed(&'a str),
}

#[derive(Clone, Debug)]
struct Counts([u32; COUNTERS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; COUNTERS])
    }
}

/// Counts of every part over time.
#[derive(Debug, Default)]
pub struct Flow {
    topics: Vec<Arc<str>>,
    groups: Vec<Arc<str>>,
    buckets: VecDeque<Counts>,
    /// Number of the first bucket that is kept.
    first: u64,
}

impl Flow {
    pub(super) fn sent(&mut self, at_us: u64) {
        self.count(0, at_us);
    }

    pub(super) fn staged(&mut self, stage: &Stage, at_us: u64) {
        let part = match stage {
            Stage::Received => Part::Received,
            Stage::Pending => return,
            Stage::Permission { source: PermissionSource::Cache, .. } => Part::FromCache,
            Stage::Permission { source: PermissionSource::Store, .. } => Part::FromStore,
            Stage::MediaChecked { .. } => Part::MediaChecked,
            Stage::Published { topic, .. } => Part::Published(topic),
            Stage::Delivered { .. } => Part::Delivered,
            Stage::Rejected { .. } => Part::Rejected,
            Stage::Broadcast { .. } => Part::Broadcast,
            Stage::Consumed { group, .. } => Part::Consumed(group),
            Stage::Persisted { .. } => Part::Persisted,
            Stage::Confirmed => Part::Confirmed,
            Stage::Indexed => Part::Indexed,
            Stage::DeadLettered { .. } => Part::DeadLettered,
        };
        let counter = match part {
            Part::Published(topic) => FIXED + name_number(&mut self.topics, topic),
            Part::Consumed(group) => FIXED + NAMES_MAX + name_number(&mut self.groups, group),
            fixed => fixed_number(fixed),
        };
        self.count(counter, at_us);
    }

    fn count(&mut self, counter: usize, at_us: u64) {
        let number = at_us / BUCKET_US;
        if self.buckets.is_empty() {
            self.first = number;
        }
        // What is older than what is kept has no place any more.
        let Some(index) = number.checked_sub(self.first) else { return };
        if index >= 2 * BUCKETS_MAX as u64 {
            // A jump over everything that is kept.
            self.buckets.clear();
            self.first = number;
        }
        while self.first + (self.buckets.len() as u64) <= number {
            self.buckets.push_back(Counts::default());
            if self.buckets.len() > BUCKETS_MAX {
                self.buckets.pop_front();
                self.first += 1;
            }
        }
        let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(count) = self.buckets.get_mut(index).and_then(|bucket| bucket.0.get_mut(counter)) {
            *count = count.saturating_add(1);
        }
    }

    /// Events per second through a part, over the five seconds before `at_us`.
    pub fn rate(&self, part: Part<'_>, at_us: u64) -> f64 {
        let counter = match part {
            Part::Published(topic) => known(&self.topics, topic).map(|number| FIXED + number),
            Part::Consumed(group) => known(&self.groups, group).map(|number| FIXED + NAMES_MAX + number),
            fixed => Some(fixed_number(fixed)),
        };
        let Some(counter) = counter else { return 0.0 };
        let last = at_us / BUCKET_US;
        // A run that is younger than the window is measured by its age.
        let begin = (last + 1).saturating_sub(WINDOW_BUCKETS);
        let sum: u64 = (begin..=last)
            .filter_map(|number| self.buckets.get(usize::try_from(number.checked_sub(self.first)?).ok()?))
            .filter_map(|bucket| bucket.0.get(counter))
            .map(|count| u64::from(*count))
            .sum();
        let secs = ((last + 1 - begin) * BUCKET_US) as f64 / 1e6;
        sum as f64 / secs
    }

    /// Topics in the order records were first seen on them.
    pub fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    /// Consumer groups in the order they were first seen.
    pub fn groups(&self) -> &[Arc<str>] {
        &self.groups
    }
}

fn fixed_number(part: Part<'_>) -> usize {
    match part {
        Part::Sent | Part::Published(_) | Part::Consumed(_) => 0,
        Part::Received => 1,
        Part::FromCache => 2,
        Part::FromStore => 3,
        Part::MediaChecked => 4,
        Part::Delivered => 5,
        Part::Rejected => 6,
        Part::Broadcast => 7,
        Part::Persisted => 8,
        Part::Confirmed => 9,
        Part::Indexed => 10,
        Part::DeadLettered => 11,
    }
}

fn known(names: &[Arc<str>], name: &str) -> Option<usize> {
    names.iter().position(|other| **other == *name)
}

fn name_number(names: &mut Vec<Arc<str>>, name: &str) -> usize {
    if let Some(number) = known(names, name) {
        return number;
    }
    if names.len() < NAMES_MAX {
        names.push(name.into());
    }
    names.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(topic: &str) -> Stage {
        Stage::Published { topic: topic.to_owned(), partition: 0, offset: 0 }
    }

    #[test]
    fn rates_are_over_the_last_five_seconds() {
        let mut flow = Flow::default();
        for number in 0..100 {
            flow.staged(&Stage::Received, number * 100_000);
        }
        assert!((flow.rate(Part::Received, 9_999_999) - 10.0).abs() < 1e-9);
        // Half of the window is silence.
        assert!((flow.rate(Part::Received, 12_499_999) - 5.0).abs() < 1e-9);
        assert!(flow.rate(Part::Received, 30_000_000).abs() < 1e-9);
        assert!(flow.rate(Part::Persisted, 9_999_999).abs() < 1e-9);
        assert!((flow.rate(Part::Received, 499_999) - 10.0).abs() < 1e-9, "a young run is measured by its age");
    }

    #[test]
    fn topics_are_told_apart_up_to_a_bound() {
        let mut flow = Flow::default();
        for number in 0..20 {
            flow.staged(&published(&format!("t{number}")), 0);
        }
        assert_eq!(flow.topics().len(), NAMES_MAX);
        assert!((flow.rate(Part::Published("t0"), 0) - 2.0).abs() < 1e-9);
        assert!(flow.rate(Part::Published("t7"), 0) > 2.0, "the last counts for the rest");
        assert!(flow.rate(Part::Published("t19"), 0).abs() < 1e-9);
    }

    #[test]
    fn a_long_run_and_a_jump_keep_a_bounded_number_of_buckets() {
        let mut flow = Flow::default();
        for at_us in [0, BUCKET_US * 10_000, BUCKET_US * 10_000_000, 5, u64::MAX] {
            flow.staged(&Stage::Received, at_us);
            assert!(flow.buckets.len() <= BUCKETS_MAX);
        }
        assert!(flow.rate(Part::Received, u64::MAX) > 0.0);
    }
}
