//! What users do: every client event as a step.

use std::time::Instant;

use ackscope_protocol::error::WireError;
use ackscope_protocol::ids::{MessageId, TempId};
use ackscope_protocol::wire::{
    self, AckState, CreateConversation, DeleteMessage, EditMessage, ForwardMessages, MessageRef, MuteConversation,
    Request, SendMessage,
};

use super::looks::acks_seen;
use super::{
    LIMIT, NamedMessage, Player, SentMessage, Trouble, inconclusive, no_answer, refusal, refused, refused_with,
};
use crate::scenario::file::words::{Code, User};
use crate::scenario::file::{
    AddParticipant, At, Create, Delete, Edit, Forward, Mute, OfConversation, React, RemoveParticipant, Retry, Send,
    Upload,
};
use crate::users::{UploadError, UserError, UserView, upload_picture};

impl Player<'_> {
    /// Asks for something that must be carried out, or be refused with a code; gives the answer when it was
    /// carried out as it should. `done` is what must be done, for a sentence.
    async fn ask<R>(
        &self,
        user: &At<User>,
        request: &R,
        code: Option<&At<Code>>,
        done: &str,
    ) -> Result<Option<R::Answer>, Trouble>
    where
        R: Request + Sync,
        R::Answer: std::marker::Send,
    {
        let (user, _) = self.user(user)?;
        let answer = user.request(request).await.map_err(|error| no_answer(&error))?;
        as_it_should(answer, code, done)
    }

    pub(super) fn new_temp_id(&self) -> Result<TempId, Trouble> {
        let number = self.sends.fetch_add(1, super::Ordering::Relaxed) + 1;
        format!("{}-{number}", self.nonce).parse().map_err(|error| inconclusive(&format!("no temp_id: {error}")))
    }

    pub(super) async fn create(&self, create: &Create) -> Result<(), Trouble> {
        let request = CreateConversation {
            kind: create.kind.0,
            participants: create.with.iter().map(|user| user.value.0.clone()).collect(),
            title: create.title.as_ref().map(|title| title.value.0.clone()),
        };
        let done = "the conversation to be created";
        if let Some(answer) = self.ask(&create.user, &request, create.refused.as_ref(), done).await? {
            let id = answer.conversation.conversation_id;
            self.names.lock().conversations.insert(create.id.to_string(), id);
        }
        Ok(())
    }

    pub(super) async fn send(&self, send: &Send) -> Result<(), Trouble> {
        let (user, _) = self.user(&send.user)?;
        let temp_id = match &send.temp_id {
            Some(temp_id) => temp_id.value.0.clone(),
            None => self.new_temp_id()?,
        };
        let reply_to = send.reply_to.as_ref().map(|name| self.message(name)).transpose()?;
        let request = SendMessage {
            conversation_id: self.conversation(&send.to)?,
            temp_id,
            text: send.text.as_ref().map(|text| text.value.0.clone()),
            media: self.media(&send.media)?,
            reply_to: reply_to.map(|original| original.at.message_id),
        };
        let handle = user.send(request.clone()).await.map_err(|error| no_answer(&error))?;
        let sent = SentMessage { user, request, message_id: handle.message_id, sent_at: vec![handle.at] };
        // Known by its name from here on, whatever becomes of it.
        if let Some(id) = &send.id {
            let at = MessageRef { conversation_id: sent.request.conversation_id, message_id: sent.message_id };
            let named = NamedMessage { at, sent: Some(sent.clone()) };
            self.names.lock().messages.insert(id.to_string(), named);
        }
        match (outcome_of(&sent, handle.at, handle.attempt).await?, &send.refused) {
            (Ok(_), None) => Ok(()),
            (Err(error), Some(code)) => refused_with(&error, code),
            (Ok(_), Some(code)) => Err(Trouble::failed(refused(code), "it was delivered")),
            (Err(error), None) if send.may_be_refused.iter().any(|code| code.0 == error.code) => Ok(()),
            (Err(error), None) => Err(Trouble::failed("the message to be delivered", refusal(&error))),
        }
    }

    pub(super) async fn retry(&self, retry: &Retry) -> Result<(), Trouble> {
        let sent = self.sent(&retry.message)?;
        let handle = sent.user.send(sent.request.clone()).await.map_err(|error| no_answer(&error))?;
        if let Some(NamedMessage { sent: Some(known), .. }) = self.names.lock().messages.get_mut(retry.message.as_str())
        {
            known.sent_at.push(handle.at);
        }
        let expected = || format!("the message_id {} once more", sent.message_id);
        match outcome_of(&sent, handle.at, handle.attempt).await? {
            Ok(message_id) if message_id == sent.message_id => Ok(()),
            Ok(message_id) => Err(Trouble::failed(expected(), format!("the message_id {message_id}"))),
            Err(error) => Err(Trouble::failed(expected(), refusal(&error))),
        }
    }

    pub(super) async fn edit(&self, edit: &Edit) -> Result<(), Trouble> {
        let MessageRef { conversation_id, message_id } = self.message(&edit.message)?.at;
        let request = EditMessage { conversation_id, message_id, text: edit.text.value.0.clone() };
        self.ask(&edit.user, &request, edit.refused.as_ref(), "the message to be edited").await.map(drop)
    }

    pub(super) async fn delete(&self, delete: &Delete) -> Result<(), Trouble> {
        let MessageRef { conversation_id, message_id } = self.message(&delete.message)?.at;
        let request = DeleteMessage { conversation_id, message_id, mode: delete.mode.0 };
        self.ask(&delete.user, &request, delete.refused.as_ref(), "the message to be deleted").await.map(drop)
    }

    pub(super) async fn react(&self, react: &React) -> Result<(), Trouble> {
        let MessageRef { conversation_id, message_id } = self.message(&react.message)?.at;
        let request = wire::React { conversation_id, message_id, emoji: react.emoji.value.0.clone() };
        self.ask(&react.user, &request, react.refused.as_ref(), "the reaction to be added").await.map(drop)
    }

    pub(super) async fn unreact(&self, react: &React) -> Result<(), Trouble> {
        let MessageRef { conversation_id, message_id } = self.message(&react.message)?.at;
        let request = wire::Unreact { conversation_id, message_id, emoji: react.emoji.value.0.clone() };
        self.ask(&react.user, &request, react.refused.as_ref(), "the reaction to be removed").await.map(drop)
    }

    pub(super) async fn forward(&self, forward: &Forward) -> Result<(), Trouble> {
        let messages = forward.messages.iter().map(|name| self.message(name).map(|named| named.at));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let targets = forward.to.iter().map(|name| self.conversation(name)).collect::<Result<Vec<_>, _>>()?;
        let temp_id = self.new_temp_id()?;
        let request = ForwardMessages { messages: messages.clone(), targets: targets.clone(), temp_id };
        let done = "the messages to be forwarded";
        let Some(answer) = self.ask(&forward.user, &request, forward.refused.as_ref(), done).await? else {
            return Ok(());
        };
        let wanted = targets.iter().flat_map(|target| messages.iter().map(|origin| (*target, *origin)));
        let wanted: Vec<_> = wanted.collect();
        let (copies, found) = (wanted.len(), answer.forwarded.len());
        if copies != found {
            return Err(Trouble::failed(format!("{copies} copies"), format!("{found} copies")));
        }
        let Some(ids) = &forward.ids else { return Ok(()) };
        for (id, (conversation_id, origin)) in ids.iter().zip(wanted) {
            let is_it = |copy: &&wire::ForwardedMessage| {
                copy.conversation_id == conversation_id && copy.origin.message_id == origin.message_id
            };
            let Some(copy) = answer.forwarded.iter().find(is_it) else {
                return Err(Trouble::failed(format!("the copy {}", id.as_str()), "no such copy in the answer"));
            };
            let at = MessageRef { conversation_id, message_id: copy.message_id };
            self.names.lock().messages.insert(id.to_string(), NamedMessage { at, sent: None });
        }
        Ok(())
    }

    pub(super) async fn add_participant(&self, add: &AddParticipant) -> Result<(), Trouble> {
        let request = wire::AddParticipant {
            conversation_id: self.conversation(&add.conversation)?,
            user_id: add.who.value.0.clone(),
            role: add.role.as_ref().map(|role| role.0),
        };
        let done = format!("{} to be added", add.who.as_str());
        self.ask(&add.user, &request, add.refused.as_ref(), &done).await.map(drop)
    }

    pub(super) async fn remove_participant(&self, remove: &RemoveParticipant) -> Result<(), Trouble> {
        let request = wire::RemoveParticipant {
            conversation_id: self.conversation(&remove.conversation)?,
            user_id: remove.who.value.0.clone(),
        };
        let done = format!("{} to be removed", remove.who.as_str());
        self.ask(&remove.user, &request, remove.refused.as_ref(), &done).await.map(drop)
    }

    pub(super) async fn leave(&self, one: &OfConversation) -> Result<(), Trouble> {
        let request = wire::LeaveConversation { conversation_id: self.conversation(&one.conversation)? };
        self.ask(&one.user, &request, one.refused.as_ref(), "to be let go").await.map(drop)
    }

    pub(super) async fn mute(&self, mute: &Mute) -> Result<(), Trouble> {
        let request = MuteConversation {
            conversation_id: self.conversation(&mute.conversation)?,
            duration_secs: mute.period.as_ref().map(|period| period.0.as_secs()),
        };
        self.ask(&mute.user, &request, mute.refused.as_ref(), "the conversation to be muted").await.map(drop)
    }

    pub(super) async fn unmute(&self, one: &OfConversation) -> Result<(), Trouble> {
        let request = wire::UnmuteConversation { conversation_id: self.conversation(&one.conversation)? };
        self.ask(&one.user, &request, one.refused.as_ref(), "the conversation to be unmuted").await.map(drop)
    }

    pub(super) async fn archive(&self, one: &OfConversation) -> Result<(), Trouble> {
        let request = wire::ArchiveConversation { conversation_id: self.conversation(&one.conversation)? };
        self.ask(&one.user, &request, one.refused.as_ref(), "the conversation to be archived").await.map(drop)
    }

    pub(super) async fn unarchive(&self, one: &OfConversation) -> Result<(), Trouble> {
        let request = wire::UnarchiveConversation { conversation_id: self.conversation(&one.conversation)? };
        self.ask(&one.user, &request, one.refused.as_ref(), "the conversation to be unarchived").await.map(drop)
    }

    pub(super) async fn upload(&self, upload: &Upload) -> Result<(), Trouble> {
        let (user, _) = self.user(&upload.user)?;
        let done = "the picture to be uploaded";
        let answer = match upload_picture(&user, upload.file.as_ref().map(|file| &file.value.0)).await {
            Ok(answer) => answer,
            Err(UploadError::User(error)) => return Err(no_answer(&error)),
            Err(error) => return Err(Trouble::failed(done, error.to_string())),
        };
        if let Some(media_id) = as_it_should(answer, upload.refused.as_ref(), done)? {
            self.names.lock().media.insert(upload.id.to_string(), media_id);
        }
        Ok(())
    }
}

/// An answer that is what the step expects: `None` is the refusal it expects.
fn as_it_should<T>(answer: Result<T, WireError>, code: Option<&At<Code>>, done: &str) -> Result<Option<T>, Trouble> {
    match (answer, code) {
        (Ok(answer), None) => Ok(Some(answer)),
        (Err(error), Some(code)) => refused_with(&error, code).map(|()| None),
        (Ok(_), Some(code)) => Err(Trouble::failed(refused(code), "it was carried out")),
        (Err(error), None) => Err(Trouble::failed(done, refusal(&error))),
    }
}

/// Waits for the outcome of one attempt: the `message_id` it was delivered with, or the refusal.
async fn outcome_of(sent: &SentMessage, since: Instant, attempt: u32) -> Result<Result<MessageId, WireError>, Trouble> {
    let (temp_id, conversation_id) = (&sent.request.temp_id, sent.request.conversation_id);
    let found = |view: &UserView| {
        let by_ack = view.acks(temp_id, conversation_id).iter().filter(|seen| seen.at >= since).find_map(|seen| {
            match (seen.ack.state, seen.ack.message_id, &seen.ack.error) {
                // `persisted` says it too, when the connection broke before `delivered` came.
                (AckState::Delivered | AckState::Persisted, Some(message_id), _) => Some(Ok(message_id)),
                (AckState::Rejected, _, Some(error)) => Some(Err(error.clone())),
                _ => None,
            }
        });
        // What cannot be read as a message at all is answered by the callback alone.
        by_ack.or_else(|| {
            let answers = view.send_answers(temp_id, conversation_id);
            let answer = answers.get(attempt as usize - 1)?;
            Some(answer.outcome.clone().map(|sent| sent.message_id))
        })
    };
    match sent.user.wait_until(LIMIT, found).await {
        Ok(outcome) => Ok(outcome),
        Err(UserError::NotSeen { .. }) => Err(Trouble::failed("an outcome", acks_seen(sent))),
        Err(error) => Err(inconclusive(&error)),
    }
}
