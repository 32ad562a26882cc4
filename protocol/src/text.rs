//! Texts and numbers with a limit, checked on deserialisation.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use unicode_segmentation::UnicodeSegmentation as _;

use crate::limits::{
    CONVERSATION_PAGE_MAX, CURSOR_MAX_CHARS, EMOJI_MAX_BYTES, FILE_NAME_MAX_CHARS, HISTORY_PAGE_MAX, TEXT_MAX_CHARS,
    TITLE_MAX_CHARS,
};

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $range:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
        pub struct $name(String);

        impl $name {
            /// Checks the length.
            pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
                let text = text.into();
                let (min, max) = $range;
                // A char is at most four bytes: most texts need no counting.
                let chars = if text.len() <= max { text.len() } else { text.chars().count() };
                if text.is_empty() && min > 0 || chars > max {
                    return Err(TextError { min, max });
                }
                Ok(Self(text))
            }

            /// The text within.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

/// The text is shorter or longer than its limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {min} to {max} characters")]
pub struct TextError {
    /// Fewest characters.
    pub min: usize,
    /// Most characters.
    pub max: usize,
}

bounded_text! {
    /// The text of a message: 1–4,096 characters (Unicode scalar values).
    MessageText, (1, TEXT_MAX_CHARS)
}
bounded_text! {
    /// The title of a conversation: 1–200 characters.
    Title, (1, TITLE_MAX_CHARS)
}
bounded_text! {
    /// An opaque cursor, as a page's answer gave it.
    Cursor, (1, CURSOR_MAX_CHARS)
}

bounded_text! {
    /// The name of a file: 1–255 characters.
    FileName, (1, FILE_NAME_MAX_CHARS)
}

/// An emoji of a reaction: exactly one grapheme, which may be several characters (S1.8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Emoji(String);

/// The text is no emoji of a reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one grapheme of at most {EMOJI_MAX_BYTES} bytes that can be seen")]
pub struct EmojiError;

impl Emoji {
    /// Checks that it is one grapheme and that there is something to see.
    pub fn new(text: impl Into<String>) -> Result<Self, EmojiError> {
        let text = text.into();
        let is_one = text.len() <= EMOJI_MAX_BYTES && text.graphemes(true).count() == 1;
        if !is_one || text.chars().all(|c| c.is_whitespace() || c.is_control()) {
            return Err(EmojiError);
        }
        Ok(Self(text))
    }

    /// The text within.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Deref for Emoji {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Emoji {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

macro_rules! page_limit {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub struct $name(u32);

        impl $name {
            /// `None` outside the limits.
            pub fn new(limit: u32) -> Option<Self> {
                (1..=$max).contains(&limit).then_some(Self(limit))
            }

            /// The number within.
            pub fn get(self) -> u32 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(crate::limits::PAGE_DEFAULT)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let limit = u32::deserialize(deserializer)?;
                Self::new(limit).ok_or_else(|| D::Error::custom(format!("expected a number from 1 to {}", $max)))
            }
        }
    };
}

page_limit! {
    /// Size of a page of `message:history` and of `sync`: 1–100.
    HistoryLimit, HISTORY_PAGE_MAX
}
page_limit! {
    /// Size of a page of `conversation:list`: 1–100.
    ConversationLimit, CONVERSATION_PAGE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_text_boundaries() {
        assert!(MessageText::new("x").is_ok());
        assert!(MessageText::new("ä".repeat(4_096)).is_ok());
        assert!(MessageText::new("x".repeat(4_097)).is_err());
        assert!(MessageText::new("ä".repeat(4_097)).is_err());
        assert!(MessageText::new("").is_err());
    }

    #[test]
    fn an_emoji_is_one_grapheme() {
        for one in ["👍", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "e\u{301}", "x"] {
            assert!(Emoji::new(one).is_ok(), "{one:?}");
        }
        let long = format!("e{}", "\u{301}".repeat(32));
        for other in ["", "👍👍", "ab", " ", "\n", "\u{7}", &long] {
            assert_eq!(Emoji::new(other), Err(EmojiError), "{other:?}");
        }
    }

    #[test]
    fn page_boundaries() {
        assert_eq!(serde_json::from_str::<HistoryLimit>("100").unwrap().get(), 100);
        for bad in ["0", "101", "-1", "1.5", "\"5\"", "null"] {
            assert!(serde_json::from_str::<HistoryLimit>(bad).is_err(), "{bad}");
        }
    }
}
