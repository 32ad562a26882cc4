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
