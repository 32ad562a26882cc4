//! Which images the servers are started from.

use super::{Server, docker};
use futures_util::future::BoxFuture;

/// An image, as Docker names it: `mongo:8`, `registry.example:5000/team/redis@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    name: String,
    /// What stands behind the name: a tag, or `sha256:…` of a digest.
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Tag(String),
    /// The tag that may stand before a digest says nothing to Docker; the digest decides.
    Digest(String),
}

/// A text that names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no Docker image ({problem}): expected NAME:TAG or NAME@sha256:DIGEST, such as `mongo:8`")]
pub struct WrongImageName {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl ImageName {
    /// Reads an image's name. Without a tag it is `latest`, as everywhere in Docker.
    pub fn parse(text: &str) -> Result<Self, WrongImageName> {
        let wrong = |problem| WrongImageName { text: text.to_owned(), problem };
        let (before, digest) = match text.split_once('@') {
            Some((before, digest)) => (before, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a registry's port.
        let path_starts = before.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match before[path_starts..].split_once(':') {
            Some((last, tag)) => (&before[..path_starts + last.len()], Some(tag)),
            None => (before, None),
        };
        if name.is_empty() {
            return Err(wrong("the name is empty"));
        }
        check_name(name).map_err(wrong)?;
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("the tag is empty or has characters no tag has"));
        }
        let version = match (tag, digest) {
            (_, Some(digest)) if is_digest(digest) => Version::Digest(digest.to_owned()),
            (_, Some(_)) => return Err(wrong("the digest is not sha256: and 64 hexadecimal digits")),
            (Some(tag), None) => Version::Tag(tag.to_owned()),
            (None, None) => Version::Tag("latest".to_owned()),
        };
        Ok(Self { name: name.to_owned(), version })
    }

    /// The name without tag and digest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag; a digest with its `sha256:`.
    pub fn version(&self) -> &str {
        match &self.version {
            Version::Tag(text) | Version::Digest(text) => text,
        }
    }

    /// Whether it names one exact image, whatever its tags say later.
    pub fn is_digest(&self) -> bool {
        matches!(self.version, Version::Digest(_))
    }

    /// The server of the registry, as credentials are filed under it.
    pub(super) fn registry(&self) -> &str {
        match self.name.split_once('/') {
            // Docker's own rule: only a dot, a port or `localhost` make the first part a server.
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => "https://index.docker.io/v1/",
        }
    }
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.name),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.name),
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, name),
    };
    if let Some((_, port)) = registry.and_then(|registry| registry.split_once(':'))
        && port.parse::<u16>().is_err()
    {
        return Err("the registry's port is no number");
    }
    let allowed = |part: &str| {
        !part.is_empty()
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    if path.split('/').all(allowed) { Ok(()) } else { Err("a name is small letters, digits and . _ - /") }
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()))
}

/// The image of each server, as the settings have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerImages {
    /// `ACKSCOPE_MONGODB_IMAGE`.
    pub mongodb: String,
    /// `ACKSCOPE_REDIS_IMAGE`.
    pub redis: String,
    /// `ACKSCOPE_KAFKA_IMAGE`.
    pub kafka: String,
}

impl Default for ContainerImages {
    /// The official images, in the versions the contract tests are written for.
    fn default() -> Self {
        Self { mongodb: "mongo:8".to_owned(), redis: "redis:8".to_owned(), kafka: "apache/kafka:4.1".to_owned() }
    }
}

impl ContainerImages {
    /// Those that Docker does not have yet.
    pub fn missing(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let images = self.clone();
            let looking = docker::on_docker_threads(async move {
                let Ok(docker) = docker::connect().await else { return images.all() };
                let mut missing = Vec::new();
                for image in images.all() {
                    if docker.inspect_image(&image).await.is_err() {
                        missing.push(image);
                    }
                }
                missing
            });
            looking.await.unwrap_or_else(|_| self.all())
        })
    }

    fn all(&self) -> Vec<String> {
        Server::ALL.into_iter().map(|server| self.of(server).to_owned()).collect()
    }

    /// The text for one of the servers.
    pub fn of(&self, server: Server) -> &str {
        match server {
            Server::Mongodb => &self.mongodb,
            Server::Redis => &self.redis,
            Server::Kafka => &self.kafka,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, name, version, shown) in [
            ("mongo:8", "mongo", "8", "mongo:8"),
            ("redis", "redis", "latest", "redis:latest"),
            ("apache/kafka:4.1", "apache/kafka", "4.1", "apache/kafka:4.1"),
            ("mirror.example:5000/mongo", "mirror.example:5000/mongo", "latest", "mirror.example:5000/mongo:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b", "c", "localhost:5000/a/b:c"),
        ] {
            let image = ImageName::parse(text).unwrap();
            assert_eq!((image.name(), image.version(), image.to_string().as_str()), (name, version, shown), "{text}");
            assert!(!image.is_digest());
        }
        for text in [format!("mongo@{digest}"), format!("mongo:8@{digest}")] {
            let image = ImageName::parse(&text).unwrap();
            assert_eq!((image.name(), image.version()), ("mongo", digest.as_str()));
            assert!(image.is_digest());
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (text, problem) in [
            ("", "the name is empty"),
            (":8", "the name is empty"),
            ("Mongo:8", "small letters"),
            ("mongo 8", "small letters"),
            ("mongo:", "the tag"),
            ("mongo:8:9", "the tag"),
            ("mongo@sha256:12", "the digest"),
            ("host:port/mongo", "port"),
            ("a//b", "small letters"),
        ] {
            let error = ImageName::parse(text).unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn the_registry_is_what_credentials_are_filed_under() {
        for (text, registry) in [
            ("mongo:8", "https://index.docker.io/v1/"),
            ("apache/kafka:4.1", "https://index.docker.io/v1/"),
            ("mirror.example:5000/mongo", "mirror.example:5000"),
            ("localhost/mongo", "localhost"),
        ] {
            assert_eq!(ImageName::parse(text).unwrap().registry(), registry);
        }
    }

    #[test]
    fn the_default_images_are_names() {
        let images = ContainerImages::default();
        for server in Server::ALL {
            ImageName::parse(images.of(server)).unwrap();
        }
    }
}
