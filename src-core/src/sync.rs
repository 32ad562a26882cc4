//! `sync`: what a client missed, read from the log again (S1.1, S1.8).
//!
//! A cursor is a place in every partition of the topics that clients hear of, so it holds on every node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::text::Cursor;
use ackscope_protocol::wire::{self, ServerEvent, Sync, SyncAnswer};
use ackscope_protocol::{ConversationId, MessageId, UserId};

use crate::consumers::fan_out::{FAN_OUT_TOPICS, Present, Told, event_for};
use crate::conversations::Conversations;
use crate::limits::Limits;
use crate::log::{EventLog, LogError, Position, Record};
use crate::messages::Messages;
use crate::refusal;
use crate::repositories::StoredConversation;

/// Leads every cursor; another number is another layout.
const CURSOR_VERSION: &str = "s2";

/// How long an answer waits for what is in the log and not taken in by this node.
const TAKE_IN_LIMIT: Duration = Duration::from_millis(500);

/// Answers `sync`.
pub struct SyncService {
    /// What was missed stands here.
    pub log: Arc<dyn EventLog>,
    /// Who may see it.
    pub conversations: Arc<Conversations>,
    /// The messages as they are now.
    pub messages: Arc<Messages>,
    /// How much one answer looks at.
    pub limits: Limits,
}

impl SyncService {
    /// Everything the caller missed since the cursor; without a cursor nothing, and a cursor for later.
    pub async fn since(&self, caller: &UserId, request: &Sync) -> Result<SyncAnswer, WireError> {
        let ends = self.ends().await.map_err(|error| refusal::log(&error))?;
        // What this node has not taken in yet it could not say as it is now. Mostly that is a matter of a moment; else
        // the caller is told of the rest when the node has it.
        if request.cursor.is_some() {
            let (Ok(()) | Err(_)) = tokio::time::timeout(TAKE_IN_LIMIT, self.messages.tail.reaches(&ends)).await;
        }
        let taken_in = |end: &Position| Position { offset: end.offset.min(self.reached(end)), ..*end };
        let known: Vec<Position> = ends.iter().map(taken_in).collect();
        let Some(cursor) = &request.cursor else {
            return Ok(SyncAnswer { events: Vec::new(), cursor: write_cursor(&known)?, more: false });
        };
        let mut next = read_cursor(cursor, &ends)?;

        let (records, more) = self.records(&mut next, &known).await.map_err(|error| refusal::log(&error))?;
        let mut conversations = HashMap::new();
        let mut missed = Vec::new();
        for record in &records {
            // What does not read is in the dead letters by now; there is nothing in it to tell.
            let Ok(told) = Told::read(record) else { continue };
            let conversation = match &told {
                // Those it concerned then are told, also the one who is no longer in it.
                Told::Changed(_) => None,
                Told::Sent { .. } | Told::Happened(_) | Told::Settled(_) => {
                    self.conversation(&mut conversations, told.conversation_id()).await?
                }
            };
            if told.audience(conversation.as_deref()).contains(&caller) {
                missed.push(told);
            }
        }
        // Messages are told as they are now: what is deleted by now does not come back this way.
        let about = |told: &Told| Some((told.conversation_id(), told.message_id()?));
        let ids: HashSet<_> = missed.iter().filter_map(about).collect();
        let found = self.messages.find_many(&ids.into_iter().collect::<Vec<_>>()).await?;
        let present: HashMap<_, _> = found.into_iter().map(|(id, found)| (id, Present::from(found))).collect();
        let now = self.messages.clock.now();
        let mut events = Vec::new();
        for told in &missed {
            let present = told.message_id().and_then(|message_id| present.get(&message_id));
            events.extend(event_for(told, present, caller, now));
            events.extend(own_acknowledgment(told, caller));
        }
        Ok(SyncAnswer { events, cursor: write_cursor(&next)?, more })
    }

    fn reached(&self, end: &Position) -> u64 {
        self.messages.tail.reached(end.topic_partition())
    }

    async fn ends(&self) -> Result<Vec<Position>, LogError> {
        let mut ends = Vec::new();
        for topic in FAN_OUT_TOPICS {
            ends.extend(self.log.end(topic).await?);
        }
        Ok(ends)
    }

    /// Records from `next` to `ends` in the order they were appended, at most `sync_scan_max`; moves `next` on.
    async fn records(&self, next: &mut [Position], ends: &[Position]) -> Result<(Vec<Record>, bool), LogError> {
        let mut records = Vec::new();
        let mut more = false;
        for (position, end) in next.iter_mut().zip(ends) {
            let room = self.limits.sync_scan_max.saturating_sub(records.len());
            if position.offset >= end.offset {
                continue;
            }
            if room == 0 {
                more = true;
                continue;
            }
            let mut read = self.log.read(position.topic_partition(), position.offset, room).await?;
            read.retain(|record| record.position.offset < end.offset);
            if let Some(last) = read.last() {
                position.offset = last.position.offset + 1;
            } else {
                position.offset = end.offset;
            }
            more |= position.offset < end.offset;
            records.extend(read);
        }
        // A stable order: within a partition it is the log's.
        records.sort_by_key(|record| record.appended_at);
        Ok((records, more))
    }

    async fn conversation(
        &self,
        known: &mut HashMap<ConversationId, Option<Arc<StoredConversation>>>,
        conversation_id: ConversationId,
    ) -> Result<Option<Arc<StoredConversation>>, WireError> {
        if let Some(conversation) = known.get(&conversation_id) {
            return Ok(conversation.clone());
        }
        let (conversation, _) =
            self.conversations.load(conversation_id).await.map_err(|error| refusal::store(&error))?;
        known.insert(conversation_id, conversation.clone());
        Ok(conversation)
    }
}

/// The caller's own message was persisted while it was away.
fn own_acknowledgment(told: &Told, caller: &UserId) -> Option<ServerEvent> {
    let Told::Settled(settled) = told else { return None };
    // A copy made by a forward has an id of another kind, and no acknowledgments.
    let is_sent = MessageId::derive(caller, settled.conversation_id, &settled.temp_id) == settled.message_id;
    if settled.sender_id != *caller || !is_sent {
        return None;
    }
    let (state, error) = match &settled.outcome {
        crate::record::Outcome::Persisted => (wire::AckState::Persisted, None),
        crate::record::Outcome::Failed { .. } => {
            (wire::AckState::Rejected, Some(crate::consumers::fan_out::persistence_failed()))
        }
    };
    Some(ServerEvent::Ack(wire::MessageAck {
        temp_id: settled.temp_id.clone(),
        conversation_id: settled.conversation_id,
        state,
        message_id: Some(settled.message_id),
        seq: None,
        error,
        at: settled.timestamp,
    }))
}

fn write_cursor(positions: &[Position]) -> Result<Cursor, WireError> {
    let offsets: Vec<String> = positions.iter().map(|position| format!("{:x}", position.offset)).collect();
    Cursor::new(format!("{CURSOR_VERSION}.{}", offsets.join(".")))
        .map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))
}

/// Reads a cursor against the partitions there are. One that points past the end was made for another log.
fn read_cursor(cursor: &Cursor, ends: &[Position]) -> Result<Vec<Position>, WireError> {
    let parse = || {
        let mut parts = cursor.split('.');
        if parts.next()? != CURSOR_VERSION {
            return None;
        }
        let offsets: Vec<u64> = parts.map(|part| u64::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
        if offsets.len() != ends.len() || offsets.iter().zip(ends).any(|(offset, end)| *offset > end.offset) {
            return None;
        }
        Some(ends.iter().zip(offsets).map(|(end, offset)| Position { offset, ..*end }).collect())
    };
    parse().ok_or_else(|| WireError::new(ErrorCode::InvalidPayload, "field `cursor`: not a cursor of this service"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Topic;

    fn at(partition: u32, offset: u64) -> Position {
        Position { topic: Topic::MessageSent, partition, offset }
    }

    #[test]
    fn a_cursor_reads_back() {
        let ends = [at(0, 300), at(1, 0)];
        let cursor = write_cursor(&[at(0, 255), at(1, 0)]).unwrap();
        assert_eq!(&*cursor, "s2.ff.0");
        assert_eq!(read_cursor(&cursor, &ends).unwrap(), [at(0, 255), at(1, 0)]);
    }

    #[test]
    fn what_is_no_cursor_of_this_log_is_refused() {
        let ends = [at(0, 5), at(1, 5)];
        for bad in ["s2", "s2.1", "s2.1.2.3", "s1.1.1", "s2.6.0", "s2.-1.0", "s2.zz.0", "x"] {
            assert!(read_cursor(&Cursor::new(bad).unwrap(), &ends).is_err(), "{bad}");
        }
    }
}
