//! What is wrong with a scenario file, and how a person is told.

use std::collections::HashSet;
use std::fmt;

use super::tree::Place;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong, one sentence without a full stop.
    pub what: String,
    /// What would be right there.
    pub expected: Option<String>,
    /// The nearest right word.
    pub nearest: Option<String>,
}

impl Problem {
    /// A problem of which only the place and the sentence are known.
    pub fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into(), expected: None, nearest: None }
    }

    /// Says what would be right there.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Looks for the right word that was probably meant by `word`.
    #[must_use]
    pub fn nearest<'a>(mut self, word: &str, right: impl IntoIterator<Item = &'a str>) -> Self {
        self.nearest = nearest(word, right).map(str::to_owned);
        self
    }
}

/// The right word nearest to `word`, when one is near enough to have been meant.
pub fn nearest<'a>(word: &str, right: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    right
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&word, &lower);
            // A third of the letters may be wrong; a prefix such as `conv` for `conversation` counts as near.
            let limit = (lower.chars().count().max(word.chars().count()) / 3).max(1);
            let prefix = word.chars().count() >= 3 && lower.starts_with(&word);
            (distance <= limit || prefix).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A file that was read: the scenario itself, or one that it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, as it stands in front of complaints.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Most problems that are printed; more say nothing that these do not.
const PRINTED_MAX: usize = 50;
/// Most characters of a line that are shown around a problem.
const SHOWN_MAX: usize = 160;

/// A scenario file that was refused: everything that is wrong with it, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl Refusal {
    /// Of the file of this name and text. Sorts the problems by place.
    pub fn new(file: &str, text: &str, problems: Vec<Problem>) -> Self {
        Self::of(vec![Source { name: file.to_owned(), text: text.to_owned() }], problems)
    }

    /// Of a scenario and the files it includes. Sorts the problems by file and place.
    pub(super) fn of(sources: Vec<Source>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.place.file, problem.place.line, problem.place.column));
        // What is written out several times is wrong once.
        let mut said = HashSet::new();
        problems.retain(|problem| said.insert((problem.place, problem.what.clone())));
        Self { sources, problems }
    }

    /// The scenario file's name.
    pub fn file(&self) -> &str {
        self.file_at(Place::START)
    }

    /// The name of the file a place is in.
    pub fn file_at(&self, place: Place) -> &str {
        self.sources.get(place.file as usize).map_or("", |source| &source.name)
    }

    /// Everything that is wrong; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<Vec<&str>> = self.sources.iter().map(|source| source.text.lines().collect()).collect();
        for (index, problem) in self.problems.iter().take(PRINTED_MAX).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Place { file, line, column, width } = problem.place;
            writeln!(f, "{}:{line}:{column}: {}", self.file_at(problem.place), problem.what)?;
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let text = lines.get(file as usize).and_then(|lines| lines.get((line as usize).checked_sub(1)?));
            if let Some(text) = text {
                let Shown { text, before, carets } = Shown::of(text, column as usize, width as usize);
                writeln!(f, " {margin} |")?;
                writeln!(f, " {number} | {text}")?;
                write!(f, " {margin} | {}{}", " ".repeat(before), "^".repeat(carets))?;
                match &problem.nearest {
                    Some(word) => writeln!(f, " did you mean `{word}`?")?,
                    None => writeln!(f)?,
                }
            } else if let Some(word) = &problem.nearest {
                writeln!(f, " {margin} = did you mean `{word}`?")?;
            }
            if let Some(expected) = &problem.expected {
                writeln!(f, " {margin} = expected {expected}")?;
            }
        }
        let count = self.problems.len();
        writeln!(f)?;
        if count > PRINTED_MAX {
            writeln!(f, "and {} more", count - PRINTED_MAX)?;
        }
        write!(f, "{}: {count} {}; nothing was started", self.file(), if count == 1 { "problem" } else { "problems" })
    }
}

/// The part of a line that is shown, and what is underlined in it.
struct Shown {
    text: String,
    before: usize,
    carets: usize,
}

impl Shown {
    /// `column` from 1 and `width` in characters.
    fn of(line: &str, column: usize, width: usize) -> Self {
        // A tab is as wide as the caret line makes it, so both lines get a space for it; nothing else may move the
        // cursor of a terminal.
        let visible = |c: char| if c.is_control() { if c == '\t' { ' ' } else { '\u{fffd}' } } else { c };
        let before = column.saturating_sub(1);
        let length = line.chars().count();
        if length <= SHOWN_MAX {
            let carets = width.clamp(1, length.saturating_sub(before).max(1));
            return Self { text: line.chars().map(visible).collect(), before, carets };
        }
        let from = before.saturating_sub(SHOWN_MAX / 2);
        let (mut text, mut before) = (String::new(), before - from);
        if from > 0 {
            text.push('…');
            before += 1;
        }
        text.extend(line.chars().skip(from).take(SHOWN_MAX).map(visible));
        if from + SHOWN_MAX < length {
            text.push('…');
        }
        let carets = width.clamp(1, text.chars().count().saturating_sub(before).max(1));
        Self { text, before, carets }
    }
}

#[cfg(test)]
mod tests {
    use super::{SHOWN_MAX, Shown, nearest};

    #[test]
    fn of_a_long_line_the_part_around_the_problem_is_shown() {
        let line = format!("{}wrong{}", "a".repeat(500), "b".repeat(500));
        let Shown { text, before, carets } = Shown::of(&line, 501, 5);
        assert_eq!(text.chars().count(), SHOWN_MAX + 2, "{text}");
        assert_eq!(text.chars().skip(before).take(carets).collect::<String>(), "wrong");
        let Shown { text, before, carets } = Shown::of("a\tb\u{1b}[31m", 3, 900);
        assert_eq!((text.as_str(), before, carets), ("a b\u{fffd}[31m", 2, 6));
    }

    #[test]
    fn only_a_near_word_is_offered() {
        let words = ["send", "create", "expect_ack", "conversation"];
        assert_eq!(nearest("sned", words), Some("send"));
        assert_eq!(nearest("Send", words), Some("send"));
        assert_eq!(nearest("expectack", words), Some("expect_ack"));
        assert_eq!(nearest("conv", words), Some("conversation"));
        assert_eq!(nearest("reboot", words), None);
        assert_eq!(nearest("", words), None);
    }
}
