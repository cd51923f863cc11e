//! Histories over what a store is wrapped in: retries and a circuit breaker, and a cache on every node.

use core::time::Duration;

use fastrand::Rng;
use session_faults::{
    chaos::befall,
    history::{Data, History, Outcome, Workload, assert_clean, run, run_on, stale},
    proxy::Proxy,
    pulse::sessions_in,
    report::{report, scaled},
    servers::{RedisServer, until},
};
use session_native::{
    Config, OsRandom, RedisStore, Resilient, Secret, Sessions, Store, Stored, SubjectTag,
    store::{RedisFeed, cached::CachedStore},
};
use tokio::time::sleep;

/// How old a cache may be.
const LEASE: Duration = Duration::from_secs(1);
const NODES: usize = 3;

async fn connect(url: &str) -> RedisStore {
    RedisStore::connect(url).await.expect("the server is well")
}

async fn until_well<S: Store>(sessions: &Sessions<Data, Stored<S>>) {
    let store = sessions.store();
    until("the store is well", async || store.epoch(&SubjectTag::new("nobody")).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resilient_store_without_faults() {
    let server = RedisServer::start().await;
    let sessions = sessions_in(Resilient::new(connect(&server.url()).await));
    let operations = scaled(200_000);
    let workload = Workload { clients: 32, sessions: 16, operations, ..Workload::default() };
    let history = run(&sessions, workload, async |_| {}).await;
    report("Resilient: history without faults", "0 violations", history.summary());
    assert_clean(&history);
    assert!(history.operations.len() >= operations && history.count(Outcome::Unknown) == 0);
}

/// What was tried again is done once; what a try that hung in the network does when it arrives after all is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resilient_store_with_faults() {
    let mut server = RedisServer::builder().durable().start().await;
    let proxy = Proxy::before(server.address()).await;
    let sessions = sessions_in(Resilient::new(connect(&proxy.url()).await));
    let operations = scaled(50_000);
    let mut rng = Rng::with_seed(11);
    let mut faults = 0;
    let workload =
        Workload { clients: 32, sessions: 16, operations, is_retried: true, ..Workload::default() };
    let history = run(&sessions, workload, async |now| {
        while now() < 2 * operations as u64 {
            befall(&mut rng, &mut server, &proxy).await;
            faults += 1;
            proxy.heal();
            until_well(&sessions).await;
            sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let observed = format!("{faults} faults; {}", history.summary());
    report(
        "Resilient: history with kills, stops, cuts, lost replies, black holes, drips",
        "0 violations",
        observed,
    );
    assert_clean(&history);
    assert!(history.operations.len() >= operations && history.count(Outcome::Unknown) > 0 && faults > 5);
}

type Cached = CachedStore<RedisStore, RedisFeed>;

/// Nodes with a cache each, which reach the server each by a way of its own.
async fn nodes(urls: &[String]) -> Vec<Sessions<Data, Stored<Cached>>> {
    let config = Config::production(Secret::generate(&OsRandom).expect("random bytes of the system"));
    let mut nodes = Vec::new();
    for url in urls {
        let store = connect(url).await;
        let feed = store.feed().expect("writes are published");
        let store = CachedStore::builder(store, feed).lease(LEASE).build();
        store.live().await;
        nodes.push(Sessions::new(config.clone(), store).expect("the preset is valid"));
    }
    nodes
}

const PROMISED: &str = "0 violations: exact where that is asked for, of its own node and in all writes; else as old as the lease of 1 s";

fn staleness(history: &History, nodes: &[Sessions<Data, Stored<Cached>>]) -> String {
    let (hits, misses) = nodes
        .iter()
        .map(|node| node.store().stats())
        .fold((0, 0), |(hits, misses), stats| (hits + stats.hits, misses + stats.misses));
    let stale = stale(history);
    format!("{hits} hits, {misses} misses; {} stale loads, the oldest by {:.1?}", stale.loads, stale.oldest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_on_three_nodes_without_faults() {
    let server = RedisServer::start().await;
    let nodes = nodes(&[const { String::new() }; NODES].map(|_| server.url())).await;
    let operations = scaled(100_000);
    let workload =
        Workload { clients: 32, sessions: 64, operations, staleness: LEASE, ..Workload::default() };
    let history = run_on(&nodes, workload, async |_| {}).await;
    let observed = format!("{}; {}", history.summary(), staleness(&history, &nodes));
    report("Cached on 3 nodes: history without faults", PROMISED, observed);
    assert_clean(&history);
    assert!(history.operations.len() >= operations && history.count(Outcome::Unknown) == 0);
    assert!(nodes.iter().all(|node| node.store().stats().hits > 1_000));
}

/// The network of one node fails, or the server all of them share; the feed goes the same way as the commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_on_three_nodes_with_faults() {
    let mut server = RedisServer::builder().durable().start().await;
    let mut proxies = Vec::new();
    for _ in 0..NODES {
        proxies.push(Proxy::before(server.address()).await);
    }
    let urls: Vec<String> = proxies.iter().map(Proxy::url).collect();
    let nodes = nodes(&urls).await;
    let operations = scaled(30_000);
    let mut rng = Rng::with_seed(13);
    let mut faults = 0;
    let workload =
        Workload { clients: 32, sessions: 64, operations, staleness: LEASE, ..Workload::default() };
    let history = run_on(&nodes, workload, async |now| {
        while now() < 2 * operations as u64 {
            let proxy = &proxies[rng.usize(..NODES)];
            befall(&mut rng, &mut server, proxy).await;
            faults += 1;
            proxy.heal();
            for node in &nodes {
                until_well(node).await;
            }
            // Caches are held again.
            sleep(Duration::from_millis(600)).await;
        }
    })
    .await;
    let observed = format!("{faults} faults; {}; {}", history.summary(), staleness(&history, &nodes));
    report(
        "Cached on 3 nodes: history with faults of one node's network or of the server",
        PROMISED,
        observed,
    );
    assert_clean(&history);
    assert!(history.operations.len() >= operations && history.count(Outcome::Unknown) > 0 && faults > 3);
    assert!(nodes.iter().all(|node| node.store().stats().hits > 100));
}
