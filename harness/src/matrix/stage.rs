//! What cells are played on: a world, its cast, and the ways to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ackscope_core::limits::Limits;
use ackscope_protocol::error::WireError;
use ackscope_protocol::ids::IdError;
use ackscope_protocol::wire::{self, Answer, Request};
use ackscope_protocol::{MediaId, UserId};
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::ask::Ask;
use crate::environment::EnvironmentOptions;
use crate::users::{SimulatedUser, UploadError, UserError, upload_picture};
use crate::world::{World, WorldError, WorldOptions};

/// The owner of every group and channel.
pub const OWNER: &str = "olga";
/// An admin of some of them.
pub const ADMIN: &str = "adam";
/// Another admin.
pub const OTHER_ADMIN: &str = "anne";
/// A member.
pub const MEMBER: &str = "mia";
/// Somebody who was in it.
pub const REMOVED: &str = "rita";
/// Somebody who never was.
pub const STRANGER: &str = "stan";
/// A member who only watches.
pub const OBSERVER: &str = "otto";
/// Somebody who is in none of the conversations that are asked about, and may come in.
pub const NEWCOMER: &str = "nora";

/// Everybody who is connected from the beginning.
const CAST: [&str; 8] = [OWNER, ADMIN, OTHER_ADMIN, MEMBER, REMOVED, STRANGER, OBSERVER, NEWCOMER];
/// Longest wait for everything to come to rest.
const QUIET_LIMIT: Duration = Duration::from_mins(1);

/// Why a cell could not be played.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The world failed.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A user could not ask.
    #[error(transparent)]
    User(#[from] UserError),
    /// A step of setting the scene was refused.
    #[error("`{event}` was refused while the scene was set: {error}")]
    Refused {
        /// Which event.
        event: String,
        /// Why.
        error: WireError,
    },
    /// An answer is not what S1.8 says.
    #[error("the answer of `{event}` is not what the wire says: {problem}")]
    Unreadable {
        /// Which event.
        event: String,
        /// What is wrong.
        problem: String,
    },
    /// An id of our own making is none.
    #[error("not an id: {0}")]
    Id(#[from] IdError),
    /// A file did not get to the media service.
    #[error("{0}")]
    Upload(String),
}

/// A world with its cast.
#[derive(Debug)]
pub struct Stage {
    world: World,
    pals: AtomicU32,
}

/// Limits that are not what the matrix is about, out of the way.
pub fn limits() -> Limits {
    Limits {
        events_per_sec: 1_000_000,
        events_burst: 1_000_000,
        inbound_queue_max: 8_192,
        in_flight_max: 1_024,
        send_deadline: Duration::from_secs(10),
        request_deadline: Duration::from_secs(10),
        forward_deadline: Duration::from_secs(10),
        ..Limits::default()
    }
}

impl Stage {
    /// Starts a world and connects the cast.
    pub fn start(environment: EnvironmentOptions) -> BoxFuture<'static, Result<Self, WorldError>> {
        Box::pin(async move {
            let options = WorldOptions { environment, limits: limits(), ..WorldOptions::default() };
            let stage = Self { world: World::start(options).await?, pals: AtomicU32::new(0) };
            for name in CAST {
                if let Err(error) = stage.user(name).await {
                    stage.world.shutdown().await;
                    return Err(match error {
                        Failure::World(error) => error,
                        Failure::User(error) => error.into(),
                        // Not reachable: the names above are ids, and nothing else is asked here.
                        _ => WorldError::Ended,
                    });
                }
            }
            Ok(stage)
        })
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// A user by name, connected by now.
    pub async fn user(&self, name: &str) -> Result<Arc<SimulatedUser>, Failure> {
        Ok(self.world.user_or_new(&name.parse::<UserId>()?).await?)
    }

    /// Somebody who is in no conversation yet: the other one of a direct conversation.
    pub async fn new_pal(&self) -> Result<Arc<SimulatedUser>, Failure> {
        let number = self.pals.fetch_add(1, Ordering::Relaxed);
        self.user(&format!("pal-{number}")).await
    }

    /// Asks and gives the answer's `data`, or the refusal.
    pub fn ask<'a>(
        &'a self,
        user: &'a SimulatedUser,
        ask: &'a Ask,
    ) -> BoxFuture<'a, Result<Result<Value, WireError>, Failure>> {
        Box::pin(async move {
            let answer = user.request_raw(&ask.event, ask.payload.clone()).await?;
            let unreadable = |problem| Failure::Unreadable { event: ask.event.clone(), problem };
            let answer: Answer<Value> =
                serde_json::from_value(answer).map_err(|error| unreadable(error.to_string()))?;
            let outcome: Result<Value, WireError> = answer.into();
            if let Ok(data) = &outcome {
                reads(&ask.event, data).map_err(unreadable)?;
            }
            Ok(outcome)
        })
    }

    /// Asks for something that has to be carried out.
    pub async fn must(&self, user: &SimulatedUser, ask: &Ask) -> Result<Value, Failure> {
        let outcome = self.ask(user, ask).await?;
        outcome.map_err(|error| Failure::Refused { event: ask.event.clone(), error })
    }

    /// Uploads a picture.
    pub fn upload<'a>(&'a self, user: &'a SimulatedUser) -> BoxFuture<'a, Result<MediaId, Failure>> {
        Box::pin(async move {
            match upload_picture(user, None).await {
                Ok(answer) => {
                    answer.map_err(|error| Failure::Refused { event: wire::UploadUrl::EVENT.to_owned(), error })
                }
                Err(UploadError::User(error)) => Err(error.into()),
                Err(error) => Err(Failure::Upload(error.to_string())),
            }
        })
    }

    /// Waits until nothing moves and nothing waits to be put into the log.
    pub async fn quiesce(&self) -> Result<(), WorldError> {
        let conversations = self.world.backend()?.conversations;
        let waiting = async {
            loop {
                self.world.quiesce(QUIET_LIMIT).await?;
                // A store that does not say is asked again; the limit ends it.
                if conversations.outbox(1).await.is_ok_and(|entries| entries.is_empty()) {
                    return Ok(());
                }
            }
        };
        let not_quiet = WorldError::NotQuiet { waited: QUIET_LIMIT, still: "the outbox is not empty".to_owned() };
        tokio::time::timeout(QUIET_LIMIT, waiting).await.unwrap_or(Err(not_quiet))
    }

    /// Ends the world.
    pub fn end(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.world.shutdown().await;
        })
    }
}

/// Reads a part of an answer.
pub fn read<T: serde::de::DeserializeOwned>(event: &str, data: &Value) -> Result<T, Failure> {
    T::deserialize(data).map_err(|error| Failure::Unreadable { event: event.to_owned(), problem: error.to_string() })
}

/// Whether an answer's `data` is what S1.8 says of the event.
fn reads(event: &str, data: &Value) -> Result<(), String> {
    fn as_answer<R: Request>(data: &Value) -> Result<(), String> {
        serde_json::from_value::<R::Answer>(data.clone()).map(drop).map_err(|error| error.to_string())
    }
    macro_rules! by_name {
        ($($request:ident),*) => {
            match event {
                $(name if name == wire::$request::EVENT || Some(name) == wire::$request::OLDER_NAME => {
                    as_answer::<wire::$request>(data)
                })*
                _ => Err("the wire has no such event, yet it was carried out".to_owned()),
            }
        };
    }
    by_name!(
        SendMessage,
        EditMessage,
        DeleteMessage,
        ForwardMessages,
        React,
        Unreact,
        History,
        CreateConversation,
        ListConversations,
        AddParticipant,
        RemoveParticipant,
        LeaveConversation,
        MuteConversation,
        UnmuteConversation,
        ArchiveConversation,
        UnarchiveConversation,
        UploadUrl,
        DownloadUrl,
        SearchQuery,
        Sync
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_held_against_the_wire() {
        assert_eq!(reads("conversation:leave", &json!({})), Ok(()));
        assert_eq!(reads("message:history", &json!({ "messages": [], "next_cursor": null })), Ok(()));
        assert!(reads("message:history", &json!({ "messages": {} })).is_err());
        assert!(reads("sendMessage", &json!({})).is_err());
        assert!(reads("message:new", &json!({})).is_err());
    }

    #[test]
    fn every_client_event_has_its_answer() {
        for event in wire::CLIENT_EVENTS {
            let said = reads(event, &json!(null)).unwrap_err();
            assert!(!said.contains("no such event"), "{event}");
        }
    }
}
