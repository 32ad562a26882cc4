//! Scenario files: reading, checking, running (S3.5).
//!
//! | module | one sentence |
//! |---|---|
//! | [`file`] | the language as types; schema and structural checks follow from them |
//! | [`period`] | durations as people write them |
//! | [`problem`] | what is wrong with a file and how a person is told |
//! | [`tree`] | a YAML document whose every part knows its place |
//! | `shape` | structure: unknown words, missing fields, wrong values |
//! | `check` | meaning: who and what a step speaks of |
//! | [`run`] | plays a scenario in a world |
//! | `title` | what a step does, in one line |
//! | [`outcome`] | what came of it |
//!
//! A file goes through tree, shape, types and check, in this order, before anything starts.

mod check;
pub mod fault;
pub mod file;
pub mod outcome;
pub mod period;
pub mod problem;
pub mod run;
mod shape;
mod title;
pub mod tree;

use std::path::Path;

pub use file::ScenarioFile;
pub use outcome::{RunReport, StepOutcome, StepResult, Verdict};
pub use problem::Refusal;
pub use run::{RunOptions, play_tour, play_tour_at, run};

/// The built-in tour: the scenario the desktop's "Play the tour" plays.
pub const TOUR: &str = include_str!("../../../scenarios/tour.yaml");

/// A scenario that was read and checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name of the file it was read from, for reports.
    pub file_name: String,
    /// What the file says.
    pub file: ScenarioFile,
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read {file}: {reason}")]
    Unreadable {
        /// The file's name.
        file: String,
        /// Why, as the system says it.
        reason: std::io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The largest scenario file that is read, in bytes: a larger one is something else.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

impl Scenario {
    /// Reads and checks a file.
    pub fn open(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let unreadable = |reason| ScenarioError::Unreadable { file: file.clone(), reason };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > FILE_MAX_BYTES {
            let reason = format!("{size} bytes is more than a scenario may have ({FILE_MAX_BYTES})");
            return Err(unreadable(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason)));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self::read(&file, &text)?)
    }

    /// Reads and checks a text. `file_name` stands in front of every complaint.
    pub fn read(file_name: &str, text: &str) -> Result<Self, Refusal> {
        let refuse = |problems| Refusal::new(file_name, text, problems);
        let document = tree::Node::parse(text).map_err(|problem| refuse(vec![problem]))?;
        let problems = shape::check(&document);
        if !problems.is_empty() {
            return Err(refuse(problems));
        }
        let file: ScenarioFile =
            serde_saphyr::from_str(text).map_err(|error| refuse(vec![tree::type_problem(&error)]))?;
        let problems = check::check(&file);
        if !problems.is_empty() {
            return Err(refuse(problems));
        }
        Ok(Self { file_name: file_name.to_owned(), file })
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        &self.file.scenario.value
    }
}
