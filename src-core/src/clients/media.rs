//! The media service's client.
//!
//! | call | request | answer |
//! |---|---|---|
//! | [`MediaClient::upload_url`] | `POST /media` `{owner, file_name, content_type, size_bytes}` | `{media_id, url, expires_at}` |
//! | [`MediaClient::check`] | `POST /media/check` `{owner, media}` | `{states}`: `verified` or `invalid`, in order |
//! | [`MediaClient::owner`] | `GET /media/{media_id}` | `{media_id, owner, …}`, or 404 `not_found` |
//! | [`MediaClient::download_url`] | `POST /media/{media_id}/download_url` | `{url, expires_at}`, or 404 `not_found` |
//! | [`MediaClient::delete`] | `DELETE /media/{media_id}` | `{media_id}`, or 404 `not_found` |

use std::time::Duration;

use ackscope_protocol::wire::{DownloadUrlAnswer, MediaState, UploadUrl, UploadUrlAnswer};
use ackscope_protocol::{MediaId, UserId};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::transport::{Transport, check_url, json};
use super::{BreakerState, ClientError, ClientOptions};

/// The reason of a refusal that says there is no such item.
const NOT_FOUND: &str = "not_found";
/// For requests without a body.
const NO_BODY: Option<&()> = None;

#[derive(Serialize)]
struct Announcement<'a> {
    owner: &'a UserId,
    #[serde(flatten)]
    file: &'a UploadUrl,
}

#[derive(Serialize)]
struct Check<'a> {
    owner: &'a UserId,
    media: &'a [MediaId],
}

#[derive(Deserialize)]
struct States {
    states: Vec<MediaState>,
}

#[derive(Deserialize)]
struct Metadata {
    media_id: MediaId,
    owner: UserId,
}

#[derive(Deserialize)]
struct Deleted {
    media_id: MediaId,
}

/// Asks the media service.
#[derive(Debug)]
pub struct MediaClient {
    transport: Transport,
}

impl MediaClient {
    /// A client; without an address every call is [`ClientError::NotConfigured`].
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::new(options)? })
    }

    /// Whether there is an address.
    pub fn is_configured(&self) -> bool {
        self.transport.is_configured()
    }

    /// State of the circuit.
    pub fn breaker_state(&self) -> BreakerState {
        self.transport.breaker_state()
    }

    /// Announces a file of `owner`; the answer says where its bytes go. [`ClientError::Refused`] when the service
    /// does not take such a type or size.
    pub async fn upload_url(&self, owner: &UserId, request: &UploadUrl) -> Result<UploadUrlAnswer, ClientError> {
        let body = Announcement { owner, file: request };
        let read = |body: &[u8]| {
            let answer: UploadUrlAnswer = json(body)?;
            check_url(&answer.url).map(|()| answer)
        };
        self.transport.exchange(Method::POST, &["media"], Some(&body), self.transport.timeout(), read).await
    }

    /// What the service knows of `media`, in order: [`MediaState::Verified`], or [`MediaState::Invalid`] for an item
    /// that is unknown, was not uploaded, is not what was announced or is not `owner`'s. One request for all;
    /// `timeout` bounds it further than the client's own.
    pub async fn check(
        &self,
        owner: &UserId,
        media: &[MediaId],
        timeout: Duration,
    ) -> Result<Vec<MediaState>, ClientError> {
        if media.is_empty() && self.is_configured() {
            return Ok(Vec::new());
        }
        let read = |body: &[u8]| {
            let States { states } = json(body)?;
            if states.len() != media.len() {
                return Err(format!("{} states for {} items", states.len(), media.len()));
            }
            if states.contains(&MediaState::Unverified) {
                return Err("an item that was checked is neither verified nor invalid".into());
            }
            Ok(states)
        };
        let body = Check { owner, media };
        self.transport.exchange(Method::POST, &["media", "check"], Some(&body), timeout, read).await
    }

    /// Whose item it is; none when there is no such item.
    pub async fn owner(&self, media: MediaId) -> Result<Option<UserId>, ClientError> {
        let read = |body: &[u8]| {
            let metadata: Metadata = json(body)?;
            if metadata.media_id == media { Ok(metadata.owner) } else { Err("it is about another item".into()) }
        };
        let path = ["media", &media.to_string()];
        found(self.transport.exchange(Method::GET, &path, NO_BODY, self.transport.timeout(), read).await)
    }

    /// Where the item's bytes can be got; none when there is no such item or it was never uploaded.
    pub async fn download_url(&self, media: MediaId) -> Result<Option<DownloadUrlAnswer>, ClientError> {
        let read = |body: &[u8]| {
            let answer: DownloadUrlAnswer = json(body)?;
            check_url(&answer.url).map(|()| answer)
        };
        let path = ["media", &media.to_string(), "download_url"];
        found(self.transport.exchange(Method::POST, &path, NO_BODY, self.transport.timeout(), read).await)
    }

    /// Deletes the item. One that is gone already is no error.
    pub async fn delete(&self, media: MediaId) -> Result<(), ClientError> {
        let read = |body: &[u8]| {
            let answer: Deleted = json(body)?;
            if answer.media_id == media { Ok(()) } else { Err("it is about another item".into()) }
        };
        let path = ["media", &media.to_string()];
        let deleted = self.transport.exchange(Method::DELETE, &path, NO_BODY, self.transport.timeout(), read);
        found(deleted.await).map(|_| ())
    }
}

/// Turns the refusal that says there is no such item into none.
fn found<T>(outcome: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(ClientError::Refused { reason }) if reason == NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}
