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
        let at: jiff::Timestamp = text.parse().map_err(|_| NotATime)?;
        let millis = at.as_millisecond();
        if RANGE_MS.contains(&millis) { Ok(Self(millis)) } else { Err(NotATime) }
    }
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
