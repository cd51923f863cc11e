//! The clock: a narrow seam, so that tests can set the time.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{
    sync::{Arc, LazyLock},
    time::{Instant, SystemTime},
};

use session_core::Timestamp;

/// Tells the time.
///
/// ```
/// use session_native::{Clock, SystemClock};
///
/// assert!(SystemClock.now().as_millis() > 1_700_000_000_000);
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How long ago some fixed moment was; it never runs backwards, whatever is done to the time of day. Leases are measured by it.
    fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}

/// The operating system's clock.
///
/// ```
/// use session_native::{Clock, SystemClock};
///
/// assert!(SystemClock.now() <= SystemClock.now());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock that stands before 1970 is treated as standing at 1970: every session has then not yet expired.
        SystemTime::now().into()
    }
}

/// A clock that stands until it is moved: for tests. Clones share the time.
///
/// ```
/// use core::time::Duration;
/// use session_native::{Clock, ManualClock};
///
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(before), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl Default for ManualClock {
    /// Stands at some time in 2023.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1_700_000_000_000)))
    }
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}
