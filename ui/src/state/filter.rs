//! Which lanes the timeline lists.

use super::{Lane, LaneNumber, Progress, Run};

/// Most lanes looked at in one [`LaneList::update`]: a filter over a long run fills in over a few frames.
const SCAN_MAX: u64 = 20_000;

/// A narrowing by what became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// None.
    #[default]
    All,
    /// Some acknowledgment came later than its budget.
    OverBudget,
    /// Rejected.
    Rejected,
}

/// What a lane must have to be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By what became of it.
    pub only: Only,
    /// Words that must each be part of the text, the sender's name, the `temp_id` or the reason of rejection, or be the
    /// `message_id`; upper and lower case are the same.
    pub needle: String,
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_open(&self) -> bool {
        self.only == Only::All && self.needle.trim().is_empty()
    }

    /// With the needle as [`Self::matches`] wants it.
    pub(super) fn prepared(&self) -> Self {
        Self { only: self.only, needle: self.needle.trim().to_lowercase() }
    }

    /// Whether a lane passes; the filter must have been [`Self::prepared`].
    pub(super) fn matches(&self, run: &Run, lane: &Lane) -> bool {
        let by_outcome = match self.only {
            Only::All => true,
            Only::OverBudget => lane.is_over_budget(),
            Only::Rejected => lane.progress() == Progress::Rejected,
        };
        // Every word must stand somewhere.
        by_outcome && self.needle.split_whitespace().all(|word| has_word(run, lane, word))
    }
}

fn has_word(run: &Run, lane: &Lane, word: &str) -> bool {
    lane.text.as_deref().is_some_and(|text| contains(text, word))
        || contains(run.user_name(lane.sender), word)
        || lane.temp_id.as_ref().is_some_and(|temp_id| contains(temp_id.as_str(), word))
        || lane
            .rejection()
            .is_some_and(|error| contains(error.code.as_str(), word) || contains(&error.message, word))
        // A whole id that was copied from somewhere else.
        || word.len() == 36 && lane.message_id.to_string() == word
}

/// `needle` is in lower case already.
fn contains(text: &str, needle: &str) -> bool {
    // Most texts are ASCII, and need no copy.
    if text.is_ascii() {
        let needle = needle.as_bytes();
        return text.len() >= needle.len()
            && text.as_bytes().windows(needle.len().max(1)).any(|window| window.eq_ignore_ascii_case(needle));
    }
    text.to_lowercase().contains(needle)
}

/// The lanes that pass a filter, kept up to date at the cost of what changed.
#[derive(Debug, Default)]
pub struct LaneList {
    filter: Filter,
    matches: Vec<LaneNumber>,
    scanned_to: u64,
    changes_seen: usize,
    epoch: u64,
    /// With an open filter nothing is listed: every lane passes.
    all: std::ops::Range<u64>,
}

impl LaneList {
    /// Brings the list up to date. Returns whether there is more to look at in the next frame.
    pub fn update(&mut self, run: &Run, filter: &Filter) -> bool {
        self.all = run.lane_range();
        let filter = filter.prepared();
        if filter != self.filter || self.epoch != run.changes_epoch {
            self.filter = filter;
            self.epoch = run.changes_epoch;
            self.matches.clear();
            self.scanned_to = self.all.start;
            self.changes_seen = run.changes.len();
        }
        if self.filter.is_open() {
            return false;
        }
        // Lanes that are no longer kept.
        let gone = self.matches.partition_point(|number| number.0 < self.all.start);
        self.matches.drain(..gone);
        for number in run.changes.get(self.changes_seen..).unwrap_or_default() {
            if number.0 < self.scanned_to {
                self.check_again(run, *number);
            }
        }
        self.changes_seen = run.changes.len();
        self.scanned_to = self.scanned_to.max(self.all.start);
        let stop = self.all.end.min(self.scanned_to + SCAN_MAX);
        for number in (self.scanned_to..stop).map(LaneNumber) {
            if run.lane(number).is_some_and(|lane| self.filter.matches(run, lane)) {
                self.matches.push(number);
            }
        }
        self.scanned_to = stop;
        stop < self.all.end
    }

    fn check_again(&mut self, run: &Run, number: LaneNumber) {
        let passes = run.lane(number).is_some_and(|lane| self.filter.matches(run, lane));
        match (self.matches.binary_search(&number), passes) {
            (Err(place), true) => self.matches.insert(place, number),
            (Ok(place), false) => {
                self.matches.remove(place);
            }
            _ => {}
        }
    }

    /// How many lanes are listed.
    pub fn len(&self) -> usize {
        if self.filter.is_open() {
            usize::try_from(self.all.end - self.all.start).unwrap_or(usize::MAX)
        } else {
            self.matches.len()
        }
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the filter lets everything through.
    pub fn is_open(&self) -> bool {
        self.filter.is_open()
    }

    /// The lane in a row.
    pub fn get(&self, row: usize) -> Option<LaneNumber> {
        if self.filter.is_open() {
            let number = self.all.start + row as u64;
            (number < self.all.end).then_some(LaneNumber(number))
        } else {
            self.matches.get(row).copied()
        }
    }

    /// The row of the first lane that is not before `number`: a binary search.
    pub fn row_from(&self, number: LaneNumber) -> usize {
        if self.filter.is_open() {
            usize::try_from(number.0.clamp(self.all.start, self.all.end) - self.all.start).unwrap_or(usize::MAX)
        } else {
            self.matches.partition_point(|other| *other < number)
        }
    }

    /// The row of a lane, if it is listed.
    pub fn row_of(&self, number: LaneNumber) -> Option<usize> {
        let row = self.row_from(number);
        (self.get(row) == Some(number)).then_some(row)
    }
}
