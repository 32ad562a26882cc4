//! What everything of ours is called by on servers that others use too.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// What the name of a run begins with.
const RUN_PREFIX: &str = "ackscope-run-";
/// Longest name. MongoDB takes 63 bytes for a database.
const LENGTH_MAX: usize = 48;

/// The name of the database, and what the cache's keys and the topics begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

/// The text is no namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no namespace: expected 1 to {LENGTH_MAX} of the characters a-z 0-9 - _, a letter first")]
pub struct NamespaceError(String);

impl FromStr for Namespace {
    type Err = NamespaceError;

    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        let is_right = text.len() <= LENGTH_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
        if is_right { Ok(Self(text.to_owned())) } else { Err(NamespaceError(text.to_owned())) }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Namespace {
    /// One that no other run has.
    pub fn of_a_run() -> Self {
        Self(format!("{RUN_PREFIX}{}", &Uuid::new_v4().simple().to_string()[..12]))
    }

    /// Whether it is the name of a run, which goes with it.
    pub(super) fn is_of_a_run(&self) -> bool {
        self.0.starts_with(RUN_PREFIX)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the database.
    pub fn database(&self) -> String {
        self.0.clone()
    }

    /// What the cache's keys begin with.
    pub fn key_prefix(&self) -> String {
        format!("{}:", self.0)
    }

    /// What the topics' names begin with.
    pub fn topic_prefix(&self) -> String {
        format!("{}.", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_limits() {
        let longest = "a".repeat(LENGTH_MAX);
        for right in ["a", "staging-2", "team_a", &longest, Namespace::of_a_run().as_str()] {
            assert!(right.parse::<Namespace>().is_ok(), "{right}");
        }
        for wrong in ["", "A", "1a", "-a", "a b", "a.b", "ä", &format!("{longest}a")] {
            assert!(wrong.parse::<Namespace>().is_err(), "{wrong}");
        }
        assert_ne!(Namespace::of_a_run(), Namespace::of_a_run());
    }
}
