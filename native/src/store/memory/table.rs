//! The tables of a memory store: records in shards, subjects and their epochs.

use core::{
    hash::{BuildHasherDefault, Hasher},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use session_core::{Key, SubjectTag, Timestamp, Version};

use super::MemoryStats;
use crate::{
    clock::Clock,
    lock::lock,
    store::{Batch, Found, Lookup, Record, Saved, StoreError},
};

const SHARDS: usize = 64;

/// How many slots a creation looks at for expired records.
const STEPS_ON_CREATE: usize = 2;
/// How many of each shard it looks at when the store is full.
const STEPS_WHEN_FULL: usize = 64;

/// A revoked subject without sessions is forgotten after this long: by then, no request that began before the revocation is running.
const FORGET_EPOCH_AFTER: Duration = Duration::from_secs(3600);

pub(super) struct Tables {
    shards: [Mutex<Shard>; SHARDS],
    subjects: [Mutex<Subjects>; SHARDS],
    clock: Arc<dyn Clock>,
    capacity: usize,
    sessions: AtomicUsize,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    created: AtomicU64,
    deleted: AtomicU64,
    expired: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    conflicts: AtomicU64,
    refused: AtomicU64,
}

/// Records in slots that a hand can walk over, and where each key's slot is.
#[derive(Default)]
struct Shard {
    slots: Vec<Option<(Key, Record)>>,
    free: Vec<usize>,
    index: HashMap<Key, usize, BuildHasherDefault<KeyHasher>>,
    hand: usize,
}

#[derive(Default)]
struct Subjects {
    known: HashMap<SubjectTag, Subject, BuildHasherDefault<KeyHasher>>,
    /// Idle subjects are dropped when there are this many subjects: the table was swept when there were half as many.
    sweep_at: usize,
}

#[derive(Default)]
struct Subject {
    epoch: u64,
    revoked_at: Timestamp,
    /// Its sessions, each with the epoch in which it was filed: those of an earlier one are revoked.
    keys: HashMap<Key, u64, BuildHasherDefault<KeyHasher>>,
}

impl Subject {
    fn file(&mut self, key: &Key) {
        self.keys.insert(*key, self.epoch);
    }
}

impl Subjects {
    fn get_or_add(&mut self, subject: SubjectTag, now: Timestamp) -> &mut Subject {
        if self.known.len() >= self.sweep_at {
            // One without sessions is only there because it was revoked.
            self.known.retain(|_, subject| {
                !subject.keys.is_empty() || now.since(subject.revoked_at) < FORGET_EPOCH_AFTER
            });
            self.sweep_at = (self.known.len() * 2).max(64);
        }
        self.known.entry(subject).or_default()
    }
}

/// Keys are hashes already: eight bytes of one are as good as any hash of it.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    // The length of the array, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Tables {
    pub(super) fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            shards: core::array::from_fn(|_| Mutex::default()),
            subjects: core::array::from_fn(|_| Mutex::default()),
            clock,
            capacity,
            sessions: AtomicUsize::new(0),
            counters: Counters::default(),
        }
    }

    pub(super) fn sweep(&self) -> usize {
        let now = self.clock.now();
        let mut swept = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            for _ in 0..shard.slots.len() {
                swept += self.step(&mut shard, now);
            }
        }
        swept
    }

    pub(super) fn stats(&self) -> MemoryStats {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MemoryStats {
            sessions: self.sessions.load(Ordering::Relaxed),
            capacity: self.capacity,
            created: read(&counters.created),
            deleted: read(&counters.deleted),
            expired: read(&counters.expired),
            hits: read(&counters.hits),
            misses: read(&counters.misses),
            conflicts: read(&counters.conflicts),
            refused: read(&counters.refused),
        }
    }

    /// The live records of one shard.
    pub(super) fn scan(&self, cursor: u64) -> Batch {
        let now = self.clock.now();
        let shard = usize::try_from(cursor).ok().and_then(|cursor| self.shards.get(cursor));
        let Some(shard) = shard else { return Batch::default() };
        let is_live = |(_, record): &&(Key, Record)| record.expires_at > now;
        let live: Vec<_> = lock(shard).slots.iter().flatten().filter(is_live).cloned().collect();
        let with_epoch = |(key, record): (Key, Record)| {
            let epoch = self.epoch(record.subject);
            (key, Found::new(record, epoch))
        };
        let next = cursor + 1;
        Batch {
            found: live.into_iter().map(with_epoch).collect(),
            next: (next < SHARDS as u64).then_some(next),
        }
    }

    /// The keys of a subject, of expired records too.
    pub(super) fn filed(&self, subject: &SubjectTag) -> Vec<Key> {
        let subjects = self.subjects(subject);
        subjects.known.get(subject).map(|known| known.keys.keys().copied().collect()).unwrap_or_default()
    }

    /// The other keys of a subject that were filed since it was last revoked, of expired records too. This one, which was written just now, is
    /// filed anew: a session that is spared by signing it in again is among them from then on. None if it has been deleted, or has changed hands,
    /// since: then nobody is to make room for it.
    pub(super) fn rivals(&self, subject: &SubjectTag, written: &Key) -> Vec<Key> {
        let mut subjects = self.subjects(subject);
        let Some(known) = subjects.known.get_mut(subject) else { return Vec::new() };
        if !known.keys.contains_key(written) {
            return Vec::new();
        }
        known.file(written);
        let current = known.keys.iter().filter(|(key, filed)| **filed == known.epoch && *key != written);
        current.map(|(key, _)| *key).collect()
    }

    pub(super) fn by_subject(&self, subject: &SubjectTag) -> Vec<(Key, Found)> {
        self.records(self.filed(subject), subject)
    }

    /// The live records under these keys that are the subject's.
    pub(super) fn records(&self, keys: Vec<Key>, subject: &SubjectTag) -> Vec<(Key, Found)> {
        let lookup = Lookup { subject: Some(*subject), ..Lookup::default() };
        let found = keys.into_iter().filter_map(|key| Some((key, self.load(&key, lookup)?)));
        // One that changed hands between the two looks is another subject's.
        found.filter(|(_, found)| found.record.subject == Some(*subject)).collect()
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            for slot in 0..shard.slots.len() {
                self.remove(&mut shard, slot);
            }
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        // Another byte than the ones the tables use.
        lock(&self.shards[usize::from(key.as_bytes()[0]) % SHARDS])
    }

    fn subjects(&self, subject: &SubjectTag) -> MutexGuard<'_, Subjects> {
        lock(&self.subjects[usize::from(subject.as_bytes()[0]) % SHARDS])
    }

    /// The record under a key, unless it has expired: then it is removed.
    fn live<'a>(&self, shard: &'a mut Shard, key: &Key, now: Timestamp) -> Option<&'a mut Record> {
        let slot = *shard.index.get(key)?;
        if shard.slots[slot].as_ref().is_some_and(|(_, record)| record.expires_at <= now) {
            self.expire(shard, slot);
            return None;
        }
        shard.slots[slot].as_mut().map(|(_, record)| record)
    }

    /// Moves the hand by one slot; gives 1 if an expired record was there.
    fn step(&self, shard: &mut Shard, now: Timestamp) -> usize {
        if shard.slots.is_empty() {
            return 0;
        }
        shard.hand = (shard.hand + 1) % shard.slots.len();
        match &shard.slots[shard.hand] {
            Some((_, record)) if record.expires_at <= now => {
                self.expire(shard, shard.hand);
                1
            }
            _ => 0,
        }
    }

    fn expire(&self, shard: &mut Shard, slot: usize) {
        if self.remove(shard, slot) {
            self.counters.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Empties a slot. Lock order is shard, then subjects, everywhere.
    fn remove(&self, shard: &mut Shard, slot: usize) -> bool {
        let Some((key, record)) = shard.slots[slot].take() else { return false };
        shard.index.remove(&key);
        shard.free.push(slot);
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.unfile(&key, record.subject);
        true
    }

    fn file(&self, key: &Key, subject: Option<SubjectTag>) {
        let Some(subject) = subject else { return };
        self.subjects(&subject).get_or_add(subject, self.clock.now()).file(key);
    }

    fn unfile(&self, key: &Key, subject: Option<SubjectTag>) {
        let Some(subject) = subject else { return };
        let mut subjects = self.subjects(&subject);
        if let Some(known) = subjects.known.get_mut(&subject) {
            known.keys.remove(key);
            if known.keys.is_empty() && known.epoch == 0 {
                subjects.known.remove(&subject);
            }
        }
    }

    pub(super) fn epoch(&self, subject: Option<SubjectTag>) -> u64 {
        subject
            .map_or(0, |subject| self.subjects(&subject).known.get(&subject).map_or(0, |known| known.epoch))
    }

    /// Takes a place among those that may be held, if there is one.
    fn reserve(&self) -> bool {
        let take = |held: usize| (held < self.capacity).then_some(held + 1);
        self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Sweeps some slots of every shard. To be called without a shard's lock.
    fn make_room(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            for _ in 0..STEPS_WHEN_FULL.min(shard.slots.len()) {
                self.step(&mut shard, now);
            }
        }
    }

    pub(super) fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        let now = self.clock.now();
        if let Some(created) = self.try_create(key, record, now) {
            return Ok(created);
        }
        self.make_room(now);
        self.try_create(key, record, now).ok_or_else(|| {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            StoreError::Full { capacity: Some(self.capacity) }
        })
    }

    /// `None` if the store is full.
    fn try_create(&self, key: &Key, record: &Record, now: Timestamp) -> Option<bool> {
        let mut shard = self.shard(key);
        if let Some(taken) = self.live(&mut shard, key, now) {
            return Some(taken.version == record.version);
        }
        for _ in 0..STEPS_ON_CREATE {
            self.step(&mut shard, now);
        }
        if !self.reserve() {
            return None;
        }
        let entry = Some((*key, record.clone()));
        let slot = if let Some(slot) = shard.free.pop() {
            shard.slots[slot] = entry;
            slot
        } else {
            shard.slots.push(entry);
            shard.slots.len() - 1
        };
        shard.index.insert(*key, slot);
        self.file(key, record.subject);
        self.counters.created.fetch_add(1, Ordering::Relaxed);
        Some(true)
    }

    pub(super) fn load(&self, key: &Key, lookup: Lookup) -> Option<Found> {
        let found = {
            let mut shard = self.shard(key);
            self.live(&mut shard, key, self.clock.now()).map(|record| {
                if let Some(touch) = lookup.touch {
                    record.expires_at = record.expires_at.max(touch);
                }
                record.clone()
            })
        };
        let counter = if found.is_some() { &self.counters.hits } else { &self.counters.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found.map(|record| Found::new(record, self.epoch(lookup.subject)))
    }

    pub(super) fn save(&self, key: &Key, record: &Record, expected: Version) -> Saved {
        let mut shard = self.shard(key);
        let Some(stored) = self.live(&mut shard, key, self.clock.now()) else { return Saved::Gone };
        if stored.version == record.version {
            return Saved::Stored;
        }
        if stored.version != expected {
            self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
            return Saved::Conflict(stored.clone());
        }
        let before = core::mem::replace(stored, record.clone()).subject;
        if before != record.subject {
            self.unfile(key, before);
            self.file(key, record.subject);
        }
        Saved::Stored
    }

    pub(super) fn delete(&self, key: &Key) -> bool {
        let mut shard = self.shard(key);
        let there = self.live(&mut shard, key, self.clock.now()).is_some();
        if there && let Some(slot) = shard.index.get(key).copied() {
            self.remove(&mut shard, slot);
            self.counters.deleted.fetch_add(1, Ordering::Relaxed);
        }
        there
    }

    /// The records stay until they expire, or are deleted one by one: their sessions are dead by their epoch, and a
    /// deletion could hit one that signs in again at this moment.
    pub(super) fn revoke_subject(&self, subject: &SubjectTag) -> u64 {
        let now = self.clock.now();
        let mut subjects = self.subjects(subject);
        let known = subjects.get_or_add(*subject, now);
        known.epoch += 1;
        known.revoked_at = now;
        known.epoch
    }
}

#[cfg(test)]
mod tests {
    use core::hash::BuildHasher as _;
    use std::collections::HashSet;

    use super::*;
    use crate::{clock::ManualClock, store::MemoryStore};

    const ROUNDS: u32 = 100_000;

    fn key(number: u32) -> Key {
        Key::from_bytes(*SubjectTag::new(&number.to_string()).as_bytes())
    }

    fn slots(store: &MemoryStore) -> usize {
        store.tables.shards.iter().map(|shard| lock(shard).slots.len()).sum()
    }

    fn subjects(store: &MemoryStore) -> usize {
        store.tables.subjects.iter().map(|subjects| lock(subjects).known.len()).sum()
    }

    #[test]
    fn creating_and_deleting_does_not_grow_the_slots() {
        let store = MemoryStore::new();
        let record = Record::new(Version::default(), Timestamp::MAX, "x");
        for number in 0..ROUNDS {
            assert_eq!(store.tables.create(&key(number), &record), Ok(true));
            assert!(store.tables.delete(&key(number)));
        }
        assert!(slots(&store) <= SHARDS, "{}", slots(&store));
        assert!(store.tables.shards.iter().all(|shard| lock(shard).index.is_empty()));
    }

    #[test]
    fn expired_records_make_way_for_new_ones() {
        let clock = ManualClock::default();
        let store = MemoryStore::builder().clock(clock.clone()).build();
        for number in 0..ROUNDS {
            clock.advance(Duration::from_millis(1));
            // A thousand are alive at any time.
            let record = Record::new(Version::default(), clock.now() + Duration::from_secs(1), "x");
            assert_eq!(store.tables.create(&key(number), &record), Ok(true));
        }
        assert!(slots(&store) < 3000, "{}", slots(&store));
    }

    #[test]
    fn subjects_that_come_and_go_leave_nothing() {
        let store = MemoryStore::new();
        let mut record = Record::new(Version::default(), Timestamp::MAX, "x");
        for number in 0..ROUNDS {
            record.subject = Some(SubjectTag::new(&number.to_string()));
            assert_eq!(store.tables.create(&key(0), &record), Ok(true));
            assert!(store.tables.delete(&key(0)));
        }
        assert_eq!(subjects(&store), 0);

        // A record that changes hands leaves nothing with the subject before.
        assert_eq!(store.tables.create(&key(0), &record), Ok(true));
        for number in 0..ROUNDS {
            let expected = record.version;
            record.subject = Some(SubjectTag::new(&number.to_string()));
            record.version.counter += 1;
            assert_eq!(store.tables.save(&key(0), &record, expected), Saved::Stored);
        }
        assert_eq!(subjects(&store), 1);
    }

    #[test]
    fn keys_are_spread_over_the_shards_and_within_their_tables() {
        let store = MemoryStore::new();
        let record = Record::new(Version::default(), Timestamp::MAX, "x");
        for number in 0..100 * SHARDS as u32 {
            assert_eq!(store.tables.create(&key(number), &record), Ok(true));
        }
        for shard in &store.tables.shards {
            let shard = lock(shard);
            assert!((50..200).contains(&shard.index.len()), "{} of 100", shard.index.len());
            let hashes: HashSet<_> =
                shard.index.keys().map(|key| shard.index.hasher().hash_one(key)).collect();
            assert_eq!(hashes.len(), shard.index.len());
        }
    }

    #[test]
    fn a_sweep_of_subjects_forgets_those_that_were_revoked_an_hour_ago_and_have_no_sessions() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let hour_ago = Timestamp::from_millis(now.as_millis() - 3_600_000);
        let subject = |epoch, revoked_at, keys: &[u32]| Subject {
            epoch,
            revoked_at,
            keys: keys.iter().map(|number| (key(*number), epoch)).collect(),
        };
        let cases = [
            ("signed in", subject(0, Timestamp::default(), &[1]), true),
            ("signed in again", subject(2, hour_ago, &[2, 3]), true),
            ("revoked", subject(1, now, &[]), true),
            ("revoked within the hour", subject(1, hour_ago + Duration::from_millis(1), &[]), true),
            ("revoked an hour ago", subject(1, hour_ago, &[]), false),
        ];
        let mut subjects = Subjects::default();
        let stays = cases.map(|(name, subject, stays)| {
            subjects.known.insert(SubjectTag::new(name), subject);
            (name, stays)
        });
        subjects.get_or_add(SubjectTag::new("new"), now);
        for (name, stays) in stays {
            assert_eq!(subjects.known.contains_key(&SubjectTag::new(name)), stays, "{name}");
        }
    }

    /// A sweep looks at every subject, so the next one comes when there are twice as many.
    #[test]
    fn subjects_are_swept_seldom() {
        let (mut subjects, now) = (Subjects::default(), Timestamp::from_millis(1));
        let (mut sweeps, mut next) = (0, 0);
        for number in 0..10_000 {
            subjects.get_or_add(SubjectTag::new(&number.to_string()), now).file(&key(number));
            sweeps += usize::from(next != subjects.sweep_at);
            next = subjects.sweep_at;
        }
        assert_eq!((subjects.known.len(), sweeps), (10_000, 9), "64, 128 and so on to 16,384");
    }

    /// A request that began before the revocation may be running yet, and save its session anew.
    #[test]
    fn an_epoch_outlives_the_last_session_of_its_subject() {
        let store = MemoryStore::new();
        let subject = SubjectTag::new("ada");
        let record = Record::new(Version::default(), Timestamp::MAX, "x").of_subject(Some(subject));
        assert_eq!(store.tables.create(&key(0), &record), Ok(true));
        assert_eq!(store.tables.revoke_subject(&subject), 1);
        assert!(store.tables.delete(&key(0)));
        assert_eq!(store.tables.epoch(Some(subject)), 1);
    }

    #[test]
    fn epochs_are_kept_for_an_hour_and_not_for_ever() {
        let clock = ManualClock::default();
        let store = MemoryStore::builder().clock(clock.clone()).build();
        let first = SubjectTag::new("first");
        store.tables.revoke_subject(&first);
        for number in 0..ROUNDS {
            clock.advance(Duration::from_secs(1));
            store.tables.revoke_subject(&SubjectTag::new(&number.to_string()));
            if number < 3000 {
                assert_eq!(store.tables.epoch(Some(first)), 1);
            }
        }
        assert!(subjects(&store) < 4 * 3600 + 2 * 64 * SHARDS, "{}", subjects(&store));
        assert_eq!(store.tables.epoch(Some(first)), 0);
    }
}
