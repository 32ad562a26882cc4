//! Scenarios from the interface: their files, playing them a step at a time, and what was done by hand as one.
//!
//! A scenario is played in a world of its own, whose run is what everybody is shown until the first run is asked for
//! again. One is played at a time; when it is over its world stays, so that one can look into it.

mod by_hand;
mod files;
mod play;
mod yaml;

use std::sync::Arc;

use ackscope_protocol::control::{Command, CommandAnswer};
use ackscope_protocol::error::WireError;

pub(super) use self::by_hand::ByHand;
pub(super) use self::files::blocking;
pub use self::files::scenarios_folder;
pub(super) use self::play::Theatre;
use super::requests::invalid;
use super::{Shared, Shown};

/// Carries out a command that is about scenarios.
pub(super) async fn carry_out(shared: &Arc<Shared>, command: Command) -> Result<CommandAnswer, WireError> {
    let folder = shared.theatre.options()?.folder.clone();
    match command {
        Command::ListScenarios => {
            files::blocking(move || {
                let (files, folder) = (files::list(&folder), folder.display().to_string());
                Ok(CommandAnswer::Scenarios { folder, files })
            })
            .await
        }
        Command::OpenScenario { path } => {
            files::blocking(move || {
                let text = files::open(&folder, &path)?;
                Ok(checked(files::check(&folder, Some(&path), &text)?, Some(path), text))
            })
            .await
        }
        Command::CheckScenario { path, text } => {
            files::blocking(move || Ok(checked(files::check(&folder, path.as_deref(), &text)?, path, text))).await
        }
        Command::SaveScenario { path, text, replace } => {
            files::blocking(move || {
                let path = files::save(&folder, &path, &text, replace)?;
                Ok(checked(files::check(&folder, Some(&path), &text)?, Some(path), text))
            })
            .await
        }
        Command::ScenarioByHand { name } => {
            let Shown::Live(world) = &*shared.shown() else {
                return Err(invalid("this run was made by a scenario; show the live run for what was done by hand"));
            };
            let text = shared.by_hand.write(world, &name).await?;
            files::blocking(move || Ok(checked(files::check(&folder, None, &text)?, None, text))).await
        }
        Command::RunScenario { path, text, paused, breakpoints } => {
            let read = files::blocking(move || files::check(&folder, path.as_deref(), &text)).await?;
            let Some(scenario) = read.scenario else {
                let first = read.problems.first().map_or_else(String::new, |first| {
                    let file = first.file.as_deref().map_or_else(String::new, |file| format!(" of {file}"));
                    format!(": line {}{file}: {}", first.line, first.message)
                });
                return Err(invalid(format!("the scenario is wrong and nothing was started{first}")));
            };
            play::run(shared, scenario, paused, breakpoints).await?;
            Ok(CommandAnswer::Done)
        }
        Command::Scenario { go } => {
            shared.theatre.go(go)?;
            Ok(CommandAnswer::Done)
        }
        Command::ShowLive => {
            play::show_live(shared).await?;
            Ok(CommandAnswer::Done)
        }
        other => Err(invalid(format!("this is no command about scenarios: {other:?}"))),
    }
}

fn checked(checked: files::Checked, path: Option<String>, text: String) -> CommandAnswer {
    let files::Checked { steps, problems, .. } = checked;
    CommandAnswer::Scenario { path, text, steps, problems }
}
