//! Reads what the store holds of a run's conversations, for the audit.

use ackscope_core::node::Backend;
use ackscope_core::repositories::StoreError;
use ackscope_protocol::ConversationId;
use ackscope_protocol::text::MessageText;

use crate::audit::{Stored, StoredConversation, StoredMessage};
use crate::history::History;

/// Messages read in one go.
const PAGE: u32 = 500;

/// Everything the store holds of the conversations a run's history knows. A conversation that is not there
/// (somebody asked for one that does not exist) is left out.
pub async fn read(backend: &Backend, history: &History) -> Result<Stored, StoreError> {
    let mut ids: Vec<ConversationId> = history.conversations.keys().copied().collect();
    ids.extend(history.messages.iter().filter_map(|message| message.conversation_id));
    ids.sort_unstable();
    ids.dedup();
    let mut stored = Stored::default();
    for conversation_id in ids {
        let Some(conversation) = backend.conversations.find(conversation_id).await? else { continue };
        let participants = conversation
            .participants
            .into_iter()
            .filter(|participant| participant.removed_at.is_none())
            .map(|participant| participant.user_id)
            .collect();
        let messages = messages_of(backend, conversation_id).await?;
        stored.conversations.push(StoredConversation { conversation_id, participants, messages });
    }
    Ok(stored)
}

async fn messages_of(backend: &Backend, conversation_id: ConversationId) -> Result<Vec<StoredMessage>, StoreError> {
    let mut messages = Vec::new();
    let mut before_seq = None;
    loop {
        let page = backend.messages.history(conversation_id, None, None, before_seq, PAGE).await?;
        let Some(oldest) = page.last().map(|stored| stored.message.seq) else { return Ok(messages) };
        // A store that gives the same page again would be asked for ever.
        if before_seq.is_some_and(|before| oldest >= before) {
            return Err(StoreError::Damaged("a page of messages does not go on where the one before ended".to_owned()));
        }
        before_seq = Some(oldest);
        messages.extend(page.iter().filter_map(|stored| {
            let message = stored.view();
            Some(StoredMessage {
                message_id: message.message_id,
                sender: message.sender_id,
                temp_id: message.temp_id?,
                text: message.text.map(MessageText::into_string),
                seq: message.seq,
                forwarded: message.forwarded_from.is_some(),
            })
        }));
    }
}
