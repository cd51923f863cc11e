//! The cache before real servers: what a revocation takes to reach other nodes, and that nothing is served that is older than the lease,
//! whatever is done to the feed.

#![cfg(all(feature = "cache", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use core::time::Duration;
use std::{sync::Arc, time::Instant};

use session_faults::{
    proxy::{Faults, Flow, Proxy},
    servers::{RedisCluster, RedisServer, SentinelTrio, until},
};
use session_native::{
    Clock as _, Key, Query as _, RedisStore, Store as _, SubjectTag, SystemClock, Version,
    store::{Lookup, Record, RedisFeed, cached::CachedStore},
};

const LEASE: Duration = Duration::from_secs(1);

type Cached = CachedStore<RedisStore, RedisFeed>;

struct Node {
    store: Arc<Cached>,
}

impl Node {
    async fn new(url: &str) -> Self {
        let redis = RedisStore::connect(url).await.unwrap();
        let feed = redis.feed().unwrap();
        Self::of(redis, feed).await
    }

    /// Reads and writes along one way and listens along another.
    async fn with_feed_at(url: &str, feed: &str) -> Self {
        let feed = RedisStore::connect(feed).await.unwrap().feed().unwrap();
        Self::of(RedisStore::connect(url).await.unwrap(), feed).await
    }

    async fn of(redis: RedisStore, feed: RedisFeed) -> Self {
        let store = CachedStore::builder(redis, feed).lease(LEASE).build();
        store.live().await;
        Self { store: Arc::new(store) }
    }

    /// Whether the session is there for this node; `None` while it can't be said.
    async fn has(&self, key: &Key) -> Option<bool> {
        self.store.load(key, Lookup::default()).await.ok().map(|found| found.is_some())
    }

    async fn create(&self, key: &Key) {
        assert_eq!(self.store.create(key, &record()).await, Ok(true));
    }

    /// Holds the session, so that the next load needs no server.
    async fn warm(&self, key: &Key) {
        let before = self.store.stats().hits;
        until("a hit", async || self.has(key).await == Some(true) && self.store.stats().hits > before).await;
    }

    /// Asks until a while after the lease has passed since `ended`, which is when the end of the session was known to someone. No load that
    /// begins later than that may find it. Gives how long it was found.
    async fn must_lose(&self, key: &Key, ended: Instant) -> Duration {
        let mut last = Duration::ZERO;
        while ended.elapsed() < LEASE * 2 {
            let begun = ended.elapsed();
            if self.has(key).await == Some(true) {
                assert!(begun <= LEASE, "found {begun:?} after its end");
                last = begun;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        last
    }
}

fn record() -> Record {
    Record::new(Version { counter: 1, nonce: 1 }, SystemClock.now() + Duration::from_secs(3600), "{}")
}

/// Keys all over the buckets.
fn key(number: usize) -> Key {
    Key::from_bytes(*SubjectTag::new(&number.to_string()).as_bytes())
}

/// How a session is ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Delete,
    /// Its subject is signed out everywhere.
    Revoke,
}

/// Whether the session may be used: it is there, and its subject's epoch is that of its birth.
async fn is_good(store: &Cached, key: &Key, subject: SubjectTag) -> bool {
    let lookup = Lookup { subject: Some(subject), ..Lookup::default() };
    store.load(key, lookup).await.unwrap().is_some_and(|found| found.epoch == 0)
}

/// One node ends sessions; two others, who hold them, are asked all the while. Prints how long they went on answering.
async fn measure(name: &str, nodes: [Node; 3], rounds: usize) {
    let [first, others @ ..] = nodes;
    for (series, end) in [End::Delete, End::Revoke].into_iter().enumerate() {
        let mut since_begun = Vec::new();
        let mut since_done = Vec::new();
        for number in 0..rounds {
            let key = key(series * rounds + number);
            let subject = SubjectTag::new(&format!("{end:?} {number}"));
            let record = record().of_subject(Some(subject));
            assert_eq!(first.store.create(&key, &record).await, Ok(true));
            for other in &others {
                let before = other.store.stats().hits;
                until("a hit", async || {
                    is_good(&other.store, &key, subject).await && other.store.stats().hits > before
                })
                .await;
            }
            let asking: Vec<_> = others
                .iter()
                .map(|other| {
                    let store = Arc::clone(&other.store);
                    tokio::spawn(async move {
                        while is_good(&store, &key, subject).await {
                            tokio::task::yield_now().await;
                        }
                        Instant::now()
                    })
                })
                .collect();
            let begun = Instant::now();
            match end {
                End::Delete => assert_eq!(first.store.delete(&key).await, Ok(true)),
                End::Revoke => assert!(first.store.revoke_subject(&subject).await.unwrap() > 0),
            }
            let done = Instant::now();
            assert!(!is_good(&first.store, &key, subject).await, "the node itself knows at once");
            for refused in asking {
                let refused = refused.await.unwrap();
                since_begun.push(refused.saturating_duration_since(begun));
                since_done.push(refused.saturating_duration_since(done));
            }
        }
        for (what, mut times) in [("begun", since_begun), ("answered", since_done)] {
            times.sort_unstable();
            let at = |share: usize| times[(times.len() - 1) * share / 100];
            println!(
                "{name}, {end:?}: refused elsewhere after it was {what}: p50 {:?}, p99 {:?}, max {:?} ({} of them)",
                at(50),
                at(99),
                at(100),
                times.len()
            );
            assert!(at(100) <= LEASE, "within the lease");
        }
    }
}

/// `SESSION_ROUNDS=5000` makes the 10,000 that the table has.
fn rounds() -> usize {
    std::env::var("SESSION_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_is_ended_on_one_node_is_refused_on_all() {
    let server = RedisServer::start().await;
    let url = server.url();
    let nodes = [Node::new(&url).await, Node::new(&url).await, Node::new(&url).await];
    measure("one server", nodes, rounds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_is_ended_on_one_node_is_refused_on_all_of_a_cluster() {
    let cluster = RedisCluster::start().await;
    let url = cluster_url(&cluster);
    let nodes = [Node::new(&url).await, Node::new(&url).await, Node::new(&url).await];
    measure("3 + 3 cluster", nodes, rounds()).await;
}

fn cluster_url(cluster: &RedisCluster) -> String {
    let hosts: Vec<String> = cluster.urls().iter().map(|url| url.replace("redis://", "")).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_is_frozen_costs_the_lease_and_no_more() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.address()).await;
    let first = Node::new(&server.url()).await;
    let other = Node::with_feed_at(&server.url(), &proxy.url()).await;
    for (number, replies) in [Flow::Hold, Flow::Swallow, Flow::Hold].into_iter().enumerate() {
        first.create(&key(number)).await;
        other.warm(&key(number)).await;
        proxy.set(Faults { replies, ..Faults::default() });
        assert_eq!(first.store.delete(&key(number)).await, Ok(true));
        let ended = Instant::now();
        assert_eq!(other.has(&key(number)).await, Some(true), "it can't know");
        let found = other.must_lose(&key(number), ended).await;
        println!("{replies:?}: found for {found:?} of a lease of {LEASE:?}");
        proxy.heal();
        other.store.live().await;
        assert_eq!(other.has(&key(number)).await, Some(false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_while_nobody_listens_is_not_missed() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.address()).await;
    let first = Node::new(&server.url()).await;
    let other = Node::with_feed_at(&server.url(), &proxy.url()).await;
    for number in 0..20 {
        first.create(&key(number)).await;
        other.warm(&key(number)).await;
    }
    proxy.set(Faults { refuse: true, ..Faults::default() });
    proxy.cut();
    until("the loss is noticed", async || other.store.stats().lease_age.is_none()).await;
    assert_eq!(other.store.stats().entries, 0);
    for number in 0..20 {
        assert_eq!(first.store.delete(&key(number)).await, Ok(true));
        assert_eq!(other.has(&key(number)).await, Some(false));
    }
    proxy.heal();
    other.store.live().await;
    first.create(&key(100)).await;
    other.warm(&key(100)).await;
    assert_eq!(other.has(&key(0)).await, Some(false));
}

/// Neither tells anyone: the data are simply others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_emptied_or_restarted_is_noticed() {
    let mut server = RedisServer::start().await;
    let nodes = [Node::new(&server.url()).await, Node::new(&server.url()).await];
    for (number, what) in ["FLUSHALL", "restart"].into_iter().enumerate() {
        nodes[0].create(&key(number)).await;
        for node in &nodes {
            node.warm(&key(number)).await;
        }
        if what == "FLUSHALL" {
            server.command::<()>(&["FLUSHALL"]).await;
        } else {
            server.kill();
            server.restart().await;
        }
        let ended = Instant::now();
        for node in &nodes {
            let found = node.must_lose(&key(number), ended).await;
            println!("{what}: found for {found:?}");
        }
        for node in &nodes {
            node.store.live().await;
        }
    }
}

/// The server drops a subscriber that reads too slowly, with all that it had for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_was_dropped_holds_nothing() {
    let server =
        RedisServer::builder().config("client-output-buffer-limit pubsub 200kb 100kb 1").start().await;
    let proxy = Proxy::before(server.address()).await;
    let first = Node::new(&server.url()).await;
    let other = Node::with_feed_at(&server.url(), &proxy.url()).await;
    first.create(&key(0)).await;
    other.warm(&key(0)).await;
    proxy.set(Faults { replies: Flow::Hold, ..Faults::default() });
    assert_eq!(first.store.delete(&key(0)).await, Ok(true));
    let ended = Instant::now();
    let noise = "x".repeat(100_000);
    let mut connection = server.connect().await.unwrap();
    let mut listening = 2;
    for _ in 0..200 {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("session:changes").arg(&noise);
        listening = publish.query_async::<i64>(&mut connection).await.unwrap();
    }
    // The server gave it up, long before the node itself could find its feed silent.
    assert_eq!((listening, ended.elapsed() < LEASE), (1, true));
    other.must_lose(&key(0), ended).await;
    proxy.heal();
    other.store.live().await;
    assert_eq!(other.has(&key(0)).await, Some(false));
}

/// Sentinel: whoever ends a session at the new primary is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_moves_the_feed() {
    let trio = SentinelTrio::start().await;
    let hosts: Vec<String> = trio.sentinel_urls().iter().map(|url| url.replace("redis://", "")).collect();
    let service = session_faults::servers::MASTER_NAME;
    let url = format!("redis+sentinel://{}/{service}", hosts.join(","));
    let nodes = [Node::new(&url).await, Node::new(&url).await];
    nodes[0].create(&key(0)).await;
    nodes[1].warm(&key(0)).await;
    let before = nodes.each_ref().map(|node| node.store.stats().epoch_changes);
    let old = trio.primary().await;
    trio.fail_over().await;
    trio.primary_after(old).await;
    for (node, before) in nodes.iter().zip(before) {
        until("feed and store follow", async || {
            let stats = node.store.stats();
            stats.epoch_changes > before && stats.lease_age.is_some()
        })
        .await;
    }
    nodes[1].warm(&key(0)).await;
    assert_eq!(nodes[0].store.delete(&key(0)).await, Ok(true));
    nodes[1].must_lose(&key(0), Instant::now()).await;
    until("new sessions", async || nodes[0].store.create(&key(1), &record()).await == Ok(true)).await;
    nodes[1].warm(&key(1)).await;
    assert_eq!(nodes[0].store.delete(&key(1)).await, Ok(true));
    nodes[1].must_lose(&key(1), Instant::now()).await;
}

/// A slot wanders to another primary while its sessions are ended, before, in the midst and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_never_stale() {
    let cluster = RedisCluster::start().await;
    let url = cluster_url(&cluster);
    let nodes = [Node::new(&url).await, Node::new(&url).await];
    // Sessions of one bucket, hence of one slot.
    let of_bucket = |number: u8| {
        let mut bytes = [number; 16];
        bytes[0] = 0x3f;
        Key::from_bytes(bytes)
    };
    for number in 0..3 {
        nodes[0].create(&of_bucket(number)).await;
        nodes[1].warm(&of_bucket(number)).await;
    }
    let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", "{3f}"]).await;
    let from = cluster.primary_of(slot).await.unwrap();
    let to = (0..3).find(|to| *to != from).unwrap();
    let end = async |number: u8| {
        until("an end", async || nodes[0].store.delete(&of_bucket(number)).await.is_ok()).await;
        nodes[1].must_lose(&of_bucket(number), Instant::now()).await;
    };
    let moving = cluster.begin_move(slot, to).await;
    end(0).await;
    moving.move_keys(1000).await;
    end(1).await;
    moving.finish().await;
    end(2).await;
    let key = of_bucket(9);
    until("a session", async || nodes[0].store.create(&key, &record()).await == Ok(true)).await;
    nodes[1].warm(&key).await;
    end(9).await;
}

/// A primary of a cluster dies; its replica takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_a_primary_is_heard_again() {
    let mut cluster = RedisCluster::start().await;
    let url = cluster_url(&cluster);
    let nodes = [Node::new(&url).await, Node::new(&url).await];
    let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", "{3f}"]).await;
    let primary = cluster.primary_of(slot).await.unwrap();
    cluster.servers[primary].kill();
    until("the loss is noticed", async || nodes[1].store.stats().lease_age.is_none()).await;
    let key = Key::from_bytes([0x3f; 16]);
    until("a new primary", async || nodes[0].store.create(&key, &record()).await == Ok(true)).await;
    nodes[1].store.live().await;
    nodes[1].warm(&key).await;
    assert_eq!(nodes[0].store.delete(&key).await, Ok(true));
    nodes[1].must_lose(&key, Instant::now()).await;
}

/// A primary of a cluster freezes, and says nothing to anyone; its replica takes over, and later it comes back as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_a_cluster_that_freezes_is_never_stale() {
    let cluster = RedisCluster::start().await;
    let url = cluster_url(&cluster);
    let nodes = [Node::new(&url).await, Node::new(&url).await, Node::new(&url).await];
    let of_bucket = |number: u8| {
        let mut bytes = [number; 16];
        bytes[0] = 0x3f;
        Key::from_bytes(bytes)
    };
    nodes[0].create(&of_bucket(0)).await;
    for other in &nodes[1..] {
        other.warm(&of_bucket(0)).await;
    }
    let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", "{3f}"]).await;
    let primary = cluster.primary_of(slot).await.unwrap();
    let frozen = Instant::now();
    cluster.servers[primary].stop();
    // Of others' primaries nothing is lost.
    until("an end at the new primary", async || nodes[0].store.delete(&of_bucket(0)).await.is_ok()).await;
    println!("the replica took over after {:?}", frozen.elapsed());
    let ended = Instant::now();
    for other in &nodes[1..] {
        other.must_lose(&of_bucket(0), ended).await;
    }
    cluster.servers[primary].cont();
    for (number, node) in (1_u8..).zip(&nodes) {
        node.store.live().await;
        until("a session", async || node.store.create(&of_bucket(number), &record()).await == Ok(true)).await;
        for other in &nodes {
            other.warm(&of_bucket(number)).await;
        }
        assert_eq!(node.store.delete(&of_bucket(number)).await, Ok(true));
        let ended = Instant::now();
        for other in &nodes {
            other.must_lose(&of_bucket(number), ended).await;
        }
    }
}

/// The network between a node and a primary of its cluster keeps what passes to itself, and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_a_cluster_that_is_cut_off_silently_is_never_stale() {
    let cluster = RedisCluster::start().await;
    let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", "{3f}"]).await;
    let primary = cluster.primary_of(slot).await.unwrap();
    // Clients go where the servers say that they are: through proxies.
    let mut proxies = Vec::new();
    for server in &cluster.servers {
        let proxy = Proxy::before(server.address()).await;
        let bus = (server.port() + 10_000).to_string();
        let port = proxy.port().to_string();
        let announce = ["CONFIG", "SET", "cluster-announce-bus-port", &bus, "cluster-announce-port", &port];
        // Servers of before 7.0 take one at a time.
        for option in announce[2..].chunks(2) {
            server.command::<()>(&[&announce[..2], option].concat()).await;
        }
        proxies.push(proxy);
    }
    for server in &cluster.servers {
        until("everyone knows of the proxies", async || {
            let nodes: String = server.command(&["CLUSTER", "NODES"]).await;
            proxies.iter().all(|proxy| nodes.contains(&format!(":{}@", proxy.port())))
        })
        .await;
    }
    let hosts: Vec<String> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
    let node = Node::new(&format!("redis+cluster://{}", hosts.join(","))).await;
    for (number, replies) in (0_u8..).zip([Flow::Hold, Flow::Swallow]) {
        let mut bytes = [number; 16];
        bytes[0] = 0x3f;
        let key = Key::from_bytes(bytes);
        node.create(&key).await;
        node.warm(&key).await;
        proxies[primary].set(Faults { replies, ..Faults::default() });
        // On the other side of the network.
        let names: Vec<String> = cluster.servers[primary].command(&["KEYS", "session:{3f}:s:*"]).await;
        let [name] = &names[..] else { panic!("one record: {names:?}") };
        cluster.servers[primary].command::<()>(&["DEL", name]).await;
        let ended = Instant::now();
        assert_eq!(node.has(&key).await, Some(true), "it can't know");
        let found = node.must_lose(&key, ended).await;
        println!("{replies:?}: found for {found:?} of a lease of {LEASE:?}");
        proxies[primary].heal();
        node.store.live().await;
        until("an answer", async || node.has(&key).await == Some(false)).await;
    }
}

/// One primary of a cluster is emptied: what the others hold goes on being answered from memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_a_cluster_that_is_emptied_is_noticed() {
    let cluster = RedisCluster::start().await;
    let url = cluster_url(&cluster);
    let nodes = [Node::new(&url).await, Node::new(&url).await, Node::new(&url).await];
    let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", "{3f}"]).await;
    let primary = cluster.primary_of(slot).await.unwrap();
    let key = Key::from_bytes([0x3f; 16]);
    nodes[0].create(&key).await;
    for node in &nodes {
        node.warm(&key).await;
    }
    cluster.servers[primary].command::<()>(&["FLUSHALL"]).await;
    let ended = Instant::now();
    for node in &nodes {
        node.must_lose(&key, ended).await;
        node.store.live().await;
    }
}
