//! Settings from flags, `ackscope.toml` and the environment, in this order: what is set first counts (S2).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ackscope_core::limits::{self, LimitError, Limits};
use ackscope_core::media::WhenMediaIsDown;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::namespace::{Namespace, NamespaceError};
use super::{BackendChoice, EnvironmentOptions, ServerAddresses};

/// The name of the settings file, looked for in the current folder.
pub const SETTINGS_FILE: &str = "ackscope.toml";

/// What the file may set.
const KEYS: [&str; 14] = [
    "backend",
    "chat",
    "data",
    "kafka_brokers",
    "kafka_image",
    "keep",
    "limits",
    "mongodb_image",
    "mongodb_uri",
    "namespace",
    "redis_image",
    "redis_url",
    "ui",
    "unverified_media",
];
const BACKEND: &str = "ACKSCOPE_BACKEND";
const KEEP: &str = "ACKSCOPE_KEEP";
const NAMESPACE: &str = "ACKSCOPE_NAMESPACE";
/// The words of `unverified_media`.
const UNVERIFIED_MEDIA: [(&str, WhenMediaIsDown); 2] =
    [("accept", WhenMediaIsDown::Accept), ("reject", WhenMediaIsDown::Reject)];
/// How alike two words must be for one to be offered for the other (Jaro–Winkler, 0 to 1).
const LIKENESS_MIN: f64 = 0.7;

/// The addresses of `external`; those that nobody gave are absent. They may hold passwords, so they are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `mongodb://` or `mongodb+srv://`.
    pub mongodb_uri: Option<String>,
    /// `redis://` or `rediss://`.
    pub redis_url: Option<String>,
    /// `host:port,host:port`, or `sasl_ssl://user:password@host:port,…`.
    pub kafka_brokers: Option<String>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Addresses").field(&self.given()).finish()
    }
}

impl Addresses {
    fn each(&self) -> [(&'static str, &Option<String>); 3] {
        [("mongodb_uri", &self.mongodb_uri), ("redis_url", &self.redis_url), ("kafka_brokers", &self.kafka_brokers)]
    }

    /// The names of those that are given, as the settings file spells them.
    pub fn given(&self) -> Vec<&'static str> {
        self.each().into_iter().filter(|(_, address)| address.is_some()).map(|(name, _)| name).collect()
    }

    /// All three, or the names of those that are missing.
    pub fn complete(&self) -> Result<ServerAddresses, Vec<&'static str>> {
        match (&self.mongodb_uri, &self.redis_url, &self.kafka_brokers) {
            (Some(mongodb_uri), Some(redis_url), Some(kafka_brokers)) => Ok(ServerAddresses {
                mongodb_uri: mongodb_uri.clone(),
                redis_url: redis_url.clone(),
                kafka_brokers: kafka_brokers.clone(),
            }),
            _ => Err(self.each().into_iter().filter(|(_, address)| address.is_none()).map(|(name, _)| name).collect()),
        }
    }

    fn or(self, others: Self) -> Self {
        Self {
            mongodb_uri: self.mongodb_uri.or(others.mongodb_uri),
            redis_url: self.redis_url.or(others.redis_url),
            kafka_brokers: self.kafka_brokers.or(others.kafka_brokers),
        }
    }
}

/// Images of `containers` that are not the default, such as those of a company's mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageNames {
    /// MongoDB's.
    pub mongodb: Option<String>,
    /// Redis's.
    pub redis: Option<String>,
    /// Kafka's.
    pub kafka: Option<String>,
}

impl ImageNames {
    fn or(self, others: Self) -> Self {
        Self {
            mongodb: self.mongodb.or(others.mongodb),
            redis: self.redis.or(others.redis),
            kafka: self.kafka.or(others.kafka),
        }
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
    /// Limits of the socket service that are not the default.
    pub limits: BTreeMap<&'static str, u64>,
    /// What happens to messages with media while the media service does not answer.
    pub unverified_media: Option<WhenMediaIsDown>,
    /// The addresses of `external`.
    pub addresses: Addresses,
    /// Images of `containers`.
    pub images: ImageNames,
    /// Whether containers stay for the next start.
    pub keep: Option<bool>,
    /// What everything of ours on `external` servers is called by.
    pub namespace: Option<Namespace>,
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
            limits: others.limits.into_iter().chain(self.limits).collect(),
            unverified_media: self.unverified_media.or(others.unverified_media),
            addresses: self.addresses.or(others.addresses),
            images: self.images.or(others.images),
            keep: self.keep.or(others.keep),
            namespace: self.namespace.or(others.namespace),
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
                "mongodb_uri" | "redis_url" | "kafka_brokers" | "mongodb_image" | "redis_image" | "kafka_image" => {
                    let text = text_of(value).filter(|text| !text.is_empty()).ok_or_else(|| wrong("a text"))?;
                    *settings.text_mut(name) = Some(text.to_owned());
                }
                "keep" => {
                    let keep = value.get_ref().as_bool().ok_or_else(|| wrong("true or false"))?;
                    settings.keep = Some(keep);
                }
                "namespace" => {
                    let text = text_of(value).ok_or_else(|| wrong("a text"))?;
                    settings.namespace = Some(text.parse().map_err(|error: NamespaceError| said(error.to_string()))?);
                }
                "data" => {
                    let folder = text_of(value).ok_or_else(|| wrong("a folder's path"))?;
                    settings.data = Some(file.parent().unwrap_or(Path::new("")).join(folder));
                }
                "limits" => {
                    let table = value.get_ref().as_table().ok_or_else(|| wrong("a table"))?;
                    for (key, value) in table {
                        let name: &str = key.get_ref();
                        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
                        let Some(number) = number else {
                            let found = value.get_ref().type_str();
                            let problem = format!("`{name}`: expected a whole number, found {found}");
                            return Err(refuse(Some(value.span()), problem));
                        };
                        let (name, number) =
                            limit(name, number).map_err(|problem| refuse(Some(key.span()), problem))?;
                        settings.limits.insert(name, number);
                    }
                }
                "unverified_media" => {
                    let word = text_of(value).ok_or_else(|| wrong("a text"))?;
                    settings.unverified_media = Some(unverified_media(word).map_err(said)?);
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
        const LIMITS: &str = "ACKSCOPE_LIMITS";
        const MEDIA: &str = "ACKSCOPE_UNVERIFIED_MEDIA";
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
        let mut limits = BTreeMap::new();
        for text in given(LIMITS).iter().flat_map(|value| value.to_str().unwrap_or("?").split([' ', ','])) {
            if !text.is_empty() {
                let wrong = |problem| SettingsError::Variable { name: LIMITS, problem };
                let (name, number) = parse_limit(text).map_err(wrong)?;
                limits.insert(name, number);
            }
        }
        let unverified_media = given(MEDIA)
            .map(|word| unverified_media(&word.to_string_lossy()))
            .transpose()
            .map_err(|problem| SettingsError::Variable { name: MEDIA, problem })?;
        let keep = given(KEEP).map(|word| is_yes(&word.to_string_lossy())).transpose();
        let keep = keep.map_err(|problem| SettingsError::Variable { name: KEEP, problem })?;
        let namespace = given(NAMESPACE).map(|name| name.to_string_lossy().parse::<Namespace>()).transpose();
        let namespace =
            namespace.map_err(|error| SettingsError::Variable { name: NAMESPACE, problem: error.to_string() })?;
        let mut settings = Self { backend, limits, unverified_media, keep, namespace, ..Self::default() };
        for (name, variable) in TEXT_VARIABLES {
            if let Some(value) = given(variable) {
                let value = value
                    .into_string()
                    .map_err(|_| SettingsError::Variable { name: variable, problem: "it is not text".to_owned() })?;
                *settings.text_mut(name) = Some(value);
            }
        }
        Ok(settings)
    }

    /// The setting that is taken as it is written.
    fn text_mut(&mut self, name: &str) -> &mut Option<String> {
        match name {
            "mongodb_uri" => &mut self.addresses.mongodb_uri,
            "redis_url" => &mut self.addresses.redis_url,
            "kafka_brokers" => &mut self.addresses.kafka_brokers,
            "mongodb_image" => &mut self.images.mongodb,
            "redis_image" => &mut self.images.redis,
            _ => &mut self.images.kafka,
        }
    }
}

/// Settings that are taken as they are written, with the variable each has in the environment.
const TEXT_VARIABLES: [(&str, &str); 6] = [
    ("mongodb_uri", "ACKSCOPE_MONGODB_URI"),
    ("redis_url", "ACKSCOPE_REDIS_URL"),
    ("kafka_brokers", "ACKSCOPE_KAFKA_BROKERS"),
    ("mongodb_image", "ACKSCOPE_MONGODB_IMAGE"),
    ("redis_image", "ACKSCOPE_REDIS_IMAGE"),
    ("kafka_image", "ACKSCOPE_KAFKA_IMAGE"),
];

/// The variable of one of [`Addresses::given`].
pub fn variable_of(name: &str) -> &'static str {
    TEXT_VARIABLES.iter().find(|(known, _)| *known == name).map_or("", |(_, variable)| variable)
}

fn is_yes(word: &str) -> Result<bool, String> {
    match word {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err(format!("`{word}`: expected true or false")),
    }
}

impl Settings {
    /// Every variable that says what a backend is.
    pub const VARIABLES: [&str; 9] = [
        BACKEND,
        KEEP,
        NAMESPACE,
        TEXT_VARIABLES[0].1,
        TEXT_VARIABLES[1].1,
        TEXT_VARIABLES[2].1,
        TEXT_VARIABLES[3].1,
        TEXT_VARIABLES[4].1,
        TEXT_VARIABLES[5].1,
    ];

    /// The settings of the backend as another process of this program reads them from its environment. They may hold
    /// passwords.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut settings = self.clone();
        let mut variables: Vec<(&'static str, String)> = Vec::new();
        for (name, variable) in TEXT_VARIABLES {
            variables.extend(settings.text_mut(name).take().map(|value| (variable, value)));
        }
        variables.extend(self.backend.map(|backend| (BACKEND, backend.as_str().to_owned())));
        variables.extend(self.keep.map(|keep| (KEEP, keep.to_string())));
        variables.extend(self.namespace.as_ref().map(|namespace| (NAMESPACE, namespace.to_string())));
        variables
    }

    /// What an environment is made from.
    pub fn environment(&self) -> EnvironmentOptions {
        EnvironmentOptions {
            choice: self.backend.unwrap_or_default(),
            data: self.data.clone(),
            addresses: self.addresses.clone(),
            images: self.images.clone(),
            keep: self.keep.unwrap_or_default(),
            namespace: self.namespace.clone(),
            ..EnvironmentOptions::default()
        }
    }

    /// The limits of a node with these settings.
    pub fn node_limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (name, value) in &self.limits {
            // Checked when the setting was read.
            if let Err(error) = limits.set(name, *value) {
                tracing::error!(%error, "a limit is not set");
            }
        }
        limits
    }
}

/// Reads `NAME=VALUE` of a limit.
pub fn parse_limit(text: &str) -> Result<(&'static str, u64), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}`: expected NAME=VALUE"))?;
    let value = value.parse().map_err(|_| format!("`{name}`: expected a whole number, found `{value}`"))?;
    limit(name, value)
}

fn limit(name: &str, value: u64) -> Result<(&'static str, u64), String> {
    Limits::default().set(name, value).map_err(|error| match error {
        LimitError::Unknown(_) => {
            let names: Vec<&str> = limits::SETTINGS.iter().map(|setting| setting.name).collect();
            match nearest(name, &names) {
                Some(word) => format!("{error}: did you mean `{word}`?"),
                None => format!("{error}: expected one of {}", names.join(", ")),
            }
        }
        LimitError::OutOfRange { .. } => error.to_string(),
    })?;
    let known = limits::SETTINGS.iter().find(|setting| setting.name == name);
    known.map(|setting| (setting.name, value)).ok_or_else(|| format!("there is no limit `{name}`"))
}

fn unverified_media(word: &str) -> Result<WhenMediaIsDown, String> {
    let known = UNVERIFIED_MEDIA.iter().find(|(name, _)| *name == word);
    known.map(|(_, choice)| *choice).ok_or_else(|| format!("`{word}`: expected accept or reject"))
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
            ("zzz = 1", ["ackscope.toml:1:1:", "expected one of backend, chat, data, kafka_brokers,"]),
            ("backend = 1", ["ackscope.toml:1:11:", "expected a text, found integer"]),
            ("ui = \"localhost\"", ["ackscope.toml:1:6:", "no address such as 127.0.0.1:4000"]),
            ("backend = ", ["ackscope.toml:1:", "ackscope.toml"]),
            ("[limits]\nevents_per_second = 5", ["ackscope.toml:2:1:", "did you mean `events_per_sec`?"]),
            ("[limits]\nevents_burst = 0", ["ackscope.toml:2:1:", "expected a number from 1 to 1000000, found 0"]),
            ("[limits]\nevents_burst = \"5\"", ["ackscope.toml:2:16:", "expected a whole number, found string"]),
            ("limits = 5", ["ackscope.toml:1:10:", "expected a table, found integer"]),
            ("unverified_media = \"no\"", ["ackscope.toml:1:20:", "expected accept or reject"]),
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
    fn addresses_come_from_everywhere_and_are_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let text = "redis_url = \"redis://:secret-word@file\"\nkeep = true\nnamespace = \"staging\"\nkafka_image = \"mirror/kafka:4\"";
        std::fs::write(folder.path().join(SETTINGS_FILE), text).unwrap();
        let variable = |name: &str| match name {
            "ACKSCOPE_MONGODB_URI" => Some(OsString::from("mongodb://ana:secret-word@environment")),
            "ACKSCOPE_REDIS_URL" => Some(OsString::from("redis://environment")),
            "ACKSCOPE_KAFKA_IMAGE" => Some(OsString::from("other")),
            _ => None,
        };
        let mut flags = Settings::default();
        flags.addresses.kafka_brokers = Some("flag:9092".to_owned());
        let settings = Settings::load(flags.clone(), folder.path(), variable).unwrap();
        assert!(!format!("{settings:?}").contains("secret-word"), "{settings:?}");
        assert_eq!(settings.images.kafka.as_deref(), Some("mirror/kafka:4"));
        assert_eq!((settings.keep, settings.namespace.as_ref().map(Namespace::as_str)), (Some(true), Some("staging")));
        let addresses = settings.addresses.complete().unwrap();
        assert_eq!(addresses.redis_url, "redis://:secret-word@file");
        assert_eq!(addresses.kafka_brokers, "flag:9092");
        assert_eq!(flags.addresses.complete().unwrap_err(), ["mongodb_uri", "redis_url"]);
        assert!(read("keep = 1").unwrap_err().contains("expected true or false"));
        assert!(read("namespace = \"A B\"").unwrap_err().contains("ackscope.toml:1:13:"));
        assert!(read("redis_url = \"\"").unwrap_err().contains("expected a text"));
    }

    #[test]
    fn limits_come_from_everywhere_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let text = "unverified_media = \"reject\"\n[limits]\nevents_burst = 20\nsend_deadline_ms = 70";
        std::fs::write(folder.path().join(SETTINGS_FILE), text).unwrap();
        let variable = |name: &str| match name {
            "ACKSCOPE_LIMITS" => Some(OsString::from("events_burst=5, connections_max=7")),
            "ACKSCOPE_UNVERIFIED_MEDIA" => Some(OsString::from("accept")),
            _ => None,
        };
        let limits = BTreeMap::from([parse_limit("send_deadline_ms=60").unwrap()]);
        let flags = Settings { limits, ..Settings::default() };
        let settings = Settings::load(flags, folder.path(), variable).unwrap();
        assert_eq!(settings.unverified_media, Some(WhenMediaIsDown::Reject));
        let limits = settings.node_limits();
        assert_eq!((limits.events_burst, limits.connections_max), (20, 7));
        assert_eq!(limits.send_deadline.as_millis(), 60);
        for wrong in ["x", "speed=1", "events_burst=-1", "events_burst="] {
            assert!(parse_limit(wrong).is_err(), "{wrong}");
        }
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
