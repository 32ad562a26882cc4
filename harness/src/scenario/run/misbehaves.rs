//! What misbehaving users do: read slowly, flood, send what is no event; and further devices of a person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::ids::TempId;
use ackscope_protocol::text::MessageText;
use ackscope_protocol::wire::SendMessage;
use serde::Deserialize as _;
use serde_json::Value;

use super::{LIMIT, Player, Trouble, inconclusive, no_answer, refusal, refused, refused_with};
use crate::scenario::expand::KINDS;
use crate::scenario::file::words::User;
use crate::scenario::file::{At, Bounds, Connect, Flood, Frame, RawRequest, ReadSlowly};
use crate::scenario::title::bounds_of;
use crate::socketio::Pace;
use crate::users::{SimulatedUser, UserError, UserView};

/// How long all messages of a flood may take to their outcomes.
const FLOOD_LIMIT: Duration = Duration::from_mins(1);

impl Player<'_> {
    pub(super) async fn connect(&self, connect: &Connect) -> Result<(), Trouble> {
        let device = &connect.device.value.0;
        match self.world.device(&connect.user.value.0, device).await {
            Ok(user) => {
                let from = user.next_index();
                self.devices.lock().insert(device.clone(), (user, from));
                Ok(())
            }
            Err(error) => Err(Trouble::failed(format!("{} to connect", device.as_str()), error.to_string())),
        }
    }

    pub(super) fn read_slowly(&self, slow: &ReadSlowly) -> Result<(), Trouble> {
        let pace = slow.every.as_ref().map_or(Pace::Paused, |every| Pace::Every(every.0));
        self.set_pace(&slow.user, pace)?;
        let Some(lasts) = slow.lasts.as_ref().map(|lasts| lasts.0) else { return Ok(()) };
        let (user, _) = self.user(&slow.user)?;
        let reads_on = tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            read_at_full_speed(&user);
        });
        self.slow.lock().insert(slow.user.value.0.clone(), reads_on.abort_handle());
        Ok(())
    }

    pub(super) fn read_on(&self, user: &At<User>) -> Result<(), Trouble> {
        self.set_pace(user, Pace::Full)
    }

    fn set_pace(&self, name: &At<User>, pace: Pace) -> Result<(), Trouble> {
        if let Some(waiting) = self.slow.lock().remove(&name.value.0) {
            waiting.abort();
        }
        let (user, _) = self.user(name)?;
        user.set_pace(pace).map_err(|error| no_answer(&error))
    }

    /// When the steps have ended nobody is slow any more, so that everybody can see everything.
    pub(super) fn all_read_on(&self) {
        for (_, waiting) in self.slow.lock().drain() {
            waiting.abort();
        }
        for (user, _) in self.users.values().chain(self.devices.lock().values()) {
            read_at_full_speed(user);
        }
    }

    pub(super) async fn flood(&self, flood: &Flood) -> Result<(), Trouble> {
        let (user, _) = self.user(&flood.user)?;
        let conversation_id = self.conversation(&flood.to)?;
        let mut temp_ids: Vec<TempId> = Vec::new();
        for number in 1..=flood.count.0 {
            let text = match &flood.text {
                Some(text) => text.value.0.clone(),
                None => MessageText::new(number.to_string()).map_err(|error| inconclusive(&error))?,
            };
            let temp_id = self.new_temp_id()?;
            temp_ids.push(temp_id.clone());
            let message = SendMessage { conversation_id, temp_id, text: Some(text), media: Vec::new(), reply_to: None };
            user.send(message).await.map_err(|error| no_answer(&error))?;
        }
        // Only what is not known to be answered is looked at again with each event.
        let mut answered = 0;
        let all_answered = |view: &UserView| {
            let has_answer = |temp_id: &TempId| !view.send_answers(temp_id, conversation_id).is_empty();
            while temp_ids.get(answered).is_some_and(has_answer) {
                answered += 1;
            }
            (answered == temp_ids.len()).then_some(())
        };
        match user.wait_until(FLOOD_LIMIT, all_answered).await {
            Ok(()) => {}
            Err(UserError::NotSeen { .. }) => {
                let open = user.look(|view| {
                    temp_ids.iter().filter(|id| view.send_answers(id, conversation_id).is_empty()).count()
                });
                return Err(Trouble::failed("an outcome of every message", format!("{open} without one")));
            }
            Err(error) => return Err(inconclusive(&error)),
        }
        let outcomes = user.look(|view| {
            let mut outcomes = Outcomes::default();
            for answer in temp_ids.iter().filter_map(|id| view.send_answers(id, conversation_id).first()) {
                match &answer.outcome {
                    Ok(_) => outcomes.delivered += 1,
                    Err(error) => *outcomes.refused.entry(error.code.as_str()).or_default() += 1,
                }
            }
            outcomes
        });
        outcomes.check(flood)
    }

    pub(super) async fn raw_request(&self, request: &RawRequest) -> Result<(), Trouble> {
        let (user, _) = self.user(&request.user)?;
        let mut payload = request.payload.0.clone();
        self.write_ids(&mut payload)?;
        if let (Some(padding), Value::Object(fields)) = (&request.padding, &mut payload) {
            fields.insert("padding".to_owned(), "x".repeat(padding.value.0 as usize).into());
        }
        let answer = user.request_raw(&request.event, payload).await.map_err(|error| no_answer(&error))?;
        let error = answer.get("error").and_then(|error| WireError::deserialize(error).ok());
        match (error, &request.refused) {
            (None, None) if answer["ok"] == true => Ok(()),
            (None, Some(code)) if answer["ok"] == true => Err(Trouble::failed(refused(code), "it was carried out")),
            (None, _) => Err(Trouble::failed("an answer as the wire has it", answer.to_string())),
            (Some(error), None) => Err(Trouble::failed("it to be carried out", refusal(&error))),
            (Some(error), Some(code)) => {
                refused_with(&error, code)?;
                match &request.says {
                    Some(says) if !error.message.contains(says.as_str()) => {
                        Err(Trouble::failed(format!("a sentence with \"{}\"", says.as_str()), error.message))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Puts ids in the place of `$(message:NAME)` and the like.
    fn write_ids(&self, payload: &mut Value) -> Result<(), Trouble> {
        match payload {
            Value::String(text) => {
                let mut ids = Vec::new();
                collect_ids(text, &mut ids);
                for (kind, name) in ids {
                    let unknown = || inconclusive(&format!("there is no {kind} {name}"));
                    let names = self.names.lock();
                    let id = match kind.as_str() {
                        "conversation" => names.conversations.get(&name).map(ToString::to_string),
                        "message" => names.messages.get(&name).map(|named| named.at.message_id.to_string()),
                        _ => names.media.get(&name).map(ToString::to_string),
                    };
                    *text = text.replace(&format!("$({kind}:{name})"), &id.ok_or_else(unknown)?);
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.write_ids(item)),
            Value::Object(fields) => fields.values_mut().try_for_each(|field| self.write_ids(field)),
            _ => Ok(()),
        }
    }

    pub(super) async fn frame(&self, frame: &Frame) -> Result<(), Trouble> {
        let (user, _) = self.user(&frame.user)?;
        let sent = match (&frame.text, &frame.bytes) {
            (Some(text), _) => user.send_text_frame(text.value.clone()).await,
            (None, bytes) => {
                user.send_binary_frame(vec![0; bytes.as_ref().map_or(0, |bytes| bytes.value.0 as usize)]).await
            }
        };
        sent.map_err(|error| no_answer(&error))?;
        // A request behind the frame is answered, or the connection has ended before.
        let answered = tokio::time::timeout(LIMIT, user.catch_up()).await;
        let found = match (answered, user.is_connected()) {
            (Ok(Ok(())), true) => Ok(()),
            (Ok(Err(_)) | Err(_), true) => {
                return Err(Trouble::failed("an answer, or the connection to end", "neither"));
            }
            (_, false) => Err(ending(&user).await),
        };
        match (found, frame.then.0) {
            (Ok(()), false) => Ok(()),
            (Ok(()), true) => Err(Trouble::failed("the connection to be closed", "it answers")),
            (Err(reason), false) => Err(Trouble::failed("the connection to stay", format!("it ended: {reason}"))),
            (Err(reason), true) => match &frame.reason {
                Some(wanted) if !reason.contains(wanted.as_str()) => {
                    Err(Trouble::failed(format!("a reason with \"{}\"", wanted.as_str()), reason))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Why a connection has ended.
async fn ending(user: &SimulatedUser) -> String {
    let ended = tokio::time::timeout(LIMIT, user.ended()).await.ok().flatten();
    ended.map_or_else(|| "no reason".to_owned(), |reason| reason.to_string())
}

fn read_at_full_speed(user: &Arc<SimulatedUser>) {
    // One that is not connected reads at full speed when it is again.
    if let Err(error) = user.set_pace(Pace::Full) {
        tracing::debug!(%error, "nobody reads on");
    }
}

/// Ids in a payload that the run gives: what kind, and the name in the file.
pub(in crate::scenario) fn ids_in(payload: &Value) -> Vec<(String, String)> {
    let mut ids = Vec::new();
    match payload {
        Value::String(text) => collect_ids(text, &mut ids),
        Value::Array(items) => ids.extend(items.iter().flat_map(ids_in)),
        Value::Object(fields) => ids.extend(fields.values().flat_map(ids_in)),
        _ => {}
    }
    ids
}

fn collect_ids(text: &str, ids: &mut Vec<(String, String)>) {
    let pieces = text.split("$(").skip(1).filter_map(|piece| piece.split_once(')'));
    let found = pieces.filter_map(|(id, _)| id.split_once(':')).filter(|(kind, _)| KINDS.contains(kind));
    ids.extend(found.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
}

/// What became of the messages of a flood.
#[derive(Default)]
struct Outcomes {
    delivered: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Outcomes {
    fn count(&self, code: ErrorCode) -> u64 {
        self.refused.get(code.as_str()).copied().unwrap_or(0)
    }

    fn check(&self, flood: &Flood) -> Result<(), Trouble> {
        let wanted = [
            ("delivered", self.delivered, &flood.delivered),
            ("rate_limited", self.count(ErrorCode::RateLimited), &flood.rate_limited),
            ("overloaded", self.count(ErrorCode::Overloaded), &flood.overloaded),
        ];
        for (name, found, bounds) in wanted {
            if let Some(bounds) = bounds.as_ref().filter(|bounds| !is_within(found, bounds)) {
                return Err(Trouble::failed(format!("{name}: {}", bounds_of(bounds)), self.to_string()));
            }
        }
        let may_be = |code: &str| {
            let usual = [ErrorCode::RateLimited, ErrorCode::Overloaded];
            let allowed = flood.may_be_refused.iter().map(|code| code.0);
            usual.into_iter().chain(allowed).any(|allowed| allowed.as_str() == code)
        };
        match self.refused.keys().find(|code| !may_be(code)) {
            Some(code) => Err(Trouble::failed(format!("no refusal with `{code}`"), self.to_string())),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Outcomes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} delivered", self.delivered)?;
        self.refused.iter().try_for_each(|(code, count)| write!(f, ", {count} {code}"))
    }
}

fn is_within(count: u64, bounds: &Bounds) -> bool {
    bounds.at_least.as_ref().is_none_or(|least| count >= least.value.0)
        && bounds.at_most.as_ref().is_none_or(|most| count <= most.value.0)
}
