//! Settings from flags, `ackscope.toml` and the environment, in this order: what is set first counts (S2).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::BackendChoice;

/// The name of the settings file, looked for in the current folder.
pub const SETTINGS_FILE: &str = "ackscope.toml";

/// What the file may set.
const KEYS: [&str; 4] = ["backend", "chat", "data", "ui"];
/// How alike two words must be for one to be offered for the other (Jaro–Winkler, 0 to 1).
const LIKENESS_MIN: f64 = 0.7;

/// Which addresses of `external` are given; their values are not read in this version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `ACKSCOPE_MONGODB_URI`.
    pub mongodb_uri: bool,
    /// `ACKSCOPE_REDIS_URL`.
    pub redis_url: bool,
    /// `ACKSCOPE_KAFKA_BROKERS`.
    pub kafka_brokers: bool,
}

impl Addresses {
    /// The names of those that are given.
    pub fn names(self) -> Vec<&'static str> {
        [
            (self.mongodb_uri, "ACKSCOPE_MONGODB_URI"),
            (self.redis_url, "ACKSCOPE_REDIS_URL"),
            (self.kafka_brokers, "ACKSCOPE_KAFKA_BROKERS"),
        ]
        .into_iter()
        .filter_map(|(given, name)| given.then_some(name))
        .collect()
    }
}

/// Settings, each of them absent where nobody set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which backend.
    pub backend: Option<BackendChoice>,
    /// Where the chat service listens.
    pub chat: Option<SocketAddr>,
    /// Where the interface is served.
    pub ui: Option<SocketAddr>,
    /// Where the embedded files stay from run to run.
    pub data: Option<PathBuf>,
    /// Which addresses of `external` are given.
    pub addresses: Addresses,
}

/// Why settings are not used. All of these are wrong usage (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is there and cannot be read.
    #[error("{} cannot be read: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is wrong.
    #[error("{}:{line}:{column}: {problem}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong, what was expected and the nearest right word.
        problem: String,
    },
    /// A variable is wrong.
    #[error("the environment's {name}: {problem}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Settings {
    /// `flags`, then the file in `folder` if there is one, then the environment.
    pub fn load(
        flags: Self,
        folder: &Path,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        let file = folder.join(SETTINGS_FILE);
        let from_file = match std::fs::read_to_string(&file) {
            Ok(text) => Self::from_toml(&text, &file)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(SettingsError::Read { file, error }),
        };
        Ok(flags.or(from_file).or(Self::from_variables(variable)?))
    }

    /// These settings, and where nothing is set, the others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            backend: self.backend.or(others.backend),
            chat: self.chat.or(others.chat),
            ui: self.ui.or(others.ui),
            data: self.data.or(others.data),
            addresses: Addresses {
                mongodb_uri: self.addresses.mongodb_uri || others.addresses.mongodb_uri,
                redis_url: self.addresses.redis_url || others.addresses.redis_url,
                kafka_brokers: self.addresses.kafka_brokers || others.addresses.kafka_brokers,
            },
        }
    }

    /// Reads a settings file. A relative `data` is relative to the file's folder.
    pub fn from_toml(text: &str, file: &Path) -> Result<Self, SettingsError> {
        let refuse = |span: Option<std::ops::Range<usize>>, problem: String| {
            let (line, column) = place(text, span.map_or(0, |span| span.start));
            SettingsError::File { file: file.to_owned(), line, column, problem }
        };
        let table = DeTable::parse(text).map_err(|error| refuse(error.span(), error.message().to_owned()))?;
        let mut settings = Self::default();
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            let wrong = |expected: &str| {
                let found = value.get_ref().type_str();
                refuse(Some(value.span()), format!("`{name}`: expected {expected}, found {found}"))
            };
            let said = |problem: String| refuse(Some(value.span()), format!("`{name}`: {problem}"));
            match name {
                "backend" => {
                    let word = text_of(value).ok_or_else(|| wrong("a text"))?;
                    settings.backend = Some(word.parse().map_err(|_| said(unknown_backend(word)))?);
                }
                "chat" | "ui" => {
                    let address = text_of(value).ok_or_else(|| wrong("an address such as \"127.0.0.1:4000\""))?;
                    let address = address
                        .parse()
                        .map_err(|_| said(format!("`{address}` is no address such as 127.0.0.1:4000")))?;
                    *(if name == "chat" { &mut settings.chat } else { &mut settings.ui }) = Some(address);
                }
                "data" => {
                    let folder = text_of(value).ok_or_else(|| wrong("a folder's path"))?;
                    settings.data = Some(file.parent().unwrap_or(Path::new("")).join(folder));
                }
                unknown => {
                    let expected = format!("expected one of {}", KEYS.join(", "));
                    let problem = match nearest(unknown, &KEYS) {
                        Some(word) => format!("unknown setting `{unknown}`: did you mean `{word}`? ({expected})"),
                        None => format!("unknown setting `{unknown}`: {expected}"),
                    };
                    return Err(refuse(Some(key.span()), problem));
                }
            }
        }
        Ok(settings)
    }

    /// Reads the environment.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        const BACKEND: &str = "ACKSCOPE_BACKEND";
        // A variable that is set to nothing counts as not set, as shells and CI systems leave it behind.
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let backend = match given(BACKEND) {
            None => None,
            Some(word) => {
                let word = word.to_string_lossy();
                let wrong = || SettingsError::Variable { name: BACKEND, problem: unknown_backend(&word) };
                Some(word.parse().map_err(|_| wrong())?)
            }
        };
        Ok(Self {
            backend,
            addresses: Addresses {
                mongodb_uri: given("ACKSCOPE_MONGODB_URI").is_some(),
                redis_url: given("ACKSCOPE_REDIS_URL").is_some(),
                kafka_brokers: given("ACKSCOPE_KAFKA_BROKERS").is_some(),
            },
            ..Self::default()
        })
    }
}

fn text_of<'a>(value: &'a Spanned<DeValue<'_>>) -> Option<&'a str> {
    value.get_ref().as_str()
}

fn unknown_backend(word: &str) -> String {
    let names = BackendChoice::ALL.map(BackendChoice::as_str);
    let expected = format!("expected one of {}", names.join(", "));
    match nearest(word, &names) {
        Some(name) => format!("`{word}` is no backend: did you mean `{name}`? ({expected})"),
        None => format!("`{word}` is no backend: {expected}"),
    }
}

fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    words
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Line and column, both from 1; columns count characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        Settings::from_toml(text, Path::new("/project/ackscope.toml")).map_err(|error| error.to_string())
    }

    fn none(_: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn a_whole_file() {
        let settings = read("# demo\nbackend = \"embedded\"\nchat = \"127.0.0.1:4000\"\ndata = \"runs\"\n").unwrap();
        assert_eq!(settings.backend, Some(BackendChoice::Embedded));
        assert_eq!(settings.chat, Some(([127, 0, 0, 1], 4000).into()));
        assert_eq!(settings.data, Some(PathBuf::from("/project/runs")));
        assert_eq!(settings.ui, None);
    }

    #[test]
    fn wrong_files_name_the_place_and_the_nearest_word() {
        for (text, parts) in [
            ("\n bakend = \"auto\"", ["ackscope.toml:2:2:", "did you mean `backend`?"]),
            ("backend = \"contaners\"", ["ackscope.toml:1:11:", "did you mean `containers`?"]),
            ("zzz = 1", ["ackscope.toml:1:1:", "expected one of backend, chat, data, ui"]),
            ("backend = 1", ["ackscope.toml:1:11:", "expected a text, found integer"]),
            ("ui = \"localhost\"", ["ackscope.toml:1:6:", "no address such as 127.0.0.1:4000"]),
            ("backend = ", ["ackscope.toml:1:", "ackscope.toml"]),
        ] {
            let said = read(text).unwrap_err();
            for part in parts {
                assert!(said.contains(part), "{text:?} said {said:?}, without {part:?}");
            }
        }
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "ACKSCOPE_BACKEND").then(|| OsString::from("external"));
        let load = |flags: Settings| Settings::load(flags, folder.path(), variable).unwrap();
        assert_eq!(load(Settings::default()).backend, Some(BackendChoice::External));
        std::fs::write(folder.path().join(SETTINGS_FILE), "backend = \"containers\"").unwrap();
        assert_eq!(load(Settings::default()).backend, Some(BackendChoice::Containers));
        let flags = Settings { backend: Some(BackendChoice::Embedded), ..Settings::default() };
        assert_eq!(load(flags).backend, Some(BackendChoice::Embedded));
    }

    #[test]
    fn variables_are_checked_and_empty_ones_are_not_set() {
        assert_eq!(Settings::from_variables(none).unwrap(), Settings::default());
        assert_eq!(Settings::from_variables(|_| Some(OsString::new())).unwrap(), Settings::default());
        let wrong = Settings::from_variables(|name| (name == "ACKSCOPE_BACKEND").then(|| "embeded".into()));
        let said = wrong.unwrap_err().to_string();
        assert!(said.contains("ACKSCOPE_BACKEND") && said.contains("did you mean `embedded`?"), "{said}");
    }
}
