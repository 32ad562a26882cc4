//! Scenario files: reading, checking, running (S3.5).
//!
//! | module | one sentence |
//! |---|---|
//! | [`file`] | the language as types; schema and structural checks follow from them |
//! | [`period`] | durations as people write them |
//! | [`problem`] | what is wrong with a file and how a person is told |
//! | [`tree`] | a YAML document whose every part knows its place |
//! | `expand` | writes variables, loops and included files out |
//! | `shape` | structure: unknown words, missing fields, wrong values |
//! | `check` | meaning: who and what a step speaks of |
//! | [`run`] | plays a scenario in a world |
//! | `title` | what a step does, in one line |
//! | [`outcome`] | what came of it |
//!
//! A file goes through tree, expand, shape, types and check, in this order, before anything starts.

mod check;
mod expand;
pub mod fault;
pub mod file;
pub mod outcome;
pub mod period;
pub mod problem;
pub mod run;
mod shape;
mod title;
pub mod tree;

use std::io::Read as _;
use std::path::Path;

pub use file::ScenarioFile;
pub use outcome::{RunReport, StepOutcome, StepResult, Verdict};
pub use problem::Refusal;
pub use run::{RunOptions, Watcher, play_tour, play_tour_at, run, run_watched};

use problem::{Problem, Source};
use tree::Place;

/// The built-in tour: the scenario the desktop's "Play the tour" plays.
pub const TOUR: &str = include_str!("../../../scenarios/tour.yaml");

/// A scenario that was read and checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name of the file it was read from, for reports.
    pub file_name: String,
    /// What the file says, with variables, loops and included files written out.
    pub file: ScenarioFile,
    /// The names of the files it includes; [`tree::Place::file`] counts them from 1.
    pub included: Vec<String>,
    /// For each step the line of the scenario itself it stands at: of one that is included, where it is included.
    pub lines: Vec<u32>,
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
pub(crate) const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

impl Scenario {
    /// Reads and checks a file. It may include others of its folder.
    pub fn open(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let text = match read_text(path) {
            Ok(Ok(text)) => text,
            Ok(Err(NoText { problem, read })) => return Err(Refusal::new(&file, &read, vec![*problem]).into()),
            Err(reason) => return Err(ScenarioError::Unreadable { file, reason }),
        };
        Ok(Self::read_from(&file, text, Some(path))?)
    }

    /// Reads and checks a text, which can include nothing. `file_name` stands in front of every complaint.
    pub fn read(file_name: &str, text: &str) -> Result<Self, Refusal> {
        Self::read_from(file_name, text.to_owned(), None)
    }

    /// Reads and checks a text that is, or is going to be, in a file at `path`: beside it others are looked for.
    pub(crate) fn read_from(file_name: &str, text: String, path: Option<&Path>) -> Result<Self, Refusal> {
        let document = tree::Node::parse(0, &text);
        let mut sources = vec![Source { name: file_name.to_owned(), text }];
        let document = match document {
            Ok(document) => document,
            Err(problem) => return Err(Refusal::of(sources, vec![problem])),
        };
        let expand::Expanded { document, lines, mut problems } = expand::expand(document, &mut sources, path);
        problems.extend(shape::check(&document));
        if !problems.is_empty() {
            return Err(Refusal::of(sources, problems));
        }
        let file: ScenarioFile = match document.read() {
            Ok(file) => file,
            Err(problem) => return Err(Refusal::of(sources, vec![problem])),
        };
        let included: Vec<String> = sources.iter().skip(1).map(|source| source.name.clone()).collect();
        let problems = check::check(&file, &included);
        if !problems.is_empty() {
            return Err(Refusal::of(sources, problems));
        }
        let own =
            |(step, line): (&file::At<file::Step>, u32)| if step.place.file == 0 { step.place.line } else { line };
        let lines = file.steps.iter().zip(lines).map(own).collect();
        Ok(Self { file_name: file_name.to_owned(), file, included, lines })
    }

    /// Every step: the line of the scenario itself it stands at, and what it does.
    pub(crate) fn outline(&self) -> Vec<(u32, String)> {
        let titles = self.file.steps.iter().map(|step| run::title_of(self, step));
        self.lines.iter().copied().zip(titles).collect()
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        &self.file.scenario.value
    }

    /// The file a place is in, when it is not the scenario itself.
    pub fn included_at(&self, place: Place) -> Option<&str> {
        included_at(&self.included, place)
    }
}

/// What can be said of a text that is no scenario: its name, what it is about, and the lines and words of its own steps.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    /// Whether it is a document at all.
    pub(crate) reads: bool,
    /// Its name.
    pub(crate) name: Option<String>,
    /// What it is about.
    pub(crate) about: Option<String>,
    /// Where its steps begin, and the word of each.
    pub(crate) steps: Vec<(u32, String)>,
}

impl Sketch {
    /// Of a text, right or wrong.
    pub(crate) fn of(text: &str) -> Self {
        let Ok(document) = tree::Node::parse(0, text) else { return Self::default() };
        let field = |name: &str| document.get(name).and_then(tree::Node::scalar).filter(|text| !text.trim().is_empty());
        let mut steps = Vec::new();
        if let Some(tree::Node { value: tree::NodeValue::List(list), .. }) = document.get("steps") {
            for step in list {
                if let tree::NodeValue::Map(pairs) = &step.value
                    && let Some((key, _)) = pairs.first()
                {
                    steps.extend(key.scalar().map(|word| (step.place.line, word)));
                }
            }
        }
        Self { reads: true, name: field("scenario"), about: field("about"), steps }
    }
}

/// The file a place is in, when it is one of those that are included.
fn included_at(included: &[String], place: Place) -> Option<&str> {
    included.get((place.file as usize).checked_sub(1)?).map(String::as_str)
}

/// A file that is no text of a scenario.
struct NoText {
    problem: Box<Problem>,
    /// What of it can be shown.
    read: String,
}

/// Reads a file that should hold a text of a scenario.
fn read_text(path: &Path) -> std::io::Result<Result<String, NoText>> {
    let mut bytes = Vec::new();
    // Not the size the system tells: a device or a pipe has none.
    std::fs::File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        let problem = Problem::new(Place::START, "the file is too large")
            .expected(format!("at most {} MiB, which no scenario needs", FILE_MAX_BYTES / (1024 * 1024)));
        return Ok(Err(NoText { problem: Box::new(problem), read: String::new() }));
    }
    Ok(String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let place = Place { line: number(line), column: number(column), ..Place::START };
        let byte = error.as_bytes().get(valid).copied().unwrap_or_default();
        let problem = Problem::new(place, format!("the byte 0x{byte:02x} is no character here"))
            .expected("a text in UTF-8; save the file in that encoding");
        NoText { problem: Box::new(problem), read: String::from_utf8_lossy(error.as_bytes()).into_owned() }
    }))
}
