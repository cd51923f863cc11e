//! Loads that a cache answers: `CachedStore` beside bare caches of the same entries, by one and two threads.

use core::{
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};
use std::thread;

use session_native::{
    Clock as _, Key, MemoryStore, Store as _, SubjectTag, SystemClock, Version,
    store::{
        Lookup, Record,
        cached::{CachedStore, MemoryChannel, MemoryFeed, Publishing},
    },
};
use tokio::runtime::Builder;

use super::LIFE;
use crate::{
    measure::{Contestant, Effort, Samples, Time, compare},
    report::{Bound, Chart, Goal, Section, Table, duration, ratio, times},
};

const SESSIONS: usize = 5_000;
const CAPACITY: usize = 20_000;
/// Loads of a thread in a turn.
const TURN: usize = 1_000;

const BARE: &str = "quick_cache, bare";
const DASHMAP: &str = "dashmap, bare";
const MOKA: &str = "moka, bare";
const LOAD: &str = "session: CachedStore";
const SIGNED_IN: &str = "session: CachedStore, of a subject";

pub fn loads(effort: Effort) -> Section {
    let mut section = Section::new("Loads that the cache answers");
    section.note(format!(
        "{SESSIONS} records of 300 B, room for {CAPACITY}. The bare caches hold the same records under the same keys, with a hasher that takes the key's bytes as they are; they know of no lease, \
         no expiry, no version and no revocation. dashmap evicts nothing. *Of a subject*: the load also looks whether the subject was revoked.",
    ));
    let measured = [1, 2].map(|threads| (threads, measure(threads, effort)));
    for (threads, samples) in &measured {
        let mut table = Table::new([
            &*format!("{threads} thread(s)"),
            "CPU time of a hit",
            "ratio to quick_cache (quartiles)",
        ]);
        for name in samples.names() {
            let time = duration(samples.time(Time::Cpu, name).median);
            table.row([name.into(), time, ratio(samples.ratio(Time::Cpu, name, BARE))]);
        }
        section.tables.push(table);
        let goal = format!("a cached load by {threads} thread(s), to a hit of bare quick_cache");
        section.goals.push(Goal::new(goal, samples.ratio(Time::Cpu, LOAD, BARE), Bound::AtMost(2.0)));
    }
    let samples = &measured[0].1;
    let others =
        [BARE, DASHMAP, MOKA].map(|name| format!("{name} {}", times(samples.ratio(Time::Cpu, name, LOAD))));
    section.figure(
        "a load that the cache answers",
        duration(samples.time(Time::Cpu, LOAD).median),
        others.join(", "),
    );
    let groups = measured.iter().map(|(threads, samples)| (format!("{threads} thread(s)"), samples));
    section.charts.push(Chart::of_times("cached", "A load that the cache answers", groups));
    section
}

fn measure(threads: usize, effort: Effort) -> Samples {
    let channel = MemoryChannel::default();
    // A thread of its own, which carries the heartbeat: without it the cache is off after the lease.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let cached: Cached = runtime.block_on(async {
        let builder = CachedStore::builder(channel.publishing(MemoryStore::new()), channel.feed());
        let builder = builder.max_entries(CAPACITY).max_bytes(256 << 20);
        // Nothing goes stale here, however slow the machine is.
        let cached = builder.lease(LIFE).max_age(LIFE).build();
        cached.live().await;
        cached
    });
    let quick = quick_cache::sync::Cache::with(
        CAPACITY,
        CAPACITY as u64,
        quick_cache::UnitWeighter,
        BuildKeyHasher::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    );
    let dashmap = dashmap::DashMap::with_capacity_and_hasher(CAPACITY, BuildKeyHasher::default());
    let moka = moka::sync::Cache::builder()
        .max_capacity(CAPACITY as u64)
        .build_with_hasher(BuildKeyHasher::default());
    let signed_in = Lookup { subject: Some(SubjectTag::new("ada")), ..Lookup::default() };
    let keys: Vec<Key> = (0..SESSIONS)
        .map(|number| Key::from_bytes(*SubjectTag::new(&number.to_string()).as_bytes()))
        .collect();
    runtime.block_on(async {
        for key in &keys {
            cached.create(key, &record()).await.expect("a record");
            cached.load(key, signed_in).await.expect("a load");
            quick.insert(*key.as_bytes(), record());
            dashmap.insert(*key.as_bytes(), record());
            moka.insert(*key.as_bytes(), record());
        }
    });
    let misses = cached.stats().misses;
    let samples = compare(
        effort.long(),
        vec![
            many(threads, BARE, &keys, |key| quick.get(key.as_bytes()).is_some_and(seen)),
            many(threads, DASHMAP, &keys, |key| {
                dashmap.get(key.as_bytes()).is_some_and(|record| seen(record.value().clone()))
            }),
            many(threads, MOKA, &keys, |key| moka.get(key.as_bytes()).is_some_and(seen)),
            many(threads, LOAD, &keys, |key| load(&cached, key, Lookup::default())),
            many(threads, SIGNED_IN, &keys, |key| load(&cached, key, signed_in)),
        ],
    );
    assert_eq!(cached.stats().misses, misses, "the cache answered every load");
    samples
}

type Cached = CachedStore<Publishing<MemoryStore>, MemoryFeed>;

fn record() -> Record {
    Record::new(Version { counter: 1, nonce: 1 }, SystemClock.now() + LIFE, vec![b'x'; 300])
}

fn seen(record: Record) -> bool {
    drop(black_box(record));
    true
}

/// A load that is answered from memory is ready when it is first polled.
fn load(cached: &Cached, key: &Key, lookup: Lookup) -> bool {
    match pin!(cached.load(key, lookup)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(Some(found))) => seen(found.record),
        Poll::Ready(_) => false,
        Poll::Pending => panic!("a load that isn't answered from memory"),
    }
}

/// The same in each of the threads, over all keys in an order that no cache of the processor foresees.
fn many<'a>(
    threads: usize,
    name: &str,
    keys: &'a [Key],
    hit: impl Fn(&Key) -> bool + Sync + 'a,
) -> Contestant<'a> {
    Contestant::of_many(name, threads * TURN, move |turns| {
        let work = |thread: usize| {
            for number in 0..turns * TURN {
                let key = &keys[number.wrapping_mul(2_654_435_761).wrapping_add(thread) % SESSIONS];
                assert!(hit(key), "everything is held");
            }
        };
        thread::scope(|scope| {
            for other in 1..threads {
                scope.spawn(move || work(other));
            }
            work(0);
        });
    })
}

type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

/// As cheap as it gets: the keys are hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
