//! Points in time as the wire carries them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::Parsed;

/// A point in business time: milliseconds since the Unix epoch, written as RFC 3339 UTC with milliseconds
/// (`2026-01-31T12:00:00.000Z`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The earliest and latest milliseconds a timestamp can hold: the years 0001 to 9998, which RFC 3339 can write
/// in every time zone.
const RANGE_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_370_764_799_999;

impl Timestamp {
    /// The latest point in time: what "for good" is written as.
    pub const MAX: Self = Self(*RANGE_MS.end());

    /// Clamps to the years 0001 to 9998.
    pub const fn from_millis(millis: i64) -> Self {
        // `Ord::clamp` is not const.
        if millis < *RANGE_MS.start() {
            Self(*RANGE_MS.start())
        } else if millis > *RANGE_MS.end() {
            Self(*RANGE_MS.end())
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` is before it.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            // Not reachable: the range is checked on every way in.
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The text is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 time such as 2026-01-31T12:00:00.000Z")]
pub struct NotATime;

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        if let Some(millis) = own_form(text.as_bytes()) {
            return Ok(Self(millis));
        }
        let at: jiff::Timestamp = text.parse().map_err(|_| NotATime)?;
        let millis = at.as_millisecond();
        if RANGE_MS.contains(&millis) { Ok(Self(millis)) } else { Err(NotATime) }
    }
}

/// Milliseconds of a time as we write it ourselves, `2026-01-31T12:00:00.000Z` of the years 1970 to 9000. Traces have
/// several in each event; whatever else is a time is read the long way.
fn own_form(text: &[u8]) -> Option<i64> {
    let [year @ .., b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'.', f1, f2, f3, b'Z'] =
        text
    else {
        return None;
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let year = if year.len() == 4 { number(year)? } else { return None };
    let (month, day) = (number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*n1, *n2])?, number(&[*s1, *s2])?);
    let millis = number(&[*f1, *f2, *f3])?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    // Leap seconds go the long way.
    let is_time = (1_970..=9_000).contains(&year) && (1..=last_day).contains(&day);
    if !is_time || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days of whole years, with the year beginning in March so that the leap day is its last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + millis)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_milliseconds_in_utc_and_reads_them_back() {
        let at = Timestamp::from_millis(1_769_860_800_007);
        assert_eq!(at.to_string(), "2026-01-31T12:00:00.007Z");
        assert_eq!(at.to_string().parse(), Ok(at));
        assert_eq!(serde_json::from_str::<Timestamp>("\"2026-01-31T13:00:00.007+01:00\"").unwrap(), at);
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_short_way_reads_what_the_long_one_does() {
        // A prime number of milliseconds: every month, leap years, the ends of days.
        for step in 0..20_000_i64 {
            let at = Timestamp::from_millis(step * 11_000_000_003);
            let text = at.to_string();
            assert_eq!(own_form(text.as_bytes()), Some(at.as_millis()), "{text}");
        }
        for (text, is_short) in [
            ("2000-02-29T23:59:59.999Z", true),
            ("2024-02-29T00:00:00.000Z", true),
            ("2100-02-29T00:00:00.000Z", false),
            ("2023-02-29T00:00:00.000Z", false),
            ("2026-04-31T00:00:00.000Z", false),
            ("2026-13-01T00:00:00.000Z", false),
            ("2026-00-01T00:00:00.000Z", false),
            ("2026-01-00T00:00:00.000Z", false),
            ("2026-01-01T24:00:00.000Z", false),
            ("2026-01-01T00:60:00.000Z", false),
            ("2026-01-01T00:00:60.000Z", false),
            ("2026-01-01T00:00:00.00Z", false),
            ("2026-01-01T00:00:00.000z", false),
            ("12026-01-01T00:00:00.000Z", false),
            ("1969-12-31T23:59:59.999Z", false),
            ("2026-01-01T00:00:00.000+", false),
            ("202x-01-01T00:00:00.000Z", false),
        ] {
            assert_eq!(own_form(text.as_bytes()).is_some(), is_short, "{text}");
            if is_short {
                let at: jiff::Timestamp = text.parse().unwrap();
                assert_eq!(own_form(text.as_bytes()), Some(at.as_millisecond()), "{text}");
            }
        }
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for bad in ["\"\"", "\"yesterday\"", "1769860800007", "null", "{\"$ne\":null}"] {
            assert!(serde_json::from_str::<Timestamp>(bad).is_err(), "{bad}");
        }
        for edge in [i64::MIN, i64::MAX] {
            let at = Timestamp::from_millis(edge);
            assert_eq!(at.to_string().parse(), Ok(at));
        }
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9998-12-31T23:59:59.999Z");
    }
}
