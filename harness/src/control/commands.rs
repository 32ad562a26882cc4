//! What an interface can ask for, carried out in the world.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ackscope_protocol::control::{Command, CommandAnswer};
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::{CreateConversation, SendMessage};
use ackscope_protocol::{TempId, UserId};
use uuid::Uuid;

use super::{Shared, Shown, inspect, recordings, requests, scenarios};
use crate::users::{UserError, refusal_code};
use crate::world::{World, WorldError};

/// Longest time a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// Longest time a reset may take: a server that is started again, and then everything answers. A scenario that is put
/// away for another one may take as long.
const RESET_LIMIT: Duration = Duration::from_mins(3);
/// Longest time the tour may take.
const TOUR_LIMIT: Duration = Duration::from_mins(10);

/// Carries a command out, within its limit.
pub(super) async fn run(shared: &Arc<Shared>, command: Command) -> Result<CommandAnswer, WireError> {
    let limit = match command {
        Command::PlayTour => TOUR_LIMIT,
        Command::SetFault { .. }
        | Command::Heal { .. }
        | Command::ResetFaults
        | Command::RunScenario { .. }
        | Command::ShowLive
        // A long one is unpacked first.
        | Command::CompareWith { .. } => RESET_LIMIT,
        _ => COMMAND_LIMIT,
    };
    let shown = shared.shown();
    let by_hand = match &*shown {
        Shown::Live(world) => shared.by_hand.begins(world.recorder().micros_at(Instant::now()), &command),
        Shown::Played(..) | Shown::Recorded(_) => None,
    };
    let done = tokio::time::timeout(limit, carry_out(shared, &shown, command)).await;
    let done = done.unwrap_or_else(|_| {
        let sentence = format!("the command was not done within {} s", limit.as_secs());
        Err(WireError::new(ErrorCode::Internal, sentence))
    });
    if let Some(number) = by_hand {
        shared.by_hand.ended(number, &done);
    }
    done
}

async fn carry_out(shared: &Arc<Shared>, shown: &Shown, command: Command) -> Result<CommandAnswer, WireError> {
    if command.is_about_recordings() {
        // These are there to be looked at whatever is shown.
        return recordings::carry_out(shared, shown, command).await;
    }
    let world = world(shown)?;
    let find = |user: &UserId| world.user(user).map_err(|error| refusal(&error));
    match command {
        Command::AddUser { user } => {
            world.add_user(&user).await.map_err(|error| refusal(&error))?;
        }
        Command::CreateConversation { user, kind, participants, title } => {
            let request = CreateConversation { kind, participants, title };
            let answer = find(&user)?.request(&request).await.map_err(|error| user_refusal(&error))??;
            return Ok(CommandAnswer::Created { conversation: answer.conversation });
        }
        Command::Send { user, conversation_id, text, reply_to, temp_id } => {
            let temp_id = match temp_id {
                Some(temp_id) => temp_id,
                None => new_temp_id()?,
            };
            let message = SendMessage { conversation_id, temp_id, text: Some(text), media: Vec::new(), reply_to };
            let sent = find(&user)?.send(message).await.map_err(|error| user_refusal(&error))?;
            return Ok(CommandAnswer::Sent { message_id: sent.message_id, temp_id: sent.temp_id });
        }
        Command::Request { user, event, payload } => {
            return requests::request(find(&user)?.as_ref(), &event, payload).await;
        }
        Command::Upload { user, file_name, content_type, base64 } => {
            return requests::upload_file(find(&user)?.as_ref(), file_name, &content_type, &base64).await;
        }
        Command::AddDevice { device, of } => return requests::add_device(world, &device, &of).await,
        Command::ReadSlowly { user, bytes_per_second } => {
            return requests::read_slowly(find(&user)?.as_ref(), bytes_per_second);
        }
        Command::DropConnection { user } => world.drop_connection(&user).await.map_err(|error| refusal(&error))?,
        Command::Reconnect { user } => world.reconnect(&user).await.map_err(|error| refusal(&error))?,
        Command::AdvanceClock { by_ms } => world.advance_clock(by_ms),
        Command::SetFault { on, fault } => world.set_fault(on, fault).await.map_err(|error| refusal(&error))?,
        Command::Heal { on } => world.heal(on).await.map_err(|error| refusal(&error))?,
        Command::ResetFaults => {
            world.reset_faults().await.map_err(|error| refusal(&error))?;
        }
        Command::PlayTour => play_tour(shared, world).await?,
        Command::Inspect { place } => return inspect::look(world, place).await,
        Command::ListScenarios
        | Command::OpenScenario { .. }
        | Command::CheckScenario { .. }
        | Command::SaveScenario { .. }
        | Command::ScenarioByHand { .. }
        | Command::RunScenario { .. }
        | Command::Scenario { .. }
        | Command::ShowLive => return scenarios::carry_out(shared, command).await,
        Command::ListRecordings | Command::CompareWith { .. } | Command::ReadRecording { .. } => {
            return recordings::carry_out(shared, shown, command).await;
        }
    }
    Ok(CommandAnswer::Done)
}

/// Plays the tour, unless it is playing.
async fn play_tour(shared: &Arc<Shared>, world: &Arc<World>) -> Result<(), WireError> {
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
    let played = (shared.play_tour)(Arc::clone(world)).await;
    played.map_err(|sentence| WireError::new(ErrorCode::Internal, sentence))
}

/// The world that is shown. In a recording everything has happened, so there is nothing to do anything in.
fn world(shown: &Shown) -> Result<&Arc<World>, WireError> {
    match shown {
        Shown::Live(world) | Shown::Played(world, _) => Ok(world),
        Shown::Recorded(_) => Err(WireError::new(
            ErrorCode::InvalidPayload,
            "this is a recording: it can be looked at, and nothing can be done in it; start `ackscope serve` for a \
             run of your own",
        )),
    }
}

fn new_temp_id() -> Result<TempId, WireError> {
    let text = Uuid::new_v4().to_string();
    text.parse().map_err(|error| WireError::new(ErrorCode::Internal, format!("`{text}`: {error}")))
}

pub(super) fn refusal(error: &WorldError) -> WireError {
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

pub(super) fn user_refusal(error: &UserError) -> WireError {
    let code = refusal_code(error).unwrap_or(match error {
        // Connecting again helps; the sentence says who is not connected.
        UserError::NotConnected(_) => ErrorCode::Unauthenticated,
        _ => ErrorCode::Internal,
    });
    WireError::new(code, error.to_string())
}
