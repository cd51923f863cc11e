//! How often, and after which pauses, a failed try is repeated.

use core::time::Duration;

use session_core::Random;

/// When to try again: exponential backoff with jitter.
///
/// Before the n-th retry there is a pause of at most `base_delay * backoff_multiplier^(n-1)`, and at most `max_delay`. By default all of it
/// is random ("full jitter"): clients that failed together don't come back together.
///
/// ```
/// use core::time::Duration;
/// use session_native::resilience::RetryPolicy;
///
/// let patient = RetryPolicy { max_attempts: 5, ..RetryPolicy::default() };
/// assert_eq!(patient.longest_delay(1), Duration::from_millis(20));
/// assert_eq!(patient.longest_delay(3), Duration::from_millis(80));
/// assert_eq!(patient.longest_delay(9), Duration::from_millis(300));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all, the first included: 3 by default. Zero is taken for one.
    pub max_attempts: u32,
    /// The longest pause before the first retry: 20 ms by default.
    pub base_delay: Duration,
    /// The longest pause of all: 300 ms by default.
    pub max_delay: Duration,
    /// What the pauses grow by: 2 by default. Less than 1 is taken for 1.
    pub backoff_multiplier: f64,
    /// Which part of a pause is random: 1 (all of it) by default. With 0.1 a pause is between 90 % and 100 % of its longest.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_delay: Duration::from_millis(20),
            max_delay: Duration::from_millis(300),
            backoff_multiplier: 2.0,
            jitter: 1.0,
        }
    }
}

impl RetryPolicy {
    /// One try, whatever comes of it.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// The longest pause after so many failed tries.
    #[must_use]
    pub fn longest_delay(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let growth = self.backoff_multiplier.max(1.0).powi(exponent);
        at_most(self.max_delay, self.base_delay.as_secs_f64() * growth)
    }

    /// A pause after so many failed tries.
    ///
    /// If the random source fails, the pause is the longest: the store is asked later, not less safely.
    pub fn delay(&self, failures: u32, random: &dyn Random) -> Duration {
        let mut dice = [0; 4];
        let shorter = match random.fill(&mut dice) {
            Ok(()) => f64::from(u32::from_le_bytes(dice)) / f64::from(u32::MAX),
            Err(_) => 0.0,
        };
        let longest = self.longest_delay(failures);
        at_most(longest, longest.as_secs_f64() * (1.0 - self.jitter.clamp(0.0, 1.0) * shorter))
    }

    /// The pause before the next try, or `None` after the last.
    pub(super) fn pause(&self, failures: u32, random: &dyn Random) -> Option<Duration> {
        (failures < self.max_attempts).then(|| self.delay(failures, random))
    }
}

/// So many seconds, or `most`: also instead of what no `Duration` can hold, and of what is not a number.
fn at_most(most: Duration, seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(most, |duration| duration.min(most))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use session_core::{OsRandom, RandomError};

    use super::*;

    /// Always the same.
    struct Loaded([u8; 4]);

    impl Random for Loaded {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
            buffer.copy_from_slice(&self.0);
            Ok(())
        }
    }

    struct Broken;

    impl Random for Broken {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
            buffer.fill(0xff);
            Err(RandomError)
        }
    }

    proptest! {
        #[test]
        fn a_pause_is_within_its_bounds(
            base in 0_u64..10_000, max in 0_u64..10_000, multiplier in 0.0..8.0_f64, jitter in 0.0..=1.0_f64,
            failures in 0_u32..200, dice: [u8; 4],
        ) {
            let (base_delay, max_delay) = (Duration::from_millis(base), Duration::from_millis(max));
            let policy =
                RetryPolicy { max_attempts: 3, base_delay, max_delay, backoff_multiplier: multiplier, jitter };
            let longest = policy.longest_delay(failures);
            prop_assert!(longest <= max_delay);
            prop_assert!(longest >= base_delay.min(max_delay));
            prop_assert!(longest <= policy.longest_delay(failures + 1));
            let delay = policy.delay(failures, &Loaded(dice));
            prop_assert!(delay <= longest);
            // A nanosecond for rounding.
            prop_assert!(delay + Duration::from_nanos(1) >= longest.mul_f64(1.0 - jitter));
        }

        #[test]
        fn no_policy_panics(
            base: u64, max: u64, multiplier: f64, jitter: f64, failures: u32, dice: [u8; 4],
        ) {
            let policy = RetryPolicy {
                max_attempts: 0,
                base_delay: Duration::from_secs(base),
                max_delay: Duration::from_secs(max),
                backoff_multiplier: multiplier,
                jitter,
            };
            prop_assert!(policy.delay(failures, &Loaded(dice)) <= policy.max_delay);
        }
    }

    #[test]
    fn full_jitter_uses_the_whole_range() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(1, &Loaded([0; 4])), policy.base_delay);
        assert_eq!(policy.delay(1, &Loaded([0xff; 4])), Duration::ZERO);
        let delays: Vec<_> = (0..1000).map(|_| policy.delay(9, &OsRandom)).collect();
        let tenth = policy.max_delay / 10;
        for part in 0..10 {
            let range = tenth * part..tenth * (part + 1);
            let within = delays.iter().filter(|delay| range.contains(delay)).count();
            // 100 are expected; fewer than 40 come once in 10^10 runs.
            assert!(within >= 40, "{within} of 1000 in {range:?}");
        }
    }

    #[test]
    fn without_randomness_the_pause_is_the_longest() {
        assert_eq!(RetryPolicy::default().delay(2, &Broken), Duration::from_millis(40));
    }

    #[test]
    fn the_seeds_values_give_the_seeds_pauses() {
        let (base_delay, max_delay) = (Duration::from_millis(100), Duration::from_secs(5));
        let policy = RetryPolicy { base_delay, max_delay, jitter: 0.1, ..RetryPolicy::default() };
        let longest: Vec<_> = (1..=7).map(|failures| policy.longest_delay(failures).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(policy.delay(1, &Loaded([0xff; 4])), Duration::from_millis(90));
        assert_eq!(policy.pause(2, &Broken), Some(Duration::from_millis(200)));
        assert_eq!(policy.pause(3, &Broken), None);
    }

    #[test]
    fn there_is_no_pause_after_a_single_try() {
        assert_eq!(RetryPolicy::never().pause(1, &Broken), None);
        assert_eq!(RetryPolicy { max_attempts: 0, ..RetryPolicy::default() }.pause(1, &Broken), None);
    }
}
