//! Writes the little YAML that scenarios need: one step on one line.

use std::fmt::Write as _;

use ackscope_protocol::error::ErrorCode;
use serde_json::Value;

/// Longest comment in characters.
const COMMENT_MAX: usize = 400;
/// Words that YAML takes for something else.
const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// The fields of a step, in one line.
#[derive(Debug, Default)]
pub(super) struct Flow {
    fields: Vec<String>,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A field with a text.
    pub(super) fn word(&mut self, field: &str, text: &str) -> &mut Self {
        self.raw(field, &quoted(text))
    }

    /// A field with what needs no quotes.
    pub(super) fn raw(&mut self, field: &str, value: &str) -> &mut Self {
        self.fields.push(format!("{field}: {value}"));
        self
    }

    /// A field with a list of texts.
    pub(super) fn list<'a>(&mut self, field: &str, texts: impl IntoIterator<Item = &'a str>) -> &mut Self {
        let texts: Vec<_> = texts.into_iter().map(quoted).collect();
        self.raw(field, &format!("[{}]", texts.join(", ")))
    }

    /// A field with a reason code, if there is one.
    pub(super) fn code(&mut self, field: &str, code: Option<ErrorCode>) -> &mut Self {
        match code {
            Some(code) => self.raw(field, code.as_str()),
            None => self,
        }
    }

    /// A field with any JSON, in which `$(` is as it is meant.
    pub(super) fn json(&mut self, field: &str, value: &Value) -> &mut Self {
        let mut text = String::new();
        write_json(&mut text, value);
        self.raw(field, &text)
    }

    /// The step of this word with these fields.
    pub(super) fn step(&self, word: &str) -> String {
        format!("{word}: {{{}}}", self.fields.join(", "))
    }
}

fn write_json(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => text.push_str(&in_quotes(value)),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                write_json(text, item);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push('{');
            for (index, (field, value)) in fields.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                text.push_str(&in_quotes(field));
                text.push_str(": ");
                write_json(text, value);
            }
            text.push('}');
        }
        // Writing to a text cannot fail.
        plain => drop(write!(text, "{plain}")),
    }
}

/// A text as a scenario reads it back: `$(` is no variable.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { in_quotes(&text.replace("$(", "$$(")) }
}

fn in_quotes(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // What YAML takes for the end of a line, or does not take at all.
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                // Writing to a text cannot fail.
                write!(quoted, "\\u{:04x}", u32::from(letter)).ok();
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether YAML takes it as it is: not for the end of a line, and not for nothing at all.
fn is_plain(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// One line of a comment.
pub(super) fn comment(text: &str) -> String {
    let mut line: String =
        text.chars().take(COMMENT_MAX).map(|letter| if is_plain(letter) { letter } else { ' ' }).collect();
    if text.chars().nth(COMMENT_MAX).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;
    use crate::scenario::file::Step;

    use super::*;

    #[test]
    fn every_text_is_read_back_as_it_was() {
        let texts = [
            "plain",
            "two words",
            "true",
            "NULL",
            "7",
            "1.50",
            "-",
            "a: b",
            "# no comment",
            "\"quoted\" and 'single'",
            "back\\slash \\n",
            "line\nline\ttab\r\n",
            "$(name) $$(x) $$$(",
            "{a: [b]}",
            "👩‍👩‍👧 漢字",
            "*a &b !c",
            "\u{1}\u{7f}\u{85}\u{2028}\u{feff}\u{fffe}x",
            " space ",
            "---",
            "a #b",
        ];
        for text in texts {
            let step = Flow::new().word("as", "ana").word("to", "talk").word("text", text).step("send");
            let file = format!(
                "scenario: x\nusers: [ana, ben]\nsteps:\n  \
                 - create: {{as: ana, id: talk, kind: direct, with: [ben]}}\n  # {}\n  - {step}\n",
                comment(text)
            );
            let scenario = Scenario::read("x.yaml", &file).unwrap_or_else(|refusal| panic!("{text:?}: {refusal}"));
            let Step::Send(send) = &scenario.file.steps[1].value else { panic!("{file}") };
            assert_eq!(&*send.text.as_ref().unwrap().value.0, text);
        }
    }

    #[test]
    fn any_json_is_read_back_as_it_was() {
        let payload = serde_json::json!({
            "text": "a \"b\" $$(", "list": [1, -2.5, true, null, [], {}], "": {"x y": "\u{0}"}, "big": 18_446_744_073_709_551_615_u64,
        });
        let step = Flow::new().word("as", "ana").word("event", "sync").json("payload", &payload).step("request");
        let file = format!("scenario: x\nusers: [ana]\nsteps:\n  - {step}\n");
        let scenario = Scenario::read("x.yaml", &file).unwrap_or_else(|refusal| panic!("{refusal}"));
        let Step::Request(request) = &scenario.file.steps[0].value else { panic!("{file}") };
        let mut read = payload.clone();
        read["text"] = "a \"b\" $(".into();
        assert_eq!(request.payload.0, read);
    }
}
