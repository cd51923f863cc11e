//! A local cache before a store that several nodes share.
//!
//! Every node keeps records it has seen in its own memory, and hears over a [`Feed`] what other nodes change. What the cache promises,
//! and why it holds, stands in `native/CLUSTER.md`; in short:
//!
//! - in the normal case a change elsewhere is felt after one message, well under a millisecond in one data centre;
//! - whatever happens to the feed (it hangs, loses its connection, is cut off by a firewall that says nothing), nothing is served that was
//!   changed more than the *lease* ago: three seconds by default;
//! - on the node that made it, a change is visible at once, and a node never answers with less than it has answered before;
//! - what must be up to date asks for it: [`Freshness`]. Saving, extending and issuing tokens always does.
//!
//! ```
//! use session_native::{
//!     Config, MemoryStore, OsRandom, Secret, Sessions,
//!     store::cached::{CachedStore, MemoryChannel},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // With Redis: a `RedisStore` and its feed.
//! let channel = MemoryChannel::default();
//! let store = CachedStore::new(channel.publishing(MemoryStore::new()), channel.feed());
//! store.live().await;
//!
//! let config = Config::clustered(Secret::generate(&OsRandom)?);
//! let sessions = Sessions::<(), _>::new(config, store)?;
//! assert_eq!(sessions.store().stats().hits, 0);
//! # Ok(())
//! # }
//! ```

mod entries;
mod feed;
mod memory;
mod message;
#[cfg(test)]
mod model;
mod protocol;
mod pulse;
#[cfg(test)]
mod race;
mod stats;
mod table;
#[cfg(test)]
mod threads;
mod time;

use core::{fmt, time::Duration};
use std::sync::{Arc, atomic::Ordering};

pub use feed::{Feed, Link, Links};
pub use memory::{MemoryChannel, MemoryFeed, Publishing};
use protocol::{Change, EntryId};
use session_core::{Key, SubjectTag, Version};
pub use stats::CacheStats;
use table::{Limits, Table};
use time::{Time, nanos};
use tokio::task::AbortHandle;

use super::{Batch, Found, Freshness, Lookup, Query, Record, Saved, Store, StoreError};
use crate::clock::Clock;

/// How many buckets there are: one for each first byte of a key.
const BUCKETS: usize = 256;

/// What threads meet in. (A test replaces it, to try all their interleavings.)
mod sync {
    pub(super) use core::sync::atomic::{AtomicU64, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
}

/// A store with a cache before it, which a feed keeps up to date. See the [module](self).
pub struct CachedStore<S, F> {
    store: S,
    feed: Arc<F>,
    table: Arc<Table>,
    listening: AbortHandle,
}

/// Options of a [`CachedStore`].
///
/// ```
/// use core::time::Duration;
/// use session_native::{MemoryStore, store::cached::{CachedStore, MemoryChannel}};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let channel = MemoryChannel::default();
/// let store = CachedStore::builder(channel.publishing(MemoryStore::new()), channel.feed())
///     .lease(Duration::from_secs(1))
///     .max_entries(100_000)
///     .max_bytes(256 << 20)
///     .build();
/// # }
/// ```
pub struct CachedStoreBuilder<S, F> {
    store: S,
    feed: F,
    limits: Limits,
    time: Time,
}

impl<S: Store, F: Feed> CachedStore<S, F> {
    /// A cache with the default bounds before a store.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the feed runs there.
    pub fn new(store: S, feed: F) -> Self {
        Self::builder(store, feed).build()
    }

    /// Options.
    pub fn builder(store: S, feed: F) -> CachedStoreBuilder<S, F> {
        let limits = Limits {
            max_entries: 10_000,
            max_bytes: 64 << 20,
            lease: Duration::from_secs(3),
            max_age: Duration::from_secs(30),
        };
        CachedStoreBuilder { store, feed, limits, time: Time::System }
    }

    /// The store behind the cache.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The feed.
    pub fn feed(&self) -> &F {
        &self.feed
    }

    /// Waits until the feed is heard, for every key: until then the store answers everything. A start-up may wait for it, and needn't.
    pub async fn live(&self) {
        self.table.counters.live().await;
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.table.stats()
    }

    /// Drops the session from this node's cache: the next load asks the store. `true` if it was there.
    pub fn evict(&self, key: &Key) -> bool {
        self.table.evict(key)
    }

    /// The oldest answer that a load wants from the cache; `None` if it wants one of the store.
    #[inline]
    fn at_most(&self, lookup: &Lookup) -> Option<u64> {
        let lease = self.table.limits().lease;
        match lookup.freshness {
            _ if lookup.touch.is_some() => None,
            Freshness::Cached => Some(nanos(lease)),
            Freshness::AtMost(age) => Some(nanos(age.min(lease))),
            Freshness::Linearizable => None,
        }
    }

    /// Looks again, by the exact time, and asks the store, on behalf of others too if they want the same from the cache.
    async fn ask(
        &self,
        key: &Key,
        lookup: Lookup,
        at_most: Option<u64>,
    ) -> Result<Option<Found>, StoreError> {
        if let Some(at_most) = at_most
            && let found @ Some(_) = self.table.get(key, lookup.subject.as_ref(), at_most)
        {
            return Ok(found);
        }
        let id = EntryId::record(key);
        let counters = &self.table.counters;
        let record = match at_most {
            None => {
                counters.bypasses.fetch_add(1, Ordering::Relaxed);
                self.table.watch(id)
            }
            Some(at_most) => match self.table.lead(id, at_most) {
                Ok(leading) => {
                    counters.misses.fetch_add(1, Ordering::Relaxed);
                    leading
                }
                // One request asks the store for all of them. What it got is taken from the cache, by the rules of the cache: it may
                // have read before a change that this load must see. If it failed, so have all.
                Err(mut landing) => {
                    if landing.changed().await.is_ok()
                        && let Some(error) = landing.borrow_and_update().clone()
                    {
                        return Err(error);
                    }
                    if let found @ Some(_) = self.table.get(key, lookup.subject.as_ref(), at_most) {
                        return Ok(found);
                    }
                    counters.misses.fetch_add(1, Ordering::Relaxed);
                    self.table.watch(id)
                }
            },
        };
        let epoch = lookup.subject.map(|subject| self.table.watch(EntryId::epoch(&subject)));
        let found = match self.store.load(key, lookup).await {
            Ok(found) => found,
            Err(error) => {
                record.failed(&error);
                return Err(error);
            }
        };
        record.record(found.as_ref().map(|found| &found.record));
        if let (Some(epoch), Some(found)) = (epoch, &found) {
            epoch.epoch(found.epoch);
        }
        Ok(found)
    }
}

impl<S, F> Drop for CachedStore<S, F> {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl<S: Store, F: Feed> CachedStoreBuilder<S, F> {
    /// How old an answer may be when the feed hangs: 3 seconds by default. Three to six heartbeats of the feed are a good measure;
    /// less makes the cache useless whenever the network stutters.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.limits.lease = lease;
        self
    }

    /// How many sessions may be held, and how many subjects' epochs besides: 10,000 each by default.
    #[must_use]
    pub const fn max_entries(mut self, entries: usize) -> Self {
        self.limits.max_entries = entries;
        self
    }

    /// How many bytes the entries may weigh: 64 MiB by default, an eighth of it at most for epochs. A record that weighs more than a part's share (a part for each
    /// quarter of a processor core) is not cached.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// After what time a record is asked for again, whatever was heard of it: 30 seconds by default. No promise rests on it; it heals
    /// what is done to the store behind the library's back.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.limits.max_age = age;
        self
    }

    /// The clock by which records expire and leases end: the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.time = Time::Given(Arc::new(clock));
        self
    }

    /// The store; its feed starts to connect.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the feed runs there.
    #[must_use]
    pub fn build(self) -> CachedStore<S, F> {
        let table = Arc::new(Table::new(self.limits, self.time));
        let feed = Arc::new(self.feed);
        let listening = tokio::spawn({
            let (feed, table) = (Arc::clone(&feed), Arc::clone(&table));
            async move {
                let record = async {
                    let mut every = tokio::time::interval(METRICS_EVERY);
                    loop {
                        every.tick().await;
                        table.record_metrics();
                    }
                };
                tokio::join!(feed.run(Links::new(Arc::clone(&table))), record)
            }
        });
        CachedStore { store: self.store, feed, table, listening: listening.abort_handle() }
    }
}

/// How often metrics are recorded.
const METRICS_EVERY: Duration = Duration::from_secs(1);

impl<S: Store, F: Feed> Store for CachedStore<S, F> {
    const IN_PROCESS: bool = S::IN_PROCESS;
    const NAME: &'static str = S::NAME;
    const REMEMBERED_SAVES: u64 = S::REMEMBERED_SAVES;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        let watching = self.table.watch(EntryId::record(key));
        let created = self.store.create(key, record).await;
        match created {
            Ok(true) => watching.saved(record),
            // Another's record is there, or nobody knows.
            Ok(false) | Err(_) => watching.unknown(),
        }
        created
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        let at_most = self.at_most(&lookup);
        if let Some(at_most) = at_most
            && let Some(found) = self.table.get_quickly(key, lookup.subject.as_ref(), at_most)
        {
            return Ok(Some(found));
        }
        // Boxed: a hit needn't carry the future of a miss around.
        Box::pin(self.ask(key, lookup, at_most)).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        let watching = self.table.watch(EntryId::record(key));
        let saved = self.store.save(key, record, expected).await;
        match &saved {
            Ok(Saved::Stored) => watching.saved(record),
            Ok(Saved::Conflict(stored)) => watching.record(Some(stored)),
            Ok(Saved::Gone) | Err(_) => watching.unknown(),
        }
        saved
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let deleted = self.store.delete(key).await;
        // Also if nobody knows whether it was: what is dropped can be asked for.
        self.table.heard(Change::Gone(EntryId::record(key)));
        deleted
    }

    /// Always asks the store: a session that is signed in with an epoch that has moved on would be dead at once.
    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        let watching = self.table.watch(EntryId::epoch(subject));
        let epoch = self.store.epoch(subject).await?;
        watching.epoch(epoch);
        Ok(epoch)
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        self.store.lease(key, holder, ttl).await
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        self.store.release(key, holder).await
    }
}

/// Listings ask the store; what they find is not kept.
impl<S: Query, F: Feed> Query for CachedStore<S, F> {
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        self.store.scan(cursor).await
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        self.store.by_subject(subject).await
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        let watching = self.table.watch(EntryId::epoch(subject));
        let revoked = self.store.revoke_subject(subject).await;
        match revoked {
            Ok(epoch) => self.table.heard(Change::moved(subject, epoch)),
            Err(_) => watching.unknown(),
        }
        revoked
    }

    async fn len(&self) -> Result<u64, StoreError> {
        self.store.len().await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        let cleared = self.store.clear().await;
        self.table.heard(Change::Cleared);
        self.table.sweep();
        cleared
    }
}

/// Shows its counters, and no session.
impl<S: Store, F> fmt::Debug for CachedStore<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore")
            .field("store", &S::NAME)
            .field("stats", &self.table.stats())
            .finish_non_exhaustive()
    }
}
