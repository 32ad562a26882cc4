//! Colours, only where somebody looks at them.

use std::io::IsTerminal;

/// What a piece of text means; the colour follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// Something beside the point.
    Faint,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Worth a look.
    Warn,
    /// The `pending` state.
    Pending,
    /// The `delivered` state.
    Delivered,
    /// The `persisted` state.
    Persisted,
    /// The `rejected` state.
    Rejected,
}

/// Paints text, or leaves it alone.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    colours: bool,
}

impl Paint {
    /// Never paints: files, pipes, tests.
    pub const OFF: Self = Self { colours: false };

    /// Paints when `stream` is a terminal and nobody asked for plain text (`NO_COLOR`, `TERM=dumb`).
    pub fn for_stream(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: stream.is_terminal() && !refused }
    }

    /// The text in its tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colours || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good | Tone::Persisted => "32",
            Tone::Bad | Tone::Rejected => "31",
            Tone::Warn | Tone::Pending => "33",
            Tone::Delivered => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paints_only_when_asked_to() {
        assert_eq!(Paint::OFF.paint(Tone::Bad, "x"), "x");
        assert_eq!(Paint { colours: true }.paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint { colours: true }.paint(Tone::Bad, ""), "");
        assert_eq!(Paint { colours: true }.paint(Tone::Plain, "x"), "x");
    }
}
