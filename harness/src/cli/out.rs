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
