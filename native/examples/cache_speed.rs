//! What a load from the cache costs, beside a bare `quick_cache` of the same entries: ratios taken in one run, one and two threads, below and
//! at capacity.
//!
//! ```sh
//! cargo run --release -p session-native --features cache --example cache_speed
//! ```

use core::{
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
    time::Duration,
};
use std::{sync::Barrier, thread};

use session_native::{
    Clock as _, Key, MemoryStore, Store as _, SubjectTag, SystemClock, Version,
    store::{
        Lookup, Record,
        cached::{CachedStore, MemoryChannel, MemoryFeed, Publishing},
    },
};

const SESSIONS: u32 = 5_000;
const CAPACITY: usize = 20_000;
const LOADS: u32 = 20_000;
const PASSES: usize = 200;

type Cached = CachedStore<Publishing<MemoryStore>, MemoryFeed>;
type Bare<V> =
    quick_cache::sync::Cache<[u8; 16], V, quick_cache::UnitWeighter, BuildHasherDefault<TagHasher>>;

/// As cheap as it gets: the keys are hashes already.
#[derive(Default)]
struct TagHasher(u64);

impl Hasher for TagHasher {
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

fn bare<V: Clone>() -> Bare<V> {
    let capacity = CAPACITY as u64;
    Bare::with(
        CAPACITY,
        capacity,
        quick_cache::UnitWeighter,
        BuildHasherDefault::default(),
        Default::default(),
    )
}

fn key(number: u32) -> Key {
    Key::from_bytes(*SubjectTag::new(&number.to_string()).as_bytes())
}

fn record() -> Record {
    let expires_at = SystemClock.now() + Duration::from_secs(3600);
    Record::new(Version { counter: 1, nonce: 1 }, expires_at, vec![b'x'; 300])
}

/// The processor time of this thread: the time of day would count whatever else the machine does.
#[cfg(target_os = "linux")]
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(target_os = "linux"))]
fn thread_time() -> Duration {
    SystemClock.monotonic()
}

/// The least nanoseconds of processor time that a call took, of several passes of each. They take turns: what disturbs one disturbs all. Of so many
/// threads that do the same, the slowest counts.
fn compare<const N: usize>(threads: usize, calls: [&(dyn Fn(u32) + Sync); N]) -> [f64; N] {
    let barrier = Barrier::new(threads);
    let work = |thread: u32| {
        [(); PASSES].map(|()| {
            calls.map(|call| {
                barrier.wait();
                let begun = thread_time();
                for number in 0..LOADS {
                    call(number.wrapping_mul(2_654_435_761).wrapping_add(thread));
                }
                thread_time().saturating_sub(begun)
            })
        })
    };
    let passes: Vec<[[Duration; N]; PASSES]> = thread::scope(|scope| {
        let workers = (0..threads as u32).map(|thread| {
            let work = &work;
            scope.spawn(move || work(thread))
        });
        let workers: Vec<_> = workers.collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    });
    core::array::from_fn(|call| {
        let slowest = |pass: usize| passes.iter().map(|worker| worker[pass][call]).max();
        let least = (0..PASSES).filter_map(slowest).min().unwrap_or_default();
        least.as_nanos() as f64 / f64::from(LOADS)
    })
}

/// A load that is answered from memory is ready when it is first polled.
fn load(cached: &Cached, key: &Key, lookup: Lookup) {
    let mut load = core::pin::pin!(cached.load(key, lookup));
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    match load.as_mut().poll(&mut context) {
        core::task::Poll::Ready(found) => drop(black_box(found)),
        core::task::Poll::Pending => panic!("a load that isn't answered from memory"),
    }
}

#[tokio::main]
async fn main() {
    let channel = MemoryChannel::default();
    let cached: Cached = CachedStore::builder(channel.publishing(MemoryStore::new()), channel.feed())
        // However busy the machine is: loads from the cache are what is measured.
        .lease(Duration::from_secs(3600))
        .max_age(Duration::from_secs(3600))
        .max_entries(CAPACITY)
        .max_bytes(256 << 20)
        .build();
    cached.live().await;
    let (bare, bare_epochs) = (bare::<Record>(), bare::<u64>());
    let sessions: Vec<(Key, Lookup)> = (0..SESSIONS)
        .map(|number| {
            let subject = Some(SubjectTag::new(&format!("user {number}")));
            (key(number), Lookup { subject, ..Lookup::default() })
        })
        .collect();
    for (key, signed_in) in &sessions {
        cached.create(key, &record()).await.expect("a record");
        cached.load(key, *signed_in).await.expect("a load");
        bare.insert(*key.as_bytes(), record());
        let subject = signed_in.subject.expect("a subject");
        bare_epochs.insert(*subject.as_bytes(), 0);
    }
    let pick = |number: u32| &sessions[(number % SESSIONS) as usize];
    println!(
        "ns of processor time a call   bare hit   cached load   ratio   two bare hits   signed in   ratio"
    );
    for threads in [1, 2] {
        let one = |number| drop(black_box(bare.get(pick(number).0.as_bytes())));
        let two = |number| {
            let (key, Lookup { subject, .. }) = pick(number);
            let record = bare.get(key.as_bytes());
            let epoch = subject.as_ref().and_then(|subject| bare_epochs.get(subject.as_bytes()));
            drop(black_box((record, epoch)));
        };
        let anonymous = |number| load(&cached, &pick(number).0, Lookup::default());
        let signed_in = |number| load(&cached, &pick(number).0, pick(number).1);
        let [one, anonymous, two, signed_in] =
            tokio::task::block_in_place(|| compare(threads, [&one, &anonymous, &two, &signed_in]));
        println!(
            "{threads} thread(s)                   {one:8.1}      {anonymous:8.1}   {:5.2}        {two:8.1}    {signed_in:8.1}   {:5.2}",
            anonymous / one,
            signed_in / two,
        );
    }
    println!("hit rate {:.4}", cached.stats().hit_rate());

    // Creating sessions: below capacity, then in a full cache, where each evicts another.
    let fill = async |from: u32, to: u32| {
        let begun = thread_time();
        for number in from..to {
            cached.create(&key(number), &record()).await.expect("a record");
        }
        thread_time().saturating_sub(begun).as_nanos() as f64 / f64::from(to - from)
    };
    let below = fill(1_000_000, 1_010_000).await;
    fill(2_000_000, 2_050_000).await;
    let full = fill(3_000_000, 3_010_000).await;
    println!(
        "nanoseconds an insert (the memory store's and the message included): {below:.0} below capacity, {full:.0} at it, ratio {:.2}; {} evictions",
        full / below,
        cached.stats().evictions
    );
}
