//! Reads what the harness says. Traces are most of it, and read without the detours that tagged types take: what is
//! spread over nested tags would be copied once for each of them.

use std::fmt;

use ackscope_protocol::control::{TRACE_BATCH_MAX, ToInterface};
use ackscope_protocol::trace::{Happening, PermissionSource, Stage, TraceEvent};
use ackscope_protocol::wire::ServerEvent;
use ackscope_protocol::{MessageId, UserId};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// How a trace begins when it was written by our own types. Others are read the long way.
const TRACE: &str = "{\"type\":\"trace\",";

#[derive(Deserialize)]
struct Trace {
    first_index: u64,
    #[serde(deserialize_with = "events")]
    events: Vec<TraceEvent>,
}

/// An event whose time stands first.
struct Event(TraceEvent);

/// Events are large: room for a whole batch spares moving them each time the list grows.
fn events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TraceEvent>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<TraceEvent>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of events")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let mut events = Vec::with_capacity(TRACE_BATCH_MAX);
            while let Some(Event(event)) = seq.next_element()? {
                events.push(event);
            }
            Ok(events)
        }
    }
    deserializer.deserialize_seq(List)
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Event;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event that begins with at_us")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Event, M::Error> {
                if map.next_key::<&str>()? != Some("at_us") {
                    return Err(M::Error::custom("the time does not stand first"));
                }
                let at_us = map.next_value()?;
                if map.next_key::<&str>()? != Some("type") {
                    return Err(M::Error::custom("the type does not stand second"));
                }
                // What is most of a trace is read at once; the rest as its own type does it.
                let what = match map.next_value::<&str>()? {
                    "saw" => {
                        let Saw { user, event } = Saw::deserialize(MapAccessDeserializer::new(map))?;
                        Happening::Saw { user, event }
                    }
                    "stage" => {
                        let Staged { message_id, stage } = Staged::deserialize(MapAccessDeserializer::new(map))?;
                        Happening::Stage { message_id, stage }
                    }
                    tag => Happening::deserialize(MapAccessDeserializer::new(Tagged {
                        name: "type",
                        tag: Some(tag),
                        map,
                    }))?,
                };
                Ok(Event(TraceEvent { at_us, what }))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[derive(Deserialize)]
struct Saw {
    user: UserId,
    event: ServerEvent,
}

#[derive(Deserialize)]
struct Staged {
    message_id: MessageId,
    #[serde(deserialize_with = "stage")]
    stage: Stage,
}

/// Stages are half of a trace. What most of them carry is read as it comes.
fn stage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stage, D::Error> {
    #[derive(Deserialize)]
    struct Permission {
        source: PermissionSource,
        allowed: bool,
    }
    #[derive(Deserialize)]
    struct Published {
        topic: String,
        partition: u32,
        offset: u64,
    }
    #[derive(Deserialize)]
    struct Consumed {
        group: String,
        partition: u32,
        offset: u64,
    }
    #[derive(Deserialize)]
    struct Delivered {
        seq: u64,
    }
    #[derive(Deserialize)]
    struct Broadcast {
        recipients: u32,
    }
    #[derive(Deserialize)]
    struct Persisted {
        inserted: bool,
        bulk: u32,
    }
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = Stage;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a stage that begins with its name")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Stage, M::Error> {
            if map.next_key::<&str>()? != Some("stage") {
                return Err(M::Error::custom("the stage's name does not stand first"));
            }
            let tag = map.next_value::<&str>()?;
            // The rest as its own type does it.
            let fields = match tag {
                "permission" | "published" | "consumed" | "delivered" | "broadcast" | "persisted" => {
                    MapAccessDeserializer::new(map)
                }
                tag => {
                    let tagged = Tagged { name: "stage", tag: Some(tag), map };
                    return Stage::deserialize(MapAccessDeserializer::new(tagged));
                }
            };
            Ok(match tag {
                "permission" => {
                    let Permission { source, allowed } = Permission::deserialize(fields)?;
                    Stage::Permission { source, allowed }
                }
                "published" => {
                    let Published { topic, partition, offset } = Published::deserialize(fields)?;
                    Stage::Published { topic, partition, offset }
                }
                "consumed" => {
                    let Consumed { group, partition, offset } = Consumed::deserialize(fields)?;
                    Stage::Consumed { group, partition, offset }
                }
                "delivered" => Stage::Delivered { seq: Delivered::deserialize(fields)?.seq },
                "broadcast" => Stage::Broadcast { recipients: Broadcast::deserialize(fields)?.recipients },
                _ => {
                    let Persisted { inserted, bulk } = Persisted::deserialize(fields)?;
                    Stage::Persisted { inserted, bulk }
                }
            })
        }
    }
    deserializer.deserialize_map(Fields)
}

/// A map whose tag was read already, with it in front again.
struct Tagged<'a, M> {
    name: &'static str,
    tag: Option<&'a str>,
    map: M,
}

impl<'de, M: MapAccess<'de>> MapAccess<'de> for Tagged<'_, M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        if self.tag.is_some() {
            return seed.deserialize(self.name.into_deserializer()).map(Some);
        }
        self.map.next_key_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, M::Error> {
        match self.tag.take() {
            Some(tag) => seed.deserialize(tag.into_deserializer()),
            None => self.map.next_value_seed(seed),
        }
    }
}

/// Reads a message. Whatever the short way cannot read goes the long one, whose mistakes are the ones that are told.
pub(super) fn parse(text: &str) -> serde_json::Result<ToInterface> {
    if text.starts_with(TRACE)
        && let Ok(Trace { first_index, events }) = serde_json::from_str(text)
    {
        return Ok(ToInterface::Trace { first_index, events });
    }
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::{ErrorCode, WireError};

    use super::*;
    use crate::fake::{sample, sample_health};

    #[test]
    fn both_ways_read_the_same() {
        let events: Vec<TraceEvent> = sample().into_iter().chain(sample_health()).chain(every_stage()).collect();
        let message = ToInterface::Trace { first_index: 7, events };
        let text = serde_json::to_string(&message).unwrap();
        assert!(text.starts_with(TRACE), "our own types write so");
        assert!(serde_json::from_str::<Trace>(&text).is_ok(), "the short way is taken");
        assert_eq!(parse(&text).unwrap(), message);
        assert_eq!(serde_json::from_str::<ToInterface>(&text).unwrap(), message);
    }

    fn every_stage() -> impl Iterator<Item = TraceEvent> {
        let error = WireError::new(ErrorCode::Overloaded, "too much");
        let stages = [
            Stage::Received,
            Stage::Pending,
            Stage::Permission { source: PermissionSource::Store, allowed: false },
            Stage::MediaChecked { items: 2 },
            Stage::Published { topic: "message.sent".to_owned(), partition: 3, offset: u64::MAX },
            Stage::Delivered { seq: 9 },
            Stage::Rejected { error },
            Stage::Broadcast { recipients: 4 },
            Stage::Consumed { group: "g".to_owned(), partition: 1, offset: 2 },
            Stage::Persisted { inserted: false, bulk: 5 },
            Stage::Confirmed,
            Stage::Indexed,
            Stage::DeadLettered { reason: "\"no\"".to_owned() },
        ];
        let message_id = MessageId::from_uuid(uuid::Uuid::from_u128(1));
        stages.into_iter().map(move |stage| TraceEvent { at_us: 1, what: Happening::Stage { message_id, stage } })
    }

    #[test]
    fn another_order_goes_the_long_way() {
        for text in [
            r#"{"type":"trace","first_index":0,"events":[{"type":"gap","missed":3,"at_us":1}]}"#,
            r#"{"first_index":0,"type":"trace","events":[{"at_us":1,"type":"gap","missed":3}]}"#,
            r#"{"type":"trace","first_index":0,"events":[{"at_us":1,"later":true,"missed":3,"type":"gap"}]}"#,
        ] {
            let event = TraceEvent { at_us: 1, what: Happening::Gap { missed: 3 } };
            assert_eq!(parse(text).unwrap(), ToInterface::Trace { first_index: 0, events: vec![event] });
        }
        // A stage whose name comes last is one all the same, and one with a field too much too.
        let id = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
        for stage in [r#"{"seq":7,"stage":"delivered"}"#, r#"{"stage":"delivered","seq":7,"later":[1]}"#] {
            let event = format!(r#"{{"at_us":1,"type":"stage","message_id":"{id}","stage":{stage}}}"#);
            let text = format!(r#"{{"type":"trace","first_index":0,"events":[{event}]}}"#);
            let what = Happening::Stage { message_id: id.parse().unwrap(), stage: Stage::Delivered { seq: 7 } };
            let events = vec![TraceEvent { at_us: 1, what }];
            assert_eq!(parse(&text).unwrap(), ToInterface::Trace { first_index: 0, events });
        }
        assert!(parse(r#"{"type":"trace","first_index":0,"events":[{"at_us":1,"type":"nothing"}]}"#).is_err());
        assert!(parse("").is_err());
    }
}
