//! Reports of runs: terminal, HTML, JSON, JUnit (S3.8).
//!
//! | module | one sentence |
//! |---|---|
//! | [`paint`] | colours, only on a terminal |
//! | [`timeline`] | a lane for each message as text |
//! | [`ledger`] | what faults did, as text |
//! | [`cost`] | what the run cost itself, as text |
//! | [`terminal`] | what a person reads while a run goes and when it ended |
//! | [`html`] | the run as one HTML file that works without a network |
//! | [`json`] | the run as one JSON object |
//! | [`junit`] | the run as JUnit XML for a CI |
//! | [`table`] | scenarios on several backends, beside each other |
//! | [`files`] | the folder of `--report` |

pub mod cost;
pub mod files;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod html;
pub mod json;
pub mod junit;
pub mod ledger;
pub mod paint;
pub mod table;
pub mod terminal;
pub mod timeline;

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::scenario::period::human;

/// Microseconds for people: three figures and a unit.
pub fn micros(us: u64) -> String {
    human(Duration::from_micros(us))
}

/// Appends to a text.
pub fn put(text: &mut String, what: fmt::Arguments<'_>) {
    // Writing to a `String` fails only when a value refuses to be printed, which none of ours does.
    let (Ok(()) | Err(_)) = text.write_fmt(what);
}
