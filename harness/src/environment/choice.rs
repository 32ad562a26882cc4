//! Choosing a backend.

use std::fmt;
use std::str::FromStr;

use super::settings::variable_of;
use super::{Addresses, EnvironmentError, ServerAddresses};

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

/// What to take, and why, one sentence.
#[derive(Debug)]
pub(super) enum Decision {
    /// One SQLite file and memory.
    Embedded { reason: String },
    /// Real servers in containers. Whoever asked for `auto` gets `embedded` when they do not start.
    Containers { reason: String, or_embedded: bool },
    /// Real servers by address.
    External { addresses: ServerAddresses, reason: String },
}

/// Chooses (S2). `docker` is only asked when it matters: its version, or why it cannot be used.
pub(super) async fn decide(
    choice: BackendChoice,
    addresses: &Addresses,
    docker: impl Future<Output = Result<String, String>>,
) -> Result<Decision, EnvironmentError> {
    let external = |reason: &str| match addresses.complete() {
        Ok(addresses) => Ok(Decision::External { addresses, reason: reason.to_owned() }),
        Err(missing) => {
            Err(EnvironmentError::MissingAddresses(missing.into_iter().map(|name| (name, variable_of(name))).collect()))
        }
    };
    match choice {
        BackendChoice::Embedded => Ok(Decision::Embedded { reason: "embedded: it was asked for".to_owned() }),
        BackendChoice::Containers => {
            Ok(Decision::Containers { reason: "containers: it was asked for".to_owned(), or_embedded: false })
        }
        BackendChoice::External => external("external: it was asked for"),
        BackendChoice::Auto if !addresses.given().is_empty() => {
            external("external: asked for auto, and addresses are given")
        }
        BackendChoice::Auto => Ok(match docker.await {
            Ok(version) => Decision::Containers {
                reason: format!("containers: asked for auto, and Docker {version} answers"),
                or_embedded: true,
            },
            Err(why) => {
                Decision::Embedded { reason: format!("embedded: asked for auto, no addresses are given, and {why}") }
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use super::*;

    fn all() -> Addresses {
        Addresses {
            mongodb_uri: Some("mongodb://host".to_owned()),
            redis_url: Some("redis://host".to_owned()),
            kafka_brokers: Some("host:9092".to_owned()),
        }
    }

    fn answers() -> Ready<Result<String, String>> {
        ready(Ok("28.0".to_owned()))
    }

    fn is_stopped() -> Ready<Result<String, String>> {
        ready(Err("Docker is stopped".to_owned()))
    }

    /// Whoever asks gets an answer that no test expects.
    fn is_not_asked() -> Ready<Result<String, String>> {
        ready(Ok("asked although it does not matter".to_owned()))
    }

    #[test]
    fn choices_read_as_they_are_written() {
        for choice in BackendChoice::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("Embedded".parse::<BackendChoice>().is_err());
    }

    #[tokio::test]
    async fn auto_takes_addresses_then_docker_then_what_is_always_there() {
        let decision = decide(BackendChoice::Auto, &all(), is_not_asked()).await.unwrap();
        assert!(matches!(decision, Decision::External { .. }), "{decision:?}");
        let decision = decide(BackendChoice::Auto, &Addresses::default(), answers()).await.unwrap();
        assert!(matches!(&decision, Decision::Containers { or_embedded: true, reason } if reason.contains("28.0")));
        let decision = decide(BackendChoice::Auto, &Addresses::default(), is_stopped()).await.unwrap();
        assert!(matches!(&decision, Decision::Embedded { reason } if reason.ends_with("Docker is stopped")));
    }

    #[tokio::test]
    async fn what_is_asked_for_is_taken() {
        let decision = decide(BackendChoice::Embedded, &all(), is_not_asked()).await.unwrap();
        assert!(matches!(decision, Decision::Embedded { .. }));
        let decision = decide(BackendChoice::Containers, &all(), is_not_asked()).await.unwrap();
        assert!(matches!(decision, Decision::Containers { or_embedded: false, .. }));
    }

    #[tokio::test]
    async fn addresses_that_are_missing_are_named() {
        let one = Addresses { redis_url: all().redis_url, ..Addresses::default() };
        for choice in [BackendChoice::Auto, BackendChoice::External] {
            let error = decide(choice, &one, is_not_asked()).await.unwrap_err();
            assert!(error.is_usage());
            let said = error.to_string();
            assert!(said.contains("--mongodb-uri") && said.contains("ACKSCOPE_KAFKA_BROKERS"), "{said}");
            assert!(!said.contains("redis"), "{said}");
        }
    }
}
