//! What is wrong with a scenario file, and how a person is told.

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

/// A scenario file that was refused: everything that is wrong with it, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    file: String,
    lines: Vec<String>,
    problems: Vec<Problem>,
}

impl Refusal {
    /// Of the file of this name and text. Sorts the problems by place.
    pub fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        problems.dedup();
        Self { file: file.to_owned(), lines: text.lines().map(str::to_owned).collect(), problems }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Everything that is wrong; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Place { line, column, width } = problem.place;
            writeln!(f, "{}:{line}:{column}: {}", self.file, problem.what)?;
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            if let Some(text) = (line as usize).checked_sub(1).and_then(|index| self.lines.get(index)) {
                // A tab is as wide as the caret line makes it, so both lines get a space for it.
                let shown = text.replace('\t', " ");
                let before = (column as usize).saturating_sub(1);
                let rest = shown.chars().count().saturating_sub(before);
                let carets = (width as usize).clamp(1, rest.max(1));
                writeln!(f, " {margin} |")?;
                writeln!(f, " {number} | {shown}")?;
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
        write!(f, "{}: {count} {}; nothing was started", self.file, if count == 1 { "problem" } else { "problems" })
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

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
