//! Where entries are held: caches that are bounded by entries and by bytes. One for records and one for epochs, which are a quarter as large and of
//! which there are as many: a hit reads less memory.

use core::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, atomic::Ordering};

use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync::Cache};
use session_core::{Key, SubjectTag, Version};

use super::{
    protocol::{EntryId, Kind},
    stats::Counters,
    table::{Entry, Limits, Value},
};
use crate::store::Record;

/// What an entry costs besides its payload: itself, its slot, its share of the index and of what was evicted lately.
const RECORD_BYTES: u64 = 256;
const EPOCH_BYTES: u64 = 128;

type Held<V> = Cache<[u8; 16], Entry<V>, Weigh, BuildHasherDefault<TagHasher>, CountEvictions>;

pub(super) struct Holds {
    records: Held<Record>,
    epochs: Held<u64>,
}

impl Holds {
    pub(super) fn new(limits: &Limits, counters: &Arc<Counters>) -> Self {
        let epochs = (limits.max_bytes / 8).min(limits.max_entries as u64 * EPOCH_BYTES);
        Self {
            records: held(limits.max_entries, limits.max_bytes - epochs, counters),
            epochs: held(limits.max_entries, epochs, counters),
        }
    }

    #[inline]
    pub(super) fn record(&self, key: &Key) -> Option<Entry<Record>> {
        self.records.get(key.as_bytes())
    }

    #[inline]
    pub(super) fn epoch(&self, subject: &SubjectTag) -> Option<Entry<u64>> {
        self.epochs.get(subject.as_bytes())
    }

    pub(super) fn version(&self, id: &EntryId) -> Option<Version> {
        match id.kind {
            Kind::Record => self.records.peek(&id.tag).map(|entry| entry.value.version),
            Kind::Epoch => self.epochs.peek(&id.tag).map(|entry| Value::Epoch(entry.value).version()),
        }
    }

    pub(super) fn insert(&self, id: EntryId, Entry { epoch, deadline, value }: Entry<Value>) {
        match value {
            Value::Record(value) => self.records.insert(id.tag, Entry { epoch, deadline, value }),
            Value::Epoch(value) => self.epochs.insert(id.tag, Entry { epoch, deadline, value }),
        }
    }

    /// `true` if it was there.
    pub(super) fn remove(&self, id: &EntryId) -> bool {
        match id.kind {
            Kind::Record => self.records.remove(&id.tag).is_some(),
            Kind::Epoch => self.epochs.remove(&id.tag).is_some(),
        }
    }

    /// Keeps what is of its bucket's epoch, told by the first byte of the tag.
    pub(super) fn retain(&self, epoch_of: impl Fn(u8) -> u64) {
        self.records.retain(|tag, entry| entry.epoch == epoch_of(tag[0]));
        self.epochs.retain(|tag, entry| entry.epoch == epoch_of(tag[0]));
    }

    pub(super) fn len(&self) -> usize {
        self.records.len() + self.epochs.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.records.weight() + self.epochs.weight()
    }
}

fn held<V: Clone>(entries: usize, bytes: u64, counters: &Arc<Counters>) -> Held<V>
where
    Weigh: Weighter<[u8; 16], Entry<V>>,
{
    let options = OptionsBuilder::new()
        .estimated_items_capacity(entries)
        .weight_capacity(bytes)
        .build()
        .expect("both capacities are set");
    let least = bytes.div_ceil((entries as u64).max(1));
    let count = CountEvictions(Arc::clone(counters));
    Cache::with_options(options, Weigh { least }, BuildHasherDefault::default(), count)
}

/// A share of the bound in bytes for every entry, so that the one bound keeps the other too.
#[derive(Clone)]
struct Weigh {
    least: u64,
}

impl Weighter<[u8; 16], Entry<Record>> for Weigh {
    fn weight(&self, _: &[u8; 16], entry: &Entry<Record>) -> u64 {
        (entry.value.payload.len() as u64 + RECORD_BYTES).max(self.least)
    }
}

impl Weighter<[u8; 16], Entry<u64>> for Weigh {
    fn weight(&self, _: &[u8; 16], _: &Entry<u64>) -> u64 {
        EPOCH_BYTES.max(self.least)
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<Counters>);

impl<V> Lifecycle<[u8; 16], Entry<V>> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: [u8; 16], _: Entry<V>) {
        self.0.evictions.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tags are cut from SHA-256: half of one is as good a hash as any. (A bucket is told by the first byte, which is in the other half.)
#[derive(Default)]
struct TagHasher(u64);

impl Hasher for TagHasher {
    #[inline]
    fn write(&mut self, tag: &[u8]) {
        if let Some(half) = tag.last_chunk() {
            self.0 = u64::from_le_bytes(*half);
        }
    }

    /// The length of a tag, which is always the same.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
