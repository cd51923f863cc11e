//! Many requests that save one session at the same time: none is lost, and none tries for ever.
//!
//! Time is tokio's paused clock: a store's round trip takes 2 to 8 milliseconds of it, so the figures don't depend on the machine.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use session_native::{
    Client, Config, Error, Key, MemoryStore, Random, RandomError, Sessions, Store, StoreError, SubjectTag,
    Version,
    store::{Found, Lookup, Record, Saved},
};
use support::{Data, config, cookie_of};
use tokio::time::{Instant, sleep};

/// What leases a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leases {
    /// None: as [`Store::lease`] is unless it is overridden.
    None,
    Working,
    /// Nobody ever gets one.
    NeverFree,
    /// Asking fails.
    Broken,
}

#[derive(Default)]
struct Counts {
    saves: AtomicU64,
    conflicts: AtomicU64,
    leases: AtomicU64,
    releases: AtomicU64,
}

/// A memory store at the other end of a wire.
#[derive(Clone)]
struct Far {
    store: MemoryStore,
    leases: Leases,
    held: Arc<Mutex<HashMap<Key, (u64, Instant)>>>,
    /// Of the sessions, in the order in which they began.
    keys: Arc<Mutex<Vec<Key>>>,
    counts: Arc<Counts>,
    dice: Arc<Seeded>,
}

impl Far {
    fn new(leases: Leases) -> Self {
        Self {
            store: MemoryStore::new(),
            leases,
            held: Arc::default(),
            keys: Arc::default(),
            counts: Arc::default(),
            dice: Arc::new(Seeded(AtomicU64::new(2))),
        }
    }

    async fn wire(&self) {
        sleep(Duration::from_millis(1 + self.dice.next() % 4)).await;
    }
}

impl Store for Far {
    const IN_PROCESS: bool = true;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.keys.lock().unwrap().push(*key);
        self.store.create(key, record).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.wire().await;
        let found = self.store.load(key, lookup).await;
        self.wire().await;
        found
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        self.counts.saves.fetch_add(1, Ordering::Relaxed);
        self.wire().await;
        let saved = self.store.save(key, record, expected).await;
        if let Ok(Saved::Conflict(_)) = saved {
            self.counts.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        self.wire().await;
        saved
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.store.delete(key).await
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.store.epoch(subject).await
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        if self.leases == Leases::None {
            return Ok(true);
        }
        self.counts.leases.fetch_add(1, Ordering::Relaxed);
        self.wire().await;
        let granted = match self.leases {
            Leases::None => Ok(true),
            Leases::NeverFree => Ok(false),
            Leases::Broken => Err(StoreError::unavailable("no leases today")),
            Leases::Working => {
                let mut held = self.held.lock().unwrap();
                let now = Instant::now();
                let free = held.get(key).is_none_or(|(by, until)| *by == holder || *until <= now);
                if free {
                    held.insert(*key, (holder, now + ttl));
                }
                Ok(free)
            }
        };
        self.wire().await;
        granted
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        if self.leases == Leases::None {
            return Ok(());
        }
        self.counts.releases.fetch_add(1, Ordering::Relaxed);
        self.wire().await;
        let mut held = self.held.lock().unwrap();
        if held.get(key).is_some_and(|(by, _)| *by == holder) {
            held.remove(key);
        }
        Ok(())
    }
}

/// SplitMix64.
struct Seeded(AtomicU64);

impl Seeded {
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

struct Figures {
    /// Updates that were counted; the others were refused as contended.
    saved: u64,
    /// Saves that were sent for one that was stored: on average, and most for one update.
    mean: f64,
    most: u64,
    counts: Arc<Counts>,
}

const WRITERS: usize = 32;
const UPDATES: usize = 50;
const ALL: u64 = (WRITERS * UPDATES) as u64;

/// Writers in some processes: each sends fifty requests that count in one session, as fast as it can.
async fn crowd(processes: usize, leases: Leases) -> Figures {
    let config = Config { random: Some(Arc::new(Seeded(AtomicU64::new(1)))), ..config() };
    let store = Far::new(leases);
    let counts = Arc::clone(&store.counts);
    let nodes: Vec<_> =
        (0..processes).map(|_| Sessions::<Data, _>::new(config.clone(), store.clone()).unwrap()).collect();
    let cookie = cookie_of(&nodes[0].commit(&mut nodes[0].create()).await.unwrap().unwrap());
    let begin = Instant::now();
    let writers = (0..WRITERS).map(|number| {
        let (sessions, cookie) = (nodes[number % processes].clone(), cookie.clone());
        tokio::spawn(async move {
            let (mut saved, mut most) = (0, 0);
            for _ in 0..UPDATES {
                let mut session = sessions.load(&cookie, &Client::default()).await.unwrap();
                let mut tries = 0;
                let counted = sessions.update(&mut session, |data| {
                    tries += 1;
                    data.visits += 1;
                });
                match counted.await {
                    Ok(()) => saved += 1,
                    Err(Error::Contended) => {}
                    Err(error) => panic!("{error}"),
                }
                most = most.max(tries);
            }
            (saved, most)
        })
    });
    let (mut saved, mut most) = (0, 0);
    for writer in writers.collect::<Vec<_>>() {
        let (its, tries) = writer.await.unwrap();
        saved += its;
        most = most.max(tries);
    }
    let session = nodes[0].load(&cookie, &Client::default()).await.unwrap();
    assert_eq!(session.data().visits, saved, "{processes}, {leases:?}: lost updates");
    assert!(store.held.lock().unwrap().is_empty(), "{processes}, {leases:?}: a lease was not given back");
    let mean = counts.saves.load(Ordering::Relaxed) as f64 / saved as f64;
    println!(
        "{processes} processes, leases {leases:?}: {saved} of {ALL} counted; {mean:.2} saves sent for one, at most {most}; \
         {} leases asked for, {} given back; {:?}",
        counts.leases.load(Ordering::Relaxed),
        counts.releases.load(Ordering::Relaxed),
        begin.elapsed()
    );
    Figures { saved, mean, most, counts }
}

// Row 15 under pressure.
#[tokio::test(start_paused = true)]
async fn a_crowd_in_one_process_queues() {
    let crowd = crowd(1, Leases::Working).await;
    assert_eq!(crowd.saved, ALL);
    assert!(crowd.mean < 2.5 && crowd.most <= 4, "{} {}", crowd.mean, crowd.most);
    assert_eq!(crowd.counts.leases.load(Ordering::Relaxed), 0, "no other process is asked to wait");
}

#[tokio::test(start_paused = true)]
async fn crowds_in_several_processes_take_leases() {
    for processes in [8, 32] {
        let (without, with) = (crowd(processes, Leases::None).await, crowd(processes, Leases::Working).await);
        assert_eq!(with.saved, ALL);
        assert!(with.mean < without.mean * 0.7, "{} {}", with.mean, without.mean);
        assert!(with.most < without.most, "{} {}", with.most, without.most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_gets_stops_nobody() {
    for leases in [Leases::NeverFree, Leases::Broken] {
        let crowd = crowd(4, leases).await;
        assert!(crowd.saved > ALL * 9 / 10, "{}", crowd.saved);
    }
}

/// Whoever hammers a session of his own holds up nobody else, however alike their keys are.
#[tokio::test(start_paused = true)]
async fn a_crowd_holds_up_no_stranger() {
    let store = Far::new(Leases::Working);
    let sessions = Sessions::<Data, _>::new(config(), store.clone()).unwrap();
    // Of more sessions than there are first bytes, two have the same.
    let mut cookies = Vec::new();
    let alike = loop {
        cookies.push(cookie_of(&sessions.commit(&mut sessions.create()).await.unwrap().unwrap()));
        let keys = store.keys.lock().unwrap();
        let last = keys.len() - 1;
        if let Some(first) = keys[..last].iter().position(|key| key.as_bytes()[0] == keys[last].as_bytes()[0])
        {
            break [cookies[first].clone(), cookies[last].clone()];
        }
    };
    let [hammered, strangers] = alike;
    let crowd: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (sessions, cookie) = (sessions.clone(), hammered.clone());
            tokio::spawn(async move {
                loop {
                    let mut session = sessions.load(&cookie, &Client::default()).await.unwrap();
                    sessions.update(&mut session, |data| data.visits += 1).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..100 {
        let begun = Instant::now();
        let mut session = sessions.load(&strangers, &Client::default()).await.unwrap();
        sessions.update(&mut session, |data| data.visits += 1).await.unwrap();
        // A load and a save, each there and back.
        assert!(begun.elapsed() <= Duration::from_millis(16), "{:?}", begun.elapsed());
    }
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    let stored = store.counts.saves.load(Ordering::Relaxed) - store.counts.conflicts.load(Ordering::Relaxed);
    let conflicts = store.counts.conflicts.load(Ordering::Relaxed);
    assert!(stored > 150 && conflicts > 20, "there was a crowd: {stored} saves, {conflicts} conflicts");
}
