//! Figures as people read them.

/// A length of time given in microseconds, with three figures that matter: `0.84 ms`, `12.3 ms`, `104 ms`, `2.31 s`.
pub fn duration(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    match us {
        0..10_000 => format!("{ms:.2} ms"),
        10_000..100_000 => format!("{ms:.1} ms"),
        100_000..1_000_000 => format!("{ms:.0} ms"),
        1_000_000..10_000_000 => format!("{:.2} s", ms / 1_000.0),
        10_000_000..60_000_000 => format!("{:.1} s", ms / 1_000.0),
        _ => {
            let secs = us / 1_000_000;
            if secs < 3_600 {
                format!("{} min {:02} s", secs / 60, secs % 60)
            } else {
                format!("{} h {:02} min", secs / 3_600, secs / 60 % 60)
            }
        }
    }
}

/// A count with its noun, and separators from a thousand on: `1 message`, `12,345 messages`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// A whole number with separators.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A label for an axis that has a line every `step_us` microseconds.
pub fn tick(us: f64, step_us: f64) -> String {
    if us.abs() < 0.5 {
        return "0".to_owned();
    }
    if step_us < 1_000.0 {
        format!("{:.1} ms", us / 1_000.0)
    } else if us.abs() < 1_000_000.0 {
        format!("{:.0} ms", us / 1_000.0)
    } else if step_us < 1_000_000.0 {
        format!("{:.2} s", us / 1_000_000.0)
    } else {
        format!("{:.0} s", us / 1_000_000.0)
    }
}

/// One line of at most `max_chars` characters.
pub fn one_line(text: &str, max_chars: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars + 1).collect();
    if line.chars().count() > max_chars {
        line = line.chars().take(max_chars.saturating_sub(1)).collect();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_figures() {
        let shown: Vec<String> =
            [0, 840, 9_999, 12_345, 104_000, 2_310_000, 12_300_000, 61_000_000, 7_260_000_000].map(duration).into();
        assert_eq!(
            shown,
            ["0.00 ms", "0.84 ms", "10.00 ms", "12.3 ms", "104 ms", "2.31 s", "12.3 s", "1 min 01 s", "2 h 01 min"]
        );
    }

    #[test]
    fn counts_have_separators_and_the_right_noun() {
        assert_eq!(count(1, "message", "messages"), "1 message");
        assert_eq!(count(0, "message", "messages"), "0 messages");
        assert_eq!(count(1_234_567, "event", "events"), "1,234,567 events");
        assert_eq!(thousands(999), "999");
    }

    #[test]
    fn a_line_is_cut_by_characters() {
        assert_eq!(one_line("a\nb", 10), "a b");
        assert_eq!(one_line("äöüä", 3), "äö…");
        assert_eq!(one_line("äöü", 3), "äöü");
    }
}
