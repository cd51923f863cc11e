//! Every interleaving of a few threads on one bucket, tried by loom: reads that are answered late, changes, links that come and go, and hits, which
//! take no lock.
//!
//! `table.rs` and `pulse.rs` are compiled here a second time, with loom's atomics and locks in the place of the real ones. Loom rather than a
//! scheduler that tries orders at random: it is exhaustive up to its bound, and it knows that a relaxed read may see an old value, which is what hits
//! stand and fall with. `quick_cache` is no part of it: a map behind one lock stands for it, as each of its operations is one step to all
//! others. What happens in the protocol itself is for `model/` to try.

#![allow(clippy::duplicate_mod, reason = "that is the idea")]
#![allow(clippy::modulo_one, reason = "of one bucket, there")]

#[path = "../pulse.rs"]
mod pulse;
#[path = "../table.rs"]
#[allow(dead_code, reason = "what is not of interest here")]
mod table;

use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use std::sync::Arc;

use loom::{sync::atomic::AtomicU64 as Commits, thread};
use session_core::{Key, Timestamp, Version};

use self::{
    protocol::{Change, EntryId, Pulse},
    sync::Ordering::SeqCst,
    table::{Entry, Limits, Table},
};
use super::{protocol, stats};
use crate::store::Record;

/// Every tag here begins with a zero.
const BUCKETS: usize = 1;

/// Threads change places unasked so many times in a run: three are enough for every order that a part left out breaks.
const PREEMPTIONS: usize = 3;

mod sync {
    use loom::sync::atomic;
    pub(super) use loom::sync::{Mutex, MutexGuard, atomic::Ordering};
    pub(super) use std::sync::PoisonError;

    /// Loom's, but for an ablation.
    pub(super) struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub(super) fn new(value: u64) -> Self {
            Self(atomic::AtomicU64::new(value))
        }

        pub(super) fn load(&self, ordering: Ordering) -> u64 {
            self.0.load(if super::is_without(super::Without::Acquire) { Ordering::Relaxed } else { ordering })
        }

        pub(super) fn store(&self, value: u64, ordering: Ordering) {
            let is_relaxed = super::is_without(super::Without::Release);
            self.0.store(value, if is_relaxed { Ordering::Relaxed } else { ordering });
        }

        pub(super) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
            self.0.fetch_add(value, ordering)
        }
    }
}

mod entries {
    use std::{collections::BTreeMap, sync::Arc};

    use session_core::{Key, SubjectTag, Version};

    use super::{
        protocol::EntryId,
        stats::Counters,
        sync::{Mutex, MutexGuard},
        table::{Entry, Limits, Value},
    };
    use crate::store::Record;

    #[derive(Default)]
    pub(super) struct Holds {
        records: Mutex<BTreeMap<[u8; 16], Entry<Record>>>,
        /// For an ablation.
        late: std::sync::Mutex<Vec<([u8; 16], Entry<Record>)>>,
    }

    impl Holds {
        pub(super) fn new(_: &Limits, _: &Arc<Counters>) -> Self {
            Self::default()
        }

        fn records(&self) -> MutexGuard<'_, BTreeMap<[u8; 16], Entry<Record>>> {
            self.records.lock().expect("no thread panics")
        }

        pub(super) fn record(&self, key: &Key) -> Option<Entry<Record>> {
            self.records().get(key.as_bytes()).cloned()
        }

        pub(super) fn epoch(&self, _: &SubjectTag) -> Option<Entry<u64>> {
            unreachable!("no subject is asked for")
        }

        pub(super) fn version(&self, id: &EntryId) -> Option<Version> {
            self.records().get(&id.tag).map(|entry| entry.value.version)
        }

        pub(super) fn insert(&self, id: EntryId, Entry { epoch, deadline, value }: Entry<Value>) {
            let Value::Record(record) = value else { unreachable!("no subject is asked for") };
            let entry = Entry { epoch, deadline, value: record };
            if super::is_without(super::Without::LockUntilKept) {
                self.late.lock().expect("no thread panics").push((id.tag, entry));
            } else {
                self.records().insert(id.tag, entry);
            }
        }

        /// What should have been done under the bucket's lock.
        pub(super) fn insert_late(&self) {
            let late = core::mem::take(&mut *self.late.lock().expect("no thread panics"));
            if !late.is_empty() {
                self.records().extend(late);
            }
        }

        pub(super) fn remove(&self, id: &EntryId) -> bool {
            self.records().remove(&id.tag).is_some()
        }

        pub(super) fn retain(&self, epoch_of: impl Fn(u8) -> u64) {
            self.records().retain(|tag, entry| entry.epoch == epoch_of(tag[0]));
        }

        pub(super) fn len(&self) -> usize {
            self.records().len()
        }

        pub(super) fn weight(&self) -> u64 {
            0
        }
    }
}

mod time {
    use session_core::Timestamp;

    pub(super) use super::super::time::{MOST_LAG, nanos};

    /// A clock that stands, and whose coarse time lags.
    #[derive(Clone, Copy)]
    pub(super) struct Time {
        pub(super) exact: u64,
        pub(super) lag: u64,
    }

    impl Time {
        pub(super) const fn of_day(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }

        pub(super) const fn exact(&self) -> u64 {
            self.exact
        }

        pub(super) const fn coarse(&self) -> u64 {
            self.exact - self.lag
        }
    }
}

/// What is left out, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A hit reads the entry, then the pulse.
    EntryLast,
    /// A hit reads the epoch, then the time.
    TimeFirst,
    /// A hit's reads of the pulse are relaxed.
    Acquire,
    /// Writes of the pulse are relaxed.
    Release,
    /// The marker is planted before the request is sent.
    MarkerFirst,
    /// The lock is held from the decision to keep an answer until it is kept.
    LockUntilKept,
    /// What is heard is told to those who are reading.
    Floor,
}

thread_local! {
    /// Loom's threads take turns on the test's own.
    static WITHOUT: Cell<Without> = const { Cell::new(Without::Nothing) };
}

fn is_without(part: Without) -> bool {
    WITHOUT.get() == part
}

const KEY: Key = Key::from_bytes([0; 16]);

fn version(counter: u64) -> Version {
    Version { counter, nonce: 0 }
}

/// A node that hears what the store commits: the version of the record is the number of its commits, and the time too.
struct Node {
    table: Table,
    commits: Commits,
}

impl Node {
    /// One commit was heard, and is held.
    fn new() -> Arc<Self> {
        let hour = Duration::from_secs(3600);
        let limits = Limits { max_entries: 10, max_bytes: 1 << 20, lease: hour, max_age: hour };
        let table = Table::new(limits, time::Time { exact: 0, lag: 0 });
        let node = Arc::new(Self { table, commits: Commits::new(1) });
        node.connect(1);
        node.load();
        node
    }

    fn id() -> EntryId {
        EntryId::record(&KEY)
    }

    /// A link, and its first heartbeat.
    fn connect(&self, link: u64) {
        self.table.transition(&[0], |bucket| bucket.subscribed(link));
        self.beat(link);
    }

    fn lose(&self, link: u64) {
        self.table.transition(&[0], |bucket| bucket.lost(link));
    }

    /// To be called where messages are heard: so it comes back behind those that were sent before it.
    fn beat(&self, link: u64) {
        let sent_at = self.commits.load(SeqCst);
        self.table.transition(&[0], |bucket| bucket.heartbeat(link, sent_at));
    }

    fn commit(&self) -> u64 {
        self.commits.fetch_add(1, SeqCst) + 1
    }

    fn hear(&self, change: Change) {
        if is_without(Without::Floor) {
            self.table.entries.remove(&Self::id());
        } else {
            self.table.heard(change);
        }
    }

    /// A load that asks the store.
    fn load(&self) {
        let store = || Record::new(version(self.commits.load(SeqCst)), Timestamp::MAX, "");
        let (watching, found) = if is_without(Without::MarkerFirst) {
            let found = store();
            (self.table.watch(Self::id()), found)
        } else {
            let watching = self.table.watch(Self::id());
            (watching, store())
        };
        watching.record(Some(&found));
        self.table.entries.insert_late();
    }

    /// A load that is to be answered with what is up to date. Gives its beginning, and what it was answered with.
    fn hit(&self) -> (u64, Option<u64>) {
        let now = self.commits.load(SeqCst);
        let Table { pulses, entries, .. } = &self.table;
        let version = match WITHOUT.get() {
            Without::EntryLast => {
                let entry = entries.record(&KEY);
                pulses.serve(0, now, 0, || entry).map(|kept| kept.version)
            }
            Without::TimeFirst => {
                let epoch = pulses.read(0).epoch;
                let pulse = Pulse { epoch, t_ok: pulses.read(0).t_ok };
                let entry = if pulse.is_within(now, 0) { entries.record(&KEY) } else { None };
                let is_served = |entry: &Entry<_>| pulse.serves(entry.epoch, entry.deadline, now, 0);
                entry.filter(is_served).map(|entry| entry.value.version)
            }
            _ => self.table.get_at(now, &KEY, None, 0).map(|found| found.record.version),
        };
        (now, version.map(|version| version.counter))
    }

    /// What is there at the end is what the store holds, and nobody is waited for.
    fn is_clean(&self) -> bool {
        let current = self.table.get_at(0, &KEY, None, 0).map(|found| found.record.version.counter);
        let is_current = current.is_none_or(|version| version == self.commits.load(SeqCst));
        is_current && self.table.watched() == 0
    }
}

fn is_fresh((now, version): &(u64, Option<u64>)) -> bool {
    version.is_none_or(|version| version >= *now)
}

/// Threads beside the one that reads.
fn with<const N: usize>(threads: [fn(&Node); N], hits: usize) -> bool {
    let node = Node::new();
    let threads = threads.map(|act| {
        let node = Arc::clone(&node);
        thread::spawn(move || act(&node))
    });
    let hits: Vec<_> = (0..hits).map(|_| node.hit()).collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    hits.iter().all(is_fresh)
        && hits.iter().filter_map(|(_, version)| *version).is_sorted()
        && node.is_clean()
}

fn save(node: &Node) {
    let version = version(node.commit());
    node.hear(Change::Saved(Node::id(), version));
    node.beat(1);
}

fn clear(node: &Node) {
    node.commit();
    node.hear(Change::Cleared);
    node.beat(1);
}

/// A hit while a save is heard.
fn saved() -> bool {
    with([save], 2)
}

/// A hit while a link is replaced, and what was saved in between is never told.
fn replaced() -> bool {
    let replace: fn(&Node) = |node| {
        node.commit();
        node.lose(1);
        node.connect(2);
    };
    with([replace], 1)
}

/// A hit while everything is given up.
fn cleared() -> bool {
    with([clear], 1)
}

/// A load is answered while a save is heard.
fn answered() -> bool {
    with([save, Node::load], 0)
}

/// A load is answered while everything is given up.
fn answered_and_cleared() -> bool {
    with([clear, Node::load], 0)
}

/// A load is answered while this node saves, and everything is given up.
fn all() -> bool {
    let save: fn(&Node) = |node| {
        let watching = node.table.watch(Node::id());
        let record = Record::new(version(node.commit()), Timestamp::MAX, "");
        watching.saved(&record);
        node.table.entries.insert_late();
    };
    let clear: fn(&Node) = |node| node.hear(Change::Cleared);
    with([save, clear, Node::load], 0)
}

/// How many interleavings of a scene break a promise.
fn broken(without: Without, (name, scene): Scene) -> usize {
    let counted = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counts = Arc::clone(&counted);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    WITHOUT.set(without);
    builder.check(move || {
        counts.0.fetch_add(1, Relaxed);
        counts.1.fetch_add(usize::from(!scene()), Relaxed);
    });
    WITHOUT.set(Without::Nothing);
    let (runs, broken) = (counted.0.load(Relaxed), counted.1.load(Relaxed));
    println!("{name} without {without:?}: {broken} of {runs} interleavings break a promise");
    broken
}

type Scene = (&'static str, fn() -> bool);

const SAVED: Scene = ("saved", saved);
const REPLACED: Scene = ("replaced", replaced);
const ANSWERED: Scene = ("answered", answered);

#[test]
fn no_interleaving_breaks_a_promise() {
    let more: [Scene; 3] =
        [("cleared", cleared), ("answered and cleared", answered_and_cleared), ("all", all)];
    for scene in [SAVED, REPLACED, ANSWERED].into_iter().chain(more) {
        assert_eq!(broken(Without::Nothing, scene), 0, "{}", scene.0);
    }
}

#[test]
fn every_part_is_needed_between_threads() {
    let parts = [
        (Without::EntryLast, SAVED),
        (Without::TimeFirst, REPLACED),
        (Without::Acquire, REPLACED),
        (Without::Release, REPLACED),
        (Without::MarkerFirst, ANSWERED),
        (Without::LockUntilKept, ANSWERED),
        (Without::Floor, ANSWERED),
    ];
    for (without, scene) in parts {
        assert!(broken(without, scene) > 0, "{} holds without {without:?}", scene.0);
    }
}

/// A coarse time that lags as much as it may, and more than any does: never is anything served that is older than the lease.
#[test]
fn a_lagging_time_serves_nothing_for_longer() {
    const LEASE: u64 = 1_000_000_000;
    loom::model(|| {
        for lag in [0, 1_000_000, time::MOST_LAG, LEASE / 2] {
            for age in
                [0, LEASE / 4, LEASE / 2, LEASE - 1, LEASE, LEASE + 1, LEASE + time::MOST_LAG, LEASE * 2]
            {
                let t_ok = LEASE * 10;
                let hour = Duration::from_secs(3600);
                let limits = Limits { max_entries: 10, max_bytes: 1 << 20, lease: hour, max_age: hour };
                let table = Table::new(limits, time::Time { exact: t_ok + age, lag });
                table.transition(&[0], |bucket| bucket.subscribed(1));
                table.transition(&[0], |bucket| bucket.heartbeat(1, t_ok));
                table.watch(Node::id()).record(Some(&Record::new(version(1), Timestamp::MAX, "")));
                let is_served_quickly = table.get_quickly(&KEY, None, LEASE).is_some();
                assert!(!is_served_quickly || age <= LEASE, "lag {lag}, age {age}");
                let is_served = is_served_quickly || table.get(&KEY, None, LEASE).is_some();
                assert_eq!(is_served, age <= LEASE, "lag {lag}, age {age}");
            }
        }
    });
}
