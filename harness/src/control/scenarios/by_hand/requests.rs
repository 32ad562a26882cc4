//! Requests of any event as steps: the step that says it if there is one, else the request as it was.

use ackscope_protocol::control::CommandAnswer;
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::faults::Dependency;
use ackscope_protocol::wire::{self, AddedRole, CLIENT_EVENTS, CreateConversation, DeleteMode, Request, SendMessage};
use ackscope_protocol::{ConversationId, MediaId, MessageId, UserId};
use serde_json::Value;

use super::super::yaml::Flow;
use super::Done;
use super::script::{Script, Unsaid, unsaid};

impl Script<'_> {
    pub(super) fn request(
        &mut self,
        user: &UserId,
        event: &str,
        payload: &Value,
        outcome: &Result<CommandAnswer, WireError>,
        at_us: u64,
        after: &[Done],
    ) -> Result<(), Unsaid> {
        let is_send = event == SendMessage::EVENT || SendMessage::OLDER_NAME == Some(event);
        if !is_send && !CLIENT_EVENTS.contains(&event) {
            return Err(unsaid("the wire has no such event"));
        }
        let refused = self.refused(user, outcome.as_ref().err())?;
        let answer = match outcome {
            Ok(CommandAnswer::Answered { answer }) => Some(answer),
            _ => None,
        };
        let before = self.lines.len();
        if is_send
            && let Some(message) = typed::<SendMessage>(payload)
            && (message.text.is_some() || !message.media.is_empty())
        {
            let message_id = MessageId::derive(self.history.person(user), message.conversation_id, &message.temp_id);
            return self.send(user, &message, message_id, at_us, after);
        }
        // Whether it is carried out is a matter of luck, and what rests on it too.
        let beside = if event.starts_with("media:") {
            Some(Dependency::Media)
        } else {
            (event == wire::SearchQuery::EVENT).then_some(Dependency::Search)
        };
        if self.is_unsure(beside) {
            return Err(unsaid("something was wrong that does not hit every request"));
        }
        if event == CreateConversation::EVENT
            && let Some(request) = typed::<CreateConversation>(payload)
        {
            let created = answer.and_then(|answer| serde_json::from_value(answer["conversation"].clone()).ok());
            let error = outcome.as_ref().err();
            return self.create(user, &request, created.as_ref(), error);
        }
        if event == wire::ForwardMessages::EVENT
            && let Some(request) = typed::<wire::ForwardMessages>(payload)
        {
            return self.forward(user, &request, answer, refused);
        }
        match self.known_request(user, event, payload, refused) {
            Ok(Some(step)) => self.step(step),
            // No step says it as it was asked.
            Ok(None) => self.raw_request(user, event, payload, refused)?,
            Err(unsaid) => {
                self.lines.truncate(before);
                if refused.is_none() {
                    return Err(unsaid);
                }
                self.raw_request(user, event, payload, refused)?;
            }
        }
        Ok(())
    }

    /// The step that asks for this, if there is one.
    fn known_request(
        &mut self,
        user: &UserId,
        event: &str,
        payload: &Value,
        refused: Option<ErrorCode>,
    ) -> Result<Option<String>, Unsaid> {
        let mut step = Flow::new();
        step.word("as", user.as_str());
        let word = match event {
            "message:edit" => {
                let Some(request) = typed::<wire::EditMessage>(payload) else { return Ok(None) };
                step.word("message", &self.message(request.message_id)?).word("text", &request.text);
                "edit"
            }
            "message:delete" => {
                let Some(request) = typed::<wire::DeleteMessage>(payload) else { return Ok(None) };
                let mode = match request.mode {
                    DeleteMode::Soft => "soft",
                    DeleteMode::Hard => "hard",
                    DeleteMode::ForMe => "for_me",
                };
                step.word("message", &self.message(request.message_id)?).word("mode", mode);
                "delete"
            }
            "message:react" | "message:unreact" => {
                let Some(request) = typed::<wire::React>(payload) else { return Ok(None) };
                step.word("message", &self.message(request.message_id)?).word("emoji", &request.emoji);
                event.trim_start_matches("message:")
            }
            "conversation:add_participant" => {
                let Some(request) = typed::<wire::AddParticipant>(payload) else { return Ok(None) };
                step.word("in", &self.conversation(request.conversation_id)?).word("user", request.user_id.as_str());
                match request.role {
                    Some(AddedRole::Admin) => drop(step.word("role", "admin")),
                    Some(AddedRole::Member) => drop(step.word("role", "member")),
                    None => {}
                }
                "add_participant"
            }
            "conversation:remove_participant" => {
                let Some(request) = typed::<wire::RemoveParticipant>(payload) else { return Ok(None) };
                step.word("in", &self.conversation(request.conversation_id)?).word("user", request.user_id.as_str());
                "remove_participant"
            }
            "conversation:mute" => {
                let Some(request) = typed::<wire::MuteConversation>(payload) else { return Ok(None) };
                step.word("in", &self.conversation(request.conversation_id)?);
                if let Some(secs) = request.duration_secs {
                    step.raw("for", &format!("{secs}s"));
                }
                "mute"
            }
            "conversation:leave" | "conversation:unmute" | "conversation:archive" | "conversation:unarchive" => {
                let Some(request) = typed::<wire::LeaveConversation>(payload) else { return Ok(None) };
                step.word("in", &self.conversation(request.conversation_id)?);
                event.trim_start_matches("conversation:")
            }
            _ => return Ok(None),
        };
        step.code("refused", refused);
        Ok(Some(step.step(word)))
    }

    fn forward(
        &mut self,
        user: &UserId,
        request: &wire::ForwardMessages,
        answer: Option<&Value>,
        refused: Option<ErrorCode>,
    ) -> Result<(), Unsaid> {
        let messages = request.messages.iter().map(|one| self.message(one.message_id));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let targets = request.targets.iter().map(|one| self.conversation(*one)).collect::<Result<Vec<_>, _>>()?;
        let mut step = Flow::new();
        step.word("as", user.as_str()).list("messages", messages.iter().map(String::as_str));
        step.list("to", targets.iter().map(String::as_str));
        let forwarded: Option<wire::Forwarded> = answer.and_then(|answer| serde_json::from_value(answer.clone()).ok());
        if let Some(wire::Forwarded { forwarded }) = forwarded {
            let mut names = Vec::new();
            for (target, origin) in
                request.targets.iter().flat_map(|target| request.messages.iter().map(move |origin| (target, origin)))
            {
                let is_it = |copy: &&wire::ForwardedMessage| {
                    copy.conversation_id == *target && copy.origin.message_id == origin.message_id
                };
                let copy = forwarded.iter().find(is_it).ok_or_else(|| unsaid("not every copy was told"))?;
                names.push(self.name_message(copy.message_id));
            }
            step.list("ids", names.iter().map(String::as_str));
        }
        step.code("refused", refused);
        self.step(step.step("forward"));
        Ok(())
    }

    /// Any request, with the ids of this run as names.
    fn raw_request(
        &mut self,
        user: &UserId,
        event: &str,
        payload: &Value,
        refused: Option<ErrorCode>,
    ) -> Result<(), Unsaid> {
        if payload.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
            return Err(unsaid("it goes on from a place of this run alone"));
        }
        let mut payload = payload.clone();
        self.write_names(&mut payload, refused.is_some())?;
        let mut step = Flow::new();
        step.word("as", user.as_str()).word("event", event).json("payload", &payload).code("refused", refused);
        self.step(step.step("request"));
        Ok(())
    }

    /// Puts `$(message:NAME)` and the like in the place of ids. An id that has no name here is only right in a request
    /// that is refused anyway.
    fn write_names(&mut self, payload: &mut Value, is_refused: bool) -> Result<(), Unsaid> {
        match payload {
            Value::String(text) => {
                let Ok(id) = text.parse::<uuid::Uuid>() else {
                    *text = text.replace("$(", "$$(");
                    return Ok(());
                };
                let message = self.messages.get(&MessageId::from_uuid(id)).map(|name| format!("$(message:{name})"));
                let media = self.media.get(&MediaId::from_uuid(id)).map(|name| format!("$(media:{name})"));
                let conversation = || {
                    let name = self.conversation(ConversationId::from_uuid(id)).ok()?;
                    Some(format!("$(conversation:{name})"))
                };
                match message.or(media).or_else(conversation) {
                    Some(name) => *text = name,
                    None if is_refused => {}
                    None => return Err(unsaid("it speaks of something that was not made by hand in this run")),
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.write_names(item, is_refused)),
            Value::Object(fields) => fields.values_mut().try_for_each(|field| self.write_names(field, is_refused)),
            _ => Ok(()),
        }
    }
}

/// A payload as its request, when the request says all of it.
fn typed<R: Request>(payload: &Value) -> Option<R> {
    let request: R = wire::parse(payload.clone()).ok()?;
    let again = serde_json::to_value(&request).ok()?;
    let (Value::Object(given), Value::Object(again)) = (payload, &again) else { return None };
    // What is absent may stand as `null`.
    given
        .iter()
        .all(|(field, value)| again.get(field).map_or(value.is_null(), |other| other == value))
        .then_some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_only_taken_for_one_that_says_all_of_it() {
        let id = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
        let payload = serde_json::json!({"conversation_id": id, "duration_secs": null});
        assert!(typed::<wire::MuteConversation>(&payload).is_some());
        let payload = serde_json::json!({"conversation_id": id, "for": 5});
        assert!(typed::<wire::MuteConversation>(&payload).is_none());
        assert!(typed::<wire::MuteConversation>(&serde_json::json!([id])).is_none());
    }
}
