//! Writes markup so that nobody's text can become part of it.
//!
//! **Invariant:** only text that stands in this program's source is written as it is, which its type says
//! (`&'static str`). Everything else is escaped on its way in.

use std::fmt::{self, Display, Write};

use crate::report::put;

/// A piece of HTML that grows.
#[derive(Debug, Default)]
pub(super) struct Markup {
    html: String,
}

impl Markup {
    /// Markup of our own, as it is.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.html.push_str(markup);
        self
    }

    /// Text between tags, escaped.
    pub(super) fn text(&mut self, text: &(impl Display + ?Sized)) -> &mut Self {
        // The escaper never fails, and a value that refuses to be printed has nothing to say.
        let (Ok(()) | Err(_)) = write!(Escaper(&mut self.html), "{text}");
        self
    }

    /// Text that people wrote, escaped and kept apart from the direction of the text around it.
    pub(super) fn words(&mut self, text: &(impl Display + ?Sized)) -> &mut Self {
        self.raw("<bdi>").text(text).raw("</bdi>")
    }

    /// An attribute with an escaped value, and the space before it.
    pub(super) fn attr(&mut self, name: &'static str, value: &(impl Display + ?Sized)) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// What was written.
    pub(super) fn into_string(self) -> String {
        self.html
    }
}

struct Escaper<'a>(&'a mut String);

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            escape(character, self.0);
        }
        Ok(())
    }
}

/// Safe between tags and within a quoted attribute. What cannot be seen but changes how the rest is read is shown.
fn escape(character: char, to: &mut String) {
    match character {
        '&' => to.push_str("&amp;"),
        '<' => to.push_str("&lt;"),
        '>' => to.push_str("&gt;"),
        '"' => to.push_str("&quot;"),
        '\'' => to.push_str("&#39;"),
        '\n' | '\t' => to.push(character),
        // Unicode has a picture for each of these.
        '\0'..='\u{1f}' => to.push(char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}')),
        '\u{7f}' => to.push('\u{2421}'),
        '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => to.push('\u{fffd}'),
        // Embeddings, overrides and isolates reverse what stands behind them: a report must not be read backwards.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            put(to, format_args!("⟨U+{:04X}⟩", u32::from(character)));
        }
        _ => to.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut markup = Markup::default();
        markup.text(text);
        markup.into_string()
    }

    #[test]
    fn nothing_leaves_its_place() {
        assert_eq!(escaped("<script>alert('x')</script>"), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
        assert_eq!(escaped("\" onload=\"x"), "&quot; onload=&quot;x");
        assert_eq!(escaped("&lt;"), "&amp;lt;");
        assert_eq!(escaped("<!-- ]]>"), "&lt;!-- ]]&gt;");
        assert_eq!(escaped("Grüße, שלום, 👩‍👩‍👧"), "Grüße, שלום, 👩‍👩‍👧");
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(escaped("a\0b\u{1b}[31m\r\n\tc\u{7f}\u{85}\u{ffff}"), "a␀b␛[31m␍\n\tc␡\u{fffd}\u{fffd}");
        assert_eq!(escaped("user\u{202e}gpj.exe\u{202c}"), "user⟨U+202E⟩gpj.exe⟨U+202C⟩");
        // A mark without an extent is part of how people write.
        assert_eq!(escaped("\u{200f}שלום!\u{200f}"), "\u{200f}שלום!\u{200f}");
    }

    #[test]
    fn an_attribute_is_quoted_and_words_are_kept_apart() {
        let mut markup = Markup::default();
        markup.raw("<i").attr("title", "\"><b>").raw(">").words("<u>").raw("</i>");
        assert_eq!(markup.into_string(), "<i title=\"&quot;&gt;&lt;b&gt;\"><bdi>&lt;u&gt;</bdi></i>");
    }
}
