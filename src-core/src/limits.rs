//! Settings of the socket service: what it takes from a connection and how long it waits (S1.1).
//!
//! Limits of the wire itself (text length and the like) stand in [`ackscope_protocol::limits`].

use std::time::Duration;

/// Limits of one node. Every one of them answers a typed rejection when it is reached.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one event. A larger one is answered `too_large`.
    pub payload_max_bytes: usize,
    /// Bytes of one transport frame or polling request. Beyond it the transport itself closes the connection
    /// (close code 1009 or HTTP 413): the service cannot answer what it refuses to read.
    pub frame_max_bytes: usize,
    /// Events a second one connection may send for long. More is answered `rate_limited`.
    pub events_per_sec: u32,
    /// Events one connection may send at once after a pause.
    pub events_burst: u32,
    /// Connections of this node. One more is refused with `overloaded`.
    pub connections_max: usize,
    /// Events of one connection that wait for their turn. One more is answered `overloaded`.
    pub inbound_queue_max: usize,
    /// Requests of one connection that are worked on at the same time; the next one waits in the queue.
    pub in_flight_max: usize,
    /// Packets that wait to be written to one connection. When a reader is so slow that they do not fit, it
    /// misses events, is told so with an `error` event as soon as there is room, and can `sync`.
    pub outbound_queue_max: usize,
    /// Messages that are in the event log and not yet persisted. More sends are answered `overloaded`.
    pub unpersisted_max: usize,
    /// From the receipt of a `message:send` to its `delivered` or `rejected`: inside the budget of S1.5, so that
    /// a log that does not answer ends in `outcome_unknown` in time.
    pub send_deadline: Duration,
    /// From the receipt of a `message:forward` to its answer; up to 50 copies take longer than one message.
    pub forward_deadline: Duration,
    /// Of every other request; a store that does not answer in time is `store_unavailable`.
    pub request_deadline: Duration,
    /// Log records one `sync` looks at; the answer says when there is more.
    pub sync_scan_max: usize,
    /// Heartbeat of the Engine.IO connection.
    pub ping_interval: Duration,
    /// How long a heartbeat may stay unanswered.
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_max_bytes: 64 * 1024,
            frame_max_bytes: 8 * 1024 * 1024,
            events_per_sec: 200,
            events_burst: 400,
            connections_max: 10_000,
            inbound_queue_max: 512,
            in_flight_max: 64,
            outbound_queue_max: 4_096,
            unpersisted_max: 100_000,
            send_deadline: Duration::from_millis(90),
            forward_deadline: Duration::from_secs(1),
            request_deadline: Duration::from_secs(5),
            sync_scan_max: 2_000,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// A limit that can be set, by the name settings use.
pub struct LimitSetting {
    /// Its name, with the unit at the end where it has one.
    pub name: &'static str,
    /// What it limits, one line.
    pub meaning: &'static str,
    /// What happens beyond it.
    pub beyond: &'static str,
    /// The smallest value it can have.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// Reads it.
    pub get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

/// Why a limit was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// There is no limit of that name.
    #[error("there is no limit `{0}`")]
    Unknown(String),
    /// It cannot have this value.
    #[error("`{name}`: expected a number from {min} to {max}, found {value}")]
    OutOfRange {
        /// Which limit.
        name: &'static str,
        /// What was asked for.
        value: u64,
        /// The smallest value it can have.
        min: u64,
        /// The largest.
        max: u64,
    },
}

macro_rules! settings {
    ($($field:ident $(. $part:ident)? = $name:literal, $min:literal..=$max:literal, $meaning:literal, $beyond:literal;)*) => {
        /// Every limit that can be set.
        pub const SETTINGS: &[LimitSetting] = &[$(LimitSetting {
            name: $name,
            meaning: $meaning,
            beyond: $beyond,
            min: $min,
            max: $max,
            get: |limits| settings!(@get limits.$field $($part)?),
            set: |limits, value| settings!(@set limits.$field $($part)?, value),
        },)*];
    };
    (@get $limits:ident.$field:ident ms) => { $limits.$field.as_millis() as u64 };
    (@get $limits:ident.$field:ident u32) => { u64::from($limits.$field) };
    (@get $limits:ident.$field:ident) => { $limits.$field as u64 };
    (@set $limits:ident.$field:ident ms, $value:ident) => { $limits.$field = Duration::from_millis($value) };
    (@set $limits:ident.$field:ident u32, $value:ident) => { $limits.$field = $value as u32 };
    (@set $limits:ident.$field:ident, $value:ident) => { $limits.$field = $value as usize };
}

settings! {
    payload_max_bytes = "payload_max_bytes", 1_024..=16_777_216, "bytes of one event", "`too_large`";
    frame_max_bytes = "frame_max_bytes", 4_096..=67_108_864, "bytes of one transport frame", "the transport closes with 1009 or 413";
    events_per_sec.u32 = "events_per_sec", 1..=1_000_000, "events a second of one connection", "`rate_limited`";
    events_burst.u32 = "events_burst", 1..=1_000_000, "events of one connection at once", "`rate_limited`";
    connections_max = "connections_max", 1..=1_000_000, "connections of a node", "`overloaded` on connect";
    inbound_queue_max = "inbound_queue_max", 1..=1_000_000, "events of one connection that wait", "`overloaded`";
    in_flight_max = "in_flight_max", 1..=10_000, "requests of one connection at the same time", "the next one waits";
    outbound_queue_max = "outbound_queue_max", 16..=1_000_000, "packets that wait to be written to one connection", "`error` event `overloaded`, then `sync`";
    unpersisted_max = "unpersisted_max", 1..=10_000_000, "messages and changes in the log that the store does not have", "`overloaded`";
    send_deadline.ms = "send_deadline_ms", 1..=600_000, "from a message's receipt to its outcome", "`outcome_unknown` or `store_unavailable`";
    forward_deadline.ms = "forward_deadline_ms", 1..=600_000, "from a forward's receipt to its answer", "`outcome_unknown` or `store_unavailable`";
    request_deadline.ms = "request_deadline_ms", 1..=600_000, "of every other request", "`store_unavailable`";
    sync_scan_max = "sync_scan_max", 1..=1_000_000, "records one `sync` looks at", "`more: true`";
    ping_interval.ms = "ping_interval_ms", 100..=600_000, "between two heartbeats", "";
    ping_timeout.ms = "ping_timeout_ms", 100..=600_000, "for the answer to a heartbeat", "the connection is closed";
}

impl Limits {
    /// Sets a limit by its name.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let LimitSetting { name, min, max, set, .. } = setting.ok_or_else(|| LimitError::Unknown(name.to_owned()))?;
        if !(*min..=*max).contains(&value) {
            return Err(LimitError::OutOfRange { name, value, min: *min, max: *max });
        }
        set(self, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_every_limit_as_it_is() {
        let readme = include_str!("../../README.md");
        for LimitSetting { name, meaning, beyond, min, max, get, .. } in SETTINGS {
            let default = get(&Limits::default());
            let row = format!("| `{name}` | {default} | {min}–{max} | {meaning} | {beyond} |");
            assert!(readme.contains(&row), "README.md lacks: {row}");
        }
    }

    #[test]
    fn every_limit_is_set_within_its_range_and_nowhere_else() {
        for LimitSetting { name, min, max, get, .. } in SETTINGS {
            let mut limits = Limits::default();
            assert!((*min..=*max).contains(&get(&limits)), "{name}: its default is out of its range");
            for value in [*min, *max] {
                limits.set(name, value).unwrap();
                assert_eq!(get(&limits), value, "{name}");
            }
            for value in [min.wrapping_sub(1), max + 1] {
                assert!(matches!(limits.set(name, value), Err(LimitError::OutOfRange { .. })), "{name} {value}");
                assert_eq!(get(&limits), *max, "{name}");
            }
        }
        assert_eq!(Limits::default().set("speed", 1), Err(LimitError::Unknown("speed".to_owned())));
    }
}
