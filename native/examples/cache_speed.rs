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
use std::{
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};

use session_native::{
    Clock as _, Key, MemoryStore, Store as _, SubjectTag, SystemClock, Version,
    store::{
        Lookup, Record,
        cached::{CachedStore, MemoryChannel, MemoryFeed, Publishing},
    },
};

const SESSIONS: u32 = 5_000;
const CAPACITY: usize = 20_000;
const LOADS: u32 = 1_000_000;
const PASSES: usize = 5;

type Cached = CachedStore<Publishing<MemoryStore>, MemoryFeed>;
type Bare =
    quick_cache::sync::Cache<[u8; 16], Record, quick_cache::UnitWeighter, BuildHasherDefault<TagHasher>>;

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

fn key(number: u32) -> Key {
    Key::from_bytes(*SubjectTag::new(&number.to_string()).as_bytes())
}

fn record() -> Record {
    let expires_at = SystemClock.now() + Duration::from_secs(3600);
    Record::new(Version { counter: 1, nonce: 1 }, expires_at, vec![b'x'; 300])
}

/// The least nanoseconds that one call took, of several passes.
fn time(threads: usize, count: u32, call: impl Fn(u32) + Send + Sync) -> f64 {
    let pass = || {
        let barrier = Barrier::new(threads + 1);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let (barrier, call) = (&barrier, &call);
                    scope.spawn(move || {
                        barrier.wait();
                        let begun = Instant::now();
                        for number in 0..count {
                            call(number.wrapping_mul(2_654_435_761).wrapping_add(thread as u32));
                        }
                        begun.elapsed()
                    })
                })
                .collect();
            barrier.wait();
            let slowest = workers.into_iter().map(|worker| worker.join().expect("a worker")).max();
            slowest.unwrap_or_default().as_nanos() as f64 / f64::from(count)
        })
    };
    (0..PASSES).map(|_| pass()).fold(f64::INFINITY, f64::min)
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
        .max_entries(CAPACITY)
        .max_bytes(256 << 20)
        .build();
    cached.live().await;
    let bare = Bare::with(
        CAPACITY,
        CAPACITY as u64,
        quick_cache::UnitWeighter,
        BuildHasherDefault::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    );
    let subject = SubjectTag::new("ada");
    let signed_in = Lookup { subject: Some(subject), ..Lookup::default() };
    let keys: Arc<[Key]> = (0..SESSIONS).map(key).collect();
    for key in &*keys {
        cached.create(key, &record()).await.expect("a record");
        cached.load(key, signed_in).await.expect("a load");
        bare.insert(*key.as_bytes(), record());
    }
    let pick = |number: u32| &keys[(number % SESSIONS) as usize];
    println!("nanoseconds a call         bare hit   cached load   ratio   signed in   ratio");
    for threads in [1, 2] {
        let (ours, theirs, both) = tokio::task::block_in_place(|| {
            let theirs = time(threads, LOADS, |number| {
                let record = bare.get(pick(number).as_bytes());
                drop(black_box(record));
            });
            let ours = time(threads, LOADS, |number| load(&cached, pick(number), Lookup::default()));
            let both = time(threads, LOADS, |number| load(&cached, pick(number), signed_in));
            (ours, theirs, both)
        });
        println!(
            "{threads} thread(s)                {theirs:8.1}      {ours:8.1}   {:5.2}    {both:8.1}   {:5.2}",
            ours / theirs,
            both / theirs
        );
    }
    println!("hit rate {:.4}", cached.stats().hit_rate());

    // Creating sessions: below capacity, then in a full cache, where each evicts another.
    let fill = async |from: u32, to: u32| {
        let begun = Instant::now();
        for number in from..to {
            cached.create(&key(number), &record()).await.expect("a record");
        }
        begun.elapsed().as_nanos() as f64 / f64::from(to - from)
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
