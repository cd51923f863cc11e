//! Sessions in this process's memory: for one process, for development and for tests.

mod limit;
mod table;

use core::{fmt, num::NonZeroUsize};
use std::sync::Arc;

use limit::Limit;
use session_core::{Key, SubjectTag, Version};
use table::Tables;

use super::{Batch, Found, Lookup, Query, Record, Saved, Store, StoreError};
use crate::clock::{Clock, SystemClock};

/// A store in memory: sharded, bounded, sweeping. Clones share the sessions.
///
/// Creating, loading, saving and deleting are O(1). Expired records are swept a few at a time by the creation of others (two steps each, so that a store in use never
/// holds more than twice what is alive, plus what expired since), and all at once by [`MemoryStore::sweep`]. When the
/// store is full, creating a session fails; none is dropped to make room. The bound is a number of sessions, not of bytes: `max_record_len` of the
/// configuration bounds each.
///
/// ```
/// use session_native::MemoryStore;
///
/// let store = MemoryStore::builder().capacity(10_000).build();
/// assert_eq!(store.stats().sessions, 0);
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    tables: Arc<Tables>,
    limit: Option<Arc<Limit>>,
}

/// Options of a [`MemoryStore`].
///
/// ```
/// use session_native::{ManualClock, MemoryStore};
///
/// let clock = ManualClock::default();
/// let store = MemoryStore::builder().clock(clock.clone()).build();
/// ```
pub struct MemoryStoreBuilder {
    capacity: usize,
    per_subject: Option<NonZeroUsize>,
    clock: Arc<dyn Clock>,
}

/// Counters of a [`MemoryStore`] since it was made.
///
/// ```
/// assert_eq!(session_native::MemoryStore::new().stats().created, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Records held now, expired ones included until they are swept.
    pub sessions: usize,
    /// Records that may be held.
    pub capacity: usize,
    /// Records created.
    pub created: u64,
    /// Records deleted, not counting expired ones.
    pub deleted: u64,
    /// Expired records swept.
    pub expired: u64,
    /// Loads that found a record.
    pub hits: u64,
    /// Loads that found none.
    pub misses: u64,
    /// Saves refused because another came first.
    pub conflicts: u64,
    /// Creations refused because the store was full.
    pub refused: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl MemoryStoreBuilder {
    /// How many sessions may be held: 1,000,000 by default (about half a kilobyte each with small data).
    #[must_use]
    pub const fn capacity(mut self, sessions: usize) -> Self {
        self.capacity = sessions;
        self
    }

    /// How many sessions a subject may have; no limit by default, and none if it is zero. One more ends those that were used least recently; revoked ones
    /// don't count.
    #[must_use]
    pub const fn sessions_per_subject(mut self, most: usize) -> Self {
        self.per_subject = NonZeroUsize::new(most);
        self
    }

    /// The clock by which records expire: the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        MemoryStore {
            tables: Arc::new(Tables::new(self.capacity, self.clock)),
            limit: self.per_subject.map(|most| Arc::new(Limit::new(most.get()))),
        }
    }
}

impl MemoryStore {
    /// A store for a million sessions, by the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Options.
    #[must_use]
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { capacity: 1_000_000, per_subject: None, clock: Arc::new(SystemClock) }
    }

    /// Removes every expired record and gives their number. Takes one shard's lock at a time.
    pub fn sweep(&self) -> usize {
        self.tables.sweep()
    }

    fn enforce_limit(&self, is_stored: bool, key: &Key, record: &Record) {
        if let (true, Some(limit), Some(subject)) = (is_stored, &self.limit, &record.subject) {
            limit.enforce(&self.tables, subject, key);
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> MemoryStats {
        self.tables.stats()
    }
}

impl Store for MemoryStore {
    const IN_PROCESS: bool = true;
    const NAME: &'static str = "memory";

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        let created = self.tables.create(key, record)?;
        self.enforce_limit(created, key, record);
        Ok(created)
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        Ok(self.tables.load(key, lookup))
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        let saved = self.tables.save(key, record, expected);
        self.enforce_limit(saved == Saved::Stored, key, record);
        Ok(saved)
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.tables.delete(key))
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        Ok(self.tables.epoch(Some(*subject)))
    }
}

impl Query for MemoryStore {
    /// One shard at a time.
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        Ok(self.tables.scan(cursor))
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        Ok(self.tables.by_subject(subject))
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        Ok(self.tables.revoke_subject(subject))
    }

    async fn len(&self) -> Result<u64, StoreError> {
        Ok(self.tables.stats().sessions as u64)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.tables.clear();
        Ok(())
    }
}

/// Shows how full it is, and no session.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
