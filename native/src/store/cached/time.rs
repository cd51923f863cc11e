//! The cache's time. Reading it is most of what a hit costs beside the hit itself.

use core::time::Duration;
use std::sync::Arc;

use session_core::Timestamp;

use super::protocol::Moment;
use crate::clock::{Clock, SystemClock};

/// Where the time comes from.
pub(super) enum Time {
    System,
    /// A clock that was given: tests set it.
    Given(Arc<dyn Clock>),
}

impl Time {
    /// The time of day, by which records expire.
    pub(super) fn of_day(&self) -> Timestamp {
        match self {
            Self::System => SystemClock.now(),
            Self::Given(clock) => clock.now(),
        }
    }

    /// The time that leases are measured by.
    pub(super) fn exact(&self) -> Moment {
        match self {
            Self::System => system::exact(),
            Self::Given(clock) => nanos(clock.monotonic()),
        }
    }

    /// Never ahead of [`Time::exact`], and behind it by a tick of the system (1 to 10 ms) at most: a third of the cost. Whoever relies on it allows
    /// for [`MOST_LAG`] or more.
    #[inline]
    pub(super) fn coarse(&self) -> Moment {
        match self {
            Self::System => system::coarse(),
            Self::Given(clock) => nanos(clock.monotonic()),
        }
    }
}

/// Ten of the slowest ticks: a machine whose processors are withheld from it may miss some before it notices (Linux does after five).
pub(super) const MOST_LAG: u64 = 100_000_000;

/// Five centuries are for ever.
pub(super) fn nanos(duration: Duration) -> Moment {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Linux keeps the time of its last tick where it is read with a few instructions, without asking the hardware. It is the very clock that
/// [`Instant`](std::time::Instant) reads, so the two never drift apart.
#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, clock_gettime};

    use super::Moment;

    pub(super) fn exact() -> Moment {
        read(ClockId::Monotonic)
    }

    #[inline]
    pub(super) fn coarse() -> Moment {
        read(ClockId::MonotonicCoarse)
    }

    #[inline]
    fn read(clock: ClockId) -> Moment {
        let time = clock_gettime(clock);
        // Since the machine was started: neither is negative.
        (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
    }
}

/// Other systems have no such clock, or one that drifts.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Clock as _, Moment, SystemClock, nanos};

    pub(super) fn exact() -> Moment {
        nanos(SystemClock.monotonic())
    }

    pub(super) fn coarse() -> Moment {
        exact()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_time_is_never_ahead() {
        for _ in 0..10_000 {
            let coarse = Time::System.coarse();
            assert!(coarse <= Time::System.exact());
        }
    }
}
