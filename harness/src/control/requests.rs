//! What users are made to ask for: any request, uploads, a slow way.

use std::num::NonZeroU32;

use ackscope_protocol::UserId;
use ackscope_protocol::control::CommandAnswer;
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::text::FileName;
use ackscope_protocol::wire::{CLIENT_EVENTS, Request as _, SendMessage};
use base64::Engine as _;
use serde::Deserialize as _;
use serde_json::Value;

use super::commands::user_refusal;
use crate::scenario::problem::nearest;
use crate::socketio::Pace;
use crate::users::{SimulatedUser, UploadError, upload};

/// Largest file of one upload, in bytes. The media service takes larger ones; a command carries no more.
pub(super) const UPLOAD_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Any request as a user. The event must be one of the wire's: what is no event belongs into a scenario.
pub(super) async fn request(user: &SimulatedUser, event: &str, payload: Value) -> Result<CommandAnswer, WireError> {
    let is_known = CLIENT_EVENTS.contains(&event) || SendMessage::OLDER_NAME == Some(event);
    if !is_known {
        let meant = nearest(event, CLIENT_EVENTS.iter().copied());
        let meant = meant.map_or_else(
            || format!("expected one of {}", CLIENT_EVENTS.join(", ")),
            |word| format!("did you mean `{word}`?"),
        );
        return Err(invalid(format!("the wire has no event `{}`: {meant}", shown(event))));
    }
    let mut answer = user.request_raw(event, payload).await.map_err(|error| user_refusal(&error))?;
    if answer["ok"] == true {
        return Ok(CommandAnswer::Answered { answer: answer["data"].take() });
    }
    match answer.get("error").map(WireError::deserialize) {
        Some(Ok(error)) => Err(error),
        _ => Err(WireError::new(ErrorCode::Internal, format!("`{event}` was answered with neither `ok` nor a reason"))),
    }
}

/// A file, announced and put to the media service.
pub(super) async fn upload_file(
    user: &SimulatedUser,
    file_name: FileName,
    content_type: &str,
    base64: &str,
) -> Result<CommandAnswer, WireError> {
    let engine = base64::engine::general_purpose::STANDARD;
    let bytes = engine.decode(base64).map_err(|error| invalid(format!("the file is not in base64: {error}")))?;
    if bytes.len() > UPLOAD_MAX_BYTES {
        let (bytes, max) = (bytes.len(), UPLOAD_MAX_BYTES / (1024 * 1024));
        return Err(invalid(format!(
            "the file has {bytes} bytes, and {max} MiB are the most that is uploaded from here"
        )));
    }
    match upload(user, file_name, content_type, &bytes).await {
        Ok(uploaded) => Ok(CommandAnswer::Uploaded { media_id: uploaded? }),
        Err(UploadError::User(error)) => Err(user_refusal(&error)),
        Err(UploadError::Put(problem)) => {
            Err(WireError::new(ErrorCode::MediaUnavailable, format!("the file was not uploaded: {problem}")))
        }
        Err(UploadError::Name(error)) => Err(invalid(error.to_string())),
    }
}

/// How fast a client reads that takes so many bytes a second; none of them is not at all.
pub(super) fn pace(bytes_per_second: Option<u32>) -> Pace {
    bytes_per_second.map_or(Pace::Full, |bytes| NonZeroU32::new(bytes).map_or(Pace::Paused, Pace::Bytes))
}

pub(super) fn read_slowly(user: &SimulatedUser, bytes_per_second: Option<u32>) -> Result<CommandAnswer, WireError> {
    user.set_pace(pace(bytes_per_second)).map_err(|error| user_refusal(&error))?;
    Ok(CommandAnswer::Done)
}

/// A further device of a person. A device's device is one of the person.
pub(super) async fn add_device(
    world: &crate::world::World,
    device: &UserId,
    of: &UserId,
) -> Result<CommandAnswer, WireError> {
    let person = world.user(of).map_err(|error| super::commands::refusal(&error))?.person().clone();
    world.device(&person, device).await.map_err(|error| super::commands::refusal(&error))?;
    Ok(CommandAnswer::Done)
}

/// A command that asks for something that cannot be.
pub(super) fn invalid(sentence: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::InvalidPayload, sentence)
}

/// The beginning of a text of the interface, for a sentence.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    crate::history::excerpt(text, SHOWN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_second_is_not_at_all() {
        assert_eq!(pace(None), Pace::Full);
        assert_eq!(pace(Some(0)), Pace::Paused);
        assert_eq!(pace(Some(1)), Pace::Bytes(NonZeroU32::MIN));
    }
}
