//! What a step does, in one line, as reports print it.

use super::file::words::{Name, User};
use super::file::{At, Step};
use super::period::short;
use crate::history::excerpt;

/// Most characters of a text in a title.
const TEXT_MAX: usize = 40;

/// One line for a step.
pub(super) fn title(step: &Step) -> String {
    let refused = |code: &Option<At<super::file::words::Code>>| {
        code.as_ref().map_or_else(String::new, |code| format!(" and is refused ({})", code.0.as_str()))
    };
    match step {
        Step::Create(create) => {
            let name = create.title.as_ref().map_or_else(|| create.id.to_string(), |title| format!("\"{}\"", ***title));
            let with = if create.with.is_empty() { String::new() } else { format!(" with {}", users(&create.with)) };
            let (who, kind) = (create.user.as_str(), create.kind.0.as_str());
            format!("{who} creates the {kind} {name}{with}{}", refused(&create.refused))
        }
        Step::Send(send) => {
            let text = excerpt(&send.text, TEXT_MAX);
            let reply =
                send.reply_to.as_ref().map_or_else(String::new, |name| format!(" in reply to {}", name.as_str()));
            format!("{} sends \"{text}\" to {}{reply}{}", send.user.as_str(), send.to.as_str(), refused(&send.refused))
        }
        Step::Retry(retry) => format!("{} is sent again and stays one message", retry.message.as_str()),
        Step::Wait(wait) => {
            let of = wait.message.as_ref().or(wait.conversation.as_ref());
            let of = of.map_or_else(String::new, |name| format!(" of {}", name.as_str()));
            format!("{} sees {}{of}{}", wait.user.as_str(), wait.event.0, within(wait.within.as_ref()))
        }
        Step::ExpectAck(expect) => {
            let error = expect.error.as_ref().map_or_else(String::new, |code| format!(" ({})", code.0.as_str()));
            let (message, state) = (expect.message.as_str(), expect.state.0.as_str());
            format!("{message} is {state}{error}{}", within(expect.within.as_ref()))
        }
        Step::ExpectView(expect) => {
            let (verb, conversation) =
                (if expect.users.len() == 1 { "sees" } else { "see" }, expect.conversation.as_str());
            let what = wanted(expect.exactly.as_deref(), expect.contains.as_deref());
            format!("{} {verb} in {conversation}{what}", users(&expect.users))
        }
        Step::ExpectHistory(expect) => {
            let what = wanted(expect.exactly.as_deref(), expect.contains.as_deref());
            let (who, conversation) = (expect.user.as_str(), expect.conversation.as_str());
            format!("{who} asks for the history of {conversation}{}{what}", refused(&expect.refused))
        }
        Step::Drop(user) => format!("{} loses the connection", user.as_str()),
        Step::Reconnect(user) => format!("{} comes back and takes what was missed", user.as_str()),
        Step::Advance(by) => format!("the clock advances by {}", short(by.0)),
        Step::Mark(text) => text.to_string(),
    }
}

fn within(period: Option<&At<super::period::Period>>) -> String {
    period.map_or_else(String::new, |period| format!(" within {}", short(period.0)))
}

fn wanted(exactly: Option<&[At<Name>]>, contains: Option<&[At<Name>]>) -> String {
    match (exactly, contains) {
        (Some([]), _) => ": nothing".to_owned(),
        (Some(list), _) => format!(": exactly {}", names(list)),
        (None, Some(list)) => format!(": {}", names(list)),
        (None, None) => String::new(),
    }
}

/// `a, b, c`
pub(super) fn names(list: &[At<Name>]) -> String {
    let list: Vec<_> = list.iter().map(|name| name.as_str()).collect();
    list.join(", ")
}

/// `ana, ben and cleo`
pub(super) fn users(list: &[At<User>]) -> String {
    let list: Vec<_> = list.iter().map(|user| user.as_str()).collect();
    match list.as_slice() {
        [] => "nobody".to_owned(),
        [only] => (*only).to_owned(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}
