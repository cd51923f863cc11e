//! Points in time and the two timeouts of a session.
//!
//! Nothing here reads a clock: every function that needs "now" takes it, so tests need no clock either.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// A point in time: milliseconds since the Unix epoch.
///
/// ```
/// use core::time::Duration;
/// use session_core::Timestamp;
///
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let later = now + Duration::from_secs(60);
/// assert_eq!(later.since(now), Duration::from_secs(60));
/// assert_eq!(now.since(later), Duration::ZERO); // saturates
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest point in time that can be told.
    pub const MAX: Self = Self(u64::MAX);

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long `earlier` lies back; zero when it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`]; a fraction of a millisecond is cut off.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Of the system's clock. A time before 1970 is taken for the beginning of 1970, and one beyond [`Timestamp::MAX`] for that; a fraction of a
/// millisecond is cut off.
///
/// ```
/// use session_core::Timestamp;
/// use std::time::{Duration, SystemTime};
///
/// let soon = SystemTime::UNIX_EPOCH + Duration::from_micros(1_500);
/// assert_eq!(Timestamp::from(soon), Timestamp::from_millis(1));
/// assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), Timestamp::default());
/// ```
#[cfg(feature = "std")]
impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        // One before 1970 is an error.
        Self::default() + time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// For the date crates, which take the system's time. Where that doesn't go as far ([`Timestamp::MAX`] lies 585 million years ahead), it is the end of
/// the year 9999.
///
/// ```
/// use session_core::Timestamp;
/// use std::time::{Duration, SystemTime};
///
/// let time = SystemTime::from(Timestamp::from_millis(1_700_000_000_000));
/// assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
/// ```
#[cfg(feature = "std")]
impl From<Timestamp> for std::time::SystemTime {
    fn from(time: Timestamp) -> Self {
        /// Every platform's clock goes that far.
        const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

        let since = Duration::from_millis(time.0);
        Self::UNIX_EPOCH.checked_add(since).unwrap_or_else(|| Self::UNIX_EPOCH + YEAR_9999)
    }
}

/// When sessions end: after `idle` without a request, and after `absolute` in any case.
///
/// Sources: OWASP Session Management Cheat Sheet ("Session Expiration"), ASVS 5.0 rows 7.3.1 and 7.3.2.
///
/// A *sliding* session is extended by requests, but never past its absolute end. To spare writes it is extended only
/// when at least a tenth of `idle` has passed since the last time, so a session may end up to `idle / 10` sooner after its
/// last request than `idle` says, and never later. A session that does not slide ends `idle` after it began.
///
/// ```
/// use core::time::Duration;
/// use session_core::{Expiry, Timestamp};
///
/// let expiry = Expiry::new(Duration::from_secs(3600), Duration::from_secs(86_400))?;
/// let start = Timestamp::from_millis(0);
/// let end = expiry.absolute_end(start);
/// assert_eq!(expiry.expires_at(start, end), start + Duration::from_secs(3600));
/// // Close to the absolute end, that end wins.
/// assert_eq!(expiry.expires_at(Timestamp::from_millis(86_000_000), end), end);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    idle: Duration,
    absolute: Duration,
    sliding: bool,
}

impl Expiry {
    /// The longest absolute timeout: 400 days, the longest life a browser grants a cookie (RFC 6265bis §5.5).
    pub const LONGEST: Duration = Duration::from_secs(400 * 86_400);

    /// A sliding policy.
    ///
    /// # Errors
    /// [`ConfigError::Timeouts`] unless 1 s ≤ `idle` ≤ `absolute` ≤ [`Expiry::LONGEST`].
    pub fn new(idle: Duration, absolute: Duration) -> Result<Self, ConfigError> {
        if idle < Duration::from_secs(1) || idle > absolute || absolute > Self::LONGEST {
            return Err(ConfigError::Timeouts);
        }
        Ok(Self { idle, absolute, sliding: true })
    }

    /// Of timeouts that are known to be in order.
    pub(crate) const fn of_preset(idle: Duration, absolute: Duration) -> Self {
        Self { idle, absolute, sliding: true }
    }

    /// Whether requests extend a session.
    #[must_use]
    pub const fn sliding(mut self, sliding: bool) -> Self {
        self.sliding = sliding;
        self
    }

    /// The idle timeout.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// The absolute timeout.
    #[must_use]
    pub const fn absolute(&self) -> Duration {
        self.absolute
    }

    /// Whether requests extend a session.
    #[must_use]
    pub const fn is_sliding(&self) -> bool {
        self.sliding
    }

    /// When a session that began at `created_at` ends at the latest.
    #[must_use]
    pub fn absolute_end(&self, created_at: Timestamp) -> Timestamp {
        created_at + self.absolute
    }

    /// When a session that was used at `now` expires.
    #[must_use]
    pub fn expires_at(&self, now: Timestamp, absolute_end: Timestamp) -> Timestamp {
        (now + self.idle).min(absolute_end)
    }

    /// The new expiry of a session that is used at `now`, if extending it is due: when the policy slides, the session is
    /// alive, and the extension would gain at least a tenth of the idle timeout (or reach the absolute end).
    #[must_use]
    pub fn extension(
        &self,
        now: Timestamp,
        expires_at: Timestamp,
        absolute_end: Timestamp,
    ) -> Option<Timestamp> {
        if !self.sliding || now >= expires_at {
            return None;
        }
        let extended = self.expires_at(now, absolute_end);
        self.is_worth_telling(expires_at, extended, absolute_end).then_some(extended)
    }

    /// Whether an end that moved on is worth a write, to the store or to the client: when it gained at least a tenth of the idle timeout, or
    /// is the absolute end, the last there will be.
    pub(crate) fn is_worth_telling(
        &self,
        told: Timestamp,
        expires_at: Timestamp,
        absolute_end: Timestamp,
    ) -> bool {
        let gain = expires_at.since(told);
        gain >= self.idle / 10 || (expires_at == absolute_end && !gain.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_000_000);

    fn policy() -> Expiry {
        Expiry::new(Duration::from_secs(100), Duration::from_secs(250)).unwrap()
    }

    #[cfg(feature = "std")]
    #[test]
    fn the_systems_time_is_told_both_ways() {
        use std::time::SystemTime;

        for millis in [0, 1, 1_700_000_000_123, 253_402_300_799_999] {
            let time = SystemTime::from(Timestamp::from_millis(millis));
            assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
            assert_eq!(Timestamp::from(time), Timestamp::from_millis(millis));
            assert_eq!(Timestamp::from(time + Duration::from_nanos(999_999)), Timestamp::from_millis(millis));
        }
        for before in [Duration::from_nanos(1), Duration::from_secs(1 << 40)] {
            assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH - before), Timestamp::default());
        }
        // Wherever the platform's clock ends: there is no panic, and it is far.
        assert!(
            Timestamp::from(SystemTime::from(Timestamp::MAX)) >= Timestamp::from_millis(253_402_300_799_000)
        );
    }

    #[test]
    fn impossible_timeouts_are_refused() {
        let s = Duration::from_secs;
        for (idle, absolute) in
            [(s(0), s(1)), (Duration::from_millis(999), s(9)), (s(2), s(1)), (s(1), Expiry::LONGEST + s(1))]
        {
            assert_eq!(Expiry::new(idle, absolute), Err(ConfigError::Timeouts), "{idle:?} {absolute:?}");
        }
    }

    #[test]
    fn extension_is_throttled_to_a_tenth_of_idle() {
        let p = policy();
        let end = p.absolute_end(T0);
        let expires = p.expires_at(T0, end);
        assert_eq!(p.extension(T0 + Duration::from_millis(9_999), expires, end), None);
        let now = T0 + Duration::from_secs(10);
        assert_eq!(p.extension(now, expires, end), Some(now + Duration::from_secs(100)));
    }

    #[test]
    fn an_expired_session_is_never_extended() {
        let p = policy();
        let end = p.absolute_end(T0);
        let expires = p.expires_at(T0, end);
        assert_eq!(p.extension(expires, expires, end), None);
    }

    #[test]
    fn extension_stops_at_the_absolute_end() {
        let p = policy();
        let end = p.absolute_end(T0);
        let now = T0 + Duration::from_secs(200);
        assert_eq!(p.extension(now, now + Duration::from_secs(45), end), Some(end));
        assert_eq!(p.extension(now, end, end), None);
    }

    #[test]
    fn a_policy_that_does_not_slide_never_extends() {
        let p = policy().sliding(false);
        let end = p.absolute_end(T0);
        assert_eq!(p.extension(T0 + Duration::from_secs(50), p.expires_at(T0, end), end), None);
    }
}
