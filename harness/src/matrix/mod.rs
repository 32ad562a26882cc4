//! The rule matrix: every event by every role in every kind of conversation, and both sides of every boundary,
//! asked over real connections and held against a table (S1.2–S1.4, S1.8).
//!
//! | module | one sentence |
//! |---|---|
//! | [`table`] | the main table: who may do what, where |
//! | [`boundaries`] | both sides of every limit, and the limits in business time |
//! | [`fields`] | every field of every request, missing and wrong |
//! | [`cell`] | one request in one situation, what must come of it, and what came |
//! | [`scene`] | what there is before a cell is played |
//! | [`ask`] | a request as it is put on the wire |
//! | [`stage`] | the world cells are played in, and its cast |
//! | [`unchanged`] | what a cell left behind, and who was told |
//! | [`play`] | plays cells and says what came |
//! | [`grid`] | what a person and a machine read |
//!
//! A refused cell has to leave store, log, cache and search as they were, and nobody but the caller may have been
//! told anything.

pub mod ask;
pub mod boundaries;
pub mod cell;
pub mod fields;
pub mod grid;
pub mod play;
pub mod scene;
pub mod stage;
pub mod table;
pub mod unchanged;

use ackscope_protocol::wire::{CLIENT_EVENTS, Request as _, SendMessage};

pub use self::cell::{Cell, Expected, Got};
pub use self::play::{MatrixError, MatrixOptions, MatrixReport, Played, Progress, play};

/// Every cell, the main table first.
pub fn cells() -> Vec<Cell> {
    [table::cells(), boundaries::cells(), boundaries::timed_cells(), fields::cells()].concat()
}

/// The events `--only` takes.
pub fn events() -> Vec<&'static str> {
    CLIENT_EVENTS.iter().copied().chain(SendMessage::OLDER_NAME).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_enough_cells_and_no_two_of_one_name() {
        let cells = cells();
        assert!(cells.len() >= 300, "{} cells", cells.len());
        let mut names = HashSet::new();
        for cell in &cells {
            assert!(names.insert(cell.name.as_str()), "{} is there twice", cell.name);
        }
    }

    #[test]
    fn every_client_event_has_cells() {
        let cells = cells();
        for event in events() {
            assert!(cells.iter().any(|cell| cell.event == event), "{event}");
        }
    }

    #[test]
    fn a_refusal_never_leaves_anything() {
        for cell in cells() {
            assert!(!cell.expected.is_refused() || cell.leaves == cell::Leaves::Nothing, "{}", cell.name);
        }
    }
}
