//! Choosing a backend.

use std::fmt;
use std::str::FromStr;

use ackscope_protocol::control::BackendKind;

use super::{Addresses, EnvironmentError};

/// Which backend is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendChoice {
    /// What fits this machine; says which and why.
    #[default]
    Auto,
    /// One SQLite file and memory; nothing to install.
    Embedded,
    /// Real servers in containers.
    Containers,
    /// Real servers by address.
    External,
}

/// The text names no backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no backend: expected auto, embedded, containers or external")]
pub struct UnknownBackend(pub String);

impl BackendChoice {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Embedded, Self::Containers, Self::External];

    /// The name as flags and files spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
            Self::Containers => "containers",
            Self::External => "external",
        }
    }
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BackendChoice {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == text).ok_or_else(|| UnknownBackend(text.to_owned()))
    }
}

/// The backend to take, and why.
pub(super) fn decide(choice: BackendChoice, addresses: Addresses) -> Result<(BackendKind, String), EnvironmentError> {
    let reason = match choice {
        BackendChoice::Embedded => "embedded: it was asked for".to_owned(),
        BackendChoice::Auto => match addresses.names().as_slice() {
            [] => "embedded: asked for auto, and this version has no other backend".to_owned(),
            names => format!(
                "embedded: asked for auto, and this version has no other backend; {} not used",
                is_or_are(names)
            ),
        },
        BackendChoice::Containers | BackendChoice::External => {
            return Err(EnvironmentError::NotInThisVersion(choice));
        }
    };
    Ok((BackendKind::Embedded, reason))
}

fn is_or_are(names: &[&str]) -> String {
    match names {
        [one] => format!("{one} is"),
        many => format!("{} are", many.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_as_they_are_written() {
        for choice in BackendChoice::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("Embedded".parse::<BackendChoice>().is_err());
    }

    #[test]
    fn auto_says_what_it_took_and_what_it_did_not_use() {
        let (kind, reason) = decide(BackendChoice::Auto, Addresses::default()).unwrap();
        assert_eq!(kind, BackendKind::Embedded);
        assert!(reason.starts_with("embedded:"), "{reason}");
        let addresses = Addresses { mongodb_uri: true, ..Addresses::default() };
        let (_, reason) = decide(BackendChoice::Auto, addresses).unwrap();
        assert!(reason.ends_with("ACKSCOPE_MONGODB_URI is not used"), "{reason}");
    }

    #[test]
    fn what_does_not_exist_is_refused_as_wrong_usage() {
        for choice in [BackendChoice::Containers, BackendChoice::External] {
            let error = decide(choice, Addresses::default()).unwrap_err();
            assert!(error.is_usage());
            assert!(error.to_string().contains(choice.as_str()), "{error}");
        }
    }
}
