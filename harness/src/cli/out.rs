//! The way to the terminal. A reader that went away (`| head`) ends the output, not the program.

use std::io::{self, Write};

use ackscope_harness::report::paint::{Paint, Tone};
use serde::Serialize;

/// Writes text to standard output.
pub(crate) fn text(text: &str) {
    let mut stdout = io::stdout().lock();
    // Nobody is left to be told when standard output is gone.
    let (Ok(()) | Err(_)) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// A text out of a file that somebody else may have made: it can colour a terminal and nothing more. Signs that move
/// the cursor, name the window or turn the direction of writing are replaced.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        // A colour: ESC [ digits and semicolons m
        if let Some(code) = rest.strip_prefix("\x1b[") {
            let end = code.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(code.len());
            if code[end..].starts_with('m') {
                let length = "\x1b[".len() + end + 1;
                out.push_str(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
        }
        let is_direction = matches!(sign, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        out.push(if (sign.is_control() && sign != '\n') || is_direction { '\u{fffd}' } else { sign });
        rest = &rest[sign.len_utf8()..];
    }
    out
}

/// Writes a line to standard output.
pub(crate) fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// Writes one JSON object to standard output, in one line.
pub(crate) fn json(object: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(object)?);
    Ok(())
}

/// Writes a line to standard error: progress and other things that are not the result.
pub(crate) fn note(line: &str) {
    let mut stderr = io::stderr().lock();
    let (Ok(()) | Err(_)) = writeln!(stderr, "{line}");
}

/// Writes an error to standard error.
pub(crate) fn error(sentence: &str) {
    let paint = Paint::for_stream(&io::stderr());
    note(&format!("{} {sentence}", paint.paint(Tone::Bad, "error:")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_can_colour_a_terminal_and_nothing_more() {
        for plain in ["", "Grüße\nzweite Zeile 😀", "\x1b[1;31mred\x1b[0m"] {
            assert_eq!(harmless(plain), plain);
        }
        assert_eq!(harmless("\x1b[2Jgone"), "\u{fffd}[2Jgone");
        assert_eq!(harmless("\x1b]0;title\x07"), "\u{fffd}]0;title\u{fffd}");
        assert_eq!(harmless("\x1b["), "\u{fffd}[");
        assert_eq!(harmless("a\rb\u{9b}c\u{202e}d"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
    }
}
