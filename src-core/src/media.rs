//! The media service's part in messages: checks, upload and download addresses (S1.7).
//!
//! Without the media service text messages are what they always are. A message with media is accepted with
//! `media_state: unverified` and checked after recovery (`consumers/media_verification.rs`), or refused, as the
//! setting says.

use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::{DownloadUrl, DownloadUrlAnswer, MediaState, MessageMedia, UploadUrl, UploadUrlAnswer};
use ackscope_protocol::{ConversationId, MediaId, MessageId, UserId};

use crate::clients::{ClientError, MediaClient};
use crate::conversations::Conversations;
use crate::repositories::MessageRepository;
use crate::state::{Found, MessageState};
use crate::tail::Tail;
use crate::{refusal, rules};

/// Most messages that are looked at to find out whether somebody may see a media item.
const CARRIERS_MAX: u32 = 1_000;

/// What happens to a message with media while the media service does not answer (S1.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenMediaIsDown {
    /// It is accepted as `unverified` and checked later.
    #[default]
    Accept,
    /// It is rejected with `media_unavailable`.
    Reject,
}

/// Settings of media in messages.
#[derive(Clone, Copy, Debug)]
pub struct MediaOptions {
    /// How long a send waits for the check of its media: well inside the budget of `delivered`, because later
    /// messages of the same connection wait with it.
    pub check_timeout: Duration,
    /// What happens when there is no answer by then.
    pub when_down: WhenMediaIsDown,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self { check_timeout: Duration::from_millis(25), when_down: WhenMediaIsDown::default() }
    }
}

/// Media of messages.
pub struct Media {
    /// The media service.
    pub client: Arc<MediaClient>,
    /// Who is in a conversation.
    pub conversations: Arc<Conversations>,
    /// Which messages carry an item.
    pub repository: Arc<dyn MessageRepository>,
    /// Those that are delivered and not persisted.
    pub tail: Arc<Tail>,
    /// Settings.
    pub options: MediaOptions,
}

fn unavailable(error: &ClientError) -> WireError {
    tracing::warn!(%error, "the media service failed");
    WireError::new(ErrorCode::MediaUnavailable, "the media service does not answer; try again")
}

impl Media {
    /// What the media of a message that is being sent is. An item named twice counts once.
    pub async fn check(&self, owner: &UserId, media: &[MediaId]) -> Result<Vec<MessageMedia>, WireError> {
        if media.is_empty() {
            return Ok(Vec::new());
        }
        let mut items: Vec<MediaId> = Vec::with_capacity(media.len());
        for media_id in media {
            if !items.contains(media_id) {
                items.push(*media_id);
            }
        }
        let states = match self.client.check(owner, &items, self.options.check_timeout).await {
            Ok(states) => states,
            Err(ClientError::Refused { .. }) => return Err(invalid(None)),
            Err(error) if self.options.when_down == WhenMediaIsDown::Reject => return Err(unavailable(&error)),
            Err(error) => {
                tracing::debug!(%error, "media is checked later");
                vec![MediaState::Unverified; items.len()]
            }
        };
        let checked = |(media_id, media_state)| MessageMedia { media_id, media_state };
        let checked: Vec<MessageMedia> = items.into_iter().zip(states).map(checked).collect();
        match checked.iter().find(|media| media.media_state == MediaState::Invalid) {
            Some(media) => Err(invalid(Some(media.media_id))),
            None => Ok(checked),
        }
    }

    /// `media:upload_url`.
    pub async fn upload_url(&self, caller: &UserId, request: &UploadUrl) -> Result<UploadUrlAnswer, WireError> {
        self.client.upload_url(caller, request).await.map_err(|error| match error {
            ClientError::Refused { reason } => {
                WireError::new(ErrorCode::MediaInvalid, format!("the media service does not take this file: {reason}"))
            }
            error => unavailable(&error),
        })
    }

    /// `media:download_url`: for its uploader, and for everybody who sees a message that carries it.
    pub async fn download_url(&self, caller: &UserId, request: &DownloadUrl) -> Result<DownloadUrlAnswer, WireError> {
        let media_id = request.media_id;
        if !self.is_seen_by(caller, media_id).await? {
            let owner = self.client.owner(media_id).await.map_err(|error| unavailable(&error))?;
            if owner.as_ref() != Some(caller) {
                return Err(refusal::not_found());
            }
        }
        let answer = self.client.download_url(media_id).await.map_err(|error| unavailable(&error))?;
        answer.ok_or_else(refusal::not_found)
    }

    /// Whether some message that the caller sees carries the item.
    async fn is_seen_by(&self, caller: &UserId, media_id: MediaId) -> Result<bool, WireError> {
        let mut carriers: Vec<(ConversationId, MessageId, Found)> = Vec::new();
        for message in self.tail.carrying(media_id) {
            let found = Found::new((*message).clone(), MessageState::default());
            carriers.push((message.conversation_id, message.message_id, found));
        }
        let stored = self.repository.carrying(media_id, CARRIERS_MAX).await.map_err(|error| refusal::store(&error))?;
        for stored in stored {
            let (conversation_id, message_id) = (stored.message.conversation_id, stored.message.message_id);
            carriers.push((conversation_id, message_id, Found::There(Box::new(stored))));
        }
        for (conversation_id, message_id, found) in carriers {
            let (conversation, _) =
                self.conversations.load(conversation_id).await.map_err(|error| refusal::store(&error))?;
            if rules::participant(conversation.as_deref(), caller).is_err() {
                continue;
            }
            let found = self.tail.changes_of(conversation_id, Some(message_id)).apply(message_id, found);
            let message = rules::message(Some(&found), conversation_id, caller);
            if message.is_ok_and(|stored| stored.view().media.iter().any(|media| media.media_id == media_id)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn invalid(media_id: Option<MediaId>) -> WireError {
    let which = media_id.map_or_else(String::new, |media_id| format!(" {media_id}"));
    WireError::new(
        ErrorCode::MediaInvalid,
        format!("media item{which}: not uploaded, not what it was announced as, or not yours"),
    )
}
