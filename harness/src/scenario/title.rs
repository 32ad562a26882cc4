//! What a step does, in one line, as reports print it.

use ackscope_protocol::wire::DeleteMode;

use super::fault::heal_title;
use super::file::words::{Code, Name, User};
use super::file::{At, Bounds, OfConversation, Reactions, Step};
use super::period::short;
use crate::history::excerpt;

/// Most characters of a text in a title.
const TEXT_MAX: usize = 40;

/// One line for a step.
pub(super) fn title(step: &Step) -> String {
    match step {
        Step::Create(create) => {
            let name = create.title.as_ref().map_or_else(|| create.id.to_string(), |title| format!("\"{}\"", ***title));
            let with = if create.with.is_empty() { String::new() } else { format!(" with {}", users(&create.with)) };
            let (who, kind) = (create.user.as_str(), create.kind.0.as_str());
            format!("{who} creates the {kind} {name}{with}{}", refused(create.refused.as_ref()))
        }
        Step::Send(send) => {
            let text = send.text.as_ref().map(|text| quoted(text));
            let media = Some(names(&send.media)).filter(|media| !media.is_empty());
            let what = text.into_iter().chain(media).collect::<Vec<_>>().join(" with ");
            let reply =
                send.reply_to.as_ref().map_or_else(String::new, |name| format!(" in reply to {}", name.as_str()));
            format!(
                "{} sends {what} to {}{reply}{}",
                send.user.as_str(),
                send.to.as_str(),
                refused(send.refused.as_ref())
            )
        }
        Step::Retry(retry) => format!("{} is sent again and stays one message", retry.message.as_str()),
        Step::Edit(edit) => {
            let (who, message) = (edit.user.as_str(), edit.message.as_str());
            format!("{who} edits {message} to {}{}", quoted(&edit.text), refused(edit.refused.as_ref()))
        }
        Step::Delete(delete) => {
            let how = match delete.mode.0 {
                DeleteMode::Soft => "softly",
                DeleteMode::Hard => "for good",
                DeleteMode::ForMe => "for themselves",
            };
            let (who, message) = (delete.user.as_str(), delete.message.as_str());
            format!("{who} deletes {message} {how}{}", refused(delete.refused.as_ref()))
        }
        Step::React(react) => {
            let (who, emoji, message) = (react.user.as_str(), &**react.emoji.value, react.message.as_str());
            format!("{who} reacts with {emoji} to {message}{}", refused(react.refused.as_ref()))
        }
        Step::Unreact(react) => {
            let (who, emoji, message) = (react.user.as_str(), &**react.emoji.value, react.message.as_str());
            format!("{who} takes {emoji} back from {message}{}", refused(react.refused.as_ref()))
        }
        Step::Forward(forward) => {
            let (who, what, to) = (forward.user.as_str(), names(&forward.messages), names(&forward.to));
            format!("{who} forwards {what} to {to}{}", refused(forward.refused.as_ref()))
        }
        Step::AddParticipant(add) => {
            let role = add.role.as_ref().map_or_else(String::new, |role| format!(" as {}", role.word()));
            let (who, whom, conversation) = (add.user.as_str(), add.who.as_str(), add.conversation.as_str());
            format!("{who} adds {whom} to {conversation}{role}{}", refused(add.refused.as_ref()))
        }
        Step::RemoveParticipant(remove) => {
            let (who, whom, conversation) = (remove.user.as_str(), remove.who.as_str(), remove.conversation.as_str());
            format!("{who} removes {whom} from {conversation}{}", refused(remove.refused.as_ref()))
        }
        Step::Leave(one) => of_conversation(one, "leaves"),
        Step::Mute(mute) => {
            let period = mute.period.as_ref().map_or_else(String::new, |period| format!(" for {}", short(period.0)));
            let (who, conversation) = (mute.user.as_str(), mute.conversation.as_str());
            format!("{who} mutes {conversation}{period}{}", refused(mute.refused.as_ref()))
        }
        Step::Unmute(one) => of_conversation(one, "unmutes"),
        Step::Archive(one) => of_conversation(one, "archives"),
        Step::Unarchive(one) => of_conversation(one, "unarchives"),
        Step::Upload(upload) => {
            format!("{} uploads {}{}", upload.user.as_str(), upload.id.as_str(), refused(upload.refused.as_ref()))
        }
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
            format!("{who} asks for the history of {conversation}{}{what}", refused(expect.refused.as_ref()))
        }
        Step::ExpectMessage(expect) => {
            let verb = if expect.users.len() == 1 { "sees" } else { "see" };
            let reactions = expect.reactions.as_ref().map(|reactions| &reactions.value);
            let what = [
                expect.absent.as_ref().and_then(|absent| absent.value.then(|| "nothing of it".to_owned())),
                expect.text.as_ref().map(|text| quoted(text)),
                is_so(expect.edited, "edited"),
                is_so(expect.deleted, "deleted"),
                reactions.map(said_reactions),
                expect.media.as_deref().map(media),
            ];
            format!("{} {verb} {}{}", users(&expect.users), expect.message.as_str(), list(what))
        }
        Step::ExpectConversation(expect) => {
            let verb = if expect.users.len() == 1 { "sees" } else { "see" };
            let what = [
                expect.participants.as_deref().map(|list| format!("with {}", users(list))),
                expect.owner.as_ref().map(|owner| format!("owned by {}", owner.as_str())),
                is_so(expect.muted, "muted"),
                is_so(expect.archived, "archived"),
            ];
            format!("{} {verb} {}{}", users(&expect.users), expect.conversation.as_str(), list(what))
        }
        Step::ExpectConversations(expect) => {
            let which = if expect.archived { "archived conversations" } else { "conversations" };
            let what = wanted(expect.exactly.as_deref(), expect.contains.as_deref());
            format!("{} asks for the {which}{}{what}", expect.user.as_str(), refused(expect.refused.as_ref()))
        }
        Step::ExpectSearch(expect) => {
            let conversation = expect.conversation.as_ref();
            let conversation = conversation.map_or_else(String::new, |name| format!(" in {}", name.as_str()));
            let what = wanted(expect.exactly.as_deref(), expect.contains.as_deref());
            let (who, text) = (expect.user.as_str(), quoted(&expect.text));
            format!("{who} searches for {text}{conversation}{}{what}", refused(expect.refused.as_ref()))
        }
        Step::ExpectStored(expect) => {
            let message = expect.message.as_str();
            if expect.absent.as_ref().is_some_and(|absent| absent.value) {
                return format!("{message} is not in the store");
            }
            let reactions = expect.reactions.as_ref().map(|reactions| &reactions.value);
            let what = [
                expect.text.as_ref().map(|text| quoted(text)),
                expect.edits.as_ref().map(|edits| format!("earlier texts {}", edits.value.0)),
                is_so(expect.deleted, "deleted"),
                reactions.map(said_reactions),
                expect.media.as_deref().map(media),
                expect.media_state.as_ref().map(|state| format!("its media {}", state.word())),
            ];
            format!("{message} is in the store{}", list(what))
        }
        Step::ExpectCached(expect) => {
            let is = if expect.present { "is" } else { "is not" };
            let ttl = expect.ttl.as_ref().map_or_else(String::new, |ttl| {
                let (least, most) = (ttl.at_least.as_ref(), ttl.at_most.as_ref());
                format!(" for {} more", said_bounds(least.map(|at| short(at.0)), most.map(|at| short(at.0))))
            });
            format!("{} {is} in the cache{ttl}", expect.conversation.as_str())
        }
        Step::ExpectLog(expect) => {
            let of = expect.message.as_ref().or(expect.conversation.as_ref());
            let of = of.map_or_else(String::new, |name| format!(" of {}", name.as_str()));
            format!("the log holds {}{of} on {}", counted(expect.count.value.0, "record"), expect.topic.word())
        }
        Step::ExpectDeadLetters(expect) => format!("there are {}", counted(expect.count.value.0, "dead letter")),
        Step::Parallel(branches) => {
            let steps = branches.value.iter().map(|steps| count_of(steps)).sum();
            format!("{} lists side by side, {} in all", branches.value.len(), counted(steps, "step"))
        }
        Step::Repeat(repeat) => {
            let of = repeat.rounds().next().map_or(0, count_of);
            format!("{} of {}", counted(repeat.times.0.into(), "round"), counted(of, "step"))
        }
        Step::For(each) => format!("{} for each {}", counted(count_of(&each.steps), "step"), each.each.as_str()),
        Step::Include(file) => format!("the steps of {}", file.as_str()),
        Step::ExpectBreaker(expect) => {
            format!("the circuit of {} is {}{}", expect.of.word(), expect.state.word(), within(expect.within.as_ref()))
        }
        Step::Connect(connect) => {
            format!("{} connects a further device, {}", connect.user.as_str(), connect.device.as_str())
        }
        Step::ReadSlowly(slow) => {
            let pace = slow
                .every
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), |every| format!("one packet every {}", short(every.0)));
            let lasts = slow.lasts.as_ref().map_or_else(String::new, |lasts| format!(" for {}", short(lasts.0)));
            format!("{} reads {pace}{lasts}", slow.user.as_str())
        }
        Step::ReadOn(user) => format!("{} reads on", user.as_str()),
        Step::Flood(flood) => {
            let wanted = [
                ("delivered", &flood.delivered),
                ("rate_limited", &flood.rate_limited),
                ("overloaded", &flood.overloaded),
            ];
            let wanted = wanted.map(|(name, bounds)| bounds.as_ref().map(|at| format!("{name} {}", bounds_of(at))));
            let count = counted(flood.count.0.into(), "message");
            format!("{} floods {} with {count}{}", flood.user.as_str(), flood.to.as_str(), list(wanted))
        }
        Step::Request(request) => {
            let padding = request
                .padding
                .as_ref()
                .map_or_else(String::new, |padding| format!(" with {} bytes of padding", padding.0));
            let (who, event) = (request.user.as_str(), request.event.as_str());
            format!("{who} sends {} as it is{padding}{}", excerpt(event, TEXT_MAX), refused(request.refused.as_ref()))
        }
        Step::Frame(frame) => {
            let what = match (&frame.text, &frame.bytes) {
                (Some(text), _) => format!("the frame {}", quoted(text)),
                (None, bytes) => format!("a binary frame of {} bytes", bytes.as_ref().map_or(0, |bytes| bytes.value.0)),
            };
            let then = if frame.then.0 { "and is disconnected" } else { "and stays connected" };
            format!("{} sends {what} {then}", frame.user.as_str())
        }
        Step::Drop(user) => format!("{} loses the connection", user.as_str()),
        Step::Reconnect(user) => format!("{} comes back and takes what was missed", user.as_str()),
        Step::Fault(fault) => fault.title(),
        Step::Heal(healed) => heal_title(healed.value),
        Step::Advance(by) => format!("the clock advances by {}", short(by.0)),
        Step::Mark(text) => text.to_string(),
    }
}

fn refused(code: Option<&At<Code>>) -> String {
    code.map_or_else(String::new, |code| format!(" and is refused ({})", code.0.as_str()))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text, TEXT_MAX))
}

fn of_conversation(one: &OfConversation, does: &str) -> String {
    format!("{} {does} {}{}", one.user.as_str(), one.conversation.as_str(), refused(one.refused.as_ref()))
}

fn is_so(wanted: Option<bool>, word: &str) -> Option<String> {
    wanted.map(|wanted| if wanted { word.to_owned() } else { format!("not {word}") })
}

fn media(list: &[At<Name>]) -> String {
    if list.is_empty() { "no media".to_owned() } else { names(list) }
}

fn said_reactions(reactions: &Reactions) -> String {
    if reactions.is_empty() {
        return "no reactions".to_owned();
    }
    reactions.iter().map(|(emoji, list)| format!("{emoji} by {}", users(list))).collect::<Vec<_>>().join(", ")
}

/// `: one, other`, of what is there.
fn list<const N: usize>(parts: [Option<String>; N]) -> String {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

/// How many of something, for a sentence.
pub(super) fn bounds_of(bounds: &Bounds) -> String {
    let said = |at: &Option<At<super::file::words::Count>>| at.as_ref().map(|at| at.value.0.to_string());
    said_bounds(said(&bounds.at_least), said(&bounds.at_most))
}

/// `at least 3`, `at most 7`, `3 to 7`.
pub(super) fn said_bounds(least: Option<String>, most: Option<String>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => "any".to_owned(),
    }
}

fn counted(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// How many steps there are, those of blocks within included.
fn count_of(steps: &[At<Step>]) -> u64 {
    let count = |step: &At<Step>| match &step.value {
        Step::Parallel(branches) => branches.value.iter().map(|steps| count_of(steps)).sum(),
        Step::Repeat(repeat) => count_of(&repeat.steps),
        _ => 1,
    };
    steps.iter().map(count).sum()
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
