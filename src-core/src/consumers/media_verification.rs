//! The media verification consumer: what was accepted without an answer of the media service is checked after its
//! recovery, and what was deleted for good is deleted there too (S1.7).

use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::wire::{MediaState, Message, MessageMedia};
use ackscope_protocol::{MediaId, MessageId, UserId};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::group::Work;
use super::message_persistence;
use crate::clients::{ClientError, MediaClient};
use crate::clock::Clock;
use crate::log::{EventLog, LogError, Position, Record, Topic, behind};
use crate::producers::{Backoff, publish_all};
use crate::record::{self, MessageSent};
use crate::repositories::MessageRepository;
use crate::state::{Change, MessageChange};

/// The consumer group.
pub const GROUP: &str = "media-verification";
/// What it reads.
pub const TOPICS: &[Topic] = &[Topic::MessageSent, Topic::MessageDeleted];

/// Nobody waits for these checks: the client's own timeout is enough.
const CHECK_TIMEOUT: Duration = Duration::from_mins(1);

/// The media verification consumer.
pub struct MediaVerification {
    /// Where what was found out goes.
    pub log: Arc<dyn EventLog>,
    /// The media service.
    pub client: Arc<MediaClient>,
    /// Who else carries an item.
    pub messages: Arc<dyn MessageRepository>,
    /// Business time.
    pub clock: Clock,
    /// The node ends.
    pub stop: CancellationToken,
}

#[async_trait]
impl Work for MediaVerification {
    const GROUP: &'static str = GROUP;
    const TOPICS: &'static [Topic] = TOPICS;

    async fn work(&self, records: &[Record]) -> bool {
        for record in records {
            // A record that does not read is put into the dead letters by the consumer that stores it.
            let done = match record.position.topic {
                Topic::MessageSent => match record::decode::<MessageSent>(record) {
                    Ok(envelope) => self.verify(&envelope.data.message).await,
                    Err(_) => Some(()),
                },
                _ => match record::decode::<MessageChange>(record).map(|envelope| envelope.data) {
                    Ok(MessageChange { message_id, what: Change::DeletedHard { media, .. }, .. }) => {
                        self.delete(message_id, &media).await
                    }
                    _ => Some(()),
                },
            };
            if done.is_none() {
                return false;
            }
        }
        true
    }
}

impl MediaVerification {
    /// Checks what is not verified and publishes what came out. `None` when the node ends first.
    async fn verify(&self, message: &Message) -> Option<()> {
        let is_open = |media: &&MessageMedia| media.media_state == MediaState::Unverified;
        let open: Vec<MediaId> = message.media.iter().filter(is_open).map(|media| media.media_id).collect();
        if open.is_empty() {
            return Some(());
        }
        let mut media = Vec::with_capacity(open.len());
        for media_id in open {
            media.push(MessageMedia { media_id, media_state: self.state(message, media_id).await? });
        }
        let change = MessageChange {
            message_id: message.message_id,
            conversation_id: message.conversation_id,
            by: message.sender_id.clone(),
            at: self.clock.now(),
            what: Change::MediaChecked { media },
        };
        let record = match record::encode(&change, change.at, Uuid::new_v4()) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, message_id = %message.message_id, "a media check cannot be written");
                return Some(());
            }
        };
        publish_all(self.log.as_ref(), vec![record], &self.stop).await.then_some(())
    }

    async fn state(&self, message: &Message, media_id: MediaId) -> Option<MediaState> {
        // A copy carries the media of whoever sent the first one.
        let owner: Option<UserId> = if message.forwarded_from.is_some() {
            self.ask(|| self.client.owner(media_id)).await?.unwrap_or(None)
        } else {
            Some(message.sender_id.clone())
        };
        let Some(owner) = owner else { return Some(MediaState::Invalid) };
        let checked = self.ask(|| self.client.check(&owner, std::slice::from_ref(&media_id), CHECK_TIMEOUT)).await?;
        Some(checked.ok().and_then(|states| states.first().copied()).unwrap_or(MediaState::Invalid))
    }

    /// Deletes items that no other message carries.
    async fn delete(&self, message_id: MessageId, media: &[MediaId]) -> Option<()> {
        if media.is_empty() {
            return Some(());
        }
        self.until_stored().await?;
        for media_id in media {
            let mut backoff = Backoff::new(self.stop.clone());
            let carriers = loop {
                match self.messages.carrying(*media_id, 2).await {
                    Ok(carriers) => break carriers,
                    Err(error) => {
                        tracing::warn!(%error, "the deletion of media waits for the store");
                        if !backoff.wait().await {
                            return None;
                        }
                    }
                }
            };
            // The message itself may still be there: another consumer removes it.
            if carriers.iter().any(|carrier| carrier.message.message_id != message_id) {
                continue;
            }
            if let Err(reason) = self.ask(|| self.client.delete(*media_id)).await? {
                tracing::warn!(reason, %media_id, "the media service does not delete an item");
            }
        }
        Some(())
    }

    /// Waits until the store has every message that is in the log now: a copy that was acknowledged before the
    /// deletion may not be stored yet, and carries the item all the same. `None` when the node ends first.
    async fn until_stored(&self) -> Option<()> {
        let mut backoff = Backoff::new(self.stop.clone());
        let mut ends: Option<Vec<Position>> = None;
        loop {
            match self.is_stored(&mut ends).await {
                Ok(true) => return Some(()),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the deletion of media waits for the log"),
            }
            if !backoff.wait().await {
                return None;
            }
        }
    }

    /// Whether the store has everything before `ends`, which are asked for first.
    async fn is_stored(&self, ends: &mut Option<Vec<Position>>) -> Result<bool, LogError> {
        let ends = match ends {
            Some(ends) => ends,
            None => ends.insert(self.log.end(Topic::MessageSent).await?),
        };
        let committed = self.log.committed(message_persistence::GROUP, Topic::MessageSent).await?;
        Ok(ends.iter().all(|end| behind(end, &committed) == 0))
    }

    /// Asks until the media service answers; `None` when the node ends first, the reason when it refuses.
    async fn ask<T, F>(&self, call: impl Fn() -> F) -> Option<Result<T, String>>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut backoff = Backoff::new(self.stop.clone());
        loop {
            match self.stop.run_until_cancelled(call()).await? {
                Ok(answer) => return Some(Ok(answer)),
                Err(ClientError::Refused { reason }) => return Some(Err(reason)),
                Err(error) => {
                    tracing::debug!(%error, "a media check waits for the media service");
                    if !backoff.wait().await {
                        return None;
                    }
                }
            }
        }
    }
}
