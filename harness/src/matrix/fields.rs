//! Every field of every request (S1.8): missing where it must be there, and of a wrong type. The answer is
//! `invalid_payload` and names the field.

use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::wire::{
    AddParticipant, ArchiveConversation, ConversationKind, CreateConversation, DeleteMessage, DownloadUrl, EditMessage,
    ForwardMessages, History, LeaveConversation, ListConversations, MuteConversation, React, RemoveParticipant,
    Request, SearchQuery, SendMessage, Sync, UnarchiveConversation, UnmuteConversation, Unreact, UploadUrl,
};
use serde_json::{Value, json};

use super::ask::{self, Ask};
use super::cell::{Cell, Expected, Whose};
use super::scene::{REACTION, Scene, SceneSpec};

/// Whether a request has to have the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// It has to be there.
    Must(&'static str, Wrong),
    /// It may be there.
    May(&'static str, Wrong),
}

/// A value of a wrong type for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// For an id, a text or a word out of a few.
    Number,
    /// For a number.
    Text,
    /// For a list or a yes or no.
    Object,
}

impl Wrong {
    fn value(self) -> Value {
        match self {
            Self::Number => json!(5),
            Self::Text => json!("five"),
            Self::Object => json!({ "$ne": null }),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Object => "an object",
        }
    }
}

use Field::{May, Must};
use Wrong::{Number, Object, Text};

/// The fields of S1.8, in its order.
#[rustfmt::skip]
const FIELDS: &[(&str, &[Field])] = &[
    (CreateConversation::EVENT,    &[Must("kind", Number), Must("participants", Object), May("title", Number)]),
    (ListConversations::EVENT,     &[May("archived", Object), May("limit", Text), May("cursor", Number)]),
    (AddParticipant::EVENT,        &[Must("conversation_id", Number), Must("user_id", Number), May("role", Number)]),
    (RemoveParticipant::EVENT,     &[Must("conversation_id", Number), Must("user_id", Number)]),
    (LeaveConversation::EVENT,     &[Must("conversation_id", Number)]),
    (ArchiveConversation::EVENT,   &[Must("conversation_id", Number)]),
    (UnarchiveConversation::EVENT, &[Must("conversation_id", Number)]),
    (UnmuteConversation::EVENT,    &[Must("conversation_id", Number)]),
    (MuteConversation::EVENT,      &[Must("conversation_id", Number), May("duration_secs", Text)]),
    (SendMessage::EVENT,           &[Must("conversation_id", Number), Must("temp_id", Number), May("text", Number),
                                     May("media", Object), May("reply_to", Number)]),
    ("sendMessage",                &[Must("conversation_id", Number), Must("temp_id", Number), May("text", Number)]),
    (EditMessage::EVENT,           &[Must("conversation_id", Number), Must("message_id", Number), Must("text", Number)]),
    (DeleteMessage::EVENT,         &[Must("conversation_id", Number), Must("message_id", Number), Must("mode", Number)]),
    (ForwardMessages::EVENT,       &[Must("messages", Object), Must("targets", Object), Must("temp_id", Number)]),
    (React::EVENT,                 &[Must("conversation_id", Number), Must("message_id", Number), Must("emoji", Number)]),
    (Unreact::EVENT,               &[Must("conversation_id", Number), Must("message_id", Number), Must("emoji", Number)]),
    (History::EVENT,               &[Must("conversation_id", Number), May("limit", Text), May("cursor", Number),
                                     May("thread", Number)]),
    (UploadUrl::EVENT,             &[Must("file_name", Number), Must("content_type", Number), Must("size_bytes", Text)]),
    (DownloadUrl::EVENT,           &[Must("media_id", Number)]),
    (SearchQuery::EVENT,           &[Must("text", Number), May("conversation_id", Number), May("limit", Text)]),
    (Sync::EVENT,                  &[May("cursor", Number)]),
];

/// A whole request of an event, which would be carried out.
fn whole(event: &str, scene: &Scene) -> Ask {
    let (here, message) = (scene.conversation_id, scene.message());
    let somebody = scene.observer.user_id();
    let ask = match event {
        CreateConversation::EVENT => ask::create(ConversationKind::Group, std::slice::from_ref(somebody)),
        ListConversations::EVENT => ask::list(),
        AddParticipant::EVENT => ask::add(here, somebody, "member"),
        RemoveParticipant::EVENT => ask::remove(here, somebody),
        MuteConversation::EVENT => ask::mute(here),
        EditMessage::EVENT => ask::edit(message),
        DeleteMessage::EVENT => ask::delete(message, "soft"),
        ForwardMessages::EVENT => ask::forward(&[message], &[here]),
        React::EVENT => ask::react(message, REACTION),
        Unreact::EVENT => ask::unreact(message, REACTION),
        UploadUrl::EVENT => ask::upload_url(8),
        DownloadUrl::EVENT => ask::download_url(scene.picture()),
        SearchQuery::EVENT => ask::search(&scene.word),
        Sync::EVENT => ask::sync(),
        History::EVENT => ask::history(here),
        _ if event == SendMessage::EVENT || Some(event) == SendMessage::OLDER_NAME => ask::send(here),
        // The others take the conversation and nothing else.
        _ => ask::leave(here),
    };
    Ask { event: event.to_owned(), ..ask }
}

/// Every cell of the fields.
pub fn cells() -> Vec<Cell> {
    FIELDS.iter().flat_map(|(event, fields)| of_event(event, fields)).collect()
}

fn of_event(event: &'static str, fields: &'static [Field]) -> Vec<Cell> {
    let scene = || SceneSpec::owner().message(Whose::Own);
    let no_object = move |_: &Scene| Ask::new(event, json!([]));
    let mut cells = vec![Cell::boundary(
        event,
        "a list instead of an object",
        Expected::Refused(ErrorCode::InvalidPayload),
        scene(),
        no_object,
    )];
    for field in fields {
        let (Must(name, wrong) | May(name, wrong)) = *field;
        if matches!(field, Must(..)) {
            let what = format!("without {name}");
            let expected = Expected::Naming(name.to_owned());
            let without = move |scene: &Scene| whole(event, scene).without(name);
            cells.push(Cell::boundary(event, &what, expected, scene(), without));
        }
        let what = format!("{name} is {}", wrong.as_str());
        let expected = Expected::Naming(name.to_owned());
        let with_wrong = move |scene: &Scene| whole(event, scene).with(name, wrong.value());
        cells.push(Cell::boundary(event, &what, expected, scene(), with_wrong));
    }
    if event == ForwardMessages::EVENT {
        // The only list of objects.
        let nested = |scene: &Scene| {
            whole(ForwardMessages::EVENT, scene).with("messages", json!([{ "conversation_id": scene.conversation_id }]))
        };
        let expected = Expected::Naming("message_id".to_owned());
        cells.push(Cell::boundary(event, "a message without message_id", expected, scene(), nested));
    }
    cells
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::wire::CLIENT_EVENTS;

    use super::*;

    #[test]
    fn every_client_event_has_its_fields_here() {
        for event in CLIENT_EVENTS {
            assert!(FIELDS.iter().any(|(known, _)| known == event), "{event}");
        }
    }
}
