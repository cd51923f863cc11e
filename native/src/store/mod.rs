//! Stores: where the records of sessions are kept.
//!
//! A store moves bytes; types, tokens and merging live above it. To write one, implement [`Store`] (and [`Query`] for listings and
//! "sign out everywhere"), and run the suite of the crate `session-conformance` over it.

#[cfg(feature = "cache")]
pub mod cached;
mod memory;
#[cfg(any(feature = "redis", feature = "cache"))]
mod message;
#[cfg(feature = "redis")]
mod redis;

use core::{fmt, future::Future, time::Duration};

pub use bytes::Bytes;
pub use memory::{MemoryStats, MemoryStore, MemoryStoreBuilder};
#[cfg(all(feature = "redis", feature = "cache"))]
pub use redis::RedisFeed;
#[cfg(feature = "redis")]
pub use redis::{RedisStats, RedisStore, RedisStoreBuilder};
use session_core::{Key, SubjectTag, Timestamp, Version};

/// A stored session, as a store sees it.
///
/// ```
/// use session_native::{Timestamp, Version, store::Record};
///
/// let record = Record::new(Version::default(), Timestamp::from_millis(1_000), "{}");
/// assert_eq!(record.subject, None);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Which save this is.
    pub version: Version,
    /// From when on the record must not be found any more.
    pub expires_at: Timestamp,
    /// Whom the session belongs to, for the index by subject.
    pub subject: Option<SubjectTag>,
    /// What is kept: opaque bytes. Cheap to clone.
    pub payload: Bytes,
}

/// Shows no payload: it may be plain text.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("expires_at", &self.expires_at)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl Record {
    /// A record without a subject.
    pub fn new(version: Version, expires_at: Timestamp, payload: impl Into<Bytes>) -> Self {
        Self { version, expires_at, subject: None, payload: payload.into() }
    }

    /// The same with a subject.
    #[must_use]
    pub fn of_subject(mut self, subject: Option<SubjectTag>) -> Self {
        self.subject = subject;
        self
    }
}

/// What a load is to do besides loading, in the same round trip.
///
/// ```
/// assert_eq!(session_native::store::Lookup::default().touch, None);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookup {
    /// Extends the record to this time, if it is there; never shortens it. Callers throttle it: at most once in a tenth of the idle timeout.
    pub touch: Option<Timestamp>,
    /// Reads the epoch of this subject too.
    pub subject: Option<SubjectTag>,
    /// How old the answer may be. A store without a cache is always up to date.
    pub freshness: Freshness,
}

/// How old an answer may be that a cache gives. Where there is no cache, every answer is up to date.
///
/// ```
/// use session_native::store::Freshness;
///
/// assert_eq!(Freshness::default(), Freshness::Cached);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// As old as the cache's lease allows: three seconds by default while a network is failing, one round trip otherwise.
    #[default]
    Cached,
    /// No older than this, nor than the lease.
    AtMost(Duration),
    /// Up to date: asks the store.
    Linearizable,
}

/// What a load found.
///
/// ```
/// use session_native::{Timestamp, Version, store::{Found, Record}};
///
/// let found = Found::new(Record::new(Version::default(), Timestamp::MAX, "{}"), 3);
/// assert_eq!(found.epoch, 3);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The record.
    pub record: Record,
    /// The current epoch of the subject that [`Lookup::subject`] named; zero if none was named.
    pub epoch: u64,
}

impl Found {
    /// A record and an epoch.
    #[must_use]
    pub const fn new(record: Record, epoch: u64) -> Self {
        Self { record, epoch }
    }
}

/// What a save did.
///
/// ```
/// use session_native::store::Saved;
///
/// assert!(matches!(Saved::Gone, Saved::Gone));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The record is stored.
    Stored,
    /// Another save came first; this is what it stored. Nothing was written.
    Conflict(Record),
    /// There is no such record: it was deleted, revoked or has expired. Nothing was written.
    Gone,
}

/// Keeps records. The contract, each point of which the conformance suite tests:
///
/// - every operation is atomic, and its effect is visible to every load that begins after it returned;
/// - a record past its `expires_at` is as good as deleted, for every operation;
/// - an operation whose future is dropped, or that returns an error, may or may not have taken effect; trying it again is safe.
pub trait Store: Send + Sync + 'static {
    /// Whether records stay in this process: then they are not encrypted at rest.
    const IN_PROCESS: bool = false;

    /// What the store is called in metrics and traces: "memory", "redis". A store that wraps another has its name.
    const NAME: &'static str = "custom";

    /// Upon how many later saves a retry is still known to have been done ([`Store::save`]). A conflict with a version further on doesn't say
    /// whether it was.
    const REMEMBERED_SAVES: u64 = 0;

    /// Stores a record under a key that isn't taken. `false` if it is: nothing is overwritten. If it is taken by a record of this very version
    /// (an earlier try of this call, whose answer was lost), that is `true`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn create(&self, key: &Key, record: &Record) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The record under a key, if there is one. One round trip, whatever [`Lookup`] asks for.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known then, and "not found" would be a lie.
    fn load(
        &self,
        key: &Key,
        lookup: Lookup,
    ) -> impl Future<Output = Result<Option<Found>, StoreError>> + Send;

    /// Replaces the record of version `expected`. Never creates one. If the stored version is that of `record` itself (an earlier try of this
    /// call), that is [`Saved::Stored`]; and so it is, if the store remembers, when others have saved upon that since.
    ///
    /// # Errors
    /// [`StoreError`].
    fn save(
        &self,
        key: &Key,
        record: &Record,
        expected: Version,
    ) -> impl Future<Output = Result<Saved, StoreError>> + Send;

    /// Deletes the record; `false` if there was none. After it returned, no save brings the record back, and no creation of before that was held
    /// back on its way: so the key of a record that was deleted may stay taken for a while. (Keys are random; none is used twice.)
    ///
    /// # Errors
    /// [`StoreError`]: the record may still be there.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The current epoch of a subject: how often its sessions were revoked. A store without [`Query`] has none, and always says zero.
    ///
    /// # Errors
    /// [`StoreError`].
    fn epoch(&self, subject: &SubjectTag) -> impl Future<Output = Result<u64, StoreError>> + Send {
        let _ = subject;
        core::future::ready(Ok(0))
    }

    /// Takes the lease of a record for `holder`, a random number, or takes it anew if it is `holder`'s already: a request whose saves
    /// keep coming second asks for it, so that such requests write one after the other instead of all at once.
    ///
    /// `true`: go on. `false`: another holds it; ask again a little later. It ends with [`Store::release`], and at the latest after
    /// `ttl` (a fraction of a second): that is what a holder that crashed costs the others.
    ///
    /// **Advisory**: it keeps no one from writing, and may be lost at any time (a failover, a holder that was slow). What keeps saves
    /// exact is `expected` in [`Store::save`]: the version is the lease's fence. So the record needn't be there, a save needn't look at
    /// the lease, and a store without leases says `true` to everyone, as this method does unless it is overridden.
    ///
    /// # Errors
    /// [`StoreError`].
    fn lease(
        &self,
        key: &Key,
        holder: u64,
        ttl: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let _ = (key, holder, ttl);
        core::future::ready(Ok(true))
    }

    /// Gives the lease of a record back, if it is (still) `holder`'s; another's is left alone.
    ///
    /// # Errors
    /// [`StoreError`]: the lease ends by itself.
    fn release(&self, key: &Key, holder: u64) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = (key, holder);
        core::future::ready(Ok(()))
    }
}

/// A part of all records.
///
/// ```
/// assert!(session_native::store::Batch::default().next.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Records with their keys and their subjects' current epochs.
    pub found: Vec<(Key, Found)>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

/// A store that can be asked about all its records.
#[allow(clippy::len_without_is_empty, reason = "providers offer `is_empty`; stores needn't")]
pub trait Query: Store {
    /// A part of all records: from the start (`cursor` 0), or from [`Batch::next`] on. A record that is there during the whole scan
    /// is found, at least once; one that comes or goes may be.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, cursor: u64) -> impl Future<Output = Result<Batch, StoreError>> + Send;

    /// All records of a subject, with its current epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    fn by_subject(
        &self,
        subject: &SubjectTag,
    ) -> impl Future<Output = Result<Vec<(Key, Found)>, StoreError>> + Send;

    /// Moves a subject's epoch on, in one step, so that every session authenticated before is dead. Gives the new epoch, which
    /// is kept for as long as any session of an older one could be. The records may be deleted too, now or later.
    ///
    /// # Errors
    /// [`StoreError`].
    fn revoke_subject(&self, subject: &SubjectTag) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// How many records there are; expired ones may be counted until they are swept.
    ///
    /// # Errors
    /// [`StoreError`].
    fn len(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Deletes every record.
    ///
    /// # Errors
    /// [`StoreError`].
    fn clear(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why a store didn't do what it was asked to.
///
/// ```
/// use session_native::StoreError;
///
/// let error = StoreError::unavailable("connection refused");
/// assert_eq!(error.to_string(), "the session store is not available: connection refused");
/// assert!(error.is_unavailable());
/// assert!(!StoreError::Full { capacity: Some(1000) }.is_unavailable());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The store can't be reached, or can't serve now.
    Unavailable {
        /// What happened, for operators; holds no key and no value.
        reason: String,
        /// When trying again may help.
        retry_after: Option<Duration>,
    },
    /// The store didn't answer in time. Nobody knows whether it did what it was asked to.
    TimedOut {
        /// How long was waited for it.
        after: Duration,
    },
    /// The store failed so often that it isn't asked for a while ([`Resilient`](crate::Resilient)). Nothing was done.
    CircuitOpen {
        /// When trying again may help.
        retry_after: Duration,
    },
    /// The store has no room for what was to be written. Nothing was dropped to make room: nobody is signed out silently. What needs no room goes
    /// on: loads, and ending sessions.
    Full {
        /// How many sessions it may hold; `None` if its bound is one of memory, as Redis's `maxmemory`.
        capacity: Option<usize>,
    },
    /// The store can't be used as it is set up: a wrong address or password, a missing permission. Trying again doesn't help.
    Misconfigured {
        /// What is wrong, for operators; holds no secret.
        reason: String,
    },
    /// Something else than a record stands where one should be: another program writes under the same names.
    Malformed,
}

impl StoreError {
    /// The store can't be reached, or can't serve now.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None }
    }

    /// The store can't be used as it is set up.
    pub fn misconfigured(reason: impl Into<String>) -> Self {
        Self::Misconfigured { reason: reason.into() }
    }

    /// Whether it failed for want of an answer, so that trying again later can help. A store that is full did answer.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TimedOut { .. } | Self::CircuitOpen { .. })
    }

    /// When trying again may help, if that is known: for a `Retry-After` header.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::CircuitOpen { retry_after } => Some(*retry_after),
            Self::TimedOut { .. } | Self::Full { .. } | Self::Misconfigured { .. } | Self::Malformed => None,
        }
    }

    /// A stable, short code for metrics: `unavailable`, `timed-out`, `circuit-open`, `full`, `misconfigured`, `malformed`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut { .. } => "timed-out",
            Self::CircuitOpen { .. } => "circuit-open",
            Self::Full { .. } => "full",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { reason, .. } => write!(f, "the session store is not available: {reason}"),
            Self::TimedOut { after } => {
                write!(f, "the session store did not answer within {} ms", after.as_millis())
            }
            Self::CircuitOpen { retry_after } => write!(
                f,
                "the session store failed too often and is not asked now (circuit breaker open): try again in {} ms",
                retry_after.as_millis()
            ),
            Self::Full { capacity: Some(capacity) } => write!(
                f,
                "the session store is full ({capacity} sessions): raise its capacity, or shorten the timeouts"
            ),
            Self::Full { capacity: None } => {
                f.write_str("the session store is full: give it more memory, or shorten the timeouts")
            }
            Self::Misconfigured { reason } => write!(f, "the session store is set up wrongly: {reason}"),
            Self::Malformed => f.write_str(
                "the session store holds something that is no session: give sessions a prefix of their own",
            ),
        }
    }
}

impl core::error::Error for StoreError {}
