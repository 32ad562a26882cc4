//! Durations as scenario files and flags write them: `10ms`, `1.5s`, `16 min`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A length of time as people write it: a number and one of `us`, `ms`, `s`, `min`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub Duration);

/// The longest period that is taken: a century. A longer one is a slip of the hand.
const LONGEST_SECS: f64 = 100.0 * 365.25 * 86_400.0;

/// The units, each with its length in seconds.
const UNITS: &[(&str, f64)] =
    &[("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3_600.0), ("d", 86_400.0)];

/// Why a text is not a period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// A number without a unit.
    #[error("`{0}` has no unit: write `{0}ms`, `{0}s` or `{0} min`")]
    NoUnit(String),
    /// `m` could be minutes or milliseconds.
    #[error("`m` could be minutes or milliseconds: write `min` or `ms`")]
    Ambiguous,
    /// Not a unit.
    #[error("`{0}` is not a unit of time: write `us`, `ms`, `s`, `min`, `h` or `d`")]
    Unit(String),
    /// No number in front.
    #[error("`{0}` is not a duration")]
    Number(String),
    /// Longer than a century.
    #[error("longer than a century")]
    TooLong,
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = (&text[..end], text[end..].trim());
        let Ok(value) = number.parse::<f64>() else {
            return Err(PeriodError::Number(text.to_owned()));
        };
        if unit.is_empty() {
            return Err(PeriodError::NoUnit(number.to_owned()));
        }
        if unit == "m" {
            return Err(PeriodError::Ambiguous);
        }
        let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(PeriodError::Unit(unit.to_owned()));
        };
        let secs = value * length;
        if !secs.is_finite() || secs > LONGEST_SECS {
            return Err(PeriodError::TooLong);
        }
        Ok(Self(Duration::from_secs_f64(secs)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short(self.0))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A duration for people: three figures and a unit, such as `0.42 ms`, `12.3 ms`, `1.50 s`, `16 min`.
pub fn human(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    let figures = |value: f64, unit: &str| {
        let digits = if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        format!("{value:.digits$} {unit}")
    };
    if secs < 0.999_5 {
        figures(secs * 1e3, "ms")
    } else if secs < 60.0 {
        figures(secs, "s")
    } else if secs < 3_600.0 {
        whole_or_one_digit(secs / 60.0, "min")
    } else if secs < 86_400.0 {
        whole_or_one_digit(secs / 3_600.0, "h")
    } else {
        whole_or_one_digit(secs / 86_400.0, "d")
    }
}

/// Like [`human`] without zeros that say nothing: `10 ms` and not `10.0 ms`. For limits people wrote.
pub fn short(duration: Duration) -> String {
    let text = human(duration);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

fn whole_or_one_digit(value: f64, unit: &str) -> String {
    if (value - value.round()).abs() < 0.05 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, micros) in [
            ("10ms", 10_000),
            ("1.5s", 1_500_000),
            ("16 min", 960_000_000),
            ("2h", 7_200_000_000),
            ("1 d", 86_400_000_000),
            (" 250us ", 250),
            ("0s", 0),
        ] {
            assert_eq!(text.parse::<Period>().unwrap().0, Duration::from_micros(micros), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, said) in [
            ("100", "`100` has no unit: write `100ms`, `100s` or `100 min`"),
            ("5m", "`m` could be minutes or milliseconds: write `min` or `ms`"),
            ("5 parsecs", "`parsecs` is not a unit of time: write `us`, `ms`, `s`, `min`, `h` or `d`"),
            ("soon", "`soon` is not a duration"),
            ("-5s", "`-5s` is not a duration"),
            ("", "`` is not a duration"),
            ("1.2.3s", "`1.2.3s` is not a duration"),
            ("999999999d", "longer than a century"),
        ] {
            assert_eq!(text.parse::<Period>().unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn prints_three_figures() {
        for (micros, text) in [
            (0, "0.00 ms"),
            (420, "0.42 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (1_500_000, "1.50 s"),
            (960_000_000, "16 min"),
            (5_400_000_000, "1.5 h"),
        ] {
            assert_eq!(human(Duration::from_micros(micros)), text);
        }
        for (micros, text) in [(10_000, "10 ms"), (1_500_000, "1.5 s"), (100_000, "100 ms"), (0, "0 ms")] {
            assert_eq!(short(Duration::from_micros(micros)), text);
        }
    }
}
