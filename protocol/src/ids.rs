//! Ids. UUIDs except [`UserId`] and [`TempId`], which people and clients choose (S1.8).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::limits::{TEMP_ID_MAX_CHARS, USER_ID_MAX_CHARS};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 1–64 of `A-Za-z0-9_.-`.
    #[error("expected 1 to 64 of the characters A-Z a-z 0-9 _ . -")]
    UserId,
    /// Not 1–64 characters.
    #[error("expected 1 to 64 characters")]
    TempId,
    /// Not a UUID.
    #[error("expected a UUID such as 7d444840-9dc0-11d1-b245-5ffdce74fad2")]
    Uuid,
}

/// Reads what is written as a text, without a copy of the text: a trace has several of these in each event.
pub(crate) struct Parsed<T>(PhantomData<T>);

impl<T> Default for Parsed<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err($error) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parsed::default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

text_id! {
    /// Who somebody is: the `sub` of the token; 1–64 of `A-Za-z0-9_.-`.
    UserId,
    |text| (1..=USER_ID_MAX_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')),
    IdError::UserId
}

text_id! {
    /// The client's own name for a message, 1–64 characters; the end-to-end tracking key (S1.5).
    TempId,
    |text| !text.is_empty() && text.chars().count() <= TEMP_ID_MAX_CHARS,
    IdError::TempId
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID within.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                // Only the hyphenated form: one id has one spelling.
                if text.len() != 36 {
                    return Err(IdError::Uuid);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::Uuid)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parsed::default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

uuid_id! {
    /// A conversation.
    ConversationId
}
uuid_id! {
    /// A message.
    MessageId
}
uuid_id! {
    /// A media item.
    MediaId
}

/// Namespace of the ids this project derives (a random UUID, fixed for good: changing it forks every id).
const NAMESPACE: Uuid = Uuid::from_u128(0x5b0f_8a3e_4c1d_4d7a_9e21_7a60_c5d3_11f4);

/// Joins the parts so that no two lists of parts give the same bytes: each part is led by its length.
fn derive(kind: &str, parts: &[&[u8]]) -> Uuid {
    let mut bytes = Vec::with_capacity(160);
    for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &bytes)
}

impl MessageId {
    /// The id of what `sender` sends to `conversation` under `temp_id`.
    ///
    /// Sending again gives the same id on every node, with no store asked, which is what makes sending
    /// again safe (S1.5); a unique index in the store does the rest.
    pub fn derive(sender: &UserId, conversation: ConversationId, temp_id: &TempId) -> Self {
        Self(derive("message", &[sender.as_str().as_bytes(), conversation.0.as_bytes(), temp_id.as_str().as_bytes()]))
    }
}

impl MessageId {
    /// The id of the copy that `sender` makes of `origin` in `conversation` under `temp_id`: forwarding again
    /// gives the same ids, as sending again does.
    pub fn derive_forward(sender: &UserId, conversation: ConversationId, temp_id: &TempId, origin: Self) -> Self {
        let parts = [
            sender.as_str().as_bytes(),
            conversation.0.as_bytes(),
            temp_id.as_str().as_bytes(),
            origin.0.as_bytes().as_slice(),
        ];
        Self(derive("forward", &parts))
    }
}

impl ConversationId {
    /// The id of the one direct conversation of two people; the order they are named in does not matter (S1.2).
    pub fn derive_direct(one: &UserId, other: &UserId) -> Self {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        Self(derive("direct", &[first.as_str().as_bytes(), second.as_str().as_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    #[test]
    fn user_id_boundaries() {
        assert!("a".parse::<UserId>().is_ok());
        assert!("A-b_c.9".parse::<UserId>().is_ok());
        assert!("x".repeat(64).parse::<UserId>().is_ok());
        for bad in ["", &"x".repeat(65), "a b", "ä", "a/b", "a\0", "$ne"] {
            assert_eq!(bad.parse::<UserId>(), Err(IdError::UserId), "{bad:?}");
        }
    }

    #[test]
    fn temp_id_counts_characters_not_bytes() {
        assert!("ä".repeat(64).parse::<TempId>().is_ok());
        assert_eq!("ä".repeat(65).parse::<TempId>(), Err(IdError::TempId));
        assert_eq!("".parse::<TempId>(), Err(IdError::TempId));
    }

    #[test]
    fn an_id_of_the_wrong_shape_is_refused() {
        for bad in ["null", "1", "[]", "{\"$ne\":null}", "true", "\"7d4448409dc011d1b2455ffdce74fad2\""] {
            assert!(serde_json::from_str::<ConversationId>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_parts_give_the_same_message_id_and_others_another() {
        let conversation = ConversationId::from_uuid(Uuid::from_u128(7));
        let id = |sender: &str, temp: &str| MessageId::derive(&user(sender), conversation, &temp.parse().unwrap());
        assert_eq!(id("ana", "1"), id("ana", "1"));
        assert_ne!(id("ana", "1"), id("ben", "1"));
        assert_ne!(id("ana", "1"), id("ana", "2"));
        // The border between the parts counts.
        assert_ne!(derive("m", &[b"ab", b"c"]), derive("m", &[b"a", b"bc"]));
    }

    #[test]
    fn a_direct_conversation_is_the_same_from_both_sides() {
        let (ana, ben) = (user("ana"), user("ben"));
        assert_eq!(ConversationId::derive_direct(&ana, &ben), ConversationId::derive_direct(&ben, &ana));
    }
}
