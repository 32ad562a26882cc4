//! The simulated media and search services: real HTTP servers on loopback that do the job, so that a fault has
//! something to break (S3.2, S3.3).
//!
//! [`MediaService`] stores files and hands them out again; [`SearchService`] finds messages by their words. What
//! they speak is in their modules. Each has a switch for one [`ServiceFault`] at a time.
//!
//! Every error answer is `{"error": {"reason": …}}`. A reason is a word of the service, never a sentence.

mod database;
mod faults;
pub mod media;
pub mod media_types;
pub mod search;
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ackscope_core::clients::ClientError;
use ackscope_core::clock::Clock;
use ackscope_core::media::WhenMediaIsDown;
use ackscope_core::node::Clients;

pub use faults::{FaultSwitch, ServiceFault};
pub use media::{MediaItem, MediaOptions, MediaService};
pub use search::{Document, SearchOptions, SearchService};

/// A simulated service could not start, or does not work.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No port on loopback.
    #[error("no port for the service: {0}")]
    Listen(#[source] std::io::Error),
    /// Its folder cannot be made.
    #[error("{error}: {path}")]
    Folder {
        /// Why.
        error: std::io::Error,
        /// Which one.
        path: PathBuf,
    },
    /// Its file is of a release that this one does not know.
    #[error("the file is of another release (version {0})")]
    Version(i64),
    /// Its store failed.
    #[error("the service's store failed: {0}")]
    Store(#[from] rusqlite::Error),
    /// A thread of the store ended without an answer.
    #[error("the service's store gave up")]
    StoreGone,
}

/// Both services, as a world has them beside its backend.
#[derive(Debug)]
pub struct SimulatedServices {
    /// The media service.
    pub media: MediaService,
    /// The search service.
    pub search: SearchService,
}

impl SimulatedServices {
    /// Starts both. What they hold stays in `folder`, or goes with them.
    pub async fn start(clock: &Clock, folder: Option<&Path>) -> Result<Self, ServiceError> {
        let media =
            MediaOptions { folder: folder.map(Path::to_owned), clock: clock.clone(), ..MediaOptions::default() };
        let search =
            SearchOptions { file: folder.map(|folder| folder.join("search.sqlite")), ..SearchOptions::default() };
        Ok(Self { media: MediaService::start(media).await?, search: SearchService::start(search).await? })
    }

    /// Clients of both.
    pub fn clients(&self, unverified_media: WhenMediaIsDown) -> Result<Clients, ClientError> {
        let mut clients = Clients::at(Some(self.media.url().to_owned()), Some(self.search.url().to_owned()))?;
        clients.media_options.when_down = unverified_media;
        Ok(clients)
    }

    /// Ends both.
    pub async fn shutdown(self) {
        self.media.shutdown().await;
        self.search.shutdown().await;
    }
}
