//! What users see and are answered: events, acknowledgments, views, history, lists, search.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ackscope_protocol::error::WireError;
use ackscope_protocol::ids::{ConversationId, MediaId, MessageId, UserId};
use ackscope_protocol::text::{ConversationLimit, Cursor, HistoryLimit};
use ackscope_protocol::wire::{self, Conversation, MediaState, Message, Role, ServerEvent};

use super::{
    Asking, LIMIT, NamedMessage, Player, SentMessage, Trouble, inconclusive, limit_of, no_answer, refusal, refused,
    refused_with,
};
use crate::report::micros;
use crate::scenario::file::words::{MediaWord, Name, User};
use crate::scenario::file::{
    At, ExpectAck, ExpectConversation, ExpectConversations, ExpectHistory, ExpectMessage, ExpectSearch, ExpectView,
    Reactions, Wait,
};
use crate::scenario::period::short;
use crate::scenario::title::{names, users};
use crate::users::{SimulatedUser, UserError, UserView};
use crate::world::WorldError;

/// Most messages one search answers.
const SEARCH_MAX: u32 = 100;

impl Player<'_> {
    pub(super) async fn wait(&self, wait: &Wait) -> Result<(), Trouble> {
        let (user, from) = self.user(&wait.user)?;
        let conversation = wait.conversation.as_ref().map(|name| self.conversation(name)).transpose()?;
        let message = wait.message.as_ref().map(|name| self.message(name)).transpose()?;
        let limit = limit_of(wait.within.as_ref());
        let matches = |event: &ServerEvent| {
            event.name() == wait.event.0
                && conversation.is_none_or(|wanted| conversation_of(event) == Some(wanted))
                && message.as_ref().is_none_or(|wanted| is_about(event, wanted))
        };
        let seen = user.wait_for(from, limit, matches).await;
        seen.map(drop).map_err(|error| match error {
            UserError::NotSeen { .. } => {
                let others =
                    user.look(|view| view.seen_from(from).filter(|seen| seen.event.name() == wait.event.0).count());
                let found = match others {
                    0 => format!("no {} at all within {}", wait.event.0, short(limit)),
                    count => format!("{count} other {} within {}", wait.event.0, short(limit)),
                };
                Trouble::failed(format!("{} to see it", wait.user.as_str()), found)
            }
            error => inconclusive(&error),
        })
    }

    pub(super) async fn expect_ack(&self, expect: &ExpectAck) -> Result<(), Trouble> {
        let sent = self.sent(&expect.message)?;
        let state = expect.state.0;
        let limit = limit_of(expect.within.as_ref());
        let found = |view: &UserView| {
            let acks = view.acks(&sent.request.temp_id, sent.request.conversation_id);
            acks.iter().find(|seen| seen.ack.state == state).cloned()
        };
        // Longer than the limit, so that the report can say how late it was.
        let ack = match sent.user.wait_until(limit.max(LIMIT), found).await {
            Ok(ack) => ack,
            Err(UserError::NotSeen { .. }) => {
                return Err(Trouble::failed(format!("a `{}` ACK", state.as_str()), acks_seen(&sent)));
            }
            Err(error) => return Err(inconclusive(&error)),
        };
        if let Some(code) = &expect.error {
            match &ack.ack.error {
                Some(error) => refused_with(error, code)?,
                None => return Err(Trouble::failed(refused(code), "a rejection without a reason")),
            }
        }
        if let Some(within) = &expect.within {
            let since = sent.sent_at.iter().copied().rfind(|at| *at <= ack.at);
            let took = since.map_or(Duration::ZERO, |since| ack.at - since);
            if took > within.0 {
                let expected = format!("`{}` within {}", state.as_str(), short(within.0));
                return Err(Trouble::failed(expected, format!("it after {}", short(took))));
            }
        }
        Ok(())
    }

    pub(super) async fn expect_view(&self, expect: &ExpectView) -> Result<(), Trouble> {
        let conversation_id = self.conversation(&expect.conversation)?;
        let limit = limit_of(expect.within.as_ref());
        let wanted = Wanted::of(self, expect.exactly.as_deref(), expect.contains.as_deref())?;
        if wanted.exactly {
            self.let_come(limit).await?;
        }
        for id in &expect.users {
            let (user, _) = self.user(id)?;
            let ids = |view: &UserView| -> Vec<MessageId> {
                view.messages(conversation_id).iter().map(|message| message.message_id).collect()
            };
            match user.wait_until(limit, |view| wanted.is_met_by(&ids(view)).then_some(())).await {
                Ok(()) => {}
                Err(UserError::NotSeen { .. }) => {
                    let found = user.look(ids);
                    let expected = format!("{} to see {}", id.as_str(), wanted.describe());
                    return Err(Trouble::failed(expected, self.names_of(&found)));
                }
                Err(error) => return Err(inconclusive(&error)),
            }
        }
        Ok(())
    }

    pub(super) async fn expect_history(&self, expect: &ExpectHistory) -> Result<(), Trouble> {
        let (user, _) = self.user(&expect.user)?;
        let conversation_id = self.conversation(&expect.conversation)?;
        let limit = limit_of(expect.within.as_ref());
        if let Some(code) = &expect.refused {
            return match history_of(&user, conversation_id).await? {
                Err(error) => refused_with(&error, code),
                Ok(found) => Err(Trouble::failed(refused(code), format!("an answer: {}", self.names_of(&found)))),
            };
        }
        let wanted = Wanted::of(self, expect.exactly.as_deref(), expect.contains.as_deref())?;
        let mut asking = Asking::within(limit);
        loop {
            asking.again().await;
            let found = history_of(&user, conversation_id)
                .await?
                .map_err(|error| Trouble::failed(wanted.describe(), refusal(&error)))?;
            if wanted.is_met_by(&found) {
                return Ok(());
            }
            if asking.is_over() {
                return Err(Trouble::failed(wanted.describe(), self.names_of(&found)));
            }
        }
    }
    /// What must not be there has to be given the time to come. Not coming to rest is found out at the end.
    pub(super) async fn let_come(&self, limit: Duration) -> Result<(), Trouble> {
        match self.world.quiesce(limit).await {
            Ok(()) | Err(WorldError::NotQuiet { .. }) => Ok(()),
            Err(error) => Err(inconclusive(&error)),
        }
    }

    pub(super) async fn expect_message(&self, expect: &ExpectMessage) -> Result<(), Trouble> {
        let wire::MessageRef { conversation_id, message_id } = self.message(&expect.message)?.at;
        let limit = limit_of(expect.within.as_ref());
        let is_absent = expect.absent.as_ref().is_some_and(|absent| absent.value);
        if is_absent {
            self.let_come(limit).await?;
        }
        let wanted = WantedMessage {
            text: expect.text.as_ref().map(|text| -> &str { text }),
            edited: expect.edited,
            deleted: expect.deleted,
            reactions: expect.reactions.as_ref().map(|reactions| wanted_reactions(&reactions.value)),
            media: expect.media.as_deref().map(|list| self.media(list)).transpose()?,
            ..WantedMessage::default()
        };
        for id in &expect.users {
            let (user, _) = self.user(id)?;
            let difference = |view: &UserView| {
                let messages = view.messages(conversation_id);
                let found = messages.into_iter().find(|message| message.message_id == message_id);
                match found {
                    None if is_absent => None,
                    None => Some(("to see the message".to_owned(), "no such message".to_owned())),
                    Some(_) if is_absent => Some(("not to see the message".to_owned(), "it is there".to_owned())),
                    Some(found) => wanted.difference(found).map(|(wanted, found)| (format!("to see {wanted}"), found)),
                }
            };
            self.view_without(&user, limit, id.as_str(), difference).await?;
        }
        Ok(())
    }

    pub(super) async fn expect_conversation(&self, expect: &ExpectConversation) -> Result<(), Trouble> {
        let conversation_id = self.conversation(&expect.conversation)?;
        let limit = limit_of(expect.within.as_ref());
        for id in &expect.users {
            let (user, _) = self.user(id)?;
            let difference = |view: &UserView| match view.conversation(conversation_id) {
                Some(found) => self.conversation_difference(expect, found),
                None => Some(("to know the conversation".to_owned(), "no such conversation".to_owned())),
            };
            self.view_without(&user, limit, id.as_str(), difference).await?;
        }
        Ok(())
    }

    /// Waits until a user's view has no difference to what is expected.
    async fn view_without(
        &self,
        user: &SimulatedUser,
        limit: Duration,
        name: &str,
        difference: impl Fn(&UserView) -> Option<(String, String)> + Send + Sync,
    ) -> Result<(), Trouble> {
        match user.wait_until(limit, |view| difference(view).is_none().then_some(())).await {
            Ok(()) => Ok(()),
            Err(UserError::NotSeen { .. }) => match user.look(&difference) {
                Some((expected, found)) => Err(Trouble::failed(format!("{name} {expected}"), found)),
                // It came between the end of the wait and the look.
                None => Ok(()),
            },
            Err(error) => Err(inconclusive(&error)),
        }
    }

    fn conversation_difference(&self, expect: &ExpectConversation, found: &Conversation) -> Option<(String, String)> {
        let participants = found.participants.iter().map(|participant| participant.user_id.as_str());
        let participants: BTreeSet<&str> = participants.collect();
        if let Some(wanted) = &expect.participants {
            let names: BTreeSet<&str> = wanted.iter().map(|user| user.as_str()).collect();
            if names != participants {
                let there: Vec<_> = participants.into_iter().collect();
                return Some((format!("to see {} in it", users(wanted)), there.join(", ")));
            }
        }
        if let Some(wanted) = &expect.owner {
            let owner = found.participants.iter().find(|participant| participant.role == Role::Owner);
            let owner = owner.map_or("nobody", |owner| owner.user_id.as_str());
            if owner != wanted.as_str() {
                return Some((format!("to see {} own it", wanted.as_str()), owner.to_owned()));
            }
        }
        // Nobody is told when the time of a mute is over: a client looks at its clock.
        let is_muted = found.settings.muted_until.is_some_and(|until| until > self.world.business_now());
        for (wanted, is_so, word) in
            [(expect.muted, is_muted, "muted"), (expect.archived, found.settings.archived, "archived")]
        {
            if wanted.is_some_and(|wanted| wanted != is_so) {
                let said = |is: bool| if is { word.to_owned() } else { format!("not {word}") };
                return Some((format!("to have it {}", said(!is_so)), said(is_so)));
            }
        }
        None
    }

    pub(super) async fn expect_conversations(&self, expect: &ExpectConversations) -> Result<(), Trouble> {
        let (user, _) = self.user(&expect.user)?;
        let list = expect.exactly.as_deref().or(expect.contains.as_deref()).unwrap_or_default();
        let wanted = list.iter().map(|name| self.conversation(name)).collect::<Result<BTreeSet<_>, _>>()?;
        let described = described(list, expect.exactly.is_some());
        let mut asking = Asking::within(limit_of(expect.within.as_ref()));
        loop {
            asking.again().await;
            let found = match (listed_by(&user, expect.archived).await?, &expect.refused) {
                (Err(error), Some(code)) => return refused_with(&error, code),
                (Ok(_), Some(code)) => return Err(Trouble::failed(refused(code), "an answer")),
                (Err(error), None) => return Err(Trouble::failed(described, refusal(&error))),
                (Ok(found), None) => found,
            };
            let is_met = if expect.exactly.is_some() { found == wanted } else { found.is_superset(&wanted) };
            if is_met {
                return Ok(());
            }
            if asking.is_over() {
                return Err(Trouble::failed(described, self.conversation_names(&found)));
            }
        }
    }

    fn conversation_names(&self, ids: &BTreeSet<ConversationId>) -> String {
        if ids.is_empty() {
            return "nothing".to_owned();
        }
        let names = self.names.lock();
        let name_of = |id: &ConversationId| {
            let known = names.conversations.iter().find(|(_, known)| **known == *id);
            known.map_or_else(|| format!("({id})"), |(name, _)| name.clone())
        };
        ids.iter().map(name_of).collect::<Vec<_>>().join(", ")
    }

    pub(super) async fn expect_search(&self, expect: &ExpectSearch) -> Result<(), Trouble> {
        let (user, _) = self.user(&expect.user)?;
        let conversation_id = expect.conversation.as_ref().map(|name| self.conversation(name)).transpose()?;
        let request = wire::SearchQuery {
            text: expect.text.value.0.clone(),
            conversation_id,
            limit: HistoryLimit::new(SEARCH_MAX),
        };
        let list = expect.exactly.as_deref().or(expect.contains.as_deref()).unwrap_or_default();
        let wanted = list.iter().map(|name| self.message(name).map(|named| named.at.message_id));
        let wanted = wanted.collect::<Result<BTreeSet<_>, _>>()?;
        let described = described(list, expect.exactly.is_some());
        let limit = limit_of(expect.within.as_ref());
        if expect.exactly.is_some() {
            self.let_come(limit).await?;
        }
        let mut asking = Asking::within(limit);
        loop {
            asking.again().await;
            let answer = user.request(&request).await.map_err(|error| no_answer(&error))?;
            let found = match (answer, &expect.refused) {
                (Err(error), Some(code)) => return refused_with(&error, code),
                (Ok(_), Some(code)) => return Err(Trouble::failed(refused(code), "an answer")),
                (Err(error), None) => return Err(Trouble::failed(described, refusal(&error))),
                (Ok(answer), None) => answer.messages,
            };
            let found: BTreeSet<MessageId> = found.iter().map(|message| message.message_id).collect();
            let is_met = if expect.exactly.is_some() { found == wanted } else { found.is_superset(&wanted) };
            if is_met {
                return Ok(());
            }
            if asking.is_over() {
                let found: Vec<_> = found.into_iter().collect();
                return Err(Trouble::failed(described, self.names_of(&found)));
            }
        }
    }
}

/// A list of names in any order, for a sentence.
fn described(list: &[At<Name>], exactly: bool) -> String {
    match (exactly, list) {
        (true, []) => "nothing".to_owned(),
        (true, list) => format!("exactly {}", names(list)),
        (false, list) => format!("among others {}", names(list)),
    }
}

/// Reactions without the order in which they came.
type AnyOrder = BTreeMap<String, BTreeSet<UserId>>;

/// The reactions an expectation names.
pub(super) fn wanted_reactions(reactions: &Reactions) -> AnyOrder {
    let one = |(emoji, users): (&String, &Vec<At<User>>)| {
        (emoji.clone(), users.iter().map(|user| user.value.0.clone()).collect())
    };
    reactions.iter().map(one).collect()
}

fn said_reactions(reactions: &AnyOrder) -> String {
    if reactions.is_empty() {
        return "no reactions".to_owned();
    }
    let one = |(emoji, users): (&String, &BTreeSet<UserId>)| {
        let users: Vec<_> = users.iter().map(UserId::as_str).collect();
        format!("{emoji} by {}", users.join(", "))
    };
    reactions.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What is expected of a message, wherever it is looked at. What is absent may be anything.
#[derive(Default)]
pub(super) struct WantedMessage<'s> {
    pub(super) text: Option<&'s str>,
    pub(super) edited: Option<bool>,
    pub(super) edits: Option<u64>,
    pub(super) deleted: Option<bool>,
    pub(super) reactions: Option<AnyOrder>,
    pub(super) media: Option<Vec<MediaId>>,
    pub(super) media_state: Option<MediaState>,
}

impl WantedMessage<'_> {
    /// The first thing that is not as expected: what was, and what is.
    pub(super) fn difference(&self, found: &Message) -> Option<(String, String)> {
        let quoted = |text: Option<&str>| text.map_or_else(|| "no text".to_owned(), |text| format!("\"{text}\""));
        if let Some(wanted) = self.text.filter(|wanted| found.text.as_deref() != Some(*wanted)) {
            return Some((quoted(Some(wanted)), quoted(found.text.as_deref())));
        }
        // A message always has text or media; a client is not told more of a tombstone than that they are gone.
        let is_tombstone = found.deleted.is_some() || found.text.is_none() && found.media.is_empty();
        for (wanted, is_so, yes, no) in [
            (self.edited, found.edited_at.is_some(), "an edited message", "a message that was not edited"),
            (self.deleted, is_tombstone, "a tombstone", "a message that was not deleted"),
        ] {
            if wanted.is_some_and(|wanted| wanted != is_so) {
                let said = |is: bool| if is { yes } else { no }.to_owned();
                return Some((said(!is_so), said(is_so)));
            }
        }
        let edits = found.edits.len() as u64;
        if let Some(wanted) = self.edits.filter(|wanted| *wanted != edits) {
            return Some((format!("{wanted} earlier texts"), edits.to_string()));
        }
        if let Some(wanted) = &self.reactions {
            let reactions =
                found.reactions.iter().map(|(emoji, users)| (emoji.clone(), users.iter().cloned().collect()));
            let reactions: AnyOrder = reactions.collect();
            if *wanted != reactions {
                return Some((said_reactions(wanted), said_reactions(&reactions)));
            }
        }
        if let Some(wanted) = &self.media {
            let items: Vec<_> = found.media.iter().map(|item| item.media_id).collect();
            if *wanted != items {
                let said = |items: &[MediaId]| match items {
                    [] => "no media".to_owned(),
                    items => items.iter().map(MediaId::to_string).collect::<Vec<_>>().join(", "),
                };
                return Some((said(wanted), said(&items)));
            }
        }
        if let Some(wanted) = self.media_state {
            let other = found.media.iter().find(|item| item.media_state != wanted);
            let said = |state: MediaState| format!("media that is {}", MediaWord(state).word());
            if let Some(other) = other {
                return Some((said(wanted), said(other.media_state)));
            }
            if found.media.is_empty() {
                return Some((said(wanted), "no media".to_owned()));
            }
        }
        None
    }
}

/// Every conversation `conversation:list` answers, page by page.
async fn listed_by(
    user: &SimulatedUser,
    archived: bool,
) -> Result<Result<BTreeSet<ConversationId>, WireError>, Trouble> {
    let mut ids = BTreeSet::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let request = wire::ListConversations { archived, limit: ConversationLimit::new(100), cursor };
        match user.request(&request).await.map_err(|error| no_answer(&error))? {
            Ok(page) => {
                ids.extend(page.conversations.iter().map(|conversation| conversation.conversation_id));
                match page.next_cursor {
                    Some(next) => cursor = Some(next),
                    None => return Ok(Ok(ids)),
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// The messages an expectation names.
struct Wanted {
    ids: Vec<MessageId>,
    names: String,
    exactly: bool,
}

impl Wanted {
    fn of(player: &Player<'_>, exactly: Option<&[At<Name>]>, contains: Option<&[At<Name>]>) -> Result<Self, Trouble> {
        let list = exactly.or(contains).unwrap_or_default();
        let ids =
            list.iter().map(|name| player.message(name).map(|named| named.at.message_id)).collect::<Result<_, _>>()?;
        Ok(Self { ids, names: names(list), exactly: exactly.is_some() })
    }

    fn is_met_by(&self, found: &[MessageId]) -> bool {
        if self.exactly {
            return found == self.ids;
        }
        // In this order; others may stand between.
        let mut found = found.iter();
        self.ids.iter().all(|wanted| found.any(|id| id == wanted))
    }

    fn describe(&self) -> String {
        match (self.exactly, self.ids.is_empty()) {
            (true, true) => "nothing".to_owned(),
            (true, false) => format!("exactly {}", self.names),
            (false, _) => format!("among others, in this order, {}", self.names),
        }
    }
}

/// Everything a viewer may see of a conversation, oldest first.
async fn history_of(
    user: &SimulatedUser,
    conversation_id: ConversationId,
) -> Result<Result<Vec<MessageId>, WireError>, Trouble> {
    let mut ids = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let request = wire::History { conversation_id, limit: HistoryLimit::new(100), cursor, thread: None };
        match user.request(&request).await.map_err(|error| no_answer(&error))? {
            Ok(page) => {
                ids.extend(page.messages.iter().map(|message| message.message_id));
                match page.next_cursor {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    ids.reverse();
    Ok(Ok(ids))
}

fn conversation_of(event: &ServerEvent) -> Option<ConversationId> {
    match event {
        ServerEvent::Ack(ack) => Some(ack.conversation_id),
        ServerEvent::New(one) | ServerEvent::Edited(one) => Some(one.message.conversation_id),
        ServerEvent::Deleted(one) => Some(one.conversation_id),
        ServerEvent::Reaction(one) => Some(one.conversation_id),
        ServerEvent::Delivered(one) => Some(one.conversation_id),
        ServerEvent::ConversationUpdated(one) => Some(one.conversation.conversation_id),
        ServerEvent::Error(_) => None,
    }
}

fn is_about(event: &ServerEvent, named: &NamedMessage) -> bool {
    let id = match event {
        ServerEvent::Ack(ack) => {
            return named.sent.as_ref().is_some_and(|sent| {
                ack.temp_id == sent.request.temp_id && ack.conversation_id == sent.request.conversation_id
            });
        }
        ServerEvent::New(one) | ServerEvent::Edited(one) => one.message.message_id,
        ServerEvent::Deleted(one) => one.message_id,
        ServerEvent::Reaction(one) => one.message_id,
        ServerEvent::Delivered(one) => one.message_id,
        ServerEvent::ConversationUpdated(_) | ServerEvent::Error(_) => return false,
    };
    id == named.at.message_id
}

/// What a message's sender was told, for a sentence.
pub(super) fn acks_seen(sent: &SentMessage) -> String {
    let acks = sent.user.acks(&sent.request.temp_id, sent.request.conversation_id);
    if acks.is_empty() {
        return "no ACK at all".to_owned();
    }
    let first = sent.sent_at.first().copied();
    let seen: Vec<_> = acks
        .iter()
        .map(|seen| {
            let after = first.map_or(0, |first| {
                u64::try_from(seen.at.saturating_duration_since(first).as_micros()).unwrap_or(u64::MAX)
            });
            let code = seen.ack.error.as_ref().map_or_else(String::new, |error| format!(" ({})", error.code));
            format!("`{}`{code} after {}", seen.ack.state.as_str(), micros(after))
        })
        .collect();
    format!("only {}", seen.join(", "))
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::Timestamp;
    use ackscope_protocol::text::MessageText;
    use ackscope_protocol::wire::MessageMedia;
    use uuid::Uuid;

    use super::*;

    const PICTURE: MediaId = MediaId::from_uuid(Uuid::from_u128(3));

    fn message() -> Message {
        let now = Timestamp::from_millis(0);
        let (message_id, conversation_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sender = "ana".parse().unwrap();
        let ids = (MessageId::from_uuid(message_id), ConversationId::from_uuid(conversation_id));
        Message {
            text: Some(MessageText::new("Hello").unwrap()),
            media: vec![MessageMedia { media_id: PICTURE, media_state: MediaState::Unverified }],
            reactions: BTreeMap::from([("👍".to_owned(), vec!["cleo".parse().unwrap(), "ben".parse().unwrap()])]),
            ..Message::new(ids.0, ids.1, sender, now)
        }
    }

    fn said(wanted: &WantedMessage<'_>) -> Option<(String, String)> {
        wanted.difference(&message())
    }

    #[test]
    fn what_is_not_expected_may_be_anything() {
        assert_eq!(said(&WantedMessage::default()), None);
    }

    #[test]
    fn the_first_difference_is_said() {
        let text = WantedMessage { text: Some("Bye"), deleted: Some(true), ..WantedMessage::default() };
        assert_eq!(said(&text), Some(("\"Bye\"".to_owned(), "\"Hello\"".to_owned())));
        let deleted = WantedMessage { text: Some("Hello"), deleted: Some(true), ..WantedMessage::default() };
        assert_eq!(said(&deleted), Some(("a tombstone".to_owned(), "a message that was not deleted".to_owned())));
        let state = WantedMessage { media_state: Some(MediaState::Verified), ..WantedMessage::default() };
        let expected = ("media that is verified".to_owned(), "media that is unverified".to_owned());
        assert_eq!(said(&state), Some(expected));
    }

    #[test]
    fn reactions_are_compared_in_any_order() {
        let users: BTreeSet<UserId> = ["ben", "cleo"].iter().map(|name| name.parse().unwrap()).collect();
        let same = AnyOrder::from([("👍".to_owned(), users)]);
        assert_eq!(said(&WantedMessage { reactions: Some(same), ..WantedMessage::default() }), None);
        let none = WantedMessage { reactions: Some(AnyOrder::new()), ..WantedMessage::default() };
        assert_eq!(said(&none), Some(("no reactions".to_owned(), "👍 by ben, cleo".to_owned())));
    }

    #[test]
    fn a_message_with_media_alone_is_no_tombstone() {
        let picture = Message { text: None, ..message() };
        let there = WantedMessage { deleted: Some(false), media: Some(vec![PICTURE]), ..WantedMessage::default() };
        assert_eq!(there.difference(&picture), None);
        let tombstone = Message { media: Vec::new(), ..picture };
        let gone = WantedMessage { deleted: Some(true), ..WantedMessage::default() };
        assert_eq!(gone.difference(&tombstone), None);
    }
}
