//! The circuit breaker: after some failures in a row nobody asks the store for a while, then a few probes find out whether it is back.

use core::time::Duration;
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use crate::{
    lock::lock,
    observe::{Metric, names},
};

/// When a breaker opens, and how it closes again.
///
/// An outage is made longer by `reset_timeout` at most, and a store that is down is asked `half_open_max_calls` times in
/// each: so it is short by default.
///
/// ```
/// use core::time::Duration;
/// use session_native::resilience::BreakerPolicy;
///
/// let tolerant = BreakerPolicy { failure_threshold: 20, ..BreakerPolicy::default() };
/// assert_eq!(tolerant.reset_timeout, Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// How many operations in a row must fail until the breaker opens: 5 by default. Zero is taken for one.
    pub failure_threshold: u32,
    /// For how long an open breaker lets nobody through: 1 s by default.
    pub reset_timeout: Duration,
    /// How many probes a half-open breaker lets through, and how many must succeed until it closes: 1 by default. Zero is taken for one.
    pub half_open_max_calls: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failure_threshold: 5, reset_timeout: Duration::from_secs(1), half_open_max_calls: 1 }
    }
}

impl BreakerPolicy {
    /// Never opens.
    #[must_use]
    pub fn never() -> Self {
        Self { failure_threshold: u32::MAX, ..Self::default() }
    }
}

/// What a [`CircuitBreaker`] does with the next operation.
///
/// ```text
///            failure_threshold failures in a row
///   Closed ---------------------------------------> Open
///     ^                                            |    ^
///     | half_open_max_calls      reset_timeout has |    | a probe failed
///     | probes succeeded                    passed v    |
///     +----------------------------------------- HalfOpen
/// ```
///
/// ```
/// use session_native::{MemoryStore, Resilient, resilience::BreakerState};
///
/// assert_eq!(Resilient::new(MemoryStore::new()).breaker().state(), BreakerState::Closed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets it through.
    Closed,
    /// Fails it at once.
    Open,
    /// Lets it through as a probe, unless all probes are under way.
    HalfOpen,
}

/// The breaker of a [`Resilient`](super::Resilient) store, for those who want to know how it stands.
///
/// Only a store that can't be used opens it. "There is no such session", a conflict, a full store: that are answers.
///
/// ```
/// use session_native::{MemoryStore, Resilient};
///
/// let store = Resilient::new(MemoryStore::new());
/// assert_eq!(store.breaker().failures(), 0);
/// assert_eq!(store.breaker().time_until_retry(), None);
/// ```
pub struct CircuitBreaker {
    policy: BreakerPolicy,
    inner: Mutex<Inner>,
    opened: Metric,
    half_opened: Metric,
}

struct Inner {
    phase: Phase,
    /// Counts the phases: what was begun in an earlier one says nothing about this one.
    generation: u64,
    /// In a row.
    failures: u32,
    last_failure: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    HalfOpen {
        /// Probes that are under way or have succeeded.
        admitted: u32,
        succeeded: u32,
        /// When every probe that is under way should long have ended.
        lease_until: Instant,
    },
}

impl Inner {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }
}

/// The right to one operation. Its end is to be reported; dropping it (a request was cancelled) gives a probe's place back.
#[must_use]
pub(super) struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    generation: u64,
    reported: bool,
}

impl CircuitBreaker {
    pub(super) fn new(policy: BreakerPolicy, store: &'static str) -> Self {
        let inner = Inner { phase: Phase::Closed, generation: 0, failures: 0, last_failure: None };
        let [opened, half_opened] =
            [names::BREAKER_OPEN, names::BREAKER_HALF_OPEN].map(|name| Metric::new(name, store));
        Self { policy, inner: Mutex::new(inner), opened, half_opened }
    }

    /// Forgets all failures and lets everyone through.
    pub fn reset(&self) {
        let mut inner = self.lock();
        inner.failures = 0;
        inner.enter(Phase::Closed);
    }

    /// How it stands. An open one whose time has passed is half-open: the next operation is a probe.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.lock().phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } if Instant::now() < until => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How many operations have failed since the last that succeeded.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.lock().failures
    }

    /// How long ago an operation last failed; `None` if none ever did.
    #[must_use]
    pub fn since_last_failure(&self) -> Option<Duration> {
        self.lock().last_failure.map(|at| at.elapsed())
    }

    /// In what time an operation may be let through; `None` if the next one is.
    #[must_use]
    pub fn time_until_retry(&self) -> Option<Duration> {
        let wait = match self.lock().phase {
            Phase::Closed => Duration::ZERO,
            Phase::Open { until } => until.saturating_duration_since(Instant::now()),
            Phase::HalfOpen { admitted, .. } if admitted < self.probes() => Duration::ZERO,
            Phase::HalfOpen { lease_until, .. } => lease_until.saturating_duration_since(Instant::now()),
        };
        (!wait.is_zero()).then_some(wait)
    }

    /// What it was made with.
    #[must_use]
    pub const fn policy(&self) -> BreakerPolicy {
        self.policy
    }

    /// Lets an operation through that takes `lease` at most, or says when to come again.
    ///
    /// A probe that isn't reported within its lease, and isn't dropped either (nobody polls it), must not keep its place for ever: then
    /// others probe, and what it reports at last counts for nothing.
    pub(super) fn admit(&self, lease: Duration) -> Result<Permit<'_>, Duration> {
        let now = Instant::now();
        let until = |span: Duration| now.checked_add(span).unwrap_or(now + FAR);
        let mut inner = self.lock();
        let first_probe = Phase::HalfOpen { admitted: 1, succeeded: 0, lease_until: until(lease) };
        let mut half_opened = false;
        match &mut inner.phase {
            Phase::Closed => {}
            Phase::Open { until } if now < *until => return Err(*until - now),
            Phase::Open { .. } => {
                inner.enter(first_probe);
                half_opened = true;
            }
            Phase::HalfOpen { admitted, lease_until, .. } if *admitted < self.probes() => {
                *admitted += 1;
                *lease_until = until(lease).max(*lease_until);
            }
            Phase::HalfOpen { lease_until, .. } if now < *lease_until => return Err(*lease_until - now),
            Phase::HalfOpen { .. } => inner.enter(first_probe),
        }
        let generation = inner.generation;
        drop(inner);
        if half_opened {
            self.half_opened.count();
        }
        Ok(Permit { breaker: self, generation, reported: false })
    }

    fn succeeded(&self, generation: u64) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        match &mut inner.phase {
            Phase::Closed => inner.failures = 0,
            // Nothing of an open phase was let through.
            Phase::Open { .. } => {}
            Phase::HalfOpen { succeeded, .. } => {
                *succeeded += 1;
                if *succeeded == self.probes() {
                    inner.failures = 0;
                    inner.enter(Phase::Closed);
                    drop(inner);
                    tracing::info!("the session store is back: the circuit breaker is closed");
                }
            }
        }
    }

    fn failed(&self, generation: u64) {
        let now = Instant::now();
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        inner.last_failure = Some(now);
        inner.failures = inner.failures.saturating_add(1);
        if matches!(inner.phase, Phase::Closed) && inner.failures < self.policy.failure_threshold {
            return;
        }
        let until = now.checked_add(self.policy.reset_timeout).unwrap_or(now + FAR);
        inner.enter(Phase::Open { until });
        let failures = inner.failures;
        drop(inner);
        self.opened.count();
        tracing::warn!(failures, "the session store is not available: the circuit breaker is open");
    }

    fn abandoned(&self, generation: u64) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        if let Phase::HalfOpen { admitted, .. } = &mut inner.phase {
            *admitted -= 1;
        }
    }

    fn probes(&self) -> u32 {
        self.policy.half_open_max_calls.max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held.
        lock(&self.inner)
    }
}

/// Instead of a time beyond what an `Instant` can hold.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Permit<'_> {
    /// Whether the breaker still stands as when it let this operation through.
    pub(super) fn is_current(&self) -> bool {
        self.breaker.lock().generation == self.generation
    }

    /// Reports how the operation ended.
    pub(super) fn report(mut self, succeeded: bool) {
        self.reported = true;
        if succeeded {
            self.breaker.succeeded(self.generation);
        } else {
            self.breaker.failed(self.generation);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.breaker.abandoned(self.generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LEASE: Duration = Duration::from_secs(2);
    const RESET: Duration = Duration::from_secs(30);

    /// With the seed's values.
    fn breaker(probes: u32) -> CircuitBreaker {
        let policy =
            BreakerPolicy { failure_threshold: 5, reset_timeout: RESET, half_open_max_calls: probes };
        CircuitBreaker::new(policy, "test")
    }

    fn run(breaker: &CircuitBreaker, succeeds: bool) {
        breaker.admit(LEASE).ok().unwrap().report(succeeds);
    }

    fn opened(probes: u32) -> CircuitBreaker {
        let breaker = breaker(probes);
        (0..5).for_each(|_| run(&breaker, false));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    async fn half_open(probes: u32) -> CircuitBreaker {
        let breaker = opened(probes);
        advance(RESET).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker
    }

    fn refused(breaker: &CircuitBreaker) -> Option<Duration> {
        breaker.admit(LEASE).err()
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_in_a_row_open_it() {
        let breaker = breaker(1);
        for _ in 0..10 {
            (0..4).for_each(|_| run(&breaker, false));
            assert_eq!(breaker.failures(), 4);
            run(&breaker, true);
            assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Closed, 0));
        }
        (0..5).for_each(|_| run(&breaker, false));
        assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Open, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_one_says_when_to_come_again() {
        let breaker = opened(1);
        assert_eq!(refused(&breaker), Some(RESET));
        assert_eq!(breaker.time_until_retry(), Some(RESET));
        advance(RESET - Duration::from_millis(1)).await;
        assert_eq!(refused(&breaker), Some(Duration::from_millis(1)));
        assert_eq!(breaker.since_last_failure(), Some(RESET - Duration::from_millis(1)));
        advance(Duration::from_millis(1)).await;
        assert_eq!(breaker.time_until_retry(), None);
        run(&breaker, true);
        assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Closed, 0));
    }

    // The seed lets one more through.
    #[tokio::test(start_paused = true)]
    async fn no_more_probes_than_allowed() {
        for probes in [1, 3] {
            let breaker = half_open(probes).await;
            let under_way: Vec<_> = (0..probes).map(|_| breaker.admit(LEASE).ok().unwrap()).collect();
            assert_eq!(refused(&breaker), Some(LEASE), "{probes}");
            for probe in under_way {
                assert_eq!(breaker.state(), BreakerState::HalfOpen);
                assert!(refused(&breaker).is_some(), "a probe that succeeded makes no room for another");
                probe.report(true);
            }
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_failed_probe_opens_it_again() {
        let breaker = half_open(3).await;
        let [first, second, third] = [(); 3].map(|()| breaker.admit(LEASE).ok().unwrap());
        first.report(true);
        second.report(false);
        assert_eq!(refused(&breaker), Some(RESET));
        third.report(true);
        assert_eq!(refused(&breaker), Some(RESET));
        assert_eq!(breaker.failures(), 6);
    }

    // The seed closes on it.
    #[tokio::test(start_paused = true)]
    async fn a_late_success_counts_for_nothing() {
        let breaker = breaker(1);
        let slow = breaker.admit(LEASE).ok().unwrap();
        let slower = breaker.admit(LEASE).ok().unwrap();
        (0..5).for_each(|_| run(&breaker, false));
        slow.report(true);
        assert_eq!(breaker.state(), BreakerState::Open);
        advance(RESET).await;
        let probe = breaker.admit(LEASE).ok().unwrap();
        slower.report(true);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(refused(&breaker).is_some());
        probe.report(true);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_failure_counts_for_nothing() {
        let breaker = breaker(1);
        let late: Vec<_> = (0..9).map(|_| breaker.admit(LEASE).ok().unwrap()).collect();
        (0..5).for_each(|_| run(&breaker, false));
        advance(RESET).await;
        run(&breaker, true);
        late.into_iter().for_each(|permit| permit.report(false));
        assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Closed, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_probe_gives_its_place_back() {
        let breaker = half_open(1).await;
        for _ in 0..10 {
            let probe = breaker.admit(LEASE).ok().unwrap();
            assert!(refused(&breaker).is_some());
            drop(probe);
        }
        run(&breaker, true);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    // The seed stays half-open for ever.
    #[tokio::test(start_paused = true)]
    async fn a_hung_probe_does_not_stick_it_half_open() {
        let breaker = half_open(1).await;
        let hung = breaker.admit(LEASE).ok().unwrap();
        advance(LEASE - Duration::from_millis(1)).await;
        assert_eq!(refused(&breaker), Some(Duration::from_millis(1)));
        advance(Duration::from_millis(1)).await;
        let next = breaker.admit(LEASE).ok().unwrap();
        drop(hung);
        assert!(refused(&breaker).is_some(), "the hung probe's place was given away before");
        next.report(true);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_operations_say_nothing_about_a_closed_one() {
        let breaker = breaker(1);
        (0..100).for_each(|_| drop(breaker.admit(LEASE)));
        assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Closed, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn reset_lets_everyone_through() {
        let breaker = opened(1);
        let since = breaker.since_last_failure();
        breaker.reset();
        assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Closed, 0));
        assert_eq!((breaker.time_until_retry(), breaker.since_last_failure()), (None, since));
        run(&breaker, true);
    }

    #[tokio::test(start_paused = true)]
    async fn values_without_sense_are_taken_for_the_nearest_with() {
        let policy =
            BreakerPolicy { failure_threshold: 0, reset_timeout: Duration::MAX, half_open_max_calls: 0 };
        let breaker = CircuitBreaker::new(policy, "test");
        run(&breaker, false);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(refused(&breaker) >= Some(FAR));
        advance(FAR).await;
        run(&breaker, true);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_opens_never_does() {
        let breaker = CircuitBreaker::new(BreakerPolicy::never(), "test");
        (0..10_000).for_each(|_| run(&breaker, false));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
