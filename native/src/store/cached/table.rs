//! The protocol in the hands of many threads: a lock for each bucket, the entries, and hits, which take no lock of ours.

use core::{sync::atomic::Ordering, time::Duration};
use std::{collections::BTreeMap, sync::Arc};

use session_core::{Key, SubjectTag, Version};
use tokio::sync::watch;

use super::{
    BUCKETS,
    entries::Holds,
    protocol::{Bucket, Change, Entries, EntryId, Marker, Moment},
    pulse::Pulses,
    stats::Counters,
    sync::{AtomicU64, Mutex, MutexGuard, PoisonError},
    time::{MOST_LAG, Time, nanos},
};
use crate::store::{Bytes, Found, Record, StoreError};

pub(super) struct Table {
    pub(super) pulses: Pulses,
    slots: Box<[Slot]>,
    pub(super) entries: Holds,
    pub(super) counters: Arc<Counters>,
    pub(super) time: Time,
    limits: Limits,
    links: AtomicU64,
}

/// The bounds of a cache.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_entries: usize,
    pub(super) max_bytes: u64,
    pub(super) lease: Duration,
    pub(super) max_age: Duration,
}

/// A bucket. Padded, so that locks don't meet in a cache line.
#[derive(Default)]
#[repr(align(64))]
struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    bucket: Bucket,
    /// The loads that others may wait for.
    flights: BTreeMap<EntryId, Landing>,
}

/// What those wait for who let another one ask: its error, or the end of its flight.
pub(super) type Landing = watch::Receiver<Option<StoreError>>;

/// What is held of an id, and until when it may be served.
#[derive(Clone)]
pub(super) struct Entry<V> {
    pub(super) epoch: u64,
    pub(super) deadline: Moment,
    pub(super) value: V,
}

pub(super) enum Value {
    Record(Record),
    Epoch(u64),
}

impl Value {
    pub(super) const fn version(&self) -> Version {
        match self {
            Self::Record(record) => record.version,
            Self::Epoch(epoch) => Version { counter: *epoch, nonce: 0 },
        }
    }
}

/// The entries as the protocol sees them, for one change of one bucket.
struct Holding<'a> {
    table: &'a Table,
}

impl Entries for Holding<'_> {
    type Value = Value;

    fn version(&self, id: &EntryId) -> Option<Version> {
        self.table.entries.version(id)
    }

    fn insert(&mut self, id: EntryId, epoch: u64, _: Version, value: Value) {
        let Table { time, limits, .. } = self.table;
        let lives = match &value {
            Value::Record(record) => record.expires_at.since(time.of_day()).min(limits.max_age),
            Value::Epoch(_) => limits.max_age,
        };
        let deadline = time.exact().saturating_add(nanos(lives));
        self.table.entries.insert(id, Entry { epoch, deadline, value });
    }

    fn remove(&mut self, id: &EntryId) {
        self.table.entries.remove(id);
    }
}

impl Table {
    pub(super) fn new(limits: Limits, time: Time) -> Self {
        let counters = Arc::new(Counters::new(time.exact()));
        Self {
            pulses: Pulses::new(),
            slots: (0..BUCKETS).map(|_| Slot::default()).collect(),
            entries: Holds::new(&limits, &counters),
            counters,
            time,
            limits,
            links: AtomicU64::new(0),
        }
    }

    /// The record and the epoch, if it is plain that both may be served.
    ///
    /// Mostly the coarse time is enough: what may be served half of `at_most` later than it says, may be served now. When it isn't (close to
    /// the end of the lease, or of the entry's own time), [`Table::get`] reads the exact one.
    #[inline(always)]
    pub(super) fn get_quickly(&self, key: &Key, subject: Option<&SubjectTag>, at_most: u64) -> Option<Found> {
        let allowance = at_most / 2;
        if allowance < MOST_LAG {
            return None;
        }
        let latest = self.time.coarse().saturating_add(allowance);
        let found = self.get_at(latest, key, subject, at_most)?;
        self.counters.hits.add();
        Some(found)
    }

    /// The record and the epoch, if both may be served.
    #[cold]
    pub(super) fn get(&self, key: &Key, subject: Option<&SubjectTag>, at_most: u64) -> Option<Found> {
        let found = self.get_at(self.time.exact(), key, subject, at_most)?;
        self.counters.hits.add();
        Some(found)
    }

    /// What may be served at this time.
    #[inline(always)]
    pub(super) fn get_at(
        &self,
        now: Moment,
        key: &Key,
        subject: Option<&SubjectTag>,
        at_most: u64,
    ) -> Option<Found> {
        let epoch = match subject {
            None => 0,
            Some(subject) => {
                let bucket = bucket(subject.as_bytes());
                self.pulses.serve(bucket, now, at_most, || self.entries.epoch(subject))?
            }
        };
        let record = self.pulses.serve(bucket(key.as_bytes()), now, at_most, || self.entries.record(key))?;
        Some(Found::new(record, epoch))
    }

    fn lock(&self, id: &EntryId) -> MutexGuard<'_, State> {
        self.slots[bucket(&id.tag)].lock()
    }

    /// Listens from now on to what happens to `id`: to be called before a request about it is sent.
    pub(super) fn watch(&self, id: EntryId) -> Watching<'_> {
        let marker = Some(self.lock(&id).bucket.plant(id));
        Watching { table: self, id, marker, flight: None }
    }

    /// As [`Table::watch`], of a load that others may wait for; or what to wait for, if another one is under way.
    pub(super) fn lead(&self, id: EntryId, at_most: u64) -> Result<Watching<'_>, Landing> {
        let mut state = self.lock(&id);
        // Whoever waits hopes to find an entry: there will be none that may be served while the pulse is weak.
        if !state.bucket.pulse().is_within(self.time.exact(), at_most) {
            let marker = Some(state.bucket.plant(id));
            return Ok(Watching { table: self, id, marker, flight: None });
        }
        if let Some(flight) = state.flights.get(&id) {
            return Err(flight.clone());
        }
        let (flight, landing) = watch::channel(None);
        state.flights.insert(id, landing);
        Ok(Watching { table: self, id, marker: Some(state.bucket.plant(id)), flight: Some(flight) })
    }

    /// A message told of a change, or this node did it.
    pub(super) fn heard(&self, change: Change) {
        match change {
            Change::Saved(id, _) | Change::Gone(id) => self.hear_in(bucket(&id.tag), change),
            Change::Cleared => (0..BUCKETS).for_each(|bucket| self.hear_in(bucket, change)),
        }
    }

    pub(super) fn hear_in(&self, bucket: usize, change: Change) {
        let mut state = self.slots[bucket].lock();
        state.bucket.heard(change, &mut Holding { table: self });
        if change == Change::Cleared {
            self.pulses.write(bucket, state.bucket.pulse());
        }
    }

    /// A change of the state of some buckets' link.
    pub(super) fn transition(&self, buckets: &[u8], transition: impl Fn(&mut Bucket)) {
        let (mut alive, mut dead, mut moved) = (0, 0, false);
        for bucket in buckets.iter().copied().map(usize::from) {
            let mut state = self.slots[bucket].lock();
            let before = state.bucket.pulse();
            transition(&mut state.bucket);
            let after = state.bucket.pulse();
            self.pulses.write(bucket, after);
            moved |= before.epoch != after.epoch;
            match (before.t_ok, after.t_ok) {
                (None, Some(_)) => alive += 1,
                (Some(_), None) => dead += 1,
                _ => {}
            }
        }
        self.counters.transition(self.time.exact(), alive, dead, moved);
    }

    /// Frees the memory of entries that no one will ever be served.
    pub(super) fn sweep(&self) {
        self.entries.retain(|first| self.pulses.read(usize::from(first)).epoch);
    }

    /// A number that no link had before.
    pub(super) fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn evict(&self, key: &Key) -> bool {
        let id = EntryId::record(key);
        let _state = self.lock(&id);
        self.entries.remove(&id)
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.entries.weight()
    }

    /// How long ago it is that every change was known to have been heard; `None` while some bucket isn't live.
    pub(super) fn lease_age(&self) -> Option<Duration> {
        let now = self.time.exact();
        let ages = (0..BUCKETS).map(|bucket| Some(now.saturating_sub(self.pulses.read(bucket).t_ok?)));
        ages.reduce(|a, b| Some(a?.max(b?)))?.map(Duration::from_nanos)
    }

    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        self.slots.iter().map(Slot::lock).map(|state| state.bucket.watched() + state.flights.len()).sum()
    }
}

/// The bucket of a tag.
#[inline]
const fn bucket(tag: &[u8; 16]) -> usize {
    tag[0] as usize
}

impl Slot {
    /// No foreign code runs under the lock, so a poisoned one holds whole data all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request about an id that is under way. Dropped, it counts as never answered.
pub(super) struct Watching<'a> {
    table: &'a Table,
    id: EntryId,
    /// Until there is an answer.
    marker: Option<Marker>,
    /// Wakes those who wait, by being dropped or by an error.
    flight: Option<watch::Sender<Option<StoreError>>>,
}

impl Watching<'_> {
    /// The store answered with this record, or that there is none.
    pub(super) fn record(self, found: Option<&Record>) {
        // A copy: what the answer came in may be much larger than what is kept of it.
        let copy =
            |record: &Record| Record { payload: Bytes::copy_from_slice(&record.payload), ..record.clone() };
        self.answered(found.map(|record| Value::Record(copy(record))));
    }

    /// The store answered with this epoch.
    pub(super) fn epoch(self, epoch: u64) {
        self.answered(Some(Value::Epoch(epoch)));
    }

    fn answered(mut self, found: Option<Value>) {
        let mut state = self.table.lock(&self.id);
        let mut holding = Holding { table: self.table };
        if let Some(marker) = self.marker.take() {
            let found = found.map(|value| (value.version(), value));
            state.bucket.answered(marker, found, &mut holding);
        }
    }

    /// This node saved the record, and knows it from the store's answer.
    pub(super) fn saved(self, record: &Record) {
        self.table.heard(Change::Saved(self.id, record.version));
        self.record(Some(record));
    }

    /// What the store holds is unknown, or nothing.
    pub(super) fn unknown(self) {
        self.answered(None);
    }

    /// The store failed, for all who wait: they have waited as long as this one, and to ask a store that is down once more would double that.
    pub(super) fn failed(mut self, error: &StoreError) {
        if let Some(flight) = self.end() {
            flight.send_replace(Some(error.clone()));
        }
    }

    /// From now on nobody joins.
    fn end(&mut self) -> Option<watch::Sender<Option<StoreError>>> {
        if self.marker.is_none() && self.flight.is_none() {
            return None;
        }
        let mut state = self.table.lock(&self.id);
        if let Some(marker) = self.marker.take() {
            state.bucket.withdraw(marker);
        }
        if self.flight.is_some() {
            state.flights.remove(&self.id);
        }
        self.flight.take()
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}
