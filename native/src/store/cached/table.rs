//! The protocol in the hands of many threads: a lock for each bucket, the entries, and what hits may read without a lock.

use core::{
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync::Cache};
use session_core::{Key, SubjectTag, Version};
use tokio::sync::watch;

use super::{
    protocol::{Bucket, Change, Entries, EntryId, Marker, Moment, Pulse},
    stats::Counters,
};
use crate::{
    clock::Clock,
    store::{Bytes, Found, Record},
};

/// How many buckets there are: one for each first byte of a key.
pub(super) const BUCKETS: usize = 256;

/// What an entry costs besides its payload: itself, its slot, its share of the index and of what was evicted lately.
const ENTRY_BYTES: u64 = 256;

pub(super) struct Table {
    slots: Box<[Slot]>,
    entries: Held,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Arc<dyn Clock>,
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

/// A bucket: its state, and a copy of its pulse for readers. Padded, so that hits in different buckets don't meet in a cache line.
#[derive(Default)]
#[repr(align(64))]
struct Slot {
    epoch: AtomicU64,
    /// In nanoseconds, and one more: zero is "not live".
    t_ok: AtomicU64,
    hits: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bucket: Bucket,
    /// The loads that others may wait for.
    flights: BTreeMap<EntryId, watch::Receiver<()>>,
}

type Held = Cache<EntryId, Entry, Weigh, BuildHasherDefault<TagHasher>, CountEvictions>;

/// What is held of an id, and until when it may be served.
#[derive(Clone)]
struct Entry {
    epoch: u64,
    deadline: Moment,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Record(Record),
    Epoch(u64),
}

impl Value {
    const fn version(&self) -> Version {
        match self {
            Self::Record(record) => record.version,
            Self::Epoch(epoch) => Version { counter: *epoch, nonce: 0 },
        }
    }
}

/// A share of the bound in bytes for every entry, so that the one bound keeps the other too.
#[derive(Clone)]
struct Weigh {
    least: u64,
}

impl Weighter<EntryId, Entry> for Weigh {
    fn weight(&self, _: &EntryId, entry: &Entry) -> u64 {
        let payload = match &entry.value {
            Value::Record(record) => record.payload.len() as u64,
            Value::Epoch(_) => 0,
        };
        (payload + ENTRY_BYTES).max(self.least)
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<Counters>);

impl Lifecycle<EntryId, Entry> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: EntryId, _: Entry) {
        self.0.evictions.fetch_add(1, Ordering::Relaxed);
    }
}

impl Hash for EntryId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Tags are cut from SHA-256.
        let (_, half) = self.tag.split_at(8);
        state.write_u64(half.iter().fold(self.kind as u64, |bits, byte| bits << 8 ^ u64::from(*byte)));
    }
}

/// Spreads what is spread already over all the bits that the cache looks at.
#[derive(Default)]
struct TagHasher(u64);

impl Hasher for TagHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, bits: u64) {
        let product = u128::from(self.0 ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The entries as the protocol sees them, for one change of one bucket.
struct Holding<'a> {
    table: &'a Table,
}

impl Entries for Holding<'_> {
    type Value = Value;

    fn version(&self, id: &EntryId) -> Option<Version> {
        self.table.entries.peek(id).map(|entry| entry.value.version())
    }

    fn insert(&mut self, id: EntryId, epoch: u64, _: Version, value: Value) {
        let Table { clock, limits, .. } = self.table;
        let lives = match &value {
            Value::Record(record) => record.expires_at.since(clock.now()).min(limits.max_age),
            Value::Epoch(_) => limits.max_age,
        };
        self.table.entries.insert(id, Entry { epoch, deadline: clock.monotonic() + lives, value });
    }

    fn remove(&mut self, id: &EntryId) {
        self.table.entries.remove(id);
    }
}

impl Table {
    pub(super) fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let counters = Arc::new(Counters::new(clock.monotonic()));
        let least = limits.max_bytes.div_ceil((limits.max_entries as u64).max(1));
        let options = OptionsBuilder::new()
            .estimated_items_capacity(limits.max_entries)
            .weight_capacity(limits.max_bytes)
            .build()
            .expect("both capacities are set");
        let entries = Cache::with_options(
            options,
            Weigh { least },
            BuildHasherDefault::default(),
            CountEvictions(Arc::clone(&counters)),
        );
        let slots = (0..BUCKETS).map(|_| Slot::default()).collect();
        Self { slots, entries, counters, clock, limits, links: AtomicU64::new(0) }
    }

    /// The record and the epoch, if both may be served.
    pub(super) fn get(&self, key: &Key, subject: Option<&SubjectTag>, at_most: Duration) -> Option<Found> {
        let now = self.clock.monotonic();
        let Value::Record(record) = self.serve(&EntryId::record(key), now, at_most)? else { return None };
        let epoch = match subject.map(|subject| self.serve(&EntryId::epoch(subject), now, at_most)) {
            None => 0,
            Some(Some(Value::Epoch(epoch))) => epoch,
            Some(_) => return None,
        };
        self.slot(key.as_bytes()).hits.fetch_add(1, Ordering::Relaxed);
        Some(Found::new(record, epoch))
    }

    /// The time is read first, then the pulse, then the entry: so the entry has felt every change that the pulse vouches for, and the
    /// pulse is no older than the beginning of the call.
    fn serve(&self, id: &EntryId, now: Moment, at_most: Duration) -> Option<Value> {
        let pulse = self.slot(&id.tag).pulse();
        if !pulse.is_within(now, at_most) {
            return None;
        }
        let entry = self.entries.get(id)?;
        pulse.serves(entry.epoch, entry.deadline, now, at_most).then_some(entry.value)
    }

    fn slot(&self, tag: &[u8; 16]) -> &Slot {
        &self.slots[usize::from(tag[0])]
    }

    /// Listens from now on to what happens to `id`: to be called before a request about it is sent.
    pub(super) fn watch(&self, id: EntryId) -> Watching<'_> {
        let marker = Some(self.slot(&id.tag).lock().bucket.plant(id));
        Watching { table: self, id, marker, flight: None }
    }

    /// As [`Table::watch`], of a load that others may wait for; or what to wait for, if another one is under way.
    pub(super) fn lead(&self, id: EntryId, at_most: Duration) -> Result<Watching<'_>, watch::Receiver<()>> {
        let slot = self.slot(&id.tag);
        let mut state = slot.lock();
        // Whoever waits hopes to find an entry: there will be none that may be served while the pulse is weak.
        if !state.bucket.pulse().is_within(self.clock.monotonic(), at_most) {
            let marker = Some(state.bucket.plant(id));
            return Ok(Watching { table: self, id, marker, flight: None });
        }
        if let Some(flight) = state.flights.get(&id) {
            return Err(flight.clone());
        }
        let (flight, landing) = watch::channel(());
        state.flights.insert(id, landing);
        Ok(Watching { table: self, id, marker: Some(state.bucket.plant(id)), flight: Some(flight) })
    }

    /// A message told of a change, or this node did it.
    pub(super) fn heard(&self, change: Change) {
        match change {
            Change::Saved(id, _) | Change::Gone(id) => self.hear_in(usize::from(id.tag[0]), change),
            Change::Cleared => (0..BUCKETS).for_each(|bucket| self.hear_in(bucket, change)),
        }
    }

    pub(super) fn hear_in(&self, bucket: usize, change: Change) {
        let slot = &self.slots[bucket];
        let mut state = slot.lock();
        state.bucket.heard(change, &mut Holding { table: self });
        slot.publish(&state.bucket);
    }

    /// A change of the state of some buckets' link.
    pub(super) fn transition(&self, buckets: &[u8], transition: impl Fn(&mut Bucket)) {
        let (mut alive, mut dead, mut moved) = (0, 0, false);
        for bucket in buckets {
            let slot = &self.slots[usize::from(*bucket)];
            let mut state = slot.lock();
            let before = state.bucket.pulse();
            transition(&mut state.bucket);
            slot.publish(&state.bucket);
            let after = state.bucket.pulse();
            moved |= before.epoch != after.epoch;
            match (before.t_ok, after.t_ok) {
                (None, Some(_)) => alive += 1,
                (Some(_), None) => dead += 1,
                _ => {}
            }
        }
        self.counters.transition(self.clock.monotonic(), alive, dead, moved);
    }

    /// Frees the memory of entries that no one will ever be served.
    pub(super) fn sweep(&self) {
        self.entries.retain(|id, entry| entry.epoch == self.slot(&id.tag).epoch.load(Ordering::Acquire));
    }

    /// A number that no link had before.
    pub(super) fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn evict(&self, key: &Key) -> bool {
        let _state = self.slot(key.as_bytes()).lock();
        self.entries.remove(&EntryId::record(key)).is_some()
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.entries.weight()
    }

    pub(super) fn hits(&self) -> u64 {
        self.slots.iter().map(|slot| slot.hits.load(Ordering::Relaxed)).sum()
    }

    /// How long ago it is that every change was known to have been heard; `None` while some bucket isn't live.
    pub(super) fn lease_age(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        let ages = self.slots.iter().map(|slot| slot.pulse().t_ok.map(|t_ok| now.saturating_sub(t_ok)));
        ages.reduce(|a, b| Some(a?.max(b?)))?
    }

    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        self.slots
            .iter()
            .map(|slot| slot.lock())
            .map(|state| state.bucket.watched() + state.flights.len())
            .sum()
    }
}

impl Slot {
    /// No foreign code runs under the lock, so a poisoned one holds whole data all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time before the epoch: an entry of the epoch is then at least as new as the time, also if a link is replaced in between.
    fn pulse(&self) -> Pulse {
        let t_ok = self.t_ok.load(Ordering::Acquire).checked_sub(1).map(Duration::from_nanos);
        Pulse { t_ok, epoch: self.epoch.load(Ordering::Acquire) }
    }

    /// The epoch before the time, for the same reason: a reader of the new time sees the new epoch too.
    fn publish(&self, bucket: &Bucket) {
        let pulse = bucket.pulse();
        let nanos = |t_ok: Moment| u64::try_from(t_ok.as_nanos()).unwrap_or(u64::MAX - 1) + 1;
        self.epoch.store(pulse.epoch, Ordering::Release);
        self.t_ok.store(pulse.t_ok.map_or(0, nanos), Ordering::Release);
    }
}

/// A request about an id that is under way. Dropped, it counts as never answered.
pub(super) struct Watching<'a> {
    table: &'a Table,
    id: EntryId,
    /// Until there is an answer.
    marker: Option<Marker>,
    /// Wakes those who wait, by being dropped.
    flight: Option<watch::Sender<()>>,
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
        let mut state = self.table.slot(&self.id.tag).lock();
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
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        if self.marker.is_none() && self.flight.is_none() {
            return;
        }
        let mut state = self.table.slot(&self.id.tag).lock();
        if let Some(marker) = self.marker.take() {
            state.bucket.withdraw(marker);
        }
        if self.flight.is_some() {
            state.flights.remove(&self.id);
        }
    }
}
