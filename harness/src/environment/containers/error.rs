//! What can go wrong with containers, said so that somebody can act on it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use testcontainers::bollard::errors::Error as DockerError;

use super::{DockerProblem, Server, WrongImageName};

/// Where the images for machines without a registry are made.
const OFFLINE_IMAGES: &str = "tests/images/build.sh makes stand-ins on a machine that cannot pull";

/// Why there are no containers.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// Docker itself cannot be used.
    #[error(transparent)]
    Docker(#[from] DockerProblem),
    /// A setting names no image.
    #[error("{}: {error}", server.image_setting())]
    ImageName {
        /// Whose image.
        server: Server,
        /// What is wrong.
        error: WrongImageName,
    },
    /// The image is not here and cannot be fetched.
    #[error(
        "{server}: the image {image} is not on this machine and cannot be pulled ({reason}). Check the name and the \
         network, or set {} to an image that is there; {OFFLINE_IMAGES}",
        server.image_setting()
    )]
    Image {
        /// Whose image.
        server: Server,
        /// The image.
        image: String,
        /// What Docker or the registry said.
        reason: String,
    },
    /// The image was made for other processors.
    #[error(
        "{server}: the image {image} is not made for this machine's processor ({reason}). Set {} to an image that is",
        server.image_setting()
    )]
    Architecture {
        /// Whose image.
        server: Server,
        /// The image.
        image: String,
        /// What Docker or the server said.
        reason: String,
    },
    /// Docker has no room left.
    #[error(
        "{server}: Docker's disk is full ({reason}). `docker system df` shows what uses it, `docker system prune` frees it"
    )]
    DiskFull {
        /// Which server needed it.
        server: Server,
        /// What Docker said.
        reason: String,
    },
    /// Every port that was tried belongs to somebody else by now.
    #[error(
        "{server}: the port it was given is in use by another program ({reason}). Try again; a free one is chosen anew"
    )]
    Port {
        /// Which server.
        server: Server,
        /// What Docker said.
        reason: String,
    },
    /// It does not answer in time.
    #[error(
        "{server}: no answer within {} s (last: {last}). The machine may be too busy or too small; its log ends with:{log}",
        limit.as_secs()
    )]
    Slow {
        /// Which server.
        server: Server,
        /// How long was waited.
        limit: Duration,
        /// Why the last request failed.
        last: String,
        /// The end of its log, each line on its own and indented.
        log: String,
    },
    /// It ended by itself.
    #[error("{server}: it ended with exit code {code} instead of answering; its log ends with:{log}")]
    Ended {
        /// Which server.
        server: Server,
        /// Its exit code; 137 often means that memory ran out.
        code: i64,
        /// The end of its log, each line on its own and indented.
        log: String,
    },
    /// The server runs and refuses what it needs to become ready.
    #[error("{server}: it cannot be set up ({reason}). Set {} to an image of the real server", server.image_setting())]
    Setup {
        /// Which server.
        server: Server,
        /// What it said.
        reason: String,
    },
    /// Docker refused something else.
    #[error("Docker could not {doing}: {reason}")]
    Request {
        /// What was asked.
        doing: String,
        /// What it said.
        reason: String,
    },
    /// The folder that says whose containers are whose cannot be used.
    #[error("{} cannot be used: {error}. It says which containers belong to which process; set XDG_STATE_HOME to a folder that can be written", folder.display())]
    State {
        /// The folder or a file in it.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another start of kept containers does not come to an end.
    #[error("another ackscope has been starting the kept containers for {} s; wait for it or end it", .0.as_secs())]
    KeptBusy(Duration),
    /// No threads.
    #[error("no thread for Docker could be started: {0}")]
    Threads(String),
    /// Somebody ended it.
    #[error("the start was interrupted")]
    Interrupted,
}

impl ContainersError {
    /// Whether the request was wrong (exit code 2), rather than the environment (exit code 3).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::ImageName { .. })
    }

    pub(super) fn state(folder: &std::path::Path) -> impl Fn(io::Error) -> Self + use<> {
        let folder = folder.to_owned();
        move |error| Self::State { folder: folder.clone(), error }
    }

    pub(super) fn request(doing: impl Into<String>) -> impl FnOnce(DockerError) -> Self {
        let doing = doing.into();
        move |error| Self::Request { doing, reason: said(&error) }
    }
}

/// What Docker said, without the words around it.
pub(super) fn said(error: &DockerError) -> String {
    let text = match error {
        DockerError::DockerResponseServerError { message, .. } => message.clone(),
        DockerError::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a failed creation or start means.
pub(super) fn start_error(server: Server, image: &str, reason: String) -> ContainersError {
    let image = image.to_owned();
    let lower = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["port is already allocated", "address already in use", "ports are not available", "failed to bind"]) {
        ContainersError::Port { server, reason }
    } else if has(&["no space left", "disk quota"]) {
        ContainersError::DiskFull { server, reason }
    } else if has(&["exec format error", "does not match the specified platform", "no matching manifest"]) {
        ContainersError::Architecture { server, image, reason }
    } else if has(&["no such image", "pull access denied", "manifest unknown", "failed to pull"]) {
        ContainersError::Image { server, image, reason }
    } else {
        ContainersError::Request { doing: format!("start {server} from {image}"), reason }
    }
}

/// What a failed pull means.
pub(super) fn pull_error(server: Server, image: &str, reason: String) -> ContainersError {
    match start_error(server, image, reason) {
        error @ (ContainersError::DiskFull { .. } | ContainersError::Architecture { .. }) => error,
        ContainersError::Request { reason, .. }
        | ContainersError::Port { reason, .. }
        | ContainersError::Image { reason, .. } => ContainersError::Image { server, image: image.to_owned(), reason },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_says_is_understood() {
        let of = |reason: &str| start_error(Server::Redis, "redis:8", reason.to_owned());
        assert!(matches!(of("Bind for 127.0.0.1:1 failed: port is already allocated"), ContainersError::Port { .. }));
        assert!(matches!(of("write /x: no space left on device"), ContainersError::DiskFull { .. }));
        assert!(matches!(of("exec /entrypoint: exec format error"), ContainersError::Architecture { .. }));
        assert!(matches!(of("No such image: redis:8"), ContainersError::Image { .. }));
        assert!(matches!(of("something else"), ContainersError::Request { .. }));
    }

    #[test]
    fn an_image_that_cannot_be_pulled_names_the_way_out() {
        let text = pull_error(Server::Kafka, "apache/kafka:4.1", "dial tcp: no route".to_owned()).to_string();
        for part in ["Kafka", "apache/kafka:4.1", "ACKSCOPE_KAFKA_IMAGE", "tests/images", "no route"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
