//! Times in JSON, as Crystal's `Time` writes and reads them.

use alloc::string::{String, ToString as _};
use core::fmt;

use ::time::{OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::well_known::Iso8601};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Timestamp;

/// A point in time with the offset it was written in: whole seconds, `Z` for UTC, else `+hh:mm`. What is read is ISO 8601: week dates,
/// fractions and missing seconds too.
///
/// ```
/// use session_core::{Timestamp, interop::crystal::Time};
///
/// let time: Time = serde_json::from_str("\"2026-01-02T03:04:05+05:30\"")?;
/// assert_eq!(time.timestamp(), Timestamp::from_millis(1_767_303_245_000));
/// assert_eq!(time.to_string(), "2026-01-02T03:04:05+05:30");
/// assert_eq!(Time::from(time.timestamp()).to_string(), "2026-01-01T21:34:05Z");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    at: OffsetDateTime,
    /// Whether the zone is UTC itself: others with its offset are written `+00:00`.
    utc: bool,
}

impl Time {
    /// The same point in time; that of the epoch if it lies before.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        let millis = self.at.unix_timestamp_nanos() / 1_000_000;
        Timestamp::from_millis(u64::try_from(millis.max(0)).unwrap_or(u64::MAX))
    }
}

/// In UTC. What is later than the year 9999 becomes its end.
impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        let seconds = i64::try_from(timestamp.as_millis() / 1000).unwrap_or(i64::MAX);
        let latest = PrimitiveDateTime::MAX.assume_utc();
        Self { at: OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(latest), utc: true }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.at.to_calendar_date();
        let (hour, minute, second) = self.at.to_hms();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}", u8::from(month))?;
        if self.utc {
            return f.write_str("Z");
        }
        let (hours, minutes, _) = self.at.offset().as_hms();
        let sign = if self.at.offset().is_negative() { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", hours.unsigned_abs(), minutes.unsigned_abs())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = OffsetDateTime::parse(&text, &Iso8601::DEFAULT)
            .map_err(|_| de::Error::custom("not a time in ISO 8601"))?;
        // What RFC 3339 has no words for can't be written again.
        let (hours, _, seconds) = at.offset().as_hms();
        if !(0..=9999).contains(&at.year()) || hours.unsigned_abs() > 23 || seconds != 0 {
            return Err(de::Error::custom("not a time of RFC 3339"));
        }
        Ok(Self { at, utc: text.ends_with('Z') && at.offset() == UtcOffset::UTC })
    }
}
