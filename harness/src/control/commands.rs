//! What an interface can ask for, carried out in the world.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ackscope_protocol::control::{Command, CommandAnswer};
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::{CreateConversation, SendMessage};
use ackscope_protocol::{TempId, UserId};
use uuid::Uuid;

use super::{Shared, Shown};
use crate::users::{UserError, refusal_code};
use crate::world::{World, WorldError};

/// Longest time a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// Longest time a reset may take: a server that is started again, and then everything answers.
const RESET_LIMIT: Duration = Duration::from_mins(3);
/// Longest time the tour may take.
const TOUR_LIMIT: Duration = Duration::from_mins(10);

/// Carries a command out, within its limit.
pub(super) async fn run(shared: &Arc<Shared>, command: Command) -> Result<CommandAnswer, WireError> {
    let limit = match command {
        Command::PlayTour => TOUR_LIMIT,
        Command::SetFault { .. } | Command::Heal { .. } | Command::ResetFaults => RESET_LIMIT,
        _ => COMMAND_LIMIT,
    };
    let done = tokio::time::timeout(limit, carry_out(shared, command)).await;
    done.unwrap_or_else(|_| {
        let sentence = format!("the command was not done within {} s", limit.as_secs());
        Err(WireError::new(ErrorCode::Internal, sentence))
    })
}

async fn carry_out(shared: &Arc<Shared>, command: Command) -> Result<CommandAnswer, WireError> {
    let world = world(shared)?;
    match command {
        Command::AddUser { user } => {
            world.add_user(&user).await.map_err(|error| refusal(&error))?;
        }
        Command::CreateConversation { user, kind, participants, title } => {
            let request = CreateConversation { kind, participants, title };
            let creator = find(shared, &user)?;
            let answer = creator.request(&request).await.map_err(|error| user_refusal(&error))??;
            return Ok(CommandAnswer::Created { conversation: answer.conversation });
        }
        Command::Send { user, conversation_id, text, reply_to, temp_id } => {
            let temp_id = match temp_id {
                Some(temp_id) => temp_id,
                None => new_temp_id()?,
            };
            let message = SendMessage { conversation_id, temp_id, text: Some(text), media: Vec::new(), reply_to };
            let sent = find(shared, &user)?.send(message).await.map_err(|error| user_refusal(&error))?;
            return Ok(CommandAnswer::Sent { message_id: sent.message_id, temp_id: sent.temp_id });
        }
        Command::DropConnection { user } => world.drop_connection(&user).await.map_err(|error| refusal(&error))?,
        Command::Reconnect { user } => world.reconnect(&user).await.map_err(|error| refusal(&error))?,
        Command::AdvanceClock { by_ms } => world.advance_clock(by_ms),
        Command::SetFault { on, fault } => world.set_fault(on, fault).await.map_err(|error| refusal(&error))?,
        Command::Heal { on } => world.heal(on).await.map_err(|error| refusal(&error))?,
        Command::ResetFaults => {
            world.reset_faults().await.map_err(|error| refusal(&error))?;
        }
        Command::PlayTour => play_tour(shared).await?,
    }
    Ok(CommandAnswer::Done)
}

/// Plays the tour, unless it is playing.
pub(super) async fn play_tour(shared: &Arc<Shared>) -> Result<(), WireError> {
    /// Ends the playing when it is dropped, whatever ended it.
    struct Playing<'a>(&'a Shared);
    impl Drop for Playing<'_> {
        fn drop(&mut self) {
            self.0.is_touring.store(false, Ordering::Release);
        }
    }
    if shared.is_touring.swap(true, Ordering::AcqRel) {
        return Err(WireError::new(ErrorCode::Overloaded, "the tour is playing already"));
    }
    let _playing = Playing(shared);
    let played = (shared.play_tour)(Arc::clone(world(shared)?)).await;
    played.map_err(|sentence| WireError::new(ErrorCode::Internal, sentence))
}

/// The world that runs. In a recording everything has happened, so there is nothing to do anything in.
fn world(shared: &Shared) -> Result<&Arc<World>, WireError> {
    match &shared.shown {
        Shown::Live(world) => Ok(world),
        Shown::Recorded(_) => Err(WireError::new(
            ErrorCode::InvalidPayload,
            "this is a recording: it can be looked at, and nothing can be done in it; start `ackscope serve` for a \
             run of your own",
        )),
    }
}

fn find(shared: &Shared, user: &UserId) -> Result<Arc<crate::users::SimulatedUser>, WireError> {
    world(shared)?.user(user).map_err(|error| refusal(&error))
}

fn new_temp_id() -> Result<TempId, WireError> {
    let text = Uuid::new_v4().to_string();
    text.parse().map_err(|error| WireError::new(ErrorCode::Internal, format!("`{text}`: {error}")))
}

fn refusal(error: &WorldError) -> WireError {
    let code = match error {
        WorldError::NoSuchUser(_) => ErrorCode::NotFound,
        WorldError::UserExists(_) => ErrorCode::InvalidPayload,
        WorldError::TooManyUsers => ErrorCode::Overloaded,
        WorldError::User(error) => return user_refusal(error),
        WorldError::Log(_) => ErrorCode::LogUnavailable,
        WorldError::Store(_) => ErrorCode::StoreUnavailable,
        WorldError::Fault(error) if error.is_usage() => ErrorCode::InvalidPayload,
        WorldError::Fault(_)
        | WorldError::Environment(_)
        | WorldError::Node(_)
        | WorldError::Services(_)
        | WorldError::Clients(_)
        | WorldError::Recording(_)
        | WorldError::Ended
        | WorldError::NotQuiet { .. } => ErrorCode::Internal,
    };
    WireError::new(code, error.to_string())
}

fn user_refusal(error: &UserError) -> WireError {
    let code = refusal_code(error).unwrap_or(match error {
        // Connecting again helps; the sentence says who is not connected.
        UserError::NotConnected(_) => ErrorCode::Unauthenticated,
        _ => ErrorCode::Internal,
    });
    WireError::new(code, error.to_string())
}
