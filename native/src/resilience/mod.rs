//! A store that fails now and then, made to fail briefly and clearly.
//!
//! [`Resilient`] wraps any [`Store`]: every try has a time limit and the whole operation a deadline; what fails for want of an answer is
//! tried again after a random pause; and when the store is plainly gone, a [circuit breaker](CircuitBreaker) answers in its place
//! at once, until a probe finds it again.
//!
//! ```
//! use core::time::Duration;
//! use session_native::{Config, MemoryStore, OsRandom, Resilient, Secret, Sessions};
//! use session_native::resilience::{BreakerPolicy, RetryPolicy};
//!
//! let config = Config::production(Secret::generate(&OsRandom)?);
//! let sessions = Sessions::<(), _>::new(config.clone(), Resilient::new(MemoryStore::new()))?;
//!
//! // Or with other values than the defaults:
//! let store = Resilient::new(MemoryStore::new())
//!     .command_timeout(Duration::from_millis(200))
//!     .deadline(Duration::from_secs(1))
//!     .retry(RetryPolicy { max_attempts: 2, ..RetryPolicy::default() })
//!     .circuit_breaker(BreakerPolicy { failure_threshold: 10, ..BreakerPolicy::default() });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod breaker;
mod deadline;
mod retry;

use core::{
    fmt,
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use std::sync::Arc;

pub use breaker::{BreakerPolicy, BreakerState, CircuitBreaker};
use deadline::Deadline;
pub use retry::RetryPolicy;
use session_core::{Key, OsRandom, Random, SubjectTag, Version};

use crate::{
    observe::{Metric, names},
    store::{Batch, Found, Lookup, Query, Record, Saved, Store, StoreError},
};

/// A store with deadlines, retries and a circuit breaker.
///
/// Everything is safe to try again: the version of a record tells a save, or a creation, that was done already from one that wasn't. Tried again is
/// what failed for want of an answer ([`StoreError::is_unavailable`]); a store that is full, and a session that isn't there, are
/// answers. Two answers may differ after a retry: a deletion whose first answer was lost says that there was nothing to delete, and a
/// subject's epoch may have moved on twice. And a save whose first answer was lost, and which others have built upon since, or might have,
/// is an error after all: nobody can say whether it was done, and to do it again could count twice.
///
/// | | default |
/// |---|---|
/// | [`command_timeout`](Self::command_timeout): each try | 500 ms |
/// | [`deadline`](Self::deadline): the operation with all tries and pauses | 1.5 s |
/// | [`bulk_timeout`](Self::bulk_timeout): `len` and `clear`, which may walk through the whole store | 60 s |
/// | [`retry`](Self::retry) | 3 tries, pauses of at most 20 ms, 40 ms, … 300 ms |
/// | [`circuit_breaker`](Self::circuit_breaker) | opens after 5 failed operations, for 1 s; 1 probe |
///
/// The breaker counts operations, not tries: a connection that is lost and found again within the retries opens nothing. `len` and
/// `clear` are for operators, and pass it by.
///
/// It composes with a store's own time limits, spawns nothing, and holds no lock while it waits. An operation that is dropped counts
/// for nothing.
///
/// # Panics
/// Its operations do outside of a tokio runtime with time enabled.
///
/// See the [module](self) for an example.
pub struct Resilient<S> {
    store: S,
    command_timeout: Duration,
    deadline: Duration,
    bulk_timeout: Duration,
    retry: RetryPolicy,
    breaker: CircuitBreaker,
    random: Arc<dyn Random>,
    retried: Metric,
}

impl<S: Store> Resilient<S> {
    /// Wraps a store, with the defaults.
    pub fn new(store: S) -> Self {
        Self {
            store,
            command_timeout: Duration::from_millis(500),
            deadline: Duration::from_millis(1500),
            bulk_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            breaker: CircuitBreaker::new(BreakerPolicy::default(), S::NAME),
            random: Arc::new(OsRandom),
            retried: Metric::new(names::RETRY_ATTEMPT, S::NAME),
        }
    }

    /// How long a try may take: 500 ms by default.
    #[must_use]
    pub const fn command_timeout(mut self, most: Duration) -> Self {
        self.command_timeout = most;
        self
    }

    /// How long an operation may take with all its tries and pauses: 1.5 s by default. So long a request may wait for its session.
    #[must_use]
    pub const fn deadline(mut self, most: Duration) -> Self {
        self.deadline = most;
        self
    }

    /// How long [`Query::len`] and [`Query::clear`] may take: 60 s by default.
    #[must_use]
    pub const fn bulk_timeout(mut self, most: Duration) -> Self {
        self.bulk_timeout = most;
        self
    }

    /// When to try again. [`RetryPolicy::never`] switches retries off.
    #[must_use]
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// When to stop asking. [`BreakerPolicy::never`] switches the breaker off.
    #[must_use]
    pub fn circuit_breaker(mut self, policy: BreakerPolicy) -> Self {
        self.breaker = CircuitBreaker::new(policy, S::NAME);
        self
    }

    /// What the pauses are drawn from: the operating system's random source by default.
    #[must_use]
    pub fn random(mut self, random: impl Random + 'static) -> Self {
        self.random = Arc::new(random);
        self
    }
}

impl<S> Resilient<S> {
    /// The breaker: how it stands, and [`CircuitBreaker::reset`].
    #[must_use]
    pub const fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// The store that is wrapped.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.store
    }

    /// An operation of one request.
    async fn run<R, F: Future<Output = Result<R, StoreError>>>(
        &self,
        operation: impl Fn() -> F,
    ) -> Result<R, StoreError> {
        let permit = self
            .breaker
            .admit(self.deadline.saturating_mul(2))
            .map_err(|retry_after| StoreError::CircuitOpen { retry_after })?;
        // Once the breaker has opened, nobody adds to the load; not those who were let through before, either.
        let may_retry = || permit.is_current();
        let result = self.attempts(self.command_timeout, self.deadline, operation, may_retry).await;
        permit.report(!matches!(&result, Err(error) if error.is_unavailable()));
        result
    }

    /// An operation of an operator, on the whole store.
    async fn run_bulk<R, F: Future<Output = Result<R, StoreError>>>(
        &self,
        operation: impl Fn() -> F,
    ) -> Result<R, StoreError> {
        self.attempts(self.bulk_timeout, self.bulk_timeout, operation, || true).await
    }

    /// What a request can do without: tried once, because it is asked for again anyway, and no word on the store's health.
    async fn once<R>(&self, command: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
        Deadline::after(self.command_timeout).bound(self.command_timeout, command).await
    }

    async fn attempts<R, F: Future<Output = Result<R, StoreError>>>(
        &self,
        each: Duration,
        all: Duration,
        operation: impl Fn() -> F,
        may_retry: impl Fn() -> bool,
    ) -> Result<R, StoreError> {
        let deadline = Deadline::after(all);
        let mut failures = 0;
        loop {
            let error = match deadline.bound(each, operation()).await {
                Err(error) if error.is_unavailable() => error,
                answer => return answer,
            };
            failures += 1;
            let Some(pause) = self.retry.pause(failures, &*self.random) else { return Err(error) };
            // The store may know when it will be back.
            let pause = pause.max(error.retry_after().unwrap_or_default());
            if pause >= deadline.remaining() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            if !may_retry() {
                return Err(error);
            }
            self.retried.count();
        }
    }
}

impl<S: Store> Store for Resilient<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;
    const NAME: &'static str = S::NAME;
    const REMEMBERED_SAVES: u64 = S::REMEMBERED_SAVES;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.run(|| self.store.create(key, record)).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.run(|| self.store.load(key, lookup)).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        let tries = AtomicU32::new(0);
        let saved = self.run(|| {
            tries.fetch_add(1, Ordering::Relaxed);
            self.store.save(key, record, expected)
        });
        let remembered = record.version.counter.saturating_add(S::REMEMBERED_SAVES);
        match saved.await? {
            // An earlier try may have been done, and have been built upon since: whoever were told of a conflict would do it a second time.
            Saved::Conflict(theirs) if tries.into_inner() > 1 && theirs.version.counter > remembered => {
                Err(StoreError::unavailable(
                    "a save was not answered, and others came after it: it is not known whether it was done",
                ))
            }
            saved => Ok(saved),
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.run(|| self.store.delete(key)).await
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.run(|| self.store.epoch(subject)).await
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        self.once(self.store.lease(key, holder, ttl)).await
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        self.once(self.store.release(key, holder)).await
    }
}

impl<S: Query> Query for Resilient<S> {
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        self.run(|| self.store.scan(cursor)).await
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        self.run(|| self.store.by_subject(subject)).await
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.run(|| self.store.revoke_subject(subject)).await
    }

    async fn len(&self) -> Result<u64, StoreError> {
        self.run_bulk(|| self.store.len()).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.run_bulk(|| self.store.clear()).await
    }
}

/// Shows how its breaker stands.
impl<S: Store> fmt::Debug for Resilient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("store", &S::NAME)
            .field("breaker", &self.breaker.state())
            .finish_non_exhaustive()
    }
}
