//! What lies inside the backend: store, cache and event log.

use std::time::Duration;

use ackscope_core::cache::{ConversationCache, Lookup};
use ackscope_core::log::{EventLog, LogError, Position, Record, Topic};
use ackscope_core::record::TRACEPARENT;
use ackscope_core::state::Found;
use ackscope_protocol::ids::ConversationId;

use super::looks::{WantedMessage, wanted_reactions};
use super::{Asking, Player, Trouble, inconclusive, limit_of};
use crate::records::{About, about_of};
use crate::scenario::file::words::Circuit;
use crate::scenario::file::{At, ExpectBreaker, ExpectCached, ExpectDeadLetters, ExpectLog, ExpectStored, Lifetime};
use crate::scenario::period::short;
use crate::scenario::title::said_bounds;

/// Records read in one go.
const RECORDS: usize = 1_000;

impl Player<'_> {
    pub(super) async fn expect_stored(&self, expect: &ExpectStored) -> Result<(), Trouble> {
        let message_id = self.message(&expect.message)?.at.message_id;
        let is_absent = expect.absent.as_ref().is_some_and(|absent| absent.value);
        let limit = limit_of(expect.within.as_ref());
        if is_absent {
            self.let_come(limit).await?;
        }
        let wanted = WantedMessage {
            text: expect.text.as_ref().map(|text| -> &str { text }),
            edits: expect.edits.as_ref().map(|edits| edits.value.0),
            deleted: expect.deleted,
            reactions: expect.reactions.as_ref().map(|reactions| wanted_reactions(&reactions.value)),
            media: expect.media.as_deref().map(|list| self.media(list)).transpose()?,
            media_state: expect.media_state.as_ref().map(|state| state.0),
            ..WantedMessage::default()
        };
        let messages = self.world.backend().map_err(|error| inconclusive(&error))?.messages;
        let mut asking = Asking::within(limit);
        loop {
            asking.again().await;
            let difference = match messages.find(message_id).await {
                Ok(Some(Found::There(_))) if is_absent => {
                    Some(("no such message".to_owned(), "it is there".to_owned()))
                }
                Ok(None | Some(Found::Gone { .. })) if is_absent => None,
                Ok(Some(Found::There(stored))) => wanted.difference(&stored.view()),
                Ok(Some(Found::Gone { .. })) => Some(("the message".to_owned(), "nothing is left of it".to_owned())),
                Ok(None) => Some(("the message".to_owned(), "no such message".to_owned())),
                Err(error) => Some(("an answer of the store".to_owned(), error.to_string())),
            };
            let Some((expected, found)) = difference else { return Ok(()) };
            if asking.is_over() {
                return Err(Trouble::failed(format!("the store to hold {expected}"), found));
            }
        }
    }

    pub(super) async fn expect_cached(&self, expect: &ExpectCached) -> Result<(), Trouble> {
        let conversation_id = self.conversation(&expect.conversation)?;
        let backend = self.world.backend().map_err(|error| inconclusive(&error))?;
        let mut asking = Asking::within(limit_of(expect.within.as_ref()));
        loop {
            asking.again().await;
            let (expected, found) = match (backend.cache.get(conversation_id).await, expect.present) {
                (Ok(Lookup::Miss(_)), false) => return Ok(()),
                (Ok(Lookup::Hit(entry)), true) => match backend.conversations.find(conversation_id).await {
                    Ok(Some(stored)) if stored.version == entry.version => {
                        match lifetime_difference(&*backend.cache, conversation_id, expect.ttl.as_ref()).await {
                            None => return Ok(()),
                            Some(difference) => difference,
                        }
                    }
                    Ok(Some(stored)) => {
                        (format!("version {}, as in the store", stored.version), format!("version {}", entry.version))
                    }
                    Ok(None) => ("a conversation the store holds".to_owned(), "one it does not hold".to_owned()),
                    Err(error) => ("an answer of the store".to_owned(), error.to_string()),
                },
                (Ok(Lookup::Hit(_)), false) => ("it not to be in the cache".to_owned(), "it is there".to_owned()),
                (Ok(Lookup::Miss(_)), true) => ("it to be in the cache".to_owned(), "it is not there".to_owned()),
                (Err(error), _) => ("an answer of the cache".to_owned(), error.to_string()),
            };
            if asking.is_over() {
                return Err(Trouble::failed(expected, found));
            }
        }
    }

    pub(super) async fn expect_breaker(&self, expect: &ExpectBreaker) -> Result<(), Trouble> {
        let mut asking = Asking::within(limit_of(expect.within.as_ref()));
        loop {
            asking.again().await;
            let found = self.world.breaker(expect.of.0).await.map_err(|error| inconclusive(&error))?;
            if found == Some(expect.state.0) {
                return Ok(());
            }
            if asking.is_over() {
                let found = found.map_or_else(|| "no circuit".to_owned(), |state| Circuit(state).word().to_owned());
                return Err(Trouble::failed(expect.state.word(), found));
            }
        }
    }

    pub(super) async fn expect_log(&self, expect: &ExpectLog) -> Result<(), Trouble> {
        let message = expect.message.as_ref().map(|name| self.message(name)).transpose()?;
        let conversation = expect.conversation.as_ref().map(|name| self.conversation(name)).transpose()?;
        let about = match (message, conversation) {
            (Some(named), _) => {
                About { message_id: Some(named.at.message_id), conversation_id: Some(named.at.conversation_id) }
            }
            (None, conversation_id) => About { message_id: None, conversation_id },
        };
        self.count_records(expect.topic.0, &about, expect.count.value.0, limit_of(expect.within.as_ref())).await
    }

    pub(super) async fn expect_dead_letters(&self, expect: &ExpectDeadLetters) -> Result<(), Trouble> {
        let limit = limit_of(expect.within.as_ref());
        self.count_records(Topic::DeadLetter, &About::default(), expect.count.value.0, limit).await
    }

    async fn count_records(&self, topic: Topic, about: &About, wanted: u64, limit: Duration) -> Result<(), Trouble> {
        self.let_come(limit).await?;
        let log = self.world.backend().map_err(|error| inconclusive(&error))?.log;
        let mut count = RecordCount::default();
        let mut asking = Asking::within(limit);
        loop {
            asking.again().await;
            let read = count.go_on(&*log, topic, about).await;
            if let Some(wrong) = &count.wrong {
                return Err(Trouble::failed("the conversation's id as key, and a `traceparent`", wrong.clone()));
            }
            if read.is_ok() && count.records == wanted {
                return Ok(());
            }
            if asking.is_over() {
                let expected = format!("{} of {topic}", counted(wanted));
                return Err(Trouble::failed(
                    expected,
                    read.map_or_else(|error| error.to_string(), |()| counted(count.records)),
                ));
            }
        }
    }
}

/// What is not as expected of the rest of an entry's lifetime: what was, and what is.
async fn lifetime_difference(
    cache: &dyn ConversationCache,
    conversation_id: ConversationId,
    wanted: Option<&At<Lifetime>>,
) -> Option<(String, String)> {
    let wanted = wanted?;
    let (least, most) = (wanted.at_least.as_ref().map(|at| at.0), wanted.at_most.as_ref().map(|at| at.0));
    let found = match cache.remaining(conversation_id).await {
        Ok(Some(left)) if least.is_none_or(|least| left >= least) && most.is_none_or(|most| left <= most) => {
            return None;
        }
        Ok(Some(left)) => short(left),
        Ok(None) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    };
    Some((format!("{} left of its hour", said_bounds(least.map(short), most.map(short))), found))
}

fn counted(records: u64) -> String {
    if records == 1 { "1 record".to_owned() } else { format!("{records} records") }
}

/// Records counted so far, and where to go on.
#[derive(Default)]
struct RecordCount {
    records: u64,
    /// What is wrong with one of them.
    wrong: Option<String>,
    next: Vec<Position>,
}

impl RecordCount {
    /// Reads what was written since the last time.
    async fn go_on(&mut self, log: &dyn EventLog, topic: Topic, about: &About) -> Result<(), LogError> {
        if self.next.is_empty() {
            self.next = log.end(topic).await?;
            for position in &mut self.next {
                position.offset = 0;
            }
        }
        for index in 0..self.next.len() {
            loop {
                let Position { offset, .. } = self.next[index];
                let page = match log.read(self.next[index].topic_partition(), offset, RECORDS).await {
                    // A log that others write to keeps less than everything.
                    Err(LogError::Truncated { earliest, .. }) if earliest > offset => {
                        self.next[index].offset = earliest;
                        continue;
                    }
                    page => page?,
                };
                let Some(last) = page.last() else { break };
                self.next[index].offset = last.position.offset + 1;
                for record in &page {
                    self.add(record, about);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, record: &Record, about: &About) {
        let Some(conversation_id) = about.conversation_id else {
            self.records += 1;
            return;
        };
        let Some(found) = about_of(&record.value) else { return };
        let is_it = match about.message_id {
            Some(message_id) => found.message_id == Some(message_id),
            None => found.conversation_id == Some(conversation_id),
        };
        if !is_it {
            return;
        }
        self.records += 1;
        if record.key != conversation_id.to_string() {
            self.wrong.get_or_insert_with(|| format!("the key `{}`", record.key));
        }
        if !record.headers.iter().any(|(name, _)| name == TRACEPARENT) {
            self.wrong.get_or_insert_with(|| format!("a record without the header `{TRACEPARENT}`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::ids::MessageId;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    const CONVERSATION: ConversationId = ConversationId::from_uuid(Uuid::from_u128(1));
    const MESSAGE: MessageId = MessageId::from_uuid(Uuid::from_u128(2));

    fn record(data: &Value, key: &str, headers: &[&str]) -> Record {
        Record {
            position: Position { topic: Topic::MessageSent, partition: 0, offset: 0 },
            key: key.to_owned(),
            headers: headers.iter().map(|name| ((*name).to_owned(), "00-1-1-01".to_owned())).collect(),
            value: json!({ "version": 1, "data": data }).to_string().into(),
            appended_at: ackscope_protocol::Timestamp::from_millis(0),
        }
    }

    fn count(about: &About, records: &[Record]) -> (u64, Option<String>) {
        let mut count = RecordCount::default();
        for record in records {
            count.add(record, about);
        }
        (count.records, count.wrong)
    }

    #[test]
    fn records_are_counted_by_what_they_are_about() {
        let key = CONVERSATION.to_string();
        let sent = json!({ "message": { "message_id": MESSAGE, "conversation_id": CONVERSATION } });
        let changed = json!({ "message_id": MESSAGE, "conversation_id": CONVERSATION });
        let created = json!({ "conversation": { "conversation_id": CONVERSATION } });
        let other = json!({ "message_id": Uuid::from_u128(3), "conversation_id": Uuid::from_u128(4) });
        let records =
            [&sent, &changed, &created, &other, &json!(7)].map(|data| record(data, &key, &["traceparent", "more"]));
        let message = About { message_id: Some(MESSAGE), conversation_id: Some(CONVERSATION) };
        assert_eq!(count(&message, &records), (2, None));
        let conversation = About { message_id: None, conversation_id: Some(CONVERSATION) };
        assert_eq!(count(&conversation, &records), (3, None));
        assert_eq!(count(&About::default(), &records), (5, None));
    }

    #[test]
    fn a_wrong_key_and_a_missing_header_are_said() {
        let about = About { message_id: None, conversation_id: Some(CONVERSATION) };
        let data = json!({ "conversation_id": CONVERSATION });
        let wrong = |key: &str, headers: &[&str]| count(&about, &[record(&data, key, headers)]).1;
        assert_eq!(wrong("talk", &["traceparent"]).as_deref(), Some("the key `talk`"));
        let key = CONVERSATION.to_string();
        assert_eq!(wrong(&key, &["trace"]).as_deref(), Some("a record without the header `traceparent`"));
        assert_eq!(wrong(&key, &["traceparent"]), None);
    }
}
