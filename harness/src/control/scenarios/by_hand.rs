//! What was done by hand in a run, as a scenario that does it again and expects what came of it.
//!
//! Every command an interface has carried out is noted in the order they began. What became of a message is taken from
//! the run's history, because a send is answered before its outcome is known. What a scenario cannot say stands in it
//! as a comment.

mod requests;
mod script;

use std::sync::Arc;

use ackscope_protocol::control::{Command, CommandAnswer};
use ackscope_protocol::error::WireError;
use ackscope_protocol::wire::{self, CreateConversation, Request as _, SendMessage};
use parking_lot::Mutex;

use self::script::Script;
use super::files::blocking;
use crate::control::requests::invalid;
use crate::world::World;

/// Most commands of one run that are kept.
const COMMANDS_MAX: usize = 10_000;
/// The commands of a run in the order they began.
#[derive(Debug, Default)]
pub(in crate::control) struct ByHand {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    done: Vec<Done>,
    /// How many were not kept.
    left_out: u64,
}

#[derive(Clone, Debug)]
struct Done {
    /// When it began, in microseconds since the run began.
    at_us: u64,
    command: Command,
    /// Absent while it is carried out.
    outcome: Option<Result<CommandAnswer, WireError>>,
}

impl ByHand {
    /// Notes a command that begins, if it does something; gives its number.
    pub(in crate::control) fn begins(&self, at_us: u64, command: &Command) -> Option<usize> {
        let command = match command {
            Command::Inspect { .. } => return None,
            command if command.is_about_scenarios() || command.is_about_recordings() => return None,
            // A scenario has a file of its own.
            Command::Upload { user, file_name, content_type, .. } => Command::Upload {
                user: user.clone(),
                file_name: file_name.clone(),
                content_type: content_type.clone(),
                base64: String::new(),
            },
            other => other.clone(),
        };
        let mut log = self.log.lock();
        if log.done.len() >= COMMANDS_MAX {
            log.left_out += 1;
            return None;
        }
        log.done.push(Done { at_us, command, outcome: None });
        Some(log.done.len() - 1)
    }

    /// Notes what became of it.
    pub(in crate::control) fn ended(&self, number: usize, outcome: &Result<CommandAnswer, WireError>) {
        let mut log = self.log.lock();
        let Some(done) = log.done.get_mut(number) else { return };
        let is_needed = match &done.command {
            Command::Request { event, .. } => {
                let with_ids = [wire::ForwardMessages::EVENT, CreateConversation::EVENT, SendMessage::EVENT];
                with_ids.contains(&event.as_str()) || SendMessage::OLDER_NAME == Some(event)
            }
            _ => true,
        };
        done.outcome = Some(match outcome {
            // Pages of messages are many, and nothing of them is spoken of.
            Ok(CommandAnswer::Answered { .. }) if !is_needed => Ok(CommandAnswer::Done),
            outcome => outcome.clone(),
        });
    }

    /// The scenario.
    pub(super) async fn write(&self, world: &Arc<World>, name: &str) -> Result<String, WireError> {
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_control) || name.chars().count() > 200 {
            return Err(invalid("expected a name of one line, 1 to 200 characters"));
        }
        world.recorder().flush().await;
        let (done, left_out) = {
            let log = self.log.lock();
            (log.done.clone(), log.left_out)
        };
        let (world, name) = (Arc::clone(world), name.to_owned());
        // A long run takes a while to go through.
        blocking(move || {
            let events = world.recorder().snapshot().events;
            let mut script = Script::new(&world, &events, &done);
            for (number, one) in done.iter().enumerate() {
                script.settle(one.at_us);
                script.command(one, done.get(number + 1..).unwrap_or_default());
            }
            script.settle(u64::MAX);
            if left_out > 0 {
                script.say(format!("{left_out} more commands were not kept"));
            }
            Ok(script.finish(&name))
        })
        .await
    }
}
