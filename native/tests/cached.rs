//! What a cached store promises beyond the contract of stores: it answers from memory, and never with what is too old. Time is tokio's, and
//! stands still unless a test lets it pass.

#![cfg(feature = "cache")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{collections::BTreeMap, sync::Arc};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use session_native::{
    Client, Clock, Config, Key, MemoryStore, OsRandom, Query as _, Rejection, Resilient, Secret, Session,
    Sessions, State, Store, StoreError, SubjectTag, Timestamp, Version,
    store::{
        Found, Freshness, Lookup, Record, Saved,
        cached::{CacheStats, CachedStore, MemoryChannel, MemoryFeed, Publishing},
    },
};
use tokio::sync::Semaphore;

const LEASE: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_millis(500);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Tokio's time, in 2023.
#[derive(Clone, Copy)]
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000) + self.0.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A store that counts loads, and lets their answers wait.
struct Gated {
    store: MemoryStore,
    loads: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
}

impl Store for Gated {
    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.store.create(key, record).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let found = self.store.load(key, lookup).await;
        let _open = self.gate.acquire().await.unwrap();
        found
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        self.store.save(key, record, expected).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.store.delete(key).await
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.store.epoch(subject).await
    }
}

type Cached = CachedStore<Publishing<Gated>, MemoryFeed>;

/// One of the nodes that share a store.
struct Node {
    store: Arc<Cached>,
    feed: MemoryFeed,
    loads: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
}

impl Node {
    fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    async fn load(&self, key: &Key) -> Option<Record> {
        self.load_with(key, Lookup::default()).await.map(|found| found.record)
    }

    async fn load_with(&self, key: &Key, lookup: Lookup) -> Option<Found> {
        self.store.load(key, lookup).await.unwrap()
    }

    /// Whether a load is answered without asking the store.
    async fn has(&self, key: &Key) -> bool {
        let before = self.loads();
        self.load(key).await;
        self.loads() == before
    }
}

struct Cluster {
    clock: TokioClock,
    channel: MemoryChannel,
    memory: MemoryStore,
}

impl Cluster {
    fn new() -> Self {
        let clock = TokioClock(tokio::time::Instant::now());
        Self { clock, channel: MemoryChannel::default(), memory: MemoryStore::builder().clock(clock).build() }
    }

    async fn node(&self) -> Node {
        self.node_of(10_000, 64 << 20).await
    }

    async fn node_of(&self, max_entries: usize, max_bytes: u64) -> Node {
        let (loads, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(1000)));
        let store = Gated { store: self.memory.clone(), loads: Arc::clone(&loads), gate: Arc::clone(&gate) };
        let feed = self.channel.feed().heartbeat_every(HEARTBEAT);
        let store = CachedStore::builder(self.channel.publishing(store), feed.clone())
            .lease(LEASE)
            .max_entries(max_entries)
            .max_bytes(max_bytes)
            .clock(self.clock)
            .build();
        store.live().await;
        Node { store: Arc::new(store), feed, loads, gate }
    }

    fn record(&self, counter: u64) -> Record {
        let expires_at = self.clock.now() + Duration::from_secs(3600);
        Record::new(Version { counter, nonce: counter }, expires_at, counter.to_string())
    }
}

fn key(number: u32) -> Key {
    Key::from_bytes(*SubjectTag::new(&number.to_string()).as_bytes())
}

fn version(counter: u64) -> Version {
    Version { counter, nonce: counter }
}

fn counter(record: Option<Record>) -> Option<u64> {
    record.map(|record| record.version.counter)
}

/// Lets every task do what it can; a millisecond passes.
async fn settle() {
    tokio::time::sleep(MILLISECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_once_is_answered_from_memory() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    assert_eq!(a.store.create(&key(1), &cluster.record(1)).await, Ok(true));
    for _ in 0..5 {
        assert_eq!(b.load(&key(1)).await, Some(cluster.record(1)));
        // Whoever wrote it has it already.
        assert_eq!(a.load(&key(1)).await, Some(cluster.record(1)));
    }
    assert_eq!((a.loads(), b.loads()), (0, 1));
    let stats = b.store.stats();
    assert_eq!((stats.hits, stats.misses, stats.bypasses, stats.entries), (4, 1, 0, 1));
    assert!((stats.hit_rate() - 0.8).abs() < f64::EPSILON);
    assert!(b.store.evict(&key(1)) && !b.store.evict(&key(1)));
    assert!(!b.has(&key(1)).await && b.has(&key(1)).await);
}

#[tokio::test(start_paused = true)]
async fn absence_is_not_kept() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    b.feed.hold();
    assert_eq!(b.load(&key(1)).await, None);
    assert_eq!(a.store.create(&key(1), &cluster.record(1)).await, Ok(true));
    assert_eq!(counter(b.load(&key(1)).await), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_change_elsewhere_is_felt_at_once() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    for counter_of in 1..20 {
        assert_eq!(counter(b.load(&key(1)).await), Some(counter_of));
        assert!(b.has(&key(1)).await);
        let saved = a.store.save(&key(1), &cluster.record(counter_of + 1), version(counter_of)).await;
        assert_eq!(saved, Ok(Saved::Stored));
        settle().await;
    }
    assert!(b.load(&key(1)).await.is_some());
    assert_eq!(a.store.delete(&key(1)).await, Ok(true));
    settle().await;
    assert_eq!(b.load(&key(1)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_elsewhere_is_felt_at_once() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    let subject = SubjectTag::new("ada");
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    let lookup = Lookup { subject: Some(subject), ..Lookup::default() };
    for epoch in 0..3 {
        for _ in 0..2 {
            assert_eq!(b.load_with(&key(1), lookup).await.unwrap().epoch, epoch);
        }
        assert_eq!(b.loads(), epoch + 1, "one load for each epoch");
        // What the node that revokes has, it has at once; `Gated` can't revoke, so another way in.
        let revoking = cluster.channel.publishing(cluster.memory.clone());
        assert_eq!(revoking.revoke_subject(&subject).await, Ok(epoch + 1));
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_cleared_is_felt_at_once() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    for number in 0..100 {
        a.store.create(&key(number), &cluster.record(1)).await.unwrap();
        b.load(&key(number)).await;
    }
    cluster.channel.publishing(cluster.memory.clone()).clear().await.unwrap();
    settle().await;
    assert_eq!((a.store.stats().entries, b.store.stats().entries), (0, 0));
    for number in 0..100 {
        assert_eq!(b.load(&key(number)).await, None);
        assert_eq!(a.load(&key(number)).await, None);
    }
}

/// P5. The feed hangs and nobody is told: to the millisecond, nothing older than the lease is served.
#[tokio::test(start_paused = true)]
async fn a_silent_feed_costs_the_lease_and_no_more() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    assert!(b.load(&key(1)).await.is_some());
    tokio::time::sleep(HEARTBEAT * 4).await;
    assert!(b.has(&key(1)).await, "heartbeats keep it");

    b.feed.hold();
    let age = b.store.stats().lease_age.unwrap();
    assert!(age < HEARTBEAT + MILLISECOND, "{age:?}");
    a.store.delete(&key(1)).await.unwrap();
    tokio::time::sleep(LEASE - age).await;
    assert!(b.load(&key(1)).await.is_some(), "the cache is still trusted");
    tokio::time::sleep(MILLISECOND).await;
    assert_eq!(b.load(&key(1)).await, None);
    // Nor what was read in the meantime, until the feed is heard again.
    a.store.create(&key(2), &cluster.record(1)).await.unwrap();
    assert!(!b.has(&key(2)).await && !b.has(&key(2)).await);
    b.feed.restore();
    tokio::time::sleep(HEARTBEAT * 2).await;
    assert!(b.store.stats().lease_age.unwrap() <= HEARTBEAT);
    assert_eq!(b.load(&key(1)).await, None);
    assert!(b.has(&key(2)).await);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_empties_the_cache() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    for number in 0..10 {
        a.store.create(&key(number), &cluster.record(1)).await.unwrap();
        b.load(&key(number)).await;
    }
    let before = b.store.stats();
    b.feed.cut();
    settle().await;
    let stats = b.store.stats();
    assert_eq!((stats.entries, stats.lease_age), (0, None));
    assert!(stats.epoch_changes > before.epoch_changes);
    // What happens meanwhile is never told.
    a.store.delete(&key(0)).await.unwrap();
    assert_eq!(b.load(&key(0)).await, None);
    assert!(!b.has(&key(1)).await && !b.has(&key(1)).await, "nothing is kept while nothing is heard");
    tokio::time::sleep(Duration::from_secs(10)).await;
    b.feed.restore();
    b.store.live().await;
    assert_eq!(b.load(&key(0)).await, None);
    assert!(!b.has(&key(1)).await && b.has(&key(1)).await);
    assert!(b.store.stats().down >= Duration::from_secs(10));
}

/// A load that reads before a change and is answered after it was told.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_overtaken_is_not_kept() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    for is_deleted in [false, true] {
        let key = key(u32::from(is_deleted));
        a.store.create(&key, &cluster.record(1)).await.unwrap();
        settle().await;
        let closed = b.gate.clone().acquire_many_owned(1000).await.unwrap();
        let reading = tokio::spawn({
            let store = Arc::clone(&b.store);
            async move { store.load(&key, Lookup::default()).await.unwrap() }
        });
        settle().await;
        if is_deleted {
            a.store.delete(&key).await.unwrap();
        } else {
            a.store.save(&key, &cluster.record(2), version(1)).await.unwrap();
        }
        settle().await;
        drop(closed);
        assert_eq!(reading.await.unwrap().unwrap().record.version, version(1), "it began before the change");
        assert_eq!(counter(b.load(&key).await), (!is_deleted).then_some(2));
    }
}

/// The same on one node, whose feed is silent: the node's own write is enough.
#[tokio::test(start_paused = true)]
async fn a_nodes_own_write_is_visible_at_once() {
    let cluster = Cluster::new();
    let a = cluster.node().await;
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    a.feed.hold();
    a.store.evict(&key(1));
    let closed = a.gate.clone().acquire_many_owned(1000).await.unwrap();
    let reading = tokio::spawn({
        let store = Arc::clone(&a.store);
        async move { store.load(&key(1), Lookup::default()).await.unwrap() }
    });
    settle().await;
    a.store.save(&key(1), &cluster.record(2), version(1)).await.unwrap();
    assert_eq!(counter(a.load(&key(1)).await), Some(2));
    drop(closed);
    assert_eq!(reading.await.unwrap().unwrap().record.version, version(1));
    assert_eq!(counter(a.load(&key(1)).await), Some(2));
    assert!(a.has(&key(1)).await);
    a.store.delete(&key(1)).await.unwrap();
    assert_eq!(a.load(&key(1)).await, None);
}

#[tokio::test(start_paused = true)]
async fn one_request_asks_for_all() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    let closed = b.gate.clone().acquire_many_owned(1000).await.unwrap();
    let load = || {
        let store = Arc::clone(&b.store);
        tokio::spawn(async move { store.load(&key(1), Lookup::default()).await.unwrap() })
    };
    let loads: Vec<_> = (0..100).map(|_| load()).collect();
    settle().await;
    assert_eq!(b.loads(), 1);
    drop(closed);
    for load in loads {
        assert!(load.await.unwrap().is_some());
    }
    assert_eq!((b.loads(), b.store.stats().hits, b.store.stats().misses), (1, 99, 1));
}

/// Whoever waits is not answered with what was read before a change that came before it.
#[tokio::test(start_paused = true)]
async fn those_who_wait_see_what_they_must_see() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    let closed = b.gate.clone().acquire_many_owned(1000).await.unwrap();
    let load = || {
        let store = Arc::clone(&b.store);
        tokio::spawn(async move { store.load(&key(1), Lookup::default()).await.unwrap() })
    };
    let first = load();
    settle().await;
    b.store.save(&key(1), &cluster.record(2), version(1)).await.unwrap();
    b.store.evict(&key(1));
    let second = load();
    settle().await;
    assert_eq!(b.loads(), 1, "the second waits");
    drop(closed);
    assert_eq!(first.await.unwrap().unwrap().record.version, version(1));
    assert_eq!(second.await.unwrap().unwrap().record.version, version(2));
}

/// A store that hangs costs everyone one deadline: whoever waited for another's answer has waited for the store long enough.
#[tokio::test(start_paused = true)]
async fn one_request_fails_for_all() {
    const DEADLINE: Duration = Duration::from_millis(1500);

    let cluster = Cluster::new();
    let (loads, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let store = Gated { store: cluster.memory.clone(), loads: Arc::clone(&loads), gate: Arc::clone(&gate) };
    let store = Resilient::new(store).deadline(DEADLINE);
    let store =
        CachedStore::builder(cluster.channel.publishing(store), cluster.channel.feed()).clock(cluster.clock);
    let store = Arc::new(store.build());
    store.live().await;
    store.create(&key(1), &cluster.record(1)).await.unwrap();
    store.evict(&key(1));
    let load = || {
        let (store, begun) = (Arc::clone(&store), tokio::time::Instant::now());
        tokio::spawn(async move { (store.load(&key(1), Lookup::default()).await, begun.elapsed()) })
    };
    let mut waiting = vec![load()];
    settle().await;
    waiting.extend((0..100).map(|_| load()));
    for load in waiting {
        let (found, waited) = load.await.unwrap();
        assert!(found.as_ref().is_err_and(StoreError::is_unavailable), "{found:?}");
        assert!(waited <= DEADLINE, "{waited:?}");
    }
    assert!(loads.load(Ordering::SeqCst) <= 3, "the tries of one");
    // Whoever comes now asks for itself.
    gate.add_permits(1);
    assert_eq!(
        counter(store.load(&key(1), Lookup::default()).await.unwrap().map(|found| found.record)),
        Some(1)
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_cancelled_keeps_nobody_waiting() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    let closed = b.gate.clone().acquire_many_owned(1000).await.unwrap();
    let load = || {
        let store = Arc::clone(&b.store);
        tokio::spawn(async move { store.load(&key(1), Lookup::default()).await.unwrap() })
    };
    let (first, second) = (load(), load());
    settle().await;
    first.abort();
    settle().await;
    assert_eq!(b.loads(), 2, "the second asks for itself");
    drop(closed);
    assert!(second.await.unwrap().is_some());
    assert!(b.has(&key(1)).await);
}

#[tokio::test(start_paused = true)]
async fn freshness_is_chosen_per_call() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    b.load(&key(1)).await;
    tokio::time::sleep(HEARTBEAT).await;
    b.feed.hold();
    let age = b.store.stats().lease_age.unwrap();
    a.store.save(&key(1), &cluster.record(2), version(1)).await.unwrap();
    let load = async |freshness| {
        let lookup = Lookup { freshness, ..Lookup::default() };
        b.load_with(&key(1), lookup).await.unwrap().record.version.counter
    };
    let second = Duration::from_secs(1);
    tokio::time::sleep(second - age).await;
    assert_eq!(load(Freshness::AtMost(second)).await, 1);
    tokio::time::sleep(MILLISECOND).await;
    assert_eq!(load(Freshness::AtMost(Duration::MAX)).await, 1);
    assert_eq!(load(Freshness::Cached).await, 1);
    assert_eq!(load(Freshness::AtMost(second)).await, 2);
    // Who has heard the newer answer isn't given the older one again.
    assert_eq!(load(Freshness::Cached).await, 2);
    a.store.delete(&key(1)).await.unwrap();
    assert!(b.load(&key(1)).await.is_some());
    let lookup = Lookup { freshness: Freshness::Linearizable, ..Lookup::default() };
    assert!(b.load_with(&key(1), lookup).await.is_none());
    assert!(b.load(&key(1)).await.is_none());
    assert_eq!(b.store.stats().bypasses, 1);
}

#[tokio::test(start_paused = true)]
async fn the_bounds_are_kept() {
    let cluster = Cluster::new();
    let few = cluster.node_of(500, 64 << 20).await;
    for number in 0..5000 {
        few.store.create(&key(number), &cluster.record(1)).await.unwrap();
        assert!(few.store.stats().entries <= 500);
    }
    let stats = few.store.stats();
    assert!(stats.entries > 250 && stats.evictions >= 4500, "{stats:?}");
    assert!(stats.weight <= 64 << 20);
    for number in 0..5000 {
        assert!(few.load(&key(number)).await.is_some());
    }

    let light = cluster.node_of(10_000, 1 << 20).await;
    for number in 0..5000 {
        let mut large = cluster.record(1);
        large.payload = vec![b'x'; 10_000].into();
        light.store.create(&key(10_000 + number), &large).await.unwrap();
    }
    let stats = light.store.stats();
    assert!(stats.weight <= 1 << 20 && stats.entries <= 104, "{stats:?}");
    assert!(stats.entries > 50, "{stats:?}");
    // What is larger than everything that may be held is not held, and is answered all the same.
    let mut huge = cluster.record(1);
    huge.payload = vec![b'x'; 2 << 20].into();
    light.store.create(&key(1_000_000), &huge).await.unwrap();
    assert_eq!(light.load(&key(1_000_000)).await, Some(huge));
    assert!(!light.has(&key(1_000_000)).await);
}

#[tokio::test(start_paused = true)]
async fn an_expired_record_is_no_answer() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let mut brief = cluster.record(1);
    brief.expires_at = cluster.clock.now() + Duration::from_secs(2);
    node.store.create(&key(1), &brief).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(node.has(&key(1)).await);
    // Extended elsewhere: nobody is told, and nobody needs to be.
    let touch = Some(cluster.clock.now() + Duration::from_secs(5));
    cluster.memory.load(&key(1), Lookup { touch, ..Lookup::default() }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.load(&key(1)).await.map(|record| record.expires_at), touch);
    assert!(node.has(&key(1)).await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(node.load(&key(1)).await, None);
}

#[tokio::test(start_paused = true)]
async fn extending_asks_the_store_and_is_kept() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    node.store.create(&key(1), &cluster.record(1)).await.unwrap();
    let touch = Some(cluster.record(1).expires_at + Duration::from_secs(60));
    for loads in 1..=2 {
        assert!(node.load_with(&key(1), Lookup { touch, ..Lookup::default() }).await.is_some());
        assert_eq!(node.loads(), loads);
    }
    assert_eq!(node.load(&key(1)).await.map(|record| record.expires_at), touch);
    assert_eq!(node.loads(), 2);
}

/// What is done behind the library's back is felt some time.
#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_longer_than_the_greatest_age() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    node.store.create(&key(1), &cluster.record(1)).await.unwrap();
    cluster.memory.delete(&key(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(node.load(&key(1)).await.is_some());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.load(&key(1)).await, None);
}

/// A conflict tells what is stored; that is worth keeping.
#[tokio::test(start_paused = true)]
async fn what_a_refused_save_tells_is_kept() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node().await, cluster.node().await);
    a.store.create(&key(1), &cluster.record(1)).await.unwrap();
    let second = cluster.record(2);
    a.store.save(&key(1), &second, version(1)).await.unwrap();
    settle().await;
    let refused = b.store.save(&key(1), &cluster.record(7), version(1)).await;
    assert_eq!(refused, Ok(Saved::Conflict(second)));
    assert!(b.has(&key(1)).await);
    a.store.delete(&key(1)).await.unwrap();
    assert_eq!(b.store.save(&key(1), &cluster.record(3), version(2)).await, Ok(Saved::Gone));
    assert_eq!(b.load(&key(1)).await, None);
}

/// Who signs in on one node, and comes to another before that has heard of it, is not turned away there.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_ahead_of_the_cache_is_asked_about() {
    let (channel, memory) = (MemoryChannel::default(), MemoryStore::new());
    let config = Config::production(Secret::generate(&OsRandom).unwrap());
    let node = async || {
        let store = CachedStore::new(channel.publishing(memory.clone()), channel.feed());
        store.live().await;
        Sessions::<(), _>::new(config.clone(), store).unwrap()
    };
    let (a, b) = (node().await, node().await);
    let client = Client::default();
    let sign_in = async |mut session: Session<()>| {
        session.authenticate("ada");
        let cookie = a.commit(&mut session).await.unwrap().unwrap();
        cookie.as_str().split(';').next().unwrap().to_owned()
    };
    let first = sign_in(a.create()).await;
    assert!(b.load(&first, &client).await.unwrap().is_authenticated());
    b.store().feed().hold();
    let second = sign_in(a.load(&first, &client).await.unwrap()).await;
    // The cache is what it was.
    assert!(b.load(&first, &client).await.unwrap().is_authenticated());
    assert!(b.load(&second, &client).await.unwrap().is_authenticated());
}

/// A cache may vouch for a session that ended a moment ago, and so answer a request; a token that is made on its word would outlive the lease.
#[tokio::test(start_paused = true)]
async fn no_token_is_renewed_on_the_word_of_a_cache() {
    let (channel, memory) = (MemoryChannel::default(), MemoryStore::new());
    let [old, new] = [(); 2].map(|()| Secret::generate(&OsRandom).unwrap());
    let node = async |config| {
        let store = CachedStore::new(channel.publishing(memory.clone()), channel.feed());
        store.live().await;
        Sessions::<(), _>::new(config, store).unwrap()
    };
    let a = node(Config::production(old.clone())).await;
    // What it reads was sealed with the key of before, so that it renews every token.
    let b = node(Config::production(new).previous_secret(&old)).await;
    let client = Client::default();
    let mut session = a.create();
    let cookie = a.commit(&mut session).await.unwrap().unwrap();
    let cookie = cookie.as_str().split(';').next().unwrap();
    let mut renewed = b.load(cookie, &client).await.unwrap();
    assert!(b.commit(&mut renewed).await.unwrap().is_some());
    b.store().feed().hold();
    a.destroy(&mut session).await.unwrap();
    let mut ended = b.load(cookie, &client).await.unwrap();
    assert_eq!(ended.state(), State::Active, "it has not heard of the end");
    assert!(b.commit(&mut ended).await.unwrap().is_none());
    assert_eq!(ended.rejection(), Some(Rejection::Revoked));
}

/// What the statistics say is recorded as metrics, about every second.
#[test]
fn the_metrics_are_those_of_the_statistics() {
    let recorder = DebuggingRecorder::new();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let second = Duration::from_secs(1);
    let scenario = async {
        let cluster = Cluster::new();
        let node = cluster.node_of(100, 1 << 20).await;
        for number in 0..200 {
            node.store.create(&key(number), &cluster.record(1)).await.unwrap();
        }
        node.store.evict(&key(199));
        for _ in 0..4 {
            assert!(node.load(&key(199)).await.is_some());
        }
        let lookup = Lookup { freshness: Freshness::Linearizable, ..Lookup::default() };
        node.load_with(&key(199), lookup).await;
        tokio::time::sleep(second * 2).await;
        let live = (node.store.stats(), recorded(&recorder));
        node.feed.cut();
        tokio::time::sleep(second * 10).await;
        let down = (node.store.stats(), recorded(&recorder));
        (live, down)
    };
    let ((live, live_metrics), (down, down_metrics)) =
        metrics::with_local_recorder(&recorder, || runtime.block_on(scenario));

    assert_eq!((live.hits, live.misses, live.bypasses), (3, 1, 1));
    assert!(live.evictions >= 100 && (50..=100).contains(&live.entries), "{live:?}");
    let counted = |stats: &CacheStats| {
        [
            ("session.cache.hits", stats.hits as f64),
            ("session.cache.misses", stats.misses as f64),
            ("session.cache.bypasses", stats.bypasses as f64),
            ("session.cache.evictions", stats.evictions as f64),
            ("session.cache.epoch_changes", stats.epoch_changes as f64),
            ("session.cache.entries", stats.entries as f64),
            ("session.cache.weight_bytes", stats.weight as f64),
            ("session.cache.hit_rate", stats.hit_rate()),
        ]
    };
    for (stats, metrics) in [(&live, &live_metrics), (&down, &down_metrics)] {
        for (name, value) in counted(stats) {
            assert_eq!(metrics[name], value, "{name}");
        }
    }
    assert!((live.hit_rate() - 0.75).abs() < f64::EPSILON);
    assert!(live_metrics["session.cache.lease_age_seconds"] <= HEARTBEAT.as_secs_f64());
    assert_eq!(live_metrics["session.cache.down_seconds"], live.down.as_secs_f64());

    assert_eq!((down.epoch_changes, down.entries, down.lease_age), (live.epoch_changes + 1, 0, None));
    assert_eq!(down_metrics["session.cache.lease_age_seconds"], f64::INFINITY);
    // Metrics are at most a second old.
    let (was, is) = (down_metrics["session.cache.down_seconds"], down.down.as_secs_f64());
    assert!((live.down + second * 9).as_secs_f64() <= was && was <= is, "{was} of {is}");
}

/// Every counter and gauge by its name.
fn recorded(recorder: &DebuggingRecorder) -> BTreeMap<String, f64> {
    let metrics = recorder.snapshotter().snapshot().into_vec();
    let values = metrics.into_iter().map(|(key, _, _, value)| {
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(_) => f64::NAN,
        };
        (key.key().name().to_owned(), value)
    });
    values.collect()
}
