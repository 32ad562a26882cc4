//! Reading and writing packets: Socket.IO v5 inside Engine.IO v4, as text frames.
//!
//! A frame such as `42/chat,7["message:send",{…}]` is an Engine.IO message (`4`), a Socket.IO event (`2`), a
//! namespace, an id that asks for an answer, and a JSON array of the event's name and its arguments. The
//! service sends one argument, so the argument's text is cut out of the frame rather than parsed: whoever
//! wants the value parses it once, and whoever does not pays nothing.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A packet as it came, borrowed from its frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    /// Engine.IO: the transport is open.
    Open(Handshake),
    /// Engine.IO: the server closes the transport.
    Close,
    /// Engine.IO: to be answered with a pong that repeats the text.
    Ping(&'a str),
    /// Engine.IO: nothing to be done.
    Noop,
    /// The namespace is joined.
    Connected {
        /// Which.
        namespace: &'a str,
        /// The socket's id, for those who want it.
        payload: Payload<'a>,
    },
    /// Joining the namespace was refused.
    Refused {
        /// Which.
        namespace: &'a str,
        /// Why.
        payload: Payload<'a>,
    },
    /// The server sends this client away.
    Disconnected {
        /// From where.
        namespace: &'a str,
    },
    /// An event.
    Event {
        /// Where.
        namespace: &'a str,
        /// The event's name.
        name: Cow<'a, str>,
        /// Its argument.
        payload: Payload<'a>,
    },
    /// The answer of an event that asked for one.
    Answer {
        /// Where.
        namespace: &'a str,
        /// The id the event was sent with.
        id: u64,
        /// The answer.
        payload: Payload<'a>,
    },
}

/// The one argument of an event or an answer: JSON text that nobody has read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a>(&'a str);

impl<'a> Payload<'a> {
    /// Reads it. No argument reads as `null`; more than one is an error.
    pub fn parse<T: Deserialize<'a>>(self) -> Result<T, serde_json::Error> {
        serde_json::from_str(if self.0.is_empty() { "null" } else { self.0 })
    }

    /// The text as it came; empty when there was no argument.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// What the server says when the transport opens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Handshake {
    /// The transport's id.
    pub sid: String,
    /// Milliseconds between two pings of the server.
    #[serde(rename = "pingInterval")]
    pub ping_interval_ms: u64,
    /// Milliseconds the server waits for the pong.
    #[serde(rename = "pingTimeout")]
    pub ping_timeout_ms: u64,
    /// Largest frame the server takes, in bytes.
    #[serde(rename = "maxPayload")]
    pub max_payload_bytes: Option<u64>,
}

impl Handshake {
    /// How long a silent server is still taken to be alive.
    pub fn silence_limit(&self) -> Duration {
        // A server that names absurd figures must not overflow the timer.
        const MOST_MS: u64 = 24 * 60 * 60 * 1_000;
        Duration::from_millis(self.ping_interval_ms.saturating_add(self.ping_timeout_ms).min(MOST_MS))
    }
}

/// Why a frame is not a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The frame is empty.
    #[error("an empty frame")]
    Empty,
    /// The first character names no Engine.IO packet.
    #[error("`{0}` is no Engine.IO packet type")]
    EngineType(char),
    /// The second character names no Socket.IO packet.
    #[error("`{0}` is no Socket.IO packet type")]
    SocketType(char),
    /// The message ends after its first character.
    #[error("a message without a Socket.IO packet")]
    NoSocketPacket,
    /// Packets with attachments are not spoken here.
    #[error("a packet with binary attachments")]
    Attachments,
    /// A binary frame.
    #[error("a binary frame of {0} bytes")]
    Binary(usize),
    /// A namespace that does not end.
    #[error("a namespace without its comma")]
    Namespace,
    /// An id that is too large, or an answer without one.
    #[error("an answer without a usable id")]
    Id,
    /// An event or an answer whose body is not an array.
    #[error("a body that is not an array")]
    NotAnArray,
    /// An event whose first element is not a text.
    #[error("an event without a name")]
    NoName,
    /// The opening packet does not read.
    #[error("an opening packet that does not read: {0}")]
    Handshake(String),
}

impl<'a> Packet<'a> {
    /// Reads a text frame.
    pub fn read(frame: &'a str) -> Result<Self, Malformed> {
        let Some(kind) = frame.chars().next() else { return Err(Malformed::Empty) };
        let rest = &frame[kind.len_utf8()..];
        match kind {
            '0' => serde_json::from_str(rest).map(Self::Open).map_err(|error| Malformed::Handshake(error.to_string())),
            '1' => Ok(Self::Close),
            '2' => Ok(Self::Ping(rest)),
            '3' | '5' | '6' => Ok(Self::Noop),
            '4' => Self::read_message(rest),
            other => Err(Malformed::EngineType(other)),
        }
    }

    fn read_message(message: &'a str) -> Result<Self, Malformed> {
        let Some(kind) = message.chars().next() else { return Err(Malformed::NoSocketPacket) };
        let (namespace, rest) = read_namespace(&message[kind.len_utf8()..])?;
        match kind {
            '0' => Ok(Self::Connected { namespace, payload: Payload(rest) }),
            '1' => Ok(Self::Disconnected { namespace }),
            '2' => {
                let (_, body) = read_id(rest)?;
                let (name, payload) = read_event(body)?;
                Ok(Self::Event { namespace, name, payload })
            }
            '3' => {
                let (id, body) = read_id(rest)?;
                let id = id.ok_or(Malformed::Id)?;
                let payload = Payload(inside_array(body)?.trim());
                Ok(Self::Answer { namespace, id, payload })
            }
            '4' => Ok(Self::Refused { namespace, payload: Payload(rest) }),
            '5' | '6' => Err(Malformed::Attachments),
            other => Err(Malformed::SocketType(other)),
        }
    }
}

/// The namespace and what follows it. No namespace is the main one.
fn read_namespace(text: &str) -> Result<(&str, &str), Malformed> {
    if !text.starts_with('/') {
        return Ok(("/", text));
    }
    match text.find(',') {
        Some(comma) => Ok((&text[..comma], &text[comma + 1..])),
        // A packet without a body may leave the comma out.
        None if text.contains(['[', '{', '"']) => Err(Malformed::Namespace),
        None => Ok((text, "")),
    }
}

fn read_id(text: &str) -> Result<(Option<u64>, &str), Malformed> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok((None, text));
    }
    let id = text[..digits].parse().map_err(|_| Malformed::Id)?;
    Ok((Some(id), &text[digits..]))
}

fn inside_array(body: &str) -> Result<&str, Malformed> {
    body.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(Malformed::NotAnArray)
}

fn read_event(body: &str) -> Result<(Cow<'_, str>, Payload<'_>), Malformed> {
    let inside = inside_array(body)?.trim_start();
    let quoted = inside.strip_prefix('"').ok_or(Malformed::NoName)?;
    let end = quoted.find(['"', '\\']).ok_or(Malformed::NoName)?;
    let (name, rest) = if quoted.as_bytes().get(end) == Some(&b'"') {
        (Cow::Borrowed(&quoted[..end]), &quoted[end + 1..])
    } else {
        // A name with an escape in it: rare enough to be read the slow way.
        let mut names = serde_json::Deserializer::from_str(inside).into_iter::<String>();
        let name = names.next().and_then(Result::ok).ok_or(Malformed::NoName)?;
        (Cow::Owned(name), &inside[names.byte_offset()..])
    };
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Ok((name, Payload("")));
    }
    let argument = rest.strip_prefix(',').ok_or(Malformed::NotAnArray)?;
    Ok((name, Payload(argument.trim())))
}

/// The frame that joins a namespace.
pub(super) fn connect_frame(namespace: &str, auth: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(format!("40{namespace},{}", serde_json::to_string(auth)?))
}

/// The frame that leaves a namespace.
pub(super) fn disconnect_frame(namespace: &str) -> String {
    format!("41{namespace},")
}

/// The frame of an event; with an id it asks for an answer.
pub(super) fn event_frame<P: Serialize + ?Sized>(
    namespace: &str,
    id: Option<u64>,
    name: &str,
    payload: &P,
) -> Result<String, serde_json::Error> {
    use std::io::Write as _;
    let mut frame = Vec::with_capacity(256);
    match id {
        Some(id) => write!(frame, "42{namespace},{id}["),
        None => write!(frame, "42{namespace},["),
    }
    .map_err(serde_json::Error::io)?;
    serde_json::to_writer(&mut frame, name)?;
    frame.push(b',');
    serde_json::to_writer(&mut frame, payload)?;
    frame.push(b']');
    String::from_utf8(frame).map_err(serde::ser::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(frame: &str) -> (String, Value) {
        match Packet::read(frame).unwrap() {
            Packet::Event { name, payload, .. } => (name.into_owned(), payload.parse().unwrap()),
            other => panic!("{frame} read as {other:?}"),
        }
    }

    #[test]
    fn events_are_cut_into_name_and_argument() {
        assert_eq!(event(r#"42/chat,["message:ack",{"a":[1,2]}]"#), ("message:ack".into(), json!({ "a": [1, 2] })));
        assert_eq!(event(r#"42/chat,17["x",5]"#), ("x".into(), json!(5)));
        assert_eq!(event(r#"42["x"]"#), ("x".into(), Value::Null));
        assert_eq!(event(r#"42/chat,[ "x" , "]" ]"#), ("x".into(), json!("]")));
        assert_eq!(event(r#"42/chat,["q\"uo\u0041te",1]"#), ("q\"uoAte".into(), json!(1)));
    }

    #[test]
    fn what_is_written_reads_back() {
        let payload = json!({ "text": "a \"quoted\" ], [ ü 🚀 \u{2028}", "n": null });
        let frame = event_frame("/chat", Some(9), "message:send", &payload).unwrap();
        assert!(frame.starts_with("42/chat,9["), "{frame}");
        assert_eq!(event(&frame), ("message:send".into(), payload));
        assert_eq!(event(&event_frame("/chat", None, "a\"b", &1).unwrap()), ("a\"b".into(), json!(1)));
    }

    #[test]
    fn answers_carry_their_id() {
        let Packet::Answer { namespace, id, payload } = Packet::read(r#"43/chat,12[{"ok":true}]"#).unwrap() else {
            panic!("not an answer");
        };
        assert_eq!((namespace, id), ("/chat", 12));
        assert_eq!(payload.parse::<Value>().unwrap(), json!({ "ok": true }));
        assert!(matches!(Packet::read("43/chat,3[]").unwrap(), Packet::Answer { payload: Payload(""), .. }));
    }

    #[test]
    fn two_arguments_are_not_one() {
        let Packet::Event { payload, .. } = Packet::read(r#"42/chat,["x",1,2]"#).unwrap() else { panic!("no event") };
        assert!(payload.parse::<Value>().is_err());
    }

    #[test]
    fn the_life_of_a_connection() {
        let open = r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        let Packet::Open(handshake) = Packet::read(open).unwrap() else { panic!("not open") };
        assert_eq!(handshake.silence_limit(), Duration::from_secs(45));
        assert_eq!(Packet::read("1").unwrap(), Packet::Close);
        assert_eq!(Packet::read("2").unwrap(), Packet::Ping(""));
        assert_eq!(Packet::read("2probe").unwrap(), Packet::Ping("probe"));
        assert_eq!(Packet::read("41/chat,").unwrap(), Packet::Disconnected { namespace: "/chat" });
        assert_eq!(Packet::read("41/chat").unwrap(), Packet::Disconnected { namespace: "/chat" });
        assert_eq!(connect_frame("/chat", &json!({ "token": "t" })).unwrap(), r#"40/chat,{"token":"t"}"#);
        assert_eq!(disconnect_frame("/chat"), "41/chat,");
        assert!(matches!(
            Packet::read(r#"40/chat,{"sid":"x"}"#).unwrap(),
            Packet::Connected { namespace: "/chat", .. }
        ));
        assert!(matches!(Packet::read(r#"44/chat,{"message":"no"}"#).unwrap(), Packet::Refused { .. }));
    }

    #[test]
    fn absurd_ping_figures_do_not_overflow() {
        let open = format!(r#"0{{"sid":"s","pingInterval":{0},"pingTimeout":{0}}}"#, u64::MAX);
        let Packet::Open(handshake) = Packet::read(&open).unwrap() else { panic!("not open") };
        assert_eq!(handshake.silence_limit(), Duration::from_hours(24));
    }

    #[test]
    fn malformed_frames_are_named() {
        for (frame, problem) in [
            ("", Malformed::Empty),
            ("x", Malformed::EngineType('x')),
            ("ü2", Malformed::EngineType('ü')),
            ("4", Malformed::NoSocketPacket),
            ("4x", Malformed::SocketType('x')),
            ("4ü", Malformed::SocketType('ü')),
            ("451-/chat,[\"x\",{\"_placeholder\":true,\"num\":0}]", Malformed::Attachments),
            ("42/chat[\"x\"]", Malformed::Namespace),
            ("42/chat,", Malformed::NotAnArray),
            ("42/chat,{}", Malformed::NotAnArray),
            ("42/chat,[", Malformed::NotAnArray),
            ("42/chat,[]", Malformed::NoName),
            ("42/chat,[1,2]", Malformed::NoName),
            ("42/chat,[\"x]", Malformed::NoName),
            ("42/chat,[\"x\\]", Malformed::NoName),
            ("42/chat,[\"x\" 1]", Malformed::NotAnArray),
            ("43/chat,[1]", Malformed::Id),
            ("43/chat,99999999999999999999999[1]", Malformed::Id),
            ("43/chat,1", Malformed::NotAnArray),
        ] {
            assert_eq!(Packet::read(frame), Err(problem), "{frame:?}");
        }
        assert!(matches!(Packet::read("0{}"), Err(Malformed::Handshake(_))));
        assert!(matches!(Packet::read("0"), Err(Malformed::Handshake(_))));
    }
}
